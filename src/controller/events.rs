//! Kubernetes Events, on transitions only. A lost Event does no harm, so Events never delay a pass.
//!
//! One task writes them in order, one after the other. An Event with the same text as an earlier one is counted in the
//! series of the earlier one. Any other text is an Event of its own, because `kubectl describe` shows only one text of
//! a series.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    api::{FIELD_MANAGER, conditions::Reason, text::shortened},
    clock::Clock,
    telemetry::Metrics,
    telemetry::error::in_words,
};

/// How many Events may wait to be written. Further Events are dropped.
const QUEUE: usize = 1024;
/// How many of these places are reserved for warnings: in a burst, normal Events are dropped first.
const FOR_WARNINGS: usize = 256;
/// How many Events are kept in memory to count repetitions. The repetition of an older one is an Event of its own.
const REMEMBERED: usize = 256;
/// Time limit for writing one Event.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest note that the API server accepts, in bytes (`NoteLengthLimit` in Kubernetes'
/// `pkg/apis/core/validation/events.go`).
const NOTE_LIMIT: usize = 1024;
/// Longest `reportingInstance` that it accepts, in bytes (same place).
const INSTANCE_LIMIT: usize = 128;
/// Longest name of an Event: a DNS subdomain, as for most objects.
const NAME_LIMIT: usize = 253;
/// The namespace of Events about objects without a namespace. The API server accepts no other.
const OF_CLUSTER: &str = "default";

/// The sender of Events to the task that writes them.
#[derive(Clone, Debug)]
pub struct Events {
    waiting: mpsc::Sender<Occurrence>,
    metrics: Arc<Metrics>,
}

/// An occurrence to report. Two equal ones are one series.
#[derive(Clone, Debug, PartialEq)]
struct Occurrence {
    object: ObjectReference,
    is_warning: bool,
    reason: &'static str,
    action: String,
    note: String,
}

impl Events {
    /// Returns the sender, and the task that writes Events until every sender is dropped.
    pub fn new(client: Client, clock: Arc<Clock>, metrics: Arc<Metrics>) -> (Self, impl Future<Output = ()> + Send) {
        let (waiting, mut receiver) = mpsc::channel::<Occurrence>(QUEUE);
        let write = async move {
            let mut writer = Writer::new(client, clock);
            while let Some(occurrence) = receiver.recv().await {
                let reason = occurrence.reason;
                match tokio::time::timeout(LIMIT, writer.write(occurrence)).await {
                    Ok(Ok(())) => {}
                    // For example, refused in a namespace that is being deleted.
                    Ok(Err(error)) => debug!(error = in_words(&error), reason, "event not written"),
                    Err(_) => debug!(reason, "event not written in time"),
                }
            }
        };
        (Self { waiting, metrics }, write)
    }

    /// Reports that `Ready` has another reason.
    pub fn transition(&self, object: ObjectReference, reason: Reason, message: &str, action: &str) {
        let quiet =
            !reason.is_stalled() && !matches!(reason, Reason::AwsUnavailable | Reason::Throttled | Reason::AppNotFound);
        self.send(object, quiet, reason.name(), message, action);
    }

    /// Reports that an AWS job failed, whether or not it will be retried.
    pub fn job_failed(&self, object: ObjectReference, message: &str, action: &str) {
        self.send(object, false, "JobFailed", message, action);
    }

    /// Reports that the API server refuses a write for the resource: a policy, a quota, a missing right.
    pub fn write_refused(&self, object: ObjectReference, message: &str) {
        self.send(object, false, "WriteRefused", message, "Write");
    }

    /// Reports that the finalizer is removed.
    pub fn released(&self, object: ObjectReference, message: &str, action: &str) {
        self.send(object, true, "Released", message, action);
    }

    /// Reports that the environment of a resource is locked for a Gen 2 migration, while no write is due.
    pub fn locked(&self, object: ObjectReference, message: &str) {
        self.send(object, false, Reason::MigrationLocked.name(), message, "Look");
    }

    /// Reports that the outputs cannot be written to the ConfigMap that the spec names.
    pub fn outputs_not_written(&self, object: ObjectReference, message: &str) {
        self.send(object, false, "OutputsNotWritten", message, "Write");
    }

