//! The pure code of the library, with its dependencies: `tests/mutants/run.py` puts this file in the place of
//! `src/lib.rs`.
//!
//! Each mutant is one build. Without the watches and the passes, a build takes less time.

#![allow(dead_code, unused_imports, reason = "the code that uses the rest is left out")]

pub mod amplify;
pub mod api;
pub mod clock;
pub mod fair_queue;
pub mod kinds;
pub mod lifecycle;
pub mod proxy;

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
