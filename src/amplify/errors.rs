//! One reading of everything that can go wrong with a call: [`reduce`] takes the SDK's error apart, [`classify`] is a
//! pure function of what is left. Nothing else in the port makes a class out of an AWS answer.

use std::{
    error::Error,
    fmt,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef, dyn_dispatch_hint},
        orchestrator::HttpResponse,
        result::SdkError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{config_bag::ConfigBag, error::metadata::ProvideErrorMetadata};
use hyper_util::client::legacy::Error as HttpError;

use crate::{
    api::conditions::truncated,
    lifecycle::facts::{Class, Failure, Sent},
};

/// Longest message of a failure, in bytes.
pub(super) const MESSAGE_LIMIT: usize = 1024;
/// How much of AWS's text a message repeats, in bytes: hint and request id must still fit.
const TEXT_LIMIT: usize = 640;
/// Longest request id or error code, in bytes. AWS's have 36.
const ID_LIMIT: usize = 64;
const REQUEST_ID: &str = " [request id ";

/// An AWS service, by the name that its IAM actions start with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    Amplify,
    AmplifyBackend,
    Sts,
}

impl Service {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Amplify => "amplify",
            Self::AmplifyBackend => "amplifybackend",
            Self::Sts => "sts",
        }
    }
}

/// One operation of one service. Together they are the IAM action.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Call {
    pub(super) service: Service,
    pub(super) operation: &'static str,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service.name(), self.operation)
    }
}

/// Sees whether a call came as far as handing its request to the HTTP client.
///
/// The SDK's errors do not say so: a failure to find credentials and a reset connection are both dispatch failures,
/// and its timeouts cover both sides.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe(Arc<AtomicBool>);

impl Probe {
    fn transmitted(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[dyn_dispatch_hint]
impl Intercept for Probe {
    fn name(&self) -> &'static str {
        "Probe"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Ordering::Release);
        Ok(())
    }
}

/// How a call ended, other than well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// An HTTP answer that is an error.
    Status(u16),
    /// A success that cannot be read: cut off, not JSON, not of the expected form.
    Unreadable,
    /// The request was handed over and no answer came in time.
    TimedOut,
    /// The connection broke, or may have broken, after the request was handed over.
    Broken,
    /// No connection was ever made: refused, unreachable, unknown host, connect timeout, TLS.
    Unconnected,
    /// No credentials could be loaded.
    Credentials,
    /// The request could not be made ready, for another reason.
    Unsent,
}

/// What is left of an SDK error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) end: End,
    /// AWS's error code, such as `BadRequestException`; empty where there is none.
    pub(super) code: &'a str,
    /// AWS's text, or what broke.
    pub(super) text: &'a str,
    pub(super) request_id: Option<&'a str>,
}

/// The failure that an SDK error is.
pub(super) fn reduce<E>(call: Call, probe: &Probe, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(NotAssumed(failure)) = find(error) {
        return failure.clone();
    }
    let raw = error.raw_response();
    let status = raw.map(|raw| raw.status().as_u16());
    let end = match (error, status) {
        // An error status counts even when its body cannot be read: gateways answer in HTML.
        (_, Some(status)) if status >= 400 => End::Status(status),
        (_, Some(_)) => End::Unreadable,
        _ if find::<CredentialsError>(error).is_some() => End::Credentials,
        _ if !probe.transmitted() => End::Unsent,
        // Also a connect timeout and a failed TLS handshake are errors of the connector, before any request.
        _ if find::<HttpError>(error).is_some_and(HttpError::is_connect) => End::Unconnected,
        (SdkError::TimeoutError(_), _) => End::TimedOut,
        (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => End::TimedOut,
        _ => End::Broken,
    };
    let chain;
    let text = match (end, error.message()) {
        (_, Some(text)) => text,
        // The chain of an error status says how its body could not be parsed: noise.
        (End::Status(_), None) => "",
        (_, None) => {
            chain = causes(error);
            &chain
        }
    };
    classify(
        call,
        Reply {
            end,
            code: error.code().unwrap_or_default(),
            text,
            request_id: raw.and_then(|raw| raw.headers().get("x-amzn-requestid")),
        },
    )
}

/// A role that cannot be assumed, as the credentials that a call would have been signed with.
#[derive(Debug)]
pub(super) struct NotAssumed(pub(super) Failure);

impl fmt::Display for NotAssumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for NotAssumed {}

/// The failure to assume this role. No call that needs it was sent.
pub(super) fn not_assumed(role: &str, error: &CredentialsError) -> Failure {
    const ASSUME_ROLE: Call = Call {
        service: Service::Sts,
        operation: "AssumeRole",
    };
    let failure = match find::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        // The probe saw nothing: whether it was sent makes no difference.
        Some(error) => reduce(ASSUME_ROLE, &Probe::default(), error),
        None => classify(
            ASSUME_ROLE,
            Reply {
                end: End::Credentials,
                code: "",
                text: &causes(error),
                request_id: None,
            },
        ),
    };
    let class = match failure.class {
        class @ (Class::Throttled | Class::Unavailable) => class,
        // A role that AWS takes for wrong is no fault of the spec.
        _ => Class::AccessDenied,
    };
    Failure {
        class,
        sent: Sent::Never,
        message: truncated(&format!("cannot assume {role}: {}", failure.message), MESSAGE_LIMIT).to_owned(),
    }
}

