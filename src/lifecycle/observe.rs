//! Observed (`managementPolicy: Observe`): the AWS object is looked at, compared and reported. AWS gets no write.
//!
//! A resource that owns its AWS object still owns it when it is managed again, as long as AWS has shown the object
//! throughout. A later object is not proved to be this resource's.

use super::{
    Flow, Step, Wake, migration,
    needs::{absence_in_doubt, configured, looked, made_whole, possible, stays_put},
    record,
    report::{self, Say, account_is_there},
    step::Purpose,
    view::{Bar, Equality, Seen, View},
};
use crate::api::conditions::{self, Progress, Reason};

/// The end of the message for an object that is there. A later pass sees by it that the resource was only observed.
const OBSERVED: &str = "; managementPolicy is Observe, so AWS gets no write for it";

/// Whether the status says that the object is there and was only observed.
pub(super) fn was_observed(view: &View<'_>) -> bool {
    let said = conditions::get(&view.state.ledger.conditions, conditions::READY);
    said.is_some_and(|ready| ready.message.ends_with(OBSERVED))
}

/// Returns the next step of an observed resource that has no job under way.
pub(super) fn observe(view: &View<'_>) -> Flow {
    account_is_there(view)?;
    stays_put(view).map_err(|step| migration::waiting(view, step))?;
    if !view.surroundings.resolved {
        possible(view)?;
    }
    if let Some(step) = nothing_due(view) {
        return Ok(step);
    }
    let purpose = if view.is_edited() {
        Purpose::Request
    } else {
        Purpose::Drift
    };
    migration::checked(view, purpose)?;
    // Without its references, the spec cannot be compared with AWS.
    configured(view)?;
    let looked = looked(view, purpose)?;
    match &looked.seen {
        Some(seen) => shown(view, seen),
        None => Ok(absence_in_doubt(view).unwrap_or_else(|| absent(view, looked.bar.as_ref()))),
    }
}

/// Waits if nothing is due: the report stays until the next check, an edit or a request.
fn nothing_due(view: &View<'_>) -> Option<Step> {
    let is_said = matches!(
        view.reason(),
        Some(Reason::Available | Reason::Drifted | Reason::NotFound | Reason::JobFailed)
    );
    let due = view.next_check();
    let rests = is_said && !view.is_edited() && view.known.look.is_none() && view.known.failed.is_none();
    (rests && view.now < due).then(|| Step::settle(view.state.clone(), Wake::At(due)))
}

/// Reports an object that is there.
fn shown(view: &View<'_>, seen: &Seen) -> Flow {
    let state = record::has_been_shown(view.state);
    let view = &view.with_state(&state);
    made_whole(view)?;
    let echo = seen
        .echo
        .iter()
        .flat_map(|echo| echo.differs.iter().map(String::as_str));
    let differs: Vec<_> = seen.differs.iter().copied().chain(echo).collect();
    let say = if differs.is_empty() {
        let is_whole = seen
            .echo
            .as_ref()
            .is_none_or(|echo| echo.equality == Some(Equality::Equal));
        let there = if is_whole {
            view.resource.words.there
        } else {
            "the AWS object exists; AWS shows only a part of its configuration, and that part is as the spec says"
        };
        Say::new(true, Progress::Settled, Reason::Available, format!("{there}{OBSERVED}"))
    } else {
        let text = format!("AWS shows a different {} than the spec", differs.join(" and "));
        let advice = "correct the spec; or, if AWS can change this, set managementPolicy: Manage, and the operator updates the AWS object";
        Say::stalled(Reason::Drifted, report::with_advice(&text, advice))
    };
    Ok(Step::settle(view.stored(say), view.check_after_now()))
}

/// Reports an object that is absent.
fn absent(view: &View<'_>, bar: Option<&Bar>) -> Step {
    let text = match bar {
        Some(Bar::Named(name)) => format!(
            "AWS does not show the object; the environment has one under the name {}",
            report::shown_name(name)
        ),
        Some(Bar::Lacks) | None => "AWS does not show the object".to_owned(),
    };
    let advice = format!(
        "{}; correct the spec, or set managementPolicy: Manage to have it created",
        report::looked_where(view)
    );
    let say = Say::stalled(Reason::NotFound, report::with_advice(&text, &advice));
    let mut state = view.state.clone();
    // An object whose create completed may still appear for the first time. It is this resource's then.
    if !state.ledger.job.as_ref().is_some_and(record::is_never_shown) {
        state.ledger.origin = None;
    }
    Step::settle(view.say(state, say), view.check_after_now())
}
