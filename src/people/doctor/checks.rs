//! The checks of the cluster. May do: read Kubernetes, read the accounts file.

use std::{collections::BTreeMap, env, path::Path};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        coordination::v1::Lease,
        core::v1::{ConfigMap, Container, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Error, ResourceExt as _, api::ListParams};

use super::Check;
use crate::{
    amplify::{Accounts, accounts::Lookup},
    api::{self, text::clean},
    cli::called,
    leader::{self, LEASE},
    people::{
        cluster::Cluster,
        entry::{Entry, State, ago},
    },
    telemetry::error::in_words,
};

pub(super) const API_SERVER: &str = "api server";
const DEFINITIONS: &str = "definitions";
const OPERATOR: &str = "operator";
const LEADER: &str = "leader";
const ACCOUNTS: &str = "accounts";
const RESOURCES: &str = "resources";
/// By this label the chart and the manifests mark the operator's objects.
const OURS: &str = "app.kubernetes.io/name=amplify-operator";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const APPLY_DEFINITIONS: &str = "amplify-operator crd | kubectl apply --server-side --force-conflicts -f -";

/// How the operator is installed, as far as the checks need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Installation {
    /// Whether this process stands for the operator: it runs in its pod, or no Deployment is found.
    pub(super) is_this_process: bool,
    /// The namespace and name of the Deployment.
    deployment: Option<(String, String)>,
    service_account: Option<String>,
    /// The namespaces that it watches. Empty: all.
    pub(super) namespaces: Vec<String>,
    /// Whether it takes part in an election.
    pub(super) elects: bool,
    pub(super) lease_namespace: String,
    /// The path of its accounts file.
    accounts_file: Option<String>,
    /// The name and key of the ConfigMap that is mounted there.
    accounts_from: Option<(String, String)>,
}

impl Installation {
    /// Returns the installation that this process would be.
    pub(super) fn of_this_process(cluster: &Cluster) -> Self {
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let pod = variable("POD_NAMESPACE");
        let asked = variable("AMPLIFY_OPERATOR_LEASE_NAMESPACE");
        Self {
            is_this_process: true,
            namespaces: list(variable("AMPLIFY_OPERATOR_WATCH_NAMESPACE").as_deref()),
            elects: variable("AMPLIFY_OPERATOR_LEADER_ELECT").is_some_and(|value| value == "true"),
            lease_namespace: leader::namespace(asked, pod, cluster.context_namespace()),
            ..Self::default()
        }
    }

    /// Returns the installation that a Deployment describes.
    fn of(deployment: &Deployment) -> Option<Self> {
        let namespace = deployment.namespace()?;
        let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
        let container = pod.containers.first()?;
        let accounts_file = setting(container, "accounts");
        let mounts = container.volume_mounts.iter().flatten();
        let mount = accounts_file.as_deref().and_then(|file| {
            let mut mounts =
                mounts.filter_map(|mount| Some((mount, Path::new(file).strip_prefix(&mount.mount_path).ok()?)));
            mounts.next()
        });
        let accounts_from = mount.and_then(|(mount, key)| {
            let mut volumes = pod.volumes.iter().flatten();
            let volume = volumes.find(|volume| volume.name == mount.name)?;
            Some((volume.config_map.as_ref()?.name.clone(), key.to_str()?.to_owned()))
        });
        Some(Self {
            is_this_process: false,
            service_account: Some(pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned())),
            namespaces: list(setting(container, "watch-namespace").as_deref()),
            elects: setting(container, "leader-elect").is_some_and(|value| value != "false"),
            lease_namespace: setting(container, "lease-namespace").unwrap_or_else(|| namespace.clone()),
            deployment: Some((namespace, deployment.name_any())),
            accounts_file,
            accounts_from,
        })
    }

    /// Returns the user that the operator is for the API server. `None`: this process's own.
    pub(super) fn user(&self) -> Option<String> {
        let (namespace, _) = self.deployment.as_ref()?;
        let account = self.service_account.as_ref()?;
        Some(format!("system:serviceaccount:{namespace}:{account}"))
    }
}

