//! The lock of a Gen 2 migration and the outputs of backends, with one scene for each fault that an outsider has found: denied,
//! failing and hanging reads, marks that move on, conflicts, roles, and passes that are cut off.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use amplify_operator::api::{IGNORE_MIGRATION_LOCK, RECONCILE_REQUESTED_AT};
use amplify_simulator::{Action, App, Config, Fault, Operation};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    apiserver::{Named, Odds, Verb, Withdrawn},
    town::{APP, OTHER_REGION, Town, api, backend, record},
    world::{REGION, Start, World, aws, beginning},
};

crate::trials! {
    a_sigterm_loses_no_values,
    every_resource_of_a_backend_gets_its_values,
    a_held_api_takes_its_values_along,
    contents_that_come_late_are_shown,
    an_api_made_anew_shows_its_new_values,
    a_conflict_loses_no_values,
    a_check_loses_no_values,
    a_list_of_apps_that_hangs_delays_no_other,
    a_get_app_that_hangs_delays_no_other,
    a_doubtful_absence_takes_no_values,
    no_values_for_a_role_without_rights,
    list_apps_denied_and_unlocked,
    get_app_denied_and_listed_as_locked,
    events_of_a_flipped_annotation_are_limited,
    checks_of_backends_without_contents_share_one_list,
    a_fleet_that_is_observed_costs_what_docs_scale_says,
    no_write_rests_on_an_old_answer,
    values_of_a_deleted_resource_go_with_it,
    one_get_app_in_a_minute,
    no_write_after_the_list_named_the_environment,
    docs_leaving_in_order,
    a_loser_takes_no_values_from_the_owner,
    reconcile_now_after_a_rollback,
    adopted_api_shows_its_values_soon,
    an_unsent_intent_claims_nobodys_job,
    no_update_while_the_sibling_shows_the_lock,
    values_of_a_deleted_resource_whose_end_the_watch_shows_late,
    an_answer_that_comes_late,
    a_short_interval_and_a_slow_list,
    an_accepted_create_is_not_lost_behind_a_lock,
    the_same_without_a_lock,
    the_loser_of_a_conflict_creates_nothing_that_was_migrated,
}

const SECOND: Duration = Duration::from_secs(1);
const BACKENDS: &str = "amplifybackends";
const APIS: &str = "backendapis";

fn town() -> Town {
    let mut town = Town::of(1, &[], &["home", "a", "b"]);
    town.passes(30 * SECOND);
    town
}

fn status(town: &Town, named: Named<'_>) -> Value {
    town.world
        .users(|users| users.get(named))
        .map_or(Value::Null, |object| object["status"].clone())
}

fn until(town: &mut Town, named: Named<'_>, reason: &str) {
    for _ in 0..6000 {
        if town.reason(named) == reason {
            return;
        }
        town.passes(SECOND / 10);
    }
    panic!(
        "{named:?} is {} instead of {reason}: {:#}",
        town.reason(named),
        status(town, named)
    );
}

fn until_called(town: &mut Town, operation: Operation) {
    for _ in 0..6000 {
        if !town.world.simulator().history().of(operation).is_empty() {
            return;
        }
        town.passes(SECOND / 50);
    }
    panic!("{operation:?} never came");
}

fn lock(town: &Town, environment: Option<&str>) {
    let name = |name: &str| ("GEN2_MIGRATION_ENVIRONMENT_NAME".to_owned(), name.to_owned());
    let variables: BTreeMap<_, _> = environment.map(name).into_iter().collect();
    town.world.aws(|aws| assert!(aws.put_variables((APP, ""), variables)));
}

fn is_locked(town: &Town, named: Named<'_>) -> bool {
    let status = status(town, named);
    status["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|it| it["type"] == "MigrationLocked"))
}

fn request(town: &Town, named: Named<'_>, value: &str) {
    town.world
        .users(|users| users.annotate(named, RECONCILE_REQUESTED_AT, Some(value)))
        .expect("an object");
}

/// Kills (or ends) the operator at each request after the create of an API was accepted.
fn crash(act: impl Fn(&mut Town, u32)) -> Vec<u32> {
    let mut lost = Vec::new();
    for after in 0..14 {
        let mut town = town();
        let dev = town.apply(BACKENDS, "home", &backend("dev"));
        until(&mut town, Named(BACKENDS, "home", &dev), "Available");
        let shop = town.apply(APIS, "home", &api("dev"));
        until_called(&mut town, Operation::CreateBackendApi);
        act(&mut town, after);
        town.passes(Duration::from_hours(3));
        let (dev, shop) = (Named(BACKENDS, "home", &dev), Named(APIS, "home", &shop));
        let (of_backend, of_api) = (
            status(&town, dev)["outputs"].clone(),
            status(&town, shop)["outputs"].clone(),
        );
        assert_eq!(town.reason(shop), "Available");
        if of_backend["graphqlApiId"].is_null() || of_api["graphqlApiId"].is_null() {
            println!("after {after}: backend {of_backend}, api {of_api}");
            lost.push(after);
        }
    }
    lost
}

fn a_sigterm_loses_no_values() {
    let lost = crash(|town, after| {
        // The job takes 5 s and is polled every 5 s.
        town.passes(Duration::from_millis(4800 + 50 * u64::from(after)));
        town.world.terminate(0);
    });
    assert!(lost.is_empty(), "{lost:?}");
}

fn every_resource_of_a_backend_gets_its_values() {
    let mut town = town();
    let managed = town.apply(BACKENDS, "b", &backend("dev"));
    until(&mut town, Named(BACKENDS, "b", &managed), "Available");
    let observed = json!({ "appId": APP, "backendEnvironmentName": "dev", "managementPolicy": "Observe" });
    let observed = town.apply(BACKENDS, "a", &observed);
    until(&mut town, Named(BACKENDS, "a", &observed), "Available");
    let shop = town.apply(APIS, "b", &api("dev"));
    until(&mut town, Named(APIS, "b", &shop), "Available");
    town.passes(Duration::from_hours(3));
    let of = |named| status(&town, named)["outputs"]["graphqlApiId"].clone();
    let (a, b) = (of(Named(BACKENDS, "a", &observed)), of(Named(BACKENDS, "b", &managed)));
    assert!(!a.is_null() && !b.is_null(), "observed {a}, managed (the owner) {b}");
}

fn a_held_api_takes_its_values_along() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    until(&mut town, Named(BACKENDS, "home", &dev), "Available");
    let shop = town.apply(APIS, "home", &api("dev"));
    let (dev, shop) = (Named(BACKENDS, "home", &dev), Named(APIS, "home", &shop));
    until(&mut town, shop, "Available");
    town.passes(10 * SECOND);
    assert!(status(&town, dev)["outputs"]["graphqlApiId"].is_string());
    town.world
        .users(|users| users.add_finalizer(shop, "other.example/hold"))
        .expect("it");
    town.world.users(|users| users.delete(shop)).expect("it");
    until(&mut town, shop, "Released");
    town.world
        .users(|users| users.strip_finalizer(shop, "other.example/hold"))
        .expect("it");
    town.passes(Duration::from_hours(3));
    let outputs = status(&town, dev)["outputs"].clone();
    assert!(
        outputs["graphqlApiId"].is_null(),
        "values of an API that is gone, for ever: {outputs}"
    );
}

