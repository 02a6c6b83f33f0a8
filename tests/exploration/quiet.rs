//! The development of a situation without further faults: time passes, jobs end (or hang), requests are answered.

use amplify_operator::{
    api::conditions::Reason,
    lifecycle::{Settings, Wake},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    exploration::Exploration,
    shell,
    stage::{Scenario, Stage, Went, now},
    world::{AwsJob, Budget, Name, Object, Seconds, Status, Thing, Word, World, hash_of},
};

/// The highest number of passes that any situation needs.
const PASSES: usize = 60;
/// After this many passes in a row without a write, no more writes follow.
const CALM: usize = 5;

/// The behaviour of jobs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Jobs {
    Complete,
    Hang,
    Fail,
}

/// Checks that everything becomes Ready, Stalled or gone, and that no writes follow.
pub(crate) fn settles(model: &Exploration, world: &World) -> Result<(), String> {
    let mut quiet = world.clone();
    quiet.budget = Budget::default();
    quiet.names.iter_mut().for_each(|name| name.before = None);
    let mut stage = Stage::explored(&model.scenario, &model.decided);
    for process in 0..quiet.processes.len() {
        stage.crash(&mut quiet, process);
    }
    quiet.processes.truncate(1);
    quiet.processes[0].fresh.iter_mut().for_each(|fresh| *fresh = true);
    let begin = hash_of(&quiet);
    if model.begins.lock().contains(&begin) {
        return Ok(());
    }
    for jobs in [Jobs::Complete, Jobs::Hang, Jobs::Fail] {
        let mut seen = Vec::new();
        run(model, quiet.clone(), jobs, &mut seen).map_err(|why| format!("when jobs {jobs:?}: {why}"))?;
        model.settles.lock().extend(seen);
    }
    model.begins.lock().insert(begin);
    Ok(())
}

/// Runs the world until nothing changes, or until a situation that is known to settle. Adds all situations on the way
/// to `seen`.
fn run(model: &Exploration, mut world: World, jobs: Jobs, seen: &mut Vec<u64>) -> Result<(), String> {
    let scenario = &model.scenario;
    let settings = Settings {
        drift_interval: SignedDuration::from_hours(1),
        ..scenario.settings.clone()
    };
    let mut told = Vec::new();
    let mut stage = Stage {
        settings: &settings,
        exact: true,
        ..Stage::explored(scenario, &model.decided)
    };
    let names = world.names.len();
    let mut tries = vec![0; names];
    // The next turn of each name. A new process begins with a turn for every name.
    let mut turns = vec![Some(now()); names];
    let mut calm = 0;
    for _ in 0..PASSES {
        let Some((name, turn)) = (0..names)
            .filter_map(|name| Some((name, turns[name]?)))
            .min_by_key(|(_, turn)| *turn)
        else {
            break;
        };
        let wait = turn.duration_since(stage.now).as_secs().max(0);
        pass_time(model, &mut stage, &mut world, wait, jobs);
        if calm >= CALM && told.len() > names && wrong(scenario, &world).is_none() {
            break;
        }
        let situation = situation(&world, jobs, &turns, stage.now);
        if model.settles.lock().contains(&situation) {
            return Ok(());
        }
        seen.push(situation);
        stage.tries = tries[name];
        let before = stage.writes;
        if world.names[name].live.is_none() {
            turns[name] = None;
            continue;
        }
        let went = shell::run(&mut stage, &mut world, name);
        tries[name] = stage.tries;
        calm = if stage.writes > before { 0 } else { calm + 1 };
        told.push((name, wait, world.names[name].live.map(|object| object.status)));
        if let Some(broken) = world.broken {
            return Err(format!("{broken:?} after {}", tell(&told)));
        }
        turns[name] = match went {
            Went::Over(Some(Wake::At(at))) => Some(at.max(stage.now + SignedDuration::from_secs(1))),
            Went::Over(Some(Wake::Never) | None) | Went::On => None,
        };
        // A name that the index wakes has another pass, if other resources could end its wait.
        for other in std::mem::take(&mut stage.touched) {
            let waits = world.names[other].live.is_some_and(|object| {
                let reason = object.status.says.map(|says| says.reason);
                object.deleting || reason.is_some_and(Reason::may_end_by_others)
            });
            if waits {
                turns[other] = Some(stage.now);
            }
        }
    }
    match wrong(scenario, &world) {
        Some(wrong) => Err(format!("{wrong}, in the end {}", tell(&told))),
        None if turns.iter().any(Option::is_some) && calm < CALM => Err(format!("it goes on and on {}", tell(&told))),
        None => Ok(()),
    }
}

/// Returns a hash of everything that determines the rest: the world, and the time until each turn.
fn situation(world: &World, jobs: Jobs, turns: &[Option<Timestamp>], now: Timestamp) -> u64 {
    let turns: Vec<_> = turns
        .iter()
        .map(|turn| turn.map(|turn| turn.duration_since(now).as_secs().max(0)))
        .collect();
    hash_of(&(jobs, world, turns))
}

