//! `AmplifyBackend`: a backend of an Amplify app, made by `CreateBackend` or `CloneBackend`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::common::{AdoptionPolicy, BackendRef, DeletionPolicy, JobDuration, Ledger};

/// A backend environment of an Amplify (Gen 1) app, deployed by AWS.
///
/// It is created with `CreateBackend` (give `appName`) or, as a copy of another backend, with `CloneBackend`
/// (give `cloneFrom`), and deleted with `DeleteBackend`. AWS has no operation that changes a backend: to change
/// one of these fields, delete the resource and create another.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, Serialize)]
#[kube(
    group = "amplify-operator.dev",
    version = "v1alpha1",
    kind = "AmplifyBackend",
    plural = "amplifybackends",
    shortname = "ab",
    category = "amplify",
    namespaced,
    status = "Ledger",
    doc = "A backend of an AWS Amplify (Gen 1) app: CreateBackend or CloneBackend, kept until it is deleted.",
    printcolumn(name = "READY", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "REASON", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "APP", type_ = "string", json_path = ".spec.appId"),
    printcolumn(name = "ENVIRONMENT", type_ = "string", json_path = ".spec.backendEnvironmentName"),
    printcolumn(name = "JOB", type_ = "string", json_path = ".status.job.status"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "JOB-ID", type_ = "string", json_path = ".status.job.id", priority = 1),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("!has(self.spec.cloneFrom) || !has(self.spec.cloneFrom.backendRef) || self.spec.cloneFrom.backendRef.name != self.metadata.name").message("cloneFrom.backendRef names this resource itself: name the AmplifyBackend to copy")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.appId == oldSelf.appId").message("appId is immutable: delete this resource and create another for the other app"),
    validation = Rule::new("self.backendEnvironmentName == oldSelf.backendEnvironmentName").message("backendEnvironmentName is immutable: delete this resource and create another for the other environment"),
    validation = Rule::new("has(self.appName) == has(oldSelf.appName) && (!has(self.appName) || self.appName == oldSelf.appName)").message("appName is immutable, also adding or removing it: delete this resource and create another"),
    validation = Rule::new("has(self.resourceName) == has(oldSelf.resourceName) && (!has(self.resourceName) || self.resourceName == oldSelf.resourceName)").message("resourceName is immutable, also adding or removing it: delete this resource and create another"),
    validation = Rule::new("has(self.resourceConfig) == has(oldSelf.resourceConfig)").message("resourceConfig is immutable, also adding or removing it: delete this resource and create another"),
    validation = Rule::new("has(self.cloneFrom) == has(oldSelf.cloneFrom) && (!has(self.cloneFrom) || self.cloneFrom == oldSelf.cloneFrom)").message("cloneFrom is immutable, also adding or removing it: delete this resource and create another"),
    validation = Rule::new("has(self.appName) || has(self.cloneFrom)").message("give appName (CreateBackend makes a new backend) or cloneFrom (CloneBackend copies one)"),
    validation = Rule::new("!(has(self.appName) && has(self.cloneFrom))").message("appName and cloneFrom exclude each other: keep appName to create a new backend, or cloneFrom to copy one"),
    validation = Rule::new("!has(self.cloneFrom) || !(has(self.resourceName) || has(self.resourceConfig))").message("resourceName and resourceConfig belong to CreateBackend: remove them from a clone"),
    validation = Rule::new("!has(self.cloneFrom) || !has(self.cloneFrom.backendEnvironmentName) || self.cloneFrom.backendEnvironmentName != self.backendEnvironmentName").message("cloneFrom.backendEnvironmentName is this backend's own environment: name the environment to copy"),
    validation = Rule::new("!has(self.region) || !has(self.cloneFrom) || !has(self.cloneFrom.backendRef)").message("region is inherited from cloneFrom.backendRef: remove region"),
    validation = Rule::new("!has(self.adoptionPolicy) || self.adoptionPolicy != 'IfExists' || has(self.deletionPolicy)").message("adoptionPolicy IfExists needs an explicit deletionPolicy: Retain leaves the adopted AWS object when this resource is deleted, Delete deletes it")
)]
pub struct AmplifyBackendSpec {
    /// The app's ID in AWS Amplify, such as `d1a2b3c4d5e6f7`. Immutable.
    #[schemars(regex(pattern = r"^d[a-z0-9]{1,19}$"), length(max = 20))]
    pub app_id: String,
    /// The name of the backend environment, such as `staging`. The Amplify CLI accepts 2 to 10 lowercase letters; AWS accepts more. Immutable.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"), length(max = 255))]
    pub backend_environment_name: String,
    /// The name of the app. Required for CreateBackend; not together with `cloneFrom`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub app_name: Option<String>,
    /// The name of the resource, which CreateBackend takes and AWS does not explain. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"), length(max = 255))]
    pub resource_name: Option<String>,
    /// The resource configuration for creating a backend: an object without members in AWS's model. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_config: Option<BackendResourceConfig>,
    /// Makes this backend a copy of another backend of the same app and region, with CloneBackend. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_from: Option<CloneFrom>,
    /// AWS region. Precedence: this, the namespace's account entry, the operator's own. Not together with `cloneFrom.backendRef`, from which it is inherited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$"), length(max = 32))]
    pub region: Option<String>,
    /// `Delete`: deleting this resource deletes the backend in AWS. `Retain`: leaves it. Unset means `Delete` for a backend that this resource created; must be set with `adoptionPolicy: IfExists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// `Never`: a backend that already exists in AWS and that this resource did not create is not touched, and the resource says AlreadyExists. `IfExists`: it is taken over.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// True: no AWS call is made for this resource, deletion included, until it is false again. A job that AWS runs goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How long an AWS job may run before the resource is Stalled with the reason JobTimedOut, such as `90m`. A late end is still honoured. Unset: the operator's `--job-timeout` (2h unless set).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_timeout: Option<JobDuration>,
}

/// The resource configuration of CreateBackend, an object without members in AWS's model.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
pub struct BackendResourceConfig {}

/// The backend to copy: exactly one of its environment's name and a reference to its AmplifyBackend.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.backendEnvironmentName) != has(self.backendRef)").message("give exactly one of backendEnvironmentName (an environment of the same app, by name) and backendRef (an AmplifyBackend in this namespace)"))]
pub struct CloneFrom {
    /// The name of the backend environment to copy, in the same app and region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"), length(max = 255))]
    pub backend_environment_name: Option<String>,
    /// An AmplifyBackend of the same namespace, app and region. The clone waits until it is Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendRef>,
}
