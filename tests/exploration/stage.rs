//! The means to perform steps: the scenario, the possible outcomes of a step, and the decisions so far.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use amplify_operator::{
    api::{AdoptionPolicy, DeletionPolicy, Operation},
    lifecycle::{Settings, Step, Wake},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::world::{Clocks, Seconds, Status, TICK, World};

/// The setup of an exploration.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) create: Operation,
    pub(crate) adoption: AdoptionPolicy,
    pub(crate) deletion: Option<DeletionPolicy>,
    /// Whether AWS refuses a write while a job is pending. If not, only the slots keep jobs apart.
    pub(crate) refuses: bool,
    /// Whether all names describe the same AWS object.
    pub(crate) same_object: bool,
    /// Whether AWS shows an object while the job that makes it runs.
    pub(crate) early: bool,
    /// How late AWS shows a late job. If this is longer than the grace, only AWS's refusal protects, and only while the
    /// job runs. So the job runs at least this long.
    pub(crate) late: Seconds,
    /// How far AWS's clock is ahead of ours.
    pub(crate) skew: Seconds,
    /// Whether AWS says when it made its jobs.
    pub(crate) timed: bool,
    /// The operations of other clients' jobs.
    pub(crate) foreign: &'static [Operation],
    /// Whether another client may change an object between the end of its resource's job and the resource's next look.
    /// By design, the operator then takes AWS's configuration for the result of the job.
    pub(crate) swaps: bool,
    pub(crate) settings: Settings,
}

impl Scenario {
    pub(crate) fn of(create: Operation) -> Self {
        Self {
            create,
            adoption: AdoptionPolicy::Never,
            deletion: None,
            refuses: true,
            same_object: false,
            early: false,
            late: TICK,
            skew: 0,
            timed: true,
            foreign: &[Operation::DeleteBackendApi],
            swaps: false,
            settings: Settings {
                // A check is due after each tick.
                drift_interval: SignedDuration::from_secs(TICK.into()),
                job_timeout: SignedDuration::from_secs(120),
                max_job_attempts: 2,
                outcome_grace: SignedDuration::from_secs(90),
                absence_grace: SignedDuration::from_secs(60),
            },
        }
    }

    /// Whether AWS shows jobs later than the operator waits for them.
    pub(crate) const fn is_too_late(&self) -> bool {
        self.late > TICK
    }

    pub(crate) const fn is_updatable(&self) -> bool {
        self.create.update().is_some()
    }

    /// Returns AWS's creation time of a new job: later than that of all others.
    pub(crate) fn created(&self, world: &World) -> Option<Seconds> {
        let now = world.aws.jobs.iter().filter(|job| job.created >= Some(0)).count();
        self.timed.then(|| Seconds::try_from(now).expect("few jobs"))
    }

    /// Returns the AWS object that the resource of this name describes.
    pub(crate) const fn target(&self, name: usize) -> usize {
        if self.same_object { 0 } else { name }
    }
}

/// The outcome of a step.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum How {
    /// The step succeeds, unless AWS itself refuses it.
    Well,
    /// The read fails.
    Fails,
    /// AWS accepts the write, and shows the job late.
    Late,
    /// AWS accepts the write, and the reply is lost.
    ReplyLost,
    /// AWS accepts the write, the reply is lost, and AWS shows the job late.
    ReplyLostLate,
    /// AWS accepts the write, and the reply names no job.
    Nameless,
    /// The request is lost, and the sender gets no answer.
    RequestLost,
    /// The sender gets no answer, and the request arrives later.
    Flies,
    /// AWS refuses the request as wrong.
    BadRequest,
    /// AWS reports that the app does not exist.
    NotFound,
    /// The request is never sent.
    Never,
    /// AWS accepts the write and fails at once: 200 with `error`.
    FailsAtOnce,
}

/// Returns the current time. During exploration the clock stands still and all other times move.
pub(crate) fn now() -> Timestamp {
    // A multiple of the tick, so that each tick makes a drift check due.
    Timestamp::from_second(1_800_000_000).expect("a time in range")
}

/// The state of a pass after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Went {
    On,
    /// The pass is over, with its next wake-up; None: it needs none.
    Over(Option<Wake>),
}

/// The means to perform steps in a world.
pub(crate) struct Stage<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) settings: &'a Settings,
    pub(crate) now: Timestamp,
    /// Whether to model all details of the program: the texts of messages, and the number of waits.
    pub(crate) exact: bool,
    /// How many passes of the current name ended in waiting.
    pub(crate) tries: u32,
    /// The number of writes that the API server or AWS has accepted.
    pub(crate) writes: usize,
    /// The names that the index has named since this set was last taken.
    pub(crate) touched: BTreeSet<usize>,
    pub(crate) decided: &'a Decisions,
}

/// A step, and the status that it stores.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) step: Step,
    pub(crate) status: Option<Status>,
}

/// The decisions so far, by a hash of all their inputs: the same inputs occur in many worlds.
#[derive(Default)]
pub(crate) struct Decisions {
    pub(crate) steps: Mutex<HashMap<u64, Arc<Decided>>>,
    /// The results of patches to a stored status.
    pub(crate) patched: Mutex<HashMap<u64, Option<Status>>>,
    /// The results of changes to an index.
    pub(crate) told: Mutex<HashMap<u64, Arc<Told>>>,
}

/// The effect of a change on an index.
#[derive(Debug)]
pub(crate) struct Told {
    /// The names that the index names.
    pub(crate) touched: BTreeSet<usize>,
    /// Whether the index now holds the shown version, or has given the slot.
    pub(crate) takes: bool,
    /// Whether the slot is still reserved for this name's pass, while others wait for it.
    pub(crate) reserves: bool,
}

impl<'a> Stage<'a> {
    pub(crate) fn explored(scenario: &'a Scenario, decided: &'a Decisions) -> Self {
        Self {
            scenario,
            settings: &scenario.settings,
            now: now(),
            exact: false,
            tries: 0,
            writes: 0,
            touched: BTreeSet::new(),
            decided,
        }
    }

    pub(crate) const fn clocks(&self) -> Clocks {
        Clocks {
            now: self.now,
            skew: self.scenario.skew,
        }
    }
}
