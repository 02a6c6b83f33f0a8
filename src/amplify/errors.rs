//! Classifies every failure of a call: [`reduce`] takes the parts out of the SDK's error, [`classify`] is a pure
//! function of these parts. No other code of the port derives a class from an answer of AWS.
//!
//! Only AWS itself is believed: an answer with neither an error code nor a request id comes from a proxy or gateway
//! before it.

use std::{error::Error, fmt, fmt::Write as _};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_amplify::operation::RequestId as _;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use hyper_util::client::legacy::Error as HttpError;

use super::{given::BadEndpoint, probe::Probe};
use crate::{
    api::{Operation, Read, operation::Service, text},
    lifecycle::facts::{Class, Failure, Sent},
};

/// Longest message of a failure, in bytes.
pub(super) const MESSAGE_LIMIT: usize = 1024;
/// How many bytes of AWS's text a message repeats.
const TEXT_LIMIT: usize = 640;
/// Longest request id or error code, in bytes. AWS's have 36.
const ID_LIMIT: usize = 64;
/// How many bytes of a role and of its entry's name a message repeats.
const ROLE_LIMIT: usize = 256;
const REQUEST_ID: &str = " [request id ";

const ASSUME_ROLE: Call = Call {
    service: Service::Sts,
    operation: "AssumeRole",
};

/// One operation of one service. Both together are the IAM action.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    pub(super) service: Service,
    pub(super) operation: &'static str,
}

impl Call {
    /// Makes a call that writes.
    pub(crate) const fn write(operation: Operation) -> Self {
        Self {
            service: operation.service(),
            operation: operation.name(),
        }
    }

    /// Makes a call that reads.
    pub(crate) const fn read(read: Read) -> Self {
        Self {
            service: read.service(),
            operation: read.name(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service.name(), self.operation)
    }
}

/// How a failed call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// An HTTP answer with an error status.
    Status(u16),
    /// A success that cannot be read: truncated, not JSON, or of another form.
    Unreadable,
    /// The request was handed over, and no answer came in time.
    TimedOut,
    /// The connection broke, or may have broken, after the request was handed over.
    Broken,
    /// No connection was ever made: refused, unreachable, unknown host, connect timeout, TLS.
    Unconnected,
    /// A success whose `error` field refuses the write.
    ErrorInReply,
    /// No credentials could be loaded.
    Credentials,
    /// No credentials could be loaded, because their source is unreachable or busy.
    CredentialsAway(Class),
    /// The request could not be prepared, for another reason.
    Unsent,
}

/// The parts of an SDK error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) end: End,
    /// AWS's error code, such as `BadRequestException`. Empty if there is none.
    pub(super) code: &'a str,
    /// AWS's text, or the text of the error that broke the call.
    pub(super) text: &'a str,
    pub(super) request_id: Option<&'a str>,
}

/// Turns an SDK error into a failure.
pub(super) fn reduce<E>(call: Call, probe: &Probe, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(NotProvided(failure)) = find(error) {
        return failure.clone();
    }
    reduced(call, probe.transmitted(), error)
}

fn reduced<E>(call: Call, transmitted: bool, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let raw = error.raw_response();
    let status = raw.map(|raw| raw.status().as_u16());
    let credentials = find::<CredentialsError>(error);
    let end = match (error, status) {
        // An error status counts even if its body cannot be read: gateways answer in HTML.
        (_, Some(status)) if status >= 400 => End::Status(status),
        (_, Some(_)) => End::Unreadable,
        _ if credentials.is_some() => credentials.map_or(End::Credentials, without_credentials),
        _ if !transmitted => End::Unsent,
        _ if find::<BadEndpoint>(error).is_some() => End::Unsent,
        // A connect timeout and a failed TLS handshake are also errors of the connector, before any request.
        _ if find::<HttpError>(error).is_some_and(HttpError::is_connect) => End::Unconnected,
        (SdkError::TimeoutError(_), _) => End::TimedOut,
        (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => End::TimedOut,
        _ => End::Broken,
    };
    let chain;
    let text = match (end, error.message()) {
        (_, Some(text)) => text,
        // The error chain of an error status only describes how its body could not be parsed: noise.
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
            request_id: raw.and_then(|raw| raw.headers().request_id()),
        },
    )
}

/// Returns how a call without credentials ended. If STS did not refuse the role but could not be reached, or took too
/// long, waiting can help.
fn without_credentials(error: &CredentialsError) -> End {
    if matches!(error, CredentialsError::ProviderTimedOut(_)) {
        return End::CredentialsAway(Class::Unavailable);
    }
    match of_sts(error).map(|failure| failure.class) {
        Some(class @ (Class::Throttled | Class::Unavailable)) => End::CredentialsAway(class),
        _ => End::Credentials,
    }
}

/// Returns STS's answer to the request for a role, if the error comes from STS. The probe of the call that needs the
/// role has not seen this request. Whether the request was sent makes no difference.
fn of_sts(error: &CredentialsError) -> Option<Failure> {
    if let Some(error) = find::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        return Some(reduced(ASSUME_ROLE, false, error));
    }
    let error = find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error)?;
    let call = Call {
        operation: "AssumeRoleWithWebIdentity",
        ..ASSUME_ROLE
    };
    Some(reduced(call, false, error))
}

