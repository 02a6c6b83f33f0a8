//! Rules 1 and 2: decide by status and look, and create once.

use super::{
    play::{Answer, Did, Play},
    scene::{
        Kind, Scene, accepted, at, ended, intent, message, missing, name, present, refused, running, seen_job,
        with_status,
    },
};
use crate::{
    api::{Abilities, Job, Operation, Origin, conditions::Reason},
    lifecycle::{
        Bar, Holds, Mark, Purpose, Seen, Sending, Slot, Step, Wake, facts::Class, holds_slot, is_polled, waits_for_slot,
    },
};

#[test]
fn a_create_is_slot_list_finalizer_intent_send_record_and_then_ready() {
    for (kind, steps, working) in [
        (
            Kind::Backend,
            "look slot list finalizer intend create record",
            "working: Creating",
        ),
        (
            Kind::Clone,
            "look slot list finalizer intend create record",
            "working: Cloning",
        ),
        (
            Kind::Api,
            "resolve look slot list finalizer intend create record",
            "working: Creating",
        ),
    ] {
        let mut play = Play::applied(kind);
        play.pass().is(steps, working).wakes(5);
        assert_eq!(
            play.scene.state.ledger.origin,
            Some(kind.origin()),
            "set with the accepted job"
        );
        play.wake().is("poll", working);
        play.job_ends("COMPLETED");
        let look = if kind == Kind::Api {
            "poll resolve look status"
        } else {
            "poll look status"
        };
        play.wake().is(look, "ready: Available");
        assert_eq!(play.scene.state.ledger.observed_generation, 1);
        assert_eq!(play.job().attempt, 1);
    }
}

#[test]
fn a_pass_asks_for_as_many_tokens_as_it_makes_requests() {
    for kind in Kind::ALL {
        let lists = if kind == Kind::Clone { 2 } else { 1 };
        let abilities = Abilities::of(kind.create());
        // If an environment can hold only one object of the kind, a look at an absent one also reads whether another
        // has its place.
        let bar = u32::from(abilities.is_alone);
        let requests = |did: Did, bar: u32| -> u32 {
            let request = |step| match step {
                "look" => 1 + bar,
                // With the read of the migration lock before it.
                "create" => 2,
                "list" => lists,
                _ => 0,
            };
            did.steps.split(' ').map(request).sum()
        };
        let mut play = Play::applied(kind);
        play.answers([Answer::LoseRequest]);
        assert_eq!(requests(play.pass(), bar), Purpose::Write.calls(&abilities), "{kind:?}");
        assert_eq!(
            requests(play.wake(), bar),
            Purpose::Outcome.calls(&abilities),
            "{kind:?}"
        );
        let mut ready = Play::ready(kind);
        ready.pass();
        assert_eq!(requests(ready.wake(), 0), Purpose::Drift.calls(&abilities), "{kind:?}");
    }
}

#[test]
fn what_has_the_place_of_an_object_or_is_missing_for_it_keeps_it_from_being_made() {
    let bars = [
        (Bar::Named("blog".into()), "stalled: AlreadyExists", "the name blog"),
        (Bar::Lacks, "working: DependencyNotReady", "it needs an auth"),
    ];
    for (bar, says, words) in bars {
        let mut play = Play::applied(Kind::Api);
        play.aws.bar = Some(bar.clone());
        play.scene.resource.words.lacks = "it needs an auth";
        play.pass().is("resolve look status", says);
        assert!(message(&play.scene.state).contains(words), "{bar:?}");
        assert!(play.scene.state.ledger.job.is_none() && !play.scene.resource.finalizer);
        // After the bar is gone, the next look leads to the create.
        play.aws.bar = None;
        play.scene.resource.request = Some("now".into());
        let did = play.pass();
        assert!(did.steps.contains("create"), "{did:?}");
    }
}

