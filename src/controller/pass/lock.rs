//! Reads whether the environment of a resource is locked for a Gen 2 migration. All checks in an account and region share one list
//! of apps, and all writes to an app share one read of it.

use std::{pin::pin, time::Duration};

use jiff::SignedDuration;

use super::{
    super::{
        index::Environment,
        locks::{Answer, Asked, Marks, Scope},
    },
    Pass, Pause,
    aws::{Refusal, class},
};
use crate::{
    amplify::{AppId, AppSeen},
    api::conditions::{self, MIGRATION_LOCKED},
    kinds::Remote,
    lifecycle::{
        Lock, Mark, Purpose, Step,
        facts::{Class, Failure, Sent},
        migration::{self, FRESH},
    },
};

/// For so long a pass waits for the answer that another one is about to get.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer of this age is good enough for a requested look.
const JUST: SignedDuration = SignedDuration::from_secs(5);

/// What a read is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum About {
    /// All apps of the account and region.
    All,
    /// The app of the resource.
    App,
}

impl<K: Remote> Pass<'_, K> {
    /// Whether the environment is locked. A read that AWS denies is an answer; one that fails otherwise is one for a check alone.
    pub(super) async fn lock(&mut self, step: &Step, purpose: Purpose) -> Result<Lock, Refusal> {
        let environment = self.location()?.environment.clone();
        let scope = self.scope(&environment);
        let is_for_check = matches!(purpose, Purpose::Drift | Purpose::Request);
        // A resource that is locked sees the end of the lock also where the list cannot be read, or is old.
        let is_locked = self
            .object
            .ledger()
            .is_some_and(|ledger| conditions::is_true(&ledger.conditions, MIGRATION_LOCKED));
        let about = match purpose {
            Purpose::Drift if !is_locked => About::All,
            Purpose::Drift | Purpose::Request | Purpose::Write | Purpose::Outcome => About::App,
        };
        // Who asks for a look has just changed something.
        let fresh = if purpose == Purpose::Request { JUST } else { FRESH };
        if let Some(lock) = self
            .known_lock(&scope, &environment, about, fresh, is_for_check)
            .await?
        {
            return Ok(lock);
        }
        let (marks, begun) = match self
            .aws(step, class(purpose), purpose.calls(&self.object.abilities()))
            .await
        {
            Ok(client) => {
                let begun = self.context.clock.uptime();
                let marks = match about {
                    About::All => client.list_apps().await.map(marks_of),
                    About::App => {
                        let seen = client.get_app(&environment.app).await;
                        seen.map(|seen| marks_of(seen.map(|seen| (environment.app.to_string(), seen))))
                    }
                };
                (self.answered(marks), begun)
            }
            Err(refusal) => (Err(refusal), self.context.clock.uptime()),
        };
        let answer = match &marks {
            Ok(marks) => Some(Answer::Marks(marks.clone())),
            Err(Refusal::Failure(failure)) if self.is_of_credentials(failure).await => None,
            Err(Refusal::Failure(failure)) => Some(Answer::of(failure)),
            Err(Refusal::Pause(_)) => None,
        };
        let mut mark = answer
            .as_ref()
            .map(|answer| answer.mark(&environment.app, &environment.name));
        if let (Some(mark), Err(Refusal::Failure(failure))) = (mark, &marks) {
            self.tell_lock_failure(mark, failure, &scope);
        }
        let at = self.context.clock.at(begun);
        match about {
            About::All => self.context.locks.put_all(&scope, at, answer),
            About::App => self.context.locks.put(&scope, &environment.app, at, answer),
        }
        self.context.lock_answers.notify_waiters();
        if mark == Some(Mark::Denied)
            && let Asked::Known(lock) = self.asked_lock(&scope, &environment, about, fresh)
        {
            // The list of all apps may have shown it.
            mark = Some(lock.mark);
        }
        match (marks, mark) {
            (Err(refusal), None) => Err(refusal),
            (Err(refusal), Some(Mark::Unread)) if !is_for_check => Err(refusal),
            (_, mark) => Ok(Lock {
                at,
                mark: mark.unwrap_or(Mark::Unread),
            }),
        }
    }

    /// The answer that is known, or that another pass is about to get. `None`: this pass is to ask AWS.
    async fn known_lock(
        &self,
        scope: &Scope,
        environment: &Environment,
        about: About,
        fresh: SignedDuration,
        is_for_check: bool,
    ) -> Result<Option<Lock>, Refusal> {
        loop {
            let mut answer = pin!(self.context.lock_answers.notified());
            answer.as_mut().enable();
            match self.asked_lock(scope, environment, about, fresh) {
                Asked::Known(lock) if lock.mark == Mark::Unread && !is_for_check => return Err(just_failed().into()),
                Asked::Known(lock) => return Ok(Some(lock)),
                // A check has asked for nothing yet, and holds no permit, so it must not hold a place either.
                Asked::UnderWay if is_for_check => return Err(Pause::Later(Duration::from_secs(1)).into()),
                // Coming again would repeat the look and the list before a write. But who waits for long holds a place that others need.
                Asked::UnderWay => tokio::select! {
                    () = answer => {}
                    () = tokio::time::sleep(PATIENCE) => return Err(Pause::Later(Duration::from_secs(1)).into()),
                    () = self.context.shutdown.cancelled() => return Err(Pause::Later(Duration::from_secs(1)).into()),
                },
                Asked::Begin => return Ok(None),
            }
        }
    }

    fn asked_lock(&self, scope: &Scope, environment: &Environment, about: About, fresh: SignedDuration) -> Asked {
        let (app, name, now) = (&environment.app, &environment.name, self.context.now());
        match about {
            About::All => self.context.locks.of_check(scope, app, name, now),
            About::App => self.context.locks.of_app(scope, app, name, now, fresh),
        }
    }

    /// Whether the answer that a write rests on is still fresh enough right before its request. Other requests may have come between.
    pub(super) fn may_write(&self) -> bool {
        let now = self.context.now();
        let is_fresh = |lock: &Lock| migration::is_fresh(lock.at, now);
        self.ignores_lock() || self.known.lock.as_ref().is_some_and(is_fresh)
    }

    /// Whether AWS refuses the credentials themselves, and not only what they may do.
    async fn is_of_credentials(&self, failure: &Failure) -> bool {
        if failure.class != Class::AccessDenied {
            return false;
        }
        match &self.session {
            Some(session) if failure.sent == Sent::Refused => session.is_found_worn_out().await,
            Some(_) | None => true,
        }
    }
}

/// The failure of a pass that has waited for a read which failed.
fn just_failed() -> Failure {
    Failure {
        class: Class::Unavailable,
        sent: Sent::Never,
        message: "AWS has just not answered whether the backend environment is locked for a Gen 2 migration".to_owned(),
    }
}

/// Returns the locked environments of these apps.
fn marks_of(apps: impl IntoIterator<Item = (String, AppSeen)>) -> Marks {
    let locked = |(id, seen): (String, AppSeen)| Some((id.parse::<AppId>().ok()?, seen.locked_environment?));
    apps.into_iter().filter_map(locked).collect()
}
