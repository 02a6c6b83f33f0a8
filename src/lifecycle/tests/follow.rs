//! Rules 5 and 6: wait for the job, and handle its failure.

use jiff::SignedDuration;

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, ended, message, name, present, running, says, seen_job, with_status},
};
use crate::{
    api::{Operation, Origin, conditions::Reason},
    lifecycle::{Equality, Sending, Step, Write, facts::Class},
};

#[test]
fn polls_are_as_far_apart_as_the_other_jobs_let_them_and_5_minutes_after_the_timeout() {
    for (polled, apart) in [(12, 5), (105, 42), (1_000, 60)] {
        let mut play = Play::creating(Kind::Backend);
        play.scene.surroundings.polled = polled;
        play.scene.surroundings.rate = 5.0;
        while play.now() < at(9000) {
            let before = play.now();
            play.wake();
            let elapsed = before.duration_since(at(0)).as_secs();
            let delay = play.now().duration_since(before).as_secs();
            match elapsed {
                // The first wait is that of the only job, as when the job was recorded.
                0 => assert_eq!(delay, 5),
                // The timeout is reported in time.
                ..7200 => assert_eq!(delay, apart.min(7200 - elapsed), "after {elapsed} s"),
                _ => assert_eq!(delay, 300, "after {elapsed} s"),
            }
        }
        assert_eq!(play.scene.says(), "stalled: JobTimedOut");
    }
}

#[test]
fn a_job_past_its_timeout_is_stalled_and_its_late_end_is_honoured() {
    for (spec, seconds) in [(None, 7200), (Some(90), 5400)] {
        let mut play = Play::creating(Kind::Backend);
        play.scene.resource.job_timeout = spec.map(SignedDuration::from_mins);
        play.after(seconds - 1).pass().is("poll", "working: Creating").wakes(1);
        play.wake().is("poll status", "stalled: JobTimedOut").wakes(300);
        play.wake().is("poll", "stalled: JobTimedOut");
        play.aws.reads = Some(Class::Throttled);
        play.wake().is("poll", "stalled: JobTimedOut");
        play.aws.reads = None;
        play.job_ends("COMPLETED");
        play.wake().is("poll look status", "ready: Available");
    }
}

#[test]
fn a_job_that_was_recorded_after_its_timeout_is_polled_before_it_is_stalled() {
    let scene = |seconds| {
        Scene::new(Kind::Backend)
            .owned(Origin::Created)
            .job(running(Operation::CreateBackend))
            .sending(Sending::Recorded)
            .at(seconds)
    };
    assert!(matches!(scene(7199).next(), Step::Settle { .. }));
    assert_eq!(name(&scene(7200).next()), "poll");
}

#[test]
fn only_completed_and_failed_are_ends_and_the_word_of_aws_is_stored() {
    for word in ["PENDING", "completed", "CANCELLED", ""] {
        let mut play = Play::creating(Kind::Backend);
        play.aws.jobs[0].status = word.into();
        play.wake().is("poll status", "working: Creating");
        assert_eq!(play.job().status.as_deref(), Some(word));
        play.wake().is("poll", "working: Creating");
    }
}

#[test]
fn a_404_after_completed_is_believed_only_after_the_absence_grace() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::creating(kind);
        play.job_ends("COMPLETED");
        play.aws.object = None;
        let did = play.wake();
        assert!(did.steps.ends_with("look status"), "{did:?}");
        assert!(
            did.says.starts_with("working"),
            "not Ready before it has been seen: {did:?}"
        );
        let finished = play.job().finish_time.unwrap();
        let mut late = play.clone();
        while play.now() < finished + jiff::SignedDuration::from_secs(299) {
            let did = play.wake();
            assert!(
                did.steps.ends_with("look") || play.now() >= finished + jiff::SignedDuration::from_secs(300),
                "{did:?}"
            );
        }
        // The absence is believed by now. The object is never created a second time, because AWS has said that it made
        // it.
        assert_eq!(play.scene.says(), "stalled: JobFailed");
        assert!(message(&play.scene.state).contains("(job j-1)"));
        assert_eq!(play.scene.state.ledger.origin, Some(kind.origin()));
        for _ in 0..3 {
            let did = play.wake().wakes(3600);
            assert!(did.steps.ends_with("look"), "{did:?}");
        }
        assert_eq!(play.aws.carried_out.len(), 1);
        let mut shown = play.clone();
        shown.aws.put(at(0));
        assert_eq!(shown.wake().says, "ready: Available");
        assert_eq!(shown.job().error, None);
        // An object that was once shown and is gone is made again.
        shown.aws.object = None;
        shown.wake();
        assert_eq!(shown.aws.carried_out.len(), 2);
        late.after(200).aws.put(at(0));
        let did = late.pass();
        assert!(did.steps.ends_with("look status"), "{did:?}");
        assert_eq!(did.says, "ready: Available");
        assert_eq!(late.aws.carried_out.len(), 1);
    }
}

