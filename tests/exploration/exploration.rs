//! An exploration: its scenario, its limits, and the situations that are known to settle.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::{
    stage::{Decisions, Scenario},
    world::{Budget, Object, Seconds, Thing, World},
};

/// A scenario, and the limits of its exploration.
pub(crate) struct Exploration {
    pub(crate) scenario: Scenario,
    pub(crate) names: usize,
    pub(crate) processes: usize,
    pub(crate) budget: Budget,
    /// The longest time of a pass. Requests have timeouts, and nothing is promised for a process that is frozen for
    /// longer.
    pub(crate) longest_pass: Seconds,
    /// The highest number of writes. Without it, a write that AWS refuses could be tried without end.
    pub(crate) attempts: u8,
    /// An AWS object that exists from the start.
    pub(crate) thing: Option<Thing>,
    pub(crate) start: Start,
    /// Whether the first resource has a finalizer of another controller.
    pub(crate) held: bool,
    pub(crate) earlier: Earlier,
    /// Situations from which everything settles.
    pub(crate) settles: Mutex<HashSet<u64>>,
    /// Situations in which faults have just stopped, and from which everything settles.
    pub(crate) begins: Mutex<HashSet<u64>>,
    pub(crate) decided: Decisions,
}

/// The first situation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    /// The resources have just been applied.
    Applied,
    /// The resources are Ready (of several for one object: the first is).
    Ready,
    /// The first resource was suspended after a create whose outcome never became known.
    GivenUp,
}

/// Another client's create job that completed long before the start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Earlier {
    Nothing,
    Timed,
    /// The job has no times.
    Untimed,
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
            start: Start::Applied,
            held: false,
            earlier: Earlier::Timed,
            settles: Mutex::default(),
            begins: Mutex::default(),
            decided: Decisions::default(),
        }
    }

    /// Returns the exploration with a change.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Whether another client may change the configuration in AWS now. It may not between the end (or possible end) of
    /// a job of the object's resource and the resource's next look, unless the exploration is about that.
    pub(crate) fn may_change(&self, world: &World, target: usize) -> bool {
        let has_begun = |live: Object| live.status.origin.is_some() || live.status.job.is_some_and(|job| job.is_open());
        let mut owners = world
            .names
            .iter()
            .enumerate()
            .filter(|(name, kept)| self.scenario.target(*name) == target && kept.live.is_some_and(has_begun));
        self.scenario.swaps
            || owners.all(|(name, kept)| {
                let has_looked = kept.live.is_some_and(|live| {
                    let job = live.status.job;
                    live.status.echoed.is_some() && job.is_none_or(|job| job.finished.is_some())
                });
                let mut passes = world
                    .processes
                    .iter()
                    .filter_map(|process| process.passes[name].as_ref());
                has_looked && passes.all(|pass| pass.known.reply.is_none())
            }) && world.aws.flying.is_empty()
                && !world.aws.jobs.iter().any(|job| job.by.is_some() && job.is_alive())
    }
}
