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
    time::Duration,
};

use aws_config::{Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_amplify::{operation::RequestId, types::BackendEnvironment};
use aws_sdk_amplifybackend::{operation::get_backend::GetBackendOutput, types as sdk};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use super::{
    Accepted, AppId, Backends, Creation, EnvironmentName, Found, JobId, Object, Record, ResourceName,
    errors::{self, Call, End, MESSAGE_LIMIT, Service, is_worn_out, reduce},
    object::{config_from_sdk, config_to_sdk, millis, record},
    probe::Probe,
};
use crate::{
    api::{ResourceConfig, conditions::truncated, text},
    clock::Clock,
    lifecycle::facts::{Class, Failure, JobSeen, Sent, says_exists},
    telemetry::metrics::{Metrics, class_name},
};

/// Most pages of one list: 1,000 jobs or 2,000 environments.
const MAX_PAGES: usize = 40;
/// How much of a name that AWS gives a message repeats, in bytes.
const SHOWN: usize = 64;
/// Longest word of AWS that is kept, in bytes: an operation's name or a status.
const WORD_LIMIT: usize = 256;
/// How much of a job's id is kept, in bytes. Wherever ids are compared, both are cut to it.
const JOB_ID_LIMIT: usize = 1024;

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
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    /// AWS has refused the session's credentials as expired or unknown: to this call.
    refused: Arc<AtomicBool>,
}

impl Observer {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Arc<Clock>) -> Self {
        Self {
            metrics,
            clock,
            refused: Arc::default(),
        }
    }

    pub(super) fn probe(&self) -> Probe {
        Probe::new(self.clock.clone())
    }

    /// Whether AWS has refused the credentials since this was asked last.
    pub(super) fn take_refused(&self) -> bool {
        self.refused.swap(false, Ordering::AcqRel)
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
                .and_then(|raw| raw.headers().request_id())
                .map(str::to_owned),
        ),
    };
    if result.as_ref().is_err_and(|error| is_worn_out(error.code())) {
        observer.refused.store(true, Ordering::Release);
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
        let probe = $observer.probe();
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
            request_id: output.request_id().map(str::to_owned),
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
            update_time: job.update_time,
            error: job.error,
        }
    }};
}

struct Reply {
    request_id: Option<String>,
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
    update_time: Option<String>,
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
pub struct Client(Result<Arc<Inner>, Arc<Failure>>);

#[derive(Debug)]
struct Inner {
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
    /// A client with the session's configuration, credentials and HTTP client. The region becomes part of the host that
    /// signed requests go to: it must be a known one.
    pub(super) fn new(base: &SdkConfig, region: &str, limits: Limits, observer: Observer) -> Self {
        let base = base.to_builder().region(Region::new(region.to_owned())).build();
        let (reads, writes) = (limits.reads(&base), limits.writes(&base));
        Self(Ok(Arc::new(Inner {
            backend_reads: aws_sdk_amplifybackend::Client::new(&reads),
            backend_writes: aws_sdk_amplifybackend::Client::new(&writes),
            amplify_reads: aws_sdk_amplify::Client::new(&reads),
            amplify_writes: aws_sdk_amplify::Client::new(&writes),
            observer,
        })))
    }

    /// A client that makes no call, because of this.
    pub(super) fn refusing(why: &str) -> Self {
        Self(Err(Arc::new(never(why))))
    }

    fn usable(&self) -> Result<&Inner, Failure> {
        match &self.0 {
            Ok(inner) => Ok(inner),
            Err(refused) => Err(Failure::clone(refused)),
        }
    }

    /// Whether the object is there, and as what. `None`: AWS says that it is not.
    pub async fn look(&self, object: &Object) -> Result<Option<Found>, Failure> {
        match object {
            Object::Backend { app, environment } => self.look_backend(app, environment).await,
            Object::Api {
                app,
                environment,
                resource,
            } => self.look_api(app, environment, resource).await,
            Object::Environment { app, environment } => self.look_environment(app, environment).await,
        }
    }

    async fn look_backend(&self, app: &AppId, environment: &EnvironmentName) -> Result<Option<Found>, Failure> {
        let Some(output) = absent_is_none(self.get_backend(app, Some(environment)).await)? else {
            return Ok(None);
        };
        let there = is_described(&output, environment)?;
        Ok(there.then_some(Found::Backend {
            app_name: output.app_name,
        }))
    }

