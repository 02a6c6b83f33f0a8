//! All events by which the world can go on, and the properties that must hold in all states.

use std::{num::NonZero, time::Instant};

use amplify_operator::{
    api::conditions::Reason,
    lifecycle::{Sending, Step, Write},
};
use libtest_mimic::Failed;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    aws,
    exploration::{Earlier, Exploration, Start},
    quiet,
    stage::{How, Stage},
    tally::{self, Found},
    world::{
        Aws, AwsJob, Broken, Budget, LONG_AGO, Name, Object, Old, Pass, Process, Status, TICK, Thing, Word, World,
    },
};

/// The next event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Event {
    /// A process begins a pass, with the newest version or the one before.
    Begin {
        process: usize,
        name: usize,
        stale: bool,
    },
    /// The pass makes its next step, with this outcome.
    Step {
        process: usize,
        name: usize,
        how: How,
    },
    /// The process dies, and a new one replaces it.
    Crash {
        process: usize,
    },
    /// Time passes.
    Tick,
    /// A list of several pages begins (`Lists`), or delivers an object as it was at its beginning (`Shows`).
    Lists {
        process: usize,
        name: usize,
    },
    Shows {
        process: usize,
        name: usize,
    },
    /// A write that was on its way arrives at AWS.
    Arrives(usize),
    /// A job ends, or shows an unknown word.
    Ends {
        job: usize,
        word: Word,
        does: bool,
        late: bool,
    },
    /// Reads show the object while its job runs.
    Appears(usize),
    /// AWS no longer shows the job.
    Vanishes(usize),
    /// Another client starts a job: this one of the scenario's operations.
    Foreign(usize),
    /// Another client creates the object.
    Rival(usize),
    /// Another client deletes the AWS object.
    Gone(usize),
    /// Another client changes the AWS object.
    Drifts(usize),
    /// The spec is edited: this is its new configuration.
    Edit(usize, u8),
    Delete(usize),
    /// The finalizer of another controller is removed.
    LetGo(usize),
    Recreate(usize),
    Suspend(usize),
    Observe(usize),
    Request(usize),
    /// The environment is locked for a Gen 2 migration, or unlocked.
    Lock,
    Ignore(usize),
    Wipe(usize),
    Touch(usize),
}

impl Exploration {
    /// Explores all states, and reports the result.
    pub(crate) fn explore(mut self, proves: &'static str) -> Result<(), Failed> {
        // One thread visits the states in the same order each time, and several explorations run at a time.
        let mut threads = 1;
        if std::env::var_os("EXPLORE_MORE").is_some() {
            self.budget = self.budget.more();
            threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        }
        let bound = self.bound();
        let begin = Instant::now();
        let checker = self
            .checker()
            .threads(threads)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        // If several properties are broken in a block of states, report the one with the shortest path.
        let broken = checker
            .discoveries()
            .into_iter()
            .min_by_key(|(property, path)| (path.clone().into_actions().len(), *property));
        tally::add(Found {
            proves,
            bound,
            states: checker.unique_state_count(),
            transitions: checker.state_count(),
            depth: checker.max_depth(),
            settled: checker.model().settles.lock().len(),
            took: begin.elapsed(),
            holds: broken.is_none(),
        });
        let Some((property, path)) = broken else {
            return Ok(());
        };
        let last = path.last_state().clone();
        let quiet = quiet::settles(checker.model(), &last).err().unwrap_or_default();
        let events: Vec<_> = path
            .into_vec()
            .into_iter()
            .filter_map(|(world, event)| Some(format!("  {}", checker.model().tell(&world, event?))))
            .collect();
        let told = format!(
            "{property}: it does not hold, as {} states show; after\n{}\n{:?}\n{quiet}\n{last:?}",
            checker.unique_state_count(),
            events.join("\n"),
            last.broken
        );
        println!("---- {proves} ----\n{told}\n");
        Err(Failed::from(told))
    }

