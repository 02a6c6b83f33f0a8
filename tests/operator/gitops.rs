//! The verdicts of GitOps tools on the operator's statuses: kstatus (Flux, Helm's `--wait`), the health check for Argo
//! CD, `kubectl wait`.
//!
//! The real operator produces each phase, the real libraries judge it, and the status is compared with the health
//! check's test data in `deploy/argocd`. These files are earlier output of the operator, with the times, ids and names
//! of the run replaced.
//!
//! `UPDATE_GENERATED=1 cargo test --test operator -- judged` writes them again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};

use amplify_devcluster::tools::{self, Tool};
use amplify_simulator::{Action, EnvironmentState, Fault, JobFault, JobScript, Operation};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World, backend, environment, graphql_api, ready};

amplify_testkit::tests! {
    what_no_operator_has_seen_is_judged_to_be_in_progress,
    a_backend_is_judged_right_from_its_creation_to_its_deletion,
    a_backend_that_waits_or_needs_a_person_is_judged_right,
    a_backend_whose_environment_is_locked_or_gone_is_judged_right,
    an_api_is_judged_right_from_its_creation_to_its_deletion,
    a_record_is_judged_right_from_its_creation_to_its_deletion,
    every_case_of_the_health_checks_is_a_status_that_a_test_here_produces,
    kubectl_waits_for_what_is_ready_and_not_for_what_was_edited,
    helm_waits_for_the_samples_and_tells_of_a_failed_job,
    helm_takes_over_what_kubectl_or_another_release_installed_only_if_it_is_told_to,
    what_stands_in_git_takes_everything_over_after_the_cluster_was_rebuilt,
    a_schema_that_was_edited_in_git_is_sent_at_once,
}

const HEALTH: &str = "deploy/argocd/health.lua";
const CUSTOMIZATIONS: &str = "deploy/argocd/resource_customizations/amplify-operator.dev";

/// The replacements of times, ids and so on in the test data.
const SOME_TIME: &str = "2026-11-22T10:00:00Z";
const SOME_ID: &str = "0f3c1d52-7a7e-4b0e-9c55-6a1f3f0f2f11";

