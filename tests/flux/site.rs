//! Flux as two processes, and the objects of one test.

use std::{fs, net::TcpListener, path::Path, sync::Arc};

use amplify_devcluster::{
    packages,
    process::{self, Process},
    tools::{self, Tool},
};
use amplify_testkit::{
    example::FOLDER,
    git::Git,
    stage::{
        Followed, Kind, Setup, Stage, World, condition, follow, operator_binary, wait_for, wait_until_established,
        wait_until_gone,
    },
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// The file with the objects of Flux.
const SHIPPED: &str = "deploy/flux/kustomization.yaml";
/// The name of the objects in that file, and of the Kustomization of each test.
pub(crate) const NAME: &str = "storefront";

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The controllers of Flux, until dropped.
pub(crate) struct Flux {
    _source_controller: Process,
    _kustomize_controller: Process,
    _dir: TempDir,
}

impl Flux {
    /// Installs Flux's definitions and starts its controllers.
    pub(crate) async fn start(world: &World) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let kubectl = tools::kubectl().await.expect("kubectl");
        for tool in [Tool::SourceController, Tool::KustomizeController] {
            let source = packages::source(tool).await.expect("the source of Flux");
            let definitions = source.join("config/crd/bases");
            let applied = Command::new(&kubectl)
                .args(["apply", "--server-side", "-f"])
                .arg(&definitions)
                .env("KUBECONFIG", &world.admin)
                .env("HOME", dir.path())
                .output()
                .await
                .expect("kubectl runs");
            assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        }
        wait_until_established(&world.client).await;
        // The port is free when it is asked for. Flux cannot take one that is already open.
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let address = address.expect("a port").to_string();
        let storage = dir.path().join("storage");
        fs::create_dir(&storage).expect("a folder");
        let storage = format!("--storage-path={}", storage.display());
        let here = format!("--storage-addr={address}");
        let there = format!("--storage-adv-addr={address}");
        let source = [storage.as_str(), &here, &there, "--concurrent=10"];
        // A Kustomization that waits occupies a worker.
        let kustomize = [
            "--concurrent=40",
            "--requeue-dependency=1s",
            // As docs/gitops.md says.
            "--feature-gates=CancelHealthCheckOnNewRevision=true",
        ];
        Self {
            _source_controller: controller(Tool::SourceController, &source, world, &dir).await,
            _kustomize_controller: controller(Tool::KustomizeController, &kustomize, world, &dir).await,
            _dir: dir,
        }
    }
}

async fn controller(tool: Tool, arguments: &[&str], world: &World, dir: &TempDir) -> Process {
    let program = tools::find(tool).await.expect("a controller of Flux");
    let mut command = process::command(&program);
    command
        .args(arguments)
        .args(["--metrics-addr=0", "--health-addr=0", "--log-level=info"])
        .args(["--kube-api-qps=500", "--kube-api-burst=1000"])
        .env_clear()
        .env("KUBECONFIG", &world.admin)
        .env("RUNTIME_NAMESPACE", "default")
        .env("HOME", dir.path())
        .env("TMPDIR", dir.path())
        .current_dir(dir.path());
    let log = dir.path().join(format!("{}.log", tool.name()));
    Process::spawn(tool.name(), command, log).await.expect("it starts")
}

/// Returns an API of the namespace for a kind of Flux.
pub(crate) fn flux_api(world: &World, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, plural) = match kind {
        "GitRepository" => ("source.toolkit.fluxcd.io", "gitrepositories"),
        "Kustomization" => ("kustomize.toolkit.fluxcd.io", "kustomizations"),
        other => panic!("{other} is not used here"),
    };
    let resource = ApiResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        api_version: format!("{group}/v1"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(world.client.clone(), namespace, &resource)
}

/// The place of a test: a stage, and a Git repository from which Flux applies to the stage's namespace.
pub(crate) struct Site {
    pub(crate) stage: Stage,
    pub(crate) git: Git,
}

impl Site {
    /// Returns a site with the example in Git.
    pub(crate) async fn new(world: Arc<World>) -> Self {
        Self::with(world, Setup::default()).await
    }

    pub(crate) async fn with(world: Arc<World>, mut setup: Setup) -> Self {
        setup.flags.push("--max-job-attempts=1");
        let site = Self {
            stage: Stage::with(world, setup).await,
            git: Git::new().await,
        };
        site.git.copy(&root().join(FOLDER), FOLDER);
        site
    }

    /// Returns the path of a file of the example.
    pub(crate) fn file(name: &str) -> String {
        format!("{FOLDER}/{name}")
    }

    /// Commits, and applies the shipped objects of Flux with these changes to the Kustomization. Returns the commit.
    pub(crate) async fn deploy(&self, changes: &Value) -> String {
        let commit = self.git.commit("The example").await;
        let yaml = fs::read_to_string(root().join(SHIPPED)).expect("the objects of Flux");
        let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("YAML");
        for mut object in objects {
            match object["kind"].as_str() {
                // The stage has made its namespace.
                Some("Namespace") => continue,
                Some("GitRepository") => object["spec"]["url"] = json!(self.git.url()),
                Some("Kustomization") => {
                    object["spec"]["targetNamespace"] = json!(self.stage.namespace);
                    json_patch::merge(&mut object, changes);
                }
                other => panic!("{SHIPPED} has a {other:?}"),
            }
            self.put(object).await;
        }
        commit
    }

