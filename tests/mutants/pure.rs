//! The parts of the library that need no I/O at all: `tests/mutants/run.py` puts this file in the place of `src/lib.rs`
//! for the mutants of the index, the token buckets and the rules of the election. Each mutant is one build.

#![allow(dead_code, unused_imports, reason = "the code that uses the rest is left out")]

pub mod api {
    pub mod common;
    pub mod conditions;
    pub mod kinds;
    pub mod operation;
    pub mod rules;
    pub mod text;

    pub use common::{AdoptionPolicy, BackendRef, DeletionPolicy, Job, JobDuration, Ledger, Origin, Phase};
    pub use kinds::KindName;
    pub use operation::{Abilities, Operation, Read, Verb};
}

pub mod fair_queue;
pub mod lifecycle;

pub mod amplify {
    mod names;
    pub mod throttle;

    pub use names::{AppId, EnvironmentName, InvalidName, JobId, ResourceName};
}

pub mod controller {
    pub mod index;
}

pub mod leader {
    mod rules;
}

pub mod telemetry {
    pub mod metrics;

    pub use metrics::Metrics;
}
