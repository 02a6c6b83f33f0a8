//! One process after another: the knowledge that a new leader needs before it acts, and the end of an old one.

use std::time::Duration;

use serde_json::json;

use crate::{
    apiserver::{Named, Reach, Verb, Withdrawn},
    town::{Town, api, backend},
    world::REGION,
};

crate::trials! {
    a_new_leader_knows_what_its_silent_watches_have_not_shown,
    a_process_ends_in_time_whenever_the_api_server_falls_silent,
    a_process_ends_although_the_definitions_are_missing,
    a_process_ends_although_what_it_records_is_refused,
}

const FLAGS: [&str; 2] = ["--leader-elect", "--lease-namespace=operators"];

/// The standby's watches are silent while an API is created in a backend. Then the leader dies, and the backend is
/// deleted. A new leader without knowledge of the API would delete the backend under it.
fn a_new_leader_knows_what_its_silent_watches_have_not_shown() {
    let mut town = Town::of(1, &FLAGS, &["team", "operators"]);
    town.passes(Duration::from_secs(5));
    let dev = town.apply("amplifybackends", "team", &backend("dev"));
    town.passes(Duration::from_secs(30));
    town.add_operator();
    // The standby's watches begin just before they fall silent.
    town.passes(Duration::from_mins(1));
    for plural in amplify_testkit::specimen::plurals() {
        town.world
            .apiserver(|server| server.set_silent("operator-1", &plural, true));
    }
    let shop = town.apply("backendapis", "team", &api("dev"));
    town.passes(Duration::from_secs(20));
    let (dev, shop) = (
        Named("amplifybackends", "team", &dev),
        Named("backendapis", "team", &shop),
    );
    assert_eq!(town.reason(shop), "Available");
    town.world.kill(0);
    town.world.users(|users| users.delete(dev)).expect("the backend");
    town.passes(Duration::from_secs(50));
    assert_eq!(town.reason(dev), "InUse");
    assert_eq!(town.reason(shop), "Available");
    town.is_well();
}

/// A pass waits for AWS when SIGTERM arrives, and the API server falls silent while the lease is given back.
fn a_process_ends_in_time_whenever_the_api_server_falls_silent() {
    for seed in 1..=12 {
        let mut town = Town::of(seed, &FLAGS, &["team", "operators"]);
        let before = Duration::from_mins(1) + town.some(Duration::from_secs(10));
        town.passes(before);
        town.world.cloud.set_hanging(REGION, true);
        town.apply("amplifybackends", "team", &json!(backend("dev")));
        town.passes(Duration::from_secs(1));
        town.world.terminate(0);
        let before = Duration::from_secs(10) + town.some(Duration::from_secs(10));
        town.passes(before);
        town.world
            .apiserver(|server| server.set_reach("operator-0", Reach::Silent));
        town.passes(Duration::from_secs(30));
        town.is_well();
    }
}

fn a_process_ends_although_the_definitions_are_missing() {
    let mut town = Town::of(1, &[], &["team"]);
    town.world.apiserver(|server| {
        for plural in amplify_testkit::specimen::plurals() {
            server.remove_definition(&plural);
        }
    });
    town.passes(Duration::from_secs(30));
    town.world.terminate(0);
    town.passes(Duration::from_secs(30));
    town.is_well();
}

/// AWS has accepted deletes, and the API server refuses all writes about them. Each write is retried until it lands.
fn a_process_ends_although_what_it_records_is_refused() {
    let mut town = Town::of(1, &[], &["team"]);
    town.passes(Duration::from_secs(30));
    let all = ["a", "b", "c"].map(|name| town.apply("amplifybackends", "team", &backend(name)));
    town.passes(Duration::from_mins(2));
    let rights = Withdrawn {
        verbs: Some(vec![Verb::Patch]),
        ..Withdrawn::of_namespace("team")
    };
    town.world.apiserver(|server| server.withdraw(rights));
    for name in &all {
        let named = Named("amplifybackends", "team", name);
        town.world.users(|users| users.delete(named)).expect("a backend");
    }
    town.passes(Duration::from_mins(1));
    town.world.terminate(0);
    town.passes(Duration::from_secs(30));
    town.is_well();
}
