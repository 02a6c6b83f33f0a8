//! The checker finds each broken promise in a history that breaks it, and reports nothing for a history without broken
//! promises.

use std::collections::BTreeSet;

use amplify_operator::api::FINALIZER;
use amplify_simulator::{JobState, Operation};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    laws::checker::{Law, check, check_quiet, includes},
    laws::history::{AwsCall, History, Millis, Version},
};

/// The start of all times.
const T0: Millis = 1_790_000_000_000;

fn at(millis: Millis) -> String {
    let time = Timestamp::from_millisecond(T0 + millis).expect("a time");
    Timestamp::from_second(time.as_second()).expect("a time").to_string()
}

fn ready(status: bool, reason: &str, generation: i64) -> Value {
    json!([{ "type": "Ready", "status": if status { "True" } else { "False" }, "reason": reason,
             "observedGeneration": generation }])
}

fn job(operation: &str, attempt: i64, requested: Millis, id: Option<&str>, finished: Option<Millis>) -> Value {
    let mut job = json!({
        "operation": operation, "generation": 1, "attempt": attempt, "requestTime": at(requested), "unconfirmed": false,
    });
    if let Some(id) = id {
        job["id"] = id.into();
    }
    if let Some(finished) = finished {
        job["finishTime"] = at(finished).into();
        job["status"] = "COMPLETED".into();
    }
    job
}

struct Life {
    uid: &'static str,
    kind: &'static str,
    spec: Value,
    versions: Vec<Version>,
}

impl Life {
    fn backend(uid: &'static str) -> Self {
        let spec = json!({ "appId": "d1", "appName": "shop", "backendEnvironmentName": "dev" });
        Self {
            uid,
            kind: "AmplifyBackend",
            spec,
            versions: Vec::new(),
        }
    }

    /// Adds a version, this long after the start.
    fn then(&mut self, millis: Millis, metadata: &Value, status: &Value, held: Value) {
        let mut object = json!({
            "kind": self.kind,
            "metadata": { "uid": self.uid, "name": self.uid, "generation": 1 },
            "spec": self.spec,
            "status": status,
        });
        let members = metadata.as_object().expect("an object").clone();
        object["metadata"].as_object_mut().expect("an object").extend(members);
        self.versions.push(Version {
            number: u64::try_from(millis).expect("later") + 1,
            seen: T0 + millis,
            written: T0 + millis / 1000 * 1000,
            gone: false,
            object,
            held,
        });
    }
}

fn with_finalizer() -> Value {
    json!({ "finalizers": [FINALIZER] })
}

fn call(millis: Millis, operation: Operation, job: Option<&str>) -> AwsCall {
    AwsCall {
        time: T0 + millis,
        operation,
        key: "dev".to_owned(),
        accepted: true,
        job: job.map(str::to_owned),
    }
}

fn aws_job(id: &str, created: Millis, updated: Millis) -> JobState {
    JobState {
        id: id.to_owned(),
        operation: "CreateBackend".to_owned(),
        status: "COMPLETED".to_owned(),
        error: None,
        created: T0 + created,
        updated: T0 + updated,
        vanished: false,
    }
}

/// Returns a good history: created, Ready, deleted, gone.
fn good() -> History {
    let mut life = Life::backend("one");
    let there = json!({ "appName": "shop", "apis": {} });
    let create = |id, finished| job("CreateBackend", 1, 2000, id, finished);
    life.then(0, &json!({}), &json!({ "observedGeneration": -1 }), Value::Null);
    life.then(
        1000,
        &with_finalizer(),
        &json!({ "observedGeneration": -1 }),
        Value::Null,
    );
    let working = ready(false, "Creating", 1);
    let intent = json!({ "observedGeneration": 1, "conditions": working, "job": create(None, None) });
    life.then(2000, &with_finalizer(), &intent, Value::Null);
    let running =
        json!({ "observedGeneration": 1, "conditions": working, "origin": "Created", "job": create(Some("j1"), None) });
    life.then(3000, &with_finalizer(), &running, Value::Null);
    let mut done = json!({
        "observedGeneration": 1, "conditions": ready(true, "Available", 1), "origin": "Created",
        "job": create(Some("j1"), Some(8000)),
    });
    life.then(8000, &with_finalizer(), &done, there.clone());
    let mut leaving = with_finalizer();
    leaving["deletionTimestamp"] = at(20_000).into();
    life.then(20_000, &leaving, &done, there);
    done["conditions"] = ready(false, "Deleting", 1);
    done["job"] = job("DeleteBackend", 2, 21_000, Some("j2"), None);
    life.then(21_000, &leaving, &done, Value::Null);
    life.then(29_000, &leaving, &done, Value::Null);
    life.versions.last_mut().expect("versions").gone = true;
    History {
        versions: life.versions,
        calls: vec![
            call(2400, Operation::CreateBackend, Some("j1")),
            call(20_500, Operation::DeleteBackend, Some("j2")),
        ],
        jobs: [(
            "dev".to_owned(),
            vec![aws_job("j1", 2400, 7400), aws_job("j2", 20_500, 25_500)],
        )]
        .into(),
        on_the_way: 5000,
        skew: 0,
        outcome_grace: 15_000,
        drift_interval: 20_000,
        ..History::default()
    }
}

