//! What an answer of AWS says, and whether it is believed: only where it names what was asked for. Pure, but for [`paged`],
//! which asks for one page after the other.

use std::collections::BTreeSet;

use super::super::{
    AppId, EnvironmentName,
    errors::{self, Call, End, MESSAGE_LIMIT},
};
use crate::{
    api::{conditions::truncated, text},
    lifecycle::facts::{Class, Failure, Sent},
};

/// Most pages of one list: 1,000 jobs or 2,000 environments.
pub(super) const MAX_PAGES: usize = 40;
/// How much of a name that AWS gives a message repeats, in bytes.
const SHOWN: usize = 64;
/// Longest word of AWS that is kept, in bytes: an operation's name or a status.
pub(super) const WORD_LIMIT: usize = 256;
/// How much of a job's id is kept, in bytes. Wherever ids are compared, both are cut to it.
const JOB_ID_LIMIT: usize = 1024;

/// AWS's answer to a write that it took.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted<F> {
    /// A job, which goes on after the answer. Without an id nothing is known of what came of the write.
    Job {
        /// AWS's ID of the job, as [`Client::list_jobs`](super::Client::list_jobs) would show it.
        id: Option<String>,
        /// The environment as the answer names it: of a write that is about two, either.
        environment: Option<String>,
        /// AWS's own word.
        status: Option<String>,
        /// The summary of AWS's text when it took the request and failed at once; never without an id.
        error: Option<String>,
    },
    /// Done: what was made or removed.
    Done(F),
}

/// The fields that all answers to backend writes have.
macro_rules! job_reply {
    ($output:expr) => {{
        let mut output = $output;
        let error = output.error.take();
        $crate::amplify::answers::JobReply {
            error,
            ..$crate::amplify::answers::job_reply!(output, no error)
        }
    }};
    // The answers about a storage cannot say that it failed at once.
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

/// What a write came to, where its answer names the app and one of these environments.
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
        // Nothing was started, and nothing of what is there is ours by this.
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

/// Of what AWS answered to a call itself: nothing else says that something is absent.
pub(crate) fn absent_is_none<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(there) => Ok(Some(there)),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// An answer that cannot be believed. Of a write it leaves open whether it was carried out.
pub(crate) fn unreadable(call: Call, why: &str) -> Failure {
    let message = format!("{}: {why}", call.operation);
    Failure {
        class: Class::Unavailable,
        sent: Sent::Unknown,
        message: text::shortened(&message, MESSAGE_LIMIT).into_owned(),
    }
}

/// The items of a list, page by page.
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Whether these are all. If not, AWS has more than `MAX_PAGES` pages.
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

/// Reads a list to its end, or `MAX_PAGES` pages of it: `page` gives the items of one and the token of the next.
///
/// What cannot be read to its end is `Unavailable`, never a shorter list that looks complete. `NotFound` is an answer to
/// the first page only: AWS has just shown a part of what it does not find later.
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

/// A call that the caller should not have made.
pub(crate) fn never(message: &str) -> Failure {
    Failure {
        class: Class::BadRequest,
        sent: Sent::Never,
        message: message.to_owned(),
    }
}

/// A name in an answer, where there is one, must be the name asked for.
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

/// A read whose 200 carries an error text has said nothing of the object.
pub(crate) fn no_error(call: Call, error: Option<String>) -> Result<(), Failure> {
    job_error(error).map_or(Ok(()), |error| Err(unreadable(call, &error)))
}

/// The summary of AWS's text about a job; one that says nothing is none.
pub(super) fn job_error(error: Option<String>) -> Option<String> {
    error
        .map(|error| text::summary(&error))
        .filter(|error| !error.is_empty())
}

/// A word of AWS, as it may go into a status and a log line; one that says nothing is none.
pub(super) fn word(word: Option<String>) -> Option<String> {
    let word = word.map(|word| truncated(&text::clean(&word), WORD_LIMIT).to_owned());
    word.filter(|word| !word.is_empty())
}

/// A job's id, as it is recorded and compared; one that says nothing is none.
pub(super) fn job_id(id: Option<String>) -> Option<String> {
    let id = id.map(|id| truncated(&text::clean(&id), JOB_ID_LIMIT).to_owned());
    id.filter(|id| !id.is_empty())
}
