//! The fault matrix: each place where a life calls AWS, times each way in which AWS can fail there once.
//!
//! All lives with the same fault share a stage. Each has an environment of its own, which the fault is tied to.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{
    Action, Class, Fault, Filter, Garbage,
    Operation::{
        self, CloneBackend, CreateBackend, CreateBackendApi, CreateBackendEnvironment, DeleteBackend, DeleteBackendApi,
        DeleteBackendEnvironment, GetBackend, GetBackendApi, GetBackendEnvironment, GetBackendJob, ListBackendJobs,
        UpdateBackendApi,
    },
    Settings,
};
use futures::{FutureExt as _, future::join_all};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    STAGES,
    gate::Gate,
    stage::{APP, Kind, Setup, Stage, World, backend, environment, graphql_api, is_stalled, ready},
    tally::TALLY,
};

crate::tests! {
    a_hang_before_the_work_of_any_call_is_overcome,
    a_hang_after_the_work_of_any_call_is_overcome,
    an_internal_error_once_in_any_call_is_overcome,
    an_unavailable_service_once_in_any_call_is_overcome,
    a_gateway_timeout_once_in_any_call_is_overcome,
    an_internal_error_after_the_work_of_any_call_is_overcome,
    a_reset_before_the_work_of_any_call_is_overcome,
    a_reset_after_the_work_of_any_call_is_overcome,
    a_truncated_reply_to_any_call_is_overcome,
    a_page_of_html_instead_of_any_reply_is_overcome,
    an_answer_of_a_proxy_once_to_any_call_is_overcome,
    an_endpoint_that_once_does_not_know_any_operation_is_overcome,
    a_request_that_arrives_late_is_overcome_in_any_write,
    an_empty_reply_to_any_call_is_overcome,
    a_reply_without_members_to_any_write_is_overcome,
    a_refusal_inside_the_reply_to_any_write_is_told_and_overcome_when_asked,
    too_many_requests_once_in_any_call_is_overcome,
    a_limit_that_is_a_rate_once_in_any_call_is_overcome,
    a_bad_request_that_is_a_rate_once_in_any_call_is_overcome,
    a_quota_that_a_create_meets_is_told_and_overcome_when_asked,
    a_job_that_any_write_meets_is_waited_for,
    a_job_that_any_write_meets_as_a_validation_error_is_waited_for,
    expired_credentials_in_any_call_are_told_and_overcome,
    a_denied_call_is_told_and_overcome,
    a_bad_request_in_any_write_is_told_and_overcome_when_asked,
    a_reply_that_is_no_utf8_to_any_call_is_overcome,
    a_reply_that_is_nested_without_end_to_any_call_is_overcome,
    a_reply_of_many_megabytes_is_overcome,
    what_reads_show_late_is_not_made_again,
}

/// What a resource goes through: it is created, Ready, updated where its kind can be, deleted and gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Backend,
    Clone,
    Api,
    Record,
}

use Life::{Api, Backend, Clone as CloneLife, Record};

/// Each call of each life but for repeated polls: the operation, and how many calls of it come first.
const PLACES: &[(Life, Operation, u64)] = &[
    (Backend, GetBackend, 0),
    (Backend, ListBackendJobs, 0),
    (Backend, CreateBackend, 0),
    (Backend, GetBackendJob, 0),
    (Backend, GetBackend, 1),
    (Backend, GetBackend, 2),
    (Backend, DeleteBackend, 0),
    (Backend, GetBackendJob, 1),
    (CloneLife, ListBackendJobs, 0),
    (CloneLife, CloneBackend, 0),
    (Api, GetBackendApi, 0),
    (Api, ListBackendJobs, 0),
    (Api, CreateBackendApi, 0),
    (Api, GetBackendJob, 0),
    (Api, GetBackendApi, 1),
    (Api, GetBackendApi, 2),
    (Api, UpdateBackendApi, 0),
    (Api, GetBackendJob, 1),
    (Api, GetBackendApi, 3),
    (Api, GetBackendApi, 4),
    (Api, DeleteBackendApi, 0),
    (Api, GetBackendJob, 2),
    (Record, GetBackendEnvironment, 0),
    (Record, CreateBackendEnvironment, 0),
    (Record, GetBackendEnvironment, 1),
    (Record, DeleteBackendEnvironment, 0),
];

