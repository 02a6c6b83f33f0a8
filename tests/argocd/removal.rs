//! What becomes of the AWS objects when something leaves Git, or the cluster: prune, rename, deletion of an
//! Application, and of a namespace.

use std::{fs, sync::Arc};

use amplify_operator::api;
use amplify_simulator::Operation;
use amplify_testkit::{
    example::{DELETED, RESOURCES, assert_only_the_record_is_left},
    stage::{Kind, Setup, World, ready, wait_for, wait_until_gone},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::{Value, json};

use crate::site::{Site, root};

amplify_testkit::tests! {
    the_definitions_stay_when_they_leave_git_and_when_the_application_of_the_operator_is_deleted,
    everything_can_be_pruned_at_once,
    an_application_goes_when_aws_has_deleted_everything,
    a_namespace_can_be_deleted_and_argo_cd_fills_it_again,
    a_renamed_manifest_makes_the_aws_object_anew,
    a_renamed_manifest_keeps_the_aws_object_if_the_old_one_retains_it,
}

async fn the_definitions_stay_when_they_leave_git_and_when_the_application_of_the_operator_is_deleted(
    world: Arc<World>,
) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;
    for name in ["kustomization.yaml", "namespace.yaml", "crds.yaml", "operator.yaml"] {
        let content = fs::read_to_string(root().join("deploy").join(name)).expect("a manifest");
        site.git.write(&format!("deploy/{name}"), &content);
    }
    let platform = format!("{}-platform", site.name);
    let namespace = "amplify-operator-system";
    let of_operator = json!({ "spec": { "source": { "path": "deploy" }, "destination": { "namespace": namespace } } });
    let commit = site.deploy_as(&platform, &of_operator).await;
    // Where nothing else differs, Argo CD compares and starts no sync.
    let applied = async |commit: &str| {
        let is_applied = |application: &Value| {
            let status = &application["status"];
            status["sync"]["revision"] == commit && status["operationState"]["phase"] == "Succeeded"
        };
        wait_for(site.api(), &platform, "applied", is_applied).await
    };
    // Argo CD tracks no definitions: it would keep them without their annotation too.
    let definitions: Api<CustomResourceDefinition> = Api::all(site.stage.world.client.clone());
    let assert_there = async || {
        for crd in api::crds() {
            let crd = definitions.get(&crd.name_any()).await.expect("the definition stays");
            assert!(crd.metadata.deletion_timestamp.is_none(), "{}", crd.name_any());
        }
    };
    let taken = applied(&commit).await["status"]["resources"].to_string();
    for crd in api::crds() {
        assert!(taken.contains(&crd.name_any()), "Argo CD has taken over {taken}");
    }

    let list = "deploy/kustomization.yaml";
    site.git.edit(list, "  - crds.yaml\n", "");
    let commit = site.git.commit("Without the definitions").await;
    site.refresh(&platform).await;
    applied(&commit).await;
    assert_there().await;
    let (without, with) = ("  - namespace.yaml\n", "  - namespace.yaml\n  - crds.yaml\n");
    site.git.edit(list, without, with);
    let commit = site.git.commit("With them again").await;
    site.refresh(&platform).await;
    applied(&commit).await;

    site.delete(&platform).await;
    site.wait_until_gone(&platform).await;
    // Argo CD has deleted all that it deletes: the namespace of the operator, but no definition.
    wait_until_gone(site.stage.namespaces_api(), namespace).await;
    assert_there().await;
    site.assert_ready(&RESOURCES).await;
    assert!(site.stage.calls(Operation::DeleteBackend).is_empty());
}

async fn everything_can_be_pruned_at_once(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    site.git.write(
        &Site::file("kustomization.yaml"),
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [record.yaml]\n",
    );
    let commit = site.push("Only the record").await;
    site.wait_until_healthy(&commit).await;
    for (kind, name) in DELETED {
        site.stage.wait_until_gone(kind, name).await;
    }
    assert_only_the_record_is_left(&site.stage);
    site.stage.wait_until_ready(Kind::Environment, "legacy").await;
}

