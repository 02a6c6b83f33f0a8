//! A kind in a namespace: its cache, and what the index is told of its resources.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    cache::{self, Cache},
    context::Context,
    index::{self, Entry, ObjectKey},
    listings::Listings,
    memory::Recollections,
};
use crate::{
    api::{FINALIZER, Job, Ledger, conditions},
    kinds::{Located, Remote},
    lifecycle::{self, Account, Holds},
    telemetry::{WatchKey, metrics::Census},
};

/// A kind in a namespace (or in all), with its cache and what is remembered of its resources.
pub struct Watched<K: Remote> {
    pub(super) context: Arc<Context>,
    pub(super) namespace: Option<String>,
    pub(super) recollections: Recollections<K>,
    pub(super) cache: Cache<K>,
    /// What the drift checks of its resources share, in all namespaces.
    pub(super) lists: Arc<Listings<K::List>>,
    /// Whether passes are made: not on a standby.
    pub(super) begun: AtomicBool,
    /// What the watch is asked for: first by every process, and once more by one that leads after others.
    pub(super) rounds: [Round; 2],
}

/// Everything is listed once.
#[derive(Default)]
pub(super) struct Round {
    /// It is asked for.
    pub(super) begun: CancellationToken,
    /// The cache holds all that there was when this round began, or later.
    pub(super) whole: CancellationToken,
    /// A list is refused: it may be long before it is whole.
    pub(super) refused: CancellationToken,
}

/// A kind in a namespace (or in all), whichever it is.
pub trait Store: Send + Sync {
    /// Waits until the cache holds all resources that were there when this round was first asked for.
    fn filled(&self, lists: Lists) -> BoxFuture<'_, ()>;

    /// Waits until the cache holds all resources, or the API server has refused them in this round.
    fn answered(&self, lists: Lists) -> BoxFuture<'_, ()>;

    /// Puts all resources of the cache into the index.
    fn index(&self);

    /// Does so once more with those that refer to others, which may have come into the index after them: they may take where
    /// they live from those.
    fn index_referring(&self);
}

impl<K: Remote> Store for Watched<K> {
    fn filled(&self, lists: Lists) -> BoxFuture<'_, ()> {
        let round = self.round(lists);
        round.begun.cancel();
        round.whole.cancelled().boxed()
    }

    fn answered(&self, lists: Lists) -> BoxFuture<'_, ()> {
        let refused = &self.round(lists).refused;
        async move {
            tokio::select! {
                biased;
                () = self.filled(lists) => {}
                () = refused.cancelled() => {}
            }
        }
        .boxed()
    }

    fn index(&self) {
        for key in self.cache.keys() {
            if let Some(object) = self.cache.get(&key) {
                self.index_entry(&key, &object);
            }
        }
    }

    fn index_referring(&self) {
        let refers = |key: &ObjectKey| {
            let index = self.context.index.lock();
            index.get(key).is_some_and(|entry| entry.refers_to.is_some())
        };
        for key in self.cache.keys().into_iter().filter(|key| refers(key)) {
            if let Some(object) = self.cache.get(&key) {
                self.index_entry(&key, &object);
            }
        }
    }
}

/// A round of lists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lists {
    /// Of a process that has just begun.
    First,
    /// Of one that has just become the leader. What its watches have shown so far may be old: the leader before has written
    /// until a moment ago, and a watch may have been silent for a minute.
    OfLeader,
}

impl<K: Remote> Watched<K> {
    pub(super) const fn round(&self, lists: Lists) -> &Round {
        let [first, of_leader] = &self.rounds;
        match lists {
            Lists::First => first,
            Lists::OfLeader => of_leader,
        }
    }

    /// Its watch.
    pub(super) fn watch_key(&self) -> WatchKey {
        WatchKey {
            namespace: self.namespace.clone(),
            kind: K::NAME.name(),
        }
    }

