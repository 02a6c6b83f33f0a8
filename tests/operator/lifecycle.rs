//! Adoption, retention, drift, edits, suspension, requests: the features that users expect from an operator.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Action, EnvironmentState, Fault, JobFault, JobScript, Operation, ResourceState};
use serde_json::{Value, json};

use amplify_testkit::stage::{
    APP, Kind, Setup, Specimen, Stage, World, adopting, api_config, backend, condition, environment, graphql_api,
    is_stalled, ready, schema_edit, storage,
};

amplify_testkit::tests! {
    an_existing_backend_is_adopted_and_retained,
    an_adopted_record_is_deleted_if_the_policy_says_so,
    an_adopted_api_that_differs_is_updated_and_one_that_does_not_is_left_alone,
    what_is_gone_in_aws_is_created_again_with_an_event,
    an_api_that_drifts_is_updated_once,
    an_edit_during_a_job_is_carried_out_next,
    an_edit_while_aws_is_asked_is_carried_out_next,
    a_deletion_during_a_create_waits_for_its_job,
    a_suspended_resource_makes_no_call_until_it_is_resumed,
    a_request_brings_a_failed_resource_back,
    a_failed_create_is_retried_after_a_minute,
    two_resources_of_one_environment_never_run_two_jobs_at_a_time,
    of_two_apis_of_one_environment_one_is_in_conflict_and_its_end_ends_nothing,
    what_aws_has_under_another_name_is_told_of_and_no_second_one_is_made,
    a_storage_waits_for_an_auth_and_what_is_linked_is_told_by_its_name,
    a_backend_goes_after_its_api,
    names_of_255_characters_work,
    a_wiped_status_creates_nothing_twice,
}

fn drifting() -> Setup {
    let mut setup = Setup::default();
    setup.flags.push("--drift-interval=10s");
    setup
}

async fn an_existing_backend_is_adopted_and_retained(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage
        .create(Kind::Backend, "dev", adopting(backend("dev"), "Retain"))
        .await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["origin"], "Adopted");
    assert!(object["status"]["accountId"].is_string() && object["status"]["region"].is_string());
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert!(stage.simulator.history().writes().is_empty(), "AWS was told nothing");
}

async fn an_adopted_record_is_deleted_if_the_policy_says_so(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let record = EnvironmentState {
        stack_name: Some("stack".into()),
        deployment_artifacts: Some("bucket".into()),
    };
    assert!(stage.aws().put_environment((APP, "dev"), record));
    stage
        .create(Kind::Environment, "dev", adopting(environment("dev"), "Delete"))
        .await;
    stage.wait_until_ready(Kind::Environment, "dev").await;
    stage.delete(Kind::Environment, "dev").await;
    stage.wait_until_gone(Kind::Environment, "dev").await;
    assert!(stage.aws().app((APP, "dev")).expect("the app").environments.is_empty());
}

async fn an_adopted_api_that_differs_is_updated_and_one_that_does_not_is_left_alone(world: Arc<World>) {
    let stage = Stage::new(world).await;
    for (environment, schema, updates) in [
        ("same", "type A @model { id: ID! }", 0),
        ("other", "type B @model { id: ID! }", 1),
    ] {
        assert!(stage.aws().put_backend((APP, environment), "storefront"));
        assert!(stage.aws().put_api((APP, environment), "shop", api_config(schema)));
        let spec = adopting(graphql_api(environment, "type A @model { id: ID! }"), "Retain");
        stage.create(Kind::Api, environment, spec).await;
        let object = stage.wait_until_ready(Kind::Api, environment).await;
        assert_eq!(object["status"]["origin"], "Adopted");
        assert_eq!(stage.calls(Operation::UpdateBackendApi).len(), updates, "{environment}");
    }
    assert!(stage.simulator.history().accepted_creates().is_empty());
}

