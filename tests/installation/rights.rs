//! The operator with the rights of the chart's ServiceAccount: enough, and none too many.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

use amplify_devcluster::audit::AuditEvent;
use amplify_simulator::{Action, Config, Fault, Filter, Operation, Simulator};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::api::{
    events::v1::Event,
    rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding, Subject},
};
use kube::{Api, api::ListParams};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::{
    Test,
    chart::installed_pod,
    site::{NAMESPACE, PATIENCE, REGION, Site},
    tests,
};

/// The app of deploy/samples.
const APP: &str = "d1a2b3c4d5e6f7";
/// Where the samples are applied.
const SHOP: &str = "shop";

pub(crate) fn tests() -> Vec<Test> {
    tests![
        an_operator_with_the_charts_rights_creates_and_deletes_each_kind,
        the_operator_is_refused_nothing,
        the_chart_grants_exactly_what_the_operator_uses,
        the_iam_policy_allows_what_the_operator_calls,
    ]
}

/// What an operator has done in its life.
pub(crate) struct Operated {
    /// What it asked the API server.
    requests: Vec<AuditEvent>,
    /// What it asked AWS, as actions of a policy.
    actions: BTreeSet<String>,
    /// What its ServiceAccount was granted.
    granted: BTreeSet<Right>,
}

/// The life of an operator, once for all tests.
fn operated(site: &Site) -> Result<&Operated> {
    site.operated
        .get_or_init(|| operate(site).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("the operator failed: {error}"))
}

fn an_operator_with_the_charts_rights_creates_and_deletes_each_kind(site: &Site) -> Result<()> {
    operated(site).map(drop)
}

fn operate(site: &Site) -> Result<Operated> {
    let _installed = site.installed()?;
    let mark = site.audit.mark()?;
    let pod = installed_pod(site)?.spec.context("a pod has a spec")?;
    let account = pod.service_account_name.context("the pod names its account")?;
    let container = pod.containers.into_iter().next().context("a pod has a container")?;

    let config = Config {
        region: REGION.to_owned(),
        ..Config::default()
    };
    let simulator = Simulator::start(&config.app(APP, "storefront").job_duration(Duration::from_millis(500)))?;
    let token = site.kubectl(&["create", "token", &account, "--namespace", NAMESPACE])?;
    let kubeconfig = site.dir().join("operator.kubeconfig");
    fs::write(&kubeconfig, site.kubeconfig_for(token.trim()))?;
    let log = site.dir().join("operator.log");
    let file = File::create(&log)?;
    // The simulator's variables but the region: that one must come from the chart.
    let aws = simulator
        .client_env()
        .iter()
        .filter(|(name, _)| !name.ends_with("REGION"));
    let _inside = site.runtime.enter();
    let mut operator = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
        .args(container.args.unwrap_or_default())
        .env_clear()
        .envs(
            container
                .env
                .unwrap_or_default()
                .into_iter()
                .map(|variable| (variable.name, variable.value.unwrap_or_default())),
        )
        .envs(aws.map(|(name, value)| (name, value)))
        .env("AMPLIFY_OPERATOR_LISTEN", "127.0.0.1:0")
        .env("KUBECONFIG", &kubeconfig)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .context("the operator does not start")?;
    let life = live(site, &simulator).and_then(|()| end(site, &mut operator));
    let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let mut requests = site.audit.since(mark)?;
    requests.retain(|request| request.user == user);
    life.with_context(|| {
        let log = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        let refused = refused(&requests);
        format!("the API server refused it {refused:#?}, and its last lines are\n{tail}\n")
    })?;
    let actions = simulator
        .history()
        .all()
        .iter()
        .map(|call| {
            format!(
                "{}:{}",
                call.operation.service().map_or("?", |it| it.as_str()),
                call.operation
            )
        })
        .collect();
    Ok(Operated {
        requests,
        actions,
        granted: granted(site, &account)?,
    })
}

