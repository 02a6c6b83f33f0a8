//! The controller, the API server and AWS, as far as a step touches them.
//!
//! What is said here of the controller is what `controller/pass.rs` does: which of what it knows outlives which step,
//! what a conflict and a recording that does not land lead to. What is said of AWS is meaner than AWS: it does not mind
//! being told twice to make the same object, and refuses only while a job is pending.

use std::{collections::BTreeSet, sync::Arc};

use amplify_operator::{
    api::{AdoptionPolicy, DeletionPolicy, Operation, Origin, conditions::Reason},
    controller::index::{Entry as Indexed, Environment, Index, KindName, Location, ObjectKey},
    lifecycle::{
        self, Config, Echo, Equality, Holds, Known, Listed, Looked, Memory, Polled, Reply, Resource, Seen, Sending,
        Settings, Slot, State, Step, Surroundings, View, Wake, Write,
        facts::{Class, Failure, Sent},
    },
};
use jiff::{SignedDuration, Timestamp};

use crate::world::{
    Answer, AwsJob, Broken, Flight, Knows, LONG_AGO, List, Look, Object, Pass, Poll, Seconds, Sends, Shown, Status,
    TICK, Thing, Word, World, config_name,
};

/// What is explored.
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
    /// How late AWS shows a job that it shows late. Longer than the grace: only AWS's refusal protects, and only while
    /// the job runs, so it runs for at least as long.
    pub(crate) late: Seconds,
    /// The operation of somebody else's jobs.
    pub(crate) foreign: Operation,
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
            foreign: Operation::UpdateBackendApi,
            settings: Settings {
                // A check is due whenever time has passed.
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

    const fn is_updatable(&self) -> bool {
        matches!(self.create, Operation::CreateBackendApi)
    }

    /// Which AWS object the resource of this name describes.
    pub(crate) const fn target(&self, name: usize) -> usize {
        if self.same_object { 0 } else { name }
    }
}

/// How a step goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum How {
    /// As it should; what AWS refuses of itself, it refuses.
    Well,
    /// The read fails.
    Fails,
    /// AWS takes it, and shows the job late.
    Late,
    /// AWS takes it, and the reply is lost.
    ReplyLost,
    /// The same, and AWS shows the job late.
    ReplyLostLate,
    /// It is lost on its way, and nobody can tell.
    RequestLost,
    /// It is lost for the sender, and arrives later.
    Flies,
    /// AWS refuses it as wrong.
    BadRequest,
    /// AWS knows no such app.
    NotFound,
    /// It never leaves.
    Never,
    /// AWS takes it and fails at once: 200 with `error`.
    FailsAtOnce,
}

/// When explored, the clock stands still and all else moves.
pub(crate) fn now() -> Timestamp {
    // A multiple of the tick, so that each tick makes a drift check due.
    Timestamp::from_second(1_800_000_000).expect("a time in range")
}

/// How a pass went on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Went {
    On,
    Over(Option<(Wake, bool)>),
}

/// A world in which steps can be performed.
pub(crate) struct Stage<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) settings: &'a Settings,
    pub(crate) now: Timestamp,
    pub(crate) tries: u32,
    /// Whether messages count.
    pub(crate) texts: bool,
    /// How many writes landed at the API server, and how many AWS took.
    pub(crate) writes: usize,
}

