//! The soak: 200 resources, two operators, users and a nemesis, all at once. Then quiet, and a checker that examines
//! the whole history.
//!
//! `SOAK_SECONDS` sets the length of the disturbance and `SOAK_SEED` the actions. The order of events differs in each
//! run. The seed is printed. After a violation the whole history is kept in a folder whose path is printed.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod nemesis;
mod recorder;
mod users;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use amplify_devcluster::{Cluster, Options};
use amplify_simulator::{Operation, Settings};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use amplify_testkit::{
    gate::Gate,
    laws::{
        checker::{self, Findings, Law, Violation},
        history::{self, History},
    },
    specimen,
    stage::{APP, PATIENCE, Setup, Stage, World},
};
use nemesis::{Damage, Operators, Size};
use recorder::Recorder;
use users::{Deeds, Users};

/// The longest time that a request may be on its way on a busy machine, in milliseconds.
const ON_THE_WAY: history::Millis = 5000;

const OBJECTS: usize = 200;
const USERS: usize = 4;
/// The length of the silence at the end.
const SILENCE: Duration = Duration::from_secs(10);
const OUTCOME_GRACE: Duration = Duration::from_secs(15);
/// Short, so that drift is detected during the soak.
const DRIFT_INTERVAL: Duration = Duration::from_secs(20);
/// No check is due during the silence.
const NEVER: &str = "--drift-interval=876000h";
const FLAGS: [&str; 7] = [
    "--absence-grace=6s",
    "--job-timeout=20s",
    // A second attempt would come only after a minute.
    "--max-job-attempts=1",
    "--aws-requests-per-second=300",
    "--aws-burst=300",
    "--concurrency=32",
    "--log-format=text",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    specimen::assert_whole();
    let soak = Trial::test(
        "whatever_happens_nothing_is_lost_or_made_twice_and_status_tells_the_truth",
        || Runtime::new().expect("a runtime").block_on(soak()),
    );
    libtest_mimic::run(&arguments, vec![soak]).exit_code()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .map_or(default, |value| {
            value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}"))
        })
}

async fn soak() -> Result<(), Failed> {
    let seconds = setting("SOAK_SECONDS", 30);
    let seed = setting("SOAK_SEED", 1);
    println!("soak begins: SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let cluster = Cluster::start(options)
        .await
        .map_err(|error| format!("no dev cluster: {error:#}"))?;
    let world = World::new(&cluster).await;
    let outcome = run(world, seed, Duration::from_secs(seconds)).await;
    cluster.stop().await.expect("the dev cluster ends");
    outcome
}

#[expect(clippy::too_many_lines, reason = "one thing after the other")]
async fn run(world: Arc<World>, seed: u64, length: Duration) -> Result<(), Failed> {
    let begin = Instant::now();
    let setup = Setup {
        flags: Vec::new(),
        settings: Settings {
            job_duration: Duration::from_secs(2),
            new_backends_have_auth: true,
            ..Settings::default()
        },
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    let gate = Arc::new(Gate::before(&mut stage).await);
    if std::env::var_os("SOAK_DEBUG").is_none() {
        stage.set("RUST_LOG", "info");
    }
    let stage = Arc::new(stage);
    let recorder = Arc::new(Recorder::of(&stage).await);
    let users = Arc::new(Users {
        stage: stage.clone(),
        recorder: recorder.clone(),
        cast: users::cast(OBJECTS),
        deeds: Deeds::default(),
    });
    users.prepare().await;
    let damage = Arc::new(Damage::default());
    let mut flags: Vec<_> = FLAGS.iter().map(ToString::to_string).collect();
    flags.push(format!("--outcome-grace={}s", OUTCOME_GRACE.as_secs()));
    flags.push(format!("--drift-interval={}s", DRIFT_INTERVAL.as_secs()));
    let mut operators = Operators::start(stage.clone(), flags).await;

    let world = Disturbed {
        users: users.clone(),
        gate: gate.clone(),
        damage: damage.clone(),
    };
    let at_work = world.disturb(&mut operators, seed, length).await?;

    // The quiet part begins.
    nemesis::calm_aws(&stage);
    nemesis::calm_kubernetes(&gate);
    users.rest().await;
    let settled = settle(&mut operators, &stage, &recorder).await;
    let last = size(&mut operators).await?;
    let first = peak(&at_work[..at_work.len().div_ceil(2)], last.0);
    let mut violations = Vec::new();
    if settled {
        violations.extend(silence(&mut operators, &stage, &recorder).await);
    }
    if let Some(why) = recorder.broken() {
        return Err(format!("seed {seed}: the record has a hole: {why}").into());
    }
    let history = history(&stage, &recorder, &users, &damage);
    let mut findings = checker::check(&history);
    findings.violations.extend(checker::check_quiet(&history));
    findings.violations.append(&mut violations);
    findings.violations.extend(flat(first, last.1));
    findings.violations.sort();
    println!(
        "{}",
        figures(
            seed,
            begin.elapsed(),
            &history,
            &findings,
            &damage,
            &users.deeds,
            &operators,
            [first, last.1]
        )
    );
    if findings.violations.is_empty() {
        return Ok(());
    }
    let folder = keep(seed, &stage, &history);
    let mut told = format!(
        "seed {seed}: {} violations; the history is in {folder}",
        findings.violations.len()
    );
    for violation in findings.violations.iter().take(20) {
        let _written = write!(told, "\n{:?}: {}", violation.law, violation.what);
    }
    Err(told.into())
}

/// Everything that disturbs the operators.
struct Disturbed {
    users: Arc<Users>,
    gate: Arc<Gate>,
    damage: Arc<Damage>,
}

impl Disturbed {
    /// Runs all disturbances at once. For the last third the operators themselves are left alone. Returns their sizes
    /// in that time.
    async fn disturb(
        &self,
        operators: &mut Operators,
        seed: u64,
        length: Duration,
    ) -> Result<Vec<(u32, Size)>, Failed> {
        let (harm, end) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let mut seeds = fastrand::Rng::with_seed(seed);
        {
            let (users, seed) = (self.users.clone(), seeds.u64(..));
            tasks.spawn(async move { users.begin(seed).await });
        }
        for _ in 0..USERS {
            let (users, seed, end) = (self.users.clone(), seeds.u64(..), end.clone());
            tasks.spawn(async move { users.work(seed, Duration::from_millis(100), end).await });
        }
        {
            let (users, damage) = (self.users.clone(), self.damage.clone());
            let (seed, end) = (seeds.u64(..), end.clone());
            tasks.spawn(async move { nemesis::disturb_aws(&users.stage, &users.cast, &damage, seed, end).await });
        }
        {
            let (gate, damage) = (self.gate.clone(), self.damage.clone());
            let (seed, end) = (seeds.u64(..), end.clone());
            tasks.spawn(async move { nemesis::disturb_kubernetes(&gate, &damage, seed, end).await });
        }
        {
            let (harm, end) = (harm.clone(), end.clone());
            tasks.spawn(async move {
                tokio::time::sleep(length * 2 / 3).await;
                harm.cancel();
                tokio::time::sleep(length / 3).await;
                end.cancel();
            });
        }
        operators.disturb(&self.damage, seeds.u64(..), &harm).await;
        operators.keep(&end).await;
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|error| format!("seed {seed}: {error}"))?;
        }
        Ok(operators.sizes.clone())
    }
}

