//! An operator: the real program, on a machine of its own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use amplify_operator::{
    amplify::{Accounts, Base},
    apiserver::{Connector, SILENCE_LIMIT, Transport},
    cli::{Cli, Command},
    clock::Clock,
    controller::accounts::AccountsFile,
    operator::{World, operate},
    random::Random,
    telemetry::{Health, Metrics},
};
use amplify_simulator::{DEFAULT_ACCESS_KEY_ID, DEFAULT_SECRET_ACCESS_KEY};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{
    rt::sleep::{SharedAsyncSleep, TokioSleep},
    time::{SharedTimeSource, TimeSource},
};
use clap::Parser as _;
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use kube::client::{ClientBuilder, DynBody};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service as _, ServiceExt as _, service_fn, util::BoxService};

use super::{
    aws::Cloud,
    line::{Fate, Line},
    machine::Machine,
};
use crate::apiserver::Server;

/// The region of the operator's own credentials.
pub(crate) const REGION: &str = "eu-west-1";
/// The uptime of every machine before its first process begins.
const UPTIME: Duration = Duration::from_hours(1);

/// A running operator.
pub(crate) struct Process {
    pub(crate) machine: Machine,
    pub(crate) line: Arc<Line>,
    pub(crate) shutdown: CancellationToken,
    /// Its result, when it has ended.
    ended: Arc<Mutex<Option<Result<(), String>>>>,
    /// The time until which it stands still.
    pub(crate) frozen_until: Option<Duration>,
    /// The time by which it must have ended.
    pub(crate) deadline: Option<Duration>,
}

/// The inputs of a process.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) flags: Vec<String>,
    pub(crate) seed: u64,
    /// The time of the machine's clock.
    pub(crate) time: Timestamp,
    /// The current content of its accounts file, if it has one.
    pub(crate) accounts: Option<Arc<Mutex<String>>>,
}

impl Process {
    /// Starts a process at this time of the world. None: it ends at once, because its accounts file is not valid.
    pub(crate) fn start(at: Duration, start: &Start, server: &Server, cloud: &Cloud) -> Option<Self> {
        let accounts = start.accounts.as_ref().map(accounts_file).transpose().ok()?;
        let machine = Machine::boot(at);
        let line = Line::new(machine.sent());
        let shutdown = CancellationToken::new();
        let ended = Arc::<Mutex<_>>::default();
        let (base, time) = (machine.base(), start.time);
        let world = machine.with(|| World {
            apiserver: way(&start.name, server, &line),
            aws: Box::pin(std::future::ready(Base::of(sdk(cloud, &line, base, time)))),
            clock: Arc::new(Clock::new(time, move || UPTIME + base.elapsed())),
            random: Arc::new(Random::seeded(start.seed)),
            accounts,
            metrics: Arc::new(Metrics::new("simulated")),
            health: Arc::new(Health::new(Duration::from_mins(10))),
            shutdown: shutdown.clone(),
        });
        let arguments = ["amplify-operator", "run"].map(str::to_owned).into_iter();
        let cli = Cli::try_parse_from(arguments.chain(start.flags.iter().cloned())).expect("valid flags");
        let Some(Command::Run(settings)) = cli.command else {
            unreachable!("it was asked to run");
        };
        let end = ended.clone();
        let sent = machine.sent();
        machine.runtime().spawn(async move {
            let result = operate(*settings, world).await;
            *end.lock() = Some(result.map_err(|error| format!("{error:#}")));
            sent.notify_one();
        });
        Some(Self {
            machine,
            line,
            shutdown,
            ended,
            frozen_until: None,
            deadline: None,
        })
    }

    /// Returns its result, if it has ended.
    pub(crate) fn ended(&self) -> Option<Result<(), String>> {
        self.ended.lock().clone()
    }
}

fn accounts_file(text: &Arc<Mutex<String>>) -> Result<(AccountsFile, Accounts), String> {
    let text = text.clone();
    let read = move || std::future::ready(Ok(text.lock().clone())).boxed();
    let file = AccountsFile::of("accounts.yaml".to_owned(), read).open();
    file.now_or_never().expect("it is read at once")
}

fn way(name: &str, server: &Server, line: &Arc<Line>) -> Connector {
    let (connection, line) = (server.connection(name).giving_up_after(SILENCE_LIMIT), line.clone());
    Connector::new("operators".to_owned(), move || {
        let (connection, line) = (connection.clone(), line.clone());
        let carry = service_fn(move |request| {
            let (mut connection, line) = (connection.clone(), line.clone());
            async move {
                let fate = line.fate();
                if fate == Fate::KilledBefore {
                    return line.die().await;
                }
                // The connection sends the request when it is first polled.
                let mut call = connection.call(request);
                let answer = futures::poll!(&mut call);
                line.leave();
                if fate == Fate::KilledAfter {
                    return line.die().await;
                }
                let answer = match answer {
                    std::task::Poll::Ready(answer) => answer,
                    std::task::Poll::Pending => call.await,
                };
                let response: http::Response<axum::body::Body> = answer?;
                Ok::<_, BoxError>(response.map(|body| {
                    let body: Box<DynBody> = Box::new(body.map_err(BoxError::from));
                    body
                }))
            }
        });
        let carrier: Transport = BoxService::new(carry.map_err(BoxError::from));
        Ok(ClientBuilder::new(carrier, "operators"))
    })
}

fn sdk(cloud: &Cloud, line: &Arc<Line>, base: Instant, time: Timestamp) -> SdkConfig {
    let credentials = Credentials::new(
        DEFAULT_ACCESS_KEY_ID,
        DEFAULT_SECRET_ACCESS_KEY,
        None,
        None,
        "simulation",
    );
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url("http://aws.test")
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(cloud.client(line.clone()))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .time_source(SharedTimeSource::new(MachineTime { base, time }))
        .build()
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
struct MachineTime {
    base: Instant,
    time: Timestamp,
}

impl TimeSource for MachineTime {
    fn now(&self) -> SystemTime {
        let elapsed = SignedDuration::try_from(self.base.elapsed()).unwrap_or_default();
        (self.time + elapsed).into()
    }
}
