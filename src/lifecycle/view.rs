//! Everything that a decision may look at.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::facts::{Failure, JobSeen};
pub use crate::api::Hashes;
use crate::api::{Abilities, AdoptionPolicy, DeletionPolicy, Ledger, Operation, conditions};

/// What one decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time, by AWS's clock as far as it is known.
    pub now: Timestamp,
    /// A number in 0..1 that spreads retries.
    pub jitter: f64,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// What the user wants.
    pub resource: &'a Resource,
    /// What the stored status says.
    pub state: &'a State,
    /// What the other resources mean for this one.
    pub surroundings: &'a Surroundings,
    /// What this pass has learnt so far.
    pub known: &'a Known,
    /// What earlier passes of this process left; empty after a restart.
    pub memory: &'a Memory,
}

/// The settings that decisions depend on; see the flags of the same names.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often the AWS object of a Ready resource is looked at.
    pub drift_interval: SignedDuration,
    /// How long a job may run before the resource is Stalled, where the spec does not say.
    pub job_timeout: SignedDuration,
    /// How many FAILED jobs in a row before the resource is Stalled.
    pub max_job_attempts: i64,
    /// How long after `requestTime` an intent that AWS shows nothing of counts as not accepted.
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

/// What the user wants, as far as it is the same for all kinds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent fields of Kubernetes objects"
)]
#[derive(Clone, Debug)]
pub struct Resource {
    /// The generation of the spec.
    pub generation: i64,
    /// Whether it has a deletionTimestamp.
    pub deleting: bool,
    /// `metadata.deletionTimestamp`, by the API server's clock.
    pub deleted_at: Option<Timestamp>,
    /// Whether it has our finalizer.
    pub finalizer: bool,
    /// Whether it has the finalizer of somebody else.
    pub held: bool,
    /// What AWS can do with its object.
    pub abilities: Abilities,
    /// What is said of its object.
    pub words: Words,
    /// `spec.deletionPolicy`
    pub deletion_policy: Option<DeletionPolicy>,
    /// `spec.adoptionPolicy`
    pub adoption_policy: AdoptionPolicy,
    /// Whether AWS gets no write for it: `spec.managementPolicy`.
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

/// What messages say of a kind's AWS objects, in its own words.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Where AWS looks for one: "check …".
    pub place: &'static str,
    /// That one is there as the spec wants it.
    pub there: &'static str,
    /// What AWS lacks for one, and what to do, where it is of a kind that needs something there.
    pub lacks: &'static str,
}

impl Words {
    /// Whether these conditions say that AWS lacks something for the object: see [`Bar::Lacks`]. No other resource ends that.
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
    /// What all kinds share.
    pub ledger: Ledger,
    /// Of kinds that AWS can update.
    pub hashes: Hashes,
}

/// What the other resources of the cluster mean for this one.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The region that spec, account and operator name today.
    pub region: Option<String>,
    /// Why the spec cannot be carried out as it stands, although the API server took it.
    pub invalid: Option<String>,
    /// Of a clone: the environment that is copied.
    pub source: Option<String>,
    /// What is not there yet and must be before the AWS object can be created or updated.
    pub dependency: Option<Missing>,
    /// Whether the AWS object can be named at all (a reference may be missing).
    pub resolved: bool,
    /// The resource that owns the same AWS object.
    pub winner: Option<Winner>,
    /// Resources that own something inside this one's AWS object.
    pub dependents: Dependents,
    /// The ids of jobs that other resources of the environment have recorded as theirs.
    pub jobs_of_others: BTreeSet<String>,
    /// Where in the drift interval this resource's checks fall.
    pub phase: SignedDuration,
    /// The account of the resource's namespace, as far as it is known without asking AWS.
    pub account: Account,
    /// Whether AWS gives no answer in the account and region of this one, or fewer calls than it should.
    pub is_in_trouble: bool,
    /// How many jobs are polled in the account and region of this one.
    pub polled: usize,
    /// How many calls per second AWS gets there.
    pub rate: f64,
}

/// What a create or an update refers to, and is not to be had.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Missing {
    /// What it waits for, for people.
    pub message: String,
    /// What is the matter with what the reference names.
    pub lack: Lack,
}

