//! The namespace's account is no longer the pinned one, or the namespace has none. No call is made and nothing is given
//! up. An open write continues when the account is back.

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, message},
};
use crate::{
    api::{DeletionPolicy, Origin},
    lifecycle::Account,
};

/// The account that scenes and passes pin.
const PINNED: &str = "111122223333";

fn gone() -> [(Account, &'static str); 2] {
    [
        (Account::Mapped("999999999999".into()), "stalled: AccountChanged"),
        (Account::Missing("no entry names it".into()), "stalled: AccountNotFound"),
    ]
}

fn back() -> [Account; 2] {
    [Account::Own, Account::Mapped(PINNED.into())]
}

#[test]
fn without_an_account_nothing_is_created() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.scene.surroundings.account = Account::Missing("no entry names it".into());
        play.pass().is("status", "stalled: AccountNotFound").wakes(None);
        assert_eq!(message(&play.scene.state), "no entry names it");
        play.pass().is("", "stalled: AccountNotFound");
        play.scene.surroundings.account = Account::Mapped(PINNED.into());
        let did = play.pass();
        assert!(did.steps.contains("create"), "{did:?}");
    }
}

#[test]
fn a_ready_resource_says_so_and_recovers_with_one_look() {
    for kind in Kind::ALL {
        for (away, says) in gone() {
            for back in back() {
                let mut play = Play::ready(kind);
                play.pass();
                play.scene.surroundings.account = away.clone();
                play.pass().is("status", says).wakes(None);
                play.restart().pass().is("", says);
                play.scene.surroundings.account = back;
                let steps = if kind == Kind::Api {
                    "resolve look status"
                } else {
                    "look status"
                };
                play.pass().is(steps, "ready: Available");
                assert!(play.aws.carried_out.is_empty());
            }
        }
    }
}

#[test]
fn a_running_job_is_followed_to_its_end_when_the_account_is_back() {
    for kind in Kind::WITH_JOBS {
        for (away, says) in gone() {
            let mut play = Play::creating(kind);
            let job = play.job().clone();
            play.scene.surroundings.account = away;
            play.wake().is("status", says).wakes(None);
            play.job_ends("COMPLETED");
            play.after(3600).restart().pass().is("", says);
            assert_eq!(*play.job(), job, "the job is kept as it was");
            play.scene.surroundings.account = Account::Mapped(PINNED.into());
            assert_eq!(play.pass().says, "ready: Available");
            assert_eq!(play.aws.carried_out.len(), 1);
        }
    }
}

#[test]
fn an_open_intent_stays_open_and_is_resolved_when_the_account_is_back() {
    for (away, says) in gone() {
        let mut play = Play::applied(Kind::Backend);
        play.answers([Answer::LoseReply]);
        play.crash_after("create");
        assert!(play.job().is_open_intent());
        play.scene.surroundings.account = away;
        play.after(600).pass().is("status", says).wakes(None);
        assert!(play.job().is_open_intent(), "nothing was found out");
        play.scene.surroundings.account = Account::Mapped(PINNED.into());
        play.pass();
        assert_eq!(play.job().attempt, 1);
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().says, "ready: Available");
        assert_eq!(play.aws.carried_out.len(), 1, "created once");
    }
}

#[test]
fn an_intent_that_still_waits_no_longer_speaks_of_the_account() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.crash_after("create");
    play.scene.surroundings.account = Account::Missing("no entry names it".into());
    play.pass().is("status", "stalled: AccountNotFound");
    play.scene.surroundings.account = Account::Mapped(PINNED.into());
    let did = play.pass();
    assert_eq!(did.says, "working: Creating", "{did:?}");
    assert!(did.wake.is_some() && play.job().is_open_intent());
}

#[test]
fn deletion_waits_for_the_account_only_where_aws_must_be_told() {
    for (away, says) in gone() {
        for kind in Kind::ALL {
            let mut play = Play::new(Scene::new(kind).ready().deleting());
            play.scene.surroundings.account = away.clone();
            play.pass().is("status", says).wakes(None);

            let retained = Scene::new(kind).ready().deleting().policy(Some(DeletionPolicy::Retain));
            let not_owned = Scene::new(kind).finalized().deleting();
            let adopted = Scene::new(kind).owned(Origin::Adopted).deleting();
            for scene in [retained, not_owned, adopted] {
                let mut play = Play::new(scene);
                play.scene.surroundings.account = away.clone();
                assert_eq!(play.pass().steps, "release");
            }
        }
    }
}

#[test]
fn what_may_be_in_aws_is_said_to_stay_there_and_how_to_let_it_go() {
    let owned = || Play::ready(Kind::Backend);
    let running = || Play::creating(Kind::Backend);
    let intended = || {
        let mut play = Play::applied(Kind::Backend);
        play.answers([Answer::LoseReply]);
        play.crash_after("create");
        play
    };
    for (mut play, is_kept) in [
        (owned(), true),
        (running(), true),
        (intended(), true),
        (Play::applied(Kind::Backend), false),
    ] {
        for deleting in [false, true] {
            play.scene.resource.deleting = deleting;
            play.scene.surroundings.account = Account::Missing("apps lacks the app".into());
            if deleting && !is_kept {
                continue;
            }
            play.pass();
            let said = message(&play.scene.state);
            assert!(said.starts_with("apps lacks the app"), "{said}");
            assert_eq!(
                said.contains("AWS gets no request for this resource, deletion included"),
                is_kept,
                "{said}"
            );
            assert_eq!(
                said.ends_with("set deletionPolicy: Retain and delete this resource"),
                is_kept,
                "{said}"
            );
        }
    }
}

#[test]
fn a_suspended_resource_says_that_it_is_suspended() {
    for (away, _) in gone() {
        let mut play = Play::new(Scene::new(Kind::Backend).ready().suspended());
        play.scene.surroundings.account = away;
        assert_eq!(play.pass().says, "ready: Suspended");
    }
}
