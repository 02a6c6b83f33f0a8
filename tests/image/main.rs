//! The container image, built from the Dockerfile and run by podman as the chart runs it. And `make kind`, as far as it
//! can be run without a cluster of containers.
//!
//! podman is the machine's own, or comes from Debian's packages (then only root can run it). Where the Dockerfile's bases
//! cannot be pulled, they are made from Debian's packages. The programs are built without optimization.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

mod container;
mod contents;
mod kind;
mod running;
mod trust;

use std::process::ExitCode;

use amplify_devcluster::Options;
use amplify_testkit::{specimen, suite};

const TESTS_AT_A_TIME: usize = 4;

fn main() -> ExitCode {
    specimen::assert_whole();
    let tests = [contents::tests(), kind::tests(), running::tests(), trust::tests()];
    let tests: Vec<_> = tests.into_iter().flatten().collect();
    suite::run(&tests, TESTS_AT_A_TIME, Options::default())
}
