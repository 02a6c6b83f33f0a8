//! The custom resources in the hands of the real Argo CD: its repository server builds the manifests from a Git server,
//! and its application controller applies and judges them. The operator runs as a process, against the simulator of
//! AWS.
//!
//! All tests share one dev cluster, with a controller manager, and one Argo CD with the health check of `deploy/argocd`.
//! Each test has its own namespace, Git repository, operator and AWS. The Applications are those of
//! `deploy/argocd/application.yaml`, with other names. `make test-argocd` runs this suite; `make test` does not, because
//! Argo CD takes long to build.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod apply;
mod removal;
mod site;

use std::process::ExitCode;

use amplify_devcluster::Options;
use amplify_testkit::suite;

use site::Argocd;

/// Tests mostly wait.
const TESTS_AT_A_TIME: usize = 12;

fn main() -> ExitCode {
    let tests: Vec<_> = [removal::tests(), apply::tests()].into_iter().flatten().collect();
    let options = Options {
        controller_manager: true,
        ..Options::default()
    };
    suite::run_beside(&tests, TESTS_AT_A_TIME, options, Argocd::start)
}
