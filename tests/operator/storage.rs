//! Objects of which an environment has only one: another client's object is never taken for the resource's own; an
//! object whose state is unknown counts neither as present nor as gone; and guests of a storage keep no rights that the
//! spec does not give them.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Category, JobFault, JobScript, Operation, ResourceState};
use serde_json::{Value, json};

use amplify_testkit::{
    specimen::{graphql_api, storage},
    stage::{APP, Kind, Setup, Stage, World, adopting, message},
};

amplify_testkit::tests! {
    a_storage_that_comes_while_an_import_fails_is_never_the_imports,
    an_import_is_neither_there_nor_gone_where_the_backend_does_not_say_what_it_has,
    another_bucket_is_not_adopted_as_the_imported_one,
    guests_lose_what_the_spec_no_longer_gives_them,
    what_is_adopted_and_not_shown_whole_is_sent_once,
    an_answer_under_another_name_is_decided_by_what_the_backend_has,
    a_storage_without_an_auth_hears_of_its_backend_and_not_of_its_neighbours,
}

const ENVIRONMENT: &str = "dev";
const PLACE: (&str, &str) = (APP, ENVIRONMENT);

async fn stage(world: Arc<World>) -> Stage {
    let stage = Stage::with(world, Setup::quick()).await;
    assert!(stage.aws().put_backend(PLACE, "storefront"));
    assert!(stage.aws().put_auth(PLACE, "users"));
    stage
}

fn import(bucket: &str) -> Value {
    json!({ "appId": APP, "backendEnvironmentName": ENVIRONMENT, "import": { "bucketName": bucket } })
}

fn linked(bucket: &str) -> ResourceState {
    let config = json!({ "bucketName": bucket });
    ResourceState {
        config: config.as_object().cloned().unwrap_or_default(),
        imported: true,
    }
}

fn with_permissions(permissions: &Value) -> ResourceState {
    let config = json!({ "bucketName": "photos-dev", "permissions": permissions });
    ResourceState {
        config: config.as_object().cloned().unwrap_or_default(),
        imported: false,
    }
}

fn names(stage: &Stage) -> Vec<String> {
    let backend = stage.aws().backend(PLACE).expect("the backend");
    backend.storages.into_keys().collect()
}

async fn a_storage_that_comes_while_an_import_fails_is_never_the_imports(world: Arc<World>) {
    let stage = stage(world).await;
    let pull = JobScript {
        duration: Some(Duration::from_secs(2)),
        ..JobScript::failed("amplify pull failed", false)
    };
    stage
        .aws()
        .job_fault(JobFault::on(Operation::ImportBackendStorage, pull).environment(ENVIRONMENT));
    stage.create(Kind::Storage, "photos", import("pictures")).await;
    stage
        .wait_until_accepted(Operation::ImportBackendStorage, ENVIRONMENT, 1)
        .await;
    assert!(
        stage
            .aws()
            .put_storage(PLACE, "media", with_permissions(&json!({ "authenticated": ["READ"] })))
    );
    let object = stage.wait_for_reason(Kind::Storage, "photos", "AlreadyExists").await;
    assert!(message(&object).contains("media"), "{object:#}");
    assert!(object["status"]["origin"].is_null(), "{object:#}");
    assert!(object["status"]["resourceName"].is_null(), "{object:#}");
    stage.delete(Kind::Storage, "photos").await;
    stage.wait_until_gone(Kind::Storage, "photos").await;
    assert!(stage.calls(Operation::DeleteBackendStorage).is_empty());
    assert_eq!(names(&stage), ["media"]);
}

async fn an_import_is_neither_there_nor_gone_where_the_backend_does_not_say_what_it_has(world: Arc<World>) {
    let stage = stage(world).await;
    stage.create(Kind::Storage, "photos", import("pictures")).await;
    let object = stage.wait_until_ready(Kind::Storage, "photos").await;
    let name = object["status"]["resourceName"].as_str().expect("a name").to_owned();
    for unreadable in ["", "[]", "nothing of the kind"] {
        assert!(stage.aws().put_meta_config(PLACE, unreadable));
        stage.simulator.history().clear();
        stage
            .request(Kind::Storage, "photos", &format!("at {unreadable:?}"))
            .await;
        stage.wait_for_calls(Operation::GetBackend, 1).await;
    }
    stage.delete(Kind::Storage, "photos").await;
    let object = stage.wait_for_reason(Kind::Storage, "photos", "AwsUnavailable").await;
    assert!(message(&object).contains("AmplifyMetaConfig"), "{object:#}");
    assert_eq!(names(&stage), [name.as_str()]);
    let meta = json!({ "storage": { &name: { "service": "S3", "serviceType": "imported", "output": [] } } });
    assert!(stage.aws().put_meta_config(PLACE, &meta.to_string()));
    stage.wait_until_gone(Kind::Storage, "photos").await;
    assert_eq!(names(&stage), [""; 0]);
    assert!(
        stage.calls(Operation::ImportBackendStorage).is_empty(),
        "there was one, before"
    );
}

