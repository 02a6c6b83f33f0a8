//! The fixture: a [`Scene`] is the input of one decision. [`Scene::apply`] adds the result of a step, as the controller
//! does.

#![expect(clippy::unnecessary_wraps, reason = "a look shows an object or none")]

use jiff::{SignedDuration, Timestamp};

use crate::{
    api::{
        Abilities, AdoptionPolicy, DeletionPolicy, Job, Operation, Origin,
        conditions::{self, Progress, READY, RECONCILING, Reason, STALLED},
    },
    lifecycle::{
        self, Bar, Config, Echo, Equality, Known, Lack, Listed, Lock, Looked, Mark, Memory, Missing, Observed, Polled,
        Reply, Resource, Seen, Sending, Settings, Slot, State, Step, Surroundings, View, Winner, Words, Write,
        facts::{Class, Failure, JobSeen, Sent},
        learn, remember,
    },
};

/// Returns when every scene begins: at a full hour, when the drift checks of phase 0 are due.
pub(super) fn start() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// Returns the time so many seconds after the beginning.
pub(super) fn at(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

/// One resource for each way to make an AWS object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Backend,
    Clone,
    Api,
    Environment,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Backend, Self::Clone, Self::Api, Self::Environment];
    pub(super) const WITH_JOBS: [Self; 3] = [Self::Backend, Self::Clone, Self::Api];

    pub(super) const fn create(self) -> Operation {
        match self {
            Self::Backend => Operation::CreateBackend,
            Self::Clone => Operation::CloneBackend,
            Self::Api => Operation::CreateBackendApi,
            Self::Environment => Operation::CreateBackendEnvironment,
        }
    }

    /// Returns the words of messages. They need not be the words of the program's kinds.
    fn words(self) -> Words {
        match self {
            Self::Clone => Words {
                place: "spec.appId, spec.cloneFrom and the region",
                ..Words::default()
            },
            Self::Api => Words {
                place: "the app ID, the name of the backend environment and the region",
                ..Words::default()
            },
            Self::Environment => Words {
                there: "the environment's record exists; a record deploys nothing",
                ..Words::default()
            },
            Self::Backend => Words::default(),
        }
    }

    pub(super) const fn origin(self) -> Origin {
        match self {
            Self::Clone => Origin::Cloned,
            _ => Origin::Created,
        }
    }
}

/// The input of one decision.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    pub(super) resource: Resource,
    pub(super) state: State,
    pub(super) surroundings: Surroundings,
    pub(super) known: Known,
    pub(super) memory: Memory,
}

