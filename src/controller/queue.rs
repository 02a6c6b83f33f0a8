//! The queue of a kind: who has a pass next, and when. One pass per resource at a time, and so many at a time in all.
//!
//! kube's own `applier` does this too, and keeps each resource's name, uid and version four times over meanwhile: with ten
//! thousand resources that wait for their drift checks, 5 MiB. Its scheduler, which is what is hard here, serves both.

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    channel::mpsc,
    stream::{self, FuturesUnordered},
};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::index::ObjectKey;

/// Nothing waits longer for its next pass.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// When a resource has its next pass, though nothing happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Again {
    /// Not before something does.
    Never,
    /// After this time.
    After(Duration),
}

/// Gives each requested resource a pass, and another one after the time that its pass asked for. A request during a pass is
/// another pass, right after it. Ends with the shutdown, when the passes under way have ended.
pub(super) async fn run<P: Future<Output = Again>>(
    requests: impl Stream<Item = Arc<ObjectKey>>,
    concurrency: usize,
    shutdown: CancellationToken,
    pass: impl Fn(Arc<ObjectKey>) -> P,
) {
    let (later, asked) = mpsc::unbounded();
    let at_once = requests.map(|message| ScheduleRequest {
        message,
        run_at: Instant::now(),
    });
    let mut due = pin!(scheduler(stream::select(at_once, asked)));
    let mut busy = HashSet::new();
    let mut passes = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some((key, again)) = passes.next() => {
                busy.remove(&key);
                if let Again::After(delay) = again {
                    let run_at = Instant::now() + delay.min(LONGEST);
                    // This function holds the receiver.
                    let _ = later.unbounded_send(ScheduleRequest { message: key, run_at });
                }
            }
            Some(key) = async { due.as_mut().hold_unless(|key| !busy.contains(key)).next().await },
                if passes.len() < concurrency =>
            {
                busy.insert(key.clone());
                let pass = pass(key.clone());
                passes.push(async move { (key, pass.await) });
            }
        }
    }
    while passes.next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::{task, time};

    use super::*;
    use crate::controller::index::KindName;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: &str) -> Arc<ObjectKey> {
        Arc::new(ObjectKey::new(KindName::BackendApi, "default", name))
    }

    /// What happened, with the seconds at which it did.
    type Diary = Rc<RefCell<Vec<(u64, String)>>>;

    struct Bench {
        diary: Diary,
        ask: mpsc::UnboundedSender<Arc<ObjectKey>>,
        shutdown: CancellationToken,
        queue: task::JoinHandle<()>,
    }

    /// A queue whose passes take a second and then ask for this.
    fn bench(concurrency: usize, again: Again) -> Bench {
        let begin = Instant::now();
        let diary = Diary::default();
        let (ask, asked) = mpsc::unbounded();
        let shutdown = CancellationToken::new();
        let write = diary.clone();
        let pass = move |key: Arc<ObjectKey>| {
            let diary = write.clone();
            let note = move |what| diary.borrow_mut().push((begin.elapsed().as_secs(), what));
            async move {
                note(format!("{} begins", key.name));
                time::sleep(SECOND).await;
                note(format!("{} ends", key.name));
                again
            }
        };
        let queue = task::spawn_local(run(asked, concurrency, shutdown.clone(), pass));
        Bench {
            diary,
            ask,
            shutdown,
            queue,
        }
    }

    impl Bench {
        fn ask(&self, name: &str) {
            self.ask.unbounded_send(key(name)).expect("the queue runs");
        }

        fn assert(&self, diary: &[(u64, &str)]) {
            let written = self.diary.borrow();
            let written: Vec<_> = written.iter().map(|(second, what)| (*second, what.as_str())).collect();
            assert_eq!(written, diary);
        }
    }

    async fn local(test: impl Future<Output = ()>) {
        task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_during_a_pass_is_one_more_pass_right_after_it_however_often_it_comes() {
        local(async {
            let bench = bench(4, Again::Never);
            bench.ask("a");
            time::sleep(SECOND / 2).await;
            bench.ask("a");
            bench.ask("a");
            time::sleep(10 * SECOND).await;
            bench.assert(&[(0, "a begins"), (1, "a ends"), (1, "a begins"), (2, "a ends")]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_passes_run_at_a_time_than_allowed_and_those_that_wait_come_in_turn() {
        local(async {
            let bench = bench(1, Again::Never);
            bench.ask("a");
            time::sleep(SECOND / 10).await;
            bench.ask("b");
            time::sleep(SECOND / 10).await;
            bench.ask("c");
            time::sleep(10 * SECOND).await;
            bench.assert(&[
                (0, "a begins"),
                (1, "a ends"),
                (1, "b begins"),
                (2, "b ends"),
                (2, "c begins"),
                (3, "c ends"),
            ]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_comes_again_when_its_pass_said_or_at_once_when_something_happens_before() {
        local(async {
            let bench = bench(4, Again::After(10 * SECOND));
            bench.ask("a");
            time::sleep(5 * SECOND).await;
            bench.ask("a");
            time::sleep(SECOND * 14).await;
            bench.assert(&[
                (0, "a begins"),
                (1, "a ends"),
                (5, "a begins"),
                (6, "a ends"),
                (16, "a begins"),
                (17, "a ends"),
            ]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn no_resource_waits_longer_than_thirty_days() {
        const DAY: u64 = 24 * 60 * 60;
        local(async {
            let bench = bench(4, Again::After(Duration::MAX));
            bench.ask("a");
            time::sleep(Duration::from_secs(31 * DAY)).await;
            bench.assert(&[
                (0, "a begins"),
                (1, "a ends"),
                (30 * DAY + 1, "a begins"),
                (30 * DAY + 2, "a ends"),
            ]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_begins_no_pass_and_waits_for_those_that_run() {
        local(async {
            let bench = bench(1, Again::After(SECOND));
            bench.ask("a");
            bench.ask("b");
            time::sleep(SECOND / 2).await;
            bench.shutdown.cancel();
            bench.queue.await.expect("the queue ends");
            let diary = bench.diary.borrow();
            assert_eq!(diary.len(), 2, "{diary:?}");
            assert_eq!(diary[1].0, 1);
        })
        .await;
    }
}
