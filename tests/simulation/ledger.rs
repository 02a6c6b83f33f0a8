//! The purposes of the ledger, with one scene for each: lost or late replies and requests, jobs and objects of other
//! clients, and an edit meanwhile. In the end AWS holds the spec, and objects of others still exist.

use std::time::Duration;

use amplify_simulator::{Action, Fault, JobScript, Operation};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    apiserver::Named,
    town::{APP, Town, api, backend},
};

crate::trials! {
    an_api_that_is_taken_over_after_a_refused_create_gets_its_configuration,
    a_job_that_shows_late_does_not_pass_for_the_edit_after_it,
    a_job_that_somebody_else_starts_meanwhile_does_not_make_its_configuration_ours,
    a_pending_job_of_somebody_else_does_not_pass_for_an_edit,
    a_create_that_fails_in_its_answer_owns_nothing,
    a_delete_that_arrives_late_does_not_reach_the_next_backend_of_the_name,
    an_update_that_arrives_late_does_not_undo_the_edit_after_it,
    what_a_list_shows_late_gives_no_environment_to_another,
    of_two_operators_neither_takes_back_what_the_other_says_of_a_later_edit,
    what_could_not_be_read_owns_nothing_when_it_is_gone,
    a_lost_reply_is_found_out_by_a_machine_whose_clock_is_wrong,
}

const APIS: &str = "backendapis";
const STORAGES: &str = "backendstorages";
/// Longer than every job, grace and backoff of a scene.
const SETTLED: Duration = Duration::from_mins(20);

/// Returns a schema for this version number.
fn schema(version: u32) -> String {
    format!("type V{version} @model {{ id: ID! }}")
}

/// Returns the spec of the API in the environment `dev`, for this version number.
fn version(version: u32) -> Value {
    let mut spec = api("dev");
    spec["resourceConfig"]["transformSchema"] = json!(schema(version));
    spec
}

/// Returns a town with a backend that a user has made by hand.
fn town() -> Town {
    let mut town = Town::of(1, &[], &["home"]);
    town.world
        .aws(|aws| assert!(aws.put_backend((APP, "dev"), "storefront")));
    town.passes(Duration::from_secs(30));
    town
}

impl Town {
    fn fault(&self, fault: Fault) {
        self.world.aws(|aws| aws.fault(fault));
    }

    fn edit(&self, name: &str, spec: &Value) {
        let edited = self.world.users(|users| {
            let patch = json!({ "spec": { "resourceConfig": spec["resourceConfig"] } });
            users.merge(Named(APIS, "home", name), &patch)
        });
        edited.expect("an API");
    }

    /// Returns the schema of the API in `dev`, as AWS holds it.
    fn held(&self) -> String {
        let backend = self.world.aws(|aws| aws.backend((APP, "dev"))).expect("a backend");
        let api = backend.apis.values().next().expect("an API");
        api["transformSchema"].as_str().unwrap_or_default().to_owned()
    }

    /// Creates or changes the API by hand, as another client.
    fn meddle(&self, version: u32) {
        let config = json!({ "apiName": "shop", "service": "AppSync", "transformSchema": schema(version) });
        let Value::Object(config) = config else { return };
        self.world.aws(|aws| assert!(aws.put_api((APP, "dev"), "shop", config)));
    }

    /// Checks that the resource is Ready, and that AWS holds this version.
    fn has(&self, name: &str, version: u32) {
        assert_eq!(self.reason(Named(APIS, "home", name)), "Available");
        assert_eq!(self.held(), schema(version), "Ready for what AWS does not hold");
        self.is_well();
    }
}

/// A1
fn an_api_that_is_taken_over_after_a_refused_create_gets_its_configuration() {
    let mut town = town();
    town.fault(Fault::on(Operation::CreateBackendApi, Action::TooManyRequests));
    let mut spec = version(1);
    spec["adoptionPolicy"] = json!("IfExists");
    spec["deletionPolicy"] = json!("Delete");
    let name = town.apply(APIS, "home", &spec);
    while town
        .world
        .simulator()
        .history()
        .of(Operation::CreateBackendApi)
        .is_empty()
    {
        town.passes(Duration::from_millis(100));
    }
    town.meddle(9);
    town.passes(SETTLED);
    town.has(&name, 1);
}

/// A2
fn a_job_that_shows_late_does_not_pass_for_the_edit_after_it() {
    let mut town = town();
    town.world.aws(|aws| {
        aws.change_settings(|settings| {
            settings.job_listing_delay = Duration::from_mins(5);
            settings.job_duration = Duration::from_mins(8);
        });
    });
    town.fault(Fault::on(Operation::CreateBackendApi, Action::ResetAfter));
    let name = town.apply(APIS, "home", &version(1));
    town.passes(Duration::from_mins(1));
    town.edit(&name, &version(2));
    town.passes(2 * SETTLED);
    town.has(&name, 2);
}

