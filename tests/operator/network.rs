//! The way to the API server and to AWS: proxies, certificate authorities, the program's name in logs of others, and
//! the address of its own server.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
};

use amplify_testkit::{
    https::{Authority, Https},
    stage::{APP, Kind, PATIENCE, Setup, Stage, World, environment, get, message, operator_binary},
};

amplify_testkit::tests! {
    through_a_proxy_go_the_requests_to_the_api_server_and_to_aws_and_its_password_goes_nowhere,
    no_proxy_and_loopback_keep_the_api_server_direct_while_aws_goes_through_the_proxy,
    in_a_pod_the_api_server_is_reached_directly_and_aws_through_the_proxy,
    the_kubeconfigs_own_proxy_counts_before_that_of_the_environment,
    a_proxy_that_asks_for_a_password_is_said_to_do_so,
    credentials_of_a_container_are_not_asked_of_a_proxy,
    aws_is_trusted_by_the_authorities_of_aws_ca_bundle_in_every_command,
    the_program_names_itself_to_the_api_server_and_to_aws,
    the_address_of_ipv6_answers_probes_on_ipv4_too,
}

/// Hosts that only the proxy finds.
const KUBERNETES: &str = "kubernetes.test:6443";
const AWS: &str = "amplify.test:443";
const PASSWORD: &str = "s3cret-of-the-proxy";

/// A proxy for CONNECT, which knows hosts that nobody else knows.
struct Proxy {
    address: SocketAddr,
    /// The hosts that it was asked for, and those that asked with the password.
    asked: Arc<Mutex<Vec<(String, bool)>>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy that leads to these hosts, and asks for the password.
    async fn start(hosts: BTreeMap<String, SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let task = tokio::spawn({
            let (asked, hosts) = (asked.clone(), Arc::new(hosts));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, hosts.clone(), asked.clone()));
                }
            }
        });
        Self { address, asked, task }
    }

    fn url(&self, password: &str) -> String {
        format!("http://operator:{password}@{}", self.address)
    }

    /// Returns the hosts that it has led to.
    fn led_to(&self) -> BTreeSet<String> {
        let asked = self.asked.lock().expect("the list");
        let led = asked.iter().filter(|(_, is_allowed)| *is_allowed);
        led.map(|(host, _)| host.clone()).collect()
    }

    /// Returns the hosts that it was asked for.
    fn asked_for(&self) -> BTreeSet<String> {
        let asked = self.asked.lock().expect("the list");
        asked.iter().map(|(host, _)| host.clone()).collect()
    }
}

async fn serve(
    client: TcpStream,
    hosts: Arc<BTreeMap<String, SocketAddr>>,
    asked: Arc<Mutex<Vec<(String, bool)>>>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let (mut host, mut is_allowed) = (String::new(), false);
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        match line.trim().split_once(' ') {
            None => break,
            Some(("CONNECT", rest)) => host = rest.split(' ').next().unwrap_or_default().to_owned(),
            // Another method is a request in plain HTTP.
            Some((name, value)) if host.is_empty() => host = format!("{name} {value}"),
            Some((name, value)) => is_allowed |= name.eq_ignore_ascii_case("proxy-authorization:") && value == basic(),
        }
    }
    asked.lock().expect("the list").push((host.clone(), is_allowed));
    let known = hosts.get(&host).copied();
    let status = match known {
        _ if !is_allowed => "407 Proxy Authentication Required",
        None => "502 Bad Gateway",
        Some(_) => "200 OK",
    };
    client
        .write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())
        .await?;
    if let Some(address) = known.filter(|_| is_allowed) {
        let mut server = TcpStream::connect(address).await?;
        tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    }
    Ok(())
}

/// The header of the name `operator` and the password.
fn basic() -> String {
    // Printed by `printf 'operator:s3cret-of-the-proxy' | base64`.
    "Basic b3BlcmF0b3I6czNjcmV0LW9mLXRoZS1wcm94eQ==".to_owned()
}

