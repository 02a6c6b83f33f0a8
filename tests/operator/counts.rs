//! The cost of each operation: writes to the API server and calls to AWS, counted exactly.

use std::sync::Arc;

use amplify_simulator::Operation::{
    self, CloneBackend, CreateBackend, CreateBackendApi, CreateBackendEnvironment, DeleteBackend,
    DeleteBackendEnvironment, GetApp, GetBackend, GetBackendApi, GetBackendEnvironment, GetBackendJob, ListApps,
    ListBackendEnvironments, ListBackendJobs, UpdateBackendApi,
};
use serde_json::json;

use amplify_testkit::{
    specimen::SPECIMENS,
    stage::{Kind, Setup, Stage, World, backend, environment, graphql_api},
};

amplify_testkit::tests! {
    a_create_costs_four_writes_and_four_calls_and_then_nothing_even_after_a_restart,
    a_record_costs_three_writes_and_two_calls,
    a_clone_costs_four_writes,
    an_update_costs_two_writes_and_three_calls,
    a_delete_costs_at_most_two_writes_and_two_calls,
    the_drift_checks_of_an_app_share_one_call_for_its_backends_and_one_for_its_records,
    the_writes_to_an_app_share_one_read_of_its_migration_lock,
    an_edit_that_aws_knows_nothing_of_costs_one_write_and_no_call,
    what_each_specimen_costs_follows_from_what_aws_can_do_with_it,
}

/// Returns the calls without the polls, whose number depends on the length of the job.
fn without_polls(calls: Vec<Operation>) -> Vec<Operation> {
    calls
        .into_iter()
        .filter(|operation| *operation != GetBackendJob)
        .collect()
}

async fn a_create_costs_four_writes_and_four_calls_and_then_nothing_even_after_a_restart(world: Arc<World>) {
    let mut stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["status"], "COMPLETED");
    assert_eq!(object["status"]["origin"], "Created");
    stage.assert_writes(Some("dev"), 4).await;
    stage.assert_reads("dev", 0);
    assert_eq!(
        without_polls(stage.all_calls()),
        [GetBackend, ListBackendJobs, CreateBackend, GetBackend]
    );
    assert_eq!(stage.lock_reads(), (1, 0));

    let calls = stage.all_calls().len();
    stage.terminate().await;
    stage.start();
    // The whole life of another resource takes longer than the restarted operator needs to look at this one.
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    stage.assert_writes(Some("dev"), 4).await;
    assert_eq!(
        stage.all_calls().len(),
        calls + 2,
        "no call after a restart but those for the record"
    );
    let stored = stage.get(Kind::Backend, "dev").await;
    assert_eq!(
        stored["metadata"]["resourceVersion"],
        object["metadata"]["resourceVersion"]
    );
    stage.assert_created_once();
}

async fn a_record_costs_three_writes_and_two_calls(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    let object = stage.wait_until_ready(Kind::Environment, "dev").await;
    assert_eq!(object["status"]["stackName"], "stack");
    assert!(object["status"]["backendEnvironmentArn"].is_string());
    stage.assert_writes(Some("dev"), 3).await;
    stage.assert_reads("dev", 0);
    assert_eq!(stage.all_calls(), [GetBackendEnvironment, CreateBackendEnvironment]);
}

async fn a_clone_costs_four_writes(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(
        stage
            .aws()
            .put_backend((amplify_testkit::stage::APP, "dev"), "storefront")
    );
    let spec = json!({ "appId": amplify_testkit::stage::APP, "backendEnvironmentName": "copy", "cloneFrom": { "backendEnvironmentName": "dev" } });
    stage.create(Kind::Backend, "copy", spec).await;
    let object = stage.wait_until_ready(Kind::Backend, "copy").await;
    assert_eq!(object["status"]["origin"], "Cloned");
    stage.assert_writes(Some("copy"), 4).await;
    // The job of a clone may be listed under its source or its target, so both are listed.
    let calls = without_polls(stage.all_calls());
    assert_eq!(
        calls,
        [GetBackend, ListBackendJobs, ListBackendJobs, CloneBackend, GetBackend]
    );
}

