//! Ready=True means that AWS holds the spec, even after refusals, lost requests and changes by others.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Action, App, Ending, Fault, JobScript, Operation};
use serde_json::{Value, json};

use amplify_testkit::stage::{
    APP, Kind, Setup, Stage, World, adopting, api_config, environment, graphql_api, is_stalled, ready, schema_edit,
};

amplify_testkit::tests! {
    an_api_that_is_adopted_after_a_refused_create_gets_the_configuration_of_the_spec,
    an_api_that_exists_is_adopted_when_the_policy_is_changed_and_gets_the_configuration_of_the_spec,
    a_job_that_shows_up_late_is_not_taken_for_the_edit_that_came_after_it,
    a_job_of_the_former_generation_does_not_make_the_edit_ready,
    a_job_of_somebody_else_that_is_taken_for_ours_does_not_make_its_configuration_ours,
    an_update_by_somebody_else_is_waited_for_and_is_not_ours,
    an_update_by_somebody_else_is_not_ours_after_a_crash_either,
    what_is_deleted_or_edited_while_aws_gives_no_answer_is_not_ready_and_says_why,
    a_reason_that_no_longer_holds_gives_way_to_the_one_that_does,
    a_backend_of_another_app_name_has_drifted,
}

const SPECS: &str = "type Spec @model { id: ID! }";
const THEIRS: &str = "type Theirs @model { id: ID! }";
const EDITED: &str = "type Edited @model { id: ID! }";

/// Returns the ways in which AWS can refuse or lose a create, each with its own environment and the resulting reason.
fn refusals() -> [(&'static str, Action, &'static str); 7] {
    [
        (
            "app",
            Action::respond(404, "NotFoundException", "no such app"),
            "AppNotFound",
        ),
        ("denied", Action::AccessDenied, "AccessDenied"),
        ("busy", Action::TooManyRequests, "Throttled"),
        ("quota", Action::QuotaExceeded, "QuotaExceeded"),
        (
            "wrong",
            Action::respond(400, "BadRequestException", "no types"),
            "InvalidSpec",
        ),
        ("pending", Action::PendingJob { validation: false }, "WaitingForJob"),
        ("lost", Action::Reset, "AwsUnavailable"),
    ]
}

/// Lets a create be refused in each environment. Then another client creates the API with another configuration.
async fn refused_and_made_by_somebody_else(stage: &Stage, spec: impl Fn(Value) -> Value) {
    for (name, action, _) in refusals() {
        assert!(stage.aws().put_backend((APP, name), "storefront"));
        let refused = Fault::on(Operation::CreateBackendApi, action).environment(name);
        stage.aws().fault(refused.forever());
        stage.create(Kind::Api, name, spec(graphql_api(name, SPECS))).await;
    }
    for (name, _, reason) in refusals() {
        stage.wait_for_words(Kind::Api, name, reason, &[]).await;
        assert!(stage.aws().put_api((APP, name), "shop", api_config(THEIRS)));
    }
    stage.aws().clear_faults();
    for (name, ..) in refusals() {
        stage.request(Kind::Api, name, "now").await;
    }
}

/// Checks that each resource is Ready, and that one update has brought AWS in line with the spec.
async fn brought_in_line(stage: &Stage) {
    for (name, ..) in refusals() {
        let object = stage.wait_until_ready(Kind::Api, name).await;
        assert_eq!(stage.schema(name), SPECS, "{object:#}");
        assert_eq!(object["status"]["origin"], "Adopted", "{name}");
        assert_eq!(stage.accepted_in(Operation::CreateBackendApi, name), 0, "{name}");
        assert_eq!(stage.calls_in(Operation::UpdateBackendApi, name).len(), 1, "{name}");
    }
}

async fn an_api_that_is_adopted_after_a_refused_create_gets_the_configuration_of_the_spec(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    refused_and_made_by_somebody_else(&stage, |spec| adopting(spec, "Retain")).await;
    brought_in_line(&stage).await;
}

async fn an_api_that_exists_is_adopted_when_the_policy_is_changed_and_gets_the_configuration_of_the_spec(
    world: Arc<World>,
) {
    let stage = Stage::with(world, Setup::quick()).await;
    refused_and_made_by_somebody_else(&stage, |spec| spec).await;
    for (name, ..) in refusals() {
        stage.wait_for_reason(Kind::Api, name, "AlreadyExists").await;
        // The edit that the message proposes.
        let adopt = json!({ "spec": { "adoptionPolicy": "IfExists", "deletionPolicy": "Retain" } });
        stage.patch(Kind::Api, name, adopt).await;
    }
    brought_in_line(&stage).await;
}