fn contents_that_come_late_are_shown() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    until(&mut town, Named(BACKENDS, "home", &dev), "Available");
    // AWS shows the contents from before the job for a moment.
    let body = json!({ "appId": APP, "appName": "storefront", "backendEnvironmentName": "dev",
        "amplifyMetaConfig": json!({ "providers": { "awscloudformation": { "StackName": "s" } } }).to_string() });
    let old = Action::Respond {
        status: 200,
        code: String::new(),
        message: String::new(),
        body: Some(body.to_string()),
    };
    let shop = town.apply(APIS, "home", &api("dev"));
    until_called(&mut town, Operation::CreateBackendApi);
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::GetBackend, old).environment("dev").times(1)));
    let (dev, shop) = (Named(BACKENDS, "home", &dev), Named(APIS, "home", &shop));
    until(&mut town, shop, "Available");
    town.passes(Duration::from_hours(3));
    request(&town, shop, "look");
    town.passes(Duration::from_hours(3));
    let (of_api, of_backend) = (
        status(&town, shop)["outputs"].clone(),
        status(&town, dev)["outputs"].clone(),
    );
    assert!(
        of_api["graphqlApiId"].is_string(),
        "API {of_api}, backend {of_backend}, 6 h later and after a request"
    );
}

fn an_api_made_anew_shows_its_new_values() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    until(&mut town, Named(BACKENDS, "home", &dev), "Available");
    let shop = town.apply(APIS, "home", &api("dev"));
    let (dev, shop) = (Named(BACKENDS, "home", &dev), Named(APIS, "home", &shop));
    until(&mut town, shop, "Available");
    // Somebody deletes the API and makes it again under the same name (amplify remove api; amplify add api).
    let meta = json!({ "api": { "shop": { "service": "AppSync", "output": {
        "GraphQLAPIIdOutput": "newid", "GraphQLAPIEndpointOutput": "https://newid.example/graphql" } } } });
    town.world
        .aws(|aws| assert!(aws.put_meta_config((APP, "dev"), &meta.to_string())));
    town.passes(Duration::from_hours(3));
    request(&town, shop, "look");
    request(&town, dev, "look");
    town.passes(Duration::from_hours(3));
    let (of_api, of_backend) = (
        status(&town, shop)["outputs"].clone(),
        status(&town, dev)["outputs"].clone(),
    );
    assert_eq!(of_api["graphqlApiId"], "newid", "the backend says {of_backend}");
}

fn a_conflict_loses_no_values() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    until(&mut town, Named(BACKENDS, "home", &dev), "Available");
    let shop = town.apply(APIS, "home", &api("dev"));
    let (dev, shop) = (Named(BACKENDS, "home", &dev), Named(APIS, "home", &shop));
    until_called(&mut town, Operation::CreateBackendApi);
    // The watch lags, and a user edits the backend.
    town.world
        .apiserver(|server| server.set_silent("operator-0", BACKENDS, true));
    town.passes(SECOND);
    town.world
        .users(|users| users.merge(dev, &json!({ "spec": { "deletionPolicy": "Delete" } })))
        .expect("it");
    until(&mut town, shop, "Available");
    town.passes(2 * SECOND);
    town.world
        .apiserver(|server| server.set_silent("operator-0", BACKENDS, false));
    town.passes(Duration::from_hours(3));
    let outputs = status(&town, dev)["outputs"].clone();
    assert!(outputs["graphqlApiId"].is_string(), "{outputs}");
}

fn a_check_loses_no_values() {
    let mut town = Town::of(1, &["--drift-interval=1m"], &["home"]);
    town.passes(30 * SECOND);
    let backends: Vec<_> = (0..12)
        .map(|n| town.apply(BACKENDS, "home", &backend(&format!("e{n}"))))
        .collect();
    for dev in &backends {
        until(&mut town, Named(BACKENDS, "home", dev), "Available");
    }
    // AWS is slow.
    town.world.cloud.set_odds(crate::world::aws::Odds {
        delayed: 1.0,
        longest: 7 * SECOND,
        ..Default::default()
    });
    let mut apis = Vec::new();
    for n in 0..12 {
        apis.push(town.apply(APIS, "home", &api(&format!("e{n}"))));
        town.passes(17 * SECOND);
    }
    for shop in &apis {
        until(&mut town, Named(APIS, "home", shop), "Available");
    }
    town.world.cloud.set_odds(aws::Odds::default());
    town.passes(Duration::from_hours(1));
    let lost: Vec<_> = backends
        .iter()
        .enumerate()
        .filter(|(_, dev)| status(&town, Named(BACKENDS, "home", dev))["outputs"]["graphqlApiId"].is_null())
        .map(|(n, _)| n)
        .collect();
    assert!(lost.is_empty(), "lost of 12: {lost:?}");
}

