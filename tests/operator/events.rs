//! Events as a real API server stores and shows them.

use std::{sync::Arc, time::Duration};

use amplify_operator::{api::conditions::Reason, clock::Clock, controller::Events, telemetry::Metrics};
use amplify_simulator::{JobFault, JobScript, Operation};
use k8s_openapi::api::{core::v1::ObjectReference, events::v1::Event};
use kube::{Api, api::ListParams};
use serde_json::json;

use amplify_testkit::stage::{Kind, Setup, Stage, World, backend};

amplify_testkit::tests! {
    each_thing_that_happened_is_an_event_that_the_api_server_takes,
    a_resource_with_a_name_of_253_characters_has_events,
    each_failed_job_is_a_warning_in_awss_words_whether_it_is_tried_again_or_not,
}

/// Returns type, reason, note and count of each Event about an object, in the order of their creation.
async fn told(stage: &Stage, namespace: &str, name: &str, pod: &str) -> Vec<(String, String, String, i32)> {
    let api: Api<Event> = Api::namespaced(stage.world.client.clone(), namespace);
    let selector = ListParams::default().fields(&format!("regarding.name={name}"));
    let mut events = api.list(&selector).await.expect("events").items;
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    let told = events.into_iter().map(|event| {
        assert_eq!(event.reporting_controller.as_deref(), Some("amplify-operator"));
        assert_eq!(event.reporting_instance.as_deref(), Some(pod));
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
    // An object without a namespace, as cluster-scoped objects are. Its Events are in `default`.
    let of_cluster = ObjectReference {
        name: Some(format!("{}-cluster", stage.namespace)),
        namespace: None,
        ..namespaced.clone()
    };
    let failed = format!("CreateBackend failed: {} Ask AWS Support.", "ü".repeat(600));
    let (events, write) = Events::new(
        stage.world.client.clone(),
        Arc::new(Clock::of_machine()),
        Arc::new(Metrics::new("test")),
    );
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
        let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "amplify-operator".to_owned());
        let told = told(&stage, namespace, object.name.as_deref().unwrap_or_default(), &pod).await;
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

async fn each_failed_job_is_a_warning_in_awss_words_whether_it_is_tried_again_or_not(world: Arc<World>) {
    let mut setup = Setup::quick().flag("--max-job-attempts=3");
    setup.settings.job_duration = Duration::from_secs(1);
    let stage = Stage::with(world, setup).await;
    let errors = [
        "the bucket's name is taken",
        "the role may not be passed",
        "the stack rolled back",
    ];
    for error in errors {
        let script = JobScript::failed(error, false);
        stage.aws().job_fault(JobFault::on(Operation::CreateBackend, script));
    }
    stage.create_backend("dev").await;
    for (number, error) in errors.iter().enumerate() {
        let has_failed = |object: &serde_json::Value| object["status"]["job"]["error"] == *error;
        stage.wait(Kind::Backend, "dev", error, has_failed).await;
        if number + 1 < errors.len() {
            // A request, so that the next attempt does not come only after minutes.
            stage.request(Kind::Backend, "dev", error).await;
        }
    }
    let mut shown = Vec::new();
    let all_are_told = async {
        loop {
            shown = told(&stage, &stage.namespace, "dev", "operator").await;
            let is_told = |error: &&str| {
                shown.iter().any(|(type_, reason, note, _)| {
                    type_ == "Warning"
                        && reason == "JobFailed"
                        && note.contains(error)
                        && note.contains("CreateBackend")
                })
            };
            if errors.iter().all(is_told) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), all_are_told)
        .await
        .is_ok();
    assert!(in_time, "{shown:#?}");
    // Successes are no warnings, and their series contain none of AWS's errors.
    let quiet = shown.iter().filter(|(type_, ..)| type_ == "Normal");
    for (_, _, note, _) in quiet {
        assert!(errors.iter().all(|error| !note.contains(error)), "{shown:#?}");
    }
}