const INTENT: usize = 2;
const READY: usize = 4;
const LEAVING: usize = 5;

/// Returns the history up to this version.
fn until(mut history: History, version: usize) -> History {
    let last = history.versions[version - 1].seen;
    history.versions.truncate(version);
    history.calls.retain(|call| call.time <= last);
    history
        .jobs
        .values_mut()
        .for_each(|jobs| jobs.retain(|job| job.created <= last));
    history
}

#[track_caller]
fn finds(history: &History, laws: &[Law]) {
    let found = check(history).violations;
    let broken: BTreeSet<_> = found.iter().map(|violation| violation.law).collect();
    assert_eq!(broken, laws.iter().copied().collect(), "{found:#?}");
}

#[test]
fn a_life_as_it_should_be_breaks_nothing() {
    finds(&good(), &[]);
    let findings = check(&good());
    assert_eq!((findings.creates, findings.most_creates), (1, 1));
    for version in 1..=8 {
        finds(&until(good(), version), &[]);
    }
    assert_eq!(check_quiet(&until(good(), READY + 1)), []);
}

#[test]
fn a_create_that_is_accepted_twice_for_an_intent_is_found() {
    let mut history = good();
    history
        .calls
        .insert(1, call(2600, Operation::CreateBackend, Some("j1")));
    finds(&history, &[Law::CreatedOnce]);
    assert_eq!(check(&history).most_creates, 2);
}

#[test]
fn a_record_that_is_made_twice_is_found() {
    let mut life = Life::backend("one");
    life.kind = "BackendEnvironment";
    life.spec = json!({ "appId": "d1", "environmentName": "dev" });
    let create = |finished| job("CreateBackendEnvironment", 1, 2000, None, finished);
    let intent = json!({ "observedGeneration": 1, "conditions": ready(false, "Creating", 1), "job": create(None) });
    life.then(2000, &with_finalizer(), &intent, Value::Null);
    let done = json!({ "observedGeneration": 1, "conditions": ready(true, "Available", 1), "origin": "Created",
                       "job": create(Some(3000)) });
    life.then(3000, &with_finalizer(), &done, json!({}));
    let mut history = History {
        versions: life.versions,
        calls: vec![call(2400, Operation::CreateBackendEnvironment, None)],
        ..good()
    };
    history.jobs.clear();
    finds(&history, &[]);
    // Records have no job ids, so the second create has no intent of its own.
    history
        .calls
        .push(call(2700, Operation::CreateBackendEnvironment, None));
    finds(&history, &[Law::IntentFirst]);
}

#[test]
fn a_create_without_an_intent_is_found() {
    let mut history = until(good(), INTENT);
    history.calls.push(call(1500, Operation::CreateBackend, None));
    finds(&history, &[Law::IntentFirst]);
}

#[test]
fn a_create_long_after_its_intent_is_found() {
    let mut history = good();
    history.calls[0].time = T0 + 2000 + 17_000;
    finds(&history, &[Law::IntentFirst]);
}

#[test]
fn an_intent_without_a_finalizer_is_found() {
    let mut history = good();
    history.versions[INTENT].object["metadata"]["finalizers"] = json!([]);
    finds(&history, &[Law::IntentFirst]);
}

