//! The program `amplify-operator`: parses its arguments and runs the command.

use std::{
    env,
    io::Write,
    os::unix::process::CommandExt as _,
    process::{self, ExitCode},
    thread,
};

use amplify_operator::{
    api::{self, text::clean},
    cli::{self, Command},
    import, operator, people, report,
    telemetry::{self, error::in_words},
};

/// Upper limit of worker threads. They mostly wait for AWS and the API server, and each thread costs memory.
const THREADS: usize = 4;

fn main() -> ExitCode {
    if people::completes_for_kubectl() {
        return people::candidates().unwrap_or_else(|error| print_error(&error));
    }
    without_empty_variables();
    let command = cli::parse();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(carry_out(command));
            // A file read that hangs must not keep the process alive.
            runtime.shutdown_background();
            code
        }
        Err(error) => print_error(&anyhow::Error::new(error).context("cannot start threads")),
    }
}

/// An empty variable of the AWS SDK, or of certificate authorities, counts as unset, as for other programs: starts this
/// process anew without it. The SDK takes an empty endpoint for an address and panics. Rust has no safe way to change the environment of a running
/// process. If the start fails, the checks of the variables refuse what the SDK cannot use.
fn without_empty_variables() {
    let is_empty = |name: &std::ffi::OsString, value: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        value.is_empty() && (name.starts_with("AWS_") || name.starts_with("SSL_CERT_"))
    };
    let empty: Vec<_> = env::vars_os().filter(|(name, value)| is_empty(name, value)).collect();
    let mut arguments = env::args_os();
    // Under a loader, such as ld.so, the running file is the loader.
    let own = env::current_exe().ok().filter(|program| {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("amplify-operator") || name.starts_with("kubectl-amplify")
    });
    if let (false, Some(program), Some(name)) = (empty.is_empty(), own, arguments.next()) {
        let mut anew = process::Command::new(program);
        anew.arg0(name).args(arguments);
        for (name, _) in empty {
            anew.env_remove(name);
        }
        // Returns only if it fails.
        let _ = anew.exec();
    }
}

async fn carry_out(command: Command) -> ExitCode {
    let done = match command {
        Command::Crd => print_crds(),
        Command::Import(settings) => import(settings).await,
        Command::Report(settings) => report(settings).await,
        Command::Run(settings) => return run_and_log(*settings).await,
        Command::People(command) => people::run(command).await,
    };
    done.unwrap_or_else(|error| print_error(&error))
}

/// Prints an error on stderr, for a person.
fn print_error(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}: {}", cli::called(), described(error));
    ExitCode::FAILURE
}

/// Runs the operator. Logs an error, or prints it on stderr if there is no log or `RUST_LOG` filters errors out.
async fn run_and_log(settings: amplify_operator::cli::Run) -> ExitCode {
    let Err(error) = run(settings).await else {
        return ExitCode::SUCCESS;
    };
    if !tracing::enabled!(tracing::Level::ERROR) {
        return print_error(&error);
    }
    tracing::error!("{}", described(&error));
    ExitCode::FAILURE
}

/// Returns the error on one line, with each of its causes once.
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

async fn report(settings: amplify_operator::cli::Report) -> anyhow::Result<ExitCode> {
    telemetry::logs::init(telemetry::Format::Text)?;
    report::run(settings).await
}

fn print_crds() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for crd in api::crds() {
        match writeln!(out, "---\n{}", api::to_yaml(&crd)?.trim_end()) {
            // The reader has closed the pipe.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
