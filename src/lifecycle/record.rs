//! The entry of a write in the ledger: its intent, the job that AWS runs for it, or its failure.

use super::{
    Reply, Step,
    facts::{Class, Failure, JobSeen, Sent},
    needs::made,
    report::{self, Say, working_message, working_reason},
    view::{Hashes, State, View},
};
use crate::api::{Job, Operation, text};

/// Stores this intent. An object that was owned is gone: the next one is this resource's only through this intent, and
/// its configuration is unknown.
pub(super) fn intend(view: &View<'_>, job: Job) -> Step {
    let mut state = view.state.clone();
    let ledger = &mut state.ledger;
    ledger.origin = None;
    if ledger.account_id.is_none() {
        ledger.account_id.clone_from(&view.known.account);
    }
    if ledger.region.is_none() {
        ledger.region.clone_from(&view.surroundings.region);
    }
    state.hashes = Hashes::default();
    // AWS's refusal stays in the status until AWS answers differently: no flapping with every slow retry.
    if !view.tells_of_refusal() {
        let say = Say::working(working_reason(job.operation), working_message(&job));
        state = view.say(state, say);
    }
    state.ledger.job = Some(job);
    Step::Intend(Box::new(state))
}

/// Returns the job as the reply describes it, if AWS accepted the write. The job runs, or has failed at once.
pub(super) fn accepted(view: &View<'_>, job: Job, reply: &Reply) -> Option<Job> {
    let Reply::Job {
        id: Some(id),
        environment,
        status,
        error,
    } = reply
    else {
        return None;
    };
    let job = Job {
        id: Some(id.clone()),
        backend_environment_name: environment.clone(),
        status: status.clone(),
        // AWS would not have accepted this attempt if it had accepted an earlier one.
        unconfirmed: false,
        ..job
    };
    Some(match error {
        None => job,
        Some(error) => Job {
            status: Some(Job::FAILED.to_owned()),
            finish_time: Some(view.now_seconds()),
            failures: job.failures.saturating_add(1),
            error: Some(text::summary(error)),
            ..job
        },
    })
}

/// Stores a job that AWS accepted from this attempt. A create that was accepted without an error makes the object this
/// resource's.
pub(super) fn record_accepted(view: &View<'_>, job: Job) -> Step {
    let mut state = view.state.clone();
    if job.finish_time.is_none() {
        if job.operation.is_create() {
            state.ledger.origin = Some(view.resource.abilities.origin);
        }
        if job.config_hash.is_some() {
            let before = view.state.ledger.job.as_ref();
            let is_sent_again = state.hashes.sent.is_none()
                && before.is_some_and(|before| before.has_completed() && before.config_hash == job.config_hash);
            // The echo after this operator's own job is the new reference: only a later change is drift. If the same
            // configuration is sent again because a difference was seen late, the echo is kept: see
            // `follow::changed_since`.
            if !is_sent_again {
                state.hashes.echoed = None;
            }
            state.hashes.sent.clone_from(&job.config_hash);
        }
    }
    record(view, state, job)
}

/// Stores a job that a list shows and that only this resource can have started. Its configuration is not certain, so
/// the echo after its end is compared with the spec.
pub(super) fn record_claimed(view: &View<'_>, job: Job) -> Step {
    let mut state = view.state.clone();
    state.ledger.origin = Some(view.resource.abilities.origin);
    state.hashes = Hashes::default();
    record(view, state, job)
}

fn record(view: &View<'_>, state: State, job: Job) -> Step {
    let say = Say::working(working_reason(job.operation), working_message(&job));
    let mut state = view.say(state, say);
    state.ledger.job = Some(job);
    Step::RecordAccepted(Box::new(state))
}

/// Stores that the outcome of an update or a delete is unknown. The resource holds the environment until the outcome is
/// known.
pub(super) fn record_unknown(view: &View<'_>, job: Job, failure: &Failure) -> Step {
    let mut state = view.state.clone();
    if job.config_hash.is_some() {
        state.hashes = Hashes::default();
    }
    state = view.say(state, report::outcome_unknown(failure));
    state.ledger.job = Some(Job {
        unconfirmed: true,
        ..job
    });
    Step::RecordAccepted(Box::new(state))
}

/// Returns the state to record if another operator has stored a status meanwhile. If that status speaks of a newer
/// generation, its conditions are kept.
#[must_use]
pub fn recorded_beside(state: &State, stored: &State) -> State {
    let mut state = state.clone();
    let (ledger, newer) = (&mut state.ledger, &stored.ledger);
    if newer.observed_generation > ledger.observed_generation {
        ledger.observed_generation = newer.observed_generation;
        ledger.conditions.clone_from(&newer.conditions);
        ledger
            .last_handled_reconcile_at
            .clone_from(&newer.last_handled_reconcile_at);
    }
    state
}

/// Returns the entry of a write that ended without a job of AWS.
pub(super) fn closed(view: &View<'_>, job: Job, failure: &Failure) -> Job {
    Job {
        finish_time: Some(view.now_seconds()),
        error: Some(failure.message.clone()),
        ..job
    }
}

/// Returns a new entry for a write that needs no intent. `hash` is the hash of its configuration.
pub(super) fn unintended(view: &View<'_>, operation: Operation, hash: Option<String>) -> Job {
    Job {
        operation,
        generation: view.resource.generation,
        attempt: view.next_attempt(),
        failures: view.failures(operation, hash.as_deref()),
        config_hash: hash,
        source_environment_name: None,
        request_time: view.now_seconds(),
        // The entry of the previous write is replaced; only this time of it is kept.
        after: view.state.ledger.job.as_ref().and_then(made),
        unconfirmed: false,
        id: None,
        backend_environment_name: None,
        status: None,
        finish_time: None,
        error: None,
    }
}

/// Handles the reply to an update or delete that gave no job. A definite refusal is retried after a look. Every other
/// reply is an unknown outcome.
pub(super) fn without_job(view: &View<'_>, job: Job, reply: &Reply) -> Step {
    match reply {
        Reply::Failed(failure) if failure.sent != Sent::Unknown => {
            let mut state = view.state.clone();
            state.ledger.job = Some(closed(view, job, failure));
            report::failed(view, state, failure)
        }
        Reply::Failed(failure) => record_unknown(view, job, failure),
        Reply::Job { .. } | Reply::Done { .. } | Reply::Absent => {
            let failure = no_job_id(job.operation);
            record_unknown(view, job, &failure)
        }
    }
}

pub(super) fn no_job_id(operation: Operation) -> Failure {
    Failure {
        class: Class::Unavailable,
        sent: Sent::Unknown,
        message: format!("AWS answered {operation} without a job id"),
    }
}

/// Returns the newest of these jobs.
pub(super) fn newest<'a>(jobs: impl Iterator<Item = &'a JobSeen>) -> Option<&'a JobSeen> {
    jobs.max_by_key(|job| job.create_time)
}

/// The text in `job.error` until a look has shown the object of a completed create.
pub(super) const NOT_SHOWN: &str = "AWS has not shown the object since the job completed";

/// Whether this create completed, and no look has shown the object since.
pub(super) fn is_never_shown(job: &Job) -> bool {
    job.operation.is_create() && job.has_completed() && job.error.is_some()
}

/// Returns the state after a look has shown the object of a completed create.
pub(super) fn has_been_shown(state: &State) -> State {
    let mut state = state.clone();
    if let Some(job) = state.ledger.job.as_mut().filter(|job| is_never_shown(job)) {
        job.error = None;
    }
    state
}