#[test]
fn what_aws_lacks_is_looked_for_ever_more_rarely_and_at_last_as_nobodys_first() {
    let mut play = Play::applied(Kind::Api);
    play.aws.bar = Some(Bar::Lacks);
    play.scene.resource.words.lacks = "it needs an auth";
    play.pass()
        .is("resolve look status", "working: DependencyNotReady")
        .wakes(30);
    play.wake().wakes(60);
    play.wake().wakes(120);
    // The resource is Stalled after five minutes, even if its next look would be later.
    play.wake().wakes(90);
    assert_eq!(play.wake().says, "stalled: DependencyNotReady");
    for _ in 0..10 {
        play.wake();
    }
    play.wake().wakes(3600);
    let mut scene = play.scene.config(Ok("h")).lock(Mark::Absent);
    let purpose = |scene: &Scene| match scene.next() {
        Step::Look(purpose) => Some(purpose),
        _ => None,
    };
    assert_eq!(purpose(&scene), Some(Purpose::Drift));
    scene.resource.request = Some("now".into());
    assert_eq!(purpose(&scene), Some(Purpose::Request));
}

#[test]
fn what_is_gone_is_not_made_again_in_the_place_of_another() {
    let mut play = Play::ready(Kind::Api);
    play.pass();
    play.aws.object = None;
    play.aws.bar = Some(Bar::Named("blog".into()));
    play.wake().is("resolve look status", "stalled: AlreadyExists");
    assert_eq!(play.scene.state.ledger.origin, None, "what is there is not ours");
    assert_eq!(play.aws.carried_out, []);
}

#[test]
fn an_attempt_that_came_to_nothing_is_not_repeated_in_the_place_of_another() {
    let mut play = Play::applied(Kind::Api);
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.aws.bar = Some(Bar::Named("blog".into()));
    let mut says = String::new();
    for _ in 0..20 {
        says = play.wake().says;
        if says.starts_with("stalled") {
            break;
        }
    }
    assert_eq!(says, "stalled: AlreadyExists");
    assert_eq!(play.aws.carried_out, []);
}

#[test]
fn a_record_is_created_without_a_job_and_without_a_list() {
    let mut play = Play::applied(Kind::Environment);
    play.pass()
        .is("look slot finalizer intend create record", "ready: Available")
        .wakes(3600);
    assert!(play.job().id.is_none() && play.job().finish_time.is_some());
    assert!(super::scene::message(&play.scene.state).contains("deploys nothing"));
}

#[test]
fn a_pending_job_of_anybody_is_waited_for_without_an_intent() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::applied(kind);
        play.aws.foreign_job("x-1", Operation::UpdateBackendApi, -60);
        let did = play.pass();
        assert!(did.steps.ends_with("look slot list status"), "{did:?}");
        assert_eq!(did.says, "working: WaitingForJob");
        assert_eq!(play.scene.state.ledger.job, None);
        let did = play.wake();
        assert!(did.steps.ends_with("look list"), "waiting costs no write: {did:?}");
        play.job_ends("COMPLETED");
        play.aws.object = None;
        assert_eq!(play.wake().says, Scene::new(kind).working());
    }
}

#[test]
fn an_unknown_job_status_counts_as_pending() {
    let mut play = Play::applied(Kind::Backend);
    let odd = with_status(seen_job("x-1", Operation::CloneBackend, -60), "QUEUED_FOR_LATER");
    play.aws.jobs.push(odd);
    play.pass().is("look slot list status", "working: WaitingForJob");
}

#[test]
fn a_slot_that_another_resource_holds_is_waited_for() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.aws.busy = true;
        let did = play.pass();
        assert!(did.steps.ends_with("look slot status"), "{did:?}");
        assert_eq!(did.says, "working: WaitingForJob");
        let did = play.wake();
        assert!(
            did.steps.ends_with("slot"),
            "AWS is asked again when its turn has come: {did:?}"
        );
        play.aws.busy = false;
        assert!(play.wake().steps.contains("intend create record"));
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_prolong_the_patience() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        assert_eq!(play.pass().says, "working: DependencyNotReady");
        // It wakes after the same time, by a clock that is an hour behind.
        play.after(300 - 3600).pass();
        assert_eq!(play.scene.says(), "working: DependencyNotReady");
        while play.wake().says != "stalled: DependencyNotReady" {}
        assert!(play.scene.now <= at(610 - 3600), "{kind:?} {}", play.scene.now);
    }
}

#[test]
fn an_edit_that_leaves_nothing_to_wait_for_ends_the_waiting() {
    let mut play = Play::ready(Kind::Api);
    play.pass();
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.aws.busy = true;
    play.pass().is("resolve look slot status", "working: WaitingForJob");
    play.wake().is("slot", "working: WaitingForJob");
    play.scene.resource.generation = 3;
    play.aws.config = Ok("v1".into());
    play.pass().is("resolve look status", "ready: Available");
}

