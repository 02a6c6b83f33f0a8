//! The code that the suites share. To add a kind, add a [`specimen`] of it: every suite then runs it.
//!
//! May: start the operator's binary, a simulator of AWS and the gate before the API server. May not: prove anything by
//! itself. Every assertion that a suite proves is in the suite.
//!
//! | module | holds |
//! |---|---|
//! | `kind` | the kinds, and the app of all tests |
//! | `specimen` | a resource of each kind, with all that a suite has to know of it |
//! | `stage` | a namespace, a simulator of AWS, and an operator process that can be killed |
//! | `example` | the example of a Git repository |
//! | `git` | a Git repository, served over HTTP |
//! | `https` | a certificate authority, and HTTPS in front of a simulator |
//! | `gate` | a proxy between an operator and the API server: it shows, holds and refuses requests |
//! | `suite` | runs tests on one dev cluster, several at a time |
//! | `conditions` | reads conditions of a resource as JSON |
//! | `laws` | the checks of the soak and the simulation: histories in, violations out |

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::panic,
    reason = "helpers of tests are tests: their names say what they prove, and a test says what is wrong by panicking"
)]

pub mod conditions;
pub mod example;
pub mod gate;
pub mod git;
pub mod https;
pub mod kind;
pub mod laws;
pub mod specimen;
pub mod stage;
pub mod suite;
