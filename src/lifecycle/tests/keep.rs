//! Rule 7: adopt, keep in line, drift.

use super::{
    play::{Answer, Play},
    scene::{Kind, Scene, at, echoing, message, name, seen_job, with_status},
};
use crate::{
    api::{AdoptionPolicy, DeletionPolicy, Job, Operation, Origin},
    lifecycle::{
        Equality, Lack, Purpose, Slot, Step, Write,
        facts::{Class, JobSeen},
    },
};

#[test]
fn adopting_stores_finalizer_then_origin_account_and_region() {
    for kind in Kind::ALL {
        let mut play = Play::new(Scene::new(kind).adopting().policy(Some(DeletionPolicy::Retain)));
        play.aws.put(at(-7200));
        let did = play.pass();
        let list = if kind.create().has_job() { "slot list " } else { "" };
        assert!(did.steps.ends_with(&format!("look {list}finalizer status")), "{did:?}");
        assert_eq!(did.says, "ready: Available");
        let ledger = &play.scene.state.ledger;
        assert_eq!(ledger.origin, Some(Origin::Adopted));
        assert_eq!(ledger.account_id.as_deref(), Some("111122223333"));
        assert_eq!(ledger.region.as_deref(), Some("eu-west-1"));
        assert!(message(&play.scene.state).starts_with("adopted: "));
        assert!(play.aws.carried_out.is_empty());
    }
}

#[test]
fn what_is_adopted_says_so_and_a_record_that_it_deploys_nothing() {
    let exists = "adopted: the AWS object exists as the spec wants it";
    let record = "adopted: the environment's record exists; a record deploys nothing";
    for (kind, says) in [
        (Kind::Backend, exists),
        (Kind::Api, exists),
        (Kind::Environment, record),
    ] {
        let mut play = Play::new(Scene::new(kind).adopting());
        play.aws.put(at(-7200));
        play.pass();
        assert_eq!(message(&play.scene.state), says);
    }
}

#[test]
fn an_adopted_api_is_brought_in_line_after_its_adoption_is_stored() {
    let mut play = Play::new(Scene::new(Kind::Api).adopting());
    play.aws.put(at(-7200));
    play.aws.holds = "by hand".into();
    play.pass().is(
        "resolve look slot list finalizer store slot update record",
        "working: Updating",
    );
    assert_eq!(play.scene.state.ledger.origin, Some(Origin::Adopted));
    play.job_ends("COMPLETED");
    play.wake().is("poll resolve look status", "ready: Available");
    // A field that AWS does not echo is unknown, not different.
    let mut unknown = Play::new(Scene::new(Kind::Api).adopting());
    unknown.aws.put(at(-7200));
    unknown.aws.echoes = Equality::Unknown;
    unknown
        .pass()
        .is("resolve look slot list finalizer status", "ready: Available");
    assert!(unknown.aws.carried_out.is_empty());
}

#[test]
fn an_adopted_object_with_another_immutable_field_has_drifted() {
    for kind in [Kind::Backend, Kind::Environment] {
        let mut play = Play::new(Scene::new(kind).adopting());
        play.aws.put(at(-7200));
        play.aws.object.as_mut().unwrap().differs.push("stackName");
        let list = if kind.create().has_job() { "slot list " } else { "" };
        play.pass()
            .is(&format!("look {list}finalizer status"), "stalled: Drifted");
        assert_eq!(play.scene.state.ledger.origin, Some(Origin::Adopted));
    }
}

#[test]
fn an_object_that_is_already_there_is_adopted_as_soon_as_the_policy_says_so() {
    let mut play = Play::applied(Kind::Backend);
    play.aws.put(at(-7200));
    play.pass().is("look status", "stalled: AlreadyExists");
    play.scene.resource.adoption_policy = AdoptionPolicy::IfExists;
    play.scene.resource.generation = 2;
    play.pass().is("look slot list finalizer status", "ready: Available");
}

#[test]
fn a_ready_object_is_looked_at_once_per_interval_at_its_phase() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.scene.surroundings.phase = jiff::SignedDuration::from_mins(20);
        play.pass().wakes(1200);
        let look = if kind == Kind::Api { "resolve look" } else { "look" };
        play.wake().is(look, "ready: Available").wakes(3600);
        play.pass().is("", "ready: Available").wakes(3600);
        play.wake().is(look, "ready: Available").wakes(3600);
        // A restart neither causes nor skips a check.
        play.after(600).restart().pass().is("", "ready: Available").wakes(3000);
        play.wake().is(look, "ready: Available");
    }
}

