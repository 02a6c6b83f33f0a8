//! Trouble in one namespace or region delays no other. Each seed draws the place, the kind and the time of the trouble.
//! A resource of a healthy neighbour must become Ready as soon as if it were alone.

use std::time::Duration;

use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{Ending, JobScript, Operation};
use serde_json::json;

use crate::{
    apiserver::{Named, Verb, Withdrawn},
    town::{APP, OTHER_REGION, Town, api, backend, record},
    world::REGION,
};

crate::trials! {
    a_namespace_that_cannot_be_read_delays_no_other,
    a_region_that_hangs_delays_no_other,
    what_a_namespace_refuses_to_record_delays_no_other,
    a_crowd_in_a_namespace_delays_no_other,
    who_needs_no_call_after_all_holds_no_place,
    what_is_asked_for_in_a_loop_delays_no_other,
    those_who_wait_for_an_environment_go_in_the_order_of_their_creation,
    those_who_wait_for_a_job_of_somebody_else_ask_for_it_now_and_then,
}

/// The number of seeds of each test.
const SEEDS: u64 = 4;
/// The time that a record takes on its own: it needs six requests, and may wait for tokens.
const ALONE: Duration = Duration::from_secs(2);

fn a_namespace_that_cannot_be_read_delays_no_other() {
    for seed in 1..=SEEDS {
        let mut flags = vec!["--watch-namespace=sick", "--watch-namespace=well"];
        if seed % 2 == 0 {
            flags.extend(["--leader-elect", "--lease-namespace=operators"]);
        }
        let mut town = Town::of(seed, &flags, &["sick", "well", "operators"]);
        // The rights are missing from the beginning or later, and the operator is or is not restarted meanwhile.
        if town.rng.bool() {
            town.rights("sick", false);
        }
        let before = town.some(Duration::from_mins(30));
        town.passes(Duration::from_secs(30) + before);
        town.rights("sick", false);
        let before = town.some(Duration::from_mins(30));
        town.passes(before);
        if town.rng.bool() {
            town.world.kill(0);
            // Until the operator runs again, and has found that it is alone.
            town.passes(Duration::from_mins(1));
        }
        let took = town.record("well", REGION);
        assert!(
            took <= ALONE,
            "seed {seed}: {took:?} in a namespace whose neighbour has no rights"
        );
        let (suffering, before) = (town.some(Duration::from_mins(30)), town.lists());
        town.passes(suffering);
        let lists = town.lists() - before;
        // There are three kinds. After a while of refusals, each is listed once in half a minute on average.
        let most = 3 * (10 + suffering.as_secs() / 15);
        assert!(lists <= most, "seed {seed}: {lists} lists in {suffering:?}");
        town.rights("sick", true);
        // A refused watch is tried again within a minute.
        town.passes(Duration::from_mins(2));
        let took = town.record("sick", REGION);
        assert!(
            took <= ALONE,
            "seed {seed}: {took:?} in the namespace whose rights are back"
        );
        town.is_well();
    }
}

fn a_region_that_hangs_delays_no_other() {
    for seed in 1..=SEEDS {
        // With few places, it takes long until a hanging call gives its place back.
        let flags: &[_] = if seed % 2 == 0 { &["--concurrency=4"] } else { &[] };
        let mut town = Town::of(seed, flags, &["sick", "well"]);
        town.passes(Duration::from_secs(30));
        town.world.cloud.set_hanging(OTHER_REGION, true);
        let all = town.rng.u32(40..120);
        for number in 0..all {
            let mut spec = api(&format!("e{number}"));
            spec["region"] = json!(OTHER_REGION);
            town.apply("backendapis", "sick", &spec);
        }
        // First at a time when the hanging calls would have taken all places and none is free again, and then later.
        town.passes(Duration::from_secs(15));
        for longest in [1, 60, 60, 600] {
            let between = town.some(Duration::from_secs(longest));
            town.passes(between);
            let took = town.record("well", REGION);
            assert!(took <= ALONE, "seed {seed}: {took:?} beside a region that hangs");
        }
        town.world.cloud.set_hanging(OTHER_REGION, false);
        // One resource at a time calls AWS until it gets an answer. Then all waiting resources follow, each with two or
        // three calls.
        let (took, most) = (town.record("sick", OTHER_REGION), Duration::from_mins(3));
        assert!(took <= most, "seed {seed}: {took:?} in the region that answers again");
        town.is_well();
    }
}

/// For example by a policy, a webhook, or a removed right: AWS has accepted a delete, and its job cannot be recorded.
fn what_a_namespace_refuses_to_record_delays_no_other() {
    let mut town = Town::of(1, &[], &["sick", "well"]);
    town.passes(Duration::from_secs(30));
    let all: Vec<_> = (0..20)
        .map(|number| town.apply("amplifybackends", "sick", &backend(&format!("e{number}"))))
        .collect();
    town.passes(Duration::from_mins(5));
    let rights = Withdrawn {
        verbs: Some(vec![Verb::Patch]),
        ..Withdrawn::of_namespace("sick")
    };
    town.world.apiserver(|server| server.withdraw(rights.clone()));
    for name in &all {
        let named = Named("amplifybackends", "sick", name);
        town.world.users(|users| users.delete(named)).expect("a backend");
    }
    for _ in 0..3 {
        town.passes(Duration::from_mins(10));
        let took = town.record("well", REGION);
        assert!(took <= ALONE, "{took:?} beside a namespace that takes no recording");
    }
    town.world.apiserver(|server| server.give_back(&rights));
    town.passes(Duration::from_mins(5));
    for name in &all {
        let named = Named("amplifybackends", "sick", name);
        assert!(
            town.world.users(|users| users.get(named)).is_none(),
            "{name} is deleted"
        );
    }
    let deletes = town.world.simulator().history().writes().len();
    assert_eq!(deletes, 20 + 20 + 3, "each was created and deleted once");
    town.is_well();
}

