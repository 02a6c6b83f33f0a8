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
mod gitops;
mod image;
mod import;
mod leader;
mod lifecycle;
mod reasons;
mod scope;
mod stage;
mod telemetry;
mod unreadable;
mod walks;

use std::{process::ExitCode, sync::Arc};

use amplify_devcluster::{Cluster, Options};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use stage::World;

/// Tests wait for jobs rather than compute: many can run on few cores.
const TESTS_AT_A_TIME: usize = 12;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(TESTS_AT_A_TIME);
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&runtime, None)).exit_code();
    }
    let cluster = match runtime.block_on(Cluster::start(Options::default())) {
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
    conclusion.exit_code()
}

/// A test: what it proves, and how.
type Test = (
    &'static str,
    fn(Arc<World>) -> futures::future::LocalBoxFuture<'static, ()>,
);

fn trials(runtime: &Arc<Runtime>, world: Option<&Arc<World>>) -> Vec<Trial> {
    [
        abuse::TESTS,
        accounts::TESTS,
        counts::TESTS,
        crash::TESTS,
        gitops::TESTS,
        image::TESTS,
        import::TESTS,
        leader::TESTS,
        lifecycle::TESTS,
        reasons::TESTS,
        scope::TESTS,
        telemetry::TESTS,
        unreadable::TESTS,
        walks::TESTS,
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
