//! The port against a loopback server that answers well, badly, or not at all.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use jiff::Timestamp;

use super::{
    answers::{MAX_PAGES, WORD_LIMIT},
    *,
};
use crate::{
    amplify::{
        Accepted, AppId, EnvironmentName, JobId, ResourceName, Sessions,
        errors::MESSAGE_LIMIT,
        http::ANSWER_LIMIT,
        session::tests::{sessions, tenants},
    },
    api::{AmplifyBackend, BackendApi, BackendEnvironment, KindName, ResourceConfig},
    controller::index::{Environment, Location, Within},
    kinds::{
        Remote, Sight,
        amplify_backend::Backend,
        backend_api::{Api, tests::full_config},
        backend_environment::Record,
        config::Nothing,
        described::{self, Backends},
        meta_config::MetaConfig,
    },
    lifecycle::facts::{Class, Sent},
};

/// The kinds of AWS objects.
#[derive(Clone, Copy, Debug)]
enum Of {
    Backend,
    Api,
    Environment,
}

/// An object that AWS shows, or that a write has made or removed.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived")]
enum Found {
    Backend(Backend),
    Api(Api),
    Environment(Record),
}

type Wrote = Result<Accepted<Found>, Failure>;

fn done<F>(wrote: Result<Accepted<F>, Failure>, found: fn(F) -> Found) -> Wrote {
    wrote.map(|accepted| match accepted {
        Accepted::Done(it) => Accepted::Done(found(it)),
        Accepted::Job {
            id,
            environment,
            status,
            error,
        } => Accepted::Job {
            id,
            environment,
            status,
            error,
        },
    })
}

fn gone<F>(
    wrote: Result<Option<Accepted<F>>, Failure>,
    found: fn(F) -> Found,
) -> Result<Option<Accepted<Found>>, Failure> {
    wrote?.map(|accepted| done(Ok(accepted), found)).transpose()
}

fn location_in(app: &AppId, name: EnvironmentName, resource: ResourceName) -> Location {
    let at = |name| {
        Arc::new(Environment {
            region: "eu-west-1".to_owned(),
            app: app.clone(),
            name,
        })
    };
    Location {
        environment: at(name),
        within: Some(Within {
            kind: KindName::BackendApi,
            name: Some(resource),
        }),
        source: Some(at("main".parse().unwrap())),
    }
}

fn location() -> Location {
    location_in(&app(), env(), "blog".parse().unwrap())
}

fn resource<K: Remote>(spec: &Value) -> K {
    serde_json::from_value(json!({ "metadata": { "name": "it" }, "spec": spec })).unwrap()
}

/// Returns the object of a look. An undescribed object is a failure as long as no other answer describes it.
fn sighted<F>(sight: Result<Sight<F>, Failure>, found: impl FnOnce(F) -> Found) -> Result<Option<Found>, Failure> {
    match sight? {
        Sight::Shown(it) => Ok(Some(found(it))),
        Sight::Absent => Ok(None),
        Sight::Undescribed(failure) => Err(failure),
    }
}

impl Client {
    async fn look(&self, of: Of) -> Result<Option<Found>, Failure> {
        let location = location();
        match of {
            Of::Backend => {
                let backend: AmplifyBackend = resource(&json!({ "appId": "d1a2", "backendEnvironmentName": "dev" }));
                sighted(backend.look(self, &location).await, Found::Backend)
            }
            Of::Api => {
                let api: BackendApi = resource(&json!({
                    "appId": "d1a2", "backendEnvironmentName": "dev", "resourceName": "blog", "resourceConfig": {},
                }));
                sighted(api.look(self, &location).await, Found::Api)
            }
            Of::Environment => {
                let environment: BackendEnvironment = resource(&json!({ "appId": "d1a2", "environmentName": "dev" }));
                sighted(environment.look(self, &location).await, Found::Environment)
            }
        }
    }

    async fn create_backend(&self) -> Wrote {
        let backend: AmplifyBackend = resource(&json!({
            "appId": "d1a2", "backendEnvironmentName": "dev", "appName": "shop", "resourceConfig": {},
        }));
        done(backend.create(self, &location(), None).await, Found::Backend)
    }

    async fn delete(&self, of: Of, location: &Location) -> Result<Option<Accepted<Found>>, Failure> {
        match of {
            Of::Backend => gone(AmplifyBackend::delete(self, location, None).await, Found::Backend),
            Of::Api => gone(BackendApi::delete(self, location, None).await, Found::Api),
            Of::Environment => gone(
                BackendEnvironment::delete(self, location, None).await,
                Found::Environment,
            ),
        }
    }
}

/// A request as the server received it.
#[derive(Clone, Debug)]
struct Request {
    /// Method and path.
    line: String,
    body: Value,
}

/// The server's reaction to a request.
#[derive(Clone, Debug)]
enum Act {
    Answer(u16, &'static str, Value),
    /// Not JSON.
    Text(u16, &'static str),
    /// Only these headers, each with its line end. Such an answer is not from AWS unless a header says so.
    Plain(u16, String, &'static str),
    /// Bytes that may not be text.
    Bytes(u16, Arc<[u8]>),
    /// Sends an endless body while the client reads, and counts its bytes.
    Endless(Arc<AtomicU64>),
    /// Announces more bytes than it sends, and closes.
    Truncate,
    /// Sends the head, but never the body.
    StallBody,
    /// Reads the request, and closes the connection.
    Close,
    /// Reads the request, and resets the connection.
    Reset,
    /// Reads the request, and never answers.
    Hang,
}

struct Fake {
    endpoint: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    /// Starts a server. `act` gets the request and its number, from 0.
    async fn start(act: impl Fn(&Request, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, act) = (Arc::clone(&requests), Arc::new(act));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                tokio::spawn(async move {
                    while let Some(request) = read(&mut stream).await {
                        let number = {
                            let mut seen: parking_lot::MutexGuard<'_, Vec<Request>> = seen.lock();
                            seen.push(request.clone());
                            seen.len() - 1
                        };
                        if !perform(&mut stream, act(&request, number)).await {
                            return;
                        }
                    }
                });
            }
        });
        Self { endpoint, requests }
    }

    async fn answering(status: u16, body: Value) -> Self {
        Self::start(move |_, _| Act::Answer(status, "", body.clone())).await
    }

    fn client(&self) -> Client {
        self.client_within(patient())
    }

    fn client_within(&self, limits: Limits) -> Client {
        let sessions = sessions(&self.endpoint, limits, None);
        sessions.session_for("team").unwrap().client("eu-west-1")
    }

    fn sessions(&self) -> Sessions {
        sessions(&self.endpoint, patient(), None)
    }

