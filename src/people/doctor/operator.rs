//! The check of the operator's Deployments: where they are, and whether they run. May do: list Deployments and pods.

use std::time::Duration;

use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::timeout;

use super::{
    Check, Verdict,
    checks::{VERSION, each, is_denied},
    deployment::{self, Deployment, Pod},
    installation::{self, Installation, Watched},
};
use crate::{
    api::text::clean,
    people::{
        cluster::{Cluster, quoted},
        entry::Caller,
    },
    telemetry::error::in_words,
};

pub(super) const OPERATOR: &str = "operator";
/// By this label the chart and the manifests mark the operator's objects.
const LABEL: &str = "app.kubernetes.io/name";
const NAME: &str = "amplify-operator";
/// The namespace that the manifests and the documentation use.
const USUAL: &str = "amplify-operator-system";
/// How many Deployments are checked. Whoever may make Deployments in a namespace can make some that look like the
/// operator.
const MOST: usize = 8;
/// How long Deployments without the label are searched.
const SEARCH: Duration = Duration::from_secs(15);
/// How many pods of a Deployment are asked what is wrong.
const PODS: u32 = 50;

/// What was found of the operator in the cluster.
pub(super) enum Found {
    /// These Deployments. Whether there is no doubt which of them is meant: whoever can make a Deployment chooses what a
    /// command in its pods prints.
    Deployments(Vec<Installation>, bool),
    /// There is none: this process stands for the operator.
    None,
    /// The user may not look for it.
    Unknown,
}

/// The Deployments that are the likeliest to be the operator, and how many there are.
#[derive(Default)]
struct Likeliest {
    kept: Vec<Deployment>,
    count: usize,
}

impl Likeliest {
    fn add(&mut self, deployment: Deployment) {
        self.count += 1;
        self.kept.push(deployment);
        if self.kept.len() > 4 * MOST {
            self.cut();
        }
    }

    /// Sorts them. Nobody chooses how old a Deployment is: an imitation comes after the operator that it imitates.
    fn cut(&mut self) {
        self.kept.sort_by_cached_key(|one| {
            let is_elsewhere = one.namespace().as_deref() != Some(USUAL);
            let made = one.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (is_elsewhere, !installation::is_operator(one), made, place(one))
        });
        self.kept.truncate(MOST);
    }
}

/// Looks for the operator's Deployments.
pub(super) async fn check(cluster: &Cluster, namespace: Option<&str>) -> (Found, Vec<Check>) {
    if is_operators_pod(cluster.in_pod, namespace) {
        let check = Check::ok(
            OPERATOR,
            format!("this process runs in a pod, version {VERSION}, and is checked in place of the operator"),
        );
        return (Found::None, vec![check]);
    }
    let api: Api<Deployment> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &deployment::deployments()),
        None => Api::all_with(cluster.client.clone(), &deployment::deployments()),
    };
    let (found, is_complete) = match search(&api).await {
        Ok(found) => found,
        Err(error) if is_denied(&error) => {
            let how = if namespace.is_none() {
                ": give its namespace with --namespace"
            } else {
                ""
            };
            let said = format!(
                "you may not look for its Deployment{how} ({}); its rights, leader, accounts and AWS are unchecked",
                in_words(&error)
            );
            return (Found::Unknown, vec![Check::skipped(OPERATOR, said)]);
        }
        Err(error) => {
            let next = cluster.caller.check_access();
            return (Found::Unknown, vec![Check::failed(OPERATOR, in_words(&error), next)]);
        }
    };
    let mut checks = Vec::new();
    if !is_complete {
        let said = format!("not all Deployments without the label {LABEL}={NAME} could be looked at");
        checks.push(Check::skipped(OPERATOR, said));
    }
    if found.kept.is_empty() {
        let within = namespace.map_or_else(
            || "in any namespace".to_owned(),
            |name| format!("in the namespace {name}"),
        );
        let said = format!("no Deployment {within} runs it; what follows is about this user and this shell");
        let next = "install the operator (docs/install.md), unless it runs elsewhere, such as on your machine";
        checks.push(Check::warning(OPERATOR, said, next));
        return (Found::None, checks);
    }
    let is_sure = namespace.is_some() || (found.count == 1 && is_complete);
    let mut installations = Vec::new();
    for deployment in &found.kept {
        let Some(installation) = Installation::of_deployment(deployment) else {
            checks.push(Check::failed(
                OPERATOR,
                format!("Deployment {} has no container", place(deployment)),
                "remove it, or install the operator (docs/install.md)",
            ));
            continue;
        };
        checks.extend(of_one(cluster, deployment, &installation, is_sure).await);
        installations.push(installation);
    }
    if let Some(more) = found.count.checked_sub(MOST).filter(|more| *more > 0) {
        let said = format!(
            "{more} more Deployments look like it and are not checked: give the namespace of yours with --namespace"
        );
        checks.push(Check::skipped(OPERATOR, said));
    }
    (Found::Deployments(installations, is_sure), checks)
}

