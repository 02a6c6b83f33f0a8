//! Everything that a decision may read.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::facts::{Failure, JobSeen};
pub use crate::api::Hashes;
use crate::api::{Abilities, AdoptionPolicy, DeletionPolicy, Ledger, Operation, conditions};

/// The input of one decision.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time, by AWS's clock as far as that is known.
    pub now: Timestamp,
    /// A number in 0..1 that spreads retries.
    pub jitter: f64,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// The user's wishes.
    pub resource: &'a Resource,
    /// The stored status.
    pub state: &'a State,
    /// The state of the other resources, as far as it matters for this one.
    pub surroundings: &'a Surroundings,
    /// The facts that this pass has learnt so far.
    pub known: &'a Known,
    /// The facts that earlier passes of this process have left. Empty after a restart.
    pub memory: &'a Memory,
}

/// The settings that decisions depend on. See the flags of the same names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often the AWS object of a Ready resource is looked at.
    pub drift_interval: SignedDuration,
    /// How long a job may run before the resource is Stalled, if the spec does not say.
    pub job_timeout: SignedDuration,
    /// How many FAILED jobs in a row make the resource Stalled.
    pub max_job_attempts: i64,
    /// How long after `requestTime` an intent counts as not accepted, if AWS shows nothing of it.
    pub outcome_grace: SignedDuration,
    /// How long after `finishTime` a 404 is not believed.
    pub absence_grace: SignedDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            drift_interval: SignedDuration::from_hours(1),
            job_timeout: SignedDuration::from_hours(2),
            max_job_attempts: 3,
            outcome_grace: SignedDuration::from_mins(2),
            absence_grace: SignedDuration::from_mins(5),
        }
    }
}

/// The user's wishes, as far as they are the same for all kinds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent fields of Kubernetes objects"
)]
#[derive(Clone, Debug)]
pub struct Resource {
    /// The generation of the spec.
    pub generation: i64,
    /// Whether the resource has a deletionTimestamp.
    pub deleting: bool,
    /// `metadata.deletionTimestamp`, by the API server's clock.
    pub deleted_at: Option<Timestamp>,
    /// Whether the resource has our finalizer.
    pub finalizer: bool,
    /// Whether the resource has a finalizer of another owner.
    pub held: bool,
    /// The operations that AWS has for the object.
    pub abilities: Abilities,
    /// The kind's words for messages.
    pub words: Words,
    /// `spec.deletionPolicy`
    pub deletion_policy: Option<DeletionPolicy>,
    /// `spec.adoptionPolicy`
    pub adoption_policy: AdoptionPolicy,
    /// Whether AWS gets no write for this resource: `spec.managementPolicy`.
    pub observe: bool,
    /// `spec.suspend`
    pub suspend: bool,
    /// `spec.jobTimeout`
    pub job_timeout: Option<SignedDuration>,
    /// The value of the annotation that asks for a reconcile.
    pub request: Option<String>,
    /// Whether the annotation says that a migration lock of its environment forbids nothing.
    pub ignores_lock: bool,
}

impl Resource {
    /// Whether AWS can change the object.
    #[must_use]
    pub const fn is_updatable(&self) -> bool {
        self.abilities.update.is_some()
    }

    /// How long a job of this resource may run.
    #[must_use]
    pub fn timeout(&self, settings: &Settings) -> SignedDuration {
        self.job_timeout.unwrap_or(settings.job_timeout)
    }
}

/// The parts of messages that are specific to a kind.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The place where AWS looks for an object. Completes the advice "check …".
    pub place: &'static str,
    /// Says that an object exists as the spec wants it.
    pub there: &'static str,
    /// Says that AWS lacks something for an object, and how to fix that. Empty if the kind needs nothing there.
    pub lacks: &'static str,
}

impl Words {
    /// Whether these conditions say that AWS lacks something for the object: see [`Bar::Lacks`]. Another resource
    /// cannot supply it.
    #[must_use]
    pub fn say_that_aws_lacks(&self, conditions: &[Condition]) -> bool {
        let ready = conditions::get(conditions, conditions::READY);
        !self.lacks.is_empty() && ready.is_some_and(|ready| ready.message == self.lacks)
    }
}

