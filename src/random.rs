//! Randomness: the only place of the program that draws any. It spreads work over time and tells processes apart; nothing
//! that must not be guessed comes from here.

use std::hash::{BuildHasher, RandomState};

use fastrand::Rng;
use parking_lot::Mutex;

/// One for the process, shared.
#[derive(Debug)]
pub struct Random(Mutex<Rng>);

impl Random {
    /// Begins anywhere: what the operating system gives the standard library's hash maps.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::seeded(RandomState::new().hash_one(std::process::id()))
    }

    /// Begins where this seed says: the same one gives the same numbers.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(Rng::with_seed(seed)))
    }

    /// A number from 0 up to, but not including, 1.
    pub fn fraction(&self) -> f64 {
        self.0.lock().f64()
    }

    /// 64 bits.
    pub fn bits(&self) -> u64 {
        self.0.lock().u64(..)
    }
}
