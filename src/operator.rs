//! The wiring: settings and a [`World`] → one loop per kind and namespace, and one token that ends all of them.
//!
//! [`run`] makes the [`World`] from the machine and passes it to [`operate`]. A simulation passes another one.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{
    StreamExt as _,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use kube::{Api, Client, api::ApiResource};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    amplify::{Accounts, Base, Route, Sessions},
    api::{self, KindName, kinds::kinds},
    apiserver::{Connector, NoAccess},
    cli::Run,
    clock::Clock,
    controller::{self, Context, Events, Listings, Lists, Parts, Store, Tokens, accounts::AccountsFile},
    kinds::Remote,
    leader::{self, Election, Leadership, Lost, Turns},
    lifecycle::Settings,
    proxy::Proxies,
    random::Random,
    telemetry::error::in_words,
    telemetry::{self, Health, Metrics},
};

/// How long the API server may answer no watch before `/livez` fails.
const WATCH_LIMIT: Duration = Duration::from_mins(10);
/// How long a namespace whose lists have been read waits for the other namespaces. Reason: resources in several
/// namespaces may describe objects in one AWS environment. A namespace whose lists are refused delays no other. A list
/// that fails otherwise is retried within 90 seconds. A longer silence of the API server affects all namespaces alike.
const OTHERS: Duration = Duration::from_mins(2);
/// How long to wait before the next check for missing CustomResourceDefinitions.
const CRD_RETRY: Duration = Duration::from_secs(5);

/// How long the health server may take to finish its open answers at the end.
const SERVED: Duration = Duration::from_secs(1);

/// Everything the operator takes from its surroundings.
pub struct World {
    /// The API server.
    pub apiserver: Connector,
    /// AWS. Polled only after the API server has answered.
    pub aws: BoxFuture<'static, Base>,
    /// The clock.
    pub clock: Arc<Clock>,
    /// The source of randomness.
    pub random: Arc<Random>,
    /// The accounts file, and its content when it was opened.
    pub accounts: Option<(AccountsFile, Accounts)>,
    /// The metrics that the operator feeds.
    pub metrics: Arc<Metrics>,
    /// The health state that the operator reports to.
    pub health: Arc<Health>,
    /// Stops the operator. Work in flight is finished first.
    pub shutdown: CancellationToken,
}

impl World {
    /// Makes the world of the machine that this process runs on. Reads files: a read may hang.
    async fn of_machine(settings: &Run, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let accounts = match settings.accounts.clone() {
            Some(path) => {
                let file = AccountsFile::at(path).allowing(settings.allowed_regions());
                Some(file.open().await.map_err(anyhow::Error::msg)?)
            }
            None => None,
        };
        let proxies = Arc::new(Proxies::from_env()?);
        let route = Route::of_machine(proxies.clone(), settings.allow_plain_http).await?;
        let apiserver = Connector::infer(&proxies).await.map_err(|error| match error {
            NoAccess::Config(error) => no_way(&error),
            error => error.into(),
        })?;
        Ok(Self {
            accounts,
            apiserver,
            aws: Box::pin(Base::load(route)),
            clock: Arc::new(Clock::of_machine()),
            random: Arc::new(Random::of_machine()),
            metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))),
            health: Arc::new(Health::new(WATCH_LIMIT)),
            shutdown,
        })
    }
}

/// Runs the operator until SIGTERM or Ctrl-C, then finishes the work in flight.
pub async fn run(settings: Run) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let listener = telemetry::server::listen(settings.listen).map_err(|error| {
        let address = settings.listen;
        anyhow::anyhow!("cannot listen on {address}: {error}. Choose another address with --listen")
    })?;
    let listen = listener.local_addr().context("no listen address")?;
    let Some((settings, world)) = prepared(settings, shutdown).await? else {
        return Ok(());
    };
    // Probes are answered until the work in flight is finished.
    let served = CancellationToken::new();
    let serving = tokio::spawn(telemetry::server::serve(
        listener,
        world.health.clone(),
        world.metrics.clone(),
        served.clone(),
    ));
    info!(%listen, "probes and metrics are served");
    operate(settings, world).await?;
    served.cancel();
    // A client that keeps its connection open must not keep the process alive.
    if let Ok(ended) = timeout(SERVED, serving).await {
        ended.context("the health server failed")?;
    }
    info!("operator ended");
    Ok(())
}

