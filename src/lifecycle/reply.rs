//! What the reply to the write of a pass leads to.

use super::{Flow, Reply, Step, create, delete, update, view::View};

/// What the reply to the write of this pass leads to.
///
/// A refusal because of a pending job says nothing of whose job that is or what it carries, so it is only waited for: a look
/// after its end decides.
pub(super) fn after_send(view: &View<'_>, reply: &Reply) -> Flow {
    match view.state.ledger.job.as_ref().filter(|job| job.is_open_intent()) {
        Some(job) => create::after_create(view, job, reply),
        None if view.resource.deleting => Ok(delete::after_delete(view, reply)),
        None => Ok(match view.resource.abilities.update {
            Some(operation) => update::after_update(view, operation, reply),
            // Nothing but an update or a delete is sent without an intent.
            None => Step::settle(view.state.clone(), view.check_after_now()),
        }),
    }
}
