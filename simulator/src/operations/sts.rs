//! STS: the query protocol, form in and XML out.

use super::{Context, Done, Request};
use crate::{
    identity::assumed_role_arn,
    wire::{
        input::{Input, Query},
        operation::Operation,
        path,
        reply::{AwsError, Reply, escape},
        route::Route,
    },
};

/// Parses a request. The form's members become the query.
pub(crate) fn route(body: &[u8], raw_query: &str) -> Request {
    let form = std::str::from_utf8(body).unwrap_or_default();
    let text = if form.is_empty() { raw_query } else { form };
    let query = Query(path::pairs(text, true).unwrap_or_default());
    let operation = match query.get("Action") {
        Some("AssumeRole") => Operation::AssumeRole,
        Some("GetCallerIdentity") => Operation::GetCallerIdentity,
        _ => Operation::Unknown,
    };
    Request {
        route: Route {
            operation,
            app: None,
            environment: None,
            job: None,
        },
        input: Input::default(),
        query,
    }
}

pub(super) fn assume_role(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let query = &context.request.query;
    let required = |name: &str| {
        query.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            validation(&format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"))
        })
    };
    let role_arn = required("RoleArn")?;
    let session_name = required("RoleSessionName")?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=64).contains(&session_name.len()) || !session_name.chars().all(allowed) {
        return Err(validation(
            "1 validation error detected: Value at 'roleSessionName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]*",
        ));
    }
    let seconds = match query.get("DurationSeconds") {
        None => 3600,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|seconds| (900..=43_200).contains(seconds))
            .ok_or_else(|| validation("The requested DurationSeconds is out of range."))?,
    };
    let issued = context.identities.assume(
        context.caller,
        role_arn,
        session_name,
        query.get("ExternalId"),
        context.wall + seconds * 1000,
        context.ids,
    )?;
    let expiration = jiff::Timestamp::from_millisecond(issued.expires / 1000 * 1000)
        .map_or_else(|_| String::new(), |time| time.to_string());
    let result = format!(
        "<AssumedRoleUser><AssumedRoleId>AROASIMULATED:{session}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>{expiration}</Expiration></Credentials>",
        session = escape(session_name),
        arn = escape(&assumed_role_arn(&issued.account, &issued.role)),
        key = issued.access_key_id,
        secret = issued.secret_access_key,
        token = issued.session_token,
    );
    Ok(answer(context, &result))
}

// All operations have this signature.
#[expect(clippy::unnecessary_wraps)]
pub(super) fn get_caller_identity(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let caller = context.caller;
    let user_id = caller.role.as_ref().map_or_else(
        || caller.access_key_id.to_string(),
        |role| format!("AROASIMULATED:{}", role.session_name),
    );
    let result = format!(
        "<Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>",
        escape(&caller.arn()),
        escape(&user_id),
        escape(&caller.account)
    );
    Ok(answer(context, &result))
}

fn answer(context: &Context<'_>, result: &str) -> Done {
    let name = context.request.route.operation.as_str();
    Done {
        reply: Reply::xml(format!(
            "<{name}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{name}Result>{result}\
             </{name}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{name}Response>",
            context.request_id
        )),
        job_id: None,
    }
}

fn validation(message: &str) -> AwsError {
    AwsError::new(400, "ValidationError", message)
}
