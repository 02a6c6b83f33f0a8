//! The texts of conditions and messages. They contain nothing that changes while a resource waits.

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, message, says},
};
use crate::{
    api::{
        Job, Operation,
        conditions::{MESSAGE_LIMIT, Reason},
    },
    lifecycle::{Step, facts::Class, report::with_advice},
};

/// Checks that a waiting pass writes nothing, in any number of runs.
#[track_caller]
fn waits_without_a_write(play: &mut Play, seconds: i64) {
    let before = play.scene.state.clone();
    for _ in 0..4 {
        play.after(seconds).pass();
        assert_eq!(play.scene.state, before);
    }
}

#[test]
fn nothing_that_waits_writes() {
    let mut running = Play::creating(Kind::Backend);
    waits_without_a_write(&mut running, 31);
    let mut busy = Play::applied(Kind::Backend);
    busy.aws.busy = true;
    busy.pass();
    waits_without_a_write(&mut busy, 17);
    let mut pending = Play::applied(Kind::Api);
    pending.aws.foreign_job("x-1", Operation::DeleteBackendApi, -9);
    pending.pass();
    waits_without_a_write(&mut pending, 17);
    let mut unknown = Play::applied(Kind::Backend);
    unknown.answers([Answer::LoseRequest]);
    unknown.pass();
    waits_without_a_write(&mut unknown, 25);
    let mut failed = Play::creating(Kind::Backend);
    failed.after(10).job_ends("FAILED");
    failed.pass();
    waits_without_a_write(&mut failed, 14);
    let mut ready = Play::ready(Kind::Api);
    ready.pass();
    waits_without_a_write(&mut ready, 3600);
    let mut timed_out = Play::creating(Kind::Backend);
    timed_out.after(8000).pass();
    waits_without_a_write(&mut timed_out, 300);
}

#[test]
fn observed_generation_and_conditions_follow_the_spec_and_never_go_back() {
    let mut play = Play::ready(Kind::Backend);
    play.scene.resource.generation = 5;
    play.pass().is("status", "ready: Available");
    assert_eq!(play.scene.state.ledger.observed_generation, 5);
    play.scene.resource.generation = 4;
    play.pass();
    assert_eq!(
        play.scene.state.ledger.observed_generation, 5,
        "a stale view does not turn it back"
    );
}

#[test]
fn a_transition_time_changes_with_the_status_and_not_with_the_reason() {
    let mut play = Play::applied(Kind::Backend);
    play.aws.busy = true;
    play.pass();
    let since = |play: &Play| play.scene.state.ledger.conditions[0].last_transition_time.0;
    assert_eq!(since(&play), at(0));
    play.aws.busy = false;
    play.after(100)
        .pass()
        .is("slot look list finalizer intend create record", "working: Creating");
    assert_eq!(since(&play), at(0));
    play.job_ends("COMPLETED");
    play.after(100).pass();
    assert_eq!(since(&play), at(200));
}

#[test]
fn suspended_keeps_the_status_of_ready_and_is_written_once() {
    for (play, says) in [
        (Play::applied(Kind::Backend), "still: Suspended"),
        (Play::ready(Kind::Backend), "ready: Suspended"),
        (Play::ready(Kind::Environment), "ready: Suspended"),
    ] {
        let mut play = play;
        play.scene.resource.suspend = true;
        play.scene.resource.generation = 2;
        play.pass().is("status", says).wakes(None);
        assert_eq!(play.scene.state.ledger.observed_generation, 2);
        play.after(9000).pass().is("", says);
        play.restart().pass().is("", says);
    }
}

#[test]
fn a_suspended_api_does_not_pass_for_current_while_an_edit_waits() {
    let mut play = Play::ready(Kind::Api);
    play.scene.resource.suspend = true;
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.pass().is("resolve status", "ready: Suspended");
    assert_eq!(play.scene.state.ledger.observed_generation, 1);
    play.scene.resource.suspend = false;
    play.scene.resource.generation = 3;
    play.pass().is("resolve look slot update record", "working: Updating");
}

#[test]
fn no_condition_speaks_of_a_generation_below_0() {
    let mut play = Play::applied(Kind::Api);
    play.scene.resource.suspend = true;
    play.aws.config = Err("waits for ConfigMap schema".into());
    play.pass().is("resolve status", "still: Suspended");
    assert_eq!(play.scene.state.ledger.observed_generation, -1);
    assert!(
        play.scene
            .state
            .ledger
            .conditions
            .iter()
            .all(|condition| condition.observed_generation >= Some(0))
    );
}

#[test]
fn every_working_and_stalled_reason_says_so_and_nothing_else() {
    let mut reasons = Vec::new();
    for class in [
        Class::NotFound,
        Class::BadRequest,
        Class::Pending,
        Class::Throttled,
        Class::QuotaExceeded,
        Class::AccessDenied,
        Class::Unavailable,
        Class::AccountNotFound,
        Class::AccountChanged,
    ] {
        let step = Scene::new(Kind::Backend).failed(class).next();
        let Step::Settle { state, .. } = &step else {
            panic!("{step:?}")
        };
        reasons.push(says(state));
    }
    for said in reasons {
        let (word, reason) = said.split_once(": ").unwrap();
        let stalled = Reason::parse(reason).unwrap().is_stalled() && reason != "AccessDenied";
        assert_eq!(word == "stalled", stalled, "{said}");
    }
}

#[test]
fn the_messages_of_a_life_name_operation_and_job() {
    let mut play = Play::applied(Kind::Backend);
    play.crash_after("intend");
    assert_eq!(message(&play.scene.state), "CreateBackend is being sent");
    let mut play = Play::creating(Kind::Backend);
    assert_eq!(message(&play.scene.state), "CreateBackend is running (job j-1)");
    play.job_ends("COMPLETED");
    let object = play.aws.object.take();
    play.wake();
    assert_eq!(
        message(&play.scene.state),
        "CreateBackend completed (job j-1); AWS does not show the object yet"
    );
    play.aws.object = object;
    play.wake();
    assert_eq!(message(&play.scene.state), "CreateBackend completed (job j-1)");
}

#[test]
fn only_a_text_that_leaves_no_room_for_the_advice_is_shortened() {
    let advice = "; set deletionPolicy: Retain";
    let room = MESSAGE_LIMIT - advice.len();
    for length in [0, 1, room - 1, room, room + 1, 2 * room] {
        let text = "x".repeat(length);
        let message = with_advice(&text, &advice[2..]);
        assert!(message.len() <= MESSAGE_LIMIT && message.ends_with(advice));
        assert_eq!(message.starts_with(&text), length <= room, "{length}");
    }
}

#[test]
fn a_long_error_is_cut() {
    let mut play = Play::applied(Kind::Backend);
    play.crash_after("intend");
    let scene = play.scene.clone().reply(crate::lifecycle::Reply::Job {
        id: Some("j-1".into()),
        environment: None,
        status: None,
        error: Some("ä".repeat(4000)),
    });
    let step = scene.next();
    let Step::RecordAccepted(state) = &step else {
        panic!("{step:?}")
    };
    let job = state.ledger.job.as_ref().unwrap();
    assert!(job.error.as_ref().unwrap().len() <= 1024);
    assert!(message(state).len() <= 1024);
    assert_eq!(job.status.as_deref(), Some(Job::FAILED));
}
