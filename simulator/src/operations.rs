//! The effect of each operation on the state, and its answer. No I/O and no clock: state and time are arguments.

mod apps;
mod backends;
mod environments;
mod jobs;
mod paging;
mod resources;
mod sts;

use serde_json::{Value, json};

use crate::{
    config::Settings,
    faults::{Ending, Faults, Subject},
    identity::{Caller, Identities},
    ids::Ids,
    state::{App, Category, Effect, Job, NewJob, Region},
    wire::{
        input::{Input, Query, missing},
        model,
        operation::Operation,
        reply::{AwsError, Reply},
        route::Route,
    },
};

pub(crate) use sts::route as route_sts;

/// A parsed request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) route: Route,
    pub(crate) input: Input,
    pub(crate) query: Query,
}

impl Request {
    /// Returns the names for rules and history. Whether they are valid is checked later.
    pub(crate) fn names(&self) -> Names<'_> {
        let route = &self.route;
        let resource = self.input.peek("resourceName");
        let plain = Names {
            app: route.app.as_deref(),
            environment: route.environment.as_deref(),
            source_environment: None,
            resource,
        };
        match route.operation {
            Operation::CreateBackend => Names {
                app: self.input.peek("appId"),
                environment: self.input.peek("backendEnvironmentName"),
                ..plain
            },
            Operation::CloneBackend => Names {
                environment: self.input.peek("targetEnvironmentName"),
                source_environment: plain.environment,
                ..plain
            },
            Operation::GetBackend | Operation::CreateBackendApi | Operation::CreateBackendStorage => Names {
                environment: self.input.peek("backendEnvironmentName"),
                ..plain
            },
            Operation::CreateBackendEnvironment => Names {
                environment: self.input.peek("environmentName"),
                ..plain
            },
            // The caller's account says nothing about the role's account.
            Operation::AssumeRole => Names {
                resource: self.query.get("RoleArn"),
                ..plain
            },
            Operation::ListBackendEnvironments => Names {
                environment: self.query.get("environmentName"),
                ..plain
            },
            _ => plain,
        }
    }
}

/// The names in a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) app: Option<&'a str>,
    pub(crate) environment: Option<&'a str>,
    pub(crate) source_environment: Option<&'a str>,
    pub(crate) resource: Option<&'a str>,
}

/// An operation that was carried out.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    pub(crate) job_id: Option<String>,
}

impl Done {
    fn json(body: &Value) -> Self {
        Self {
            reply: Reply::json(body),
            job_id: None,
        }
    }
}

/// The state and settings that an operation works on.
pub(crate) struct Context<'a> {
    pub(crate) region: &'a mut Region,
    pub(crate) region_name: &'a str,
    pub(crate) identities: &'a mut Identities,
    pub(crate) settings: &'a Settings,
    pub(crate) ids: &'a mut Ids,
    pub(crate) caller: &'a Caller,
    pub(crate) request: &'a Request,
    pub(crate) faults: &'a mut Faults,
    pub(crate) subject: Subject<'a>,
    pub(crate) request_id: &'a str,
    pub(crate) now: i64,
    pub(crate) wall: i64,
}

/// Carries out a request.
pub(crate) fn perform(context: &mut Context<'_>) -> Result<Done, AwsError> {
    model::check(context.request.route.operation, &context.request.input)?;
    match context.request.route.operation {
        Operation::CreateBackend => backends::create(context),
        Operation::CloneBackend => backends::clone(context),
        Operation::GetBackend => backends::get(context),
        Operation::DeleteBackend => backends::delete(context),
        Operation::RemoveAllBackends => backends::remove_all(context),
        Operation::CreateBackendApi => resources::create(context, Category::Api),
        Operation::GetBackendApi => resources::get(context, Category::Api),
        Operation::UpdateBackendApi => resources::update(context, Category::Api),
        Operation::DeleteBackendApi => resources::delete(context, Category::Api),
        Operation::CreateBackendStorage => resources::create(context, Category::Storage),
        Operation::ImportBackendStorage => resources::import_bucket(context),
        Operation::GetBackendStorage => resources::get(context, Category::Storage),
        Operation::UpdateBackendStorage => resources::update(context, Category::Storage),
        Operation::DeleteBackendStorage => resources::delete(context, Category::Storage),
        Operation::GetBackendJob => jobs::get(context),
        Operation::ListBackendJobs => jobs::list(context),
        Operation::CreateBackendEnvironment => environments::create(context),
        Operation::GetBackendEnvironment => environments::get(context),
        Operation::ListBackendEnvironments => environments::list(context),
        Operation::DeleteBackendEnvironment => environments::delete(context),
        Operation::GetApp => apps::get(context),
        Operation::ListApps => apps::list(context),
        Operation::DeleteApp => apps::delete(context),
        Operation::AssumeRole => sts::assume_role(context),
        Operation::GetCallerIdentity => sts::get_caller_identity(context),
        Operation::GenerateBackendApiModels
        | Operation::GetBackendApiModels
        | Operation::UpdateBackendJob
        | Operation::Unknown => Err(AwsError::new(
            404,
            "UnknownOperationException",
            "The requested operation is not recognized by the service.",
        )),
    }
}

