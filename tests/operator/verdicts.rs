//! AWS's verdicts, and answers that only look like verdicts. A verdict holds until its subject changes.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Action, Fault, JobFault, JobScript, Operation};
use serde_json::{Value, json};

use amplify_testkit::stage::{
    APP, Kind, Setup, Stage, World, backend, environment, graphql_api, is_stalled, message, ready,
};

amplify_testkit::tests! {
    a_404_that_is_not_about_the_object_is_not_its_absence,
    an_answer_of_something_between_is_no_verdict_on_a_spec,
    an_answer_of_something_between_to_a_write_is_an_unknown_outcome,
    a_schema_that_is_emptied_or_gone_is_not_sent_and_told_of,
    a_refused_schema_is_sent_when_its_config_map_is_mended_and_not_before,
    what_is_removed_by_hand_after_a_refused_delete_is_seen_to_be_gone,
    what_completed_and_is_never_shown_is_not_created_a_second_time,
    a_quota_in_awss_words_is_a_quota_whatever_its_code,
}

const GOOD: &str = "type Good @model { id: ID! }";
const BAD: &str = "nonsense";

/// Returns the answers of an endpoint that does not have the operation, or that is not AWS at all.
fn unknown_operations() -> [(&'static str, Action); 3] {
    [
        (
            "unknown",
            Action::respond(404, "UnknownOperationException", "no such operation"),
        ),
        ("nameless", Action::respond(404, "", "")),
        ("between", Action::intercepted(404, "<html>Not found</html>")),
    ]
}

async fn a_404_that_is_not_about_the_object_is_not_its_absence(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let resources = |cause: &str| {
        [
            (Kind::Backend, format!("{cause}-look")),
            (Kind::Backend, format!("{cause}-delete")),
            (Kind::Environment, format!("{cause}-record")),
            (Kind::Api, format!("{cause}-keep")),
        ]
    };
    for (cause, _) in unknown_operations() {
        for (kind, name) in resources(cause) {
            let spec = match kind {
                Kind::Backend => backend(&name),
                Kind::Environment => environment(&name),
                Kind::Api | Kind::Storage => {
                    assert!(stage.aws().put_backend((APP, name.as_str()), "storefront"));
                    graphql_api(&name, GOOD)
                }
            };
            stage.create(kind, &name, spec).await;
        }
    }
    for (cause, action) in unknown_operations() {
        for (kind, name) in resources(cause) {
            stage.wait_until_ready(kind, &name).await;
            // For the resource of the delete, the look is still answered.
            let fault = if name.ends_with("-delete") {
                Fault::on(Operation::DeleteBackend, action.clone())
            } else {
                Fault::new(action.clone())
            };
            stage.aws().fault(fault.environment(&name).forever());
            match kind {
                Kind::Api | Kind::Storage => stage.request(kind, &name, "now").await,
                Kind::Backend | Kind::Environment => stage.delete(kind, &name).await,
            }
        }
    }
    for (cause, _) in unknown_operations() {
        for (kind, name) in resources(cause) {
            if kind == Kind::Api {
                // Two looks at its creation, and two that get this answer.
                stage.wait_for_calls_in(Operation::GetBackendApi, &name, 4).await;
                let object = stage.get(kind, &name).await;
                assert_eq!(ready(&object)["status"], "True", "{object:#}");
                assert_eq!(object["status"]["origin"], "Created", "{object:#}");
                continue;
            }
            let object = stage.wait_for_reason(kind, &name, "AwsUnavailable").await;
            assert!(!is_stalled(&object), "{object:#}");
            assert_eq!(object["status"]["origin"], "Created", "{object:#}");
            assert_eq!(object["metadata"]["finalizers"].as_array().map(Vec::len), Some(1));
        }
    }
    stage.aws().clear_faults();
    for (cause, _) in unknown_operations() {
        for (kind, name) in resources(cause) {
            match kind {
                Kind::Api | Kind::Storage => drop(stage.wait_until_ready(kind, &name).await),
                Kind::Backend | Kind::Environment => stage.wait_until_gone(kind, &name).await,
            }
            let is_left = stage.aws().backend((APP, name.as_str())).is_some()
                || stage.aws().environment((APP, name.as_str())).is_some();
            assert_eq!(is_left, kind == Kind::Api, "{name}");
        }
    }
}

const BETWEEN: [u16; 7] = [400, 401, 403, 404, 407, 413, 502];

async fn an_answer_of_something_between_is_no_verdict_on_a_spec(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let (old, new) = (|status| format!("old-{status}"), |status| format!("new-{status}"));
    for status in BETWEEN {
        stage.create_backend(&old(status)).await;
    }
    let mut followed = Vec::new();
    for status in BETWEEN {
        let object = stage.wait_until_ready(Kind::Backend, &old(status)).await;
        for name in [old(status), new(status)] {
            let between = Action::intercepted(status, "<html>a proxy</html>");
            let fault = Fault::on(Operation::GetBackend, between).environment(&name);
            // The SDK itself retries the answers of a gateway.
            stage.aws().fault(fault.times(if status < 500 { 1 } else { 3 }));
        }
        followed.push((status, object, stage.follow(Kind::Backend, &new(status)).await));
        stage.request(Kind::Backend, &old(status), "now").await;
        stage.create_backend(&new(status)).await;
    }
    for (status, before, followed) in followed {
        stage.wait_until_ready(Kind::Backend, &new(status)).await;
        followed
            .wait_for(|reasons| reasons.ends_with(&["Available".to_owned()]))
            .await;
        let reasons = followed.reasons();
        assert_eq!(reasons, ["AwsUnavailable", "Creating", "Available"], "{status}");
        let said = |object: &Value| message(object).contains("check proxies and the endpoint");
        let versions = followed.versions();
        assert_eq!(versions.iter().any(said), status < 500, "{status}");
        let answered = |object: &Value| object["status"]["lastHandledReconcileAt"] == "now";
        let object = stage.wait(Kind::Backend, &old(status), "answered", answered).await;
        assert_eq!(ready(&object), ready(&before), "{status}: Ready all the time");
    }
    stage.assert_created_once();
}

async fn an_answer_of_something_between_to_a_write_is_an_unknown_outcome(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    for status in BETWEEN {
        let name = format!("dev-{status}");
        let between = Action::intercepted(status, "<html>a proxy</html>");
        stage
            .aws()
            .fault(Fault::on(Operation::CreateBackend, between).environment(&name));
        stage.create_backend(&name).await;
    }
    for status in BETWEEN {
        let name = format!("dev-{status}");
        let object = stage.wait_until_ready(Kind::Backend, &name).await;
        assert_eq!(object["status"]["job"]["attempt"], 2, "{object:#}");
        let calls = stage.calls_in(Operation::CreateBackend, &name);
        let between = calls[1].time - calls[0].time;
        assert!(
            between >= 3000,
            "{status}: it may have been carried out, and is sent again after {between} ms"
        );
    }
    stage.assert_created_once();
}

/// Returns the spec of an API whose schema is in the ConfigMap with the name of the environment.
fn api_from_config_map(name: &str) -> Value {
    let mut spec = graphql_api(name, "");
    let from = json!({ "configMapKeyRef": { "name": name, "key": "schema.graphql" } });
    let config = spec["resourceConfig"].as_object_mut().expect("an object");
    config.remove("transformSchema");
    config.insert("transformSchemaFrom".to_owned(), from);
    spec
}

async fn a_schema_that_is_emptied_or_gone_is_not_sent_and_told_of(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().checking()).await;
    let cases = [
        // A check detects these.
        ("blank", "is empty"),
        ("binary", "is not UTF-8 text"),
        // These do not affect a Ready resource until a user requests a reconcile.
        ("gone", "does not exist in this namespace"),
        ("keyless", "has no key"),
    ];
    for (name, _) in cases {
        assert!(stage.aws().put_backend((APP, name), "storefront"));
        stage.put_config_map(name, "schema.graphql", GOOD).await;
        stage.create(Kind::Api, name, api_from_config_map(name)).await;
    }
    for (name, _) in cases {
        stage.wait_until_ready(Kind::Api, name).await;
    }
    stage
        .put_config_map("blank", "schema.graphql", " # nothing yet\n")
        .await;
    stage
        .put_binary_config_map("binary", "schema.graphql", &[255, 254, 116, 0])
        .await;
    stage.delete_config_map("gone").await;
    stage.put_config_map("keyless", "schema", GOOD).await;
    for name in ["gone", "keyless"] {
        let looks = stage.calls_in(Operation::GetBackendApi, name).len();
        stage.wait_for_calls_in(Operation::GetBackendApi, name, looks + 2).await;
        assert_eq!(ready(&stage.get(Kind::Api, name).await)["status"], "True", "{name}");
        stage.request(Kind::Api, name, "now").await;
    }
    let mut looked = Vec::new();
    for (name, words) in cases {
        let object = stage
            .wait_for_words(Kind::Api, name, "DependencyNotReady", &[name, words])
            .await;
        assert_eq!(ready(&object)["status"], "False", "{object:#}");
        assert_eq!(stage.calls_in(Operation::UpdateBackendApi, name).len(), 0, "{name}");
        looked.push((name, stage.calls_in(Operation::GetBackendApi, name).len()));
    }
    // The status keeps the reason.
    for (name, looks) in looked {
        stage.wait_for_calls_in(Operation::GetBackendApi, name, looks + 2).await;
        let object = stage.get(Kind::Api, name).await;
        assert_eq!(ready(&object)["reason"], "DependencyNotReady", "{name}");
        stage.put_config_map(name, "schema.graphql", BAD).await;
        stage.request(Kind::Api, name, "mended").await;
    }
    for (name, _) in cases {
        stage.wait_until_ready(Kind::Api, name).await;
        assert_eq!(stage.schema(name), BAD, "mended, with another text");
        assert_eq!(stage.calls_in(Operation::UpdateBackendApi, name).len(), 1, "{name}");
    }
}

