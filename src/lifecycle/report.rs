//! The status and the conditions of each situation, the messages, and the report of a failed read.

use jiff::Timestamp;

use super::{
    Flow, Step, Wake,
    facts::{Class, Failure},
    timing,
    view::{Account, Patience, State, View},
};
use crate::api::{
    Job, Operation, Origin, Verb,
    conditions::{self, MESSAGE_LIMIT, Progress, READY, Reason, STALLED},
    text,
};

/// The content of `Ready`.
pub(super) struct Say {
    ready: bool,
    progress: Progress,
    reason: Reason,
    message: String,
}

impl Say {
    pub(super) fn new(ready: bool, progress: Progress, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            ready,
            progress,
            reason,
            message: message.into(),
        }
    }

    /// Returns a report that work goes on.
    pub(super) fn working(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(false, Progress::Reconciling, reason, message)
    }

    /// Returns a report that a person is needed.
    pub(super) fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(false, Progress::Stalled, reason, message)
    }
}

impl View<'_> {
    /// Returns `state` with these conditions for the current generation. A pending reconcile request is answered.
    pub(super) fn say(&self, mut state: State, say: Say) -> State {
        let ledger = &mut state.ledger;
        if self.is_requested() {
            ledger.last_handled_reconcile_at.clone_from(&self.resource.request);
            if let Some(job) = &mut ledger.job {
                job.failures = 0;
            }
        }
        self.say_for(state, say, self.resource.generation)
    }

    /// Returns `state` with these conditions for this generation.
    pub(super) fn say_for(&self, mut state: State, say: Say, generation: i64) -> State {
        let Say {
            ready,
            progress,
            reason,
            message,
        } = say;
        let ledger = &mut state.ledger;
        ledger.observed_generation = ledger.observed_generation.max(generation);
        // A suspended resource may have observed no generation yet. A condition needs a generation of at least 0.
        let generation = generation.max(0);
        let now = self.now_seconds();
        ledger.conditions = conditions::state(&ledger.conditions, ready, progress, reason, &message, generation, now);
        state
    }

    /// Returns the stored state with these conditions.
    pub(super) fn stored(&self, say: Say) -> State {
        self.say(self.state.clone(), say)
    }

    /// Returns the stored reason of `Ready`.
    pub(super) fn reason(&self) -> Option<Reason> {
        conditions::ready_reason(&self.state.ledger.conditions)
    }

    /// Whether `Ready` is stored as True.
    pub(super) fn is_ready(&self) -> bool {
        conditions::is_true(&self.state.ledger.conditions, READY)
    }

    /// Whether `Stalled` is stored as True.
    pub(super) fn is_stalled(&self) -> bool {
        conditions::is_true(&self.state.ledger.conditions, STALLED)
    }

    /// Whether the stored conditions say that AWS lacks something for the object.
    pub(super) fn is_said_to_lack(&self) -> bool {
        self.resource.words.say_that_aws_lacks(&self.state.ledger.conditions)
    }

    /// Whether the stored conditions repeat why AWS refused this attempt.
    pub(super) fn tells_why(&self, job: &Job) -> bool {
        let ready = conditions::get(&self.state.ledger.conditions, READY);
        job.finish_time.is_some()
            && !job.has_failed()
            && job.error.as_deref().zip(ready).is_some_and(|(error, ready)| {
                ready.message == error || ready.message == with_advice(error, advice(job.operation))
            })
    }

    /// Whether the stored conditions repeat why AWS refused the last attempt, and nobody has requested another since.
    pub(super) fn tells_of_refusal(&self) -> bool {
        let ledger = &self.state.ledger;
        let generation = self.resource.generation;
        let refused = |job: &Job| {
            job.generation == generation && job.finish_time.is_some() && job.error.is_some() && !job.has_failed()
        };
        let reason = matches!(
            self.reason(),
            Some(
                Reason::AppNotFound
                    | Reason::AlreadyExists
                    | Reason::Throttled
                    | Reason::AwsUnavailable
                    | Reason::AccessDenied
                    | Reason::QuotaExceeded
            )
        );
        reason
            && ledger.job.as_ref().is_some_and(refused)
            && ledger.observed_generation == generation
            && !self.is_requested()
    }

    /// Returns Ready=True for `state`, with a message that says why.
    pub(super) fn available(&self, state: &State) -> Say {
        let ledger = &state.ledger;
        let how = match &ledger.job {
            // An adopted object was not made by the create in the ledger, whose attempt made nothing.
            Some(job)
                if job.has_completed() && !(job.operation.is_create() && ledger.origin == Some(Origin::Adopted)) =>
            {
                working_message(job)
            }
            _ => self.resource.words.there.to_owned(),
        };
        let message = if ledger.origin == Some(Origin::Adopted) {
            format!("adopted: {how}")
        } else {
            how
        };
        Say::new(true, Progress::Settled, Reason::Available, message)
    }

    /// Returns when the next drift check is due.
    pub(super) fn next_check(&self) -> Timestamp {
        let last = self.memory.checked.unwrap_or(self.memory.since);
        // A clock that was set back must not delay the check: when the last one was, is not known.
        if last > self.now {
            return self.now;
        }
        timing::next_check(last, self.settings.drift_interval, self.surroundings.phase)
    }

    /// Returns when the next drift check is due after a check now.
    pub(super) fn check_after_now(&self) -> Wake {
        Wake::At(timing::next_check(
            self.now,
            self.settings.drift_interval,
            self.surroundings.phase,
        ))
    }
}

