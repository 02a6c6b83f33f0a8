//! The few fields of Deployments and Pods that the checks read. The whole types would be a twentieth of the program, in
//! the memory of every operator. Pure.

use std::collections::BTreeMap;

use kube::{
    api::ApiResource,
    core::{GroupVersionKind, Object},
};
use serde::Deserialize;

/// A Deployment.
pub(super) type Deployment = Object<DeploymentSpec, DeploymentStatus>;
/// A Pod.
pub(super) type Pod = Object<PodSpec, PodStatus>;

/// Returns how the API server names Deployments.
pub(super) fn deployments() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"))
}

/// Returns how the API server names Pods.
pub(super) fn pods() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"))
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct DeploymentSpec {
    pub(super) replicas: Option<i32>,
    #[serde(default)]
    pub(super) selector: Selector,
    pub(super) template: Template,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Selector {
    pub(super) match_labels: BTreeMap<String, String>,
    pub(super) match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requirement {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Vec<String>,
}

impl Selector {
    /// Returns it as `kubectl -l` reads it. `None`: nothing is selected, or a part is not known here. An empty text would
    /// select all pods of the namespace.
    pub(super) fn text(&self) -> Option<String> {
        let labels = self
            .match_labels
            .iter()
            .map(|(name, value)| Some(format!("{name}={value}")));
        let expressions = self.match_expressions.iter().map(|one| {
            let (key, values) = (&one.key, one.values.join(","));
            match one.operator.as_str() {
                "In" => Some(format!("{key} in ({values})")),
                "NotIn" => Some(format!("{key} notin ({values})")),
                "Exists" => Some(key.clone()),
                "DoesNotExist" => Some(format!("!{key}")),
                _ => None,
            }
        });
        let parts: Vec<_> = labels.chain(expressions).collect::<Option<_>>()?;
        (!parts.is_empty()).then(|| parts.join(","))
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Template {
    pub(super) spec: PodSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DeploymentStatus {
    pub(super) observed_generation: i64,
    pub(super) replicas: i32,
    pub(super) updated_replicas: i32,
    pub(super) available_replicas: i32,
    pub(super) ready_replicas: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) service_account_name: Option<String>,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<EnvVar>,
    pub(super) env_from: Vec<serde_json::Value>,
    pub(super) volume_mounts: Vec<VolumeMount>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EnvVar {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) value_from: Option<EnvVarSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EnvVarSource {
    pub(super) field_ref: Option<FieldRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FieldRef {
    pub(super) field_path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct VolumeMount {
    pub(super) name: String,
    pub(super) mount_path: String,
    pub(super) sub_path: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) config_map: Option<ConfigMapSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigMapSource {
    pub(super) name: String,
    pub(super) items: Vec<Item>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    pub(super) container_statuses: Vec<ContainerStatus>,
    pub(super) conditions: Vec<PodCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus {
    pub(super) state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodCondition {
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) status: String,
    pub(super) message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_never_selects_pods_of_others() {
        let expression =
            |operator: &str, values: &[&str]| json!([{ "key": "app", "operator": operator, "values": values }]);
        for (selector, wanted) in [
            (json!({ "matchLabels": { "a": "b", "c": "d" } }), Some("a=b,c=d")),
            (
                json!({ "matchExpressions": expression("In", &["x", "y"]) }),
                Some("app in (x,y)"),
            ),
            (
                json!({ "matchExpressions": expression("NotIn", &["x"]) }),
                Some("app notin (x)"),
            ),
            (json!({ "matchExpressions": expression("Exists", &[]) }), Some("app")),
            (
                json!({ "matchExpressions": expression("DoesNotExist", &[]) }),
                Some("!app"),
            ),
            (
                json!({ "matchLabels": { "a": "b" }, "matchExpressions": expression("In", &["x"]) }),
                Some("a=b,app in (x)"),
            ),
            (
                json!({ "matchLabels": { "a": "b" }, "matchExpressions": expression("Gt", &["1"]) }),
                None,
            ),
            (json!({}), None),
        ] {
            let read: Selector = serde_json::from_value(selector.clone()).unwrap();
            assert_eq!(read.text().as_deref(), wanted, "{selector}");
        }
    }
}