impl<'a> Stage<'a> {
    pub(crate) fn explored(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            settings: &scenario.settings,
            now: now(),
            tries: 0,
            texts: false,
            writes: 0,
        }
    }

    fn at(&self, seconds: Seconds) -> Timestamp {
        self.now + SignedDuration::from_secs(seconds.into())
    }

    // ---- the controller ----

    pub(crate) fn begin(&self, world: &mut World, process: usize, name: usize, stale: bool) -> Went {
        let kept = &world.names[name];
        let Some(view) = (if stale { kept.before } else { kept.live }) else {
            return Went::Over(None);
        };
        let current = world.names[name].live == Some(view) && !stale;
        let operator = &mut world.processes[process];
        if operator.memory[name].is_none_or(|(uid, _)| uid != view.uid) {
            operator.memory[name] = Some((view.uid, 0));
        }
        operator.passes[name] = Some(Pass {
            view,
            current,
            knows: Knows::default(),
            found: false,
            age: 0,
        });
        self.think(world, process, name)
    }

    /// What concerns nobody else is done at once: no other order of events could tell.
    fn think(&self, world: &mut World, process: usize, name: usize) -> Went {
        loop {
            match self.decide(world, process, name) {
                Some(Step::Resolve) => knows(world, process, name).config = true,
                Some(Step::TakeSlot) => {
                    let slot = self.take_slot(world, process, name);
                    knows(world, process, name).slot = Some(slot);
                }
                Some(Step::Settle { state, wake, retry }) if self.is_stored(world, process, name, &state) => {
                    return Self::ended(world, process, name, wake, retry);
                }
                _ => return Went::On,
            }
        }
    }

    /// Whether the pass has nothing to write.
    fn is_stored(&self, world: &mut World, process: usize, name: usize, state: &State) -> bool {
        Status::of(state, self.now, self.texts) == pass(world, process, name).view.status
    }

    fn ended(world: &mut World, process: usize, name: usize, wake: Wake, retry: bool) -> Went {
        let operator = &mut world.processes[process];
        let ended = operator.passes[name].take();
        if ended.is_some_and(|pass| pass.found)
            && let Some((_, looked)) = &mut operator.memory[name]
        {
            *looked = 0;
        }
        Went::Over(Some((wake, retry)))
    }

    /// The next step of this pass.
    pub(crate) fn decide(&self, world: &World, process: usize, name: usize) -> Option<Step> {
        let operator = &world.processes[process];
        let pass = operator.passes[name].as_ref()?;
        let object = &pass.view;
        let looked = operator.memory[name].map_or(0, |(_, looked)| looked);
        let resource = Resource {
            generation: object.generation.into(),
            deleting: object.deleting,
            deleted_at: None,
            finalizer: object.finalizer,
            create: self.scenario.create,
            deletion_policy: self.scenario.deletion,
            adoption_policy: self.scenario.adoption,
            suspend: object.suspend,
            job_timeout: None,
            request: (object.request > 0).then(|| object.request.to_string()),
        };
        let key = self.key(name);
        let index = (world.names.len() > 1).then(|| self.index(world, process));
        let surroundings = Surroundings {
            region: Some("r".to_owned()),
            resolved: true,
            winner: index
                .as_ref()
                .and_then(|index| index.winner(&key))
                .map(ToString::to_string),
            jobs_of_others: index
                .as_ref()
                .map_or_else(BTreeSet::new, |index| index.jobs_of_others(&key)),
            ..Surroundings::default()
        };
        Some(lifecycle::next(&View {
            now: self.now,
            jitter: 0.5,
            settings: self.settings,
            resource: &resource,
            state: &object.status.state(self.now),
            surroundings: &surroundings,
            known: &self.known(pass),
            memory: &Memory {
                tries: self.tries,
                ..Memory::new(self.at(looked))
            },
        }))
    }

    fn known(&self, pass: &Pass) -> Known {
        let knows = &pass.knows;
        let config = config_name(pass.view.config);
        let compare = |thing: &Thing| Seen {
            // AWS's clock is as far behind as it may be.
            create_time: (!self.scenario.create.has_job()).then(|| self.at(thing.made - 240)),
            differs: Vec::new(),
            echo: self.scenario.is_updatable().then(|| Echo {
                hash: config_name(thing.config),
                equality: knows.config.then_some(if thing.config == pass.view.config {
                    Equality::Equal
                } else {
                    Equality::Different
                }),
            }),
        };
        Known {
            account: Some("1".to_owned()),
            look: knows.look.map(|look| Looked {
                at: self.at(look.at),
                seen: look.seen.as_ref().map(compare),
            }),
            jobs: knows.jobs.as_ref().map(|list| Listed {
                at: self.at(list.at),
                jobs: list.jobs.iter().map(|job| job.job()).collect(),
            }),
            poll: knows.poll.map(|poll| Polled {
                job: poll.0.map(Shown::job),
            }),
            config: knows.config.then_some(Ok(Config { hash: config })),
            slot: knows.slot.map(|held| {
                if held {
                    Slot::Held
                } else {
                    Slot::Busy("another".to_owned())
                }
            }),
            sending: match knows.sending {
                Sends::Nothing => Sending::Nothing,
                Sends::Intended => Sending::Intended,
                Sends::Recorded => Sending::Recorded,
            },
            reply: knows.reply.map(|answer| match answer {
                Answer::Job { id, word, error } => Reply::Job {
                    id: Some(id.to_string()),
                    environment: Some("dev".to_owned()),
                    status: Some(word.text()),
                    error: error.then(|| "it says so".to_owned()),
                },
                Answer::Done => Reply::Done,
                Answer::Absent => Reply::Absent,
                Answer::Failed(class, sent) => Reply::Failed(failure(class, sent)),
            }),
            failed: knows.failed.then(|| failure(Class::Unavailable, Sent::Unknown)),
        }
    }

    /// Performs the next step of this pass.
    pub(crate) fn perform(&mut self, world: &mut World, process: usize, name: usize, how: How) -> Went {
        let Some(step) = self.decide(world, process, name) else {
            return Went::Over(None);
        };
        let target = self.scenario.target(name);
        match step {
            Step::Look(_) | Step::ListJobs(_) | Step::Poll if how == How::Fails => {
                knows(world, process, name).failed = true;
            }
            Step::Look(_) => {
                let seen = world.aws.things[target].filter(|thing| thing.hidden == 0);
                let pass = pass(world, process, name);
                pass.found = seen.is_some();
                pass.knows.look = Some(Look { at: 0, seen });
            }
            Step::ListJobs(_) => {
                let jobs = shown(world).collect();
                knows(world, process, name).jobs = Some(List { at: 0, jobs });
            }
            Step::Poll => {
                let id = pass(world, process, name).view.status.job.and_then(|job| job.id);
                let job = shown(world).find(|job| Some(job.id) == id);
                knows(world, process, name).poll = Some(Poll(job));
            }
            Step::AddFinalizer => {
                let object = Object {
                    finalizer: true,
                    ..pass(world, process, name).view
                };
                self.write(world, process, name, object);
            }
            Step::Intend(state) => {
                self.check_intent(world, process, name, &state);
                if self.write_status(world, process, name, &state) {
                    knows(world, process, name).sending = Sends::Intended;
                }
            }
            Step::Send(write) => self.send(world, process, name, write, how),
            Step::RecordAccepted(state) => self.record(world, process, name, &state),
            Step::Record(state) => {
                if self.write_status(world, process, name, &state) {
                    let knows = knows(world, process, name);
                    *knows = Knows {
                        look: knows.look.take(),
                        config: knows.config,
                        ..Knows::default()
                    };
                }
            }
            Step::Settle { state, wake, retry } => {
                if self.write_status(world, process, name, &state) {
                    return Self::ended(world, process, name, wake, retry);
                }
            }
            Step::Release => {
                let object = Object {
                    finalizer: false,
                    ..pass(world, process, name).view
                };
                if self.write(world, process, name, object) {
                    world.processes[process].passes[name] = None;
                    world.processes[process].memory[name] = None;
                }
            }
            Step::Resolve | Step::TakeSlot => {}
        }
        if world.processes[process].passes[name].is_none() {
            return Went::Over(None);
        }
        self.think(world, process, name)
    }

    // ---- the API server ----

    fn write_status(&mut self, world: &mut World, process: usize, name: usize, state: &State) -> bool {
        let status = Status::of(state, self.now, self.texts);
        let object = Object {
            status,
            ..pass(world, process, name).view
        };
        self.write(world, process, name, object)
    }

    /// Stores the object on condition that its view is not stale. False: it was, and is renewed.
    fn write(&mut self, world: &mut World, process: usize, name: usize, object: Object) -> bool {
        let pass = pass(world, process, name);
        if !pass.current {
            refresh(world, process, name);
            return false;
        }
        self.store(world, process, name, object);
        true
    }

    fn store(&mut self, world: &mut World, process: usize, name: usize, object: Object) {
        let Some(old) = world.names[name].live else { return };
        self.check_write(world, process, name, &old, &object);
        if old != object {
            self.writes += 1;
            changed(world, name, Some(process));
        }
        let is_gone = object.deleting && !object.finalizer;
        world.names[name].live = Some(object).filter(|_| !is_gone);
        if let Some(pass) = &mut world.processes[process].passes[name] {
            pass.view = object;
        }
    }

    /// A patch that tests uid and attempt, tried until it lands or can never land.
    fn record(&mut self, world: &mut World, process: usize, name: usize, state: &State) {
        let mut new = Status::of(state, self.now, self.texts);
        loop {
            let old = pass(world, process, name).view;
            let Some(live) = world.names[name].live.filter(|live| live.uid == old.uid) else {
                world.processes[process].passes[name] = None;
                return;
            };
            let attempt = |status: &Status| status.job.map(|job| job.attempt);
            let another = attempt(&old.status).is_some() && attempt(&live.status) != attempt(&old.status);
            let observed = old.status.observed;
            if another || new.observed != observed && live.status.observed != observed {
                refresh(world, process, name);
                if attempt(&live.status) > attempt(&new) {
                    world.processes[process].passes[name] = None;
                    return;
                }
                new.observed = new.observed.max(live.status.observed);
                continue;
            }
            let status = patched(&live.status, &old.status, &new);
            self.store(world, process, name, Object { status, ..live });
            let ended = new
                .job
                .filter(|job| job.finished.is_none() && job.word == Some(Word::Completed));
            let knows = knows(world, process, name);
            *knows = Knows {
                config: knows.config,
                sending: Sends::Recorded,
                poll: ended.map(|job| {
                    Poll(job.id.map(|id| Shown {
                        id,
                        operation: job.operation,
                        word: Word::Completed,
                    }))
                }),
                ..Knows::default()
            };
            return;
        }
    }

    // ---- AWS ----

    /// Whether AWS would refuse a write now.
    pub(crate) fn is_pending(&self, world: &World) -> bool {
        self.scenario.refuses && self.scenario.create.has_job() && world.aws.jobs.iter().any(AwsJob::is_alive)
    }

    fn send(&mut self, world: &mut World, process: usize, name: usize, write: Write, how: How) {
        self.check_send(world, process, name, write);
        let answer = self.answer(world, process, name, write, how);
        let knows = knows(world, process, name);
        knows.look = None;
        knows.jobs = None;
        knows.sending = Sends::Nothing;
        knows.reply = Some(answer);
    }

    fn answer(&mut self, world: &mut World, process: usize, name: usize, write: Write, how: How) -> Answer {
        let refused = |class| Answer::Failed(class, Sent::Refused);
        let unknown = Answer::Failed(Class::Unavailable, Sent::Unknown);
        let target = self.scenario.target(name);
        let view = pass(world, process, name).view;
        let attempt = view.status.job.map_or(0, |job| job.attempt);
        // Wiped between the intent and the send: nothing that is stored tells of it.
        let wiped = world.names[name]
            .live
            .is_none_or(|live| live.uid != view.uid || live.wiped != view.wiped);
        match how {
            How::RequestLost => return unknown,
            How::Never => return Answer::Failed(Class::Unavailable, Sent::Never),
            How::BadRequest => return refused(Class::BadRequest),
            How::NotFound => return refused(Class::NotFound),
            How::Flies => {
                world.aws.flying.push(Flight {
                    target: u8::try_from(target).expect("few names"),
                    uid: view.uid,
                    attempt,
                    config: view.config,
                    wiped,
                    left: TICK,
                });
                return unknown;
            }
            _ => {}
        }
        if self.is_pending(world) {
            return refused(Class::Pending);
        }
        if write != Write::Create && world.aws.things[target].is_none_or(|thing| thing.hidden > 0) {
            return if write == Write::Delete {
                Answer::Absent
            } else {
                refused(Class::NotFound)
            };
        }
        let flight = Flight {
            target: u8::try_from(target).expect("few names"),
            uid: view.uid,
            attempt: if write == Write::Create { attempt } else { attempt + 1 },
            config: view.config,
            wiped,
            left: 0,
        };
        let operation = match write {
            Write::Create => self.scenario.create,
            Write::Update => Operation::UpdateBackendApi,
            Write::Delete => self.scenario.create.counterpart(),
        };
        let id = self.accept(world, flight, operation);
        let index = usize::from(id);
        if matches!(how, How::Late | How::ReplyLostLate) {
            world.aws.jobs[index].hidden = self.scenario.late;
        }
        if how == How::FailsAtOnce {
            world.aws.jobs[index].word = Word::Failed;
        }
        match how {
            How::ReplyLost | How::ReplyLostLate => unknown,
            _ if !operation.has_job() => Answer::Done,
            _ => Answer::Job {
                id,
                word: world.aws.jobs[index].word,
                error: how == How::FailsAtOnce,
            },
        }
    }

    /// AWS takes a write.
    fn accept(&mut self, world: &mut World, flight: Flight, operation: Operation) -> u8 {
        self.writes += 1;
        self.check_accept(world, flight, operation);
        let id = u8::try_from(world.aws.jobs.len()).expect("few jobs");
        world.aws.jobs.push(AwsJob {
            operation,
            target: flight.target,
            by: Some((flight.uid, flight.attempt)),
            word: Word::Running,
            vanished: false,
            hidden: 0,
            recorded: false,
            wiped: flight.wiped,
            config: flight.config,
        });
        if !operation.has_job() {
            Self::end(world, usize::from(id), Word::Completed, true);
        }
        id
    }

    /// A create that was on its way arrives.
    pub(crate) fn arrive(&mut self, world: &mut World, flight: usize) {
        let flight = world.aws.flying.remove(flight);
        if !self.is_pending(world) {
            self.accept(world, flight, self.scenario.create);
        }
    }

    /// A job ends. `makes`: whether AWS does what it was for.
    pub(crate) fn end(world: &mut World, job: usize, says: Word, makes: bool) {
        let it = &mut world.aws.jobs[job];
        it.word = says;
        let it = *it;
        let Some((uid, _)) = it.by.filter(|_| makes) else {
            return;
        };
        let thing = &mut world.aws.things[usize::from(it.target)];
        if it.operation.is_create() {
            *thing = Some(Thing {
                by: Some(uid),
                adopted: None,
                config: it.config,
                hidden: 0,
                made: 0,
            });
        } else if it.operation.is_delete() {
            *thing = None;
        } else if let Some(thing) = thing {
            thing.config = it.config;
        }
    }

    // ---- several resources ----

    fn key(&self, name: usize) -> ObjectKey {
        let kind = match self.scenario.create {
            Operation::CreateBackendApi => KindName::BackendApi,
            Operation::CreateBackendEnvironment => KindName::BackendEnvironment,
            _ => KindName::AmplifyBackend,
        };
        ObjectKey {
            kind,
            namespace: "default".to_owned(),
            name: name.to_string(),
        }
    }

    /// The index of this process, as its watch, its own writes and its passes in flight have made it.
    fn index(&self, world: &World, process: usize) -> Index {
        let mut index = Index::default();
        let passes = &world.processes[process].passes;
        for (name, kept) in world.names.iter().enumerate() {
            let viewed = passes[name].as_ref().map(|pass| pass.view);
            let Some(object) = kept
                .live
                .filter(|live| viewed.is_none_or(|view| view.uid != live.uid))
                .or(viewed)
            else {
                continue;
            };
            let ledger = object.status.state(self.now).ledger;
            let entry = Indexed {
                uid: object.uid.to_string(),
                created: Timestamp::from_second(object.uid.into()).expect("a time in range"),
                deleting: object.deleting,
                account: ledger.account_id.clone(),
                tenant: None,
                location: Some(Location {
                    environment: Arc::new(Environment {
                        region: "r".to_owned(),
                        app: "d1".to_owned(),
                        name: "dev".to_owned(),
                    }),
                    resource: self
                        .scenario
                        .is_updatable()
                        .then(|| self.scenario.target(name).to_string()),
                    source: None,
                }),
                refers_to: None,
                owns: ledger.origin.is_some() || object.status.job.is_some_and(|job| job.is_open()),
                holds: lifecycle::holds_slot(&ledger, object.suspend, self.settings.job_timeout),
                job: ledger.job.as_ref().and_then(|job| job.id.clone()),
                ready: false,
            };
            index.put(&Arc::new(self.key(name)), entry);
        }
        for (name, pass) in passes.iter().enumerate() {
            if pass.as_ref().is_some_and(|pass| pass.knows.slot == Some(true)) {
                index.take_slot(&self.key(name), self.now);
            }
        }
        index
    }

    fn take_slot(&self, world: &World, process: usize, name: usize) -> bool {
        world.names.len() == 1
            || matches!(
                self.index(world, process).take_slot(&self.key(name), self.now),
                Slot::Held
            )
    }

    // ---- what must hold ----

    /// I1: no new attempt while the outcome of another is unknown.
    fn check_intent(&self, world: &mut World, process: usize, name: usize, state: &State) {
        let view = pass(world, process, name).view;
        let is_again = view.status.job.is_some_and(|job| {
            job.is_open()
                && state
                    .ledger
                    .job
                    .as_ref()
                    .is_some_and(|new| new.attempt == i64::from(job.attempt))
        });
        let is_live = pass(world, process, name).current;
        let unknown = world.aws.jobs.iter().any(|job| job.is_unsettled_create(view.uid))
            || world
                .aws
                .flying
                .iter()
                .any(|flight| flight.uid == view.uid && !flight.wiped);
        if is_live && unknown && !self.scenario.is_too_late() {
            breaks(
                world,
                Broken::CreatedTwice(if is_again {
                    "an intent is written anew after it was sent"
                } else {
                    "an intent while the outcome of another is unknown"
                }),
            );
        }
    }

    fn check_send(&self, world: &mut World, process: usize, name: usize, write: Write) {
        let view = pass(world, process, name).view;
        let live = world.names[name].live;
        if view.suspend {
            breaks(world, Broken::Suspended);
        }
        match write {
            Write::Create => {
                let stored = |object: &Object| object.finalizer && object.status.job.is_some_and(|job| job.is_open());
                if !stored(&view) {
                    breaks(world, Broken::SentWithoutRecord("by what the pass has stored"));
                }
                let Some(live) = live.filter(|live| live.uid == view.uid) else {
                    return breaks(world, Broken::SentWithoutRecord("the resource is gone"));
                };
                let attempt = |object: &Object| object.status.job.map(|job| job.attempt);
                if live.wiped == view.wiped && !(stored(&live) && attempt(&live) == attempt(&view)) {
                    breaks(world, Broken::SentWithoutRecord("by what the API server holds"));
                }
            }
            Write::Update | Write::Delete => {
                let thing = world.aws.things[self.scenario.target(name)];
                if thing.is_some_and(|thing| !thing.is_of(view.uid)) {
                    breaks(world, Broken::TookOthers);
                }
            }
        }
        if world.processes.len() == 1 {
            let held = world.names.iter().enumerate().any(|(other, kept)| {
                other != name
                    && kept.live.is_some_and(|object| {
                        let ledger = object.status.state(self.now).ledger;
                        match lifecycle::holds_slot(&ledger, object.suspend, self.settings.job_timeout) {
                            Holds::Yes => true,
                            // It may have been suspended a moment ago: then AWS's refusal is the truth.
                            holds => holds.at(self.now) && !self.scenario.refuses,
                        }
                    })
            });
            if held {
                breaks(
                    world,
                    Broken::Overlap("a write into an environment that another resource holds"),
                );
            }
        }
    }

    fn check_accept(&self, world: &mut World, flight: Flight, operation: Operation) {
        if world
            .aws
            .jobs
            .iter()
            .any(|job| job.by.is_some() && job.is_alive() && !self.scenario.refuses)
        {
            breaks(world, Broken::Overlap("two jobs of ours at once"));
        }
        if !operation.is_create() {
            return;
        }
        let by_it = |job: &&AwsJob| job.operation.is_create() && job.by.is_some_and(|(uid, _)| uid == flight.uid);
        let mut broken = None;
        for job in world.aws.jobs.iter().filter(by_it) {
            if job.is_alive() {
                broken = Some("while an earlier one runs");
            }
            if job.by == Some((flight.uid, flight.attempt)) && !job.wiped && !flight.wiped {
                broken = Some("the same attempt");
            }
            if job.is_unsettled_create(flight.uid) && !flight.wiped {
                broken = Some("an earlier one is not recorded");
            }
        }
        let thing = world.aws.things[usize::from(flight.target)];
        if thing.is_some_and(|thing| thing.by == Some(flight.uid)) {
            broken = Some("its object exists");
        }
        if self.scenario.same_object && thing.is_some_and(|thing| thing.by.is_some()) {
            broken = Some("another resource of ours made it");
        }
        if let Some(why) = broken {
            breaks(world, Broken::CreatedTwice(why));
        }
    }

    fn check_write(&self, world: &mut World, process: usize, name: usize, old: &Object, new: &Object) {
        let target = self.scenario.target(name);
        if let Some(id) = new.status.job.and_then(|job| job.id) {
            let job = &mut world.aws.jobs[usize::from(id)];
            job.recorded = true;
            let by = job.by.map(|(uid, _)| uid);
            let mut others = world.names.iter().enumerate().filter(|(other, _)| *other != name);
            if others.any(|(_, kept)| kept.live.is_some_and(|other| by == Some(other.uid))) {
                breaks(world, Broken::Untrue("a job of another resource is recorded"));
            }
        }
        if let Some(entry) = new
            .status
            .job
            .filter(|job| !job.operation.has_job() && job.finished.is_some())
        {
            for job in &mut world.aws.jobs {
                // A create without a job is recorded with what it made.
                job.recorded |= job.by == Some((new.uid, entry.attempt)) && new.status.origin.is_some();
            }
        }
        if new.status.origin == Some(Origin::Adopted)
            && old.status.origin.is_none()
            && let Some(thing) = &mut world.aws.things[target]
        {
            thing.adopted = Some(new.uid);
            if self.scenario.adoption == AdoptionPolicy::Never {
                breaks(world, Broken::TookOthers);
            }
        }
        if new.status.observed < old.status.observed {
            breaks(world, Broken::WentBack("observedGeneration"));
        }
        let attempt = |object: &Object| object.status.job.map(|job| job.attempt);
        if attempt(new) < attempt(old) {
            breaks(world, Broken::WentBack("attempt"));
        }
        if old.finalizer && !new.finalizer {
            self.check_release(world, target, new);
        }
        self.check_ready(world, process, name, old, new);
    }

    fn check_release(&self, world: &mut World, target: usize, object: &Object) {
        let retained = match self.scenario.deletion {
            Some(DeletionPolicy::Retain) => true,
            Some(DeletionPolicy::Delete) => false,
            None => object.status.origin == Some(Origin::Adopted),
        };
        if retained {
            return;
        }
        let flies = world
            .aws
            .flying
            .iter()
            .any(|flight| flight.uid == object.uid && !flight.wiped);
        let runs = world.aws.jobs.iter().any(|job| {
            job.operation.is_create()
                && job.is_alive()
                && !job.wiped
                && job.by.is_some_and(|(uid, _)| uid == object.uid)
        });
        let stays = world.aws.things[target]
            .is_some_and(|thing| thing.is_of(object.uid) && (!object.wiped || object.status.origin.is_some()));
        if flies || runs {
            breaks(world, Broken::LeftBehind("a create that is under way"));
        }
        if stays {
            breaks(world, Broken::LeftBehind("the AWS object"));
        }
    }

    fn check_ready(&self, world: &mut World, process: usize, name: usize, old: &Object, new: &Object) {
        let available = |object: &Object| {
            object
                .status
                .says
                .filter(|says| says.ready && says.reason == Reason::Available)
        };
        let Some(says) = available(new) else { return };
        if says.stalled || says.reconciling {
            breaks(world, Broken::Untrue("Ready and not settled"));
        }
        if new.status.origin.is_none() {
            breaks(world, Broken::Untrue("Ready without an origin"));
        }
        let of_a_failed_create = new
            .status
            .job
            .is_some_and(|job| job.operation.is_create() && job.word == Some(Word::Failed));
        if of_a_failed_create && new.status.origin != Some(Origin::Adopted) {
            breaks(world, Broken::Untrue("Ready though its create failed"));
        }
        let knows = knows(world, process, name);
        let look = knows.look;
        let done = knows.reply == Some(Answer::Done);
        let seen = look.and_then(|look| look.seen);
        let was_ready = old.status.says.is_some_and(|says| says.ready);
        if !done
            && !was_ready
            && !seen.is_some_and(|thing| thing.is_of(new.uid) || new.status.origin == Some(Origin::Adopted))
        {
            breaks(world, Broken::Untrue("no look has shown it as its own"));
        }
        if let Some(thing) = seen
            && self.scenario.is_updatable()
            && says.generation == new.generation
            && thing.config != new.config
            && world.budget.drifts == 0
            && new.status.echoed != Some(thing.config)
        {
            breaks(world, Broken::Untrue("AWS has another configuration"));
        }
    }
}

