//! The commands for people: `status`, `reconcile`, `suspend`, `resume`, `doctor` and `completion`.
//!
//! May do: read and change custom resources with the user's own rights, print; `doctor` also reads AWS. May not: write
//! to AWS, write a status, do the operator's work. `entry` and `tree` are pure; `cluster` reaches the API server.
//!
//! A new command is an entry of `cli::people::Command` and a file here; its manual page and its completions follow.

mod change;
mod cluster;
mod completion;
mod doctor;
mod entry;
mod status;
mod tree;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

pub use completion::{candidates, completes_for_kubectl};

use crate::{
    api::text::clean,
    cli::{self, people::Command},
};

/// Says on stderr what is not as it should be, while the command goes on.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}: {}", cli::called(), clean(text));
}

/// Carries out a command.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(settings) => status::run(settings).await,
        Command::Reconcile(settings) => change::reconcile(settings).await,
        Command::Suspend(settings) => change::suspend(settings, true).await,
        Command::Resume(settings) => change::suspend(settings, false).await,
        Command::Doctor(settings) => Box::pin(doctor::run(settings)).await,
        Command::Completion(settings) => completion::run(&settings),
    }
}

/// Prints on stdout. Colours are left out where no terminal reads them, or NO_COLOR is set. Returns whether anybody still
/// reads: that a reader has closed the pipe is no error.
fn print(text: &str) -> anyhow::Result<bool> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}
