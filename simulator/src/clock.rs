//! AWS's clock: the wall clock plus an offset that a test moves forward. Nothing sleeps here.

use std::{
    fmt,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The time of the simulated AWS, in milliseconds since the epoch.
pub(crate) struct Clock {
    wall: Box<dyn Fn() -> i64 + Send + Sync>,
    offset: AtomicI64,
}

impl Clock {
    pub(crate) fn of_machine() -> Self {
        Self::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis))
    }

    /// Creates a clock on top of this wall clock.
    pub(crate) fn new(wall: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self {
            wall: Box::new(wall),
            offset: AtomicI64::new(0),
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.wall() + self.offset.load(Ordering::Relaxed)
    }

    /// Returns the time without the offset. Signatures and sessions are checked with it, because clients have no other
    /// clock.
    pub(crate) fn wall(&self) -> i64 {
        (self.wall)()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.offset.fetch_add(millis(by), Ordering::Relaxed);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}

/// Converts a duration to milliseconds, saturating far above any value in a test.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Serialises durations as whole milliseconds, so that hand-written JSON stays simple.
pub(crate) mod as_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Serialises optional durations in the same way.
pub(crate) mod as_optional_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    // serde requires this signature.
    #[expect(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
            .serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
