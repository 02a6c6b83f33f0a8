//! How an operator is installed, read from its Deployment or from this process. May do: read this process's variables.
//!
//! Whoever may write a Deployment writes these texts. So nothing here grows beyond [`LONGEST`], and a text that is no
//! name leads to no request.

use std::{collections::BTreeMap, env, path::Path};

use clap::ArgAction;
use kube::ResourceExt as _;

use super::deployment::{Container, Deployment, PodSpec};
use crate::{
    api::{
        rules::{is_config_map_key, is_namespace, is_object_name},
        text,
    },
    cli, leader,
    people::cluster::Cluster,
};

/// How many bytes the arguments and variables of a container may have together. Linux starts no process with more than
/// a few megabytes, and a dozen variables that name each other ten times each would be gigabytes.
const LONGEST: usize = 1 << 20;
/// How many bytes of a wrong value are shown.
const SHOWN: usize = 64;
/// The name of the program and of its image, whatever the registry.
const PROGRAM: &str = "amplify-operator";
/// How the names of the program's variables begin.
const VARIABLES: &str = "AMPLIFY_OPERATOR_";

/// Leader election, as far as it is known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Election {
    /// One process works, without election.
    #[default]
    None,
    /// The processes elect a leader.
    Held,
    /// Several processes run without one. Each would do the same work.
    Missing,
    /// The settings are where this process does not see them.
    Unknown,
}

/// The namespaces that an operator watches, as far as they are known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Watched {
    All,
    These(Vec<String>),
    /// The setting is where this process does not see it, or the operator refuses it.
    #[default]
    Unknown,
}

/// How the operator is installed, as far as the checks need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Installation {
    /// Whether this process stands for the operator: it runs in its pod, or there is no Deployment.
    pub(super) is_this_process: bool,
    /// The namespace and name of the Deployment.
    pub(super) deployment: Option<(String, String)>,
    /// The container of the operator. Its pods may have others.
    pub(super) container: Option<String>,
    pub(super) service_account: Option<String>,
    pub(super) watched: Watched,
    pub(super) election: Election,
    /// The namespace and name of the Lease. `None`: not known.
    pub(super) lease: Option<(String, String)>,
    /// The path of its accounts file.
    pub(super) accounts_file: Option<String>,
    /// The name and key of the ConfigMap that is mounted there.
    pub(super) accounts_from: Option<(String, String)>,
    /// The regions that it allows beside those that the program knows. `None`: not known.
    pub(super) allowed_regions: Option<Vec<String>>,
    /// Whether it allows plain HTTP to AWS. `None`: not known.
    pub(super) plain_http: Option<bool>,
    /// Whether settings come from where this process does not look, such as a Secret.
    pub(super) is_partly_unknown: bool,
    /// The settings that the operator refuses at its start.
    pub(super) faults: Vec<String>,
    /// Whether no pod of it shall run.
    pub(super) is_stopped: bool,
}

impl Installation {
    /// Returns the installation that this process would be.
    pub(super) fn of_this_process(cluster: &Cluster) -> Self {
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let pod = variable("POD_NAMESPACE");
        let asked = variable("AMPLIFY_OPERATOR_LEASE_NAMESPACE");
        let mut faults = Vec::new();
        let election = match variable("AMPLIFY_OPERATOR_LEADER_ELECT").map(|value| (switch(&value), value)) {
            Some((Some(true), _)) => Election::Held,
            Some((Some(false), _)) => Election::None,
            Some((None, value)) => {
                faults.push(not_a_switch("leader-elect", &value));
                Election::Unknown
            }
            // In a pod, the flag may stand in its arguments. Elsewhere, this is the shell's process and not the
            // operator's. Neither is seen here.
            None => Election::Unknown,
        };
        let named: Vec<_> = variable("AMPLIFY_OPERATOR_WATCH_NAMESPACE").into_iter().collect();
        Self {
            is_this_process: true,
            watched: watched(Some(&named), &mut faults),
            election,
            lease: lease(
                Some(leader::namespace(asked, pod, cluster.context_namespace())),
                Some(variable("AMPLIFY_OPERATOR_LEASE_NAME").unwrap_or_else(|| leader::LEASE.to_owned())),
                &mut faults,
            ),
            // The arguments of this command are to be those of the operator.
            allowed_regions: Some(Vec::new()),
            plain_http: Some(false),
            faults,
            ..Self::default()
        }
    }

