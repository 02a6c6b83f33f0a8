//! A resource that this version cannot read is reported and skipped.

use std::sync::Arc;

use amplify_devcluster::{Cluster, Options};
use amplify_operator::api;
use serde_json::json;

use crate::stage::{self, Kind, Stage, World, backend};

crate::tests! {
    a_resource_that_cannot_be_read_stops_no_other,
}

async fn a_resource_that_cannot_be_read_stops_no_other(_: Arc<World>) {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster of its own");
    // As a newer version may have it: a jobTimeout that this one cannot read.
    let crds = api::crds().map(|crd| {
        let mut crd = json!(crd);
        let timeout = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/jobTimeout";
        if let Some(schema) = crd.pointer_mut(timeout) {
            schema["x-kubernetes-validations"] = json!([]);
        }
        stage::object(crd)
    });
    let world = World::with_crds(&cluster, crds.into()).await;
    let stage = Stage::new(world).await;
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
    drop(stage);
    cluster.stop().await.expect("it ends");
}
