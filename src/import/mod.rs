//! `amplify-operator import`: prints manifests of existing AWS objects, ready to be committed.
//!
//! May do: read AWS through the port, print, write files into the given folder. May not: write to AWS, use Kubernetes.
//! `fetch` reads AWS, `plan` and `render` are pure, this file does the rest.

mod fetch;
mod inventory;
mod names;
mod plan;
mod render;
mod schema;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use self::{inventory::Inventory, plan::Part};
use crate::{
    amplify::{Base, Client, Session, Sessions},
    api::KindName,
    cli::Import,
    clock::Clock,
    lifecycle::facts::{Class, Failure},
    telemetry::Metrics,
};

/// Exit code: AWS gave no answer about some existing objects.
const INCOMPLETE: u8 = 3;
/// File in `--output-dir` for the parts that are no manifests. kubectl does not read files with this extension.
const NOT_IMPORTED: &str = "not-imported.txt";

/// Reads AWS, then prints the manifests or writes them to files.
pub async fn run(settings: Import) -> anyhow::Result<ExitCode> {
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let clock = Arc::new(Clock::of_machine());
    let sessions = Sessions::new(
        Base::load().await,
        metrics,
        clock,
        None,
        settings.allowed_region.clone(),
    );
    // A namespace determines the account only with an accounts file.
    let region = settings.region.clone().or_else(|| sessions.assignment("").region);
    // The SDK accepts an empty AWS_REGION as a region.
    let region = region.filter(|region| !region.trim().is_empty());
    let region =
        region.context("no AWS region is known: give --region, set AWS_REGION, or set a region in the AWS profile")?;
    if let Some(why) = sessions.refuses_region(&region) {
        bail!("{why}");
    }
    let session = sessions.session_for("").map_err(|failure| refused(&failure))?;
    let inventory = read(&settings, &session, region).await?;
    let parts = plan::plan(&inventory);
    let namespace = settings.namespace.as_deref();
    if let Some(folder) = &settings.output_dir {
        write(folder, &files(&inventory, &parts, namespace)?, settings.force)?;
    } else {
        let whole = whole(&inventory, &parts, namespace)?;
        io::stdout()
            .lock()
            .write_all(whole.as_bytes())
            .context("cannot print")?;
    }
    report(&inventory, &parts)
}

async fn read(settings: &Import, session: &Session, region: String) -> anyhow::Result<Inventory> {
    // The bar is drawn on stderr, and only on a terminal.
    let bar = ProgressBar::new(0).with_style(style()?);
    bar.tick();
    let account = session.account_id().await.map_err(|failure| refused(&failure))?;
    let client = session.client(&region);
    let names = app_names(settings, &client, &account, &region).await?;
    let mut apps = BTreeMap::new();
    for (id, name) in names {
        bar.set_message(format!("app {id}"));
        let app = fetch::app(&client, &id, name, &bar).await;
        apps.insert(id, app);
    }
    bar.finish_and_clear();
    Ok(Inventory {
        manage: settings.manage,
        account,
        region,
        apps,
    })
}

fn style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template(
        "reading AWS {bar:30} {pos}/{len} environments {msg}",
    )?)
}

async fn app_names(
    settings: &Import,
    client: &Client,
    account: &str,
    region: &str,
) -> anyhow::Result<BTreeMap<String, String>> {
    if settings.apps.all_apps {
        return fetch::patiently(|| client.list_apps())
            .await
            .map_err(|failure| refused(&failure));
    }
    let mut names = BTreeMap::new();
    for id in &settings.apps.app_id {
        let name = fetch::patiently(|| client.app_name(id))
            .await
            .map_err(|failure| refused(&failure))?;
        let Some(name) = name else {
            bail!(
                "AWS account {account} has no Amplify app {id} in {region}: check the app id, --region and AWS_PROFILE; --all-apps imports every app there"
            );
        };
        names.insert(id.as_str().to_owned(), name);
    }
    Ok(names)
}

/// Returns the error for a failure that makes the import impossible, with advice.
fn refused(failure: &Failure) -> anyhow::Error {
    let hint = match failure.class {
        Class::AccessDenied => {
            ". Credentials come from the AWS SDK's own chain (AWS_PROFILE, AWS_ACCESS_KEY_ID, SSO, a role); import needs the actions in deploy/iam-policy-import.json"
        }
        Class::Unavailable => ". Nothing was printed: try again",
        _ => "",
    };
    anyhow::anyhow!("{}{hint}", failure.message)
}

