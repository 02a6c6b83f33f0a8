//! Gen 2 migration: while `amplify gen2-migration lock` holds an environment, AWS gets no write for what is in it.
//!
//! The lock is a mark on the app, the variable `GEN2_MIGRATION_ENVIRONMENT_NAME`. It names one environment, so it moves on when the
//! next environment of the app is migrated. An object that AWS still shows is then unlocked. An object that is gone may have been
//! migrated, and is not created again. Only where the app has no mark, and AWS still shows the object, the lock has been undone.

use jiff::{SignedDuration, Timestamp};

use super::{
    Flow, Step, Wake,
    needs::read,
    report::{self, Say},
    step::Purpose,
    timing,
    view::{Mark, State, View},
};
use crate::api::{
    Operation,
    conditions::{self, MIGRATION_LOCKED, Reason},
};

/// How old the answer about the mark may be that a write rests on.
pub const FRESH: SignedDuration = SignedDuration::from_secs(60);

/// Whether an answer of this time may carry a write. A time in the future is of a clock that has been set back.
#[must_use]
pub fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at).abs() < FRESH
}

/// The message of the condition `MigrationLocked`.
const LOCKED: &str = "amplify gen2-migration has locked this backend environment (the app's variable GEN2_MIGRATION_ENVIRONMENT_NAME names it): AWS gets no write for this resource. Unlock it with amplify gen2-migration lock --rollback; or set the annotation amplify-operator.dev/ignore-migration-lock to the name of the environment to have AWS written to all the same";

/// The stored state, with what this pass knows of the lock; `None`: that changes nothing.
pub(super) fn noted(view: &View<'_>) -> Option<State> {
    let ledger = &view.state.ledger;
    let mark = if view.resource.ignores_lock {
        Mark::Absent
    } else if let Some(lock) = &view.known.lock {
        // The list of all apps may be older than the answer that showed the mark.
        let is_end = matches!(lock.mark, Mark::Elsewhere | Mark::Absent);
        // A time in the future is of a clock that has been set back since.
        let is_older = |since| is_end && lock.at < since && since <= view.now;
        if ledger.migration_locked_at.is_some_and(is_older) {
            return None;
        }
        lock.mark
    } else if !view.surroundings.resolved && ledger.origin.is_none() {
        // It is in no environment.
        Mark::Elsewhere
    } else {
        return None;
    };
    let is_there = || view.known.look.as_ref().is_some_and(|looked| looked.seen.is_some());
    let mut state = view.state.clone();
    match mark {
        Mark::Here => {
            let now = view.now_seconds();
            state.ledger.migration_locked_at.get_or_insert(now);
            state.ledger.conditions = conditions::locked(&ledger.conditions, LOCKED, view.resource.generation, now);
        }
        Mark::Elsewhere => state.ledger.conditions = conditions::unlocked(&ledger.conditions),
        Mark::Absent => {
            if view.resource.ignores_lock || is_there() {
                state.ledger.migration_locked_at = None;
            }
            state.ledger.conditions = conditions::unlocked(&ledger.conditions);
        }
        Mark::Denied | Mark::Unread => {}
    }
    (state != *view.state).then_some(state)
}

/// The mark is known for a check, or could not be read. A failed read does not fail the check.
pub(super) fn checked(view: &View<'_>, purpose: Purpose) -> Flow<()> {
    let is_known = view.resource.ignores_lock || view.known.lock.is_some();
    match purpose {
        Purpose::Drift | Purpose::Request if !is_known => Err(Step::ReadLock(purpose)),
        Purpose::Drift | Purpose::Request | Purpose::Write | Purpose::Outcome => Ok(()),
    }
}

/// Returns the purpose of a check: somebody has asked for it, or it is due.
pub(super) fn check(view: &View<'_>) -> Purpose {
    if view.is_requested() {
        Purpose::Request
    } else {
        Purpose::Drift
    }
}

/// Whether a look of this resource asks about the lock as a check does, although it may lead to a write. It waits for a person, so
/// it may get no write, which would ask. After the end of a job in this pass, the check comes with the next look.
pub(super) fn is_checked_while_stuck(view: &View<'_>) -> bool {
    let ledger = &view.state.ledger;
    let is_stuck = view.is_stalled() || view.reason() == Some(Reason::DependencyNotReady);
    let is_concerned = ledger.origin.is_some() || conditions::is_true(&ledger.conditions, MIGRATION_LOCKED);
    is_concerned && is_stuck && !view.is_respecified() && view.known.poll.is_none()
}

