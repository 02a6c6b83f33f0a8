//! The operator in one process, on tokio's paused clock, against models of everything around it.
//!
//! | module | holds |
//! |---|---|
//! | `apiserver` | the model of kube-apiserver and etcd, and its own tests |
//! | `faithful` | the model against a real kube-apiserver |
//! | `world` | the machines, the network to AWS, the time |
//! | `plan`, `run`, `judge`, `seeds` | the events of a run, the run, its checks, and many runs: docs/simulation.md |
//! | `ledger` | lost or late requests and replies, and changes by others meanwhile |
//! | `neighbours` | trouble in one namespace or region delays no other |
//! | `rates` | the number and times of calls to AWS |
//! | `takeover` | one process after another |
//! | `town` | a small world for `neighbours`, `rates`, `ledger` and `takeover` |

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a model that cannot go on is a failed test, and the figures are to be seen"
)]

mod apiserver;
mod faithful;
mod judge;
mod ledger;
mod migration;
mod neighbours;
mod plan;
mod rates;
mod run;
mod seeds;
mod takeover;
mod town;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Lists tests. The name of each function is the sentence that it proves.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(stringify!($test), || { $test(); Ok(()) })),*]
        }
    };
}
pub(crate) use trials;

fn main() -> ExitCode {
    if let Some(code) = seeds::asked() {
        return code;
    }
    let trials: Vec<Trial> = [
        apiserver::tests::trials(),
        faithful::trials(),
        ledger::trials(),
        migration::trials(),
        neighbours::trials(),
        rates::trials(),
        seeds::trials(),
        takeover::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
