//! `completion`: the script with which a shell completes the commands, and the answers to kubectl when it completes
//! `kubectl amplify`. May do: print.

use std::{env, ffi::OsString, fmt::Write as _, process::ExitCode};

use clap::Command;
use clap_complete::Shell;

use super::print;
use crate::{
    api::text::clean,
    cli::{self, people::Completion},
};

/// The name by which kubectl asks for completions of `kubectl amplify`
/// (<https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/#shell-completion>).
const COMPLETES: &str = "kubectl_complete-amplify";
/// The directive after the candidates that says: complete no file names (cobra's `ShellCompDirectiveNoFileComp`).
const NO_FILES: &str = ":4";

/// The name under which the script for bash is made. clap_complete writes the names of its cases in two ways, which are
/// one only for a program without a hyphen in its name.
const PLAIN: &str = "amplify_operator";

/// Prints the script.
pub(super) fn run(settings: &Completion) -> anyhow::Result<ExitCode> {
    let command = cli::definition();
    let name = command.get_name().to_owned();
    print(&script(settings.shell, command, &name)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the script with which a shell completes the command of this name.
fn script(shell: Shell, mut command: Command, name: &str) -> anyhow::Result<String> {
    let mut script = Vec::new();
    if shell != Shell::Bash {
        clap_complete::generate(shell, &mut command, name, &mut script);
        return Ok(String::from_utf8(script)?);
    }
    clap_complete::generate(shell, &mut command.name(PLAIN), PLAIN, &mut script);
    let script = String::from_utf8(script)?;
    let mut text = String::new();
    for line in script.lines() {
        // The lines that say for which command the function is.
        match line.strip_suffix(PLAIN) {
            Some(before) if line.trim_start().starts_with("complete ") => text.extend([before, name]),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    Ok(text)
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
    let found = clap_complete::engine::complete(&mut cli::plugin(), line, last, None)?;
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
    use std::{io::Write as _, process};

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

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

    /// Returns what bash proposes for the last of the words.
    fn proposed(name: &str, script: &str, words: &[&str]) -> Vec<String> {
        let ask = r#"
            source /dev/stdin
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            shown=$(complete -p "$1")
            shown=${shown#*-F }
            "${shown%% *}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut bash = process::Command::new("bash")
            .args(["--norc", "-c", ask, "bash", name])
            .args(words)
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped())
            .spawn()
            .unwrap();
        bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let out = bash.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    }

    #[test]
    fn bash_completes_after_the_command_too() {
        for (name, command) in [("amplify-operator", Cli::command()), ("kubectl-amplify", cli::plugin())] {
            let script = script(Shell::Bash, command, name).unwrap();
            for (words, wanted) in [
                (&["stat"][..], &["status"][..]),
                (&["res"], &["resume"]),
                (&["status", "--wat"], &["--watch"]),
                (&["status", "-o", "j"], &["json"]),
                (&["doctor", "--name"], &["--namespace"]),
                (&["completion", "ba"], &["bash"]),
            ] {
                assert_eq!(proposed(name, &script, words), wanted, "{name} {words:?}");
            }
        }
    }
}
