//! A control plane without nodes: etcd, kube-apiserver and, on request, kube-controller-manager.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use rustix::process::Signal;
use semver::Version;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, UnixStream},
    time::{self, Duration},
};

use crate::{
    Error, Result,
    audit::{self, AuditLog},
    credentials::{self, Credentials},
    process::{self, Process},
    tools::{self, Tool},
};

/// The parts to start besides etcd and the API server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Also start the controller manager: namespaces, owned objects and `ServiceAccount`s then behave as in a complete
    /// cluster.
    pub controller_manager: bool,
    /// Write the audit log that [`Cluster::audit`] reads.
    pub audit: bool,
    /// Additional arguments for kube-apiserver.
    pub apiserver_arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: false,
            audit: true,
            apiserver_arguments: Vec::new(),
        }
    }
}

/// A running cluster. Dropping it stops it and removes its data. On Linux its processes also end when this process is
/// killed.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: each process ends before the server that it needs.
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
    apiserver_program: PathBuf,
    options: Options,
    credentials: Credentials,
    url: String,
    port: u16,
    // Never listens. Reserves the port while the API server, which shares it, is down.
    _reserved: TcpSocket,
    dir: TempDir,
}

impl Cluster {
    /// Finds the binaries (see [`tools`]; the first time this may take minutes), starts a new, empty cluster and waits
    /// until it answers requests.
    pub async fn start(options: Options) -> Result<Self> {
        let controller_manager = if options.controller_manager {
            Some(tools::locate(Tool::KubeControllerManager, &Tool::KubeControllerManager.minimum()).await?)
        } else {
            None
        };
        // The controller manager must not be newer than the API server.
        let minimum = controller_manager.as_ref().map_or_else(
            || Tool::KubeApiserver.minimum(),
            |found| Version::new(found.version.major, found.version.minor, 0),
        );
        let apiserver_program = tools::locate(Tool::KubeApiserver, &minimum).await?.path;
        let etcd_program = tools::find(Tool::Etcd).await?;

        let dir = tempfile::Builder::new()
            .prefix("devcluster-")
            .tempdir()
            .map_err(Error::io("cannot create a temporary folder"))?;
        let (reserved, port) = reserve_port().map_err(Error::io("cannot reserve a port on 127.0.0.1"))?;
        let mut cluster = Self {
            controller_manager: None,
            apiserver: None,
            etcd: start_etcd(&etcd_program, dir.path()).await?,
            apiserver_program,
            options,
            credentials: Credentials::create(dir.path())?,
            url: format!("https://127.0.0.1:{port}"),
            port,
            _reserved: reserved,
            dir,
        };
        cluster.write("admin.kubeconfig", &cluster.kubeconfig_yaml())?;
        cluster.write("audit-policy.yaml", audit::POLICY)?;
        cluster.start_apiserver().await?;
        if let Some(found) = controller_manager {
            cluster.start_controller_manager(&found.path).await?;
        }
        Ok(cluster)
    }