#[test]
fn a_failed_create_that_left_nothing_is_tried_again_after_1_and_5_minutes_and_then_stalled() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::creating(kind);
        let working = play.scene.working();
        for (failures, minutes) in [(1, 1), (2, 5)] {
            play.after(10).job_ends("FAILED");
            let did = play.pass().wakes(minutes * 60);
            assert!(
                did.steps.starts_with("poll") && did.steps.ends_with("look status"),
                "{did:?}"
            );
            assert_eq!(did.says, working);
            assert!(message(&play.scene.state).contains("no capacity"));
            assert_eq!(play.job().failures, failures);
            assert_eq!(play.scene.state.ledger.origin, None, "it owns nothing");
            play.after(30)
                .pass()
                .is(if kind == Kind::Api { "resolve look" } else { "look" }, working);
            let did = play.wake();
            assert!(did.steps.ends_with("look slot list intend create record"), "{did:?}");
            assert_eq!(play.job().failures, failures);
        }
        play.after(10).job_ends("FAILED");
        assert_eq!(play.pass().wakes(3210).says, "stalled: JobFailed");
        let text = format!("{} failed 3 times in a row: no capacity; ", kind.create());
        assert!(message(&play.scene.state).starts_with(&text));
        let look = if kind == Kind::Api { "resolve look" } else { "look" };
        play.pass().is("", "stalled: JobFailed");
        for _ in 0..3 {
            play.wake().is(look, "stalled: JobFailed").wakes(3600);
        }
        assert_eq!(play.aws.carried_out.len(), 3);
        assert!(
            play.aws
                .carried_out
                .iter()
                .all(|write| *write == crate::lifecycle::Write::Create),
            "nothing is deleted"
        );
    }
}

#[test]
fn the_third_wait_between_failures_is_15_minutes() {
    let mut play = Play::creating(Kind::Backend);
    play.scene.settings.max_job_attempts = 9;
    for minutes in [1, 5, 15, 15] {
        play.after(10).job_ends("FAILED");
        play.pass().wakes(minutes * 60);
        play.wake();
    }
}

#[test]
fn a_failed_create_that_left_something_is_stalled_and_never_available() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::creating(kind);
        play.aws.put(at(1));
        play.job_ends("FAILED");
        let did = play.wake().wakes(3595);
        assert_eq!(did.says, "stalled: JobFailed");
        assert!(message(&play.scene.state).contains("apply it again"));
        assert_eq!(
            play.scene.state.ledger.origin,
            Some(kind.origin()),
            "deleting the resource clears it away"
        );
        play.pass().is("", "stalled: JobFailed");
        let mut cleared = play.clone();
        cleared.aws.object = None;
        assert!(
            cleared.wake().steps.ends_with("intend create record"),
            "seen at the next check"
        );
        // Neither a request nor an edit makes it Available.
        play.scene.resource.request = Some("again".into());
        assert_eq!(play.pass().says, "stalled: JobFailed");
        play.scene.resource.generation = 2;
        assert_eq!(play.pass().says, "stalled: JobFailed");
        assert_eq!(play.aws.carried_out.len(), 1);
        // After somebody has removed the object by hand, a request creates it again.
        play.aws.object = None;
        play.scene.resource.request = Some("once more".into());
        assert!(play.pass().steps.ends_with("intend create record"));
    }
}

