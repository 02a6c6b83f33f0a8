//! Update: repeated only after a look that shows it missing, and so without an intent.

use super::{
    Flow, Reply, Step, Write,
    facts::{Class, Failure},
    needs::{backed_off, configured, free, given_up, possible},
    record::{accepted, record_accepted, unintended, without_job},
    view::View,
};
use crate::api::Operation;

/// Tells AWS of the configuration.
pub(super) fn update(view: &View<'_>) -> Flow {
    let operation = Operation::UpdateBackendApi;
    given_up(view, operation)?;
    possible(view)?;
    let hash = configured(view)?;
    backed_off(view, operation, hash.as_deref())?;
    free(view, operation)?;
    Ok(Step::Send(Write::Update))
}

/// What the reply to an update leads to.
pub(super) fn after_update(view: &View<'_>, reply: &Reply) -> Step {
    let config = view.known.config.as_ref().and_then(|config| config.as_ref().ok());
    let job = unintended(
        view,
        Operation::UpdateBackendApi,
        config.map(|config| config.hash.clone()),
    );
    if let Some(job) = accepted(view, job.clone(), reply) {
        return record_accepted(view, job);
    }
    match reply {
        Reply::Failed(failure) if failure.class == Class::NotFound => {
            // Gone since it was looked at: look again.
            let failure = Failure {
                class: Class::Unavailable,
                ..failure.clone()
            };
            without_job(view, job, &Reply::Failed(failure))
        }
        reply => without_job(view, job, reply),
    }
}
