//! GraphQL APIs of a backend: all writes are jobs.

use serde_json::{Map, Value, json};

use super::{Context, Done};
use crate::{
    config::Echo,
    state::{App, Effect, hidden},
    wire::reply::AwsError,
};

pub(super) fn create(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let input = &context.request.input;
    let app_id = context.app_id()?;
    let environment = input.required("backendEnvironmentName")?;
    let resource = input.required("resourceName")?;
    let config = input
        .object("resourceConfig")?
        .ok_or_else(|| crate::wire::input::missing("resourceConfig"))?
        .clone();
    check(&config)?;
    let app = context.app(app_id)?;
    if app.blocked(&[environment]).is_none() {
        let backend = app
            .backends
            .get(environment)
            .ok_or_else(|| AwsError::environment_not_found(environment))?;
        if backend.apis.contains_key(resource) {
            return Err(AwsError::bad_request(format!(
                "API {resource} already exists in backend environment {environment}."
            )));
        }
    }
    let effect = Effect::PutApi {
        environment: environment.to_owned(),
        resource: resource.to_owned(),
        config,
    };
    context.start_in(app_id, environment, effect)
}

pub(super) fn get(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let resource = context.request.input.required("resourceName")?;
    let (now, settings) = (context.now, context.settings);
    let app = context.app(app_id)?;
    let api = app
        .visible_backend(environment, now)
        .ok_or_else(|| AwsError::environment_not_found(environment))?
        .apis
        .get(resource)
        .filter(|api| !hidden(api.visible_from, now))
        .ok_or_else(|| api_not_found(resource))?;
    Ok(Done::json(&json!({
        "appId": app_id,
        "backendEnvironmentName": environment,
        "resourceName": resource,
        "resourceConfig": echo(&api.config, &settings.echo),
    })))
}

pub(super) fn update(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let resource = context.request.input.required("resourceName")?;
    let config = context
        .request
        .input
        .object("resourceConfig")?
        .cloned()
        .unwrap_or_default();
    check(&config)?;
    require_api(context.app(app_id)?, environment, resource)?;
    let effect = Effect::UpdateApi {
        environment: environment.to_owned(),
        resource: resource.to_owned(),
        config,
    };
    context.start_in(app_id, environment, effect)
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let resource = context.request.input.required("resourceName")?;
    context.request.input.object("resourceConfig")?;
    require_api(context.app(app_id)?, environment, resource)?;
    let effect = Effect::DeleteApi {
        environment: environment.to_owned(),
        resource: resource.to_owned(),
    };
    context.start_in(app_id, environment, effect)
}

/// An API that must be there, unless a job runs that says more about it.
fn require_api(app: &App, environment: &str, resource: &str) -> Result<(), AwsError> {
    if app.blocked(&[environment]).is_some() {
        return Ok(());
    }
    let backend = app
        .backends
        .get(environment)
        .ok_or_else(|| AwsError::environment_not_found(environment))?;
    if backend.apis.contains_key(resource) {
        return Ok(());
    }
    Err(api_not_found(resource))
}

fn api_not_found(resource: &str) -> AwsError {
    AwsError::not_found(format!("API {resource} does not exist."))
}

/// The types and enumerations of the service model's `resourceConfig`.
fn check(config: &Map<String, Value>) -> Result<(), AwsError> {
    for (member, value) in config {
        match member.as_str() {
            "apiName" | "service" | "transformSchema" => text(member, value)?,
            "conflictResolution" => {
                for (member, value) in object(member, value)? {
                    if member == "resolutionStrategy" {
                        one_of(
                            member,
                            value,
                            &["OPTIMISTIC_CONCURRENCY", "LAMBDA", "AUTOMERGE", "NONE"],
                        )?;
                    }
                }
            }
            "defaultAuthType" => auth_type(member, value)?,
            "additionalAuthTypes" => {
                for value in value.as_array().ok_or_else(|| invalid(member))? {
                    auth_type(member, value)?;
                }
            }
            // What the model does not name is dropped by AWS; here a misspelt member must not pass for sent.
            _ => return Err(invalid(member)),
        }
    }
    Ok(())
}

fn auth_type(member: &str, value: &Value) -> Result<(), AwsError> {
    const MODES: &[&str] = &["API_KEY", "AWS_IAM", "AMAZON_COGNITO_USER_POOLS", "OPENID_CONNECT"];
    for (member, value) in object(member, value)? {
        match member.as_str() {
            "mode" => one_of(member, value, MODES)?,
            "settings" => {
                for (member, value) in object(member, value)? {
                    match member.as_str() {
                        "expirationTime" if value.is_number() => {}
                        "cognitoUserPoolId" | "description" | "openIDAuthTTL" | "openIDClientId" | "openIDIatTTL"
                        | "openIDIssueURL" | "openIDProviderName" => text(member, value)?,
                        _ => return Err(invalid(member)),
                    }
                }
            }
            _ => return Err(invalid(member)),
        }
    }
    Ok(())
}