async fn an_application_goes_when_aws_has_deleted_everything(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;

    site.delete(&site.name).await;
    site.wait_until_gone(&site.name).await;
    for (kind, name) in RESOURCES {
        let left = site.stage.api(kind).get_opt(name).await.expect("an answer");
        assert!(left.is_none(), "{left:?}");
    }
    assert_only_the_record_is_left(&site.stage);
}

async fn a_namespace_can_be_deleted_and_argo_cd_fills_it_again(world: Arc<World>) {
    let setup = Setup {
        namespaces: 2,
        ..Setup::default()
    };
    let mut site = Site::with(world, setup).await;
    // As in the plain manifests: a RoleBinding would be deleted with the namespace, before the finalizers.
    site.stage.bind_in_the_whole_cluster().await;
    site.stage.enter(1);
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;
    let name = site.stage.namespace.clone();
    let before = site.stage.get(Kind::Backend, "staging").await["metadata"]["uid"].clone();

    site.stage
        .namespaces_api()
        .delete(&name, &DeleteParams::default())
        .await
        .expect("the delete is accepted");
    let is_new = |object: &Value| object["metadata"]["uid"] != before && ready(object)["status"] == "True";
    site.stage.wait(Kind::Backend, "staging", "made anew", is_new).await;
    assert_eq!(site.stage.accepted_in(Operation::DeleteBackend, "staging"), 1);
    assert_eq!(site.stage.accepted_in(Operation::CreateBackend, "staging"), 2);
    site.wait_until_healthy(&commit).await;
    site.assert_ready(&RESOURCES).await;
}

/// Renames two manifests of the example.
fn rename(site: &Site) {
    site.git
        .edit(&Site::file("preview.yaml"), "  name: preview\n", "  name: demo\n");
    let (from, to) = ("metadata:\n  name: storefront\n", "metadata:\n  name: shop\n");
    site.git.edit(&Site::file("api.yaml"), from, to);
}

async fn a_renamed_manifest_makes_the_aws_object_anew(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;
    rename(&site);
    let commit = site.push("Other names").await;
    site.wait_until_healthy(&commit).await;
    site.assert_ready(&[(Kind::Backend, "demo"), (Kind::Api, "shop")]).await;
    for (kind, name) in [(Kind::Backend, "preview"), (Kind::Api, "storefront")] {
        site.stage.wait_until_gone(kind, name).await;
    }
    assert_eq!(site.stage.accepted_in(Operation::DeleteBackend, "preview"), 1);
    assert_eq!(site.stage.accepted_in(Operation::DeleteBackendApi, "staging"), 1);
    assert_eq!(site.stage.accepted_in(Operation::CreateBackendApi, "staging"), 2);
}

async fn a_renamed_manifest_keeps_the_aws_object_if_the_old_one_retains_it(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({})).await;
    site.wait_until_healthy(&commit).await;
    let before = site.stage.simulator.history().writes().len();

    let preview = Site::file("preview.yaml");
    site.git
        .edit(&preview, "deletionPolicy: Delete", "deletionPolicy: Retain");
    let commit = site.push("Retain it").await;
    site.wait_until_healthy(&commit).await;
    site.git.edit(&preview, "  name: preview\n", "  name: demo\n");
    site.git
        .edit(&preview, "deletionPolicy: Retain", "deletionPolicy: Delete");
    let commit = site.push("Another name").await;
    site.wait_until_healthy(&commit).await;
    let object = site.stage.wait_until_ready(Kind::Backend, "demo").await;
    assert_eq!(object["status"]["origin"], "Adopted");
    site.stage.wait_until_gone(Kind::Backend, "preview").await;
    assert_eq!(site.stage.simulator.history().writes().len(), before);
}
