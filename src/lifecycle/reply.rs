//! The step after the reply to a pass's write.

use super::{Flow, Reply, Step, create, delete, update, view::View};

/// Returns the step after the reply to this pass's write.
///
/// A refusal because of a pending job does not name the job's owner or its configuration. The resource only waits for
/// its end. A look after the end decides.
pub(super) fn after_send(view: &View<'_>, reply: &Reply) -> Flow {
    match view.state.ledger.job.as_ref().filter(|job| job.is_open_intent()) {
        Some(job) => create::after_create(view, job, reply),
        None if view.resource.deleting => Ok(delete::after_delete(view, reply)),
        None => Ok(match view.resource.abilities.update {
            Some(operation) => update::after_update(view, operation, reply),
            // Only an update or a delete is sent without an intent.
            None => Step::settle(view.state.clone(), view.check_after_now()),
        }),
    }
}