#[test]
fn the_intent_remembers_the_newest_job_of_the_environment_by_the_clock_of_aws() {
    let mut play = Play::applied(Kind::Backend);
    for (id, created) in [("x-1", -90), ("x-3", -30), ("x-2", -60)] {
        let job = seen_job(id, Operation::DeleteBackend, created);
        play.aws.jobs.push(with_status(job, "COMPLETED"));
    }
    play.crash_after("intend");
    assert_eq!(play.job().after, Some(at(-30)));
    assert_eq!((play.job().attempt, play.job().unconfirmed), (1, false));
    assert_eq!(
        play.scene.state.ledger.region.as_deref(),
        Some("eu-west-1"),
        "pinned with the first intent"
    );
    assert_eq!(play.scene.state.ledger.account_id.as_deref(), Some("111122223333"));
}

#[test]
fn a_stale_view_means_starting_over() {
    let mut scene = Scene::new(Kind::Backend)
        .finalized()
        .look(None)
        .slot(Slot::Held)
        .jobs([]);
    let step = scene.next();
    assert_eq!(name(&step), "intend");
    scene.apply(&step, crate::lifecycle::Observed::Stale { same: false });
    assert_eq!(name(&scene.next()), "look");
}

#[test]
fn an_intent_that_has_grown_old_before_it_was_sent_is_written_anew() {
    let scene = Scene::new(Kind::Backend)
        .finalized()
        .job(intent(Operation::CreateBackend))
        .sending(Sending::Intended);
    assert_eq!(name(&scene.clone().at(9).next()), "create");
    let step = scene.at(10).next();
    let Step::Intend(state) = &step else { panic!("{step:?}") };
    let job = state.ledger.job.as_ref().unwrap();
    assert_eq!((job.attempt, job.request_time), (1, at(10)));
}

#[test]
fn an_intent_of_this_pass_is_not_sent_once_something_speaks_against_it() {
    let intended = || {
        Scene::new(Kind::Backend)
            .finalized()
            .job(intent(Operation::CreateBackend))
            .sending(Sending::Intended)
            .at(1)
    };
    assert_eq!(name(&intended().next()), "create");
    let mut without_finalizer = intended();
    without_finalizer.resource.finalizer = false;
    for (scene, step) in [
        (intended().deleting(), "list"),
        (intended().suspended(), "list"),
        (intended().winner("AmplifyBackend default/older"), "list"),
        (without_finalizer, "finalizer"),
    ] {
        assert_eq!(name(&scene.next()), step);
    }
}

#[test]
fn a_job_that_is_recorded_as_completed_needs_no_poll() {
    let mut play = Play::applied(Kind::Backend);
    play.crash_after("intend");
    play.after(20);
    play.aws.foreign_job("j-9", Operation::CreateBackend, 5);
    play.job_ends("COMPLETED");
    play.pass().is("list record look status", "ready: Available");
    assert_eq!(play.job().id.as_deref(), Some("j-9"));
}

#[test]
fn what_is_ready_costs_nothing_before_its_check_is_due() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.after(1800);
        play.pass();
        play.pass().is("", "ready: Available").wakes(1800);
        play.restart().pass().is("", "ready: Available").wakes(1800);
    }
}

#[test]
fn a_present_object_that_is_not_owned_is_not_touched() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.aws.put(at(-7200));
        let did = play.pass();
        assert!(did.steps.ends_with("look status"), "{did:?}");
        assert_eq!(did.says, "stalled: AlreadyExists");
        let did = play.wake().wakes(3600);
        assert!(
            did.steps.ends_with("look"),
            "seen again once per interval, without a write: {did:?}"
        );
        assert!(play.aws.carried_out.is_empty());
        assert_eq!(play.scene.state.ledger.origin, None);
        assert!(
            !play.scene.resource.finalizer,
            "nothing is owned, so nothing holds the resource"
        );
    }
}

#[test]
fn a_wiped_status_touches_nothing_and_says_already_exists() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.scene.state = crate::lifecycle::State::default();
        play.pass().is(
            if kind == Kind::Api {
                "resolve look status"
            } else {
                "look status"
            },
            "stalled: AlreadyExists",
        );
        assert!(play.aws.carried_out.is_empty());
    }
}

