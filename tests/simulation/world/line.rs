//! The line of a process to all others: counts its requests, and kills it at one of them if told so.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What happens at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Goes,
    /// The process is killed, and the request has not left.
    KilledBefore,
    /// The process is killed when the request has left.
    KilledAfter,
}

/// One for each process.
pub(crate) struct Line {
    /// Told whenever something leaves.
    sent: Arc<Notify>,
    requests: AtomicU64,
    /// The process is killed at the request after so many others.
    trap: Mutex<Option<(u32, Fate)>>,
    is_dead: AtomicBool,
}

impl Line {
    pub(crate) fn new(sent: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            sent,
            requests: AtomicU64::new(0),
            trap: Mutex::new(None),
            is_dead: AtomicBool::new(false),
        })
    }

    /// Kills the process at the request after so many others.
    pub(crate) fn set_trap(&self, after: u32, fate: Fate) {
        *self.trap.lock() = Some((after, fate));
    }

    /// What happens at the next request.
    pub(crate) fn fate(&self) -> Fate {
        self.requests.fetch_add(1, Relaxed);
        let mut trap = self.trap.lock();
        match &mut *trap {
            None => Fate::Goes,
            Some((0, fate)) => {
                let fate = *fate;
                *trap = None;
                fate
            }
            Some((after, _)) => {
                *after -= 1;
                Fate::Goes
            }
        }
    }

    /// A request has left.
    pub(crate) fn leave(&self) {
        self.sent.notify_one();
    }

    /// Returns the process is to be killed here and now.
    pub(crate) async fn die<T>(&self) -> T {
        self.is_dead.store(true, Relaxed);
        self.sent.notify_one();
        pending().await
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }
}
