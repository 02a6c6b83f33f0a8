//! What is written of a write: its intent, the job that AWS took it as, or that it came to nothing.

use super::{
    Reply, Step,
    facts::{Class, Failure, JobSeen, Sent},
    report::{self, Say, working_message, working_reason},
    view::View,
};
use crate::api::{Job, Operation, Origin};

/// Store this intent. What was owned is gone: whatever is there next is ours only through this intent.
pub(super) fn intend(view: &View<'_>, job: Job, hash: Option<String>) -> Step {
    let mut state = view.state.clone();
    let ledger = &mut state.ledger;
    ledger.origin = None;
    if ledger.account_id.is_none() {
        ledger.account_id.clone_from(&view.known.account);
    }
    if ledger.region.is_none() {
        ledger.region.clone_from(&view.surroundings.region);
    }
    if hash.is_some() {
        state.hashes.sent = hash;
        state.hashes.echoed = None;
    }
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
        id,
        environment,
        status,
        error,
    } = reply
    else {
        return None;
    };
    let job = Job {
        id: id.clone(),
        backend_environment_name: environment.clone(),
        status: status.clone(),
        // AWS would not have taken this attempt if it had taken an earlier one.
        unconfirmed: false,
        ..job
    };
    match error {
        None => job.id.is_some().then_some(job),
        Some(error) => Some(Job {
            status: Some(Job::FAILED.to_owned()),
            finish_time: Some(view.now_seconds()),
            failures: job.failures + 1,
            error: Some(crate::api::conditions::truncated(error, 1024).to_owned()),
            ..job
        }),
    }
}

/// Store a job that AWS took, and with a create that the object is ours.
pub(super) fn record_accepted(view: &View<'_>, job: Job, origin: Option<Origin>) -> Step {
    let mut state = view.state.clone();
    let say = Say::working(working_reason(job.operation), working_message(&job));
    state.ledger.origin = origin.or(state.ledger.origin);
    state = view.say(state, say);
    state.ledger.job = Some(job);
    Step::RecordAccepted(Box::new(state))
}

/// A write that ended without a job.
pub(super) fn closed(view: &View<'_>, job: Job, failure: &Failure) -> Job {
    Job {
        finish_time: Some(view.now_seconds()),
        error: Some(failure.message.clone()),
        ..job
    }
}

/// A new record of a write that needed no intent.
pub(super) fn unintended(view: &View<'_>, operation: Operation) -> Job {
    Job {
        operation,
        generation: view.resource.generation,
        attempt: view.next_attempt(),
        failures: view.failures(operation),
        request_time: view.now_seconds(),
        after: None,
        unconfirmed: false,
        id: None,
        backend_environment_name: None,
        status: None,
        finish_time: None,
        error: None,
    }
}

/// An update or delete that gave no job: it is tried again after a look.
pub(super) fn closed_unintended(view: &View<'_>, job: Job, failure: &Failure) -> Step {
    let mut state = view.state.clone();
    state.ledger.job = Some(closed(view, job, failure));
    report::failed(view, state, failure)
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
