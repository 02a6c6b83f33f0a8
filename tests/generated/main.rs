//! Files that repeat the contents of the code or of other files. They are in the repository for installations without a
//! toolchain, and must be the same as a newly generated file.
//!
//! `UPDATE_GENERATED=1 cargo test --test generated` writes them again.

mod api_reference;
mod chart_values;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
};

use amplify_devcluster::tools;
use amplify_operator::{
    amplify::accounts::{Accounts, Lookup},
    api::{self, operation},
    cli::{Cli, Run},
    telemetry::{Format, Metrics},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args as _, CommandFactory as _, Parser as _};
use jiff::SignedDuration;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, PodSpec},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde_json::{Value, json};

const UPDATE: &str = "UPDATE_GENERATED=1 cargo test --test generated";
const CHART: &str = "charts/amplify-operator";
const REPOSITORY: &str = "https://github.com/amplify-operator/amplify-operator";

fn updates() -> bool {
    std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = root().join(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Checks that the file has this content. When files are to be updated, writes it.
fn is_current(path: &Path, wanted: &str) -> Result<()> {
    if updates() {
        let path = root().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // As a whole: helm may be reading the chart for another test.
        let new = path.with_added_extension("new");
        fs::write(&new, wanted)?;
        return Ok(fs::rename(new, path)?);
    }
    let shown = path.display();
    let Ok(found) = read(path) else {
        bail!("{shown} is missing. Run: {UPDATE}");
    };
    if found == wanted {
        return Ok(());
    }
    let (mut old, mut new) = (found.lines(), wanted.lines());
    let mut number = 0;
    loop {
        number += 1;
        let (old, new) = (old.next(), new.next());
        ensure!(
            old == new && old.is_some(),
            "{shown} is not what would be made now. Line {number} is\n  {}\nand would be\n  {}\nRun: {UPDATE}",
            old.unwrap_or("(no more lines)"),
            new.unwrap_or("(no more lines)"),
        );
    }
}

/// Checks that the folder has these files and no others.
fn is_current_folder(folder: &str, wanted: &BTreeMap<String, String>) -> Result<()> {
    for (name, content) in wanted {
        is_current(&Path::new(folder).join(name), content)?;
    }
    for entry in fs::read_dir(root().join(folder))? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        if wanted.contains_key(name) {
            continue;
        }
        if updates() {
            fs::remove_file(&path)?;
        } else {
            bail!("{folder}/{name} would not be made now. Run: {UPDATE}");
        }
    }
    Ok(())
}

fn header(source: &str) -> String {
    format!("# Made from {source} by `{UPDATE}`: do not edit.\n")
}

#[test]
fn the_definitions_are_those_of_the_code() -> Result<()> {
    let mut files = BTreeMap::new();
    let mut together = header("src/api");
    for crd in api::crds() {
        let yaml = api::to_yaml(&crd)?;
        let name = format!("{}.yaml", crd.spec.names.plural);
        files.insert(name, header("src/api") + yaml.trim_end() + "\n");
        together += "---\n";
        together += yaml.trim_end();
        together += "\n";
    }
    is_current_folder("crds", &files)?;
    is_current_folder(&format!("{CHART}/files/crds"), &files)?;
    is_current(Path::new("deploy/crds.yaml"), &together)
}

#[test]
fn the_api_reference_is_that_of_the_definitions() -> Result<()> {
    is_current(Path::new("docs/api.md"), &api_reference::page(&api::crds(), UPDATE)?)
}

async fn helm_template(arguments: &[&str]) -> Result<String> {
    helm_template_of("amplify-operator", "amplify-operator-system", arguments).await
}

async fn helm_template_of(release: &str, namespace: &str, arguments: &[&str]) -> Result<String> {
    let template = ["template", release, CHART, "--namespace", namespace];
    helm(&[&template[..], arguments].concat()).await
}

async fn helm(arguments: &[&str]) -> Result<String> {
    let helm = tools::helm()
        .await
        .context("these tests need helm, which devcluster finds or builds")?;
    let output = Command::new(helm).args(arguments).current_dir(root()).output()?;
    ensure!(
        output.status.success(),
        "helm {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the lines that this command of helm prints without the lines that only Helm needs. Helm's versions differ in
/// blank lines.
async fn plain(arguments: &[&str]) -> Result<Vec<String>> {
    let rendered = helm_template(arguments).await?;
    let of_helm = |line: &&str| {
        let line = line.trim();
        line.is_empty()
            || line.starts_with("# Source:")
            || line.starts_with("app.kubernetes.io/managed-by:")
            || line.starts_with("helm.sh/chart:")
    };
    Ok(rendered
        .lines()
        .filter(|line| !of_helm(line))
        .map(str::to_owned)
        .collect())
}

fn documents(yaml: &str) -> impl Iterator<Item = &str> {
    yaml.split("---\n").filter(|document| !document.trim().is_empty())
}

#[tokio::test]
async fn the_plain_manifests_are_the_chart_with_its_defaults() -> Result<()> {
    let lines = plain(&["--set", "crds.install=false"]).await?;
    let wanted = header(CHART) + &lines.join("\n") + "\n";
    is_current(Path::new("deploy/operator.yaml"), &wanted)
}

/// For installations with kustomize: what the chart adds with `rbac.aggregate` and `outputs.namespaces`.
#[tokio::test]
async fn the_optional_plain_manifests_are_those_of_the_chart() -> Result<()> {
    let aggregate = [
        "--show-only",
        "templates/aggregate.yaml",
        "--set",
        "rbac.aggregate=true",
    ];
    let roles = header(CHART) + &plain(&aggregate).await?.join("\n") + "\n";
    is_current(Path::new("deploy/aggregate/roles.yaml"), &roles)?;

    let outputs = [
        "--show-only",
        "templates/outputs.yaml",
        "--set",
        "outputs.namespaces={anywhere}",
    ];
    // The user gives the namespace.
    let lines = plain(&outputs).await?;
    let (given, lines): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line == "  namespace: \"anywhere\"");
    assert_eq!(given.len(), 2, "of the Role and of its binding");
    is_current(
        Path::new("deploy/outputs/role.yaml"),
        &(header(CHART) + &lines.join("\n") + "\n"),
    )
}

/// Returns the file with new contents between two lines that stay.
fn with_part(file: &str, begin: &str, end: &str, part: &str) -> Result<String> {
    let page = read(file)?;
    let (before, rest) = page
        .split_once(begin)
        .with_context(|| format!("{file}: no {begin:?}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("{file}: no {end:?}"))?;
    Ok(format!("{before}{begin}{part}{end}{after}"))
}

fn chart_values() -> Result<Vec<chart_values::Entry>> {
    let schema = serde_json::from_str(&read(format!("{CHART}/values.schema.json"))?)?;
    chart_values::entries(&read(format!("{CHART}/values.yaml"))?, &schema)
}

#[test]
fn the_charts_readme_lists_all_values() -> Result<()> {
    let file = format!("{CHART}/README.md");
    let begin = "<!-- Made from values.yaml and values.schema.json: do not edit. -->\n";
    let table = chart_values::table(&chart_values()?)?;
    let page = with_part(&file, begin, "<!-- The end of what is made. -->\n", &table)?;
    is_current(Path::new(&file), &page)
}

#[test]
fn every_value_of_the_chart_is_described() -> Result<()> {
    let values = chart_values()?;
    let bare: Vec<_> = values
        .iter()
        .filter(|entry| entry.description.is_empty())
        .map(|entry| entry.path.join("."))
        .collect();
    ensure!(
        bare.is_empty(),
        "no comment in {CHART}/values.yaml, and no description in its schema: {bare:#?}"
    );
    ensure!(values.len() > 100, "not all values are found: {}", values.len());
    Ok(())
}

/// Artifact Hub shows a chart by these annotations.
#[test]
fn the_charts_annotations_name_the_kinds_the_image_and_an_example_of_each_kind() -> Result<()> {
    let mut part =
        "annotations:\n  artifacthub.io/license: Apache-2.0\n  artifacthub.io/operator: \"true\"\n".to_owned();
    part += "  artifacthub.io/links: |\n";
    for (name, page) in [("Install", "install"), ("The kinds", "kinds"), ("API reference", "api")] {
        writeln!(
            part,
            "    - name: {name}\n      url: {REPOSITORY}/blob/main/docs/{page}.md"
        )?;
    }
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("ghcr.io/amplify-operator/amplify-operator:{version}");
    writeln!(
        part,
        "  artifacthub.io/images: |\n    - name: amplify-operator\n      image: {image}"
    )?;
    part += "  artifacthub.io/crds: |\n";
    for crd in api::crds() {
        let names = &crd.spec.names;
        let (kind, name) = (&names.kind, format!("{}.{}", names.plural, crd.spec.group));
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref());
        let about = schema
            .and_then(|schema| schema.description.clone())
            .context("a description")?;
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(
            part,
            "    - kind: {kind}\n      version: v1alpha1\n      name: {name}\n      displayName: {kind}"
        )?;
        writeln!(part, "      description: {}", json!(about))?;
    }
    part += "  artifacthub.io/crdsExamples: |\n";
    let mut kinds = BTreeSet::new();
    for name in ["amplifybackend", "backendapi", "backendstorage", "backendenvironment"] {
        for document in documents(&read(format!("deploy/samples/{name}.yaml"))?) {
            let sample: Value = serde_saphyr::from_str(document)?;
            if sample["kind"] != "ConfigMap" {
                kinds.insert(sample["kind"].as_str().unwrap_or_default().to_owned());
                writeln!(part, "    - {}", serde_json::to_string(&sample)?)?;
            }
        }
    }
    let all = api::crds().into_iter().map(|crd| crd.spec.names.kind).collect();
    assert_eq!(kinds, all, "the kinds of which there is an example");

    let file = format!("{CHART}/Chart.yaml");
    let begin = "# Made from src/api and deploy/samples: do not edit below.\n";
    let chart = read(&file)?;
    let (before, _) = chart
        .split_once(begin)
        .with_context(|| format!("{file}: no {begin:?}"))?;
    is_current(Path::new(&file), &format!("{before}{begin}{part}"))?;

    let annotations = serde_saphyr::from_str::<Value>(&read(&file)?)?["annotations"].take();
    for (name, text) in annotations.as_object().context("annotations")? {
        let text = text.as_str().with_context(|| format!("{name} is no text"))?;
        serde_saphyr::from_str::<Value>(text).with_context(|| format!("{name} is no YAML: {text}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn the_chart_installs_the_definitions_in_its_files_and_keeps_them() -> Result<()> {
    if updates() {
        return Ok(());
    }
    let rendered = helm_template(&["--show-only", "templates/crds.yaml"]).await?;
    let mut kept = 0;
    for document in documents(&rendered) {
        let mut crd: CustomResourceDefinition = serde_saphyr::from_str(document)?;
        let mut annotations = crd.metadata.annotations.take().unwrap_or_default();
        assert_eq!(
            annotations.remove("helm.sh/resource-policy").as_deref(),
            Some("keep"),
            "without this policy `helm uninstall` deletes every custom resource"
        );
        crd.metadata.annotations = Some(annotations);
        crd.metadata.labels = None;
        let file = format!("{CHART}/files/crds/{}.yaml", crd.spec.names.plural);
        let wanted: CustomResourceDefinition = serde_saphyr::from_str(&read(&file)?)?;
        ensure!(
            crd == wanted,
            "{CHART}/templates/crds.yaml installs something else than {file}"
        );
        kept += 1;
    }
    assert_eq!(kept, api::crds().len(), "{CHART}/templates/crds.yaml leaves some out");
    Ok(())
}

#[test]
fn the_manual_pages_are_those_of_the_arguments() -> Result<()> {
    let made = tempfile::tempdir()?;
    clap_mangen::generate_to(Cli::command(), made.path())?;
    let mut pages = BTreeMap::new();
    for entry in fs::read_dir(made.path())? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).context("a name")?.to_owned();
        pages.insert(
            name,
            format!(
                ".\\\" Made from src/cli by `{UPDATE}`: do not edit.\n{}",
                fs::read_to_string(&path)?
            ),
        );
    }
    ensure!(pages.len() > 10, "a page for each command: {pages:?}");
    is_current_folder("docs/man", &pages)
}

#[test]
fn the_chart_has_the_version_of_the_program() -> Result<()> {
    let chart: Value = serde_saphyr::from_str(&read(format!("{CHART}/Chart.yaml"))?)?;
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"), "{CHART}/Chart.yaml");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"), "{CHART}/Chart.yaml");
    Ok(())
}

/// Converts `drift-interval` to `driftInterval`.
fn camel_case(flag: &str) -> String {
    let mut words = flag.split('-');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        name += &first.to_uppercase();
        name += rest;
    }
    name
}

/// Flags that are not settings of the chart. The chart itself determines the address of the probes. Flags that need
/// more than a variable (a mounted file, a Role for the Lease) it derives from other values.
const NO_SETTINGS: [&str; 6] = [
    "listen",
    "accounts",
    "allow-plain-http",
    "leader-elect",
    "lease-name",
    "lease-namespace",
];

#[tokio::test]
async fn every_flag_is_a_setting_of_the_chart_and_reaches_the_program() -> Result<()> {
    let settings = json!({
        "watchNamespaces": ["shop", "blog"],
        "concurrency": 7,
        "driftInterval": "1h30m",
        "jobTimeout": "90m",
        "maxJobAttempts": 4,
        "outcomeGrace": "130s",
        "absenceGrace": "6m",
        "awsRequestsPerSecond": 2.5,
        "awsMaxRequestsPerSecond": 7.5,
        "awsBurst": 1_000_000,
        "allowedRegions": ["eu-new-1", "us-new-2"],
        "logFormat": "json",
    });
    let set: BTreeSet<_> = settings
        .as_object()
        .context("an object")?
        .keys()
        .map(String::as_str)
        .collect();

    let schema: Value = serde_json::from_str(&read(format!("{CHART}/values.schema.json"))?)?;
    let known = schema["properties"]["settings"]["properties"]
        .as_object()
        .context("values.schema.json has no settings")?;
    assert_eq!(
        known.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        set,
        "the settings in {CHART}/values.schema.json, and those that this test sets"
    );

    let values = read(format!("{CHART}/values.yaml"))?;
    let command = Run::augment_args(clap::Command::new("run"));
    let mut flags = BTreeSet::new();
    for argument in command.get_arguments() {
        let flag = argument.get_long().context("every argument is a flag")?;
        if NO_SETTINGS.contains(&flag) {
            continue;
        }
        let mut setting = camel_case(flag);
        if matches!(argument.get_action(), clap::ArgAction::Append) {
            setting.push('s');
        }
        for default in argument.get_default_values() {
            let comment = format!("# {setting}: {} ", default.display());
            assert!(
                values.contains(&comment),
                "{CHART}/values.yaml does not say {comment:?}"
            );
        }
        flags.insert(setting);
    }
    assert_eq!(
        flags.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        set,
        "the program's flags, and the settings in {CHART}/values.schema.json: a new flag needs a setting, or a place in \
         NO_SETTINGS"
    );

    let (run, _) = program_of(&format!("settings={settings}")).await?;
    assert_eq!(run.namespaces(), ["shop", "blog"]);
    assert_eq!(run.concurrency, 7);
    assert_eq!(run.drift_interval, SignedDuration::from_mins(90));
    assert_eq!(run.job_timeout, SignedDuration::from_mins(90));
    assert_eq!(run.max_job_attempts, 4);
    assert_eq!(run.outcome_grace, SignedDuration::from_secs(130));
    assert_eq!(run.absence_grace, SignedDuration::from_mins(6));
    assert!((run.aws_requests_per_second - 2.5).abs() < f64::EPSILON);
    assert!((run.aws_max_requests_per_second - 7.5).abs() < f64::EPSILON);
    assert_eq!(run.aws_burst, 1_000_000);
    assert_eq!(run.allowed_regions(), ["eu-new-1", "us-new-2"]);
    assert_eq!(run.log_format, Format::Json);
    Ok(())
}

/// Returns the settings that the program gets from the chart with these values (`key=JSON,…`), and the pod.
async fn program_of(values: &str) -> Result<(Run, PodSpec)> {
    let rendered = helm_template(&["--show-only", "templates/deployment.yaml", "--set-json", values]).await?;
    let deployment: Deployment = serde_saphyr::from_str(&rendered)?;
    let pod = deployment.spec.and_then(|spec| spec.template.spec).context("a pod")?;
    let container = pod.containers.first().cloned().context("a container")?;
    // Passed as flags, because this process's variables are shared by all its tests. A test of the program itself
    // checks that each flag is also read from its variable.
    let mut arguments = vec!["amplify-operator".to_owned()];
    arguments.extend(container.args.unwrap_or_default());
    for variable in container.env.unwrap_or_default() {
        if variable.name == "POD_NAMESPACE" {
            continue;
        }
        let name = variable
            .name
            .strip_prefix("AMPLIFY_OPERATOR_")
            .with_context(|| format!("{} is no flag's variable", variable.name))?;
        let flag = name.to_lowercase().replace('_', "-");
        arguments.push(format!("--{flag}={}", variable.value.unwrap_or_default()));
    }
    let cli = Cli::try_parse_from(&arguments).with_context(|| format!("the program refuses {arguments:?}"))?;
    let Some(amplify_operator::cli::Command::Run(run)) = cli.command else {
        bail!("the chart does not say `run`: {arguments:?}");
    };
    Ok((*run, pod))
}

#[tokio::test]
async fn accounts_are_a_file_that_the_program_can_read_and_find() -> Result<()> {
    let (run, pod) = program_of("accounts=null").await?;
    assert_eq!(run.accounts, None);
    assert_eq!(pod.volumes, None);

    let accounts = r#"accounts=[
        {"name":"team a","namespaces":["shop","blog"],"roleArn":"arn:aws:iam::111111111111:role/a/b","externalId":"0123"},
        {"name":"team b","namespaces":["docs"],"roleArn":"arn:aws-cn:iam::222222222222:role/b","region":"cn-north-1"}
    ]"#;
    for (values, config_map, entries) in [
        (accounts, "amplify-operator-accounts", Some(2)),
        ("accounts=[]", "amplify-operator-accounts", Some(0)),
        (r#"existingAccountsConfigMap="mine""#, "mine", None),
    ] {
        let (run, pod) = program_of(values).await?;
        let file = run.accounts.context("an accounts file")?;
        let mount = &pod.containers[0].volume_mounts.as_ref().context("a mount")?[0];
        assert_eq!(file, Path::new(&mount.mount_path).join("accounts.yaml"));
        let volume = &pod.volumes.as_ref().context("a volume")?[0];
        assert_eq!(volume.config_map.as_ref().context("a ConfigMap")?.name, config_map);
        let Some(entries) = entries else {
            continue;
        };
        let rendered = helm_template(&["--show-only", "templates/accounts.yaml", "--set-json", values]).await?;
        let map: ConfigMap = serde_saphyr::from_str(&rendered)?;
        assert_eq!(map.metadata.name.as_deref(), Some(config_map));
        let accounts = Accounts::parse(&map.data.context("data")?["accounts.yaml"], &[])?;
        assert_eq!(accounts.len(), entries);
        let is_known = matches!(accounts.for_namespace("blog"), Lookup::Entry(_));
        assert_eq!(is_known, entries > 0, "{accounts:?}");
    }
    Ok(())
}

/// Without accounts, whoever has rights on the kinds has the whole AWS account of the operator.
#[tokio::test]
async fn people_get_rights_by_themselves_only_with_accounts_or_on_request() -> Result<()> {
    let roles = async |values: &str| {
        let rendered = helm_template(&["--set-json", values]).await?;
        anyhow::Ok(rendered.matches("rbac.authorization.k8s.io/aggregate-to-edit").count())
    };
    for (values, expected) in [
        ("accounts=null", 0),
        ("accounts=[]", 2),
        (r#"existingAccountsConfigMap="mine""#, 2),
        (r#"rbac={"aggregate":true}"#, 2),
        (r#"accounts=[],rbac={"aggregate":false}"#, 0),
        (r#"accounts=[],rbac={"create":false}"#, 0),
        (r#"rbac={"aggregate":true,"create":false}"#, 0),
    ] {
        assert_eq!(roles(values).await?, expected, "{values}");
    }
    Ok(())
}

/// Clusters differ in the addresses that a pod has.
#[tokio::test]
async fn the_pod_listens_on_all_addresses_at_the_port_of_its_probes() -> Result<()> {
    let (run, pod) = program_of("accounts=null").await?;
    assert_eq!(run.listen, "[::]:8080".parse()?);
    let ports = pod.containers[0].ports.as_ref().context("ports")?;
    assert_eq!(ports[0].container_port, i32::from(run.listen.port()));
    Ok(())
}

#[tokio::test]
async fn more_arguments_reach_the_program_after_those_of_the_chart() -> Result<()> {
    let (run, _) = program_of(r#"replicas=2,extraArgs=["--log-format=json","--concurrency=7"]"#).await?;
    assert!(run.leader_elect);
    assert_eq!((run.log_format, run.concurrency), (Format::Json, 7));
    Ok(())
}

#[tokio::test]
async fn any_number_of_replicas_elects_a_leader_by_a_lease_of_the_release_in_the_pods_namespace() -> Result<()> {
    let pod_namespace = |pod: &PodSpec| {
        let mut variables = pod.containers[0].env.iter().flatten();
        let variable = variables.find(|variable| variable.name == "POD_NAMESPACE")?;
        let source = variable.value_from.as_ref()?;
        Some(source.field_ref.as_ref()?.field_path.clone())
    };
    for replicas in [0, 1, 2, 3] {
        let (run, pod) = program_of(&format!("replicas={replicas}")).await?;
        assert!(run.leader_elect, "{replicas}");
        assert_eq!(pod_namespace(&pod).as_deref(), Some("metadata.namespace"));
        assert_eq!(run.lease_namespace, None, "the program takes POD_NAMESPACE then");
        assert_eq!(run.lease_name, "amplify-operator", "the name of the release's objects");
    }
    let (run, _) = program_of(r#"fullnameOverride="platform""#).await?;
    assert_eq!(run.lease_name, "platform");
    let roles = [
        "--show-only",
        "templates/rbac.yaml",
        "--set",
        "fullnameOverride=platform",
    ];
    let role = documents(&helm_template(&roles).await?)
        .map(serde_saphyr::from_str::<Value>)
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .find(|object| object["metadata"]["name"] == "platform-leader")
        .context("a Role for the Lease, at one replica too")?;
    assert_eq!(role["rules"][1]["resourceNames"], json!(["platform"]));
    Ok(())
}

/// Names that YAML could read as a number, a truth value or nothing, and names that not every object may have.
#[tokio::test]
async fn every_name_is_a_text_whatever_the_release_is_called() -> Result<()> {
    if updates() {
        return Ok(());
    }
    for (release, full_name) in [
        ("123", "release-123-no"),
        ("007", "release-007-no"),
        ("1e3", "release-1e3-no"),
        ("true", "true-no"),
        ("y", "y-no"),
        ("no", "no"),
        ("amp.v1", "amp-v1-no"),
    ] {
        let values = json!({
            "nameOverride": "no", "existingAccountsConfigMap": "1e3", "priorityClassName": "7",
            "serviceAccount": { "name": "123" }, "settings": { "watchNamespaces": ["456"] },
            "rbac": { "namespaced": true, "aggregate": true }, "outputs": { "namespaces": ["789"] },
            "serviceMonitor": { "enabled": true, "namespace": "123" }, "networkPolicy": { "enabled": true },
            "prometheusRule": { "enabled": true }, "dashboard": { "enabled": true }, "replicas": 2,
            "commonLabels": { "amplify-operator.dev/component": "1" },
        });
        let values: Vec<_> = values
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let rendered = helm_template_of(release, "1234", &["--set-json", &values.join(",")]).await?;
        let mut kinds = BTreeSet::new();
        for document in documents(&rendered) {
            let object: Value = serde_saphyr::from_str(document)?;
            let kind = object["kind"].as_str().context("a kind")?.to_owned();
            names_are_texts(&object).with_context(|| format!("{release}: {kind}"))?;
            if matches!(&*kind, "Service" | "Deployment") {
                assert_eq!(object["metadata"]["name"], full_name, "{release}");
                assert_eq!(object["metadata"]["labels"]["amplify-operator.dev/release"], release);
            }
            if kind == "Deployment" {
                assert_eq!(
                    object["metadata"]["labels"]["amplify-operator.dev/component"],
                    "operator"
                );
            }
            kinds.insert(kind);
        }
        ensure!(kinds.len() > 12, "{release}: only {kinds:?}");
    }
    Ok(())
}

/// Checks the fields of an object in which a name stands.
fn names_are_texts(node: &Value) -> Result<()> {
    match node {
        Value::Array(items) => items.iter().try_for_each(names_are_texts),
        Value::Object(fields) => {
            for (field, value) in fields {
                let is_of_names = matches!(&**field, "labels" | "matchLabels" | "annotations");
                let of_texts = match value {
                    // The selector of a Service, and the fields of a schema, are objects too.
                    Value::Object(texts) if is_of_names && !texts.contains_key("type") => texts.values().collect(),
                    Value::Array(texts) if matches!(&**field, "values" | "resourceNames" | "matchNames" | "args") => {
                        texts.iter().collect()
                    }
                    Value::Object(_) => Vec::new(),
                    value if matches!(&**field, "namespace" | "priorityClassName") || field.ends_with("ame") => {
                        vec![value]
                    }
                    _ => Vec::new(),
                };
                for text in of_texts {
                    ensure!(text.is_string(), "{field}: {text} is no text");
                }
                names_are_texts(value)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[tokio::test]
async fn null_for_a_probe_or_a_security_context_removes_it_from_the_pod() -> Result<()> {
    for values in [
        "livenessProbe=null,readinessProbe=null,securityContext=null,podSecurityContext=null",
        "livenessProbe={\"timeoutSeconds\":null},readinessProbe={\"timeoutSeconds\":null},updateStrategy=null",
    ] {
        let (_, pod) = program_of(values).await?;
        let container = pod.containers.into_iter().next().context("a container")?;
        for probe in [container.liveness_probe, container.readiness_probe] {
            let probe = probe.context("the probe itself stays")?;
            assert!(probe.http_get.is_some() && probe.timeout_seconds.is_none(), "{probe:?}");
        }
        assert_eq!(container.security_context.is_none(), values.contains("securityContext"));
        assert_eq!(pod.security_context.is_none(), values.contains("podSecurityContext"));
    }
    Ok(())
}

/// Helm's own words after an installation: a command in them must not reach into another tenant's namespaces.
#[tokio::test]
async fn the_notes_name_the_custom_resources_and_definitions_of_this_release_only() -> Result<()> {
    const EVERYWHERE: &str = "kubectl delete amplify --all --all-namespaces";
    for (values, said, not_said) in [
        (
            "settings={}",
            &[EVERYWHERE, "CustomResourceDefinitions are kept"][..],
            &["--all --namespace"][..],
        ),
        (
            r#"settings={"watchNamespaces":["shop","blog"]}"#,
            &[
                "kubectl delete amplify --all --namespace shop\n",
                "kubectl delete amplify --all --namespace blog\n",
                "Before you remove a namespace from settings.watchNamespaces",
            ],
            &[EVERYWHERE],
        ),
        (
            r#"crds={"install":false}"#,
            &[EVERYWHERE],
            &["CustomResourceDefinitions are kept"],
        ),
    ] {
        let notes = helm(&[
            "install",
            "amplify-operator",
            CHART,
            "--dry-run=client",
            "--namespace",
            "amplify-operator-system",
            "--set-json",
            values,
        ])
        .await?;
        let (_, notes) = notes.split_once("NOTES:").context("notes")?;
        for said in said {
            ensure!(notes.contains(said), "{values}: {said:?} is not in {notes}");
        }
        for not_said in not_said {
            ensure!(!notes.contains(not_said), "{values}: {not_said:?} is in {notes}");
        }
    }
    Ok(())
}

/// `kubectl delete -k deploy` would delete the definitions, and with them everything in AWS.
#[test]
fn the_documented_uninstall_without_helm_deletes_every_object_but_the_definitions() -> Result<()> {
    let page = read("docs/upgrade.md")?;
    let selector = " --selector amplify-operator.dev/release=amplify-operator";
    let mut deleted = BTreeSet::new();
    for line in page.lines().filter(|line| line.ends_with(selector)) {
        let rest = line.strip_prefix("kubectl delete ").context("a deletion")?;
        let kinds = rest.split(' ').next().unwrap_or_default();
        deleted.extend(kinds.split(',').map(|kind| kind.trim_end_matches('s').to_owned()));
    }
    for file in ["deploy/operator.yaml", "deploy/aggregate/roles.yaml"] {
        for document in documents(&read(file)?).filter(|document| document.contains("kind:")) {
            let object: Value = serde_saphyr::from_str(document)?;
            let (kind, labels) = (&object["kind"], &object["metadata"]["labels"]);
            let kind = kind.as_str().unwrap_or_default().to_lowercase();
            ensure!(
                deleted.contains(&kind),
                "{file}: no command of the page deletes a {kind}"
            );
            assert_eq!(
                labels["amplify-operator.dev/release"], "amplify-operator",
                "{file}: {kind}"
            );
        }
    }
    assert!(!read("deploy/crds.yaml")?.contains("amplify-operator.dev/release"));
    Ok(())
}

/// Returns a policy that allows these actions on all resources: each app has an ARN of its own.
fn policy(sid: &str, actions: &BTreeSet<String>) -> String {
    let actions: Vec<_> = actions.iter().map(|action| format!("        \"{action}\"")).collect();
    let actions = actions.join(",\n");
    format!(
        r#"{{
  "Version": "2012-10-17",
  "Statement": [
    {{
      "Sid": "{sid}",
      "Effect": "Allow",
      "Action": [
{actions}
      ],
      "Resource": "*"
    }}
  ]
}}
"#
    )
}

#[test]
fn the_iam_policies_allow_the_operations_of_the_table() -> Result<()> {
    let (operator, import) = (operation::actions_of_the_operator(), operation::actions_of_the_import());
    is_current(
        Path::new("deploy/iam-policy.json"),
        &policy("AmplifyOperator", &operator),
    )?;
    is_current(
        Path::new("deploy/iam-policy-import.json"),
        &policy("AmplifyOperatorImport", &import),
    )?;
    for action in &import {
        let (_, name) = action.split_once(':').context("an action")?;
        ensure!(
            name.starts_with("Get") || name.starts_with("List"),
            "{action} is no read"
        );
    }
    Ok(())
}

/// Argo CD needs a copy of the script per kind: in a folder, or under a key of the ConfigMap.
#[test]
fn the_health_check_for_argo_cd_is_the_same_for_all_kinds_in_each_of_its_forms() -> Result<()> {
    let source = "deploy/argocd/health.lua";
    let script = read(source)?;
    ensure!(!script.contains('\t'), "{source} is part of a YAML file");
    let mut config = header(source);
    config +=
        "#\n# kubectl patch configmap argocd-cm --namespace argocd --patch-file deploy/argocd/argocd-cm.yaml\ndata:\n";
    for crd in api::crds() {
        let kind = crd.spec.names.kind;
        let folder = Path::new("deploy/argocd/resource_customizations").join(api::GROUP);
        is_current(&folder.join(&kind).join("health.lua"), &script)?;
        let group = api::GROUP;
        writeln!(config, "  resource.customizations.health.{group}_{kind}: |")?;
        for line in script.lines() {
            let indent = if line.is_empty() { "" } else { "    " };
            writeln!(config, "{indent}{line}")?;
        }
    }
    is_current(Path::new("deploy/argocd/argocd-cm.yaml"), &config)?;
    let patch: Value = serde_saphyr::from_str(&config)?;
    for (key, value) in patch["data"].as_object().context("data")? {
        ensure!(value.as_str() == Some(&script), "{key} is not the script");
    }
    Ok(())
}

#[test]
fn the_documentation_tells_of_exactly_the_metrics_that_there_are() -> Result<()> {
    const BEGIN: &str = "<!-- Made from src/telemetry/metrics.rs: do not edit. -->\n";
    const END: &str = "<!-- The end of what is made. -->\n";
    let path = "docs/metrics.md";
    let mut table = "| `amplify_operator_…` | type | labels | what it says |\n|---|---|---|---|\n".to_owned();
    for family in Metrics::new("").described() {
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, type_, labels, help) = (family.name, family.type_, labels.join(", "), family.help);
        writeln!(table, "| `{name}` | {type_} | {labels} | {help} |")?;
    }
    is_current(Path::new(path), &with_part(path, BEGIN, END, &table)?)
}