async fn a_refused_schema_is_sent_when_its_config_map_is_mended_and_not_before(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().checking()).await;
    let refused = |operation| Fault::on(operation, Action::respond(400, "BadRequestException", "no types")).forever();
    // The first create is refused, and the second resource's update.
    for name in ["created", "updated"] {
        assert!(stage.aws().put_backend((APP, name), "storefront"));
        let schema = if name == "created" {
            BAD
        } else {
            "type First @model { id: ID! }"
        };
        stage.put_config_map(name, "schema.graphql", schema).await;
        if name == "created" {
            stage
                .aws()
                .fault(refused(Operation::CreateBackendApi).environment(name));
        }
        stage.create(Kind::Api, name, api_from_config_map(name)).await;
    }
    stage.wait_until_ready(Kind::Api, "updated").await;
    stage
        .aws()
        .fault(refused(Operation::UpdateBackendApi).environment("updated"));
    // Only a check detects this, because the resource itself is not edited.
    stage.put_config_map("updated", "schema.graphql", BAD).await;
    let cases = [
        ("created", Operation::CreateBackendApi),
        ("updated", Operation::UpdateBackendApi),
    ];
    for (name, operation) in cases {
        let object = stage
            .wait_for_words(Kind::Api, name, "InvalidSpec", &["no types"])
            .await;
        assert!(is_stalled(&object), "{object:#}");
        let looks = stage.calls_in(Operation::GetBackendApi, name).len();
        stage.wait_for_calls_in(Operation::GetBackendApi, name, looks + 2).await;
        assert_eq!(stage.calls_in(operation, name).len(), 1, "{name}: it is not sent again");
    }
    stage.aws().clear_faults();
    for (name, operation) in cases {
        stage.put_config_map(name, "schema.graphql", GOOD).await;
        stage.wait_until_ready(Kind::Api, name).await;
        assert_eq!(stage.schema(name), GOOD);
        assert_eq!(stage.calls_in(operation, name).len(), 2, "{name}");
    }
}