async fn another_bucket_is_not_adopted_as_the_imported_one(world: Arc<World>) {
    let stage = stage(world).await;
    assert!(stage.aws().put_storage(PLACE, "media", linked("theirs")));
    stage
        .create(Kind::Storage, "photos", adopting(import("ours"), "Delete"))
        .await;
    let object = stage.wait_for_reason(Kind::Storage, "photos", "AlreadyExists").await;
    assert!(object["status"]["origin"].is_null(), "{object:#}");
    stage.delete(Kind::Storage, "photos").await;
    stage.wait_until_gone(Kind::Storage, "photos").await;
    assert_eq!(names(&stage), ["media"]);
    stage
        .create(Kind::Storage, "media", adopting(import("theirs"), "Delete"))
        .await;
    stage.wait_until_ready(Kind::Storage, "media").await;
    assert!(stage.calls(Operation::ImportBackendStorage).is_empty());
    stage.delete(Kind::Storage, "media").await;
    stage.wait_until_gone(Kind::Storage, "media").await;
    assert_eq!(names(&stage), [""; 0]);
}

async fn guests_lose_what_the_spec_no_longer_gives_them(world: Arc<World>) {
    let stage = stage(world).await;
    let mut spec = storage(ENVIRONMENT);
    spec["resourceConfig"]["permissions"] = json!({ "authenticated": ["READ"], "unAuthenticated": ["READ"] });
    stage.create(Kind::Storage, "photos", spec).await;
    stage.wait_until_ready(Kind::Storage, "photos").await;
    let guests = |stage: &Stage| {
        let backend = stage.aws().backend(PLACE).expect("the backend");
        backend.storages["photos"].config["permissions"]["unAuthenticated"].clone()
    };
    assert_eq!(guests(&stage), json!(["READ"]));
    let without = json!({ "spec": { "resourceConfig": { "permissions": { "unAuthenticated": null } } } });
    stage.patch(Kind::Storage, "photos", without).await;
    stage.wait_for_calls(Operation::UpdateBackendStorage, 1).await;
    stage.wait_until_ready(Kind::Storage, "photos").await;
    assert!(guests(&stage).is_null(), "AWS has replaced all of them");
    assert!(stage.aws().delete_resource(PLACE, Category::Storage, "photos"));
}

async fn what_is_adopted_and_not_shown_whole_is_sent_once(world: Arc<World>) {
    let stage = stage(world).await;
    let spec = |permissions: Value| {
        let mut spec = adopting(storage(ENVIRONMENT), "Retain");
        spec["resourceConfig"]["permissions"] = permissions;
        spec
    };
    let everything = json!({ "authenticated": ["READ"], "unAuthenticated": ["READ"] });
    for (name, there, wanted, updates) in [
        ("no-guests", json!({ "authenticated": ["READ"] }), everything.clone(), 1),
        (
            "no-users",
            json!({ "authenticated": [] }),
            json!({ "authenticated": ["READ"] }),
            1,
        ),
        (
            "a-new-word",
            json!({ "authenticated": ["READ", "LIST"] }),
            everything,
            1,
        ),
        (
            "the-same",
            json!({ "authenticated": ["READ"] }),
            json!({ "authenticated": ["READ"] }),
            0,
        ),
    ] {
        assert!(stage.aws().put_storage(PLACE, "photos", with_permissions(&there)));
        stage.simulator.history().clear();
        stage.create(Kind::Storage, name, spec(wanted)).await;
        stage.wait_until_ready(Kind::Storage, name).await;
        stage.request(Kind::Storage, name, "again").await;
        stage
            .wait(Kind::Storage, name, "asked for", |object| {
                object["status"]["lastHandledReconcileAt"] == "again"
            })
            .await;
        assert_eq!(stage.calls(Operation::UpdateBackendStorage).len(), updates, "{name}");
        stage.delete(Kind::Storage, name).await;
        stage.wait_until_gone(Kind::Storage, name).await;
    }
}