    /// Returns the installation that a Deployment describes.
    pub(super) fn of_deployment(deployment: &Deployment) -> Option<Self> {
        let namespace = deployment.namespace()?;
        let spec = &deployment.spec;
        let pod = &spec.template.spec;
        let container = operator_of(pod)?;
        let set = Settings::of(container, &namespace);
        let mut faults = set.repeated();
        if set.is_too_long {
            faults.push(format!(
                "its arguments and variables are more than {LONGEST} bytes together: no process starts with them"
            ));
        }
        let accounts = set.values("accounts");
        let accounts_file = accounts.as_ref().and_then(|values| values.last().cloned());
        let accounts_from = accounts_file.as_deref().and_then(|file| mounted(pod, container, file));
        if let Some((name, key)) = &accounts_from
            && !(is_object_name(name) && is_config_map_key(key))
        {
            faults.push(format!(
                "the accounts file is mounted from the ConfigMap {:?}, key {:?}: no ConfigMap has such a name and key",
                text::shortened(name, SHOWN),
                text::shortened(key, SHOWN)
            ));
        }
        let election = match set.switch("leader-elect", &mut faults) {
            Some(true) => Election::Held,
            Some(false) if spec.replicas.unwrap_or(1) > 1 => Election::Missing,
            Some(false) => Election::None,
            None => Election::Unknown,
        };
        let lease_name = set
            .values("lease-name")
            .map(|values| values.last().cloned().unwrap_or_else(|| leader::LEASE.to_owned()));
        let lease_namespace = set
            .values("lease-namespace")
            .map(|values| values.last().cloned().unwrap_or_else(|| namespace.clone()));
        Some(Self {
            is_this_process: false,
            service_account: Some(pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned())),
            watched: watched(set.values("watch-namespace").as_deref(), &mut faults),
            election,
            lease: lease(lease_namespace, lease_name, &mut faults),
            deployment: Some((namespace, deployment.name_any())),
            container: Some(container.name.clone()).filter(|name| !name.is_empty()),
            accounts_file,
            accounts_from: accounts_from.filter(|(name, key)| is_object_name(name) && is_config_map_key(key)),
            allowed_regions: set.values("allowed-region").map(|values| parts(&values)),
            plain_http: set.switch("allow-plain-http", &mut faults),
            is_partly_unknown: accounts.is_none(),
            faults,
            is_stopped: spec.replicas == Some(0),
        })
    }

    /// Returns the user that the operator is for the API server. `None`: this process's own.
    pub(super) fn user(&self) -> Option<String> {
        let (namespace, _) = self.deployment.as_ref()?;
        let account = self.service_account.as_ref()?;
        Some(format!("system:serviceaccount:{namespace}:{account}"))
    }

    /// Whether it watches a namespace, or may do so.
    pub(super) fn watches(&self, namespace: &str) -> bool {
        match &self.watched {
            Watched::All | Watched::Unknown => true,
            Watched::These(names) => names.iter().any(|watched| watched == namespace),
        }
    }

    /// Returns those of the namespaces that it watches.
    pub(super) fn of(&self, namespaces: &[String]) -> Vec<String> {
        namespaces
            .iter()
            .filter(|namespace| self.watches(namespace))
            .cloned()
            .collect()
    }

    /// Returns how people call it.
    pub(super) fn name(&self) -> String {
        self.deployment.as_ref().map_or_else(
            || "this process".to_owned(),
            |(namespace, name)| format!("{namespace}/{name}"),
        )
    }
}

/// Whether a Deployment runs this program, whatever its labels: the chart's nameOverride changes them, and a mirror of
/// images changes the registry.
pub(super) fn is_operator(deployment: &Deployment) -> bool {
    deployment.spec.template.spec.containers.iter().any(is_program)
}

fn is_program(container: &Container) -> bool {
    let is_ours = |name: &str| name.starts_with(VARIABLES);
    let image = container.image.as_deref().unwrap_or_default();
    name_of_image(image) == PROGRAM || container.env.iter().any(|one| is_ours(&one.name))
}