async fn an_update_costs_two_writes_and_three_calls(world: Arc<World>) {
    let stage = Stage::new(world).await;
    assert!(
        stage
            .aws()
            .put_backend((amplify_testkit::stage::APP, "dev"), "storefront")
    );
    stage
        .create(Kind::Api, "shop", graphql_api("dev", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    stage.assert_writes(Some("shop"), 4).await;
    // Two reads of the schema, which the cache leaves out: before the create, and for the look after its end.
    stage.assert_reads("shop", 2);
    assert_eq!(
        without_polls(stage.all_calls()),
        [
            GetBackendApi,
            GetBackend,
            ListBackendJobs,
            CreateBackendApi,
            GetBackendApi,
            // For the values in its status.
            GetBackend
        ]
    );

    stage.simulator.history().clear();
    stage
        .patch(
            Kind::Api,
            "shop",
            json!({ "spec": { "resourceConfig": { "transformSchema": "type B @model { id: ID! }" } } }),
        )
        .await;
    let object = stage.wait_until_ready(Kind::Api, "shop").await;
    assert_eq!(object["status"]["job"]["operation"], "UpdateBackendAPI");
    assert_eq!(object["status"]["job"]["attempt"], 2);
    stage.assert_writes(Some("shop"), 6).await;
    // The same two reads again, and one right before the update to check that it is still wanted.
    stage.assert_reads("shop", 5);
    assert_eq!(
        without_polls(stage.all_calls()),
        [GetBackendApi, UpdateBackendApi, GetBackendApi]
    );
}

async fn a_delete_costs_at_most_two_writes_and_two_calls(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create_backend("dev").await;
    stage.create(Kind::Environment, "record", environment("record")).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_until_ready(Kind::Environment, "record").await;
    stage.simulator.history().clear();
    stage.assert_writes(None, 4 + 3).await;
    let before = 4 + 3;
    stage.delete(Kind::Backend, "dev").await;
    stage.wait_until_gone(Kind::Backend, "dev").await;
    assert_eq!(without_polls(stage.all_calls()), [GetBackend, DeleteBackend]);
    stage.assert_writes(None, before + 2).await;
    // One read, right before the delete.
    stage.assert_reads("dev", 1);

    stage.simulator.history().clear();
    stage.delete(Kind::Environment, "record").await;
    stage.wait_until_gone(Kind::Environment, "record").await;
    assert_eq!(stage.all_calls(), [GetBackendEnvironment, DeleteBackendEnvironment]);
    stage.assert_writes(None, before + 3).await;
    assert!(
        stage
            .aws()
            .apps()
            .iter()
            .all(|app| app.backends.is_empty() && app.environments.is_empty())
    );
}

async fn the_drift_checks_of_an_app_share_one_call_for_its_backends_and_one_for_its_records(world: Arc<World>) {
    let mut setup = Setup::default();
    setup.flags.push("--drift-interval=20s");
    let stage = Stage::with(world, setup).await;
    let (backends, records) = (["dev", "qa"], ["one", "two", "three"]);
    for name in records {
        stage.create(Kind::Environment, name, environment(name)).await;
    }
    for name in backends {
        stage.create_backend(name).await;
    }
    for name in records {
        stage.wait_until_ready(Kind::Environment, name).await;
    }
    for name in backends {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    let writes = records.len() * 3 + backends.len() * 4;
    stage.assert_writes(None, writes).await;
    // Without an environment, GetBackend lists the backends of the app.
    let lists = |stage: &Stage| {
        let mut lists = stage.calls(GetBackend);
        lists.retain(|call| call.environment().is_empty());
        (lists, stage.calls(ListBackendEnvironments))
    };
    let looks = |stage: &Stage| {
        let of_backends = stage.calls(GetBackend).len() - lists(stage).0.len();
        of_backends + stage.calls(GetBackendEnvironment).len()
    };
    // The next check of all of them may already be under way, so counting begins with the one after it.
    let next = lists(&stage).1.len() + 1;
    stage.wait_for_calls(ListBackendEnvironments, next).await;
    let before = looks(&stage);
    // Records were checked while backends were still being created.
    let ahead = lists(&stage).1.len().saturating_sub(lists(&stage).0.len());
    stage.wait_for_calls(ListBackendEnvironments, next + 2).await;
    let (of_backends, of_records) = lists(&stage);
    for lists in [&of_backends, &of_records] {
        let gaps: Vec<_> = lists.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
        assert!(
            gaps.iter().all(|gap| *gap > 15_000),
            "one list per interval, not one per resource: {gaps:?} ms"
        );
    }
    assert!(of_backends.len() + ahead + 1 >= of_records.len(), "{of_backends:?}");
    assert_eq!(looks(&stage), before, "what the list shows is not looked at one by one");
    stage.assert_writes(None, writes).await;
    // Nothing is due to be written: the locks of all apps are read with one list for each interval.
    let lists = stage.calls(ListApps);
    let gaps: Vec<_> = lists.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
    assert!(gaps.len() >= 2 && gaps.iter().all(|gap| *gap > 15_000), "{gaps:?} ms");
    assert_eq!(stage.lock_reads().0, 1);
}

async fn the_writes_to_an_app_share_one_read_of_its_migration_lock(world: Arc<World>) {
    let stage = Stage::new(world).await;
    let names: Vec<_> = (0..20).map(|number| format!("dev{number}")).collect();
    for name in &names {
        stage.create(Kind::Environment, name, environment(name)).await;
    }
    for name in &names {
        stage.wait_until_ready(Kind::Environment, name).await;
    }
    let reads = stage.calls(GetApp);
    let gaps: Vec<_> = reads.windows(2).map(|pair| pair[1].time - pair[0].time).collect();
    assert!(gaps.iter().all(|gap| *gap >= 59_000), "{gaps:?} ms");
    stage.assert_writes(None, 3 * names.len()).await;
}

async fn an_edit_that_aws_knows_nothing_of_costs_one_write_and_no_call(world: Arc<World>) {
    let stage = Stage::new(world).await;
    stage.create(Kind::Backend, "dev", backend("dev")).await;
    assert!(
        stage
            .aws()
            .put_backend((amplify_testkit::stage::APP, "other"), "storefront")
    );
    stage
        .create(Kind::Api, "shop", graphql_api("other", "type A @model { id: ID! }"))
        .await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    stage.wait_until_ready(Kind::Api, "shop").await;
    for (kind, name) in [(Kind::Backend, "dev"), (Kind::Api, "shop")] {
        let (calls, writes) = (stage.all_calls().len(), 4);
        stage
            .patch(
                kind,
                name,
                json!({ "spec": { "jobTimeout": "3h", "deletionPolicy": "Retain" } }),
            )
            .await;
        stage.wait_until_ready(kind, name).await;
        assert_eq!(stage.all_calls().len(), calls, "{name}");
        stage.assert_writes(Some(name), writes + 1).await;
    }
}

/// Counts the reads without polls: a look; for an object that is alone in its environment, a look for another one in
/// its place; the lists of jobs; for an object whose values only its backend shows, a look at the backend.
async fn what_each_specimen_costs_follows_from_what_aws_can_do_with_it(world: Arc<World>) {
    let stage = Stage::new(world).await;
    for specimen in SPECIMENS {
        let (kind, abilities) = (specimen.kind, specimen.abilities());
        let environment = specimen.name.replace('_', "-");
        let name = environment.as_str();
        (specimen.prepare)(&stage.aws(), name);
        stage.create(kind, name, (specimen.spec)(name)).await;
        stage.wait_until_ready(kind, name).await;
        let mut writes = if abilities.has_job() { 4 } else { 3 };
        stage.assert_writes(Some(name), writes).await;
        let job = |operation| abilities.has_job().then_some(operation);
        let lists = (0..abilities.lists).map(|_| ListBackendJobs);
        let bar = abilities.is_alone.then_some(GetBackend);
        let expected: Vec<_> = [Some(specimen.look), bar]
            .into_iter()
            .flatten()
            .chain(lists)
            .chain([Some(specimen.create()), job(specimen.look)].into_iter().flatten())
            // Of an API, for the values in its status.
            .chain((specimen.create() == CreateBackendApi).then_some(GetBackend))
            .collect();
        assert_eq!(without_polls(stage.all_calls()), expected, "{name}");

        if let (Some(edit), Some(update)) = (specimen.edit, specimen.update()) {
            stage.simulator.history().clear();
            stage.patch(kind, name, edit()).await;
            stage.wait_until_ready(kind, name).await;
            writes += 2;
            stage.assert_writes(Some(name), writes).await;
            assert_eq!(
                without_polls(stage.all_calls()),
                [specimen.look, update, specimen.look],
                "{name}"
            );
        }

        stage.simulator.history().clear();
        stage.delete(kind, name).await;
        stage.wait_until_gone(kind, name).await;
        writes += if abilities.has_job() { 2 } else { 1 };
        stage.assert_writes(Some(name), writes).await;
        assert_eq!(
            without_polls(stage.all_calls()),
            [specimen.look, specimen.delete()],
            "{name}"
        );
        stage.simulator.history().clear();
    }
}