/// Returns the step of a resource that waits for something else. It sees the end of a lock all the same, at the next check at the
/// latest: otherwise its status would speak of the lock for as long as it waits.
pub(super) fn waiting(view: &View<'_>, step: Step) -> Step {
    if !conditions::is_true(&view.state.ledger.conditions, MIGRATION_LOCKED) || !view.surroundings.resolved {
        return step;
    }
    if let Err(read) = checked(view, check(view)) {
        return read;
    }
    match step {
        Step::Settle {
            state,
            wake: Wake::Never,
            retry,
            waiting,
        } => Step::Settle {
            state,
            wake: view.check_after_now(),
            retry,
            waiting,
        },
        step => step,
    }
}

/// Whether a look of this resource belongs to a check and not to a write: its write waits for the end of the lock.
pub(super) fn holds_back(view: &View<'_>) -> bool {
    view.is_stalled() && view.reason() == Some(Reason::MigrationLocked)
}

/// There is an answer about the lock that is fresh enough for a write to rest on.
pub(super) fn answered(view: &View<'_>) -> Flow<()> {
    let is_known = view.known.lock.as_ref().is_some_and(|lock| {
        let is_answer = match lock.mark {
            Mark::Here | Mark::Elsewhere | Mark::Absent | Mark::Denied => true,
            Mark::Unread => false,
        };
        is_answer && is_fresh(lock.at, view.now)
    });
    if is_known || view.resource.ignores_lock {
        Ok(())
    } else {
        Err(read(view, Step::ReadLock(Purpose::Write)))
    }
}

/// The environment is not locked, by an answer that is fresh enough for this write to rest on; or the status says that the write
/// waits. Where AWS denies that answer, what was known last counts.
pub(super) fn unlocked(view: &View<'_>, operation: Operation) -> Flow<()> {
    answered(view)?;
    if view.resource.ignores_lock {
        return Ok(());
    }
    let ledger = &view.state.ledger;
    if conditions::is_true(&ledger.conditions, MIGRATION_LOCKED) {
        return Err(locked(view, operation));
    }
    if operation.is_create() && ledger.migration_locked_at.is_some() {
        return Err(moved_on(view));
    }
    Ok(())
}

/// A write is due, and the lock forbids it.
fn locked(view: &View<'_>, operation: Operation) -> Step {
    let advice = if operation.is_delete() {
        "deleting it can disrupt the migrated Gen 2 environment. Set deletionPolicy: Retain to hand the AWS object over, or unlock the environment with amplify gen2-migration lock --rollback"
    } else if operation.is_update() {
        "undo the edit, or unlock the environment with amplify gen2-migration lock --rollback"
    } else {
        "delete this resource, which deletes nothing in AWS; or set the annotation amplify-operator.dev/ignore-migration-lock to the name of the environment to have it created"
    };
    let text = format!("{operation} is due and is not sent: the backend environment is locked for a Gen 2 migration");
    let is_in_doubt = view.state.ledger.job.as_ref().is_some_and(|job| job.unconfirmed);
    let (text, longest) = if is_in_doubt {
        // An earlier attempt may still show, and is looked for.
        (
            format!("{text}; the operator goes on looking for an earlier request whose outcome is unknown"),
            240.0,
        )
    } else {
        (text, 3600.0)
    };
    let say = Say::stalled(Reason::MigrationLocked, report::with_advice(&text, advice));
    let wait = timing::backoff(60.0, longest, view.memory.tries, view.jitter);
    Step::retry(view.stored(say), timing::after(view.now, wait))
}

/// The mark is gone, and so is the object: the environment may have been migrated.
fn moved_on(view: &View<'_>) -> Step {
    let text = "AWS does not show the object, and its backend environment has been locked for a Gen 2 migration: the operator does not create it by itself";
    let advice = "delete this resource, which deletes nothing in AWS; or set the annotation amplify-operator.dev/ignore-migration-lock to the name of the environment to have it created";
    let say = Say::stalled(Reason::NotFound, report::with_advice(text, advice));
    Step::settle(view.stored(say), view.check_after_now())
}
