//! The steps of a pass that read or write Kubernetes, and the reports about them. Each write is one request,
//! conditional on the version that was looked at.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    super::{kubernetes, locks::Scope, memory::LeftAlone, queue::Again},
    Error, MAX_STALE, Pass, Pause, time_between,
};
use crate::{
    amplify::without_request_id,
    api::{
        FINALIZER, Job,
        conditions::{self, MIGRATION_LOCKED, READY, Reason, STALLED},
    },
    kinds::{
        Observation, Remote,
        config::{self, Config as _},
    },
    lifecycle::{self, Config, Lack, Mark, Missing, Observed, State, facts::Failure},
    telemetry::error::in_words,
};

/// Longest wait between two attempts to record a write that AWS has accepted.
const RECORD_MAX: Duration = Duration::from_secs(5);

impl<K: Remote> Pass<'_, K> {
    /// Resolves the references of the configuration.
    pub(super) async fn resolve(&mut self) -> Result<Observed, Pause> {
        let mut config = self.object.config().cloned().unwrap_or_default();
        if config.is_left_out() {
            let live = kubernetes::get_whole(&self.api, &self.key.name)
                .await
                .map_err(Error::kubernetes("cannot read the resource"))?;
            let same = live.filter(|live| live.meta().generation == self.object.meta().generation);
            let Some(live) = same.filter(|live| live.uid().as_ref() == Some(&self.uid)) else {
                return self.refresh().await;
            };
            config = live.config().cloned().unwrap_or_default();
        }
        if let Some(reference) = config.take_reference() {
            let text = kubernetes::config_map_key(&self.context.client, &self.key.namespace, &reference)
                .await
                .map_err(Error::kubernetes("cannot read the ConfigMap that the spec names"))?;
            match text {
                Ok(text) => config.fill(text),
                Err(missing) => return Ok(Observed::Config(Err(missing))),
            }
        } else if let Some(message) = config.problem() {
            let lack = Lack::Unusable;
            return Ok(Observed::Config(Err(Missing { message, lack })));
        }
        config.settle();
        let hash = config::hash(&config);
        self.config = Some(config);
        Ok(Observed::Config(Ok(Config { hash })))
    }

    pub(super) async fn set_finalizer(&mut self, wanted: bool, what: &'static str) -> Result<Observed, Pause> {
        let written = kubernetes::set_finalizer(&self.api, &self.object, wanted).await;
        self.written(written, what).await
    }

    /// The object as this pass has seen it, with the outputs that another pass has read.
    fn shown(&self) -> Observation<K::Found> {
        let Some(outputs) = &self.handed_over else {
            return self.found.clone();
        };
        match self.found.clone() {
            Observation::NotMade => K::of_outputs(outputs).map_or(Observation::NotMade, Observation::Object),
            Observation::Absent => Observation::Absent,
            Observation::Object(mut found) => {
                K::add_outputs(&mut found, outputs);
                Observation::Object(found)
            }
        }
    }

    fn status(&self, state: &State) -> (Value, Value) {
        let old = self.object.stored();
        let found = self.shown();
        let new = self.object.show(state, self.located.location.as_ref(), found.as_ref());
        (old, new)
    }

    /// Writes this status if it differs, on condition that the object is unchanged.
    pub(super) async fn write(&mut self, state: &State, what: &'static str) -> Result<Observed, Pause> {
        let (old, new) = self.status(state);
        if old == new {
            return Ok(Observed::STORED);
        }
        let before = self.object.state();
        let written = kubernetes::set_status(&self.api, &self.object, &old, &new).await;
        let observed = self.written(written, what).await?;
        if matches!(observed, Observed::Stored { .. }) {
            self.tell(&before, state);
        }
        Ok(observed)
    }

    /// Handles the result of a conditional write. If the view was stale, it is renewed.
    async fn written(&mut self, written: kube::Result<K>, what: &'static str) -> Result<Observed, Pause> {
        match written {
            Ok(object) => {
                self.take(object);
                Ok(Observed::STORED)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => self.refresh().await,
            Err(kube::Error::Api(status)) if status.is_not_found() => Err(Pause::Queued),
            Err(error) => {
                self.tell_refusal(&error);
                Err(Error::kubernetes(what)(error).into())
            }
        }
    }

    fn take(&mut self, object: K) {
        self.object = Arc::new(object);
        let object = self.object.clone();
        self.recall(|it| {
            it.refused = None;
            it.wrote(object, self.watched.cache.version(&self.key, &self.uid));
        });
        self.index();
    }

    /// Reads the stored resource. The pass ends if the resource is gone.
    async fn live(&self) -> Result<K, Pause> {
        let live = kubernetes::get(&self.api, &self.key.name)
            .await
            .map_err(Error::kubernetes("cannot read the resource"))?;
        live.filter(|live| live.uid().as_ref() == Some(&self.uid))
            .ok_or(Pause::Queued)
    }

    /// Renews a stale view by reading the resource.
    async fn refresh(&mut self) -> Result<Observed, Pause> {
        let live = self.live().await?;
        self.renew(live)
    }

    /// Continues with this version. The facts of the pass stay only if generation and status are unchanged.
    fn renew(&mut self, live: K) -> Result<Observed, Pause> {
        self.stale += 1;
        if self.stale > MAX_STALE {
            return Err(Pause::Later(Duration::from_secs(1)));
        }
        let same = live.meta().generation == self.object.meta().generation && live.stored() == self.object.stored();
        if !same {
            self.found = Observation::NotMade;
            self.config = None;
        }
        self.take(live);
        Ok(Observed::Stale { same })
    }

    /// Reads the resource right before a write that has no intent. `None`: the version is still the one of the
    /// decision.
    pub(super) async fn stale_view(&mut self) -> Result<Option<Observed>, Pause> {
        let live = self.live().await?;
        if live.resource_version() == self.object.resource_version() {
            return Ok(None);
        }
        self.renew(live).map(Some)
    }

    /// Stores the write that AWS accepted, or may have accepted. Repeated until it succeeds: a job must not be lost.
    pub(super) async fn record_accepted(&mut self, state: &State) -> Result<Observed, Pause> {
        let before = self.object.state();
        let generation = self.object.meta().generation;
        let mut state = state.clone();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(RECORD_MAX)
            .without_max_times()
            .build();
        let object = loop {
            let (old, new) = self.status(&state);
            match kubernetes::record(&self.api, &self.object, &old, &new).await {
                Ok(object) => break object,
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    Self::lost(&state, "the resource is gone");
                    return Err(Pause::Queued);
                }
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    // Another object of this name, another attempt, or a newer generation: find out which.
                    let live = match self.live().await {
                        Ok(live) => live,
                        Err(Pause::Queued) => {
                            Self::lost(&state, "the resource is gone");
                            return Err(Pause::Queued);
                        }
                        // The next answer of the API server will show whether the resource still exists.
                        Err(Pause::Later(_) | Pause::Failed(_)) => {
                            self.stand_aside(delays.next().unwrap_or(RECORD_MAX)).await;
                            continue;
                        }
                    };
                    let stored = live.state();
                    let attempt = |state: &State| state.ledger.job.as_ref().map(|job| job.attempt);
                    if attempt(&stored) > attempt(&state) {
                        Self::lost(&state, "another operator has taken over");
                        return Err(Pause::Queued);
                    }
                    if live.stored() == old {
                        // Nothing has changed, so the API server refuses the write itself.
                        self.tell_refusal(&kube::Error::Api(status));
                    } else {
                        state = lifecycle::recorded_beside(&state, &stored);
                        self.take(live);
                    }
                }
                Err(error) => {
                    self.tell_refusal(&error);
                    warn!(
                        error = in_words(&error),
                        "cannot record the write that AWS accepted; the operator tries again until it succeeds"
                    );
                }
            }
            self.stand_aside(delays.next().unwrap_or(RECORD_MAX)).await;
        };
        // A user may have edited the spec during the call to AWS.
        let edited = object.meta().generation != generation;
        if edited {
            self.config = None;
        }
        self.take(object);
        if let Some(job) = lifecycle::ended(&state) {
            self.ended(&job);
        }
        self.tell(&before, &state);
        Ok(Observed::Stored { edited })
    }

    /// Waits without holding a token or a place: the API server may refuse the writes in one namespace for ever.
    async fn stand_aside(&mut self, time: Duration) {
        self.permit = None;
        self.place.leave_for(time).await;
    }

    fn lost(state: &State, why: &str) {
        let job = state.ledger.job.as_ref();
        warn!(
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            "a job that AWS accepted cannot be recorded: {why}"
        );
    }

    /// Records how the pass ended, and when the next one is due. `None`: something else has to wake the resource.
    pub(super) fn settled(&mut self, due: Option<Instant>, retry: bool) -> Again {
        if let Some(stored) = self.handed_over.take() {
            let mut all = self.context.outputs.lock();
            // Newer ones have their own pass.
            if all.get(&self.key).is_some_and(|now| Arc::ptr_eq(&now.outputs, &stored)) {
                all.remove(&self.key);
            }
        }
        let fingerprint = self.fingerprint();
        let soonest = Instant::now() + Duration::from_millis(10);
        let due = due.map(|due| due.max(soonest));
        let job = self.object.ledger().and_then(|ledger| ledger.job.as_ref());
        let is_running = job.is_some_and(Job::is_running);
        self.recall(|it| {
            it.settled = Some((fingerprint, due));
            it.poll_due = due.filter(|_| is_running);
            if !retry {
                it.told = None;
            }
            it.memory = self.memory.clone();
        });
        let after = due.map(|due| due.saturating_duration_since(Instant::now()));
        debug!(?after, retry, "settled");
        after.map_or(Again::Never, Again::After)
    }

    /// Removes the finalizer.
    pub(super) async fn release(&mut self) -> Result<Observed, Pause> {
        // Before the answer: the watch may show the deletion first.
        let is_last = self.object.finalizers().iter().all(|name| name == FINALIZER);
        self.recall(|it| it.left_alone = is_last.then_some(LeftAlone::Released));
        let observed = self.set_finalizer(false, "cannot remove the finalizer").await;
        // The answer may carry the version of the previous write, as if the cache were up to date.
        let is_released = matches!(observed, Ok(Observed::Stored { .. })) && self.is_gone();
        self.recall(|it| it.left_alone = is_released.then_some(LeftAlone::Released));
        observed
    }

    /// Reports in an Event that the API server refuses the operator's write (a policy, a quota). No status can report
    /// it.
    fn tell_refusal(&self, error: &kube::Error) {
        let kube::Error::Api(status) = error else { return };
        if !matches!(status.code, 400 | 403 | 405 | 413 | 422) {
            return;
        }
        let message = format!("the API server refuses this operator's write: {}", status.message);
        let before = self.recall(|it| it.refused.replace(message.clone()));
        if before.as_ref() != Some(&message) {
            self.context.events.write_refused(self.object.object_ref(&()), &message);
        }
    }

    /// Writes the last log line and the last Event of a resource.
    pub(super) fn tell_release(&self) {
        let message = self.decide(lifecycle::what_became);
        let job = self.object.ledger().and_then(|ledger| ledger.job.clone());
        let job = job.filter(|job| job.operation.is_delete());
        let action = job.as_ref().map_or("Release", |job| job.operation.name());
        info!(
            operation = job.as_ref().map(|job| job.operation.name()),
            job = job.as_ref().and_then(|job| job.id.as_deref()),
            attempt = job.as_ref().map(|job| job.attempt),
            "{message}"
        );
        self.context
            .events
            .released(self.object.object_ref(&()), message, action);
    }

    /// Logs a failed read of the lock, and reports once for each account and region that AWS denies it.
    pub(super) fn tell_lock_failure(&self, mark: Mark, failure: &Failure, scope: &Scope) {
        let why = without_request_id(&failure.message);
        if mark != Mark::Denied {
            debug!("the migration lock cannot be read: {why}");
            return;
        }
        self.context.metrics.lock_denied();
        if self.context.locks.is_news(scope) {
            let message = format!(
                "the operator does not see whether this backend environment is locked for a Gen 2 migration, and writes to it unless it has seen a lock before: {why}"
            );
            warn!("{message}");
            self.context.events.lock_unknown(self.object.object_ref(&()), &message);
        }
    }

    /// Logs and reports that the environment is locked now, unless the reason of Ready says so.
    fn tell_lock(&self, old: &[Condition], new: &[Condition], reason: Reason) {
        let (None, Some(locked)) = (
            conditions::get(old, MIGRATION_LOCKED),
            conditions::get(new, MIGRATION_LOCKED),
        ) else {
            return;
        };
        if reason == Reason::MigrationLocked {
            return;
        }
        if self.recall(|it| it.ration.take(Instant::now())) {
            info!(reason = Reason::MigrationLocked.name(), "{}", locked.message);
            self.context.events.locked(self.object.object_ref(&()), &locked.message);
        } else {
            self.context.metrics.event_left_out();
        }
    }

    /// Writes one line and one Event for each transition of the conditions or of the job.
    fn tell(&self, before: &State, after: &State) {
        let (old, new) = (&before.ledger, &after.ledger);
        let job = new.job.as_ref();
        let action = job.map_or("Reconcile", |job| job.operation.name());
        let reference = || self.object.object_ref(&());
        let Some(reason) = conditions::ready_reason(&new.conditions) else {
            return;
        };
        if reason == Reason::Released {
            // Already reported when this operator removed the finalizer.
            if !self.known.released && conditions::ready_reason(&old.conditions) != Some(reason) {
                self.tell_release();
            }
            return;
        }
        let message = conditions::get(&new.conditions, conditions::READY).map_or("", |ready| ready.message.as_str());
        let known = |id: &Option<String>| old.job.as_ref().is_some_and(|job| job.has_failed() && job.id == *id);
        let has_failed = job.is_some_and(|job| job.has_failed() && !known(&job.id));
        // If the end of a create was never seen, no object was ever there that could be gone.
        let was_there = old
            .job
            .as_ref()
            .is_none_or(|job| !job.operation.is_create() || job.finish_time.is_some());
        // An object that is only observed, or that may have been migrated, is not created again.
        let stays_gone = reason == Reason::NotFound || new.migration_locked_at.is_some();
        if !has_failed && was_there && !stays_gone && old.origin.is_some() && new.origin.is_none() {
            self.context.events.gone(reference(), action);
        }
        self.tell_lock(&old.conditions, &new.conditions, reason);
        let is_transition = is_transition(&old.conditions, &new.conditions);
        let has_started =
            job.is_some_and(|job| job.id.is_some() && old.job.as_ref().map(|job| &job.id) != Some(&job.id));
        let has_ended = old.job.as_ref().is_some_and(Job::is_running) && job.is_some_and(|job| !job.is_running());
        // A write that is about to be sent is reported when its outcome is known.
        let is_about_to_send =
            job.is_some_and(Job::is_open_intent) && matches!(reason, Reason::Creating | Reason::Cloning);
        if !(is_transition || has_started || has_ended) || is_about_to_send {
            return;
        }
        if let Some(job) = job.filter(|_| reason == Reason::Available)
            && let Some((_, end)) = self.recall(|it| it.ended.take_if(|(id, _)| job.id.as_ref() == Some(id)))
        {
            let delay = time_between(end, self.context.now());
            self.context.metrics.ready_after_job(job.operation, delay);
        }
        if !has_failed && !self.recall(|it| it.ration.take(Instant::now())) {
            self.context.metrics.event_left_out();
            debug!(reason = reason.name(), "{message}");
            return;
        }
        // A job that ended earlier does not belong to this transition.
        let job = job.filter(|job| job.finish_time.is_none() || old.job.as_ref() != Some(job));
        info!(
            reason = reason.name(),
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            attempt = job.map(|job| job.attempt),
            "{message}"
        );
        if has_failed && !(is_transition && reason == Reason::JobFailed) {
            // Whether or not the job will be retried, and whatever the status reports now.
            let text = job.and_then(|job| job.error.as_deref()).unwrap_or("AWS gave no reason");
            self.context
                .events
                .job_failed(reference(), &format!("{action} failed: {text}"), action);
        }
        if is_transition || !has_failed {
            self.context.events.transition(reference(), reason, message, action);
        }
    }
}

