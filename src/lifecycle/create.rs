//! Create once: slot, list, finalizer, intent, send, record. Also what a reply to any write leads to.

use super::{
    Flow, Purpose, Reply, Sending, Step, Write, delete,
    facts::{Class, Failure, JobSeen, Sent},
    outcome,
    report::{self, Say, failed, read_failed, working_message, working_reason},
    timing,
    view::{Listed, Looked, Slot, View},
};
use crate::api::{Job, Operation, conditions::Reason};

/// The AWS object, looked at in this pass.
pub(super) fn looked<'a>(view: &View<'a>, purpose: Purpose) -> Flow<&'a Looked> {
    view.known.look.as_ref().ok_or_else(|| read(view, Step::Look(purpose)))
}

/// The environment's jobs, listed in this pass.
pub(super) fn listed<'a>(view: &View<'a>, purpose: Purpose) -> Flow<&'a Listed> {
    view.known
        .jobs
        .as_ref()
        .ok_or_else(|| read(view, Step::ListJobs(purpose)))
}

/// This read, unless one has failed in this pass.
pub(super) fn read(view: &View<'_>, step: Step) -> Step {
    match &view.known.failed {
        Some(failure) => read_failed(view, failure),
        None => step,
    }
}

/// The configuration to send, of kinds that have one.
pub(super) fn configured(view: &View<'_>) -> Flow<Option<String>> {
    if !view.resource.is_updatable() {
        return Ok(None);
    }
    match &view.known.config {
        None => Err(Step::Resolve),
        Some(Ok(config)) => Ok(Some(config.hash.clone())),
        Some(Err(missing)) => Err(dependency_not_ready(view, missing)),
    }
}

/// Something that a create or update needs is not there. A ConfigMap is not watched, so it is looked for again.
pub(super) fn dependency_not_ready(view: &View<'_>, missing: &str) -> Step {
    Step::retry(
        view.stored(Say::working(Reason::DependencyNotReady, missing)),
        timing::after(view.now, timing::backoff(5.0, 60.0, view.memory.tries, view.jitter)),
    )
}

/// What a create or update needs of other resources is there.
pub(super) fn possible(view: &View<'_>) -> Flow<()> {
    let around = view.surroundings;
    if let Some(invalid) = &around.invalid {
        let say = Say::stalled(Reason::InvalidSpec, invalid);
        return Err(Step::settle(view.stored(say), super::Wake::Never));
    }
    match &around.dependency {
        Some(missing) => Err(dependency_not_ready(view, missing)),
        None => Ok(()),
    }
}

/// The environment's slot is this resource's, or the resource waits for it.
pub(super) fn slot(view: &View<'_>) -> Flow<()> {
    match &view.known.slot {
        None => Err(Step::TakeSlot),
        Some(Slot::Held) => Ok(()),
        Some(Slot::Busy(holder)) => Err(waiting_for_job(view, &format!("{holder} holds the environment"))),
    }
}

fn waiting_for_job(view: &View<'_>, who: &str) -> Step {
    let message = format!("{who}: AWS runs one job per environment at a time");
    let wait = timing::backoff(15.0, 60.0, view.memory.tries, view.jitter);
    Step::retry(
        view.stored(Say::working(Reason::WaitingForJob, message)),
        timing::after(view.now, wait),
    )
}

/// None of these jobs is still running, or the resource waits for the end of the one that is.
pub(super) fn none_pending(view: &View<'_>, listed: &Listed) -> Flow<()> {
    match listed.jobs.iter().find(|job| !job.is_terminal()) {
        None => Ok(()),
        Some(job) => {
            let who = format!("{} (job {}) is {}", job.operation, job.id, job.status);
            Err(waiting_for_job(view, &who))
        }
    }
}

/// The environment is free for an update or delete. What AWS has refused because of a pending job is not sent again
/// before a list shows that no job is pending.
pub(super) fn free(view: &View<'_>, operation: Operation) -> Flow<()> {
    slot(view)?;
    if operation.has_job() && view.reason() == Some(Reason::WaitingForJob) {
        none_pending(view, listed(view, Purpose::Write)?)?;
    }
    Ok(())
}

