//! The commands for people, as processes beside a running operator: `status`, `reconcile`, `suspend`, `resume`, `doctor`.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    process::{Output, Stdio},
    sync::Arc,
};

use amplify_devcluster::{Cluster, Options, tools};
use amplify_simulator::{Action, Fault, JobFault, JobScript, Operation};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::process::Command;

use amplify_testkit::stage::{Kind, PATIENCE, Setup, Stage, World, graphql_api, object, operator_binary};

amplify_testkit::tests! {
    status_shows_a_backend_with_its_api_below_it_and_what_to_do_about_each,
    status_shows_the_tree_again_whenever_something_changes,
    what_is_suspended_gets_no_call_until_it_is_resumed,
    a_reconcile_that_waits_ends_with_the_state_that_it_led_to,
    nothing_changes_if_one_of_the_named_resources_does_not_exist,
    the_commands_are_a_plugin_of_kubectl,
    doctor_finds_no_problem_where_there_is_none,
    doctor_says_which_rights_are_missing_and_that_nobody_leads,
    doctor_says_what_is_wrong_with_the_way_to_aws,
    doctor_says_that_the_definitions_are_missing_or_others,
}

/// The end of a command.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Returns a command of the program with the rights of an administrator, in the stage's namespace.
fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let kubeconfig = stage.dir.path().join("admin.kubeconfig");
    stage.world.write_admin_kubeconfig(&kubeconfig);
    let mut command = Command::new(operator_binary());
    command.args(arguments).env_clear();
    command.envs(stage.environment.iter().map(|(name, value)| (name, value)));
    command
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", stage.dir.path())
        .stdin(Stdio::null());
    command
}

