//! The manifests in the documentation, created in a real API server without being stored.

use amplify_devcluster::{Cluster, Options};
use amplify_operator::api;
use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    runtime::wait::{await_condition, conditions},
};
use serde_json::Value;

use crate::pages::Page;

/// Returns the refused manifests, each with the reason.
pub(crate) async fn refused(pages: &[Page]) -> Result<Vec<String>> {
    let cluster = Cluster::start(Options::default()).await?;
    let client = cluster.client().await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in api::crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        definitions.create(&PostParams::default(), &crd).await?;
        await_condition(definitions.clone(), &name, conditions::is_crd_established()).await?;
    }
    let mut refused = Vec::new();
    let mut taken = 0;
    for page in pages {
        for (_, text) in page.blocks.iter().filter(|(language, _)| language == "yaml") {
            for document in text
                .split("---\n")
                // Skips examples that are commented out.
                .filter(|text| {
                    text.lines()
                        .any(|line| line.starts_with("apiVersion: amplify-operator.dev/"))
                })
            {
                match create(&client, document).await {
                    Ok(()) => taken += 1,
                    Err(error) => refused.push(format!("{}: {error:#}\n{document}", page.path.display())),
                }
            }
        }
    }
    cluster.stop().await?;
    assert!(taken > 0, "no manifests are found");
    Ok(refused)
}

async fn create(client: &Client, document: &str) -> Result<()> {
    let mut object: Value = serde_saphyr::from_str(document).context("not YAML")?;
    // Only the operator writes the status, so an example with a status is created without it.
    object.as_object_mut().context("not an object")?.remove("status");
    let mut object: DynamicObject = serde_json::from_value(object)?;
    let kind = object
        .types
        .as_ref()
        .map(|types| types.kind.clone())
        .unwrap_or_default();
    let crd = api::crds()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .with_context(|| format!("no kind {kind}"))?;
    let resource = ApiResource {
        group: crd.spec.group,
        version: "v1alpha1".to_owned(),
        api_version: "amplify-operator.dev/v1alpha1".to_owned(),
        kind,
        plural: crd.spec.names.plural,
    };
    object.metadata.namespace = Some("default".to_owned());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&dry, &object).await?;
    Ok(())
}
