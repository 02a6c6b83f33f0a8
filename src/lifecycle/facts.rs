//! The facts that the operator can learn in one pass: AWS's answers and refusals, reduced to the parts that decisions
//! need.

use jiff::Timestamp;

/// Why a call to AWS (or its preparation) did not give an answer. One list, made in one place: the AWS port.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// AWS's own NotFoundException. To a create: the app (of a clone also: the source) does not exist.
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
    /// 5xx, timeout, connection, unreadable body, an answer that names another object, or an answer that is not AWS's
    /// own.
    Unavailable,
    /// The namespace has no account entry, or more than one.
    AccountNotFound,
    /// The account or region is no longer the one that is pinned in status.
    AccountChanged,
}

/// Whether a write without an answer of the expected form may have been carried out. Means nothing for a read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sent {
    /// The request was never sent: no connection, no credentials, a name that the port refuses.
    Never,
    /// AWS itself answered with a refusal: it did not do the work.
    Refused,
    /// The request may have been carried out: timeout, reset, 5xx, unreadable body, an answer that is not AWS's own.
    Unknown,
}

/// A call that failed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Failure {
    /// The class of the failure.
    pub class: Class,
    /// Whether a write may have been carried out.
    pub sent: Sent,
    /// For people: the operation, AWS's text and its request id, at most 1 KiB. No payloads, no secrets.
    pub message: String,
}

/// A job as AWS describes it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct JobSeen {
    /// AWS's JobId, cut at 1 KiB. Empty if AWS gives none.
    pub id: String,
    /// The environment whose list contains the job.
    pub environment: String,
    /// AWS's operation name, as AWS writes it.
    pub operation: String,
    /// AWS's own word.
    pub status: String,
    /// When the job was created, by AWS's clock.
    pub create_time: Option<Timestamp>,
    /// When AWS last changed the job, by AWS's clock. For a job that has ended: when it ended.
    pub update_time: Option<Timestamp>,
    /// AWS's text if the job failed, shortened by [`crate::api::text::summary`].
    pub error: Option<String>,
    /// Whether AWS's full text says that an object of this name existed before.
    pub exists: bool,
}

/// Whether AWS's text says that an object of this name existed before. AWS's services write this with and without
/// blanks (`already exists`, `EntityAlreadyExists`, `BucketAlreadyOwnedByYou`).
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
    /// Whether AWS says that the job has ended. COMPLETED and FAILED are the only such words.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        is_terminal(&self.status)
    }
}

/// Whether this job status says that the job has ended.
#[must_use]
pub fn is_terminal(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED")
}
