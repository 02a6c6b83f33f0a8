//! `BackendApi`: CreateBackendAPI, GetBackendAPI, UpdateBackendAPI, DeleteBackendAPI.

use aws_sdk_amplifybackend::types as sdk;
use jiff::SignedDuration;
use serde_json::Value;

use super::{
    Kind, Located, Observation, Place, Remote, Sight,
    config::{self, Config, Reference},
    described,
    in_backend::{self, names},
    meta_config::MetaConfig,
    outputs,
};
use crate::{
    amplify::{
        Accepted, AppId, Call, Client, EnvironmentName, ResourceName,
        answers::{absent_is_none, accepted, job_reply, never, no_error, same, unreadable},
        send,
    },
    api::{
        Abilities, BackendApi, BackendApiStatus, KindName, Operation, Policies, Read, ResourceConfig,
        backend_api::{AuthMode, AuthSettings, AuthType, ConflictResolution, ResolutionStrategy},
        outputs::{ApiOutputs, OutputsTo},
        rules::schema_problem,
    },
    controller::index::{Index, Location, ObjectKey},
    lifecycle::{Bar, Seen, State, Words, facts::Failure},
};

const CREATE: Call = Call::write(Operation::CreateBackendApi);
const UPDATE: Call = Call::write(Operation::UpdateBackendApi);
const DELETE: Call = Call::write(Operation::DeleteBackendApi);
const GET: Call = Call::read(Read::GetBackendApi);

/// Placeholder for a schema that is not loaded: left out of the cache, or in a ConfigMap. The definition requires at
/// least one character, so no real schema is empty.
const LEFT_OUT: &str = "";
/// The field that refers to a ConfigMap.
const REFERENCE: &str = "spec.resourceConfig.transformSchemaFrom";

/// A GraphQL API as AWS shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// Its configuration, as far as AWS returned it.
    pub config: ResourceConfig,
    /// Its values in the contents of the backend, if they are known.
    pub outputs: Option<ApiOutputs>,
}

impl Config for ResourceConfig {
    // AWS counts it down.
    const NOT_COMPARED: &'static [&'static str] = &["expirationTime"];

    fn is_left_out(&self) -> bool {
        self.transform_schema.as_deref() == Some(LEFT_OUT)
    }

    fn take_reference(&mut self) -> Option<Reference> {
        let reference = self.transform_schema_from.take()?.config_map_key_ref;
        Some(Reference {
            name: reference.name,
            key: reference.key,
            field: REFERENCE,
            problem: |text| schema_problem(text).map(|problem| format!("{problem}: put a GraphQL schema there")),
        })
    }

    fn fill(&mut self, text: String) {
        self.transform_schema = Some(text);
    }

    fn problem(&self) -> Option<String> {
        // The definition refuses it, but the resource may be older than the rule.
        let problem = self.transform_schema.as_deref().and_then(schema_problem)?;
        Some(format!(
            "spec.resourceConfig.transformSchema {problem}: put a GraphQL schema there"
        ))
    }
}

impl Kind for BackendApi {
    const NAME: KindName = KindName::BackendApi;
    const IS_LISTED: bool = false;

    type Found = Api;
    type Config = ResourceConfig;

    fn abilities(&self) -> Abilities {
        Abilities::of(Operation::CreateBackendApi)
    }

    fn words(&self) -> Words {
        Words {
            place: in_backend::PLACE,
            ..Words::default()
        }
    }

    fn policies(&self) -> &Policies {
        &self.spec.policies
    }

    fn outputs_to(&self) -> Option<&OutputsTo> {
        self.spec.outputs_to.as_ref()
    }

    fn job_timeout(&self) -> Option<SignedDuration> {
        self.spec.job_timeout.map(|timeout| timeout.0)
    }

    fn refers_to(&self, namespace: &str) -> Option<ObjectKey> {
        in_backend::refers_to(&self.spec.target, namespace)
    }

    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located {
        let address = in_backend::Address {
            kind: Self::NAME,
            resource: Some(&self.spec.resource_name),
            target: &self.spec.target,
            namespace,
            ledger: self.ledger(),
            pinned: self.status.as_ref().map(|status| &status.target),
        };
        in_backend::locate(&address, index, default_region)
    }

    fn show(&self, state: &State, location: Option<&Location>, found: Observation<&Api>) -> Value {
        let pinned = self.status.as_ref().map(|status| &status.target);
        let before = self.status.as_ref().and_then(|status| status.outputs.as_ref());
        let outputs = outputs(before, found, &state.ledger, |api| api.outputs.clone());
        serde_json::json!(BackendApiStatus {
            ledger: state.ledger.clone(),
            target: in_backend::resolved(location, pinned),
            hashes: state.hashes.clone(),
            outputs: outputs.filter(|_| self.policies().shows_values(&state.ledger)),
        })
    }

    fn describe(&self, found: &mut Api, contents: &MetaConfig) {
        found.outputs = Some(contents.api_outputs(&self.spec.resource_name));
    }

    fn lacks_contents(&self) -> bool {
        self.status.as_ref().is_none_or(|status| status.outputs.is_none())
    }

    fn config(&self) -> Option<&ResourceConfig> {
        Some(&self.spec.resource_config)
    }

