//! The stored job: each field, as the situation makes it.

use super::scene::{
    Kind, Scene, accepted, at, ended, intent, lost, present, refusal, running, seen_job, stored, with_status,
};
use crate::{
    api::{
        Job, Operation, Origin,
        conditions::{self, Progress, Reason},
    },
    lifecycle::{Reply, Sending, Slot, State, facts::Class, recorded_beside},
};

/// Returns the job that the next step of this scene stores.
#[track_caller]
fn stores(scene: &Scene) -> Job {
    let step = scene.next();
    let state = stored(&step).unwrap_or_else(|| panic!("{step:?}"));
    state.ledger.job.clone().expect("a job")
}

/// Returns an attempt that was closed with an unknown outcome.
fn closed_unconfirmed(operation: Operation) -> Job {
    Job {
        after: Some(at(-30)),
        unconfirmed: true,
        finish_time: Some(at(1)),
        error: Some("AWS shows nothing of this attempt".into()),
        ..intent(operation)
    }
}

#[test]
fn a_job_that_a_list_shows_is_stored_as_the_list_shows_it_and_as_certain() {
    let before = Job {
        finish_time: Some(at(120)),
        ..closed_unconfirmed(Operation::CreateBackend)
    };
    let scene = Scene::new(Kind::Backend).finalized().job(before.clone()).at(3600);
    let scene = scene
        .look(None)
        .slot(Slot::Held)
        .jobs([seen_job("j-7", Operation::CreateBackend, 5)]);
    let expected = Job {
        id: Some("j-7".into()),
        backend_environment_name: Some("dev".into()),
        status: Some("RUNNING".into()),
        unconfirmed: false,
        finish_time: None,
        error: None,
        ..before
    };
    assert_eq!(stores(&scene), expected);
}

#[test]
fn a_record_that_a_look_shows_late_is_stored_as_done_and_as_certain() {
    let before = Job {
        failures: 2,
        finish_time: Some(at(120)),
        ..closed_unconfirmed(Operation::CreateBackendEnvironment)
    };
    let scene = Scene::new(Kind::Environment).finalized().job(before.clone()).at(3600);
    let scene = scene.slot(Slot::Held).look(super::scene::recorded(5));
    let expected = Job {
        failures: 0,
        unconfirmed: false,
        finish_time: Some(at(3600)),
        error: None,
        ..before
    };
    assert_eq!(stores(&scene), expected);
}

#[test]
fn the_end_of_a_job_is_stored_with_aws_s_word_and_makes_its_attempt_certain() {
    let before = Job {
        unconfirmed: true,
        failures: 1,
        ..running(Operation::CreateBackend)
    };
    let scene = |status| {
        let seen = with_status(seen_job("j-1", Operation::CreateBackend, 1), status);
        let scene = Scene::new(Kind::Backend)
            .owned(Kind::Backend.origin())
            .job(before.clone());
        scene.at(60).poll(Some(seen))
    };
    let table = [
        (scene(Job::COMPLETED).look(present()), 0, None),
        (scene(Job::FAILED).look(None), 2, Some("no capacity")),
        (scene(Job::FAILED).look(present()), 2, Some("no capacity")),
    ];
    for (scene, failures, error) in table {
        let status = scene
            .known
            .poll
            .as_ref()
            .and_then(|poll| Some(poll.job.as_ref()?.status.clone()));
        let expected = Job {
            status,
            finish_time: Some(at(60)),
            failures,
            unconfirmed: false,
            error: error.map(str::to_owned),
            ..before.clone()
        };
        assert_eq!(stores(&scene), expected);
    }
}

