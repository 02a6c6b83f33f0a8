//! The HTTP client of all calls to AWS. May do: HTTPS, and use the proxy that the environment names.
//!
//! An answer is read up to [`ANSWER_LIMIT`]. A longer answer counts as unreadable.

use std::time::Duration;

use aws_smithy_http_client::{Builder, ConnectorBuilder, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use http_body_util::Limited;

/// Longest body of an answer, in bytes. AWS's longest are pages of a list, and an API's schema, which is under 1 MB.
pub(super) const ANSWER_LIMIT: usize = 8 << 20;
/// How long an unused connection is kept. AWS closes unused connections after about a minute. A write on a connection
/// that is being closed has an unknown outcome, so ours are closed earlier.
const IDLE: Duration = Duration::from_secs(20);

/// Makes the SDK's default HTTP client, but one for all clients, with a shorter lifetime of unused connections and a
/// limit for long answers.
pub(super) fn http_client() -> SharedHttpClient {
    let client = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .pool_idle_timeout(IDLE)
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    });
    SharedHttpClient::new(Bounded(client))
}

/// A wrapper of the HTTP client that fails on answers that are too long.
#[derive(Debug)]
struct Bounded<T>(T);

impl HttpClient for Bounded<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Bounded(self.0.http_connector(settings, components)))
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_base_client_config(components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        self.0.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

impl HttpConnector for Bounded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let bounded = |body| SdkBody::from_body_1_x(Limited::new(body, ANSWER_LIMIT));
            Ok(answer.await?.map(bounded))
        })
    }
}
