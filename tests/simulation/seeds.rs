//! Runs seeds, each in a world of its own, and reduces the plans of failing runs.
//!
//! - In `make test`: a fixed set, and a few random ones.
//! - `SIMULATE_SECONDS` (0: until it is stopped): random ones for this long. `SIMULATE_SEED`: only this one. These two
//!   are `make simulate`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::{
    plan::Plan,
    run::{Outcome, run},
};

crate::trials! {
    the_same_seed_gives_the_same_run_byte_for_byte,
    whatever_happens_the_promises_are_kept,
}

/// The number of fixed seeds.
const FIXED: u64 = 6;
/// The number of random seeds after the fixed ones.
const FRESH: usize = 2;
/// The seeds that are run twice.
const SAME: [u64; 3] = [1, 2, 8];
/// The time limit for the reduction of a failing run.
const SHRINKING: Duration = Duration::from_mins(1);
/// The interval of progress messages.
const PROGRESS: Duration = Duration::from_secs(10);

fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for seed in SAME {
        let plan = Plan::of(seed);
        let [first, second] = [(); 2].map(|()| run(&plan).log);
        let differs = first.iter().zip(&second).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

fn whatever_happens_the_promises_are_kept() {
    let seeds = Mutex::new((1..=FIXED).chain(std::iter::repeat_with(any_seed).take(FRESH)));
    // Other suites run at the same time, so this uses half of the cores.
    let total = simulate(cores().div_ceil(2), || seeds.lock().next());
    if !total.failed.is_empty() {
        let failed = total.failed.keys().filter(|seed| **seed <= FIXED).count();
        println!("fixed seeds that fail: {failed} of {FIXED}");
    }
    assert!(total.failed.is_empty(), "{}", total.told());
}

/// The results of all runs.
#[derive(Debug, Default)]
struct Total {
    seeds: u64,
    simulated: Duration,
    events: usize,
    kubernetes_requests: u64,
    aws_calls: u64,
    creates: usize,
    restarts: u64,
    /// The violations of each failing seed.
    failed: BTreeMap<u64, Vec<String>>,
}

impl Total {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        self.events += outcome.events;
        self.kubernetes_requests += outcome.kubernetes_requests;
        self.aws_calls += outcome.aws_calls;
        self.creates += outcome.creates;
        self.restarts += outcome.restarts;
        if !outcome.violations.is_empty() {
            self.failed.insert(outcome.seed, outcome.violations);
        }
    }

    fn line(&self) -> String {
        let violations: usize = self.failed.values().map(Vec::len).sum();
        format!(
            "simulation: {} seeds; {:.0} simulated hours; {} events; violations: {violations}",
            self.seeds,
            self.simulated.as_secs_f64() / 3600.0,
            self.events
        )
    }

    fn told(&self) -> String {
        let mut told = self.line();
        for (seed, violations) in &self.failed {
            let _written = write!(told, "\nSIMULATE_SEED={seed} make simulate: {}", violations[0]);
        }
        told
    }
}

/// Returns the result of the run that the environment requests instead of tests, if any.
pub(crate) fn asked() -> Option<ExitCode> {
    let setting = |name: &str| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        Some(
            value
                .parse::<u64>()
                .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
        )
    };
    let total = match (setting("SIMULATE_SEED"), setting("SIMULATE_SECONDS")) {
        (Some(seed), _) => repeat(seed),
        (None, Some(seconds)) => {
            let begun = Instant::now();
            let is_over = || seconds > 0 && begun.elapsed().as_secs() >= seconds;
            simulate(cores(), || (!is_over()).then(any_seed))
        }
        (None, None) => return None,
    };
    println!("{}", total.line());
    Some(if total.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Runs seeds as long as there is a next one, this many at a time.
fn simulate(at_a_time: usize, next: impl Fn() -> Option<u64> + Sync) -> Total {
    let begun = Instant::now();
    let total = Mutex::new(Total::default());
    let told = Mutex::new(begun);
    let work = || {
        while let Some(seed) = next() {
            let outcome = protected(&Plan::of(seed));
            if !outcome.violations.is_empty() {
                show(&outcome);
            }
            total.lock().add(outcome);
            let mut told = told.lock();
            if told.elapsed() >= PROGRESS {
                *told = Instant::now();
                println!("{} ({:.0?})", total.lock().line(), begun.elapsed());
            }
        }
    };
    thread::scope(|threads| {
        for _ in 0..at_a_time {
            threads.spawn(work);
        }
    });
    let total = total.into_inner();
    println!(
        "evidence: {} in {:.0?}; requests to the API server: {}; calls to AWS: {}; accepted creates: {}; operators killed at a request: {}",
        total.line(),
        begun.elapsed(),
        total.kubernetes_requests,
        total.aws_calls,
        total.creates,
        total.restarts
    );
    total
}

/// Returns a random seed.
fn any_seed() -> u64 {
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or_default();
    millis * 1000 + DRAWN.fetch_add(1, Relaxed) as u64 % 1000
}

/// Runs one seed, prints its whole log, and reduces its plan if it fails.
fn repeat(seed: u64) -> Total {
    let plan = Plan::of(seed);
    let outcome = protected(&plan);
    if std::env::var_os("SIMULATE_LOG").is_some() {
        outcome.log.iter().for_each(|line| println!("{line}"));
    }
    if let Some(first) = outcome.violations.first() {
        show(&outcome);
        let small = shrink(plan, law(first));
        println!("the smallest run that was found in {SHRINKING:?} with the same law broken:");
        println!("{:?}", small.scene);
        for (at, event) in &small.events {
            println!("  {at:?} {event:?}");
        }
        let outcome = protected(&small);
        outcome.log.iter().for_each(|line| println!("{line}"));
        show(&outcome);
    }
    let mut total = Total::default();
    total.add(outcome);
    total
}

/// Runs a plan. A panic of the model or of the program is reported as a violation.
fn protected(plan: &Plan) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(plan))).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|&why| why.to_owned()));
        Outcome {
            seed: plan.seed,
            violations: vec![format!("Panic: {}", why.unwrap_or_default())],
            simulated: Duration::ZERO,
            events: 0,
            kubernetes_requests: 0,
            aws_calls: 0,
            creates: 0,
            restarts: 0,
            log: Vec::new(),
        }
    })
}

fn show(outcome: &Outcome) {
    println!("SIMULATE_SEED={} make simulate", outcome.seed);
    for violation in &outcome.violations {
        println!("  {}", amplify_operator::api::conditions::truncated(violation, 600));
    }
}

/// Returns the law in a violation.
fn law(violation: &str) -> &str {
    violation.split(':').next().unwrap_or_default()
}

/// Removes the events that are not needed to break this law.
fn shrink(mut plan: Plan, broken: &str) -> Plan {
    let begun = Instant::now();
    let still_fails = |plan: &Plan| protected(plan).violations.iter().any(|it| law(it) == broken);
    let mut part = plan.events.len().div_ceil(2);
    while part > 0 && begun.elapsed() < SHRINKING {
        let mut at = 0;
        while at < plan.events.len() && begun.elapsed() < SHRINKING {
            let mut smaller = plan.clone();
            let end = (at + part).min(plan.events.len());
            smaller.events.drain(at..end);
            if still_fails(&smaller) {
                plan = smaller;
            } else {
                at += part;
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    plan
}
