//! A resource that has no job under way and is not being deleted: look, create, adopt, keep in line.

use super::{
    Flow, Step, Wake, create, delete, migration,
    needs::{
        absence_in_doubt, configured, dependency_not_ready, listed, looked, made_whole, none_pending,
        possible_or_given_up, rests, slot, stays_put,
    },
    observe, outcome, record,
    report::{self, NO_REASON, NOT_OURS, Say, account_is_there, suspended, working_reason},
    step::Purpose,
    update,
    view::{Equality, Hashes, Lack, Missing, Seen, State, View, Winner},
};
use crate::api::{
    AdoptionPolicy, Job, Origin,
    conditions::{Progress, Reason},
};

/// Returns the next step of an idle resource.
pub(super) fn idle(view: &View<'_>) -> Flow {
    let around = view.surroundings;
    let ledger = &view.state.ledger;
    if view.resource.suspend {
        return Ok(suspended(view));
    }
    if view.resource.observe {
        return observe::observe(view);
    }
    rests(view)?;
    account_is_there(view)?;
    if let Some(winner) = &around.winner {
        return Ok(migration::waiting(view, conflict(view, winner)));
    }
    stays_put(view).map_err(|step| migration::waiting(view, step))?;
    let owned = ledger.origin.is_some();
    // Only create and update need references: an owned object is looked at without them.
    if !owned || !around.resolved {
        possible_or_given_up(view).map_err(|step| migration::waiting(view, step))?;
    }
    if let Some(step) = nothing_due(view)? {
        return Ok(step);
    }
    if view.reason() == Some(Reason::WaitingForJob) && !view.is_edited() {
        // The object was looked at before the wait began. AWS is asked again when the resource has the slot.
        slot(view)?;
    }
    // A lack or a lock that has lasted long is no more urgent than a check of a Ready object.
    let is_lacking = view.is_stalled() && view.is_said_to_lack();
    let is_patient = owned && view.is_ready() || is_lacking || migration::holds_back(view);
    let purpose = match (is_patient, view.is_edited(), view.is_respecified()) {
        (true, false, _) => Purpose::Drift,
        (true, true, false) => Purpose::Request,
        _ => Purpose::Write,
    };
    // First, because a pass that has to come again for it has then asked for nothing yet.
    let asked = if migration::is_checked_while_stuck(view) {
        migration::check(view)
    } else {
        purpose
    };
    migration::checked(view, asked)?;
    match (&looked(view, purpose)?.seen, owned) {
        (Some(seen), true) => keep(view, seen),
        (Some(seen), false) => adopt(view, seen),
        (None, true) => gone(view),
        (None, false) => create::create(view),
    }
}

/// Reports that another resource owns the AWS object or its place.
fn conflict(view: &View<'_>, winner: &Winner) -> Step {
    let name = &winner.name;
    let describes = if winner.is_of_another_name {
        "describes an AWS object of another name in this environment (which can have only one of this kind)"
    } else {
        "describes the same AWS object"
    };
    let (progress, message) = if winner.leaving {
        let message =
            format!("{name} {describes} and comes first, but is being deleted: this resource goes on when it is gone");
        (Progress::Reconciling, message)
    } else {
        let deletes = if delete::is_wanted(view) {
            "its own AWS object"
        } else {
            "nothing in AWS"
        };
        let message = format!(
            "{name} {describes} and comes first: delete one of the two. Deleting this resource deletes {deletes}"
        );
        (Progress::Stalled, message)
    };
    let say = Say::new(false, progress, Reason::Conflict, message);
    Step::settle(view.stored(say), Wake::Never)
}

