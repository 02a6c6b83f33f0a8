//! The way to the API server: what every client of this process is made with. May do: what a kubeconfig or a pod's service
//! account says.

use std::time::Duration;

use http::{Request, Response};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
};
use tower::{BoxError, util::BoxService};

/// How long the API server may be silent while something is expected of it: longer than a watch is open. kube sets no
/// limit, and a list that is never answered would hold its kind for ever.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// Carries requests to the API server, each once.
pub type Transport = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// Makes clients. Each has connections of its own, so that none waits for another's requests.
pub struct Connector {
    connect: Box<dyn Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync>,
    default_namespace: String,
}

impl Connector {
    /// By the kubeconfig, else by the pod's service account.
    pub async fn infer() -> kube::Result<Self> {
        let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
        config.read_timeout = Some(SILENCE_LIMIT);
        config.reset_reader_on_write = true;
        Ok(Self::of(config))
    }

    /// By this configuration.
    #[must_use]
    pub fn of(mut config: Config) -> Self {
        // Whoever wants retries has them where they are wanted: outside of the guard that a leader's writes pass.
        config.default_retry = false;
        let default_namespace = config.default_namespace.clone();
        Self::new(default_namespace, move || ClientBuilder::try_from(config.clone()))
    }

    /// By what `connect` makes for each client.
    pub fn new(
        default_namespace: String,
        connect: impl Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            connect: Box::new(connect),
            default_namespace,
        }
    }

    /// The namespace that a kubeconfig's context names, or the pod's.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// What a client is made from.
    pub fn connect(&self) -> kube::Result<ClientBuilder<Transport>> {
        (self.connect)()
    }

    /// A client that tries nothing again.
    pub fn plain(&self) -> kube::Result<Client> {
        Ok(self.connect()?.build())
    }
}