/// Jobs of this operation that failed in a row hold the next one back, or end the trying. What AWS refused meanwhile
/// waits by the class of the refusal.
pub(super) fn backed_off(view: &View<'_>, operation: Operation) -> Flow<()> {
    let failures = view.failures(operation);
    let job = view.state.ledger.job.as_ref();
    let Some(job) = job.filter(|job| failures > 0 && job.has_failed()) else {
        return Ok(());
    };
    if failures >= view.settings.max_job_attempts {
        let error = job.error.as_deref().unwrap_or(report::NO_REASON);
        let message = format!(
            "{operation} failed {failures} times in a row: {error}; edit the spec, or set the annotation {} to a new value to try again",
            crate::api::RECONCILE_REQUESTED_AT
        );
        return Err(Step::settle(
            view.stored(Say::stalled(Reason::JobFailed, message)),
            super::Wake::Never,
        ));
    }
    let due = timing::after(job.finish_time.unwrap_or(view.now), timing::job_backoff(failures));
    if view.now < due {
        let say = Say::working(working_reason(operation), working_message(job));
        return Err(Step::settle(view.stored(say), super::Wake::At(due)));
    }
    Ok(())
}

/// The AWS object is absent and is to be created.
pub(super) fn create(view: &View<'_>) -> Flow {
    let operation = view.resource.create;
    backed_off(view, operation)?;
    possible(view)?;
    let hash = configured(view)?;
    slot(view)?;
    let mut newest = None;
    if operation.has_job() {
        let listed = listed(view, Purpose::Write)?;
        if let Some(step) = outcome::late(view)? {
            return Ok(step);
        }
        none_pending(view, listed)?;
        newest = listed.jobs.iter().filter_map(|job| job.create_time).max();
    }
    let unconfirmed = view.state.ledger.job.as_ref().filter(|job| job.unconfirmed);
    if !view.resource.finalizer {
        return Ok(Step::AddFinalizer);
    }
    let job = Job {
        operation,
        generation: view.resource.generation,
        attempt: view.next_attempt(),
        failures: view.failures(operation),
        request_time: view.now_seconds(),
        after: unconfirmed.map_or(newest, |job| job.after),
        unconfirmed: unconfirmed.is_some(),
        id: None,
        backend_environment_name: None,
        status: None,
        finish_time: None,
        error: None,
    };
    Ok(intend(view, job, hash))
}

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

/// The intent of this pass is stored: send it, unless it has grown old.
pub(super) fn send(view: &View<'_>, job: &Job) -> Step {
    if timing::is_past(job.request_time, timing::SEND_WITHIN, view.now) {
        let job = Job {
            request_time: view.now_seconds(),
            ..job.clone()
        };
        return intend(view, job, view.state.hashes.sent.clone());
    }
    Step::Send(Write::Create)
}

/// What the reply to the write of this pass leads to.
pub(super) fn after_send(view: &View<'_>, reply: &Reply) -> Flow {
    if let Some(job) = view.state.ledger.job.as_ref().filter(|job| job.is_open_intent()) {
        return after_create(view, job, reply);
    }
    let operation = if view.resource.deleting {
        view.resource.create.counterpart()
    } else {
        Operation::UpdateBackendApi
    };
    if let Some(step) = joined(view, operation, reply)? {
        return Ok(step);
    }
    Ok(if view.resource.deleting {
        delete::after_delete(view, reply)
    } else {
        after_update(view, reply)
    })
}

