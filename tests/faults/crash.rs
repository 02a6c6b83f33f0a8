//! The crash sweep: the operator is killed just before and just after each request of each life, and started again. The
//! end result is the same as in a life without a crash.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use amplify_simulator::{Action, Class, Fault, JobFault, JobScript, Operation, Settings};
use amplify_testkit::{
    gate::{Asked, Gate, Treatment},
    specimen::{SPECIMENS, Specimen},
    stage::{APP, Kind, PATIENCE, Setup, Stage, World, condition, ready},
    suite::Test,
};
use futures::{
    FutureExt as _,
    future::{join, join_all},
};
use serde_json::{Value, json};

use crate::{STAGES, tally::TALLY};

amplify_testkit::tests! {
    a_second_crash_while_an_accepted_create_is_found_again_changes_nothing_in_the_end,
    a_second_crash_while_a_create_that_never_arrived_is_sent_again_changes_nothing_in_the_end,
}

/// Returns a sweep for each act of each specimen.
pub(crate) fn sweeps() -> Vec<Test> {
    let lives = SPECIMENS.iter().flat_map(|specimen| {
        let acts = [
            Some((Act::Create, "creating")),
            specimen.edit.map(|_| (Act::Update, "updating")),
            // A clone or a linked bucket is removed by the same requests as other objects of its kind.
            Specimen::of_each_kind()
                .any(|first| first.name == specimen.name)
                .then_some((Act::Delete, "deleting")),
        ];
        let fails = (specimen.name == "backend").then_some((Act::FailToCreate, "failing_to_create"));
        acts.into_iter()
            .flatten()
            .chain(fails)
            .map(move |(act, doing)| (Life { specimen, act }, doing))
    });
    let tests = lives.map(|(life, doing)| Test {
        name: format!(
            "a_crash_at_any_request_of_{doing}_a_{}_changes_nothing_in_the_end",
            life.specimen.name
        ),
        run: Arc::new(move |world| Box::pin(sweep(world, life))),
    });
    tests.collect()
}

/// Returns the life that creates a backend.
fn create_backend() -> Life {
    Life {
        specimen: Specimen::named("backend"),
        act: Act::Create,
    }
}

async fn a_second_crash_while_an_accepted_create_is_found_again_changes_nothing_in_the_end(world: Arc<World>) {
    let first = Point {
        request: Request::Aws(Operation::CreateBackend, 0),
        after: true,
    };
    sweep_recovery(world, create_backend(), first, true).await;
}

async fn a_second_crash_while_a_create_that_never_arrived_is_sent_again_changes_nothing_in_the_end(world: Arc<World>) {
    let first = Point {
        request: Request::Aws(Operation::CreateBackend, 0),
        after: false,
    };
    sweep_recovery(world, create_backend(), first, false).await;
}

/// The name of the resource in a life, and of its environment.
const NAME: &str = "dev";

/// A life: a specimen, and the act that it goes through.
#[derive(Clone, Copy)]
struct Life {
    specimen: &'static Specimen,
    act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Create,
    /// The job fails and leaves nothing.
    FailToCreate,
    Update,
    Delete,
}

impl Life {
    fn kind(self) -> Kind {
        self.specimen.kind
    }

    /// Creates the objects that exist before the life begins.
    async fn prepare(self, stage: &Stage) {
        (self.specimen.prepare)(&stage.aws(), NAME);
        match self.act {
            Act::Create => {}
            Act::FailToCreate => {
                let fails = JobScript::failed("the stack rolled back", false);
                stage.aws().job_fault(JobFault::on(self.specimen.create(), fails));
            }
            Act::Update | Act::Delete => {
                let usual = stage.aws().settings().job_duration;
                stage
                    .aws()
                    .change_settings(|settings| settings.job_duration = Duration::ZERO);
                stage.create(self.kind(), NAME, (self.specimen.spec)(NAME)).await;
                stage.wait_until_ready(self.kind(), NAME).await;
                stage.aws().change_settings(|settings| settings.job_duration = usual);
            }
        }
    }

    async fn begin(self, stage: &Stage) {
        match self.act {
            Act::Create | Act::FailToCreate => stage.create(self.kind(), NAME, (self.specimen.spec)(NAME)).await,
            Act::Update => {
                let edit = self.specimen.edit.expect("an edit");
                stage.patch(self.kind(), NAME, edit()).await;
            }
            Act::Delete => stage.delete(self.kind(), NAME).await,
        }
    }

    /// Waits for the end of the life. Returns the resource, or null if it is gone.
    async fn end(self, stage: &Stage) -> Value {
        match self.act {
            Act::FailToCreate => stage.wait_for_reason(self.kind(), NAME, "JobFailed").await,
            Act::Create | Act::Update => stage.wait_until_ready(self.kind(), NAME).await,
            Act::Delete => {
                stage.wait_until_gone(self.kind(), NAME).await;
                Value::Null
            }
        }
    }
}

/// A request of a life: its kind, and how many requests of this kind come before it.
#[derive(Clone, Debug)]
enum Request {
    Kubernetes(Asked, usize),
    Aws(Operation, usize),
}

