//! The history of every request in order of arrival, for the assertions of tests. Memory is bounded; the counters count
//! all requests.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::wire::operation::{Operation, Service};

/// One request and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// The number of the call, from 1. It never restarts.
    pub seq: u64,
    /// When it arrived, in milliseconds of the simulated clock.
    pub time: i64,
    /// The service, from the credential scope.
    pub service: Option<Service>,
    /// The operation, from method and path after removing dot segments.
    pub operation: Operation,
    /// Method and path as received.
    pub request_line: Box<str>,
    /// The caller's account; absent if the signature was refused.
    pub account: Option<Arc<str>>,
    /// The region, from the credential scope.
    pub region: Option<Arc<str>>,
    /// The app id.
    pub app: Option<Box<str>>,
    /// The environment; of a clone, the target.
    pub environment: Option<Box<str>>,
    /// The source environment of a clone.
    pub source_environment: Option<Box<str>>,
    /// The resource name of an API; of AssumeRole, the role's ARN.
    pub resource: Option<Box<str>>,
    /// The key that signed.
    pub access_key_id: Option<Arc<str>>,
    /// The role of an assumed session.
    pub role: Option<Arc<str>>,
    /// The name of an assumed session.
    pub session_name: Option<Arc<str>>,
    /// The request's body, unless it was too long to keep.
    pub body: Body,
    /// The HTTP status; absent while the request is in flight, and if the connection was reset.
    pub status: Option<u16>,
    /// The code of the error, if the answer is an error.
    pub error: Option<Box<str>>,
    /// Whether this is a write whose work was done or started, even if the client got an error.
    pub accepted: bool,
    /// The id of the job that the call started.
    pub job_id: Option<Box<str>>,
    /// Whether the answer has not been sent yet.
    pub in_flight: bool,
    /// Whether a fault rule hit the call.
    pub faulted: bool,
}

impl Call {
    /// Returns the app, or an empty text.
    #[must_use]
    pub fn app(&self) -> &str {
        self.app.as_deref().unwrap_or_default()
    }

    /// Returns the environment, or an empty text.
    #[must_use]
    pub fn environment(&self) -> &str {
        self.environment.as_deref().unwrap_or_default()
    }

    /// Returns the resource, or an empty text.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.resource.as_deref().unwrap_or_default()
    }
}

/// A request's body, stored as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Returns the body as JSON: null if it was empty, not kept, or not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(from)? {
            Value::Null => Self::default(),
            value => Self(value.to_string().into()),
        })
    }
}

/// A filter of calls. An absent member matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Filter {
    /// The service.
    pub service: Option<Service>,
    /// The operation.
    pub operation: Option<Operation>,
    /// The account.
    pub account: Option<String>,
    /// The app id.
    pub app: Option<String>,
    /// The environment; of a clone, the target.
    pub environment: Option<String>,
    /// The resource name of an API; of AssumeRole, the role's ARN.
    pub resource: Option<String>,
    /// Whether the call was accepted.
    pub accepted: Option<bool>,
    /// Whether the call is in flight.
    pub in_flight: Option<bool>,
    /// The number after which calls match.
    pub after: Option<u64>,
}

impl Filter {
    /// Returns a filter for the calls of an operation.
    #[must_use]
    pub fn operation(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::default()
        }
    }

    /// Whether a call matches.
    #[must_use]
    pub fn admits(&self, call: &Call) -> bool {
        let name = |wanted: &Option<String>, actual: Option<&str>| wanted.is_none() || wanted.as_deref() == actual;
        (self.service.is_none() || self.service == call.service)
            && self.operation.is_none_or(|operation| operation == call.operation)
            && name(&self.account, call.account.as_deref())
            && name(&self.app, call.app.as_deref())
            && name(&self.environment, call.environment.as_deref())
            && name(&self.resource, call.resource.as_deref())
            && self.accepted.is_none_or(|accepted| accepted == call.accepted)
            && self.in_flight.is_none_or(|in_flight| in_flight == call.in_flight)
            && self.after.is_none_or(|after| call.seq > after)
    }
}

/// The number of calls of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// All requests.
    pub calls: u64,
    /// Writes whose work was done or started.
    pub accepted: u64,
}

/// The calls themselves.
#[derive(Debug)]
pub(crate) struct History {
    calls: VecDeque<Call>,
    next: u64,
    limit: usize,
    counts: BTreeMap<Operation, Count>,
}

impl History {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            calls: VecDeque::new(),
            next: 1,
            limit,
            counts: BTreeMap::new(),
        }
    }

    /// Stores a call and gives it a number.
    pub(crate) fn begin(&mut self, mut call: Call) -> u64 {
        let seq = self.next;
        self.next += 1;
        call.seq = seq;
        self.counts.entry(call.operation).or_default().calls += 1;
        self.calls.push_back(call);
        if self.calls.len() > self.limit {
            self.calls.pop_front();
        }
        seq
    }

    /// Changes a call, if the history still keeps it.
    pub(crate) fn change(&mut self, seq: u64, change: impl FnOnce(&mut Call)) {
        let Some(first) = self.calls.front().map(|call| call.seq) else {
            return;
        };
        let index = seq.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            change(call);
        }
    }

    pub(crate) fn accepted(&mut self, operation: Operation) {
        self.counts.entry(operation).or_default().accepted += 1;
    }

    pub(crate) fn calls(&self, filter: &Filter) -> Vec<Call> {
        self.calls.iter().filter(|call| filter.admits(call)).cloned().collect()
    }

    pub(crate) fn counts(&self) -> BTreeMap<Operation, Count> {
        self.counts.clone()
    }

    pub(crate) fn clear(&mut self) {
        self.calls.clear();
        self.counts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: Operation) -> Call {
        Call {
            seq: 0,
            time: 0,
            service: operation.service(),
            operation,
            request_line: "POST /".into(),
            account: None,
            region: None,
            app: None,
            environment: None,
            source_environment: None,
            resource: None,
            access_key_id: None,
            role: None,
            session_name: None,
            body: Body::new(Bytes::from_static(b"{\"a\":1}")),
            status: None,
            error: None,
            accepted: false,
            job_id: None,
            in_flight: true,
            faulted: false,
        }
    }

    #[test]
    fn the_oldest_calls_go_and_numbers_and_counters_stay() {
        let mut history = History::new(2);
        for _ in 0..3 {
            history.begin(call(Operation::CreateBackend));
        }
        history.change(1, |call| call.accepted = true);
        history.change(3, |call| call.accepted = true);
        let kept: Vec<(u64, bool)> = history
            .calls(&Filter::default())
            .iter()
            .map(|call| (call.seq, call.accepted))
            .collect();
        assert_eq!(kept, [(2, false), (3, true)]);
        assert_eq!(history.counts()[&Operation::CreateBackend].calls, 3);
        history.clear();
        assert_eq!(history.begin(call(Operation::GetApp)), 4);
    }

    #[test]
    fn calls_travel_as_json() {
        let call = call(Operation::CreateBackendApi);
        let text = serde_json::to_string(&call).unwrap();
        assert!(
            text.contains(r#""operation":"CreateBackendAPI""#) && text.contains(r#""body":{"a":1}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Call>(&text).unwrap(), call);
    }
}