impl Default for Words {
    fn default() -> Self {
        Self {
            place: "the app ID and the region",
            there: "the AWS object exists as the spec wants it",
            lacks: "",
        }
    }
}

/// The part of the stored status that decisions read and write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The part that all kinds share.
    pub ledger: Ledger,
    /// The hashes, for kinds that AWS can update.
    pub hashes: Hashes,
}

/// The state of the cluster, as far as it matters for this resource.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The region that spec, account entry and operator name now.
    pub region: Option<String>,
    /// Why the spec cannot be carried out, although the API server accepted it.
    pub invalid: Option<String>,
    /// The environment that a clone copies.
    pub source: Option<String>,
    /// A reference that must be Ready before the AWS object can be created or updated.
    pub dependency: Option<Missing>,
    /// Whether the AWS object can be named (a reference may be missing).
    pub resolved: bool,
    /// The resource that owns the same AWS object.
    pub winner: Option<Winner>,
    /// Resources that own something inside this one's AWS object.
    pub dependents: Dependents,
    /// The ids of the jobs that other resources of the environment have recorded as their own.
    pub jobs_of_others: BTreeSet<String>,
    /// The point in the drift interval at which this resource's checks are due.
    pub phase: SignedDuration,
    /// The account of the resource's namespace, as far as it is known without asking AWS.
    pub account: Account,
    /// Whether AWS does not answer in the resource's account and region, or allows fewer calls than it should.
    pub is_in_trouble: bool,
    /// How many jobs are polled in the resource's account and region.
    pub polled: usize,
    /// How many calls per second AWS gets in that account and region.
    pub rate: f64,
}

/// A reference of a create or an update that cannot be used now.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Missing {
    /// The text for people about the wait.
    pub message: String,
    /// Why the referenced object cannot be used.
    pub lack: Lack,
}

/// Why a referenced object cannot be used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lack {
    /// It does not exist. The reference may be mistyped, or the object was removed because nothing needs it any more.
    Absent,
    /// It exists, and holds nothing that can be sent: a person must fix it.
    Unusable,
    /// It exists, and will be Ready or readable without this resource.
    NotReady,
}

/// The other resource that owns this resource's AWS object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Winner {
    /// Kind and name, or a text that says that it is in another namespace.
    pub name: String,
    /// Whether it is being deleted, so that the conflict ends by itself.
    pub leaving: bool,
    /// Whether its AWS object has another name than this resource's. If so, the object that this resource owns is its
    /// own.
    pub is_of_another_name: bool,
}

/// The account of a namespace, as far as it is known without asking AWS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Account {
    /// The account of the operator's own credentials, as for all namespaces.
    #[default]
    Own,
    /// The account that the accounts file maps the namespace to.
    Mapped(String),
    /// The accounts file gives the namespace no account, for this reason.
    Missing(String),
}

/// Resources that own something inside an AWS object.
#[derive(Clone, Debug, Default)]
pub struct Dependents {
    /// The resources that are not being deleted.
    pub staying: Vec<String>,
    /// The resources that are being deleted.
    pub leaving: Vec<String>,
}

/// The facts that this pass has learnt so far.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Known {
    /// The account that the credentials belong to.
    pub account: Option<String>,
    /// The AWS object.
    pub look: Option<Looked>,
    /// The jobs of the environment (of a clone: of source and target).
    pub jobs: Option<Listed>,
    /// The job under way.
    pub poll: Option<Polled>,
    /// The configuration to send, or the reference that it lacks.
    pub config: Option<Result<Config, Missing>>,
    /// The environment's slot.
    pub slot: Option<Slot>,
    /// Whether the environment is locked for a Gen 2 migration.
    pub lock: Option<Lock>,
    /// The progress of this pass's write.
    pub sending: Sending,
    /// The reply to the write.
    pub reply: Option<Reply>,
    /// The read that failed.
    pub failed: Option<Failure>,
    /// Whether this pass has removed the finalizer.
    pub released: bool,
}