impl Request {
    fn writes(&self) -> bool {
        match self {
            Self::Kubernetes(asked, _) => asked.is_write(),
            Self::Aws(operation, _) => operation.class() == Class::Write,
        }
    }
}

/// The point of a kill: just before or just after a request.
#[derive(Clone, Debug)]
struct Point {
    request: Request,
    after: bool,
}

/// The result of a life.
#[derive(Debug, PartialEq)]
struct Remains {
    /// The resource, without the fields that differ between lives.
    resource: Value,
    /// The state of AWS.
    aws: Value,
    /// The writes that AWS accepted.
    accepted: BTreeMap<Operation, u64>,
}

impl Remains {
    fn of(life: Life, stage: &Stage, object: &Value) -> Self {
        let status = &object["status"];
        let conditions: BTreeMap<_, _> = ["Ready", "Reconciling", "Stalled"]
            .into_iter()
            .map(|name| {
                let condition = condition(object, name);
                (
                    name,
                    json!([
                        condition["status"],
                        condition["reason"],
                        condition["observedGeneration"]
                    ]),
                )
            })
            .collect();
        let job = &status["job"];
        let mut fields = vec!["failures", "status", "unconfirmed", "error", "backendEnvironmentName"];
        if life.act != Act::Update {
            // An update that could not be recorded is waited for like another client's job. A look then shows its
            // result.
            fields.extend(["operation", "generation"]);
        }
        let job: BTreeMap<_, _> = fields.into_iter().map(|field| (field, &job[field])).collect();
        let same = [
            "observedGeneration",
            "origin",
            "accountId",
            "region",
            "sentConfigHash",
            "echoedConfigHash",
        ];
        let same: BTreeMap<_, _> = same.into_iter().map(|field| (field, &status[field])).collect();
        let app = stage.aws().app((APP, NAME)).expect("the app");
        if !object.is_null() {
            Self::check(life, stage, object);
        }
        let accepted = stage.simulator.history().counts().into_iter();
        Self {
            resource: json!({
                "finalizers": object["metadata"]["finalizers"], "conditions": conditions, "job": job, "status": same,
            }),
            // The simulator chooses the names of stacks and linked storages.
            aws: json!([
                nameless(json!(app.backends)),
                app.environments.keys().collect::<Vec<_>>()
            ]),
            accepted: accepted
                .map(|(operation, count)| (operation, count.accepted))
                .filter(|(_, accepted)| *accepted > 0)
                .collect(),
        }
    }

    /// Checks that the resource names the job that AWS ran, and that Ready is true.
    fn check(life: Life, stage: &Stage, object: &Value) {
        let jobs = stage.simulator.history().accepted_creates();
        let started = jobs.last().and_then(|call| call.job_id.clone());
        if life.act != Act::Update && started.as_deref() != object["status"]["job"]["id"].as_str() {
            TALLY.lost_job();
            panic!("AWS ran {started:?}: {object:#}");
        }
        let app = stage.aws().app((APP, NAME)).expect("the app");
        let is_there = (life.specimen.is_held)(&app, NAME, &object["spec"]);
        if ready(object)["status"] == "True" && !is_there {
            TALLY.false_ready();
            panic!("Ready, and nothing is there: {object:#}");
        }
    }
}

/// Returns the backends, with a list of storages instead of a map by name.
fn nameless(mut backends: Value) -> Value {
    for backend in backends.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        let storages = backend["storages"].as_object().into_iter().flat_map(|all| all.values());
        let storages: Vec<_> = storages.cloned().collect();
        backend["storages"] = storages.into();
    }
    backends
}

/// Returns a stage at the start of the life. The operator runs behind a gate.
async fn set(world: &Arc<World>, life: Life) -> (Stage, Gate) {
    let setup = Setup {
        flags: vec!["--outcome-grace=8s", "--absence-grace=3s", "--max-job-attempts=1"],
        settings: Settings {
            // The job ends before the first poll, which comes after 5 s.
            job_duration: Duration::from_secs(1),
            ..Settings::default()
        },
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world.clone(), setup).await;
    let gate = Gate::before(&mut stage).await;
    stage.start();
    life.prepare(&stage).await;
    stage.simulator.history().clear();
    gate.forget();
    (stage, gate)
}

/// Lives without a crash. Returns the requests and the result.
async fn record(world: &Arc<World>, life: Life) -> (Vec<Request>, Remains) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world, life).await;
    life.begin(&stage).await;
    let object = life.end(&stage).await;
    TALLY.creates(&stage);
    (asked(&stage, &gate, 0, false), Remains::of(life, &stage, &object))
}

