//! A write whose outcome is unknown: the call timed out, or the process died. The outcome is found by reads, never by
//! sending again.
//!
//! A request whose outcome is unknown may still be on its way. Therefore, after a create, an update or a delete,
//! nothing else is sent and the finalizer stays, until a look and a list made `outcome_grace` after the request.

use jiff::Timestamp;

use super::{
    Flow, Sending, Step, Wake,
    facts::JobSeen,
    migration,
    needs::{absence_in_doubt, configured, listed, looked, none_pending, pending, possible, slot, unbarred},
    record::{intend, newest, record_claimed},
    report::{Say, account_is_there, suspension, working_message, working_reason},
    step::Purpose,
    timing,
    view::{Seen, View},
};
use crate::api::{Job, conditions::Reason};

/// Returns the earliest time, by AWS's clock, at which this intent or an earlier one since `after` can have made
/// anything.
pub(super) fn earliest(job: &Job) -> Timestamp {
    job.after.unwrap_or_else(|| {
        job.request_time
            .saturating_sub(timing::CLOCK_SKEW)
            .unwrap_or(job.request_time)
    })
}

/// Whether AWS can have made something at this time (by its own clock) because of this intent, or of an earlier one
/// since `after`. Anything made later than a request can take is somebody else's.
fn is_of_its_time(view: &View<'_>, job: &Job, created: Timestamp) -> bool {
    let longest = view.settings.outcome_grace.max(timing::CALL_WITHIN);
    let latest = timing::after(timing::after(job.request_time, longest), timing::SEND_WITHIN);
    // After an intent is closed, other resources of this operator may work in the environment.
    let latest = job.finish_time.map_or(latest, |closed| closed.min(latest));
    let is_late_enough = match job.after {
        // For a job: `after` is the time of the newest earlier job.
        Some(after) if job.operation.has_job() => created > after,
        _ => created >= earliest(job),
    };
    is_late_enough && created <= latest
}

/// Returns the job that this intent started: the newest one of its operation that AWS created when this intent can have
/// started it, and that no other resource has recorded. Jobs do not name the object that they make, and after an
/// attempt is closed, other resources may work. A job without a time proves nothing.
pub(super) fn ours<'a>(view: &View<'_>, job: &Job, jobs: &'a [JobSeen]) -> Option<&'a JobSeen> {
    newest(jobs.iter().filter(|seen| {
        seen.operation == job.operation.name()
            && !seen.id.is_empty()
            && !view.surroundings.jobs_of_others.contains(&seen.id)
            && seen
                .create_time
                .is_some_and(|created| is_of_its_time(view, job, created))
    }))
}

/// Records this job as the intent's.
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
    record_claimed(view, job)
}

/// Returns the step that records this intent's job or object, if the list or the look shows it.
pub(super) fn found(view: &View<'_>, job: &Job) -> Flow<Option<Step>> {
    if job.operation.has_job() {
        let listed = listed(view, Purpose::Outcome)?;
        return Ok(ours(view, job, &listed.jobs).map(|seen| claim(view, job, seen)));
    }
    let looked = looked(view, Purpose::Outcome)?;
    let is_ours = looked.seen.as_ref().is_some_and(|seen| is_made_by(view, job, seen));
    Ok(is_ours.then(|| done(view, job)))
}

/// Whether this intent made the object that AWS shows. For kinds without jobs.
pub(super) fn is_made_by(view: &View<'_>, job: &Job, seen: &Seen) -> bool {
    let is_of_its_time = |created| is_of_its_time(view, job, created);
    seen.differs.is_empty() && seen.create_time.is_some_and(is_of_its_time)
}

/// Records that AWS did the work at once, without a job.
pub(super) fn done(view: &View<'_>, job: &Job) -> Step {
    let mut state = view.state.clone();
    state.ledger.origin = Some(view.resource.abilities.origin);
    state.ledger.job = Some(Job {
        finish_time: Some(view.now_seconds()),
        failures: 0,
        unconfirmed: false,
        error: None,
        ..job.clone()
    });
    let say = if view.resource.deleting {
        Say::working(Reason::Deleting, "the create has ended; deletion goes on")
    } else {
        view.available(&state)
    };
    Step::RecordAccepted(Box::new(view.say(state, say)))
}

/// Records an attempt that was closed with an unknown outcome and shows up late. Takes the slot first: another resource
/// that holds the environment may have a listed job that it has not recorded yet.
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

/// Closes the intent: the AWS object is there, and neither look nor list shows that this intent made it.
pub(super) fn made_by_another(view: &View<'_>, job: &Job) -> Step {
    close(
        view,
        job,
        "the AWS object exists, but this attempt did not make it",
        false,
    )
}

/// Finds out the outcome of a write of another pass or another process.
pub(super) fn resolve(view: &View<'_>, job: &Job) -> Flow {
    account_is_there(view)?;
    if view.known.sending == Sending::Recorded {
        // This pass has just sent the write: AWS has had no time yet.
        return Ok(come_again(view, job));
    }
    if job.operation.is_create() {
        resolve_create(view, job)
    } else {
        resolve_change(view, job)
    }
}

