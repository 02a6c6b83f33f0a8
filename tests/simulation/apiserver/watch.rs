//! A watch: its position in the history, and its lines. Pure: the server decides when a line is sent.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{
    refusal::Refusal,
    resource::{ResourceId, Table},
    store::{Object, Store},
};

/// The position of a watch.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) resource: ResourceId,
    namespace: Option<String>,
    metadata_only: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    /// The existing objects, which it shows first.
    initial: VecDeque<Object>,
    /// A refusal that it shows before it ends at once.
    refusal: Option<Refusal>,
    /// The revision up to which all changes have been shown.
    position: u64,
}

/// The next output of a watch.
pub(crate) enum Next {
    /// A line that is due now.
    Now,
    /// A change.
    Change,
    /// Nothing yet.
    Nothing,
    /// It ends.
    End,
}

impl Cursor {
    pub(crate) const fn new(resource: ResourceId, namespace: Option<String>, position: u64) -> Self {
        Self {
            resource,
            namespace,
            metadata_only: false,
            bookmarks: false,
            timeout_seconds: None,
            initial: VecDeque::new(),
            refusal: None,
            position,
        }
    }

    pub(crate) fn with(mut self, metadata_only: bool, bookmarks: bool, timeout_seconds: Option<u64>) -> Self {
        self.metadata_only = metadata_only;
        self.bookmarks = bookmarks;
        self.timeout_seconds = timeout_seconds;
        self
    }

    /// Makes the watch show these objects first.
    pub(crate) fn beginning_with(mut self, initial: Vec<Object>) -> Self {
        self.initial = initial.into();
        self
    }

    /// Makes the watch show this refusal and end.
    pub(crate) fn refused(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// Returns the kind of the next output, and skips changes of other resources.
    pub(crate) fn look(&mut self, store: &Store) -> Next {
        if self.refusal.is_some() || !self.initial.is_empty() {
            return Next::Now;
        }
        if self.position < store.compacted() {
            // The watch is too slow. The real server ends such a watch without a message.
            return Next::End;
        }
        while let Some(change) = store.change(self.position + 1) {
            if change.key.is_in(self.resource, self.namespace.as_deref()) {
                return Next::Change;
            }
            self.position = change.revision;
        }
        Next::Nothing
    }

    /// Returns the next line, and whether it is the last one. None: there is nothing to show yet.
    pub(crate) fn take(&mut self, store: &Store, table: &Table) -> Option<(Vec<u8>, bool)> {
        if let Some(refusal) = self.refusal.take() {
            return Some((line("ERROR", &refusal.status()), true));
        }
        if let Some(object) = self.initial.pop_front() {
            return Some((self.event("ADDED", &object), false));
        }
        let change = store.change(self.position + 1)?;
        self.position = change.revision;
        let shown = match (&change.before, &change.after) {
            (None, Some(after)) => self.event("ADDED", after),
            (Some(_), Some(after)) => self.event("MODIFIED", after),
            (Some(before), None) => self.event("DELETED", before),
            // The store never makes such a change.
            (None, None) => self.bookmark(table),
        };
        Some((shown, false))
    }

    /// Returns a line with the position of the watch.
    pub(crate) fn bookmark(&self, table: &Table) -> Vec<u8> {
        let resource = table.get(self.resource);
        let (api_version, kind) = if self.metadata_only {
            ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata")
        } else {
            (resource.api_version(), resource.kind.as_str())
        };
        let metadata = json!({ "resourceVersion": self.position.to_string() });
        line(
            "BOOKMARK",
            &json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata }),
        )
    }

    fn event(&self, kind: &str, object: &Value) -> Vec<u8> {
        if self.metadata_only {
            line(kind, &metadata_of(object))
        } else {
            line(kind, object)
        }
    }
}

/// Returns only an object's metadata.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"] })
}

fn line(kind: &str, object: &Value) -> Vec<u8> {
    let mut line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}").into_bytes();
    line.push(b'\n');
    line
}
