//! The cache of a kind: all its objects as the watch shows them, each as one piece of memory.
//!
//! A parsed object takes twice the memory in twenty allocations, which fragment the memory. So objects are stored as
//! JSON. Each is parsed when a pass begins, and when it is put into the index after a list. No I/O.

use std::{
    collections::{BTreeSet, HashMap},
    marker::PhantomData,
    sync::Arc,
};

use kube::ResourceExt;
use parking_lot::RwLock;
use tracing::error;

use super::index::{ObjectKey, Version};
use crate::{kinds::Kind, telemetry::metrics::Counted};

/// Returns the version of this object.
pub(super) fn version<K: Kind>(object: &K) -> Version {
    Version::parse(object.resource_version().as_deref())
}

/// An object in the cache.
struct Cached {
    uid: Box<str>,
    version: Version,
    counted: Counted,
    /// The object as JSON.
    object: Box<[u8]>,
}

/// All objects of a kind in a namespace (or in all).
pub(super) struct Cache<K> {
    objects: RwLock<HashMap<Arc<ObjectKey>, Cached>>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            objects: RwLock::default(),
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Cache<K> {
    /// Stores an object, unless a newer version is already stored: a list of several pages shows objects as they were
    /// when the list began. Returns the shared copy of the key.
    pub(super) fn put(&self, key: ObjectKey, object: &K) -> Option<Arc<ObjectKey>> {
        let json = match serde_json::to_vec(object) {
            Ok(json) => json.into_boxed_slice(),
            Err(error) => {
                error!(kind = K::NAME.name(), object = key.path(), %error, "a resource cannot be kept in the cache; this is a bug in the operator");
                return None;
            }
        };
        let cached = Cached {
            uid: object.uid()?.into(),
            version: version(object),
            counted: object.ledger().map_or_else(Counted::unseen, Counted::of),
            object: json,
        };
        let mut objects = self.objects.write();
        let key = objects
            .get_key_value(&key)
            .map_or_else(|| Arc::new(key), |(key, _)| key.clone());
        if objects
            .get(&key)
            .is_some_and(|known| cached.version.is_before(known.version))
        {
            return Some(key);
        }
        objects.insert(key.clone(), cached);
        Some(key)
    }

    /// Removes an object.
    pub(super) fn remove(&self, key: &ObjectKey) {
        self.objects.write().remove(key);
    }

    /// Removes the objects that a complete list does not have.
    pub(super) fn retain(&self, listed: &BTreeSet<Arc<ObjectKey>>) {
        self.objects.write().retain(|key, _| listed.contains(key));
    }

    /// Returns the object of this name.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<K> {
        let objects = self.objects.read();
        match serde_json::from_slice(&objects.get(key)?.object) {
            Ok(object) => Some(object),
            Err(error) => {
                error!(kind = K::NAME.name(), object = key.path(), %error, "a resource cannot be read from the cache; this is a bug in the operator");
                None
            }
        }
    }

    /// Returns the uid of the object of this name.
    pub(super) fn uid(&self, key: &ObjectKey) -> Option<String> {
        Some(self.objects.read().get(key)?.uid.to_string())
    }

    /// Returns the shared copy of this key, if there is an object of this name.
    pub(super) fn key(&self, key: &ObjectKey) -> Option<Arc<ObjectKey>> {
        let objects = self.objects.read();
        objects.get_key_value(key).map(|(key, _)| key.clone())
    }

    /// Returns the names of all objects, in order.
    pub(super) fn keys(&self) -> BTreeSet<Arc<ObjectKey>> {
        self.objects.read().keys().cloned().collect()
    }

    /// Whether there is an object of this name.
    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.objects.read().contains_key(key)
    }

    /// Returns the version of the object of this name and uid.
    pub(super) fn version(&self, key: &ObjectKey, uid: &str) -> Option<Version> {
        let objects = self.objects.read();
        let cached = objects.get(key).filter(|cached| *cached.uid == *uid)?;
        Some(cached.version)
    }

    /// Calls `count` for each object.
    pub(super) fn count(&self, mut count: impl FnMut(&Counted)) {
        for cached in self.objects.read().values() {
            count(&cached.counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{BackendApi, KindName};

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(KindName::BackendApi, "default", name)
    }

    fn api(name: &str, uid: &str, version: &str) -> BackendApi {
        let object = json!({
            "metadata": { "namespace": "default", "name": name, "uid": uid, "resourceVersion": version, "generation": 2,
                "finalizers": ["other.example/finalizer"], "creationTimestamp": "2026-01-02T03:04:05Z" },
            "spec": { "backendRef": { "name": "dev" }, "resourceName": "shop", "jobTimeout": "90m",
                "resourceConfig": { "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 30.5 } } } },
            "status": { "observedGeneration": 1, "origin": "Created", "sentConfigHash": "aa", "conditions": [{
                "type": "Ready", "status": "False", "reason": "Creating", "message": "…",
                "lastTransitionTime": "2026-01-02T03:04:05Z" }],
                "job": { "operation": "CreateBackendAPI", "generation": 1, "attempt": 1, "status": "RUNNING", "id": "j",
                    "requestTime": "2026-01-02T03:04:05.678Z" } },
        });
        serde_json::from_value(object).expect("an object")
    }

    #[test]
    fn an_object_is_read_as_it_was_put() {
        let cache = Cache::default();
        let object = api("shop", "1", "7");
        let shared = cache.put(key("shop"), &object).expect("a key");
        let again = cache.get(&key("shop")).expect("the object");
        assert_eq!(json!(again), json!(object));
        assert!(cache.get(&key("other")).is_none());
        // Another version of the object has the same copy of its key.
        let newer = cache.put(key("shop"), &api("shop", "1", "8")).expect("a key");
        assert!(Arc::ptr_eq(&shared, &newer));
        assert_eq!(cache.key(&key("shop")), Some(shared.clone()));
        assert_eq!(cache.uid(&key("shop")).as_deref(), Some("1"));
        assert_eq!(cache.version(&key("shop"), "1"), Some(Version::parse(Some("8"))));
        let older = cache.put(key("shop"), &api("shop", "1", "6")).expect("a key");
        assert!(Arc::ptr_eq(&shared, &older));
        assert_eq!(
            cache.version(&key("shop"), "1"),
            Some(Version::parse(Some("8"))),
            "an older one changes nothing"
        );
        assert_eq!(
            cache.version(&key("shop"), "2"),
            None,
            "another object of the same name"
        );
        assert!(cache.contains(&key("shop")));
        let mut counted = 0;
        cache.count(|_| counted += 1);
        assert_eq!(counted, 1);
        cache.remove(&key("shop"));
        assert!(!cache.contains(&key("shop")));
    }

    #[test]
    fn it_forgets_what_a_whole_list_does_not_hold() {
        let cache = Cache::default();
        let gone = cache.put(key("gone"), &api("gone", "1", "1"));
        let kept = cache.put(key("kept"), &api("kept", "2", "2")).expect("a key");
        assert!(gone.is_some());
        cache.retain(&BTreeSet::from([kept.clone()]));
        assert_eq!(cache.keys(), BTreeSet::from([kept]));
    }

    #[test]
    fn versions_that_are_no_numbers_have_no_order() {
        let version = |text| version(&api("shop", "1", text));
        assert!(version("9").is_before(version("10")));
        assert!(!version("10").is_before(version("10")));
        for (one, other) in [("x", "10"), ("10", "x"), ("x", "y")] {
            assert!(!version(one).is_before(version(other)), "{one} {other}");
        }
    }
}
