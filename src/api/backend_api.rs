//! `BackendApi`: the GraphQL API of a backend, made by `CreateBackendAPI` and changed by `UpdateBackendAPI`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    backend_target::{BackendTarget, ResolvedTarget},
    common::{Hashes, JobDuration, KeepsLedger, Ledger},
    outputs::{ApiOutputs, OutputsTo},
    policies::{HasNouns, Nouns, Policies},
    rules,
};

/// The GraphQL API (an AppSync data model) of an Amplify (Gen 1) backend.
///
/// The operator creates it with `CreateBackendAPI`, changes it with `UpdateBackendAPI` when `resourceConfig` changes or
/// the API in AWS no longer matches it, and deletes it with `DeleteBackendAPI`.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, Serialize)]
#[kube(
    group = "amplify-operator.dev",
    version = "v1alpha1",
    kind = "BackendApi",
    plural = "backendapis",
    shortname = "bapi",
    category = "amplify",
    namespaced,
    status = "BackendApiStatus",
    doc = "The GraphQL API of an AWS Amplify (Gen 1) backend, managed with CreateBackendAPI, UpdateBackendAPI and DeleteBackendAPI.",
    printcolumn(name = "APP", type_ = "string", json_path = ".status.appId"),
    printcolumn(name = "ENVIRONMENT", type_ = "string", json_path = ".status.backendEnvironmentName")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.resourceName == oldSelf.resourceName").message("resourceName is immutable: delete this resource, which deletes the AWS object unless deletionPolicy is Retain, and create another")
)]
pub struct BackendApiSpec {
    /// The backend that the API belongs to.
    #[serde(flatten)]
    pub target: BackendTarget,
    /// The name of the API in the backend, such as `storefront`. The Amplify CLI works only with letters and digits. Immutable.
    #[schemars(schema_with = "rules::aws_name")]
    pub resource_name: String,
    /// The configuration of the API. A change runs UpdateBackendAPI. Fields you leave out are not managed.
    pub resource_config: ResourceConfig,
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

impl HasNouns for BackendApi {
    const NOUNS: Nouns = Nouns {
        object: "API",
        an_object: "an API",
        and_then: " and updates it where it differs from `resourceConfig`",
        its_job: Nouns::ITS_JOB,
    };
}

/// The configuration of a GraphQL API, as CreateBackendAPI and UpdateBackendAPI take it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.transformSchema) && has(self.transformSchemaFrom))").message("transformSchema and transformSchemaFrom exclude each other: keep one"))]
pub struct ResourceConfig {
    /// The API name used to interact with the data model, configured as a part of the Amplify project. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub api_name: Option<String>,
    /// The service used to provision and interact with the data model. The Amplify CLI sends `AppSync`. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub service: Option<String>,
    /// The data model: a GraphQL schema (SDL) with Amplify's transform directives such as `@model`, at most 512 KiB. **When you remove a model, AWS deletes its table.** Unset: `transformSchemaFrom` applies; without that field, the schema is not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::transform_schema")]
    pub transform_schema: Option<String>,
    /// The source of `transformSchema`. Not allowed together with `transformSchema`. Unset: `transformSchema` applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform_schema_from: Option<TransformSchemaFrom>,
    /// The default authentication type for interacting with the data models. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_auth_type: Option<AuthType>,
    /// Additional authentication methods used to interact with the data models. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    pub additional_auth_types: Option<Vec<AuthType>>,
    /// The conflict resolution strategy for data stored in the data models. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_resolution: Option<ConflictResolution>,
}

/// The source of `transformSchema`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransformSchemaFrom {
    /// A key of a ConfigMap in the same namespace. The operator does not watch ConfigMaps: it reads an edited ConfigMap at the next check (`--drift-interval`) or when you set the annotation `amplify-operator.dev/reconcile-requested-at` to a new value. It reads a ConfigMap that this field newly names at once.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// A key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, in the same namespace.
    #[schemars(schema_with = "rules::object_name")]
    pub name: String,
    /// Key in the ConfigMap's `data`, such as `schema.graphql`. The value must be UTF-8 text of at most 512 KiB.
    #[schemars(schema_with = "rules::config_map_key")]
    pub key: String,
}

/// An authentication type of the data models.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthType {
    /// The authentication mode, in AWS's words. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AuthMode")]
    pub mode: Option<AuthMode>,
    /// Settings of the authentication mode. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<AuthSettings>,
}

/// An authentication mode, in AWS's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthMode {
    /// An API key.
    ApiKey,
    /// AWS Identity and Access Management.
    AwsIam,
    /// Amazon Cognito user pools.
    AmazonCognitoUserPools,
    /// An OpenID Connect provider.
    OpenidConnect,
}

/// Settings of an authentication mode. The description of each setting names its mode. A setting that is unset is not managed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthSettings {
    /// The Amazon Cognito user pool ID (AMAZON_COGNITO_USER_POOLS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub cognito_user_pool_id: Option<String>,
    /// The API key's description (API_KEY).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The API key's expiration time (API_KEY), in days. The operator sends it with each update and never compares it with AWS's answer, because AWS counts it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<f64>,
    /// The expiry time for the OpenID authentication mechanism (OPENID_CONNECT).
    #[serde(default, rename = "openIDAuthTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub open_id_auth_ttl: Option<String>,
    /// The client ID (OPENID_CONNECT).
    #[serde(default, rename = "openIDClientId", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub open_id_client_id: Option<String>,
    /// The expiry time for the OpenID authentication mechanism, counted from the token's issue (OPENID_CONNECT).
    #[serde(default, rename = "openIDIatTTL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub open_id_iat_ttl: Option<String>,
    /// The OpenID issuer URL (OPENID_CONNECT).
    #[serde(default, rename = "openIDIssueURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub open_id_issue_url: Option<String>,
    /// The OpenID provider name (OPENID_CONNECT).
    #[serde(default, rename = "openIDProviderName", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub open_id_provider_name: Option<String>,
}

/// The conflict resolution strategy for data stored in the data models.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConflictResolution {
    /// The strategy for conflict resolution, in AWS's words. Unset: not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ResolutionStrategy")]
    pub resolution_strategy: Option<ResolutionStrategy>,
}

/// A strategy for conflict resolution, in AWS's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResolutionStrategy {
    /// The newest version of an item wins; older writes are rejected.
    OptimisticConcurrency,
    /// A Lambda function decides.
    Lambda,
    /// Changes are merged where they do not clash.
    Automerge,
    /// No conflict detection.
    None,
}

/// The status of the BackendApi. Only the operator writes it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendApiStatus {
    /// The part that all kinds share.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// The backend that the API belongs to.
    #[serde(flatten)]
    pub target: ResolvedTarget,
    /// The hashes of the configuration that AWS has.
    #[serde(flatten)]
    pub hashes: Hashes,
    /// Values of what AWS has deployed, from AWS's last answer that has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<ApiOutputs>,
}

impl KeepsLedger for BackendApiStatus {
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