fn list(value: Option<&str>) -> Vec<String> {
    let names = value.unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

/// Returns the value of a flag in the container's arguments or variables. A flag without a value is "true".
fn setting(container: &Container, flag: &str) -> Option<String> {
    let arguments: Vec<_> = container.args.iter().flatten().collect();
    let long = format!("--{flag}");
    let values: Vec<_> = arguments
        .iter()
        .enumerate()
        .filter_map(|(place, argument)| {
            let rest = argument.strip_prefix(&long)?;
            if let Some(value) = rest.strip_prefix('=') {
                return Some(value.to_owned());
            }
            let next = arguments.get(place + 1).filter(|next| !next.starts_with("--"));
            rest.is_empty()
                .then(|| next.map_or_else(|| "true".to_owned(), |next| (*next).clone()))
        })
        .collect();
    if !values.is_empty() {
        return Some(values.join(","));
    }
    let variable = format!("AMPLIFY_OPERATOR_{}", flag.replace('-', "_").to_uppercase());
    let found = container.env.iter().flatten().find(|one| one.name == variable)?;
    found.value.clone().filter(|value| !value.is_empty())
}

fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Api(status) if matches!(status.code, 401 | 403))
}

/// Whether the API server answers.
pub(super) async fn api_server(cluster: &Cluster) -> (bool, Check) {
    match cluster.client.apiserver_version().await {
        Ok(version) => {
            let said = format!("{} answers", clean(&version.git_version));
            (true, Check::ok(API_SERVER, said))
        }
        Err(error) => {
            let next = if is_denied(&error) {
                "log in again, as for kubectl"
            } else {
                "check --context and `kubectl version`; everything in the cluster is unchecked"
            };
            (false, Check::failed(API_SERVER, in_words(&error), next))
        }
    }
}

/// Compares the definitions with those of this program. Returns whether all kinds are served.
pub(super) async fn definitions(cluster: &Cluster) -> (bool, Check) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    let wanted = api::crds();
    for ours in &wanted {
        let kind = ours.spec.names.kind.clone();
        match api.get_opt(&ours.name_any()).await {
            Ok(None) => missing.push(kind),
            Ok(Some(theirs)) if !is_established(&theirs) => missing.push(format!("{kind} (not established)")),
            Ok(Some(theirs)) if !is_same(ours, &theirs) => other.push(kind),
            Ok(Some(_)) => {}
            Err(error) if is_denied(&error) => {
                let said = format!("you may not read CustomResourceDefinitions: {}", in_words(&error));
                return (true, Check::skipped(DEFINITIONS, said));
            }
            Err(error) => {
                let next = "check --context and `kubectl version`";
                return (false, Check::failed(DEFINITIONS, in_words(&error), next));
            }
        }
    }
    if !missing.is_empty() {
        let said = format!("missing: {}", missing.join(", "));
        let check = Check::failed(DEFINITIONS, said, format!("run: {APPLY_DEFINITIONS}"));
        return (false, check);
    }
    if !other.is_empty() {
        let said = format!("not those of this program (version {VERSION}): {}", other.join(", "));
        let next = format!(
            "the definitions, the operator and this program should have one version; to apply those of {VERSION}, run: {APPLY_DEFINITIONS}"
        );
        return (true, Check::warning(DEFINITIONS, said, next));
    }
    let said = format!("all {} are there, as in version {VERSION}", wanted.len());
    (true, Check::ok(DEFINITIONS, said))
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

