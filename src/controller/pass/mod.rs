//! One reconcile: gets the next step from the lifecycle and performs it, until the resource is settled.
//!
//! Each step makes at most one request that writes. The next decision uses the object that the write returned, never an
//! older cache.

mod aws;
mod lock;
mod publish;
mod store;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use super::{
    context::Context,
    index::{Environment, ObjectKey},
    memory::{self, Recollection},
    queue::{Again, Place},
    watched::{Watched, account_for},
};
use crate::{
    amplify::{BucketKey, Permit, Session},
    api::{
        FINALIZER, IGNORE_MIGRATION_LOCK, RECONCILE_REQUESTED_AT,
        conditions::{self, Reason},
        outputs::BackendOutputs,
    },
    kinds::{Located, Observation, Remote},
    lifecycle::{self, Known, Memory, Observed, Resource as Wanted, Sending, Step, Surroundings, View, Wake, timing},
};

/// Upper limit of steps in one pass. More are a bug, which must not become a hot loop.
const MAX_STEPS: usize = 64;
/// Upper limit of stale views in one pass. After that the resource waits for its next turn.
const MAX_STALE: usize = 20;

/// Why a pass could not continue.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A request to the API server failed.
    #[error("{what}: {source}")]
    Kubernetes {
        what: &'static str,
        source: Box<kube::Error>,
    },
    /// The lifecycle returned more steps than any situation needs.
    #[error("no end after {MAX_STEPS} steps: this is a bug in the operator")]
    Endless,
    /// The code of the operator or of a library panicked. Its own words are in the log: they may hold anything.
    #[error("the pass panicked: this is a bug in the operator or in a library")]
    Panicked,
}

impl Error {
    /// Returns the class of the error, for metrics.
    pub(super) const fn class(&self) -> &'static str {
        match self {
            Self::Kubernetes { .. } => "kubernetes",
            // Both are bugs, and the alert about them asks for the same.
            Self::Endless | Self::Panicked => "endless",
        }
    }

    fn kubernetes(what: &'static str) -> impl Fn(kube::Error) -> Self {
        move |source| Self::Kubernetes {
            what,
            source: Box::new(source),
        }
    }
}

/// Why a step ends the pass.
enum Pause {
    /// The pass waits for tokens. The resource is woken when tokens are reserved for it.
    Queued,
    /// The next pass comes after this time.
    Later(Duration),
    /// The pass failed.
    Failed(Error),
}

impl From<Error> for Pause {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One pass over one resource.
pub(super) struct Pass<'a, K: Remote> {
    watched: &'a Watched<K>,
    context: &'a Context,
    api: Api<K>,
    key: Arc<ObjectKey>,
    uid: String,
    object: Arc<K>,
    located: Located,
    known: Known,
    memory: Memory,
    /// The AWS object as seen in this pass.
    found: Observation<K::Found>,
    /// The outputs of its backend that the pass of another resource has read.
    handed_over: Option<Arc<BackendOutputs>>,
    /// The configuration with its references resolved.
    config: Option<K::Config>,
    permit: Option<Permit>,
    /// Whether the pass ended to wait for tokens.
    is_queued: bool,
    place: Place,
    /// The session of the last call.
    session: Option<Arc<Session>>,
    /// Whether a read that failed for worn-out credentials has been repeated. It is repeated once in a pass.
    renewed: bool,
    /// The digest of the namespace's entry in the accounts file when this pass began.
    mapping: u64,
    stale: usize,
}