async fn an_answer_under_another_name_is_decided_by_what_the_backend_has(world: Arc<World>) {
    let mut setup = Setup::quick();
    setup.settings.any_name_shows_the_only_one = true;
    let stage = Stage::with(world, setup).await;
    let storages = |name: &str| json!({ "storage": { name: { "service": "S3" } } }).to_string();
    let apis = |name: &str| json!({ "api": { name: { "service": "AppSync" } } }).to_string();
    let users = json!({ "authenticated": ["READ"] });
    for (kind, category, ours, delete, theirs, meta) in [
        (
            Kind::Api,
            Category::Api,
            "shop",
            Operation::DeleteBackendApi,
            ResourceState::default(),
            apis("theirs"),
        ),
        (
            Kind::Storage,
            Category::Storage,
            "photos",
            Operation::DeleteBackendStorage,
            with_permissions(&users),
            storages("theirs"),
        ),
    ] {
        let environment = format!("with{ours}");
        let place = (APP, environment.as_str());
        assert!(stage.aws().put_backend(place, "storefront"));
        assert!(stage.aws().put_auth(place, "users"));
        let put = |name: &str| stage.aws().put_resource(place, category, name, theirs.clone());
        let spec = match kind {
            Kind::Storage => storage(&environment),
            _ => graphql_api(&environment, "type A @model { id: ID! }"),
        };
        assert!(put("theirs"));
        stage.create(kind, ours, spec).await;
        let object = stage.wait_for_reason(kind, ours, "AlreadyExists").await;
        assert!(message(&object).contains("theirs"), "{object:#}");
        assert!(stage.aws().delete_resource(place, category, "theirs"));
        stage.request(kind, ours, "it is free").await;
        stage.wait_until_ready(kind, ours).await;

        // Another client replaces the object, and the backend does not show its contents. So the object counts neither
        // as present nor as gone.
        assert!(stage.aws().delete_resource(place, category, ours) && put("theirs"));
        assert!(stage.aws().put_meta_config(place, ""));
        stage.delete(kind, ours).await;
        let object = stage.wait_for_reason(kind, ours, "AwsUnavailable").await;
        assert!(message(&object).contains("theirs"), "{object:#}");
        assert!(stage.aws().put_meta_config(place, &meta));
        stage.wait_until_gone(kind, ours).await;
        assert!(stage.calls(delete).is_empty(), "{ours}");
        assert!(
            stage.aws().delete_resource(place, category, "theirs"),
            "it is still there"
        );
    }
}

async fn a_storage_without_an_auth_hears_of_its_backend_and_not_of_its_neighbours(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    stage.create_backend(ENVIRONMENT).await;
    stage.wait_until_ready(Kind::Backend, ENVIRONMENT).await;
    let mut spec = storage(ENVIRONMENT);
    for field in ["appId", "backendEnvironmentName"] {
        spec[field] = Value::Null;
    }
    spec["backendRef"] = json!({ "name": ENVIRONMENT });
    stage.create(Kind::Storage, "photos", spec).await;
    let waits = ["no auth"];
    stage
        .wait_for_words(Kind::Storage, "photos", "DependencyNotReady", &waits)
        .await;
    let api = graphql_api(ENVIRONMENT, "type A @model { id: ID! }");
    stage.create(Kind::Api, "shop", api).await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(
        stage.calls(Operation::GetBackendStorage).len(),
        1,
        "the API is not its auth"
    );
    for (kind, name) in [(Kind::Api, "shop"), (Kind::Backend, ENVIRONMENT)] {
        stage.delete(kind, name).await;
        stage.wait_until_gone(kind, name).await;
    }
    // Much sooner than the next look, which comes after half a minute.
    let gone = ["does not exist"];
    let told = stage.wait_for_words(Kind::Storage, "photos", "DependencyNotReady", &gone);
    tokio::time::timeout(Duration::from_secs(10), told)
        .await
        .expect("it is told at once");
}
