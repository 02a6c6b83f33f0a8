//! `make demo`: a real API server, a simulated AWS and the operator on this machine; the samples become Ready and are
//! deleted again.
//!
//! At a terminal the demo runs until Ctrl-C. Without a terminal it deletes the samples, checks that nothing is left in
//! AWS, prints its measurements and ends. Every process that it starts ends with it.

mod kubectl;
mod measure;
mod table;

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use amplify_devcluster::{Cluster, Options, audit::AuditLog, tools};
use amplify_simulator::{Config, Settings, Simulator};
use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time,
};

use amplify_demo::operator::{self, Operator, Start};

use crate::{kubectl::Kubectl, measure::Measures, table::LiveTable};

/// The app of the samples. Neither the operator nor the simulated APIs ever create an app.
const APP: (&str, &str) = ("d1a2b3c4d5e6f7", "storefront");
/// The length of a job here. In AWS jobs take minutes.
const JOB_DURATION: Duration = Duration::from_secs(4);
/// The limit for the samples to become Ready, and to be gone: several times the usual time.
const PATIENCE: Duration = Duration::from_mins(3);
const REFRESH: Duration = Duration::from_millis(500);
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/samples");

// One thread that lives as long as the process, because the operator process ends when the thread that started it ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match demo().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let mut signals = Signals::new()?;
    let stays = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    say("amplify-operator at work on this machine: a real Kubernetes API server and a simulated AWS.")?;
    say("No AWS account and no other cluster is touched, and all that is started here ends with this program.\n")?;

    let start = Instant::now();
    say("1. Kubernetes: starting etcd and kube-apiserver. A program that this machine lacks is built from Go")?;
    say("   modules, once: about 5 minutes on 2 cores for all of them.")?;
    let (mut cluster, kubectl_program) = tokio::select! {
        started = async { anyhow::Ok((Cluster::start(Options::default()).await?, tools::kubectl().await?)) } => started?,
        () = signals.any() => return Err(Interrupted.into()),
    };
    let seconds = start.elapsed().as_secs_f64();
    say(&format!("   {} serves, after {seconds:.0} s.", cluster.url()))?;
    let kubectl = Kubectl::new(kubectl_program, &cluster)?;

    let seconds = JOB_DURATION.as_secs();
    say(&format!(
        "2. AWS: starting a simulator of AWS Amplify's APIs with the app {} ({}). Its jobs run {seconds} s; AWS's run",
        APP.0, APP.1
    ))?;
    say(
        "   minutes. Like AWS it runs one job per backend environment at a time. Its new backends have an auth, which a",
    )?;
    say("   storage needs and which the operator does not make.")?;
    let simulator = simulated()?;
    say(&format!("   {} serves.", simulator.url()))?;

    say(
        "3. Operator: amplify-operator crd | kubectl apply -f -, then amplify-operator run as a process of its own, with",
    )?;
    say("   KUBECONFIG and AWS_ENDPOINT_URL set to these two.")?;
    install_definitions(&kubectl).await?;
    let log = cluster.dir().join("amplify-operator.log");
    let mut operator = Operator::start(&Start {
        kubeconfig: &cluster.kubeconfig_path(),
        simulator: &simulator,
        log: &log,
        flags: &[],
    })?;
    let (audit, address) = (cluster.audit(), operator.address());
    let outcome = tokio::select! {
        shown = show(&kubectl, &simulator, &audit, address, stays) => shown,
        error = cluster.failure() => Err(error.into()),
        error = operator.failure() => Err(error),
        () = signals.any() => Err(Interrupted.into()),
    };
    let outcome = match outcome {
        Ok(()) if stays => {
            explain(&kubectl, &simulator, &operator, &log)?;
            tokio::select! {
                error = cluster.failure() => Err(error.into()),
                error = operator.failure() => Err(error),
                () = signals.any() => Ok(()),
            }
        }
        other => other,
    };
    say("\nEnding the operator, the API server and the simulator.")?;
    let ended = outcome.and(operator.stop().await);
    if let Err(error) = &ended
        && !error.is::<Interrupted>()
    {
        eprintln!("\nThe end of the operator's log:\n{}", operator::log_tail(&log));
    }
    ended?;
    cluster.stop().await?;
    Ok(())
}

/// Starts the simulator, with the app of the samples.
fn simulated() -> Result<Simulator> {
    let settings = Settings {
        job_duration: JOB_DURATION,
        new_backends_have_auth: true,
        ..Settings::default()
    };
    Simulator::start(&Config::default().app(APP.0, APP.1).settings(settings)).context("cannot start the simulator")
}

async fn install_definitions(kubectl: &Kubectl) -> Result<()> {
    kubectl.apply_text(&operator::definitions().await?).await?;
    let established = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    kubectl.run(&established).await.map(drop)
}

