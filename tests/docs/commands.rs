//! Checks that each command in the documentation is valid: its program parses it, without running it.

use std::{fs, process::Stdio};

use amplify_devcluster::tools;
use amplify_operator::cli::Cli;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use tokio::process::Command;

use crate::pages::root;

const CHART: &str = "charts/amplify-operator";

pub(crate) async fn check(command: &str) -> Result<()> {
    for part in command.split(" | ").flat_map(|part| part.split(" && ")) {
        let part = part.split(" > ").next().unwrap_or(part);
        let words = shlex::split(part).context("the quotes do not match")?;
        // Assignments of variables may come before the program.
        let words: Vec<_> = words
            .iter()
            .map(String::as_str)
            .skip_while(|word| is_assignment(word))
            .collect();
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        match *program {
            "make" => make(arguments)?,
            "cargo" => cargo(arguments)?,
            "amplify-operator" => amplify_operator(&words)?,
            "helm" => helm(arguments).await?,
            "kubectl" if arguments.first() == Some(&"amplify") => {
                amplify_operator(&[&["amplify-operator"], &arguments[1..]].concat())?;
            }
            "kubectl" => kubectl(arguments).await?,
            _ => {}
        }
    }
    Ok(())
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn make(targets: &[&str]) -> Result<()> {
    let makefile = fs::read_to_string(root().join("Makefile"))?;
    for target in targets
        .iter()
        .take_while(|word| **word != "<")
        .filter(|word| !word.contains('='))
    {
        let rule = format!("\n{target}:");
        ensure!(makefile.contains(&rule), "the Makefile has no target {target}");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let manifests = manifests()?;
    let named = |flag: &str| {
        arguments
            .iter()
            .position(|word| *word == flag)
            .and_then(|at| arguments.get(at + 1))
    };
    if let Some(name) = named("--test") {
        ensure!(
            manifests.contains(&format!("[[test]]\nname = \"{name}\"")),
            "there is no test {name}"
        );
    }
    if let Some(name) = named("-p") {
        ensure!(
            manifests.contains(&format!("[package]\nname = \"{name}\"")),
            "there is no package {name}"
        );
    }
    Ok(())
}

/// Returns the text of all manifests of the workspace.
fn manifests() -> Result<String> {
    let mut text = fs::read_to_string(root().join("Cargo.toml"))?;
    let members = text.lines().find_map(|line| line.strip_prefix("members = "));
    let members: Vec<String> = serde_json::from_str(members.context("the workspace names no members")?)?;
    for member in members {
        text.push_str(&fs::read_to_string(root().join(member).join("Cargo.toml"))?);
    }
    Ok(text)
}

fn amplify_operator(words: &[&str]) -> Result<()> {
    match Cli::try_parse_from(words) {
        Err(error) if error.use_stderr() => bail!("{error}"),
        _ => Ok(()),
    }
}

/// Renders the installation with the chart of this repository, whatever the chart's source in the command.
async fn helm(arguments: &[&str]) -> Result<()> {
    let Some((&verb, rest)) = arguments.split_first() else {
        bail!("helm needs a command");
    };
    if !matches!(verb, "install" | "upgrade" | "template") {
        return parses(tools::helm().await?, &[arguments, &["--help"]].concat()).await;
    }
    let is_chart = |word: &&str| word.starts_with("oci://") || word.contains("charts/");
    ensure!(rest.iter().any(is_chart), "no chart is named");
    let mut rendered = vec!["template"];
    let mut rest = rest.iter().copied();
    while let Some(word) = rest.next() {
        match word {
            "--install" | "--create-namespace" | "--wait" | "--reuse-values" | "--reset-then-reuse-values" => {}
            // The next word is a file of the reader, a published version, or a duration.
            "--version" | "--timeout" | "--values" | "-f" => {
                rest.next();
            }
            word if is_chart(&word) => rendered.push(CHART),
            word => rendered.push(word),
        }
    }
    parses(tools::helm().await?, &rendered).await
}

/// Runs the command without a server. kubectl checks its arguments before it connects.
async fn kubectl(arguments: &[&str]) -> Result<()> {
    for word in arguments
        .iter()
        .filter(|word| word.starts_with("deploy/") || word.starts_with("charts/"))
    {
        ensure!(root().join(word).exists(), "{word} does not exist");
    }
    let arguments = [arguments, &["--help"]].concat();
    parses(tools::kubectl().await?, &arguments).await
}

async fn parses(program: std::path::PathBuf, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
