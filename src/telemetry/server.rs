//! The health server: `/livez`, `/readyz` and `/metrics`, over plain HTTP, for use inside the cluster.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
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
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::{io::Errno, net::sockopt::set_ipv6_v6only};
use tokio::{
    net::{TcpListener, TcpSocket},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Metrics, metrics::classic};

/// The content type that `OpenMetrics` requires.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus's own text format.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper limit of open connections.
const CONNECTIONS: usize = 64;
/// How long the head of a request may take, and how long a connection may be idle between two requests.
const HEAD: Duration = Duration::from_secs(5);
/// How long the server waits after a connection could not be accepted.
const RETRY: Duration = Duration::from_secs(1);

/// Length of the queue of connections that are not accepted yet, as the standard library sets it.
const BACKLOG: u32 = 128;

/// A failing watch is retried at least this often. Without a failure for a longer time, it works again.
const FAILURE_LASTS: Duration = Duration::from_mins(2);

/// Listens on an address. `[::]` answers on IPv4 too, and on a machine without IPv6 it is `0.0.0.0`: one value then
/// serves every cluster.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_with(address, bind)
}

fn listen_with<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let is_any = matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified());
    match bind(address) {
        Err(error) if is_any && has_no_ipv6(&error) => {
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            warn!("this machine has no IPv6 ({error}): listening on {address} instead of [::]");
            bind(address)
        }
        bound => bound,
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
    )
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() {
        let socket = TcpSocket::new_v6()?;
        // Whatever the default of the machine is (net.ipv6.bindv6only).
        set_ipv6_v6only(&socket, false)?;
        socket
    } else {
        TcpSocket::new_v4()?
    };
    // As the standard library does: a restart can use the port again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The health of the program, ready or not and alive or not, as reported by its watches.
#[derive(Debug)]
pub struct Health {
    watches: Mutex<BTreeMap<WatchKey, Watch>>,
    limit: Duration,
}

/// The kind and namespace of a watch.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct WatchKey {
    /// The namespace. `None`: all.
    pub namespace: Option<String>,
    /// The kind.
    pub kind: &'static str,
}

impl fmt::Display for WatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in {namespace}", self.kind),
            None => f.write_str(self.kind),
        }
    }
}

/// The state of a watch.
#[derive(Debug, Default)]
struct Watch {
    /// Whether all its resources have been listed once.
    is_filled: bool,
    /// When its last event came.
    event: Option<Timestamp>,
    /// Its failures since the last event.
    failures: Option<Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    first: Instant,
    last: Instant,
    /// When the API server last answered with an error.
    answer: Option<Instant>,
}

impl Watch {
    fn failures(&self, now: Instant) -> Option<Failures> {
        self.failures.filter(|failures| still_fails(failures.last, now))
    }

    /// Returns a line about the problem of this watch, if it has one.
    fn complaint(&self, key: &WatchKey, now: Instant) -> Option<String> {
        let failing = self.failing(now).map(|failing| failing.as_secs());
        match (self.is_filled, failing) {
            (true, None) => None,
            (true, Some(failing)) => Some(format!("watch {key}: failing for {failing} s\n")),
            (false, None) => Some(format!("watch {key}: not read yet\n")),
            (false, Some(failing)) => Some(format!("watch {key}: not read yet, failing for {failing} s\n")),
        }
    }

    fn failing(&self, now: Instant) -> Option<Duration> {
        let failures = self.failures(now)?;
        Some(now.saturating_duration_since(failures.first))
    }
}

