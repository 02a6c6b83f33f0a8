//! Rule 8: deletion.

use jiff::SignedDuration;

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, failure, message, name, present, says, stored},
};
use crate::{
    api::{DeletionPolicy, Operation, Origin, conditions::Reason},
    lifecycle::{
        self, Account, Holds, Queued, Reply, Write,
        facts::{Class, Sent},
        holds_slot,
    },
};

fn deleting(kind: Kind) -> Play {
    let mut play = Play::ready(kind);
    play.pass();
    play.after(600);
    play.scene.resource.deleting = true;
    play.scene.resource.generation = 2;
    play
}

#[test]
fn what_is_owned_is_deleted_with_a_job_and_then_the_finalizer_goes() {
    for kind in Kind::WITH_JOBS {
        let mut play = deleting(kind);
        play.pass().is("look slot delete record", "working: Deleting").wakes(5);
        play.wake().is("poll", "working: Deleting");
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().steps, "poll release");
    }
    let mut play = deleting(Kind::Environment);
    assert_eq!(play.pass().steps, "look slot delete release");
}

#[test]
fn what_is_not_owned_or_to_be_retained_goes_without_an_aws_call() {
    let table = [
        (Some(Origin::Created), None, "look"),
        (Some(Origin::Created), Some(DeletionPolicy::Delete), "look"),
        (Some(Origin::Created), Some(DeletionPolicy::Retain), "release"),
        (Some(Origin::Cloned), None, "look"),
        (Some(Origin::Cloned), Some(DeletionPolicy::Retain), "release"),
        (Some(Origin::Adopted), None, "release"),
        (Some(Origin::Adopted), Some(DeletionPolicy::Retain), "release"),
        (Some(Origin::Adopted), Some(DeletionPolicy::Delete), "look"),
        (None, Some(DeletionPolicy::Delete), "release"),
        (None, None, "release"),
    ];
    for kind in Kind::ALL {
        for (origin, policy, step) in table {
            let mut scene = Scene::new(kind).ready().policy(policy).deleting();
            scene.state.ledger.origin = origin;
            assert_eq!(name(&scene.next()), step, "{kind:?} {origin:?} {policy:?}");
            let suspended = scene.suspended();
            let step = if step == "look" && kind == Kind::Api {
                "resolve"
            } else if step == "look" {
                "settle"
            } else {
                step
            };
            assert_eq!(
                name(&suspended.next()),
                step,
                "suspended {kind:?} {origin:?} {policy:?}"
            );
        }
    }
}

#[test]
fn retained_objects_do_not_wait_for_a_job_that_is_running() {
    let mut play = Play::creating(Kind::Backend);
    play.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
    play.scene.resource.deleting = true;
    assert_eq!(play.pass().steps, "release");
}

#[test]
fn the_deletion_of_the_loser_of_a_conflict_deletes_nothing() {
    for origin in [None, Some(Origin::Created)] {
        let mut scene = Scene::new(Kind::Backend)
            .ready()
            .deleting()
            .winner("AmplifyBackend default/older");
        scene.state.ledger.origin = origin;
        assert_eq!(name(&scene.next()), "release");
    }
}

#[test]
fn a_loser_whose_object_has_a_name_of_its_own_deletes_it() {
    let mut scene = Scene::new(Kind::Api)
        .ready()
        .deleting()
        .winner("BackendApi default/older");
    scene.surroundings.winner.as_mut().unwrap().is_of_another_name = true;
    assert_eq!(name(&scene.next()), "look");
    scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
    assert_eq!(name(&scene.next()), "release");
    // The resource waits for its own job.
    let mut play = Play::creating(Kind::Api);
    play.scene = play.scene.winner("BackendApi default/older");
    play.scene.surroundings.winner.as_mut().unwrap().is_of_another_name = true;
    play.scene.resource.deleting = true;
    play.wake().is("poll status", "working: Deleting");
}