#[test]
fn a_create_that_fails_at_once_is_a_failed_job() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::Fail]);
    play.pass()
        .is(
            "look slot list finalizer intend create record look",
            "working: Creating",
        )
        .wakes(60);
    assert_eq!(play.job().failures, 1);
    assert_eq!(play.scene.state.ledger.origin, None, "it owns nothing");
    play.wake()
        .is("look slot list intend create record", "working: Creating");
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::Fail]);
    play.crash_after("record");
    play.aws.put(at(1));
    play.pass().is("look status", "stalled: AlreadyExists");
    assert!(message(&play.scene.state).contains("no capacity"), "and why");
    assert_eq!(
        play.scene.state.ledger.origin, None,
        "nothing proves that it is its own"
    );
}

#[test]
fn a_failed_update_is_tried_again_with_the_same_backoff_and_limit() {
    let mut play = Play::ready(Kind::Api);
    play.aws.config = Ok("v2".into());
    play.aws.echoes = crate::lifecycle::Equality::Different;
    play.scene.resource.generation = 2;
    play.pass().is("resolve look slot update record", "working: Updating");
    for minutes in [1, 5] {
        play.after(10).job_ends("FAILED");
        play.pass()
            .is("poll resolve look status", "working: Updating")
            .wakes(minutes * 60);
        play.wake().is("resolve look slot update record", "working: Updating");
    }
    play.after(10).job_ends("FAILED");
    play.pass()
        .is("poll resolve look status", "stalled: JobFailed")
        .wakes(3210);
    play.pass().is("", "stalled: JobFailed");
    play.wake().is("resolve look", "stalled: JobFailed").wakes(3600);
    let mut another = play.clone();
    another.aws.config = Ok("v3".into());
    another
        .wake()
        .is("resolve look slot update record", "working: Updating");
    assert_eq!(another.job().failures, 0, "another text in the ConfigMap starts again");
    play.scene.resource.generation = 3;
    play.pass().is("resolve look slot update record", "working: Updating");
    assert_eq!(play.job().failures, 0, "a new generation starts again");
}

#[test]
fn a_refusal_between_two_failures_waits_by_its_own_class() {
    let mut play = Play::creating(Kind::Backend);
    play.after(10).job_ends("FAILED");
    play.pass().wakes(60);
    play.answers([Answer::Refuse(Class::Throttled)]);
    play.wake()
        .is("look slot list intend create status", "working: Throttled");
    assert_eq!(play.job().failures, 1);
    play.wake()
        .is("look slot list intend create record", "working: Creating");
    assert_eq!(play.job().failures, 1);
}

#[test]
fn failures_start_again_with_a_new_generation_or_a_handled_request() {
    let stalled = || {
        let mut play = Play::creating(Kind::Backend);
        for _ in 0..3 {
            play.after(1000).job_ends("FAILED");
            play.pass();
            play.after(1000).pass();
        }
        assert_eq!(
            (play.scene.says().as_str(), play.job().failures),
            ("stalled: JobFailed", 3)
        );
        play
    };
    let mut edited = stalled();
    edited.scene.resource.generation = 2;
    edited
        .pass()
        .is("look slot list intend create record", "working: Creating");
    assert_eq!((edited.job().failures, edited.job().generation), (0, 2));
    let mut requested = stalled();
    requested.scene.resource.request = Some("now".into());
    requested
        .pass()
        .is("look slot list intend create record", "working: Creating");
    assert_eq!(requested.job().failures, 0);
    assert_eq!(
        requested.scene.state.ledger.last_handled_reconcile_at.as_deref(),
        Some("now")
    );
    requested.after(10).job_ends("FAILED");
    requested.pass().wakes(60);
    assert_eq!(requested.job().failures, 1, "the same request counts once");
    // A request counts as handled even if the environment is busy.
    let mut waiting = stalled();
    waiting.scene.resource.request = Some("now".into());
    waiting.aws.busy = true;
    waiting.pass().is("look slot status", "working: WaitingForJob");
    waiting.aws.busy = false;
    waiting
        .wake()
        .is("slot look list intend create record", "working: Creating");
}

#[test]
fn a_request_made_while_the_job_runs_is_answered_by_a_poll() {
    let mut play = Play::creating(Kind::Backend);
    play.scene.resource.request = Some("now".into());
    play.wake().is("poll status", "working: Creating");
    let handled = play.scene.state.ledger.last_handled_reconcile_at.as_deref();
    assert_eq!(handled, Some("now"));
    play.wake().is("poll", "working: Creating");
}

