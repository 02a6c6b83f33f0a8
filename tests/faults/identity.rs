//! The operator's identity in AWS: STS fails, and credentials become available only later.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use amplify_simulator::{
    DEFAULT_ACCESS_KEY_ID, DEFAULT_ACCOUNT, DEFAULT_SECRET_ACCESS_KEY, Fault, Filter, Key, Operation, Settings,
};
use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::{STAGES, matrix::in_reads, tally::TALLY};
use amplify_testkit::stage::{Kind, Setup, Stage, World, environment, ready};

amplify_testkit::tests! {
    a_fault_of_sts_is_overcome_in_each_namespace,
    credentials_that_a_pod_gets_late_are_used_without_a_restart,
    credentials_that_a_file_gets_late_are_used_without_a_restart,
    credentials_that_change_in_a_file_are_used_without_a_restart,
}

const STS: [Operation; 2] = [Operation::AssumeRole, Operation::GetCallerIdentity];

/// The credentials that a pod's agent returns.
static POD: LazyLock<Key> = LazyLock::new(|| Key {
    access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
    secret_access_key: "another-secret".to_owned(),
    session_token: Some("a-token".to_owned()),
    account: DEFAULT_ACCOUNT.to_owned(),
});

fn account(number: usize) -> String {
    format!("{:012}", 100 + number)
}

fn role(number: usize) -> String {
    format!("arn:aws:iam::{}:role/amplify", account(number))
}

/// Returns an accounts file that gives each namespace an account of its own.
fn accounts(namespaces: &[String]) -> String {
    let entry = |(number, namespace): (usize, &String)| {
        format!(
            "- {{name: n{number}, namespaces: [{namespace}], roleArn: \"{}\"}}\n",
            role(number)
        )
    };
    format!(
        "accounts:\n{}",
        namespaces.iter().enumerate().map(entry).collect::<String>()
    )
}

