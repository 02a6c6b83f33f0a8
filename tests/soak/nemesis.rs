//! The faults: AWS fails, the connection to the API server fails, and the operators are killed, frozen and stopped.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use amplify_simulator::{
    Action, Class, Ending, Fault, Garbage, JobFault, JobScript,
    Operation::{self, CreateBackendEnvironment, DeleteBackendEnvironment},
};
use fastrand::Rng;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

use crate::{recorder::now, users::Cast};
use amplify_testkit::{
    gate::{Gate, Rule, Treatment, is_patch},
    laws::draws::{OTHERS, WRITES, one},
    laws::history::Millis,
    stage::{APP, Kind, PATIENCE, Stage},
};

const LEASE: &str = "amplify-operator";

/// The counts of faults, by sort.
#[derive(Default)]
pub(crate) struct Damage {
    sorts: Mutex<BTreeMap<&'static str, usize>>,
    /// The removed AWS objects, with the time.
    meddled: Mutex<Vec<(String, Millis)>>,
}

impl Damage {
    fn count(&self, sort: &'static str) {
        let mut sorts = self.sorts.lock().unwrap_or_else(PoisonError::into_inner);
        *sorts.entry(sort).or_default() += 1;
    }

    pub(crate) fn sorts(&self) -> BTreeMap<&'static str, usize> {
        self.sorts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn meddled(&self) -> Vec<(String, Millis)> {
        self.meddled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pause(rng: &mut Rng, usual: Duration, end: &CancellationToken) -> bool {
    let pause = usual.mul_f64(0.3 + 1.4 * rng.f64());
    end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
}

// ---- AWS ----

/// Draws an answer of AWS, with its sort.
fn answer(rng: &mut Rng, operation: Operation) -> (&'static str, Action) {
    let is_write = operation.class() == Class::Write;
    let has_job = is_write && !matches!(operation, CreateBackendEnvironment | DeleteBackendEnvironment);
    let status = one(rng, &[500, 503, 504]);
    // Shorter than the time after which the operator believes that nothing came of a request.
    let duration = Some(Duration::from_millis(rng.u64(100..2500)));
    match rng.u8(..32) {
        4..7 => ("5xx after the work", Action::ServerErrorAfter { status }),
        7..9 => ("reset", Action::Reset),
        9..12 => ("lost reply", Action::ResetAfter),
        12 | 13 => ("late work", Action::Hang { duration }),
        14 | 15 => ("late reply", Action::HangAfter { duration }),
        16 => ("truncated reply", Action::Truncate),
        17 => {
            let kind = one(rng, &[Garbage::Html, Garbage::Empty, Garbage::InvalidUtf8]);
            ("garbage", Action::Garbage { kind })
        }
        18 if is_write => (
            "garbage",
            Action::Garbage {
                kind: Garbage::NoMembers,
            },
        ),
        19 => ("throttling", Action::TooManyRequests),
        20 => ("throttling", Action::LimitExceeded),
        21 => ("throttling", Action::RateExceeded),
        22 if operation == CreateBackendEnvironment => ("quota", Action::QuotaExceeded),
        23..26 if has_job => ("pending job", Action::PendingJob { validation: rng.bool() }),
        26 => ("expired token", Action::ExpiredToken),
        27 => ("denied", Action::AccessDenied),
        28 if has_job => (
            "error in reply",
            Action::ErrorInReply {
                error: "the stack is in a bad state".to_owned(),
            },
        ),
        29 if is_write => (
            "bad request",
            Action::respond(400, "BadRequestException", "The request is not valid."),
        ),
        _ => ("5xx", Action::ServerError { status }),
    }
}

fn job(rng: &mut Rng) -> (&'static str, JobScript) {
    match rng.u8(..10) {
        0..3 => ("failed job", JobScript::failed("the stack rolled back", rng.bool())),
        3 => ("vanished job", JobScript::vanishes(rng.bool())),
        4 | 5 => ("hung job", JobScript::stuck()),
        6 => ("odd job", JobScript::default().saying(&["QUEUED", "ALMOST"])),
        _ => (
            "late job",
            JobScript::default().lasting(Duration::from_millis(rng.u64(3000..15_000))),
        ),
    }
}

pub(crate) async fn disturb_aws(stage: &Stage, cast: &[Cast], damage: &Damage, seed: u64, end: CancellationToken) {
    let mut rng = Rng::with_seed(seed);
    let aws = stage.aws();
    let usual = Duration::from_millis(120);
    let mut turn = 0;
    while pause(&mut rng, usual, &end).await {
        turn += 1;
        if turn % 80 == 0 {
            // Unused faults and hanging jobs must not pile up.
            aws.clear_faults();
            end_jobs(stage, |_| rng.bool());
        }
        match rng.u8(..20) {
            0..13 => {
                let operation = {
                    let of = if rng.u8(..3) > 0 { WRITES } else { OTHERS };
                    one(&mut rng, of)
                };
                let (sort, action) = answer(&mut rng, operation);
                aws.fault(Fault::on(operation, action).times(rng.u64(1..3)));
                damage.count(sort);
            }
            13..17 => {
                let (sort, script) = job(&mut rng);
                aws.job_fault(JobFault::on(one(&mut rng, WRITES), script));
                damage.count(sort);
            }
            17 => {
                aws.change_settings(|settings| {
                    settings.job_duration = Duration::from_millis(rng.u64(1000..4000));
                    settings.read_after_create_delay = Duration::from_millis(rng.u64(..2000));
                    settings.job_listing_delay = Duration::from_millis(rng.u64(..1000));
                    settings.visible_while_creating = rng.bool();
                    settings.oldest_job_first = rng.bool();
                });
                damage.count("other settings");
            }
            _ => {
                let cast = rng.choice(cast).expect("somebody plays");
                if let Some(key) = remove(stage, cast) {
                    let mut meddled = damage.meddled.lock().unwrap_or_else(PoisonError::into_inner);
                    meddled.push((key, now()));
                    damage.count("removed in AWS");
                }
            }
        }
    }
}

/// Removes an AWS object behind the operator's back.
fn remove(stage: &Stage, cast: &Cast) -> Option<String> {
    let place = (APP, cast.name.as_str());
    let is_done = match cast.kind {
        Kind::Backend => stage.aws().delete_backend(place),
        Kind::Environment => stage.aws().delete_environment(place),
        Kind::Api | Kind::Storage => false,
    };
    is_done.then(|| cast.name.clone())
}

/// Ends all faults of AWS, and all hanging jobs.
pub(crate) fn calm_aws(stage: &Stage) {
    let aws = stage.aws();
    aws.clear_faults();
    aws.change_settings(|settings| {
        settings.job_duration = Duration::from_secs(1);
        settings.read_after_create_delay = Duration::ZERO;
        settings.job_listing_delay = Duration::ZERO;
    });
    end_jobs(stage, |_| true);
}

/// Ends hanging jobs.
fn end_jobs(stage: &Stage, mut wanted: impl FnMut(&str) -> bool) {
    let app = stage.aws().app((APP, "")).expect("the app");
    for (environment, jobs) in &app.jobs {
        let running = jobs
            .iter()
            .filter(|job| !job.vanished && !matches!(job.status.as_str(), "COMPLETED" | "FAILED"));
        for job in running {
            if wanted(&job.id) {
                stage
                    .aws()
                    .end_job((APP, environment.as_str()), Some(&job.id), Ending::Completed);
            }
        }
    }
}

// ---- Kubernetes ----

pub(crate) async fn disturb_kubernetes(gate: &Gate, damage: &Damage, seed: u64, end: CancellationToken) {
    let mut rng = Rng::with_seed(seed);
    let mut turn = 0;
    while pause(&mut rng, Duration::from_millis(250), &end).await {
        turn += 1;
        if turn % 40 == 0 {
            gate.open();
        }
        let times = rng.usize(1..4);
        let rule = |hits: fn(&amplify_testkit::gate::Asked) -> bool, treatment| {
            gate.rule(Rule {
                hits: Box::new(hits),
                skip: times,
                times,
                treatment,
            });
        };
        let sort = match rng.u8(..20) {
            0..4 => {
                rule(is_patch, Treatment::Refuse(409));
                "409"
            }
            4..7 => {
                rule(is_patch, Treatment::Refuse(500));
                "500"
            }
            7..9 => {
                rule(is_patch, Treatment::Refuse(403));
                "403"
            }
            9 => {
                rule(is_patch, Treatment::Hold);
                "lost write"
            }
            10 | 11 => {
                rule(is_patch, Treatment::HoldReply);
                "lost reply to a write"
            }
            12 => {
                rule(|asked| asked.resource == "configmaps", Treatment::Refuse(500));
                "500"
            }
            13 => {
                rule(|asked| asked.resource == "leases", Treatment::Refuse(500));
                "500 for the lease"
            }
            14 => {
                rule(|asked| matches!(asked.verb, "watch" | "list"), Treatment::Refuse(500));
                gate.cut_watches();
                "cut watches"
            }
            15..18 => {
                gate.cut_watches();
                "cut watches"
            }
            _ => {
                gate.delay(Duration::from_millis(rng.u64(..250)));
                "slow replies"
            }
        };
        damage.count(sort);
    }
}

pub(crate) fn calm_kubernetes(gate: &Gate) {
    gate.open();
    gate.delay(Duration::ZERO);
}

// ---- the operators ----

struct Operator {
    host: &'static str,
    listen: SocketAddr,
    child: Child,
}

/// Two operators that take part in an election. An operator that ends is started again.
pub(crate) struct Operators {
    stage: Arc<Stage>,
    flags: Vec<String>,
    all: Vec<Operator>,
    pub(crate) restarts: usize,
    /// The sizes of the leader, about once a second while no operator was harmed.
    pub(crate) sizes: Vec<(u32, Size)>,
    measured: Option<Instant>,
}

/// The size of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Size {
    pub(crate) kibibytes: u64,
    pub(crate) tasks: u64,
}

impl Operators {
    pub(crate) async fn start(stage: Arc<Stage>, flags: Vec<String>) -> Self {
        let mut operators = Self {
            stage,
            flags,
            all: Vec::new(),
            restarts: 0,
            sizes: Vec::new(),
            measured: None,
        };
        // The lease is in the state after a release, so that no process waits for its expiry.
        operators.release().await;
        for host in ["one", "two"] {
            let operator = operators.spawn(host);
            operators.all.push(operator);
        }
        operators
    }

