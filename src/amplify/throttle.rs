//! Token buckets: how many calls AWS gets per second and at a time, per account and region, and whose turn it is.
//!
//! The core (`Bucket`) is pure: it gets the time as an argument. The shell ([`Throttle`]) holds its lock only briefly,
//! sleeps only in [`Throttle::run`], and calls back when an object's turn has come, so that no pass waits.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    fair_queue::FairQueue,
    telemetry::{Metrics, metrics::Census},
};

/// How long tokens stay reserved for an object that does not collect them.
const RESERVED: Duration = Duration::from_secs(30);
/// A waiting class gets at least one grant in this many.
const SHARE: u32 = 10;
/// The lowest rate after refusals: an eighth of the least.
const LOWEST: f64 = 0.125;
/// How long the rate stays at each step below the least. Three steps take one minute.
const RECOVERY: Duration = Duration::from_secs(20);
/// The rate grows by one per second after this time of waiting without a refusal from AWS.
const GROWTH: Duration = Duration::from_secs(10);
/// Refusals within this time answer one burst and count once.
const ONE_BURST: Duration = Duration::from_secs(1);
/// A failed call that took at least this long has delayed its pass: the region hardly answers, or not at all.
const SLOW: Duration = Duration::from_secs(4);
/// After this many slow failures in a row, one object at a time may call.
const SLOW_IN_A_ROW: u32 = 3;
/// Tolerance for rounding errors in sums of fractions.
const ROUNDING: f64 = 1e-6;

/// The purpose of a call. The order is the priority.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// To find out the outcome of a write. The resource cannot continue before that.
    UnknownOutcome,
    /// To create, update or delete.
    Write,
    /// To see whether a job has ended.
    Poll,
    /// To look because a user requested it.
    Request,
    /// To check an object for drift.
    Drift,
}

impl Class {
    /// All classes, by priority.
    pub const ALL: [Self; 5] = [
        Self::UnknownOutcome,
        Self::Write,
        Self::Poll,
        Self::Request,
        Self::Drift,
    ];

    /// Returns the class as a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownOutcome => "unknown_outcome",
            Self::Write => "write",
            Self::Poll => "poll",
            Self::Request => "request",
            Self::Drift => "drift",
        }
    }
}

/// The size of each bucket.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Objects that may call AWS at a time. 0 counts as 1.
    pub at_a_time: usize,
    /// Initial calls per second. Under 0.01 counts as 0.01.
    pub per_second: f64,
    /// Calls per second that the rate may grow to. Under `per_second` counts as `per_second`.
    pub most_per_second: f64,
    /// Calls at once after a quiet time. 0 counts as 1.
    pub burst: u32,
}

/// The account and region of a bucket: AWS throttles per account and region.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BucketKey {
    /// The AWS account's ID.
    pub account: String,
    /// The region's name.
    pub region: String,
}

/// An object's request for tokens: waiting, or reserved until a time.
#[derive(Clone, Copy, Debug)]
struct Ask {
    ticket: u64,
    class: Class,
    cost: u32,
    reserved_until: Option<Instant>,
}

/// One bucket and its queues. Pure: methods get the time as an argument.
struct Bucket<T> {
    /// Initial calls per second.
    least: f64,
    /// Upper limit of calls per second.
    most: f64,
    /// Present calls per second: below `least` after refusals, above it after unmet demand.
    rate: f64,
    /// How long objects have waited for tokens since the rate last changed.
    unmet: Duration,
    burst: f64,
    at_a_time: usize,
    /// Objects that have a permit.
    away: usize,
    /// Objects with reserved tokens.
    reserved: usize,
    /// Slow failures in a row.
    slow: u32,
    /// The tokens left. Negative: a debt.
    tokens: f64,
    updated: Instant,
    halved_at: Option<Instant>,
    /// When the present rate began, if it is below `least`.
    step_from: Instant,
    asks: HashMap<T, Ask>,
    /// The waiting objects of each class.
    queues: [FairQueue<T>; 5],
    /// Grants to other classes since the class was served.
    passed: [u32; 5],
    /// Returns the owner of an object: within a class, owners take turns.
    owner: Owner<T>,
    /// The reservations in the order in which they expire. Outdated ones are skipped.
    reservations: VecDeque<(Instant, T)>,
    next_ticket: u64,
}

/// The result of a request for tokens.
#[derive(Debug, PartialEq)]
enum Answer {
    Granted,
    /// `true`: it did not wait before.
    Queued(bool),
}

impl<T: Clone + Eq + Hash> Bucket<T> {
    fn new(settings: Settings, owner: Owner<T>, now: Instant) -> Self {
        let burst = f64::from(settings.burst.max(1));
        let least = settings.per_second.max(0.01);
        Self {
            least,
            most: settings.most_per_second.max(least),
            rate: least,
            unmet: Duration::ZERO,
            burst,
            at_a_time: settings.at_a_time.max(1),
            away: 0,
            reserved: 0,
            slow: 0,
            tokens: burst,
            updated: now,
            halved_at: None,
            step_from: now,
            asks: HashMap::new(),
            queues: Default::default(),
            passed: [0; 5],
            owner,
            reservations: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Returns the capacity. A slow bucket is also small: saved tokens would be the next burst.
    fn capacity(&self) -> f64 {
        (self.burst * (self.rate / self.least).min(1.0)).max(1.0)
    }

    /// Returns when the rate grows, if objects wait until then.
    fn grows_at(&self) -> Instant {
        self.updated + GROWTH.saturating_sub(self.unmet)
    }

    /// Updates tokens, rate and reservations to this time.
    fn advance(&mut self, now: Instant) {
        while self.rate < self.least && self.step_from + RECOVERY <= now {
            self.step_from += RECOVERY;
            self.fill(self.step_from);
            self.rate = (self.rate * 2.0).min(self.least);
        }
        if self.rate >= self.least && self.is_short() {
            while self.grows_at() <= now {
                self.fill(self.grows_at());
                self.unmet = Duration::ZERO;
                self.rate = (self.rate + 1.0).min(self.most);
            }
            self.unmet += now.saturating_duration_since(self.updated);
        }
        self.fill(now);
        while let Some((until, who)) = self.reservations.front() {
            if *until > now {
                break;
            }
            let lapsed = self.asks.get(who).copied();
            if let Some(ask) = lapsed.filter(|ask| ask.reserved_until == Some(*until)) {
                self.asks.remove(who);
                self.reserved -= 1;
                self.settle(f64::from(ask.cost));
            }
            self.reservations.pop_front();
        }
    }

    fn fill(&mut self, to: Instant) {
        let seconds = to.saturating_duration_since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + seconds * self.rate).min(self.capacity());
        self.updated = self.updated.max(to);
    }

    /// Gives tokens back, or takes more (a negative number).
    fn settle(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.capacity());
    }