    fn lines(&self) -> Vec<String> {
        self.requests.lock().iter().map(|r| r.line.clone()).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        line: head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}

/// Performs the action. Returns whether the connection stays open.
async fn perform(stream: &mut TcpStream, act: Act) -> bool {
    let text = match act {
        Act::Answer(status, code, body) => answer(status, code, &body.to_string(), 0),
        Act::Text(status, body) => answer(status, "", body, 0),
        Act::Plain(status, headers, body) => format!(
            "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        ),
        Act::Bytes(status, body) => {
            let head = answer(status, "", "", body.len());
            // The client may have stopped reading.
            return stream.write_all(&[head.as_bytes(), &body].concat()).await.is_ok();
        }
        Act::Endless(sent) => {
            let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"padding\":\"";
            stream.write_all(head.as_bytes()).await.unwrap();
            let piece = vec![b'x'; 64 << 10];
            while stream.write_all(&piece).await.is_ok() {
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            return false;
        }
        Act::Truncate => answer(200, "", r#"{"appId":"d1""#, 100),
        Act::StallBody => {
            stream.write_all(answer(200, "", "{", 100).as_bytes()).await.unwrap();
            return std::future::pending().await;
        }
        Act::Close => return false,
        Act::Reset => {
            stream.set_zero_linger().unwrap();
            return false;
        }
        Act::Hang => return std::future::pending().await,
    };
    let whole = !text.contains("x-missing");
    stream.write_all(text.as_bytes()).await.unwrap();
    whole
}

fn answer(status: u16, code: &str, body: &str, missing: usize) -> String {
    let error = if code.is_empty() {
        String::new()
    } else {
        format!("x-amzn-errortype: {code}\r\n")
    };
    let cut = if missing == 0 { "" } else { "x-missing: yes\r\n" };
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nx-amzn-requestid: req-1\r\n{error}{cut}content-length: {}\r\n\r\n{body}",
        body.len() + missing
    )
}

/// Limits that no answer reaches, however busy the machine is.
fn patient() -> Limits {
    Limits {
        operation: Duration::from_mins(1),
        attempt: Duration::from_secs(50),
        connect: Duration::from_secs(40),
        backoff: Duration::from_millis(1),
    }
}

/// Limits for calls that never end by themselves.
fn brief() -> Limits {
    Limits {
        operation: Duration::from_secs(3),
        attempt: Duration::from_secs(3),
        connect: Duration::from_secs(2),
        backoff: Duration::from_millis(1),
    }
}

fn app() -> AppId {
    "d1a2".parse().unwrap()
}

fn env() -> EnvironmentName {
    "dev".parse().unwrap()
}

const OBJECTS: [Of; 3] = [Of::Backend, Of::Api, Of::Environment];

/// The operations that write.
const WRITES: [&str; 8] = [
    "CreateBackend",
    "CloneBackend",
    "DeleteBackend",
    "CreateBackendAPI",
    "UpdateBackendAPI",
    "DeleteBackendAPI",
    "CreateBackendEnvironment",
    "DeleteBackendEnvironment",
];

async fn write(client: &Client, operation: &str) -> Result<Option<Accepted<Found>>, Failure> {
    let place = location();
    let config: ResourceConfig = serde_json::from_value(full_config()).unwrap();
    let wrote = match operation {
        "CreateBackend" => client.create_backend().await,
        "CloneBackend" => {
            let clone: AmplifyBackend = resource(&json!({
                "appId": "d1a2", "backendEnvironmentName": "dev", "cloneFrom": { "backendEnvironmentName": "main" },
            }));
            done(clone.create(client, &place, None).await, Found::Backend)
        }
        "CreateBackendAPI" => {
            let api: BackendApi = resource(&json!({ "resourceName": "blog", "resourceConfig": full_config() }));
            done(api.create(client, &place, Some(&config)).await, Found::Api)
        }
        "UpdateBackendAPI" => done(BackendApi::update(client, &place, &config).await, Found::Api),
        "CreateBackendEnvironment" => {
            let record: BackendEnvironment =
                resource(&json!({ "appId": "d1a2", "environmentName": "dev", "stackName": "stack" }));
            done(record.create(client, &place, None).await, Found::Environment)
        }
        "DeleteBackend" => return client.delete(Of::Backend, &place).await,
        "DeleteBackendAPI" => return client.delete(Of::Api, &place).await,
        "DeleteBackendEnvironment" => return client.delete(Of::Environment, &place).await,
        _ => panic!("{operation}"),
    };
    wrote.map(Some)
}

#[tokio::test]
async fn each_write_is_sent_once_whatever_happens() {
    use Class::{BadRequest, Throttled, Unavailable};
    use Sent::{Refused, Unknown};
    #[rustfmt::skip]
    let faults = [
        (Act::Answer(504, "GatewayTimeoutException", json!({})), Unavailable, Unknown),
        (Act::Answer(500, "InternalFailureException", json!({})), Unavailable, Unknown),
        (Act::Text(502, "<html>bad gateway</html>"), Unavailable, Unknown),
        (Act::Answer(429, "TooManyRequestsException", json!({"message": "no"})), Throttled, Refused),
        (Act::Answer(429, "LimitExceededException", json!({"message": "no"})), Throttled, Refused),
        (Act::Answer(400, "BadRequestException", json!({"message": "no"})), BadRequest, Refused),
        (Act::Truncate, Unavailable, Unknown),
        (Act::StallBody, Unavailable, Unknown),
        (Act::Text(200, "<html>"), Unavailable, Unknown),
        (Act::Close, Unavailable, Unknown),
        (Act::Reset, Unavailable, Unknown),
        (Act::Hang, Unavailable, Unknown),
    ];
    let each = faults
        .iter()
        .flat_map(|fault| WRITES.map(|operation| (fault, operation)));
    let each = each.map(async |((act, class, sent), operation)| {
        let fault = act.clone();
        let fake = Fake::start(move |_, _| fault.clone()).await;
        let never_ends = matches!(act, Act::StallBody | Act::Hang);
        let client = fake.client_within(if never_ends { brief() } else { patient() });
        let failure = write(&client, operation).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (*class, *sent),
            "{operation} {act:?}: {}",
            failure.message
        );
        assert!(failure.message.starts_with(operation), "{}", failure.message);
        // On a busy machine the brief time may end before a request is sent.
        let least = usize::from(!never_ends);
        assert!((least..=1).contains(&fake.lines().len()), "{operation} {act:?}");
    });
    futures::future::join_all(each).await;
}

/// Guards against the HTTP client: it repeats a request by itself if a kept connection turns out to be closed before
/// use.
#[tokio::test]
async fn a_write_on_a_kept_connection_that_breaks_is_sent_once() {
    for fault in [Act::Close, Act::Reset] {
        let act = fault.clone();
        let fake = Fake::start(move |_, number| match number {
            0 => Act::Answer(200, "", json!({"jobId": "j1"})),
            _ => act.clone(),
        })
        .await;
        let client = fake.client();
        assert!(write(&client, "DeleteBackend").await.is_ok());
        let failure = write(&client, "CreateBackend").await.unwrap_err();
        assert_eq!(failure.sent, Sent::Unknown, "{fault:?} {}", failure.message);
        assert_eq!(fake.lines().len(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_read_is_sent_up_to_three_times() {
    let fake = Fake::start(|_, number| match number {
        0 => Act::Answer(500, "", json!({})),
        1 => Act::Close,
        _ => Act::Answer(
            200,
            "",
            json!({"appId": "d1a2", "backendEnvironmentName": "dev", "appName": "shop"}),
        ),
    })
    .await;
    let found = fake.client().look(Of::Backend).await.unwrap();
    assert_eq!(
        found,
        Some(Found::Backend(Backend {
            app_name: Some("shop".to_owned()),
            outputs: Some(Box::default()),
        }))
    );
    assert_eq!(fake.lines().len(), 3);

    let broken = Fake::answering(504, json!({})).await;
    assert_eq!(
        broken.client().look(Of::Backend).await.unwrap_err().class,
        Class::Unavailable
    );
    assert_eq!(broken.lines().len(), 3);
}

#[tokio::test]
async fn only_a_connection_that_was_never_made_counts_as_never_sent() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let plain = Fake::answering(200, json!({})).await;
    let tls = plain.endpoint.replace("http:", "https:");
    // 192.0.2.0/24 is not routed: a connect timeout, or unreachable.
    for endpoint in [refused.as_str(), "http://host.invalid", "http://192.0.2.1:9", &tls] {
        let client = sessions(endpoint, brief(), None)
            .session_for("")
            .unwrap()
            .client("eu-west-1");
        let failure = client.create_backend().await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (Class::Unavailable, Sent::Never),
            "{endpoint}: {}",
            failure.message
        );
    }
    for reset in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                if reset {
                    stream.set_zero_linger().unwrap();
                }
            }
        });
        let client = sessions(&endpoint, patient(), None)
            .session_for("")
            .unwrap()
            .client("eu-west-1");
        let failure = client.create_backend().await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (Class::Unavailable, Sent::Unknown),
            "{}",
            failure.message
        );
        assert_eq!(accepted.load(Ordering::Relaxed), 1);
    }
}

