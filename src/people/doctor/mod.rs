//! `doctor`: checks an installation part by part, and says of each problem what to do.
//!
//! May do: read Kubernetes and AWS, print. May not: change anything. `installation` reads how the operator runs; `checks`,
//! `operator` and `resources` ask and judge; `rights` is the list of rights, `together` compares several operators, `aws`
//! asks AWS; this file puts them in order and prints.

mod aws;
mod checks;
mod deployment;
mod installation;
mod operator;
mod resources;
mod rights;
mod together;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use self::{
    checks::{Allowed, Told},
    installation::Installation,
    operator::Found,
};
use super::{
    cluster::{self, Cluster},
    entry::Caller,
    print,
};
use crate::{
    api::text,
    cli::people::{Doctor, Form},
    telemetry::error::in_words,
};

/// How long one check may take.
const LONGEST: Duration = Duration::from_secs(45);
/// How long all checks together may take.
const WHOLE: Duration = Duration::from_mins(3);
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
    /// How the next steps reach the same cluster.
    caller: Caller,
    /// The operator that the checks are about, where there are several.
    whose: Option<String>,
    checks: Vec<Check>,
    /// How long one check may take.
    longest: Duration,
    /// When no more questions are asked.
    ends: Instant,
}

impl Report {
    fn new(form: Form, caller: Caller) -> Self {
        Self {
            form,
            caller,
            whose: None,
            checks: Vec::new(),
            longest: LONGEST,
            ends: Instant::now() + WHOLE,
        }
    }

    /// Adds a check. The texts come from Deployments, ConfigMaps and other places where others write.
    fn add(&mut self, mut check: Check) -> anyhow::Result<()> {
        if let Some(whose) = &self.whose {
            check.seen = format!("{whose}: {}", check.seen);
        }
        check.seen = shown(&check.seen);
        check.next_step = check.next_step.as_deref().map(shown);
        if self.form == Form::Text {
            print(&line(&check))?;
        }
        self.checks.push(check);
        Ok(())
    }

    /// Adds the checks that this work makes, or that it takes too long. Returns the work's result.
    ///
    /// The work has a thread of its own: a file that hangs, such as a named pipe, and a credential plugin that does not
    /// return block their thread, and the other checks are made all the same.
    async fn add_all<T, W>(
        &mut self,
        what: &'static str,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> anyhow::Result<Option<T>>
    where
        T: Send + 'static,
        W: Future<Output = (T, Vec<Check>)>,
    {
        let now = Instant::now();
        if now >= self.ends {
            let said = format!("not asked: the checks before it took {} s", WHOLE.as_secs());
            self.add(Check::skipped(what, said))?;
            return Ok(None);
        }
        let until = self.ends.min(now + self.longest);
        let runtime = Handle::current();
        // The limit within ends work that only waits. The limit around it leaves a blocked thread behind.
        let working =
            spawn_blocking(move || runtime.block_on(async { timeout_at(until, Box::pin(work())).await.ok() }));
        let done = match timeout_at(until, working).await {
            Ok(done) => done.context("a check failed")?,
            Err(_) => None,
        };
        let Some((result, checks)) = done else {
            let said = format!("no answer within {} s", (until - now).as_secs());
            self.add(Check::failed(what, said, where_to_look(what, &self.caller)))?;
            return Ok(None);
        };
        for check in checks {
            self.add(check)?;
        }
        Ok(Some(result))
    }

    /// Returns the last line. Where something is not known, it does not say that all is well.
    fn sum(&self) -> String {
        let [failed, warnings, skipped] =
            [Verdict::Failed, Verdict::Warning, Verdict::Skipped].map(|verdict| self.count(verdict));
        if failed + warnings + skipped == 0 {
            return "no problem found".to_owned();
        }
        let mut sum = format!("failed: {failed}; warnings: {warnings}");
        if skipped > 0 {
            sum.push_str("; could not be checked: ");
            sum.push_str(&skipped.to_string());
        }
        sum
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }
}

/// Returns the next step for a check that got no answer in time.
fn where_to_look(what: &str, caller: &Caller) -> String {
    let version = caller.kubectl("version");
    match what {
        checks::API_SERVER => format!(
            "see whether `{version}` answers, and whether the files and the credential plugin of the kubeconfig do; everything in the cluster is unchecked"
        ),
        checks::ACCOUNTS => format!("see whether the accounts file can be read, and whether `{version}` answers"),
        aws::CREDENTIALS => {
            "check the way to AWS from here, and whether the files that AWS_CA_BUNDLE, AWS_CONFIG_FILE and the like name can be read".to_owned()
        }
        _ => format!("try again; if it stays so, see whether `{version}` answers, and how busy the API server is"),
    }
}

/// Returns a text of others for a terminal.
fn shown(text: &str) -> String {
    text::shortened(&text::clean(text), SHOWN).into_owned()
}

/// Checks everything, and prints the checks.
pub(super) async fn run(settings: Doctor) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(settings.printed.output, cluster::caller(&settings.access));
    Box::pin(check(&Arc::new(settings), &mut report)).await?;
    match report.form {
        Form::Json => print(&(serde_json::to_string_pretty(&json!({ "checks": report.checks }))? + "\n"))?,
        Form::Text => print(&format!("\n{}\n", report.sum()))?,
    };
    Ok(ExitCode::from(u8::from(report.count(Verdict::Failed) > 0)))
}

