//! `devcluster`: a real Kubernetes API server on loopback, for use by hand.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use amplify_devcluster::{
    Cluster, Options,
    debian::{self, Base},
    tools::{self, Tool},
};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Marks files that may be overwritten. A kubeconfig of the user's own is never overwritten.
const KUBECONFIG_MARK: &str = "# Written by devcluster; gone when it ends.\n";

/// A real Kubernetes API server on loopback.
#[derive(Parser)]
#[command(name = "devcluster")]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Start a new, empty cluster and keep it until Ctrl-C.
    Up {
        /// File to which the admin's kubeconfig is also written.
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Start no controller manager: deleted namespaces then never go, and owned objects are not garbage-collected.
        #[arg(long)]
        without_controller_manager: bool,
        /// Write an audit log of every request.
        #[arg(long)]
        audit: bool,
    },
    /// Find or build all binaries that `make test` needs, and print their paths.
    Prefetch,
    /// Print the path of one binary.
    Path {
        /// The name of the binary.
        tool: Tool,
    },
    /// Print the path of a base of the container image, as a tar archive, made from Debian packages.
    Base {
        /// The name of the base.
        base: Base,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A signal is the normal end of `up`, but interrupts the other commands.
    let interrupted = match arguments.command {
        Subcommands::Up { .. } => Ok(()),
        Subcommands::Prefetch | Subcommands::Path { .. } | Subcommands::Base { .. } => Err(anyhow!("interrupted")),
    };
    // The dropped future ends its processes.
    tokio::select! {
        result = run(arguments.command) => result,
        _ = interrupt.recv() => interrupted,
        _ = terminate.recv() => interrupted,
    }
}

async fn run(command: Subcommands) -> Result<()> {
    match command {
        Subcommands::Up {
            kubeconfig,
            without_controller_manager,
            audit,
        } => {
            let options = Options {
                controller_manager: !without_controller_manager,
                audit,
                ..Options::default()
            };
            up(options, kubeconfig).await
        }
        Subcommands::Prefetch => {
            for tool in Tool::ALL.into_iter().filter(|tool| tool.is_for_all_tests()) {
                println!("{}", tools::find(tool).await?.display());
            }
            Ok(())
        }
        Subcommands::Path { tool } => {
            println!("{}", tools::find(tool).await?.display());
            Ok(())
        }
        Subcommands::Base { base } => {
            println!("{}", debian::base(base).await?.display());
            Ok(())
        }
    }
}

/// Runs until it is dropped or a process of the cluster fails.
async fn up(options: Options, kubeconfig: Option<PathBuf>) -> Result<()> {
    let kubeconfig = kubeconfig.map(std::path::absolute).transpose()?;
    if let Some(path) = &kubeconfig {
        check_overwrite(path)?;
    }
    let audit = options.audit;
    let mut cluster = Cluster::start(options).await?;
    let written = kubeconfig
        .map(|path| WrittenKubeconfig::write(path, &cluster.kubeconfig_yaml()))
        .transpose()?;
    let path = match &written {
        Some(file) => file.0.clone(),
        None => cluster.kubeconfig_path(),
    };
    println!("export KUBECONFIG={}", path.display());
    eprintln!("devcluster: {} is ready; Ctrl-C ends it", cluster.url());
    if audit {
        eprintln!("devcluster: audit log in {}", cluster.audit().path().display());
    }
    Err(cluster.failure().await.into())
}

fn check_overwrite(path: &Path) -> Result<()> {
    match fs::read_to_string(path) {
        Ok(content) if content.starts_with(KUBECONFIG_MARK) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(_) => bail!(
            "{} was not written by devcluster: name another file, or remove it",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A kubeconfig file that is removed together with its cluster.
struct WrittenKubeconfig(PathBuf);

impl WrittenKubeconfig {
    fn write(path: PathBuf, yaml: &str) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{KUBECONFIG_MARK}{yaml}").as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WrittenKubeconfig {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
