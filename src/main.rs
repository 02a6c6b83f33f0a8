//! The program `amplify-operator`: reads its arguments and hands over.

use std::{io::Write, process::ExitCode, thread};

use amplify_operator::{
    api::{self, text::clean},
    cli::{Cli, Command},
    import, operator,
    telemetry::{self, error::in_words},
};
use clap::Parser;

/// Threads at the most. They wait for AWS and for the API server nearly all the time, and each has memory of its own.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(carry_out(cli));
            // A read of a file that hangs does not keep the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => report(&anyhow::Error::new(error).context("cannot start threads")),
    }
}

async fn carry_out(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Some(Command::Crd) => print_crds(),
        Some(Command::Import(settings)) => import(settings).await,
        Some(Command::Run(settings)) => return run_and_log(*settings).await,
        None => return run_and_log(cli.run).await,
    };
    done.unwrap_or_else(|error| report(&error))
}

/// Says on stderr, to a person, what went wrong.
fn report(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "amplify-operator: {}", described(error));
    ExitCode::FAILURE
}

/// An error is a line of the log like any other, unless there is no log, or RUST_LOG leaves errors out of it.
async fn run_and_log(settings: amplify_operator::cli::Run) -> ExitCode {
    let Err(error) = run(settings).await else {
        return ExitCode::SUCCESS;
    };
    if !tracing::enabled!(tracing::Level::ERROR) {
        return report(&error);
    }
    tracing::error!("{}", described(&error));
    ExitCode::FAILURE
}

/// The error on one line, with each of its causes once.
fn described(error: &anyhow::Error) -> String {
    clean(&in_words(error.as_ref()))
}

async fn run(settings: amplify_operator::cli::Run) -> anyhow::Result<()> {
    telemetry::logs::init(settings.log_format)?;
    operator::run(settings).await
}

async fn import(settings: amplify_operator::cli::Import) -> anyhow::Result<ExitCode> {
    telemetry::logs::init(telemetry::Format::Text)?;
    import::run(settings).await
}

fn print_crds() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for crd in api::crds() {
        match writeln!(out, "---\n{}", api::to_yaml(&crd)?.trim_end()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