async fn check(settings: &Arc<Doctor>, report: &mut Report) -> anyhow::Result<()> {
    let Some(cluster) = reached(settings, report).await? else {
        let own = settings.clone();
        let told = report
            .add_all(checks::ACCOUNTS, async move || {
                checks::accounts_of_file(&own, &Allowed::of(&own, None)).await
            })
            .await?;
        return credentials(settings, report, told.unwrap_or(Told::Broken), Vec::new()).await;
    };
    let asked = cluster.clone();
    let definitions = async move || checks::definitions(&asked).await;
    let is_served = report.add_all(checks::DEFINITIONS, definitions).await?;
    let (asked, own) = (cluster.clone(), settings.clone());
    let found = async move || operator::check(&asked, own.namespace.as_deref()).await;
    let found = report.add_all(operator::OPERATOR, found).await?;
    let (installations, is_sure) = match found {
        Some(Found::Deployments(installations, is_sure)) => (installations, is_sure),
        Some(Found::None) => (vec![Installation::of_this_process(&cluster)], false),
        Some(Found::Unknown) | None => (Vec::new(), false),
    };
    let installations: Vec<_> = installations.into_iter().map(Arc::new).collect();
    let mut namespaces = Vec::new();
    if is_served == Some(false) {
        report.add(Check::skipped(
            checks::RESOURCES,
            "not looked at, because of the definitions",
        ))?;
    } else {
        let (asked, all) = (cluster.clone(), installations.clone());
        let resources = async move || resources::check(&asked, &all).await;
        namespaces = report.add_all(checks::RESOURCES, resources).await?.unwrap_or_default();
    }
    for check in together::check(&installations) {
        report.add(check)?;
    }
    for installation in &installations {
        report.whose = (installations.len() > 1).then(|| installation.name());
        one(settings, report, &cluster, installation, &namespaces, is_sure).await?;
    }
    Ok(())
}

/// Checks one installation.
async fn one(
    settings: &Arc<Doctor>,
    report: &mut Report,
    cluster: &Arc<Cluster>,
    installation: &Arc<Installation>,
    namespaces: &[String],
    is_sure: bool,
) -> anyhow::Result<()> {
    let own = installation.of(namespaces);
    if installation.is_this_process && !installation.faults.is_empty() {
        let next = "correct it: with this, the operator ends at its start";
        let said = format!("this process: {}", installation.faults.join("; "));
        report.add(Check::failed(operator::OPERATOR, said, next))?;
    }
    let (asked, of) = (cluster.clone(), installation.clone());
    let rights = async move || ((), rights::check(&asked, &of).await);
    report.add_all(rights::RIGHTS, rights).await?;
    let (asked, of) = (cluster.clone(), installation.clone());
    let leader = async move || ((), vec![checks::leader(&asked, &of).await]);
    report.add_all(checks::LEADER, leader).await?;
    let (asked, of, with, names) = (cluster.clone(), installation.clone(), settings.clone(), own.clone());
    let told = async move || checks::accounts(&asked, &of, &with, &names).await;
    let told = report.add_all(checks::ACCOUNTS, told).await?;
    if installation.is_this_process {
        return credentials(settings, report, told.unwrap_or(Told::Broken), own).await;
    }
    report.add(operator::aws_elsewhere(installation, &cluster.caller, is_sure))
}

