//! A Gen 2 migration: what the tool locks gets no write, and what it has moved away does not come back.

use std::{collections::BTreeMap, sync::Arc};

use amplify_simulator::{Action, Fault, Operation};
use serde_json::{Value, json};

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World, environment, graphql_api, ready};

amplify_testkit::tests! {
    a_locked_environment_gets_no_update_and_no_delete_and_retain_goes,
    what_was_migrated_does_not_come_back_when_the_lock_moves_on,
    a_denied_lock_is_reported_once_and_writes_go_on,
}

/// A variable of the app that no status, Event, log or metric may show.
const SECRET: &str = "hunter2-of-the-app";

/// The migration tool locks this environment of the app, or (None) nothing is locked.
fn lock(stage: &Stage, environment: Option<&str>) {
    let mut variables = BTreeMap::from([("DB_PASSWORD".to_owned(), SECRET.to_owned())]);
    variables.extend(environment.map(|name| ("GEN2_MIGRATION_ENVIRONMENT_NAME".to_owned(), name.to_owned())));
    assert!(stage.aws().put_variables((APP, ""), variables));
}

/// Another process takes over, which has read no lock yet. The one before may have read it less than a minute ago.
async fn restart(stage: &mut Stage) {
    stage.terminate().await;
    stage.start();
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

async fn a_locked_environment_gets_no_update_and_no_delete_and_retain_goes(world: Arc<World>) {
    let mut stage = Stage::with(world, Setup::quick()).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    let writes = stage.simulator.history().writes().len();

    lock(&stage, Some("dev"));
    restart(&mut stage).await;
    stage.request(Kind::Backend, "dev", "look").await;
    let locked = |object: &Value| condition(object, "MigrationLocked").is_some_and(|locked| locked["status"] == "True");
    let object = stage.wait(Kind::Backend, "dev", "MigrationLocked=True", locked).await;
    assert_eq!(ready(&object)["status"], "True", "nothing is due: {object:#}");
    assert!(object["status"]["migrationLockedAt"].is_string());
    stage.wait_for_event("dev", "MigrationLocked", "lock --rollback").await;

    let edit = json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } });
    stage.patch(Kind::Api, "shop", edit).await;
    let words = ["UpdateBackendAPI is due", "undo the edit", "lock --rollback"];
    stage.wait_for_words(Kind::Api, "shop", "MigrationLocked", &words).await;
    stage.delete(Kind::Api, "shop").await;
    let words = ["DeleteBackendAPI is due", "deletionPolicy: Retain", "lock --rollback"];
    stage.wait_for_words(Kind::Api, "shop", "MigrationLocked", &words).await;
    stage
        .assert_hidden(SECRET, &[(Kind::Backend, "dev"), (Kind::Api, "shop")])
        .await;
    let retain = json!({ "spec": { "deletionPolicy": "Retain" } });
    stage.patch(Kind::Api, "shop", retain).await;
    stage.wait_until_gone(Kind::Api, "shop").await;
    // The deletion of the backend waits, too, until its stack is deleted by hand.
    stage.delete(Kind::Backend, "dev").await;
    let words = ["DeleteBackend is due", "deletionPolicy: Retain"];
    stage
        .wait_for_words(Kind::Backend, "dev", "MigrationLocked", &words)
        .await;
    let app = stage.aws().app((APP, "")).expect("the app");
    assert!(app.backends["dev"].apis.contains_key("shop"), "all is still there");
    assert!(stage.aws().delete_backend((APP, "dev")));
    stage.request(Kind::Backend, "dev", "gone").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert_eq!(stage.simulator.history().writes().len(), writes, "AWS got no write");
}

async fn what_was_migrated_does_not_come_back_when_the_lock_moves_on(world: Arc<World>) {
    let mut stage = Stage::with(world, Setup::quick()).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    let writes = stage.simulator.history().writes().len();

    lock(&stage, Some("dev"));
    restart(&mut stage).await;
    stage.request(Kind::Backend, "dev", "locked").await;
    let locked = |object: &Value| condition(object, "MigrationLocked").is_some();
    stage.wait(Kind::Backend, "dev", "MigrationLocked", locked).await;
    assert!(stage.aws().delete_backend((APP, "dev")));
    stage.request(Kind::Backend, "dev", "gone").await;
    let words = ["CreateBackend is due", "delete this resource"];
    stage
        .wait_for_words(Kind::Backend, "dev", "MigrationLocked", &words)
        .await;
    // The next environment of the app is locked.
    lock(&stage, Some("record"));
    restart(&mut stage).await;
    stage.request(Kind::Backend, "dev", "moved on").await;
    let words = ["does not create it by itself", "ignore-migration-lock"];
    let object = stage.wait_for_words(Kind::Backend, "dev", "NotFound", &words).await;
    assert!(condition(&object, "MigrationLocked").is_none(), "{object:#}");
    assert!(object["status"]["migrationLockedAt"].is_string(), "{object:#}");
    let events = stage.events("dev").await;
    assert!(
        !events.contains(&"Gone".to_owned()),
        "nothing says that it is created again: {events:?}"
    );
    assert_eq!(stage.simulator.history().writes().len(), writes, "AWS got no write");
    stage.assert_hidden(SECRET, &[(Kind::Backend, "dev")]).await;

    // An annotation for another environment changes nothing.
    let ignore =
        |name: &str| json!({ "metadata": { "annotations": { "amplify-operator.dev/ignore-migration-lock": name } } });
    stage.patch(Kind::Backend, "dev", ignore("record")).await;
    stage.request(Kind::Backend, "dev", "still").await;
    stage.wait_for_reason(Kind::Backend, "dev", "NotFound").await;
    stage.patch(Kind::Backend, "dev", ignore("dev")).await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert!(object["status"]["migrationLockedAt"].is_null(), "{object:#}");
    assert_eq!(stage.simulator.history().writes().len(), writes + 1);
}

async fn a_denied_lock_is_reported_once_and_writes_go_on(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let denied = Action::respond(403, "AccessDeniedException", "not authorized to perform amplify:GetApp");
    stage.aws().fault(Fault::on(Operation::GetApp, denied).forever());
    lock(&stage, Some("one"));
    for name in ["one", "two"] {
        stage.create(Kind::Environment, name, environment(name)).await;
        stage.wait_until_ready(Kind::Environment, name).await;
    }
    let text = stage.metrics().await;
    let counted = text
        .lines()
        .find(|line| line.starts_with("amplify_operator_migration_locks_denied_total "));
    assert_eq!(
        counted,
        Some("amplify_operator_migration_locks_denied_total 1"),
        "{text}"
    );
    stage
        .wait_for_event("one", "MigrationLockUnknown", "amplify:GetApp")
        .await;
    let mut told = Vec::new();
    for name in ["one", "two"] {
        let of_lock = |reason: &String| reason == "MigrationLockUnknown";
        told.extend(stage.events(name).await.into_iter().filter(of_lock));
    }
    assert_eq!(told.len(), 1);
    stage.assert_hidden(SECRET, &[(Kind::Environment, "one")]).await;
}
