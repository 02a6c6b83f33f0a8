//! `make kind` without kind: its script with the real kubectl and helm and a real API server. Programs that need a
//! container engine are replaced by ones that only write down how they were called.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
};

use amplify_devcluster::{Cluster, Options, tools};
use amplify_testkit::stage::World;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, Service},
};
use kube::Api;
use tokio::process::Command;

use crate::container::{output, repository};

amplify_testkit::tests! {
    make_kind_loads_both_images_and_installs_the_operator_beside_the_simulated_aws,
    make_kind_says_what_is_missing,
}

/// Writes a program that notes its arguments and then does this.
fn program(folder: &Path, name: &str, does: &str) {
    let path = folder.join(name);
    let text = format!("#!/bin/bash\necho \"{name} $*\" >>\"$CALLS\"\n{does}\n");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a file");
}

/// Calls the real program without the context of the cluster that is not there, and without waiting for pods that
/// nothing runs.
fn forwarding(real: &Path) -> String {
    format!(
        r#"arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --context|--kube-context) [ "$2" = kind-amplify-operator ] || exit 3; shift ;;
    --wait) ;;
    rollout|wait) exit 0 ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
exec "{}" "${{arguments[@]}}""#,
        real.display()
    )
}

async fn make_kind_loads_both_images_and_installs_the_operator_beside_the_simulated_aws(_: Arc<World>) {
    let cluster = Cluster::start(Options::default()).await.expect("a dev cluster");
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("calls");
    program(folder.path(), "kind", "");
    program(
        folder.path(),
        "engine",
        "case $1 in inspect) echo sha256:abc ;; save) : >\"$3\" ;; esac",
    );
    let kubectl = tools::kubectl().await.expect("kubectl");
    program(folder.path(), "kubectl", &forwarding(&kubectl));
    let helm = tools::helm().await.expect("helm");
    program(folder.path(), "helm", &forwarding(&helm));
    let path = std::env::var("PATH").expect("a path");
    let mut script = Command::new(repository().join("tools/kind.sh"));
    script
        .env("PATH", format!("{}:{path}", folder.path().display()))
        .env("ENGINE", folder.path().join("engine"))
        .env("CALLS", &log)
        .env("KUBECONFIG", cluster.kubeconfig_path());
    let said = output(&mut script).await;
    assert!(said.contains("kind delete cluster --name amplify-operator"), "{said}");

    let loaded = loaded(&fs::read_to_string(log).expect("calls"));
    let simulator = container(&cluster, "amplify-simulator", "amplify-simulator").await;
    let operator = container(&cluster, "amplify-operator-system", "amplify-operator").await;
    for container in [&simulator, &operator] {
        let image = container.image.as_deref().expect("an image");
        assert!(
            loaded.iter().any(|loaded| loaded == image),
            "{image} is not loaded: {loaded:?}"
        );
        assert_eq!(container.image_pull_policy.as_deref(), Some("Never"), "{image}");
    }
    the_operators_aws_is_the_simulator(&cluster, &simulator, &operator).await;
    let mut get = Command::new(kubectl);
    get.args(["get", "amplify", "--output=jsonpath={.items[*].spec.appId}"])
        .env("KUBECONFIG", cluster.kubeconfig_path());
    for app in output(&mut get).await.split_whitespace() {
        let flags = simulator.args.as_deref().unwrap_or_default();
        let is_app = |flag: &String| flag.starts_with(&format!("--app={app}="));
        assert!(flags.iter().any(is_app), "{app} of the samples: {flags:?}");
    }
    cluster.stop().await.expect("it ends");
}

/// Checks the calls of kind and the engine, and returns the names of the images that were built and loaded.
fn loaded(calls: &str) -> Vec<String> {
    let of = |program: &str| -> Vec<&str> { calls.lines().filter(|call| call.starts_with(program)).collect() };
    let kind = of("kind ");
    assert_eq!(kind[0], "kind get clusters");
    assert_eq!(kind[1], "kind create cluster --name amplify-operator --wait 3m");
    for image in ["operator", "simulator"] {
        let is_loading = |call: &&str| {
            call.starts_with("kind load image-archive")
                && call.ends_with(&format!("/{image}.tar --name amplify-operator"))
        };
        assert!(kind.iter().any(is_loading), "{image}: {kind:?}");
    }
    let saved = of("engine save").into_iter();
    let saved: Vec<_> = saved.filter_map(|call| call.split(' ').next_back()).collect();
    let built = of("engine build").into_iter();
    let built: Vec<_> = built
        .filter_map(|call| call.split(" --tag ").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(saved, built);
    saved.into_iter().map(ToOwned::to_owned).collect()
}

/// Returns the container of a deployment.
async fn container(cluster: &Cluster, namespace: &str, name: &str) -> Container {
    let client = cluster.client().await.expect("a client");
    let deployment = Api::<Deployment>::namespaced(client, namespace).get(name).await;
    let pod = deployment
        .expect("a deployment")
        .spec
        .and_then(|spec| spec.template.spec);
    pod.expect("a pod").containers.into_iter().next().expect("a container")
}

async fn the_operators_aws_is_the_simulator(cluster: &Cluster, simulator: &Container, operator: &Container) {
    let client = cluster.client().await.expect("a client");
    let service = Api::<Service>::namespaced(client, "amplify-simulator")
        .get("amplify-simulator")
        .await;
    let ports = service.expect("a service").spec.and_then(|spec| spec.ports);
    assert_eq!(ports.expect("ports")[0].port, 80);
    let port = simulator.ports.as_deref().expect("ports")[0].container_port;
    let flags = simulator.args.as_deref().unwrap_or_default();
    assert!(flags.contains(&format!("--listen=0.0.0.0:{port}")), "{flags:?}");
    let variables = operator.env.as_deref().unwrap_or_default();
    let endpoint = variables.iter().find(|variable| variable.name == "AWS_ENDPOINT_URL");
    let endpoint = endpoint.and_then(|variable| variable.value.as_deref());
    assert_eq!(endpoint, Some("http://amplify-simulator.amplify-simulator.svc"));
}

async fn make_kind_says_what_is_missing(_: Arc<World>) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["bash", "env", "dirname"] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
        let found = found
            .iter()
            .find(|path| path.exists())
            .expect("a program of every system");
        std::os::unix::fs::symlink(found, folder.path().join(name)).expect("a link");
    }
    let run = Command::new(repository().join("tools/kind.sh"))
        .env("PATH", folder.path())
        .output()
        .await
        .expect("it runs");
    let errors = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success(), "{errors}");
    assert!(
        errors.contains("kind is needed: go install sigs.k8s.io/kind@"),
        "{errors}"
    );
}
