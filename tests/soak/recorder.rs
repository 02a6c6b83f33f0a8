//! An independent watcher: it records every version of every object that the API server shows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use amplify_operator::api::FIELD_MANAGER;
use futures::StreamExt as _;
use kube::{
    Api,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use amplify_testkit::{
    laws::history::{self, Millis, Version, time},
    stage::{APP, Kind, Stage},
};

pub(crate) fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Records from the beginning until dropped.
pub(crate) struct Recorder {
    recorded: Arc<Mutex<Recorded>>,
    _watches: JoinSet<()>,
}

#[derive(Default)]
struct Recorded {
    versions: Vec<Version>,
    /// The position of the last version of each object, by kind and name.
    last: BTreeMap<(String, String), usize>,
    /// The reason why versions may be missing.
    broken: Option<String>,
}

impl Recorder {
    pub(crate) async fn of(stage: &Arc<Stage>) -> Self {
        let recorded = Arc::new(Mutex::new(Recorded::default()));
        let mut watches = JoinSet::new();
        for kind in [Kind::Backend, Kind::Api, Kind::Storage, Kind::Environment] {
            let api = stage.api(kind);
            let list = api.list(&ListParams::default()).await.expect("a list");
            assert!(list.items.is_empty(), "the record begins with the first object");
            let begin = list.metadata.resource_version.expect("a version");
            let (stage, recorded) = (stage.clone(), recorded.clone());
            watches.spawn(async move { watch(&stage, &api, &recorded, begin).await });
        }
        Self {
            recorded,
            _watches: watches,
        }
    }

    /// Returns all versions so far, in the order of their numbers.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let mut versions = self.lock().versions.clone();
        versions.sort_by_key(|version| version.number);
        versions
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().versions.len()
    }

    /// Returns the existing resources in their current state.
    pub(crate) fn living(&self) -> Vec<Version> {
        let recorded = self.lock();
        let last = recorded.last.values().map(|place| &recorded.versions[*place]);
        last.filter(|last| !last.gone).cloned().collect()
    }

    /// Returns the last version of this resource, if it exists.
    pub(crate) fn last(&self, kind: Kind, name: &str) -> Option<Version> {
        let recorded = self.lock();
        let place = recorded.last.get(&(kind.names().0.to_owned(), name.to_owned()))?;
        Some(recorded.versions[*place].clone()).filter(|last| !last.gone)
    }

    /// Returns the reason why versions may be missing.
    pub(crate) fn broken(&self) -> Option<String> {
        self.lock().broken.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch(stage: &Stage, api: &Api<DynamicObject>, recorded: &Mutex<Recorded>, begin: String) {
    let mut version = begin;
    loop {
        let events = match api.watch(&WatchParams::default(), &version).await {
            Ok(events) => events,
            Err(error) => {
                eprintln!("the recorder's watch: {error}; it is taken up where it was");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let (object, gone) = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, false),
                Ok(WatchEvent::Deleted(object)) => (object, true),
                Ok(WatchEvent::Bookmark(mark)) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
                Ok(WatchEvent::Error(status)) => {
                    let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
                    recorded.broken = Some(status.message);
                    return;
                }
                Err(_) => break,
            };
            version = object.metadata.resource_version.clone().unwrap_or_default();
            record(stage, recorded, json!(object), gone);
        }
    }
}

fn record(stage: &Stage, recorded: &Mutex<Recorded>, mut object: Value, gone: bool) {
    let seen = now();
    let managers = object["metadata"]["managedFields"].take();
    let status = managers
        .as_array()
        .into_iter()
        .flatten()
        .find(|fields| fields["manager"] == FIELD_MANAGER && fields["subresource"] == "status");
    let number = object["metadata"]["resourceVersion"].as_str();
    let mut version = Version {
        number: number.and_then(|number| number.parse().ok()).unwrap_or_default(),
        seen,
        written: status.and_then(|fields| time(&fields["time"])).unwrap_or_default(),
        gone,
        object,
        held: Value::Null,
    };
    version.held = held(stage, &version);
    let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
    let place = recorded.versions.len();
    let name = (version.kind().to_owned(), version.name().to_owned());
    recorded.last.insert(name, place);
    recorded.versions.push(version);
}

/// Returns AWS's current object with the name of this version.
pub(crate) fn held(stage: &Stage, version: &Version) -> Value {
    history::held(&stage.aws(), APP, version)
}