#[test]
fn a_job_that_aws_no_longer_knows_is_closed_with_the_reason_and_is_in_doubt_only_where_it_may_still_create() {
    let table = [
        (Kind::Backend, Operation::CreateBackend, None, true),
        (Kind::Backend, Operation::CreateBackend, present(), false),
        (Kind::Api, Operation::UpdateBackendApi, None, false),
        (Kind::Api, Operation::UpdateBackendApi, present(), false),
    ];
    for (kind, operation, seen, unconfirmed) in table {
        let before = running(operation);
        let scene = Scene::new(kind).owned(kind.origin()).job(before.clone()).at(120);
        let scene = scene.poll(None).jobs([]).config(Ok("v1")).look(seen);
        let expected = Job {
            finish_time: Some(at(120)),
            error: Some("AWS no longer knows the job j-1".into()),
            unconfirmed,
            ..before
        };
        assert_eq!(stores(&scene), expected);
    }
}

#[test]
fn an_accepted_job_is_stored_as_the_reply_describes_it_and_makes_its_attempt_certain() {
    let before = Job {
        unconfirmed: true,
        ..intent(Operation::CreateBackend)
    };
    let scene = |reply| {
        let scene = Scene::new(Kind::Backend).finalized().job(before.clone()).at(2);
        scene.sending(Sending::Intended).reply(reply)
    };
    let running = Job {
        id: Some("j-1".into()),
        backend_environment_name: Some("dev".into()),
        status: Some("RUNNING".into()),
        unconfirmed: false,
        ..before.clone()
    };
    assert_eq!(stores(&scene(accepted("j-1"))), running);
    let failed = Reply::Job {
        id: Some("j-1".into()),
        environment: Some("dev".into()),
        status: Some("RUNNING".into()),
        error: Some("no capacity".into()),
    };
    let expected = Job {
        status: Some(Job::FAILED.into()),
        finish_time: Some(at(2)),
        failures: 1,
        error: Some("no capacity".into()),
        ..running
    };
    assert_eq!(stores(&scene(failed)), expected);
}

#[test]
fn an_intent_that_made_nothing_is_closed_with_the_reason() {
    let before = Job {
        after: Some(at(-30)),
        ..intent(Operation::CreateBackend)
    };
    let scene = Scene::new(Kind::Backend).finalized().job(before.clone()).at(120);
    let nothing = scene.clone().look(None).jobs([]).suspended();
    let closed = |error: &str, unconfirmed| Job {
        finish_time: Some(at(120)),
        error: Some(error.into()),
        unconfirmed,
        ..before.clone()
    };
    assert_eq!(stores(&nothing), closed("AWS shows nothing of this attempt", true));
    let another = scene.look(present()).jobs([]);
    assert_eq!(
        stores(&another),
        closed("the AWS object exists, but this attempt did not make it", false)
    );
    // An unconfirmed attempt stores its earliest time: there was no job before it.
    let mut first = nothing;
    first.state.ledger.job.as_mut().unwrap().after = None;
    assert_eq!(stores(&first).after, Some(at(-300)));
}

#[test]
fn a_new_attempt_carries_todays_generation_and_starts_its_failures_again() {
    let before = Job {
        failures: 2,
        after: Some(at(-30)),
        ..intent(Operation::CreateBackend)
    };
    let scene = Scene::new(Kind::Backend).finalized().job(before.clone()).at(120);
    let scene = scene.look(None).jobs([]).slot(Slot::Held);
    let expected = Job {
        attempt: 2,
        request_time: at(120),
        unconfirmed: true,
        ..before.clone()
    };
    assert_eq!(stores(&scene), expected, "of the same generation");
    let expected = Job {
        generation: 2,
        failures: 0,
        ..expected
    };
    assert_eq!(stores(&scene.generation(2)), expected, "of an edited spec");
    let before = intent(Operation::CreateBackendApi);
    let scene = Scene::new(Kind::Api).finalized().job(before).at(120);
    let scene = scene.look(None).jobs([]).slot(Slot::Held).config(Ok("v2"));
    assert_eq!(
        stores(&scene).config_hash.as_deref(),
        Some("v2"),
        "of another configuration"
    );
}