impl Scene {
    /// Returns a resource that was just applied. Nothing is known and nothing is stored.
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            now: start(),
            settings: Settings::default(),
            resource: Resource {
                generation: 1,
                deleting: false,
                deleted_at: None,
                finalizer: false,
                held: false,
                abilities: Abilities::of(kind.create()),
                words: kind.words(),
                deletion_policy: None,
                adoption_policy: AdoptionPolicy::Never,
                observe: false,
                suspend: false,
                job_timeout: None,
                request: None,
                ignores_lock: false,
            },
            state: State::default(),
            surroundings: Surroundings {
                region: Some("eu-west-1".into()),
                resolved: true,
                ..Surroundings::default()
            },
            known: Known {
                lock: Some(Lock {
                    at: start(),
                    mark: Mark::Absent,
                }),
                ..Known::default()
            },
            // By a process that has been at work for a while.
            memory: Memory {
                listed: true,
                ..Memory::new(start())
            },
        }
    }

    /// Adds the finalizer.
    pub(super) fn finalized(mut self) -> Self {
        self.resource.finalizer = true;
        self
    }

    /// Makes the resource the owner of its object: finalizer, origin, account and region are stored.
    pub(super) fn owned(mut self, origin: Origin) -> Self {
        self.resource.finalizer = true;
        let ledger = &mut self.state.ledger;
        ledger.origin = Some(origin);
        ledger.account_id = Some("111122223333".into());
        ledger.region = Some("eu-west-1".into());
        self
    }

    /// Makes the resource Ready for the current generation, with its sent configuration and AWS's echo of it.
    pub(super) fn ready(self) -> Self {
        let origin = self.resource.abilities.origin;
        let operation = self.resource.abilities.create;
        let mut scene = self.owned(origin).said(Reason::Available);
        scene.state.ledger.job = Some(Job {
            finish_time: Some(at(-3600)),
            request_time: at(-3660),
            ..if operation.has_job() {
                ended(running(operation), Job::COMPLETED)
            } else {
                intent(operation)
            }
        });
        if scene.resource.is_updatable() {
            scene.state.hashes.sent = Some("v1".into());
            scene.state.hashes.echoed = Some("echo of v1".into());
        }
        scene
    }

    pub(super) fn generation(mut self, generation: i64) -> Self {
        self.resource.generation = generation;
        self
    }

    pub(super) fn deleting(mut self) -> Self {
        self.resource.deleting = true;
        self
    }

    pub(super) fn suspended(mut self) -> Self {
        self.resource.suspend = true;
        self
    }

    pub(super) fn adopting(mut self) -> Self {
        self.resource.adoption_policy = AdoptionPolicy::IfExists;
        self
    }

    pub(super) fn policy(mut self, policy: Option<DeletionPolicy>) -> Self {
        self.resource.deletion_policy = policy;
        self
    }

    pub(super) fn job(mut self, job: Job) -> Self {
        self.state.ledger.job = Some(job);
        self
    }

    /// Stores conditions with this reason for the current generation.
    pub(super) fn said(self, reason: Reason) -> Self {
        let progress = match reason {
            Reason::Available | Reason::Suspended => Progress::Settled,
            reason if reason.is_stalled() => Progress::Stalled,
            _ => Progress::Reconciling,
        };
        self.said_with(reason == Reason::Available, progress, reason)
    }

    pub(super) fn said_with(mut self, ready: bool, progress: Progress, reason: Reason) -> Self {
        let generation = self.resource.generation;
        let ledger = &mut self.state.ledger;
        ledger.observed_generation = generation;
        ledger.conditions = conditions::state(&[], ready, progress, reason, "said before", generation, start());
        self
    }

    pub(super) fn winner(mut self, winner: &str) -> Self {
        self.surroundings.winner = Some(Winner {
            name: winner.into(),
            leaving: false,
            is_of_another_name: false,
        });
        self
    }

    pub(super) fn at(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self.lock(Mark::Absent)
    }

    pub(super) fn lock(mut self, mark: Mark) -> Self {
        self.known.lock = Some(Lock { at: self.now, mark });
        self
    }

    pub(super) fn look(mut self, seen: Option<Seen>) -> Self {
        self.known.look = Some(Looked {
            at: self.now,
            seen,
            bar: None,
        });
        self
    }

    pub(super) fn jobs(mut self, jobs: impl IntoIterator<Item = JobSeen>) -> Self {
        let jobs = jobs.into_iter().collect();
        self.known.jobs = Some(Listed { at: self.now, jobs });
        self
    }

    pub(super) fn poll(mut self, job: Option<JobSeen>) -> Self {
        self.known.poll = Some(Polled { job });
        self
    }

    pub(super) fn config(mut self, config: Result<&str, &str>) -> Self {
        self.known.config = Some(config.map(|hash| Config { hash: hash.into() }).map_err(missing));
        self
    }

    pub(super) fn slot(mut self, slot: Slot) -> Self {
        self.known.slot = Some(slot);
        self
    }

    pub(super) fn sending(mut self, sending: Sending) -> Self {
        self.known.sending = sending;
        self
    }

    pub(super) fn reply(mut self, reply: Reply) -> Self {
        self.known.reply = Some(reply);
        self
    }

    pub(super) fn failed(mut self, class: Class) -> Self {
        self.known.failed = Some(failure(class, Sent::Refused));
        self
    }

    /// Returns the next step.
    pub(super) fn next(&self) -> Step {
        self.next_with(0.5)
    }

    pub(super) fn next_with(&self, jitter: f64) -> Step {
        lifecycle::next(&self.view(jitter))
    }

    pub(super) const fn view(&self, jitter: f64) -> View<'_> {
        View {
            now: self.now,
            jitter,
            settings: &self.settings,
            resource: &self.resource,
            state: &self.state,
            surroundings: &self.surroundings,
            known: &self.known,
            memory: &self.memory,
        }
    }

    /// Applies the result of a step: changes the stored objects, then calls `remember` and `learn`.
    pub(super) fn apply(&mut self, step: &Step, observed: Observed) {
        if matches!(
            step,
            Step::Look(_) | Step::ListJobs(_) | Step::Poll | Step::ReadLock(_) | Step::Send(_)
        ) {
            learn(&mut self.known, step, Observed::Account("111122223333".into()));
        }
        if matches!(observed, Observed::Stored { .. }) {
            if let Some(state) = stored(step) {
                self.state = state.clone();
            }
            match step {
                Step::AddFinalizer => self.resource.finalizer = true,
                Step::Release => self.resource.finalizer = false,
                _ => {}
            }
        }
        remember(&mut self.memory, self.now, &self.known, step, &observed);
        learn(&mut self.known, step, observed);
    }

    pub(super) fn looked(&self, seen: Option<Seen>, bar: Option<Bar>) -> Observed {
        Observed::Look(Looked {
            at: self.now,
            seen,
            bar,
        })
    }

    pub(super) fn listed(&self, jobs: Vec<JobSeen>) -> Observed {
        Observed::Jobs(Listed { at: self.now, jobs })
    }

    /// Returns a summary of the stored conditions.
    pub(super) fn says(&self) -> String {
        says(&self.state)
    }
}

/// Returns a summary of this state's conditions: `ready`, `working`, `stalled` or `still`, and the reason.
pub(super) fn says(state: &State) -> String {
    let conditions = &state.ledger.conditions;
    let Some(ready) = conditions::get(conditions, READY) else {
        return "nothing".into();
    };
    let flags = [READY, RECONCILING, STALLED].map(|type_| conditions::is_true(conditions, type_));
    let word = match flags {
        [true, false, false] => "ready",
        [false, true, false] => "working",
        [false, false, true] => "stalled",
        [false, false, false] => "still",
        _ => "contradiction",
    };
    format!("{word}: {}", ready.reason)
}

