//! Exhaustive exploration of the lifecycle: [`amplify_operator::lifecycle::next`] against a model of its surroundings,
//! with all orders of events. The table below limits how often each event happens. See `docs/exploration.md`.
//!
//! | file | holds |
//! |---|---|
//! | `world` | the state: API server, AWS, processes, passes in flight; relative times, no texts |
//! | `times` | the effect of passing time |
//! | `stage` | the means to perform steps: the scenario, the outcomes, the decisions so far |
//! | `shell` | the effect of a step: the controller and the API server |
//! | `aws` | AWS and its other clients |
//! | `check` | the invariants of each step: I1–I3, I5–I7, and that the status is true |
//! | `exploration` | an exploration's scenario and limits |
//! | `model` | the next events, and their limits |
//! | `quiet` | I4: the development of a situation when faults stop |
//! | `tally` | the results, printed at the end |
//!
//! `EXPLORE_MORE=1` raises each limit of a test by one, except limits of zero. That takes hours, not seconds.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a model that cannot go on is a failed test, and the bounds and counts are to be seen"
)]
#![allow(
    clippy::struct_excessive_bools,
    clippy::trivially_copy_pass_by_ref,
    clippy::unused_self,
    reason = "the world's facts are independent of each other, and what acts in it is a method of the stage"
)]

mod aws;
mod check;
mod exploration;
mod model;
mod quiet;
mod shell;
mod stage;
mod tally;
mod times;
mod world;

use std::process::ExitCode;

use amplify_operator::api::{AdoptionPolicy, DeletionPolicy, Operation};
use exploration::{Earlier, Exploration, Start};
use jiff::SignedDuration;
use libtest_mimic::{Arguments, Trial};
use stage::Scenario;
use world::Budget;

fn main() -> ExitCode {
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials());
    tally::print();
    conclusion.exit_code()
}