#[test]
fn an_intent_that_follows_an_unknown_outcome_too_soon_is_found() {
    let mut history = until(good(), INTENT + 1);
    history.calls.clear();
    let mut next = history.versions[INTENT].clone();
    (next.number, next.seen) = (next.number + 1, next.seen + 15_000);
    let again = &mut next.object["status"]["job"];
    *again = job("CreateBackend", 2, 17_000, None, None);
    again["unconfirmed"] = true.into();
    history.versions.push(next);
    finds(&history, &[]);
    history.versions[INTENT + 1].object["status"]["job"]["requestTime"] = at(10_000).into();
    finds(&history, &[Law::OneOutcomeAtATime]);
    history.versions[INTENT + 1].object["status"]["job"]["requestTime"] = at(17_000).into();
    history.versions[INTENT + 1].object["status"]["job"]["unconfirmed"] = false.into();
    finds(&history, &[Law::OneOutcomeAtATime]);
}

#[test]
fn two_open_intents_in_one_environment_are_found() {
    let mut history = until(good(), INTENT + 1);
    history.calls.clear();
    let mut other = history.versions[INTENT].clone();
    (other.number, other.seen) = (other.number + 1, other.seen + 100);
    other.object["metadata"]["uid"] = "two".into();
    other.object["spec"] =
        json!({ "appId": "d1", "backendEnvironmentName": "qa", "cloneFrom": { "backendEnvironmentName": "dev" } });
    history.versions.push(other);
    finds(&history, &[Law::OneOutcomeAtATime]);
    history.versions[INTENT + 1].object["spec"]["cloneFrom"]["backendEnvironmentName"] = "main".into();
    finds(&history, &[]);
}

#[test]
fn a_delete_by_somebody_who_owns_nothing_is_found() {
    let mut history = good();
    for version in &mut history.versions[LEAVING..] {
        version.object["status"]
            .as_object_mut()
            .expect("a status")
            .remove("origin");
    }
    finds(&history, &[Law::DeletesOwnOnly]);
}

#[test]
fn a_delete_of_what_is_to_be_retained_is_found() {
    let mut history = good();
    for version in &mut history.versions {
        version.object["spec"]["deletionPolicy"] = "Retain".into();
    }
    finds(&history, &[Law::DeletesOwnOnly]);
    let mut history = good();
    for version in &mut history.versions[LEAVING..] {
        version.object["status"]["origin"] = "Adopted".into();
    }
    finds(&history, &[Law::DeletesOwnOnly]);
}

#[test]
fn a_delete_by_somebody_who_is_not_being_deleted_is_found() {
    let mut history = good();
    history.calls[1].time = T0 + 10_000;
    finds(&history, &[Law::DeletesOwnOnly]);
    let mut history = good();
    history.calls[1].time = T0 + 60_000;
    finds(&history, &[Law::DeletesOwnOnly]);
}

#[test]
fn an_observed_generation_that_goes_back_is_found() {
    let mut history = good();
    history.versions[READY + 1].object["status"]["observedGeneration"] = 0.into();
    finds(&history, &[Law::NeverBack]);
}

#[test]
fn an_attempt_that_goes_back_is_found() {
    let mut history = good();
    for version in &mut history.versions[..=READY] {
        if let Some(attempt) = version.object.pointer_mut("/status/job/attempt") {
            *attempt = 3.into();
        }
    }
    finds(&history, &[Law::NeverBack]);
}

#[test]
fn what_is_left_behind_in_aws_is_found() {
    let mut history = good();
    history.versions.last_mut().expect("versions").held = json!({});
    finds(&history, &[Law::NothingLeftBehind]);
    // Unless somebody has made it while it was being deleted.
    let last = history.versions.last().expect("versions");
    history.meddled.push(("dev".to_owned(), last.seen));
    finds(&history, &[]);
}

