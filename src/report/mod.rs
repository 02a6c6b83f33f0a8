//! `amplify-operator report`: what the apps of an account have, and what of it AWS's Gen 2 migration takes.
//!
//! May do: read AWS through the inventory, print. May not: write to AWS, use Kubernetes, promise anything about parts
//! that it does not see. `fetch` reads the jobs; `matrix`, `contents` and `render` are pure; this file does the rest.

mod contents;
mod fetch;
mod matrix;
mod render;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use jiff::tz::TimeZone;

use self::{contents::Report, render::Form};
use crate::{
    cli::{self, Output},
    inventory::{self, INCOMPLETE},
};

/// Reads AWS, then prints the report.
pub async fn run(settings: cli::Report) -> anyhow::Result<ExitCode> {
    let source = &settings.source;
    let connection = inventory::connect(source).await?;
    let inventory = connection.read(source).await?;
    let jobs = fetch::jobs(&connection.client, &inventory).await?;
    let today = connection.clock.now().to_zoned(TimeZone::UTC).date();
    let report = contents::report(&inventory, &jobs, today);
    io::stdout()
        .lock()
        .write_all(printed(&report, settings.output)?.as_bytes())
        .context("cannot print")?;
    if report.complete {
        return Ok(ExitCode::SUCCESS);
    }
    // The report is printed, and the exit code says it too.
    let _ = writeln!(
        io::stderr().lock(),
        "amplify-operator: the report is incomplete: see its lines \"not known\"; run it again, or give your role the actions in deploy/iam-policy-import.json"
    );
    Ok(ExitCode::from(INCOMPLETE))
}

fn printed(report: &Report, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Table => render::text(report, Form::Table),
        Output::Markdown => render::text(report, Form::Markdown),
        Output::Json => serde_json::to_string_pretty(report)? + "\n",
    })
}
