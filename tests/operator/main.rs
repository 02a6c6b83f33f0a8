//! The whole operator as a process, against a real API server and the simulator of AWS.
//!
//! All tests share one dev cluster. Each test has its own namespace, simulator and operator process. A test's name is
//! the sentence that it proves. Nothing here sleeps for a fixed time: tests wait for conditions.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod abuse;
mod accounts;
mod commands;
mod counts;
mod crash;
#[path = "../telemetry/dashboard.rs"]
mod dashboard;
mod events;
mod gitops;
mod import;
mod leader;
mod lifecycle;
mod migration;
mod network;
mod observe;
mod ours;
mod outputs;
mod reasons;
mod scope;
mod storage;
mod telemetry;
mod truth;
mod unreadable;
mod upgrade;
mod verdicts;
mod walks;
mod words;

use std::process::ExitCode;

use amplify_devcluster::Options;
use amplify_testkit::{specimen, suite};

/// Tests mostly wait for jobs, so many can run on few cores.
const TESTS_AT_A_TIME: usize = 12;

fn main() -> ExitCode {
    specimen::assert_whole();
    let tests = [
        abuse::tests(),
        accounts::tests(),
        commands::tests(),
        counts::tests(),
        crash::tests(),
        events::tests(),
        gitops::tests(),
        import::tests(),
        leader::tests(),
        lifecycle::tests(),
        migration::tests(),
        network::tests(),
        observe::tests(),
        ours::tests(),
        outputs::tests(),
        reasons::tests(),
        scope::tests(),
        storage::tests(),
        telemetry::tests(),
        truth::tests(),
        unreadable::tests(),
        upgrade::tests(),
        verdicts::tests(),
        walks::tests(),
        words::tests(),
    ];
    let tests: Vec<_> = tests.into_iter().flatten().collect();
    suite::run(&tests, TESTS_AT_A_TIME, Options::default())
}
