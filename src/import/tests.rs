//! Tables: inventories, and the manifests made from them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    files, header,
    plan::{Part, plan},
    summary, whole,
};
use crate::{
    api::ResourceConfig,
    inventory::{Answer, App, Backend, Environment, Inventory},
    kinds::{backend_environment::Record, overview::Overview},
};

fn record(stack_name: Option<&str>) -> Record {
    Record {
        arn: "arn".to_owned(),
        stack_name: stack_name.map(str::to_owned),
        deployment_artifacts: Some("bucket".to_owned()),
        create_time: jiff::Timestamp::UNIX_EPOCH,
        update_time: jiff::Timestamp::UNIX_EPOCH,
    }
}

fn backend(apis: &[(&str, Answer<ResourceConfig>)]) -> Environment {
    let apis = apis.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone()));
    Environment {
        record: Some(record(Some("stack"))),
        backend: Answer::There(Backend {
            app_name: Some("shop".to_owned()),
            apis: Ok(apis.collect()),
            storage: Ok(None),
            overview: Ok(Overview::default()),
        }),
    }
}

fn app(environments: &[(&str, Environment)]) -> Inventory {
    let environments = environments
        .iter()
        .map(|(name, environment)| ((*name).to_owned(), environment.clone()));
    let app = App {
        name: "shop".to_owned(),
        locked: None,
        environments: Answer::There(environments.collect()),
    };
    Inventory {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        apps: BTreeMap::from([("d1".to_owned(), app)]),
    }
}

fn config(json: Value) -> Answer<ResourceConfig> {
    Answer::There(serde_json::from_value(json).unwrap())
}

/// Returns the specs of the manifests, with their notes.
fn manifests(inventory: &Inventory) -> Vec<(Value, Vec<String>)> {
    let parts = plan(inventory, true).into_iter().map(|part| match part {
        Part::Manifest { resource, notes } => (
            json!({ "kind": resource.kind.name(), "name": resource.name, "spec": resource.spec }),
            notes,
        ),
        other => panic!("{other:?}"),
    });
    parts.collect()
}

fn policies(mut spec: Value) -> Value {
    spec["adoptionPolicy"] = json!("IfExists");
    spec["deletionPolicy"] = json!("Retain");
    spec
}

#[test]
fn an_environment_becomes_a_backend_or_a_record_and_never_both() {
    let without_backend = Environment {
        record: Some(record(None)),
        backend: Answer::Absent,
    };
    let inventory = app(&[
        (
            "staging",
            backend(&[("api", config(json!({ "transformSchema": "type A" })))]),
        ),
        ("legacy", without_backend),
    ]);
    let found = manifests(&inventory);
    let place = json!({ "appId": "d1", "backendEnvironmentName": "staging", "appName": "shop", "region": "eu-west-1" });
    assert_eq!(
        found,
        [
            (
                json!({ "kind": "BackendEnvironment", "name": "shop-legacy", "spec": policies(json!({
                    "appId": "d1", "environmentName": "legacy", "deploymentArtifacts": "bucket", "region": "eu-west-1",
                })) }),
                vec!["AWS's answer has no stackName.".to_owned()]
            ),
            (
                json!({ "kind": "AmplifyBackend", "name": "shop-staging", "spec": policies(place) }),
                vec![]
            ),
            (
                json!({ "kind": "BackendApi", "name": "shop-staging-api", "spec": policies(json!({
                    "backendRef": { "name": "shop-staging" }, "resourceName": "api",
                    "resourceConfig": { "transformSchema": "type A" },
                })) }),
                vec![]
            ),
        ]
    );
}

