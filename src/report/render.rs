//! Writes the report as text: plain columns for a terminal, or Markdown for an issue. Pure.
//!
//! AWS's texts are cleaned already. In Markdown they stand in code spans: a name must not make a link, mention a person
//! or end a cell of a table.

use super::{
    contents::{ApiConfiguration, App, Auth, Bucket, Environment, Report},
    matrix::Verdict,
};
use crate::api::backend_storage::Permission;

/// The form of the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Table,
    Markdown,
}

/// Returns the whole report as text.
pub(super) fn text(report: &Report, form: Form) -> String {
    let mut page = Page {
        form,
        text: String::new(),
    };
    page.title("Amplify Gen 1 backends, and what AWS's Gen 2 migration takes of them");
    page.line(&format!(
        "AWS account {}, {}, on {}.",
        form.quoted(&report.account),
        form.quoted(&report.region),
        report.date
    ));
    page.line(&deadline(report));
    page.line(&format!(
        "Verdicts: AWS's feature matrix of {} ({}).",
        report.matrix_date, report.matrix_source
    ));
    page.overview(report);
    for app in &report.apps {
        page.app(app);
    }
    page.gap();
    page.line(report.not_seen);
    page.line(report.next_step);
    page.text.trim_end().to_owned() + "\n"
}

fn deadline(report: &Report) -> String {
    let end = report.end_of_life;
    let left = report.days_left;
    let days = match left.abs() {
        1 => "1 day".to_owned(),
        count => format!("{count} days"),
    };
    match left {
        ..0 => format!("AWS ended Amplify Gen 1 on {end}, {days} ago."),
        0 => format!("AWS ends Amplify Gen 1 today ({end})."),
        1.. => format!("{days} left: AWS ends Amplify Gen 1 on {end}."),
    }
}

impl Form {
    /// Returns a text of AWS, so that the form takes it for nothing else.
    fn quoted(self, text: &str) -> String {
        match self {
            Self::Table => text.to_owned(),
            Self::Markdown if text.is_empty() => String::new(),
            Self::Markdown => format!("`{}`", text.replace('`', "'")),
        }
    }
}

/// The text so far.
struct Page {
    form: Form,
    text: String,
}

impl Page {
    fn push(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line, if there is none.
    fn gap(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.push(text);
        self.gap();
    }

    fn title(&mut self, text: &str) {
        match self.form {
            Form::Table => self.push(text),
            Form::Markdown => self.paragraph(&format!("# {text}")),
        }
    }

    fn heading(&mut self, text: &str) {
        self.gap();
        match self.form {
            Form::Table => self.push(text),
            Form::Markdown => self.paragraph(&format!("## {text}")),
        }
    }

    /// Adds a sentence.
    fn line(&mut self, text: &str) {
        match self.form {
            Form::Table => self.push(text),
            Form::Markdown => self.paragraph(text),
        }
    }

    fn item(&mut self, name: &str, text: &str) {
        match self.form {
            Form::Table => self.push(&format!("  {name}: {text}")),
            Form::Markdown => self.push(&format!("- {name}: {text}")),
        }
    }

    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        self.gap();
        let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
        match self.form {
            Form::Table => {
                let head: Vec<_> = head.iter().map(|cell| cell.to_uppercase()).collect();
                let width = |column: usize| {
                    let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
                    cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
                };
                let widths: Vec<_> = (0..head.len()).map(width).collect();
                for row in std::iter::once(&head).chain(rows) {
                    let cells = row.iter().zip(&widths);
                    let cells = cells.map(|(cell, width)| format!("  {cell:width$}"));
                    self.push(&cells.collect::<String>());
                }
            }
            Form::Markdown => {
                let line = |cells: &[String]| {
                    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
                    format!("| {} |", cells.join(" | "))
                };
                self.push(&line(&head));
                self.push(&line(&vec!["---".to_owned(); head.len()]));
                for row in rows {
                    self.push(&line(row));
                }
            }
        }
    }

    /// Adds one row for each environment.
    fn overview(&mut self, report: &Report) {
        let form = self.form;
        let mut rows = Vec::new();
        for app in &report.apps {
            for environment in app.environments.iter().flatten() {
                let mut row = vec![
                    form.quoted(&app.id),
                    form.quoted(&app.name),
                    form.quoted(&environment.name),
                    yes(environment.locked),
                    environment
                        .pending_jobs
                        .as_ref()
                        .map_or_else(not_known, |jobs| jobs.len().to_string()),
                ];
                row.extend(Verdict::ALL.map(|verdict| {
                    let of = environment.findings.iter().filter(|finding| finding.verdict == verdict);
                    if environment.has_backend.is_none() {
                        return not_known();
                    }
                    of.count().to_string()
                }));
                row.push(yes(!environment.not_known.is_empty()));
                rows.push(row);
            }
        }
        let head = ["app", "name", "environment", "locked", "pending jobs"];
        let head = head.into_iter().chain(Verdict::ALL.map(Verdict::words));
        self.table(&head.chain(["not known"]).collect::<Vec<_>>(), &rows);
    }

