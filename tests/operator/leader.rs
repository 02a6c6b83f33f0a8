//! Two operators with `--leader-elect`, each as a user of its own: one acts, the other takes over, and they never act
//! at the same time.

use std::{
    path::PathBuf,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use amplify_simulator::{Action, Fault, Operation};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use amplify_testkit::stage::{Kind, PATIENCE, Setup, Stage, World};

amplify_testkit::tests! {
    of_two_operators_only_the_leader_writes,
    a_killed_leader_is_followed_and_its_create_is_finished,
    a_leader_that_ends_is_followed_within_seconds,
    a_leader_that_was_frozen_during_a_create_wakes_up_and_writes_nothing,
    a_leader_that_is_cut_off_ends_before_another_leads,
}

const LEASE: &str = "amplify-operator";
/// The lease duration and the retry period, and a margin for a busy machine.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30 + 2 + 13);

/// An operator process with a user of its own.
struct Operator {
    user: &'static str,
    child: Child,
    log: PathBuf,
}

impl Operator {
    /// Takes the stage's operator.
    fn of(stage: &mut Stage) -> Self {
        Self {
            user: "operator",
            child: stage.operator.take().expect("a running operator"),
            log: stage.dir.path().join("operator.log"),
        }
    }

    async fn beside(stage: &Stage) -> Self {
        let user = "rival";
        Self {
            user,
            child: stage.start_beside(user).await,
            log: stage.dir.path().join(format!("{user}.log")),
        }
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("a running operator").to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await;
        assert!(sent.expect("kill runs").success(), "{signal} is sent");
    }

    async fn end(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends in time").expect("it ends")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    async fn wait_until_logged(&self, text: &str) {
        let logged = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, logged).await.is_ok();
        assert!(in_time, "{} does not log {text:?} within {PATIENCE:?}", self.user);
    }

    /// Returns all its writes to the API server: verb, resource and name.
    fn writes(&self, stage: &Stage) -> Vec<(String, String, String)> {
        let user = format!("system:serviceaccount:{}:{}", stage.namespaces[0], self.user);
        let events = stage.world.audit.events().expect("an audit log");
        events
            .into_iter()
            .filter(|event| event.user == user && event.is_write())
            .map(|event| (event.verb, event.resource, event.name))
            .collect()
    }

    /// Returns its writes except those of the lease.
    fn work(&self, stage: &Stage) -> Vec<(String, String, String)> {
        let mut writes = self.writes(stage);
        writes.retain(|(_, resource, _)| resource != "leases");
        writes
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // The stage prints its own operator's log.
        if std::thread::panicking() && self.user != "operator" {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the log of {} ends:", self.user);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

async fn electing(world: Arc<World>) -> Stage {
    let mut setup = Setup::default();
    setup.flags.push("--leader-elect");
    Stage::with(world, setup).await
}

/// Returns a stage whose operator leads, and another operator that stands by.
async fn led(world: Arc<World>) -> (Stage, Operator, Operator) {
    let mut stage = electing(world).await;
    release(&stage).await;
    let leader = Operator::of(&mut stage);
    wait_for_holder(&stage, &leader).await;
    let standby = Operator::beside(&stage).await;
    standby.wait_until_logged("standing by").await;
    (stage, leader, standby)
}

fn leases(stage: &Stage) -> Api<Lease> {
    Api::namespaced(stage.world.client.clone(), &stage.namespaces[0])
}

/// Sets the lease as a leader leaves it on release, so that no process waits for its expiry.
async fn release(stage: &Stage) {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": LEASE },
        "spec": { "holderIdentity": "", "leaseDurationSeconds": 1 },
    });
    let params = PatchParams::apply("test").force();
    leases(stage)
        .patch(LEASE, &params, &Patch::Apply(lease))
        .await
        .expect("a lease");
}

async fn wait_for_holder(stage: &Stage, operator: &Operator) {
    let prefix = format!("{}_", operator.user);
    let is_held = |lease: Option<&Lease>| {
        lease
            .and_then(|lease| lease.spec.as_ref()?.holder_identity.as_ref())
            .is_some_and(|holder| holder.starts_with(&prefix))
    };
    let held = await_condition(leases(stage), LEASE, is_held);
    let in_time = tokio::time::timeout(PATIENCE, held).await.is_ok();
    assert!(in_time, "{} does not lead within {PATIENCE:?}", operator.user);
}

async fn of_two_operators_only_the_leader_writes(world: Arc<World>) {
    let mut stage = electing(world).await;
    let (first, second) = (Operator::of(&mut stage), Operator::beside(&stage).await);
    // The lease does not exist yet, so the first leader waits for its whole duration.
    for name in ["one", "two", "three"] {
        stage.create_backend(name).await;
    }
    for name in ["one", "two", "three"] {
        stage.wait_until_ready(Kind::Backend, name).await;
    }
    let is_first = first.log().contains("this process leads now");
    let (leader, standby) = if is_first { (first, second) } else { (second, first) };
    assert!(!standby.log().contains("this process leads now"));
    let backends = |(_, resource, _): &&(String, String, String)| resource == "amplifybackends";
    assert_eq!(leader.work(&stage).iter().filter(backends).count(), 3 * 4);
    assert_eq!(standby.work(&stage), []);
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 3);
    stage.assert_created_once();
}