#[test]
fn an_open_intent_is_resolved_before_anything_is_released() {
    for policy in [None, Some(DeletionPolicy::Retain)] {
        let mut found = Play::applied(Kind::Backend);
        found.answers([Answer::LoseReply]);
        found.pass();
        found.scene.resource.deleting = true;
        found.scene.resource.deletion_policy = policy;
        let did = found.wake();
        if policy.is_some() {
            assert_eq!(did.steps, "list record release");
        } else {
            did.is("list record status", "working: Deleting");
            found.job_ends("COMPLETED");
            found
                .wake()
                .is("poll look store slot delete record", "working: Deleting");
        }
        let mut nothing = Play::applied(Kind::Backend);
        nothing.answers([Answer::LoseRequest]);
        nothing.pass();
        nothing.scene.resource.deleting = true;
        nothing.scene.resource.deletion_policy = policy;
        assert_eq!(nothing.wake().steps, "list look");
        assert_eq!(nothing.after(120).pass().steps, "list look store release");
        assert!(nothing.aws.carried_out.is_empty());
    }
}

#[test]
fn what_is_being_deleted_is_not_ready_for_long_while_it_waits_for_its_turn() {
    let queued = |scene: &Scene| lifecycle::queued(&scene.view(0.5));
    for kind in Kind::ALL {
        let ready = Scene::new(kind).ready();
        assert_eq!(queued(&ready), Queued::Wait, "nobody deletes it");
        let mut scene = ready.deleting();
        scene.resource.deleted_at = Some(at(0));
        // With an AWS that answers, and with one that does not.
        for (is_in_trouble, end) in [(false, 60), (true, 5)] {
            scene.surroundings.is_in_trouble = is_in_trouble;
            for seconds in [0, end - 1] {
                assert_eq!(queued(&scene.clone().at(seconds)), Queued::Until(at(end)));
            }
            // The second time: the API server's clock is far ahead.
            for seconds in [end, -61] {
                let Queued::Say(state) = queued(&scene.clone().at(seconds)) else {
                    panic!("{seconds}: nothing is said");
                };
                assert_eq!(says(&state), "working: Deleting");
            }
        }
        let said = scene.said(Reason::Deleting).at(60);
        assert_eq!(queued(&said), Queued::Wait, "said once");
    }
}

#[test]
fn a_record_that_is_found_while_it_is_being_deleted_is_not_said_to_be_ready() {
    let mut play = Play::applied(Kind::Environment);
    play.answers([Answer::LoseReply]);
    play.pass();
    play.scene.resource.deleting = true;
    play.scene.resource.generation = 2;
    play.after(5);
    let did = play.crash_after("record");
    assert_eq!(
        (did.steps.as_str(), did.says.as_str()),
        ("look record", "working: Deleting")
    );
    assert_eq!(play.pass().steps, "look slot delete release");
    assert_eq!(play.aws.carried_out, [Write::Create, Write::Delete]);
}

#[test]
fn what_is_retained_is_handed_over_where_its_account_cannot_be_reached() {
    let gone = || Account::Missing("no entry names the namespace".into());
    let moved = || Account::Mapped("999988887777".into());
    for account in [gone, moved] {
        let mut open = Play::applied(Kind::Backend);
        open.answers([Answer::LoseRequest]);
        open.pass();
        let mut deleting = deleting(Kind::Backend);
        deleting.pass();
        for (mut play, what) in [
            (open, "a request to AWS was under way"),
            (deleting, "a request to AWS was under way"),
            (Play::ready(Kind::Api), "the AWS object stays, as deletionPolicy says"),
        ] {
            play.scene.resource.deleting = true;
            play.scene.surroundings.account = account();
            assert!(play.pass().says.starts_with("stalled: Account"));
            play.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
            assert_eq!(play.pass().steps, "release");
            let became = lifecycle::what_became(&play.scene.view(0.5));
            assert!(became.contains(what), "{became}");
        }
    }
}

#[test]
fn deletion_waits_for_a_create_job_that_is_running() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::creating(kind);
        play.scene.resource.deleting = true;
        play.scene.resource.generation = 2;
        play.wake().is("poll status", "working: Deleting");
        assert_eq!(play.scene.state.ledger.observed_generation, 2, "the deletion is seen");
        play.wake().is("poll", "working: Deleting");
        play.job_ends("COMPLETED");
        play.wake()
            .is("poll look store slot delete record", "working: Deleting");
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().steps, "poll release");
        assert_eq!(play.aws.carried_out, [Write::Create, Write::Delete]);
    }
}