/// Whether this process is checked in place of the operator, because it runs in a pod. With a namespace, the pod may be any,
/// such as that of a pipeline.
const fn is_operators_pod(in_pod: bool, namespace: Option<&str>) -> bool {
    in_pod && namespace.is_none()
}

/// Returns the Deployments with the label, and those without it that run the program; and whether all were looked at.
async fn search(api: &Api<Deployment>) -> kube::Result<(Likeliest, bool)> {
    let mut found = Likeliest::default();
    let labelled = ListParams::default().labels(&format!("{LABEL}={NAME}"));
    each(api, labelled, |one| found.add(one)).await?;
    let others = ListParams::default().labels(&format!("{LABEL}!={NAME}"));
    let others = each(api, others, |one| {
        if installation::is_operator(&one) {
            found.add(one);
        }
    });
    let is_complete = matches!(timeout(SEARCH, others).await, Ok(Ok(())));
    found.cut();
    Ok((found, is_complete))
}

fn place(deployment: &Deployment) -> String {
    format!(
        "{}/{}",
        deployment.namespace().unwrap_or_default(),
        deployment.name_any()
    )
}

/// Checks one Deployment: its settings, and whether its pods run.
async fn of_one(cluster: &Cluster, deployment: &Deployment, installation: &Installation, is_sure: bool) -> Vec<Check> {
    let mut check = judged(deployment, installation);
    if matches!(rollout(deployment), Rollout::None | Rollout::Some | Rollout::Behind) {
        let troubles = troubles(cluster, deployment).await;
        if !troubles.is_empty() {
            check.seen = format!("{}: {}", check.seen, troubles.join("; "));
        }
        let namespace = deployment.namespace().unwrap_or_default();
        check.next_step = Some(if is_sure {
            look_at_pods(deployment, installation, &cluster.caller)
        } else {
            yours(&cluster.caller, &namespace)
        });
    }
    let mut checks = vec![check];
    if !installation.faults.is_empty() {
        checks.push(Check::failed(
            OPERATOR,
            format!("Deployment {}: {}", place(deployment), installation.faults.join("; ")),
            "correct it: with this, the operator ends at its start",
        ));
    }
    checks
}

/// Returns the commands that show why the pods of a Deployment do not run.
fn look_at_pods(deployment: &Deployment, installation: &Installation, caller: &Caller) -> String {
    let namespace = quoted(&deployment.namespace().unwrap_or_default());
    let name = quoted(&deployment.name_any());
    let describe = caller.kubectl(&match deployment.spec.selector.text() {
        Some(pods) => format!("describe pods -n {namespace} -l {}", quoted(&pods)),
        None => format!("describe -n {namespace} deploy/{name}"),
    });
    let logs = caller.kubectl(&format!("logs -n {namespace} deploy/{name}{}", within(installation)));
    format!("run: {describe}; {logs}")
}

/// Returns the next step where it is in doubt whose Deployment this is.
fn yours(caller: &Caller, namespace: &str) -> String {
    let line = caller.line(&format!("doctor --namespace {}", quoted(namespace)));
    format!("if this one is yours, run: {line}")
}

/// Returns the flag that names the operator's container: kubectl takes the first one otherwise, which may be a sidecar.
fn within(installation: &Installation) -> String {
    let container = installation.container.as_deref();
    container.map_or_else(String::new, |name| format!(" -c {}", quoted(name)))
}

/// Says how to check the credentials of an operator that runs elsewhere. The command runs in its pods: it is printed only
/// if it is sure whose they are.
pub(super) fn aws_elsewhere(installation: &Installation, caller: &Caller, is_sure: bool) -> Check {
    let (namespace, name) = installation.deployment.clone().unwrap_or_default();
    let said = "credentials and region are those of the operator's pod";
    if !is_sure {
        return Check::skipped("aws", format!("{said}; {}", yours(caller, &namespace)));
    }
    let accounts = installation.accounts_file.as_deref();
    let mut flags = accounts.map_or_else(String::new, |file| format!(" --accounts {}", quoted(file)));
    // What the operator's arguments allow, its variables do not.
    for region in installation.allowed_regions.iter().flatten() {
        flags = format!("{flags} --allowed-region {}", quoted(region));
    }
    if installation.plain_http == Some(true) {
        flags.push_str(" --allow-plain-http");
    }
    let (namespace, name) = (quoted(&namespace), quoted(&name));
    let exec = caller.kubectl(&format!("exec -n {namespace} deploy/{name}{}", within(installation)));
    Check::skipped(
        "aws",
        format!("{said}; to check them, run: {exec} -- amplify-operator doctor{flags}"),
    )
}