fn hang(operation: Operation, region: Option<&str>, app: Option<&str>) -> Fault {
    let mut fault = Fault::on(operation, Action::hang()).forever();
    fault.matches.region = region.map(str::to_owned);
    fault.matches.app = app.map(str::to_owned);
    fault
}

fn a_list_of_apps_that_hangs_delays_no_other() {
    let mut town = Town::of(1, &["--drift-interval=10m"], &["sick", "well"]);
    town.passes(30 * SECOND);
    for n in 0..40 {
        let mut spec = backend(&format!("s{n}"));
        spec["region"] = json!(OTHER_REGION);
        town.apply(BACKENDS, "sick", &spec);
    }
    town.passes(Duration::from_mins(6));
    town.world
        .aws(|aws| aws.fault(hang(Operation::ListApps, Some(OTHER_REGION), None)));
    let (end, mut worst) = (town.world.now() + Duration::from_mins(25), Duration::ZERO);
    while town.world.now() < end {
        town.passes(3 * SECOND);
        let took = town.record("well", REGION);
        if took > 2 * SECOND {
            println!("{:?}: {took:?}", town.world.now());
        }
        worst = worst.max(took);
    }
    for call in town.world.simulator().history().of(Operation::ListApps) {
        println!(
            "ListApps {:?} at {} status {:?}",
            call.region,
            call.time - beginning().as_millisecond(),
            call.status
        );
    }
    assert!(worst <= 2 * SECOND, "a record in another region took {worst:?}");
}

fn beside(fault: Option<Fault>) -> Duration {
    let mut town = Town::of(1, &[], &["sick", "well"]);
    let other = App {
        account: None,
        region: None,
        app_id: "dother".to_owned(),
        name: "other".to_owned(),
    };
    town.world.aws(|aws| aws.put_app(&other));
    town.passes(30 * SECOND);
    if let Some(fault) = fault {
        town.world.aws(|aws| aws.fault(fault));
    }
    for n in 0..100 {
        town.apply("backendenvironments", "sick", &record(&format!("s{n}")));
    }
    town.passes(5 * SECOND);
    let mut worst = Duration::ZERO;
    for n in 0..20 {
        town.passes(11 * SECOND);
        let mut spec = record(&format!("w{n}"));
        spec["appId"] = json!("dother");
        let (begun, name) = (town.world.now(), town.apply("backendenvironments", "well", &spec));
        while town.reason(Named("backendenvironments", "well", &name)) != "Available"
            && town.world.now() < begun + 600 * SECOND
        {
            town.passes(SECOND / 10);
        }
        let took = town.world.now().saturating_sub(begun);
        println!("{n}: {took:?}");
        worst = worst.max(took);
    }
    worst
}

fn a_get_app_that_hangs_delays_no_other() {
    let worst = beside(Some(hang(Operation::GetApp, None, Some(APP))));
    assert!(
        worst <= 5 * SECOND,
        "a record of another app in the same account and region took {worst:?}"
    );
}

fn a_doubtful_absence_takes_no_values() {
    let mut town = Town::of(1, &["--drift-interval=1m"], &["home"]);
    town.passes(30 * SECOND);
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    until(&mut town, Named(BACKENDS, "home", &dev), "Available");
    let shop = town.apply(APIS, "home", &api("dev"));
    let shop = Named(APIS, "home", &shop);
    until(&mut town, shop, "Available");
    let absent = Action::respond(404, "NotFoundException", "not found");
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::GetBackendApi, absent).times(3)));
    for _ in 0..900 {
        town.passes(SECOND / 5);
        let status = status(&town, shop);
        let is_ready = status["conditions"][0]["status"] == "True";
        assert!(
            !is_ready || status["outputs"]["graphqlApiId"].is_string(),
            "Ready=True ({}), and its values are gone: {}",
            town.reason(shop),
            status["outputs"]
        );
    }
}

fn no_values_for_a_role_without_rights() {
    let mut config = Config::default().app(APP, "storefront");
    REGION.clone_into(&mut config.region);
    let mut world = World::new(1, &config);
    world.users(|users| {
        for namespace in ["a", "b"] {
            users.create_namespace(namespace).expect("a namespace");
        }
    });
    let role = |name: &str| format!("arn:aws:iam::{}:role/{name}", amplify_simulator::DEFAULT_ACCOUNT);
    let text = json!({ "accounts": [
        { "name": "a", "namespaces": ["a"], "roleArn": role("without-rights") },
        { "name": "b", "namespaces": ["b"], "roleArn": role("b") },
    ] });
    world.add(Start {
        name: "operator-0".to_owned(),
        flags: Vec::new(),
        seed: 1,
        time: beginning(),
        accounts: Some(Arc::new(Mutex::new(text.to_string()))),
    });
    // The role of namespace a may do nothing at all.
    let denied = Fault::on(Operation::AssumeRole, Action::AccessDenied)
        .resource(&role("without-rights"))
        .forever();
    world.aws(|aws| aws.fault(denied));
    world.run(world.now() + 40 * SECOND);
    let create = |world: &World, plural: &str, namespace: &str, name: &str, spec: Value| {
        world
            .users(|users| users.create(Named(plural, namespace, name), json!({ "spec": spec })))
            .expect("it");
    };
    create(
        &world,
        BACKENDS,
        "a",
        "spy",
        json!({ "appId": APP, "backendEnvironmentName": "dev", "managementPolicy": "Observe" }),
    );
    create(&world, BACKENDS, "b", "dev", backend("dev"));
    world.run(world.now() + 60 * SECOND);
    create(&world, APIS, "b", "shop", api("dev"));
    world.run(world.now() + 600 * SECOND);
    let spy = world.users(|users| users.get(Named(BACKENDS, "a", "spy"))).expect("it");
    println!("{:#}", spy["status"]);
    assert!(
        spy["status"]["outputs"].is_null(),
        "a role that AWS denies everything shows {}",
        spy["status"]["outputs"]
    );
}

