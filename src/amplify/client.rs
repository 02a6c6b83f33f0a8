//! One client for one session and region: each method is one AWS operation, or the pages of one list.
//!
//! May do: HTTPS to AWS. Writes are sent once, reads up to three times; every call ends within 30 s. What an answer
//! says is believed only where it names what was asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aws_config::{Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_amplify::{operation::RequestId, types::BackendEnvironment};
use aws_sdk_amplifybackend::{operation::get_backend::GetBackendOutput, types as sdk};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::Timestamp;

use super::{
    Accepted, AppId, Creation, EnvironmentName, Found, JobId, Object, Record, ResourceName,
    errors::{Call, MESSAGE_LIMIT, Probe, Service, is_worn_out, reduce},
    object::{config_from_sdk, config_to_sdk, millis, record},
};
use crate::{
    api::{ResourceConfig, conditions::truncated},
    lifecycle::facts::{Class, Failure, JobSeen, Sent},
    telemetry::metrics::{Metrics, class_name},
};

/// Most pages of one list: 1,000 jobs or 2,000 environments.
const MAX_PAGES: usize = 40;
/// How much of a name that AWS gives a message repeats, in bytes.
const SHOWN: usize = 64;

/// The times of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The whole call, with its retries and the waits between them.
    pub(super) operation: Duration,
    /// One attempt of a read.
    pub(super) attempt: Duration,
    /// Making a connection, TLS included.
    pub(super) connect: Duration,
    /// The first wait between attempts of a read.
    pub(super) backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operation: Duration::from_secs(30),
            attempt: Duration::from_secs(9),
            connect: Duration::from_secs(4),
            backoff: Duration::from_secs(1),
        }
    }
}

impl Limits {
    /// For reads: sent up to three times.
    pub(super) fn reads(self, base: &SdkConfig) -> SdkConfig {
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(self.backoff);
        let timeouts = self.timeouts().operation_attempt_timeout(self.attempt);
        base.to_builder()
            .retry_config(retries)
            .timeout_config(timeouts.build())
            .build()
    }

    /// For writes: sent once. The SDK's default sends a create three times.
    fn writes(self, base: &SdkConfig) -> SdkConfig {
        base.to_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(self.timeouts().build())
            .build()
    }

    fn timeouts(self) -> aws_smithy_types::timeout::TimeoutConfigBuilder {
        TimeoutConfig::builder()
            .operation_timeout(self.operation)
            .connect_timeout(self.connect)
    }
}

/// Who is told of every call of a session.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) metrics: Arc<Metrics>,
    /// AWS has refused the session's credentials as expired or unknown.
    pub(super) worn_out: Arc<AtomicBool>,
}

impl Observer {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            worn_out: Arc::default(),
        }
    }

    pub(super) fn is_worn_out(&self) -> bool {
        self.worn_out.load(Ordering::Acquire)
    }
}

/// Measures and logs one call, and reads its failure. Every AWS call of the program goes through here.
pub(super) async fn measured<O, E>(
    observer: &Observer,
    call: Call,
    probe: &Probe,
    future: impl Future<Output = Result<O, SdkError<E, HttpResponse>>>,
) -> Result<O, Failure>
where
    O: RequestId,
    E: ProvideErrorMetadata + Error + 'static,
{
    let start = Instant::now();
    let result = future.await;
    let duration = start.elapsed();
    let (outcome, request_id) = match &result {
        Ok(output) => ("ok", output.request_id().map(str::to_owned)),
        Err(error) => (
            "",
            error
                .raw_response()
                .and_then(|raw| raw.headers().get("x-amzn-requestid"))
                .map(str::to_owned),
        ),
    };
    if result.as_ref().is_err_and(|error| is_worn_out(error.code())) {
        observer.worn_out.store(true, Ordering::Release);
    }
    let result = result.map_err(|error| reduce(call, probe, &error));
    let outcome = result
        .as_ref()
        .err()
        .map_or(outcome, |failure| class_name(failure.class));
    observer
        .metrics
        .aws_request(call.service.name(), call.operation, outcome, duration);
    tracing::debug!(
        service = call.service.name(),
        operation = call.operation,
        outcome,
        duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        request_id,
        "aws call"
    );
    result
}

