//! Rule 4: an intent whose outcome is unknown.

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, intent, missing, name, present, recorded, refusal, says, seen_job, stored, with_status},
};
use crate::{
    api::{Operation, Origin},
    lifecycle::{Reply, Slot, Step, Wake, facts::Class},
};

#[test]
fn a_lost_reply_is_found_by_the_list_and_never_sent_again() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::applied(kind);
        play.answers([Answer::LoseReply]);
        let did = play.pass();
        assert!(did.steps.ends_with("intend create status"), "{did:?}");
        assert_eq!(did.says, "working: AwsUnavailable");
        play.wake().is("list record", play.scene.working());
        assert_eq!(play.job().id.as_deref(), Some("j-1"));
        assert_eq!(play.scene.state.ledger.origin, Some(kind.origin()));
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().says, "ready: Available");
        assert_eq!(play.aws.carried_out.len(), 1);
    }
}

#[test]
fn a_lost_reply_of_a_record_is_found_by_the_look() {
    let mut play = Play::applied(Kind::Environment);
    play.answers([Answer::LoseReply]);
    play.pass()
        .is("look slot finalizer intend create status", "working: AwsUnavailable");
    play.wake().is("look record", "ready: Available");
    assert_eq!(play.scene.state.ledger.origin, Some(Origin::Created));
    assert_eq!(play.aws.carried_out.len(), 1);
}

#[test]
fn a_request_that_never_arrived_is_a_new_attempt_after_two_minutes_and_not_before() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.answers([Answer::LoseRequest]);
        play.pass();
        while play.now() < at(85) {
            let did = play.wake();
            assert!(
                ["list look", "list resolve look", "look"].contains(&did.steps.as_str()),
                "no write while waiting: {did:?}"
            );
        }
        play.after((at(119).duration_since(play.now())).as_secs());
        let did = play.pass().wakes(1);
        assert!(did.steps.ends_with("look"), "{did:?}");
        assert_eq!(play.job().after, None);
        let mut sending = play.clone();
        sending.scene.now = at(120);
        sending.crash_after("intend");
        assert!(sending.job().unconfirmed);
        // Anything that the first attempt may have made still counts.
        assert_eq!((sending.job().attempt, sending.job().after), (2, Some(at(-300))));
        let did = play.wake();
        assert!(did.steps.ends_with("intend create record"), "{did:?}");
        assert_eq!((play.job().attempt, play.job().unconfirmed), (2, false));
        assert_eq!(play.aws.carried_out.len(), 1);
    }
}

#[test]
fn a_process_that_died_with_an_open_intent_never_sends_it() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.crash_after("intend");
        let did = play.pass();
        assert!(
            ["list look", "list resolve look", "look"].contains(&did.steps.as_str()),
            "{did:?}"
        );
        assert!(play.aws.carried_out.is_empty());
        play.after(120);
        assert!(play.pass().steps.ends_with("intend create record"));
        assert_eq!(play.aws.carried_out.len(), 1);
    }
}

#[test]
fn a_process_that_died_before_it_recorded_finds_its_job() {
    for kind in Kind::ALL {
        let mut play = Play::applied(kind);
        play.crash_after("create");
        let did = play.after(3).pass();
        assert!(did.steps.ends_with("record"), "{did:?}");
        assert_eq!(play.scene.state.ledger.origin, Some(kind.origin()));
        assert_eq!(play.aws.carried_out.len(), 1);
    }
}

