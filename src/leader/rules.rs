//! The rules of the election, pure: what this process has seen and done, and what it does next. No I/O, no clock.
//!
//! They are client-go's (`tools/leaderelection`), with its figures doubled, and stricter in one thing: whatever the
//! lease looks like, held or held by nobody, a process takes it only after it has itself seen it unchanged for its whole
//! duration. A lease that is missing is created first, held by nobody: nobody can see that nothing has been unchanged.
//! So neither an edited nor a deleted lease makes a second leader while the first one's time runs. The times that stand
//! in the lease are for people: they are never compared with a clock.

use std::{cmp::max, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};

/// How long others wait for a renewal before they take the lease.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(30);
/// How long a leader leads without a renewal. The rest of the lease's duration is for writes that are under way, and
/// for clocks that do not run at the same rate.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(20);
/// How often a leader renews the lease.
pub(super) const RENEW_PERIOD: Duration = Duration::from_secs(10);
/// How often a standby looks at the lease, and how long anybody waits after a write that failed.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// The duration of a lease that its leader has given back.
const RELEASED_SECONDS: i32 = 1;

/// Time on a clock of this machine that only goes forward; comparable only within this process.
pub(super) type Uptime = Duration;

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Read the lease.
    Look,
    /// Write this lease, to lead, to go on leading, or to have one.
    Write(Box<Lease>),
    /// Nothing until then.
    Wait(Uptime),
    /// Write this lease, and end.
    Release(Box<Lease>),
    /// End: there is nothing to give back.
    Leave,
    /// Leadership is lost: nothing more may be done.
    GiveUp(Loss),
}

/// How leadership was lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// No renewal has succeeded for the renew deadline.
    #[error("could not be renewed for {} s", RENEW_DEADLINE.as_secs())]
    NotRenewed,
    /// Somebody else holds the lease.
    #[error("is held by {0}")]
    Taken(String),
}

/// The lease as it was last seen, and since when it has been seen like this. `None`: there is none.
#[derive(Clone, Debug)]
struct Seen {
    lease: Option<Lease>,
    since: Uptime,
}

/// A process that takes part in the election.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    identity: String,
    seen: Option<Seen>,
    /// The lease is to be read before anything else is done.
    look: bool,
    /// When the last write of the lease was begun.
    attempted: Option<Uptime>,
    /// While it leads: when the last write that succeeded was begun.
    renewed: Option<Uptime>,
}

impl Candidate {
    /// One that has seen nothing yet. The identity must never have been used before, not even by this process's
    /// predecessor.
    pub(super) const fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
            look: true,
            attempted: None,
            renewed: None,
        }
    }

    /// Until when this process leads, as things stand.
    pub(super) fn leads_until(&self) -> Option<Uptime> {
        self.renewed.map(|renewed| renewed + RENEW_DEADLINE)
    }

    /// The lease was read, and the answer came now.
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

    /// The lease that [`Action::Write`] asked for was written by a request that was begun at `begun`; this came back now.
    pub(super) fn wrote(&mut self, lease: Lease, begun: Uptime, now: Uptime) {
        self.attempted = Some(begun);
        if holder(&lease) == self.identity {
            // From the beginning: the API server may have written it at once, and the answer may have been slow.
            self.renewed = Some(begun);
        }
        self.saw(Some(lease), now);
    }

    /// The lease may or may not have been written by a request that was begun at `begun`.
    pub(super) fn failed(&mut self, begun: Uptime) {
        self.attempted = Some(begun);
        self.look = true;
    }

    /// Some time has passed in waiting. What a standby has seen is old then.
    pub(super) fn waited(&mut self) {
        self.look |= self.renewed.is_none();
    }

    /// What to do next. `wall` goes into the lease, for people. `ending`: everything is done, and nothing more will be.
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

    /// From when on nobody leads by this lease.
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
            // Written by this process in a request whose answer got lost.
            mine if mine == self.identity => seen.since,
            "" => seen.since + given,
            // No leader knows that somebody has shortened its lease.
            _ => seen.since + max(given, LEASE_DURATION),
        }
    }

    /// This lease, held by this process.
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

/// A lease that nobody holds. There may have been one a moment ago, and its holder may still lead.
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

/// This lease, given back.
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

/// The time to write. Never the one that is there: an update that changes nothing makes no new version, and to the
/// others the lease would look abandoned.
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

/// What differs between any two leases that are not one and the same version of one object.
fn version(lease: Option<&Lease>) -> Option<(Option<&str>, Option<&str>)> {
    lease.map(|lease| {
        let meta = &lease.metadata;
        (meta.uid.as_deref(), meta.resource_version.as_deref())
    })
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
