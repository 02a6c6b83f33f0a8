//! Random sequences: a few objects of each kind, and all requests about them.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{
    objects::{set, valid},
    side::{Content, Step},
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const KINDS: [&str; 9] = [
    "amplifybackends",
    "amplifybackends",
    "amplifybackends",
    "backendenvironments",
    "backendapis",
    "backendstorages",
    "configmaps",
    "leases",
    "events",
];

pub(super) fn steps(rng: &mut Rng, length: usize) -> Vec<Step> {
    // Few kinds in each sequence, so that requests concern the same objects.
    let kinds = [any(rng, &KINDS), any(rng, &KINDS)];
    (0..length)
        .map(|at| {
            let plural = any(rng, &kinds);
            let name = any(rng, &NAMES);
            if at < 3 {
                create(rng, plural, name)
            } else {
                step(rng, plural, name)
            }
        })
        .collect()
}

fn any<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(0..all.len())]
}

fn step(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    match rng.u32(0..100) {
        0..12 => create(rng, plural, name),
        12..20 => get(rng, plural, name),
        20..32 => list(rng, plural),
        32..48 => put(rng, plural, name),
        48..68 => merge(rng, plural, name),
        68..84 => json_patch(rng, plural, name),
        _ => delete(rng, plural, name),
    }
}

fn is_custom(plural: &str) -> bool {
    !matches!(plural, "configmaps" | "leases" | "events")
}

fn create(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    let mut object = valid(plural, name);
    let meta = &mut object["metadata"];
    match rng.u32(0..12) {
        0..3 => meta["finalizers"] = json!(["amplify-operator.dev/finalizer"]),
        3 => meta["finalizers"] = json!(["amplify-operator.dev/finalizer", "example.com/other"]),
        4 => meta["annotations"] = json!({ "amplify-operator.dev/reconcile-requested-at": "now" }),
        5 => meta["labels"] = json!({ "app": "x" }),
        6 => meta["generation"] = json!(7),
        7 => meta["uid"] = json!("11111111-2222-3333-4444-555555555555"),
        8 => meta["namespace"] = json!("elsewhere"),
        9 if is_custom(plural) => object["status"] = json!({ "observedGeneration": 5 }),
        10 if is_custom(plural) => object["spec"]["unknown"] = json!({ "field": 1 }),
        11 if is_custom(plural) => object["spec"]["appId"] = json!("not an app"),
        _ => {}
    }
    Step::new("POST", plural, "").with(Content::Json(object))
}

fn get(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    let step = Step::new("GET", plural, name);
    match rng.u32(0..4) {
        // The answer must not be older than this version.
        0 => step.query("resourceVersion", "$rv"),
        1 if is_custom(plural) => step.status(),
        _ => step,
    }
}

fn list(rng: &mut Rng, plural: &'static str) -> Step {
    let step = Step::new("GET", plural, "");
    match rng.u32(0..6) {
        0 => step.query("limit", "1"),
        1 => step.query("limit", "2"),
        2 | 3 => step.query("limit", "1").query("continue", "$continue"),
        _ => step,
    }
}

/// Returns possible changes of the resourceVersion and the uid in the body of a write.
fn identity(rng: &mut Rng) -> Vec<(&'static str, Option<Value>)> {
    let (version, uid) = ("/metadata/resourceVersion", "/metadata/uid");
    match rng.u32(0..10) {
        0..4 => vec![(version, Some(json!("$rv"))), (uid, Some(json!("$uid")))],
        4 => vec![(version, Some(json!("$stale")))],
        5 => vec![(version, None)],
        6 => vec![
            (version, Some(json!("$rv"))),
            (uid, Some(json!("11111111-2222-3333-4444-555555555555"))),
        ],
        7 => vec![(version, None), (uid, None)],
        _ => Vec::new(),
    }
}

