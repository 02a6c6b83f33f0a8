//! `managementPolicy: Observe`: the operator looks, compares and reports. AWS gets no write.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use amplify_devcluster::tools;
use amplify_simulator::App;
use serde_json::{Value, json};
use tokio::process::Command;

use amplify_testkit::{
    specimen::SPECIMENS,
    stage::{APP, Kind, Setup, Stage, World, api_config, graphql_api, is_stalled, message, ready},
};

amplify_testkit::tests! {
    a_fleet_is_imported_and_looked_at_and_aws_gets_no_write,
    each_specimen_is_observed_managed_observed_again_and_let_go,
    what_differs_is_named_and_managed_again_it_is_put_right,
}

const APPS: usize = 25;
const ENVIRONMENTS: usize = 8;

async fn program(stage: &Stage, program: std::path::PathBuf, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(stage.environment.iter().cloned())
        .env("HOME", stage.dir.path())
        .env("KUBECACHEDIR", stage.dir.path().join("kube"))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// Puts the fleet into AWS: apps with environments, and a GraphQL API in each.
fn seed(stage: &Stage) {
    for number in 0..APPS {
        let app_id = format!("d{number:04}");
        stage.aws().put_app(&App {
            account: None,
            region: None,
            app_id: app_id.clone(),
            name: format!("app-{number}"),
        });
        for environment in 0..ENVIRONMENTS {
            let environment = format!("env{environment}");
            let place = (app_id.as_str(), environment.as_str());
            assert!(stage.aws().put_backend(place, &format!("app-{number}")));
            assert!(
                stage
                    .aws()
                    .put_api(place, "shop", api_config("type A @model { id: ID! }"))
            );
        }
    }
}

async fn a_fleet_is_imported_and_looked_at_and_aws_gets_no_write(world: Arc<World>) {
    // No check falls due meanwhile, so that every call is one that the test requests.
    let mut stage = Stage::with(world, Setup::quick().flag("--drift-interval=720h")).await;
    seed(&stage);
    let before = json!(stage.aws().apps());
    let operator = amplify_testkit::stage::operator_binary();
    let manifests = program(
        &stage,
        operator,
        &["import", "--all-apps", "--namespace", &stage.namespace],
    )
    .await;
    assert_eq!(
        manifests.matches("managementPolicy: Observe").count(),
        APPS * ENVIRONMENTS * 2 + 1,
        "in each manifest, and in the first comment"
    );
    let path = stage.dir.path().join("fleet.yaml");
    std::fs::write(&path, manifests).expect("a file");
    let calls = stage.all_calls().len();
    let kubectl = tools::kubectl().await.expect("kubectl");
    let path = path.display().to_string();
    program(&stage, kubectl.clone(), &["apply", "--server-side", "-f", &path]).await;
    let is_ready = |object: &Value| ready(object)["status"] == "True";
    for number in 0..APPS {
        for environment in 0..ENVIRONMENTS {
            let name = format!("app-{number}-env{environment}");
            let object = stage.wait(Kind::Backend, &name, "Ready", is_ready).await;
            assert!(object["metadata"]["finalizers"].is_null(), "{object:#}");
            assert!(object["status"]["origin"].is_null(), "{object:#}");
            stage.wait(Kind::Api, &format!("{name}-shop"), "Ready", is_ready).await;
        }
    }
    // One look for each resource, and for an API one more for its values; kubectl's apply and one write of the status. (An API whose backend has not been seen
    // yet may report that with one more write.)
    for name in ["app-0-env0", "app-11-env3", "app-24-env7"] {
        stage.assert_writes(Some(name), 2).await;
    }
    assert_eq!(stage.all_calls().len() - calls, APPS * ENVIRONMENTS * 3);

    one_app_is_migrated(&mut stage).await;
    // An environment is removed in AWS: the status reports it, and nothing is created again.
    assert!(stage.aws().delete_backend(("d0003", "env5")));
    for (kind, name) in [(Kind::Backend, "app-3-env5"), (Kind::Api, "app-3-env5-shop")] {
        stage.request(kind, name, "look").await;
        let object = stage.wait_for_reason(kind, name, "NotFound").await;
        assert!(is_stalled(&object), "{object:#}");
        assert!(message(&object).ends_with("have it created"), "{object:#}");
    }
    let rest = ["delete", "--ignore-not-found", "--timeout=150s", "-f", &path];
    program(&stage, kubectl, &rest).await;
    assert!(stage.simulator.history().writes().is_empty(), "AWS was told nothing");
    let mut after = json!(stage.aws().apps());
    for (app, environment) in [(3, "env5"), (7, "env2")] {
        for what in ["backends", "environments"] {
            after[app][what][environment] = before[app][what][environment].clone();
        }
    }
    assert_eq!(after, before, "everything else is still there");
}

/// One environment of the fleet is managed, locked by a Gen 2 migration, deleted and taken down.
async fn one_app_is_migrated(stage: &mut Stage) {
    let (backend, api) = ("app-7-env2", "app-7-env2-shop");
    for (kind, name) in [(Kind::Backend, backend), (Kind::Api, api)] {
        let manage = json!({ "spec": { "managementPolicy": "Manage", "adoptionPolicy": "IfExists", "deletionPolicy": "Delete" } });
        stage.patch(kind, name, manage).await;
        let is_adopted = |object: &Value| object["status"]["origin"] == "Adopted" && ready(object)["status"] == "True";
        stage.wait(kind, name, "adopted", is_adopted).await;
    }
    let mark = ("GEN2_MIGRATION_ENVIRONMENT_NAME".to_owned(), "env2".to_owned());
    assert!(stage.aws().put_variables(("d0007", ""), BTreeMap::from([mark])));
    // The process that comes next has read no lock yet.
    stage.terminate().await;
    stage.start();
    let is_locked =
        |object: &Value| object["status"]["migrationLockedAt"].is_string() && ready(object)["status"] == "True";
    for (kind, name) in [(Kind::Backend, backend), (Kind::Api, api)] {
        stage.request(kind, name, "locked").await;
        stage.wait(kind, name, "locked and Ready", is_locked).await;
    }
    // `Delete` waits with its sentence, and `Retain` goes.
    stage.delete(Kind::Backend, backend).await;
    stage.wait_for_reason(Kind::Backend, backend, "InUse").await;
    stage.delete(Kind::Api, api).await;
    let words = ["DeleteBackendAPI is due", "Set deletionPolicy: Retain"];
    stage.wait_for_words(Kind::Api, api, "MigrationLocked", &words).await;
    let retain = json!({ "spec": { "deletionPolicy": "Retain" } });
    stage.patch(Kind::Api, api, retain).await;
    stage.wait_until_gone(Kind::Api, api).await;
    let words = ["DeleteBackend is due", "Set deletionPolicy: Retain"];
    stage
        .wait_for_words(Kind::Backend, backend, "MigrationLocked", &words)
        .await;
    // The user takes the environment down: nothing comes back.
    assert!(stage.aws().delete_backend(("d0007", "env2")));
    stage.request(Kind::Backend, backend, "gone").await;
    stage.wait_until_gone(Kind::Backend, backend).await;
}

async fn each_specimen_is_observed_managed_observed_again_and_let_go(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick()).await;
    let policy = |policy: &str| json!({ "spec": { "managementPolicy": policy } });
    for specimen in SPECIMENS {
        let (kind, name) = (specimen.kind, specimen.name.replace('_', "-"));
        (specimen.prepare)(&stage.aws(), &name);
        let mut spec = (specimen.spec)(&name);
        spec["managementPolicy"] = "Observe".into();
        stage.create(kind, &name, spec.clone()).await;
        let object = stage.wait_for_reason(kind, &name, "NotFound").await;
        assert!(object["metadata"]["finalizers"].is_null(), "{object:#}");
        assert!(stage.simulator.history().writes().is_empty(), "{name}");
        stage.patch(kind, &name, policy("Manage")).await;
        let object = stage.wait_until_ready(kind, &name).await;
        assert!(object["status"]["origin"].is_string(), "{object:#}");
        let is_held = |stage: &Stage| {
            let app = stage.aws().app((APP, "")).expect("the app");
            (specimen.is_held)(&app, &name, &spec)
        };
        assert!(is_held(&stage), "{name}");
        stage.patch(kind, &name, policy("Observe")).await;
        stage.wait_until_ready(kind, &name).await;
        stage.simulator.history().clear();
        stage.delete(kind, &name).await;
        stage.wait_until_gone(kind, &name).await;
        assert!(stage.all_calls().is_empty(), "{name}: {:?}", stage.all_calls());
        assert!(is_held(&stage), "{name}");
    }
}

