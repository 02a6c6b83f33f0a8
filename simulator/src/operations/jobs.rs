//! Reading jobs.

use serde_json::{Value, json};

use super::{Context, Done, job_json, named, paging};
use crate::wire::reply::AwsError;

pub(super) fn get(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let job_id = named("jobId", context.request.route.job.as_deref())?;
    let app = context.app(app_id)?;
    let job = app
        .job(environment, job_id)
        .ok_or_else(|| AwsError::not_found(format!("Job {job_id} does not exist.")))?;
    Ok(Done::json(&job_json(app_id, environment, job)))
}

pub(super) fn list(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let input = &context.request.input;
    let (id, operation, status) = (
        input.string("jobId")?,
        input.string("operation")?,
        input.string("status")?,
    );
    let length = paging::length(context.settings, input.integer("maxResults", 1, 25)?, 25);
    let from = match paging::start(input.string("nextToken")?)? {
        None => 0,
        Some(place) => place.parse().map_err(|_| AwsError::bad_request("Invalid nextToken"))?,
    };
    let (now, settings) = (context.now, context.settings);
    let app = context.app(app_id)?;
    let page = app.job_page(environment, from, length, settings.oldest_job_first, now, |job| {
        id.is_none_or(|id| id == job.id)
            && operation.is_none_or(|operation| operation == job.operation)
            && status.is_none_or(|status| status == job.status)
    });
    let jobs: Vec<Value> = page.jobs.iter().map(|job| job_json(app_id, environment, job)).collect();
    let mut body = json!({ "jobs": jobs });
    let next = page.next.map(|place| place.to_string());
    if let Some(token) = paging::token(settings, next.as_deref()) {
        body["nextToken"] = json!(token);
    }
    Ok(Done::json(&body))
}