/// A stage whose operator is not running yet, a server for AWS, and a proxy that leads to both.
struct Site {
    stage: Stage,
    aws: Https,
    proxy: Proxy,
    /// The kubeconfig of the stage, and the address of the API server in it.
    kubeconfig: String,
    apiserver: SocketAddr,
}

impl Site {
    async fn new(world: Arc<World>, setup: Setup) -> Self {
        let running = Setup {
            running: false,
            ..setup
        };
        let mut stage = Stage::with(world, running).await;
        let authority = Authority::new();
        let aws = authority.serve(stage.simulator.address()).await;
        let bundle = stage.dir.path().join("authorities.pem");
        fs::write(&bundle, &authority.pem).expect("a file");
        stage.set("AWS_CA_BUNDLE", &bundle.display().to_string());
        stage.set("AWS_ENDPOINT_URL", "https://amplify.test");
        let kubeconfig = fs::read_to_string(variable(&stage, "KUBECONFIG")).expect("a kubeconfig");
        let server = kubeconfig.split_once("https://").expect("a server").1;
        let apiserver = server.lines().next().expect("a server").parse().expect("an address");
        let hosts = [(KUBERNETES, apiserver), (AWS, aws.address)];
        let proxy = Proxy::start(hosts.map(|(host, address)| (host.to_owned(), address)).into()).await;
        stage.set("HTTPS_PROXY", &proxy.url(PASSWORD));
        Self {
            stage,
            aws,
            proxy,
            kubeconfig,
            apiserver,
        }
    }

    /// Makes the kubeconfig name the API server by a name that only the proxy knows. `more`: more lines of the cluster.
    fn hide_the_api_server(&self, more: &str) {
        let server = format!("server: https://{}\n", self.apiserver);
        assert!(self.kubeconfig.contains(&server), "{}", self.kubeconfig);
        let hidden = format!("server: https://{KUBERNETES}\n    tls-server-name: 127.0.0.1\n{more}");
        fs::write(
            variable(&self.stage, "KUBECONFIG"),
            self.kubeconfig.replace(&server, &hidden),
        )
        .expect("a kubeconfig");
    }

    /// Creates a record, and waits until the operator has made it in AWS.
    async fn works(&self) {
        let stage = &self.stage;
        stage.create(Kind::Environment, "dev", environment("dev")).await;
        stage.wait_until_ready(Kind::Environment, "dev").await;
    }
}

fn variable(stage: &Stage, name: &str) -> String {
    let mut variables = stage.environment.iter();
    variables.find(|(known, _)| known == name).expect("it is set").1.clone()
}

fn set(hosts: &[&str]) -> BTreeSet<String> {
    hosts.iter().map(|host| (*host).to_owned()).collect()
}

async fn through_a_proxy_go_the_requests_to_the_api_server_and_to_aws_and_its_password_goes_nowhere(world: Arc<World>) {
    let mut site = Site::new(world, Setup::default()).await;
    site.hide_the_api_server("");
    site.stage.set("RUST_LOG", "trace,h2=off");
    site.stage.start();
    site.works().await;
    assert_eq!(site.proxy.led_to(), set(&[KUBERNETES, AWS]));
    let log = site.stage.log();
    for secret in [PASSWORD, basic().as_str(), "b3BlcmF0b3I6"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "the log holds the password");
    }
    site.stage.terminate().await;
}

