//! The checks of the cluster. May do: read Kubernetes, read the accounts file.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ConfigMap},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Error, ResourceExt as _,
    api::{DynamicObject, ListParams},
};
use tokio::time::sleep;

use super::{
    Check, Verdict,
    deployment::{self, Deployment, Pod},
    installation::{Election, Installation},
};
use crate::{
    amplify::{Accounts, accounts::Lookup},
    api::{self, KindName, text::clean},
    apiserver::words,
    cli::{self, called, people::Doctor},
    clock::Clock,
    leader::LEASE,
    people::{
        cluster::{Cluster, quoted},
        entry::{Caller, Entry, State, ago},
    },
};

/// How long a Lease is watched for a renewal: the leader renews it more often.
const RENEWED: Duration = Duration::from_secs(6);
pub(super) const API_SERVER: &str = "api server";
const DEFINITIONS: &str = "definitions";
const OPERATOR: &str = "operator";
pub(super) const LEADER: &str = "leader";
const ACCOUNTS: &str = "accounts";
const RESOURCES: &str = "resources";
/// By this label the chart and the manifests mark the operator's objects.
const OURS: &str = "app.kubernetes.io/name=amplify-operator";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn apply_definitions() -> String {
    format!("{} crd | kubectl apply --server-side --force-conflicts -f -", called())
}

/// What was found of the operator in the cluster.
pub(super) enum Found {
    /// These Deployments.
    Deployments(Vec<Installation>),
    /// There is none: this process stands for the operator.
    None,
    /// The user may not look for it.
    Unknown,
}

/// Whether the API server refused to answer.
pub(super) fn is_denied(error: &Error) -> bool {
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
            (false, Check::failed(API_SERVER, words(&error), next))
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
                let said = format!("you may not read CustomResourceDefinitions: {}", words(&error));
                return (true, Check::skipped(DEFINITIONS, said));
            }
            Err(error) => {
                let next = "check --context and `kubectl version`";
                return (false, Check::failed(DEFINITIONS, words(&error), next));
            }
        }
    }
    if !missing.is_empty() {
        let said = format!("missing: {}", missing.join(", "));
        let check = Check::failed(DEFINITIONS, said, format!("run: {}", apply_definitions()));
        return (false, check);
    }
    if !other.is_empty() {
        let said = format!("not those of this program (version {VERSION}): {}", other.join(", "));
        let next = format!(
            "the definitions, the operator and this program should have one version; to apply those of {VERSION}, run: {}",
            apply_definitions()
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

/// Looks for the operator's Deployments.
pub(super) async fn operator(cluster: &Cluster, namespace: Option<&str>) -> (Found, Vec<Check>) {
    if cluster.in_pod {
        let check = Check::ok(OPERATOR, format!("this process runs in a pod, version {VERSION}"));
        return (Found::None, vec![check]);
    }
    let api: Api<Deployment> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &deployment::deployments()),
        None => Api::all_with(cluster.client.clone(), &deployment::deployments()),
    };
    let within = namespace.map_or_else(
        || "in any namespace".to_owned(),
        |name| format!("in the namespace {name}"),
    );
    let found = match api.list(&ListParams::default().labels(OURS)).await {
        Ok(found) => found.items,
        Err(error) if is_denied(&error) => {
            let how = if namespace.is_none() {
                ": give its namespace with --namespace"
            } else {
                ""
            };
            let said = format!(
                "you may not look for its Deployment{how} ({}); its rights, leader, accounts and AWS are unchecked",
                words(&error)
            );
            return (Found::Unknown, vec![Check::skipped(OPERATOR, said)]);
        }
        Err(error) => {
            let next = "check --context and `kubectl version`";
            return (Found::Unknown, vec![Check::failed(OPERATOR, words(&error), next)]);
        }
    };
    if found.is_empty() {
        let said =
            format!("no Deployment {within} has the label {OURS}; what follows is about this user and this shell");
        let next = "install the operator (docs/install.md), unless it runs elsewhere, such as on your machine";
        return (Found::None, vec![Check::warning(OPERATOR, said, next)]);
    }
    let mut checks = Vec::new();
    for deployment in &found {
        checks.push(deployment_runs(cluster, deployment).await);
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(place).collect();
        checks.push(Check::warning(
            OPERATOR,
            format!("there is more than one: {}", names.join(", ")),
            "each must watch namespaces of its own (settings.watchNamespaces); one that nobody knows may be somebody's imitation",
        ));
    }
    let installations = found.iter().filter_map(Installation::of_deployment).collect();
    (Found::Deployments(installations), checks)
}

