//! `amplify-operator import` and `report` as processes, against the simulator of AWS. Tests of the whole operator apply
//! the import's output in a cluster.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod report;

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use amplify_simulator::{Action, App, Config, EnvironmentState, Fault, Operation, Settings, Simulator};
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const APP: &str = "d1a2b3c4d5e6f7";

fn simulator() -> Simulator {
    let simulator = Simulator::start(&Config::default().app(APP, "storefront")).expect("a simulator");
    let aws = simulator.control();
    assert!(aws.put_backend((APP, "staging"), "storefront"));
    assert!(aws.put_api((APP, "staging"), "storefront", graphql_api()));
    for name in ["legacy", "feature/login"] {
        let record = EnvironmentState {
            stack_name: Some("amplify-storefront-legacy-161015".to_owned()),
            deployment_artifacts: Some("amplify-storefront-legacy-161015-deployment".to_owned()),
        };
        assert!(aws.put_environment((APP, name), record));
    }
    simulator
}

fn graphql_api() -> Map<String, Value> {
    let config = json!({
        "apiName": "storefront", "service": "AppSync",
        "defaultAuthType": { "mode": "API_KEY", "settings": { "description": "public read access", "expirationTime": 30 } },
        "conflictResolution": { "resolutionStrategy": "OPTIMISTIC_CONCURRENCY" },
    });
    config.as_object().expect("an object").clone()
}

fn program(simulator: &Simulator, home: &Path, arguments: &[&str]) -> Command {
    command(simulator, home, "import", arguments)
}

/// Returns a command of the program with an environment that contains only the simulator.
fn command(simulator: &Simulator, home: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amplify-operator"));
    command
        .arg(name)
        .args(arguments)
        .env_clear()
        .envs(simulator.client_env().iter().cloned())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", home)
        .stdin(Stdio::null());
    command
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().expect("the program runs");
    Run {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
    }
}

fn import(simulator: &Simulator, arguments: &[&str]) -> Run {
    let home = tempfile::tempdir().expect("a folder");
    run(&mut program(simulator, home.path(), arguments))
}

#[test]
fn the_documentation_shows_what_an_import_prints() {
    let simulator = simulator();
    let Run { code, out, err } = import(&simulator, &["--app-id", APP, "--region", "eu-west-1"]);
    assert_eq!(code, Some(0), "{err}");
    let docs = include_str!("../../docs/import.md");
    assert!(
        docs.contains(&format!("```yaml\n{out}```\n")),
        "docs/import.md does not show this:\n{out}"
    );
    assert!(
        docs.contains(&format!("```\n{err}```\n")),
        "docs/import.md does not show this:\n{err}"
    );
}

#[test]
fn an_error_says_what_to_do_and_prints_no_manifest() {
    let simulator = simulator();
    let home = tempfile::tempdir().expect("a folder");
    let app = ["--app-id", APP];
    let without = |variables: &[&str]| {
        let mut command = program(&simulator, home.path(), &app);
        for variable in variables {
            command.env_remove(variable);
        }
        command
    };
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let regions = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    let mut unknown_key = without(&[]);
    unknown_key.env("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN");
    let mut unreachable = without(&[]);
    unreachable.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    for (command, code, says) in [
        (&mut without(&keys), 1, &["no AWS credentials", "AWS_PROFILE"][..]),
        (&mut unknown_key, 1, &["InvalidClientTokenId", "AWS_PROFILE"]),
        (&mut unreachable, 1, &["no connection to AWS", "try again"]),
        (
            without(&[]).env("AWS_REGION", "").env("AWS_DEFAULT_REGION", ""),
            1,
            &["no AWS region is known: give --region"],
        ),
        (&mut without(&regions), 1, &["no AWS region is known: give --region"]),
        (
            &mut program(&simulator, home.path(), &["--app-id", "d999"]),
            1,
            &[
                "AWS account 123456789012 has no Amplify app d999 in eu-west-1",
                "--all-apps",
            ],
        ),
        (
            &mut program(&simulator, home.path(), &["--app-id", APP, "--region", "../x"]),
            1,
            &["\"../x\" is not an AWS region"],
        ),
        (
            &mut program(&simulator, home.path(), &[]),
            2,
            &["<--app-id <APP_ID>|--all-apps>"],
        ),
        (
            &mut program(&simulator, home.path(), &["--app-id", "../x"]),
            2,
            &["is not an Amplify app ID"],
        ),
        (
            &mut program(&simulator, home.path(), &["--all-apps", "--namespace", "A b"]),
            2,
            &["a namespace is 1 to 63 lowercase letters"],
        ),
        (
            &mut program(&simulator, home.path(), &["--all-apps", "--app-id", APP]),
            2,
            &["cannot be used with"],
        ),
    ] {
        let Run { code: ended, out, err } = run(command);
        assert_eq!(ended, Some(code), "{command:?}: {err}");
        assert_eq!(out, "", "{command:?}");
        for text in says {
            assert!(err.contains(text), "{command:?} does not say {text:?}: {err}");
        }
    }
    assert_eq!(simulator.history().writes(), []);
}

