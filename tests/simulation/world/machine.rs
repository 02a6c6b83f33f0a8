//! A machine: a runtime of its own, whose clock stands still unless the world lets it run. No thread, no I/O.
//!
//! What is dropped with it is a process that was killed: each of its tasks ends where it waits.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::yield_now,
    time::{Instant, advance, sleep_until},
};

/// How often all tasks have their turn until nothing is left to do now.
const TURNS: u32 = 4;

/// Times are the world's: since it began.
pub(crate) struct Machine {
    runtime: Runtime,
    booted: Duration,
    base: Instant,
    /// Told whenever something leaves for another machine, which may have to answer before this one goes on.
    sent: Arc<Notify>,
}

impl Machine {
    pub(crate) fn boot(at: Duration) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let base = {
            let _inside = runtime.enter();
            Instant::now()
        };
        Self {
            runtime,
            booted: at,
            base,
            sent: Arc::default(),
        }
    }

    pub(crate) fn sent(&self) -> Arc<Notify> {
        self.sent.clone()
    }

    pub(crate) fn hear(&mut self, sent: Arc<Notify>) {
        self.sent = sent;
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Returns when its clock began.
    pub(crate) const fn base(&self) -> Instant {
        self.base
    }

    /// Returns how far it has come.
    pub(crate) fn now(&self) -> Duration {
        self.with(|| self.booted + self.base.elapsed())
    }

    /// Does something as code on this machine, at once.
    pub(crate) fn with<T>(&self, act: impl FnOnce() -> T) -> T {
        let _inside = self.runtime.enter();
        act()
    }

    /// Runs until `now`, and on until `until` or until something leaves for another machine. Says how far it has come: it
    /// may have been further already.
    pub(crate) fn run(&self, now: Duration, until: Duration) -> Duration {
        if self.now() < now {
            self.runtime.block_on(async { sleep_until(self.moment(now)).await });
        }
        if self.now() < until {
            let end = self.moment(until);
            self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = sleep_until(end) => {}
                    () = self.sent.notified() => {}
                }
            });
        }
        self.now()
    }

    /// Does what can be done now.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(async {
            // One thing leads to another: a change, the watch that shows it, who reads that.
            for _ in 0..TURNS {
                yield_now().await;
            }
        });
    }

    fn moment(&self, time: Duration) -> Instant {
        self.base + time.saturating_sub(self.booted)
    }

    /// Stands still until this time: when it goes on, all that was due is late.
    pub(crate) fn skip(&self, until: Duration) {
        if let Some(time) = until.checked_sub(self.now()) {
            self.runtime.block_on(advance(time));
        }
    }

    /// Tasks that have not ended.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }
}
