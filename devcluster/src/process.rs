//! Child processes that do not outlive this process: they are killed when dropped, and on Linux by the kernel when this
//! process is killed.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::oneshot, time};

use crate::{Error, Result};

const POLL: Duration = Duration::from_millis(20);
const READY_TIMEOUT: Duration = Duration::from_mins(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_TAIL: usize = 4096;

type Spawn = (Command, oneshot::Sender<io::Result<Child>>);

/// The kernel sends the death signal when the *thread* that spawned the child ends. A test's thread or a runtime's
/// worker may end long before the process; this thread does not.
static SPAWNER: LazyLock<mpsc::Sender<Spawn>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Spawn>();
    thread::spawn(move || {
        for (mut command, reply) in receiver {
            if let Err(Ok(mut orphan)) = reply.send(command.spawn()) {
                let _ = orphan.kill();
                let _ = orphan.wait();
            }
        }
    });
    sender
});

/// The path of `setpriv`, on platforms where it can bind a child's life to its parent's.
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let setpriv = which::which("setpriv").ok()?;
    let status = Command::new(&setpriv)
        .args(["--pdeathsig", "KILL"])
        .args([setpriv.as_os_str(), "--version".as_ref()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success()).then_some(setpriv)
});

/// Returns a command that is killed with this process, if the platform supports that.
#[must_use]
pub fn command(program: &Path) -> Command {
    let Some(setpriv) = SETPRIV.as_ref() else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]).arg(program);
    // Ctrl-C in a terminal reaches the whole process group. The child has a group of its own, so it is stopped in order
    // instead.
    command.process_group(0);
    command
}

/// A running child with its output in a file, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command, and appends its output to `log`.
    pub async fn spawn(name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Error::path("open", &log))?;
        let errors = file.try_clone().map_err(Error::path("open", &log))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors);

        let failed = || format!("cannot start {name}");
        let (reply, spawned) = oneshot::channel();
        let sent = SPAWNER.send((command, reply));
        let child = match (sent, spawned.await) {
            (Ok(()), Ok(spawned)) => spawned.map_err(Error::io(failed()))?,
            _ => return Err(Error::io(failed())(io::ErrorKind::BrokenPipe.into())),
        };
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Returns the exit status, if the process has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let context = format!("cannot wait for {}", self.name);
        self.child.try_wait().map_err(Error::io(context))
    }

    /// Fails, with the end of the log, if the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(self.exited(status)),
        }
    }

    pub(crate) fn exited(&self, status: ExitStatus) -> Error {
        Error::Exited {
            process: self.name.clone(),
            status,
            log: self.log_tail(),
        }
    }

    /// Waits until `probe` is true. Fails when the process ends first, or the wait takes too long.
    pub async fn ready(&mut self, probe: impl AsyncFn() -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            self.check()?;
            if time::timeout(PROBE_TIMEOUT, probe()).await == Ok(true) {
                return Ok(());
            }
            if start.elapsed() > READY_TIMEOUT {
                return Err(Error::NotReady {
                    process: self.name.clone(),
                    waited: READY_TIMEOUT,
                    log: self.log_tail(),
                });
            }
            time::sleep(POLL).await;
        }
    }

    /// Kills the process and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .map_err(Error::io(format!("cannot kill {}", self.name)))?;
        while self.ended()?.is_none() {
            time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .map_err(|error| Error::io(format!("cannot signal {}", self.name))(error.into()))
    }

    fn log_tail(&self) -> String {
        match fs::read(&self.log) {
            Ok(log) => {
                let tail = &log[log.len().saturating_sub(LOG_TAIL)..];
                String::from_utf8_lossy(tail).trim().to_owned()
            }
            Err(error) => format!("(cannot read {}: {error})", self.log.display()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls fail only if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
