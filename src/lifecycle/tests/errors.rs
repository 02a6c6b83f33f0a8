//! The table of what AWS answers: reason, whether a person is needed, and when it is tried again.

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, failure, message, missing, name},
};
use crate::{
    api::conditions::Reason,
    lifecycle::{
        Step,
        facts::{Class, Sent},
    },
};

#[test]
fn each_class_of_refusal_has_its_reason_and_its_waits() {
    // (class, conditions, first wait, longest wait), with the jitter in the middle.
    let table = [
        (Class::NotFound, "working: AppNotFound", Some((30, 600))),
        (Class::BadRequest, "stalled: InvalidSpec", None),
        (Class::Pending, "working: WaitingForJob", Some((15, 60))),
        (Class::Throttled, "working: Throttled", Some((2, 150))),
        (Class::QuotaExceeded, "stalled: QuotaExceeded", Some((600, 3600))),
        (Class::AccessDenied, "working: AccessDenied", Some((60, 600))),
        (Class::Unavailable, "working: AwsUnavailable", Some((5, 300))),
        (Class::AccountNotFound, "stalled: AccountNotFound", None),
        (Class::AccountChanged, "stalled: AccountChanged", None),
    ];
    for (class, says, waits) in table {
        for read in [true, false] {
            let mut play = Play::applied(Kind::Backend);
            play.aws.reads = read.then_some(class);
            play.answers(std::iter::repeat_n(Answer::Refuse(class), 20));
            let did = play.pass();
            assert_eq!(
                (did.says.as_str(), did.wake),
                (says, waits.map(|waits| waits.0)),
                "{class:?}"
            );
            assert!(message(&play.scene.state).contains("AWS says"));
            let Some((_, longest)) = waits else {
                continue;
            };
            let mut last = 0;
            for _ in 0..12 {
                let did = play.wake();
                assert!(
                    !read || !did.steps.contains("status") || class == Class::AccessDenied,
                    "{class:?} {did:?}"
                );
                last = did.wake.unwrap();
            }
            assert_eq!(last, longest, "{class:?}");
        }
    }
}

#[test]
fn a_refused_spec_stays_stalled_until_a_new_generation_or_a_request() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.answers([Answer::Refuse(Class::BadRequest)]);
        assert_eq!(play.pass().wakes(None).says, "stalled: InvalidSpec");
        play.after(9000).pass().is("", "stalled: InvalidSpec");
        play.restart().pass().is("", "stalled: InvalidSpec");
        // What else happens to its surroundings changes nothing either.
        let mut other = play.clone();
        other.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        other.pass().is("", "stalled: InvalidSpec");
        other.scene.surroundings.dependency = None;
        other.pass().is("", "stalled: InvalidSpec");
        let mut edited = play.clone();
        edited.scene.resource.generation = 2;
        assert!(edited.pass().steps.ends_with("intend create record"));
        play.scene.resource.request = Some("again".into());
        assert!(play.pass().steps.ends_with("intend create record"));
        assert_eq!(
            play.scene.state.ledger.last_handled_reconcile_at.as_deref(),
            Some("again")
        );
    }
}

#[test]
fn a_spec_that_was_invalid_for_another_reason_is_tried_again_when_that_is_gone() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::Refuse(Class::Throttled)]);
    play.pass();
    play.scene.surroundings.invalid = Some("no AWS region".into());
    play.wake().is("status", "stalled: InvalidSpec");
    play.scene.surroundings.invalid = None;
    play.pass()
        .is("look slot list intend create record", "working: Creating");
}

#[test]
fn a_refused_update_stays_stalled_until_a_new_generation_or_a_request() {
    let mut play = Play::ready(Kind::Api);
    play.aws.config = Ok("v2".into());
    play.scene.resource.generation = 2;
    play.answers([Answer::Refuse(Class::BadRequest)]);
    play.pass()
        .is("resolve look slot update status", "stalled: InvalidSpec");
    play.after(9000).pass().is("", "stalled: InvalidSpec");
    play.scene.resource.generation = 3;
    play.pass().is("resolve look slot update record", "working: Updating");
}

