//! Every value of the chart, changed once: the real helm upgrades a release, and the objects that the API server then
//! holds are compared with those before. `values.yaml` beside this file has the values and what they change.
//!
//! `UPDATE_GENERATED=1 cargo test --test installation -- each_value` writes the changes again. Read them before you
//! commit them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Test,
    chart::install_monitoring_kinds,
    site::{CHART, Site},
    tests,
};

const TABLE: &str = "tests/installation/values.yaml";
const RELEASE: &str = "values";
const NAMESPACE: &str = "amplify-values";
const FULL_NAME: &str = "values-amplify-operator";

pub(crate) fn tests() -> Vec<Test> {
    tests![
        each_value_changes_what_it_says_and_nothing_else,
        every_value_of_the_schema_is_in_the_table,
    ]
}

/// A line of the table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The path of the value.
    value: String,
    /// Its new content, as values for helm.
    set: Value,
    /// The other values that it needs.
    #[serde(default)]
    with: Value,
    /// Ask the API server by a dry run.
    #[serde(default)]
    dry: bool,
    changes: Vec<String>,
}

fn table() -> Result<(String, Vec<Row>)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE))?;
    let rows: Vec<Row> = serde_saphyr::from_str(&text)?;
    Ok((text, rows))
}

/// Objects by their kind and name, and by their namespace if it is not the release's.
type Objects = BTreeMap<String, Value>;

fn each_value_changes_what_it_says_and_nothing_else(site: &Site) -> Result<()> {
    site.install_once()?;
    install_monitoring_kinds(site)?;
    for namespace in [NAMESPACE, "monitoring"] {
        site.kubectl(&["create", "namespace", namespace])?;
    }
    let (text, rows) = table()?;
    let mut before: BTreeMap<String, Objects> = BTreeMap::new();
    let (mut upgrades, mut wrong, mut found) = (0, String::new(), Vec::new());
    for row in &rows {
        let with = row.with.to_string();
        if !before.contains_key(&with) {
            upgrades += 1;
            before.insert(with.clone(), upgrade(site, &row.with, &json!({}))?);
        }
        let of_row = || format!("{TABLE}: {} {}", row.value, row.set);
        let after = if row.dry {
            // A dry run does not remove what the row before has set.
            upgrades += 1;
            upgrade(site, &row.with, &json!({}))?;
            dry_run(site, &row.set)
        } else {
            upgrades += 1;
            upgrade(site, &row.with, &row.set)
        };
        let changes = changes(&before[&with], &after.with_context(of_row)?);
        if changes != row.changes {
            write!(wrong, "\n{}\n  says {:#?}\n  does {changes:#?}", of_row(), row.changes)?;
        }
        found.push(changes);
    }
    site.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE])?;
    report(&rows, &found, upgrades)?;
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        let updated = updated(&text, &found);
        return Ok(fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE), updated)?);
    }
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// Upgrades the release to these values and returns its objects as the API server holds them.
fn upgrade(site: &Site, with: &Value, set: &Value) -> Result<Objects> {
    let file = values(site, with, set)?;
    let helm = [
        "upgrade",
        "--install",
        RELEASE,
        CHART,
        "--namespace",
        NAMESPACE,
        "--reset-values",
        "--values",
        &file,
        // Takes more than half of the time. The other tests install with it, and the result is compared.
        "--disable-openapi-validation",
    ];
    let release: Value = serde_json::from_str(&site.helm(&[&helm[..], &["--output", "json"]].concat())?)?;
    let manifest = site.dir().join("values.manifest.yaml");
    fs::write(
        &manifest,
        release["manifest"].as_str().context("a release has a manifest")?,
    )?;
    let manifest = manifest.display().to_string();
    objects(&site.kubectl(&["get", "-f", &manifest, "-o", "json"])?)
}

/// Returns the objects as they would be with these values.
fn dry_run(site: &Site, set: &Value) -> Result<Objects> {
    let file = values(site, &Value::Null, set)?;
    let template = ["template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", &file];
    let manifest = site.dir().join("values.dry.yaml");
    fs::write(&manifest, site.helm(&template)?)?;
    let manifest = manifest.display().to_string();
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-o",
        "json",
    ];
    objects(&site.kubectl(&[&apply[..], &["-f", &manifest]].concat())?)
}

fn values(site: &Site, with: &Value, set: &Value) -> Result<String> {
    let mut all = json!({ "crds": { "install": false } });
    for values in [with, set] {
        merge(&mut all, values);
    }
    site.values("each-value.json", &all)
}

