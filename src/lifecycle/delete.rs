//! Deletion: the finalizer is removed when the AWS object is gone, is not this resource's, or is to be retained.

use jiff::{SignedDuration, Timestamp};

use super::{
    Flow, Reply, Step, Wake, Write,
    facts::{Class, Failure},
    migration,
    needs::{absence_in_doubt, backed_off, free, given_up, listed, looked, none_pending, rests},
    record::{accepted, record_accepted, unintended, without_job},
    report::{Say, account_is_there, suspended},
    step::Purpose,
    timing,
    view::{State, View},
};
use crate::api::{
    DeletionPolicy, Job, Origin,
    conditions::{Progress, Reason},
};

/// Deletes the AWS object. The resource is being deleted, has our finalizer, and has no job under way.
pub(super) fn delete(view: &View<'_>) -> Flow {
    let ledger = &view.state.ledger;
    if !is_wanted(view) {
        return Ok(Step::Release);
    }
    if view.resource.suspend {
        return Ok(suspended(view));
    }
    let operation = view.resource.abilities.delete;
    if ledger
        .job
        .as_ref()
        .is_some_and(|job| job.operation == operation && job.has_completed())
    {
        return Ok(Step::Release);
    }
    account_is_there(view)?;
    dependents_are_gone(view).map_err(|step| migration::waiting(view, step))?;
    rests(view)?;
    if looked(view, Purpose::Write)?.seen.is_none() {
        if operation.has_job() && (!view.memory.listed || view.known.jobs.is_some()) {
            // An earlier process may have sent the delete, and its job may delete the next object of this name.
            none_pending(view, listed(view, Purpose::Write)?)?;
        }
        return Ok(absent(view));
    }
    given_up(view, operation)?;
    backed_off(view, operation, None)?;
    free(view, operation)?;
    migration::unlocked(view, operation)?;
    Ok(Step::Send(Write::Delete))
}

/// Requires that no other resource owns anything inside the AWS object; otherwise the resource waits.
fn dependents_are_gone(view: &View<'_>) -> Flow<()> {
    let dependents = &view.surroundings.dependents;
    if !dependents.staying.is_empty() {
        // People delete a backend and its APIs one after the other.
        if let Some(end) = just_deleted(view, timing::SAID_OF_DELETION) {
            return Err(Step::settle(view.state.clone(), Wake::At(end)));
        }
        let message = format!("still in use by {}: delete it first", first_of(&dependents.staying));
        return Err(Step::settle(
            view.stored(Say::stalled(Reason::InUse, message)),
            Wake::Never,
        ));
    }
    if !dependents.leaving.is_empty() {
        let message = format!(
            "waits for the deletion of {}: deletion then goes on by itself",
            first_of(&dependents.leaving)
        );
        return Err(Step::settle(
            view.stored(Say::working(Reason::Deleting, message)),
            Wake::Never,
        ));
    }
    Ok(())
}

/// Returns until when the status does not mention a deletion that was requested less than `span` ago and may be over by
/// then.
fn just_deleted(view: &View<'_>, span: SignedDuration) -> Option<Timestamp> {
    let end = timing::after(view.resource.deleted_at?, span);
    // The API server's clock may be off by any amount.
    (view.now < end && end <= timing::after(view.now, span)).then_some(end)
}

/// How a resource waits for its turn to ask AWS.
#[derive(Clone, Debug, PartialEq)]
pub enum Queued {
    /// Do nothing: the status stays true.
    Wait,
    /// Ask again at this time, if the turn has not come by then.
    Until(Timestamp),
    /// Store this status, which is true now.
    Say(Box<State>),
}

/// Returns how this resource waits for its turn to ask AWS. A resource that is being deleted must not stay Ready. But
/// each report is a write, and when AWS answers, most of many deletions are over in a minute.
#[must_use]
pub fn queued(view: &View<'_>) -> Queued {
    if !view.resource.deleting || !view.is_ready() {
        return Queued::Wait;
    }
    let span = if view.surroundings.is_in_trouble {
        timing::SAID_OF_DELETION
    } else {
        timing::QUEUED
    };
    if let Some(end) = just_deleted(view, span) {
        return Queued::Until(end);
    }
    let say = Say::working(Reason::Deleting, "deletion waits for its turn to ask AWS");
    Queued::Say(Box::new(view.stored(say)))
}

