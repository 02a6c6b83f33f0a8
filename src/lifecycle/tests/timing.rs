//! Poll schedule, backoffs and the phase of drift checks.

use jiff::SignedDuration;

use super::scene::at;
use crate::lifecycle::timing::{
    backoff, full_jitter, is_past, job_backoff, next_check, outcome_delay, poll_delay, poll_every,
};

const fn seconds(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn polls_are_as_far_apart_as_leaves_half_of_the_rate_to_others() {
    for (jobs, rate, apart) in [
        (0, 5.0, 5),
        (1, 5.0, 5),
        (12, 5.0, 5),
        (25, 5.0, 10),
        (100, 5.0, 40),
        (150, 5.0, 60),
        (10_000, 5.0, 60),
        (200, 25.0, 16),
        (1, 0.01, 60),
        (1, 0.0, 60),
        (usize::MAX, 1.0, 60),
    ] {
        assert_eq!(
            poll_every(jobs, rate).as_secs(),
            apart,
            "{jobs} jobs at {rate} a second"
        );
    }
}

#[test]
fn a_job_past_its_timeout_is_polled_every_five_minutes_whatever_else_runs() {
    assert_eq!(poll_delay(seconds(5), false, 0.5), seconds(5));
    assert_eq!(poll_delay(seconds(42), false, 0.5), seconds(42));
    assert_eq!(poll_delay(seconds(5), true, 0.5), seconds(300));
}

#[test]
fn what_became_of_a_write_is_asked_ever_more_rarely() {
    for (elapsed, delay) in [
        (-5, 5),
        (0, 5),
        (5, 7),
        (20, 15),
        (50, 30),
        (599, 30),
        (600, 60),
        (7200, 60),
    ] {
        assert_eq!(
            outcome_delay(seconds(elapsed), 0.5).as_secs(),
            delay,
            "after {elapsed} s"
        );
    }
}

#[test]
fn jitter_spreads_by_a_tenth() {
    for (jitter, millis) in [(0.0, 27_000), (0.5, 30_000), (1.0, 33_000)] {
        assert_eq!(poll_delay(seconds(30), false, jitter).as_millis(), millis);
        assert_eq!(backoff(30.0, 600.0, 0, jitter).as_millis(), millis);
    }
}

#[test]
fn backoffs_double_up_to_their_cap() {
    let waits: Vec<_> = (0..8).map(|tries| backoff(30.0, 600.0, tries, 0.5).as_secs()).collect();
    assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600, 600]);
    assert_eq!(backoff(30.0, 600.0, u32::MAX, 0.5).as_secs(), 600);
}

#[test]
fn full_jitter_reaches_from_almost_nothing_to_all() {
    assert_eq!(full_jitter(5.0, 300.0, 3, 0.0).as_millis(), 1250);
    assert_eq!(full_jitter(5.0, 300.0, 3, 1.0).as_secs(), 40);
    assert_eq!(full_jitter(5.0, 300.0, 60, 1.0).as_secs(), 300);
}

#[test]
fn failed_jobs_wait_1_5_and_15_minutes() {
    let minutes = [0, 1, 2, 3, 4, 99].map(|failures| job_backoff(failures).as_mins());
    assert_eq!(minutes, [1, 1, 5, 15, 15, 15]);
}

#[test]
fn checks_fall_at_their_phase_of_every_interval() {
    let hour = seconds(3600);
    for (time, phase, due) in [
        (0, 0, 3600),
        (1, 0, 3600),
        (3599, 0, 3600),
        (3600, 0, 7200),
        (0, 600, 600),
        (600, 600, 4200),
        (599, 600, 600),
        (-1, 0, 0),
    ] {
        assert_eq!(
            next_check(at(time), hour, seconds(phase)),
            at(due),
            "{time} with phase {phase}"
        );
    }
    assert_eq!(next_check(jiff::Timestamp::MAX, hour, seconds(0)), jiff::Timestamp::MAX);
    assert!(
        next_check(at(0), SignedDuration::ZERO, SignedDuration::ZERO) > at(0),
        "always later"
    );
}

#[test]
fn a_span_has_passed_at_its_end() {
    assert!(!is_past(at(0), seconds(10), at(9)));
    assert!(is_past(at(0), seconds(10), at(10)));
    assert!(!is_past(at(0), seconds(10), at(-60)), "a clock that was turned back");
}
