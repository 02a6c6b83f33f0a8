//! Randomness: the only place of the program that draws random numbers. They spread work over time and distinguish
//! processes. They are not for secrets.

use std::hash::{BuildHasher, RandomState};

use fastrand::Rng;
use parking_lot::Mutex;

/// The random numbers of the process, shared.
#[derive(Debug)]
pub struct Random(Mutex<Rng>);

impl Random {
    /// Starts with a seed from the operating system's randomness, as the standard library's hash maps do.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// Starts with this seed. The same seed gives the same numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(Rng::with_seed(seed)))
    }

    /// Returns a number from 0 up to, but not including, 1.
    pub fn fraction(&self) -> f64 {
        self.0.lock().f64()
    }

    /// Returns 64 random bits.
    pub fn bits(&self) -> u64 {
        self.0.lock().u64(..)
    }
}