/// Reconciles a resource once. Returns when its next pass is due.
pub(super) async fn reconcile<K: Remote>(
    watched: &Watched<K>,
    key: &Arc<ObjectKey>,
    place: Place,
) -> Result<Again, Error> {
    let throttle = &watched.context.throttle;
    let Some(mut pass) = Pass::begin(watched, key, place) else {
        throttle.forget(key);
        watched.forget_if_gone(key);
        return Ok(Again::Never);
    };
    if let Some(again) = pass.is_settled() {
        throttle.forget(key);
        return Ok(again);
    }
    let result = surviving(pass.run()).await;
    drop(pass.permit.take());
    if !pass.is_queued {
        // Tokens that were reserved for it but are not needed go to others.
        throttle.forget(key);
    }
    let freed = watched.context.index.lock().end_reservation(&pass.key);
    watched.context.wake(freed);
    if result.is_err() {
        pass.recall(|it| it.settled = None);
    }
    watched.forget_if_gone(key);
    match result {
        Ok(again) => Ok(again),
        Err(Pause::Queued) => Ok(Again::Never),
        Err(Pause::Later(delay)) => Ok(Again::After(delay)),
        Err(Pause::Failed(error)) => Err(error),
    }
}

/// Turns a panic into a failure. A panic of one pass must not end the passes of all resources. It is as if the process
/// had crashed in this pass: the intent of a create is stored before it is sent.
async fn surviving(pass: impl Future<Output = Result<Again, Pause>>) -> Result<Again, Pause> {
    let result = AssertUnwindSafe(pass).catch_unwind().await;
    result.unwrap_or(Err(Pause::Failed(Error::Panicked)))
}

impl<'a, K: Remote> Pass<'a, K> {
    fn begin(watched: &'a Watched<K>, key: &Arc<ObjectKey>, place: Place) -> Option<Self> {
        let context = &watched.context;
        let key = key.clone();
        let uid = watched.cache.uid(&key)?;
        let (object, memory, is_left_alone) = watched.recollections.with(&key, &uid, context.now(), |it| {
            // Under this lock: otherwise the watch could show the object that this process wrote last, that object
            // would be dropped from memory, and this pass would see neither.
            let cached = watched
                .cache
                .get(&key)
                .filter(|cached| cached.uid().as_ref() == Some(&uid))?;
            it.queued = false;
            Some((it.newest(cached), it.memory.clone(), it.left_alone.is_some()))
        })?;
        if is_left_alone {
            return None;
        }
        let mut pass = Self {
            watched,
            context,
            api: Api::namespaced(context.client.clone(), &key.namespace),
            handed_over: context.handed_over(&key, &uid),
            uid,
            object,
            located: Located::default(),
            known: Known::default(),
            memory,
            found: Observation::NotMade,
            config: None,
            permit: None,
            is_queued: false,
            place,
            session: None,
            renewed: false,
            // Before the object is located: a later change of the entry must be noticed.
            mapping: context.sessions.assignment(&key.namespace).digest,
            key,
            stale: 0,
        };
        pass.index();
        Some(pass)
    }

    /// Calls `work` with the data kept for the resource.
    fn recall<R>(&self, work: impl FnOnce(&mut Recollection<K>) -> R) -> R {
        self.watched
            .recollections
            .with(&self.key, &self.uid, self.context.now(), work)
    }

    /// Returns a digest of the inputs of decisions: the object and its account entry.
    fn fingerprint(&self) -> memory::Fingerprint {
        memory::fingerprint(self.object.as_ref()) ^ self.mapping
    }

    /// Returns the wake-up time if nothing has happened since this resource settled.
    fn is_settled(&self) -> Option<Again> {
        if self.handed_over.is_some() {
            return None;
        }
        let fingerprint = self.fingerprint();
        // No other resource can end a lack in AWS. But a problem that ranks before the lack must be reported at once.
        let lacks = self
            .object
            .ledger()
            .is_some_and(|ledger| self.object.words().say_that_aws_lacks(&ledger.conditions))
            && self.located.dependency.is_none()
            && self.located.invalid.is_none()
            && self.context.index.lock().winner(&self.key).is_none();
        self.recall(|it| {
            let poked = std::mem::take(&mut it.poked);
            let (settled, wake) = it.settled?;
            let deleting = self.object.meta().deletion_timestamp.is_some();
            let ledger = self.object.ledger();
            let reason = ledger.and_then(|ledger| conditions::ready_reason(&ledger.conditions));
            let may_end = reason.is_some_and(Reason::may_end_by_others) && !lacks;
            let waits = deleting || may_end;
            if settled != fingerprint || poked && waits {
                return None;
            }
            let Some(due) = wake else {
                return Some(Again::Never);
            };
            let left = due.saturating_duration_since(Instant::now());
            (!left.is_zero()).then_some(Again::After(left))
        })
    }

