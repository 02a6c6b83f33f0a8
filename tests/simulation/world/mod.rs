//! The world that the operators live in: their machines, the API server, AWS, and the time that they share.
//!
//! | file | holds |
//! |---|---|
//! | `machine` | a runtime whose clock stands still unless the world lets it run |
//! | `line` | a process's requests, counted, and a trap that kills it at one of them |
//! | `process` | an operator: the real program on a machine |
//! | `aws` | the network to AWS, which the simulator plays |
//!
//! Everything happens in one thread. The machines run one after the other for a stretch of time, which ends where one of
//! them sends something to another: whoever has come further meanwhile gets it a little later, as over a network.

pub(crate) mod aws;
mod line;
mod machine;
mod process;

use std::{collections::BTreeMap, time::Duration};

use amplify_simulator::{Config, Control, InProcess};
use jiff::{SignedDuration, Timestamp};

use crate::apiserver::{Server, Users};
pub(crate) use line::Fate;
use machine::Machine;
use process::Process;
pub(crate) use process::{REGION, Start};

/// The longest stretch of time: what happens on one machine by itself is heard by the others so late at the most.
const STRETCH: Duration = Duration::from_secs(1);
/// The shortest one: tokio's clock has no finer grain.
const TICK: Duration = Duration::from_millis(1);
/// How long a process that has ended is not started again.
const RESTART: Duration = Duration::from_secs(10);
/// How long a process may take from SIGTERM to its end: Kubernetes kills it 30 s after it.
const TO_END: Duration = Duration::from_secs(25);

/// Returns when every world begins.
pub(crate) fn beginning() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().expect("a time")
}

/// What went wrong with a process.
pub(crate) type Complaint = String;

/// An operator's place: its process is started again whenever it has ended.
struct Place {
    start: Start,
    process: Option<Process>,
    /// It is started at this time.
    due: Option<Duration>,
    starts: u64,
}

/// Everything.
pub(crate) struct World {
    now: Duration,
    machine: Machine,
    pub(crate) server: Server,
    pub(crate) cloud: aws::Cloud,
    simulator: InProcess,
    places: Vec<Place>,
    pub(crate) complaints: Vec<Complaint>,
    pub(crate) restarts: u64,
}

impl World {
    /// With AWS like this, and no operator.
    pub(crate) fn new(seed: u64, config: &Config) -> Self {
        let mut machine = Machine::boot(Duration::ZERO);
        let base = machine.base();
        let epoch = beginning().duration_since(Timestamp::UNIX_EPOCH).unsigned_abs();
        let (server, simulator) = machine.with(|| {
            let server = Server::new(seed, beginning());
            (server, InProcess::new(config, move || epoch + base.elapsed(), seed))
        });
        machine.hear(server.sent());
        let home = machine.runtime().handle().clone();
        let cloud = aws::Cloud::new(simulator.clone(), seed, home, server.sent());
        Self {
            now: Duration::ZERO,
            machine,
            server,
            cloud,
            simulator,
            places: Vec::new(),
            complaints: Vec::new(),
            restarts: 0,
        }
    }

    pub(crate) const fn now(&self) -> Duration {
        self.now
    }

    /// AWS's history and what happens behind everybody's back.
    pub(crate) const fn simulator(&self) -> &InProcess {
        &self.simulator
    }

    /// Does something to AWS, at once.
    pub(crate) fn aws<T>(&self, act: impl FnOnce(&Control) -> T) -> T {
        self.machine.with(|| act(&self.simulator.control()))
    }

    /// Does something to the objects, at once.
    pub(crate) fn users<T>(&self, act: impl FnOnce(&Users) -> T) -> T {
        self.machine.with(|| act(&self.server.users()))
    }

    /// Does something to the API server, at once.
    pub(crate) fn apiserver<T>(&self, act: impl FnOnce(&Server) -> T) -> T {
        self.machine.with(|| act(&self.server))
    }

    /// Adds an operator, which starts now.
    pub(crate) fn add(&mut self, start: Start) {
        self.places.push(Place {
            start,
            process: None,
            due: Some(self.now),
            starts: 0,
        });
    }

