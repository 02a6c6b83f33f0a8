//! The watches: feed the store, the index and the queue. Each kind's watch fails and recovers on its own, so that one
//! that is refused never makes the view of another stale.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::channel::mpsc;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        controller::{Action, Config, Error, applier},
        reflector::{
            ObjectRef,
            store::{Store, Writer},
        },
        watcher::{self, Event, watcher},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    context::Context,
    index::{self, Entry, ObjectKey},
    kind::{Kind, Located},
    memory::Recollections,
    pass,
};
use crate::{
    api::{Job, Ledger, conditions},
    lifecycle::{self, Account},
};

/// How long a resource waits after a pass that failed on the API server, doubling up to `FAILED_MAX`.
const FAILED: Duration = Duration::from_secs(1);

/// A kind in a namespace (or in all), with its store and what is remembered of its resources.
pub struct Watched<K: Kind> {
    pub(super) context: Arc<Context>,
    namespace: Option<String>,
    pub(super) recollections: Recollections<K>,
    store: Store<K>,
}

/// Watches a kind in a namespace (None: all) and reconciles its resources until the operator ends. Reconciles begin when
/// `begin` is cancelled: nothing is decided before the stores of all kinds are filled.
pub fn run<K: Kind>(
    context: Arc<Context>,
    namespace: Option<String>,
    begin: CancellationToken,
) -> (Arc<Watched<K>>, impl Future<Output = ()> + Send) {
    let writer = Writer::<K>::new(());
    let woken = context.queue(K::NAME, namespace.clone());
    let (changed, queue) = mpsc::unbounded();
    let watched = Arc::new(Watched {
        store: writer.as_reader(),
        context,
        namespace,
        recollections: Recollections::default(),
    });
    let task = {
        let watched = watched.clone();
        async move {
            let watch = watched.clone().watch(writer, changed);
            let reconcile = watched.reconcile(woken, queue, begin);
            tokio::select! {
                () = watch => {}
                // Ends once the operator is to end and what is in flight is done.
                () = reconcile => {}
            }
        }
    };
    (watched, task)
}

impl<K: Kind> Watched<K> {
    /// Waits until the store holds all resources.
    pub async fn filled(&self) {
        // The writer lives as long as the watch.
        let _ = self.store.wait_until_ready().await;
    }

