//! The effect of one tenant, region or client on the others. Each row is one run: an operator with its default flags,
//! with its own AWS and its own namespaces.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use amplify_demo::operator::{self, Operator, Start};
use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{Action, Config, Fault, Match, Settings, Simulator};
use anyhow::{Context as _, Result};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time,
};

use crate::{
    bare,
    eyes::Eyes,
    mix::{self, Item, Kind},
    site::Site,
    usage::{Memory, Usage},
};

/// The expected result, and the observed one.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) wanted: &'static str,
    pub(crate) measured: String,
    /// Whether the expectation is met. None: the result is a time that depends on the machine, so a person judges it.
    pub(crate) is_kept: Option<bool>,
}

/// A region whose account has no other load.
const HERE: &str = "eu-west-1";
const THERE: &str = "us-east-1";
/// Memory limits, in KiB.
const LARGEST: u64 = 64 * 1024;
const HALF_OPEN: u64 = 32 * 1024;

/// An operator with its default flags, for some namespaces.
struct Running {
    operator: Operator,
    usage: Usage,
}

impl Running {
    async fn memory(&self) -> Result<Memory> {
        self.usage.quiet().await?;
        self.usage.memory()
    }
}

struct Stage<'a> {
    site: &'a Site,
    simulator: Simulator,
}

impl<'a> Stage<'a> {
    fn new(site: &'a Site, settings: Settings) -> Result<Self> {
        let config = Config::default().app("d000000000", "storefront").settings(settings);
        let simulator = Simulator::start(&config)?;
        Ok(Self { site, simulator })
    }

    /// Starts an operator. If `is_waited_for`, returns only when it is ready.
    async fn start(&self, kubeconfig: &std::path::Path, namespaces: &[&str], is_waited_for: bool) -> Result<Running> {
        for namespace in namespaces {
            self.site.namespace(namespace).await?;
        }
        let flags: Vec<_> = namespaces
            .iter()
            .map(|name| format!("--watch-namespace={name}"))
            .collect();
        let operator = Operator::start(&Start {
            kubeconfig,
            simulator: &self.simulator,
            log: &self.site.log(),
            flags: &flags,
        })?;
        if is_waited_for {
            operator::ready(operator.address()).await;
        }
        let usage = Usage::of(operator.id().context("the operator has ended")?);
        Ok(Running { operator, usage })
    }

    async fn operator(&self, namespaces: &[&str]) -> Result<Running> {
        self.start(&self.site.kubeconfig, namespaces, true).await
    }

    async fn apply(&self, namespace: &str, items: Vec<Item>) -> Result<()> {
        bare::apply(&self.site.client, namespace, items.into_iter()).await
    }

    /// Measures how long one more record takes to become Ready.
    async fn newcomer(&self, namespace: &str, region: &str) -> Result<Duration> {
        let mut eyes = Eyes::open(&self.site.client, namespace);
        let begin = Instant::now();
        self.apply(namespace, vec![mix::newcomer_in(namespace, region)]).await?;
        Ok(eyes.wait_ready(1).await? - begin)
    }
}

/// Returns settings in which every app exists in every region.
fn any_app() -> Settings {
    Settings {
        auto_register_apps: true,
        ..Settings::default()
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Returns all rows.
pub(crate) async fn run(site: &Site) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, row) in [
        (
            "a crowd",
            Box::pin(crowd(site)) as std::pin::Pin<Box<dyn Future<Output = Result<Row>>>>,
        ),
        ("requests in a loop", Box::pin(requests(site))),
        ("a region that hangs", Box::pin(hanging(site))),
        ("the largest objects", Box::pin(largest(site))),
        ("half-open connections", Box::pin(half_open(site))),
        ("invented regions", Box::pin(invented(site))),
        ("a namespace without rights", Box::pin(without_rights(site))),
        ("SIGTERM before the stores are filled", Box::pin(unfilled(site))),
        ("1,000 records", Box::pin(records(site))),
    ] {
        eprintln!("bench: neighbours: {what}");
        // A failed run becomes a row of its own, and the other rows are still reported.
        let row = row.await.unwrap_or_else(|error| Row {
            what,
            wanted: "an end",
            measured: format!("{error:#}"),
            is_kept: Some(false),
        });
        eprintln!("bench: {}: {} (wanted: {})", row.what, row.measured, row.wanted);
        rows.push(row);
    }
    Ok(rows)
}

async fn crowd(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, Settings::default())?;
    let mut running = stage.operator(&["crowd", "crowd-well"]).await?;
    let invented = (0..400).map(|number| mix::record_in(&format!("r{number}"), &format!("dghost{number}"), HERE));
    stage.apply("crowd", invented.collect()).await?;
    time::sleep(Duration::from_secs(5)).await;
    let wait = stage.newcomer("crowd-well", HERE).await?;
    running.operator.stop().await?;
    Ok(Row {
        what: "a record in one namespace while 400 resources with invented appIds wait in another",
        wanted: "under 2 s",
        measured: seconds(wait),
        is_kept: None,
    })
}