#[test]
fn what_somebody_else_made_since_is_not_left_behind() {
    let mut history = good();
    history.versions.last_mut().expect("versions").held = json!({});
    let mut other = Life::backend("two");
    let intent = json!({ "observedGeneration": 1, "conditions": ready(false, "Creating", 1),
                         "job": job("CreateBackend", 1, 26_000, None, None) });
    other.then(26_000, &with_finalizer(), &intent, Value::Null);
    let made = json!({ "observedGeneration": 1, "conditions": ready(false, "Creating", 1), "origin": "Created",
                       "job": job("CreateBackend", 1, 26_000, Some("j3"), None) });
    other.then(27_000, &with_finalizer(), &made, Value::Null);
    history.versions.append(&mut other.versions);
    history.versions.sort_by_key(|version| version.number);
    history.calls.push(call(26_100, Operation::CreateBackend, Some("j3")));
    history
        .jobs
        .get_mut("dev")
        .expect("jobs")
        .push(aws_job("j3", 26_100, 28_000));
    finds(&history, &[]);
}

#[test]
fn a_finalizer_that_somebody_else_took_off_is_not_the_operators_doing() {
    let mut history = good();
    history.versions.last_mut().expect("versions").held = json!({});
    history.stripped.insert("one".to_owned());
    finds(&history, &[]);
}

#[test]
fn overlapping_jobs_are_found() {
    let mut history = good();
    history.jobs.get_mut("dev").expect("jobs")[0].updated = T0 + 20_600;
    finds(&history, &[Law::OneJobAtATime]);
    history.jobs.get_mut("dev").expect("jobs")[0].updated = T0 + 7400;
    "RUNNING".clone_into(&mut history.jobs.get_mut("dev").expect("jobs")[0].status);
    finds(&history, &[Law::OneJobAtATime]);
}

#[test]
fn ready_without_an_aws_object_is_found() {
    let mut history = good();
    history.versions[READY].held = Value::Null;
    finds(&history, &[Law::TrueReady]);
}

#[test]
fn ready_with_another_configuration_is_found() {
    let mut life = Life::backend("one");
    life.kind = "BackendApi";
    life.spec = json!({
        "appId": "d1", "backendEnvironmentName": "dev", "resourceName": "shop",
        "resourceConfig": { "transformSchemaFrom": { "configMapKeyRef": { "name": "schemas", "key": "first" } } },
    });
    let status =
        |generation| json!({ "observedGeneration": generation, "conditions": ready(true, "Available", generation) });
    life.then(
        1000,
        &json!({ "generation": 1 }),
        &status(1),
        json!({ "transformSchema": "type A" }),
    );
    life.spec["resourceConfig"] = json!({ "transformSchema": "type B" });
    life.then(
        5000,
        &json!({ "generation": 2 }),
        &status(1),
        json!({ "transformSchema": "type A" }),
    );
    life.then(
        9000,
        &json!({ "generation": 2 }),
        &status(2),
        json!({ "transformSchema": "type B" }),
    );
    let mut history = History {
        versions: life.versions,
        schemas: [(("schemas".to_owned(), "first".to_owned()), "type A".to_owned())].into(),
        ..History::default()
    };
    finds(&history, &[]);
    history.versions[2].held = json!({ "transformSchema": "type A" });
    finds(&history, &[Law::TrueReady]);
    history.versions[2].held = json!({ "transformSchema": "type B" });
    history.schemas.clear();
    finds(&history, &[Law::TrueReady]);
}

#[test]
fn ready_after_somebody_removed_the_object_is_excused() {
    let mut history = good();
    history.versions[READY].held = Value::Null;
    history.meddled.push(("dev".to_owned(), T0 + 7900));
    finds(&history, &[]);
    history.meddled[0].1 = T0 + 9000;
    finds(&history, &[Law::TrueReady]);
    // The recorder came too late to know AWS's state.
    history.versions[READY].seen += 3000;
    history.meddled.clear();
    finds(&history, &[]);
}

#[test]
fn a_job_that_nobody_records_is_found() {
    let mut history = until(good(), INTENT + 1);
    finds(&history, &[]);
    history.calls.push(call(2400, Operation::CreateBackend, Some("j1")));
    history.jobs.insert("dev".to_owned(), vec![aws_job("j1", 2400, 7400)]);
    finds(&history, &[Law::NoLostJob]);
    // AWS no longer shows the job either.
    history.jobs.get_mut("dev").expect("jobs")[0].vanished = true;
    finds(&history, &[]);
}

#[test]
fn a_job_that_another_resource_records_is_found() {
    let mut history = good();
    "qa".clone_into(&mut history.calls[0].key);
    finds(&history, &[Law::NoLostJob]);
}

