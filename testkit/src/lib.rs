//! What the suites share. Who adds a kind adds a [`specimen`] of it, and every suite plays it.
//!
//! May do: start the operator's binary, a simulator of AWS and what stands before the API server. May not: prove anything by
//! itself; what a suite proves stands in the suite.
//!
//! | module | holds |
//! |---|---|
//! | `kind` | the kinds, and the app of all tests |
//! | `specimen` | a resource of each kind, with all that a suite has to know of it |
//! | `stage` | a namespace, a simulator of AWS, and an operator process that can be killed |
//! | `gate` | stands between an operator and the API server, and sees, holds and refuses requests |
//! | `suite` | runs tests of one dev cluster, some at a time |
//! | `conditions` | reads conditions of a resource as JSON |
//! | `laws` | what the soak and the simulation judge by: histories in, violations out |

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    reason = "helpers of tests are tests: their names say what they prove, and a test says what is wrong by panicking"
)]

pub mod conditions;
pub mod gate;
pub mod kind;
pub mod laws;
pub mod specimen;
pub mod stage;
pub mod suite;