    /// Requests tokens for `who`. Adds to `others` the objects that get a reservation meanwhile.
    fn acquire(&mut self, now: Instant, who: &T, class: Class, cost: u32, others: &mut Vec<T>) -> Answer {
        self.advance(now);
        let owner = (self.owner)(who);
        let cost = cost.max(1);
        let (mut fresh, mut is_its_turn) = (false, false);
        let ticket = match self.asks.get(who).copied() {
            Some(ask) if ask.reserved_until.is_some() => {
                self.asks.remove(who);
                self.reserved -= 1;
                if cost <= ask.cost {
                    self.settle(f64::from(ask.cost - cost));
                    self.away += 1;
                    return Answer::Granted;
                }
                self.settle(f64::from(ask.cost));
                // It was its turn: it stays first for the larger number of tokens.
                is_its_turn = true;
                ask.ticket
            }
            Some(ask) if ask.class == class => ask.ticket,
            Some(ask) => {
                self.queues[ask.class as usize].remove(owner, ask.ticket);
                self.ticket()
            }
            None => {
                fresh = true;
                self.ticket()
            }
        };
        let queue = &mut self.queues[class as usize];
        if is_its_turn {
            queue.push_first(owner, ticket, who.clone());
        } else {
            queue.push(owner, ticket, who.clone());
        }
        let ask = Ask {
            ticket,
            class,
            cost,
            reserved_until: None,
        };
        self.asks.insert(who.clone(), ask);
        self.grant(now, others);
        if let Some(at) = others.iter().position(|other| other == who) {
            others.swap_remove(at);
            self.asks.remove(who);
            self.reserved -= 1;
            self.away += 1;
            return Answer::Granted;
        }
        Answer::Queued(fresh)
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Whether the limit of objects that call AWS is reached. Waiting objects are granted when one is back.
    const fn is_full(&self) -> bool {
        let most = if self.slow < SLOW_IN_A_ROW { self.at_a_time } else { 1 };
        self.away + self.reserved >= most
    }

    /// Whether AWS does not answer, or the rate is below the least.
    fn is_in_trouble(&self) -> bool {
        self.slow >= SLOW_IN_A_ROW || self.rate < self.least
    }

    /// Whether an object waits only for tokens.
    fn is_short(&self) -> bool {
        !self.is_full() && self.turn().is_some()
    }

    /// Reserves tokens for the objects whose turn it is, as far as the tokens last.
    fn grant(&mut self, now: Instant, granted: &mut Vec<T>) {
        let capacity = self.capacity();
        while !self.is_full()
            && let Some(class) = self.turn()
        {
            // Only the first of the class whose turn it is: while tokens are too few for it, the others wait too.
            let Some(who) = self.queues[class].first().cloned() else {
                return;
            };
            let Some(ask) = self.asks.get_mut(&who) else {
                self.queues[class].pop();
                continue;
            };
            let cost = f64::from(ask.cost);
            // A request above the capacity is granted when the bucket is full. The bucket then has a debt.
            if self.tokens + ROUNDING < cost.min(capacity) {
                return;
            }
            self.tokens -= cost;
            self.reserved += 1;
            ask.reserved_until = Some(now + RESERVED);
            self.reservations.push_back((now + RESERVED, who.clone()));
            self.queues[class].pop();
            for (other, passed) in self.passed.iter_mut().enumerate() {
                *passed = if other == class || self.queues[other].is_empty() {
                    0
                } else {
                    *passed + 1
                };
            }
            granted.push(who);
        }
    }

    /// Returns the class whose turn it is: a class that was passed over too often, otherwise the first with waiting
    /// objects.
    fn turn(&self) -> Option<usize> {
        let waiting = || (0..self.queues.len()).filter(|class| !self.queues[*class].is_empty());
        waiting()
            .filter(|class| self.passed[*class] + 1 >= SHARE)
            .max_by_key(|class| self.passed[*class])
            .or_else(|| waiting().next())
    }

    /// Returns when the next event comes without a call: enough tokens for the next object, or the end of a
    /// reservation.
    fn next_event(&self) -> Option<Instant> {
        let lapse = self.reservations.front().map(|(until, _)| *until);
        let turn = self.turn().filter(|_| !self.is_full()).and_then(|class| {
            let who = self.queues[class].first()?;
            let need = f64::from(self.asks.get(who)?.cost).min(self.capacity());
            let seconds = ((need - self.tokens) / self.rate).max(0.0);
            // One millisecond more, so that rounding does not cause an early wake-up.
            let enough = self.updated + Duration::from_secs_f64(seconds + 0.001);
            // The rate may change earlier.
            Some(if self.rate < self.least {
                enough.min(self.step_from + RECOVERY)
            } else if self.rate < self.most {
                enough.min(self.grows_at())
            } else {
                enough
            })
        });
        [lapse, turn].into_iter().flatten().min()
    }

    /// Lowers the rate after "slow down" from AWS.
    fn slow_down(&mut self, now: Instant) {
        self.advance(now);
        if self
            .halved_at
            .is_some_and(|at| now.saturating_duration_since(at) < ONE_BURST)
        {
            return;
        }
        self.rate = (self.rate / 2.0).max(self.least * LOWEST);
        self.unmet = Duration::ZERO;
        self.halved_at = Some(now);
        self.step_from = now;
        self.settle(0.0);
    }

    /// Records the end of a call and its duration. Returns true if from now on, or no longer, only one object at a time
    /// may call.
    fn answered(&mut self, now: Instant, end: End, after: Duration) -> bool {
        let before = self.slow >= SLOW_IN_A_ROW;
        match end {
            End::Unavailable if after >= SLOW => self.slow = self.slow.saturating_add(1),
            // Neither an answer, nor a call that delayed its pass.
            End::Unavailable => {}
            End::Answered => self.slow = 0,
            End::Throttled => {
                self.slow = 0;
                self.slow_down(now);
            }
        }
        before != (self.slow >= SLOW_IN_A_ROW)
    }

    /// Takes back an object's permit, with the tokens left.
    fn back(&mut self, tokens: f64) {
        self.away -= 1;
        self.settle(tokens);
    }

    /// Removes an object. Returns true if it waited or had a reservation.
    fn forget(&mut self, who: &T) -> bool {
        let Some(ask) = self.asks.remove(who) else {
            return false;
        };
        if ask.reserved_until.is_some() {
            self.reserved -= 1;
            self.settle(f64::from(ask.cost));
        } else {
            self.queues[ask.class as usize].remove((self.owner)(who), ask.ticket);
        }
        true
    }
}

/// How a call to AWS ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// AWS answered, with any result.
    Answered,
    /// AWS answered "slow down".
    Throttled,
    /// AWS gave no answer, or an answer without information.
    Unavailable,
}