#[test]
fn only_a_job_of_the_same_operation_created_later_than_after_is_ours() {
    let open = |after| {
        let mut job = intent(Operation::CreateBackend);
        job.after = after;
        Scene::new(Kind::Backend).finalized().job(job).at(5).look(None)
    };
    let untimed = || {
        let mut job = seen_job("j-1", Operation::CreateBackend, 0);
        job.create_time = None;
        job
    };
    for (after, job, step) in [
        (Some(at(-30)), seen_job("j-1", Operation::CreateBackend, -29), "record"),
        (Some(at(-30)), seen_job("j-1", Operation::CreateBackend, -30), "settle"),
        (Some(at(-30)), seen_job("j-1", Operation::CreateBackend, -31), "settle"),
        (Some(at(-30)), seen_job("j-1", Operation::CloneBackend, 1), "settle"),
        (Some(at(-30)), untimed(), "settle"),
        // Without `after`, only a job about as new as the request counts.
        (None, seen_job("j-1", Operation::CreateBackend, -300), "record"),
        (None, seen_job("j-1", Operation::CreateBackend, -301), "settle"),
        (None, untimed(), "settle"),
        (Some(at(-30)), seen_job("", Operation::CreateBackend, 1), "settle"),
        // A job created later than any request can take is somebody else's.
        (Some(at(-30)), seen_job("j-1", Operation::CreateBackend, 130), "record"),
        (Some(at(-30)), seen_job("j-1", Operation::CreateBackend, 131), "settle"),
        (None, seen_job("j-1", Operation::CreateBackend, 86_400), "settle"),
    ] {
        let scene = open(after).jobs([job.clone()]);
        assert_eq!(name(&scene.next()), step, "{after:?} {job:?}");
    }
}

#[test]
fn of_several_jobs_that_could_be_ours_the_newest_is() {
    let scene = Scene::new(Kind::Backend)
        .finalized()
        .job(intent(Operation::CreateBackend))
        .jobs([1, 3, 2].map(|created| seen_job(&format!("j-{created}"), Operation::CreateBackend, created)));
    let step = scene.next();
    let Step::RecordAccepted(state) = &step else {
        panic!("{step:?}")
    };
    assert_eq!(state.ledger.job.as_ref().unwrap().id.as_deref(), Some("j-3"));
}

#[test]
fn a_list_or_a_look_made_before_the_two_minutes_proves_nothing() {
    let scene = Scene::new(Kind::Backend)
        .finalized()
        .job(intent(Operation::CreateBackend));
    let early_list = scene
        .clone()
        .at(119)
        .jobs([])
        .at(121)
        .look(None)
        .slot(crate::lifecycle::Slot::Held);
    assert_eq!(name(&early_list.next()), "settle");
    let early_look = scene.clone().at(119).look(None).at(121).jobs([]);
    assert_eq!(name(&early_look.next()), "settle");
    // AWS is not asked again at once either.
    for now in [120, 121] {
        let step = scene.clone().at(119).jobs([]).at(now).look(None).next();
        let is_later = matches!(&step, Step::Settle { wake: Wake::At(time), .. } if *time == at(now + 30));
        assert!(is_later, "{step:?}");
    }
    assert_eq!(name(&scene.at(120).look(None).jobs([]).next()), "intend");
}

#[test]
fn a_record_is_ours_only_with_equal_fields_and_a_time_after_the_request() {
    let scene = Scene::new(Kind::Environment)
        .finalized()
        .job(intent(Operation::CreateBackendEnvironment))
        .at(5);
    let other = || {
        let mut seen = recorded(1);
        seen.as_mut().unwrap().differs.push("stackName");
        seen
    };
    for (seen, step) in [
        (recorded(1), "record"),
        (recorded(-300), "record"),
        (recorded(-301), "settle"),
        (recorded(131), "settle"),
        (present(), "settle"),
        (other(), "settle"),
    ] {
        assert_eq!(name(&scene.clone().look(seen.clone()).next()), step, "{seen:?}");
        if step == "settle" {
            let step = scene.clone().at(120).look(seen).next();
            let Step::Record(state) = &step else { panic!("{step:?}") };
            let job = state.ledger.job.as_ref().unwrap();
            assert!(
                job.finish_time.is_some() && !job.unconfirmed,
                "present and not ours closes the intent"
            );
            assert_eq!(state.ledger.origin, None);
        }
    }
    // For a record, `after` is not the time of an earlier job, but the earliest time of all attempts.
    let mut second = scene;
    second.state.ledger.job.as_mut().unwrap().after = Some(at(-400));
    for (created, step) in [(-400, "record"), (-401, "settle")] {
        assert_eq!(name(&second.clone().look(recorded(created)).next()), step, "{created}");
    }
}

