//! Namespaces with accounts of their own: the credentials of each call, and the effect of changes to them.

use std::{collections::BTreeSet, process::Stdio, sync::Arc};

use amplify_simulator::{App, Call, Ending, EnvironmentState, JobFault, JobScript, Location, Operation, Role};
use serde_json::{Value, json};
use tokio::process::Command;

use amplify_testkit::stage::{
    APP, Kind, PATIENCE, Setup, Stage, World, adopting, backend, environment, graphql_api, is_stalled, message, ready,
    storage,
};

amplify_testkit::tests! {
    each_namespaces_calls_are_made_in_its_own_account_and_name_it,
    a_namespace_without_an_account_is_stalled_without_any_call_until_the_file_gives_it_one,
    a_role_that_cannot_be_assumed_is_said_and_heals_where_it_was_mended,
    a_file_that_is_edited_while_a_job_runs_stops_it_nowhere_and_leads_to_one_create,
    a_file_that_cannot_be_used_leaves_the_last_good_one_in_force,
    a_file_that_cannot_be_used_at_the_start_ends_the_operator,
    sessions_that_expire_are_renewed_at_once,
    a_tenant_cannot_reach_another_ones_account_backend_or_config_map,
    in_one_account_a_namespace_touches_the_apps_and_regions_of_its_entry_and_blocks_no_other,
    what_an_entry_no_longer_allows_is_not_deleted_and_is_handed_over_with_retain,
}

const A: &str = "111111111111";
const B: &str = "222222222222";
/// The region of B's entry.
const REGION: &str = "eu-central-1";
const EXTERNAL_ID: &str = "s3cret-of-tenant-a";

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/amplify/operator")
}

fn entry(name: &str, namespaces: &[&str], account: &str, more: &str) -> String {
    format!(
        "- {{name: {name}, namespaces: [{}], roleArn: \"{}\"{more}}}\n",
        namespaces.join(", "),
        role(account)
    )
}

fn file(entries: &[String]) -> String {
    format!("accounts:\n{}", entries.concat())
}

/// Returns an accounts file in which the first namespace has account A, the second account B, and the third none.
fn two(namespaces: &[String]) -> String {
    file(&[
        entry(
            "team-a",
            &[&namespaces[0]],
            A,
            &format!(", externalId: \"{EXTERNAL_ID}\""),
        ),
        entry("team-b", &[&namespaces[1]], B, &format!(", region: {REGION}")),
    ])
}

