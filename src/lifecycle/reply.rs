//! What the reply to the write of a pass leads to.

use super::{
    Flow, Purpose, Reply, Step, create, delete,
    facts::Class,
    needs::listed,
    record::{newest, record_accepted, unintended},
    update,
    view::View,
};
use crate::api::{Job, Operation};

/// What the reply to the write of this pass leads to.
pub(super) fn after_send(view: &View<'_>, reply: &Reply) -> Flow {
    if let Some(job) = view.state.ledger.job.as_ref().filter(|job| job.is_open_intent()) {
        return create::after_create(view, job, reply);
    }
    let operation = if view.resource.deleting {
        view.resource.create.counterpart()
    } else {
        Operation::UpdateBackendApi
    };
    if let Some(step) = joined(view, operation, reply)? {
        return Ok(step);
    }
    Ok(if view.resource.deleting {
        delete::after_delete(view, reply)
    } else {
        update::after_update(view, reply)
    })
}

/// AWS refuses an update or delete because a job is pending. If that job is of the same operation, it is one whose reply
/// was lost (or somebody did the same by hand): follow it. Not where that is in doubt, since the end of a deletion is
/// believed: a job does not say which API of the environment it deletes, and the list of a clone holds its source's too.
fn joined(view: &View<'_>, operation: Operation, reply: &Reply) -> Flow<Option<Step>> {
    let is_pending = matches!(reply, Reply::Failed(failure) if failure.class == Class::Pending);
    let in_doubt = operation.is_delete()
        && (operation == Operation::DeleteBackendApi || view.resource.create == Operation::CloneBackend);
    if !is_pending || in_doubt {
        return Ok(None);
    }
    let jobs = &listed(view, Purpose::Outcome)?.jobs;
    let of_others = &view.surroundings.jobs_of_others;
    let same = jobs
        .iter()
        .filter(|seen| seen.operation == operation.name() && !seen.is_terminal() && !of_others.contains(&seen.id));
    Ok(newest(same).map(|seen| {
        let job = Job {
            id: Some(seen.id.clone()),
            backend_environment_name: Some(seen.environment.clone()),
            status: Some(seen.status.clone()),
            ..unintended(view, operation)
        };
        record_accepted(view, job, None)
    }))
}
