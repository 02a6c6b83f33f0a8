//! The faults that a test orders: rules that match requests, and scripts for jobs. This module only decides. The server
//! damages replies, and the state runs the jobs.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    clock::as_optional_millis,
    wire::{
        operation::{Class, Operation, Service},
        reply::AwsError,
    },
};

/// The requests that a rule is about. An absent member matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Match {
    /// The service.
    pub service: Option<Service>,
    /// The operation; in JSON, `*` is any operation.
    #[serde(deserialize_with = "operation_or_star")]
    pub operation: Option<Operation>,
    /// The class: only reads or only writes.
    pub class: Option<Class>,
    /// The account of the caller.
    pub account: Option<String>,
    /// The region of the signature.
    pub region: Option<String>,
    /// The app id.
    pub app: Option<String>,
    /// The environment; of a clone, the source or the target.
    pub environment: Option<String>,
    /// The resource name of an API; of AssumeRole, the role's ARN.
    pub resource: Option<String>,
}

fn operation_or_star<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Operation>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Name {
        One(Operation),
        Other(Option<String>),
    }
    match Name::deserialize(from)? {
        Name::One(operation) => Ok(Some(operation)),
        Name::Other(None) => Ok(None),
        Name::Other(Some(star)) if star == "*" => Ok(None),
        Name::Other(Some(name)) => Err(serde::de::Error::custom(format!("no operation is called {name}"))),
    }
}

/// The properties of a request that a rule is matched against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) service: Option<Service>,
    pub(crate) operation: Operation,
    pub(crate) account: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) app: Option<&'a str>,
    pub(crate) environment: Option<&'a str>,
    pub(crate) source_environment: Option<&'a str>,
    pub(crate) resource: Option<&'a str>,
}

impl Match {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let name = |wanted: &Option<String>, actual: Option<&str>| wanted.is_none() || wanted.as_deref() == actual;
        (self.service.is_none() || self.service == subject.service)
            && self.operation.is_none_or(|operation| operation == subject.operation)
            && self.class.is_none_or(|class| class == subject.operation.class())
            && name(&self.account, subject.account)
            && name(&self.region, subject.region)
            && name(&self.app, subject.app)
            && (name(&self.environment, subject.environment) || name(&self.environment, subject.source_environment))
            && name(&self.resource, subject.resource)
    }
}

/// A rule: which requests it hits, how often, and with which action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The requests.
    #[serde(rename = "match", default)]
    pub matches: Match,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u64,
    /// How many requests are hit after that; null means all.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// The action.
    pub action: Action,
}

// The field requires this type.
#[expect(clippy::unnecessary_wraps)]
const fn once() -> Option<u64> {
    Some(1)
}

macro_rules! rule_builders {
    ($rule:ident) => {
        impl $rule {
            /// Limits the rule to this operation.
            #[must_use]
            pub const fn operation(mut self, operation: Operation) -> Self {
                self.matches.operation = Some(operation);
                self
            }

            /// Limits the rule to this app.
            #[must_use]
            pub fn app(mut self, app: &str) -> Self {
                self.matches.app = Some(app.to_owned());
                self
            }

            /// Limits the rule to this environment.
            #[must_use]
            pub fn environment(mut self, environment: &str) -> Self {
                self.matches.environment = Some(environment.to_owned());
                self
            }

            /// Limits the rule to this resource: an API's name or, of AssumeRole, a role's ARN.
            #[must_use]
            pub fn resource(mut self, resource: &str) -> Self {
                self.matches.resource = Some(resource.to_owned());
                self
            }

            /// Limits the rule to this account.
            #[must_use]
            pub fn account(mut self, account: &str) -> Self {
                self.matches.account = Some(account.to_owned());
                self
            }

            /// Lets this many matching requests pass first.
            #[must_use]
            pub const fn skip(mut self, count: u64) -> Self {
                self.skip = count;
                self
            }

            /// Hits this many requests.
            #[must_use]
            pub const fn times(mut self, count: u64) -> Self {
                self.times = Some(count);
                self
            }

            /// Hits all matching requests until the rule is removed.
            #[must_use]
            pub const fn forever(mut self) -> Self {
                self.times = None;
                self
            }
        }
    };
}

