//! The status that each situation deserves: conditions, messages, and how read failures show.

use jiff::Timestamp;

use super::{
    Flow, Step, Wake,
    facts::{Class, Failure},
    timing,
    view::{Account, Sending, State, View},
};
use crate::api::{
    Job, Operation, Origin,
    conditions::{self, Progress, READY, Reason, STALLED},
};

/// What `Ready` says.
pub(super) struct Say {
    ready: bool,
    progress: Progress,
    reason: Reason,
    message: String,
}

impl Say {
    /// Work goes on.
    pub(super) fn working(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            ready: false,
            progress: Progress::Reconciling,
            reason,
            message: message.into(),
        }
    }

    /// A person is needed.
    pub(super) fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            ready: false,
            progress: Progress::Stalled,
            reason,
            message: message.into(),
        }
    }
}

impl View<'_> {
    /// `state` with these conditions for today's generation; the request, if there is one, is answered.
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

    /// `state` with these conditions for this generation.
    pub(super) fn say_for(&self, mut state: State, say: Say, generation: i64) -> State {
        let Say {
            ready,
            progress,
            reason,
            message,
        } = say;
        let ledger = &mut state.ledger;
        ledger.observed_generation = ledger.observed_generation.max(generation);
        // A suspended resource may speak of no generation yet; a condition's is at least 0.
        let generation = generation.max(0);
        let now = self.now_seconds();
        ledger.conditions = conditions::state(&ledger.conditions, ready, progress, reason, &message, generation, now);
        state
    }

    /// The stored state with these conditions.
    pub(super) fn stored(&self, say: Say) -> State {
        self.say(self.state.clone(), say)
    }

    /// The reason of `Ready` as stored.
    pub(super) fn reason(&self) -> Option<Reason> {
        conditions::ready_reason(&self.state.ledger.conditions)
    }

    /// Whether `Ready` is True as stored.
    pub(super) fn is_ready(&self) -> bool {
        conditions::is_true(&self.state.ledger.conditions, READY)
    }

    /// Whether the stored conditions repeat how this job ended.
    pub(super) fn tells_why(&self, job: &Job) -> bool {
        let ready = conditions::get(&self.state.ledger.conditions, READY);
        job.finish_time.is_some() && job.error.as_ref() == ready.map(|ready| &ready.message)
    }

    /// Whether the stored conditions tell why AWS refused the last attempt, and nobody has asked for another since.
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

    /// Ready=True for `state`, with a message that says why.
    pub(super) fn available(&self, state: &State) -> Say {
        let ledger = &state.ledger;
        let how = match &ledger.job {
            Some(job) if job.has_completed() => working_message(job),
            _ if self.resource.create == Operation::CreateBackendEnvironment => {
                "the environment's record exists; a record deploys nothing".to_owned()
            }
            _ => "the AWS object exists as the spec wants it".to_owned(),
        };
        let message = if ledger.origin == Some(Origin::Adopted) {
            format!("adopted: {how}")
        } else {
            how
        };
        Say {
            ready: true,
            progress: Progress::Settled,
            reason: Reason::Available,
            message,
        }
    }

    /// When the next drift check falls.
    pub(super) fn next_check(&self) -> Timestamp {
        let last = match self.known.sending {
            // What this pass has made needs no look before the next check.
            Sending::Recorded => self.now,
            _ => self.memory.since.max(self.memory.checked.unwrap_or(self.memory.since)),
        };
        timing::next_check(last, self.settings.drift_interval, self.surroundings.phase)
    }

    /// When the next drift check falls, were there one now.
    pub(super) fn check_after_now(&self) -> Wake {
        Wake::At(timing::next_check(
            self.now,
            self.settings.drift_interval,
            self.surroundings.phase,
        ))
    }
}

/// The reason of work on this operation.
pub(super) const fn working_reason(operation: Operation) -> Reason {
    match operation {
        Operation::CloneBackend => Reason::Cloning,
        Operation::UpdateBackendApi => Reason::Updating,
        operation if operation.is_delete() => Reason::Deleting,
        _ => Reason::Creating,
    }
}

/// The resource's account can be reached, or the status says why not: no call is made with another account's credentials.
/// What is open stays open, and is taken up again when the account is back.
pub(super) fn account_is_there(view: &View<'_>) -> Flow<()> {
    let say = match (&view.surroundings.account, &view.state.ledger.account_id) {
        (Account::Missing(why), _) => Say::stalled(Reason::AccountNotFound, why),
        (Account::Mapped(account), Some(pinned)) if account != pinned => Say::stalled(
            Reason::AccountChanged,
            format!(
                "the AWS object is in account {pinned}, and the operator's accounts file now maps this namespace to {account}: map it back, or delete this resource with deletionPolicy: Retain"
            ),
        ),
        (Account::Own | Account::Mapped(_), _) => return Ok(()),
    };
    Err(Step::settle(view.stored(say), Wake::Never))
}