    async fn run(&mut self) -> Result<Again, Pause> {
        for _ in 0..MAX_STEPS {
            let (decided, instant) = (self.context.now(), Instant::now());
            let step = self.decide(lifecycle::next);
            let observed = self.perform(&step).await?;
            let is_stored = matches!(observed, Observed::Stored { .. });
            lifecycle::remember(&mut self.memory, self.context.now(), &self.known, &step, &observed);
            lifecycle::learn(&mut self.known, &step, observed);
            match step {
                Step::Settle { wake, retry, .. } if is_stored => {
                    // An answer of AWS may have corrected the clock since the decision. The wait is what was decided.
                    let due = match wake {
                        Wake::Never => None,
                        Wake::At(at) => Some(instant + time_between(decided, at)),
                    };
                    let again = self.publish().await.map(|after| Instant::now() + after);
                    return Ok(self.settled(due.into_iter().chain(again).min(), retry));
                }
                Step::Release if is_stored => {
                    self.tell_release();
                    if self.is_gone() {
                        return Ok(Again::Never);
                    }
                }
                _ => {}
            }
        }
        Err(Error::Endless.into())
    }

    /// Calls a function of the lifecycle with the present view.
    fn decide<R>(&self, decide: impl FnOnce(&View<'_>) -> R) -> R {
        decide(&View {
            now: self.context.now(),
            jitter: self.context.random.fraction(),
            settings: &self.context.settings,
            resource: &self.wanted(),
            state: &self.object.state(),
            surroundings: &self.surroundings(),
            known: &self.known,
            memory: &self.memory,
        })
    }

    async fn perform(&mut self, step: &Step) -> Result<Observed, Pause> {
        // Work in progress is finished. No new work begins once the operator is ending.
        let is_under_way = self.known.sending == Sending::Intended || self.known.reply.is_some();
        let ends = matches!(step, Step::Record(_) | Step::Settle { .. } | Step::Release);
        if self.context.shutdown.is_cancelled() && !is_under_way && !ends {
            return Err(Pause::Later(Duration::from_secs(1)));
        }
        match step {
            Step::Resolve => self.resolve().await,
            Step::Look(_) | Step::ListJobs(_) | Step::Poll | Step::ReadLock(_) => self.read(step).await,
            Step::TakeSlot => {
                let slot = self.context.index.lock().take_slot(&self.key, self.context.now());
                Ok(Observed::Slot(slot))
            }
            Step::AddFinalizer => self.set_finalizer(true, "cannot add the finalizer").await,
            Step::Intend(state) => self.write(state, "cannot store the intent").await,
            Step::Send(write) => self.send(step, *write).await,
            Step::RecordAccepted(state) => self.record_accepted(state).await,
            Step::Record(state) | Step::Settle { state, .. } => self.write(state, "cannot write the status").await,
            Step::Release => {
                self.contents_left().await;
                self.release().await
            }
        }
    }

    fn wanted(&self) -> Wanted {
        let meta = self.object.meta();
        let policies = self.object.policies();
        Wanted {
            generation: meta.generation.unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            deleted_at: meta.deletion_timestamp.as_ref().map(|time| time.0),
            finalizer: self.object.finalizers().iter().any(|name| name == FINALIZER),
            held: self.object.finalizers().iter().any(|name| name != FINALIZER),
            abilities: self.object.abilities(),
            words: self.object.words(),
            deletion_policy: policies.deletion_policy,
            adoption_policy: policies.adoption_policy,
            observe: policies.is_observed(),
            suspend: policies.is_suspended(),
            job_timeout: self.object.job_timeout(),
            request: self.object.annotations().get(RECONCILE_REQUESTED_AT).cloned(),
            ignores_lock: self.ignores_lock(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        let bucket = self.bucket();
        let throttle = &self.context.throttle;
        let rate = bucket.as_ref().map_or(0.0, |bucket| throttle.rate(bucket));
        let is_in_trouble = bucket.as_ref().is_some_and(|bucket| throttle.is_in_trouble(bucket));
        let index = self.context.index.lock();
        Surroundings {
            region: self.located.region.clone(),
            invalid: self.located.invalid.clone(),
            source: self.source().map(|source| source.name.to_string()),
            dependency: self.located.dependency.clone(),
            resolved: self.located.location.is_some(),
            winner: index.rival(&self.key),
            dependents: index.dependents(&self.key),
            jobs_of_others: index.jobs_of_others(&self.key),
            phase: self.phase(),
            account: account_for(&self.context.sessions.assignment(&self.key.namespace), &self.located),
            polled: bucket.map_or(0, |bucket| index.polled(&bucket.account, &bucket.region)),
            is_in_trouble,
            rate,
        }
    }

    /// Returns the account and region of this resource's calls to AWS, once they are pinned.
    fn bucket(&self) -> Option<BucketKey> {
        let account = self.object.ledger()?.account_id.clone()?;
        let region = self.located.location.as_ref()?.environment.region.clone();
        Some(BucketKey { account, region })
    }

    /// Returns the phase of the drift checks. Checks that share a list fall together; the others are spread.
    fn phase(&self) -> SignedDuration {
        let interval = self.context.settings.drift_interval;
        match &self.located.location {
            Some(location) if K::IS_LISTED => {
                let account = self.object.ledger().and_then(|ledger| ledger.account_id.as_ref());
                let environment = &location.environment;
                timing::phase(&(account, &environment.region, &environment.app), interval)
            }
            _ => timing::phase(&self.uid, interval),
        }
    }

    /// Returns when the present check became due.
    fn due(&self) -> Timestamp {
        let interval = self.context.settings.drift_interval;
        let next = timing::next_check(self.context.now(), interval, self.phase());
        next.saturating_sub(interval).unwrap_or(next)
    }

    /// Whether the annotation names the environment whose migration lock is to be ignored.
    fn ignores_lock(&self) -> bool {
        let named = self.object.annotations().get(IGNORE_MIGRATION_LOCK);
        let location = self.located.location.as_ref();
        location.is_some_and(|location| named.map(String::as_str) == Some(location.environment.name.as_str()))
    }

    /// Returns the source environment of a clone.
    fn source(&self) -> Option<&Environment> {
        self.located.location.as_ref()?.source.as_deref()
    }

    /// Whether the object has no finalizer left.
    fn is_gone(&self) -> bool {
        self.object.finalizers().is_empty()
    }

    /// Locates the AWS object and updates the index, so that other resources see this version.
    fn index(&mut self) {
        self.located = self.watched.index_entry(&self.key, self.object.as_ref());
    }
}

/// Returns the time between two moments, never negative. They may come from two clocks.
fn time_between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pass_that_panics_fails_and_every_other_result_is_its_own() {
        let panics = surviving(async { panic!("s3cret") }).await;
        let Err(Pause::Failed(error)) = panics else {
            panic!("it did not fail");
        };
        assert!(matches!(error, Error::Panicked) && !error.to_string().contains("s3cret"));
        assert_eq!(error.class(), "endless");
        assert!(matches!(surviving(async { Ok(Again::Never) }).await, Ok(Again::Never)));
        assert!(matches!(
            surviving(async { Err(Pause::Queued) }).await,
            Err(Pause::Queued)
        ));
    }
}
