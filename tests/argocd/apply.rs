//! What Argo CD says while it applies commits: it must say Healthy only when AWS has what Git says.

use std::sync::Arc;

use amplify_simulator::{Ending, JobFault, JobScript, Operation};
use amplify_testkit::{
    example::RESOURCES,
    stage::{APP, Kind, World, ready},
};
use serde_json::{Value, json};

use crate::site::{Site, operation};

amplify_testkit::tests! {
    the_example_is_healthy_when_everything_in_it_is_ready,
    an_edited_schema_is_healthy_when_its_job_has_ended,
    a_failed_job_is_degraded_and_a_revert_mends_it,
    a_suspended_resource_is_shown_so_and_the_next_commit_is_applied,
    the_good_half_of_a_commit_is_applied_and_a_corrected_commit_does_not_wait_for_the_retries,
    what_somebody_changes_or_deletes_in_the_cluster_is_put_back,
    what_a_command_suspends_stays_suspended_until_another_resumes_it,
    a_request_for_a_look_is_left_alone,
    a_wave_waits_until_the_wave_before_is_ready,
    nothing_differs_under_server_side_diff_and_a_null_is_refused_under_server_side_apply,
    a_prefix_and_a_suffix_rename_the_references_too,
}

/// Returns the API of the example, as AWS holds it.
fn api(site: &Site) -> Value {
    let backend = site.stage.aws().backend((APP, "staging")).expect("a backend");
    json!(backend.apis["storefront"])
}

const EDITED: &str = "type Edited @model { id: ID! }\n";

async fn the_example_is_healthy_when_everything_in_it_is_ready(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until(&commit, "Progressing").await;
    site.wait_until_healthy(&commit).await;
    site.assert_ready(&RESOURCES).await;
    site.stage.assert_created_once();
}

async fn an_edited_schema_is_healthy_when_its_job_has_ended(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("Another schema").await;
    site.wait_until_healthy(&commit).await;
    assert_eq!(api(&site)["transformSchema"], EDITED);
    site.assert_ready(&RESOURCES).await;
    assert_eq!(site.stage.accepted_in(Operation::UpdateBackendApi, "staging"), 1);
    // The ConfigMap of the former schema is pruned.
    let maps = site.kubectl(&["get", "configmaps", "--output=name"]).await;
    assert_eq!(maps.matches("storefront-schema").count(), 1, "{maps}");
}

async fn a_failed_job_is_degraded_and_a_revert_mends_it(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    let failing = JobScript::failed("the schema has no types", false);
    let fault = JobFault::on(Operation::UpdateBackendApi, failing);
    site.stage.aws().job_fault(fault);
    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("A bad schema").await;
    site.wait_until(&commit, "Degraded").await;

    let commit = site.revert().await;
    site.wait_until_healthy(&commit).await;
    site.assert_ready(&RESOURCES).await;
}

async fn a_suspended_resource_is_shown_so_and_the_next_commit_is_applied(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    let path = Site::file("api.yaml");
    site.git.edit(&path, "spec:\n", "spec:\n  suspend: true\n");
    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("Suspend and edit the API").await;
    site.wait_until(&commit, "Suspended").await;
    let object = site.stage.get(Kind::Api, "storefront").await;
    assert_eq!(ready(&object)["reason"], "Suspended");
    assert!(site.stage.calls(Operation::UpdateBackendApi).is_empty());

    site.git.edit(&path, "  suspend: true\n", "");
    let commit = site.push("Resume the API").await;
    site.wait_until_healthy(&commit).await;
    assert_eq!(api(&site)["transformSchema"], EDITED);
}

async fn the_good_half_of_a_commit_is_applied_and_a_corrected_commit_does_not_wait_for_the_retries(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    site.git.write(&Site::file("schema.graphql"), EDITED);
    let backend = Site::file("backend.yaml");
    site.git.edit(&backend, "appName: storefront", "appName: other");
    site.push("A schema, and an immutable field").await;
    let retried = |application: &Value| {
        let (phase, message) = operation(application);
        phase == "Running" && message.contains("immutable") && message.contains("Retrying")
    };
    site.wait("retried", retried).await;
    site.stage.wait_until_updated("storefront").await;
    assert_eq!(api(&site)["transformSchema"], EDITED);

    site.git.edit(&backend, "appName: other", "appName: storefront");
    let commit = site.push("Correct it").await;
    let application = site.wait_until_healthy(&commit).await;
    let count = application["status"]["operationState"]["retryCount"].as_i64();
    assert!(count.unwrap_or_default() < 5, "{application:#}");
}

async fn what_somebody_changes_or_deletes_in_the_cluster_is_put_back(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    let drifted = r#"--patch={"spec":{"resourceConfig":{"apiName":"drifted"}}}"#;
    site.kubectl(&["patch", "backendapi", "storefront", "--type=merge", drifted])
        .await;
    let is_back = |object: &Value| {
        object["spec"]["resourceConfig"]["apiName"] == "storefront"
            && object["metadata"]["generation"].as_i64() > Some(2)
            && ready(object)["status"] == "True"
            && object["status"]["observedGeneration"] == object["metadata"]["generation"]
    };
    site.stage.wait(Kind::Api, "storefront", "back", is_back).await;
    assert_eq!(api(&site)["apiName"], "storefront");

    let before = site.stage.get(Kind::Environment, "legacy").await;
    site.kubectl(&["delete", "backendenvironment", "legacy", "--wait=false"])
        .await;
    let is_new =
        |object: &Value| object["metadata"]["uid"] != before["metadata"]["uid"] && ready(object)["status"] == "True";
    let record = site.stage.wait(Kind::Environment, "legacy", "back", is_new).await;
    assert_eq!(record["status"]["origin"], "Adopted", "it was retained in AWS");
    site.wait_until_healthy(&commit).await;
}

