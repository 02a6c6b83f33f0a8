//! What goes wrong, decided by a seeded generator: pure, and in the order in which requests arrive.

use std::time::Duration;

use fastrand::Rng;

use super::request::Verb;

/// How likely each fault is, from 0 to 1. All zero: the server answers everything at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Odds {
    /// The request or the reply takes up to `longest_delay`.
    pub(crate) delayed: f64,
    pub(crate) longest_delay: Duration,
    /// The connection breaks, and nothing has been done.
    pub(crate) dropped: f64,
    /// The request is carried out, and the connection breaks.
    pub(crate) lost: f64,
    /// 429 with Retry-After.
    pub(crate) throttled: f64,
    /// 500; half of the time after it was carried out.
    pub(crate) failed: f64,
    /// 503.
    pub(crate) unavailable: f64,
    /// 504; half of the time after it was carried out.
    pub(crate) timed_out: f64,
    /// No answer, ever; half of the time after it was carried out.
    pub(crate) silent: f64,
    /// A watch ends before its time, one way or another.
    pub(crate) watch_ends: f64,
    /// A watch goes silent, and its connection stays.
    pub(crate) watch_goes_silent: f64,
    /// A watch shows each change up to this much late.
    pub(crate) longest_lag: Duration,
    /// The cache that answers reads with resourceVersion=0 is up to this many revisions behind.
    pub(crate) stale_revisions: u64,
}

impl Odds {
    /// Returns everything, now and then: what a bad day is like.
    pub(crate) const fn rough() -> Self {
        Self {
            delayed: 0.1,
            longest_delay: Duration::from_secs(8),
            dropped: 0.02,
            lost: 0.02,
            throttled: 0.01,
            failed: 0.01,
            unavailable: 0.01,
            timed_out: 0.01,
            silent: 0.005,
            watch_ends: 0.2,
            watch_goes_silent: 0.05,
            longest_lag: Duration::from_secs(3),
            stale_revisions: 20,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fate {
    /// How long it is under way, and how long its reply.
    pub(crate) delays: [Duration; 2],
    pub(crate) end: End,
}

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Dropped,
    Lost,
    Throttled { seconds: u32 },
    Failed { done: bool },
    Unavailable,
    TimedOut { done: bool },
    Silent { done: bool },
}

/// What becomes of a watch.
#[derive(Clone, Debug)]
pub(crate) struct WatchFate {
    /// After this long, in this way.
    pub(crate) end: Option<(Duration, WatchEnd)>,
    longest_lag: Duration,
    rng: Rng,
}

/// How a watch ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// The stream ends as if its time were over.
    Closed,
    /// The connection breaks.
    Cut,
    /// The connection breaks in the middle of a line.
    Torn,
    /// Nothing comes any more, and the connection stays.
    Silent,
    /// 410 as an ERROR event.
    Expired,
}

/// The policy.
pub(crate) struct Faults {
    pub(crate) odds: Odds,
    rng: Rng,
}

/// When a watch ends at the latest that is to end early. Watches of the operator are open for a minute.
const LATEST_END: Duration = Duration::from_mins(1);

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            odds: Odds::default(),
            rng: Rng::with_seed(seed),
        }
    }

    /// What becomes of the next request.
    pub(crate) fn fate(&mut self, verb: Option<Verb>) -> Fate {
        let odds = self.odds.clone();
        let mut delays = [Duration::ZERO; 2];
        if self.hits(odds.delayed) {
            let which = self.rng.usize(0..2);
            delays[which] = between(&mut self.rng, odds.longest_delay);
        }
        let done = self.rng.bool();
        let seconds = self.rng.u32(1..=5);
        let mut ends = [
            (odds.dropped, End::Dropped),
            (odds.lost, End::Lost),
            (odds.throttled, End::Throttled { seconds }),
            (odds.failed, End::Failed { done }),
            (odds.unavailable, End::Unavailable),
            (odds.timed_out, End::TimedOut { done }),
            (odds.silent, End::Silent { done }),
        ];
        if verb == Some(Verb::Watch) {
            // Once it is answered, a watch has faults of its own.
            ends[1].0 = 0.0;
        }
        let mut left = self.rng.f64();
        for (odds, end) in ends {
            if left < odds {
                return Fate { delays, end };
            }
            left -= odds;
        }
        Fate {
            delays,
            end: End::Answered,
        }
    }

    /// What becomes of the next watch.
    pub(crate) fn watch(&mut self) -> WatchFate {
        let odds = self.odds.clone();
        let after = between(&mut self.rng, LATEST_END);
        let way = self.rng.usize(0..4);
        let end = if self.hits(odds.watch_goes_silent) {
            Some((after, WatchEnd::Silent))
        } else if self.hits(odds.watch_ends) {
            let ways = [WatchEnd::Closed, WatchEnd::Cut, WatchEnd::Torn, WatchEnd::Expired];
            Some((after, ways[way]))
        } else {
            None
        };
        WatchFate {
            end,
            longest_lag: between(&mut self.rng, odds.longest_lag),
            rng: self.rng.fork(),
        }
    }

    /// Returns the revision that a cache has by now.
    pub(crate) fn cached(&mut self, newest: u64, oldest: u64) -> u64 {
        let behind = self.rng.u64(0..=self.odds.stale_revisions);
        newest.saturating_sub(behind).max(oldest)
    }

    fn hits(&mut self, odds: f64) -> bool {
        self.rng.f64() < odds
    }
}

impl WatchFate {
    /// How late the next change is shown. Of one watch some are late and others not; their order stays.
    pub(crate) fn lag(&mut self) -> Duration {
        if self.rng.bool() {
            Duration::ZERO
        } else {
            between(&mut self.rng, self.longest_lag)
        }
    }
}

/// Returns a time up to this long, in whole milliseconds.
fn between(rng: &mut Rng, longest: Duration) -> Duration {
    let most = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rng.u64(0..=most))
}