/// Returns the reason of `Ready` while this operation is under way.
pub(super) const fn working_reason(operation: Operation) -> Reason {
    match operation.verb() {
        Verb::Create(Origin::Cloned) => Reason::Cloning,
        Verb::Create(Origin::Created | Origin::Adopted) => Reason::Creating,
        Verb::Update => Reason::Updating,
        Verb::Delete => Reason::Deleting,
    }
}

/// Requires that the resource's account can be reached; otherwise the status says why not. No call is made with another
/// account's credentials. An open write stays open, and continues when the account is back.
pub(super) fn account_is_there(view: &View<'_>) -> Flow<()> {
    let say = match (&view.surroundings.account, &view.state.ledger.account_id) {
        (Account::Missing(why), _) => {
            let ledger = &view.state.ledger;
            let may_have = ledger.origin.is_some() || ledger.job.as_ref().is_some_and(Job::is_open_intent);
            let message = if may_have {
                with_advice(why, KEPT_IN_AWS)
            } else {
                why.clone()
            };
            Say::stalled(Reason::AccountNotFound, message)
        }
        (Account::Mapped(account), Some(pinned)) if account != pinned => Say::stalled(
            Reason::AccountChanged,
            format!(
                "the AWS object is in account {pinned}, and the operator's accounts file now maps this namespace to {account}: map it back, or set deletionPolicy: Retain and delete this resource, which leaves the AWS object there"
            ),
        ),
        (Account::Own | Account::Mapped(_), _) => return Ok(()),
    };
    Err(Step::settle(view.stored(say), Wake::Never))
}

/// Advice about an AWS object of this resource that it may no longer touch.
const KEPT_IN_AWS: &str = "until then AWS gets no request for this resource, deletion included. To leave the AWS object there, set deletionPolicy: Retain and delete this resource";

/// Reports that `spec.suspend` is true, in one write: Ready keeps its status and takes the reason. A resource that is
/// being deleted is not Ready, because AWS may already have received the delete.
pub(super) fn suspended(view: &View<'_>) -> Step {
    let say = suspension(view);
    // The current generation counts as observed, unless an edit waits to be sent: then the status must not look
    // current.
    let carried_out = !view.resource.is_updatable()
        || match &view.known.config {
            None => return Step::Resolve,
            Some(Ok(config)) => {
                view.state.hashes.sent.is_none() || view.state.hashes.sent.as_ref() == Some(&config.hash)
            }
            Some(Err(_)) => false,
        };
    let generation = if carried_out {
        view.resource.generation
    } else {
        view.state.ledger.observed_generation
    };
    Step::settle(view.say_for(view.state.clone(), say, generation), Wake::Never)
}

/// Returns the content of `Ready` for a suspended resource.
pub(super) fn suspension(view: &View<'_>) -> Say {
    let ready = view.is_ready() && !view.resource.deleting;
    let message = "spec.suspend is true: no AWS call is made for this resource until it is false";
    Say::new(ready, Progress::Settled, Reason::Suspended, message)
}

/// The report of a failure, and the time of the retry.
struct Verdict {
    reason: Reason,
    stalled: bool,
    /// Whether the failure changes nothing for a resource that is Ready, Stalled or has a job running: throttling and
    /// short outages.
    passing: bool,
    wake: Wake,
    waiting: Option<Patience>,
}