/// What is the matter with what a reference names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lack {
    /// It is not there. Somebody may have mistyped the reference, or what is there no longer is needed no longer.
    Absent,
    /// It is there, and holds nothing that can be sent: somebody has to mend it.
    Unusable,
    /// It is there, and becomes Ready or readable without this resource.
    NotReady,
}

/// The other resource that owns a resource's AWS object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Winner {
    /// Kind and name, or that it is in another namespace.
    pub name: String,
    /// Whether it is being deleted, so that the conflict ends by itself.
    pub leaving: bool,
    /// Whether its AWS object has another name than this one's: then what this one owns is its own.
    pub is_of_another_name: bool,
}

/// The account of a namespace, as far as it is known without asking AWS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Account {
    /// That of the operator's own credentials, like all namespaces.
    #[default]
    Own,
    /// The one that the accounts file maps the namespace to.
    Mapped(String),
    /// The accounts file gives the namespace none, for this reason.
    Missing(String),
}

/// Resources that own something inside an AWS object.
#[derive(Clone, Debug, Default)]
pub struct Dependents {
    /// Not being deleted.
    pub staying: Vec<String>,
    /// Being deleted.
    pub leaving: Vec<String>,
}

/// What this pass has learnt so far.
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
    /// The configuration to send, or what is missing of it.
    pub config: Option<Result<Config, Missing>>,
    /// The environment's slot.
    pub slot: Option<Slot>,
    /// Whether the environment is locked for a Gen 2 migration.
    pub lock: Option<Lock>,
    /// How far the write of this pass has come.
    pub sending: Sending,
    /// What came of the write that was sent.
    pub reply: Option<Reply>,
    /// The read that failed.
    pub failed: Option<Failure>,
    /// Whether this pass has removed the finalizer.
    pub released: bool,
}

/// How far the write of this pass has come.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Sending {
    /// Nothing is on its way; an open intent is another pass's.
    #[default]
    Nothing,
    /// The intent of this pass is stored, and the request has not been sent.
    Intended,
    /// This pass has recorded what AWS accepted, or may have accepted.
    Recorded,
}

/// What a look at the AWS object showed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Looked {
    /// When it was made.
    pub at: Timestamp,
    /// None: AWS says that it is not there.
    pub seen: Option<Seen>,
    /// Of what is not there: what AWS shows instead, so that it cannot be made.
    pub bar: Option<Bar>,
}

/// What stands in the way of making an object that is not there.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Bar {
    /// Another object has its place, under this name: an environment has one of a kind.
    Named(String),
    /// What it needs is not there: see [`Words::lacks`].
    Lacks,
}

/// An AWS object, reduced to what decisions need.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Seen {
    /// When AWS made it, where AWS says.
    pub create_time: Option<Timestamp>,
    /// The fields that cannot be changed and differ from the spec.
    pub differs: Vec<&'static str>,
    /// Of kinds that AWS can update.
    pub echo: Option<Echo>,
}

/// What AWS shows of a configuration.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Echo {
    /// Hash of the fields that the spec sets.
    pub hash: String,
    /// Compared with the resolved configuration; None where that could not be resolved.
    pub equality: Option<Equality>,
    /// The fields that differ, as the spec names them.
    pub differs: Vec<String>,
}

/// How AWS's echo compares with what the spec sets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Equality {
    /// Every field that the spec sets is echoed and equal.
    Equal,
    /// Nothing differs, but AWS does not echo every field.
    Unknown,
    /// A field differs.
    Different,
}

/// What a list of jobs showed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Listed {
    /// When it was made.
    pub at: Timestamp,
    /// The jobs, in no order.
    pub jobs: Vec<JobSeen>,
}

/// What a poll showed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Polled {
    /// None: AWS no longer knows the job.
    pub job: Option<JobSeen>,
}

/// A configuration that can be sent.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Config {
    /// Hash of it.
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

/// What is known of the environment's migration lock.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Lock {
    /// When AWS was asked.
    pub at: Timestamp,
    /// What it answered.
    pub mark: Mark,
}

/// Where the app's mark of a Gen 2 migration stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mark {
    /// It names this environment.
    Here,
    /// It names another environment or none.
    Elsewhere,
    /// AWS denies the read: the operator goes on without it.
    Denied,
    /// The read failed. A check goes on without it, a write does not.
    Unread,
}

