//! `BackendStorage`: the S3 storage of a backend, made by `CreateBackendStorage` or `ImportBackendStorage`.

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    backend_target::{BackendTarget, ResolvedTarget},
    common::{Hashes, JobDuration, KeepsLedger, Ledger},
    outputs::{OutputsTo, StorageOutputs},
    policies::{HasNouns, Nouns, Policies},
    rules,
};

/// The S3 storage of an Amplify (Gen 1) backend. A backend has at most one.
///
/// The operator creates it with `CreateBackendStorage` (set `resourceName` and `resourceConfig`) and changes it with
/// `UpdateBackendStorage` when its permissions change. Or it links an existing bucket with `ImportBackendStorage` (set
/// `import`). It removes the storage from the backend with `DeleteBackendStorage`; AWS keeps the bucket and its
/// content. A storage needs an auth in the backend (`amplify add auth`): without an auth, the resource waits.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, Serialize)]
#[kube(
    group = "amplify-operator.dev",
    version = "v1alpha1",
    kind = "BackendStorage",
    plural = "backendstorages",
    shortname = "bsto",
    category = "amplify",
    namespaced,
    status = "BackendStorageStatus",
    doc = "The S3 storage of an AWS Amplify (Gen 1) backend, managed with CreateBackendStorage or ImportBackendStorage, UpdateBackendStorage and DeleteBackendStorage.",
    printcolumn(name = "APP", type_ = "string", json_path = ".status.appId"),
    printcolumn(name = "ENVIRONMENT", type_ = "string", json_path = ".status.backendEnvironmentName")
)]
// `import` is a word of CEL: https://kubernetes.io/docs/reference/using-api/cel/#escaping.
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.resourceName) == has(oldSelf.resourceName) && (!has(self.resourceName) || self.resourceName == oldSelf.resourceName)").message("resourceName is immutable, also adding or removing it: delete this resource (AWS keeps the bucket) and create another"),
    validation = Rule::new("has(self.__import__) == has(oldSelf.__import__) && (!has(self.__import__) || self.__import__ == oldSelf.__import__)").message("import is immutable, also adding or removing it: delete this resource (AWS keeps the bucket) and create another"),
    validation = Rule::new("!has(self.resourceConfig) || !has(oldSelf.resourceConfig) || has(self.resourceConfig.bucketName) == has(oldSelf.resourceConfig.bucketName) && (!has(self.resourceConfig.bucketName) || self.resourceConfig.bucketName == oldSelf.resourceConfig.bucketName)").message("resourceConfig.bucketName is immutable, also adding or removing it: AWS cannot rename a bucket; delete this resource (AWS keeps the bucket) and create another"),
    validation = Rule::new("has(self.__import__) || (has(self.resourceName) && has(self.resourceConfig))").message("set resourceName and resourceConfig (CreateBackendStorage creates a bucket), or import (ImportBackendStorage links an existing bucket)"),
    validation = Rule::new("!(has(self.__import__) && (has(self.resourceName) || has(self.resourceConfig)))").message("import excludes resourceName and resourceConfig, because AWS names an imported storage and cannot change it: keep import, or keep the pair")
)]
pub struct BackendStorageSpec {
    /// The backend that the storage belongs to.
    #[serde(flatten)]
    pub target: BackendTarget,
    /// The name of the storage in the backend, such as `photos`: a letter, then letters and digits. Unset: give `import`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "resource_word")]
    pub resource_name: Option<String>,
    /// The configuration of the storage. A change of its permissions runs UpdateBackendStorage. Unset: give `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_config: Option<StorageConfig>,
    /// An existing S3 bucket to link with ImportBackendStorage. AWS names the storage (see `status.resourceName`) and cannot change it. Unset: give `resourceName` and `resourceConfig`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportedBucket>,
    /// The fields that all kinds share.
    #[serde(flatten)]
    pub policies: Policies,
    /// How long an AWS job may run before the resource becomes Stalled with the reason JobTimedOut, such as `90m`. AWS cannot cancel a job: when it ends later, the operator continues from there. Unset: the operator's `--job-timeout` (2h by default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_timeout: Option<JobDuration>,
    /// Where `status.outputs` is also written: a ConfigMap for pods. Unset: only in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_to: Option<OutputsTo>,
}

impl HasNouns for BackendStorage {
    const NOUNS: Nouns = Nouns {
        object: "storage",
        an_object: "a storage",
        and_then: " and updates its permissions where they differ from `resourceConfig`",
        its_job: Nouns::ITS_JOB,
    };
}

/// The configuration of a storage, as CreateBackendStorage takes it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageConfig {
    /// The beginning of the new bucket's name; AWS adds a suffix. Unset: AWS chooses the name. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bucket_prefix")]
    pub bucket_name: Option<String>,
    /// The permissions of users on the files. Each change replaces all of them in AWS.
    pub permissions: Permissions,
}

/// The permissions of users on the files of a storage.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// The permissions of signed-in users. `[]`: none.
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub authenticated: Vec<Permission>,
    /// The permissions of guests (users who have not signed in). With any permission here, AWS allows guest access, which changes the backend's auth. Unset: none, as with `[]`. The operator then sends no guest permissions, and AWS removes those that guests had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub un_authenticated: Option<Vec<Permission>>,
}

/// A permission on the files of a storage, in AWS's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// See and load files.
    Read,
    /// Write files.
    CreateAndUpdate,
    /// Remove files.
    Delete,
}

/// An existing S3 bucket.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportedBucket {
    /// The name of the bucket, in the account and region of the backend.
    #[schemars(schema_with = "bucket_name")]
    pub bucket_name: String,
}

/// Returns the schema of a resource name that becomes part of a CloudFormation logical id, which is alphanumeric.
fn resource_word(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not a name that Amplify takes here: give a letter and up to 63 letters and digits, such as photos";
    rules::text(255, "^[a-zA-Z][a-zA-Z0-9]{0,63}$", sentence)
}

/// Returns the schema of the beginning of a bucket's name. AWS adds up to 16 characters.
fn bucket_prefix(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not a valid beginning of an S3 bucket name: give 3 to 47 lowercase letters, digits, . and -, a letter or digit at both ends, such as shop-photos";
    rules::text(rules::LONG, "^[a-z0-9][a-z0-9.-]{1,45}[a-z0-9]$", sentence)
}

/// Returns the schema of a bucket's name:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
fn bucket_name(_: &mut SchemaGenerator) -> Schema {
    let sentence = "not the name of an S3 bucket: give 3 to 63 lowercase letters, digits, . and -, a letter or digit at both ends, such as shop-photos-1234";
    rules::text(rules::LONG, "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", sentence)
}

/// The status of the BackendStorage. Only the operator writes it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStorageStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// The backend that the storage belongs to.
    #[serde(flatten)]
    pub target: ResolvedTarget,
    /// The name of the storage in the backend, as AWS reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_name: Option<String>,
    /// The hashes of the configuration that AWS has.
    #[serde(flatten)]
    pub hashes: Hashes,
    /// Values of what AWS has deployed, from AWS's last answer that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<StorageOutputs>,
}

impl KeepsLedger for BackendStorageStatus {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    fn hashes(&self) -> Hashes {
        self.hashes.clone()
    }
}
