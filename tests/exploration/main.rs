//! Exhaustive exploration of the lifecycle: [`amplify_operator::lifecycle::next`] against a model of everything around
//! it, in every order in which things can happen, within bounds that each test prints.
//!
//! | file | holds |
//! |---|---|
//! | `world` | the state: API server, AWS, processes, passes in flight; relative times, no texts |
//! | `shell` | what a step does: the controller, the API server and AWS, and the invariants I1–I3, I5–I7 |
//! | `model` | what can happen next, and how often |
//! | `quiet` | I4: what becomes of a situation when faults stop |

#![allow(clippy::expect_used, clippy::panic, reason = "a model that cannot go on is a failed test")]

mod model;
mod quiet;
mod shell;
mod world;

use amplify_operator::api::{AdoptionPolicy, DeletionPolicy, Operation};
use model::Exploration;
use shell::Scenario;
use world::Budget;

const NONE: Budget = Budget {
    crashes: 0,
    stale: 0,
    lost: 0,
    late: 0,
    reads: 0,
    refusals: 0,
    fails: 0,
    odd: 0,
    vanishes: 0,
    foreign: 0,
    rivals: 0,
    gone: 0,
    drifts: 0,
    edits: 0,
    deletes: 0,
    recreates: 0,
    suspends: 0,
    requests: 0,
    wipes: 0,
    touches: 0,
};

#[test]
fn a01_create_lost() {
    let budget = Budget { crashes: 2, lost: 2, late: 1, stale: 1, ..NONE };
    let exploration = Exploration::new(Scenario::of(Operation::CreateBackend), budget);
    Exploration { longest_pass: 90, ..exploration }.explore("create lost");
}

#[test]
fn a02_create_refused() {
    let budget = Budget { crashes: 1, lost: 1, refusals: 1, reads: 1, foreign: 1, touches: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackend), budget).explore("create refused");
}

#[test]
fn a03_create_jobs() {
    let budget = Budget { crashes: 1, lost: 1, fails: 2, odd: 1, vanishes: 1, late: 1, ..NONE };
    let scenario = Scenario { early: true, ..Scenario::of(Operation::CreateBackend) };
    Exploration::new(scenario, budget).explore("create jobs");
}

#[test]
fn a04_create_two() {
    let budget = Budget { lost: 1, stale: 1, ..NONE };
    let exploration = Exploration::new(Scenario::of(Operation::CreateBackend), budget);
    Exploration { processes: 2, longest_pass: 30, ..exploration }.explore("create, two operators");
}

#[test]
fn a05_create_user() {
    let budget = Budget { crashes: 1, lost: 1, deletes: 1, recreates: 1, suspends: 2, requests: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackend), budget).explore("create user");
}

#[test]
fn a06_create_wiped() {
    let budget = Budget { crashes: 1, lost: 1, wipes: 1, deletes: 1, fails: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackend), budget).explore("create wiped");
}

#[test]
fn a07_adopt() {
    let budget = Budget { crashes: 1, stale: 1, deletes: 1, rivals: 1, gone: 1, lost: 1, edits: 1, ..NONE };
    let scenario = Scenario {
        adoption: AdoptionPolicy::IfExists,
        deletion: Some(DeletionPolicy::Delete),
        ..Scenario::of(Operation::CreateBackendApi)
    };
    Exploration { thing: Some(shell::old_rival()), ..Exploration::new(scenario, budget) }.explore("adopt");
}

#[test]
fn a08_not_adopted() {
    let budget = Budget { crashes: 1, stale: 1, deletes: 1, rivals: 1, gone: 1, lost: 1, ..NONE };
    Exploration { thing: Some(shell::old_rival()), ..Exploration::new(Scenario::of(Operation::CreateBackend), budget) }.explore("not adopted");
}

#[test]
fn a09_retain() {
    let budget = Budget { crashes: 1, stale: 1, lost: 1, deletes: 1, recreates: 1, ..NONE };
    let scenario = Scenario { deletion: Some(DeletionPolicy::Retain), ..Scenario::of(Operation::CreateBackend) };
    Exploration::new(scenario, budget).explore("retain");
}

#[test]
fn a10_clone() {
    let budget = Budget { crashes: 1, lost: 1, late: 1, foreign: 1, deletes: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CloneBackend), budget).explore("clone");
}

#[test]
fn a11_api() {
    let budget = Budget { crashes: 1, lost: 1, edits: 2, fails: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackendApi), budget).explore("api");
}

#[test]
fn a12_api_drift() {
    let budget = Budget { crashes: 1, edits: 1, drifts: 1, gone: 1, requests: 1, reads: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackendApi), budget).explore("api drift");
}

#[test]
fn a13_api_two() {
    let budget = Budget { edits: 2, lost: 1, ..NONE };
    let exploration = Exploration::new(Scenario::of(Operation::CreateBackendApi), budget);
    Exploration { processes: 2, ..exploration }.explore("api, two operators");
}

#[test]
fn a14_environment() {
    let budget = Budget { crashes: 2, lost: 2, stale: 1, refusals: 1, deletes: 1, gone: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackendEnvironment), budget).explore("environment");
}

#[test]
fn a15_environment_two() {
    let budget = Budget { crashes: 1, lost: 1, deletes: 1, ..NONE };
    let exploration = Exploration::new(Scenario::of(Operation::CreateBackendEnvironment), budget);
    Exploration { processes: 2, ..exploration }.explore("environment, two operators");
}

#[test]
fn a16_delete() {
    let budget = Budget { crashes: 1, lost: 1, deletes: 1, fails: 2, foreign: 1, late: 1, ..NONE };
    Exploration::new(Scenario::of(Operation::CreateBackend), budget).explore("delete");
}

#[test]
fn a17_two_names() {
    let budget = Budget { crashes: 1, lost: 1, ..NONE };
    let scenario = Scenario { refuses: false, ..Scenario::of(Operation::CreateBackendApi) };
    Exploration { names: 2, ..Exploration::new(scenario, budget) }.explore("two apis");
}

#[test]
fn a18_same_object() {
    let budget = Budget { crashes: 1, lost: 1, deletes: 1, ..NONE };
    let scenario = Scenario { same_object: true, ..Scenario::of(Operation::CreateBackend) };
    Exploration { names: 2, ..Exploration::new(scenario, budget) }.explore("two backends, one object");
}