fn text(member: &str, value: &Value) -> Result<(), AwsError> {
    if value.is_string() {
        Ok(())
    } else {
        Err(invalid(member))
    }
}

fn object<'a>(member: &str, value: &'a Value) -> Result<&'a Map<String, Value>, AwsError> {
    value.as_object().ok_or_else(|| invalid(member))
}

fn one_of(member: &str, value: &Value, words: &[&str]) -> Result<(), AwsError> {
    match value.as_str() {
        Some(word) if words.contains(&word) => Ok(()),
        _ => Err(invalid(member)),
    }
}

fn invalid(member: &str) -> AwsError {
    AwsError::bad_request(format!("Invalid value for resourceConfig member {member}."))
}

/// What `GetBackendAPI` answers for a stored configuration.
fn echo(stored: &Map<String, Value>, echo: &Echo) -> Value {
    let mut config = stored.clone();
    if echo.defaults {
        for (member, value) in [
            ("service", json!("AppSync")),
            ("conflictResolution", json!({ "resolutionStrategy": "NONE" })),
            (
                "defaultAuthType",
                json!({ "mode": "API_KEY", "settings": { "expirationTime": 7.0 } }),
            ),
            ("additionalAuthTypes", json!([])),
        ] {
            if !config.contains_key(member) {
                config.insert(member.to_owned(), value);
            }
        }
    }
    if echo.trailing_newline
        && let Some(Value::String(schema)) = config.get_mut("transformSchema")
        && !schema.ends_with('\n')
    {
        schema.push('\n');
    }
    for path in &echo.omit {
        omit(&mut config, path);
    }
    Value::Object(config)
}

fn omit(members: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => {
            members.remove(path);
        }
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = members.get_mut(first) {
                omit(inner, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(value: &Value) -> &Map<String, Value> {
        value.as_object().unwrap()
    }

    #[test]
    fn the_models_types_and_enumerations_are_enforced() {
        for (value, valid) in [
            (json!({}), true),
            (
                json!({ "apiName": "a", "service": "AppSync", "transformSchema": "type A" }),
                true,
            ),
            (
                json!({ "defaultAuthType": { "mode": "API_KEY", "settings": { "expirationTime": 7.5 } } }),
                true,
            ),
            (
                json!({ "additionalAuthTypes": [{ "mode": "OPENID_CONNECT", "settings": { "openIDAuthTTL": "1" } }] }),
                true,
            ),
            (
                json!({ "conflictResolution": { "resolutionStrategy": "LAMBDA" } }),
                true,
            ),
            (
                json!({ "conflictResolution": { "resolutionStrategy": "lambda" } }),
                false,
            ),
            (json!({ "defaultAuthType": { "mode": "KEY" } }), false),
            (
                json!({ "defaultAuthType": { "settings": { "openIdAuthTtl": "1" } } }),
                false,
            ),
            (
                json!({ "defaultAuthType": { "settings": { "expirationTime": "7" } } }),
                false,
            ),
            (json!({ "additionalAuthTypes": {} }), false),
            (json!({ "apiname": "a" }), false),
            (json!({ "apiName": 1 }), false),
        ] {
            assert_eq!(check(config(&value)).is_ok(), valid, "{value}");
        }
    }

    #[test]
    fn the_echo_is_what_was_stored_unless_told_otherwise() {
        let stored = json!({ "transformSchema": "type A", "defaultAuthType": { "mode": "API_KEY", "settings": {} } });
        let with = |options: Echo| echo(config(&stored), &options);
        assert_eq!(with(Echo::default()), stored);
        let omit = vec!["defaultAuthType.settings".into(), "service".into()];
        assert_eq!(
            with(Echo {
                omit,
                ..Echo::default()
            }),
            json!({ "transformSchema": "type A", "defaultAuthType": { "mode": "API_KEY" } })
        );
        assert_eq!(
            with(Echo {
                trailing_newline: true,
                ..Echo::default()
            })["transformSchema"],
            "type A\n"
        );
        let filled = with(Echo {
            defaults: true,
            ..Echo::default()
        });
        assert_eq!(filled["service"], "AppSync");
        assert_eq!(filled["defaultAuthType"], stored["defaultAuthType"]);
    }
}