/// The error of a call that has no credentials to sign with: the role cannot be assumed, or the account has changed.
#[derive(Debug)]
pub(super) struct NotProvided(pub(super) Failure);

impl fmt::Display for NotProvided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for NotProvided {}

/// Makes the failure to assume this role. No call that needs the role was sent.
pub(super) fn not_assumed(role: &str, error: &CredentialsError) -> Failure {
    let failure = of_sts(error).unwrap_or_else(|| {
        let reply = Reply {
            end: without_credentials(error),
            code: "",
            text: &causes(error),
            request_id: None,
        };
        classify(ASSUME_ROLE, reply)
    });
    let class = match failure.class {
        class @ (Class::Throttled | Class::Unavailable) => class,
        // A role that AWS considers invalid is not an error in the spec.
        _ => Class::AccessDenied,
    };
    let start = format!("cannot assume {}: ", text::shortened(role, ROLE_LIMIT));
    let rest = text::shortened(&failure.message, MESSAGE_LIMIT - start.len());
    Failure {
        class,
        sent: Sent::Never,
        message: format!("{start}{rest}"),
    }
}

/// Returns the class of a reply, whether its request may have been carried out, and the message for people.
pub(super) fn classify(call: Call, reply: Reply<'_>) -> Failure {
    let code = short(reply.code);
    let said = text::clean(reply.text);
    let request_id = reply.request_id.map(short).filter(|id| !id.is_empty());
    // AWS names its error, or at least the request. A page of a proxy must not pass for AWS's answer. A proxy that
    // requires authentication may answer with JSON and a code of its own.
    let of_aws = reply.end != End::Status(407) && (!code.is_empty() || request_id.is_some());
    let (class, sent) = match reply.end {
        End::Status(status) => {
            let class = if of_aws {
                verdict(call.service, status, &code, &said)
            } else {
                of_no_one(status)
            };
            (class, answered(status, of_aws, !code.is_empty()))
        }
        End::ErrorInReply => refused_inside(call.service, &said),
        End::Unreadable | End::TimedOut | End::Broken => (Class::Unavailable, Sent::Unknown),
        End::Unconnected | End::Unsent => (Class::Unavailable, Sent::Never),
        End::Credentials => (Class::AccessDenied, Sent::Never),
        End::CredentialsAway(class) => (class, Sent::Never),
    };
    let operation = call.operation;
    let start = match reply.end {
        End::Status(status) if code.is_empty() => format!("{operation}: HTTP {status}"),
        End::Status(status) => format!("{operation}: {code} (HTTP {status})"),
        End::ErrorInReply => format!("{operation}: refused by AWS"),
        End::Unreadable => format!("{operation}: AWS's answer cannot be read"),
        End::TimedOut => format!("{operation}: no answer from AWS in time"),
        End::Broken => format!("{operation}: the connection to AWS broke"),
        End::Unconnected => format!("{operation}: no connection to AWS"),
        End::Credentials | End::CredentialsAway(_) => format!("{operation}: no AWS credentials"),
        End::Unsent => format!("{operation}: the request could not be sent"),
    };
    let mut advice = match reply.end {
        End::Status(400..500) if !of_aws => "; answered by something between the operator and AWS (no error code, no request id): check proxies and the endpoint".to_owned(),
        End::Status(404) if class == Class::Unavailable => {
            "; AWS does not know this operation there: check the endpoint".to_owned()
        }
        End::Unconnected => "; check the network, DNS, HTTPS_PROXY and the endpoint".to_owned(),
        _ => hint(call, class, &code).map_or_else(String::new, |hint| format!("; {hint}")),
    };
    if let Some(id) = request_id {
        // Writing to a String cannot fail.
        let _ = write!(advice, "{REQUEST_ID}{id}]");
    }
    // Only AWS's text is shortened, in the middle: its end names the cause. All other parts are short.
    let said = text::shortened(&said, TEXT_LIMIT);
    let said = match said.strip_suffix('.') {
        Some(sentence) if advice.starts_with(';') => sentence,
        Some(_) | None => &said,
    };
    let colon = if said.is_empty() { "" } else { ": " };
    Failure {
        class,
        sent,
        message: format!("{start}{colon}{said}{advice}"),
    }
}

/// Returns an id or a code in the form for a message.
fn short(text: &str) -> String {
    text::shortened(&text::clean(text), ID_LIMIT).into_owned()
}

/// Whether a request with this answer may have been carried out.
fn answered(status: u16, of_aws: bool, coded: bool) -> Sent {
    match status {
        // A 408 comes from a proxy or gateway before AWS, which may have passed the request on.
        408 => Sent::Unknown,
        404 if !coded => Sent::Unknown,
        400..500 if of_aws => Sent::Refused,
        _ => Sent::Unknown,
    }
}

/// Returns the class of an answer that is not AWS's own. It does not show how AWS would answer.
const fn of_no_one(status: u16) -> Class {
    match status {
        429 => Class::Throttled,
        _ => Class::Unavailable,
    }
}

