//! Access to the API server: makes every Kubernetes client of this process. May do: read the kubeconfig or the pod's
//! service account.
//!
//! As kubectl does, a client goes through the `proxy-url` of the kubeconfig's cluster, otherwise through the proxy that
//! the environment names for the API server. In a pod, the API server is reached directly: it is in the same cluster.

mod pages;

use std::{path::Path, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{RETRY_AFTER, USER_AGENT},
};
use kube::{
    Client, Config,
    client::{AuthError, Body, ClientBuilder, DynBody},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError, NoProxyError},
};
use tokio::time::{Sleep, sleep};
use tower::{BoxError, retry::Policy, util::BoxService};

pub use pages::Pages;

use crate::{
    proxy::{self, Proxies, Unusable},
    random::Random,
    telemetry::error::in_words,
};

/// How long the API server may be silent while an answer is due: longer than a watch is open. kube sets no limit, and a
/// list that is never answered would block its kind for ever.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// Why there is no access to an API server.
#[derive(Debug, thiserror::Error)]
pub enum NoAccess {
    /// There is neither a usable kubeconfig nor a service account.
    #[error(transparent)]
    Config(#[from] kube::Error),
    /// The kubeconfig names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] Unusable),
    /// kube cannot read `NO_PROXY`.
    #[error("NO_PROXY cannot be read ({0}): give hosts, addresses and ranges, with a single comma between two")]
    NoProxy(NoProxyError),
}

/// A service that sends requests to the API server, each once.
pub type Transport = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// A factory of clients. Each client has its own connections, so that none waits for the requests of another.
pub struct Connector {
    connect: Box<dyn Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync>,
    default_namespace: String,
}

impl Connector {
    /// Makes a connector from the kubeconfig or, without one, from the pod's service account.
    pub async fn infer(proxies: &Proxies) -> Result<Self, NoAccess> {
        Self::chosen(None, None, proxies).await
    }

    /// Makes a connector from this kubeconfig and context. Without either, as [`Connector::infer`].
    pub async fn chosen(kubeconfig: Option<&Path>, context: Option<&str>, proxies: &Proxies) -> Result<Self, NoAccess> {
        let mut config = if kubeconfig.is_none() && context.is_none() {
            infer(proxies).await?
        } else {
            let kubeconfig = kubeconfig.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
            let kubeconfig = kubeconfig.map_err(kube::Error::InferKubeconfig)?;
            of_kubeconfig(kubeconfig, context, proxies).await?
        };
        config.read_timeout = Some(SILENCE_LIMIT);
        config.reset_reader_on_write = true;
        Ok(Self::of(config))
    }

    /// Makes a connector from this configuration.
    #[must_use]
    pub fn of(mut config: Config) -> Self {
        // Retries are added outside of the guard that checks a leader's writes, where they are wanted.
        config.default_retry = false;
        config.headers.push((USER_AGENT, user_agent()));
        let default_namespace = config.default_namespace.clone();
        Self::new(default_namespace, move || ClientBuilder::try_from(config.clone()))
    }

    /// Makes a connector that calls `connect` for each client.
    pub fn new(
        default_namespace: String,
        connect: impl Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            connect: Box::new(connect),
            default_namespace,
        }
    }

    /// Returns the namespace of the kubeconfig's context, or the namespace of the pod.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// Returns a builder for one client.
    pub fn connect(&self) -> kube::Result<ClientBuilder<Transport>> {
        (self.connect)()
    }

    /// Returns a client that retries nothing.
    pub fn plain(&self) -> kube::Result<Client> {
        Ok(self.connect()?.build())
    }
}

/// Returns the text of an error of a request, for people. kube's own text of a failed credentials plugin has its
/// arguments, its environment and its output, with tokens; its text of a refusal has the whole answer twice.
#[must_use]
pub fn words(error: &kube::Error) -> String {
    let plugin = |why: &str| {
        format!(
            "the credentials plugin (exec) of the kubeconfig's user {why}: run it by hand, or log in again, as for kubectl"
        )
    };
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => plugin(&format!("failed ({})", out.status)),
        kube::Error::Auth(AuthError::AuthExecStart(why)) => plugin(&format!("cannot be started ({why})")),
        kube::Error::Auth(AuthError::AuthExecParse(_)) => plugin("printed something else than an ExecCredential"),
        error => in_words(error),
    }
}

async fn infer(proxies: &Proxies) -> Result<Config, NoAccess> {
    if let Ok(kubeconfig) = Kubeconfig::read() {
        match of_kubeconfig(kubeconfig, None, proxies).await {
            // kube's own error is about the kubeconfig and the service account.
            Err(NoAccess::Config(_)) => {}
            made => return made,
        }
    }
    Ok(Config::infer().await.map_err(kube::Error::InferConfig)?)
}

/// Makes the configuration of this context of a kubeconfig; `None`: of its current one.
async fn of_kubeconfig(kubeconfig: Kubeconfig, context: Option<&str>, proxies: &Proxies) -> Result<Config, NoAccess> {
    let context = context
        .map(ToOwned::to_owned)
        .or_else(|| kubeconfig.current_context.clone());
    let named = context.as_ref().and_then(|context| named_proxy(&kubeconfig, context));
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let made = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = made.map_err(|error| match error {
        KubeconfigError::ParseNoProxy(error) => NoAccess::NoProxy(error),
        error => kube::Error::InferKubeconfig(error).into(),
    })?;
    config.apply_debug_overrides();
    // Not the proxy that kube finds: it compares `NO_PROXY` with the name of the proxy.
    config.proxy_url = match named {
        Some(url) => Some(proxy::url(
            "the proxy-url of the kubeconfig's cluster",
            &url,
            proxy::HTTP_OR_SOCKS,
        )?),
        None => proxies.through(&config.cluster_url).cloned(),
    };
    Ok(config)
}