/// Applies the samples and waits for Ready. Unless the demo stays up, deletes them again.
async fn show(
    kubectl: &Kubectl,
    simulator: &Simulator,
    audit: &AuditLog,
    operator: SocketAddr,
    stays: bool,
) -> Result<()> {
    time::timeout(PATIENCE, operator::ready(operator))
        .await
        .context("the operator does not become ready")?;

    say("4. Samples: kubectl apply -f deploy/samples")?;
    let applied = kubectl.run(&["apply", "-o", "name", "-f", SAMPLES]).await?;
    let samples = applied
        .lines()
        .filter(|name| name.contains(".amplify-operator.dev/"))
        .count();
    ensure!(samples > 0, "no samples in {}", Path::new(SAMPLES).display());
    say(
        "   A backend; a clone of it, its GraphQL API and its storage, which wait for it and for each other; a record.",
    )?;
    say("   What kubectl get amplify shows, until all are Ready:\n")?;
    let start = Instant::now();
    let mut table = LiveTable::new();
    follow(kubectl, &mut table, |table| table.ready() == samples)
        .await
        .context("the samples are not Ready")?;
    let seconds = start.elapsed().as_secs();
    say(&format!(
        "\nAll {samples} are Ready, {seconds} s after they were applied.\n"
    ))?;
    if !std::io::stdout().is_terminal() {
        say(&kubectl.run(&["get", "amplify"]).await?)?;
    }
    measure::check_creates(simulator, samples)?;
    let created = Measures::take(simulator, audit)?;
    if stays {
        return say(&measure::report(&[("to Ready", created)]));
    }

    say("5. Without a terminal the demo goes on: kubectl delete -f deploy/samples\n")?;
    let start = Instant::now();
    kubectl.run(&["delete", "--wait=false", "-f", SAMPLES]).await?;
    let mut table = LiveTable::new();
    follow(kubectl, &mut table, |table| table.rows() == 0)
        .await
        .context("the samples are not gone")?;
    // Finalizers are removed last, so AWS is already empty and there is nothing to wait for.
    measure::check_empty(simulator)?;
    let seconds = start.elapsed().as_secs();
    say(&format!(
        "\nAll are gone after {seconds} s, and nothing of them is left in AWS.\n"
    ))?;
    measure::check_creates(simulator, samples)?;
    let gone = Measures::take(simulator, audit)?;
    say(&measure::report(&[("to Ready", created), ("to gone", gone)]))
}

/// Prints the output of `kubectl get amplify` until it is as expected.
async fn follow(kubectl: &Kubectl, table: &mut LiveTable, done: impl Fn(&LiveTable) -> bool) -> Result<()> {
    let start = Instant::now();
    loop {
        let printed = kubectl.run(&["get", "amplify"]).await?;
        table.show(&printed, start.elapsed())?;
        if done(table) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let wide = kubectl.run(&["get", "amplify", "-o", "wide"]).await?;
            bail!("not finished after {} s:\n{wide}", PATIENCE.as_secs());
        }
        time::sleep(REFRESH).await;
    }
}

/// Prints commands for the user to try now.
fn explain(kubectl: &Kubectl, simulator: &Simulator, operator: &Operator, log: &Path) -> Result<()> {
    say("\nIt stays up. In another terminal:\n")?;
    say(&format!("  export KUBECONFIG={}", kubectl.kubeconfig().display()))?;
    let program = operator::program()?;
    let own_kubectl = which::which("kubectl").is_err().then(|| kubectl.program());
    let folders = [Some(program.as_path()), own_kubectl].into_iter().flatten();
    let folders: Vec<_> = folders
        .filter_map(Path::parent)
        .map(|folder| folder.display().to_string())
        .collect();
    say(&format!("  export PATH=$PATH:{}", folders.join(":")))?;
    for (name, value) in operator::simulated_aws(simulator) {
        say(&format!("  export {name}={value}"))?;
    }
    say("")?;
    for line in [
        "amplify-operator status",
        "amplify-operator doctor",
        "amplify-operator report --all-apps",
        "kubectl get amplify -o wide",
        "kubectl describe amplifybackend staging",
        "kubectl explain amplifybackend.spec.cloneFrom",
        "kubectl patch backendapi storefront --type=merge \\",
        "    -p '{\"spec\":{\"resourceConfig\":{\"conflictResolution\":{\"resolutionStrategy\":\"AUTOMERGE\"}}}}'",
        "kubectl delete amplifybackend staging --wait=false    # InUse, until what is in it goes too",
        "kubectl delete backendapi storefront",
        "kubectl delete backendstorage photos",
    ] {
        say(&format!("  {line}"))?;
    }
    say(&format!(
        "\n  curl {}/_simulator/apps       # what is in AWS",
        simulator.url()
    ))?;
    say(&format!("  curl http://{}/metrics", operator.address()))?;
    say(&format!("  tail -f {}", log.display()))?;
    say("\nCtrl-C ends it.")
}

/// Prints one line or more for the user. Fails when the output is closed.
fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// The error when a signal arrives before the demo has finished.
#[derive(Debug)]
struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// The signals that end the demo in order.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