async fn what_is_gone_in_aws_is_created_again_with_an_event(world: Arc<World>) {
    let stage = Stage::with(world, drifting()).await;
    stage.create_backend("dev").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    assert!(stage.aws().delete_backend((APP, "dev")));
    assert!(stage.aws().delete_environment((APP, "record")));
    for (kind, name) in [(Kind::Backend, "dev"), (Kind::Environment, "record")] {
        let again = |object: &Value| object["status"]["job"]["attempt"] == 2 && ready(object)["status"] == "True";
        stage.wait(kind, name, "created again", again).await;
        assert!(stage.events(name).await.contains(&"Gone".to_owned()), "{name}");
    }
}

async fn an_api_that_drifts_is_updated_once(world: Arc<World>) {
    let stage = Stage::with(world, drifting()).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    let mut config = api_config("type Foreign @model { id: ID! }");
    config.insert("apiName".into(), json!("foreign"));
    assert!(stage.aws().put_api((APP, "dev"), "shop", config));
    stage.wait_until_updated("shop").await;
    // Two more checks change nothing.
    stage
        .wait_for_calls(
            Operation::GetBackendApi,
            stage.calls(Operation::GetBackendApi).len() + 2,
        )
        .await;
    assert_eq!(stage.calls(Operation::UpdateBackendApi).len(), 1);
    let there = stage.aws().app((APP, "dev")).expect("the app").backends["dev"].apis["shop"].clone();
    assert_eq!(there["apiName"], "shop");
    // The schema is not kept in memory, but the update must still contain it.
    assert_eq!(there["transformSchema"], "type A @model { id: ID! }");
}

async fn an_edit_during_a_job_is_carried_out_next(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage
        .wait(Kind::Api, "shop", "being created", |object| {
            object["status"]["job"]["id"].is_string()
        })
        .await;
    stage
        .patch(
            Kind::Api,
            "shop",
            json!({ "spec": { "resourceConfig": { "apiName": "edited" } } }),
        )
        .await;
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(object["status"]["job"]["operation"], "UpdateBackendAPI");
    assert_eq!(object["status"]["job"]["generation"], 2);
    stage.assert_created_once();
}

async fn an_edit_while_aws_is_asked_is_carried_out_next(world: Arc<World>) {
    let mut setup = Setup::default();
    // The reply already says that the job has ended.
    setup.settings.job_duration = Duration::ZERO;
    let stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let slow = || Action::HangAfter {
        duration: Some(Duration::from_secs(3)),
    };
    stage.aws().fault(Fault::on(Operation::CreateBackendApi, slow()));
    stage.create(Kind::Api, "shop", graphql_api("dev", "type A")).await;
    stage.wait_for_calls(Operation::CreateBackendApi, 1).await;
    stage.patch(Kind::Api, "shop", schema_edit("type B")).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.schema("dev"), "type B");

    stage.aws().fault(Fault::on(Operation::UpdateBackendApi, slow()));
    stage.patch(Kind::Api, "shop", schema_edit("type C")).await;
    stage.wait_for_calls(Operation::UpdateBackendApi, 2).await;
    stage.patch(Kind::Api, "shop", schema_edit("type D")).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(stage.schema("dev"), "type D");
    assert_eq!(stage.calls(Operation::UpdateBackendApi).len(), 3);
}

async fn a_deletion_during_a_create_waits_for_its_job(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage
        .wait(Kind::Backend, "dev", "being created", |object| {
            object["status"]["job"]["id"].is_string()
        })
        .await;
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert_eq!(
        stage.calls(Operation::DeleteBackend).len(),
        1,
        "AWS never had to refuse a second job"
    );
    assert!(stage.aws().app((APP, "dev")).expect("the app").backends.is_empty());
}