#[test]
fn a_failure_without_a_reason_is_not_called_running() {
    let mut play = Play::creating(Kind::Backend);
    play.after(10).job_ends("FAILED");
    play.aws.jobs[0].error = None;
    play.pass();
    assert_eq!(
        message(&play.scene.state),
        "CreateBackend failed and will be tried again: AWS gave no reason"
    );
}

#[test]
fn an_edit_made_while_the_job_runs_is_carried_out_next() {
    let mut play = Play::creating(Kind::Api);
    play.aws.config = Ok("v2".into());
    play.scene.resource.generation = 2;
    play.wake().is("poll", "working: Creating");
    assert_eq!(play.scene.state.ledger.observed_generation, 1);
    play.job_ends("COMPLETED");
    play.aws.holds = "v1".into();
    play.wake()
        .is("poll resolve look store slot update record", "working: Updating");
    assert_eq!(play.job().generation, 2);
    play.job_ends("COMPLETED");
    play.wake().is("poll resolve look status", "ready: Available");
    assert_eq!(play.scene.state.ledger.observed_generation, 2);
}

#[test]
fn ready_for_the_generation_of_the_job_is_said_before_the_edit_is_carried_out() {
    let mut scene = Scene::new(Kind::Api)
        .owned(Origin::Created)
        .said(Reason::Creating)
        .generation(2)
        .job(running(Operation::CreateBackendApi))
        .look(present())
        .poll(Some(with_status(
            seen_job("j-1", Operation::CreateBackendApi, 1),
            "COMPLETED",
        )));
    scene = scene.config(Ok("v2"));
    // The job was found in a list, so its configuration is unknown.
    let step = scene.next();
    let Step::Record(state) = &step else { panic!("{step:?}") };
    assert_eq!(super::scene::says(state), "working: Creating");
    // AWS accepted the configuration from this resource.
    scene.state.hashes.sent = Some("v1".into());
    let step = scene.next();
    let Step::Record(state) = &step else { panic!("{step:?}") };
    assert_eq!(super::scene::says(state), "ready: Available");
    assert_eq!(state.ledger.observed_generation, 1);
}

#[test]
fn a_vanished_job_is_an_unknown_outcome() {
    let vanished = || {
        let mut play = Play::creating(Kind::Backend);
        play.aws.forgets_jobs = true;
        play
    };
    // The list still contains the job.
    let mut listed = vanished();
    listed.wake().is("poll list", "working: Creating");
    listed.job_ends("COMPLETED");
    listed.wake().is("poll list look status", "ready: Available");
    // AWS does not know the job at all, and two minutes have not passed.
    let mut gone = vanished();
    gone.aws.jobs.clear();
    gone.wake().is("poll list look", "working: Creating");
    // Two minutes have passed: a new attempt, which keeps `after` and is unconfirmed.
    gone.after(120);
    let mut sending = gone.clone();
    sending.crash_after("intend");
    assert!(sending.job().unconfirmed);
    gone.pass().is(
        "poll list look store slot list intend create record",
        "working: Creating",
    );
    assert_eq!(gone.job().attempt, 2);
    assert_eq!(gone.aws.carried_out.len(), 2);
    // The object is there nevertheless.
    let mut there = vanished();
    there.aws.jobs.clear();
    there.aws.put(at(1));
    there.after(120).pass().is("poll list look status", "ready: Available");
}

#[test]
fn of_a_vanished_job_a_list_or_a_look_made_before_the_two_minutes_proves_nothing() {
    let scene = Scene::new(Kind::Backend)
        .owned(Origin::Created)
        .job(running(Operation::CreateBackend))
        .poll(None);
    let early_list = scene.clone().at(119).jobs([]).at(121).look(None);
    assert_eq!(name(&early_list.next()), "settle");
    let early_look = scene.clone().at(119).look(None).at(121).jobs([]);
    assert_eq!(name(&early_look.next()), "settle");
    assert_eq!(name(&scene.at(120).look(None).jobs([]).next()), "store");
}