/// Sends one operation of the SDK through [`measured`].
macro_rules! send {
    ($observer:expr, $call:expr, $operation:expr) => {{
        let probe = $crate::amplify::errors::Probe::default();
        let future = $operation.customize().interceptor(probe.clone()).send();
        // Boxed: the SDK's futures are tens of kilobytes, and each await would carry them.
        $crate::amplify::client::measured($observer, $call, &probe, Box::pin(future)).await
    }};
}
pub(super) use send;

/// The fields that all answers to backend writes have.
macro_rules! job_reply {
    ($output:expr) => {{
        let output = $output;
        Reply {
            app: output.app_id,
            environment: output.backend_environment_name,
            id: output.job_id,
            status: output.status,
            error: output.error,
        }
    }};
}

/// The fields of a job, in the list and in the answer of its own.
macro_rules! job_seen {
    ($job:expr) => {{
        let job = $job;
        Described {
            app: job.app_id,
            environment: job.backend_environment_name,
            id: job.job_id,
            operation: job.operation,
            status: job.status,
            create_time: job.create_time,
            error: job.error,
        }
    }};
}

struct Reply {
    app: Option<String>,
    environment: Option<String>,
    id: Option<String>,
    status: Option<String>,
    error: Option<String>,
}

struct Described {
    app: Option<String>,
    environment: Option<String>,
    id: Option<String>,
    operation: Option<String>,
    status: Option<String>,
    create_time: Option<String>,
    error: Option<String>,
}

const fn backend(operation: &'static str) -> Call {
    Call {
        service: Service::AmplifyBackend,
        operation,
    }
}

const fn amplify(operation: &'static str) -> Call {
    Call {
        service: Service::Amplify,
        operation,
    }
}

/// Talks to AWS Amplify in one region with one session's credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Why no call may be made.
    refused: Option<Failure>,
    /// With retries; for reads only.
    backend_reads: aws_sdk_amplifybackend::Client,
    /// Without retries.
    backend_writes: aws_sdk_amplifybackend::Client,
    /// With retries; for reads only.
    amplify_reads: aws_sdk_amplify::Client,
    /// Without retries.
    amplify_writes: aws_sdk_amplify::Client,
    observer: Observer,
}

impl Client {
    /// A client with the session's configuration, credentials and HTTP client.
    pub(super) fn new(base: &SdkConfig, region: &str, limits: Limits, observer: Observer) -> Self {
        let base = base.to_builder().region(Region::new(region.to_owned())).build();
        let (reads, writes) = (limits.reads(&base), limits.writes(&base));
        Self(Arc::new(Inner {
            // The region becomes part of the host that signed requests go to.
            refused: (!is_region(region)).then(|| Failure {
                class: Class::BadRequest,
                sent: Sent::Never,
                message: format!("{:?} is not an AWS region", truncated(region, SHOWN)),
            }),
            backend_reads: aws_sdk_amplifybackend::Client::new(&reads),
            backend_writes: aws_sdk_amplifybackend::Client::new(&writes),
            amplify_reads: aws_sdk_amplify::Client::new(&reads),
            amplify_writes: aws_sdk_amplify::Client::new(&writes),
            observer,
        }))
    }

    fn usable(&self) -> Result<&Inner, Failure> {
        self.0
            .refused
            .as_ref()
            .map_or(Ok(&*self.0), |refused| Err(refused.clone()))
    }

    /// Whether the object is there, and as what. `None`: AWS says that it is not.
    pub async fn look(&self, object: &Object) -> Result<Option<Found>, Failure> {
        let looked = match object {
            Object::Backend { app, environment } => self.look_backend(app, environment).await,
            Object::Api {
                app,
                environment,
                resource,
            } => self.look_api(app, environment, resource).await.map(Some),
            Object::Environment { app, environment } => self.look_environment(app, environment).await.map(Some),
        };
        absent_is_none(looked)
    }