/// Returns the message of Ready.
pub(super) fn message(state: &State) -> &str {
    conditions::get(&state.ledger.conditions, READY).map_or("", |ready| &ready.message)
}

/// Returns the name of a step in the tables.
pub(super) const fn name(step: &Step) -> &'static str {
    match step {
        Step::Resolve => "resolve",
        Step::Look(_) => "look",
        Step::ListJobs(_) => "list",
        Step::Poll => "poll",
        Step::ReadLock(_) => "lock",
        Step::TakeSlot => "slot",
        Step::AddFinalizer => "finalizer",
        Step::Intend(_) => "intend",
        Step::Send(Write::Create) => "create",
        Step::Send(Write::Update) => "update",
        Step::Send(Write::Delete) => "delete",
        Step::RecordAccepted(_) => "record",
        Step::Record(_) => "store",
        Step::Release => "release",
        Step::Settle { .. } => "settle",
    }
}

/// Returns the state that a step stores.
pub(super) fn stored(step: &Step) -> Option<&State> {
    match step {
        Step::Intend(state) | Step::RecordAccepted(state) | Step::Record(state) | Step::Settle { state, .. } => {
            Some(state)
        }
        _ => None,
    }
}

/// Returns an open intent of the first attempt, written at the beginning.
pub(super) fn intent(operation: Operation) -> Job {
    Job {
        operation,
        generation: 1,
        attempt: 1,
        failures: 0,
        config_hash: (operation == Operation::CreateBackendApi || operation.is_update()).then(|| "v1".into()),
        source_environment_name: None,
        request_time: start(),
        after: None,
        unconfirmed: false,
        id: None,
        backend_environment_name: None,
        status: None,
        finish_time: None,
        error: None,
    }
}

/// Returns the same write, accepted as job `j-1`.
pub(super) fn running(operation: Operation) -> Job {
    Job {
        id: Some("j-1".into()),
        backend_environment_name: Some("dev".into()),
        status: Some("RUNNING".into()),
        ..intent(operation)
    }
}

/// Returns a job that ended within a minute of the beginning.
pub(super) fn ended(job: Job, status: &str) -> Job {
    Job {
        status: Some(status.into()),
        finish_time: Some(at(60)),
        failures: i64::from(status == Job::FAILED),
        error: (status == Job::FAILED).then(|| "no capacity".into()),
        ..job
    }
}

/// Returns an intent that AWS has refused.
pub(super) fn refused(job: Job) -> Job {
    Job {
        finish_time: Some(at(1)),
        error: Some("refused".into()),
        ..job
    }
}

/// Returns a job that AWS lists as running, created so many seconds after the beginning.
pub(super) fn seen_job(id: &str, operation: Operation, created: i64) -> JobSeen {
    JobSeen {
        id: id.into(),
        environment: "dev".into(),
        operation: operation.name().into(),
        status: "RUNNING".into(),
        create_time: Some(at(created)),
        update_time: None,
        error: None,
        exists: false,
    }
}

/// Returns the same job with another status.
pub(super) fn with_status(job: JobSeen, status: &str) -> JobSeen {
    JobSeen {
        status: status.into(),
        error: (status == Job::FAILED).then(|| "no capacity".into()),
        ..job
    }
}

/// Returns an object as the spec wants it.
pub(super) fn present() -> Option<Seen> {
    Some(Seen::default())
}

/// Returns an API whose echo has this hash.
pub(super) fn echoing(hash: &str, equality: Option<Equality>) -> Option<Seen> {
    Some(Seen {
        echo: Some(Echo {
            hash: hash.into(),
            equality,
            differs: Vec::new(),
        }),
        ..Seen::default()
    })
}

/// Returns a record that was made so many seconds after the beginning.
pub(super) fn recorded(created: i64) -> Option<Seen> {
    Some(Seen {
        create_time: Some(at(created)),
        ..Seen::default()
    })
}

/// Returns a reference to an absent object.
pub(super) fn missing(message: &str) -> Missing {
    Missing {
        message: message.into(),
        lack: Lack::Absent,
    }
}

pub(super) fn failure(class: Class, sent: Sent) -> Failure {
    Failure {
        class,
        sent,
        message: format!("AWS says {class:?}"),
    }
}

pub(super) fn accepted(id: &str) -> Reply {
    Reply::Job {
        id: Some(id.into()),
        environment: Some("dev".into()),
        status: Some("RUNNING".into()),
        error: None,
    }
}

pub(super) fn refusal(class: Class) -> Reply {
    Reply::Failed(failure(class, Sent::Refused))
}

pub(super) fn lost() -> Reply {
    Reply::Failed(failure(Class::Unavailable, Sent::Unknown))
}

impl Scene {
    /// Returns the summary of the conditions while the create is under way.
    pub(super) fn working(&self) -> &'static str {
        match self.resource.abilities.create {
            Operation::CloneBackend => "working: Cloning",
            Operation::CreateBackendEnvironment => "ready: Available",
            _ => "working: Creating",
        }
    }
}
