//! Update: repeated only after a look that shows it missing, and so without an intent.

use super::{
    Flow, Reply, Step, Write,
    facts::{Class, Failure},
    needs::{backed_off, configured, free, possible},
    record::{accepted, closed_unintended, no_job_id, record_accepted, unintended},
    view::View,
};
use crate::api::Operation;

/// Tell AWS of the configuration.
pub(super) fn update(view: &View<'_>) -> Flow {
    backed_off(view, Operation::UpdateBackendApi)?;
    possible(view)?;
    configured(view)?;
    free(view, Operation::UpdateBackendApi)?;
    Ok(Step::Send(Write::Update))
}

/// What the reply to an update leads to.
pub(super) fn after_update(view: &View<'_>, reply: &Reply) -> Step {
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