    async fn look_backend(&self, app: &AppId, environment: &EnvironmentName) -> Result<Option<Found>, Failure> {
        let output = self.get_backend(app, Some(environment)).await?;
        let there = is_described(&output, environment)?;
        Ok(there.then_some(Found::Backend {
            app_name: output.app_name,
        }))
    }

    /// `GetBackend` for one environment, or without one for the list of the app's environments.
    async fn get_backend(
        &self,
        app: &AppId,
        environment: Option<&EnvironmentName>,
    ) -> Result<GetBackendOutput, Failure> {
        const CALL: Call = backend("GetBackend");
        let inner = self.usable()?;
        let output = send!(
            &inner.observer,
            CALL,
            inner
                .backend_reads
                .get_backend()
                .app_id(app.as_str())
                .set_backend_environment_name(environment.map(|name| name.as_str().to_owned()))
        )?;
        same(CALL, "appId", output.app_id.as_deref(), app.as_str())?;
        no_error(CALL, output.error.clone())?;
        Ok(output)
    }

    async fn look_api(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
        resource: &ResourceName,
    ) -> Result<Found, Failure> {
        const CALL: Call = backend("GetBackendAPI");
        let inner = self.usable()?;
        let output = send!(
            &inner.observer,
            CALL,
            inner
                .backend_reads
                .get_backend_api()
                .app_id(app.as_str())
                .backend_environment_name(environment.as_str())
                .resource_name(resource.as_str())
        )?;
        same(CALL, "appId", output.app_id.as_deref(), app.as_str())?;
        same(
            CALL,
            "backendEnvironmentName",
            output.backend_environment_name.as_deref(),
            environment.as_str(),
        )?;
        same(CALL, "resourceName", output.resource_name.as_deref(), resource.as_str())?;
        no_error(CALL, output.error)?;
        Ok(Found::Api {
            config: output.resource_config.map(config_from_sdk).unwrap_or_default(),
        })
    }

    async fn look_environment(&self, app: &AppId, environment: &EnvironmentName) -> Result<Found, Failure> {
        const CALL: Call = amplify("GetBackendEnvironment");
        let inner = self.usable()?;
        let output = send!(
            &inner.observer,
            CALL,
            inner
                .amplify_reads
                .get_backend_environment()
                .app_id(app.as_str())
                .environment_name(environment.as_str())
        )?;
        recorded(CALL, output.backend_environment, environment).map(Found::Environment)
    }