async fn stage(world: Arc<World>) -> Stage {
    let setup = Setup {
        namespaces: 3,
        accounts: Some(two),
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    for (account, region) in [(A, None), (B, Some(REGION))] {
        stage.aws().put_app(&App {
            account: Some(account.to_owned()),
            region: region.map(str::to_owned),
            app_id: APP.to_owned(),
            name: "storefront".to_owned(),
        });
    }
    stage.aws().put_role(Role {
        arn: role(A),
        external_id: Some(EXTERNAL_ID.to_owned()),
    });
    stage
}

fn in_a(environment: &str) -> Location {
    Location::new(APP, environment).account(A)
}

/// Returns the calls with credentials of this account.
fn calls_in(stage: &Stage, account: &str) -> Vec<Call> {
    let mut calls = stage.simulator.history().all();
    calls.retain(|call| call.account.as_deref() == Some(account));
    calls
}

fn session_names(calls: &[Call]) -> BTreeSet<String> {
    let names = calls.iter().filter_map(|call| call.session_name.as_deref());
    names.map(str::to_owned).collect()
}

/// Waits for this reason, with this text in its message.
async fn wait_for(stage: &Stage, kind: Kind, name: &str, reason: &str, text: &str) -> Value {
    stage
        .wait(kind, name, &format!("{reason} with {text:?}"), |object| {
            ready(object)["reason"] == reason
                && ready(object)["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(text))
        })
        .await
}

async fn each_namespaces_calls_are_made_in_its_own_account_and_name_it(world: Arc<World>) {
    let mut stage = stage(world).await;
    // The same names in both accounts: they are neither in conflict nor share a slot.
    for number in [0, 1] {
        stage.enter(number);
        stage.create_backend("dev").await;
        stage
            .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
            .await;
    }
    let mut keys = Vec::new();
    for (number, account, region) in [(0, A, "eu-west-1"), (1, B, REGION)] {
        stage.enter(number);
        for (kind, name) in [(Kind::Backend, "dev"), (Kind::Api, "shop")] {
            let object = stage.wait_until_ready(kind, name).await;
            assert_eq!(object["status"]["accountId"], account);
            assert_eq!(object["status"]["region"], region);
        }
        let calls = calls_in(&stage, account);
        assert_eq!(
            session_names(&calls),
            BTreeSet::from([format!("amplify-operator-{}", stage.namespace)])
        );
        assert!(
            calls
                .iter()
                .all(|call| call.region.as_deref() == Some(region) || call.operation == Operation::GetCallerIdentity),
            "{calls:?}"
        );
        let used: BTreeSet<_> = calls.iter().filter_map(|call| call.access_key_id.clone()).collect();
        assert_eq!(used.len(), 1, "one session serves all calls of a namespace");
        keys.extend(used);
    }
    assert_ne!(keys[0], keys[1]);
    assert_eq!(stage.calls(Operation::AssumeRole).len(), 2);
    assert_eq!(stage.calls(Operation::GetCallerIdentity).len(), 2);
    // The operator's own credentials assume roles and do nothing else.
    let own = calls_in(&stage, amplify_simulator::DEFAULT_ACCOUNT);
    assert!(
        own.iter().all(|call| call.operation == Operation::AssumeRole),
        "{own:?}"
    );
    stage.assert_created_once();
}

async fn a_namespace_without_an_account_is_stalled_without_any_call_until_the_file_gives_it_one(world: Arc<World>) {
    let mut stage = stage(world).await;
    stage.enter(2);
    let third = stage.namespace.clone();
    stage.create_backend("dev").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    for (kind, name) in [(Kind::Backend, "dev"), (Kind::Environment, "record")] {
        let object = stage.wait_for_reason(kind, name, "AccountNotFound").await;
        assert!(is_stalled(&object));
        assert!(object["status"]["accountId"].is_null() && object["status"]["job"].is_null());
        let message = ready(&object)["message"].as_str().unwrap_or_default();
        assert!(message.contains(&third) && message.contains("add it"), "{message}");
    }
    let named_twice = file(&[
        entry("team-a", &[&stage.namespaces[0], &third], A, ""),
        entry("team-b", &[&stage.namespaces[1], &third], B, ""),
    ]);
    stage.write_accounts(&named_twice);
    wait_for(&stage, Kind::Backend, "dev", "AccountNotFound", "(team-a, team-b)").await;
    assert!(stage.simulator.history().all().is_empty(), "no call, of any kind");
    // A resource that was never created is deleted without any AWS call.
    stage.delete(Kind::Environment, "record").await;
    stage.wait_until_gone(Kind::Environment, "record").await;
    assert!(stage.simulator.history().all().is_empty(), "no call, of any kind");

    stage.write_accounts(&file(&[entry(
        "team-a",
        &[&third],
        A,
        &format!(", externalId: \"{EXTERNAL_ID}\""),
    )]));
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["accountId"], A);
    stage.assert_created_once();
}

async fn a_role_that_cannot_be_assumed_is_said_and_heals_where_it_was_mended(world: Arc<World>) {
    let mut stage = stage(world).await;
    stage.wait_until_logged("operator starts").await;
    stage.write_accounts(&two(&stage.namespaces).replace(EXTERNAL_ID, "s3cret-and-wrong"));
    // B's role requires an external id, and the file has none.
    stage.aws().put_role(Role {
        arn: role(B),
        external_id: Some("asked-for".to_owned()),
    });
    let b = stage.namespaces[1].clone();
    stage.wait_until_logged("the accounts file has changed").await;
    for (number, account) in [(0, A), (1, B)] {
        stage.enter(number);
        stage.create_backend("dev").await;
        let object = wait_for(&stage, Kind::Backend, "dev", "AccessDenied", &role(account)).await;
        assert!(object["status"]["job"].is_null(), "{object:#}");
        let message = ready(&object)["message"].as_str().unwrap_or_default();
        assert!(message.contains("sts:AssumeRole"), "{message}");
        assert!(!object.to_string().contains("s3cret"), "{object:#}");
    }
    assert!(stage.all_calls().is_empty());
    // A correction in the file takes effect at once.
    stage.write_accounts(&two(&stage.namespaces));
    stage.enter(0);
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // A correction in AWS takes effect with the next try.
    stage.aws().put_role(Role {
        arn: role(B),
        external_id: None,
    });
    stage.enter(1);
    stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(
        session_names(&calls_in(&stage, B)),
        BTreeSet::from([format!("amplify-operator-{b}")])
    );
    assert!(!stage.log().contains("s3cret"), "external ids are not logged");
    stage.assert_created_once();
}

async fn a_file_that_is_edited_while_a_job_runs_stops_it_nowhere_and_leads_to_one_create(world: Arc<World>) {
    let stage = stage(world).await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    stage
        .aws()
        .job_fault(JobFault::on(Operation::CreateBackend, JobScript::stuck()));
    stage.create_backend("dev").await;
    let before = stage
        .wait(Kind::Backend, "dev", "creating", |object| {
            !object["status"]["job"]["id"].is_null()
        })
        .await;
    let [first, second, third] = &stage.namespaces[..] else {
        panic!("three namespaces");
    };
    let resources = [(Kind::Backend, "dev"), (Kind::Environment, "record")];
    for (elsewhere, reason) in [
        (file(&[entry("team-b", &[first, second], B, "")]), "AccountChanged"),
        (file(&[entry("team-a", &[third], A, "")]), "AccountNotFound"),
    ] {
        stage.write_accounts(&elsewhere);
        for (kind, name) in resources {
            let object = stage.wait_for_reason(kind, name, reason).await;
            assert!(is_stalled(&object));
        }
        let object = stage.get(Kind::Backend, "dev").await;
        assert_eq!(object["status"]["job"]["id"], before["status"]["job"]["id"]);
        assert_eq!(object["status"]["accountId"], A);
    }
    let calls = stage.all_calls().len();
    assert!(calls_in(&stage, B).is_empty());
    assert!(stage.aws().end_job(in_a("dev"), None, Ending::Completed));
    // The operator does not look at the end of the job with another account's credentials.
    stage.request(Kind::Backend, "dev", "now").await;
    stage
        .wait(Kind::Backend, "dev", "answered", |object| {
            object["status"]["lastHandledReconcileAt"] == "now"
        })
        .await;
    assert_eq!(stage.all_calls().len(), calls);

    stage.write_accounts(&two(&stage.namespaces));
    for (kind, name) in resources {
        stage.wait_until_ready(kind, name).await;
    }
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
    assert_eq!(stage.calls(Operation::CreateBackendEnvironment).len(), 1);
    assert!(calls_in(&stage, B).is_empty());
    stage.assert_created_once();
}

async fn a_file_that_cannot_be_used_leaves_the_last_good_one_in_force(world: Arc<World>) {
    let mut stage = stage(world).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    let wrong = two(&stage.namespaces).replace(&role(B), "arn:aws:iam::2:role/x");
    stage.write_accounts(&wrong);
    let complaint = "entry \"team-b\": roleArn";
    stage.wait_until_logged(complaint).await;
    stage.enter(1);
    stage.create_backend("dev").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["accountId"], B);
    stage.enter(0);
    assert_eq!(ready(&stage.get(Kind::Backend, "dev").await)["reason"], "Available");
    stage.write_accounts("accounts: []");
    stage.wait_for_reason(Kind::Backend, "dev", "AccountNotFound").await;
    assert_eq!(stage.log().matches(complaint).count(), 1, "said once");
}