#[test]
fn present_by_then_but_not_ours_leads_to_rule_1() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.aws.put(at(30));
    play.after(120)
        .pass()
        .is("list look store status", "stalled: AlreadyExists");
    let mut play = Play::applied(Kind::Backend);
    play.scene.resource.adoption_policy = crate::api::AdoptionPolicy::IfExists;
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.aws.put(at(30));
    play.after(120)
        .pass()
        .is("list look store slot list status", "ready: Available");
    assert_eq!(play.scene.state.ledger.origin, Some(Origin::Adopted));
}

#[test]
fn a_pending_job_of_somebody_else_forbids_a_new_attempt() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.aws.foreign_job("x-1", Operation::UpdateBackendApi, 30);
    play.after(180).pass().is("list look status", "working: WaitingForJob");
    play.wake().is("list look", "working: WaitingForJob");
    play.aws.jobs[0].status = "COMPLETED".into();
    play.wake().is("list look intend create record", "working: Creating");
    assert_eq!(play.job().attempt, 2);
}

#[test]
fn a_refusal_of_an_unconfirmed_attempt_is_believed_only_after_a_look_and_a_list() {
    for class in [Class::BadRequest, Class::Pending] {
        // The first request arrives late: after it was given up and before the second is refused.
        let mut play = Play::applied(Kind::Backend);
        play.answers([Answer::LoseRequest, Answer::Refuse(class)]);
        play.pass();
        play.after(120).crash_after("intend");
        assert!(play.job().unconfirmed);
        let mut late = play.clone();
        late.scene.known.sending = crate::lifecycle::Sending::Intended;
        late.aws.foreign_job("j-1", Operation::CreateBackend, 119);
        late.pass().is("create list record", "working: Creating");
        assert_eq!(late.job().id.as_deref(), Some("j-1"));
        assert_eq!(late.job().attempt, 2);
        // Nothing is found: the refusal holds.
        let mut refused = play.clone();
        refused.scene.known.sending = crate::lifecycle::Sending::Intended;
        let says = if class == Class::Pending {
            "working: WaitingForJob"
        } else {
            "stalled: InvalidSpec"
        };
        refused.pass().is("create list look status", says);
        // Somebody else made the object.
        play.scene.known.sending = crate::lifecycle::Sending::Intended;
        play.aws.put(at(119));
        play.pass()
            .is("create list look store status", "stalled: AlreadyExists");
    }
    // Without an unconfirmed attempt before it, a refusal is definite at once.
    let scene = Scene::new(Kind::Backend)
        .finalized()
        .job(intent(Operation::CreateBackend))
        .reply(refusal(Class::BadRequest));
    assert_eq!(name(&scene.next()), "settle");
}

#[test]
fn an_attempt_of_unknown_outcome_that_shows_up_after_a_refused_one_is_still_ours() {
    let given_up = || {
        let mut play = Play::applied(Kind::Backend);
        play.answers([Answer::LoseRequest, Answer::Refuse(Class::Throttled)]);
        play.pass();
        play.after(120)
            .pass()
            .is("list look intend create status", "working: Throttled");
        assert!(play.job().unconfirmed && play.job().finish_time.is_some());
        play
    };
    let mut running = given_up();
    running.aws.foreign_job("j-1", Operation::CreateBackend, 119);
    running.wake().is("look slot list record", "working: Creating");
    let mut completed = given_up();
    completed.aws.foreign_job("j-1", Operation::CreateBackend, 119);
    completed.job_ends("COMPLETED");
    completed
        .wake()
        .is("look slot list record look status", "ready: Available");
    assert_eq!(completed.scene.state.ledger.origin, Some(Origin::Created));
    let mut neither = given_up();
    neither.aws.foreign_job("x-1", Operation::UpdateBackendApi, 130);
    neither.aws.jobs[0].status = "COMPLETED".into();
    neither
        .wake()
        .is("look slot list intend create record", "working: Creating");
    assert_eq!(
        (neither.job().attempt, neither.job().after),
        (3, Some(at(-300))),
        "`after` is kept"
    );
    assert!(
        !neither.job().unconfirmed,
        "AWS would not have taken this one if it had taken another"
    );
    let mut made_by_another = given_up();
    made_by_another.aws.put(at(119));
    made_by_another
        .wake()
        .is("look slot list status", "stalled: AlreadyExists");
    assert!(!made_by_another.job().unconfirmed, "so none of ours did");
}

