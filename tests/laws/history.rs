//! What happened: every version of every object, every call to AWS, and what was done behind the operator's back. Data
//! only; who records fills it and the checker reads it. What needs no cluster is shared with the simulation.

use std::collections::{BTreeMap, BTreeSet};

use amplify_operator::api::FINALIZER;
use amplify_simulator::{Call, JobState, Operation};
use jiff::Timestamp;
use serde_json::Value;

use crate::conditions::condition;

/// Milliseconds since the epoch. Operator, API server, simulator and recorder share a machine and so a clock.
pub(crate) type Millis = i64;

/// All that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// In the order of their resource versions, over all kinds.
    pub(crate) versions: Vec<Version>,
    /// In the order of their arrival.
    pub(crate) calls: Vec<AwsCall>,
    /// By environment, oldest first, at the end.
    pub(crate) jobs: BTreeMap<String, Vec<JobState>>,
    /// Objects whose finalizer somebody took off while they were being deleted.
    pub(crate) stripped: BTreeSet<String>,
    /// AWS objects that somebody removed behind the operator's back, and when.
    pub(crate) meddled: Vec<(String, Millis)>,
    /// What the ConfigMaps say, by name and key. They never change.
    pub(crate) schemas: BTreeMap<(String, String), String>,
    /// How much later than it may be sent a request may arrive.
    pub(crate) on_the_way: Millis,
    /// How far apart the clocks of the operator, the API server and AWS may be.
    pub(crate) skew: Millis,
    /// `--outcome-grace`
    pub(crate) outcome_grace: Millis,
    /// `--drift-interval`
    pub(crate) drift_interval: Millis,
}

/// An object as the API server stored it.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) number: u64,
    /// When the recorder saw it.
    pub(crate) seen: Millis,
    /// When the operator last wrote its status, to the second.
    pub(crate) written: Millis,
    /// It was the object's last.
    pub(crate) gone: bool,
    pub(crate) object: Value,
    /// What AWS held under its name when the recorder saw it; null where that was nothing.
    pub(crate) held: Value,
}

/// A call to AWS.
#[derive(Clone, Debug)]
pub(crate) struct AwsCall {
    pub(crate) time: Millis,
    pub(crate) operation: Operation,
    /// The AWS object that it is about; see [`Version::key`].
    pub(crate) key: String,
    pub(crate) accepted: bool,
    pub(crate) job: Option<String>,
}

impl From<Call> for AwsCall {
    fn from(call: Call) -> Self {
        let is_api = matches!(
            call.operation,
            Operation::CreateBackendApi
                | Operation::UpdateBackendApi
                | Operation::DeleteBackendApi
                | Operation::GetBackendApi
        );
        Self {
            time: call.time,
            operation: call.operation,
            key: key(call.environment(), is_api.then(|| call.resource())),
            accepted: call.accepted,
            job: call.job_id.map(Into::into),
        }
    }
}

fn key(environment: &str, resource: Option<&str>) -> String {
    match resource {
        None => environment.to_owned(),
        Some(resource) => format!("{environment}/{resource}"),
    }
}

impl Version {
    pub(crate) fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    pub(crate) fn status(&self) -> &Value {
        &self.object["status"]
    }

    pub(crate) fn generation(&self) -> i64 {
        self.object["metadata"]["generation"].as_i64().unwrap_or_default()
    }

    /// The backend environment. Resources refer to backends that are called as their environments.
    pub(crate) fn environment(&self) -> &str {
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

    /// Of a clone: the environment that is copied.
    pub(crate) fn source(&self) -> Option<&str> {
        let from = &self.spec()["cloneFrom"];
        from["backendEnvironmentName"]
            .as_str()
            .or_else(|| from["backendRef"]["name"].as_str())
    }

    /// The name of its AWS object: `environment`, or `environment/resource` of an API.
    pub(crate) fn key(&self) -> String {
        let resource = self.spec()["resourceName"].as_str();
        key(self.environment(), resource.filter(|_| self.kind() == "BackendApi"))
    }

    pub(crate) fn deleting_since(&self) -> Option<Millis> {
        time(&self.object["metadata"]["deletionTimestamp"])
    }

    pub(crate) fn has_finalizer(&self) -> bool {
        let finalizers = self.object["metadata"]["finalizers"].as_array();
        finalizers.is_some_and(|all| all.iter().any(|name| name == FINALIZER))
    }

    pub(crate) fn origin(&self) -> Option<&str> {
        self.status()["origin"].as_str()
    }

    pub(crate) fn ready(&self) -> &Value {
        condition(&self.object, "Ready")
    }

    pub(crate) fn reason(&self) -> &str {
        self.ready()["reason"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready()["status"] == "True"
    }

    pub(crate) fn attempt(&self) -> i64 {
        self.status()["job"]["attempt"].as_i64().unwrap_or_default()
    }

    /// The last write, where it is a create that AWS may have taken and nobody knows yet.
    pub(crate) fn open_intent(&self) -> Option<&Value> {
        let job = &self.status()["job"];
        (job.is_object() && job["id"].is_null() && job["finishTime"].is_null()).then_some(job)
    }

    /// Whether its deletion deletes what it owns.
    pub(crate) fn deletes(&self) -> bool {
        match (self.origin(), self.spec()["deletionPolicy"].as_str()) {
            (None, _) | (_, Some("Retain")) => false,
            (Some(_), Some(_)) => true,
            (Some(origin), None) => origin != "Adopted",
        }
    }

    /// Kind and name, for people.
    pub(crate) fn title(&self) -> String {
        format!("{} {} ({})", self.kind(), self.name(), self.uid())
    }
}

/// A point in time as Kubernetes writes it.
pub(crate) fn time(value: &Value) -> Option<Millis> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    Some(time.as_millisecond())
}
