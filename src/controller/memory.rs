//! The data that this process keeps for each resource. A restart loses it without harm.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;

use tokio::time::Instant;

use super::{
    cache::version,
    index::{ObjectKey, Version},
};
use crate::{
    api,
    kinds::Kind,
    lifecycle::{Memory, facts::Class},
};

/// A digest of all parts of an object that can change a decision. If two digests are equal, the decision is the same.
pub(super) type Fingerprint = u64;

/// Why a resource gets no pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LeftAlone {
    /// Our finalizer is gone, and no other finalizer holds the resource. Nothing is left to do, even if the cache still
    /// shows an older version.
    Released,
    /// The API server has a version of it that this operator cannot parse. The resource keeps its slot and its index
    /// entry.
    Unreadable,
}

/// The data kept for one resource.
pub(super) struct Recollection<K> {
    uid: String,
    /// The memory of the lifecycle.
    pub(super) memory: Memory,
    /// The object as this process last wrote it, while the watch may still show an older version.
    latest: Option<Arc<K>>,
    /// The fingerprint of the object as last seen or written.
    pub(super) fingerprint: Fingerprint,
    /// The end of the last pass: its fingerprint, and when the next pass is due (`None`: when something happens). By
    /// the monotonic clock: setting the machine's clock does not change when a pass is due.
    pub(super) settled: Option<(Fingerprint, Option<Instant>)>,
    /// When the running job is polled next. It is not polled earlier, however often users edit the resource.
    pub(super) poll_due: Option<Instant>,
    /// The digest of the outputs that were last written to its ConfigMap, or were to be.
    pub(super) published: Option<u64>,
    /// When they are to be written again after a failure that may pass.
    pub(super) publish_due: Option<Instant>,
    /// Why it gets no pass, if so.
    pub(super) left_alone: Option<LeftAlone>,
    /// Whether another resource changed in a way that may end this one's waiting, or tokens were granted.
    pub(super) poked: bool,
    /// Whether something happened to it and its pass has not begun.
    pub(super) queued: bool,
    /// Its last job that was seen to end, and when the job ended.
    pub(super) ended: Option<(String, Timestamp)>,
    /// The class of the last failed read of AWS. A failure that continues is logged once.
    pub(super) told: Option<Class>,
    /// The API server's message when it refused the last write. It is reported once.
    pub(super) refused: Option<String>,
    /// The limit of its log lines and Events.
    pub(super) ration: Ration,
}

/// The limit on the lines and Events of an object's transitions: 25 at once, and one per 10 s in the long run. A user
/// who edits one object again and again must not fill the log.
#[derive(Debug)]
pub(super) struct Ration {
    left: u32,
    /// When the next one began to accrue.
    since: Instant,
}

impl Ration {
    const MOST: u32 = 25;
    const EVERY: Duration = Duration::from_secs(10);

    fn new(now: Instant) -> Self {
        Self {
            left: Self::MOST,
            since: now,
        }
    }

    /// Takes one, if any is left at this time.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let new = now.saturating_duration_since(self.since).as_secs() / Self::EVERY.as_secs();
        let new = u32::try_from(new).unwrap_or(u32::MAX).min(Self::MOST - self.left);
        self.left += new;
        self.since = if self.left == Self::MOST {
            now
        } else {
            self.since + Self::EVERY * new
        };
        let is_left = self.left > 0;
        self.left -= u32::from(is_left);
        is_left
    }
}

/// The data kept for all resources of a kind. Boxed: a hash map has unused room.
pub(super) struct Recollections<K>(Mutex<HashMap<Arc<ObjectKey>, Box<Recollection<K>>>>);