async fn end(mut command: Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().await.expect("the program runs");
    Ended {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

/// Runs a command in the stage's namespace.
async fn run(stage: &Stage, arguments: &[&str]) -> Ended {
    end(command(stage, &[arguments, &["-n", &stage.namespace]].concat())).await
}

async fn json_of(stage: &Stage, arguments: &[&str]) -> Value {
    let ended = run(stage, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn assert_said(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
}

async fn status_shows_a_backend_with_its_api_below_it_and_what_to_do_about_each(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--max-job-attempts=1");
    let stage = Stage::with(world, setup).await;
    stage.aws().job_fault(JobFault::on(
        Operation::CreateBackendApi,
        JobScript::failed("the schema has no @model", false),
    ));
    stage.create_backend("dev").await;
    let spec = json!({ "backendRef": { "name": "dev" }, "resourceName": "shop", "resourceConfig": graphql_api("dev", "type A @model { id: ID! }")["resourceConfig"] });
    stage.create(Kind::Api, "shop", spec).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_for_reason(Kind::Api, "shop", "JobFailed").await;
    let ended = run(&stage, &["status"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let app = amplify_testkit::stage::APP;
    assert_said(
        &ended.out,
        &[
            &format!(
                "{}\n└─ AmplifyBackend/dev  Ready (Available)  {app}/dev  eu-west-1",
                stage.namespace
            ),
            "   │  job      CreateBackend COMPLETED, ended ",
            &format!(
                "   │  console  https://eu-west-1.console.aws.amazon.com/amplify/home?region=eu-west-1#/{app}/YmFja2VuZA/dev\n"
            ),
            "   └─ BackendApi/shop  Stalled (JobFailed)",
            "the schema has no @model",
            &format!(
                "next     do what the message says; where it asks for no edit, then run: amplify-operator reconcile BackendApi/shop -n {}",
                stage.namespace
            ),
            "\n1 Ready, 1 Stalled\n",
        ],
    );
    assert!(
        !ended.out.contains('\u{1b}'),
        "no colours without a terminal: {:?}",
        ended.out
    );
    let found = json_of(&stage, &["status"]).await;
    let backend = &found["resources"][0];
    assert_eq!(backend["name"], "dev");
    assert_eq!(backend["state"], "Ready");
    assert_eq!(backend["children"][0]["reason"], "JobFailed");
    assert_eq!(backend["children"][0]["job"]["operation"], "CreateBackendAPI");
    let one = run(&stage, &["status", "bapi/shop"]).await;
    assert!(
        one.out.contains("└─ BackendApi/shop") && !one.out.contains("AmplifyBackend"),
        "{one:?}"
    );
    let none = end(command(&stage, &["status", "-n", "default"])).await;
    assert_eq!(
        (none.code, none.out.as_str()),
        (
            Some(0),
            "no resources in the namespace default; -A shows those of all namespaces\n"
        )
    );
}

async fn status_shows_the_tree_again_whenever_something_changes(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let mut watching = command(&stage, &["status", "--watch", "-n", &stage.namespace]).into_std();
    let mut watching = watching.stdout(Stdio::piped()).spawn().expect("the program runs");
    let lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    let reading = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        for line in lines.map_while(Result::ok) {
            let done = line.contains("AmplifyBackend/dev  Ready");
            seen.push(line);
            if done {
                break;
            }
        }
        seen
    });
    stage.create_backend("dev").await;
    let seen = tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("in time")
        .expect("read");
    watching.kill().expect("killed");
    watching.wait().expect("ended");
    let all = seen.join("\n");
    assert_said(
        &all,
        &[
            "AmplifyBackend/dev  Reconciling (Creating)",
            "AmplifyBackend/dev  Ready (Available)",
        ],
    );
}

async fn what_is_suspended_gets_no_call_until_it_is_resumed(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    let ended = run(&stage, &["suspend", "ab/dev"]).await;
    assert_eq!(
        (ended.code, ended.out),
        (
            Some(0),
            format!("AmplifyBackend/dev in {}: suspended\n", stage.namespace)
        )
    );
    stage.wait_for_reason(Kind::Backend, "dev", "Suspended").await;
    let calls = stage.simulator.history().all().len();
    let ended = run(&stage, &["reconcile", "ab", "dev"]).await;
    assert_said(
        &ended.out,
        &[
            "reconcile requested",
            "it is suspended, and stays so: amplify-operator resume AmplifyBackend/dev",
        ],
    );
    let shown = run(&stage, &["status"]).await;
    assert_said(
        &shown.out,
        &[
            "AmplifyBackend/dev  Suspended",
            "to go on, run: amplify-operator resume AmplifyBackend/dev",
        ],
    );
    assert_eq!(
        stage.simulator.history().all().len(),
        calls,
        "no call while it is suspended"
    );
    let ended = run(&stage, &["resume", "amplifybackends/dev"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert!(object["spec"].get("suspend").is_none(), "{object:#}");
    // Who else writes the field is told, because it would come back.
    let apply = json!({
        "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "AmplifyBackend",
        "metadata": { "name": "dev" }, "spec": { "suspend": true },
    });
    let params = PatchParams::apply("kustomize-controller").force();
    let api = stage.api(Kind::Backend);
    api.patch("dev", &params, &Patch::Apply(&apply)).await.expect("applied");
    let ended = run(&stage, &["resume", "--all"]).await;
    assert_said(
        &ended.out,
        &["spec.suspend is also written by kustomize-controller: change it there too"],
    );
}

async fn a_reconcile_that_waits_ends_with_the_state_that_it_led_to(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--max-job-attempts=1");
    let stage = Stage::with(world, setup).await;
    for _ in 0..2 {
        stage.aws().job_fault(JobFault::on(
            Operation::CreateBackend,
            JobScript::failed("the stack rolled back", false),
        ));
    }
    stage.create_backend("dev").await;
    stage.wait_for_reason(Kind::Backend, "dev", "JobFailed").await;
    let ended = run(&stage, &["reconcile", "ab/dev", "--wait"]).await;
    assert_eq!(ended.code, Some(1), "it failed again: {ended:?}");
    assert_said(&ended.out, &["reconcile requested, Stalled", "the stack rolled back"]);
    let ended = run(&stage, &["reconcile", "ab/dev", "--wait"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_said(&ended.out, &["reconcile requested, Ready"]);
    let object = stage.get(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 3);
    assert_eq!(
        object["status"]["lastHandledReconcileAt"],
        object["metadata"]["annotations"]["amplify-operator.dev/reconcile-requested-at"]
    );
}

async fn nothing_changes_if_one_of_the_named_resources_does_not_exist(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    let ended = run(&stage, &["suspend", "ab/dev", "ab/gone"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(
        ended.err,
        format!(
            "amplify-operator: there is no AmplifyBackend gone in the namespace {}: `amplify-operator status -A` shows what there is\n",
            stage.namespace
        )
    );
    let object = stage.get(Kind::Backend, "dev").await;
    assert!(object["spec"].get("suspend").is_none(), "{object:#}");
    let shown = run(&stage, &["status"]).await;
    assert_said(
        &shown.out,
        &["AmplifyBackend/dev  Unseen", "run: amplify-operator doctor"],
    );
}

async fn the_commands_are_a_plugin_of_kubectl(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    stage.create_backend("dev").await;
    let kubectl = tools::kubectl().await.expect("kubectl");
    for name in ["kubectl-amplify", "kubectl_complete-amplify"] {
        symlink(operator_binary(), stage.dir.path().join(name)).expect("a link");
    }
    let call = |arguments: &[&str]| {
        let mut called = Command::new(&kubectl);
        let program = command(&stage, &[]);
        for (name, value) in program.as_std().get_envs() {
            if let Some(value) = value {
                called.env(name, value);
            }
        }
        called
            .args(arguments)
            .env("PATH", stage.dir.path())
            .stdin(Stdio::null());
        end(called)
    };
    let ended = call(&["amplify", "status", "-n", &stage.namespace]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_said(
        &ended.out,
        &["AmplifyBackend/dev  Unseen", "run: kubectl amplify doctor"],
    );
    let ended = call(&["amplify", "--help"]).await;
    assert_said(&ended.out, &["Usage: kubectl amplify <COMMAND>", "\n  doctor "]);
    let ended = call(&["__complete", "amplify", "rec"]).await;
    assert_said(&ended.out, &["reconcile\tAsk the operator", ":4\n"]);
}

/// Makes the Deployment of an operator, as the chart does, with this status.
async fn deployment(stage: &Stage, arguments: &[&str]) {
    let api: Api<Deployment> = Api::namespaced(stage.world.client.clone(), &stage.namespace);
    let labels =
        json!({ "app.kubernetes.io/name": "amplify-operator", "app.kubernetes.io/version": env!("CARGO_PKG_VERSION") });
    let made = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "amplify-operator", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "serviceAccountName": "operator", "containers": [{ "name": "operator", "image": "x", "args": arguments }] },
            },
        },
    });
    api.create(&PostParams::default(), &object(made))
        .await
        .expect("a Deployment");
    let status = json!({ "status": {
        "observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
    } });
    api.patch_status("amplify-operator", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("a status");
}

fn check<'a>(found: &'a Value, what: &str) -> &'a Value {
    let mut checks = found["checks"].as_array().expect("checks").iter();
    checks
        .find(|check| check["what"] == what)
        .unwrap_or_else(|| panic!("no {what}: {found:#}"))
}

async fn doctor(command: Command) -> (Option<i32>, Value) {
    let ended = end(command).await;
    let found = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.code, found)
}

async fn doctor_finds_no_problem_where_there_is_none(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // Without a Deployment, as on a developer's machine: this process stands for the operator.
    let mut local = command(&stage, &["doctor", "-o", "json", "-n", &stage.namespace]);
    local.env("AMPLIFY_OPERATOR_WATCH_NAMESPACE", &stage.namespace);
    let (code, found) = doctor(local).await;
    assert_eq!(code, Some(0), "{found:#}");
    for (what, verdict, said) in [
        ("api server", "Ok", "answers"),
        ("definitions", "Ok", "all 4 are there"),
        ("credentials", "Ok", "AWS account 123456789012"),
        ("region", "Ok", "eu-west-1, where the account has Amplify apps: 1"),
        // Of the operator's process, nothing is seen from here.
        ("leader", "Skipped", "whether one is needed is not known here"),
        ("accounts", "Skipped", "no accounts file is seen from here"),
    ] {
        let check = check(&found, what);
        assert_eq!(check["verdict"], verdict, "{found:#}");
        assert_said(check["seen"].as_str().unwrap_or_default(), &[said]);
    }
}

async fn doctor_says_which_rights_are_missing_and_that_nobody_leads(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let namespace = stage.namespace.clone();
    deployment(
        &stage,
        &["--leader-elect", &format!("--watch-namespace={namespace},elsewhere")],
    )
    .await;
    let told = |found: &Value| {
        let mut checks = found["checks"].as_array().expect("checks").iter();
        checks
            .any(|check| check["what"] == "operator" && check["seen"].as_str().unwrap_or_default().contains(&namespace))
    };
    let (code, found) = doctor(command(&stage, &["doctor", "-o", "json", "-n", &stage.namespace])).await;
    assert!(told(&found), "{found:#}");
    assert_eq!(code, Some(1), "{found:#}");
    let rights = check(&found, "rights");
    assert_eq!(rights["verdict"], "Failed");
    assert_said(
        rights["seen"].as_str().unwrap_or_default(),
        &[
            &format!(
                "system:serviceaccount:{namespace}:operator may not, in the namespace elsewhere: get amplifybackends.amplify-operator.dev"
            ),
            "patch amplifybackends.amplify-operator.dev/status",
        ],
    );
    assert!(
        !rights["seen"]
            .as_str()
            .unwrap_or_default()
            .contains(&format!("in the namespace {namespace}:")),
        "{rights}"
    );
    assert_eq!(check(&found, "leader")["verdict"], "Failed");
    assert_said(
        check(&found, "aws")["seen"].as_str().unwrap_or_default(),
        &[&format!(
            "kubectl exec -n {namespace} deploy/amplify-operator -c operator -- amplify-operator doctor"
        )],
    );
    // A holder that renews.
    let leases: Api<Lease> = Api::namespaced(stage.world.client.clone(), &namespace);
    let now = jiff::Timestamp::now();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "amplify-operator" },
        "spec": { "holderIdentity": "pod-1", "leaseDurationSeconds": 3600, "renewTime": format!("{now:.6}") },
    });
    leases
        .create(&PostParams::default(), &object(lease))
        .await
        .expect("a Lease");
    let (_, found) = doctor(command(&stage, &["doctor", "-o", "json", "-n", &stage.namespace])).await;
    assert_eq!(check(&found, "leader")["verdict"], "Ok", "{found:#}");
    // A user who may not ask gets told so, and is not told that all is well.
    let mut denied = command(&stage, &["doctor", "-o", "json"]);
    let own = stage
        .environment
        .iter()
        .find(|(name, _)| name == "KUBECONFIG")
        .expect("a kubeconfig");
    denied.env("KUBECONFIG", &own.1);
    let (_, found) = doctor(denied).await;
    assert_eq!(check(&found, "definitions")["verdict"], "Skipped", "{found:#}");
    assert_eq!(check(&found, "operator")["verdict"], "Skipped", "{found:#}");
    let api: Api<Deployment> = Api::namespaced(stage.world.client.clone(), &namespace);
    api.delete("amplify-operator", &kube::api::DeleteParams::default())
        .await
        .expect("deleted");
}

async fn doctor_says_what_is_wrong_with_the_way_to_aws(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    let asked = |variables: &[(&str, &str)]| {
        let mut command = command(&stage, &["doctor", "-o", "json", "-n", &stage.namespace]);
        command.env("KUBECONFIG", "/missing").envs(variables.iter().copied());
        doctor(command)
    };
    for (variables, what, verdict, said) in [
        (
            &[("AWS_REGION", "eu-wst-1")][..],
            "region",
            "Failed",
            "did you mean \"eu-west-1\"?",
        ),
        (
            &[("AWS_REGION", "eu-west-2")],
            "region",
            "Warning",
            "has no Amplify app in eu-west-2",
        ),
        (
            &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "")],
            "region",
            "Warning",
            "has no region: each resource must name its own",
        ),
        (
            &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")],
            "credentials",
            "Failed",
            "",
        ),
    ] {
        let (code, found) = asked(variables).await;
        assert_eq!(code, Some(1), "no API server either: {found:#}");
        let check = check(&found, what);
        assert_eq!(check["verdict"], verdict, "{variables:?}: {found:#}");
        assert_said(check["seen"].as_str().unwrap_or_default(), &[said]);
        assert!(check["nextStep"].is_string(), "{check}");
    }
    stage
        .aws()
        .fault(Fault::on(Operation::ListApps, Action::AccessDenied).forever());
    let (_, found) = asked(&[]).await;
    let denied = check(&found, "region");
    assert_eq!(
        denied["nextStep"], "give the role the actions in deploy/iam-policy.json",
        "{found:#}"
    );
}

