//! How the result of a step changes the facts of a pass and the memory of a process. Nothing else changes them.
//!
//! The controller performs a step and passes in the result ([`Observed`]). The tables and the exploration call the same
//! two functions. Therefore the proofs hold for the code that runs.

use jiff::Timestamp;

use super::{
    facts::{Failure, JobSeen},
    step::Step,
    view::{Config, Known, Listed, Lock, Looked, Mark, Memory, Missing, Polled, Reply, Sending, Slot, State, Waiting},
};
use crate::api::Job;

/// The result of a step.
#[derive(Clone, Debug)]
pub enum Observed {
    /// The account that the credentials belong to. Observed before a request to AWS is made.
    Account(String),
    /// The AWS object.
    Look(Looked),
    /// The jobs of the environment.
    Jobs(Listed),
    /// The job under way.
    Poll(Polled),
    /// The configuration to send, or the reference that it lacks.
    Config(Result<Config, Missing>),
    /// The environment's slot.
    Slot(Slot),
    /// Whether the environment is locked for a Gen 2 migration.
    Lock(Lock),
    /// The reply to a write to AWS.
    Reply(Reply),
    /// The read failed.
    Failed(Failure),
    /// The write to Kubernetes landed. With `edited`, the spec is no longer the one that the pass began with. Only a
    /// patch that does not test the resourceVersion can land then.
    Stored {
        /// Whether somebody has edited the spec since the pass began.
        edited: bool,
    },
    /// The view was stale: nothing was written or sent, and the view has been renewed. With `same`, generation and
    /// status have not changed.
    Stale {
        /// Whether generation and status have stayed the same.
        same: bool,
    },
}

impl Observed {
    /// The write to Kubernetes landed on the version that the pass had read.
    pub const STORED: Self = Self::Stored { edited: false };
}

/// Adds the result of `step` to the facts of the pass.
pub fn learn(known: &mut Known, step: &Step, observed: Observed) {
    match observed {
        Observed::Account(account) => known.account = Some(account),
        Observed::Look(looked) => known.look = Some(looked),
        Observed::Jobs(listed) => known.jobs = Some(listed),
        Observed::Poll(polled) => known.poll = Some(polled),
        Observed::Config(config) => known.config = Some(config),
        Observed::Slot(slot) => known.slot = Some(slot),
        Observed::Lock(lock) => {
            // A read that AWS denies does not hide the lock that an earlier answer of this pass has shown.
            let is_hidden = lock.mark == Mark::Denied && known.lock.is_some_and(|before| before.mark == Mark::Here);
            let mark = if is_hidden { Mark::Here } else { lock.mark };
            known.lock = Some(Lock { mark, ..lock });
        }
        Observed::Failed(failure) => known.failed = Some(failure),
        Observed::Reply(reply) => {
            // An earlier look or list shows nothing of the outcome of the write.
            known.look = None;
            known.jobs = None;
            known.sending = Sending::Nothing;
            known.reply = Some(reply);
        }
        // AWS's answers stay true if others change only the metadata.
        Observed::Stale { same: true } => {}
        Observed::Stale { same: false } => *known = Known::default(),
        Observed::Stored { edited } => stored(known, step, edited),
    }
}

fn stored(known: &mut Known, step: &Step, edited: bool) {
    match step {
        Step::Intend(_) => known.sending = Sending::Intended,
        Step::RecordAccepted(state) => {
            *known = Known {
                account: known.account.take(),
                // Somebody may have edited the spec during the call to AWS. The configuration is then that of the old
                // spec.
                config: known.config.take().filter(|_| !edited),
                sending: Sending::Recorded,
                poll: ended(state).map(|job| Polled { job: Some(job) }),
                ..Known::default()
            };
        }
        // The new status makes the other facts obsolete.
        Step::Record(_) => {
            *known = Known {
                account: known.account.take(),
                look: known.look.take(),
                config: known.config.take(),
                ..Known::default()
            };
        }
        Step::Release => {
            *known = Known {
                released: true,
                ..Known::default()
            };
        }
        Step::Settle { .. } => *known = Known::default(),
        Step::AddFinalizer
        | Step::Resolve
        | Step::Look(_)
        | Step::ListJobs(_)
        | Step::Poll
        | Step::ReadLock(_)
        | Step::TakeSlot
        | Step::Send(_) => {}
    }
}

/// Returns the job that this state records as accepted, if AWS's reply said that the job has already completed.
#[must_use]
pub fn ended(state: &State) -> Option<JobSeen> {
    let job = state.ledger.job.as_ref()?;
    let has_ended = job.is_running() && job.status.as_deref() == Some(Job::COMPLETED);
    has_ended.then(|| JobSeen {
        id: job.id.clone().unwrap_or_default(),
        environment: job.backend_environment_name.clone().unwrap_or_default(),
        operation: job.operation.name().to_owned(),
        status: job.status.clone().unwrap_or_default(),
        create_time: None,
        update_time: None,
        error: None,
        exists: false,
    })
}

/// Adds to the memory of the process the facts that it must keep of a step and its result. Called before [`learn`],
/// which clears the facts of the pass at its end.
pub fn remember(memory: &mut Memory, now: Timestamp, known: &Known, step: &Step, observed: &Observed) {
    match (step, observed) {
        // From here on, the jobs that an earlier process may have started are known.
        (Step::ListJobs(_), Observed::Jobs(listed)) => {
            memory.listed = listed.jobs.iter().all(JobSeen::is_terminal);
        }
        (Step::RecordAccepted(_), Observed::Stored { .. }) => {
            memory.listed = true;
            // A new object needs no look before the next check.
            memory.checked = Some(now);
        }
        (
            Step::Settle {
                state, retry, waiting, ..
            },
            Observed::Stored { .. },
        ) => {
            memory.tries = if *retry { memory.tries.saturating_add(1) } else { 0 };
            // After a write was given up, a pass may read only the configuration: that counts as a check. A doubtful
            // absence settles with `retry` and does not count.
            if !retry && known.failed.is_none() && (known.look.is_some() || known.config.is_some()) {
                memory.checked = Some(now);
            }
            let generation = state.ledger.observed_generation;
            memory.waiting = waiting.map(|patience| match memory.waiting {
                // A time in the future is of a clock that has been set back.
                Some(before)
                    if before.patience == patience && before.generation == generation && before.since <= now =>
                {
                    before
                }
                _ => Waiting {
                    patience,
                    since: now,
                    generation,
                },
            });
        }
        _ => {}
    }
}