fn list_apps_denied_and_unlocked() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    let dev = Named(BACKENDS, "home", &dev);
    until(&mut town, dev, "Available");
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::ListApps, Action::AccessDenied).forever()));
    lock(&town, Some("dev"));
    town.passes(Duration::from_mins(2));
    request(&town, dev, "look");
    town.passes(Duration::from_mins(2));
    assert!(is_locked(&town, dev));
    lock(&town, None);
    town.passes(Duration::from_hours(6));
    assert!(!is_locked(&town, dev), "it was unlocked 6 h ago, GetApp is allowed");
}

fn get_app_denied_and_listed_as_locked() {
    let mut town = Town::of(1, &["--drift-interval=10m"], &["home"]);
    town.passes(30 * SECOND);
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::GetApp, Action::AccessDenied).forever()));
    let devs: Vec<_> = ["dev", "qa"]
        .iter()
        .map(|name| town.apply(BACKENDS, "home", &backend(name)))
        .collect();
    for dev in &devs {
        until(&mut town, Named(BACKENDS, "home", dev), "Available");
    }
    let shop = town.apply(APIS, "home", &api("dev"));
    let shop = Named(APIS, "home", &shop);
    until(&mut town, shop, "Available");
    lock(&town, Some("dev"));
    town.passes(Duration::from_mins(25));
    println!(
        "locked: dev {} shop {}",
        is_locked(&town, Named(BACKENDS, "home", &devs[0])),
        is_locked(&town, shop)
    );
    // Unlocked for a while and locked again, with an edit by hand in AWS that the operator would mend.
    assert!(
        is_locked(&town, Named(BACKENDS, "home", &devs[0])) && is_locked(&town, shop),
        "the list names it"
    );
}

fn events_of_a_flipped_annotation_are_limited() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    let dev = Named(BACKENDS, "home", &dev);
    until(&mut town, dev, "Available");
    lock(&town, Some("dev"));
    town.passes(Duration::from_mins(2));
    let events = |town: &Town| -> u64 {
        let requests = town.world.server.requests();
        requests
            .iter()
            .filter(|(asked, _)| asked.resource.starts_with("events"))
            .map(|(_, count)| *count)
            .sum()
    };
    let before = events(&town);
    for n in 0..300 {
        town.world
            .users(|users| {
                users.merge(
                    dev,
                    &json!({ "metadata": { "annotations": {
            IGNORE_MIGRATION_LOCK: null, RECONCILE_REQUESTED_AT: n.to_string() } } }),
                )
            })
            .expect("it");
        town.passes(SECOND);
        town.world
            .users(|users| users.annotate(dev, IGNORE_MIGRATION_LOCK, Some("dev")))
            .expect("it");
        town.passes(SECOND / 2);
    }
    let written = events(&town) - before;
    assert!(
        written <= 25 + 45 + 5,
        "{written} writes of Events about one object in 450 s"
    );
}

fn checks_of_backends_without_contents_share_one_list() {
    let mut town = town();
    for n in 0..20 {
        let name = format!("e{n}");
        town.world.aws(|aws| {
            assert!(aws.put_backend((APP, name.as_str()), "storefront"));
            assert!(aws.put_meta_config((APP, name.as_str()), ""));
        });
        let mut spec = backend(&name);
        spec["adoptionPolicy"] = json!("IfExists");
        spec["deletionPolicy"] = json!("Retain");
        town.apply(BACKENDS, "home", &spec);
    }
    town.passes(Duration::from_hours(2));
    let count = |town: &Town| town.world.simulator().history().of(Operation::GetBackend).len();
    let before = count(&town);
    town.passes(Duration::from_hours(5));
    let calls = count(&town) - before;
    assert!(calls <= 6, "{calls} calls for the backends of one app in 5 checks");
}

/// The budget: for each interval one call for each app and each API, and one list of apps.
fn a_fleet_that_is_observed_costs_what_docs_scale_says() {
    const APPS: usize = 25;
    const ENVIRONMENTS: usize = 8;
    const HOURS: usize = 10;
    let config = |spec: &Value| spec["resourceConfig"].as_object().cloned().expect("a map");
    let mut town = town();
    let mut names = Vec::new();
    for number in 0..APPS {
        let app_id = format!("d{number:04}");
        town.world.aws(|aws| {
            aws.put_app(&App {
                account: None,
                region: None,
                app_id: app_id.clone(),
                name: "storefront".to_owned(),
            });
        });
        for environment in 0..ENVIRONMENTS {
            let environment = format!("env{environment}");
            let (mut of_backend, mut of_api) = (backend(&environment), api(&environment));
            let place = (app_id.as_str(), environment.as_str());
            town.world.aws(|aws| {
                assert!(aws.put_backend(place, "storefront"));
                assert!(aws.put_api(place, "shop", config(&of_api)));
            });
            for spec in [&mut of_backend, &mut of_api] {
                spec["appId"] = json!(app_id);
                spec["managementPolicy"] = json!("Observe");
            }
            names.push((BACKENDS, town.apply(BACKENDS, "home", &of_backend)));
            names.push((APIS, town.apply(APIS, "home", &of_api)));
        }
    }
    let all_are_ready = |town: &Town| {
        for (plural, name) in &names {
            assert_eq!(town.reason(Named(plural, "home", name)), "Available", "{plural} {name}");
        }
    };
    town.passes(Duration::from_hours(2));
    all_are_ready(&town);
    let count = |town: &Town| town.world.simulator().history().all().len();
    let before = count(&town);
    town.passes(Duration::from_hours(HOURS as u64));
    let calls = count(&town) - before;
    let budget = (APPS + APPS * ENVIRONMENTS + 1) * HOURS;
    println!("{calls} calls in {HOURS} hours, and {budget} are the budget");
    // An interval varies by a tenth.
    assert!(calls * 10 <= budget * 11, "{calls} calls, and {budget} are the budget");
    all_are_ready(&town);

    // What others change or remove is shown within an interval.
    let (edited, gone) = (("d0011", "env3"), ("d0003", "env5"));
    let mut other = config(&api("env3"));
    other["transformSchema"] = json!("type Other @model { id: ID! }");
    town.world.aws(|aws| {
        assert!(aws.put_api(edited, "shop", other));
        assert!(aws.delete_backend(gone));
    });
    town.passes(Duration::from_mins(70));
    let name =
        |app: usize, environment: usize, of: usize| names[(app * ENVIRONMENTS + environment) * 2 + of].1.as_str();
    assert_eq!(town.reason(Named(APIS, "home", name(11, 3, 1))), "Drifted");
    assert_eq!(town.reason(Named(BACKENDS, "home", name(3, 5, 0))), "NotFound");
    assert_eq!(town.reason(Named(APIS, "home", name(3, 5, 1))), "NotFound");
    assert!(
        town.world.simulator().history().writes().is_empty(),
        "AWS was told nothing"
    );
    town.is_well();
}