async fn doctor_says_that_the_definitions_are_missing_or_others(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    let empty = Cluster::start(Options::default())
        .await
        .expect("a cluster without definitions");
    let asked = |arguments: &[&str]| {
        let mut command = command(&stage, arguments);
        command.env("KUBECONFIG", empty.kubeconfig_path());
        command
    };
    let (code, found) = doctor(asked(&["doctor", "-o", "json", "-n", &stage.namespace])).await;
    assert_eq!(code, Some(1), "{found:#}");
    let missing = check(&found, "definitions");
    assert_eq!(
        missing["seen"],
        "missing: AmplifyBackend, BackendApi, BackendStorage, BackendEnvironment"
    );
    assert_said(
        missing["nextStep"].as_str().unwrap_or_default(),
        &["amplify-operator crd | kubectl apply --server-side"],
    );
    let ended = end(asked(&["status", "-A"])).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_said(
        &ended.err,
        &[
            "The API server does not know the kind: install the operator (docs/install.md); without Helm, run: amplify-operator crd",
        ],
    );
    // Definitions of another version.
    let client = empty.client().await.expect("a client");
    let other = World::with_crds(&empty, changed_crds()).await;
    drop((client, other));
    let (_, found) = doctor(asked(&["doctor", "-o", "json", "-n", &stage.namespace])).await;
    let others = check(&found, "definitions");
    assert_eq!(others["verdict"], "Warning", "{found:#}");
    assert_said(
        others["seen"].as_str().unwrap_or_default(),
        &["not those of this program", ": AmplifyBackend"],
    );
    assert!(
        !others["seen"].as_str().unwrap_or_default().contains("BackendApi"),
        "{others}"
    );
    empty.stop().await.expect("it ends");
}

/// Returns the definitions with one field more in the first kind.
fn changed_crds() -> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> {
    let mut crds = amplify_operator::api::crds();
    let schema = crds[0].spec.versions[0].schema.as_mut().expect("a schema");
    let schema = schema.open_api_v3_schema.as_mut().expect("a schema");
    schema.description = Some("of another version".to_owned());
    crds
}
