//! The crash sweep: the operator is killed just before and just after each request of each life, and started again.
//! Nothing in the end differs from a life without a crash.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use amplify_simulator::{Action, Class, Fault, JobFault, JobScript, Operation, Settings};
use futures::{
    FutureExt as _,
    future::{join, join_all},
};
use serde_json::{Value, json};

use crate::{
    STAGES,
    gate::{Asked, Gate, Treatment},
    stage::{APP, Kind, PATIENCE, Setup, Stage, World, backend, condition, environment, graphql_api, ready},
    tally::TALLY,
};

crate::tests! {
    a_second_crash_while_an_accepted_create_is_found_again_changes_nothing_in_the_end,
    a_second_crash_while_a_create_that_never_arrived_is_sent_again_changes_nothing_in_the_end,
    a_crash_at_any_request_of_creating_a_backend_changes_nothing_in_the_end,
    a_crash_at_any_request_of_cloning_a_backend_changes_nothing_in_the_end,
    a_crash_at_any_request_of_creating_an_api_changes_nothing_in_the_end,
    a_crash_at_any_request_of_updating_an_api_changes_nothing_in_the_end,
    a_crash_at_any_request_of_a_create_that_fails_changes_nothing_in_the_end,
    a_crash_at_any_request_of_deleting_a_backend_changes_nothing_in_the_end,
    a_crash_at_any_request_of_deleting_an_api_changes_nothing_in_the_end,
    a_crash_at_any_request_of_creating_a_record_changes_nothing_in_the_end,
    a_crash_at_any_request_of_deleting_a_record_changes_nothing_in_the_end,
}

async fn a_crash_at_any_request_of_creating_a_backend_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::CreateBackend).await;
}

async fn a_crash_at_any_request_of_cloning_a_backend_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::CloneBackend).await;
}

async fn a_crash_at_any_request_of_creating_an_api_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::CreateApi).await;
}

async fn a_crash_at_any_request_of_updating_an_api_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::UpdateApi).await;
}

async fn a_crash_at_any_request_of_a_create_that_fails_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::FailToCreate).await;
}

async fn a_crash_at_any_request_of_deleting_a_backend_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::DeleteBackend).await;
}

async fn a_crash_at_any_request_of_deleting_an_api_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::DeleteApi).await;
}

async fn a_crash_at_any_request_of_creating_a_record_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::CreateRecord).await;
}

async fn a_crash_at_any_request_of_deleting_a_record_changes_nothing_in_the_end(world: Arc<World>) {
    sweep(world, Life::DeleteRecord).await;
}

async fn a_second_crash_while_an_accepted_create_is_found_again_changes_nothing_in_the_end(world: Arc<World>) {
    let first = Point {
        request: Request::Aws(Operation::CreateBackend, 0),
        after: true,
    };
    sweep_recovery(world, Life::CreateBackend, first, true).await;
}

async fn a_second_crash_while_a_create_that_never_arrived_is_sent_again_changes_nothing_in_the_end(world: Arc<World>) {
    let first = Point {
        request: Request::Aws(Operation::CreateBackend, 0),
        after: false,
    };
    sweep_recovery(world, Life::CreateBackend, first, false).await;
}

/// The resource that a life is about, and its environment.
const NAME: &str = "dev";

/// What happens in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    CreateBackend,
    CloneBackend,
    CreateApi,
    UpdateApi,
    FailToCreate,
    DeleteBackend,
    DeleteApi,
    CreateRecord,
    DeleteRecord,
}

impl Life {
    const fn kind(self) -> Kind {
        match self {
            Self::CreateBackend | Self::CloneBackend | Self::FailToCreate | Self::DeleteBackend => Kind::Backend,
            Self::CreateApi | Self::UpdateApi | Self::DeleteApi => Kind::Api,
            Self::CreateRecord | Self::DeleteRecord => Kind::Environment,
        }
    }

    const fn begins_with_the_resource(self) -> bool {
        matches!(
            self,
            Self::UpdateApi | Self::DeleteBackend | Self::DeleteApi | Self::DeleteRecord
        )
    }

    fn spec(self) -> Value {
        match self {
            Self::CloneBackend => {
                json!({ "appId": APP, "backendEnvironmentName": NAME, "cloneFrom": { "backendEnvironmentName": "main" } })
            }
            _ => match self.kind() {
                Kind::Backend => backend(NAME),
                Kind::Api => graphql_api(NAME, "type A @model { id: ID! }"),
                Kind::Environment => environment(NAME),
            },
        }
    }

