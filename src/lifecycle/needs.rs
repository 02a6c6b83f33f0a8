//! The requirements of a decision: a look, a list, the slot, a reference. `Err` is the step that obtains it, or the
//! status to wait with if it cannot be obtained now.

use jiff::Timestamp;

use super::{
    Flow, Step, Wake,
    facts::JobSeen,
    report::{self, Say, advice, read_failed, working_message, working_reason},
    step::Purpose,
    timing,
    view::{Bar, Lack, Listed, Looked, Missing, Patience, Slot, View},
};
use crate::api::{Job, Operation, Origin, conditions::Reason};

/// Returns the AWS object as this pass has seen it. Its echo can only be compared with a resolved configuration. A look
/// without one still shows whether the object is there, which is enough for a deletion.
pub(super) fn looked<'a>(view: &View<'a>, purpose: Purpose) -> Flow<&'a Looked> {
    if view.resource.is_updatable() && !view.resource.deleting && view.known.config.is_none() {
        return Err(Step::Resolve);
    }
    view.known.look.as_ref().ok_or_else(|| read(view, Step::Look(purpose)))
}

/// Returns the environment's jobs, as listed in this pass.
pub(super) fn listed<'a>(view: &View<'a>, purpose: Purpose) -> Flow<&'a Listed> {
    view.known
        .jobs
        .as_ref()
        .ok_or_else(|| read(view, Step::ListJobs(purpose)))
}

/// Returns this read. If a read has failed in this pass, returns how to report the failure.
pub(super) fn read(view: &View<'_>, step: Step) -> Step {
    match &view.known.failed {
        Some(failure) => read_failed(view, failure),
        None => step,
    }
}

/// Returns the hash of the configuration to send, for kinds that have one.
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

/// Waits for a reference of a create or update. A ConfigMap is not watched, so it is read again.
pub(super) fn dependency_not_ready(view: &View<'_>, missing: &Missing) -> Step {
    let waiting = match missing.lack {
        Lack::Absent | Lack::Unusable => Some(Patience::Reference),
        Lack::NotReady => None,
    };
    let due = timing::after(view.now, timing::backoff(5.0, 60.0, view.memory.tries, view.jitter));
    report::wait(
        view,
        view.state.clone(),
        Reason::DependencyNotReady,
        &missing.message,
        waiting,
        due,
    )
}

/// Requires that the spec can be carried out and that its references are Ready.
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

/// Requires that AWS shows nothing that prevents making the object.
pub(super) fn unbarred(view: &View<'_>) -> Flow<()> {
    match view.known.look.as_ref().and_then(|looked| looked.bar.as_ref()) {
        None => Ok(()),
        Some(Bar::Named(name)) => {
            let message = format!(
                "the environment already has one, under the name {}, and AWS allows only one: to take it over, delete this resource and apply a resource with that name (amplify-operator import writes it) and adoptionPolicy: IfExists; or remove it from AWS. Deleting this resource deletes nothing in AWS",
                report::shown_name(name)
            );
            let say = Say::stalled(Reason::AlreadyExists, message);
            Err(Step::settle(view.stored(say), view.check_after_now()))
        }
        // Somebody must add it in AWS. Each look for it costs calls that others need.
        Some(Bar::Lacks) => {
            let due = timing::backoff(30.0, 3600.0, view.memory.tries, view.jitter);
            Err(report::wait(
                view,
                view.state.clone(),
                Reason::DependencyNotReady,
                view.resource.words.lacks,
                Some(Patience::Reference),
                timing::after(view.now, due),
            ))
        }
    }
}

/// Requires that the resource holds the environment's slot; otherwise the resource waits.
pub(super) fn slot(view: &View<'_>) -> Flow<()> {
    match &view.known.slot {
        None => Err(Step::TakeSlot),
        Some(Slot::Held) => Ok(()),
        Some(Slot::Busy) => Err(waiting_for_job(view)),
    }
}

/// Waits for the end of another job. The message names neither the holder of the slot nor its job: each change of these
/// would be a write by every resource that waits.
fn waiting_for_job(view: &View<'_>) -> Step {
    let message = "another job holds this backend environment: AWS runs one job at a time, and this resource goes on when that job has ended";
    let wait = timing::backoff(15.0, 60.0, view.memory.tries, view.jitter);
    Step::retry(
        view.stored(Say::working(Reason::WaitingForJob, message)),
        timing::after(view.now, wait),
    )
}