/// Somebody has written the object. Whoever looked at it before has a stale view.
pub(crate) fn changed(world: &mut World, name: usize, by: Option<usize>) {
    for (index, process) in world.processes.iter_mut().enumerate() {
        let is_writer = by == Some(index);
        process.fresh[name] = is_writer;
        if let Some(pass) = &mut process.passes[name] {
            pass.current = is_writer;
        }
    }
    if world.budget.stale > 0 {
        world.names[name].before = world.names[name].live;
    }
}

/// The view was stale: look at the object itself. What was learnt stays only if nothing that decides has changed.
fn refresh(world: &mut World, process: usize, name: usize) {
    let live = world.names[name].live;
    let operator = &mut world.processes[process];
    let Some(pass) = &mut operator.passes[name] else { return };
    let Some(live) = live.filter(|live| live.uid == pass.view.uid) else {
        operator.passes[name] = None;
        return;
    };
    if live != pass.view {
        pass.knows = Knows::default();
        pass.found = false;
    }
    pass.view = live;
    pass.current = true;
    operator.fresh[name] = true;
}

/// The fields in which `new` differs from `old`, put over what is stored.
fn patched(stored: &Status, old: &Status, new: &Status) -> Status {
    fn field<T: Copy + PartialEq>(stored: T, old: T, new: T) -> T {
        if old == new { stored } else { new }
    }
    Status {
        observed: field(stored.observed, old.observed, new.observed),
        // Messages hardly ever stay the same.
        says: new.says,
        origin: field(stored.origin, old.origin, new.origin),
        pinned: field(stored.pinned, old.pinned, new.pinned),
        job: field(stored.job, old.job, new.job),
        handled: field(stored.handled, old.handled, new.handled),
        sent: field(stored.sent, old.sent, new.sent),
        echoed: field(stored.echoed, old.echoed, new.echoed),
    }
}

