//! What the port works on and what it answers, in the project's own types. Pure: no SDK type leaves the port.

use std::collections::BTreeSet;

use aws_sdk_amplify::types::BackendEnvironment;
use aws_sdk_amplifybackend::types as sdk;
use jiff::{SignedDuration, Timestamp};

use super::{AppId, EnvironmentName, ResourceName};
use crate::api::{
    ResourceConfig,
    backend_api::{AuthMode, AuthSettings, AuthType, ConflictResolution, ResolutionStrategy},
    conditions::truncated,
    text,
};

/// An AWS object by its natural key. The region and the account are the [`Client`](super::Client)'s.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Object {
    /// A backend of an app.
    Backend {
        /// The app.
        app: AppId,
        /// The backend environment's name.
        environment: EnvironmentName,
    },
    /// The GraphQL API of a backend.
    Api {
        /// The app.
        app: AppId,
        /// The backend environment's name.
        environment: EnvironmentName,
        /// The API's name in the backend.
        resource: ResourceName,
    },
    /// The record of a backend environment.
    Environment {
        /// The app.
        app: AppId,
        /// The environment's name.
        environment: EnvironmentName,
    },
}

impl Object {
    /// The app that it belongs to.
    #[must_use]
    pub fn app(&self) -> &AppId {
        match self {
            Self::Backend { app, .. } | Self::Api { app, .. } | Self::Environment { app, .. } => app,
        }
    }

    /// The environment that it is, or is in.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentName {
        match self {
            Self::Backend { environment, .. }
            | Self::Api { environment, .. }
            | Self::Environment { environment, .. } => environment,
        }
    }
}

/// What to create an object with. The object says where.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, never in a collection")]
pub enum Creation {
    /// `CreateBackend`
    Backend {
        /// The app's name.
        app_name: String,
        /// AWS takes it and does not explain it.
        resource_name: Option<String>,
        /// Whether to send the resource configuration, an empty object.
        resource_config: bool,
    },
    /// `CloneBackend`: the object is the target.
    Clone {
        /// The environment to copy.
        source: EnvironmentName,
    },
    /// `CreateBackendAPI`
    Api {
        /// The configuration, with its schema already resolved.
        config: ResourceConfig,
    },
    /// `CreateBackendEnvironment`
    Environment {
        /// The CloudFormation stack that AWS notes down.
        stack_name: Option<String>,
        /// The deployment artifacts that AWS notes down.
        deployment_artifacts: Option<String>,
    },
}

/// An object as AWS describes it.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, never in a collection")]
pub enum Found {
    /// A backend.
    Backend {
        /// The app's name, where AWS says it.
        app_name: Option<String>,
    },
    /// A GraphQL API.
    Api {
        /// What AWS echoes. What it leaves out is unknown, not empty.
        config: ResourceConfig,
    },
    /// An environment's record.
    Environment(Record),
}

/// The backends of an app, as `GetBackend` lists them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
    /// The names of the backend environments.
    pub environments: BTreeSet<String>,
}

/// An environment's record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// AWS's name for it.
    pub arn: String,
    /// The CloudFormation stack that it notes.
    pub stack_name: Option<String>,
    /// The deployment artifacts that it notes.
    pub deployment_artifacts: Option<String>,
    /// AWS's clock.
    pub create_time: Timestamp,
    /// AWS's clock.
    pub update_time: Timestamp,
}

/// AWS's answer to a write that it took.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// A job, which goes on after the answer. Without an id nothing is known of what came of the write.
    Job {
        /// AWS's ID of the job, as [`Client::list_jobs`](super::Client::list_jobs) would show it.
        id: Option<String>,
        /// The environment as the answer names it: of a clone either the source or the target.
        environment: Option<String>,
        /// AWS's own word.
        status: Option<String>,
        /// The summary of AWS's text when it took the request and failed at once; never without an id.
        error: Option<String>,
    },
    /// The record that was written or removed: done.
    Record(Record),
}

/// Longest text of a record that is kept, in bytes: longer than anything that a spec can say.
const TEXT_LIMIT: usize = 4096;

