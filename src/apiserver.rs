//! Access to the API server: makes every Kubernetes client of this process. May do: read the kubeconfig or the pod's
//! service account.
//!
//! As kubectl does, a client goes through the `proxy-url` of the kubeconfig's cluster, otherwise through the proxy that
//! the environment names for the API server. In a pod, the API server is reached directly: it is in the same cluster.

mod pages;

use std::{
    env,
    ffi::OsStr,
    fs, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{RETRY_AFTER, USER_AGENT},
};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError, NoProxyError},
};
use secrecy::ExposeSecret as _;
use tokio::time::{Sleep, sleep};
use tower::{BoxError, retry::Policy, util::BoxService};

pub use pages::Pages;

use crate::{
    api::rules::is_namespace,
    proxy::{self, Proxies, Unusable},
    random::Random,
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
    /// The token is none. kube's client panics on it. The token is not shown.
    #[error(
        "the token of the kubeconfig's user holds a line break or another character that no token has: set it again"
    )]
    Token,
    /// The file of the token holds none.
    #[error("the token in {} (the tokenFile of the kubeconfig's user) ends with a line break or holds another character that no token has: write it with printf", .0.display())]
    TokenFile(PathBuf),
    /// The address of the API server has no scheme. kube's client panics on it.
    #[error("the server of the kubeconfig's cluster is no URL: write https:// before it")]
    NoScheme,
    /// The context names what cannot be a namespace.
    #[error("the kubeconfig's context names the namespace {0:?}, which cannot be one")]
    Namespace(String),
}

/// A service that sends requests to the API server, each once.
pub type Transport = BoxService<Request<Body>, Response<Box<DynBody>>, BoxError>;

/// A factory of clients. Each client has its own connections, so that none waits for the requests of another.
pub struct Connector {
    connect: Box<dyn Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync>,
    default_namespace: String,
    in_pod: bool,
}

impl Connector {
    /// Makes a connector from the kubeconfig or, without one, from the pod's service account.
    pub async fn infer(proxies: &Proxies) -> Result<Self, NoAccess> {
        Self::chosen(None, None, proxies).await
    }

