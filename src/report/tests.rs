//! Tables: the matrix, and inventories with the reports made from them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::date;
use serde_json::{Value, json};

use super::{
    contents::{Report, report},
    fetch::Jobs,
    matrix::{self, Feature, Verdict},
    render::{Form, text},
};
use crate::{
    api::ResourceConfig,
    inventory::{Answer, App, Backend, Environment, Inventory},
    kinds::overview::{ADMIN_QUERIES, Auth, Overview, SERVICES},
    lifecycle::facts::JobSeen,
};

const TODAY: jiff::civil::Date = date(2026, 11, 28);

fn backend(apis: &[(&str, Answer<ResourceConfig>)], overview: Overview) -> Environment {
    let apis = apis.iter().map(|(name, answer)| ((*name).to_owned(), answer.clone()));
    Environment {
        record: None,
        backend: Answer::There(Backend {
            app_name: None,
            apis: Ok(apis.collect()),
            storage: Ok(None),
            overview: Ok(overview),
        }),
    }
}

fn inventory(environments: Answer<BTreeMap<String, Environment>>, locked: Option<&str>) -> Inventory {
    let app = App {
        name: "shop".to_owned(),
        locked: locked.map(|name| name.parse().unwrap()),
        environments,
    };
    Inventory {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        apps: BTreeMap::from([("d1".to_owned(), app)]),
    }
}

fn of(name: &str, environment: Environment) -> Inventory {
    inventory(Answer::There(BTreeMap::from([(name.to_owned(), environment)])), None)
}

fn no_jobs(name: &str) -> Jobs {
    BTreeMap::from([(("d1".to_owned(), name.to_owned()), Ok(Vec::new()))])
}

fn config(json: Value) -> Answer<ResourceConfig> {
    Answer::There(serde_json::from_value(json).unwrap())
}

/// Returns the names of the features that were found, with their verdicts.
fn found(report: &Report) -> Vec<(&'static str, Verdict)> {
    let environments = report.apps.iter().flat_map(|app| app.environments.iter().flatten());
    let findings = environments.flat_map(|environment| &environment.findings);
    findings.map(|finding| (finding.feature, finding.verdict)).collect()
}

#[test]
fn the_days_left_depend_on_the_day_alone() {
    for (today, left, said) in [
        (TODAY, 154, "154 days left: AWS ends Amplify Gen 1 on 2027-05-01."),
        (
            date(2027, 4, 30),
            1,
            "1 day left: AWS ends Amplify Gen 1 on 2027-05-01.",
        ),
        (date(2027, 5, 1), 0, "AWS ends Amplify Gen 1 today (2027-05-01)."),
        (
            date(2027, 5, 3),
            -2,
            "AWS ended Amplify Gen 1 on 2027-05-01, 2 days ago.",
        ),
        (date(2024, 2, 28), 1158, "1158 days left"),
    ] {
        assert_eq!(matrix::days_left(today), left, "{today}");
        let report = report(&inventory(Answer::Absent, None), &Jobs::new(), today);
        assert!(text(&report, Form::Table).contains(said), "{today}");
    }
}

#[test]
fn every_feature_has_one_row_with_one_sentence() {
    let mut names = BTreeSet::new();
    for feature in Feature::ALL {
        let row = feature.row();
        assert!(names.insert(row.name), "{} is there twice", row.name);
        assert!(row.to_do.ends_with('.') && !row.to_do.contains(". "), "{}", row.to_do);
        assert!(Verdict::ALL.contains(&row.verdict));
        let has_mark = |text: &str| text.contains(['@', '<', '|', '`']);
        assert!(!has_mark(row.name) && !has_mark(row.to_do), "{row:?}");
    }
    for verdict in Verdict::ALL {
        assert!(Feature::ALL.iter().any(|feature| feature.row().verdict == verdict));
    }
}

#[test]
fn a_resource_has_the_row_of_its_category_and_service() {
    for (category, service, feature) in [
        ("api", Some("AppSync"), None),
        ("auth", Some("Cognito"), None),
        ("storage", Some("S3"), None),
        ("api", Some("API Gateway"), Some(Feature::RestApi)),
        ("api", Some(ADMIN_QUERIES), Some(Feature::AdminQueries)),
        ("storage", Some("DynamoDB"), Some(Feature::Table)),
        ("function", Some("Lambda"), Some(Feature::Function)),
        ("function", Some("LambdaLayer"), Some(Feature::Layer)),
        ("function", None, Some(Feature::NotListed)),
        ("analytics", Some("Kinesis"), Some(Feature::Kinesis)),
        ("analytics", Some("Pinpoint"), Some(Feature::Pinpoint)),
        ("notifications", Some("Pinpoint"), Some(Feature::NotListed)),
        ("geo", Some("GeofenceCollection"), Some(Feature::GeofenceCollection)),
        ("predictions", None, Some(Feature::PredictionsCategory)),
        ("hosting", Some("S3AndCloudFront"), Some(Feature::CloudFrontHosting)),
        (
            "custom",
            Some("customCloudformation"),
            Some(Feature::CustomCloudFormation),
        ),
        ("", None, Some(Feature::NotListed)),
    ] {
        assert_eq!(matrix::category(category, service), feature, "{category} {service:?}");
    }
    // Each service that is told apart leads to a row of its own somewhere, or is shown one by one.
    let categories = [
        "api",
        "auth",
        "storage",
        "function",
        "analytics",
        "geo",
        "hosting",
        "custom",
    ];
    for service in SERVICES {
        let known = |category: &&str| matrix::category(category, Some(service)) != Some(Feature::NotListed);
        assert_eq!(
            categories.iter().filter(|category| known(category)).count(),
            1,
            "{service}"
        );
    }
}

