//! Rule 10: an environment that `amplify gen2-migration` has locked gets no write.

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, intent, message, missing},
};
use crate::{
    api::{
        DeletionPolicy, Job, Origin,
        conditions::{self, MIGRATION_LOCKED, Reason},
    },
    lifecycle::{Lock, Mark, Sending, Slot, Step, migration::FRESH},
};

fn is_locked(play: &Play) -> bool {
    conditions::is_true(&play.scene.state.ledger.conditions, MIGRATION_LOCKED)
}

/// Ready, in an environment that has been locked since.
fn locked(kind: Kind) -> Play {
    let mut play = Play::ready(kind);
    play.pass();
    play.aws.mark = Mark::Here;
    play
}

#[test]
fn a_check_shows_the_lock_and_what_is_ready_stays_ready() {
    for kind in Kind::ALL {
        let mut play = locked(kind);
        let did = play.wake();
        assert!(
            did.steps.starts_with("lock ") && did.steps.ends_with("look status"),
            "{did:?}"
        );
        did.wakes(3600);
        assert_eq!(play.scene.says(), "ready: Available");
        assert!(is_locked(&play) && play.scene.state.ledger.migration_locked_at.is_some());
        // The next checks write nothing.
        let did = play.wake();
        assert!(did.steps.ends_with(" look"), "{did:?}");
        // It is unlocked, and AWS still shows the object.
        play.aws.mark = Mark::Absent;
        let did = play.wake();
        assert!(did.steps.ends_with("look status"), "{did:?}");
        assert_eq!(play.scene.says(), "ready: Available");
        assert!(!is_locked(&play) && play.scene.state.ledger.migration_locked_at.is_none());
    }
}

#[test]
fn nothing_is_created_while_the_environment_is_locked() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.aws.mark = Mark::Here;
        let did = play.pass();
        assert!(did.steps.ends_with("lock status"), "{did:?}");
        assert_eq!(play.scene.says(), "stalled: MigrationLocked");
        let text = message(&play.scene.state).to_owned();
        let operation = kind.create().name();
        assert!(
            text.starts_with(operation) && text.ends_with("to have it created"),
            "{text}"
        );
        assert!(!play.scene.resource.finalizer && play.scene.state.ledger.job.is_none());
        // It is asked again ever more rarely, with no write to Kubernetes.
        let mut last = 0;
        for _ in 0..8 {
            let did = play.wake();
            assert!(!did.steps.contains("status"), "{did:?}");
            let wait = did.wake.unwrap();
            assert!(wait >= last && wait <= 3960, "{wait}");
            last = wait;
        }
        assert!(last >= 3240, "{last}");
        assert_eq!(play.aws.carried_out, []);
    }
}

#[test]
fn an_update_waits_for_the_end_of_the_lock() {
    let mut play = locked(Kind::Api);
    play.aws.config = Ok("v2".into());
    play.scene.resource.generation = 2;
    let did = play.pass();
    assert!(did.steps.ends_with("slot lock status"), "{did:?}");
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    assert!(message(&play.scene.state).contains("undo the edit"));
    // The edit is undone.
    play.aws.config = Ok("v1".into());
    play.scene.resource.generation = 3;
    play.pass();
    assert_eq!(play.scene.says(), "ready: Available");
    // It is made once more, and the environment is unlocked.
    play.aws.config = Ok("v2".into());
    play.scene.resource.generation = 4;
    play.after(61).pass();
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    play.aws.mark = Mark::Absent;
    let did = play.after(61).wake();
    assert!(did.steps.ends_with("update record"), "{did:?}");
    assert!(!is_locked(&play));
}

#[test]
fn a_deletion_waits_unless_the_object_is_retained_or_gone() {
    for kind in Kind::ALL {
        let mut play = locked(kind);
        play.scene.resource.deleting = true;
        let did = play.pass();
        assert!(did.steps.ends_with("lock status"), "{did:?}");
        assert_eq!(play.scene.says(), "stalled: MigrationLocked");
        let text = message(&play.scene.state);
        assert!(
            text.contains("Set deletionPolicy: Retain") && text.ends_with("lock --rollback"),
            "{text}"
        );
        let mut retained = play.clone();
        retained.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
        retained.pass().is("release", "stalled: MigrationLocked");
        assert_eq!(retained.aws.carried_out, []);
        // The migration is completed: the root stack is deleted.
        play.aws.object = None;
        play.after(4000);
        let did = play.pass();
        assert!(did.steps.ends_with("release"), "{did:?}");
        assert_eq!(play.aws.carried_out, [], "{kind:?}");
    }
}