#[derive(Debug)]
struct Credentials(Option<fn() -> CredentialsError>);

impl ProvideCredentials for Credentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        match self.0 {
            Some(error) => future::ProvideCredentials::ready(Err(error())),
            None => future::ProvideCredentials::new(std::future::pending()),
        }
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let missing = || CredentialsError::not_loaded("nothing in the chain");
    for (provider, class) in [
        (Credentials(Some(missing)), Class::AccessDenied),
        (Credentials(None), Class::Unavailable),
    ] {
        let fake = Fake::answering(200, json!({})).await;
        let sessions = sessions(&fake.endpoint, brief(), Some(SharedCredentialsProvider::new(provider)));
        let client = sessions.session_for("").unwrap().client("eu-west-1");
        let failure = client.create_backend().await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (class, Sent::Never),
            "{}",
            failure.message
        );
        assert!(fake.lines().is_empty());
    }
}

#[tokio::test]
async fn a_name_or_region_that_changes_the_address_never_reaches_the_wire() {
    let fake = Fake::answering(200, json!({})).await;
    let sessions = fake.sessions();
    let session = sessions.session_for("").unwrap();
    for region in [
        "",
        "evil.example/",
        "eu-west-1.evil",
        "EU",
        "eu west",
        "eu-wst-1",
        "eu-new-2",
    ] {
        let failure = session
            .client(region)
            .delete(Of::Backend, &location())
            .await
            .unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (Class::BadRequest, Sent::Never),
            "{region}"
        );
        assert_eq!(sessions.refuses_region(region), Some(failure.message));
    }
    assert!(fake.lines().is_empty());
    // A region that AWS has, and an allowed one.
    for region in ["eu-west-1", "eu-new-1"] {
        assert_eq!(sessions.refuses_region(region), None);
        drop(session.client(region).look(Of::Backend).await);
    }
    assert_eq!(fake.lines().len(), 2);
    // Clients accept only parsed names.
    assert!("..".parse::<EnvironmentName>().is_err() && "../x".parse::<JobId>().is_err());
}

#[tokio::test]
async fn an_answer_of_a_proxy_is_no_refusal_and_no_absence() {
    for status in [400, 401, 403, 404, 407, 413, 451] {
        for body in ["<html>no</html>", "{}", r#"{"message": "NotFoundException"}"#] {
            let act = move || Act::Plain(status, "content-type: application/json\r\n".to_owned(), body);
            is_unreadable(act).await;
        }
    }
}

#[tokio::test]
async fn another_not_found_than_the_services_own_says_nothing_of_what_is_there() {
    for code in ["UnknownOperationException", "ResourceNotFoundException", ""] {
        let fake = Fake::start(move |_, _| Act::Answer(404, code, json!({}))).await;
        let client = fake.client();
        let sent = if code.is_empty() { Sent::Unknown } else { Sent::Refused };
        for operation in WRITES {
            let failure = write(&client, operation).await.unwrap_err();
            assert_eq!(
                (failure.class, failure.sent),
                (Class::Unavailable, sent),
                "{operation} {code}"
            );
        }
        reads_are_unavailable(&client).await;
    }
}

#[tokio::test]
async fn what_aws_cannot_change_is_not_sent() {
    let fake = Fake::answering(200, json!({"jobId": "j1"})).await;
    let (client, place) = (fake.client(), location());
    let backend = AmplifyBackend::update(&client, &place, &Nothing::default())
        .await
        .unwrap_err();
    let record = BackendEnvironment::update(&client, &place, &Nothing::default())
        .await
        .unwrap_err();
    for failure in [backend, record] {
        assert_eq!((failure.class, failure.sent), (Class::BadRequest, Sent::Never));
    }
    assert!(fake.lines().is_empty());
}

#[tokio::test]
async fn the_clock_is_told_by_answers_of_aws_alone() {
    const DATE: &str = "date: Sun, 22 Nov 2026 10:00:00 GMT\r\n";
    let of_aws = format!("{DATE}x-amzn-requestid: req-1\r\n");
    for (status, headers, told) in [
        (200, of_aws.clone(), true),
        (404, of_aws.clone(), true),
        (503, of_aws, true),
        (200, DATE.to_owned(), false),
        (407, DATE.to_owned(), false),
        (200, "date: yesterday\r\nx-amzn-requestid: req-1\r\n".to_owned(), false),
        (200, "x-amzn-requestid: req-1\r\n".to_owned(), false),
    ] {
        let said = headers.clone();
        let fake = Fake::start(move |_, _| Act::Plain(status, said.clone(), "{}")).await;
        let sessions = fake.sessions();
        let client = sessions.session_for("").unwrap().client("eu-west-1");
        let before = sessions.clock().now();
        let begun = sessions.clock().uptime();
        drop(client.look(Of::Backend).await);
        let date: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let off = |time: Timestamp, from: Timestamp| time.duration_since(from).abs();
        let near = jiff::SignedDuration::from_mins(1);
        let expected = if told { date } else { before };
        let now = sessions.clock().now();
        assert!(off(now, expected) < near, "{status} {headers}: {now}");
        assert!(off(sessions.clock().at(begun), expected) < near, "{status} {headers}");
    }
}

#[tokio::test]
async fn each_operation_asks_for_its_path_with_the_names_in_place() {
    let fake = Fake::start(|_, _| Act::Answer(404, "NotFoundException", json!({ "message": "no" }))).await;
    let client = fake.client();
    for operation in WRITES {
        drop(write(&client, operation).await);
    }
    for object in OBJECTS {
        assert_eq!(client.look(object).await, Ok(None));
    }
    assert_eq!(client.list_jobs(&app(), &env()).await, Ok(Vec::new()));
    assert_eq!(client.get_job(&app(), &env(), "j-1").await, Ok(None));
    assert_eq!(
        BackendEnvironment::list(&client, &app()).await.unwrap_err().class,
        Class::NotFound
    );
    assert_eq!(
        fake.lines(),
        [
            "POST /backend",
            "POST /backend/d1a2/environments/main/clone",
            "POST /backend/d1a2/environments/dev/remove",
            "POST /backend/d1a2/api",
            "POST /backend/d1a2/api/dev",
            "POST /backend/d1a2/api/dev/remove",
            "POST /apps/d1a2/backendenvironments",
            "DELETE /apps/d1a2/backendenvironments/dev",
            "POST /backend/d1a2/details",
            "POST /backend/d1a2/api/dev/details",
            "GET /apps/d1a2/backendenvironments/dev",
            "POST /backend/d1a2/job/dev",
            "GET /backend/d1a2/job/dev/j-1",
            "GET /apps/d1a2/backendenvironments?maxResults=50",
        ]
    );
    let requests = fake.requests.lock();
    assert_eq!(
        requests[0].body,
        json!({"appId": "d1a2", "appName": "shop", "backendEnvironmentName": "dev", "resourceConfig": {}})
    );
    assert_eq!(requests[1].body, json!({"targetEnvironmentName": "dev"}));
    assert_eq!(
        requests[3].body,
        json!({"backendEnvironmentName": "dev", "resourceName": "blog", "resourceConfig": full_config()})
    );
    assert_eq!(
        requests[6].body,
        json!({"environmentName": "dev", "stackName": "stack"})
    );
}