fn wrong(scenario: &Scenario, world: &World) -> Option<&'static str> {
    let names = world.names.iter().enumerate();
    names
        .filter_map(|(name, kept)| Some((name, kept.live?)))
        .find_map(|(name, object)| unsettled(scenario, world, name, &object))
}

fn pass_time(model: &Exploration, stage: &mut Stage<'_>, world: &mut World, wait: i64, jobs: Jobs) {
    while !world.aws.flying.is_empty() {
        stage.arrive(world, 0);
    }
    if wait == 0 {
        return;
    }
    // No rule depends on a longer time.
    world.age(Seconds::try_from(wait.min(1000)).unwrap_or(1000), stage.clocks());
    stage.now += SignedDuration::from_secs(wait);
    for job in 0..world.aws.jobs.len() {
        let it = world.aws.jobs[job];
        let runs_on = stage.scenario.is_too_late() && it.hidden > 0;
        if !it.is_alive() || runs_on {
            continue;
        }
        let thing = world.aws.things[usize::from(it.target)];
        let creates = it.operation.is_create();
        let is_its_own = |thing: &Thing| it.by.is_some_and(|(uid, _)| thing.by == Some(uid));
        match jobs {
            _ if creates && thing.is_some_and(|thing| !is_its_own(&thing)) => {
                stage.end(world, job, Word::Failed, false);
            }
            // The remains of a failed create cannot be distinguished from another client's object.
            Jobs::Fail if it.by.is_some() && !(creates && thing.is_some()) => {
                stage.end(world, job, Word::Failed, false);
            }
            Jobs::Hang if it.by.is_some() => {}
            _ => {
                let does = it.by.is_some() || !it.operation.is_update() || model.may_change(world, it.target.into());
                stage.end(world, job, Word::Completed, does);
            }
        }
    }
}

/// Returns the error in the final state of a resource.
fn unsettled(scenario: &Scenario, world: &World, name: usize, object: &Object) -> Option<&'static str> {
    let Some(says) = object.status.says else {
        return Some("nothing is said");
    };
    // A job of another client, or one about which nothing could be stored, is waited for as long as AWS runs it.
    if says.reason == Reason::WaitingForJob && world.aws.jobs.iter().any(AwsJob::is_alive) {
        return None;
    }
    // A resource also waits while the winner of a conflict is being deleted, even if that deletion has stalled.
    let leaves = |kept: &Name| {
        kept.live
            .is_some_and(|it| it.uid != object.uid && it.deleting && it.finalizer)
    };
    if says.reason == Reason::Conflict && says.reconciling && world.names.iter().any(leaves) {
        return None;
    }
    if says.reconciling {
        return Some("work goes on for ever");
    }
    if says.reason == Reason::MigrationLocked && (world.aws.locked.is_none() || object.ignores) {
        return Some("it waits for the end of a lock that there is not");
    }
    let thing = world.aws.things[scenario.target(name)];
    // A resource must recognise the object that it created, unless the trace of it is lost.
    let lost = |job: &AwsJob| job.vanished || job.untold && job.by.is_some_and(|(uid, _)| uid == object.uid);
    if says.reason == Reason::AlreadyExists
        && !object.wiped
        && !world.aws.jobs.iter().any(lost)
        && thing.is_some_and(|thing| thing.is_of(object.uid))
    {
        return Some("it does not know its own object");
    }
    let is_claimed = |(other, kept): (usize, &Name)| {
        other != name && scenario.same_object && kept.live.is_some_and(|it| !it.deleting || it.finalizer)
    };
    if says.reason == Reason::Conflict && !world.names.iter().enumerate().any(is_claimed) {
        return Some("it is in conflict with nobody");
    }
    let released = object.deleting && !object.finalizer;
    if released && says.reason != Reason::Released {
        return Some("it does not say that it is released");
    }
    if says.stalled || released || says.reason == Reason::Suspended {
        return None;
    }
    if object.deleting {
        return Some("deletion has stopped");
    }
    if !says.ready || says.reason != Reason::Available {
        return Some("neither Ready nor Stalled");
    }
    if i16::from(object.status.observed) != i16::from(object.generation) || says.generation != object.generation {
        return Some("not of this generation");
    }
    if object.observe {
        return thing.is_none().then_some("Ready without an AWS object");
    }
    if !thing.is_some_and(|thing| thing.is_of(object.uid)) {
        return Some("Ready without its AWS object");
    }
    let differs = |thing: Thing| thing.config != object.config && !(thing.meddled && scenario.swaps);
    if scenario.is_updatable() && thing.is_some_and(differs) {
        return Some("Ready though AWS has another configuration");
    }
    None
}

/// Describes the passes: the name, the seconds waited, and the status after it. Repeated statuses are left out.
fn tell(told: &[(usize, i64, Option<Status>)]) -> String {
    let mut lines = Vec::new();
    for (name, wait, status) in told {
        let says = status.and_then(|status| status.says);
        let job = status.and_then(|status| status.job);
        let line = format!("{name}: {says:?}, {job:?}");
        if lines.last().is_none_or(|(_, last)| *last != line) {
            lines.push((*wait, line));
        }
    }
    let lines = lines
        .into_iter()
        .map(|(wait, line)| format!("\n  after {wait} s, {line}"));
    lines.collect()
}