#[test]
fn an_attempt_that_was_given_up_does_not_take_the_job_of_another_resource_for_its_own() {
    let mut play = Play::applied(Kind::Api);
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.scene.resource.suspend = true;
    play.after(120).pass().is("list resolve look store", "still: Suspended");
    // Meanwhile, another API of the environment is made.
    play.scene.resource.suspend = false;
    play.aws.foreign_job("j-1", Operation::CreateBackendApi, 130);
    let mut recorded = play.clone();
    recorded.scene.surroundings.jobs_of_others.insert("j-1".into());
    recorded
        .pass()
        .is("resolve look slot list status", "working: WaitingForJob");
    assert_eq!(recorded.job().id, None);
    // Until its job is recorded, the other resource holds the environment.
    let scene = play.scene.look(present()).config(Ok("v1"));
    assert_eq!(name(&scene.next()), "slot");
    let step = scene.slot(Slot::Busy).next();
    assert_eq!(says(stored(&step).unwrap()), "working: WaitingForJob");
}

#[test]
fn a_record_of_unknown_outcome_that_shows_up_after_a_refused_one_is_still_ours() {
    let mut play = Play::applied(Kind::Environment);
    play.answers([Answer::LoseRequest, Answer::Refuse(Class::Throttled)]);
    play.pass();
    play.after(120).pass();
    play.aws.put(at(119));
    play.wake().is("look record", "ready: Available");
    assert_eq!(play.scene.state.ledger.origin, Some(Origin::Created));
}

#[test]
fn an_adopted_object_settles_the_attempts_of_unknown_outcome() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest, Answer::Refuse(Class::Throttled)]);
    play.pass();
    play.after(120).pass();
    play.aws.put(at(119));
    play.scene.resource.adoption_policy = crate::api::AdoptionPolicy::IfExists;
    play.wake();
    assert_eq!(play.scene.state.ledger.origin, Some(Origin::Adopted));
    assert!(!play.job().unconfirmed);
}

#[test]
fn an_attempt_that_cannot_be_made_again_gives_up_the_slot() {
    // Another resource that this one waits for may need the environment itself.
    let open = |kind| {
        let mut play = Play::applied(kind);
        play.answers([Answer::LoseRequest]);
        play.pass();
        play.after(120);
        play
    };
    let mut play = open(Kind::Api);
    play.scene.surroundings.dependency = Some(missing("waits for AmplifyBackend dev"));
    play.pass()
        .is("list resolve look store status", "working: DependencyNotReady");
    assert!(play.job().finish_time.is_some() && play.job().unconfirmed);
    let mut play = open(Kind::Api);
    play.aws.config = Err("waits for ConfigMap schema".into());
    play.pass()
        .is("list resolve look store status", "working: DependencyNotReady");
    assert!(play.job().finish_time.is_some());
    play.aws.config = Ok("v1".into());
    play.wake()
        .is("resolve look slot list intend create record", "working: Creating");
    assert_eq!(play.job().attempt, 2);
}