#[tokio::test]
async fn an_accepted_write_is_a_job_as_the_answer_describes_it() {
    let reply =
        json!({"appId": "d1a2", "backendEnvironmentName": "dev", "jobId": "j1", "status": "RUNNING", "error": ""});
    let job = |id: Option<&str>, environment: Option<&str>, status: Option<&str>, error: Option<&str>| Accepted::Job {
        id: id.map(str::to_owned),
        environment: environment.map(str::to_owned),
        status: status.map(str::to_owned),
        error: error.map(str::to_owned),
    };
    let client = Fake::answering(200, reply).await.client();
    for operation in &WRITES[..6] {
        let accepted = write(&client, operation).await.unwrap();
        assert_eq!(
            accepted,
            Some(job(Some("j1"), Some("dev"), Some("RUNNING"), None)),
            "{operation}"
        );
    }
    let client = Fake::answering(200, json!({"jobId": "j1", "error": "it broke", "status": "FAILED"}))
        .await
        .client();
    for operation in &WRITES[..6] {
        let accepted = write(&client, operation).await.unwrap();
        assert_eq!(accepted, Some(job(Some("j1"), None, Some("FAILED"), Some("it broke"))));
    }
    for silent in ["", " ", "\u{1b}[0m\n"] {
        let client = Fake::answering(200, json!({"jobId": silent, "error": silent, "status": silent}))
            .await
            .client();
        let accepted = write(&client, "CreateBackend").await.unwrap();
        assert_eq!(accepted, Some(job(None, None, None, None)), "{silent:?}");
    }
    let client = Fake::answering(
        200,
        json!({"appId": "d1a2", "backendEnvironmentName": "main", "jobId": "j1"}),
    )
    .await
    .client();
    assert_eq!(
        write(&client, "CloneBackend").await.unwrap(),
        Some(job(Some("j1"), Some("main"), None, None)),
        "a clone's answer may name its source"
    );
}

#[tokio::test]
async fn an_answer_that_names_something_else_is_not_believed() {
    for reply in [
        json!({"appId": "d9", "backendEnvironmentName": "dev", "jobId": "j1"}),
        json!({"appId": "d1a2", "backendEnvironmentName": "prod", "jobId": "j1"}),
    ] {
        let client = Fake::answering(200, reply.clone()).await.client();
        for operation in &WRITES[..6] {
            let failure = write(&client, operation).await.unwrap_err();
            assert_eq!(
                (failure.class, failure.sent),
                (Class::Unavailable, Sent::Unknown),
                "{operation} {reply}"
            );
        }
        assert_eq!(client.look(Of::Backend).await.unwrap_err().class, Class::Unavailable);
        assert_eq!(client.look(Of::Api).await.unwrap_err().class, Class::Unavailable);
        let job = client.get_job(&app(), &env(), "j1").await;
        assert_eq!(job.unwrap_err().class, Class::Unavailable);
    }
    let other = json!({"backendEnvironment": record_json("prod", 0)});
    let client = Fake::answering(200, other).await.client();
    for operation in &WRITES[6..] {
        let failure = write(&client, operation).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (Class::Unavailable, Sent::Unknown),
            "{operation}"
        );
    }
    assert_eq!(
        client.look(Of::Environment).await.unwrap_err().class,
        Class::Unavailable
    );
}

#[tokio::test]
async fn a_write_that_is_refused_inside_a_success_is_not_accepted() {
    for (error, class) in [
        ("There is already a pending job for the requested appId", Class::Pending),
        ("Rate exceeded", Class::Throttled),
        (
            "You have exceeded your maximum number of backends",
            Class::QuotaExceeded,
        ),
        ("App d1a2 not found.", Class::NotFound),
        ("Backend dev already exists", Class::BadRequest),
    ] {
        let reply = json!({"appId": "d1a2", "backendEnvironmentName": "dev", "error": error, "status": "FAILED"});
        let client = Fake::answering(200, reply).await.client();
        for operation in &WRITES[..6] {
            let failure = write(&client, operation).await.unwrap_err();
            assert_eq!(
                (failure.class, failure.sent),
                (class, Sent::Refused),
                "{operation} {error}"
            );
            let start = format!("{operation}: refused by AWS: {error}");
            assert!(failure.message.starts_with(&start), "{}", failure.message);
            assert!(failure.message.ends_with(" [request id req-1]"), "{}", failure.message);
        }
    }
}

#[tokio::test]
async fn whatever_aws_gives_as_a_jobs_id_is_recorded_and_found_again() {
    let long = "j".repeat(2000);
    for (given, recorded) in [
        ("a.b", "a.b"),
        ("arn:aws:x:eu-west-1::job/1+2", "arn:aws:x:eu-west-1::job/1+2"),
        ("..", ".."),
        ("../../x", "../../x"),
        ("j 1", "j 1"),
        ("%2e", "%2e"),
        ("j\u{1b}[31m1\n", "j1"),
        (long.as_str(), &long[..1024]),
    ] {
        let (id, listed) = (given.to_owned(), given.to_owned());
        let fake = Fake::start(move |request, _| {
            let mut job = job_json(1, "1617375907613");
            job["jobId"] = listed.as_str().into();
            job["updateTime"] = "1617375907999".into();
            if request.line.starts_with("POST /backend/d1a2/job/dev") {
                Act::Answer(200, "", json!({"jobs": [job_json(0, "1617375907700"), job]}))
            } else {
                Act::Answer(200, "", job)
            }
        })
        .await;
        let client = fake.client();
        let Ok(Some(Accepted::Job { id: Some(accepted), .. })) = write(&client, "CreateBackend").await else {
            panic!("{id} is not accepted");
        };
        assert_eq!(accepted, recorded);
        let job = client.get_job(&app(), &env(), &accepted).await.unwrap().unwrap();
        assert_eq!((job.id.as_str(), job.status.as_str()), (recorded, "RUNNING"));
        assert_eq!(job.update_time.unwrap().as_millisecond(), 1_617_375_907_999);
        // Found in the list if the id is not valid in a path. Below: an id that AWS does not have.
        let expected = if recorded.parse::<JobId>().is_ok() {
            format!("GET /backend/d1a2/job/dev/{recorded}")
        } else {
            assert_eq!(client.get_job(&app(), &env(), "un/known").await, Ok(None));
            "POST /backend/d1a2/job/dev".to_owned()
        };
        assert!(
            fake.lines()[1..].iter().all(|line| *line == expected),
            "{:?}",
            fake.lines()
        );
    }
}

#[tokio::test]
async fn no_job_is_found_by_an_id_that_says_nothing_or_in_a_part_of_a_list() {
    let fake = Fake::start(|_, number| {
        let mut job = job_json(number, &(10_000 - number).to_string());
        job["jobId"] = "".into();
        Act::Answer(200, "", json!({"jobs": [job], "nextToken": number.to_string()}))
    })
    .await;
    let client = fake.client();
    for id in ["", " ", "\n"] {
        let failure = client.get_job(&app(), &env(), id).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (Class::BadRequest, Sent::Never),
            "{id:?}"
        );
    }
    assert!(fake.lines().is_empty());
    let failure = client.get_job(&app(), &env(), "a/b").await.unwrap_err();
    assert_eq!(failure.class, Class::Unavailable, "{}", failure.message);
}

#[tokio::test]
async fn a_backend_is_there_when_the_answer_names_it_or_lists_it() {
    let there = Some(Found::Backend(Backend {
        app_name: None,
        outputs: Some(Box::default()),
    }));
    for (reply, expected) in [
        (
            json!({"appId": "d1a2", "backendEnvironmentName": "dev"}),
            Ok(there.clone()),
        ),
        (
            json!({"appId": "d1a2", "backendEnvironmentList": ["main", "dev"]}),
            Ok(there),
        ),
        (json!({"appId": "d1a2", "backendEnvironmentList": ["main"]}), Ok(None)),
        (json!({"appId": "d1a2"}), Err(Class::Unavailable)),
        (json!({}), Err(Class::Unavailable)),
        (
            json!({"backendEnvironmentName": "dev", "error": "odd"}),
            Err(Class::Unavailable),
        ),
    ] {
        let client = Fake::answering(200, reply.clone()).await.client();
        let found = client.look(Of::Backend).await.map_err(|failure| failure.class);
        assert_eq!(found, expected, "{reply}");
    }
}

