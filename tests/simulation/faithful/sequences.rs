//! The named sequences: each is about one rule.

use amplify_devcluster::Cluster;
use kube::Client;
use serde_json::{Value, json};

use super::{
    Sequence,
    objects::{set, valid},
    side::{Content, Side, Step, comparable},
};

const BACKENDS: &str = "amplifybackends";
const FINALIZER: &str = "amplify-operator.dev/finalizer";

fn post(plural: &'static str, name: &str) -> Step {
    Step::new("POST", plural, "").with(Content::Json(valid(plural, name)))
}

fn post_with(plural: &'static str, name: &str, pointer: &str, value: Value) -> Step {
    let mut object = valid(plural, name);
    set(&mut object, pointer, Some(value));
    Step::new("POST", plural, "").with(Content::Json(object))
}

fn get(plural: &'static str, name: &'static str) -> Step {
    Step::new("GET", plural, name)
}

fn list(plural: &'static str) -> Step {
    get(plural, "")
}

fn merge(plural: &'static str, name: &'static str, patch: Value) -> Step {
    Step::new("PATCH", plural, name).with(Content::Merge(patch))
}

fn patch(plural: &'static str, name: &'static str, patch: Value) -> Step {
    Step::new("PATCH", plural, name).with(Content::JsonPatch(patch))
}