    /// Stops all processes at once and removes the data.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(controller_manager) = &mut self.controller_manager {
            controller_manager.kill().await?;
        }
        self.kill_apiserver().await?;
        self.etcd.kill().await?;
        let dir = self.dir.path().to_owned();
        self.dir.close().map_err(Error::path("remove", &dir))
    }

    /// Returns the reason when one of the processes has ended by itself.
    pub async fn failure(&mut self) -> Error {
        loop {
            let processes = [
                Some(&mut self.etcd),
                self.apiserver.as_mut(),
                self.controller_manager.as_mut(),
            ];
            for process in processes.into_iter().flatten() {
                if let Err(error) = process.check() {
                    return error;
                }
            }
            time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Starts the API server again, with the same address and data, and waits until it answers requests. An API server
    /// that still runs is killed first.
    pub async fn start_apiserver(&mut self) -> Result<()> {
        // Two servers could share the port, and each would get some of the requests.
        self.kill_apiserver().await?;
        let mut process = spawn("kube-apiserver", self.apiserver_command(), self.dir.path()).await?;
        let client = self.client().await?;
        let namespaces = Api::<Namespace>::all(client.clone());
        process
            // The server reports ready before its initial namespaces exist.
            .ready(async || serves(&client).await && namespaces.get("default").await.is_ok())
            .await?;
        self.apiserver = Some(process);
        Ok(())
    }

    /// Kills the API server as a crash would: without notice.
    pub async fn kill_apiserver(&mut self) -> Result<()> {
        match &mut self.apiserver {
            Some(apiserver) => apiserver.kill().await?,
            None => return Ok(()),
        }
        self.apiserver = None;
        Ok(())
    }

    /// Freezes the API server: connections stay open, and no request is answered.
    pub fn pause_apiserver(&self) -> Result<()> {
        self.apiserver
            .as_ref()
            .map_or(Ok(()), |process| process.signal(Signal::STOP))
    }

    /// Ends [`Self::pause_apiserver`].
    pub fn resume_apiserver(&self) -> Result<()> {
        self.apiserver
            .as_ref()
            .map_or(Ok(()), |process| process.signal(Signal::CONT))
    }

    /// Makes etcd compact all history up to now, as the API server does every five minutes. A watch from an earlier
    /// version is then answered with 410, unless the API server's cache still holds the changes since then.
    pub async fn compact(&self) -> Result<()> {
        let status = self.ask_etcd("maintenance/status", &json!({})).await?;
        let revision = &status["header"]["revision"];
        self.ask_etcd("kv/compaction", &json!({ "revision": revision, "physical": true }))
            .await?;
        Ok(())
    }

    /// Sends one request to etcd's JSON interface and returns the answer.
    async fn ask_etcd(&self, what: &str, request: &Value) -> Result<Value> {
        let context = || Error::io(format!("cannot ask etcd for {what}"));
        let socket = self.file(ETCD_CLIENTS.trim_start_matches("unix://"));
        let mut stream = UnixStream::connect(socket).await.map_err(context())?;
        let body = request.to_string();
        // HTTP/1.0: the end of the connection is the end of the answer.
        let head = format!(
            "POST /v3/{what} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.map_err(context())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(context())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        match serde_json::from_str(body) {
            Ok(value) if head.split(' ').nth(1) == Some("200") => Ok(value),
            _ => Err(context()(std::io::Error::other(answer))),
        }
    }

    /// Returns the API server's address. It stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the certificate of the authority that signed the API server's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.credentials.ca_pem
    }

    /// Returns the bearer token of the user `admin`, who has all rights.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        &self.credentials.admin_token
    }

    /// Returns the folder of the cluster's data and logs. It is removed with the cluster.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of the admin's kubeconfig file. It is removed with the cluster.
    #[must_use]
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.file("admin.kubeconfig")
    }

    /// Returns the admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig_yaml(&self) -> String {
        self.kubeconfig_for(self.admin_token())
    }

    /// Returns a kubeconfig for another bearer token, such as a `ServiceAccount`'s.
    #[must_use]
    pub fn kubeconfig_for(&self, token: &str) -> String {
        credentials::kubeconfig(&self.url, self.ca_pem(), token)
    }

    /// Returns a client with the admin's rights.
    pub async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig_yaml())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // A proxy from the environment cannot reach this machine's loopback.
        config.proxy_url = None;
        Ok(Client::try_from(config)?)
    }

    /// Returns the audit log. It covers restarts of the API server.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.file("audit.log"))
    }

    fn apiserver_command(&self) -> Command {
        let keys = &self.credentials;
        let mut command = process::command(&self.apiserver_program);
        command
            .arg(format!("--etcd-servers={ETCD_CLIENTS}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.port))
            .args(["--permit-port-sharing", "--permit-address-sharing"])
            .arg(flag("tls-cert-file", &keys.serving_certificate))
            .arg(flag("tls-private-key-file", &keys.serving_key))
            .arg(flag("token-auth-file", &keys.token_file))
            .arg("--authorization-mode=RBAC")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("service-account-key-file", &keys.service_account_public_key))
            .arg(flag("service-account-signing-key-file", &keys.service_account_key))
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            // Without this, pods need a ServiceAccount that only the controller manager would create.
            .arg("--disable-admission-plugins=ServiceAccount");
        if self.options.audit {
            command
                .arg(flag("audit-policy-file", self.file("audit-policy.yaml")))
                .arg(flag("audit-log-path", self.file("audit.log")))
                // Events are written before the request ends and the log is never rotated, so that counts are exact.
                .args(["--audit-log-mode=blocking", "--audit-log-maxsize=1000000"]);
        }
        command.args(&self.options.apiserver_arguments);
        command
    }

    async fn start_controller_manager(&mut self, program: &Path) -> Result<()> {
        let keys = &self.credentials;
        self.write(
            "controller-manager.kubeconfig",
            &self.kubeconfig_for(&keys.controller_manager_token),
        )?;
        let mut command = process::command(program);
        command
            .arg(flag("kubeconfig", self.file("controller-manager.kubeconfig")))
            .arg(flag("root-ca-file", &keys.ca_file))
            .arg(flag("service-account-private-key-file", &keys.service_account_key))
            .args(["--leader-elect=false", "--secure-port=0"]);
        let mut process = spawn("kube-controller-manager", command, self.dir.path()).await?;
        let accounts = Api::<ServiceAccount>::default_namespaced(self.client().await?);
        process.ready(async || accounts.get("default").await.is_ok()).await?;
        self.controller_manager = Some(process);
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, content).map_err(Error::path("write", &path))
    }
}

/// Unix sockets in the working folder of etcd and the API server. etcd asks for no credentials, but only the owner can
/// enter that folder. etcd requires the form host:port, and uses the whole text as a file name.
const ETCD_CLIENTS: &str = "unix://clients:0";
const ETCD_PEERS: &str = "unix://peers:0";

async fn start_etcd(program: &Path, dir: &Path) -> Result<Process> {
    let mut command = process::command(program);
    command
        .args(["--data-dir=etcd", "--unsafe-no-fsync"])
        .arg(format!("--listen-client-urls={ETCD_CLIENTS}"))
        .arg(format!("--advertise-client-urls={ETCD_CLIENTS}"))
        .arg(format!("--listen-peer-urls={ETCD_PEERS}"))
        .arg(format!("--initial-advertise-peer-urls={ETCD_PEERS}"))
        .arg(format!("--initial-cluster=default={ETCD_PEERS}"));
    let mut etcd = spawn("etcd", command, dir).await?;
    let socket = dir.join(ETCD_CLIENTS.trim_start_matches("unix://"));
    etcd.ready(async || socket.exists()).await?;
    Ok(etcd)
}

/// Starts a component. Its settings are its arguments alone: etcd and Kubernetes would also read the environment, so
/// that is cleared.
async fn spawn(name: &str, mut command: Command, dir: &Path) -> Result<Process> {
    command.env_clear().current_dir(dir);
    Process::spawn(name, command, dir.join(format!("{name}.log"))).await
}

fn flag(name: &str, value: impl AsRef<Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

fn reserve_port() -> std::io::Result<(TcpSocket, u16)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let port = socket.local_addr()?.port();
    Ok((socket, port))
}

async fn serves(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    client.request_text(request).await.is_ok()
}