    /// Describes the event, with its step.
    fn tell(&self, world: &World, event: Event) -> String {
        let Event::Step { process, name, how } = event else {
            return format!("{event:?}");
        };
        let step = self.stage().ahead(world, process, name);
        let step = step.map_or_else(String::new, |decided| format!("{:?}", decided.step));
        let what = step.split(['(', ' ']).next().unwrap_or_default();
        let write = step.strip_prefix("Send").unwrap_or_default();
        let says = world.names[name]
            .live
            .and_then(|live| live.status.says)
            .map(|says| says.reason);
        format!("process {process}, name {name}: {what}{write} {how:?}; it said {says:?}")
    }

    /// Returns the limits of the exploration as text.
    fn bound(&self) -> String {
        let budget = format!("{:?}", self.budget);
        let things = budget
            .trim_start_matches("Budget { ")
            .trim_end_matches(" }")
            .split(", ");
        let things: Vec<_> = things.filter(|thing| !thing.ends_with(": 0")).collect();
        format!(
            "resources: {}, operators: {}, seconds of a pass: {}, writes: {}; {}",
            self.names,
            self.processes,
            self.longest_pass,
            self.attempts,
            things.join(", ")
        )
    }

    fn stage(&self) -> Stage<'_> {
        Stage::explored(&self.scenario, &self.decided)
    }

    /// Adds the possible outcomes of the next step of this pass.
    fn ways(&self, world: &World, process: usize, name: usize, ways: &mut Vec<How>) {
        let stage = self.stage();
        let budget = &world.budget;
        ways.push(How::Well);
        if budget.reads + budget.lost + budget.late + budget.refusals == 0 {
            return;
        }
        match stage.ahead(world, process, name).as_ref().map(|decided| &decided.step) {
            Some(Step::Look(_) | Step::ListJobs(_) | Step::Poll | Step::ReadLock(_)) if budget.reads > 0 => {
                ways.push(How::Fails);
            }
            Some(Step::Send(write)) => self.ways_of_sending(world, process, name, *write, ways),
            _ => {}
        }
    }

    fn ways_of_sending(&self, world: &World, process: usize, name: usize, write: Write, ways: &mut Vec<How>) {
        let lag = world.processes[process].passes[name]
            .as_ref()
            .map_or(0, |pass| pass.lag);
        if write != Write::Create && lag > 0 {
            // The write is not sent.
            return;
        }
        let budget = &world.budget;
        let taken = !self.stage().is_pending(world);
        let has_job = self.scenario.create.has_job();
        if budget.lost > 0 {
            ways.push(How::RequestLost);
            if taken {
                ways.push(How::ReplyLost);
            }
            // A request that AWS does not show yet has its only trace in the status, which may be wiped. A request that
            // AWS shows too late has no trace.
            let traceless = self.budget.wipes > 0 || self.scenario.is_too_late();
            // Without an intent, a second operator does not see the request.
            let unseen = write != Write::Create && self.processes > 1;
            if !traceless && !unseen {
                ways.push(How::Flies);
            }
        }
        // If AWS shows a job later than the operator waits, only a create is safe, because it has an intent.
        let too_late = write != Write::Create && self.scenario.is_too_late();
        if budget.late > 0 && taken && has_job && !too_late {
            ways.push(How::Late);
            if budget.lost > 0 {
                ways.push(How::ReplyLostLate);
            }
        }
        if budget.refusals > 0 {
            ways.extend([How::BadRequest, How::Never]);
            if write == Write::Create {
                ways.push(How::NotFound);
            }
            if taken && has_job {
                ways.extend([How::FailsAtOnce, How::Nameless]);
            }
        }
    }

    fn job_events(&self, world: &World, index: usize, job: &AwsJob, events: &mut Vec<Event>) {
        let budget = &world.budget;
        let mut ends = |word, does, late| {
            events.push(Event::Ends {
                job: index,
                word,
                does,
                late,
            });
        };
        let runs_on = self.scenario.is_too_late() && job.hidden > 0;
        let thing = world.aws.things[usize::from(job.target)];
        let creates = job.operation.is_create();
        let is_ours_create = job.by.is_some() && creates;
        if job.is_alive() && !runs_on && !is_between_reads(world) {
            let in_the_way = creates && thing.is_some_and(|thing| job.by.is_none_or(|(uid, _)| thing.by != Some(uid)));
            let swaps = job.by.is_none() && job.operation.is_update() && !self.may_change(world, job.target.into());
            if in_the_way {
                ends(Word::Failed, false, false);
            } else if !swaps {
                ends(Word::Completed, true, false);
            }
            // F3: another client's job that fails while a create of ours is on its way is taken for the end of ours.
            let lists = |pass: &Pass| pass.known.jobs.is_some() || pass.known.sending == Sending::Intended;
            let mut passes = world
                .processes
                .iter()
                .flat_map(|process| process.passes.iter().flatten());
            let mut lives = world.names.iter().filter_map(|name| name.live?.status.job);
            let is_doubtful = job.recorded || passes.any(lists) || lives.any(|job| job.is_open());
            if creates && job.by.is_none() && !in_the_way && !is_doubtful {
                ends(Word::Failed, false, false);
            }
            if budget.late > 0 && is_ours_create && !in_the_way {
                ends(Word::Completed, true, true);
            }
            if budget.fails > 0 && job.by.is_some() && !in_the_way {
                ends(Word::Failed, false, false);
                if !creates || thing.is_none() {
                    ends(Word::Failed, true, false);
                }
            }
            if budget.odd > 0 && job.word == Word::Running {
                ends(Word::Odd, false, false);
            }
            if self.scenario.early && is_ours_create && thing.is_none() {
                events.push(Event::Appears(index));
            }
        }
        // One fault at a time: AWS does not forget a job whose object it hides.
        let hides = thing.is_some_and(|thing| thing.hidden > 0);
        if budget.vanishes > 0 && !job.vanished && job.by.is_some() && !hides {
            events.push(Event::Vanishes(index));
        }
    }

    fn user_events(world: &World, name: usize, events: &mut Vec<Event>) {
        let budget = &world.budget;
        let Some(object) = world.names[name].live else {
            if budget.recreates > 0 {
                events.push(Event::Recreate(name));
            }
            return;
        };
        let edits = budget.edits > 0 && !object.deleting;
        let table = [
            (edits, Event::Edit(name, object.config + 1)),
            (edits && object.config > 1, Event::Edit(name, 1)),
            (budget.deletes > 0 && !object.deleting, Event::Delete(name)),
            (object.held && object.deleting, Event::LetGo(name)),
            (budget.suspends > 0, Event::Suspend(name)),
            (budget.observes > 0, Event::Observe(name)),
            (budget.requests > 0, Event::Request(name)),
            (budget.ignores > 0, Event::Ignore(name)),
            (budget.wipes > 0 && object.status != Status::EMPTY, Event::Wipe(name)),
            (budget.touches > 0, Event::Touch(name)),
        ];
        events.extend(table.into_iter().filter(|(may, _)| *may).map(|(_, event)| event));
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each way in which the world goes on")]
    fn take(&self, world: &mut World, event: Event) {
        let mut stage = self.stage();
        match event {
            Event::Begin { process, name, stale } => {
                stage.begin(world, process, name, stale);
                if stale {
                    world.budget.stale -= 1;
                }
            }
            Event::Step { process, name, how } => {
                spend(&mut world.budget, how);
                stage.perform(world, process, name, how);
            }
            Event::Crash { process } => {
                world.budget.crashes -= 1;
                stage.crash(world, process);
            }
            Event::Tick => world.age(TICK, stage.clocks()),
            Event::Lists { process, name } => {
                world.budget.relists -= 1;
                let shows = world.names[name].live.map(|object| Old { object, lag: 0 });
                world.processes[process].listing[name] = shows;
            }
            Event::Shows { process, name } => {
                if let Some(old) = world.processes[process].listing[name].take() {
                    stage.put(world, process, name, old);
                }
            }
            Event::Arrives(flight) => stage.arrive(world, flight),
            Event::Ends { job, word, does, late } => {
                let it = world.aws.jobs[job];
                stage.end(world, job, word, does);
                let budget = &mut world.budget;
                match word {
                    // A failure because of another object is not a fault of the job, so it does not count.
                    Word::Failed if it.by.is_some() && !world.aws.jobs[job].existed => budget.fails -= 1,
                    Word::Odd => budget.odd -= 1,
                    _ => {}
                }
                if late {
                    budget.late -= 1;
                    if let Some(thing) = &mut world.aws.things[usize::from(it.target)] {
                        thing.hidden = TICK;
                    }
                }
            }
            Event::Appears(job) => {
                let before = world.aws.jobs[job].word;
                stage.end(world, job, before, true);
            }
            Event::Vanishes(job) => {
                world.budget.vanishes -= 1;
                world.aws.jobs[job].vanished = true;
            }
            Event::Foreign(which) => {
                world.budget.foreign -= 1;
                let operation = self.scenario.foreign[which];
                let job = AwsJob::foreign(operation, Word::Running, self.scenario.created(world));
                world.aws.jobs.push(job);
            }
            Event::Rival(target) => {
                world.budget.rivals -= 1;
                world.aws.things[target] = Some(aws::rival(if self.scenario.create.has_job() { LONG_AGO } else { 0 }));
            }
            Event::Gone(target) => {
                world.budget.gone -= 1;
                world.aws.things[target] = None;
                for job in &mut world.aws.jobs {
                    // Without jobs, the object was the only trace of its create.
                    job.recorded |= !job.operation.has_job();
                }
            }
            Event::Drifts(target) => {
                world.budget.drifts -= 1;
                if let Some(thing) = &mut world.aws.things[target] {
                    thing.config = aws::CHANGED;
                    thing.meddled = true;
                }
            }
            Event::Lock => {
                world.budget.locks -= 1;
                world.aws.locked = if world.aws.locked.is_some() { None } else { Some(0) };
            }
            event => Self::user(&mut stage, world, event),
        }
    }

    /// Carries out an action of the user.
    fn user(stage: &mut Stage<'_>, world: &mut World, event: Event) {
        let (Event::Edit(name, _)
        | Event::Delete(name)
        | Event::LetGo(name)
        | Event::Recreate(name)
        | Event::Suspend(name)
        | Event::Observe(name)
        | Event::Request(name)
        | Event::Ignore(name)
        | Event::Wipe(name)
        | Event::Touch(name)) = event
        else {
            return;
        };
        let budget = &mut world.budget;
        let object = match event {
            Event::Recreate(_) => {
                budget.recreates -= 1;
                world.next_uid += 1;
                Some(Object::applied(world.next_uid - 1))
            }
            _ => world.names[name].live,
        };
        let Some(mut object) = object else { return };
        match event {
            Event::Edit(_, config) => {
                budget.edits -= 1;
                object.generation += 1;
                object.config = config;
            }
            Event::Delete(_) => {
                budget.deletes -= 1;
                object.generation += 1;
                object.deleting = true;
            }
            Event::LetGo(_) => object.held = false,
            Event::Suspend(_) => {
                budget.suspends -= 1;
                object.generation += 1;
                object.suspend = !object.suspend;
            }
            Event::Observe(_) => {
                budget.observes -= 1;
                object.generation += 1;
                object.observe = !object.observe;
            }
            Event::Request(_) => {
                budget.requests -= 1;
                object.request += 1;
            }
            Event::Ignore(_) => {
                budget.ignores -= 1;
                object.ignores = !object.ignores;
            }
            Event::Wipe(_) => {
                budget.wipes -= 1;
                object.status = Status::EMPTY;
                object.wiped = true;
                for job in &mut world.aws.jobs {
                    job.untold |= job.by.is_some_and(|(uid, _)| uid == object.uid);
                }
                for flight in &mut world.aws.flying {
                    flight.wiped |= flight.uid == object.uid;
                }
            }
            Event::Touch(_) => budget.touches -= 1,
            _ => {}
        }
        stage.changed(world, name, Some(object), None);
    }
}

