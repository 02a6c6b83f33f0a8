//! All metrics of the program, with their labels. Label values come from closed lists: never a name, an app, an account
//! or a namespace.
//!
//! Occurrences are counted when they happen. States are counted at each scrape, by a [`Census`] over the data in
//! memory: it adds no cost to a pass.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::atomic::AtomicU64,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use crate::{
    api::{
        Ledger, Operation,
        conditions::{self, READY, Reason, STALLED},
    },
    lifecycle::facts::Class,
};

/// The prefix of all names.
const PREFIX: &str = "amplify_operator";

/// Buckets from a look that AWS answers at once to the time limit of a call, in seconds.
const AWS_SECONDS: [f64; 12] = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 10.0, 20.0, 30.0];
/// Buckets from a pass with nothing to do to a pass that waits for AWS, in seconds.
const RECONCILE_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0,
];
/// Buckets from a job quicker than any of AWS's to a job that hangs, in seconds.
const JOB_SECONDS: [f64; 13] = [
    5.0, 15.0, 30.0, 60.0, 120.0, 240.0, 420.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0,
];
/// Buckets from an immediate poll to the first poll after the operator was down, in seconds.
const READY_SECONDS: [f64; 11] = [0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 1800.0];

/// Returns the class as a label.
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
struct Region {
    region: String,
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

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Standing {
    kind: &'static str,
    reason: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct JobOperation {
    operation: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct JobEnd {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Default, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Unlabelled {}

/// The states of resources, queues, watches and buckets, counted at a scrape.
#[derive(Debug, Default)]
pub struct Census {
    objects: BTreeMap<Standing, i64>,
    jobs: BTreeMap<&'static str, Jobs>,
    queues: BTreeMap<&'static str, usize>,
    failing: BTreeMap<&'static str, Duration>,
    events: BTreeMap<&'static str, Timestamp>,
    waiting: BTreeMap<&'static str, usize>,
    rates: BTreeMap<String, f64>,
}

/// How a resource is counted, by its status.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    reason: Option<Reason>,
    state: &'static str,
    /// The running job, and its start.
    job: Option<(Operation, Timestamp)>,
}

impl Counted {
    /// Returns how a resource without a status is counted.
    #[must_use]
    pub fn unseen() -> Self {
        Self::of(&Ledger::default())
    }

    /// Returns how a resource with this status is counted.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let reason = conditions::ready_reason(&ledger.conditions);
        let is = |condition| conditions::is_true(&ledger.conditions, condition);
        let job = ledger.job.as_ref().filter(|job| job.is_running());
        Self {
            reason,
            state: match reason {
                None => "new",
                Some(Reason::Suspended) => "suspended",
                Some(_) if is(READY) => "ready",
                Some(_) if is(STALLED) => "stalled",
                Some(_) => "working",
            },
            job: job.map(|job| (job.operation, job.request_time)),
        }
    }
}

#[derive(Debug, Default)]
struct Jobs {
    running: i64,
    oldest: Option<Timestamp>,
}

impl Census {
    /// Adds this kind, even if it has no resources: zero must differ from unknown.
    pub fn kind(&mut self, kind: &'static str, queued: usize) {
        let available = Standing {
            kind,
            reason: Reason::Available.name(),
            state: "ready",
        };
        self.objects.entry(available).or_default();
        *self.queues.entry(kind).or_default() += queued;
    }

    /// Counts one resource of this kind.
    pub fn object(&mut self, kind: &'static str, counted: &Counted) {
        let standing = Standing {
            kind,
            reason: counted.reason.map_or("None", Reason::name),
            state: counted.state,
        };
        *self.objects.entry(standing).or_default() += 1;
        if let Some((operation, since)) = counted.job {
            let jobs = self.jobs.entry(operation.name()).or_default();
            jobs.running += 1;
            jobs.oldest = jobs.oldest.into_iter().chain([since]).min();
        }
    }

    /// Adds a watch of this kind: for how long it has been failing, and when its last event came.
    pub fn watch(&mut self, kind: &'static str, failing: Duration, last_event: Option<Timestamp>) {
        let longest = self.failing.entry(kind).or_default();
        *longest = failing.max(*longest);
        if let Some(at) = last_event {
            let newest = self.events.entry(kind).or_insert(at);
            *newest = at.max(*newest);
        }
    }

    /// Adds this number of objects that wait for a token of this class.
    pub fn tokens(&mut self, class: &'static str, waiting: usize) {
        *self.waiting.entry(class).or_default() += waiting;
    }

    /// Adds the rate of an account in this region, in calls per second. The lowest rate of a region is shown.
    pub fn rate(&mut self, region: &str, rate: f64) {
        let fewest = self.rates.entry(region.to_owned()).or_insert(rate);
        *fewest = rate.min(*fewest);
    }
}

/// A part of the program that reports its state to a census.
type Source = Box<dyn Fn(&mut Census) + Send + Sync>;

/// The description of a family of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Described {
    /// Its name as it is scraped, without the suffixes of a histogram's series.
    pub name: &'static str,
    /// Its type.
    pub type_: &'static str,
    /// Its labels, in their order.
    pub labels: &'static [&'static str],
    /// The help text.
    pub help: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the program. One per process, shared.
pub struct Metrics {
    registry: Mutex<Registry>,
    described: Vec<Described>,
    sources: Mutex<Vec<Source>>,
    aws_requests: Family<AwsRequest, Counter>,
    aws_duration: Histograms<AwsOperation>,
    token_queue: Family<QueueClass, Gauge>,
    token_waits: Family<QueueClass, Counter>,
    token_rate: Family<Region, Gauge<f64, AtomicU64>>,
    reconciles: Histograms<Kind>,
    reconcile_errors: Family<KindClass, Counter>,
    locks_denied: Counter,
    events_left_out: Counter,
    queue: Family<Kind, Gauge>,
    objects: Family<Standing, Gauge>,
    jobs: Family<JobOperation, Gauge>,
    oldest_job: Family<JobOperation, Gauge>,
    job_duration: Histograms<JobEnd>,
    job_end_to_ready: Histograms<JobOperation>,
    watch_failing: Family<Kind, Gauge>,
    watch_event: Family<Kind, Gauge>,
    leader: Gauge,
    alive_tasks: Gauge,
    accounts_file_valid: Family<Unlabelled, Gauge>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A registry that keeps the description of each family.
struct Register {
    registry: Registry,
    described: Vec<Described>,
}

impl Register {
    /// Registers a family. `name` is the scraped name: the library adds the suffixes of counters and of the
    /// information.
    fn add<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        metric: M,
    ) -> M {
        self.put(name, labels, help, metric.clone());
        metric
    }

