//! The view of a user: watches on the objects of a namespace, with the time at which each became Ready or was gone.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures::StreamExt as _;
use kube::{
    Api, Client, ResourceExt as _,
    api::Object,
    runtime::watcher::{self, Event, watcher},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinSet, time};

use crate::mix::Kind;

/// Longest wait without any progress.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Spec {}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    observed_generation: i64,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    #[serde(rename = "type")]
    name: String,
    status: String,
}

type Seen = Object<Spec, Status>;

/// An object: its kind and name.
type Key = (Kind, String);

#[derive(Debug, Default)]
struct Sight {
    there: HashSet<Key>,
    ready: HashMap<Key, Instant>,
}

/// The number of objects, and how many of them are Ready.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Count {
    pub(crate) there: usize,
    pub(crate) ready: usize,
}

/// Watches on all kinds in a namespace, until dropped.
pub(crate) struct Eyes {
    sight: Arc<Mutex<Sight>>,
    count: watch::Receiver<Count>,
    _watches: JoinSet<()>,
}

impl Eyes {
    pub(crate) fn open(client: &Client, namespace: &str) -> Self {
        let sight = Arc::<Mutex<Sight>>::default();
        let (tell, count) = watch::channel(Count::default());
        let tell = Arc::new(tell);
        let mut watches = JoinSet::new();
        for kind in Kind::ALL {
            let api: Api<Seen> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
            let (sight, tell) = (sight.clone(), tell.clone());
            watches.spawn(async move {
                let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
                while let Some(event) = events.next().await {
                    // After an error the watcher lists again.
                    if let Ok(event) = event {
                        let count = sight.lock().take(kind, event);
                        tell.send_if_modified(|told| std::mem::replace(told, count) != count);
                    }
                }
            });
        }
        Self {
            sight,
            count,
            _watches: watches,
        }
    }

    /// Waits until this many objects exist and are Ready. Returns when the last one became Ready.
    pub(crate) async fn wait_ready(&mut self, objects: usize) -> Result<Instant> {
        self.wait(|count| count.ready >= objects, "Ready").await
    }

    /// Waits until no object is left.
    pub(crate) async fn wait_gone(&mut self) -> Result<Instant> {
        self.wait(|count| count.there == 0, "gone").await
    }

    async fn wait(&mut self, reached: impl Fn(Count) -> bool, what: &str) -> Result<Instant> {
        loop {
            let count = *self.count.borrow_and_update();
            if reached(count) {
                return Ok(Instant::now());
            }
            if time::timeout(PATIENCE, self.count.changed()).await.is_err() {
                bail!("not all are {what}, and nothing has changed for {PATIENCE:?}: {count:?}");
            }
        }
    }

    pub(crate) fn count(&self) -> Count {
        *self.count.borrow()
    }

    /// Returns when this object was first seen Ready.
    pub(crate) fn ready_since(&self, kind: Kind, name: &str) -> Option<Instant> {
        self.sight.lock().ready.get(&(kind, name.to_owned())).copied()
    }
}

impl Sight {
    fn take(&mut self, kind: Kind, event: Event<Seen>) -> Count {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let key = (kind, object.name_any());
                let generation = object.metadata.generation.unwrap_or_default();
                let is_ready = object.status.is_some_and(|status| {
                    status.observed_generation == generation
                        && status
                            .conditions
                            .iter()
                            .any(|condition| condition.name == "Ready" && condition.status == "True")
                });
                self.there.insert(key.clone());
                if is_ready {
                    self.ready.entry(key).or_insert_with(Instant::now);
                } else {
                    self.ready.remove(&key);
                }
            }
            Event::Delete(object) => {
                let key = (kind, object.name_any());
                self.there.remove(&key);
                self.ready.remove(&key);
            }
            Event::Init | Event::InitDone => {}
        }
        Count {
            there: self.there.len(),
            ready: self.ready.len(),
        }
    }
}
