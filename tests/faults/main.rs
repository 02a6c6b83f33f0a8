//! The operator as a process while everything around it fails: killed at each of its requests, and with each fault in
//! each of its calls.
//!
//! One dev cluster for nearly all tests. Each crash and each kind of fault has its own namespace, simulator and
//! operator, and so many of them run at a time. A test's name is the sentence that it proves.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod crash;
mod drift;
mod identity;
mod kubernetes;
mod matrix;
mod tally;

use std::process::ExitCode;

use amplify_devcluster::Options;
use amplify_testkit::{specimen, suite};
use tokio::sync::Semaphore;

use tally::TALLY;

/// How many operators run at a time: they wait rather than compute.
static STAGES: Semaphore = Semaphore::const_new(18);
/// All at once: what they share is the number of stages.
const TESTS_AT_A_TIME: usize = 64;

fn main() -> ExitCode {
    specimen::assert_whole();
    // The longest first.
    let tests = [
        crash::sweeps(),
        crash::tests(),
        matrix::tests(),
        drift::tests(),
        identity::tests(),
        kubernetes::tests(),
    ];
    let tests: Vec<_> = tests.into_iter().flatten().collect();
    // Nobody reads the audit log of so many operators.
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let conclusion = suite::run(&tests, TESTS_AT_A_TIME, options);
    TALLY.print();
    conclusion
}