#[test]
fn a_vanished_job_that_shows_up_again_is_still_ours() {
    let mut play = Play::creating(Kind::Backend);
    let job = play.aws.jobs.pop().unwrap();
    play.after(120);
    play.aws.busy = true;
    play.pass()
        .is("poll list look store slot status", "working: WaitingForJob");
    play.aws.busy = false;
    play.aws.jobs.push(job);
    play.wake().is("slot look list record", "working: Creating");
    assert_eq!(play.job().id.as_deref(), Some("j-1"));
}

#[test]
fn what_aws_shows_long_after_the_end_of_an_update_is_brought_in_line_where_it_differs() {
    for (end, shown, steps) in [
        // Right after the end, the difference is only AWS's way of writing the result of the job.
        (590, "v2, as AWS writes it", "poll resolve look status"),
        (400, "by hand", "poll resolve look store slot update record"),
        (400, "v2", "poll resolve look status"),
    ] {
        let mut play = Play::ready(Kind::Api);
        play.scene.resource.generation = 2;
        play.aws.config = Ok("v2".into());
        play.pass().is("resolve look slot update record", "working: Updating");
        play.job_ends("COMPLETED");
        play.aws.jobs.last_mut().unwrap().update_time = Some(at(end));
        play.aws.holds = shown.into();
        play.scene.now = at(600);
        assert_eq!(play.pass().steps, steps, "{shown}");
    }
}

#[test]
fn a_vanished_update_is_repeated_only_where_a_look_shows_it_missing() {
    use crate::lifecycle::Equality;
    for (echoes, steps) in [
        (Equality::Equal, "poll list resolve look status"),
        (Equality::Unknown, "poll list resolve look store slot update record"),
        (Equality::Different, "poll list resolve look store slot update record"),
    ] {
        for origin in [Origin::Created, Origin::Adopted] {
            let mut play = Play::ready(Kind::Api);
            play.scene.state.ledger.origin = Some(origin);
            play.aws.config = Ok("v2".into());
            play.aws.echoes = Equality::Different;
            play.scene.resource.generation = 2;
            play.pass().is("resolve look slot update record", "working: Updating");
            play.aws.jobs.clear();
            play.aws.echoes = echoes;
            assert_eq!(play.after(120).pass().steps, steps, "{echoes:?} {origin:?}");
        }
    }
}

#[test]
fn suspension_in_the_middle_of_a_job_asks_nothing_until_it_ends() {
    for kind in [Kind::Backend, Kind::Clone] {
        let mut play = Play::creating(kind);
        play.scene.resource.suspend = true;
        play.scene.resource.generation = 2;
        play.pass().is("status", "still: Suspended").wakes(None);
        play.after(3600).pass().is("", "still: Suspended");
        play.job_ends("COMPLETED");
        play.after(3600).pass().is("", "still: Suspended");
        play.scene.resource.suspend = false;
        play.scene.resource.generation = 3;
        let did = play.pass();
        assert_eq!(did.says, "ready: Available");
        assert_eq!(play.aws.carried_out.len(), 1);
    }
}

#[test]
fn a_job_with_an_id_survives_a_restart_at_every_step() {
    for step in ["record", "poll", "look"] {
        let mut play = Play::applied(Kind::Backend);
        if step == "record" {
            play.crash_after(step);
        } else {
            play.pass();
            play.job_ends("COMPLETED");
            play.crash_after(step);
        }
        if step == "record" {
            play.pass().is("poll", "working: Creating");
            play.job_ends("COMPLETED");
        }
        play.pass().is("poll look status", "ready: Available");
        assert_eq!(play.aws.carried_out.len(), 1);
    }
}

#[test]
fn a_completed_job_that_made_something_else_has_drifted() {
    let mut play = Play::creating(Kind::Backend);
    play.job_ends("COMPLETED");
    play.aws.object.as_mut().unwrap().differs.push("appName");
    play.wake().is("poll look status", "stalled: Drifted");
}

#[test]
fn an_ended_job_is_not_polled_again() {
    for status in ["COMPLETED", "FAILED"] {
        let scene = Scene::new(Kind::Backend)
            .owned(Origin::Created)
            .said(Reason::Creating)
            .job(ended(running(Operation::CreateBackend), status));
        assert_eq!(name(&scene.next()), "look");
    }
}