#[tokio::test]
async fn the_backends_of_an_app_are_those_that_the_answer_lists() {
    for (reply, expected) in [
        (
            json!({"appId": "d1a2", "appName": "shop", "backendEnvironmentList": ["qa", "dev", "qa"]}),
            Ok((Some("shop"), vec!["dev", "qa"])),
        ),
        (json!({"backendEnvironmentList": []}), Ok((None, vec![]))),
        (json!({"appId": "d1a2", "appName": "shop"}), Err(Class::Unavailable)),
        (
            json!({"appId": "d9", "backendEnvironmentList": ["dev"]}),
            Err(Class::Unavailable),
        ),
        (
            json!({"backendEnvironmentList": ["dev"], "error": "odd"}),
            Err(Class::Unavailable),
        ),
    ] {
        let fake = Fake::answering(200, reply.clone()).await;
        let listed = AmplifyBackend::list(&fake.client(), &app()).await;
        let expected = expected.map(|(name, environments)| Backends {
            app_name: name.map(str::to_owned),
            environments: environments.into_iter().map(str::to_owned).collect(),
        });
        assert_eq!(listed.map_err(|failure| failure.class), expected, "{reply}");
        assert_eq!(fake.requests.lock()[0].body, json!({}), "without an environment's name");
    }
    let absent = Fake::start(|_, _| Act::Answer(404, "NotFoundException", json!({}))).await;
    let failure = AmplifyBackend::list(&absent.client(), &app()).await.unwrap_err();
    assert_eq!(failure.class, Class::NotFound);
}

fn record_json(name: &str, seconds: i64) -> Value {
    json!({"backendEnvironmentArn": "arn:x", "environmentName": name, "stackName": "stack",
           "createTime": seconds, "updateTime": 1.5})
}

#[tokio::test]
async fn an_api_and_a_record_come_back_as_aws_echoes_them() {
    let client = Fake::answering(200, json!({"resourceName": "blog", "resourceConfig": full_config()}))
        .await
        .client();
    let config = serde_json::from_value(full_config()).unwrap();
    assert_eq!(
        client.look(Of::Api).await,
        Ok(Some(Found::Api(Api { config, outputs: None })))
    );

    // Neither answer describes an API.
    for nothing in [json!({}), json!({"appId": "d1a2", "backendEnvironmentName": "dev"})] {
        let client = Fake::answering(200, nothing).await.client();
        assert_eq!(client.look(Of::Api).await.unwrap_err().class, Class::Unavailable);
    }

    let client = Fake::answering(200, json!({"backendEnvironment": record_json("dev", 1_600_000_000)}))
        .await
        .client();
    let Ok(Some(Found::Environment(record))) = client.look(Of::Environment).await else {
        panic!("no record");
    };
    assert_eq!(record.create_time.to_string(), "2020-09-13T12:26:40Z");
    assert_eq!(record.update_time.as_millisecond(), 1_500);
    assert_eq!(
        (record.stack_name.as_deref(), record.deployment_artifacts),
        (Some("stack"), None)
    );
}

fn job_json(id: usize, create_time: &str) -> Value {
    json!({"appId": "d1a2", "backendEnvironmentName": "dev", "jobId": format!("j{id}"),
           "operation": "CreateBackend", "status": "RUNNING", "createTime": create_time})
}

/// Reads one of the lists that have pages. Returns the number of its items.
async fn list(client: &Client, list: &str) -> Result<usize, Failure> {
    match list {
        "jobs" => client.list_jobs(&app(), &env()).await.map(|jobs| jobs.len()),
        "job" => client
            .get_job(&app(), &env(), "j/1")
            .await
            .map(|job| usize::from(job.is_some())),
        "environments" => BackendEnvironment::list(client, &app())
            .await
            .map(|records| records.len()),
        "apps" => client.list_apps().await.map(|apps| apps.len()),
        _ => panic!("{list}"),
    }
}

const LISTS: [&str; 4] = ["jobs", "job", "environments", "apps"];

