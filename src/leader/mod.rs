//! Leader election (`--leader-elect`): of all processes that take part, at most one decides and writes.
//!
//! May do: read, create and update one Lease. `rules` decides; this file carries out the decisions.
//!
//! [`Leadership::holds`] keeps a process that is not the leader from writing. It is called in two places, each
//! immediately before a request leaves: by the client, for every request that changes something in Kubernetes, and by
//! the pass, for the writes to AWS. It compares the time of the last renewal with a clock, so it needs no message that
//! leadership is over: a process that was frozen finds out before it sends anything.
//!
//! There is no exception for recording a job that AWS has accepted. A late leader could overwrite the facts that the
//! next leader has recorded about the job. Nothing is lost: the intent of a create is stored before the create is sent,
//! and the next leader finds the job by this intent. An update or a delete is repeated only after a look.

mod rules;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, Request};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams, client::Body};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, buffer::BufferLayer, filter::FilterLayer, retry::RetryLayer};
use tracing::{debug, info, warn};

pub use rules::Loss;
use rules::{Action, Candidate, RETRY_PERIOD, Uptime};

use crate::{
    api::FIELD_MANAGER,
    apiserver::{Connector, Pages, Retries},
    clock::Clock,
    random::Random,
    telemetry::Metrics,
    telemetry::error::in_words,
};

/// The name of the Lease, unless `--lease-name` gives another. Operators with the same Lease act one at a time.
pub const LEASE: &str = "amplify-operator";
/// Time limit of one request for the lease: two requests fit between a failed renewal and the deadline.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Time limit for giving back the lease. If it is not given back, it expires.
const GIVE_BACK: Duration = Duration::from_secs(5);
/// How many requests may wait for the connection: as many as in the client's own queue.
const QUEUE: usize = 1024;

/// The right of this process to write.
#[derive(Debug)]
pub struct Leadership {
    clock: Arc<Clock>,
    /// End of leadership, in nanoseconds of the machine's uptime.
    until: AtomicU64,
}

impl Leadership {
    /// Makes the leadership of a process without election: it always leads.
    #[must_use]
    pub const fn sole(clock: Arc<Clock>) -> Self {
        let until = AtomicU64::new(u64::MAX);
        Self { clock, until }
    }

    /// Makes the leadership of a process that has not been elected yet.
    const fn none(clock: Arc<Clock>) -> Self {
        let until = AtomicU64::new(0);
        Self { clock, until }
    }

    /// Whether this process may send a write now.
    #[must_use]
    pub fn holds(&self) -> bool {
        nanos(self.clock.uptime()) < self.until.load(Ordering::Acquire)
    }

    fn set(&self, until: Option<Uptime>) {
        self.until.store(until.map_or(0, nanos), Ordering::Release);
    }

    /// Makes a client that refuses writes while this process does not lead.
    pub fn client(self: &Arc<Self>, connector: &Connector, random: Arc<Random>) -> kube::Result<Client> {
        let leadership = self.clone();
        let guard = FilterLayer::new(move |request: Request<Body>| {
            if is_read(request.method()) || leadership.holds() {
                Ok(request)
            } else {
                Err(BoxError::from("not sent: this process does not lead"))
            }
        });
        // Outside of the guard: the guard must check every retry.
        let retry = RetryLayer::new(Retries::new(random));
        let builder = connector.connect()?.with_layer(&guard);
        Ok(builder
            .with_layer(&BufferLayer::new(QUEUE))
            .with_layer(&retry)
            .with_layer(&Pages::default())
            .build())
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn nanos(time: Uptime) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The loss of leadership. The process must end: another process may already continue its work.
#[derive(Debug, thiserror::Error)]
#[error("leadership lost: Lease {name} in namespace {namespace} {loss}")]
pub struct Lost {
    name: String,
    namespace: String,
    loss: Loss,
}

/// The milestones of a run.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Cancelled when the stores of a leader are filled: the process takes part in the election.
    pub prepared: CancellationToken,
    /// Cancelled when this process leads: it may decide and write.
    pub lead: CancellationToken,
    /// Cancelled when all work is finished and no more begins: the lease is given back.
    pub finished: CancellationToken,
}

impl Turns {
    /// Leads without election, from `prepared` to `finished`.
    pub async fn alone(self, metrics: Arc<Metrics>) -> Result<(), Lost> {
        tokio::select! {
            biased;
            // The process may end before it is prepared: the stores may never be filled.
            () = self.finished.cancelled() => return Ok(()),
            () = self.prepared.cancelled() => {}
        }
        metrics.set_leader(true);
        self.lead.cancel();
        self.finished.cancelled().await;
        Ok(())
    }
}

/// This process's part in the election.
pub struct Election {
    api: Api<Lease>,
    name: String,
    namespace: String,
    candidate: Candidate,
    leadership: Arc<Leadership>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
    /// The last problem that was logged. Each problem is logged once.
    trouble: String,
}

impl Election {
    /// Makes the election for this Lease in this namespace, and this process's leadership.
    pub fn new(
        connector: &Connector,
        name: String,
        namespace: String,
        metrics: Arc<Metrics>,
        clock: Arc<Clock>,
        random: &Random,
    ) -> kube::Result<(Self, Arc<Leadership>)> {
        let leadership = Arc::new(Leadership::none(clock.clone()));
        let election = Self {
            // With its own connection, and without retries: retries would not respect the deadline.
            api: Api::namespaced(connector.plain()?, &namespace),
            name,
            namespace,
            candidate: Candidate::new(identity(random)),
            leadership: leadership.clone(),
            metrics,
            clock,
            trouble: String::new(),
        };
        Ok((election, leadership))
    }

