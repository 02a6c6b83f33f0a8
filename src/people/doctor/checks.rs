//! The checks of the cluster. May do: read Kubernetes, read the accounts file.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::ConfigMap},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::{
        CustomResourceDefinition, CustomResourceDefinitionVersion,
    },
};
use kube::{Api, Error, ResourceExt as _, api::ListParams};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::sleep;

use super::{
    Check, Verdict,
    installation::{Election, Installation},
};
use crate::{
    amplify::{Accounts, accounts::Lookup},
    api::{self, text::clean},
    cli::people::Doctor,
    clock::Clock,
    people::{
        cluster::Cluster,
        entry::{Caller, ago},
    },
    telemetry::error::in_words,
};

/// How long a Lease is watched for a renewal: the leader renews it more often.
const RENEWED: Duration = Duration::from_secs(6);
pub(super) const API_SERVER: &str = "api server";
pub(super) const DEFINITIONS: &str = "definitions";
pub(super) const LEADER: &str = "leader";
pub(super) const ACCOUNTS: &str = "accounts";
pub(super) const RESOURCES: &str = "resources";
/// How many namespaces of an operator are asked about. Whoever can make a Deployment chooses how many it names.
pub(super) const MOST_NAMESPACES: usize = 50;
/// How many objects a page of a list has.
const PAGE: u32 = 250;
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the next step where definitions are missing. Helm takes no definitions over that others have applied.
pub(super) fn install_definitions(caller: &Caller) -> String {
    format!(
        "install the operator (docs/install.md); without Helm, run: {}",
        caller.apply_definitions()
    )
}

/// Whether the API server refused to answer.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Api(status) if matches!(status.code, 401 | 403))
}

/// Hands over all objects of a list, page by page: they are never in memory together.
pub(super) async fn each<T>(api: &Api<T>, params: ListParams, mut take: impl FnMut(T)) -> kube::Result<()>
where
    T: Clone + fmt::Debug + DeserializeOwned,
{
    let mut params = params.limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Whether the API server answers. Whether it tells its version is not the same: it may refuse that to some users.
pub(super) async fn api_server(cluster: &Cluster) -> (bool, Vec<Check>) {
    let (is_there, check) = match cluster.client.apiserver_version().await {
        Ok(version) => (
            true,
            Check::ok(API_SERVER, format!("{} answers", clean(&version.git_version))),
        ),
        Err(error) => no_version(&error, &cluster.caller),
    };
    (is_there, vec![check])
}

/// Judges why the API server tells no version. Returns whether it answers other questions, as far as that is known.
fn no_version(error: &Error, caller: &Caller) -> (bool, Check) {
    let next = caller.check_access();
    match error {
        Error::Api(status) if status.code == 401 => {
            let next = "log in again, as for kubectl; everything in the cluster is unchecked";
            (false, Check::failed(API_SERVER, in_words(error), next))
        }
        Error::Api(status) if matches!(status.code, 403 | 404) => {
            let said = format!("it answers, and does not tell its version: {}", in_words(error));
            (true, Check::ok(API_SERVER, said))
        }
        Error::Api(_) => (true, Check::failed(API_SERVER, in_words(error), next)),
        _ => {
            let next = format!("{next}; everything in the cluster is unchecked");
            (false, Check::failed(API_SERVER, in_words(error), next))
        }
    }
}

/// Compares the definitions with those of this program. Returns whether all kinds are served.
pub(super) async fn definitions(cluster: &Cluster) -> (bool, Vec<Check>) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let wanted = api::crds();
    let mut found = Vec::new();
    for ours in &wanted {
        match api.get_opt(&ours.name_any()).await {
            Ok(theirs) => found.push(theirs),
            Err(error) if is_denied(&error) => {
                let said = format!("you may not read CustomResourceDefinitions: {}", in_words(&error));
                return (true, vec![Check::skipped(DEFINITIONS, said)]);
            }
            Err(error) => {
                let next = cluster.caller.check_access();
                return (false, vec![Check::failed(DEFINITIONS, in_words(&error), next)]);
            }
        }
    }
    let (is_served, check) = compared(&wanted, &found, &cluster.caller);
    (is_served, vec![check])
}

