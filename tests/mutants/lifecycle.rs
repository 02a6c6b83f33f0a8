//! The decisions of the library with only their dependencies: `tests/mutants/run.py` puts this file in the place of
//! `src/lib.rs` for the mutants of `src/lifecycle`, which are the majority. Each mutant is one build.

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

pub mod lifecycle;
