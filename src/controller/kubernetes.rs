//! The requests to the API server. Each has a time limit, and each write is one request.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::patches::{merge_difference, recording};
use crate::{
    api::{
        FIELD_MANAGER, FINALIZER, IGNORE_MIGRATION_LOCK, KeepsLedger as _, RECONCILE_REQUESTED_AT, outputs,
        rules::{is_config_map_key, is_object_name},
        text::{digest, shortened},
    },
    kinds::{Kind, config::Reference},
    lifecycle::{Lack, Missing},
};

/// Time limit of a request. kube sets none, and a server that hangs must not block a pass for ever.
const LIMIT: Duration = Duration::from_secs(20);
/// Longest value of a reconcile request that is kept unchanged, in bytes.
const REQUEST_KEPT: usize = 128;
/// Longest name of a backend environment, in bytes.
const LONGEST_NAME: usize = 255;
/// The label that names the program that manages an object:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// How many bytes of a refused name a message repeats.
const SHOWN: usize = 64;

async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(LIMIT, request).await.unwrap_or_else(|_| {
        Err(kube::Error::Service(
            format!("no answer within {} s", LIMIT.as_secs()).into(),
        ))
    })
}

/// Returns the stored resource, without the parts that caches drop.
pub(super) async fn get<K: Kind>(api: &Api<K>, name: &str) -> kube::Result<Option<K>> {
    Ok(get_whole(api, name).await?.map(slim))
}

/// Returns the stored resource, with all its parts.
pub(super) async fn get_whole<K: Kind>(api: &Api<K>, name: &str) -> kube::Result<Option<K>> {
    in_time(api.get_opt(name)).await
}

/// Drops the parts that no decision reads, and unused capacity of lists, to keep caches small.
pub(super) fn slim<K: Kind>(mut object: K) -> K {
    object.leave_out();
    if let Some(status) = object.status_mut() {
        status.ledger_mut().conditions.shrink_to_fit();
    }
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.labels = None;
    meta.owner_references = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|name, value| match name.as_str() {
            RECONCILE_REQUESTED_AT => true,
            // A longer value names no environment.
            IGNORE_MIGRATION_LOCK => value.len() <= LONGEST_NAME,
            _ => false,
        });
        annotations.get_mut(RECONCILE_REQUESTED_AT).map(shorten_request);
    }
    meta.annotations.take_if(|annotations| annotations.is_empty());
    if let Some(finalizers) = &mut meta.finalizers {
        finalizers.shrink_to_fit();
    }
    object
}

/// Replaces a long value of a reconcile request by its digest. The value identifies the request: status repeats it once
/// the request has been handled.
fn shorten_request(value: &mut String) {
    if value.len() > REQUEST_KEPT {
        *value = format!("sha256:{}", digest(value.as_bytes()));
    }
}

/// Adds or removes our finalizer, on condition that the object is unchanged since it was looked at.
pub(super) async fn set_finalizer<K: Kind>(api: &Api<K>, object: &K, wanted: bool) -> kube::Result<K> {
    let mut finalizers: Vec<_> = object
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({ "metadata": {
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
        "finalizers": finalizers,
    }});
    in_time(api.patch(&object.name_any(), &params(), &Patch::Merge(patch)))
        .await
        .map(slim)
}

/// Writes the status, on condition that the object is unchanged since it was looked at.
pub(super) async fn set_status<K: Kind>(api: &Api<K>, object: &K, old: &Value, new: &Value) -> kube::Result<K> {
    let patch = json!({
        "metadata": { "uid": object.uid(), "resourceVersion": object.resource_version() },
        "status": merge_difference(old, new),
    });
    in_time(api.patch_status(&object.name_any(), &params(), &Patch::Merge(patch)))
        .await
        .map(slim)
}

/// Writes the status, whatever other changes were made: see [`recording`].
pub(super) async fn record<K: Kind>(api: &Api<K>, object: &K, old: &Value, new: &Value) -> kube::Result<K> {
    let patch = recording(object.uid().as_deref(), old, new);
    let patch: json_patch::Patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    in_time(api.patch_status(&object.name_any(), &params(), &Patch::<()>::Json(patch)))
        .await
        .map(slim)
}

/// What became of outputs that were to be written to a ConfigMap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Published {
    /// They stand there.
    Done,
    /// Nothing was written: it is not this object's own.
    Foreign,
    /// Nothing was written: it is being deleted, or Kubernetes will delete it with a predecessor of this object.
    Leaving,
}

