//! The watches: they feed the cache, the index and the queue. Each kind's watch fails and recovers by itself, so that
//! one refused watch never makes the view of another kind stale.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt as _, channel::mpsc, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error_span, info, warn};

use super::{
    cache::Cache,
    context::Context,
    index::ObjectKey,
    listings::Listings,
    memory::{LeftAlone, Recollections},
    pass,
    queue::{self, Again, Place},
    unread::Unread,
    watched::{Lists, Watched},
};
use crate::{
    api::conditions,
    kinds::{Kind, Remote},
    telemetry::error::in_words,
};

/// The wait of a resource after a pass that failed on the API server. It doubles up to `FAILED_MAX`.
const FAILED: Duration = Duration::from_secs(1);
/// How long a watch stays open before it is opened again, in seconds. A watch that is silent for 5 s longer counts as
/// dead. With kube's own 290 s the operator would be blind for that long.
const WATCH_SECONDS: u32 = 60;
/// How many bytes of a parse error are logged: the error repeats the unreadable text.
const UNREADABLE_SHOWN: usize = 256;

/// Objects per page of a list. A page is held as text, as JSON and as objects at the same time. The process does not
/// give back the memory used at the start.
const PAGE: u32 = 100;

/// Watches a kind in a namespace (`None`: all) and reconciles its resources until the operator ends. Reconciles start
/// when `begin` is cancelled: nothing is decided before the caches of all kinds are filled.
pub fn run<K: Remote>(
    context: Arc<Context>,
    namespace: Option<String>,
    lists: Arc<Listings<K::List>>,
    begin: CancellationToken,
) -> (Arc<Watched<K>>, impl Future<Output = ()> + Send) {
    let woken = context.queue(K::NAME, namespace.clone());
    let (changed, queue) = mpsc::unbounded();
    let watched = Arc::new(Watched {
        cache: Cache::default(),
        lists,
        context,
        namespace,
        recollections: Recollections::default(),
        begun: AtomicBool::new(false),
        rounds: Default::default(),
    });
    watched.context.health.watch_opens(watched.watch_key());
    let counted = Arc::downgrade(&watched);
    watched.context.metrics.ask(move |census| {
        if let Some(watched) = counted.upgrade() {
            watched.count(census);
        }
    });
    let task = {
        let watched = watched.clone();
        async move {
            let watch = watched.clone().watch(changed);
            let reconcile = watched.reconcile(woken, queue, begin);
            tokio::select! {
                biased;
                () = watch => {}
                // Ends once the operator is ending and the work in flight is finished.
                () = reconcile => {}
            }
        }
    };
    (watched, task)
}

impl<K: Remote> Watched<K> {
    async fn watch(self: Arc<Self>, changed: mpsc::UnboundedSender<Arc<ObjectKey>>) {
        tokio::select! {
            biased;
            () = self.round(Lists::OfLeader).begun.cancelled() => {}
            () = self.listed_and_watched(Lists::First, &changed) => {}
        }
        self.listed_and_watched(Lists::OfLeader, &changed).await;
    }