/// Returns the step that waits for the next check, if a Ready resource needs no AWS call before. Edits that AWS does
/// not see need none. A resource that was suspended or only observed is looked at first, because nothing was checked or
/// corrected meanwhile.
fn nothing_due(view: &View<'_>) -> Flow<Option<Step>> {
    let owned = view.state.ledger.origin.is_some();
    let was_suspended = view.reason() == Some(Reason::Suspended);
    if !owned
        || !view.is_ready()
        || was_suspended
        || observe::was_observed(view)
        || view.is_requested()
        || view.known.look.is_some()
    {
        return Ok(None);
    }
    let due = view.next_check();
    if view.now >= due {
        return Ok(None);
    }
    if view.is_edited() && view.resource.is_updatable() {
        let hash = configured(view)?;
        if hash != view.state.hashes.sent || is_skipped(view) {
            return Ok(None);
        }
    }
    Ok(Some(Step::settle(
        view.stored(view.available(view.state)),
        Wake::At(due),
    )))
}

/// Keeps an object in line that is present and owned.
fn keep(view: &View<'_>, seen: &Seen) -> Flow {
    let state = record::has_been_shown(view.state);
    let view = &view.with_state(&state);
    made_whole(view)?;
    if !seen.differs.is_empty() {
        let message = format!(
            "AWS shows a different {} than the spec and cannot change it: restore the value of the spec in AWS, or delete this resource{} and apply it again",
            seen.differs.join(" and "),
            if delete::is_wanted(view) {
                ", which deletes the AWS object,"
            } else {
                ", which leaves the AWS object there,"
            }
        );
        let say = Say::stalled(Reason::Drifted, message);
        return Ok(Step::settle(view.stored(say), view.check_after_now()));
    }
    let mut kept = state.clone();
    if let (Some(echo), Some(operation)) = (&seen.echo, view.resource.abilities.update) {
        match decide_update(view, echo.equality, &echo.hash) {
            Decision::Update => return update::update(view, operation),
            Decision::Unresolved(missing) => return Ok(dependency_not_ready(view, missing)),
            Decision::Leave => {}
        }
        if let Some(Ok(config)) = &view.known.config {
            kept.hashes.sent = Some(config.hash.clone());
        }
        kept.hashes.echoed = Some(echo.hash.clone());
    }
    let say = view.available(&kept);
    Ok(Step::settle(view.say(kept, say), view.check_after_now()))
}

enum Decision<'a> {
    Leave,
    Update,
    Unresolved(&'a Missing),
}

/// Decides whether AWS needs the configuration: it changed, AWS's echo changed, or the last update did not complete.
fn decide_update<'a>(view: &View<'a>, equality: Option<Equality>, echoed: &str) -> Decision<'a> {
    let State { ledger, hashes } = view.state;
    let drifted = hashes.echoed.as_ref().is_some_and(|before| before != echoed);
    let last = ledger.job.as_ref();
    let undone = last.is_some_and(|job| job.operation.is_update() && !job.has_completed());
    match &view.known.config {
        Some(Err(missing)) => {
            let is_due = drifted || undone || hashes.sent.is_none() || !is_carried_out(view);
            // If a reference is merely gone, the configuration that AWS has stays valid. The missing reference is still
            // reported on a request, if the status reports it already, or if the referenced text cannot be used.
            let is_told = view.is_requested() || view.reason() == Some(Reason::DependencyNotReady);
            if is_due || is_told || missing.lack == Lack::Unusable {
                Decision::Unresolved(missing)
            } else {
                Decision::Leave
            }
        }
        None => Decision::Leave,
        Some(Ok(config)) => {
            let adopted_as_is = hashes.sent.is_none() && ledger.origin == Some(Origin::Adopted);
            let shown = match equality {
                Some(Equality::Equal) => true,
                Some(Equality::Unknown) => adopted_as_is && !undone,
                _ => false,
            };
            // An older version of this operator stored a hash as sent before AWS had accepted it.
            let doubtful = last.is_some_and(|job| job.config_hash.is_none()) && equality == Some(Equality::Different);
            let edited = doubtful || is_skipped(view) || hashes.sent.as_ref() != Some(&config.hash);
            if (edited || drifted || undone) && !shown {
                Decision::Update
            } else {
                Decision::Leave
            }
        }
    }
}

/// Whether another process may have sent a generation between the observed and the current one without recording it.
fn is_skipped(view: &View<'_>) -> bool {
    let observed = view.state.ledger.observed_generation;
    observed >= 0 && observed + 1 < view.resource.generation
}