impl Health {
    /// Starts as not ready, and alive. The program counts as dead once no watch has had an answer of the API server for
    /// longer than `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            watches: Mutex::default(),
            limit,
        }
    }

    /// Adds a watch.
    pub fn watch_opens(&self, key: WatchKey) {
        self.watches.lock().entry(key).or_default();
    }

    /// Records that all resources of this watch have been listed.
    pub fn watch_filled(&self, key: &WatchKey) {
        self.with(key, |watch| watch.is_filled = true);
    }

    /// Records an event of this watch. A watch without events is silent but works.
    pub fn watch_works(&self, key: &WatchKey, now: Timestamp) {
        self.with(key, |watch| {
            watch.event = Some(now);
            watch.failures = None;
        });
    }

    /// Records an error of this watch. `is_answer`: the API server itself sent the error.
    pub fn watch_fails(&self, key: &WatchKey, is_answer: bool, now: Instant) {
        self.with(key, |watch| {
            let before = watch.failures(now);
            watch.failures = Some(Failures {
                first: before.map_or(now, |before| before.first),
                last: now,
                answer: if is_answer {
                    Some(now)
                } else {
                    before.and_then(|before| before.answer)
                },
            });
        });
    }

    fn with(&self, key: &WatchKey, change: impl FnOnce(&mut Watch)) {
        change(self.watches.lock().entry(key.clone()).or_default());
    }

    /// Returns for how long this watch has been failing (zero: it works), and when its last event came.
    pub fn watch(&self, key: &WatchKey, now: Instant) -> (Duration, Option<Timestamp>) {
        let watches = self.watches.lock();
        let watch = watches.get(key);
        let failing = watch.and_then(|watch| watch.failing(now)).unwrap_or_default();
        (failing, watch.and_then(|watch| watch.event))
    }

    /// Whether all resources of a watched namespace have been listed. Leadership does not matter: a standby is ready to
    /// take over. Either result names the watches that have listed nothing yet, or fail.
    pub fn readiness(&self, now: Instant) -> Result<String, String> {
        let watches = self.watches.lock();
        let mut filled = BTreeMap::new();
        for (key, watch) in watches.iter() {
            *filled.entry(&key.namespace).or_insert(true) &= watch.is_filled;
        }
        let wrong: String = watches
            .iter()
            .filter_map(|(key, watch)| watch.complaint(key, now))
            .collect();
        if filled.into_values().any(|is_filled| is_filled) {
            Ok(wrong)
        } else {
            Err(format!("resources: not all read yet\n{wrong}"))
        }
    }

    /// Whether the program works. Answers about rights and definitions do not count as failures: a restarted process
    /// would get the same answers. If no watch gets any answer, a restart is better.
    pub fn liveness(&self, now: Instant) -> Result<String, String> {
        let watches = self.watches.lock();
        let dead = watches.iter().filter_map(|(key, watch)| {
            let failures = watch.failures(now)?;
            let silent = now.saturating_duration_since(failures.answer.unwrap_or(failures.first));
            (silent > self.limit).then(|| format!("watch {key}: no answer for {} s\n", silent.as_secs()))
        });
        let dead: Vec<String> = dead.collect();
        if dead.is_empty() || dead.len() < watches.len() {
            Ok(String::new())
        } else {
            Err(dead.concat())
        }
    }
}

/// Whether the watch still fails. When nothing changes, a watch recovers without an event: only the absence of failures
/// shows it.
fn still_fails(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) <= FAILURE_LASTS
}

#[derive(Clone)]
struct Shared {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Serves until the shutdown, then finishes the open answers.
///
/// Clients that open connections and send nothing exhaust neither memory nor probes: the head of a request must arrive
/// within 5 s, and beyond 64 connections the oldest is closed.
pub async fn serve(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let routes = Router::new()
        .route(
            "/livez",
            get(async |State(shared): State<Shared>| answer(shared.health.liveness(Instant::now()))),
        )
        .route(
            "/readyz",
            get(async |State(shared): State<Shared>| answer(shared.health.readiness(Instant::now()))),
        )
        .route(
            "/metrics",
            get(async |State(shared): State<Shared>, headers: HeaderMap| scrape(&shared.metrics, &headers)),
        )
        .with_state(Shared { health, metrics });
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let ending = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "cannot accept a connection");
                // Usually the process has no file descriptors left: a connection must end first.
                if !is_of_one_connection(&error) {
                    sleep(RETRY).await;
                }
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(routes.clone());
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let answered = ending.watch(connection);
        open.push_back(connections.spawn(async move {
            if let Err(error) = answered.await {
                debug!(error, "a connection has ended early");
            }
        }));
    }
    drop(listener);
    ending.shutdown().await;
}

/// Whether one connection failed, and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn answer(check: Result<String, String>) -> Response {
    match check {
        Ok(wrong) => format!("ok\n{wrong}").into_response(),
        Err(failing) => (StatusCode::SERVICE_UNAVAILABLE, failing).into_response(),
    }
}