rule_builders!(Fault);
rule_builders!(JobFault);

impl Fault {
    /// Returns a rule that hits the next request, of any operation.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            matches: Match::default(),
            skip: 0,
            times: once(),
            action,
        }
    }

    /// Returns a rule that hits the next request of an operation.
    #[must_use]
    pub fn on(operation: Operation, action: Action) -> Self {
        Self::new(action).operation(operation)
    }

    /// Limits the rule to reads or to writes.
    #[must_use]
    pub const fn class(mut self, class: Class) -> Self {
        self.matches.class = Some(class);
        self
    }

    /// Limits the rule to this service.
    #[must_use]
    pub const fn service(mut self, service: Service) -> Self {
        self.matches.service = Some(service);
        self
    }
}

/// The action on a request. "After" means that the work is done first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Action {
    /// No work; this answer instead.
    Respond {
        /// The HTTP status.
        status: u16,
        /// The `x-amzn-ErrorType`.
        code: String,
        /// The message.
        #[serde(default)]
        message: String,
        /// The body instead of the usual one.
        #[serde(default)]
        body: Option<String>,
    },
    /// The work is done, but the client gets this answer.
    RespondAfter {
        /// The HTTP status.
        status: u16,
        /// The `x-amzn-ErrorType`.
        code: String,
        /// The message.
        #[serde(default)]
        message: String,
        /// The body instead of the usual one.
        #[serde(default)]
        body: Option<String>,
    },
    /// 429 `TooManyRequestsException`, no work.
    TooManyRequests,
    /// 429 `LimitExceededException` "Rate exceeded", no work.
    LimitExceeded,
    /// 429 `LimitExceededException` that names a quota, no work.
    QuotaExceeded,
    /// 400 `BadRequestException` "Rate exceeded … please slow down", no work.
    RateExceeded,
    /// 500, 503, 504 or another status, no work.
    ServerError {
        /// The HTTP status.
        status: u16,
    },
    /// The work, then 500, 503, 504 or another status.
    ServerErrorAfter {
        /// The HTTP status.
        status: u16,
    },
    /// The connection is reset before the work.
    Reset,
    /// The work, then the connection is reset: a lost reply.
    ResetAfter,
    /// The connection is reset at once, and the work is done later: a request that is delayed on its way.
    ArriveLate {
        /// The delay in real time; if absent, until `release`.
        #[serde(rename = "millis", default, with = "as_optional_millis")]
        duration: Option<Duration>,
    },
    /// No answer for a while, then the work and the answer, even if the client has closed the connection.
    Hang {
        /// The time in real time; if absent, until `release`.
        #[serde(rename = "millis", default, with = "as_optional_millis")]
        duration: Option<Duration>,
    },
    /// The work, then no answer for a while, then the answer.
    HangAfter {
        /// The time in real time; if absent, until `release`.
        #[serde(rename = "millis", default, with = "as_optional_millis")]
        duration: Option<Duration>,
    },
    /// The work, then half of the body and a reset.
    Truncate,
    /// The work, then a wrong body.
    Garbage {
        /// The kind of wrong body.
        kind: Garbage,
    },
    /// No work; 200 with this text as `error`.
    ErrorInReply {
        /// The text.
        error: String,
    },
    /// "There is already a pending job …", no work.
    PendingJob {
        /// Whether the code is `ValidationException` instead of `BadRequestException`.
        #[serde(default)]
        validation: bool,
    },
    /// No work: a proxy answers in AWS's place, without AWS's error code and request id.
    Intercepted {
        /// The HTTP status.
        status: u16,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// 403 `ExpiredTokenException`, no work.
    ExpiredToken,
    /// 403 `AccessDeniedException`, no work.
    AccessDenied,
}

/// A wrong body, with status 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Garbage {
    /// HTML, as a proxy may send it.
    Html,
    /// No bytes at all.
    Empty,
    /// An object without members.
    NoMembers,
    /// JSON with bytes that are not UTF-8.
    InvalidUtf8,
    /// JSON nested a hundred thousand times.
    Deep,
    /// The reply with 32 MiB of text in one more member.
    Large,
}

