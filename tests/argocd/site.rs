//! Argo CD as three processes, and the Application of one test.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use amplify_devcluster::{
    debian, packages,
    process::{self, Process},
    tools::{self, Tool},
};
use amplify_testkit::{
    example::FOLDER,
    git::Git,
    stage::{Kind, Setup, Stage, World, condition, operator_binary, wait_for, wait_until_established, wait_until_gone},
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// The namespace of Argo CD and its Applications.
const NAMESPACE: &str = "argocd";

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The processes of Argo CD, until dropped.
pub(crate) struct Argocd {
    _controller: Process,
    _repo_server: Process,
    _redis: Process,
    _dir: TempDir,
}

impl Argocd {
    /// Installs Argo CD's definitions and settings, with the health check, and starts its processes.
    pub(crate) async fn start(world: &World) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        install(world, &dir).await;
        let redis_address = free_address();
        let redis = start_redis(&dir, redis_address).await;
        let repo_address = free_address();
        let redis_flag = format!("--redis={redis_address}");
        let port = format!("--port={}", repo_address.port());
        let metrics_port = || format!("--metrics-port={}", free_address().port());
        let arguments = [
            "--address=127.0.0.1",
            "--metrics-address=127.0.0.1",
            &redis_flag,
            &port,
            &metrics_port(),
        ];
        let repo_server = component("argocd-repo-server", &arguments, world, &dir).await;
        let repo_flag = format!("--repo-server={repo_address}");
        let arguments = [
            "--namespace=argocd",
            &redis_flag,
            &repo_flag,
            &metrics_port(),
            "--operation-processors=40",
        ];
        let controller = component("argocd-application-controller", &arguments, world, &dir).await;
        Self {
            _controller: controller,
            _repo_server: repo_server,
            _redis: redis,
            _dir: dir,
        }
    }
}

/// Returns an address that is free when it is asked for: no part of Argo CD can take a port that is already open.
fn free_address() -> SocketAddr {
    let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    address.expect("a port")
}

async fn kubectl(world: &World, home: &Path, arguments: &[&str]) -> String {
    as_admin(&tools::kubectl().await.expect("kubectl"), world, home, arguments).await
}

async fn as_admin(program: &Path, world: &World, home: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .env("KUBECONFIG", &world.admin)
        .env("HOME", home)
        .output()
        .await
        .expect("it runs");
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn install(world: &World, dir: &TempDir) {
    let source = packages::source(Tool::Argocd).await.expect("the source of Argo CD");
    let run = async |arguments: &[&str]| kubectl(world, dir.path(), arguments).await;
    let manifests = |folder: &str| source.join("manifests").join(folder).display().to_string();
    let apply = ["apply", "--server-side", "-k"];
    run(&[&apply[..], &[&manifests("crds")]].concat()).await;
    wait_until_established(&world.client).await;
    run(&["create", "namespace", NAMESPACE]).await;
    run(&[&apply[..], &[&manifests("base/config"), "--namespace", NAMESPACE]].concat()).await;
    // As docs/gitops.md says.
    let check = "deploy/argocd/argocd-cm.yaml";
    run(&[
        "patch",
        "configmap",
        "argocd-cm",
        "--namespace",
        NAMESPACE,
        "--patch-file",
        check,
    ])
    .await;
    // Argo CD's API server, which does not run here, makes this project.
    let project = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
        "metadata": { "name": "default", "namespace": NAMESPACE },
        "spec": {
            "sourceRepos": ["*"],
            "destinations": [{ "server": "*", "namespace": "*" }],
            "clusterResourceWhitelist": [{ "group": "*", "kind": "*" }],
        },
    });
    let path = dir.path().join("project.json");
    fs::write(&path, project.to_string()).expect("a file");
    run(&["apply", "-f", &path.display().to_string()]).await;
}

async fn start_redis(dir: &TempDir, address: SocketAddr) -> Process {
    let mut command = process::command(&debian::redis_server().await.expect("redis-server"));
    command
        .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .current_dir(dir.path());
    let mut redis = Process::spawn("redis-server", command, log(dir, "redis-server"))
        .await
        .expect("it starts");
    redis
        .ready(async || tokio::net::TcpStream::connect(address).await.is_ok())
        .await
        .expect("redis-server listens");
    redis
}

