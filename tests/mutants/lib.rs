//! The pure code of the library, with what it needs: `tests/mutants/run.py` puts this in the place of `src/lib.rs`.
//!
//! A build without the watches and the passes takes less time, and each mutant is one build.

#![allow(dead_code, unused_imports, reason = "the code that uses the rest is left out")]

pub mod amplify;
pub mod api;
pub mod clock;
pub mod fair_queue;
pub mod kinds;
pub mod lifecycle;

pub mod controller {
    mod cache;
    pub mod index;
    mod memory;
    mod queue;
}

pub mod leader {
    mod rules;
}

pub mod telemetry {
    pub mod metrics;

    pub use metrics::Metrics;
}
