//! The facts that a pass keeps after it has stored something.

use super::scene::{Kind, Scene, intent, name};
use crate::{
    api::{Job, Operation},
    lifecycle::{Known, Observed, Reply, Step, learn},
};

#[test]
fn a_pass_goes_on_with_the_account_that_it_began_with_whatever_it_stores() {
    for step in [
        Step::AddFinalizer,
        Step::Intend(Box::default()),
        Step::RecordAccepted(Box::default()),
        Step::Record(Box::default()),
    ] {
        let mut known = Known::default();
        learn(&mut known, &step, Observed::Account("111122223333".into()));
        learn(&mut known, &step, Observed::STORED);
        assert_eq!(known.account.as_deref(), Some("111122223333"), "{step:?}");
    }
}

#[test]
fn what_was_resolved_before_a_write_still_counts_after_it_unless_the_spec_was_edited_meanwhile() {
    for (edited, next) in [(false, "look"), (true, "resolve")] {
        let mut scene = Scene::new(Kind::Api)
            .finalized()
            .job(intent(Operation::CreateBackendApi))
            .config(Ok("v1"))
            .reply(Reply::Job {
                id: Some("j-1".into()),
                environment: None,
                status: Some(Job::COMPLETED.into()),
                error: None,
            });
        let step = scene.next();
        assert_eq!(name(&step), "record");
        scene.apply(&step, Observed::Stored { edited });
        scene.resource.generation += i64::from(edited);
        assert_eq!(name(&scene.next()), next);
    }
}