impl<K> Default for Recollections<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Kind> Recollections<K> {
    /// Calls `work` with the data of this resource. A resource of the same name with another uid starts with fresh
    /// data.
    pub(super) fn with<R>(
        &self,
        key: &Arc<ObjectKey>,
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
                published: None,
                publish_due: None,
                left_alone: None,
                poked: false,
                queued: false,
                ended: None,
                told: None,
                refused: None,
                ration: Ration::new(Instant::now()),
            })
        };
        let recollection = all.entry(key.clone()).or_insert_with(fresh);
        if recollection.uid != uid {
            *recollection = fresh();
        }
        work(recollection)
    }

    /// Calls `work` with the data of this resource, if there is any.
    pub(super) fn known<R>(&self, key: &ObjectKey, work: impl FnOnce(&mut Recollection<K>) -> R) -> Option<R> {
        self.0.lock().get_mut(key).map(|recollection| work(recollection))
    }

    /// Records that another resource changed in a way that may affect this one.
    pub(super) fn poke(&self, key: &ObjectKey) {
        self.known(key, |it| {
            it.poked = true;
            it.queued = true;
        });
    }

    /// Starts the lifecycle's memory of all resources anew: until now another process may have decided.
    pub(super) fn begin(&self, now: Timestamp) {
        for recollection in self.0.lock().values_mut() {
            recollection.memory = Memory::new(now);
            recollection.queued = true;
        }
    }

    /// Returns how many resources wait for their pass.
    pub(super) fn queued(&self) -> usize {
        self.0.lock().values().filter(|it| it.queued).count()
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }

    /// Drops the data of all resources except those that `keep` returns true for.
    pub(super) fn retain(&self, keep: impl Fn(&ObjectKey) -> bool) {
        self.0.lock().retain(|key, _| keep(key));
    }
}

impl<K: Kind> Recollection<K> {
    /// Records the object that the watch shows. Returns true if something changed that this process did not write
    /// itself.
    pub(super) fn observe(&mut self, object: &K) -> bool {
        if self
            .latest
            .as_ref()
            .is_some_and(|latest| version(object).is_before(version(latest.as_ref())))
        {
            return false;
        }
        self.latest = None;
        let unreadable = |why: &mut LeftAlone| *why == LeftAlone::Unreadable;
        let was_unreadable = self.left_alone.take_if(unreadable).is_some();
        let fingerprint = fingerprint(object);
        let is_news = std::mem::replace(&mut self.fingerprint, fingerprint) != fingerprint || was_unreadable;
        self.queued |= is_news;
        is_news
    }

    /// Records the object that this process wrote. The watch may have been faster than the answer: then the cache
    /// already has this version.
    pub(super) fn wrote(&mut self, object: Arc<K>, cached: Option<Version>) {
        self.fingerprint = fingerprint(object.as_ref());
        let is_ahead = cached.is_none_or(|cached| cached.is_before(version(object.as_ref())));
        self.latest = is_ahead.then_some(object);
    }

    /// Returns the object that this process wrote, while the watch may still show an older version.
    pub(super) fn latest(&self) -> Option<Arc<K>> {
        self.latest.clone()
    }

    /// Returns the newer of the cached object and the object that this process wrote.
    pub(super) fn newest(&self, cached: K) -> Arc<K> {
        match &self.latest {
            Some(latest) if version(&cached).is_before(version(latest.as_ref())) => latest.clone(),
            _ => Arc::new(cached),
        }
    }
}

/// Computes the digest of uid, generation, finalizers, deletion, the operator's own annotations and status. Labels and other
/// annotations affect no decision.
pub(super) fn fingerprint<K: Kind>(object: &K) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    let meta = object.meta();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for annotation in [api::RECONCILE_REQUESTED_AT, api::IGNORE_MIGRATION_LOCK] {
        object.annotations().get(annotation).hash(&mut hasher);
    }
    // Serialized directly into the digest: the text would be long and is not needed. A status can always be serialized.
    let _ = serde_json::to_writer(Digested(&mut hasher), &object.status());
    hasher.finish()
}

/// A writer that digests its input.
struct Digested<'a>(&'a mut DefaultHasher);

