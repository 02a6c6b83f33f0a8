//! `amplify-operator import`: prints manifests of existing AWS objects, ready to be committed.
//!
//! May do: read AWS through the inventory, print, write files into the given folder. May not: write to AWS, use
//! Kubernetes. `plan` and `render` are pure, this file does the rest.

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
};

use anyhow::{Context as _, bail};

use self::plan::Part;
use crate::{
    api::KindName,
    cli::Import,
    inventory::{self, INCOMPLETE, Inventory},
};

/// File in `--output-dir` for the parts that are no manifests. kubectl does not read files with this extension.
const NOT_IMPORTED: &str = "not-imported.txt";

/// Reads AWS, then prints the manifests or writes them to files.
pub async fn run(settings: Import) -> anyhow::Result<ExitCode> {
    let source = &settings.source;
    let inventory = inventory::connect(source).await?.read(source).await?;
    let parts = plan::plan(&inventory, settings.manage);
    let header = header(&inventory, settings.manage);
    let namespace = settings.namespace.as_deref();
    if let Some(folder) = &settings.output_dir {
        let files = files(&header, &parts, namespace)?;
        write(folder, &files, settings.force)?;
        writeln!(io::stderr().lock(), "{} files are in {}", files.len(), folder.display())?;
    } else {
        let whole = whole(&header, &parts, namespace)?;
        io::stdout()
            .lock()
            .write_all(whole.as_bytes())
            .context("cannot print")?;
    }
    report(&inventory, &parts)
}

fn header(inventory: &Inventory, manage: bool) -> String {
    let place = format!(
        "Made by `amplify-operator import` from AWS account {} in {}.",
        inventory.account, inventory.region
    );
    let policies = if manage {
        "Each resource takes over an existing AWS object (adoptionPolicy: IfExists) and leaves it in AWS when the resource is deleted (deletionPolicy: Retain)."
    } else {
        "Each resource only observes an existing AWS object (managementPolicy: Observe): AWS gets no write. With managementPolicy: Manage, the resource takes the object over, and leaves it in AWS when the resource is deleted."
    };
    render::comment(&place) + &render::comment(policies)
}

/// Returns all parts as one stream of documents.
fn whole(header: &str, parts: &[Part], namespace: Option<&str>) -> anyhow::Result<String> {
    let mut whole = header.to_owned();
    for part in parts {
        whole += "---\n";
        whole += &render::part(part, namespace)?;
    }
    Ok(whole)
}

/// Returns one file for each manifest, and one for the other parts.
fn files(header: &str, parts: &[Part], namespace: Option<&str>) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut rest = String::new();
    for part in parts {
        let text = render::part(part, namespace)?;
        if let Part::Manifest { resource, .. } = part {
            let name = format!("{}-{}.yaml", resource.kind.name().to_lowercase(), resource.name);
            files.insert(name, header.to_owned() + &text);
        } else {
            rest += "\n";
            rest += &text;
        }
    }
    if !rest.is_empty() {
        files.insert(NOT_IMPORTED.to_owned(), header.to_owned() + &rest);
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
