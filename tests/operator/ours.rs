//! Ownership: an object that is not proved to be a resource's own is neither adopted by mistake nor deleted. A
//! resource's own object is found again, whatever AWS shows.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Action, CloneJobEnvironment, Fault, Filter, Operation};
use serde_json::{Value, json};

use amplify_testkit::stage::{APP, Kind, Setup, Specimen, Stage, World, backend, graphql_api, is_stalled, schema_edit};

amplify_testkit::tests! {
    a_delete_that_arrives_late_does_not_hit_what_is_made_after_it,
    an_update_that_arrives_late_does_not_undo_the_edit_after_it,
    what_a_second_operator_has_recorded_does_not_go_back,
    jobs_of_former_days_and_jobs_without_a_time_are_not_ours,
    a_clone_of_unknown_outcome_is_found_when_the_resource_that_it_copies_is_gone,
    a_job_whose_id_cannot_stand_in_a_path_is_followed_to_its_end,
    a_job_of_another_environment_in_a_list_is_skipped,
    a_list_that_repeats_a_page_is_not_taken_for_complete,
}

const SPECS: &str = "type Spec @model { id: ID! }";
const EDITED: &str = "type Edited @model { id: ID! }";

/// Returns an action that answers with this body instead of the work.
fn replied(body: &Value) -> Action {
    Action::Respond {
        status: 200,
        code: String::new(),
        message: String::new(),
        body: Some(body.to_string()),
    }
}

async fn a_delete_that_arrives_late_does_not_hit_what_is_made_after_it(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().flag("--outcome-grace=10s")).await;
    for specimen in Specimen::of_each_kind() {
        (specimen.prepare)(&stage.aws(), specimen.name);
        stage
            .create(specimen.kind, specimen.name, (specimen.spec)(specimen.name))
            .await;
        let late = Action::arrive_late(Duration::from_secs(6));
        stage
            .aws()
            .fault(Fault::on(specimen.delete(), late).environment(specimen.name));
    }
    for specimen in Specimen::of_each_kind() {
        let (kind, name) = (specimen.kind, specimen.name);
        stage.wait_until_ready(kind, name).await;
        stage.delete(kind, name).await;
        stage.wait_for_calls_in(specimen.delete(), name, 1).await;
        // Another client deletes the object before that request arrives.
        assert!((specimen.remove)(&stage.aws(), name));
        let is_open = |object: &Value| {
            let job = &object["status"]["job"];
            job["unconfirmed"] == true && job["id"].is_null() && job["finishTime"].is_null()
        };
        stage.wait(kind, name, "waiting to hear of its delete", is_open).await;
    }
    for specimen in Specimen::of_each_kind() {
        let (kind, name, spec) = (specimen.kind, specimen.name, (specimen.spec)(specimen.name));
        stage.create_again(kind, name, &spec).await;
        stage.wait_until_ready(kind, name).await;
        let arrived = Filter {
            environment: Some(name.to_owned()),
            in_flight: Some(false),
            ..Filter::operation(specimen.delete())
        };
        let history = stage.simulator.history();
        assert!(history.reaches(&arrived, 1, Duration::from_secs(20)).await, "{name}");
        let app = stage.aws().app((APP, "")).expect("the app");
        let is_there = (specimen.is_held)(&app, name, &spec);
        assert!(is_there, "the delete of the former {name} has hit the next one");
        assert_eq!(history.matching(&arrived).len(), 1, "{name}: it is not sent again");
    }
}

async fn an_update_that_arrives_late_does_not_undo_the_edit_after_it(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().flag("--outcome-grace=10s")).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage.create(Kind::Api, "shop", graphql_api("dev", SPECS)).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    let late = Action::arrive_late(Duration::from_secs(6));
    stage.aws().fault(Fault::on(Operation::UpdateBackendApi, late));
    stage
        .patch(Kind::Api, "shop", schema_edit("type Lost @model { id: ID! }"))
        .await;
    stage.wait_for_calls(Operation::UpdateBackendApi, 1).await;
    stage.patch(Kind::Api, "shop", schema_edit(EDITED)).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    let updates = stage.calls(Operation::UpdateBackendApi);
    let times: Vec<_> = updates
        .iter()
        .map(|call| (call.time, call.accepted, call.in_flight))
        .collect();
    assert!(
        matches!(times[..], [(_, true, false), (_, true, false)]),
        "the second is sent when the first has arrived: {times:?}"
    );
    assert_eq!(stage.schema("dev"), EDITED);
}