/// Compares the definitions with those that the API server has. Returns whether all kinds are served.
fn compared(
    wanted: &[CustomResourceDefinition],
    found: &[Option<CustomResourceDefinition>],
    caller: &Caller,
) -> (bool, Check) {
    let (mut missing, mut leaving, mut without, mut other) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (ours, theirs) in wanted.iter().zip(found) {
        let kind = ours.spec.names.kind.clone();
        match theirs {
            None => missing.push(kind),
            Some(theirs) if is_being_deleted(theirs) => leaving.push(kind),
            Some(theirs) if !has_condition(theirs, "Established") => missing.push(format!("{kind} (not established)")),
            Some(theirs) if !has_status(ours, theirs) => without.push(kind),
            Some(theirs) if !is_same(ours, theirs) => other.push(kind),
            Some(_) => {}
        }
    }
    if !missing.is_empty() {
        let said = format!("missing: {}", missing.join(", "));
        return (false, Check::failed(DEFINITIONS, said, install_definitions(caller)));
    }
    if !leaving.is_empty() {
        let said = format!(
            "being deleted, and with them all resources of these kinds, and the AWS objects of those without deletionPolicy: Retain: {}",
            leaving.join(", ")
        );
        let next = format!(
            "a deletion cannot be taken back; to keep the AWS objects, run at once: {}; then set deletionPolicy: Retain in each resource and resume it; when all are gone, apply the definitions and the resources again",
            caller.line("suspend --all -A")
        );
        return (true, Check::failed(DEFINITIONS, said, next));
    }
    if !without.is_empty() {
        let said = format!(
            "without the status subresource, so the operator can record nothing: {}",
            without.join(", ")
        );
        let next = format!("run: {}", caller.apply_definitions());
        return (true, Check::failed(DEFINITIONS, said, next));
    }
    if !other.is_empty() {
        let said = format!("not those of this program (version {VERSION}): {}", other.join(", "));
        let next = format!(
            "the definitions, the operator and this program should have one version; to apply those of {VERSION}, run: {}",
            caller.apply_definitions()
        );
        return (true, Check::warning(DEFINITIONS, said, next));
    }
    let said = format!("all {} are there, as in version {VERSION}", wanted.len());
    (true, Check::ok(DEFINITIONS, said))
}

fn has_condition(crd: &CustomResourceDefinition, type_: &str) -> bool {
    let mut conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Whether the API server deletes the definition. It deletes all resources of the kind first.
fn is_being_deleted(crd: &CustomResourceDefinition) -> bool {
    crd.metadata.deletion_timestamp.is_some() || has_condition(crd, "Terminating")
}

/// Returns the served version of theirs that ours names, for each version of ours.
fn pairs<'a>(
    ours: &'a CustomResourceDefinition,
    theirs: &'a CustomResourceDefinition,
) -> impl Iterator<
    Item = (
        &'a CustomResourceDefinitionVersion,
        Option<&'a CustomResourceDefinitionVersion>,
    ),
> {
    ours.spec.versions.iter().map(|ours| {
        let mut theirs = theirs.spec.versions.iter();
        (ours, theirs.find(|theirs| theirs.served && theirs.name == ours.name))
    })
}

