//! The promises of the cluster to its tests, checked against the real binaries.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use amplify_devcluster::{Cluster, Options, audit::Stage, tools};
use anyhow::{Context as _, Result, bail, ensure};

fn kubectl(program: &Path, kubeconfig: &Path, arguments: &str) -> Result<String> {
    let Output { status, stdout, stderr } = Command::new(program)
        .env("KUBECONFIG", kubeconfig)
        .args(arguments.split_whitespace())
        .output()?;
    ensure!(
        status.success(),
        "kubectl {arguments}: {}",
        String::from_utf8_lossy(&stderr)
    );
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Returns the command lines of the processes that mention the text, without zombies.
fn processes(text: &str) -> Result<Vec<String>> {
    let output = Command::new("ps").args(["-ww", "-eo", "args"]).output()?;
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines
        .lines()
        .filter(|line| line.contains(text))
        .map(str::to_owned)
        .collect())
}

fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < Duration::from_secs(30), "still not: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_counts_survives_crashes_and_leaves_nothing() -> Result<()> {
    let program = tools::kubectl().await?;
    let mut cluster = Cluster::start(Options::default()).await?;
    let kubeconfig = cluster.kubeconfig_path();
    let run = |arguments: &str| kubectl(&program, &kubeconfig, arguments);

    let mark = cluster.audit().mark()?;
    run("create configmap kept --from-literal=a=b")?;
    let events = cluster.audit().since(mark)?;
    let writes: Vec<_> = events
        .iter()
        .filter(|event| event.is_write() && event.user == "admin")
        .collect();
    let [create] = writes[..] else {
        bail!("not one write: {writes:?}");
    };
    assert_eq!(
        (
            &*create.verb,
            &*create.group,
            &*create.resource,
            &*create.namespace,
            &*create.name,
            create.code
        ),
        ("create", "", "configmaps", "default", "kept", 201)
    );
    assert!(create.user_agent.starts_with("kubectl"), "{create:?}");
    assert_eq!(create.stage, Stage::ResponseComplete);

    // A ServiceAccount's token has that account's rights and name, and only those.
    run("create serviceaccount robot")?;
    let token = run("create token robot")?;
    let robot = cluster.dir().join("robot.kubeconfig");
    std::fs::write(&robot, cluster.kubeconfig_for(token.trim()))?;
    assert!(kubectl(&program, &robot, "get configmaps").is_err());
    let refused = cluster.audit().events()?;
    let refused = refused
        .iter()
        .find(|event| event.user == "system:serviceaccount:default:robot" && event.code == 403);
    assert!(refused.is_some_and(|event| event.verb == "list"));

    cluster.kill_apiserver().await?;
    assert!(run("get configmap kept").is_err());
    cluster.start_apiserver().await?;
    run("get configmap kept")?;
    assert!(cluster.audit().events()?.contains(create), "the audit log goes on");

    cluster.pause_apiserver()?;
    assert!(run("get configmap kept --request-timeout=300ms").is_err());
    cluster.resume_apiserver()?;
    run("get configmap kept")?;

    let dir = cluster.dir().to_owned();
    let port = cluster
        .url()
        .rsplit(':')
        .next()
        .map(|port| format!("--secure-port={port} "))
        .context("no port")?;
    ensure!(!processes(&port)?.is_empty());
    cluster.stop().await?;
    assert_eq!(processes(&port)?, Vec::<String>::new());
    assert!(!dir.exists());
    Ok(())
}

#[tokio::test]
async fn the_controller_manager_ends_namespaces_under_its_own_name() -> Result<()> {
    let program = tools::kubectl().await?;
    let options = Options {
        controller_manager: true,
        ..Options::default()
    };
    let cluster = Cluster::start(options).await?;
    let kubeconfig = cluster.kubeconfig_path();
    kubectl(&program, &kubeconfig, "create namespace brief")?;
    kubectl(&program, &kubeconfig, "delete namespace brief --timeout=60s")?;
    let mut writes = HashMap::<String, usize>::new();
    for event in cluster.audit().events()? {
        if event.is_write() && event.resource == "namespaces" && event.name == "brief" {
            *writes.entry(event.user).or_default() += 1;
        }
    }
    assert_eq!(writes.get("admin"), Some(&2), "{writes:?}");
    assert!(writes.contains_key("system:kube-controller-manager"), "{writes:?}");
    cluster.stop().await?;
    Ok(())
}

/// Starts `devcluster up`. Returns the process and the port of its API server.
fn up(kubeconfig: &Path) -> Result<(Child, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_devcluster"))
        .args(["up", "--without-controller-manager", "--kubeconfig"])
        .arg(kubeconfig)
        // Files that remain after SIGKILL are removed with the test's folder.
        .env("TMPDIR", kubeconfig.parent().context("no folder")?)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(
        line.trim() == format!("export KUBECONFIG={}", kubeconfig.display()),
        "{line}"
    );
    let yaml = std::fs::read_to_string(kubeconfig)?;
    let (_, port) = yaml.split_once("https://127.0.0.1:").context("no address")?;
    let port = port.lines().next().context("no port")?;
    Ok((child, format!("--secure-port={port} ")))
}

#[test]
fn up_ends_with_its_processes_and_files_however_it_ends() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let kubeconfig: PathBuf = dir.path().join("config");

    let (mut child, apiserver) = up(&kubeconfig)?;
    Command::new("kill").arg(child.id().to_string()).status()?;
    assert!(child.wait()?.success());
    assert_eq!(processes(&apiserver)?, Vec::<String>::new());
    assert!(!kubeconfig.exists());

    // The user's own kubeconfig is not overwritten.
    std::fs::write(&kubeconfig, "kind: Config")?;
    let refused = Command::new(env!("CARGO_BIN_EXE_devcluster"))
        .args(["up", "--kubeconfig"])
        .arg(&kubeconfig)
        .output()?;
    assert!(String::from_utf8_lossy(&refused.stderr).contains("was not written by devcluster"));
    std::fs::remove_file(&kubeconfig)?;

    if cfg!(target_os = "linux") {
        let (mut child, apiserver) = up(&kubeconfig)?;
        child.kill()?;
        child.wait()?;
        wait_until("nothing outlives SIGKILL", || Ok(processes(&apiserver)?.is_empty()))?;
        // The remaining file was written by devcluster, so the next one may replace it.
        let (mut child, _) = up(&kubeconfig)?;
        Command::new("kill").arg(child.id().to_string()).status()?;
        assert!(child.wait()?.success());
    }
    Ok(())
}
