//! A job that AWS runs: polls it to its end, and handles the end.

use super::{
    Flow, Sending, Step, Wake, delete,
    facts::JobSeen,
    keep,
    needs::{listed, looked, read},
    outcome, record,
    report::{self, Say, account_is_there, suspended, working_message, working_reason},
    step::Purpose,
    timing,
    view::{Echo, Equality, Hashes, State, View},
};
use crate::api::{Job, conditions::Reason};

/// Follows a job that has an id and whose end has not been seen.
pub(super) fn follow(view: &View<'_>, job: &Job) -> Flow {
    if view.resource.suspend {
        return Ok(suspended(view));
    }
    account_is_there(view)?;
    // A job past its timeout may have been recorded late and have ended long ago: poll it at once.
    if has_just_recorded(view) && !has_timed_out(view, job) {
        return Ok(waiting(view, job));
    }
    let Some(poll) = &view.known.poll else {
        return Ok(read(view, Step::Poll));
    };
    match &poll.job {
        Some(seen) => shown(view, job, seen),
        None => vanished(view, job),
    }
}

/// Handles the job as AWS shows it.
fn shown(view: &View<'_>, job: &Job, seen: &JobSeen) -> Flow {
    if seen.is_terminal() {
        return ended(view, job, seen);
    }
    let job = Job {
        status: Some(seen.status.clone()),
        ..job.clone()
    };
    Ok(waiting(view, &job))
}

fn has_timed_out(view: &View<'_>, job: &Job) -> bool {
    view.now.duration_since(job.request_time) >= view.resource.timeout(view.settings)
}

/// Reports that the job is still running, and waits.
fn waiting(view: &View<'_>, job: &Job) -> Step {
    let timeout = view.resource.timeout(view.settings);
    let timed_out = has_timed_out(view, job);
    let id = report::shown_id(job);
    let say = if timed_out {
        let message = format!(
            "{} (job {id}) has not ended within {timeout:#}, and AWS cannot cancel a job: contact AWS Support with this job id. When the job ends, the operator goes on from there",
            job.operation
        );
        Say::stalled(Reason::JobTimedOut, message)
    } else if view.resource.deleting && !job.operation.is_delete() {
        Say::working(
            Reason::Deleting,
            format!("deletion waits for {} (job {id}) to end", job.operation),
        )
    } else {
        Say::working(working_reason(job.operation), working_message(job))
    };
    let mut state = view.state.clone();
    state.ledger.job = Some(job.clone());
    let state = view.say_for_job(state, say, job);
    let every = timing::poll_every(view.surroundings.polled, view.surroundings.rate);
    let due = timing::after(view.now, timing::poll_delay(every, timed_out, view.jitter));
    let deadline = timing::after(job.request_time, timeout);
    let wake = if timed_out { due } else { due.min(deadline) };
    Step::settle(state, Wake::At(wake))
}

impl View<'_> {
    /// Sets the conditions for the generation that the job carries out; during deletion, for the current generation.
    fn say_for_job(&self, state: State, say: Say, job: &Job) -> State {
        if self.resource.deleting || job.generation == self.resource.generation {
            self.say(state, say)
        } else {
            self.say_for(state, say, job.generation)
        }
    }
}

/// Handles the end of the job, as AWS reports it.
fn ended(view: &View<'_>, job: &Job, seen: &JobSeen) -> Flow {
    let completed = seen.status == Job::COMPLETED;
    let creates = job.operation.is_create();
    let shown = view.known.look.as_ref().is_some_and(|looked| looked.seen.is_some());
    let job = Job {
        status: Some(seen.status.clone()),
        finish_time: Some(view.now_seconds()),
        failures: if completed { 0 } else { job.failures.saturating_add(1) },
        unconfirmed: false,
        error: if completed {
            (creates && !shown).then(|| record::NOT_SHOWN.to_owned())
        } else {
            seen.error.clone()
        },
        ..job.clone()
    };
    let mut state = view.state.clone();
    if !completed && creates {
        let absent = looked(view, Purpose::Write)?.seen.is_none();
        // An object that existed before is not proved to be this resource's. It must not be deleted with the resource.
        if absent || seen.exists {
            state.ledger.origin = None;
        }
    }
    if view.resource.is_updatable() {
        if job.config_hash.is_none() {
            // An older version stored this job without the hash of its configuration.
            state.hashes = Hashes::default();
        } else if completed {
            let changed = changed_since(view, seen)?;
            if changed.is_some() {
                // AWS may now have another configuration than the one that the job carried.
                state.hashes.sent = None;
            }
            state.hashes.echoed = changed;
        }
    }
    state.ledger.job = Some(job);
    go_on(view, &state)
}