/// Writes the outputs to a ConfigMap that the operator has created for this object. Other keys stay as they are.
pub(super) async fn publish(
    client: &Client,
    namespace: &str,
    name: &str,
    owner: OwnerReference,
    data: &BTreeMap<String, String>,
) -> kube::Result<Published> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let Some(there) = in_time(api.get_opt(name)).await? else {
        let created = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())])),
                owner_references: Some(vec![OwnerReference {
                    // With true, the API server may ask for more rights.
                    block_owner_deletion: None,
                    ..owner
                }]),
                ..ObjectMeta::default()
            },
            data: Some(data.clone()),
            ..ConfigMap::default()
        };
        let how = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        return in_time(api.create(&how, &created)).await.map(|_| Published::Done);
    };
    let is_marked = there.labels().get(MANAGED_BY).map(String::as_str) == Some(FIELD_MANAGER);
    let owners = there.owner_references().iter().filter(|_| is_marked);
    let mut owners = owners.filter(|other| other.controller == Some(true));
    let Some(of) = owners.find(|of| (&of.kind, &of.name) == (&owner.kind, &owner.name)) else {
        return Ok(Published::Foreign);
    };
    if of.uid != owner.uid || there.metadata.deletion_timestamp.is_some() {
        return Ok(Published::Leaving);
    }
    let mut old = there.data.clone().unwrap_or_default();
    old.retain(|key, _| outputs::VARIABLES.contains(&key.as_str()));
    if old != *data {
        let patch = json!({
            "metadata": { "uid": there.uid(), "resourceVersion": there.resource_version() },
            "data": merge_difference(&json!(old), &json!(data)),
        });
        in_time(api.patch(name, &params(), &Patch::Merge(patch))).await?;
    }
    Ok(Published::Done)
}

/// Returns the text of a ConfigMap's key.
pub(super) async fn config_map_key(
    client: &Client,
    namespace: &str,
    reference: &Reference,
) -> kube::Result<Result<String, Missing>> {
    if let Some(refused) = invalid_reference(reference) {
        return Ok(Err(absent(refused)));
    }
    let Reference { name, field, .. } = reference;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match in_time(api.get_opt(name)).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Err(Missing {
            message: format!(
                "the operator may not read ConfigMap {name}, which {field} names: grant it `get` on configmaps"
            ),
            lack: Lack::NotReady,
        })),
        Err(error) => Err(error),
        Ok(Some(config_map)) => Ok(value_in(config_map, reference)),
        Ok(None) => Ok(Err(absent(format!(
            "ConfigMap {name}, which {field} names, does not exist in this namespace: create it, or correct the name"
        )))),
    }
}

/// Makes the dependency for a reference that names nothing: a person has to correct it.
const fn absent(message: String) -> Missing {
    let lack = Lack::Absent;
    Missing { message, lack }
}

/// Makes the dependency for a text that cannot be sent: a person has to fix it.
const fn unusable(message: String) -> Missing {
    let lack = Lack::Unusable;
    Missing { message, lack }
}

/// Checks the names in the reference. The definition refuses invalid ones, but a resource may be older than that rule,
/// and the names become part of a URL.
fn invalid_reference(reference: &Reference) -> Option<String> {
    let Reference { name, key, field, .. } = reference;
    if !is_object_name(name) {
        let name = shortened(name, SHOWN);
        return Some(format!(
            "{field} names the ConfigMap {name:?}, and no object can have that name: correct configMapKeyRef.name"
        ));
    }
    (!is_config_map_key(key)).then(|| {
        let key = shortened(key, SHOWN);
        format!("{field} names the key {key:?}, and no ConfigMap can have that key: correct configMapKeyRef.key")
    })
}

