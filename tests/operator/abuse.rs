//! Malicious inputs: names that would change a path, schemas and answers of excessive size, secrets in AWS's texts.

use std::sync::Arc;

use amplify_devcluster::{Cluster, Options};
use amplify_operator::api;
use amplify_simulator::{Action, Fault, JobFault, JobScript, Operation};
use k8s_openapi::{
    api::core::v1::Event, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use amplify_testkit::stage::{
    self, APP, Kind, PATIENCE, Setup, Stage, World, backend, environment, graphql_api, is_stalled, ready,
};

amplify_testkit::tests! {
    a_name_that_would_change_a_path_is_refused_at_admission,
    what_was_stored_before_there_were_rules_reaches_no_other_operation,
    a_job_id_that_would_change_a_path_is_never_asked_for,
    backends_and_apis_with_names_of_255_characters_work,
    a_schema_as_large_as_can_be_stored_goes_through_and_is_told_nowhere,
    the_middle_of_a_long_error_of_aws_is_told_nowhere,
}

/// Names that turn the path of one operation into that of another.
const HOSTILE: &[&str] = &[
    "",
    ".",
    "..",
    "../..",
    "/",
    "//",
    "a/b",
    "a/../b",
    "dev/remove",
    "%2e%2e",
    "..%2f",
    "a%2Fb",
    "%",
    "a?b=c",
    "a#b",
    "a;b",
    "a\\b",
    "a b",
    " a",
    "a\n",
    "\na",
    "a\r\nHost: evil.example",
    "a\u{0}",
    "a\tb",
    "\u{ff0e}\u{ff0e}",
    "\u{2025}",
    "\u{202e}ved",
    "d\u{435}v",
    "é",
    "-a",
    "_a",
    "a.b",
    "a:b",
    "a@b",
    "*",
];

/// Returns one spec for each field of each kind that is part of a URL, with this name in the field. Each spec has an
/// environment of its own, so that they do not exclude each other.
fn specs(name: &str, number: usize) -> Vec<(Kind, &'static str, Value)> {
    let own = |of: &str| format!("dev-{number}-{of}");
    let api = |of: &str| graphql_api(&own(of), "type A { id: ID! }");
    let mut specs = Vec::new();
    for (kind, field, good) in [
        (Kind::Backend, "appId", backend(&own("a"))),
        (Kind::Backend, "backendEnvironmentName", backend("dev")),
        (Kind::Api, "appId", api("b")),
        (Kind::Api, "backendEnvironmentName", api("c")),
        (Kind::Api, "resourceName", api("d")),
        (Kind::Environment, "appId", environment(&own("e"))),
        (Kind::Environment, "environmentName", environment("dev")),
    ] {
        let mut spec = good;
        spec[field] = json!(name);
        // A record and a backend of the same name exclude each other, and a backend waits for its APIs. So they get
        // other apps.
        match (kind, field) {
            (Kind::Environment, "environmentName") => spec["appId"] = json!("d2"),
            (Kind::Api, "backendEnvironmentName") => spec["appId"] = json!("d3"),
            _ => {}
        }
        specs.push((kind, field, spec));
    }
    let clone = json!({
        "appId": APP, "backendEnvironmentName": own("f"), "cloneFrom": { "backendEnvironmentName": name },
    });
    specs.push((Kind::Backend, "cloneFrom.backendEnvironmentName", clone));
    let mut region = environment(&own("g"));
    region["region"] = json!(name);
    specs.push((Kind::Environment, "region", region));
    specs
}

async fn a_name_that_would_change_a_path_is_refused_at_admission(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    for name in HOSTILE {
        for (kind, field, spec) in specs(name, 0) {
            match stage.try_create(kind, "judged", spec).await {
                Err(kube::Error::Api(status)) => {
                    assert_eq!(status.code, 422, "{field} {name:?}: {status:?}");
                    assert!(status.message.contains(field), "{field} {name:?}: {}", status.message);
                }
                other => panic!("{field} {name:?} is not refused: {other:?}"),
            }
        }
    }
}

/// Returns the correct definitions, or definitions with a schema that accepts everything.
fn crds(open: bool) -> Vec<CustomResourceDefinition> {
    let crds = api::crds().into_iter().map(|crd| {
        let mut crd = json!(crd);
        if open {
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
                json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        }
        stage::object(crd)
    });
    crds.collect()
}

/// The name and key of a ConfigMap are also part of a URL, of the API server: a resource, the name and the key.
const REFERENCES: [(&str, &str, &str); 4] = [
    ("limit", "?limit=1", "schema"),
    ("part", "a/b", "schema"),
    ("up", "..", "schema"),
    ("key", "a", "a/b"),
];

async fn store_references(stage: &Stage) {
    for (resource, name, key) in REFERENCES {
        let environment = format!("map-{resource}");
        let mut spec = graphql_api(&environment, "");
        let from = json!({ "configMapKeyRef": { "name": name, "key": key } });
        let config = json!({ "transformSchema": null, "transformSchemaFrom": from });
        json_patch::merge(&mut spec["resourceConfig"], &config);
        stage.create(Kind::Api, resource, spec).await;
        assert!(stage.aws().put_backend((APP, environment.as_str()), "storefront"));
    }
}

async fn the_references_are_refused(stage: &Stage) {
    for (resource, name, key) in REFERENCES {
        let object = stage.wait_for_reason(Kind::Api, resource, "DependencyNotReady").await;
        let message = ready(&object)["message"].as_str().unwrap_or_default();
        assert!(message.contains("can have that"), "{name:?} {key:?}: {message}");
    }
}

#[expect(clippy::too_many_lines, reason = "one thing after the other")]
async fn what_was_stored_before_there_were_rules_reaches_no_other_operation(_: Arc<World>) {
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.expect("a cluster of its own");
    let world = World::with_crds(&cluster, crds(true)).await;
    let setup = Setup {
        flags: vec!["--aws-requests-per-second=100", "--aws-burst=100"],
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    let mut stored = Vec::new();
    for (number, name) in HOSTILE.iter().enumerate() {
        for (of, (kind, field, spec)) in specs(name, number).into_iter().enumerate() {
            let resource = format!("hostile-{number}-{of}");
            stage.create(kind, &resource, spec).await;
            // Every other resource looks as if it owned an AWS object, and is about to be deleted. Two fields are left
            // out, because there the place of the object stays valid.
            let owned = number % 2 == 0 && !["cloneFrom.backendEnvironmentName", "region"].contains(&field);
            if owned {
                let stored = json!(stage.api(kind).get(&resource).await.expect("it is stored"));
                let status = json!({ "status": {
                    "observedGeneration": 1, "origin": "Created", "accountId": "123456789012", "region": "eu-west-1",
                    "appId": stored["spec"]["appId"], "backendEnvironmentName": stored["spec"]["backendEnvironmentName"],
                }});
                let finalizer = json!({ "metadata": { "finalizers": ["amplify-operator.dev/finalizer"] } });
                stage.patch(kind, &resource, finalizer).await;
                let (params, status) = (PatchParams::default(), Patch::Merge(status));
                let patched = stage.api(kind).patch_status(&resource, &params, &status).await;
                patched.expect("a status");
                stage.delete(kind, &resource).await;
            }
            stored.push((kind, field, *name, resource, owned));
        }
    }
    // A resource that cannot be read must not be logged in full either.
    let mut unreadable = backend("unreadable");
    unreadable["deletionPolicy"] = json!(long_with_secret());
    stage.create(Kind::Backend, "unreadable", unreadable).await;
    store_references(&stage).await;
    let api: Api<CustomResourceDefinition> = Api::all(stage.world.client.clone());
    for crd in crds(false) {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let put = Patch::Merge(json!({ "spec": crd.spec }));
        api.patch(&name, &PatchParams::default(), &put)
            .await
            .expect("the rules are back");
    }
    let in_force = async {
        for (kind, _, spec) in specs("..", 0) {
            while stage.try_create(kind, "judged", spec.clone()).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, in_force)
        .await
        .expect("the rules are in force");
    // This backend would be deleted if a name led to it.
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let before = stage.aws().apps();
    stage.start();
    for (kind, field, name, resource, owned) in &stored {
        let refused = |object: &Value| is_stalled(object) && ready(object)["status"] != "True";
        let object = stage.wait(*kind, resource, "refused", refused).await;
        let reason = ready(&object)["reason"].as_str().unwrap_or_default();
        assert!(reason == "InvalidSpec", "{field} {name:?} (owned: {owned}): {object:#}");
        assert!(object.to_string().len() < 8192, "{field} {name:?}");
    }
    the_references_are_refused(&stage).await;
    // Only STS and reads at plain paths are called.
    for call in stage.simulator.history().all() {
        let plain = call
            .request_line
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" /_-".contains(&byte));
        assert!(
            plain && call.operation.class() != amplify_simulator::Class::Write,
            "{call:?}"
        );
    }
    assert!(stage.simulator.history().dangerous().is_empty());
    assert_eq!(format!("{:?}", stage.aws().apps()), format!("{before:?}"));
    // Other resources still work.
    stage.create_backend("good").await;
    stage.wait_until_ready(Kind::Backend, "good").await;
    nothing_is_told(&stage, "unreadable").await;
    drop(stage);
    cluster.stop().await.expect("it ends");
}

async fn a_job_id_that_would_change_a_path_is_never_asked_for(world: Arc<World>) {
    let stage = Stage::new(world).await;
    for (number, id) in HOSTILE.iter().filter(|id| !id.is_empty()).enumerate().step_by(4) {
        let name = format!("job-{number}");
        let reply = json!({ "appId": APP, "backendEnvironmentName": name, "jobId": id, "status": "RUNNING" });
        let action = Action::RespondAfter {
            status: 200,
            code: String::new(),
            message: String::new(),
            body: Some(reply.to_string()),
        };
        stage
            .aws()
            .fault(Fault::on(Operation::CreateBackend, action).environment(&name));
        stage.create_backend(&name).await;
    }
    for (number, _) in HOSTILE.iter().filter(|id| !id.is_empty()).enumerate().step_by(4) {
        let name = format!("job-{number}");
        let object = stage.wait_until_ready(Kind::Backend, &name).await;
        assert_eq!(object["status"]["job"]["attempt"], 1, "{object:#}");
    }
    stage.assert_created_once();
    for call in stage.simulator.history().all() {
        let plain = call
            .request_line
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b" /-".contains(&byte));
        assert!(plain, "{call:?}");
    }
}

async fn backends_and_apis_with_names_of_255_characters_work(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let long = "e".repeat(255);
    // The longest possible name of a resource.
    let name = "n".repeat(253);
    stage.create(Kind::Backend, &name, backend(&long)).await;
    stage.wait_until_ready(Kind::Backend, &name).await;
    let mut api = graphql_api(&long, "type A @model { id: ID! }");
    api["resourceName"] = json!("r".repeat(255));
    stage.create(Kind::Api, &name, api).await;
    stage.wait_until_ready(Kind::Api, &name).await;
    for kind in [Kind::Api, Kind::Backend] {
        stage.delete(kind, &name).await;
        stage.wait_until_gone(kind, &name).await;
    }
    stage.assert_created_once();
}

const SECRET: &str = "AKIASECRETOFSOMEBODY";

/// Returns a megabyte of text with a secret after the first kilobyte.
fn long_with_secret() -> String {
    format!("the stack failed: {}{SECRET}{}", "é".repeat(600), "x".repeat(1 << 20))
}

/// Returns a schema of this length, with a secret in its middle.
fn schema(bytes: usize, last: char) -> String {
    let half = "# a comment\n".repeat(bytes / 24);
    format!("{half}# {SECRET}\n{half}type A @model {{ id: ID! }}\n# {last}")
}

/// Checks that no log line, Event or status contains the secret, and that none of them is long.
async fn nothing_is_told(stage: &Stage, name: &str) {
    let log = stage.log();
    assert!(!log.contains(SECRET), "the log tells the secret");
    let longest = log.lines().max_by_key(|line| line.len()).unwrap_or_default();
    assert!(longest.len() < 4096, "{} bytes: {}…", longest.len(), &longest[..1000]);
    let events: Api<Event> = Api::namespaced(stage.world.client.clone(), &stage.namespace);
    let selector = ListParams::default().fields(&format!("involvedObject.name={name}"));
    for event in events.list(&selector).await.expect("events") {
        let event = json!(event).to_string();
        assert!(!event.contains(SECRET) && event.len() < 8192, "{event}");
    }
}

/// About the largest schema that is accepted.
const LARGEST: usize = 512 * 1024 - 512;

async fn a_schema_as_large_as_can_be_stored_goes_through_and_is_told_nowhere(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    // The log lines of libraries count too.
    stage.set("RUST_LOG", "debug");
    stage.start();
    for name in ["in-spec", "in-map"] {
        assert!(stage.aws().put_backend((APP, name), "storefront"));
    }
    stage
        .create(Kind::Api, "in-spec", graphql_api("in-spec", &schema(LARGEST, '1')))
        .await;
    stage
        .put_config_map("schema", "schema.graphql", &schema(LARGEST, '1'))
        .await;
    let mut from_map = graphql_api("in-map", "");
    let config = from_map["resourceConfig"].as_object_mut().expect("an object");
    config.remove("transformSchema");
    config.insert(
        "transformSchemaFrom".to_owned(),
        json!({ "configMapKeyRef": { "name": "schema", "key": "schema.graphql" } }),
    );
    stage.create(Kind::Api, "in-map", from_map).await;
    let held = |name: &str| {
        let app = stage.aws().app((APP, name)).expect("the app");
        app.backends[name].apis["shop"]["transformSchema"].clone()
    };
    let check = async |name: &str, size: usize, last: char| {
        let object = stage.wait_until_ready(Kind::Api, name).await;
        let status = object["status"].to_string();
        assert!(status.len() < 4096 && !status.contains(SECRET), "{status}");
        assert!(held(name) == schema(size, last), "AWS holds another schema of {name}");
    };
    check("in-spec", LARGEST, '1').await;
    check("in-map", LARGEST, '1').await;
    let patch = json!({ "spec": { "resourceConfig": { "transformSchema": schema(LARGEST, '2') } } });
    stage.patch(Kind::Api, "in-spec", patch).await;
    stage
        .put_config_map("schema", "schema.graphql", &schema(LARGEST, '2'))
        .await;
    stage.request(Kind::Api, "in-map", "the map has changed").await;
    stage.wait_for_calls(Operation::UpdateBackendApi, 2).await;
    check("in-spec", LARGEST, '2').await;
    check("in-map", LARGEST, '2').await;
    assert_eq!(stage.calls(Operation::CreateBackendApi).len(), 2);
    assert_eq!(stage.calls(Operation::UpdateBackendApi).len(), 2);
    for name in ["in-spec", "in-map"] {
        nothing_is_told(&stage, name).await;
    }
}

async fn the_middle_of_a_long_error_of_aws_is_told_nowhere(world: Arc<World>) {
    let setup = Setup {
        flags: vec!["--outcome-grace=8s", "--absence-grace=6s", "--max-job-attempts=1"],
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    stage.set("RUST_LOG", "debug");
    stage.start();
    let error = long_with_secret();
    stage
        .aws()
        .job_fault(JobFault::on(Operation::CreateBackend, JobScript::failed(&error, false)).environment("job"));
    let at_once = Action::ErrorInReply { error: error.clone() };
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, at_once).environment("reply"));
    for (name, status, code) in [
        ("refused", 400, "BadRequestException"),
        ("denied", 403, "AccessDeniedException"),
        ("away", 500, "InternalFailureException"),
    ] {
        let action = Action::respond(status, code, &error);
        stage
            .aws()
            .fault(Fault::on(Operation::CreateBackend, action).environment(name));
    }
    let reads = Action::ErrorInReply { error };
    stage
        .aws()
        .fault(Fault::on(Operation::GetBackend, reads).environment("read"));
    for (name, reason) in [
        ("job", "JobFailed"),
        ("reply", "InvalidSpec"),
        ("refused", "InvalidSpec"),
        ("denied", "AccessDenied"),
        ("away", "AwsUnavailable"),
        ("read", "AwsUnavailable"),
    ] {
        stage.create_backend(name).await;
        let told = |object: &Value| {
            ready(object)["reason"] == reason
                && ready(object)["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("the stack failed"))
        };
        let object = stage.wait(Kind::Backend, name, reason, told).await;
        let text = object.to_string();
        assert!(text.len() < 8192 && !text.contains(SECRET), "{text}");
    }
    for name in ["away", "read"] {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    for name in ["job", "reply", "refused", "denied", "away", "read"] {
        nothing_is_told(&stage, name).await;
    }
    stage.assert_created_once();
}