/// Makes a page for any of the lists, with one item named after its number. `next` is the token of the next page.
fn page(number: usize, next: Option<&str>) -> Act {
    let app = json!({
        "appId": format!("d{number}"), "name": "app", "appArn": "", "description": "", "repository": "",
        "platform": "WEB", "createTime": 1.0, "updateTime": 1.0, "environmentVariables": {}, "defaultDomain": "x",
        "enableBranchAutoBuild": false, "enableBasicAuth": false,
    });
    let mut job = job_json(number, "1617375907613");
    job["jobId"] = format!("j/{number}").into();
    let body = json!({
        "jobs": [job],
        "backendEnvironments": [record_json(&format!("e{number}"), 1)],
        "apps": [app],
        "nextToken": next,
    });
    Act::Answer(200, "", body)
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    for (name, items) in LISTS.into_iter().zip([2, 1, 2, 2]) {
        for end in [None, Some("")] {
            let fake = Fake::start(move |_, number| page(number, if number == 0 { Some("t") } else { end })).await;
            assert_eq!(list(&fake.client(), name).await, Ok(items), "{name}");
            assert_eq!(fake.lines().len(), 2, "{name}");
        }
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_is_no_shorter_list() {
    for name in LISTS {
        let circle = ["a", "b", "a"];
        let fake = Fake::start(move |_, number| page(number, circle.get(number).copied())).await;
        assert_eq!(
            list(&fake.client(), name).await.unwrap_err().class,
            Class::Unavailable,
            "{name}"
        );
        assert_eq!(fake.lines().len(), 3, "{name}");
        let fake = Fake::start(|_, number| match number {
            0 => page(0, Some("a")),
            _ => Act::Answer(404, "NotFoundException", json!({})),
        })
        .await;
        assert_eq!(
            list(&fake.client(), name).await.unwrap_err().class,
            Class::Unavailable,
            "{name}"
        );
        let empty = json!({"jobs": [], "backendEnvironments": [], "apps": []});
        let fake = Fake::start(move |_, number| {
            let mut body = empty.clone();
            body["nextToken"] = number.to_string().into();
            Act::Answer(200, "", body)
        })
        .await;
        assert_eq!(
            list(&fake.client(), name).await.unwrap_err().class,
            Class::Unavailable,
            "{name}"
        );
        assert_eq!(fake.lines().len(), MAX_PAGES, "{name}");
    }
    // Such an answer may not be from AWS.
    let fake = Fake::start(|_, _| Act::Plain(200, String::new(), "{}")).await;
    for name in ["jobs", "job"] {
        assert_eq!(
            list(&fake.client(), name).await.unwrap_err().class,
            Class::Unavailable,
            "{name}"
        );
    }
}

#[tokio::test]
async fn of_a_list_of_jobs_those_of_the_environment_are_taken_each_as_far_as_it_is_told() {
    let mut elsewhere = job_json(1, "1");
    elsewhere["backendEnvironmentName"] = "prod".into();
    let mut of_another = job_json(2, "1");
    of_another["appId"] = "d9".into();
    let unnamed = json!({"jobId": "a:b", "operation": "Create\u{1b}[1mBackend", "status": "FAILED\n",
                         "error": format!("the stack failed\n{}\u{1b}[31m│ the cause\n", "x".repeat(4000))});
    let idless = json!({"status": "x".repeat(4000), "createTime": "1617375907613"});
    let reply = json!({"jobs": [elsewhere, job_json(3, "1617375907613"), of_another, unnamed, idless]});
    let client = Fake::answering(200, reply).await.client();
    let jobs = client.list_jobs(&app(), &env()).await.unwrap();
    let ids: Vec<_> = jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["j3", "a:b", ""]);
    assert!(jobs.iter().all(|job| job.environment == "dev"));
    assert_eq!(jobs[0].create_time.unwrap().as_millisecond(), 1_617_375_907_613);
    assert!(!jobs[0].is_terminal());
    assert_eq!(
        (jobs[1].operation.as_str(), jobs[1].status.as_str()),
        ("CreateBackend", "FAILED")
    );
    let error = jobs[1].error.as_deref().unwrap();
    assert!(
        error.starts_with("the stack failed … x") && error.ends_with("x the cause"),
        "{error}"
    );
    assert!(error.len() <= 1024);
    assert_eq!((jobs[2].operation.as_str(), jobs[2].status.len()), ("", WORD_LIMIT));
}

#[tokio::test]
async fn a_list_without_end_is_cut_only_where_the_newest_jobs_are_in_it() {
    for (newest_first, expected) in [(true, Ok(MAX_PAGES)), (false, Err(Class::Unavailable))] {
        let fake = Fake::start(move |_, number| {
            let time = if newest_first { 10_000 - number } else { 10_000 + number };
            Act::Answer(
                200,
                "",
                json!({"jobs": [job_json(number, &time.to_string())], "nextToken": number.to_string()}),
            )
        })
        .await;
        let listed = fake.client().list_jobs(&app(), &env()).await;
        assert_eq!(listed.map(|jobs| jobs.len()).map_err(|failure| failure.class), expected);
        assert_eq!(fake.lines().len(), MAX_PAGES);
    }
}

#[tokio::test]
async fn the_account_is_asked_once_by_all_and_a_failure_is_not_kept() {
    let fake = Fake::start(|_, number| {
        if number == 0 {
            return Act::Text(
                403,
                "<ErrorResponse><Error><Code>ExpiredToken</Code><Message>old</Message></Error></ErrorResponse>",
            );
        }
        Act::Text(
            200,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
        )
    })
    .await;
    let session = fake.sessions().session_for("team").unwrap();
    let failure = session.account_id().await.unwrap_err();
    assert_eq!(failure.class, Class::AccessDenied, "{}", failure.message);
    let (first, second) = tokio::join!(session.account_id(), session.account_id());
    assert_eq!(first, Ok("123456789012".to_owned()));
    assert_eq!(first, second);
    assert_eq!(session.account_id().await, first);
    assert_eq!(fake.lines().len(), 2);
    assert_eq!(fake.sessions().assignment("team").region.as_deref(), Some("eu-west-1"));
}

const TENANT: &str =
    "accounts: [{name: t, namespaces: [team], roleArn: \"arn:aws:iam::111111111111:role/x\", externalId: s3cret}]";
const ASSUMED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
     <AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>x</SecretAccessKey><SessionToken>t</SessionToken>\
     <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_denied_unless_sts_is_away_or_busy() {
    const DENIED: &str = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: op is not \
         authorized</Message></Error><RequestId>11aa</RequestId></ErrorResponse>";
    const WRONG: &str =
        "<ErrorResponse><Error><Code>ValidationError</Code><Message>no</Message></Error></ErrorResponse>";
    const BUSY: &str =
        "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";
    let table: [(fn() -> Act, Class); 5] = [
        (|| Act::Text(403, DENIED), Class::AccessDenied),
        (|| Act::Text(400, WRONG), Class::AccessDenied),
        (|| Act::Text(400, BUSY), Class::Throttled),
        (|| Act::Text(503, ""), Class::Unavailable),
        (|| Act::Close, Class::Unavailable),
    ];
    for (act, class) in table {
        let fake = Fake::start(move |_, _| act()).await;
        let session = tenants(&fake.endpoint, patient(), TENANT)
            .await
            .session_for("team")
            .unwrap();
        let failure = session.account_id().await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (class, Sent::Never),
            "{}",
            failure.message
        );
        let role = "cannot assume arn:aws:iam::111111111111:role/x (account entry \"t\"): AssumeRole: ";
        assert!(failure.message.starts_with(role), "{}", failure.message);
        assert!(!failure.message.contains("s3cret"), "{}", failure.message);
        // A write that needs the role was not sent either.
        let failure = session.client("eu-west-1").create_backend().await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (class, Sent::Never),
            "{}",
            failure.message
        );
        assert!(fake.lines().iter().all(|line| line == "POST /"), "{:?}", fake.lines());
    }
}

#[tokio::test]
async fn credentials_of_another_account_than_the_roles_are_not_used() {
    let fake = Fake::start(|_, number| match number {
        0 => Act::Text(200, ASSUMED),
        _ => Act::Text(
            200,
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Account>222222222222</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
        ),
    })
    .await;
    let session = tenants(&fake.endpoint, patient(), TENANT)
        .await
        .session_for("team")
        .unwrap();
    let failure = session.account_id().await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (Class::AccessDenied, Sent::Never));
    assert!(
        failure.message.contains("belong to account 222222222222"),
        "{}",
        failure.message
    );
}

/// A source of credentials that expire at once. The test sets the access key.
#[derive(Clone, Debug)]
struct Keys(Arc<Mutex<&'static str>>);

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let expiry = Some(std::time::SystemTime::now());
        let credentials = aws_credential_types::Credentials::new(*self.0.lock(), "secret", None, expiry, "test");
        future::ProvideCredentials::ready(Ok(credentials))
    }
}

/// STS's answer with the account of the credentials.
fn identity(account: &str) -> Act {
    let text = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    );
    Act::Text(200, text.leak())
}

#[tokio::test]
async fn credentials_that_become_those_of_another_account_sign_nothing() {
    let fake = Fake::start(move |_, number| match number {
        0 | 2 => identity("111111111111"),
        5 => identity("222222222222"),
        _ => Act::Answer(404, "NotFoundException", json!({})),
    })
    .await;
    let keys = Keys(Arc::new(Mutex::new("AKIAFIRST")));
    let provider = SharedCredentialsProvider::new(keys.clone());
    let sessions = sessions(&fake.endpoint, patient(), Some(provider));
    let session = sessions.session_for("team").unwrap();
    assert_eq!(session.account_id().await.unwrap(), "111111111111");
    let client = session.client("eu-west-1");
    assert_eq!(client.look(Of::Backend).await, Ok(None));
    // Other credentials of the same account: STS is asked once.
    *keys.0.lock() = "AKIASECOND";
    for _ in 0..2 {
        assert_eq!(client.look(Of::Backend).await, Ok(None));
    }
    assert_eq!(fake.lines().len(), 5, "{:?}", fake.lines());
    assert!(!session.is_found_worn_out().await);
    // Credentials of another account are detected before anything is signed with them, each time.
    *keys.0.lock() = "AKIATHIRD";
    let failure = client.create_backend().await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (Class::Unavailable, Sent::Never));
    let said = "belonged to account 111111111111 and now belong to account 222222222222";
    assert!(failure.message.contains(said), "{}", failure.message);
    assert!(session.is_found_worn_out().await);
    assert_eq!(fake.lines()[5..], ["POST /"], "STS alone");
}

#[tokio::test]
async fn credentials_that_sts_refuses_too_wear_a_session_out_and_other_refusals_do_not() {
    for (code, refuses, worn_out) in [
        ("ExpiredTokenException", Refuses::Everywhere, true),
        ("UnrecognizedClientException", Refuses::Everywhere, true),
        // As in a region that the account has not enabled.
        ("UnrecognizedClientException", Refuses::Amplify, false),
        ("AccessDeniedException", Refuses::Everywhere, false),
        ("InvalidSignatureException", Refuses::Everywhere, false),
    ] {
        let fake = Fake::start(move |request, _| match (request.line.as_str(), refuses) {
            ("POST /", Refuses::Amplify) => identity("111111111111"),
            _ => Act::Answer(403, code, json!({})),
        })
        .await;
        let session = fake.sessions().session_for("team").unwrap();
        assert!(!session.is_found_worn_out().await);
        assert_eq!(fake.lines().len(), 0, "nothing is asked for nothing");
        drop(session.client("eu-west-1").look(Of::Backend).await);
        assert_eq!(session.is_found_worn_out().await, worn_out, "{code}");
    }
}

