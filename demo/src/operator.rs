//! The operator as a process of its own, from the binary built next to this program.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use amplify_simulator::Simulator;
use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time,
};

const LOG_TAIL_LINES: usize = 30;
/// How long the operator may take to stop. It finishes open requests first, and no AWS call takes longer than 30 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(200);

/// The settings for starting an operator.
#[derive(Debug)]
pub struct Start<'a> {
    /// The kubeconfig: it determines the operator's rights.
    pub kubeconfig: &'a Path,
    /// The simulator that serves as its AWS.
    pub simulator: &'a Simulator,
    /// The file for its log.
    pub log: &'a Path,
    /// Its flags, without the listen address.
    pub flags: &'a [String],
}

/// A running operator, killed when dropped.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    address: SocketAddr,
}

impl Operator {
    /// Starts an operator.
    pub fn start(with: &Start<'_>) -> Result<Self> {
        let log = with.log;
        let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = out.try_clone()?;
        let address = free_address()?;
        let child = tied(&program()?)
            .arg("run")
            .arg(format!("--listen={address}"))
            .args(with.flags)
            // The user's own AWS profile must never be used here.
            .env_clear()
            .env("KUBECONFIG", with.kubeconfig)
            .envs(simulated_aws(with.simulator))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the operator")?;
        Ok(Self { child, address })
    }

    /// Returns the address of `/readyz` and `/metrics`.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns an error when the operator has ended by itself.
    pub async fn failure(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("the operator ended with {status}"),
            Err(error) => anyhow::Error::new(error).context("cannot wait for the operator"),
        }
    }

    /// Stops the operator as Kubernetes would.
    pub async fn stop(&mut self) -> Result<()> {
        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        kill_process(id.context("the operator has ended already")?, Signal::TERM)?;
        let status = time::timeout(STOP_TIMEOUT, self.child.wait())
            .await
            .context("the operator does not end")??;
        ensure!(status.success(), "the operator ended with {status}");
        Ok(())
    }
}

/// Returns the output of `amplify-operator crd`.
pub async fn definitions() -> Result<String> {
    let output = Command::new(program()?).arg("crd").output().await?;
    ensure!(
        output.status.success(),
        "amplify-operator crd: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns when `/readyz` reports ready.
pub async fn ready(address: SocketAddr) {
    while !is_ready(address).await.unwrap_or(false) {
        time::sleep(POLL).await;
    }
}

async fn is_ready(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

/// Returns the last lines of this log.
#[must_use]
pub fn log_tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", log.display()),
    }
}

/// Returns the variables with which a program calls the simulator, and never AWS.
pub fn simulated_aws(simulator: &Simulator) -> impl Iterator<Item = (&'static str, &str)> {
    let own = simulator.client_env().iter();
    own.map(|(name, value)| (*name, value.as_str())).chain([
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ])
}

/// Returns the path of the operator's program.
pub fn program() -> Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("amplify-operator");
    ensure!(
        program.is_file(),
        "{} is not there: use `make demo` or `make bench`, or build it with `cargo build -p amplify-operator`",
        program.display()
    );
    Ok(program)
}

/// Returns a command that ends when this process is killed, if the platform supports that. Ctrl-C in the terminal does
/// not reach it, so that it can be stopped in order.
fn tied(program: &Path) -> Command {
    let mut command = match which::which("setpriv") {
        Ok(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(program);
            command
        }
        Err(_) => Command::new(program),
    };
    command.process_group(0);
    command
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}
