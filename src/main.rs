//! The program `amplify-operator`: reads its arguments and hands over.

use std::{io::Write, process::ExitCode};

use amplify_operator::{
    api,
    cli::{Cli, Command},
    import, operator, telemetry,
};
use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
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
