//! The API server fails, or another party works against the operator on the same objects.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use amplify_devcluster::{Cluster, Options};
use amplify_simulator::{Action, Fault, Operation};
use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{STAGES, tally::TALLY};
use amplify_testkit::{
    gate::{Gate, Rule, Treatment, is_patch},
    stage::{APP, Kind, Setup, Stage, World, backend, environment, graphql_api, object, ready, schema_edit},
};

amplify_testkit::tests! {
    any_write_of_a_create_that_is_refused_is_made_again,
    a_job_id_whose_recording_is_refused_for_a_while_is_recorded_in_the_end,
    a_recording_whose_reply_never_comes_is_not_made_twice,
    what_happens_while_the_watches_are_cut_is_seen_afterwards,
    watches_that_freeze_are_taken_up_again,
    a_list_and_a_watch_that_are_never_answered_are_asked_for_again,
    a_watch_from_before_a_compaction_begins_anew_and_misses_nothing,
    a_status_that_is_wiped_at_any_time_makes_nothing_twice,
    slow_replies_delay_and_spoil_nothing,
    a_refused_watch_of_apis_does_not_stop_backends,
    what_a_list_shows_that_is_older_than_a_write_gives_no_environment_to_another,
    what_is_asked_for_at_the_last_moment_is_done_though_the_watches_do_not_show_it,
    a_controller_that_fights_for_the_metadata_gets_one_create_and_ready,
    an_api_server_that_dies_during_a_create_is_told_of_its_job_when_it_is_back,
}

fn behind_a_gate() -> Setup {
    Setup {
        running: false,
        ..Setup::default()
    }
}

/// Returns a stage whose operator works through a gate.
async fn set(world: Arc<World>) -> (Stage, Gate) {
    let mut stage = Stage::with(world, behind_a_gate()).await;
    let gate = Gate::before(&mut stage).await;
    stage.start();
    (stage, gate)
}

/// Waits until the resource is Ready. Checks that its job is recorded and that it was created once.
async fn ends_well(stage: &Stage, name: &str) -> Value {
    let object = stage.wait_until_ready(Kind::Backend, name).await;
    let created = stage.calls(Operation::CreateBackend);
    let started = created.iter().filter_map(|call| call.job_id.as_deref()).next_back();
    if started != object["status"]["job"]["id"].as_str() {
        TALLY.lost_job();
        panic!("AWS ran {started:?}: {object:#}");
    }
    TALLY.creates(stage);
    object
}

/// The writes are the finalizer, the intent, the job id and Ready.
async fn any_write_of_a_create_that_is_refused_is_made_again(world: Arc<World>) {
    let cells = (0..4).flat_map(|write| [403, 409, 500].map(|status| (write, status)));
    let cells = cells.map(|(write, status)| {
        let world = world.clone();
        async move {
            let _turn = STAGES.acquire().await.expect("never closed");
            let (stage, gate) = set(world).await;
            gate.rule(Rule {
                hits: Box::new(is_patch),
                skip: write,
                times: 2,
                treatment: Treatment::Refuse(status),
            });
            stage.create_backend("dev").await;
            ends_well(&stage, "dev").await;
            gate.wait_for_hits(2).await;
            TALLY.faults(2);
            assert_eq!(
                stage.calls(Operation::CreateBackend).len(),
                1,
                "write {write}, {status}"
            );
            assert_eq!(gate.writes(), 4, "write {write}, {status}");
        }
    });
    join_all(cells).await;
}

async fn a_job_id_whose_recording_is_refused_for_a_while_is_recorded_in_the_end(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    gate.rule(Rule {
        hits: Box::new(is_patch),
        skip: 2,
        times: usize::MAX,
        treatment: Treatment::Refuse(403),
    });
    stage.create_backend("dev").await;
    gate.wait_for_hits(6).await;
    TALLY.faults(6);
    // No status can report it, because status writes are refused.
    let is_told = async {
        while !stage.events("dev").await.contains(&"WriteRefused".to_owned()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), is_told).await;
    in_time.expect("an Event says it");
    gate.open();
    ends_well(&stage, "dev").await;
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
}

async fn a_recording_whose_reply_never_comes_is_not_made_twice(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    gate.rule(Rule {
        hits: Box::new(is_patch),
        skip: 2,
        times: 1,
        treatment: Treatment::HoldReply,
    });
    stage.create_backend("dev").await;
    let object = ends_well(&stage, "dev").await;
    TALLY.faults(1);
    assert_eq!(object["status"]["job"]["attempt"], 1);
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
}

