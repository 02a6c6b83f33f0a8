//! Exhaustive exploration of the lifecycle: [`amplify_operator::lifecycle::next`] against a model of everything around
//! it, in every order in which things can happen, as often as the table below says. See `docs/exploration.md`.
//!
//! | file | holds |
//! |---|---|
//! | `world` | the state: API server, AWS, processes, passes in flight; relative times, no texts |
//! | `times` | what becomes of it when time passes |
//! | `shell` | what a step does: the controller and the API server |
//! | `aws` | AWS, and others who use it |
//! | `check` | what must hold at each step: I1–I3, I5–I7, and that the status is true |
//! | `model` | what can happen next, and how often |
//! | `quiet` | I4: what becomes of a situation when faults stop |
//! | `tally` | what was found, printed at the end |
//!
//! `EXPLORE_MORE=1` lets everything that may happen in a test happen once more; that takes hours, not seconds.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a model that cannot go on is a failed test, and the bounds and counts are to be seen"
)]

mod aws;
mod check;
mod model;
mod quiet;
mod shell;
mod tally;
mod times;
mod world;

use std::process::ExitCode;

use amplify_operator::api::{AdoptionPolicy, DeletionPolicy, Operation};
use jiff::SignedDuration;
use libtest_mimic::{Arguments, Trial};
use model::{Exploration, Start};
use world::Budget;

fn main() -> ExitCode {
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials());
    tally::print();
    conclusion.exit_code()
}

/// Lists the explorations: the sentence that each proves, what is explored, and how often each thing may happen in it.
macro_rules! explorations {
    ($($proves:ident: $exploration:expr, $($thing:ident: $times:literal),+;)*) => {
        fn trials() -> Vec<Trial> {
            vec![$(Trial::test(stringify!($proves), || {
                let budget = Budget { $($thing: $times,)+ ..Budget::default() };
                Exploration { budget, ..$exploration }.explore(stringify!($proves))
            })),*]
        }
    };
}

explorations! {
    a_backend_is_created_once_whatever_is_lost_late_or_stale:
        backend().with(|it| it.longest_pass = 90),
        crashes: 1, lost: 2, late: 1, stale: 1;

    a_backend_is_created_once_by_an_operator_that_dies_twice:
        backend(),
        crashes: 2, lost: 1, stale: 1, touches: 1;

    a_backend_is_created_once_whatever_aws_refuses:
        backend(),
        lost: 1, refusals: 1, reads: 1, foreign: 1;

    a_backend_tells_the_truth_whatever_becomes_of_its_job:
        backend(),
        crashes: 1, fails: 2, odd: 1, vanishes: 1;

    a_backend_that_shows_early_or_late_is_neither_made_again_nor_ready_too_soon:
        backend().with(|it| it.scenario.early = true),
        crashes: 1, lost: 1, late: 1, fails: 1;

    a_job_that_aws_shows_only_after_the_grace_is_still_claimed:
        backend().with(|it| it.scenario.late = 120),
        crashes: 1, lost: 1, late: 1, fails: 1;

    two_operators_create_one_backend:
        backend().with(|it| it.processes = 2),
        lost: 1, stale: 1;

    two_operators_create_one_backend_though_one_stands_still_for_the_whole_grace:
        backend().with(|it| {
            it.processes = 2;
            it.attempts = 2;
            it.longest_pass = 60;
            it.scenario.settings.outcome_grace = SignedDuration::from_secs(60);
        }),
        lost: 1;

    a_backend_follows_its_user_who_deletes_recreates_suspends_and_asks:
        backend(),
        lost: 1, deletes: 1, recreates: 1, suspends: 1, requests: 1;

    what_aws_shows_is_not_made_again_though_the_status_is_wiped:
        backend(),
        crashes: 1, lost: 1, wipes: 1, deletes: 1;

    a_backend_is_deleted_with_its_resource:
        backend(),
        crashes: 1, lost: 1, late: 1, fails: 1, deletes: 1;

    a_retained_backend_stays_and_its_next_resource_does_not_take_it:
        backend().with(|it| it.scenario.deletion = Some(DeletionPolicy::Retain)),
        crashes: 1, lost: 1, stale: 1, deletes: 1, recreates: 1;

    a_backend_of_somebody_else_is_neither_taken_nor_deleted:
        backend().with(|it| it.thing = Some(aws::old_rival())),
        crashes: 1, lost: 1, stale: 1, deletes: 1, gone: 1;

    a_backend_that_somebody_else_makes_meanwhile_is_not_taken:
        backend(),
        crashes: 1, lost: 1, deletes: 1, rivals: 1;

    an_api_of_somebody_else_is_adopted_and_brought_in_line:
        api().with(|it| {
            it.scenario.adoption = AdoptionPolicy::IfExists;
            it.scenario.deletion = Some(DeletionPolicy::Delete);
            it.thing = Some(aws::old_rival());
        }),
        crashes: 1, deletes: 1, rivals: 1, gone: 1;

    a_clone_is_made_once_beside_jobs_of_others:
        explored(Operation::CloneBackend),
        crashes: 1, lost: 1, foreign: 1, deletes: 1;

    an_api_is_updated_to_what_its_spec_says:
        api(),
        crashes: 1, lost: 1, fails: 1, edits: 1;

    an_api_that_others_change_or_delete_is_put_back:
        api(),
        edits: 1, drifts: 1, gone: 1, reads: 1;

    two_operators_update_one_api:
        api().with(|it| {
            it.processes = 2;
            it.attempts = 2;
        }),
        edits: 1;

    an_environment_is_registered_once_and_deleted_with_its_resource:
        environment(),
        crashes: 1, lost: 1, stale: 1, refusals: 1, deletes: 1, gone: 1;

    two_operators_register_one_environment:
        environment().with(|it| it.processes = 2),
        crashes: 1, lost: 1, deletes: 1;

    two_apis_of_one_environment_never_have_overlapping_jobs_though_replies_are_lost:
        two_apis(),
        lost: 1;

    two_apis_of_one_environment_never_have_overlapping_jobs_though_the_operator_dies:
        two_apis().with(|it| it.attempts = 1),
        crashes: 1;

    an_api_whose_attempt_was_given_up_does_not_take_its_siblings_job_for_its_own:
        two_apis().with(|it| {
            it.start = Start::GivenUp;
            it.scenario.refuses = true;
        }),
        suspends: 1;

    two_resources_of_one_backend_make_it_once:
        backend().with(|it| {
            it.names = 2;
            it.scenario.same_object = true;
        }),
        crashes: 1, deletes: 1;
}

fn explored(create: Operation) -> Exploration {
    Exploration::new(shell::Scenario::of(create))
}

fn backend() -> Exploration {
    explored(Operation::CreateBackend)
}

fn api() -> Exploration {
    explored(Operation::CreateBackendApi)
}

fn environment() -> Exploration {
    explored(Operation::CreateBackendEnvironment)
}

/// Two APIs of one environment, in an AWS that refuses nothing: only the slots keep their jobs apart.
fn two_apis() -> Exploration {
    api().with(|it| {
        it.names = 2;
        it.attempts = 2;
        it.scenario.refuses = false;
    })
}
