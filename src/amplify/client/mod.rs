//! A client for one session and region. The requests about a kind are in `kinds`.
//!
//! May do: HTTPS to AWS. Writes are sent once, reads up to three times; every call ends within 30 s. An answer is
//! believed only if it names the requested object.

pub(crate) mod answers;
mod apps;
mod jobs;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub use apps::AppSeen;

use answers::never;
use aws_config::{Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_amplify::operation::RequestId;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::Instant;

use super::{
    errors::{Call, is_worn_out, reduce},
    probe::Probe,
};
use crate::{
    clock::Clock,
    lifecycle::facts::Failure,
    telemetry::metrics::{Metrics, class_name},
};

/// The time limits of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The whole call, with retries and the waits between them.
    pub(super) operation: Duration,
    /// One attempt of a read.
    pub(super) attempt: Duration,
    /// Making a connection, TLS included.
    pub(super) connect: Duration,
    /// The first wait between two attempts of a read.
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
    /// Returns the configuration for reads: sent up to three times.
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

    /// Returns the configuration for writes: sent once. The SDK's default sends a create three times.
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

/// The observer of every call of a session.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    /// Whether AWS has refused the session's credentials as expired or unknown.
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

    pub(crate) fn probe(&self) -> Probe {
        Probe::new(self.clock.clone())
    }

    /// Whether AWS has refused the credentials since the last call of this function.
    pub(super) fn take_refused(&self) -> bool {
        self.refused.swap(false, Ordering::AcqRel)
    }
}

/// Measures and logs one call, and classifies its failure. Every AWS call of the program goes through this function.
pub(crate) async fn measured<O, E>(
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
        // Boxed: the SDK's futures have tens of kilobytes, and each await would hold one.
        $crate::amplify::measured($observer, $call, &probe, Box::pin(future)).await
    }};
}
pub(crate) use send;

/// A client of AWS Amplify in one region, with one session's credentials. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Result<Arc<Sdk>, Arc<Failure>>);

/// The SDK's clients. Calls are sent with [`send`].
#[derive(Debug)]
pub(crate) struct Sdk {
    /// With retries, for reads only.
    pub(crate) backend_reads: aws_sdk_amplifybackend::Client,
    /// Without retries.
    pub(crate) backend_writes: aws_sdk_amplifybackend::Client,
    /// With retries, for reads only.
    pub(crate) amplify_reads: aws_sdk_amplify::Client,
    /// Without retries.
    pub(crate) amplify_writes: aws_sdk_amplify::Client,
    observer: Observer,
}

impl Sdk {
    pub(crate) const fn observer(&self) -> &Observer {
        &self.observer
    }
}

impl Client {
    /// Makes a client with the session's configuration, credentials and HTTP client. The region becomes part of the
    /// host that receives signed requests, so it must be a known one.
    pub(super) fn new(base: &SdkConfig, region: &str, limits: Limits, observer: Observer) -> Self {
        let base = base.to_builder().region(Region::new(region.to_owned())).build();
        let (reads, writes) = (limits.reads(&base), limits.writes(&base));
        Self(Ok(Arc::new(Sdk {
            backend_reads: aws_sdk_amplifybackend::Client::new(&reads),
            backend_writes: aws_sdk_amplifybackend::Client::new(&writes),
            amplify_reads: aws_sdk_amplify::Client::new(&reads),
            amplify_writes: aws_sdk_amplify::Client::new(&writes),
            observer,
        })))
    }

    /// Makes a client that refuses every call, for this reason.
    pub(super) fn refusing(why: &str) -> Self {
        Self(Err(Arc::new(never(why))))
    }

    /// Returns the SDK's clients, or why no call is made.
    pub(crate) fn usable(&self) -> Result<&Sdk, Failure> {
        match &self.0 {
            Ok(sdk) => Ok(sdk),
            Err(refused) => Err(Failure::clone(refused)),
        }
    }
}