impl Life {
    const fn kind(self) -> Kind {
        match self {
            Backend | CloneLife => Kind::Backend,
            Api => Kind::Api,
            Record => Kind::Environment,
        }
    }

    /// The writes of a whole life.
    const fn writes(self) -> &'static [Operation] {
        match self {
            Backend => &[CreateBackend, DeleteBackend],
            CloneLife => &[CloneBackend, DeleteBackend],
            Api => &[CreateBackendApi, UpdateBackendApi, DeleteBackendApi],
            Record => &[CreateBackendEnvironment, DeleteBackendEnvironment],
        }
    }

    fn spec(self, name: &str) -> Value {
        match self {
            Backend => backend(name),
            CloneLife => json!({
                "appId": APP, "backendEnvironmentName": name, "cloneFrom": { "backendEnvironmentName": source(name) },
            }),
            Api => graphql_api(name, "type A @model { id: ID! }"),
            Record => environment(name),
        }
    }
}

/// What a clone is made of: one for each, since AWS runs one job at a time in it too.
fn source(name: &str) -> String {
    format!("of-{name}")
}

/// Which places a fault makes sense in.
type Where = fn(Operation) -> bool;

const fn anywhere(_: Operation) -> bool {
    true
}

fn in_writes(operation: Operation) -> bool {
    operation.class() == Class::Write
}

/// The only create that AWS's model gives a quota to.
fn in_records(operation: Operation) -> bool {
    operation == CreateBackendEnvironment
}

fn in_writes_with_jobs(operation: Operation) -> bool {
    in_writes(operation) && !matches!(operation, CreateBackendEnvironment | DeleteBackendEnvironment)
}

/// What the resource may say while it is disturbed, besides what it says in a quiet life.
struct Disturbed {
    says: &'static [&'static str],
    /// Nobody has to ask for another try.
    alone: bool,
}

const QUIET: &[&str] = &["Creating", "Cloning", "Updating", "Deleting", "Available"];

const UNAVAILABLE: Disturbed = Disturbed {
    // An update or a delete that was carried out meets its own job.
    says: &["AwsUnavailable", "WaitingForJob"],
    alone: true,
};
const THROTTLED: Disturbed = Disturbed {
    says: &["Throttled"],
    alone: true,
};
const PENDING: Disturbed = Disturbed {
    says: &["WaitingForJob"],
    alone: true,
};
const DENIED: Disturbed = Disturbed {
    says: &["AccessDenied"],
    alone: false,
};
const QUOTA: Disturbed = Disturbed {
    says: &["QuotaExceeded"],
    alone: false,
};
const INVALID: Disturbed = Disturbed {
    says: &["InvalidSpec"],
    alone: false,
};

async fn an_internal_error_once_in_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::server_error(500), anywhere, UNAVAILABLE).await;
}

async fn an_unavailable_service_once_in_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::server_error(503), anywhere, UNAVAILABLE).await;
}

async fn a_gateway_timeout_once_in_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::server_error(504), anywhere, UNAVAILABLE).await;
}

async fn an_internal_error_after_the_work_of_any_call_is_overcome(world: Arc<World>) {
    row(
        world,
        || Action::ServerErrorAfter { status: 500 },
        anywhere,
        UNAVAILABLE,
    )
    .await;
}

async fn a_reset_before_the_work_of_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::Reset, anywhere, UNAVAILABLE).await;
}

async fn a_reset_after_the_work_of_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::ResetAfter, anywhere, UNAVAILABLE).await;
}

async fn a_truncated_reply_to_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::Truncate, anywhere, UNAVAILABLE).await;
}

async fn a_page_of_html_instead_of_any_reply_is_overcome(world: Arc<World>) {
    row(world, || Action::Garbage { kind: Garbage::Html }, anywhere, UNAVAILABLE).await;
}

async fn an_answer_of_a_proxy_once_to_any_call_is_overcome(world: Arc<World>) {
    let action = || Action::intercepted(407, "<html>log in first</html>");
    row(world, action, anywhere, UNAVAILABLE).await;
}

async fn an_endpoint_that_once_does_not_know_any_operation_is_overcome(world: Arc<World>) {
    let action = || Action::respond(404, "UnknownOperationException", "");
    row(world, action, anywhere, UNAVAILABLE).await;
}

