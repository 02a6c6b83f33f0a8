//! Kubernetes Events, on transitions only. A lost Event costs nobody anything, so they never hold a pass up.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::mpsc;
use tracing::debug;

use crate::api::{FIELD_MANAGER, conditions::Reason};

/// Events waiting to be written at the most; further ones are dropped.
const QUEUE: usize = 1024;
/// The recorder remembers each Event for minutes, to count repetitions, and goes through all that it remembers for each
/// further one: after so many it is replaced. A repetition beyond that is an Event of its own.
const REMEMBERED: usize = 256;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Where Events are handed in.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Occurrence>);

struct Occurrence {
    object: ObjectReference,
    event: Event,
}

impl Events {
    /// The hand-in, and the task that writes them until every hand-in is dropped.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let (sender, mut receiver) = mpsc::channel::<Occurrence>(QUEUE);
        let recorder = move || Recorder::new(client.clone(), Reporter::from(FIELD_MANAGER));
        let write = async move {
            let mut remembering = (recorder(), 0);
            while let Some(Occurrence { object, event }) = receiver.recv().await {
                if remembering.1 == REMEMBERED {
                    remembering = (recorder(), 0);
                }
                remembering.1 += 1;
                let recorder = &remembering.0;
                match tokio::time::timeout(LIMIT, recorder.publish(&event, &object)).await {
                    Ok(Ok(())) => {}
                    // Refused in a namespace that is being deleted, among others.
                    Ok(Err(error)) => debug!(%error, reason = event.reason, "event not written"),
                    Err(_) => debug!(reason = event.reason, "event not written in time"),
                }
            }
        };
        (Self(sender), write)
    }

    /// `Ready` took another reason.
    pub(super) fn transition(&self, object: ObjectReference, reason: Reason, message: &str, action: &str) {
        let quiet =
            !reason.is_stalled() && !matches!(reason, Reason::AwsUnavailable | Reason::Throttled | Reason::AppNotFound);
        self.send(object, quiet, reason.name(), message, action);
    }

    /// A job failed.
    pub(super) fn job_failed(&self, object: ObjectReference, message: &str, action: &str) {
        self.send(object, false, "JobFailed", message, action);
    }

    /// The API server refused a write.
    pub(super) fn write_refused(&self, object: ObjectReference, message: &str) {
        self.send(object, false, "WriteRefused", message, "Record");
    }

    /// The finalizer is off: the resource goes.
    pub(super) fn released(&self, object: ObjectReference, message: &str, action: &str) {
        self.send(object, true, "Released", message, action);
    }

    /// The AWS object of a resource is gone and is created again.
    pub(super) fn gone(&self, object: ObjectReference, action: &str) {
        let message = "the AWS object is gone, although nobody asked this operator to delete it: it is created again";
        self.send(object, false, "Gone", message, action);
    }

    fn send(&self, object: ObjectReference, quiet: bool, reason: &str, message: &str, action: &str) {
        let event = Event {
            type_: if quiet { EventType::Normal } else { EventType::Warning },
            reason: reason.to_owned(),
            note: Some(message.to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if self.0.try_send(Occurrence { object, event }).is_err() {
            debug!(reason, "event dropped: too many are waiting");
        }
    }
}