/// Returns a job that is still running.
pub(super) fn pending(listed: &Listed) -> Option<&JobSeen> {
    listed.jobs.iter().find(|job| !job.is_terminal())
}

/// Requires that none of these jobs is still running; otherwise the resource waits.
pub(super) fn none_pending(view: &View<'_>, listed: &Listed) -> Flow<()> {
    match pending(listed) {
        None => Ok(()),
        Some(_) => Err(waiting_for_job(view)),
    }
}

/// Requires that the environment is free for an update or delete. If AWS refused a write because of a pending job, a
/// list must show that no job is pending before the write is sent again. A process that has not yet seen the jobs lists
/// them first, because an earlier process may have started one.
pub(super) fn free(view: &View<'_>, operation: Operation) -> Flow<()> {
    slot(view)?;
    let unsure = view.reason() == Some(Reason::WaitingForJob) || !view.memory.listed || view.known.jobs.is_some();
    if operation.has_job() && unsure {
        none_pending(view, listed(view, Purpose::Write)?)?;
    }
    Ok(())
}

/// Returns the write that was given up, as the status shows: AWS refused it as wrong, or its jobs failed too often.
fn latched<'a>(view: &View<'a>) -> Option<&'a Job> {
    let ledger = &view.state.ledger;
    let generation = view.resource.generation;
    let job = ledger.job.as_ref().filter(|job| job.generation == generation)?;
    let is_given_up = match view.reason() {
        Some(Reason::JobFailed) => job.has_failed(),
        Some(Reason::InvalidSpec) => view.tells_why(job),
        _ => false,
    };
    let holds = is_given_up && view.is_stalled() && ledger.observed_generation == generation && !view.is_requested();
    holds.then_some(job)
}

/// Waits for the next check if a write was given up. It is looked at once per drift interval, because a person may have
/// fixed the cause in AWS or in a ConfigMap.
pub(super) fn rests(view: &View<'_>) -> Flow<()> {
    let has_begun = view.known.look.is_some() || view.known.config.is_some() || view.known.failed.is_some();
    let due = view.next_check();
    if latched(view).is_some() && !has_begun && view.now < due {
        return Err(Step::settle(view.state.clone(), Wake::At(due)));
    }
    Ok(())
}

/// Does not send a write again that AWS refused as wrong, before the spec or the configuration changes or somebody
/// requests it.
pub(super) fn given_up(view: &View<'_>, operation: Operation) -> Flow<()> {
    let Some(job) = latched(view).filter(|job| job.operation == operation && !job.has_failed()) else {
        return Ok(());
    };
    if let (false, true, Some(refused)) = (operation.is_delete(), view.resource.is_updatable(), &job.config_hash) {
        match &view.known.config {
            None => return Err(Step::Resolve),
            Some(Ok(config)) if config.hash != *refused => return Ok(()),
            Some(_) => {}
        }
    }
    Err(Step::settle(view.state.clone(), view.check_after_now()))
}

/// Requires the same as [`possible`]. A write that was given up keeps its status until a reference can change that.
pub(super) fn possible_or_given_up(view: &View<'_>) -> Flow<()> {
    possible(view).map_err(|step| match latched(view) {
        None => step,
        Some(_) => Step::settle(view.state.clone(), view.check_after_now()),
    })
}

/// Waits after failed jobs of this operation in a row, or gives up after too many. A write that AWS refused meanwhile
/// waits by the class of the refusal.
pub(super) fn backed_off(view: &View<'_>, operation: Operation, hash: Option<&str>) -> Flow<()> {
    let failures = view.failures(operation, hash);
    let job = view.state.ledger.job.as_ref();
    let Some(job) = job.filter(|job| failures > 0 && job.has_failed()) else {
        return Ok(());
    };
    if failures >= view.settings.max_job_attempts {
        let error = job.error.as_deref().unwrap_or(report::NO_REASON);
        let times = if failures == 1 {
            String::new()
        } else {
            format!(" {failures} times in a row")
        };
        let text = format!("{operation} failed{times}: {error}");
        let say = Say::stalled(Reason::JobFailed, report::with_advice(&text, advice(operation)));
        return Err(Step::settle(view.stored(say), view.check_after_now()));
    }
    let due = timing::after(job.finish_time.unwrap_or(view.now), timing::job_backoff(failures));
    // A clock that was set back must not lengthen the wait.
    let has_run_back = job.finish_time.is_some_and(|finish| view.now < finish);
    if view.now < due && !has_run_back {
        let say = Say::working(working_reason(operation), working_message(job));
        return Err(Step::settle(view.stored(say), Wake::At(due)));
    }
    Ok(())
}

