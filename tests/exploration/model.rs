//! Every way in which the world can go on, and what must hold in all of them.

use std::{collections::HashSet, num::NonZero, sync::Mutex, time::Instant};

use amplify_operator::lifecycle::{Step, Write};
use libtest_mimic::Failed;
use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    quiet,
    shell::{self, How, Scenario, Stage, Went, breaks, changed},
    tally::{self, Found},
    world::{Aws, AwsJob, Broken, Budget, Name, Object, Process, Seconds, Status, TICK, Thing, Word, World},
};

/// A pass is a bug if it makes more steps.
const STEPS: usize = 40;

/// What can happen next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Event {
    /// A process begins a pass, with the newest version or the one before.
    Begin {
        process: usize,
        name: usize,
        stale: bool,
    },
    /// The pass makes its next step.
    Step {
        process: usize,
        name: usize,
        how: How,
    },
    /// The process dies, and another takes its place.
    Crash {
        process: usize,
    },
    /// Time passes.
    Tick,
    /// A create that was on its way arrives at AWS.
    Arrives(usize),
    /// A job ends, or says something odd.
    Ends {
        job: usize,
        word: Word,
        makes: bool,
        late: bool,
    },
    /// The object shows while its job runs.
    Appears(usize),
    /// AWS no longer knows the job.
    Vanishes(usize),
    /// Somebody else starts a job.
    Foreign,
    /// Somebody else makes the object.
    Rival(usize),
    /// Somebody deletes the AWS object.
    Gone(usize),
    /// Somebody changes the AWS object.
    Drifts(usize),
    Edit(usize),
    Delete(usize),
    Recreate(usize),
    Suspend(usize),
    Request(usize),
    Wipe(usize),
    Touch(usize),
}

/// A scenario, and how far it is explored.
pub(crate) struct Exploration {
    pub(crate) scenario: Scenario,
    pub(crate) names: usize,
    pub(crate) processes: usize,
    pub(crate) budget: Budget,
    /// A pass lasts no longer: each request ends in time, and a process that is frozen for longer is promised nothing.
    pub(crate) longest_pass: Seconds,
    /// So many writes are sent at the most: one that AWS refuses can be tried without end.
    pub(crate) attempts: u8,
    /// An AWS object that is there from the start.
    pub(crate) thing: Option<Thing>,
    /// Whether the first resource was suspended after a create whose outcome never became known.
    pub(crate) given_up: bool,
    /// A job of somebody else, of the create operation, that ended before the start.
    pub(crate) earlier: bool,
    /// Situations from which everything settles.
    pub(crate) settles: Mutex<HashSet<u64>>,
}