async fn a_fault_of_sts_is_overcome_in_each_namespace(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let faults = in_reads();
    let places: Vec<_> = STS
        .iter()
        .flat_map(|operation| faults.iter().map(move |fault| (*operation, fault)))
        .collect();
    let setup = Setup {
        flags: vec!["--concurrency=64", "--outcome-grace=8s", "--absence-grace=3s"],
        settings: Settings {
            auto_register_apps: true,
            ..Settings::default()
        },
        namespaces: places.len(),
        accounts: Some(accounts),
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    for (number, (operation, (action, times, _))) in places.iter().enumerate() {
        let fault = Fault::on(*operation, action.clone()).times(*times);
        // A role is assumed with the operator's own credentials.
        stage.aws().fault(match operation {
            Operation::AssumeRole => fault.resource(&role(number)),
            _ => fault.account(&account(number)),
        });
        stage.enter(number);
        stage.create(Kind::Environment, "dev", environment("dev")).await;
    }
    stage.start();
    for (number, (operation, (action, times, denied))) in places.iter().enumerate() {
        stage.enter(number);
        if *denied {
            // If the old credentials have expired, the operator gets new ones at once, so `AccessDenied` may not show.
            let told = |object: &Value| {
                ["AccessDenied", "Available"]
                    .map(Some)
                    .contains(&ready(object)["reason"].as_str())
            };
            stage.wait(Kind::Environment, "dev", "told of", told).await;
            stage.request(Kind::Environment, "dev", "once more").await;
        }
        let object = stage.wait_until_ready(Kind::Environment, "dev").await;
        assert_eq!(object["status"]["accountId"], account(number));
        let history = stage.simulator.history();
        let mut calls = history.all();
        calls.retain(|call| match operation {
            Operation::AssumeRole => call.resource.as_deref() == Some(&role(number)),
            _ => call.operation == *operation && call.account.as_deref() == Some(&account(number)),
        });
        let hits = calls.iter().filter(|call| call.faulted).count();
        assert_eq!(hits as u64, *times, "{operation:?} {action:?}");
        assert!(
            calls.len() <= hits + 3,
            "{operation:?} {action:?}: {} calls",
            calls.len()
        );
        TALLY.faults(hits);
        let writes = history.matching(&Filter {
            account: Some(account(number)),
            operation: Some(Operation::CreateBackendEnvironment),
            ..Filter::default()
        });
        assert_eq!(writes.len(), 1, "{operation:?} {action:?}");
    }
    TALLY.creates(&stage);
}

/// Returns a stage without credentials. Credentials of this machine are out of reach, because the test sets the
/// operator's whole environment.
async fn without_credentials(world: Arc<World>) -> Stage {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    stage
        .environment
        .retain(|(name, _)| !name.starts_with("AWS_") || !name.contains("KEY"));
    stage.set("AWS_EC2_METADATA_DISABLED", "true");
    stage
}

/// Checks that the status reports missing credentials, and that the resource becomes Ready by itself when they appear.
async fn denied_and_then_ready(stage: &Stage, appear: impl FnOnce()) {
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    let object = stage.wait_for_reason(Kind::Environment, "dev", "AccessDenied").await;
    let message = ready(&object)["message"].as_str().unwrap_or_default();
    assert!(message.contains("no AWS credentials"), "{message}");
    assert!(stage.simulator.history().all().is_empty());
    appear();
    TALLY.faults(1);
    stage.wait_until_ready(Kind::Environment, "dev").await;
    assert_eq!(stage.calls(Operation::CreateBackendEnvironment).len(), 1);
    TALLY.creates(stage);
}

/// Credentials as EKS's Pod Identity provides them: over HTTP, and only when its agent runs.
async fn credentials_that_a_pod_gets_late_are_used_without_a_restart(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let (agent_runs, runs) = watch::channel(false);
    let answer = move || {
        let gives = *runs.borrow();
        async move {
            let credentials: Value = json!({
                "AccessKeyId": POD.access_key_id, "SecretAccessKey": POD.secret_access_key,
                "Token": POD.session_token, "Expiration": "2099-01-01T00:00:00Z",
            });
            let status = if gives { StatusCode::OK } else { StatusCode::NOT_FOUND };
            (status, Json(if gives { credentials } else { json!({}) }))
        }
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let routes = Router::new().route("/credentials", get(answer));
    let agent = tokio::spawn(async move { axum::serve(listener, routes).await });
    let mut stage = without_credentials(world).await;
    stage.aws().add_key(&POD);
    let url = format!("http://{address}/credentials");
    stage.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url);
    stage.start();
    denied_and_then_ready(&stage, || {
        agent_runs.send_replace(true);
    })
    .await;
    agent.abort();
}

/// Credentials as a mounted Secret provides them that is filled in later.
async fn credentials_that_a_file_gets_late_are_used_without_a_restart(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let mut stage = without_credentials(world).await;
    let path = stage.dir.path().join("credentials");
    stage.set("AWS_SHARED_CREDENTIALS_FILE", &path.display().to_string());
    stage.start();
    denied_and_then_ready(&stage, || {
        write_profile(&path, DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY);
    })
    .await;
}

async fn credentials_that_change_in_a_file_are_used_without_a_restart(world: Arc<World>) {
    let _turn = STAGES.acquire().await.expect("never closed");
    let mut stage = without_credentials(world).await;
    let path = stage.dir.path().join("credentials");
    write_profile(&path, DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY);
    stage.set("AWS_SHARED_CREDENTIALS_FILE", &path.display().to_string());
    stage.start();
    stage.create(Kind::Environment, "before", environment("before")).await;
    stage.wait_until_ready(Kind::Environment, "before").await;
    let new = Key {
        session_token: None,
        ..POD.clone()
    };
    stage.aws().add_key(&new);
    assert!(stage.aws().remove_key(DEFAULT_ACCESS_KEY_ID));
    write_profile(&path, &new.access_key_id, &new.secret_access_key);
    TALLY.faults(1);
    stage.create(Kind::Environment, "after", environment("after")).await;
    stage.wait_until_ready(Kind::Environment, "after").await;
    TALLY.creates(&stage);
}

fn write_profile(path: &Path, id: &str, secret: &str) {
    let profile = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    std::fs::write(path, profile).expect("a file");
}