/// The class of a reply, whether its request may have been carried out, and the words for people.
pub(super) fn classify(call: Call, reply: Reply<'_>) -> Failure {
    let code = truncated(reply.code, ID_LIMIT);
    let text = truncated(reply.text.trim(), TEXT_LIMIT);
    // AWS names its error, or at least the request. A page of a proxy must not pass for AWS's word that nothing is there.
    let of_aws = !code.is_empty() || !text.is_empty() || reply.request_id.is_some();
    let (class, sent) = match reply.end {
        End::Status(404) if !of_aws => (Class::Unavailable, Sent::Unknown),
        End::Status(status) => (
            answered(call.service, status, reply.code, reply.text),
            // A 408 comes from what stands before AWS, which may have passed the request on.
            if (400..500).contains(&status) && status != 408 {
                Sent::Refused
            } else {
                Sent::Unknown
            },
        ),
        End::Unreadable | End::TimedOut | End::Broken => (Class::Unavailable, Sent::Unknown),
        End::Unconnected | End::Unsent => (Class::Unavailable, Sent::Never),
        End::Credentials => (Class::AccessDenied, Sent::Never),
    };
    let operation = call.operation;
    let mut message = match reply.end {
        End::Status(status) if code.is_empty() => format!("{operation}: HTTP {status}"),
        End::Status(status) => format!("{operation}: {code} (HTTP {status})"),
        End::Unreadable => format!("{operation}: AWS's answer cannot be read"),
        End::TimedOut => format!("{operation}: no answer from AWS in time"),
        End::Broken => format!("{operation}: the connection to AWS broke"),
        End::Unconnected => format!("{operation}: no connection to AWS"),
        End::Credentials => format!("{operation}: no AWS credentials"),
        End::Unsent => format!("{operation}: the request could not be sent"),
    };
    // Writing to a String cannot fail.
    if !text.is_empty() {
        let _ = write!(message, ": {text}");
    }
    if let Some(hint) = hint(call, class, reply.code) {
        let _ = write!(message, "; {hint}");
    }
    if let Some(id) = reply.request_id {
        let _ = write!(message, "{REQUEST_ID}{}]", truncated(id, ID_LIMIT));
    }
    Failure {
        class,
        sent,
        message: truncated(&message, MESSAGE_LIMIT).to_owned(),
    }
}

