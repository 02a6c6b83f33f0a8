//! The output of `amplify-operator import` is applied: the operator takes over everything and sends no write to AWS.

use std::{collections::BTreeSet, process::Stdio, sync::Arc};

use amplify_devcluster::tools;
use amplify_simulator::{App, EnvironmentState, Operation, ResourceState};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World};

amplify_testkit::tests! {
    what_an_import_prints_is_adopted_without_a_write_to_aws_and_let_go_likewise,
}

/// Another app of the same name.
const TWIN: &str = "d9z8y7x6w5v4u3";

async fn what_an_import_prints_is_adopted_without_a_write_to_aws_and_let_go_likewise(world: Arc<World>) {
    let mut setup = Setup {
        running: false,
        ..Setup::default()
    };
    setup.settings.page_size = Some(7);
    let mut stage = Stage::with(world, setup).await;
    seed(&stage);
    let before = json!(stage.aws().apps());

    let manifests = import(&stage, &["--all-apps", "--manage"]).await;
    // With an app id, another operation checks whether the app exists.
    import(&stage, &["--app-id", APP]).await;
    let mut report = Command::new(env!("CARGO_BIN_EXE_amplify-operator"));
    report.args(["report", "--all-apps"]);
    // Some of what the seed has is not known to a report: exit code 3.
    ended(&stage, report, &[0, 3]).await;
    assert_eq!(
        called(&stage),
        allowed(),
        "deploy/iam-policy-import.json, and what import and report call"
    );
    let path = stage.dir.path().join("manifests.yaml");
    // As the manifest's comment says, a schema that AWS does not return may be added before the first apply.
    let given = "\n  resourceConfig: {}\n";
    assert_eq!(manifests.matches(given).count(), 1, "{manifests}");
    let applied = manifests.replace(given, "\n  resourceConfig:\n    transformSchema: type A\n");
    std::fs::write(&path, applied).expect("a file");
    let path = path.display().to_string();

    stage.start();
    let dry = kubectl(&stage, &["apply", "--dry-run=server", "-f", &path]).await;
    assert_eq!(dry.lines().count(), expected().len(), "{dry}");
    // Time passes between an import and the apply, so the remaining days of an API key decrease.
    assert!(stage.aws().put_api((APP, "staging"), "storefront", graphql_api(6.5)));
    let before = {
        let mut apps = before;
        apps[0]["backends"]["staging"]["apis"]["storefront"]["defaultAuthType"]["settings"]["expirationTime"] =
            json!(6.5);
        apps
    };
    kubectl(&stage, &["apply", "-f", &path]).await;

    let mut found = BTreeSet::new();
    for (kind, plural) in [
        (Kind::Backend, "amplifybackends"),
        (Kind::Api, "backendapis"),
        (Kind::Storage, "backendstorages"),
        (Kind::Environment, "backendenvironments"),
    ] {
        let listed: Value =
            serde_json::from_str(&kubectl(&stage, &["get", plural, "-o", "json"]).await).expect("a list");
        for object in listed["items"].as_array().expect("items") {
            let name = object["metadata"]["name"].as_str().expect("a name");
            let object = stage.wait_until_ready(kind, name).await;
            assert_eq!(object["status"]["origin"], "Adopted", "{name}");
            found.insert(format!("{plural}/{name}"));
        }
    }
    assert_eq!(found, expected());
    assert_eq!(stage.simulator.history().writes(), [], "AWS was told nothing");

    assert!(stage.aws().put_api((APP, "staging"), "storefront", graphql_api(7.0)));
    assert_eq!(
        import(&stage, &["--all-apps", "--manage"]).await,
        manifests,
        "the same again, byte by byte"
    );
    assert!(stage.aws().put_api((APP, "staging"), "storefront", graphql_api(6.5)));

    kubectl(&stage, &["delete", "--timeout=150s", "-f", &path]).await;
    assert_eq!(stage.simulator.history().writes(), [], "AWS was told nothing");
    assert_eq!(json!(stage.aws().apps()), before, "everything is still there");
}

fn graphql_api(days: f64) -> Map<String, Value> {
    let config = json!({
        "apiName": "storefront", "service": "AppSync",
        "transformSchema": "# yes: no\ntype Post @model {\n  id: ID!\n  \"\"\"a \u{2028} b\"\"\"\n  text: String\n}\n",
        "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": days, "description": "on: off # ~" } },
        "additionalAuthTypes": [
            { "mode": "AWS_IAM" },
            { "mode": "OPENID_CONNECT", "settings": { "openIDAuthTTL": "0123", "openIDIssueURL": "https://issuer.example" } },
        ],
        "conflictResolution": { "resolutionStrategy": "AUTOMERGE" },
    });
    config.as_object().expect("an object").clone()
}