fn place(deployment: &Deployment) -> String {
    format!(
        "{}/{}",
        deployment.namespace().unwrap_or_default(),
        deployment.name_any()
    )
}

async fn deployment_runs(cluster: &Cluster, deployment: &Deployment) -> Check {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let ready = deployment.status.as_ref().map_or(0, |status| status.ready_replicas);
    let version = deployment
        .labels()
        .get("app.kubernetes.io/version")
        .map(|version| clean(version));
    let watched = Installation::of_deployment(deployment)
        .map(|one| one.namespaces)
        .unwrap_or_default();
    let watched = if watched.is_empty() {
        "all namespaces".to_owned()
    } else {
        watched.join(", ")
    };
    let said = format!(
        "Deployment {}, version {}, {ready} of {wanted} pods ready, watches {watched}",
        place(deployment),
        version.as_deref().unwrap_or("unknown")
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
    if ready < wanted {
        return Check::warning(OPERATOR, said, "see why the others are not: kubectl describe pods");
    }
    if let Some(version) = version.filter(|version| version != VERSION) {
        let next = format!("use the {version} of this program to check it, or upgrade the older of the two");
        return Check::warning(OPERATOR, format!("{said}; this program is {VERSION}"), next);
    }
    Check::ok(OPERATOR, said)
}

/// Returns why the pods of a Deployment do not run, in Kubernetes' words.
async fn troubles(cluster: &Cluster, deployment: &Deployment) -> Vec<String> {
    let namespace = deployment.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced_with(cluster.client.clone(), &namespace, &deployment::pods());
    let labels = deployment.spec.selector.match_labels.iter();
    let selector: Vec<_> = labels.map(|(name, value)| format!("{name}={value}")).collect();
    let pods = api.list(&ListParams::default().labels(&selector.join(","))).await;
    let mut troubles: Vec<String> = Vec::new();
    for pod in pods.map(|pods| pods.items).unwrap_or_default() {
        let status = pod.status.unwrap_or_default();
        let waiting = status.container_statuses.iter().filter_map(|container| {
            let waiting = container.state.waiting.as_ref()?;
            Some(format!("{}: {}", waiting.reason, waiting.message))
        });
        let conditions = status.conditions.iter();
        let unscheduled =
            conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        for trouble in waiting.chain(unscheduled.map(|condition| condition.message.clone())) {
            let trouble = clean(&trouble);
            if !troubles.contains(&trouble) {
                troubles.push(trouble);
            }
        }
    }
    troubles
}

/// Checks that the Lease is held, if there is an election.
pub(super) async fn leader(cluster: &Cluster, installation: &Installation) -> Check {
    let namespace = &installation.lease_namespace;
    match installation.election {
        Election::None => return Check::ok(LEADER, "no election: one process works"),
        Election::Missing => {
            return Check::failed(
                LEADER,
                "several replicas run without leader election: each does all the work, and they are in each other's way",
                "set --leader-elect (the chart does for replicas above 1), or scale to 1",
            );
        }
        Election::Held | Election::Unknown => {}
    }
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = match api.get_opt(LEASE).await {
        Ok(None) if installation.election == Election::Unknown => {
            return Check::skipped(
                LEADER,
                format!("there is no Lease {namespace}/{LEASE}; whether one is needed is not known here"),
            );
        }
        Ok(lease) => lease,
        Err(error) if is_denied(&error) => {
            return Check::skipped(
                LEADER,
                format!("you may not read the Lease {namespace}/{LEASE}: {}", words(&error)),
            );
        }
        Err(error) => return Check::failed(LEADER, words(&error), "check --context and `kubectl version`"),
    };
    // A clock that is set wrong must accuse nobody: a Lease that changes is renewed.
    let first = judged(lease.as_ref(), namespace, Clock::of_machine().now());
    if first.verdict == Verdict::Ok || renewed_at(lease.as_ref()).is_none() {
        return first;
    }
    sleep(RENEWED).await;
    match api.get_opt(LEASE).await {
        Ok(again) if renewed_at(again.as_ref()) != renewed_at(lease.as_ref()) => {
            let holder = again.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
            Check::warning(
                LEADER,
                format!(
                    "{holder} holds the Lease {namespace}/{LEASE} and renews it, by a clock that differs from this one"
                ),
                "correct the clock of this machine, or of the operator's node",
            )
        }
        _ => first,
    }
}

fn renewed_at(lease: Option<&Lease>) -> Option<Timestamp> {
    Some(lease?.spec.as_ref()?.renew_time.as_ref()?.0)
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

/// Counts the resources by state, in all namespaces if this user may see them.
pub(super) async fn resources(cluster: &Cluster, installations: &[Installation]) -> (Vec<Entry>, Check) {
    let found = match cluster.resources(None).await {
        Ok(found) => found,
        Err(all) => match watched(cluster, installations).await {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => return (Vec::new(), Check::skipped(RESOURCES, format!("{all:#}"))),
            Err(error) => return (Vec::new(), Check::skipped(RESOURCES, format!("{error:#}"))),
        },
    };
    let entries: Vec<_> = found
        .iter()
        .map(|(kind, object)| Entry::of(*kind, object, &cluster.caller))
        .collect();
    let mut outside: Vec<_> = entries
        .iter()
        .map(|entry| entry.namespace.as_str())
        .filter(|namespace| !installations.is_empty() && !installations.iter().any(|one| one.watches(namespace)))
        .collect();
    outside.sort_unstable();
    outside.dedup();
    let check = counted(&entries, &outside, &cluster.caller);
    (entries, check)
}

/// Returns the resources of the namespaces that are watched or, if all are, of the context's namespace.
async fn watched(cluster: &Cluster, installations: &[Installation]) -> anyhow::Result<Vec<(KindName, DynamicObject)>> {
    let named: BTreeSet<_> = installations
        .iter()
        .flat_map(|one| one.namespaces.iter().map(String::as_str))
        .collect();
    let named = if named.is_empty() {
        BTreeSet::from([cluster.context_namespace()])
    } else {
        named
    };
    let mut all = Vec::new();
    for namespace in named.into_iter().filter(|name| cli::is_namespace(name)) {
        all.extend(cluster.resources(Some(namespace)).await?);
    }
    Ok(all)
}

fn counted(entries: &[Entry], outside: &[&str], caller: &Caller) -> Check {
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
    if !outside.is_empty() {
        return Check::warning(
            RESOURCES,
            format!("{}; no operator watches {}", counts.join(", "), outside.join(", ")),
            "add the namespaces to those that the operator watches (settings.watchNamespaces), or move the resources",
        );
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
        return Check::warning(RESOURCES, said, format!("run: {}", caller.line("status -A")));
    }
    Check::ok(RESOURCES, said)
}

/// Checks the accounts file, and that it names the namespaces with resources.
pub(super) async fn accounts(
    cluster: &Cluster,
    installation: &Installation,
    settings: &Doctor,
    namespaces: &[String],
) -> (Option<Accounts>, Vec<Check>) {
    let (accounts, mut checks) = if settings.accounts.as_deref().unwrap_or_default().is_empty() {
        match of_config_map(cluster, installation).await {
            Ok(Some((name, text))) => parsed(&name, &text, &settings.allowed_region),
            Ok(None) if installation.is_partly_unknown || (installation.is_this_process && cluster.in_pod) => {
                let said = "no accounts file is seen from here; if the operator has one, give it with --accounts";
                (None, vec![Check::skipped(ACCOUNTS, said)])
            }
            Ok(None) => {
                let said = "no accounts file: all namespaces use the operator's own AWS account";
                (None, vec![Check::ok(ACCOUNTS, said)])
            }
            Err(check) => (None, vec![check]),
        }
    } else {
        accounts_of_file(settings).await
    };
    if let Some(accounts) = &accounts {
        checks.extend(uncovered(accounts, namespaces));
    }
    (accounts, checks)
}

/// Reads the accounts file that the arguments name.
pub(super) async fn accounts_of_file(settings: &Doctor) -> (Option<Accounts>, Vec<Check>) {
    let Some(path) = settings.accounts.as_deref().filter(|path| !path.is_empty()) else {
        return (None, Vec::new());
    };
    match tokio::fs::read_to_string(path).await {
        Ok(text) => parsed(path, &text, &settings.allowed_region),
        Err(error) => {
            let next = "correct --accounts, or see that the file is mounted";
            (None, vec![Check::failed(ACCOUNTS, format!("{path}: {error}"), next)])
        }
    }
}

fn parsed(name: &str, text: &str, allowed_regions: &[String]) -> (Option<Accounts>, Vec<Check>) {
    match Accounts::parse(text, allowed_regions) {
        Ok(accounts) => {
            let check = Check::ok(ACCOUNTS, format!("{name}: entries: {}", accounts.len()));
            (Some(accounts), vec![check])
        }
        Err(why) => {
            let next =
                "correct it: the operator keeps the last file that it could read, and does not start with this one";
            (None, vec![Check::failed(ACCOUNTS, format!("{name}: {why}"), next)])
        }
    }
}
/// Returns the warning about namespaces with resources and without an account.
fn uncovered(accounts: &Accounts, namespaces: &[String]) -> Option<Check> {
    let without: Vec<_> = namespaces
        .iter()
        .filter(|namespace| !matches!(accounts.for_namespace(namespace), Lookup::Entry(_)))
        .map(String::as_str)
        .collect();
    (!without.is_empty()).then(|| {
        Check::warning(
            ACCOUNTS,
            format!("no single entry names {}, where there are resources", without.join(", ")),
            "add each namespace to exactly one entry: until then its resources are Stalled with the reason AccountNotFound",
        )
    })
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
            format!("you may not read {shown}: {}", words(&error)),
        )),
    }
}

