//! Rule 9: the object of an observed resource is looked at, compared and reported, and AWS gets no write.

use super::{
    play::{Answer, Play},
    scene::{Kind, message},
};
use crate::{
    api::Origin,
    lifecycle::{Bar, Equality, Seen},
};

/// Makes the resource observed or managed from here on.
fn observe(play: &mut Play, observe: bool) {
    play.scene.resource.observe = observe;
    play.scene.resource.generation += 1;
}

fn observed(kind: Kind) -> Play {
    let mut play = Play::applied(kind);
    observe(&mut play, true);
    play
}

#[test]
fn what_is_observed_is_found_or_not_found_and_nothing_is_stored_of_it_but_that() {
    for kind in Kind::ALL {
        let mut play = observed(kind);
        let look = if kind == Kind::Api {
            "resolve look status"
        } else {
            "look status"
        };
        play.pass().is(look, "stalled: NotFound").wakes(3600);
        let text = message(&play.scene.state).to_owned();
        assert!(
            text.contains("region eu-west-1") && text.ends_with("have it created"),
            "{text}"
        );
        // The object appears, and a check shows it.
        let now = play.now();
        play.aws.put(now);
        play.wake().is(look, "ready: Available").wakes(3600);
        assert!(!play.scene.resource.finalizer, "{kind:?}");
        assert_eq!(play.scene.state.ledger.origin, None, "{kind:?}");
        assert_eq!(play.scene.state.ledger.job, None, "{kind:?}");
        // AWS is not asked again before the next check.
        play.after(60).pass().is("", "ready: Available");
        play.aws.object = None;
        play.wake().is(look, "stalled: NotFound");
        assert_eq!(play.aws.carried_out, [], "{kind:?}");
    }
}

#[test]
fn what_differs_is_named_and_not_changed() {
    let mut play = observed(Kind::Api);
    let now = play.now();
    play.aws.put(now);
    play.aws.echoes = Equality::Different;
    play.aws.holds = "v0".into();
    play.pass().is("resolve look status", "stalled: Drifted");
    assert!(message(&play.scene.state).contains("spec.resourceConfig.apiName"));
    let mut play = observed(Kind::Backend);
    play.aws.object = Some(Seen {
        differs: vec!["appName"],
        ..Seen::default()
    });
    play.pass().is("look status", "stalled: Drifted");
    assert!(message(&play.scene.state).contains("different appName"));
    assert_eq!(play.aws.carried_out, []);
}

#[test]
fn what_is_there_under_another_name_is_told() {
    let mut play = observed(Kind::Api);
    play.aws.bar = Some(Bar::Named("blog".into()));
    play.pass().is("resolve look status", "stalled: NotFound");
    assert!(message(&play.scene.state).contains("under the name blog"));
}

#[test]
fn what_was_owned_is_owned_again_when_it_is_managed_again() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        play.pass();
        observe(&mut play, true);
        let did = play.pass();
        assert_eq!(did.says, "ready: Available", "{kind:?}");
        assert_eq!(play.scene.state.ledger.origin, Some(kind.origin()), "{kind:?}");
        // The object is gone, and is not made again while the resource is observed.
        play.aws.object = None;
        assert_eq!(play.wake().says, "stalled: NotFound", "{kind:?}");
        assert_eq!(play.aws.carried_out, [], "{kind:?}");
        assert_eq!(
            play.scene.state.ledger.origin, None,
            "{kind:?}: what comes next is nobody's proof"
        );
        observe(&mut play, false);
        let did = play.pass();
        assert!(did.steps.contains("create"), "{kind:?}: {did:?}");
    }
}

#[test]
fn what_somebody_makes_anew_while_it_is_observed_is_not_its_own() {
    let mut play = Play::ready(Kind::Backend);
    observe(&mut play, true);
    play.pass();
    let object = play.aws.object.take();
    assert_eq!(play.wake().says, "stalled: NotFound");
    play.aws.object = object;
    observe(&mut play, false);
    assert_eq!(play.pass().says, "stalled: AlreadyExists");
    play.scene.resource.deleting = true;
    assert_eq!(play.pass().steps, "release");
    assert!(play.aws.object.is_some());
}

#[test]
fn managed_again_it_is_looked_at_before_anything_is_said() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        observe(&mut play, true);
        play.pass();
        observe(&mut play, false);
        let did = play.pass();
        assert!(did.steps.contains("look"), "{kind:?}: {did:?}");
        assert_eq!(did.says, "ready: Available", "{kind:?}");
    }
}

#[test]
fn what_a_failed_create_has_left_is_never_available() {
    let mut play = Play::creating(Kind::Backend);
    play.job_ends("FAILED");
    play.aws.object = Play::ready(Kind::Backend).aws.object;
    observe(&mut play, true);
    assert_eq!(play.wake().says, "stalled: JobFailed");
    play.scene.resource.request = Some("look".into());
    assert_eq!(play.pass().says, "stalled: JobFailed");
}

#[test]
fn an_observed_resource_goes_without_a_call() {
    for kind in Kind::ALL {
        let mut play = Play::ready(kind);
        observe(&mut play, true);
        play.scene.resource.deleting = true;
        let did = play.pass();
        assert_eq!(did.steps, "release", "{kind:?}");
        assert!(play.aws.object.is_some(), "{kind:?}");
    }
}

#[test]
fn an_open_intent_is_found_out_by_reads_and_a_running_job_is_followed_to_its_end() {
    let mut play = Play::applied(Kind::Backend);
    play.answers([Answer::LoseRequest]);
    play.pass();
    observe(&mut play, true);
    play.wake().is("list look", "working: AwsUnavailable");
    play.after(120);
    let did = play.pass();
    assert!(did.steps.starts_with("list look store"), "{did:?}");
    // The absence of the attempt's object is not believed yet.
    assert_eq!(did.says, "working: Creating");
    assert_eq!(play.after(301).pass().says, "stalled: NotFound");
    assert_eq!(play.aws.carried_out, []);

    let mut play = Play::creating(Kind::Backend);
    observe(&mut play, true);
    play.pass();
    play.job_ends("COMPLETED");
    let did = play.wake();
    assert_eq!(did.says, "ready: Available", "{did:?}");
    assert_eq!(play.scene.state.ledger.origin, Some(Origin::Created));
}
