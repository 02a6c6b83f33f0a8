//! One scale: a run with its own operator and its own AWS, from no objects to all Ready and back to none.

use std::time::{Duration, Instant};

use amplify_demo::operator::{self, Operator, Start};
use amplify_simulator::{Config, Operation, Settings, Simulator};
use anyhow::{Context as _, Result};
use kube::Client;
use tokio::time;

use crate::{
    bare::{self, Extra},
    counts::{Counts, Meter},
    delay::{self, Delays},
    eyes::Eyes,
    mix::{self, Kind, Mix},
    site::Site,
    usage::{Memory, Usage},
};

/// With these flags the operator's rate limits have no effect.
const FAST: [&str; 2] = ["--aws-requests-per-second=100000", "--aws-burst=1000"];
/// No drift check falls due.
const NO_DRIFT: &str = "--drift-interval=100000h";
/// At this scale and above, the drift checks of all objects can be made to pile up.
const BACKLOG_FROM: usize = 1000;

/// The durations of the observed phases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub(crate) steady: Duration,
    pub(crate) drift: Duration,
}

/// The measurements of one scale.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) mix: Mix,
    pub(crate) idle: Memory,
    pub(crate) create: Phase,
    pub(crate) bare_create: Duration,
    /// Memory with all objects Ready, after the creates.
    pub(crate) ready: Memory,
    pub(crate) late: Late,
    pub(crate) restart: Phase,
    /// Memory with all objects Ready, after a restart.
    pub(crate) restarted: Memory,
    pub(crate) steady: Phase,
    pub(crate) drift: Phase,
    pub(crate) drifted: Memory,
    /// The wait of a new object while more drift checks are due than AWS accepts calls.
    pub(crate) behind_drift: Option<Duration>,
    pub(crate) delete: Phase,
    pub(crate) bare_delete: Duration,
    pub(crate) extra: Extra,
}

/// A phase: its duration and the requests in it.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    pub(crate) counts: Counts,
}

/// An object that is applied after all others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Late {
    /// How many of the others were not Ready yet.
    pub(crate) behind: usize,
    pub(crate) wait: Duration,
    /// How long these took to become Ready.
    pub(crate) backlog: Duration,
}

/// A running operator, with its meters.
struct Running {
    operator: Operator,
    usage: Usage,
    started: Instant,
}

struct Stage<'a> {
    site: &'a Site,
    simulator: Simulator,
}

impl Stage<'_> {
    async fn start(&self, flags: &[&str]) -> Result<Running> {
        let started = Instant::now();
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        let operator = Operator::start(&Start {
            kubeconfig: &self.site.kubeconfig,
            simulator: &self.simulator,
            log: &self.site.log(),
            flags: &flags,
        })?;
        operator::ready(operator.address()).await;
        let usage = Usage::of(operator.id().context("the operator has ended")?);
        Ok(Running {
            operator,
            usage,
            started,
        })
    }

    async fn restart(&self, mut running: Running, flags: &[&str]) -> Result<Running> {
        running.operator.stop().await?;
        self.start(flags).await
    }

    /// Measures the time from apply to all Ready, and the wait of one object in a namespace of its own that is applied
    /// last.
    async fn create(
        &self,
        running: &Running,
        mix: Mix,
        (eyes, name): (&mut Eyes, &str),
        (late_eyes, late_name): (&mut Eyes, &str),
    ) -> Result<(Phase, Late)> {
        let client = &self.site.client;
        let (meter, cpu) = (self.meter()?, running.usage.cpu()?);
        let begin = Instant::now();
        bare::apply(client, name, mix.items()).await?;
        let late_begin = Instant::now();
        let behind = mix.objects - eyes.count().ready;
        bare::apply(client, late_name, std::iter::once(mix::newcomer("late"))).await?;
        let (all, late) = tokio::try_join!(eyes.wait_ready(mix.objects), late_eyes.wait_ready(1))?;
        let late = Late {
            behind,
            wait: late - late_begin,
            backlog: all.saturating_duration_since(late_begin),
        };
        running.usage.quiet().await?;
        Ok((running.phase(&meter, cpu, all - begin).await?, late))
    }

    /// Measures the wait of a new object while all drift checks are due all the time.
    async fn behind_drift(&self, running: Running, eyes: &mut Eyes, namespace: &str) -> Result<(Running, Duration)> {
        let running = self.restart(running, &["--drift-interval=5s"]).await?;
        // By then every check has been due once.
        time::sleep(Duration::from_secs(10)).await;
        let begin = Instant::now();
        bare::apply(&self.site.client, namespace, std::iter::once(mix::newcomer("new"))).await?;
        let wait = eyes.wait_ready(1).await? - begin;
        Ok((running, wait))
    }

    fn meter(&self) -> Result<Meter> {
        Meter::start(self.site.audit(), &self.simulator)
    }
}

