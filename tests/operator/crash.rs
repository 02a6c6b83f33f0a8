//! The operator dies at critical moments: nothing is lost, and nothing is started twice.

use std::{sync::Arc, time::Duration};

use amplify_simulator::{Action, Fault, Operation};
use serde_json::json;

use amplify_testkit::stage::{Kind, Stage, World, environment, graphql_api};

amplify_testkit::tests! {
    a_kill_right_after_aws_accepted_a_create_leads_to_ready_with_exactly_one_create,
    a_kill_right_after_aws_accepted_a_record_leads_to_ready_with_exactly_one_create,
    a_kill_before_the_create_was_sent_leads_to_ready_with_exactly_one_create,
    a_kill_during_an_update_leads_to_ready_with_exactly_one_update,
    sigterm_during_a_create_finishes_it,
    a_lost_reply_is_found_by_its_job,
    a_create_that_never_arrived_is_sent_again,
}

async fn a_kill_right_after_aws_accepted_a_create_leads_to_ready_with_exactly_one_create(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::hang_after()));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    stage.kill().await;
    let object = stage.get(Kind::Backend, "dev").await;
    assert!(
        object["status"]["job"]["id"].is_null(),
        "the reply never came: {object:#}"
    );
    stage.start();
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 1);
    assert_eq!(object["status"]["origin"], "Created");
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
}

async fn a_kill_right_after_aws_accepted_a_record_leads_to_ready_with_exactly_one_create(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackendEnvironment, Action::hang_after()));
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    stage.wait_for_calls(Operation::CreateBackendEnvironment, 1).await;
    stage.kill().await;
    stage.start();
    let object = stage.wait_until_ready(Kind::Environment, "dev").await;
    assert_eq!(object["status"]["origin"], "Created", "{object:#}");
    assert_eq!(stage.calls(Operation::CreateBackendEnvironment).len(), 1);
}

async fn a_kill_before_the_create_was_sent_leads_to_ready_with_exactly_one_create(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage.aws().fault(Fault::on(Operation::CreateBackend, Action::Reset));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    stage.kill().await;
    stage.start();
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 2, "{object:#}");
    stage.assert_created_once();
}

async fn a_kill_during_an_update_leads_to_ready_with_exactly_one_update(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    assert!(
        stage
            .aws()
            .put_backend((amplify_testkit::stage::APP, "dev"), "storefront")
    );
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage
        .aws()
        .fault(Fault::on(Operation::UpdateBackendApi, Action::hang_after()));
    stage
        .patch(
            Kind::Api,
            "shop",
            json!({ "spec": { "resourceConfig": { "apiName": "other" } } }),
        )
        .await;
    stage.wait_for_calls(Operation::UpdateBackendApi, 1).await;
    stage.kill().await;
    stage.start();
    stage.wait_until_ready(Kind::Api, "shop").await;
    let accepted = stage.simulator.history().count(Operation::UpdateBackendApi).accepted;
    assert_eq!(accepted, 1);
}

async fn sigterm_during_a_create_finishes_it(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    let slow = Action::HangAfter {
        duration: Some(Duration::from_secs(3)),
    };
    stage.aws().fault(Fault::on(Operation::CreateBackend, slow));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    stage.terminate().await;
    let object = stage.get(Kind::Backend, "dev").await;
    assert!(
        object["status"]["job"]["id"].is_string(),
        "the job is recorded before the end: {object:#}"
    );
    stage.start();
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.assert_created_once();
}

async fn a_lost_reply_is_found_by_its_job(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::ResetAfter));
    stage.create_backend("dev").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 1);
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
}

async fn a_create_that_never_arrived_is_sent_again(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::server_error(504)));
    stage.create_backend("dev").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 2);
    stage.assert_created_once();
}