    fn leave_out(&mut self) {
        if let Some(schema) = &mut self.spec.resource_config.transform_schema {
            LEFT_OUT.clone_into(schema);
            schema.shrink_to_fit();
        }
    }

    fn compare(&self, found: &Api, config: Option<&ResourceConfig>) -> Seen {
        let found = &found.config;
        let echo = match config {
            Some(config) => config::echo(config, found, true),
            // Even without the referenced text, the spec shows which fields are set.
            None => config::echo(&with_placeholder(&self.spec.resource_config), found, false),
        };
        Seen {
            echo: Some(echo),
            ..Seen::default()
        }
    }
}

fn with_placeholder(config: &ResourceConfig) -> ResourceConfig {
    let mut config = config.clone();
    if config.transform_schema_from.take().is_some() {
        config.transform_schema = Some(LEFT_OUT.to_owned());
    }
    config
}

/// Looks at an API by its names.
pub async fn look(
    client: &Client,
    app: &AppId,
    environment: &EnvironmentName,
    resource: &ResourceName,
) -> Result<Sight<Api>, Failure> {
    let sdk = client.usable()?;
    let request = sdk.backend_reads.get_backend_api().app_id(app.as_str());
    let request = request
        .backend_environment_name(environment.as_str())
        .resource_name(resource.as_str());
    let Some(output) = absent_is_none(send!(sdk.observer(), GET, request))? else {
        return Ok(Sight::Absent);
    };
    let named = output.backend_environment_name.as_deref();
    same(GET, "appId", output.app_id.as_deref(), app.as_str())?;
    same(GET, "backendEnvironmentName", named, environment.as_str())?;
    no_error(GET, output.error)?;
    // AWS may answer with the environment's existing API, or with a bare answer if there is none.
    if let Err(other) = same(GET, "resourceName", output.resource_name.as_deref(), resource.as_str()) {
        return Ok(Sight::Undescribed(other));
    }
    if output.resource_name.is_none() && output.resource_config.is_none() {
        return Ok(Sight::Undescribed(unreadable(GET, "the answer describes no API")));
    }
    Ok(Sight::Shown(Api {
        config: output.resource_config.map(config_from_sdk).unwrap_or_default(),
        outputs: None,
    }))
}

impl Remote for BackendApi {
    type List = ();

    async fn look(&self, client: &Client, location: &Location) -> Result<Sight<Api>, Failure> {
        let (app, environment, resource) = names(location)?;
        look(client, app, environment, resource).await
    }

    async fn place(&self, client: &Client, location: &Location) -> Result<Place, Failure> {
        let (_, _, resource) = names(location)?;
        described::place(client, location, |meta| match meta.graphql_apis() {
            Err(_) => Place::Unclear,
            Ok(apis) if apis.contains(resource.as_str()) => Place::Unclear,
            Ok(apis) => apis
                .first()
                .map_or(Place::Free, |other| Place::Barred(Bar::Named(other.clone()))),
        })
        .await
    }

    async fn create(
        &self,
        client: &Client,
        location: &Location,
        config: Option<&ResourceConfig>,
    ) -> Result<Accepted<Api>, Failure> {
        let sdk = client.usable()?;
        let (app, environment, resource) = names(location)?;
        let config = config.ok_or_else(|| never("resourceConfig is not resolved"))?;
        let request = sdk.backend_writes.create_backend_api().app_id(app.as_str());
        let request = request
            .backend_environment_name(environment.as_str())
            .resource_name(resource.as_str())
            .resource_config(config_to_sdk(config));
        let reply = job_reply!(send!(sdk.observer(), CREATE, request)?);
        accepted(CREATE, app, &[environment], reply)
    }

    async fn update(client: &Client, location: &Location, config: &ResourceConfig) -> Result<Accepted<Api>, Failure> {
        let sdk = client.usable()?;
        let (app, environment, resource) = names(location)?;
        let request = sdk.backend_writes.update_backend_api().app_id(app.as_str());
        let request = request
            .backend_environment_name(environment.as_str())
            .resource_name(resource.as_str())
            .resource_config(config_to_sdk(config));
        let reply = job_reply!(send!(sdk.observer(), UPDATE, request)?);
        accepted(UPDATE, app, &[environment], reply)
    }

    async fn delete(client: &Client, location: &Location, _: Option<&Api>) -> Result<Option<Accepted<Api>>, Failure> {
        let sdk = client.usable()?;
        let (app, environment, resource) = names(location)?;
        let request = sdk.backend_writes.delete_backend_api().app_id(app.as_str());
        let request = request
            .backend_environment_name(environment.as_str())
            .resource_name(resource.as_str());
        let Some(output) = absent_is_none(send!(sdk.observer(), DELETE, request))? else {
            return Ok(None);
        };
        accepted(DELETE, app, &[environment], job_reply!(output)).map(Some)
    }
}

/// Converts the configuration to the SDK's types. Absent fields stay absent.
fn config_to_sdk(config: &ResourceConfig) -> sdk::BackendApiResourceConfig {
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

/// Converts AWS's echo of the configuration. A value that this API version does not have (a new mode) becomes absent,
/// that is, unknown.
fn config_from_sdk(config: sdk::BackendApiResourceConfig) -> ResourceConfig {
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
pub(crate) mod tests {
    use super::*;

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

    /// Returns a configuration with every field, in AWS's names.
    pub(crate) fn full_config() -> serde_json::Value {
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
