//! The messages for users: what is wrong, on which object and where, in AWS's words, and what to do now. Texts from
//! others do not distort them.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Action, Fault, JobFault, JobScript, Operation};
use kube::api::PostParams;
use serde_json::{Value, json};

use amplify_testkit::stage::{
    APP, Kind, Setup, Stage, World, backend, condition, environment, graphql_api, is_stalled, message, object, ready,
};

amplify_testkit::tests! {
    what_is_released_and_held_by_another_finalizer_says_so_and_owns_nothing,
    what_lost_its_finalizer_to_somebody_else_says_that_the_aws_object_may_be_there,
    a_typo_is_answered_with_where_it_was_looked_for,
    a_create_that_is_refused_as_existing_says_what_to_do,
    what_is_being_deleted_is_not_ready_while_aws_takes_fewer_calls,
    the_cause_of_a_failed_job_is_told_on_one_line_with_what_to_do,
}

const SCHEMA: &str = "type A @model { id: ID! }";
const HOLD: &str = "example.com/hold";

/// Creates a resource with the finalizer of another controller.
async fn create_held(stage: &Stage, kind: Kind, name: &str, spec: Value) {
    let manifest = json!({
        "apiVersion": "amplify-operator.dev/v1alpha1", "kind": kind.names().0,
        "metadata": { "name": name, "finalizers": [HOLD] }, "spec": spec,
    });
    let created = stage.api(kind).create(&PostParams::default(), &object(manifest)).await;
    created.expect("the manifest is accepted");
}

async fn what_is_released_and_held_by_another_finalizer_says_so_and_owns_nothing(world: Arc<World>) {
    let mut setup = Setup::quick();
    setup.settings.job_duration = Duration::from_secs(1);
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    create_held(&stage, Kind::Backend, "held", backend("held")).await;
    create_held(&stage, Kind::Environment, "record", environment("record")).await;
    let mut kept = backend("kept");
    kept["deletionPolicy"] = json!("Retain");
    create_held(&stage, Kind::Backend, "kept", kept).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    create_held(&stage, Kind::Api, "api", graphql_api("dev", SCHEMA)).await;
    let held = [
        (Kind::Backend, "held", "the AWS object is deleted"),
        (Kind::Environment, "record", "the AWS object is gone"),
        (Kind::Api, "api", "the AWS object is deleted"),
        (Kind::Backend, "kept", "the AWS object stays, as deletionPolicy says"),
    ];
    for (kind, name, _) in held {
        stage.wait_until_ready(kind, name).await;
        stage.delete(kind, name).await;
    }
    for (kind, name, what) in held {
        let words = [what, "metadata.finalizers"];
        let object = stage.wait_for_words(kind, name, "Released", &words).await;
        assert_eq!(object["metadata"]["finalizers"], json!([HOLD]));
        let status = &object["status"];
        assert_eq!(ready(&object)["status"], "False");
        assert!(
            condition(&object, "Reconciling").is_null() && !is_stalled(&object),
            "{object:#}"
        );
        assert!(status["origin"].is_null(), "{object:#}");
        assert_eq!(status["observedGeneration"], object["metadata"]["generation"]);
    }
    // It blocks no other resource: neither the next one, nor the backend of its API.
    stage.create(Kind::Backend, "next", backend("held")).await;
    stage.wait_until_ready(Kind::Backend, "next").await;
    stage.create(Kind::Environment, "next", environment("record")).await;
    stage.wait_until_ready(Kind::Environment, "next").await;
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert!(stage.aws().backend((APP, "kept")).is_some());
    for (kind, name, _) in held {
        stage.request(kind, name, "later").await;
        stage
            .patch(kind, name, json!({ "metadata": { "finalizers": null } }))
            .await;
        stage.wait_until_gone(kind, name).await;
    }
    for (kind, name) in [(Kind::Backend, "next"), (Kind::Environment, "next")] {
        let object = stage.get(kind, name).await;
        assert_eq!(
            ready(&object)["status"],
            "True",
            "what is made meanwhile stays: {object:#}"
        );
    }
    assert!(stage.aws().backend((APP, "held")).is_some() && stage.aws().environment((APP, "record")).is_some());
}

