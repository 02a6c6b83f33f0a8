//! What was asked of Kubernetes and of AWS since a moment: by the API server's audit log and the simulator's counters.

use std::{collections::BTreeMap, time::Duration};

use amplify_devcluster::audit::{AuditEvent, AuditLog, AuditMark, Stage};
use amplify_simulator::{Calls, Operation, Simulator};
use anyhow::Result;
use tokio::time;

use crate::{mix::Kind, site};

/// The API server writes its audit log after its answer: the last lines may come this late.
const LATE: Duration = Duration::from_millis(300);
/// How often that is waited for at most: drift checks ask on and on.
const WAITS: usize = 5;

/// Counts from a moment on.
pub(crate) struct Meter {
    audit: AuditLog,
    mark: AuditMark,
    calls: Calls,
}

/// Requests of the operator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// To Kubernetes, by verb and resource.
    pub(crate) requests: BTreeMap<String, u64>,
    /// Those that write, by resource; Events apart.
    writes: BTreeMap<String, u64>,
    /// To AWS, by operation.
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

    /// The counts so far.
    pub(crate) async fn read(&self) -> Result<Counts> {
        // First, since reading a long log takes its time.
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

/// A watch is counted when it begins, everything else when it has ended.
fn is_counted(event: &AuditEvent) -> bool {
    let stage = if event.verb == "watch" {
        Stage::ResponseStarted
    } else {
        Stage::ResponseComplete
    };
    event.stage == stage
}

impl Counts {
    /// Writes about objects of a kind.
    pub(crate) fn writes_of(&self, kind: Kind) -> u64 {
        self.writes.get(kind.plural()).copied().unwrap_or_default()
    }

    /// All writes, Events apart.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.values().sum()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.values().sum()
    }

    pub(crate) fn calls_of(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or_default()
    }

    /// Calls to AWS but for those that ask who one is.
    pub(crate) fn calls(&self) -> u64 {
        let all: u64 = self.calls.values().sum();
        all - self.calls_of(Operation::GetCallerIdentity)
    }
}