async fn what_happens_while_the_watches_are_cut_is_seen_afterwards(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    stage.create_backend("early").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    for name in ["one", "two", "three"] {
        gate.cut_watches();
        TALLY.faults(1);
        stage.create_backend(name).await;
    }
    for name in ["early", "one", "two", "three"] {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    gate.cut_watches();
    stage.delete(Kind::Backend, "one").await;
    stage.wait_until_gone(Kind::Backend, "one").await;
    TALLY.creates(&stage);
}

async fn watches_that_freeze_are_taken_up_again(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("shop", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage.create_backend("gone").await;
    stage.wait_until_ready(Kind::Backend, "gone").await;
    stage.create_backend("early").await;
    stage.wait_for_calls(Operation::CreateBackend, 2).await;
    gate.freeze_watches();
    TALLY.faults(1);
    stage.create_backend("late").await;
    stage.delete(Kind::Backend, "gone").await;
    let patch = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
    stage.patch(Kind::Api, "shop", patch).await;
    // The job is followed, although the operator's view of its resource is old.
    stage.wait_until_ready(Kind::Backend, "early").await;
    stage.wait_until_ready(Kind::Backend, "late").await;
    stage.wait_until_gone(Kind::Backend, "gone").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 3);
    assert_eq!(stage.calls(Operation::UpdateBackendApi).len(), 1);
    TALLY.creates(&stage);
}

async fn a_list_and_a_watch_that_are_never_answered_are_asked_for_again(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let mut stage = Stage::with(world, behind_a_gate()).await;
    let gate = Gate::before(&mut stage).await;
    for (verb, resource, skip) in [
        // The first list only checks whether the kind is served.
        ("list", "amplifybackends", 1),
        ("watch", "backendapis", 0),
    ] {
        gate.rule(Rule {
            hits: Box::new(move |asked| asked.verb == verb && asked.resource == resource),
            skip,
            times: 1,
            treatment: Treatment::Hold,
        });
    }
    stage.start();
    gate.wait_for_hits(2).await;
    TALLY.faults(2);
    stage.create_backend("dev").await;
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("shop", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    TALLY.creates(&stage);
}

/// A cluster compacts every five minutes. The operator meets this after a longer interruption.
async fn a_watch_from_before_a_compaction_begins_anew_and_misses_nothing(_: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let options = Options {
        audit: false,
        // Without the cache, watches read from etcd, which has dropped the compacted history. The cache might still
        // hold it.
        apiserver_arguments: vec!["--watch-cache=false".to_owned()],
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.expect("a cluster of its own");
    let (stage, gate) = set(World::new(&cluster).await).await;
    stage.create_backend("gone").await;
    stage.wait_until_ready(Kind::Backend, "gone").await;
    stage.create_backend("early").await;
    stage.wait_for_calls(Operation::CreateBackend, 2).await;
    gate.rule(Rule {
        hits: Box::new(|asked| asked.verb == "watch"),
        skip: 0,
        times: usize::MAX,
        treatment: Treatment::Refuse(503),
    });
    gate.cut_watches();
    gate.wait_for_hits(3).await;
    stage.create_backend("late").await;
    stage.delete(Kind::Backend, "gone").await;
    cluster.compact().await.expect("history is compacted");
    TALLY.faults(1);
    gate.open();
    stage
        .wait_until_logged("The resourceVersion for the provided watch is too old")
        .await;
    for name in ["early", "late"] {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    stage.wait_until_gone(Kind::Backend, "gone").await;
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 3);
    TALLY.creates(&stage);
    drop((gate, stage));
    cluster.stop().await.expect("the cluster ends");
}

/// A client with the right to do so wipes the status. If AWS shows the object, or a job in its environment, nothing is
/// created.
async fn a_status_that_is_wiped_at_any_time_makes_nothing_twice(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let mut setup = behind_a_gate();
    setup.settings.job_duration = Duration::from_secs(8);
    let mut stage = Stage::with(world, setup).await;
    stage.start();
    // Its reply is still on its way when its intent is wiped.
    let slow = Action::HangAfter {
        duration: Some(Duration::from_secs(4)),
    };
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, slow).environment("sent"));
    stage.create_backend("sent").await;
    stage.create_backend("running").await;
    stage.create_backend("ready").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("shop", "type A @model { id: ID! }"))
        .await;
    stage.wait_for_calls(Operation::CreateBackend, 3).await;
    wipe(&stage, Kind::Backend, "sent").await;
    let has_job = |object: &Value| object["status"]["job"]["id"].is_string();
    stage.wait(Kind::Backend, "running", "under way", has_job).await;
    wipe(&stage, Kind::Backend, "running").await;
    for (kind, name) in [
        (Kind::Backend, "ready"),
        (Kind::Api, "shop"),
        (Kind::Environment, "record"),
    ] {
        stage.wait_until_ready(kind, name).await;
        wipe(&stage, kind, name).await;
    }
    for (kind, name) in [
        (Kind::Backend, "running"),
        (Kind::Backend, "ready"),
        (Kind::Api, "shop"),
        (Kind::Environment, "record"),
    ] {
        let object = stage.wait_for_reason(kind, name, "AlreadyExists").await;
        assert!(object["status"]["origin"].is_null(), "{object:#}");
    }
    // The pass that still waits for the reply records it. Then the owner of the job is known again.
    let told =
        |object: &Value| ["AlreadyExists", "Available"].contains(&ready(object)["reason"].as_str().unwrap_or(""));
    stage.wait(Kind::Backend, "sent", "told of", told).await;
    TALLY.faults(5);
    TALLY.creates(&stage);
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 3);
    assert_eq!(stage.calls(Operation::CreateBackendApi).len(), 1);
    assert_eq!(stage.calls(Operation::CreateBackendEnvironment).len(), 1);
}

