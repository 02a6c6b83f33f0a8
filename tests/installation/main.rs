//! The chart, the plain manifests and the custom resources' rules, checked by a real API server and the real helm.
//!
//! All tests share one dev cluster with a controller manager, so that a Deployment's pods are created and admitted. It
//! has no nodes: no image is pulled. The operator itself runs as a process of the test, with the rights of the chart's
//! ServiceAccount and the arguments and variables of its pod.

#![recursion_limit = "256"] // For the JSON of all values.
#![allow(
    clippy::needless_pass_by_value,
    reason = "tables of manifests read better without references"
)]

mod chart;
mod history;
mod manifests;
mod places;
mod pod;
mod rights;
mod site;
mod values;

use std::{process::ExitCode, sync::Arc};

use amplify_devcluster::{Cluster, Options};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use site::Site;

/// Most tests wait for processes and need little CPU.
const TESTS_AT_A_TIME: usize = 8;

/// The body of a test.
type Body = Box<dyn FnOnce(&Site) -> anyhow::Result<()> + Send>;
/// A test: the sentence that it proves, and its body.
type Test = (String, Body);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(TESTS_AT_A_TIME);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("no dev cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = Arc::new(Runtime::new()?);
    let options = Options {
        controller_manager: true,
        ..Options::default()
    };
    let cluster = runtime.block_on(Cluster::start(options))?;
    let site = Arc::new(Site::new(runtime.clone(), &cluster)?);
    let conclusion = libtest_mimic::run(arguments, trials(Some(&site)));
    drop(site);
    runtime.block_on(cluster.stop())?;
    Ok(conclusion.exit_code())
}

fn trials(site: Option<&Arc<Site>>) -> Vec<Trial> {
    // The long tests come first, and the tests that wait for them come last.
    [
        rights::tests(),
        values::tests(),
        places::tests(),
        chart::tests(),
        manifests::tests(),
        rights::judgements(),
    ]
    .into_iter()
    .flatten()
    .map(|(name, body)| {
        let site = site.cloned();
        Trial::test(name, move || {
            let site = site.ok_or_else(|| Failed::from("only listed"))?;
            body(&site).map_err(|error| Failed::from(format!("{error:#}")))
        })
    })
    .collect()
}

/// Makes tests from functions: a function's name is the sentence.
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        vec![$((stringify!($test).to_owned(), Box::new($test) as $crate::Body)),*]
    };
}
pub(crate) use tests;
