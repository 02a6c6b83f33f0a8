//! The invariants of each step. The conditions of a final state are in `quiet`.

use amplify_operator::{
    api::{AdoptionPolicy, DeletionPolicy, Operation, Origin, conditions::Reason},
    lifecycle::{self, Holds, Reply, State, Write, migration::FRESH},
};

use crate::{
    stage::{Scenario, Stage},
    world::{AwsJob, Broken, Flight, LONG_AGO, Object, Pass, Says, Seconds, Text, Thing, Word, World},
};

/// Earlier times are from before the exploration.
const BEFORE: Seconds = LONG_AGO / 2;

/// A job that begins longer than this after a request cannot result from it: the grace, and the time to send.
const LATEST: Seconds = 100;

pub(crate) fn breaks(world: &mut World, broken: Broken) {
    world.broken.get_or_insert(broken);
}

/// I1: no new attempt while the outcome of another is unknown.
pub(crate) fn intent(scenario: &Scenario, world: &mut World, pass: &Pass, state: &State) {
    let view = &pass.view;
    if state.ledger.migration_locked_at.is_some() && !view.ignores {
        breaks(world, Broken::Locked("what may have been migrated is created again"));
    }
    let is_again = view.status.job.is_some_and(|job| {
        job.is_open()
            && state
                .ledger
                .job
                .as_ref()
                .is_some_and(|new| new.attempt == i64::from(job.attempt))
    });
    let unknown = world.aws.jobs.iter().any(|job| job.is_unsettled_create(view.uid))
        || world
            .aws
            .flying
            .iter()
            .any(|flight| flight.write == Write::Create && flight.uid == view.uid && !flight.wiped);
    if pass.lag == 0 && unknown && !scenario.is_too_late() {
        let why = if is_again {
            "an intent is written anew after it was sent"
        } else {
            "an intent while the outcome of another is unknown"
        };
        breaks(world, Broken::CreatedTwice(why));
    }
}