    /// Sends the create, once.
    pub async fn create(&self, object: &Object, creation: &Creation) -> Result<Accepted, Failure> {
        let inner = self.usable()?;
        let app = object.app();
        let environment = object.environment();
        match (object, creation) {
            (
                Object::Backend { .. },
                Creation::Backend {
                    app_name,
                    resource_name,
                    resource_config,
                },
            ) => {
                const CALL: Call = backend("CreateBackend");
                let config = resource_config.then(|| sdk::ResourceConfig::builder().build());
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .create_backend()
                        .app_id(app.as_str())
                        .app_name(app_name)
                        .backend_environment_name(environment.as_str())
                        .set_resource_name(resource_name.clone())
                        .set_resource_config(config)
                )?;
                accepted(CALL, app, &[environment], job_reply!(output))
            }
            (Object::Backend { .. }, Creation::Clone { source }) => {
                const CALL: Call = backend("CloneBackend");
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .clone_backend()
                        .app_id(app.as_str())
                        .backend_environment_name(source.as_str())
                        .target_environment_name(environment.as_str())
                )?;
                // AWS does not say which of the two its answer names.
                accepted(CALL, app, &[source, environment], job_reply!(output))
            }
            (Object::Api { resource, .. }, Creation::Api { config }) => {
                const CALL: Call = backend("CreateBackendAPI");
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .create_backend_api()
                        .app_id(app.as_str())
                        .backend_environment_name(environment.as_str())
                        .resource_name(resource.as_str())
                        .resource_config(config_to_sdk(config))
                )?;
                accepted(CALL, app, &[environment], job_reply!(output))
            }
            (
                Object::Environment { .. },
                Creation::Environment {
                    stack_name,
                    deployment_artifacts,
                },
            ) => {
                const CALL: Call = amplify("CreateBackendEnvironment");
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .amplify_writes
                        .create_backend_environment()
                        .app_id(app.as_str())
                        .environment_name(environment.as_str())
                        .set_stack_name(stack_name.clone())
                        .set_deployment_artifacts(deployment_artifacts.clone())
                )?;
                recorded(CALL, output.backend_environment, environment).map(Accepted::Record)
            }
            _ => Err(never("create: this creation belongs to another kind of object")),
        }
    }

    /// Sends `UpdateBackendAPI`, once. Only a GraphQL API can be updated.
    pub async fn update(&self, object: &Object, config: &ResourceConfig) -> Result<Accepted, Failure> {
        const CALL: Call = backend("UpdateBackendAPI");
        let inner = self.usable()?;
        let Object::Api {
            app,
            environment,
            resource,
        } = object
        else {
            return Err(never("update: AWS can change a GraphQL API only"));
        };
        let output = send!(
            &inner.observer,
            CALL,
            inner
                .backend_writes
                .update_backend_api()
                .app_id(app.as_str())
                .backend_environment_name(environment.as_str())
                .resource_name(resource.as_str())
                .resource_config(config_to_sdk(config))
        )?;
        accepted(CALL, app, &[environment], job_reply!(output))
    }

    /// Sends the delete, once. `None`: AWS says that there is nothing.
    pub async fn delete(&self, object: &Object) -> Result<Option<Accepted>, Failure> {
        absent_is_none(self.send_delete(object).await.map(Some))
    }

    async fn send_delete(&self, object: &Object) -> Result<Accepted, Failure> {
        let inner = self.usable()?;
        match object {
            Object::Backend { app, environment } => {
                const CALL: Call = backend("DeleteBackend");
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .delete_backend()
                        .app_id(app.as_str())
                        .backend_environment_name(environment.as_str())
                )?;
                accepted(CALL, app, &[environment], job_reply!(output))
            }
            Object::Api {
                app,
                environment,
                resource,
            } => {
                const CALL: Call = backend("DeleteBackendAPI");
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .delete_backend_api()
                        .app_id(app.as_str())
                        .backend_environment_name(environment.as_str())
                        .resource_name(resource.as_str())
                )?;
                accepted(CALL, app, &[environment], job_reply!(output))
            }
            Object::Environment { app, environment } => {
                const CALL: Call = amplify("DeleteBackendEnvironment");
                let output = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .amplify_writes
                        .delete_backend_environment()
                        .app_id(app.as_str())
                        .environment_name(environment.as_str())
                )?;
                recorded(CALL, output.backend_environment, environment).map(Accepted::Record)
            }
        }
    }

    /// The environment's jobs, all pages. An environment that AWS does not know has none.
    ///
    /// After `MAX_PAGES` pages the rest is left out when the list runs from new to old, else it is `Unavailable`:
    /// nobody may take a list for complete that lacks the newest jobs.
    pub async fn list_jobs(&self, app: &AppId, environment: &EnvironmentName) -> Result<Vec<JobSeen>, Failure> {
        const CALL: Call = backend("ListBackendJobs");
        let inner = self.usable()?;
        let mut jobs: Vec<JobSeen> = Vec::new();
        let mut tokens = Tokens::default();
        for _ in 0..MAX_PAGES {
            let page = send!(
                &inner.observer,
                CALL,
                inner
                    .backend_reads
                    .list_backend_jobs()
                    .app_id(app.as_str())
                    .backend_environment_name(environment.as_str())
                    .max_results(25)
                    .set_next_token(tokens.current())
            );
            let page = match page {
                Err(failure) if failure.class == Class::NotFound => return Ok(jobs),
                page => page?,
            };
            for job in page.jobs.unwrap_or_default() {
                jobs.push(seen(CALL, app, environment, None, job_seen!(job))?);
            }
            if !tokens.advance(page.next_token) {
                return Ok(jobs);
            }
        }
        let newest_first = jobs
            .is_sorted_by(|a, b| a.create_time.is_some() && b.create_time.is_some() && a.create_time >= b.create_time);
        if newest_first {
            Ok(jobs)
        } else {
            Err(unreadable(CALL, "the list has too many pages"))
        }
    }

    /// One job, and when AWS last changed it: of one that has ended, when it ended. `None`: AWS does not know it.
    pub async fn get_job(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
        id: &JobId,
    ) -> Result<Option<(JobSeen, Option<Timestamp>)>, Failure> {
        const CALL: Call = backend("GetBackendJob");
        let inner = self.usable()?;
        let output = send!(
            &inner.observer,
            CALL,
            inner
                .backend_reads
                .get_backend_job()
                .app_id(app.as_str())
                .backend_environment_name(environment.as_str())
                .job_id(id.as_str())
        );
        absent_is_none(output.and_then(|job| {
            let updated = millis(job.update_time.as_deref());
            let job = seen(CALL, app, environment, Some(id), job_seen!(job))?;
            Ok(Some((job, updated)))
        }))
    }

    /// The app's environment records by name, all pages. An app that AWS does not know is `NotFound`.
    ///
    /// A list that cannot be read to its end is `Unavailable`, never a shorter list: what is not in it counts as gone.
    pub async fn list_environments(&self, app: &AppId) -> Result<BTreeMap<String, Record>, Failure> {
        const CALL: Call = amplify("ListBackendEnvironments");
        let inner = self.usable()?;
        let mut records = BTreeMap::new();
        let mut tokens = Tokens::default();
        for _ in 0..MAX_PAGES {
            let page = send!(
                &inner.observer,
                CALL,
                inner
                    .amplify_reads
                    .list_backend_environments()
                    .app_id(app.as_str())
                    .max_results(50)
                    .set_next_token(tokens.current())
            )?;
            for environment in page.backend_environments {
                let entry = record(environment).ok_or_else(|| unreadable(CALL, "a time is out of range"))?;
                records.insert(entry.0, entry.1);
            }
            if page.next_token.is_none() {
                return Ok(records);
            }
            if !tokens.advance(page.next_token) {
                return Err(unreadable(CALL, "the list repeats a page"));
            }
        }
        Err(unreadable(CALL, "the list has too many pages"))
    }
}