impl Running {
    async fn phase(&self, meter: &Meter, cpu_before: Duration, time: Duration) -> Result<Phase> {
        Ok(Phase {
            time,
            cpu: self.usage.cpu()?.saturating_sub(cpu_before),
            counts: meter.read().await?,
        })
    }
}

fn aws(job_duration: Duration) -> Result<Simulator> {
    let config = Config {
        // The counters still count calls that the history drops.
        history_limit: 1000,
        ..Config::default()
    };
    Ok(Simulator::start(&config.settings(Settings {
        job_duration,
        auto_register_apps: true,
        ..Settings::default()
    }))?)
}

/// Measures one scale.
#[expect(clippy::too_many_lines, reason = "one phase after the other")]
pub(crate) async fn run(site: &Site, mix: Mix, lengths: Lengths) -> Result<Figures> {
    let name = format!("objects-{}-{}", mix.objects, mix.schema);
    let (bare_name, late_name) = (format!("{name}-bare"), format!("{name}-late"));
    for namespace in [&name, &bare_name, &late_name] {
        site.namespace(namespace).await?;
    }
    let stage = Stage {
        site,
        simulator: aws(Duration::ZERO)?,
    };
    let client = &site.client;
    let fast = [FAST[0], FAST[1], NO_DRIFT];

    say(mix, "idle");
    let running = stage.start(&fast).await?;
    running.usage.quiet().await?;
    let idle = running.usage.memory()?;

    say(mix, "create");
    let mut eyes = Eyes::open(client, &name);
    let mut late_eyes = Eyes::open(client, &late_name);
    let (create, late) = stage
        .create(&running, mix, (&mut eyes, &name), (&mut late_eyes, &late_name))
        .await?;
    let ready = running.usage.memory()?;
    say(mix, &format!("{} KiB with all Ready", ready.resident));
    bare::delete(client, &late_name, std::iter::once(mix::newcomer("late"))).await?;
    late_eyes.wait_gone().await?;

    say(mix, "restart");
    running.usage.quiet().await?;
    let meter = stage.meter()?;
    let running = stage.restart(running, &[NO_DRIFT]).await?;
    let used = running.usage.quiet().await?;
    // The last second of this time was quiet.
    let until_quiet = running.started.elapsed().saturating_sub(Duration::from_secs(1));
    let mut restart = running.phase(&meter, Duration::ZERO, until_quiet).await?;
    restart.cpu = used;
    let restarted = running.usage.memory()?;
    say(mix, &format!("{} KiB with all Ready", restarted.resident));

    say(mix, "steady");
    let (meter, cpu) = (stage.meter()?, running.usage.cpu()?);
    time::sleep(lengths.steady).await;
    let steady = running.phase(&meter, cpu, lengths.steady).await?;

    say(mix, "drift");
    let interval = format!("--drift-interval={}s", lengths.drift.as_secs());
    let running = stage.restart(running, &[FAST[0], FAST[1], &interval]).await?;
    let (meter, cpu) = (stage.meter()?, running.usage.cpu()?);
    time::sleep(lengths.drift).await;
    let drift = running.phase(&meter, cpu, lengths.drift).await?;
    let drifted = running.usage.memory()?;
    say(mix, &format!("{} KiB with all Ready", drifted.resident));

    let (running, behind_drift) = if mix.objects >= BACKLOG_FROM {
        say(mix, "backlog of drift checks");
        let (running, wait) = stage.behind_drift(running, &mut late_eyes, &late_name).await?;
        let running = stage.restart(running, &fast).await?;
        bare::delete(client, &late_name, std::iter::once(mix::newcomer("new"))).await?;
        late_eyes.wait_gone().await?;
        (running, Some(wait))
    } else {
        (stage.restart(running, &fast).await?, None)
    };

    say(mix, "delete");
    running.usage.quiet().await?;
    let (meter, cpu) = (stage.meter()?, running.usage.cpu()?);
    let begin = Instant::now();
    bare::delete(client, &name, mix.items()).await?;
    let gone = eyes.wait_gone().await? - begin;
    running.usage.quiet().await?;
    let delete = running.phase(&meter, cpu, gone).await?;
    let mut running = running;
    running.operator.stop().await?;
    drop(eyes);

    say(mix, "the same writes by the bare load generator");
    let extra = Extra {
        create: create
            .counts
            .writes_of(Kind::Api)
            .saturating_sub(4 * mix.count(Kind::Api) as u64),
        delete: delete
            .counts
            .writes_of(Kind::Backend)
            .saturating_sub(2 * mix.count(Kind::Backend) as u64),
    };
    let (bare_create, bare_delete) = without_operator(client, &bare_name, mix, extra).await?;
    Ok(Figures {
        mix,
        idle,
        create,
        bare_create,
        ready,
        late,
        restart,
        restarted,
        steady,
        drift,
        drifted,
        behind_drift,
        delete,
        bare_delete,
        extra,
    })
}