/// A3
fn a_job_that_somebody_else_starts_meanwhile_does_not_make_its_configuration_ours() {
    let mut town = town();
    town.fault(Fault::on(Operation::CreateBackendApi, Action::Reset));
    let name = town.apply(APIS, "home", &version(1));
    town.passes(Duration::from_secs(20));
    town.meddle(9);
    let job = town
        .world
        .aws(|aws| aws.start_job((APP, "dev"), "CreateBackendAPI", JobScript::default()));
    job.expect("an app");
    town.passes(SETTLED);
    town.has(&name, 1);
}

/// A4
fn a_pending_job_of_somebody_else_does_not_pass_for_an_edit() {
    let mut town = town();
    let name = town.apply(APIS, "home", &version(1));
    town.passes(Duration::from_mins(2));
    town.has(&name, 1);
    let script = JobScript {
        duration: Some(Duration::from_mins(5)),
        ..JobScript::default()
    };
    let job = town
        .world
        .aws(|aws| aws.start_job((APP, "dev"), "UpdateBackendAPI", script));
    job.expect("an app");
    town.edit(&name, &version(2));
    town.passes(SETTLED);
    town.has(&name, 2);
}

/// B1
fn a_create_that_fails_in_its_answer_owns_nothing() {
    let mut town = town();
    let answer = json!({
        "appId": APP, "backendEnvironmentName": "prod", "jobId": "j-1", "operation": "CreateBackend", "status": "FAILED",
        "error": "Resource already exists",
    });
    let failed = Action::Respond {
        status: 200,
        code: String::new(),
        message: String::new(),
        body: Some(answer.to_string()),
    };
    town.fault(Fault::on(Operation::CreateBackend, failed));
    // Another client creates the object between the look and the create.
    let not_yet = Action::Respond {
        status: 404,
        code: "NotFoundException".to_owned(),
        message: "Backend not found".to_owned(),
        body: None,
    };
    town.fault(Fault::on(Operation::GetBackend, not_yet));
    town.world
        .aws(|aws| assert!(aws.put_backend((APP, "prod"), "storefront")));
    let name = town.apply("amplifybackends", "home", &backend("prod"));
    town.passes(Duration::from_mins(5));
    let named = Named("amplifybackends", "home", &name);
    assert_ne!(town.reason(named), "Available");
    town.world.users(|users| users.delete(named)).expect("a backend");
    town.passes(SETTLED);
    assert!(town.world.users(|users| users.get(named)).is_none());
    let theirs = town.world.aws(|aws| aws.backend((APP, "prod")));
    assert!(theirs.is_some(), "somebody else's backend is deleted");
    town.is_well();
}

/// B2
fn a_delete_that_arrives_late_does_not_reach_the_next_backend_of_the_name() {
    let mut town = town();
    let first = town.apply("amplifybackends", "home", &backend("prod"));
    town.passes(Duration::from_mins(10));
    let late = Action::ArriveLate {
        duration: Some(Duration::from_secs(28)),
    };
    town.fault(Fault::on(Operation::DeleteBackend, late));
    town.world
        .users(|users| users.delete(Named("amplifybackends", "home", &first)))
        .expect("a backend");
    town.passes(Duration::from_millis(200));
    let second = town.apply("amplifybackends", "home", &backend("prod"));
    town.passes(SETTLED);
    assert_eq!(town.reason(Named("amplifybackends", "home", &second)), "Available");
    let there = town.world.aws(|aws| aws.backend((APP, "prod")));
    assert!(there.is_some(), "Ready, and AWS has none");
    town.is_well();
}

/// B4
fn an_update_that_arrives_late_does_not_undo_the_edit_after_it() {
    let mut town = town();
    let name = town.apply(APIS, "home", &version(1));
    town.passes(Duration::from_mins(2));
    let late = Action::ArriveLate {
        duration: Some(Duration::from_secs(28)),
    };
    town.fault(Fault::on(Operation::UpdateBackendApi, late));
    town.edit(&name, &version(2));
    town.passes(Duration::from_secs(4));
    town.edit(&name, &version(3));
    town.passes(SETTLED);
    town.has(&name, 3);
}