#[test]
fn what_cannot_be_given_back_to_aws_is_left_out_with_a_note() {
    let long = "x".repeat(256);
    for (given, kept, note) in [
        (
            json!({ "transformSchema": "t", "apiName": "" }),
            json!({ "transformSchema": "t" }),
            "spec.resourceConfig.apiName has 0 characters",
        ),
        (
            json!({ "transformSchema": "t", "service": long }),
            json!({ "transformSchema": "t" }),
            "spec.resourceConfig.service has 256",
        ),
        (
            json!({ "transformSchema": "" }),
            json!({}),
            "spec.resourceConfig.transformSchema is empty",
        ),
        (
            json!({ "transformSchema": "t".repeat(524_289) }),
            json!({}),
            "transformSchema has 524289 bytes",
        ),
        (json!({}), json!({}), "AWS's answer has no transformSchema"),
        (
            json!({ "transformSchema": "t", "defaultAuthType": { "settings": {} } }),
            json!({ "transformSchema": "t" }),
            "defaultAuthType, whose mode",
        ),
        (
            json!({ "transformSchema": "t", "additionalAuthTypes": [{ "mode": "AWS_IAM" }, {}] }),
            json!({ "transformSchema": "t" }),
            "additionalAuthTypes, one of whose modes",
        ),
        (
            json!({ "transformSchema": "t", "conflictResolution": {} }),
            json!({ "transformSchema": "t" }),
            "conflictResolution, whose",
        ),
        (
            json!({ "transformSchema": "t", "additionalAuthTypes": [{ "mode": "OPENID_CONNECT", "settings": { "openIDAuthTTL": long } }] }),
            json!({ "transformSchema": "t" }),
            "spec.resourceConfig.additionalAuthTypes.0.settings.openIDAuthTTL has 256",
        ),
        (
            json!({ "transformSchema": "t", "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 7.0 } } }),
            json!({ "transformSchema": "t", "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 7.0 } } }),
            "expirationTime is today's value in AWS",
        ),
    ] {
        let inventory = app(&[("dev", backend(&[("api", config(given))]))]);
        let (manifest, notes) = manifests(&inventory).remove(1);
        assert_eq!(manifest["spec"]["resourceConfig"], kept, "{note}");
        assert!(notes.iter().any(|text| text.contains(note)), "{note}: {notes:?}");
    }
}

#[test]
fn an_api_of_a_backend_that_is_refused_names_its_place_itself() {
    let mut inventory = app(&[("dev", backend(&[("api", config(json!({})))]))]);
    if let Some(Answer::There(environments)) = inventory.apps.get_mut("d1").map(|app| &mut app.environments)
        && let Some(Answer::There(backend)) = environments.get_mut("dev").map(|environment| &mut environment.backend)
    {
        backend.app_name = Some("n".repeat(256));
    }
    let parts = plan(&inventory, true);
    assert!(
        matches!(&parts[0], Part::Refused { why, .. } if why.starts_with("spec.appName has 256")),
        "{parts:?}"
    );
    let Part::Manifest { resource, .. } = &parts[1] else {
        panic!("{parts:?}");
    };
    let spec = &resource.spec;
    assert_eq!((&spec["appId"], &spec["region"]), (&json!("d1"), &json!("eu-west-1")));
    assert_eq!(
        (&spec["backendEnvironmentName"], &spec["backendRef"]),
        (&json!("dev"), &Value::Null)
    );
}

#[test]
fn nothing_that_aws_says_ends_a_comment() {
    for end in [
        "\n",
        "\r",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{b}",
        "\u{c}",
        "\r\n",
        "\0",
        "\u{1b}[2J",
    ] {
        let hostile = format!("x{end}---{end}apiVersion: v1{end}kind: Secret{end}");
        let backend = Environment {
            record: None,
            backend: Answer::There(Backend {
                app_name: None,
                apis: Ok(BTreeMap::from([
                    (hostile.clone(), config(json!({}))),
                    ("gone".to_owned(), Answer::Absent),
                    ("lost".to_owned(), Answer::Unknown(hostile.clone())),
                ])),
                storage: Ok(None),
                overview: Ok(Overview::default()),
            }),
        };
        let unknown = Environment {
            record: Some(record(Some(&hostile))),
            backend: Answer::Unknown(hostile.clone()),
        };
        let inventory = app(&[("dev", backend), ("lost", unknown.clone()), (&hostile, unknown)]);
        let header = header(&inventory, true);
        let parts = plan(&inventory, true);
        assert_eq!(parts.len(), 6, "{parts:?}");
        let text = whole(&header, &parts, None).unwrap();
        let documents = text.split("---\n").skip(1);
        for (part, document) in parts.iter().zip(documents) {
            let is_comment = document
                .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                .all(|line| line.is_empty() || line.starts_with('#'));
            assert_eq!(!is_comment, matches!(part, Part::Manifest { .. }), "{document}");
        }
        assert_eq!(text.matches("\nkind:").count(), 1, "{text}");
        let (said, _) = summary(&inventory, &parts);
        let controls = said.chars().filter(|c| c.is_control() && *c != '\n').count();
        assert_eq!(controls, 0, "{said:?}");
        assert_eq!(files(&header, &parts, None).unwrap().len(), 2);
    }
}