/// Makes the world of the machine. `None`: the shutdown came first.
///
/// On a thread of its own: a file that hangs (a named pipe, a dead network file system) blocks its thread, and the
/// signal must still end the process.
async fn prepared(settings: Run, shutdown: CancellationToken) -> anyhow::Result<Option<(Run, World)>> {
    let runtime = tokio::runtime::Handle::current();
    let stopped = shutdown.clone();
    let making = tokio::task::spawn_blocking(move || {
        let world = runtime.block_on(World::of_machine(&settings, shutdown))?;
        anyhow::Ok((settings, world))
    });
    let made = stopped.run_until_cancelled(making).await;
    made.map(|made| made.context("the start failed")?).transpose()
}

/// Runs the operator in this world until the shutdown, then finishes the work in flight.
pub async fn operate(settings: Run, world: World) -> anyhow::Result<()> {
    let World {
        apiserver,
        aws,
        clock,
        random,
        accounts,
        metrics,
        health,
        shutdown,
    } = world;
    let (accounts_file, accounts) = accounts.unzip();
    let turns = Turns::default();
    let (leadership, mut turn) =
        take_part(&settings, &apiserver, &metrics, &clock, &random, &turns).map_err(|error| no_way(&error))?;
    let client = leadership
        .client(&apiserver, random.clone())
        .map_err(|error| no_way(&error))?;
    let namespaces = settings.namespaces();
    let found = shutdown.run_until_cancelled(wait_for_crds(&client, &namespaces)).await;
    if found.is_none() {
        return Ok(());
    }
    let allowed_regions = settings.allowed_regions();
    let Some(aws) = shutdown.run_until_cancelled(aws).await else {
        return Ok(());
    };
    let sessions = Sessions::new(aws, metrics.clone(), clock.clone(), accounts, allowed_regions);
    let (events, write_events) = Events::new(client.clone(), clock.clone(), metrics.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(write_events);
    let context = Context::new(Parts {
        client,
        settings: decisions(&settings),
        sessions,
        concurrency: usize::from(settings.concurrency),
        throttle: tokens(&settings),
        events,
        metrics,
        health,
        leadership,
        shutdown: shutdown.clone(),
        random,
    });
    if let Some(file) = accounts_file {
        tasks.spawn(controller::accounts::follow(context.clone(), file));
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        namespaces = if namespaces.is_empty() {
            "all".to_owned()
        } else {
            namespaces.join(", ")
        },
        "operator starts"
    );
    // After an error nothing is waited for and the lease is not given back: it expires when no call can be in flight
    // any more.
    tokio::select! {
        biased;
        lost = &mut turn => {
            lost.context("the election failed")??;
            anyhow::bail!("the election ended by itself");
        }
        ended = control(&context, namespaces, settings.leader_elect, &turns, &shutdown) => ended?,
    }
    drop(context);
    tasks.shutdown().await;
    turns.finished.cancel();
    turn.await.context("the election failed")??;
    Ok(())
}

/// Returns the settings that decisions depend on.
fn decisions(settings: &Run) -> Settings {
    Settings {
        drift_interval: settings.drift_interval,
        job_timeout: settings.job_timeout,
        max_job_attempts: i64::from(settings.max_job_attempts),
        outcome_grace: settings.outcome_grace,
        absence_grace: settings.absence_grace,
    }
}

/// Returns the settings of the token buckets.
fn tokens(settings: &Run) -> Tokens {
    Tokens {
        // An account and region that hangs leaves three quarters of the places to the others.
        at_a_time: usize::from(settings.concurrency) / 4,
        per_second: settings.aws_requests_per_second,
        most_per_second: settings.aws_max_requests_per_second,
        burst: settings.aws_burst,
    }
}

/// The task that ends when leadership is lost.
type Turn = JoinHandle<Result<(), Lost>>;

/// Returns the right to write, and the task that ends when this process loses it.
fn take_part(
    settings: &Run,
    apiserver: &Connector,
    metrics: &Arc<Metrics>,
    clock: &Arc<Clock>,
    random: &Random,
    turns: &Turns,
) -> kube::Result<(Arc<Leadership>, Turn)> {
    if !settings.leader_elect {
        let turn = tokio::spawn(turns.clone().alone(metrics.clone()));
        return Ok((Arc::new(Leadership::sole(clock.clone())), turn));
    }
    let pod = std::env::var("POD_NAMESPACE").ok();
    let namespace = leader::namespace(settings.lease_namespace.clone(), pod, apiserver.default_namespace());
    let name = settings.lease_name.clone();
    let (election, leadership) = Election::new(apiserver, name, namespace, metrics.clone(), clock.clone(), random)?;
    Ok((leadership, tokio::spawn(election.run(turns.clone()))))
}

fn no_way(error: &kube::Error) -> anyhow::Error {
    let why = in_words(error);
    anyhow::anyhow!(
        "no access to a Kubernetes API server: {why}. Set KUBECONFIG, or run in a pod with a service account"
    )
}

/// Runs the loops of all kinds in all scopes.
async fn control(
    context: &Arc<Context>,
    namespaces: Vec<String>,
    stands_by: bool,
    turns: &Turns,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let namespaces = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.into_iter().map(Some).collect()
    };
    let mut loops = JoinSet::new();
    let mut scopes: Vec<_> = namespaces.into_iter().map(Scope::of).collect();
    macro_rules! start_each {
        ($($kind:ident),+) => {
            $(start::<api::$kind>(context, &mut scopes, &mut loops);)+
        };
    }
    kinds!(start_each);
    let mut beginning: FuturesUnordered<_> = scopes
        .iter()
        .map(|scope| scope.begin(&scopes, stands_by, turns))
        .collect();
    loop {
        let ended = tokio::select! {
            biased;
            ended = loops.join_next() => ended,
            Some(()) = beginning.next() => continue,
        };
        let Some(ended) = ended else {
            return Ok(());
        };
        ended.context("a control loop failed")?;
        // If one loop ends by itself, no loop serves its kind any more. A restart is better.
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            anyhow::bail!("a control loop ended by itself");
        }
    }
}