/// Waits until every resource is at rest. Returns false if some are not in time; the checker then names them.
async fn settle(operators: &mut Operators, stage: &Stage, recorder: &Recorder) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let pause = CancellationToken::new();
        pause.cancel();
        operators.keep(&pause).await;
        let mut living = recorder.living();
        for last in &mut living {
            last.held = recorder::held(stage, last);
        }
        if living.iter().all(|last| checker::is_at_rest(last, &living)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}

/// Restarts the operators at rest. Checks that nothing is written, and that AWS is not called after a look at each
/// Stalled resource.
async fn silence(operators: &mut Operators, stage: &Stage, recorder: &Recorder) -> Vec<Violation> {
    let versions = recorder.count();
    operators.restart_with(NEVER).await;
    let mut calls = stage.all_calls().len();
    let mut quiet_since = Instant::now();
    let begin = Instant::now();
    while quiet_since.elapsed() < SILENCE && begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = stage.all_calls().len();
        // Only during the start. Later calls would come from a resource that is not at rest.
        if now != calls && begin.elapsed() < SILENCE {
            (calls, quiet_since) = (now, Instant::now());
        }
    }
    let broken = |what: String| Violation {
        law: Law::Settles,
        name: String::new(),
        what,
    };
    let mut violations = Vec::new();
    let written = recorder.count() - versions;
    if written > 0 {
        violations.push(broken(format!("{written} versions were written in silence")));
    }
    let called = stage.all_calls();
    if called.len() > calls {
        violations.push(broken(format!("AWS was called in silence: {:?}", &called[calls..])));
    }
    violations
}

/// Returns the size of the leader, as soon as a leader answers.
async fn size(operators: &mut Operators) -> Result<(u32, Size), Failed> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let pause = CancellationToken::new();
        pause.cancel();
        operators.keep(&pause).await;
        if let Some(size) = operators.size().await {
            return Ok(size);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err("nobody leads".into())
}

/// Returns the highest size of this process. If it never led, returns that of the leaders, which run the same program
/// with the same resources.
fn peak(sizes: &[(u32, Size)], process: u32) -> Size {
    let led = sizes.iter().any(|(other, _)| *other == process);
    let sizes = sizes.iter().filter(|(other, _)| !led || *other == process);
    sizes.fold(Size::default(), |peak, (_, size)| Size {
        kibibytes: peak.kibibytes.max(size.kibibytes),
        tasks: peak.tasks.max(size.tasks),
    })
}

/// Each open connection is a task, even an idle one. Their number is random: up to one to Kubernetes and some to AWS
/// for each concurrent reconcile. If every pass or disturbance left a task behind, there would be hundreds.
const CONNECTIONS: u64 = 64;

