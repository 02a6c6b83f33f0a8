//! A history: every version of every object, every call to AWS, and every change behind the operator's back. Data only:
//! the recorder fills it and the checker reads it. The parts that need no cluster are shared with the simulation.

use std::collections::{BTreeMap, BTreeSet};

use amplify_operator::api::FINALIZER;
use amplify_simulator::{Call, Control, JobState, Operation};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::conditions::condition;

/// Milliseconds since the epoch. Operator, API server, simulator and recorder share one machine and its clock.
pub type Millis = i64;

/// All events of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The versions of all kinds, in order of their resource versions.
    pub versions: Vec<Version>,
    /// The calls, in order of arrival.
    pub calls: Vec<AwsCall>,
    /// The jobs at the end, by environment, oldest first.
    pub jobs: BTreeMap<String, Vec<JobState>>,
    /// The uids of objects whose finalizer another party removed during their deletion.
    pub stripped: BTreeSet<String>,
    /// AWS objects that another party removed behind the operator's back, with the time.
    pub meddled: Vec<(String, Millis)>,
    /// The schemas in the ConfigMaps, by name and key. They never change.
    pub schemas: BTreeMap<(String, String), String>,
    /// The longest time that a request may be on its way.
    pub on_the_way: Millis,
    /// The largest difference between the clocks of the operator, the API server and AWS.
    pub skew: Millis,
    /// The operator's `--outcome-grace`.
    pub outcome_grace: Millis,
    /// The operator's `--drift-interval`.
    pub drift_interval: Millis,
}

/// An object as the API server stored it.
#[derive(Clone, Debug)]
pub struct Version {
    pub number: u64,
    /// The time at which the recorder saw it.
    pub seen: Millis,
    /// The time of the operator's last write of the status, to the second.
    pub written: Millis,
    /// Whether it was the object's last version.
    pub gone: bool,
    pub object: Value,
    /// The AWS object of this name when the recorder saw the version; null if there was none.
    pub held: Value,
}

/// A call to AWS.
#[derive(Clone, Debug)]
pub struct AwsCall {
    pub time: Millis,
    pub operation: Operation,
    /// The key of the AWS object of the call; see [`Version::key`].
    pub key: String,
    pub accepted: bool,
    pub job: Option<String>,
}

impl From<Call> for AwsCall {
    fn from(call: Call) -> Self {
        Self {
            time: call.time,
            operation: call.operation,
            key: key(call.environment(), within(call.operation)),
            accepted: call.accepted,
            job: call.job_id.map(Into::into),
        }
    }
}

fn key(environment: &str, within: Option<&str>) -> String {
    match within {
        None => environment.to_owned(),
        Some(within) => format!("{environment}/{within}"),
    }
}

/// Returns the key of the AWS object of a resource of this kind.
pub fn key_of(kind: &str, environment: &str) -> String {
    let within = match kind {
        "BackendApi" => Some(API),
        "BackendStorage" => Some(STORAGE),
        _ => None,
    };
    key(environment, within)
}

/// Returns the part of an environment that an operation is about. An environment has one of each.
const fn within(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::CreateBackendApi
        | Operation::UpdateBackendApi
        | Operation::DeleteBackendApi
        | Operation::GetBackendApi => Some(API),
        Operation::CreateBackendStorage
        | Operation::ImportBackendStorage
        | Operation::UpdateBackendStorage
        | Operation::DeleteBackendStorage
        | Operation::GetBackendStorage => Some(STORAGE),
        _ => None,
    }
}

const API: &str = "api";
const STORAGE: &str = "storage";

/// Returns the AWS object of this version as AWS holds it now: its content, null, or the text "another" if another
/// object is in its place.
pub fn held(aws: &Control, app: &str, version: &Version) -> Value {
    let place = (app, version.environment());
    let name = version.spec()["resourceName"].as_str().unwrap_or_default();
    let backend = || aws.backend(place).unwrap_or_default();
    let or_another = |held: Option<Value>, others: usize| match held {
        Some(held) => held,
        None if others > 0 => "another".into(),
        None => Value::Null,
    };
    match version.kind() {
        "AmplifyBackend" => json!(aws.backend(place)),
        "BackendEnvironment" => json!(aws.environment(place)),
        "BackendStorage" => {
            let storages = backend().storages;
            or_another(storages.get(name).map(|storage| json!(storage.config)), storages.len())
        }
        _ => {
            let apis = backend().apis;
            or_another(apis.get(name).cloned(), apis.len())
        }
    }
}

impl Version {
    pub fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    pub fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    pub fn status(&self) -> &Value {
        &self.object["status"]
    }

    pub fn generation(&self) -> i64 {
        self.object["metadata"]["generation"].as_i64().unwrap_or_default()
    }

    /// Returns the backend environment. Backends have the name of their environment, so a reference names the
    /// environment.
    pub fn environment(&self) -> &str {
        let spec = self.spec();
        [
            &spec["backendEnvironmentName"],
            &spec["environmentName"],
            &spec["backendRef"]["name"],
        ]
        .into_iter()
        .find_map(Value::as_str)
        .unwrap_or_default()
    }

    /// Returns the source environment of a clone.
    pub fn source(&self) -> Option<&str> {
        let from = &self.spec()["cloneFrom"];
        from["backendEnvironmentName"]
            .as_str()
            .or_else(|| from["backendRef"]["name"].as_str())
    }

    /// Returns the key of its AWS object: `environment`, `environment/api` or similar.
    pub fn key(&self) -> String {
        key_of(self.kind(), self.environment())
    }

    pub fn deleting_since(&self) -> Option<Millis> {
        time(&self.object["metadata"]["deletionTimestamp"])
    }

    pub fn has_finalizer(&self) -> bool {
        let finalizers = self.object["metadata"]["finalizers"].as_array();
        finalizers.is_some_and(|all| all.iter().any(|name| name == FINALIZER))
    }

    pub fn origin(&self) -> Option<&str> {
        self.status()["origin"].as_str()
    }

    pub fn ready(&self) -> &Value {
        condition(&self.object, "Ready")
    }

    pub fn reason(&self) -> &str {
        self.ready()["reason"].as_str().unwrap_or_default()
    }

    pub fn is_ready(&self) -> bool {
        self.ready()["status"] == "True"
    }

    pub fn attempt(&self) -> i64 {
        self.status()["job"]["attempt"].as_i64().unwrap_or_default()
    }

    /// Returns the last write, if it is a create that AWS may have accepted and whose outcome is not known.
    pub fn open_intent(&self) -> Option<&Value> {
        let job = &self.status()["job"];
        (job.is_object() && job["id"].is_null() && job["finishTime"].is_null()).then_some(job)
    }

    /// Whether deleting the resource deletes the AWS object that it owns.
    pub fn deletes(&self) -> bool {
        match (self.origin(), self.spec()["deletionPolicy"].as_str()) {
            (None, _) | (_, Some("Retain")) => false,
            (Some(_), Some(_)) => true,
            (Some(origin), None) => origin != "Adopted",
        }
    }

    /// Returns kind and name for messages.
    pub fn title(&self) -> String {
        format!("{} {} ({})", self.kind(), self.name(), self.uid())
    }
}

/// Parses a time in the format of Kubernetes.
pub fn time(value: &Value) -> Option<Millis> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    Some(time.as_millisecond())
}