    /// Lists all resources, then watches them.
    async fn listed_and_watched(&self, lists: Lists, changed: &mpsc::UnboundedSender<Arc<ObjectKey>>) {
        let round = self.round(lists);
        let client = self.context.client.clone();
        let api: Api<Unread<K>> = match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let key = self.watch_key();
        let name = key.to_string();
        let mut listed = Listed::default();
        // The present problem. It is logged once while it stays the same.
        let mut trouble = String::new();
        let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        // kube announces a list before it requests it. The announcement must not count as an event: it would end the
        // backoff after a refusal.
        let is_news = |event: &Event<_>| std::future::ready(!matches!(event, Event::Init));
        let mut events = std::pin::pin!(watcher(api, config).try_filter(is_news).default_backoff());
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let is_whole = matches!(event, Event::InitDone);
                    self.context.health.watch_works(&key, self.context.now());
                    self.take(event, &mut listed, changed);
                    if is_whole {
                        round.whole.cancel();
                        // A newer list also completes the first round.
                        self.round(Lists::First).whole.cancel();
                        self.context.health.watch_filled(&key);
                    }
                    if !std::mem::take(&mut trouble).is_empty() {
                        info!(watch = name, "the watch works again");
                    }
                }
                Err(error) => {
                    listed.begin();
                    let is_answer = is_answer(&error);
                    if is_refusal(&error) {
                        round.refused.cancel();
                    }
                    self.context.health.watch_fails(&key, is_answer, Instant::now());
                    let text = in_words(&error);
                    if text == trouble {
                        debug!(watch = name, error = text, "watch interrupted again");
                    } else {
                        warn!(
                            watch = name,
                            error = text,
                            "watch interrupted; the operator starts it again. No other watch waits for it"
                        );
                        trouble = text;
                    }
                }
            }
        }
    }

    fn take(&self, event: Event<Unread<K>>, listed: &mut Listed, changed: &mpsc::UnboundedSender<Arc<ObjectKey>>) {
        match event {
            Event::Apply(object) => {
                if let Ok(object) = self.readable(&object)
                    && let Some((key, true)) = self.see(&object)
                {
                    self.tell(key, &object, changed);
                }
            }
            Event::Delete(object) => {
                // By its metadata alone: an object that cannot be parsed is removed like any other.
                if let Some(key) = key_of::<K>(object.meta()) {
                    if let Ok(object) = object.read() {
                        self.tell_left_behind(&key, &object);
                    }
                    self.gone(&key);
                }
            }
            Event::Init => {}
            Event::InitApply(object) => match self.readable(&object) {
                Ok(object) => {
                    if let Some((key, is_news)) = self.see(&object) {
                        listed.show(key, is_news);
                    }
                }
                // The object exists, and keeps its slot and its index entry.
                Err(key) => {
                    if let Some(key) = key {
                        listed.show(key, false);
                    }
                }
            },
            Event::InitDone => {
                let Listed { all, news } = std::mem::take(listed);
                self.cache.retain(&all);
                drop(all);
                self.forget_the_unseen();
                for key in news {
                    if let Some(object) = self.cache.get(&key) {
                        self.tell(key, &object, changed);
                    }
                }
            }
        }
    }

    /// Returns the object. If this version of the operator cannot read it, it is reported and gets no pass; other
    /// resources are not affected. `Err` is its key, if a version of it was read before.
    fn readable(&self, object: &Unread<K>) -> Result<Arc<K>, Option<Arc<ObjectKey>>> {
        let meta = object.meta();
        if let Some(written) = self.written(object) {
            return Ok(written);
        }
        let error = match object.read() {
            Ok(object) => return Ok(Arc::new(super::kubernetes::slim(object))),
            Err(error) => error.to_string(),
        };
        warn!(
            kind = K::NAME.name(),
            object = format!(
                "{}/{}",
                meta.namespace.as_deref().unwrap_or_default(),
                meta.name.as_deref().unwrap_or_default()
            ),
            error = conditions::truncated(&error, UNREADABLE_SHOWN),
            "this resource cannot be read and is skipped: another version of the CRD or the operator wrote it"
        );
        let key = key_of::<K>(meta).and_then(|key| self.cache.key(&key));
        if let Some(key) = &key {
            self.recollections
                .known(key, |it| it.left_alone = Some(LeftAlone::Unreadable));
        }
        Err(key)
    }

    /// Returns the object that this process wrote last, if the watch shows exactly this version. Then no parsing is
    /// needed.
    fn written(&self, object: &Unread<K>) -> Option<Arc<K>> {
        let meta = object.meta();
        let key = key_of::<K>(meta)?;
        let latest = self.recollections.known(&key, |it| it.latest()).flatten()?;
        let is_same = latest.meta().uid == meta.uid && latest.meta().resource_version == meta.resource_version;
        is_same.then_some(latest)
    }

    /// Puts an object into the cache. Returns its key, and true if something changed that this process did not write
    /// itself.
    fn see(&self, object: &K) -> Option<(Arc<ObjectKey>, bool)> {
        let uid = object.uid()?;
        let key = self.cache.put(Self::key(object)?, object)?;
        let is_news = self
            .recollections
            .with(&key, &uid, self.context.now(), |it| it.observe(object));
        Some((key, is_news))
    }

    fn tell(&self, key: Arc<ObjectKey>, object: &K, changed: &mpsc::UnboundedSender<Arc<ObjectKey>>) {
        self.index_entry(&key, object);
        // The queue is closed: the operator is ending.
        let _ = changed.unbounded_send(key);
    }

    /// Warns if a resource was deleted although this process had not released it: usually a user removed its finalizer.
    /// A standby does not warn, because the leader releases resources.
    fn tell_left_behind(&self, key: &ObjectKey, object: &K) {
        let is_released = self
            .recollections
            .known(key, |it| matches!(it.left_alone, Some(LeftAlone::Released)));
        let Some(ledger) = object.ledger() else { return };
        let is_at_work = self.begun.load(Ordering::Acquire);
        if !is_at_work || ledger.origin.is_none() || is_released.is_none_or(|is_released| is_released) {
            return;
        }
        let job = ledger.job.as_ref().filter(|job| job.is_running());
        warn!(
            kind = K::NAME.name(),
            object = key.path(),
            account = ledger.account_id,
            region = ledger.region,
            operation = job.map(|job| job.operation.name()),
            job = job.and_then(|job| job.id.as_deref()),
            "the resource is gone, but this operator has not released it: if somebody removed its finalizer, its AWS object may still exist, without an owner"
        );
    }

    fn gone(&self, key: &ObjectKey) {
        self.cache.remove(key);
        self.recollections.forget(key);
        self.context.throttle.forget(key);
        let touched = self.context.index.lock().remove(key);
        self.context.wake(touched);
    }

    /// Drops the resources that a new list does not have. They were deleted while there was no watch.
    fn forget_the_unseen(&self) {
        let is_there = |key: &ObjectKey| self.cache.contains(key);
        self.recollections.retain(is_there);
        let mine = |key: &&ObjectKey| {
            key.kind == K::NAME
                && self
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == key.namespace)
        };
        let mut index = self.context.index.lock();
        let unseen: BTreeSet<_> = index
            .keys()
            .filter(mine)
            .filter(|key| !is_there(key))
            .cloned()
            .collect();
        let touched: BTreeSet<_> = unseen.iter().flat_map(|key| index.remove(key)).collect();
        drop(index);
        for key in &unseen {
            self.context.throttle.forget(key);
        }
        self.context.wake(touched);
    }

    async fn reconcile(
        self: Arc<Self>,
        mut woken: mpsc::UnboundedReceiver<ObjectKey>,
        mut changes: mpsc::UnboundedReceiver<Arc<ObjectKey>>,
        begin: CancellationToken,
    ) {
        let shutdown = self.context.shutdown.clone();
        // A standby may wait for weeks. Requests during this time are dropped, because all resources get a pass
        // afterwards.
        let dropped = stream::select(woken.by_ref().map(drop), changes.by_ref().map(drop))
            .take_until(begin.cancelled())
            .for_each(|()| std::future::ready(()));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = dropped => {}
        }
        self.recollections.begin(self.context.now());
        self.begun.store(true, Ordering::Release);
        let all = self.cache.keys();
        // A resource that is not in the cache was deleted before its turn.
        let woken = woken.filter_map(|key| {
            self.recollections.poke(&key);
            std::future::ready(self.cache.key(&key))
        });
        let requests = stream::iter(all).chain(stream::select(woken, changes));
        let places = self.context.places.clone();
        queue::run(requests, places, shutdown, |key, place| self.pass(key, place)).await;
    }

    /// Runs one pass over this resource. Returns when the next one is due.
    async fn pass(&self, key: Arc<ObjectKey>, place: Place) -> Again {
        let begin = Instant::now();
        let (kind, path) = (K::NAME.name(), key.path());
        // All log lines of a pass, including the lines about AWS calls, name the object.
        let span = error_span!("pass", kind, object = path);
        let result = pass::reconcile(self, &key, place).instrument(span).await;
        self.context.metrics.reconciled(kind, begin.elapsed());
        match result {
            Ok(again) => {
                debug!(kind, object = path, ?again, "reconciled");
                again
            }
            Err(error) => {
                warn!(
                    kind,
                    object = path,
                    error = in_words(&error),
                    "reconcile failed; it is tried again"
                );
                self.failed(&key, &error)
            }
        }
    }

    fn failed(&self, key: &ObjectKey, error: &pass::Error) -> Again {
        self.context.metrics.reconcile_error(K::NAME.name(), error.class());
        let tries = self.recollections.known(key, |it| {
            it.settled = None;
            it.memory.tries = it.memory.tries.saturating_add(1);
            it.memory.tries
        });
        Again::After(FAILED * 2_u32.saturating_pow(tries.unwrap_or_default().saturating_sub(1).min(6)))
    }
}

