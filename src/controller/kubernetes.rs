//! The requests to the API server. Each ends in time, and each write is one request.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    kind::Kind,
    patches::{merge_difference, recording},
};
use crate::api::{FIELD_MANAGER, FINALIZER};

/// How long a request may take. kube sets no limit of its own, and a server that hangs must not hold a pass for ever.
const LIMIT: Duration = Duration::from_secs(20);

async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(LIMIT, request).await.unwrap_or_else(|_| {
        Err(kube::Error::Service(
            format!("no answer within {} s", LIMIT.as_secs()).into(),
        ))
    })
}

/// The resource as it is stored now.
pub(super) async fn get<K: Kind>(api: &Api<K>, name: &str) -> kube::Result<Option<K>> {
    Ok(get_whole(api, name).await?.map(slim))
}

/// The resource as it is stored now, with what is not kept.
pub(super) async fn get_whole<K: Kind>(api: &Api<K>, name: &str) -> kube::Result<Option<K>> {
    in_time(api.get_opt(name)).await
}

/// Drops what no decision reads, and the room that lists were given to grow, so that caches stay small.
pub(super) fn slim<K: Kind>(mut object: K) -> K {
    object.leave_out();
    if let Some(ledger) = object.ledger_mut() {
        ledger.conditions.shrink_to_fit();
    }
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.labels = None;
    meta.owner_references = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|name, _| name == crate::api::RECONCILE_REQUESTED_AT);
    }
    meta.annotations.take_if(|annotations| annotations.is_empty());
    if let Some(finalizers) = &mut meta.finalizers {
        finalizers.shrink_to_fit();
    }
    object
}

/// The finalizers with ours added or taken away, on condition that the object is still the one that was looked at.
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

/// The status, on condition that the object is still the one that was looked at.
pub(super) async fn set_status<K: Kind>(api: &Api<K>, object: &K, old: &Value, new: &Value) -> kube::Result<K> {
    let patch = json!({
        "metadata": { "uid": object.uid(), "resourceVersion": object.resource_version() },
        "status": merge_difference(old, new),
    });
    in_time(api.patch_status(&object.name_any(), &params(), &Patch::Merge(patch)))
        .await
        .map(slim)
}

/// The status, whatever else has changed: see [`recording`].
pub(super) async fn record<K: Kind>(api: &Api<K>, object: &K, old: &Value, new: &Value) -> kube::Result<K> {
    let patch = recording(object.uid().as_deref(), old, new);
    let patch: json_patch::Patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    in_time(api.patch_status(&object.name_any(), &params(), &Patch::<()>::Json(patch)))
        .await
        .map(slim)
}

/// A key of a ConfigMap, or what is missing.
pub(super) async fn config_map_key(
    client: &Client,
    namespace: &str,
    name: &str,
    key: &str,
) -> kube::Result<Result<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let config_map = match in_time(api.get_opt(name)).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            return Ok(Err(format!(
                "the operator may not read ConfigMap {name}, which transformSchemaFrom names: grant it `get` on configmaps"
            )));
        }
        config_map => config_map?,
    };
    let Some(config_map) = config_map else {
        return Ok(Err(format!(
            "waits for ConfigMap {name}, which transformSchemaFrom names"
        )));
    };
    let value = config_map.data.and_then(|mut data| data.remove(key));
    Ok(value.ok_or_else(|| format!("waits for the key {key:?} in ConfigMap {name}, which transformSchemaFrom names")))
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}