fn put(plural: &'static str, name: &'static str, edits: Vec<(&'static str, Option<Value>)>) -> Step {
    Step::new("PUT", plural, name).with(Content::Edited(edits))
}

fn delete(plural: &'static str, name: &'static str) -> Step {
    Step::new("DELETE", plural, name)
}

/// Returns all of them.
pub(super) fn all() -> Vec<Sequence> {
    let named = |(name, steps): (&str, Vec<Step>)| Sequence {
        name: name.to_owned(),
        steps,
    };
    let all = [
        life(),
        statuses(),
        identities(),
        patches(),
        wrong(),
        lists(),
        cache(),
        others(),
    ];
    all.into_iter().flatten().map(named).collect()
}

type Named = (&'static str, Vec<Step>);

#[expect(clippy::too_many_lines, reason = "a list of requests")]
fn life() -> Vec<Named> {
    let finalizers = |all: &[&str]| json!({ "metadata": { "finalizers": all } });
    vec![
        (
            "a-finalizer-keeps-what-is-deleted",
            vec![
                post(BACKENDS, "a"),
                merge(BACKENDS, "a", finalizers(&[FINALIZER])),
                delete(BACKENDS, "a"),
                get(BACKENDS, "a"),
                delete(BACKENDS, "a"),
                merge(BACKENDS, "a", finalizers(&[FINALIZER, "example.com/other"])),
                merge(BACKENDS, "a", json!({ "spec": { "suspend": true } })),
                merge(BACKENDS, "a", json!({ "status": { "observedGeneration": 2 } })).status(),
                post(BACKENDS, "a"),
                merge(BACKENDS, "a", finalizers(&[])),
                get(BACKENDS, "a"),
                post(BACKENDS, "a"),
            ],
        ),
        (
            "the-generation-counts-specs-and-the-deletion",
            vec![
                post_with(BACKENDS, "a", "/metadata/finalizers", json!([FINALIZER])),
                merge(BACKENDS, "a", json!({ "spec": { "suspend": true } })),
                merge(BACKENDS, "a", json!({ "spec": { "suspend": true } })),
                merge(BACKENDS, "a", json!({ "metadata": { "annotations": { "x": "1" } } })),
                merge(BACKENDS, "a", json!({ "metadata": { "generation": 9 } })),
                merge(BACKENDS, "a", json!({ "status": { "observedGeneration": 2 } })).status(),
                merge(BACKENDS, "a", json!({ "spec": { "unknown": true } })),
                delete(BACKENDS, "a"),
                get(BACKENDS, "a"),
            ],
        ),
        (
            "a-finalizer-taken-off-by-a-put",
            vec![
                post_with(BACKENDS, "a", "/metadata/finalizers", json!([FINALIZER])),
                delete(BACKENDS, "a"),
                put(BACKENDS, "a", vec![("/metadata/finalizers", None)]),
                get(BACKENDS, "a"),
                put(BACKENDS, "a", vec![]),
            ],
        ),
        (
            "a-status-does-not-take-a-finalizer-off",
            vec![
                post_with(BACKENDS, "a", "/metadata/finalizers", json!([FINALIZER])),
                merge(BACKENDS, "a", finalizers(&[])).status(),
                put(
                    BACKENDS,
                    "a",
                    vec![
                        ("/metadata/finalizers", None),
                        ("/metadata/labels", Some(json!({ "a": "b" }))),
                    ],
                )
                .status(),
                delete(BACKENDS, "a"),
                merge(BACKENDS, "a", finalizers(&[])).status(),
                get(BACKENDS, "a"),
            ],
        ),
        (
            "deletion-with-preconditions",
            vec![
                post(BACKENDS, "a"),
                delete(BACKENDS, "a").with(Content::Json(json!({ "preconditions": { "uid": "x" } }))),
                delete(BACKENDS, "a").with(Content::Json(json!({ "preconditions": { "resourceVersion": "1" } }))),
                delete(BACKENDS, "a").with(Content::Json(
                    json!({ "preconditions": { "uid": "$uid", "resourceVersion": "$rv" } }),
                )),
                delete(BACKENDS, "a"),
            ],
        ),
    ]
}

fn statuses() -> Vec<Named> {
    vec![
        (
            "a-new-object-has-the-default-status",
            vec![
                post_with(BACKENDS, "a", "/status", json!({ "observedGeneration": 4 })),
                get(BACKENDS, "a"),
                get(BACKENDS, "a").status(),
                merge(BACKENDS, "a", json!({ "status": { "observedGeneration": 4 } })),
                merge(BACKENDS, "a", json!({ "status": { "observedGeneration": 4 }, "spec": { "suspend": true } })).status(),
                merge(BACKENDS, "a", json!({ "status": null })),
                merge(BACKENDS, "a", json!({ "status": null })).status(),
                merge(BACKENDS, "a", json!({ "status": { "observedGeneration": null, "accountId": "1" } })).status(),
                put(BACKENDS, "a", vec![("/status", Some(json!({})))]).status(),
                put(BACKENDS, "a", vec![("/status", None)]).status(),
                put(BACKENDS, "a", vec![("/status", None)]),
            ],
        ),
        (
            "a-status-that-the-schema-refuses",
            vec![
                post(BACKENDS, "a"),
                merge(BACKENDS, "a", json!({ "status": { "observedGeneration": "x" } })).status(),
                merge(BACKENDS, "a", json!({ "status": { "origin": "Found" } })).status(),
                merge(BACKENDS, "a", json!({ "status": { "job": { "attempt": 1 } } })).status(),
                merge(BACKENDS, "a", json!({ "status": { "conditions": [
                    { "type": "Ready", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "yesterday" } ] } })).status(),
                merge(BACKENDS, "a", json!({ "status": { "conditions": [
                    { "type": "Ready", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                    { "type": "Ready", "status": "True", "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" } ] } })).status(),
                merge(BACKENDS, "a", json!({ "status": "x" })).status(),
                get(BACKENDS, "a"),
            ],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list of requests")]
fn identities() -> Vec<Named> {
    let of = |version: &str, uid: &str| json!({ "metadata": { "resourceVersion": version, "uid": uid, "annotations": { "x": format!("of {version} {uid}") } } });
    vec![
        (
            "writes-are-conditional-on-version-and-uid",
            vec![
                post(BACKENDS, "a"),
                merge(BACKENDS, "a", of("$rv", "$uid")),
                merge(BACKENDS, "a", of("$stale", "$uid")),
                merge(BACKENDS, "a", of("$rv", "another")),
                merge(BACKENDS, "a", of("$stale", "another")),
                merge(BACKENDS, "a", of("1", "$uid")),
                merge(BACKENDS, "a", json!({ "metadata": { "resourceVersion": "$stale" } })),
                merge(
                    BACKENDS,
                    "a",
                    json!({ "metadata": { "resourceVersion": "$stale" }, "status": { "observedGeneration": 1 } }),
                )
                .status(),
                merge(
                    BACKENDS,
                    "a",
                    json!({ "metadata": { "uid": "another" }, "status": { "observedGeneration": 1 } }),
                )
                .status(),
                put(
                    BACKENDS,
                    "a",
                    vec![("/metadata/resourceVersion", Some(json!("$stale")))],
                ),
                put(BACKENDS, "a", vec![("/metadata/resourceVersion", None)]),
                put(
                    BACKENDS,
                    "a",
                    vec![("/metadata/uid", None), ("/spec/suspend", Some(json!(true)))],
                ),
                put(BACKENDS, "a", vec![("/metadata/uid", Some(json!("another")))]),
                put(BACKENDS, "a", vec![("/metadata/resourceVersion", Some(json!("abc")))]),
                put(
                    BACKENDS,
                    "a",
                    vec![("/metadata/resourceVersion", Some(json!("$stale")))],
                )
                .status(),
                put(BACKENDS, "a", vec![("/metadata/resourceVersion", None)]).status(),
                put(
                    BACKENDS,
                    "a",
                    vec![("/metadata/creationTimestamp", Some(json!("2020-01-01T00:00:00Z")))],
                ),
                put(
                    BACKENDS,
                    "a",
                    vec![
                        ("/metadata/creationTimestamp", None),
                        ("/spec/suspend", Some(json!(false))),
                    ],
                ),
                put(
                    BACKENDS,
                    "a",
                    vec![("/metadata/deletionTimestamp", Some(json!("2020-01-01T00:00:00Z")))],
                ),
            ],
        ),
        (
            "another-object-of-the-same-name",
            vec![
                post(BACKENDS, "a"),
                delete(BACKENDS, "a"),
                post(BACKENDS, "a"),
                put(BACKENDS, "a", vec![]),
                post(BACKENDS, "a"),
                post_with(BACKENDS, "a", "/metadata/resourceVersion", json!("1")),
                post_with(BACKENDS, "b", "/metadata/resourceVersion", json!("1")),
            ],
        ),
    ]
}

fn patches() -> Vec<Named> {
    let test = |path: &str, value: Value| json!({ "op": "test", "path": path, "value": value });
    let add = |path: &str, value: Value| json!({ "op": "add", "path": path, "value": value });
    let job = || json!({ "attempt": 1, "generation": 1, "operation": "CreateBackend", "requestTime": "2026-01-01T00:00:00Z" });
    vec![(
        "json-patches",
        vec![
            post(BACKENDS, "a"),
            patch(
                BACKENDS,
                "a",
                json!([test("/metadata/uid", json!("$uid")), add("/status/job", job())]),
            )
            .status(),
            patch(
                BACKENDS,
                "a",
                json!([
                    test("/metadata/uid", json!("other")),
                    add("/status/accountId", json!("1"))
                ]),
            )
            .status(),
            patch(
                BACKENDS,
                "a",
                json!([
                    test("/status/job/attempt", json!(1)),
                    add("/status/accountId", json!("1"))
                ]),
            )
            .status(),
            patch(
                BACKENDS,
                "a",
                json!([
                    test("/status/job/attempt", json!(2)),
                    add("/status/accountId", json!("2"))
                ]),
            )
            .status(),
            patch(
                BACKENDS,
                "a",
                json!([test("/status/nothing", json!(2)), add("/status/accountId", json!("2"))]),
            )
            .status(),
            patch(BACKENDS, "a", json!([{ "op": "remove", "path": "/status/region" }])).status(),
            patch(BACKENDS, "a", json!([{ "op": "remove", "path": "/status/job" }])).status(),
            patch(BACKENDS, "a", json!([add("/status/job/id", json!("j"))])).status(),
            patch(BACKENDS, "a", json!([add("/spec/suspend", json!(true))])).status(),
            patch(BACKENDS, "a", json!([add("/status/accountId", json!("3"))])),
            patch(BACKENDS, "a", json!([add("/spec/appId", json!("d9"))])),
            patch(BACKENDS, "a", json!([add("/kind", json!("Other"))])),
            patch(BACKENDS, "a", json!([add("/metadata/name", json!("b"))])),
            patch(BACKENDS, "a", json!([{ "op": "nonsense" }])),
            patch(BACKENDS, "a", json!([])),
            patch(BACKENDS, "none", json!([add("/spec/suspend", json!(true))])),
            get(BACKENDS, "a"),
        ],
    )]
}

fn wrong() -> Vec<Named> {
    let text = |kind, text| Content::Text(kind, text);
    vec![
        (
            "what-cannot-be-read",
            vec![
                Step::new("POST", BACKENDS, "").with(text("application/json", "{")),
                Step::new("POST", BACKENDS, "").with(text("application/json", "[]")),
                Step::new("POST", BACKENDS, "").with(text("application/json", "{}")),
                post(BACKENDS, "a"),
                Step::new("PATCH", BACKENDS, "a").with(text("application/merge-patch+json", "{")),
                Step::new("PATCH", BACKENDS, "a").with(text("application/merge-patch+json", "[]")),
                Step::new("PATCH", BACKENDS, "a").with(text("application/json-patch+json", "{}")),
                Step::new("PATCH", BACKENDS, "a").with(text("text/plain", "{}")),
                merge(BACKENDS, "a", json!({ "metadata": { "labels": { "a": 1 } } })),
                merge(BACKENDS, "a", json!({ "metadata": { "finalizers": "x" } })),
                merge(
                    BACKENDS,
                    "a",
                    json!({ "metadata": { "finalizers": ["not a finalizer"] } }),
                ),
                merge(BACKENDS, "a", json!({ "metadata": null })),
                merge(BACKENDS, "a", json!({ "metadata": { "name": "b" } })),
                merge(BACKENDS, "a", json!({ "metadata": { "namespace": "b" } })),
                merge(BACKENDS, "a", json!({ "kind": "Other" })),
                merge(BACKENDS, "a", json!({ "spec": null })),
                merge(BACKENDS, "a", json!({})),
                put(BACKENDS, "a", vec![("/metadata/name", Some(json!("b")))]),
                put(BACKENDS, "a", vec![("/metadata/namespace", Some(json!("b")))]),
                put(BACKENDS, "a", vec![("/kind", Some(json!("Other")))]),
                put(BACKENDS, "a", vec![("/kind", None)]),
                put(BACKENDS, "a", vec![("/spec", None)]),
                get(BACKENDS, "none"),
                delete(BACKENDS, "none"),
                put(BACKENDS, "none", vec![]),
                put(BACKENDS, "none", vec![("/metadata/resourceVersion", Some(json!("1")))]),
            ],
        ),
        (
            "what-the-schema-refuses",
            vec![
                post_with(BACKENDS, "a", "/spec/appId", json!("not an app")),
                post_with(BACKENDS, "a", "/spec/appId", json!(1)),
                post_with(BACKENDS, "a", "/spec/suspend", json!("yes")),
                post_with(BACKENDS, "a", "/spec/suspend", Value::Null),
                post_with(BACKENDS, "b", "/spec/deletionPolicy", json!("Perhaps")),
                post_with(BACKENDS, "b", "/spec", json!({})),
                post_with(BACKENDS, "b", "/spec/appId", Value::Null),
                post_with(BACKENDS, "Not_a_name", "/spec/suspend", json!(true)),
                post_with(BACKENDS, "", "/spec/suspend", json!(true)),
                post_with(BACKENDS, "c", "/spec/resourceConfig", json!({ "x": 1 })),
                post_with(BACKENDS, "d", "/metadata/nonsense", json!({ "x": 1 })),
                post_with(BACKENDS, "e", "/nonsense", json!({ "x": 1 })),
                post_with(
                    "backendapis",
                    "f",
                    "/spec/resourceConfig/defaultAuthType/mode",
                    json!("Nothing"),
                ),
                post_with("backendapis", "f", "/spec/resourceConfig/unknown", json!([1])),
            ],
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a list of requests")]
fn lists() -> Vec<Named> {
    let page = |limit, token| list(BACKENDS).query("limit", limit).query("continue", token);
    vec![
        (
            "pages-show-one-moment",
            vec![
                list(BACKENDS),
                post(BACKENDS, "a"),
                post(BACKENDS, "b-1"),
                post(BACKENDS, "c"),
                post(BACKENDS, "b.2"),
                list(BACKENDS),
                list(BACKENDS).query("limit", "2"),
                delete(BACKENDS, "c"),
                post(BACKENDS, "d"),
                merge(BACKENDS, "b-1", json!({ "spec": { "suspend": true } })),
                page("1", "$continue"),
                page("5", "$continue"),
                page("5", ""),
                list(BACKENDS).query("limit", "4"),
                page("1", "nonsense"),
                list(BACKENDS).query("limit", "x"),
            ],
        ),
        (
            "lists-of-a-revision",
            vec![
                post(BACKENDS, "a"),
                list(BACKENDS),
                post(BACKENDS, "b"),
                list(BACKENDS)
                    .query("resourceVersion", "$listed")
                    .query("resourceVersionMatch", "Exact"),
                list(BACKENDS)
                    .query("resourceVersion", "$begin")
                    .query("resourceVersionMatch", "Exact"),
                list(BACKENDS).query("resourceVersion", "$begin").query("limit", "1"),
                list(BACKENDS).query("resourceVersion", "abc"),
                list(BACKENDS).query("resourceVersionMatch", "Exact"),
                list(BACKENDS)
                    .query("resourceVersion", "0")
                    .query("resourceVersionMatch", "Exact"),
                list(BACKENDS)
                    .query("resourceVersion", "$begin")
                    .query("resourceVersionMatch", "Sometimes"),
                list(BACKENDS).query("limit", "1"),
                list(BACKENDS)
                    .query("continue", "$continue")
                    .query("resourceVersion", "$begin"),
                get(BACKENDS, "a").query("resourceVersion", "abc"),
            ],
        ),
        (
            "versions-of-the-future",
            vec![
                post(BACKENDS, "a"),
                get(BACKENDS, "a").query("resourceVersion", "999999999"),
                list(BACKENDS).query("resourceVersion", "999999999"),
            ],
        ),
        (
            "other-kinds-in-lists",
            vec![
                post("configmaps", "a"),
                post("leases", "a"),
                post("events", "a"),
                list("configmaps"),
                list("leases"),
                list("events"),
                list("configmaps").query("limit", "1"),
            ],
        ),
        (
            "watches-that-are-refused",
            vec![list(BACKENDS).query("watch", "true").query("resourceVersion", "abc")],
        ),
    ]
}

fn cache() -> Vec<Named> {
    vec![(
        "the-cache-and-metadata",
        vec![
            post(BACKENDS, "a"),
            post(BACKENDS, "b"),
            // After this list, the cache is as new as the list.
            list(BACKENDS),
            list(BACKENDS).query("resourceVersion", "0"),
            list(BACKENDS).query("resourceVersion", "0").query("limit", "1"),
            list(BACKENDS)
                .query("resourceVersion", "0")
                .query("resourceVersionMatch", "NotOlderThan"),
            list(BACKENDS)
                .query("resourceVersion", "$listed")
                .query("resourceVersionMatch", "NotOlderThan"),
            list(BACKENDS)
                .query("resourceVersion", "$begin")
                .query("resourceVersionMatch", "NotOlderThan")
                .query("limit", "1"),
            list(BACKENDS).metadata_only(),
            list(BACKENDS).metadata_only().query("limit", "1"),
            get(BACKENDS, "a").query("resourceVersion", "0"),
            get(BACKENDS, "a").metadata_only(),
            get(BACKENDS, "none").metadata_only(),
            get("leases", "none").metadata_only(),
        ],
    )]
}

#[expect(clippy::too_many_lines, reason = "a list of requests")]
fn others() -> Vec<Named> {
    vec![
        (
            "a-lease",
            vec![
                get("leases", "a"),
                put("leases", "a", vec![]),
                put(
                    "leases",
                    "a",
                    vec![("/metadata/resourceVersion", Some(json!("$stale")))],
                ),
                put("leases", "a", vec![("/metadata/resourceVersion", None)]),
                put("leases", "a", vec![("/spec/holderIdentity", Some(json!("y")))]),
                put("leases", "a", vec![("/spec/holderIdentity", Some(json!("")))]),
                put("leases", "a", vec![("/spec/leaseDurationSeconds", Some(json!(0)))]),
                put(
                    "leases",
                    "a",
                    vec![("/spec/renewTime", Some(json!("2026-01-01T00:00:00Z")))],
                ),
                put("leases", "a", vec![("/spec/renewTime", Some(json!("tomorrow")))]),
                put("leases", "a", vec![("/spec/holderIdentity", None)]),
                post("leases", "a"),
                delete("leases", "a"),
                put("leases", "a", vec![]),
                put("leases", "a", vec![("/metadata/uid", None)]),
                put("leases", "b", vec![("/metadata/resourceVersion", Some(json!("1")))]),
            ],
        ),
        (
            "a-config-map",
            vec![
                post("configmaps", "a"),
                put("configmaps", "a", vec![("/data/schema", Some(json!("type B")))]),
                put(
                    "configmaps",
                    "a",
                    vec![
                        ("/metadata/resourceVersion", None),
                        ("/data/schema", Some(json!("type C"))),
                    ],
                ),
                put(
                    "configmaps",
                    "a",
                    vec![("/metadata/resourceVersion", Some(json!("$stale")))],
                ),
                put("configmaps", "a", vec![("/data", Some(json!({})))]),
                put("configmaps", "a", vec![("/data", Some(json!({ "a/b": "x" })))]),
                put("configmaps", "a", vec![("/data", Some(json!({ "a": 1 })))]),
                put(
                    "configmaps",
                    "a",
                    vec![("/binaryData", Some(json!({ "b": "//50AHkA" })))],
                ),
                put("configmaps", "none", vec![]),
                delete("configmaps", "a"),
                get("configmaps", "a"),
            ],
        ),
        (
            "an-event",
            vec![
                post("events", "a"),
                merge(
                    "events",
                    "a",
                    json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z" } }),
                ),
                merge("events", "a", json!({ "note": "another" })),
                merge(
                    "events",
                    "none",
                    json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z" } }),
                ),
                post_with("events", "b", "/note", json!("x".repeat(1025))),
                post_with("events", "b", "/reason", json!("")),
                post_with("events", "b", "/regarding/namespace", json!("elsewhere")),
                post_with("events", "b", "/type", json!("Bad")),
                get("events", "a"),
                delete("events", "a"),
            ],
        ),
    ]
}

/// Checks that both servers answer a request for compacted history with 410, and how a watch begins.
pub(super) async fn compacted(cluster: &Cluster, real: &Client) {
    let server = crate::apiserver::Server::new(1, jiff::Timestamp::UNIX_EPOCH);
    let mut answers = Vec::new();
    for (is_real, client) in [(true, real.clone()), (false, server.client("admin", "default"))] {
        let mut side = Side::new(client, "compacted");
        side.begin().await;
        for name in ["a", "b", "c"] {
            side.take(&post(BACKENDS, name)).await;
        }
        // Without a resourceVersion, a watch begins with the existing objects.
        let all = side.events(&list(BACKENDS).query("watch", "true"), "c").await;
        side.take(&list(BACKENDS).query("limit", "1")).await;
        side.take(&delete(BACKENDS, "c")).await;
        if is_real {
            cluster.compact().await.expect("etcd compacts");
        } else {
            server.compact();
        }
        let exact = list(BACKENDS)
            .query("resourceVersion", "1")
            .query("resourceVersionMatch", "Exact");
        side.take(&exact).await;
        // Older than everything that a cache can hold.
        let watch = list(BACKENDS).query("watch", "true").query("resourceVersion", "1");
        let events = side.events(&watch, "").await;
        let mut seen = comparable(side.seen());
        seen.extend(comparable(all));
        seen.extend(comparable(events));
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1], "the real one, and the model");
}