/// Returns the container of the operator. Sidecars may stand before it.
fn operator_of(pod: &PodSpec) -> Option<&Container> {
    let containers = &pod.containers;
    containers
        .iter()
        .find(|container| is_program(container))
        .or_else(|| containers.iter().find(|container| container.name.contains("operator")))
        .or_else(|| containers.first())
}

/// Returns the last part of the name of an image: no registry, no tag, no digest.
fn name_of_image(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// Returns the version of the operator that a Deployment runs, and whether that is its image's and not only its
/// label's. A tag such as `latest` is no version.
pub(super) fn version(deployment: &Deployment) -> Option<(String, bool)> {
    let container = operator_of(&deployment.spec.template.spec)?;
    let image = container.image.as_deref().unwrap_or_default();
    let last = image.split('@').next().unwrap_or_default().rsplit('/').next()?;
    let tag = last
        .split_once(':')
        .map(|(_, tag)| tag.strip_prefix('v').unwrap_or(tag));
    let of_image = tag.filter(|tag| tag.starts_with(|c: char| c.is_ascii_digit()) && tag.contains('.'));
    let of_label = || Some(deployment.labels().get("app.kubernetes.io/version")?.clone());
    of_image
        .map(|tag| (tag.to_owned(), true))
        .or_else(|| Some((of_label()?, false)))
}

/// The variables of a container, as far as they are known.
#[derive(Default)]
struct Variables {
    /// `None`: the value is where this process does not look.
    values: BTreeMap<String, Option<String>>,
    /// Whether there may be more of them.
    has_others: bool,
    /// How many bytes more may be made.
    room: usize,
    is_too_long: bool,
}

impl Variables {
    /// Returns the text as Kubernetes hands it to the process: `$(NAME)` is the variable's value, and `$$` is `$`. `None`:
    /// not known.
    fn expanded(&mut self, text: &str) -> Option<String> {
        let mut made = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            made.push_str(before);
            rest = after;
            if let Some(after) = after.strip_prefix('$') {
                made.push('$');
                rest = after;
            } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                match self.values.get(name) {
                    Some(value) => made.push_str(value.as_deref()?),
                    None if self.has_others => return None,
                    None => made.extend(["$(", name, ")"]),
                }
                rest = after;
            } else {
                made.push('$');
            }
            if made.len() > self.room {
                break;
            }
        }
        made.push_str(rest);
        let Some(room) = self.room.checked_sub(made.len()) else {
            self.is_too_long = true;
            self.room = 0;
            return None;
        };
        self.room = room;
        Some(made)
    }
}

/// A word of a command line.
struct Word {
    written: String,
    /// `None`: not known.
    text: Option<String>,
}

/// The flags and variables of a container.
struct Settings {
    words: Vec<Word>,
    variables: BTreeMap<String, Option<String>>,
    /// Whether flags or variables come from where this process does not look.
    has_others: bool,
    /// Whether the words are those of another program, such as a shell.
    is_wrapped: bool,
    is_too_long: bool,
}

impl Settings {
    fn of(container: &Container, namespace: &str) -> Self {
        let mut variables = Variables {
            has_others: !container.env_from.is_empty(),
            room: LONGEST,
            ..Variables::default()
        };
        for one in &container.env {
            let field = one.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
            let value = if field.is_some_and(|field| field.field_path == "metadata.namespace") {
                Some(namespace.to_owned())
            } else if one.value_from.is_some() {
                None
            } else {
                variables.expanded(one.value.as_deref().unwrap_or_default())
            };
            variables.values.insert(one.name.clone(), value);
        }
        let words = container.command.iter().chain(&container.args);
        let words = words.map(|word| Word {
            text: variables.expanded(word),
            written: word.clone(),
        });
        let words: Vec<_> = words.collect();
        // Another program, such as a shell, starts the operator with arguments of its own.
        let first = container.command.first();
        let is_wrapped = first.is_some_and(|first| first.rsplit('/').next() != Some(PROGRAM));
        Self {
            words,
            has_others: variables.has_others || is_wrapped || variables.is_too_long,
            is_wrapped,
            is_too_long: variables.is_too_long,
            variables: variables.values,
        }
    }

