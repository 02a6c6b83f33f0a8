//! What Flux says while it applies commits: it must say Ready only when AWS has what Git says.

use std::sync::Arc;

use amplify_simulator::{JobFault, JobScript, Operation};
use amplify_testkit::{
    example::RESOURCES,
    stage::{APP, Kind, World, ready},
};
use serde_json::{Value, json};

use crate::site::{Site, failures};

amplify_testkit::tests! {
    the_example_is_applied_when_everything_in_it_is_ready,
    an_edited_schema_is_applied_when_its_job_has_ended,
    a_failed_job_fails_the_health_check_and_a_revert_mends_it,
    a_suspended_resource_is_applied_unless_it_was_edited_and_the_next_commit_ends_the_wait,
    a_commit_that_changes_an_immutable_field_is_refused_as_a_whole,
    what_somebody_changes_or_deletes_in_the_cluster_is_put_back,
    what_a_command_suspends_stays_suspended_until_another_resumes_it,
    a_request_for_a_look_is_taken_away_by_flux_and_no_harm_is_done,
}

/// Returns the schema of the example's API, as AWS holds it.
pub(crate) fn schema(site: &Site) -> Value {
    let backend = site.stage.aws().backend((APP, "staging")).expect("a backend");
    backend.apis["storefront"]["transformSchema"].clone()
}

const EDITED: &str = "type Edited @model { id: ID! }\n";

async fn the_example_is_applied_when_everything_in_it_is_ready(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_waiting(&commit).await;
    site.wait_until_applied(&commit).await;
    site.assert_ready(&RESOURCES).await;
    site.stage.assert_created_once();
}

async fn an_edited_schema_is_applied_when_its_job_has_ended(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;
    let before = site.kubectl(&["get", "configmaps", "--output=name"]).await;

    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("Another schema").await;
    site.wait_until_applied(&commit).await;
    assert_eq!(schema(&site), EDITED);
    site.assert_ready(&RESOURCES).await;
    assert_eq!(site.stage.accepted_in(Operation::UpdateBackendApi, "staging"), 1);
    // The ConfigMap of the former schema is pruned.
    let after = site.kubectl(&["get", "configmaps", "--output=name"]).await;
    assert_ne!(before, after);
    assert_eq!(after.matches("storefront-schema").count(), 1, "{after}");
}

async fn a_failed_job_fails_the_health_check_and_a_revert_mends_it(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    let failing = JobScript::failed("the schema has no types", false);
    let fault = JobFault::on(Operation::UpdateBackendApi, failing);
    site.stage.aws().job_fault(fault);
    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("A bad schema").await;
    let message = site.wait_until_failed(&commit, "HealthCheckFailed").await;
    assert!(
        message.contains("BackendApi") && message.contains("storefront") && message.contains("Failed"),
        "{message}"
    );

    let commit = site.revert().await;
    site.wait_until_applied(&commit).await;
    site.assert_ready(&RESOURCES).await;
}

async fn a_suspended_resource_is_applied_unless_it_was_edited_and_the_next_commit_ends_the_wait(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    let api = Site::file("api.yaml");
    site.git.edit(&api, "spec:\n", "spec:\n  suspend: true\n");
    let commit = site.push("Suspend the API").await;
    site.wait_until_applied(&commit).await;
    let object = site.stage.get(Kind::Api, "storefront").await;
    assert_eq!(ready(&object)["reason"], "Suspended");

    // The edit waits for the end of the suspension, and Flux waits for the edit: here until its timeout of 45 min.
    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("Edit a suspended API").await;
    site.wait_until_waiting(&commit).await;
    site.git.edit(&api, "  suspend: true\n", "");
    let commit = site.push("Resume the API").await;
    site.wait_until_applied(&commit).await;
    assert_eq!(schema(&site), EDITED);
}

async fn a_commit_that_changes_an_immutable_field_is_refused_as_a_whole(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;
    let before = site.stage.simulator.history().writes().len();

    site.git.write(&Site::file("schema.graphql"), EDITED);
    site.git
        .edit(&Site::file("backend.yaml"), "appName: storefront", "appName: other");
    let commit = site.push("A schema, and an immutable field").await;
    let message = site.wait_until_failed(&commit, "ReconciliationFailed").await;
    assert!(
        message.contains("AmplifyBackend") && message.contains("immutable"),
        "{message}"
    );
    let maps = site.kubectl(&["get", "configmaps", "--output=yaml"]).await;
    assert!(!maps.contains("Edited"), "{maps}");
    assert_eq!(site.stage.simulator.history().writes().len(), before);

    let commit = site.revert().await;
    site.wait_until_applied(&commit).await;
    assert_eq!(site.stage.simulator.history().writes().len(), before);
}

async fn what_somebody_changes_or_deletes_in_the_cluster_is_put_back(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    let drifted = r#"--patch={"spec":{"resourceConfig":{"apiName":"drifted"}}}"#;
    site.kubectl(&["patch", "backendapi", "storefront", "--type=merge", drifted])
        .await;
    site.stage.wait_until_ready(Kind::Api, "storefront").await;
    let name = || {
        let backend = site.stage.aws().backend((APP, "staging")).expect("a backend");
        backend.apis["storefront"]["apiName"].clone()
    };
    assert_eq!(name(), "drifted");
    site.kubectl(&["delete", "backendenvironment", "legacy"]).await;

    site.reconcile().await;
    assert_eq!(name(), "storefront");
    site.assert_ready(&RESOURCES).await;
    let record = site.stage.get(Kind::Environment, "legacy").await;
    assert_eq!(record["status"]["origin"], "Adopted", "it was retained in AWS");
}

async fn what_a_command_suspends_stays_suspended_until_another_resumes_it(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    let said = site.amplify(&["suspend", "bapi/storefront"]).await;
    assert!(said.ends_with("suspended\n"), "{said}");
    site.stage.wait_for_reason(Kind::Api, "storefront", "Suspended").await;
    for _ in 0..2 {
        site.reconcile().await;
        let object = site.stage.get(Kind::Api, "storefront").await;
        assert_eq!(object["spec"]["suspend"], true, "{object:#}");
    }
    site.amplify(&["resume", "bapi/storefront"]).await;
    site.reconcile().await;
    let object = site.stage.wait_until_ready(Kind::Api, "storefront").await;
    assert!(object["spec"]["suspend"].is_null(), "{object:#}");
}

async fn a_request_for_a_look_is_taken_away_by_flux_and_no_harm_is_done(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;
    let before = site.stage.simulator.history().writes().len();

    let request = "amplify-operator.dev/reconcile-requested-at=now";
    site.kubectl(&["annotate", "backendapi", "storefront", request]).await;
    let looked = |object: &Value| object["status"]["lastHandledReconcileAt"] == "now";
    site.stage.wait(Kind::Api, "storefront", "looked at", looked).await;

    let followed = site.follow().await;
    site.reconcile().await;
    let object = site.stage.wait_until_ready(Kind::Api, "storefront").await;
    let annotations = &object["metadata"]["annotations"];
    assert!(
        annotations["amplify-operator.dev/reconcile-requested-at"].is_null(),
        "{object:#}"
    );
    assert_eq!(object["status"]["lastHandledReconcileAt"], "now");
    assert_eq!(failures(&followed), Vec::<String>::new());
    assert_eq!(site.stage.simulator.history().writes().len(), before);
}