#[test]
fn a_create_that_failed_is_deleted_where_it_left_something() {
    let mut nothing = Play::creating(Kind::Backend);
    nothing.scene.resource.deleting = true;
    nothing.job_ends("FAILED");
    assert_eq!(nothing.wake().steps, "poll look release");
    let mut something = Play::creating(Kind::Backend);
    something.scene.resource.deleting = true;
    something.aws.put(at(1));
    something.job_ends("FAILED");
    something
        .wake()
        .is("poll look store slot delete record", "working: Deleting");
}

#[test]
fn a_404_soon_after_a_create_is_not_believed() {
    let mut play = Play::creating(Kind::Backend);
    play.scene.resource.deleting = true;
    play.job_ends("COMPLETED");
    let object = play.aws.object.take();
    play.wake().is("poll look status", "working: Deleting");
    let mut appears = play.clone();
    appears.aws.object = object;
    appears.wake().is("look slot delete record", "working: Deleting");
    assert_eq!(play.after(290).pass().steps, "look");
    assert_eq!(play.wake().steps, "look release", "believed by now");
}

#[test]
fn a_delete_that_finds_nothing_soon_after_a_create_is_not_believed_either() {
    let mut play = Play::creating(Kind::Backend);
    play.scene.resource.deleting = true;
    play.job_ends("COMPLETED");
    play.crash_after("store");
    let scene = play.scene.clone().reply(crate::lifecycle::Reply::Absent);
    assert_eq!(name(&scene.clone().next()), "settle");
    assert_eq!(name(&scene.at(400).next()), "release");
}

#[test]
fn a_backend_waits_for_the_apis_in_it() {
    let mut play = deleting(Kind::Backend);
    play.scene.surroundings.dependents.staying = vec!["BackendApi default/shop".into()];
    play.scene.surroundings.dependents.leaving = vec!["BackendApi default/blog".into()];
    play.pass().is("status", "stalled: InUse").wakes(None);
    assert_eq!(
        message(&play.scene.state),
        "still in use by BackendApi default/shop: delete it first"
    );
    play.pass().is("", "stalled: InUse");
    // The message names one of several, so that it changes as rarely as possible.
    let mut several = play.clone();
    several
        .scene
        .surroundings
        .dependents
        .staying
        .push("BackendApi default/blog".into());
    several.pass().is("status", "stalled: InUse");
    assert_eq!(
        message(&several.scene.state),
        "still in use by BackendApi default/blog and others: delete it first"
    );
    play.scene.surroundings.dependents.staying.clear();
    play.pass().is("status", "working: Deleting").wakes(None);
    play.pass().is("", "working: Deleting");
    play.scene.surroundings.dependents.leaving.clear();
    play.pass().is("look slot delete record", "working: Deleting");
}

#[test]
fn a_backend_whose_apis_are_deleted_a_moment_later_is_not_said_to_be_in_use() {
    let mut play = deleting(Kind::Backend);
    let now = play.scene.now;
    play.scene.resource.deleted_at = Some(now);
    play.scene.surroundings.dependents.staying = vec!["BackendApi default/shop".into()];
    play.pass().is("", "ready: Available").wakes(5);
    play.scene.surroundings.dependents.leaving = std::mem::take(&mut play.scene.surroundings.dependents.staying);
    play.pass().is("status", "working: Deleting").wakes(None);
    play.scene.surroundings.dependents.leaving.clear();
    play.pass().is("look slot delete record", "working: Deleting");
    // The status changes if they stay, or if the API server's clock is far off.
    for (deleted, asleep) in [(0, Some(5)), (3600, None), (-3600, None)] {
        let mut play = deleting(Kind::Backend);
        play.scene.resource.deleted_at = Some(now + SignedDuration::from_secs(deleted));
        play.scene.surroundings.dependents.staying = vec!["BackendApi default/shop".into()];
        if asleep.is_some() {
            play.pass().is("", "ready: Available").wakes(asleep);
            play.after(5);
        }
        play.pass().is("status", "stalled: InUse").wakes(None);
    }
}

#[test]
fn retained_backends_wait_for_nobody() {
    let mut play = deleting(Kind::Backend);
    play.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
    play.scene.surroundings.dependents.staying = vec!["BackendApi default/shop".into()];
    assert_eq!(play.pass().steps, "release");
}

