//! The health server: `/livez`, `/readyz` and `/metrics`, over plain HTTP, for the cluster's inside.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Metrics, metrics::classic};

/// The content type that `OpenMetrics` asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus's own text format.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A watch that fails is tried again at least this often; without a failure for longer it works again.
const FAILURE_LASTS: Duration = Duration::from_mins(2);

/// Whether the program is ready and alive, as its parts report it.
#[derive(Debug)]
pub struct Health {
    ready: AtomicBool,
    watches: Mutex<BTreeMap<String, Watch>>,
    limit: Duration,
}

/// What is known of a watch.
#[derive(Debug, Default)]
struct Watch {
    /// When it last had something to tell.
    event: Option<Timestamp>,
    /// Its first and its last failure without an event in between.
    failures: Option<(Instant, Instant)>,
}

impl Watch {
    fn failing(&self, now: Instant) -> Option<Duration> {
        let (first, _) = self.failures.filter(|(_, last)| still_fails(*last, now))?;
        Some(now.saturating_duration_since(first))
    }
}

impl Health {
    /// Not ready, and alive. A watch that fails for longer than `limit` makes it not alive.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            ready: AtomicBool::new(false),
            watches: Mutex::default(),
            limit,
        }
    }

    /// Ready means that all stores are filled. Leadership has no part in it: a standby is ready to take over.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The watch of this name gave an event at this time. One that has nothing to tell is silent and well.
    pub fn watch_works(&self, name: &str, now: Timestamp) {
        let mut watches = self.watches.lock();
        let watch = watches.entry(name.to_owned()).or_default();
        watch.event = Some(now);
        watch.failures = None;
    }

    /// The watch of this name gave an error at this time.
    pub fn watch_fails(&self, name: &str, now: Instant) {
        let mut watches = self.watches.lock();
        let watch = watches.entry(name.to_owned()).or_default();
        let failures = watch.failures.filter(|(_, last)| still_fails(*last, now));
        watch.failures = Some((failures.map_or(now, |(first, _)| first), now));
    }

    /// For how long the watch of this name has been failing (zero: it works), and when it last had something to tell.
    pub fn watch(&self, name: &str, now: Instant) -> (Duration, Option<Timestamp>) {
        let watches = self.watches.lock();
        let watch = watches.get(name);
        let failing = watch.and_then(|watch| watch.failing(now)).unwrap_or_default();
        (failing, watch.and_then(|watch| watch.event))
    }

    /// What keeps the program from being ready, if anything.
    pub fn readiness(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("stores: not filled yet\n".to_owned())
        }
    }

    /// Which watches are dead, if any.
    pub fn liveness(&self, now: Instant) -> Result<(), String> {
        let dead: Vec<String> = self
            .watches
            .lock()
            .iter()
            .filter_map(|(name, watch)| Some((name, watch.failing(now)?)))
            .filter(|(_, failing)| *failing > self.limit)
            .map(|(name, failing)| format!("watch {name}: failing for {} s\n", failing.as_secs()))
            .collect();
        if dead.is_empty() { Ok(()) } else { Err(dead.concat()) }
    }
}

/// A watch may be taken up again without an event: when nothing has changed, only the silence tells.
fn still_fails(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) <= FAILURE_LASTS
}

#[derive(Clone)]
struct Shared {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Serves until the shutdown, and then finishes the answers under way.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route(
            "/livez",
            get(async |State(shared): State<Shared>| answer(shared.health.liveness(Instant::now()))),
        )
        .route(
            "/readyz",
            get(async |State(shared): State<Shared>| answer(shared.health.readiness())),
        )
        .route(
            "/metrics",
            get(async |State(shared): State<Shared>, headers: HeaderMap| scrape(&shared.metrics, &headers)),
        )
        .with_state(Shared { health, metrics });
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

fn answer(check: Result<(), String>) -> Response {
    match check {
        Ok(()) => "ok\n".into_response(),
        Err(failing) => (StatusCode::SERVICE_UNAVAILABLE, failing).into_response(),
    }
}

/// `OpenMetrics` for those who ask for it, as Prometheus does.
fn scrape(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_asked_for = accepted.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    match metrics.encode() {
        Ok(text) if is_asked_for => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Ok(text) => ([(CONTENT_TYPE, CLASSIC)], classic(&text)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn a_program_is_ready_when_it_says_so_and_alive_until_a_watch_fails_for_too_long() {
        let health = Health::new(Duration::from_mins(10));
        let start = Instant::now();
        assert_eq!(health.readiness().unwrap_err(), "stores: not filled yet\n");
        health.set_ready(true);
        assert_eq!(health.readiness(), Ok(()));

        health.watch_works("BackendApi", Timestamp::UNIX_EPOCH);
        for minute in 0..=10 {
            let now = start + Duration::from_mins(minute);
            health.watch_fails("AmplifyBackend", now);
            assert_eq!(health.liveness(now), Ok(()));
        }
        assert_eq!(
            health.liveness(start + Duration::from_secs(601)),
            Err("watch AmplifyBackend: failing for 601 s\n".to_owned())
        );
        let silent = start + Duration::from_mins(13);
        assert_eq!(health.liveness(silent), Ok(()), "it works, and has nothing to tell");
        health.watch_fails("AmplifyBackend", silent);
        assert_eq!(health.liveness(silent), Ok(()), "counted from anew");

        let (failing, event) = health.watch("AmplifyBackend", silent + Duration::from_secs(9));
        assert_eq!((failing, event), (Duration::from_secs(9), None));
        let (failing, event) = health.watch("BackendApi", silent);
        assert!(failing.is_zero() && event.is_some());
        let later = silent + Duration::from_mins(3);
        assert!(health.watch("AmplifyBackend", later).0.is_zero(), "silent again");

        let other = Health::new(Duration::ZERO);
        other.watch_fails("BackendApi", start);
        other.watch_works("BackendApi", Timestamp::UNIX_EPOCH);
        assert_eq!(other.liveness(start + Duration::from_secs(1)), Ok(()));
    }

    #[tokio::test]
    async fn the_server_answers_each_path_and_stops_when_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Arc::new(Health::new(Duration::from_mins(10)));
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(
            listener,
            Arc::clone(&health),
            Arc::new(Metrics::new("test")),
            shutdown.clone(),
        ));
        let get = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (path, accept) = path.split_once(' ').unwrap_or((path, "*/*"));
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        };
        assert!(get("/livez").await.starts_with("HTTP/1.1 200"));
        let not_ready = get("/readyz").await;
        assert!(not_ready.starts_with("HTTP/1.1 503"), "{not_ready}");
        assert!(not_ready.contains("stores: not filled yet"));
        health.set_ready(true);
        assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get("/metrics application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
        assert!(metrics.contains(OPENMETRICS) && metrics.contains("# EOF"), "{metrics}");
        let metrics = get("/metrics").await;
        assert!(metrics.contains(CLASSIC) && !metrics.contains("# EOF"), "{metrics}");
        assert!(get("/other").await.starts_with("HTTP/1.1 404"));

        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
