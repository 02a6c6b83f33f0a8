//! Events as a real API server takes and shows them.

use std::sync::Arc;

use amplify_operator::{api::conditions::Reason, controller::Events};
use k8s_openapi::api::{core::v1::ObjectReference, events::v1::Event};
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::stage::{Kind, Setup, Stage, World, backend};

crate::tests! {
    each_thing_that_happened_is_an_event_that_the_api_server_takes,
    a_resource_with_a_name_of_253_characters_has_events,
}

/// Type, reason, note and count of each Event about an object, in the order of their creation.
async fn told(stage: &Stage, namespace: &str, name: &str) -> Vec<(String, String, String, i32)> {
    let api: Api<Event> = Api::namespaced(stage.world.client.clone(), namespace);
    let selector = ListParams::default().fields(&format!("regarding.name={name}"));
    let mut events = api.list(&selector).await.expect("events").items;
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    let told = events.into_iter().map(|event| {
        let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "amplify-operator".to_owned());
        assert_eq!(event.reporting_controller.as_deref(), Some("amplify-operator"));
        assert_eq!(event.reporting_instance.as_deref(), Some(pod.as_str()));
        (
            event.type_.unwrap_or_default(),
            event.reason.unwrap_or_default(),
            event.note.unwrap_or_default(),
            event.series.map_or(1, |series| series.count),
        )
    });
    told.collect()
}

async fn each_thing_that_happened_is_an_event_that_the_api_server_takes(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    let name = format!("{}.{}", "a".repeat(235), "b".repeat(17));
    let namespaced = ObjectReference {
        api_version: Some("amplify-operator.dev/v1alpha1".to_owned()),
        kind: Some("AmplifyBackend".to_owned()),
        name: Some(name.clone()),
        namespace: Some(stage.namespace.clone()),
        uid: Some("0c1f2a3b".to_owned()),
        ..ObjectReference::default()
    };
    // Without a namespace, as a cluster's object: its Events are in `default`.
    let of_cluster = ObjectReference {
        name: Some(format!("{}-cluster", stage.namespace)),
        namespace: None,
        ..namespaced.clone()
    };
    let failed = format!("CreateBackend failed: {} Ask AWS Support.", "ü".repeat(600));
    let (events, write) = Events::new(stage.world.client.clone());
    let running = "CreateBackend is running";
    for object in [&namespaced, &of_cluster] {
        events.transition(object.clone(), Reason::Creating, running, "CreateBackend");
        events.job_failed(object.clone(), &failed, "CreateBackend");
        events.transition(object.clone(), Reason::Creating, running, "CreateBackend");
        events.write_refused(object.clone(), "denied by policy");
        events.gone(object.clone(), "CreateBackend");
        events.released(object.clone(), "released: it owned no AWS object", "Release");
    }
    drop(events);
    write.await;
    for (namespace, object) in [(stage.namespace.as_str(), &namespaced), ("default", &of_cluster)] {
        let told = told(&stage, namespace, object.name.as_deref().unwrap_or_default()).await;
        let shown: Vec<_> = told
            .iter()
            .map(|(type_, reason, _, count)| (type_.as_str(), reason.as_str(), *count))
            .collect();
        assert_eq!(
            shown,
            [
                ("Normal", "Creating", 2),
                ("Warning", "JobFailed", 1),
                ("Warning", "WriteRefused", 1),
                ("Warning", "Gone", 1),
                ("Normal", "Released", 1),
            ]
        );
        assert!(told[1].2.ends_with(" Ask AWS Support."), "{}", told[1].2);
    }
}

async fn a_resource_with_a_name_of_253_characters_has_events(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let name = "x".repeat(253);
    let mut spec = backend("dev");
    spec["suspend"] = json!(true);
    stage.create(Kind::Backend, &name, spec).await;
    stage.wait_for_reason(Kind::Backend, &name, "Suspended").await;
    stage.wait_for_events(&name, &["Suspended"]).await;
}
