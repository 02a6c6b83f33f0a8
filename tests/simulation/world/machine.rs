//! A machine: a runtime of its own, whose clock moves only when the world runs it. No thread, no I/O.
//!
//! Dropping a machine kills its process: each of its tasks ends where it waits.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    task::yield_now,
    time::{Instant, advance, sleep_until},
};

/// The number of rounds in which all tasks run, after which nothing more can be done at this time.
const TURNS: u32 = 4;

/// A machine. All its times are durations since the world began.
pub(crate) struct Machine {
    runtime: Runtime,
    booted: Duration,
    base: Instant,
    /// Notified whenever something is sent to another machine, which may have to answer before this one continues.
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

    /// Returns the instant at which its clock began.
    pub(crate) const fn base(&self) -> Instant {
        self.base
    }

    /// Returns its current time.
    pub(crate) fn now(&self) -> Duration {
        self.with(|| self.booted + self.base.elapsed())
    }

    /// Runs code on this machine, at once.
    pub(crate) fn with<T>(&self, act: impl FnOnce() -> T) -> T {
        let _inside = self.runtime.enter();
        act()
    }

    /// Runs until `now`, and then until `until` or until something is sent to another machine. Returns the time that it
    /// has reached. It may already be later than `now` at the start.
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

    /// Does everything that can be done at the current time.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(async {
            // One event leads to others: a change, the watch that shows it, the reader of the watch.
            for _ in 0..TURNS {
                yield_now().await;
            }
        });
    }

    fn moment(&self, time: Duration) -> Instant {
        self.base + time.saturating_sub(self.booted)
    }

    /// Stands still until this time. Afterwards everything that was due is late.
    pub(crate) fn skip(&self, until: Duration) {
        if let Some(time) = until.checked_sub(self.now()) {
            self.runtime.block_on(advance(time));
        }
    }

    /// Returns the number of running tasks.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }
}
