//! Patches: the two kinds that the operator uses. Pure.

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// The format of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
}

impl PatchKind {
    pub(crate) fn of(content_type: &str) -> Result<Self, Refusal> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/json-patch+json" => Ok(Self::Json),
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                Err(Refusal::not_modelled("server-side apply"))
            }
            "application/strategic-merge-patch+json" => Err(Refusal::not_modelled("strategic merge patch")),
            other => Err(Refusal::unsupported_media_type(other)),
        }
    }
}

/// Returns the object after a patch.
pub(crate) fn patched(kind: PatchKind, body: &[u8], object: &Value) -> Result<Value, Refusal> {
    let malformed = |error: serde_json::Error| Refusal::bad_request(format!("error decoding patch: {error}"));
    let mut object = object.clone();
    match kind {
        PatchKind::Merge => {
            let patch: Value = serde_json::from_slice(body).map_err(malformed)?;
            if !patch.is_object() {
                return Err(Refusal::bad_request("Invalid JSON Patch".to_owned()));
            }
            json_patch::merge(&mut object, &patch);
        }
        PatchKind::Json => {
            let steps: Vec<Map<String, Value>> = serde_json::from_slice(body).map_err(malformed)?;
            for mut step in steps {
                let at = step.get("path").and_then(Value::as_str).unwrap_or_default();
                // The real server's library treats a replacement of an absent value as an addition.
                if step.get("op").is_some_and(|op| op == "replace") && object.pointer(at).is_none() {
                    step.insert("op".to_owned(), "add".into());
                }
                let step = serde_json::from_value(Value::Object(step));
                let step: json_patch::PatchOperation =
                    step.map_err(|error| Refusal::unprocessable(&error.to_string()))?;
                json_patch::patch(&mut object, &[step]).map_err(|error| Refusal::unprocessable(&error.to_string()))?;
            }
        }
    }
    Ok(object)
}