    /// Takes part until the work is finished, and at most 5 s longer. Returns an error if leadership is lost.
    pub async fn run(self, turns: Turns) -> Result<(), Lost> {
        let finished = turns.finished.clone();
        let name = self.name.clone();
        let too_late = async {
            finished.cancelled().await;
            tokio::time::sleep(GIVE_BACK).await;
        };
        tokio::select! {
            biased;
            ended = self.take_part(turns) => ended,
            () = too_late => {
                info!(lease = name, "the lease was not released in time: it expires by itself");
                Ok(())
            }
        }
    }

    async fn take_part(mut self, turns: Turns) -> Result<(), Lost> {
        tokio::select! {
            biased;
            () = turns.finished.cancelled() => return Ok(()),
            () = turns.prepared.cancelled() => {}
        }
        info!(
            lease = self.name,
            namespace = self.namespace,
            "standing by until this process leads"
        );
        loop {
            let ending = turns.finished.is_cancelled();
            match self.candidate.next(self.clock.uptime(), self.clock.now(), ending) {
                Action::Look => {
                    if !self.look().await {
                        if ending {
                            return Ok(());
                        }
                        self.wait(RETRY_PERIOD, &turns).await;
                    }
                }
                Action::Write(lease) => {
                    self.write(*lease).await;
                    if self.leadership.holds() && !turns.lead.is_cancelled() {
                        info!(lease = self.name, namespace = self.namespace, "this process leads now");
                        self.metrics.set_leader(true);
                        turns.lead.cancel();
                    }
                }
                Action::Wait(until) => {
                    self.wait(until.saturating_sub(self.clock.uptime()), &turns).await;
                    self.candidate.waited();
                }
                Action::Release(lease) => {
                    self.leadership.set(None);
                    self.metrics.set_leader(false);
                    self.release(*lease).await;
                    return Ok(());
                }
                Action::Leave => return Ok(()),
                Action::GiveUp(loss) => {
                    self.leadership.set(None);
                    self.metrics.set_leader(false);
                    let Self { name, namespace, .. } = self;
                    return Err(Lost { name, namespace, loss });
                }
            }
        }
    }

    /// Reads the lease. Returns false if it could not be read.
    async fn look(&mut self) -> bool {
        match self.within_limit(self.api.get_opt(&self.name)).await {
            Ok(lease) => {
                self.candidate.saw(lease, self.clock.uptime());
                true
            }
            Err(error) => {
                self.complain("read", &error);
                false
            }
        }
    }

    async fn write(&mut self, lease: Lease) {
        let begun = self.clock.uptime();
        match self.put(lease).await {
            Ok(lease) => {
                self.candidate.wrote(lease, begun, self.clock.uptime());
                self.leadership.set(self.candidate.leads_until());
                self.trouble.clear();
            }
            Err(error) => {
                self.candidate.failed(begun);
                self.complain("write", &error);
            }
        }
    }

    async fn release(&mut self, lease: Lease) {
        match self.put(lease).await {
            Ok(_) => info!(lease = self.name, namespace = self.namespace, "lease released"),
            Err(error) => self.complain("release", &error),
        }
    }

    /// Writes the lease, on condition that it is still the version that was seen.
    async fn put(&self, mut lease: Lease) -> Result<Lease, String> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        if lease.metadata.resource_version.is_some() {
            self.within_limit(self.api.replace(&self.name, &params, &lease)).await
        } else {
            lease.metadata.name = Some(self.name.clone());
            self.within_limit(self.api.create(&params, &lease)).await
        }
    }