    /// How things stand now.
    pub(super) fn count(&self, census: &mut Census) {
        let kind = K::NAME.name();
        let has_begun = self.begun.load(Ordering::Acquire);
        census.kind(kind, if has_begun { self.recollections.queued() } else { 0 });
        self.cache.count(|counted| census.object(kind, counted));
        let (failing, event) = self.context.health.watch(&self.watch_key(), Instant::now());
        census.watch(kind, failing, event);
    }

    /// The name of a resource of this kind.
    pub(super) fn key(object: &K) -> Option<ObjectKey> {
        let meta = object.meta();
        let (namespace, name) = (meta.namespace.clone()?, meta.name.clone()?);
        Some(ObjectKey {
            kind: K::NAME,
            namespace,
            name,
        })
    }

    /// Forgets what a pass remembered of a resource after the watch had forgotten it.
    pub(super) fn forget_if_gone(&self, key: &ObjectKey) {
        if !self.cache.contains(key) {
            self.recollections.forget(key);
        }
    }

    /// Puts into the index what a resource is now, wakes the others that this may concern, and says where its AWS object lives.
    pub(super) fn index_entry(&self, key: &Arc<ObjectKey>, object: &K) -> Located {
        let context = &self.context;
        let meta = object.meta();
        let uid = meta.uid.clone().unwrap_or_default();
        let policies = object.policies();
        let unseen = Ledger::default();
        let ledger = object.ledger().unwrap_or(&unseen);
        let timeout = object.job_timeout().unwrap_or(context.settings.job_timeout);
        let assignment = context.sessions.assignment(&key.namespace);
        let deleting = meta.deletion_timestamp.is_some();
        let finalizers = meta.finalizers.as_deref().unwrap_or_default();
        // Deleted and without our finalizer: it owns nothing and stands in nobody's way, whoever holds it still.
        let released = deleting && !finalizers.iter().any(|name| name == FINALIZER);
        let job = ledger.job.as_ref().filter(|_| !released);
        let mut index = context.index.lock();
        let mut located = object.locate(&key.namespace, &index, assignment.region.as_deref());
        if located.invalid.is_none() {
            let region = located.region.as_deref();
            located.invalid = region.and_then(|region| context.sessions.refuses_region(region));
        }
        let location = located.location.clone().filter(|_| !released);
        let (tenant, location) = tenant(assignment.account, ledger, location);
        let entry = Entry {
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            version: cache::version(object),
            deleting,
            location,
            tenant,
            refers_to: object.refers_to(&key.namespace).map(Arc::new),
            contains: K::CONTAINS,
            observes: policies.is_observed(),
            owns: !released && (ledger.origin.is_some() || job.is_some_and(Job::is_open_intent)),
            holds: if released {
                Holds::No
            } else {
                lifecycle::holds_slot(ledger, policies.is_suspended(), timeout)
            },
            polled: lifecycle::is_polled(ledger, policies.is_suspended()),
            waits: lifecycle::waits_for_slot(ledger, policies.is_suspended()),
            job: job.and_then(|job| job.id.clone()),
            ready: conditions::is_true(&ledger.conditions, conditions::READY)
                && Some(ledger.observed_generation) == meta.generation,
            account: ledger.account_id.clone(),
            uid,
        };
        // A pass may outlive its resource. The watch takes a deleted one from the cache first and from the index then,
        // so what is no longer in the cache must not come back.
        let touched = if self.cache.version(key, &entry.uid).is_some() {
            index.put(key, entry)
        } else {
            index.remove(key)
        };
        drop(index);
        context.wake(touched);
        located
    }
}

/// Which account tells this resource's AWS object from others of the same name; none where all share one. A resource
/// without an account makes no AWS call and has no AWS object: it stands in nobody's way.
fn tenant(
    account: Account,
    ledger: &Ledger,
    location: Option<index::Location>,
) -> (Option<String>, Option<index::Location>) {
    let pinned = ledger.account_id.clone();
    match account {
        Account::Own => (None, location),
        Account::Mapped(account) => (pinned.or(Some(account)), location),
        Account::Missing(_) => {
            let location = location.filter(|_| pinned.is_some());
            (pinned, location)
        }
    }
}