    /// The backends of an app, as one answer lists them. An app that AWS does not know is `NotFound`; an answer without
    /// a list is `Unavailable`, never an empty list.
    pub async fn list_backends(&self, app: &AppId) -> Result<Backends, Failure> {
        let output = self.get_backend(app, None).await?;
        let environments = output
            .backend_environment_list
            .ok_or_else(|| unreadable(backend("GetBackend"), "the answer lists no environments"))?;
        Ok(Backends {
            app_name: output.app_name,
            environments: environments.into_iter().collect(),
        })
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
    ) -> Result<Option<Found>, Failure> {
        const CALL: Call = backend("GetBackendAPI");
        let inner = self.usable()?;
        let answer = send!(
            &inner.observer,
            CALL,
            inner
                .backend_reads
                .get_backend_api()
                .app_id(app.as_str())
                .backend_environment_name(environment.as_str())
                .resource_name(resource.as_str())
        );
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        same(CALL, "appId", output.app_id.as_deref(), app.as_str())?;
        same(
            CALL,
            "backendEnvironmentName",
            output.backend_environment_name.as_deref(),
            environment.as_str(),
        )?;
        same(CALL, "resourceName", output.resource_name.as_deref(), resource.as_str())?;
        no_error(CALL, output.error)?;
        if output.resource_name.is_none() && output.resource_config.is_none() {
            return Err(unreadable(CALL, "the answer describes no API"));
        }
        Ok(Some(Found::Api {
            config: output.resource_config.map(config_from_sdk).unwrap_or_default(),
        }))
    }

    async fn look_environment(&self, app: &AppId, environment: &EnvironmentName) -> Result<Option<Found>, Failure> {
        const CALL: Call = amplify("GetBackendEnvironment");
        let inner = self.usable()?;
        let answer = send!(
            &inner.observer,
            CALL,
            inner
                .amplify_reads
                .get_backend_environment()
                .app_id(app.as_str())
                .environment_name(environment.as_str())
        );
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        recorded(CALL, output.backend_environment, environment).map(|record| Some(Found::Environment(record)))
    }

    /// Sends the create, once.
    pub async fn create(&self, object: &Object, creation: &Creation) -> Result<Accepted, Failure> {
        let inner = self.usable()?;
        let app = object.app();
        let environment = object.environment();
        match creation {
            Creation::Backend {
                app_name,
                resource_name,
                resource_config,
            } => {
                const CALL: Call = backend("CreateBackend");
                let Object::Backend { .. } = object else {
                    return Err(mismatched(CALL));
                };
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
            Creation::Clone { source } => {
                const CALL: Call = backend("CloneBackend");
                let Object::Backend { .. } = object else {
                    return Err(mismatched(CALL));
                };
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
            Creation::Api { config } => {
                const CALL: Call = backend("CreateBackendAPI");
                let Object::Api { resource, .. } = object else {
                    return Err(mismatched(CALL));
                };
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
            Creation::Environment {
                stack_name,
                deployment_artifacts,
            } => {
                const CALL: Call = amplify("CreateBackendEnvironment");
                let Object::Environment { .. } = object else {
                    return Err(mismatched(CALL));
                };
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
            return Err(mismatched(CALL));
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
        let inner = self.usable()?;
        match object {
            Object::Backend { app, environment } => {
                const CALL: Call = backend("DeleteBackend");
                let answer = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .delete_backend()
                        .app_id(app.as_str())
                        .backend_environment_name(environment.as_str())
                );
                let Some(output) = absent_is_none(answer)? else {
                    return Ok(None);
                };
                accepted(CALL, app, &[environment], job_reply!(output)).map(Some)
            }
            Object::Api {
                app,
                environment,
                resource,
            } => {
                const CALL: Call = backend("DeleteBackendAPI");
                let answer = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .backend_writes
                        .delete_backend_api()
                        .app_id(app.as_str())
                        .backend_environment_name(environment.as_str())
                        .resource_name(resource.as_str())
                );
                let Some(output) = absent_is_none(answer)? else {
                    return Ok(None);
                };
                accepted(CALL, app, &[environment], job_reply!(output)).map(Some)
            }
            Object::Environment { app, environment } => {
                const CALL: Call = amplify("DeleteBackendEnvironment");
                let answer = send!(
                    &inner.observer,
                    CALL,
                    inner
                        .amplify_writes
                        .delete_backend_environment()
                        .app_id(app.as_str())
                        .environment_name(environment.as_str())
                );
                let Some(output) = absent_is_none(answer)? else {
                    return Ok(None);
                };
                recorded(CALL, output.backend_environment, environment).map(|record| Some(Accepted::Record(record)))
            }
        }
    }

    /// The environment's jobs, all pages. An environment that AWS does not know has none. A job to which AWS gives no id
    /// has an empty one; a job of another environment or app, should one be listed, is left out.
    ///
    /// After `MAX_PAGES` pages the rest is left out when the list runs from new to old, else it is `Unavailable`:
    /// nobody may take a list for complete that lacks the newest jobs.
    pub async fn list_jobs(&self, app: &AppId, environment: &EnvironmentName) -> Result<Vec<JobSeen>, Failure> {
        let jobs = self.jobs(app, environment).await?;
        Ok(jobs.items)
    }

    /// The jobs; whole, or cut after the newest ones.
    async fn jobs(&self, app: &AppId, environment: &EnvironmentName) -> Result<Listed<JobSeen>, Failure> {
        const CALL: Call = backend("ListBackendJobs");
        let inner = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                &inner.observer,
                CALL,
                inner
                    .backend_reads
                    .list_backend_jobs()
                    .app_id(app.as_str())
                    .backend_environment_name(environment.as_str())
                    .max_results(25)
                    .set_next_token(token)
            )?;
            if page.jobs.is_none() && page.request_id().is_none() {
                return Err(unreadable(CALL, "the answer has no list of jobs"));
            }
            let jobs = page.jobs.unwrap_or_default().into_iter();
            Ok((jobs.map(|job| job_seen!(job)).collect(), page.next_token))
        });
        let Some(described) = absent_is_none(pages.await)? else {
            return Ok(Listed {
                items: Vec::new(),
                whole: true,
            });
        };
        let whole = described.whole;
        let times: Vec<_> = described
            .items
            .iter()
            .map(|job| millis(job.create_time.as_deref()))
            .collect();
        let newest_first = !times.is_empty() && times.is_sorted_by(|a, b| a.is_some() && b.is_some() && a >= b);
        if !whole && !newest_first {
            return Err(too_long(CALL));
        }
        // The SDK makes an empty name of one that is missing.
        let is = |named: Option<&str>, asked: &str| named.is_none_or(|named| named.is_empty() || named == asked);
        // A clone is of two environments, and AWS does not say which of them its job names.
        let of_two = |job: &Described| job.operation.as_deref() == Some("CloneBackend");
        let is_here = |job: &Described| {
            let environments = is(job.environment.as_deref(), environment.as_str()) || of_two(job);
            is(job.app.as_deref(), app.as_str()) && environments
        };
        let here = described.items.into_iter().filter(is_here);
        Ok(Listed {
            items: here.map(|job| seen(environment, job)).collect(),
            whole,
        })
    }