async fn requests(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, Settings::default())?;
    let mut running = stage.operator(&["requests", "requests-well"]).await?;
    let mut eyes = Eyes::open(&site.client, "requests");
    let records = (0..60).map(|number| mix::record_in(&format!("r{number}"), "d000000000", HERE));
    stage.apply("requests", records.collect()).await?;
    eyes.wait_ready(60).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(site.client.clone(), "requests", &Kind::Environment.resource());
    let annotate = async {
        for number in 0_u64.. {
            let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: number.to_string() } } });
            api.patch(
                &format!("r{}", number % 60),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?;
        }
        anyhow::Ok(Duration::ZERO)
    };
    let newcomer = async {
        time::sleep(Duration::from_secs(10)).await;
        stage.newcomer("requests-well", HERE).await
    };
    let wait = tokio::select! {
        wait = annotate => wait?,
        wait = newcomer => wait?,
    };
    running.operator.stop().await?;
    Ok(Row {
        what: "the same while 60 Ready records elsewhere are annotated in a loop",
        wanted: "under 1 s",
        measured: seconds(wait),
        is_kept: None,
    })
}

async fn hanging(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, any_app())?;
    let mut running = stage.operator(&["hanging", "hanging-alone", "hanging-well"]).await?;
    let alone = stage.newcomer("hanging-alone", THERE).await?;
    stage.simulator.control().fault(Fault {
        matches: Match {
            region: Some(HERE.to_owned()),
            ..Match::default()
        },
        skip: 0,
        times: None,
        action: Action::Hang { duration: None },
    });
    let apis = (0..400).map(|number| {
        mix::api_in(
            &format!("a{number}"),
            &format!("env{number}"),
            HERE,
            "type A { id: ID }",
        )
    });
    stage.apply("hanging", apis.collect()).await?;
    time::sleep(Duration::from_secs(10)).await;
    let wait = stage.newcomer("hanging-well", THERE).await?;
    running.operator.stop().await?;
    stage.simulator.control().release();
    Ok(Row {
        what: "a create in one region while 400 BackendApis hang in another (and alone)",
        wanted: "alone + 3 s",
        measured: format!("{} ({})", seconds(wait), seconds(alone)),
        is_kept: None,
    })
}

async fn largest(site: &Site) -> Result<Row> {
    let settings = Settings {
        auto_register_apps: true,
        job_duration: Duration::from_secs(1),
        ..Settings::default()
    };
    let stage = Stage::new(site, settings)?;
    for namespace in ["largest-apis", "largest-records"] {
        site.namespace(namespace).await?;
    }
    // Each of these characters takes two bytes in JSON: 1 MiB of schema, and as much in annotations as Kubernetes
    // allows.
    let type_ = "type A { id: ID } # ";
    let schema = format!("{type_}{}", "\"".repeat(512 * 1024 - type_.len()));
    let note = "x".repeat(250_000);
    let control = stage.simulator.control();
    for number in 0..120 {
        control.put_backend(("d000000000", format!("env{number}").as_str()), "storefront");
    }
    let apis = (0..120).map(|number| {
        mix::api_in(&format!("a{number}"), &format!("env{number}"), HERE, &schema).annotated("note", &note)
    });
    // Applied from an iterator, because all of them at once need too much memory in this process.
    bare::apply(&site.client, "largest-apis", apis).await?;
    let records = (0..450).map(|number| {
        mix::record_in(&format!("r{number}"), "d000000000", HERE).annotated(RECONCILE_REQUESTED_AT, &note)
    });
    bare::apply(&site.client, "largest-records", records).await?;
    let mut running = stage.operator(&["largest-apis", "largest-records"]).await?;
    let listed = running.usage.memory()?.peak;
    let (mut apis, mut records) = (
        Eyes::open(&site.client, "largest-apis"),
        Eyes::open(&site.client, "largest-records"),
    );
    tokio::try_join!(apis.wait_ready(120), records.wait_ready(450))?;
    let ready = running.memory().await?;
    running.operator.stop().await?;
    let mut running = stage.operator(&["largest-apis", "largest-records"]).await?;
    let again = running.memory().await?;
    running.operator.stop().await?;
    Ok(Row {
        what: "RSS at its peak: 120 BackendApis as large as allowed and 450 records with 250 KB annotations: listed; created; after a restart",
        wanted: "under 64 MiB",
        measured: [listed, ready.peak, again.peak]
            .map(|kib| format!("{} MiB", kib / 1024))
            .join("; "),
        is_kept: Some([listed, ready.peak, again.peak].into_iter().all(|peak| peak < LARGEST)),
    })
}

