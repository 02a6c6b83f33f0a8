//! The whole operator as a process, against a real API server and the simulator of AWS.
//!
//! One dev cluster for all tests; each test has its own namespace, simulator and operator process. A test's name is the
//! sentence that it proves. Nothing here sleeps for a fixed time: tests wait for conditions.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod abuse;
mod accounts;
mod counts;
mod crash;
#[path = "../telemetry/dashboard.rs"]
mod dashboard;
mod events;
mod gitops;
mod image;
mod import;
mod leader;
mod lifecycle;
mod ours;
mod reasons;
mod scope;
mod stage;
mod suite;
mod telemetry;
mod truth;
mod unreadable;
mod verdicts;
mod walks;
mod words;

use std::process::ExitCode;

use amplify_devcluster::Options;
use suite::tests;

/// Tests wait for jobs rather than compute: many can run on few cores.
const TESTS_AT_A_TIME: usize = 12;

fn main() -> ExitCode {
    let tests = [
        abuse::TESTS,
        accounts::TESTS,
        counts::TESTS,
        crash::TESTS,
        events::TESTS,
        gitops::TESTS,
        image::TESTS,
        import::TESTS,
        leader::TESTS,
        lifecycle::TESTS,
        ours::TESTS,
        reasons::TESTS,
        scope::TESTS,
        telemetry::TESTS,
        truth::TESTS,
        unreadable::TESTS,
        verdicts::TESTS,
        walks::TESTS,
        words::TESTS,
    ]
    .concat();
    suite::run(&tests, TESTS_AT_A_TIME, Options::default())
}
