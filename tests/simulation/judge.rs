//! Sees every accepted write at once, together with AWS's state at that moment. At the end it checks all writes by the
//! laws of the soak.

use std::{collections::BTreeMap, sync::Arc};

use amplify_operator::api::GROUP;
use amplify_simulator::Control;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{apiserver::Write, plan::APP};
use amplify_testkit::{
    laws::checker,
    laws::history::{self, Millis, Version},
};

/// All versions so far.
#[derive(Clone)]
pub(crate) struct Judge(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    versions: Vec<Version>,
    /// The position of each uid's last version.
    last: BTreeMap<String, usize>,
    /// One line for each write.
    log: Vec<String>,
    /// The number of operators' writes, without renewals of a lease.
    written: u64,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Records a write, at this time of AWS.
    pub(crate) fn see(&self, write: &Write, aws: &Control, now: Millis) {
        let mut record = self.0.lock();
        if write.resource != "leases" {
            record.log.push(write.line());
            record.written += u64::from(write.who.starts_with("operator-"));
        }
        let gone = write.after.is_none();
        let Some(object) = write.after.as_ref().or(write.before.as_ref()) else {
            return;
        };
        let ours = object["apiVersion"]
            .as_str()
            .is_some_and(|version| version.starts_with(GROUP));
        if !ours {
            return;
        }
        let mut version = Version {
            number: write.revision,
            seen: now,
            written: now,
            gone,
            object: Value::clone(object),
            held: Value::Null,
        };
        version.held = held(aws, &version);
        let place = record.versions.len();
        record.last.insert(version.uid().to_owned(), place);
        record.versions.push(version);
    }

    /// Adds a line to the log.
    pub(crate) fn note(&self, line: String) {
        self.0.lock().log.push(line);
    }

    /// Returns the existing resources in their current state.
    pub(crate) fn living(&self, aws: &Control) -> Vec<Version> {
        let record = self.0.lock();
        let last = record.last.values().map(|place| &record.versions[*place]);
        let mut living: Vec<_> = last.filter(|last| !last.gone).cloned().collect();
        drop(record);
        for last in &mut living {
            last.held = held(aws, last);
        }
        living
    }

    /// Returns the resources that are not at rest, with their status.
    pub(crate) fn restless(&self, aws: &Control) -> Vec<String> {
        let living = self.living(aws);
        // By now no environment is locked: the next check forgets since when one was.
        let remembers = |last: &Version| {
            (last.is_ready() || last.reason() == "Drifted") && !last.status()["migrationLockedAt"].is_null()
        };
        let restless = living
            .iter()
            .filter(|last| !checker::is_at_rest(last, &living) || remembers(last));
        restless
            .map(|last| format!("{}: {:#}", last.title(), last.status()))
            .collect()
    }

    pub(crate) fn versions(&self) -> Vec<Version> {
        self.0.lock().versions.clone()
    }

    pub(crate) fn written(&self) -> u64 {
        self.0.lock().written
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().log.clone()
    }
}

/// Returns AWS's current object for this version.
fn held(aws: &Control, version: &Version) -> Value {
    history::held(aws, APP, version)
}