async fn a_file_that_cannot_be_used_at_the_start_ends_the_operator(_: Arc<World>) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("accounts.yaml");
    for (text, says) in [
        (None, "accounts.yaml"),
        (
            Some("accounts: [{name: t, namespaces: [], roleArn: x}]"),
            "entry \"t\": namespaces",
        ),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).expect("a file");
        }
        let run = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
            .args(["--listen=127.0.0.1:0", "--accounts"])
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .output();
        let output = tokio::time::timeout(PATIENCE, run)
            .await
            .expect("it ends in time")
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{said}");
    }
}

async fn sessions_that_expire_are_renewed_at_once(world: Arc<World>) {
    let stage = stage(world).await;
    stage
        .aws()
        .job_fault(JobFault::on(Operation::CreateBackend, JobScript::stuck()));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::GetBackendJob, 2).await;
    stage.aws().expire_sessions();
    stage.wait_for_calls(Operation::AssumeRole, 2).await;
    assert!(stage.aws().end_job(in_a("dev"), None, Ending::Completed));
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // The same holds when no job is running: the next look shows it.
    stage.aws().expire_sessions();
    stage.request(Kind::Backend, "dev", "now").await;
    stage
        .wait(Kind::Backend, "dev", "looked at", |object| {
            object["status"]["lastHandledReconcileAt"] == "now"
        })
        .await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 1);
    let events = stage.events("dev").await;
    assert!(!events.iter().any(|reason| reason == "AccessDenied"), "{events:?}");
    stage.assert_created_once();
}