/// How far the pods of a Deployment are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rollout {
    /// It is scaled to 0.
    Stopped,
    /// No pod is ready.
    None,
    /// Some are.
    Some,
    /// All are, and some of them are those before the last change.
    Behind,
    Done,
}

fn rollout(deployment: &Deployment) -> Rollout {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    // As `kubectl rollout status` judges.
    let is_behind = status.observed_generation < deployment.metadata.generation.unwrap_or_default()
        || status.updated_replicas < wanted
        || status.replicas > status.updated_replicas
        || status.available_replicas < status.updated_replicas;
    match status.ready_replicas {
        _ if wanted == 0 => Rollout::Stopped,
        0 => Rollout::None,
        ready if ready < wanted => Rollout::Some,
        _ if is_behind => Rollout::Behind,
        _ => Rollout::Done,
    }
}

/// Judges a Deployment by what is written in it.
fn judged(deployment: &Deployment, installation: &Installation) -> Check {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let ready = deployment.status.as_ref().map_or(0, |status| status.ready_replicas);
    let version = installation::version(deployment);
    let watched = match &installation.watched {
        Watched::All => "watches all namespaces".to_owned(),
        Watched::These(names) => format!("watches {}", names.join(", ")),
        Watched::Unknown => "which namespaces it watches is not known here".to_owned(),
    };
    let shown = match &version {
        Some((version, true)) => clean(version),
        Some((version, false)) => format!("{} by its label", clean(version)),
        None => "unknown".to_owned(),
    };
    let said = format!(
        "Deployment {}, version {shown}, {ready} of {wanted} pods ready, {watched}",
        place(deployment)
    );
    match rollout(deployment) {
        Rollout::Stopped => Check::failed(OPERATOR, said, "it is scaled to 0: scale it to 1"),
        Rollout::None => Check::failed(OPERATOR, said, "see why its pods do not run"),
        Rollout::Some => Check::warning(OPERATOR, said, "see why the others are not"),
        Rollout::Behind => {
            let said = format!("{said}; its last change is not rolled out");
            Check::warning(OPERATOR, said, "see why the new pods do not run")
        }
        Rollout::Done => match version.filter(|(version, _)| version != VERSION) {
            Some((version, _)) => {
                let next = format!(
                    "use the {} of this program to check it, or upgrade the older of the two",
                    clean(&version)
                );
                Check::warning(OPERATOR, format!("{said}; this program is {VERSION}"), next)
            }
            None if installation.watched == Watched::Unknown => Check {
                verdict: Verdict::Skipped,
                ..Check::ok(OPERATOR, said)
            },
            None => Check::ok(OPERATOR, said),
        },
    }
}

