//! The conditions of all kinds and the one list of reasons, with kstatus's meaning.
//!
//! `Ready` is always there. `Reconciling` is True while work goes on. `Stalled` is True when a person is needed. Both
//! are absent otherwise: <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition type: the AWS object exists as the spec wants it.
pub const READY: &str = "Ready";
/// Condition type: work goes on.
pub const RECONCILING: &str = "Reconciling";
/// Condition type: a person is needed.
pub const STALLED: &str = "Stalled";

/// Condition type: the backend environment is locked for a Gen 2 migration, and AWS gets no write for the resource.
pub const MIGRATION_LOCKED: &str = "MigrationLocked";

/// Longest message of a condition, in bytes. An Event has the same limit.
pub const MESSAGE_LIMIT: usize = 1024;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The reasons of `Ready`.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order in which they are documented.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the reason as conditions write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

reasons! {
    /// True: the AWS object exists as the spec wants it.
    Available,
    /// A create is intended, sent or running.
    Creating,
    /// A clone is intended, sent or running.
    Cloning,
    /// An update is running or about to be sent.
    Updating,
    /// The AWS object is being deleted.
    Deleting,
    /// Another job holds the environment.
    WaitingForJob,
    /// A referenced resource, ConfigMap or key is missing or not Ready.
    DependencyNotReady,
    /// AWS knows no such app (of a clone also: no such source). It may appear later.
    AppNotFound,
    /// AWS asks for fewer requests.
    Throttled,
    /// AWS cannot be reached or does not answer properly.
    AwsUnavailable,
    /// AWS or the operator refuses the spec.
    InvalidSpec,
    /// The AWS object exists and this resource did not create it.
    AlreadyExists,
    /// Another resource describes the same AWS object.
    Conflict,
    /// The AWS job failed.
    JobFailed,
    /// The AWS job has run for longer than the timeout.
    JobTimedOut,
    /// The credentials are missing, expired or lack a permission.
    AccessDenied,
    /// A service quota of AWS is exhausted.
    QuotaExceeded,
    /// Deletion is blocked by a dependent that is not being deleted.
    InUse,
    /// An immutable field differs in AWS. If the resource is observed: any field differs.
    Drifted,
    /// AWS does not show the object, and the operator does not create it: the resource is observed, or its environment was
    /// locked for a Gen 2 migration.
    NotFound,
    /// A write to AWS is due, and the environment is locked for a Gen 2 migration.
    MigrationLocked,
    /// The namespace has no account entry, or more than one.
    AccountNotFound,
    /// The account or region is no longer the one that is pinned in status.
    AccountChanged,
    /// `spec.suspend` is true.
    Suspended,
    /// The resource is deleted, this operator's finalizer is removed, and another finalizer holds the resource.
    Released,
}

impl Reason {
    /// Returns the reason with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// Whether a resource with this reason waits for a person (`Stalled`).
    #[must_use]
    pub const fn is_stalled(self) -> bool {
        matches!(
            self,
            Self::InvalidSpec
                | Self::AlreadyExists
                | Self::Conflict
                | Self::JobFailed
                | Self::JobTimedOut
                | Self::AccessDenied
                | Self::QuotaExceeded
                | Self::InUse
                | Self::Drifted
                | Self::NotFound
                | Self::MigrationLocked
                | Self::AccountNotFound
                | Self::AccountChanged
        )
    }

    /// Whether a change of another resource, or of the accounts, may end the wait of a resource with this reason.
    #[must_use]
    pub const fn may_end_by_others(self) -> bool {
        matches!(
            self,
            Self::WaitingForJob
                | Self::Conflict
                | Self::DependencyNotReady
                | Self::InUse
                | Self::Deleting
                | Self::InvalidSpec
                | Self::AccountChanged
        )
    }
}

/// The state of the conditions, one of kstatus's three.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Nothing to do: neither Reconciling nor Stalled.
    Settled,
    /// `Reconciling=True`.
    Reconciling,
    /// `Stalled=True`.
    Stalled,
}

/// Returns the condition of this type.
#[must_use]
pub fn get<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of this type is True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    get(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// Returns the reason of `Ready`, if this operator defines it.
#[must_use]
pub fn ready_reason(conditions: &[Condition]) -> Option<Reason> {
    get(conditions, READY).and_then(|condition| Reason::parse(&condition.reason))
}

/// Returns conditions with these values. A condition whose status stays the same keeps its `lastTransitionTime`.
#[must_use]
pub fn state(
    old: &[Condition],
    ready: bool,
    progress: Progress,
    reason: Reason,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let message = truncated(message, MESSAGE_LIMIT);
    let condition = |type_: &str, status: bool| {
        let status = if status { "True" } else { "False" };
        let since = get(old, type_)
            .filter(|condition| condition.status == status)
            .map_or_else(|| Time(now), |condition| condition.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.name().to_owned(),
            message: message.to_owned(),
            observed_generation: Some(generation),
            last_transition_time: since,
        }
    };
    let mut conditions = vec![condition(READY, ready)];
    match progress {
        Progress::Settled => {}
        Progress::Reconciling => conditions.push(condition(RECONCILING, true)),
        Progress::Stalled => conditions.push(condition(STALLED, true)),
    }
    conditions.extend(get(old, MIGRATION_LOCKED).map(|locked| Condition {
        observed_generation: Some(generation),
        ..locked.clone()
    }));
    conditions
}

/// Returns the conditions with `MigrationLocked=True` and this message. If they have it already, it stays as it is.
#[must_use]
pub fn locked(old: &[Condition], message: &str, generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut conditions = old.to_vec();
    if get(old, MIGRATION_LOCKED).is_none() {
        conditions.push(Condition {
            type_: MIGRATION_LOCKED.to_owned(),
            status: "True".to_owned(),
            reason: Reason::MigrationLocked.name().to_owned(),
            message: truncated(message, MESSAGE_LIMIT).to_owned(),
            observed_generation: Some(generation.max(0)),
            last_transition_time: Time(now),
        });
    }
    conditions
}

/// Returns the conditions without `MigrationLocked`.
#[must_use]
pub fn unlocked(old: &[Condition]) -> Vec<Condition> {
    let others = old.iter().filter(|condition| condition.type_ != MIGRATION_LOCKED);
    others.cloned().collect()
}

/// Returns the text, cut at `limit` bytes on a character boundary.
#[must_use]
pub fn truncated(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