/// Whether the API server itself answered: about rights, about a definition, or because it is too busy.
const fn is_answer(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => {
            matches!(error, kube::Error::Api(_))
        }
        WatchError(_) | NoResourceVersion => true,
    }
}

/// Whether the API server refuses the list: the right is missing, or the kind is not served. Nothing limits how long
/// that lasts.
fn is_refusal(error: &watcher::Error) -> bool {
    use watcher::Error::InitialListFailed;
    matches!(error, InitialListFailed(kube::Error::Api(status)) if matches!(status.code, 403 | 404))
}

/// The objects of a list so far.
#[derive(Default)]
struct Listed {
    all: BTreeSet<Arc<ObjectKey>>,
    /// The objects that changed. They are announced when the list is complete.
    news: BTreeSet<Arc<ObjectKey>>,
}

impl Listed {
    /// Begins a list. If the previous list broke off, its changes are still unannounced, and this list will not report
    /// them again. So `news` stays.
    fn begin(&mut self) {
        self.all.clear();
    }

    fn show(&mut self, key: Arc<ObjectKey>, is_news: bool) {
        if is_news {
            self.news.insert(key.clone());
        }
        self.all.insert(key);
    }
}

/// Returns the key of a resource from its metadata.
fn key_of<K: Kind>(meta: &ObjectMeta) -> Option<ObjectKey> {
    Some(ObjectKey::new(
        K::NAME,
        meta.namespace.as_deref()?,
        meta.name.as_deref()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::KindName;

    #[test]
    fn a_list_that_breaks_off_forgets_what_was_there_and_not_what_was_new() {
        let key = |name: &str| Arc::new(ObjectKey::new(KindName::AmplifyBackend, "default", name));
        let mut listed = Listed::default();
        listed.begin();
        listed.show(key("edited"), true);
        listed.show(key("deleted"), false);
        listed.begin();
        // Seen before, so this list does not report it again.
        listed.show(key("edited"), false);
        listed.show(key("other"), false);
        assert_eq!(listed.all, BTreeSet::from([key("edited"), key("other")]));
        assert_eq!(listed.news, BTreeSet::from([key("edited")]));
    }
}
