//! Update: repeated only after a look that shows it missing. Therefore it needs no intent.

use super::{
    Flow, Reply, Step, Write,
    facts::{Class, Failure, JobSeen},
    migration,
    needs::{backed_off, configured, free, given_up, possible, read},
    record::{accepted, record_accepted, unintended, without_job},
    step::Purpose,
    timing,
    view::View,
};
use crate::api::Operation;

/// Sends the configuration to AWS.
pub(super) fn update(view: &View<'_>, operation: Operation) -> Flow {
    given_up(view, operation)?;
    possible(view)?;
    let hash = configured(view)?;
    backed_off(view, operation, hash.as_deref())?;
    free(view, operation)?;
    seen_since(view)?;
    migration::unlocked(view, operation)?;
    Ok(Step::Send(Write::Update))
}

/// Requires that the look that shows the update missing is newer than the end of every listed job. An update that an
/// earlier process could not record may have run at the time of the look and ended before the list.
fn seen_since(view: &View<'_>) -> Flow<()> {
    let (Some(looked), Some(listed)) = (&view.known.look, &view.known.jobs) else {
        return Ok(());
    };
    let may_have_run = |job: &JobSeen| {
        let is_before = |end| timing::is_past(end, timing::CLOCK_SKEW, looked.at);
        !job.update_time.is_some_and(is_before)
    };
    if looked.at < listed.at && listed.jobs.iter().any(may_have_run) {
        return Err(read(view, Step::Look(Purpose::Write)));
    }
    Ok(())
}

/// Handles the reply to an update.
pub(super) fn after_update(view: &View<'_>, operation: Operation, reply: &Reply) -> Step {
    let config = view.known.config.as_ref().and_then(|config| config.as_ref().ok());
    let job = unintended(view, operation, config.map(|config| config.hash.clone()));
    if let Some(job) = accepted(view, job.clone(), reply) {
        return record_accepted(view, job);
    }
    match reply {
        Reply::Failed(failure) if failure.class == Class::NotFound => {
            // The object has gone since the last look: look again.
            let failure = Failure {
                class: Class::Unavailable,
                ..failure.clone()
            };
            without_job(view, job, &Reply::Failed(failure))
        }
        reply => without_job(view, job, reply),
    }
}
