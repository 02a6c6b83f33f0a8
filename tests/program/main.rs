//! The program's output at a terminal: its help, and each error once, with its cause and the next step.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod commands;

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
    let lost = file("lost.yaml", "{current-context: gone, clusters: []}");
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
            &["failed to parse kubeconfig YAML (line ", "Set KUBECONFIG"],
            "failed to parse",
        ),
        // In a pod, too: it names some cluster, and not that of the pod.
        (
            &[
                ("KUBECONFIG", lost.as_str()),
                ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
                ("KUBERNETES_SERVICE_PORT", "1"),
            ],
            &["suspend", "--all"],
            &["no access to a Kubernetes API server", "gone"],
            "gone",
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
fn a_plugin_s_token_that_no_header_can_hold_is_an_error_and_is_not_shown() {
    let home = home();
    let credential =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"s3cret\n"}}"#;
    let config = format!(
        "{{current-context: c, clusters: [{{name: a, cluster: {{server: 'https://127.0.0.1:1'}}}}], \
         contexts: [{{name: c, context: {{cluster: a, user: u}}}}], users: [{{name: u, user: {{exec: \
         {{apiVersion: client.authentication.k8s.io/v1, command: echo, args: ['{credential}'], \
         interactiveMode: Never}}}}}}]}}"
    );
    let path = home.path().join("config");
    fs::write(&path, config).expect("a file");
    let path = path.display().to_string();
    let variables = [("KUBECONFIG", path.as_str()), ("PATH", "/usr/bin:/bin")];
    for arguments in [&["status"][..], &["run", LISTEN]] {
        let Run { code, err, .. } = run(&home, &variables, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {err}");
        assert!(
            err.contains("the credentials of the kubeconfig's user cannot be sent"),
            "{err}"
        );
        assert!(!err.contains("s3cret"), "{err}");
    }
}

#[test]
fn an_endpoint_in_plain_http_to_another_machine_is_refused_by_every_command_unless_a_flag_allows_it() {
    const KEYS: [(&str, &str); 3] = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
    ];
    let home = home();
    fs::create_dir(home.path().join(".aws")).expect("a folder");
    let profiles = "[profile plain]\nendpoint_url = http://profile.test\n\
                    [profile parts]\nservices = own\n[services own]\namplifybackend =\n  endpoint_url = http://own.test\n";
    fs::write(home.path().join(".aws/config"), profiles).expect("a file");
    let plain = ("AWS_ENDPOINT_URL", "http://me:s3cret@aws.test:4601/path");
    let elsewhere = "http://aws.test is plain HTTP";
    for (variables, service, said) in [
        (&[plain][..], "amplifybackend", elsewhere),
        (
            &[("AWS_ENDPOINT_URL_AMPLIFYBACKEND", "http://aws.test")],
            "amplifybackend",
            elsewhere,
        ),
        (&[("AWS_ENDPOINT_URL_AMPLIFY", "http://aws.test")], "amplify", elsewhere),
        (&[("AWS_ENDPOINT_URL_STS", "http://aws.test")], "sts", elsewhere),
        (
            &[("AWS_PROFILE", "plain")],
            "amplifybackend",
            "http://profile.test is plain",
        ),
        (
            &[("AWS_PROFILE", "parts")],
            "amplifybackend",
            "http://own.test is plain",
        ),
    ] {
        for arguments in [
            &["run", LISTEN][..],
            &["import", "--all-apps"],
            &["report", "--all-apps"],
        ] {
            let variables = [variables, &KEYS].concat();
            let Run { code, out, err } = run(&home, &variables, arguments);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{variables:?}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
            let names = format!(
                "the endpoint of {service} (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_{}, or",
                service.to_uppercase()
            );
            for said in [said, &names, "give an https:// endpoint", "set --allow-plain-http"] {
                assert!(err.contains(said), "{variables:?} does not say {said:?}: {err}");
            }
            assert!(!err.contains("s3cret"), "{err}");
        }
    }
    // Allowed, the next problem is told: there is no cluster.
    let next = "no access to a Kubernetes API server";
    let flag = [plain, ("AMPLIFY_OPERATOR_ALLOW_PLAIN_HTTP", "true")];
    for (variables, arguments) in [
        (&[plain][..], &["run", LISTEN, "--allow-plain-http"][..]),
        (&flag, &["run", LISTEN]),
        (&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], &["run", LISTEN]),
        (&[("AWS_ENDPOINT_URL", "http://[::1]:1")], &["run", LISTEN]),
        (&[("AWS_ENDPOINT_URL", "http://localhost:1")], &["run", LISTEN]),
        (&[("AWS_ENDPOINT_URL", "https://aws.test")], &["run", LISTEN]),
        (
            &[plain, ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")],
            &["run", LISTEN],
        ),
    ] {
        let Run { code, err, .. } = run(&home, variables, arguments);
        assert!(code == Some(1) && err.contains(next), "{variables:?}: {err}");
    }
}