/// Returns the class of AWS's own error status.
fn verdict(service: Service, status: u16, code: &str, text: &str) -> Class {
    let coded = |words: &[&str]| words.iter().any(|word| code.contains(word));
    let is_refusal = (400..500).contains(&status);
    if is_refusal && says_pending(text) {
        return Class::Pending;
    }
    // Amplify also sends "slow down" with a 400, and services send it with a 503.
    if says_rate(text) || coded(&["Throttl"]) {
        return if status >= 400 {
            Class::Throttled
        } else {
            Class::Unavailable
        };
    }
    if is_refusal && !matches!(status, 401 | 403) && says_quota(service, status, code, text) {
        return Class::QuotaExceeded;
    }
    match status {
        400.. if coded(&["TooManyRequests", "SlowDown"]) => Class::Throttled,
        429 => Class::Throttled,
        401 | 403 => Class::AccessDenied,
        400..500 if coded(&["AccessDenied", "Unauthorized"]) || coded(BAD_CREDENTIALS) => Class::AccessDenied,
        // Absence is the `NotFoundException` of the operation's own service. Another 404 comes from an endpoint that
        // does not have the operation.
        404 if code == "NotFoundException" && service != Service::Sts => Class::NotFound,
        404 | 408 => Class::Unavailable,
        400..500 if coded(&["UnknownOperation", "RequestTimeout"]) => Class::Unavailable,
        // STS identifies the caller: its refusals are not errors in a spec.
        400..500 if service == Service::Sts => Class::AccessDenied,
        400 | 402 | 409 | 412..=415 | 422 => Class::BadRequest,
        // HTTP statuses about the way to AWS (405, 411, 421, 451 and so on) are no verdict on a spec, whether AWS or a
        // proxy sends them.
        _ => Class::Unavailable,
    }
}

/// Classifies the `error` text inside a success. A text about trouble within AWS is no verdict on the request.
fn refused_inside(service: Service, text: &str) -> (Class, Sent) {
    const TROUBLE: &[&str] = &[
        "internal error",
        "internal server",
        "internalserver",
        "internalfailure",
        "service is unavailable",
        "serviceunavailable",
        "service unavailable",
        "temporarily unavailable",
        "timed out",
        "try again",
    ];
    match verdict(service, 400, "", text) {
        Class::BadRequest if says(text, TROUBLE) => (Class::Unavailable, Sent::Unknown),
        Class::BadRequest if says_missing(text) => (Class::NotFound, Sent::Refused),
        class => (class, Sent::Refused),
    }
}

/// Whether the text says that the app or the environment does not exist. Other missing objects (a user pool, a
/// function) are named by the spec.
fn says_missing(text: &str) -> bool {
    const WHAT: &[&str] = &[
        "app ",
        "appid",
        "application",
        "backend environment",
        "backendenvironment",
    ];
    says(text, &["not found", "does not exist"]) && says(text, WHAT)
}

fn says(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// Whether the text says that a job is pending. The text decides, because the exception for it is not in AWS's model
/// (ValidationException was seen).
fn says_pending(text: &str) -> bool {
    says(text, &["already a pending job"])
}

fn says_rate(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "rate exceeded",
        "rate limit",
        "request limit",
        "requests per",
        "slow down",
        "too many requests",
    ];
    says(text, WORDS)
}

/// Whether a refusal lasts until an object is removed or AWS raises a limit. The SDK treats `LimitExceededException` as
/// throttling. From Amplify it means a quota ("You have reached the maximum number of apps in this account"). From
/// Amplify's backend API it can mean either.
fn says_quota(service: Service, status: u16, code: &str, text: &str) -> bool {
    const PLAIN: &[&str] = &[
        "quota",
        "exceeded your maximum",
        "reached the maximum",
        "maximum number of",
    ];
    // A limit on the length of a name is no quota.
    let of_text = says(text, &["character", "length"]);
    if code.contains("QuotaExceeded") || says(text, PLAIN) && !of_text {
        return true;
    }
    let is_limit = code.contains("LimitExceeded");
    (is_limit && service == Service::Amplify && says(text, &["limit"]))
        || ((is_limit || status == 429) && says(text, &["maximum"]))
}

/// Parts of the codes of refused credentials, whatever the status.
const BAD_CREDENTIALS: &[&str] = &[
    "ExpiredToken",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
];

/// Whether AWS refuses these credentials for a reason that newer ones of the same source may not have: expired,
/// revoked, rotated.
pub(super) fn is_worn_out(code: Option<&str>) -> bool {
    const CODES: &[&str] = &["ExpiredToken", "UnrecognizedClient", "InvalidClientTokenId"];
    code.is_some_and(|code| CODES.iter().any(|worn| code.contains(worn)))
}

/// Returns advice, if there is clear advice.
fn hint(call: Call, class: Class, code: &str) -> Option<String> {
    match class {
        Class::AccessDenied if code.is_empty() => Some("check the AWS credentials of amplify-operator".to_owned()),
        Class::AccessDenied if code.contains("Expired") => Some("renew the AWS credentials of amplify-operator".to_owned()),
        Class::AccessDenied if BAD_CREDENTIALS.iter().any(|bad| code.contains(bad)) => {
            Some("check the AWS credentials of amplify-operator and the clock of its machine".to_owned())
        }
        Class::AccessDenied if call.operation == "AssumeRole" => Some(
            "allow the operator's role sts:AssumeRole on this role, and allow the operator's role and the external id in this role's trust policy".to_owned(),
        ),
        Class::AccessDenied => Some(format!("allow the IAM action {call} for the operator's role")),
        Class::QuotaExceeded => Some("ask AWS for a higher quota, or remove AWS objects that are not needed".to_owned()),
        _ => None,
    }
}

