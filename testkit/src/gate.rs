//! A reverse proxy between an operator and the API server. It counts requests, and holds, refuses, delays or cuts the
//! requests that a test names.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use amplify_operator::api;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    serve::ListenerExt as _,
};
use futures::{StreamExt as _, stream};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::stage::{PATIENCE, Stage};

/// The properties by which requests are distinguished.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// The verb, as in RBAC.
    pub verb: &'static str,
    /// The resource, with the subresource.
    pub resource: String,
    /// The object's name, empty for a collection.
    pub name: String,
}

impl Asked {
    fn of(head: &Parts) -> Self {
        let path = head.uri.path().trim_start_matches('/');
        let mut parts = path.split('/').map(str::to_owned);
        let skipped = if path.starts_with("apis/") { 3 } else { 2 };
        let mut rest: Vec<_> = parts.by_ref().skip(skipped).collect();
        if rest.first().is_some_and(|part| part == "namespaces") {
            rest.drain(..rest.len().min(2));
        }
        let mut rest = rest.into_iter();
        let (resource, name, sub) = (rest.next(), rest.next(), rest.next());
        let resource = resource.unwrap_or_default() + &sub.map(|sub| format!("/{sub}")).unwrap_or_default();
        let name = name.unwrap_or_default();
        let is_watch = head.uri.query().is_some_and(|query| query.contains("watch=true"));
        let verb = match head.method {
            Method::GET if is_watch => "watch",
            Method::GET if name.is_empty() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            _ => "other",
        };
        Self { verb, resource, name }
    }

    /// Whether the request belongs to the work on a resource: not a watch, a list or an Event.
    pub fn is_work(&self) -> bool {
        !matches!(self.verb, "watch" | "list") && self.resource != "events"
    }

    pub fn is_write(&self) -> bool {
        self.is_work() && self.verb != "get"
    }
}

/// The treatment of a request.
#[derive(Clone, Debug)]
pub enum Treatment {
    /// The request never arrives.
    Hold,
    /// The request is carried out, but the reply never arrives.
    HoldReply,
    /// The request is refused with this status.
    Refuse(u16),
    /// The request waits until the gate lets it through, and is then carried out.
    Wait,
    /// For a watch: its start version is too old, as after a compaction. The client then lists again.
    Expire,
}

/// A rule: which requests it hits, how many of them pass first, and how many are hit after that.
pub struct Rule {
    pub hits: Box<dyn Fn(&Asked) -> bool + Send>,
    pub skip: usize,
    pub times: usize,
    pub treatment: Treatment,
}

/// A request and its result.
#[derive(Clone, Debug)]
pub struct Seen {
    pub asked: Asked,
    /// For a write of a status: the reason of Ready, and whether Ready is True.
    pub ready: Option<(String, bool)>,
    /// None while the request is under way, and if it was held.
    pub status: Option<u16>,
}

struct Shared {
    client: Client,
    seen: Mutex<Vec<Seen>>,
    rules: Mutex<Vec<Rule>>,
    hits: watch::Sender<usize>,
    watches: Mutex<CancellationToken>,
    frozen: Mutex<CancellationToken>,
    /// Counts how often waiting requests were let through.
    through: watch::Sender<usize>,
    delay_millis: AtomicUsize,
}