/// The progress of this pass's write.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Sending {
    /// Nothing is being sent. An open intent is another pass's.
    #[default]
    Nothing,
    /// The intent of this pass is stored, and the request has not been sent.
    Intended,
    /// This pass has recorded a write that AWS accepted, or may have accepted.
    Recorded,
}

/// The result of a look at the AWS object.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Looked {
    /// When the look was made.
    pub at: Timestamp,
    /// The object. None: AWS says that it is not there.
    pub seen: Option<Seen>,
    /// If the object is not there: the reason that AWS shows why it cannot be made.
    pub bar: Option<Bar>,
}

/// A reason why an absent object cannot be made.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Bar {
    /// An object with this other name has its place: an environment has one object of a kind.
    Named(String),
    /// Something that the object needs is not there: see [`Words::lacks`].
    Lacks,
}

/// An AWS object, reduced to the facts that decisions need.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Seen {
    /// When AWS made it, if AWS says so.
    pub create_time: Option<Timestamp>,
    /// The immutable fields that differ from the spec.
    pub differs: Vec<&'static str>,
    /// The configuration that AWS shows, for kinds that AWS can update.
    pub echo: Option<Echo>,
}

/// The configuration that AWS shows.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Echo {
    /// Hash of the fields that the spec sets.
    pub hash: String,
    /// The comparison with the resolved configuration. None: that could not be resolved.
    pub equality: Option<Equality>,
    /// The fields that differ, as the spec names them.
    pub differs: Vec<String>,
}

/// The result of a comparison of AWS's echo with the fields that the spec sets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Equality {
    /// AWS echoes every field that the spec sets, and all are equal.
    Equal,
    /// No field differs, but AWS does not echo every field.
    Unknown,
    /// A field differs.
    Different,
}

/// The result of a list of jobs.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Listed {
    /// When the list was made.
    pub at: Timestamp,
    /// The jobs, in no order.
    pub jobs: Vec<JobSeen>,
}

/// The result of a poll.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Polled {
    /// The job. None: AWS no longer knows it.
    pub job: Option<JobSeen>,
}

/// A configuration that can be sent.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Config {
    /// Hash of the configuration.
    pub hash: String,
}

/// The slot of the environment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Slot {
    /// This resource holds it.
    Held,
    /// Another resource holds it.
    Busy,
}

/// The environment's migration lock, as AWS showed it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Lock {
    /// When AWS was asked.
    pub at: Timestamp,
    /// Where the mark stood.
    pub mark: Mark,
}

/// Where the app's mark of a Gen 2 migration stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mark {
    /// It names this environment.
    Here,
    /// It names another environment: that of this resource may have been migrated before.
    Elsewhere,
    /// The app has no mark.
    Absent,
    /// AWS denies the read, and the operator goes on without it.
    Denied,
    /// The read failed. A check goes on without it, a write does not.
    Unread,
}

/// The reply to a write.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reply {
    /// AWS started a job.
    Job {
        /// AWS's JobId.
        id: Option<String>,
        /// The environment that the job runs in.
        environment: Option<String>,
        /// AWS's own word.
        status: Option<String>,
        /// AWS's text, if the job failed at once.
        error: Option<String>,
    },
    /// AWS did the work at once (kinds without jobs).
    Done {
        /// When the request was sent, by the clock as the answer has corrected it.
        asked: Timestamp,
        /// The object, as AWS shows it.
        seen: Seen,
    },
    /// To a delete: there was nothing to delete.
    Absent,
    /// The write failed.
    Failed(Failure),
}

/// The facts that earlier passes of this process have left.
#[derive(Clone, Debug)]
pub struct Memory {
    /// When this process began to handle the resource.
    pub since: Timestamp,
    /// When the last check was made, or the last write recorded.
    pub checked: Option<Timestamp>,
    /// How many passes in a row ended waiting for an improvement.
    pub tries: u32,
    /// The thing that the resource waits for and that a person may have to fix.
    pub waiting: Option<Waiting>,
    /// Whether this process has listed the environment's jobs or recorded a write of its own. Until then, an unrecorded
    /// write of an earlier process may be under way.
    pub listed: bool,
}