    /// Returns a fault for each flag that is given more often than the program accepts it: the chart's own flag and one of
    /// its extraArgs.
    fn repeated(&self) -> Vec<String> {
        let definition = cli::definition();
        let Some(run) = definition.find_subcommand("run").filter(|_| !self.is_wrapped) else {
            return Vec::new();
        };
        let single = run
            .get_arguments()
            .filter(|one| !matches!(one.get_action(), ArgAction::Append | ArgAction::Count));
        let faults = single.filter_map(|one| {
            let flag = one.get_long()?;
            let is_it = |word: &&Word| {
                let text = word.text.as_ref().unwrap_or(&word.written);
                let rest = text.strip_prefix("--").and_then(|text| text.strip_prefix(flag));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            };
            let count = self.words.iter().filter(is_it).count();
            (count > 1).then(|| format!("--{flag} is among its arguments {count} times, and may be there once"))
        });
        faults.collect()
    }

    /// Returns the values of a flag in the arguments, otherwise that of its variable. `None`: not known.
    fn values(&self, flag: &str) -> Option<Vec<String>> {
        let (long, assigned) = (format!("--{flag}"), format!("--{flag}="));
        let mut values = Vec::new();
        let mut words = self.words.iter();
        while let Some(word) = words.next() {
            let Some(text) = &word.text else {
                // It may be this flag.
                if word.written.starts_with(&assigned) || word.written.starts_with('$') {
                    return None;
                }
                continue;
            };
            if *text == long {
                values.push(words.next()?.text.clone()?);
            } else if let Some(value) = text.strip_prefix(&assigned) {
                values.push(value.to_owned());
            }
        }
        if values.is_empty() {
            values.extend(self.variable(flag)?);
        }
        values.retain(|value| !value.is_empty());
        Some(values)
    }

    /// Returns the value of a flag's variable, if it is set. `None`: not known.
    #[expect(clippy::option_option, reason = "not known is not the same as not set")]
    fn variable(&self, flag: &str) -> Option<Option<String>> {
        match self.variables.get(&variable_of(flag)) {
            Some(value) => Some(Some(value.clone()?)),
            None if self.has_others => None,
            None => Some(None),
        }
    }

    /// Returns whether a switch is on. `None`: not known, or the operator refuses it.
    fn switch(&self, flag: &str, faults: &mut Vec<String>) -> Option<bool> {
        let long = format!("--{flag}");
        for word in &self.words {
            match &word.text {
                Some(text) if *text == long => return Some(true),
                Some(text) if text.strip_prefix(&long).is_some_and(|rest| rest.starts_with('=')) => {
                    faults.push(format!("{:?}: the flag takes no value", text::shortened(text, SHOWN)));
                    return None;
                }
                None if word.written.starts_with('$') => return None,
                _ => {}
            }
        }
        match self.variable(flag)? {
            None => Some(false),
            Some(value) => {
                let is_on = switch(&value);
                if is_on.is_none() {
                    faults.push(not_a_switch(flag, &value));
                }
                is_on
            }
        }
    }
}

/// Returns the name of a flag's variable.
fn variable_of(flag: &str) -> String {
    format!("{VARIABLES}{}", flag.replace('-', "_").to_uppercase())
}

