//! Users who work with the resources regardless of all faults: they create, edit, suspend, request, delete and create
//! again, make mistakes, and change labels and finalizers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use amplify_operator::api::{GROUP, RECONCILE_REQUESTED_AT};
use fastrand::Rng;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::recorder::Recorder;
use amplify_testkit::{
    laws::draws::{KEYS, SCHEMAS, config, one, schema, spec},
    stage::{APP, Kind, Stage, backend, environment, object},
};

/// The number of backends in AWS without a resource.
pub(crate) const SOURCES: usize = 4;
pub(crate) const HOSTS: usize = 12;

/// A resource that users create and delete during the soak.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    spec: Value,
}

/// Returns this many resources of all kinds.
pub(crate) fn cast(count: usize) -> Vec<Cast> {
    let number = |part: usize| count * part / 100;
    let mut all = Vec::new();
    let mut add = |kind, name: String, spec| all.push(Cast { kind, name, spec });
    for number in 0..number(32) {
        add(Kind::Backend, format!("b-{number}"), backend(&format!("b-{number}")));
    }
    for number in 0..number(6) {
        let name = format!("c-{number}");
        let from = json!({ "backendEnvironmentName": source(number % SOURCES) });
        add(
            Kind::Backend,
            name.clone(),
            json!({ "appId": APP, "backendEnvironmentName": name, "cloneFrom": from }),
        );
    }
    for number in 0..number(3) {
        let name = format!("cr-{number}");
        let from = json!({ "backendRef": { "name": format!("b-{number}") } });
        add(
            Kind::Backend,
            name.clone(),
            json!({ "appId": APP, "backendEnvironmentName": name, "cloneFrom": from }),
        );
    }
    for number in 0..number(16) {
        let spec = json!({ "backendRef": { "name": format!("b-{number}") }, "resourceName": "shop" });
        add(Kind::Api, format!("a-{number}"), spec);
    }
    // Several resources describe the API of one environment.
    for number in 0..number(6) {
        let spec = json!({
            "appId": APP, "backendEnvironmentName": host(number / 2 % HOSTS), "resourceName": format!("r{number}"),
        });
        add(Kind::Api, format!("h-{number}"), spec);
    }
    for number in 0..number(6) {
        let spec = json!({
            "appId": APP, "backendEnvironmentName": host(number % HOSTS), "resourceName": "photos",
        });
        add(Kind::Storage, format!("s-{number}"), spec);
    }
    for number in 0..number(4) {
        let spec = json!({ "backendRef": { "name": format!("b-{number}") }, "resourceName": "photos" });
        add(Kind::Storage, format!("sb-{number}"), spec);
    }
    for number in 0..number(21) {
        add(
            Kind::Environment,
            format!("r-{number}"),
            environment(&format!("r-{number}")),
        );
    }
    // Two resources for the same AWS object.
    for number in 0..number(3) {
        let name = format!("b-{}", number * 3 + 1);
        add(Kind::Backend, format!("twin-{name}"), backend(&name));
    }
    for number in 0..count - all.len() {
        let name = format!("b-{}", number * 3 + 2);
        all.push(Cast {
            kind: Kind::Environment,
            name: format!("twin-{name}"),
            spec: environment(&name),
        });
    }
    all
}

pub(crate) fn source(number: usize) -> String {
    format!("main-{number}")
}

pub(crate) fn host(number: usize) -> String {
    format!("host-{number}")
}

pub(crate) fn schemas() -> BTreeMap<(String, String), String> {
    KEYS.map(|key| ((SCHEMAS.to_owned(), key.to_owned()), schema(key)))
        .into()
}

/// The counts of the users' actions.
#[derive(Default)]
pub(crate) struct Deeds {
    pub(crate) creates: AtomicUsize,
    pub(crate) edits: AtomicUsize,
    pub(crate) deletes: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) strips: AtomicUsize,
    /// The uids of objects whose finalizer was removed during their deletion.
    pub(crate) stripped: Mutex<BTreeSet<String>>,
}

pub(crate) struct Users {
    pub(crate) stage: Arc<Stage>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) cast: Vec<Cast>,
    pub(crate) deeds: Deeds,
}

impl Users {
    /// Creates in AWS the objects that exist before the first resource.
    pub(crate) async fn prepare(&self) {
        for environment in (0..SOURCES).map(source).chain((0..HOSTS).map(host)) {
            assert!(self.stage.aws().put_backend((APP, environment.as_str()), "storefront"));
            assert!(self.stage.aws().put_auth((APP, environment.as_str()), "users"));
        }
        let data: BTreeMap<_, _> = schemas().into_iter().map(|((_, key), schema)| (key, schema)).collect();
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": SCHEMAS }, "data": data });
        let api: Api<ConfigMap> = Api::namespaced(self.stage.world.client.clone(), &self.stage.namespace);
        let created = api.create(&PostParams::default(), &object(map)).await;
        created.expect("a ConfigMap");
    }

