//! The wiring: settings → clients → one loop per kind and namespace, and one token that ends them all.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::{Api, Client, api::ApiResource};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    amplify::Sessions,
    api::{AmplifyBackend, BackendApi, BackendEnvironment},
    cli::Run,
    clock::Clock,
    controller::{self, Context, Events, Parts, Tokens, accounts::AccountsFile, kind::Kind},
    leader::{self, Election, Leadership, Lost, Turns},
    lifecycle::Settings,
    telemetry::{self, Health, Metrics, error::in_words},
};

/// How long a watch may fail before the program says that it is not alive.
const WATCH_LIMIT: Duration = Duration::from_mins(10);
/// How long the API server may be silent while something is expected of it: longer than a watch is open. kube sets no
/// limit, and a list that is never answered would hold its kind for ever.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);
/// How often a missing CustomResourceDefinition is looked for again.
const CRD_RETRY: Duration = Duration::from_secs(5);

/// Runs the operator until SIGTERM or Ctrl-C, and then until what is in flight is done.
pub async fn run(settings: Run) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let health = Arc::new(Health::new(WATCH_LIMIT));
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        let address = settings.listen;
        anyhow::anyhow!("cannot listen on {address}: {error}. Choose another address with --listen")
    })?;
    let address = listener.local_addr().context("no listen address")?;
    let (accounts_file, accounts) = match settings.accounts.clone() {
        Some(path) => AccountsFile::open(path).map(Some).map_err(anyhow::Error::msg)?.unzip(),
        None => (None, None),
    };
    let mut tasks = JoinSet::new();
    // Probes are answered to the end, while what is in flight is done.
    let served = CancellationToken::new();
    let serving = tokio::spawn(telemetry::server::serve(
        listener,
        health.clone(),
        metrics.clone(),
        served.clone(),
    ));

    let turns = Turns::default();
    let clock = Arc::new(Clock::of_machine());
    let connected = connect(&settings, &metrics, &clock, &turns).await;
    let (client, leadership, mut turn) = connected.map_err(|error| {
        let why = in_words(error.as_ref());
        anyhow::anyhow!(
            "no way to a Kubernetes API server: {why}. Set KUBECONFIG, or run in a pod with a service account"
        )
    })?;
    let namespaces = settings.namespaces();
    if !crds_are_there(&client, &namespaces, &shutdown).await {
        return Ok(());
    }
    let sessions = Sessions::load(metrics.clone(), clock.clone(), accounts, settings.allowed_regions()).await;
    let (events, write_events) = Events::new(client.clone(), clock.clone());
    tasks.spawn(write_events);
    let concurrency = usize::from(settings.concurrency);
    let context = Context::new(Parts {
        client,
        settings: Settings {
            drift_interval: settings.drift_interval,
            job_timeout: settings.job_timeout,
            max_job_attempts: i64::from(settings.max_job_attempts),
            outcome_grace: settings.outcome_grace,
            absence_grace: settings.absence_grace,
        },
        sessions,
        concurrency,
        throttle: Tokens {
            per_second: settings.aws_requests_per_second,
            burst: settings.aws_burst,
        },
        events,
        metrics,
        health: health.clone(),
        leadership,
        shutdown: shutdown.clone(),
    });
    if let Some(file) = accounts_file {
        tasks.spawn(controller::accounts::follow(context.clone(), file));
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %address,
        namespaces = if namespaces.is_empty() {
            "all".to_owned()
        } else {
            namespaces.join(", ")
        },
        "operator starts"
    );
    // After an error nothing is waited for, and a lease is not given back: it runs out when nothing is under way anymore.
    tokio::select! {
        ended = control(&context, namespaces, &health, &turns, &shutdown) => ended?,
        lost = &mut turn => {
            lost.context("the election failed")??;
            anyhow::bail!("the election ended by itself");
        }
    }
    drop(context);
    tasks.shutdown().await;
    turns.finished.cancel();
    turn.await.context("the election failed")??;
    served.cancel();
    serving.await.context("the health server failed")??;
    info!("operator ended");
    Ok(())
}

