//! The rules of the election, pure: from the past of this process to its next action. No I/O, no clock.
//!
//! The rules are client-go's (`tools/leaderelection`), with doubled durations and one stricter rule. Whether a lease is
//! held or not, a process takes it only after it has itself observed it unchanged for its whole duration. A missing
//! lease is first created without a holder: only a lease that exists can be observed to stay unchanged. So neither an
//! edited nor a deleted lease leads to a second leader while the first leader's time runs. The times in the lease are
//! for people: they are never compared with a clock.

use std::{cmp::max, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};

/// How long others wait for a renewal before they take the lease.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(30);
/// How long a leader leads without a renewal. The rest of the lease's duration is a margin for writes in flight and for
/// clocks that do not run at the same rate.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(20);
/// How often a leader renews the lease.
pub(super) const RENEW_PERIOD: Duration = Duration::from_secs(10);
/// How often a standby reads the lease, and how long any process waits after a failed write.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// The duration of a lease that its leader has given back.
const RELEASED_SECONDS: i32 = 1;

/// Time on a clock of this machine that never goes back. Comparable only within this process.
pub(super) type Uptime = Duration;

/// The next action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Read the lease.
    Look,
    /// Write this lease: to take it, to renew it, or to create it.
    Write(Box<Lease>),
    /// Wait until this time.
    Wait(Uptime),
    /// Give the lease back by writing this one, then end.
    Release(Box<Lease>),
    /// End. There is nothing to give back.
    Leave,
    /// Leadership is lost: stop all work.
    GiveUp(Loss),
}

/// Why leadership was lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// No renewal has succeeded for the renew deadline.
    #[error("could not be renewed for {} s", RENEW_DEADLINE.as_secs())]
    NotRenewed,
    /// Another process holds the lease.
    #[error("is held by {0}")]
    Taken(String),
}

/// The lease as last seen, and since when it has been seen unchanged. `None`: there is no lease.
#[derive(Clone, Debug)]
struct Seen {
    lease: Option<Lease>,
    since: Uptime,
}

/// A process in the election.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    identity: String,
    seen: Option<Seen>,
    /// Whether the lease must be read before any other action.
    look: bool,
    /// When the last write of the lease began.
    attempted: Option<Uptime>,
    /// While it leads: when its last successful write began.
    renewed: Option<Uptime>,
}

