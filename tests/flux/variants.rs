//! Settings of a Kustomization that rename, replace or force: prefixes and suffixes, `postBuild`, `force`.

use std::{fs, sync::Arc};

use amplify_simulator::Operation;
use amplify_testkit::{
    example::{FOLDER, RESOURCES},
    stage::{Kind, World},
};
use serde_json::json;

use crate::{
    apply::schema,
    site::{Site, root},
};

amplify_testkit::tests! {
    a_prefix_and_a_suffix_of_flux_rename_the_references_too,
    an_overlay_of_kustomize_renames_every_reference_of_every_kind,
    a_schema_keeps_its_placeholders_where_flux_substitutes,
    with_force_an_immutable_field_costs_the_aws_object,
    a_null_is_refused,
}

async fn a_prefix_and_a_suffix_of_flux_rename_the_references_too(world: Arc<World>) {
    let site = Site::new(world).await;
    let renamed = json!({ "spec": { "namePrefix": "eu-", "nameSuffix": "-pr42" } });
    let commit = site.deploy(&renamed).await;
    site.wait_until_applied(&commit).await;
    let names = RESOURCES.map(|(kind, name)| (kind, format!("eu-{name}-pr42")));
    site.assert_ready(&names.each_ref().map(|(kind, name)| (*kind, name.as_str())))
        .await;
    let api = site.stage.get(Kind::Api, "eu-storefront-pr42").await;
    assert_eq!(api["spec"]["backendRef"]["name"], "eu-staging-pr42");
    let clone = site.stage.get(Kind::Backend, "eu-preview-pr42").await;
    assert_eq!(clone["spec"]["cloneFrom"]["backendRef"]["name"], "eu-staging-pr42");
    // Names in AWS are no names of objects.
    assert_eq!(site.stage.accepted_in(Operation::CreateBackend, "staging"), 1);
}

async fn an_overlay_of_kustomize_renames_every_reference_of_every_kind(world: Arc<World>) {
    let site = Site::new(world).await;
    // The example has no storage.
    let storage = fs::read_to_string(root().join("deploy/samples/backendstorage.yaml")).expect("a sample");
    site.git.write(&Site::file("storage.yaml"), &storage);
    site.git.edit(
        &Site::file("kustomization.yaml"),
        "  - api.yaml\n",
        "  - api.yaml\n  - storage.yaml\n",
    );
    let base = format!("../{FOLDER}");
    site.git.write(
        "overlay/kustomization.yaml",
        &format!("nameSuffix: -pr42\nresources: [{base}]\n"),
    );
    let overlay = site.git.folder().join("overlay").display().to_string();
    let built = site.kubectl(&["kustomize", &overlay]).await;
    let references: Vec<_> = built
        .lines()
        .zip(built.lines().skip(1))
        .filter(|(line, _)| line.trim() == "backendRef:")
        .map(|(_, name)| name.trim())
        .collect();
    assert_eq!(references, ["name: staging-pr42"; 3], "{built}");
    let map = built
        .lines()
        .zip(built.lines().skip(2))
        .find(|(line, _)| line.trim() == "configMapKeyRef:");
    let (_, name) = map.expect("a reference to the ConfigMap");
    assert!(name.trim().starts_with("name: storefront-schema-pr42-"), "{built}");
}

const WITH_PLACEHOLDER: &str = "type Product @model { id: ID! @function(name: \"price-${env}\") }\n";

async fn a_schema_keeps_its_placeholders_where_flux_substitutes(world: Arc<World>) {
    let site = Site::new(world).await;
    site.git.edit(
        &Site::file("record.yaml"),
        "environmentName: legacy",
        "environmentName: ${environment}",
    );
    site.git.write(&Site::file("schema.graphql"), WITH_PLACEHOLDER);
    let substitute = json!({ "spec": { "postBuild": { "substitute": { "environment": "old" } } } });
    let commit = site.deploy(&substitute).await;
    let message = site.wait_until_failed(&commit, "BuildFailed").await;
    assert!(message.contains("env"), "{message}");

    // The whole ConfigMap is left alone.
    site.git.edit(
        &Site::file("kustomization.yaml"),
        "      - schema.graphql\n",
        "      - schema.graphql\n    options:\n      annotations:\n        kustomize.toolkit.fluxcd.io/substitute: disabled\n",
    );
    let commit = site.push("No substitution in the schema").await;
    site.wait_until_applied(&commit).await;
    assert_eq!(schema(&site), WITH_PLACEHOLDER);
    let record = site.stage.get(Kind::Environment, "legacy").await;
    assert_eq!(record["spec"]["environmentName"], "old");

    // A doubled dollar sign stands for one. It works in a schema that stands in the manifest, too.
    let inline = "    transformSchema: |\n      type Price @model { id: ID! @function(name: \"price-$${env}\") }\n";
    let from = "    transformSchemaFrom:\n      configMapKeyRef:\n        name: storefront-schema\n        key: \
                schema.graphql\n";
    site.git.edit(&Site::file("api.yaml"), from, inline);
    let commit = site.push("The schema in the manifest").await;
    site.wait_until_applied(&commit).await;
    let inline = "type Price @model { id: ID! @function(name: \"price-${env}\") }\n";
    assert_eq!(schema(&site), inline);
}

async fn with_force_an_immutable_field_costs_the_aws_object(world: Arc<World>) {
    let site = Site::new(world).await;
    let commit = site.deploy(&json!({ "spec": { "force": true } })).await;
    site.wait_until_applied(&commit).await;

    site.git.edit(
        &Site::file("preview.yaml"),
        "  cloneFrom:\n    backendRef:\n      name: staging\n",
        "  appName: preview\n",
    );
    let commit = site.push("No clone any more").await;
    site.wait_until_applied(&commit).await;
    site.assert_ready(&RESOURCES).await;
    assert_eq!(site.stage.accepted_in(Operation::DeleteBackend, "preview"), 1);
    assert_eq!(site.stage.accepted_in(Operation::CreateBackend, "preview"), 1);
}

async fn a_null_is_refused(world: Arc<World>) {
    let site = Site::new(world).await;
    site.git
        .edit(&Site::file("api.yaml"), "spec:\n", "spec:\n  jobTimeout: null\n");
    let commit = site.deploy(&json!({})).await;
    let message = site.wait_until_failed(&commit, "ReconciliationFailed").await;
    assert!(message.contains("jobTimeout"), "{message}");
}