    fn spawn(&self, host: &'static str) -> Operator {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let listen = free.local_addr().expect("an address");
        drop(free);
        let mut flags = self.flags.clone();
        flags.extend([format!("--listen={listen}"), "--leader-elect".to_owned()]);
        Operator {
            host,
            listen,
            child: self.stage.start_as(host, &[], &flags),
        }
    }

    fn lease(&self) -> Api<Lease> {
        Api::namespaced(self.stage.world.client.clone(), &self.stage.namespace)
    }

    /// Releases the lease, after the leader has died.
    async fn release(&self) {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": LEASE },
            "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 },
        });
        let params = PatchParams::apply("test").force();
        self.lease()
            .patch(LEASE, &params, &Patch::Apply(lease))
            .await
            .expect("a lease");
    }

    async fn leader(&self) -> Option<usize> {
        let lease = self.lease().get(LEASE).await.expect("the lease");
        let holder = lease.spec?.holder_identity?;
        self.all
            .iter()
            .position(|operator| holder.starts_with(&format!("{}_", operator.host)))
    }

    async fn signal(&self, index: usize, signal: &str) {
        if let Some(pid) = self.all[index].child.id() {
            let sent = Command::new("kill").args([signal, &pid.to_string()]).status().await;
            let _may_be_gone = sent.expect("kill runs");
        }
    }

    /// Restarts operators that have ended.
    async fn supervise(&mut self) {
        for index in 0..self.all.len() {
            if let Ok(Some(_)) = self.all[index].child.try_wait() {
                // The operator may have ended because it lost the lease, or it may have died as the leader.
                if self.leader().await == Some(index) {
                    self.release().await;
                }
                self.all[index] = self.spawn(self.all[index].host);
                self.restarts += 1;
            }
        }
    }

    /// Restarts operators that have ended, until the end, without harming them.
    pub(crate) async fn keep(&mut self, end: &CancellationToken) {
        loop {
            self.supervise().await;
            if self.measured.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
                self.measured = Some(Instant::now());
                let size = self.size().await;
                self.sizes.extend(size);
            }
            let pause = tokio::time::sleep(Duration::from_millis(200));
            if end.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Kills, stops and freezes the operators until the end.
    pub(crate) async fn disturb(&mut self, damage: &Damage, seed: u64, end: &CancellationToken) {
        let mut rng = Rng::with_seed(seed);
        let mut due = Instant::now() + Duration::from_secs(2);
        while !end.is_cancelled() {
            self.supervise().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            if Instant::now() < due {
                continue;
            }
            due = Instant::now() + Duration::from_millis(rng.u64(1000..3500));
            let leader = self.leader().await.unwrap_or_default();
            match rng.u8(..10) {
                0..6 => {
                    damage.count("leader killed");
                    self.all[leader].child.kill().await.expect("killed");
                }
                6 => {
                    damage.count("standby killed");
                    self.all[1 - leader].child.kill().await.expect("killed");
                }
                7 | 8 => {
                    damage.count("leader ended");
                    self.signal(leader, "-TERM").await;
                }
                _ => {
                    damage.count("leader frozen");
                    self.signal(leader, "-STOP").await;
                    tokio::time::sleep(Duration::from_millis(rng.u64(500..3000))).await;
                    self.signal(leader, "-CONT").await;
                }
            }
        }
    }

    /// Stops both operators and starts them with an additional flag.
    pub(crate) async fn restart_with(&mut self, flag: &str) {
        let name = flag.split('=').next().unwrap_or_default().to_owned();
        self.flags.retain(|known| known.split('=').next() != Some(&name));
        self.flags.push(flag.to_owned());
        for index in 0..self.all.len() {
            self.signal(index, "-TERM").await;
            let ended = tokio::time::timeout(PATIENCE, self.all[index].child.wait()).await;
            let status = ended.expect("it ends in time").expect("it ends");
            assert!(status.success(), "{} ends cleanly: {status}", self.all[index].host);
        }
        for index in 0..self.all.len() {
            self.all[index] = self.spawn(self.all[index].host);
        }
        self.restarts += self.all.len();
        let leads = async {
            while self.leader().await.is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, leads).await.expect("one of them leads");
    }

    /// Returns the current size of the leader, with its process id. None: no process leads, or it does not answer.
    pub(crate) async fn size(&self) -> Option<(u32, Size)> {
        let operator = &self.all[self.leader().await?];
        let pid = operator.child.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes = resident.trim().trim_end_matches(" kB").parse().ok()?;
        let mut stream = TcpStream::connect(operator.listen).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let tasks = text
            .lines()
            .find_map(|line| line.strip_prefix("amplify_operator_tokio_alive_tasks "))?;
        let tasks = tasks.parse().ok()?;
        Some((pid, Size { kibibytes, tasks }))
    }
}
