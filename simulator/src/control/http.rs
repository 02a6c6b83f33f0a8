//! The control API over HTTP: `/_simulator/…`, JSON in both directions, no signature. The server accepts it only from
//! loopback.
//!
//! Bodies are the types of the library. A fault is `{"match": {"operation": "CreateBackend"}, "skip": 0, "times": 1,
//! "action": {"type": "resetAfter"}}`. A job fault has a `script` instead of the action (`{"durationMillis": 1000,
//! "words": ["ODD"], "ending": {"type": "failed", "error": "text", "applied": false}}`). A location is `{"app": "d123",
//! "environment": "dev"}`, with `account` and `region` if they are not the defaults.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AppState, Category, Control, EnvironmentState, Location, ResourceState};
use crate::{
    Calls,
    config::{App, Key, Role, Settings},
    faults::{Ending, Fault, JobFault, JobScript, Rules},
    history::{Call, Filter},
    server::CONTROL_PREFIX,
};

/// Returns all routes.
pub(crate) fn routes(control: Control) -> Router {
    let routes = Router::new()
        .route("/", get(clock))
        .route("/clock", get(clock))
        .route("/clock/advance", post(advance))
        .route("/settings", get(settings).put(put_settings).patch(patch_settings))
        .route("/faults", get(rules).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/job-faults", post(add_job_fault))
        .route("/release", post(release))
        .route("/keys", put(add_key))
        .route("/keys/{id}", delete(remove_key))
        .route("/roles", put(put_role))
        .route("/sessions/expire", post(expire_sessions))
        .route("/apps", get(apps).put(put_app).delete(delete_app))
        .route("/apps/variables", put(put_variables))
        .route("/backends", put(put_backend).delete(delete_backend))
        .route("/backends/meta-config", put(put_meta_config))
        .route("/apis", put(put_api).delete(delete_api))
        .route("/resources", put(put_resource).delete(delete_resource))
        .route("/environments", put(put_environment).delete(delete_environment))
        .route("/jobs", post(start_job))
        .route("/jobs/end", post(end_job))
        .route("/history", get(history).delete(clear_history))
        .route("/history/counts", get(counts))
        .route("/history/accepted-creates", get(accepted_creates))
        .route("/history/dangerous", get(dangerous))
        .with_state(control);
    Router::new().nest(CONTROL_PREFIX, routes)
}

type Refusal = (StatusCode, Json<Value>);
type Answer = Result<Json<Value>, Refusal>;

async fn clock(State(control): State<Control>) -> Json<Value> {
    Json(json!({ "now": control.now() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    millis: u64,
}

async fn advance(State(control): State<Control>, Json(by): Json<Advance>) -> Json<Value> {
    control.advance(Duration::from_millis(by.millis));
    clock(State(control)).await
}

async fn settings(State(control): State<Control>) -> Json<Settings> {
    Json(control.settings())
}

async fn put_settings(State(control): State<Control>, Json(settings): Json<Settings>) -> Json<Settings> {
    control.change_settings(|current| *current = settings);
    Json(control.settings())
}

/// Changes settings. Members that are not sent keep their values.
async fn patch_settings(
    State(control): State<Control>,
    Json(patch): Json<Map<String, Value>>,
) -> Result<Json<Settings>, Refusal> {
    let mut members = match serde_json::to_value(control.settings()) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    members.extend(patch);
    let settings = serde_json::from_value(Value::Object(members)).map_err(|error| {
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            Json(json!({ "message": error.to_string() })),
        )
    })?;
    Ok(put_settings(State(control), Json(settings)).await)
}

async fn rules(State(control): State<Control>) -> Json<Rules> {
    Json(control.rules())
}

async fn add_fault(State(control): State<Control>, Json(fault): Json<Fault>) -> Json<Value> {
    Json(json!({ "id": control.fault(fault) }))
}

async fn add_job_fault(State(control): State<Control>, Json(fault): Json<JobFault>) -> Json<Value> {
    Json(json!({ "id": control.job_fault(fault) }))
}

async fn clear_faults(State(control): State<Control>) -> Json<Value> {
    control.clear_faults();
    Json(json!({}))
}

async fn remove_fault(State(control): State<Control>, Path(id): Path<u64>) -> Answer {
    found(control.remove_fault(id))
}

async fn release(State(control): State<Control>) -> Json<Value> {
    control.release();
    Json(json!({}))
}

async fn add_key(State(control): State<Control>, Json(key): Json<Key>) -> Json<Value> {
    control.add_key(&key);
    Json(json!({}))
}

async fn remove_key(State(control): State<Control>, Path(id): Path<String>) -> Answer {
    found(control.remove_key(&id))
}

async fn put_role(State(control): State<Control>, Json(role): Json<Role>) -> Json<Value> {
    control.put_role(role);
    Json(json!({}))
}

async fn expire_sessions(State(control): State<Control>) -> Json<Value> {
    control.expire_sessions();
    Json(json!({}))
}

async fn apps(State(control): State<Control>) -> Json<Vec<AppState>> {
    Json(control.apps())
}

async fn put_app(State(control): State<Control>, Json(app): Json<App>) -> Json<Value> {
    control.put_app(&app);
    Json(json!({}))
}

async fn delete_app(State(control): State<Control>, Json(at): Json<Location>) -> Answer {
    found(control.delete_app(at))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutBackend {
    at: Location,
    app_name: String,
}

async fn put_backend(State(control): State<Control>, Json(put): Json<PutBackend>) -> Answer {
    found(control.put_backend(put.at, &put.app_name))
}

async fn delete_backend(State(control): State<Control>, Json(at): Json<Location>) -> Answer {
    found(control.delete_backend(at))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutVariables {
    at: Location,
    variables: BTreeMap<String, String>,
}

async fn put_variables(State(control): State<Control>, Json(put): Json<PutVariables>) -> Answer {
    found(control.put_variables(put.at, put.variables))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutMetaConfig {
    at: Location,
    text: String,
}

async fn put_meta_config(State(control): State<Control>, Json(put): Json<PutMetaConfig>) -> Answer {
    found(control.put_meta_config(put.at, &put.text))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutApi {
    at: Location,
    resource: String,
    #[serde(default)]
    config: Map<String, Value>,
}

async fn put_api(State(control): State<Control>, Json(put): Json<PutApi>) -> Answer {
    found(control.put_api(put.at, &put.resource, put.config))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteApi {
    at: Location,
    resource: String,
}

async fn delete_api(State(control): State<Control>, Json(gone): Json<DeleteApi>) -> Answer {
    found(control.delete_api(gone.at, &gone.resource))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutResource {
    at: Location,
    category: Category,
    resource: String,
    #[serde(default)]
    state: ResourceState,
}

async fn put_resource(State(control): State<Control>, Json(put): Json<PutResource>) -> Answer {
    found(control.put_resource(put.at, put.category, &put.resource, put.state))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteResource {
    at: Location,
    category: Category,
    resource: String,
}

async fn delete_resource(State(control): State<Control>, Json(gone): Json<DeleteResource>) -> Answer {
    found(control.delete_resource(gone.at, gone.category, &gone.resource))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PutEnvironment {
    at: Location,
    #[serde(default)]
    record: EnvironmentState,
}

async fn put_environment(State(control): State<Control>, Json(put): Json<PutEnvironment>) -> Answer {
    found(control.put_environment(put.at, put.record))
}

async fn delete_environment(State(control): State<Control>, Json(at): Json<Location>) -> Answer {
    found(control.delete_environment(at))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StartJob {
    at: Location,
    operation: String,
    #[serde(default)]
    script: JobScript,
}

async fn start_job(State(control): State<Control>, Json(start): Json<StartJob>) -> Answer {
    match control.start_job(start.at, &start.operation, start.script) {
        Some(id) => Ok(Json(json!({ "jobId": id }))),
        None => found(false),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EndJob {
    at: Location,
    #[serde(default)]
    job_id: Option<String>,
    #[serde(default)]
    ending: Ending,
}

async fn end_job(State(control): State<Control>, Json(end): Json<EndJob>) -> Answer {
    found(control.end_job(end.at, end.job_id.as_deref(), end.ending))
}

async fn history(State(control): State<Control>, Query(filter): Query<Filter>) -> Json<Vec<Call>> {
    Json(calls(control).matching(&filter))
}

async fn clear_history(State(control): State<Control>) -> Json<Value> {
    calls(control).clear();
    Json(json!({}))
}

async fn counts(State(control): State<Control>) -> Json<Value> {
    Json(json!(calls(control).counts()))
}

async fn accepted_creates(State(control): State<Control>) -> Json<Value> {
    let calls = calls(control);
    Json(json!({ "calls": calls.accepted_creates(), "byObject": calls.creates_by_object() }))
}

async fn dangerous(State(control): State<Control>) -> Json<Vec<Call>> {
    Json(calls(control).dangerous())
}

fn calls(control: Control) -> Calls {
    Calls::new(control.shared)
}

fn found(found: bool) -> Answer {
    if found {
        return Ok(Json(json!({})));
    }
    Err((
        StatusCode::NOT_FOUND,
        Json(json!({ "message": "there is no such thing" })),
    ))
}