    /// Takes all resources of the store into the index.
    pub fn index(&self) {
        for object in self.store.state() {
            if let Some(key) = Self::key(object.as_ref()) {
                self.index_entry(&key, object.as_ref());
            }
        }
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

    /// The resource as the cache holds it now.
    pub(super) fn cached(&self, key: &ObjectKey, uid: &str) -> Option<Arc<K>> {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        self.store
            .get(&reference)
            .filter(|object| object.uid().as_deref() == Some(uid))
    }

    /// Takes in what a resource is now, wakes the others that this may concern, and says where its AWS object lives.
    pub(super) fn index_entry(&self, key: &ObjectKey, object: &K) -> Located {
        let context = &self.context;
        let meta = object.meta();
        let uid = meta.uid.clone().unwrap_or_default();
        let policies = object.policies();
        let ledger = object.state().ledger;
        let timeout = policies.job_timeout.unwrap_or(context.settings.job_timeout);
        let assignment = context.sessions.assignment(&key.namespace);
        let mut index = context.index.lock();
        let located = object.locate(&key.namespace, &index, assignment.region.as_deref());
        let (tenant, location) = tenant(assignment.account, &ledger, located.location.clone());
        let entry = Entry {
            created: meta
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            deleting: meta.deletion_timestamp.is_some(),
            location,
            tenant,
            refers_to: object.refers_to().map(str::to_owned),
            owns: ledger.origin.is_some() || ledger.job.as_ref().is_some_and(Job::is_open_intent),
            holds: lifecycle::holds_slot(&ledger, policies.suspend, timeout),
            ready: conditions::is_true(&ledger.conditions, conditions::READY)
                && Some(ledger.observed_generation) == meta.generation,
            account: ledger.account_id,
            uid,
        };
        // A pass may outlive its resource. The watch takes a deleted one from the cache first and from the index then,
        // so what is no longer in the cache must not come back.
        let touched = if self.cached(key, &entry.uid).is_some() {
            index.put(key, entry)
        } else {
            index.remove(key)
        };
        drop(index);
        context.wake(touched);
        located
    }

    async fn watch(self: Arc<Self>, mut writer: Writer<K>, changed: mpsc::UnboundedSender<ObjectRef<K>>) {
        let client = self.context.client.clone();
        let api: Api<DeserializeGuard<K>> = match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let name = self.namespace.as_ref().map_or_else(
            || K::NAME.name().to_owned(),
            |namespace| format!("{} in {namespace}", K::NAME.name()),
        );
        let mut listed = Vec::new();
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    self.context.health.watch_works(&name);
                    self.take(event, &mut writer, &mut listed, &changed);
                }
                Err(error) => {
                    self.context.health.watch_fails(&name, Instant::now());
                    warn!(watch = name, %error, "watch interrupted; it is taken up again");
                }
            }
        }
    }

    fn take(
        &self,
        event: Event<DeserializeGuard<K>>,
        writer: &mut Writer<K>,
        listed: &mut Vec<ObjectRef<K>>,
        changed: &mpsc::UnboundedSender<ObjectRef<K>>,
    ) {
        let event = match event {
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
            Event::Apply(object) => match readable(object) {
                Some(object) => Event::Apply(object),
                None => return,
            },
            Event::InitApply(object) => match readable(object) {
                Some(object) => Event::InitApply(object),
                None => return,
            },
            Event::Delete(object) => match readable(object) {
                Some(object) => Event::Delete(object),
                None => return,
            },
        };
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => {
                if self.is_news(object) {
                    self.tell(object, changed);
                }
            }
            Event::Delete(object) => self.gone(object),
            // The store takes a new list in at its end. Whoever was told before would look at what was there before it.
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                if self.is_news(object) {
                    listed.push(ObjectRef::from_obj(object));
                }
            }
            Event::InitDone => {
                self.forget_the_unseen();
                for object in std::mem::take(listed) {
                    if let Some(object) = self.store.get(&object) {
                        self.tell(object.as_ref(), changed);
                    }
                }
            }
        }
    }

    fn is_news(&self, object: &K) -> bool {
        let (Some(key), Some(uid)) = (Self::key(object), object.uid()) else {
            return false;
        };
        self.recollections
            .with(&key, &uid, Context::now(), |it| it.observe(object))
    }

    fn tell(&self, object: &K, changed: &mpsc::UnboundedSender<ObjectRef<K>>) {
        if let Some(key) = Self::key(object) {
            self.index_entry(&key, object);
        }
        // A closed queue: the operator is ending.
        let _ = changed.unbounded_send(ObjectRef::from_obj(object));
    }

    fn gone(&self, object: &K) {
        let Some(key) = Self::key(object) else {
            return;
        };
        self.recollections.forget(&key);
        self.context.throttle.forget(&key);
        let touched = self.context.index.lock().remove(&key);
        self.context.wake(touched);
    }

    /// After a new list: what it does not hold was deleted while the watch was away.
    fn forget_the_unseen(&self) {
        let is_there = |key: &ObjectKey| {
            self.store
                .get(&ObjectRef::new(&key.name).within(&key.namespace))
                .is_some()
        };
        self.recollections.retain(is_there);
        let mine = |key: &&ObjectKey| {
            key.kind == K::NAME
                && self
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == key.namespace)
        };
        let mut index = self.context.index.lock();
        let unseen: Vec<_> = index
            .keys()
            .filter(mine)
            .filter(|key| !is_there(key))
            .cloned()
            .collect();
        let touched: Vec<_> = unseen.iter().flat_map(|key| index.remove(key)).collect();
        drop(index);
        for key in &unseen {
            self.context.throttle.forget(key);
        }
        self.context.wake(touched);
    }

    async fn reconcile(
        self: Arc<Self>,
        mut woken: mpsc::UnboundedReceiver<ObjectKey>,
        mut changes: mpsc::UnboundedReceiver<ObjectRef<K>>,
        begin: CancellationToken,
    ) {
        let shutdown = self.context.shutdown.clone();
        // A standby may wait for weeks: what is queued meanwhile is dropped, and every resource has its turn afterwards.
        let dropped = stream::select(woken.by_ref().map(drop), changes.by_ref().map(drop))
            .take_until(begin.cancelled())
            .for_each(|()| std::future::ready(()));
        tokio::select! {
            () = dropped => {}
            () = shutdown.cancelled() => return,
        }
        self.recollections.begin(Context::now());
        let all: Vec<_> = self
            .store
            .state()
            .iter()
            .map(|object| ObjectRef::from_obj(object.as_ref()))
            .collect();
        let poked = self.clone();
        let woken = woken.map(move |key| {
            poked.recollections.poke(&key);
            ObjectRef::new(&key.name).within(&key.namespace)
        });
        let queue = stream::iter(all)
            .chain(stream::select(woken, changes))
            .map(Ok::<_, std::convert::Infallible>)
            .take_until(shutdown.cancelled_owned());
        let config = Config::default().concurrency(u16::try_from(self.context.concurrency).unwrap_or(u16::MAX));
        report::<K>(applier(
            |object, watched: Arc<Self>| Box::pin(async move { watched.pass(object).await }),
            |object, error, watched: Arc<Self>| watched.failed(object.as_ref(), error),
            self.clone(),
            self.store.clone(),
            queue,
            config,
        ))
        .await;
    }

    async fn pass(&self, object: Arc<K>) -> Result<Action, pass::Error> {
        // Never closed.
        let _running = self.context.running.acquire().await.ok();
        let begin = Instant::now();
        let result = pass::reconcile(self, object).await;
        self.context.metrics.reconciled(K::NAME.name(), begin.elapsed());
        result
    }

    fn failed(&self, object: &K, error: &pass::Error) -> Action {
        self.context.metrics.reconcile_error(K::NAME.name(), error.class());
        let tries = Self::key(object).zip(object.uid()).map_or(0, |(key, uid)| {
            self.recollections.with(&key, &uid, Context::now(), |it| {
                it.settled = None;
                it.memory.tries = it.memory.tries.saturating_add(1);
                it.memory.tries
            })
        });
        Action::requeue(FAILED * 2_u32.saturating_pow(tries.saturating_sub(1).min(6)))
    }
}

/// What the loop says of itself: a failed pass is one line; an object that went away meanwhile is none.
async fn report<K: Kind>(
    results: impl Stream<Item = Result<(ObjectRef<K>, Action), Error<pass::Error, std::convert::Infallible>>>,
) {
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        match result {
            Ok((object, action)) => debug!(%object, ?action, "reconciled"),
            Err(Error::ObjectNotFound(object)) => debug!(%object, "gone before its turn"),
            Err(Error::ReconcilerFailed(error, object)) => {
                warn!(%object, %error, "reconcile failed; it is tried again");
            }
            Err(error) => warn!(%error, "the reconcile queue failed"),
        }
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

/// The object, unless this version of the operator cannot read it: then it is reported and skipped, and stops nobody.
fn readable<K: Kind>(object: DeserializeGuard<K>) -> Option<K> {
    match object.0 {
        Ok(object) => Some(super::kubernetes::slim(object)),
        Err(invalid) => {
            let meta = &invalid.metadata;
            warn!(
                kind = K::NAME.name(),
                namespace = meta.namespace,
                name = meta.name,
                error = %invalid.error,
                "this resource cannot be read and is skipped: another version of the CRD or the operator wrote it"
            );
            None
        }
    }
}