#[test]
fn a_delete_waits_for_the_slot_and_for_a_pending_job() {
    for kind in Kind::WITH_JOBS {
        let mut play = deleting(kind);
        play.aws.busy = true;
        play.pass().is("look slot status", "working: WaitingForJob");
        play.wake().is("look slot", "working: WaitingForJob");
        play.aws.busy = false;
        play.aws.foreign_job("x-1", Operation::UpdateBackendApi, 0);
        play.wake().is("look slot list", "working: WaitingForJob");
        play.aws.jobs[0].status = "FAILED".into();
        play.wake().is("look slot list delete record", "working: Deleting");
    }
}

#[test]
fn a_refused_delete_is_not_sent_again_while_the_other_job_is_pending() {
    for kind in Kind::WITH_JOBS {
        let mut play = deleting(kind);
        play.answers([Answer::Refuse(Class::Pending)]);
        play.aws.foreign_job("x-1", Operation::UpdateBackendApi, 0);
        assert_eq!(play.pass().says, "working: WaitingForJob");
        // One message, for any holder of the environment: nothing is written during the wait.
        play.wake().is("look slot list status", "working: WaitingForJob");
        for _ in 0..3 {
            play.wake().is("look slot list", "working: WaitingForJob");
        }
        assert_eq!(play.job().attempt, 2, "sent once");
        play.aws.jobs[0].status = "COMPLETED".into();
        play.wake().is("look slot list delete record", "working: Deleting");
    }
}

#[test]
fn a_delete_of_unknown_outcome_keeps_the_finalizer_until_nothing_of_it_can_be_under_way() {
    for kind in Kind::ALL {
        let has_job = kind.create().has_job();
        let (first, both) = if has_job {
            ("list", "list look")
        } else {
            ("look", "look")
        };
        let lost = |answer| {
            let mut play = deleting(kind);
            play.answers([answer]);
            play.pass()
                .is("look slot delete record", "working: AwsUnavailable")
                .wakes(5);
            let job = play.job();
            assert!(job.is_open_intent() && job.unconfirmed, "{job:?}");
            assert_eq!(
                holds_slot(&play.scene.state.ledger, false, SignedDuration::from_hours(2)),
                Holds::Yes
            );
            play
        };
        // The delete was carried out. Nothing is sent again, and the finalizer stays although AWS no longer shows
        // anything: the request may still be on its way, and would delete the next object of this name.
        let mut gone = lost(Answer::LoseReply);
        gone.wake().is(first, "working: AwsUnavailable");
        gone.job_ends("COMPLETED");
        while gone.now() < at(719) {
            assert_eq!(gone.clone().pass().steps, both);
            gone.after(7);
        }
        let mut retained = gone.clone();
        retained.scene.now = at(719);
        retained.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
        assert_eq!(retained.pass().steps, both, "whatever the policy says by now");
        gone.scene.now = at(720);
        assert_eq!(gone.pass().steps, format!("{both} release"));
        assert_eq!(gone.aws.carried_out, [Write::Delete]);
        // The delete was not carried out. It is sent again after the same time.
        let mut stays = lost(Answer::LoseRequest);
        stays.scene.now = at(719);
        assert_eq!(stays.pass().steps, both);
        stays.wake();
        assert_eq!(stays.aws.carried_out, [Write::Delete]);
        if has_job {
            assert_eq!(stays.job().attempt, 3);
        }
        // A restart makes no difference.
        let mut restarted = lost(Answer::LoseReply);
        restarted.job_ends("COMPLETED");
        restarted.scene.now = at(660);
        assert_eq!(restarted.restart().pass().steps, both);
    }
}

#[test]
fn a_delete_that_is_refused_for_a_pending_job_waits_and_joins_nobody() {
    for kind in Kind::WITH_JOBS {
        let mut play = deleting(kind);
        play.answers([Answer::Refuse(Class::Pending)]);
        play.aws.foreign_job("x-1", kind.create().delete(), 0);
        play.pass().is("look slot delete status", "working: WaitingForJob");
        assert_eq!(play.job().id, None);
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().steps, "look release", "a look after its end decides");
    }
}

#[test]
fn the_first_write_of_a_process_lists_what_an_earlier_one_may_have_sent() {
    for kind in Kind::WITH_JOBS {
        let mut play = deleting(kind);
        play.crash_after("delete");
        assert_eq!(play.aws.jobs.len(), 1);
        // The same if AWS hides the object before that job has ended.
        let mut hidden = play.clone();
        hidden.aws.object = None;
        hidden.pass().is("look list status", "working: WaitingForJob");
        hidden.job_ends("COMPLETED");
        assert_eq!(hidden.wake().steps, "look list release");
        play.pass().is("look slot list status", "working: WaitingForJob");
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().steps, "look list release");
        assert_eq!(play.aws.carried_out, [Write::Delete]);
    }
}