/// Returns why the pods of a Deployment do not run, in Kubernetes' words.
async fn troubles(cluster: &Cluster, deployment: &Deployment) -> Vec<String> {
    let namespace = deployment.namespace().unwrap_or_default();
    let Some(selector) = deployment.spec.selector.text() else {
        return Vec::new();
    };
    let api: Api<Pod> = Api::namespaced_with(cluster.client.clone(), &namespace, &deployment::pods());
    let params = ListParams::default().labels(&selector).limit(PODS);
    let pods = api.list(&params).await;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::super::entry::tests::caller, *};

    fn deployment(namespace: &str, made: &str, image: &str, status: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "x", "namespace": namespace, "creationTimestamp": made, "generation": 2 },
            "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_likeliest_operator_is_the_oldest_whatever_others_make() {
        let mut found = Likeliest::default();
        let add = |found: &mut Likeliest, namespace: &str, made: &str| {
            found.add(deployment(namespace, made, "amplify-operator:0.1.0", &json!({})));
        };
        for number in 0..100 {
            add(&mut found, &format!("a{number}"), "2026-11-20T00:00:00Z");
        }
        add(&mut found, "ops", "2026-01-01T00:00:00Z");
        for number in 0..100 {
            add(&mut found, &format!("b{number}"), "2026-11-20T00:00:00Z");
        }
        add(&mut found, USUAL, "2026-11-21T00:00:00Z");
        found.cut();
        let names: Vec<_> = found.kept.iter().take(2).map(place).collect();
        assert_eq!(names, [format!("{USUAL}/x"), "ops/x".to_owned()]);
        assert_eq!((found.kept.len(), found.count), (MOST, 202));
    }

    #[test]
    fn a_pod_is_the_operators_unless_a_namespace_says_where_that_is() {
        for (in_pod, namespace, wanted) in [
            (true, None, true),
            (true, Some("ops"), false),
            (false, None, false),
            (false, Some("ops"), false),
        ] {
            assert_eq!(is_operators_pod(in_pod, namespace), wanted, "{in_pod} {namespace:?}");
        }
    }

    #[test]
    fn an_operator_is_well_if_its_last_change_is_rolled_out() {
        let done = json!({ "observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
        let with = |changes: Value| {
            let mut status = done.clone();
            for (name, value) in changes.as_object().unwrap() {
                status[name] = value.clone();
            }
            status
        };
        for (status, wanted, verdict) in [
            (done.clone(), Rollout::Done, Verdict::Ok),
            (json!(null), Rollout::None, Verdict::Failed),
            (with(json!({ "readyReplicas": 0 })), Rollout::None, Verdict::Failed),
            // The new pod waits, and the old one is ready.
            (with(json!({ "replicas": 2 })), Rollout::Behind, Verdict::Warning),
            (with(json!({ "updatedReplicas": 0 })), Rollout::Behind, Verdict::Warning),
            (
                with(json!({ "observedGeneration": 1 })),
                Rollout::Behind,
                Verdict::Warning,
            ),
            (
                with(json!({ "availableReplicas": 0 })),
                Rollout::Behind,
                Verdict::Warning,
            ),
        ] {
            let found = deployment(
                "ops",
                "2026-11-20T00:00:00Z",
                &format!("amplify-operator:{VERSION}"),
                &status,
            );
            let check = judged(&found, &Installation::of_deployment(&found).unwrap());
            assert_eq!((rollout(&found), check.verdict), (wanted, verdict), "{status}");
        }
    }

    #[test]
    fn the_commands_that_show_the_pods_lead_to_the_same_cluster() {
        let mut found = deployment("ops", "2026-11-20T00:00:00Z", "amplify-operator:0.1.0", &json!({}));
        found.spec.selector.match_labels = [("app".to_owned(), "x".to_owned())].into();
        let other = Caller {
            flags: " --context other".to_owned(),
            ..caller()
        };
        let installation = Installation::of_deployment(&found).unwrap();
        assert_eq!(
            look_at_pods(&found, &installation, &other),
            "run: kubectl describe pods -n ops -l app=x --context other; kubectl logs -n ops deploy/x -c main --context other"
        );
        let said = aws_elsewhere(&installation, &other, true).seen;
        assert!(
            said.ends_with("run: kubectl exec -n ops deploy/x -c main --context other -- amplify-operator doctor"),
            "{said}"
        );
        let allows = Installation {
            allowed_regions: Some(vec!["eu-new-1".to_owned(), "$(x)".to_owned()]),
            plain_http: Some(true),
            ..installation.clone()
        };
        let said = aws_elsewhere(&allows, &caller(), true).seen;
        let wanted = "-- amplify-operator doctor --allowed-region eu-new-1 --allowed-region '$(x)' --allow-plain-http";
        assert!(said.ends_with(wanted), "{said}");
        // An empty selector would show the pods of others.
        found.spec.selector.match_labels.clear();
        assert_eq!(
            look_at_pods(&found, &installation, &caller()),
            "run: kubectl describe -n ops deploy/x; kubectl logs -n ops deploy/x -c main"
        );
    }

    #[test]
    fn a_version_is_the_image_s_and_what_is_not_known_is_not_said() {
        let done = json!({ "observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1 });
        let said = |image: &str, from: Value| {
            let mut found = deployment("ops", "2026-11-20T00:00:00Z", image, &done);
            let label = ("app.kubernetes.io/version".to_owned(), VERSION.to_owned());
            found.metadata.labels = Some([label].into());
            found.spec.template.spec.containers[0].env_from = serde_json::from_value(from).unwrap();
            let check = judged(&found, &Installation::of_deployment(&found).unwrap());
            format!("{:?} {}", check.verdict, check.seen)
        };
        let ours = format!("amplify-operator:{VERSION}");
        for (image, from, words) in [
            (
                ours.as_str(),
                json!([]),
                "Ok Deployment ops/x, version VERSION, 1 of 1 pods ready, watches all namespaces",
            ),
            (
                "amplify-operator:9.9.9",
                json!([]),
                "Warning Deployment ops/x, version 9.9.9, ",
            ),
            (
                "amplify-operator:latest",
                json!([]),
                "Ok Deployment ops/x, version VERSION by its label, ",
            ),
            (
                &ours,
                json!([{}]),
                "Skipped Deployment ops/x, version VERSION, 1 of 1 pods ready, which namespaces it watches is not known here",
            ),
        ] {
            let said = said(image, from);
            assert!(
                said.starts_with(&words.replace("VERSION", VERSION)),
                "{said}, and not {words}"
            );
        }
    }
}