async fn a_suspended_resource_makes_no_call_until_it_is_resumed(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let mut spec = backend("dev");
    spec["suspend"] = json!(true);
    stage.create(Kind::Backend, "dev", spec).await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "Suspended").await;
    assert_eq!(ready(&object)["status"], "False");
    stage.assert_writes(Some("dev"), 1).await;
    assert!(stage.all_calls().is_empty());
    stage
        .patch(Kind::Backend, "dev", json!({ "spec": { "suspend": false } }))
        .await;
    stage.wait_until_ready(Kind::Backend, "dev").await;

    let calls = stage.all_calls().len();
    stage
        .patch(Kind::Backend, "dev", json!({ "spec": { "suspend": true } }))
        .await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "Suspended").await;
    assert_eq!(ready(&object)["status"], "True");
    stage.delete(Kind::Backend, "dev").await;
    stage
        .wait(Kind::Backend, "dev", "deleting and seen", |object| {
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
                && object["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    assert_eq!(
        stage.all_calls().len(),
        calls,
        "deletion too waits for the end of the suspension"
    );
    stage
        .patch(Kind::Backend, "dev", json!({ "spec": { "suspend": null } }))
        .await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
}

async fn a_request_brings_a_failed_resource_back(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--max-job-attempts=1");
    let stage = Stage::with(world, setup).await;
    stage.aws().job_fault(JobFault::on(
        Operation::CreateBackend,
        JobScript::failed("the stack rolled back", false),
    ));
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "JobFailed").await;
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    assert!(
        ready(&object)["message"]
            .as_str()
            .is_some_and(|text| text.contains("the stack rolled back")),
        "{object:#}"
    );
    assert!(
        object["status"]["origin"].is_null(),
        "nothing is left, so nothing is owned"
    );
    stage.request(Kind::Backend, "dev", "now").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["lastHandledReconcileAt"], "now");
    assert_eq!(object["status"]["job"]["attempt"], 2);
}

async fn a_failed_create_is_retried_after_a_minute(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.aws().job_fault(JobFault::on(
        Operation::CreateBackend,
        JobScript::failed("a passing failure", false),
    ));
    stage.create_backend("dev").await;
    let object = stage
        .wait(Kind::Backend, "dev", "failed once", |object| {
            object["status"]["job"]["failures"] == 1
        })
        .await;
    assert_eq!(ready(&object)["reason"], "Creating", "{object:#}");
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(
        (
            &object["status"]["job"]["attempt"],
            &object["status"]["job"]["failures"]
        ),
        (&json!(2), &json!(0))
    );
    let calls = stage.calls(Operation::CreateBackend);
    assert!(
        calls[1].time - calls[0].time >= 60_000,
        "not before a minute has passed"
    );
}

async fn two_resources_of_one_environment_never_run_two_jobs_at_a_time(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    assert!(stage.aws().put_auth((APP, "dev"), "users"));
    let api = graphql_api("dev", "type A @model { id: ID! }");
    let both = [(Kind::Api, "one", api), (Kind::Storage, "two", storage("dev"))];
    for (kind, name, spec) in &both {
        stage.create(*kind, name, spec.clone()).await;
    }
    for (kind, name, _) in both {
        stage.wait_until_ready(kind, name).await;
    }
    let refused = stage
        .simulator
        .history()
        .writes()
        .into_iter()
        .filter(|call| !call.accepted);
    assert_eq!(
        refused.count(),
        0,
        "they wait in the operator instead of being refused by AWS"
    );
    stage.assert_created_once();
}

async fn of_two_apis_of_one_environment_one_is_in_conflict_and_its_end_ends_nothing(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    let mut other = graphql_api("dev", "type A @model { id: ID! }");
    other["resourceName"] = json!("blog");
    stage.create(Kind::Api, "blog", other).await;
    stage
        .wait_for_words(
            Kind::Api,
            "blog",
            "Conflict",
            &["BackendApi", "shop", "deletes nothing in AWS"],
        )
        .await;
    stage.delete(Kind::Api, "blog").await;
    stage.wait_until_gone(Kind::Api, "blog").await;
    assert_eq!(stage.simulator.history().writes().len(), 1, "the create of the first");
    stage.wait_until_ready(Kind::Api, "shop").await;
}

