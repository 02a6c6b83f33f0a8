//! The operator's reports about its work: log lines and Events of one life, and metrics as a real Prometheus reads
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use amplify_devcluster::tools::{self, Tool};
use amplify_operator::telemetry::Metrics;
use amplify_simulator::{Action, DEFAULT_ACCOUNT, EnvironmentState, Fault, JobFault, JobScript, Operation};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::dashboard;
use amplify_testkit::stage::{APP, Kind, PATIENCE, Setup, Stage, World, backend, environment, get, graphql_api, ready};

amplify_testkit::tests! {
    the_log_and_the_events_tell_the_life_of_one_resource_in_order,
    a_log_of_json_says_the_same_in_fields,
    every_metric_and_every_query_of_the_dashboard_shows_an_operator_at_work,
}

/// Returns the log lines about this resource from level info on.
fn story(stage: &Stage, kind: &str, name: &str) -> Vec<String> {
    let about = format!("pass{{kind=\"{kind}\" object=\"{}/{name}\"}}", stage.namespace);
    let log = stage.log();
    let lines = log.lines().filter(|line| line.contains(&about));
    lines
        .filter(|line| line.contains(" INFO ") || line.contains(" WARN "))
        .map(str::to_owned)
        .collect()
}

/// Checks that there are as many lines as parts, and that each line contains all of its parts.
fn assert_lines(lines: &[String], parts: &[&[&str]]) {
    let are_these = lines.len() == parts.len()
        && lines
            .iter()
            .zip(parts)
            .all(|(line, parts)| parts.iter().all(|part| line.contains(part)));
    assert!(are_these, "{parts:#?}\nand not\n{lines:#?}");
}

#[expect(clippy::too_many_lines, reason = "one thing after the other")]
async fn the_log_and_the_events_tell_the_life_of_one_resource_in_order(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let denied = Action::respond(403, "AccessDeniedException", "not authorized");
    for _ in 0..2 {
        stage.aws().fault(Fault::on(Operation::GetBackend, denied.clone()));
    }
    stage.create_backend("dev").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "AccessDenied").await;
    let message = ready(&object)["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("not authorized") && !message.contains("request id"),
        "{message}"
    );
    // Access is denied again. This is not reported again.
    stage.request(Kind::Backend, "dev", "1").await;
    stage.wait_for_calls(Operation::GetBackend, 2).await;
    let is_handled = |object: &Value| object["status"]["lastHandledReconcileAt"] == "1";
    stage.wait(Kind::Backend, "dev", "looked at", is_handled).await;
    stage.request(Kind::Backend, "dev", "2").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    let created = object["status"]["job"]["id"].as_str().expect("a job").to_owned();
    stage.delete(Kind::Backend, "dev").await;
    let is_deleting = |object: &Value| object["status"]["job"]["operation"] == "DeleteBackend";
    let object = stage.wait(Kind::Backend, "dev", "being deleted", is_deleting).await;
    let deleted = object["status"]["job"]["id"].as_str().expect("a job").to_owned();
    stage.wait_until_gone(Kind::Backend, "dev").await;
    stage.wait_until_logged("released: ").await;
    let (created, deleted) = (format!("job=\"{created}\""), format!("job=\"{deleted}\""));
    assert_lines(
        &story(&stage, "AmplifyBackend", "dev"),
        &[
            &[
                "WARN",
                "GetBackend: AccessDeniedException",
                "[request id ",
                "class=AccessDenied",
            ],
            &["INFO", "reason=\"AccessDenied\""],
            &[
                "INFO",
                "CreateBackend is running",
                "reason=\"Creating\"",
                "operation=\"CreateBackend\"",
                &created,
            ],
            &[
                "INFO",
                "CreateBackend completed",
                "reason=\"Available\"",
                "operation=\"CreateBackend\"",
                &created,
            ],
            &[
                "INFO",
                "DeleteBackend is running",
                "reason=\"Deleting\"",
                "operation=\"DeleteBackend\"",
                &deleted,
            ],
            &[
                "INFO",
                "released: the AWS object is deleted",
                "operation=\"DeleteBackend\"",
                &deleted,
            ],
        ],
    );
    let reasons = ["AccessDenied", "Creating", "Available", "Deleting", "Released"];
    stage.wait_for_events("dev", &reasons).await;

    // A resource of a kind without jobs.
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    stage
        .patch(
            Kind::Environment,
            "record",
            json!({ "spec": { "deletionPolicy": "Retain" } }),
        )
        .await;
    stage.delete(Kind::Environment, "record").await;
    stage.wait_until_gone(Kind::Environment, "record").await;
    stage.wait_until_logged("released: the AWS object stays").await;
    assert_lines(
        &story(&stage, "BackendEnvironment", "record"),
        &[
            &[
                "INFO",
                "record exists",
                "reason=\"Available\"",
                "operation=\"CreateBackendEnvironment\"",
            ],
            &["INFO", "released: the AWS object stays"],
        ],
    );
    stage.wait_for_events("record", &["Available", "Released"]).await;
}

