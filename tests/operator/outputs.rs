//! `status.outputs`: IDs and names for pods and scripts, and never a secret.

use std::sync::Arc;

use amplify_simulator::Operation;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World, graphql_api};

amplify_testkit::tests! {
    each_kind_shows_its_values_and_a_backend_those_of_everything_in_it,
    values_that_aws_does_not_show_as_expected_are_left_out,
    values_are_written_to_a_config_map_of_its_own_and_never_to_that_of_somebody_else,
}

/// The beginning of every secret that the simulator puts into a backend's contents.
const SECRET: &str = "never-to-be-shown";

async fn each_kind_shows_its_values_and_a_backend_those_of_everything_in_it(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    stage.create_backend("dev").await;
    let backend = stage.wait_until_ready(Kind::Backend, "dev").await;
    let outputs = &backend["status"]["outputs"];
    assert!(
        outputs["stackName"]
            .as_str()
            .is_some_and(|name| name.starts_with("amplify-")),
        "{outputs:#}"
    );
    assert!(
        outputs["graphqlApiId"].is_null() && outputs["userPoolId"].is_null(),
        "{outputs:#}"
    );

    // A user adds an auth, and the next look shows it.
    assert!(stage.aws().put_auth((APP, "dev"), "users"));
    stage.request(Kind::Backend, "dev", "look").await;
    let with_auth = |backend: &Value| backend["status"]["outputs"]["userPoolId"].is_string();
    stage
        .wait(Kind::Backend, "dev", "the values of its auth", with_auth)
        .await;

    let mut spec = graphql_api("dev", "type A @model { id: ID! }");
    for field in ["appId", "backendEnvironmentName"] {
        spec.as_object_mut().expect("a spec").remove(field);
    }
    spec["backendRef"] = json!({ "name": "dev" });
    stage.create(Kind::Api, "shop", spec).await;
    let api = stage.wait_until_ready(Kind::Api, "shop").await;
    let endpoint = api["status"]["outputs"]["graphqlApiEndpoint"]
        .as_str()
        .unwrap_or_default();
    assert!(
        endpoint.starts_with("https://") && endpoint.ends_with("/graphql"),
        "{api:#}"
    );
    // The backend's resource hears of it, and asks AWS nothing for that.
    let of_api = |backend: &Value| backend["status"]["outputs"]["graphqlApiEndpoint"] == endpoint;
    let backend = stage.wait(Kind::Backend, "dev", "the values of its API", of_api).await;
    assert_eq!(
        backend["status"]["outputs"]["graphqlApiId"],
        api["status"]["outputs"]["graphqlApiId"]
    );
    let contents = stage.calls_in(Operation::GetBackend, "dev").len();
    // Three times for the backend, once for the place of the API, and once for its values.
    assert_eq!(contents, 5);
    // Its create, the values of its auth, and those of its API.
    stage.assert_writes(Some("dev"), 4 + 1 + 1).await;
    stage.assert_writes(Some("shop"), 4).await;

    let storage = json!({
        "backendRef": { "name": "dev" }, "resourceName": "photos",
        "resourceConfig": { "permissions": { "authenticated": ["READ"] } },
    });
    stage.create(Kind::Storage, "photos", storage).await;
    let storage = stage.wait_until_ready(Kind::Storage, "photos").await;
    let bucket = storage["status"]["outputs"]["bucketName"].clone();
    assert!(bucket.is_string(), "{storage:#}");
    let of_storage = |backend: &Value| backend["status"]["outputs"]["bucketName"] == bucket;
    stage
        .wait(Kind::Backend, "dev", "the values of its storage", of_storage)
        .await;

    // With the API its values go.
    stage.delete(Kind::Api, "shop").await;
    stage.wait_until_gone(Kind::Api, "shop").await;
    let without_api = |backend: &Value| {
        let outputs = &backend["status"]["outputs"];
        outputs["graphqlApiId"].is_null() && outputs["graphqlApiEndpoint"].is_null() && outputs["bucketName"] == bucket
    };
    stage
        .wait(Kind::Backend, "dev", "no values of its API", without_api)
        .await;

    stage
        .assert_hidden(SECRET, &[(Kind::Backend, "dev"), (Kind::Storage, "photos")])
        .await;
}

async fn values_that_aws_does_not_show_as_expected_are_left_out(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let long = "x".repeat(257);
    let meta = json!({
        "providers": { "awscloudformation": { "StackName": "amplify-shop-dev", "DeploymentBucketName": 7 } },
        "auth": { "users": { "service": "Cognito", "output": {
            "UserPoolId": "two words", "AppClientID": long, "AppClientIDWeb": "web1", "AppClientSecret": SECRET,
        } } },
        "api": { "shop": { "service": "AppSync", "output": {
            "GraphQLAPIIdOutput": ["abc"], "GraphQLAPIKeyOutput": SECRET,
        } } },
    });
    assert!(stage.aws().put_meta_config((APP, "dev"), &meta.to_string()));
    let spec = json!({ "appId": APP, "backendEnvironmentName": "dev", "managementPolicy": "Observe" });
    stage.create(Kind::Backend, "dev", spec).await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    let expected = json!({ "stackName": "amplify-shop-dev", "appClientIdWeb": "web1" });
    assert_eq!(object["status"]["outputs"], expected);
    // The object is gone, and so are its values.
    assert!(stage.aws().delete_backend((APP, "dev")));
    stage.request(Kind::Backend, "dev", "look").await;
    let object = stage.wait_for_reason(Kind::Backend, "dev", "NotFound").await;
    assert!(object["status"]["outputs"].is_null(), "{object:#}");
}