/// B3: while the operator reads a list of two pages, the API on the first page is updated. The list then reports the
/// old version.
fn what_a_list_shows_late_gives_no_environment_to_another() {
    let mut town = Town::of(1, &["--drift-interval=20s", "--concurrency=1"], &["home", "zoo"]);
    town.world.aws(|aws| {
        assert!(aws.put_backend((APP, "dev"), "storefront"));
        assert!(aws.put_auth((APP, "dev"), "users"));
    });
    town.passes(Duration::from_secs(30));
    let shop = town.apply(APIS, "home", &version(1));
    let permissions = |words: &[&str]| json!({ "permissions": { "authenticated": words } });
    let photos = town.apply(
        STORAGES,
        "home",
        &json!({
            "appId": APP, "backendEnvironmentName": "dev", "resourceName": "photos",
            "resourceConfig": permissions(&["READ"]),
        }),
    );
    // A page has at most 2 MiB.
    for number in 0..12 {
        let mut spec = api(&format!("e{number}"));
        spec["suspend"] = json!(true);
        let name = town.apply(APIS, "zoo", &spec);
        let large = "x".repeat(200 << 10);
        let annotated = town
            .world
            .users(|users| users.annotate(Named(APIS, "zoo", &name), "large", Some(&large)));
        annotated.expect("an API");
    }
    town.passes(Duration::from_mins(5));
    // AWS's lists show too late that the environment is taken.
    town.world.aws(|aws| {
        aws.change_settings(|settings| {
            settings.job_duration = Duration::from_mins(2);
            settings.job_listing_delay = Duration::from_mins(3);
        });
    });
    // Right after a check, which reads the resource itself. The next check comes during the list.
    let looks = |town: &Town| town.world.simulator().history().of(Operation::GetBackendApi).len();
    let before = looks(&town);
    while looks(&town) == before {
        town.passes(Duration::from_millis(100));
    }
    town.world
        .apiserver(|server| server.set_silent("operator-0", APIS, true));
    town.edit(&shop, &version(2));
    // The changes that the watch has not shown are compacted, so the operator lists everything again.
    town.world.apiserver(|server| {
        server.set_slow(APIS, Duration::from_secs(30));
        server.compact();
        server.break_connections();
    });
    town.passes(Duration::from_secs(1));
    town.world
        .apiserver(|server| server.set_silent("operator-0", APIS, false));
    let updates = |town: &Town| {
        let history = town.world.simulator().history();
        [Operation::UpdateBackendApi, Operation::UpdateBackendStorage].map(|operation| history.of(operation).len())
    };
    // The list is complete, and the API is being updated.
    town.passes(Duration::from_mins(1));
    assert_eq!(updates(&town), [1, 0]);
    let edit = json!({ "spec": { "resourceConfig": permissions(&["READ", "DELETE"]) } });
    let edited = town
        .world
        .users(|users| users.merge(Named(STORAGES, "home", &photos), &edit));
    edited.expect("a storage");
    town.passes(Duration::from_secs(30));
    assert_eq!(updates(&town), [1, 0], "one job at a time");
    town.passes(SETTLED);
    assert_eq!(updates(&town), [1, 1]);
    for named in [Named(APIS, "home", &shop), Named(STORAGES, "home", &photos)] {
        assert_eq!(town.reason(named), "Available");
    }
    town.is_well();
}

/// B5: one operator gets its answer late. Meanwhile another operator has stored a status about the next edit.
fn of_two_operators_neither_takes_back_what_the_other_says_of_a_later_edit() {
    let mut town = town();
    town.add_operator();
    let name = town.apply(APIS, "home", &version(1));
    town.passes(SETTLED);
    let silent = |town: &Town, silent| {
        town.world
            .apiserver(|server| server.set_silent("operator-1", APIS, silent));
    };
    silent(&town, true);
    town.fault(Fault::on(
        Operation::UpdateBackendApi,
        Action::HangAfter {
            duration: Some(Duration::from_secs(10)),
        },
    ));
    town.edit(&name, &version(2));
    town.passes(Duration::from_secs(2));
    silent(&town, false);
    town.edit(&name, &version(3));
    let mut said = Vec::new();
    for _ in 0..30 {
        town.passes(Duration::from_millis(500));
        let object = town.world.users(|users| users.get(Named(APIS, "home", &name)));
        said.extend(object.and_then(|object| object["status"]["observedGeneration"].as_i64()));
    }
    assert_eq!(said, [3; 30], "before the answer and after it");
    town.passes(SETTLED);
    town.has(&name, 3);
}

/// E7: another version of the definition has accepted an object that this operator cannot read.
fn what_could_not_be_read_owns_nothing_when_it_is_gone() {
    let mut town = town();
    let name = town.apply(APIS, "home", &version(1));
    town.passes(Duration::from_mins(2));
    town.has(&name, 1);
    let named = Named(APIS, "home", &name);
    town.world
        .users(|users| users.force(named, |object| object["spec"]["suspend"] = json!("maybe")));
    town.passes(Duration::from_mins(1));
    town.world.users(|users| users.vanish(named));
    town.passes(Duration::from_mins(1));
    let mut spec = version(2);
    spec["adoptionPolicy"] = json!("IfExists");
    spec["deletionPolicy"] = json!("Delete");
    let next = town.apply(APIS, "home", &spec);
    town.passes(SETTLED);
    town.has(&next, 2);
}

/// E8: AWS's times determine the outcome of a write.
fn a_lost_reply_is_found_out_by_a_machine_whose_clock_is_wrong() {
    for off in [-90, -20, 20, 90].map(SignedDuration::from_mins) {
        let mut town = town();
        town.world.set_clock(0, off);
        town.world.kill(0);
        town.passes(Duration::from_mins(1));
        town.fault(Fault::on(Operation::CreateBackend, Action::ResetAfter));
        let name = town.apply("amplifybackends", "home", &backend("prod"));
        town.passes(SETTLED);
        let reason = town.reason(Named("amplifybackends", "home", &name));
        let creates = town.world.simulator().history().of(Operation::CreateBackend);
        let creates = creates.iter().filter(|call| call.accepted).count();
        assert_eq!((reason.as_str(), creates), ("Available", 1), "{off:#}");
        town.is_well();
    }
}