async fn a_log_of_json_says_the_same_in_fields(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--log-format=json");
    let stage = Stage::with(world, setup).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let script = JobScript::failed("the schema is wrong", false);
    stage.aws().job_fault(JobFault::on(Operation::CreateBackendApi, script));
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    let has_failed = |object: &Value| object["status"]["job"]["status"] == "FAILED";
    let object = stage.wait(Kind::Api, "shop", "failed", has_failed).await;
    let job = object["status"]["job"]["id"].as_str().expect("a job").to_owned();
    stage.delete(Kind::Api, "shop").await;
    stage.wait_until_gone(Kind::Api, "shop").await;
    stage.wait_until_logged("released: ").await;
    let log = stage.log();
    let object = format!("{}/shop", stage.namespace);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|line| line["span"]["kind"] == "BackendApi" && line["span"]["object"] == object.as_str())
        .filter(|line| line["level"] == "INFO")
        .map(|line| json!([line["reason"], line["operation"], line["job"]]))
        .collect();
    let expected = [
        json!(["Creating", "CreateBackendAPI", job]),
        // The job failed: the reason is the same, and the log line gives the cause.
        json!(["Creating", "CreateBackendAPI", job]),
        json!([null, null, null]),
    ];
    assert_eq!(lines, expected, "{log}");
    assert!(log.contains("the schema is wrong"), "{log}");
}

/// A Prometheus that scrapes this address each second. Its data is removed with it.
struct Prometheus {
    address: SocketAddr,
    _process: Child,
    _data: tempfile::TempDir,
}

impl Prometheus {
    async fn start(target: SocketAddr) -> Self {
        let program = tools::find(Tool::Prometheus).await.expect("prometheus");
        let data = tempfile::tempdir().expect("a folder");
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": [{ "job_name": "amplify-operator", "static_configs": [{ "targets": [target.to_string()] }] }],
        });
        let file = data.path().join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).expect("a file");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus runs");
        Self {
            address,
            _process: process,
            _data: data,
        }
    }

    /// Returns the current result of a query, or nothing while Prometheus is not up.
    async fn query(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", percent_encoded(query));
        let Some(answer) = get(self.address, &path, "application/json").await else {
            return Vec::new();
        };
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = write!(encoded, "%{byte:02X}");
        encoded
    })
}

/// Returns an accounts file in which the first namespace uses the account of the app.
fn accounts(namespaces: &[String]) -> String {
    format!(
        "accounts: [{{name: shop, namespaces: [{}], roleArn: \"arn:aws:iam::{DEFAULT_ACCOUNT}:role/operator\"}}]",
        namespaces[0]
    )
}