/// Answers in `OpenMetrics` if the client asks for it, as Prometheus does.
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

    fn key(kind: &'static str, namespace: Option<&str>) -> WatchKey {
        WatchKey {
            namespace: namespace.map(str::to_owned),
            kind,
        }
    }

    #[test]
    fn a_program_is_ready_when_one_namespace_has_been_read_and_names_those_that_have_not() {
        let health = Health::new(Duration::from_mins(10));
        let now = Instant::now();
        assert_eq!(health.readiness(now).unwrap_err(), "resources: not all read yet\n");
        for namespace in ["a", "b"] {
            for kind in ["AmplifyBackend", "BackendApi"] {
                health.watch_opens(key(kind, Some(namespace)));
            }
        }
        health.watch_filled(&key("AmplifyBackend", Some("a")));
        health.watch_filled(&key("AmplifyBackend", Some("b")));
        assert_eq!(
            health.readiness(now).unwrap_err(),
            "resources: not all read yet\nwatch BackendApi in a: not read yet\nwatch BackendApi in b: not read yet\n"
        );
        health.watch_filled(&key("BackendApi", Some("b")));
        health.watch_fails(&key("BackendApi", Some("a")), true, now);
        health.watch_fails(&key("AmplifyBackend", Some("b")), true, now);
        assert_eq!(
            health.readiness(now + Duration::from_secs(3)).unwrap(),
            "watch BackendApi in a: not read yet, failing for 3 s\nwatch AmplifyBackend in b: failing for 3 s\n"
        );
        health.watch_filled(&key("BackendApi", Some("a")));
        for watch in [key("BackendApi", Some("a")), key("AmplifyBackend", Some("b"))] {
            health.watch_works(&watch, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(health.readiness(now).unwrap(), "");
    }

    #[test]
    fn a_program_is_alive_while_the_api_server_answers_any_watch_of_it_whatever_it_says() {
        let (api, backend) = (key("BackendApi", None), key("AmplifyBackend", None));
        let start = Instant::now();
        // How each of the two fails, once a minute for 10 min, and whether the program is alive after 10 min and 1 s.
        let (silent, refused) = (Some(false), Some(true));
        for (api_fails, backend_fails, is_alive) in [
            (silent, silent, false),
            (silent, None, true),
            (silent, refused, true),
            (refused, refused, true),
            (None, None, true),
        ] {
            let health = Health::new(Duration::from_mins(10));
            for (watch, fails) in [(&api, api_fails), (&backend, backend_fails)] {
                health.watch_opens(watch.clone());
                for minute in 0..=10 {
                    let now = start + Duration::from_mins(minute);
                    if let Some(is_answer) = fails {
                        health.watch_fails(watch, is_answer, now);
                    }
                    assert!(health.liveness(now).is_ok());
                }
            }
            let said = health.liveness(start + Duration::from_secs(601));
            assert_eq!(said.is_ok(), is_alive, "{api_fails:?} {backend_fails:?}: {said:?}");
            if let Err(dead) = said {
                assert_eq!(
                    dead,
                    "watch AmplifyBackend: no answer for 601 s\nwatch BackendApi: no answer for 601 s\n"
                );
            }
        }
    }

    #[test]
    fn one_answer_does_not_make_up_for_all_later_silence() {
        let health = Health::new(Duration::from_mins(10));
        let (watch, start) = (key("BackendApi", None), Instant::now());
        for minute in 0..=12 {
            // Refused twice, then silence.
            health.watch_fails(&watch, minute < 2, start + Duration::from_mins(minute));
        }
        assert!(health.liveness(start + Duration::from_mins(11)).is_ok());
        let dead = health.liveness(start + Duration::from_secs(661));
        assert_eq!(dead.unwrap_err(), "watch BackendApi: no answer for 601 s\n");
    }

    #[test]
    fn a_watch_fails_from_its_first_failure_to_its_next_event_or_to_two_minutes_without_a_failure() {
        let health = Health::new(Duration::from_mins(10));
        let (watch, start) = (key("BackendApi", None), Instant::now());
        let failing = |seconds| health.watch(&watch, start + Duration::from_secs(seconds)).0.as_secs();
        health.watch_fails(&watch, false, start);
        health.watch_fails(&watch, false, start + Duration::from_mins(1));
        assert_eq!((failing(60), failing(180), failing(181)), (60, 180, 0), "silent again");
        health.watch_fails(&watch, false, start + Duration::from_secs(200));
        assert_eq!(failing(209), 9, "counted from anew");
        health.watch_works(&watch, Timestamp::UNIX_EPOCH);
        let (failing, event) = health.watch(&watch, start + Duration::from_secs(209));
        assert_eq!((failing.as_secs(), event), (0, Some(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn without_ipv6_any_address_is_any_of_ipv4_and_no_other_address_is_replaced() {
        let any = "[::]:8080";
        for (address, error, bound) in [
            (any, None, Ok("[::]:8080")),
            (any, Some(Errno::AFNOSUPPORT), Ok("0.0.0.0:8080")),
            (any, Some(Errno::ADDRNOTAVAIL), Ok("0.0.0.0:8080")),
            (any, Some(Errno::ADDRINUSE), Err(Errno::ADDRINUSE)),
            (any, Some(Errno::ACCESS), Err(Errno::ACCESS)),
            ("[::1]:8080", Some(Errno::ADDRNOTAVAIL), Err(Errno::ADDRNOTAVAIL)),
            ("203.0.113.1:80", Some(Errno::ADDRNOTAVAIL), Err(Errno::ADDRNOTAVAIL)),
            ("0.0.0.0:8080", Some(Errno::AFNOSUPPORT), Err(Errno::AFNOSUPPORT)),
        ] {
            let wanted: SocketAddr = address.parse().unwrap();
            let made = listen_with(wanted, |tried| match error {
                Some(error) if tried == wanted => Err(error.into()),
                _ => Ok(tried.to_string()),
            });
            let made = made.map_err(|error| Errno::from_io_error(&error).unwrap());
            assert_eq!(made.as_deref().map_err(|error| *error), bound, "{address}: {error:?}");
        }
    }

    #[tokio::test]
    async fn any_address_of_ipv6_answers_on_ipv4_too() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let has_ipv6 = listener.local_addr().unwrap().is_ipv6();
        if has_ipv6 {
            assert!(!rustix::net::sockopt::ipv6_v6only(&listener).unwrap());
        }
        let hosts = [Some("127.0.0.1"), has_ipv6.then_some("::1")];
        for host in hosts.into_iter().flatten() {
            let (client, server) = tokio::join!(TcpStream::connect((host, port)), listener.accept());
            assert!(client.is_ok() && server.is_ok(), "{host}");
        }
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
        assert!(not_ready.contains("resources: not all read yet"));
        health.watch_filled(&key("BackendApi", None));
        assert!(get("/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get("/metrics application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
        assert!(metrics.contains(OPENMETRICS) && metrics.contains("# EOF"), "{metrics}");
        let metrics = get("/metrics").await;
        assert!(metrics.contains(CLASSIC) && !metrics.contains("# EOF"), "{metrics}");
        assert!(get("/other").await.starts_with("HTTP/1.1 404"));

        shutdown.cancel();
        server.await.unwrap();
    }

    /// Starts a server. Returns its address, and the token that ends it.
    async fn server() -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, metrics) = (Health::new(Duration::ZERO), Metrics::new("test"));
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, Arc::new(health), Arc::new(metrics), shutdown.clone()));
        (address, shutdown)
    }

    #[tokio::test]
    async fn of_too_many_connections_the_oldest_give_way_and_a_probe_is_answered() {
        let (address, _shutdown) = server().await;
        let mut half_open = Vec::new();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
            half_open.push(stream);
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        probe.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for (number, stream) in half_open.iter_mut().enumerate() {
            let is_kept = number > 200 - CONNECTIONS;
            if !is_kept {
                // Closed, or reset because the server never read its bytes.
                let read = stream.read(&mut [0]).await;
                assert!(matches!(read, Ok(0) | Err(_)), "{number}: {read:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_let_go_after_five_seconds() {
        let begun = tokio::time::Instant::now();
        let (address, _shutdown) = server().await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
        tokio::join!(async { drop(silent.read(&mut [0]).await) }, async {
            let mut answer = Vec::new();
            drop(slow.read_to_end(&mut answer).await);
        });
        let took = begun.elapsed();
        assert!((HEAD..3 * HEAD).contains(&took), "{took:?}");
    }
}