    /// Applies an object of Flux, in the stage's first namespace.
    pub(crate) async fn put(&self, mut object: Value) {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        object["metadata"]["namespace"] = json!(self.stage.namespaces[0]);
        let applied = self
            .api(&kind)
            .patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(object))
            .await;
        applied.expect("the object is accepted");
    }

    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        flux_api(&self.stage.world, &self.stage.namespaces[0], kind)
    }

    /// Commits the work tree and has Flux fetch it. Returns the commit.
    pub(crate) async fn push(&self, subject: &str) -> String {
        let commit = self.git.commit(subject).await;
        self.fetch(&commit).await;
        commit
    }

    /// Takes back the last commit and has Flux fetch that. Returns the new commit.
    pub(crate) async fn revert(&self) -> String {
        let commit = self.git.revert().await;
        self.fetch(&commit).await;
        commit
    }

    /// Has Flux fetch this commit, as `flux reconcile source git` does.
    async fn fetch(&self, commit: &str) {
        self.request("GitRepository", NAME).await;
        let fetched = |object: &Value| has_commit(&object["status"]["artifact"]["revision"], commit);
        wait_for(self.api("GitRepository"), NAME, "fetched", fetched).await;
    }

    /// Has Flux reconcile an object now, as `flux reconcile` does, and waits until it has begun.
    pub(crate) async fn request(&self, kind: &str, name: &str) -> String {
        let value = jiff::Timestamp::now().to_string();
        let patch = json!({ "metadata": { "annotations": { "reconcile.fluxcd.io/requestedAt": value } } });
        let patched = self
            .api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.expect("the annotation is accepted");
        value
    }

    /// Has Flux apply the same commit again, and waits until it is done and Ready.
    pub(crate) async fn reconcile(&self) -> Value {
        let value = self.request("Kustomization", NAME).await;
        let done =
            |object: &Value| object["status"]["lastHandledReconcileAt"] == value.as_str() && is_true(object, "Ready");
        wait_for(self.api("Kustomization"), NAME, "reconciled", done).await
    }

    /// Waits until Flux says that this commit is applied and everything in it is done.
    pub(crate) async fn wait_until_applied(&self, commit: &str) -> Value {
        self.wait_until_applied_as(NAME, commit).await
    }

    pub(crate) async fn wait_until_applied_as(&self, name: &str, commit: &str) -> Value {
        let applied = |object: &Value| {
            has_commit(&object["status"]["lastAppliedRevision"], commit)
                && is_true(object, "Ready")
                && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        };
        wait_for(self.api("Kustomization"), name, &format!("at {commit}"), applied).await
    }

    /// Waits until Flux says that this commit failed for this reason, and returns its message.
    pub(crate) async fn wait_until_failed(&self, commit: &str, reason: &str) -> String {
        let failed = |object: &Value| {
            has_commit(&object["status"]["lastAttemptedRevision"], commit)
                && condition(object, "Ready")["status"] == "False"
                && condition(object, "Ready")["reason"] == reason
        };
        let object = wait_for(
            self.api("Kustomization"),
            NAME,
            &format!("{reason} at {commit}"),
            failed,
        )
        .await;
        let message = condition(&object, "Ready")["message"].as_str();
        message.unwrap_or_default().to_owned()
    }

    /// Waits until Flux waits for the resources of this commit.
    pub(crate) async fn wait_until_waiting(&self, commit: &str) {
        let waiting = |object: &Value| {
            let healthy = condition(object, "Healthy");
            let message = healthy["message"].as_str().unwrap_or_default();
            healthy["status"] == "Unknown" && message.contains(commit)
        };
        wait_for(self.api("Kustomization"), NAME, "waiting for health", waiting).await;
    }

    /// Records the versions of the Kustomization.
    pub(crate) async fn follow(&self) -> Followed {
        follow(self.api("Kustomization"), NAME).await
    }

    pub(crate) async fn delete(&self, name: &str) {
        let deleted = self.api("Kustomization").delete(name, &DeleteParams::default()).await;
        deleted.expect("the delete is accepted");
    }

    /// Waits until the Kustomization is gone.
    pub(crate) async fn wait_until_gone(&self, name: &str) {
        wait_until_gone(self.api("Kustomization"), name).await;
    }

    /// Asserts that these resources of the example are Ready now.
    pub(crate) async fn assert_ready(&self, resources: &[(Kind, &str)]) {
        for (kind, name) in resources {
            let object = self.stage.get(*kind, name).await;
            assert!(is_true(&object, "Ready"), "Flux did not wait: {object:#}");
            assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
        }
    }

    /// Runs kubectl as admin in the stage's namespace, and returns its output.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.as_admin(&tools::kubectl().await.expect("kubectl"), arguments)
            .await
    }

    /// Runs a command for people as admin in the stage's namespace, and returns its output.
    pub(crate) async fn amplify(&self, arguments: &[&str]) -> String {
        self.as_admin(operator_binary().as_ref(), arguments).await
    }

    async fn as_admin(&self, program: &Path, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .args(["--namespace", &self.stage.namespace])
            .current_dir(root())
            .env("KUBECONFIG", &self.stage.world.admin)
            .env("HOME", self.stage.dir.path())
            .output()
            .await
            .expect("kubectl runs");
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Whether a revision of Flux (`main@sha1:…`) is this commit.
fn has_commit(revision: &Value, commit: &str) -> bool {
    revision.as_str().is_some_and(|revision| revision.ends_with(commit))
}

fn is_true(object: &Value, type_: &str) -> bool {
    condition(object, type_)["status"] == "True"
}

/// Returns the reasons for which the Kustomization has been not Ready, without consecutive repetitions.
pub(crate) fn failures(followed: &Followed) -> Vec<String> {
    let versions = followed.versions();
    let mut failures: Vec<_> = versions
        .iter()
        .map(|object| condition(object, "Ready"))
        .filter(|ready| ready["status"] == "False")
        .map(|ready| format!("{}: {}", ready["reason"], ready["message"]))
        .collect();
    failures.dedup();
    failures
}