pub(crate) fn send(stage: &Stage<'_>, world: &mut World, name: usize, pass: &Pass, write: Write) {
    let view = &pass.view;
    let live = world.names[name].live;
    if view.suspend {
        breaks(world, Broken::Suspended);
    }
    if view.observe {
        breaks(world, Broken::Observed);
    }
    // Any answer that the write may rest on is younger than the lock.
    let is_locked = world
        .aws
        .locked
        .is_some_and(|since| i64::from(since) <= -FRESH.as_secs());
    if is_locked && !view.ignores {
        breaks(world, Broken::Locked("a write to an environment that is locked"));
    }
    match write {
        Write::Create => {
            let stored = |object: &Object| object.finalizer && object.status.job.is_some_and(|job| job.is_open());
            if !stored(view) {
                breaks(world, Broken::SentWithoutRecord("by what the pass has stored"));
            }
            let Some(live) = live.filter(|live| live.uid == view.uid) else {
                return breaks(world, Broken::SentWithoutRecord("the resource is gone"));
            };
            let attempt = |object: &Object| object.status.job.map(|job| job.attempt);
            if live.wiped == view.wiped && !(stored(&live) && attempt(&live) == attempt(view)) {
                breaks(world, Broken::SentWithoutRecord("by what the API server holds"));
            }
        }
        Write::Update | Write::Delete => {
            let thing = world.aws.things[stage.scenario.target(name)];
            if thing.is_some_and(|thing| !thing.is_of(view.uid)) {
                breaks(world, Broken::TookOthers("a write to what belongs to others"));
            }
        }
    }
    if stage.scenario.is_updatable() && write != Write::Delete && !matches!(pass.known.config, Some(Ok(_))) {
        breaks(world, Broken::Untrue("a write without a resolved configuration"));
    }
    if world.processes.len() == 1 {
        let held = world.names.iter().enumerate().any(|(other, kept)| {
            other != name
                && kept.live.is_some_and(|object| {
                    let ledger = object.status.ledger(stage.clocks());
                    match lifecycle::holds_slot(&ledger, object.suspend, stage.settings.job_timeout) {
                        Holds::Yes => true,
                        // The holder may have been suspended a moment ago. Then AWS's refusal decides.
                        holds => holds.at(stage.now) && !stage.scenario.refuses,
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

/// Checks a write that AWS accepts.
pub(crate) fn accept(scenario: &Scenario, world: &mut World, flight: Flight, operation: Operation) {
    if world
        .aws
        .jobs
        .iter()
        .any(|job| job.by.is_some() && job.is_alive() && !scenario.refuses)
    {
        breaks(world, Broken::Overlap("two jobs of ours at once"));
    }
    let thing = world.aws.things[usize::from(flight.target)];
    if !operation.is_create() {
        if thing.is_some_and(|thing| !thing.is_of(flight.uid)) {
            breaks(world, Broken::TookOthers("a write arrives at what belongs to others"));
        }
        return;
    }
    let by_it = |job: &&AwsJob| job.operation.is_create() && job.by.is_some_and(|(uid, _)| uid == flight.uid);
    let mut broken = None;
    for job in world.aws.jobs.iter().filter(by_it) {
        if job.is_alive() {
            broken = Some("while an earlier one runs");
        }
        if job.by == Some((flight.uid, flight.attempt)) && !job.untold && !flight.wiped {
            broken = Some("the same attempt");
        }
        if job.is_unsettled_create(flight.uid) && !flight.wiped {
            broken = Some("an earlier one is not recorded");
        }
    }
    if thing.is_some_and(|thing| thing.by == Some(flight.uid)) {
        broken = Some("its object exists");
    }
    if scenario.same_object && thing.is_some_and(|thing| thing.by.is_some()) {
        broken = Some("another resource of ours made it");
    }
    if let Some(why) = broken {
        breaks(world, Broken::CreatedTwice(why));
    }
}

/// Checks a write that the API server accepts.
pub(crate) fn write(scenario: &Scenario, world: &mut World, name: usize, pass: &Pass, old: &Object, new: &Object) {
    let target = scenario.target(name);
    let id = |object: &Object| object.status.job.and_then(|job| job.id);
    if let Some(id) = id(new) {
        recorded(world, id, id_of(old) != Some(id), target, new);
    }
    if let Some(entry) = new
        .status
        .job
        .filter(|job| !job.operation.has_job() && job.finished.is_some())
    {
        for job in &mut world.aws.jobs {
            // A create without a job is recorded together with its object.
            job.recorded |= job.by == Some((new.uid, entry.attempt)) && new.status.origin.is_some();
        }
    }
    let taken = new.status.origin.filter(|_| old.status.origin.is_none());
    match (taken, &mut world.aws.things[target]) {
        (Some(Origin::Adopted), Some(thing)) => {
            thing.adopted = Some(new.uid);
            if scenario.adoption == AdoptionPolicy::Never {
                breaks(world, Broken::TookOthers("adopted in spite of adoptionPolicy"));
            }
        }
        // A record that another client created just then cannot be distinguished from ours.
        (Some(Origin::Created), Some(thing)) if !scenario.create.has_job() && !thing.is_of(new.uid) => {
            if thing.by.is_none() && thing.made > BEFORE {
                thing.adopted = Some(new.uid);
            } else {
                breaks(world, Broken::TookOthers("an old record passes for its own"));
            }
        }
        _ => {}
    }
    if new.status.observed < old.status.observed {
        breaks(world, Broken::WentBack("observedGeneration"));
    }
    let attempt = |object: &Object| object.status.job.map(|job| job.attempt);
    if attempt(new) < attempt(old) {
        breaks(world, Broken::WentBack("attempt"));
    }
    if old.finalizer && !new.finalizer {
        release(scenario, world, target, new);
    }
    let said = |object: &Object| {
        let says = object.status.says.map(|says| Says {
            text: Text::NONE,
            ..says
        });
        (says, object.status.observed)
    };
    if said(new) != said(old) {
        ready(scenario, world, target, pass, old, new);
    }
}

fn id_of(object: &Object) -> Option<u8> {
    object.status.job.and_then(|job| job.id)
}

/// Checks that a status records this job as its own.
fn recorded(world: &mut World, id: u8, is_new: bool, target: usize, object: &Object) {
    let job = &mut world.aws.jobs[usize::from(id)];
    job.recorded = true;
    if !is_new {
        return;
    }
    let job = *job;
    let why = match job.by {
        Some((uid, _)) if uid != object.uid => Some("a job of another resource is recorded"),
        // A job from before the intent, or from a time at which it could not be recognised, is not its outcome.
        _ if job.listed & (1 << object.uid) != 0 => Some("a job is recorded that was there before the intent"),
        None if !job.operation.is_create() => Some("a job of somebody else is recorded"),
        None if job.created.is_none_or(|created| created < BEFORE) => Some("an old job of somebody else is recorded"),
        None if object
            .status
            .job
            .is_some_and(|entry| job.created > Some(entry.requested + LATEST)) =>
        {
            Some("a job of somebody else is recorded that came too late to be its own")
        }
        _ => None,
    };
    if let Some(why) = why {
        breaks(world, Broken::Untrue(why));
    }
    if job.by.is_none() {
        // The job cannot be distinguished from the outcome of the intent. If the resource's own request still arrives,
        // no status leads to it.
        let is_its_own = |flight: &&mut Flight| flight.uid == object.uid && flight.write == Write::Create;
        for flight in world.aws.flying.iter_mut().filter(is_its_own) {
            flight.wiped = true;
            flight.displaced = true;
        }
    }
    if job.by.is_none()
        && let Some(thing) = &mut world.aws.things[target]
        && thing.by.is_none()
    {
        thing.adopted.get_or_insert(object.uid);
    }
}

fn release(scenario: &Scenario, world: &mut World, target: usize, object: &Object) {
    let retained = match scenario.deletion {
        Some(DeletionPolicy::Retain) => true,
        Some(DeletionPolicy::Delete) => false,
        None => object.status.origin == Some(Origin::Adopted),
    };
    if retained || object.observe {
        return;
    }
    let flies = world
        .aws
        .flying
        .iter()
        .any(|flight| flight.uid == object.uid && !flight.wiped);
    if flies {
        breaks(world, Broken::LeftBehind("a write that is under way"));
    }
    let runs = world.aws.jobs.iter().any(|job| {
        job.operation.is_create() && job.is_alive() && !job.untold && job.by.is_some_and(|(uid, _)| uid == object.uid)
    });
    let stays = world.aws.things[target].is_some_and(|thing| {
        // If the trace of the create is lost, nothing shows who made the object.
        let untold = object.wiped
            || world
                .aws
                .jobs
                .iter()
                .any(|job| job.untold && job.by.is_some_and(|(uid, _)| uid == object.uid));
        thing.is_of(object.uid) && !thing.displaced && (!untold || object.status.origin.is_some())
    });
    if runs {
        breaks(world, Broken::LeftBehind("a create that is under way"));
    }
    if stays {
        breaks(world, Broken::LeftBehind("the AWS object"));
    }
}

fn ready(scenario: &Scenario, world: &mut World, target: usize, pass: &Pass, old: &Object, new: &Object) {
    let Some(says) = new.status.says.filter(|says| says.ready) else {
        return;
    };
    if pass.view.deleting {
        breaks(world, Broken::Untrue("Ready and being deleted"));
    }
    if says.reason != Reason::Available {
        return;
    }
    if says.stalled || says.reconciling {
        breaks(world, Broken::Untrue("Ready and not settled"));
    }
    // A resource that only observes need not own the object; the object may also be left from its own failed create.
    let is_anyones = pass.view.observe && new.status.origin.is_none();
    if new.status.origin.is_none() && !is_anyones {
        breaks(world, Broken::Untrue("Ready without an origin"));
    }
    let of_a_failed_create = new
        .status
        .job
        .is_some_and(|job| job.operation.is_create() && job.word == Some(Word::Failed));
    if of_a_failed_create && new.status.origin != Some(Origin::Adopted) && !is_anyones {
        breaks(world, Broken::Untrue("Ready though its create failed"));
    }
    let done = matches!(pass.known.reply, Some(Reply::Done { .. }));
    let was_ready = old.status.says.is_some_and(|says| says.ready);
    let is_shown = |thing: Thing| thing.is_of(new.uid) || new.status.origin == Some(Origin::Adopted) || is_anyones;
    if !done && !was_ready && !pass.seen.is_some_and(is_shown) {
        breaks(world, Broken::Untrue("no look has shown it as its own"));
    }
    // Ready may also be about the generation that the job which has just ended carries out.
    let of_job = new.status.job.filter(|job| job.generation == says.generation);
    // F6
    let of_job = of_job.filter(|_| world.processes.len() == 1);
    let meant = if says.generation == new.generation {
        Some(new.config)
    } else {
        of_job.and_then(|job| job.config)
    };
    if let Some(meant) = meant.filter(|_| scenario.is_updatable()) {
        configuration(scenario, world, target, pass, old, meant);
    }
}

/// Checks Ready for this generation: in the look, AWS has its configuration.
fn configuration(scenario: &Scenario, world: &mut World, target: usize, pass: &Pass, old: &Object, meant: u8) {
    let Some(seen) = pass.seen else {
        // Without a look, a resource that was Ready stays Ready, unless an edit changes something.
        if world.aws.things[target].is_some_and(|thing| thing.config != meant && !thing.meddled) {
            breaks(
                world,
                Broken::Untrue("AWS has another configuration, and nobody looked"),
            );
        }
        return;
    };
    if seen.config == meant {
        return;
    }
    // Another client changed it after our own job and before our first look: accepted by design, if the scenario asks
    // for it.
    let is_swapped = seen.meddled && old.status.echoed.is_none();
    if !(is_swapped && scenario.swaps) {
        breaks(world, Broken::Untrue("AWS has another configuration"));
    }
}
