//! What becomes of the AWS objects when something leaves Git, or the cluster: prune, rename, deletion of a
//! Kustomization, of a namespace, and of the operator.

use std::{fs, sync::Arc};

use amplify_operator::api;
use amplify_simulator::{Ending, JobFault, JobScript, Operation};
use amplify_testkit::{
    example::{DELETED, RESOURCES, assert_only_the_record_is_left},
    stage::{APP, Kind, Setup, World, object, wait_for, wait_until_gone},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::site::{Site, failures, root};

amplify_testkit::tests! {
    the_definitions_stay_when_the_kustomization_of_the_operator_is_deleted,
    everything_can_be_pruned_at_once,
    a_kustomization_that_waits_for_termination_goes_when_aws_has_deleted_everything,
    depends_on_does_not_order_a_deletion,
    a_namespace_can_be_deleted_and_flux_fills_it_again,
    a_renamed_manifest_makes_the_aws_object_anew_and_is_never_a_failure,
    a_renamed_manifest_keeps_the_aws_object_if_the_old_one_retains_it,
}

async fn the_definitions_stay_when_the_kustomization_of_the_operator_is_deleted(world: Arc<World>) {
    let site = Site::new(world).await;
    for name in ["kustomization.yaml", "namespace.yaml", "crds.yaml", "operator.yaml"] {
        let content = fs::read_to_string(root().join("deploy").join(name)).expect("a manifest");
        site.git.write(&format!("deploy/{name}"), &content);
    }
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;
    let platform = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": { "name": "platform" },
        "spec": {
            "sourceRef": { "kind": "GitRepository", "name": "storefront" },
            "path": "./deploy", "interval": "10m", "prune": true,
        },
    });
    site.put(platform).await;
    let applied = site.wait_until_applied_as("platform", &commit).await;
    let inventory = applied["status"]["inventory"].to_string();
    for crd in api::crds() {
        assert!(inventory.contains(&crd.name_any()), "Flux has taken over {inventory}");
    }

    site.delete("platform").await;
    site.wait_until_gone("platform").await;
    // Flux has deleted all that it deletes: the namespace of the operator, but no definition.
    wait_until_gone(site.stage.namespaces_api(), "amplify-operator-system").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(site.stage.world.client.clone());
    for crd in api::crds() {
        let crd = definitions.get(&crd.name_any()).await.expect("the definition stays");
        assert!(crd.metadata.deletion_timestamp.is_none(), "{}", crd.name_any());
    }
    site.assert_ready(&RESOURCES).await;
    assert!(site.stage.calls(Operation::DeleteBackend).is_empty());
}

async fn everything_can_be_pruned_at_once(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    site.git.write(
        &Site::file("kustomization.yaml"),
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [record.yaml]\n",
    );
    let commit = site.push("Only the record").await;
    site.wait_until_applied(&commit).await;
    for (kind, name) in DELETED {
        site.stage.wait_until_gone(kind, name).await;
    }
    assert_only_the_record_is_left(&site.stage);
    let first = |operation| site.stage.calls_in(operation, "staging")[0].seq;
    assert!(first(Operation::DeleteBackendApi) < first(Operation::DeleteBackend));
    site.stage.wait_until_ready(Kind::Environment, "legacy").await;
}

async fn a_kustomization_that_waits_for_termination_goes_when_aws_has_deleted_everything(world: Arc<World>) {
    let site = Site::new(world).await;
    let waits = json!({ "spec": { "deletionPolicy": "WaitForTermination" } });
    let commit = site.deploy(&waits).await;
    site.wait_until_applied(&commit).await;

    site.delete("storefront").await;
    site.wait_until_gone("storefront").await;
    for (kind, name) in RESOURCES {
        let left = site.stage.api(kind).get_opt(name).await.expect("an answer");
        assert!(left.is_none(), "{left:?}");
    }
    assert_only_the_record_is_left(&site.stage);
}