impl<'a> Context<'a> {
    fn app_id(&self) -> Result<&'a str, AwsError> {
        named("appId", self.request.route.app.as_deref())
    }

    fn environment(&self, member: &str) -> Result<&'a str, AwsError> {
        named(member, self.request.route.environment.as_deref())
    }

    /// Returns an app after carrying out everything that is due by now.
    fn app(&mut self, id: &str) -> Result<&mut App, AwsError> {
        if self.settings.auto_register_apps && !self.region.apps.contains_key(id) {
            let app = App::new(id, id, self.now);
            self.region.apps.insert(id.to_owned(), app);
        }
        let app = self
            .region
            .apps
            .get_mut(id)
            .ok_or_else(|| AwsError::app_not_found(id))?;
        app.settle(self.now);
        Ok(app)
    }

    /// Starts a job and answers as AWS does. Fails if a pending job excludes it.
    fn start(&mut self, app_id: &str, new: NewJob) -> Result<Done, AwsError> {
        self.start_to_fail(app_id, new, None)
    }

    /// Does the same as `start`. With a reason, the job fails for that reason.
    fn start_to_fail(&mut self, app_id: &str, new: NewJob, why: Option<String>) -> Result<Done, AwsError> {
        let (settings, now) = (self.settings, self.now);
        let environment = new.environment.clone();
        let app = self
            .region
            .apps
            .get_mut(app_id)
            .ok_or_else(|| AwsError::app_not_found(app_id))?;
        let mut holds = vec![new.environment.as_str()];
        holds.extend(new.also_holds.as_deref());
        if let Some(blocked) = app.blocked(&holds) {
            return Err(AwsError::pending_job("BadRequestException", app_id, blocked));
        }
        // A rule is used up only by a job that really starts.
        let mut script = self.faults.take_script(&self.subject);
        if let Some(error) = why {
            script.ending = Ending::Failed { error, applied: false };
        }
        let tells_little = self.request.route.operation.tells_little();
        let job = app.start_job(new, script, settings, self.ids, now);
        let mut body = json!({
            "appId": app_id,
            "backendEnvironmentName": environment,
            "jobId": job.id,
            "status": job.status,
        });
        if !tells_little {
            body["operation"] = json!(job.operation);
            if let Some(error) = &job.error {
                body["error"] = json!(error);
            }
        }
        Ok(Done {
            job_id: Some(job.id.clone()),
            ..Done::json(&body)
        })
    }

    /// Starts a job that is about one environment and is listed there.
    fn start_in(&mut self, app_id: &str, environment: &str, effect: Effect) -> Result<Done, AwsError> {
        self.start_in_to_fail(app_id, environment, effect, None)
    }

    /// Does the same as `start_in`. With a reason, the job fails for that reason.
    fn start_in_to_fail(
        &mut self,
        app_id: &str,
        environment: &str,
        effect: Effect,
        why: Option<String>,
    ) -> Result<Done, AwsError> {
        let new = NewJob {
            operation: self.request.route.operation.as_str().to_owned(),
            environment: environment.to_owned(),
            also_holds: None,
            effect,
        };
        self.start_to_fail(app_id, new, why)
    }
}

/// Returns a name from the path. The route guarantees that it is present.
fn named<'a>(member: &str, value: Option<&'a str>) -> Result<&'a str, AwsError> {
    value.filter(|name| !name.is_empty()).ok_or_else(|| missing(member))
}

/// Returns a job in the API's JSON form.
fn job_json(app: &str, environment: &str, job: &Job) -> Value {
    let mut body = json!({
        "appId": app,
        "backendEnvironmentName": environment,
        // Strings of milliseconds: AWS sends this, although the SDKs' documentation suggests another form.
        "createTime": job.created.to_string(),
        "jobId": job.id,
        "operation": job.operation,
        "status": job.status,
        "updateTime": job.updated.to_string(),
    });
    if let Some(error) = &job.error {
        body["error"] = json!(error);
    }
    body
}

/// Returns a time in the form of the `amplify` API: seconds with a fraction.
fn seconds(millis: i64) -> Value {
    // A double is exact to the millisecond for times of this century.
    #[expect(clippy::cast_precision_loss)]
    let seconds = millis as f64 / 1000.0;
    json!(seconds)
}