/// A client of the API server, whether it may be used to write, and the task that ends when leadership is lost.
async fn connect(
    settings: &Run,
    metrics: &Arc<Metrics>,
    clock: &Arc<Clock>,
    turns: &Turns,
) -> anyhow::Result<(Client, Arc<Leadership>, JoinHandle<Result<(), Lost>>)> {
    let mut config = kube::Config::infer().await?;
    config.read_timeout = Some(SILENCE_LIMIT);
    config.reset_reader_on_write = true;
    if !settings.leader_elect {
        let turn = tokio::spawn(turns.clone().alone(metrics.clone()));
        return Ok((Client::try_from(config)?, Arc::new(Leadership::sole()), turn));
    }
    let pod = std::env::var("POD_NAMESPACE").ok();
    let namespace = leader::namespace(settings.lease_namespace.clone(), pod, &config.default_namespace);
    let (election, leadership, client) = Election::new(config, namespace, metrics.clone(), clock.clone())?;
    Ok((client, leadership, tokio::spawn(election.run(turns.clone()))))
}

/// Runs the loops of all kinds in all namespaces.
async fn control(
    context: &Arc<Context>,
    namespaces: Vec<String>,
    health: &Health,
    turns: &Turns,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let begin = &turns.lead;
    let namespaces = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.into_iter().map(Some).collect()
    };
    let mut loops = JoinSet::new();
    let mut stores = Vec::new();
    for namespace in namespaces {
        stores.push((
            start::<AmplifyBackend>(context, namespace.as_ref(), begin, &mut loops),
            start::<BackendApi>(context, namespace.as_ref(), begin, &mut loops),
            start::<BackendEnvironment>(context, namespace.as_ref(), begin, &mut loops),
        ));
    }
    let filled = async {
        for (backends, apis, environments) in &stores {
            backends.filled().await;
            apis.filled().await;
            environments.filled().await;
        }
    };
    tokio::select! {
        () = filled => {
            // Backends twice: one may take its region from another.
            for (backends, _, _) in &stores {
                backends.index();
            }
            for (backends, apis, environments) in &stores {
                backends.index();
                apis.index();
                environments.index();
            }
            health.set_ready(true);
            info!("all stores are filled");
            turns.prepared.cancel();
        }
        () = shutdown.cancelled() => {}
    }
    while let Some(ended) = loops.join_next().await {
        ended.context("a control loop failed")?;
        // One that ends by itself would leave its kind alone: better to start anew.
        if !shutdown.is_cancelled() {
            shutdown.cancel();
            anyhow::bail!("a control loop ended by itself");
        }
    }
    Ok(())
}

fn start<K: Kind>(
    context: &Arc<Context>,
    namespace: Option<&String>,
    begin: &CancellationToken,
    loops: &mut JoinSet<()>,
) -> Arc<controller::Watched<K>> {
    let (watched, task) = controller::run::<K>(context.clone(), namespace.cloned(), begin.clone());
    loops.spawn(task);
    watched
}

/// Waits until the API server serves all kinds. False: the operator is to end.
async fn crds_are_there(client: &Client, namespaces: &[String], shutdown: &CancellationToken) -> bool {
    let mut said = false;
    loop {
        let missing = match missing_kinds(client, namespaces.first()).await {
            Ok(missing) if missing.is_empty() => return true,
            Ok(missing) => format!("not served: {}", missing.join(", ")),
            Err(error) => in_words(&error),
        };
        if !said {
            warn!(
                "waiting for the CustomResourceDefinitions ({missing}): install them with the chart, or with `amplify-operator crd | kubectl apply -f -`"
            );
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(CRD_RETRY) => {}
            () = shutdown.cancelled() => return false,
        }
    }
}

/// The kinds that the API server does not serve. Asked through the kinds themselves: reading definitions needs rights
/// that the operator does without.
async fn missing_kinds(client: &Client, namespace: Option<&String>) -> kube::Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for (kind, resource) in [
        ("AmplifyBackend", ApiResource::erase::<AmplifyBackend>(&())),
        ("BackendApi", ApiResource::erase::<BackendApi>(&())),
        ("BackendEnvironment", ApiResource::erase::<BackendEnvironment>(&())),
    ] {
        if !is_served(client, &resource, namespace).await? {
            missing.push(kind);
        }
    }
    Ok(missing)
}

async fn is_served(client: &Client, resource: &ApiResource, namespace: Option<&String>) -> kube::Result<bool> {
    let api: Api<kube::api::DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    match api.list_metadata(&kube::api::ListParams::default().limit(1)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: what is in flight is finished first"),
            _ = interrupt.recv() => info!("interrupted: what is in flight is finished first"),
        }
        shutdown.cancel();
    });
    Ok(())
}