fn no_write_rests_on_an_old_answer() {
    let mut worst = 0;
    for seed in 1..=40 {
        let mut town = Town::of(seed, &[], &["home"]);
        town.passes(30 * SECOND);
        town.world
            .aws(|aws| assert!(aws.put_backend((APP, "dev"), "storefront")));
        let shop = town.apply(APIS, "home", &api("dev"));
        let shop = Named(APIS, "home", &shop);
        until(&mut town, shop, "Available");
        town.passes(Duration::from_mins(2));
        // Another resource of the app makes the answer.
        let other = town.apply("backendenvironments", "home", &record("other"));
        until(&mut town, Named("backendenvironments", "home", &other), "Available");
        town.passes(Duration::from_mins(2));
        request(&town, Named("backendenvironments", "home", &other), "look");
        town.passes(SECOND);
        lock(&town, Some("dev"));
        town.passes(40 * SECOND);
        // The API server is slow.
        town.world.apiserver(|server| {
            server.set_odds(Odds {
                delayed: 1.0,
                longest_delay: 19 * SECOND,
                ..Odds::default()
            });
        });
        let edit = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
        town.world.users(|users| users.merge(shop, &edit)).expect("it");
        town.passes(Duration::from_mins(5));
        let history = town.world.simulator().history();
        let Some(update) = history.of(Operation::UpdateBackendApi).pop() else {
            continue;
        };
        let read = history
            .of(Operation::GetApp)
            .into_iter()
            .filter(|call| call.time <= update.time)
            .map(|call| call.time)
            .max();
        let age = update.time - read.unwrap_or_default();
        println!("seed {seed}: sent on an answer that was {age} ms old");
        worst = worst.max(age);
    }
    assert!(worst <= 60_000, "{worst} ms");
}

fn create(town: &Town, plural: &str, name: &str, spec: &Value) {
    town.world
        .users(|users| users.create(Named(plural, "home", name), json!({ "spec": spec })))
        .expect("it");
}

/// A backend that its user has deleted while it could not be patched, and whose values another resource's look has found. Returns
/// the rights that the operator lacks.
fn deleted_with_its_values_on_their_way() -> (Town, Withdrawn) {
    let mut town = town();
    let mut spec = backend("dev");
    spec["deletionPolicy"] = json!("Retain");
    create(&town, BACKENDS, "dev", &spec);
    let dev = Named(BACKENDS, "home", "dev");
    until(&mut town, dev, "Available");
    create(&town, APIS, "shop", &api("dev"));
    until_called(&mut town, Operation::CreateBackendApi);
    let rights = Withdrawn {
        resource: Some(BACKENDS.to_owned()),
        verbs: Some(vec![Verb::Patch]),
        ..Withdrawn::of_namespace("home")
    };
    town.world.apiserver(|server| server.withdraw(rights.clone()));
    until(&mut town, Named(APIS, "home", "shop"), "Available");
    town.passes(5 * SECOND);
    town.world.users(|users| users.delete(dev)).expect("it");
    (town, rights)
}

fn values_of_a_deleted_resource_go_with_it() {
    let (mut town, rights) = deleted_with_its_values_on_their_way();
    let dev = Named(BACKENDS, "home", "dev");
    town.passes(5 * SECOND);
    town.world.apiserver(|server| server.give_back(&rights));
    town.passes(120 * SECOND);
    assert!(town.world.users(|users| users.get(dev)).is_none());
    // Another resource of the same name, for something that AWS denies.
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::GetBackend, Action::AccessDenied).forever()));
    create(
        &town,
        BACKENDS,
        "dev",
        &json!({ "appId": "dother", "backendEnvironmentName": "other", "managementPolicy": "Observe" }),
    );
    town.passes(60 * SECOND);
    let status = status(&town, dev);
    assert!(status["outputs"].is_null(), "{status:#}");
}

fn one_get_app_in_a_minute() {
    let mut town = town();
    town.world
        .aws(|aws| assert!(aws.put_backend((APP, "dev"), "storefront")));
    let shop = town.apply(APIS, "home", &api("dev"));
    let shop = Named(APIS, "home", &shop);
    until(&mut town, shop, "Available");
    town.passes(Duration::from_mins(2));
    let count = |town: &Town| town.world.simulator().history().of(Operation::GetApp).len();
    let before = count(&town);
    let edit = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
    town.world.users(|users| users.merge(shop, &edit)).expect("it");
    town.passes(2 * SECOND);
    let other = town.apply("backendenvironments", "home", &record("other"));
    until(&mut town, Named("backendenvironments", "home", &other), "Available");
    assert_eq!(count(&town) - before, 1, "GetApp of one app in a few seconds");
}

