//! The model API server against a real kube-apiserver: the same client sends the same requests to both, and the answers
//! are compared.
//!
//! Each sequence has a namespace of its own and ends with a watch from its beginning, so that the events are compared
//! too. Compared are status codes, reasons, whole objects, lists and their pages, and events in their order. Times are
//! compared by presence, uids by which objects share one, resourceVersions by their order. Not compared: messages,
//! managedFields, headers, and durations.
//!
//! The model's faults are off here. `apiserver` describes how the model with faults is harsher than the real server.
//!
//! `FAITHFUL_SEED=… cargo test --test simulation -- faithful` plays the random sequences of another seed.

mod objects;
mod random;
mod sequences;
mod side;

use std::time::Instant;

use amplify_devcluster::{Cluster, Options};
use amplify_operator::api;
use fastrand::Rng;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use serde_json::Value;

use crate::apiserver::Server;
pub(crate) use objects::valid;
use side::{Side, Step};

crate::trials! {
    the_model_api_server_is_faithful_to_the_real_one,
}

/// The number of random sequences, and of requests in each.
const SEQUENCES: u64 = 80;
const LENGTH: usize = 30;
/// The number of sequences that run at a time.
const AT_A_TIME: usize = 8;
/// The number of differences that are printed.
const SHOWN: usize = 12;

/// A sequence of requests with a name.
struct Sequence {
    name: String,
    steps: Vec<Step>,
}

fn the_model_api_server_is_faithful_to_the_real_one() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(compare());
}

async fn compare() {
    let seed = std::env::var("FAITHFUL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let begun = Instant::now();
    let options = Options {
        audit: false,
        ..Options::default()
    };
    let cluster = Cluster::start(options).await.expect("a dev cluster");
    let real = client(&cluster).await;
    install(&real).await;
    let started = begun.elapsed();
    let random = (0..SEQUENCES).map(|number| Sequence {
        name: format!("random-{number}"),
        steps: random::steps(&mut Rng::with_seed(seed ^ number.rotate_left(32)), LENGTH),
    });
    let all: Vec<_> = sequences::all().into_iter().chain(random).collect();
    let (count, requests) = (all.len(), all.iter().map(|it| it.steps.len()).sum::<usize>());
    let differences: Vec<_> = stream::iter(all)
        .map(|sequence| play(real.clone(), sequence, seed))
        .buffer_unordered(AT_A_TIME)
        .flat_map(stream::iter)
        .collect()
        .await;
    println!(
        "faithful: {count} sequences; {requests} requests to each; {} differences; {:.1} s, of which {:.1} s to start the cluster; seed {seed}",
        differences.len(),
        begun.elapsed().as_secs_f64(),
        started.as_secs_f64(),
    );
    let shown = differences
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n\n");
    assert!(
        differences.is_empty(),
        "the model differs from the real API server:\n{shown}"
    );
    sequences::compacted(&cluster, &real).await;
    cluster.stop().await.expect("the dev cluster ends");
}

/// Returns a client that does not retry by itself.
async fn client(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig_yaml()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    // A proxy from the environment cannot reach this machine's loopback.
    config.proxy_url = None;
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// Installs the definitions.
async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in api::crds() {
        let created = api
            .create(&PostParams::default(), &crd)
            .await
            .expect("the definition is accepted");
        let name = created.metadata.name.unwrap_or_default();
        await_condition(api.clone(), &name, is_crd_established())
            .await
            .expect("it is established");
        // The API server's cache begins with the first request, and would refuse a watch from before.
        let path = format!(
            "/apis/{}/v1alpha1/{}?resourceVersion=0",
            api::GROUP,
            crd.spec.names.plural
        );
        // The server answers 429 until its cache is filled.
        loop {
            let list = http::Request::get(&path).body(Vec::new()).expect("a request");
            match client.request_text(list).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 429 => tokio::task::yield_now().await,
                Err(error) => panic!("{path}: {error}"),
            }
        }
    }
}

/// Returns a client of a new model.
fn model() -> Client {
    Server::new(1, Timestamp::UNIX_EPOCH).client("admin", "default")
}

/// Plays a sequence on both servers, and returns the first difference.
async fn play(real: Client, sequence: Sequence, seed: u64) -> Vec<String> {
    let mut sides = Vec::new();
    for client in [real, model()] {
        let mut side = Side::new(client, &sequence.name);
        side.begin().await;
        for step in &sequence.steps {
            side.take(step).await;
        }
        sides.push(side.end(&sequence.steps).await);
    }
    let (model, real): (Vec<Value>, Vec<Value>) = (sides.pop().unwrap_or_default(), sides.pop().unwrap_or_default());
    let name = sequence.name;
    let said = |at: usize| {
        sequence
            .steps
            .get(at)
            .map_or_else(|| "the watch".to_owned(), ToString::to_string)
    };
    let differs = |at: &usize| real.get(*at) != model.get(*at);
    // Only the first difference counts, because later ones may result from it.
    let first = (0..real.len().max(model.len())).find(differs);
    first
        .map(|at| {
            let before: Vec<_> = (at.saturating_sub(8)..at).map(|at| format!("  {}", said(at))).collect();
            let (real, model) = (
                real.get(at).unwrap_or(&Value::Null),
                model.get(at).unwrap_or(&Value::Null),
            );
            format!(
                "{name} (seed {seed}), request {at}, after\n{}\n→ {}\nreal:  {real}\nmodel: {model}",
                before.join("\n"),
                said(at)
            )
        })
        .into_iter()
        .collect()
}