fn is_same(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> bool {
    ours.spec.versions.iter().all(|ours| {
        let mut theirs = theirs.spec.versions.iter().filter(|theirs| theirs.served);
        theirs.any(|theirs| theirs.name == ours.name && theirs.schema == ours.schema)
    })
}

/// Looks for the operator's Deployment. Without one, the checks are about this process.
pub(super) async fn operator(cluster: &Cluster, namespace: Option<&str>) -> (Option<Installation>, Vec<Check>) {
    if cluster.in_pod {
        return (
            None,
            vec![Check::ok(
                OPERATOR,
                format!("this process runs in a pod, version {VERSION}"),
            )],
        );
    }
    let api: Api<Deployment> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let found = match api.list(&ListParams::default().labels(OURS)).await {
        Ok(found) => found.items,
        Err(error) => {
            let said = format!(
                "you may not look for its Deployment: {}. Give its namespace with --namespace; what follows is about this user",
                in_words(&error)
            );
            return (None, vec![Check::skipped(OPERATOR, said)]);
        }
    };
    let mut checks = Vec::new();
    for deployment in &found {
        checks.push(deployment_runs(cluster, deployment).await);
    }
    let Some(first) = found.first() else {
        let said = format!("no Deployment has the label {OURS}; what follows is about this user and this shell");
        let next = "install the operator (docs/install.md), unless it runs elsewhere, such as on your machine";
        return (None, vec![Check::warning(OPERATOR, said, next)]);
    };
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(place).collect();
        checks.push(Check::warning(
            OPERATOR,
            format!(
                "there is more than one: {}; what follows is about the first",
                names.join(", ")
            ),
            "each must watch namespaces of its own (settings.watchNamespaces)",
        ));
    }
    (Installation::of(first), checks)
}

fn place(deployment: &Deployment) -> String {
    format!(
        "{}/{}",
        deployment.namespace().unwrap_or_default(),
        deployment.name_any()
    )
}

async fn deployment_runs(cluster: &Cluster, deployment: &Deployment) -> Check {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let ready = status.ready_replicas.unwrap_or_default();
    let version = deployment
        .labels()
        .get("app.kubernetes.io/version")
        .map(|version| clean(version));
    let version = version.unwrap_or_else(|| "unknown".to_owned());
    let said = format!(
        "Deployment {}, version {version}, {ready} of {wanted} pods ready",
        place(deployment)
    );
    if wanted == 0 {
        return Check::failed(OPERATOR, said, "it is scaled to 0: scale it to 1");
    }
    if ready == 0 {
        let troubles = troubles(cluster, deployment).await;
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        let said = if troubles.is_empty() {
            said
        } else {
            format!("{said}: {}", troubles.join("; "))
        };
        return Check::failed(
            OPERATOR,
            said,
            format!("run: kubectl describe pods -n {namespace} -l {OURS}; kubectl logs -n {namespace} deploy/{name}"),
        );
    }
    if version != VERSION {
        let next = format!("use the {version} of this program to check it, or upgrade the older of the two");
        return Check::warning(OPERATOR, format!("{said}; this program is {VERSION}"), next);
    }
    Check::ok(OPERATOR, said)
}

/// Returns why the pods of a Deployment do not run, in Kubernetes' words.
async fn troubles(cluster: &Cluster, deployment: &Deployment) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &deployment.namespace().unwrap_or_default());
    let selector = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.match_labels.clone());
    let selector: Vec<_> = selector
        .unwrap_or_default()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let pods = api.list(&ListParams::default().labels(&selector.join(","))).await;
    let mut troubles: Vec<String> = Vec::new();
    for pod in pods.map(|pods| pods.items).unwrap_or_default() {
        let status = pod.status.unwrap_or_default();
        let waiting = status.container_statuses.iter().flatten().filter_map(|container| {
            let waiting = container.state.as_ref()?.waiting.as_ref()?;
            Some(format!(
                "{}: {}",
                waiting.reason.as_deref()?,
                waiting.message.as_deref().unwrap_or_default()
            ))
        });
        let unscheduled = status
            .conditions
            .iter()
            .flatten()
            .filter(|condition| condition.status == "False");
        let unscheduled = unscheduled.filter(|condition| condition.type_ == "PodScheduled");
        let unscheduled = unscheduled.filter_map(|condition| condition.message.clone());
        for trouble in waiting.chain(unscheduled) {
            let trouble = clean(&trouble);
            if !troubles.contains(&trouble) {
                troubles.push(trouble);
            }
        }
    }
    troubles
}