#[test]
fn edits_that_aws_knows_nothing_of_cost_no_aws_call() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.after(600).pass();
        play.scene.resource.generation = 2;
        play.scene.resource.deletion_policy = Some(DeletionPolicy::Retain);
        let steps = if kind == Kind::Api { "resolve status" } else { "status" };
        play.pass().is(steps, "ready: Available");
        assert_eq!(play.scene.state.ledger.observed_generation, 2);
        play.scene.resource.suspend = true;
        play.scene.resource.generation = 3;
        play.pass().is(steps, "ready: Suspended").wakes(None);
    }
}

#[test]
fn what_is_resumed_is_looked_at_before_it_is_called_ready() {
    for kind in Kind::ALL {
        let suspended = || {
            let mut play = Play::ready(kind);
            play.scene.resource.suspend = true;
            play.scene.resource.generation = 2;
            play.after(600).pass();
            play.scene.resource.suspend = false;
            play.scene.resource.generation = 3;
            play
        };
        let mut play = suspended();
        let steps = if kind == Kind::Api {
            "resolve look status"
        } else {
            "look status"
        };
        play.restart().pass().is(steps, "ready: Available");
        assert_eq!(play.scene.state.ledger.observed_generation, 3);
        let mut play = suspended();
        play.aws.reads = Some(Class::Unavailable);
        let did = play.pass();
        assert_eq!(did.says, "ready: Suspended", "{kind:?}: AWS is away: {did:?}");
        assert_eq!(play.scene.state.ledger.observed_generation, 2);
        play.aws.reads = None;
        assert_eq!(play.wake().says, "ready: Available");
        let mut play = suspended();
        play.aws.object = None;
        let did = play.restart().pass();
        // The object disappeared while the resource was suspended.
        let is_true = play.aws.object.is_some() || !did.says.starts_with("ready");
        assert!(is_true, "{kind:?}: {did:?}");
    }
}

#[test]
fn an_edited_config_is_sent_once() {
    let echoes = [Equality::Equal, Equality::Unknown, Equality::Different];
    let origins = [Origin::Created, Origin::Adopted];
    for (echoes, origin) in echoes
        .into_iter()
        .flat_map(|echoes| origins.map(|origin| (echoes, origin)))
    {
        let mut play = Play::ready(Kind::Api);
        play.scene.state.ledger.origin = Some(origin);
        play.aws.echoes = echoes;
        play.scene.resource.generation = 2;
        play.aws.config = Ok("v2".into());
        play.pass().is("resolve look slot update record", "working: Updating");
        play.job_ends("COMPLETED");
        play.wake().is("poll resolve look status", "ready: Available");
        for _ in 0..3 {
            play.wake().is("resolve look", "ready: Available").wakes(3600);
        }
        assert_eq!(play.aws.carried_out, [Write::Update]);
        assert_eq!(play.scene.state.hashes.sent.as_deref(), Some("v2"));
    }
}

#[test]
fn an_edit_that_is_taken_back_is_looked_at_where_a_generation_in_between_may_have_been_sent() {
    for echoes in [Equality::Equal, Equality::Unknown] {
        let mut play = Play::ready(Kind::Api);
        play.pass();
        // A process that died had AWS carry out generation 2, and recorded nothing of it.
        play.aws.holds = "v2".into();
        play.aws.echoes = echoes;
        play.after(10).restart();
        play.scene.resource.generation = 3;
        play.pass()
            .is("resolve look slot list update record", "working: Updating");
        play.job_ends("COMPLETED");
        assert_eq!(play.wake().says, "ready: Available");
        assert_eq!(play.aws.holds, "v1");
    }
}

#[test]
fn what_an_earlier_process_may_have_sent_is_asked_for_until_no_job_is_pending() {
    let mut play = Play::ready(Kind::Api);
    play.after(10).restart();
    play.aws.foreign_job("x-1", Operation::UpdateBackendApi, 5);
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.pass()
        .is("resolve look slot list status", "working: WaitingForJob");
    assert!(!play.scene.memory.listed);
    play.aws.jobs[0].status = "COMPLETED".into();
    play.wake()
        .is("slot resolve look list update record", "working: Updating");
    assert!(play.scene.memory.listed);
}

