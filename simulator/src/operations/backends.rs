//! Backends: all writes are jobs.

use serde_json::json;

use super::{Context, Done};
use crate::{
    config::CloneJobEnvironment,
    state::{Backend, Category, Effect, NewJob},
    wire::{operation::Operation, reply::AwsError},
};

pub(super) fn create(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let input = &context.request.input;
    let app_id = input.required("appId")?;
    let app_name = input.required("appName")?;
    let environment = input.required("backendEnvironmentName")?;
    input.object("resourceConfig")?;
    input.string("resourceName")?;
    let app = context.app(app_id)?;
    refuse_existing(app, environment)?;
    let effect = Effect::CreateBackend {
        environment: environment.to_owned(),
        app_name: app_name.to_owned(),
        has_auth: context.settings.new_backends_have_auth,
    };
    context.start_in(app_id, environment, effect)
}

pub(super) fn clone(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let source = context.environment("backendEnvironmentName")?;
    let target = context.request.input.required("targetEnvironmentName")?;
    let recorded = context.settings.clone_job_environment;
    let app = context.app(app_id)?;
    // A pending job is reported before a missing backend, here too.
    if app.blocked(&[source]).is_none() && !app.backends.contains_key(source) {
        return Err(AwsError::environment_not_found(source));
    }
    refuse_existing(app, target)?;
    let (environment, other) = match recorded {
        CloneJobEnvironment::Target => (target, source),
        CloneJobEnvironment::Source => (source, target),
    };
    let new = NewJob {
        operation: Operation::CloneBackend.as_str().to_owned(),
        environment: environment.to_owned(),
        also_holds: Some(other.to_owned()),
        effect: Effect::CloneBackend {
            source: source.to_owned(),
            target: target.to_owned(),
        },
    };
    context.start(app_id, new)
}

pub(super) fn get(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.request.input.string("backendEnvironmentName")?;
    let now = context.now;
    let region = context.region_name;
    let app = context.app(app_id)?;
    let body = match environment {
        None | Some("") => {
            let environments: Vec<&str> = app
                .backends
                .iter()
                .filter(|(_, backend)| !crate::state::hidden(backend.visible_from, now))
                .map(|(environment, _)| environment.as_str())
                .collect();
            json!({ "appId": app_id, "appName": app.name, "backendEnvironmentList": environments })
        }
        Some(environment) => {
            let backend = app
                .visible_backend(environment, now)
                .ok_or_else(|| AwsError::environment_not_found(environment))?;
            let stack = app
                .environments
                .get(environment)
                .and_then(|record| record.stack_name.as_deref());
            let mut body = json!({
                "appId": app_id,
                "appName": backend.app_name,
                "backendEnvironmentName": environment,
                "amplifyFeatureFlags": "{}",
            });
            let meta = backend.meta_config.clone();
            let meta = meta.unwrap_or_else(|| meta_config(app_id, region, environment, stack, backend));
            if !meta.is_empty() {
                body["amplifyMetaConfig"] = json!(meta);
            }
            body
        }
    };
    Ok(Done::json(&body))
}

/// Returns the project's amplify-meta.json with the contents of its categories, as a JSON string, as AWS sends it. It
/// contains secrets, as AWS's does.
fn meta_config(app_id: &str, region: &str, environment: &str, stack: Option<&str>, backend: &Backend) -> String {
    let mut meta = json!({
        "providers": { "awscloudformation": {
            "Region": region, "StackName": stack, "AmplifyAppId": app_id,
            "DeploymentBucketName": stack.map(|stack| format!("{stack}-deployment")),
        } },
    });
    for ((category, name), resource) in &backend.resources {
        let mut shown = match category {
            Category::Api => json!({ "service": "AppSync", "output": {
                "GraphQLAPIIdOutput": format!("{app_id}{name}"),
                "GraphQLAPIEndpointOutput": format!("https://{app_id}{name}.appsync-api.{region}.amazonaws.com/graphql"),
                "GraphQLAPIKeyOutput": format!("{SECRET}-api-key"),
            } }),
            Category::Storage => json!({ "service": "S3", "output": {
                "BucketName": super::resources::bucket(environment, resource), "Region": region,
            } }),
            Category::Auth => json!({ "service": "Cognito", "output": {
                "UserPoolId": format!("{region}_{name}"), "AppClientID": format!("{name}native"),
                "AppClientIDWeb": format!("{name}web"), "IdentityPoolId": format!("{region}:00000000-0000-4000-8000-000000000000"),
                "HostedUIDomain": format!("{name}-{environment}"), "AppClientSecret": format!("{SECRET}-client"),
            } }),
        };
        shown["providerPlugin"] = json!("awscloudformation");
        if resource.is_imported {
            shown["serviceType"] = json!("imported");
        }
        let category = match category {
            Category::Api => "api",
            Category::Storage => "storage",
            Category::Auth => "auth",
        };
        meta[category][name] = shown;
    }
    meta.to_string()
}

/// The prefix of the secrets in a backend's metadata. It must never appear in any output.
const SECRET: &str = "never-to-be-shown";

pub(super) fn delete(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let environment = context.environment("backendEnvironmentName")?;
    let app = context.app(app_id)?;
    // A pending job is reported first: a backend whose create job still runs is not missing.
    if app.blocked(&[environment]).is_none() && !app.backends.contains_key(environment) {
        return Err(AwsError::environment_not_found(environment));
    }
    let effect = Effect::DeleteBackend {
        environment: environment.to_owned(),
    };
    context.start_in(app_id, environment, effect)
}

/// Removes all backends at once, without regard to running jobs. No client waits for it; tests only check whether it
/// was called.
pub(super) fn remove_all(context: &mut Context<'_>) -> Result<Done, AwsError> {
    let app_id = context.app_id()?;
    let clean = context.request.input.boolean("cleanAmplifyApp")?.unwrap_or(false);
    let app = context.app(app_id)?;
    app.backends.clear();
    app.environments.clear();
    if clean {
        context.region.apps.remove(app_id);
    }
    let id = context.ids.uuid();
    let body = json!({ "appId": app_id, "jobId": id, "operation": "RemoveAllBackends", "status": "COMPLETED" });
    Ok(Done {
        job_id: Some(id),
        ..Done::json(&body)
    })
}

fn refuse_existing(app: &crate::state::App, environment: &str) -> Result<(), AwsError> {
    // A pending job is reported first, before the object that it is about to create.
    if app.blocked(&[environment]).is_some() {
        return Err(AwsError::pending_job("BadRequestException", &app.id, environment));
    }
    if app.backends.contains_key(environment) || app.environments.contains_key(environment) {
        return Err(AwsError::bad_request(format!(
            "Backend environment {environment} already exists for app {}.",
            app.id
        )));
    }
    Ok(())
}
