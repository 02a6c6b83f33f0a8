//! The table of AWS's answers: the reason, whether a person is needed, and when to retry.

use jiff::SignedDuration;

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, failure, message, missing, name, present, says, stored},
};
use crate::{
    api::conditions::Reason,
    lifecycle::{
        Account, Lack, Missing, Step,
        facts::{Class, Failure, Sent},
    },
};

#[test]
fn each_class_of_refusal_has_its_reason_and_its_waits() {
    // (class, conditions, first wait, longest wait), with the jitter in the middle of its range.
    let table = [
        (Class::NotFound, "working: AppNotFound", Some((30, 3600))),
        // Not sent again, only looked at in each check.
        (Class::BadRequest, "stalled: InvalidSpec", Some((3600, 3600))),
        (Class::Pending, "working: WaitingForJob", Some((15, 60))),
        (Class::Throttled, "working: Throttled", Some((2, 150))),
        (Class::QuotaExceeded, "stalled: QuotaExceeded", Some((600, 3600))),
        (Class::AccessDenied, "working: AccessDenied", Some((60, 600))),
        (Class::Unavailable, "working: AwsUnavailable", Some((5, 300))),
        (Class::AccountNotFound, "stalled: AccountNotFound", None),
        (Class::AccountChanged, "stalled: AccountChanged", Some((60, 3600))),
    ];
    for (class, says, waits) in table {
        for read in [true, false] {
            // A read sends no spec that could be corrected.
            let waits = if read && class == Class::BadRequest {
                Some((60, 3600))
            } else {
                waits
            };
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
                let lasts = matches!(class, Class::AccessDenied | Class::NotFound);
                assert!(!read || !did.steps.contains("status") || lasts, "{class:?} {did:?}");
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
        assert_eq!(play.pass().wakes(3600).says, "stalled: InvalidSpec");
        assert!(message(&play.scene.state).contains("correct what AWS names"));
        // The object is looked at once per drift interval, in case somebody has fixed the cause in AWS. Nothing is sent
        // again.
        let look = if kind == Kind::Api { "resolve look" } else { "look" };
        play.pass().is("", "stalled: InvalidSpec").wakes(3600);
        for _ in 0..3 {
            play.wake().is(look, "stalled: InvalidSpec").wakes(3600);
        }
        play.restart()
            .after(60)
            .pass()
            .is("", "stalled: InvalidSpec")
            .wakes(3540);
        // Other changes in its surroundings make no difference.
        let mut other = play.clone();
        other.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        other.pass().is("", "stalled: InvalidSpec");
        other.wake().is("", "stalled: InvalidSpec");
        other.scene.surroundings.dependency = None;
        other.pass().is(look, "stalled: InvalidSpec");
        let mut made = play.clone();
        made.aws.put(at(-7200));
        assert_eq!(made.wake().says, "stalled: AlreadyExists");
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
    play.pass().is("", "stalled: InvalidSpec").wakes(3600);
    play.wake().is("resolve look", "stalled: InvalidSpec").wakes(3600);
    let mut mended = play.clone();
    mended.aws.holds = "v2".into();
    mended.wake().is("resolve look status", "ready: Available");
    let mut another = play.clone();
    another.aws.config = Ok("v3".into());
    another
        .wake()
        .is("resolve look slot update record", "working: Updating");
    play.scene.resource.generation = 3;
    play.pass().is("resolve look slot update record", "working: Updating");
}

#[test]
fn a_check_of_what_was_given_up_that_has_begun_goes_on_where_an_answer_of_aws_sets_the_clock_back() {
    let begun = |kind| {
        let mut play = Play::applied(kind);
        play.answers([Answer::Refuse(Class::BadRequest)]);
        assert_eq!(play.pass().says, "stalled: InvalidSpec");
        play.scene.at(3599)
    };
    assert_eq!(name(&begun(Kind::Api).config(Ok("v1")).next()), "look");
    let step = begun(Kind::Backend).look(present()).next();
    assert_eq!(says(stored(&step).unwrap()), "stalled: AlreadyExists");
}

#[test]
fn a_read_that_aws_refuses_as_wrong_is_made_again_where_aws_has_something() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.pass();
        play.aws.reads = Some(Class::BadRequest);
        assert_eq!(play.wake().wakes(60).says, "stalled: InvalidSpec");
        for _ in 0..9 {
            play.wake();
        }
        play.wake().wakes(3600);
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
fn what_aws_refused_of_a_former_spec_is_not_said_any_more_when_the_edit_is_sent() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::Refuse(Class::Throttled)]);
    play.pass();
    play.scene.resource.generation = 2;
    play.aws.reads = Some(Class::Throttled);
    play.pass().is("look status", "working: Throttled");
    play.aws.reads = None;
    play.crash_after("intend")
        .is("look slot list intend", "working: Creating");
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
        // It recovers by itself, and the wait begins again with the next denial.
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
    for (class, says) in [
        (Class::Throttled, "working: Throttled"),
        (Class::Unavailable, "working: AwsUnavailable"),
    ] {
        let mut play = Play::creating(Kind::Backend);
        play.aws.reads = Some(class);
        play.wake().is("poll", "working: Creating");
        play.scene.resource.generation = 2;
        play.wake().is("poll", "working: Creating");
        // The deletion is reported nevertheless, once.
        play.scene.resource.generation = 3;
        play.scene.resource.deleting = true;
        play.wake().is("poll status", says);
        assert_eq!(play.scene.state.ledger.observed_generation, 3);
        play.wake().is("poll", says);
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

#[test]
fn what_is_edited_or_deleted_while_aws_is_away_does_not_stay_ready() {
    for class in [Class::Unavailable, Class::Throttled, Class::AccessDenied] {
        for kind in Kind::ALL {
            let ready = || {
                let mut play = Play::ready(kind);
                play.pass();
                play.after(60);
                play.aws.reads = Some(class);
                play
            };
            let mut deleted = ready();
            deleted.scene.resource.deleting = true;
            deleted.scene.resource.generation = 2;
            let did = deleted.pass();
            assert!(did.steps.ends_with("look status"), "{class:?} {did:?}");
            assert!(did.says.starts_with("working: "), "{class:?} {did:?}");
            assert_eq!(deleted.scene.state.ledger.observed_generation, 2);
            // Reported once.
            assert!(!deleted.wake().steps.contains("status") || class == Class::AccessDenied);
            let mut edited = ready();
            edited.scene.resource.generation = 2;
            edited.aws.config = Ok("v2".into());
            if kind == Kind::Api {
                let did = edited.pass();
                assert_eq!(did.steps, "resolve look status");
                assert!(did.says.starts_with("working: "), "{class:?} {did:?}");
            } else {
                // AWS does not see this edit.
                edited.pass().is("status", "ready: Available");
            }
            // A resource that nobody has changed stays Ready.
            let mut untouched = ready();
            let did = untouched.wake();
            assert_eq!(did.says, "ready: Available", "{class:?}");
            assert!(!did.steps.contains("status"), "{did:?}");
        }
    }
}

#[test]
fn a_stalled_reason_goes_when_it_no_longer_holds_whatever_else_is_wrong() {
    for (class, says) in [
        (Class::AccessDenied, "working: AccessDenied"),
        (Class::Unavailable, "working: AwsUnavailable"),
        (Class::Throttled, "working: Throttled"),
    ] {
        let mut region = Play::applied(Kind::Backend);
        region.scene.surroundings.invalid = Some("no AWS region".into());
        region.pass().is("status", "stalled: InvalidSpec");
        region.scene.surroundings.invalid = None;
        region.aws.reads = Some(class);
        region.pass().is("look status", says);
        let mut conflict = Play::applied(Kind::Backend);
        conflict.scene = conflict.scene.winner("AmplifyBackend default/older");
        conflict.pass().is("status", "stalled: Conflict");
        conflict.scene.surroundings.winner = None;
        conflict.aws.reads = Some(class);
        conflict.pass().is("look status", says);
        let mut in_use = Play::ready(Kind::Backend);
        in_use.scene.resource.deleting = true;
        in_use.scene.resource.generation = 2;
        in_use.scene.surroundings.dependents.staying = vec!["BackendApi default/shop".into()];
        in_use.pass().is("status", "stalled: InUse");
        in_use.scene.surroundings.dependents.staying.clear();
        in_use.aws.reads = Some(class);
        in_use.pass().is("look status", says);
        // AWS's earlier answer still holds.
        let mut exists = Play::applied(Kind::Backend);
        exists.aws.put(at(-7200));
        exists.pass().is("look status", "stalled: AlreadyExists");
        exists.aws.reads = Some(class);
        if class != Class::AccessDenied {
            exists.wake().is("look", "stalled: AlreadyExists");
        }
    }
}

#[test]
fn what_a_running_job_was_kept_from_is_not_said_any_more_when_it_goes_on() {
    for (class, says) in [
        (Class::Unavailable, "working: AwsUnavailable"),
        (Class::Throttled, "working: Throttled"),
    ] {
        let mut account = Play::creating(Kind::Backend);
        account.scene.surroundings.account = Account::Missing("no entry names the namespace".into());
        account.after(5).pass().is("status", "stalled: AccountNotFound");
        account.scene.surroundings.account = Account::Own;
        account.aws.reads = Some(class);
        account.pass().is("poll status", says);
        account.wake().is("poll", says);
        let mut suspended = Play::creating(Kind::Backend);
        suspended.scene.resource.suspend = true;
        suspended.after(5).pass().is("status", "still: Suspended");
        suspended.scene.resource.suspend = false;
        suspended.aws.reads = Some(class);
        suspended.pass().is("poll status", says);
        // A report about the job itself stays.
        let mut running = Play::creating(Kind::Backend);
        running.aws.reads = Some(class);
        running.wake().is("poll", "working: Creating");
        // The ConfigMap is there by now.
        let mut missing = Play::applied(Kind::Api);
        missing.aws.config = Err("waits for ConfigMap schema".into());
        missing.pass();
        while missing.scene.says() != "stalled: DependencyNotReady" {
            missing.wake();
        }
        missing.aws.reads = Some(class);
        missing.wake().is("resolve look", "stalled: DependencyNotReady");
        missing.aws.config = Ok("v1".into());
        missing.wake().is("resolve look status", says);
    }
}

#[test]
fn access_that_is_denied_to_another_operation_than_before_is_told() {
    let denied = |operation: &str| Failure {
        message: format!("{operation}: AccessDeniedException (HTTP 403)"),
        ..failure(Class::AccessDenied, Sent::Refused)
    };
    let mut scene = Scene::new(Kind::Backend);
    for (operation, other, is_news) in [
        ("GetBackend", "", true),
        ("GetBackend", " in other words", false),
        ("ListBackendJobs", "", true),
    ] {
        let mut failed = denied(operation);
        failed.message.push_str(other);
        scene.known.failed = Some(failed);
        let Step::Settle { state, .. } = scene.next() else {
            panic!("{operation} settles");
        };
        assert_eq!(*state != scene.state, is_news, "{operation}{other}");
        scene.state = *state;
        assert!(message(&scene.state).starts_with(operation));
    }
}

#[test]
fn a_read_that_aws_takes_for_wrong_says_what_to_do() {
    let mut play = Play::applied(Kind::Backend);
    play.aws.reads = Some(Class::BadRequest);
    play.pass().is("look status", "stalled: InvalidSpec");
    assert!(
        message(&play.scene.state)
            .ends_with("correct the value in the spec that AWS names. The operator asks AWS again by itself")
    );
    let mut deleting = Play::ready(Kind::Backend);
    deleting.scene.resource.deleting = true;
    deleting.scene.resource.generation = 2;
    deleting.aws.reads = Some(Class::BadRequest);
    deleting.pass().is("look status", "stalled: InvalidSpec");
    assert!(message(&deleting.scene.state).contains("deletionPolicy: Retain"));
}

#[test]
fn what_may_come_by_itself_is_stalled_when_it_lasts_and_is_still_tried() {
    // An app that AWS does not know: Stalled after 10 minutes.
    let mut app = Play::applied(Kind::Backend);
    app.answers(std::iter::repeat_n(Answer::Refuse(Class::NotFound), 20));
    app.pass();
    assert!(message(&app.scene.state).contains("looked in account 111122223333, region eu-west-1"));
    while app.now() < at(599) {
        assert_eq!(app.scene.says(), "working: AppNotFound");
        app.wake();
    }
    assert_eq!(
        (app.scene.says().as_str(), app.now()),
        ("stalled: AppNotFound", at(600))
    );
    let did = app.wake();
    assert!(did.steps.ends_with("intend create status"), "{did:?}");
    app.restart();
    assert_eq!(app.wake().says, "stalled: AppNotFound", "no flapping after a restart");
    app.aws.answers.clear();
    assert!(app.wake().steps.ends_with("create record"));
    // A reference to nothing: Stalled after 5 minutes. A reference to a resource that is not Ready: never.
    for (lack, says) in [
        (Lack::Absent, "stalled: DependencyNotReady"),
        (Lack::Unusable, "stalled: DependencyNotReady"),
        (Lack::NotReady, "working: DependencyNotReady"),
    ] {
        let mut reference = Play::applied(Kind::Api);
        reference.scene.surroundings.dependency = Some(Missing {
            lack,
            ..missing("AmplifyBackend stagin")
        });
        reference.pass().is("status", "working: DependencyNotReady");
        while reference.now() < at(300) {
            assert_eq!(reference.scene.says(), "working: DependencyNotReady");
            reference.wake();
        }
        assert_eq!(reference.scene.says(), says);
        reference.scene.surroundings.dependency = None;
        assert!(reference.wake().steps.ends_with("create record"), "still tried");
    }
}

#[test]
fn what_may_come_by_itself_is_waited_for_anew_after_an_edit() {
    let mut app = Play::applied(Kind::Backend);
    app.answers(std::iter::repeat_n(Answer::Refuse(Class::NotFound), 40));
    app.pass();
    while app.now() < at(590) {
        app.wake();
    }
    // The spec was corrected, and is wrong again.
    app.scene.resource.generation = 2;
    let edited = app.now();
    app.pass();
    while app.now() < edited + SignedDuration::from_secs(599) {
        assert_eq!(app.scene.says(), "working: AppNotFound", "{}", app.now());
        app.wake();
    }
    assert_eq!(app.scene.says(), "stalled: AppNotFound");
    // The same if the resource was Stalled before.
    app.scene.resource.generation = 3;
    app.pass();
    assert_eq!(app.scene.says(), "working: AppNotFound");
}

#[test]
fn advice_is_never_what_is_cut() {
    let mut play = Play::applied(Kind::Backend);
    play.scene.settings.max_job_attempts = 1;
    play.pass();
    let job = play.aws.jobs.last_mut().unwrap();
    *job = crate::lifecycle::facts::JobSeen {
        status: "FAILED".into(),
        error: Some(crate::api::text::summary(&format!(
            "amplify push\n{}the cause",
            "x".repeat(5000)
        ))),
        ..job.clone()
    };
    play.wake().is("poll look status", "stalled: JobFailed");
    let text = message(&play.scene.state);
    assert!(
        text.len() <= 1024 && text.contains("the cause; correct what AWS names"),
        "{text}"
    );
    assert!(text.ends_with("to try again"), "{text}");
}
