//! Apps: they are read. A client that builds a wrong path can delete them.

use std::ops::Bound;

use serde_json::{Value, json};

use super::{Context, Done, paging, seconds};
use crate::{
    state::App,
    wire::{input::check_app_id, reply::AwsError},
};

pub(super) fn get(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    check_app_id(app_id)?;
    context.app(app_id)?;
    answer(context, app_id)
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let done = get(context)?;
    context.region.apps.remove(context.app_id()?);
    Ok(done)
}

pub(super) fn list(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let query = &context.request.query;
    let length = paging::length(context.settings, query.integer("maxResults", 0, 100)?, 100);
    let after = paging::start(query.get("nextToken"))?;
    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut apps: Vec<&App> = context
        .region
        .apps
        .range::<str, _>((from, Bound::Unbounded))
        .map(|(_, app)| app)
        .take(length + 1)
        .collect();
    let more = apps.len() > length;
    apps.truncate(length);
    let next = apps.last().filter(|_| more).map(|app| app.id.as_str());
    let token = paging::token(context.settings, next);
    let apps: Vec<Value> = apps.into_iter().map(|app| app_json(context, app)).collect();
    let mut body = json!({ "apps": apps });
    if let Some(token) = token {
        body["nextToken"] = json!(token);
    }
    Ok(Done::json(&body))
}

fn answer(context: &Context<'_>, app_id: &str) -> Result<Done, AwsError> {
    let app = context
        .region
        .apps
        .get(app_id)
        .ok_or_else(|| AwsError::app_not_found(app_id))?;
    Ok(Done::json(&json!({ "app": app_json(context, app) })))
}

/// Returns only the members that the model requires.
fn app_json(context: &Context<'_>, app: &App) -> Value {
    json!({
        "appId": app.id,
        "appArn": format!("arn:aws:amplify:{}:{}:apps/{}", context.region_name, context.caller.account, app.id),
        "name": app.name,
        "description": "",
        "repository": "",
        "platform": "WEB",
        "createTime": seconds(app.created),
        "updateTime": seconds(app.created),
        "environmentVariables": app.variables,
        "defaultDomain": format!("{}.amplifyapp.com", app.id),
        "enableBranchAutoBuild": false,
        "enableBasicAuth": false,
    })
}
