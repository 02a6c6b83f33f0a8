//! The CustomResourceDefinitions, made from the types.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool, ValidationRule,
};
use kube::CustomResourceExt;

use super::{
    backend_target,
    kinds::kinds,
    policies::{HasNouns, Nouns},
};

/// Returns the definitions of all kinds, in the order of the documentation.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    macro_rules! definitions {
        ($($kind:ident),+) => {
            vec![$(finish(super::$kind::crd(), super::$kind::NOUNS)),+]
        };
    }
    kinds!(definitions)
}

/// Returns a definition or a resource as YAML, as `amplify-operator crd` and `amplify-operator import` print it.
pub fn to_yaml(object: &impl serde::Serialize) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(object)
}

/// The columns of all kinds before the kind's own: name, type, path, and whether only `-o wide` shows it.
const BEFORE: [(&str, &str, &str, bool); 2] = [
    (
        "READY",
        "string",
        r#".status.conditions[?(@.type=="Ready")].status"#,
        false,
    ),
    (
        "REASON",
        "string",
        r#".status.conditions[?(@.type=="Ready")].reason"#,
        false,
    ),
];
/// The columns of all kinds after the kind's own.
const AFTER: [(&str, &str, &str, bool); 4] = [
    ("JOB", "string", ".status.job.status", false),
    ("AGE", "date", ".metadata.creationTimestamp", false),
    ("JOB-ID", "string", ".status.job.id", true),
    (
        "MESSAGE",
        "string",
        r#".status.conditions[?(@.type=="Ready")].message"#,
        true,
    ),
];

fn column((name, type_, path, is_wide): (&str, &str, &str, bool)) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: path.to_owned(),
        priority: is_wide.then_some(1),
        ..CustomResourceColumnDefinition::default()
    }
}

/// Returns the rule that adoption requires an explicit `deletionPolicy`: the user decides what happens to an adopted
/// object.
fn adoption_needs_a_deletion_policy() -> ValidationRule {
    ValidationRule {
        rule: "!has(self.adoptionPolicy) || self.adoptionPolicy != 'IfExists' || has(self.deletionPolicy)".to_owned(),
        message: Some("adoptionPolicy IfExists needs an explicit deletionPolicy: Retain leaves the adopted AWS object when this resource is deleted, Delete deletes it".to_owned()),
        ..ValidationRule::default()
    }
}

/// The annotations with which Flux and Argo CD leave a definition in the cluster when its manifest leaves Git, and when
/// the Kustomization or Application is deleted. A deleted definition takes all its resources with it, and these take
/// their AWS objects with them.
const KEPT: [(&str, &str); 2] = [
    ("argocd.argoproj.io/sync-options", "Prune=false,Delete=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];

/// Adds to a derived definition the parts that the derive cannot express and the parts that all kinds share.
fn finish(mut crd: CustomResourceDefinition, nouns: Nouns) -> CustomResourceDefinition {
    let kept = KEPT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    crd.metadata.annotations = Some(BTreeMap::from(kept));
    for version in &mut crd.spec.versions {
        let own = version.additional_printer_columns.take().unwrap_or_default();
        let columns = BEFORE.map(column).into_iter().chain(own).chain(AFTER.map(column));
        version.additional_printer_columns = Some(columns.collect());
        let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        tidy(schema);
        for part in schema.properties.iter_mut().flat_map(|parts| parts.values_mut()) {
            for field in part.properties.iter_mut().flat_map(|fields| fields.values_mut()) {
                field.description = field.description.take().map(|text| nouns.put_into(&text));
            }
        }
        if let Some(spec) = schema.properties.as_mut().and_then(|p| p.get_mut("spec")) {
            let rules = spec.x_kubernetes_validations.get_or_insert_default();
            if spec
                .properties
                .as_ref()
                .is_some_and(|fields| fields.contains_key("backendRef"))
            {
                let [before, after] = backend_target::rules();
                rules.splice(..0, before);
                rules.extend(after);
            }
            rules.push(adoption_needs_a_deletion_policy());
        }
        if let Some(status) = schema.properties.as_mut().and_then(|p| p.get_mut("status")) {
            // kstatus takes an object without a status for Current. A resource that no operator has seen must not look
            // done.
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
    crd
}

/// Applies Kubernetes conventions: an optional field is absent, not null, and only formats that Kubernetes knows are
/// used.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref().is_some_and(|f| f.starts_with("uint")) {
        schema.format = None;
    }
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    for property in schema.properties.iter_mut().flat_map(|p| p.values_mut()) {
        tidy(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(additional)) = &mut schema.additional_properties {
        tidy(additional);
    }
}