/// `spec.suspend` is true: Ready keeps its status and takes the reason; one write says so. Of what is being deleted
/// nobody knows whether AWS has been told before: it is not Ready.
pub(super) fn suspended(view: &View<'_>) -> Step {
    let ready = view.is_ready() && !view.resource.deleting;
    let say = Say {
        ready,
        progress: Progress::Settled,
        reason: Reason::Suspended,
        message: "spec.suspend is true: no AWS call is made for this resource until it is false".to_owned(),
    };
    // Observed, unless an edit that AWS has not been told of waits: then the resource must not pass for current.
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

/// How a failure shows and when it is tried again.
struct Verdict {
    reason: Reason,
    stalled: bool,
    /// Throttling and short outages change nothing for a resource that is Ready, Stalled or has a job running.
    passing: bool,
    wake: Wake,
}

fn verdict(view: &View<'_>, class: Class) -> Verdict {
    let tries = view.memory.tries;
    let at = |span| Wake::At(timing::after(view.now, span));
    let jitter = view.jitter;
    let (reason, stalled, passing, wake) = match class {
        Class::NotFound => (
            Reason::AppNotFound,
            false,
            false,
            at(timing::backoff(30.0, 600.0, tries, jitter)),
        ),
        Class::BadRequest => (Reason::InvalidSpec, true, false, Wake::Never),
        Class::Pending => (
            Reason::WaitingForJob,
            false,
            false,
            at(timing::backoff(15.0, 60.0, tries, jitter)),
        ),
        Class::Throttled => (
            Reason::Throttled,
            false,
            true,
            at(timing::full_jitter(5.0, 300.0, tries, jitter)),
        ),
        Class::QuotaExceeded => (
            Reason::QuotaExceeded,
            true,
            false,
            at(timing::backoff(600.0, 3600.0, tries, jitter)),
        ),
        Class::AccessDenied => {
            let known_stalled = view.reason() == Some(Reason::AccessDenied)
                && conditions::is_true(&view.state.ledger.conditions, STALLED);
            let slow_iam = view
                .memory
                .denied_since
                .is_none_or(|since| !timing::is_past(since, timing::DENIED_GRACE, view.now));
            (
                Reason::AccessDenied,
                known_stalled || !slow_iam,
                slow_iam && !known_stalled,
                at(timing::backoff(60.0, 600.0, tries, jitter)),
            )
        }
        Class::Unavailable => (
            Reason::AwsUnavailable,
            false,
            true,
            at(timing::backoff(5.0, 300.0, tries, jitter)),
        ),
        Class::AccountNotFound => (Reason::AccountNotFound, true, false, Wake::Never),
        Class::AccountChanged => (Reason::AccountChanged, true, false, Wake::Never),
    };
    Verdict {
        reason,
        stalled,
        passing,
        wake,
    }
}

/// What a failure leads to: `state` with the conditions that it deserves, tried again by its class.
pub(super) fn failed(view: &View<'_>, state: State, failure: &Failure) -> Step {
    told(view, state, failure, &verdict(view, failure.class))
}

fn told(view: &View<'_>, state: State, failure: &Failure, verdict: &Verdict) -> Step {
    let say = if verdict.stalled {
        Say::stalled(verdict.reason, &failure.message)
    } else {
        Say::working(verdict.reason, &failure.message)
    };
    Step::Settle {
        state: Box::new(view.say(state, say)),
        wake: verdict.wake,
        retry: true,
    }
}

/// What a failed read leads to. Nothing is written where the stored conditions still tell the truth.
pub(super) fn read_failed(view: &View<'_>, failure: &Failure) -> Step {
    let mut verdict = verdict(view, failure.class);
    let ledger = &view.state.ledger;
    let running = ledger.job.as_ref().is_some_and(|job| job.finish_time.is_none());
    // A read carries no spec that could be mended: what AWS has is asked for again.
    if failure.class == Class::BadRequest && running {
        let slow = timing::backoff(60.0, 600.0, view.memory.tries, view.jitter);
        verdict.wake = Wake::At(timing::after(view.now, slow));
    } else if failure.class == Class::BadRequest && ledger.origin.is_some() {
        verdict.wake = view.check_after_now();
    }
    let is_stalled = conditions::is_true(&ledger.conditions, STALLED);
    let reason = verdict.reason;
    let stays = verdict.passing && (view.is_ready() || is_stalled || (running && reason != Reason::AccessDenied))
        // The same again, in other words (a request id): no news.
        || view.reason() == Some(reason)
            && is_stalled == verdict.stalled
            && ledger.observed_generation == view.resource.generation
            && !view.is_requested();
    if stays {
        return Step::Settle {
            state: Box::new(view.state.clone()),
            wake: verdict.wake,
            retry: true,
        };
    }
    told(view, view.state.clone(), failure, &verdict)
}

/// What stands for AWS's text where AWS gave none.
pub(super) const NO_REASON: &str = "AWS gave no reason";

/// The message of work on this operation.
pub(super) fn working_message(job: &Job) -> String {
    let operation = job.operation;
    match &job.id {
        Some(id) if job.has_completed() => format!("{operation} completed (job {id})"),
        Some(id) if job.is_running() => format!("{operation} is running (job {id})"),
        _ if job.is_open_intent() => format!("{operation} is being sent"),
        _ => {
            let error = job.error.as_deref().unwrap_or(NO_REASON);
            format!("{operation} failed and will be tried again: {error}")
        }
    }
}