    /// Creates all resources.
    pub(crate) async fn begin(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        for chunk in self.cast.chunks(16) {
            let creates: Vec<_> = chunk
                .iter()
                .map(|cast| (cast, spec(cast.kind.names().0, &cast.spec, &mut rng)))
                .collect();
            join_all(creates.into_iter().map(|(cast, spec)| self.create(cast, spec))).await;
        }
    }

    /// Acts as one user, until the end.
    pub(crate) async fn work(&self, seed: u64, pause: Duration, end: CancellationToken) {
        let mut rng = Rng::with_seed(seed);
        let mut turn = 0;
        while !end.is_cancelled() {
            turn += 1;
            self.act(&mut rng, turn).await;
            tokio::time::sleep(pause.mul_f64(0.5 + rng.f64())).await;
        }
    }

    async fn act(&self, rng: &mut Rng, turn: usize) {
        let cast = rng.choice(&self.cast).expect("somebody plays");
        let Some(last) = self.recorder.last(cast.kind, &cast.name) else {
            let spec = spec(cast.kind.names().0, &cast.spec, rng);
            self.create(cast, spec).await;
            return;
        };
        let has_config = matches!(cast.kind, Kind::Api | Kind::Storage);
        let policy = one(rng, &["Delete", "Retain"]);
        let patch = match rng.u8(..100) {
            0..25 if has_config => json!({ "spec": { "resourceConfig": config(cast.kind.names().0, rng) } }),
            0..12 => json!({ "spec": { "suspend": true } }),
            12..30 => json!({ "spec": { "suspend": false } }),
            30..36 => json!({ "spec": { "jobTimeout": format!("{}s", rng.u8(15..90)) } }),
            36..42 => json!({ "spec": { "deletionPolicy": policy } }),
            42..46 => json!({ "spec": { "deletionPolicy": policy, "adoptionPolicy": "IfExists" } }),
            46..58 => {
                json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: format!("{turn}-{}", rng.u16(..)) } } })
            }
            // The API server refuses these edits.
            58..61 => json!({ "spec": { "appId": "d0000000000" } }),
            61..64 => json!({ "spec": { "adoptionPolicy": "IfExists", "deletionPolicy": null } }),
            64..70 => json!({ "metadata": { "labels": { "turn": turn.to_string() }, "annotations": { "turn": "x" } } }),
            70..76 => {
                self.strip(cast, &last).await;
                return;
            }
            _ => {
                self.deeds.deletes.fetch_add(1, Relaxed);
                let api = self.stage.api(cast.kind);
                let _gone_before = api.delete(&cast.name, &DeleteParams::default()).await;
                return;
            }
        };
        self.edit(cast, patch).await;
    }

    async fn create(&self, cast: &Cast, spec: Value) {
        let manifest = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"), "kind": cast.kind.names().0,
            "metadata": { "name": cast.name }, "spec": spec,
        });
        let api = self.stage.api(cast.kind);
        match api.create(&PostParams::default(), &object(manifest)).await {
            Ok(_) => self.deeds.creates.fetch_add(1, Relaxed),
            Err(kube::Error::Api(status)) if status.code == 409 => 0,
            Err(error) => panic!("{}: {error}", cast.name),
        };
    }

    async fn edit(&self, cast: &Cast, patch: Value) {
        let api = self.stage.api(cast.kind);
        match api
            .patch(&cast.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Ok(_) => self.deeds.edits.fetch_add(1, Relaxed),
            Err(kube::Error::Api(status)) if status.code == 404 => 0,
            Err(kube::Error::Api(status)) if status.code == 422 => self.deeds.refused.fetch_add(1, Relaxed),
            Err(error) => panic!("{}: {patch}: {error}", cast.name),
        };
    }

    /// Removes all finalizers.
    async fn strip(&self, cast: &Cast, last: &amplify_testkit::laws::history::Version) {
        // Recorded before the request, because the object may be gone before the answer arrives.
        let uid = last.uid();
        self.stripped().insert(uid.to_owned());
        let patch = json!({ "metadata": { "uid": uid, "finalizers": null } });
        let api = self.stage.api(cast.kind);
        let done = api
            .patch(&cast.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        // If the object was not being deleted, the operator adds its finalizer again, and nothing is special about the
        // object.
        if done.is_ok_and(|object| object.metadata.deletion_timestamp.is_none()) {
            self.stripped().remove(uid);
        }
        self.deeds.strips.fetch_add(1, Relaxed);
    }

    fn stripped(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.deeds.stripped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests one look at every resource, and ends suspensions. After that users make no more changes.
    pub(crate) async fn rest(&self) {
        let patch = json!({
            "metadata": { "annotations": { RECONCILE_REQUESTED_AT: "at rest" } },
            "spec": { "suspend": false },
        });
        for chunk in self.cast.chunks(16) {
            join_all(chunk.iter().map(|cast| self.edit(cast, patch.clone()))).await;
        }
    }
}