    /// The job that has this id. `None`: AWS does not know it. An id that cannot stand in the path of a request is looked for
    /// in the list of jobs.
    pub async fn get_job(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
        id: &str,
    ) -> Result<Option<JobSeen>, Failure> {
        if let Ok(id) = id.parse() {
            return self.get_job_by_path(app, environment, &id).await;
        }
        let Some(id) = job_id(Some(id.to_owned())) else {
            return Err(never("there is no job id to ask AWS for"));
        };
        let jobs = self.jobs(app, environment).await?;
        let there = jobs.items.into_iter().find(|job| job.id == id);
        if there.is_none() && !jobs.whole {
            return Err(too_long(backend("ListBackendJobs")));
        }
        Ok(there)
    }

    async fn get_job_by_path(
        &self,
        app: &AppId,
        environment: &EnvironmentName,
        id: &JobId,
    ) -> Result<Option<JobSeen>, Failure> {
        const CALL: Call = backend("GetBackendJob");
        let inner = self.usable()?;
        let answer = send!(
            &inner.observer,
            CALL,
            inner
                .backend_reads
                .get_backend_job()
                .app_id(app.as_str())
                .backend_environment_name(environment.as_str())
                .job_id(id.as_str())
        );
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        let job = job_seen!(output);
        same(CALL, "appId", job.app.as_deref(), app.as_str())?;
        let named = job.environment.as_deref();
        same(CALL, "backendEnvironmentName", named, environment.as_str())?;
        same(CALL, "jobId", job_id(job.id.clone()).as_deref(), id.as_str())?;
        Ok(Some(JobSeen {
            id: id.as_str().to_owned(),
            ..seen(environment, job)
        }))
    }