#[test]
fn a_status_that_was_wiped_in_the_middle_of_the_job_never_starts_a_second_one() {
    let mut play = Play::creating(Kind::Backend);
    play.scene.state = crate::lifecycle::State::default();
    play.pass().is("look slot list status", "working: WaitingForJob");
    play.job_ends("COMPLETED");
    play.wake().is("slot look status", "stalled: AlreadyExists");
    assert_eq!(play.aws.carried_out.len(), 1);
}

#[test]
fn the_loser_of_a_conflict_asks_aws_nothing_and_becomes_first_when_the_winner_goes() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.scene = play.scene.winner("AmplifyBackend default/older");
        play.pass().is("status", "stalled: Conflict").wakes(None);
        assert!(super::scene::message(&play.scene.state).contains("AmplifyBackend default/older"));
        play.pass().is("", "stalled: Conflict");
        play.scene.surroundings.winner = None;
        assert!(play.pass().steps.contains("intend create record"));
    }
}

#[test]
fn a_loser_with_an_open_intent_resolves_it_and_sends_no_new_attempt() {
    let mut play = Play::applied(Kind::Backend);
    play.crash_after("intend");
    play.scene = play.scene.winner("AmplifyBackend default/older");
    play.after(180).pass().is("list look store status", "stalled: Conflict");
    assert!(play.aws.carried_out.is_empty());
}

#[test]
fn a_dependency_is_waited_for_without_an_aws_call() {
    for kind in [Kind::Clone, Kind::Api] {
        let mut play = Play::applied(kind);
        play.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        play.scene.surroundings.resolved = false;
        play.pass().is("status", "working: DependencyNotReady");
        play.wake().is("", "working: DependencyNotReady");
        play.scene.surroundings.dependency = None;
        play.scene.surroundings.resolved = true;
        assert!(play.wake().steps.contains("intend create record"));
    }
}

#[test]
fn references_serve_only_create_and_update() {
    for kind in [Kind::Clone, Kind::Api] {
        let mut play = Play::ready(kind);
        play.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
        play.scene.surroundings.invalid = Some("cloneFrom.backendRef names a backend of another app".into());
        play.after(3600);
        assert_eq!(play.pass().says, "ready: Available");
        play.aws.object = None;
        play.after(3600);
        let did = play.pass();
        assert!(did.steps.ends_with("look status"), "{did:?}");
        assert_eq!(
            did.says, "stalled: InvalidSpec",
            "creating it again needs the reference"
        );
    }
}

#[test]
fn a_spec_that_cannot_be_carried_out_is_stalled_without_an_aws_call() {
    let mut play = Play::applied(Kind::Backend);
    play.scene.surroundings.invalid = Some("no AWS region".into());
    play.pass().is("status", "stalled: InvalidSpec").wakes(None);
    play.pass().is("", "stalled: InvalidSpec");
    play.scene.surroundings.invalid = None;
    play.pass()
        .is("look slot list finalizer intend create record", "working: Creating");
}

#[test]
fn a_missing_config_map_is_waited_for_before_the_create() {
    let mut play = Play::applied(Kind::Api);
    play.aws.config = Err("waits for ConfigMap schema".into());
    play.pass().is("resolve look status", "working: DependencyNotReady");
    play.wake().is("resolve look", "working: DependencyNotReady");
    play.aws.config = Ok("v1".into());
    play.wake().is(
        "resolve look slot list finalizer intend create record",
        "working: Creating",
    );
    assert_eq!(play.scene.state.hashes.sent.as_deref(), Some("v1"));
}

#[test]
fn another_region_than_the_pinned_one_is_stalled_and_never_a_second_create() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.scene.surroundings.region = Some("us-east-1".into());
        play.after(7200).pass().is("status", "stalled: AccountChanged");
        assert!(message(&play.scene.state).starts_with("the AWS object is in eu-west-1"));
        play.scene.state.ledger.origin = None;
        play.aws.object = None;
        play.pass().is("status", "stalled: AccountChanged");
        assert!(message(&play.scene.state).starts_with("a create was sent to eu-west-1"));
        assert!(play.aws.carried_out.is_empty());
    }
}

