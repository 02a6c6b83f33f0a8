//! `amplify-operator report`: every form of its output, and the secrets that are in none.

use std::collections::{BTreeMap, BTreeSet};

use amplify_simulator::{
    Action, App, Config, Control, EnvironmentState, Fault, JobScript, Operation, ResourceState, Simulator,
};
use serde_json::{Map, Value, json};

use super::{APP, Run, command, run};

/// Stands where AWS's answers hold secrets and other values that the report must not take.
const CANARY: &str = "canary-4f1c";
/// The simulator's own.
const SECRET: &str = "never-to-be-shown";

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn report(simulator: &Simulator, arguments: &[&str]) -> Run {
    let home = tempfile::tempdir().expect("a folder");
    run(&mut command(simulator, home.path(), "report", arguments))
}

/// Returns the report as JSON, with its exit code.
fn json_of(simulator: &Simulator, arguments: &[&str]) -> (Option<i32>, Value) {
    let Run { code, out, err } = report(simulator, &[arguments, &["--output", "json"]].concat());
    let parsed = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, parsed)
}

/// An AmplifyMetaConfig as the Amplify CLI writes it, with a canary in each member that holds a secret or is not for
/// the report.
fn meta_config() -> String {
    let text = json!({
        "providers": { "awscloudformation": { "StackName": CANARY } },
        "api": {
            "storefront": { "service": "AppSync", "output": { "GraphQLAPIKeyOutput": CANARY, "GraphQLAPIIdOutput": CANARY } },
            "orders": { "service": "API Gateway", "output": { "RootUrl": CANARY } },
        },
        "auth": {
            "users": {
                "service": "Cognito",
                "frontendAuthConfig": {
                    "socialProviders": ["GOOGLE", "OKTA"], "usernameAttributes": ["EMAIL"], "signupAttributes": [CANARY],
                    "passwordProtectionSettings": { "passwordPolicyMinLength": 8, "passwordPolicyCharacters": ["REQUIRES_LOWERCASE"] },
                    "mfaConfiguration": "OPTIONAL", "mfaTypes": ["SMS"], "verificationMechanisms": ["EMAIL"],
                },
                "output": { "UserPoolId": CANARY, "AppClientSecret": CANARY, "HostedUIDomain": CANARY },
            },
            "userPoolGroups": { "service": "Cognito-UserPool-Groups", "output": { "adminRole": CANARY } },
        },
        "storage": {
            "photos": { "service": "S3", "serviceType": "imported", "output": { "BucketName": CANARY } },
            "cart": { "service": "DynamoDB", "output": { "Arn": CANARY } },
        },
        "function": {
            "resize": { "service": "Lambda", "output": { "Arn": CANARY } },
            "mail": { "service": "Lambda", "output": { "Arn": CANARY } },
            "other": { "service": CANARY },
        },
        "analytics": { "clicks": { "service": "Pinpoint", "output": { "Id": CANARY } } },
    });
    text.to_string()
}