#[test]
fn an_update_that_may_have_ended_between_the_look_and_the_list_is_looked_at_again() {
    let ended = |at_seconds: Option<i64>| JobSeen {
        update_time: at_seconds.map(at),
        ..with_status(seen_job("x-1", Operation::UpdateBackendApi, -400), Job::COMPLETED)
    };
    let rows = [
        ("ended after the look", ended(Some(1)), 2, "look"),
        ("ended by a clock that is behind", ended(Some(-299)), 2, "look"),
        ("ended, and nobody knows when", ended(None), 2, "look"),
        ("ended long before the look", ended(Some(-300)), 2, "update"),
        ("ended, and looked at after the list", ended(Some(1)), 0, "update"),
    ];
    for (name, job, listed_at, expected) in rows {
        let mut scene = Scene::new(Kind::Api).ready().generation(2).config(Ok("v2"));
        scene.known.slot = Some(Slot::Held);
        scene = scene.look(echoing("echo of v1", Some(Equality::Different)));
        scene.now = at(listed_at);
        scene = scene.jobs([job]);
        let step = scene.next();
        let is_as_expected = match expected {
            "look" => matches!(step, Step::Look(_)),
            _ => matches!(step, Step::Send(Write::Update)),
        };
        assert!(is_as_expected, "{name}: {step:?}");
    }
}

#[test]
fn ready_that_speaks_of_an_older_generation_is_not_ready_for_todays() {
    let mut play = Play::ready(Kind::Api);
    play.pass();
    // The state after the job of generation 1 has ended while the status already spoke of generation 2.
    play.scene.resource.generation = 2;
    play.scene.state.ledger.observed_generation = 2;
    play.aws.config = Ok("v2".into());
    play.after(10)
        .pass()
        .is("resolve look slot update record", "working: Updating");
}

#[test]
fn a_config_map_that_changed_is_seen_at_the_next_check() {
    let mut play = Play::ready(Kind::Api);
    play.pass();
    play.aws.config = Ok("v2".into());
    play.after(1800).pass().is("", "ready: Available");
    play.wake().is("resolve look slot update record", "working: Updating");
}

#[test]
fn a_changed_echo_is_drift_and_is_answered_once() {
    // AWS may echo everything or not, and the update may restore the earlier echo or not.
    for (echoes, comes_back) in [
        (Equality::Unknown, true),
        (Equality::Different, true),
        (Equality::Unknown, false),
        (Equality::Different, false),
    ] {
        let mut play = Play::ready(Kind::Api);
        play.pass();
        play.aws.echoes = echoes;
        play.wake().is("resolve look", "ready: Available");
        play.aws.holds = "by hand".into();
        play.wake().is("resolve look slot update record", "working: Updating");
        play.job_ends("COMPLETED");
        if !comes_back {
            play.aws.holds = "by hand".into();
        }
        play.wake().is("poll resolve look status", "ready: Available");
        for _ in 0..3 {
            play.wake().is("resolve look", "ready: Available");
        }
        assert_eq!(play.aws.carried_out, [Write::Update]);
    }
}

#[test]
fn an_update_whose_end_was_seen_before_its_object_is_not_sent_twice() {
    let mut play = Play::ready(Kind::Api);
    play.aws.echoes = Equality::Unknown;
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.pass().is("resolve look slot update record", "working: Updating");
    play.job_ends("COMPLETED");
    let object = play.aws.object.take();
    play.wake().is("poll resolve look status", "working: Updating");
    assert_eq!(
        play.job().error,
        None,
        "only a create can turn out to have made nothing"
    );
    play.aws.object = object;
    play.wake().is("resolve look status", "ready: Available");
    assert_eq!(play.aws.carried_out, [Write::Update]);
}

#[test]
fn an_echo_that_shows_what_the_spec_wants_needs_no_update() {
    let mut play = Play::ready(Kind::Api);
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.aws.holds = "v2".into();
    play.pass().is("resolve look status", "ready: Available");
    assert_eq!(play.scene.state.hashes.sent.as_deref(), Some("v2"));
    assert_eq!(play.scene.state.hashes.echoed.as_deref(), Some("echo of v2"));
}

