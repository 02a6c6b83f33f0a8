//! `docs/api.md`, generated from the CustomResourceDefinitions: the text of `kubectl explain`, on one page.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};

/// Returns the page.
pub(crate) fn page(crds: &[CustomResourceDefinition], update: &str) -> Result<String, std::fmt::Error> {
    let mut page = format!("<!-- Made from src/api by `{update}`: do not edit. -->\n\n# API reference\n\n");
    page +=
        "Group `amplify-operator.dev`, version `v1alpha1`. All kinds are namespaced. The same text is in the cluster: ";
    page += "`kubectl explain amplifybackend.spec`.\n\n";
    for crd in crds {
        let names = &crd.spec.names;
        let short = names.short_names.iter().flatten().next().map_or("", String::as_str);
        let anchor = names.kind.to_lowercase();
        writeln!(page, "- [{}](#{anchor}) (`{}`, `{short}`)", names.kind, names.plural)?;
    }
    for crd in crds {
        kind(&mut page, crd)?;
    }
    Ok(page)
}

fn kind(page: &mut String, crd: &CustomResourceDefinition) -> std::fmt::Result {
    let version = crd.spec.versions.first();
    let schema = version.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let Some(schema) = schema else {
        return Ok(());
    };
    writeln!(page, "\n## {}\n", crd.spec.names.kind)?;
    let property = |name: &str| schema.properties.as_ref().and_then(|properties| properties.get(name));
    if let Some(spec) = property("spec") {
        writeln!(page, "{}\n", flowing(spec.description.as_deref().unwrap_or_default()))?;
        table(page, "spec", spec)?;
        rules(page, spec)?;
    }
    if let Some(status) = property("status") {
        writeln!(page, "\nWritten by the operator only:\n")?;
        table(page, "status", status)?;
    }
    Ok(())
}

fn table(page: &mut String, path: &str, schema: &JSONSchemaProps) -> std::fmt::Result {
    writeln!(page, "| field | type | meaning |\n|---|---|---|")?;
    rows(page, path, schema)
}

fn rows(page: &mut String, path: &str, schema: &JSONSchemaProps) -> std::fmt::Result {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let needed = if required.contains(name) { ", required" } else { "" };
        let mut meaning = flowing(field.description.as_deref().unwrap_or_default()).replace('|', "\\|");
        meaning += &bounds(field).replace('|', "\\|");
        writeln!(page, "| `{path}` | {}{needed} | {} |", type_of(field), meaning.trim())?;
        match item(field) {
            Some(item) => rows(page, &format!("{path}[]"), item)?,
            None => rows(page, &path, field)?,
        }
    }
    Ok(())
}

fn item(field: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match field.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn type_of(field: &JSONSchemaProps) -> String {
    let name = field.type_.as_deref().unwrap_or("any");
    match item(field) {
        Some(item) => format!("list of {}", type_of(item)),
        None if field.format.as_deref() == Some("date-time") => "time".to_owned(),
        None => name.to_owned(),
    }
}

fn bounds(field: &JSONSchemaProps) -> String {
    let mut said = Vec::new();
    if let Some(values) = &field.enum_ {
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", value.0.as_str().unwrap_or_default()))
            .collect();
        said.push(format!("One of {}.", values.join(", ")));
    }
    if let Some(default) = &field.default {
        said.push(format!("Default: `{}`.", default.0.to_string().trim_matches('"')));
    }
    let rules = field.x_kubernetes_validations.iter().flatten();
    said.extend(rules.filter_map(|rule| Some(format!("Other values are refused: {}.", rule.message.as_ref()?))));
    match (field.min_length, field.max_length) {
        (Some(least), Some(most)) => said.push(format!("{least} to {most} characters.")),
        (None, Some(most)) => said.push(format!("At most {most} characters.")),
        (Some(least), None) => said.push(format!("At least {least} characters.")),
        (None, None) => {}
    }
    if let Some(most) = field.max_items {
        said.push(format!("At most {most} items."));
    }
    if said.is_empty() {
        String::new()
    } else {
        format!(" {}", said.join(" "))
    }
}

/// Adds the rules over more than one field, in the words with which the API server refuses.
fn rules(page: &mut String, spec: &JSONSchemaProps) -> std::fmt::Result {
    let rules: Vec<_> = spec
        .x_kubernetes_validations
        .iter()
        .flatten()
        .filter_map(|rule| rule.message.as_deref())
        .collect();
    if rules.is_empty() {
        return Ok(());
    }
    writeln!(page, "\nThe API server refuses what breaks one of these rules:\n")?;
    rules.iter().try_for_each(|rule| writeln!(page, "- {rule}"))
}

/// Joins paragraphs and lines into one line, for a cell of a table.
fn flowing(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