/// Checks that the leader at rest is no larger than when it was first left alone.
fn flat(first: Size, last: Size) -> Option<Violation> {
    let grows = last.tasks > first.tasks + CONNECTIONS || last.kibibytes > first.kibibytes * 5 / 4 + 8 * 1024;
    (grows && first.tasks > 0).then(|| Violation {
        law: Law::Settles,
        name: String::new(),
        what: format!("the operator grows: {first:?}, then {last:?}"),
    })
}

fn history(stage: &Stage, recorder: &Recorder, users: &Users, damage: &Damage) -> History {
    let stripped = users.deeds.stripped.lock();
    let mut versions = recorder.versions();
    // With AWS's state at the end, not the one at the time of the last version.
    let mut last = BTreeMap::new();
    for (place, version) in versions.iter().enumerate() {
        last.insert(version.uid().to_owned(), place);
    }
    for place in last
        .into_values()
        .filter(|place| !versions[*place].gone)
        .collect::<Vec<_>>()
    {
        let mut now = versions[place].clone();
        now.held = recorder::held(stage, &now);
        // Added as a separate version, so that AWS's state at the time of the status write is kept.
        now.number = u64::MAX;
        versions.push(now);
    }
    History {
        versions,
        calls: stage.simulator.history().all().into_iter().map(Into::into).collect(),
        jobs: stage.aws().app((APP, "")).expect("the app").jobs,
        stripped: stripped.expect("no user has failed").clone(),
        meddled: damage.meddled(),
        schemas: users::schemas(),
        on_the_way: ON_THE_WAY,
        skew: 0,
        outcome_grace: i64::try_from(OUTCOME_GRACE.as_millis()).expect("short"),
        drift_interval: i64::try_from(DRIFT_INTERVAL.as_millis()).expect("short"),
    }
}

#[expect(clippy::too_many_arguments, reason = "the one line that tells of all")]
fn figures(
    seed: u64,
    length: Duration,
    history: &History,
    findings: &Findings,
    damage: &Damage,
    deeds: &Deeds,
    operators: &Operators,
    [first, last]: [Size; 2],
) -> String {
    use std::sync::atomic::Ordering::Relaxed;
    let sorts = damage.sorts();
    let faults: usize = sorts.values().sum();
    let sorts: Vec<_> = sorts.iter().map(|(sort, count)| format!("{count} {sort}")).collect();
    let objects: BTreeSet<_> = history.versions.iter().map(history::Version::uid).collect();
    let deletes = history.calls.iter().filter(|call| {
        let operation = call.operation;
        call.accepted
            && matches!(
                operation,
                Operation::DeleteBackend
                    | Operation::DeleteBackendApi
                    | Operation::DeleteBackendStorage
                    | Operation::DeleteBackendEnvironment
            )
    });
    format!(
        "evidence: soak: seed {seed}; {} s; {} objects; {} versions; users: {} creates, {} edits, {} deletes, {} refused edits, {} stripped \
         finalizers; disturbances: {faults} ({}); restarts: {}; AWS calls: {}; accepted deletes: {}; accepted creates: {}, \
         per intent at most {}; lost jobs: {}; false Ready: {}; violations: {}; RSS {} -> {} KiB; tasks {} -> {}",
        length.as_secs(),
        objects.len(),
        history.versions.len(),
        deeds.creates.load(Relaxed),
        deeds.edits.load(Relaxed),
        deeds.deletes.load(Relaxed),
        deeds.refused.load(Relaxed),
        deeds.strips.load(Relaxed),
        sorts.join(", "),
        operators.restarts,
        history.calls.len(),
        deletes.count(),
        findings.creates,
        findings.most_creates,
        findings.count(Law::NoLostJob),
        findings.count(Law::TrueReady),
        findings.violations.len(),
        first.kibibytes,
        last.kibibytes,
        first.tasks,
        last.tasks,
    )
}

/// Stores the whole history in a folder for later examination.
fn keep(seed: u64, stage: &Stage, history: &History) -> String {
    let folder = std::env::temp_dir().join(format!("amplify-operator-soak-{seed}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let versions: Vec<_> = history
        .versions
        .iter()
        .map(|version| {
            format!(
                "{} {} {} {} held={}",
                version.seen,
                version.number,
                if version.gone { "GONE" } else { "" },
                version.object,
                version.held
            )
        })
        .collect();
    let calls: Vec<_> = stage
        .simulator
        .history()
        .all()
        .iter()
        .map(|call| format!("{call:?}"))
        .collect();
    let jobs: Vec<_> = history.jobs.iter().map(|jobs| format!("{jobs:?}")).collect();
    for (name, lines) in [("versions", versions), ("calls", calls), ("jobs", jobs)] {
        std::fs::write(folder.join(name), lines.join("\n")).expect("a file");
    }
    std::fs::write(
        folder.join("meddled"),
        format!("{:?}\n{:?}", history.meddled, history.stripped),
    )
    .expect("a file");
    for host in ["one", "two"] {
        let name = format!("{host}.log");
        std::fs::copy(stage.dir.path().join(&name), folder.join(&name)).expect("a log");
    }
    folder.display().to_string()
}
