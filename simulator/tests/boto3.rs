//! Every operation through boto3, whose implementation of the wire format is independent of the simulator's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use amplify_devcluster::packages;
use amplify_simulator::{Config, Operation, Simulator};
use tokio::runtime::Runtime;

/// The version from which the wire format was taken.
const BOTO3: &str = "1.44.5";

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!(
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Returns a Python with boto3, made once per user.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let python = Runtime::new().unwrap().block_on(packages::python("boto3", BOTO3));
        python.unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Runs one case of `client.py` against a fresh simulator.
fn drive(case: &str) -> Simulator {
    let config = Config {
        unlisted_roles: false,
        ..Config::default()
            .app("d123", "shop")
            .role("arn:aws:iam::222222222222:role/team/deployer", Some("secret"))
    };
    let simulator = Simulator::start(&config).unwrap();
    let mut table = tempfile::NamedTempFile::new().unwrap();
    write!(table, "{}", amplify_simulator::table()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py");
    let mut command = Command::new(python());
    command
        .arg(script)
        .arg(case)
        .env_clear()
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Instance metadata and profiles must have no effect.
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("SIMULATOR_TABLE", table.path())
        .envs(simulator.client_env().iter().cloned());
    if let Err(error) = run(&mut command) {
        panic!("{error}");
    }
    simulator
}

#[test]
fn backends_are_created_cloned_read_and_deleted_by_jobs() {
    let simulator = drive("backends");
    let history = simulator.history();
    assert_eq!(history.creates_by_object()["123456789012/eu-west-1/d123/qa"], 1);
    assert_eq!(history.dangerous().len(), 1);
    let clone = &history.of(Operation::CloneBackend)[0];
    assert_eq!(
        (clone.environment(), clone.source_environment.as_deref()),
        ("qa", Some("dev"))
    );
}

#[test]
fn graphql_apis_are_created_echoed_updated_and_deleted_by_jobs() {
    let simulator = drive("apis");
    let created = &simulator.history().of(Operation::CreateBackendApi)[0];
    assert_eq!(
        created.body.json()["resourceConfig"]["additionalAuthTypes"][1]["settings"]["openIDAuthTTL"],
        "1"
    );
    assert!(created.accepted && created.job_id.is_some());
}

#[test]
fn a_storage_is_created_changed_removed_and_imported_by_jobs() {
    let simulator = drive("storages");
    let creates = simulator.history().creates_by_object();
    assert_eq!(creates["123456789012/eu-west-1/d123/dev/storage"], 3);
    assert!(simulator.history().dangerous().is_empty());
}

#[test]
fn the_table_of_operations_says_what_the_service_models_say() {
    drive("models");
}

#[test]
fn jobs_are_listed_in_pages_and_by_filters() {
    drive("jobs");
}

#[test]
fn environment_records_are_created_listed_and_deleted_at_once() {
    drive("environments");
}

#[test]
fn apps_are_read_listed_and_deleted_per_account_and_region() {
    let simulator = drive("apps");
    assert_eq!(simulator.history().dangerous()[0].operation, Operation::DeleteApp);
}

#[test]
fn roles_are_assumed_with_their_external_id_and_belong_to_their_account() {
    let simulator = drive("sts");
    let asked = &simulator.history().of(Operation::AssumeRole)[1];
    assert_eq!(asked.body.json()["ExternalId"], "secret");
    let calls = simulator.history().of(Operation::GetApp);
    assert_eq!(calls[0].account.as_deref(), Some("222222222222"));
    assert_eq!(calls[0].session_name.as_deref(), Some("test"));
    assert_eq!(calls[1].session_name, None);
}

#[test]
fn wrong_signatures_and_unknown_keys_are_refused() {
    let simulator = drive("signatures");
    assert!(
        simulator
            .history()
            .all()
            .iter()
            .all(|call| call.status == Some(403) && !call.accepted)
    );
}

#[test]
fn requests_that_break_the_service_model_are_bad_requests() {
    let simulator = drive("validation");
    assert!(simulator.history().all().iter().all(|call| !call.accepted));
}

#[test]
fn an_environment_named_dot_dot_reaches_the_dangerous_operations() {
    let simulator = drive("dots");
    let dangerous = simulator.history().dangerous();
    let operations: Vec<Operation> = dangerous.iter().map(|call| call.operation).collect();
    assert_eq!(operations, [Operation::RemoveAllBackends, Operation::DeleteApp]);
}

#[test]
fn every_refusal_that_can_be_ordered_is_the_exception_that_boto3_knows() {
    drive("faults");
}
