//! Interprets the answers of AWS. An answer is believed only if it names the requested object. Pure, except [`paged`],
//! which requests one page after the other.

use std::collections::BTreeSet;

use super::super::{
    AppId, EnvironmentName,
    errors::{self, Call, End, MESSAGE_LIMIT},
};
use crate::{
    api::{conditions::truncated, text},
    lifecycle::facts::{Class, Failure, Sent},
};

/// Upper limit of pages of a list: 1,000 jobs or 2,000 environments.
pub(super) const MAX_PAGES: usize = 40;
/// How many bytes of a name from AWS a message repeats.
const SHOWN: usize = 64;
/// Longest word of AWS that is kept, in bytes: the name of an operation, or a status.
pub(super) const WORD_LIMIT: usize = 256;
/// How many bytes of a job's id are kept. Ids are truncated to this length before any comparison.
const JOB_ID_LIMIT: usize = 1024;

/// AWS's answer to a write that it accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted<F> {
    /// A job, which continues after the answer. Without an id the outcome of the write is unknown.
    Job {
        /// AWS's ID of the job, as in [`Client::list_jobs`](super::Client::list_jobs).
        id: Option<String>,
        /// The environment in the answer. A write about two environments may name either.
        environment: Option<String>,
        /// AWS's own word for the status.
        status: Option<String>,
        /// The summary of AWS's error text, if AWS accepted the request and it failed at once. Only with an id.
        error: Option<String>,
    },
    /// The write is done. Holds the object that was made or removed.
    Done(F),
}

/// Takes the fields that all answers to backend writes have.
macro_rules! job_reply {
    ($output:expr) => {{
        let mut output = $output;
        let error = output.error.take();
        $crate::amplify::answers::JobReply {
            error,
            ..$crate::amplify::answers::job_reply!(output, no error)
        }
    }};
    // The answers about storages have no field for an immediate failure.
    ($output:expr, no error) => {{
        let output = $output;
        $crate::amplify::answers::JobReply {
            request_id: ::aws_sdk_amplify::operation::RequestId::request_id(&output).map(str::to_owned),
            app: output.app_id,
            environment: output.backend_environment_name,
            id: output.job_id,
            status: output.status,
            error: None,
        }
    }};
}
pub(crate) use job_reply;

/// The fields that all answers to backend writes have.
pub(crate) struct JobReply {
    pub(crate) request_id: Option<String>,
    pub(crate) app: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) error: Option<String>,
}

/// Returns the accepted write, if the answer names the app and one of these environments.
pub(crate) fn accepted<F>(
    call: Call,
    app: &AppId,
    environments: &[&EnvironmentName],
    reply: JobReply,
) -> Result<Accepted<F>, Failure> {
    same(call, "appId", reply.app.as_deref(), app.as_str())?;
    let named = reply.environment.as_deref();
    if !environments.iter().any(|asked| named == Some(asked.as_str())) {
        for asked in environments {
            same(call, "backendEnvironmentName", named, asked.as_str())?;
        }
    }
    let id = job_id(reply.id);
    let error = job_error(reply.error.clone());
    if id.is_none() && error.is_some() {
        // No job was started, so an existing object does not become ours.
        return Err(errors::classify(
            call,
            errors::Reply {
                end: End::ErrorInReply,
                code: "",
                text: reply.error.as_deref().unwrap_or_default(),
                request_id: reply.request_id.as_deref(),
            },
        ));
    }
    Ok(Accepted::Job {
        id,
        environment: reply.environment,
        status: word(reply.status),
        error,
    })
}

/// Turns `NotFound` into `None`. Only AWS's own answer to the call itself proves absence.
pub(crate) fn absent_is_none<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(there) => Ok(Some(there)),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Makes the failure for an answer that cannot be believed. After a write, its outcome is unknown.
pub(crate) fn unreadable(call: Call, why: &str) -> Failure {
    let message = format!("{}: {why}", call.operation);
    Failure {
        class: Class::Unavailable,
        sent: Sent::Unknown,
        message: text::shortened(&message, MESSAGE_LIMIT).into_owned(),
    }
}

/// The items of a list, from all its pages.
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Whether the items are complete. If not, AWS has more than `MAX_PAGES` pages.
    pub(crate) whole: bool,
}

impl<T> Listed<T> {
    pub(crate) fn whole(self, call: Call) -> Result<Vec<T>, Failure> {
        if self.whole {
            Ok(self.items)
        } else {
            Err(too_long(call))
        }
    }
}

/// Reads a list to its end, at most `MAX_PAGES` pages. `page` returns the items of a page and the token of the next.
///
/// A list that cannot be read to its end is `Unavailable`, never a shorter list that looks complete. `NotFound` counts
/// only as the answer to the first page: on a later page it contradicts the pages before.
pub(crate) async fn paged<T, F>(call: Call, mut page: impl FnMut(Option<String>) -> F) -> Result<Listed<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, Option<String>), Failure>>,
{
    let mut items = Vec::new();
    let mut used = BTreeSet::new();
    let mut token = None;
    for number in 0..MAX_PAGES {
        let (part, next) = match page(token).await {
            Err(failure) if number > 0 && failure.class == Class::NotFound => {
                return Err(unreadable(call, "a later page of the list is not found"));
            }
            answer => answer?,
        };
        items.extend(part);
        let Some(next) = next.filter(|next| !next.is_empty()) else {
            return Ok(Listed { items, whole: true });
        };
        if !used.insert(next.clone()) {
            return Err(unreadable(call, "the list repeats a page"));
        }
        token = Some(next);
    }
    Ok(Listed { items, whole: false })
}

pub(super) fn too_long(call: Call) -> Failure {
    unreadable(call, "the list has too many pages")
}

/// Makes the failure for a call that the caller should not have made.
pub(crate) fn never(message: &str) -> Failure {
    Failure {
        class: Class::BadRequest,
        sent: Sent::Never,
        message: message.to_owned(),
    }
}

/// Checks that a name in an answer, if present, is the requested name.
pub(crate) fn same(call: Call, field: &str, got: Option<&str>, asked: &str) -> Result<(), Failure> {
    match got {
        Some(got) if got != asked => Err(unreadable(
            call,
            &format!(
                "the answer names {field} {:?} instead of {:?}",
                text::shortened(&text::clean(got), SHOWN),
                truncated(asked, SHOWN)
            ),
        )),
        _ => Ok(()),
    }
}

/// Checks that the 200 answer to a read has no error text. With one, it does not describe the object.
pub(crate) fn no_error(call: Call, error: Option<String>) -> Result<(), Failure> {
    job_error(error).map_or(Ok(()), |error| Err(unreadable(call, &error)))
}

/// Returns the summary of AWS's error text about a job, or `None` if it is empty.
pub(super) fn job_error(error: Option<String>) -> Option<String> {
    error
        .map(|error| text::summary(&error))
        .filter(|error| !error.is_empty())
}

/// Returns a word of AWS in a form fit for a status and a log line, or `None` if it is empty.
pub(super) fn word(word: Option<String>) -> Option<String> {
    let word = word.map(|word| truncated(&text::clean(&word), WORD_LIMIT).to_owned());
    word.filter(|word| !word.is_empty())
}

/// Returns a job's id as it is recorded and compared, or `None` if it is empty.
pub(super) fn job_id(id: Option<String>) -> Option<String> {
    let id = id.map(|id| truncated(&text::clean(&id), JOB_ID_LIMIT).to_owned());
    id.filter(|id| !id.is_empty())
}
