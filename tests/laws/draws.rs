//! What users and AWS may do in a soak or a simulation: drawn, and pure.

use amplify_simulator::Operation;
use fastrand::Rng;
use serde_json::{Value, json};

/// The ConfigMap that schemas come from, and the keys that hold one each.
pub(crate) const SCHEMAS: &str = "schemas";
pub(crate) const KEYS: [&str; 3] = ["first", "second", "third"];

/// One of these.
pub(crate) fn one<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    rng.choice(of).expect("at least one").clone()
}

/// A spec to begin with, from what it always says.
pub(crate) fn spec(always: &Value, rng: &mut Rng) -> Value {
    let mut spec = always.clone();
    // Of a BackendApi.
    if !spec["resourceName"].is_null() {
        let mut config = config(rng);
        // Null takes a field away, and there is none yet.
        if let Some(fields) = config.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        spec["resourceConfig"] = config;
    }
    match rng.u8(..10) {
        0..3 => {
            spec["adoptionPolicy"] = "IfExists".into();
            spec["deletionPolicy"] = one(rng, &["Delete", "Retain"]).into();
        }
        3 => spec["deletionPolicy"] = "Retain".into(),
        4 => spec["suspend"] = true.into(),
        _ => {}
    }
    spec
}

/// A configuration of an API.
pub(crate) fn config(rng: &mut Rng) -> Value {
    let mode = one(rng, &["API_KEY", "AWS_IAM", "AMAZON_COGNITO_USER_POOLS"]);
    let strategy = one(rng, &["OPTIMISTIC_CONCURRENCY", "LAMBDA", "AUTOMERGE", "NONE"]);
    let mut config = json!({
        "apiName": "shop", "service": "AppSync",
        "defaultAuthType": {
            "mode": mode,
            "settings": { "expirationTime": rng.u8(1..30), "description": format!("d{}", rng.u8(..4)) },
        },
        "conflictResolution": { "resolutionStrategy": strategy },
    });
    if rng.bool() {
        let key = one(rng, &KEYS);
        config["transformSchemaFrom"] = json!({ "configMapKeyRef": { "name": SCHEMAS, "key": key } });
        config["transformSchema"] = Value::Null;
    } else {
        config["transformSchema"] = json!(schema(&format!("a{}", rng.u8(..4))));
        config["transformSchemaFrom"] = Value::Null;
    }
    config
}

/// A schema with this model.
pub(crate) fn schema(model: &str) -> String {
    format!("type {} @model {{ id: ID! }}", model.to_uppercase())
}

/// Operations that change something and have a job.
pub(crate) const WRITES: &[Operation] = &[
    Operation::CreateBackend,
    Operation::CloneBackend,
    Operation::DeleteBackend,
    Operation::CreateBackendApi,
    Operation::UpdateBackendApi,
    Operation::DeleteBackendApi,
];
/// The others that the operator makes.
pub(crate) const OTHERS: &[Operation] = &[
    Operation::CreateBackendEnvironment,
    Operation::DeleteBackendEnvironment,
    Operation::GetBackend,
    Operation::GetBackendApi,
    Operation::GetBackendEnvironment,
    Operation::GetBackendJob,
    Operation::ListBackendJobs,
    Operation::ListBackendEnvironments,
    Operation::GetCallerIdentity,
];