fn resolve_create(view: &View<'_>, job: &Job) -> Flow {
    if let Some(step) = found(view, job)? {
        return Ok(step);
    }
    let looked = looked(view, Purpose::Outcome)?;
    let believed = believed_from(view, job);
    let listed_late = !job.operation.has_job() || listed(view, Purpose::Outcome)?.at >= believed;
    if looked.at < believed || !listed_late {
        return Ok(come_again(view, job));
    }
    if looked.seen.is_some() {
        return Ok(made_by_another(view, job));
    }
    let unwanted = view.resource.deleting
        || view.resource.suspend
        || view.resource.observe
        || view.surroundings.winner.is_some()
        || view.has_moved().is_some();
    if unwanted || possible(view).is_err() || unbarred(view).is_err() {
        return Ok(made_nothing(view, job));
    }
    if let Some(listed) = &view.known.jobs {
        // A pending job of another writer explains nothing and forbids a new attempt.
        none_pending(view, listed)?;
    }
    let hash = match configured(view) {
        Err(Step::Settle { .. }) => return Ok(made_nothing(view, job)),
        configured => configured?,
    };
    match migration::unlocked(view, job.operation) {
        Err(Step::Settle { .. }) => return Ok(made_nothing(view, job)),
        unlocked => unlocked?,
    }
    let failures = view.failures(job.operation, hash.as_deref());
    Ok(intend(
        view,
        Job {
            attempt: view.next_attempt(),
            generation: view.resource.generation,
            failures,
            config_hash: hash,
            request_time: view.now_seconds(),
            // Every attempt since the first may still show up.
            after: Some(earliest(job)),
            unconfirmed: true,
            ..job.clone()
        },
    ))
}

/// Finds out the outcome of an update or a delete. A pending job of the environment may be this write's, or may hide
/// it.
fn resolve_change(view: &View<'_>, job: &Job) -> Flow {
    let mut listed_late = true;
    let believed = believed_from(view, job);
    if job.operation.has_job() {
        let listed = listed(view, Purpose::Outcome)?;
        if pending(listed).is_some() && view.now < believed {
            return Ok(come_again(view, job));
        }
        // The job may be this attempt's, and it may hang. AWS answers, so the status says that the resource waits for a
        // job.
        none_pending(view, listed)?;
        listed_late = listed.at >= believed;
    }
    let looked = looked(view, Purpose::Outcome)?;
    if looked.at < believed || !listed_late {
        return Ok(come_again(view, job));
    }
    if job.operation.is_delete() && looked.seen.is_none() {
        return Ok(absence_in_doubt(view).unwrap_or(Step::Release));
    }
    Ok(close(
        view,
        job,
        "the outcome of this attempt is unknown, and AWS shows nothing of it any more",
        false,
    ))
}

/// Returns from when on a look and a list are believed that show nothing of this attempt.
fn believed_from(view: &View<'_>, job: &Job) -> Timestamp {
    timing::after(job.request_time, view.settings.outcome_grace)
}

/// Waits: the outcome is not known yet.
fn come_again(view: &View<'_>, job: &Job) -> Step {
    let believed = believed_from(view, job);
    let delay = timing::outcome_delay(view.now.duration_since(job.request_time), view.jitter);
    let due = timing::after(view.now, delay);
    let wake = if view.now < believed { due.min(believed) } else { due };
    let state = match view.reason() {
        // The account is back, and the status said nothing else.
        Some(Reason::AccountNotFound | Reason::AccountChanged) => {
            view.stored(Say::working(working_reason(job.operation), working_message(job)))
        }
        _ => view.state.clone(),
    };
    Step::Settle {
        state: Box::new(state),
        wake: Wake::At(wake),
        retry: true,
        waiting: None,
    }
}

/// Closes an intent of which AWS shows nothing, if a new attempt cannot be made now. The intent must not hold the
/// environment against the resources that the new attempt would wait for.
fn made_nothing(view: &View<'_>, job: &Job) -> Step {
    close(view, job, "AWS shows nothing of this attempt", true)
}

/// Closes an intent that made nothing.
fn close(view: &View<'_>, job: &Job, why: &str, unconfirmed: bool) -> Step {
    let mut state = view.state.clone();
    let job = Job {
        finish_time: Some(view.now_seconds()),
        error: Some(why.to_owned()),
        unconfirmed,
        after: if unconfirmed { Some(earliest(job)) } else { job.after },
        ..job.clone()
    };
    // Nothing is retried for a resource that is suspended or being deleted.
    let say = if view.resource.deleting {
        Say::working(
            Reason::Deleting,
            format!("{} has ended: {why}; deletion goes on", job.operation),
        )
    } else if view.resource.suspend {
        suspension(view)
    } else if view.resource.observe {
        Say::working(
            working_reason(job.operation),
            format!(
                "{} has ended: {why}; from now on the AWS object is only observed",
                job.operation
            ),
        )
    } else {
        Say::working(working_reason(job.operation), working_message(&job))
    };
    state = view.say(state, say);
    state.ledger.job = Some(job);
    Step::Record(Box::new(state))
}
