//! The pure code of the library, and what it needs: `tests/mutants/run.py` puts this in the place of `src/lib.rs`.
//!
//! A build without the AWS clients, the watches and the passes takes half the time, and each mutant is one build.

#![allow(dead_code, unused_imports, reason = "the code that uses the rest is left out")]

pub mod api;
pub mod clock;
pub mod fair_queue;
pub mod lifecycle;

pub mod amplify {
    mod errors;
    mod names;
    mod object;
    mod probe;
    pub mod throttle;

    pub use names::{AppId, EnvironmentName, InvalidName, JobId, ResourceName};
    pub use object::{Creation, Found};
}

pub mod controller {
    mod cache;
    pub mod index;
    pub mod kind;
    mod kinds;
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