    pub(crate) fn operators(&self) -> usize {
        self.places.len()
    }

    /// Kills an operator. It is started again.
    pub(crate) fn kill(&mut self, which: usize) {
        self.places[which].end(self.now);
    }

    /// Kills an operator at the request after so many others.
    pub(crate) fn set_trap(&self, which: usize, after: u32, fate: Fate) {
        if let Some(process) = &self.places[which].process {
            process.line.set_trap(after, fate);
        }
    }

    /// Has an operator stand still for so long.
    pub(crate) fn freeze(&mut self, which: usize, time: Duration) {
        let until = self.now + time;
        if let Some(process) = &mut self.places[which].process {
            process.frozen_until = Some(until);
        }
    }

    /// Sends an operator SIGTERM. It is started again when it has ended.
    pub(crate) fn terminate(&mut self, which: usize) {
        let deadline = self.now + TO_END;
        if let Some(process) = &mut self.places[which].process {
            process.machine.with(|| process.shutdown.cancel());
            process.deadline.get_or_insert(deadline);
        }
    }

    /// What the machine of an operator says is the time when it is started next, off by this much.
    pub(crate) fn set_clock(&mut self, which: usize, off: SignedDuration) {
        self.places[which].start.time = beginning() + off;
    }

    /// Tasks and requests of each operator that runs.
    pub(crate) fn sizes(&self) -> BTreeMap<String, (usize, u64)> {
        let running = self.places.iter().filter_map(|place| {
            let process = place.process.as_ref()?;
            Some((
                place.start.name.clone(),
                (process.machine.tasks(), process.line.requests()),
            ))
        });
        running.collect()
    }

    /// Lets time pass until then.
    pub(crate) fn run(&mut self, until: Duration) {
        while self.now < until {
            let mut horizon = until.min(self.now + STRETCH);
            // What somebody has done meanwhile leaves before the others go on.
            self.machine.settle();
            for which in 0..self.places.len() {
                self.start_if_due(which);
                horizon = self.run_process(which, horizon);
            }
            let reached = self.machine.run(self.now, horizon);
            self.now = horizon.min(reached.max(self.now + TICK));
        }
    }

    fn start_if_due(&mut self, which: usize) {
        let place = &mut self.places[which];
        if place.due.is_some_and(|due| due <= self.now) {
            place.due = None;
            place.starts += 1;
            let mut start = place.start.clone();
            start.seed ^= place.starts;
            start.time += SignedDuration::try_from(self.now).unwrap_or_default();
            place.process = Process::start(self.now, &start, &self.server, &self.cloud);
            if place.process.is_none() {
                place.end(self.now);
            }
        }
    }

    /// Returns how far the others may go.
    fn run_process(&mut self, which: usize, horizon: Duration) -> Duration {
        let now = self.now;
        let place = &mut self.places[which];
        let Some(process) = &mut place.process else {
            return place.due.map_or(horizon, |due| horizon.min(due.max(now + TICK)));
        };
        if let Some(until) = process.frozen_until {
            if until > now {
                return horizon.min(until);
            }
            process.frozen_until = None;
            process.machine.skip(now);
        }
        let reached = process.machine.run(now, horizon).max(now + TICK).min(horizon);
        if process.line.is_dead() {
            self.restarts += 1;
            place.end(now);
            return reached;
        }
        let is_late = process.deadline.is_some_and(|deadline| deadline < now);
        let name = &place.start.name;
        match process.ended() {
            None if is_late => {
                self.complaints
                    .push(format!("{name} has not ended {TO_END:?} after SIGTERM"));
                place.end(now);
            }
            None => {}
            Some(Ok(())) if process.shutdown.is_cancelled() => place.end(now),
            Some(Ok(())) => {
                self.complaints.push(format!("{name} has ended by itself"));
                place.end(now);
            }
            // The one way in which it may.
            Some(Err(error)) if error.contains("leadership lost") => place.end(now),
            Some(Err(error)) => {
                self.complaints.push(format!("{name} has failed: {error}"));
                place.end(now);
            }
        }
        reached
    }
}

impl Place {
    fn end(&mut self, now: Duration) {
        self.process = None;
        self.due = Some(now + RESTART);
    }
}