/// Each case of the health checks, with the verdict of kstatus. The verdict of Argo CD is in `health_test.yaml`.
const CASES: [(&str, &str); 28] = [
    ("AmplifyBackend/unseen", "InProgress"),
    ("AmplifyBackend/waiting-for-dependency", "InProgress"),
    ("AmplifyBackend/waiting-for-job", "InProgress"),
    ("AmplifyBackend/creating", "InProgress"),
    ("AmplifyBackend/cloning", "InProgress"),
    ("AmplifyBackend/healthy", "Current"),
    ("AmplifyBackend/edited", "InProgress"),
    ("AmplifyBackend/job-failed", "Failed"),
    ("AmplifyBackend/job-timed-out", "Failed"),
    ("AmplifyBackend/locked", "Current"),
    ("AmplifyBackend/deletion-locked", "Terminating"),
    ("AmplifyBackend/observed-and-gone", "Failed"),
    ("AmplifyBackend/suspended", "Current"),
    ("AmplifyBackend/deletion-blocked", "Terminating"),
    ("AmplifyBackend/deleting", "Terminating"),
    ("BackendApi/unseen", "InProgress"),
    ("BackendApi/refused", "Failed"),
    ("BackendApi/creating", "InProgress"),
    ("BackendApi/healthy", "Current"),
    ("BackendApi/edited", "InProgress"),
    ("BackendApi/updating", "InProgress"),
    ("BackendApi/suspended-after-an-edit", "InProgress"),
    ("BackendApi/deleting", "Terminating"),
    ("BackendEnvironment/unseen", "InProgress"),
    ("BackendEnvironment/suspended", "InProgress"),
    ("BackendEnvironment/already-exists", "Failed"),
    ("BackendEnvironment/healthy", "Current"),
    ("BackendEnvironment/deletion-suspended", "Terminating"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The verdicts of the two tools.
#[derive(Debug, Deserialize)]
struct Verdicts {
    kstatus: Kstatus,
    argo: Health,
}

#[derive(Debug, Deserialize)]
struct Kstatus {
    status: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Health {
    status: String,
    message: String,
    deletion_message: String,
}

/// Returns the verdicts of the real libraries.
async fn judged(object: &Value) -> Verdicts {
    let judge = tools::find(Tool::GitopsJudge).await.expect("the judge of GitOps tools");
    let mut judge = Command::new(judge)
        .args(["-health", HEALTH])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the judge runs");
    let mut input = judge.stdin.take().expect("an input");
    let line = format!("{object}\n");
    input.write_all(line.as_bytes()).await.expect("the judge reads");
    drop(input);
    let output = judge.wait_with_output().await.expect("the judge answers");
    assert!(output.status.success(), "the judge fails");
    serde_json::from_slice(&output.stdout).expect("verdicts")
}

/// One case of a `health_test.yaml`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    input_path: String,
    health_status: Health,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    tests: Vec<Case>,
}

fn cases(kind: &str) -> Vec<Case> {
    let path = root().join(CUSTOMIZATIONS).join(kind).join("health_test.yaml");
    let yaml = fs::read_to_string(&path).expect("health_test.yaml");
    let cases: Cases = serde_saphyr::from_str(&yaml).expect("test cases");
    cases.tests
}

/// Checks that both tools judge the object as expected for this case, and that the test data is up to date.
async fn is_case(object: &Value, case: &str) {
    let (kind, name) = case.split_once('/').expect("kind/name");
    assert_eq!(object["kind"], kind);
    let (_, kstatus) = CASES.iter().find(|(known, _)| *known == case).expect("a known case");
    let object = without_this_run(object);
    let input = format!("testdata/{name}.yaml");
    let path = root().join(CUSTOMIZATIONS).join(kind).join(&input);
    let yaml = serde_saphyr::to_string(&object).expect("YAML");
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, &yaml).expect("test data");
        return;
    }
    let verdicts = judged(&object).await;
    assert_eq!(verdicts.kstatus.status, *kstatus, "{case}: {yaml}");
    let cases = cases(kind);
    let expected = cases.into_iter().find(|case| case.input_path == input);
    let expected = expected.unwrap_or_else(|| panic!("{case} is not in health_test.yaml: {:?}", verdicts.argo));
    assert_eq!(verdicts.argo, expected.health_status, "{case}: {yaml}");
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        stored, yaml,
        "{case}: the test data is not what the operator produces (right). Run: UPDATE_GENERATED=1 cargo test --test \
         operator -- judged"
    );
}

/// Returns the object without the values that differ between runs.
fn without_this_run(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    let namespace = metadata["namespace"].as_str().expect("a namespace").to_owned();
    for field in ["managedFields", "resourceVersion", "uid"] {
        metadata.remove(field);
    }
    visit(&mut object, &|text| {
        if text.parse::<jiff::Timestamp>().is_ok() {
            SOME_TIME.clone_into(text);
            return;
        }
        *text = text.replace(&namespace, "shop");
        // AWS puts a number of its own into the names of stacks.
        if let Some(rest) = text.strip_prefix("amplify-storefront-dev-") {
            let suffix = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            *text = format!("amplify-storefront-dev-100000{suffix}");
        }
        let is_of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
        let ids: BTreeSet<_> = text
            .split(|c| !is_of_id(c))
            .filter(|word| word.len() == SOME_ID.len() && word.matches('-').count() == 4)
            .map(ToOwned::to_owned)
            .collect();
        for id in ids {
            *text = text.replace(&id, SOME_ID);
        }
    });
    object
}