fn no_write_after_the_list_named_the_environment() {
    let mut found = Vec::new();
    for seed in 1..=6 {
        for deletes in [false, true] {
            let mut town = Town::of(seed, &["--drift-interval=30m"], &["home"]);
            town.passes(30 * SECOND);
            town.world
                .aws(|aws| aws.fault(Fault::on(Operation::GetApp, Action::AccessDenied).forever()));
            let dev = town.apply(BACKENDS, "home", &backend("dev"));
            let dev = Named(BACKENDS, "home", &dev);
            until(&mut town, dev, "Available");
            let shop = town.apply(APIS, "home", &api("dev"));
            let shop = Named(APIS, "home", &shop);
            until(&mut town, shop, "Available");
            lock(&town, Some("dev"));
            for _ in 0..3600 {
                if is_locked(&town, dev) {
                    break;
                }
                town.passes(SECOND);
            }
            assert!(is_locked(&town, dev));
            let was = is_locked(&town, shop);
            // What a refactor does to a Gen 1 API.
            town.world.aws(|aws| {
                if deletes {
                    assert!(aws.delete_api((APP, "dev"), "shop"));
                } else {
                    let config = json!({ "apiName": "other", "service": "AppSync", "transformSchema": "type A @model { id: ID! }" });
                    let Value::Object(config) = config else { return };
                    assert!(aws.put_api((APP, "dev"), "shop", config));
                }
            });
            let before = town.world.simulator().history().writes().len();
            town.passes(Duration::from_hours(2));
            let writes: Vec<_> = town.world.simulator().history().writes()[before..]
                .iter()
                .map(|call| call.operation)
                .collect();
            if !writes.is_empty() {
                found.push((seed, deletes, was, writes, is_locked(&town, dev)));
            }
        }
    }
    assert!(
        found.is_empty(),
        "written to an environment that a list had named: {found:?}"
    );
}

fn docs_leaving_in_order() {
    let mut town = town();
    let mut spec = backend("dev");
    spec["deletionPolicy"] = json!("Retain"); // step 1
    let dev = town.apply(BACKENDS, "home", &spec);
    let dev = Named(BACKENDS, "home", &dev);
    until(&mut town, dev, "Available");
    lock(&town, Some("dev")); // step 4
    town.passes(Duration::from_hours(3));
    assert!(is_locked(&town, dev));
    println!("{}", status(&town, dev)["migrationLockedAt"]);
    lock(&town, Some("prod")); // step 5, the next environment
    town.passes(Duration::from_hours(3));
    println!("{}", status(&town, dev)["migrationLockedAt"]);
    town.world.aws(|aws| assert!(aws.delete_backend((APP, "dev")))); // step 6
    town.passes(Duration::from_hours(3));
    let creates = town.world.simulator().history().of(Operation::CreateBackend).len();
    assert_eq!(
        creates,
        1,
        "the migrated environment is created again: {}",
        town.reason(dev)
    );
}

fn a_loser_takes_no_values_from_the_owner() {
    let mut town = town();
    let owner = town.apply(BACKENDS, "b", &backend("dev"));
    until(&mut town, Named(BACKENDS, "b", &owner), "Available");
    let loser = town.apply(BACKENDS, "a", &backend("dev"));
    until(&mut town, Named(BACKENDS, "a", &loser), "Conflict");
    let shop = town.apply(APIS, "b", &api("dev"));
    until(&mut town, Named(APIS, "b", &shop), "Available");
    town.passes(Duration::from_hours(3));
    let outputs = status(&town, Named(BACKENDS, "b", &owner))["outputs"].clone();
    assert!(outputs["graphqlApiId"].is_string(), "{outputs}");
}

fn reconcile_now_after_a_rollback() {
    let mut town = town();
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    let dev = Named(BACKENDS, "home", &dev);
    until(&mut town, dev, "Available");
    lock(&town, Some("dev"));
    town.passes(Duration::from_mins(2));
    request(&town, dev, "locked?");
    town.passes(5 * SECOND);
    assert!(is_locked(&town, dev));
    lock(&town, None);
    request(&town, dev, "unlocked?");
    let begun = town.world.now();
    while is_locked(&town, dev) && town.world.now() < begun + Duration::from_hours(6) {
        town.passes(10 * SECOND);
    }
    let took = town.world.now().saturating_sub(begun);
    assert!(
        took <= 61 * SECOND,
        "locked for {took:?} after the rollback and a request"
    );
}

fn adopted_api_shows_its_values_soon() {
    let mut town = town();
    town.world.aws(|aws| {
        assert!(aws.put_backend((APP, "dev"), "storefront"));
        let config = json!({ "apiName": "shop", "service": "AppSync", "transformSchema": "type A @model { id: ID! }" });
        let Value::Object(config) = config else { return };
        assert!(aws.put_api((APP, "dev"), "shop", config));
    });
    let mut spec = api("dev");
    spec["adoptionPolicy"] = json!("IfExists");
    spec["deletionPolicy"] = json!("Retain");
    let shop = town.apply(APIS, "home", &spec);
    let shop = Named(APIS, "home", &shop);
    until(&mut town, shop, "Available");
    let begun = town.world.now();
    while status(&town, shop)["outputs"].is_null() {
        town.passes(10 * SECOND);
    }
    let took = town.world.now().saturating_sub(begun);
    assert!(took <= 60 * SECOND, "Ready for {took:?} without outputs");
}

