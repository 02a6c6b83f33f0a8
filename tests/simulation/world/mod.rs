//! The world of the operators: their machines, the API server, AWS, and the time that they share.
//!
//! | file | holds |
//! |---|---|
//! | `machine` | a runtime whose clock moves only when the world runs it |
//! | `line` | a process's requests, counted, and a trap that kills it at one of them |
//! | `process` | an operator: the real program on a machine |
//! | `aws` | the network to AWS, which the simulator plays |
//!
//! Everything happens in one thread. The machines run one after the other for a stretch of time. A stretch ends when a
//! machine sends something to another one. A machine that is already further ahead gets it a little later, as over a
//! network.

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

/// The longest stretch of time: an event on one machine reaches the others with at most this delay.
const STRETCH: Duration = Duration::from_secs(1);
/// The shortest stretch of time: tokio's clock has no finer resolution.
const TICK: Duration = Duration::from_millis(1);
/// The time between the end of a process and its next start.
const RESTART: Duration = Duration::from_secs(10);
/// The longest time from SIGTERM to the end of a process. Kubernetes kills it after 30 s.
const TO_END: Duration = Duration::from_secs(25);

/// Returns the time at which every world begins.
pub(crate) fn beginning() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().expect("a time")
}

/// An error of a process.
pub(crate) type Complaint = String;

/// The place of an operator. Its process is started again whenever it has ended.
struct Place {
    start: Start,
    process: Option<Process>,
    /// The time of its next start.
    due: Option<Duration>,
    starts: u64,
}

/// The whole world.
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
    /// Creates a world with this AWS, and without operators.
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

    /// Returns AWS, with its history and its control.
    pub(crate) const fn simulator(&self) -> &InProcess {
        &self.simulator
    }

    /// Changes AWS, at once.
    pub(crate) fn aws<T>(&self, act: impl FnOnce(&Control) -> T) -> T {
        self.machine.with(|| act(&self.simulator.control()))
    }

    /// Changes objects as other clients do, at once.
    pub(crate) fn users<T>(&self, act: impl FnOnce(&Users) -> T) -> T {
        self.machine.with(|| act(&self.server.users()))
    }

    /// Changes the API server, at once.
    pub(crate) fn apiserver<T>(&self, act: impl FnOnce(&Server) -> T) -> T {
        self.machine.with(|| act(&self.server))
    }

    /// Adds an operator that starts now.
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

    /// Kills an operator at the request after this many others.
    pub(crate) fn set_trap(&self, which: usize, after: u32, fate: Fate) {
        if let Some(process) = &self.places[which].process {
            process.line.set_trap(after, fate);
        }
    }

    /// Makes an operator stand still for this long.
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

    /// Sets the error of an operator's machine clock at its next start.
    pub(crate) fn set_clock(&mut self, which: usize, off: SignedDuration) {
        self.places[which].start.time = beginning() + off;
    }

    /// Returns the number of tasks and requests of each running operator.
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
            // Requests of the test's actions are sent before the operators continue.
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

    /// Runs a process. Returns the time up to which the others may run.
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
            // The only error with which an operator may end.
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
