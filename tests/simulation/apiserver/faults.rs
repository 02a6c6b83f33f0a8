//! The faults of the API server, decided by a seeded generator. Pure, in the order in which requests arrive.

use std::time::Duration;

use fastrand::Rng;

use super::request::Verb;

/// The probability of each fault, from 0 to 1. With all zero, the server answers everything at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Odds {
    /// The request or the reply takes up to `longest_delay`.
    pub(crate) delayed: f64,
    pub(crate) longest_delay: Duration,
    /// The connection breaks before the request is carried out.
    pub(crate) dropped: f64,
    /// The request is carried out, and then the connection breaks.
    pub(crate) lost: f64,
    /// 429 with Retry-After.
    pub(crate) throttled: f64,
    /// 500; in half of the cases after the request was carried out.
    pub(crate) failed: f64,
    /// 503.
    pub(crate) unavailable: f64,
    /// 504; in half of the cases after the request was carried out.
    pub(crate) timed_out: f64,
    /// No answer, ever; in half of the cases after the request was carried out.
    pub(crate) silent: f64,
    /// A watch ends early, in one of several ways.
    pub(crate) watch_ends: f64,
    /// A watch sends nothing more, while its connection stays.
    pub(crate) watch_goes_silent: f64,
    /// A watch shows each change late, by up to this time.
    pub(crate) longest_lag: Duration,
    /// The cache that answers reads with resourceVersion=0 is up to this many revisions behind.
    pub(crate) stale_revisions: u64,
}

impl Odds {
    /// Returns odds with every fault now and then.
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

/// The course of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fate {
    /// The time that the request is on its way, and the time of its reply.
    pub(crate) delays: [Duration; 2],
    pub(crate) end: End,
}

/// The end of a request.
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

/// The course of a watch.
#[derive(Clone, Debug)]
pub(crate) struct WatchFate {
    /// The time after which the watch ends, and the way.
    pub(crate) end: Option<(Duration, WatchEnd)>,
    longest_lag: Duration,
    rng: Rng,
}

/// The ways in which a watch ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEnd {
    /// The stream ends as if its timeout had passed.
    Closed,
    /// The connection breaks.
    Cut,
    /// The connection breaks in the middle of a line.
    Torn,
    /// Nothing more is sent, while the connection stays.
    Silent,
    /// 410 as an ERROR event.
    Expired,
}

/// The generator of faults.
pub(crate) struct Faults {
    pub(crate) odds: Odds,
    rng: Rng,
}

/// The latest early end of a watch. The operator's watches are open for a minute.
const LATEST_END: Duration = Duration::from_mins(1);

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            odds: Odds::default(),
            rng: Rng::with_seed(seed),
        }
    }

    /// Decides the course of the next request.
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
            // After the answer, a watch has faults of its own.
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

    /// Decides the course of the next watch.
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

    /// Returns the revision of a cache that may be behind.
    pub(crate) fn cached(&mut self, newest: u64, oldest: u64) -> u64 {
        let behind = self.rng.u64(0..=self.odds.stale_revisions);
        newest.saturating_sub(behind).max(oldest)
    }

    fn hits(&mut self, odds: f64) -> bool {
        self.rng.f64() < odds
    }
}

impl WatchFate {
    /// Returns the delay of the next change. Some changes of a watch are late and others are not; their order stays.
    pub(crate) fn lag(&mut self) -> Duration {
        if self.rng.bool() {
            Duration::ZERO
        } else {
            between(&mut self.rng, self.longest_lag)
        }
    }
}

/// Returns a random duration up to this one, in whole milliseconds.
fn between(rng: &mut Rng, longest: Duration) -> Duration {
    let most = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(rng.u64(0..=most))
}
