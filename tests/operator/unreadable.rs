//! A resource that this version cannot read is reported and skipped.

use std::sync::Arc;

use amplify_devcluster::{Cluster, Options};
use amplify_operator::api;
use amplify_simulator::Operation;
use serde_json::json;

use amplify_testkit::stage::{self, APP, Kind, Setup, Stage, World, backend, graphql_api, message};

amplify_testkit::tests! {
    a_resource_that_cannot_be_read_stops_no_other_and_is_no_ghost_when_it_is_gone,
}

async fn a_resource_that_cannot_be_read_stops_no_other_and_is_no_ghost_when_it_is_gone(_: Arc<World>) {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster of its own");
    // As in a newer version: a jobTimeout that this version cannot read.
    let crds = api::crds().into_iter().map(|crd| {
        let mut crd = json!(crd);
        let timeout = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/jobTimeout";
        if let Some(schema) = crd.pointer_mut(timeout) {
            schema["x-kubernetes-validations"] = json!([]);
        }
        stage::object(crd)
    });
    let world = World::with_crds(&cluster, crds.collect()).await;
    let stage = Stage::with(world, Setup::quick()).await;
    let mut spec = backend("bad");
    spec["jobTimeout"] = json!("until tea");
    stage.create(Kind::Backend, "bad", spec).await;
    stage.create_backend("good").await;
    stage.wait_until_ready(Kind::Backend, "good").await;
    let bad = stage.get(Kind::Backend, "bad").await;
    assert_eq!(
        bad["status"],
        json!({ "observedGeneration": -1 }),
        "it does not pass for done"
    );
    become_unreadable_and_go(&stage).await;
    drop(stage);
    cluster.stop().await.expect("it ends");
}

/// Two resources that were readable at first keep their claims until they are gone.
async fn become_unreadable_and_go(stage: &Stage) {
    let both = [(Kind::Backend, "held"), (Kind::Api, "inner")];
    stage.create_backend("held").await;
    stage.create_backend("outer").await;
    stage.wait_until_ready(Kind::Backend, "outer").await;
    let api = graphql_api("outer", "type A @model { id: ID! }");
    stage.create(Kind::Api, "inner", api).await;
    for (kind, name) in both {
        stage.wait_until_ready(kind, name).await;
        let unreadable = json!({ "spec": { "jobTimeout": "until tea" } });
        stage.patch(kind, name, unreadable).await;
    }
    stage.create(Kind::Backend, "rival", backend("held")).await;
    let object = stage.wait_for_reason(Kind::Backend, "rival", "Conflict").await;
    assert!(message(&object).contains("held"), "{object:#}");
    stage.delete(Kind::Backend, "outer").await;
    let object = stage.wait_for_reason(Kind::Backend, "outer", "InUse").await;
    assert!(message(&object).contains("inner"), "{object:#}");
    // The operator cannot read what should happen to their AWS objects, so a user removes the finalizers.
    for (kind, name) in both {
        stage.delete(kind, name).await;
        let released = json!({ "metadata": { "finalizers": null } });
        stage.patch(kind, name, released).await;
        stage.wait_until_gone(kind, name).await;
    }
    stage.wait_for_reason(Kind::Backend, "rival", "AlreadyExists").await;
    stage.wait_until_gone(Kind::Backend, "outer").await;
    assert!(stage.aws().backend((APP, "outer")).is_none() && stage.aws().backend((APP, "held")).is_some());
    assert!(stage.calls(Operation::DeleteBackendApi).is_empty());
}
