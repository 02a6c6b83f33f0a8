//! `BackendEnvironment`: the record of a backend environment in an Amplify app. It deploys nothing.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    common::{KeepsLedger, Ledger, date_time},
    policies::{HasNouns, Nouns, Policies},
    rules,
};

/// The record of a backend environment in an Amplify (Gen 1) app.
///
/// `CreateBackendEnvironment` creates a record and deploys nothing: Ready means that the record exists. To deploy a
/// backend, use an AmplifyBackend, which creates its own record. Use one of the two for an environment, not both.
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
    printcolumn(name = "APP", type_ = "string", json_path = ".spec.appId"),
    printcolumn(name = "ENVIRONMENT", type_ = "string", json_path = ".spec.environmentName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.appId == oldSelf.appId").message("appId is immutable: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another for the other app"),
    validation = Rule::new("self.environmentName == oldSelf.environmentName").message("environmentName is immutable: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another for the other environment"),
    validation = Rule::new("has(self.stackName) == has(oldSelf.stackName) && (!has(self.stackName) || self.stackName == oldSelf.stackName)").message("stackName is immutable, also adding or removing it: AWS cannot change a record; delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another"),
    validation = Rule::new("has(self.deploymentArtifacts) == has(oldSelf.deploymentArtifacts) && (!has(self.deploymentArtifacts) || self.deploymentArtifacts == oldSelf.deploymentArtifacts)").message("deploymentArtifacts is immutable, also adding or removing it: AWS cannot change a record; delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another")
)]
pub struct BackendEnvironmentSpec {
    /// The ID of the Amplify app, such as `d1a2b3c4d5e6f7` (not its name or ARN). The app must exist. Immutable.
    #[schemars(schema_with = "rules::app_id")]
    pub app_id: String,
    /// The name of the backend environment, such as `staging`. Immutable.
    #[schemars(schema_with = "rules::aws_name")]
    pub environment_name: String,
    /// The AWS CloudFormation stack name of the backend environment. AWS does not check that the stack exists. Unset: the record has none. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub stack_name: Option<String>,
    /// The name of the deployment artifacts (the Amplify CLI puts an S3 bucket here). Unset: the record has none. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub deployment_artifacts: Option<String>,
    /// The code of the AWS region, such as `eu-west-1`. Unset: the region in the namespace's entry of the operator's accounts file, otherwise the operator's own region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::region")]
    pub region: Option<String>,
    /// The fields that all kinds share.
    #[serde(flatten)]
    pub policies: Policies,
}

impl HasNouns for BackendEnvironment {
    const NOUNS: Nouns = Nouns {
        object: "record",
        an_object: "a record",
        and_then: "",
        its_job: "",
    };
}

/// The status of the BackendEnvironment. Only the operator writes it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendEnvironmentStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// The ARN of the record, from AWS's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_environment_arn: Option<String>,
    /// The CloudFormation stack name of the record, from AWS's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack_name: Option<String>,
    /// The deployment artifacts of the record, from AWS's last answer.
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

impl KeepsLedger for BackendEnvironmentStatus {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}
