//! Poll schedule, backoffs and the phase of drift checks. All stateless: a restart continues at the same point.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};

/// The time within which a create must be sent after its `requestTime`. Later, the intent is written again.
pub const SEND_WITHIN: SignedDuration = SignedDuration::from_secs(10);
/// The time within which each call ends. Its request then reaches AWS before the end of the outcome grace, or never.
pub const CALL_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// The largest possible difference between AWS's clock and ours: AWS refuses requests signed with a larger one.
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);
/// How long after a deletion request the status does not name the reason of the wait. A backend's APIs may be deleted
/// together with it, its turn may come, and each report is a write.
pub const SAID_OF_DELETION: SignedDuration = SignedDuration::from_secs(5);
/// How long a deletion may wait for its turn behind others that AWS answers, before the status says so.
pub const QUEUED: SignedDuration = SignedDuration::from_mins(1);
/// The longest time after which a job's end is seen, if nothing prevents it: polls are at most 60 s apart. A
/// configuration that AWS shows later need not come from the job.
pub const SEEN_WITHIN: SignedDuration = SignedDuration::from_mins(2);
/// How long denied access counts as IAM being slow.
pub const DENIED_GRACE: SignedDuration = SignedDuration::from_mins(5);

/// Whether `span` has passed since `start`.
#[must_use]
pub fn is_past(start: Timestamp, span: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(start) >= span
}

/// Returns `start` plus `span`, or the largest timestamp.
#[must_use]
pub fn after(start: Timestamp, span: SignedDuration) -> Timestamp {
    start.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// Returns the time between two polls of a job, if `jobs` are polled and AWS gets `rate` calls per second. All polls
/// together take half of these calls. Polls are at least 5 s and at most 60 s apart.
#[must_use]
pub fn poll_every(jobs: usize, rate: f64) -> SignedDuration {
    let jobs = f64::from(u32::try_from(jobs).unwrap_or(u32::MAX));
    let apart = (jobs / (rate.max(0.001) / 2.0)).clamp(5.0, 60.0);
    SignedDuration::from_secs_f64(apart)
}

/// Returns the wait before the next poll of a job: `every`, or 5 min after the timeout. Spread by ±10 %.
#[must_use]
pub fn poll_delay(every: SignedDuration, timed_out: bool, jitter: f64) -> SignedDuration {
    let seconds = if timed_out { 300.0 } else { every.as_secs_f64() };
    SignedDuration::from_secs_f64(seconds * (0.9 + 0.2 * jitter))
}

/// Returns the wait before the next look for the outcome of a write that was sent `elapsed` ago: 5 s, growing by half
/// each time to 30 s, and 60 s after ten minutes. Spread by ±10 %.
#[must_use]
pub fn outcome_delay(elapsed: SignedDuration, jitter: f64) -> SignedDuration {
    let elapsed = elapsed.as_secs_f64().max(0.0);
    let seconds = if elapsed >= 600.0 {
        60.0
    } else {
        // A delay that grows by half each time is 5 s plus half of the time that has passed.
        (5.0 + elapsed / 2.0).min(30.0)
    };
    SignedDuration::from_secs_f64(seconds * (0.9 + 0.2 * jitter))
}

/// Returns an exponential backoff from `base` to `cap` seconds after `tries` earlier tries. Spread by ±10 %.
#[must_use]
pub fn backoff(base: f64, cap: f64, tries: u32, jitter: f64) -> SignedDuration {
    SignedDuration::from_secs_f64(doubled(base, cap, tries) * (0.9 + 0.2 * jitter))
}

/// Returns an exponential backoff with full jitter, at least a quarter of `base` seconds.
#[must_use]
pub fn full_jitter(base: f64, cap: f64, tries: u32, jitter: f64) -> SignedDuration {
    SignedDuration::from_secs_f64((doubled(base, cap, tries) * jitter).max(base / 4.0))
}

fn doubled(base: f64, cap: f64, tries: u32) -> f64 {
    (base * f64::from(2_u32.saturating_pow(tries.min(20)))).min(cap)
}

/// Returns the wait between the `failures`-th FAILED job in a row and the next one: 1, 5, 15 min.
#[must_use]
pub const fn job_backoff(failures: i64) -> SignedDuration {
    SignedDuration::from_mins(match failures {
        ..=1 => 1,
        2 => 5,
        _ => 15,
    })
}

/// Returns where in the interval the checks of everything that shares `what` fall. It is the same in each process.
#[must_use]
pub fn phase(what: &impl Hash, interval: SignedDuration) -> SignedDuration {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    let interval = u64::try_from(interval.as_millis()).unwrap_or(1).max(1);
    SignedDuration::from_millis(i64::try_from(hasher.finish() % interval).unwrap_or_default())
}

/// Returns the first drift check after `time`. Checks fall at `phase` of every `interval` of wall-clock time, so a
/// restart neither causes nor skips one.
#[must_use]
pub fn next_check(time: Timestamp, interval: SignedDuration, phase: SignedDuration) -> Timestamp {
    let interval = interval.as_millis().max(1);
    let phase = phase.as_millis();
    let millis = i128::from(time.as_millisecond());
    let next = ((millis - phase).div_euclid(interval) + 1) * interval + phase;
    i64::try_from(next)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}