async fn what_a_command_suspends_stays_suspended_until_another_resumes_it(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    let said = site.amplify(&["suspend", "bapi/storefront"]).await;
    assert!(said.ends_with("suspended\n"), "{said}");
    site.wait_until(&commit, "Suspended").await;
    let application = site.compared().await;
    assert_eq!(application["status"]["sync"]["status"], "Synced", "no self-heal");
    // Nor does a sync of another commit take it away.
    site.git.write(&Site::file("schema.graphql"), EDITED);
    let commit = site.push("Edit what somebody has suspended").await;
    site.wait_until(&commit, "Suspended").await;
    let object = site.stage.get(Kind::Api, "storefront").await;
    assert_eq!(object["spec"]["suspend"], true, "{object:#}");
    assert!(site.stage.calls(Operation::UpdateBackendApi).is_empty());

    site.amplify(&["resume", "bapi/storefront"]).await;
    site.wait_until_healthy(&commit).await;
    assert_eq!(api(&site)["transformSchema"], EDITED);
}

async fn a_request_for_a_look_is_left_alone(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    let application = site.wait_until_healthy(&commit).await;
    let finished = application["status"]["operationState"]["finishedAt"].clone();

    site.stage.request(Kind::Api, "storefront", "now").await;
    let looked = |object: &Value| object["status"]["lastHandledReconcileAt"] == "now";
    site.stage.wait(Kind::Api, "storefront", "looked at", looked).await;
    // Argo CD has compared after that, and has not synced.
    let application = site.compared().await;
    assert_eq!(application["status"]["sync"]["status"], "Synced");
    assert_eq!(application["status"]["operationState"]["finishedAt"], finished);
    let object = site.stage.get(Kind::Api, "storefront").await;
    let annotations = &object["metadata"]["annotations"];
    assert_eq!(annotations["amplify-operator.dev/reconcile-requested-at"], "now");
}

async fn a_wave_waits_until_the_wave_before_is_ready(world: Arc<World>) {
    let site = Site::new(world).await;
    site.git.write(
        &Site::file("later.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: later\n  annotations:\n    \
         argocd.argoproj.io/sync-wave: \"1\"\n",
    );
    let list = Site::file("kustomization.yaml");
    site.git.edit(&list, "  - api.yaml\n", "  - api.yaml\n  - later.yaml\n");
    let fault = JobFault::on(Operation::CreateBackend, JobScript::stuck());
    site.stage.aws().job_fault(fault);
    let commit = site.deploy(&json!({})).await;
    let waiting = |application: &Value| {
        let (phase, message) = operation(application);
        phase == "Running" && message.contains("waiting for healthy state of amplify-operator.dev/")
    };
    site.wait("waiting for the first wave", waiting).await;
    site.stage
        .wait_until_accepted(Operation::CreateBackend, "staging", 1)
        .await;
    assert!(site.stage.config_map("later").await.is_none());

    assert!(site.stage.aws().end_job((APP, "staging"), None, Ending::Completed));
    site.stage.wait_for_config_map("later", |_| true).await;
    site.assert_ready(&RESOURCES).await;
    site.wait_until_healthy(&commit).await;
}

async fn nothing_differs_under_server_side_diff_and_a_null_is_refused_under_server_side_apply(world: Arc<World>) {
    let site = Site::new(world).await;
    let changes = json!({
        "metadata": { "annotations": { "argocd.argoproj.io/compare-options": "ServerSideDiff=true" } },
        "spec": { "syncPolicy": { "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"] } },
    });
    let commit = site.deploy(&changes).await;
    let application = site.wait_until_healthy(&commit).await;
    site.assert_ready(&RESOURCES).await;
    let resources = application["status"]["resources"].as_array().expect("resources");
    assert!(
        resources.iter().all(|resource| resource["status"] == "Synced"),
        "{resources:#?}"
    );

    site.git
        .edit(&Site::file("api.yaml"), "spec:\n", "spec:\n  jobTimeout: null\n");
    site.push("A null").await;
    let refused = |application: &Value| {
        let conditions = application["status"]["conditions"].to_string();
        operation(application).1.contains("jobTimeout") || conditions.contains("jobTimeout")
    };
    site.wait("refused", refused).await;
}

async fn a_prefix_and_a_suffix_rename_the_references_too(world: Arc<World>) {
    let site = Site::new(world).await;
    let renamed = json!({ "spec": { "source": { "kustomize": { "namePrefix": "eu-", "nameSuffix": "-pr42" } } } });
    let commit = site.deploy(&renamed).await;
    site.wait_until_healthy(&commit).await;
    let names = RESOURCES.map(|(kind, name)| (kind, format!("eu-{name}-pr42")));
    site.assert_ready(&names.each_ref().map(|(kind, name)| (*kind, name.as_str())))
        .await;
    let object = site.stage.get(Kind::Api, "eu-storefront-pr42").await;
    assert_eq!(object["spec"]["backendRef"]["name"], "eu-staging-pr42");
}