/// The record and the environment's name; `None` when a time is out of range. Its texts are cut: they go into `status`.
pub(super) fn record(from: BackendEnvironment) -> Option<(String, Record)> {
    let cut = |text: String| truncated(&text, TEXT_LIMIT).to_owned();
    let record = Record {
        arn: cut(text::clean(&from.backend_environment_arn)),
        stack_name: from.stack_name.map(cut),
        deployment_artifacts: from.deployment_artifacts.map(cut),
        create_time: timestamp(&from.create_time)?,
        update_time: timestamp(&from.update_time)?,
    };
    Some((cut(from.environment_name), record))
}

fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    // AWS sends a fraction as a binary number; below a millisecond there is only its rounding.
    let millis = (f64::from(time.subsec_nanos()) / 1e6).round();
    Timestamp::from_second(time.secs())
        .ok()?
        .checked_add(SignedDuration::from_secs_f64(millis / 1e3))
        .ok()
}

/// Amplify backend's times: text of epoch milliseconds. Anything else is no time.
pub(super) fn millis(text: Option<&str>) -> Option<Timestamp> {
    Timestamp::from_millisecond(text?.trim().parse().ok()?).ok()
}

/// The configuration in the SDK's types. What is absent stays absent.
pub(super) fn config_to_sdk(config: &ResourceConfig) -> sdk::BackendApiResourceConfig {
    sdk::BackendApiResourceConfig::builder()
        .set_api_name(config.api_name.clone())
        .set_service(config.service.clone())
        .set_transform_schema(config.transform_schema.clone())
        .set_default_auth_type(config.default_auth_type.as_ref().map(auth_to_sdk))
        .set_additional_auth_types(
            config
                .additional_auth_types
                .as_ref()
                .map(|types| types.iter().map(auth_to_sdk).collect()),
        )
        .set_conflict_resolution(config.conflict_resolution.as_ref().map(|resolution| {
            sdk::BackendApiConflictResolution::builder()
                .set_resolution_strategy(resolution.resolution_strategy.map(strategy_to_sdk))
                .build()
        }))
        .build()
}

fn auth_to_sdk(auth: &AuthType) -> sdk::BackendApiAuthType {
    sdk::BackendApiAuthType::builder()
        .set_mode(auth.mode.map(mode_to_sdk))
        .set_settings(auth.settings.as_ref().map(|settings| {
            sdk::BackendApiAppSyncAuthSettings::builder()
                .set_cognito_user_pool_id(settings.cognito_user_pool_id.clone())
                .set_description(settings.description.clone())
                .set_expiration_time(settings.expiration_time)
                .set_open_id_auth_ttl(settings.open_id_auth_ttl.clone())
                .set_open_id_client_id(settings.open_id_client_id.clone())
                .set_open_id_iat_ttl(settings.open_id_iat_ttl.clone())
                .set_open_id_issue_url(settings.open_id_issue_url.clone())
                .set_open_id_provider_name(settings.open_id_provider_name.clone())
                .build()
        }))
        .build()
}

fn mode_to_sdk(mode: AuthMode) -> sdk::Mode {
    match mode {
        AuthMode::ApiKey => sdk::Mode::ApiKey,
        AuthMode::AwsIam => sdk::Mode::AwsIam,
        AuthMode::AmazonCognitoUserPools => sdk::Mode::AmazonCognitoUserPools,
        AuthMode::OpenidConnect => sdk::Mode::OpenidConnect,
    }
}

fn strategy_to_sdk(strategy: ResolutionStrategy) -> sdk::ResolutionStrategy {
    match strategy {
        ResolutionStrategy::OptimisticConcurrency => sdk::ResolutionStrategy::OptimisticConcurrency,
        ResolutionStrategy::Lambda => sdk::ResolutionStrategy::Lambda,
        ResolutionStrategy::Automerge => sdk::ResolutionStrategy::Automerge,
        ResolutionStrategy::None => sdk::ResolutionStrategy::None,
    }
}