fn an_unsent_intent_claims_nobodys_job() {
    let mut out = Vec::new();
    for seed in 1..=60 {
        let mut town = Town::of(seed, &[], &["home"]);
        town.passes(30 * SECOND);
        town.world
            .aws(|aws| aws.change_settings(|settings| settings.job_duration = Duration::from_mins(2)));
        // A record makes the answer about the lock.
        let other = town.apply("backendenvironments", "home", &record("other"));
        until(&mut town, Named("backendenvironments", "home", &other), "Available");
        town.passes(38 * SECOND);
        town.world.apiserver(|server| {
            server.set_odds(Odds {
                delayed: 1.0,
                longest_delay: 19 * SECOND,
                ..Odds::default()
            });
        });
        let dev = town.apply(BACKENDS, "home", &backend("dev"));
        let dev = Named(BACKENDS, "home", &dev);
        let lists = |town: &Town| town.world.simulator().history().of(Operation::ListBackendJobs).len();
        let begun = town.world.now();
        while lists(&town) == 0 && town.world.now() < begun + 90 * SECOND {
            town.passes(SECOND / 2);
        }
        // A colleague makes the backend by hand.
        if std::env::var_os("WITHOUT").is_none() {
            town.world
                .aws(|aws| aws.fault(Fault::on(Operation::GetApp, Action::ServerError { status: 503 }).times(3)));
        }
        town.passes(SECOND);
        let job = town
            .world
            .aws(|aws| aws.start_job((APP, "dev"), "CreateBackend", amplify_simulator::JobScript::default()));
        town.world
            .aws(|aws| assert!(aws.put_backend((APP, "dev"), "storefront")));
        town.passes(2 * 60 * SECOND);
        town.world.apiserver(|server| server.set_odds(Odds::default()));
        town.passes(Duration::from_mins(20));
        let creates: Vec<_> = town
            .world
            .simulator()
            .history()
            .of(Operation::CreateBackend)
            .iter()
            .map(|call| (call.accepted, call.status))
            .collect();
        let status = status(&town, dev);
        if status["origin"] == "Created" && !creates.iter().any(|(accepted, _)| *accepted) {
            println!(
                "reason seed {seed}: {}, origin {}, job {} (foreign {job:?}), creates sent {creates:?}",
                town.reason(dev),
                status["origin"],
                status["job"]["id"]
            );
            town.world.users(|users| users.delete(dev)).expect("it");
            town.passes(Duration::from_mins(20));
            let deletes = town.world.simulator().history().of(Operation::DeleteBackend).len();
            println!("reason seed {seed}: DeleteBackend sent {deletes}");
            out.push(seed);
        }
    }
    assert!(out.is_empty(), "it owns what somebody else has made: {out:?}");
}

fn no_update_while_the_sibling_shows_the_lock() {
    let mut found = Vec::new();
    for seed in 1..=6 {
        let mut town = Town::of(seed, &["--drift-interval=30m"], &["home"]);
        town.passes(30 * SECOND);
        town.world
            .aws(|aws| aws.fault(Fault::on(Operation::GetApp, Action::AccessDenied).forever()));
        let dev = town.apply(BACKENDS, "home", &backend("dev"));
        let dev = Named(BACKENDS, "home", &dev);
        until(&mut town, dev, "Available");
        let shop = town.apply(APIS, "home", &api("dev"));
        let shop = Named(APIS, "home", &shop);
        until(&mut town, shop, "Available");
        lock(&town, Some("dev"));
        for _ in 0..3600 {
            if is_locked(&town, dev) {
                break;
            }
            town.passes(SECOND);
        }
        let was = is_locked(&town, shop);
        let edit = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
        town.world.users(|users| users.merge(shop, &edit)).expect("it");
        town.passes(60 * SECOND);
        let updates = town.world.simulator().history().of(Operation::UpdateBackendApi).len();
        println!(
            "reason seed {seed}: dev locked {}, shop was locked {was}, updates {updates}, shop {}",
            is_locked(&town, dev),
            town.reason(shop)
        );
        found.push(updates);
    }
    assert!(found.iter().all(|updates| *updates == 0), "{found:?}");
}

fn values_of_a_deleted_resource_whose_end_the_watch_shows_late() {
    let (mut town, rights) = deleted_with_its_values_on_their_way();
    let dev = Named(BACKENDS, "home", "dev");
    town.passes(2 * SECOND);
    town.world
        .apiserver(|server| server.set_silent("operator-0", BACKENDS, true));
    town.world.apiserver(|server| server.give_back(&rights));
    for _ in 0..600 {
        if town.world.users(|users| users.get(dev)).is_none() {
            break;
        }
        town.passes(SECOND / 10);
    }
    assert!(town.world.users(|users| users.get(dev)).is_none());
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::GetBackend, Action::AccessDenied).forever()));
    town.passes(SECOND);
    town.world
        .apiserver(|server| server.set_silent("operator-0", BACKENDS, false));
    town.passes(120 * SECOND);
    create(
        &town,
        BACKENDS,
        "dev",
        &json!({ "appId": "dother", "backendEnvironmentName": "other", "managementPolicy": "Observe" }),
    );
    town.passes(60 * SECOND);
    let status = status(&town, dev);
    assert!(status["outputs"].is_null(), "{status:#}");
}