#[test]
fn an_update_of_unknown_outcome_keeps_the_environment_until_nothing_of_it_can_be_under_way() {
    let lost = |answer| {
        let mut play = Play::ready(Kind::Api);
        play.scene.resource.generation = 2;
        play.aws.config = Ok("v2".into());
        play.answers([answer]);
        play.pass()
            .is("resolve look slot update record", "working: AwsUnavailable")
            .wakes(5);
        assert!(play.job().is_open_intent() && play.job().unconfirmed);
        assert_eq!(play.job().config_hash.as_deref(), Some("v2"));
        assert_eq!(play.scene.state.hashes.sent, None, "nobody knows what AWS has");
        play
    };
    let mut arrived = lost(Answer::LoseReply);
    arrived.wake().is("list", "working: AwsUnavailable");
    arrived.job_ends("COMPLETED");
    arrived.scene.now = at(119);
    arrived.pass().is("list resolve look", "working: AwsUnavailable");
    arrived.wake().is("list resolve look store status", "ready: Available");
    assert_eq!(arrived.aws.carried_out, [Write::Update]);
    assert_eq!(arrived.scene.state.hashes.sent.as_deref(), Some("v2"), "AWS shows it");
    let mut missing = lost(Answer::LoseRequest);
    missing.scene.now = at(120);
    missing
        .pass()
        .is("list resolve look store slot update record", "working: Updating");
    assert_eq!(missing.job().attempt, 3);
    // The configuration that AWS has is unknown even if the echo is too short to show a difference: it is sent again.
    let mut unknown = lost(Answer::LoseReply);
    unknown.aws.echoes = Equality::Unknown;
    unknown.job_ends("COMPLETED");
    unknown.scene.now = at(120);
    unknown
        .pass()
        .is("list resolve look store slot update record", "working: Updating");
    // The spec is again the one that was Ready before. The lost update may have arrived nevertheless.
    let mut back = lost(Answer::LoseReply);
    back.aws.echoes = Equality::Unknown;
    back.job_ends("COMPLETED");
    back.scene.resource.generation = 3;
    back.aws.config = Ok("v1".into());
    back.scene.now = at(120);
    back.pass()
        .is("list resolve look store slot update record", "working: Updating");
}

#[test]
fn a_pending_job_is_waited_for_and_never_recorded_as_ours() {
    // The pending job may be of any writer and any operation: its configuration is unknown.
    for operation in [
        crate::api::Operation::UpdateBackendApi,
        crate::api::Operation::CreateBackendApi,
    ] {
        let mut waiting = Play::ready(Kind::Api);
        waiting.scene.resource.generation = 2;
        waiting.aws.config = Ok("v2".into());
        waiting.answers([Answer::Refuse(Class::Pending)]);
        waiting.aws.foreign_job("x-1", operation, -5);
        waiting
            .pass()
            .is("resolve look slot update status", "working: WaitingForJob");
        assert_eq!(waiting.job().id, None);
        waiting
            .wake()
            .is("slot resolve look list status", "working: WaitingForJob");
        for _ in 0..3 {
            waiting.wake().is("slot resolve look list", "working: WaitingForJob");
        }
        waiting.aws.jobs[0].status = "COMPLETED".into();
        waiting
            .wake()
            .is("slot resolve look list update record", "working: Updating");
    }
}

#[test]
fn what_aws_accepted_is_all_that_counts_as_sent() {
    // For any outcome of the attempt, and any object that somebody else has made since: the object is adopted as it is
    // only if it is as the spec wants it.
    for answer in [
        Answer::Refuse(Class::NotFound),
        Answer::Refuse(Class::AccessDenied),
        Answer::Refuse(Class::Throttled),
        Answer::Refuse(Class::BadRequest),
        Answer::Never(Class::Unavailable),
        Answer::LoseRequest,
    ] {
        for at_once in [true, false] {
            let mut play = Play::applied(Kind::Api);
            if at_once {
                play.scene = play.scene.adopting();
            }
            play.answers([answer.clone()]);
            play.pass();
            assert_eq!(play.scene.state.hashes.sent, None, "{answer:?}");
            assert_eq!(play.job().config_hash.as_deref(), Some("v1"));
            play.after(200);
            play.aws.put(play.now());
            play.aws.holds = "by hand".into();
            if !at_once {
                for _ in 0..3 {
                    play.after(3600).pass();
                }
                assert_eq!(play.scene.says(), "stalled: AlreadyExists");
                play.scene = play.scene.adopting();
            }
            play.scene.resource.generation = 2;
            let did = play.pass();
            assert!(did.steps.ends_with("store slot update record"), "{answer:?} {did:?}");
            play.job_ends("COMPLETED");
            assert_eq!(play.wake().says, "ready: Available");
            assert_eq!(play.aws.holds, "v1");
            assert_eq!(play.scene.state.hashes.sent.as_deref(), Some("v1"));
        }
    }
}