    /// Makes a connector from this kubeconfig and context. Without either, as [`Connector::infer`].
    pub async fn chosen(kubeconfig: Option<&Path>, context: Option<&str>, proxies: &Proxies) -> Result<Self, NoAccess> {
        let (mut config, in_pod) = match kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(kube::Error::InferKubeconfig)?;
                (of_kubeconfig(kubeconfig, context, proxies).await?, false)
            }
            None => infer(context, proxies).await?,
        };
        // It becomes a part of the API server's paths.
        if !is_namespace(&config.default_namespace) {
            return Err(NoAccess::Namespace(config.default_namespace));
        }
        config.read_timeout = Some(SILENCE_LIMIT);
        config.reset_reader_on_write = true;
        Ok(Self {
            in_pod,
            ..Self::of(config)
        })
    }

    /// Makes a connector from this configuration.
    #[must_use]
    pub fn of(mut config: Config) -> Self {
        // Retries are added outside of the guard that checks a leader's writes, where they are wanted.
        config.default_retry = false;
        config.headers.push((USER_AGENT, user_agent()));
        let default_namespace = config.default_namespace.clone();
        // kube panics on a token of a credentials plugin that no header can hold.
        Self::new(default_namespace, move || {
            let config = AssertUnwindSafe(config.clone());
            panic::catch_unwind(move || ClientBuilder::try_from(config.0)).unwrap_or_else(|_| {
                let why = "the credentials of the kubeconfig's user cannot be sent: the token that its plugin gives holds a line break or another character that no token has";
                Err(kube::Error::Service(why.into()))
            })
        })
    }

    /// Makes a connector that calls `connect` for each client.
    pub fn new(
        default_namespace: String,
        connect: impl Fn() -> kube::Result<ClientBuilder<Transport>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            connect: Box::new(connect),
            default_namespace,
            in_pod: false,
        }
    }

    /// Returns the namespace of the kubeconfig's context, or the namespace of the pod.
    #[must_use]
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// Whether the access is that of a pod's service account.
    #[must_use]
    pub const fn in_pod(&self) -> bool {
        self.in_pod
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

/// What the kubeconfig files say.
#[derive(Debug)]
enum Files {
    Kubeconfig(Box<Kubeconfig>),
    /// No file exists, or they name neither a cluster nor a context.
    Nothing(KubeconfigError),
}

/// Reads the kubeconfig as kubectl does: the files that `KUBECONFIG` names and that exist, otherwise the one in the home
/// directory. What exists and cannot be used is an error: it is not known which cluster is meant.
fn files(named: Option<&OsStr>, home: Option<&Path>) -> Result<Files, KubeconfigError> {
    let named = named.into_iter().flat_map(env::split_paths);
    let mut paths: Vec<_> = named.filter(|path| !path.as_os_str().is_empty()).collect();
    if paths.is_empty() {
        let Some(home) = home else {
            return Ok(Files::Nothing(KubeconfigError::FindPath));
        };
        let path = home.join(".kube/config");
        // A service account often has a home directory that is not its own. In a folder that cannot be entered there is
        // no file of this user.
        if let Err(error) = path.metadata()
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            return Ok(Files::Nothing(KubeconfigError::ReadConfig(error, path)));
        }
        paths.push(path);
    }
    let mut missing = KubeconfigError::CurrentContextNotSet;
    let mut all = Kubeconfig::default();
    for path in paths {
        match Kubeconfig::read_from(path) {
            Ok(mut one) => {
                // An empty one must not win over that of a later file.
                one.current_context = one.current_context.filter(|context| !context.is_empty());
                all = all.merge(one)?;
            }
            Err(KubeconfigError::ReadConfig(error, path)) if is_missing(&error) => {
                missing = KubeconfigError::ReadConfig(error, path);
            }
            Err(error) => return Err(error),
        }
    }
    if all.current_context.is_none() && all.clusters.is_empty() {
        return Ok(Files::Nothing(missing));
    }
    Ok(Files::Kubeconfig(Box::new(all)))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the configuration of the kubeconfig's context (`None`: of its current one), or of the pod. Returns also whether
/// it is that of the pod.
async fn infer(context: Option<&str>, proxies: &Proxies) -> Result<(Config, bool), NoAccess> {
    let (named, home) = (env::var_os("KUBECONFIG"), env::home_dir());
    let files = files(named.as_deref(), home.as_deref()).map_err(kube::Error::InferKubeconfig)?;
    match (files, context) {
        (Files::Kubeconfig(kubeconfig), _) => Ok((of_kubeconfig(*kubeconfig, context, proxies).await?, false)),
        (Files::Nothing(why), Some(_)) => Err(kube::Error::InferKubeconfig(why).into()),
        // kube's own error is about the kubeconfig and the service account.
        (Files::Nothing(_), None) => Ok((Config::infer().await.map_err(kube::Error::InferConfig)?, true)),
    }
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
    check(&config)?;
    config.apply_debug_overrides();
    if config.default_namespace.is_empty() {
        "default".clone_into(&mut config.default_namespace);
    }
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

/// Refuses what kube's client takes and cannot use.
fn check(config: &Config) -> Result<(), NoAccess> {
    if config.cluster_url.scheme().is_none() {
        return Err(NoAccess::NoScheme);
    }
    let is_token = |token: &str| HeaderValue::from_str(token).is_ok();
    let user = &config.auth_info;
    if let Some(token) = &user.token {
        return is_token(token.expose_secret()).then_some(()).ok_or(NoAccess::Token);
    }
    // A file that cannot be read is kube's error.
    match user.token_file.as_ref().map(|file| (file, fs::read_to_string(file))) {
        Some((file, Ok(token))) if !is_token(&token) => Err(NoAccess::TokenFile(file.into())),
        Some((_, Ok(_) | Err(_))) | None => Ok(()),
    }
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
    use crate::telemetry::error::in_words;

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

    /// Returns what the files say: the contexts' names, or why there is nothing.
    fn read(named: Option<&str>, home: &Path) -> String {
        match files(named.map(OsStr::new), Some(home)) {
            Ok(Files::Kubeconfig(kubeconfig)) => kubeconfig.current_context.unwrap_or_else(|| "no context".to_owned()),
            Ok(Files::Nothing(_)) => "nothing".to_owned(),
            Err(error) => format!("refused: {error}")
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    #[test]
    fn only_where_no_kubeconfig_says_anything_is_it_the_pods_turn() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let one = write(
            "one",
            "{current-context: one, contexts: [{name: one, context: {cluster: a}}]}",
        );
        let two = write(
            "two",
            "{current-context: two, contexts: [{name: two, context: {cluster: a}}]}",
        );
        let empty = write("empty", "");
        let blank = write("blank", "{apiVersion: v1, kind: Config, current-context: ''}");
        let clusters = write(
            "clusters",
            "{clusters: [{name: a, cluster: {server: 'https://a.example'}}]}",
        );
        let broken = write("broken", "current-context: [");
        let missing = dir.path().join("missing").display().to_string();
        let below_a_file = format!("{one}/config");
        let no_home = dir.path();
        for (named, wanted) in [
            (None, "nothing"),
            (Some(String::new()), "nothing"),
            (Some(missing.clone()), "nothing"),
            (Some(below_a_file), "nothing"),
            (Some(empty.clone()), "nothing"),
            (Some(blank.clone()), "nothing"),
            (Some(format!("{missing}:{empty}")), "nothing"),
            (Some(one.clone()), "one"),
            (Some(format!("{missing}:{one}")), "one"),
            (Some(format!("{two}:{one}")), "two"),
            (Some(format!("{blank}:{one}")), "one"),
            (Some(clusters), "no context"),
            (Some(broken.clone()), "refused: "),
            (Some(format!("{one}:{broken}")), "refused: "),
            (Some(no_home.display().to_string()), "refused: "),
        ] {
            let said = read(named.as_deref(), no_home);
            assert!(
                said == wanted || (wanted == "refused: " && said.starts_with(wanted)),
                "{named:?}: {said}"
            );
        }
        std::fs::create_dir(dir.path().join(".kube")).expect("a folder");
        std::fs::copy(&two, dir.path().join(".kube/config")).expect("a copy");
        assert_eq!(read(None, no_home), "two");
        assert_eq!(read(Some(&missing), no_home), "nothing", "as for kubectl");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_an_error_and_names_why() {
        let proxies = Proxies::default();
        let with = |context: &str| {
            let text = format!(
                "{{current-context: here, \
                 clusters: [{{name: a, cluster: {{server: 'https://a.example'}}}}, {{name: bare, cluster: {{server: '127.0.0.1:7001'}}}}], \
                 users: [{{name: file, user: {{tokenFile: TOKEN}}}}, {{name: good, user: {{token: s3cret}}}}, {{name: bad, user: {{token: \"s3cret\\n\"}}}}], \
                 contexts: [{context}]}}"
            );
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("config");
            std::fs::write(&path, text).expect("written");
            std::fs::write(dir.path().join("TOKEN"), "s3cret\n").expect("written");
            (dir, path)
        };
        for (context, wanted) in [
            ("{name: here, context: {cluster: a}}", Ok("default")),
            ("{name: here, context: {cluster: a, namespace: ''}}", Ok("default")),
            ("{name: here, context: {cluster: a, namespace: shop}}", Ok("shop")),
            (
                "{name: here, context: {cluster: a, namespace: '../../x?y'}}",
                Err("cannot be one"),
            ),
            ("{name: here, context: {cluster: a, user: good}}", Ok("default")),
            (
                "{name: here, context: {cluster: a, user: bad}}",
                Err("holds a line break"),
            ),
            (
                "{name: here, context: {cluster: a, user: file}}",
                Err("TOKEN (the tokenFile of the kubeconfig's user) ends with a line break"),
            ),
            (
                "{name: here, context: {cluster: bare}}",
                Err("write https:// before it"),
            ),
            ("{name: other, context: {cluster: a}}", Err("here")),
            ("{name: here, context: {cluster: gone}}", Err("gone")),
        ] {
            let (_dir, path) = with(context);
            let made = Connector::chosen(Some(&path), None, &proxies).await;
            match (made, wanted) {
                (Ok(made), Ok(wanted)) => assert_eq!((made.default_namespace(), made.in_pod()), (wanted, false)),
                (Err(error), Err(wanted)) => {
                    let said = in_words(&error);
                    assert!(said.contains(wanted) && !said.contains("s3cret"), "{context}: {said}");
                }
                (made, _) => panic!("{context}: {:?}", made.err()),
            }
        }
    }

    #[tokio::test]
    async fn a_plugin_that_fails_at_the_first_second_or_third_call_tells_nothing() {
        for good in 0..3 {
            let dir = tempfile::tempdir().expect("a folder");
            let calls = dir.path().join("calls");
            // Its credentials are always about to expire: each request asks for new ones.
            let script = format!(
                "echo call >> '{calls}'; if [ $(wc -l < '{calls}') -gt {good} ]; then echo s3cret; exit 3; fi; \
                 echo '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":\
                 {{\"token\":\"t\",\"expirationTimestamp\":\"2020-01-01T00:00:00Z\"}}}}'",
                calls = calls.display()
            );
            let kubeconfig = serde_json::json!({
                "current-context": "a",
                "clusters": [{ "name": "a", "cluster": { "server": "http://127.0.0.1:1" } }],
                "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "u" } }],
                "users": [{ "name": "u", "user": { "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
                    "env": [{ "name": "PASSWORD", "value": "s3cret" }], "interactiveMode": "Never",
                } } }],
            });
            let path = dir.path().join("config");
            std::fs::write(&path, kubeconfig.to_string()).expect("written");
            let connector = Connector::chosen(Some(&path), None, &Proxies::default()).await;
            let connector = connector.map_err(|error| in_words(&error)).expect("a connector");
            let mut told = Vec::new();
            match connector.plain() {
                Err(error) => told.push(error),
                Ok(client) => {
                    for _ in 0..3 {
                        told.extend(client.apiserver_version().await.err());
                    }
                }
            }
            let told: Vec<_> = told.iter().map(|error| in_words(error)).collect();
            let last = told.last().expect("nobody listens");
            assert!(last.contains("failed (exit status: 3)"), "after {good} calls: {told:?}");
            assert!(!told.concat().contains("s3cret"), "after {good} calls: {told:?}");
        }
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
