//! Exhaustive exploration of the lifecycle: [`amplify_operator::lifecycle::next`] against a model of everything around
//! it, in every order in which things can happen, within bounds that each test prints.
//!
//! | file | holds |
//! |---|---|
//! | `world` | the state: API server, AWS, processes, passes in flight; relative times, no texts |
//! | `shell` | what a step does: the controller, the API server and AWS, and the invariants I1–I3, I5–I7 |
//! | `model` | what can happen next, and how often |
//! | `quiet` | I4: what becomes of a situation when faults stop |
//!
//! `EXPLORE_MORE=1` lets everything that may happen in a test happen once more; that takes hours, not seconds.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a model that cannot go on is a failed test, and the bounds and counts are to be seen"
)]

mod model;
mod quiet;
mod shell;
mod world;

use amplify_operator::api::{AdoptionPolicy, DeletionPolicy, Operation};
use jiff::SignedDuration;
use model::Exploration;
use shell::Scenario;
use world::Budget;

fn backend(budget: Budget) -> Exploration {
    Exploration::new(Scenario::of(Operation::CreateBackend), budget)
}

fn api(budget: Budget) -> Exploration {
    Exploration::new(Scenario::of(Operation::CreateBackendApi), budget)
}

fn environment(budget: Budget) -> Exploration {
    Exploration::new(Scenario::of(Operation::CreateBackendEnvironment), budget)
}

#[test]
fn a_backend_is_created_once_whatever_is_lost_late_or_stale() {
    let budget = Budget {
        crashes: 1,
        lost: 2,
        late: 1,
        stale: 1,
        ..Budget::default()
    };
    let exploration = Exploration {
        longest_pass: 90,
        ..backend(budget)
    };
    exploration.explore("create, replies lost");
}

#[test]
fn a_backend_is_created_once_by_an_operator_that_dies_twice() {
    let budget = Budget {
        crashes: 2,
        lost: 1,
        stale: 1,
        touches: 1,
        ..Budget::default()
    };
    backend(budget).explore("create, crashes");
}

#[test]
fn a_backend_is_created_once_whatever_aws_refuses() {
    let budget = Budget {
        lost: 1,
        refusals: 1,
        reads: 1,
        foreign: 1,
        ..Budget::default()
    };
    backend(budget).explore("create, refusals");
}

#[test]
fn a_backend_tells_the_truth_whatever_becomes_of_its_job() {
    let budget = Budget {
        crashes: 1,
        fails: 2,
        odd: 1,
        vanishes: 1,
        ..Budget::default()
    };
    backend(budget).explore("create, jobs");
}

#[test]
fn a_backend_that_shows_early_or_late_is_neither_made_again_nor_ready_too_soon() {
    let budget = Budget {
        crashes: 1,
        lost: 1,
        late: 1,
        fails: 1,
        ..Budget::default()
    };
    let exploration = backend(budget);
    let scenario = Scenario {
        early: true,
        ..exploration.scenario.clone()
    };
    Exploration {
        scenario,
        ..exploration
    }
    .explore("create, shown early or late");
}

#[test]
fn a_job_that_aws_shows_only_after_the_grace_is_still_claimed() {
    let budget = Budget {
        crashes: 1,
        lost: 1,
        late: 1,
        fails: 1,
        ..Budget::default()
    };
    let exploration = backend(budget);
    let scenario = Scenario {
        late: 120,
        ..exploration.scenario.clone()
    };
    Exploration {
        scenario,
        ..exploration
    }
    .explore("create, shown after the grace");
}

#[test]
fn two_operators_create_one_backend() {
    let budget = Budget {
        stale: 1,
        lost: 1,
        ..Budget::default()
    };
    let exploration = Exploration {
        processes: 2,
        ..backend(budget)
    };
    exploration.explore("create, two operators");
}

#[test]
fn two_operators_create_one_backend_though_one_stands_still_for_the_whole_grace() {
    let exploration = backend(Budget {
        lost: 1,
        ..Budget::default()
    });
    let mut scenario = exploration.scenario.clone();
    scenario.settings.outcome_grace = SignedDuration::from_secs(60);
    Exploration {
        processes: 2,
        attempts: 3,
        longest_pass: 60,
        scenario,
        ..exploration
    }
    .explore("create, two operators, one slow");
}

#[test]
fn a_backend_follows_its_user_who_deletes_recreates_suspends_and_asks() {
    let budget = Budget {
        lost: 1,
        deletes: 1,
        recreates: 1,
        suspends: 1,
        requests: 1,
        ..Budget::default()
    };
    backend(budget).explore("create, the user");
}

#[test]
fn what_aws_shows_is_not_made_again_though_the_status_is_wiped() {
    let budget = Budget {
        crashes: 1,
        lost: 1,
        wipes: 1,
        deletes: 1,
        ..Budget::default()
    };
    backend(budget).explore("create, status wiped");
}