#[test]
fn a_job_that_was_found_in_a_list_may_carry_another_configuration() {
    // The first attempt arrives late, or the job is somebody else's within the grace.
    for holds in ["v1", "by hand"] {
        let mut play = Play::applied(Kind::Api);
        play.answers([Answer::LoseRequest]);
        play.pass();
        play.scene.resource.generation = 2;
        play.aws.config = Ok("v2".into());
        play.aws.holds = holds.into();
        play.after(119);
        play.aws
            .foreign_job("j-1", crate::api::Operation::CreateBackendApi, 119);
        play.pass().is("list record status", "working: Creating");
        play.aws.put(at(150));
        play.aws.jobs[0].status = "COMPLETED".into();
        play.aws.holds = holds.into();
        play.after(60);
        play.pass()
            .is("poll resolve look store slot update record", "working: Updating");
        play.job_ends("COMPLETED");
        play.wake().is("poll resolve look status", "ready: Available");
        assert_eq!(play.aws.holds, "v2");
    }
}

#[test]
fn a_missing_config_map_never_passes_for_an_edit_that_was_carried_out() {
    let mut play = Play::ready(Kind::Api);
    play.after(10).pass();
    play.scene.resource.generation = 2;
    play.aws.config = Err("waits for ConfigMap schema".into());
    // The same if a drift check is the first to see the edit.
    play.clone()
        .after(3600)
        .pass()
        .is("resolve look status", "working: DependencyNotReady");
    play.pass().is("resolve status", "working: DependencyNotReady");
    for _ in 0..3 {
        play.wake().is("resolve look", "working: DependencyNotReady");
    }
    play.aws.config = Ok("v2".into());
    play.wake().is("resolve look slot update record", "working: Updating");
    // A failed update does not count as carried out either.
    play.after(10).job_ends("FAILED");
    play.aws.holds = "v1".into();
    play.aws.config = Err("waits for ConfigMap schema".into());
    play.pass()
        .is("poll resolve look status", "working: DependencyNotReady");
    play.wake().is("resolve look", "working: DependencyNotReady");
}

#[test]
fn a_missing_config_map_harms_nothing_that_is_ready() {
    let mut play = Play::ready(Kind::Api);
    play.pass();
    play.aws.config = Err("waits for ConfigMap schema".into());
    play.wake().is("resolve look", "ready: Available");
    // Drift waits as long as there is no configuration to send.
    play.aws.holds = "by hand".into();
    play.wake().is("resolve look status", "working: DependencyNotReady");
    play.wake().is("resolve look", "working: DependencyNotReady");
}

#[test]
fn a_config_map_that_is_gone_is_told_of_to_who_asks_and_one_that_cannot_be_sent_at_the_next_check() {
    let mut asked = Play::ready(Kind::Api);
    asked.pass();
    asked.aws.config = Err("waits for ConfigMap schema".into());
    asked.scene.resource.request = Some("now".into());
    asked.pass().is("resolve look status", "working: DependencyNotReady");
    asked.wake().is("resolve look", "working: DependencyNotReady");
    asked.aws.config = Ok("v1".into());
    asked.wake().is("resolve look status", "ready: Available");
    let mut emptied = Play::ready(Kind::Api);
    emptied.pass();
    emptied.aws.config = Err("is empty".into());
    emptied.aws.lack = Lack::Unusable;
    emptied.wake().is("resolve look status", "working: DependencyNotReady");
    emptied.wake().is("resolve look", "working: DependencyNotReady");
    emptied.aws.config = Ok("v2".into());
    emptied
        .wake()
        .is("resolve look slot update record", "working: Updating");
    for play in [asked, emptied] {
        assert!(play.aws.carried_out.iter().all(|write| *write == Write::Update));
    }
}