async fn what_differs_is_named_and_managed_again_it_is_put_right(world: Arc<World>) {
    let stage = Stage::with(world, Setup::quick().checking()).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    assert!(
        stage
            .aws()
            .put_api((APP, "dev"), "shop", api_config("type B @model { id: ID! }"))
    );
    let mut spec = graphql_api("dev", "type A @model { id: ID! }");
    spec["managementPolicy"] = "Observe".into();
    spec["adoptionPolicy"] = "IfExists".into();
    spec["deletionPolicy"] = "Retain".into();
    stage.create(Kind::Api, "shop", spec).await;
    stage
        .wait_for_words(
            Kind::Api,
            "shop",
            "Drifted",
            &["spec.resourceConfig.transformSchema", "managementPolicy: Manage"],
        )
        .await;
    // A user repairs it in AWS, and a check shows that.
    assert!(
        stage
            .aws()
            .put_api((APP, "dev"), "shop", api_config("type A @model { id: ID! }"))
    );
    stage.wait_until_ready(Kind::Api, "shop").await;
    assert!(
        stage
            .aws()
            .put_api((APP, "dev"), "shop", api_config("type B @model { id: ID! }"))
    );
    stage.wait_for_reason(Kind::Api, "shop", "Drifted").await;
    assert!(stage.simulator.history().writes().is_empty());
    stage
        .patch(Kind::Api, "shop", json!({ "spec": { "managementPolicy": "Manage" } }))
        .await;
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(object["status"]["origin"], "Adopted");
    assert_eq!(stage.schema("dev"), "type A @model { id: ID! }");
    assert_eq!(stage.simulator.history().writes().len(), 1);
}
