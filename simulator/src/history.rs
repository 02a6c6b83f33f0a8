//! Every request in the order of arrival: what tests assert on. Memory is bounded; the counters are not cut.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::wire::operation::{Operation, Service};

/// One request and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Counts from 1 and never starts again.
    pub seq: u64,
    /// When it arrived, in milliseconds of the simulated clock.
    pub time: i64,
    /// By the credential scope.
    pub service: Option<Service>,
    /// By method and path, dot segments removed.
    pub operation: Operation,
    /// Method and path as received.
    pub request_line: Box<str>,
    /// Of the caller; absent if the signature was refused.
    pub account: Option<Arc<str>>,
    /// By the credential scope.
    pub region: Option<Arc<str>>,
    /// The app id.
    pub app: Option<Box<str>>,
    /// The environment; of a clone, the target.
    pub environment: Option<Box<str>>,
    /// Of a clone.
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
    /// The HTTP status; absent while in flight and if the connection was reset.
    pub status: Option<u16>,
    /// The error's code, if it was one.
    pub error: Option<Box<str>>,
    /// A write whose work was done or started, whatever the client was told.
    pub accepted: bool,
    /// The job that it started.
    pub job_id: Option<Box<str>>,
    /// The answer is not out yet.
    pub in_flight: bool,
    /// A fault rule hit it.
    pub faulted: bool,
}

impl Call {
    /// Returns the app, or nothing.
    #[must_use]
    pub fn app(&self) -> &str {
        self.app.as_deref().unwrap_or_default()
    }

    /// Returns the environment, or nothing.
    #[must_use]
    pub fn environment(&self) -> &str {
        self.environment.as_deref().unwrap_or_default()
    }

    /// Returns the resource, or nothing.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.resource.as_deref().unwrap_or_default()
    }
}

/// A request's body, kept as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Returns the body as JSON: null if it was empty, not kept, or no JSON.
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

/// Which calls to show. What is absent matches all.
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
    /// Only those that were, or were not, accepted.
    pub accepted: Option<bool>,
    /// Only those that are, or are not, in flight.
    pub in_flight: Option<bool>,
    /// Only those after this number.
    pub after: Option<u64>,
}

impl Filter {
    /// Returns the calls of an operation.
    #[must_use]
    pub fn operation(operation: Operation) -> Self {
        Self {
            operation: Some(operation),
            ..Self::default()
        }
    }

    /// Whether a call is wanted.
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

/// How often each operation was called.
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

    /// Takes a call in; its number is given here.
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

    /// Changes a call, if it is still kept.
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
