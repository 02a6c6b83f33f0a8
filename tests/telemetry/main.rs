//! Alerts and dashboard, checked without an operator. `tests/operator` checks them against a working operator.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod dashboard;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use amplify_devcluster::tools::{self, Tool};
use amplify_operator::telemetry::Metrics;
use serde_json::Value;

const RULES: &str = "charts/amplify-operator/files/prometheus-rules.yaml";
const REPOSITORY: &str = "https://github.com/amplify-operator/amplify-operator";
const RULE_TESTS: &str = "tests/telemetry/alerts.yaml";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).expect("YAML")
}

async fn promtool(arguments: &[&str]) {
    let output = Command::new(tools::find(Tool::Promtool).await.expect("promtool"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
}

fn rules() -> Vec<Value> {
    let groups = yaml(RULES)["groups"].as_array().expect("groups").clone();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules").clone());
    rules.collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

#[tokio::test]
async fn each_alert_tells_what_it_should_and_nothing_else() {
    promtool(&["check", "rules", RULES]).await;
    promtool(&["test", "rules", RULE_TESTS]).await;
    let tests = yaml(RULE_TESTS);
    for rule in rules() {
        let alert = text(&rule, "alert");
        let expected = |fires: bool| {
            let tests = tests["tests"].as_array().expect("tests").iter();
            tests
                .flat_map(|test| test["alert_rule_test"].as_array().expect("checks"))
                .any(|check| {
                    check["alertname"] == alert && fires != check["exp_alerts"].as_array().expect("alerts").is_empty()
                })
        };
        assert!(expected(true), "no test has {alert} fire");
        assert!(expected(false), "no test has {alert} not fire");
    }
}

#[test]
fn each_alert_leads_to_what_to_do_about_it() {
    let page = read("docs/metrics.md");
    let headings: BTreeSet<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules = rules();
    let alerts: BTreeSet<_> = rules.iter().map(|rule| text(rule, "alert")).collect();
    assert_eq!(alerts, headings, "alerts, and the headings of docs/metrics.md");
    for rule in &rules {
        let annotations = &rule["annotations"];
        assert!(!text(annotations, "summary").is_empty() && !text(annotations, "description").is_empty());
        let anchor = text(rule, "alert").to_lowercase();
        assert_eq!(
            text(annotations, "runbook_url"),
            format!("{REPOSITORY}/blob/main/docs/metrics.md#{anchor}")
        );
        assert!(["critical", "warning"].contains(&text(&rule["labels"], "severity")));
    }
}

#[test]
fn alerts_and_dashboard_name_only_metrics_and_labels_that_there_are() {
    let metrics = Metrics::new("");
    let described: BTreeMap<_, _> = metrics.described().iter().map(|family| (family.name, family)).collect();
    let rules = rules();
    let alerts = rules.iter().map(|rule| text(rule, "expr").to_owned());
    let mut used = BTreeSet::new();
    for query in alerts.chain(dashboard::queries().into_iter().map(|(_, query)| query)) {
        for rest in query.split("amplify_operator_").skip(1) {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
            let (series, rest) = rest.split_at(end);
            let family = described.get(series).or_else(|| {
                let stem = ["_bucket", "_count", "_sum"]
                    .iter()
                    .find_map(|suffix| series.strip_suffix(suffix))?;
                described.get(stem).filter(|family| family.type_ == "histogram")
            });
            let family = family.unwrap_or_else(|| panic!("there is no {series}: {query}"));
            used.insert(family.name);
            let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            for matcher in matchers.into_iter().flat_map(|(inside, _)| inside.split(',')) {
                let label = matcher
                    .trim()
                    .split(|letter| !is_name(letter))
                    .next()
                    .unwrap_or_default();
                assert!(
                    label == "job" || family.labels.contains(&label),
                    "{series} has no label {label}: {query}"
                );
            }
        }
    }
    let unused: Vec<_> = described.keys().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "neither alert nor panel looks at {unused:?}");
}

/// Checks the requirements of Grafana's JSON model, as far as this is possible without Grafana.
#[test]
#[expect(clippy::too_many_lines, reason = "one thing after the other")]
fn the_dashboard_is_one_that_grafana_can_load() {
    let model = dashboard::model();
    for (field, is) in [
        ("title", Value::is_string as fn(&Value) -> bool),
        ("uid", Value::is_string),
        ("schemaVersion", Value::is_u64),
        ("version", Value::is_u64),
        ("tags", Value::is_array),
        ("time", Value::is_object),
        ("annotations", Value::is_object),
        ("templating", Value::is_object),
    ] {
        assert!(is(&model[field]), "{field}: {}", model[field]);
    }
    assert!(model["id"].is_null(), "Grafana gives it one");
    assert!(text(&model, "uid").len() <= 40);
    let variables = model["templating"]["list"].as_array().expect("variables");
    let variable = |name: &str| variables.iter().find(|variable| variable["name"] == name);
    let source = variable("datasource").expect("a variable for the data source");
    assert_eq!(
        (text(source, "type"), text(source, "query")),
        ("datasource", "prometheus")
    );
    for asks in variables.iter().filter(|variable| variable["type"] == "query") {
        assert_eq!(text(&asks["datasource"], "uid"), "${datasource}", "{asks}");
    }

    let panels = dashboard::panels();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().expect("an id"))
        .collect();
    assert_eq!(ids.len(), panels.len(), "each id once");
    let mut cells = BTreeSet::new();
    for panel in &panels {
        let title = text(panel, "title");
        let at = |field: &str| {
            let number = panel["gridPos"][field].as_u64();
            number.unwrap_or_else(|| panic!("{title}: no gridPos.{field}"))
        };
        let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} does not fit");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{title} lies on another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "timeseries"].contains(&text(panel, "type")), "{title}");
        assert!(!text(panel, "description").is_empty(), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: no unit");
        assert!(panel["options"].is_object(), "{title}: no options");
        let targets = panel["targets"].as_array().expect("targets");
        let refs: BTreeSet<_> = targets.iter().map(|target| text(target, "refId")).collect();
        assert!(!targets.is_empty() && refs.len() == targets.len(), "{title}: refIds");
        for source in targets.iter().chain([panel]).map(|it| &it["datasource"]) {
            assert_eq!(
                (text(source, "type"), text(source, "uid")),
                ("prometheus", "${datasource}"),
                "{title}"
            );
        }
    }
    for (title, query) in dashboard::queries() {
        for name in query.split('$').skip(1) {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let name = name.split(|letter| !is_name(letter)).next().unwrap_or_default();
            assert!(
                name == "__rate_interval" || variable(name).is_some(),
                "{title}: what is ${name}?"
            );
        }
    }
}
