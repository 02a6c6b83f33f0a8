//! The operator as a process while everything around it fails: killed at each of its requests, and with each fault in
//! each of its calls.
//!
//! One dev cluster for nearly all tests. Each crash and each kind of fault has its own namespace, simulator and
//! operator, and so many of them run at a time. A test's name is the sentence that it proves.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests")]

mod crash;
mod drift;
mod gate;
mod identity;
mod kubernetes;
mod matrix;
#[expect(
    dead_code,
    reason = "the stage is shared with the tests of the operator, which use the rest"
)]
#[path = "../operator/stage.rs"]
mod stage;
mod tally;

use std::{process::ExitCode, sync::Arc};

use amplify_devcluster::{Cluster, Options};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Runtime, sync::Semaphore};

use stage::World;
use tally::TALLY;

/// How many operators run at a time: they wait rather than compute.
static STAGES: Semaphore = Semaphore::const_new(18);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // All at once: what they share is the number of stages.
    arguments.test_threads.get_or_insert(64);
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&runtime, None)).exit_code();
    }
    // Nobody reads the audit log of so many operators.
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let cluster = match runtime.block_on(Cluster::start(options)) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("no dev cluster: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let world = runtime.block_on(World::new(&cluster));
    let conclusion = libtest_mimic::run(&arguments, trials(&runtime, Some(&world)));
    drop(world);
    runtime.block_on(cluster.stop()).expect("the dev cluster ends");
    TALLY.print();
    conclusion.exit_code()
}

/// A test: what it proves, and how.
type Test = (
    &'static str,
    fn(Arc<World>) -> futures::future::LocalBoxFuture<'static, ()>,
);

fn trials(runtime: &Arc<Runtime>, world: Option<&Arc<World>>) -> Vec<Trial> {
    // The longest first.
    [
        crash::TESTS,
        matrix::TESTS,
        drift::TESTS,
        identity::TESTS,
        kubernetes::TESTS,
    ]
    .concat()
    .into_iter()
    .map(|(name, test): Test| {
        let (runtime, world) = (runtime.clone(), world.cloned());
        Trial::test(name, move || {
            let world = world.ok_or_else(|| Failed::from("only listed"))?;
            runtime.block_on(test(world));
            Ok(())
        })
    })
    .collect()
}

/// Lists the tests of a module: each async function's name is the sentence that it proves.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::Test] = &[$((stringify!($test), |world| Box::pin($test(world)))),*];
    };
}
pub(crate) use tests;
