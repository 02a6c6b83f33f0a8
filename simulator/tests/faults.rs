//! Each family of faults, seen through the Rust SDK.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use amplify_simulator::{
    Action, CloneJobEnvironment, Config, Ending, EnvironmentState, Fault, Filter, Garbage, JobFault, JobScript,
    Operation, RemoteControl, Settings, Simulator,
};
use aws_sdk_amplifybackend::{
    Client,
    error::SdkError,
    operation::{
        create_backend::{CreateBackendError, CreateBackendOutput},
        get_backend_job::GetBackendJobOutput,
    },
};
use common::{amplify, amplifybackend, credentials};

const SOON: Duration = Duration::from_secs(20);
const JOB: Duration = Duration::from_mins(1);

type Created = Result<CreateBackendOutput, SdkError<CreateBackendError>>;

fn simulator() -> (Simulator, Client) {
    let simulator = Simulator::start(&Config::default().app("d123", "shop").job_duration(JOB)).unwrap();
    let client = amplifybackend(&simulator);
    (simulator, client)
}

async fn create(client: &Client, environment: &str) -> Created {
    client
        .create_backend()
        .app_id("d123")
        .app_name("shop")
        .backend_environment_name(environment)
        .send()
        .await
}

async fn exists(client: &Client, environment: &str) -> bool {
    let read = client
        .get_backend()
        .app_id("d123")
        .backend_environment_name(environment)
        .send()
        .await;
    match read {
        Ok(_) => true,
        Err(error) => {
            assert!(error.into_service_error().is_not_found_exception());
            false
        }
    }
}

async fn job(client: &Client, environment: &str, id: &str) -> Option<GetBackendJobOutput> {
    let read = client
        .get_backend_job()
        .app_id("d123")
        .backend_environment_name(environment)
        .job_id(id)
        .send()
        .await;
    match read {
        Ok(job) => Some(job),
        Err(error) => {
            assert!(error.into_service_error().is_not_found_exception());
            None
        }
    }
}

async fn jobs(client: &Client, environment: &str) -> Vec<String> {
    let page = client
        .list_backend_jobs()
        .app_id("d123")
        .backend_environment_name(environment)
        .send()
        .await
        .unwrap();
    page.jobs().iter().map(|job| job.job_id().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_reset_before_the_work_leaves_nothing_and_one_after_it_loses_only_the_reply() {
    for (action, accepted) in [(Action::Reset, false), (Action::ResetAfter, true)] {
        let (simulator, client) = simulator();
        simulator.control().fault(Fault::on(Operation::CreateBackend, action));
        let error = create(&client, "dev").await.unwrap_err();
        assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
        let call = &simulator.history().of(Operation::CreateBackend)[0];
        assert_eq!((call.status, call.accepted, call.faulted), (None, accepted, true));
        assert_eq!(jobs(&client, "dev").await.len(), usize::from(accepted));
    }
}

#[tokio::test]
async fn an_error_after_the_work_hides_that_the_job_runs() {
    let (simulator, client) = simulator();
    for (number, status) in [500, 503, 504].into_iter().enumerate() {
        simulator
            .control()
            .fault(Fault::on(Operation::CreateBackend, Action::ServerErrorAfter { status }));
        let error = create(&client, &format!("dev{number}")).await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), status);
    }
    assert_eq!(simulator.history().accepted_creates().len(), 3);
}

#[tokio::test]
async fn damaged_replies_are_unreadable_though_the_work_was_done() {
    let (simulator, client) = simulator();
    let damages = [
        Action::Truncate,
        Action::Garbage { kind: Garbage::Html },
        Action::Garbage {
            kind: Garbage::InvalidUtf8,
        },
        Action::Garbage { kind: Garbage::Deep },
    ];
    for (number, action) in damages.into_iter().enumerate() {
        simulator
            .control()
            .fault(Fault::on(Operation::CreateBackend, action.clone()));
        let error = create(&client, &format!("dev{number}")).await.unwrap_err();
        // Only a body that ends early is a response error. A body that does not parse is a service error with status
        // 200.
        match action {
            Action::Truncate => assert!(matches!(error, SdkError::ResponseError(_)), "{error:?}"),
            _ => assert_eq!(error.raw_response().unwrap().status().as_u16(), 200, "{error:?}"),
        }
    }
    assert_eq!(simulator.history().count(Operation::CreateBackend).accepted, 4);
}

