//! The Rust SDKs against the simulator: signatures, and paths that the SDKs build wrongly.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod common;

use amplify_simulator::{Config, Operation, Simulator};
use aws_credential_types::Credentials;
use aws_sdk_amplifybackend::config::{BehaviorVersion, Region};
use common::{amplify, amplifybackend, credentials, raw};

fn simulator() -> Simulator {
    Simulator::start(
        &Config::default()
            .app("d123", "shop")
            .job_duration(std::time::Duration::ZERO),
    )
    .unwrap()
}

#[tokio::test]
async fn a_backend_an_api_and_a_record_are_made_and_read_by_the_rust_sdks() {
    let simulator = simulator();
    let client = amplifybackend(&simulator);
    let created = client
        .create_backend()
        .app_id("d123")
        .app_name("shop")
        .backend_environment_name("dev")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (created.status(), created.operation()),
        (Some("COMPLETED"), Some("CreateBackend"))
    );
    let jobs = client
        .list_backend_jobs()
        .app_id("d123")
        .backend_environment_name("dev")
        .send()
        .await
        .unwrap();
    assert_eq!(jobs.jobs()[0].job_id(), created.job_id());
    let config = aws_sdk_amplifybackend::types::BackendApiResourceConfig::builder()
        .transform_schema("type A")
        .build();
    client
        .create_backend_api()
        .app_id("d123")
        .backend_environment_name("dev")
        .resource_name("api")
        .resource_config(config.clone())
        .send()
        .await
        .unwrap();
    let read = client
        .get_backend_api()
        .app_id("d123")
        .backend_environment_name("dev")
        .resource_name("api")
        .send()
        .await
        .unwrap();
    assert_eq!(read.resource_config(), Some(&config));
    let amplify = amplify(&simulator, credentials(&simulator));
    let record = amplify
        .create_backend_environment()
        .app_id("d123")
        .environment_name("a b/ü")
        .send()
        .await
        .unwrap();
    let listed = amplify
        .list_backend_environments()
        .app_id("d123")
        .max_results(1)
        .send()
        .await
        .unwrap();
    assert_eq!(listed.backend_environments()[0].environment_name(), "a b/ü");
    assert_eq!(record.backend_environment(), listed.backend_environments().first());
    assert!(listed.next_token().is_some());
}

#[tokio::test]
async fn an_environment_named_dot_dot_destroys_everything_and_is_recorded() {
    let simulator = simulator();
    let control = simulator.control();
    control.put_backend(("d123", "dev"), "shop");
    control.put_backend(("d123", "prod"), "shop");
    let client = amplifybackend(&simulator);
    client
        .delete_backend()
        .app_id("d123")
        .backend_environment_name("..")
        .send()
        .await
        .unwrap();
    assert!(control.app(("d123", "")).unwrap().backends.is_empty());
    let amplify = amplify(&simulator, credentials(&simulator));
    let answer = amplify
        .delete_backend_environment()
        .app_id("d123")
        .environment_name("..")
        .send()
        .await;
    // The SDK parses an app as a record without names. Only a comparison of names shows the mistake.
    let answer = answer.unwrap();
    assert_eq!(answer.backend_environment().unwrap().environment_name(), "");
    assert!(control.app(("d123", "")).is_none());
    let dangerous = simulator.history().dangerous();
    let operations: Vec<Operation> = dangerous.iter().map(|call| call.operation).collect();
    assert_eq!(operations, [Operation::RemoveAllBackends, Operation::DeleteApp]);
    assert_eq!(&*dangerous[0].request_line, "POST /backend/d123/environments/../remove");
    assert!(dangerous.iter().all(|call| call.accepted));
}

#[tokio::test]
async fn a_role_of_another_account_is_assumed_by_the_rust_sdk() {
    let simulator = simulator();
    let sts = aws_sdk_sts::Client::from_conf(
        aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .endpoint_url(simulator.url())
            .credentials_provider(credentials(&simulator))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build(),
    );
    assert_eq!(
        sts.get_caller_identity().send().await.unwrap().account(),
        Some("123456789012")
    );
    let issued = sts
        .assume_role()
        .role_arn("arn:aws:iam::222222222222:role/x")
        .role_session_name("me")
        .send()
        .await
        .unwrap();
    let issued = issued.credentials().unwrap();
    let session = Credentials::new(
        issued.access_key_id(),
        issued.secret_access_key(),
        Some(issued.session_token().to_owned()),
        None,
        "test",
    );
    let amplify = amplify(&simulator, session);
    assert!(amplify.list_apps().send().await.unwrap().apps().is_empty());
    assert_eq!(
        simulator.history().of(Operation::ListApps)[0].account.as_deref(),
        Some("222222222222")
    );
    simulator.control().expire_sessions();
    let error = amplify.list_apps().send().await.unwrap_err();
    assert_eq!(error.into_service_error().meta().code(), Some("ExpiredTokenException"));
}

#[tokio::test]
async fn a_request_without_a_signature_is_refused_in_aws_form() {
    let simulator = simulator();
    let answer = raw(
        &simulator,
        "POST /backend/d123/remove HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await
    .unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(
        answer.contains("x-amzn-errortype: MissingAuthenticationTokenException\r\n"),
        "{answer}"
    );
    assert!(answer.contains("x-amzn-requestid: "), "{answer}");
    assert!(
        answer.ends_with("{\"message\":\"Missing Authentication Token\"}"),
        "{answer}"
    );
    let call = &simulator.history().dangerous()[0];
    assert_eq!((call.status, call.accepted, call.in_flight), (Some(403), false, false));
}
