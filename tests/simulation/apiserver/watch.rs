//! A watch: where it stands in the history, and the lines that it shows. Pure; when a line leaves is the server's matter.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{
    refusal::Refusal,
    resource::{ResourceId, Table},
    store::{Object, Store},
};

/// Where a watch stands.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) resource: ResourceId,
    namespace: Option<String>,
    metadata_only: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout_seconds: Option<u64>,
    /// Objects that are there already, which it shows first.
    initial: VecDeque<Object>,
    /// What it shows before it ends at once.
    refusal: Option<Refusal>,
    /// All changes up to this revision have been shown.
    position: u64,
}

/// What a watch shows next.
pub(crate) enum Next {
    /// Something that is due now.
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

    /// Shows these first.
    pub(crate) fn beginning_with(mut self, initial: Vec<Object>) -> Self {
        self.initial = initial.into();
        self
    }

    /// Shows this refusal and ends.
    pub(crate) fn refused(mut self, refusal: Refusal) -> Self {
        self.refusal = Some(refusal);
        self
    }

    /// Looks at what comes next, and passes over what is none of its business.
    pub(crate) fn look(&mut self, store: &Store) -> Next {
        if self.refusal.is_some() || !self.initial.is_empty() {
            return Next::Now;
        }
        if self.position < store.compacted() {
            // It is too slow: the real server ends such a watch without a word.
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

    /// Returns the next line, and whether it is the last one. None: nothing yet.
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
            // The store makes no such change.
            (None, None) => self.bookmark(table),
        };
        Some((shown, false))
    }

    /// Returns a line that says how far the watch has come.
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

/// Returns an object's metadata alone.
pub(crate) fn metadata_of(object: &Value) -> Value {
    json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"] })
}

fn line(kind: &str, object: &Value) -> Vec<u8> {
    let mut line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}").into_bytes();
    line.push(b'\n');
    line
}