    fn app(&mut self, app: &App) {
        let form = self.form;
        let name = format!("App {} {}", form.quoted(&app.id), form.quoted(&app.name));
        let environments = app.environments.as_deref().unwrap_or_default();
        let lost = app.locked_environment.as_ref();
        let lost = lost.filter(|locked| !environments.iter().any(|environment| environment.name == **locked));
        if environments.is_empty() || lost.is_some() || !app.not_known.is_empty() {
            self.heading(&name);
            if let Some(locked) = lost {
                let said = if app.environments.is_some() {
                    "which is not among the environments that AWS shows"
                } else {
                    "and the environments are not known"
                };
                self.item(
                    "locked by a Gen 2 migration",
                    &format!("{}, {said}", form.quoted(locked)),
                );
            }
            self.not_known(&app.not_known);
            if environments.is_empty() && app.not_known.is_empty() {
                self.item("environments", "none");
            }
        }
        for environment in environments {
            self.heading(&format!("{name}, environment {}", form.quoted(&environment.name)));
            self.environment(environment);
        }
    }

    fn environment(&mut self, environment: &Environment) {
        let form = self.form;
        self.item("locked by a Gen 2 migration", &yes(environment.locked));
        let jobs = environment.pending_jobs.as_ref().map(|jobs| {
            let each = jobs.iter().map(|job| {
                let since = job.create_time.map(|time| format!(" since {time}"));
                let name = form.quoted(&job.operation);
                format!("{name} ({}{})", form.quoted(&job.status), since.unwrap_or_default())
            });
            some_or_none(&each.collect::<Vec<_>>())
        });
        self.item("pending jobs", &jobs.unwrap_or_else(not_known));
        if environment.has_backend == Some(false) {
            self.item("backend", "none, only the record of the environment");
            self.not_known(&environment.not_known);
            return;
        }
        for api in environment.graphql_apis.iter().flatten() {
            let configuration = api.configuration.as_ref();
            let said = configuration.map_or_else(not_known, |seen| self.configuration(seen));
            self.item(&format!("GraphQL API {}", form.quoted(&api.name)), &said);
        }
        for auth in environment.auths.iter().flatten() {
            self.item(&format!("auth {}", form.quoted(&auth.name)), &self.auth(auth));
        }
        for storage in environment.storages.iter().flatten() {
            self.item(&format!("S3 storage {}", form.quoted(&storage.name)), &bucket(storage));
        }
        if let Some(others) = &environment.other_categories {
            let each = others
                .iter()
                .map(|other| format!("{} {}", form.quoted(&other.category), other.count));
            self.item("other categories", &some_or_none(&each.collect::<Vec<_>>()));
        }
        self.not_known(&environment.not_known);
        let rows = environment.findings.iter().map(|finding| {
            let (of, verdict) = (form.quoted(&finding.of), finding.verdict.words().to_owned());
            vec![verdict, finding.feature.to_owned(), of, finding.to_do.to_owned()]
        });
        self.table(&["verdict", "feature", "of", "to do"], &rows.collect::<Vec<_>>());
    }

    fn not_known(&mut self, reasons: &[String]) {
        for reason in reasons {
            self.item("not known", &self.form.quoted(reason));
        }
    }

    fn configuration(&self, seen: &ApiConfiguration) -> String {
        let mode = |mode: Option<_>| mode.map_or_else(not_known, word);
        let additional: Vec<_> = seen.additional_auth_modes.iter().copied().map(mode).collect();
        let strategy = seen.conflict_resolution.map_or_else(|| "not shown".to_owned(), word);
        let name = seen.api_name.as_deref().map(|name| self.form.quoted(name));
        format!(
            "name {}; default mode {}; additional modes {}; conflict resolution {strategy}",
            name.unwrap_or_else(|| "not shown".to_owned()),
            mode(seen.default_auth_mode),
            some_or_none(&additional),
        )
    }

    fn auth(&self, auth: &Auth) -> String {
        let words = |words: Option<&Vec<String>>| match words {
            Some(words) => some_or_none(&words.iter().map(|word| self.form.quoted(word)).collect::<Vec<_>>()),
            None => "not shown".to_owned(),
        };
        let detailed = |text: Option<String>, details: Option<&Vec<String>>| match (text, details) {
            (None, None) => "not shown".to_owned(),
            (text, details) => {
                let text = text.unwrap_or_else(|| "not shown".to_owned());
                format!("{text} ({})", words(details))
            }
        };
        format!(
            "imported {}; hosted UI {}; social providers {}; user names {}; verification {}; MFA {}; password {}",
            yes(auth.imported),
            yes(auth.hosted_ui),
            words(auth.social_providers.as_ref()),
            words(auth.username_attributes.as_ref()),
            words(auth.verification_mechanisms.as_ref()),
            detailed(
                auth.mfa.as_ref().map(|mfa| self.form.quoted(mfa)),
                auth.mfa_types.as_ref()
            ),
            detailed(
                auth.password_min_length
                    .map(|length| format!("at least {length} characters")),
                auth.password_characters.as_ref(),
            ),
        )
    }
}

fn bucket(storage: &Bucket) -> String {
    let permissions = |set: Option<&Vec<Permission>>| match set {
        Some(set) => some_or_none(&set.iter().copied().map(word).collect::<Vec<_>>()),
        None => "not shown".to_owned(),
    };
    let shown = storage.permissions.as_ref();
    format!(
        "imported {}; users {}; guests {}",
        storage.imported.map_or_else(not_known, yes),
        permissions(shown.and_then(|shown| shown.authenticated.as_ref())),
        permissions(shown.and_then(|shown| shown.un_authenticated.as_ref())),
    )
}

/// Returns AWS's word for a value.
fn word(value: impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    let word = word.as_ref().and_then(|word| word.as_str());
    word.map_or_else(not_known, str::to_owned)
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn not_known() -> String {
    "not known".to_owned()
}

fn some_or_none(all: &[String]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    all.join(", ")
}