/// Returns a plausible change.
fn change(rng: &mut Rng, plural: &str, status: bool) -> (&'static str, Option<Value>) {
    let condition = json!([{
        "type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    if status {
        return match rng.u32(0..8) {
            0 | 1 => ("/status/observedGeneration", Some(rng.i64(0..3).into())),
            2 => ("/status/conditions", Some(condition)),
            3 => (
                "/status/job",
                Some(
                    json!({ "attempt": 1, "generation": 1, "operation": "CreateBackend", "requestTime": "2026-01-01T00:00:00Z" }),
                ),
            ),
            4 => ("/status/job", Some(json!({ "attempt": "one" }))),
            5 => ("/status/unknown", Some(json!(1))),
            6 => ("/status/accountId", Some(json!("111111111111"))),
            _ => ("/status", None),
        };
    }
    match rng.u32(0..12) {
        0 => ("/metadata/finalizers", Some(json!(["amplify-operator.dev/finalizer"]))),
        1 => (
            "/metadata/finalizers",
            Some(json!(["example.com/other", "amplify-operator.dev/finalizer"])),
        ),
        2 | 3 => ("/metadata/finalizers", Some(json!([]))),
        4 => (
            "/metadata/annotations",
            Some(json!({ "x": if rng.bool() { "1" } else { "2" } })),
        ),
        5 => ("/metadata/labels", None),
        6 if is_custom(plural) => ("/spec/suspend", Some(rng.bool().into())),
        7 if is_custom(plural) => ("/spec/suspend", None),
        8 if is_custom(plural) => (
            "/spec/deletionPolicy",
            Some(json!(any(rng, &["Delete", "Retain", "Perhaps"]))),
        ),
        9 if is_custom(plural) => ("/spec/resourceName", Some(json!("another"))),
        10 if is_custom(plural) => ("/status/observedGeneration", Some(json!(3))),
        11 if is_custom(plural) => ("/spec/unknown", Some(json!(1))),
        _ => match plural {
            "configmaps" => ("/data/schema", Some(json!(any(rng, &["type A", "type B"])))),
            "leases" => ("/spec/holderIdentity", Some(json!(any(rng, &["x", "y", ""])))),
            "events" => (
                "/series",
                Some(json!({ "count": rng.u32(2..5), "lastObservedTime": "2026-01-01T00:00:00.000000Z" })),
            ),
            _ => (
                "/spec/region",
                Some(json!(any(rng, &["eu-west-1", "eu-north-1", "Ireland"]))),
            ),
        },
    }
}

fn is_about_status(rng: &mut Rng, plural: &str) -> bool {
    is_custom(plural) && rng.bool()
}

fn put(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    let status = is_about_status(rng, plural);
    let mut edits = identity(rng);
    edits.push(change(rng, plural, status));
    if rng.u32(0..6) == 0 {
        // The other change is to the other part: the spec or the status.
        edits.push(change(rng, plural, !status && is_custom(plural)));
    }
    let step = Step::new("PUT", plural, name).with(Content::Edited(edits));
    if status { step.status() } else { step }
}

fn merge(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    let status = is_about_status(rng, plural);
    let mut patch = json!({});
    for (pointer, value) in identity(rng).into_iter().chain([change(rng, plural, status)]) {
        set(&mut patch, pointer, Some(value.unwrap_or_default()));
    }
    let step = Step::new("PATCH", plural, name).with(Content::Merge(patch));
    if status { step.status() } else { step }
}

fn json_patch(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    let status = is_about_status(rng, plural);
    let mut operations = Vec::new();
    match rng.u32(0..6) {
        0 | 1 => operations.push(json!({ "op": "test", "path": "/metadata/uid", "value": "$uid" })),
        2 => operations.push(json!({ "op": "test", "path": "/metadata/resourceVersion", "value": "$stale" })),
        3 if is_custom(plural) => {
            operations.push(json!({ "op": "test", "path": "/status/observedGeneration", "value": -1 }));
        }
        _ => {}
    }
    let (path, value) = change(rng, plural, status);
    operations.push(match value {
        Some(value) if rng.u32(0..4) == 0 => json!({ "op": "replace", "path": path, "value": value }),
        Some(value) => json!({ "op": "add", "path": path, "value": value }),
        None => json!({ "op": "remove", "path": path }),
    });
    let step = Step::new("PATCH", plural, name).with(Content::JsonPatch(operations.into()));
    if status { step.status() } else { step }
}

fn delete(rng: &mut Rng, plural: &'static str, name: &'static str) -> Step {
    let step = Step::new("DELETE", plural, name);
    let precondition = match rng.u32(0..8) {
        0 => json!({ "uid": "$uid" }),
        1 => json!({ "uid": "11111111-2222-3333-4444-555555555555" }),
        2 => json!({ "resourceVersion": "$rv" }),
        3 => json!({ "resourceVersion": "$stale" }),
        4 => return step.with(Content::Json(json!({ "propagationPolicy": "Background" }))),
        _ => return step,
    };
    step.with(Content::Json(json!({ "preconditions": precondition })))
}
