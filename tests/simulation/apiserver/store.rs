//! etcd: every version of every object since the last compaction, under one counter. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use serde_json::Value;

use super::resource::ResourceId;

/// One version of an object in the store.
pub(crate) type Object = Arc<Value>;

/// The key of an object. Keys are ordered as in etcd: by resource, then by `namespace/name` as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: ResourceId,
    /// `namespace/name`, or `name`.
    pub(crate) path: Arc<str>,
}

impl Key {
    pub(crate) fn new(resource: ResourceId, namespace: Option<&str>, name: &str) -> Self {
        let path = namespace.map_or_else(|| name.into(), |namespace| format!("{namespace}/{name}").into());
        Self { resource, path }
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.path.split_once('/').map(|(namespace, _)| namespace)
    }

    /// Whether the key is of this resource and in this namespace (None: in any).
    pub(crate) fn is_in(&self, resource: ResourceId, namespace: Option<&str>) -> bool {
        self.resource == resource && namespace.is_none_or(|namespace| self.namespace() == Some(namespace))
    }
}

/// One accepted write.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

struct Version {
    revision: u64,
    object: Option<Object>,
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) objects: Vec<Object>,
    /// The last object of the page, and how many follow it.
    pub(crate) more: Option<(Key, usize)>,
}

/// All objects, with their history.
#[derive(Default)]
pub(crate) struct Store {
    revision: u64,
    compacted: u64,
    objects: BTreeMap<Key, Vec<Version>>,
    /// One change per revision, beginning with revision `compacted` + 1.
    log: VecDeque<Change>,
}

impl Store {
    /// Returns the newest revision.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the revision of the last compaction. Earlier history is dropped.
    pub(crate) const fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Object> {
        self.get_at(key, self.revision)
    }

    /// Returns the version of the object at this revision.
    pub(crate) fn get_at(&self, key: &Key, revision: u64) -> Option<&Object> {
        at(self.objects.get(key)?, revision)
    }

    /// Returns the objects of a resource at a revision, in order, starting after the key `after`. A limit of 0 means no
    /// limit.
    pub(crate) fn list(
        &self,
        resource: ResourceId,
        namespace: Option<&str>,
        revision: u64,
        after: Option<&Key>,
        limit: usize,
    ) -> Page {
        let first = Key {
            resource,
            path: namespace.map_or_else(|| "".into(), |namespace| format!("{namespace}/").into()),
        };
        let from = after.map_or(Bound::Included(&first), Bound::Excluded);
        let mut page = Page {
            objects: Vec::new(),
            more: None,
        };
        let mut last = None;
        let range = self.objects.range((from, Bound::Unbounded));
        for (key, versions) in range.take_while(|(key, _)| key.is_in(resource, namespace)) {
            let Some(object) = at(versions, revision) else {
                continue;
            };
            if limit == 0 || page.objects.len() < limit {
                page.objects.push(object.clone());
                last = Some(key);
            } else if let Some((_, left)) = &mut page.more {
                *left += 1;
            } else if let Some(last) = last {
                page.more = Some((last.clone(), 1));
            }
        }
        page
    }

    /// Writes an object (None: removes it) and returns it with its resourceVersion. A removed object is returned in its
    /// last version, with the resourceVersion of its removal, as watches show it.
    pub(crate) fn put(&mut self, key: &Key, after: Option<Value>) -> Change {
        self.revision += 1;
        let versioned = |mut object: Value| {
            object["metadata"]["resourceVersion"] = Value::from(self.revision.to_string());
            Arc::new(object)
        };
        let before = self.get(key).cloned();
        let after = after.map(versioned);
        let change = Change {
            revision: self.revision,
            key: key.clone(),
            before: if after.is_some() {
                before
            } else {
                before.map(|it| versioned(Value::clone(&it)))
            },
            after: after.clone(),
        };
        let versions = self.objects.entry(key.clone()).or_default();
        versions.push(Version {
            revision: self.revision,
            object: after,
        });
        self.log.push_back(change.clone());
        change
    }

    /// Returns the change of this revision, unless the revision is compacted or in the future.
    pub(crate) fn change(&self, revision: u64) -> Option<&Change> {
        let first = self.log.front()?.revision;
        self.log.get(usize::try_from(revision.checked_sub(first)?).ok()?)
    }

    /// Drops the history before a revision. A revision in the future means the newest one.
    pub(crate) fn compact(&mut self, revision: u64) {
        let revision = revision.min(self.revision);
        if revision <= self.compacted {
            return;
        }
        self.compacted = revision;
        while self.log.front().is_some_and(|change| change.revision <= revision) {
            if let Some(change) = self.log.pop_front()
                && let Some(versions) = self.objects.get_mut(&change.key)
            {
                let newest = versions.iter().rposition(|it| it.revision <= revision);
                versions.drain(..newest.unwrap_or_default());
                if versions.len() == 1 && versions[0].object.is_none() && versions[0].revision <= revision {
                    self.objects.remove(&change.key);
                }
            }
        }
    }
}

fn at(versions: &[Version], revision: u64) -> Option<&Object> {
    let version = versions.iter().rfind(|version| version.revision <= revision)?;
    version.object.as_ref()
}