/// What AWS echoes. A word that the API does not know (a new mode) is absent, that is, unknown.
pub(super) fn config_from_sdk(config: sdk::BackendApiResourceConfig) -> ResourceConfig {
    ResourceConfig {
        api_name: config.api_name,
        service: config.service,
        transform_schema: config.transform_schema,
        transform_schema_from: None,
        default_auth_type: config.default_auth_type.map(auth_from_sdk),
        additional_auth_types: config
            .additional_auth_types
            .map(|types| types.into_iter().map(auth_from_sdk).collect()),
        conflict_resolution: config.conflict_resolution.map(|resolution| ConflictResolution {
            resolution_strategy: resolution.resolution_strategy.as_ref().and_then(strategy_from_sdk),
        }),
    }
}

fn auth_from_sdk(auth: sdk::BackendApiAuthType) -> AuthType {
    AuthType {
        mode: auth.mode.as_ref().and_then(mode_from_sdk),
        settings: auth.settings.map(|settings| AuthSettings {
            cognito_user_pool_id: settings.cognito_user_pool_id,
            description: settings.description,
            expiration_time: settings.expiration_time,
            open_id_auth_ttl: settings.open_id_auth_ttl,
            open_id_client_id: settings.open_id_client_id,
            open_id_iat_ttl: settings.open_id_iat_ttl,
            open_id_issue_url: settings.open_id_issue_url,
            open_id_provider_name: settings.open_id_provider_name,
        }),
    }
}

fn mode_from_sdk(mode: &sdk::Mode) -> Option<AuthMode> {
    match mode {
        sdk::Mode::ApiKey => Some(AuthMode::ApiKey),
        sdk::Mode::AwsIam => Some(AuthMode::AwsIam),
        sdk::Mode::AmazonCognitoUserPools => Some(AuthMode::AmazonCognitoUserPools),
        sdk::Mode::OpenidConnect => Some(AuthMode::OpenidConnect),
        _ => None,
    }
}

fn strategy_from_sdk(strategy: &sdk::ResolutionStrategy) -> Option<ResolutionStrategy> {
    match strategy {
        sdk::ResolutionStrategy::OptimisticConcurrency => Some(ResolutionStrategy::OptimisticConcurrency),
        sdk::ResolutionStrategy::Lambda => Some(ResolutionStrategy::Lambda),
        sdk::ResolutionStrategy::Automerge => Some(ResolutionStrategy::Automerge),
        sdk::ResolutionStrategy::None => Some(ResolutionStrategy::None),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn a_job_time_is_epoch_milliseconds_and_garbage_is_no_time() {
        let time = millis(Some("1617375907613")).unwrap();
        assert_eq!(time.to_string(), "2021-04-02T15:05:07.613Z");
        for garbage in [
            None,
            Some(""),
            Some("yesterday"),
            Some("1e99"),
            Some("99999999999999999999"),
        ] {
            assert_eq!(millis(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_config_comes_back_from_the_sdk_as_it_went_in() {
        let full: ResourceConfig = serde_json::from_value(full_config()).unwrap();
        assert_eq!(config_from_sdk(config_to_sdk(&full)), full);
        let empty = ResourceConfig::default();
        assert_eq!(config_from_sdk(config_to_sdk(&empty)), empty);
    }

    #[test]
    fn an_auth_mode_that_is_not_known_yet_is_absent() {
        let auth = sdk::BackendApiAuthType::builder().mode("AWS_LAMBDA".into()).build();
        assert_eq!(auth_from_sdk(auth).mode, None);
    }

    /// Every field of the configuration, in AWS's names.
    pub(in crate::amplify) fn full_config() -> serde_json::Value {
        serde_json::json!({
            "apiName": "blog", "service": "AppSync", "transformSchema": "type Post @model { id: ID! }",
            "defaultAuthType": {"mode": "API_KEY", "settings": {"description": "key", "expirationTime": 7.5}},
            "additionalAuthTypes": [
                {"mode": "AWS_IAM"},
                {"mode": "AMAZON_COGNITO_USER_POOLS", "settings": {"cognitoUserPoolId": "eu-west-1_x"}},
                {"mode": "OPENID_CONNECT", "settings": {
                    "openIDAuthTTL": "1", "openIDClientId": "c", "openIDIatTTL": "2",
                    "openIDIssueURL": "https://issuer.example", "openIDProviderName": "p"}}
            ],
            "conflictResolution": {"resolutionStrategy": "AUTOMERGE"}
        })
    }
}
