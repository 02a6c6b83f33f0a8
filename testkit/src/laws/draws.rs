//! Random actions of users and AWS in a soak or a simulation. Pure.

use amplify_simulator::Operation;
use fastrand::Rng;
use serde_json::{Value, json};

/// The ConfigMap with the schemas, and its keys, each with one schema.
pub const SCHEMAS: &str = "schemas";
pub const KEYS: [&str; 3] = ["first", "second", "third"];

/// Draws one of these.
pub fn one<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    rng.choice(of).expect("at least one").clone()
}

/// Draws a first spec of this kind, based on the fields that it always has.
pub fn spec(kind: &str, always: &Value, rng: &mut Rng) -> Value {
    let mut spec = always.clone();
    let mut config = config(kind, rng);
    // A null removes a field in an edit. A new spec has no field to remove.
    if let Some(fields) = config.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
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

/// Draws a configuration of this kind, or null if the kind has none.
pub fn config(kind: &str, rng: &mut Rng) -> Value {
    match kind {
        "BackendApi" => api(rng),
        "BackendStorage" => storage(rng),
        _ => Value::Null,
    }
}

fn storage(rng: &mut Rng) -> Value {
    let sets = [
        json!(["READ"]),
        json!(["DELETE", "READ"]),
        json!(["CREATE_AND_UPDATE", "READ", "DELETE"]),
    ];
    let authenticated = one(rng, &sets);
    let mut permissions = json!({ "authenticated": authenticated });
    if rng.bool() {
        permissions["unAuthenticated"] = one(rng, &sets);
    }
    json!({ "permissions": permissions })
}

fn api(rng: &mut Rng) -> Value {
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

/// Returns a schema with this model.
pub fn schema(model: &str) -> String {
    format!("type {} @model {{ id: ID! }}", model.to_uppercase())
}

/// Operations that change an object by a job.
pub const WRITES: &[Operation] = &[
    Operation::CreateBackend,
    Operation::CloneBackend,
    Operation::DeleteBackend,
    Operation::CreateBackendApi,
    Operation::UpdateBackendApi,
    Operation::DeleteBackendApi,
    Operation::CreateBackendStorage,
    Operation::UpdateBackendStorage,
    Operation::DeleteBackendStorage,
];
/// The operator's other operations.
pub const OTHERS: &[Operation] = &[
    Operation::CreateBackendEnvironment,
    Operation::DeleteBackendEnvironment,
    Operation::GetBackend,
    Operation::GetBackendApi,
    Operation::GetBackendStorage,
    Operation::GetBackendEnvironment,
    Operation::GetBackendJob,
    Operation::ListBackendJobs,
    Operation::ListBackendEnvironments,
    Operation::GetCallerIdentity,
];
