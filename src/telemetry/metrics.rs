//! Every metric of the program, with the labels that it may have. Labels come from closed lists: never a name, an app
//! or a namespace.

use std::{fmt, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{
    api::{Operation, conditions::Reason},
    lifecycle::facts::Class,
};

/// From a look that AWS answers at once to the limit of a call, in seconds.
const AWS_SECONDS: [f64; 12] = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 10.0, 20.0, 30.0];
/// From a pass that finds nothing to do to one that waits for AWS, in seconds.
const RECONCILE_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0,
];

/// The class as a label.
#[must_use]
pub const fn class_name(class: Class) -> &'static str {
    match class {
        Class::NotFound => "not_found",
        Class::BadRequest => "bad_request",
        Class::Pending => "pending",
        Class::Throttled => "throttled",
        Class::QuotaExceeded => "quota_exceeded",
        Class::AccessDenied => "access_denied",
        Class::Unavailable => "unavailable",
        Class::Failed => "failed",
        Class::AccountNotFound => "account_not_found",
        Class::AccountChanged => "account_changed",
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AwsRequest {
    service: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct AwsOperation {
    service: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct QueueClass {
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindClass {
    kind: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct KindReason {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct JobOperation {
    operation: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the program. One per process, shared.
pub struct Metrics {
    registry: Mutex<Registry>,
    aws_requests: Family<AwsRequest, Counter>,
    aws_duration: Histograms<AwsOperation>,
    token_queue: Family<QueueClass, Gauge>,
    token_waits: Family<QueueClass, Counter>,
    reconciles: Histograms<Kind>,
    reconcile_errors: Family<KindClass, Counter>,
    objects: Family<KindReason, Gauge>,
    jobs: Family<JobOperation, Gauge>,
    leader: Gauge,
    alive_tasks: Gauge,
    accounts_file_valid: Family<Vec<(String, String)>, Gauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The metrics of a program of this version, all at their start.
    #[must_use]
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("amplify_operator");
        let aws_requests = Family::default();
        registry.register(
            "aws_requests",
            "Calls to AWS by how they ended; retries of reads are part of their call",
            aws_requests.clone(),
        );
        let aws_duration = Histograms::new_with_constructor(aws_histogram as fn() -> Histogram);
        registry.register(
            "aws_request_duration_seconds",
            "How long calls to AWS took, retries included",
            aws_duration.clone(),
        );
        let token_queue = Family::default();
        registry.register(
            "aws_token_queue",
            "Objects that wait for a token to call AWS",
            token_queue.clone(),
        );
        let token_waits = Family::default();
        registry.register(
            "aws_token_waits",
            "How often an object had to wait for a token to call AWS",
            token_waits.clone(),
        );
        let reconciles = Histograms::new_with_constructor(reconcile_histogram as fn() -> Histogram);
        registry.register(
            "reconcile_duration_seconds",
            "How long one pass over one object took",
            reconciles.clone(),
        );
        let reconcile_errors = Family::default();
        registry.register(
            "reconcile_errors",
            "Passes over an object that ended in an error, by its class",
            reconcile_errors.clone(),
        );
        let objects = Family::default();
        registry.register(
            "objects",
            "Objects by the reason of their Ready condition",
            objects.clone(),
        );
        let jobs = Family::default();
        registry.register("jobs_running", "AWS jobs under way", jobs.clone());
        let leader = Gauge::default();
        registry.register(
            "leader",
            "1: this process is the one that acts; 0: it stands by. Without leader election always 1",
            leader.clone(),
        );
        let alive_tasks = Gauge::default();
        registry.register(
            "tokio_alive_tasks",
            "Tasks of the runtime that have not ended; a number that grows without end is a leak",
            alive_tasks.clone(),
        );
        let accounts_file_valid = Family::default();
        registry.register(
            "accounts_file_valid",
            "1: the accounts file is in force as it stands; 0: it cannot be used, and what it said before holds",
            accounts_file_valid.clone(),
        );
        registry.register(
            "build",
            "The program that runs",
            Info::new(vec![("version", version.to_owned())]),
        );
        Self {
            registry: Mutex::new(registry),
            aws_requests,
            aws_duration,
            token_queue,
            token_waits,
            reconciles,
            reconcile_errors,
            objects,
            jobs,
            leader,
            alive_tasks,
            accounts_file_valid,
        }
    }

    /// A call to AWS ended. `outcome` is `ok` or a [`class_name`].
    pub fn aws_request(
        &self,
        service: &'static str,
        operation: &'static str,
        outcome: &'static str,
        duration: Duration,
    ) {
        self.aws_requests
            .get_or_create(&AwsRequest {
                service,
                operation,
                outcome,
            })
            .inc();
        self.aws_duration
            .get_or_create(&AwsOperation { service, operation })
            .observe(duration.as_secs_f64());
    }

    /// How many objects wait for a token now, over all buckets.
    pub fn set_token_queue(&self, class: &'static str, waiting: usize) {
        self.token_queue
            .get_or_create(&QueueClass { class })
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// An object has to wait for a token.
    pub fn token_wait(&self, class: &'static str) {
        self.token_waits.get_or_create(&QueueClass { class }).inc();
    }

    /// A pass over an object of this kind ended.
    pub fn reconciled(&self, kind: &'static str, duration: Duration) {
        self.reconciles
            .get_or_create(&Kind { kind })
            .observe(duration.as_secs_f64());
    }

    /// A pass ended in an error: of AWS ([`class_name`]), or a word for another source such as `kubernetes`.
    pub fn reconcile_error(&self, kind: &'static str, class: &'static str) {
        self.reconcile_errors.get_or_create(&KindClass { kind, class }).inc();
    }

    /// How many objects of this kind have this reason now.
    pub fn set_objects(&self, kind: &'static str, reason: Reason, count: usize) {
        self.objects
            .get_or_create(&KindReason {
                kind,
                reason: reason.name(),
            })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many AWS jobs of this operation are under way now.
    pub fn set_jobs_running(&self, operation: Operation, count: usize) {
        self.jobs
            .get_or_create(&JobOperation {
                operation: operation.name(),
            })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether the accounts file is in force as it stands. Only shown where there is one.
    pub fn set_accounts_file_valid(&self, valid: bool) {
        self.accounts_file_valid
            .get_or_create(&Vec::new())
            .set(i64::from(valid));
    }

    /// Whether this process is the one that acts.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics in the `OpenMetrics` text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.alive_tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

fn aws_histogram() -> Histogram {
    Histogram::new(AWS_SECONDS)
}

fn reconcile_histogram() -> Histogram {
    Histogram::new(RECONCILE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_family_under_its_documented_name() {
        let metrics = Metrics::new("1.2.3");
        metrics.aws_request(
            "amplify",
            "GetBackend",
            class_name(Class::Throttled),
            Duration::from_millis(30),
        );
        metrics.set_token_queue("write", 3);
        metrics.token_wait("write");
        metrics.reconciled("AmplifyBackend", Duration::from_millis(2));
        metrics.reconcile_error("AmplifyBackend", "kubernetes");
        metrics.set_objects("AmplifyBackend", Reason::Available, 7);
        metrics.set_jobs_running(Operation::CreateBackendApi, 2);
        let without_accounts = metrics.encode().unwrap();
        assert!(!without_accounts.contains("accounts_file_valid "), "{without_accounts}");
        metrics.set_accounts_file_valid(true);
        metrics.set_leader(true);
        let text = metrics.encode().unwrap();
        for line in [
            "amplify_operator_accounts_file_valid 1",
            r#"amplify_operator_aws_requests_total{service="amplify",operation="GetBackend",outcome="throttled"} 1"#,
            r#"amplify_operator_aws_request_duration_seconds_bucket{le="0.05",service="amplify",operation="GetBackend"} 1"#,
            r#"amplify_operator_aws_token_queue{class="write"} 3"#,
            r#"amplify_operator_aws_token_waits_total{class="write"} 1"#,
            r#"amplify_operator_reconcile_duration_seconds_count{kind="AmplifyBackend"} 1"#,
            r#"amplify_operator_reconcile_errors_total{kind="AmplifyBackend",class="kubernetes"} 1"#,
            r#"amplify_operator_objects{kind="AmplifyBackend",reason="Available"} 7"#,
            r#"amplify_operator_jobs_running{operation="CreateBackendAPI"} 2"#,
            "amplify_operator_leader 1",
            r#"amplify_operator_build_info{version="1.2.3"} 1"#,
            "amplify_operator_tokio_alive_tasks 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
    #[tokio::test]
    async fn the_tasks_of_the_runtime_are_counted_when_the_text_is_made() {
        let metrics = Metrics::new("1.2.3");
        let _waits = tokio::spawn(std::future::pending::<()>());
        let text = metrics.encode().unwrap();
        assert!(text.contains("amplify_operator_tokio_alive_tasks 1\n"), "{text}");
    }
}