impl Action {
    /// Returns the action that answers 500, 503 or 504 without the work.
    #[must_use]
    pub const fn server_error(status: u16) -> Self {
        Self::ServerError { status }
    }

    /// Returns the action that answers any error without the work.
    #[must_use]
    pub fn respond(status: u16, code: &str, message: &str) -> Self {
        Self::Respond {
            status,
            code: code.into(),
            message: message.into(),
            body: None,
        }
    }

    /// Returns the action that resets the connection and does the work this much later.
    #[must_use]
    pub const fn arrive_late(duration: Duration) -> Self {
        Self::ArriveLate {
            duration: Some(duration),
        }
    }

    /// Returns the action that sends an answer of a proxy.
    #[must_use]
    pub fn intercepted(status: u16, body: &str) -> Self {
        Self::Intercepted {
            status,
            body: body.into(),
        }
    }

    /// Returns the action that does nothing until [`release`](crate::Control::release), then the work.
    #[must_use]
    pub const fn hang() -> Self {
        Self::Hang { duration: None }
    }

    /// Returns the action that does the work, then nothing until [`release`](crate::Control::release).
    #[must_use]
    pub const fn hang_after() -> Self {
        Self::HangAfter { duration: None }
    }

    /// Returns the refusal that replaces the work, with its ordered body, if it has one.
    pub(crate) fn refusal(&self, subject: &Subject<'_>, caller: &str) -> Option<(AwsError, Option<String>)> {
        let operation = subject.operation.as_str();
        let plain = match self {
            Self::Respond {
                status,
                code,
                message,
                body,
            } => {
                return Some((AwsError::new(*status, code, message), body.clone()));
            }
            Self::TooManyRequests => AwsError::throttled("TooManyRequestsException", operation),
            Self::LimitExceeded => AwsError::throttled("LimitExceededException", operation),
            Self::RateExceeded => AwsError::throttled("BadRequestException", operation),
            Self::QuotaExceeded => AwsError::new(
                429,
                "LimitExceededException",
                "A resource could not be created because service quotas were exceeded.",
            ),
            Self::ServerError { status } => server_error(*status),
            Self::PendingJob { validation } => AwsError::pending_job(
                if *validation {
                    "ValidationException"
                } else {
                    "BadRequestException"
                },
                subject.app.unwrap_or_default(),
                subject.environment.unwrap_or_default(),
            ),
            Self::ExpiredToken => AwsError::expired_token(),
            Self::AccessDenied => AwsError::new(
                403,
                "AccessDeniedException",
                format!(
                    "User: {caller} is not authorized to perform: {}:{operation}",
                    subject.service.map_or("unknown", Service::as_str)
                ),
            ),
            _ => return None,
        };
        Some((plain, None))
    }

    /// Returns the answer that replaces the true one after the work.
    pub(crate) fn replacement(&self) -> Option<(AwsError, Option<String>)> {
        match self {
            Self::RespondAfter {
                status,
                code,
                message,
                body,
            } => Some((AwsError::new(*status, code, message), body.clone())),
            Self::ServerErrorAfter { status } => Some((server_error(*status), None)),
            _ => None,
        }
    }
}

fn server_error(status: u16) -> AwsError {
    match status {
        503 => AwsError::new(503, "ServiceUnavailableException", "Service Unavailable"),
        504 => AwsError::new(504, "GatewayTimeoutException", "Endpoint request timed out"),
        other => AwsError::new(other, "InternalFailureException", "Internal server error"),
    }
}

/// A rule for the jobs that matching requests start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobFault {
    /// The requests.
    #[serde(rename = "match", default)]
    pub matches: Match,
    /// How many matching jobs go as usual first.
    #[serde(default)]
    pub skip: u64,
    /// How many jobs follow the script after that; null means all.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// The script.
    pub script: JobScript,
}