fn visit(value: &mut Value, change: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|field| visit(field, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Waits until the resource has this reason and its job runs.
async fn wait_for_job(stage: &Stage, kind: Kind, name: &str, reason: &str) -> Value {
    stage
        .wait(kind, name, reason, |object| {
            ready(object)["reason"] == reason && object["status"]["job"]["status"] == "RUNNING"
        })
        .await
}

async fn what_no_operator_has_seen_is_judged_to_be_in_progress(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    stage.create(Kind::Api, "shop", graphql_api("dev", SCHEMA)).await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    for (kind, name, case) in [
        (Kind::Backend, "dev", "AmplifyBackend/unseen"),
        (Kind::Api, "shop", "BackendApi/unseen"),
        (Kind::Environment, "record", "BackendEnvironment/unseen"),
    ] {
        is_case(&stage.get(kind, name).await, case).await;
    }
}

const SCHEMA: &str = "type A @model { id: ID! }";

fn clone_of(source: &str, environment: &str) -> Value {
    json!({ "appId": APP, "backendEnvironmentName": environment, "cloneFrom": { "backendRef": { "name": source } } })
}

async fn a_backend_is_judged_right_from_its_creation_to_its_deletion(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage.create(Kind::Backend, "copy", clone_of("dev", "copy")).await;
    let object = stage.wait_for_reason(Kind::Backend, "copy", "DependencyNotReady").await;
    is_case(&object, "AmplifyBackend/waiting-for-dependency").await;

    stage.create_backend("dev").await;
    let object = wait_for_job(&stage, Kind::Backend, "dev", "Creating").await;
    is_case(&object, "AmplifyBackend/creating").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    is_case(&object, "AmplifyBackend/healthy").await;
    let object = wait_for_job(&stage, Kind::Backend, "copy", "Cloning").await;
    is_case(&object, "AmplifyBackend/cloning").await;

    // The resource stays Ready while it is throttled.
    let fault = Fault::on(Operation::GetBackend, Action::TooManyRequests).forever();
    let fault = stage.aws().fault(fault);
    let calls = stage.calls(Operation::GetBackend).len();
    stage.request(Kind::Backend, "dev", "now").await;
    stage.wait_for_calls(Operation::GetBackend, calls + 2).await;
    let verdicts = judged(&stage.get(Kind::Backend, "dev").await).await;
    assert_eq!(
        (&*verdicts.kstatus.status, &*verdicts.argo.status),
        ("Current", "Healthy")
    );
    stage.aws().remove_fault(fault);
    stage
        .wait(Kind::Backend, "dev", "answered", |object| {
            object["status"]["lastHandledReconcileAt"] == "now"
        })
        .await;

    let suspend = |suspend: bool| json!({ "spec": { "suspend": suspend } });
    stage.patch(Kind::Backend, "dev", suspend(true)).await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "Suspended").await;
    is_case(&object, "AmplifyBackend/suspended").await;

    // The state in the moment after an edit.
    stage.terminate().await;
    stage.patch(Kind::Backend, "dev", suspend(false)).await;
    is_case(&stage.get(Kind::Backend, "dev").await, "AmplifyBackend/edited").await;
    stage.start();
    stage.wait_until_ready(Kind::Backend, "dev").await;

    let mut api = graphql_api("dev", SCHEMA);
    api["backendRef"] = json!({ "name": "dev" });
    for pinned in ["appId", "backendEnvironmentName"] {
        api.as_object_mut().expect("an object").remove(pinned);
    }
    stage.create(Kind::Api, "shop", api).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage.delete(Kind::Backend, "dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "InUse").await;
    is_case(&object, "AmplifyBackend/deletion-blocked").await;
    stage.delete(Kind::Api, "shop").await;
    stage.wait_until_gone(Kind::Api, "shop").await;
    let object = wait_for_job(&stage, Kind::Backend, "dev", "Deleting").await;
    is_case(&object, "AmplifyBackend/deleting").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
}

async fn a_backend_that_waits_or_needs_a_person_is_judged_right(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--max-job-attempts=1");
    let stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "source"), "storefront"));
    let foreign = stage
        .aws()
        .start_job((APP, "source"), "UpdateBackendAuth", JobScript::stuck());
    foreign.expect("a job");
    let mut spec = clone_of("", "waits");
    spec["cloneFrom"] = json!({ "backendEnvironmentName": "source" });
    stage.create(Kind::Backend, "waits", spec).await;
    let object = stage.wait_for_reason(Kind::Backend, "waits", "WaitingForJob").await;
    is_case(&object, "AmplifyBackend/waiting-for-job").await;

    let failing = JobScript::failed("CREATE_FAILED: the stack rolled back", false);
    stage.aws().job_fault(JobFault::on(Operation::CreateBackend, failing));
    stage.create_backend("fails").await;
    let object = stage.wait_for_reason(Kind::Backend, "fails", "JobFailed").await;
    is_case(&object, "AmplifyBackend/job-failed").await;

    stage
        .aws()
        .job_fault(JobFault::on(Operation::CreateBackend, JobScript::stuck()));
    let mut spec = backend("hangs");
    spec["jobTimeout"] = json!("6s");
    stage.create(Kind::Backend, "hangs", spec).await;
    let object = stage.wait_for_reason(Kind::Backend, "hangs", "JobTimedOut").await;
    is_case(&object, "AmplifyBackend/job-timed-out").await;
}