/// Creates the samples, edits them, and deletes them again. On the way it brings the operator to make each kind of
/// request that it ever makes: rare ones are not to be found missing in production.
fn live(site: &Site, simulator: &Simulator) -> Result<()> {
    let shop = |arguments: &[&str]| site.kubectl(&[arguments, &["--namespace", SHOP]].concat());
    site.kubectl(&["create", "namespace", SHOP])?;
    // The first look at each kind is held up …
    let at_once = [
        (Operation::GetBackend, "staging", "amplifybackend/staging"),
        (Operation::GetBackendEnvironment, "legacy", "backendenvironment/legacy"),
    ];
    let after_its_backend = [(Operation::GetBackendApi, "staging", "backendapi/storefront")];
    for (operation, environment, _) in at_once.iter().chain(&after_its_backend) {
        let fault = Fault::on(*operation, Action::hang()).environment(environment);
        simulator.control().fault(fault);
    }
    shop(&["apply", "-f", "deploy/samples"])?;
    for looks in [&at_once[..], &after_its_backend[..]] {
        for (operation, environment, object) in looks {
            site.eventually(&format!("{operation} of {environment}"), async || {
                let calls = simulator.history().matching(&Filter::operation(*operation));
                let is_held = calls
                    .iter()
                    .any(|call| call.in_flight && call.faulted && call.environment() == *environment);
                Ok(is_held.then_some(()))
            })?;
            // … and the object changes meanwhile, so that the next write is refused as stale and the object is read.
            shop(&["label", object, "changed=meanwhile"])?;
        }
        simulator.control().release();
    }
    let all = ["amplifybackends,backendapis,backendenvironments", "--all"];
    let ready = ["wait", "--for=condition=Ready", "--timeout=150s"];
    shop(&[&ready[..], &all].concat())?;

    // The same Event again is a patch of the first one.
    for (suspend, reason) in [
        (true, "Suspended"),
        (false, "Available"),
        (true, "Suspended"),
        (false, "Available"),
    ] {
        let patch = format!(r#"{{"spec":{{"suspend":{suspend}}}}}"#);
        shop(&["patch", "benv/legacy", "--type=merge", "--patch", &patch])?;
        let condition = format!(r#"--for=jsonpath={{.status.conditions[?(@.type=="Ready")].reason}}={reason}"#);
        shop(&["wait", &condition, "benv/legacy", "--timeout=150s"])?;
    }
    let events: Api<Event> = Api::namespaced(site.client.clone(), SHOP);
    site.eventually("an Event that counts to two", async || {
        let events = events.list(&ListParams::default()).await?;
        Ok(events.items.into_iter().find(|event| event.series.is_some()))
    })?;

    // An edit, so that the API is updated too.
    let patch = r#"{"spec":{"resourceConfig":{"conflictResolution":{"resolutionStrategy":"AUTOMERGE"}}}}"#;
    shop(&["patch", "bapi/storefront", "--type=merge", "--patch", patch])?;
    shop(&[
        "wait",
        "--for=jsonpath={.status.observedGeneration}=2",
        "bapi/storefront",
        "--timeout=150s",
    ])?;
    shop(&["wait", "--for=condition=Ready", "bapi/storefront", "--timeout=150s"])?;

    shop(&["delete", "-f", "deploy/samples", "--timeout=150s"])?;
    let apps = simulator.control().apps();
    ensure!(
        apps.iter()
            .all(|app| app.backends.is_empty() && app.environments.is_empty()),
        "AWS is not empty: {apps:?}"
    );
    let creates = simulator.history().creates_by_object();
    ensure!(
        creates.len() == 4 && creates.values().all(|count| *count == 1),
        "each of the four samples is created once: {creates:?}"
    );
    Ok(())
}

/// As a kubelet ends it.
fn end(site: &Site, operator: &mut Child) -> Result<()> {
    let pid = operator.id().context("the operator has ended by itself")?.to_string();
    site.runtime.block_on(async {
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await?;
        ensure!(sent.success(), "SIGTERM is not sent");
        let status = tokio::time::timeout(PATIENCE, operator.wait())
            .await
            .context("it does not end on SIGTERM")??;
        ensure!(status.success(), "it ends with {status}");
        Ok(())
    })
}

/// What the API server did not let it do.
fn refused(requests: &[AuditEvent]) -> BTreeSet<String> {
    requests
        .iter()
        .filter(|request| matches!(request.code, 401 | 403))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect()
}

fn the_operator_is_refused_nothing(site: &Site) -> Result<()> {
    let refused = refused(&operated(site)?.requests);
    ensure!(refused.is_empty(), "the API server refuses {refused:#?}");
    Ok(())
}

/// Something that may be done: verb, API group, resource and subresource.
type Right = (String, String, String);

fn resource(resource: &str, subresource: &str) -> String {
    if subresource.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}/{subresource}")
    }
}