#[test]
fn a_read_that_aws_refuses_as_wrong_is_made_again_where_aws_has_something() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.pass();
        play.aws.reads = Some(Class::BadRequest);
        assert_eq!(play.wake().wakes(3600).says, "stalled: InvalidSpec");
        play.aws.reads = None;
        assert_eq!(play.wake().says, "ready: Available");
    }
    let mut play = Play::applied(Kind::Backend);
    assert_eq!(play.pass().says, "working: Creating");
    play.aws.reads = Some(Class::BadRequest);
    assert_eq!(play.wake().wakes(60).says, "stalled: InvalidSpec");
    play.aws.reads = None;
    play.job_ends("COMPLETED");
    assert_eq!(play.wake().says, "ready: Available");
}

#[test]
fn stalled_stays_during_slow_retries() {
    for (class, says) in [
        (Class::QuotaExceeded, "stalled: QuotaExceeded"),
        (Class::AccessDenied, "stalled: AccessDenied"),
    ] {
        let mut play = Play::applied(Kind::Backend);
        play.answers(std::iter::repeat_n(Answer::Refuse(class), 40));
        play.pass();
        while play.scene.says() != says {
            play.wake();
        }
        let since = play.scene.state.ledger.conditions.clone();
        for round in 0..4 {
            if round == 2 {
                play.restart();
            }
            let mut before_send = play.clone();
            before_send.scene.now += jiff::SignedDuration::from_secs(4000);
            before_send.crash_after("intend").is("look slot list intend", says);
            assert_eq!(play.wake().says, says, "{class:?}");
        }
        assert_eq!(
            play.scene.state.ledger.conditions, since,
            "not one condition has changed"
        );
        play.aws.answers.clear();
        play.wake()
            .is("look slot list intend create record", "working: Creating");
    }
}

#[test]
fn app_not_found_stays_said_between_its_retries() {
    let mut play = Play::applied(Kind::Backend);
    play.answers(std::iter::repeat_n(Answer::Refuse(Class::NotFound), 3));
    play.pass();
    play.clone()
        .after(60)
        .crash_after("intend")
        .is("look slot list intend", "working: AppNotFound");
    play.wake()
        .is("look slot list intend create status", "working: AppNotFound");
}

#[test]
fn denied_access_is_reconciling_for_five_minutes_and_then_stalled() {
    for mut play in [Play::applied(Kind::Backend), Play::creating(Kind::Backend)] {
        play.aws.reads = Some(Class::AccessDenied);
        play.pass();
        let begin = play.now();
        play.after(5);
        assert_eq!(play.pass().says, "working: AccessDenied");
        let mut flips = 0;
        while play.now() < begin + jiff::SignedDuration::from_mins(90) {
            let did = play.wake();
            let slow_iam = play.now() < begin + jiff::SignedDuration::from_mins(5);
            assert_eq!(
                did.says,
                if slow_iam {
                    "working: AccessDenied"
                } else {
                    "stalled: AccessDenied"
                }
            );
            flips += usize::from(did.steps.contains("status"));
            assert!((54..=660).contains(&did.wake.unwrap()), "{did:?}");
        }
        assert_eq!(flips, 1, "two writes in all");
        // It recovers by itself, and the next denial begins anew.
        play.aws.reads = None;
        play.wake();
        assert_eq!(play.scene.memory.waiting, None);
    }
}

#[test]
fn what_is_ready_stays_ready_through_throttling_and_short_outages() {
    for kind in Kind::ALL {
        for class in [Class::Throttled, Class::Unavailable] {
            let mut play = Play::ready(kind);
            play.pass();
            play.aws.reads = Some(class);
            for _ in 0..5 {
                let did = play.wake();
                assert!(did.steps.ends_with("look"), "no write: {did:?}");
                assert_eq!(did.says, "ready: Available");
            }
            play.aws.reads = None;
            assert_eq!(play.wake().says, "ready: Available");
        }
        let mut play = Play::ready(kind);
        play.pass();
        play.aws.reads = Some(Class::AccessDenied);
        assert_eq!(play.wake().says, "ready: Available", "IAM may be slow");
        play.after(300);
        assert_eq!(play.pass().says, "stalled: AccessDenied");
        play.aws.reads = None;
        assert_eq!(play.wake().says, "ready: Available");
    }
}