/// The page tokens of a list. A token that comes again ends it.
#[derive(Default)]
struct Tokens {
    current: Option<String>,
    used: BTreeSet<String>,
}

impl Tokens {
    fn current(&self) -> Option<String> {
        self.current.clone()
    }

    /// Whether there is another page.
    fn advance(&mut self, next: Option<String>) -> bool {
        self.current = next.filter(|token| self.used.insert(token.clone()));
        self.current.is_some()
    }
}

/// Letters, digits and dashes: one label of a host name.
pub(super) fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn absent_is_none<T>(result: Result<Option<T>, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        result => result,
    }
}

/// An answer that cannot be believed. Of a write it leaves open whether it was carried out.
fn unreadable(call: Call, why: &str) -> Failure {
    let message = format!("{}: {why}", call.operation);
    Failure {
        class: Class::Unavailable,
        sent: Sent::Unknown,
        message: truncated(&message, MESSAGE_LIMIT).to_owned(),
    }
}

/// Whether an answer to `GetBackend` shows the environment that was asked for.
fn is_described(output: &GetBackendOutput, environment: &EnvironmentName) -> Result<bool, Failure> {
    const ASKED: Call = backend("GetBackend");
    match (&output.backend_environment_name, &output.backend_environment_list) {
        (Some(name), _) => {
            same(ASKED, "backendEnvironmentName", Some(name), environment.as_str())?;
            Ok(true)
        }
        (None, Some(names)) => Ok(names.iter().any(|name| name == environment.as_str())),
        (None, None) => Err(unreadable(ASKED, "the answer names no environment")),
    }
}