#[test]
fn a_directive_is_found_where_it_stands_by_itself_and_not_in_a_comment() {
    for (schema, found) in [
        ("type A @model { id: ID! }", &[][..]),
        ("type A @model @searchable { id: ID! }", &[Feature::Searchable][..]),
        ("type A @searchable(queries: {}) @model", &[Feature::Searchable]),
        ("  # @searchable\ntype A @model", &[]),
        ("type A @searchableX @model_@predictions2", &[]),
        (
            "x: String @predictions(actions: [a])\ny: [B] @manyToMany(relationName: \"AB\")",
            &[Feature::ManyToMany, Feature::Predictions],
        ),
        ("@searchable", &[Feature::Searchable]),
        ("# old\rtype A @model @ searchable", &[Feature::Searchable]),
        ("type A @model # no longer @searchable", &[]),
        (
            "\"\"\"not \\\"\"\" @manyToMany\"\"\" type A @predictions",
            &[Feature::Predictions],
        ),
        ("\"a \\\" @searchable\" x: String", &[]),
        ("\"\"\"never closed @searchable", &[]),
    ] {
        assert_eq!(matrix::directives(schema), found, "{schema}");
    }
}

#[test]
fn an_api_has_a_row_for_each_mode_resolution_and_directive() {
    let schema = "type A @model { id: ID! }";
    for (given, expected) in [
        (
            json!({ "transformSchema": schema, "defaultAuthType": { "mode": "API_KEY" } }),
            &[Feature::ApiKey][..],
        ),
        (
            json!({ "defaultAuthType": { "mode": "AWS_IAM" } }),
            &[Feature::SchemaNotShown, Feature::Iam],
        ),
        (
            json!({ "transformSchema": schema, "additionalAuthTypes": [{ "mode": "OPENID_CONNECT" }, {}] }),
            // A default mode and an additional one that AWS does not show.
            &[Feature::OpenIdConnect, Feature::OtherMode, Feature::OtherMode],
        ),
        (
            json!({ "transformSchema": schema, "defaultAuthType": { "mode": "AMAZON_COGNITO_USER_POOLS" },
                "conflictResolution": { "resolutionStrategy": "NONE" } }),
            &[Feature::UserPools],
        ),
        (
            json!({ "transformSchema": "@manyToMany", "defaultAuthType": { "mode": "API_KEY" },
                "conflictResolution": { "resolutionStrategy": "AUTOMERGE" } }),
            &[Feature::ConflictResolution, Feature::ManyToMany, Feature::ApiKey],
        ),
        (
            json!({ "transformSchema": schema, "defaultAuthType": { "mode": "API_KEY" }, "conflictResolution": {} }),
            &[Feature::OtherResolution, Feature::ApiKey],
        ),
    ] {
        let inventory = of("dev", backend(&[("api", config(given.clone()))], Overview::default()));
        let mut expected: Vec<_> = expected.iter().map(|feature| feature.row()).collect();
        expected.push(Feature::GraphqlApi.row());
        let mut expected: Vec<_> = expected.iter().map(|row| (row.name, row.verdict)).collect();
        let report = report(&inventory, &no_jobs("dev"), TODAY);
        let mut seen = found(&report);
        assert!(seen.is_sorted_by_key(|(_, verdict)| *verdict), "{given}: {seen:?}");
        expected.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, expected, "{given}");
        assert!(report.complete);
    }
}

#[test]
fn what_is_not_known_is_never_absent() {
    let unread = Environment {
        record: None,
        backend: Answer::There(Backend {
            app_name: None,
            apis: Err("no metadata".to_owned()),
            storage: Err("no metadata".to_owned()),
            overview: Err("no metadata".to_owned()),
        }),
    };
    let whole = || backend(&[], Overview::default());
    let refused: Jobs = BTreeMap::from([(("d1".to_owned(), "dev".to_owned()), Err("AccessDenied".to_owned()))]);
    for (inventory, jobs, count) in [
        (inventory(lost(), None), Jobs::new(), 1),
        (inventory(Answer::Absent, None), Jobs::new(), 1),
        (
            of(
                "dev",
                Environment {
                    record: None,
                    backend: lost(),
                },
            ),
            no_jobs("dev"),
            1,
        ),
        (of("dev", unread), no_jobs("dev"), 3),
        (
            of(
                "dev",
                backend(&[("a", lost()), ("b", Answer::Absent)], Overview::default()),
            ),
            no_jobs("dev"),
            2,
        ),
        (of("dev", whole()), refused, 1),
        (of("dev", whole()), Jobs::new(), 1),
    ] {
        let report = report(&inventory, &jobs, TODAY);
        assert!(!report.complete);
        for form in [Form::Table, Form::Markdown] {
            let text = text(&report, form);
            assert_eq!(text.matches(" not known: ").count(), count, "{text}");
        }
    }
    assert!(report(&of("dev", whole()), &no_jobs("dev"), TODAY).complete);
}

