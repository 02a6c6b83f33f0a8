//! The queue of a kind: which resource has its pass next, and when. One pass per resource at a time, and a limited
//! number at a time over all queues.
//!
//! Namespaces take turns. Within a namespace, the resource that has waited longest comes first. kube's own scheduler
//! picks an arbitrary waiting resource.

use std::{
    collections::HashMap,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, future::OptionFuture, stream::FuturesUnordered};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::{
    sync::CancellationToken,
    time::{DelayQueue, delay_queue},
};

use tracing::warn;

use super::index::ObjectKey;
use crate::fair_queue::FairQueue;

/// How long passes may take once the operator is ending. Together with the time to give back the lease it is less than
/// the 30 s after which Kubernetes kills a container.
const FINISH: Duration = Duration::from_secs(17);
/// Longest wait for a next pass.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// When a resource has its next pass if nothing happens to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Again {
    /// Not before something happens to it.
    Never,
    /// After this time.
    After(Duration),
}

/// The place of a pass among the limited number of running passes, over all queues: first come, first served.
pub(super) struct Place {
    all: Arc<Semaphore>,
    /// `None`: the place has been left, or the queue no longer hands out places.
    taken: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// Waits for one of these places.
    async fn take(all: Arc<Semaphore>) -> Self {
        let taken = all.clone().acquire_owned().await.ok();
        Self { all, taken }
    }

    /// Leaves the place to others for this time, then waits for a place again.
    pub(super) async fn leave_for(&mut self, time: Duration) {
        self.taken = None;
        sleep(time).await;
        self.taken = self.all.clone().acquire_owned().await.ok();
    }
}

/// Gives each requested resource a pass, and another one after the time that its pass returned. A request during a pass
/// leads to another pass right after it. Ends with the shutdown: running passes have 17 s to end. A pass that is
/// dropped then is as if the process had crashed: the intent of a create is stored before it is sent, and the next
/// process finds out its outcome.
pub(super) async fn run<P: Future<Output = Again>>(
    requests: impl Stream<Item = Arc<ObjectKey>>,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
    pass: impl Fn(Arc<ObjectKey>, Place) -> P,
) {
    let mut requests = pin!(requests.fuse());
    let mut schedule = Schedule::default();
    let mut passes = FuturesUnordered::new();
    // Kept until it resolves: a new request for a place would start at the end of the line.
    let mut place: Option<Pin<Box<_>>> = None;
    loop {
        if place.is_none() && !schedule.ready.is_empty() {
            place = Some(Box::pin(Place::take(places.clone())));
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some((key, again)) = passes.next() => schedule.passed(key, again),
            Some(taken) = OptionFuture::from(place.as_mut()) => {
                place = None;
                if let Some(key) = schedule.next() {
                    let pass = pass(key.clone(), taken);
                    passes.push(async move { (key, pass.await) });
                }
            }
            Some(key) = requests.next() => schedule.request(key),
            Some(due) = schedule.later.next() => schedule.due(due.into_inner()),
        }
    }
    // No new pass begins. Passes that wait for a place continue at once.
    places.close();
    drop(place);
    let finished = async { while passes.next().await.is_some() {} };
    if tokio::time::timeout(FINISH, finished).await.is_err() {
        warn!(
            passes = passes.len(),
            "passes have not finished in time: the next process finds out the outcome of their requests"
        );
    }
}

/// The state of a resource in the queue.
enum Stage {
    /// It waits for its turn.
    Ready,
    /// It has its pass. `again`: another pass follows right after it.
    Passing { again: bool },
    /// Its next pass comes later.
    Waiting(delay_queue::Key),
}

/// The order of passes.
#[derive(Default)]
struct Schedule {
    ready: FairQueue<Arc<ObjectKey>>,
    /// The ticket of the last resource that became ready.
    ticket: u64,
    later: DelayQueue<Arc<ObjectKey>>,
    stages: HashMap<Arc<ObjectKey>, Stage>,
}