async fn what_is_removed_by_hand_after_a_refused_delete_is_seen_to_be_gone(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().checking().flag("--max-job-attempts=1")).await;
    let refusal = Action::respond(400, "BadRequestException", "the bucket is not empty");
    stage.aws().fault(
        Fault::on(Operation::DeleteBackend, refusal.clone())
            .environment("refused")
            .forever(),
    );
    let script = JobScript::failed("the bucket is not empty", false);
    stage
        .aws()
        .job_fault(JobFault::on(Operation::DeleteBackend, script).environment("fails"));
    stage
        .aws()
        .fault(Fault::on(Operation::DeleteBackendEnvironment, refusal).forever());
    stage.create(Kind::Environment, "record", environment("record")).await;
    for name in ["refused", "fails"] {
        stage.create_backend(name).await;
    }
    let cases = [
        (Kind::Backend, "refused", Operation::DeleteBackend, "InvalidSpec"),
        (Kind::Backend, "fails", Operation::DeleteBackend, "JobFailed"),
        (
            Kind::Environment,
            "record",
            Operation::DeleteBackendEnvironment,
            "InvalidSpec",
        ),
    ];
    for (kind, name, ..) in cases {
        stage.wait_until_ready(kind, name).await;
        stage.delete(kind, name).await;
    }
    let look = |kind| match kind {
        Kind::Environment => Operation::GetBackendEnvironment,
        Kind::Backend | Kind::Api | Kind::Storage => Operation::GetBackend,
    };
    for (kind, name, operation, reason) in cases {
        let words = [
            "the bucket is not empty",
            "remove the AWS object by hand",
            "deletionPolicy: Retain",
        ];
        let object = stage.wait_for_words(kind, name, reason, &words).await;
        assert!(is_stalled(&object), "{object:#}");
        let looks = stage.calls_in(look(kind), name).len();
        stage.wait_for_calls_in(look(kind), name, looks + 2).await;
        assert_eq!(stage.calls_in(operation, name).len(), 1, "{name}: it is not sent again");
        let is_removed = match kind {
            Kind::Environment => stage.aws().delete_environment((APP, name)),
            Kind::Backend | Kind::Api | Kind::Storage => stage.aws().delete_backend((APP, name)),
        };
        assert!(is_removed);
    }
    for (kind, name, operation, _) in cases {
        stage.wait_until_gone(kind, name).await;
        assert_eq!(stage.calls_in(operation, name).len(), 1, "{name}");
    }
}