impl Exploration {
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            names: 1,
            processes: 1,
            budget: Budget::default(),
            longest_pass: 0,
            attempts: 4,
            thing: None,
            given_up: false,
            earlier: true,
            settles: Mutex::default(),
        }
    }

    /// The same, changed.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Explores all of it, and says what was found.
    pub(crate) fn explore(mut self, proves: &'static str) -> Result<(), Failed> {
        // Several explorations run at a time; and one thread visits the states in the same order each time.
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
        let broken = checker.discoveries().into_iter().next();
        tally::add(Found {
            proves,
            bound,
            states: checker.unique_state_count(),
            transitions: checker.state_count(),
            depth: checker.max_depth(),
            settled: checker.model().settles.lock().map_or(0, |settles| settles.len()),
            took: begin.elapsed(),
            holds: broken.is_none(),
        });
        let Some((property, path)) = broken else {
            return Ok(());
        };
        let last = path.last_state().clone();
        let quiet = quiet::settles(checker.model(), &last).err().unwrap_or_default();
        let events: Vec<_> = path
            .into_actions()
            .into_iter()
            .map(|event| format!("  {event:?}"))
            .collect();
        Err(Failed::from(format!(
            "{property}: it does not hold, as {} states show; after\n{}\n{:?}\n{quiet}\n{last:?}",
            checker.unique_state_count(),
            events.join("\n"),
            last.broken
        )))
    }

    /// How far it is explored.
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
        Stage::explored(&self.scenario)
    }

    /// How the next step of this pass can go.
    fn ways(&self, world: &World, process: usize, name: usize, ways: &mut Vec<How>) {
        let stage = self.stage();
        let budget = &world.budget;
        ways.push(How::Well);
        if budget.reads + budget.lost + budget.late + budget.refusals == 0 {
            return;
        }
        match stage.decide(world, process, name) {
            Some(Step::Look(_) | Step::ListJobs(_) | Step::Poll) if budget.reads > 0 => ways.push(How::Fails),
            Some(Step::Send(write)) => {
                let taken = !stage.is_pending(world);
                let has_job = self.scenario.create.has_job();
                if budget.lost > 0 {
                    ways.push(How::RequestLost);
                    if taken {
                        ways.push(How::ReplyLost);
                    }
                    // Of a request that AWS does not show yet, the status is the only trace; what AWS shows too late has none.
                    let traceless = self.budget.wipes > 0 || self.scenario.is_too_late();
                    if write == Write::Create && !traceless {
                        ways.push(How::Flies);
                    }
                }
                if budget.late > 0 && taken && has_job {
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
                        ways.push(How::FailsAtOnce);
                    }
                }
            }
            _ => {}
        }
    }

    fn job_events(&self, world: &World, index: usize, job: &AwsJob, events: &mut Vec<Event>) {
        let budget = &world.budget;
        let mut ends = |word, makes, late| {
            events.push(Event::Ends {
                job: index,
                word,
                makes,
                late,
            });
        };
        let runs_on = self.scenario.is_too_late() && job.hidden > 0;
        if job.is_alive() && !runs_on && !is_between_reads(world) {
            ends(Word::Completed, true, false);
            let is_ours_create = job.by.is_some() && job.operation.is_create();
            if budget.late > 0 && is_ours_create {
                ends(Word::Completed, true, true);
            }
            if budget.fails > 0 && job.by.is_some() {
                ends(Word::Failed, false, false);
                if !job.operation.is_create() || world.aws.things[usize::from(job.target)].is_none() {
                    ends(Word::Failed, true, false);
                }
            }
            if budget.odd > 0 && job.word == Word::Running {
                ends(Word::Odd, false, false);
            }
            if self.scenario.early && is_ours_create && world.aws.things[usize::from(job.target)].is_none() {
                events.push(Event::Appears(index));
            }
        }
        // One lie at a time: what AWS forgets has left nothing that AWS hides.
        let hides = world.aws.things[usize::from(job.target)].is_some_and(|thing| thing.hidden > 0);
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
        let table = [
            (budget.edits > 0 && !object.deleting, Event::Edit(name)),
            (budget.deletes > 0 && !object.deleting, Event::Delete(name)),
            (budget.suspends > 0, Event::Suspend(name)),
            (budget.requests > 0, Event::Request(name)),
            (budget.wipes > 0 && object.status != Status::EMPTY, Event::Wipe(name)),
            (budget.touches > 0, Event::Touch(name)),
        ];
        events.extend(table.into_iter().filter(|(may, _)| *may).map(|(_, event)| event));
    }

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
                world.processes[process] = idle(world.names.len());
            }
            Event::Tick => world.age(TICK),
            Event::Arrives(flight) => stage.arrive(world, flight),
            Event::Ends { job, word, makes, late } => {
                let budget = &mut world.budget;
                match word {
                    Word::Failed => budget.fails -= 1,
                    Word::Odd => budget.odd -= 1,
                    _ => {}
                }
                Stage::end(world, job, word, makes);
                if late {
                    world.budget.late -= 1;
                    if let Some(thing) = &mut world.aws.things[usize::from(world.aws.jobs[job].target)] {
                        thing.hidden = TICK;
                    }
                }
            }
            Event::Appears(job) => {
                let before = world.aws.jobs[job].word;
                Stage::end(world, job, before, true);
            }
            Event::Vanishes(job) => {
                world.budget.vanishes -= 1;
                world.aws.jobs[job].vanished = true;
            }
            Event::Foreign => {
                world.budget.foreign -= 1;
                world.aws.jobs.push(foreign(self.scenario.foreign, Word::Running));
            }
            Event::Rival(target) => {
                world.budget.rivals -= 1;
                world.aws.things[target] = Some(shell::rival(crate::world::LONG_AGO));
            }
            Event::Gone(target) => {
                world.budget.gone -= 1;
                world.aws.things[target] = None;
                for job in &mut world.aws.jobs {
                    // Without jobs, the object was the only trace of its making.
                    job.recorded |= !job.operation.has_job();
                }
            }
            Event::Drifts(target) => {
                world.budget.drifts -= 1;
                if let Some(thing) = &mut world.aws.things[target] {
                    thing.config = 8;
                }
            }
            event => Self::user(world, event),
        }
    }

    /// What the user does.
    fn user(world: &mut World, event: Event) {
        let (Event::Edit(name)
        | Event::Delete(name)
        | Event::Recreate(name)
        | Event::Suspend(name)
        | Event::Request(name)
        | Event::Wipe(name)
        | Event::Touch(name)) = event
        else {
            return;
        };
        changed(world, name, None);
        let budget = &mut world.budget;
        if event == Event::Recreate(name) {
            budget.recreates -= 1;
            world.names[name].live = Some(Object::applied(world.next_uid));
            world.next_uid += 1;
            return;
        }
        let Some(mut object) = world.names[name].live else {
            return;
        };
        match event {
            Event::Edit(_) => {
                budget.edits -= 1;
                object.generation += 1;
                object.config += 1;
            }
            Event::Delete(_) => {
                budget.deletes -= 1;
                object.generation += 1;
                object.deleting = true;
            }
            Event::Suspend(_) => {
                budget.suspends -= 1;
                object.generation += 1;
                object.suspend = !object.suspend;
            }
            Event::Request(_) => {
                budget.requests -= 1;
                object.request += 1;
            }
            Event::Wipe(_) => {
                budget.wipes -= 1;
                object.status = Status::EMPTY;
                object.wiped = true;
                for job in &mut world.aws.jobs {
                    job.wiped |= job.by.is_some_and(|(uid, _)| uid == object.uid);
                }
                for flight in &mut world.aws.flying {
                    flight.wiped |= flight.uid == object.uid;
                }
            }
            _ => budget.touches -= 1,
        }
        let is_gone = object.deleting && !object.finalizer;
        world.names[name].live = Some(object).filter(|_| !is_gone);
    }
}