/// Reads the value of a switch's variable as the program does.
fn switch(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn not_a_switch(flag: &str, value: &str) -> String {
    let value = text::shortened(value, SHOWN);
    format!("{} is {value:?}, which is neither true nor false", variable_of(flag))
}

/// Returns the parts of comma-separated lists.
fn parts(lists: &[String]) -> Vec<String> {
    let parts = lists.iter().flat_map(|list| list.split(','));
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// Reads the namespaces to watch as the program does. `None`: not known.
fn watched(values: Option<&[String]>, faults: &mut Vec<String>) -> Watched {
    let Some(values) = values else {
        return Watched::Unknown;
    };
    let mut names: Vec<String> = Vec::new();
    for value in values {
        let mut parts = value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .peekable();
        let is_empty = parts.peek().is_none();
        if let Some(odd) = parts
            .clone()
            .find(|name| !is_namespace(name))
            .or_else(|| is_empty.then_some(value.as_str()))
        {
            let odd = text::shortened(odd, SHOWN);
            faults.push(format!("--watch-namespace has {odd:?}, which is no namespace's name"));
            return Watched::Unknown;
        }
        names.extend(parts.map(ToOwned::to_owned));
    }
    if names.is_empty() {
        return Watched::All;
    }
    names.sort_unstable();
    names.dedup();
    Watched::These(names)
}

/// Returns the namespace and name of the Lease, if both are known and can be such.
fn lease(namespace: Option<String>, name: Option<String>, faults: &mut Vec<String>) -> Option<(String, String)> {
    let mut valid = |flag, text: Option<String>, is_valid: fn(&str) -> bool, of| {
        let text = text?;
        if is_valid(&text) {
            return Some(text);
        }
        let odd = text::shortened(&text, SHOWN);
        faults.push(format!("{flag} is {odd:?}, which is no {of}'s name"));
        None
    };
    let namespace = valid("--lease-namespace", namespace, is_namespace, "namespace");
    let name = valid("--lease-name", name, is_object_name, "Lease");
    namespace.zip(name)
}

/// Returns the ConfigMap and its key that a container has at this path.
fn mounted(pod: &PodSpec, container: &Container, file: &str) -> Option<(String, String)> {
    let mounts = container.volume_mounts.iter();
    let inside = mounts.filter_map(|mount| Some((mount, Path::new(file).strip_prefix(&mount.mount_path).ok()?)));
    // The longest path is the one that counts.
    let (mount, rest) = inside.max_by_key(|(mount, _)| mount.mount_path.len())?;
    let path = match mount.sub_path.as_deref().filter(|path| !path.is_empty()) {
        Some(sub) => Path::new(sub).join(rest),
        None => rest.to_owned(),
    };
    let path = path.to_str()?.trim_end_matches('/').to_owned();
    let mut volumes = pod.volumes.iter();
    let source = volumes.find(|volume| volume.name == mount.name)?.config_map.as_ref()?;
    let mut items = source.items.iter();
    let key = items
        .find(|item| item.path == path)
        .map_or_else(|| path.clone(), |item| item.key.clone());
    Some((source.name.clone(), key))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(pod: &Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": "amplify-operator", "namespace": "ops" },
            "spec": { "selector": {}, "template": { "spec": pod } },
        }))
        .unwrap()
    }

    #[test]
    fn a_deployment_says_how_the_operator_runs() {
        let found = Installation::of_deployment(&deployment(&json!({
            "serviceAccountName": "operator",
            "containers": [{ "name": "proxy", "image": "sidecar" }, {
                "name": "operator",
                "args": ["--accounts=/etc/accounts/accounts.yaml", "--leader-elect", "--lease-name=platform", "--watch-namespace", "$(POD_NAMESPACE)"],
                "env": [
                    { "name": "POD_NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
                    { "name": "AMPLIFY_OPERATOR_LEASE_NAMESPACE", "value": "leases" },
                ],
                "volumeMounts": [{ "name": "files", "mountPath": "/etc/accounts" }],
            }],
            "volumes": [{ "name": "files", "configMap": { "name": "mine" } }],
        })))
        .unwrap();
        let wanted = Installation {
            is_this_process: false,
            deployment: Some(("ops".to_owned(), "amplify-operator".to_owned())),
            container: Some("operator".to_owned()),
            service_account: Some("operator".to_owned()),
            watched: Watched::These(vec!["ops".to_owned()]),
            election: Election::Held,
            lease: Some(("leases".to_owned(), "platform".to_owned())),
            accounts_file: Some("/etc/accounts/accounts.yaml".to_owned()),
            accounts_from: Some(("mine".to_owned(), "accounts.yaml".to_owned())),
            allowed_regions: Some(Vec::new()),
            plain_http: Some(false),
            is_partly_unknown: false,
            faults: Vec::new(),
            is_stopped: false,
        };
        assert_eq!(found, wanted);
        assert_eq!(found.user().as_deref(), Some("system:serviceaccount:ops:operator"));
    }

    #[test]
    fn that_nobody_is_elected_is_said_only_where_it_is_known() {
        let election = |replicas: i32, container: &Value| {
            let mut container = container.clone();
            container["name"] = json!("operator");
            let mut deployment = deployment(&json!({ "containers": [container] }));
            deployment.spec.replicas = Some(replicas);
            Installation::of_deployment(&deployment).unwrap().election
        };
        let variable = |value: &str| json!({ "env": [{ "name": "AMPLIFY_OPERATOR_LEADER_ELECT", "value": value }] });
        for (replicas, container, wanted) in [
            (1, json!({}), Election::None),
            (3, json!({}), Election::Missing),
            (3, json!({ "args": ["--leader-elect"] }), Election::Held),
            (
                3,
                json!({ "command": ["amplify-operator", "run", "--leader-elect"] }),
                Election::Held,
            ),
            (3, variable("yes"), Election::Held),
            (3, variable("0"), Election::Missing),
            (
                3,
                json!({ "envFrom": [{ "configMapRef": { "name": "settings" } }] }),
                Election::Unknown,
            ),
            (
                1,
                json!({ "env": [{ "name": "AMPLIFY_OPERATOR_LEADER_ELECT", "valueFrom": { "configMapKeyRef": { "name": "a", "key": "b" } } }] }),
                Election::Unknown,
            ),
        ] {
            assert_eq!(election(replicas, &container), wanted, "{replicas} {container}");
        }
    }

    #[test]
    fn a_file_of_a_config_map_is_found_where_it_is_mounted() {
        let from = |mount: Value, config_map: Value| {
            let pod = json!({
                "containers": [{ "name": "operator", "volumeMounts": [{ "name": "root", "mountPath": "/etc" }, mount] }],
                "volumes": [{ "name": "root", "configMap": { "name": "other" } }, { "name": "files", "configMap": config_map }],
            });
            let pod: PodSpec = serde_json::from_value(pod).unwrap();
            mounted(&pod, &pod.containers[0], "/etc/amplify/accounts.yaml")
        };
        let wanted = |key: &str| Some(("mine".to_owned(), key.to_owned()));
        let plain = json!({ "name": "mine" });
        let folder = json!({ "name": "files", "mountPath": "/etc/amplify" });
        assert_eq!(from(folder.clone(), plain.clone()), wanted("accounts.yaml"));
        let items = json!({ "name": "mine", "items": [{ "key": "a", "path": "accounts.yaml" }] });
        assert_eq!(from(folder, items), wanted("a"));
        let file = json!({ "name": "files", "mountPath": "/etc/amplify/accounts.yaml", "subPath": "a.yaml" });
        assert_eq!(from(file, plain), wanted("a.yaml"));
    }

    #[test]
    fn what_an_operator_allows_is_said_only_where_it_is_known() {
        let regions = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let plain = json!([{ "name": "AMPLIFY_OPERATOR_ALLOW_PLAIN_HTTP", "value": "true" }]);
        let region = json!([{ "name": "AMPLIFY_OPERATOR_ALLOWED_REGION", "value": "eu-new-1, eu-new-2," }]);
        for (container, wanted) in [
            (json!({}), (regions(&[]), Some(false))),
            (
                json!({ "args": ["--allow-plain-http", "--allowed-region", "eu-new-1"] }),
                (regions(&["eu-new-1"]), Some(true)),
            ),
            (json!({ "env": plain }), (regions(&[]), Some(true))),
            (
                json!({ "env": region }),
                (regions(&["eu-new-1", "eu-new-2"]), Some(false)),
            ),
            (
                json!({ "envFrom": [{ "secretRef": { "name": "settings" } }] }),
                (None, None),
            ),
        ] {
            let found = Installation::of_deployment(&deployment(&json!({ "containers": [container] }))).unwrap();
            assert_eq!((found.allowed_regions, found.plain_http), wanted, "{container}");
        }
    }

    #[test]
    fn what_an_operator_watches_is_said_only_where_it_is_known() {
        let these = |names: &[&str]| Watched::These(names.iter().map(|name| (*name).to_owned()).collect());
        let variable = |value: &str| json!([{ "name": "AMPLIFY_OPERATOR_WATCH_NAMESPACE", "value": value }]);
        let elsewhere = json!({ "configMapKeyRef": { "name": "a", "key": "b" } });
        let unseen = json!([{ "name": "AMPLIFY_OPERATOR_WATCH_NAMESPACE", "valueFrom": elsewhere }]);
        let other = json!([{ "name": "NS", "valueFrom": elsewhere }]);
        let from = json!([{ "secretRef": { "name": "settings" } }]);
        for (container, wanted) in [
            (json!({}), Watched::All),
            (json!({ "env": variable("") }), Watched::All),
            (json!({ "env": variable("b, a,,b") }), these(&["a", "b"])),
            (
                json!({ "args": ["--watch-namespace=a", "--watch-namespace", "b"], "env": variable("c") }),
                these(&["a", "b"]),
            ),
            (json!({ "env": unseen }), Watched::Unknown),
            (json!({ "env": unseen, "args": ["--watch-namespace=a"] }), these(&["a"])),
            (json!({ "envFrom": from }), Watched::Unknown),
            (json!({ "envFrom": from, "env": variable("a") }), these(&["a"])),
            (
                json!({ "env": other, "args": ["--watch-namespace", "$(NS)"] }),
                Watched::Unknown,
            ),
            (
                json!({ "env": other, "args": ["--watch-namespace=$(NS)"] }),
                Watched::Unknown,
            ),
            (json!({ "env": other, "args": ["$(NS)"] }), Watched::Unknown),
            (json!({ "env": other, "args": ["--accounts=$(NS)"] }), Watched::All),
            (json!({ "command": ["/amplify-operator"] }), Watched::All),
            (
                json!({ "command": ["sh", "-c", "exec amplify-operator"] }),
                Watched::Unknown,
            ),
        ] {
            let found = Installation::of_deployment(&deployment(&json!({ "containers": [container] }))).unwrap();
            assert_eq!(found.watched, wanted, "{container}");
            assert_eq!(found.faults, Vec::<String>::new(), "{container}");
        }
    }

    #[test]
    fn a_setting_that_the_operator_refuses_is_a_fault_and_leads_to_no_request() {
        let volume = |name: &str| json!([{ "name": "files", "configMap": { "name": name } }]);
        let mount = json!([{ "name": "files", "mountPath": "/etc/a" }]);
        let set = |name: &str, value: &str| json!({ "env": [{ "name": name, "value": value }] });
        let accounts = json!({ "args": ["--accounts=/etc/a/b"], "volumeMounts": mount });
        let none = json!([]);
        for (container, volumes, said) in [
            (set("AMPLIFY_OPERATOR_LEADER_ELECT", "maybe"), none.clone(), "\"maybe\""),
            (
                json!({ "args": ["--leader-elect=true"] }),
                none.clone(),
                "takes no value",
            ),
            (
                set("AMPLIFY_OPERATOR_WATCH_NAMESPACE", "a,A_b"),
                none.clone(),
                "\"A_b\"",
            ),
            (set("AMPLIFY_OPERATOR_WATCH_NAMESPACE", " ,"), none.clone(), "\" ,\""),
            (
                json!({ "args": ["--leader-elect", "--leader-elect"] }),
                none.clone(),
                "--leader-elect is among its arguments 2 times",
            ),
            (
                json!({ "command": ["/amplify-operator", "run"], "args": ["--lease-name=amplify-operator", "--lease-name", "amplify-operator"] }),
                none.clone(),
                "--lease-name is among its arguments 2 times",
            ),
            (
                json!({ "args": ["--log-format=$(FORMAT)", "--log-format=json"], "env": [{ "name": "FORMAT", "valueFrom": {} }] }),
                none.clone(),
                "--log-format is among its arguments 2 times",
            ),
            (
                json!({ "args": ["--lease-namespace=../../x?y=z"] }),
                none.clone(),
                "\"../../x?y=z\"",
            ),
            (
                set("AMPLIFY_OPERATOR_LEASE_NAME", "Platform_1"),
                none.clone(),
                "\"Platform_1\"",
            ),
            (accounts.clone(), volume("../../../secrets/x"), "\"../../../secrets/x\""),
            (accounts.clone(), volume("?limit=1"), "\"?limit=1\""),
        ] {
            let pod = json!({ "containers": [container], "volumes": volumes });
            let found = Installation::of_deployment(&deployment(&pod)).unwrap();
            assert_eq!(found.faults.len(), 1, "{pod}: {found:?}");
            assert!(found.faults[0].contains(said), "{pod}: {found:?}");
            assert_eq!(found.accounts_from, None, "{pod}: {found:?}");
            let of = found
                .lease
                .unwrap_or_else(|| ("ops".to_owned(), "amplify-operator".to_owned()));
            assert_eq!((of.0.as_str(), of.1.as_str()), ("ops", "amplify-operator"), "{pod}");
        }
        let pod = json!({ "containers": [accounts], "volumes": volume("fine") });
        let found = Installation::of_deployment(&deployment(&pod)).unwrap();
        assert_eq!(found.accounts_from, Some(("fine".to_owned(), "b".to_owned())));
    }

    #[test]
    fn variables_are_replaced_as_kubernetes_does_it() {
        let mut variables = Variables {
            room: LONGEST,
            ..Variables::default()
        };
        variables.values.insert("A".to_owned(), Some("$(B)x".to_owned()));
        variables.values.insert("B".to_owned(), Some("b".to_owned()));
        variables.values.insert("SECRET".to_owned(), None);
        for (text, wanted) in [
            ("plain", Some("plain")),
            ("$(B)-$(B)", Some("b-b")),
            ("$$(B)", Some("$(B)")),
            ("$$$(B)", Some("$b")),
            ("$(A)", Some("$(B)x")),
            ("$(C) $ $x $( $", Some("$(C) $ $x $( $")),
            ("$(SECRET)", None),
        ] {
            assert_eq!(variables.expanded(text).as_deref(), wanted, "{text}");
        }
        variables.has_others = true;
        assert_eq!(variables.expanded("$(C)"), None);
    }

    #[test]
    fn variables_that_multiply_are_no_memory_of_this_process() {
        let mut env = vec![json!({ "name": "A0", "value": "x".repeat(10) })];
        for step in 1..64 {
            let value = format!("$(A{})", step - 1).repeat(10);
            env.push(json!({ "name": format!("A{step}"), "value": value }));
        }
        let container = json!({ "env": env, "args": ["--watch-namespace=$(A63)"] });
        let deployment = deployment(&json!({ "containers": [container] }));
        let set = Settings::of(&deployment.spec.template.spec.containers[0], "ops");
        let made: usize = set.variables.values().flatten().map(String::len).sum();
        assert!(made <= LONGEST, "{made}");
        let found = Installation::of_deployment(&deployment).unwrap();
        assert_eq!(found.watched, Watched::Unknown);
        assert!(found.faults[0].contains("no process starts"), "{:?}", found.faults);
    }

    #[test]
    fn the_operator_is_known_by_its_image_or_its_variables_and_its_version_by_the_tag() {
        let of = |image: &str, variable: &str, label: &str| {
            let mut found = deployment(&json!({ "containers": [
                { "name": "proxy", "image": "mesh:9.9" },
                { "name": "main", "image": image, "env": [{ "name": variable, "value": "x" }] },
            ] }));
            found.metadata.labels = Some([("app.kubernetes.io/version".to_owned(), label.to_owned())].into());
            let version = version(&found);
            (
                is_operator(&found),
                version.map(|(version, of_image)| format!("{version} {of_image}")),
            )
        };
        let known = |image: &str, variable: &str, label: &str, is_found: bool, wanted: &str| {
            let wanted = (is_found, Some(wanted.to_owned()));
            assert_eq!(of(image, variable, label), wanted, "{image} {variable}");
        };
        known("ghcr.io/x/amplify-operator:9.9.9", "A", "0.1.0", true, "9.9.9 true");
        known(
            "localhost:5000/amplify-operator:v0.2.0@sha256:ab",
            "A",
            "0.1.0",
            true,
            "0.2.0 true",
        );
        known("amplify-operator@sha256:ab", "A", "0.1.0", true, "0.1.0 false");
        known("amplify-operator:latest", "A", "0.1.0", true, "0.1.0 false");
        known(
            "mirror/amp:0.3.0",
            "AMPLIFY_OPERATOR_LISTEN",
            "0.1.0",
            true,
            "0.3.0 true",
        );
        assert!(!of("my-amplify-operator-ui:1.0", "A", "0.1.0").0);
    }
}
