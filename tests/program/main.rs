//! The program's output at a terminal: its help, and each error once, with its cause and the next step.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The result of a run of the program.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program in an empty home with these variables and no others.
fn run(home: &TempDir, variables: &[(&str, &str)], arguments: &[&str]) -> Run {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
        .args(arguments)
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    Run {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

const LISTEN: &str = "--listen=127.0.0.1:0";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_fatal_error_is_one_line_with_its_cause_once_and_the_next_step() {
    let home = home();
    let file = |name: &str, content: &str| {
        let path = home.path().join(name);
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    };
    let broken = file("broken.yaml", "{\n");
    let missing = home.path().join("missing.yaml").display().to_string();
    let accounts = file("accounts.yaml", "accounts: [{name: a}]");
    let no_file = "No such file or directory (os error 2)";
    for (variables, arguments, said, once) in [
        (
            &[][..],
            &["run", LISTEN][..],
            &[
                "no access to a Kubernetes API server: ",
                ". Set KUBECONFIG, or run in a pod with a service account",
            ][..],
            no_file,
        ),
        (
            &[("KUBECONFIG", missing.as_str())],
            &["run", LISTEN],
            &["missing.yaml", "Set KUBECONFIG"],
            no_file,
        ),
        (
            &[("KUBECONFIG", broken.as_str())],
            &["run", LISTEN],
            &["failed to parse kubeconfig YAML", "Set KUBECONFIG"],
            "unclosed bracket '{' -->",
        ),
        (
            &[],
            &["run", LISTEN, "--accounts=/missing/accounts.yaml"],
            &["the accounts file /missing/accounts.yaml: "],
            no_file,
        ),
        (
            &[],
            &["run", LISTEN, "--accounts", accounts.as_str()],
            &["accounts.yaml"],
            "the accounts file",
        ),
        (
            &[],
            &["run", "--listen=203.0.113.1:80"],
            &[
                "cannot listen on 203.0.113.1:80: ",
                ". Choose another address with --listen",
            ],
            "os error 99",
        ),
        // RUST_LOG hides errors, but the last one is always printed.
        (
            &[("RUST_LOG", "off")],
            &["run", LISTEN],
            &["amplify-operator: no access to a Kubernetes API server: "],
            no_file,
        ),
        (
            &[("RUST_LOG", "verbose")],
            &["run", LISTEN],
            &[
                "RUST_LOG is \"verbose\": a word without = in it must be a level",
                "Give a level (error, warn, info, debug, trace, off)",
            ],
            "RUST_LOG",
        ),
        (
            &[("RUST_LOG", "a=b=c")],
            &["run", LISTEN],
            &["RUST_LOG is \"a=b=c\": it cannot be read. Give a level"],
            "RUST_LOG",
        ),
        (
            &[
                ("AWS_REGION", ""),
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", "b"),
            ],
            &["import", "--all-apps"],
            &[
                "amplify-operator: no AWS region is known: give --region, set AWS_REGION, or set a region in the AWS profile",
            ],
            "region is known",
        ),
    ] {
        let Run { code, out, err } = run(&home, variables, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
        for said in said {
            assert!(err.contains(said), "{arguments:?} does not say {said:?}: {err}");
        }
        assert_eq!(err.matches(once).count(), 1, "{once:?} is not said once: {err}");
        assert!(!err.contains("nterceptor"), "{err}");
    }
}

#[test]
fn in_a_log_of_json_the_fatal_error_is_json() {
    let Run { code, err, .. } = run(&home(), &[], &["run", LISTEN, "--log-format=json"]);
    assert_eq!(code, Some(1));
    let line: Value = serde_json::from_str(&err).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!(line["level"], "ERROR");
    let message = line["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("no access to a Kubernetes API server: "), "{line}");
}

#[test]
fn an_argument_that_makes_no_sense_is_refused_with_what_would() {
    let home = home();
    let watch = "AMPLIFY_OPERATOR_WATCH_NAMESPACE";
    for (variables, arguments, said) in [
        (&[][..], &["import"][..], "<--app-id <APP_ID>|--all-apps>"),
        (&[], &["report"], "<--app-id <APP_ID>|--all-apps>"),
        (
            &[],
            &["report", "--all-apps", "--output=yaml"],
            "[possible values: table, json, markdown]",
        ),
        (
            &[],
            &["run", "--outcome-grace=5s"],
            "give at least 30s, because a request may take 30s and AWS may begin the job at the end of that",
        ),
        (
            &[],
            &["run", "--outcome-grace=soon"],
            "give a duration such as 30s, 90m or 1h30m, at least 30s",
        ),
        (&[], &["run", "--drift-interval=1ms"], "give at least 1s"),
        (&[], &["run", "--absence-grace=0s"], "give at least 1s"),
        (
            &[],
            &["run", "--job-timeout=90"],
            "give a duration such as 30s, 90m or 1h30m, at least 1s",
        ),
        (
            &[],
            &["run", "--watch-namespace=A_b"],
            "\"A_b\": a namespace is 1 to 63 lowercase letters, digits and -",
        ),
        (&[], &["run", "--watch-namespace=a,b/c"], "\"b/c\": a namespace is"),
        (
            &[(watch, " , ")],
            &["run"],
            "it names no namespace: give one, or leave it empty for all namespaces",
        ),
        (
            &[],
            &["run", "--lease-namespace=A"],
            "a namespace is 1 to 63 lowercase letters",
        ),
        (
            &[],
            &["run", "--log-format=xml"],
            "\"xml\" is not a log format: text or json",
        ),
        (&[], &["run", "--concurrency=0"], "1..="),
    ] {
        let Run { code, out, err } = run(&home, variables, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(said), "{arguments:?} does not say {said:?}: {err}");
    }
}

#[test]
fn the_help_says_what_each_setting_does() {
    for arguments in [&["run", "--help"][..], &["--help"]] {
        let Run { code, out, .. } = run(&home(), &[], arguments);
        assert_eq!(code, Some(0));
        let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [
            "--watch-namespace <NAMESPACE> Namespace to watch; repeatable, or a comma-separated list. Unset or empty: all namespaces",
            "--outcome-grace <DURATION> After a lost reply, how long to look for the job in AWS before sending the request again (at least 30s)",
            "--absence-grace <DURATION> After a job ends, ignore \"not found\" from AWS for this long (at least 1s)",
        ] {
            assert!(words.contains(said), "{arguments:?} does not say {said:?}:\n{out}");
        }
    }
    for command in ["import", "report"] {
        let Run { out, .. } = run(&home(), &[], &[command, "--help"]);
        assert!(out.contains("<--app-id <APP_ID>|--all-apps>"), "{out}");
        let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("--app-id <APP_ID> App to read; repeatable"), "{out}");
    }
    let Run { out, .. } = run(&home(), &[], &["report", "--help"]);
    assert!(out.contains("[default: table]"), "{out}");
}