#[test]
fn a_process_lists_once_what_an_earlier_one_may_have_sent() {
    for kind in Kind::WITH_JOBS {
        let mut play = deleting(kind);
        play.answers([Answer::Refuse(Class::Throttled)]);
        play.restart()
            .pass()
            .is("look slot list delete status", "working: Throttled");
        play.wake().is("look slot delete record", "working: Deleting");
    }
}

#[test]
fn what_is_released_and_held_by_somebody_else_says_what_became_of_its_object() {
    let held = |mut play: Play| {
        play.scene.resource.held = true;
        play
    };
    let table: [(Play, &str, &str); 4] = [
        (held(deleting(Kind::Environment)), "look slot delete release", "is gone"),
        (
            held({
                let mut play = deleting(Kind::Backend);
                play.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
                play
            }),
            "release",
            "stays, as deletionPolicy says",
        ),
        (
            held({
                let mut play = Play::new(Scene::new(Kind::Backend).finalized());
                play.scene.resource.deleting = true;
                play
            }),
            "release",
            "it owned no AWS object",
        ),
        (
            held({
                let mut play = deleting(Kind::Backend);
                play.pass();
                play.job_ends("COMPLETED");
                play.after(60);
                play
            }),
            "poll store release",
            "the AWS object is deleted",
        ),
    ];
    for (mut play, steps, says) in table {
        assert_eq!(play.pass().steps, steps);
        // The pass continues: another finalizer is still there.
        play.scene.known.released = true;
        play.pass().is("status", "still: Released").wakes(None);
        let text = message(&play.scene.state);
        assert!(text.contains(says), "{text}");
        assert_eq!(play.scene.state.ledger.origin, None, "it owns nothing");
        play.restart().pass().is("", "still: Released").wakes(None);
    }
    // Somebody else removed the finalizer: the owned object may still be there.
    let mut stripped = held(deleting(Kind::Backend));
    stripped.scene.resource.finalizer = false;
    stripped.pass().is("status", "still: Released");
    assert!(message(&stripped.scene.state).contains("may still be there"));
}

#[test]
fn an_object_whose_delete_was_sent_is_said_to_be_deleted_only_where_that_was_seen() {
    let sent = || {
        let mut play = deleting(Kind::Backend);
        play.pass();
        play.after(10);
        play
    };
    let mut completed = sent();
    completed.job_ends("COMPLETED");
    assert_eq!(completed.pass().steps, "poll release");
    let mut by_hand = sent();
    by_hand.job_ends("FAILED");
    by_hand.pass().is("poll look status", "working: Deleting");
    by_hand.aws.object = None;
    assert_eq!(by_hand.wake().steps, "look release");
    // Somebody removes the finalizer while the job runs.
    let mut stripped = sent();
    stripped.scene.resource.finalizer = false;
    for (play, says) in [
        (completed, "the AWS object is deleted"),
        (by_hand, "the AWS object is gone"),
        (stripped, "may still be there"),
    ] {
        let became = lifecycle::what_became(&play.scene.view(0.5));
        assert!(became.ends_with(says), "{became}");
    }
}

#[test]
fn a_failed_delete_has_the_same_backoff_and_limit() {
    let mut play = deleting(Kind::Backend);
    play.pass();
    for minutes in [1, 5] {
        play.after(10).job_ends("FAILED");
        play.pass()
            .is("poll look status", "working: Deleting")
            .wakes(minutes * 60);
        play.wake().is("look slot delete record", "working: Deleting");
    }
    play.after(10).job_ends("FAILED");
    play.pass().is("poll look status", "stalled: JobFailed").wakes(2610);
    assert!(message(&play.scene.state).contains("deletionPolicy: Retain"));
    play.pass().is("", "stalled: JobFailed");
    let mut gone = play.clone();
    gone.aws.object = None;
    gone.after(60).pass().is("", "stalled: JobFailed");
    assert_eq!(
        gone.wake().steps,
        "look release",
        "removed by hand, seen at the next check"
    );
    let mut stays = play.clone();
    stays.wake().is("look", "stalled: JobFailed").wakes(3600);
    play.scene.resource.request = Some("again".into());
    play.pass().is("look slot delete record", "working: Deleting");
    assert_eq!(play.job().failures, 0);
}

