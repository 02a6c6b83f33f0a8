//! The number and times of calls to AWS: the rate that adapts, and polls that use the remaining rate.

use std::time::Duration;

use amplify_simulator::{JobFault, JobScript, Operation};

use crate::{
    apiserver::Named,
    town::{Town, backend, record},
};

crate::trials! {
    the_rate_finds_what_aws_takes,
    the_rate_stays_where_both_flags_say_so,
    with_few_jobs_running_an_end_is_seen_within_six_seconds,
    polls_of_many_jobs_take_half_of_the_rate,
}

/// Lets time pass until this many resources of a kind are Ready. Returns the time that it took.
fn until_ready(town: &mut Town, plural: &str, names: &[String], longest: Duration) -> Duration {
    let begun = town.world.now();
    let is_ready = |town: &Town, name: &String| town.reason(Named(plural, "sick", name)) == "Available";
    while !names.iter().all(|name| is_ready(town, name)) {
        let took = town.world.now().saturating_sub(begun);
        assert!(took < longest, "not all are Ready after {took:?}");
        town.passes(Duration::from_secs(1));
    }
    town.world.now().saturating_sub(begun)
}

fn records(town: &mut Town, numbers: std::ops::Range<u32>) -> Vec<String> {
    let specs = numbers.map(|number| record(&format!("r{number}")));
    specs
        .map(|spec| town.apply("backendenvironments", "sick", &spec))
        .collect()
}

fn the_rate_finds_what_aws_takes() {
    let mut town = Town::of(1, &[], &["sick"]);
    town.world
        .aws(|aws| aws.change_settings(|settings| settings.calls_per_second = Some(20)));
    town.passes(Duration::from_secs(30));
    let names = records(&mut town, 0..1000);
    // 2 calls each: 400 s at 5 a second; 156 s with 1 a second more every 10 s.
    let took = until_ready(&mut town, "backendenvironments", &names, Duration::from_secs(165));
    assert!(took > Duration::from_secs(140), "{took:?}");
    let more = records(&mut town, 1000..2000);
    let took = until_ready(&mut town, "backendenvironments", &more, Duration::from_secs(220));
    // At most 20 a second.
    assert!(took >= Duration::from_secs(98), "{took:?}");
    let calls = town.world.simulator().history().all();
    let throttled = calls.iter().filter(|call| call.status == Some(429)).count();
    assert!(
        throttled > 0 && throttled * 100 < calls.len(),
        "{throttled} of {}",
        calls.len()
    );
    town.is_well();
}

fn the_rate_stays_where_both_flags_say_so() {
    let mut town = Town::of(1, &["--aws-max-requests-per-second=5"], &["sick"]);
    town.passes(Duration::from_secs(30));
    let names = records(&mut town, 0..300);
    let took = until_ready(&mut town, "backendenvironments", &names, Duration::from_secs(125));
    assert!(took >= Duration::from_secs(117), "{took:?}");
    town.is_well();
}

/// Creates backends whose jobs run for this long. Returns their names.
fn backends(town: &mut Town, numbers: std::ops::Range<u32>, job: Duration) -> Vec<String> {
    town.world
        .aws(|aws| aws.change_settings(|settings| settings.job_duration = job));
    let names = numbers.map(|number| town.apply("amplifybackends", "sick", &backend(&format!("e{number}"))));
    names.collect()
}

fn with_few_jobs_running_an_end_is_seen_within_six_seconds() {
    let mut town = Town::of(1, &["--job-timeout=10m"], &["sick"]);
    town.passes(Duration::from_secs(30));
    // Hanging jobs are polled rarely, and do not make the polls of other jobs rarer.
    town.world.aws(|aws| {
        let stuck = JobFault::on(Operation::CreateBackend, JobScript::stuck()).times(40);
        aws.job_fault(stuck);
    });
    backends(&mut town, 0..40, Duration::from_mins(1));
    town.passes(Duration::from_mins(15));
    for round in 1..=5 {
        let job = Duration::from_millis(61_300 + 700 * u64::from(round));
        let names = backends(&mut town, round * 100..round * 100 + 10, job);
        // Until the last job has begun.
        let control = |town: &Town| {
            let calls = town.world.simulator().history();
            calls.accepted_creates().iter().map(|call| call.time).max()
        };
        town.passes(Duration::from_secs(30));
        let last = control(&town).expect("a create");
        let took = until_ready(&mut town, "amplifybackends", &names, Duration::from_mins(3));
        let ended = last + i64::try_from(job.as_millis()).expect("a short time");
        let late = town.world.simulator().control().now() - ended;
        // A look follows the end, and this test checks the time once a second.
        assert!(
            late <= 6_000 + 1_000,
            "round {round}: {late} ms after the last end; {took:?}"
        );
    }
    town.is_well();
}

fn polls_of_many_jobs_take_half_of_the_rate() {
    let mut town = Town::of(1, &["--aws-max-requests-per-second=5"], &["sick"]);
    town.passes(Duration::from_secs(30));
    backends(&mut town, 0..100, Duration::from_hours(1));
    town.passes(Duration::from_mins(10));
    let polls = |town: &Town| town.world.simulator().history().count(Operation::GetBackendJob).calls;
    let before = polls(&town);
    town.passes(Duration::from_mins(10));
    let made = polls(&town) - before;
    // 100 jobs, each polled every 40 s.
    assert!((1_300..=1_600).contains(&made), "{made} polls in 10 min");
    town.is_well();
}