#[tokio::test]
async fn empty_and_huge_replies_still_parse() {
    let (simulator, client) = simulator();
    for (environment, kind, id) in [
        ("a", Garbage::Empty, false),
        ("b", Garbage::NoMembers, false),
        ("c", Garbage::Large, true),
    ] {
        simulator
            .control()
            .fault(Fault::on(Operation::CreateBackend, Action::Garbage { kind }));
        let created = create(&client, environment).await.unwrap();
        assert_eq!(created.job_id().is_some(), id, "{kind:?}");
    }
}

#[tokio::test]
async fn an_error_inside_a_good_reply_does_no_work() {
    let (simulator, client) = simulator();
    let action = Action::ErrorInReply {
        error: "no capacity".into(),
    };
    simulator.control().fault(Fault::on(Operation::CreateBackend, action));
    let created = create(&client, "dev").await.unwrap();
    assert_eq!((created.error(), created.job_id()), (Some("no capacity"), None));
    assert!(jobs(&client, "dev").await.is_empty());
}

#[tokio::test]
async fn a_hanging_request_is_in_flight_and_is_carried_out_even_if_the_client_has_gone() {
    let (simulator, client) = simulator();
    simulator
        .control()
        .fault(Fault::on(Operation::CreateBackend, Action::hang()));
    let filter = |in_flight| Filter {
        in_flight: Some(in_flight),
        ..Filter::operation(Operation::CreateBackend)
    };
    let hanging = tokio::spawn({
        let client = client.clone();
        async move { create(&client, "dev").await }
    });
    assert!(simulator.history().reaches(&filter(true), 1, SOON).await);
    assert!(!simulator.history().of(Operation::CreateBackend)[0].accepted);
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    assert!(jobs(&client, "dev").await.is_empty());
    simulator.control().release();
    assert!(simulator.history().reaches(&filter(false), 1, SOON).await);
    assert_eq!(jobs(&client, "dev").await.len(), 1);
}