#[test]
fn what_exists_by_awss_word_and_is_not_shown_is_given_up_after_one_more_attempt() {
    let mut play = Play::applied(Kind::Backend);
    play.aws.refusal = Some("S3 bucket b already exists".into());
    play.answers(std::iter::repeat_n(Answer::Refuse(Class::BadRequest), 9));
    assert_eq!(play.pass().says, "stalled: AlreadyExists");
    let did = play.wake();
    assert!(did.steps.ends_with("create status"), "{did:?}");
    assert_eq!(did.says, "stalled: InvalidSpec");
    for _ in 0..3 {
        assert!(!play.wake().steps.contains("create"));
        assert_eq!(play.scene.says(), "stalled: InvalidSpec");
    }
    assert_eq!(play.job().attempt, 2);
    // An edit leads to a new attempt.
    play.scene.resource.generation = 2;
    assert_eq!(play.pass().says, "stalled: AlreadyExists");
}

#[test]
fn an_attempt_of_unknown_outcome_is_not_made_anew_in_a_region_that_the_spec_has_left() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.answers([Answer::LoseRequest]);
        play.pass();
        play.scene.surroundings.region = Some("us-east-1".into());
        play.scene.resource.generation = 2;
        let did = play.after(120).pass();
        assert!(did.steps.ends_with("store status"), "{did:?}");
        assert_eq!(did.says, "stalled: AccountChanged");
        assert!(play.aws.carried_out.is_empty());
        // The resource can be deleted without a write to AWS.
        play.scene.resource.deleting = true;
        assert_eq!(play.pass().steps, "release");
    }
}

#[test]
fn a_record_that_was_there_before_is_not_taken_for_what_a_create_has_made() {
    for (created, differs) in [(-3600, None), (0, Some("stackName"))] {
        let mut play = Play::applied(Kind::Environment);
        play.aws.shows = Some(Seen {
            create_time: Some(at(created)),
            differs: differs.into_iter().collect(),
            echo: None,
        });
        let did = play.pass();
        assert_eq!(
            did.steps, "look slot finalizer intend create store look status",
            "{did:?}"
        );
        assert_eq!(did.says, "stalled: AlreadyExists");
        assert_eq!(play.scene.state.ledger.origin, None);
    }
}

#[test]
fn what_is_owned_or_may_be_gets_its_lost_finalizer_back_before_anything_else() {
    let lost = |scene: Scene| {
        let mut scene = scene;
        scene.resource.finalizer = false;
        name(&scene.next())
    };
    let backend = || Scene::new(Kind::Backend);
    let operation = Operation::CreateBackend;
    assert_eq!(lost(backend().ready()), "finalizer");
    assert_eq!(lost(backend().ready().suspended()), "finalizer");
    assert_eq!(
        lost(backend().owned(Origin::Created).job(running(operation))),
        "finalizer"
    );
    assert_eq!(lost(backend().job(intent(operation)).at(300)), "finalizer");
    let mut unconfirmed = refused(intent(operation));
    unconfirmed.unconfirmed = true;
    assert_eq!(lost(backend().job(unconfirmed)), "finalizer");
    assert_eq!(
        lost(backend().job(refused(intent(operation)))),
        "look",
        "nothing to hold it for"
    );
    assert_eq!(
        lost(backend().ready().deleting()),
        "settle",
        "too late: nothing can be added any more"
    );
}

#[test]
fn attempt_counts_every_write_and_never_resets() {
    let mut play = Play::applied(Kind::Api);
    play.answers([Answer::Refuse(Class::Throttled), Answer::Accept]);
    play.pass();
    play.wake();
    assert_eq!(play.job().attempt, 2);
    play.job_ends("COMPLETED");
    play.wake().is("poll resolve look status", "ready: Available");
    play.aws.config = Ok("v2".into());
    play.scene.resource.generation = 2;
    play.pass().is("resolve look slot update record", "working: Updating");
    assert_eq!(play.job().attempt, 3);
    play.job_ends("COMPLETED");
    play.wake();
    play.scene.resource.deleting = true;
    play.pass().is("look slot delete record", "working: Deleting");
    assert_eq!(play.job().attempt, 4);
}