/// A call that the caller should not have made.
fn never(message: &str) -> Failure {
    Failure {
        class: Class::BadRequest,
        sent: Sent::Never,
        message: message.to_owned(),
    }
}

/// A name in an answer, where there is one, must be the name asked for.
fn same(call: Call, field: &str, got: Option<&str>, asked: &str) -> Result<(), Failure> {
    match got {
        Some(got) if got != asked => Err(unreadable(
            call,
            &format!(
                "the answer names {field} {:?} instead of {:?}",
                truncated(got, SHOWN),
                truncated(asked, SHOWN)
            ),
        )),
        _ => Ok(()),
    }
}

/// A read whose 200 carries an error text has said nothing of the object.
fn no_error(call: Call, error: Option<String>) -> Result<(), Failure> {
    cut(error).map_or(Ok(()), |error| Err(unreadable(call, &error)))
}

/// AWS's text, cut; empty is none.
fn cut(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
        .map(|text| truncated(&text, MESSAGE_LIMIT).to_owned())
}

fn accepted(call: Call, app: &AppId, environments: &[&EnvironmentName], reply: Reply) -> Result<Accepted, Failure> {
    same(call, "appId", reply.app.as_deref(), app.as_str())?;
    let named = reply.environment.as_deref();
    if !environments.iter().any(|asked| named == Some(asked.as_str())) {
        for asked in environments {
            same(call, "backendEnvironmentName", named, asked.as_str())?;
        }
    }
    let id = cut(reply.id);
    // Nobody can ask for it. The list of jobs may show another one.
    if id.as_deref().is_some_and(|id| id.parse::<JobId>().is_err()) {
        return Err(unreadable(call, "the answer's jobId is no job ID"));
    }
    Ok(Accepted::Job {
        id,
        environment: reply.environment,
        status: cut(reply.status),
        error: cut(reply.error),
    })
}

fn recorded(call: Call, environment: Option<BackendEnvironment>, asked: &EnvironmentName) -> Result<Record, Failure> {
    let environment = environment.ok_or_else(|| unreadable(call, "the answer has no backendEnvironment"))?;
    let (name, record) = record(environment).ok_or_else(|| unreadable(call, "a time is out of range"))?;
    same(call, "environmentName", Some(&name), asked.as_str())?;
    Ok(record)
}

fn seen(
    call: Call,
    app: &AppId,
    environment: &EnvironmentName,
    id: Option<&JobId>,
    job: Described,
) -> Result<JobSeen, Failure> {
    same(call, "appId", job.app.as_deref(), app.as_str())?;
    same(
        call,
        "backendEnvironmentName",
        job.environment.as_deref(),
        environment.as_str(),
    )?;
    if let Some(id) = id {
        same(call, "jobId", job.id.as_deref(), id.as_str())?;
    }
    Ok(JobSeen {
        id: cut(job.id)
            .or_else(|| id.map(|id| id.as_str().to_owned()))
            .ok_or_else(|| unreadable(call, "a job has no jobId"))?,
        environment: environment.as_str().to_owned(),
        operation: cut(job.operation).unwrap_or_default(),
        status: cut(job.status).unwrap_or_default(),
        create_time: millis(job.create_time.as_deref()),
        error: cut(job.error),
    })
}

// The calls of `amplify-operator import`, in a file of their own: its IAM policy differs from the operator's.
#[path = "inventory.rs"]
mod inventory;
pub use inventory::Described as BackendDescription;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
