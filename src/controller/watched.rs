//! A kind in a namespace: its cache, and the index entries of its resources.

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
    amplify::Assignment,
    api::{FINALIZER, Job, Ledger, conditions},
    kinds::{Located, Remote},
    lifecycle::{self, Account, Holds},
    telemetry::{WatchKey, metrics::Census},
};

/// A kind in a namespace (or in all), with its cache and the data kept for its resources.
pub struct Watched<K: Remote> {
    pub(super) context: Arc<Context>,
    pub(super) namespace: Option<String>,
    pub(super) recollections: Recollections<K>,
    pub(super) cache: Cache<K>,
    /// The lists that drift checks share, in all namespaces.
    pub(super) lists: Arc<Listings<K::List>>,
    /// Whether passes run. They do not on a standby.
    pub(super) begun: AtomicBool,
    /// The rounds of lists: the first one of every process, and another one of a process that becomes the leader later.
    pub(super) rounds: [Round; 2],
}

/// One round of listing all resources.
#[derive(Default)]
pub(super) struct Round {
    /// Cancelled when the round is requested.
    pub(super) begun: CancellationToken,
    /// Cancelled when the cache has all resources as of the beginning of this round, or later.
    pub(super) whole: CancellationToken,
    /// Cancelled when a list is refused: the round may take long to complete.
    pub(super) refused: CancellationToken,
}

/// The store of any kind in a namespace (or in all).
pub trait Store: Send + Sync {
    /// Waits until the cache has all resources that existed when this round was first requested.
    fn filled(&self, lists: Lists) -> BoxFuture<'_, ()>;

    /// Waits until the cache has all resources, or the API server has refused them in this round.
    fn answered(&self, lists: Lists) -> BoxFuture<'_, ()>;

    /// Puts all resources of the cache into the index.
    fn index(&self);

    /// Puts the resources that refer to others into the index again. The others may have been indexed later, and the
    /// location of a resource may come from its reference.
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
    /// The lists of a process that has just started.
    First,
    /// The lists of a process that has just become the leader. Its watches may show old versions: the previous leader
    /// has written until a moment ago, and a watch may have been silent for a minute.
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

    /// Returns the key of its watch.
    pub(super) fn watch_key(&self) -> WatchKey {
        WatchKey {
            namespace: self.namespace.clone(),
            kind: K::NAME.name(),
        }
    }

    /// Adds the present state to the census.
    pub(super) fn count(&self, census: &mut Census) {
        let kind = K::NAME.name();
        let has_begun = self.begun.load(Ordering::Acquire);
        census.kind(kind, if has_begun { self.recollections.queued() } else { 0 });
        self.cache.count(|counted| census.object(kind, counted));
        let (failing, event) = self.context.health.watch(&self.watch_key(), Instant::now());
        census.watch(kind, failing, event);
    }

    /// Returns the key of a resource of this kind.
    pub(super) fn key(object: &K) -> Option<ObjectKey> {
        let meta = object.meta();
        let (namespace, name) = (meta.namespace.clone()?, meta.name.clone()?);
        Some(ObjectKey {
            kind: K::NAME,
            namespace,
            name,
        })
    }

    /// Drops the data of a resource that is no longer in the cache: its last pass may have stored data after the
    /// deletion.
    pub(super) fn forget_if_gone(&self, key: &ObjectKey) {
        if !self.cache.contains(key) {
            self.recollections.forget(key);
            self.context.outputs.lock().remove(key);
        }
    }

    /// Puts the present version of a resource into the index and wakes other resources that it may affect. Returns
    /// where its AWS object lives.
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
        // Deleted and without our finalizer: it owns nothing and blocks no resource, even if another finalizer holds
        // it.
        let released = deleting && !finalizers.iter().any(|name| name == FINALIZER);
        let job = ledger.job.as_ref().filter(|_| !released);
        let mut index = context.index.lock();
        let mut located = object.locate(&key.namespace, &index, assignment.region.as_deref());
        if located.invalid.is_none() {
            let region = located.region.as_deref();
            located.invalid = region.and_then(|region| context.sessions.refuses_region(region));
        }
        let location = located.location.clone().filter(|_| !released);
        let (tenant, location) = tenant(account_for(&assignment, &located), ledger, location);
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
            locked: !released && ledger.migration_locked_at.is_some(),
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
        // A pass may outlive its resource. The watch removes a deleted resource first from the cache, then from the
        // index. So a resource that is not in the cache must not get into the index again.
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

/// Returns the account for the AWS object of a resource, as known without a call to AWS. None, if the accounts file
/// allows the namespace another app or region only.
pub(super) fn account_for(assignment: &Assignment, located: &Located) -> Account {
    match &located.location {
        Some(location) => assignment.account_at(&location.environment.region, &location.environment.app),
        None => assignment.account.clone(),
    }
}

/// Returns the account that distinguishes this resource's AWS object from others of the same name, or `None` if all
/// resources share one account. A resource without an account makes no AWS call and has no AWS object: it blocks no
/// resource.
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