async fn what_aws_has_under_another_name_is_told_of_and_no_second_one_is_made(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    assert!(stage.aws().put_auth((APP, "dev"), "users"));
    assert!(
        stage
            .aws()
            .put_api((APP, "dev"), "blog", api_config("type B @model { id: ID! }"))
    );
    assert!(
        stage
            .aws()
            .put_storage((APP, "dev"), "videos", ResourceState::default())
    );
    let api = graphql_api("dev", "type A @model { id: ID! }");
    for (kind, name, spec, other) in [
        (Kind::Api, "shop", adopting(api, "Delete"), "blog"),
        (Kind::Storage, "photos", storage("dev"), "videos"),
    ] {
        stage.create(kind, name, spec).await;
        let object = stage
            .wait_for_words(kind, name, "AlreadyExists", &[other, "deletes nothing in AWS"])
            .await;
        assert!(is_stalled(&object), "{object:#}");
        assert!(object["status"]["origin"].is_null(), "{object:#}");
        stage.delete(kind, name).await;
        stage.wait_until_gone(kind, name).await;
    }
    assert!(stage.simulator.history().writes().is_empty());
}

async fn a_storage_waits_for_an_auth_and_what_is_linked_is_told_by_its_name(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage
        .create(Kind::Storage, "photos", (Specimen::named("linked_storage").spec)("dev"))
        .await;
    stage
        .wait_for_words(
            Kind::Storage,
            "photos",
            "DependencyNotReady",
            &["no auth", "amplify add auth"],
        )
        .await;
    assert!(stage.simulator.history().writes().is_empty());
    assert!(stage.aws().put_auth((APP, "dev"), "users"));
    stage.request(Kind::Storage, "photos", "it has an auth").await;
    let object = stage.wait_until_ready(Kind::Storage, "photos").await;
    let storages = stage.aws().backend((APP, "dev")).expect("a backend").storages;
    let name = storages.keys().next().expect("a storage");
    assert_eq!(object["status"]["resourceName"], name.as_str(), "{object:#}");
    stage.delete(Kind::Storage, "photos").await;
    stage.wait_until_gone(Kind::Storage, "photos").await;
    assert!(
        stage
            .aws()
            .backend((APP, "dev"))
            .expect("a backend")
            .storages
            .is_empty()
    );
}

async fn a_backend_goes_after_its_api(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage
        .put_config_map("schema", "schema.graphql", "type A @model { id: ID! }")
        .await;
    let spec = json!({
        "backendRef": { "name": "dev" }, "resourceName": "shop",
        "resourceConfig": { "transformSchemaFrom": { "configMapKeyRef": { "name": "schema", "key": "schema.graphql" } } },
    });
    stage.create(Kind::Api, "shop", spec).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    // All at once, as a GitOps tool prunes.
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_for_reason(Kind::Backend, "dev", "InUse").await;
    stage.delete(Kind::Api, "shop").await;
    stage.wait_until_gone(Kind::Api, "shop").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    let deletes: Vec<_> = stage
        .simulator
        .history()
        .writes()
        .into_iter()
        .map(|call| call.operation)
        .filter(|operation| matches!(operation, Operation::DeleteBackend | Operation::DeleteBackendApi))
        .collect();
    assert_eq!(deletes, [Operation::DeleteBackendApi, Operation::DeleteBackend]);
}

async fn names_of_255_characters_work(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let long = "e".repeat(255);
    stage.create(Kind::Environment, "long", environment(&long)).await;
    stage.wait_until_ready(Kind::Environment, "long").await;
    stage.delete(Kind::Environment, "long").await;
    stage.wait_until_gone(Kind::Environment, "long").await;
}

async fn a_wiped_status_creates_nothing_twice(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.settings.job_duration = Duration::from_secs(12);
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    stage
        .wait(Kind::Backend, "dev", "being created", |object| {
            object["status"]["job"]["id"].is_string()
        })
        .await;
    let wiped =
        json!({ "status": { "job": null, "origin": null, "conditions": [], "accountId": null, "region": null } });
    let params = kube::api::PatchParams::default();
    stage
        .api(Kind::Backend)
        .patch_status("dev", &params, &kube::api::Patch::Merge(wiped))
        .await
        .expect("wiped");
    stage.wait_for_reason(Kind::Backend, "dev", "AlreadyExists").await;
    stage.assert_created_once();
}