#[tokio::test]
async fn a_request_that_arrives_late_is_reset_at_once_and_carried_out_all_the_same() {
    let (simulator, client) = simulator();
    let late = Action::ArriveLate { duration: None };
    simulator.control().fault(Fault::on(Operation::CreateBackend, late));
    let error = create(&client, "dev").await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
    assert!(jobs(&client, "dev").await.is_empty());
    assert!(!simulator.history().of(Operation::CreateBackend)[0].accepted);
    simulator.control().release();
    let arrived = Filter {
        accepted: Some(true),
        in_flight: Some(false),
        ..Filter::operation(Operation::CreateBackend)
    };
    assert!(simulator.history().reaches(&arrived, 1, SOON).await);
    assert_eq!(jobs(&client, "dev").await.len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_awss_own_has_neither_its_code_nor_its_request_id() {
    let (simulator, client) = simulator();
    let intercepted = Action::intercepted(407, "<html>log in first</html>");
    simulator
        .control()
        .fault(Fault::on(Operation::CreateBackend, intercepted));
    let error = create(&client, "dev").await.unwrap_err();
    let raw = error.raw_response().unwrap();
    assert_eq!(raw.status().as_u16(), 407);
    assert_eq!(
        (
            raw.headers().get("x-amzn-requestid"),
            raw.headers().get("x-amzn-errortype")
        ),
        (None, None)
    );
    assert!(jobs(&client, "dev").await.is_empty());
}

#[tokio::test]
async fn ids_of_jobs_begin_as_ordered() {
    let (simulator, client) = simulator();
    let prefix = "arn:aws:job/2026.11+";
    simulator
        .control()
        .change_settings(|settings| settings.job_id_prefix = prefix.into());
    let id = create(&client, "dev").await.unwrap().job_id.unwrap();
    assert!(id.starts_with(prefix), "{id}");
    assert_eq!(jobs(&client, "dev").await, [id]);
}

#[tokio::test]
async fn a_reply_that_hangs_comes_after_its_time_and_the_work_was_done_before() {
    let (simulator, client) = simulator();
    let action = Action::HangAfter {
        duration: Some(Duration::from_millis(50)),
    };
    simulator.control().fault(Fault::on(Operation::CreateBackend, action));
    create(&client, "dev").await.unwrap();
    simulator
        .control()
        .fault(Fault::on(Operation::CreateBackend, Action::hang_after()));
    let (created, ()) = tokio::join!(create(&client, "qa"), async {
        let accepted = Filter {
            accepted: Some(true),
            in_flight: Some(true),
            ..Filter::default()
        };
        assert!(simulator.history().reaches(&accepted, 1, SOON).await);
        simulator.control().release();
    });
    assert_eq!(created.unwrap().status(), Some("RUNNING"));
}

#[tokio::test]
async fn rules_hit_only_what_they_match_and_as_often_as_they_say() {
    let (simulator, client) = simulator();
    let rule = Fault::on(Operation::CreateBackend, Action::TooManyRequests)
        .environment("dev")
        .skip(1)
        .times(1);
    simulator.control().fault(rule);
    let id = simulator
        .control()
        .fault(Fault::on(Operation::GetBackend, Action::AccessDenied).forever());
    create(&client, "dev").await.unwrap();
    create(&client, "qa").await.unwrap();
    assert!(
        create(&client, "dev")
            .await
            .unwrap_err()
            .into_service_error()
            .is_too_many_requests_exception()
    );
    assert!(
        create(&client, "dev")
            .await
            .unwrap_err()
            .into_service_error()
            .is_bad_request_exception()
    );
    for _ in 0..3 {
        let error = client.get_backend().app_id("d123").send().await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 403);
    }
    assert!(simulator.control().remove_fault(id));
    client.get_backend().app_id("d123").send().await.unwrap();
}

#[tokio::test]
async fn a_job_fails_with_a_text_and_with_or_without_its_object() {
    let (simulator, client) = simulator();
    for (environment, applied) in [("dev", false), ("qa", true)] {
        let script = JobScript::failed("stack rolled back", applied);
        simulator
            .control()
            .job_fault(JobFault::on(Operation::CreateBackend, script));
        let id = create(&client, environment).await.unwrap().job_id.unwrap();
        simulator.control().advance(JOB);
        let ended = job(&client, environment, &id).await.unwrap();
        assert_eq!(
            (ended.status(), ended.error()),
            (Some("FAILED"), Some("stack rolled back"))
        );
        assert_eq!(exists(&client, environment).await, applied);
    }
    simulator.control().job_fault(JobFault::on(
        Operation::DeleteBackend,
        JobScript::failed("stuck bucket", false),
    ));
    client
        .delete_backend()
        .app_id("d123")
        .backend_environment_name("qa")
        .send()
        .await
        .unwrap();
    simulator.control().advance(JOB);
    assert!(exists(&client, "qa").await);
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_a_job_rule() {
    let (simulator, client) = simulator();
    create(&client, "dev").await.unwrap();
    simulator
        .control()
        .job_fault(JobFault::on(Operation::CreateBackend, JobScript::stuck()));
    create(&client, "dev").await.unwrap_err();
    assert_eq!(simulator.control().rules().job_faults.len(), 1);
}

#[tokio::test]
async fn a_stuck_job_keeps_others_out_until_it_is_ended() {
    let (simulator, client) = simulator();
    simulator
        .control()
        .job_fault(JobFault::on(Operation::CreateBackend, JobScript::stuck()));
    let id = create(&client, "dev").await.unwrap().job_id.unwrap();
    simulator.control().advance(Duration::from_hours(24));
    assert_eq!(job(&client, "dev", &id).await.unwrap().status(), Some("RUNNING"));
    let error = create(&client, "dev").await.unwrap_err().into_service_error();
    assert!(error.to_string().contains("already a pending job") && error.is_bad_request_exception());
    assert!(
        simulator
            .control()
            .end_job(("d123", "dev"), Some(&id), Ending::Completed)
    );
    assert!(exists(&client, "dev").await);
}

#[tokio::test]
async fn odd_words_come_before_a_late_end_and_some_jobs_disappear() {
    let (simulator, client) = simulator();
    let control = simulator.control();
    let script = JobScript::default()
        .saying(&["QUEUED", "ALMOST_DONE"])
        .lasting(JOB * 10);
    control.job_fault(JobFault::on(Operation::CreateBackend, script));
    let id = create(&client, "dev").await.unwrap();
    assert_eq!(id.status(), Some("QUEUED"));
    let id = id.job_id.unwrap();
    for (advance, status) in [(JOB * 5, "ALMOST_DONE"), (JOB * 5, "COMPLETED")] {
        control.advance(advance);
        assert_eq!(job(&client, "dev", &id).await.unwrap().status(), Some(status));
    }
    control.job_fault(JobFault::on(Operation::CreateBackend, JobScript::vanishes(true)));
    let id = create(&client, "qa").await.unwrap().job_id.unwrap();
    control.advance(JOB);
    assert!(job(&client, "qa", &id).await.is_none());
    assert!(jobs(&client, "qa").await.is_empty());
    assert!(exists(&client, "qa").await);
}

#[tokio::test]
async fn listings_and_reads_lag_behind_by_what_the_settings_say() {
    let (simulator, client) = simulator();
    let control = simulator.control();
    control.change_settings(|settings| {
        *settings = Settings {
            job_duration: Duration::ZERO,
            job_listing_delay: Duration::from_secs(30),
            read_after_create_delay: Duration::from_mins(1),
            ..Settings::default()
        };
    });
    let id = create(&client, "dev").await.unwrap().job_id.unwrap();
    let amplify = amplify(&simulator, credentials(&simulator));
    let record = || {
        amplify
            .get_backend_environment()
            .app_id("d123")
            .environment_name("dev")
            .send()
    };
    assert!(jobs(&client, "dev").await.is_empty());
    assert_eq!(job(&client, "dev", &id).await.unwrap().status(), Some("COMPLETED"));
    control.advance(Duration::from_secs(30));
    assert_eq!(jobs(&client, "dev").await, [id]);
    assert!(!exists(&client, "dev").await);
    assert!(record().await.is_err());
    // The object exists, although reads do not show it yet.
    assert!(
        create(&client, "dev")
            .await
            .unwrap_err()
            .into_service_error()
            .is_bad_request_exception()
    );
    control.advance(Duration::from_secs(30));
    assert!(exists(&client, "dev").await);
    assert!(record().await.is_ok());
}

#[tokio::test]
async fn a_clone_may_be_recorded_under_its_source() {
    let (simulator, client) = simulator();
    let control = simulator.control();
    control.put_backend(("d123", "dev"), "shop");
    control.change_settings(|settings| settings.clone_job_environment = CloneJobEnvironment::Source);
    let cloned = client
        .clone_backend()
        .app_id("d123")
        .backend_environment_name("dev")
        .target_environment_name("qa")
        .send()
        .await
        .unwrap();
    assert_eq!(cloned.backend_environment_name(), Some("dev"));
    assert_eq!(
        (jobs(&client, "dev").await.len(), jobs(&client, "qa").await.len()),
        (1, 0)
    );
    assert!(
        create(&client, "qa")
            .await
            .unwrap_err()
            .into_service_error()
            .to_string()
            .contains("pending")
    );
    control.advance(JOB);
    assert!(exists(&client, "qa").await);
}

#[tokio::test]
async fn others_change_things_behind_the_operators_back() {
    let (simulator, client) = simulator();
    let control = simulator.control();
    let at = ("d123", "dev");
    assert!(control.put_backend(at, "theirs"));
    assert!(exists(&client, "dev").await);
    let config = serde_json::json!({ "transformSchema": "type Theirs" });
    assert!(control.put_api(at, "api", config.as_object().unwrap().clone()));
    let read = client
        .get_backend_api()
        .app_id("d123")
        .backend_environment_name("dev")
        .resource_name("api");
    let schema = read.send().await.unwrap();
    assert_eq!(
        schema.resource_config().unwrap().transform_schema(),
        Some("type Theirs")
    );
    let record = EnvironmentState {
        stack_name: Some("moved".into()),
        deployment_artifacts: None,
    };
    assert!(control.put_environment(at, record));
    let amplify = amplify(&simulator, credentials(&simulator));
    let read = || {
        amplify
            .get_backend_environment()
            .app_id("d123")
            .environment_name("dev")
            .send()
    };
    assert_eq!(
        read().await.unwrap().backend_environment().unwrap().stack_name(),
        Some("moved")
    );
    let id = control.start_job(at, "UpdateBackendAuth", JobScript::stuck()).unwrap();
    assert_eq!(jobs(&client, "dev").await, [id]);
    assert!(
        client
            .delete_backend()
            .app_id("d123")
            .backend_environment_name("dev")
            .send()
            .await
            .is_err()
    );
    assert!(control.end_job(at, None, Ending::Completed));
    assert!(control.delete_api(at, "api") && !control.delete_api(at, "api"));
    assert!(control.delete_environment(at) && read().await.is_err());
    assert!(control.delete_backend(at) && !exists(&client, "dev").await);
    assert!(
        !control.put_backend(("d999", "dev"), "x")
            && control.start_job(("d999", "dev"), "X", JobScript::default()).is_none()
    );
}

#[tokio::test]
async fn backends_may_be_visible_while_they_are_made_and_apps_registered_by_use() {
    let (simulator, client) = simulator();
    simulator.control().change_settings(|settings| {
        settings.visible_while_creating = true;
        settings.auto_register_apps = true;
    });
    create(&client, "dev").await.unwrap();
    assert!(exists(&client, "dev").await);
    let other = client
        .create_backend()
        .app_id("d999")
        .app_name("x")
        .backend_environment_name("dev")
        .send();
    assert_eq!(other.await.unwrap().status(), Some("RUNNING"));
}

#[tokio::test]
async fn another_process_steers_it_over_http() {
    let (simulator, client) = simulator();
    let remote = RemoteControl::new(&simulator.url());
    remote
        .fault(&Fault::on(Operation::CreateBackend, Action::TooManyRequests))
        .await
        .unwrap();
    create(&client, "dev").await.unwrap_err();
    remote
        .job_fault(&JobFault::on(Operation::CreateBackend, JobScript::failed("x", false)))
        .await
        .unwrap();
    create(&client, "dev").await.unwrap();
    remote.advance(JOB).await.unwrap();
    let apps = remote.apps().await.unwrap();
    assert_eq!(apps[0].jobs["dev"][0].status, "FAILED");
    let calls = remote
        .history(&Filter::operation(Operation::CreateBackend))
        .await
        .unwrap();
    assert_eq!(calls, simulator.history().all());
    assert_eq!(
        calls.iter().map(|call| call.accepted).collect::<Vec<_>>(),
        [false, true]
    );
    let filtered: Vec<serde_json::Value> = remote
        .call("GET", "/history?operation=CreateBackend&accepted=true", &())
        .await
        .unwrap();
    assert_eq!(filtered.len(), 1);
    remote.set_settings(&Settings::default()).await.unwrap();
    remote.release().await.unwrap();
    remote.clear_faults().await.unwrap();
    let error = remote
        .call::<serde_json::Value>("DELETE", "/faults/77", &())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}