#[test]
fn what_aws_gives_no_answer_for_is_a_comment_and_an_exit_code() {
    let simulator = simulator();
    let aws = simulator.control();
    assert!(aws.put_backend((APP, "dev"), "storefront"));
    let refuse = |operation, environment: &str| Fault {
        times: None,
        ..Fault::on(operation, Action::AccessDenied).environment(environment)
    };
    aws.fault(refuse(Operation::GetBackendApi, "staging"));
    aws.fault(refuse(Operation::GetBackend, "dev"));
    aws.put_app(&App {
        account: None,
        region: None,
        app_id: "d2".to_owned(),
        name: "other".to_owned(),
    });
    aws.fault(Fault {
        times: None,
        ..Fault::on(Operation::ListBackendEnvironments, Action::AccessDenied).app("d2")
    });
    let Run { code, out, err } = import(&simulator, &["--all-apps"]);
    assert_eq!(code, Some(3), "{err}");
    for says in [
        "GraphQL API \"storefront\" of environment \"staging\" of app \"d1a2b3c4d5e6f7\" is not known: GetBackendAPI: AccessDeniedException",
        "Whether environment \"dev\" of app \"d1a2b3c4d5e6f7\" has a backend is not known: GetBackend: AccessDeniedException",
        "The environments of app \"d2\" are not known: ListBackendEnvironments: AccessDeniedException",
    ] {
        assert!(out.contains(&format!("\n# {says}")), "{says}: {out}");
        assert!(err.contains(&format!("no answer: {says}")), "{says}: {err}");
    }
    assert!(err.contains("deploy/iam-policy-import.json"), "{err}");
    assert!(!out.contains("request id"), "it would differ each time: {out}");
    let again = import(&simulator, &["--all-apps"]);
    assert_eq!(again.out, out);
    // The import waits when it is throttled. If a page token repeats a page, the list is an error, not just short.
    aws.clear_faults();
    aws.fault(Fault {
        times: Some(1),
        ..Fault::on(Operation::ListBackendEnvironments, Action::RateExceeded)
    });
    assert_eq!(import(&simulator, &["--app-id", APP]).code, Some(0));
    aws.change_settings(|settings| {
        *settings = Settings {
            page_size: Some(1),
            repeat_page_token: true,
            ..Settings::default()
        };
    });
    let Run { code, out, err } = import(&simulator, &["--all-apps"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("ListApps: the list repeats a page"), "{err}");
    let Run { code, out, .. } = import(&simulator, &["--app-id", APP]);
    assert_eq!(code, Some(3));
    assert!(
        out.contains("the list repeats a page") && !out.contains("\nkind:"),
        "{out}"
    );
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("a name");
        (name, fs::read_to_string(entry.path()).expect("a file"))
    };
    entries.map(|entry| read(entry.expect("an entry"))).collect()
}

#[test]
fn with_an_output_dir_each_manifest_is_a_file_and_nothing_else_is_overwritten() {
    let simulator = simulator();
    let dir: TempDir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("aws/amplify");
    let path = folder.display().to_string();
    let arguments = ["--app-id", APP, "--namespace", "shop", "--output-dir", &path];
    let Run { code, out, err } = import(&simulator, &arguments);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let written = files(&folder);
    assert_eq!(
        written.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "amplifybackend-storefront-staging.yaml",
            "backendapi-storefront-staging-storefront.yaml",
            "backendenvironment-storefront-legacy.yaml",
            "not-imported.txt",
        ]
    );
    for (name, content) in written.iter().filter(|(name, _)| name.as_str() != "not-imported.txt") {
        let manifest: Value = serde_saphyr::from_str(content).expect("one document");
        assert_eq!(manifest["metadata"]["namespace"], "shop", "{name}");
        assert_eq!(manifest["spec"]["deletionPolicy"], "Retain", "{name}");
    }
    assert!(written["not-imported.txt"].contains("feature/login"), "{written:#?}");

    // A second import changes nothing. If a file with other content is in the way, the import writes nothing.
    assert_eq!(import(&simulator, &arguments).code, Some(0));
    let mine = folder.join("backendenvironment-storefront-legacy.yaml");
    fs::write(&mine, "mine").expect("a file");
    fs::remove_file(folder.join("amplifybackend-storefront-staging.yaml")).expect("gone");
    let Run { code, err, .. } = import(&simulator, &arguments);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("backendenvironment-storefront-legacy.yaml; nothing was written. Give --force"),
        "{err}"
    );
    assert_eq!(files(&folder).len(), 3);
    assert_eq!(fs::read_to_string(&mine).expect("a file"), "mine");
    let forced = [&arguments[..], &["--force"]].concat();
    assert_eq!(import(&simulator, &forced).code, Some(0));
    assert_eq!(files(&folder), written);
}

#[test]
fn a_terminal_shows_the_progress_and_a_file_does_not() {
    let simulator = simulator();
    let home = tempfile::tempdir().expect("a folder");
    let quiet = import(&simulator, &["--app-id", APP]);
    assert!(!quiet.err.contains("reading AWS"), "{}", quiet.err);

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("a name");
    let side = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the other side");
    let mut command = program(&simulator, home.path(), &["--app-id", APP]);
    let child = command.env("TERM", "xterm").stdout(Stdio::piped()).stderr(side).spawn();
    let child = child.expect("the program starts");
    // The command holds our copy of the terminal's other side. Without it, the terminal ends with the program.
    drop(command);
    let mut shown = Vec::new();
    // Linux reports EIO at the end.
    let _ = fs::File::from(terminal).read_to_end(&mut shown);
    let output = child.wait_with_output().expect("it ends");
    let shown = String::from_utf8_lossy(&shown);
    assert!(
        shown.contains("reading AWS") && shown.contains("environments"),
        "{shown}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), quiet.out);
}