/// The class of an HTTP answer that is an error.
fn answered(service: Service, status: u16, code: &str, text: &str) -> Class {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let coded = |words: &[&str]| words.iter().any(|word| code.contains(word));
    // Amplify says "slow down" also with a 400, and services say it with a 503.
    let slow_down = says(&["rate exceeded", "slow down"]) || coded(&["Throttl", "TooManyRequests"]);
    match status {
        // The exception that carries it is not in AWS's model (ValidationException was seen): the text decides.
        400..500 if says(&["already a pending job"]) => Class::Pending,
        400.. if slow_down => Class::Throttled,
        // Of Amplify's own API this exception means a quota, though the SDK takes it for throttling.
        400..500
            if service == Service::Amplify && coded(&["LimitExceeded"]) && says(&["quota", "limit", "maximum"]) =>
        {
            Class::QuotaExceeded
        }
        429 => Class::Throttled,
        401 | 403 => Class::AccessDenied,
        400..500 if coded(&["AccessDenied", "Unauthorized"]) || coded(BAD_CREDENTIALS) => Class::AccessDenied,
        404 => Class::NotFound,
        408 => Class::Unavailable,
        400..500 => Class::BadRequest,
        _ => Class::Unavailable,
    }
}

/// What the codes of refused credentials contain, whatever the status.
const BAD_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
];

/// Whether AWS refuses the credentials for what newer ones of the same source need not be: expired, revoked, rotated.
pub(super) fn is_worn_out(code: Option<&str>) -> bool {
    const CODES: &[&str] = &["ExpiredToken", "UnrecognizedClient", "InvalidClientTokenId"];
    code.is_some_and(|code| CODES.iter().any(|worn| code.contains(worn)))
}

/// What to do about it, where that is plain.
fn hint(call: Call, class: Class, code: &str) -> Option<String> {
    match class {
        Class::AccessDenied if code.is_empty() => Some("check the operator's AWS credentials".to_owned()),
        Class::AccessDenied if code.contains("Expired") => Some("renew the operator's AWS credentials".to_owned()),
        Class::AccessDenied if BAD_CREDENTIALS.iter().any(|bad| code.contains(bad)) => {
            Some("check the operator's AWS credentials and the node's clock".to_owned())
        }
        Class::AccessDenied if call.operation == "AssumeRole" => Some(
            "allow the operator's role sts:AssumeRole on it, and let its trust policy allow the operator's role and the external id".to_owned(),
        ),
        Class::AccessDenied => Some(format!("allow the IAM action {call} for the operator's role")),
        Class::QuotaExceeded => Some("ask AWS for a higher quota or remove what is not needed".to_owned()),
        _ => None,
    }
}

/// A failure's message without AWS's request id, which differs with every call.
///
/// A message that goes into `status` must not change while nothing happens: each change is a write.
#[must_use]
pub fn without_request_id(message: &str) -> &str {
    message.rfind(REQUEST_ID).map_or(message, |at| &message[..at])
}