fn header(inventory: &Inventory) -> String {
    let place = format!(
        "Made by `amplify-operator import` from AWS account {} in {}.",
        inventory.account, inventory.region
    );
    let policies = if inventory.manage {
        "Each resource takes over an existing AWS object (adoptionPolicy: IfExists) and leaves it in AWS when the resource is deleted (deletionPolicy: Retain)."
    } else {
        "Each resource only observes an existing AWS object (managementPolicy: Observe): AWS gets no write. With managementPolicy: Manage, the resource takes the object over, and leaves it in AWS when the resource is deleted."
    };
    render::comment(&place) + &render::comment(policies)
}

/// Returns all parts as one stream of documents.
fn whole(inventory: &Inventory, parts: &[Part], namespace: Option<&str>) -> anyhow::Result<String> {
    let mut whole = header(inventory);
    for part in parts {
        whole += "---\n";
        whole += &render::part(part, namespace)?;
    }
    Ok(whole)
}

/// Returns one file for each manifest, and one for the other parts.
fn files(inventory: &Inventory, parts: &[Part], namespace: Option<&str>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut rest = String::new();
    for part in parts {
        let text = render::part(part, namespace)?;
        if let Part::Manifest { resource, .. } = part {
            let name = format!("{}-{}.yaml", resource.kind.name().to_lowercase(), resource.name);
            files.insert(name, header(inventory) + &text);
        } else {
            rest += "\n";
            rest += &text;
        }
    }
    if !rest.is_empty() {
        files.insert(NOT_IMPORTED.to_owned(), header(inventory) + &rest);
    }
    Ok(files)
}

/// Writes all files. Writes none if one would overwrite other content.
fn write(folder: &Path, files: &BTreeMap<String, String>, force: bool) -> anyhow::Result<()> {
    let mut changed = Vec::new();
    let mut others = Vec::new();
    for (name, content) in files {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(found) if found == content.as_bytes() => continue,
            Ok(_) => others.push(name.as_str()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
        changed.push((path, content));
    }
    if !others.is_empty() && !force {
        bail!(
            "in {}, these files have other content: {}; nothing was written. Give --force to overwrite them",
            folder.display(),
            others.join(", ")
        );
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (path, content) in changed {
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Prints on stderr a summary of the import, and the parts that are not in the output.
fn report(inventory: &Inventory, parts: &[Part]) -> anyhow::Result<ExitCode> {
    let (text, code) = summary(inventory, parts);
    io::stderr().lock().write_all(text.as_bytes())?;
    Ok(code)
}

fn summary(inventory: &Inventory, parts: &[Part]) -> (String, ExitCode) {
    let count = |kind| {
        let is_one = |part: &&Part| matches!(part, Part::Manifest { resource, .. } if resource.kind == kind);
        parts.iter().filter(is_one).count()
    };
    let counts: Vec<_> = KindName::ALL
        .iter()
        .map(|kind| format!(", {}: {}", kind.name(), count(*kind)))
        .collect();
    let mut text = format!(
        "amplify-operator: AWS account {}, {}; apps: {}{}\n",
        inventory.account,
        inventory.region,
        inventory.apps.len(),
        counts.concat()
    );
    let mut code = ExitCode::SUCCESS;
    for part in parts {
        let line = match part {
            Part::Manifest { notes, .. } if notes.is_empty() => continue,
            Part::Manifest { resource, notes } => {
                format!("{} {}: {}", resource.kind.name(), resource.name, notes.join(" "))
            }
            Part::Refused { resource, why } => {
                format!("not imported: {} {}: {why}", resource.kind.name(), resource.name)
            }
            Part::Remark(text) => format!("not imported: {text}"),
            Part::Unanswered(text) => {
                code = ExitCode::from(INCOMPLETE);
                format!("no answer: {text}")
            }
        };
        text += "  ";
        // Escaped as in the output: AWS's text must not control a terminal.
        text += render::comment(&line).trim_start_matches("# ");
    }
    if code != ExitCode::SUCCESS {
        text += "amplify-operator: the import is incomplete; run it again, or give its role the actions in deploy/iam-policy-import.json\n";
    }
    (text, code)
}
