//! The lists of backends and of records that the drift checks of an app share. An object that is not in a list counts
//! as gone, so a failed list must never be taken for a short one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use amplify_simulator::{App, Call, Fault, Filter, Operation, Settings};
use serde_json::{Value, json};

use crate::{STAGES, matrix::in_reads, tally::TALLY};
use amplify_testkit::stage::{Kind, PATIENCE, Setup, Stage, World, ready};

amplify_testkit::tests! {
    a_fault_in_a_list_that_drift_checks_share_changes_nothing,
}

/// GetBackend without an environment lists backends; the other operation lists records.
const LISTS: [Operation; 2] = [Operation::GetBackend, Operation::ListBackendEnvironments];

#[expect(clippy::too_many_lines, reason = "one drift check of three kinds, told in order")]
async fn a_fault_in_a_list_that_drift_checks_share_changes_nothing(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let faults = in_reads();
    let setup = Setup {
        flags: vec![
            "--drift-interval=10s",
            "--absence-grace=1s",
            "--aws-requests-per-second=100",
            "--aws-burst=100",
            "--concurrency=64",
        ],
        settings: Settings {
            job_duration: Duration::from_secs(1),
            ..Settings::default()
        },
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    let app = |number: usize| format!("d{number}fault");
    let resources = |number: usize| {
        [
            (Kind::Backend, format!("backend-{number}")),
            (Kind::Environment, format!("record-{number}")),
        ]
    };
    for number in 0..faults.len() {
        stage.aws().put_app(&App {
            account: None,
            region: None,
            app_id: app(number),
            name: "storefront".to_owned(),
        });
        let [(backends, backend), (environments, record)] = resources(number);
        let spec = json!({ "appId": app(number), "appName": "storefront", "backendEnvironmentName": "one" });
        stage.create(backends, &backend, spec).await;
        let spec = json!({
            "appId": app(number), "environmentName": "two", "stackName": "stack", "deploymentArtifacts": "bucket",
        });
        stage.create(environments, &record, spec).await;
    }
    let mut before = BTreeMap::new();
    for number in 0..faults.len() {
        for (kind, name) in resources(number) {
            before.insert(name.clone(), stage.wait_until_ready(kind, &name).await);
        }
    }
    for (number, (action, times, _)) in faults.iter().enumerate() {
        for list in LISTS {
            // The SDK repeats a failed read, so all of its tries must fail.
            let fault = Fault::on(list, action.clone()).app(&app(number)).times(*times);
            stage.aws().fault(fault);
        }
    }
    for (number, (action, times, denied)) in faults.iter().enumerate() {
        for list in LISTS {
            hit(&stage, list, &app(number), *times).await;
        }
        if *denied {
            for (kind, name) in resources(number) {
                stage.request(kind, &name, "once more").await;
            }
        }
        for list in LISTS {
            listed_after(&stage, list, &app(number), *times).await;
            TALLY.faults(usize::try_from(*times).expect("a few"));
        }
        for (kind, name) in resources(number) {
            let object = stage.wait_until_ready(kind, &name).await;
            let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
            if !denied {
                assert_eq!(version(&object), version(&before[&name]), "{action:?}: {object:#}");
            }
            assert_eq!(
                ready(&object)["lastTransitionTime"],
                ready(&before[&name])["lastTransitionTime"]
            );
        }
    }
    // Each page says that another page follows, and the last page leads back to the first.
    stage.aws().change_settings(|settings| {
        settings.page_size = Some(1);
        settings.repeat_page_token = true;
    });
    let begin = stage.simulator.history().all().last().map(|call| call.seq);
    for number in 0..faults.len() {
        let filter = Filter {
            after: begin,
            ..lists_of(Operation::ListBackendEnvironments, &app(number))
        };
        let reached = stage.simulator.history().reaches(&filter, 4, PATIENCE).await;
        assert!(reached, "the list is tried again");
        TALLY.faults(1);
    }
    for number in 0..faults.len() {
        for (kind, name) in resources(number) {
            stage.wait_until_ready(kind, &name).await;
        }
    }
    for operation in [Operation::CreateBackend, Operation::CreateBackendEnvironment] {
        assert_eq!(stage.calls(operation).len(), faults.len());
    }
    TALLY.creates(&stage);
}

fn lists_of(list: Operation, app: &str) -> Filter {
    Filter {
        operation: Some(list),
        app: Some(app.to_owned()),
        ..Filter::default()
    }
}

async fn wait_for_lists(stage: &Stage, list: Operation, app: &str, what: &str, are: impl Fn(&[Call]) -> bool) {
    let waiting = async {
        while !are(&stage.simulator.history().matching(&lists_of(list, app))) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await.is_ok();
    let calls = stage.simulator.history().matching(&lists_of(list, app));
    assert!(
        in_time,
        "{list:?} of {app} is not {what} within {PATIENCE:?}: {calls:#?}"
    );
}

/// Waits until the fault has hit this many times.
async fn hit(stage: &Stage, list: Operation, app: &str, times: u64) {
    let hits = |calls: &[Call]| calls.iter().filter(|call| call.faulted).count() as u64;
    wait_for_lists(stage, list, app, "hit", |calls| hits(calls) == times).await;
}

/// Waits until the list has succeeded after the fault.
async fn listed_after(stage: &Stage, list: Operation, app: &str, times: u64) {
    hit(stage, list, app, times).await;
    wait_for_lists(stage, list, app, "whole again", |calls| {
        calls
            .last()
            .is_some_and(|call| !call.faulted && call.status == Some(200))
    })
    .await;
}