#[test]
fn a_running_job_says_what_it_does_through_throttling_and_outages() {
    for class in [Class::Throttled, Class::Unavailable] {
        let mut play = Play::creating(Kind::Backend);
        play.aws.reads = Some(class);
        play.wake().is("poll", "working: Creating");
    }
}

#[test]
fn stalled_stays_through_throttling_and_outages() {
    for reason in [Reason::AlreadyExists, Reason::Drifted, Reason::QuotaExceeded] {
        for class in [Class::Throttled, Class::Unavailable] {
            let scene = Scene::new(Kind::Backend).said(reason).failed(class);
            let step = scene.next();
            let Step::Settle { state, retry, .. } = &step else {
                panic!("{step:?}")
            };
            assert_eq!((state.as_ref(), *retry), (&scene.state, true));
        }
    }
}

#[test]
fn a_request_during_an_outage_is_answered_when_the_outage_is_over() {
    let mut play = Play::ready(Kind::Backend);
    play.pass();
    play.scene.resource.request = Some("now".into());
    play.aws.reads = Some(Class::Unavailable);
    play.pass().is("look", "ready: Available");
    assert_eq!(play.scene.state.ledger.last_handled_reconcile_at, None);
    play.aws.reads = None;
    play.wake().is("look status", "ready: Available");
    assert_eq!(
        play.scene.state.ledger.last_handled_reconcile_at.as_deref(),
        Some("now")
    );
}

#[test]
fn the_same_failure_in_other_words_is_no_news() {
    let mut scene = Scene::new(Kind::Backend).failed(Class::NotFound);
    let first = scene.next();
    scene.apply(&first, crate::lifecycle::Observed::STORED);
    let mut other = failure(Class::NotFound, Sent::Refused);
    other.message = "AWS says it differently".into();
    scene.known.failed = Some(other);
    let step = scene.next();
    let Step::Settle { state, .. } = &step else {
        panic!("{step:?}")
    };
    assert_eq!(state.as_ref(), &scene.state);
}

#[test]
fn an_outage_of_writes_alone_closes_each_attempt_that_never_left() {
    let mut play = Play::applied(Kind::Environment);
    play.answers([Answer::Never(Class::Unavailable), Answer::Never(Class::AccessDenied)]);
    play.pass()
        .is("look slot finalizer intend create status", "working: AwsUnavailable");
    play.wake()
        .is("look slot intend create status", "working: AccessDenied");
    play.wake().is("look slot intend create record", "ready: Available");
    assert_eq!(play.job().attempt, 3);
}

#[test]
fn an_update_that_finds_nothing_looks_again() {
    let mut play = Play::ready(Kind::Api);
    play.aws.config = Ok("v2".into());
    play.scene.resource.generation = 2;
    play.answers([Answer::Refuse(Class::NotFound)]);
    play.pass()
        .is("resolve look slot update status", "working: AwsUnavailable");
    play.aws.object = None;
    play.after(400)
        .pass()
        .is("resolve look slot list intend create record", "working: Creating");
}

#[test]
fn refused_reads_of_an_open_intent_keep_it_open() {
    for class in [Class::BadRequest, Class::AccessDenied, Class::AccountChanged] {
        let scene = Scene::new(Kind::Backend)
            .finalized()
            .job(super::scene::intent(crate::api::Operation::CreateBackend))
            .failed(class)
            .at(500);
        let step = scene.next();
        assert_eq!(name(&step), "settle");
        let state = super::scene::stored(&step).unwrap();
        assert!(state.ledger.job.as_ref().unwrap().is_open_intent());
        assert_eq!(state.ledger.job.as_ref().unwrap().request_time, at(0));
    }
}