#[test]
fn a_delete_that_aws_refuses_as_wrong_is_stalled_until_somebody_asks() {
    let mut play = deleting(Kind::Backend);
    play.answers([Answer::Refuse(Class::BadRequest)]);
    play.pass()
        .is("look slot delete status", "stalled: InvalidSpec")
        .wakes(3000);
    assert!(message(&play.scene.state).contains("deletionPolicy: Retain"));
    play.after(60).pass().is("", "stalled: InvalidSpec");
    for _ in 0..3 {
        play.wake().is("look", "stalled: InvalidSpec").wakes(3600);
    }
    assert_eq!(play.aws.carried_out, []);
    let mut gone = play.clone();
    gone.aws.object = None;
    assert_eq!(
        gone.wake().steps,
        "look release",
        "removed by hand, seen at the next check"
    );
    play.scene.resource.request = Some("again".into());
    play.pass().is("look slot delete record", "working: Deleting");
}

#[test]
fn a_suspended_resource_is_not_deleted_until_it_is_resumed() {
    for kind in [Kind::Backend, Kind::Environment] {
        let mut play = deleting(kind);
        play.scene.resource.suspend = true;
        play.pass().is("status", "still: Suspended").wakes(None);
        play.pass().is("", "still: Suspended");
        play.scene.resource.suspend = false;
        assert!(play.pass().steps.starts_with("look slot delete"));
    }
}

#[test]
fn what_was_deleted_before_it_was_suspended_is_not_ready() {
    // The finalizer could not be removed: somebody has edited the resource, or the process died.
    let mut play = deleting(Kind::Environment);
    play.crash_after("delete");
    play.scene.resource.suspend = true;
    play.restart().pass().is("status", "still: Suspended").wakes(None);
    play.scene.resource.suspend = false;
    assert_eq!(play.after(300).pass().steps, "look release");
}

#[test]
fn an_object_that_vanished_with_its_delete_job_is_gone() {
    let mut play = deleting(Kind::Backend);
    play.pass();
    play.aws.jobs.clear();
    play.aws.object = None;
    play.after(120);
    assert_eq!(play.pass().steps, "poll list look release");
}

#[test]
fn a_delete_job_past_its_timeout_is_stalled_and_its_late_end_is_honoured() {
    let mut play = deleting(Kind::Backend);
    play.pass();
    play.after(7200).pass().is("poll status", "stalled: JobTimedOut");
    play.job_ends("COMPLETED");
    assert_eq!(play.wake().steps, "poll release");
}

#[test]
fn a_delete_that_runs_is_followed_to_its_end_whatever_the_policy_says_by_now() {
    for (status, says) in [
        ("COMPLETED", "the AWS object is deleted"),
        ("FAILED", "stays, as deletionPolicy says"),
    ] {
        let mut play = deleting(Kind::Backend);
        play.pass();
        play.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
        play.wake().is("poll", "working: Deleting");
        play.job_ends(status);
        let did = play.wake();
        assert!(did.steps.ends_with("store release"), "{did:?}");
        play.scene.known.released = true;
        play.scene.resource.held = true;
        play.pass().is("status", "still: Released");
        assert!(
            message(&play.scene.state).contains(says),
            "{}",
            message(&play.scene.state)
        );
    }
}

#[test]
fn a_refused_delete_does_not_make_a_404_right_after_the_create_believed() {
    let mut scene = Scene::new(Kind::Backend).ready().deleting().at(20);
    scene.state.ledger.job.as_mut().unwrap().finish_time = Some(at(0));
    assert_eq!(name(&scene.clone().look(None).next()), "settle");
    let refused = Reply::Failed(failure(Class::Throttled, Sent::Refused));
    let refused = scene.clone().look(present()).reply(refused).next();
    scene.state = stored(&refused).unwrap().clone();
    for (seconds, step) in [(40, "settle"), (299, "settle"), (300, "release")] {
        let step_then = scene.clone().at(seconds).look(None).next();
        assert_eq!(name(&step_then), step, "{seconds} s: {step_then:?}");
    }
}
