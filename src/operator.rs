//! The wiring: settings and the world around → one loop per kind and namespace, and one token that ends them all.
//!
//! [`run`] takes from the machine what [`operate`] is given: whoever simulates a machine gives it something else.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{
    StreamExt as _,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use kube::{Api, Client, api::ApiResource};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    amplify::{Accounts, Base, Sessions},
    api::{self, KindName, kinds::kinds},
    apiserver::Connector,
    cli::Run,
    clock::Clock,
    controller::{self, Context, Events, Listings, Lists, Parts, Store, Tokens, accounts::AccountsFile},
    kinds::Remote,
    leader::{self, Election, Leadership, Lost, Turns},
    lifecycle::Settings,
    random::Random,
    telemetry::{self, Health, Metrics, error::in_words},
};

/// How long the API server may give no answer to any watch before the program says that it is not alive.
const WATCH_LIMIT: Duration = Duration::from_mins(10);
/// How long a namespace that has been read waits for the others: what lives in one AWS environment may be described in several.
/// One whose lists are refused holds nobody up. One that fails otherwise is tried again within a minute and a half, and longer
/// silence of the API server concerns all alike.
const OTHERS: Duration = Duration::from_mins(2);
/// How often a missing CustomResourceDefinition is looked for again.
const CRD_RETRY: Duration = Duration::from_secs(5);

/// How long answers of the health server that are under way may take at the end.
const SERVED: Duration = Duration::from_secs(1);

/// What the operator is given of the world around it.
pub struct World {
    /// The API server.
    pub apiserver: Connector,
    /// AWS: asked for when the API server has answered.
    pub aws: BoxFuture<'static, Base>,
    /// The time.
    pub clock: Arc<Clock>,
    /// Chance.
    pub random: Arc<Random>,
    /// The accounts file, and what it said when it was opened.
    pub accounts: Option<(AccountsFile, Accounts)>,
    /// Where it is told how things stand.
    pub metrics: Arc<Metrics>,
    /// Where it is told whether the program is ready and alive.
    pub health: Arc<Health>,
    /// Ends everything: what is in flight is finished first.
    pub shutdown: CancellationToken,
}

impl World {
    /// The machine that this process runs on.
    async fn of_machine(settings: &Run, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let accounts = match settings.accounts.clone().map(AccountsFile::at) {
            Some(file) => Some(file.open().await.map_err(anyhow::Error::msg)?),
            None => None,
        };
        Ok(Self {
            accounts,
            apiserver: Connector::infer().await.map_err(|error| no_way(&error))?,
            aws: Box::pin(Base::load()),
            clock: Arc::new(Clock::of_machine()),
            random: Arc::new(Random::of_machine()),
            metrics: Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"))),
            health: Arc::new(Health::new(WATCH_LIMIT)),
            shutdown,
        })
    }
}

/// Runs the operator until SIGTERM or Ctrl-C, and then until what is in flight is done.
pub async fn run(settings: Run) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        let address = settings.listen;
        anyhow::anyhow!("cannot listen on {address}: {error}. Choose another address with --listen")
    })?;
    let listen = listener.local_addr().context("no listen address")?;
    let world = World::of_machine(&settings, shutdown).await?;
    // Probes are answered to the end, while what is in flight is done.
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
    // Who keeps a connection open does not keep the process.
    if let Ok(ended) = timeout(SERVED, serving).await {
        ended.context("the health server failed")?;
    }
    info!("operator ended");
    Ok(())
}

/// Runs the operator in this world until its shutdown, and then until what is in flight is done.
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
    // After an error nothing is waited for, and a lease is not given back: it runs out when nothing is under way anymore.
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

/// The settings that decisions depend on.
fn decisions(settings: &Run) -> Settings {
    Settings {
        drift_interval: settings.drift_interval,
        job_timeout: settings.job_timeout,
        max_job_attempts: i64::from(settings.max_job_attempts),
        outcome_grace: settings.outcome_grace,
        absence_grace: settings.absence_grace,
    }
}

/// The settings of the token buckets.
fn tokens(settings: &Run) -> Tokens {
    Tokens {
        // One account and region that hangs leaves the others the rest.
        at_a_time: usize::from(settings.concurrency) / 4,
        per_second: settings.aws_requests_per_second,
        most_per_second: settings.aws_max_requests_per_second,
        burst: settings.aws_burst,
    }
}

/// The task that ends when leadership is lost.
type Turn = JoinHandle<Result<(), Lost>>;

/// Whether this process may write, and how long.
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
    let (election, leadership) = Election::new(apiserver, namespace, metrics.clone(), clock.clone(), random)?;
    Ok((leadership, tokio::spawn(election.run(turns.clone()))))
}

fn no_way(error: &kube::Error) -> anyhow::Error {
    let why = in_words(error);
    anyhow::anyhow!(
        "no access to a Kubernetes API server: {why}. Set KUBECONFIG, or run in a pod with a service account"
    )
}

/// Runs the loops of all kinds in all namespaces.
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
        // One that ends by itself would leave its kind alone: better to start anew.
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            anyhow::bail!("a control loop ended by itself");
        }
    }
}

/// What is watched together: a namespace, or all of them. Each begins, fails and recovers by itself.
struct Scope {
    namespace: Option<String>,
    /// Of each kind.
    stores: Vec<Arc<dyn Store>>,
    /// Passes are made from now on.
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

    /// Begins when this process leads and all of its resources have been read since.
    async fn begin(&self, all: &[Self], stands_by: bool, turns: &Turns) {
        self.filled(Lists::First).await;
        info!(namespace = self.namespace, "all resources have been read");
        turns.prepared.cancel();
        turns.lead.cancelled().await;
        let lists = if stands_by { Lists::OfLeader } else { Lists::First };
        self.filled(lists).await;
        // Too late: they are seen later.
        let _ = timeout(OTHERS, join_all(all.iter().map(|scope| scope.answered(lists)))).await;
        for store in &self.stores {
            store.index();
        }
        for store in &self.stores {
            store.index_referring();
        }
        self.passes.cancel();
    }

    /// Waits until all of its resources have been read in this round.
    async fn filled(&self, lists: Lists) {
        join_all(self.stores.iter().map(|store| store.filled(lists))).await;
    }

    /// Waits until the API server has given or refused all of its resources.
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
    let mut said = false;
    loop {
        let missing = match missing_kinds(client, namespaces).await {
            Ok(missing) if missing.is_empty() => return,
            Ok(missing) => format!("not served: {}", missing.join(", ")),
            Err(error) => in_words(&error),
        };
        if !said {
            warn!(
                "waiting for the CustomResourceDefinitions ({missing}): install them with the chart, or with `amplify-operator crd | kubectl apply -f -`"
            );
            said = true;
        }
        tokio::time::sleep(CRD_RETRY).await;
    }
}

/// The kinds that the API server does not serve. Asked through the kinds themselves: reading definitions needs rights
/// that the operator does without.
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

/// Whether the API server says that it does not serve a kind. Where the operator has no right to list, it does not say: that
/// is for the watch of that namespace to tell, and no reason to leave the others alone.
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
