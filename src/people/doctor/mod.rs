//! `doctor`: checks an installation part by part, and says of each problem what to do.
//!
//! May do: read Kubernetes and AWS, print. May not: change anything. `installation` reads how the operator runs, `checks`
//! asks and judges, `rights` is the list of rights, `aws` asks AWS; this file puts them in order and prints.

mod aws;
mod checks;
mod deployment;
mod installation;
mod rights;

use std::{process::ExitCode, time::Duration};

use anstyle::{AnsiColor, Style};
use futures::{FutureExt as _, future::LocalBoxFuture};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use self::{checks::Found, installation::Installation};
use super::{cluster::Cluster, print};
use crate::{
    api::text,
    cli::people::{Doctor, Form},
};

/// How long one check may take.
const LONGEST: Duration = Duration::from_secs(45);
/// How many bytes of a text are shown.
const SHOWN: usize = 2048;

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

/// The checks so far. As text, each is printed as soon as it is done.
struct Report {
    form: Form,
    checks: Vec<Check>,
}

impl Report {
    /// Adds a check. The texts come from Deployments, ConfigMaps and other places where others write.
    fn add(&mut self, mut check: Check) -> anyhow::Result<()> {
        check.seen = shown(&check.seen);
        check.next_step = check.next_step.as_deref().map(shown);
        if self.form == Form::Text {
            print(&line(&check))?;
        }
        self.checks.push(check);
        Ok(())
    }

    /// Adds the checks that this work makes, or that it takes too long.
    async fn add_all(&mut self, what: &'static str, work: LocalBoxFuture<'_, Vec<Check>>) -> anyhow::Result<()> {
        let checks = timeout(LONGEST, work).await.unwrap_or_else(|_| {
            let seen = format!("no answer within {} s", LONGEST.as_secs());
            vec![Check::failed(
                what,
                seen,
                "try again; if it stays so, look at what is asked here",
            )]
        });
        for check in checks {
            self.add(check)?;
        }
        Ok(())
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

/// Returns a text of others for a terminal.
fn shown(text: &str) -> String {
    text::shortened(&text::clean(text), SHOWN).into_owned()
}

/// Checks everything, and prints the checks.
pub(super) async fn run(settings: Doctor) -> anyhow::Result<ExitCode> {
    let mut report = Report {
        form: settings.printed.output,
        checks: Vec::new(),
    };
    Box::pin(check(&settings, &mut report)).await?;
    let (failed, warnings) = (report.count(Verdict::Failed), report.count(Verdict::Warning));
    match report.form {
        Form::Json => print(&(serde_json::to_string_pretty(&json!({ "checks": report.checks }))? + "\n"))?,
        Form::Text if failed + warnings == 0 => print("\nno problem found\n")?,
        Form::Text => print(&format!("\nfailed: {failed}; warnings: {warnings}\n"))?,
    };
    Ok(ExitCode::from(u8::from(failed > 0)))
}

async fn check(settings: &Doctor, report: &mut Report) -> anyhow::Result<()> {
    let Some(cluster) = reached(settings, report).await? else {
        let (accounts, checks) = checks::accounts_of_file(settings).await;
        for check in checks {
            report.add(check)?;
        }
        return report
            .add_all(aws::CREDENTIALS, aws::check(settings, accounts, &[]).boxed_local())
            .await;
    };
    let (is_served, check) = checks::definitions(&cluster).await;
    report.add(check)?;
    let (found, checks) = checks::operator(&cluster, settings.namespace.as_deref()).await;
    for check in checks {
        report.add(check)?;
    }
    let installations = match found {
        Found::Deployments(installations) => installations,
        Found::None => vec![Installation::of_this_process(&cluster)],
        Found::Unknown => Vec::new(),
    };
    let mut namespaces = Vec::new();
    if is_served {
        let (resources, check) = checks::resources(&cluster, &installations).await;
        report.add(check)?;
        namespaces = resources.into_iter().map(|entry| entry.namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
    }
    for installation in &installations {
        let own = installation.of(&namespaces);
        report
            .add_all(
                rights::RIGHTS,
                async { vec![rights::check(&cluster, installation).await] }.boxed_local(),
            )
            .await?;
        report
            .add_all(
                checks::LEADER,
                async { vec![checks::leader(&cluster, installation).await] }.boxed_local(),
            )
            .await?;
        let (accounts, checks) = checks::accounts(&cluster, installation, settings, &own).await;
        for check in checks {
            report.add(check)?;
        }
        if installation.is_this_process {
            report
                .add_all(aws::CREDENTIALS, aws::check(settings, accounts, &own).boxed_local())
                .await?;
        } else {
            report.add(checks::aws_elsewhere(installation, &cluster.caller))?;
        }
    }
    Ok(())
}

/// Connects to the API server, and adds whether it answers.
async fn reached(settings: &Doctor, report: &mut Report) -> anyhow::Result<Option<Cluster>> {
    let cluster = match Cluster::connect(&settings.access).await {
        Ok(cluster) => cluster,
        Err(error) => {
            let next = "what is in the cluster is unchecked";
            report.add(Check::failed(checks::API_SERVER, format!("{error:#}"), next))?;
            return Ok(None);
        }
    };
    let answered = timeout(LONGEST, checks::api_server(&cluster)).await;
    let (is_there, check) = answered.unwrap_or_else(|_| {
        let seen = format!("no answer within {} s", LONGEST.as_secs());
        (
            false,
            Check::failed(checks::API_SERVER, seen, "what is in the cluster is unchecked"),
        )
    });
    report.add(check)?;
    Ok(is_there.then_some(cluster))
}

fn line(check: &Check) -> String {
    let (sign, colour) = match check.verdict {
        Verdict::Ok => ("ok     ", AnsiColor::Green),
        Verdict::Warning => ("warning", AnsiColor::Yellow),
        Verdict::Failed => ("FAILED ", AnsiColor::Red),
        Verdict::Skipped => ("skipped", AnsiColor::Cyan),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let mut text = format!("{style}{sign}{style:#}  {:<11}  {}\n", check.what, check.seen);
    if let Some(next) = &check.next_step {
        text += "                      next: ";
        text += next;
        text.push('\n');
    }
    text
}