    /// What is there before it begins.
    async fn prepare(self, stage: &Stage) {
        match self {
            Self::CloneBackend => assert!(stage.aws().put_backend((APP, "main"), "storefront")),
            Self::FailToCreate => {
                let fails = JobScript::failed("the stack rolled back", false);
                stage
                    .aws()
                    .job_fault(JobFault::on(Operation::CreateBackend, fails.clone()));
            }
            _ if self.kind() == Kind::Api => assert!(stage.aws().put_backend((APP, NAME), "storefront")),
            _ => {}
        }
        if self.begins_with_the_resource() {
            let usual = stage.aws().settings().job_duration;
            stage
                .aws()
                .change_settings(|settings| settings.job_duration = Duration::ZERO);
            stage.create(self.kind(), NAME, self.spec()).await;
            stage.wait_until_ready(self.kind(), NAME).await;
            stage.aws().change_settings(|settings| settings.job_duration = usual);
        }
    }

    async fn begin(self, stage: &Stage) {
        match self {
            Self::UpdateApi => {
                let patch = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
                stage.patch(self.kind(), NAME, patch).await;
            }
            _ if self.begins_with_the_resource() => stage.delete(self.kind(), NAME).await,
            _ => stage.create(self.kind(), NAME, self.spec()).await,
        }
    }

    /// The resource at the end; null where it is gone.
    async fn end(self, stage: &Stage) -> Value {
        match self {
            Self::FailToCreate => stage.wait_for_reason(self.kind(), NAME, "JobFailed").await,
            Self::UpdateApi => stage.wait_until_ready(self.kind(), NAME).await,
            _ if self.begins_with_the_resource() => {
                stage.wait_until_gone(self.kind(), NAME).await;
                Value::Null
            }
            _ => stage.wait_until_ready(self.kind(), NAME).await,
        }
    }
}

/// A request of a life: the one after so many others of its sort.
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

/// Where the operator is killed: just before or after a request.
#[derive(Clone, Debug)]
struct Point {
    request: Request,
    after: bool,
}

/// What a life leaves behind.
#[derive(Debug, PartialEq)]
struct Remains {
    /// The resource, without what differs from life to life.
    resource: Value,
    /// What AWS holds.
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
        if life != Life::UpdateApi {
            // An update that nobody could record is waited for as the job of anybody: a look tells what it left.
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
            // The simulator names a stack as it likes.
            aws: json!([app.backends, app.environments.keys().collect::<Vec<_>>()]),
            accepted: accepted
                .map(|(operation, count)| (operation, count.accepted))
                .filter(|(_, accepted)| *accepted > 0)
                .collect(),
        }
    }

    /// The job that AWS ran is the one that the resource names, and Ready is true.
    fn check(life: Life, stage: &Stage, object: &Value) {
        let jobs = stage.simulator.history().accepted_creates();
        let started = jobs.last().and_then(|call| call.job_id.clone());
        if life != Life::UpdateApi && started.as_deref() != object["status"]["job"]["id"].as_str() {
            TALLY.lost_job();
            panic!("AWS ran {started:?}: {object:#}");
        }
        let app = stage.aws().app((APP, NAME)).expect("the app");
        let is_there = match life.kind() {
            Kind::Backend => app.backends.contains_key(NAME),
            Kind::Api => !app.backends[NAME].apis.is_empty(),
            Kind::Environment => app.environments.contains_key(NAME),
        };
        if ready(object)["status"] == "True" && !is_there {
            TALLY.false_ready();
            panic!("Ready, and nothing is there: {object:#}");
        }
    }
}

/// A stage where the life can begin, with the operator running behind a gate.
async fn set(world: &Arc<World>, life: Life) -> (Stage, Gate) {
    let setup = Setup {
        flags: vec!["--outcome-grace=8s", "--absence-grace=3s", "--max-job-attempts=1"],
        settings: Settings {
            // The first poll comes after 5 s.
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

/// The requests of a life without a crash, and what it leaves behind.
async fn record(world: &Arc<World>, life: Life) -> (Vec<Request>, Remains) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world, life).await;
    life.begin(&stage).await;
    let object = life.end(&stage).await;
    TALLY.creates(&stage);
    (asked(&stage, &gate, 0, false), Remains::of(life, &stage, &object))
}

/// The requests that the gate has seen, with the lists and watches of the start or without, and the calls to AWS after
/// the first so many.
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

/// Lives on until this point, and is killed there.
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
    in_time.expect("the request comes in this life too");
    stage.kill().await;
}

/// Lives once, with a crash at each of these points: the second one while the operator recovers from the first.
/// Tells what it leaves behind, and what was asked since the last crash.
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

/// A crash at this point, and another one at each request of the recovery from it; at the lists that fill the stores as
/// well, where that is asked for. A read that is never answered is as good as one that was never made.
async fn sweep_recovery(world: Arc<World>, life: Life, first: Point, start: bool) {
    let ((_, clean), (_, recovery)) = join(record(&world, life), crash(&world, life, &[&first])).await;
    let is_meant = |request: &Request| match request {
        // The first list of a kind asks whether it is there at all.
        Request::Kubernetes(asked, skip) => asked.is_work() || start && asked.verb == "list" && *skip == 1,
        // Where the machine is slow, the job is over before it is polled.
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

/// Many lives, each with its crashes: all leave the same behind.
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
