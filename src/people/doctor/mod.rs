//! `doctor`: checks an installation part by part, and says of each problem what to do.
//!
//! May do: read Kubernetes and AWS, print. May not: change anything. `checks` asks and judges, `rights` is the list of
//! rights, `aws` asks AWS; this file puts them in order and prints.

mod aws;
mod checks;
mod rights;

use std::{fmt::Write as _, process::ExitCode};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use self::checks::Installation;
use super::{cluster::Cluster, print};
use crate::{
    cli::people::{Doctor, Form},
    clock::Clock,
};

/// The result of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) enum Verdict {
    /// All is well.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be checked.
    Skipped,
}

/// A check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    /// What was checked.
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) seen: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_step: Option<String>,
}

impl Check {
    pub(super) fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            what,
            verdict: Verdict::Ok,
            seen: seen.into(),
            next_step: None,
        }
    }

    pub(super) fn warning(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            next_step: Some(next.into()),
            ..Self::ok(what, seen)
        }
    }

    pub(super) fn failed(what: &'static str, seen: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            ..Self::warning(what, seen, next)
        }
    }

    pub(super) fn skipped(what: &'static str, seen: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped,
            ..Self::ok(what, seen)
        }
    }
}

/// Checks everything, and prints the checks.
pub(super) async fn run(settings: Doctor) -> anyhow::Result<ExitCode> {
    let checks = checks(&settings).await;
    let text = match settings.printed.output {
        Form::Json => serde_json::to_string_pretty(&serde_json::json!({ "checks": checks }))? + "\n",
        Form::Text => text(&checks),
    };
    print(&text)?;
    let is_broken = checks.iter().any(|check| check.verdict == Verdict::Failed);
    Ok(ExitCode::from(u8::from(is_broken)))
}

async fn checks(settings: &Doctor) -> Vec<Check> {
    let mut all = Vec::new();
    let cluster = match Cluster::connect(&settings.access).await {
        Ok(cluster) => cluster,
        Err(error) => {
            all.push(Check::failed(
                checks::API_SERVER,
                format!("{error:#}"),
                "see above; everything in the cluster is unchecked",
            ));
            all.extend(aws::check(settings, None, &[]).await);
            return all;
        }
    };
    let (is_there, check) = checks::api_server(&cluster).await;
    all.push(check);
    if !is_there {
        all.extend(aws::check(settings, None, &[]).await);
        return all;
    }
    let (is_served, check) = checks::definitions(&cluster).await;
    all.push(check);
    let (installation, found) = checks::operator(&cluster, settings.namespace.as_deref()).await;
    all.extend(found);
    let installation = installation.unwrap_or_else(|| Installation::of_this_process(&cluster));
    all.push(rights::check(&cluster, &installation).await);
    all.push(checks::leader(&cluster, &installation, Clock::of_machine().now()).await);
    let resources = if is_served {
        let (resources, check) = checks::resources(&cluster, &installation).await;
        all.push(check);
        resources
    } else {
        Vec::new()
    };
    let namespaces: Vec<_> = resources.iter().map(|entry| entry.namespace.clone()).collect();
    let (file, allowed) = (settings.accounts.as_deref(), &settings.allowed_region);
    let (accounts, checks) = checks::accounts(&cluster, &installation, file, allowed, &namespaces).await;
    all.extend(checks);
    if installation.is_this_process {
        all.extend(aws::check(settings, accounts, &namespaces).await);
    } else {
        all.push(checks::aws_elsewhere(&installation));
    }
    all
}

fn text(checks: &[Check]) -> String {
    let mut page = String::new();
    for check in checks {
        let (sign, colour) = match check.verdict {
            Verdict::Ok => ("ok     ", AnsiColor::Green),
            Verdict::Warning => ("warning", AnsiColor::Yellow),
            Verdict::Failed => ("FAILED ", AnsiColor::Red),
            Verdict::Skipped => ("skipped", AnsiColor::Cyan),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{style}{sign}{style:#}  {:<11}  {}", check.what, check.seen);
        if let Some(next) = &check.next_step {
            let _ = writeln!(page, "                      next: {next}");
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (failed, warnings) = (count(Verdict::Failed), count(Verdict::Warning));
    let said = match (failed, warnings) {
        (0, 0) => "no problem found".to_owned(),
        _ => format!("failed: {failed}; warnings: {warnings}"),
    };
    let _ = writeln!(page, "\n{said}");
    page
}