/// Checks that the Lease is held, if there is an election.
pub(super) async fn leader(cluster: &Cluster, installation: &Installation, now: Timestamp) -> Check {
    if !installation.elects {
        return Check::ok(LEADER, "no election: one process works");
    }
    let namespace = &installation.lease_namespace;
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = match api.get_opt(LEASE).await {
        Ok(lease) => lease,
        Err(error) => return Check::skipped(LEADER, format!("you may not read the Lease: {}", in_words(&error))),
    };
    judged(lease.as_ref(), namespace, now)
}

/// Judges the Lease: who holds it, and whether it is renewed in time.
fn judged(lease: Option<&Lease>, namespace: &str, now: Timestamp) -> Check {
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).map(clean);
    let next = "see whether the operator's pods run, and their logs: they say why they do not lead";
    let Some(holder) = holder.filter(|holder| !holder.is_empty()) else {
        return Check::failed(
            LEADER,
            format!("nobody holds the Lease {namespace}/{LEASE}: no process works"),
            next,
        );
    };
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
    let limit = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let age = renewed.map(|renewed| now.duration_since(renewed));
    match age {
        Some(age) if age <= SignedDuration::from_secs(limit.into()) => {
            Check::ok(LEADER, format!("{holder} holds the Lease {namespace}/{LEASE}"))
        }
        Some(age) => Check::failed(
            LEADER,
            format!(
                "{holder} holds the Lease {namespace}/{LEASE} and has not renewed it for {}",
                ago(age)
            ),
            next,
        ),
        None => Check::failed(LEADER, format!("the Lease {namespace}/{LEASE} was never renewed"), next),
    }
}

/// Counts the resources by state.
pub(super) async fn resources(cluster: &Cluster, installation: &Installation) -> (Vec<Entry>, Check) {
    let mut entries = Vec::new();
    let places: Vec<Option<&str>> = if installation.namespaces.is_empty() {
        vec![None]
    } else {
        installation.namespaces.iter().map(|name| Some(name.as_str())).collect()
    };
    for namespace in places {
        match cluster.resources(namespace).await {
            Ok(found) => entries.extend(found.iter().map(|(kind, object)| Entry::of(*kind, object, called()))),
            Err(error) => return (entries, Check::skipped(RESOURCES, format!("{error:#}"))),
        }
    }
    let check = counted(&entries);
    (entries, check)
}

fn counted(entries: &[Entry]) -> Check {
    let with = |state: State| entries.iter().filter(move |entry| entry.state == state);
    let count = |state| with(state).count();
    let counts: Vec<_> = State::ALL
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {}", count(state), state.name()))
        .collect();
    if counts.is_empty() {
        return Check::ok(RESOURCES, "there are none yet");
    }
    let mut said = counts.join(", ");
    if count(State::Unseen) == entries.len() {
        let next = "no operator has seen any: see the checks above, and whether it watches these namespaces";
        return Check::failed(RESOURCES, said, next);
    }
    if count(State::Stalled) > 0 {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in with(State::Stalled) {
            *reasons
                .entry(entry.reason.as_deref().unwrap_or("no reason"))
                .or_default() += 1;
        }
        let reasons: Vec<_> = reasons
            .iter()
            .map(|(reason, count)| format!("{reason}: {count}"))
            .collect();
        said = format!("{said} ({})", reasons.join(", "));
    }
    if count(State::Stalled) + count(State::Unseen) > 0 {
        return Check::warning(RESOURCES, said, format!("run: {} status -A", called()));
    }
    Check::ok(RESOURCES, said)
}

/// Checks the accounts file, and that it names the namespaces with resources.
pub(super) async fn accounts(
    cluster: &Cluster,
    installation: &Installation,
    file: Option<&Path>,
    allowed_regions: &[String],
    namespaces: &[String],
) -> (Option<Accounts>, Vec<Check>) {
    let (name, text) = if let Some(path) = file {
        let name = path.display().to_string();
        match tokio::fs::read_to_string(path).await {
            Ok(text) => (name, text),
            Err(error) => {
                let next = "correct --accounts, or see that the file is mounted";
                return (None, vec![Check::failed(ACCOUNTS, format!("{name}: {error}"), next)]);
            }
        }
    } else {
        match of_config_map(cluster, installation).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let said = "no accounts file: all namespaces use the operator's own AWS account";
                return (None, vec![Check::ok(ACCOUNTS, said)]);
            }
            Err(check) => return (None, vec![check]),
        }
    };
    let accounts = match Accounts::parse(&text, allowed_regions) {
        Ok(accounts) => accounts,
        Err(why) => {
            let next =
                "correct it: the operator keeps the last file that it could read, and does not start with this one";
            return (None, vec![Check::failed(ACCOUNTS, format!("{name}: {why}"), next)]);
        }
    };
    let check = covered(&accounts, &name, namespaces);
    (Some(accounts), vec![check])
}

