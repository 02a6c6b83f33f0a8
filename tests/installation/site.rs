//! The environment of the tests: the cluster, the tools, and the installed chart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use amplify_devcluster::{Cluster, audit::AuditLog, tools};
use amplify_operator::api;
use anyhow::{Context as _, Result, anyhow, ensure};
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::history::Operated;

/// The chart in the repository.
pub(crate) const CHART: &str = "charts/amplify-operator";
/// A release of the chart, with a name that differs from the chart's.
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    /// The name of its objects.
    pub(crate) full_name: &'static str,
    /// The namespace in which its operator works.
    pub(crate) shop: &'static str,
}
/// A release with almost only default values. It installs the definitions.
pub(crate) const PLATFORM: Release = Release {
    name: "platform",
    namespace: "amplify-system",
    full_name: "platform-amplify-operator",
    shop: "shop",
};
/// A release that runs after PLATFORM, because two operators never watch the same namespace. It has two replicas, Roles
/// in the one namespace that it watches, and an account for that namespace.
pub(crate) const TENANTS: Release = Release {
    name: "tenants",
    namespace: "amplify-tenants",
    full_name: "tenants-amplify-operator",
    shop: "bakery",
};
/// A release beside TENANTS, with a namespace that is deleted together with its Role.
pub(crate) const LEAVING: Release = Release {
    name: "leaving",
    namespace: "amplify-leaving",
    full_name: "leaving-amplify-operator",
    shop: "kiosk",
};
/// Differs from the simulator's usual region, so that only the chart can have set it.
pub(crate) const REGION: &str = "eu-central-1";
/// The namespace for the checks of manifests. Nothing reconciles there: stored resources are suspended.
pub(crate) const MANIFESTS: &str = "manifests";
/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

const POLL: Duration = Duration::from_millis(50);

pub(crate) struct Site {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) client: Client,
    pub(crate) audit: AuditLog,
    helm: PathBuf,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    kubeconfig_for: Box<dyn Fn(&str) -> String + Send + Sync>,
    dir: TempDir,
    installed: OnceLock<Result<(), String>>,
    /// Locked for reading by tests that need the release, and for writing by tests that replace it.
    release: RwLock<()>,
    pub(crate) platform: OnceLock<Result<Operated, String>>,
    pub(crate) tenants: OnceLock<Result<Operated, String>>,
}

impl Site {
    pub(crate) fn new(runtime: Arc<Runtime>, cluster: &Cluster) -> Result<Self> {
        let template = cluster.kubeconfig_for("TOKEN-GOES-HERE");
        Ok(Self {
            client: runtime.block_on(cluster.client())?,
            audit: cluster.audit(),
            helm: runtime.block_on(tools::helm())?,
            kubectl: runtime.block_on(tools::kubectl())?,
            kubeconfig: cluster.kubeconfig_path(),
            kubeconfig_for: Box::new(move |token| template.replace("TOKEN-GOES-HERE", token)),
            // The policy scanner ignores hidden folders, so the name has no leading dot.
            dir: tempfile::Builder::new().prefix("installation-").tempdir()?,
            installed: OnceLock::new(),
            release: RwLock::new(()),
            platform: OnceLock::new(),
            tenants: OnceLock::new(),
            runtime,
        })
    }