async fn what_a_second_operator_has_recorded_does_not_go_back(world: Arc<World>) {
    let mut setup = Setup::quick();
    // The job is long enough that both operators see it run.
    setup.settings.job_duration = Duration::from_secs(8);
    let stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let followed = stage.follow(Kind::Api, "shop").await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackendApi, Action::hang_after()));
    stage.create(Kind::Api, "shop", graphql_api("dev", SPECS)).await;
    stage.wait_until_accepted(Operation::CreateBackendApi, "dev", 1).await;
    stage.patch(Kind::Api, "shop", schema_edit(EDITED)).await;
    // The first operator waits for its reply. There is no leader election.
    let mut second = stage.start_beside("second").await;
    let is_recorded =
        |object: &Value| object["status"]["job"]["id"].is_string() && object["status"]["observedGeneration"] == 2;
    stage
        .wait(Kind::Api, "shop", "recorded by the second", is_recorded)
        .await;
    stage.aws().release();
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.schema("dev"), EDITED);
    let numbers = |object: &Value| {
        let status = &object["status"];
        let number = |value: &Value| value.as_i64().unwrap_or(-1);
        (number(&status["observedGeneration"]), number(&status["job"]["attempt"]))
    };
    let versions = followed.versions();
    for pair in versions.windows(2) {
        let (before, after) = (numbers(&pair[0]), numbers(&pair[1]));
        assert!(
            before.0 <= after.0 && before.1 <= after.1,
            "{:#}\nafter {:#}",
            pair[1],
            pair[0]
        );
    }
    stage.assert_created_once();
    second.kill().await.expect("it ends");
}

async fn jobs_of_former_days_and_jobs_without_a_time_are_not_ours(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let job = |name: &str, time: Option<&str>| {
        let mut job = json!({
            "appId": APP, "backendEnvironmentName": name, "jobId": "0f3c", "operation": "CreateBackend",
            "status": "COMPLETED",
        });
        if let Some(time) = time {
            job["createTime"] = json!(time);
        }
        replied(&json!({ "jobs": [job] }))
    };
    // A list without jobs before the create, and jobs of others after it.
    let first = [
        ("old", replied(&json!({ "jobs": [] }))),
        (
            "untold",
            Action::respond(404, "NotFoundException", "no such environment"),
        ),
        ("timeless", replied(&json!({ "jobs": [] }))),
        ("unreadable", replied(&json!({ "jobs": [] }))),
    ];
    let times = [Some("1700000000000"), Some("1700000000000"), None, Some("tomorrow")];
    for ((name, before), time) in first.iter().zip(times) {
        let lists = Fault::on(Operation::ListBackendJobs, before.clone()).environment(name);
        stage.aws().fault(lists);
        let lists = Fault::on(Operation::ListBackendJobs, job(name, time)).environment(name);
        stage.aws().fault(lists.forever());
        stage
            .aws()
            .fault(Fault::on(Operation::CreateBackend, Action::Reset).environment(name));
        stage.create_backend(name).await;
    }
    for (name, _) in &first {
        let object = stage.wait_until_ready(Kind::Backend, name).await;
        assert_eq!(object["status"]["job"]["attempt"], 2, "{object:#}");
        let accepted = stage.calls_in(Operation::CreateBackend, name);
        assert_eq!(object["status"]["job"]["id"].as_str(), accepted[1].job_id.as_deref());
    }
    stage.assert_created_once();
}

async fn a_clone_of_unknown_outcome_is_found_when_the_resource_that_it_copies_is_gone(world: Arc<World>) {
    let mut setup = Setup::quick();
    // Only the source environment shows the clone's job.
    setup.settings.clone_job_environment = CloneJobEnvironment::Source;
    let stage = Stage::with(world, setup).await;
    let mut source = backend("source");
    source["deletionPolicy"] = json!("Retain");
    stage.create(Kind::Backend, "source", source).await;
    stage.wait_until_ready(Kind::Backend, "source").await;
    stage
        .aws()
        .fault(Fault::on(Operation::CloneBackend, Action::ResetAfter));
    let clone = json!({
        "appId": APP, "backendEnvironmentName": "copy", "cloneFrom": { "backendRef": { "name": "source" } },
    });
    stage.create(Kind::Backend, "copy", clone).await;
    stage.wait_until_accepted(Operation::CloneBackend, "copy", 1).await;
    stage.delete(Kind::Backend, "source").await;
    stage.wait_until_gone(Kind::Backend, "source").await;
    let object = stage.wait_until_ready(Kind::Backend, "copy").await;
    assert_eq!(object["status"]["origin"], "Cloned", "{object:#}");
    assert_eq!(object["status"]["job"]["attempt"], 1);
    stage.delete(Kind::Backend, "copy").await;
    stage.wait_until_gone(Kind::Backend, "copy").await;
    assert!(stage.aws().backend((APP, "copy")).is_none());
    stage.assert_created_once();
}