    /// Reports that AWS denies the read that shows migration locks.
    pub fn lock_unknown(&self, object: ObjectReference, message: &str) {
        self.send(object, false, "MigrationLockUnknown", message, "Look");
    }

    /// Reports that the AWS object of a resource is gone and will be created again.
    pub fn gone(&self, object: ObjectReference, action: &str) {
        let message =
            "the AWS object is gone, although nobody asked this operator to delete it: the operator creates it again";
        self.send(object, false, "Gone", message, action);
    }

    fn send(&self, object: ObjectReference, quiet: bool, reason: &'static str, message: &str, action: &str) {
        let occurrence = Occurrence {
            object,
            is_warning: !quiet,
            reason,
            action: action.to_owned(),
            // Shortened in the middle: the end is the advice.
            note: shortened(message, NOTE_LIMIT).into_owned(),
        };
        let is_room = !quiet || self.waiting.capacity() > FOR_WARNINGS;
        if !is_room || self.waiting.try_send(occurrence).is_err() {
            self.metrics.event_left_out();
            debug!(reason, "event left out: too many are waiting");
        }
    }
}

/// A series that has been written.
struct Series {
    occurrence: Occurrence,
    /// The name of its Event.
    name: String,
    count: i32,
}

struct Writer {
    client: Client,
    clock: Arc<Clock>,
    instance: String,
    /// The series, with the most recent last.
    written: VecDeque<Series>,
}

impl Writer {
    fn new(client: Client, clock: Arc<Clock>) -> Self {
        Self {
            client,
            clock,
            instance: instance(std::env::var("HOSTNAME").ok()),
            written: VecDeque::new(),
        }
    }

    async fn write(&mut self, occurrence: Occurrence) -> kube::Result<()> {
        let namespace = occurrence.object.namespace.as_deref().unwrap_or(OF_CLUSTER);
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let now = self.clock.now();
        let known = self.written.iter().position(|series| series.occurrence == occurrence);
        if let Some(mut series) = known.and_then(|known| self.written.remove(known)) {
            series.count = series.count.saturating_add(1);
            let repeated = EventSeries {
                count: series.count,
                last_observed_time: MicroTime(now),
            };
            let patch = Patch::Merge(json!({ "series": repeated }));
            match api.patch(&series.name, &PatchParams::default(), &patch).await {
                // The API server deletes Events after one hour.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                patched => {
                    self.remember(series);
                    return patched.map(drop);
                }
            }
        }
        let event = event(&occurrence, &self.instance, now);
        api.create(&PostParams::default(), &event).await?;
        self.remember(Series {
            occurrence,
            name: event.metadata.name.unwrap_or_default(),
            count: 1,
        });
        Ok(())
    }

    fn remember(&mut self, series: Series) {
        if self.written.len() == REMEMBERED {
            self.written.pop_front();
        }
        self.written.push_back(series);
    }
}

