//! The counts of all tests, for the last line of the output.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use amplify_testkit::stage::Stage;

#[derive(Default)]
pub(crate) struct Tally {
    crash_points: AtomicUsize,
    faults: AtomicUsize,
    objects: AtomicUsize,
    most_creates: AtomicUsize,
    lost_jobs: AtomicUsize,
    false_ready: AtomicUsize,
}

pub(crate) static TALLY: Tally = Tally {
    crash_points: AtomicUsize::new(0),
    faults: AtomicUsize::new(0),
    objects: AtomicUsize::new(0),
    most_creates: AtomicUsize::new(0),
    lost_jobs: AtomicUsize::new(0),
    false_ready: AtomicUsize::new(0),
};

impl Tally {
    pub(crate) fn crash(&self) {
        self.crash_points.fetch_add(1, Relaxed);
    }

    pub(crate) fn faults(&self, count: usize) {
        self.faults.fetch_add(count, Relaxed);
    }

    pub(crate) fn lost_job(&self) {
        self.lost_jobs.fetch_add(1, Relaxed);
    }

    pub(crate) fn false_ready(&self) {
        self.false_ready.fetch_add(1, Relaxed);
    }

    /// Adds the creates of a stage. Checks that nothing was created twice, and that nothing dangerous was called.
    pub(crate) fn creates(&self, stage: &Stage) {
        for count in stage.simulator.history().creates_by_object().into_values() {
            self.objects.fetch_add(1, Relaxed);
            self.most_creates.fetch_max(count, Relaxed);
        }
        stage.assert_created_once();
    }

    pub(crate) fn print(&self) {
        let (objects, most) = (self.objects.load(Relaxed), self.most_creates.load(Relaxed));
        println!(
            "evidence: crash points swept: {}; faults injected: {}; accepted creates per object: {} ({objects} objects); lost jobs: {}; false Ready: {}",
            self.crash_points.load(Relaxed),
            self.faults.load(Relaxed),
            if objects == 0 {
                "none".to_owned()
            } else {
                format!("at most {most}")
            },
            self.lost_jobs.load(Relaxed),
            self.false_ready.load(Relaxed),
        );
    }
}
