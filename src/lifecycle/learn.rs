//! What a performed step teaches: the only place that changes what a pass knows and what a process remembers.
//!
//! The controller performs a step and hands in what it [`Observed`]; so do the tables and the exploration. What is proved
//! of these two functions is therefore what runs.

use jiff::Timestamp;

use super::{
    facts::{Failure, JobSeen},
    step::Step,
    view::{Config, Known, Listed, Lock, Looked, Memory, Missing, Polled, Reply, Sending, Slot, State, Waiting},
};
use crate::api::Job;

/// What came of a step.
#[derive(Clone, Debug)]
pub enum Observed {
    /// The account that the credentials belong to, before a request to AWS is made.
    Account(String),
    /// The AWS object.
    Look(Looked),
    /// The jobs of the environment.
    Jobs(Listed),
    /// The job under way.
    Poll(Polled),
    /// The configuration to send, or what is missing of it.
    Config(Result<Config, Missing>),
    /// The environment's slot.
    Slot(Slot),
    /// Whether the environment is locked for a Gen 2 migration.
    Lock(Lock),
    /// What came of a write to AWS.
    Reply(Reply),
    /// The read failed.
    Failed(Failure),
    /// The write to Kubernetes landed. `edited`: the spec is another one than the pass began with (only a patch that does
    /// not test the resourceVersion can land then).
    Stored {
        /// Whether somebody has edited the spec meanwhile.
        edited: bool,
    },
    /// The view was stale: nothing was written or sent, and the view has been renewed. `same`: generation and status are
    /// what they were.
    Stale {
        /// Whether what decides has stayed the same.
        same: bool,
    },
}

impl Observed {
    /// The write to Kubernetes landed on what the pass had looked at.
    pub const STORED: Self = Self::Stored { edited: false };
}

/// Adds what came of `step` to what the pass knows.
pub fn learn(known: &mut Known, step: &Step, observed: Observed) {
    match observed {
        Observed::Account(account) => known.account = Some(account),
        Observed::Look(looked) => known.look = Some(looked),
        Observed::Jobs(listed) => known.jobs = Some(listed),
        Observed::Poll(polled) => known.poll = Some(polled),
        Observed::Config(config) => known.config = Some(config),
        Observed::Slot(slot) => known.slot = Some(slot),
        Observed::Lock(lock) => known.lock = Some(lock),
        Observed::Failed(failure) => known.failed = Some(failure),
        Observed::Reply(reply) => {
            // What was seen before the write says nothing of what came of it.
            known.look = None;
            known.jobs = None;
            known.sending = Sending::Nothing;
            known.reply = Some(reply);
        }
        // What AWS showed stays true while others fight over the metadata.
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
                // Somebody may have edited the spec while AWS was asked: what was resolved is then that of the former one.
                config: known.config.take().filter(|_| !edited),
                sending: Sending::Recorded,
                poll: ended(state).map(|job| Polled { job: Some(job) }),
                ..Known::default()
            };
        }
        // What the status said is not known any longer.
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

/// The job that this state records as accepted, where AWS's answer said that it has completed already.
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

/// Adds what a process is to remember of a step and its outcome. Called before [`learn`], which forgets at the end of a
/// pass.
pub fn remember(memory: &mut Memory, now: Timestamp, known: &Known, step: &Step, observed: &Observed) {
    match (step, observed) {
        // What an earlier process may have sent is known from here on.
        (Step::ListJobs(_), Observed::Jobs(listed)) => {
            memory.listed = listed.jobs.iter().all(JobSeen::is_terminal);
        }
        (Step::RecordAccepted(_), Observed::Stored { .. }) => {
            memory.listed = true;
            // What was just made needs no look before the next check.
            memory.checked = Some(now);
        }
        (
            Step::Settle {
                state, retry, waiting, ..
            },
            Observed::Stored { .. },
        ) => {
            memory.tries = if *retry { memory.tries.saturating_add(1) } else { 0 };
            // Of what was given up, the configuration alone may be looked at. An absence in doubt is not seen yet.
            if !retry && known.failed.is_none() && (known.look.is_some() || known.config.is_some()) {
                memory.checked = Some(now);
            }
            let generation = state.ledger.observed_generation;
            memory.waiting = waiting.map(|patience| match memory.waiting {
                Some(before) if before.patience == patience && before.generation == generation => before,
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
