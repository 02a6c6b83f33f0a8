//! The cost of the run, from the simulator's history and the API server's audit log, and the checks at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use amplify_devcluster::audit::AuditLog;
use amplify_simulator::Simulator;
use anyhow::{Result, bail, ensure};

const GROUP: &str = "amplify-operator.dev";

/// Counts of requests up to one moment.
pub(crate) struct Measures {
    /// Calls to AWS, by operation.
    aws: BTreeMap<String, u64>,
    /// The creates that AWS accepted, by object.
    creates: BTreeMap<String, u64>,
    /// The operator's writes to Kubernetes, by object.
    writes: BTreeMap<String, u64>,
}

impl Measures {
    pub(crate) fn take(simulator: &Simulator, audit: &AuditLog) -> Result<Self> {
        let history = simulator.history();
        let mut writes = BTreeMap::new();
        for event in audit.events()? {
            if event.is_write() && event.group == GROUP && !event.user_agent.starts_with("kubectl") {
                *writes.entry(format!("{}/{}", event.resource, event.name)).or_default() += 1;
            }
        }
        Ok(Self {
            aws: history
                .counts()
                .into_iter()
                .map(|(operation, count)| (operation.to_string(), count.calls))
                .collect(),
            creates: history
                .creates_by_object()
                .into_iter()
                .map(|(object, count)| (object, count as u64))
                .collect(),
            writes,
        })
    }
}

/// Returns the report, with one column per moment.
pub(crate) fn report(moments: &[(&str, Measures)]) -> String {
    let mut text = format!("{:<60}", "Measured, from kubectl apply");
    for (title, _) in moments {
        let _ = write!(text, "{title:>9}");
    }
    let mut block = |title: &str, counts: &dyn Fn(&Measures) -> &BTreeMap<String, u64>| {
        let mut line = |name: &str, count: &dyn Fn(&BTreeMap<String, u64>) -> u64| {
            let _ = write!(text, "\n{name:<60}");
            for (_, measures) in moments {
                let _ = write!(text, "{:>9}", count(counts(measures)));
            }
        };
        line(title, &|counts| counts.values().sum());
        let names: BTreeSet<&String> = moments
            .iter()
            .flat_map(|(_, measures)| counts(measures).keys())
            .collect();
        for name in names {
            line(&format!("  {name}"), &|counts| {
                counts.get(name).copied().unwrap_or_default()
            });
        }
    };
    block("AWS calls", &|measures| &measures.aws);
    block("AWS objects created", &|measures| &measures.creates);
    block("Kubernetes writes by the operator, Events apart", &|measures| {
        &measures.writes
    });
    text
}

/// Checks that each sample's AWS object was created once, and that no operation that destroys more than one object was
/// called.
pub(crate) fn check_creates(simulator: &Simulator, samples: usize) -> Result<()> {
    let creates = simulator.history().creates_by_object();
    ensure!(
        creates.len() == samples && creates.values().all(|count| *count == 1),
        "each of the {samples} AWS objects should have been created once: {creates:?}"
    );
    let dangerous = simulator.history().dangerous();
    ensure!(dangerous.is_empty(), "calls that no operator may make: {dangerous:?}");
    Ok(())
}

/// Checks that nothing is left in AWS except the app.
pub(crate) fn check_empty(simulator: &Simulator) -> Result<()> {
    for app in simulator.control().apps() {
        if !app.backends.is_empty() || !app.environments.is_empty() {
            bail!(
                "left in AWS: backends {:?}, environments {:?}",
                app.backends,
                app.environments
            );
        }
    }
    Ok(())
}