#[test]
fn an_attempt_that_was_given_up_claims_nothing_that_began_after_its_closing() {
    for (created, claims) in [(100, true), (120, true), (121, false), (129, false)] {
        let mut play = Play::applied(Kind::Clone);
        play.answers([Answer::LoseRequest]);
        play.pass();
        play.scene.resource.suspend = true;
        play.after(120).pass();
        play.aws.foreign_job("x-1", Operation::CloneBackend, created);
        play.aws.jobs[0].status = "COMPLETED".into();
        play.scene.resource.suspend = false;
        let did = play.after(10).pass();
        let id = play.job().id.as_deref();
        assert_eq!(id == Some("x-1"), claims, "{created} {did:?}");
    }
}

#[test]
fn a_suspended_resource_resolves_its_open_intent_by_reads_only() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseReply]);
    play.pass();
    play.scene.resource.suspend = true;
    play.scene.resource.generation = 2;
    play.wake().is("list record status", "still: Suspended");
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.pass();
    play.scene.resource.suspend = true;
    play.wake().is("list look", "working: AwsUnavailable");
    play.after(120)
        .pass()
        .is("list look store", "still: Suspended")
        .wakes(None);
    assert!(play.aws.carried_out.is_empty());
    play.scene.resource.suspend = false;
    play.pass()
        .is("look slot list intend create record", "working: Creating");
}

#[test]
fn reads_that_fail_while_an_outcome_is_sought_change_nothing() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseReply]);
    play.pass();
    for class in [Class::Throttled, Class::Unavailable] {
        play.aws.reads = Some(class);
        play.wake().is("list", "working: AwsUnavailable");
    }
    play.aws.reads = None;
    play.after(600).pass().is("list record", "working: Creating");
    assert_eq!(play.aws.carried_out.len(), 1);
}

#[test]
fn a_definite_refusal_and_a_connection_never_made_close_the_intent() {
    for answer in [Answer::Refuse(Class::Throttled), Answer::Never(Class::Unavailable)] {
        let mut play = Play::applied(Kind::Backend);
        play.answers([answer]);
        play.pass();
        let job = play.job();
        assert!(job.finish_time.is_some() && job.error.is_some() && !job.unconfirmed);
        assert_eq!(job.failures, 0, "only FAILED jobs count");
        play.wake()
            .is("look slot list intend create record", "working: Creating");
        assert_eq!(play.job().attempt, 2);
    }
}

#[test]
fn a_reply_without_a_job_id_is_an_unknown_outcome() {
    let reply = crate::lifecycle::Reply::Job {
        id: None,
        environment: None,
        status: Some("RUNNING".into()),
        error: None,
    };
    let scene = Scene::new(Kind::Backend)
        .finalized()
        .job(intent(Operation::CreateBackend))
        .reply(reply);
    let step = scene.next();
    let Step::Settle { state, .. } = &step else {
        panic!("{step:?}")
    };
    assert!(state.ledger.job.as_ref().unwrap().is_open_intent());
}

#[test]
fn a_claimed_job_that_has_already_failed_is_followed_to_its_failure() {
    let mut play = Play::applied(Kind::Backend);
    play.crash_after("create");
    play.job_ends("FAILED");
    play.after(3).pass().is("list record", "working: Creating");
    play.wake().is("poll look status", "working: Creating");
    assert_eq!(play.job().failures, 1);
    assert_eq!(play.scene.state.ledger.origin, None);
}

#[test]
fn a_clone_finds_its_job_under_source_or_target() {
    let mut job = seen_job("j-1", Operation::CloneBackend, 1);
    job.environment = "source".into();
    let scene = Scene::new(Kind::Clone)
        .finalized()
        .job(intent(Operation::CloneBackend))
        .jobs([job]);
    let step = scene.next();
    let Step::RecordAccepted(state) = &step else {
        panic!("{step:?}")
    };
    let job = state.ledger.job.as_ref().unwrap();
    assert_eq!(
        job.backend_environment_name.as_deref(),
        Some("source"),
        "polled where AWS lists it"
    );
    assert_eq!(state.ledger.origin, Some(Origin::Cloned));
    let pending = with_status(seen_job("x-1", Operation::CreateBackend, -5), "RUNNING");
    let scene = Scene::new(Kind::Clone)
        .finalized()
        .look(None)
        .slot(crate::lifecycle::Slot::Held)
        .jobs([pending]);
    assert_eq!(
        name(&scene.next()),
        "settle",
        "a pending job of source or target is waited for"
    );
}