#[test]
fn a_bundle_or_a_proxy_that_cannot_be_used_ends_every_command_with_the_name_of_its_variable() {
    let home = home();
    let empty = home.path().join("empty.pem");
    fs::write(&empty, "# no certificate\n").expect("a file");
    let broken = home.path().join("broken.pem");
    fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("a file");
    let (empty, broken) = (empty.display().to_string(), broken.display().to_string());
    let password = "http://me:s3cret@proxy test";
    for (variable, said) in [
        (
            ("AWS_CA_BUNDLE", "/missing/ca.pem"),
            "AWS_CA_BUNDLE is /missing/ca.pem: No such file or directory (os error 2). Name a file of certificates",
        ),
        (
            ("AWS_CA_BUNDLE", empty.as_str()),
            "empty.pem: it holds no certificate. Name a file of",
        ),
        (("AWS_CA_BUNDLE", broken.as_str()), "broken.pem: "),
        (("AWS_CA_BUNDLE", "/"), "AWS_CA_BUNDLE is /: "),
        (
            ("SSL_CERT_DIR", "/missing"),
            "SSL_CERT_DIR is /missing: it holds no certificate",
        ),
        (
            ("SSL_CERT_FILE", "/missing/ca.pem"),
            "SSL_CERT_FILE is /missing/ca.pem: No such file",
        ),
        (
            ("SSL_CERT_FILE", empty.as_str()),
            "empty.pem: it holds no certificate. Name a file of",
        ),
        (
            ("HTTPS_PROXY", "http://me:s3cret@proxy.test:port"),
            "HTTPS_PROXY is not the URL of a proxy: give one such as",
        ),
        (
            ("HTTPS_PROXY", password),
            "HTTPS_PROXY is not the URL of a proxy: give one such as",
        ),
        (
            ("ALL_PROXY", "socks5://me:s3cret@proxy.test"),
            "ALL_PROXY names a proxy of a kind",
        ),
    ] {
        for arguments in [
            &["run", LISTEN][..],
            &["import", "--all-apps"],
            &["report", "--all-apps"],
        ] {
            let Run { code, out, err } = run(&home, &[variable, ("AWS_REGION", "eu-west-1")], arguments);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{variable:?}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
            assert!(err.contains(said), "{variable:?} does not say {said:?}: {err}");
            assert!(!err.contains("s3cret"), "{err}");
        }
    }
}