async fn what_lost_its_finalizer_to_somebody_else_says_that_the_aws_object_may_be_there(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    create_held(&stage, Kind::Backend, "dev", backend("dev")).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // AWS is unavailable. Otherwise the object would be deleted.
    let away = Fault::new(Action::server_error(503)).environment("dev").forever();
    stage.aws().fault(away);
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_for_reason(Kind::Backend, "dev", "AwsUnavailable").await;
    let stolen = json!({ "metadata": { "finalizers": [HOLD] } });
    stage.patch(Kind::Backend, "dev", stolen).await;
    let words = ["somebody else removed this operator's finalizer", "may still be there"];
    stage.wait_for_words(Kind::Backend, "dev", "Released", &words).await;
    assert!(stage.calls(Operation::DeleteBackend).is_empty());
}

async fn a_create_that_is_refused_as_existing_says_what_to_do(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let specs = [
        (Kind::Backend, Operation::CreateBackend, "backend", backend("backend")),
        (
            Kind::Api,
            Operation::CreateBackendApi,
            "api",
            graphql_api("api", SCHEMA),
        ),
        (
            Kind::Environment,
            Operation::CreateBackendEnvironment,
            "record",
            environment("record"),
        ),
    ];
    assert!(stage.aws().put_backend((APP, "api"), "storefront"));
    for (kind, operation, name, spec) in &specs {
        let exists = Action::respond(400, "BadRequestException", "an environment of this name already exists");
        stage.aws().fault(Fault::on(*operation, exists).environment(name));
        stage.create(*kind, name, spec.clone()).await;
        let words = [
            "already exists",
            "adoptionPolicy: IfExists",
            "Deleting this resource deletes nothing",
        ];
        let object = stage.wait_for_words(*kind, name, "AlreadyExists", &words).await;
        assert!(
            is_stalled(&object) && object["status"]["origin"].is_null(),
            "{object:#}"
        );
    }
    for (kind, operation, name, _) in &specs {
        // A look shows that the object does not exist.
        let object = stage.wait_until_ready(*kind, name).await;
        assert_eq!(stage.calls_in(*operation, name).len(), 2, "{object:#}");
    }
}