/// Returns a failure's message without AWS's request id, which differs with every call.
///
/// A message that goes into `status` must not change while nothing happens: each change is a write.
#[must_use]
pub fn without_request_id(message: &str) -> &str {
    match message.rfind(REQUEST_ID) {
        Some(at) if message.ends_with(']') => &message[..at],
        _ => message,
    }
}

/// Finds the error of this type in the chain.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Returns the chain of causes, as displayed. Never their `Debug` form, which contains payloads.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in chain(error).skip(1) {
        let cause = cause.to_string();
        let cause = plain(&cause);
        if text.len() < TEXT_LIMIT && !text.ends_with(cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(cause);
        }
    }
    text
}

/// Returns the text of a cause for people. Some errors of the SDK display a whole request in `Debug` form, with web
/// identity tokens, external ids and schemas: the text ends before it. One names a setting of the SDK's build.
fn plain(cause: &str) -> &str {
    if cause.contains("credentials-process") {
        return "the AWS profile has credential_process, which this program does not support: use keys, a role or web identity";
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let request = cause.match_indices(" {").find_map(|(at, _)| {
        let name = cause[..at].trim_end_matches(is_part).len();
        cause[name..at].starts_with(char::is_uppercase).then_some(name)
    });
    let end = request.unwrap_or(cause.len());
    cause[..end].trim_end_matches(['`', ' '])
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::client::result::ConnectorError;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    const CREATE: Call = Call {
        service: Service::AmplifyBackend,
        operation: "CreateBackend",
    };
    const REGISTER: Call = Call {
        service: Service::Amplify,
        operation: "CreateBackendEnvironment",
    };
    const WHO: Call = Call {
        service: Service::Sts,
        operation: "GetCallerIdentity",
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
    fn each_answer_of_aws_has_its_class() {
        use Class::{AccessDenied, BadRequest, NotFound, Pending, QuotaExceeded, Throttled, Unavailable};
        use Sent::{Refused, Unknown};
        let pending = "There is already a pending job for the requested appId: d1, wait for it";
        let rate = "Rate exceeded while calling CreateApp, please slow down or try again later.";
        let quota = "A resource could not be created because service quotas were exceeded.";
        let apps = "You have reached the maximum number of apps in this account.";
        let maximum = "You have exceeded your maximum number of backend environments";
        let limit = "You have reached the Amplify App limit for this account and region";
        #[rustfmt::skip]
        let table = [
            (CREATE, 404, "NotFoundException", "no app", NotFound, Refused),
            (REGISTER, 404, "NotFoundException", "no app", NotFound, Refused),
            (CREATE, 400, "BadRequestException", "bad", BadRequest, Refused),
            (CREATE, 409, "", "", BadRequest, Refused),
            (CREATE, 400, "ValidationException", pending, Pending, Refused),
            (CREATE, 429, "TooManyRequestsException", pending, Pending, Refused),
            (CREATE, 409, "", pending, Pending, Refused),
            (CREATE, 429, "TooManyRequestsException", "", Throttled, Refused),
            (CREATE, 429, "TooManyRequestsException", "limit exceeded", Throttled, Refused),
            (CREATE, 429, "", "", Throttled, Refused),
            (CREATE, 429, "LimitExceededException", rate, Throttled, Refused),
            (CREATE, 429, "LimitExceededException", "API rate limit", Throttled, Refused),
            (CREATE, 429, "LimitExceededException", "limit exceeded", Throttled, Refused),
            (CREATE, 429, "LimitExceededException", quota, QuotaExceeded, Refused),
            (CREATE, 429, "LimitExceededException", maximum, QuotaExceeded, Refused),
            (CREATE, 429, "TooManyRequestsException", maximum, QuotaExceeded, Refused),
            (CREATE, 429, "", maximum, QuotaExceeded, Refused),
            (CREATE, 400, "BadRequestException", maximum, QuotaExceeded, Refused),
            (CREATE, 402, "ServiceQuotaExceededException", "", QuotaExceeded, Refused),
            (CREATE, 429, "", "the maximum is 5", QuotaExceeded, Refused),
            (CREATE, 400, "LimitExceededException", "the maximum is 5", QuotaExceeded, Refused),
            (CREATE, 400, "BadRequestException", "the maximum is 5", BadRequest, Refused),
            (CREATE, 400, "BadRequestException", "the maximum number of characters is 80", BadRequest, Refused),
            (CREATE, 400, "TooManyRequestsException", "", Throttled, Refused),
            (CREATE, 400, "SlowDown", "", Throttled, Refused),
            (CREATE, 400, "BadRequestException", "apiName: the maximum length is 80", BadRequest, Refused),
            (REGISTER, 400, "BadRequestException", rate, Throttled, Refused),
            (REGISTER, 400, "ThrottlingException", "", Throttled, Refused),
            (REGISTER, 400, "ThrottlingException", quota, Throttled, Refused),
            (REGISTER, 503, "SlowDown", "Please slow down", Throttled, Unknown),
            (REGISTER, 429, "LimitExceededException", quota, QuotaExceeded, Refused),
            (REGISTER, 429, "LimitExceededException", apps, QuotaExceeded, Refused),
            (REGISTER, 429, "LimitExceededException", limit, QuotaExceeded, Refused),
            (REGISTER, 429, "LimitExceededException", rate, Throttled, Refused),
            (REGISTER, 429, "LimitExceededException", "", Throttled, Refused),
            (REGISTER, 401, "UnauthorizedException", "", AccessDenied, Refused),
            (CREATE, 403, "AccessDeniedException", "", AccessDenied, Refused),
            (CREATE, 403, "AccessDeniedException", quota, AccessDenied, Refused),
            (CREATE, 403, "", "", AccessDenied, Refused),
            (CREATE, 400, "ExpiredTokenException", "", AccessDenied, Refused),
            (CREATE, 400, "UnrecognizedClientException", "", AccessDenied, Refused),
            (CREATE, 400, "InvalidSignatureException", "", AccessDenied, Refused),
            (CREATE, 400, "RequestTimeoutException", "", Unavailable, Refused),
            (CREATE, 504, "GatewayTimeoutException", "", Unavailable, Unknown),
            (CREATE, 500, "", pending, Unavailable, Unknown),
            (CREATE, 500, "", quota, Unavailable, Unknown),
            (CREATE, 408, "", "", Unavailable, Unknown),
            (CREATE, 302, "", "", Unavailable, Unknown),
            (WHO, 400, "Throttling", "Rate exceeded", Throttled, Refused),
            (WHO, 400, "ValidationError", "no", AccessDenied, Refused),
            (WHO, 403, "ExpiredToken", "", AccessDenied, Refused),
            (WHO, 404, "NotFoundException", "", Unavailable, Refused),
            (WHO, 503, "", "", Unavailable, Unknown),
        ];
        for (call, status, code, text, class, sent) in table {
            let got = failure(call, End::Status(status), code, text);
            assert_eq!((got.class, got.sent), (class, sent), "{call} {status} {code} {text}");
        }
    }

    #[test]
    fn only_the_not_found_exception_says_that_something_is_absent() {
        for (code, sent) in [
            ("UnknownOperationException", Sent::Refused),
            ("ResourceNotFoundException", Sent::Refused),
            ("NotFound", Sent::Refused),
            ("notFoundException", Sent::Refused),
            ("", Sent::Unknown),
        ] {
            let got = failure(CREATE, End::Status(404), code, "no app");
            assert_eq!((got.class, got.sent), (Class::Unavailable, sent), "{code}");
            assert!(got.message.contains("check the endpoint"), "{}", got.message);
        }
        let got = failure(CREATE, End::Status(400), "UnknownOperationException", "");
        assert_eq!((got.class, got.sent), (Class::Unavailable, Sent::Refused));
    }

    #[test]
    fn an_answer_without_code_and_request_id_is_no_word_of_aws() {
        let pending = "There is already a pending job";
        for status in [400, 401, 403, 404, 405, 407, 408, 409, 413, 429, 451, 499] {
            for text in [
                "",
                "no",
                pending,
                "Rate exceeded",
                "service quotas were exceeded",
                "does not exist",
            ] {
                for call in [CREATE, REGISTER, WHO] {
                    let reply = Reply {
                        end: End::Status(status),
                        code: "",
                        text,
                        request_id: None,
                    };
                    let got = classify(call, reply);
                    let class = if status == 429 {
                        Class::Throttled
                    } else {
                        Class::Unavailable
                    };
                    assert_eq!((got.class, got.sent), (class, Sent::Unknown), "{call} {status} {text}");
                    let said = "answered by something between the operator and AWS (no error code, no request id): check proxies and the endpoint";
                    assert!(got.message.ends_with(said), "{}", got.message);
                    // A blank id or code counts as missing.
                    let blank = Reply {
                        request_id: Some(" \u{1b}[0m "),
                        code: "\n",
                        ..reply
                    };
                    assert_eq!(classify(call, blank), got);
                }
            }
        }
        let gateway = Reply {
            end: End::Status(502),
            code: "",
            text: "",
            request_id: None,
        };
        let got = classify(CREATE, gateway);
        assert_eq!((got.class, got.sent), (Class::Unavailable, Sent::Unknown));
    }

    #[test]
    fn a_refusal_in_a_reply_has_the_class_of_its_text() {
        for (text, class) in [
            ("There is already a pending job for the requested appId", Class::Pending),
            ("Rate exceeded", Class::Throttled),
            ("service quotas were exceeded", Class::QuotaExceeded),
            ("App d1 not found.", Class::NotFound),
            ("BackendEnvironment dev does not exist.", Class::NotFound),
            ("Backend environment dev already exists", Class::BadRequest),
            ("no", Class::BadRequest),
            ("User pool eu-west-1_x does not exist.", Class::BadRequest),
            ("Type Author not found in document", Class::BadRequest),
            (
                "Service is temporarily unavailable. Please try again later",
                Class::Unavailable,
            ),
            ("InternalServerError", Class::Unavailable),
            ("The API InternalOrders needs a schema", Class::BadRequest),
            ("The name timeout is taken", Class::BadRequest),
        ] {
            let got = failure(CREATE, End::ErrorInReply, "", text);
            // A text about trouble within AWS is no refusal: the work may have been done.
            let sent = if class == Class::Unavailable {
                Sent::Unknown
            } else {
                Sent::Refused
            };
            assert_eq!((got.class, got.sent), (class, sent), "{text}");
            let start = format!("CreateBackend: refused by AWS: {text}");
            assert!(got.message.starts_with(&start), "{}", got.message);
        }
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
            (End::CredentialsAway(Class::Throttled), Class::Throttled, Sent::Never),
        ] {
            let got = failure(CREATE, end, "", "reset");
            assert_eq!((got.class, got.sent), (class, sent), "{end:?}");
        }
    }

    type Refused = SdkError<AssumeRoleError, HttpResponse>;

    fn answer(status: u16) -> HttpResponse {
        HttpResponse::new(status.try_into().unwrap(), SdkBody::empty())
    }

    /// Returns the connector's error for a connection that is never made.
    async fn unconnected() -> ConnectorError {
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
        let request = http::Request::get("http://127.0.0.1:1/")
            .body(SdkBody::empty())
            .unwrap();
        ConnectorError::io(client.request(request).await.unwrap_err().into())
    }

    /// An SDK error, whether its request was handed over, and the expected failure: class, whether it may have been
    /// carried out, the beginning of the message.
    type Row = (Refused, bool, Class, Sent, &'static str);

    fn check(rows: impl IntoIterator<Item = Row>) {
        for (error, transmitted, class, sent, start) in rows {
            let got = reduced(WHO, transmitted, &error);
            assert!(got.message.starts_with(start), "{} instead of {start}", got.message);
            assert_eq!((got.class, got.sent), (class, sent), "{start}");
        }
    }

    #[test]
    fn an_error_status_counts_even_where_its_body_cannot_be_read() {
        use Class::{AccessDenied, Unavailable};
        use Sent::{Refused as No, Unknown};
        let plain = || AssumeRoleError::generic(ErrorMetadata::builder().build());
        let said = AssumeRoleError::generic(ErrorMetadata::builder().code("Denied").message("no").build());
        let between = "GetCallerIdentity: HTTP 400; answered by something between";
        let denied = "GetCallerIdentity: Denied (HTTP 400): no; allow the IAM action sts:GetCallerIdentity";
        let unreadable = "GetCallerIdentity: AWS's answer cannot be read: cut off";
        check([
            (
                Refused::service_error(plain(), answer(400)),
                true,
                Unavailable,
                Unknown,
                between,
            ),
            (
                Refused::service_error(said, answer(400)),
                true,
                AccessDenied,
                No,
                denied,
            ),
            (
                Refused::response_error("cut off", answer(200)),
                true,
                Unavailable,
                Unknown,
                unreadable,
            ),
            (
                Refused::response_error("cut off", answer(399)),
                true,
                Unavailable,
                Unknown,
                unreadable,
            ),
        ]);
        // The parse error of a gateway's page is noise.
        for error in [
            Refused::service_error(plain(), answer(502)),
            Refused::response_error("not JSON", answer(502)),
        ] {
            assert_eq!(reduced(WHO, true, &error).message, "GetCallerIdentity: HTTP 502");
        }
    }

    #[tokio::test]
    async fn a_call_without_an_answer_says_how_far_it_came() {
        use Class::{AccessDenied, Unavailable};
        use Sent::{Never, Unknown};
        let credentials = CredentialsError::not_loaded("nothing in the chain");
        let idle = ConnectorError::timeout("idle".into());
        let reset = ConnectorError::io("reset".into());
        let unsent = "GetCallerIdentity: the request could not be sent: ";
        let late = "GetCallerIdentity: no answer from AWS in time: ";
        let broken = "GetCallerIdentity: the connection to AWS broke: ";
        let no_connection = "GetCallerIdentity: no connection to AWS: ";
        let no_credentials = "GetCallerIdentity: no AWS credentials: ";
        check([
            (
                Refused::construction_failure(credentials),
                false,
                AccessDenied,
                Never,
                no_credentials,
            ),
            (
                Refused::construction_failure("no host"),
                false,
                Unavailable,
                Never,
                unsent,
            ),
            (Refused::timeout_error("too slow"), false, Unavailable, Never, unsent),
            (Refused::timeout_error("too slow"), true, Unavailable, Unknown, late),
            (Refused::dispatch_failure(idle), true, Unavailable, Unknown, late),
            (Refused::dispatch_failure(reset), true, Unavailable, Unknown, broken),
            (
                Refused::dispatch_failure(unconnected().await),
                true,
                Unavailable,
                Never,
                no_connection,
            ),
        ]);
    }

    #[test]
    fn a_role_that_sts_did_not_refuse_is_waited_for_and_one_that_it_refuses_is_denied() {
        for (status, code, class) in [
            (503, "", Class::Unavailable),
            (400, "Throttling", Class::Throttled),
            (403, "AccessDenied", Class::AccessDenied),
            (404, "NotFoundException", Class::Unavailable),
            (400, "ValidationError", Class::AccessDenied),
        ] {
            let got = not_assumed("arn:r", &refused_by_sts(status, code));
            assert_eq!((got.class, got.sent), (class, Sent::Never), "{status} {code}");
            let start = "cannot assume arn:r: AssumeRoleWithWebIdentity: ";
            assert!(got.message.starts_with(start), "{}", got.message);
            assert_eq!(NotProvided(got.clone()).to_string(), got.message);
        }
        let missing = not_assumed("arn:r", &CredentialsError::not_loaded("nothing in the chain"));
        assert_eq!((missing.class, missing.sent), (Class::AccessDenied, Sent::Never));
        assert!(
            missing
                .message
                .starts_with("cannot assume arn:r: AssumeRole: no AWS credentials"),
            "{}",
            missing.message
        );
    }

    /// Makes the credentials error for an error status of STS.
    fn refused_by_sts(status: u16, code: &str) -> CredentialsError {
        let error = AssumeRoleWithWebIdentityError::generic(ErrorMetadata::builder().code(code).build());
        CredentialsError::provider_error(SdkError::service_error(error, answer(status)))
    }

    #[test]
    fn credentials_that_sts_did_not_refuse_are_waited_for() {
        let away = SdkError::<AssumeRoleWithWebIdentityError, HttpResponse>::timeout_error("no answer");
        let of_base = SdkError::<AssumeRoleError, HttpResponse>::construction_failure(
            CredentialsError::provider_error(SdkError::<AssumeRoleError, HttpResponse>::timeout_error("no answer")),
        );
        for (error, end) in [
            (refused_by_sts(403, "AccessDenied"), End::Credentials),
            (refused_by_sts(400, "InvalidIdentityToken"), End::Credentials),
            (
                refused_by_sts(400, "Throttling"),
                End::CredentialsAway(Class::Throttled),
            ),
            (refused_by_sts(503, ""), End::CredentialsAway(Class::Unavailable)),
            (refused_by_sts(407, ""), End::CredentialsAway(Class::Unavailable)),
            (
                CredentialsError::provider_error(away),
                End::CredentialsAway(Class::Unavailable),
            ),
            (
                CredentialsError::provider_error(of_base),
                End::CredentialsAway(Class::Unavailable),
            ),
            (
                CredentialsError::provider_timed_out(std::time::Duration::from_secs(5)),
                End::CredentialsAway(Class::Unavailable),
            ),
            (CredentialsError::not_loaded("nothing in the chain"), End::Credentials),
            (CredentialsError::invalid_configuration("bad profile"), End::Credentials),
        ] {
            assert_eq!(without_credentials(&error), end, "{error:?}");
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
        let of_aws = "CreateBackend: no [request id 1]; check the credentials";
        assert_eq!(without_request_id(of_aws), of_aws, "that is AWS's text, not ours");
        let absent = failure(CREATE, End::Status(404), "NotFoundException", "no app");
        assert_eq!(
            absent.message,
            "CreateBackend: NotFoundException (HTTP 404): no app [request id 11aa]"
        );
        let nameless = failure(CREATE, End::Status(500), "", "oops");
        assert_eq!(nameless.message, "CreateBackend: HTTP 500: oops [request id 11aa]");
        for (code, hint) in [
            ("", "; check the AWS credentials of amplify-operator [request id 11aa]"),
            (
                "InvalidSignatureException",
                "; check the AWS credentials of amplify-operator and the clock of its machine [request id 11aa]",
            ),
            (
                "ServiceQuotaExceededException",
                "; ask AWS for a higher quota, or remove AWS objects that are not needed [request id 11aa]",
            ),
        ] {
            let status = if code.contains("Quota") { 402 } else { 403 };
            let got = failure(CREATE, End::Status(status), code, "no");
            assert!(got.message.ends_with(hint), "{}", got.message);
        }
        let expired = failure(CREATE, End::Status(403), "ExpiredTokenException", "");
        assert!(expired.message.contains("renew"), "{}", expired.message);
    }

    #[test]
    fn only_what_newer_credentials_of_the_same_source_need_not_be_is_worn_out() {
        for (code, worn) in [
            (Some("ExpiredTokenException"), true),
            (Some("UnrecognizedClientException"), true),
            (Some("InvalidClientTokenId"), true),
            (Some("AccessDeniedException"), false),
            (Some("InvalidSignatureException"), false),
            (None, false),
        ] {
            assert_eq!(is_worn_out(code), worn, "{code:?}");
        }
    }

    /// An error with a cause.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(String, #[source] Option<Box<Self>>);

    #[test]
    fn a_chain_of_causes_is_told_without_repetitions_and_not_for_ever() {
        let chain = |texts: &[&str]| {
            let mut link = None;
            for text in texts.iter().rev() {
                link = Some(Box::new(Link((*text).to_owned(), link)));
            }
            causes(&Link("the call failed".into(), link))
        };
        assert_eq!(chain(&["reset", "reset", "by peer"]), "reset: by peer");
        assert_eq!(chain(&[]), "");
        let long = "x".repeat(TEXT_LIMIT);
        assert_eq!(chain(&[&long, "too much"]), long);
        assert_eq!(
            chain(&[&long[1..], "just enough"]),
            format!("{}: just enough", &long[1..])
        );
    }

    #[test]
    fn no_message_repeats_the_request_that_an_error_of_the_sdk_shows() {
        for (cause, shown) in [
            (
                "failed to apply endpoint `sts.test` to request `Request { body: SdkBody { inner: Once(Some(b\"WebIdentityToken=s3cret",
                "failed to apply endpoint `sts.test` to request",
            ),
            ("Request { body: \"ExternalId=s3cret\" }", ""),
            ("bad: HttpRequest { schema: \"type S3cret { id: ID }\" }", "bad:"),
            ("client error (Connect)", "client error (Connect)"),
            (
                "invalid peer certificate: UnknownIssuer",
                "invalid peer certificate: UnknownIssuer",
            ),
            ("expected { or [", "expected { or ["),
            (
                "This behavior requires following cargo feature(s) enabled: credentials-process. In order to",
                "the AWS profile has credential_process, which this program does not support: use keys, a role or web identity",
            ),
        ] {
            assert_eq!(plain(cause), shown);
            let failures = [
                reduced(WHO, false, &Refused::construction_failure(cause)),
                reduced(WHO, true, &Refused::dispatch_failure(ConnectorError::io(cause.into()))),
                not_assumed(
                    "arn:r",
                    &CredentialsError::provider_error(Refused::construction_failure(cause)),
                ),
                not_assumed("arn:r", &CredentialsError::invalid_configuration(cause)),
            ];
            for failure in failures {
                let message = failure.message.to_ascii_lowercase();
                assert!(!message.contains("s3cret"), "{message}");
                assert!(failure.message.contains(shown), "{}", failure.message);
            }
        }
    }

    #[tokio::test]
    async fn tokens_external_ids_and_schemas_are_in_no_message_about_a_request_that_the_sdk_cannot_send() {
        fn check<E>(error: &SdkError<E, HttpResponse>)
        where
            E: ProvideErrorMetadata + Error + 'static,
        {
            let shown: String = chain(error).map(ToString::to_string).collect();
            assert!(shown.contains("s3cret"), "the SDK does not show the request: {shown}");
            let said = reduced(WHO, false, error).message;
            assert!(!said.contains("s3cret") && said.contains("bare.test"), "{said}");
        }
        let keys = aws_credential_types::Credentials::new("a", "b", None, None, "test");
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::from_static("eu-west-1"))
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(keys))
            .endpoint_url("bare.test")
            .build();
        let sts = aws_sdk_sts::Client::new(&config);
        let token = sts
            .assume_role_with_web_identity()
            .role_arn("arn:r")
            .role_session_name("s")
            .web_identity_token("s3cret");
        check(&token.send().await.unwrap_err());
        let external = sts
            .assume_role()
            .role_arn("arn:r")
            .role_session_name("s")
            .external_id("s3cret");
        check(&external.send().await.unwrap_err());
        let schema = aws_sdk_amplifybackend::types::BackendApiResourceConfig::builder()
            .transform_schema("type s3cret { id: ID }")
            .build();
        let create = aws_sdk_amplifybackend::Client::new(&config)
            .create_backend_api()
            .app_id("d1")
            .backend_environment_name("dev")
            .resource_name("r")
            .resource_config(schema);
        check(&create.send().await.unwrap_err());
    }

    #[test]
    fn a_long_text_is_cut_in_its_middle_and_hint_and_request_id_never() {
        let text = format!("begin {}\u{1b}[31m the cause", "ä".repeat(4000));
        let code = "ä".repeat(4000);
        let got = failure(CREATE, End::Status(403), &code, &text);
        assert!(got.message.len() <= MESSAGE_LIMIT);
        assert!(got.message.contains(": begin ä"), "{}", got.message);
        assert!(
            got.message
                .ends_with("ä the cause; allow the IAM action amplifybackend:CreateBackend for the operator's role [request id 11aa]"),
            "{}",
            got.message
        );
        let role = format!(
            "arn:aws:iam::111111111111:role/{} (account entry \"t\")",
            "r".repeat(600)
        );
        let error = AssumeRoleError::generic(ErrorMetadata::builder().code("AccessDenied").message(&text).build());
        let mut raw = HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
        raw.headers_mut().insert("x-amzn-requestid", "22bb");
        let error = CredentialsError::provider_error(SdkError::service_error(error, raw));
        let got = not_assumed(&role, &error);
        assert!(got.message.len() <= MESSAGE_LIMIT, "{}", got.message.len());
        assert!(
            got.message
                .ends_with("the operator's role and the external id in this role's trust policy [request id 22bb]"),
            "{}",
            got.message
        );
        assert!(
            got.message.contains("(account entry \"t\"): AssumeRole: "),
            "{}",
            got.message
        );
    }

    #[test]
    fn no_text_of_aws_draws_on_a_terminal_or_begins_a_line() {
        let reply = Reply {
            end: End::Status(400),
            code: "Bad\u{1b}[1mRequest\nX",
            text: "one\ntwo\r\u{1b}[31m│three\u{202e}",
            request_id: Some("a\nb"),
        };
        assert_eq!(
            classify(CREATE, reply).message,
            "CreateBackend: BadRequest X (HTTP 400): one two three [request id a b]"
        );
    }
}