async fn a_job_that_shows_up_late_is_not_taken_for_the_edit_that_came_after_it(world: Arc<World>) {
    let mut setup = Setup::quick();
    // The job is shown, and ends, long after the grace of its create.
    setup.settings.job_listing_delay = Duration::from_secs(8);
    setup.settings.job_duration = Duration::from_secs(10);
    let stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackendApi, Action::ResetAfter));
    stage.create(Kind::Api, "shop", graphql_api("dev", SPECS)).await;
    stage.wait_until_accepted(Operation::CreateBackendApi, "dev", 1).await;
    stage.patch(Kind::Api, "shop", schema_edit(EDITED)).await;
    // The next attempt meets the job of the first.
    stage.wait_for_calls(Operation::CreateBackendApi, 2).await;
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.schema("dev"), EDITED, "{object:#}");
    assert_eq!(object["status"]["origin"], "Created");
    assert_eq!(stage.accepted_in(Operation::UpdateBackendApi, "dev"), 1);
    stage.assert_created_once();
}

async fn a_job_of_the_former_generation_does_not_make_the_edit_ready(world: Arc<World>) {
    let mut setup = Setup::quick();
    setup.settings.job_duration = Duration::from_secs(8);
    let mut stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage.create(Kind::Api, "shop", graphql_api("dev", SPECS)).await;
    let is_running = |object: &Value| object["status"]["job"]["status"] == "RUNNING";
    stage.wait(Kind::Api, "shop", "being created", is_running).await;
    // While the job runs, the status reports a reason for the next generation.
    stage.patch(Kind::Api, "shop", schema_edit(EDITED)).await;
    stage
        .aws()
        .fault(Fault::on(Operation::GetBackendJob, Action::AccessDenied));
    stage.request(Kind::Api, "shop", "now").await;
    stage.wait_for_reason(Kind::Api, "shop", "AccessDenied").await;
    stage
        .aws()
        .fault(Fault::on(Operation::UpdateBackendApi, Action::hang()));
    stage.request(Kind::Api, "shop", "again").await;
    stage.wait_for_calls(Operation::UpdateBackendApi, 1).await;
    let object = stage.get(Kind::Api, "shop").await;
    let is_current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    assert!(!(is_current && ready(&object)["status"] == "True"), "{object:#}");
    // The operator is killed before the update has ended. The update must not be forgotten.
    stage.kill().await;
    stage.start();
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.schema("dev"), EDITED, "{object:#}");
}

async fn a_job_of_somebody_else_that_is_taken_for_ours_does_not_make_its_configuration_ours(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage.aws().fault(Fault::on(Operation::CreateBackendApi, Action::Reset));
    stage.create(Kind::Api, "shop", graphql_api("dev", SPECS)).await;
    stage.wait_for_calls(Operation::CreateBackendApi, 1).await;
    let at_once = JobScript::default().lasting(Duration::ZERO);
    let job = stage.aws().start_job((APP, "dev"), "CreateBackendAPI", at_once);
    job.expect("a job");
    assert!(stage.aws().put_api((APP, "dev"), "shop", api_config(THEIRS)));
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.schema("dev"), SPECS, "{object:#}");
    assert_eq!(stage.accepted_in(Operation::UpdateBackendApi, "dev"), 1);
}

/// Two APIs that are Ready and then edited while another client updates them: one of its updates will succeed, the
/// other will fail.
const UPDATED: [&str; 2] = ["completes", "fails"];

async fn edited_while_somebody_else_updates(stage: &Stage) {
    for name in UPDATED {
        assert!(stage.aws().put_backend((APP, name), "storefront"));
        stage.create(Kind::Api, name, graphql_api(name, SPECS)).await;
    }
    for name in UPDATED {
        stage.wait_until_ready(Kind::Api, name).await;
        let job = stage
            .aws()
            .start_job((APP, name), "UpdateBackendAPI", JobScript::stuck());
        job.expect("a job");
        stage.patch(Kind::Api, name, schema_edit(EDITED)).await;
    }
    for name in UPDATED {
        let object = stage.wait_for_reason(Kind::Api, name, "WaitingForJob").await;
        assert_eq!(ready(&object)["status"], "False", "{object:#}");
        assert!(object["status"]["job"]["id"].is_null() || object["status"]["job"]["operation"] == "CreateBackendAPI");
    }
}

fn somebody_elses_updates_end(stage: &Stage) {
    assert!(stage.aws().put_api((APP, "completes"), "shop", api_config(THEIRS)));
    assert!(stage.aws().end_job((APP, "completes"), None, Ending::Completed));
    let error = "their schema is wrong".to_owned();
    let failed = Ending::Failed { error, applied: false };
    assert!(stage.aws().end_job((APP, "fails"), None, failed));
}

async fn each_edit_is_carried_out(stage: &Stage) {
    for name in UPDATED {
        let object = stage.wait_until_ready(Kind::Api, name).await;
        assert_eq!(stage.schema(name), EDITED, "{object:#}");
        assert_eq!(stage.accepted_in(Operation::UpdateBackendApi, name), 1, "{name}");
        assert_eq!(object["status"]["job"]["failures"], 0, "{object:#}");
    }
}

