//! The line from a process to all others: it counts requests, and can kill the process at one of them.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The fate of a process at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Goes,
    /// The process is killed before the request is sent.
    KilledBefore,
    /// The process is killed after the request is sent.
    KilledAfter,
}

/// The line of one process.
pub(crate) struct Line {
    /// Notified whenever something is sent.
    sent: Arc<Notify>,
    requests: AtomicU64,
    /// The number of requests that come first, and the way in which the next one kills the process.
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

    /// Makes the line kill the process at the request after this many others.
    pub(crate) fn set_trap(&self, after: u32, fate: Fate) {
        *self.trap.lock() = Some((after, fate));
    }

    /// Decides the fate of the process at the next request.
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

    /// Reports that a request has been sent.
    pub(crate) fn leave(&self) {
        self.sent.notify_one();
    }

    /// Kills the process at this point. Never returns.
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