fn has_status(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> bool {
    let status = |version: &CustomResourceDefinitionVersion| {
        let sub = version.subresources.as_ref();
        sub.is_some_and(|sub| sub.status.is_some())
    };
    // A version that they do not have at all is another matter.
    pairs(ours, theirs).all(|(ours, theirs)| !status(ours) || theirs.is_none_or(status))
}

fn is_same(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> bool {
    let is_same = |ours: &CustomResourceDefinitionVersion, theirs: &CustomResourceDefinitionVersion| {
        theirs.schema == ours.schema && theirs.subresources == ours.subresources
    };
    let mut pairs = pairs(ours, theirs);
    ours.spec.scope == theirs.spec.scope
        && pairs.all(|(ours, theirs)| theirs.is_some_and(|theirs| is_same(ours, theirs)))
}

/// Checks that the Lease is held, if there is an election.
pub(super) async fn leader(cluster: &Cluster, installation: &Installation) -> Check {
    match installation.election {
        // Whether the process works is a matter of the pods.
        Election::None => return Check::ok(LEADER, "no election"),
        Election::Missing => {
            return Check::failed(
                LEADER,
                "several replicas run without leader election: each does all the work, and they are in each other's way",
                "set --leader-elect (the chart does), or scale to 1",
            );
        }
        Election::Held | Election::Unknown => {}
    }
    let Some((namespace, name)) = &installation.lease else {
        return Check::skipped(LEADER, "which Lease it has, and in which namespace, is not known here");
    };
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = match api.get_opt(name).await {
        Ok(None) if installation.election == Election::Unknown => {
            return Check::skipped(
                LEADER,
                format!("there is no Lease {namespace}/{name}; whether one is needed is not known here"),
            );
        }
        Ok(lease) => lease,
        Err(error) if is_denied(&error) => {
            return Check::skipped(
                LEADER,
                format!("you may not read the Lease {namespace}/{name}: {}", in_words(&error)),
            );
        }
        Err(error) => return Check::failed(LEADER, in_words(&error), cluster.caller.check_access()),
    };
    // A clock that is set wrong must accuse nobody: a Lease that changes is renewed.
    let first = judged(lease.as_ref(), namespace, name, Clock::of_machine().now());
    let first = as_far_as_known(first, installation.election);
    if first.verdict == Verdict::Ok || renewed_at(lease.as_ref()).is_none() {
        return first;
    }
    sleep(RENEWED).await;
    match api.get_opt(name).await {
        Ok(again) if renewed_at(again.as_ref()) != renewed_at(lease.as_ref()) => {
            let holder = again.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default();
            Check::warning(
                LEADER,
                format!(
                    "{holder} holds the Lease {namespace}/{name} and renews it, by a clock that differs from this one"
                ),
                "correct the clock of this machine, or of the operator's node",
            )
        }
        _ => first,
    }
}

/// Returns the judgement, as far as it is known that there is an election: without one, a Lease that nobody holds or renews
/// is a remainder.
fn as_far_as_known(check: Check, election: Election) -> Check {
    match (election, check.verdict) {
        (Election::Unknown, Verdict::Failed | Verdict::Warning) => Check::skipped(
            LEADER,
            format!("{}; whether a Lease is needed is not known here", check.seen),
        ),
        (Election::Unknown, Verdict::Ok | Verdict::Skipped)
        | (Election::None | Election::Held | Election::Missing, _) => check,
    }
}

fn renewed_at(lease: Option<&Lease>) -> Option<Timestamp> {
    Some(lease?.spec.as_ref()?.renew_time.as_ref()?.0)
}

/// Judges the Lease: who holds it, and whether it is renewed in time.
fn judged(lease: Option<&Lease>, namespace: &str, name: &str, now: Timestamp) -> Check {
    let spec = lease.and_then(|lease| lease.spec.as_ref());
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).map(clean);
    let next = "see whether the operator's pods run, and their logs: they say why they do not lead";
    let Some(holder) = holder.filter(|holder| !holder.is_empty()) else {
        return Check::failed(
            LEADER,
            format!("nobody holds the Lease {namespace}/{name}"),
            format!("if it has just been installed, wait for 40 s; otherwise {next}"),
        );
    };
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
    let limit = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let limit = SignedDuration::from_secs(limit.into());
    let age = renewed.map(|renewed| now.duration_since(renewed));
    match age {
        Some(age) if age.abs() <= limit => Check::ok(LEADER, format!("{holder} holds the Lease {namespace}/{name}")),
        // A holder that has died since would look alive until then.
        Some(age) if age.is_negative() => Check::failed(
            LEADER,
            format!(
                "{holder} holds the Lease {namespace}/{name}, which was renewed {} in the future, by this clock, and not since",
                ago(age.abs())
            ),
            format!("compare the clocks of this machine and of the operator's node; {next}"),
        ),
        Some(age) => Check::failed(
            LEADER,
            format!(
                "{holder} holds the Lease {namespace}/{name} and has not renewed it for {}",
                ago(age)
            ),
            next,
        ),
        None => Check::failed(LEADER, format!("the Lease {namespace}/{name} was never renewed"), next),
    }
}

/// What is known of the accounts file.
pub(super) enum Told {
    /// There is none, or it is not seen from here.
    Nothing,
    Accounts(Accounts),
    /// The operator cannot read it.
    Broken,
}

/// Checks the accounts file, and that it names the namespaces with resources.
pub(super) async fn accounts(
    cluster: &Cluster,
    installation: &Installation,
    settings: &Doctor,
    namespaces: &[String],
) -> (Told, Vec<Check>) {
    let allowed = Allowed::of(settings, Some(installation));
    let (accounts, mut checks) = if settings.accounts.as_deref().unwrap_or_default().is_empty() {
        match of_config_map(cluster, installation).await {
            Ok(Some((name, text))) => parsed(&name, &text, &allowed),
            // The arguments of another process are not seen from here.
            Ok(None) if installation.is_partly_unknown || installation.is_this_process => {
                let said = "no accounts file is seen from here; if the operator has one, give it with --accounts";
                (Told::Nothing, vec![Check::skipped(ACCOUNTS, said)])
            }
            Ok(None) => {
                let said = "no accounts file: all namespaces use the operator's own AWS account";
                (Told::Nothing, vec![Check::ok(ACCOUNTS, said)])
            }
            Err(check) => (Told::Nothing, vec![check]),
        }
    } else {
        accounts_of_file(settings, &allowed).await
    };
    if let Told::Accounts(accounts) = &accounts {
        checks.extend(uncovered(accounts, namespaces));
    }
    (accounts, checks)
}

/// Reads the accounts file that the arguments name.
pub(super) async fn accounts_of_file(settings: &Doctor, allowed: &Allowed) -> (Told, Vec<Check>) {
    let Some(path) = settings.accounts.as_deref().filter(|path| !path.is_empty()) else {
        return (Told::Nothing, Vec::new());
    };
    match tokio::fs::read_to_string(path).await {
        Ok(text) => parsed(path, &text, allowed),
        Err(error) => {
            let next = "correct --accounts, or see that the file is mounted";
            (
                Told::Broken,
                vec![Check::failed(ACCOUNTS, format!("{path}: {error}"), next)],
            )
        }
    }
}

/// The regions that the operator allows beside those that this program knows.
pub(super) struct Allowed {
    regions: Vec<String>,
    /// Whether there are no others.
    is_all: bool,
}

impl Allowed {
    /// Returns those of the arguments, and those of the operator's Deployment.
    pub(super) fn of(settings: &Doctor, installation: Option<&Installation>) -> Self {
        let set = installation.map(|one| one.allowed_regions.as_deref());
        let regions = settings.allowed_region.iter().chain(set.flatten().unwrap_or_default());
        Self {
            regions: regions.filter(|region| !region.is_empty()).cloned().collect(),
            is_all: set != Some(None),
        }
    }
}

/// Returns all regions of the lists that an accounts file has, whether they exist or not.
fn regions_in(text: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct File {
        accounts: Vec<Entry>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Entry {
        regions: Option<Vec<String>>,
    }
    let file: File = serde_saphyr::from_str(text).unwrap_or_default();
    let lists = file.accounts.into_iter().filter_map(|entry| entry.regions);
    lists.flatten().collect()
}

fn parsed(name: &str, text: &str, allowed: &Allowed) -> (Told, Vec<Check>) {
    match Accounts::parse(text, &allowed.regions) {
        Ok(accounts) => {
            let check = Check::ok(ACCOUNTS, format!("{name}: entries: {}", accounts.len()));
            (Told::Accounts(accounts), vec![check])
        }
        // All that is wrong is a region, and the operator may allow it.
        Err(why)
            if !allowed.is_all
                && let Ok(accounts) = Accounts::parse(text, &regions_in(text)) =>
        {
            let said = format!("{name}: {why}; whether the operator does so is in settings that are not seen here");
            (Told::Accounts(accounts), vec![Check::skipped(ACCOUNTS, said)])
        }
        Err(why) => {
            let next =
                "correct it: the operator keeps the last file that it could read, and does not start with this one";
            (
                Told::Broken,
                vec![Check::failed(ACCOUNTS, format!("{name}: {why}"), next)],
            )
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
        Err(error) if is_denied(&error) => Err(Check::skipped(
            ACCOUNTS,
            format!("you may not read {shown}: {}", in_words(&error)),
        )),
        Err(error) => Err(Check::failed(
            ACCOUNTS,
            format!("{shown}: {}", in_words(&error)),
            cluster.caller.check_access(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{super::entry::tests::caller, Verdict},
        *,
    };

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
            // No two clocks are the same.
            (
                Some(lease("pod-1", "2026-11-22T10:01:02.000000Z")),
                Verdict::Ok,
                "pod-1 holds",
            ),
            (
                Some(lease("pod-1", "2026-11-22T13:01:00.000000Z")),
                Verdict::Failed,
                "renewed 3h in the future",
            ),
            (None, Verdict::Failed, "nobody holds"),
        ] {
            let check = judged(lease.as_ref(), "ops", "amplify-operator", now);
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert!(check.seen.contains(said), "{check:?}");
        }
    }

    #[test]
    fn a_lease_that_may_not_be_needed_accuses_nobody() {
        let wrong = || Check::failed(LEADER, "nobody holds the Lease ops/x", "see the pods");
        for (election, check, verdict) in [
            (Election::Held, wrong(), Verdict::Failed),
            (Election::Unknown, wrong(), Verdict::Skipped),
            (Election::Unknown, Check::ok(LEADER, "pod-1 holds"), Verdict::Ok),
        ] {
            let judged = as_far_as_known(check, election);
            assert_eq!(judged.verdict, verdict, "{election:?}");
            assert_eq!(judged.next_step.is_some(), verdict == Verdict::Failed, "{election:?}");
        }
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
    fn a_region_that_only_the_operator_allows_is_no_mistake_of_the_accounts_file() {
        let text = "accounts: [{name: a, namespaces: [shop], roleArn: 'arn:aws:iam::111111111111:role/x', regions: [eu-new-9]}]";
        let broken = "accounts: [{name: a, namespaces: [shop], roleArn: none, regions: [eu-new-9]}]";
        let regions = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (text, regions, is_all, verdict) in [
            (text, regions(&[]), true, Verdict::Failed),
            (text, regions(&["eu-new-9"]), true, Verdict::Ok),
            (text, regions(&[]), false, Verdict::Skipped),
            (broken, regions(&[]), false, Verdict::Failed),
        ] {
            let (told, checks) = parsed("ConfigMap ops/a", text, &Allowed { regions, is_all });
            assert_eq!(checks[0].verdict, verdict, "{checks:?}");
            assert_eq!(
                matches!(told, Told::Accounts(_)),
                verdict != Verdict::Failed,
                "{checks:?}"
            );
        }
    }

    #[test]
    fn definitions_are_the_same_if_their_schemas_are() {
        let ours = api::crds();
        assert!(is_same(&ours[0], &ours[0]));
        assert!(!is_same(&ours[0], &ours[1]));
    }

    #[test]
    fn definitions_are_well_if_the_operator_can_work_with_them() {
        let ours = api::crds();
        let established =
            json!({ "conditions": [{ "type": "Established", "status": "True", "lastTransitionTime": null }] });
        let judge = |change: &dyn Fn(&mut CustomResourceDefinition)| {
            let mut theirs = ours.clone();
            for one in &mut theirs {
                one.status = Some(serde_json::from_value(established.clone()).unwrap());
            }
            change(&mut theirs[0]);
            let theirs: Vec<_> = theirs.into_iter().map(Some).collect();
            let (is_served, check) = compared(&ours, &theirs, &caller());
            (is_served, check.verdict, check.seen)
        };
        let kind = ours[0].spec.names.kind.clone();
        let (is_served, verdict, _) = judge(&|_| {});
        assert_eq!((is_served, verdict), (true, Verdict::Ok));
        let (is_served, verdict, seen) = judge(&|one| one.spec.versions[0].subresources = None);
        assert_eq!((is_served, verdict), (true, Verdict::Failed));
        assert!(seen.contains("status subresource") && seen.ends_with(&kind), "{seen}");
        let (_, verdict, _) = judge(&|one| one.spec.scope = "Cluster".to_owned());
        assert_eq!(verdict, Verdict::Warning);
        let (is_served, verdict, seen) = judge(&|one| one.status = None);
        assert_eq!((is_served, verdict), (false, Verdict::Failed));
        assert!(seen.contains("not established"), "{seen}");
        let deleted = |one: &mut CustomResourceDefinition| {
            let metadata = json!({ "deletionTimestamp": "2026-11-22T10:00:00Z" });
            one.metadata = serde_json::from_value(metadata).unwrap();
        };
        let terminating = |one: &mut CustomResourceDefinition| {
            let mut status = established.clone();
            let condition = json!({ "type": "Terminating", "status": "True", "lastTransitionTime": null });
            status["conditions"].as_array_mut().unwrap().push(condition);
            one.status = Some(serde_json::from_value(status).unwrap());
        };
        for change in [&deleted as &dyn Fn(&mut CustomResourceDefinition), &terminating] {
            let (is_served, verdict, seen) = judge(change);
            assert_eq!((is_served, verdict), (true, Verdict::Failed));
            assert!(seen.starts_with("being deleted") && seen.ends_with(&kind), "{seen}");
        }
    }

    #[test]
    fn an_api_server_that_hides_its_version_answers_all_the_same() {
        for (code, is_there, verdict) in [
            (401, false, Verdict::Failed),
            (403, true, Verdict::Ok),
            (404, true, Verdict::Ok),
            (500, true, Verdict::Failed),
        ] {
            let status = json!({ "status": "Failure", "message": "no", "reason": "", "code": code });
            let error = Error::Api(serde_json::from_value(status).unwrap());
            let (found, check) = no_version(&error, &caller());
            assert_eq!((found, check.verdict), (is_there, verdict), "{code}: {check:?}");
        }
        assert!(!no_version(&Error::LinesCodecMaxLineLengthExceeded, &caller()).0);
    }
}