/// Whether `Ready` has another reason, or the resource has become Stalled, or is Stalled for another generation than
/// before.
fn is_transition(old: &[Condition], new: &[Condition]) -> bool {
    let stalled = |conditions| conditions::is_true(conditions, STALLED);
    let of_spec = |conditions| conditions::get(conditions, READY).and_then(|ready| ready.observed_generation);
    conditions::ready_reason(old) != conditions::ready_reason(new)
        || stalled(new) && (!stalled(old) || of_spec(old) != of_spec(new))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::api::conditions::Progress;

    #[test]
    fn a_transition_is_another_reason_or_a_person_who_is_needed_now_or_for_another_spec() {
        let said = |reason, progress, generation| {
            conditions::state(&[], false, progress, reason, "said", generation, Timestamp::UNIX_EPOCH)
        };
        let (working, stalled) = (Progress::Reconciling, Progress::Stalled);
        let missing = Reason::DependencyNotReady;
        for (old, new, expected) in [
            ((missing, working, 1), (missing, working, 1), false),
            ((missing, working, 1), (missing, working, 2), false),
            ((missing, working, 1), (missing, stalled, 1), true),
            ((missing, stalled, 1), (missing, working, 1), false),
            (
                (Reason::InvalidSpec, stalled, 1),
                (Reason::InvalidSpec, stalled, 1),
                false,
            ),
            (
                (Reason::InvalidSpec, stalled, 1),
                (Reason::InvalidSpec, stalled, 2),
                true,
            ),
            ((Reason::Creating, working, 1), (Reason::Available, working, 1), true),
        ] {
            let (old_said, new_said) = (said(old.0, old.1, old.2), said(new.0, new.1, new.2));
            assert_eq!(is_transition(&old_said, &new_said), expected, "{old:?} {new:?}");
        }
        assert!(is_transition(&[], &said(Reason::Creating, working, 1)));
    }
}
