//! Replies and errors in each service's own form. Pure.

use bytes::Bytes;
use serde_json::{Value, json};

use super::operation::Service;

/// A refusal in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl AwsError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequestException", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "NotFoundException", message)
    }

    pub(crate) fn app_not_found(app: &str) -> Self {
        Self::not_found(format!("App {app} not found."))
    }

    pub(crate) fn environment_not_found(environment: &str) -> Self {
        Self::not_found(format!("BackendEnvironment {environment} does not exist."))
    }

    /// Returns the refusal of a job while another one runs.
    pub(crate) fn pending_job(code: &str, app: &str, environment: &str) -> Self {
        Self::new(
            400,
            code,
            format!(
                "There is already a pending job for the requested appId: {app} and backendEnvironmentName: \
                 {environment}, wait for it to complete before creating a new job."
            ),
        )
    }

    pub(crate) fn throttled(code: &str, operation: &str) -> Self {
        Self::new(
            if code == "BadRequestException" { 400 } else { 429 },
            code,
            format!("Rate exceeded while calling {operation}, please slow down or try again later."),
        )
    }

    pub(crate) fn expired_token() -> Self {
        Self::new(
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        )
    }
}

/// A complete answer, before a fault may damage it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// The header `x-amzn-ErrorType`.
    pub(crate) error_type: Option<String>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(body: &Value) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            error_type: None,
            body: body.to_string().into(),
        }
    }

    pub(crate) fn xml(body: String) -> Self {
        Self {
            status: 200,
            content_type: "text/xml",
            error_type: None,
            body: body.into(),
        }
    }

    /// Returns an answer that a proxy sends in AWS's place.
    pub(crate) fn of_a_proxy(status: u16, body: &str) -> Self {
        Self {
            status,
            content_type: "text/html",
            error_type: None,
            body: body.to_owned().into(),
        }
    }

    /// Returns an error in the form of the called service.
    pub(crate) fn error(service: Option<Service>, error: &AwsError, request_id: &str) -> Self {
        if service == Some(Service::Sts) {
            return Self {
                status: error.status,
                content_type: "text/xml",
                error_type: None,
                body: sts_error(error, request_id).into(),
            };
        }
        Self {
            status: error.status,
            content_type: "application/json",
            error_type: Some(error.code.clone()),
            body: json!({ "message": error.message }).to_string().into(),
        }
    }
}

fn sts_error(error: &AwsError, request_id: &str) -> String {
    let side = if error.status < 500 { "Sender" } else { "Receiver" };
    // The query protocol has other codes for the same refusals.
    let code = match error.code.as_str() {
        "ExpiredTokenException" => "ExpiredToken",
        "AccessDeniedException" => "AccessDenied",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "TooManyRequestsException" | "LimitExceededException" => "Throttling",
        other => other,
    };
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{side}</Type><Code>{}</Code>\
         <Message>{}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(code),
        escape(&error.message)
    )
}

/// Escapes text for XML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
