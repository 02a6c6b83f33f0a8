//! What a decision needs before it can be made: a look, a list, the slot, a reference. `Err` names the step that gets it, or
//! how the resource waits where that is not to be had now.

use super::{
    Flow, Purpose, Step, Wake,
    report::{self, Say, read_failed, working_message, working_reason},
    timing,
    view::{Listed, Looked, Slot, View},
};
use crate::api::{Operation, conditions::Reason};

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
        return Err(Step::settle(view.stored(say), Wake::Never));
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
            "{operation} failed, after {failures} of {failures} tries: {error}; edit the spec, or set the annotation {} to a new value to try again",
            crate::api::RECONCILE_REQUESTED_AT
        );
        return Err(Step::settle(
            view.stored(Say::stalled(Reason::JobFailed, message)),
            Wake::Never,
        ));
    }
    let due = timing::after(job.finish_time.unwrap_or(view.now), timing::job_backoff(failures));
    if view.now < due {
        let say = Say::working(working_reason(operation), working_message(job));
        return Err(Step::settle(view.stored(say), Wake::At(due)));
    }
    Ok(())
}

/// A 404 is believed only some time after the end of the job that made the object: AWS may show it late.
pub(super) fn absence_in_doubt(view: &View<'_>) -> Option<Step> {
    let job = view.state.ledger.job.as_ref()?;
    let finished = job
        .finish_time
        .filter(|_| !job.operation.is_delete() && !job.has_failed())?;
    let believed = timing::after(finished, view.settings.absence_grace);
    if view.known.look.as_ref().map_or(view.now, |looked| looked.at) >= believed {
        return None;
    }
    let state = if view.resource.deleting || view.is_ready() && !view.is_edited() {
        view.state.clone()
    } else {
        let message = format!("{}; AWS does not show the object yet", working_message(job));
        view.stored(Say::working(working_reason(job.operation), message))
    };
    let delay = timing::backoff(5.0, 30.0, view.memory.tries, view.jitter);
    Some(Step::retry(
        state,
        timing::after(view.now, delay).min(believed.max(view.now)),
    ))
}
