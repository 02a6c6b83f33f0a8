//! The controller and the API server, as far as they take part in a step.
//!
//! The controller here is modelled on `controller/pass`: the version that a pass works on, the handling of a conflict
//! and of a recording that does not land, and the changes to the index. The lessons of a step come from
//! [`lifecycle::learn`] and [`lifecycle::remember`] alone.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use amplify_operator::{
    api::{Abilities, AdoptionPolicy, DeletionPolicy, Job, KindName, Operation},
    controller::{
        index::{Entry as Indexed, Environment, Index, Location, ObjectKey, Version, Within},
        patches::recording,
    },
    lifecycle::{
        self, Config, Echo, Equality, Hashes, Holds, Known, Listed, Lock, Looked, Mark, Observed, Polled, Purpose,
        Resource, Seen, Settings, Slot, State, Step, Surroundings, View, Wake, Words, Write,
        facts::{Class, Sent},
    },
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    aws::{failure, shown},
    check,
    world::{
        Clocks, Knows, Name, Object, Old, Pass, Remembers, Seconds, Status, TICK, Thing, World, config_name, echo_name,
        hash_of,
    },
};

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
    steps: Mutex<HashMap<u64, Arc<Decided>>>,
    /// The results of patches to a stored status.
    patched: Mutex<HashMap<u64, Option<Status>>>,
    /// The results of changes to an index.
    told: Mutex<HashMap<u64, Arc<Told>>>,
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

    // ---- the controller ----

    pub(crate) fn begin(&mut self, world: &mut World, process: usize, name: usize, stale: bool) -> Went {
        let kept = &world.names[name];
        let Some(view) = (if stale { kept.before } else { kept.live }) else {
            return Went::Over(None);
        };
        let lag = u8::from(stale);
        let operator = &mut world.processes[process];
        let memory = operator.memory[name]
            .filter(|(uid, _)| *uid == view.uid)
            .map_or(Remembers::NOTHING, |(_, memory)| memory);
        operator.memory[name] = Some((view.uid, memory));
        operator.passes[name] = Some(Pass {
            view,
            lag,
            known: Knows::nothing(),
            memory,
            seen: None,
            age: 0,
        });
        self.put(world, process, name, Old { object: view, lag });
        self.think(world, process, name)
    }

    /// Makes all steps that concern only this pass at once: their order has no effect on anything.
    fn think(&mut self, world: &mut World, process: usize, name: usize) -> Went {
        loop {
            let Some(step) = self.ahead(world, process, name) else {
                return Went::Over(None);
            };
            let is_private = match &step.step {
                Step::Resolve | Step::TakeSlot => true,
                // Nothing locks or unlocks.
                Step::ReadLock(_) => world.budget.locks == 0,
                Step::Settle { .. } => step.status == Some(pass(world, process, name).view.status),
                _ => false,
            };
            if !is_private {
                return Went::On;
            }
            if let went @ Went::Over(_) = self.make(world, process, name, &step, How::Well) {
                return went;
            }
        }
    }

    /// Returns the next step of this pass, from the decisions so far if possible.
    pub(crate) fn ahead(&self, world: &World, process: usize, name: usize) -> Option<Arc<Decided>> {
        let operator = &world.processes[process];
        let pass = operator.passes[name].as_ref()?;
        let others = (world.names.len() > 1).then(|| (name, operator.reserved, self.shown_to(world, process)));
        let exact = self
            .exact
            .then(|| (self.tries, self.now.duration_since(now()).as_secs()));
        let situation = hash_of(&(&pass.view, pass.known, &pass.memory, others, exact));
        let known = self.decided.steps.lock().get(&situation).cloned();
        Some(known.unwrap_or_else(|| {
            let decided = Arc::new(self.decide(world, process, name, pass));
            self.decided.steps.lock().insert(situation, decided.clone());
            decided
        }))
    }

    /// Returns the version of each name that the index of this process holds.
    fn shown_to(&self, world: &World, process: usize) -> Vec<Option<Old>> {
        let behind = &world.processes[process].behind;
        let names = world.names.iter().zip(behind);
        names
            .map(|(kept, behind)| behind.or(kept.live.map(|object| Old { object, lag: 0 })))
            .collect()
    }

    /// Decides the next step of this pass.
    fn decide(&self, world: &World, process: usize, name: usize, pass: &Pass) -> Decided {
        let object = &pass.view;
        let resource = Resource {
            generation: object.generation.into(),
            deleting: object.deleting,
            deleted_at: None,
            finalizer: object.finalizer,
            held: object.held,
            abilities: Abilities::of(self.scenario.create),
            words: Words::default(),
            deletion_policy: self.scenario.deletion,
            adoption_policy: self.scenario.adoption,
            observe: object.observe,
            suspend: object.suspend,
            job_timeout: None,
            request: (object.request > 0).then(|| object.request.to_string()),
            ignores_lock: object.ignores,
        };
        let mut surroundings = Surroundings {
            region: Some("r".to_owned()),
            source: (self.scenario.create == Operation::CloneBackend).then(|| "main".to_owned()),
            resolved: true,
            ..Surroundings::default()
        };
        if world.names.len() > 1 {
            let index = self.index(&self.shown_to(world, process), world.processes[process].reserved);
            let key = self.key(name);
            surroundings.winner = index.rival(&key);
            surroundings.jobs_of_others = index.jobs_of_others(&key);
        }
        let step = lifecycle::next(&View {
            now: self.now,
            jitter: 0.5,
            settings: self.settings,
            resource: &resource,
            state: &object.status.state(self.clocks()),
            surroundings: &surroundings,
            known: &pass.known,
            memory: &pass.memory.memory(self.now, self.tries),
        });
        let status = match &step {
            Step::Intend(state) | Step::Record(state) | Step::RecordAccepted(state) | Step::Settle { state, .. } => {
                Some(Status::of(state, self.clocks(), self.exact))
            }
            _ => None,
        };
        Decided { step, status }
    }

    /// Performs the next step of this pass, and then all steps that concern only this pass.
    pub(crate) fn perform(&mut self, world: &mut World, process: usize, name: usize, how: How) -> Went {
        let Some(step) = self.ahead(world, process, name) else {
            return Went::Over(None);
        };
        match self.make(world, process, name, &step, how) {
            Went::On => self.think(world, process, name),
            over @ Went::Over(_) => over,
        }
    }

    /// Makes a step: performs it, remembers and learns.
    fn make(&mut self, world: &mut World, process: usize, name: usize, decided: &Decided, how: How) -> Went {
        let step = &decided.step;
        if matches!(
            step,
            Step::Look(_) | Step::ListJobs(_) | Step::Poll | Step::ReadLock(_) | Step::Send(_)
        ) {
            let known = &mut pass(world, process, name).known;
            if known.account.is_none() {
                known.change(|known| lifecycle::learn(known, step, Observed::Account("1".to_owned())));
            }
        }
        let Some(observed) = self.observe(world, process, name, decided, how) else {
            self.over(world, process, name);
            return Went::Over(None);
        };
        let is_stored = matches!(observed, Observed::Stored { .. });
        let (now, exact) = (self.now, self.exact);
        let pass = pass(world, process, name);
        let mut memory = pass.memory.memory(now, self.tries);
        lifecycle::remember(&mut memory, now, &pass.known, step, &observed);
        pass.known.change(|known| lifecycle::learn(known, step, observed));
        pass.memory = Remembers::of(&memory, now);
        if exact {
            self.tries = memory.tries;
        } else {
            // It only distinguishes Stalled from Reconciling.
            pass.memory.waiting = None;
        }
        if pass.known.look.is_none() {
            pass.seen = None;
        }
        match step {
            Step::Settle { wake, .. } if is_stored => {
                world.processes[process].memory[name] = Some((pass.view.uid, pass.memory));
                self.over(world, process, name);
                Went::Over(Some(*wake))
            }
            Step::Release if is_stored && !pass.view.held => {
                world.processes[process].memory[name] = None;
                self.over(world, process, name);
                Went::Over(None)
            }
            _ => Went::On,
        }
    }

    /// Ends the pass and its reservation.
    fn over(&mut self, world: &mut World, process: usize, name: usize) {
        world.processes[process].passes[name] = None;
        if world.processes[process].reserved.map(usize::from) == Some(name) {
            let told = self.told(
                &self.shown_to(world, process),
                world.processes[process].reserved,
                Tell::Over(name),
            );
            self.touched.extend(&told.touched);
            world.processes[process].reserved = None;
        }
    }

    /// Performs a step and returns the observation. None: the pass is over.
    #[expect(clippy::too_many_lines, reason = "an arm for each step")]
    fn observe(
        &mut self,
        world: &mut World,
        process: usize,
        name: usize,
        decided: &Decided,
        how: How,
    ) -> Option<Observed> {
        let target = self.scenario.target(name);
        let clocks = self.clocks();
        Some(match &decided.step {
            Step::Look(_) | Step::ListJobs(_) | Step::Poll | Step::ReadLock(Purpose::Write) if how == How::Fails => {
                Observed::Failed(failure(Class::Unavailable, Sent::Unknown))
            }
            Step::Look(_) => {
                let seen = world.aws.things[target].filter(|thing| thing.hidden == 0);
                let pass = pass(world, process, name);
                pass.seen = seen;
                Observed::Look(Looked {
                    at: self.now,
                    seen: seen.map(|thing| self.compare(&thing, &pass.known, &pass.view)),
                    bar: None,
                })
            }
            Step::ListJobs(_) => {
                self.mark_listed(world, process, name);
                let jobs = shown(world, clocks).collect();
                Observed::Jobs(Listed { at: self.now, jobs })
            }
            Step::Poll => {
                let id = pass(world, process, name).view.status.job.and_then(|job| job.id);
                let id = id.map(|id| id.to_string());
                let job = shown(world, clocks).find(|job| Some(&job.id) == id.as_ref());
                Observed::Poll(Polled { job })
            }
            Step::ReadLock(_) => Observed::Lock(Lock {
                at: self.now,
                mark: match world.aws.locked {
                    _ if how == How::Fails => Mark::Unread,
                    Some(_) => Mark::Here,
                    None => Mark::Elsewhere,
                },
            }),
            Step::Resolve => Observed::Config(Ok(Config {
                hash: config_name(pass(world, process, name).view.config),
            })),
            Step::TakeSlot => Observed::Slot(self.take_slot(world, process, name)),
            Step::AddFinalizer => {
                let view = pass(world, process, name).view;
                return self.write(
                    world,
                    process,
                    name,
                    Object {
                        finalizer: true,
                        ..view
                    },
                );
            }
            Step::Release => {
                let view = pass(world, process, name).view;
                return self.write(
                    world,
                    process,
                    name,
                    Object {
                        finalizer: false,
                        ..view
                    },
                );
            }
            Step::Intend(state) => {
                let pass = *pass(world, process, name);
                check::intent(self.scenario, world, &pass, state);
                return self.write_status(world, process, name, decided.status?);
            }
            Step::Record(_) | Step::Settle { .. } => {
                return self.write_status(world, process, name, decided.status?);
            }
            Step::RecordAccepted(state) => return self.record(world, process, name, state, decided.status?),
            Step::Send(write) => {
                // An update or a delete has no intent, so the resource is read right before.
                if *write != Write::Create && pass(world, process, name).lag > 0 {
                    return self.refresh(world, process, name);
                }
                let pass = *pass(world, process, name);
                check::send(self, world, name, &pass, *write);
                Observed::Reply(self.answer(world, process, name, *write, how))
            }
        })
    }

    pub(crate) fn compare(&self, thing: &Thing, known: &Known, view: &Object) -> Seen {
        let is_resolved = matches!(known.config, Some(Ok(_)));
        Seen {
            create_time: (!self.scenario.create.has_job()).then(|| self.clocks().aws(thing.made)),
            differs: Vec::new(),
            echo: self.scenario.is_updatable().then(|| Echo {
                hash: echo_name(thing.config),
                equality: is_resolved.then_some(if thing.config == view.config {
                    Equality::Equal
                } else {
                    Equality::Different
                }),
                differs: if is_resolved && thing.config != view.config {
                    vec!["spec".to_owned()]
                } else {
                    Vec::new()
                },
            }),
        }
    }

    /// Marks the jobs in a list. A job that a resource sees there while it has no attempt of unknown outcome cannot
    /// result from its next attempt.
    fn mark_listed(&self, world: &mut World, process: usize, name: usize) {
        let Pass { view, lag, .. } = *pass(world, process, name);
        if lag > 0 || view.status.job.is_some_and(|job| job.is_open() || job.unconfirmed) {
            return;
        }
        for job in &mut world.aws.jobs {
            if !job.vanished && job.hidden == 0 && job.operation == self.scenario.create {
                job.listed |= 1 << view.uid;
            }
        }
    }

    // ---- the API server ----

    fn write_status(&mut self, world: &mut World, process: usize, name: usize, status: Status) -> Option<Observed> {
        let view = pass(world, process, name).view;
        if view.status == status {
            return Some(Observed::STORED);
        }
        let object = Object { status, ..view };
        self.write(world, process, name, object)
    }

    /// Stores the object if the view is not stale, otherwise refreshes the view.
    fn write(&mut self, world: &mut World, process: usize, name: usize, object: Object) -> Option<Observed> {
        if pass(world, process, name).lag > 0 {
            return self.refresh(world, process, name);
        }
        self.store(world, process, name, object);
        Some(Observed::STORED)
    }

    fn store(&mut self, world: &mut World, process: usize, name: usize, object: Object) {
        let Some(old) = world.names[name].live else { return };
        let by = *pass(world, process, name);
        check::write(self.scenario, world, name, &by, &old, &object);
        if let Some(pass) = &mut world.processes[process].passes[name] {
            pass.view = object;
            pass.lag = 0;
        }
        if old != object {
            self.writes += 1;
            self.changed(world, name, Some(object), Some(process));
        }
    }

    /// Replaces a stale view with the stored object.
    fn refresh(&mut self, world: &mut World, process: usize, name: usize) -> Option<Observed> {
        let view = pass(world, process, name).view;
        let live = world.names[name].live.filter(|live| live.uid == view.uid)?;
        self.take(world, process, name, live);
        let same = live.generation == view.generation && live.status == view.status;
        Some(Observed::Stale { same })
    }

    /// Continues with this version, the newest.
    fn take(&mut self, world: &mut World, process: usize, name: usize, live: Object) {
        let pass = pass(world, process, name);
        pass.view = live;
        pass.lag = 0;
        world.processes[process].fresh[name] = true;
        self.put(world, process, name, Old { object: live, lag: 0 });
    }

    /// Applies the program's own patch until it lands or can never land.
    fn record(
        &mut self,
        world: &mut World,
        process: usize,
        name: usize,
        state: &State,
        mut status: Status,
    ) -> Option<Observed> {
        let generation = pass(world, process, name).view.generation;
        let mut state = state.clone();
        loop {
            let old = pass(world, process, name).view;
            let live = world.names[name].live?;
            if live == old {
                // The patch leads from `old` to exactly this status.
                self.store(world, process, name, Object { status, ..live });
                return Some(Observed::Stored {
                    edited: live.generation != generation,
                });
            }
            if let Some(status) = self.patched(&old, &live, &state, status) {
                self.store(world, process, name, Object { status, ..live });
                return Some(Observed::Stored {
                    edited: live.generation != generation,
                });
            }
            let stored = live.status.state(self.clocks());
            let attempt = |state: &State| state.ledger.job.as_ref().map(|job| job.attempt);
            if live.uid != old.uid || attempt(&stored) > attempt(&state) {
                return None;
            }
            state = lifecycle::recorded_beside(&state, &stored);
            status = Status::of(&state, self.clocks(), self.exact);
            self.take(world, process, name, live);
        }
    }

    /// Returns the result of the program's patch, from `old` to `new`, on the stored status (None: it does not apply).
    /// `status` is `new` in short form.
    fn patched(&self, old: &Object, live: &Object, new: &State, status: Status) -> Option<Status> {
        let situation = hash_of(&(old.uid, old.status, live.uid, live.status, status, self.exact));
        if let Some(known) = self.decided.patched.lock().get(&situation) {
            return *known;
        }
        let clocks = self.clocks();
        let patch = recording(
            Some(&old.uid.to_string()),
            &json_of(&old.status.state(clocks)),
            &json_of(new),
        );
        let patch: json_patch::Patch = serde_json::from_value(patch).expect("a patch");
        let stored = json_of(&live.status.state(clocks));
        let mut object = json!({ "metadata": { "uid": live.uid.to_string() }, "status": stored });
        let lands = json_patch::patch(&mut object, &patch).is_ok();
        let patched = lands.then(|| Status::of(&state_of(object), clocks, self.exact));
        self.decided.patched.lock().insert(situation, patched);
        patched
    }

    /// Replaces the object of this name (None: it is gone). All passes that have looked at it now have a stale view,
    /// and the watches show the change.
    pub(crate) fn changed(&mut self, world: &mut World, name: usize, new: Option<Object>, by: Option<usize>) {
        let several = world.names.len() > 1;
        let held: Vec<_> = (0..world.processes.len())
            .map(|process| several.then(|| self.shown_to(world, process)))
            .collect();
        if world.budget.stale > 0 {
            world.names[name].before = world.names[name].live;
        }
        let new = new.filter(|new| !new.deleting || new.finalizer || new.held);
        world.names[name].live = new;
        for (process, held) in held.into_iter().enumerate() {
            let operator = &mut world.processes[process];
            let is_writer = by == Some(process);
            operator.fresh[name] = is_writer;
            if let Some(pass) = operator.passes[name].as_mut().filter(|_| !is_writer) {
                pass.lag = pass.lag.saturating_add(1);
            }
            if let Some(old) = &mut operator.listing[name] {
                old.lag = old.lag.saturating_add(1);
            }
            let Some(held) = held else { continue };
            operator.behind[name] = None;
            let told = self.told(&held, operator.reserved, Tell::New(name, new));
            self.touched.extend(&told.touched);
            keep_reservation(world, process, name, &told);
        }
    }

    // ---- several resources: the index ----

    fn key(&self, name: usize) -> ObjectKey {
        let kind = self.scenario.create.kind();
        ObjectKey::new(kind, "default", &name.to_string())
    }

    /// Returns the index entry of this object: see `controller/watched`.
    fn entry(&self, name: usize, object: &Object, version: u16) -> Indexed {
        let ledger = object.status.state(self.clocks()).ledger;
        let released = object.deleting && !object.finalizer;
        let job = ledger.job.as_ref().filter(|_| !released);
        let location = Location {
            environment: Arc::new(Environment {
                region: "r".to_owned(),
                app: "d1".parse().expect("an app"),
                name: "dev".parse().expect("a name"),
            }),
            // An environment has one object of each kind, so two different objects are of two kinds.
            within: self.scenario.is_updatable().then(|| Within {
                kind: KindName::ALL[self.scenario.target(name)],
                name: None,
            }),
            source: None,
        };
        Indexed {
            uid: object.uid.to_string(),
            version: Version::parse(Some(&version.to_string())),
            created: Timestamp::from_second(object.uid.into()).expect("a time in range"),
            deleting: object.deleting,
            account: ledger.account_id.clone(),
            tenant: None,
            location: Some(location).filter(|_| !released),
            refers_to: None,
            contains: false,
            observes: object.observe,
            owns: !released && (ledger.origin.is_some() || job.is_some_and(Job::is_open_intent)),
            holds: if released {
                Holds::No
            } else {
                lifecycle::holds_slot(&ledger, object.suspend, self.settings.job_timeout)
            },
            polled: lifecycle::is_polled(&ledger, object.suspend),
            waits: lifecycle::waits_for_slot(&ledger, object.suspend),
            job: job.and_then(|job| job.id.clone()),
            ready: false,
        }
    }

    /// Returns an index that holds these versions, with the slot reserved for the pass of one name.
    fn index(&self, held: &[Option<Old>], reserved: Option<u8>) -> Index {
        let mut index = Index::default();
        let reserved = reserved.map(usize::from);
        // The name with the reserved slot comes first, so that no other name is in its way.
        for name in reserved
            .into_iter()
            .chain((0..held.len()).filter(|name| Some(*name) != reserved))
        {
            let Some(old) = held[name] else { continue };
            index.put(
                &Arc::new(self.key(name)),
                self.entry(name, &old.object, version(old.lag)),
            );
            if reserved == Some(name) {
                index.take_slot(&self.key(name), self.now);
            }
        }
        index
    }

    /// Returns the effect of a change on such an index.
    fn told(&self, held: &[Option<Old>], reserved: Option<u8>, tell: Tell) -> Arc<Told> {
        let situation = hash_of(&(held, reserved, tell));
        if let Some(known) = self.decided.told.lock().get(&situation) {
            return known.clone();
        }
        let mut index = self.index(held, reserved);
        let mut put = |name, object: &Object, version| {
            let (key, entry) = (Arc::new(self.key(name)), self.entry(name, object, version));
            let touched = index.put(&key, entry.clone());
            (touched, index.get(&key) == Some(&entry))
        };
        let (name, (touched, takes)) = match tell {
            Tell::Shown(name, old) => (name, put(name, &old.object, version(old.lag))),
            Tell::New(name, Some(object)) => (name, put(name, &object, NEWER)),
            Tell::New(name, None) => (name, (index.remove(&self.key(name)), false)),
            Tell::Wants(name) => {
                let slot = index.take_slot(&self.key(name), self.now);
                (name, (BTreeSet::new(), matches!(slot, Slot::Held)))
            }
            Tell::Over(name) => (name, (index.end_reservation(&self.key(name)), false)),
        };
        let number = |key: ObjectKey| key.name.parse().expect("a number of ours");
        let told = Arc::new(Told {
            touched: touched.into_iter().map(number).collect(),
            takes,
            // The only way to see a reservation is to end it.
            reserves: !index.end_reservation(&self.key(name)).is_empty(),
        });
        self.decided.told.lock().insert(situation, told.clone());
        told
    }

    /// Gives the index a version from a pass or a list, which may be old.
    pub(crate) fn put(&mut self, world: &mut World, process: usize, name: usize, old: Old) {
        if world.names.len() == 1 || world.names[name].live.is_none() {
            return;
        }
        let held = self.shown_to(world, process);
        let operator = &mut world.processes[process];
        let told = self.told(&held, operator.reserved, Tell::Shown(name, old));
        self.touched.extend(&told.touched);
        if told.takes {
            operator.behind[name] = (old.lag > 0).then_some(old);
        }
        keep_reservation(world, process, name, &told);
    }

    fn take_slot(&self, world: &mut World, process: usize, name: usize) -> Slot {
        if world.names.len() == 1 {
            return Slot::Held;
        }
        let held = self.shown_to(world, process);
        let operator = &mut world.processes[process];
        if !self.told(&held, operator.reserved, Tell::Wants(name)).takes {
            return Slot::Busy;
        }
        operator.reserved = Some(u8::try_from(name).expect("few names"));
        Slot::Held
    }
}

