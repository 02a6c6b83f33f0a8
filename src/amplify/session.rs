//! Whose credentials a namespace's calls are made with. May do: what the SDK's credentials chain does, and STS.
//!
//! One session for all namespaces, the SDK's own chain. [`Sessions::session_for`] is where roles per namespace come in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::{Builder, ConnectorBuilder, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{
    client::{Client, Limits, send},
    errors::{Call, Service},
};
use crate::{
    lifecycle::facts::{Class, Failure, Sent},
    telemetry::metrics::Metrics,
};

/// How long an unused connection is kept. AWS closes unused connections after a minute or so: a write on one that is
/// being closed has an unknown outcome, so ours go first.
const IDLE: Duration = Duration::from_secs(20);
/// Most regions whose clients a session keeps. There are about 40; the rest would be somebody's invention.
const MAX_CLIENTS: usize = 64;

/// All sessions, and the configuration that they start from.
#[derive(Debug)]
pub struct Sessions {
    own: Arc<Session>,
}

impl Sessions {
    /// Loads the SDK's own chain: environment, profile, web identity, pod identity, instance.
    pub async fn load(metrics: Arc<Metrics>) -> Self {
        let base = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .load()
            .await;
        Self::new(base, Limits::default(), metrics)
    }

    fn new(base: SdkConfig, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            own: Arc::new(Session::new(base, limits, metrics)),
        }
    }

    /// The session for the resources of a namespace.
    ///
    /// # Errors
    /// `AccountNotFound` when the namespace has no account, which cannot be as long as all share the operator's own.
    pub fn session_for(&self, namespace: &str) -> Result<Arc<Session>, Failure> {
        let _ = namespace;
        Ok(Arc::clone(&self.own))
    }

    /// The operator's own region, where it has one.
    #[must_use]
    pub fn default_region(&self) -> Option<&str> {
        self.own.base.region().map(AsRef::as_ref)
    }
}

/// One identity at AWS, with a client for each region.
#[derive(Debug)]
pub struct Session {
    base: SdkConfig,
    sts: aws_sdk_sts::Client,
    account: OnceCell<String>,
    clients: Mutex<BTreeMap<String, Client>>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Session {
    fn new(base: SdkConfig, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let mut reads = limits.reads(&base);
        if reads.region().is_none() {
            // Every resource may name its region; then only this call lacks one, and any will do.
            reads = reads.to_builder().region(Region::from_static("us-east-1")).build();
        }
        Self {
            sts: aws_sdk_sts::Client::new(&reads),
            base,
            account: OnceCell::new(),
            clients: Mutex::default(),
            limits,
            metrics,
        }
    }

    /// The AWS account that the credentials belong to. Asked once; a failure is not kept; callers at the same time
    /// share one call.
    pub async fn account_id(&self) -> Result<String, Failure> {
        const CALL: Call = Call {
            service: Service::Sts,
            operation: "GetCallerIdentity",
        };
        let account = self
            .account
            .get_or_try_init(|| async {
                send!(&self.metrics, CALL, self.sts.get_caller_identity())?
                    .account
                    .filter(|account| !account.is_empty())
                    .ok_or_else(|| Failure {
                        class: Class::Unavailable,
                        sent: Sent::Unknown,
                        message: "GetCallerIdentity: the answer names no account".to_owned(),
                    })
            })
            .await?;
        Ok(account.clone())
    }

    /// The client for a region. One that is no region's name gets a client that refuses every call.
    #[must_use]
    pub fn client(&self, region: &str) -> Client {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(region) {
            return client.clone();
        }
        let client = Client::new(&self.base, region, self.limits, Arc::clone(&self.metrics));
        if clients.len() < MAX_CLIENTS {
            clients.insert(region.to_owned(), client.clone());
        }
        client
    }
}

/// The SDK's default HTTP client, but one for all clients, and with a shorter life of unused connections.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .pool_idle_timeout(IDLE)
            .proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};

    use super::*;

    /// Sessions whose every call goes to this address, with short limits.
    pub(in crate::amplify) fn sessions(
        endpoint: &str,
        limits: Limits,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Sessions {
        let credentials = credentials.unwrap_or_else(|| SharedCredentialsProvider::new(Credentials::for_tests()));
        let base = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client())
            .endpoint_url(endpoint)
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(credentials)
            .build();
        Sessions::new(base, limits, Arc::new(Metrics::new("test")))
    }
}