fn verdict(view: &View<'_>, class: Class) -> Verdict {
    let tries = view.memory.tries;
    let at = |span| Wake::At(timing::after(view.now, span));
    let jitter = view.jitter;
    let plain = |reason, stalled, passing, wake| Verdict {
        reason,
        stalled,
        passing,
        wake,
        waiting: None,
    };
    match class {
        Class::NotFound => {
            let due = timing::after(view.now, timing::backoff(30.0, 3600.0, tries, jitter));
            let stalled = is_out_of_patience(view, Reason::AppNotFound, Patience::App);
            Verdict {
                waiting: Some(Patience::App),
                ..plain(
                    Reason::AppNotFound,
                    stalled,
                    false,
                    Wake::At(patient(view, Patience::App, due)),
                )
            }
        }
        // Not sent again, but looked at: somebody may fix the cause in AWS or in a ConfigMap.
        Class::BadRequest => plain(Reason::InvalidSpec, true, false, view.check_after_now()),
        Class::Pending => plain(
            Reason::WaitingForJob,
            false,
            false,
            at(timing::backoff(15.0, 60.0, tries, jitter)),
        ),
        Class::Throttled => plain(
            Reason::Throttled,
            false,
            true,
            at(timing::full_jitter(5.0, 300.0, tries, jitter)),
        ),
        Class::QuotaExceeded => plain(
            Reason::QuotaExceeded,
            true,
            false,
            at(timing::backoff(600.0, 3600.0, tries, jitter)),
        ),
        Class::AccessDenied => {
            let stalled = is_out_of_patience(view, Reason::AccessDenied, Patience::Access);
            Verdict {
                waiting: Some(Patience::Access),
                ..plain(
                    Reason::AccessDenied,
                    stalled,
                    !stalled,
                    at(timing::backoff(60.0, 600.0, tries, jitter)),
                )
            }
        }
        Class::Unavailable => plain(
            Reason::AwsUnavailable,
            false,
            true,
            at(timing::backoff(5.0, 300.0, tries, jitter)),
        ),
        Class::AccountNotFound => plain(Reason::AccountNotFound, true, false, Wake::Never),
        Class::AccountChanged => plain(
            Reason::AccountChanged,
            true,
            false,
            at(timing::backoff(60.0, 3600.0, tries, jitter)),
        ),
    }
}

/// Whether a thing that may appear by itself has been awaited long enough, or the resource was Stalled for it before.
fn is_out_of_patience(view: &View<'_>, reason: Reason, patience: Patience) -> bool {
    let is_current = view.state.ledger.observed_generation == view.resource.generation;
    let was = view.reason() == Some(reason) && view.is_stalled() && is_current;
    let since = view.waits_since(patience);
    was || since.is_some_and(|since| timing::is_past(since, patience.span(), view.now))
}

/// Returns `due` or the end of the patience, whichever comes first.
fn patient(view: &View<'_>, patience: Patience, due: Timestamp) -> Timestamp {
    let end = timing::after(view.waits_since(patience).unwrap_or(view.now), patience.span());
    if end > view.now { due.min(end) } else { due }
}

/// Waits for something until `due`, and reports that. The resource is Stalled once `waiting` has lasted too long.
pub(super) fn wait(
    view: &View<'_>,
    state: State,
    reason: Reason,
    message: &str,
    waiting: Option<Patience>,
    due: Timestamp,
) -> Step {
    let stalled = waiting.is_some_and(|patience| is_out_of_patience(view, reason, patience));
    let say = if stalled {
        Say::stalled(reason, message)
    } else {
        Say::working(reason, message)
    };
    Step::Settle {
        state: Box::new(view.say(state, say)),
        wake: Wake::At(waiting.map_or(due, |patience| patient(view, patience, due))),
        retry: true,
        waiting,
    }
}

/// Reports the failure of a write: `state` with its conditions. The class of the failure decides when to retry.
pub(super) fn failed(view: &View<'_>, state: State, failure: &Failure) -> Step {
    let operation = state.ledger.job.as_ref().map(|job| job.operation);
    told(view, state, failure, &verdict(view, failure.class), operation)
}

/// Reports a failure. `operation` is that of a write that failed.
fn told(view: &View<'_>, state: State, failure: &Failure, verdict: &Verdict, operation: Option<Operation>) -> Step {
    let message = match (failure.class, operation) {
        (Class::BadRequest, Some(operation)) => with_advice(&failure.message, advice(operation)),
        (Class::BadRequest, None) => with_advice(&failure.message, read_advice(view)),
        (Class::NotFound, _) => with_advice(&failure.message, &looked_where(view)),
        _ => failure.message.clone(),
    };
    let say = if verdict.stalled {
        Say::stalled(verdict.reason, message)
    } else {
        Say::working(verdict.reason, message)
    };
    Step::Settle {
        state: Box::new(view.say(state, say)),
        wake: verdict.wake,
        retry: true,
        waiting: verdict.waiting,
    }
}