async fn no_proxy_and_loopback_keep_the_api_server_direct_while_aws_goes_through_the_proxy(world: Arc<World>) {
    let mut site = Site::new(world, Setup::default()).await;
    // The name cannot be resolved without the proxy, and that is what the operator now says.
    site.hide_the_api_server("");
    site.stage.set("NO_PROXY", "10.0.0.0/8,.test:6443");
    site.stage.start();
    site.stage.wait_until_logged("dns error").await;
    assert_eq!(site.proxy.asked_for(), set(&[]), "NO_PROXY names it");
    site.stage.kill().await;

    fs::write(variable(&site.stage, "KUBECONFIG"), &site.kubeconfig).expect("a kubeconfig");
    for no_proxy in ["127.0.0.1,localhost", ""] {
        site.stage.set("NO_PROXY", no_proxy);
        site.stage.start();
        site.stage.wait_until_logged("operator starts").await;
        if no_proxy.is_empty() {
            site.stage.create(Kind::Environment, "next", environment("next")).await;
            site.stage.wait_until_ready(Kind::Environment, "next").await;
        } else {
            site.works().await;
        }
        assert_eq!(site.proxy.asked_for(), set(&[AWS]), "NO_PROXY={no_proxy}");
        site.stage.terminate().await;
    }
}

/// Returns a command that starts a program with these files as the service account of its pod.
fn in_a_pod(folder: &std::path::Path) -> Vec<String> {
    let script = "set -e; mount -t tmpfs tmpfs /var/run; at=/var/run/secrets/kubernetes.io/serviceaccount; mkdir -p $at; \
                  cp \"$0\"/* $at; exec \"$@\"";
    let mut launcher = vec!["/usr/bin/unshare"];
    if !rustix::process::geteuid().is_root() {
        launcher.extend(["--user", "--map-root-user"]);
    }
    launcher.extend(["--mount", "--", "/bin/sh", "-c", script]);
    let mut launcher: Vec<_> = launcher.into_iter().map(str::to_owned).collect();
    launcher.extend([folder.display().to_string(), operator_binary().display().to_string()]);
    launcher
}

async fn in_a_pod_the_api_server_is_reached_directly_and_aws_through_the_proxy(world: Arc<World>) {
    let account = tempfile::tempdir().expect("a folder");
    let setup = Setup {
        launcher: in_a_pod(account.path()),
        ..Setup::default()
    };
    let mut site = Site::new(world, setup).await;
    let after = |name: &str| {
        let rest = site.kubeconfig.split_once(name).expect("it is there").1;
        rest.lines().next().unwrap_or_default().trim_matches('"').to_owned()
    };
    let authority: k8s_openapi::ByteString =
        serde_json::from_value(after("certificate-authority-data: ").into()).expect("base64");
    let write = |name: &str, content: &[u8]| fs::write(account.path().join(name), content).expect("a file");
    write("ca.crt", &authority.0);
    write("token", after("token: ").as_bytes());
    write("namespace", site.stage.namespace.as_bytes());
    site.stage.environment.retain(|(name, _)| name != "KUBECONFIG");
    site.stage
        .set("KUBERNETES_SERVICE_PORT", &site.apiserver.port().to_string());

    site.stage.set("KUBERNETES_SERVICE_HOST", "kubernetes.test");
    site.stage.start();
    site.stage.wait_until_logged("dns error").await;
    assert_eq!(site.proxy.asked_for(), set(&[]));
    site.stage.kill().await;

    site.stage.set("KUBERNETES_SERVICE_HOST", "127.0.0.1");
    site.stage.start();
    site.works().await;
    assert_eq!(site.proxy.asked_for(), set(&[AWS]));
    site.stage.terminate().await;
}

async fn the_kubeconfigs_own_proxy_counts_before_that_of_the_environment(world: Arc<World>) {
    let mut site = Site::new(world, Setup::default()).await;
    let own = Proxy::start([(KUBERNETES.to_owned(), site.apiserver)].into()).await;
    site.hide_the_api_server(&format!("    proxy-url: {}\n", own.url(PASSWORD)));
    // As in kubectl, NO_PROXY says nothing about it.
    site.stage.set("NO_PROXY", "kubernetes.test");
    site.stage.start();
    site.works().await;
    assert_eq!(own.led_to(), set(&[KUBERNETES]));
    assert_eq!(site.proxy.asked_for(), set(&[AWS]));
    site.stage.terminate().await;
}

