//! What is written of a write: its intent, the job that AWS took it as, or that it came to nothing.

use super::{
    Reply, Step,
    facts::{Class, Failure, JobSeen, Sent},
    needs::made,
    report::{self, Say, working_message, working_reason},
    view::{Hashes, State, View},
};
use crate::api::{Job, Operation, text};

/// Stores this intent. What was owned is gone: whatever is there next is ours only through this intent, and nothing is
/// known of its configuration.
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
    // What AWS has refused stays said until AWS says something else: no flapping with every slow retry.
    if !view.tells_of_refusal() {
        let say = Say::working(working_reason(job.operation), working_message(&job));
        state = view.say(state, say);
    }
    state.ledger.job = Some(job);
    Step::Intend(Box::new(state))
}

/// The job as the reply describes it, where AWS took the write: it runs, or has failed at once.
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
        // AWS would not have taken this attempt if it had taken an earlier one.
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

/// Stores a job that AWS accepted from this attempt. A create that was accepted without an error makes the object ours.
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
            // What AWS shows after its own job is the new normal; only a later change is drift. Of what is sent once more,
            // because it was seen late that AWS shows something else, that is kept: see `follow::changed_since`.
            if !is_sent_again {
                state.hashes.echoed = None;
            }
            state.hashes.sent.clone_from(&job.config_hash);
        }
    }
    record(view, state, job)
}

/// Stores a job that a list shows and that only this resource can have started. What it carries is not certain, so what
/// AWS has afterwards is compared with the spec.
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

/// Stores that nobody knows what became of an update or a delete. It keeps the environment until that is found out.
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

/// What is recorded of a write where another operator has stored a status meanwhile: what that says of a newer generation
/// stays said.
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

/// A write that ended without a job.
pub(super) fn closed(view: &View<'_>, job: Job, failure: &Failure) -> Job {
    Job {
        finish_time: Some(view.now_seconds()),
        error: Some(failure.message.clone()),
        ..job
    }
}

/// A new record of a write that needed no intent. `hash`: the configuration that it carries.
pub(super) fn unintended(view: &View<'_>, operation: Operation, hash: Option<String>) -> Job {
    Job {
        operation,
        generation: view.resource.generation,
        attempt: view.next_attempt(),
        failures: view.failures(operation, hash.as_deref()),
        config_hash: hash,
        source_environment_name: None,
        request_time: view.now_seconds(),
        // What it follows is forgotten with its record.
        after: view.state.ledger.job.as_ref().and_then(made),
        unconfirmed: false,
        id: None,
        backend_environment_name: None,
        status: None,
        finish_time: None,
        error: None,
    }
}

/// What an update or delete that gave no job leads to: a definite refusal is tried again after a look, all else is an
/// unknown outcome.
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

/// The newest of these jobs.
pub(super) fn newest<'a>(jobs: impl Iterator<Item = &'a JobSeen>) -> Option<&'a JobSeen> {
    jobs.max_by_key(|job| job.create_time)
}

/// What stands in `job.error` while no look has shown what a completed create has made.
pub(super) const NOT_SHOWN: &str = "AWS has not shown the object since the job completed";

/// Whether this create completed, and no look has shown the object since.
pub(super) fn is_never_shown(job: &Job) -> bool {
    job.operation.is_create() && job.has_completed() && job.error.is_some()
}

/// The state, now that a look has shown what a completed create has made.
pub(super) fn has_been_shown(state: &State) -> State {
    let mut state = state.clone();
    if let Some(job) = state.ledger.job.as_mut().filter(|job| is_never_shown(job)) {
        job.error = None;
    }
    state
}