/// Returns advice about a read that AWS refuses as wrong.
fn read_advice(view: &View<'_>) -> &'static str {
    if view.resource.deleting {
        "correct the value that AWS names, or set deletionPolicy: Retain to leave the AWS object there. The operator asks AWS again by itself"
    } else {
        "correct the value in the spec that AWS names. The operator asks AWS again by itself"
    }
}

/// Returns where AWS was asked for an app that it does not know.
pub(super) fn looked_where(view: &View<'_>) -> String {
    let ledger = &view.state.ledger;
    let unknown = || "unknown".to_owned();
    let account = view.known.account.clone().or_else(|| ledger.account_id.clone());
    let region = ledger.region.clone().or_else(|| view.surroundings.region.clone());
    let what = view.resource.words.place;
    format!(
        "looked in account {}, region {}: check {what}. The operator tries again by itself",
        account.unwrap_or_else(unknown),
        region.unwrap_or_else(unknown)
    )
}

/// Reports a failed read. Nothing is written if the stored conditions are still true.
pub(super) fn read_failed(view: &View<'_>, failure: &Failure) -> Step {
    let mut verdict = verdict(view, failure.class);
    let ledger = &view.state.ledger;
    let running = ledger.job.as_ref().is_some_and(|job| job.finish_time.is_none());
    // A read sends no spec that could be corrected, so the read is repeated.
    if failure.class == Class::BadRequest {
        let slow = timing::backoff(60.0, 3600.0, view.memory.tries, view.jitter);
        verdict.wake = Wake::At(timing::after(view.now, slow));
    }
    let reason = verdict.reason;
    let is_current = ledger.observed_generation == view.resource.generation && !view.resource.deleting;
    // A resumed resource has only its earlier status.
    let is_resumed = view.reason() == Some(Reason::Suspended) && !view.resource.deleting;
    let stays = verdict.passing
        && ((is_current || is_resumed) && view.is_ready()
            || view.is_stalled() && may_still_hold(view)
            || running
                && reason != Reason::AccessDenied
                && (!view.resource.deleting || !view.is_edited())
                && view.reason().is_some_and(may_be_said_of_a_job))
        // The same failure in other words (a request id) is no news.
        || view.reason() == Some(reason)
            && view.is_stalled() == verdict.stalled
            && ledger.observed_generation == view.resource.generation
            && !view.is_requested()
            && !is_of_another_call(view, failure);
    if stays {
        return Step::Settle {
            state: Box::new(view.state.clone()),
            wake: verdict.wake,
            retry: true,
            waiting: verdict.waiting,
        };
    }
    told(view, view.state.clone(), failure, &verdict, None)
}

/// Whether access is denied to another operation than the one in the status: that one is allowed by now.
fn is_of_another_call(view: &View<'_>, failure: &Failure) -> bool {
    let operation = |message: &str| message.split(':').next().map(str::to_owned);
    let said = conditions::get(&view.state.ledger.conditions, READY);
    failure.class == Class::AccessDenied
        && said.is_some_and(|ready| operation(&ready.message) != operation(&failure.message))
}

/// Whether this reason may still be true while a write is under way. The other reasons say why nothing is done.
const fn may_be_said_of_a_job(reason: Reason) -> bool {
    match reason {
        Reason::Available
        | Reason::Creating
        | Reason::Cloning
        | Reason::Updating
        | Reason::Deleting
        | Reason::WaitingForJob
        | Reason::JobTimedOut
        | Reason::AppNotFound
        | Reason::AccessDenied
        | Reason::QuotaExceeded
        | Reason::Throttled
        | Reason::AwsUnavailable => true,
        Reason::InvalidSpec
        | Reason::DependencyNotReady
        | Reason::AlreadyExists
        | Reason::Conflict
        | Reason::JobFailed
        | Reason::InUse
        | Reason::Drifted
        | Reason::NotFound
        | Reason::MigrationLocked
        | Reason::AccountNotFound
        | Reason::AccountChanged
        | Reason::Suspended
        | Reason::Released => false,
    }
}

/// Whether the stored reason of `Stalled` may still be true after a read has begun. Some reasons forbid a read.
fn may_still_hold(view: &View<'_>) -> bool {
    let ledger = &view.state.ledger;
    let is_current = ledger.observed_generation == view.resource.generation;
    match view.reason() {
        // Only if AWS refused the spec: an error that the operator itself finds is found before any read.
        Some(Reason::InvalidSpec) => is_current && ledger.job.as_ref().is_some_and(|job| view.tells_why(job)),
        Some(
            Reason::AlreadyExists
            | Reason::JobFailed
            | Reason::JobTimedOut
            | Reason::AccessDenied
            | Reason::QuotaExceeded
            | Reason::Drifted
            | Reason::NotFound
            | Reason::MigrationLocked
            | Reason::AppNotFound,
        ) => is_current,
        // A missing reference is found before AWS is read.
        Some(Reason::DependencyNotReady) => {
            let is_missing = view.surroundings.dependency.is_some()
                || matches!(view.known.config, Some(Err(_)))
                // A lack in AWS shows only in a look.
                || view.is_said_to_lack();
            is_current && is_missing
        }
        Some(
            Reason::Conflict
            | Reason::InUse
            | Reason::AccountNotFound
            | Reason::AccountChanged
            | Reason::Available
            | Reason::Creating
            | Reason::Cloning
            | Reason::Updating
            | Reason::Deleting
            | Reason::WaitingForJob
            | Reason::Throttled
            | Reason::AwsUnavailable
            | Reason::Suspended
            | Reason::Released,
        )
        | None => false,
    }
}

/// Returns the content of `Ready` while the outcome of a request is unknown.
pub(super) fn outcome_unknown(failure: &Failure) -> Say {
    let message = with_advice(
        &format!("AWS gave no clear answer to a request: {}", failure.message),
        "the operator is finding out whether AWS carried it out",
    );
    Say::working(Reason::AwsUnavailable, message)
}

/// Returns advice about an operation that AWS refuses, or that fails again and again.
pub(super) const fn advice(operation: Operation) -> &'static str {
    if operation.is_delete() {
        "remove the AWS object by hand, or set deletionPolicy: Retain to leave it there, or set the annotation amplify-operator.dev/reconcile-requested-at to a new value to try again"
    } else {
        "correct what AWS names, or set the annotation amplify-operator.dev/reconcile-requested-at to a new value to try again"
    }
}