/// The error of this type in the chain.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The chain of causes, as they display themselves. Never their `Debug`, which shows payloads.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error).skip(1) {
        let cause = cause.to_string();
        if text.len() < TEXT_LIMIT && !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: Call = Call {
        service: Service::AmplifyBackend,
        operation: "CreateBackend",
    };
    const REGISTER: Call = Call {
        service: Service::Amplify,
        operation: "CreateBackendEnvironment",
    };

    fn failure(call: Call, end: End, code: &str, text: &str) -> Failure {
        classify(
            call,
            Reply {
                end,
                code,
                text,
                request_id: Some("11aa"),
            },
        )
    }

    #[test]
    fn each_answer_of_the_design_table_has_its_class() {
        use Class::{AccessDenied, BadRequest, NotFound, Pending, QuotaExceeded, Throttled, Unavailable};
        use Sent::{Refused, Unknown};
        let pending = "There is already a pending job for the requested appId: d1, wait for it";
        let rate = "Rate exceeded while calling CreateApp, please slow down or try again later.";
        let quota = "A resource could not be created because service quotas were exceeded.";
        #[rustfmt::skip]
        let table = [
            (CREATE, 404, "NotFoundException", "no app", NotFound, Refused),
            (CREATE, 400, "BadRequestException", "bad", BadRequest, Refused),
            (CREATE, 409, "", "", BadRequest, Refused),
            (CREATE, 400, "ValidationException", pending, Pending, Refused),
            (CREATE, 429, "TooManyRequestsException", pending, Pending, Refused),
            (CREATE, 409, "", pending, Pending, Refused),
            (CREATE, 429, "TooManyRequestsException", "", Throttled, Refused),
            (CREATE, 429, "LimitExceededException", quota, Throttled, Refused),
            (CREATE, 429, "", "", Throttled, Refused),
            (REGISTER, 400, "BadRequestException", rate, Throttled, Refused),
            (REGISTER, 400, "ThrottlingException", "", Throttled, Refused),
            (REGISTER, 503, "SlowDown", "Please slow down", Throttled, Unknown),
            (REGISTER, 429, "LimitExceededException", quota, QuotaExceeded, Refused),
            (REGISTER, 429, "LimitExceededException", rate, Throttled, Refused),
            (REGISTER, 429, "LimitExceededException", "", Throttled, Refused),
            (REGISTER, 401, "UnauthorizedException", "", AccessDenied, Refused),
            (CREATE, 403, "AccessDeniedException", "", AccessDenied, Refused),
            (CREATE, 403, "", "<html>proxy</html>", AccessDenied, Refused),
            (CREATE, 400, "ExpiredTokenException", "", AccessDenied, Refused),
            (CREATE, 400, "UnrecognizedClientException", "", AccessDenied, Refused),
            (CREATE, 400, "InvalidSignatureException", "", AccessDenied, Refused),
            (CREATE, 504, "GatewayTimeoutException", "", Unavailable, Unknown),
            (CREATE, 500, "", pending, Unavailable, Unknown),
            (CREATE, 408, "", "", Unavailable, Unknown),
            (CREATE, 302, "", "", Unavailable, Unknown),
        ];
        for (call, status, code, text, class, sent) in table {
            let got = failure(call, End::Status(status), code, text);
            assert_eq!((got.class, got.sent), (class, sent), "{status} {code} {text}");
        }
    }

    #[test]
    fn a_404_that_is_not_of_aws_does_not_say_that_something_is_absent() {
        let reply = Reply {
            end: End::Status(404),
            code: "",
            text: "",
            request_id: None,
        };
        let got = classify(CREATE, reply);
        assert_eq!((got.class, got.sent), (Class::Unavailable, Sent::Unknown));
        let named = Reply {
            request_id: Some("11aa"),
            ..reply
        };
        assert_eq!(classify(CREATE, named).class, Class::NotFound);
    }

    #[test]
    fn an_end_without_an_answer_says_whether_the_request_left() {
        for (end, class, sent) in [
            (End::Unreadable, Class::Unavailable, Sent::Unknown),
            (End::TimedOut, Class::Unavailable, Sent::Unknown),
            (End::Broken, Class::Unavailable, Sent::Unknown),
            (End::Unconnected, Class::Unavailable, Sent::Never),
            (End::Unsent, Class::Unavailable, Sent::Never),
            (End::Credentials, Class::AccessDenied, Sent::Never),
        ] {
            let got = failure(CREATE, end, "", "reset");
            assert_eq!((got.class, got.sent), (class, sent), "{end:?}");
        }
    }

    #[test]
    fn the_message_names_operation_code_text_hint_and_request_id() {
        let denied = failure(CREATE, End::Status(403), "AccessDeniedException", "User is not allowed");
        assert_eq!(
            denied.message,
            "CreateBackend: AccessDeniedException (HTTP 403): User is not allowed; \
             allow the IAM action amplifybackend:CreateBackend for the operator's role [request id 11aa]"
        );
        assert!(without_request_id(&denied.message).ends_with("operator's role"));
        assert_eq!(without_request_id("no id"), "no id");
        let expired = failure(CREATE, End::Status(403), "ExpiredTokenException", "");
        assert!(expired.message.contains("renew"), "{}", expired.message);
    }

    #[test]
    fn a_long_text_is_cut_on_a_character_and_keeps_hint_and_request_id() {
        let text = "ä".repeat(4000);
        let got = failure(CREATE, End::Status(403), &text, &text);
        assert!(got.message.len() <= MESSAGE_LIMIT);
        assert!(got.message.ends_with("[request id 11aa]"), "{}", got.message);
    }
}
