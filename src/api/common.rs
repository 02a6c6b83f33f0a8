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
    /// The name of the AmplifyBackend, in the same namespace.
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
/// While neither `id` nor `finishTime` is set, the outcome of the call is not known: the operator looks for it in AWS.
#[derive(Clone, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// AWS's name of the operation.
    pub operation: Operation,
    /// The generation of the spec that this write carries out.
    pub generation: i64,
    /// Counts every write sent to AWS for this resource, updates and deletes included; never resets.
    pub attempt: i64,
    /// FAILED jobs in a row for this generation. Only these count against `--max-job-attempts`.
    #[serde(default)]
    pub failures: i64,
    /// For kinds with a configuration: the hash of the configuration that this attempt carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// For a clone: the environment to copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_environment_name: Option<String>,
    /// The time of the request, by AWS's clock. For a create: when the intent was stored, before the call. For an
    /// update or delete: when the answer, or the lack of an answer, was recorded.
    #[schemars(schema_with = "date_time")]
    pub request_time: Timestamp,
    /// A time before the request, by AWS's clock. For a create: the `createTime` of the newest job of the environment,
    /// listed just before the intent. For an update or delete: the end of the job that created or last updated the
    /// object. Absent: there was no such job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub after: Option<Timestamp>,
    /// True: the outcome of an earlier attempt since `after` (for an update or delete: of this attempt) is unknown.
    #[serde(default)]
    pub unconfirmed: bool,
    /// The ID of the AWS job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The environment that the job runs in, as AWS's reply names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_environment_name: Option<String>,
    /// The status of the job, in AWS's words: `RUNNING`, `COMPLETED`, `FAILED` or any other word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When the operator saw the end of the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub finish_time: Option<Timestamp>,
    /// Why the write failed or changed nothing, in AWS's words: their first line and their end, at most 1,003 bytes.
    /// For a create that completed: a note that AWS has not shown the object since then.
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

/// The part of `status` that all kinds share: the conditions, the ownership of the AWS object, and the last AWS job.
///
/// It is the operator's ledger. Only the operator writes it.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The newest generation of the spec that the conditions describe; -1 before the operator has seen the resource.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// `Ready` is always present; `Reconciling` is True while work goes on; `Stalled` is True when a person is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How this resource came to own the AWS object. Absent: it owns no AWS object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Origin")]
    pub origin: Option<Origin>,
    /// The AWS account of the object, pinned with the first intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The AWS region of the object, pinned with the first intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The last write to AWS that this resource intended or started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// The last value of the annotation amplify-operator.dev/reconcile-requested-at that was handled; a value
    /// over 128 bytes is stored as its digest.
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

/// The part of `status` that all kinds with a configuration share: the hashes of the configuration that was sent, and
/// of the configuration that AWS returned.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub struct Hashes {
    /// Hash of the resolved resourceConfig that the operator last sent to AWS.
    // Precisely: the configuration that AWS last accepted from this resource, or has shown to have. None: the
    // configuration in AWS is unknown, so AWS's echo is compared with the spec.
    #[serde(default, rename = "sentConfigHash", skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
    /// Hash of the values that AWS returned for the fields that the spec sets, after the last completed job. A change
    /// of this hash is drift.
    #[serde(default, rename = "echoedConfigHash", skip_serializing_if = "Option::is_none")]
    pub echoed: Option<String>,
}

/// Returns the schema of an RFC 3339 point in time.
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}