/// Lists the explorations: the sentence that each proves, its setup, and how often each event may happen in it.
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

    a_backend_is_observed_and_managed_at_any_time:
        backend(),
        crashes: 1, lost: 1, observes: 2, deletes: 1;

    an_api_is_observed_and_managed_at_any_time:
        ready(api()),
        lost: 1, observes: 2, edits: 1, gone: 1;

    what_others_make_anew_is_not_its_own_though_it_was_observed_meanwhile:
        ready(backend()),
        observes: 2, gone: 1, rivals: 1, requests: 1, deletes: 1;

    nothing_is_written_to_a_backend_while_it_is_locked:
        backend().with(|it| it.longest_pass = 90),
        locks: 2, lost: 1, deletes: 1, reads: 1;

    an_api_follows_a_lock_that_comes_and_goes:
        ready(api()),
        locks: 2, lost: 1, edits: 1, reads: 1;

    what_is_gone_after_a_lock_is_not_made_again_unless_its_user_says_so:
        ready(backend()),
        locks: 2, ignores: 1, gone: 1, suspends: 1, requests: 1;

    an_attempt_in_doubt_is_not_sent_again_to_an_environment_that_was_locked_meanwhile:
        backend(),
        locks: 2, crashes: 1, lost: 1, ignores: 1;

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

    a_storage_is_created_once_and_updated_to_what_its_spec_says:
        storage(),
        crashes: 1, lost: 1, edits: 1, deletes: 1;

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

    an_api_that_is_taken_over_after_a_create_that_came_to_nothing_gets_its_configuration:
        api().with(|it| {
            it.scenario.adoption = AdoptionPolicy::IfExists;
            it.scenario.deletion = Some(DeletionPolicy::Delete);
            it.attempts = 3;
        }),
        lost: 1, refusals: 1, rivals: 1;

    an_attempt_that_shows_late_does_not_pass_for_the_edit_after_it:
        api().with(|it| {
            it.scenario.late = 120;
            it.attempts = 3;
        }),
        lost: 1, late: 1, edits: 2;

    an_api_that_somebody_else_makes_while_an_attempt_is_in_doubt_gets_its_configuration:
        api().with(|it| {
            it.scenario.foreign = &[Operation::CreateBackendApi];
            it.attempts = 3;
        }),
        crashes: 1, lost: 1, foreign: 1;

    a_backend_tells_its_attempt_from_jobs_of_others_though_clocks_differ:
        backend().with(|it| {
            it.scenario.foreign = &[Operation::CreateBackend, Operation::DeleteBackend];
            it.scenario.skew = -5;
        }),
        lost: 1, foreign: 1;

    a_backend_that_somebody_else_makes_long_after_a_lost_create_is_not_taken:
        backend().with(|it| it.scenario.foreign = &[Operation::CreateBackend]),
        crashes: 1, lost: 1, foreign: 1, deletes: 1;

    an_update_of_somebody_else_does_not_pass_for_an_edit:
        ready(api()).with(|it| {
            it.scenario.foreign = &[Operation::UpdateBackendApi];
            it.attempts = 3;
        }),
        crashes: 1, lost: 1, foreign: 1, edits: 1;

    an_update_of_somebody_else_after_its_own_is_taken_for_what_the_job_brought_about:
        ready(api()).with(|it| {
            it.scenario.foreign = &[Operation::UpdateBackendApi];
            it.scenario.swaps = true;
            it.attempts = 3;
        }),
        foreign: 1, drifts: 1, edits: 1;

    an_edit_beside_a_siblings_edit_is_carried_out:
        ready(two_apis()).with(|it| {
            it.scenario.refuses = true;
            it.attempts = 3;
        }),
        crashes: 1, edits: 2;

    two_edits_with_lost_replies_end_with_the_last:
        ready(api()).with(|it| it.attempts = 4),
        crashes: 1, lost: 1, late: 1, edits: 2;

    an_api_never_overlaps_with_itself_though_aws_refuses_nothing:
        ready(api()).with(|it| {
            it.scenario.refuses = false;
            it.attempts = 4;
        }),
        crashes: 1, lost: 1, late: 1, edits: 2, deletes: 1;

    a_create_that_fails_in_its_answer_does_not_take_what_is_there:
        backend(),
        refusals: 1, rivals: 1, deletes: 1, requests: 1;

    a_late_delete_does_not_reach_the_next_backend_of_the_name:
        ready(backend()),
        crashes: 1, lost: 1, late: 1, fails: 1, deletes: 1, recreates: 1;

    a_late_delete_does_not_reach_the_next_record_of_the_name:
        ready(environment()),
        crashes: 1, lost: 2, deletes: 1, recreates: 1;

    two_operators_delete_and_create_anew:
        ready(backend()).with(|it| {
            it.processes = 2;
            it.attempts = 3;
        }),
        lost: 1, deletes: 1, recreates: 1;

    two_operators_carry_out_two_edits:
        ready(api()).with(|it| {
            it.processes = 2;
            it.attempts = 3;
        }),
        edits: 2;

    two_apis_never_overlap_though_a_list_shows_an_old_one_late:
        two_apis().with(|it| it.attempts = 2),
        relists: 1;

    a_backend_does_not_take_an_old_job_without_a_time_for_its_own:
        backend().with(|it| it.earlier = Earlier::Untimed),
        crashes: 1, lost: 1, late: 1;

    a_backend_that_is_the_first_of_its_environment_finds_its_job:
        backend().with(|it| {
            it.earlier = Earlier::Nothing;
            it.scenario.skew = -240;
        }),
        crashes: 1, lost: 1, late: 1;

    a_backend_whose_jobs_bear_no_times_is_not_made_twice:
        backend().with(|it| it.scenario.timed = false),
        crashes: 1, lost: 1, fails: 1;

    what_is_released_and_held_by_others_stands_in_nobodys_way:
        ready(backend()).with(|it| {
            it.names = 2;
            it.scenario.same_object = true;
            it.held = true;
        }),
        crashes: 1, deletes: 1;
}

fn explored(create: Operation) -> Exploration {
    Exploration::new(Scenario::of(create))
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

fn storage() -> Exploration {
    explored(Operation::CreateBackendStorage)
}

/// Returns the exploration with a start at which everything is Ready.
fn ready(exploration: Exploration) -> Exploration {
    exploration.with(|it| it.start = Start::Ready)
}

/// Returns two APIs in one environment, in an AWS that refuses nothing: only the slots keep their jobs apart.
fn two_apis() -> Exploration {
    api().with(|it| {
        it.names = 2;
        it.attempts = 2;
        it.scenario.refuses = false;
    })
}