/// Checks what AWS says to this process.
async fn credentials(
    settings: &Arc<Doctor>,
    report: &mut Report,
    told: Told,
    namespaces: Vec<String>,
) -> anyhow::Result<()> {
    let own = settings.clone();
    let work = move || async move { ((), aws::check(&own, told, &namespaces).await) };
    report.add_all(aws::CREDENTIALS, work).await?;
    Ok(())
}

/// Connects to the API server, and adds whether it answers.
async fn reached(settings: &Arc<Doctor>, report: &mut Report) -> anyhow::Result<Option<Arc<Cluster>>> {
    let own = settings.clone();
    let reach = async move || match Cluster::connect(&own.access).await {
        Ok(cluster) => {
            let (answers, checks) = checks::api_server(&cluster).await;
            (answers.then(|| Arc::new(cluster)), checks)
        }
        Err(error) => {
            let next = "what is in the cluster is unchecked";
            let check = Check::failed(checks::API_SERVER, in_words(error.as_ref()), next);
            (None, vec![check])
        }
    };
    Ok(report.add_all(checks::API_SERVER, reach).await?.flatten())
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

#[cfg(test)]
mod tests {
    use super::{super::entry::tests::caller, *};

    fn report(checks: Vec<Check>) -> Report {
        Report {
            checks,
            ..Report::new(Form::Json, caller())
        }
    }

    #[test]
    fn no_problem_is_found_only_where_everything_was_checked() {
        let (ok, skipped) = (Check::ok("a", "b"), Check::skipped("a", "b"));
        let (warning, failed) = (Check::warning("a", "b", "c"), Check::failed("a", "b", "c"));
        for (checks, wanted) in [
            (vec![ok.clone()], "no problem found"),
            (
                vec![ok.clone(), skipped.clone(), skipped.clone()],
                "failed: 0; warnings: 0; could not be checked: 2",
            ),
            (vec![ok, warning.clone()], "failed: 0; warnings: 1"),
            (
                vec![failed, warning, skipped],
                "failed: 1; warnings: 1; could not be checked: 1",
            ),
        ] {
            assert_eq!(report(checks).sum(), wanted);
        }
    }

    #[test]
    fn of_several_operators_each_line_says_whose_it_is() {
        let mut report = report(Vec::new());
        report.add(Check::ok("leader", "a")).unwrap();
        report.whose = Some("ops/x".to_owned());
        report.add(Check::skipped("aws", "b")).unwrap();
        let said: Vec<_> = report.checks.iter().map(|check| check.seen.as_str()).collect();
        assert_eq!(said, ["a", "ops/x: b"]);
    }

    #[tokio::test]
    async fn neither_a_check_nor_all_of_them_take_for_ever_although_one_blocks_its_thread() {
        let mut report = report(Vec::new());
        let (end, blocked) = std::sync::mpsc::channel::<()>();
        let begun = Instant::now();
        report.longest = Duration::from_millis(100);
        report.ends = begun + Duration::from_millis(250);
        let blocks = async move || {
            // As the open of a named pipe does.
            let _ = blocked.recv();
            ((), Vec::new())
        };
        assert_eq!(report.add_all(checks::ACCOUNTS, blocks).await.unwrap(), None);
        for _ in 0..3 {
            let waits = futures::future::pending::<((), Vec<Check>)>;
            assert_eq!(report.add_all("slow", waits).await.unwrap(), None);
        }
        drop(end);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let said: Vec<_> = report.checks.iter().map(|check| check.seen.as_str()).collect();
        assert_eq!(said[0], "no answer within 0 s");
        assert_eq!(said[3], "not asked: the checks before it took 180 s");
        let next = report.checks[0].next_step.as_deref().unwrap_or_default();
        assert!(next.starts_with("see whether the accounts file can be read"), "{next}");
    }
}