fn event(occurrence: &Occurrence, instance: &str, now: Timestamp) -> Event {
    let object = &occurrence.object;
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(object.name.as_deref().unwrap_or_default(), now)),
            namespace: Some(object.namespace.clone().unwrap_or_else(|| OF_CLUSTER.to_owned())),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        regarding: Some(object.clone()),
        type_: Some(if occurrence.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(occurrence.reason.to_owned()),
        action: Some(occurrence.action.clone()),
        note: Some(occurrence.note.clone()),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// Returns a unique name for an Event: the object's name, shortened if necessary, and the time.
fn event_name(object: &str, now: Timestamp) -> String {
    let time = format!("{:x}", now.as_nanosecond());
    let start = &object[..object.floor_char_boundary(NAME_LIMIT - 1 - time.len())];
    let start = start.trim_end_matches(['.', '-']);
    if start.is_empty() {
        format!("{FIELD_MANAGER}.{time}")
    } else {
        format!("{start}.{time}")
    }
}

/// Returns the name of the reporting process: its pod's name, if it has one.
fn instance(host: Option<String>) -> String {
    let host = host.filter(|host| !host.is_empty());
    let mut instance = host.unwrap_or_else(|| FIELD_MANAGER.to_owned());
    instance.truncate(instance.floor_char_boundary(INSTANCE_LIMIT));
    instance
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        task::{Context, Poll},
    };

    use futures::{FutureExt as _, future::BoxFuture};
    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    /// An API server that accepts every Event. It may have deleted each by the time of a patch.
    #[derive(Clone, Default)]
    struct Server {
        asked: Arc<Mutex<Vec<(Method, String, Value)>>>,
        drops_all: bool,
    }

    impl tower::Service<Request<Body>> for Server {
        type Response = Response<Body>;
        type Error = tower::BoxError;
        type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let server = self.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = serde_json::from_slice::<Value>(&body.collect().await?.to_bytes())?;
                let is_dropped = server.drops_all && head.method == Method::PATCH;
                let answer = if is_dropped {
                    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound", "message": "" })
                } else {
                    json!({ "kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {}, "eventTime": null })
                };
                server.asked.lock().push((head.method, head.uri.path().to_owned(), body));
                let status = if is_dropped { StatusCode::NOT_FOUND } else { StatusCode::OK };
                Ok(Response::builder()
                    .status(status)
                    .body(Body::from(answer.to_string().into_bytes()))?)
            }
            .boxed()
        }
    }

    fn object(name: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some("amplify-operator.dev/v1alpha1".to_owned()),
            kind: Some("AmplifyBackend".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some(format!("uid of {name}")),
            ..ObjectReference::default()
        }
    }

    /// Returns the requests for these occurrences: `create` or `patch`, with the note or the count.
    async fn written(server: &Server, tell: impl FnOnce(&Events)) -> Vec<(String, String)> {
        let (events, write) = Events::new(
            Client::new(server.clone(), "default"),
            Arc::new(Clock::of_machine()),
            Arc::new(Metrics::new("test")),
        );
        tell(&events);
        drop(events);
        write.await;
        let asked = server.asked.lock();
        let shown = asked.iter().map(|(method, _, body)| {
            if method == Method::PATCH {
                ("patch".to_owned(), body["series"]["count"].to_string())
            } else {
                let said = ["type", "reason", "note"].map(|field| body[field].as_str().unwrap_or_default());
                ("create".to_owned(), said.join(" "))
            }
        });
        shown.collect()
    }

    fn create(said: &str) -> (String, String) {
        ("create".to_owned(), said.to_owned())
    }

    fn patch(count: &str) -> (String, String) {
        ("patch".to_owned(), count.to_owned())
    }

    #[tokio::test]
    async fn only_the_same_words_about_the_same_object_are_one_series() {
        let server = Server::default();
        let dev = || object("dev");
        let written = written(&server, |events| {
            let running = "CreateBackend is running";
            events.transition(dev(), Reason::Creating, running, "CreateBackend");
            events.job_failed(dev(), "CreateBackend failed: no capacity", "CreateBackend");
            events.transition(dev(), Reason::Creating, running, "CreateBackend");
            events.job_failed(dev(), "CreateBackend failed: no role", "CreateBackend");
            events.job_failed(dev(), "CreateBackend failed: no capacity", "CreateBackend");
            events.transition(dev(), Reason::Creating, running, "CreateBackend");
            // Another text, another type, another action, another object.
            events.write_refused(dev(), "denied by policy");
            events.transition(dev(), Reason::JobFailed, "CreateBackend failed: no role", "Reconcile");
            events.transition(object("qa"), Reason::Creating, running, "CreateBackend");
            events.released(dev(), "the AWS object is deleted", "DeleteBackend");
        });
        assert_eq!(
            written.await,
            [
                create("Normal Creating CreateBackend is running"),
                create("Warning JobFailed CreateBackend failed: no capacity"),
                patch("2"),
                create("Warning JobFailed CreateBackend failed: no role"),
                patch("2"),
                patch("3"),
                create("Warning WriteRefused denied by policy"),
                create("Warning JobFailed CreateBackend failed: no role"),
                create("Normal Creating CreateBackend is running"),
                create("Normal Released the AWS object is deleted"),
            ]
        );
        let paths: Vec<_> = server.asked.lock().iter().map(|(_, path, _)| path.clone()).collect();
        assert_eq!(paths[0], "/apis/events.k8s.io/v1/namespaces/shop/events");
        assert!(
            paths[2].starts_with("/apis/events.k8s.io/v1/namespaces/shop/events/dev."),
            "{paths:?}"
        );
    }

    #[tokio::test]
    async fn in_a_burst_what_goes_as_it_should_gives_way_and_what_fails_does_not() {
        let metrics = Arc::new(Metrics::new("test"));
        let client = Client::new(Server::default(), "default");
        let (events, _write) = Events::new(client, Arc::new(Clock::of_machine()), metrics.clone());
        for _ in 0..2000 {
            events.transition(object("dev"), Reason::Available, "it is there", "CreateBackend");
        }
        assert_eq!(events.waiting.capacity(), FOR_WARNINGS);
        for _ in 0..FOR_WARNINGS + 10 {
            events.job_failed(object("dev"), "it failed", "CreateBackend");
        }
        assert_eq!(events.waiting.capacity(), 0);
        let left_out = 2000 - (QUEUE - FOR_WARNINGS) + 10;
        let text = metrics.encode().unwrap();
        assert!(text.contains(&format!("events_left_out_total {left_out}")), "{text}");
    }

    #[tokio::test]
    async fn a_series_that_the_api_server_has_dropped_begins_again() {
        let server = Server {
            drops_all: true,
            ..Server::default()
        };
        let twice = |events: &Events| {
            for _ in 0..2 {
                events.gone(object("dev"), "CreateBackend");
            }
        };
        let kinds: Vec<_> = written(&server, twice)
            .await
            .into_iter()
            .map(|(kind, _)| kind)
            .collect();
        assert_eq!(kinds, ["create", "patch", "create"]);
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let server = Server::default();
        let many = |events: &Events| {
            let tell = |number: usize| events.write_refused(object("dev"), &number.to_string());
            (0..=REMEMBERED).for_each(tell);
            // The last is still in memory, the first is not.
            tell(REMEMBERED);
            tell(0);
        };
        let all = written(&server, many).await;
        assert_eq!(all[REMEMBERED + 1..], [patch("2"), create("Warning WriteRefused 0")]);
    }

    #[tokio::test]
    async fn a_note_fits_and_keeps_its_end() {
        let server = Server::default();
        let long = format!("CreateBackend failed: {} Delete this resource.", "ü".repeat(2000));
        written(&server, |events| {
            events.job_failed(object("dev"), &long, "CreateBackend");
        })
        .await;
        let asked = server.asked.lock();
        let note = asked[0].2["note"].as_str().unwrap();
        assert!(note.len() <= NOTE_LIMIT && note.len() > 1000, "{}", note.len());
        assert!(note.starts_with("CreateBackend failed: ") && note.ends_with(" Delete this resource."));
    }

    #[test]
    fn every_name_of_a_resource_makes_a_valid_name_of_an_event() {
        let now: Timestamp = "2026-11-27T10:00:00.123456789Z".parse().unwrap();
        let digits = 16;
        let dots = format!("{}.{}", "a".repeat(235), "b".repeat(17));
        let dashes = format!("{}{}b", "a".repeat(200), "-".repeat(52));
        for (object, start) in [
            ("dev", "dev".to_owned()),
            (&"x".repeat(236), "x".repeat(236)),
            (&"x".repeat(237), "x".repeat(236)),
            (&"x".repeat(253), "x".repeat(236)),
            (&dots, "a".repeat(235)),
            (&dashes, "a".repeat(200)),
            ("", FIELD_MANAGER.to_owned()),
        ] {
            let name = event_name(object, now);
            assert!(name.len() <= NAME_LIMIT, "{name}");
            assert_eq!(name.rsplit_once('.').map(|(start, _)| start), Some(start.as_str()));
            assert_eq!(name.len() - start.len(), 1 + digits);
        }
    }

    #[test]
    fn the_reporting_instance_is_the_pod_and_never_too_long() {
        assert_eq!(instance(Some("amplify-operator-0".to_owned())), "amplify-operator-0");
        assert_eq!(instance(Some(String::new())), FIELD_MANAGER);
        assert_eq!(instance(None), FIELD_MANAGER);
        assert_eq!(instance(Some("x".repeat(200))).len(), INSTANCE_LIMIT);
    }
}