/// Removes the whole status.
async fn wipe(stage: &Stage, kind: Kind, name: &str) {
    let wiped = Patch::Json::<()>(object(json!([{ "op": "remove", "path": "/status" }])));
    let patched = stage
        .api(kind)
        .patch_status(name, &PatchParams::default(), &wiped)
        .await;
    let status = &json!(patched.expect("wiped"))["status"];
    assert!(status["job"].is_null() && status["origin"].is_null(), "{status:#}");
}

async fn slow_replies_delay_and_spoil_nothing(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    gate.delay(Duration::from_secs(2));
    stage.create_backend("dev").await;
    ends_well(&stage, "dev").await;
    TALLY.faults(1);
    assert_eq!(gate.writes(), 4);
}

async fn a_refused_watch_of_apis_does_not_stop_backends(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    gate.rule(Rule {
        hits: Box::new(|asked| asked.verb == "watch" && asked.resource == "backendapis"),
        skip: 0,
        times: usize::MAX,
        treatment: Treatment::Refuse(403),
    });
    gate.cut_watches();
    gate.wait_for_hits(1).await;
    stage.create_backend("dev").await;
    ends_well(&stage, "dev").await;
    TALLY.faults(1);
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    // The watch recovers by itself.
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("shop", "type A @model { id: ID! }"))
        .await;
    gate.open();
    stage.wait_until_ready(Kind::Api, "shop").await;
}

/// In a list of several pages, the objects on the first page are as old as the start of the list.
async fn what_a_list_shows_that_is_older_than_a_write_gives_no_environment_to_another(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    // With the earlier resources, these are more than the 100 of a page.
    let suspend = |name: String| {
        let stage = &stage;
        async move {
            let mut spec = backend(&name);
            spec["suspend"] = json!(true);
            stage.create(Kind::Backend, &name, spec).await;
        }
    };
    join_all((0..100).map(|number| suspend(format!("suspended-{number}")))).await;
    let hangs = |operation| Fault::on(operation, Action::hang()).environment("dev");
    stage.aws().fault(hangs(Operation::GetBackend));
    stage.create_backend("dev").await;
    stage.wait_for_calls_in(Operation::GetBackend, "dev", 1).await;
    // The server makes the first page before the intent of the create, and the second page after it.
    for (verb, skip, treatment) in [("list", 1, Treatment::Wait), ("watch", 0, Treatment::Expire)] {
        gate.rule(Rule {
            hits: Box::new(move |asked| asked.verb == verb && asked.resource == "amplifybackends"),
            skip,
            times: 1,
            treatment,
        });
    }
    gate.cut_watches();
    gate.wait_for_hits(2).await;
    TALLY.faults(1);
    stage.aws().fault(hangs(Operation::CreateBackend));
    stage.aws().release();
    stage.wait_for_calls_in(Operation::CreateBackend, "dev", 1).await;
    gate.let_through();
    // The watch that follows the list shows this resource.
    suspend("last".to_owned()).await;
    stage.wait_for_reason(Kind::Backend, "last", "Suspended").await;
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_for_reason(Kind::Api, "shop", "WaitingForJob").await;
    assert!(stage.calls(Operation::CreateBackendApi).is_empty());
    stage.aws().release();
    ends_well(&stage, "dev").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
}