async fn a_tenant_cannot_reach_another_ones_account_backend_or_config_map(world: Arc<World>) {
    let mut stage = stage(world).await;
    // A knows all of B's names, but the app is only in B's account.
    assert!(stage.aws().delete_app(in_a("")));
    stage.enter(1);
    stage
        .put_config_map("schema", "schema.graphql", "type B @model { id: ID! }")
        .await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    let record = Location::new(APP, "record").account(B).region(REGION);
    assert!(stage.aws().put_environment(record, EnvironmentState::default()));
    let before = calls_in(&stage, B).len();

    stage.enter(0);
    let mut same = backend("dev");
    same["region"] = json!(REGION);
    stage.create(Kind::Backend, "same", same).await;
    let mut theirs = graphql_api("dev", "type A @model { id: ID! }");
    theirs["region"] = json!(REGION);
    stage.create(Kind::Api, "theirs", theirs.clone()).await;
    let referring = json!({
        "backendRef": { "name": "dev" }, "resourceName": "shop", "resourceConfig": { "transformSchema": "type A { id: ID! }" },
    });
    stage.create(Kind::Api, "referring", referring).await;
    // An API in another environment, because an environment has only one API.
    theirs["backendEnvironmentName"] = json!("record");
    theirs["resourceConfig"] =
        json!({ "transformSchemaFrom": { "configMapKeyRef": { "name": "schema", "key": "schema.graphql" } } });
    stage.create(Kind::Api, "reading", theirs).await;
    let mut adopting = environment("record");
    adopting["region"] = json!(REGION);
    adopting["adoptionPolicy"] = json!("IfExists");
    adopting["deletionPolicy"] = json!("Delete");
    stage.create(Kind::Environment, "adopting", adopting).await;

    stage.wait_for_reason(Kind::Backend, "same", "AppNotFound").await;
    stage.wait_for_reason(Kind::Api, "theirs", "AppNotFound").await;
    wait_for(
        &stage,
        Kind::Api,
        "referring",
        "DependencyNotReady",
        "AmplifyBackend \"dev\" (spec.backendRef)",
    )
    .await;
    wait_for(&stage, Kind::Api, "reading", "DependencyNotReady", "ConfigMap schema").await;
    stage
        .wait_for_reason(Kind::Environment, "adopting", "AppNotFound")
        .await;
    for (kind, name) in [
        (Kind::Backend, "same"),
        (Kind::Api, "theirs"),
        (Kind::Api, "referring"),
        (Kind::Api, "reading"),
        (Kind::Environment, "adopting"),
    ] {
        stage.delete(kind, name).await;
        stage.wait_until_gone(kind, name).await;
    }
    assert_eq!(calls_in(&stage, B).len(), before, "B's account sees none of it");
    assert_eq!(
        session_names(&calls_in(&stage, A)),
        BTreeSet::from([format!("amplify-operator-{}", stage.namespace)])
    );
    stage.enter(1);
    assert_eq!(ready(&stage.get(Kind::Backend, "dev").await)["reason"], "Available");
    stage.assert_created_once();
}

