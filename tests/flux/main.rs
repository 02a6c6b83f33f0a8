//! The custom resources in the hands of the real Flux: source-controller fetches them from a Git server, and
//! kustomize-controller applies and judges them. The operator runs as a process, against the simulator of AWS.
//!
//! All tests share one dev cluster, with a controller manager, and one Flux. Each test has its own namespace, Git
//! repository, operator and AWS. The objects of Flux are those of `deploy/flux/kustomization.yaml`, with other names.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod apply;
mod removal;
mod site;
mod variants;

use std::process::ExitCode;

use amplify_devcluster::Options;
use amplify_testkit::suite;

use site::Flux;

/// Tests mostly wait: for jobs, and for Flux, which looks every 5 s.
const TESTS_AT_A_TIME: usize = 12;

fn main() -> ExitCode {
    let tests: Vec<_> = [removal::tests(), apply::tests(), variants::tests()]
        .into_iter()
        .flatten()
        .collect();
    let options = Options {
        controller_manager: true,
        ..Options::default()
    };
    suite::run_beside(&tests, TESTS_AT_A_TIME, options, Flux::start)
}
