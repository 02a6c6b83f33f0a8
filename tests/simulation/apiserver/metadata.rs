//! The rules of metadata for creates and updates. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::refusal::Refusal;

/// The longest name of an object.
const NAME_LIMIT: usize = 253;

/// Returns a text of metadata, empty if it is absent.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// Returns the finalizers.
pub(crate) fn finalizers(object: &Value) -> Vec<&str> {
    let all = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

pub(crate) fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Returns a time in the format of metadata.
pub(crate) fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn fields(object: &mut Value) -> &mut Map<String, Value> {
    // The form of the object has already been checked.
    object["metadata"].as_object_mut().expect("metadata is an object")
}

/// Sets a field, or removes it.
pub(crate) fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let fields = fields(object);
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
}

/// Whether an object of most resources can have this name: a DNS subdomain.
pub(crate) fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label =
        |label: &str| !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-');
    name.len() <= NAME_LIMIT && name.split('.').all(label)
}

/// Sets the fields that the server sets on a new object, whatever the client sent.
pub(crate) fn create(object: &mut Value, uid: String, now: Timestamp, has_generation: bool) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        set(object, field, None);
    }
    set(object, "uid", Some(uid.into()));
    set(object, "creationTimestamp", Some(seconds(now).into()));
    if has_generation {
        set(object, "generation", Some(1.into()));
    }
}

/// Applies the rules for fields of metadata that an update may not change: an absent one is kept, and a different one
/// is refused.
pub(crate) fn update(kind: &str, object: &mut Value, old: &Value) -> Result<(), Refusal> {
    let name = text(old, "name").to_owned();
    set(object, "generation", old["metadata"].get("generation").cloned());
    set(
        object,
        "resourceVersion",
        old["metadata"].get("resourceVersion").cloned(),
    );
    set(
        object,
        "creationTimestamp",
        old["metadata"].get("creationTimestamp").cloned(),
    );
    for field in [
        "uid",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "name",
        "namespace",
    ] {
        let (given, kept) = (
            object["metadata"].get(field).cloned(),
            old["metadata"].get(field).cloned(),
        );
        match given {
            None => set(object, field, kept),
            Some(given) if Some(&given) == kept.as_ref() => {}
            Some(_) => {
                return Err(Refusal::invalid(
                    kind,
                    &name,
                    &format!("metadata.{field}: field is immutable"),
                ));
            }
        }
    }
    if is_deleting(old) {
        let known = finalizers(old);
        let new: Vec<_> = finalizers(object)
            .into_iter()
            .filter(|it| !known.contains(it))
            .collect();
        if !new.is_empty() {
            let why = format!(
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {new:?}"
            );
            return Err(Refusal::invalid(kind, &name, &why));
        }
    }
    Ok(())
}

/// Whether a finalizer has a valid name.
pub(crate) fn is_finalizer(name: &str) -> bool {
    let part = |part: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        part.len() <= 63 && part.chars().all(inner) && end(part.chars().next()) && end(part.chars().last())
    };
    match name.split_once('/') {
        Some((prefix, rest)) => is_name(prefix) && part(rest),
        None => part(name),
    }
}