/// Whether no resource has a claim to the object. AWS's names carry no identity. So another client's object cannot be
/// distinguished from an object that a resource owns, or from one that an unrecorded create of ours has made or failed
/// to make.
fn is_nobodys(world: &World) -> bool {
    let kept = world.names.iter().flat_map(|name| name.live.iter().chain(&name.before));
    let passes = world
        .processes
        .iter()
        .flat_map(|process| process.passes.iter().flatten());
    let mut objects = kept.chain(passes.map(|pass| &pass.view));
    // A resource that has reported NotFound can distinguish them.
    let has_seen_it_go = |object: &Object| object.status.says.is_some_and(|says| says.reason == Reason::NotFound);
    objects.all(|object| object.status.origin.is_none() || has_seen_it_go(object))
        && !world.aws.jobs.iter().any(|job| {
            job.by.is_some_and(|(uid, _)| {
                // F2: a resource whose object is gone is released, although an unrecorded delete of it may still run.
                job.is_unsettled_create(uid) && !job.is_alive() || !job.operation.is_create() && job.is_alive()
            })
        })
}

/// Whether a pass with a wiped ledger has looked, but not listed yet. Neither read shows a job that ends between them.
/// With the ledger, the intent or the id of that job would be known.
fn is_between_reads(world: &World) -> bool {
    let mut passes = world
        .processes
        .iter()
        .flat_map(|process| process.passes.iter().flatten());
    passes.any(|pass| pass.view.wiped && pass.known.look.is_some() && pass.known.jobs.is_none())
}

