//! What this process remembers of each resource. Lost at a restart, and nothing is lost with it.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;

use super::{index::ObjectKey, kind::Kind};
use crate::{
    api,
    lifecycle::{Memory, Wake, facts::Class},
};

/// A digest of everything of an object that can change a decision. Two equal digests: nothing to decide anew.
pub(super) type Fingerprint = u64;

/// What is remembered of one resource.
pub(super) struct Recollection<K> {
    uid: String,
    /// What the lifecycle wants to remember.
    pub(super) memory: Memory,
    /// The object as this process last wrote it, while the watch may still show an older one.
    latest: Option<Arc<K>>,
    /// The object as it was last seen or written.
    pub(super) fingerprint: Fingerprint,
    /// How the last pass settled: for which fingerprint, until when.
    pub(super) settled: Option<(Fingerprint, Wake)>,
    /// When the job under way is polled next: not before, however often somebody touches the resource.
    pub(super) poll_due: Option<Timestamp>,
    /// Our finalizer is gone: nothing is left to do, however old the object is that the cache still shows.
    pub(super) released: bool,
    /// Another resource changed in a way that may end this one's waiting, or tokens were granted.
    pub(super) poked: bool,
    /// Something happened to it, and its pass has not begun.
    pub(super) queued: bool,
    /// The last job of it that was seen to end, and when that was.
    pub(super) ended: Option<(String, Timestamp)>,
    /// What the last read of AWS failed with: a failure that goes on is told once.
    pub(super) told: Option<Class>,
}

/// What is remembered of all resources of a kind. Boxed: a hash map keeps room for more than it holds.
pub(super) struct Recollections<K>(Mutex<HashMap<ObjectKey, Box<Recollection<K>>>>);

impl<K> Default for Recollections<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Kind> Recollections<K> {
    /// Works on what is remembered of this resource. A resource of the same name with another uid starts anew.
    pub(super) fn with<R>(
        &self,
        key: &ObjectKey,
        uid: &str,
        now: Timestamp,
        work: impl FnOnce(&mut Recollection<K>) -> R,
    ) -> R {
        let mut all = self.0.lock();
        let fresh = || {
            Box::new(Recollection {
                uid: uid.to_owned(),
                memory: Memory::new(now),
                latest: None,
                fingerprint: 0,
                settled: None,
                poll_due: None,
                released: false,
                poked: false,
                queued: false,
                ended: None,
                told: None,
            })
        };
        let recollection = all.entry(key.clone()).or_insert_with(fresh);
        if recollection.uid != uid {
            *recollection = fresh();
        }
        work(recollection)
    }

    /// Takes note that something happened to another resource. False: this one is not known yet.
    pub(super) fn poke(&self, key: &ObjectKey) -> bool {
        self.0.lock().get_mut(key).is_some_and(|recollection| {
            recollection.poked = true;
            recollection.queued = true;
            true
        })
    }

    /// Starts anew with all resources, as far as decisions go: until now somebody else may have made them.
    pub(super) fn begin(&self, now: Timestamp) {
        for recollection in self.0.lock().values_mut() {
            recollection.memory = Memory::new(now);
            recollection.queued = true;
        }
    }

    /// How many wait for their pass.
    pub(super) fn queued(&self) -> usize {
        self.0.lock().values().filter(|it| it.queued).count()
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }

    /// Those that are still remembered and that `keep` does not know.
    pub(super) fn retain(&self, keep: impl Fn(&ObjectKey) -> bool) {
        self.0.lock().retain(|key, _| keep(key));
    }
}

impl<K: Kind> Recollection<K> {
    /// Takes in what the watch shows. True: something changed that this process did not write itself.
    pub(super) fn observe(&mut self, object: &K) -> bool {
        if self
            .latest
            .as_ref()
            .is_some_and(|latest| is_older(object, latest.as_ref()))
        {
            return false;
        }
        self.latest = None;
        let fingerprint = fingerprint(object);
        let is_news = std::mem::replace(&mut self.fingerprint, fingerprint) != fingerprint;
        self.queued |= is_news;
        is_news
    }

    /// Takes in what this process wrote. The watch may have been faster than the answer: then the cache holds it already.
    pub(super) fn wrote(&mut self, object: Arc<K>, cached: Option<Arc<K>>) {
        self.fingerprint = fingerprint(object.as_ref());
        let is_ahead = cached.is_none_or(|cached| is_older(cached.as_ref(), object.as_ref()));
        self.latest = is_ahead.then_some(object);
    }

    /// The newer of what the cache holds and what this process wrote.
    pub(super) fn newest(&self, cached: Arc<K>) -> Arc<K> {
        match &self.latest {
            Some(latest) if is_older(cached.as_ref(), latest) => latest.clone(),
            _ => cached,
        }
    }
}

/// Resource versions of one kind are comparable numbers (KEP-5504, Kubernetes 1.35; etcd revisions before that).
fn is_older<K: Kind>(object: &K, than: &K) -> bool {
    let version = |object: &K| {
        object
            .resource_version()
            .and_then(|version| version.parse::<u64>().ok())
    };
    matches!((version(object), version(than)), (Some(object), Some(than)) if object < than)
}

/// Generation, finalizers, deletion, the request, and the status: labels and other annotations decide nothing.
pub(super) fn fingerprint<K: Kind>(object: &K) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    object.annotations().get(api::RECONCILE_REQUESTED_AT).hash(&mut hasher);
    object.stored().to_string().hash(&mut hasher);
    hasher.finish()
}