/// Ends the reservation of this name's pass if the index no longer has it.
fn keep_reservation(world: &mut World, process: usize, name: usize, told: &Told) {
    let is_there = |kept: &Name| kept.live.is_some_and(|other| !other.deleting || other.finalizer);
    let mut others = world.names.iter().enumerate().filter(|(other, _)| *other != name);
    // Without other resources, the reservation has no visible effect.
    let is_seen = others.any(|(_, kept)| is_there(kept));
    let operator = &mut world.processes[process];
    let is_reserved = operator.reserved.map(usize::from) == Some(name);
    let is_gone = world.names[name].live.is_none();
    if is_reserved && (is_gone || is_seen && !told.reserves) {
        operator.reserved = None;
    }
}

/// A change to an index.
#[derive(Clone, Copy, Debug, Hash)]
enum Tell {
    /// A pass or a list shows this version, which may be old.
    Shown(usize, Old),
    /// The object of this name is now this one (None: it is gone).
    New(usize, Option<Object>),
    /// A pass of this name wants the slot.
    Wants(usize),
    /// The pass of this name is over.
    Over(usize),
}

/// The effect of a change on an index.
#[derive(Debug)]
struct Told {
    /// The names that the index names.
    touched: BTreeSet<usize>,
    /// Whether the index now holds the shown version, or has given the slot.
    takes: bool,
    /// Whether the slot is still reserved for this name's pass, while others wait for it.
    reserves: bool,
}

/// Returns the status in its stored form.
fn json_of(state: &State) -> Value {
    let mut status = serde_json::to_value(&state.ledger).expect("a status");
    for (name, hash) in [(SENT, &state.hashes.sent), (ECHOED, &state.hashes.echoed)] {
        if let Some(hash) = hash {
            status[name] = json!(hash);
        }
    }
    status
}

fn state_of(mut object: Value) -> State {
    let mut status = object["status"].take();
    let mut hash = |name| status.as_object_mut()?.remove(name)?.as_str().map(str::to_owned);
    let hashes = Hashes {
        sent: hash(SENT),
        echoed: hash(ECHOED),
    };
    State {
        ledger: serde_json::from_value(status).expect("a status"),
        hashes,
    }
}

const SENT: &str = "sentConfigHash";
const ECHOED: &str = "echoedConfigHash";

/// Returns the resourceVersion of a version that is this many versions old.
fn version(lag: u8) -> u16 {
    NEWER - 1 - u16::from(lag)
}

/// A resourceVersion that is newer than all others.
const NEWER: u16 = 1000;

pub(crate) fn pass(world: &mut World, process: usize, name: usize) -> &mut Pass {
    world.processes[process].passes[name]
        .as_mut()
        .expect("a pass in flight")
}