impl JobFault {
    /// Returns a rule by which the next job of an operation follows a script.
    #[must_use]
    pub fn on(operation: Operation, script: JobScript) -> Self {
        Self {
            matches: Match {
                operation: Some(operation),
                ..Match::default()
            },
            skip: 0,
            times: once(),
            script,
        }
    }
}

/// The course of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct JobScript {
    /// Its length, if it differs from the settings.
    #[serde(rename = "durationMillis", with = "as_optional_millis")]
    pub duration: Option<Duration>,
    /// The status words that the job shows before its end, each for an equal share of the time; `RUNNING` if the list
    /// is empty.
    pub words: Vec<String>,
    /// Its end.
    pub ending: Ending,
}

impl JobScript {
    /// Returns the script of a job that ends as FAILED; `applied` as in [`Ending::Failed`].
    #[must_use]
    pub fn failed(error: &str, applied: bool) -> Self {
        Self {
            ending: Ending::Failed {
                error: error.into(),
                applied,
            },
            ..Self::default()
        }
    }

    /// Returns the script of a job that never ends.
    #[must_use]
    pub fn stuck() -> Self {
        Self {
            ending: Ending::Stuck,
            ..Self::default()
        }
    }

    /// Returns the script of a job that AWS no longer shows after its time; `applied` as in [`Ending::Vanished`].
    #[must_use]
    pub fn vanishes(applied: bool) -> Self {
        Self {
            ending: Ending::Vanished { applied },
            ..Self::default()
        }
    }

    /// Sets the length of the job.
    #[must_use]
    pub const fn lasting(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }

    /// Sets the words that the job shows before its end.
    #[must_use]
    pub fn saying(mut self, words: &[&str]) -> Self {
        self.words = words.iter().map(|&word| word.to_owned()).collect();
        self
    }
}

/// The end of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub enum Ending {
    /// The job completes with its work done.
    #[default]
    Completed,
    /// The job ends as FAILED.
    Failed {
        /// The text.
        error: String,
        /// Whether the work is still done: the object is created or deleted.
        #[serde(default)]
        applied: bool,
    },
    /// The job never ends.
    Stuck,
    /// AWS no longer shows the job.
    Vanished {
        /// Whether the work is still done.
        #[serde(default)]
        applied: bool,
    },
}

/// The current rules, with their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// The rules for requests.
    pub faults: Vec<(u64, Fault)>,
    /// The rules for jobs.
    pub job_faults: Vec<(u64, JobFault)>,
}

impl Rules {
    fn len(&self) -> usize {
        self.faults.len() + self.job_faults.len()
    }
}

/// The rules, and the next id.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    next_id: u64,
    rules: Rules,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.next_id += 1;
        self.rules.faults.push((self.next_id, fault));
        self.next_id
    }

    pub(crate) fn add_job(&mut self, fault: JobFault) -> u64 {
        self.next_id += 1;
        self.rules.job_faults.push((self.next_id, fault));
        self.next_id
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.faults.retain(|(other, _)| *other != id);
        self.rules.job_faults.retain(|(other, _)| *other != id);
        before != self.rules.len()
    }

    pub(crate) fn clear(&mut self) {
        self.rules = Rules::default();
    }

    pub(crate) fn rules(&self) -> Rules {
        self.rules.clone()
    }

    /// Returns the action of the first rule that hits a request.
    pub(crate) fn take(&mut self, subject: &Subject<'_>) -> Option<Action> {
        let (index, last) = hit(&mut self.rules.faults, |fault| {
            fault
                .matches
                .covers(subject)
                .then_some((&mut fault.skip, &mut fault.times))
        })?;
        Some(if last {
            self.rules.faults.remove(index).1.action
        } else {
            self.rules.faults[index].1.action.clone()
        })
    }

    /// Returns the script of a job that a request starts.
    pub(crate) fn take_script(&mut self, subject: &Subject<'_>) -> JobScript {
        let found = hit(&mut self.rules.job_faults, |fault| {
            fault
                .matches
                .covers(subject)
                .then_some((&mut fault.skip, &mut fault.times))
        });
        match found {
            None => JobScript::default(),
            Some((index, true)) => self.rules.job_faults.remove(index).1.script,
            Some((index, false)) => self.rules.job_faults[index].1.script.clone(),
        }
    }
}

