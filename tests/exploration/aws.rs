//! AWS, and its other clients. The model is harsher than AWS: it accepts the same create twice, and it refuses a write
//! only while a job is pending, or (in some scenarios) not even then.

use amplify_operator::{
    api::Operation,
    lifecycle::{
        Echo, Equality, Known, Reply, Seen, Write,
        facts::{Class, Failure, JobSeen, Sent},
    },
};

use crate::{
    check,
    stage::{How, Scenario, Stage},
    world::{
        AwsJob, Clocks, Flight, LONG_AGO, Object, Process, Seconds, TICK, Thing, Word, World, config_of, echo_name,
    },
};

/// The configuration of an object that another client creates.
pub(crate) const THEIRS: u8 = 9;
/// The configuration after a change by another client.
pub(crate) const CHANGED: u8 = 8;

impl AwsJob {
    /// Returns a job of another client.
    pub(crate) const fn foreign(operation: Operation, word: Word, created: Option<Seconds>) -> Self {
        Self {
            operation,
            target: 0,
            by: None,
            word,
            created,
            existed: false,
            vanished: false,
            hidden: 0,
            recorded: false,
            untold: false,
            displaced: false,
            listed: 0,
            config: THEIRS,
        }
    }

    fn seen(&self, id: usize, clocks: Clocks) -> JobSeen {
        JobSeen {
            id: id.to_string(),
            environment: "dev".to_owned(),
            operation: self.operation.name().to_owned(),
            status: self.word.name(),
            create_time: self.created.map(|created| clocks.aws(created)),
            update_time: None,
            error: (self.word == Word::Failed).then(|| self.why().to_owned()),
            exists: self.word == Word::Failed && self.existed,
        }
    }

    const fn why(&self) -> &'static str {
        if self.existed {
            "it already exists"
        } else {
            "it says so"
        }
    }
}

/// Returns the jobs that AWS shows. Their ids are their positions.
pub(crate) fn shown(world: &World, clocks: Clocks) -> impl Iterator<Item = JobSeen> {
    let jobs = world.aws.jobs.iter().enumerate();
    jobs.filter(|(_, job)| !job.vanished && job.hidden == 0 && job.operation.has_job())
        .map(move |(id, job)| job.seen(id, clocks))
}

/// Returns an object that another client created.
pub(crate) const fn rival(made: Seconds) -> Thing {
    Thing {
        by: None,
        adopted: None,
        displaced: false,
        config: THEIRS,
        meddled: false,
        hidden: 0,
        made,
    }
}

/// Returns an object that another client created long ago.
pub(crate) const fn old_rival() -> Thing {
    rival(LONG_AGO)
}

fn failed(class: Class, sent: Sent) -> Reply {
    Reply::Failed(failure(class, sent))
}

pub(crate) fn failure(class: Class, sent: Sent) -> Failure {
    Failure {
        class,
        sent,
        message: "it says so".to_owned(),
    }
}

impl Scenario {
    fn operation(&self, write: Write) -> Operation {
        match write {
            Write::Create => self.create,
            Write::Update => self.create.update().expect("of a kind with an update"),
            Write::Delete => self.create.delete(),
        }
    }
}