async fn values_are_written_to_a_config_map_of_its_own_and_never_to_that_of_somebody_else(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    stage.put_config_map("theirs", "KEY", "theirs").await;
    let mut spec = amplify_testkit::stage::backend("dev");
    spec["outputsTo"] = json!({ "configMapName": "theirs" });
    stage.create(Kind::Backend, "dev", spec).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage
        .wait_for_event("dev", "OutputsNotWritten", "the operator did not create it")
        .await;
    let theirs = stage.config_map("theirs").await.expect("their ConfigMap");
    assert_eq!(
        theirs.data.expect("data").into_iter().collect::<Vec<_>>(),
        [("KEY".to_owned(), "theirs".to_owned())]
    );

    let to = |name: &str| json!({ "spec": { "outputsTo": { "configMapName": name } } });
    stage.patch(Kind::Backend, "dev", to("dev-outputs")).await;
    let of_stack = |map: &ConfigMap| map.data.as_ref().is_some_and(|data| data.contains_key("STACK_NAME"));
    let map = stage.wait_for_config_map("dev-outputs", of_stack).await;
    let backend = stage.get(Kind::Backend, "dev").await;
    let owner = &map.metadata.owner_references.expect("an owner")[0];
    assert_eq!(owner.uid, backend["metadata"]["uid"].as_str().expect("a uid"));
    assert_eq!(
        map.data.expect("data")["STACK_NAME"],
        backend["status"]["outputs"]["stackName"].as_str().expect("a stack")
    );

    // A user adds an auth. The ConfigMap follows the status, and a changed key is put right.
    assert!(stage.aws().put_auth((APP, "dev"), "users"));
    stage.put_config_map_key("dev-outputs", "STACK_NAME", "changed").await;
    stage.put_config_map_key("dev-outputs", "OF_A_USER", "kept").await;
    stage.request(Kind::Backend, "dev", "look").await;
    let follows = |map: &ConfigMap| {
        let data = map.data.clone().unwrap_or_default();
        data.contains_key("USER_POOL_ID") && data["STACK_NAME"] != "changed"
    };
    let map = stage.wait_for_config_map("dev-outputs", follows).await;
    let data = map.data.expect("data");
    assert!(data.values().all(|value| !value.contains(SECRET)), "{data:?}");
    assert_eq!(data["OF_A_USER"], "kept");

    // That it goes with the resource makes a ConfigMap of a user not the operator's.
    let owned_by = |owner: Value| json!({ "metadata": { "ownerReferences": [owner] }, "data": { "schema": "theirs" } });
    let mut owner = json!({ "apiVersion": backend["apiVersion"], "kind": backend["kind"], "name": "dev" });
    owner["uid"] = backend["metadata"]["uid"].clone();
    stage.put_config_map_with("schema", owned_by(owner.clone())).await;
    stage.patch(Kind::Backend, "dev", to("schema")).await;
    stage
        .wait_for_event("dev", "OutputsNotWritten", "ConfigMap schema")
        .await;
    let theirs = stage.config_map("schema").await.expect("their ConfigMap");
    let data: Vec<_> = theirs.data.expect("data").into_iter().collect();
    assert_eq!(data, [("schema".to_owned(), "theirs".to_owned())]);

    // One that a predecessor has left is awaited, until Kubernetes has deleted it.
    owner["uid"] = json!("00000000-0000-4000-8000-000000000000");
    owner["controller"] = json!(true);
    let mut left = owned_by(owner);
    left["metadata"]["labels"] = json!({ "app.kubernetes.io/managed-by": "amplify-operator" });
    stage.put_config_map_with("left", left).await;
    stage.patch(Kind::Backend, "dev", to("left")).await;
    let generation = stage.get(Kind::Backend, "dev").await["metadata"]["generation"].clone();
    let seen = |it: &Value| it["status"]["observedGeneration"] == generation;
    stage.wait(Kind::Backend, "dev", "seen", seen).await;
    // The passes of an object follow each other, so the first attempt has then been made.
    stage.request(Kind::Backend, "dev", "again").await;
    let handled = |it: &Value| it["status"]["lastHandledReconcileAt"] == "again";
    stage.wait(Kind::Backend, "dev", "looked at again", handled).await;
    stage.delete_config_map("left").await;
    stage.wait_for_config_map("left", of_stack).await;
    let notes = stage.notes("dev").await;
    assert!(!notes.iter().any(|note| note.contains("ConfigMap left")), "{notes:?}");
}