/// Puts the environment that docs/report.md shows.
fn put_staging(aws: &Control) {
    assert!(aws.put_backend((APP, "staging"), "storefront"));
    let api = json!({
        "apiName": "storefront", "service": "AppSync",
        "transformSchema": "type Post @model @searchable { id: ID! }",
        "defaultAuthType": { "mode": "API_KEY", "settings": { "description": CANARY } },
        "additionalAuthTypes": [
            { "mode": "AWS_IAM" }, { "mode": "AMAZON_COGNITO_USER_POOLS" },
            { "mode": "OPENID_CONNECT", "settings": { "openIDClientId": CANARY } },
        ],
        "conflictResolution": { "resolutionStrategy": "AUTOMERGE" },
    });
    assert!(aws.put_api((APP, "staging"), "storefront", object(&api)));
    let storage = ResourceState {
        config: object(&json!({ "permissions": { "authenticated": ["READ"] } })),
        imported: true,
    };
    assert!(aws.put_storage((APP, "staging"), "photos", storage));
    assert!(aws.put_meta_config((APP, "staging"), &meta_config()));
    let variables = [("GEN2_MIGRATION_ENVIRONMENT_NAME", "staging"), ("STRIPE_KEY", CANARY)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(aws.put_variables((APP, ""), BTreeMap::from(variables)));
}

fn simulator() -> Simulator {
    let simulator = Simulator::start(&Config::default().app(APP, "storefront")).expect("a simulator");
    put_staging(&simulator.control());
    simulator
}

/// Returns the verdict for each finding: "feature / of".
fn verdicts(environment: &Value) -> BTreeMap<String, String> {
    let findings = environment["findings"].as_array().expect("findings");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let each = findings.iter().map(|finding| {
        assert!(text(&finding["toDo"]).ends_with('.'), "{finding}");
        let name = format!("{} / {}", text(&finding["feature"]), text(&finding["of"]));
        (name, text(&finding["verdict"]))
    });
    each.collect()
}

#[test]
fn an_environment_is_shown_with_a_verdict_for_each_of_its_features() {
    let simulator = simulator();
    let (code, report) = json_of(&simulator, &["--app-id", APP]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(
        (&report["matrixDate"], &report["endOfLife"], &report["complete"]),
        (&json!("2026-05-14"), &json!("2027-05-01"), &json!(true))
    );
    let app = &report["apps"][0];
    assert_eq!(
        (&app["name"], &app["lockedEnvironment"]),
        (&json!("storefront"), &json!("staging"))
    );
    let staging = &app["environments"][0];
    assert_eq!(
        staging["graphqlApis"],
        json!([{ "name": "storefront", "configuration": {
            "apiName": "storefront", "defaultAuthMode": "API_KEY",
            "additionalAuthModes": ["AWS_IAM", "AMAZON_COGNITO_USER_POOLS", "OPENID_CONNECT"],
            "conflictResolution": "AUTOMERGE",
        } }])
    );
    assert_eq!(
        staging["auths"],
        json!([{
            "name": "users", "imported": false, "hostedUi": true, "socialProviders": ["GOOGLE", "OKTA"],
            "usernameAttributes": ["EMAIL"], "verificationMechanisms": ["EMAIL"], "mfa": "OPTIONAL", "mfaTypes": ["SMS"],
            "passwordMinLength": 8, "passwordCharacters": ["REQUIRES_LOWERCASE"],
        }])
    );
    assert_eq!(
        staging["storages"],
        json!([{ "name": "photos", "imported": true, "permissions": { "authenticated": ["READ"], "unAuthenticated": [] } }])
    );
    assert_eq!(
        staging["otherCategories"],
        json!([
            { "category": "analytics", "count": 1 }, { "category": "api", "count": 1 }, { "category": "auth", "count": 1 },
            { "category": "function", "count": 3 }, { "category": "storage", "count": 1 },
        ])
    );
    let verdicts = verdicts(staging);
    for (feature, verdict) in [
        ("GraphQL: API key authorization / storefront", "taken"),
        ("GraphQL: IAM authorization / storefront", "taken"),
        ("GraphQL: Cognito user pool authorization / storefront", "taken"),
        ("GraphQL: OpenID Connect authorization / storefront", "byHand"),
        ("GraphQL: conflict resolution (DataStore) / storefront", "notSupported"),
        ("GraphQL: directive searchable / storefront", "notSupported"),
        ("imported S3 bucket / photos", "byHand"),
        ("Cognito user pool / users", "taken"),
        ("social provider / users: GOOGLE", "taken"),
        (
            "identity provider that the matrix does not list / users: OKTA",
            "unclear",
        ),
        ("OAuth flow, scopes, redirect URIs and domain prefix / users", "byHand"),
        ("user pool groups / auth: 1", "taken"),
        ("REST API / api: 1", "taken"),
        ("Lambda function / function: 2", "unclear"),
        ("not in the matrix / function: 1", "unclear"),
        ("analytics (Pinpoint) / analytics: 1", "byHand"),
    ] {
        assert_eq!(
            verdicts.get(feature).map(String::as_str),
            Some(verdict),
            "{feature}: {verdicts:#?}"
        );
    }
}

#[test]
fn no_form_shows_a_secret_or_a_variable_of_the_app() {
    let simulator = simulator();
    let aws = simulator.control();
    // Here the metadata is the simulator's own.
    assert!(aws.put_backend((APP, "plain"), "storefront"));
    assert!(aws.put_auth((APP, "plain"), "users"));
    assert!(aws.put_api((APP, "plain"), "storefront", Map::new()));
    for form in ["table", "json", "markdown"] {
        for filter in ["warn", "trace"] {
            let home = tempfile::tempdir().expect("a folder");
            let arguments = ["--all-apps", "--output", form];
            let mut command = command(&simulator, home.path(), "report", &arguments);
            // The AWS SDK's own logs show whole answers. This program's logs must not.
            command.env("RUST_LOG", format!("amplify_operator={filter}"));
            let Run { code, out, err } = run(&mut command);
            assert_eq!(code, Some(0), "{err}");
            for secret in [CANARY, SECRET, "STRIPE_KEY"] {
                assert!(!out.contains(secret), "{form} shows {secret}: {out}");
                assert!(!err.contains(secret), "{form} shows {secret}: {err}");
            }
        }
    }
    let reads = simulator.history();
    assert_eq!(reads.writes(), []);
}

/// The mode and the conflict resolution of an API, then the expected row of the mode with its verdict, and the expected
/// verdict of the conflict resolution. The environment has the name of the mode.
const MODES: [(&str, &str, &str, &str, Option<&str>); 4] = [
    ("API_KEY", "NONE", "API key", "taken", None),
    (
        "AMAZON_COGNITO_USER_POOLS",
        "LAMBDA",
        "Cognito user pool",
        "taken",
        Some("notSupported"),
    ),
    (
        "AWS_IAM",
        "OPTIMISTIC_CONCURRENCY",
        "IAM",
        "taken",
        Some("notSupported"),
    ),
    (
        "OPENID_CONNECT",
        "AUTOMERGE",
        "OpenID Connect",
        "byHand",
        Some("notSupported"),
    ),
];

/// Returns the environment of this name.
fn named<'a>(report: &'a Value, name: &str) -> &'a Value {
    let environments = report["apps"][0]["environments"].as_array();
    let mut environments = environments.expect("environments").iter();
    environments
        .find(|environment| environment["name"] == name)
        .expect("the environment")
}