    fn put(&mut self, name: &'static str, labels: &'static [&'static str], help: &'static str, metric: impl Metric) {
        let stem = ["_total", "_info"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let type_ = match metric.metric_type() {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        self.described.push(Described {
            name,
            type_,
            labels,
            help,
        });
        self.registry.register(stem.unwrap_or(name), help, metric);
    }
}

impl Metrics {
    /// Makes the metrics of a program of this version, all at their initial values.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a list: one entry for each family")]
    pub fn new(version: &str) -> Self {
        let mut register = Register {
            registry: Registry::with_prefix(PREFIX),
            described: Vec::new(),
        };
        Self {
            aws_requests: register.add(
                "aws_requests_total",
                &["service", "operation", "outcome"],
                "Calls to AWS by their outcome; a read and its retries are one call",
                Family::default(),
            ),
            aws_duration: register.add(
                "aws_request_duration_seconds",
                &["service", "operation"],
                "How long calls to AWS took, retries included",
                Histograms::new_with_constructor(|| Histogram::new(AWS_SECONDS)),
            ),
            token_queue: register.add(
                "aws_token_queue",
                &["class"],
                "Objects that wait for a token to call AWS",
                Family::default(),
            ),
            token_waits: register.add(
                "aws_token_waits_total",
                &["class"],
                "How often an object had to wait for a token to call AWS",
                Family::default(),
            ),
            token_rate: register.add(
                "aws_token_rate",
                &["region"],
                "Calls to AWS per second that are allowed at present, for the account with the lowest rate; grows while objects wait, falls when AWS throttles",
                Family::default(),
            ),
            reconciles: register.add(
                "reconcile_duration_seconds",
                &["kind"],
                "How long one pass over one object took",
                Histograms::new_with_constructor(|| Histogram::new(RECONCILE_SECONDS)),
            ),
            reconcile_errors: register.add(
                "reconcile_errors_total",
                &["kind", "class"],
                "Errors in passes over objects, by class: an outcome of aws_requests_total, or kubernetes",
                Family::default(),
            ),
            queue: register.add(
                "queue_depth",
                &["kind"],
                "Objects that wait for the beginning of their pass; 0 on a standby",
                Family::default(),
            ),
            locks_denied: register.add(
                "migration_locks_denied_total",
                &[],
                "Reads of migration locks that AWS denied: without them the operator writes to environments that amplify gen2-migration has locked",
                Counter::default(),
            ),
            events_left_out: register.add(
                "events_left_out_total",
                &[],
                "Transitions without an Event, because too many came at once, of one object or of all",
                Counter::default(),
            ),
            objects: register.add(
                "objects",
                &["kind", "reason", "state"],
                "Objects by the reason of their Ready condition and by their state",
                Family::default(),
            ),
            jobs: register.add("jobs_running", &["operation"], "AWS jobs under way", Family::default()),
            oldest_job: register.add(
                "oldest_job_start_timestamp_seconds",
                &["operation"],
                "When the oldest AWS job under way was requested; absent while no job runs",
                Family::default(),
            ),
            job_duration: register.add(
                "job_duration_seconds",
                &["operation", "result"],
                "How long AWS jobs ran, by AWS's clock; of jobs whose end this process saw",
                Histograms::new_with_constructor(|| Histogram::new(JOB_SECONDS)),
            ),
            job_end_to_ready: register.add(
                "job_end_to_ready_seconds",
                &["operation"],
                "Time from the end of a job, by AWS's clock, until its object was Ready, by this machine's clock",
                Histograms::new_with_constructor(|| Histogram::new(READY_SECONDS)),
            ),
            watch_failing: register.add(
                "watch_failing_seconds",
                &["kind"],
                "For how long the watch of this kind has been failing; 0: it works",
                Family::default(),
            ),
            watch_event: register.add(
                "watch_last_event_timestamp_seconds",
                &["kind"],
                "When the watch of this kind last reported a change; an old time is normal while no object changes",
                Family::default(),
            ),
            leader: register.add(
                "leader",
                &[],
                "1: this process leads; 0: it stands by. Always 1 without leader election",
                Gauge::default(),
            ),
            alive_tasks: register.add(
                "tokio_alive_tasks",
                &[],
                "Tasks of the runtime that have not ended; a number that grows without end is a leak",
                Gauge::default(),
            ),
            accounts_file_valid: register.add(
                "accounts_file_valid",
                &[],
                "1: the accounts file is valid and in force; 0: it cannot be used, and its previous content stays in force; absent without an accounts file",
                Family::default(),
            ),
            described: {
                let info = Info::new(vec![("version", version.to_owned())]);
                register.put("build_info", &["version"], "The version of the running program", info);
                register.described
            },
            registry: Mutex::new(register.registry),
            sources: Mutex::default(),
        }
    }

    /// Returns the description of each family, in the order of the text output.
    #[must_use]
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// Calls this source for its state at each scrape.
    pub fn ask(&self, source: impl Fn(&mut Census) + Send + Sync + 'static) {
        self.sources.lock().push(Box::new(source));
    }

    /// Counts a finished call to AWS. `outcome` is `ok` or a [`class_name`].
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

    /// Counts an object that has to wait for a token.
    pub fn token_wait(&self, class: &'static str) {
        self.token_waits.get_or_create(&QueueClass { class }).inc();
    }

    /// Counts a finished pass over an object of this kind.
    pub fn reconciled(&self, kind: &'static str, duration: Duration) {
        self.reconciles
            .get_or_create(&Kind { kind })
            .observe(duration.as_secs_f64());
    }

    /// Counts a pass that ended in an error. `class` is AWS's ([`class_name`]), or names another source such as
    /// `kubernetes`.
    pub fn reconcile_error(&self, kind: &'static str, class: &'static str) {
        self.reconcile_errors.get_or_create(&KindClass { kind, class }).inc();
    }

    /// Counts a read of migration locks that AWS denied.
    pub fn lock_denied(&self) {
        self.locks_denied.inc();
    }

    /// Counts a transition without an Event, because there were too many Events of its object, or of all objects.
    pub fn event_left_out(&self) {
        self.events_left_out.inc();
    }

    /// Records how long an AWS job took.
    pub fn job_ended(&self, operation: Operation, result: &'static str, duration: Duration) {
        self.job_duration
            .get_or_create(&JobEnd {
                operation: operation.name(),
                result,
            })
            .observe(duration.as_secs_f64());
    }

    /// Records how long after the end of its job an object became Ready.
    pub fn ready_after_job(&self, operation: Operation, delay: Duration) {
        self.job_end_to_ready
            .get_or_create(&JobOperation {
                operation: operation.name(),
            })
            .observe(delay.as_secs_f64());
    }

    /// Sets whether the accounts file in its present form is in force. Shown only if there is such a file.
    pub fn set_accounts_file_valid(&self, valid: bool) {
        self.accounts_file_valid
            .get_or_create(&Unlabelled {})
            .set(i64::from(valid));
    }

    /// Sets whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Returns all metrics in the `OpenMetrics` text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks = runtime.metrics().num_alive_tasks();
            self.alive_tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        }
        // Locked until the end: two scrapes at a time must not mix their counts.
        let registry = self.registry.lock();
        let mut census = Census::default();
        for source in self.sources.lock().iter() {
            source(&mut census);
        }
        self.take(census);
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Replaces the gauges by this census. Series that the census does not have must disappear.
    fn take(&self, census: Census) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let is_asked = !census.queues.is_empty();
        self.objects.clear();
        for (standing, objects) in census.objects {
            self.objects.get_or_create(&standing).set(objects);
        }
        self.oldest_job.clear();
        for operation in Operation::ALL
            .iter()
            .filter(|operation| is_asked && operation.has_job())
        {
            let label = JobOperation {
                operation: operation.name(),
            };
            let jobs = census.jobs.get(operation.name());
            self.jobs.get_or_create(&label).set(jobs.map_or(0, |jobs| jobs.running));
            if let Some(oldest) = jobs.and_then(|jobs| jobs.oldest) {
                self.oldest_job.get_or_create(&label).set(oldest.as_second());
            }
        }
        for (kind, queued) in census.queues {
            self.queue.get_or_create(&Kind { kind }).set(count(queued));
        }
        for (kind, failing) in census.failing {
            let seconds = i64::try_from(failing.as_secs()).unwrap_or(i64::MAX);
            self.watch_failing.get_or_create(&Kind { kind }).set(seconds);
        }
        for (kind, at) in census.events {
            self.watch_event.get_or_create(&Kind { kind }).set(at.as_second());
        }
        for (class, waiting) in census.waiting {
            self.token_queue
                .get_or_create(&QueueClass { class })
                .set(count(waiting));
        }
        for (region, rate) in census.rates {
            self.token_rate.get_or_create(&Region { region }).set(rate);
        }
    }
}

/// Converts to Prometheus's own text format, for clients that do not accept `OpenMetrics`. In this format the suffix of
/// a counter is part of the family's name, and some words do not exist.
#[must_use]
pub fn classic(openmetrics: &str) -> String {
    let types: BTreeMap<_, _> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let (suffix, rest) = match (types.get(name), word, rest) {
                    (Some(&"counter"), _, rest) => ("_total", rest),
                    (Some(&"info"), "TYPE", _) => ("_info", "gauge"),
                    (Some(&"info"), _, rest) => ("_info", rest),
                    (_, _, rest) => ("", rest),
                };
                let _ = writeln!(text, "# {word} {name}{suffix} {rest}");
            }
            (Some("#"), ..) => {}
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::{Progress, state};

