//! How an operator is installed, read from its Deployment or from this process. May do: read this process's variables.

use std::{collections::BTreeMap, env, path::Path};

use kube::ResourceExt as _;

use super::deployment::{Container, Deployment, PodSpec};
use crate::{leader, people::cluster::Cluster};

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

/// How the operator is installed, as far as the checks need it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Installation {
    /// Whether this process stands for the operator: it runs in its pod, or there is no Deployment.
    pub(super) is_this_process: bool,
    /// The namespace and name of the Deployment.
    pub(super) deployment: Option<(String, String)>,
    service_account: Option<String>,
    /// The namespaces that it watches. Empty: all.
    pub(super) namespaces: Vec<String>,
    pub(super) election: Election,
    pub(super) lease_namespace: String,
    /// The path of its accounts file.
    pub(super) accounts_file: Option<String>,
    /// The name and key of the ConfigMap that is mounted there.
    pub(super) accounts_from: Option<(String, String)>,
    /// Whether settings come from where this process does not look, such as a Secret.
    pub(super) is_partly_unknown: bool,
}

impl Installation {
    /// Returns the installation that this process would be.
    pub(super) fn of_this_process(cluster: &Cluster) -> Self {
        let variable = |name| env::var(name).ok().filter(|value: &String| !value.is_empty());
        let pod = variable("POD_NAMESPACE");
        let asked = variable("AMPLIFY_OPERATOR_LEASE_NAMESPACE");
        let election = match variable("AMPLIFY_OPERATOR_LEADER_ELECT") {
            Some(value) if is_true(&value) => Election::Held,
            // In a pod, the flag may stand in its arguments, which this process does not see.
            _ if cluster.in_pod => Election::Unknown,
            _ => Election::None,
        };
        Self {
            is_this_process: true,
            namespaces: list(variable("AMPLIFY_OPERATOR_WATCH_NAMESPACE").as_deref()),
            election,
            lease_namespace: leader::namespace(asked, pod, cluster.context_namespace()),
            ..Self::default()
        }
    }

    /// Returns the installation that a Deployment describes.
    pub(super) fn of_deployment(deployment: &Deployment) -> Option<Self> {
        let namespace = deployment.namespace()?;
        let spec = &deployment.spec;
        let pod = &spec.template.spec;
        // Sidecars may stand before it.
        let is_operator = |container: &&Container| {
            let image = container.image.as_deref().unwrap_or_default();
            container.name.contains("operator") || image.contains("amplify-operator")
        };
        let container = pod
            .containers
            .iter()
            .find(is_operator)
            .or_else(|| pod.containers.first())?;
        let set = Settings::of(container, &namespace);
        let accounts_file = set.value("accounts");
        let accounts_from = accounts_file.as_deref().and_then(|file| mounted(pod, container, file));
        let is_elected = set.value("leader-elect").map(|value| is_true(&value));
        let election = match is_elected {
            Some(true) => Election::Held,
            _ if set.is_partly_unknown => Election::Unknown,
            _ if spec.replicas.unwrap_or(1) > 1 => Election::Missing,
            _ => Election::None,
        };
        Some(Self {
            is_this_process: false,
            service_account: Some(pod.service_account_name.clone().unwrap_or_else(|| "default".to_owned())),
            namespaces: list(set.value("watch-namespace").as_deref()),
            election,
            lease_namespace: set.value("lease-namespace").unwrap_or_else(|| namespace.clone()),
            deployment: Some((namespace, deployment.name_any())),
            accounts_file,
            accounts_from,
            is_partly_unknown: set.is_partly_unknown,
        })
    }

    /// Returns the user that the operator is for the API server. `None`: this process's own.
    pub(super) fn user(&self) -> Option<String> {
        let (namespace, _) = self.deployment.as_ref()?;
        let account = self.service_account.as_ref()?;
        Some(format!("system:serviceaccount:{namespace}:{account}"))
    }

    pub(super) fn watches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|watched| watched == namespace)
    }

    /// Returns those of the namespaces that it watches.
    pub(super) fn of(&self, namespaces: &[String]) -> Vec<String> {
        namespaces
            .iter()
            .filter(|namespace| self.watches(namespace))
            .cloned()
            .collect()
    }
}

/// The flags and variables of a container.
struct Settings {
    words: Vec<String>,
    variables: BTreeMap<String, String>,
    is_partly_unknown: bool,
}

impl Settings {
    fn of(container: &Container, namespace: &str) -> Self {
        let mut variables = BTreeMap::new();
        let mut is_partly_unknown = !container.env_from.is_empty();
        for one in &container.env {
            let field = one.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
            if field.is_some_and(|field| field.field_path == "metadata.namespace") {
                variables.insert(one.name.clone(), namespace.to_owned());
            } else if one.value_from.is_some() {
                is_partly_unknown |= one.name.starts_with("AMPLIFY_OPERATOR_");
            } else {
                let value = expanded(one.value.as_deref().unwrap_or_default(), &variables);
                variables.insert(one.name.clone(), value);
            }
        }
        let words = container.command.iter().chain(&container.args);
        Self {
            words: words.map(|word| expanded(word, &variables)).collect(),
            variables,
            is_partly_unknown,
        }
    }

    /// Returns the value of a flag, in the arguments or in its variable. A flag without a value is "true".
    fn value(&self, flag: &str) -> Option<String> {
        let long = format!("--{flag}");
        let mut values = Vec::new();
        for (place, word) in self.words.iter().enumerate() {
            let Some(rest) = word.strip_prefix(&long) else {
                continue;
            };
            if let Some(value) = rest.strip_prefix('=') {
                values.push(value.to_owned());
            } else if rest.is_empty() {
                let next = self.words.get(place + 1).filter(|next| !next.starts_with("--"));
                values.push(next.cloned().unwrap_or_else(|| "true".to_owned()));
            }
        }
        if !values.is_empty() {
            return Some(values.join(","));
        }
        let variable = format!("AMPLIFY_OPERATOR_{}", flag.replace('-', "_").to_uppercase());
        self.variables.get(&variable).filter(|value| !value.is_empty()).cloned()
    }
}

/// Returns the text with the variables that Kubernetes replaces in it: `$(NAME)`.
fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in variables {
        text = text.replace(&format!("$({name})"), value);
    }
    text
}

/// Whether the program takes this value of a switch for yes.
fn is_true(value: &str) -> bool {
    !matches!(value.to_lowercase().as_str(), "n" | "no" | "f" | "false" | "off" | "0")
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

fn list(value: Option<&str>) -> Vec<String> {
    let names = value.unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
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
                "args": ["--accounts=/etc/accounts/accounts.yaml", "--leader-elect", "--watch-namespace", "$(POD_NAMESPACE)"],
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
            service_account: Some("operator".to_owned()),
            namespaces: vec!["ops".to_owned()],
            election: Election::Held,
            lease_namespace: "leases".to_owned(),
            accounts_file: Some("/etc/accounts/accounts.yaml".to_owned()),
            accounts_from: Some(("mine".to_owned(), "accounts.yaml".to_owned())),
            is_partly_unknown: false,
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
}