/// All that any role grants to the account.
fn granted(site: &Site, account: &str) -> Result<BTreeSet<Right>> {
    let is_ours = |subjects: Option<Vec<Subject>>| {
        subjects.unwrap_or_default().iter().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == account
                && subject.namespace.as_deref() == Some(NAMESPACE)
        })
    };
    let everything = ListParams::default();
    site.runtime.block_on(async {
        let bindings: Api<RoleBinding> = Api::all(site.client.clone());
        for binding in bindings.list(&everything).await? {
            let name = binding.metadata.name.unwrap_or_default();
            ensure!(!is_ours(binding.subjects), "the RoleBinding {name} grants more");
        }
        let bindings: Api<ClusterRoleBinding> = Api::all(site.client.clone());
        let roles: Api<ClusterRole> = Api::all(site.client.clone());
        let mut rights = BTreeSet::new();
        for binding in bindings.list(&everything).await? {
            if !is_ours(binding.subjects) {
                continue;
            }
            for rule in roles.get(&binding.role_ref.name).await?.rules.unwrap_or_default() {
                ensure!(
                    rule.non_resource_urls.is_none() && rule.resource_names.is_none(),
                    "this test does not know how to judge {rule:?}"
                );
                for verb in &rule.verbs {
                    for group in rule.api_groups.iter().flatten() {
                        for resource in rule.resources.iter().flatten() {
                            if [verb, group, resource].into_iter().any(|name| name.contains('*')) {
                                bail!("a wildcard: {rule:?}");
                            }
                            rights.insert((verb.clone(), group.clone(), resource.clone()));
                        }
                    }
                }
            }
        }
        Ok(rights)
    })
}

fn the_chart_grants_exactly_what_the_operator_uses(site: &Site) -> Result<()> {
    let operated = operated(site)?;
    let used: BTreeSet<Right> = operated
        .requests
        .iter()
        .filter(|request| !request.resource.is_empty())
        .map(|request| {
            (
                request.verb.clone(),
                request.group.clone(),
                resource(&request.resource, &request.subresource),
            )
        })
        .collect();
    let lacking: Vec<_> = used.difference(&operated.granted).collect();
    let needless: Vec<_> = operated.granted.difference(&used).collect();
    ensure!(
        lacking.is_empty() && needless.is_empty(),
        "used, but not granted: {lacking:#?}\ngranted, but not used: {needless:#?}\n(charts/amplify-operator/templates/rbac.yaml)"
    );
    Ok(())
}

fn the_iam_policy_allows_what_the_operator_calls(site: &Site) -> Result<()> {
    let operated = operated(site)?;
    let policy = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/iam-policy.json"))?;
    let policy: Value = serde_json::from_str(&policy)?;
    let mut allowed: BTreeSet<String> = serde_json::from_value(policy["Statement"][0]["Action"].clone())?;
    // Needs no permission.
    allowed.insert("sts:GetCallerIdentity".to_owned());
    let lacking: Vec<_> = operated.actions.difference(&allowed).collect();
    ensure!(lacking.is_empty(), "deploy/iam-policy.json lacks {lacking:?}");
    Ok(())
}
