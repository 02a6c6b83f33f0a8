//! Everything that a decision may ask for. Each step makes at most one request that writes.

use jiff::Timestamp;

use super::view::{Patience, State};
use crate::api::Abilities;

/// The next action of the controller for a resource.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read the references (a ConfigMap) that the configuration needs. Sets `known.config`.
    Resolve,
    /// Read the AWS object. Sets `known.look`.
    Look(Purpose),
    /// List the jobs of the environment (of a clone: of source and target). Sets `known.jobs`.
    ListJobs(Purpose),
    /// Read the job under way. Sets `known.poll`.
    Poll,
    /// Read whether the environment is locked for a Gen 2 migration. Sets `known.lock`. All checks in an account and region share
    /// one answer for each drift interval, and a failed read is an answer too.
    ReadLock(Purpose),
    /// Take the environment's slot (of a clone: of source and target). Sets `known.slot`.
    TakeSlot,
    /// Store the finalizer, conditional on resourceVersion.
    AddFinalizer,
    /// Store the intent, conditional on resourceVersion. Sets `known.sending` to `Intended`.
    Intend(Box<State>),
    /// Send the write to AWS, once. Sets `known.reply` and clears the earlier look and list. An update or a delete has
    /// no intent. Therefore the resource is first read from the API server once more. If its version has changed since
    /// the decision, the view is stale and nothing is sent.
    Send(Write),
    /// Store a write that AWS accepted, or may have accepted. The patch tests uid, attempt and observedGeneration, and
    /// is retried until it lands. Sets `known.sending` to `Recorded` and `known.reply` to `None`. If the reply said
    /// that the job has ended, also sets `known.poll`.
    RecordAccepted(Box<State>),
    /// Store this status, conditional on resourceVersion, and continue.
    Record(Box<State>),
    /// Remove the finalizer. Sets `known.released`. The resource is then gone, unless another finalizer holds it.
    Release,
    /// Store this status if it differs from the stored one, and run again at `wake`. Ends the pass.
    Settle {
        /// The status to store.
        state: Box<State>,
        /// When to run again.
        wake: Wake,
        /// Whether the pass waits for an improvement, so that the next wait is longer.
        retry: bool,
        /// The thing that the resource waits for and that a person may have to fix.
        waiting: Option<Patience>,
    },
}

impl Step {
    /// Returns a `Settle` that waits for no improvement.
    pub(super) fn settle(state: State, wake: Wake) -> Self {
        Self::Settle {
            state: Box::new(state),
            wake,
            retry: false,
            waiting: None,
        }
    }

    /// Returns a `Settle` that waits until `at` for an improvement.
    pub(super) fn retry(state: State, at: Timestamp) -> Self {
        Self::Settle {
            state: Box::new(state),
            wake: Wake::At(at),
            retry: true,
            waiting: None,
        }
    }
}

/// A write to AWS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Write {
    /// The create operation of the kind.
    Create,
    /// The update operation of the kind.
    Update,
    /// The delete operation of the kind.
    Delete,
}

/// When a settled resource runs again, if nothing happens before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// Only when something happens: an edit, a request, another resource.
    Never,
    /// At this time.
    At(Timestamp),
}

/// Why AWS is read. Decides the class of the tokens, and how many tokens the pass will need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To find out the outcome of a write.
    Outcome,
    /// Before a write, or after its end.
    Write,
    /// To compare the object of a Ready resource with the spec, on request.
    Request,
    /// To compare the object of a Ready resource with the spec.
    Drift,
}

impl Purpose {
    /// Returns how many requests a complete pass with this purpose makes: a look, the lists of jobs, the read of the
    /// migration lock, and the write that follows. If an environment may hold only one object of the kind, one more read
    /// checks whether another object has its place.
    #[must_use]
    pub fn calls(self, abilities: &Abilities) -> u32 {
        match self {
            Self::Drift | Self::Request => 1,
            Self::Outcome => 1 + abilities.lists + u32::from(abilities.is_alone),
            Self::Write => 3 + abilities.lists + u32::from(abilities.is_alone),
        }
    }
}