/// Returns the first of these names. A list of all would change, and be written, with each of them, and could push out
/// the advice.
fn first_of(names: &[String]) -> String {
    let first = names.iter().min().map(String::as_str).unwrap_or_default();
    if names.len() > 1 {
        format!("{first} and others")
    } else {
        first.to_owned()
    }
}

/// Handles an object that AWS does not show.
fn absent(view: &View<'_>) -> Step {
    absence_in_doubt(view).unwrap_or(Step::Release)
}

/// Whether the AWS object is this resource's and is to be deleted with it.
pub(super) fn is_wanted(view: &View<'_>) -> bool {
    let wanted = match view.state.ledger.origin {
        None => false,
        // Unset means Delete only for an object that this resource created.
        Some(Origin::Adopted) => view.resource.deletion_policy == Some(DeletionPolicy::Delete),
        Some(Origin::Created | Origin::Cloned) => view.resource.deletion_policy != Some(DeletionPolicy::Retain),
    };
    wanted && !view.resource.observe && !view.is_anothers()
}

/// Whether the AWS object is left as it is because its account can no longer be reached: nothing can be found out
/// there, and nothing is to be deleted.
pub(super) fn is_handed_over(view: &View<'_>) -> bool {
    let lost = |failure: &Failure| matches!(failure.class, Class::AccountNotFound | Class::AccountChanged);
    view.resource.deleting
        && view.resource.deletion_policy == Some(DeletionPolicy::Retain)
        && !view.resource.suspend
        && (account_is_there(view).is_err() || view.known.failed.as_ref().is_some_and(lost))
}

/// Handles the reply to a delete.
pub(super) fn after_delete(view: &View<'_>, reply: &Reply) -> Step {
    let job = unintended(view, view.resource.abilities.delete, None);
    if let Some(job) = accepted(view, job.clone(), reply) {
        return record_accepted(view, job);
    }
    match reply {
        Reply::Done { .. } => Step::Release,
        Reply::Absent => absent(view),
        reply => without_job(view, job, reply),
    }
}

/// Handles a resource that is being deleted without our finalizer. If another finalizer still holds it, reports whether
/// the AWS object is deleted or stays. A released resource owns nothing.
pub(super) fn released(view: &View<'_>) -> Step {
    if !view.resource.held || view.reason() == Some(Reason::Released) {
        return Step::settle(view.state.clone(), Wake::Never);
    }
    let what = what_became(view);
    let message = format!(
        "{what}; Kubernetes removes this resource when the other finalizers in metadata.finalizers are removed"
    );
    let mut state = view.stored(Say::new(false, Progress::Settled, Reason::Released, message));
    state.ledger.origin = None;
    Step::settle(state, Wake::Never)
}

/// Returns whether the AWS object of a released resource is deleted or stays, as a sentence.
#[must_use]
pub fn what_became(view: &View<'_>) -> &'static str {
    let ledger = &view.state.ledger;
    let deleted = |job: &Job| {
        let is_seen = job.has_completed() || view.known.released && is_wanted(view) && !job.has_failed();
        job.operation.is_delete() && job.id.is_some() && is_seen
    };
    let open = ledger
        .job
        .as_ref()
        .filter(|job| job.finish_time.is_none() && !job.has_completed());
    let is_sent = |job: &Job| job.operation.is_delete() || job.is_open_intent();
    if view.known.released && !is_wanted(view) && open.is_some_and(is_sent) {
        "released: a request to AWS was under way, and its account cannot be reached: check in that account whether the AWS object is still there"
    } else if ledger.origin.is_none() {
        "released: it owned no AWS object"
    } else if view.is_anothers() {
        "released: another resource owns the AWS object"
    } else if ledger.job.as_ref().is_some_and(deleted) {
        "released: the AWS object is deleted"
    } else if view.resource.observe {
        "released: the AWS object stays, as managementPolicy says"
    } else if !is_wanted(view) {
        "released: the AWS object stays, as deletionPolicy says"
    } else if view.known.released {
        "released: the AWS object is gone"
    } else {
        "released: somebody else removed this operator's finalizer, so the AWS object may still be there"
    }
}
