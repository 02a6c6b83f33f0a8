//! A suite of tests on one dev cluster, several at a time. A test's name is the sentence that it proves.

use std::{process::ExitCode, sync::Arc};

use amplify_devcluster::{Cluster, Options};
use futures::future::LocalBoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::stage::World;

/// A test: the sentence that it proves, and its body.
pub struct Test {
    pub name: String,
    pub run: Arc<dyn Fn(Arc<World>) -> LocalBoxFuture<'static, ()> + Send + Sync>,
}

/// Lists the tests of a module. The name of each async function is the sentence that it proves.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        pub(crate) fn tests() -> Vec<$crate::suite::Test> {
            vec![$($crate::suite::Test {
                name: stringify!($test).to_owned(),
                run: ::std::sync::Arc::new(|world| Box::pin($test(world))),
            }),*]
        }
    };
}

/// Runs the tests that the command line selects, this many at a time unless the command line gives another number.
pub fn run(tests: &[Test], at_a_time: usize, options: Options) -> ExitCode {
    run_beside(tests, at_a_time, options, async |_: &World| ())
}

/// Does the same as [`run`], beside something that runs from before the first test until after the last.
pub fn run_beside<T>(
    tests: &[Test],
    at_a_time: usize,
    options: Options,
    beside: impl AsyncFnOnce(&World) -> T,
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(at_a_time);
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(tests, &runtime, None)).exit_code();
    }
    let cluster = match runtime.block_on(Cluster::start(options)) {
        Ok(cluster) => cluster,
        Err(error) => {
            eprintln!("no dev cluster: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let world = runtime.block_on(World::new(&cluster));
    let beside = runtime.block_on(beside(&world));
    let conclusion = libtest_mimic::run(&arguments, trials(tests, &runtime, Some(&world)));
    drop((beside, world));
    runtime.block_on(cluster.stop()).expect("the dev cluster ends");
    conclusion.exit_code()
}

fn trials(tests: &[Test], runtime: &Arc<Runtime>, world: Option<&Arc<World>>) -> Vec<Trial> {
    let trial = |test: &Test| {
        let (runtime, world, run) = (runtime.clone(), world.cloned(), test.run.clone());
        Trial::test(&test.name, move || {
            let world = world.ok_or_else(|| Failed::from("only listed"))?;
            runtime.block_on(run(world));
            Ok(())
        })
    };
    tests.iter().map(trial).collect()
}