impl io::Write for Digested<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::BackendEnvironment;

    fn object(version: u32) -> BackendEnvironment {
        let object = json!({
            "metadata": { "namespace": "default", "name": "dev", "uid": "1", "resourceVersion": version.to_string() },
            "spec": { "appId": "d1", "environmentName": "dev" },
            "status": { "observedGeneration": version },
        });
        serde_json::from_value(object).expect("an object")
    }

    fn named(name: &str) -> Arc<ObjectKey> {
        Arc::new(ObjectKey::new(BackendEnvironment::NAME, "default", name))
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn of_one_object_25_things_are_told_at_once_and_then_one_in_ten_seconds() {
        let start = Instant::now();
        let mut ration = Ration::new(start);
        // How many of 100 are let through at this second.
        for (second, told) in [
            (0, 25),
            (9, 0),
            (10, 1),
            (19, 0),
            (20, 1),
            (45, 2),
            (49, 0),
            (50, 1),
            (10_000, 25),
            (10_005, 0),
            (10_010, 1),
        ] {
            let now = start + Duration::from_secs(second);
            let taken = (0..100).filter(|_| ration.take(now)).count();
            assert_eq!(taken, told, "{second} s");
        }
        // A longer silence accrues no more.
        let mut ration = Ration::new(start);
        let later = start + Duration::from_mins(20);
        assert_eq!((0..100).filter(|_| ration.take(later)).count(), 25);
    }

    #[test]
    fn what_is_remembered_is_of_one_uid_and_goes_when_it_is_forgotten() {
        let recollections = Recollections::<BackendEnvironment>::default();
        let tries = |name: &str, uid: &str| {
            recollections.with(&named(name), uid, NOW, |it| {
                it.memory.tries += 1;
                it.memory.tries
            })
        };
        assert_eq!((tries("a", "1"), tries("a", "1"), tries("a", "2")), (1, 2, 1));
        assert_eq!(tries("b", "3"), 1);
        assert_eq!(recollections.known(&named("a"), |it| it.memory.tries), Some(1));
        recollections.forget(&named("a"));
        assert_eq!(recollections.known(&named("a"), |it| it.memory.tries), None);
        assert_eq!(
            recollections.known(&named("c"), |_| ()),
            None,
            "nothing is made of a question"
        );
        recollections.retain(|key| key.name != "b");
        assert_eq!(recollections.known(&named("b"), |_| ()), None);
    }

    #[test]
    fn what_something_happened_to_is_queued_until_its_pass_begins() {
        let recollections = Recollections::<BackendEnvironment>::default();
        for name in ["a", "b", "c"] {
            recollections.with(&named(name), name, NOW, |it| it.memory.tries = 3);
        }
        assert_eq!(recollections.queued(), 0);
        recollections.poke(&named("a"));
        recollections.poke(&named("gone"));
        assert_eq!(recollections.queued(), 1);
        assert_eq!(recollections.known(&named("a"), |it| it.poked), Some(true));
        assert_eq!(recollections.known(&named("b"), |it| it.poked), Some(false));
        let later = Timestamp::from_second(60).expect("a time");
        recollections.begin(later);
        assert_eq!(recollections.queued(), 3, "each has its turn");
        let memory = recollections.known(&named("a"), |it| (it.memory.tries, it.memory.since));
        assert_eq!(memory, Some((0, later)), "somebody else may have decided until now");
    }

    #[test]
    fn news_stays_news_until_the_pass_and_what_can_be_read_again_is_news() {
        let recollections = Recollections::default();
        recollections.with(&named("dev"), "1", NOW, |it| {
            assert!(it.observe(&object(7)) && it.queued);
            assert!(!it.observe(&object(7)) && it.queued, "its pass has not begun");
            it.queued = false;
            assert!(!it.observe(&object(7)) && !it.queued);
            it.left_alone = Some(LeftAlone::Unreadable);
            assert!(it.observe(&object(7)) && it.queued);
            assert_eq!(it.left_alone, None);
            it.left_alone = Some(LeftAlone::Released);
            assert!(!it.observe(&object(7)));
            assert_eq!(it.left_alone, Some(LeftAlone::Released), "nothing is left to do for it");
        });
    }

    fn seen(recollection: &Recollection<BackendEnvironment>, cached: u32) -> String {
        let newest = recollection.newest(object(cached));
        newest.resource_version().unwrap_or_default()
    }

    #[test]
    fn what_was_written_is_kept_until_the_watch_shows_it() {
        let recollections = Recollections::default();
        let key = Arc::new(ObjectKey::new(BackendEnvironment::NAME, "default", "dev"));
        recollections.with(&key, "1", Timestamp::UNIX_EPOCH, |it| {
            let cached = Some(version(&object(7)));
            it.wrote(Arc::new(object(8)), cached);
            assert_eq!(seen(it, 7), "8");
            assert!(!it.observe(&object(7)), "older than what was written");
            assert_eq!(seen(it, 7), "8");
            assert!(!it.observe(&object(8)), "this process wrote it");
            assert!(it.latest.is_none());
            // The watch may show it before the answer arrives.
            it.wrote(Arc::new(object(9)), Some(version(&object(9))));
            assert!(it.latest.is_none());
            it.wrote(Arc::new(object(10)), Some(version(&object(9))));
            assert_eq!(
                (seen(it, 9), seen(it, 10), seen(it, 11)),
                ("10".into(), "10".into(), "11".into())
            );
            it.wrote(Arc::new(object(10)), Some(version(&object(11))));
            assert_eq!(seen(it, 11), "11");
            assert!(it.observe(&object(12)), "somebody else wrote it");
        });
    }
}