/// Returns when the job ended that gave the object its present state, as far as that is known.
pub(super) fn made(job: &Job) -> Option<Timestamp> {
    if job.operation.is_create() {
        job.finish_time.filter(|_| !job.has_failed())
    } else if job.operation.is_update() {
        job.finish_time.filter(|_| job.has_completed()).or(job.after)
    } else {
        job.after
    }
}

/// Waits if AWS may show the object late: a 404 is believed only some time after the end of the job that made the
/// object.
pub(super) fn absence_in_doubt(view: &View<'_>) -> Option<Step> {
    let job = view.state.ledger.job.as_ref()?;
    let finished = made(job)?;
    let believed = timing::after(finished, view.settings.absence_grace);
    if view.known.look.as_ref().map_or(view.now, |looked| looked.at) >= believed {
        return None;
    }
    let operation = job.operation;
    let state = if view.resource.deleting {
        let message = format!(
            "AWS does not show the object, but may show it late: the job that created or changed it ended less than {:#} ago. Deletion goes on after that time",
            view.settings.absence_grace
        );
        view.stored(Say::working(Reason::Deleting, message))
    } else if view.is_ready() && !view.is_edited() {
        view.state.clone()
    } else {
        let message = report::with_advice(&working_message(job), "AWS does not show the object yet");
        view.stored(Say::working(working_reason(operation), message))
    };
    let delay = timing::backoff(5.0, 30.0, view.memory.tries, view.jitter);
    Some(Step::retry(
        state,
        timing::after(view.now, delay).min(believed.max(view.now)),
    ))
}

/// Requires that the region is still the pinned one.
pub(super) fn stays_put(view: &View<'_>) -> Flow<()> {
    match view.has_moved() {
        Some((pinned, wanted)) => Err(moved(view, pinned, wanted)),
        None => Ok(()),
    }
}

/// Reports that the region that spec, account entry or operator name now is not the region of the object.
fn moved(view: &View<'_>, pinned: &str, wanted: &str) -> Step {
    let message = if view.state.ledger.origin.is_some() {
        format!(
            "the AWS object is in {pinned}, but the region of this resource (spec, account entry or operator) is now {wanted}: change the region back. To have another object in {wanted}, set deletionPolicy: Retain (otherwise deleting this resource deletes the object in {pinned}), delete this resource and apply it again"
        )
    } else {
        format!(
            "a create was sent to {pinned} and its outcome is unknown, but the region of this resource (spec, account entry or operator) is now {wanted}: check in AWS whether the object is in {pinned}, and change the region back; or delete this resource, which deletes nothing in AWS, and apply it again"
        )
    };
    Step::settle(view.stored(Say::stalled(Reason::AccountChanged, message)), Wake::Never)
}

/// Requires that the object is not a remainder of a failed create of this resource.
pub(super) fn made_whole(view: &View<'_>) -> Flow<()> {
    let ledger = &view.state.ledger;
    let is_made = ledger.origin.is_some_and(|origin| origin != Origin::Adopted);
    let failed = |job: &&Job| is_made && job.operation.is_create() && job.has_failed();
    let Some(job) = ledger.job.as_ref().filter(failed) else {
        return Ok(());
    };
    let error = job.error.as_deref().unwrap_or(report::NO_REASON);
    let message = report::with_advice(
        &format!("{} failed and left something behind: {error}", job.operation),
        "delete this resource and apply it again, or remove the AWS object by hand",
    );
    let say = Say::stalled(Reason::JobFailed, message);
    Err(Step::settle(view.stored(say), view.check_after_now()))
}
