//! The delay between the end of an object's job and Ready: measured with short jobs, and computed for jobs as long as
//! AWS's.

use std::time::{Duration, Instant};

use amplify_operator::lifecycle::timing;
use amplify_simulator::{Control, JobState};
use anyhow::{Context as _, Result};
use tokio::time;

use crate::{
    eyes::Eyes,
    mix::{Item, Kind},
};

/// Measured jobs run for a time between these two.
const SHORTEST: f64 = 30.0;
const LONGEST: f64 = 60.0;
/// The assumed length of AWS's jobs: lognormal with this median and 95th percentile, in seconds.
const MEDIAN: f64 = 300.0;
const P95: f64 = 895.0;
const JOBS: usize = 20_000;

/// Delays in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    pub(crate) jobs: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    /// Polls per job.
    pub(crate) polls: f64,
}

/// Gives each job that begins a length of its own. Never returns.
pub(crate) async fn vary_jobs(control: Control) {
    let mut chance = Chance(1);
    loop {
        let seconds = SHORTEST + (LONGEST - SHORTEST) * chance.next();
        control.change_settings(|settings| settings.job_duration = Duration::from_secs_f64(seconds));
        time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the delays from the end of each job in the simulator to the moment when its object was seen Ready.
pub(crate) fn measured(items: &[Item], eyes: &Eyes, control: &Control, polls: u64) -> Result<Delays> {
    let (now, now_there) = (Instant::now(), control.now());
    let apps = control.apps();
    let ended = |item: &Item| -> Option<&JobState> {
        let operation = match item.kind {
            Kind::Backend => "CreateBackend",
            Kind::Api => "CreateBackendAPI",
            Kind::Environment => return None,
        };
        // The nth API belongs to the nth backend.
        let number = item.name.rsplit('-').next()?;
        let jobs = apps.iter().filter_map(|app| app.jobs.get(&format!("env{number}")));
        jobs.flatten().find(|job| job.operation == operation)
    };
    let mut delays = Vec::new();
    for item in items.iter().filter(|item| item.kind != Kind::Environment) {
        let job = ended(item).with_context(|| format!("{} has no job", item.name))?;
        let ready = eyes.ready_since(item.kind, &item.name);
        let since_ready = now.duration_since(ready.with_context(|| format!("{} is not Ready", item.name))?);
        let since_end = Duration::from_millis(u64::try_from(now_there - job.updated)?);
        delays.push(since_end.saturating_sub(since_ready).as_secs_f64());
    }
    Ok(Delays::of(delays, usize::try_from(polls)?))
}

/// Returns the delays of the poll schedule alone, simulated for jobs as long as AWS's, with this many running in an
/// account and region.
pub(crate) fn computed(running: usize, rate: f64) -> Delays {
    let mut chance = Chance(1);
    let every = timing::poll_every(running, rate);
    let spread = (P95 / MEDIAN).ln() / 1.645;
    let mut polls = 0;
    let delays = (0..JOBS).map(|_| {
        let (length, angle) = (chance.next().max(1e-12), chance.next());
        let normal = (-2.0 * length.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
        let length = MEDIAN * (spread * normal).exp();
        let mut now = 0.0;
        while now < length {
            now += timing::poll_delay(every, now >= 7200.0, chance.next()).as_secs_f64();
            polls += 1;
        }
        now - length
    });
    Delays::of(delays.collect(), polls)
}

impl Delays {
    fn of(mut delays: Vec<f64>, polls: usize) -> Self {
        delays.sort_by(f64::total_cmp);
        let at = |percent: usize| delays.get(delays.len() * percent / 100).copied().unwrap_or_default();
        Self {
            jobs: delays.len(),
            p50: at(50),
            p95: at(95),
            polls: crate::ratio::ratio(polls, delays.len()),
        }
    }
}

/// A generator of numbers in 0..1, the same in each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
