//! Every reason in the design's list is reached through the whole operator, and its message is checked.

use std::sync::Arc;

use amplify_simulator::{Action, EnvironmentState, Fault, JobFault, JobScript, Operation};
use serde_json::json;

use amplify_testkit::stage::{
    APP, Kind, Setup, Stage, World, backend, condition, environment, graphql_api, is_stalled, message, ready,
};

amplify_testkit::tests! {
    creating_cloning_updating_and_deleting_are_said_while_their_jobs_run,
    a_foreign_job_in_the_environment_is_waited_for,
    a_missing_config_map_or_backend_is_waited_for,
    an_unknown_app_is_waited_for,
    throttling_is_said_and_passes,
    an_outage_is_said_and_passes,
    a_refused_spec_is_stalled_until_it_is_edited,
    an_existing_object_is_not_touched,
    the_younger_of_two_resources_for_one_object_is_in_conflict,
    a_job_without_an_end_times_out_and_its_late_end_is_honoured,
    denied_access_is_said_and_recovers,
    an_exhausted_quota_is_stalled,
    a_record_that_was_changed_behind_our_back_has_drifted,
    another_account_is_never_written_to,
    a_failed_create_that_left_something_is_never_available,
}

async fn creating_cloning_updating_and_deleting_are_said_while_their_jobs_run(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "Creating").await;
    assert_eq!(condition(&object, "Reconciling")["status"], "True");
    assert!(!is_stalled(&object));
    stage
        .create(
            Kind::Backend,
            "copy",
            json!({ "appId": APP, "backendEnvironmentName": "copy", "cloneFrom": { "backendRef": { "name": "dev" } } }),
        )
        .await;
    stage.wait_for_reason(Kind::Backend, "copy", "DependencyNotReady").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_for_reason(Kind::Backend, "copy", "Cloning").await;
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage
        .patch(
            Kind::Api,
            "shop",
            json!({ "spec": { "resourceConfig": { "apiName": "edited" } } }),
        )
        .await;
    stage.wait_for_reason(Kind::Api, "shop", "Updating").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage.delete(Kind::Api, "shop").await;
    stage.wait_for_reason(Kind::Api, "shop", "Deleting").await;
    stage.wait_until_gone(Kind::Api, "shop").await;
    stage.wait_until_ready(Kind::Backend, "copy").await;
    let events = stage.events("dev").await;
    assert_eq!(events, ["Creating", "Available"], "one event for each transition");
}

async fn a_foreign_job_in_the_environment_is_waited_for(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let job = stage
        .aws()
        .start_job((APP, "dev"), "UpdateBackendAuth", JobScript::stuck())
        .expect("a job");
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    let object = stage.wait_for_reason(Kind::Api, "shop", "WaitingForJob").await;
    assert!(
        ready(&object)["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("another job holds this backend environment")),
        "{object:#}"
    );
    assert!(
        object["status"]["job"].is_null(),
        "no intent while another job is pending"
    );
    assert!(
        stage
            .aws()
            .end_job((APP, "dev"), Some(&job), amplify_simulator::Ending::Completed)
    );
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.calls(Operation::CreateBackendApi).len(), 1);
}

async fn a_missing_config_map_or_backend_is_waited_for(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let spec = json!({
        "backendRef": { "name": "dev" }, "resourceName": "shop",
        "resourceConfig": { "transformSchemaFrom": { "configMapKeyRef": { "name": "schema", "key": "schema.graphql" } } },
    });
    stage.create(Kind::Api, "shop", spec).await;
    let says = |text: &'static str| {
        move |object: &serde_json::Value| {
            ready(object)["reason"] == "DependencyNotReady"
                && ready(object)["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(text))
        }
    };
    stage
        .wait(
            Kind::Api,
            "shop",
            "waiting for the backend",
            says("AmplifyBackend \"dev\" (spec.backendRef) does not exist"),
        )
        .await;
    stage.create_backend("dev").await;
    stage
        .wait(Kind::Api, "shop", "waiting for the ConfigMap", says("ConfigMap schema"))
        .await;
    stage.put_config_map("schema", "other-key", "x").await;
    stage
        .wait(
            Kind::Api,
            "shop",
            "waiting for the key",
            says("ConfigMap schema has no key \"schema.graphql\""),
        )
        .await;
    // Such texts come from a failing generator and from Windows PowerShell's `>`. AWS would drop all tables.
    for (request, text, said) in [
        ("1", Some(""), "is empty"),
        (
            "2",
            Some("\u{feff}# TODO\n"),
            "holds nothing but blanks, commas and comments",
        ),
        ("3", None, "is in binaryData: save the file as UTF-8"),
    ] {
        match text {
            Some(text) => stage.put_config_map("schema", "schema.graphql", text).await,
            None => {
                stage
                    .put_binary_config_map("schema", "schema.graphql", b"\xff\xfet\0")
                    .await;
            }
        }
        stage.request(Kind::Api, "shop", request).await;
        stage.wait(Kind::Api, "shop", said, says(said)).await;
    }
    assert_eq!(stage.calls(Operation::CreateBackendApi).len(), 0);
    stage
        .put_config_map("schema", "schema.graphql", "type A @model { id: ID! }")
        .await;
    stage.request(Kind::Api, "shop", "4").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
}

