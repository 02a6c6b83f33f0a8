//! The real kubectl, with the demo's cluster and without the user's own settings.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use amplify_devcluster::Cluster;
use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

/// A kubectl with a home folder of its own.
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    // Holds its caches, and no kuberc of the user.
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

    /// Runs kubectl and returns its output.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with_input(arguments, "").await
    }

    /// Runs `kubectl apply -f -` with this text.
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
            // kubectl reads all of its input before it prints. If it ends early, its own output gives the reason.
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
