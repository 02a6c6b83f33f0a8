//! The number of requests to Kubernetes and AWS since a moment, from the API server's audit log and the simulator's
//! counters.

use std::{collections::BTreeMap, time::Duration};

use amplify_devcluster::audit::{AuditEvent, AuditLog, AuditMark, Stage};
use amplify_simulator::{Calls, Operation, Simulator};
use anyhow::Result;
use tokio::time;

use crate::{mix::Kind, site};

/// The API server writes its audit log after its answer. The last lines may come this late.
const LATE: Duration = Duration::from_millis(300);
/// How many times to wait for late lines at most: drift checks go on without end.
const WAITS: usize = 5;

/// Counts requests from a moment on.
pub(crate) struct Meter {
    audit: AuditLog,
    mark: AuditMark,
    calls: Calls,
}

/// The operator's requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Requests to Kubernetes, by verb and resource.
    pub(crate) requests: BTreeMap<String, u64>,
    /// The writes among them, by resource, without Events.
    writes: BTreeMap<String, u64>,
    /// Calls to AWS, by operation.
    pub(crate) calls: BTreeMap<Operation, u64>,
}

impl Meter {
    pub(crate) fn start(audit: AuditLog, simulator: &Simulator) -> Result<Self> {
        let calls = simulator.history();
        calls.clear();
        Ok(Self {
            mark: audit.mark()?,
            audit,
            calls,
        })
    }

    /// Returns the counts so far.
    pub(crate) async fn read(&self) -> Result<Counts> {
        // The counters are read first, because reading a long log takes time.
        let calls = self.calls.counts().into_iter();
        let mut length = self.audit.mark()?;
        for _ in 0..WAITS {
            time::sleep(LATE).await;
            let now = self.audit.mark()?;
            if now == length {
                break;
            }
            length = now;
        }
        let mut counts = Counts::default();
        for event in self.audit.since(self.mark)? {
            if event.user == site::USER && is_counted(&event) {
                let what = [event.resource.as_str(), event.subresource.as_str()];
                let what = if what[1].is_empty() {
                    what[0].to_owned()
                } else {
                    what.join("/")
                };
                let request = match event.code {
                    ..400 => format!("{} {what}", event.verb),
                    code => format!("{} {what} → {code}", event.verb),
                };
                *counts.requests.entry(request).or_default() += 1;
                if event.is_write() && event.resource != "events" {
                    *counts.writes.entry(event.resource).or_default() += 1;
                }
            }
        }
        counts.calls = calls.map(|(operation, count)| (operation, count.calls)).collect();
        Ok(counts)
    }
}

/// Whether this event counts a request. A watch is counted when it begins, any other request when it has ended.
fn is_counted(event: &AuditEvent) -> bool {
    let stage = if event.verb == "watch" {
        Stage::ResponseStarted
    } else {
        Stage::ResponseComplete
    };
    event.stage == stage
}

impl Counts {
    /// Returns the number of writes about objects of a kind.
    pub(crate) fn writes_of(&self, kind: Kind) -> u64 {
        self.writes.get(kind.plural()).copied().unwrap_or_default()
    }

    /// Returns the number of all writes, without Events.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.values().sum()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    pub(crate) fn calls_of(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or_default()
    }

    /// Returns the number of calls to AWS, without calls that many resources share: those that ask for the caller's identity,
    /// and reads of migration locks.
    pub(crate) fn calls(&self) -> u64 {
        let all: u64 = self.calls.values().sum();
        let shared = [Operation::GetCallerIdentity, Operation::GetApp, Operation::ListApps];
        all - shared.map(|operation| self.calls_of(operation)).iter().sum::<u64>()
    }
}