async fn an_unknown_app_is_waited_for(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let mut spec = backend("dev");
    spec["appId"] = json!("dunknown");
    stage.create(Kind::Backend, "dev", spec).await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "AppNotFound").await;
    assert!(!is_stalled(&object), "it may come later");
    assert!(object["status"]["origin"].is_null());
    stage.aws().put_app(&amplify_simulator::App {
        account: None,
        region: None,
        app_id: "dunknown".into(),
        name: "storefront".into(),
    });
    stage.wait_until_ready(Kind::Backend, "dev").await;
}

async fn throttling_is_said_and_passes(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let slow_down = stage
        .aws()
        .fault(Fault::on(Operation::GetBackend, Action::RateExceeded).forever());
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "Throttled").await;
    assert!(!is_stalled(&object));
    stage.aws().remove_fault(slow_down);
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // A Ready resource stays Ready while it is throttled.
    stage
        .aws()
        .fault(Fault::on(Operation::GetBackend, Action::TooManyRequests).forever());
    let calls = stage.calls(Operation::GetBackend).len();
    stage.request(Kind::Backend, "dev", "now").await;
    stage.wait_for_calls(Operation::GetBackend, calls + 4).await;
    assert_eq!(ready(&stage.get(Kind::Backend, "dev").await)["status"], "True");
}

async fn an_outage_is_said_and_passes(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let outage = stage.aws().fault(
        Fault::new(Action::server_error(503))
            .service(amplify_simulator::Service::Amplify)
            .forever(),
    );
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    let object = stage.wait_for_reason(Kind::Environment, "dev", "AwsUnavailable").await;
    assert!(!is_stalled(&object));
    stage.aws().remove_fault(outage);
    stage.wait_until_ready(Kind::Environment, "dev").await;
    stage.assert_created_once();
}

async fn a_refused_spec_is_stalled_until_it_is_edited(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage.aws().fault(Fault::on(
        Operation::CreateBackendApi,
        Action::respond(400, "BadRequestException", "the schema has no types"),
    ));
    stage.create(Kind::Api, "shop", graphql_api("dev", "nonsense")).await;
    let object = stage.wait_for_reason(Kind::Api, "shop", "InvalidSpec").await;
    assert!(is_stalled(&object));
    assert!(
        ready(&object)["message"]
            .as_str()
            .is_some_and(|text| text.contains("the schema has no types")),
        "{object:#}"
    );
    assert!(
        object["status"]["job"]["finishTime"].is_string(),
        "the intent is closed"
    );
    stage
        .patch(
            Kind::Api,
            "shop",
            json!({ "spec": { "resourceConfig": { "transformSchema": "type A @model { id: ID! }" } } }),
        )
        .await;
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(object["status"]["job"]["attempt"], 2);
    assert_eq!(
        stage.calls(Operation::CreateBackendApi).len(),
        2,
        "one refused, one accepted"
    );
}

async fn an_existing_object_is_not_touched(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "AlreadyExists").await;
    assert!(is_stalled(&object));
    assert!(
        object["metadata"]["finalizers"].is_null(),
        "it owns nothing, so it holds nothing up"
    );
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert!(stage.simulator.history().writes().is_empty());
}

async fn the_younger_of_two_resources_for_one_object_is_in_conflict(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create(Kind::Backend, "winner", backend("dev")).await;
    stage
        .wait(Kind::Backend, "winner", "being created", |object| {
            object["status"]["job"]["id"].is_string()
        })
        .await;
    stage.create(Kind::Backend, "loser", backend("dev")).await;
    stage.create(Kind::Environment, "other-kind", environment("dev")).await;
    for (kind, name) in [(Kind::Backend, "loser"), (Kind::Environment, "other-kind")] {
        let object = stage.wait_for_reason(kind, name, "Conflict").await;
        assert!(is_stalled(&object));
        assert!(message(&object).contains("winner"), "{object:#}");
        assert!(
            message(&object).ends_with("Deleting this resource deletes nothing in AWS"),
            "{object:#}"
        );
    }
    stage.wait_until_ready(Kind::Backend, "winner").await;
    stage.delete(Kind::Environment, "other-kind").await;
    stage.wait_until_gone(Kind::Environment, "other-kind").await;
    assert_eq!(
        stage.simulator.history().writes().len(),
        1,
        "the losers told AWS nothing"
    );
    // When the winner of the conflict goes, the next resource takes its place.
    stage.delete(Kind::Backend, "winner").await;
    stage.wait_until_gone(Kind::Backend, "winner").await;
    stage.wait_until_ready(Kind::Backend, "loser").await;
}

