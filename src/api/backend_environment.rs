//! `BackendEnvironment`: the record of a backend environment in an Amplify app. It deploys nothing.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{AdoptionPolicy, DeletionPolicy, Ledger, date_time};

/// The record of a backend environment in an Amplify (Gen 1) app.
///
/// `CreateBackendEnvironment` registers a record and deploys nothing: Ready means that the record exists. To
/// deploy a backend use an AmplifyBackend, which registers its own record; the two exclude each other.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, Serialize)]
#[kube(
    group = "amplify-operator.dev",
    version = "v1alpha1",
    kind = "BackendEnvironment",
    plural = "backendenvironments",
    shortname = "benv",
    category = "amplify",
    namespaced,
    status = "BackendEnvironmentStatus",
    doc = "The record of a backend environment in an AWS Amplify (Gen 1) app. It deploys nothing: Ready means that the record exists.",
    printcolumn(
        name = "READY",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "REASON",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "APP", type_ = "string", json_path = ".spec.appId"),
    printcolumn(name = "ENVIRONMENT", type_ = "string", json_path = ".spec.environmentName"),
    printcolumn(name = "JOB", type_ = "string", json_path = ".status.job.status"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "JOB-ID", type_ = "string", json_path = ".status.job.id", priority = 1),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.appId == oldSelf.appId").message("appId is immutable: delete this resource and create another for the other app"),
    validation = Rule::new("self.environmentName == oldSelf.environmentName").message("environmentName is immutable: delete this resource and create another for the other environment"),
    validation = Rule::new("has(self.stackName) == has(oldSelf.stackName) && (!has(self.stackName) || self.stackName == oldSelf.stackName)").message("stackName is immutable, also adding or removing it: AWS cannot change a record; delete this resource and create another"),
    validation = Rule::new("has(self.deploymentArtifacts) == has(oldSelf.deploymentArtifacts) && (!has(self.deploymentArtifacts) || self.deploymentArtifacts == oldSelf.deploymentArtifacts)").message("deploymentArtifacts is immutable, also adding or removing it: AWS cannot change a record; delete this resource and create another"),
    validation = Rule::new("!has(self.adoptionPolicy) || self.adoptionPolicy != 'IfExists' || has(self.deletionPolicy)").message("adoptionPolicy IfExists needs an explicit deletionPolicy: Retain leaves the adopted AWS object when this resource is deleted, Delete deletes it")
)]
pub struct BackendEnvironmentSpec {
    /// The app's ID in AWS Amplify, such as `d1a2b3c4d5e6f7`. Immutable.
    #[schemars(regex(pattern = r"^d[a-z0-9]{1,19}$"), length(max = 20))]
    pub app_id: String,
    /// The name of the backend environment, such as `staging`. Immutable.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"), length(max = 255))]
    pub environment_name: String,
    /// The AWS CloudFormation stack name of the backend environment. AWS does not check that it exists. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub stack_name: Option<String>,
    /// The name of the deployment artifacts (an S3 bucket, as the Amplify CLI uses it). Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub deployment_artifacts: Option<String>,
    /// AWS region. Precedence: this, the namespace's account entry, the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$"), length(max = 32))]
    pub region: Option<String>,
    /// `Delete`: deleting this resource deletes the record in AWS. `Retain`: leaves it. Unset means `Delete` for a record that this resource created; must be set with `adoptionPolicy: IfExists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// `Never`: a record that already exists in AWS and that this resource did not create is not touched, and the resource says AlreadyExists. `IfExists`: it is taken over.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// True: no AWS call is made for this resource, deletion included, until it is false again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What the operator knows about a `BackendEnvironment`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendEnvironmentStatus {
    /// What all kinds share.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// The record's ARN, as AWS answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_environment_arn: Option<String>,
    /// The record's CloudFormation stack name, as AWS answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<String>,
    /// The record's deployment artifacts, as AWS answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_artifacts: Option<String>,
    /// When AWS created the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub create_time: Option<Timestamp>,
    /// When AWS last changed the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub update_time: Option<Timestamp>,
}
