//! The program `amplify-operator`: reads its arguments and hands over.

use std::{io::Write, process::ExitCode, thread};

use amplify_operator::{
    api,
    cli::{Cli, Command},
    import, operator, telemetry,
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
        Ok(runtime) => runtime.block_on(carry_out(cli)),
        Err(error) => report(Err(anyhow::Error::new(error).context("cannot start threads"))),
    }
}

async fn carry_out(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Some(Command::Crd) => print_crds(),
        Some(Command::Import(settings)) => return report(import(settings).await),
        Some(Command::Run(settings)) => run(*settings).await,
        None => run(cli.run).await,
    };
    report(result.map(|()| ExitCode::SUCCESS))
}

fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            let _ = writeln!(std::io::stderr(), "amplify-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: amplify_operator::cli::Run) -> anyhow::Result<()> {
    telemetry::logs::init(settings.log_format)?;
    operator::run(settings).await
}

async fn import(settings: amplify_operator::cli::Import) -> anyhow::Result<ExitCode> {
    telemetry::logs::init(telemetry::Format::Text)?;
    import::run(settings).await
}

fn print_crds() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for crd in api::crds() {
        writeln!(out, "---\n{}", api::to_yaml(&crd)?.trim_end())?;
    }
    Ok(())
}