async fn a_killed_leader_is_followed_and_its_create_is_finished(world: Arc<World>) {
    let (stage, mut leader, standby) = led(world).await;
    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::hang_after()));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    leader.child.kill().await.expect("killed");
    let killed = Instant::now();
    wait_for_holder(&stage, &standby).await;
    let vacant = killed.elapsed();
    assert!(vacant < TAKEN_OVER_WITHIN, "nobody led for {vacant:?}");
    let object = stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(object["status"]["job"]["attempt"], 1);
    assert_eq!(object["status"]["origin"], "Created");
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
    stage.assert_created_once();
}

async fn a_leader_that_ends_is_followed_within_seconds(world: Arc<World>) {
    let (stage, mut leader, standby) = led(world).await;
    let slow = Action::HangAfter {
        duration: Some(Duration::from_secs(4)),
    };
    stage.aws().fault(Fault::on(Operation::CreateBackend, slow));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    leader.signal("-TERM").await;
    assert!(leader.end().await.success());
    let ended = Instant::now();
    wait_for_holder(&stage, &standby).await;
    let vacant = ended.elapsed();
    assert!(vacant < Duration::from_secs(10), "nobody led for {vacant:?}");
    assert!(leader.log().contains("lease released"));
    let recorded = leader.work(&stage).len();
    assert!(
        recorded >= 3,
        "finalizer, intent and job are the old leader's: {recorded}"
    );
    stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
    stage.assert_created_once();
}

async fn a_leader_that_was_frozen_during_a_create_wakes_up_and_writes_nothing(world: Arc<World>) {
    // Together with the create that is being sent, as many calls as may be in flight to one account and region.
    const LISTING: usize = 3;
    let (stage, mut leader, standby) = led(world).await;
    // All answers arrive while the leader is frozen. They are there when it wakes up.
    let slow = Action::HangAfter {
        duration: Some(Duration::from_secs(8)),
    };
    let mut names: Vec<_> = (0..LISTING).map(|number| format!("listing-{number}")).collect();
    for name in &names {
        let fault = Fault::on(Operation::ListBackendJobs, slow.clone());
        stage.aws().fault(fault.environment(name));
        stage.create_backend(name).await;
    }
    stage.wait_for_calls(Operation::ListBackendJobs, LISTING).await;
    stage.aws().fault(Fault::on(Operation::CreateBackend, slow));
    stage.create_backend("sending").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    leader.signal("-STOP").await;
    names.push("sending".to_owned());

    wait_for_holder(&stage, &standby).await;
    let mut versions = Vec::new();
    for name in &names {
        let object = stage.wait_until_ready(Kind::Backend, name).await;
        assert_eq!(object["status"]["job"]["attempt"], 1, "{object:#}");
        versions.push(object["metadata"]["resourceVersion"].clone());
    }
    let before = leader.writes(&stage);
    leader.signal("-CONT").await;
    assert!(!leader.end().await.success(), "it ends with an error");
    assert!(leader.log().contains("leadership lost"), "and says why");
    assert_eq!(leader.writes(&stage), before, "it wrote nothing more");
    for (name, version) in names.iter().zip(versions) {
        let object = stage.get(Kind::Backend, name).await;
        assert_eq!(object["metadata"]["resourceVersion"], version, "{object:#}");
    }
    assert_eq!(stage.calls(Operation::CreateBackend).len(), names.len());
    stage.assert_created_once();
}

async fn a_leader_that_is_cut_off_ends_before_another_leads(world: Arc<World>) {
    let mut stage = electing(world).await;
    stage.kill().await;
    let way = Way::of(&mut stage).await;
    stage.start();
    release(&stage).await;
    let mut leader = Operator::of(&mut stage);
    wait_for_holder(&stage, &leader).await;
    let standby = Operator::beside(&stage).await;
    standby.wait_until_logged("standing by").await;

    stage
        .aws()
        .fault(Fault::on(Operation::CreateBackend, Action::hang_after()));
    stage.create_backend("dev").await;
    stage.wait_for_calls(Operation::CreateBackend, 1).await;
    way.close();
    let cut = Instant::now();
    let (status, ended) = tokio::select! {
        status = leader.end() => (status, cut.elapsed()),
        () = wait_for_holder(&stage, &standby) => panic!("two lead"),
    };
    assert!(!status.success() && leader.log().contains("leadership lost"));
    assert!(ended < Duration::from_secs(25), "it went on for {ended:?}");
    wait_for_holder(&stage, &standby).await;
    stage.wait_until_ready(Kind::Backend, "dev").await;
    assert_eq!(stage.calls(Operation::CreateBackend).len(), 1);
    stage.assert_created_once();
}

/// A route to the API server that can be closed.
struct Way(CancellationToken);

impl Way {
    /// Makes the stage's operator use this route from its next start on.
    async fn of(stage: &mut Stage) -> Self {
        let direct = stage.dir.path().join("operator.kubeconfig");
        let kubeconfig = std::fs::read_to_string(direct).expect("a kubeconfig");
        let start = kubeconfig.find("https://").expect("an address") + "https://".len();
        let length = kubeconfig[start..]
            .find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)))
            .expect("an end");
        let server = kubeconfig[start..start + length].to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let path = stage.dir.path().join("way.kubeconfig");
        std::fs::write(&path, kubeconfig.replace(&server, &address)).expect("a kubeconfig");
        stage.set("KUBECONFIG", &path.display().to_string());
        let closed = CancellationToken::new();
        let end = closed.clone();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(Ok((mut near, _))) = end.run_until_cancelled(listener.accept()).await {
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Self(closed)
    }

    /// Resets all connections and stops listening.
    fn close(&self) {
        self.0.cancel();
    }
}
