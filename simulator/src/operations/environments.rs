//! Environment records: no jobs, done at once.

use std::ops::Bound;

use serde_json::{Value, json};

use super::{Context, Done, paging, seconds};
use crate::{
    clock::millis,
    state::{EnvironmentRecord, hidden},
    wire::{
        input::{check_app_id, check_length},
        reply::AwsError,
    },
};

pub(super) fn create(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let input = &context.request.input;
    let app_id = context.app_id()?;
    check_app_id(app_id)?;
    let name = input.required("environmentName")?;
    check_length("environmentName", name, 255)?;
    let stack_name = input.string("stackName")?;
    let deployment_artifacts = input.string("deploymentArtifacts")?;
    if let Some(stack_name) = stack_name {
        check_length("stackName", stack_name, 255)?;
    }
    if let Some(deployment_artifacts) = deployment_artifacts {
        check_length("deploymentArtifacts", deployment_artifacts, 1000)?;
    }
    let now = context.now;
    let record = EnvironmentRecord {
        stack_name: stack_name.map(str::to_owned),
        deployment_artifacts: deployment_artifacts.map(str::to_owned),
        created: now,
        updated: now,
        visible_from: now + millis(context.settings.read_after_create_delay),
    };
    let app = context.app(app_id)?;
    if app.environments.contains_key(name) {
        return Err(AwsError::bad_request(format!(
            "Backend environment {name} already exists for app {app_id}."
        )));
    }
    app.environments.insert(name.to_owned(), record.clone());
    Ok(answer(context, app_id, name, &record))
}

pub(super) fn get(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let (app_id, name) = names(context)?;
    let now = context.now;
    let record = context
        .app(app_id)?
        .environments
        .get(name)
        .filter(|record| !hidden(record.visible_from, now))
        .cloned()
        .ok_or_else(|| AwsError::environment_not_found(name))?;
    Ok(answer(context, app_id, name, &record))
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let (app_id, name) = names(context)?;
    let record = context
        .app(app_id)?
        .environments
        .remove(name)
        .ok_or_else(|| AwsError::environment_not_found(name))?;
    Ok(answer(context, app_id, name, &record))
}

pub(super) fn list(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    check_app_id(app_id)?;
    let query = &context.request.query;
    let only = query.get("environmentName");
    let length = paging::length(context.settings, query.integer("maxResults", 0, 50)?, 50);
    let after = paging::start(query.get("nextToken"))?;
    let (now, settings) = (context.now, context.settings);
    let (account, region) = (context.caller.account.clone(), context.region_name);
    let app = context.app(app_id)?;
    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let matching = |name: &String, record: &EnvironmentRecord| -> Option<Value> {
        (!hidden(record.visible_from, now)).then(|| environment_json(&account, region, app_id, name, record))
    };
    let mut found: Vec<(&String, Value)> = match only {
        Some(only) => app
            .environments
            .get_key_value(only)
            .and_then(|(name, record)| Some((name, matching(name, record)?)))
            .into_iter()
            .collect(),
        None => app
            .environments
            .range::<str, _>((from, Bound::Unbounded))
            .filter_map(|(name, record)| Some((name, matching(name, record)?)))
            .take(length + 1)
            .collect(),
    };
    let more = found.len() > length;
    found.truncate(length);
    let next = found.last().filter(|_| more).map(|(name, _)| name.as_str());
    let token = paging::token(settings, next);
    let records: Vec<Value> = found.into_iter().map(|(_, record)| record).collect();
    let mut body = json!({ "backendEnvironments": records });
    if let Some(token) = token {
        body["nextToken"] = json!(token);
    }
    Ok(Done::json(&body))
}

fn names<'a>(context: &Context<'a>) -> Result<(&'a str, &'a str), AwsError> {
    let app_id = context.app_id()?;
    check_app_id(app_id)?;
    let name = context.environment("environmentName")?;
    check_length("environmentName", name, 255)?;
    Ok((app_id, name))
}

fn answer(context: &Context<'_>, app_id: &str, name: &str, record: &EnvironmentRecord) -> Done {
    let environment = environment_json(&context.caller.account, context.region_name, app_id, name, record);
    Done::json(&json!({ "backendEnvironment": environment }))
}

fn environment_json(account: &str, region: &str, app_id: &str, name: &str, record: &EnvironmentRecord) -> Value {
    let mut body = json!({
        "backendEnvironmentArn":
            format!("arn:aws:amplify:{region}:{account}:apps/{app_id}/backendenvironments/{name}"),
        "environmentName": name,
        "createTime": seconds(record.created),
        "updateTime": seconds(record.updated),
    });
    if let Some(stack_name) = &record.stack_name {
        body["stackName"] = json!(stack_name);
    }
    if let Some(artifacts) = &record.deployment_artifacts {
        body["deploymentArtifacts"] = json!(artifacts);
    }
    body
}
