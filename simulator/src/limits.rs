//! The rate limit of calls per account and region, as AWS applies it: a token bucket that holds one second's calls.

use std::collections::HashMap;

/// The remaining tokens of each account and region.
#[derive(Debug, Default)]
pub(crate) struct Limits(HashMap<(String, String), Left>);

#[derive(Debug)]
struct Left {
    calls: f64,
    /// The time of the last refill, in milliseconds.
    at: i64,
}

impl Limits {
    /// Whether this account and region accepts a call now (in milliseconds), at so many calls per second. An accepted
    /// call takes a token.
    pub(crate) fn take(&mut self, account: &str, region: &str, per_second: u32, now: i64) -> bool {
        let most = f64::from(per_second);
        let key = (account.to_owned(), region.to_owned());
        let left = self.0.entry(key).or_insert(Left { calls: most, at: now });
        let seconds = std::time::Duration::from_millis(u64::try_from(now - left.at).unwrap_or_default());
        left.calls = (left.calls + seconds.as_secs_f64() * most).min(most);
        left.at = now;
        let is_taken = left.calls >= 1.0;
        if is_taken {
            left.calls -= 1.0;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_calls_as_the_limit_says_are_taken_and_no_more() {
        let mut limits = Limits::default();
        // 100 calls in each second, for three seconds, and one second's calls from the full bucket.
        let taken = (0..300).filter(|call| limits.take("1", "eu-west-1", 20, call * 10));
        assert_eq!(taken.count(), 20 + 59);
        assert!(limits.take("1", "us-east-1", 20, 0) && limits.take("2", "eu-west-1", 20, 0));
        // The bucket holds no more than this, even after a long pause.
        let taken = (0..300).filter(|_| limits.take("1", "eu-west-1", 20, 3_600_000));
        assert_eq!(taken.count(), 20);
    }
}
