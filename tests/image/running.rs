//! The operator in the image, as the chart's pod runs it.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use amplify_testkit::stage::{Kind, World, environment, get};

use amplify_operator::api::KindName;

use crate::container::{Container, output};

amplify_testkit::tests! {
    the_program_works_as_the_images_user,
    the_program_works_as_any_other_user,
    the_program_prints_its_definitions,
}

/// The time that Kubernetes gives a pod by default. The chart gives more.
const GRACE: Duration = Duration::from_secs(30);
const LIMIT: &str = "134217728";

async fn the_program_prints_its_definitions(_: Arc<World>) {
    let container = Container::new("65532:65532", &[]).await;
    let version = output(&mut container.command(&["--version"])).await;
    assert_eq!(version.trim(), concat!("amplify-operator ", env!("CARGO_PKG_VERSION")));
    let definitions = output(&mut container.command(&["crd"])).await;
    let definitions = definitions.matches("kind: CustomResourceDefinition").count();
    assert_eq!(definitions, KindName::ALL.len());
}

async fn the_program_works_as_the_images_user(world: Arc<World>) {
    works_as(world, "65532:65532").await;
}

/// As on OpenShift: a user id of the namespace's range, and root's group.
async fn the_program_works_as_any_other_user(world: Arc<World>) {
    works_as(world, "1000710000:0").await;
}

async fn works_as(world: Arc<World>, user: &str) {
    let container = Container::new(user, &[]).await;
    let mut stage = container.stage(world).await;
    stage.operator = Some(stage.start_as("operator", &[], &["--listen=[::]:0".to_owned()]));
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    stage.create_backend("main").await;
    stage.wait_until_ready(Kind::Environment, "dev").await;
    stage.wait_until_ready(Kind::Backend, "main").await;

    // A kubelet of an IPv6-only cluster probes an IPv6 address.
    let port = stage.address().port();
    for host in [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()] {
        for probe in ["/livez", "/readyz"] {
            let answer = get(SocketAddr::new(host, port), probe, "*/*").await;
            assert!(answer.is_some(), "{host} {probe}");
        }
    }

    let pid = container.pid().await;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect("a field").trim().to_owned()
    };
    let (uid, gid) = user.split_once(':').expect("user:group");
    // An engine that is not root's maps the users.
    if rustix::process::geteuid().is_root() {
        assert_eq!(field("Uid:").split_whitespace().collect::<Vec<_>>(), [uid; 4]);
        assert_eq!(field("Gid:").split_whitespace().collect::<Vec<_>>(), [gid; 4]);
    }
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mounts");
    let is_read_only = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        fields[4] == "/" && fields[5].starts_with("ro")
    };
    assert!(mounts.lines().any(is_read_only), "{mounts}");
    assert_eq!(memory_limit(pid), LIMIT);
    println!(
        "evidence: image: as user {user}, of 128 MiB at most {}",
        field("VmHWM:")
    );

    let start = Instant::now();
    stage.terminate().await;
    assert!(start.elapsed() < GRACE, "SIGTERM takes {:?}", start.elapsed());
}

/// Returns the limit of the control group of a process, in bytes.
fn memory_limit(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("control groups");
    let group = |controller: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (found, path) = rest.split_once(':')?;
            (found == controller).then(|| path.to_owned())
        })
    };
    let file = match group("memory") {
        Some(path) => format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
        None => format!("/sys/fs/cgroup{}/memory.max", group("").expect("a control group")),
    };
    fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{file}: {error}"))
        .trim()
        .to_owned()
}