/// The proxy of one stage, until dropped.
pub struct Gate {
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
    _dir: TempDir,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Gate {
    /// Puts a gate between this stage's operator, from its next start on, and the API server.
    pub async fn before(stage: &mut Stage) -> Self {
        let mut variables = stage.environment.iter();
        let found = variables.find(|(name, _)| name == "KUBECONFIG");
        let path = found.map(|(_, path)| path).expect("a kubeconfig");
        let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig");
        config.proxy_url = None;
        let shared = Arc::new(Shared {
            client: Client::try_from(config).expect("a client"),
            seen: Mutex::default(),
            rules: Mutex::default(),
            hits: watch::Sender::new(0),
            watches: Mutex::default(),
            frozen: Mutex::default(),
            through: watch::Sender::new(0),
            delay_millis: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().fallback(serve).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let listener = listener.tap_io(|stream| {
                // Small requests must not wait for acknowledgements.
                let _slower = stream.set_nodelay(true);
            });
            let _never_ends = axum::serve(listener, routes).await;
        });
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "gate",
            "clusters": [{ "name": "gate", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "gate", "user": {} }],
            "contexts": [{ "name": "gate", "context": { "cluster": "gate", "user": "gate" } }],
        });
        std::fs::write(&path, kubeconfig.to_string()).expect("a kubeconfig");
        stage.set("KUBECONFIG", &path.display().to_string());
        Self {
            shared,
            serving,
            _dir: dir,
        }
    }

    pub fn rule(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Treats a work request of this kind that comes after `skip` others.
    pub fn treat(&self, asked: &Asked, skip: usize, treatment: Treatment) {
        let asked = asked.clone();
        self.rule(Rule {
            hits: Box::new(move |other| *other == asked),
            skip,
            times: 1,
            treatment,
        });
    }

    /// Carries out the waiting requests.
    pub fn let_through(&self) {
        self.shared.through.send_modify(|times| *times += 1);
    }

    /// Removes all rules. Held requests stay held.
    pub fn open(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Ends all watches that are open now.
    pub fn cut_watches(&self) {
        std::mem::take(&mut *lock(&self.shared.watches)).cancel();
    }

    /// Freezes all watches that are open now: they stay open and send nothing more, not even their end.
    pub fn freeze_watches(&self) {
        std::mem::take(&mut *lock(&self.shared.frozen)).cancel();
    }

    /// Delays every reply by this time.
    pub fn delay(&self, delay: Duration) {
        let millis = usize::try_from(delay.as_millis()).expect("a short delay");
        self.shared.delay_millis.store(millis, Ordering::Relaxed);
    }

    /// Returns the number of requests that rules have hit.
    pub fn hits(&self) -> usize {
        *self.shared.hits.borrow()
    }

    /// Waits until rules have hit this many requests. Requests that are to be carried out have been carried out by
    /// then.
    pub async fn wait_for_hits(&self, count: usize) {
        let mut hits = self.shared.hits.subscribe();
        let in_time = tokio::time::timeout(PATIENCE, hits.wait_for(|hits| *hits >= count)).await;
        let hits = in_time.unwrap_or_else(|_| panic!("{count} requests are not hit within {PATIENCE:?}"));
        hits.expect("the gate stands");
    }

    /// Returns the requests since the last `forget`.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Returns the number of accepted writes about resources, without Events.
    pub fn writes(&self) -> usize {
        let seen = self.seen();
        seen.iter()
            .filter(|seen| seen.asked.is_write() && seen.status.is_none_or(|status| status < 300))
            .count()
    }

    pub fn forget(&self) {
        lock(&self.shared.seen).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let asked = Asked::of(&head);
    let Ok(body) = to_bytes(body, 16 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let number = {
        let mut seen = lock(&shared.seen);
        let ready = asked.resource.ends_with("/status").then(|| ready_in(&body)).flatten();
        seen.push(Seen {
            asked: asked.clone(),
            ready,
            status: None,
        });
        seen.len() - 1
    };
    let treatment = treatment(&mut lock(&shared.rules), &asked);
    let response = match treatment {
        Some(Treatment::Hold) => {
            shared.hits.send_modify(|hits| *hits += 1);
            std::future::pending().await
        }
        Some(Treatment::HoldReply) => {
            let _lost = forward(&shared, &asked, head, body.into()).await;
            shared.hits.send_modify(|hits| *hits += 1);
            std::future::pending().await
        }
        Some(Treatment::Wait) => {
            let mut through = shared.through.subscribe();
            shared.hits.send_modify(|hits| *hits += 1);
            // A dropped gate lets nothing through.
            let _open = through.changed().await;
            forward(&shared, &asked, head, body.into()).await
        }
        Some(Treatment::Refuse(status)) => {
            shared.hits.send_modify(|hits| *hits += 1);
            refusal(status)
        }
        Some(Treatment::Expire) => {
            shared.hits.send_modify(|hits| *hits += 1);
            let event = json!({ "type": "ERROR", "object": status_of(410, "Expired") });
            ([(header::CONTENT_TYPE, "application/json")], format!("{event}\n")).into_response()
        }
        None => forward(&shared, &asked, head, body.into()).await,
    };
    let delay = shared.delay_millis.load(Ordering::Relaxed);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay as u64)).await;
    }
    // The entry may have been forgotten meanwhile.
    if let Some(seen) = lock(&shared.seen).get_mut(number).filter(|seen| seen.asked == asked) {
        seen.status = Some(response.status().as_u16());
    }
    response
}

/// Returns the first rule that hits.
fn treatment(rules: &mut [Rule], asked: &Asked) -> Option<Treatment> {
    for rule in rules.iter_mut().filter(|rule| rule.times > 0 && (rule.hits)(asked)) {
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        rule.times -= 1;
        return Some(rule.treatment.clone());
    }
    None
}

async fn forward(shared: &Shared, asked: &Asked, head: Parts, body: Vec<u8>) -> Response {
    let mut request = axum::http::Request::new(kube::client::Body::from(body));
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.headers_mut() = end_to_end(head.headers);
    let cut = lock(&shared.watches).clone();
    let frozen = lock(&shared.frozen).clone();
    match shared.client.send(request).await {
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            head.headers = end_to_end(head.headers);
            let body = if asked.verb == "watch" {
                let events = Body::new(body).into_data_stream().map(Some);
                let events = events.chain(stream::iter([None])).then(move |event| {
                    let frozen = frozen.clone();
                    async move {
                        if frozen.is_cancelled() {
                            std::future::pending::<()>().await;
                        }
                        event
                    }
                });
                let events = events.take_while(|event| std::future::ready(event.is_some()));
                let events = events.filter_map(std::future::ready);
                Body::from_stream(events.take_until(cut.cancelled_owned()))
            } else {
                Body::new(body)
            };
            Response::from_parts(head, body)
        }
    }
}

/// Removes the headers that concern only one connection.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [
        header::HOST,
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        headers.remove(name);
    }
    headers
}

/// Returns a refusal in the form of the API server.
fn refusal(status: u16) -> Response {
    let reason = match status {
        403 => "Forbidden",
        409 => "Conflict",
        _ => "InternalError",
    };
    let body = status_of(status, reason);
    let code = StatusCode::from_u16(status).expect("a status");
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn status_of(code: u16, reason: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": "refused by the test", "metadata": {},
    })
}

/// Returns the reason of Ready in a patch of a status, and whether Ready is True.
fn ready_in(body: &[u8]) -> Option<(String, bool)> {
    let patch: Value = serde_json::from_slice(body).ok()?;
    let conditions = match &patch {
        Value::Array(operations) => {
            let mut operations = operations.iter();
            &operations.find(|operation| operation["path"] == "/status/conditions")?["value"]
        }
        merge => &merge["status"]["conditions"],
    };
    let ready = conditions.as_array()?.iter().find(|one| one["type"] == "Ready")?;
    Some((ready["reason"].as_str()?.to_owned(), ready["status"] == "True"))
}

/// Whether this is a patch of one of the operator's resources.
pub fn is_patch(asked: &Asked) -> bool {
    asked.verb == "patch"
        && api::crds()
            .iter()
            .any(|crd| asked.resource.starts_with(&crd.spec.names.plural))
}