fn value_in(config_map: ConfigMap, reference: &Reference) -> Result<String, Missing> {
    let Reference { name, key, field, .. } = reference;
    let text = config_map.data.and_then(|mut data| data.remove(key));
    let Some(text) = text else {
        return Err(if config_map.binary_data.is_some_and(|data| data.contains_key(key)) {
            unusable(format!(
                "the value of key {key:?} in ConfigMap {name}, which {field} names, is not UTF-8 text, so it is in binaryData: \
                 save the file as UTF-8 (not as UTF-16, which `>` in Windows PowerShell writes), and create the ConfigMap from it again"
            ))
        } else {
            absent(format!(
                "ConfigMap {name} has no key {key:?}, which {field} names: add the key, or correct it"
            ))
        });
    };
    match (reference.problem)(&text) {
        None => Ok(text),
        Some(problem) => Err(unusable(format!(
            "the value of key {key:?} in ConfigMap {name}, which {field} names, {problem}"
        ))),
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::ResourceConfig, kinds::config::Config as _};

    #[test]
    fn a_request_of_more_than_128_bytes_is_known_by_its_digest() {
        let short = |value: &str| {
            let mut value = value.to_owned();
            shorten_request(&mut value);
            value
        };
        let (kept, long) = ("x".repeat(128), "x".repeat(129));
        assert_eq!(short(&kept), kept);
        // `printf %0129d | tr 0 x | sha256sum`
        let digest = "sha256:0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd";
        assert_eq!(short(&long), digest);
        assert_eq!(short(digest), digest);
        assert_ne!(short(&"y".repeat(300_000)), short(&"x".repeat(300_000)));
    }

    #[test]
    fn what_is_kept_of_an_object_is_small_whatever_others_write_into_it() {
        let long = "x".repeat(250_000);
        let object = json!({
            "metadata": {
                "name": "a", "annotations": { crate::api::RECONCILE_REQUESTED_AT: long, "note": long },
                "labels": { "a": "b" }, "managedFields": [{ "manager": "kubectl" }],
                "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "b" }],
            },
            "spec": {
                "appId": "d1a2b3c4d5e6f7", "backendEnvironmentName": "dev", "resourceName": "shop",
                "resourceConfig": { "apiName": "shop", "service": "AppSync", "transformSchema": long },
            },
        });
        let object: crate::api::BackendApi = serde_json::from_value(object).unwrap();
        let kept = serde_json::to_string(&slim(object)).unwrap();
        assert!(kept.len() < 600 && kept.contains("sha256:"), "{kept}");
    }

    fn reference(name: &str, key: &str) -> Reference {
        let config = json!({ "transformSchemaFrom": { "configMapKeyRef": { "name": name, "key": key } } });
        let mut config: ResourceConfig = serde_json::from_value(config).unwrap();
        config.take_reference().unwrap()
    }

    fn config_map(data: Value) -> ConfigMap {
        serde_json::from_value(data).unwrap()
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_named_with_its_config_map_and_key_and_what_to_do() {
        let large = "#".repeat(512 * 1024) + "\ntype A";
        let missing = |text: &str| Err((Lack::Absent, text.to_owned()));
        let unusable = |text: &str| Err((Lack::Unusable, text.to_owned()));
        for (map, said) in [
            (json!({"data": {"s.graphql": "type A @model { id: ID! }"}}), Ok(())),
            (json!({}), missing("ConfigMap win has no key \"s.graphql\"")),
            (
                json!({"data": {"schema": "type A"}}),
                missing("ConfigMap win has no key \"s.graphql\""),
            ),
            (
                json!({"binaryData": {"s.graphql": "//50AHkA"}}),
                unusable("is not UTF-8 text, so it is in binaryData: save the file as UTF-8"),
            ),
            (
                json!({"data": {"s.graphql": ""}}),
                unusable(
                    "key \"s.graphql\" in ConfigMap win, which spec.resourceConfig.transformSchemaFrom names, is empty: put",
                ),
            ),
            (
                json!({"data": {"s.graphql": " \n\t"}}),
                unusable("is empty: it holds nothing but blanks, commas and comments: put a GraphQL schema there"),
            ),
            (
                json!({"data": {"s.graphql": "\u{feff}# TODO\n,"}}),
                unusable("is empty: it holds nothing but"),
            ),
            (
                json!({"data": {"s.graphql": large}}),
                unusable("has 524295 bytes, and at most 524288 (512 KiB) are allowed"),
            ),
        ] {
            let shown = map.to_string().chars().take(60).collect::<String>();
            let found = value_in(config_map(map), &reference("win", "s.graphql"));
            match (found, said) {
                (Ok(_), Ok(())) => {}
                (Err(Missing { message, lack }), Err((wanted, said))) => {
                    assert_eq!(lack, wanted, "{shown}");
                    assert!(message.contains(&said), "{shown}: {message}");
                    assert!(message.len() < 512, "{message}");
                }
                (found, said) => panic!("{shown}: {found:?} instead of {said:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_reference_that_would_change_the_path_of_the_request_is_refused_before_any_request() {
        let uri = "http://127.0.0.1:9".parse().unwrap();
        let client = Client::try_from(kube::Config::new(uri)).unwrap();
        let long = "x".repeat(300);
        for (name, key, said) in [
            (
                "?limit=1",
                "schema",
                "names the ConfigMap \"?limit=1\", and no object can have that name",
            ),
            ("a/b", "schema", "names the ConfigMap \"a/b\""),
            ("..", "schema", "names the ConfigMap \"..\""),
            ("", "schema", "names the ConfigMap \"\""),
            (&long, "schema", "no object can have that name"),
            (
                "schema",
                "..",
                "names the key \"..\", and no ConfigMap can have that key: correct configMapKeyRef.key",
            ),
            ("schema", "a/b", "names the key \"a/b\""),
        ] {
            let answer = config_map_key(&client, "shop", &reference(name, key)).await.unwrap();
            let Err(Missing { message, .. }) = answer else {
                panic!("{name:?} {key:?}: {answer:?}");
            };
            assert!(message.contains(said) && message.len() < 256, "{message}");
        }
    }
}