impl Stage<'_> {
    /// Whether AWS would refuse a write now.
    pub(crate) fn is_pending(&self, world: &World) -> bool {
        self.scenario.refuses && self.scenario.create.has_job() && world.aws.jobs.iter().any(AwsJob::is_alive)
    }

    /// Returns the answer that the sender of this write gets.
    pub(crate) fn answer(&mut self, world: &mut World, process: usize, name: usize, write: Write, how: How) -> Reply {
        let unknown = failed(Class::Unavailable, Sent::Unknown);
        let flight = self.flight(world, process, name, write);
        match how {
            How::RequestLost => return unknown,
            How::Never => return failed(Class::Unavailable, Sent::Never),
            How::BadRequest => return failed(Class::BadRequest, Sent::Refused),
            How::NotFound => return failed(Class::NotFound, Sent::Refused),
            How::Flies => {
                world.aws.flying.push(flight);
                return unknown;
            }
            _ => {}
        }
        if self.is_pending(world) {
            return failed(Class::Pending, Sent::Refused);
        }
        let thing = world.aws.things[usize::from(flight.target)];
        if write != Write::Create && thing.is_none_or(|thing| thing.hidden > 0) {
            return if write == Write::Delete {
                Reply::Absent
            } else {
                failed(Class::NotFound, Sent::Refused)
            };
        }
        let operation = self.scenario.operation(write);
        if write == Write::Create && !operation.has_job() && thing.is_some_and(|thing| thing.by.is_none()) {
            return failed(Class::BadRequest, Sent::Refused);
        }
        let id = self.accept(world, flight);
        let job = &mut world.aws.jobs[id];
        if matches!(how, How::Late | How::ReplyLostLate) {
            job.hidden = self.scenario.late;
        }
        if how == How::FailsAtOnce {
            job.word = Word::Failed;
            job.existed = write == Write::Create && thing.is_some_and(|thing| thing.by != Some(flight.uid));
        }
        let is_lost = matches!(how, How::ReplyLost | How::ReplyLostLate | How::Nameless);
        job.untold |= is_lost && job.created.is_none();
        match how {
            How::ReplyLost | How::ReplyLostLate => unknown,
            _ if !operation.has_job() => {
                let pass = world.processes[process].passes[name]
                    .as_ref()
                    .expect("a pass in flight");
                let thing = world.aws.things[usize::from(flight.target)];
                let seen = thing.map(|thing| self.compare(&thing, &pass.known, &pass.view));
                Reply::Done {
                    asked: self.now,
                    seen: seen.unwrap_or_default(),
                }
            }
            _ => Reply::Job {
                id: (how != How::Nameless).then(|| id.to_string()),
                environment: Some("dev".to_owned()),
                status: Some(job.word.name()),
                error: (how == How::FailsAtOnce).then(|| job.why().to_owned()),
            },
        }
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

    fn flight(&self, world: &World, process: usize, name: usize, write: Write) -> Flight {
        let pass = world.processes[process].passes[name]
            .as_ref()
            .expect("a pass in flight");
        let view = pass.view;
        let attempt = view.status.job.map_or(0, |job| job.attempt);
        // If the status is wiped between the intent and the send, nothing that is stored leads to the write.
        let wiped = world.names[name]
            .live
            .is_none_or(|live| live.uid != view.uid || live.wiped != view.wiped);
        let config = pass.known.config.as_ref().and_then(|config| config.as_ref().ok());
        Flight {
            process: u8::try_from(process).expect("few processes"),
            write,
            target: u8::try_from(self.scenario.target(name)).expect("few names"),
            uid: view.uid,
            attempt: if write == Write::Create { attempt } else { attempt + 1 },
            config: config.map_or(view.config, |config| config_of(&config.hash)),
            wiped,
            displaced: false,
            left: TICK,
        }
    }

    /// Accepts a write in AWS. Returns the position of its job.
    fn accept(&mut self, world: &mut World, flight: Flight) -> usize {
        let operation = self.scenario.operation(flight.write);
        self.writes += 1;
        if !flight.displaced {
            check::accept(self.scenario, world, flight, operation);
        }
        let id = world.aws.jobs.len();
        let created = self.scenario.created(world);
        world.aws.jobs.push(AwsJob {
            target: flight.target,
            by: Some((flight.uid, flight.attempt)),
            untold: flight.wiped,
            displaced: flight.displaced,
            config: flight.config,
            ..AwsJob::foreign(operation, Word::Running, created)
        });
        if !operation.has_job() {
            self.end(world, id, Word::Completed, true);
        }
        id
    }

    /// Lets a write that was on its way arrive.
    pub(crate) fn arrive(&mut self, world: &mut World, flight: usize) {
        let flight = world.aws.flying.remove(flight);
        let thing = world.aws.things[usize::from(flight.target)];
        let is_refused = match flight.write {
            Write::Create => !self.scenario.create.has_job() && thing.is_some_and(|thing| thing.by.is_none()),
            Write::Update | Write::Delete => thing.is_none_or(|thing| thing.hidden > 0),
        };
        if !is_refused && !self.is_pending(world) {
            let id = self.accept(world, flight);
            let job = &mut world.aws.jobs[id];
            job.untold |= job.created.is_none();
        }
    }

    /// Ends a job. `does`: whether AWS does the work of the job.
    pub(crate) fn end(&mut self, world: &mut World, job: usize, says: Word, does: bool) {
        let it = &mut world.aws.jobs[job];
        it.word = says;
        let thing = &mut world.aws.things[usize::from(it.target)];
        let uid = it.by.map(|(uid, _)| uid);
        if says == Word::Failed && !does && it.operation.is_create() {
            it.existed = thing.is_some_and(|thing| uid.is_none() || thing.by != uid);
        }
        if !does {
            return;
        }
        let it = *it;
        if it.operation.is_create() {
            *thing = Some(Thing {
                by: uid,
                // For another client's job: the resource whose intent could not distinguish it from its own job.
                adopted: world.names.iter().find_map(|name| {
                    let live = name.live.filter(|_| uid.is_none())?;
                    let id = live.status.job?.id?;
                    (usize::from(id) == job).then_some(live.uid)
                }),
                displaced: it.displaced,
                config: it.config,
                // Only records show their creation time.
                ..rival(if it.operation.has_job() { LONG_AGO } else { 0 })
            });
        } else if it.operation.is_delete() {
            if let (Some(thing), Some(uid)) = (*thing, uid)
                && !thing.is_of(uid)
            {
                world.broken.get_or_insert(crate::world::Broken::TookOthers(
                    "a delete job ends on another's object",
                ));
            }
            world.aws.things[usize::from(it.target)] = None;
        } else if let Some(thing) = thing {
            thing.config = it.config;
            thing.meddled = uid.is_none();
        }
    }

    /// Replaces a process that dies. Results that it did not learn are lost. Its sent writes without a trace arrive
    /// before the next process begins: an update or a delete has no intent that would make the next process wait.
    pub(crate) fn crash(&mut self, world: &mut World, process: usize) {
        let told = |world: &World, uid: u8, operation: Operation| {
            let live = world.names.iter().filter_map(|name| name.live);
            live.filter(|live| live.uid == uid).any(|live| {
                live.status
                    .job
                    .is_some_and(|job| job.is_open() && job.operation == operation)
            })
        };
        let untold = |world: &World| {
            world.aws.flying.iter().position(|flight| {
                let operation = self.scenario.operation(flight.write);
                flight.write != Write::Create
                    && usize::from(flight.process) == process
                    && !told(world, flight.uid, operation)
            })
        };
        let mut arrived = Vec::new();
        while let Some(flight) = untold(world) {
            arrived.push(world.aws.flying.remove(flight));
        }
        for flight in arrived {
            world.aws.flying.push(flight);
            self.arrive(world, world.aws.flying.len() - 1);
        }
        for job in 0..world.aws.jobs.len() {
            let it = world.aws.jobs[job];
            let Some((uid, _)) = it.by else { continue };
            if !it.operation.is_create() && !told(world, uid, it.operation) {
                world.aws.jobs[job].hidden = 0;
            }
            world.aws.jobs[job].untold |= it.created.is_none() && !it.recorded;
        }
        world.processes[process] = Process::idle(world.names.len());
    }
}
