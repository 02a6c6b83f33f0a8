//! The time of day by AWS's clock, and the uptime of the machine. The only place of the program that reads the
//! machine's clocks.
//!
//! AWS's jobs carry times of AWS's clock. A node's clock may be hours off, and AWS still answers: the SDK corrects its
//! own clock by AWS's when it signs. So times that are compared with AWS's times must come from the same clock. Between
//! two answers, time follows the machine's uptime: setting the machine's clock does not change when work is due, and
//! time continues while the machine sleeps.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// How far AWS's time may be from ours before ours is corrected. Time must not jitter with the latency of answers.
const DEAD_BAND: SignedDuration = SignedDuration::from_secs(5);
/// Once AWS's time is known, one answer that is further off than this is not believed: a second answer must agree with
/// it. Both clocks run evenly, but a machine may have slept.
const JUMP: SignedDuration = SignedDuration::from_mins(1);
/// Resolution of an HTTP date: whole seconds, truncated (RFC 9110, section 5.6.7).
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);
/// 2020-08-11, the version of Amplify's backend API: no answer can be older.
const FIRST: i64 = 1_597_104_000;

/// The clock of the process, shared.
pub struct Clock {
    uptime: Box<dyn Fn() -> Duration + Send + Sync>,
    /// The time of the machine's clock at `since`.
    start: Timestamp,
    /// The uptime at `start`.
    since: Duration,
    /// The difference to AWS's time, in milliseconds: added to the machine's time.
    correction: AtomicI64,
    heard: Mutex<Heard>,
}

/// The answers so far.
#[derive(Debug, Default)]
struct Heard {
    /// Whether AWS's time is known.
    any: bool,
    /// A correction that only one answer supports.
    doubtful: Option<SignedDuration>,
}

impl Clock {
    /// Starts with the present time of the machine's clock.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::new(Timestamp::now(), machine_uptime)
    }

    /// Starts with this time. `uptime` returns the machine's uptime: it never goes back, and continues while the
    /// process is frozen.
    pub fn new(start: Timestamp, uptime: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            since: uptime(),
            uptime: Box::new(uptime),
            start,
            correction: AtomicI64::new(0),
            heard: Mutex::default(),
        }
    }

    /// Returns the present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(self.uptime())
    }

    /// Returns the time at this uptime, by the present correction. So the start of a call is right even if only the
    /// answer to this call brought the correction.
    #[must_use]
    pub fn at(&self, moment: Duration) -> Timestamp {
        let correction = SignedDuration::from_millis(self.correction.load(Ordering::Acquire));
        after(self.uncorrected(moment), correction)
    }

    /// Returns the machine's uptime.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        (self.uptime)()
    }

    /// Corrects the clock by the date of an answer from AWS that has just arrived. `asked` is the uptime when the
    /// request was sent.
    pub fn told(&self, date: Timestamp, asked: Duration) {
        if date.as_second() < FIRST {
            return;
        }
        // AWS's clock showed the date at some moment between the request and now.
        let least = date.duration_since(self.uncorrected(self.uptime()));
        let most = after(date, RESOLUTION).duration_since(self.uncorrected(asked));
        let present = SignedDuration::from_millis(self.correction.load(Ordering::Acquire));
        let possible = least - DEAD_BAND..=most + DEAD_BAND;
        let mut heard = self.heard.lock();
        let is_first = !std::mem::replace(&mut heard.any, true);
        let doubtful = heard.doubtful.take();
        if possible.contains(&present) {
            return;
        }
        let middle = (least + most) / 2;
        let is_near = (middle - present).abs() <= JUMP;
        if !is_first && !is_near && !doubtful.is_some_and(|before| possible.contains(&before)) {
            heard.doubtful = Some(middle);
            return;
        }
        let millis = i64::try_from(middle.as_millis()).unwrap_or_default();
        self.correction.store(millis, Ordering::Release);
        tracing::warn!(
            seconds = middle.as_secs(),
            "the clocks of AWS and of this machine differ: from now on the operator uses AWS's time"
        );
    }

    fn uncorrected(&self, moment: Duration) -> Timestamp {
        let elapsed = moment.saturating_sub(self.since);
        after(
            self.start,
            SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX),
        )
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("start", &self.start)
            .field("correction", &self.correction)
            .finish_non_exhaustive()
    }
}

/// Returns the machine's uptime, including the time it was suspended: a process that was frozen, or whose machine
/// slept, must notice this when it wakes up. (A virtual machine that is paused from outside may not notice. Then only
/// the state in AWS and the stored intent prevent a second write.)
#[cfg(target_os = "linux")]
fn machine_uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Never negative. A negative value would mean that no process leads.
    Duration::try_from(time).unwrap_or(Duration::MAX)
}

/// Returns the time since the first call in this process. It includes the time while the process is frozen; it may not
/// include the time while the machine sleeps.
#[cfg(not(target_os = "linux"))]
fn machine_uptime() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