/// A report from a permit to its bucket.
#[derive(Clone, Copy)]
enum Notice {
    /// A call is made in excess of the requested tokens.
    Debt,
    /// A call ended, after this time.
    Ended(End, Duration),
    /// The pass is over, with this number of tokens left.
    Back(u32),
}

/// Tokens that one pass may spend on calls to AWS. Unspent tokens go back when the permit is dropped.
#[must_use = "the tokens go back when it is dropped"]
pub struct Permit {
    left: u32,
    /// When the last call began.
    begun: Instant,
    tell: Box<dyn Fn(Notice) + Send + Sync>,
}

impl Permit {
    /// Records that a call is made. A call in excess of the requested tokens (another page of a list) becomes a debt.
    pub fn spend(&mut self) {
        self.begin();
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => (self.tell)(Notice::Debt),
        }
    }

    /// Records that the call begins now, after other work.
    pub fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Records that the call has ended.
    ///
    /// After "slow down" from AWS the bucket's rate halves, down to an eighth of the least; refusals within a second
    /// count once. Below the least, the bucket's size shrinks with the rate, and both double again every 20 s. After
    /// three calls in a row that took 4 s or more and failed, one object at a time may call, until AWS answers.
    pub fn ended(&self, end: End) {
        (self.tell)(Notice::Ended(end, self.begun.elapsed()));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.tell)(Notice::Back(self.left));
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Returns the owner of an object.
pub type Owner<T> = fn(&T) -> &str;

/// All buckets. `T` identifies a waiting object.
pub struct Throttle<T> {
    settings: Settings,
    owner: Owner<T>,
    on_grant: Box<dyn Fn(T) + Send + Sync>,
    buckets: Mutex<BTreeMap<BucketKey, Bucket<T>>>,
    changed: Notify,
    metrics: OnceLock<Arc<Metrics>>,
    this: Weak<Self>,
}

impl<T: Clone + Eq + Hash + Send + 'static> Throttle<T> {
    /// Makes buckets of this size, initially full. Within a class, owners take turns. `on_grant` is called when tokens
    /// are reserved for a queued object. The object must then ask again within 30 s. `on_grant` must not block, and
    /// must not call back into the throttle.
    #[must_use]
    pub fn new(settings: Settings, owner: Owner<T>, on_grant: impl Fn(T) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            settings,
            owner,
            on_grant: Box::new(on_grant),
            buckets: Mutex::default(),
            changed: Notify::new(),
            metrics: OnceLock::new(),
            this: Weak::clone(this),
        })
    }

    /// Reports queues, rates and waits to these metrics from now on. Only the first call has an effect.
    pub fn measure(&self, metrics: Arc<Metrics>) {
        let this = Weak::clone(&self.this);
        metrics.ask(move |census| {
            if let Some(throttle) = this.upgrade() {
                throttle.count(census);
            }
        });
        // Other metrics would be a second registry. A process has only one.
        let _ = self.metrics.set(metrics);
    }

    /// Takes `cost` tokens now, or queues `who` and calls `on_grant(who)` when tokens are reserved for it. Asking again
    /// keeps the place in the queue, unless for another class. A reservation that is not collected within 30 s is given
    /// back.
    #[expect(clippy::needless_pass_by_value, reason = "who waits is kept under this name")]
    pub fn acquire(&self, bucket: &BucketKey, who: T, class: Class, cost: u32) -> Option<Permit> {
        let mut others = Vec::new();
        let answer = {
            let mut buckets = self.buckets.lock();
            let now = Instant::now();
            buckets
                .entry(bucket.clone())
                .or_insert_with(|| Bucket::new(self.settings, self.owner, now))
                .acquire(now, &who, class, cost, &mut others)
        };
        others.into_iter().for_each(&self.on_grant);
        match answer {
            Answer::Granted => {
                let (this, key) = (Weak::clone(&self.this), bucket.clone());
                Some(Permit {
                    left: cost.max(1),
                    begun: Instant::now(),
                    tell: Box::new(move |notice| {
                        if let Some(throttle) = this.upgrade() {
                            throttle.take(&key, notice);
                        }
                    }),
                })
            }
            Answer::Queued(fresh) => {
                if let Some(metrics) = self.metrics.get().filter(|_| fresh) {
                    metrics.token_wait(class.name());
                }
                self.changed.notify_one();
                None
            }
        }
    }

    /// Returns the bucket's present rate, in calls per second.
    pub fn rate(&self, bucket: &BucketKey) -> f64 {
        let least = self.settings.per_second;
        self.buckets.lock().get(bucket).map_or(least, |bucket| bucket.rate)
    }

    /// Whether an object may wait long for tokens of this bucket: AWS does not answer, or the rate is below the least.
    pub fn is_in_trouble(&self, bucket: &BucketKey) -> bool {
        self.buckets.lock().get(bucket).is_some_and(Bucket::is_in_trouble)
    }

    /// Removes an object that is gone or needs no tokens any more. Its place or reservation becomes free.
    pub fn forget(&self, who: &T) {
        let mut buckets = self.buckets.lock();
        let waited = buckets
            .values_mut()
            .filter_map(|bucket| bucket.forget(who).then_some(()))
            .count();
        drop(buckets);
        if waited > 0 {
            self.changed.notify_one();
        }
    }

    /// Hands out tokens as they become available, until the shutdown.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            let next = self.pump();
            let wait = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.changed.notified() => {}
                () = wait => {}
            }
        }
    }

    /// Grants the tokens available now. Returns when to check again, unless something changes before.
    fn pump(&self) -> Option<Instant> {
        let mut granted = Vec::new();
        let next = {
            let mut buckets = self.buckets.lock();
            let now = Instant::now();
            let mut next: Option<Instant> = None;
            for bucket in buckets.values_mut() {
                bucket.advance(now);
                bucket.grant(now, &mut granted);
                next = next.into_iter().chain(bucket.next_event()).min();
            }
            next
        };
        granted.into_iter().for_each(&self.on_grant);
        next
    }

    /// Handles a report from a permit.
    fn take(&self, key: &BucketKey, notice: Notice) {
        if let Some(bucket) = self.buckets.lock().get_mut(key) {
            let now = Instant::now();
            bucket.advance(now);
            match notice {
                Notice::Debt => bucket.settle(-1.0),
                Notice::Ended(end, after) => {
                    if bucket.answered(now, end, after) {
                        tell_turn(key, end);
                    }
                }
                Notice::Back(left) => bucket.back(f64::from(left)),
            }
        }
        self.changed.notify_one();
    }

    /// Adds the present state to the census.
    fn count(&self, census: &mut Census) {
        let now = Instant::now();
        for (key, bucket) in self.buckets.lock().iter_mut() {
            bucket.advance(now);
            for class in Class::ALL {
                census.tokens(class.name(), bucket.queues[class as usize].len());
            }
            census.rate(&key.region, bucket.rate);
        }
    }
}

