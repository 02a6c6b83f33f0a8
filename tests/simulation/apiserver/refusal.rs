//! The errors of the API server: `Status` objects with the code and the reason of the real server. Pure.

use serde_json::{Value, json};

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The number of seconds that the client should wait before it asks again.
    pub(crate) retry_after: Option<u32>,
    /// Whether the answer is plain text, because the API server has no handler for the path.
    pub(crate) plain: bool,
    /// A token with which an expired list may continue, though not consistently.
    pub(crate) continue_token: Option<String>,
}

impl Refusal {
    pub(crate) const fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self {
            code,
            reason,
            message,
            retry_after: None,
            plain: false,
            continue_token: None,
        }
    }

    pub(crate) const fn bad_request(message: String) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn forbidden(message: String) -> Self {
        Self::new(403, "Forbidden", message)
    }

    pub(crate) fn not_found(resource: &str, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found"))
    }

    /// Returns the refusal of a path under which nothing is served.
    pub(crate) fn no_such_path() -> Self {
        Self {
            plain: true,
            ..Self::new(404, "", "404 page not found\n".to_owned())
        }
    }

    pub(crate) fn method_not_allowed(message: &str) -> Self {
        Self::new(405, "MethodNotAllowed", message.to_owned())
    }

    pub(crate) fn already_exists(resource: &str, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
    }

    pub(crate) fn conflict(resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message)
    }

    /// Returns the refusal of a request that needs compacted history.
    pub(crate) fn expired(message: String) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn unsupported_media_type(given: &str) -> Self {
        let message = format!("the body of the request was in an unknown format: {given}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// Returns the refusal of a patch whose result cannot be read.
    pub(crate) fn unprocessable(why: &str) -> Self {
        let message = format!("the server rejected our request due to an error in our request: {why}");
        Self::new(422, "Invalid", message)
    }

    pub(crate) fn invalid(kind: &str, name: &str, why: &str) -> Self {
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {why}"))
    }

    pub(crate) fn too_many_requests(seconds: u32) -> Self {
        let message = "the server has received too many requests and has asked us to try again later";
        Self {
            retry_after: Some(seconds),
            ..Self::new(429, "TooManyRequests", message.to_owned())
        }
    }

    /// Returns the error for a request that the real server answers with 500 although it should refuse it as a bad
    /// request.
    pub(crate) const fn blunder(message: String) -> Self {
        Self::new(500, "", message)
    }

    pub(crate) fn internal(message: &str) -> Self {
        Self::new(500, "InternalError", message.to_owned())
    }

    /// Returns the answer to a request that only the real server supports. It shows a mistake in a test.
    pub(crate) fn not_modelled(what: &str) -> Self {
        Self::new(501, "NotModelled", format!("the model API server has no {what}"))
    }

    pub(crate) fn unavailable() -> Self {
        let message = "the server is currently unable to handle the request";
        Self::new(503, "ServiceUnavailable", message.to_owned())
    }

    pub(crate) fn timeout(message: String) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// Returns the `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": self.code, "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(seconds) = self.retry_after {
            status["details"] = json!({ "retryAfterSeconds": seconds });
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.as_str().into();
        }
        status
    }

    /// Returns the body of the answer.
    pub(crate) fn body(&self) -> Vec<u8> {
        if self.plain {
            self.message.clone().into_bytes()
        } else {
            self.status().to_string().into_bytes()
        }
    }
}
