//! The CustomResourceDefinitions, made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{AmplifyBackend, BackendApi, BackendEnvironment, kinds::kinds};

/// The definitions of all kinds, in the order in which people read of them.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    macro_rules! definitions {
        ($($kind:ident),+) => {
            vec![$(finish($kind::crd())),+]
        };
    }
    kinds!(definitions)
}

/// A definition or a resource as YAML, as `amplify-operator crd` and `amplify-operator import` print it.
pub fn to_yaml(object: &impl serde::Serialize) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(object)
}

/// What the derive cannot express.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) else {
            continue;
        };
        tidy(schema);
        if let Some(status) = schema.properties.as_mut().and_then(|p| p.get_mut("status")) {
            // kstatus takes an object without a status for Current: one that no operator has seen must not pass for done.
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
    crd
}

/// Kubernetes convention: an absent optional field, not a null one; and only formats that Kubernetes knows.
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