async fn a_request_that_arrives_late_is_overcome_in_any_write(world: Arc<World>) {
    let action = || Action::arrive_late(Duration::from_secs(2));
    row(world, action, in_writes, UNAVAILABLE).await;
}

async fn an_empty_reply_to_any_call_is_overcome(world: Arc<World>) {
    row(
        world,
        || Action::Garbage { kind: Garbage::Empty },
        anywhere,
        UNAVAILABLE,
    )
    .await;
}

async fn a_reply_without_members_to_any_write_is_overcome(world: Arc<World>) {
    let action = || Action::Garbage {
        kind: Garbage::NoMembers,
    };
    row(world, action, in_writes, UNAVAILABLE).await;
}

async fn a_refusal_inside_the_reply_to_any_write_is_told_and_overcome_when_asked(world: Arc<World>) {
    let action = || Action::ErrorInReply {
        error: "the stack is in a bad state".to_owned(),
    };
    // Without a job's id it is a refusal.
    row(world, action, in_writes_with_jobs, INVALID).await;
}

async fn too_many_requests_once_in_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::TooManyRequests, anywhere, THROTTLED).await;
}

async fn a_limit_that_is_a_rate_once_in_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::LimitExceeded, anywhere, THROTTLED).await;
}

async fn a_bad_request_that_is_a_rate_once_in_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::RateExceeded, anywhere, THROTTLED).await;
}

async fn a_quota_that_a_create_meets_is_told_and_overcome_when_asked(world: Arc<World>) {
    row(world, || Action::QuotaExceeded, in_records, QUOTA).await;
}

async fn a_job_that_any_write_meets_is_waited_for(world: Arc<World>) {
    row(
        world,
        || Action::PendingJob { validation: false },
        in_writes_with_jobs,
        PENDING,
    )
    .await;
}

async fn a_job_that_any_write_meets_as_a_validation_error_is_waited_for(world: Arc<World>) {
    row(
        world,
        || Action::PendingJob { validation: true },
        in_writes_with_jobs,
        PENDING,
    )
    .await;
}

async fn expired_credentials_in_any_call_are_told_and_overcome(world: Arc<World>) {
    row(world, || Action::ExpiredToken, anywhere, DENIED).await;
}

async fn a_denied_call_is_told_and_overcome(world: Arc<World>) {
    row(world, || Action::AccessDenied, anywhere, DENIED).await;
}

async fn a_bad_request_in_any_write_is_told_and_overcome_when_asked(world: Arc<World>) {
    let action = || Action::respond(400, "BadRequestException", "The request is not valid.");
    row(world, action, in_writes, INVALID).await;
}

/// A row of the matrix: this fault once, in each place where it makes sense.
async fn row(world: Arc<World>, fault: fn() -> Action, here: Where, disturbed: Disturbed) {
    let places = PLACES.iter().filter(|(_, operation, _)| here(*operation));
    let places = places.map(|(life, operation, skip)| {
        let fault = Fault::on(*operation, fault()).skip(*skip);
        (*life, *operation, *skip, Some(fault))
    });
    live(world, settings(), places.collect(), &disturbed).await;
}

async fn a_hang_before_the_work_of_any_call_is_overcome(world: Arc<World>) {
    row(world, Action::hang, anywhere, UNAVAILABLE).await;
}

async fn a_hang_after_the_work_of_any_call_is_overcome(world: Arc<World>) {
    row(world, Action::hang_after, anywhere, UNAVAILABLE).await;
}

async fn a_reply_that_is_no_utf8_to_any_call_is_overcome(world: Arc<World>) {
    let action = || Action::Garbage {
        kind: Garbage::InvalidUtf8,
    };
    row(world, action, anywhere, UNAVAILABLE).await;
}

async fn a_reply_that_is_nested_without_end_to_any_call_is_overcome(world: Arc<World>) {
    row(world, || Action::Garbage { kind: Garbage::Deep }, anywhere, UNAVAILABLE).await;
}

/// 32 MiB; one of each sort, since all go through the same client.
async fn a_reply_of_many_megabytes_is_overcome(world: Arc<World>) {
    let cells = [
        (Backend, CreateBackend),
        (Backend, GetBackendJob),
        (Api, GetBackendApi),
        (Api, UpdateBackendApi),
        (Record, CreateBackendEnvironment),
    ];
    let large = || Action::Garbage { kind: Garbage::Large };
    let cells = cells.map(|(life, operation)| (life, operation, 0, Some(Fault::on(operation, large()))));
    live(world, settings(), cells.into(), &UNAVAILABLE).await;
}

