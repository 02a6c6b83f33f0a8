//! Queries of the history, for tests. They only read, except `clear`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    history::{Call, Count, Filter},
    service::Shared,
    wire::operation::{Class, Operation},
};

/// The requests that a simulator has received.
#[derive(Clone, Debug)]
pub struct Calls {
    shared: Arc<Shared>,
}

impl Calls {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns every call that the history keeps, in order of arrival.
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        self.matching(&Filter::default())
    }

    /// Returns the calls that match a filter.
    #[must_use]
    pub fn matching(&self, filter: &Filter) -> Vec<Call> {
        self.shared.state.lock().history.calls(filter)
    }

    /// Returns the calls of an operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> Vec<Call> {
        self.matching(&Filter::operation(operation))
    }

    /// Returns how often each operation was called, whether the calls are kept or not.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Operation, Count> {
        self.shared.state.lock().history.counts()
    }

    /// Returns how often one operation was called.
    #[must_use]
    pub fn count(&self, operation: Operation) -> Count {
        self.counts().get(&operation).copied().unwrap_or_default()
    }

    /// Returns all writes.
    #[must_use]
    pub fn writes(&self) -> Vec<Call> {
        let mut calls = self.all();
        calls.retain(|call| call.operation.class() == Class::Write);
        calls
    }

    /// Returns the creates whose work was done or started, even if the client got an error.
    #[must_use]
    pub fn accepted_creates(&self) -> Vec<Call> {
        let mut calls = self.matching(&Filter {
            accepted: Some(true),
            ..Filter::default()
        });
        calls.retain(|call| call.operation.creates());
        calls
    }

    /// Returns how often each object was created: `account/region/app/environment[/resource]`.
    #[must_use]
    pub fn creates_by_object(&self) -> BTreeMap<String, usize> {
        let mut objects = BTreeMap::new();
        for call in self.accepted_creates() {
            let place = [call.account.as_deref(), call.region.as_deref()].map(Option::unwrap_or_default);
            let mut name = format!("{}/{}/{}/{}", place[0], place[1], call.app(), call.environment());
            // The resource name of a backend is not part of its key.
            match call.operation {
                Operation::CreateBackendApi => name = format!("{name}/{}", call.resource()),
                // A backend has one storage at most, so the key needs no name.
                Operation::CreateBackendStorage | Operation::ImportBackendStorage => name += "/storage",
                _ => {}
            }
            *objects.entry(name).or_default() += 1;
        }
        objects
    }

    /// Returns calls that destroy more than one object. An operator must never make one.
    #[must_use]
    pub fn dangerous(&self) -> Vec<Call> {
        let mut calls = self.all();
        calls.retain(|call| call.operation.is_dangerous());
        calls
    }

    /// Whether this many calls match a filter before the timeout. Waits in real time.
    pub async fn reaches(&self, filter: &Filter, count: usize, timeout: Duration) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let reached = async {
            while self.matching(filter).len() < count {
                if changed.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(timeout, reached).await.unwrap_or(false)
    }

    /// Drops all calls and counters. The numbers of new calls continue.
    pub fn clear(&self) {
        self.shared.state.lock().history.clear();
    }
}