/// Whether no resource has a claim to the object. AWS's names carry no identity: what somebody else puts in the place of
/// an object that is owned cannot be told from it.
fn is_nobodys(world: &World) -> bool {
    let kept = world.names.iter().flat_map(|name| name.live.iter().chain(&name.before));
    let passes = world
        .processes
        .iter()
        .flat_map(|process| process.passes.iter().flatten());
    let mut objects = kept.chain(passes.map(|pass| &pass.view));
    objects.all(|object| object.status.origin.is_none())
        && !world
            .aws
            .jobs
            .iter()
            .any(|job| job.by.is_some_and(|(uid, _)| job.is_unsettled_create(uid)))
}

/// Whether a pass whose ledger was wiped has looked, and not listed yet. A job that ends just then is seen by neither.
/// With the ledger, the intent or the id of that job would be known.
fn is_between_reads(world: &World) -> bool {
    let mut passes = world
        .processes
        .iter()
        .flat_map(|process| process.passes.iter().flatten());
    passes.any(|pass| pass.view.wiped && pass.knows.look.is_some() && pass.knows.jobs.is_none())
}

fn idle(names: usize) -> Process {
    Process {
        passes: vec![None; names],
        memory: vec![None; names],
        fresh: vec![false; names],
    }
}

const fn foreign(operation: amplify_operator::api::Operation, word: Word) -> AwsJob {
    AwsJob {
        operation,
        target: 0,
        by: None,
        word,
        vanished: false,
        hidden: 0,
        recorded: false,
        wiped: false,
        config: 0,
    }
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
        How::BadRequest | How::NotFound | How::Never | How::FailsAtOnce => budget.refusals -= 1,
    }
}

impl Model for Exploration {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        let names = (0..self.names).map(|name| {
            let uid = u8::try_from(name).expect("few names");
            let object = if self.given_up && name == 0 {
                Object::given_up(uid, self.scenario.create)
            } else {
                Object::applied(uid)
            };
            Name {
                live: Some(object),
                before: None,
            }
        });
        let earlier = self.earlier.then(|| foreign(self.scenario.create, Word::Completed));
        vec![World {
            names: names.collect(),
            aws: Aws {
                things: vec![self.thing; self.names],
                jobs: earlier.into_iter().collect(),
                flying: Vec::new(),
            },
            processes: vec![idle(self.names); self.processes],
            budget: self.budget,
            next_uid: u8::try_from(self.names).expect("few names"),
            broken: None,
        }]
    }

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
        events.extend((0..world.aws.flying.len()).map(Event::Arrives));
        for (index, job) in world.aws.jobs.iter().enumerate() {
            self.job_events(world, index, job, events);
        }
        if budget.foreign > 0 && !world.aws.jobs.iter().any(AwsJob::is_alive) {
            events.push(Event::Foreign);
        }
        for (target, thing) in world.aws.things.iter().enumerate() {
            let table = [
                (
                    budget.rivals > 0 && thing.is_none() && is_nobodys(world),
                    Event::Rival(target),
                ),
                (budget.gone > 0 && thing.is_some(), Event::Gone(target)),
                (budget.drifts > 0 && thing.is_some(), Event::Drifts(target)),
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
                |_, world: &World| world.broken != Some(Broken::TookOthers),
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
            Property::always("every pass ends", |_, world: &World| {
                world.broken != Some(Broken::Endless)
            }),
        ]
    }
}

/// Runs a pass to its end, with nothing in its way.
pub(crate) fn run(stage: &mut Stage<'_>, world: &mut World, name: usize) -> Went {
    let mut went = stage.begin(world, 0, name, false);
    for _ in 0..STEPS {
        if let Went::Over(_) = went {
            return went;
        }
        went = stage.perform(world, 0, name, How::Well);
    }
    breaks(world, Broken::Endless);
    Went::Over(None)
}