/// Returns the requests that the gate has seen, with or without the lists and watches of the start, and the calls to
/// AWS after the first `calls` ones.
fn asked(stage: &Stage, gate: &Gate, calls: usize, start: bool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut counted: BTreeMap<Asked, usize> = BTreeMap::new();
    let is_meant = |asked: &Asked| asked.is_work() || start && asked.resource != "events";
    for asked in gate.seen().into_iter().map(|seen| seen.asked).filter(is_meant) {
        let before = counted.entry(asked.clone()).or_default();
        requests.push(Request::Kubernetes(asked, *before));
        *before += 1;
    }
    let mut counted: BTreeMap<Operation, usize> = BTreeMap::new();
    for operation in stage.all_calls().into_iter().skip(calls) {
        let before = counted.entry(operation).or_default();
        requests.push(Request::Aws(operation, *before));
        *before += 1;
    }
    requests
}

/// Lives on until this point, and kills the operator there.
async fn crash_at(stage: &mut Stage, gate: &Gate, point: &Point, go: impl AsyncFnOnce(&mut Stage)) {
    let hits = gate.hits();
    let faulted = |stage: &Stage| {
        stage
            .simulator
            .history()
            .all()
            .iter()
            .filter(|call| call.faulted)
            .count()
    };
    let before = faulted(stage);
    match &point.request {
        Request::Kubernetes(asked, skip) => {
            let treatment = if point.after {
                Treatment::HoldReply
            } else {
                Treatment::Hold
            };
            gate.treat(asked, *skip, treatment);
        }
        Request::Aws(operation, skip) => {
            let action = if point.after {
                Action::hang_after()
            } else {
                Action::hang()
            };
            stage.aws().fault(Fault::on(*operation, action).skip(*skip as u64));
        }
    }
    go(stage).await;
    let reached = async {
        match &point.request {
            Request::Kubernetes(..) => gate.wait_for_hits(hits + 1).await,
            Request::Aws(..) => {
                while faulted(stage) == before {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, reached).await;
    // How often AWS is read depends on the speed of the machine. The operator then dies at rest.
    let must_come = point.request.writes() || matches!(point.request, Request::Kubernetes(..));
    assert!(in_time.is_ok() || !must_come, "the request comes in this life too");
    stage.kill().await;
}

/// Lives once, with a crash at each of these points: the second crash comes while the operator recovers from the first.
/// Returns the result, and the requests since the last crash.
async fn crash(world: &Arc<World>, life: Life, points: &[&Point]) -> (Remains, Vec<Request>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (mut stage, gate) = set(world, life).await;
    let mut points = points.iter();
    if let Some(first) = points.next() {
        crash_at(&mut stage, &gate, first, async |stage| life.begin(stage).await).await;
    }
    for point in points {
        crash_at(&mut stage, &gate, point, async |stage| stage.start()).await;
    }
    gate.forget();
    let calls = stage.all_calls().len();
    stage.start();
    let object = life.end(&stage).await;
    TALLY.creates(&stage);
    TALLY.crash();
    (Remains::of(life, &stage, &object), asked(&stage, &gate, calls, true))
}

async fn sweep(world: Arc<World>, life: Life) {
    let (requests, clean) = record(&world, life).await;
    assert!(requests.len() > 2, "{requests:?}");
    let points = requests.iter().flat_map(|request| {
        [false, true].map(|after| {
            let request = request.clone();
            vec![Point { request, after }]
        })
    });
    crashes(&world, life, points.collect(), &clean).await;
}

/// Crashes at this point, and again at each request of the recovery from it. If `start` is set, also at the lists that
/// fill the stores. A read is only killed before it arrives, because an unanswered read has the same effect as none.
async fn sweep_recovery(world: Arc<World>, life: Life, first: Point, start: bool) {
    let ((_, clean), (_, recovery)) = join(record(&world, life), crash(&world, life, &[&first])).await;
    let is_meant = |request: &Request| match request {
        // The first list of a kind only checks whether the kind is served.
        Request::Kubernetes(asked, skip) => asked.is_work() || start && asked.verb == "list" && *skip == 1,
        // On a slow machine the job ends before it is polled.
        Request::Aws(operation, _) => *operation != Operation::GetBackendJob,
    };
    let mut points = Vec::new();
    for request in recovery.into_iter().filter(is_meant) {
        let both: &[bool] = if request.writes() { &[false, true] } else { &[false] };
        points.extend(both.iter().map(|after| {
            let (request, after) = (request.clone(), *after);
            vec![first.clone(), Point { request, after }]
        }));
    }
    assert!(points.len() > 8, "{points:?}");
    crashes(&world, life, points, &clean).await;
}

/// Runs many lives, each with its crashes, and checks that all have the same result.
async fn crashes(world: &Arc<World>, life: Life, lives: Vec<Vec<Point>>, clean: &Remains) {
    let lives = lives.iter().map(|points| async move {
        let points: Vec<_> = points.iter().collect();
        let left = AssertUnwindSafe(crash(world, life, &points)).catch_unwind().await;
        match left {
            Err(_) => Some(format!("{points:?}: see above")),
            Ok((remains, _)) if remains != *clean => Some(format!("{points:?}: {remains:?}")),
            Ok(_) => None,
        }
    });
    let wrong: Vec<_> = join_all(lives).await.into_iter().flatten().collect();
    assert!(
        wrong.is_empty(),
        "{clean:?} is left without a crash, but\n{}",
        wrong.join("\n")
    );
}