#[test]
fn each_mode_of_an_api_and_each_conflict_resolution_has_its_verdict() {
    let simulator = Simulator::start(&Config::default().app(APP, "storefront")).expect("a simulator");
    let aws = simulator.control();
    for (mode, resolution, ..) in MODES {
        assert!(aws.put_backend((APP, mode), "storefront"));
        let api =
            json!({ "defaultAuthType": { "mode": mode }, "conflictResolution": { "resolutionStrategy": resolution } });
        assert!(aws.put_api((APP, mode), "shop", object(&api)));
    }
    let (code, report) = json_of(&simulator, &["--all-apps"]);
    assert_eq!(code, Some(0), "{report:#}");
    for (mode, resolution, row, verdict, conflict) in MODES {
        let environment = named(&report, mode);
        let configuration = &environment["graphqlApis"][0]["configuration"];
        assert_eq!(configuration["defaultAuthMode"], mode);
        assert_eq!(configuration["conflictResolution"], resolution);
        let verdicts = verdicts(environment);
        let of = |row: &str| verdicts.get(&format!("GraphQL: {row} / shop")).map(String::as_str);
        assert_eq!(of(&format!("{row} authorization")), Some(verdict), "{mode}");
        assert_eq!(of("conflict resolution (DataStore)"), conflict, "{mode}");
    }
}

#[test]
fn a_pending_job_a_storage_and_an_environment_without_a_backend_are_shown() {
    let simulator = Simulator::start(&Config::default().app(APP, "storefront")).expect("a simulator");
    let aws = simulator.control();
    assert!(aws.put_environment((APP, "legacy"), EnvironmentState::default()));
    assert!(aws.put_backend((APP, "dev"), "storefront"));
    let permissions = json!({ "authenticated": ["READ", "DELETE"], "unAuthenticated": ["READ"] });
    let own = ResourceState {
        config: object(&json!({ "permissions": permissions })),
        imported: false,
    };
    assert!(aws.put_storage((APP, "dev"), "photos", own));
    let job = aws.start_job((APP, "dev"), "UpdateBackendAPI", JobScript::stuck());
    assert!(job.is_some());
    let (code, report) = json_of(&simulator, &["--all-apps"]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["apps"][0]["lockedEnvironment"], Value::Null);
    let dev = named(&report, "dev");
    let jobs = dev["pendingJobs"].as_array().expect("jobs");
    assert_eq!((jobs.len(), &jobs[0]["operation"]), (1, &json!("UpdateBackendAPI")));
    assert_eq!(dev["locked"], false);
    let own = json!([{ "name": "photos", "imported": false, "permissions": permissions }]);
    assert_eq!(dev["storages"], own);
    assert_eq!(
        verdicts(dev).get("S3 bucket / photos").map(String::as_str),
        Some("taken")
    );
    let legacy = named(&report, "legacy");
    assert_eq!(
        (&legacy["hasBackend"], &legacy["graphqlApis"], &legacy["pendingJobs"]),
        (&json!(false), &json!([]), &json!([]))
    );
}