#[test]
fn what_is_gone_is_not_created_again_though_the_mark_has_moved_on() {
    for kind in Kind::ALL {
        let mut play = locked(kind);
        play.wake();
        play.aws.object = None;
        play.wake();
        assert_eq!(play.scene.says(), "stalled: MigrationLocked", "{kind:?}");
        assert_eq!(play.scene.state.ledger.origin, None);
        // The next environment of the app is migrated.
        play.aws.mark = Mark::Elsewhere;
        play.after(61).wake();
        assert_eq!(play.scene.says(), "stalled: NotFound", "{kind:?}");
        assert!(!is_locked(&play) && play.scene.state.ledger.migration_locked_at.is_some());
        play.restart().pass();
        play.wake();
        assert_eq!(play.scene.says(), "stalled: NotFound", "{kind:?}");
        // Suspended and resumed, it is still not created.
        play.scene.resource.suspend = true;
        play.pass();
        play.scene.resource.suspend = false;
        play.pass();
        assert_eq!(play.scene.says(), "stalled: NotFound", "{kind:?}");
        // Nor as another's: what is there next is not its own.
        let now = play.now();
        let mut made = play.clone();
        made.aws.put(now);
        made.wake();
        assert_eq!(made.scene.says(), "stalled: AlreadyExists", "{kind:?}");
        assert_eq!(play.aws.carried_out, []);
        // The user says that it is to be created.
        play.scene.resource.ignores_lock = true;
        let did = play.after(61).pass();
        assert!(did.steps.ends_with("create record"), "{did:?}");
        assert_eq!(play.scene.state.ledger.migration_locked_at, None);
    }
}

#[test]
fn who_waits_for_something_else_sees_the_end_of_a_lock_all_the_same() {
    // Locked, and gone since.
    let lost = |kind| {
        let mut play = locked(kind);
        play.wake();
        play.aws.object = None;
        play.wake();
        assert!(is_locked(&play), "{kind:?}");
        play
    };
    let waits = |play: &mut Play, reason: &str| {
        let did = play.after(61).pass();
        assert!(did.steps.starts_with("lock") && did.wake.is_some(), "{did:?}");
        assert!(
            is_locked(play) && play.scene.says().ends_with(reason),
            "{}",
            play.scene.says()
        );
        // It wakes by itself.
        play.aws.mark = Mark::Absent;
        play.after(61).wake();
        assert!(
            !is_locked(play) && play.scene.says().ends_with(reason),
            "{}",
            play.scene.says()
        );
    };
    for kind in Kind::ALL {
        let mut play = lost(kind);
        play.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        waits(&mut play, "DependencyNotReady");
        let mut play = lost(kind);
        play.scene = play.scene.winner("AmplifyBackend default/older");
        waits(&mut play, "Conflict");
        let mut play = locked(kind);
        play.wake();
        play.scene.resource.deleting = true;
        play.scene.surroundings.dependents.staying = vec!["BackendApi default/shop".into()];
        waits(&mut play, "InUse");
        for observe in [false, true] {
            let mut play = locked(kind);
            play.wake();
            play.scene.resource.observe = observe;
            play.scene.surroundings.region = Some("us-east-1".into());
            waits(&mut play, "AccountChanged");
        }
        // What names no environment is in none.
        let mut play = lost(kind);
        play.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        play.scene.surroundings.resolved = false;
        let did = play.pass();
        assert!(!did.steps.contains("lock") && !is_locked(&play), "{did:?}");
        assert!(play.scene.state.ledger.migration_locked_at.is_some());
    }
}

#[test]
fn who_is_not_ready_sees_a_lock_begin_and_end() {
    // A change in AWS that only a person can correct, or a reference that is gone.
    let drifts = |play: &mut Play| play.aws.object.as_mut().unwrap().differs.push("stackName");
    let lacks = |play: &mut Play| {
        play.aws.config = Err("waits for ConfigMap schema".into());
        play.scene.resource.request = Some("first".into());
    };
    for kind in Kind::ALL {
        for observe in [false, true] {
            for (worsens, reason) in [
                (&drifts as &dyn Fn(&mut Play), "Drifted"),
                (&lacks, "DependencyNotReady"),
            ] {
                if reason == "DependencyNotReady" && kind != Kind::Api {
                    continue;
                }
                let mut play = Play::ready(kind);
                play.pass();
                play.scene.resource.observe = observe;
                worsens(&mut play);
                play.after(4000).pass();
                assert!(play.scene.says().ends_with(reason), "{}", play.scene.says());
                for (mark, is_shown) in [(Mark::Here, true), (Mark::Absent, false)] {
                    play.aws.mark = mark;
                    play.after(4000).pass();
                    assert_eq!(is_locked(&play), is_shown, "{kind:?} observe {observe}: {reason}");
                    assert!(play.scene.says().ends_with(reason), "{}", play.scene.says());
                }
                // At once, if somebody asks.
                play.aws.mark = Mark::Here;
                play.scene.resource.request = Some("now".into());
                play.after(61).pass();
                assert!(is_locked(&play), "{kind:?} observe {observe}: {reason}");
            }
        }
    }
}