/// The resources call AWS one after the other, and AWS throttles each call, so the others wait for long. A resource
/// that waits behind others that do get answers writes nothing about it.
async fn what_is_being_deleted_is_not_ready_while_aws_takes_fewer_calls(world: Arc<World>) {
    let mut stage = Stage::with(world, Setup::quick()).await;
    let names: Vec<_> = (0..4).map(|number| format!("dev-{number}")).collect();
    for name in &names {
        stage.create_backend(name).await;
    }
    for name in &names {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    stage.terminate().await;
    let throttled = Fault::on(Operation::GetBackend, Action::TooManyRequests);
    stage.aws().fault(throttled.times(1000));
    let slow = ["--aws-requests-per-second=1", "--aws-burst=1"].map(str::to_owned);
    let mut operator = stage.start_as("slow", &[], &slow);
    for name in &names {
        stage.delete(Kind::Backend, name).await;
    }
    for name in &names {
        // Throttled, or waiting behind throttled resources.
        stage
            .wait(Kind::Backend, name, "not Ready", |object| {
                ready(object)["status"] == "False"
            })
            .await;
    }
    stage.aws().clear_faults();
    for name in &names {
        stage.wait_until_gone(Kind::Backend, name).await;
    }
    operator.kill().await.expect("it ends");
}

#[expect(clippy::too_many_lines, reason = "one thing after the other")]
async fn a_typo_is_answered_with_where_it_was_looked_for(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let with = |mut spec: Value, field: &str, value: &str| {
        spec[field] = json!(value);
        spec
    };
    let in_backend = |name: &str| {
        let mut spec = graphql_api("", SCHEMA);
        let fields = spec.as_object_mut().expect("an object");
        fields.retain(|name, _| !matches!(name.as_str(), "appId" | "backendEnvironmentName"));
        fields.insert("backendRef".to_owned(), json!({ "name": name }));
        spec
    };
    let clone = |from: Value| json!({ "appId": APP, "backendEnvironmentName": "copy", "cloneFrom": from });
    stage
        .create(Kind::Backend, "app", with(backend("app"), "appId", "d1typo"))
        .await;
    stage
        .create(
            Kind::Environment,
            "record",
            with(environment("record"), "appId", "d1typo"),
        )
        .await;
    stage
        .create(Kind::Backend, "region", with(backend("region"), "region", "us-east-1"))
        .await;
    stage
        .create(
            Kind::Backend,
            "no-region",
            with(backend("no-region"), "region", "eu-wst-1"),
        )
        .await;
    stage
        .create(
            Kind::Backend,
            "copy",
            clone(json!({ "backendEnvironmentName": "sorce" })),
        )
        .await;
    let mut suspended = backend("suspended");
    suspended["suspend"] = json!(true);
    stage.create(Kind::Backend, "suspended", suspended).await;
    stage.create(Kind::Api, "no-backend", in_backend("suspnded")).await;
    stage.create(Kind::Api, "not-ready", in_backend("suspended")).await;
    let here = "account 123456789012, region eu-west-1";
    let there = "account 123456789012, region us-east-1";
    let cases: [(Kind, &str, &str, &[&str]); 7] = [
        (
            Kind::Backend,
            "app",
            "AppNotFound",
            &[here, "check the app ID and the region"],
        ),
        (Kind::Environment, "record", "AppNotFound", &[here]),
        (Kind::Backend, "region", "AppNotFound", &[there]),
        (Kind::Backend, "copy", "AppNotFound", &[here, "spec.cloneFrom"]),
        (
            Kind::Backend,
            "no-region",
            "InvalidSpec",
            &["\"eu-wst-1\" is not an AWS region", "did you mean \"eu-west-1\"?"],
        ),
        (
            Kind::Api,
            "no-backend",
            "DependencyNotReady",
            &[
                "AmplifyBackend \"suspnded\" (spec.backendRef) does not exist",
                "correct the name",
            ],
        ),
        (
            Kind::Api,
            "not-ready",
            "DependencyNotReady",
            &["AmplifyBackend \"suspended\" (spec.backendRef) is not Ready"],
        ),
    ];
    for (kind, name, reason, words) in cases {
        let object = stage.wait_for_words(kind, name, reason, words).await;
        // Missing objects that may appear by themselves are waited for. The lifecycle's own tests check for how long.
        assert_eq!(is_stalled(&object), reason == "InvalidSpec", "{object:#}");
    }
    let regions: Vec<_> = stage
        .simulator
        .history()
        .all()
        .into_iter()
        .filter_map(|call| call.region)
        .collect();
    assert!(regions.iter().all(|region| **region != *"eu-wst-1"), "{regions:?}");
}

async fn the_cause_of_a_failed_job_is_told_on_one_line_with_what_to_do(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().flag("--max-job-attempts=1")).await;
    // As Amplify's command line prints it to a terminal.
    let table = "\u{1b}[90m│\u{1b}[39m Auth     \u{1b}[90m│\u{1b}[39m No Change \u{1b}[90m│\u{1b}[39m\n".repeat(200);
    let forged = "2026-11-22T10:00:00.000000Z  INFO forged";
    let error =
        format!("\u{1b}[31m🛑 amplify push --yes failed\u{1b}[0m\n{table}CAUSE: the bucket is not empty\r\n{forged}\n");
    let failed = || JobFault::on(Operation::CreateBackend, JobScript::failed(&error, false));
    stage.aws().job_fault(failed().environment("job"));
    stage.create_backend("job").await;
    let refusal = Action::respond(400, "BadRequestException", &error);
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, refusal).environment("refusal"));
    stage.create_backend("refusal").await;
    for (name, reason) in [("job", "JobFailed"), ("refusal", "InvalidSpec")] {
        let object = stage.wait_for_reason(Kind::Backend, name, reason).await;
        let text = &object["status"]["job"]["error"];
        for text in [text.as_str().unwrap_or_default(), message(&object)] {
            assert!(text.contains("CAUSE: the bucket is not empty 2026-11-22"), "{text}");
            assert!(text.contains("amplify push --yes failed"), "{text}");
            assert!(!text.contains(['\u{1b}', '│', '\n', '\r']), "{text:?}");
        }
        assert!(
            message(&object).ends_with(
                "set the annotation amplify-operator.dev/reconcile-requested-at to a new value to try again"
            ),
            "{object:#}"
        );
    }
    let log = stage.log();
    assert!(log.contains("CAUSE: the bucket is not empty"));
    assert!(
        log.lines().all(|line| !line.starts_with(forged)),
        "a line of the log is AWS's: {log}"
    );
}