/// What can go wrong with a read: what happens, how often in a row, and whether it is a refusal, which is tried again
/// only after a minute. The SDK's own tries are used up where there are any.
pub(crate) fn in_reads() -> Vec<(Action, u64, bool)> {
    let unavailable = [
        Action::server_error(500),
        Action::server_error(503),
        Action::server_error(504),
        Action::ServerErrorAfter { status: 500 },
        Action::Reset,
        Action::ResetAfter,
        Action::hang(),
        Action::hang_after(),
        Action::Truncate,
        Action::Garbage { kind: Garbage::Html },
        Action::Garbage { kind: Garbage::Empty },
        Action::Garbage {
            kind: Garbage::InvalidUtf8,
        },
        Action::TooManyRequests,
        Action::LimitExceeded,
    ];
    let denied = [Action::ExpiredToken, Action::AccessDenied];
    let unavailable = unavailable.into_iter().map(|action| (action, 3, false));
    let denied = denied.into_iter().map(|action| (action, 1, true));
    let once = [
        (Action::RateExceeded, 1, false),
        (Action::intercepted(407, "<html>log in first</html>"), 1, false),
    ];
    unavailable.chain(denied).chain(once).collect()
}

async fn what_reads_show_late_is_not_made_again(world: Arc<World>) {
    let settings = Settings {
        read_after_create_delay: Duration::from_secs(8),
        job_listing_delay: Duration::from_secs(3),
        ..settings()
    };
    let mut cells: Vec<_> = [
        (Backend, GetBackend),
        (CloneLife, CloneBackend),
        (Api, GetBackendApi),
        (Record, GetBackendEnvironment),
    ]
    .map(|(life, operation)| (life, operation, 0, None))
    .into();
    // Also where the reply is lost, so that reads alone tell what happened.
    let lost = [
        (Backend, CreateBackend),
        (Api, CreateBackendApi),
        (Record, CreateBackendEnvironment),
    ];
    cells.extend(lost.map(|(life, operation)| (life, operation, 1, Some(Fault::on(operation, Action::ResetAfter)))));
    live(world, settings, cells, &UNAVAILABLE).await;
}

fn settings() -> Settings {
    Settings {
        job_duration: Duration::from_secs(3),
        ..Settings::default()
    }
}

type Cell = (Life, Operation, u64, Option<Fault>);

/// All these lives on one stage.
async fn live(world: Arc<World>, settings: Settings, cells: Vec<Cell>, disturbed: &Disturbed) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let is_late = settings.read_after_create_delay > Duration::ZERO;
    let setup = Setup {
        flags: vec![
            // Longer than what AWS shows late, and than a busy machine takes to send.
            if is_late {
                "--outcome-grace=20s"
            } else {
                "--outcome-grace=4s"
            },
            if is_late {
                "--absence-grace=15s"
            } else {
                "--absence-grace=3s"
            },
            "--max-job-attempts=1",
            "--aws-requests-per-second=100",
            "--aws-burst=100",
            "--concurrency=64",
        ],
        settings,
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    let gate = Gate::before(&mut stage).await;
    stage.start();
    let lives = cells.iter().map(|(life, operation, skip, fault)| {
        let name = format!("{life:?}-{operation:?}-{skip}").to_lowercase();
        let (stage, gate) = (&stage, &gate);
        async move {
            let lived = AssertUnwindSafe(cell(stage, gate, *life, &name, fault.clone(), disturbed));
            lived.catch_unwind().await.err().map(|_| name)
        }
    });
    let wrong: Vec<_> = join_all(lives).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "see above: {wrong:?}");
    TALLY.creates(&stage);
}