    fn metrics() -> Metrics {
        let metrics = Metrics::new("1.2.3");
        metrics.aws_request(
            "amplify",
            "GetBackend",
            class_name(Class::Throttled),
            Duration::from_millis(30),
        );
        metrics.token_wait("write");
        metrics.reconciled("AmplifyBackend", Duration::from_millis(2));
        metrics.reconcile_error("AmplifyBackend", "kubernetes");
        metrics.job_ended(Operation::CreateBackend, "completed", Duration::from_secs(40));
        metrics.ready_after_job(Operation::CreateBackend, Duration::from_secs(4));
        metrics.set_leader(true);
        metrics
    }

    fn ledger(ready: bool, progress: Progress, reason: Reason) -> Ledger {
        let now = Timestamp::UNIX_EPOCH;
        Ledger {
            conditions: state(&[], ready, progress, reason, "", 1, now),
            ..Ledger::default()
        }
    }

    #[test]
    fn the_text_has_every_family_under_its_described_name() {
        let metrics = metrics();
        let at = |second| Timestamp::from_second(second).unwrap();
        metrics.ask(move |census| {
            census.kind("AmplifyBackend", 5);
            for waiting in [1, 2] {
                census.tokens("write", waiting);
            }
            for rate in [9.0, 7.5, 25.0] {
                census.rate("eu-west-1", rate);
            }
            census.watch("AmplifyBackend", Duration::ZERO, Some(at(1_000)));
            census.watch("AmplifyBackend", Duration::from_secs(7), Some(at(900)));
            for second in [500, 400] {
                let mut running = ledger(false, Progress::Reconciling, Reason::Creating);
                running.job = Some(job(second));
                census.object("AmplifyBackend", &Counted::of(&running));
            }
        });
        let without_accounts = metrics.encode().unwrap();
        assert!(!without_accounts.contains("accounts_file_valid"), "{without_accounts}");
        metrics.set_accounts_file_valid(true);
        let text = metrics.encode().unwrap();
        for line in [
            "amplify_operator_accounts_file_valid{} 1",
            r#"amplify_operator_aws_requests_total{service="amplify",operation="GetBackend",outcome="throttled"} 1"#,
            r#"amplify_operator_aws_request_duration_seconds_bucket{le="0.05",service="amplify",operation="GetBackend"} 1"#,
            r#"amplify_operator_aws_token_queue{class="write"} 3"#,
            r#"amplify_operator_aws_token_waits_total{class="write"} 1"#,
            r#"amplify_operator_aws_token_rate{region="eu-west-1"} 7.5"#,
            r#"amplify_operator_reconcile_duration_seconds_count{kind="AmplifyBackend"} 1"#,
            r#"amplify_operator_reconcile_errors_total{kind="AmplifyBackend",class="kubernetes"} 1"#,
            r#"amplify_operator_queue_depth{kind="AmplifyBackend"} 5"#,
            r#"amplify_operator_objects{kind="AmplifyBackend",reason="Available",state="ready"} 0"#,
            r#"amplify_operator_objects{kind="AmplifyBackend",reason="Creating",state="working"} 2"#,
            r#"amplify_operator_jobs_running{operation="CreateBackendAPI"} 0"#,
            r#"amplify_operator_jobs_running{operation="CreateBackend"} 2"#,
            r#"amplify_operator_oldest_job_start_timestamp_seconds{operation="CreateBackend"} 400"#,
            r#"amplify_operator_job_duration_seconds_bucket{le="60.0",operation="CreateBackend",result="completed"} 1"#,
            r#"amplify_operator_job_end_to_ready_seconds_bucket{le="5.0",operation="CreateBackend"} 1"#,
            r#"amplify_operator_watch_failing_seconds{kind="AmplifyBackend"} 7"#,
            r#"amplify_operator_watch_last_event_timestamp_seconds{kind="AmplifyBackend"} 1000"#,
            "amplify_operator_leader 1",
            "amplify_operator_tokio_alive_tasks 0",
            r#"amplify_operator_build_info{version="1.2.3"} 1"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is missing in\n{text}");
        }
        let described = metrics
            .described()
            .iter()
            .map(|family| format!("{PREFIX}_{}", family.name));
        let text = classic(&text);
        let exported = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        assert_eq!(described.collect::<Vec<_>>(), exported.collect::<Vec<_>>());
    }

