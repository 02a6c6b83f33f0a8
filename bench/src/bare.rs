//! A bare load generator: it makes the same writes as the operator and its user, without an operator behind them.
//! Number, size and concurrency of the writes and the client library are those of the run that it is compared with.

use amplify_operator::api::FINALIZER;
use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::mix::{Item, Kind, Mix};

/// How many requests the user makes at a time, and how many the operator makes: the operator's default.
pub(crate) const AT_A_TIME: usize = 16;
const NOW: &str = "2026-11-22T10:00:00Z";
const JOB: &str = "0f3c1f0e-8d0a-4c7e-9d5b-2f7e1f6a9b10";
const HASH: &str = "bd996a9cc29381fd18a2ff906e1c6c06";

/// The number of writes that depend on how long the objects of a run had to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extra {
    /// Writes about APIs while they wait for their backends.
    pub(crate) create: u64,
    /// Writes about backends while they wait for the deletion of their APIs.
    pub(crate) delete: u64,
}

/// Creates objects as a user does.
pub(crate) async fn apply(client: &Client, namespace: &str, items: impl Iterator<Item = Item>) -> Result<()> {
    stream::iter(items)
        .map(|item| create(client, namespace, item))
        .buffer_unordered(AT_A_TIME)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}

/// Deletes objects as a user does.
pub(crate) async fn delete(client: &Client, namespace: &str, items: impl Iterator<Item = Item>) -> Result<()> {
    stream::iter(items)
        .map(|item| deleted(client, namespace, item))
        .buffer_unordered(AT_A_TIME)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}

/// Creates objects as a user does, and makes an operator's writes until all objects are Ready.
pub(crate) async fn create_all(client: &Client, namespace: &str, mix: Mix, extra: Extra) -> Result<()> {
    let mut waits = Share::new(extra.create, mix.count(Kind::Api));
    stream::iter(mix.items())
        .map(|item| create(client, namespace, item))
        .buffer_unordered(AT_A_TIME)
        .map_ok(|(item, object)| {
            let waits = if item.kind == Kind::Api { waits.next() } else { 0 };
            carry_out(client, namespace, item, object, waits)
        })
        .try_buffer_unordered(AT_A_TIME)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}

/// Deletes objects as a user does, and makes an operator's writes until all objects are gone.
pub(crate) async fn delete_all(client: &Client, namespace: &str, mix: Mix, extra: Extra) -> Result<()> {
    let mut waits = Share::new(extra.delete, mix.count(Kind::Backend));
    stream::iter(mix.items())
        .map(|item| deleted(client, namespace, item))
        .buffer_unordered(AT_A_TIME)
        .map_ok(|(item, object)| {
            let waits = if item.kind == Kind::Backend { waits.next() } else { 0 };
            clean_up(client, namespace, item, object, waits)
        })
        .try_buffer_unordered(AT_A_TIME)
        .try_for_each(|()| std::future::ready(Ok(())))
        .await
}

/// Distributes a number of writes evenly over a number of objects.
struct Share {
    left: u64,
    takers: u64,
}

impl Share {
    fn new(all: u64, takers: usize) -> Self {
        Self {
            left: all,
            takers: takers as u64,
        }
    }

    fn next(&mut self) -> u64 {
        let share = self.left.div_ceil(self.takers.max(1));
        self.left -= share;
        self.takers = self.takers.saturating_sub(1);
        share
    }
}

fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}

async fn create(client: &Client, namespace: &str, item: Item) -> Result<(Item, DynamicObject)> {
    let object = api(client, namespace, item.kind)
        .create(&PostParams::default(), &item.object)
        .await?;
    Ok((item, object))
}

async fn deleted(client: &Client, namespace: &str, item: Item) -> Result<(Item, DynamicObject)> {
    let api = api(client, namespace, item.kind);
    let deleted = api.delete(&item.name, &DeleteParams::default()).await?;
    let object = match deleted.left() {
        Some(object) => object,
        None => api.get(&item.name).await?,
    };
    Ok((item, object))
}

/// Makes the writes that bring an object to Ready, and returns the object.
async fn carry_out(client: &Client, namespace: &str, item: Item, object: DynamicObject, waits: u64) -> Result<()> {
    let writer = Writer::new(client, namespace, &item);
    let mut object = object;
    for wait in 0..waits {
        let message = format!("waits for AmplifyBackend backend-{wait:06}, which backendRef names, to be Ready");
        let status = json!({ "observedGeneration": 1, "conditions": working("DependencyNotReady", &message) });
        object = writer.status(&object, status).await?;
    }
    object = writer.finalizers(&object, &[FINALIZER]).await?;
    object = writer.status(&object, intent(item.kind)).await?;
    if item.kind != Kind::Environment {
        let job = job(item.kind);
        let mut fields = vec![("job", job), ("origin", json!("Created"))];
        if item.kind == Kind::Api {
            fields.push(("sentConfigHash", json!(HASH)));
        }
        object = writer.record(&object, &fields).await?;
    }
    writer.status(&object, ready(item.kind)).await.map(drop)
}

