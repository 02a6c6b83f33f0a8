//! The fault matrix: each call to AWS in a life, with each way in which AWS can fail there once.
//!
//! All lives with the same fault share a stage. Each life has an environment of its own, and its fault applies only
//! there.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{
    Action, Call, Class, Fault, Filter, Garbage,
    Operation::{
        self, CreateBackend, CreateBackendEnvironment, DeleteBackendEnvironment, GetBackendApi, GetBackendJob,
        UpdateBackendApi,
    },
    Settings,
};
use amplify_testkit::{
    gate::Gate,
    specimen::{SPECIMENS, Specimen},
    stage::{APP, Kind, Setup, Stage, World, is_stalled, ready},
};
use futures::{FutureExt as _, future::join_all};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{STAGES, tally::TALLY};

amplify_testkit::tests! {
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

/// A call in a calm life of a specimen: the operation, and how many calls of it come first. In a life the resource is
/// created, Ready, updated if its kind has updates, deleted and gone.
#[derive(Clone, Copy)]
struct Place {
    specimen: &'static Specimen,
    operation: Operation,
    skip: u64,
}

/// Returns each call of each calm life, without repeated polls, and without calls that another specimen of the kind
/// makes as well.
async fn places(world: &Arc<World>) -> &'static [Place] {
    static PLACES: OnceCell<Vec<Place>> = OnceCell::const_new();
    PLACES.get_or_init(|| recorded(world.clone())).await
}

async fn recorded(world: Arc<World>) -> Vec<Place> {
    let calm = SPECIMENS.iter().map(|specimen| Cell {
        specimen,
        name: format!("calm-{}", specimen.name.replace('_', "-")),
        fault: None,
    });
    let stage = live(world, settings(), calm.clone().collect(), &UNAVAILABLE).await;
    let mut places = Vec::new();
    let mut known = BTreeSet::new();
    for Cell { specimen, name, .. } in calm {
        let mut before: BTreeMap<Operation, u64> = BTreeMap::new();
        let mut is_polled = false;
        for call in calls(&stage, &name) {
            let skip = before.entry(call.operation).or_default();
            let is_poll = call.operation == GetBackendJob;
            let is_repeated = is_poll && is_polled;
            is_polled = is_poll || is_polled && !call.accepted;
            if !is_repeated && known.insert((specimen.kind.names().0, call.operation, *skip)) {
                places.push(Place {
                    specimen,
                    operation: call.operation,
                    skip: *skip,
                });
            }
            *skip += 1;
        }
    }
    assert!(places.len() > 40, "{} places", places.len());
    places
}

/// Returns the calls to AWS about this environment.
fn calls(stage: &Stage, environment: &str) -> Vec<Call> {
    stage.simulator.history().matching(&Filter {
        environment: Some(environment.to_owned()),
        ..Filter::default()
    })
}

/// Selects the operations in which a fault makes sense.
type Where = fn(Operation) -> bool;

const fn anywhere(_: Operation) -> bool {
    true
}

fn in_writes(operation: Operation) -> bool {
    operation.class() == Class::Write
}

/// Whether the operation is the only create for which AWS's model has a quota.
fn in_records(operation: Operation) -> bool {
    operation == CreateBackendEnvironment
}

fn in_writes_with_jobs(operation: Operation) -> bool {
    in_writes(operation) && !matches!(operation, CreateBackendEnvironment | DeleteBackendEnvironment)
}

/// Whether the answer of the write can contain an error.
fn in_writes_that_tell(operation: Operation) -> bool {
    in_writes_with_jobs(operation) && !operation.tells_little()
}

/// The reasons that a resource may have while it is disturbed, besides those of a quiet life.
struct Disturbed {
    says: &'static [&'static str],
    /// Whether the resource recovers without a request for another try.
    alone: bool,
}

const QUIET: &[&str] = &["Creating", "Cloning", "Updating", "Deleting", "Available"];