/// Whether the current spec has reached AWS, as far as status shows.
fn is_carried_out(view: &View<'_>) -> bool {
    let ledger = &view.state.ledger;
    let generation = view.resource.generation;
    let completed = |job: &Job| job.has_completed() && job.generation == generation;
    ledger.job.as_ref().is_some_and(completed) || view.is_ready() && ledger.observed_generation == generation
}

/// Handles an object that is present and not owned.
fn adopt(view: &View<'_>, seen: &Seen) -> Flow {
    if let Some(step) = outcome::late(view)? {
        return Ok(step);
    }
    let mut state = view.state.clone();
    // Somebody else made the object, so no attempt of this resource did, and the configuration that AWS has is unknown.
    if let Some(job) = &mut state.ledger.job {
        job.unconfirmed = false;
    }
    state.hashes = Hashes::default();
    if view.resource.adoption_policy == AdoptionPolicy::Never {
        let say = Say::stalled(Reason::AlreadyExists, exists(state.ledger.job.as_ref()));
        return Ok(Step::settle(view.say(state, say), view.check_after_now()));
    }
    if view.resource.abilities.has_job() {
        // Another job may be deleting the object, or another resource (its backend) may be about to.
        slot(view)?;
        none_pending(view, listed(view, Purpose::Write)?)?;
    }
    if !view.resource.finalizer {
        return Ok(Step::AddFinalizer);
    }
    state.ledger.origin = Some(Origin::Adopted);
    state.ledger.account_id.clone_from(&view.known.account);
    state.ledger.region.clone_from(&view.surroundings.region);
    let adopted = view.with_state(&state);
    if let Ok(step @ Step::Settle { .. }) = keep(&adopted, seen) {
        return Ok(step);
    }
    // The object must be brought in line. The adoption is stored before anything is sent to AWS.
    let message = match view.resource.abilities.update {
        Some(update) => format!("adopted; {update} brings it in line with the spec"),
        None => "adopted".to_owned(),
    };
    let say = Say::working(Reason::Updating, message);
    Ok(Step::Record(Box::new(adopted.stored(say))))
}

/// Returns the message for an object that exists and is not proved to be this resource's.
fn exists(job: Option<&Job>) -> String {
    let text = match job.filter(|job| job.operation.is_create() && job.has_failed()) {
        Some(job) => format!(
            "{} failed, and nothing proves that the existing AWS object belongs to this resource: {}",
            job.operation,
            job.error.as_deref().unwrap_or(NO_REASON)
        ),
        None => "the AWS object already exists and this resource did not create it".to_owned(),
    };
    report::with_advice(&text, NOT_OURS)
}

/// Handles an object that is owned and absent.
fn gone(view: &View<'_>) -> Flow {
    if let Some(step) = absence_in_doubt(view) {
        return Ok(step);
    }
    if let Some(job) = view.state.ledger.job.as_ref().filter(|job| record::is_never_shown(job)) {
        let message = format!(
            "{} (job {}) completed, but AWS has not shown the object since then. The operator does not create it a second time: contact AWS Support with this job id, or delete this resource and apply it again",
            job.operation,
            report::shown_id(job)
        );
        let say = Say::stalled(Reason::JobFailed, message);
        return Ok(Step::settle(view.stored(say), view.check_after_now()));
    }
    let say = |state, message| {
        let say = Say::working(working_reason(view.resource.abilities.create), message);
        view.say(state, say)
    };
    // The resource is no longer Ready, even if the next read fails and the rest of the stored status stays as it is. What it says
    // next depends on the lock.
    let mut state = view.state.clone();
    if view.is_ready() {
        state = say(state, "AWS no longer shows the object");
    }
    migration::answered(&view.with_state(&state))?;
    // The next object there is this resource's only through an intent of this resource.
    state.ledger.origin = None;
    if view.is_ready() && state.ledger.migration_locked_at.is_none() {
        state = say(state, "AWS no longer shows the object: the operator creates it again");
    }
    create::create(&view.with_state(&state))
}