/// A thing that may appear by itself for a while. If the wait takes too long, a person is needed: the resource is
/// Stalled and still retried.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Patience {
    /// Access that AWS denies: IAM is slow.
    Access,
    /// An app that AWS does not know.
    App,
    /// A referenced object that does not exist.
    Reference,
}

impl Patience {
    /// Returns how long to wait before the resource is Stalled.
    #[must_use]
    pub const fn span(self) -> SignedDuration {
        SignedDuration::from_mins(match self {
            Self::Access | Self::Reference => 5,
            Self::App => 10,
        })
    }
}

/// A wait for a thing that a person may have to fix.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Waiting {
    /// The thing that the resource waits for.
    pub patience: Patience,
    /// When the wait began. It has not been interrupted since.
    pub since: Timestamp,
    /// The generation of the spec that waits. A newer one may have fixed the cause.
    pub generation: i64,
}

impl Memory {
    /// Returns the memory of a resource that this process has not seen before.
    #[must_use]
    pub const fn new(since: Timestamp) -> Self {
        Self {
            since,
            checked: None,
            tries: 0,
            waiting: None,
            listed: false,
        }
    }
}

impl<'a> View<'a> {
    /// Returns the same view of another stored state.
    pub(super) const fn with_state(&self, state: &'a State) -> Self {
        Self { state, ..*self }
    }

    /// Whether another resource owns the AWS object that this resource describes. An object of another name is this
    /// resource's own, though only one of the two can stay.
    pub(super) fn is_anothers(&self) -> bool {
        let winner = self.surroundings.winner.as_ref();
        winner.is_some_and(|winner| !winner.is_of_another_name)
    }

    /// Whether the annotation asks for a reconcile that no status has answered yet.
    pub(super) fn is_requested(&self) -> bool {
        self.resource.request.is_some() && self.resource.request != self.state.ledger.last_handled_reconcile_at
    }

    /// Whether the current spec, or a request, has not been handled yet.
    pub(super) fn is_edited(&self) -> bool {
        self.is_respecified() || self.is_requested()
    }

    /// Whether the current spec has not been handled yet.
    pub(super) fn is_respecified(&self) -> bool {
        let said = conditions::get(&self.state.ledger.conditions, conditions::READY);
        self.state.ledger.observed_generation != self.resource.generation
            || said.is_some_and(|ready| {
                ready.status == "True" && ready.observed_generation != Some(self.resource.generation)
            })
    }

    /// Returns since when the resource has waited for this with the current spec. A time in the future is of a clock that
    /// has been set back: the wait begins anew.
    pub(super) fn waits_since(&self, patience: Patience) -> Option<Timestamp> {
        let waiting = self.memory.waiting?;
        let is_current = waiting.patience == patience && waiting.generation == self.resource.generation;
        (is_current && waiting.since <= self.now).then_some(waiting.since)
    }

    /// Returns the pinned region and the region that is named now, if they differ.
    pub(super) fn has_moved(&self) -> Option<(&'a str, &'a str)> {
        let (pinned, wanted) = (
            self.state.ledger.region.as_deref()?,
            self.surroundings.region.as_deref()?,
        );
        (pinned != wanted).then_some((pinned, wanted))
    }

    /// Returns how many FAILED jobs of this operation in a row count. A new generation, another configuration (`hash`)
    /// or a request resets the count.
    pub(super) fn failures(&self, operation: Operation, hash: Option<&str>) -> i64 {
        match &self.state.ledger.job {
            Some(job)
                if job.operation == operation
                    && job.generation == self.resource.generation
                    && (job.config_hash.is_none() || job.config_hash.as_deref() == hash)
                    && !self.is_requested() =>
            {
                job.failures
            }
            _ => 0,
        }
    }

    /// Returns the number of the next attempt.
    pub(super) fn next_attempt(&self) -> i64 {
        let attempt = self.state.ledger.job.as_ref().map_or(0, |job| job.attempt);
        attempt.saturating_add(1)
    }

    /// Returns the time in whole seconds, which is exact enough for people.
    pub(super) fn now_seconds(&self) -> Timestamp {
        Timestamp::from_second(self.now.as_second()).unwrap_or(self.now)
    }
}
