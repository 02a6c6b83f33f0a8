//! Everything that a decision may ask for. Each step makes at most one request that writes.

use jiff::Timestamp;

use super::view::{Patience, State};
use crate::api::Abilities;

/// What the controller does next for a resource.
#[derive(Clone, Debug)]
pub enum Step {
    /// Read the references (a ConfigMap) that the configuration needs: `known.config`.
    Resolve,
    /// Read the AWS object: `known.look`.
    Look(Purpose),
    /// List the jobs of the environment (of a clone: of source and target): `known.jobs`.
    ListJobs(Purpose),
    /// Read the job under way: `known.poll`.
    Poll,
    /// Read whether the environment is locked for a Gen 2 migration: `known.lock`. For a check, an answer to all resources of the
    /// account and region serves, which is at most a drift interval old; a failed read is an answer, too.
    ReadLock(Purpose),
    /// Take the environment's slot (of a clone: source and target): `known.slot`.
    TakeSlot,
    /// Store the finalizer, conditional on resourceVersion.
    AddFinalizer,
    /// Store the intent, conditional on resourceVersion: `known.sending = Intended`.
    Intend(Box<State>),
    /// Send the write to AWS, once: `known.reply`. Forgets what was looked at and listed before. An update or a delete has no
    /// intent, so right before it the resource is read from the API server: where it is not the version that was decided
    /// from, the view is stale and nothing is sent.
    Send(Write),
    /// Store what AWS accepted, or may have accepted, with a patch that tests uid, attempt and observedGeneration and is
    /// retried until it lands: `known.sending = Recorded`, `known.reply = None`, and where the reply said that the job has
    /// ended, `known.poll`.
    RecordAccepted(Box<State>),
    /// Store this status, conditional on resourceVersion, and go on.
    Record(Box<State>),
    /// Remove the finalizer: `known.released`. The end of the resource, unless somebody else's finalizer holds it.
    Release,
    /// Store this status where it differs from the stored one, and come again at `wake`. The end of the pass.
    Settle {
        /// The status that tells the truth.
        state: Box<State>,
        /// When to come again.
        wake: Wake,
        /// Whether this waits for something to get better, so that the next wait is longer.
        retry: bool,
        /// What it waits for that a person may have to mend.
        waiting: Option<Patience>,
    },
}

impl Step {
    /// Settle, with nothing to get better.
    pub(super) fn settle(state: State, wake: Wake) -> Self {
        Self::Settle {
            state: Box::new(state),
            wake,
            retry: false,
            waiting: None,
        }
    }

    /// Settle until something gets better.
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

/// When a settled resource is looked at again, if nothing happens before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// Only when something happens: an edit, a request, another resource.
    Never,
    /// At this time.
    At(Timestamp),
}

/// What AWS is read for: decides the class of its tokens, and how many the pass will need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// To find out what became of a write.
    Outcome,
    /// On the way to a write, or at its end.
    Write,
    /// To see whether a Ready object is still as it should, because somebody asks for it.
    Request,
    /// To see whether a Ready object is still as it should.
    Drift,
}

impl Purpose {
    /// How many requests a pass with this purpose makes when it goes through: a look (and, of what is alone in its environment,
    /// whether another has its place), the lists of jobs, the migration lock, and the write that they lead to.
    #[must_use]
    pub fn calls(self, abilities: &Abilities) -> u32 {
        match self {
            Self::Drift | Self::Request => 1,
            Self::Outcome => 1 + abilities.lists + u32::from(abilities.is_alone),
            Self::Write => 3 + abilities.lists + u32::from(abilities.is_alone),
        }
    }
}