    /// Returns a folder that is removed after the tests.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn kubeconfig_for(&self, token: &str) -> String {
        (self.kubeconfig_for)(token)
    }

    /// Installs the chart if it is not installed yet. The release is not replaced until the guard is dropped.
    pub(crate) fn installed(&self) -> Result<RwLockReadGuard<'_, ()>> {
        self.install_once()?;
        self.release.read().map_err(poisoned)
    }

    /// Does the same as `installed`, for a test that replaces the release.
    pub(crate) fn installed_alone(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        self.install_once()?;
        self.release.write().map_err(poisoned)
    }

    /// Installs the chart if it is not installed yet. This is enough for tests that need only its definitions, which
    /// stay.
    pub(crate) fn install_once(&self) -> Result<()> {
        self.installed
            .get_or_init(|| self.install().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!("the chart is not installed: {error}"))
    }

    fn install(&self) -> Result<()> {
        self.kubectl(&["create", "namespace", MANIFESTS])?;
        self.create_restricted(PLATFORM.namespace)?;
        self.helm_install(&[])
    }

    /// Creates a namespace that admits only pods without any privilege.
    pub(crate) fn create_restricted(&self, namespace: &str) -> Result<()> {
        self.kubectl(&["create", "namespace", namespace])?;
        let label = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["label", "namespace", namespace, label])?;
        Ok(())
    }

    /// Installs another release beside the first, with these additional values. It watches one namespace.
    pub(crate) fn install_beside(&self, release: &Release, values: &Value) -> Result<()> {
        self.install_once()?;
        let Release {
            name, namespace, shop, ..
        } = release;
        self.create_restricted(namespace)?;
        self.kubectl(&["create", "namespace", shop])?;
        let mut all = json!({
            "crds": { "install": false },
            "rbac": { "namespaced": true },
            "settings": { "watchNamespaces": [shop] },
            "aws": { "region": REGION },
        });
        json_patch::merge(&mut all, values);
        let values = self.values(&format!("{name}.json"), &all)?;
        self.helm(&["install", name, CHART, "--namespace", namespace, "--values", &values])?;
        Ok(())
    }

    /// Runs `helm install` with the chart in the repository, and waits until the API server serves its kinds.
    pub(crate) fn helm_install(&self, flags: &[&str]) -> Result<()> {
        let region = format!("aws.region={REGION}");
        let Release { name, namespace, .. } = PLATFORM;
        let set = ["--set", &region, "--set", "rbac.aggregate=true"];
        let install = ["install", name, CHART, "--namespace", namespace];
        self.helm(&[&install[..], &set, flags].concat())?;
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=150s"];
        let crds: Vec<_> = api::crds()
            .into_iter()
            .filter_map(|crd| Some(format!("crd/{}", crd.metadata.name?)))
            .collect();
        wait.extend(crds.iter().map(String::as_str));
        self.kubectl(&wait)?;
        Ok(())
    }

    /// Writes a file of values for helm and returns its path.
    pub(crate) fn values(&self, name: &str, values: &Value) -> Result<String> {
        let path = self.dir().join(name);
        fs::write(&path, values.to_string())?;
        Ok(path.display().to_string())
    }

    /// Runs helm and returns its output.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.run(&self.helm, arguments).map(|(out, _)| out)
    }

    /// Runs kubectl as admin and returns its output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run(&self.kubectl, arguments).map(|(out, _)| out)
    }

    /// Runs kubectl as admin and returns its output and its warnings.
    pub(crate) fn kubectl_with_warnings(&self, arguments: &[&str]) -> Result<(String, String)> {
        self.run(&self.kubectl, arguments)
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Result<(String, String)> {
        let home = self.dir.path().join("home");
        fs::create_dir_all(&home)?;
        let Output { status, stdout, stderr } = Command::new(program)
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // Excludes the user's settings, and kubectl's cache about another cluster that once had this address.
            .env("HOME", &home)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", home.join("kube"))
            .env("HELM_CACHE_HOME", home.join("helm/cache"))
            .env("HELM_CONFIG_HOME", home.join("helm/config"))
            .env("HELM_DATA_HOME", home.join("helm/data"))
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let name = program.file_name().unwrap_or_default().display();
        ensure!(status.success(), "{name} {}: {stderr}", arguments.join(" "));
        Ok((String::from_utf8_lossy(&stdout).into_owned(), stderr))
    }

    /// Waits until the probe returns an answer.
    pub(crate) fn eventually<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
        let begin = Instant::now();
        self.runtime.block_on(async {
            loop {
                if let Some(answer) = probe().await? {
                    return Ok(answer);
                }
                ensure!(begin.elapsed() < PATIENCE, "still not after {PATIENCE:?}: {what}");
                tokio::time::sleep(POLL).await;
            }
        })
    }
}

fn poisoned<T>(_: std::sync::PoisonError<T>) -> anyhow::Error {
    anyhow!("another test failed while it replaced the release")
}