/// Says how to check the credentials of an operator that runs elsewhere.
pub(super) fn aws_elsewhere(installation: &Installation, caller: &Caller) -> Check {
    let (namespace, name) = installation.deployment.clone().unwrap_or_default();
    let accounts = installation.accounts_file.as_deref();
    let accounts = accounts.map_or_else(String::new, |file| format!(" --accounts {}", quoted(file)));
    Check::skipped(
        "aws",
        format!(
            "credentials and region are those of the operator's pod; to check them, run: kubectl exec{} -n {namespace} deploy/{name} -- amplify-operator doctor{accounts}",
            caller.flags
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            super::entry::tests::{caller, object, status},
            Verdict,
        },
        *,
    };
    use crate::api::KindName;

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
        let entry = |status: &Value| Entry::of(KindName::BackendApi, &object("api", &json!({}), status), &caller());
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
            let check = counted(&entries, &[], &caller());
            assert_eq!((check.verdict, check.seen.contains(said)), (verdict, true), "{check:?}");
        }
    }

    #[test]
    fn resources_that_nobody_watches_are_never_well() {
        let ready = object("api", &json!({}), &status(&[("Ready", "True", "Available")]));
        let entries = [Entry::of(KindName::BackendApi, &ready, &caller())];
        let check = counted(&entries, &["shop"], &caller());
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.seen.ends_with("no operator watches shop"), "{check:?}");
    }

    #[test]
    fn a_namespace_with_resources_needs_an_entry() {
        let text = "accounts: [{name: a, namespaces: [shop], roleArn: 'arn:aws:iam::111111111111:role/x'}]";
        let accounts = Accounts::parse(text, &[]).unwrap();
        let uncovered = |namespaces: &[&str]| {
            let namespaces: Vec<_> = namespaces.iter().map(|name| (*name).to_owned()).collect();
            super::uncovered(&accounts, &namespaces)
        };
        assert_eq!(uncovered(&["shop"]), None);
        let check = uncovered(&["shop", "blog"]).unwrap();
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