#[test]
fn an_update_that_completed_is_ready_although_its_config_map_is_gone_by_then() {
    let mut play = Play::ready(Kind::Api);
    play.scene.resource.generation = 2;
    play.aws.config = Ok("v2".into());
    play.pass().is("resolve look slot update record", "working: Updating");
    play.aws.config = Err("waits for ConfigMap schema".into());
    play.job_ends("COMPLETED");
    play.wake().is("poll resolve look status", "ready: Available");
}

#[test]
fn a_check_is_not_delayed_by_a_clock_that_is_set_back() {
    for kind in Kind::ALL {
        // This process began by a clock that was an hour ahead.
        let mut play = Play::ready(kind);
        play.restart().pass();
        let did = play.after(-3600).pass();
        assert!(did.steps.contains("look"), "{did:?}");
        // Once is enough.
        let did = play.pass();
        assert!(!did.steps.contains("look"), "{did:?}");
    }
}

#[test]
fn an_immutable_field_that_differs_is_stalled_until_it_is_put_back() {
    for kind in [Kind::Backend, Kind::Environment] {
        let mut play = Play::ready(kind);
        play.pass();
        play.aws.object.as_mut().unwrap().differs.push("stackName");
        play.wake().is("look status", "stalled: Drifted").wakes(3600);
        play.wake().is("look", "stalled: Drifted");
        play.aws.object.as_mut().unwrap().differs.clear();
        play.wake().is("look status", "ready: Available");
        assert!(play.aws.carried_out.is_empty());
    }
}

#[test]
fn what_is_gone_is_created_again() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.pass();
        play.aws.object = None;
        let did = play.wake();
        assert!(did.steps.ends_with("intend create record"), "{did:?}");
        assert_eq!(play.job().attempt, 2);
        assert_eq!(play.scene.state.ledger.origin, Some(kind.origin()));
    }
}

#[test]
fn what_is_gone_is_no_longer_owned_while_its_creation_waits() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.pass();
        play.aws.object = None;
        play.aws.busy = true;
        play.wake();
        assert_eq!(play.scene.state.ledger.origin, None);
        // Somebody else has made an object meanwhile: it is not this resource's.
        play.aws.put(at(3700));
        play.aws.busy = false;
        assert_eq!(play.wake().says, "stalled: AlreadyExists");
    }
}

#[test]
fn a_404_soon_after_the_end_of_a_job_leaves_a_ready_object_ready() {
    for kind in Kind::WITH_JOBS {
        let mut play = Play::ready(kind);
        let job = play.scene.state.ledger.job.as_mut().unwrap();
        job.finish_time = Some(at(3500));
        play.pass();
        play.aws.object = None;
        let did = play.wake();
        assert!(did.steps.ends_with("look"), "{did:?}");
        assert_eq!(did.says, "ready: Available");
        play.after(200);
        assert!(play.pass().steps.ends_with("intend create record"));
    }
}

#[test]
fn a_request_looks_now_and_is_answered_once() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.after(10).pass();
        play.scene.resource.request = Some("now".into());
        let look = if kind == Kind::Api {
            "resolve look status"
        } else {
            "look status"
        };
        play.pass().is(look, "ready: Available");
        assert_eq!(
            play.scene.state.ledger.last_handled_reconcile_at.as_deref(),
            Some("now")
        );
        play.pass().is("", "ready: Available");
    }
}

#[test]
fn ready_without_an_owner_is_not_believed() {
    let mut play = Play::ready(Kind::Backend);
    play.scene.state.ledger.origin = None;
    play.pass().is("look status", "stalled: AlreadyExists");
}

#[test]
fn an_unresolved_look_compares_nothing() {
    let scene = Scene::new(Kind::Api)
        .ready()
        .at(3600)
        .config(Err("missing"))
        .look(echoing("echo of v1", None));
    assert_eq!(name(&scene.next()), "settle");
}

