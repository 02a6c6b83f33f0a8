//! Create once: slot, list, finalizer, intent, send; then the reply.

use jiff::Timestamp;

use super::{
    Flow, Reply, Step, Wake, Write,
    facts::{Class, Failure, Sent, says_exists},
    migration,
    needs::{backed_off, configured, given_up, listed, looked, none_pending, possible, slot, unbarred},
    outcome,
    record::{accepted, closed, intend, no_job_id, record_accepted},
    report::{NOT_OURS, Say, failed, outcome_unknown, with_advice, working_reason},
    step::Purpose,
    timing,
    view::View,
};
use crate::api::{Job, conditions::Reason};

/// Creates the AWS object, which is absent.
pub(super) fn create(view: &View<'_>) -> Flow {
    let operation = view.resource.abilities.create;
    given_up(view, operation)?;
    possible(view)?;
    unbarred(view)?;
    let hash = configured(view)?;
    let is_in_doubt = view.state.ledger.job.as_ref().is_some_and(|job| job.unconfirmed);
    if view.state.ledger.migration_locked_at.is_some() && !is_in_doubt {
        // It waits for the end of the lock, and for nothing that others do.
        migration::unlocked(view, operation)?;
    }
    backed_off(view, operation, hash.as_deref())?;
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
    migration::unlocked(view, operation)?;
    let unconfirmed = view.state.ledger.job.as_ref().filter(|job| job.unconfirmed);
    if !view.resource.finalizer {
        return Ok(Step::AddFinalizer);
    }
    let job = Job {
        operation,
        generation: view.resource.generation,
        attempt: view.next_attempt(),
        failures: view.failures(operation, hash.as_deref()),
        config_hash: hash,
        source_environment_name: view.surroundings.source.clone(),
        request_time: view.now_seconds(),
        after: unconfirmed.map_or(newest, |job| Some(outcome::earliest(job))),
        unconfirmed: unconfirmed.is_some(),
        id: None,
        backend_environment_name: None,
        status: None,
        finish_time: None,
        error: None,
    };
    Ok(intend(view, job))
}

/// Sends the intent that this pass has stored. Stores it again if it has grown too old, and closes it if the environment has
/// been locked meanwhile.
pub(super) fn send(view: &View<'_>, job: &Job) -> Flow {
    match migration::unlocked(view, job.operation) {
        Err(Step::Settle { .. }) => return Ok(not_sent(view, job)),
        unlocked => unlocked?,
    }
    if timing::is_past(job.request_time, timing::SEND_WITHIN, view.now) {
        let job = Job {
            request_time: view.now_seconds(),
            ..job.clone()
        };
        return Ok(intend(view, job));
    }
    Ok(Step::Send(Write::Create))
}

/// Closes an intent that was certainly not sent: the environment is locked, or whether it is cannot be read.
fn not_sent(view: &View<'_>, job: &Job) -> Step {
    let failure = Failure {
        class: Class::Unavailable,
        sent: Sent::Never,
        message: "the request was not sent, because the backend environment is locked for a Gen 2 migration, or its lock cannot be read"
            .to_owned(),
    };
    let mut state = view.state.clone();
    let job = closed(view, job.clone(), &failure);
    if !job.unconfirmed {
        // Nothing of this resource is there: a corrected account or region counts.
        state.ledger.account_id = None;
        state.ledger.region = None;
    }
    let say = Say::working(working_reason(job.operation), failure.message);
    state = view.say(state, say);
    state.ledger.job = Some(job);
    Step::Record(Box::new(state))
}

pub(super) fn after_create(view: &View<'_>, job: &Job, reply: &Reply) -> Flow {
    if let Some(accepted) = accepted(view, job.clone(), reply) {
        return Ok(record_accepted(view, accepted));
    }
    match reply {
        Reply::Done { asked, seen } => {
            // This answer may have corrected the clock. The request time is moved to fit the corrected clock.
            let asked = Timestamp::from_second(asked.as_second()).unwrap_or(*asked);
            let earliest = asked.saturating_sub(timing::SEND_WITHIN).unwrap_or(asked);
            let timely = Job {
                request_time: job.request_time.clamp(earliest, asked),
                ..job.clone()
            };
            Ok(if outcome::is_made_by(view, &timely, seen) {
                outcome::done(view, &timely)
            } else {
                // AWS says yes, but shows an object that existed before.
                outcome::made_by_another(view, job)
            })
        }
        Reply::Failed(failure) if failure.sent != Sent::Unknown => {
            let doubtful = job.unconfirmed
                && failure.sent == Sent::Refused
                && matches!(failure.class, Class::BadRequest | Class::Pending);
            if doubtful {
                // AWS may refuse because it accepted the earlier attempt: look and list before believing the refusal.
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

/// Closes an intent that was certainly not carried out. The class of the failure decides when to try again.
fn refused(view: &View<'_>, job: &Job, failure: &Failure) -> Step {
    let mut state = view.state.clone();
    state.ledger.job = Some(closed(view, job.clone(), failure));
    if !job.unconfirmed {
        // Nothing of this resource is in AWS: a corrected account or region takes effect.
        state.ledger.account_id = None;
        state.ledger.region = None;
    }
    // The object was made after the last look, and the next look decides who owns it. If the status already says
    // `AlreadyExists`, that look showed nothing: AWS means another thing that exists.
    let is_said = view.reason() == Some(Reason::AlreadyExists) && !view.is_edited();
    if failure.class == Class::BadRequest && says_exists(&failure.message) && !is_said {
        let say = Say::stalled(Reason::AlreadyExists, with_advice(&failure.message, NOT_OURS));
        let wait = timing::backoff(5.0, 3600.0, view.memory.tries, view.jitter);
        return Step::retry(view.say(state, say), timing::after(view.now, wait));
    }
    failed(view, state, failure)
}

/// Keeps the intent open, because its outcome is unknown. Reads find the outcome out.
fn unknown(view: &View<'_>, failure: &Failure) -> Step {
    Step::Settle {
        state: Box::new(view.stored(outcome_unknown(failure))),
        wake: Wake::At(timing::after(view.now, timing::backoff(5.0, 5.0, 0, view.jitter))),
        retry: true,
        waiting: None,
    }
}