/// AWS's answers take up to 8 s. An old BackendApi without outputs reads the contents while a storage is made.
fn an_answer_that_comes_late() {
    let mut lost = Vec::new();
    for seed in 1..=60 {
        let mut town = Town::of(seed, &[], &["home"]);
        town.passes(30 * SECOND);
        let dev = town.apply(BACKENDS, "home", &backend("dev"));
        let dev = Named(BACKENDS, "home", &dev);
        until(&mut town, dev, "Available");
        town.world.aws(|aws| assert!(aws.put_auth((APP, "dev"), "users")));
        let shop = town.apply(APIS, "home", &api("dev"));
        let shop = Named(APIS, "home", &shop);
        until(&mut town, shop, "Available");
        town.passes(Duration::from_mins(5));
        let spec = json!({ "appId": APP, "backendEnvironmentName": "dev", "resourceName": "photos",
            "resourceConfig": { "permissions": { "authenticated": ["READ"] } } });
        let photos = town.apply("backendstorages", "home", &spec);
        until_called(&mut town, Operation::CreateBackendStorage);
        town.world.cloud.set_odds(crate::world::aws::Odds {
            delayed: 0.7,
            longest: 8 * SECOND,
            ..Default::default()
        });
        // The API was made by an earlier version; a user asks for a look.
        town.world
            .users(|users| {
                users.edit_status(shop, |status| {
                    status.as_object_mut().map(|it| it.remove("outputs"));
                })
            })
            .expect("it");
        let before = town.some(4 * SECOND);
        town.passes(before);
        request(&town, shop, "look");
        until(&mut town, Named("backendstorages", "home", &photos), "Available");
        town.passes(60 * SECOND);
        town.world.cloud.set_odds(aws::Odds::default());
        town.passes(Duration::from_hours(2));
        if status(&town, dev)["outputs"]["bucketName"].is_null() {
            lost.push(seed);
        }
    }
    assert!(lost.is_empty(), "the bucket is missing for ever: {lost:?}");
}

fn a_short_interval_and_a_slow_list() {
    let mut town = Town::of(1, &["--drift-interval=5s"], &["sick", "well"]);
    town.passes(30 * SECOND);
    for n in 0..40 {
        let mut spec = backend(&format!("s{n}"));
        spec["region"] = json!(OTHER_REGION);
        town.apply(BACKENDS, "sick", &spec);
    }
    town.passes(Duration::from_mins(6));
    let mut slow = Fault::on(
        Operation::ListApps,
        Action::Hang {
            duration: Some(6 * SECOND),
        },
    )
    .forever();
    slow.matches.region = Some(OTHER_REGION.to_owned());
    town.world.aws(|aws| aws.fault(slow));
    let (end, mut worst) = (town.world.now() + Duration::from_mins(10), Duration::ZERO);
    let mut all = Vec::new();
    while town.world.now() < end {
        town.passes(3 * SECOND);
        let took = town.record("well", REGION);
        all.push(took);
        worst = worst.max(took);
    }
    println!("reason {all:?}");
    assert!(worst <= 2 * SECOND, "{worst:?}");
}

fn late(locks: bool) {
    let mut town = town();
    town.world.aws(|aws| {
        aws.change_settings(|settings| {
            settings.job_listing_delay = Duration::from_mins(5);
            settings.job_duration = Duration::from_mins(20);
        });
    });
    town.world
        .aws(|aws| aws.fault(Fault::on(Operation::CreateBackend, Action::ResetAfter)));
    let dev = town.apply(BACKENDS, "home", &backend("dev"));
    let dev = Named(BACKENDS, "home", &dev);
    until_called(&mut town, Operation::CreateBackend);
    town.passes(30 * SECOND);
    if locks {
        lock(&town, Some("dev"));
    }
    town.passes(Duration::from_mins(12));
    let status = status(&town, dev);
    println!(
        "reason {}: {} job {}",
        town.reason(dev),
        status["conditions"][0]["message"],
        status["job"]
    );
    let app = town.world.aws(|aws| aws.app((APP, ""))).expect("it");
    println!(
        "reason AWS runs {:?}",
        app.jobs["dev"]
            .iter()
            .map(|job| (job.operation.clone(), job.status.clone()))
            .collect::<Vec<_>>()
    );
    // As the message says.
    town.world.users(|users| users.delete(dev)).expect("it");
    town.passes(Duration::from_mins(1));
    let is_gone = town.world.users(|users| users.get(dev)).is_none();
    town.passes(Duration::from_hours(1));
    let is_there = town.world.aws(|aws| aws.backend((APP, "dev"))).is_some();
    println!("reason resource gone after a minute: {is_gone}; the backend is in AWS afterwards: {is_there}");
    assert!(!town.world.simulator().history().of(Operation::CreateBackend).is_empty());
    assert!(!is_gone || !is_there, "an accepted create is lost");
}

fn an_accepted_create_is_not_lost_behind_a_lock() {
    late(true);
}

fn the_same_without_a_lock() {
    late(false);
}

fn the_loser_of_a_conflict_creates_nothing_that_was_migrated() {
    let mut town = town();
    let mut spec = backend("dev");
    spec["managementPolicy"] = json!("Observe");
    let old = town.apply(BACKENDS, "a", &spec);
    let old = Named(BACKENDS, "a", &old);
    town.passes(5 * SECOND);
    let mut spec = backend("dev");
    spec["deletionPolicy"] = json!("Retain");
    let dev = town.apply(BACKENDS, "home", &spec);
    let dev = Named(BACKENDS, "home", &dev);
    until(&mut town, dev, "Available");
    town.world
        .users(|users| users.merge(old, &json!({ "spec": { "managementPolicy": "Manage" } })))
        .expect("it");
    until(&mut town, old, "Conflict");
    lock(&town, Some("dev"));
    town.passes(Duration::from_hours(2));
    assert!(is_locked(&town, dev));
    println!(
        "reason old: locked {}, dev lockedAt {}",
        is_locked(&town, old),
        status(&town, dev)["migrationLockedAt"]
    );
    // Taken down, and then the next environment is locked.
    town.world.aws(|aws| assert!(aws.delete_backend((APP, "dev"))));
    lock(&town, Some("prod"));
    town.passes(Duration::from_hours(3));
    let creates = town.world.simulator().history().of(Operation::CreateBackend).len();
    println!(
        "reason dev {}, old {}, creates {creates}",
        town.reason(dev),
        town.reason(old)
    );
    assert_eq!(creates, 1, "the migrated environment is created again");
}
