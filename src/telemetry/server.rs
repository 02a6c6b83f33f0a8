//! The health server: `/livez`, `/readyz` and `/metrics`, over plain HTTP, for the cluster's inside.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// The content type that `OpenMetrics` asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A watch that fails is tried again at least this often; without a failure for longer it works again.
const FAILURE_LASTS: Duration = Duration::from_mins(2);

/// Whether the program is ready and alive, as its parts report it.
#[derive(Debug)]
pub struct Health {
    ready: AtomicBool,
    /// Of each watch that fails: its first and its last failure without an event in between.
    failing: Mutex<BTreeMap<String, (Instant, Instant)>>,
    limit: Duration,
}

impl Health {
    /// Not ready, and alive. A watch that fails for longer than `limit` makes it not alive.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            ready: AtomicBool::new(false),
            failing: Mutex::default(),
            limit,
        }
    }

    /// Ready means that all stores are filled. Leadership has no part in it: a standby is ready to take over.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// The watch of this name gave an event. One that has nothing to tell is silent and well.
    pub fn watch_works(&self, name: &str) {
        self.failing.lock().remove(name);
    }

    /// The watch of this name gave an error at this time.
    pub fn watch_fails(&self, name: &str, now: Instant) {
        let mut failing = self.failing.lock();
        let since = failing
            .get(name)
            .filter(|failures| still_fails(failures.1, now))
            .map_or(now, |failures| failures.0);
        failing.insert(name.to_owned(), (since, now));
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
            .failing
            .lock()
            .iter()
            .filter(|(_, failures)| still_fails(failures.1, now))
            .map(|(name, failures)| (name, now.saturating_duration_since(failures.0)))
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
            get(async |State(shared): State<Shared>| scrape(&shared.metrics)),
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

fn scrape(metrics: &Metrics) -> Response {
    match metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
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

        health.watch_works("BackendApi");
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

        let other = Health::new(Duration::ZERO);
        other.watch_fails("BackendApi", start);
        other.watch_works("BackendApi");
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
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
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
        let metrics = get("/metrics").await;
        assert!(metrics.contains(OPENMETRICS) && metrics.contains("# EOF"), "{metrics}");
        assert!(get("/other").await.starts_with("HTTP/1.1 404"));

        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