fn log(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(format!("{name}.log"))
}

/// Starts a part of Argo CD. It finds kustomize, git and its own helper programs on PATH.
async fn component(name: &str, arguments: &[&str], world: &World, dir: &TempDir) -> Process {
    let bin = dir.path().join("bin");
    if !bin.exists() {
        fs::create_dir(&bin).expect("a folder");
        let program = tools::find(Tool::Argocd).await.expect("Argo CD");
        for name in ["argocd-repo-server", "argocd-application-controller", "argocd"] {
            symlink(&program, bin.join(name)).expect("a link");
        }
        let kustomize = tools::find(Tool::Kustomize).await.expect("kustomize");
        symlink(kustomize, bin.join("kustomize")).expect("a link");
        let source = packages::source(Tool::Argocd).await.expect("the source of Argo CD");
        let wrapper = bin.join("git-verify-wrapper.sh");
        // Files in Go's cache are not executable.
        fs::copy(source.join("hack/git-verify-wrapper.sh"), &wrapper).expect("a file");
        fs::set_permissions(wrapper, fs::Permissions::from_mode(0o755)).expect("a file");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin.clone()].into_iter().chain(env::split_paths(&path))).expect("a PATH");
    let folder = |name: &str| {
        let folder = dir.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    let mut command = process::command(&bin.join(name));
    command
        .args(arguments)
        .args(["--loglevel=info", "--logformat=text"])
        .env_clear()
        .env("PATH", path)
        .env("KUBECONFIG", &world.admin)
        .env("HOME", folder("home"))
        .env("TMPDIR", folder("tmp"))
        .env("HOSTNAME", "argocd-application-controller-0")
        .env("ARGOCD_BINARY_NAME", name)
        .env("ARGOCD_FAKE_IN_CLUSTER", "true")
        .env("ARGOCD_CONTROLLER_REPLICAS", "1")
        .env("ARGOCD_GPG_ENABLED", "false")
        .env("ARGOCD_TLS_DATA_PATH", folder("tls"))
        .env("ARGOCD_SSH_DATA_PATH", folder("ssh"))
        .env("ARGOCD_GPG_DATA_PATH", folder("gpg"))
        .env("ARGOCD_APP_CONF_PATH", folder("config"))
        .env("ARGOCD_PLUGINSOCKFILEPATH", folder("plugins"))
        .env("ARGOCD_ASK_PASS_SOCK", dir.path().join("ask-pass.sock"))
        .current_dir(dir.path());
    Process::spawn(name, command, log(dir, name)).await.expect("it starts")
}

/// The place of a test: a stage, and a Git repository from which Argo CD applies to the stage's namespace.
pub(crate) struct Site {
    pub(crate) stage: Stage,
    pub(crate) git: Git,
    /// The name of the Application.
    pub(crate) name: String,
}

impl Site {
    /// Returns a site with the example in Git.
    pub(crate) async fn new(world: Arc<World>) -> Self {
        Self::with(world, Setup::default()).await
    }

    pub(crate) async fn with(world: Arc<World>, mut setup: Setup) -> Self {
        setup.flags.push("--max-job-attempts=1");
        let stage = Stage::with(world, setup).await;
        let git = Git::new().await;
        git.copy(&root().join(FOLDER), FOLDER);
        let name = stage.namespace.clone();
        Self { stage, git, name }
    }

    /// Returns the path of a file of the example.
    pub(crate) fn file(name: &str) -> String {
        format!("{FOLDER}/{name}")
    }