/// Hundreds of resources of an app that does not exist in AWS: each is tried again without end.
fn a_crowd_in_a_namespace_delays_no_other() {
    for seed in 1..=2 {
        let mut town = Town::of(seed, &[], &["sick", "well"]);
        town.passes(Duration::from_secs(30));
        for number in 0..200 {
            let mut spec = backend(&format!("e{number}"));
            spec["appId"] = json!(format!("d{number}invented"));
            town.apply("amplifybackends", "sick", &spec);
        }
        for longest in [1, 60, 600] {
            let between = town.some(Duration::from_secs(longest));
            town.passes(between);
            let took = town.record("well", REGION);
            assert!(took <= ALONE, "seed {seed}: {took:?} beside a crowd");
        }
        town.is_well();
    }
}

/// While a region hangs, the checks of many backends of one app wait there. Afterwards one list serves all of them, so
/// the later ones need no call.
fn who_needs_no_call_after_all_holds_no_place() {
    let mut town = Town::of(1, &["--drift-interval=5m"], &["sick", "well"]);
    town.passes(Duration::from_secs(30));
    for number in 0..40 {
        let environment = format!("e{number}");
        for (plural, mut spec) in [
            ("amplifybackends", backend(&environment)),
            ("backendapis", api(&environment)),
        ] {
            if plural == "amplifybackends" || number < 8 {
                spec["region"] = json!(OTHER_REGION);
                town.apply(plural, "sick", &spec);
            }
        }
    }
    town.passes(Duration::from_mins(10));
    town.world.cloud.set_hanging(OTHER_REGION, true);
    town.passes(Duration::from_mins(8));
    town.world.cloud.set_hanging(OTHER_REGION, false);
    for _ in 0..5 {
        // The first record may have to wait for the hanging call.
        town.passes(Duration::from_secs(12));
        let took = town.record("well", OTHER_REGION);
        assert!(took <= ALONE, "{took:?} beside checks that need no call");
    }
    town.is_well();
}

/// A user annotates all resources again and again.
fn what_is_asked_for_in_a_loop_delays_no_other() {
    let mut town = Town::of(1, &[], &["sick", "well"]);
    town.passes(Duration::from_secs(30));
    let all: Vec<_> = (0..60)
        .map(|number| town.apply("backendenvironments", "sick", &record(&format!("r{number}"))))
        .collect();
    town.passes(Duration::from_mins(2));
    for round in 0..20 {
        for name in &all {
            let named = Named("backendenvironments", "sick", name);
            let annotated = town
                .world
                .users(|users| users.annotate(named, RECONCILE_REQUESTED_AT, Some(&round.to_string())));
            annotated.expect("a record");
        }
        if round % 5 == 4 {
            let took = town.record("well", REGION);
            assert!(took <= ALONE, "{took:?} beside what is asked for in a loop");
        }
        town.passes(Duration::from_secs(1));
    }
    town.is_well();
}

/// Applies this many clones of one environment, one after the other. Returns their environments in the order of
/// creation.
fn clones_of_one_environment(town: &mut Town, number: u32) -> Vec<String> {
    town.world
        .aws(|aws| assert!(aws.put_backend((APP, "dev"), "storefront")));
    let names = (0..number).map(|number| {
        // Neither their resource names nor their environment names are in this order.
        let environment = format!("clone{}", number * 7 % 10);
        let spec = json!({
            "appId": APP, "backendEnvironmentName": environment, "cloneFrom": { "backendEnvironmentName": "dev" },
        });
        town.apply("amplifybackends", "sick", &spec);
        town.passes(Duration::from_secs(1));
        environment
    });
    names.collect()
}

fn those_who_wait_for_an_environment_go_in_the_order_of_their_creation() {
    let mut town = Town::of(1, &[], &["sick"]);
    town.passes(Duration::from_secs(30));
    let before = town.world.server.requests();
    let names = clones_of_one_environment(&mut town, 10);
    town.passes(Duration::from_mins(30));
    let creates = town.world.simulator().history().of(Operation::CloneBackend);
    let made: Vec<_> = creates.iter().map(amplify_simulator::Call::environment).collect();
    assert_eq!(made, names);
    let writes: u64 = town
        .world
        .server
        .requests()
        .iter()
        .filter(|(asked, _)| asked.verb == Verb::Patch && asked.resource.starts_with("amplifybackends"))
        .map(|(asked, count)| count - before.get(asked).unwrap_or(&0))
        .sum();
    // Four writes for each, and one that reports the wait.
    assert!(writes <= 5 * 10, "{writes} writes");
    town.is_well();
}

fn those_who_wait_for_a_job_of_somebody_else_ask_for_it_now_and_then() {
    let mut town = Town::of(1, &[], &["sick"]);
    town.passes(Duration::from_secs(30));
    town.world
        .aws(|aws| aws.start_job((APP, "dev"), "CreateBackendAuth", JobScript::stuck()))
        .expect("an app");
    clones_of_one_environment(&mut town, 10);
    town.passes(Duration::from_mins(2));
    let before = town.world.simulator().history().all().len();
    town.passes(Duration::from_mins(20));
    let calls = town.world.simulator().history().all().len() - before;
    // Each looks about once a minute. The one that is next also lists both environments.
    assert!(calls <= 12 * 25, "{calls} calls in 20 min");
    town.world
        .aws(|aws| assert!(aws.end_job((APP, "dev"), None, Ending::Completed)));
    town.passes(Duration::from_mins(20));
    let creates = town.world.simulator().history().of(Operation::CloneBackend);
    assert_eq!(creates.len(), 10);
    town.is_well();
}