/// What came of a write.
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
        /// AWS's text when it failed at once.
        error: Option<String>,
    },
    /// AWS did it at once (kinds without jobs).
    Done {
        /// When it was asked to, as far as is known since it has answered.
        asked: Timestamp,
        /// The object, as AWS shows it.
        seen: Seen,
    },
    /// Of a delete: there was nothing to delete.
    Absent,
    /// It failed.
    Failed(Failure),
}

/// What earlier passes of this process left.
#[derive(Clone, Debug)]
pub struct Memory {
    /// When this process began to look after the resource.
    pub since: Timestamp,
    /// When the last check was made, or the last write recorded.
    pub checked: Option<Timestamp>,
    /// Passes in a row that ended in waiting for something to get better.
    pub tries: u32,
    /// What it waits for that a person may have to mend.
    pub waiting: Option<Waiting>,
    /// Whether this process has listed the environment's jobs or recorded a write of its own: until then, a write of an
    /// earlier process may be under way that nobody could record.
    pub listed: bool,
}

/// What may come by itself for a while. When it lasts, a person is needed: Stalled, and still tried again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Patience {
    /// Access that AWS denies: IAM is slow.
    Access,
    /// An app that AWS does not know.
    App,
    /// Something that a reference names and that is not there.
    Reference,
}

impl Patience {
    /// How long it is waited for before the resource is Stalled.
    #[must_use]
    pub const fn span(self) -> SignedDuration {
        SignedDuration::from_mins(match self {
            Self::Access | Self::Reference => 5,
            Self::App => 10,
        })
    }
}

/// What a resource waits for that a person may have to mend.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Waiting {
    /// What may come by itself for a while.
    pub patience: Patience,
    /// Since when, without a break.
    pub since: Timestamp,
    /// The generation of the spec that it waits with: another one may have mended it.
    pub generation: i64,
}

impl Memory {
    /// The memory of a resource that this process has not seen before.
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
    /// The same view of another stored state.
    pub(super) const fn with_state(&self, state: &'a State) -> Self {
        Self { state, ..*self }
    }

    /// Whether another resource owns what this one describes. What has a name of its own is its own, though only one of the
    /// two can stay.
    pub(super) fn is_anothers(&self) -> bool {
        let winner = self.surroundings.winner.as_ref();
        winner.is_some_and(|winner| !winner.is_of_another_name)
    }

    /// Whether the annotation asks for a reconcile that no status has answered yet.
    pub(super) fn is_requested(&self) -> bool {
        self.resource.request.is_some() && self.resource.request != self.state.ledger.last_handled_reconcile_at
    }

    /// Whether today's spec, or a request, has not been looked at yet.
    pub(super) fn is_edited(&self) -> bool {
        self.is_respecified() || self.is_requested()
    }

    /// Whether today's spec has not been looked at yet.
    pub(super) fn is_respecified(&self) -> bool {
        let said = conditions::get(&self.state.ledger.conditions, conditions::READY);
        self.state.ledger.observed_generation != self.resource.generation
            || said.is_some_and(|ready| {
                ready.status == "True" && ready.observed_generation != Some(self.resource.generation)
            })
    }

    /// Since when it has waited for this with today's spec.
    pub(super) fn waits_since(&self, patience: Patience) -> Option<Timestamp> {
        let waiting = self.memory.waiting?;
        (waiting.patience == patience && waiting.generation == self.resource.generation).then_some(waiting.since)
    }

    /// The region that is pinned and the one that is named today, where they differ.
    pub(super) fn has_moved(&self) -> Option<(&'a str, &'a str)> {
        let (pinned, wanted) = (
            self.state.ledger.region.as_deref()?,
            self.surroundings.region.as_deref()?,
        );
        (pinned != wanted).then_some((pinned, wanted))
    }

    /// FAILED jobs in a row of this operation that count: a new generation, another configuration (`hash`) or a request
    /// starts again.
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

    /// The number of the next write.
    pub(super) fn next_attempt(&self) -> i64 {
        let attempt = self.state.ledger.job.as_ref().map_or(0, |job| job.attempt);
        attempt.saturating_add(1)
    }

    /// Now, to the second: what people read needs no more.
    pub(super) fn now_seconds(&self) -> Timestamp {
        Timestamp::from_second(self.now.as_second()).unwrap_or(self.now)
    }
}