/// The services that refuse the credentials.
#[derive(Clone, Copy)]
enum Refuses {
    Everywhere,
    Amplify,
}

#[tokio::test]
async fn each_call_is_counted_by_service_operation_and_outcome() {
    let fake = Fake::start(|_, number| match number {
        0 => Act::Answer(400, "BadRequestException", json!({"message": "Rate exceeded"})),
        _ => Act::Answer(200, "", json!({"jobId": "j1"})),
    })
    .await;
    let client = fake.client();
    for _ in 0..2 {
        drop(write(&client, "DeleteBackend").await);
    }
    let text = client.usable().unwrap().observer.metrics.encode().unwrap();
    for outcome in ["throttled", "ok"] {
        let line = format!(
            "amplify_operator_aws_requests_total{{service=\"amplifybackend\",operation=\"DeleteBackend\",outcome=\"{outcome}\"}} 1"
        );
        assert!(text.contains(&line), "{line} is missing in\n{text}");
    }
}

async fn reads_are_unavailable(client: &Client) {
    for object in OBJECTS {
        assert_eq!(client.look(object).await.unwrap_err().class, Class::Unavailable);
    }
    let jobs = client.list_jobs(&app(), &env()).await;
    assert_eq!(jobs.unwrap_err().class, Class::Unavailable);
    for id in ["j1", "j/1"] {
        let job = client.get_job(&app(), &env(), id).await;
        assert_eq!(job.unwrap_err().class, Class::Unavailable);
    }
    let backends = AmplifyBackend::list(client, &app()).await;
    assert_eq!(backends.unwrap_err().class, Class::Unavailable);
    let names = described::names(client, &app()).await;
    assert_eq!(names.unwrap_err().class, Class::Unavailable);
    let records = BackendEnvironment::list(client, &app()).await;
    assert_eq!(records.unwrap_err().class, Class::Unavailable);
    assert_eq!(client.list_apps().await.unwrap_err().class, Class::Unavailable);
    assert_eq!(client.get_app(&app()).await.unwrap_err().class, Class::Unavailable);
}

/// Checks that no operation believes a hostile or broken answer, and that no write is repeated.
async fn is_unreadable(act: impl Fn() -> Act + Send + Sync + Clone + 'static) {
    let each = WRITES.map(async |operation| {
        let act = act.clone();
        let fake = Fake::start(move |_, _| act()).await;
        let failure = write(&fake.client(), operation).await.unwrap_err();
        assert_eq!(
            (failure.class, failure.sent),
            (Class::Unavailable, Sent::Unknown),
            "{operation}: {}",
            failure.message
        );
        assert!(failure.message.len() <= MESSAGE_LIMIT, "{}", failure.message.len());
        assert_eq!(fake.lines().len(), 1, "{operation}");
    });
    futures::future::join_all(each).await;
    let fake = Fake::start(move |_, _| act()).await;
    let client = fake.client();
    reads_are_unavailable(&client).await;
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_after_its_bytes_and_not_after_its_time() {
    let sent = Arc::new(AtomicU64::new(0));
    let act = Act::Endless(sent.clone());
    let fake = Fake::start(move |_, _| act.clone()).await;
    let client = fake.client();
    let failure = write(&client, "CreateBackend").await.unwrap_err();
    assert_eq!((failure.class, failure.sent), (Class::Unavailable, Sent::Unknown));
    assert!(
        failure
            .message
            .starts_with("CreateBackend: AWS's answer cannot be read"),
        "{}",
        failure.message
    );
    let failure = client.look(Of::Api).await.unwrap_err();
    assert_eq!(failure.class, Class::Unavailable, "{}", failure.message);
    // Once for the write, three times for the read. Bytes that were sent but not read are in buffers.
    let limit = 4 * (ANSWER_LIMIT as u64 + (16 << 20));
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 4 * ANSWER_LIMIT as u64 && sent < limit, "{sent} bytes");
}

#[tokio::test]
async fn an_answer_within_the_limit_is_read_however_long() {
    let schema = "#".repeat(ANSWER_LIMIT - 4096);
    let reply = json!({"resourceName": "blog", "resourceConfig": {"transformSchema": schema}});
    let client = Fake::answering(200, reply).await.client();
    let Ok(Some(Found::Api(Api { config, .. }))) = client.look(Of::Api).await else {
        panic!("no API");
    };
    assert_eq!(config.transform_schema.unwrap().len(), ANSWER_LIMIT - 4096);
}

#[tokio::test]
async fn an_answer_that_is_nested_without_end_cannot_be_read() {
    let nested = |open: &str, close: &str| {
        let depth = 100_000;
        let text = format!("{{\"jobs\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        Act::Bytes(200, text.into_bytes().into())
    };
    let (lists, objects) = (nested("[", "]"), nested("{\"a\":", "}"));
    for act in [lists, objects] {
        let fake = Fake::start(move |_, _| act.clone()).await;
        let jobs = fake.client().list_jobs(&app(), &env()).await;
        assert_eq!(jobs.unwrap_err().class, Class::Unavailable);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_utf8_cannot_be_read() {
    let text = b"{\"appId\":\"\xc3\x28\",\"backendEnvironmentName\":\"\xff\xfe\",\"jobs\":[{\"jobId\":\"\xff\"}],\
        \"backendEnvironment\":{\"environmentName\":\"\xff\"},\"backendEnvironments\":[{\"environmentName\":\"\xff\"}],\
        \"resourceName\":\"\xff\",\"jobId\":\"\xff\"}";
    is_unreadable(|| Act::Bytes(200, (*text).into())).await;
}

const SECRET: &str = "AKIASECRETOFSOMEBODY";

/// Makes a megabyte of text with a secret after the first kilobyte, and colour sequences near its end.
fn long_with_secret() -> String {
    format!(
        "the stack failed:\n{}{SECRET}{}\n\u{1b}[31m│ the cause\n",
        "é".repeat(600),
        "x".repeat(1 << 20)
    )
}

#[tokio::test]
async fn a_long_error_of_aws_is_cut_wherever_it_comes_from() {
    let check = |text: &str| {
        assert!(text.len() <= MESSAGE_LIMIT, "{} bytes", text.len());
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("the stack failed: é"), "{text}");
        assert!(text.contains("x the cause"), "{text}");
        assert!(!text.contains(char::is_control), "{text:?}");
    };
    for status in [400, 404, 429, 500] {
        let fake =
            Fake::start(move |_, _| Act::Answer(status, "BadRequestException", json!({"message": long_with_secret()})))
                .await;
        for operation in WRITES {
            check(&write(&fake.client(), operation).await.unwrap_err().message);
        }
    }
    let client = Fake::answering(200, json!({"error": long_with_secret()}))
        .await
        .client();
    for operation in &WRITES[..6] {
        check(&write(&client, operation).await.unwrap_err().message);
    }
    let check = |text: &str| check(&text.replace("failed: … ", "failed: é"));
    let reply = json!({"appId": "d1a2", "backendEnvironmentName": "dev", "resourceName": "blog", "jobId": "j1",
                       "status": "FAILED", "operation": "CreateBackend", "error": long_with_secret()});
    let client = Fake::answering(200, reply.clone()).await.client();
    for operation in &WRITES[..6] {
        let Ok(Some(Accepted::Job { error: Some(error), .. })) = write(&client, operation).await else {
            panic!("{operation} has no error");
        };
        check(&error);
    }
    for object in [Of::Backend, Of::Api] {
        check(&client.look(object).await.unwrap_err().message);
    }
    let job = client.get_job(&app(), &env(), "j1").await;
    check(&job.unwrap().unwrap().error.unwrap());
    let jobs = Fake::answering(200, json!({"jobs": [reply]})).await.client();
    check(
        jobs.list_jobs(&app(), &env()).await.unwrap()[0]
            .error
            .as_deref()
            .unwrap(),
    );
}

#[tokio::test]
async fn the_texts_of_a_record_are_cut() {
    let mut long = record_json("dev", 1);
    for field in ["backendEnvironmentArn", "stackName", "deploymentArtifacts"] {
        long[field] = long_with_secret().into();
    }
    let client = Fake::answering(200, json!({"backendEnvironment": long})).await.client();
    let Ok(Some(Found::Environment(record))) = client.look(Of::Environment).await else {
        panic!("no record");
    };
    for text in [Some(record.arn), record.stack_name, record.deployment_artifacts] {
        assert!(text.is_some_and(|text| text.len() <= 4096));
    }
}

/// Generates text of an attacker who tries to reach another path, and any other text.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}",
        3 => r"[a-zA-Z0-9]{1,3}[./%\\?#&;:@~+ \n\r\t\x00é][a-zA-Z0-9]{0,3}",
        3 => r"[A-Za-z0-9_.%/\\?#&;:@~ \n\r\t\x00é-]{0,12}",
        1 => r"\.{1,3}(/\.{0,2}){0,3}",
        1 => r"(%2[eEfF]|%25|%0[aAdD]|[a-z]){1,6}",
        1 => any::<String>(),
        1 => r"[a-zA-Z0-9_-]{250,260}",
    ]
}