fn covered(accounts: &Accounts, name: &str, namespaces: &[String]) -> Check {
    let mut without: Vec<_> = namespaces
        .iter()
        .filter(|namespace| !matches!(accounts.for_namespace(namespace), Lookup::Entry(_)))
        .map(String::as_str)
        .collect();
    without.sort_unstable();
    without.dedup();
    if without.is_empty() {
        return Check::ok(ACCOUNTS, format!("{name}: {} entries", accounts.len()));
    }
    Check::warning(
        ACCOUNTS,
        format!(
            "{name}: no single entry names {}, where there are resources",
            without.join(", ")
        ),
        "add each namespace to exactly one entry: until then its resources are Stalled with the reason AccountNotFound",
    )
}

/// Returns the accounts file from the ConfigMap that the Deployment mounts.
async fn of_config_map(cluster: &Cluster, installation: &Installation) -> Result<Option<(String, String)>, Check> {
    let Some((namespace, _)) = &installation.deployment else {
        return Ok(None);
    };
    let Some(file) = &installation.accounts_file else {
        return Ok(None);
    };
    let Some((name, key)) = &installation.accounts_from else {
        return Err(Check::skipped(
            ACCOUNTS,
            format!("{file} is not in a ConfigMap of the Deployment"),
        ));
    };
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let shown = format!("ConfigMap {namespace}/{name}");
    match api.get_opt(name).await {
        Ok(Some(found)) => match found.data.and_then(|mut data| data.remove(key)) {
            Some(text) => Ok(Some((shown, text))),
            None => Err(Check::failed(
                ACCOUNTS,
                format!("{shown} has no key {key}"),
                "add the key with the accounts file, `accounts: […]`",
            )),
        },
        Ok(None) => Err(Check::failed(
            ACCOUNTS,
            format!("{shown} does not exist"),
            "create it, or correct existingAccountsConfigMap: the pod cannot start without it",
        )),
        Err(error) => Err(Check::skipped(
            ACCOUNTS,
            format!("you may not read {shown}: {}", in_words(&error)),
        )),
    }
}