fn lost<T>() -> Answer<T> {
    Answer::Unknown("AccessDenied".to_owned())
}

#[test]
fn a_lock_is_shown_at_its_environment_or_at_the_app() {
    let both = || {
        Answer::There(BTreeMap::from([
            ("dev".to_owned(), backend(&[], Overview::default())),
            ("prod".to_owned(), backend(&[], Overview::default())),
        ]))
    };
    for (locked, each) in [
        (None, [false, false]),
        (Some("prod"), [false, true]),
        (Some("gone"), [false, false]),
    ] {
        let report = report(&inventory(both(), locked), &Jobs::new(), TODAY);
        let app = &report.apps[0];
        let is_locked = app.environments.iter().flatten().map(|environment| environment.locked);
        assert_eq!(is_locked.collect::<Vec<_>>(), each, "{locked:?}");
        assert_eq!(app.locked_environment.as_deref(), locked);
        let said = text(&report, Form::Table).contains("gone, which is not among the environments");
        assert_eq!(said, locked == Some("gone"));
    }
}

#[test]
fn only_jobs_that_have_not_ended_are_pending() {
    let job = |status: &str| JobSeen {
        id: "j".to_owned(),
        environment: "dev".to_owned(),
        operation: "UpdateBackendAPI".to_owned(),
        status: status.to_owned(),
        create_time: None,
        update_time: None,
        error: None,
        exists: false,
    };
    let jobs = ["COMPLETED", "FAILED", "RUNNING", "ODD\u{1b}[31m"].map(job).to_vec();
    let jobs = BTreeMap::from([(("d1".to_owned(), "dev".to_owned()), Ok(jobs))]);
    let report = report(&of("dev", backend(&[], Overview::default())), &jobs, TODAY);
    let environment = &report.apps[0].environments.as_ref().unwrap()[0];
    let pending = environment.pending_jobs.iter().flatten().map(|job| job.status.as_str());
    assert_eq!(pending.collect::<Vec<_>>(), ["RUNNING", "ODD"]);
}

#[test]
fn an_auth_without_settings_is_unclear_and_an_imported_one_is_taken() {
    for (auth, expected) in [
        (Auth::default(), vec![Feature::SignInNotShown, Feature::Auth]),
        (
            Auth {
                is_imported: true,
                has_hosted_ui: true,
                sign_in: Some(crate::kinds::overview::SignIn::default()),
            },
            vec![Feature::HostedUi, Feature::ImportedAuth],
        ),
    ] {
        let overview = Overview {
            auths: BTreeMap::from([("users".to_owned(), auth)]),
            ..Overview::default()
        };
        let report = report(&of("dev", backend(&[], overview)), &no_jobs("dev"), TODAY);
        let expected: Vec<_> = expected
            .iter()
            .map(|feature| (feature.row().name, feature.row().verdict))
            .collect();
        assert_eq!(found(&report), expected);
    }
    for (name, feature) in [
        ("GOOGLE", Feature::SocialProvider),
        ("facebook", Feature::SocialProvider),
        ("AMAZON", Feature::SocialProvider),
        ("APPLE", Feature::SocialProvider),
        ("OKTA", Feature::OtherProvider),
        ("", Feature::OtherProvider),
    ] {
        assert_eq!(matrix::provider(name), feature, "{name}");
    }
}

#[test]
fn no_text_of_aws_is_printed_whole_or_as_it_is() {
    let hostile = format!("x\n# y|`@all\u{1b}[31m\u{202e}{}", "z".repeat(5000));
    let environment = Environment {
        record: None,
        backend: Answer::Unknown(hostile.clone()),
    };
    let mut inventory = of(&hostile, environment);
    if let Some(app) = inventory.apps.get_mut("d1") {
        app.name.clone_from(&hostile);
    }
    let report = report(&inventory, &Jobs::new(), TODAY);
    for text in [
        text(&report, Form::Table),
        text(&report, Form::Markdown),
        serde_json::to_string(&report).unwrap(),
    ] {
        assert!(
            !text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{text:?}"
        );
        assert!(!text.contains("\n# y") && text.len() < 6000, "{}: {text}", text.len());
    }
    let markdown = text(&report, Form::Markdown);
    let outside: String = markdown.split('`').step_by(2).collect();
    assert!(!outside.contains("@all"), "{markdown}");
}