#[test]
fn no_name_reaches_another_path_than_its_own() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fake = runtime.block_on(Fake::answering(404, json!({})));
    let client = {
        let _inside = runtime.enter();
        fake.client()
    };
    let config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(app in prop_oneof![Just("d1a2".to_owned()), r"d[a-z0-9/.%]{0,20}", names()], name in names())| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_name = (1..=255).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['_', '-']);
        let rest = app.strip_prefix('d').unwrap_or_default();
        let is_app = (1..=19).contains(&rest.len())
            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        prop_assert_eq!(name.parse::<EnvironmentName>().is_ok(), is_name);
        prop_assert_eq!(name.parse::<ResourceName>().is_ok(), is_name);
        prop_assert_eq!(name.parse::<JobId>().is_ok(), is_name);
        prop_assert_eq!(app.parse::<AppId>().is_ok(), is_app);
        let (Ok(app), Ok(environment)) = (app.parse::<AppId>(), name.parse::<EnvironmentName>()) else {
            return Ok(());
        };
        let job: JobId = name.parse().unwrap();
        let resource: ResourceName = name.parse().unwrap();
        fake.requests.lock().clear();
        runtime.block_on(async {
            let place = location_in(&app, environment.clone(), resource);
            for of in OBJECTS {
                drop(client.delete(of, &place).await);
            }
            drop(client.get_job(&app, &environment, job.as_str()).await);
        });
        prop_assert_eq!(fake.lines(), [
            format!("POST /backend/{app}/environments/{name}/remove"),
            format!("POST /backend/{app}/api/{name}/remove"),
            format!("DELETE /apps/{app}/backendenvironments/{name}"),
            format!("GET /backend/{app}/job/{name}/{name}"),
        ]);
    });
}

#[tokio::test]
async fn the_apps_of_all_pages_are_listed() {
    let fake = Fake::start(|_, number| page(number + 1, (number == 0).then_some("a"))).await;
    let apps = fake.client().list_apps().await.unwrap();
    assert_eq!(apps.into_keys().collect::<Vec<_>>(), ["d1", "d2"]);
    assert_eq!(
        fake.lines(),
        ["GET /apps?maxResults=100", "GET /apps?nextToken=a&maxResults=100"]
    );
}

#[tokio::test]
async fn of_the_variables_of_an_app_only_the_locked_environment_is_taken() {
    let described = |id: &str, variables: Value| {
        json!({ "appId": id, "name": "x", "appArn": "", "description": "", "repository": "", "platform": "WEB",
        "createTime": 1.0, "updateTime": 1.0, "environmentVariables": variables, "defaultDomain": "x",
        "enableBranchAutoBuild": false, "enableBasicAuth": false })
    };
    let app: AppId = "d1".parse().unwrap();
    for (variables, expected) in [
        (json!({}), None),
        (json!({ "PASSWORD": "x" }), None),
        (
            json!({ "GEN2_MIGRATION_ENVIRONMENT_NAME": "dev", "PASSWORD": "x" }),
            Some("dev"),
        ),
        (json!({ "GEN2_MIGRATION_ENVIRONMENT_NAME": " dev\n" }), Some("dev")),
        (json!({ "GEN2_MIGRATION_ENVIRONMENT_NAME": "" }), None),
        (json!({ "GEN2_MIGRATION_ENVIRONMENT_NAME": "../.." }), None),
    ] {
        let fake = Fake::answering(200, json!({ "app": described("d1", variables) })).await;
        let seen = fake.client().get_app(&app).await.unwrap().unwrap();
        let locked = seen.locked_environment;
        assert_eq!(locked.as_ref().map(EnvironmentName::as_str), expected);
    }
    let locked = json!({ "GEN2_MIGRATION_ENVIRONMENT_NAME": "dev" });
    let all = json!({ "apps": [described("d1", locked.clone()), described("d2", json!({})), described("..", locked)] });
    let fake = Fake::answering(200, all).await;
    let apps = fake.client().list_apps().await.unwrap();
    let locked = |seen: &AppSeen| seen.locked_environment.as_ref().map(EnvironmentName::to_string);
    let marks: Vec<_> = apps.iter().map(|(id, seen)| (id.as_str(), locked(seen))).collect();
    let dev = Some("dev".to_owned());
    assert_eq!(marks, [("..", dev.clone()), ("d1", dev), ("d2", None)]);
}

#[tokio::test]
async fn what_an_import_reads_is_believed_only_where_it_names_what_was_asked_for() {
    let app: AppId = "d1".parse().unwrap();
    let dev: EnvironmentName = "dev".parse().unwrap();
    let absent = Fake::start(|_, _| Act::Answer(404, "NotFoundException", json!({ "message": "no" })))
        .await
        .client();
    assert_eq!(absent.get_app(&app).await, Ok(None));
    assert_eq!(described::names(&absent, &app).await, Ok(BTreeSet::new()));
    assert_eq!(described::describe(&absent, &app, &dev).await, Ok(None));
    let other = Fake::answering(200, json!({ "appId": "d2", "backendEnvironmentName": "dev" }))
        .await
        .client();
    assert_eq!(
        described::names(&other, &app).await.unwrap_err().class,
        Class::Unavailable
    );
    assert_eq!(
        described::describe(&other, &app, &dev).await.unwrap_err().class,
        Class::Unavailable
    );
    let other = Fake::answering(
        200,
        json!({ "app": { "appId": "d2", "name": "x", "appArn": "", "description": "",
        "repository": "", "platform": "WEB", "createTime": 1.0, "updateTime": 1.0, "environmentVariables": {},
        "defaultDomain": "x", "enableBranchAutoBuild": false, "enableBasicAuth": false } }),
    )
    .await
    .client();
    assert_eq!(other.get_app(&app).await.unwrap_err().class, Class::Unavailable);
    let there = json!({ "appId": "d1", "appName": "shop", "backendEnvironmentName": "dev", "amplifyMetaConfig": "{}" });
    let client = Fake::answering(200, there).await.client();
    let there = described::describe(&client, &app, &dev).await.unwrap().unwrap();
    assert_eq!(
        (there.app_name.as_deref(), there.meta()),
        (Some("shop"), Ok(MetaConfig::default()))
    );
    let error = Fake::answering(200, json!({ "appId": "d1", "error": "broken" }))
        .await
        .client();
    assert_eq!(
        described::names(&error, &app).await.unwrap_err().class,
        Class::Unavailable
    );
}