/// A unit of watching: one namespace, or all of them. Each scope starts, fails and recovers by itself.
struct Scope {
    namespace: Option<String>,
    /// One store for each kind.
    stores: Vec<Arc<dyn Store>>,
    /// Cancelled when passes may start.
    passes: CancellationToken,
}

impl Scope {
    fn of(namespace: Option<String>) -> Self {
        Self {
            namespace,
            stores: Vec::new(),
            passes: CancellationToken::new(),
        }
    }

    /// Starts passes once this process leads and has read all resources of the scope since then.
    async fn begin(&self, all: &[Self], stands_by: bool, turns: &Turns) {
        self.filled(Lists::First).await;
        info!(namespace = self.namespace, "all resources have been read");
        turns.prepared.cancel();
        turns.lead.cancelled().await;
        let lists = if stands_by { Lists::OfLeader } else { Lists::First };
        self.filled(lists).await;
        // After this time, a namespace without an answer is not waited for: its resources are added when they are read.
        let _ = timeout(OTHERS, join_all(all.iter().map(|scope| scope.answered(lists)))).await;
        for store in &self.stores {
            store.index();
        }
        for store in &self.stores {
            store.index_referring();
        }
        self.passes.cancel();
    }

    /// Waits until all resources of the scope have been read in this round.
    async fn filled(&self, lists: Lists) {
        join_all(self.stores.iter().map(|store| store.filled(lists))).await;
    }

    /// Waits until the API server has returned or refused all lists of the scope.
    async fn answered(&self, lists: Lists) {
        join_all(self.stores.iter().map(|store| store.answered(lists))).await;
    }
}

/// Starts the loop of a kind in each scope.
fn start<K: Remote>(context: &Arc<Context>, scopes: &mut [Scope], loops: &mut JoinSet<()>) {
    let lists = Arc::<Listings<K::List>>::default();
    for scope in scopes {
        let (context, lists) = (context.clone(), lists.clone());
        let (watched, task) = controller::run::<K>(context, scope.namespace.clone(), lists, scope.passes.clone());
        loops.spawn(task);
        scope.stores.push(watched);
    }
}

