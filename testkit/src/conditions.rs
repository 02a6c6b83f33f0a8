//! Access to the conditions of a resource.

use serde_json::Value;

/// Returns a condition of a resource, or null if it is absent.
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == type_)
        .unwrap_or(&NULL)
}

pub fn is_stalled(object: &Value) -> bool {
    condition(object, "Stalled")["status"] == "True"
}