#[test]
fn a_variable_of_aws_that_cannot_be_used_ends_every_command_with_its_name_and_not_its_secret() {
    let home = home();
    fs::create_dir(home.path().join(".aws")).expect("a folder");
    fs::write(
        home.path().join(".aws/config"),
        "[profile empty]\nendpoint_url =\n[profile bare]\nendpoint_url = s3cret.test\n",
    )
    .expect("a file");
    let no_url = "it is not of the form https://HOST or https://HOST:PORT";
    for (variable, said) in [
        (("AWS_ENDPOINT_URL", "s3cret.test"), no_url),
        (("AWS_ENDPOINT_URL", "10.0.0.1"), no_url),
        (
            ("AWS_ENDPOINT_URL_STS", "https:/s3cret"),
            "the endpoint of sts (AWS_ENDPOINT_URL, ",
        ),
        (
            ("AWS_ENDPOINT_URL_SSO_OIDC", "s3cret.test"),
            "AWS_ENDPOINT_URL_SSO_OIDC",
        ),
        (("AWS_PROFILE", "bare"), no_url),
        (("AWS_PROFILE", "empty"), no_url),
        (
            ("AWS_ACCESS_KEY_ID", "s3cret\n"),
            "AWS_ACCESS_KEY_ID holds a line break",
        ),
        (
            ("AWS_SESSION_TOKEN", "s3cret token"),
            "AWS_SESSION_TOKEN holds a line break, a blank",
        ),
        (
            ("AWS_REGION", "Ireland"),
            "AWS_REGION: \"Ireland\" is not an AWS region",
        ),
        (
            ("AWS_REGION", "eu-west-1\n"),
            "AWS_REGION: \"eu-west-1\" with a blank or a line break",
        ),
    ] {
        for arguments in [
            &["run", LISTEN][..],
            &["import", "--all-apps"],
            &["report", "--all-apps"],
        ] {
            let Run { code, out, err } = run(&home, &[variable], arguments);
            assert_eq!((code, out.as_str()), (Some(1), ""), "{variable:?}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
            assert!(err.contains(said), "{variable:?} does not say {said:?}: {err}");
            assert!(!err.contains("s3cret"), "{err}");
        }
    }
}

#[test]
fn an_empty_variable_or_one_that_is_not_read_is_no_mistake() {
    let home = home();
    // The next problem is reported: that there is no cluster.
    for variable in [
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL_STS", ""),
        ("AWS_REGION", ""),
        ("AWS_MAX_ATTEMPTS", "x"),
        ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_RETRY_MODE", "bad"),
        ("AMPLIFY_OPERATOR_ACCOUNTS", ""),
        ("AMPLIFY_OPERATOR_LEADER_ELECT", ""),
        ("AMPLIFY_OPERATOR_LOG_FORMAT", ""),
        ("AMPLIFY_OPERATOR_CONCURRENCY", ""),
        ("AMPLIFY_OPERATOR_LISTEN", ""),
    ] {
        let mut arguments = vec!["run"];
        arguments.extend((variable.0 != "AMPLIFY_OPERATOR_LISTEN").then_some(LISTEN));
        let Run { code, err, .. } = run(&home, &[variable], &arguments);
        assert!(
            code == Some(1) && (err.contains("no access to a Kubernetes") || err.contains("cannot listen")),
            "{variable:?}: {err}"
        );
    }
}

#[test]
fn an_empty_endpoint_counts_as_unset_for_a_call() {
    let keys = [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let closed = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let variables = [
        &keys[..],
        &[closed, ("AWS_ENDPOINT_URL_STS", ""), ("AWS_ENDPOINT_URL_AMPLIFY", "")],
    ]
    .concat();
    let Run { code, err, .. } = run(&home(), &variables, &["report", "--all-apps"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("no connection to AWS") && err.contains("127.0.0.1:9"),
        "{err}"
    );
}

#[test]
fn a_start_that_reads_a_file_which_hangs_ends_with_sigterm() {
    let home = home();
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for variable in [
        "AMPLIFY_OPERATOR_ACCOUNTS",
        "AWS_CONFIG_FILE",
        "AWS_CA_BUNDLE",
        "KUBECONFIG",
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
            .args(["run", LISTEN])
            .env_clear()
            .env("HOME", home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(variable, &pipe)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        // The open of a pipe for writing ends when the program has opened it for reading.
        let writer = fs::OpenOptions::new()
            .write(true)
            .open(&pipe)
            .expect("the program reads the pipe");
        let ended = Command::new("kill").arg(child.id().to_string()).status().expect("kill");
        assert!(ended.success());
        assert_eq!(child.wait().expect("an end").code(), Some(0), "{variable}");
        drop(writer);
    }
}

#[test]
fn a_kubeconfig_whose_proxy_cannot_be_used_is_told_without_its_password() {
    let home = home();
    let kubeconfig = |proxy: &str| {
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, users: [],
  contexts: [{{name: c, context: {{cluster: c, user: u}}}}],
  clusters: [{{name: c, cluster: {{server: \"https://kubernetes.test\"{proxy}}}}}]}}"
        );
        let path = home.path().join("kubeconfig");
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let named = |url: &str| kubeconfig(&format!(", proxy-url: \"{url}\""));
    let kind = "the proxy-url of the kubeconfig's cluster names a proxy of a kind that cannot be used here";
    let run = |path: &str, more: &[(&str, &str)]| {
        let variables = [&[("KUBECONFIG", path)][..], more].concat();
        let Run { code, err, .. } = run(&home, &variables, &["run", LISTEN]);
        assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
        assert!(!err.contains("s3cret"), "{err}");
        err
    };
    let said = run(&named("ftp://me:s3cret@proxy.test"), &[]);
    assert!(said.contains(kind), "{said}");
    // kube reads NO_PROXY more strictly than others.
    let proxy = ("HTTPS_PROXY", "http://me:s3cret@proxy.test:3128");
    let said = run(&kubeconfig(""), &[proxy, ("NO_PROXY", "localhost,,127.0.0.1")]);
    assert!(
        said.contains("NO_PROXY cannot be read (comma-separated value is empty)"),
        "{said}"
    );
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
#[expect(clippy::too_many_lines, reason = "a table")]
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
            &["run", "--lease-name=a/b"],
            "the name of a Lease is 1 to 253 lowercase letters",
        ),
        (
            &[],
            &["run", "--log-format=xml"],
            "\"xml\" is not a log format: text or json",
        ),
        (&[], &["run", "--concurrency=0"], "1..="),
        // `doctor` says so of a Deployment.
        (
            &[],
            &["run", "--leader-elect", "--leader-elect"],
            "cannot be used multiple times",
        ),
        (
            &[],
            &["run", "--lease-name=a", "--lease-name=a"],
            "cannot be used multiple times",
        ),
        (
            &[("AMPLIFY_OPERATOR_CONCURRENCY", "many")],
            &["run"],
            "'--concurrency <N> (from AMPLIFY_OPERATOR_CONCURRENCY)'",
        ),
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