async fn a_proxy_that_asks_for_a_password_is_said_to_do_so(world: Arc<World>) {
    let mut site = Site::new(world, Setup::default()).await;
    let wrong = site.proxy.url("another-s3cret");
    site.stage.set("HTTPS_PROXY", &wrong);
    site.stage.start();
    site.stage.create(Kind::Environment, "dev", environment("dev")).await;
    let object = site
        .stage
        .wait_for_reason(Kind::Environment, "dev", "AwsUnavailable")
        .await;
    let said = message(&object);
    assert!(said.contains("proxy authorization required"), "{said}");
    assert_eq!(site.proxy.led_to(), set(&[]));

    site.hide_the_api_server("");
    site.stage.kill().await;
    site.stage.start();
    site.stage.wait_until_logged("waiting for the API server").await;
    let log = site.stage.log();
    let waits = log
        .lines()
        .find(|line| line.contains("waiting for the API server: no answer"));
    assert!(
        waits.unwrap_or_default().contains("proxy authorization required"),
        "{waits:?}"
    );
    assert!(!log.contains("another-s3cret") && !object.to_string().contains("another-s3cret"));
}

async fn credentials_of_a_container_are_not_asked_of_a_proxy(world: Arc<World>) {
    let site = Site::new(world, Setup::default()).await;
    // The agent of a container. Its usual addresses cannot be had in a test; the same rule covers them.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let uri = format!("http://{}/v1/credentials", listener.local_addr().expect("an address"));
    let credentials = serde_json::json!({
        "AccessKeyId": variable(&site.stage, "AWS_ACCESS_KEY_ID"),
        "SecretAccessKey": variable(&site.stage, "AWS_SECRET_ACCESS_KEY"),
        "Token": "of-a-container",
        "Expiration": "2099-01-01T00:00:00Z",
    })
    .to_string();
    let agent = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut client = BufReader::new(client);
            let mut line = String::new();
            while client.read_line(&mut line).await.is_ok_and(|length| length > 2) {
                line.clear();
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", credentials.len());
            let _ = client.write_all(format!("{head}{credentials}").as_bytes()).await;
        }
    });
    let is_kept = |name: &str| !name.contains("ACCESS_KEY");
    let run = Command::new(operator_binary())
        .args(["import", "--all-apps"])
        .env_clear()
        .envs(site.stage.environment.iter().filter(|(name, _)| is_kept(name)).cloned())
        .env("HTTP_PROXY", site.proxy.url(PASSWORD))
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .expect("in time")
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // With these credentials AWS was asked, through the proxy. The proxy was not asked for the credentials.
    assert_eq!(site.proxy.asked_for(), set(&[AWS]), "{said}");
    agent.abort();
}

async fn aws_is_trusted_by_the_authorities_of_aws_ca_bundle_in_every_command(world: Arc<World>) {
    let mut site = Site::new(world, Setup::default()).await;
    site.stage.environment.retain(|(name, _)| name != "HTTPS_PROXY");
    let endpoint = format!("https://{}", site.aws.address);
    site.stage.set("AWS_ENDPOINT_URL", &endpoint);
    site.stage.start();
    site.works().await;
    site.stage.terminate().await;
    let bundle = variable(&site.stage, "AWS_CA_BUNDLE");
    // The second variable is the one of OpenSSL, which replaces the system's authorities.
    for (name, trusts) in [("AWS_CA_BUNDLE", true), ("SSL_CERT_FILE", true), ("NOTHING", false)] {
        for command in ["import", "report"] {
            let run = Command::new(operator_binary())
                .args([command, "--app-id", APP])
                .env_clear()
                .envs(
                    site.stage
                        .environment
                        .iter()
                        .filter(|(name, _)| name != "AWS_CA_BUNDLE")
                        .cloned(),
                )
                .env(name, &bundle)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = tokio::time::timeout(PATIENCE, run)
                .await
                .expect("in time")
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), trusts, "{command} with {name}: {said}");
            assert!(trusts || said.contains("UnknownIssuer"), "{said}");
        }
    }
}

