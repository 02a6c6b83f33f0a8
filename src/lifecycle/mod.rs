//! The lifecycle of every kind: one pure state machine.
//!
//! [`next`] reads a [`View`] (spec, status, the facts that this pass has learnt, the time) and returns the next
//! [`Step`]. The controller performs this step, and [`learn`] adds its result to the view. The controller asks again
//! until the step is [`Step::Settle`] or [`Step::Release`]. No client, no AWS, no clock, no randomness, no async in
//! this folder: therefore its decisions can be explored exhaustively.
//!
//! | file | holds |
//! |---|---|
//! | `view` | everything that a decision may read |
//! | `step` | everything that a decision may ask for |
//! | `learn` | how the result of a step changes the facts of a pass |
//! | `facts` | AWS's answers and refusals, reduced |
//! | `needs` | the requirements of a decision: a look, a list, the slot, a reference |
//! | `create` | slot, list, finalizer, intent, send (create once) |
//! | `outcome` | a write whose outcome is unknown |
//! | `follow` | a running job, its end, its failure |
//! | `keep` | idle: look, adopt, drift |
//! | `observe` | an observed resource: look and report |
//! | `migration` | no write to an environment that is locked for a Gen 2 migration |
//! | `update` | sends a changed configuration to AWS |
//! | `delete` | deletion |
//! | `reply` | the step after the reply to a write |
//! | `record` | the entry of a write in the ledger |
//! | `report` | the status and the conditions of each situation |
//! | `timing` | poll schedule, backoffs, the phase of drift checks |

use jiff::{SignedDuration, Timestamp};

use crate::api::{
    Job, Ledger, Phase,
    conditions::{self, Reason},
};

mod create;
mod delete;
pub mod facts;
mod follow;
mod keep;
mod learn;
pub mod migration;
mod needs;
mod observe;
mod outcome;
mod record;
mod reply;
mod report;
mod step;
#[cfg(test)]
mod tests;
pub mod timing;
mod update;
mod view;

pub use delete::{Queued, queued, what_became};
pub use learn::{Observed, ended, learn, remember};
pub use record::recorded_beside;
pub use step::{Purpose, Step, Wake, Write};
pub use view::{
    Account, Bar, Config, Dependents, Echo, Equality, Hashes, Known, Lack, Listed, Lock, Looked, Mark, Memory, Missing,
    Patience, Polled, Reply, Resource, Seen, Sending, Settings, Slot, State, Surroundings, View, Waiting, Winner,
    Words,
};

/// A decision, or the step that must come before it (`Err`).
type Flow<T = Step> = Result<T, Step>;

/// Returns the next step for this resource.
#[must_use]
pub fn next(view: &View<'_>) -> Step {
    let noted = migration::noted(view);
    let decided = match &noted {
        Some(state) => decide(&view.with_state(state)),
        None => decide(view),
    };
    match decided {
        Ok(step) | Err(step) => step,
    }
}

fn decide(view: &View<'_>) -> Flow {
    if view.resource.deleting && !view.resource.finalizer {
        return Ok(delete::released(view));
    }
    if let Some(reply) = &view.known.reply {
        return reply::after_send(view, reply);
    }
    if delete::is_handed_over(view) {
        return Ok(Step::Release);
    }
    let ledger = &view.state.ledger;
    // An object or a job that AWS has, or may have, for this resource must not outlive the resource unseen.
    let may_have = |job: &Job| job.finish_time.is_none() || job.unconfirmed;
    if !view.resource.observe
        && !view.resource.finalizer
        && (ledger.origin.is_some() || ledger.job.as_ref().is_some_and(may_have))
    {
        return Ok(Step::AddFinalizer);
    }
    match ledger.job.as_ref().map(|job| (job, job.phase())) {
        Some((job, Phase::Intended)) if may_be_sent(view) => create::send(view, job),
        Some((job, Phase::Intended)) => outcome::resolve(view, job),
        Some((job, Phase::Running)) if !may_leave(view, job) => follow::follow(view, job),
        Some((_, Phase::Running | Phase::Completed | Phase::Failed | Phase::Closed)) | None => {
            if view.resource.deleting {
                delete::delete(view)
            } else {
                keep::idle(view)
            }
        }
    }
}

/// Whether the resource may go while this job runs, because its AWS object is not to be deleted. A delete job is
/// followed to its end whatever the policy says now, because AWS cannot cancel it.
fn may_leave(view: &View<'_>, job: &Job) -> bool {
    view.resource.deleting && !delete::is_wanted(view) && !job.operation.is_delete()
}

/// Whether this pass has stored the open intent, and nothing forbids sending it.
fn may_be_sent(view: &View<'_>) -> bool {
    view.known.sending == Sending::Intended
        && !view.resource.deleting
        && !view.resource.suspend
        && !view.resource.observe
        && view.surroundings.winner.is_none()
}

/// How long a resource holds its environment's slot, by its status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holds {
    /// Not at all.
    No,
    /// Until its status changes.
    Yes,
    /// Until this time at the latest.
    Until(Timestamp),
}

impl Holds {
    /// Whether the slot is held at this time.
    #[must_use]
    pub fn at(self, now: Timestamp) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::Until(end) => now < end,
        }
    }
}

/// Returns how long the resource holds the slot: from the intent to the end of the job, and while the outcome of a
/// write is unknown. A job with an id gives the slot up if the resource is suspended or the job is past its timeout.
/// From then on, only AWS's refusal prevents a second job. An open intent keeps the slot.
#[must_use]
pub fn holds_slot(ledger: &Ledger, suspend: bool, timeout: SignedDuration) -> Holds {
    match &ledger.job {
        Some(job) if job.is_open_intent() => Holds::Yes,
        Some(job) if job.is_running() && !suspend => Holds::Until(timing::after(job.request_time, timeout)),
        _ => Holds::No,
    }
}

/// Whether a job of the resource is polled at the usual rate. A job past its timeout is polled less often.
#[must_use]
pub fn is_polled(ledger: &Ledger, suspend: bool) -> bool {
    let has_timed_out = conditions::ready_reason(&ledger.conditions) == Some(Reason::JobTimedOut);
    !suspend && !has_timed_out && ledger.job.as_ref().is_some_and(Job::is_running)
}

/// Whether the status says that the resource waits for its environment's slot. A suspended resource does not wait.
#[must_use]
pub fn waits_for_slot(ledger: &Ledger, suspend: bool) -> bool {
    !suspend && conditions::ready_reason(&ledger.conditions) == Some(Reason::WaitingForJob)
}
