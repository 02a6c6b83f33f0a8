//! The steps of a pass that read or write Kubernetes, and what is told of them. Each write is one request, conditional on
//! what was looked at.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::SignedDuration;
use kube::ResourceExt;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::{
    super::{context::Context, kind::Kind, kinds, kubernetes, queue::Again},
    Error, MAX_STALE, Pass, Pause, time_between,
};
use crate::{
    api::{
        DeletionPolicy, Job,
        conditions::{self, Reason},
    },
    lifecycle::{
        Config, Known, Polled, Sending, State, Wake,
        facts::{Class, JobSeen},
    },
};

/// How long a recording is still tried once the operator is to end.
const RECORD_AFTER_SHUTDOWN: Duration = Duration::from_secs(20);

impl<K: Kind> Pass<'_, K> {
    /// The configuration with its references resolved.
    pub(super) async fn resolve(&mut self) -> Result<(), Pause> {
        let Some(spec) = self.object.config() else {
            return Ok(());
        };
        let mut config = spec.clone();
        if kinds::is_schema_left_out(&config) {
            let live = kubernetes::get_whole(&self.api, &self.key.name)
                .await
                .map_err(Error::kubernetes("cannot read the resource"))?;
            let same = live.filter(|live| live.meta().generation == self.object.meta().generation);
            let Some(live) = same.filter(|live| live.uid().as_ref() == Some(&self.uid)) else {
                return self.refresh().await;
            };
            config = live.config().cloned().unwrap_or_default();
        }
        if let Some(from) = config.transform_schema_from.take() {
            let reference = from.config_map_key_ref;
            let value = kubernetes::config_map_key(
                &self.context.client,
                &self.key.namespace,
                &reference.name,
                &reference.key,
            )
            .await
            .map_err(Error::kubernetes(
                "cannot read the ConfigMap that transformSchemaFrom names",
            ))?;
            match value {
                Ok(schema) => config.transform_schema = Some(schema),
                Err(missing) => {
                    self.known.config = Some(Err(missing.into_message()));
                    return Ok(());
                }
            }
        }
        self.known.config = Some(Ok(Config {
            hash: kinds::config_hash(&config),
        }));
        self.config = Some(config);
        Ok(())
    }

    pub(super) async fn add_finalizer(&mut self) -> Result<(), Pause> {
        let written = kubernetes::set_finalizer(&self.api, &self.object, true).await;
        self.written(written, "cannot add the finalizer").await.map(drop)
    }

    pub(super) async fn intend(&mut self, state: &State) -> Result<(), Pause> {
        if self.write(state, "cannot store the intent").await? {
            self.known.sending = Sending::Intended;
        }
        Ok(())
    }

    /// Stores what this pass found out; what the status says now is not known any longer.
    pub(super) async fn record(&mut self, state: &State) -> Result<(), Pause> {
        if self.write(state, "cannot write the status").await? {
            self.known = Known {
                account: self.known.account.take(),
                look: self.known.look.take(),
                config: self.known.config.take(),
                ..Known::default()
            };
        }
        Ok(())
    }

    fn status(&self, state: &State) -> (Value, Value) {
        let old = self.object.stored();
        let new = self
            .object
            .status(state, self.located.location.as_ref(), self.found.as_ref());
        (old, new)
    }

    /// Writes this status on condition that nothing else has changed. False: the view was stale and is renewed.
    async fn write(&mut self, state: &State, what: &'static str) -> Result<bool, Pause> {
        let (old, new) = self.status(state);
        let before = self.object.state();
        let written = kubernetes::set_status(&self.api, &self.object, &old, &new).await;
        let done = self.written(written, what).await?;
        if done {
            self.tell(&before, state);
        }
        Ok(done)
    }

    /// Takes in what a conditional write returned. False: the view was stale and is renewed.
    async fn written(&mut self, written: kube::Result<K>, what: &'static str) -> Result<bool, Pause> {
        match written {
            Ok(object) => {
                self.take(object);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                self.refresh().await?;
                Ok(false)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Err(Pause::Queued),
            Err(error) => Err(Error::kubernetes(what)(error).into()),
        }
    }

    fn take(&mut self, object: K) {
        self.object = Arc::new(object);
        let object = self.object.clone();
        self.recall(|it| it.wrote(object, self.watched.cache.version(&self.key, &self.uid)));
        self.index();
    }

    /// The view was stale: look at the object itself. What was learnt stays only if nothing that decides has changed.
    async fn refresh(&mut self) -> Result<(), Pause> {
        self.stale += 1;
        if self.stale > MAX_STALE {
            return Err(Pause::Later(Duration::from_secs(1)));
        }
        let live = kubernetes::get(&self.api, &self.key.name)
            .await
            .map_err(Error::kubernetes("cannot read the resource"))?;
        let Some(live) = live.filter(|live| live.uid().as_ref() == Some(&self.uid)) else {
            return Err(Pause::Queued);
        };
        // What AWS showed stays true while others fight over the metadata.
        if live.meta().generation != self.object.meta().generation || live.stored() != self.object.stored() {
            self.known = Known::default();
            self.found = None;
            self.config = None;
        }
        self.take(live);
        Ok(())
    }

    /// Stores what AWS accepted. Tried until it lands: a job must not be lost.
    pub(super) async fn record_accepted(&mut self, state: &State) -> Result<(), Pause> {
        let before = self.object.state();
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .build();
        let object = loop {
            let (old, new) = self.status(state);
            match kubernetes::record(&self.api, &self.object, &old, &new).await {
                Ok(object) => break object,
                Err(kube::Error::Api(status)) if status.is_not_found() => {
                    Self::lost(state, "the resource is gone");
                    return Err(Pause::Queued);
                }
                Err(kube::Error::Api(status)) if status.code == 422 => {
                    // Another object of this name, or another attempt: see which.
                    self.refresh().await?;
                    let stored = self.object.state().ledger.job.map(|job| job.attempt);
                    if stored > state.ledger.job.as_ref().map(|job| job.attempt) {
                        Self::lost(state, "another operator has taken over");
                        return Err(Pause::Queued);
                    }
                }
                Err(error) => {
                    warn!(%error, "cannot record what AWS accepted; trying until it lands");
                }
            }
            self.pause(delays.next().unwrap_or(Duration::from_secs(5))).await?;
        };
        // Somebody may have edited the spec while AWS was asked: what was resolved is then that of the former one.
        let is_edited = object.meta().generation != self.object.meta().generation;
        if is_edited {
            self.config = None;
        }
        self.take(object);
        let ended = state
            .ledger
            .job
            .as_ref()
            .filter(|job| job.is_running() && job.status.as_deref() == Some(Job::COMPLETED));
        self.known = Known {
            account: self.known.account.take(),
            config: self.known.config.take().filter(|_| !is_edited),
            sending: Sending::Recorded,
            poll: ended.map(|job| Polled { job: Some(seen(job)) }),
            ..Known::default()
        };
        if let Some(job) = ended {
            self.ended(&seen(job), None);
        }
        self.tell(&before, state);
        Ok(())
    }

    async fn pause(&self, delay: Duration) -> Result<(), Pause> {
        let patience = async {
            self.context.shutdown.cancelled().await;
            tokio::time::sleep(RECORD_AFTER_SHUTDOWN).await;
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            // The intent is stored: the next process finds the job by it.
            () = patience => Err(Pause::Later(Duration::from_secs(1))),
        }
    }

    fn lost(state: &State, why: &str) {
        let job = state.ledger.job.as_ref();
        warn!(
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            "a job that AWS accepted cannot be recorded: {why}"
        );
    }

    /// Stores this status where it differs and ends the pass. None: the view was stale; go on with the new one.
    pub(super) async fn settle(&mut self, state: &State, wake: Wake, retry: bool) -> Result<Option<Again>, Pause> {
        let (old, new) = self.status(state);
        if old != new && !self.write(state, "cannot write the status").await? {
            return Ok(None);
        }
        let now = Context::now();
        let fingerprint = self.fingerprint();
        let checked = self.found.is_some().then_some(now);
        let denied = conditions::ready_reason(&state.ledger.conditions) == Some(Reason::AccessDenied)
            || self
                .known
                .failed
                .as_ref()
                .is_some_and(|failure| failure.class == Class::AccessDenied);
        self.recall(|it| {
            it.settled = Some((fingerprint, wake));
            it.poll_due = match wake {
                Wake::At(at) if state.ledger.job.as_ref().is_some_and(Job::is_running) => Some(at),
                _ => None,
            };
            if !retry {
                it.told = None;
            }
            it.memory.checked = checked.or(it.memory.checked);
            it.memory.tries = if retry { it.memory.tries.saturating_add(1) } else { 0 };
            it.memory.denied_since = denied.then(|| it.memory.denied_since.unwrap_or(now));
        });
        debug!(?wake, retry, "settled");
        Ok(Some(match wake {
            Wake::Never => Again::Never,
            Wake::At(at) => {
                let left = at.duration_since(Context::now()).max(SignedDuration::from_millis(10));
                Again::After(left.unsigned_abs())
            }
        }))
    }

    /// Removes the finalizer. False: the view was stale; go on with the new one.
    pub(super) async fn release(&mut self) -> Result<bool, Pause> {
        let written = kubernetes::set_finalizer(&self.api, &self.object, false).await;
        let released = self.written(written, "cannot remove the finalizer").await?;
        if released {
            self.tell_release();
            // The answer may bear the version of the write before it, as if the cache were up to date.
            self.recall(|it| it.released = true);
        }
        Ok(released)
    }

    /// The last line and the last Event of a resource.
    fn tell_release(&self) {
        let ledger = self.object.state().ledger;
        let job = ledger.job.filter(|job| job.operation.is_delete());
        let (message, action) = match &job {
            Some(job) => ("released: the AWS object is deleted", job.operation.name()),
            None if ledger.origin.is_none() => ("released: it owned no AWS object", "Release"),
            None if self.object.policies().deletion == Some(DeletionPolicy::Retain) => {
                ("released: the AWS object stays, as deletionPolicy says", "Release")
            }
            None => (
                "released: the AWS object is gone",
                self.object.create().counterpart().name(),
            ),
        };
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

    /// One line and one Event for each transition: of the reason, and of the job.
    fn tell(&self, before: &State, after: &State) {
        let (old, new) = (&before.ledger, &after.ledger);
        let job = new.job.as_ref();
        let action = job.map_or("Reconcile", |job| job.operation.name());
        let reference = || self.object.object_ref(&());
        if old.origin.is_some() && new.origin.is_none() && job.is_some_and(|job| !job.has_failed()) {
            self.context.events.gone(reference(), action);
        }
        let Some(reason) = conditions::ready_reason(&new.conditions) else {
            return;
        };
        let is_transition = conditions::ready_reason(&old.conditions) != Some(reason);
        let has_started =
            job.is_some_and(|job| job.id.is_some() && old.job.as_ref().map(|job| &job.id) != Some(&job.id));
        let has_ended = old.job.as_ref().is_some_and(Job::is_running) && job.is_some_and(|job| !job.is_running());
        // What is about to be sent is told when it is known what came of it.
        let is_about_to_send =
            job.is_some_and(Job::is_open_intent) && matches!(reason, Reason::Creating | Reason::Cloning);
        if !(is_transition || has_started || has_ended) || is_about_to_send {
            return;
        }
        let message = conditions::get(&new.conditions, conditions::READY).map_or("", |ready| ready.message.as_str());
        if let Some(job) = job.filter(|_| reason == Reason::Available)
            && let Some((_, end)) = self.recall(|it| it.ended.take_if(|(id, _)| job.id.as_ref() == Some(id)))
        {
            let delay = time_between(end, Context::now());
            self.context.metrics.ready_after_job(job.operation, delay);
        }
        // A job that ended before is not what this is about.
        let job = job.filter(|job| job.finish_time.is_none() || old.job.as_ref() != Some(job));
        info!(
            reason = reason.name(),
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            attempt = job.map(|job| job.attempt),
            "{message}"
        );
        self.context.events.transition(reference(), reason, message, action);
    }
}

fn seen(job: &Job) -> JobSeen {
    JobSeen {
        id: job.id.clone().unwrap_or_default(),
        environment: job.backend_environment_name.clone().unwrap_or_default(),
        operation: job.operation.name().to_owned(),
        status: job.status.clone().unwrap_or_default(),
        create_time: None,
        error: None,
    }
}