#[test]
fn what_aws_gives_no_answer_for_is_not_known_and_an_exit_code() {
    let simulator = simulator();
    let aws = simulator.control();
    assert!(aws.put_backend((APP, "dev"), "storefront"));
    aws.put_app(&App {
        account: None,
        region: None,
        app_id: "d2".to_owned(),
        name: "other".to_owned(),
    });
    let refuse = |operation| Fault {
        times: None,
        ..Fault::on(operation, Action::AccessDenied)
    };
    aws.fault(refuse(Operation::GetBackend).environment("dev"));
    aws.fault(refuse(Operation::ListBackendJobs).environment("staging"));
    aws.fault(refuse(Operation::GetBackendApi).environment("staging"));
    aws.fault(refuse(Operation::ListBackendEnvironments).app("d2"));
    let (code, seen) = json_of(&simulator, &["--all-apps"]);
    assert_eq!((code, &seen["complete"]), (Some(3), &json!(false)), "{seen:#}");
    let of = |app: usize, environment: usize| &seen["apps"][app]["environments"][environment];
    assert_eq!(seen["apps"][0]["lockedEnvironment"], "staging", "{seen:#}");
    let dev = of(0, 0);
    for unknown in ["hasBackend", "graphqlApis", "auths", "storages", "otherCategories"] {
        assert_eq!(dev[unknown], Value::Null, "{unknown}: {dev:#}");
    }
    assert_eq!(dev["pendingJobs"], json!([]));
    assert!(
        dev["notKnown"][0]
            .as_str()
            .is_some_and(|why| why.contains("GetBackend: AccessDenied")),
        "{dev:#}"
    );
    let staging = of(0, 1);
    assert_eq!(staging["pendingJobs"], Value::Null);
    assert_eq!(
        staging["graphqlApis"],
        json!([{ "name": "storefront", "configuration": null }])
    );
    assert_eq!(seen["apps"][1]["environments"], Value::Null);
    for form in ["table", "markdown"] {
        let Run { code, out, err } = report(&simulator, &["--all-apps", "--output", form]);
        assert_eq!(code, Some(3), "{err}");
        assert!(err.contains("deploy/iam-policy-import.json"), "{err}");
        for what in [
            "the backend and its contents",
            "the pending jobs",
            "the configuration of GraphQL API storefront",
            "the environments",
        ] {
            assert!(out.contains(&format!("{what}: ")), "{form} does not name {what}: {out}");
        }
        assert!(!out.contains("request id"), "it would differ each time: {out}");
    }
}

#[test]
fn a_name_that_others_wrote_draws_on_no_terminal_and_makes_no_link() {
    let simulator =
        Simulator::start(&Config::default().app(APP, "a|b\u{1b}[31m`[x](http://evil) @all")).expect("a simulator");
    let aws = simulator.control();
    assert!(aws.put_backend((APP, "dev"), "storefront"));
    let meta = json!({ "auth": { "users": { "service": "Cognito", "frontendAuthConfig": { "socialProviders": ["\u{1b}]0;x\u{7}|`@all"] } } },
        "x\n# y |": { "a": { "service": "b" } } });
    assert!(aws.put_meta_config((APP, "dev"), &meta.to_string()));
    for form in ["table", "markdown", "json"] {
        let Run { code, out, err } = report(&simulator, &["--all-apps", "--output", form]);
        assert_eq!(code, Some(0), "{err}");
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
        assert!(!out.contains("\n# y"), "{out}");
        if form == "markdown" {
            let outside: String = out.split('`').step_by(2).collect();
            assert!(!outside.contains("evil") && !outside.contains("@all"), "{out}");
        }
    }
}

/// Adds the names of all fields.
fn fields(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                into.insert(name.clone());
                fields(value, into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_documentation_shows_what_a_report_prints_and_names_each_field() {
    let simulator = simulator();
    let docs = include_str!("../../docs/report.md");
    for (form, begin) in [("table", "```\n"), ("markdown", "````markdown\n")] {
        let Run { code, out, err } = report(&simulator, &["--app-id", APP, "--output", form]);
        assert_eq!(code, Some(0), "{err}");
        // The lines before this one depend on the day.
        let at = out.find("Verdicts: ").expect("the date of the matrix");
        assert!(
            docs.contains(begin) && docs.contains(&out[at..]),
            "docs/report.md does not show this:\n{out}"
        );
    }
    let _ = simulator
        .control()
        .start_job((APP, "staging"), "UpdateBackendAPI", JobScript::stuck());
    let (_, report) = json_of(&simulator, &["--app-id", APP]);
    let mut names = BTreeSet::new();
    fields(&report, &mut names);
    let is_named = |name: &&String| docs.contains(&format!("`{name}`")) || docs.contains(&format!("`{name}[]`"));
    let missing: Vec<_> = names.iter().filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "docs/report.md does not name {missing:?}");
}
