//! Rule 8: deletion.

use jiff::SignedDuration;

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, message, name},
};
use crate::{
    api::{DeletionPolicy, Operation, Origin},
    lifecycle::{Write, facts::Class},
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
fn deletion_waits_for_a_create_job_that_is_running() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::creating(kind);
        play.scene.resource.deleting = true;
        play.scene.resource.generation = 2;
        play.wake().is("poll status", "working: Deleting");
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
    play.wake().is("poll look status", "working: Creating");
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
    assert!(message(&play.scene.state).contains("BackendApi default/shop"));
    play.pass().is("", "stalled: InUse");
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
    // Not so if they stay, or if the API server's clock is far off.
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
        play.wake().is("look slot list status", "working: WaitingForJob");
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
fn a_delete_whose_reply_was_lost_is_found_again() {
    let lost = |kind| {
        let mut play = deleting(kind);
        play.answers([Answer::LoseReply, Answer::Refuse(Class::Pending)]);
        play.pass().is("look slot delete status", "working: AwsUnavailable");
        play
    };
    let mut joined = lost(Kind::Backend);
    joined.wake().is("look slot delete list record", "working: Deleting");
    assert_eq!(joined.job().id.as_deref(), Some("j-1"));
    joined.job_ends("COMPLETED");
    assert_eq!(joined.wake().steps, "poll release");
    // The pending job may be another API's, or one of the environment that was cloned: its end proves nothing.
    for kind in [Kind::Api, Kind::Clone] {
        let mut waiting = lost(kind);
        waiting.wake().is("look slot delete status", "working: WaitingForJob");
        waiting.job_ends("COMPLETED");
        assert_eq!(waiting.wake().steps, "look release");
    }
    let mut record = deleting(Kind::Environment);
    record.answers([Answer::LoseReply]);
    record.pass().is("look slot delete status", "working: AwsUnavailable");
    assert_eq!(record.wake().steps, "look release");
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
    play.pass().is("poll look status", "stalled: JobFailed").wakes(None);
    play.pass().is("look", "stalled: JobFailed");
    let mut gone = play.clone();
    gone.aws.object = None;
    assert_eq!(gone.pass().steps, "look release", "absent is done");
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
        .wakes(None);
    play.after(9000).pass().is("", "stalled: InvalidSpec");
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
    // The finalizer could not be taken off: somebody has edited the resource, or the process died.
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