async fn depends_on_does_not_order_a_deletion(world: Arc<World>) {
    let site = Site::new(world).await;
    // In the place of the operator.
    let stand_in = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: operator\n";
    site.git.write("operator/operator.yaml", stand_in);
    let depends = json!({ "spec": { "dependsOn": [{ "name": "operator" }] } });
    let commit = site.deploy(&depends).await;
    let operator = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": { "name": "operator" },
        "spec": {
            "sourceRef": { "kind": "GitRepository", "name": "storefront" },
            "path": "./operator", "targetNamespace": site.stage.namespace, "interval": "10m", "prune": true,
        },
    });
    site.put(operator).await;
    site.wait_until_applied(&commit).await;

    let fault = JobFault::on(Operation::DeleteBackendApi, JobScript::stuck());
    site.stage.aws().job_fault(fault);
    site.delete("storefront").await;
    site.delete("operator").await;
    site.wait_until_gone("operator").await;
    assert!(site.stage.config_map("operator").await.is_none());
    for (kind, name) in DELETED {
        let object = site.stage.get(kind, name).await;
        assert!(object["metadata"]["finalizers"].is_array(), "{object:#}");
    }
    // With the operator still there, everything goes.
    site.stage
        .wait_until_accepted(Operation::DeleteBackendApi, "staging", 1)
        .await;
    assert!(site.stage.aws().end_job((APP, "staging"), None, Ending::Completed));
    for (kind, name) in DELETED {
        site.stage.wait_until_gone(kind, name).await;
    }
    assert_only_the_record_is_left(&site.stage);
}

async fn a_namespace_can_be_deleted_and_flux_fills_it_again(world: Arc<World>) {
    let setup = Setup {
        namespaces: 2,
        ..Setup::default()
    };
    let mut site = Site::with(world, setup).await;
    // As in the plain manifests: a RoleBinding would be deleted with the namespace, before the finalizers.
    site.stage.bind_in_the_whole_cluster().await;
    site.stage.enter(1);
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    let name = site.stage.namespace.clone();
    let all = site.stage.namespaces_api();
    all.delete(&name, &DeleteParams::default())
        .await
        .expect("the delete is accepted");
    wait_until_gone(all.clone(), &name).await;
    assert_only_the_record_is_left(&site.stage);

    site.request("Kustomization", "storefront").await;
    let missing = |object: &Value| object["status"]["conditions"].to_string().contains("not found");
    wait_for(site.api("Kustomization"), "storefront", "without a namespace", missing).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    all.create(&PostParams::default(), &object(namespace))
        .await
        .expect("a namespace");
    site.reconcile().await;
    site.assert_ready(&RESOURCES).await;
}

async fn a_renamed_manifest_makes_the_aws_object_anew_and_is_never_a_failure(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;

    let followed = site.follow().await;
    site.git
        .edit(&Site::file("preview.yaml"), "  name: preview\n", "  name: demo\n");
    site.git.edit(
        &Site::file("api.yaml"),
        "metadata:\n  name: storefront\n",
        "metadata:\n  name: shop\n",
    );
    let commit = site.push("Other names").await;
    site.wait_until_applied(&commit).await;
    assert_eq!(failures(&followed), Vec::<String>::new());
    site.assert_ready(&[(Kind::Backend, "demo"), (Kind::Api, "shop")]).await;
    for (kind, name) in [(Kind::Backend, "preview"), (Kind::Api, "storefront")] {
        site.stage.wait_until_gone(kind, name).await;
    }
    for (operation, environment, count) in [
        (Operation::DeleteBackend, "preview", 1),
        (Operation::CloneBackend, "preview", 2),
        (Operation::DeleteBackendApi, "staging", 1),
        (Operation::CreateBackendApi, "staging", 2),
    ] {
        assert_eq!(site.stage.accepted_in(operation, environment), count, "{operation:?}");
    }
}

async fn a_renamed_manifest_keeps_the_aws_object_if_the_old_one_retains_it(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_applied(&commit).await;
    let before = site.stage.simulator.history().writes().len();

    let preview = Site::file("preview.yaml");
    site.git
        .edit(&preview, "deletionPolicy: Delete", "deletionPolicy: Retain");
    let commit = site.push("Retain it").await;
    site.wait_until_applied(&commit).await;
    site.git.edit(&preview, "  name: preview\n", "  name: demo\n");
    site.git
        .edit(&preview, "deletionPolicy: Retain", "deletionPolicy: Delete");
    let followed = site.follow().await;
    let commit = site.push("Another name").await;
    site.wait_until_applied(&commit).await;
    assert_eq!(failures(&followed), Vec::<String>::new());
    let object = site.stage.wait_until_ready(Kind::Backend, "demo").await;
    assert_eq!(object["status"]["origin"], "Adopted");
    site.stage.wait_until_gone(Kind::Backend, "preview").await;
    assert_eq!(site.stage.simulator.history().writes().len(), before);
}
