//! The types that all kinds share: references, and the part of `status` that is the ledger of AWS jobs.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    operation::{Operation, Origin},
    rules,
};

/// A reference to an `AmplifyBackend` in the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// Name of the AmplifyBackend, in the same namespace.
    #[schemars(schema_with = "rules::object_name")]
    pub name: String,
}

/// A duration such as `90m` or `1h30m`: whole numbers with the units `s`, `m` and `h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JobDuration(pub SignedDuration);

impl FromStr for JobDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse::<SignedDuration>();
        match parsed {
            Ok(duration) if duration > SignedDuration::ZERO => Ok(Self(duration)),
            _ => Err(format!("{text:?} is not a duration such as 30s, 90m or 2h")),
        }
    }
}

impl fmt::Display for JobDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Serialize for JobDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for JobDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JobDuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        rules::duration(generator)
    }
}

/// The last write to AWS that this resource intended or started.
///
/// Neither `id` nor `finishTime`: the outcome of the call is not known yet, and the operator is finding out.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// AWS's name of the operation.
    pub operation: Operation,
    /// Generation of the spec that it carries out.
    pub generation: i64,
    /// Counts every write sent to AWS for this resource, updates and deletes included; never resets.
    pub attempt: i64,
    /// FAILED jobs in a row for this generation. Only these count against `--max-job-attempts`.
    #[serde(default)]
    pub failures: i64,
    /// Of kinds with a configuration: the hash of what this attempt carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Of a clone: the environment that is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_environment_name: Option<String>,
    /// By AWS's clock. Of a create: when the intent was written, before the call. Of an update or delete: when the answer,
    /// or that there was none, was recorded.
    #[schemars(schema_with = "date_time")]
    pub request_time: Timestamp,
    /// By AWS's clock. Of a create: `createTime` of the environment's newest job, listed just before the intent. Of an update
    /// or delete: when the job ended that made the object what it was before. Absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub after: Option<Timestamp>,
    /// True: an earlier attempt since `after` (of an update or delete: this one) ended with its outcome unknown.
    #[serde(default)]
    pub unconfirmed: bool,
    /// AWS's JobId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The environment that the job runs in, as AWS's reply names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_environment_name: Option<String>,
    /// AWS's own word: `RUNNING`, `COMPLETED`, `FAILED` or whatever else AWS says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When the operator saw the end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub finish_time: Option<Timestamp>,
    /// Why it failed or came to nothing, in AWS's words: the first line and the end of them, 1,003 bytes at the most. Of a
    /// create that completed: that AWS has not shown the object since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Job {
    /// AWS's status of a job that has succeeded.
    pub const COMPLETED: &str = "COMPLETED";
    /// AWS's status of a job that has failed.
    pub const FAILED: &str = "FAILED";

    /// Returns the phase of the job. Only this function interprets id, status and end together.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (&self.finish_time, &self.id, self.status.as_deref()) {
            (None, None, _) => Phase::Intended,
            (None, Some(_), _) => Phase::Running,
            (Some(_), _, Some(Self::COMPLETED)) => Phase::Completed,
            (Some(_), _, Some(Self::FAILED)) => Phase::Failed,
            (Some(_), ..) => Phase::Closed,
        }
    }

    /// Whether the outcome of the call is not known yet.
    #[must_use]
    pub fn is_open_intent(&self) -> bool {
        self.phase() == Phase::Intended
    }

    /// Whether AWS runs this job, as far as is known.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Whether the job ended with AWS's word for failure.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.phase() == Phase::Failed
    }

    /// Whether the job ended with AWS's word for success.
    #[must_use]
    pub fn has_completed(&self) -> bool {
        self.phase() == Phase::Completed
    }
}

/// The phase of a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The write may have been sent, and its outcome is unknown.
    Intended,
    /// AWS runs the job, as far as is known.
    Running,
    /// The job ended with AWS's word for success.
    Completed,
    /// The job ended with AWS's word for failure.
    Failed,
    /// The write ended without either word: AWS refused it, forgot its job, or answered with the result and no job.
    Closed,
}

/// The part of `status` that all kinds share: what is known, what is owned, and which AWS job is under way.
///
/// It is the operator's ledger. Only the operator writes it.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The newest generation of the spec that the conditions speak of; -1 before the operator has seen the resource.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// `Ready` is always there; `Reconciling` is True while work goes on; `Stalled` is True when a person is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Set when this resource owns the AWS object, and how it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Origin")]
    pub origin: Option<Origin>,
    /// AWS account that the object lives in, pinned with the first intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// AWS region that the object lives in, pinned with the first intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The last write to AWS that this resource intended or started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// The last value of the annotation amplify-operator.dev/reconcile-requested-at that was handled; one over 128 bytes as its
    /// digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// When the operator first saw that the backend environment is locked for a Gen 2 migration. While it is set, the operator does
    /// not create an AWS object that is gone. Removed when the environment is no longer locked and AWS still shows the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub migration_locked_at: Option<Timestamp>,
}

const fn unseen() -> i64 {
    -1
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            observed_generation: unseen(),
            conditions: Vec::new(),
            origin: None,
            account_id: None,
            region: None,
            job: None,
            last_handled_reconcile_at: None,
            migration_locked_at: None,
        }
    }
}

/// A status that contains a ledger.
pub trait KeepsLedger {
    /// Returns the part that all kinds share.
    fn ledger(&self) -> &Ledger;

    /// Returns the same part for changes.
    fn ledger_mut(&mut self) -> &mut Ledger;

    /// Returns the hashes of the configuration that AWS has, for kinds with a configuration.
    fn hashes(&self) -> Hashes {
        Hashes::default()
    }
}

impl KeepsLedger for Ledger {
    fn ledger(&self) -> &Ledger {
        self
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        self
    }
}

/// The part of `status` that all kinds with a configuration share: what AWS has of it, and what it echoed.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub struct Hashes {
    /// Hash of the resolved resourceConfig that was sent to AWS last.
    // Precisely: the configuration that AWS last accepted from this resource, or has shown to have. None: the
    // configuration in AWS is unknown, so AWS's echo is compared with the spec.
    #[serde(default, rename = "sentConfigHash", skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// Hash of what AWS echoed for the fields that the spec sets, after the last completed job. A change of it is drift.
    #[serde(default, rename = "echoedConfigHash", skip_serializing_if = "Option::is_none")]
    pub echoed: Option<String>,
}

/// Returns the schema of an RFC 3339 point in time.
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}
