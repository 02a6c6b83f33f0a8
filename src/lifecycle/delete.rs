//! Deletion: the finalizer goes when the AWS object is gone, is not ours, or is to be retained.

use super::{
    Flow, Purpose, Reply, Step, Wake, Write,
    needs::{absence_in_doubt, backed_off, free, looked},
    record::{accepted, closed_unintended, no_job_id, record_accepted, unintended},
    report::{Say, account_is_there, suspended},
    timing,
    view::View,
};
use crate::api::{DeletionPolicy, Origin, conditions::Reason};

/// Being deleted, with our finalizer, and no job under way.
pub(super) fn delete(view: &View<'_>) -> Flow {
    let ledger = &view.state.ledger;
    if !is_wanted(view) {
        return Ok(Step::Release);
    }
    if view.resource.suspend {
        return Ok(suspended(view));
    }
    let operation = view.resource.create.counterpart();
    if ledger
        .job
        .as_ref()
        .is_some_and(|job| job.operation == operation && job.has_completed())
    {
        return Ok(Step::Release);
    }
    account_is_there(view)?;
    let dependents = &view.surroundings.dependents;
    if !dependents.staying.is_empty() {
        // Who deletes a backend and its APIs does so one after the other.
        if let Some(end) = view
            .resource
            .deleted_at
            .map(|at| timing::after(at, timing::DELETED_TOGETHER))
            && view.now < end
            && end <= timing::after(view.now, timing::DELETED_TOGETHER)
        {
            return Ok(Step::settle(view.state.clone(), Wake::At(end)));
        }
        let message = format!("still in use by {}: delete it first", dependents.staying.join(", "));
        return Ok(Step::settle(
            view.stored(Say::stalled(Reason::InUse, message)),
            Wake::Never,
        ));
    }
    if !dependents.leaving.is_empty() {
        let message = format!("waits for the deletion of {}", dependents.leaving.join(", "));
        return Ok(Step::settle(
            view.stored(Say::working(Reason::Deleting, message)),
            Wake::Never,
        ));
    }
    // What AWS refused as wrong stays wrong until somebody asks again.
    let refused = ledger.job.as_ref().is_some_and(|job| {
        job.operation == operation && view.tells_why(job) && job.generation == view.resource.generation
    });
    if refused && view.reason() == Some(Reason::InvalidSpec) && !view.is_requested() {
        return Ok(Step::settle(view.state.clone(), Wake::Never));
    }
    if looked(view, Purpose::Write)?.seen.is_none() {
        return Ok(absent(view));
    }
    backed_off(view, operation)?;
    free(view, operation)?;
    Ok(Step::Send(Write::Delete))
}

/// AWS does not show the object.
fn absent(view: &View<'_>) -> Step {
    absence_in_doubt(view).unwrap_or(Step::Release)
}

/// Whether the AWS object is this resource's, and is to be deleted with it.
pub(super) fn is_wanted(view: &View<'_>) -> bool {
    let wanted = match view.state.ledger.origin {
        None => false,
        // Unset means Delete only for what this resource created.
        Some(Origin::Adopted) => view.resource.deletion_policy == Some(DeletionPolicy::Delete),
        Some(Origin::Created | Origin::Cloned) => view.resource.deletion_policy != Some(DeletionPolicy::Retain),
    };
    wanted && view.surroundings.winner.is_none()
}

/// What the reply to a delete leads to.
pub(super) fn after_delete(view: &View<'_>, reply: &Reply) -> Step {
    let job = unintended(view, view.resource.create.counterpart());
    if let Some(job) = accepted(view, job.clone(), reply) {
        return record_accepted(view, job, None);
    }
    match reply {
        Reply::Done => Step::Release,
        Reply::Absent => absent(view),
        Reply::Job { .. } => {
            let failure = no_job_id(job.operation);
            closed_unintended(view, job, &failure)
        }
        Reply::Failed(failure) => closed_unintended(view, job, failure),
    }
}