    pub(crate) fn api(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "argoproj.io".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "argoproj.io/v1alpha1".to_owned(),
            kind: "Application".to_owned(),
            plural: "applications".to_owned(),
        };
        Api::namespaced_with(self.stage.world.client.clone(), NAMESPACE, &resource)
    }

    /// Commits, and creates the shipped Application with these changes. Returns the commit.
    pub(crate) async fn deploy(&self, changes: &Value) -> String {
        self.deploy_as(&self.name, changes).await
    }

    pub(crate) async fn deploy_as(&self, name: &str, changes: &Value) -> String {
        let commit = self.git.commit("The example").await;
        let yaml = fs::read_to_string(root().join("deploy/argocd/application.yaml")).expect("an Application");
        let mut application: Value = serde_saphyr::from_str(&yaml).expect("YAML");
        application["metadata"]["name"] = json!(name);
        application["spec"]["source"]["repoURL"] = json!(self.git.url());
        application["spec"]["destination"]["namespace"] = json!(self.stage.namespace);
        json_patch::merge(&mut application, changes);
        let applied = self
            .api()
            .patch(name, &PatchParams::apply("test").force(), &Patch::Apply(application))
            .await;
        applied.expect("the Application is accepted");
        commit
    }

    /// Commits the work tree and has Argo CD look. Returns the commit.
    pub(crate) async fn push(&self, subject: &str) -> String {
        let commit = self.git.commit(subject).await;
        self.refresh(&self.name).await;
        commit
    }

    /// Takes back the last commit and has Argo CD look. Returns the new commit.
    pub(crate) async fn revert(&self) -> String {
        let commit = self.git.revert().await;
        self.refresh(&self.name).await;
        commit
    }

    /// Has Argo CD look at Git now, as its web hook does.
    pub(crate) async fn refresh(&self, name: &str) {
        self.patch(
            name,
            &json!({ "metadata": { "annotations": { "argocd.argoproj.io/refresh": "normal" } } }),
        )
        .await;
    }

    pub(crate) async fn patch(&self, name: &str, patch: &Value) {
        let patched = self
            .api()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.expect("the patch is accepted");
    }

    /// Waits until the Application is like this.
    pub(crate) async fn wait(&self, what: &str, is: impl Fn(&Value) -> bool + Send + Sync) -> Value {
        wait_for(self.api(), &self.name, what, is).await
    }

    /// Waits until Argo CD has applied this commit and says this health.
    pub(crate) async fn wait_until(&self, commit: &str, health: &str) -> Value {
        let what = format!("{health} at {commit}");
        self.wait(&what, |application| {
            let status = &application["status"];
            is_synced(application, commit) && status["health"]["status"] == health
        })
        .await
    }

    /// Waits until Argo CD has applied this commit and everything in it is Healthy.
    pub(crate) async fn wait_until_healthy(&self, commit: &str) -> Value {
        self.wait_until(commit, "Healthy").await
    }

    /// Has Argo CD compare, and returns the Application after that.
    pub(crate) async fn compared(&self) -> Value {
        self.refresh(&self.name).await;
        self.wait("compared", |application| {
            application["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_null()
        })
        .await
    }

    pub(crate) async fn delete(&self, name: &str) {
        let deleted = self.api().delete(name, &DeleteParams::default()).await;
        deleted.expect("the delete is accepted");
    }

    pub(crate) async fn wait_until_gone(&self, name: &str) {
        wait_until_gone(self.api(), name).await;
    }

    /// Asserts that these resources of the example are Ready now.
    pub(crate) async fn assert_ready(&self, resources: &[(Kind, &str)]) {
        for (kind, name) in resources {
            let object = self.stage.get(*kind, name).await;
            assert_eq!(
                condition(&object, "Ready")["status"],
                "True",
                "Argo CD did not wait: {object:#}"
            );
            assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
        }
    }

    /// Runs kubectl as admin in the stage's namespace, and returns its output.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [arguments, &["--namespace", &self.stage.namespace]].concat();
        kubectl(&self.stage.world, self.stage.dir.path(), &arguments).await
    }

    /// Runs a command for people as admin in the stage's namespace, and returns its output.
    pub(crate) async fn amplify(&self, arguments: &[&str]) -> String {
        let arguments = [arguments, &["--namespace", &self.stage.namespace]].concat();
        let program = operator_binary();
        as_admin(program.as_ref(), &self.stage.world, self.stage.dir.path(), &arguments).await
    }
}

/// Whether the cluster has what this commit says, as Argo CD sees it, and no sync is under way.
pub(crate) fn is_synced(application: &Value, commit: &str) -> bool {
    let status = &application["status"];
    status["sync"]["status"] == "Synced"
        && status["sync"]["revision"] == commit
        && status["operationState"]["phase"] == "Succeeded"
}

/// Returns the message of the last or current sync.
pub(crate) fn operation(application: &Value) -> (&str, &str) {
    let state = &application["status"]["operationState"];
    let text = |field: &str| state[field].as_str().unwrap_or_default();
    (text("phase"), text("message"))
}