async fn what_completed_and_is_never_shown_is_not_created_a_second_time(world: Arc<World>) {
    let mut setup = Setup::quick().checking();
    setup.settings.read_after_create_delay = Duration::from_hours(1);
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    assert!(stage.aws().put_backend((APP, "api"), "storefront"));
    stage.create(Kind::Api, "api", graphql_api("api", GOOD)).await;
    let cases = [
        (Kind::Backend, "dev", Operation::GetBackend),
        (Kind::Api, "api", Operation::GetBackendApi),
    ];
    for (kind, name, look) in cases {
        let object = stage
            .wait_for_words(
                kind,
                name,
                "JobFailed",
                &["has not shown the object since", "AWS Support"],
            )
            .await;
        assert!(is_stalled(&object), "{object:#}");
        assert_eq!(
            object["status"]["origin"], "Created",
            "what was made is not lost: {object:#}"
        );
        let id = object["status"]["job"]["id"].as_str().unwrap_or_default();
        assert!(message(&object).contains(id), "{object:#}");
        // The object is still looked at.
        let looks = stage.calls_in(look, name).len();
        stage.wait_for_calls_in(look, name, looks + 2).await;
    }
    let creates = [Operation::CreateBackend, Operation::CreateBackendApi];
    let sent = |stage: &Stage| creates.map(|operation| stage.calls(operation).len());
    assert_eq!(sent(&stage), [1, 1]);
    stage.aws().advance(Duration::from_hours(2));
    for (kind, name, _) in cases {
        stage.wait_until_ready(kind, name).await;
    }
    assert_eq!(sent(&stage), [1, 1]);
}

async fn a_quota_in_awss_words_is_a_quota_whatever_its_code(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    for (name, status, code) in [
        ("limit", 429, "LimitExceededException"),
        ("many", 429, "TooManyRequestsException"),
        ("bad", 400, "BadRequestException"),
    ] {
        let text = "You have exceeded your maximum number of backends";
        let quota = Action::respond(status, code, text);
        stage
            .aws()
            .fault(Fault::on(Operation::CreateBackend, quota).environment(name));
        stage.create_backend(name).await;
    }
    for name in ["limit", "many", "bad"] {
        let object = stage
            .wait_for_words(Kind::Backend, name, "QuotaExceeded", &["exceeded your maximum"])
            .await;
        assert!(is_stalled(&object), "{object:#}");
        stage.request(Kind::Backend, name, "now").await;
        stage.wait_until_ready(Kind::Backend, name).await;
    }
}