/// An app of the second namespace, in the same account as `APP`.
const OTHER_APP: &str = "d0ther";

/// Returns an accounts file in which two namespaces share an account, and each has an app of its own.
fn shared(namespaces: &[String]) -> String {
    let id = format!(", externalId: \"{EXTERNAL_ID}\"");
    file(&[
        entry(
            "shop",
            &[&namespaces[0]],
            A,
            &format!("{id}, apps: [{APP}], regions: [eu-west-1, eu-west-2]"),
        ),
        entry("blog", &[&namespaces[1]], A, &format!("{id}, apps: [{OTHER_APP}]")),
    ])
}

async fn shared_stage(world: Arc<World>) -> Stage {
    let setup = Setup {
        namespaces: 2,
        accounts: Some(shared),
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    for app in [APP, OTHER_APP] {
        stage.aws().put_app(&App {
            account: Some(A.to_owned()),
            region: None,
            app_id: app.to_owned(),
            name: "storefront".to_owned(),
        });
    }
    stage.aws().put_role(Role {
        arn: role(A),
        external_id: Some(EXTERNAL_ID.to_owned()),
    });
    stage
}

#[expect(clippy::too_many_lines, reason = "one story of three namespaces")]
async fn in_one_account_a_namespace_touches_the_apps_and_regions_of_its_entry_and_blocks_no_other(world: Arc<World>) {
    let mut stage = shared_stage(world).await;
    // What the first namespace will have, and everything about it that another namespace could wish for.
    stage.enter(1);
    let clone = json!({
        "appId": APP, "backendEnvironmentName": "copy", "cloneFrom": { "backendEnvironmentName": "dev" },
    });
    let mut observing = backend("seen");
    observing["managementPolicy"] = json!("Observe");
    let wishes = [
        (Kind::Backend, "takes", adopting(backend("dev"), "Delete")),
        (Kind::Backend, "clones", clone),
        (Kind::Backend, "observes", observing),
        (Kind::Environment, "records", adopting(environment("record"), "Delete")),
        (
            Kind::Api,
            "joins",
            adopting(graphql_api("dev", "type A @model { id: ID! }"), "Delete"),
        ),
        (Kind::Storage, "stores", adopting(storage("dev"), "Delete")),
    ];
    for (kind, name, spec) in &wishes {
        stage.create(*kind, name, spec.clone()).await;
    }
    for (kind, name, _) in &wishes {
        let object = stage.wait_for_reason(*kind, name, "AccountNotFound").await;
        assert!(is_stalled(&object) && object["status"]["job"].is_null(), "{object:#}");
        let message = message(&object);
        let says = format!("the entry \"blog\" of the operator's accounts file does not list the app {APP} under apps");
        assert!(message.starts_with(&says), "{message}");
        assert!(message.contains("have an administrator add it"), "{message}");
        assert!(!message.contains(OTHER_APP) && !message.contains("shop"), "{message}");
    }
    assert!(stage.simulator.history().all().is_empty(), "no call, of any kind");

    // These are older, and yet nothing of the first namespace is in conflict with them or waits for them.
    stage.enter(0);
    stage.create_backend("dev").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type B @model { id: ID! }"))
        .await;
    for (kind, name) in [
        (Kind::Backend, "dev"),
        (Kind::Environment, "record"),
        (Kind::Api, "shop"),
    ] {
        stage.wait_until_ready(kind, name).await;
    }
    let mut elsewhere = environment("elsewhere");
    elsewhere["region"] = json!("eu-central-1");
    stage.create(Kind::Environment, "elsewhere", elsewhere).await;
    let says = "the entry \"shop\" of the operator's accounts file does not list the region eu-central-1 under regions";
    wait_for(&stage, Kind::Environment, "elsewhere", "AccountNotFound", says).await;

    // A backend of another namespace's app is no reference for an own one, and its deletion deletes nothing.
    stage.enter(1);
    let before = stage.simulator.history().all().len();
    for (kind, name, _) in &wishes {
        stage.request(*kind, name, "now").await;
        stage
            .wait(*kind, name, "answered", |object| {
                object["status"]["lastHandledReconcileAt"] == "now" && ready(object)["reason"] == "AccountNotFound"
            })
            .await;
        stage.delete(*kind, name).await;
        stage.wait_until_gone(*kind, name).await;
    }
    // Its own app works.
    let mut own = backend("dev");
    own["appId"] = json!(OTHER_APP);
    stage.create(Kind::Backend, "own", own).await;
    stage.wait_until_ready(Kind::Backend, "own").await;
    let calls = stage.simulator.history().all();
    let session = format!("amplify-operator-{}", stage.namespace);
    for call in &calls {
        assert_ne!(call.region.as_deref(), Some("eu-central-1"), "{call:?}");
        if call.session_name.as_deref() == Some(&session) {
            assert_ne!(call.app(), APP, "{call:?}");
        }
    }
    assert!(calls.len() > before, "the own app is reached");

    stage.enter(0);
    stage.delete(Kind::Api, "shop").await;
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    stage.assert_created_once();
}

async fn what_an_entry_no_longer_allows_is_not_deleted_and_is_handed_over_with_retain(world: Arc<World>) {
    let stage = shared_stage(world).await;
    stage.create_backend("dev").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    let resources = [(Kind::Backend, "dev"), (Kind::Environment, "record")];
    for (kind, name) in resources {
        stage.wait_until_ready(kind, name).await;
    }
    let calls = stage.all_calls().len();
    stage.write_accounts(&shared(&stage.namespaces).replace(&format!("apps: [{APP}]"), "apps: [d1]"));
    for (kind, name) in resources {
        let object = stage.wait_for_reason(kind, name, "AccountNotFound").await;
        assert!(is_stalled(&object), "{object:#}");
        let message = message(&object);
        assert!(message.contains("deletion included"), "{message}");
        assert!(
            message.ends_with("set deletionPolicy: Retain and delete this resource"),
            "{message}"
        );
        stage.delete(kind, name).await;
        stage
            .wait(kind, name, "waiting", |object| {
                ready(object)["reason"] == "AccountNotFound"
                    && object["status"]["observedGeneration"] == object["metadata"]["generation"]
                    && !object["metadata"]["deletionTimestamp"].is_null()
            })
            .await;
    }
    // With Retain it goes, and its AWS object stays.
    stage
        .patch(
            Kind::Environment,
            "record",
            json!({ "spec": { "deletionPolicy": "Retain" } }),
        )
        .await;
    stage.wait_until_gone(Kind::Environment, "record").await;
    assert_eq!(stage.all_calls().len(), calls, "AWS gets no request");
    assert!(stage.aws().environment(in_a("record")).is_some());
    // When the app is listed again, the deletion goes on.
    assert!(!stage.get(Kind::Backend, "dev").await.is_null());
    stage.write_accounts(&shared(&stage.namespaces));
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert!(stage.aws().backend(in_a("dev")).is_none());
    assert_eq!(stage.calls(Operation::DeleteBackend).len(), 1);
    stage.assert_created_once();
}
