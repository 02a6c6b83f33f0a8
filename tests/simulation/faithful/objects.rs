//! The objects of the sequences.

use serde_json::{Value, json};

/// Returns group and version, as in a path, and the kind.
pub(super) fn known(plural: &str) -> (&'static str, &'static str) {
    match plural {
        "namespaces" => ("api/v1", "Namespace"),
        "configmaps" => ("api/v1", "ConfigMap"),
        "events" => ("apis/events.k8s.io/v1", "Event"),
        "leases" => ("apis/coordination.k8s.io/v1", "Lease"),
        "amplifybackends" => ("apis/amplify-operator.dev/v1alpha1", "AmplifyBackend"),
        "backendapis" => ("apis/amplify-operator.dev/v1alpha1", "BackendApi"),
        "backendstorages" => ("apis/amplify-operator.dev/v1alpha1", "BackendStorage"),
        "backendenvironments" => ("apis/amplify-operator.dev/v1alpha1", "BackendEnvironment"),
        other => panic!("unknown: {other}"),
    }
}

/// Returns a valid object.
pub(crate) fn valid(plural: &str, name: &str) -> Value {
    let (path, kind) = known(plural);
    let api_version = path.trim_start_matches("apis/").trim_start_matches("api/");
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": name } });
    let more = match plural {
        "amplifybackends" => {
            json!({ "spec": { "appId": "d1a2b3c4", "appName": "shop", "backendEnvironmentName": "dev" } })
        }
        "backendenvironments" => {
            json!({ "spec": { "appId": "d1a2b3c4", "environmentName": "dev", "stackName": "stack" } })
        }
        "backendapis" => json!({ "spec": {
            "appId": "d1a2b3c4", "backendEnvironmentName": "dev", "resourceName": "shop",
            "resourceConfig": {
                "apiName": "shop", "service": "AppSync", "transformSchema": "type A @model { id: ID! }",
                "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 7, "description": "public" } },
            },
        } }),
        "backendstorages" => json!({ "spec": {
            "appId": "d1a2b3c4", "backendEnvironmentName": "dev", "resourceName": "photos",
            "resourceConfig": { "permissions": { "authenticated": ["READ", "DELETE"] } },
        } }),
        "configmaps" => json!({ "data": { "schema": "type A @model { id: ID! }" } }),
        "leases" => json!({ "spec": {
            "holderIdentity": "x", "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z",
        } }),
        "events" => json!({
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "amplify-operator",
            "reportingInstance": "pod", "action": "Reconcile", "reason": "Creating", "type": "Normal", "note": "said",
            "regarding": { "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "AmplifyBackend", "name": "a", "namespace": "$ns" },
        }),
        _ => json!({}),
    };
    for (field, value) in more.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

/// Sets a value in an object, or removes it.
pub(super) fn set(object: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let mut at = object;
    for part in parent.split('/').skip(1) {
        at = &mut at[part];
        if at.is_null() {
            *at = json!({});
        }
    }
    match value {
        Some(value) => at[field] = value,
        None => drop(at.as_object_mut().and_then(|it| it.remove(field))),
    }
}