async fn the_program_names_itself_to_the_api_server_and_to_aws(world: Arc<World>) {
    let mut stage = Stage::with(
        world,
        Setup {
            running: false,
            ..Setup::default()
        },
    )
    .await;
    // A relay before the simulator keeps what it passes on.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let simulator = stage.simulator.address();
    let sent = Arc::<Mutex<Vec<u8>>>::default();
    let relay = tokio::spawn({
        let sent = sent.clone();
        async move {
            while let Ok((client, _)) = listener.accept().await {
                let sent = sent.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(simulator).await.expect("the simulator");
                    let ((mut requests, mut replies), (mut from, mut to)) = (client.into_split(), server.into_split());
                    let back = async move { tokio::io::copy(&mut from, &mut replies).await };
                    let forth = async move {
                        let mut buffer = vec![0; 64 << 10];
                        while let Ok(length @ 1..) = requests.read(&mut buffer).await {
                            sent.lock().expect("the bytes").extend_from_slice(&buffer[..length]);
                            to.write_all(&buffer[..length]).await?;
                        }
                        to.shutdown().await
                    };
                    let _ = tokio::join!(back, forth);
                });
            }
        }
    });
    stage.set("AWS_ENDPOINT_URL", &endpoint);
    stage.start();
    stage.create_backend("main").await;
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    stage.wait_until_ready(Kind::Backend, "main").await;
    stage.wait_until_ready(Kind::Environment, "dev").await;

    let sent = String::from_utf8_lossy(&sent.lock().expect("the bytes")).to_lowercase();
    let agents: Vec<_> = sent.lines().filter(|line| line.starts_with("user-agent: ")).collect();
    let name = concat!(" app/amplify-operator-", env!("CARGO_PKG_VERSION"));
    let nameless = agents.iter().find(|agent| !agent.contains(name));
    assert_eq!(nameless, None);
    // STS and both services.
    assert!(agents.len() > 5, "{agents:?}");

    let user = format!("system:serviceaccount:{}:operator", stage.namespace);
    let events = stage.world.audit.events().expect("an audit log");
    let agents: BTreeSet<_> = events
        .into_iter()
        .filter(|event| event.user == user)
        .map(|event| event.user_agent)
        .collect();
    let agents: Vec<_> = agents.iter().map(String::as_str).collect();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let name = format!("amplify-operator/{} (linux/{arch})", env!("CARGO_PKG_VERSION"));
    assert_eq!(agents, [name.as_str()]);
    stage.terminate().await;
    relay.abort();
}

async fn the_address_of_ipv6_answers_probes_on_ipv4_too(world: Arc<World>) {
    let setup = Setup {
        running: false,
        ..Setup::default()
    };
    let stage = Stage::with(world, setup).await;
    let _operator = stage.start_as("ipv6", &[], &["--listen=[::]:0".to_owned()]);
    let log = stage.dir.path().join("ipv6.log");
    let address = async {
        loop {
            let log = fs::read_to_string(&log).unwrap_or_default();
            if let Some((_, said)) = log.rsplit_once(" listen=") {
                let address = said.split_whitespace().next().unwrap_or_default();
                return (address.parse::<SocketAddr>().expect("an address"), log);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let (address, log) = tokio::time::timeout(PATIENCE, address).await.expect("in time");
    for host in [Some("127.0.0.1"), address.is_ipv6().then_some("::1")]
        .into_iter()
        .flatten()
    {
        let host = host.parse().expect("an address");
        let live = get(SocketAddr::new(host, address.port()), "/livez", "*/*").await;
        assert!(live.is_some(), "{host} does not answer");
    }
    assert_eq!(log.contains("has no IPv6"), address.is_ipv4(), "{log}");
}
