//! The watches: feed the store, the index and the queue. Each kind's watch fails and recovers on its own, so that one
//! that is refused never makes the view of another stale.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::channel::mpsc;
use futures::{Stream, StreamExt, stream};
use kube::{
    Api, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        controller::{Action, Config, Error, applier},
        reflector::{self, ObjectRef, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error_span, warn};

use super::{context::Context, index::ObjectKey, kind::Kind, memory::Recollections, pass, watched::Watched};
use crate::api::conditions;

/// How long a resource waits after a pass that failed on the API server, doubling up to `FAILED_MAX`.
const FAILED: Duration = Duration::from_secs(1);
/// How long a watch is open before it is asked for anew, in seconds. One that says nothing for 5 s longer is taken for
/// dead: kube's own 290 s would leave the operator blind for as long.
const WATCH_SECONDS: u32 = 60;
/// How much of the reason why a resource cannot be read is logged, in bytes: it repeats what cannot be read.
const UNREADABLE_SHOWN: usize = 256;

/// Objects in a page of a list. A page is held as text, as JSON and as objects at the same time, and what that takes at the
/// beginning stays with the process.
const PAGE: u32 = 100;

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
        begun: AtomicBool::new(false),
    });
    let counted = Arc::downgrade(&watched);
    watched.context.metrics.ask(move |census| {
        if let Some(watched) = counted.upgrade() {
            watched.count(census);
        }
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
    async fn watch(self: Arc<Self>, mut writer: Writer<K>, changed: mpsc::UnboundedSender<ObjectRef<K>>) {
        let client = self.context.client.clone();
        let api: Api<DeserializeGuard<K>> = match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let name = self.name();
        let mut listed = Vec::new();
        let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
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
                    listed.push(reference(object));
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
        let _ = changed.unbounded_send(reference(object));
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
        let is_there = |key: &ObjectKey| self.is_there(key);
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
        self.begun.store(true, Ordering::Release);
        let all: Vec<_> = self
            .store
            .state()
            .iter()
            .map(|object| reference(object.as_ref()))
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
        let key = Self::key(object.as_ref());
        if let (Some(key), Some(uid)) = (&key, object.uid())
            && self.is_there(key)
        {
            self.recollections
                .with(key, &uid, Context::now(), |it| it.queued = false);
        }
        // Every line of a pass, those about calls to AWS included, says what it is about.
        let span = error_span!("pass", kind = K::NAME.name(), object = key.map(|key| key.path()));
        let result = pass::reconcile(self, object.as_ref()).instrument(span).await;
        self.context.metrics.reconciled(K::NAME.name(), begin.elapsed());
        result
    }

    fn failed(&self, object: &K, error: &pass::Error) -> Action {
        self.context.metrics.reconcile_error(K::NAME.name(), error.class());
        let there = Self::key(object).filter(|key| self.is_there(key));
        let tries = there.zip(object.uid()).map_or(0, |(key, uid)| {
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
    let kind = K::NAME.name();
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        match result {
            Ok((object, action)) => debug!(kind, object = path(&object), ?action, "reconciled"),
            Err(Error::ObjectNotFound(object)) => debug!(kind, object = path(&object), "gone before its turn"),
            Err(Error::ReconcilerFailed(error, object)) => {
                warn!(kind, object = path(&object), %error, "reconcile failed; it is tried again");
            }
            Err(error) => warn!(%error, "the reconcile queue failed"),
        }
    }
}

/// The name alone. With uid and version, as `ObjectRef::from_obj` takes them along, each would be kept three times over.
fn reference<K: Kind>(object: &K) -> ObjectRef<K> {
    ObjectRef::new(&object.name_any()).within(&object.namespace().unwrap_or_default())
}

/// Namespace and name, as they stand in logs.
fn path<K: reflector::Lookup>(object: &ObjectRef<K>) -> String {
    format!("{}/{}", object.namespace.as_deref().unwrap_or_default(), object.name)
}

/// The object, unless this version of the operator cannot read it: then it is reported and skipped, and stops nobody.
fn readable<K: Kind>(object: DeserializeGuard<K>) -> Option<K> {
    match object.0 {
        Ok(object) => Some(super::kubernetes::slim(object)),
        Err(invalid) => {
            let meta = &invalid.metadata;
            warn!(
                kind = K::NAME.name(),
                object = format!(
                    "{}/{}",
                    meta.namespace.as_deref().unwrap_or_default(),
                    meta.name.as_deref().unwrap_or_default()
                ),
                error = conditions::truncated(&invalid.error, UNREADABLE_SHOWN),
                "this resource cannot be read and is skipped: another version of the CRD or the operator wrote it"
            );
            None
        }
    }
}