async fn cell(stage: &Stage, gate: &Gate, life: Life, name: &str, fault: Option<Fault>, disturbed: &Disturbed) {
    let kind = life.kind();
    match life {
        Api => assert!(stage.aws().put_backend((APP, name), "storefront")),
        CloneLife => assert!(stage.aws().put_backend((APP, source(name).as_str()), "storefront")),
        Backend | Record => {}
    }
    let is_faulty = fault.is_some();
    if let Some(fault) = fault {
        stage.aws().fault(fault.environment(name));
    }
    stage.create(kind, name, life.spec(name)).await;
    until_ready(stage, life, name, disturbed).await;
    if life == Api {
        let patch = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
        stage.patch(kind, name, patch).await;
        until_ready(stage, life, name, disturbed).await;
    }
    stage.delete(kind, name).await;
    until_gone(stage, kind, name, disturbed).await;

    let calls = stage.simulator.history().matching(&Filter {
        environment: Some(name.to_owned()),
        ..Filter::default()
    });
    let mut accepted: BTreeMap<Operation, usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.accepted) {
        *accepted.entry(call.operation).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = life.writes().iter().map(|operation| (*operation, 1)).collect();
    assert_eq!(accepted, expected, "{name}");
    let hit = calls.iter().filter(|call| call.faulted).count();
    assert_eq!(hit, usize::from(is_faulty), "{name}: the fault hits once");
    TALLY.faults(hit);
    // A quiet life of an API makes 14 calls, and each way out of trouble takes some reads.
    assert!(calls.len() <= 36, "{name}: {} calls: {calls:#?}", calls.len());
    let seen = gate.seen();
    let mine = seen.iter().filter(|seen| seen.asked.name == name);
    let writes = mine.clone().filter(|seen| seen.asked.is_write()).count();
    assert!(writes <= 20, "{name}: {writes} writes");
    for (reason, _) in mine.filter_map(|seen| seen.ready.as_ref()) {
        let reason = reason.as_str();
        assert!(
            QUIET.contains(&reason) || disturbed.says.contains(&reason),
            "{name}: it says {reason}"
        );
    }
}

/// The operator has given up for now, or for long.
fn waits_for_a_request(object: &Value) -> bool {
    let job = &object["status"]["job"];
    is_stalled(object) || ready(object)["reason"] == "AccessDenied" || job["status"] == "FAILED"
}

async fn until_ready(stage: &Stage, life: Life, name: &str, disturbed: &Disturbed) {
    let is_ready = |object: &Value| {
        ready(object)["status"] == "True"
            && ready(object)["reason"] == "Available"
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    let kind = life.kind();
    if !disturbed.alone {
        let object = stage
            .wait(kind, name, "Ready or in need", |object| {
                is_ready(object) || waits_for_a_request(object)
            })
            .await;
        if !is_ready(&object) {
            stage.request(kind, name, "once more").await;
        }
    }
    let object = stage.wait(kind, name, "Ready", is_ready).await;
    let app = stage.aws().app((APP, name)).expect("the app");
    let is_there = match kind {
        Kind::Backend => app.backends.contains_key(name),
        Kind::Api => app.backends[name]
            .apis
            .get("shop")
            .is_some_and(|config| config["transformSchema"] == object["spec"]["resourceConfig"]["transformSchema"]),
        Kind::Environment => app.environments.contains_key(name),
    };
    if !is_there {
        TALLY.false_ready();
        panic!("Ready, and AWS holds {:#?}: {object:#}", app.backends.get(name));
    }
    let job = object["status"]["job"]["id"].as_str();
    let last = stage.simulator.history().matching(&Filter {
        environment: Some(name.to_owned()),
        accepted: Some(true),
        ..Filter::default()
    });
    let last = last.last().expect("AWS has accepted something");
    // An update that has ended before it is looked for is not followed as a job.
    if last.operation != UpdateBackendApi && last.job_id.as_deref() != job {
        TALLY.lost_job();
        panic!("AWS ran {:?}: {object:#}", last.job_id);
    }
}

async fn until_gone(stage: &Stage, kind: Kind, name: &str, disturbed: &Disturbed) {
    // On a busy machine the fault may come after the first requests.
    for number in 0..if disturbed.alone { 0 } else { 6 } {
        let needs = async {
            while let Some(object) = stage.api(kind).get_opt(name).await.expect("an answer") {
                if waits_for_a_request(&json!(object)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        // What is Ready does not tell of a short failure: it tries again by itself, after a minute.
        let _either_way = tokio::time::timeout(Duration::from_secs(8), needs).await;
        let request = format!("to be gone, {number}");
        let request = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: request } } });
        let params = PatchParams::default();
        match stage.api(kind).patch(name, &params, &Patch::Merge(request)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => return,
            Err(error) => panic!("{name} cannot be asked: {error}"),
        }
    }
    stage.wait_until_gone(kind, name).await;
}
