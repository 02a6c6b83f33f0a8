//! `completion`: the script with which a shell completes the commands, and the answers to kubectl when it completes
//! `kubectl amplify`. May do: print.

use std::{env, ffi::OsString, fmt::Write as _, process::ExitCode};

use clap::CommandFactory as _;

use super::print;
use crate::{
    api::text::clean,
    cli::{self, Plugin, people::Completion},
};

/// The name by which kubectl asks for completions of `kubectl amplify`
/// (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#shell-completion>).
const COMPLETES: &str = "kubectl_complete-amplify";
/// The directive after the candidates that says: complete no file names (cobra's `ShellCompDirectiveNoFileComp`).
const NO_FILES: &str = ":4";

/// Prints the script.
pub(super) fn run(settings: &Completion) -> anyhow::Result<ExitCode> {
    let mut command = cli::definition();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(settings.shell, &mut command, name, &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether kubectl has called this process to complete a command.
#[must_use]
pub fn completes_for_kubectl() -> bool {
    cli::program_name().is_some_and(|name| name == COMPLETES)
}

/// Prints what the last of the given words can be, as kubectl reads it.
pub fn candidates() -> anyhow::Result<ExitCode> {
    print(&answer(env::args_os().skip(1).collect())?)?;
    Ok(ExitCode::SUCCESS)
}

fn answer(words: Vec<OsString>) -> anyhow::Result<String> {
    let mut line = vec![OsString::from("kubectl-amplify")];
    line.extend(words);
    let last = line.len() - 1;
    let found = clap_complete::engine::complete(&mut Plugin::command(), line, last, None)?;
    let mut text = String::new();
    for candidate in found {
        let _ = write!(text, "{}", candidate.get_value().to_string_lossy());
        if let Some(help) = candidate.get_help() {
            let _ = write!(text, "\t{}", clean(&help.to_string()));
        }
        text.push('\n');
    }
    Ok(text + NO_FILES + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(words: &[&str]) -> Vec<String> {
        let answer = answer(words.iter().map(OsString::from).collect()).unwrap();
        let names = answer
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned());
        names.collect()
    }

    #[test]
    fn kubectl_gets_the_commands_and_the_flags() {
        for (words, wanted) in [
            (&["stat"][..], &["status", ":4"][..]),
            (&["res"], &["resume", ":4"]),
            (&["status", "--wat"], &["--watch", ":4"]),
            (&["status", "-o", "j"], &["json", ":4"]),
        ] {
            assert_eq!(completed(words), wanted, "{words:?}");
        }
        assert!(completed(&[""]).contains(&"doctor".to_owned()));
    }
}