#[test]
fn a_backend_is_deleted_with_its_resource() {
    let budget = Budget {
        crashes: 1,
        deletes: 1,
        fails: 2,
        lost: 1,
        ..Budget::default()
    };
    backend(budget).explore("delete");
}

#[test]
fn a_retained_backend_stays_and_its_next_resource_does_not_take_it() {
    let budget = Budget {
        crashes: 1,
        stale: 1,
        lost: 1,
        deletes: 1,
        recreates: 1,
        ..Budget::default()
    };
    let exploration = backend(budget);
    let scenario = Scenario {
        deletion: Some(DeletionPolicy::Retain),
        ..exploration.scenario.clone()
    };
    Exploration {
        scenario,
        ..exploration
    }
    .explore("delete, retained");
}

#[test]
fn a_backend_of_somebody_else_is_neither_taken_nor_deleted() {
    let budget = Budget {
        crashes: 1,
        stale: 1,
        deletes: 1,
        gone: 1,
        lost: 1,
        ..Budget::default()
    };
    let exploration = Exploration {
        thing: Some(shell::old_rival()),
        ..backend(budget)
    };
    exploration.explore("somebody else's");
}

#[test]
fn a_backend_that_somebody_else_makes_meanwhile_is_not_taken() {
    let budget = Budget {
        crashes: 1,
        deletes: 1,
        rivals: 1,
        lost: 1,
        ..Budget::default()
    };
    backend(budget).explore("somebody else's, made meanwhile");
}

#[test]
fn an_api_of_somebody_else_is_adopted_and_brought_in_line() {
    let budget = Budget {
        crashes: 1,
        deletes: 1,
        rivals: 1,
        gone: 1,
        ..Budget::default()
    };
    let exploration = api(budget);
    let scenario = Scenario {
        adoption: AdoptionPolicy::IfExists,
        deletion: Some(DeletionPolicy::Delete),
        ..exploration.scenario.clone()
    };
    Exploration {
        scenario,
        thing: Some(shell::old_rival()),
        ..exploration
    }
    .explore("adoption");
}

#[test]
fn a_clone_is_made_once_beside_jobs_of_others() {
    let budget = Budget {
        crashes: 1,
        lost: 1,
        foreign: 1,
        deletes: 1,
        ..Budget::default()
    };
    Exploration::new(Scenario::of(Operation::CloneBackend), budget).explore("clone");
}

#[test]
fn an_api_is_updated_to_what_its_spec_says() {
    let budget = Budget {
        crashes: 1,
        edits: 1,
        lost: 1,
        fails: 1,
        ..Budget::default()
    };
    api(budget).explore("update");
}

#[test]
fn an_api_that_others_change_or_delete_is_put_back() {
    let budget = Budget {
        edits: 1,
        drifts: 1,
        gone: 1,
        reads: 1,
        ..Budget::default()
    };
    api(budget).explore("update, drift");
}

#[test]
fn two_operators_update_one_api() {
    let exploration = Exploration {
        processes: 2,
        attempts: 2,
        ..api(Budget {
            edits: 2,
            ..Budget::default()
        })
    };
    exploration.explore("update, two operators");
}

#[test]
fn an_environment_is_registered_once_and_deleted_with_its_resource() {
    let budget = Budget {
        crashes: 1,
        lost: 1,
        stale: 1,
        refusals: 1,
        deletes: 1,
        gone: 1,
        ..Budget::default()
    };
    environment(budget).explore("environment");
}

#[test]
fn two_operators_register_one_environment() {
    let budget = Budget {
        crashes: 1,
        lost: 1,
        deletes: 1,
        ..Budget::default()
    };
    let exploration = Exploration {
        processes: 2,
        ..environment(budget)
    };
    exploration.explore("environment, two operators");
}

fn two_apis(budget: Budget) -> Exploration {
    let exploration = api(budget);
    let scenario = Scenario {
        // Only the slots keep the jobs apart.
        refuses: false,
        ..exploration.scenario.clone()
    };
    Exploration {
        names: 2,
        attempts: 2,
        scenario,
        ..exploration
    }
}

#[test]
fn two_apis_of_one_environment_never_have_overlapping_jobs_though_replies_are_lost() {
    let budget = Budget {
        lost: 1,
        ..Budget::default()
    };
    two_apis(budget).explore("two APIs, replies lost, and an AWS that refuses nothing");
}

#[test]
fn two_apis_of_one_environment_never_have_overlapping_jobs_though_the_operator_dies() {
    let budget = Budget {
        crashes: 1,
        ..Budget::default()
    };
    two_apis(budget).explore("two APIs, a crash, and an AWS that refuses nothing");
}

#[test]
fn two_resources_of_one_backend_make_it_once() {
    let exploration = backend(Budget {
        crashes: 1,
        deletes: 1,
        ..Budget::default()
    });
    let scenario = Scenario {
        same_object: true,
        ..exploration.scenario.clone()
    };
    Exploration {
        names: 2,
        scenario,
        ..exploration
    }
    .explore("two resources of one backend");
}
