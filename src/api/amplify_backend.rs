//! `AmplifyBackend`: a backend of an Amplify app, made by `CreateBackend` or `CloneBackend`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    common::{BackendRef, JobDuration, KeepsLedger, Ledger},
    outputs::{BackendOutputs, OutputsTo},
    policies::{HasNouns, Nouns, Policies},
    rules,
};

/// A backend environment of an Amplify (Gen 1) app, deployed by AWS.
///
/// The operator creates it with `CreateBackend` (set `appName`) or, as a copy of another backend, with `CloneBackend`
/// (set `cloneFrom`), and deletes it with `DeleteBackend`. AWS cannot change a backend: to change an immutable field,
/// delete the resource and create another.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, Serialize)]
#[kube(
    group = "amplify-operator.dev",
    version = "v1alpha1",
    kind = "AmplifyBackend",
    plural = "amplifybackends",
    shortname = "ab",
    category = "amplify",
    namespaced,
    status = "AmplifyBackendStatus",
    doc = "A backend of an AWS Amplify (Gen 1) app, managed with CreateBackend or CloneBackend, and DeleteBackend.",
    printcolumn(name = "APP", type_ = "string", json_path = ".spec.appId"),
    printcolumn(name = "ENVIRONMENT", type_ = "string", json_path = ".spec.backendEnvironmentName"),
    validation = Rule::new("!has(self.spec.cloneFrom) || !has(self.spec.cloneFrom.backendRef) || self.spec.cloneFrom.backendRef.name != self.metadata.name").message("cloneFrom.backendRef names this resource itself: name the AmplifyBackend to copy")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.appId == oldSelf.appId").message("appId is immutable: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another for the other app"),
    validation = Rule::new("self.backendEnvironmentName == oldSelf.backendEnvironmentName").message("backendEnvironmentName is immutable: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another for the other environment"),
    validation = Rule::new("(oldSelf.managementPolicy == 'Observe' && !has(oldSelf.appName) && !has(oldSelf.cloneFrom)) || has(self.appName) == has(oldSelf.appName) && (!has(self.appName) || self.appName == oldSelf.appName)").message("appName is immutable, also adding or removing it: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another"),
    validation = Rule::new("has(self.resourceName) == has(oldSelf.resourceName) && (!has(self.resourceName) || self.resourceName == oldSelf.resourceName)").message("resourceName is immutable, also adding or removing it: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another"),
    validation = Rule::new("has(self.resourceConfig) == has(oldSelf.resourceConfig)").message("resourceConfig is immutable, also adding or removing it: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another"),
    validation = Rule::new("(oldSelf.managementPolicy == 'Observe' && !has(oldSelf.appName) && !has(oldSelf.cloneFrom)) || has(self.cloneFrom) == has(oldSelf.cloneFrom) && (!has(self.cloneFrom) || self.cloneFrom == oldSelf.cloneFrom)").message("cloneFrom is immutable, also adding or removing it: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another"),
    validation = Rule::new("self.managementPolicy == 'Observe' || has(self.appName) || has(self.cloneFrom)").message("set appName (CreateBackend creates a new backend) or cloneFrom (CloneBackend copies a backend), or set managementPolicy: Observe to only observe an existing backend"),
    validation = Rule::new("!(has(self.appName) && has(self.cloneFrom))").message("appName and cloneFrom exclude each other: keep appName to create a new backend, or cloneFrom to copy one"),
    validation = Rule::new("!has(self.cloneFrom) || !(has(self.resourceName) || has(self.resourceConfig))").message("resourceName and resourceConfig belong to CreateBackend: remove them from a clone"),
    validation = Rule::new("!has(self.cloneFrom) || !has(self.cloneFrom.backendEnvironmentName) || self.cloneFrom.backendEnvironmentName != self.backendEnvironmentName").message("cloneFrom.backendEnvironmentName is this backend's own environment: name the environment to copy"),
    validation = Rule::new("!has(self.region) || !has(self.cloneFrom) || !has(self.cloneFrom.backendRef)").message("region is inherited from cloneFrom.backendRef: remove region")
)]
pub struct AmplifyBackendSpec {
    /// The ID of the Amplify app, such as `d1a2b3c4d5e6f7` (not its name or ARN). The app must exist. Immutable.
    #[schemars(schema_with = "rules::app_id")]
    pub app_id: String,
    /// The name of the backend environment, such as `staging`. The Amplify CLI works only with names of 2 to 10 lowercase letters; AWS accepts more. Immutable.
    #[schemars(schema_with = "rules::aws_name")]
    pub backend_environment_name: String,
    /// The name of the app. CreateBackend requires it. Unset: allowed only with `cloneFrom` or `managementPolicy: Observe`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub app_name: Option<String>,
    /// The optional argument `resourceName` of CreateBackend. AWS does not document its meaning. Unset: not sent. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::aws_name")]
    pub resource_name: Option<String>,
    /// The optional argument `resourceConfig` of CreateBackend: an object without fields, `{}`. Unset: not sent. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_config: Option<BackendResourceConfig>,
    /// The backend to copy with CloneBackend. It must be in the same app and region. Unset: CreateBackend creates a new backend, or, with `managementPolicy: Observe`, nothing is created. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_from: Option<CloneFrom>,
    /// The code of the AWS region, such as `eu-west-1`. Unset: the region in the namespace's entry of the operator's accounts file, otherwise the operator's own region. Not allowed together with `cloneFrom.backendRef`: the region of that backend applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::region")]
    pub region: Option<String>,
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

impl HasNouns for AmplifyBackend {
    const NOUNS: Nouns = Nouns {
        object: "backend",
        an_object: "a backend",
        and_then: "",
        its_job: Nouns::ITS_JOB,
    };
}

/// The resource configuration of CreateBackend: an object without fields.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct BackendResourceConfig {}

/// The backend to copy: give either `backendEnvironmentName` or `backendRef`.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.backendEnvironmentName) != has(self.backendRef)").message("give exactly one of backendEnvironmentName (an environment of the same app, by name) and backendRef (an AmplifyBackend in this namespace)"))]
pub struct CloneFrom {
    /// The name of the backend environment to copy, in the same app and region, such as `production`. Unset: give `backendRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::aws_name")]
    pub backend_environment_name: Option<String>,
    /// The AmplifyBackend to copy, in the same namespace, app and region. The clone waits until that AmplifyBackend is Ready. Unset: give `backendEnvironmentName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendRef>,
}

/// The status of the AmplifyBackend. Only the operator writes it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AmplifyBackendStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// Values of what AWS has deployed, from AWS's last answer that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Box<BackendOutputs>>,
}

impl KeepsLedger for AmplifyBackendStatus {
    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}