async fn a_backend_whose_environment_is_locked_or_gone_is_judged_right(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // The process that comes next has read no lock yet.
    stage.terminate().await;
    let mark = ("GEN2_MIGRATION_ENVIRONMENT_NAME".to_owned(), "dev".to_owned());
    assert!(stage.aws().put_variables((APP, ""), BTreeMap::from([mark])));
    stage.start();
    stage.request(Kind::Backend, "dev", "now").await;
    let is_locked = |object: &Value| object["status"]["migrationLockedAt"].is_string();
    let object = stage.wait(Kind::Backend, "dev", "locked", is_locked).await;
    is_case(&object, "AmplifyBackend/locked").await;
    stage.delete(Kind::Backend, "dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "MigrationLocked").await;
    is_case(&object, "AmplifyBackend/deletion-locked").await;

    let mut spec = backend("gone");
    spec["managementPolicy"] = "Observe".into();
    stage.create(Kind::Backend, "gone", spec).await;
    let object = stage.wait_for_reason(Kind::Backend, "gone", "NotFound").await;
    is_case(&object, "AmplifyBackend/observed-and-gone").await;
}

async fn an_api_is_judged_right_from_its_creation_to_its_deletion(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let refusal = Action::respond(400, "BadRequestException", "the schema has no types");
    stage.aws().fault(Fault::on(Operation::CreateBackendApi, refusal));
    stage.create(Kind::Api, "shop", graphql_api("dev", "nonsense")).await;
    let object = stage.wait_for_reason(Kind::Api, "shop", "InvalidSpec").await;
    is_case(&object, "BackendApi/refused").await;

    let config = |field: &str, value: &str| json!({ "spec": { "resourceConfig": { field: value } } });
    stage.patch(Kind::Api, "shop", config("transformSchema", SCHEMA)).await;
    let object = wait_for_job(&stage, Kind::Api, "shop", "Creating").await;
    is_case(&object, "BackendApi/creating").await;
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    is_case(&object, "BackendApi/healthy").await;

    stage.terminate().await;
    stage.patch(Kind::Api, "shop", config("apiName", "edited")).await;
    is_case(&stage.get(Kind::Api, "shop").await, "BackendApi/edited").await;
    stage.start();
    let object = wait_for_job(&stage, Kind::Api, "shop", "Updating").await;
    is_case(&object, "BackendApi/updating").await;
    stage.wait_until_ready(Kind::Api, "shop").await;

    // An edit that waits for the end of the suspension must not look as if it were carried out.
    let mut edit = config("apiName", "again");
    edit["spec"]["suspend"] = json!(true);
    stage.patch(Kind::Api, "shop", edit).await;
    let object = stage
        .wait(Kind::Api, "shop", "suspended", |object| {
            ready(object)["reason"] == "Suspended"
        })
        .await;
    is_case(&object, "BackendApi/suspended-after-an-edit").await;
    let resumed = json!({ "spec": { "suspend": null } });
    stage.patch(Kind::Api, "shop", resumed).await;
    stage.wait_until_ready(Kind::Api, "shop").await;

    stage.delete(Kind::Api, "shop").await;
    let object = wait_for_job(&stage, Kind::Api, "shop", "Deleting").await;
    is_case(&object, "BackendApi/deleting").await;
    stage.wait_until_gone(Kind::Api, "shop").await;
}

async fn a_record_is_judged_right_from_its_creation_to_its_deletion(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let mut spec = environment("dev");
    spec["suspend"] = json!(true);
    stage.create(Kind::Environment, "dev", spec).await;
    let object = stage.wait_for_reason(Kind::Environment, "dev", "Suspended").await;
    is_case(&object, "BackendEnvironment/suspended").await;

    let record = EnvironmentState {
        stack_name: Some("stack".into()),
        deployment_artifacts: Some("bucket".into()),
    };
    assert!(stage.aws().put_environment((APP, "dev"), record));
    let resumed = json!({ "spec": { "suspend": null } });
    stage.patch(Kind::Environment, "dev", resumed).await;
    let object = stage.wait_for_reason(Kind::Environment, "dev", "AlreadyExists").await;
    is_case(&object, "BackendEnvironment/already-exists").await;

    let adopted = json!({ "spec": { "adoptionPolicy": "IfExists", "deletionPolicy": "Delete" } });
    stage.patch(Kind::Environment, "dev", adopted).await;
    let object = stage.wait_until_ready(Kind::Environment, "dev").await;
    is_case(&object, "BackendEnvironment/healthy").await;

    let suspend = |suspend: bool| json!({ "spec": { "suspend": suspend } });
    stage.patch(Kind::Environment, "dev", suspend(true)).await;
    stage.wait_for_reason(Kind::Environment, "dev", "Suspended").await;
    stage.delete(Kind::Environment, "dev").await;
    let object = stage
        .wait(Kind::Environment, "dev", "deleting and seen", |object| {
            object["metadata"]["deletionTimestamp"].is_string()
                && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        })
        .await;
    is_case(&object, "BackendEnvironment/deletion-suspended").await;
    stage.patch(Kind::Environment, "dev", suspend(false)).await;
    stage.wait_until_gone(Kind::Environment, "dev").await;
}

async fn every_case_of_the_health_checks_is_a_status_that_a_test_here_produces(_: Arc<World>) {
    let produced: BTreeSet<String> = CASES.iter().map(|(case, _)| (*case).to_owned()).collect();
    let mut listed = BTreeSet::new();
    let mut stored = BTreeSet::new();
    for kind in ["AmplifyBackend", "BackendApi", "BackendEnvironment"] {
        for case in cases(kind) {
            let name = case
                .input_path
                .trim_start_matches("testdata/")
                .trim_end_matches(".yaml");
            listed.insert(format!("{kind}/{name}"));
            let path = root().join(CUSTOMIZATIONS).join(kind).join(&case.input_path);
            let yaml = fs::read_to_string(path).expect("test data");
            let object = serde_saphyr::from_str(&yaml).expect("YAML");
            assert_eq!(judged(&object).await.argo, case.health_status, "{kind}/{name}");
        }
        let folder = root().join(CUSTOMIZATIONS).join(kind).join("testdata");
        for entry in fs::read_dir(folder).expect("test data") {
            let path = entry.expect("test data").path();
            stored.insert(format!("{kind}/{}", path.file_stem().expect("a name").display()));
        }
    }
    assert_eq!(listed, produced, "the cases in health_test.yaml");
    assert_eq!(stored, produced, "the files in testdata");
}

/// Runs a command line tool in the stage's namespace.
async fn run(stage: &Stage, tool: Tool, arguments: &[&str]) -> Output {
    let program: PathBuf = tools::find(tool).await.expect("the tool");
    let home = stage.dir.path();
    Command::new(program)
        .args(arguments)
        .args(["--namespace", &stage.namespace])
        .current_dir(root())
        .env_clear()
        .envs(
            stage
                .environment
                .iter()
                .filter(|(name, _)| name == "KUBECONFIG")
                .cloned(),
        )
        .env("HOME", home)
        .env("KUBECACHEDIR", home.join("kube"))
        .kill_on_drop(true)
        .output()
        .await
        .expect("the tool runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn kubectl_waits_for_what_is_ready_and_not_for_what_was_edited(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    stage.create(Kind::Api, "shop", graphql_api("dev", SCHEMA)).await;
    let wait = ["wait", "--for=condition=Ready", "bapi/shop"];
    let waited = run(&stage, Tool::Kubectl, &[&wait[..], &["--timeout=150s"]].concat()).await;
    assert!(waited.status.success(), "{}", text(&waited.stderr));
    assert_eq!(ready(&stage.get(Kind::Api, "shop").await)["status"], "True");

    stage.terminate().await;
    let edit = json!({ "spec": { "resourceConfig": { "apiName": "edited" } } });
    stage.patch(Kind::Api, "shop", edit).await;
    let object = stage.get(Kind::Api, "shop").await;
    assert_eq!(ready(&object)["status"], "True", "of the former generation");
    let waited = run(&stage, Tool::Kubectl, &[&wait[..], &["--timeout=1s"]].concat()).await;
    assert!(!waited.status.success(), "kubectl takes an edit for done");

    stage.start();
    let waited = run(&stage, Tool::Kubectl, &[&wait[..], &["--timeout=150s"]].concat()).await;
    assert!(waited.status.success(), "{}", text(&waited.stderr));
    let object = stage.get(Kind::Api, "shop").await;
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
}

/// Creates a chart from these files.
fn chart(stage: &Stage, templates: &[(&str, String)]) -> String {
    let chart = stage.dir.path().join("chart");
    fs::create_dir_all(chart.join("templates")).expect("a folder");
    fs::write(
        chart.join("Chart.yaml"),
        "apiVersion: v2\nname: storefront\nversion: 1.0.0\n",
    )
    .expect("a file");
    for (name, content) in templates {
        fs::write(chart.join("templates").join(name), content).expect("a file");
    }
    chart.display().to_string()
}

async fn helm_waits_for_the_samples_and_tells_of_a_failed_job(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--max-job-attempts=1");
    let stage = Stage::with(world, setup).await;
    let samples: Vec<_> = ["amplifybackend", "backendapi", "backendenvironment", "clone"]
        .map(|name| format!("{name}.yaml"))
        .into_iter()
        .collect();
    let read = |name: &String| fs::read_to_string(root().join("deploy/samples").join(name)).expect("a sample");
    let templates: Vec<_> = samples.iter().map(|name| (&**name, read(name))).collect();
    let chart = chart(&stage, &templates);
    let install = ["install", "storefront", &chart, "--wait", "--timeout=150s"];
    let installed = run(&stage, Tool::Helm, &install).await;
    assert!(installed.status.success(), "{}", text(&installed.stderr));
    for (kind, name) in SAMPLES {
        assert_eq!(ready(&stage.get(kind, name).await)["status"], "True", "{name}");
    }

    let failing = JobScript::failed("CREATE_FAILED: the stack rolled back", false);
    stage.aws().job_fault(JobFault::on(Operation::CreateBackend, failing));
    let broken = fs::read_to_string(root().join("deploy/samples/amplifybackend.yaml")).expect("a sample");
    let path = Path::new(&chart).join("templates/broken.yaml");
    fs::write(path, broken.replace("staging", "broken")).expect("a file");
    let upgrade = ["upgrade", "storefront", &chart, "--wait", "--timeout=30s"];
    let upgraded = run(&stage, Tool::Helm, &upgrade).await;
    assert!(!upgraded.status.success(), "helm takes a failed job for done");
    let said = text(&upgraded.stderr);
    assert!(said.contains("broken") && said.contains("Failed"), "{said}");

    let uninstall = ["uninstall", "storefront", "--wait", "--timeout=150s"];
    let uninstalled = run(&stage, Tool::Helm, &uninstall).await;
    assert!(uninstalled.status.success(), "{}", text(&uninstalled.stderr));
    assert!(stage.aws().app((APP, "staging")).expect("the app").backends.is_empty());
}

async fn helm_takes_over_what_kubectl_or_another_release_installed_only_if_it_is_told_to(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    // The definitions are there, without Helm's labels, as after `kubectl apply`.
    let stage = Stage::with(world.clone(), setup).await;
    let kubeconfig = world.admin.display().to_string();
    let helm = async |arguments: &[&str]| {
        run(
            &stage,
            Tool::Helm,
            &[arguments, &["--kubeconfig", &kubeconfig]].concat(),
        )
        .await
    };
    let install = |release| ["install", release, "charts/amplify-operator"];
    let refused = async |release| {
        let installed = helm(&install(release)).await;
        assert!(!installed.status.success(), "{release} takes over the definitions");
        let said = text(&installed.stderr);
        assert!(said.contains("invalid ownership metadata"), "{said}");
    };
    let accepted = async |arguments: &[&str]| {
        let done = helm(arguments).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
    };
    refused("first").await;
    accepted(&[&install("first")[..], &["--take-ownership"]].concat()).await;
    refused("second").await;
    accepted(&[&install("second")[..], &["--set=crds.install=false"]].concat()).await;
    // The definitions stay, and still belong to the first release.
    accepted(&["uninstall", "second"]).await;
    accepted(&["uninstall", "first"]).await;
    refused("second").await;
    accepted(&[&install("second")[..], &["--take-ownership"]].concat()).await;
    accepted(&["uninstall", "second"]).await;
    stage.create_backend("dev").await;
}

/// An example of a Git repository.
const GIT: &str = "deploy/gitops/storefront";

/// The resources in `deploy/samples` and in that example.
const SAMPLES: [(Kind, &str); 4] = [
    (Kind::Backend, "staging"),
    (Kind::Backend, "preview"),
    (Kind::Api, "storefront"),
    (Kind::Environment, "legacy"),
];

async fn what_stands_in_git_takes_everything_over_after_the_cluster_was_rebuilt(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    let apply = ["apply", "-k", GIT];
    let applied = run(&stage, Tool::Kubectl, &apply).await;
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    for (kind, name) in SAMPLES {
        stage.wait_until_ready(kind, name).await;
    }
    let before = stage.simulator.history().writes().len();
    assert_eq!(before, SAMPLES.len());

    // The cluster is lost, with the operator and every status. AWS still has all objects.
    stage.kill().await;
    for (kind, name) in SAMPLES {
        stage
            .patch(kind, name, json!({ "metadata": { "finalizers": null } }))
            .await;
        stage.delete(kind, name).await;
        stage.wait_until_gone(kind, name).await;
    }
    stage.start();
    let applied = run(&stage, Tool::Kubectl, &apply).await;
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    for (kind, name) in SAMPLES {
        let object = stage.wait_until_ready(kind, name).await;
        assert_eq!(object["status"]["origin"], "Adopted", "{name}");
    }
    assert_eq!(stage.simulator.history().writes().len(), before, "AWS was told nothing");

    // All at once, as a prune does.
    let pruned = run(&stage, Tool::Kubectl, &["delete", "-k", GIT, "--timeout=150s"]).await;
    assert!(pruned.status.success(), "{}", text(&pruned.stderr));
    let app = stage.aws().app((APP, "staging")).expect("the app");
    assert!(app.backends.is_empty());
    assert!(app.environments.contains_key("legacy"), "deletionPolicy: Retain");
}

async fn a_schema_that_was_edited_in_git_is_sent_at_once(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let folder = stage.dir.path().join("git");
    fs::create_dir(&folder).expect("a folder");
    for entry in fs::read_dir(root().join(GIT)).expect("the example") {
        let entry = entry.expect("a file");
        fs::copy(entry.path(), folder.join(entry.file_name())).expect("a file");
    }
    let git = folder.display().to_string();
    let apply = ["apply", "-k", &git];
    let applied = run(&stage, Tool::Kubectl, &apply).await;
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    stage.wait_until_ready(Kind::Api, "storefront").await;

    let schema = "type Edited @model { id: ID! }";
    fs::write(folder.join("schema.graphql"), schema).expect("a file");
    let applied = run(&stage, Tool::Kubectl, &apply).await;
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    stage.wait_until_updated("storefront").await;
    let there = stage.aws().app((APP, "staging")).expect("the app");
    assert_eq!(there.backends["staging"].apis["storefront"]["transformSchema"], schema);
}
