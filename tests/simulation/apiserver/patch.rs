//! Patches: the two kinds that the operator uses. Pure.

use serde_json::Value;

use super::refusal::Refusal;

/// How a patch is written.
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
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(Refusal::not_modelled("server-side apply")),
            "application/strategic-merge-patch+json" => Err(Refusal::not_modelled("strategic merge patch")),
            other => Err(Refusal::unsupported_media_type(other)),
        }
    }
}

/// What a patch makes of an object.
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
            let patch: json_patch::Patch = serde_json::from_slice(body).map_err(malformed)?;
            json_patch::patch(&mut object, &patch).map_err(|error| {
                let message = format!("the server rejected our request due to an error in our request: {error}");
                Refusal::new(422, "Invalid", message)
            })?;
        }
    }
    Ok(object)
}
