//! An intent whose outcome is unknown: the call timed out, or the process died. Found out by reads, never by sending.

use super::{
    Flow, Purpose, Step,
    facts::JobSeen,
    needs::{configured, listed, looked, none_pending, possible, slot},
    record::{intend, newest, record_accepted},
    report::{Say, account_is_there, working_message, working_reason},
    timing,
    view::View,
};
use crate::api::{Job, conditions::Reason};

/// The job that this intent started: the newest of its operation that AWS created later than `after`, and that no other
/// resource has recorded. Jobs do not say what they make, and an attempt that was closed has let others work meanwhile.
pub(super) fn ours<'a>(view: &View<'_>, job: &Job, jobs: &'a [JobSeen]) -> Option<&'a JobSeen> {
    newest(jobs.iter().filter(|seen| {
        seen.operation == job.operation.name()
            && !view.surroundings.jobs_of_others.contains(&seen.id)
            && match (seen.create_time, job.after) {
                (Some(created), Some(after)) => created > after,
                (_, None) => true,
                (None, Some(_)) => false,
            }
    }))
}

/// Record this job as the intent's.
pub(super) fn claim(view: &View<'_>, job: &Job, seen: &JobSeen) -> Step {
    let job = Job {
        id: Some(seen.id.clone()),
        backend_environment_name: Some(seen.environment.clone()),
        status: Some(seen.status.clone()),
        unconfirmed: false,
        finish_time: None,
        error: None,
        ..job.clone()
    };
    record_accepted(view, job, Some(view.resource.origin()))
}

/// What look and list show of this intent, if anything.
pub(super) fn found(view: &View<'_>, job: &Job) -> Flow<Option<Step>> {
    if job.operation.has_job() {
        let listed = listed(view, Purpose::Outcome)?;
        return Ok(ours(view, job, &listed.jobs).map(|seen| claim(view, job, seen)));
    }
    let looked = looked(view, Purpose::Outcome)?;
    let earliest = job
        .request_time
        .saturating_sub(timing::CLOCK_SKEW)
        .unwrap_or(job.request_time);
    let is_ours = looked
        .seen
        .as_ref()
        .is_some_and(|seen| seen.differs.is_empty() && seen.create_time.is_some_and(|created| created >= earliest));
    Ok(is_ours.then(|| done(view, job)))
}

/// AWS did it at once, without a job.
pub(super) fn done(view: &View<'_>, job: &Job) -> Step {
    let mut state = view.state.clone();
    state.ledger.origin = Some(view.resource.origin());
    state.ledger.job = Some(Job {
        finish_time: Some(view.now_seconds()),
        failures: 0,
        unconfirmed: false,
        error: None,
        ..job.clone()
    });
    let say = view.available(&state);
    Step::RecordAccepted(Box::new(view.say(state, say)))
}

/// An attempt that was closed while nobody knew its outcome, and that shows up late. While another resource holds the
/// environment, its job may be listed before it is recorded.
pub(super) fn late(view: &View<'_>) -> Flow<Option<Step>> {
    let job = view.state.ledger.job.as_ref();
    let Some(job) = job.filter(|job| job.unconfirmed && job.operation.is_create()) else {
        return Ok(None);
    };
    if job.operation.has_job() {
        slot(view)?;
    }
    found(view, job)
}

/// The AWS object is there, and neither look nor list shows that it is this intent's.
pub(super) fn made_by_another(view: &View<'_>, job: &Job) -> Step {
    close(
        view,
        job,
        "the AWS object exists, but this attempt did not make it",
        false,
    )
}

/// An open intent of another pass or another process.
pub(super) fn resolve(view: &View<'_>, job: &Job) -> Flow {
    account_is_there(view)?;
    if let Some(step) = found(view, job)? {
        return Ok(step);
    }
    let looked = looked(view, Purpose::Outcome)?;
    let believed = timing::after(job.request_time, view.settings.outcome_grace);
    let listed_late = !job.operation.has_job() || listed(view, Purpose::Outcome)?.at >= believed;
    if looked.at < believed || !listed_late {
        let delay = timing::poll_delay(view.now.duration_since(job.request_time), false, view.jitter);
        let wake = timing::after(view.now, delay).min(believed.max(view.now));
        let state = match view.reason() {
            // The account is back, and that is all that this said.
            Some(Reason::AccountNotFound | Reason::AccountChanged) => {
                view.stored(Say::working(working_reason(job.operation), working_message(job)))
            }
            _ => view.state.clone(),
        };
        return Ok(Step::Settle {
            state: Box::new(state),
            wake: super::Wake::At(wake),
            retry: true,
        });
    }
    if looked.seen.is_some() {
        return Ok(made_by_another(view, job));
    }
    let unwanted = view.resource.deleting || view.resource.suspend || view.surroundings.winner.is_some();
    if unwanted || possible(view).is_err() {
        return Ok(made_nothing(view, job));
    }
    if let Some(listed) = &view.known.jobs {
        // A pending job of somebody else explains nothing and forbids a new attempt.
        none_pending(view, listed)?;
    }
    let hash = match configured(view) {
        Err(Step::Settle { .. }) => return Ok(made_nothing(view, job)),
        configured => configured?,
    };
    Ok(intend(
        view,
        Job {
            attempt: view.next_attempt(),
            generation: view.resource.generation,
            failures: view.failures(job.operation),
            request_time: view.now_seconds(),
            unconfirmed: true,
            ..job.clone()
        },
        hash,
    ))
}

/// AWS shows nothing of this intent, and a new attempt cannot be made now: it must not keep the environment from those
/// that it would wait for.
fn made_nothing(view: &View<'_>, job: &Job) -> Step {
    close(view, job, "AWS shows nothing of this attempt", true)
}

/// Close an intent that made nothing.
fn close(view: &View<'_>, job: &Job, why: &str, unconfirmed: bool) -> Step {
    let mut state = view.state.clone();
    let job = Job {
        finish_time: Some(view.now_seconds()),
        error: Some(why.to_owned()),
        unconfirmed,
        ..job.clone()
    };
    let say = Say::working(working_reason(job.operation), working_message(&job));
    state = view.say(state, say);
    state.ledger.job = Some(job);
    Step::Record(Box::new(state))
}