fn spend(budget: &mut Budget, how: How) {
    match how {
        How::Well => {}
        How::Fails => budget.reads -= 1,
        How::Late => budget.late -= 1,
        How::ReplyLost | How::RequestLost | How::Flies => budget.lost -= 1,
        How::ReplyLostLate => {
            budget.lost -= 1;
            budget.late -= 1;
        }
        How::BadRequest | How::NotFound | How::Never | How::FailsAtOnce | How::Nameless => budget.refusals -= 1,
    }
}

impl Model for Exploration {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let create = self.scenario.create;
        let mut jobs = Vec::new();
        match self.earlier {
            Earlier::Nothing => {}
            Earlier::Timed => jobs.push(AwsJob::foreign(create, Word::Completed, Some(LONG_AGO))),
            Earlier::Untimed => jobs.push(AwsJob::foreign(create, Word::Completed, None)),
        }
        let mut things = vec![self.thing; self.names];
        let mut names = Vec::new();
        for name in 0..self.names {
            let uid = u8::try_from(name).expect("few names");
            let mut object = match self.start {
                Start::GivenUp if name == 0 => {
                    let grace = self.scenario.settings.outcome_grace.as_secs();
                    Object::given_up(uid, create, grace.try_into().expect("a short grace"))
                }
                Start::Ready if name == 0 || !self.scenario.same_object => {
                    let id = u8::try_from(jobs.len()).expect("few jobs");
                    jobs.push(AwsJob {
                        target: u8::try_from(self.scenario.target(name)).expect("few names"),
                        by: Some((uid, 1)),
                        recorded: true,
                        config: 1,
                        ..AwsJob::foreign(create, Word::Completed, self.scenario.timed.then_some(LONG_AGO))
                    });
                    things[self.scenario.target(name)] = Some(Thing {
                        by: Some(uid),
                        config: 1,
                        ..aws::old_rival()
                    });
                    Object::ready(uid, create, id)
                }
                _ => Object::applied(uid),
            };
            object.held = self.held && name == 0;
            names.push(Name {
                live: Some(object),
                before: None,
            });
        }
        vec![World {
            names,
            aws: Aws {
                things,
                jobs,
                flying: Vec::new(),
                locked: None,
            },
            processes: vec![Process::idle(self.names); self.processes],
            budget: self.budget,
            next_uid: u8::try_from(self.names).expect("few names"),
            broken: None,
        }]
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each way in which the world goes on")]
    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.broken.is_some() {
            return;
        }
        let budget = &world.budget;
        let mut ways = Vec::new();
        for (process, operator) in world.processes.iter().enumerate() {
            for (name, kept) in world.names.iter().enumerate() {
                if operator.passes[name].is_some() {
                    ways.clear();
                    self.ways(world, process, name, &mut ways);
                    events.extend(ways.iter().map(|how| Event::Step {
                        process,
                        name,
                        how: *how,
                    }));
                } else {
                    let begin = |stale| Event::Begin { process, name, stale };
                    if kept.live.is_some() {
                        events.push(begin(false));
                    }
                    if budget.stale > 0 && kept.before.is_some() && !operator.fresh[name] {
                        events.push(begin(true));
                    }
                }
            }
            for (name, kept) in world.names.iter().enumerate() {
                if budget.relists > 0 && kept.live.is_some() {
                    events.push(Event::Lists { process, name });
                }
                if operator.listing[name].is_some() {
                    events.push(Event::Shows { process, name });
                }
            }
            if budget.crashes > 0 && operator.passes.iter().any(Option::is_some) {
                events.push(Event::Crash { process });
            }
        }
        let patient = |pass: &crate::world::Pass| pass.age + TICK <= self.longest_pass;
        let mut passes = world
            .processes
            .iter()
            .flat_map(|process| process.passes.iter().flatten());
        if passes.all(patient) && world.aws.flying.iter().all(|flight| flight.left > 0) {
            events.push(Event::Tick);
        }
        if budget.locks > 0 {
            events.push(Event::Lock);
        }
        events.extend((0..world.aws.flying.len()).map(Event::Arrives));
        for (index, job) in world.aws.jobs.iter().enumerate() {
            self.job_events(world, index, job, events);
        }
        let is_free = !self.scenario.refuses || !world.aws.jobs.iter().any(AwsJob::is_alive);
        if budget.foreign > 0 && is_free {
            for (which, operation) in self.scenario.foreign.iter().enumerate() {
                let thing = world.aws.things[0];
                if !operation.is_create() || thing.is_none() && is_nobodys(world) {
                    events.push(Event::Foreign(which));
                }
            }
        }
        for (target, thing) in world.aws.things.iter().enumerate() {
            let table = [
                (
                    budget.rivals > 0 && thing.is_none() && is_nobodys(world),
                    Event::Rival(target),
                ),
                (budget.gone > 0 && thing.is_some(), Event::Gone(target)),
                (
                    budget.drifts > 0 && thing.is_some() && self.may_change(world, target),
                    Event::Drifts(target),
                ),
            ];
            events.extend(table.into_iter().filter(|(may, _)| *may).map(|(_, event)| event));
        }
        for name in 0..world.names.len() {
            Self::user_events(world, name, events);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        self.take(&mut next, event);
        if next.budget.stale == 0 && world.budget.stale > 0 {
            for name in &mut next.names {
                name.before = None;
            }
        }
        Some(next)
    }