/// Returns the first rule that hits, and whether that used it up. A rule that still skips requests leaves the request
/// to later rules.
fn hit<R>(
    rules: &mut [(u64, R)],
    counters: impl Fn(&mut R) -> Option<(&mut u64, &mut Option<u64>)>,
) -> Option<(usize, bool)> {
    for (index, (_, rule)) in rules.iter_mut().enumerate() {
        let Some((skip, times)) = counters(rule) else {
            continue;
        };
        if *skip > 0 {
            *skip -= 1;
            continue;
        }
        match times {
            None => return Some((index, false)),
            Some(0) => {}
            Some(left) => {
                *left -= 1;
                return Some((index, *left == 0));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn subject(operation: Operation) -> Subject<'static> {
        Subject {
            service: operation.service(),
            operation,
            account: Some("1"),
            region: Some("r"),
            app: Some("d1"),
            environment: Some("dev"),
            source_environment: Some("main"),
            resource: None,
        }
    }

    #[test]
    fn a_rule_skips_hits_and_is_gone() {
        let mut faults = Faults::default();
        faults.add(Fault::on(Operation::CreateBackend, Action::Reset).skip(1).times(2));
        let hits: Vec<bool> = (0..5)
            .map(|_| faults.take(&subject(Operation::CreateBackend)).is_some())
            .collect();
        assert_eq!(hits, [false, true, true, false, false]);
        assert!(faults.rules.faults.is_empty());
    }

    #[test]
    fn a_rule_matches_by_every_criterion() {
        let matching = |matches: Match| matches.covers(&subject(Operation::CloneBackend));
        let text = |text: &str| Some(text.to_owned());
        assert!(matching(Match::default()));
        assert!(matching(Match {
            environment: text("dev"),
            ..Match::default()
        }));
        assert!(matching(Match {
            environment: text("main"),
            class: Some(Class::Write),
            ..Match::default()
        }));
        assert!(matching(Match {
            service: Some(Service::AmplifyBackend),
            account: text("1"),
            ..Match::default()
        }));
        assert!(!matching(Match {
            environment: text("qa"),
            ..Match::default()
        }));
        assert!(!matching(Match {
            app: text("d2"),
            ..Match::default()
        }));
        assert!(!matching(Match {
            class: Some(Class::Read),
            ..Match::default()
        }));
        assert!(!matching(Match {
            service: Some(Service::Sts),
            ..Match::default()
        }));
        assert!(!matching(Match {
            operation: Some(Operation::CreateBackend),
            ..Match::default()
        }));
        assert!(!matching(Match {
            resource: text("x"),
            ..Match::default()
        }));
    }

    #[test]
    fn rules_read_from_json_written_by_hand() {
        let fault: Fault =
            serde_json::from_str(r#"{"match": {"operation": "*", "class": "write"}, "times": null, "action": {"type": "hang", "millis": 50}}"#)
                .unwrap();
        assert_eq!(fault.times, None);
        assert_eq!(
            fault.action,
            Action::Hang {
                duration: Some(Duration::from_millis(50))
            }
        );
        let fault: Fault =
            serde_json::from_str(r#"{"match": {"operation": "CreateBackendAPI"}, "action": {"type": "reset"}}"#)
                .unwrap();
        assert_eq!(fault, Fault::on(Operation::CreateBackendApi, Action::Reset));
        assert!(
            serde_json::from_str::<Fault>(r#"{"match": {"operation": "Nope"}, "action": {"type": "reset"}}"#).is_err()
        );
        assert!(serde_json::from_str::<Fault>(r#"{"macth": {}, "action": {"type": "reset"}}"#).is_err());
        let script: JobScript =
            serde_json::from_str(r#"{"ending": {"type": "failed", "error": "x"}, "words": ["ODD"]}"#).unwrap();
        assert_eq!(script, JobScript::failed("x", false).saying(&["ODD"]));
    }
}
