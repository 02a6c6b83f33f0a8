//! The patches with which the operator writes a status. Pure: the program and the exploration use the same tests and
//! changes.

use serde_json::{Map, Value, json};

/// Returns the JSON merge patch (RFC 7386) that turns `old` into `new`.
#[must_use]
pub fn merge_difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for (field, value) in new {
        match old.get(field) {
            Some(before) if before == value => {}
            Some(before) => {
                patch.insert(field.clone(), merge_difference(before, value));
            }
            None => {
                patch.insert(field.clone(), value.clone());
            }
        }
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// Returns the JSON patch (RFC 6902) that stores a write accepted by AWS, whatever other changes were made. Conditions:
/// the object and the attempt are the same, and no newer generation has been reported.
#[must_use]
pub fn recording(uid: Option<&str>, old: &Value, new: &Value) -> Value {
    let mut patch = vec![json!({ "op": "test", "path": "/metadata/uid", "value": uid })];
    for path in ["/job/attempt", "/observedGeneration"] {
        if let Some(value) = old.pointer(path) {
            patch.push(json!({ "op": "test", "path": format!("/status{path}"), "value": value }));
        }
    }
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    for (field, value) in new.iter().filter(|(field, value)| old.get(*field) != Some(*value)) {
        patch.push(json!({ "op": "add", "path": format!("/status/{field}"), "value": value }));
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.push(json!({ "op": "remove", "path": format!("/status/{field}") }));
    }
    Value::Array(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_difference_names_what_changed_came_and_went() {
        let table = [
            (json!({}), json!({"a": 1}), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": 1}), json!({})),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), json!({"b": null})),
            (
                json!({"a": {"x": 1, "y": 2}}),
                json!({"a": {"x": 1, "y": 3}}),
                json!({"a": {"y": 3}}),
            ),
            (json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 2]})),
        ];
        for (old, new, expected) in table {
            assert_eq!(merge_difference(&old, &new), expected, "from {old} to {new}");
        }
    }

    #[test]
    fn a_recording_tests_the_object_the_attempt_and_the_generation_that_was_reported() {
        let old =
            json!({ "observedGeneration": 1, "job": { "attempt": 3 }, "sentConfigHash": "a", "origin": "Created" });
        let new = json!({ "observedGeneration": 2, "job": { "attempt": 3, "id": "j-1" }, "origin": "Created" });
        let expected = json!([
            { "op": "test", "path": "/metadata/uid", "value": "u-1" },
            { "op": "test", "path": "/status/job/attempt", "value": 3 },
            { "op": "test", "path": "/status/observedGeneration", "value": 1 },
            { "op": "add", "path": "/status/job", "value": { "attempt": 3, "id": "j-1" } },
            { "op": "add", "path": "/status/observedGeneration", "value": 2 },
            { "op": "remove", "path": "/status/sentConfigHash" },
        ]);
        assert_eq!(recording(Some("u-1"), &old, &new), expected);
        // Before the first attempt there is none to test.
        let patch = recording(Some("u-1"), &json!({ "observedGeneration": -1 }), &new);
        assert_eq!(patch.as_array().map(Vec::len), Some(5));
    }
}