fn after_create(view: &View<'_>, job: &Job, reply: &Reply) -> Flow {
    if let Some(accepted) = accepted(view, job.clone(), reply) {
        return Ok(record_accepted(view, accepted, Some(view.resource.origin())));
    }
    match reply {
        Reply::Done => Ok(outcome::done(view, job)),
        Reply::Failed(failure) if failure.sent != Sent::Unknown => {
            let doubtful = job.unconfirmed
                && failure.sent == Sent::Refused
                && matches!(failure.class, Class::BadRequest | Class::Pending);
            if doubtful {
                // It may refuse because the earlier attempt was accepted: look and list before believing it.
                if let Some(step) = outcome::found(view, job)? {
                    return Ok(step);
                }
                if looked(view, Purpose::Outcome)?.seen.is_some() {
                    return Ok(outcome::made_by_another(view, job));
                }
            }
            Ok(refused(view, job, failure))
        }
        Reply::Failed(failure) => Ok(unknown(view, failure)),
        Reply::Job { .. } | Reply::Absent => Ok(unknown(view, &no_job_id(job.operation))),
    }
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
pub(super) fn record_accepted(view: &View<'_>, job: Job, origin: Option<crate::api::Origin>) -> Step {
    let mut state = view.state.clone();
    let say = Say::working(working_reason(job.operation), working_message(&job));
    state.ledger.origin = origin.or(state.ledger.origin);
    state = view.say(state, say);
    state.ledger.job = Some(job);
    Step::RecordAccepted(Box::new(state))
}

/// The intent was certainly not carried out: close it, and try again by the failure's class.
fn refused(view: &View<'_>, job: &Job, failure: &Failure) -> Step {
    let mut state = view.state.clone();
    state.ledger.job = Some(closed(view, job.clone(), failure));
    failed(view, state, failure)
}

/// A write that ended without a job.
pub(super) fn closed(view: &View<'_>, job: Job, failure: &Failure) -> Job {
    Job {
        finish_time: Some(view.now_seconds()),
        error: Some(failure.message.clone()),
        ..job
    }
}

/// Nobody knows whether AWS carried it out: keep the intent open and find out by reads.
fn unknown(view: &View<'_>, failure: &Failure) -> Step {
    let message = format!(
        "the outcome of a request to AWS is not known yet and is being found out: {}",
        failure.message
    );
    Step::Settle {
        state: Box::new(view.stored(Say::working(Reason::AwsUnavailable, message))),
        wake: super::Wake::At(timing::after(view.now, timing::backoff(5.0, 5.0, 0, view.jitter))),
        retry: true,
    }
}

fn no_job_id(operation: Operation) -> Failure {
    Failure {
        class: Class::Unavailable,
        sent: Sent::Unknown,
        message: format!("AWS answered {operation} without a job id"),
    }
}

/// An update needs no intent: it is repeated only after a look that shows it missing.
pub(super) fn update(view: &View<'_>) -> Flow {
    backed_off(view, Operation::UpdateBackendApi)?;
    possible(view)?;
    configured(view)?;
    free(view, Operation::UpdateBackendApi)?;
    Ok(Step::Send(Write::Update))
}

/// AWS refuses an update or delete because a job is pending. If that job is of the same operation, it is one whose reply
/// was lost (or somebody did the same by hand): follow it. Not where that is in doubt, since the end of a deletion is
/// believed: a job does not say which API of the environment it deletes, and the list of a clone holds its source's too.
fn joined(view: &View<'_>, operation: Operation, reply: &Reply) -> Flow<Option<Step>> {
    let is_pending = matches!(reply, Reply::Failed(failure) if failure.class == Class::Pending);
    let in_doubt = operation.is_delete()
        && (operation == Operation::DeleteBackendApi || view.resource.create == Operation::CloneBackend);
    if !is_pending || in_doubt {
        return Ok(None);
    }
    let jobs = &listed(view, Purpose::Outcome)?.jobs;
    let same = jobs
        .iter()
        .filter(|seen| seen.operation == operation.name() && !seen.is_terminal());
    Ok(newest(same).map(|seen| {
        let job = Job {
            id: Some(seen.id.clone()),
            backend_environment_name: Some(seen.environment.clone()),
            status: Some(seen.status.clone()),
            ..unintended(view, operation)
        };
        record_accepted(view, job, None)
    }))
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

fn after_update(view: &View<'_>, reply: &Reply) -> Step {
    let job = unintended(view, Operation::UpdateBackendApi);
    if let Some(job) = accepted(view, job.clone(), reply) {
        let config = view.known.config.as_ref().and_then(|config| config.as_ref().ok());
        let mut state = view.state.clone();
        state.hashes.sent = config.map(|config| config.hash.clone());
        // What AWS shows after its own job is the new normal; only a later change is drift.
        state.hashes.echoed = None;
        return record_accepted(&view.with_state(&state), job, None);
    }
    match reply {
        Reply::Failed(failure) if failure.class == Class::NotFound => {
            // Gone since it was looked at: look again.
            let failure = Failure {
                class: Class::Unavailable,
                ..failure.clone()
            };
            closed_unintended(view, job, &failure)
        }
        Reply::Failed(failure) => closed_unintended(view, job, failure),
        Reply::Job { .. } | Reply::Done | Reply::Absent => {
            let failure = no_job_id(job.operation);
            closed_unintended(view, job, &failure)
        }
    }
}

/// An update or delete that gave no job: it is tried again after a look.
pub(super) fn closed_unintended(view: &View<'_>, job: Job, failure: &Failure) -> Step {
    let mut state = view.state.clone();
    state.ledger.job = Some(closed(view, job, failure));
    report::failed(view, state, failure)
}

/// Whether the status that this pass has just recorded came with the job's id, so that polling can wait.
pub(super) fn has_just_recorded(view: &View<'_>) -> bool {
    view.known.sending == Sending::Recorded && view.known.poll.is_none()
}

/// The newest of these jobs.
pub(super) fn newest<'a>(jobs: impl Iterator<Item = &'a JobSeen>) -> Option<&'a JobSeen> {
    jobs.max_by_key(|job| job.create_time)
}