    fn within_boundary(&self, world: &World) -> bool {
        let mut jobs = world.names.iter().filter_map(|name| name.live?.status.job);
        jobs.all(|job| job.attempt <= self.attempts)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1: nothing is created twice", |_, world: &World| {
                !matches!(world.broken, Some(Broken::CreatedTwice(_)))
            }),
            Property::always(
                "I2: no create is sent before finalizer and intent are stored",
                |_, world: &World| !matches!(world.broken, Some(Broken::SentWithoutRecord(_))),
            ),
            Property::always(
                "I3: nothing is taken, changed or deleted that belongs to others",
                |_, world: &World| !matches!(world.broken, Some(Broken::TookOthers(_))),
            ),
            Property::always(
                "I4: when faults stop, everything settles",
                |model: &Self, world: &World| {
                    let busy = world
                        .processes
                        .iter()
                        .any(|process| process.passes.iter().any(Option::is_some));
                    world.broken.is_some() || busy || quiet::settles(model, world).is_ok()
                },
            ),
            Property::always(
                "I5: observedGeneration and attempt never go back",
                |_, world: &World| !matches!(world.broken, Some(Broken::WentBack(_))),
            ),
            Property::always("I6: with the finalizer the AWS object goes", |_, world: &World| {
                !matches!(world.broken, Some(Broken::LeftBehind(_)))
            }),
            Property::always("I7: no two jobs of ours overlap", |_, world: &World| {
                !matches!(world.broken, Some(Broken::Overlap(_)))
            }),
            Property::always("the status is true", |_, world: &World| {
                !matches!(world.broken, Some(Broken::Untrue(_)))
            }),
            Property::always("nothing is sent for what is suspended", |_, world: &World| {
                world.broken != Some(Broken::Suspended)
            }),
            Property::always("nothing is sent for what is observed", |_, world: &World| {
                world.broken != Some(Broken::Observed)
            }),
            Property::always(
                "I8: nothing is sent to an environment that is locked",
                |_, world: &World| !matches!(world.broken, Some(Broken::Locked(_))),
            ),
            Property::always("every pass ends", |_, world: &World| {
                world.broken != Some(Broken::Endless)
            }),
        ]
    }
}