async fn a_job_without_an_end_times_out_and_its_late_end_is_honoured(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.aws().job_fault(JobFault::on(
        Operation::CreateBackend,
        JobScript::stuck().saying(&["PROVISIONING"]),
    ));
    let mut spec = backend("dev");
    spec["jobTimeout"] = json!("6s");
    stage.create(Kind::Backend, "dev", spec).await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "JobTimedOut").await;
    assert!(is_stalled(&object));
    assert_eq!(object["status"]["job"]["status"], "PROVISIONING", "AWS's own word");
    let id = object["status"]["job"]["id"].as_str().unwrap_or_default();
    assert!(
        message(&object).contains(id) && message(&object).contains("contact AWS Support with this job id"),
        "{object:#}"
    );
    assert!(
        stage
            .aws()
            .end_job((APP, "dev"), None, amplify_simulator::Ending::Completed)
    );
    stage.request(Kind::Backend, "dev", "now").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.assert_created_once();
}

async fn denied_access_is_said_and_recovers(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::AccessDenied));
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "AccessDenied").await;
    assert!(!is_stalled(&object), "IAM is slow: not yet a person's business");
    assert!(
        ready(&object)["message"]
            .as_str()
            .is_some_and(|text| text.contains("amplifybackend:CreateBackend")),
        "{object:#}"
    );
    stage.request(Kind::Backend, "dev", "now").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.assert_created_once();
}

async fn an_exhausted_quota_is_stalled(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackendEnvironment, Action::QuotaExceeded));
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    let object = stage.wait_for_reason(Kind::Environment, "dev", "QuotaExceeded").await;
    assert!(is_stalled(&object));
    stage.request(Kind::Environment, "dev", "now").await;
    stage.wait_until_ready(Kind::Environment, "dev").await;
}

async fn a_record_that_was_changed_behind_our_back_has_drifted(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--drift-interval=10s");
    let stage = Stage::with(world, setup).await;
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    stage.wait_until_ready(Kind::Environment, "dev").await;
    let changed = |stack: &str| EnvironmentState {
        stack_name: Some(stack.into()),
        deployment_artifacts: Some("bucket".into()),
    };
    assert!(stage.aws().put_environment((APP, "dev"), changed("foreign")));
    let object = stage.wait_for_reason(Kind::Environment, "dev", "Drifted").await;
    assert!(is_stalled(&object));
    assert!(
        ready(&object)["message"]
            .as_str()
            .is_some_and(|text| text.contains("stackName")),
        "{object:#}"
    );
    assert_eq!(object["status"]["stackName"], "foreign");
    assert!(stage.aws().put_environment((APP, "dev"), changed("stack")));
    stage.wait_until_ready(Kind::Environment, "dev").await;
    assert_eq!(
        stage.simulator.history().writes().len(),
        1,
        "AWS was told nothing but the create"
    );
}

async fn another_account_is_never_written_to(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    let key = amplify_simulator::Key {
        access_key_id: "AKIAOTHER".into(),
        secret_access_key: "other".into(),
        session_token: None,
        account: "210987654321".into(),
    };
    stage.aws().add_key(&key);
    stage.terminate().await;
    stage.set("AWS_ACCESS_KEY_ID", &key.access_key_id);
    stage.set("AWS_SECRET_ACCESS_KEY", &key.secret_access_key);
    stage.start();
    stage.request(Kind::Backend, "dev", "now").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "AccountChanged").await;
    assert!(is_stalled(&object));
    let advice = "restore the former credentials, or set deletionPolicy: Retain and delete this resource";
    assert!(message(&object).contains(advice), "{object:#}");
    assert!(
        stage
            .simulator
            .history()
            .all()
            .iter()
            .all(|call| call.account.as_deref() != Some("210987654321")
                || call.operation == Operation::GetCallerIdentity)
    );
}

async fn a_failed_create_that_left_something_is_never_available(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.aws().job_fault(JobFault::on(
        Operation::CreateBackend,
        JobScript::failed("half of it", true),
    ));
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "JobFailed").await;
    assert!(is_stalled(&object));
    stage.request(Kind::Backend, "dev", "now").await;
    let object = stage
        .wait(Kind::Backend, "dev", "asked again", |object| {
            object["status"]["lastHandledReconcileAt"] == "now"
        })
        .await;
    assert_eq!(ready(&object)["reason"], "JobFailed");
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert!(
        stage.aws().app((APP, "dev")).expect("the app").backends.is_empty(),
        "what it left is deleted"
    );
}