    fn job(second: i64) -> crate::api::Job {
        crate::api::Job {
            operation: Operation::CreateBackend,
            generation: 1,
            attempt: 1,
            failures: 0,
            config_hash: None,
            source_environment_name: None,
            request_time: Timestamp::from_second(second).unwrap(),
            after: None,
            unconfirmed: false,
            id: Some("j".to_owned()),
            backend_environment_name: None,
            status: None,
            finish_time: None,
            error: None,
        }
    }

    #[test]
    fn every_object_is_counted_once_and_only_while_it_stands_so() {
        let metrics = Metrics::new("1.2.3");
        let table = [
            (ledger(true, Progress::Settled, Reason::Available), "Available", "ready"),
            (
                ledger(true, Progress::Settled, Reason::Suspended),
                "Suspended",
                "suspended",
            ),
            (
                ledger(false, Progress::Reconciling, Reason::AccessDenied),
                "AccessDenied",
                "working",
            ),
            (
                ledger(false, Progress::Stalled, Reason::AccessDenied),
                "AccessDenied",
                "stalled",
            ),
            (Ledger::default(), "None", "new"),
        ];
        let ledgers = table.clone().map(|(ledger, ..)| ledger);
        let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_gone = gone.clone();
        metrics.ask(move |census| {
            census.kind("BackendApi", 0);
            if !is_gone.load(std::sync::atomic::Ordering::Relaxed) {
                for ledger in &ledgers {
                    census.object("BackendApi", &Counted::of(ledger));
                }
            }
        });
        for _ in 0..2 {
            let text = metrics.encode().unwrap();
            for (_, reason, state) in &table {
                let line =
                    format!(r#"amplify_operator_objects{{kind="BackendApi",reason="{reason}",state="{state}"}} 1"#);
                assert!(text.contains(&line), "{line} is missing in\n{text}");
            }
        }
        gone.store(true, std::sync::atomic::Ordering::Relaxed);
        let text = metrics.encode().unwrap();
        assert_eq!(text.matches("amplify_operator_objects{").count(), 1, "{text}");
    }

    #[test]
    fn the_classic_text_names_counters_and_information_as_their_series_are_named() {
        let text = classic(&metrics().encode().unwrap());
        for line in [
            "# TYPE amplify_operator_aws_requests_total counter",
            "# TYPE amplify_operator_build_info gauge",
            "# HELP amplify_operator_build_info The version of the running program.",
            "# TYPE amplify_operator_leader gauge",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }

    #[tokio::test]
    async fn the_tasks_of_the_runtime_are_counted_when_the_text_is_made() {
        let metrics = Metrics::new("1.2.3");
        let _waits = tokio::spawn(std::future::pending::<()>());
        let text = metrics.encode().unwrap();
        assert!(text.contains("amplify_operator_tokio_alive_tasks 1\n"), "{text}");
    }
}