#[test]
fn a_change_is_stored_with_what_became_of_it() {
    let scene = |reply| Scene::new(Kind::Backend).ready().deleting().at(2).reply(reply);
    let job = Job {
        attempt: 2,
        request_time: at(2),
        // The end of the create.
        after: Some(at(-3600)),
        ..intent(Operation::DeleteBackend)
    };
    let table = [
        (
            accepted("j-2"),
            Job {
                id: Some("j-2".into()),
                backend_environment_name: Some("dev".into()),
                status: Some("RUNNING".into()),
                ..job.clone()
            },
        ),
        (
            lost(),
            Job {
                unconfirmed: true,
                ..job.clone()
            },
        ),
        (
            refusal(Class::BadRequest),
            Job {
                finish_time: Some(at(2)),
                error: Some("AWS says BadRequest".into()),
                ..job
            },
        ),
    ];
    for (reply, expected) in table {
        assert_eq!(stores(&scene(reply)), expected);
    }
}

#[test]
fn what_aws_echoes_is_forgotten_with_a_new_update_and_kept_with_one_that_is_sent_again() {
    let update = |config: &str| Job {
        config_hash: Some(config.to_owned()),
        ..running(Operation::UpdateBackendApi)
    };
    let completed = |config| ended(update(config), Job::COMPLETED);
    for (why, before, sent, is_kept) in [
        ("sent again", completed("v2"), None, true),
        ("AWS has accepted it since", completed("v2"), Some("v2"), false),
        ("of another configuration", completed("v1"), None, false),
        ("it failed", ended(update("v2"), Job::FAILED), None, false),
    ] {
        let mut scene = Scene::new(Kind::Api).ready().job(before).config(Ok("v2"));
        scene.state.hashes.sent = sent.map(str::to_owned);
        scene.state.hashes.echoed = Some("echo".to_owned());
        let step = scene.reply(accepted("j-9")).next();
        let state = stored(&step).unwrap_or_else(|| panic!("{why}: {step:?}"));
        assert_eq!(state.hashes.echoed.is_some(), is_kept, "{why}");
        assert_eq!(state.hashes.sent.as_deref(), Some("v2"), "{why}");
    }
}

#[test]
fn a_job_that_completed_stays_as_it_ended() {
    let job = ended(running(Operation::CreateBackend), Job::COMPLETED);
    let scene = Scene::new(Kind::Backend).ready().job(job.clone()).look(present());
    assert_eq!(stores(&scene), job);
}

/// Returns a state with this reason for this generation.
fn saying(ready: bool, reason: Reason, generation: i64) -> State {
    let progress = if ready {
        Progress::Settled
    } else {
        Progress::Reconciling
    };
    let mut state = State::default();
    state.ledger.conditions = conditions::state(&[], ready, progress, reason, "it says so", generation, at(0));
    state.ledger.observed_generation = generation;
    state
}

#[test]
fn what_aws_accepted_is_recorded_beside_what_another_operator_says_of_a_newer_generation() {
    let mut accepted = saying(true, Reason::Available, 1);
    accepted.ledger.origin = Some(Origin::Created);
    accepted.ledger.job = Some(running(Operation::CreateBackendEnvironment));
    let beside = |stored: &State| {
        let recorded = recorded_beside(&accepted, stored);
        assert_eq!(recorded.ledger.origin, accepted.ledger.origin);
        assert_eq!(recorded.ledger.job, accepted.ledger.job);
        let says = conditions::ready_reason(&recorded.ledger.conditions);
        (recorded.ledger.observed_generation, says)
    };
    let mut deleting = saying(false, Reason::Deleting, 2);
    deleting.ledger.last_handled_reconcile_at = Some("now".to_owned());
    assert_eq!(beside(&deleting), (2, Some(Reason::Deleting)));
    assert_eq!(
        recorded_beside(&accepted, &deleting).ledger.last_handled_reconcile_at,
        Some("now".to_owned())
    );
    assert_eq!(
        beside(&saying(false, Reason::Creating, 1)),
        (1, Some(Reason::Available))
    );
    assert_eq!(
        beside(&State::default()),
        (1, Some(Reason::Available)),
        "nothing is said yet"
    );
}