#[test]
fn a_dangerous_call_is_found() {
    let mut history = good();
    history.calls.push(call(9000, Operation::RemoveAllBackends, None));
    finds(&history, &[Law::NothingDangerous]);
}

#[test]
fn a_resource_that_never_settles_is_found() {
    let settles = |history: &History| {
        check_quiet(history)
            .iter()
            .all(|violation| violation.law != Law::Settles)
    };
    let mut history = until(good(), READY);
    assert!(!settles(&history), "a job runs");
    history = until(good(), READY + 1);
    assert!(settles(&history));
    history.versions[READY].object["metadata"]["generation"] = 2.into();
    assert!(!settles(&history), "an edit is not observed");
    history = until(good(), READY + 1);
    history.versions[READY].object["status"]["conditions"] = json!([
        { "type": "Ready", "status": "False", "reason": "JobFailed" },
        { "type": "Stalled", "status": "True", "reason": "JobFailed" },
    ]);
    assert!(settles(&history));
    history.versions[READY].object["status"]["conditions"] = ready(false, "Creating", 1);
    assert!(!settles(&history), "it says that it works");
    history.versions[READY].object["status"]["conditions"] = json!([
        { "type": "Ready", "status": "True", "reason": "Available" },
        { "type": "MigrationLocked", "status": "True", "reason": "MigrationLocked" },
    ]);
    assert!(!settles(&history), "it speaks of a lock that has gone");
}

#[test]
fn a_resource_that_waits_for_nobody_is_found() {
    for (reason, others) in [
        (
            "DependencyNotReady",
            json!([
                ["AmplifyBackend", "main", true, false, false],
                ["AmplifyBackend", "main", false, false, true]
            ]),
        ),
        (
            "InUse",
            json!([
                ["BackendApi", "x", true, true, false],
                ["BackendApi", "x", true, false, true]
            ]),
        ),
        (
            "Conflict",
            json!([
                ["BackendApi", "x", true, false, false],
                ["AmplifyBackend", "x", true, false, true]
            ]),
        ),
    ] {
        for other in others.as_array().expect("cases") {
            let mut history = until(good(), READY + 1);
            let last = &mut history.versions[READY];
            last.object["status"]["conditions"] = json!([
                { "type": "Ready", "status": "False", "reason": reason },
                { "type": "Stalled", "status": "True", "reason": reason },
            ]);
            last.object["spec"]["cloneFrom"] = json!({ "backendRef": { "name": "main" } });
            let mut another = last.clone();
            another.object["kind"] = other[0].clone();
            another.object["metadata"]["uid"] = "two".into();
            another.object["metadata"]["name"] = other[1].clone();
            another.object["spec"] =
                json!({ "backendEnvironmentName": if other[1] == "main" { "main" } else { "dev" } });
            if other[0] == "BackendApi" {
                another.object["spec"]["resourceName"] = "shop".into();
            }
            another.object["status"]["conditions"] = ready(other[2] == true, "Available", 1);
            if other[3] == true {
                another.object["metadata"]["deletionTimestamp"] = at(9000).into();
            }
            history.versions.push(another);
            let complains = check_quiet(&history).iter().any(|violation| violation.name == "one");
            assert_eq!(complains, other[4] == false, "{reason} {other}");
        }
    }
}

#[test]
fn a_resource_that_is_ready_in_quiet_without_its_object_is_found() {
    let mut history = until(good(), READY + 1);
    history.versions[READY].held = Value::Null;
    let laws: Vec<_> = check_quiet(&history)
        .into_iter()
        .map(|violation| violation.law)
        .collect();
    assert_eq!(laws, [Law::TrueReady]);
}

#[test]
fn a_wanted_configuration_is_part_of_what_aws_holds() {
    let held =
        json!({ "apiName": "shop", "auth": { "mode": "API_KEY", "expirationTime": 3 }, "more": [{ "a": 1, "b": 2 }] });
    for (wanted, included) in [
        (json!({}), true),
        (json!({ "auth": { "expirationTime": 9 } }), true),
        (json!({ "auth": { "mode": "AWS_IAM" } }), false),
        (json!({ "more": [{ "a": 1 }] }), true),
        (json!({ "more": [] }), false),
        (json!({ "other": 1 }), false),
    ] {
        assert_eq!(includes(&held, &wanted), included, "{wanted}");
    }
}