/// Makes the same writes with the bare load generator, until Ready and until gone.
async fn without_operator(client: &Client, namespace: &str, mix: Mix, extra: Extra) -> Result<(Duration, Duration)> {
    let mut eyes = Eyes::open(client, namespace);
    let begin = Instant::now();
    bare::create_all(client, namespace, mix, extra).await?;
    let created = eyes.wait_ready(mix.objects).await? - begin;
    let begin = Instant::now();
    bare::delete_all(client, namespace, mix, extra).await?;
    Ok((created, eyes.wait_gone().await? - begin))
}

/// Measures the delay between the end of a job and Ready, with the default flags.
pub(crate) async fn delays(site: &Site, mix: Mix) -> Result<Delays> {
    say(mix, "delays, with jobs of 30 to 60 s");
    let name = &format!("delays-{}", mix.objects);
    site.namespace(name).await?;
    let stage = Stage {
        site,
        simulator: aws(Duration::from_secs(30))?,
    };
    let control = stage.simulator.control();
    let items: Vec<_> = mix.items().collect();
    let mut running = stage.start(&[]).await?;
    let mut eyes = Eyes::open(&site.client, name);
    let meter = stage.meter()?;
    bare::apply(&site.client, name, mix.items()).await?;
    tokio::select! {
        ready = eyes.wait_ready(mix.objects) => ready.map(drop)?,
        () = delay::vary_jobs(control.clone()) => {}
    }
    let counts = meter.read().await?;
    let delays = delay::measured(&items, &eyes, &control, counts.calls_of(Operation::GetBackendJob))?;
    control.change_settings(|settings| settings.job_duration = Duration::ZERO);
    bare::delete(&site.client, name, mix.items()).await?;
    eyes.wait_gone().await?;
    running.operator.stop().await?;
    Ok(delays)
}

fn say(mix: Mix, what: &str) {
    eprintln!("bench: {} objects: {what}", mix.objects);
}
