//! What the operator can learn of the world in one pass: AWS's answers and refusals, reduced to what decisions need.

use jiff::Timestamp;

/// Why a call to AWS (or the way to it) did not give an answer. One list, made in one place: the AWS port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// AWS's own NotFoundException. Of a create: the app (of a clone also: the source) is not there.
    NotFound,
    /// A 4xx that says that the request is wrong.
    BadRequest,
    /// Any 4xx that says "there is already a pending job".
    Pending,
    /// 429, or any code with "Rate exceeded" or "slow down".
    Throttled,
    /// A refusal that names a quota.
    QuotaExceeded,
    /// 401, 403, expired or missing credentials.
    AccessDenied,
    /// 5xx, timeout, connection, unreadable body, an answer that names another object, or one that is not AWS's own.
    Unavailable,
    /// No account entry, or more than one, names the namespace.
    AccountNotFound,
    /// The account or region is no longer the one pinned in status.
    AccountChanged,
}

/// What is known of a write that gave no answer of the expected form. Of a read it says nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sent {
    /// The request never left: no connection, no credentials, a name that the port refuses.
    Never,
    /// AWS itself answered with a refusal: it did not do the work.
    Refused,
    /// The request may have been carried out: timeout, reset, 5xx, unreadable body, an answer that is not AWS's own.
    Unknown,
}

/// A call that failed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Failure {
    /// What kind of failure.
    pub class: Class,
    /// Whether a write may have been carried out.
    pub sent: Sent,
    /// For people: operation, what AWS said and its request id, 1 KiB at the most. No payloads, no secrets.
    pub message: String,
}

/// A job as AWS describes it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct JobSeen {
    /// AWS's JobId, cut at 1 KiB; empty where AWS gives none.
    pub id: String,
    /// The environment that it is listed under.
    pub environment: String,
    /// AWS's operation name, as AWS writes it.
    pub operation: String,
    /// AWS's own word.
    pub status: String,
    /// AWS's clock.
    pub create_time: Option<Timestamp>,
    /// When AWS last changed it, by AWS's clock: of one that has ended, when it ended.
    pub update_time: Option<Timestamp>,
    /// AWS's text when it failed, as [`crate::api::text::summary`] has it.
    pub error: Option<String>,
    /// Whether that text, the whole of it, says that something of the name was there before.
    pub exists: bool,
}

/// Whether AWS's text says that something of the name was there before. AWS's services write it with and without blanks
/// (`already exists`, `EntityAlreadyExists`, `BucketAlreadyOwnedByYou`).
#[must_use]
pub fn says_exists(text: &str) -> bool {
    const WORDS: [&str; 7] = [
        "alreadyexist",
        "alreadyown",
        "alreadybeenadded",
        "alreadyadded",
        "alreadyinuse",
        "wasalready",
        "existsexception",
    ];
    let letters: String = text
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    WORDS.iter().any(|words| letters.contains(words))
}

impl JobSeen {
    /// Whether AWS says that the job has ended. Any other word than these two is not an end.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        is_terminal(&self.status)
    }
}

/// Whether this job status is an end.
#[must_use]
pub fn is_terminal(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED")
}