fn shown(world: &World) -> impl Iterator<Item = Shown> {
    let jobs = world.aws.jobs.iter().enumerate();
    jobs.filter(|(_, job)| !job.vanished && job.hidden == 0 && job.operation.has_job())
        .map(|(id, job)| Shown {
            id: u8::try_from(id).expect("few jobs"),
            operation: job.operation,
            word: job.word,
        })
}

fn pass(world: &mut World, process: usize, name: usize) -> &mut Pass {
    world.processes[process].passes[name]
        .as_mut()
        .expect("a pass in flight")
}

fn knows(world: &mut World, process: usize, name: usize) -> &mut Knows {
    &mut pass(world, process, name).knows
}

pub(crate) fn breaks(world: &mut World, broken: Broken) {
    world.broken.get_or_insert(broken);
}

fn failure(class: Class, sent: Sent) -> Failure {
    Failure {
        class,
        sent,
        message: "it says so".to_owned(),
    }
}

/// An object that somebody else made.
pub(crate) const fn rival(made: Seconds) -> Thing {
    Thing {
        by: None,
        adopted: None,
        config: 9,
        hidden: 0,
        made,
    }
}

/// What somebody else made long ago.
pub(crate) const fn old_rival() -> Thing {
    rival(LONG_AGO)
}