/// Adds the duration, within the range of `Timestamp`.
fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// AWS's time, to the second, at the start of each test.
    const TRUE: &str = "2026-11-22T10:00:00Z";

    fn true_time() -> Timestamp {
        TRUE.parse().unwrap()
    }

    fn off_by(seconds: i64) -> Clock {
        let boot = Instant::now();
        Clock::new(after(true_time(), SignedDuration::from_secs(seconds)), move || {
            Duration::from_hours(5) + boot.elapsed()
        })
    }

    /// Returns how far the clock is from AWS's, in milliseconds.
    fn error(clock: &Clock, since: Instant) -> i128 {
        let aws = after(true_time(), SignedDuration::try_from(since.elapsed()).unwrap());
        clock.now().duration_since(aws).as_millis()
    }

    /// Delivers an answer that AWS made `made` ms after the request and that arrived `took` ms after the request.
    async fn answer(clock: &Clock, since: Instant, made: u64, took: u64) {
        let asked = clock.uptime();
        tokio::time::advance(Duration::from_millis(made)).await;
        let aws = after(true_time(), SignedDuration::try_from(since.elapsed()).unwrap());
        let date = Timestamp::from_second(aws.as_second()).unwrap();
        tokio::time::advance(Duration::from_millis(took - made)).await;
        clock.told(date, asked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_off_tells_awss_time_after_the_first_answer() {
        for off in [3600, -3600, 60, -7, 7, 86_400 * 365 * 30, -86_400 * 365 * 5] {
            let clock = off_by(off);
            let since = Instant::now();
            tokio::time::advance(Duration::from_millis(1234)).await;
            answer(&clock, since, 100, 200).await;
            let error = error(&clock, since);
            assert!(error.abs() <= 700, "{off}: {error} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_synchronised_clock_does_not_move_at_all() {
        for off in [-4, -1, 0, 1, 4] {
            let clock = off_by(off);
            let since = Instant::now();
            for (made, took) in [(0, 0), (100, 200), (0, 999), (0, 25_000), (25_000, 25_000), (999, 1000)] {
                answer(&clock, since, made, took).await;
                assert_eq!(error(&clock, since), i128::from(off) * 1000, "{off} {made} {took}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn awss_time_may_step_back_and_what_a_slow_answer_left_open_a_quick_one_settles() {
        let clock = off_by(0);
        let since = Instant::now();
        let hour = SignedDuration::from_hours(1);
        clock.told(after(clock.now(), hour), clock.uptime());
        assert!((error(&clock, since) - 3_600_000).abs() <= 1000);
        answer(&clock, since, 100, 200).await;
        assert!((error(&clock, since) - 3_600_000).abs() <= 1000, "one may be wrong");
        answer(&clock, since, 100, 200).await;
        assert!(error(&clock, since).abs() <= 1000);
        let (clock, since) = (off_by(3600), Instant::now());
        answer(&clock, since, 0, 29_000).await;
        assert!(error(&clock, since).abs() <= 15_500);
        answer(&clock, since, 20, 40).await;
        assert!(error(&clock, since).abs() <= 6000);
    }

    #[tokio::test(start_paused = true)]
    async fn once_awss_time_is_known_one_answer_alone_does_not_move_it_far() {
        let clock = off_by(0);
        let since = Instant::now();
        answer(&clock, since, 100, 200).await;
        for hours in [3, -3, 1, 500] {
            clock.told(after(clock.now(), SignedDuration::from_hours(hours)), clock.uptime());
            assert_eq!(error(&clock, since), 0, "{hours}");
        }
        // Two answers that agree are believed, but not with another answer between them.
        for (minutes, moved) in [(-30, 0), (20, 0), (-30, 0), (-30, -30)] {
            clock.told(after(true_time(), SignedDuration::from_mins(minutes)), clock.uptime());
            assert_eq!((error(&clock, since) + 500).div_euclid(60_000), moved, "{minutes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_date_that_cannot_be_is_not_believed() {
        let clock = off_by(0);
        for date in [
            Timestamp::MIN,
            Timestamp::UNIX_EPOCH,
            "2020-08-10T23:59:59Z".parse().unwrap(),
        ] {
            clock.told(date, clock.uptime());
            assert_eq!(clock.now(), true_time(), "{date}");
        }
        clock.told(Timestamp::MAX, clock.uptime());
        assert!(clock.now() > true_time(), "and nothing overflows");
    }

    #[test]
    fn time_goes_on_while_the_machine_sleeps() {
        // Unlike the monotonic clock.
        let uptime = std::sync::Arc::new(AtomicI64::new(100));
        let told = uptime.clone();
        let clock = Clock::new(true_time(), move || {
            Duration::from_secs(told.load(Ordering::Acquire).unsigned_abs())
        });
        uptime.store(100 + 3 * 3600, Ordering::Release);
        assert_eq!(clock.now().duration_since(true_time()), SignedDuration::from_hours(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_begin_of_a_call_is_told_right_by_what_its_own_answer_said() {
        let clock = off_by(-3600);
        let begun = clock.uptime();
        answer(&clock, Instant::now(), 500, 1000).await;
        let off = clock.at(begun).duration_since(true_time());
        assert!(off.abs() <= SignedDuration::from_secs(1), "{off}");
        assert_eq!(
            clock.now().duration_since(clock.at(begun)),
            SignedDuration::from_secs(1)
        );
    }
}