    /// Limits the time of a request: to [`REQUEST_LIMIT`], so that another one fits before the deadline, and to the
    /// deadline.
    async fn within_limit<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        let left = self
            .candidate
            .leads_until()
            .map_or(REQUEST_LIMIT, |until| until.saturating_sub(self.clock.uptime()));
        match tokio::time::timeout(left.min(REQUEST_LIMIT), request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(in_words(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Sleeps for this time, or until the work is finished.
    async fn wait(&self, time: Duration, turns: &Turns) {
        tokio::select! {
            biased;
            () = turns.finished.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    fn complain(&mut self, what: &str, error: &str) {
        let trouble = format!("cannot {what} the lease: {error}");
        if trouble == self.trouble {
            debug!(lease = self.name, namespace = self.namespace, "{trouble}");
        } else {
            warn!(lease = self.name, namespace = self.namespace, "{trouble}");
            self.trouble = trouble;
        }
    }
}

/// Returns the namespace of the Lease: the requested one, otherwise the pod's, otherwise that of the kubeconfig's
/// context.
#[must_use]
pub fn namespace(asked: Option<String>, pod: Option<String>, context: &str) -> String {
    [asked, pod]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .unwrap_or_else(|| context.to_owned())
}

/// Makes an identity: the pod's name, for people, and a random part that no other process has, not even an earlier
/// process of this pod.
fn identity(random: &Random) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let host = if host.is_empty() { FIELD_MANAGER } else { &host };
    format!("{host}_{:016x}{:016x}", random.bits(), random.bits())
}

#[cfg(test)]
mod tests {
    use kube::{
        Config,
        api::{DeleteParams, Patch, PatchParams},
    };
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Starts a server that answers each request with 200 and `{}`, or the first with 503. Also returns the methods of
    /// its requests.
    async fn server(first: u16) -> (Connector, Arc<parking_lot::Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let methods = Arc::<parking_lot::Mutex<Vec<String>>>::default();
        let asked = methods.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let status = if asked.lock().is_empty() { first } else { 200 };
                asked.lock().push(text.split(' ').next().unwrap().to_owned());
                let answer = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (Connector::of(Config::new(url.parse().unwrap())), methods)
    }

    #[tokio::test]
    async fn a_process_that_does_not_lead_reads_and_cannot_write() {
        let (connector, asked) = server(200).await;
        let clock = Arc::new(Clock::of_machine());
        let leadership = Arc::new(Leadership::none(clock.clone()));
        let client = leadership.client(&connector, Arc::new(Random::of_machine())).unwrap();
        let api: Api<Lease> = Api::namespaced(client, "default");
        let patch = Patch::Merge(json!({}));
        api.get("x").await.unwrap();
        let refusals = [
            api.create(&PostParams::default(), &Lease::default()).await.unwrap_err(),
            api.replace("x", &PostParams::default(), &Lease::default())
                .await
                .unwrap_err(),
            api.patch("x", &PatchParams::default(), &patch).await.unwrap_err(),
            api.delete("x", &DeleteParams::default()).await.map(drop).unwrap_err(),
        ];
        for refusal in refusals {
            assert!(refusal.to_string().contains("does not lead"), "{refusal}");
        }
        assert_eq!(*asked.lock(), ["GET"]);

        leadership.set(Some(clock.uptime() + Duration::from_mins(1)));
        api.patch("x", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(*asked.lock(), ["GET", "PATCH"]);

        leadership.set(Some(clock.uptime()));
        api.patch("x", &PatchParams::default(), &patch).await.unwrap_err();
        assert_eq!(*asked.lock(), ["GET", "PATCH"], "its time is over");
    }

    #[tokio::test]
    async fn a_retry_is_a_write_of_its_own() {
        let (connector, asked) = server(503).await;
        let clock = Arc::new(Clock::of_machine());
        let leadership = Arc::new(Leadership::none(clock.clone()));
        let client = leadership.client(&connector, Arc::new(Random::of_machine())).unwrap();
        let api: Api<Lease> = Api::namespaced(client, "default");
        leadership.set(Some(clock.uptime() + Duration::from_mins(1)));
        let patch = Patch::Merge(json!({}));
        api.patch("x", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(*asked.lock(), ["PATCH", "PATCH"], "sent again");
    }

    #[test]
    fn a_sole_process_always_leads_and_a_candidate_does_not_yet() {
        let clock = Arc::new(Clock::of_machine());
        assert!(Leadership::sole(clock.clone()).holds());
        assert!(!Leadership::none(clock).holds());
    }

    #[tokio::test]
    async fn who_takes_part_in_no_election_ends_though_it_was_never_prepared() {
        let turns = Turns::default();
        let metrics = Arc::new(Metrics::new("test"));
        turns.finished.cancel();
        let ended = tokio::time::timeout(REQUEST_LIMIT, turns.clone().alone(metrics)).await;
        ended.expect("it ends").unwrap();
        assert!(!turns.lead.is_cancelled());
    }

    #[test]
    fn two_identities_are_never_the_same() {
        let identity = || identity(&Random::of_machine());
        assert_ne!(identity(), identity());
    }

    #[test]
    fn the_lease_is_where_the_flag_or_the_pod_or_the_context_says() {
        let some = |name: &str| Some(name.to_owned());
        for (asked, pod, expected) in [
            (some("asked"), some("pod"), "asked"),
            (None, some("pod"), "pod"),
            (some(""), some(""), "context"),
            (None, None, "context"),
        ] {
            assert_eq!(namespace(asked, pod, "context"), expected);
        }
    }
}
