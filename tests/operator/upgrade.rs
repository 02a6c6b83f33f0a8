//! Objects of an earlier version are taken over: those that commit df9f459 wrote, as its own test data of the GitOps tools'
//! health checks has them. Only names that differ between runs are replaced.

use std::{fs, path::Path, sync::Arc};

use amplify_simulator::{EnvironmentState, JobScript, Operation};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World, api_config, is_stalled, ready};

amplify_testkit::tests! {
    what_an_earlier_version_has_made_stays_ready_and_costs_nothing,
    a_job_that_an_earlier_version_has_started_is_followed_to_its_end,
    what_an_earlier_version_has_given_up_stays_given_up,
    two_apis_of_one_environment_that_an_earlier_version_has_made_are_a_conflict_that_says_so,
}

/// Returns an object that the earlier version wrote, without the values that belong to its cluster.
fn written(case: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/operator/upgrade")
        .join(format!("{case}.yaml"));
    let text = fs::read_to_string(&path).expect("test data");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// Stores the object as the earlier version left it, and returns its name. The API server counts its generation from 1.
async fn store(stage: &Stage, kind: Kind, mut object: Value) -> String {
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    stage.create(kind, &name, object["spec"].take()).await;
    let finalizers = json!({ "metadata": { "finalizers": object["metadata"]["finalizers"] } });
    stage.patch(kind, &name, finalizers).await;
    let mut status = object["status"].take();
    status["observedGeneration"] = json!(1);
    if let Some(job) = status["job"].as_object_mut() {
        job.insert("generation".to_owned(), json!(1));
    }
    for condition in status["conditions"].as_array_mut().expect("conditions") {
        condition["observedGeneration"] = json!(1);
    }
    let patch = Patch::Merge(json!({ "status": status }));
    let stored = stage
        .api(kind)
        .patch_status(&name, &PatchParams::default(), &patch)
        .await;
    assert_eq!(stored.expect("a status that is valid today").name_any(), name);
    name
}

fn waiting(flags: Setup) -> Setup {
    Setup {
        running: false,
        ..flags
    }
}

async fn what_an_earlier_version_has_made_stays_ready_and_costs_nothing(world: Arc<World>) {
    // No check falls due meanwhile.
    let mut stage = Stage::with(world, waiting(Setup::quick().flag("--drift-interval=720h"))).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let mut api = written("backend-api-healthy");
    let config = api["spec"]["resourceConfig"]
        .as_object()
        .expect("a configuration")
        .clone();
    assert!(stage.aws().put_api((APP, "dev"), "shop", config));
    let mut record = written("backend-environment-healthy");
    for field in ["spec", "metadata"] {
        let name = if field == "spec" { "environmentName" } else { "name" };
        record[field][name] = "record".into();
    }
    let arn = format!("arn:aws:amplify:eu-west-1:123456789012:apps/{APP}/backendenvironments/record");
    record["status"]["backendEnvironmentArn"] = arn.into();
    let there = EnvironmentState {
        stack_name: Some("stack".to_owned()),
        deployment_artifacts: Some("bucket".to_owned()),
    };
    assert!(stage.aws().put_environment((APP, "record"), there));
    api["metadata"]["name"] = "shop".into();
    let all = [
        (
            Kind::Backend,
            store(&stage, Kind::Backend, written("amplify-backend-healthy")).await,
        ),
        (Kind::Api, store(&stage, Kind::Api, api).await),
        (Kind::Environment, store(&stage, Kind::Environment, record).await),
    ];
    stage.start();
    stage.wait_until_logged("all resources have been read").await;
    for (kind, name) in &all {
        stage.request(*kind, name, "look").await;
        let is_looked_at = |object: &Value| object["status"]["lastHandledReconcileAt"] == "look";
        let object = stage.wait(*kind, name, "a look", is_looked_at).await;
        assert_eq!(ready(&object)["status"], "True", "{object:#}");
    }
    assert!(stage.simulator.history().writes().is_empty(), "AWS got no write");
    // One write answers the request, and stores the outputs that the earlier version did not have.
    for (_, name) in &all {
        stage.assert_writes(Some(name), 1).await;
    }
    let outputs = stage.get(Kind::Backend, "dev").await["status"]["outputs"].clone();
    assert!(
        outputs["graphqlApiId"].is_string() && outputs["stackName"].is_string(),
        "{outputs:#}"
    );
}

async fn a_job_that_an_earlier_version_has_started_is_followed_to_its_end(world: Arc<World>) {
    let mut stage = Stage::with(world, waiting(Setup::default())).await;
    let script = JobScript::default();
    let job = stage
        .aws()
        .start_job((APP, "dev"), "CreateBackend", script)
        .expect("a job");
    let mut object = written("amplify-backend-creating");
    object["status"]["job"]["id"] = job.into();
    object["status"]["job"]["requestTime"] = jiff::Timestamp::now().to_string().into();
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let name = store(&stage, Kind::Backend, object).await;
    stage.start();
    let object = stage.wait_until_ready(Kind::Backend, &name).await;
    assert_eq!(object["status"]["job"]["status"], "COMPLETED");
    assert!(stage.calls(Operation::CreateBackend).is_empty(), "it is not sent again");
}

async fn what_an_earlier_version_has_given_up_stays_given_up(world: Arc<World>) {
    let mut stage = Stage::with(world, waiting(Setup::quick().flag("--max-job-attempts=1"))).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    let refused = store(&stage, Kind::Api, written("backend-api-refused")).await;
    let failed = store(&stage, Kind::Backend, written("amplify-backend-job-failed")).await;
    stage.start();
    stage.wait_until_logged("all resources have been read").await;
    // A record's whole life takes longer than the operator needs to look at the others.
    stage
        .create(
            Kind::Environment,
            "record",
            amplify_testkit::stage::environment("record"),
        )
        .await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    for (kind, name, reason) in [
        (Kind::Api, refused, "InvalidSpec"),
        (Kind::Backend, failed, "JobFailed"),
    ] {
        let object = stage.wait_for_reason(kind, &name, reason).await;
        assert!(is_stalled(&object), "{object:#}");
    }
    assert_eq!(stage.simulator.history().writes().len(), 1, "only the record is made");
}

async fn two_apis_of_one_environment_that_an_earlier_version_has_made_are_a_conflict_that_says_so(world: Arc<World>) {
    let mut stage = Stage::with(world, waiting(Setup::quick())).await;
    assert!(stage.aws().put_backend((APP, "dev"), "storefront"));
    for name in ["shop", "blog"] {
        assert!(
            stage
                .aws()
                .put_api((APP, "dev"), name, api_config("type A @model { id: ID! }"))
        );
        let mut object = written("backend-api-healthy");
        object["metadata"]["name"] = name.into();
        object["spec"]["resourceName"] = name.into();
        object["spec"]["resourceConfig"] = api_config("type A @model { id: ID! }").into();
        store(&stage, Kind::Api, object).await;
    }
    stage.start();
    // The older of the two comes first; of the same second, the one with the smaller uid.
    let mut order = Vec::new();
    for name in ["shop", "blog"] {
        let metadata = stage.get(Kind::Api, name).await["metadata"].take();
        order.push((
            metadata["creationTimestamp"].to_string(),
            metadata["uid"].to_string(),
            name,
        ));
    }
    order.sort();
    let [(.., first), (.., second)] = order.as_slice() else {
        panic!("two APIs: {order:?}");
    };
    let words = ["BackendApi", first, "another name", "its own AWS object"];
    let object = stage.wait_for_words(Kind::Api, second, "Conflict", &words).await;
    assert!(is_stalled(&object), "{object:#}");
    let winner = stage.get(Kind::Api, first).await;
    assert_eq!(ready(&winner)["reason"], "Available", "{winner:#}");
    assert!(stage.simulator.history().writes().is_empty(), "AWS got no write");
    // The user deletes the second one: its own object goes, and the first one's stays.
    stage.delete(Kind::Api, second).await;
    stage.wait_until_gone(Kind::Api, second).await;
    let backend = stage.aws().backend((APP, "dev")).expect("a backend");
    assert_eq!(backend.apis.into_keys().collect::<Vec<_>>(), [*first]);
    assert_eq!(stage.simulator.history().writes().len(), 1);
}