impl Schedule {
    /// Records that something happened to this resource.
    fn request(&mut self, key: Arc<ObjectKey>) {
        match self.stages.get_mut(&key) {
            Some(Stage::Ready) => return,
            Some(Stage::Passing { again }) => {
                *again = true;
                return;
            }
            Some(Stage::Waiting(timer)) => {
                self.later.remove(timer);
            }
            None => {}
        }
        self.due(key);
    }

    /// Makes a resource ready whose time has come.
    fn due(&mut self, key: Arc<ObjectKey>) {
        self.ticket += 1;
        self.ready.push(&key.namespace, self.ticket, key.clone());
        self.stages.insert(key, Stage::Ready);
    }

    /// Takes the resource whose pass begins now.
    fn next(&mut self) -> Option<Arc<ObjectKey>> {
        let key = self.ready.pop()?;
        self.stages.insert(key.clone(), Stage::Passing { again: false });
        Some(key)
    }

    /// Records that its pass has ended, with the time of the next one.
    fn passed(&mut self, key: Arc<ObjectKey>, again: Again) {
        if matches!(self.stages.remove(&key), Some(Stage::Passing { again: true })) {
            self.due(key);
        } else if let Again::After(delay) = again {
            let timer = self.later.insert(key.clone(), delay.min(LONGEST));
            self.stages.insert(key, Stage::Waiting(timer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use futures::{channel::mpsc, stream};
    use tokio::{
        task,
        time::{self, Instant},
    };

    use super::*;
    use crate::api::KindName;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: &str) -> Arc<ObjectKey> {
        Arc::new(ObjectKey::new(KindName::BackendApi, "default", name))
    }

    /// The events of a test, with the second of each.
    type Diary = Rc<RefCell<Vec<(u64, String)>>>;

    struct Bench {
        diary: Diary,
        ask: mpsc::UnboundedSender<Arc<ObjectKey>>,
        shutdown: CancellationToken,
        queue: task::JoinHandle<()>,
    }

    /// Makes a queue whose passes take one second and then return `again`.
    fn bench(concurrency: usize, again: Again) -> Bench {
        let begin = Instant::now();
        let diary = Diary::default();
        let (ask, asked) = mpsc::unbounded();
        let shutdown = CancellationToken::new();
        let write = diary.clone();
        let pass = move |key: Arc<ObjectKey>, place: Place| {
            let diary = write.clone();
            let note = move |what| diary.borrow_mut().push((begin.elapsed().as_secs(), what));
            async move {
                note(format!("{} begins", key.name));
                time::sleep(SECOND).await;
                note(format!("{} ends", key.name));
                drop(place);
                again
            }
        };
        let queue = task::spawn_local(run(
            asked,
            Arc::new(Semaphore::new(concurrency)),
            shutdown.clone(),
            pass,
        ));
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
    async fn namespaces_take_turns() {
        local(async {
            let bench = bench(1, Again::Never);
            bench.ask("a");
            for name in ["b", "c", "d"] {
                bench.ask(name);
            }
            let other = ObjectKey::new(KindName::BackendApi, "other", "x");
            bench.ask.unbounded_send(Arc::new(other)).expect("the queue runs");
            time::sleep(10 * SECOND).await;
            let diary = bench.diary.borrow();
            let begun = diary.iter().filter_map(|(_, what)| what.strip_suffix(" begins"));
            assert_eq!(begun.collect::<Vec<_>>(), ["a", "b", "x", "c", "d"]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn two_queues_share_their_places_and_take_turns() {
        local(async {
            let places = Arc::new(Semaphore::new(1));
            let diary = Diary::default();
            let begin = Instant::now();
            for queue in ["x", "y"] {
                let asked =
                    stream::iter([1, 2, 3].map(|number| key(&format!("{queue}{number}")))).chain(stream::pending());
                let diary = diary.clone();
                let pass = move |key: Arc<ObjectKey>, place: Place| {
                    let diary = diary.clone();
                    async move {
                        diary.borrow_mut().push((begin.elapsed().as_secs(), key.name.clone()));
                        time::sleep(SECOND).await;
                        drop(place);
                        Again::Never
                    }
                };
                task::spawn_local(run(asked, places.clone(), CancellationToken::new(), pass));
            }
            time::sleep(10 * SECOND).await;
            let diary: Vec<_> = diary.borrow().iter().map(|(at, name)| format!("{at} {name}")).collect();
            assert_eq!(diary, ["0 x1", "1 x2", "2 y1", "3 x3", "4 y2", "5 y3"]);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_waits_for_long_leaves_its_place_to_others_and_keeps_its_resource() {
        local(async {
            let begin = Instant::now();
            let diary = Diary::default();
            let write = diary.clone();
            let pass = move |key: Arc<ObjectKey>, mut place: Place| {
                let diary = write.clone();
                async move {
                    let note = |what: &str| {
                        diary
                            .borrow_mut()
                            .push((begin.elapsed().as_secs(), format!("{} {what}", key.name)));
                    };
                    note("begins");
                    if key.name == "waits" {
                        place.leave_for(10 * SECOND).await;
                    }
                    time::sleep(SECOND).await;
                    note("ends");
                    Again::Never
                }
            };
            let (ask, asked) = mpsc::unbounded();
            let places = Arc::new(Semaphore::new(1));
            task::spawn_local(run(asked, places, CancellationToken::new(), pass));
            for name in ["waits", "a", "waits"] {
                ask.unbounded_send(key(name)).expect("the queue runs");
            }
            time::sleep(4 * SECOND).await;
            ask.unbounded_send(key("waits")).expect("the queue runs");
            time::sleep(60 * SECOND).await;
            let diary: Vec<_> = diary.borrow().iter().map(|(at, what)| format!("{at} {what}")).collect();
            let once = ["0 waits begins", "0 a begins", "1 a ends", "11 waits ends"];
            // It was requested during its pass: one more pass, right after it.
            assert_eq!(diary, [&once[..], &["11 waits begins", "22 waits ends"]].concat());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_has_left_its_place_ends_at_a_shutdown_though_others_keep_theirs() {
        local(async {
            let pass = |key: Arc<ObjectKey>, mut place: Place| async move {
                if key.name != "waits" {
                    return std::future::pending().await;
                }
                place.leave_for(10 * SECOND).await;
                Again::Never
            };
            let asked = |names: &[&str]| {
                stream::iter(names.iter().map(|name| key(name)).collect::<Vec<_>>()).chain(stream::pending())
            };
            let (places, shutdown) = (Arc::new(Semaphore::new(1)), CancellationToken::new());
            let queue = task::spawn_local(run(asked(&["waits"]), places.clone(), shutdown.clone(), pass));
            task::yield_now().await;
            task::spawn_local(run(asked(&["hangs", "a"]), places, shutdown.clone(), pass));
            time::sleep(SECOND).await;
            let begin = Instant::now();
            shutdown.cancel();
            queue.await.expect("the queue ends");
            assert!(begin.elapsed() <= 10 * SECOND, "{:?}", begin.elapsed());
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

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_does_not_end_holds_a_shutdown_up_for_17_s() {
        local(async {
            let begin = Instant::now();
            let shutdown = CancellationToken::new();
            let asked = stream::iter([key("a")]).chain(stream::pending());
            let places = Arc::new(Semaphore::new(4));
            let queue = task::spawn_local(run(asked, places, shutdown.clone(), |_, _| std::future::pending()));
            time::sleep(SECOND).await;
            shutdown.cancel();
            queue.await.expect("the queue ends");
            assert_eq!(begin.elapsed(), FINISH + SECOND);
        })
        .await;
    }
}