/// Waits until the API server serves all kinds.
async fn wait_for_crds(client: &Client, namespaces: &[String]) {
    let mut said = None;
    loop {
        let Some(reason) = waits_for(&missing_kinds(client, namespaces).await) else {
            return;
        };
        if said.as_ref() != Some(&reason) {
            warn!("{reason}");
            said = Some(reason);
        }
        tokio::time::sleep(CRD_RETRY).await;
    }
}

/// Returns what the start waits for, with the next step, or `None` if all kinds are served.
fn waits_for(missing: &kube::Result<Vec<&'static str>>) -> Option<String> {
    Some(match missing {
        Ok(missing) if missing.is_empty() => return None,
        Ok(missing) => format!(
            "waiting for the CustomResourceDefinitions (not served: {}): install them with the chart; without Helm, with `amplify-operator crd | kubectl apply --server-side --force-conflicts -f -`",
            missing.join(", ")
        ),
        Err(kube::Error::Api(status)) if status.code == 401 => format!(
            "waiting for the API server: it refuses the operator's credentials ({}): check the kubeconfig, or the token of the pod's service account",
            status.reason
        ),
        Err(error @ kube::Error::Auth(_)) => {
            format!(
                "waiting for the API server: no credentials for it ({})",
                in_words(error)
            )
        }
        Err(error @ kube::Error::Api(_)) => format!(
            "waiting for the API server: it answers with an error ({}): check its health",
            in_words(error)
        ),
        Err(error) => format!(
            "waiting for the API server: no answer ({}): check its address in the kubeconfig, the network and the proxies",
            in_words(error)
        ),
    })
}

/// Returns the kinds that the API server does not serve. Lists the kinds themselves: reading their definitions would
/// need rights that the operator does not have.
async fn missing_kinds(client: &Client, namespaces: &[String]) -> kube::Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    macro_rules! resources {
        ($($kind:ident),+) => {
            [$((KindName::$kind.name(), ApiResource::erase::<api::$kind>(&()))),+]
        };
    }
    for (kind, resource) in kinds!(resources) {
        if is_missing(client, &resource, namespaces).await? {
            missing.push(kind);
        }
    }
    Ok(missing)
}

/// Whether the API server reports that it does not serve a kind. Without the right to list, the answer is no: the watch
/// of that namespace reports the missing right, and the other namespaces need not wait.
async fn is_missing(client: &Client, resource: &ApiResource, namespaces: &[String]) -> kube::Result<bool> {
    let one = kube::api::ListParams::default().limit(1);
    let apis: Vec<Api<kube::api::DynamicObject>> = if namespaces.is_empty() {
        vec![Api::all_with(client.clone(), resource)]
    } else {
        let of = |namespace: &String| Api::namespaced_with(client.clone(), namespace, resource);
        namespaces.iter().map(of).collect()
    };
    for api in apis {
        match api.list_metadata(&one).await {
            Ok(_) => return Ok(false),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: the operator first finishes the passes under way"),
            _ = interrupt.recv() => info!("interrupted: the operator first finishes the passes under way"),
        }
        shutdown.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn the_start_says_what_it_waits_for_and_what_to_do() {
        let refused = |code, reason: &str| {
            let status = Status::failure("no", reason).with_code(code);
            kube::Error::Api(status.boxed())
        };
        for (found, said) in [
            (Ok(vec![]), None),
            (
                Ok(vec!["AmplifyBackend", "BackendAPI"]),
                Some("waiting for the CustomResourceDefinitions (not served: AmplifyBackend, BackendAPI): install"),
            ),
            (
                Err(refused(401, "Unauthorized")),
                Some(
                    "waiting for the API server: it refuses the operator's credentials (Unauthorized): check the kubeconfig",
                ),
            ),
            (
                Err(refused(503, "ServiceUnavailable")),
                Some("waiting for the API server: it answers with an error ("),
            ),
            (
                Err(kube::Error::LinesCodecMaxLineLengthExceeded),
                Some("waiting for the API server: no answer ("),
            ),
        ] {
            let text = waits_for(&found);
            match said {
                None => assert_eq!(text, None),
                Some(said) => assert!(text.as_deref().unwrap_or_default().starts_with(said), "{text:?}"),
            }
        }
    }
}