#[test]
fn the_annotation_overrides_a_lock_and_asks_nothing_about_it() {
    let mut play = locked(Kind::Backend);
    play.scene.resource.deleting = true;
    play.pass();
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    play.scene.resource.ignores_lock = true;
    play.pass().is("look slot delete record", "working: Deleting");
    assert!(!is_locked(&play));
}

#[test]
fn a_job_under_way_is_followed_to_its_end() {
    let mut play = Play::creating(Kind::Backend);
    play.aws.mark = Mark::Here;
    play.job_ends(Job::COMPLETED);
    play.wake();
    assert_eq!(play.scene.says(), "ready: Available");
    // One that the lock makes fail is not tried again.
    let mut play = Play::creating(Kind::Backend);
    play.aws.mark = Mark::Here;
    play.job_ends(Job::FAILED);
    play.wake();
    play.wake();
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    assert_eq!(play.aws.carried_out.len(), 1);
}

#[test]
fn an_attempt_in_doubt_is_given_up_where_the_environment_is_locked_by_then() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.aws.mark = Mark::Here;
    while play.job().finish_time.is_none() {
        play.wake();
    }
    play.wake();
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    assert!(play.job().unconfirmed);
    assert_eq!(play.aws.carried_out, []);
}

#[test]
fn a_write_rests_on_an_answer_of_the_last_minute() {
    let scene = |seconds: i64, mark| {
        let mut scene = Scene::new(Kind::Environment).finalized().look(None).slot(Slot::Held);
        scene.known.lock = Some(Lock { at: at(0), mark });
        scene.now = at(seconds);
        scene
    };
    let fresh = FRESH.as_secs();
    for (seconds, mark, expected) in [
        (fresh - 1, Mark::Absent, "intend"),
        (fresh - 1, Mark::Denied, "intend"),
        (fresh - 1, Mark::Elsewhere, "intend"),
        (fresh - 1, Mark::Here, "settle"),
        (fresh - 1, Mark::Unread, "lock"),
        (fresh, Mark::Absent, "lock"),
        // The clock has been set back since.
        (-fresh, Mark::Absent, "lock"),
    ] {
        let step = scene(seconds, mark).next();
        assert_eq!(super::scene::name(&step), expected, "{seconds} {mark:?}");
    }
    // So does an intent that is stored already.
    for (seconds, mark, expected) in [
        (fresh - 1, Mark::Absent, "create"),
        (fresh - 1, Mark::Here, "store"),
        (fresh, Mark::Absent, "lock"),
    ] {
        let mut scene = scene(seconds, mark).sending(Sending::Intended);
        scene.state.ledger.job = Some(Job {
            request_time: at(fresh - 5),
            ..intent(Kind::Environment.create())
        });
        let step = scene.next();
        assert_eq!(super::scene::name(&step), expected, "{seconds} {mark:?}");
    }
}

#[test]
fn where_the_answer_is_denied_what_was_known_last_counts() {
    let mut play = locked(Kind::Backend);
    play.wake();
    play.aws.mark = Mark::Denied;
    play.scene.resource.deleting = true;
    play.after(61).pass();
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    let mut play = Play::ready(Kind::Backend);
    play.pass();
    play.aws.mark = Mark::Denied;
    play.scene.resource.deleting = true;
    let did = play.pass();
    assert!(did.steps.ends_with("delete record"), "{did:?}");
}