const UNAVAILABLE: Disturbed = Disturbed {
    // An update or a delete that was carried out finds its own job pending.
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
    // Without a job id it is a refusal.
    row(world, action, in_writes_that_tell, INVALID).await;
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

/// Runs a row of the matrix: this fault once, in each place where it makes sense.
async fn row(world: Arc<World>, fault: fn() -> Action, here: Where, disturbed: Disturbed) {
    let places = places(&world).await.iter().filter(|place| here(place.operation));
    let cells = places.map(|place| Cell::at(*place, fault()));
    live(world, settings(), cells.collect(), &disturbed).await;
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

/// The reply has 32 MiB. One operation of each sort is enough, because all use the same client.
async fn a_reply_of_many_megabytes_is_overcome(world: Arc<World>) {
    let places = [
        ("backend", CreateBackend),
        ("backend", GetBackendJob),
        ("api", GetBackendApi),
        ("api", UpdateBackendApi),
        ("record", CreateBackendEnvironment),
    ];
    let large = || Action::Garbage { kind: Garbage::Large };
    let cells = places.map(|(name, operation)| {
        let place = Place {
            specimen: Specimen::named(name),
            operation,
            skip: 0,
        };
        Cell::at(place, large())
    });
    live(world, settings(), cells.into(), &UNAVAILABLE).await;
}

/// Returns the faults of a read: the action, how often in a row, and whether it is a refusal, which is tried again only
/// after a minute. The number covers the SDK's own retries, if there are any.
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
    let late = SPECIMENS.iter().map(|specimen| Cell {
        specimen,
        name: format!("late-{}", specimen.name.replace('_', "-")),
        fault: None,
    });
    // The same with lost replies, so that only reads show the outcome.
    let lost = SPECIMENS.iter().map(|specimen| {
        let place = Place {
            specimen,
            operation: specimen.create(),
            skip: 0,
        };
        Cell::at(place, Action::ResetAfter)
    });
    live(world, settings, late.chain(lost).collect(), &UNAVAILABLE).await;
}

fn settings() -> Settings {
    Settings {
        job_duration: Duration::from_secs(3),
        ..Settings::default()
    }
}

/// A life with a fault, or a calm life.
#[derive(Clone)]
struct Cell {
    specimen: &'static Specimen,
    /// The name of its resource and of its environment.
    name: String,
    fault: Option<Fault>,
}

impl Cell {
    /// Returns a life with this fault in this place.
    fn at(place: Place, action: Action) -> Self {
        let Place {
            specimen,
            operation,
            skip,
        } = place;
        let name = format!("{}-{operation:?}-{skip}", specimen.name.replace('_', "-")).to_lowercase();
        Self {
            specimen,
            fault: Some(Fault::on(operation, action).skip(skip).environment(&name)),
            name,
        }
    }
}

/// Runs all these lives on one stage.
async fn live(world: Arc<World>, settings: Settings, cells: Vec<Cell>, disturbed: &Disturbed) -> Stage {
    let _turn = STAGES.acquire().await.expect("never closed");
    let is_late = settings.read_after_create_delay > Duration::ZERO;
    let setup = Setup {
        flags: vec![
            // Longer than AWS's delay in showing objects, and longer than a busy machine takes to send.
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
    let lives = cells.iter().map(|cell| {
        let (stage, gate) = (&stage, &gate);
        async move {
            let lived = AssertUnwindSafe(lived(stage, gate, cell, disturbed));
            lived.catch_unwind().await.err().map(|_| &cell.name)
        }
    });
    let wrong: Vec<_> = join_all(lives).await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "see above: {wrong:?}");
    TALLY.creates(&stage);
    stage
}

async fn lived(stage: &Stage, gate: &Gate, cell: &Cell, disturbed: &Disturbed) {
    let Cell { specimen, name, fault } = cell;
    let kind = specimen.kind;
    (specimen.prepare)(&stage.aws(), name);
    let is_faulty = fault.is_some();
    if let Some(fault) = fault {
        stage.aws().fault(fault.clone());
    }
    stage.create(kind, name, (specimen.spec)(name)).await;
    until_ready(stage, specimen, name, disturbed).await;
    if let Some(edit) = specimen.edit {
        stage.patch(kind, name, edit()).await;
        until_ready(stage, specimen, name, disturbed).await;
    }
    stage.delete(kind, name).await;
    until_gone(stage, kind, name, disturbed).await;

    let calls = calls(stage, name);
    let mut accepted: BTreeMap<Operation, usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.accepted) {
        *accepted.entry(call.operation).or_default() += 1;
    }
    let expected: BTreeMap<_, _> = specimen.writes().into_iter().map(|operation| (operation, 1)).collect();
    assert_eq!(accepted, expected, "{name}");
    let hit = calls.iter().filter(|call| call.faulted).count();
    assert_eq!(hit, usize::from(is_faulty), "{name}: the fault hits once");
    TALLY.faults(hit);
    // A quiet life of a storage makes 16 calls, and each recovery needs some more reads.
    assert!(calls.len() <= 40, "{name}: {} calls: {calls:#?}", calls.len());
    let seen = gate.seen();
    let mine = seen.iter().filter(|seen| seen.asked.name == *name);
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

/// Whether the operator has given up, for a while or until a request.
fn waits_for_a_request(object: &Value) -> bool {
    let job = &object["status"]["job"];
    is_stalled(object) || ready(object)["reason"] == "AccessDenied" || job["status"] == "FAILED"
}

async fn until_ready(stage: &Stage, specimen: &Specimen, name: &str, disturbed: &Disturbed) {
    let is_ready = |object: &Value| {
        ready(object)["status"] == "True"
            && ready(object)["reason"] == "Available"
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    let kind = specimen.kind;
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
    let is_there = (specimen.is_held)(&app, name, &object["spec"]);
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
    // An update that has ended before the operator looks is not followed as a job.
    if Some(last.operation) != specimen.update() && last.job_id.as_deref() != job {
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
        // A Ready resource does not report a short failure: it tries again by itself, after a minute.
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