async fn an_update_by_somebody_else_is_waited_for_and_is_not_ours(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    edited_while_somebody_else_updates(&stage).await;
    somebody_elses_updates_end(&stage);
    each_edit_is_carried_out(&stage).await;
}

async fn an_update_by_somebody_else_is_not_ours_after_a_crash_either(world: Arc<World>) {
    let mut stage = Stage::with(world, Setup::quick()).await;
    edited_while_somebody_else_updates(&stage).await;
    stage.kill().await;
    somebody_elses_updates_end(&stage);
    stage.start();
    each_edit_is_carried_out(&stage).await;
}

async fn what_is_deleted_or_edited_while_aws_gives_no_answer_is_not_ready_and_says_why(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let causes = [
        ("away", Action::server_error(503), "AwsUnavailable"),
        ("busy", Action::TooManyRequests, "Throttled"),
        ("denied", Action::AccessDenied, "AccessDenied"),
    ];
    let resources = |cause: &str| {
        [
            (Kind::Backend, format!("{cause}-backend")),
            (Kind::Api, format!("{cause}-api")),
            (Kind::Environment, format!("{cause}-record")),
        ]
    };
    for (cause, ..) in &causes {
        let [(_, backend), (_, api), (_, record)] = resources(cause);
        stage.create_backend(&backend).await;
        assert!(stage.aws().put_backend((APP, api.as_str()), "storefront"));
        stage.create(Kind::Api, &api, graphql_api(&api, SPECS)).await;
        stage.create(Kind::Environment, &record, environment(&record)).await;
    }
    for (cause, action, _) in &causes {
        for (kind, name) in resources(cause) {
            stage.wait_until_ready(kind, &name).await;
            stage
                .aws()
                .fault(Fault::new(action.clone()).environment(&name).forever());
            match kind {
                Kind::Api => stage.patch(kind, &name, schema_edit(EDITED)).await,
                Kind::Backend | Kind::Storage | Kind::Environment => stage.delete(kind, &name).await,
            }
        }
    }
    for (cause, _, reason) in &causes {
        for (kind, name) in resources(cause) {
            let object = stage.wait_for_reason(kind, &name, reason).await;
            assert_eq!(ready(&object)["status"], "False", "{object:#}");
            assert!(!is_stalled(&object), "it may pass: {object:#}");
        }
    }
    stage.aws().clear_faults();
    // After denied access, the next try would come only after a minute.
    for (kind, name) in resources("denied") {
        stage.request(kind, &name, "now").await;
    }
    for (cause, ..) in &causes {
        let [(_, backend), (_, api), (_, record)] = resources(cause);
        stage.wait_until_gone(Kind::Backend, &backend).await;
        stage.wait_until_gone(Kind::Environment, &record).await;
        stage.wait_until_ready(Kind::Api, &api).await;
        assert_eq!(stage.schema(&api), EDITED);
    }
}

async fn a_reason_that_no_longer_holds_gives_way_to_the_one_that_does(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::quick()
    };
    let mut stage = Stage::with(world, setup).await;
    let variable = |stage: &Stage, wanted: &str| {
        let found = stage.environment.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone()).expect("a variable")
    };
    let (region, secret) = (
        variable(&stage, "AWS_REGION"),
        variable(&stage, "AWS_SECRET_ACCESS_KEY"),
    );
    stage.environment.retain(|(name, _)| !name.ends_with("_REGION"));
    stage.set("AWS_EC2_METADATA_DISABLED", "true");
    stage.start();
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    stage
        .wait_for_words(Kind::Environment, "dev", "InvalidSpec", &["no AWS region"])
        .await;
    // The region is set now, but the key is wrong.
    stage.terminate().await;
    stage.set("AWS_REGION", &region);
    stage.set("AWS_SECRET_ACCESS_KEY", "wrong");
    stage.start();
    let object = stage.wait_for_reason(Kind::Environment, "dev", "AccessDenied").await;
    assert!(!is_stalled(&object), "{object:#}");
    stage.terminate().await;
    stage.set("AWS_SECRET_ACCESS_KEY", &secret);
    stage.start();
    stage.wait_until_ready(Kind::Environment, "dev").await;
}

async fn a_backend_of_another_app_name_has_drifted(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().checking()).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    let rename = |name: &str| {
        stage.aws().put_app(&App {
            account: None,
            region: None,
            app_id: APP.to_owned(),
            name: name.to_owned(),
        });
        assert!(stage.aws().put_backend((APP, "dev"), name));
    };
    rename("sold");
    let object = stage
        .wait_for_words(Kind::Backend, "dev", "Drifted", &["appName"])
        .await;
    assert!(is_stalled(&object), "{object:#}");
    rename("storefront");
    stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(stage.simulator.history().writes().len(), 1);
}