/// Makes the writes that release an object, and returns it.
async fn clean_up(client: &Client, namespace: &str, item: Item, object: DynamicObject, waits: u64) -> Result<()> {
    let writer = Writer::new(client, namespace, &item);
    let mut object = object;
    for wait in 0..waits {
        let message = format!("waits for the deletion of BackendApi {namespace}/api-{wait:06}");
        let status = json!({ "observedGeneration": 2, "conditions": working("Deleting", &message) });
        object = writer.status(&object, status).await?;
    }
    if item.kind != Kind::Environment {
        let conditions = working(
            "Deleting",
            &format!("Delete{} is running (job {JOB})", item.kind.name()),
        );
        let fields = [("job", job(item.kind)), ("conditions", conditions)];
        object = writer.record(&object, &fields).await?;
    }
    writer.finalizers(&object, &[]).await.map(drop)
}

/// Makes the requests of `src/controller/kubernetes.rs`.
struct Writer {
    api: Api<DynamicObject>,
    name: String,
}

impl Writer {
    fn new(client: &Client, namespace: &str, item: &Item) -> Self {
        Self {
            api: api(client, namespace, item.kind),
            name: item.name.clone(),
        }
    }

    async fn finalizers(&self, object: &DynamicObject, finalizers: &[&str]) -> Result<DynamicObject> {
        let patch = json!({ "metadata": {
            "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": finalizers,
        }});
        Ok(self.api.patch(&self.name, &params(), &Patch::Merge(patch)).await?)
    }

    async fn status(&self, object: &DynamicObject, status: Value) -> Result<DynamicObject> {
        let patch = json!({
            "metadata": { "uid": object.uid(), "resourceVersion": object.resource_version() }, "status": status,
        });
        Ok(self
            .api
            .patch_status(&self.name, &params(), &Patch::Merge(patch))
            .await?)
    }

    async fn record(&self, object: &DynamicObject, fields: &[(&str, Value)]) -> Result<DynamicObject> {
        let mut patch = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": object.uid() }),
            json!({ "op": "test", "path": "/status/job/attempt", "value": 1 }),
        ];
        for (field, value) in fields {
            patch.push(json!({ "op": "add", "path": format!("/status/{field}"), "value": value }));
        }
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(patch))?;
        Ok(self
            .api
            .patch_status(&self.name, &params(), &Patch::<()>::Json(patch))
            .await?)
    }
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some("bare".to_owned()),
        ..PatchParams::default()
    }
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": name, "status": status, "reason": reason, "message": message, "observedGeneration": 1,
        "lastTransitionTime": NOW,
    })
}

fn working(reason: &str, message: &str) -> Value {
    json!([
        condition("Ready", "False", reason, message),
        condition("Reconciling", "True", reason, message)
    ])
}

fn job(kind: Kind) -> Value {
    json!({
        "operation": operation(kind), "generation": 1, "attempt": 1, "failures": 0, "requestTime": NOW,
        "unconfirmed": false, "id": JOB, "backendEnvironmentName": "env000001", "status": "COMPLETED",
    })
}

const fn operation(kind: Kind) -> &'static str {
    match kind {
        Kind::Backend => "CreateBackend",
        Kind::Api => "CreateBackendAPI",
        Kind::Environment => "CreateBackendEnvironment",
    }
}

fn intent(kind: Kind) -> Value {
    let operation = operation(kind);
    let mut status = json!({
        "observedGeneration": 1, "accountId": "123456789012", "region": "eu-west-1",
        "conditions": working("Creating", &format!("{operation} is being sent")),
        "job": {
            "operation": operation, "generation": 1, "attempt": 1, "failures": 0, "requestTime": NOW,
            "unconfirmed": false,
        },
    });
    if kind == Kind::Api {
        status["appId"] = json!("d000000000");
        status["backendEnvironmentName"] = json!("env000001");
    }
    status
}

fn ready(kind: Kind) -> Value {
    let operation = operation(kind);
    let message = format!("{operation} completed (job {JOB})");
    let mut status = json!({
        "conditions": [condition("Ready", "True", "Available", &message)], "job": { "finishTime": NOW },
    });
    match kind {
        Kind::Backend => {}
        Kind::Api => status["echoedConfigHash"] = json!(HASH),
        Kind::Environment => {
            status["origin"] = json!("Created");
            status["backendEnvironmentArn"] =
                json!("arn:aws:amplify:eu-west-1:123456789012:apps/d000000000/backendenvironments/record000001");
            status["stackName"] = json!("amplify-storefront-record000001-161015");
            status["deploymentArtifacts"] = json!("amplify-storefront-record000001-161015-deployment");
            status["createTime"] = json!(NOW);
            status["updateTime"] = json!(NOW);
        }
    }
    status
}
