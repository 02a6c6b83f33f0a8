//! The image, built once for all tests, and operators that run in it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use amplify_devcluster::debian;
use amplify_testkit::stage::{Setup, Stage, World};
use tempfile::TempDir;
use tokio::{process::Command, sync::OnceCell};

pub(crate) const PROGRAM: &str = "/usr/local/bin/amplify-operator";
pub(crate) const NAME: &str = "localhost/amplify-operator:test";
/// The folder of the kubeconfig in the container.
const SETTINGS: &str = "/etc/amplify-operator";

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns podman, when it has the image.
pub(crate) async fn podman() -> PathBuf {
    static PODMAN: OnceCell<PathBuf> = OnceCell::const_new();
    PODMAN.get_or_init(build).await.clone()
}

async fn build() -> PathBuf {
    let podman = debian::podman().await.expect("podman");
    // Containers of an earlier run that was killed.
    output(Command::new(&podman).args(["rm", "--all", "--force"])).await;
    let mut build = Command::new(repository().join("tools/image.sh"));
    build
        .args(["operator", NAME])
        .env("ENGINE", &podman)
        .env("PROFILE", "image");
    // Not there if only this suite was built. Then the script builds it.
    let devcluster = Path::new(env!("CARGO_BIN_EXE_amplify-operator")).with_file_name("devcluster");
    if devcluster.exists() {
        build.env("DEVCLUSTER", devcluster);
    }
    output(&mut build).await;
    // What builds have left behind. Younger images are the next build's cache.
    output(Command::new(&podman).args(["image", "prune", "--force", "--filter=until=168h"])).await;
    podman
}

/// Returns the output of a command that succeeds.
pub(crate) async fn output(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", command.as_std());
    String::from_utf8(output.stdout).expect("text")
}

/// A container of the image. It is removed when it is dropped.
pub(crate) struct Container {
    podman: PathBuf,
    pub(crate) name: String,
    /// The folder that the container sees as /etc/amplify-operator.
    settings: TempDir,
    options: Vec<String>,
}

impl Container {
    /// Describes a container as the chart's pod has it, with this user, of the form `uid:gid`, and these more options.
    pub(crate) async fn new(user: &str, more: &[String]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let podman = podman().await;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("amplify-operator-test-{}-{number}", std::process::id());
        let settings = tempfile::tempdir().expect("a folder");
        fs::set_permissions(settings.path(), Permissions::from_mode(0o755)).expect("a folder that all may enter");
        let mut options: Vec<String> = [
            "run",
            "--rm",
            "--read-only",
            "--read-only-tmpfs=false",
            "--network=host",
            "--memory=128m",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
            "--env=AWS_*",
            "--env=KUBECONFIG",
            "--env=POD_NAMESPACE",
            "--env=RUST_LOG",
            "--env=AMPLIFY_OPERATOR_*",
        ]
        .map(ToOwned::to_owned)
        .into();
        options.push(format!("--user={user}"));
        options.push(format!("--name={name}"));
        options.push(format!("--volume={}:{SETTINGS}:ro", settings.path().display()));
        options.extend_from_slice(more);
        options.push(NAME.to_owned());
        Self {
            podman,
            name,
            settings,
            options,
        }
    }

    /// Returns the command that runs the program in the container, with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.podman);
        command.args(&self.options).args(arguments);
        command
    }

    /// Returns a stage whose operator runs in this container.
    pub(crate) async fn stage(&self, world: Arc<World>) -> Stage {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut launcher = vec![
            "/usr/bin/env".to_owned(),
            format!("PATH={path}"),
            self.podman.display().to_string(),
        ];
        launcher.extend_from_slice(&self.options);
        let setup = Setup {
            running: false,
            launcher,
            ..Setup::default()
        };
        let mut stage = Stage::with(world, setup).await;
        let kubeconfig = stage.environment.iter().find(|(name, _)| name == "KUBECONFIG");
        let kubeconfig = fs::read(&kubeconfig.expect("a kubeconfig").1).expect("a kubeconfig");
        let path = self.settings.path().join("kubeconfig");
        fs::write(&path, kubeconfig).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("a file that all may read");
        stage.set("KUBECONFIG", &format!("{SETTINGS}/kubeconfig"));
        stage
    }

    /// Returns the process id of the program in the running container.
    pub(crate) async fn pid(&self) -> u32 {
        let mut inspect = Command::new(&self.podman);
        inspect.args(["inspect", "--format", "{{.State.Pid}}", &self.name]);
        output(&mut inspect).await.trim().parse().expect("a process id")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = std::process::Command::new(&self.podman)
            .args(["rm", "--force", "--ignore", &self.name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
