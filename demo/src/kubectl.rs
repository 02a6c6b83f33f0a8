//! The real kubectl, with the demo's cluster and none of the person's own settings.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use amplify_devcluster::Cluster;
use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// Runs kubectl.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    // Its caches, and no kuberc of the person's.
    home: TempDir,
}

impl Kubectl {
    pub(crate) fn new(program: PathBuf, cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            program,
            kubeconfig: cluster.kubeconfig_path(),
            home: tempfile::tempdir().context("cannot make a temporary folder")?,
        })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What it prints.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with_input(arguments, "").await
    }

    /// `kubectl apply -f -`
    pub(crate) async fn apply_text(&self, yaml: &str) -> Result<String> {
        self.run_with_input(&["apply", "-f", "-"], yaml).await
    }

    async fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let what = || format!("kubectl {}", arguments.join(" "));
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(what)?;
        if let Some(mut stdin) = child.stdin.take() {
            // It reads all of its input before it prints anything. One that ends early says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.with_context(what)?;
        ensure!(
            output.status.success(),
            "{}: {}",
            what(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