/// Returns the proxy that the kubeconfig names for the cluster of a context.
fn named_proxy(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|one| one.name == context)?.context.as_ref()?;
    let mut clusters = kubeconfig.clusters.iter();
    let cluster = clusters.find(|cluster| cluster.name == context.cluster)?;
    let url = cluster.cluster.as_ref()?.proxy_url.clone();
    url.filter(|url| !url.is_empty())
}

/// Returns the name of this program in the API server's logs, in the form of client-go's.
fn user_agent() -> HeaderValue {
    use std::env::consts::{ARCH, OS};
    let arch = match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let text = format!("amplify-operator/{} ({OS}/{arch})", env!("CARGO_PKG_VERSION"));
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("amplify-operator"))
}

/// The retries of requests that the API server is too busy for (429, 503, 504): up to three within some seconds. kube's
/// own policy retries for minutes: meanwhile a pass would keep its place, and a watch would not notice that the API
/// server is back.
#[derive(Clone)]
pub struct Retries {
    random: Arc<Random>,
    left: u32,
    /// The wait before the next retry.
    wait: Duration,
}

impl Retries {
    const FIRST: Duration = Duration::from_millis(100);
    /// The longest wait that the API server may ask for.
    const LONGEST: Duration = Duration::from_secs(2);

    /// Makes the state for a request that has not been sent yet.
    #[must_use]
    pub const fn new(random: Arc<Random>) -> Self {
        Self {
            random,
            left: 3,
            wait: Self::FIRST,
        }
    }
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Retries {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Request<Body>, result: &mut Result<Response<B>, BoxError>) -> Option<Sleep> {
        let response = result.as_ref().ok()?;
        let is_busy = matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        if !is_busy {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        // Clients must not all retry at the same time.
        let wait = self.wait.mul_f64(0.5 + self.random.fraction());
        self.wait *= 2;
        Some(sleep(wait.max(asked_for(response.headers()).min(Self::LONGEST))))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        copy(request)
    }
}

/// Copies the request, unless its body can be sent only once.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Returns the wait that the API server asks for (`Retry-After`).
fn asked_for(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// Returns the waits before each retry of a request that always gets this answer.
    async fn waits(answer: impl Fn() -> Result<Response<()>, BoxError>) -> Vec<Duration> {
        let mut policy = Retries::new(Arc::new(Random::seeded(1)));
        let mut waits = Vec::new();
        while let Some(wait) = policy.retry(&mut Request::new(Body::empty()), &mut answer()) {
            let begun = Instant::now();
            wait.await;
            waits.push(begun.elapsed());
        }
        waits
    }

    fn answer(status: u16, retry_after: Option<&str>) -> Response<()> {
        let mut answer = Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer.header(RETRY_AFTER, value);
        }
        answer.body(()).expect("an answer")
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_api_server_has_no_time_for_is_sent_three_times_more_and_nothing_else_is() {
        for (status, retries) in [(200, 0), (400, 0), (409, 0), (429, 3), (500, 0), (503, 3), (504, 3)] {
            let waits = waits(|| Ok(answer(status, None))).await;
            assert_eq!(waits.len(), retries, "{status}");
            for (wait, most) in waits.iter().zip([150, 300, 600]) {
                let millis = wait.as_millis();
                assert!((most / 3..=most + 1).contains(&millis), "{status}: {millis} ms");
            }
        }
        assert!(
            waits(|| Err("reset".into())).await.is_empty(),
            "it may have been carried out"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_api_server_may_ask_for_two_seconds_before_each() {
        for (asked, seconds) in [("1", 1), ("2", 2), ("3600", 2), ("soon", 0)] {
            let waits = waits(|| Ok(answer(429, Some(asked)))).await;
            for wait in waits {
                assert_eq!(wait.as_secs(), seconds, "{asked}: {wait:?}");
            }
        }
    }

    #[test]
    fn what_a_credentials_plugin_was_given_and_has_printed_is_never_repeated() {
        let out = std::process::Output {
            status: std::os::unix::process::ExitStatusExt::from_raw(3 << 8),
            stdout: b"{\"token\": \"s3cret\"}".to_vec(),
            stderr: b"s3cret".to_vec(),
        };
        let failed = AuthError::AuthExecRun {
            cmd: "PASSWORD=s3cret plugin --password s3cret".to_owned(),
            out: Box::new(out),
        };
        let said = words(&kube::Error::Auth(failed));
        assert!(
            said.contains("failed (exit status: 3)") && said.contains("log in again"),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }

    #[test]
    fn a_request_is_sent_again_as_it_was() {
        let mut request = Request::post("/apis/x?y=z").header("content-type", "a/b");
        request.extensions_mut().map(|all| all.insert(7_u8));
        let request = request.body(Body::from(b"body".to_vec())).expect("a request");
        let copy =
            Policy::<_, Response<()>, _>::clone_request(&mut Retries::new(Arc::new(Random::seeded(1))), &request);
        let copy = copy.expect("a copy");
        assert_eq!(
            (copy.method(), copy.uri(), copy.headers()),
            (request.method(), request.uri(), request.headers())
        );
        assert_eq!(copy.extensions().get::<u8>(), Some(&7));
    }
}