/// Logs that from now on, or no longer, only one object at a time may call AWS.
fn tell_turn(key: &BucketKey, end: End) {
    let BucketKey { account, region } = key;
    match end {
        End::Unavailable => {
            warn!(
                account,
                region,
                "AWS does not answer in this account and region: until it does, only one resource at a time asks"
            );
        }
        End::Answered | End::Throttled => info!(account, region, "AWS answers in this account and region again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        at_a_time: usize::MAX,
        per_second: 5.0,
        most_per_second: 5.0,
        burst: 10,
    };

    /// Returns one owner for all objects.
    #[expect(clippy::unnecessary_literal_bound, reason = "as what tells owners must be")]
    const fn nobody<T>(_: &T) -> &str {
        ""
    }

    fn at(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    /// Makes an empty bucket with these objects waiting, in this order.
    fn queued(start: Instant, waiting: &[(&'static str, Class, u32)]) -> Bucket<&'static str> {
        let mut bucket = Bucket::new(SETTINGS, nobody, start);
        bucket.tokens = 0.0;
        for (who, class, cost) in waiting {
            let answer = bucket.acquire(start, who, *class, *cost, &mut Vec::new());
            assert_eq!(answer, Answer::Queued(true));
        }
        bucket
    }

    /// Returns the objects that are granted at this time.
    fn granted<T: Clone + Eq + Hash>(bucket: &mut Bucket<T>, now: Instant) -> Vec<T> {
        let mut granted = Vec::new();
        bucket.advance(now);
        bucket.grant(now, &mut granted);
        granted
    }

    #[test]
    fn a_bucket_gives_the_burst_and_then_the_rate_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(SETTINGS, nobody, start);
        let mut spent = 0;
        for tick in 0..60_000_u32 {
            let now = start + Duration::from_millis(u64::from(tick));
            match bucket.acquire(now, &tick, Class::Write, 1, &mut Vec::new()) {
                Answer::Granted => spent += 1,
                Answer::Queued(_) => assert!(bucket.forget(&tick)),
            }
            assert!(bucket.tokens <= 10.0);
        }
        assert!((308..=310).contains(&spent), "{spent}");
    }

    #[test]
    fn a_higher_class_goes_first_and_a_class_is_first_in_first_out() {
        let start = Instant::now();
        let mut bucket = queued(
            start,
            &[
                ("drift", Class::Drift, 1),
                ("poll 1", Class::Poll, 1),
                ("write", Class::Write, 1),
                ("poll 2", Class::Poll, 1),
                ("lost", Class::UnknownOutcome, 1),
            ],
        );
        assert_eq!(granted(&mut bucket, at(start, 0.6)), ["lost", "write", "poll 1"]);
        assert_eq!(granted(&mut bucket, at(start, 1.0)), ["poll 2", "drift"]);
    }

    #[test]
    fn within_a_class_owners_take_turns_and_no_crowd_delays_a_neighbour() {
        let start = Instant::now();
        let mut bucket = Bucket::new(SETTINGS, |who: &&str| who.split('/').next().unwrap_or_default(), start);
        bucket.tokens = 0.0;
        let crowd = ["crowd/1", "crowd/2", "crowd/3", "crowd/4"];
        for who in crowd.iter().chain(&["well/1"]) {
            assert_eq!(
                bucket.acquire(start, who, Class::Write, 1, &mut Vec::new()),
                Answer::Queued(true)
            );
        }
        bucket.acquire(start, &"well/2", Class::Poll, 1, &mut Vec::new());
        let order = ["crowd/1", "well/1", "crowd/2", "crowd/3", "crowd/4", "well/2"];
        assert_eq!(granted(&mut bucket, at(start, 1.2)), order);
        // An object that needs more than was reserved stays first.
        let more = bucket.acquire(at(start, 1.2), &"crowd/3", Class::Write, 3, &mut Vec::new());
        assert_eq!(more, Answer::Queued(false));
        for who in ["well/3", "crowd/5"] {
            bucket.acquire(at(start, 1.2), &who, Class::Write, 1, &mut Vec::new());
        }
        assert_eq!(granted(&mut bucket, at(start, 2.0)), ["crowd/3", "well/3", "crowd/5"]);
    }

    #[test]
    fn asking_again_keeps_the_place_and_another_class_takes_a_new_one() {
        let start = Instant::now();
        let mut bucket = queued(
            start,
            &[("a", Class::Poll, 1), ("b", Class::Poll, 1), ("c", Class::Poll, 1)],
        );
        let ask = |bucket: &mut Bucket<_>, class| bucket.acquire(start, &"a", class, 1, &mut Vec::new());
        assert_eq!(ask(&mut bucket, Class::Poll), Answer::Queued(false));
        assert_eq!(granted(&mut bucket, at(start, 0.2)), ["a"]);
        for (who, is_new) in [("d", true), ("c", false)] {
            let answer = bucket.acquire(at(start, 0.2), &who, Class::Drift, 1, &mut Vec::new());
            assert_eq!(answer, Answer::Queued(is_new));
        }
        assert_eq!(granted(&mut bucket, at(start, 0.8)), ["b", "d", "c"]);
    }

    #[test]
    fn who_comes_later_does_not_overtake_who_waits_for_more_tokens() {
        let start = Instant::now();
        let mut bucket = queued(start, &[("big", Class::Write, 4)]);
        let now = at(start, 0.5);
        for class in [Class::Write, Class::Poll] {
            let answer = bucket.acquire(now, &class.name(), class, 1, &mut Vec::new());
            assert_eq!(answer, Answer::Queued(true));
        }
        assert_eq!(granted(&mut bucket, at(start, 0.8)), ["big"]);
        assert_eq!(granted(&mut bucket, at(start, 1.2)), ["write", "poll"]);
    }

    #[test]
    fn every_class_that_waits_gets_its_share() {
        let start = Instant::now();
        let mut bucket = Bucket::new(SETTINGS, nobody, start);
        bucket.tokens = 0.0;
        for n in 0..2_000_u32 {
            let class = Class::ALL[(n % 5) as usize];
            bucket.acquire(start, &(class, n), class, 1, &mut Vec::new());
        }
        let mut served = [0; 5];
        for second in 1..=80_u32 {
            let now = at(start, f64::from(second));
            for who in granted(&mut bucket, now) {
                served[who.0 as usize] += 1;
                let collected = bucket.acquire(now, &who, who.0, 1, &mut Vec::new());
                assert_eq!(collected, Answer::Granted);
            }
        }
        assert_eq!(served.iter().sum::<u32>(), 400);
        assert!(served[0] >= 230, "{served:?}");
        for lower in &served[1..] {
            assert!(*lower >= 35, "{served:?}");
        }
    }

    #[test]
    fn a_class_that_was_passed_over_nine_times_is_next() {
        let start = Instant::now();
        let mut bucket = Bucket::new(SETTINGS, nobody, start);
        bucket.tokens = 0.0;
        bucket.acquire(start, &99, Class::Drift, 1, &mut Vec::new());
        for n in 0..20 {
            bucket.acquire(start, &n, Class::Write, 1, &mut Vec::new());
        }
        bucket.tokens = 20.0;
        let mut order = Vec::new();
        bucket.grant(start, &mut order);
        assert_eq!(order.iter().position(|who| *who == 99), Some(9), "{order:?}");
    }

    #[test]
    fn a_bucket_is_looked_at_when_there_are_tokens_for_the_next_or_a_reservation_lapses() {
        let start = Instant::now();
        let never = Bucket::<&str>::new(SETTINGS, nobody, start);
        assert_eq!(never.next_event(), None);
        let table = [
            ("two tokens at five a second", 0.0, 2, 0.4),
            ("a debt is paid off first", -1.0, 2, 0.6),
            ("more than fits waits until it is full", 0.0, 15, 2.0),
            ("there are enough already", 5.0, 2, 0.0),
        ];
        for (why, tokens, cost, seconds) in table {
            let mut bucket = queued(start, &[("a", Class::Write, cost)]);
            bucket.tokens = tokens;
            let margin = 0.001;
            assert_eq!(bucket.next_event(), Some(at(start, seconds + margin)), "{why}");
        }
        let mut bucket = queued(start, &[("a", Class::Write, 1), ("b", Class::Write, 9)]);
        assert_eq!(granted(&mut bucket, at(start, 0.2)), ["a"]);
        assert_eq!(bucket.next_event(), Some(at(start, 2.001)), "tokens for b come first");
        bucket.tokens = -1000.0;
        assert_eq!(
            bucket.next_event(),
            Some(at(start, 30.2)),
            "the reservation of a lapses first"
        );
        let mut growing = hungry(start);
        growing.advance(at(start, 4.0));
        assert_eq!(growing.next_event(), Some(at(start, 10.0)), "the rate grows first");
    }

    #[test]
    fn only_a_slow_bucket_is_looked_at_when_its_rate_doubles() {
        let start = Instant::now();
        let mut bucket = queued(start, &[("a", Class::Write, 5)]);
        bucket.advance(at(start, 60.0));
        bucket.tokens = 0.0;
        assert_eq!(bucket.next_event(), Some(at(start, 61.001)));
        bucket.slow_down(at(start, 60.0));
        assert_eq!(bucket.next_event(), Some(at(start, 62.001)), "before the rate doubles");
        bucket.tokens = -100.0;
        assert_eq!(bucket.next_event(), Some(at(start, 80.0)));
    }

    #[test]
    fn refusals_within_a_second_count_once() {
        let start = Instant::now();
        for (second, rate) in [(0.999, 2.5), (1.0, 1.25)] {
            let mut bucket = Bucket::<&str>::new(SETTINGS, nobody, start);
            bucket.slow_down(start);
            bucket.slow_down(at(start, second));
            assert!((bucket.rate - rate).abs() < 1e-9, "{second} s: {}", bucket.rate);
        }
    }

    #[test]
    fn what_is_reserved_waits_for_its_owner_and_goes_back_after_thirty_seconds() {
        let start = Instant::now();
        let mut bucket = queued(start, &[("a", Class::Write, 2), ("b", Class::Write, 2)]);
        assert_eq!(granted(&mut bucket, at(start, 0.8)), ["a", "b"]);
        assert!(bucket.tokens < 0.1);
        let answer = bucket.acquire(at(start, 0.8), &"a", Class::Poll, 1, &mut Vec::new());
        assert_eq!(answer, Answer::Granted);
        assert!(
            (bucket.tokens - 1.0).abs() < 0.1,
            "the surplus is back: {}",
            bucket.tokens
        );
        bucket.tokens = -200.0;
        bucket.advance(at(start, 30.7));
        let before = bucket.tokens;
        bucket.advance(at(start, 30.8));
        assert!((bucket.tokens - before - 2.5).abs() < 0.01, "two tokens and the rate");
        assert!(bucket.asks.is_empty() && bucket.reservations.is_empty());
    }

    #[test]
    fn who_needs_more_than_was_reserved_stays_first_in_line() {
        let start = Instant::now();
        let mut bucket = queued(start, &[("a", Class::Write, 1), ("b", Class::Write, 1)]);
        assert_eq!(granted(&mut bucket, at(start, 0.2)), ["a"]);
        let answer = bucket.acquire(at(start, 0.2), &"a", Class::Write, 3, &mut Vec::new());
        assert_eq!(answer, Answer::Queued(false));
        assert_eq!(granted(&mut bucket, at(start, 0.6)), ["a"]);
        assert_eq!(granted(&mut bucket, at(start, 0.8)), ["b"]);
    }

    #[test]
    fn a_cost_above_the_burst_is_granted_when_full_and_paid_off_later() {
        let start = Instant::now();
        let mut bucket = Bucket::new(SETTINGS, nobody, start);
        assert_eq!(
            bucket.acquire(start, &"big", Class::Write, 15, &mut Vec::new()),
            Answer::Granted
        );
        assert_eq!(
            bucket.acquire(start, &"next", Class::Write, 1, &mut Vec::new()),
            Answer::Queued(true)
        );
        assert!(granted(&mut bucket, at(start, 1.1)).is_empty());
        assert_eq!(granted(&mut bucket, at(start, 1.2)), ["next"]);
    }

    #[test]
    fn a_refusal_halves_the_rate_down_to_an_eighth_and_it_recovers_within_a_minute() {
        let start = Instant::now();
        let mut bucket = Bucket::<&str>::new(SETTINGS, nobody, start);
        for (second, rate) in [(0.0, 2.5), (0.5, 2.5), (2.0, 1.25), (4.0, 0.625), (6.0, 0.625)] {
            bucket.slow_down(at(start, second));
            assert!((bucket.rate - rate).abs() < 1e-9, "{second} s: {}", bucket.rate);
        }
        assert!(bucket.tokens <= 10.0 / 8.0, "what was saved up is gone too");
        for (second, rate) in [(25.9, 0.625), (26.0, 1.25), (46.0, 2.5), (66.0, 5.0)] {
            bucket.advance(at(start, second));
            assert!((bucket.rate - rate).abs() < 1e-9, "{second} s: {}", bucket.rate);
        }
    }

    #[test]
    fn a_bucket_that_slept_through_its_recovery_has_filled_at_each_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::<&str>::new(SETTINGS, nobody, start);
        bucket.slow_down(start);
        bucket.tokens = -100.0;
        bucket.advance(at(start, 30.0));
        assert!(
            (bucket.tokens - (-100.0 + 20.0 * 2.5 + 10.0 * 5.0)).abs() < 0.01,
            "{}",
            bucket.tokens
        );
    }

    /// Makes a bucket that may grow from 5 to 8 calls per second, with an object that always wants more.
    fn hungry(start: Instant) -> Bucket<&'static str> {
        let settings = Settings {
            most_per_second: 8.0,
            ..SETTINGS
        };
        let mut bucket = Bucket::new(settings, nobody, start);
        bucket.tokens = 0.0;
        bucket.acquire(start, &"more", Class::Write, 1_000_000, &mut Vec::new());
        bucket.tokens = -1e9;
        bucket
    }

    #[test]
    fn the_rate_grows_by_one_every_ten_seconds_of_unmet_demand_up_to_the_most() {
        let start = Instant::now();
        // Regardless of how often the bucket is advanced.
        for step in [0.25, 1.0, 7.0, 60.0] {
            let mut bucket = hungry(start);
            let mut second = 0.0;
            for (until, rate) in [
                (9.9, 5.0),
                (10.0, 6.0),
                (19.9, 6.0),
                (20.0, 7.0),
                (30.0, 8.0),
                (99.0, 8.0),
            ] {
                while second + step < until {
                    second += step;
                    bucket.advance(at(start, second));
                }
                bucket.advance(at(start, until));
                assert!(
                    (bucket.rate - rate).abs() < 1e-9,
                    "{step}: at {until} s {}",
                    bucket.rate
                );
            }
            // The tokens of each rate for its time.
            let filled = bucket.tokens + 1e9;
            assert!(
                (filled - (50.0 + 60.0 + 70.0 + 69.0 * 8.0)).abs() < 1e-3,
                "{step}: {filled}"
            );
        }
    }

    #[test]
    fn only_time_in_which_somebody_waits_for_tokens_alone_makes_the_rate_grow() {
        let start = Instant::now();
        let mut bucket = hungry(start);
        bucket.advance(at(start, 9.0));
        assert!(bucket.forget(&"more"));
        bucket.advance(at(start, 1000.0));
        assert!((bucket.rate - 5.0).abs() < 1e-9, "nobody waits");
        bucket.tokens = -1e9;
        bucket.acquire(at(start, 1000.0), &"more", Class::Write, 1, &mut Vec::new());
        bucket.at_a_time = 1;
        bucket.away = 1;
        bucket.advance(at(start, 2000.0));
        assert!((bucket.rate - 5.0).abs() < 1e-9, "it waits for one that is away");
        bucket.away = 0;
        bucket.advance(at(start, 2000.9));
        assert!((bucket.rate - 5.0).abs() < 1e-9, "9.9 s in all");
        bucket.advance(at(start, 2001.0));
        assert!((bucket.rate - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_refusal_halves_what_the_rate_has_grown_to_and_begins_its_growth_anew() {
        let start = Instant::now();
        let mut bucket = hungry(start);
        bucket.advance(at(start, 39.0));
        bucket.answered(at(start, 39.0), End::Throttled, Duration::ZERO);
        assert!((bucket.rate - 4.0).abs() < 1e-9);
        bucket.advance(at(start, 58.9));
        assert!((bucket.rate - 4.0).abs() < 1e-9);
        bucket.advance(at(start, 59.0));
        assert!((bucket.rate - 5.0).abs() < 1e-9, "first it recovers to the least");
        bucket.advance(at(start, 68.9));
        assert!((bucket.rate - 5.0).abs() < 1e-9);
        bucket.advance(at(start, 69.0));
        assert!((bucket.rate - 6.0).abs() < 1e-9);
        assert!((bucket.capacity() - 10.0).abs() < 1e-9, "it stores no more than before");
    }

    #[test]
    fn a_full_bucket_is_looked_at_only_when_a_reservation_lapses() {
        let start = Instant::now();
        let mut bucket = queued(start, &[("a", Class::Write, 1), ("b", Class::Write, 1)]);
        bucket.at_a_time = 1;
        assert_eq!(granted(&mut bucket, at(start, 1.0)), ["a"]);
        assert_eq!(bucket.next_event(), Some(at(start, 31.0)));
        assert_eq!(
            bucket.acquire(at(start, 1.0), &"a", Class::Write, 1, &mut Vec::new()),
            Answer::Granted
        );
        bucket.advance(at(start, 31.0));
        assert_eq!(bucket.next_event(), None);
        assert!(granted(&mut bucket, at(start, 40.0)).is_empty());
        bucket.back(0.0);
        assert_eq!(granted(&mut bucket, at(start, 40.0)), ["b"]);
        assert!(bucket.forget(&"b"));
        assert_eq!((bucket.away, bucket.reserved), (0, 0));
    }

    #[test]
    fn a_place_that_is_not_taken_up_is_free_again() {
        let start = Instant::now();
        let mut bucket = queued(start, &[("a", Class::Write, 1)]);
        bucket.at_a_time = 1;
        assert_eq!(granted(&mut bucket, at(start, 1.0)), ["a"]);
        let more = bucket.acquire(at(start, 1.0), &"a", Class::Write, 99, &mut Vec::new());
        assert_eq!(
            (more, bucket.reserved),
            (Answer::Queued(false), 0),
            "it needs more than is there"
        );
        assert_eq!(granted(&mut bucket, at(start, 3.0)), ["a"]);
        bucket.advance(at(start, 33.0));
        assert_eq!(bucket.reserved, 0, "it has not come for it");
    }

    #[test]
    fn a_forgotten_object_leaves_its_place_and_its_reservation() {
        let start = Instant::now();
        let mut bucket = queued(
            start,
            &[("a", Class::Write, 1), ("b", Class::Write, 1), ("c", Class::Write, 1)],
        );
        assert!(bucket.forget(&"b") && !bucket.forget(&"b"));
        assert_eq!(granted(&mut bucket, at(start, 0.2)), ["a"]);
        assert!(bucket.forget(&"a"));
        assert_eq!(granted(&mut bucket, at(start, 0.2)), ["c"]);
    }

    fn key() -> BucketKey {
        BucketKey {
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_called_when_its_tokens_are_there_and_unspent_tokens_go_back() {
        let (send, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let throttle = Throttle::new(SETTINGS, nobody, move |who| send.send(who).unwrap());
        let metrics = Arc::new(Metrics::new("test"));
        throttle.measure(Arc::clone(&metrics));
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&throttle).run(shutdown.clone()));

        let mut permit = throttle.acquire(&key(), "first", Class::Write, 10).unwrap();
        (0..4).for_each(|_| permit.spend());
        assert!(throttle.acquire(&key(), "second", Class::Poll, 6).is_none());
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"aws_token_queue{class="poll"} 1"#), "{text}");
        assert!(text.contains(r#"aws_token_waits_total{class="poll"} 1"#), "{text}");

        let start = Instant::now();
        drop(permit);
        assert_eq!(calls.recv().await, Some("second"));
        assert!(start.elapsed() < Duration::from_millis(10), "six came back");
        assert!(throttle.acquire(&key(), "third", Class::Poll, 5).is_none());
        let mut permit = throttle.acquire(&key(), "second", Class::Poll, 6).unwrap();
        (0..8).for_each(|_| permit.spend());
        drop(permit);
        assert_eq!(calls.recv().await, Some("third"));
        let waited = start.elapsed();
        assert!(
            (1390..=1420).contains(&waited.as_millis()),
            "five and a debt of two: {waited:?}"
        );

        shutdown.cancel();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_makes_its_own_bucket_smaller_and_no_other() {
        let throttle = Throttle::new(SETTINGS, nobody, |_| {});
        let metrics = Arc::new(Metrics::new("test"));
        throttle.measure(Arc::clone(&metrics));
        assert!((throttle.rate(&key()) - 5.0).abs() < 1e-9, "as long as there is none");
        let other = BucketKey {
            account: "210987654321".to_owned(),
            ..key()
        };
        for bucket in [key(), other.clone()] {
            let permit = throttle.acquire(&bucket, 0, Class::Write, 1).unwrap();
            if bucket == key() {
                permit.ended(End::Throttled);
                let text = metrics.encode().unwrap();
                let line = r#"aws_token_rate{region="eu-west-1"} 2.5"#;
                assert!(text.contains(line), "at once: {text}");
            }
        }
        let rates = [key(), other.clone()].map(|bucket| throttle.rate(&bucket).to_string());
        assert_eq!(rates, ["2.5", "5"]);
        let text = metrics.encode().unwrap();
        let line = r#"aws_token_rate{region="eu-west-1"} 2.5"#;
        assert!(text.contains(line), "the fewest: {text}");
        let five = throttle.acquire(&key(), 1, Class::Write, 5);
        assert!(five.is_some() && throttle.acquire(&key(), 2, Class::Write, 1).is_none());
        let five = throttle.acquire(&other, 3, Class::Write, 5);
        assert!(five.is_some() && throttle.acquire(&other, 4, Class::Write, 5).is_some());
    }

    /// Starts a throttle. Returns it with the stream of its callbacks.
    fn running(at_a_time: usize) -> (Arc<Throttle<u32>>, tokio::sync::mpsc::UnboundedReceiver<u32>) {
        let (send, calls) = tokio::sync::mpsc::unbounded_channel();
        let settings = Settings { at_a_time, ..SETTINGS };
        let throttle = Throttle::new(settings, nobody, move |who| send.send(who).unwrap());
        tokio::spawn(Arc::clone(&throttle).run(CancellationToken::new()));
        (throttle, calls)
    }

    /// Calls: the duration of each in seconds, and how it ended.
    type Ends = &'static [(u64, End)];

    /// Requests a token for each of these objects. Returns the permits.
    fn asked(throttle: &Throttle<u32>, bucket: &BucketKey, all: std::ops::Range<u32>) -> Vec<Permit> {
        all.filter_map(|who| throttle.acquire(bucket, who, Class::Write, 1))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_objects_are_on_their_way_at_a_time_than_may_be_and_who_waits_goes_when_one_is_back() {
        let (throttle, mut calls) = running(4);
        let mut away = asked(&throttle, &key(), 0..6);
        assert_eq!(away.len(), 4);
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert!(calls.try_recv().is_err(), "there are tokens enough, and no place");
        drop(away.pop());
        assert_eq!(calls.recv().await, Some(4));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(calls.try_recv().is_err(), "what is reserved takes a place");
        assert_eq!(
            calls.recv().await,
            Some(5),
            "the place of one that does not come is free after 30 s"
        );
        away.extend(asked(&throttle, &key(), 5..6));
        assert_eq!(away.len(), 4);
        let other = BucketKey {
            region: "us-east-1".to_owned(),
            ..key()
        };
        assert_eq!(
            asked(&throttle, &other, 6..10).len(),
            4,
            "another region has places of its own"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_slow_failures_in_a_row_one_at_a_time_asks_until_there_is_an_answer() {
        const HANGS: (u64, End) = (9, End::Unavailable);
        let second = Duration::from_secs(1);
        let table: [(&str, Ends, usize); 8] = [
            ("three in a row", &[HANGS; 3], 1),
            ("two", &[HANGS; 2], 4),
            ("4 s are slow", &[(4, End::Unavailable); 3], 1),
            ("3 s are not", &[(3, End::Unavailable); 4], 4),
            ("an answer between", &[HANGS, HANGS, (9, End::Answered), HANGS], 4),
            (
                "a quick failure between",
                &[HANGS, HANGS, (0, End::Unavailable), HANGS],
                1,
            ),
            ("an answer after them", &[HANGS, HANGS, HANGS, (0, End::Answered)], 4),
            ("a refusal after them", &[HANGS, HANGS, HANGS, (0, End::Throttled)], 4),
        ];
        for (why, ends, places) in table {
            let throttle = Throttle::new(
                Settings {
                    at_a_time: 4,
                    ..SETTINGS
                },
                nobody,
                |_| {},
            );
            for (after, end) in ends {
                let mut permit = throttle.acquire(&key(), 0, Class::Write, 1).unwrap();
                permit.spend();
                tokio::time::sleep(second * u32::try_from(*after).unwrap()).await;
                permit.ended(*end);
            }
            assert_eq!(asked(&throttle, &key(), 1..9).len(), places, "{why}");
        }
    }

    #[test]
    fn it_is_told_when_one_at_a_time_begins_to_ask_and_when_it_ends() {
        let start = Instant::now();
        let mut bucket = Bucket::<&str>::new(SETTINGS, nobody, start);
        let told = [
            End::Unavailable,
            End::Unavailable,
            End::Unavailable,
            End::Unavailable,
            End::Answered,
            End::Answered,
        ]
        .map(|end| bucket.answered(start, end, SLOW));
        assert_eq!(told, [false, false, true, false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_between_the_token_and_the_call_is_no_fault_of_aws() {
        let throttle = Throttle::new(
            Settings {
                at_a_time: 4,
                ..SETTINGS
            },
            nobody,
            |_| {},
        );
        for _ in 0..SLOW_IN_A_ROW {
            let mut permit = throttle.acquire(&key(), 0, Class::Write, 1).unwrap();
            permit.spend();
            tokio::time::sleep(2 * SLOW).await;
            permit.begin();
            permit.ended(End::Unavailable);
        }
        assert_eq!(asked(&throttle, &key(), 1..9).len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_place_of_one_that_is_forgotten_is_anothers_at_once() {
        let (throttle, mut calls) = running(1);
        let away = asked(&throttle, &key(), 0..3);
        assert_eq!(away.len(), 1);
        drop(away);
        assert_eq!(calls.recv().await, Some(1));
        let begun = Instant::now();
        throttle.forget(&1);
        assert_eq!(calls.recv().await, Some(2));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "not when the reservation lapses"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_behind_an_object_that_is_gone() {
        let (send, mut calls) = tokio::sync::mpsc::unbounded_channel();
        let throttle = Throttle::new(SETTINGS, nobody, move |who| send.send(who).unwrap());
        let running = tokio::spawn(Arc::clone(&throttle).run(CancellationToken::new()));
        let mut all = throttle.acquire(&key(), "first", Class::Write, 10).unwrap();
        (0..10).for_each(|_| all.spend());
        assert!(throttle.acquire(&key(), "gone", Class::Write, 10).is_none());
        assert!(throttle.acquire(&key(), "next", Class::Write, 1).is_none());
        let start = Instant::now();
        throttle.forget(&"gone");
        assert_eq!(calls.recv().await, Some("next"));
        let waited = start.elapsed();
        assert!((200..=210).contains(&waited.as_millis()), "one token: {waited:?}");
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_of_other_accounts_and_regions_do_not_wait_for_each_other() {
        let throttle = Throttle::new(SETTINGS, nobody, |_| {});
        let other = BucketKey {
            region: "us-east-1".to_owned(),
            ..key()
        };
        let first = throttle.acquire(&key(), 1, Class::Write, 10);
        assert!(first.is_some() && throttle.acquire(&key(), 2, Class::Write, 1).is_none());
        assert!(throttle.acquire(&other, 3, Class::Write, 10).is_some());
    }
}