#[test]
fn an_answer_that_is_older_than_the_lock_does_not_end_it() {
    let mut scene = Scene::new(Kind::Backend)
        .ready()
        .at(3600)
        .look(Some(crate::lifecycle::Seen::default()));
    scene.state.ledger.migration_locked_at = Some(at(3000));
    let ledger = &mut scene.state.ledger;
    ledger.conditions = conditions::locked(&ledger.conditions, "locked", 1, at(3000));
    for (second, is_locked) in [(2999, true), (3000, false)] {
        scene.known.lock = Some(Lock {
            at: at(second),
            mark: Mark::Absent,
        });
        let Step::Settle { state, .. } = scene.next() else {
            panic!("a check that shows the object settles");
        };
        assert_eq!(
            conditions::is_true(&state.ledger.conditions, MIGRATION_LOCKED),
            is_locked,
            "{second}"
        );
        assert_eq!(
            conditions::ready_reason(&state.ledger.conditions),
            Some(Reason::Available)
        );
        assert_eq!(state.ledger.origin, Some(Origin::Created));
    }
}

#[test]
fn what_is_observed_shows_the_lock_too() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.scene.resource.observe = true;
        let now = play.now();
        play.aws.put(now);
        play.aws.mark = Mark::Here;
        play.pass();
        assert_eq!(play.scene.says(), "ready: Available");
        assert!(is_locked(&play), "{kind:?}");
        play.aws.object = None;
        play.wake();
        assert_eq!(play.scene.says(), "stalled: NotFound");
        assert!(is_locked(&play), "{kind:?}");
    }
}

#[test]
fn a_lock_that_has_moved_on_is_not_undone_and_what_goes_later_does_not_come_back() {
    for kind in Kind::ALL {
        let mut play = locked(kind);
        play.wake();
        // The next environment is migrated while AWS still shows the stack of this one.
        play.aws.mark = Mark::Elsewhere;
        play.wake();
        assert_eq!(play.scene.says(), "ready: Available");
        assert!(!is_locked(&play) && play.scene.state.ledger.migration_locked_at.is_some());
        play.aws.object = None;
        play.wake();
        assert_eq!(play.scene.says(), "stalled: NotFound", "{kind:?}");
        assert_eq!(play.aws.carried_out, []);
    }
}

#[test]
fn a_denied_answer_does_not_hide_the_lock_that_the_same_pass_has_seen() {
    let mut play = Play::ready(Kind::Api);
    play.pass();
    play.aws.config = Ok("v2".into());
    play.aws.mark = Mark::Here;
    play.scene.known.lock = Some(Lock {
        at: play.now(),
        mark: Mark::Here,
    });
    // The check has seen the list of all apps; the read of the app itself is denied.
    play.after(61);
    play.aws.mark = Mark::Denied;
    play.scene.resource.generation = 2;
    play.pass();
    assert_eq!(play.scene.says(), "stalled: MigrationLocked");
    assert_eq!(play.aws.carried_out, []);
}

#[test]
fn an_intent_that_was_not_sent_because_of_the_lock_claims_nothing_later() {
    let mut scene = Scene::new(Kind::Backend).finalized().sending(Sending::Intended).at(5);
    scene.known.lock = Some(Lock {
        at: at(5),
        mark: Mark::Here,
    });
    scene.state.ledger.region = Some("eu-west-1".into());
    scene.state.ledger.account_id = Some("111122223333".into());
    scene.state.ledger.job = Some(intent(Kind::Backend.create()));
    let Step::Record(state) = scene.next() else {
        panic!("the intent is closed");
    };
    let job = state.ledger.job.expect("a job");
    assert!(job.finish_time.is_some() && !job.unconfirmed, "{job:?}");
    assert_eq!((state.ledger.region, state.ledger.account_id), (None, None));
}

#[test]
fn an_accepted_create_is_found_though_the_environment_is_locked_meanwhile() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.pass();
    while play.job().finish_time.is_none() && play.job().attempt == 1 {
        play.aws.mark = Mark::Here;
        play.wake();
    }
    // The job shows late.
    let requested = play.job().request_time;
    play.aws.foreign_job(
        "j-9",
        Kind::Backend.create(),
        requested.duration_since(at(0)).as_secs() + 1,
    );
    play.scene.resource.request = Some("now".into());
    play.pass();
    assert_eq!(play.job().id.as_deref(), Some("j-9"));
    assert_eq!(play.scene.says(), "working: Creating");
}

#[test]
fn whether_it_is_created_again_is_said_only_when_the_lock_is_known() {
    let mut play = Play::ready(Kind::Environment);
    play.pass();
    play.aws.object = None;
    play.aws.mark = Mark::Unread;
    play.wake();
    let ledger = &play.scene.state.ledger;
    assert_eq!(ledger.origin, Some(Origin::Created), "it counts as gone only then");
    assert_ne!(play.scene.says(), "ready: Available");
}
