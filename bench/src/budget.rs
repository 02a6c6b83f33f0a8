//! The limits of counts and memory. Times have no limit: the report shows them as ratios.

use std::time::Duration;

use amplify_simulator::Operation;

use crate::{counts::Counts, mix::Kind, scale::Figures};

/// Memory of an idle operator, in KiB.
const IDLE: u64 = 16 * 1024;
/// Memory with ten thousand objects Ready, in KiB.
const READY: u64 = 64 * 1024;

/// Returns a sentence for each limit that is exceeded.
#[expect(clippy::too_many_lines, reason = "a list of budgets")]
pub(crate) fn violations(figures: &Figures) -> Vec<String> {
    let mix = figures.mix;
    let mut wrong = Vec::new();
    let mut check = |is_kept: bool, what: String| {
        if !is_kept {
            wrong.push(format!("{} objects: {what}", mix.objects));
        }
    };
    let count = |kind| mix.count(kind) as u64;
    // The object that is applied last is a record.
    let (backends, apis, records) = (count(Kind::Backend), count(Kind::Api), count(Kind::Environment) + 1);

    let create = &figures.create.counts;
    for (kind, least, most) in [
        // One more write for the values of an API in it.
        (Kind::Backend, 4 * backends, 4 * backends + apis),
        // One more write if the backend is not Ready yet, and another one if the operator has not even seen the
        // backend.
        (Kind::Api, 4 * apis, 6 * apis),
        (Kind::Environment, 3 * records, 3 * records),
    ] {
        let writes = create.writes_of(kind);
        check(
            (least..=most).contains(&writes),
            format!(
                "{writes} writes about {} until Ready, not {least} to {most}",
                kind.name()
            ),
        );
    }
    for (operation, calls) in [
        // The last term: for each API the operator looks whether the backend has an API with another name, and for the
        // values of the API.
        (Operation::GetBackend, 2 * backends + 2 * apis),
        (Operation::CreateBackend, backends),
        (Operation::GetBackendApi, 2 * apis),
        (Operation::CreateBackendApi, apis),
        (Operation::ListBackendJobs, backends + apis),
        (Operation::GetBackendEnvironment, records),
        (Operation::CreateBackendEnvironment, records),
    ] {
        let made = create.calls_of(operation);
        check(
            made == calls,
            format!("{made} calls of {operation} until Ready, not {calls}"),
        );
    }
    let calls = 4 * backends + 6 * apis + 2 * records;
    check(
        create.calls() == calls,
        format!("{} calls until Ready, not {calls}", create.calls()),
    );

    let locks = create.calls_of(Operation::GetApp);
    let minutes = figures.create.time.as_secs() / 60 + 1;
    check(
        locks <= mix.apps() as u64 * minutes,
        format!("{locks} reads of migration locks in {minutes} minutes"),
    );

    for (when, counts) in [
        ("a restart", &figures.restart.counts),
        ("steady state", &figures.steady.counts),
    ] {
        check(counts.writes() == 0, format!("{} writes in {when}", counts.writes()));
        check(counts.calls() == 0, format!("{} calls in {when}", counts.calls()));
    }

    let drift = &figures.drift.counts;
    check(
        drift.writes() == 0,
        format!("{} writes by drift checks", drift.writes()),
    );
    check_drift(&mut check, drift, mix.apps() as u64, apis);

    let delete = &figures.delete.counts;
    // An object that waits for longer than a minute reports this with one more write.
    let waits = u64::from(figures.delete.time > Duration::from_mins(1));
    for (kind, most) in [
        // One more write reports that the backend waits for its API to go.
        (Kind::Backend, (2 + waits) * backends + apis),
        (Kind::Api, (2 + waits) * apis),
        (Kind::Environment, (1 + waits) * count(Kind::Environment)),
    ] {
        let writes = delete.writes_of(kind);
        check(
            writes <= most,
            format!("{writes} writes about {} deleted, not {most}", kind.name()),
        );
    }
    // The operator has listed the jobs of none of these environments since its start. After an API it looks at the values of
    // its backend.
    let most = 2 * mix.objects as u64 + backends + 2 * apis;
    check(
        delete.calls() <= most,
        format!("{} calls to delete, not {most}", delete.calls()),
    );

    // A debug build needs several times as much memory.
    if cfg!(debug_assertions) {
        return wrong;
    }
    let idle = figures.idle.resident;
    check(idle < IDLE, format!("{idle} KiB idle"));
    for memory in [figures.ready, figures.restarted, figures.drifted] {
        let used = memory.resident;
        check(used < READY, format!("{used} KiB with all Ready"));
    }
    wrong
}

/// Checks the calls of the drift checks that were due: one call per app for its backends, one per app for its records,
/// and one per API. A second check may begin within the time.
fn check_drift(check: &mut impl FnMut(bool, String), drift: &Counts, apps: u64, looked_at: u64) {
    let listed = 2 * apps;
    let lists = drift.calls_of(Operation::ListBackendEnvironments) + drift.calls_of(Operation::GetBackend);
    check(
        lists <= listed + listed / 10 + 1,
        format!("{lists} lists of backends and of records for {apps} apps"),
    );
    let looks = drift.calls_of(Operation::GetBackendApi);
    check(
        looks <= looked_at + looked_at / 10 + 1,
        format!("{looks} looks at {looked_at} APIs"),
    );
    check(
        lists + looks >= (listed + looked_at) * 8 / 10,
        format!("only {lists} lists and {looks} looks for {apps} apps and {looked_at} APIs"),
    );
    check(
        drift.calls() == lists + looks,
        format!("{} other calls by drift checks", drift.calls() - lists - looks),
    );
}
