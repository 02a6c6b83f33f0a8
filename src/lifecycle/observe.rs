//! Observed (`managementPolicy: Observe`): the AWS object is looked at, compared and reported. AWS gets no write.
//!
//! What the resource owned before, it owns again when it is managed: `origin` is neither given nor taken here.

use super::{
    Flow, Step, Wake,
    needs::{absence_in_doubt, configured, looked, possible},
    report::{self, Say, account_is_there},
    step::Purpose,
    view::{Bar, Seen, View},
};
use crate::api::conditions::{Progress, Reason};

/// What is said of what is as the spec has it.
const THERE: &str = "AWS has it as the spec says; managementPolicy is Observe, so AWS gets no write for it";

/// What an observed resource needs, with no job under way.
pub(super) fn observe(view: &View<'_>) -> Flow {
    account_is_there(view)?;
    if !view.surroundings.resolved {
        possible(view)?;
    }
    if let Some(step) = nothing_due(view) {
        return Ok(step);
    }
    // Without what it refers to nobody can tell whether AWS has it so.
    configured(view)?;
    let purpose = if view.is_edited() || view.next_check() > view.now {
        Purpose::Request
    } else {
        Purpose::Drift
    };
    let looked = looked(view, purpose)?;
    match &looked.seen {
        Some(seen) => Ok(shown(view, seen)),
        None => Ok(absence_in_doubt(view).unwrap_or_else(|| absent(view, looked.bar.as_ref()))),
    }
}

/// What was said of it stays said until the next check, an edit, or somebody asks.
fn nothing_due(view: &View<'_>) -> Option<Step> {
    let is_said = matches!(
        view.reason(),
        Some(Reason::Available | Reason::Drifted | Reason::NotFound)
    );
    let due = view.next_check();
    let rests = is_said && !view.is_edited() && view.known.look.is_none() && view.known.failed.is_none();
    (rests && view.now < due).then(|| Step::settle(view.state.clone(), Wake::At(due)))
}

/// It is there.
fn shown(view: &View<'_>, seen: &Seen) -> Step {
    let echo = seen
        .echo
        .iter()
        .flat_map(|echo| echo.differs.iter().map(String::as_str));
    let differs: Vec<_> = seen.differs.iter().copied().chain(echo).collect();
    let say = if differs.is_empty() {
        Say::new(true, Progress::Settled, Reason::Available, THERE)
    } else {
        let text = format!("AWS shows another {} than the spec", differs.join(" and "));
        let advice = "correct the spec; or, where AWS can change it, set managementPolicy: Manage to have AWS told what the spec says";
        Say::stalled(Reason::Drifted, report::with_advice(&text, advice))
    };
    Step::settle(view.stored(say), view.check_after_now())
}

/// It is not there.
fn absent(view: &View<'_>, bar: Option<&Bar>) -> Step {
    let text = match bar {
        Some(Bar::Named(name)) => format!(
            "AWS does not show it; the environment has one under the name {}",
            report::shown_name(name)
        ),
        Some(Bar::Lacks) | None => "AWS does not show it".to_owned(),
    };
    let advice = format!(
        "{}; correct the spec, or set managementPolicy: Manage to have it made",
        report::looked_where(view)
    );
    let say = Say::stalled(Reason::NotFound, report::with_advice(&text, &advice));
    Step::settle(view.stored(say), view.check_after_now())
}