    /// The app's environment records by name, all pages. An app that AWS does not know is `NotFound`.
    ///
    /// A list that cannot be read to its end is `Unavailable`, never a shorter list: what is not in it counts as gone.
    pub async fn list_environments(&self, app: &AppId) -> Result<BTreeMap<String, Record>, Failure> {
        const CALL: Call = amplify("ListBackendEnvironments");
        let inner = self.usable()?;
        let pages = paged(CALL, |token| async move {
            let page = send!(
                &inner.observer,
                CALL,
                inner
                    .amplify_reads
                    .list_backend_environments()
                    .app_id(app.as_str())
                    .max_results(50)
                    .set_next_token(token)
            )?;
            Ok((page.backend_environments, page.next_token))
        });
        let environments = pages.await?.whole(CALL)?;
        let records = environments
            .into_iter()
            .map(|environment| record(environment).ok_or_else(|| unreadable(CALL, "a time is out of range")));
        records.collect()
    }
}

/// The items of a list, page by page.
struct Listed<T> {
    items: Vec<T>,
    /// Whether these are all. If not, AWS has more than `MAX_PAGES` pages.
    whole: bool,
}

impl<T> Listed<T> {
    fn whole(self, call: Call) -> Result<Vec<T>, Failure> {
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
async fn paged<T, F>(call: Call, mut page: impl FnMut(Option<String>) -> F) -> Result<Listed<T>, Failure>
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

fn too_long(call: Call) -> Failure {
    unreadable(call, "the list has too many pages")
}

/// Of what AWS answered to a call itself: nothing else says that something is absent.
fn absent_is_none<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(there) => Ok(Some(there)),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// An answer that cannot be believed. Of a write it leaves open whether it was carried out.
fn unreadable(call: Call, why: &str) -> Failure {
    let message = format!("{}: {why}", call.operation);
    Failure {
        class: Class::Unavailable,
        sent: Sent::Unknown,
        message: text::shortened(&message, MESSAGE_LIMIT).into_owned(),
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
        (None, Some(names)) if names.iter().any(|name| name == environment.as_str()) => Ok(true),
        // What is not in the list is gone: only AWS itself may say so.
        (None, Some(_)) if output.request_id().is_none() => Err(unreadable(
            ASKED,
            "the answer lacks the environment, and AWS's request id",
        )),
        (None, Some(_)) => Ok(false),
        (None, None) => Err(unreadable(ASKED, "the answer names no environment")),
    }
}

/// A write that the object is not the target of.
fn mismatched(call: Call) -> Failure {
    never(&format!("{}: this belongs to another kind of object", call.operation))
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
                text::shortened(&text::clean(got), SHOWN),
                truncated(asked, SHOWN)
            ),
        )),
        _ => Ok(()),
    }
}

/// A read whose 200 carries an error text has said nothing of the object.
fn no_error(call: Call, error: Option<String>) -> Result<(), Failure> {
    job_error(error).map_or(Ok(()), |error| Err(unreadable(call, &error)))
}

/// The summary of AWS's text about a job; one that says nothing is none.
fn job_error(error: Option<String>) -> Option<String> {
    error
        .map(|error| text::summary(&error))
        .filter(|error| !error.is_empty())
}

/// A word of AWS, as it may go into a status and a log line; one that says nothing is none.
fn word(word: Option<String>) -> Option<String> {
    let word = word.map(|word| truncated(&text::clean(&word), WORD_LIMIT).to_owned());
    word.filter(|word| !word.is_empty())
}

/// A job's id, as it is recorded and compared; one that says nothing is none.
fn job_id(id: Option<String>) -> Option<String> {
    let id = id.map(|id| truncated(&text::clean(&id), JOB_ID_LIMIT).to_owned());
    id.filter(|id| !id.is_empty())
}

fn accepted(call: Call, app: &AppId, environments: &[&EnvironmentName], reply: Reply) -> Result<Accepted, Failure> {
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

fn recorded(call: Call, environment: Option<BackendEnvironment>, asked: &EnvironmentName) -> Result<Record, Failure> {
    let environment = environment.ok_or_else(|| unreadable(call, "the answer has no backendEnvironment"))?;
    let (name, record) = record(environment).ok_or_else(|| unreadable(call, "a time is out of range"))?;
    same(call, "environmentName", Some(&name), asked.as_str())?;
    Ok(record)
}

fn seen(environment: &EnvironmentName, job: Described) -> JobSeen {
    JobSeen {
        id: job_id(job.id).unwrap_or_default(),
        environment: environment.as_str().to_owned(),
        operation: word(job.operation).unwrap_or_default(),
        status: word(job.status).unwrap_or_default(),
        create_time: millis(job.create_time.as_deref()),
        update_time: millis(job.update_time.as_deref()),
        exists: job.error.as_deref().is_some_and(says_exists),
        error: job_error(job.error),
    }
}

// The calls of `amplify-operator import`, in a file of their own: its IAM policy differs from the operator's.
#[path = "inventory.rs"]
mod inventory;
pub use inventory::Described as BackendDescription;

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