/// Returns a stage whose operator has produced values for every metric.
async fn at_work(world: Arc<World>) -> Stage {
    let mut setup = Setup {
        accounts: Some(accounts),
        ..Setup::default()
    };
    setup.flags.extend(["--aws-requests-per-second=4", "--aws-burst=4"]);
    let stage = Stage::with(world, setup).await;
    let aws = stage.aws();
    let record = EnvironmentState {
        stack_name: Some("foreign".into()),
        deployment_artifacts: Some("foreign".into()),
    };
    assert!(aws.put_environment((APP, "foreign"), record));
    let slow = Action::respond(429, "TooManyRequestsException", "Rate exceeded");
    aws.fault(Fault::on(Operation::CreateBackendEnvironment, slow));
    aws.job_fault(JobFault::on(Operation::CreateBackend, JobScript::stuck()).environment("hung"));
    stage.create_backend("hung").await;
    stage.create(Kind::Environment, "foreign", environment("foreign")).await;
    stage.create(Kind::Environment, "slow", environment("slow")).await;
    for name in ["one", "two"] {
        stage.create_backend(name).await;
    }
    let mut suspended = backend("later");
    suspended["suspend"] = json!(true);
    stage.create(Kind::Backend, "later", suspended).await;
    for name in ["one", "two"] {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    stage.wait_until_ready(Kind::Environment, "slow").await;
    stage
        .wait_for_reason(Kind::Environment, "foreign", "AlreadyExists")
        .await;
    stage.wait_for_reason(Kind::Backend, "later", "Suspended").await;
    // Each kind of job runs a second time, so that a rate has a value.
    stage.create_backend("three").await;
    stage.wait_until_ready(Kind::Backend, "three").await;
    stage
}

async fn every_metric_and_every_query_of_the_dashboard_shows_an_operator_at_work(world: Arc<World>) {
    let setup = at_work(world);
    let stage = setup.await;
    let operator = stage.address();
    let prometheus = Prometheus::start(operator).await;
    assert_families(&stage, operator).await;

    // One more throttled call while Prometheus scrapes.
    let slow = Action::respond(429, "TooManyRequestsException", "Rate exceeded");
    stage.aws().fault(Fault::on(Operation::CreateBackend, slow));
    let seen = async {
        while prometheus.query("amplify_operator_leader == 1").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen)
        .await
        .expect("Prometheus scrapes the operator");
    for name in ["four", "five"] {
        stage.create_backend(name).await;
    }
    let mut silent: Vec<_> = dashboard::queries();
    assert!(silent.len() > 20);
    let shown = async {
        while !silent.is_empty() {
            let mut still = Vec::new();
            for (title, query) in std::mem::take(&mut silent) {
                let asked = query.replace("$job", ".*").replace("$__rate_interval", "5m");
                // A quantile without data is a series whose value is not a number.
                let is_number = |series: &Value| {
                    let value = series["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
                    value.is_some_and(f64::is_finite)
                };
                if !prometheus.query(&asked).await.iter().any(is_number) {
                    still.push((title, query));
                }
            }
            silent = still;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, shown).await.is_ok();
    assert!(in_time, "panels that show nothing: {silent:#?}");
    let up = prometheus.query("up == 0 or scrape_samples_scraped > 2000").await;
    assert!(up.is_empty(), "{up:?}");
}

/// Some lines in a scrape of [`at_work`].
const LINES: &[&str] = &[
    r#"amplify_operator_objects{kind="AmplifyBackend",reason="Available",state="ready"} 3"#,
    r#"amplify_operator_objects{kind="AmplifyBackend",reason="Creating",state="working"} 1"#,
    r#"amplify_operator_objects{kind="AmplifyBackend",reason="Suspended",state="suspended"} 1"#,
    r#"amplify_operator_objects{kind="BackendEnvironment",reason="AlreadyExists",state="stalled"} 1"#,
    r#"amplify_operator_objects{kind="BackendEnvironment",reason="Available",state="ready"} 1"#,
    r#"amplify_operator_objects{kind="BackendApi",reason="Available",state="ready"} 0"#,
    r#"amplify_operator_jobs_running{operation="CreateBackend"} 1"#,
    r#"amplify_operator_job_duration_seconds_count{operation="CreateBackend",result="completed"} 3"#,
    r#"amplify_operator_job_duration_seconds_bucket{le="5.0",operation="CreateBackend",result="completed"} 3"#,
    r#"amplify_operator_job_end_to_ready_seconds_count{operation="CreateBackend"} 3"#,
    r#"amplify_operator_aws_requests_total{service="amplify",operation="CreateBackendEnvironment",outcome="throttled"} 1"#,
    r#"amplify_operator_reconcile_errors_total{kind="BackendEnvironment",class="throttled"} 1"#,
    r#"amplify_operator_watch_failing_seconds{kind="BackendApi"} 0"#,
    "amplify_operator_accounts_file_valid{} 1",
    "amplify_operator_leader 1",
];

/// Checks that the output of `/metrics` is true, is documented, and is well-formed for promtool.
async fn assert_families(stage: &Stage, operator: SocketAddr) {
    let mut text = String::new();
    let mut missing = LINES.to_vec();
    // The operator's view may be a moment behind the test's.
    let told = async {
        while !missing.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            text = get(operator, "/metrics", "*/*").await.expect("metrics");
            missing.retain(|line| !text.lines().any(|is| is == *line));
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), told).await.is_ok();
    assert!(in_time, "{missing:#?} are missing in\n{text}");
    let mut promtool = Command::new(tools::find(Tool::Promtool).await.expect("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).await.expect("written");
    drop(input);
    let checked = promtool.wait_with_output().await.expect("promtool ends");
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}");

    let mut exported: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, labels) = line.split_once('{').unwrap_or((line, ""));
        let series = series.split(' ').next().unwrap_or_default();
        let suffixes = ["_bucket", "_count", "_sum"];
        let family = suffixes.iter().find_map(|suffix| series.strip_suffix(suffix));
        let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0));
        let known = exported.entry(family.unwrap_or(series)).or_default();
        known.extend(names.filter(|name| *name != "le"));
    }
    let metrics = Metrics::new("");
    let described = metrics.described().iter();
    let described: Vec<_> = described
        .map(|family| {
            (
                format!("amplify_operator_{}", family.name),
                family.labels.iter().copied().collect(),
            )
        })
        .collect();
    let mut exported: Vec<(String, BTreeSet<&str>)> = exported
        .into_iter()
        .map(|(name, labels)| (name.to_owned(), labels))
        .collect();
    let mut described: Vec<(String, BTreeSet<&str>)> = described;
    exported.sort();
    described.sort();
    assert_eq!(exported, described, "what is exported, and what is described");

    for name in [stage.namespace.as_str(), APP, DEFAULT_ACCOUNT, "hung"] {
        assert!(!text.contains(name), "{name} must be no label: {text}");
    }
}
