//! The controller and the API server, as far as they take part in a step.
//!
//! The controller here is modelled on `controller/pass`: the version that a pass works on, the handling of a conflict
//! and of a recording that does not land, and the changes to the index. The lessons of a step come from
//! [`lifecycle::learn`] and [`lifecycle::remember`] alone.

use std::{collections::BTreeSet, sync::Arc};

use amplify_operator::{
    api::{Abilities, Job, KindName, Operation},
    controller::{
        index::{Entry as Indexed, Environment, Index, Location, ObjectKey, Version, Within},
        patches::recording,
    },
    lifecycle::{
        self, Config, Hashes, Holds, Listed, Lock, Looked, Mark, Observed, Polled, Purpose, Resource, Slot, State,
        Step, Surroundings, View, Words, Write,
        facts::{Class, Sent},
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    aws::{failure, shown},
    check,
    stage::{Decided, How, Stage, Told, Went, now},
    world::{Broken, Knows, Name, Object, Old, Pass, Remembers, Status, World, config_name, hash_of},
};

/// A pass with more steps is a bug.
const STEPS: usize = 40;

impl Stage<'_> {
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
                    None => Mark::Absent,
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
            locked: !released && ledger.migration_locked_at.is_some(),
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

/// Runs a pass to its end, without faults.
pub(crate) fn run(stage: &mut Stage<'_>, world: &mut World, name: usize) -> Went {
    let mut went = stage.begin(world, 0, name, false);
    for _ in 0..STEPS {
        if let Went::Over(_) = went {
            return went;
        }
        went = stage.perform(world, 0, name, How::Well);
    }
    check::breaks(world, Broken::Endless);
    Went::Over(None)
}
