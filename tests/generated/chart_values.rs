//! The values of the chart: their paths, defaults and descriptions from `values.yaml`, their types and further fields
//! from `values.schema.json`. The chart's README lists them in the manner of helm-docs.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

/// A value of the chart, or an object of values.
pub(crate) struct Entry {
    pub(crate) path: Vec<String>,
    pub(crate) description: String,
    type_: String,
    default: String,
}

/// Returns the README's table.
pub(crate) fn table(entries: &[Entry]) -> Result<String> {
    let mut table = "| value | type | default | description |\n|---|---|---|---|\n".to_owned();
    for entry in entries {
        let default = match &*entry.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let (path, type_, description) = (entry.path.join("."), &entry.type_, &entry.description);
        writeln!(table, "| `{path}` | {type_} | {default} | {description} |")?;
    }
    Ok(table)
}

/// Returns all values in the order of `values.yaml`. Fields that only the schema has come after the others of their
/// object.
pub(crate) fn entries(values: &str, schema: &Value) -> Result<Vec<Entry>> {
    let reader = Reader {
        schema,
        defaults: serde_saphyr::from_str(values)?,
        commented: commented(values, schema),
    };
    let mut entries = Vec::new();
    reader.fields(&[], &mut entries);
    Ok(entries)
}

/// A key in `values.yaml`, its default if that is only in the comment, and its comment.
struct Commented {
    path: Vec<String>,
    default: Option<String>,
    comment: Vec<String>,
}

fn commented(values: &str, schema: &Value) -> Vec<Commented> {
    let mut found = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut comment = Vec::new();
    for line in values.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(text) = text.strip_prefix('#') {
            match example(text).filter(|_| indent > 0 && path == ["settings"]) {
                Some((name, default)) => found.push(Commented {
                    path: vec!["settings".to_owned(), name.to_owned()],
                    default: Some(default.to_owned()),
                    // The schema's description is more than the few words beside the setting.
                    comment: Vec::new(),
                }),
                None => comment.push(text.strip_prefix(' ').unwrap_or(text).to_owned()),
            }
            continue;
        }
        if let Some((key, _)) = text.split_once(':') {
            path.truncate(indent / 2);
            path.push(key.to_owned());
            // Keys inside of a map, such as a label, are part of its default.
            if node(schema, &path).is_some() {
                found.push(Commented {
                    path: path.clone(),
                    default: None,
                    comment: std::mem::take(&mut comment),
                });
            }
        }
        comment.clear();
    }
    found
}

/// Splits `name: default # meaning`, the comment that stands for an optional setting.
fn example(comment: &str) -> Option<(&str, &str)> {
    let (name, rest) = comment.trim_start().split_once(": ")?;
    let (default, _) = rest.split_once(" # ")?;
    Some((name, default.trim()))
}

/// Returns the schema of a value.
fn node<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |node, key| {
        let node = resolved(schema, node);
        match key.strip_suffix("[]") {
            Some(key) => node["properties"].get(key).map(|list| &resolved(schema, list)["items"]),
            None => node["properties"].get(key),
        }
    })
}

/// Follows a `$ref`.
fn resolved<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    match node["$ref"].as_str().or_else(|| node["allOf"][0]["$ref"].as_str()) {
        Some(reference) => &schema["definitions"][reference.trim_start_matches("#/definitions/")],
        None => node,
    }
}

struct Reader<'a> {
    schema: &'a Value,
    defaults: Value,
    commented: Vec<Commented>,
}

impl Reader<'_> {
    /// Adds the fields of an object, and their fields.
    fn fields(&self, path: &[String], entries: &mut Vec<Entry>) {
        let is_field = |of: &[String]| of.len() == path.len() + 1 && of.starts_with(path);
        let mut fields: Vec<_> = self
            .commented
            .iter()
            .map(|commented| commented.path.clone())
            .filter(|of| is_field(of))
            .collect();
        let properties = node(self.schema, path).map(|node| &resolved(self.schema, node)["properties"]);
        for name in properties
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|all| all.keys())
        {
            let of = [path, std::slice::from_ref(name)].concat();
            if !fields.contains(&of) {
                fields.push(of);
            }
        }
        for field in fields {
            let at = entries.len();
            self.fields(&field, entries);
            // The fields of an entry are values of this chart; those of all other lists are Kubernetes' own.
            if field == ["accounts"] {
                self.fields(&["accounts[]".to_owned()], entries);
            }
            let has_fields = self.commented.iter().any(|commented| {
                commented.path.len() > field.len() && commented.path.starts_with(&field) && commented.default.is_none()
            });
            let entry = self.entry(field, has_fields);
            // An object without a comment needs none: its fields say everything.
            if !(has_fields && entry.description.is_empty()) {
                entries.insert(at, entry);
            }
        }
    }

    fn entry(&self, path: Vec<String>, has_fields: bool) -> Entry {
        let commented = self.commented.iter().find(|commented| commented.path == path);
        let schema = node(self.schema, &path).unwrap_or(&Value::Null);
        let description = match commented {
            Some(commented) if !commented.comment.is_empty() => flowing(&commented.comment),
            _ => schema["description"].as_str().unwrap_or_default().to_owned(),
        };
        let default = match commented.map(|commented| &commented.default) {
            None => String::new(),
            Some(_) if has_fields => String::new(),
            Some(Some(default)) => default.clone(),
            Some(None) => self
                .defaults
                .pointer(&format!("/{}", path.join("/")))
                .unwrap_or(&Value::Null)
                .to_string(),
        };
        Entry {
            type_: type_of(resolved(self.schema, schema)),
            description: description.replace('|', "\\|"),
            default: default.replace('|', "\\|"),
            path,
        }
    }
}

fn type_of(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(name) => name.replace("array", "list"),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ").replace("array", "list")
        }
        // An enumeration.
        _ => "string".to_owned(),
    }
}

/// Joins the lines of a comment. Lines that it indents are an example.
fn flowing(comment: &[String]) -> String {
    let mut text = String::new();
    let mut after_example = false;
    for line in comment {
        let is_example = line.starts_with("  ");
        if is_example {
            text += "<br>";
            text.extend(["`", line.strip_prefix("  ").unwrap_or(line), "`"]);
        } else {
            text += match (text.is_empty(), after_example) {
                (true, _) => "",
                (false, true) => "<br>",
                (false, false) => " ",
            };
            text += line;
        }
        after_example = is_example;
    }
    text
}
