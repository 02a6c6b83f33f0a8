//! Finds the values that the custom resources' schemas refuse, before an API server does. Pure.
//!
//! Lengths, sizes and the rules about a single text are checked. The rules across fields hold by construction of the
//! manifests.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use crate::api;

/// A value that a definition refuses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    /// The path of fields from `spec` to the value.
    pub(super) path: Vec<String>,
    /// What is wrong with it.
    pub(super) why: String,
}

/// The definitions' schemas of `spec`.
pub(super) struct Schemas(Vec<CustomResourceDefinition>);

impl Schemas {
    pub(super) fn new() -> Self {
        Self(api::crds())
    }

    /// Returns the refusals of a spec of this kind.
    pub(super) fn refusals(&self, kind: &str, spec: &Value) -> Vec<Refusal> {
        let definition = self.0.iter().find(|definition| definition.spec.names.kind == kind);
        let schema = definition
            .and_then(|definition| definition.spec.versions.first())
            .and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
            .and_then(|schema| schema.properties.as_ref()?.get("spec"));
        let mut refusals = Vec::new();
        if let Some(schema) = schema {
            check(schema, spec, &mut Vec::new(), &mut refusals);
        }
        refusals
    }
}

fn check(schema: &JSONSchemaProps, value: &Value, path: &mut Vec<String>, refusals: &mut Vec<Refusal>) {
    let mut refuse = |why: String| {
        refusals.push(Refusal {
            path: path.clone(),
            why,
        });
    };
    match value {
        Value::String(text) => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            if let Some(most) = schema.max_length.filter(|most| length > *most) {
                refuse(format!("has {length} characters, at most {most} are allowed"));
            } else if let Some(least) = schema.min_length.filter(|least| length < *least) {
                refuse(format!("has {length} characters, at least {least} are needed"));
            } else {
                unmatched(schema, text).for_each(|sentence| refuse(format!("is {sentence}")));
            }
        }
        Value::Array(values) => {
            let length = i64::try_from(values.len()).unwrap_or(i64::MAX);
            if let Some(most) = schema.max_items.filter(|most| length > *most) {
                refuse(format!("has {length} items, at most {most} are allowed"));
            }
            if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
                for (number, value) in values.iter().enumerate() {
                    path.push(number.to_string());
                    check(items, value, path, refusals);
                    path.pop();
                }
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.properties.as_ref().and_then(|all| all.get(name)) {
                    path.push(name.clone());
                    check(schema, value, path, refusals);
                    path.pop();
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the sentences of the rules about a single text that this text breaks. [`crate::api::rules`] writes these
/// rules.
fn unmatched<'a>(schema: &'a JSONSchemaProps, text: &'a str) -> impl Iterator<Item = &'a str> {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    let patterns = rules.filter_map(|rule| {
        let pattern = rule.rule.strip_prefix("self.matches(r'")?.strip_suffix("')")?;
        Some((pattern, rule.message.as_deref().unwrap_or_default()))
    });
    patterns
        .filter(move |(pattern, _)| !regex_lite::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)))
        .map(|(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_definition_refuses_is_named_by_its_path() {
        let long = "x".repeat(256);
        let spec = json!({
            "appId": "d1", "backendEnvironmentName": "a/b", "resourceName": "shop",
            "resourceConfig": { "apiName": long, "transformSchema": "", "service": "AppSync",
                "additionalAuthTypes": [{ "settings": { "openIDAuthTTL": long } }] },
        });
        let refusals = Schemas::new().refusals("BackendApi", &spec);
        let mut found: Vec<_> = refusals.iter().map(|refusal| refusal.path.join(".")).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "backendEnvironmentName",
                "resourceConfig.additionalAuthTypes.0.settings.openIDAuthTTL",
                "resourceConfig.apiName",
                "resourceConfig.transformSchema",
            ]
        );
        let why: Vec<_> = refusals.iter().map(|refusal| refusal.why.as_str()).collect();
        assert!(
            why.iter()
                .any(|why| why.starts_with("is not a name that AWS takes here: give 1 to 255 letters")),
            "{why:?}"
        );
        assert!(why.contains(&"has 256 characters, at most 255 are allowed"), "{why:?}");
        assert!(why.iter().any(|why| why.starts_with("is empty: ")), "{why:?}");
    }

    #[test]
    fn every_kind_is_known_and_a_good_spec_is_not_refused() {
        let schemas = Schemas::new();
        for (kind, spec) in [
            (
                "AmplifyBackend",
                json!({ "appId": "d1", "appName": "a", "backendEnvironmentName": "dev", "region": "eu-west-1" }),
            ),
            (
                "BackendEnvironment",
                json!({ "appId": "d1", "environmentName": "dev", "stackName": "s" }),
            ),
            ("BackendApi", json!({ "resourceName": "shop", "resourceConfig": {} })),
        ] {
            assert_eq!(schemas.refusals(kind, &spec), [], "{kind}");
            let bad = json!({ "appId": "X" });
            assert_eq!(schemas.refusals(kind, &bad).len(), 1, "{kind}");
        }
    }
}