#[test]
fn without_its_config_map_nothing_passes_for_what_the_spec_wants_that_was_never_compared() {
    let mut adopted = Play::new(Scene::new(Kind::Api).adopting());
    adopted.aws.put(at(-7200));
    adopted.aws.holds = "by hand".into();
    adopted.aws.config = Err("ConfigMap schema does not exist".into());
    let did = adopted.pass();
    assert!(did.says.ends_with("DependencyNotReady"), "{did:?}");
    let mut claimed = Play::applied(Kind::Api);
    claimed.answers([Answer::LoseReply]);
    claimed.pass();
    claimed.wake().is("list record", "working: Creating");
    claimed.job_ends("COMPLETED");
    claimed.aws.config = Err("ConfigMap schema does not exist".into());
    let did = claimed.wake();
    assert_eq!(did.says, "working: DependencyNotReady", "{did:?}");
    claimed.aws.config = Ok("v1".into());
    assert_eq!(claimed.wake().says, "ready: Available");
}

#[test]
fn what_an_older_version_stored_as_sent_is_believed_only_where_aws_does_not_show_another() {
    for (holds, carried_out) in [("v1", 0), ("by hand", 1)] {
        let mut play = Play::ready(Kind::Api);
        play.scene.state.ledger.job.as_mut().unwrap().config_hash = None;
        play.scene.state.hashes.echoed = Some(format!("echo of {holds}"));
        play.aws.holds = holds.into();
        play.pass();
        play.wake();
        play.job_ends("COMPLETED");
        play.wake();
        for _ in 0..3 {
            assert_eq!(play.wake().says, "ready: Available");
        }
        assert_eq!(
            (play.aws.carried_out.len(), play.aws.holds.as_str()),
            (carried_out, "v1")
        );
    }
    // A job of an older version ends now: its configuration is unknown.
    let mut running = Play::creating(Kind::Api);
    running.scene.state.ledger.job.as_mut().unwrap().config_hash = None;
    running.scene.resource.generation = 2;
    running.aws.config = Ok("v2".into());
    running.job_ends("COMPLETED");
    running.aws.holds = "by hand".into();
    running
        .wake()
        .is("poll resolve look store slot update record", "working: Updating");
}

#[test]
fn what_somebody_is_deleting_is_not_adopted() {
    let mut play = Play::new(Scene::new(Kind::Backend).adopting());
    play.aws.put(at(-7200));
    play.aws.foreign_job("x-1", crate::api::Operation::DeleteBackend, -5);
    play.pass().is("look slot list status", "working: WaitingForJob");
    play.job_ends("COMPLETED");
    assert!(play.wake().steps.ends_with("intend create record"), "gone by now");
}

#[test]
fn a_create_that_aws_refuses_because_something_is_there_is_looked_at_again() {
    for adopting in [true, false] {
        let mut play = Play::applied(Kind::Backend);
        if adopting {
            play.scene = play.scene.adopting();
        }
        play.answers([Answer::Refuse(Class::BadRequest)]);
        play.aws.refusal = Some("backend dev already exists".into());
        play.pass().wakes(5).is(
            "look slot list finalizer intend create status",
            "stalled: AlreadyExists",
        );
        play.aws.put(at(-1));
        let (says, why) = if adopting {
            ("ready: Available", "adopted: ")
        } else {
            // No job of this resource has failed, and the status reports none.
            (
                "stalled: AlreadyExists",
                "the AWS object already exists and this resource did not create it; ",
            )
        };
        assert_eq!(play.wake().says, says);
        assert!(message(&play.scene.state).starts_with(why));
    }
}

#[test]
fn a_look_that_somebody_waits_for_does_not_queue_with_the_drift_checks() {
    let check = || Scene::new(Kind::Backend).ready().at(3600);
    let mut requested = check();
    requested.resource.request = Some("now".into());
    // The object may be adopted next: the look must find out its account.
    let mut of_nobody = check();
    of_nobody.state.ledger.origin = None;
    for (scene, purpose) in [
        (check(), Purpose::Drift),
        (of_nobody, Purpose::Write),
        (check().generation(2), Purpose::Write),
        (requested, Purpose::Request),
        (Scene::new(Kind::Backend), Purpose::Write),
    ] {
        let step = scene.next();
        assert!(matches!(step, Step::Look(found) if found == purpose), "{step:?}");
    }
}