#[test]
fn a_create_that_fails_because_something_is_there_does_not_own_it() {
    for error in [
        "Command failed: GraphQL API shop already exists in the project",
        "Amazon S3 storage was already added to your project.",
    ] {
        let mut play = Play::creating(Kind::Backend);
        play.aws.put(at(-7200));
        play.job_ends("FAILED");
        let job = play.aws.jobs.last_mut().unwrap();
        job.error = Some(error.into());
        job.exists = crate::lifecycle::facts::says_exists(error);
        play.wake().is("poll look status", "stalled: AlreadyExists");
        assert_eq!(play.scene.state.ledger.origin, None);
        let text = message(&play.scene.state);
        assert!(
            text.contains(error.trim_end_matches('.')) && text.contains("adoptionPolicy: IfExists"),
            "{text}"
        );
        play.scene.resource.deleting = true;
        assert_eq!(
            play.pass().steps,
            "release",
            "and deleting the resource deletes nothing"
        );
    }
}

#[test]
fn a_clone_remembers_what_it_copies() {
    let mut play = Play::applied(Kind::Clone);
    play.scene.surroundings.source = Some("staging".into());
    play.answers([Answer::LoseRequest]);
    play.pass();
    assert_eq!(play.job().source_environment_name.as_deref(), Some("staging"));
    // The resource of the clone's source is gone.
    play.scene.surroundings.source = None;
    play.after(120);
    play.pass();
    assert_eq!(
        (play.job().attempt, play.job().source_environment_name.as_deref()),
        (2, Some("staging"))
    );
}

#[test]
fn a_vanished_create_says_nothing_of_the_configuration_that_aws_has() {
    let mut play = Play::creating(Kind::Api);
    play.aws.jobs.clear();
    play.aws.put(at(1));
    play.aws.holds = "by hand".into();
    play.after(200);
    play.pass()
        .is("poll list resolve look store slot update record", "working: Updating");
}

#[test]
fn words_of_what_was_there_before_are_known_in_each_form_that_aws_writes() {
    use crate::lifecycle::facts::says_exists;
    for text in [
        "GraphQL API shop already exists in the project",
        "CREATE_FAILED Bucket: BucketAlreadyOwnedByYou",
        "EntityAlreadyExists: Role with name x",
        "An account with that name: UsernameExistsException",
        "Amazon S3 storage was already added to your project.",
        "you already own it",
    ] {
        assert!(says_exists(text), "{text}");
    }
    for text in [
        "no capacity",
        "the stack does not exist",
        "already",
        "Resource handler returned message",
    ] {
        assert!(!says_exists(text), "{text}");
    }
}

#[test]
fn a_job_of_the_former_generation_does_not_make_the_edit_ready() {
    let mut play = Play::creating(Kind::Api);
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    // The status speaks of the current generation while the job runs.
    play.aws.reads = Some(Class::AccessDenied);
    play.wake().is("poll status", "working: AccessDenied");
    assert_eq!(play.scene.state.ledger.observed_generation, 2);
    play.aws.reads = None;
    play.job_ends("COMPLETED");
    play.aws.holds = "v1".into();
    play.crash_after("store");
    assert_eq!(play.scene.says(), "working: Creating");
    play.pass();
    assert_eq!(play.job().operation, Operation::UpdateBackendApi);
}

#[test]
fn what_aws_writes_in_its_own_way_is_sent_once_more_at_the_most_though_the_end_is_seen_late_each_time() {
    let mut play = Play::ready(Kind::Api);
    play.aws.echoes = Equality::Different;
    // After the timeout, polls are 5 min apart.
    play.scene.resource.job_timeout = Some(SignedDuration::from_mins(5));
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.pass();
    while play.now() < at(3 * 3600) {
        let (begun, latest) = (play.job().request_time, play.aws.jobs.last().unwrap().clone());
        let ends = begun + SignedDuration::from_mins(7);
        if play.now() >= ends && latest.status == "RUNNING" {
            play.aws.end("COMPLETED", ends);
            play.aws.jobs.last_mut().unwrap().update_time = Some(ends);
        }
        play.wake();
    }
    assert_eq!(play.aws.carried_out, [Write::Update, Write::Update]);
    assert_eq!(says(&play.scene.state), "ready: Available");
}
