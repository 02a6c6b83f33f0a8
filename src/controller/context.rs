//! The state that all reconciles share.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::channel::mpsc;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    events::Events,
    index::{Index, ObjectKey},
    locks::Locks,
};
use crate::{
    amplify::{Accounts, Sessions, throttle::Throttle},
    api::{KindName, outputs::BackendOutputs},
    clock::Clock,
    leader::Leadership,
    lifecycle::Settings,
    random::Random,
    telemetry::{Health, Metrics},
};

/// The parts of a [`Context`].
pub struct Parts {
    /// Client of the API server.
    pub client: kube::Client,
    /// The settings that decisions depend on.
    pub settings: Settings,
    /// The AWS sessions.
    pub sessions: Sessions,
    /// How many reconciles may run at a time, over all kinds.
    pub concurrency: usize,
    /// The settings of the token buckets.
    pub throttle: Tokens,
    /// Writes the Events.
    pub events: Events,
    /// The operator's metrics.
    pub metrics: Arc<Metrics>,
    /// The operator's health.
    pub health: Arc<Health>,
    /// Whether this process may write.
    pub leadership: Arc<Leadership>,
    /// Ends everything.
    pub shutdown: CancellationToken,
    /// Spreads work that would otherwise happen at the same time.
    pub random: Arc<Random>,
}

/// Settings of the token buckets.
pub type Tokens = crate::amplify::throttle::Settings;

/// The state that all reconciles share.
pub struct Context {
    pub(super) client: kube::Client,
    pub(super) settings: Settings,
    pub(super) sessions: Sessions,
    pub(super) clock: Arc<Clock>,
    pub(super) throttle: Arc<Throttle<ObjectKey>>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
    pub(super) leadership: Arc<Leadership>,
    pub(super) shutdown: CancellationToken,
    pub(super) random: Arc<Random>,
    /// Which environments are locked for a Gen 2 migration.
    pub(super) locks: Locks,
    /// Told each time that an answer about locks has come, or could not be asked for.
    pub(super) lock_answers: Notify,
    /// The outputs of backends that the passes of other resources have read, until the pass of the backend's resource stores them.
    pub(super) outputs: Mutex<HashMap<ObjectKey, HandedOver>>,
    pub(super) index: Mutex<Index>,
    /// The places for passes, over all queues.
    pub(super) places: Arc<Semaphore>,
    queues: Arc<Queues>,
}

/// Outputs for the resource of a backend.
#[derive(Clone)]
pub(super) struct HandedOver {
    /// The uid of that resource: another one of the same name may be of another backend.
    pub(super) uid: String,
    pub(super) outputs: Arc<BackendOutputs>,
}

/// The queues of the watched kinds. Resources wake each other through them.
#[derive(Default)]
struct Queues(Mutex<Vec<Queue>>);

struct Queue {
    kind: KindName,
    namespace: Option<String>,
    sender: mpsc::UnboundedSender<ObjectKey>,
}

impl Queues {
    fn wake(&self, key: ObjectKey) {
        let queues = self.0.lock();
        let queue = queues.iter().find(|queue| {
            queue.kind == key.kind
                && queue
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == key.namespace)
        });
        if let Some(queue) = queue {
            // The queue is closed: the operator is ending.
            let _ = queue.sender.unbounded_send(key);
        }
    }
}

impl Context {
    /// Makes the context and starts its token buckets.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let queues = Arc::<Queues>::default();
        let granted = queues.clone();
        let throttle = Throttle::new(
            parts.throttle,
            |key: &ObjectKey| &key.namespace,
            move |key| granted.wake(key),
        );
        throttle.measure(parts.metrics.clone());
        tokio::spawn(throttle.clone().run(parts.shutdown.clone()));
        Arc::new(Self {
            client: parts.client,
            locks: Locks::new(parts.settings.drift_interval),
            lock_answers: Notify::new(),
            settings: parts.settings,
            clock: parts.sessions.clock().clone(),
            sessions: parts.sessions,
            throttle,
            events: parts.events,
            metrics: parts.metrics,
            health: parts.health,
            leadership: parts.leadership,
            shutdown: parts.shutdown,
            random: parts.random,
            outputs: Mutex::default(),
            index: Mutex::new(Index::default()),
            places: Arc::new(Semaphore::new(parts.concurrency)),
            queues,
        })
    }

    /// Opens the queue of a kind in a namespace (`None`: in all).
    pub(super) fn queue(&self, kind: KindName, namespace: Option<String>) -> mpsc::UnboundedReceiver<ObjectKey> {
        let (sender, receiver) = mpsc::unbounded();
        self.queues.0.lock().push(Queue {
            kind,
            namespace,
            sender,
        });
        receiver
    }

    /// Queues these resources, because another one changed.
    pub(super) fn wake(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        for key in keys {
            self.queues.wake(key);
        }
    }

    /// Replaces the accounts file, and queues the resources in namespaces whose entry changed. Returns how many
    /// namespaces.
    pub(super) fn set_accounts(&self, accounts: Accounts) -> usize {
        let changed = self.sessions.set_accounts(accounts);
        let of_these = |key: &&ObjectKey| changed.contains(&key.namespace);
        let keys: BTreeSet<_> = self.index.lock().keys().filter(of_these).cloned().collect();
        self.wake(keys);
        changed.len()
    }

    /// Returns the outputs that are handed over to this resource.
    pub(super) fn handed_over(&self, key: &ObjectKey, uid: &str) -> Option<Arc<BackendOutputs>> {
        let all = self.outputs.lock();
        all.get(key).filter(|it| it.uid == uid).map(|it| it.outputs.clone())
    }

    /// Returns the time, by AWS's clock if it is known.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
