//! The resources of a backend (a GraphQL API, an S3 storage): all writes are jobs.

use serde_json::{Map, Value, json};

use super::{Context, Done};
use crate::{
    config::{Crowded, Echo},
    state::{App, Backend, Category, Effect, Resource, hidden},
    wire::reply::AwsError,
};

/// Returns the name of a category in messages.
const fn noun(category: Category) -> &'static str {
    match category {
        Category::Api => "API",
        Category::Storage => "Storage",
        Category::Auth => "Auth",
    }
}

pub(super) fn create(context: &mut Context<'_>, category: Category) -> Result<Done, AwsError> {
    let input = &context.request.input;
    let environment = input.required("backendEnvironmentName")?;
    let name = input.required("resourceName")?;
    let config = input.object("resourceConfig")?.cloned().unwrap_or_default();
    let resource = Resource {
        config,
        ..Resource::default()
    };
    put(context, environment, category, name.to_owned(), resource)
}

pub(super) fn import_bucket(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let environment = context.environment("backendEnvironmentName")?;
    let bucket = context.request.input.string("bucketName")?.map(str::to_owned);
    // The Amplify CLI forms the name in the same way: the project's name and eight hexadecimal digits.
    let id: String = context.ids.uuid().chars().take(8).collect();
    let app_id = context.app_id()?;
    let app = context.app(app_id)?;
    let project: String = app.name.chars().filter(char::is_ascii_alphanumeric).collect();
    let resource = Resource {
        config: json!({ "bucketName": bucket }).as_object().cloned().unwrap_or_default(),
        is_imported: true,
        visible_from: 0,
    };
    put(
        context,
        environment,
        Category::Storage,
        format!("{project}{id}"),
        resource,
    )
}

fn put(
    context: &mut Context<'_>,
    environment: &str,
    category: Category,
    name: String,
    resource: Resource,
) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let crowded = context.settings.crowded;
    let app = context.app(app_id)?;
    let mut why = None;
    // A pending job is reported before any other obstacle.
    if app.blocked(&[environment]).is_none() {
        let backend = app
            .backends
            .get(environment)
            .ok_or_else(|| AwsError::environment_not_found(environment))?;
        if backend.get(category, &name).is_some() {
            return Err(AwsError::bad_request(format!(
                "{} {name} already exists in backend environment {environment}.",
                noun(category)
            )));
        }
        why = obstacle(backend, category);
    }
    if let (Some(text), Crowded::Refused) = (&why, crowded) {
        return Err(AwsError::bad_request(text.clone()));
    }
    let effect = Effect::Put {
        environment: environment.to_owned(),
        key: (category, name),
        resource,
    };
    context.start_in_to_fail(app_id, environment, effect, why)
}

/// Returns why the Amplify CLI would not add a resource here, in its words.
fn obstacle(backend: &Backend, category: Category) -> Option<String> {
    let other = backend.of(category).next().map(|(name, _)| name);
    match category {
        Category::Api => other.map(|other| format!("GraphQL API {other} already exists in the project")),
        Category::Storage if other.is_some() => Some("Amazon S3 storage was already added to your project.".to_owned()),
        Category::Storage if backend.of(Category::Auth).next().is_none() => Some(
            "Cannot headlessly add storage resource without an existing auth resource. It can be added with \"amplify add auth\""
                .to_owned(),
        ),
        Category::Storage | Category::Auth => None,
    }
}

pub(super) fn get(context: &mut Context<'_>, category: Category) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let name = context.request.input.required("resourceName")?;
    let (now, settings) = (context.now, context.settings);
    let backend = context
        .app(app_id)?
        .visible_backend(environment, now)
        .ok_or_else(|| AwsError::environment_not_found(environment))?;
    let is_visible = |resource: &Resource| !hidden(resource.visible_from, now);
    let exact = backend.get(category, name).filter(|resource| is_visible(resource));
    let found = exact.map(|resource| (name, resource)).or_else(|| {
        let mut others = backend.of(category).filter(|(_, resource)| is_visible(resource));
        settings.any_name_shows_the_only_one.then(|| others.next()).flatten()
    });
    let (name, resource) = found.ok_or_else(|| not_found(category, name))?;
    let config = match category {
        Category::Storage => shown_storage(environment, resource),
        Category::Api | Category::Auth => echo(&resource.config, &settings.echo),
    };
    Ok(Done::json(&json!({
        "appId": app_id,
        "backendEnvironmentName": environment,
        "resourceName": name,
        "resourceConfig": config,
    })))
}

/// Returns a storage as AWS shows it: the name of its bucket has AWS's suffix.
fn shown_storage(environment: &str, resource: &Resource) -> Value {
    let mut config = resource.config.clone();
    config.insert("serviceName".to_owned(), json!("S3"));
    config.insert("imported".to_owned(), json!(resource.is_imported));
    config.insert("bucketName".to_owned(), json!(bucket(environment, resource)));
    Value::Object(config)
}

/// Returns the name of a storage's bucket.
pub(super) fn bucket(environment: &str, resource: &Resource) -> String {
    let given = resource.config.get("bucketName").and_then(Value::as_str);
    let given = given.unwrap_or("storage");
    if resource.is_imported {
        given.to_owned()
    } else {
        format!("{given}14558-{environment}")
    }
}

pub(super) fn update(context: &mut Context<'_>, category: Category) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let name = context.request.input.required("resourceName")?;
    let config = context.request.input.object("resourceConfig")?;
    let config = config.cloned().unwrap_or_default();
    let app = context.app(app_id)?;
    require(app, environment, category, name)?;
    let backend = app.backends.get(environment);
    if backend.is_some_and(|backend| backend.get(category, name).is_some_and(|it| it.is_imported)) {
        return Err(AwsError::bad_request(
            "Updating an imported storage resource is not supported.",
        ));
    }
    let effect = Effect::Update {
        environment: environment.to_owned(),
        key: (category, name.to_owned()),
        config,
    };
    context.start_in(app_id, environment, effect)
}

pub(super) fn delete(context: &mut Context<'_>, category: Category) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let name = context.request.input.required("resourceName")?;
    require(context.app(app_id)?, environment, category, name)?;
    let effect = Effect::Remove {
        environment: environment.to_owned(),
        key: (category, name.to_owned()),
    };
    context.start_in(app_id, environment, effect)
}

/// Fails if the resource does not exist. While a job is pending, it succeeds, because the pending job is the better
/// error.
fn require(app: &App, environment: &str, category: Category, name: &str) -> Result<(), AwsError> {
    if app.blocked(&[environment]).is_some() {
        return Ok(());
    }
    let backend = app
        .backends
        .get(environment)
        .ok_or_else(|| AwsError::environment_not_found(environment))?;
    match backend.get(category, name) {
        Some(_) => Ok(()),
        None => Err(not_found(category, name)),
    }
}

fn not_found(category: Category, name: &str) -> AwsError {
    AwsError::not_found(format!("{} {name} does not exist.", noun(category)))
}

/// Returns the answer of `GetBackendAPI` for a stored configuration.
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
