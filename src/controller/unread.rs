//! An object as the API server sends it in lists and watches: a part of its metadata is parsed, the rest stays text
//! until it is needed.
//!
//! An object that cannot be parsed does not affect the others. kube's own `DeserializeGuard` does the same, but builds
//! a tree of the whole object, which costs more than half of the cost of a watch. Most events of a watch show objects
//! that this process has just written and still has in memory: these are never parsed.

use std::{borrow::Cow, fmt, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

/// An object that is not parsed yet.
pub(super) struct Unread<K> {
    meta: ObjectMeta,
    text: Box<RawValue>,
    kind: PhantomData<fn() -> K>,
}

#[derive(Deserialize)]
struct Named {
    metadata: Metadata,
}

/// The metadata that identifies a version of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<K: for<'de> Deserialize<'de>> Unread<K> {
    /// Parses the object. Returns an error if this version of the operator cannot read it.
    pub(super) fn read(&self) -> Result<K, serde_json::Error> {
        serde_json::from_str(self.text.get())
    }
}

impl<'de, K> Deserialize<'de> for Unread<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Named { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self {
            meta: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
            text,
            kind: PhantomData,
        })
    }
}

impl<K> Clone for Unread<K> {
    fn clone(&self) -> Self {
        Self {
            meta: self.meta.clone(),
            text: self.text.clone(),
            kind: PhantomData,
        }
    }
}

/// Omits the content: it may be long, and may hold data that does not belong in a log.
impl<K> fmt::Debug for Unread<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectMeta { namespace, name, .. } = &self.meta;
        f.debug_struct("Unread")
            .field("namespace", namespace)
            .field("name", name)
            .finish_non_exhaustive()
    }
}

impl<K: Resource> Resource for Unread<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::core::WatchEvent;
    use serde_json::json;

    use super::*;
    use crate::api::BackendEnvironment;

    #[test]
    fn an_object_that_cannot_be_read_is_known_by_its_name_and_stops_no_list() {
        let good = json!({ "metadata": { "name": "a", "namespace": "x", "resourceVersion": "7" },
            "spec": { "appId": "d1", "environmentName": "dev" } });
        let bad = json!({ "metadata": { "name": "b", "resourceVersion": "8" }, "spec": { "appId": 1 } });
        let text = json!([good, bad]).to_string();
        let all: Vec<Unread<BackendEnvironment>> = serde_json::from_str(&text).unwrap();
        let names: Vec<_> = all.iter().map(|object| object.meta().name.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("b")]);
        assert_eq!(all[0].read().unwrap().spec.app_id, "d1");
        assert_eq!(all[0].meta().resource_version.as_deref(), Some("7"));
        assert!(all[1].read().is_err());
        assert!(!format!("{:?}", all[0]).contains("d1"));
    }

    #[test]
    fn an_event_of_a_watch_is_read_as_the_api_server_writes_it() {
        let text = r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","managedFields":[{"manager":"x"}]}}}"#;
        let event: WatchEvent<Unread<BackendEnvironment>> = serde_json::from_str(text).unwrap();
        assert!(matches!(event, WatchEvent::Modified(object) if object.meta().name.as_deref() == Some("a")));
    }
}