#[test]
fn a_failure_at_once_after_an_unconfirmed_attempt_is_counted_once() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest, Answer::Fail]);
    play.pass();
    play.after(120).pass();
    assert_eq!(play.job().failures, 1);
    play.aws.foreign_job("j-1", Operation::CreateBackend, 120);
    play.job_ends("FAILED");
    play.wake()
        .is("look slot list intend create record", "working: Creating");
    assert_eq!((play.job().attempt, play.job().failures), (3, 1));
}

#[test]
fn a_pending_job_that_hides_an_update_or_a_delete_is_waited_for_by_name() {
    for deleting in [true, false] {
        let mut play = Play::ready(Kind::Api);
        play.scene.resource.generation = 2;
        play.scene.resource.deleting = deleting;
        play.aws.config = Ok("v2".into());
        play.answers([Answer::LoseReply]);
        play.pass();
        while play.now() < at(120) {
            assert_eq!(play.scene.says(), "working: AwsUnavailable");
            assert_eq!(play.wake().steps.split(' ').next(), Some("list"));
        }
        assert_eq!(
            play.scene.says(),
            "working: WaitingForJob",
            "AWS is there, and its job hangs"
        );
        for _ in 0..3 {
            assert_eq!(play.wake().steps, "list");
        }
        play.job_ends("COMPLETED");
        let did = play.wake();
        if deleting {
            assert_eq!(did.steps, "list look release");
        } else {
            assert_eq!(did.says, "ready: Available");
        }
    }
}

#[test]
fn what_aws_says_it_has_made_is_its_own_though_the_clock_was_put_right_by_that_answer() {
    // The intent is three hours old by AWS's clock.
    for (created, step, origin) in [
        (3 * 3600, "record", Some(Origin::Created)),
        (3 * 3600 - 60, "record", Some(Origin::Created)),
        (2 * 3600, "store", None),
        (0, "store", None),
    ] {
        let scene = Scene::new(Kind::Environment)
            .finalized()
            .job(intent(Operation::CreateBackendEnvironment))
            .at(3 * 3600)
            .reply(Reply::Done {
                asked: at(3 * 3600),
                seen: recorded(created).unwrap(),
            });
        let answer = scene.next();
        assert_eq!(name(&answer), step, "{created}: {answer:?}");
        assert_eq!(stored(&answer).unwrap().ledger.origin, origin, "{created}");
    }
}

#[test]
fn what_aws_says_it_has_made_is_its_own_though_the_clock_was_ahead() {
    let scene = Scene::new(Kind::Environment)
        .finalized()
        .job(intent(Operation::CreateBackendEnvironment))
        .at(-3600)
        .reply(Reply::Done {
            asked: at(-3600),
            seen: recorded(-3600).unwrap(),
        });
    let answer = scene.next();
    assert_eq!(name(&answer), "record", "{answer:?}");
    assert_eq!(
        stored(&answer).unwrap().ledger.job.as_ref().unwrap().request_time,
        at(-3600)
    );
}

#[test]
fn a_delete_of_unknown_outcome_does_not_make_a_404_right_after_the_create_believed() {
    let mut play = Play::creating(Kind::Backend);
    play.job_ends("COMPLETED");
    play.wake();
    play.after(5);
    play.scene.resource.deleting = true;
    play.scene.resource.generation = 2;
    play.answers([Answer::LoseRequest]);
    assert!(play.pass().steps.contains("delete"));
    play.aws.object = None;
    let made = play.job().after.unwrap();
    let mut did = play.wake();
    while !did.steps.contains("release") {
        did = play.wake();
    }
    assert!(
        play.now().duration_since(made) >= play.scene.settings.absence_grace,
        "{:?}",
        play.now()
    );
}