async fn a_job_whose_id_cannot_stand_in_a_path_is_followed_to_its_end(world: Arc<World>) {
    let mut setup = Setup::quick();
    "2026.11/job:a+b?#".clone_into(&mut setup.settings.job_id_prefix);
    setup.settings.job_duration = Duration::from_secs(2);
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage.create(Kind::Api, "shop", graphql_api("shop", SPECS)).await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    let id = object["status"]["job"]["id"].as_str().unwrap_or_default();
    assert!(id.starts_with("2026.11/job:a+b?#"), "{object:#}");
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage.patch(Kind::Api, "shop", schema_edit(EDITED)).await;
    stage.wait_until_updated("shop").await;
    assert_eq!(stage.schema("shop"), EDITED);
    for (kind, name) in [(Kind::Backend, "dev"), (Kind::Api, "shop")] {
        stage.delete(kind, name).await;
    }
    for (kind, name) in [(Kind::Backend, "dev"), (Kind::Api, "shop")] {
        stage.wait_until_gone(kind, name).await;
    }
    assert!(stage.aws().backend((APP, "dev")).is_none());
    assert!(stage.calls(Operation::GetBackendJob).is_empty());
    stage.assert_created_once();
}

async fn a_job_of_another_environment_in_a_list_is_skipped(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let foreign = json!({
        "appId": APP, "backendEnvironmentName": "elsewhere", "jobId": "0f3c", "operation": "CreateBackend",
        "status": "RUNNING", "createTime": "4100000000000",
    });
    let lists = |jobs: &[&Value]| {
        let list = replied(&json!({ "jobs": jobs }));
        Fault::on(Operation::ListBackendJobs, list).environment("dev")
    };
    stage.aws().fault(lists(&[&foreign]));
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::ResetAfter));
    stage.create_backend("dev").await;
    // The operator neither waits for this job before the create, nor takes it for its own job afterwards.
    stage.wait_until_accepted(Operation::CreateBackend, "dev", 1).await;
    let shown = stage.aws().app((APP, "dev")).expect("the app").jobs["dev"][0].clone();
    let ours = json!({
        "appId": APP, "backendEnvironmentName": "dev", "jobId": shown.id, "operation": shown.operation,
        "status": shown.status, "createTime": shown.created.to_string(),
    });
    stage.aws().fault(lists(&[&foreign, &ours]).forever());
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["id"], json!(shown.id));
    assert_eq!(object["status"]["job"]["attempt"], 1);
    stage.assert_created_once();
}

async fn a_list_that_repeats_a_page_is_not_taken_for_complete(world: Arc<World>) {
    let mut setup = Setup::quick();
    setup.settings.page_size = Some(1);
    setup.settings.repeat_page_token = true;
    let stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "source"), "storefront"));
    assert!(stage.aws().put_backend((APP, "shop"), "storefront"));
    stage.create_backend("dev").await;
    let from = json!({ "backendEnvironmentName": "source" });
    let clone = json!({ "appId": APP, "backendEnvironmentName": "copy", "cloneFrom": from });
    stage.create(Kind::Backend, "copy", clone).await;
    stage.create(Kind::Api, "shop", graphql_api("shop", SPECS)).await;
    let resources = [(Kind::Backend, "dev"), (Kind::Backend, "copy"), (Kind::Api, "shop")];
    for (kind, name) in resources {
        let object = stage
            .wait_for_words(kind, name, "AwsUnavailable", &["ListBackendJobs"])
            .await;
        assert!(!is_stalled(&object), "{object:#}");
        // Each list reads two pages.
        stage.wait_for_calls_in(Operation::ListBackendJobs, name, 4).await;
    }
    let writes = stage.simulator.history().writes();
    assert!(writes.is_empty(), "nobody knows what runs there: {writes:?}");
    stage
        .aws()
        .change_settings(|settings| settings.repeat_page_token = false);
    for (kind, name) in resources {
        stage.wait_until_ready(kind, name).await;
    }
    stage.assert_created_once();
}