/// Puts backends, APIs and records of every form into AWS, with names that a YAML reader could parse as another type.
fn seed(stage: &Stage) {
    let aws = stage.aws();
    aws.put_app(&App {
        account: None,
        region: None,
        app_id: TWIN.to_owned(),
        name: "storefront".to_owned(),
    });
    for environment in ["staging", "dev", "Dev", "no", "broken", "nometa"] {
        assert!(aws.put_backend((APP, environment), "storefront"));
    }
    for number in 0..12 {
        assert!(aws.put_backend((APP, &*format!("e{number:02}")), "12:30:45"));
    }
    assert!(aws.put_backend((TWIN, "dev"), "null"));
    assert!(aws.put_api((APP, "staging"), "storefront", graphql_api(7.0)));
    assert!(aws.put_api((APP, "staging"), "bad.name", graphql_api(7.0)));
    assert!(aws.put_api((APP, "dev"), "on", Map::new()));
    let storage = |config: Value, imported| ResourceState {
        config: config.as_object().expect("an object").clone(),
        imported,
    };
    let permissions = json!({ "bucketName": "photos", "permissions": { "authenticated": ["DELETE", "READ"] } });
    assert!(aws.put_storage((APP, "staging"), "photos", storage(permissions, false)));
    let linked = storage(json!({ "bucketName": "there-already" }), true);
    assert!(aws.put_storage((APP, "e00"), "storefront1234abcd", linked));
    assert!(aws.put_meta_config((APP, "broken"), "{\"api\": {\"secret"));
    assert!(aws.put_meta_config((APP, "nometa"), ""));
    // A backend without a record.
    assert!(aws.delete_environment((APP, "nometa")));
    let record = EnvironmentState {
        stack_name: Some("0x1F".to_owned()),
        deployment_artifacts: Some("a: b\n---\nc".to_owned()),
    };
    for name in [
        "1e3",
        "legacy",
        "a/b ü",
        "x\u{2028}---\u{2028}apiVersion: v1\u{2028}kind: ConfigMap\n---\nkind: x",
    ] {
        assert!(aws.put_environment((APP, name), record.clone()));
    }
    assert!(aws.put_environment((APP, "bare"), EnvironmentState::default()));
}

fn expected() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = (0..12)
        .map(|number| format!("amplifybackends/storefront-e{number:02}"))
        .collect();
    names.extend(
        [
            "amplifybackends/storefront-staging",
            "amplifybackends/storefront-no",
            "amplifybackends/storefront-broken",
            "amplifybackends/storefront-nometa",
            "amplifybackends/storefront-dev-a35693dc",
            "amplifybackends/storefront-dev-c1014288",
            "amplifybackends/storefront-dev-a29fc94a",
            "backendapis/storefront-staging-storefront",
            "backendapis/storefront-dev-on",
            "backendstorages/storefront-staging-photos",
            "backendstorages/storefront-e00-storefront1234abcd",
            "backendenvironments/storefront-1e3",
            "backendenvironments/storefront-bare",
            "backendenvironments/storefront-legacy",
        ]
        .map(str::to_owned),
    );
    names
}

/// Returns the operations that AWS has received, as actions of a policy.
fn called(stage: &Stage) -> BTreeSet<String> {
    let calls = stage.simulator.history().all();
    let calls = calls
        .iter()
        .filter(|call| call.operation != Operation::GetCallerIdentity);
    calls
        .map(|call| {
            format!(
                "{}:{}",
                call.service.map_or("", |service| service.as_str()),
                call.operation
            )
        })
        .collect()
}

fn allowed() -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(include_str!("../../deploy/iam-policy-import.json")).expect("a policy");
    serde_json::from_value(policy["Statement"][0]["Action"].clone()).expect("actions")
}

async fn import(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amplify-operator"));
    command
        .arg("import")
        .args(arguments)
        .args(["--namespace", &stage.namespace]);
    printed(stage, command).await
}

async fn kubectl(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = Command::new(tools::kubectl().await.expect("kubectl"));
    command.args(arguments).args(["--namespace", &stage.namespace]);
    printed(stage, command).await
}

async fn printed(stage: &Stage, command: Command) -> String {
    ended(stage, command, &[0]).await
}

/// Runs a program that ends with one of these exit codes, and returns what it prints.
async fn ended(stage: &Stage, mut command: Command, codes: &[i32]) -> String {
    let output = command
        .env_clear()
        .envs(stage.environment.iter().cloned())
        // Excludes the user's settings, and kubectl's cache about another cluster that once had this address.
        .env("HOME", stage.dir.path())
        .env("KUBECACHEDIR", stage.dir.path().join("kube"))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_expected = output.status.code().is_some_and(|code| codes.contains(&code));
    assert!(is_expected, "{}: {stderr}", output.status);
    assert!(!stderr.contains("secret"), "nobody's metadata is repeated: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}