impl Candidate {
    /// Makes a candidate that has seen nothing. The identity must be new: not even a predecessor of this process may
    /// have used it.
    pub(super) const fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            look: true,
            attempted: None,
            renewed: None,
        }
    }

    /// Returns until when this process leads, unless it renews.
    pub(super) fn leads_until(&self) -> Option<Uptime> {
        self.renewed.map(|renewed| renewed + RENEW_DEADLINE)
    }

    /// Records the answer to a read of the lease. `now`: when the answer arrived.
    pub(super) fn saw(&mut self, lease: Option<Lease>, now: Uptime) {
        self.look = false;
        let unchanged = self
            .seen
            .as_ref()
            .is_some_and(|seen| version(seen.lease.as_ref()) == version(lease.as_ref()));
        if !unchanged {
            self.seen = Some(Seen { lease, since: now });
        }
    }

    /// Records that a write of the lease succeeded. `begun`: when the request began. `now`: when the answer arrived.
    pub(super) fn wrote(&mut self, lease: Lease, begun: Uptime, now: Uptime) {
        self.attempted = Some(begun);
        if holder(&lease) == self.identity {
            // From the beginning of the request: the API server may have written at once and answered slowly.
            self.renewed = Some(begun);
        }
        self.saw(Some(lease), now);
    }

    /// Records that a write of the lease failed or had no answer. It may have taken effect.
    pub(super) fn failed(&mut self, begun: Uptime) {
        self.attempted = Some(begun);
        self.look = true;
    }

    /// Records that time has passed. A standby must then read the lease again.
    pub(super) fn waited(&mut self) {
        self.look |= self.renewed.is_none();
    }

    /// Returns the next action. `wall` is written into the lease, for people. `ending`: all work is finished and no
    /// more begins.
    pub(super) fn next(&self, now: Uptime, wall: Timestamp, ending: bool) -> Action {
        let (due, seen) = match (self.leads_until(), &self.seen) {
            (Some(until), _) if now >= until => return Action::GiveUp(Loss::NotRenewed),
            (None, _) if ending => return Action::Leave,
            (_, None) => return Action::Look,
            _ if self.look => return Action::Look,
            (Some(_), Some(seen)) => match &seen.lease {
                Some(lease) if !is_free_or(&self.identity, lease) => {
                    return Action::GiveUp(Loss::Taken(holder(lease).to_owned()));
                }
                Some(lease) if ending => return Action::Release(Box::new(released(lease, wall))),
                None if ending => return Action::Leave,
                _ => (self.renewed.unwrap_or_default() + RENEW_PERIOD, seen),
            },
            (None, Some(seen)) => (self.free_at(seen), seen),
        };
        let due = self
            .attempted
            .map_or(due, |attempted| max(due, attempted + RETRY_PERIOD));
        if now >= due {
            return Action::Write(Box::new(match (&seen.lease, self.renewed) {
                (None, None) => unheld(wall),
                (lease, _) => self.held(lease.as_ref(), wall),
            }));
        }
        Action::Wait(match self.renewed {
            Some(_) => due,
            None => due.min(now + RETRY_PERIOD),
        })
    }

    /// Returns the time after which no process leads by this lease.
    fn free_at(&self, seen: &Seen) -> Uptime {
        let Some(lease) = &seen.lease else {
            return seen.since;
        };
        let given = lease
            .spec
            .as_ref()
            .and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok())
            .map_or(LEASE_DURATION, Duration::from_secs);
        match holder(lease) {
            // Written by this process in a request whose answer was lost.
            mine if mine == self.identity => seen.since,
            "" => seen.since + given,
            // A leader does not notice that its lease's duration was shortened.
            _ => seen.since + max(given, LEASE_DURATION),
        }
    }

    /// Returns this lease with this process as the holder.
    fn held(&self, lease: Option<&Lease>, wall: Timestamp) -> Lease {
        let is_new = lease.is_none();
        let mut lease = lease.cloned().unwrap_or_default();
        let spec = lease.spec.get_or_insert_default();
        let renewed = renewal(wall, spec.renew_time.as_ref());
        if spec.holder_identity.as_deref() != Some(&self.identity) {
            let transitions = spec.lease_transitions.unwrap_or_default();
            spec.lease_transitions = Some(if is_new { 0 } else { transitions.saturating_add(1) });
            spec.acquire_time = Some(renewed.clone());
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.renew_time = Some(renewed);
        spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
        lease
    }
}

/// Makes a lease without a holder. A lease may have been deleted a moment ago, and its holder may still lead.
fn unheld(wall: Timestamp) -> Lease {
    Lease {
        spec: Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            lease_transitions: Some(0),
            renew_time: Some(renewal(wall, None)),
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    }
}

/// Returns this lease without its holder.
fn released(lease: &Lease, wall: Timestamp) -> Lease {
    let mut lease = lease.clone();
    let spec = lease.spec.get_or_insert_default();
    let now = renewal(wall, spec.renew_time.as_ref());
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(RELEASED_SECONDS);
    spec.acquire_time = Some(now.clone());
    spec.renew_time = Some(now);
    lease
}

/// Returns the renewal time to write. It always differs from the present one: an update without a change makes no new
/// version, and the lease would look abandoned to the others.
fn renewal(wall: Timestamp, before: Option<&MicroTime>) -> MicroTime {
    let micros = wall.as_microsecond();
    let is_same = before.is_some_and(|before| before.0.as_microsecond() == micros);
    let micros = if is_same { micros + 1 } else { micros };
    MicroTime(Timestamp::from_microsecond(micros).unwrap_or(wall))
}

fn holder(lease: &Lease) -> &str {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

fn is_free_or(identity: &str, lease: &Lease) -> bool {
    let holder = holder(lease);
    holder.is_empty() || holder == identity
}

/// Returns the uid and resource version of a lease. They differ between any two versions.
fn version(lease: Option<&Lease>) -> Option<(Option<&str>, Option<&str>)> {
    lease.map(|lease| {
        let meta = &lease.metadata;
        (meta.uid.as_deref(), meta.resource_version.as_deref())
    })
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