async fn half_open(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, Settings::default())?;
    let mut running = stage.operator(&["half-open"]).await?;
    let address = running.operator.address();
    let mut streams = Vec::new();
    for _ in 0..6000 {
        let mut stream = TcpStream::connect(address).await?;
        // A connection that the server has already closed accepts no bytes.
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.ok();
        streams.push(stream);
    }
    let begin = Instant::now();
    let answer = get(address, "/livez").await?;
    let probe = begin.elapsed();
    let mut kept = 0;
    for stream in &mut streams {
        let read = time::timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
        kept += usize::from(read.is_err());
    }
    let memory = running.usage.memory()?;
    running.operator.stop().await?;
    Ok(Row {
        what: "6,000 half-open connections to the HTTP port: kept; RSS at its peak; a probe",
        wanted: "at most 64; under 32 MiB; answered",
        measured: format!(
            "{kept}; {} MiB; {} in {}",
            memory.peak / 1024,
            status(&answer),
            seconds(probe)
        ),
        is_kept: Some(kept <= 64 && memory.peak < HALF_OPEN && status(&answer) == "200"),
    })
}

async fn invented(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, any_app())?;
    let mut running = stage.operator(&["invented"]).await?;
    let region = |number: usize| {
        format!(
            "xx-{}-{}",
            ["nowhere", "anywhere", "elsewhere"][number / 100],
            number % 100
        )
    };
    let records = (0..300).map(|number| mix::record_in(&format!("r{number}"), "d000000000", &region(number)));
    let begin = Instant::now();
    stage.apply("invented", records.collect()).await?;
    time::sleep(Duration::from_secs(10)).await;
    let calls = stage.simulator.history().all().len();
    let rate = crate::ratio::ratio(calls, 1) / begin.elapsed().as_secs_f64();
    running.operator.stop().await?;
    Ok(Row {
        what: "300 invented regions: AWS calls per second",
        wanted: "at most 5, the flag",
        measured: format!("{rate:.1}"),
        is_kept: Some(rate <= 5.0),
    })
}

async fn without_rights(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, Settings::default())?;
    for namespace in ["rights-alone", "rights-well", "rights-none"] {
        site.namespace(namespace).await?;
    }
    let mut running = stage.operator(&["rights-alone"]).await?;
    let alone = stage.newcomer("rights-alone", HERE).await?;
    running.operator.stop().await?;
    let kubeconfig = site.limited_to("rights-well").await?;
    let mut running = stage.start(&kubeconfig, &["rights-well", "rights-none"], true).await?;
    let wait = stage.newcomer("rights-well", HERE).await?;
    let live = get(running.operator.address(), "/livez").await?;
    running.operator.stop().await?;
    Ok(Row {
        what: "one namespace of two without rights: a record in the other (and alone); /livez",
        wanted: "as fast as alone; 200",
        measured: format!("{} ({}); {}", seconds(wait), seconds(alone), status(&live)),
        is_kept: Some(status(&live) == "200"),
    })
}

async fn unfilled(site: &Site) -> Result<Row> {
    let stage = Stage::new(site, Settings::default())?;
    let kubeconfig = site.limited_to("rights-well").await?;
    let mut running = stage.start(&kubeconfig, &["rights-none"], false).await?;
    time::sleep(Duration::from_secs(3)).await;
    let begin = Instant::now();
    running.operator.stop().await?;
    let took = begin.elapsed();
    Ok(Row {
        what: "SIGTERM before the stores are filled",
        wanted: "under 2 s",
        measured: seconds(took),
        is_kept: Some(took < Duration::from_secs(2)),
    })
}

async fn records(site: &Site) -> Result<Row> {
    let stage = Stage::new(
        site,
        Settings {
            calls_per_second: Some(20),
            ..Settings::default()
        },
    )?;
    let mut running = stage.operator(&["thousand"]).await?;
    let mut eyes = Eyes::open(&site.client, "thousand");
    let records = (0..1000).map(|number| mix::record_in(&format!("r{number}"), "d000000000", HERE));
    let begin = Instant::now();
    stage.apply("thousand", records.collect()).await?;
    let took = eyes.wait_ready(1000).await? - begin;
    let calls = stage.simulator.history().all();
    let throttled = calls.iter().filter(|call| call.status == Some(429)).count();
    let share = crate::ratio::ratio(throttled * 100, calls.len());
    running.operator.stop().await?;
    Ok(Row {
        what: "1,000 records, AWS takes 20 calls per second: until all are Ready; calls that were throttled",
        wanted: "under 170 s (2 calls each, and 1 more per second every 10 s); under 1 %",
        measured: format!("{:.0} s; {share:.2} %", took.as_secs_f64()),
        is_kept: Some(share < 1.0 && took < Duration::from_secs(170)),
    })
}

fn status(answer: &str) -> &str {
    answer.split_whitespace().nth(1).unwrap_or("none")
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
        .await
        .context("no answer within 10 s")??;
    Ok(answer)
}