async fn what_is_asked_for_at_the_last_moment_is_done_though_the_watches_do_not_show_it(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    stage.create_backend("dev").await;
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("shop", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    let looks = [(Operation::GetBackend, "dev"), (Operation::GetBackendApi, "shop")];
    for (look, environment) in looks {
        stage
            .aws()
            .fault(Fault::on(look, Action::hang()).environment(environment));
    }
    let before = looks.map(|(look, environment)| stage.calls_in(look, environment).len());
    stage.delete(Kind::Backend, "dev").await;
    stage
        .patch(Kind::Api, "shop", schema_edit("type B @model { id: ID! }"))
        .await;
    for ((look, environment), before) in looks.into_iter().zip(before) {
        stage.wait_for_calls_in(look, environment, before + 1).await;
    }
    // From here on, the operator's next writes are outdated, and its watches do not show it.
    gate.freeze_watches();
    TALLY.faults(1);
    let retain = json!({ "spec": { "deletionPolicy": "Retain" } });
    stage.patch(Kind::Backend, "dev", retain).await;
    let last = "type C @model { id: ID! }";
    stage.patch(Kind::Api, "shop", schema_edit(last)).await;
    stage.aws().release();
    stage.wait_until_gone(Kind::Backend, "dev").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert!(stage.calls(Operation::DeleteBackend).is_empty());
    assert!(stage.aws().backend((APP, "dev")).is_some());
    assert_eq!(stage.schema("shop"), last);
    assert_eq!(stage.calls(Operation::UpdateBackendApi).len(), 1);
    TALLY.creates(&stage);
}

async fn a_controller_that_fights_for_the_metadata_gets_one_create_and_ready(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (stage, gate) = set(world).await;
    stage.create_backend("dev").await;
    let begin = Instant::now();
    let mut strips = 0;
    while begin.elapsed() < Duration::from_secs(6) {
        let patch = json!({ "metadata": {
            "labels": { "turn": strips.to_string() },
            "annotations": { "example.com/turn": strips.to_string() },
            "finalizers": null,
        }});
        stage.patch(Kind::Backend, "dev", patch).await;
        strips += 1;
        // The interval between two patches of the other controller.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    TALLY.faults(strips);
    let object = ends_well(&stage, "dev").await;
    assert_eq!(
        object["metadata"]["finalizers"],
        json!(["amplify-operator.dev/finalizer"])
    );
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
    // The operator answers each removal of its finalizer with one write at the most.
    assert!(gate.writes() <= strips + 8, "{} writes against {strips}", gate.writes());
    // The job is polled only when a poll is due, however often the resource changes.
    let calls = stage.all_calls().len();
    assert!(calls <= 24, "{calls} calls");
}

async fn an_api_server_that_dies_during_a_create_is_told_of_its_job_when_it_is_back(_: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let mut cluster = Cluster::start(options).await.expect("a cluster of its own");
    let stage = Stage::new(World::new(&cluster).await).await;
    let slow = Action::HangAfter {
        duration: Some(Duration::from_secs(2)),
    };
    stage.aws().fault(Fault::on(Operation::CreateBackend, slow));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    cluster.kill_apiserver().await.expect("killed");
    TALLY.faults(1);
    stage
        .wait_until_logged("cannot record the write that AWS accepted")
        .await;
    cluster.start_apiserver().await.expect("it is back");
    let object = ends_well(&stage, "dev").await;
    assert_eq!(ready(&object)["status"], "True");
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
    // Checks that the operator's watches work again; no other test uses this cluster.
    stage.create_backend("later").await;
    stage.wait_until_ready(Kind::Backend, "later").await;
    drop(stage);
    cluster.stop().await.expect("the cluster ends");
}