/// Returns the hash of AWS's echo, if somebody may have changed the object since this job ended. That is so if the job
/// ended long ago and the echo differs from the spec. Right after the end, a difference only shows how AWS writes the
/// configuration. The same holds if AWS showed the same echo when the same configuration was sent before.
fn changed_since(view: &View<'_>, seen: &JobSeen) -> Flow<Option<String>> {
    let is_past = |end| timing::is_past(end, timing::SEEN_WITHIN, view.now);
    if !seen.update_time.is_some_and(is_past) || view.resource.deleting {
        return Ok(None);
    }
    let shown = looked(view, Purpose::Write)?.seen.as_ref();
    let echo = shown.and_then(|shown| shown.echo.as_ref());
    let differs = echo.filter(|echo| echo.equality == Some(Equality::Different));
    let is_known = |echo: &&Echo| view.state.hashes.echoed.as_ref() == Some(&echo.hash);
    Ok(differs.filter(|echo| !is_known(echo)).map(|echo| echo.hash.clone()))
}

/// Returns the step of an idle or a deleted resource after this end. If that step leads to a write to AWS, the end is
/// stored first.
fn go_on(view: &View<'_>, state: &State) -> Flow {
    let after = view.with_state(state);
    let step = if view.resource.deleting {
        delete::delete(&after)
    } else if state
        .ledger
        .job
        .as_ref()
        .is_some_and(|job| job.generation != view.resource.generation)
    {
        // The edit made meanwhile is carried out next. Report Ready for the generation of this job first.
        looked(view, Purpose::Write)?;
        return Ok(Step::Record(Box::new(end_of(&after))));
    } else {
        keep::idle(&after)
    };
    match step {
        // The owner of another finalizer must see how the job ended. The last log line must show it too, if the policy
        // has changed while AWS deleted the object.
        Ok(Step::Release) if view.resource.held || is_unwanted_delete(&after) => {
            Ok(Step::Record(Box::new(end_of(&after))))
        }
        Ok(step) | Err(step) if writes_to_aws(&step) => Ok(Step::Record(Box::new(end_of(&after)))),
        step => step,
    }
}

fn is_unwanted_delete(view: &View<'_>) -> bool {
    let job = view.state.ledger.job.as_ref();
    job.is_some_and(|job| job.operation.is_delete()) && !delete::is_wanted(view)
}

const fn writes_to_aws(step: &Step) -> bool {
    matches!(
        step,
        Step::TakeSlot
            | Step::ReadLock(_)
            | Step::AddFinalizer
            | Step::Intend(_)
            | Step::Send(_)
            | Step::Record(_)
            | Step::ListJobs(_)
    )
}

/// Returns the status of a job that has ended, before the next step.
fn end_of(view: &View<'_>) -> State {
    let Some(job) = &view.state.ledger.job else {
        return view.state.clone();
    };
    let mut state = view.state.clone();
    let seen = view.known.look.as_ref().and_then(|looked| looked.seen.as_ref());
    // If a list was the only proof of the job, its configuration is unknown until AWS's echo is compared with the spec.
    let certain = !view.resource.is_updatable() || (job.config_hash.is_some() && job.config_hash == state.hashes.sent);
    // If the status already speaks of a newer generation, Ready for this one would look like Ready for the newer one.
    let is_newest_said = job.generation >= state.ledger.observed_generation;
    let say = if view.resource.deleting {
        Say::working(
            Reason::Deleting,
            format!("{} has ended; deletion goes on", job.operation),
        )
    } else if job.has_completed() && certain && is_newest_said && seen.is_some_and(|seen| seen.differs.is_empty()) {
        state.hashes.echoed = seen.and_then(|seen| seen.echo.as_ref()).map(|echo| echo.hash.clone());
        view.available(&state)
    } else {
        Say::working(working_reason(job.operation), working_message(job))
    };
    view.say_for_job(state, say, job)
}

/// Handles a job that AWS no longer knows: its outcome is unknown.
fn vanished(view: &View<'_>, job: &Job) -> Flow {
    let listed = listed(view, Purpose::Outcome)?;
    if let Some(same) = listed.jobs.iter().find(|seen| Some(&seen.id) == job.id.as_ref()) {
        return shown(view, job, same);
    }
    if job.operation.is_create()
        && let Some(seen) = outcome::ours(view, job, &listed.jobs)
    {
        return Ok(outcome::claim(view, job, seen));
    }
    let looked = looked(view, Purpose::Outcome)?;
    let believed = timing::after(job.request_time, view.settings.outcome_grace);
    if looked.at < believed || listed.at < believed {
        return Ok(waiting(view, job));
    }
    let mut state = view.state.clone();
    if job.operation.is_create() && looked.seen.is_none() {
        state.ledger.origin = None;
    }
    if job.config_hash.is_some() {
        // The configuration that AWS has is unknown.
        state.hashes = Hashes::default();
    }
    let id = report::shown_id(job);
    state.ledger.job = Some(Job {
        finish_time: Some(view.now_seconds()),
        error: Some(format!("AWS no longer knows the job {id}")),
        unconfirmed: job.operation.is_create() && looked.seen.is_none(),
        ..job.clone()
    });
    go_on(view, &state)
}

/// Whether this pass has just recorded the job's id and has not polled the job: polling can wait.
fn has_just_recorded(view: &View<'_>) -> bool {
    view.known.sending == Sending::Recorded && view.known.poll.is_none()
}