/// Merges as helm does. Null stays, because it removes a default.
fn merge(into: &mut Value, values: &Value) {
    match (into, values) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(values)) => {
            for (name, value) in values {
                match into.get_mut(name) {
                    Some(into) if into.is_object() => merge(into, value),
                    _ => {
                        into.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (into, values) => *into = values.clone(),
    }
}

fn objects(list: &str) -> Result<Objects> {
    let mut objects = Objects::new();
    // kubectl apply prints the objects one after the other, kubectl get a list.
    for object in serde_json::Deserializer::from_str(list).into_iter::<Value>() {
        let mut object = object?;
        match object.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => objects.extend(items.into_iter().map(named)),
            _ => objects.extend([named(object)]),
        }
    }
    Ok(objects)
}

/// Removes what the API server and helm keep in an object for themselves.
fn named(mut object: Value) -> (String, Value) {
    let metadata = &object["metadata"];
    let mut name = object["kind"].as_str().unwrap_or_default().to_owned();
    if metadata["name"] != FULL_NAME {
        name.push('/');
        name.push_str(metadata["name"].as_str().unwrap_or_default());
    }
    if let Some(namespace) = metadata["namespace"].as_str().filter(|name| *name != NAMESPACE) {
        name.push_str(" in ");
        name.push_str(namespace);
    }
    for path in [
        &["status"][..],
        &["metadata", "creationTimestamp"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
        &["metadata", "uid"],
        &["metadata", "annotations", "deployment.kubernetes.io/revision"],
        &["metadata", "annotations", "meta.helm.sh/release-name"],
        &["metadata", "annotations", "meta.helm.sh/release-namespace"],
        // A Service that comes again has another address.
        &["spec", "clusterIP"],
        &["spec", "clusterIPs"],
    ] {
        let (last, parents) = path.split_last().unwrap_or((&"", &[]));
        let parent = parents.iter().try_fold(&mut object, |at, name| at.get_mut(*name));
        if let Some(fields) = parent.and_then(Value::as_object_mut) {
            fields.remove(*last);
        }
    }
    if object["metadata"]["annotations"] == json!({}) {
        object["metadata"]["annotations"].take();
    }
    (name, object)
}

fn changes(before: &Objects, after: &Objects) -> Vec<String> {
    let mut found = Vec::new();
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(_), None) => found.push(format!("- {name}")),
            (None, Some(_)) => found.push(format!("+ {name}")),
            (Some(old), Some(new)) => {
                let mut fields = Vec::new();
                compare("", old, new, &mut fields);
                found.extend(fields.into_iter().map(|field| format!("{name}: {field}")));
            }
            (None, None) => {}
        }
    }
    found
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for name in names {
                let of = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                compare(&path, &of(old), &of(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() <= new.len() => {
            for (at, new) in new.iter().enumerate() {
                compare(
                    &format!("{path}[{at}]"),
                    old.get(at).unwrap_or(&Value::Null),
                    new,
                    found,
                );
            }
        }
        (Value::Null, new) => found.push(format!("+ {path}: {new}")),
        (old, Value::Null) => found.push(format!("- {path}: {old}")),
        (old, new) => found.push(format!("{path}: {old} -> {new}")),
    }
}

/// Returns the table's text with other changes.
fn updated(text: &str, found: &[Vec<String>]) -> String {
    let (head, rows) = text.split_once("- value: ").unwrap_or((text, ""));
    let mut updated = head.to_owned();
    for (row, changes) in rows.split("\n- value: ").zip(found) {
        let kept = row.split("\n  changes:").next().unwrap_or(row);
        let none = if changes.is_empty() { " []" } else { "" };
        updated.extend(["- value: ", kept, "\n  changes:", none, "\n"]);
        for change in changes {
            updated.extend(["    - '", &change.replace('\'', "''"), "'\n"]);
        }
    }
    updated
}

/// Writes the table for people.
fn report(rows: &[Row], found: &[Vec<String>], upgrades: usize) -> Result<()> {
    let mut page =
        "| value | set to | what changed in the objects that the API server holds |\n|---|---|---|\n".to_owned();
    for (row, changes) in rows.iter().zip(found) {
        let changes = if changes.is_empty() {
            "nothing".to_owned()
        } else {
            changes.join("<br>")
        };
        let cells = [&row.set.to_string(), &changes].map(|cell| cell.replace('|', "\\|"));
        writeln!(page, "| `{}` | `{}` | {} |", row.value, cells[0], cells[1])?;
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chart-values.md");
    fs::write(&file, page)?;
    println!(
        "evidence: chart: {} values, each set once by the real helm ({upgrades} upgrades); changes in the API server's objects: {}",
        rows.len(),
        found.iter().map(Vec::len).sum::<usize>()
    );
    Ok(())
}

fn every_value_of_the_schema_is_in_the_table(_: &Site) -> Result<()> {
    let (_, rows) = table()?;
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(CHART)
            .join("values.schema.json"),
    )?;
    let schema: Value = serde_json::from_str(&text)?;
    let mut leaves = BTreeSet::new();
    add_leaves(&schema, "", &mut leaves);
    let in_table: BTreeSet<_> = rows.iter().map(|row| row.value.clone()).collect();
    assert_eq!(in_table.len(), rows.len(), "a value is in the table twice");
    assert_eq!(leaves, in_table, "the values of the schema, and those in {TABLE}");
    for row in &rows {
        let pointer = format!("/{}", row.value.replace("[]", ".0").replace('.', "/"));
        ensure!(
            row.set.pointer(&pointer).is_some(),
            "{}: {} does not set it",
            row.value,
            row.set
        );
        ensure!(
            !row.changes.is_empty() || ["global", "enabled"].contains(&&*row.value),
            "{} changes nothing",
            row.value
        );
    }
    Ok(())
}

fn add_leaves(node: &Value, path: &str, leaves: &mut BTreeSet<String>) {
    if let Some(properties) = node["properties"].as_object() {
        for (name, node) in properties {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            add_leaves(node, &path, leaves);
        }
        return;
    }
    leaves.insert(path.to_owned());
    // The entries have fields of this chart. The items of all other lists are Kubernetes' own.
    if path == "accounts" {
        add_leaves(&node["items"], "accounts[]", leaves);
    }
}
