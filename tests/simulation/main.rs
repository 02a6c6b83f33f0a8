//! The operator in one process, on tokio's paused clock, against models of everything around it.
//!
//! | module | holds |
//! |---|---|
//! | `apiserver` | the model of kube-apiserver and etcd, and its own tests |
//! | `faithful` | the model against a real kube-apiserver |

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a model that cannot go on is a failed test, and the figures are to be seen"
)]

mod apiserver;
mod faithful;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Lists tests: each function's name is the sentence that it proves.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(stringify!($test), || { $test(); Ok(()) })),*]
        }
    };
}
pub(crate) use trials;

fn main() -> ExitCode {
    let trials: Vec<Trial> = [apiserver::tests::trials(), faithful::trials()]
        .into_iter()
        .flatten()
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