/// Advice about an AWS object that exists and is not this resource's.
pub(super) const NOT_OURS: &str = "set adoptionPolicy: IfExists (and a deletionPolicy) to take it over, or remove it from AWS. Deleting this resource deletes nothing in AWS";

/// Returns the text and the advice. A text that is too long loses its middle, never the advice.
pub(super) fn with_advice(text: &str, advice: &str) -> String {
    let text = text.strip_suffix('.').unwrap_or(text);
    let room = MESSAGE_LIMIT.saturating_sub(advice.len() + 2);
    format!("{}; {advice}", text::shortened(text, room))
}

/// How much of a job's id a message repeats, in bytes. AWS's ids have 36, and the advice must still fit.
const ID_SHOWN: usize = 64;

/// Returns the job's id for messages.
pub(super) fn shown_id(job: &Job) -> std::borrow::Cow<'_, str> {
    text::shortened(job.id.as_deref().unwrap_or_default(), ID_SHOWN)
}

/// How much of a name that AWS gives a message repeats, in bytes.
const NAME_SHOWN: usize = 64;

/// Returns a name that AWS gives, for messages.
pub(super) fn shown_name(name: &str) -> String {
    text::escaped(&text::shortened(name, NAME_SHOWN)).into_owned()
}

/// Replaces AWS's text if AWS gave none.
pub(super) const NO_REASON: &str = "AWS gave no reason";

/// Returns the message while this operation is under way.
pub(super) fn working_message(job: &Job) -> String {
    let operation = job.operation;
    match &job.id {
        Some(_) if job.has_completed() => format!("{operation} completed (job {})", shown_id(job)),
        Some(_) if job.is_running() => format!("{operation} is running (job {})", shown_id(job)),
        _ if job.is_open_intent() => format!("{operation} is being sent"),
        _ => {
            let error = job.error.as_deref().unwrap_or(NO_REASON);
            let message = format!("{operation} failed and will be tried again: {error}");
            // The cause is at the end of AWS's text.
            text::shortened(&message, MESSAGE_LIMIT).into_owned()
        }
    }
}