/// Says how to check the credentials of an operator that runs elsewhere.
pub(super) fn aws_elsewhere(installation: &Installation) -> Check {
    let (namespace, name) = installation.deployment.clone().unwrap_or_default();
    let accounts = installation.accounts_file.as_ref();
    let accounts = accounts.map_or_else(String::new, |file| format!(" --accounts {file}"));
    Check::skipped(
        "aws",
        format!(
            "credentials and region are those of the operator's pod; to check them, run: kubectl exec -n {namespace} deploy/{name} -- amplify-operator doctor{accounts}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            super::entry::tests::{object, status},
            Verdict,
        },
        *,
    };
    use crate::api::KindName;

    fn deployment(pod: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "amplify-operator", "namespace": "ops" },
            "spec": { "selector": {}, "template": { "spec": pod } },
        }))
        .unwrap()
    }

    #[test]
    fn a_deployment_says_how_the_operator_runs() {
        let found = Installation::of(&deployment(&json!({
            "serviceAccountName": "operator",
            "containers": [{
                "name": "operator",
                "args": ["--accounts=/etc/accounts/accounts.yaml", "--leader-elect", "--watch-namespace", "a"],
                "env": [{ "name": "AMPLIFY_OPERATOR_LEASE_NAMESPACE", "value": "leases" }],
                "volumeMounts": [{ "name": "files", "mountPath": "/etc/accounts" }],
            }],
            "volumes": [{ "name": "files", "configMap": { "name": "mine" } }],
        })))
        .unwrap();
        let wanted = Installation {
            is_this_process: false,
            deployment: Some(("ops".to_owned(), "amplify-operator".to_owned())),
            service_account: Some("operator".to_owned()),
            namespaces: vec!["a".to_owned()],
            elects: true,
            lease_namespace: "leases".to_owned(),
            accounts_file: Some("/etc/accounts/accounts.yaml".to_owned()),
            accounts_from: Some(("mine".to_owned(), "accounts.yaml".to_owned())),
        };
        assert_eq!(found, wanted);
        assert_eq!(found.user().as_deref(), Some("system:serviceaccount:ops:operator"));
        let plain = Installation::of(&deployment(&json!({ "containers": [{ "name": "operator" }] }))).unwrap();
        assert_eq!(
            (plain.elects, plain.lease_namespace.as_str(), plain.namespaces.len()),
            (false, "ops", 0)
        );
    }

    #[test]
    fn a_lease_is_held_by_somebody_who_renews_it() {
        let now: Timestamp = "2026-11-22T10:01:00Z".parse().unwrap();
        let lease = |holder: &str, renewed: &str| -> Lease {
            serde_json::from_value(json!({ "spec": {
                "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15,
            }}))
            .unwrap()
        };
        for (lease, verdict, said) in [
            (
                Some(lease("pod-1", "2026-11-22T10:00:50.000000Z")),
                Verdict::Ok,
                "pod-1 holds",
            ),
            (
                Some(lease("pod-1", "2026-11-22T09:58:00.000000Z")),
                Verdict::Failed,
                "has not renewed it for 3m",
            ),
            (
                Some(lease("", "2026-11-22T10:00:50.000000Z")),
                Verdict::Failed,
                "nobody holds",
            ),
            (None, Verdict::Failed, "nobody holds"),
        ] {
            let check = judged(lease.as_ref(), "ops", now);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.seen.contains(said), "{check:?}");
        }
    }

    #[test]
    fn the_resources_are_well_if_none_needs_a_person() {
        let entry = |status: &Value| {
            Entry::of(
                KindName::BackendApi,
                &object("api", &json!({}), status),
                "amplify-operator",
            )
        };
        let ready = entry(&status(&[("Ready", "True", "Available")]));
        let stalled = entry(&status(&[
            ("Ready", "False", "Conflict"),
            ("Stalled", "True", "Conflict"),
        ]));
        let unseen = entry(&json!({}));
        for (entries, verdict, said) in [
            (vec![], Verdict::Ok, "none yet"),
            (vec![ready.clone()], Verdict::Ok, "1 Ready"),
            (
                vec![ready.clone(), stalled],
                Verdict::Warning,
                "1 Ready, 1 Stalled (Conflict: 1)",
            ),
            (vec![ready, unseen.clone()], Verdict::Warning, "1 Ready, 1 Unseen"),
            (vec![unseen.clone(), unseen], Verdict::Failed, "2 Unseen"),
        ] {
            let check = counted(&entries);
            assert_eq!((check.verdict, check.seen.contains(said)), (verdict, true), "{check:?}");
        }
    }

    #[test]
    fn a_namespace_with_resources_needs_an_entry() {
        let text = "accounts: [{name: a, namespaces: [shop], roleArn: 'arn:aws:iam::111111111111:role/x'}]";
        let accounts = Accounts::parse(text, &[]).unwrap();
        let covered = |namespaces: &[&str]| {
            let namespaces: Vec<_> = namespaces.iter().map(|name| (*name).to_owned()).collect();
            super::covered(&accounts, "the file", &namespaces)
        };
        assert_eq!(covered(&["shop"]).verdict, Verdict::Ok);
        let check = covered(&["shop", "blog", "blog"]);
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.seen.contains("names blog, where"), "{check:?}");
    }

    #[test]
    fn definitions_are_the_same_if_their_schemas_are() {
        let ours = api::crds();
        assert!(is_same(&ours[0], &ours[0]));
        assert!(!is_same(&ours[0], &ours[1]));
    }
}
