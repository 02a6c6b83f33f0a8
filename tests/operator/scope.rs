//! Several operators in one cluster, each with its own namespaces (`--watch-namespace`), in one AWS account.

use std::{collections::BTreeSet, sync::Arc};

use amplify_testkit::stage::{APP, Kind, Setup, Stage, World, backend, graphql_api, ready, storage};

amplify_testkit::tests! {
    two_operators_on_disjoint_namespaces_share_a_cluster_and_never_touch_each_others_objects,
    between_two_operators_aws_is_what_keeps_one_object_from_two_owners_and_one_environment_from_two_jobs,
}

/// Starts one operator for the first namespace and one, with the user `other`, for the second.
async fn two_operators(world: Arc<World>) -> (Stage, tokio::process::Child) {
    let setup = Setup {
        namespaces: 2,
        running: false,
        ..Setup::default()
    };
    let mut stage = Stage::with(world, setup).await;
    stage.watch_only(0);
    stage.start();
    stage.watch_only(1);
    let other = stage.start_beside("other").await;
    (stage, other)
}

async fn two_operators_on_disjoint_namespaces_share_a_cluster_and_never_touch_each_others_objects(world: Arc<World>) {
    let (mut stage, _other) = two_operators(world).await;
    for number in [0, 1] {
        stage.enter(number);
        stage.create_backend(&format!("dev{number}")).await;
    }
    for number in [0, 1] {
        stage.enter(number);
        let name = format!("dev{number}");
        stage.wait_until_ready(Kind::Backend, &name).await;
        stage.delete(Kind::Backend, &name).await;
        stage.wait_until_gone(Kind::Backend, &name).await;
    }
    stage.assert_created_once();
    // Both have all rights in both namespaces. Only the watched namespaces separate them.
    let events = stage.world.audit.events().expect("an audit log");
    for (number, user) in [(0, "operator"), (1, "other")] {
        let user = format!("system:serviceaccount:{}:{user}", stage.namespaces[0]);
        let touched: BTreeSet<_> = events
            .iter()
            .filter(|event| event.user == user && !event.resource.is_empty())
            .map(|event| event.namespace.as_str())
            .collect();
        assert_eq!(touched, BTreeSet::from([stage.namespaces[number].as_str()]), "{user}");
    }
}

async fn between_two_operators_aws_is_what_keeps_one_object_from_two_owners_and_one_environment_from_two_jobs(
    world: Arc<World>,
) {
    let (mut stage, _other) = two_operators(world).await;
    stage.create_backend("dev").await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    // Neither operator sees the other's resources, so the reason is not Conflict: AWS shows that the object exists.
    stage.enter(1);
    stage.create(Kind::Backend, "same", backend("dev")).await;
    stage.wait_for_reason(Kind::Backend, "same", "AlreadyExists").await;
    stage.delete(Kind::Backend, "same").await;
    stage.wait_until_gone(Kind::Backend, "same").await;

    // Each operator has its own slot for the environment. AWS refuses the second job, which then waits.
    assert!(stage.aws().put_auth((APP, "dev"), "users"));
    let api = graphql_api("dev", "type A @model { id: ID! }");
    let both = [
        (0, Kind::Api, "shop", api),
        (1, Kind::Storage, "photos", storage("dev")),
    ];
    for (number, kind, name, spec) in &both {
        stage.enter(*number);
        stage.create(*kind, name, spec.clone()).await;
    }
    for (number, kind, name, _) in both {
        stage.enter(number);
        stage.wait_until_ready(kind, name).await;
    }
    stage.enter(0);
    let dev = stage.get(Kind::Backend, "dev").await;
    assert_eq!(ready(&dev)["status"], "True");
    stage.assert_created_once();
    let app = stage.aws().app((APP, "")).expect("the app");
    let backend = &app.backends["dev"];
    assert!(backend.apis.contains_key("shop") && backend.storages.contains_key("photos"));
}
