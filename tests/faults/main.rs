//! The operator as a process while everything around it fails: it is killed at each of its requests, and each of its
//! calls is hit by each fault.
//!
//! Nearly all tests share one dev cluster. Each crash and each kind of fault has its own namespace, simulator and
//! operator, and many of them run at a time. A test's name is the sentence that it proves.

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

/// How many operators run at a time. They mostly wait, so there may be more than cores.
static STAGES: Semaphore = Semaphore::const_new(18);
/// All tests run at once: the number of stages limits them.
const TESTS_AT_A_TIME: usize = 64;

fn main() -> ExitCode {
    specimen::assert_whole();
    // The longest tests come first.
    let tests = [
        crash::sweeps(),
        crash::tests(),
        matrix::tests(),
        drift::tests(),
        identity::tests(),
        kubernetes::tests(),
    ];
    let tests: Vec<_> = tests.into_iter().flatten().collect();
    // No test here reads the audit log, and so many operators would make it large.
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let conclusion = suite::run(&tests, TESTS_AT_A_TIME, options);
    TALLY.print();
    conclusion
}