#[test]
fn a_slot_is_held_from_the_intent_to_the_end_of_the_job() {
    let holds = |job: Job, suspend| {
        let ledger = Scene::new(Kind::Backend).job(job).state.ledger;
        holds_slot(&ledger, suspend, jiff::SignedDuration::from_mins(90))
    };
    let operation = Operation::CreateBackend;
    assert_eq!(holds(intent(operation), false), Holds::Yes);
    assert_eq!(holds(intent(operation), true), Holds::Yes, "an open intent keeps it");
    assert_eq!(holds(running(operation), false), Holds::Until(at(5400)));
    assert_eq!(holds(running(operation), true), Holds::No);
    assert_eq!(holds(ended(running(operation), "COMPLETED"), false), Holds::No);
    assert_eq!(holds(refused(intent(operation)), false), Holds::No);
    assert!(Holds::Until(at(10)).at(at(9)) && !Holds::Until(at(10)).at(at(10)));
}

#[test]
fn a_job_is_polled_as_others_are_while_it_runs_within_its_time() {
    let operation = Operation::CreateBackend;
    let polled = |job: Job, suspend, reason| {
        let scene = Scene::new(Kind::Backend).job(job).said(reason);
        is_polled(&scene.state.ledger, suspend)
    };
    assert!(polled(running(operation), false, Reason::Creating));
    assert!(!polled(running(operation), true, Reason::Creating));
    assert!(!polled(running(operation), false, Reason::JobTimedOut));
    assert!(!polled(intent(operation), false, Reason::Creating));
    assert!(!polled(ended(running(operation), "COMPLETED"), false, Reason::Creating));
    assert!(!is_polled(&Scene::new(Kind::Backend).state.ledger, false));
}

#[test]
fn who_says_so_waits_for_the_slot_unless_it_is_suspended() {
    for (reason, suspend, waits) in [
        (Reason::WaitingForJob, false, true),
        (Reason::WaitingForJob, true, false),
        (Reason::Creating, false, false),
        (Reason::Suspended, true, false),
    ] {
        let scene = Scene::new(Kind::Backend).said(reason);
        assert_eq!(
            waits_for_slot(&scene.state.ledger, suspend),
            waits,
            "{reason:?} {suspend}"
        );
    }
}

#[test]
fn a_reply_is_recorded_before_anything_else_is_decided() {
    let scene = Scene::new(Kind::Backend)
        .finalized()
        .job(intent(Operation::CreateBackend))
        .reply(accepted("j-7"));
    for scene in [
        scene.clone(),
        scene.clone().suspended(),
        scene.clone().deleting(),
        scene.clone().winner("AmplifyBackend default/older"),
        scene.clone().generation(4),
    ] {
        let step = scene.next();
        let Step::RecordAccepted(state) = &step else {
            panic!("{step:?}")
        };
        let job = state.ledger.job.as_ref().unwrap();
        assert_eq!((job.id.as_deref(), job.attempt, job.generation), (Some("j-7"), 1, 1));
        assert_eq!(state.ledger.origin, Some(Origin::Created));
    }
}

#[test]
fn a_resource_that_goes_before_it_has_a_finalizer_is_left_alone() {
    let step = Scene::new(Kind::Backend).deleting().look(present()).next();
    let Step::Settle { state, wake, .. } = &step else {
        panic!("{step:?}")
    };
    assert_eq!(
        (state.as_ref(), *wake),
        (&crate::lifecycle::State::default(), Wake::Never)
    );
}

#[test]
fn what_was_certainly_not_created_is_pinned_nowhere() {
    for (answer, pinned) in [
        (Answer::Refuse(Class::NotFound), false),
        (Answer::Refuse(Class::AccessDenied), false),
        (Answer::Never(Class::Unavailable), false),
        (Answer::LoseRequest, true),
    ] {
        let mut play = Play::applied(Kind::Backend);
        play.answers([answer.clone()]);
        play.pass();
        assert_eq!(play.scene.state.ledger.region.is_some(), pinned, "{answer:?}");
        // The region was mistyped, and is corrected.
        play.scene.surroundings.region = Some("us-east-1".into());
        play.scene.resource.generation = 2;
        if !pinned {
            let did = play.pass();
            assert!(did.steps.ends_with("intend create record"), "{answer:?} {did:?}");
            assert_eq!(play.scene.state.ledger.region.as_deref(), Some("us-east-1"));
        }
    }
}
