//! The stage of a test: a namespace, a simulator of AWS, and an operator process that can be killed.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use amplify_devcluster::{
    Cluster,
    audit::{AuditEvent, AuditLog},
};
use amplify_operator::api;
use amplify_simulator::{Call, Config, Control, Filter, Operation, Settings, Simulator};
use futures::StreamExt as _;
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{ConfigMap, Event, Namespace, ServiceAccount},
        rbac::v1::{ClusterRoleBinding, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    runtime::{
        WatchStreamExt as _,
        wait::{await_condition, conditions::is_crd_established},
        watcher::{self, watcher},
    },
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    sync::{Notify, watch},
    task::JoinHandle,
};

pub use crate::{conditions::*, kind::*, specimen::*};

/// The longest wait for anything. It is generous because the tests share two cores.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// The cluster that all tests share.
pub struct World {
    pub client: Client,
    /// The admin's kubeconfig.
    pub admin: PathBuf,
    pub audit: AuditLog,
    kubeconfig_for: Box<dyn Fn(&str) -> String + Send + Sync>,
    admin_token: String,
    stages: AtomicUsize,
}

impl World {
    pub async fn new(cluster: &Cluster) -> Arc<Self> {
        Self::with_crds(cluster, api::crds()).await
    }

    pub async fn with_crds(cluster: &Cluster, crds: Vec<CustomResourceDefinition>) -> Arc<Self> {
        let client = cluster.client().await.expect("a client");
        install_crds(&client, crds).await;
        let template = cluster.kubeconfig_for("TOKEN-GOES-HERE");
        Arc::new(Self {
            client,
            admin: cluster.kubeconfig_path(),
            audit: cluster.audit(),
            kubeconfig_for: Box::new(move |token| template.replace("TOKEN-GOES-HERE", token)),
            admin_token: cluster.admin_token().to_owned(),
            stages: AtomicUsize::new(0),
        })
    }

    /// Writes the kubeconfig of a user with all rights.
    pub fn write_admin_kubeconfig(&self, path: &Path) {
        std::fs::write(path, (self.kubeconfig_for)(&self.admin_token)).expect("a kubeconfig");
    }

    /// Creates a ServiceAccount in the first of these namespaces, with all rights in all of them, and its kubeconfig.
    async fn kubeconfig(&self, namespaces: &[String], user: &str, dir: &TempDir) -> PathBuf {
        let create = PostParams::default();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespaces[0]);
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": user } });
        accounts
            .create(&create, &object(account))
            .await
            .expect("a service account");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": user },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": user, "namespace": namespaces[0] }],
        });
        for namespace in namespaces {
            let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), namespace);
            bindings
                .create(&create, &object(binding.clone()))
                .await
                .expect("a role binding");
        }
        let request = TokenRequest {
            spec: TokenRequestSpec::default(),
            ..TokenRequest::default()
        };
        let token = accounts
            .create_token_request(user, &create, &request)
            .await
            .expect("a token");
        let token = token.status.expect("a token").token;
        let path = dir.path().join(format!("{user}.kubeconfig"));
        std::fs::write(&path, (self.kubeconfig_for)(&token)).expect("a kubeconfig");
        path
    }
}

async fn install_crds(client: &Client, crds: Vec<CustomResourceDefinition>) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds {
        api.create(&PostParams::default(), &crd)
            .await
            .expect("the definition is accepted");
    }
    wait_until_established(client).await;
}

/// Waits until the API server serves every definition that it has.
pub async fn wait_until_established(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crds = api.list_metadata(&ListParams::default()).await.expect("definitions");
    for crd in crds {
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        let established = await_condition(api.clone(), name, is_crd_established());
        tokio::time::timeout(PATIENCE, established)
            .await
            .expect("in time")
            .expect("established");
    }
}

/// The settings of a stage.
pub struct Setup {
    pub flags: Vec<&'static str>,
    pub settings: Settings,
    /// The number of namespaces that the operator watches.
    pub namespaces: usize,
    /// Returns the accounts file for these namespaces.
    pub accounts: Option<fn(&[String]) -> String>,
    /// Whether the operator runs from the beginning.
    pub running: bool,
    /// A program and its arguments that start the operator; if empty, its binary is started directly.
    pub launcher: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            // Short enough for a test to wait, but long enough that they do not pass by chance.
            flags: vec!["--outcome-grace=8s", "--absence-grace=6s"],
            settings: Settings {
                job_duration: Duration::from_secs(3),
                ..Settings::default()
            },
            namespaces: 1,
            accounts: None,
            running: true,
            launcher: Vec::new(),
        }
    }
}

impl Setup {
    /// Returns a setup for many resources at a time: jobs end with the reply, and all waits are short.
    pub fn quick() -> Self {
        Self {
            flags: vec![
                "--outcome-grace=4s",
                "--absence-grace=2s",
                "--aws-requests-per-second=100",
                "--aws-burst=100",
                "--concurrency=64",
            ],
            settings: Settings {
                job_duration: Duration::ZERO,
                ..Settings::default()
            },
            ..Self::default()
        }
    }

    /// Sets this flag, and replaces a flag of the same name.
    #[must_use]
    pub fn flag(mut self, flag: &'static str) -> Self {
        let name = |flag: &str| flag.split('=').next().map(str::to_owned);
        self.flags.retain(|other| name(other) != name(flag));
        self.flags.push(flag);
        self
    }

    /// Sets a short interval of drift checks, so that a test can wait for them.
    #[must_use]
    pub fn checking(self) -> Self {
        self.flag("--drift-interval=5s")
    }
}

/// A namespace, a simulator and an operator.
pub struct Stage {
    pub world: Arc<World>,
    /// The namespace in which the test acts: the first one, until [`Stage::enter`].
    pub namespace: String,
    pub namespaces: Vec<String>,
    pub simulator: Simulator,
    launcher: Vec<String>,
    flags: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub operator: Option<Child>,
    log: PathBuf,
    pub dir: TempDir,
}

impl Stage {
    pub async fn new(world: Arc<World>) -> Self {
        Self::with(world, Setup::default()).await
    }

    pub async fn with(world: Arc<World>, setup: Setup) -> Self {
        let number = world.stages.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("stage-{number}");
        let client = world.client.clone();
        let mut namespaces = vec![namespace.clone()];
        namespaces.extend((1..setup.namespaces).map(|number| format!("{namespace}-{number}")));
        for namespace in &namespaces {
            let api: Api<Namespace> = Api::all(client.clone());
            let named = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
            api.create(&PostParams::default(), &object(named))
                .await
                .expect("a namespace");
        }
        let dir = tempfile::tempdir().expect("a folder");
        let kubeconfig = world.kubeconfig(&namespaces, "operator", &dir).await;
        let config = Config {
            // The history keeps all calls, because tests look back.
            history_limit: 4_000_000,
            ..Config::default()
        };
        let simulator = Simulator::start(&config.app(APP, "storefront").settings(setup.settings)).expect("a simulator");
        // The same variables as in a pod.
        let mut environment = vec![
            ("KUBECONFIG".to_owned(), kubeconfig.display().to_string()),
            ("HOSTNAME".to_owned(), "operator".to_owned()),
            ("POD_NAMESPACE".to_owned(), namespace.clone()),
        ];
        environment.extend(
            simulator
                .client_env()
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let mut flags: Vec<_> = setup.flags.iter().map(ToString::to_string).collect();
        flags.push("--listen=127.0.0.1:0".to_owned());
        flags.extend(
            namespaces
                .iter()
                .map(|namespace| format!("--watch-namespace={namespace}")),
        );
        if let Some(accounts) = setup.accounts {
            write_accounts(&dir, &accounts(&namespaces));
            flags.push(format!("--accounts={}", dir.path().join(ACCOUNTS).display()));
        }
        let mut stage = Self {
            world,
            namespace,
            namespaces,
            simulator,
            launcher: setup.launcher,
            flags,
            environment,
            operator: None,
            log: dir.path().join("operator.log"),
            dir,
        };
        if setup.running {
            stage.start();
        }
        stage
    }

    /// Gives the operator its rights in the whole cluster too: they outlive its namespaces.
    pub async fn bind_in_the_whole_cluster(&self) {
        let home = &self.namespaces[0];
        let binding: ClusterRoleBinding = object(json!({
            "metadata": { "name": home },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": home }],
        }));
        let bindings: Api<ClusterRoleBinding> = Api::all(self.world.client.clone());
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .expect("a binding");
    }

    // ---- the operator ----

    /// Starts the operator.
    pub fn start(&mut self) {
        self.operator = Some(spawn(&self.launcher, &self.flags, &self.environment, &self.log));
    }

    /// Starts another operator beside this one, as another user. Its log is in the stage's folder, under the user's
    /// name.
    pub async fn start_beside(&self, user: &str) -> Child {
        let kubeconfig = self.world.kubeconfig(&self.namespaces, user, &self.dir).await;
        self.start_as(user, &[("KUBECONFIG", &kubeconfig.display().to_string())], &[])
    }

    /// Starts an operator on a host of its own, with these variables and flags instead of the stage's. Its log is in
    /// the stage's folder, under the host's name.
    pub fn start_as(&self, host: &str, variables: &[(&str, &str)], more: &[String]) -> Child {
        let mut environment = self.environment.clone();
        for (name, value) in variables.iter().chain(&[("HOSTNAME", host)]) {
            environment.retain(|(known, _)| known != name);
            environment.push(((*name).to_owned(), (*value).to_owned()));
        }
        let name = |flag: &str| flag.split('=').next().map(str::to_owned);
        let replaced = |flag: &String| more.iter().any(|other| name(other) == name(flag));
        let mut flags: Vec<_> = self.flags.iter().filter(|flag| !replaced(flag)).cloned().collect();
        flags.extend_from_slice(more);
        let log = self.dir.path().join(format!("{host}.log"));
        spawn(&self.launcher, &flags, &environment, &log)
    }

    /// Makes later starts of operators watch only this namespace.
    pub fn watch_only(&mut self, number: usize) {
        self.flags.retain(|flag| !flag.starts_with("--watch-namespace="));
        self.flags
            .push(format!("--watch-namespace={}", self.namespaces[number]));
    }

    /// Sets an environment variable for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Kills the operator with SIGKILL.
    pub async fn kill(&mut self) {
        let mut operator = self.operator.take().expect("a running operator");
        operator.kill().await.expect("killed");
    }

    /// Sends SIGTERM to the operator and waits for its end.
    pub async fn terminate(&mut self) {
        let mut operator = self.operator.take().expect("a running operator");
        let pid = operator.id().expect("a running operator").to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .expect("kill runs");
        assert!(sent.success(), "SIGTERM is sent");
        let status = tokio::time::timeout(PATIENCE, operator.wait())
            .await
            .expect("it ends in time")
            .expect("it ends");
        assert!(status.success(), "the operator ends cleanly: {status}");
    }

    /// Replaces the accounts file.
    pub fn write_accounts(&self, yaml: &str) {
        write_accounts(&self.dir, yaml);
    }

    /// Waits until the operator's log contains this text.
    pub async fn wait_until_logged(&self, text: &str) {
        let logged = async {
            while !self.log().contains(text) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, logged).await.is_ok();
        assert!(in_time, "{text:?} is not logged within {PATIENCE:?}");
    }

    /// Returns the operator's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Returns the address of the operator's health endpoints and metrics.
    pub fn address(&self) -> SocketAddr {
        let log = self.log();
        let said = log.rsplit_once(" listen=").expect("the operator has said where").1;
        let address = said.split_whitespace().next().unwrap_or_default();
        address.parse().expect("an address")
    }

    /// Returns the operator's metrics.
    pub async fn metrics(&self) -> String {
        get(self.address(), "/metrics", "*/*").await.expect("metrics")
    }

    // ---- Kubernetes ----

    /// Acts in another of the namespaces from now on.
    pub fn enter(&mut self, number: usize) {
        self.namespace.clone_from(&self.namespaces[number]);
    }

    pub fn namespaces_api(&self) -> Api<DynamicObject> {
        Api::all_with(self.world.client.clone(), &ApiResource::erase::<Namespace>(&()))
    }

    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        let (name, plural) = kind.names();
        let resource = ApiResource {
            group: api::GROUP.to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: format!("{}/v1alpha1", api::GROUP),
            kind: name.to_owned(),
            plural: plural.to_owned(),
        };
        Api::namespaced_with(self.world.client.clone(), &self.namespace, &resource)
    }

    pub async fn create(&self, kind: Kind, name: &str, spec: Value) {
        let created = self.send(kind, name, spec, PostParams::default()).await;
        created.expect("the manifest is accepted");
    }

    /// Creates the resource as soon as the previous one of this name is gone, as a GitOps tool does.
    pub async fn create_again(&self, kind: Kind, name: &str, spec: &Value) {
        let created = async {
            loop {
                match self.send(kind, name, spec.clone(), PostParams::default()).await {
                    Ok(_) => return,
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => panic!("{spec:#}: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, created).await.is_ok();
        assert!(in_time, "it does not go: {:#}", self.get(kind, name).await);
    }

    /// Returns the API server's answer to a manifest, which is not stored.
    pub async fn try_create(&self, kind: Kind, name: &str, spec: Value) -> kube::Result<DynamicObject> {
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        self.send(kind, name, spec, dry_run).await
    }

    async fn send(&self, kind: Kind, name: &str, spec: Value, params: PostParams) -> kube::Result<DynamicObject> {
        let manifest = json!({
            "apiVersion": format!("{}/v1alpha1", api::GROUP),
            "kind": kind.names().0,
            "metadata": { "name": name },
            "spec": spec,
        });
        self.api(kind).create(&params, &object(manifest)).await
    }

    /// Creates an AmplifyBackend by CreateBackend.
    pub async fn create_backend(&self, name: &str) {
        self.create(Kind::Backend, name, backend(name)).await;
    }

    pub async fn patch(&self, kind: Kind, name: &str, patch: Value) {
        let patched = self
            .api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.expect("the patch is accepted");
    }

    pub async fn request(&self, kind: Kind, name: &str, value: &str) {
        self.patch(
            kind,
            name,
            json!({ "metadata": { "annotations": { api::RECONCILE_REQUESTED_AT: value } } }),
        )
        .await;
    }

    pub async fn delete(&self, kind: Kind, name: &str) {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .expect("the delete is accepted");
    }

    pub async fn put_config_map(&self, name: &str, key: &str, value: &str) {
        self.put_config_map_with(name, json!({ "data": { key: value } })).await;
    }

    /// Creates a ConfigMap with a value that is not UTF-8 text.
    pub async fn put_binary_config_map(&self, name: &str, key: &str, value: &[u8]) {
        let value = ByteString(value.to_vec());
        self.put_config_map_with(name, json!({ "binaryData": { key: value } }))
            .await;
    }

    pub async fn delete_config_map(&self, name: &str) {
        let api: Api<ConfigMap> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let deleted = api.delete(name, &DeleteParams::default()).await;
        deleted.expect("the ConfigMap is deleted");
    }

    /// Creates a ConfigMap of these parts.
    pub async fn put_config_map_with(&self, name: &str, data: Value) {
        let api: Api<ConfigMap> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let mut map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        json_patch::merge(&mut map, &data);
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(map)).await.expect("a ConfigMap");
    }

    pub async fn get(&self, kind: Kind, name: &str) -> Value {
        json!(self.api(kind).get(name).await.expect("the resource is there"))
    }

    /// Waits until the resource meets a condition, and returns it.
    pub async fn wait(&self, kind: Kind, name: &str, what: &str, is: impl Fn(&Value) -> bool + Send + Sync) -> Value {
        wait_for(self.api(kind), name, what, is).await
    }

    /// Waits for this reason of Ready for the current generation.
    pub async fn wait_for_reason(&self, kind: Kind, name: &str, reason: &str) -> Value {
        self.wait(kind, name, reason, |object| {
            ready(object)["reason"] == reason
                && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        })
        .await
    }

    pub async fn wait_until_ready(&self, kind: Kind, name: &str) -> Value {
        let object = self.wait_for_reason(kind, name, "Available").await;
        assert_eq!(ready(&object)["status"], "True");
        assert!(
            condition(&object, "Reconciling").is_null() && condition(&object, "Stalled").is_null(),
            "{object:#}"
        );
        object
    }

    /// Waits for this reason of Ready for any generation, and for these words in its message.
    pub async fn wait_for_words(&self, kind: Kind, name: &str, reason: &str, words: &[&str]) -> Value {
        self.wait(kind, name, &format!("{reason}, with {words:?}"), |object| {
            ready(object)["reason"] == reason && words.iter().all(|word| message(object).contains(word))
        })
        .await
    }

    /// Records every version of a resource from now on.
    pub async fn follow(&self, kind: Kind, name: &str) -> Followed {
        follow(self.api(kind), name).await
    }

    /// Waits until an UpdateBackendAPI is recorded and has ended. Until then, a resource that was Ready before looks
    /// the same.
    pub async fn wait_until_updated(&self, name: &str) {
        let is_updated = |object: &Value| {
            object["status"]["job"]["operation"] == "UpdateBackendAPI" && ready(object)["status"] == "True"
        };
        self.wait(Kind::Api, name, "updated", is_updated).await;
    }

    pub async fn wait_until_gone(&self, kind: Kind, name: &str) {
        wait_until_gone(self.api(kind), name).await;
    }

    /// Returns the reasons of the Events about a resource.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let selector = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = api.list(&selector).await.expect("events");
        events.items.into_iter().filter_map(|event| event.reason).collect()
    }

    /// Returns the notes of the Events about a resource.
    pub async fn notes(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let selector = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let events = api.list(&selector).await.expect("events");
        events.items.into_iter().filter_map(|event| event.message).collect()
    }

    /// Waits until the resource has an Event of this reason whose note has these words.
    pub async fn wait_for_event(&self, name: &str, reason: &str, words: &str) {
        let written = async {
            while !(self.events(name).await.iter().any(|is| is == reason)
                && self.notes(name).await.iter().any(|note| note.contains(words)))
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), written).await.is_ok();
        assert!(in_time, "{reason}: {:?}", self.notes(name).await);
    }

    /// Returns a ConfigMap, if it exists.
    pub async fn config_map(&self, name: &str) -> Option<ConfigMap> {
        let api: Api<ConfigMap> = Api::namespaced(self.world.client.clone(), &self.namespace);
        api.get_opt(name).await.expect("an answer")
    }

    /// Changes one key of a ConfigMap.
    pub async fn put_config_map_key(&self, name: &str, key: &str, value: &str) {
        let api: Api<ConfigMap> = Api::namespaced(self.world.client.clone(), &self.namespace);
        let patch = Patch::Merge(json!({ "data": { key: value } }));
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .expect("a ConfigMap");
    }

    /// Waits until a ConfigMap exists and is like this.
    pub async fn wait_for_config_map(&self, name: &str, is: impl Fn(&ConfigMap) -> bool + Send + Sync) -> ConfigMap {
        let written = async {
            loop {
                if let Some(map) = self.config_map(name).await.filter(|map| is(map)) {
                    return map;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, written).await;
        in_time.unwrap_or_else(|_| panic!("ConfigMap {name} does not become so"))
    }

    /// Asserts that this text is in no log line, no metric, and no status, annotation or Event of these resources.
    pub async fn assert_hidden(&self, secret: &str, names: &[(Kind, &str)]) {
        let mut shown = vec![self.log(), self.metrics().await];
        for (kind, name) in names {
            shown.push(self.get(*kind, name).await.to_string());
            shown.extend(self.notes(name).await);
        }
        for text in shown {
            assert!(!text.contains(secret), "{text}");
        }
    }

    /// Waits until the resource has Events of exactly these reasons. Events are written beside the passes.
    pub async fn wait_for_events(&self, name: &str, reasons: &[&str]) {
        let mut events = Vec::new();
        let written = async {
            while events != reasons {
                tokio::time::sleep(Duration::from_millis(100)).await;
                events = self.events(name).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), written).await.is_ok();
        assert!(in_time, "{events:?} instead of {reasons:?}");
    }

    /// Asserts that the operator has made exactly this many writes about this resource, or about all, without Events.
    ///
    /// The API server writes its audit log after its answer, so the last line may come late.
    pub async fn assert_writes(&self, name: Option<&str>, count: usize) {
        let arrived = async {
            while self.writes(name).len() < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), arrived).await.is_ok();
        let writes = self.writes(name);
        assert!(
            in_time && writes.len() == count,
            "{} writes instead of {count}: {writes:#?}",
            writes.len()
        );
    }

    /// Asserts that the operator has read this resource exactly this many times, besides its lists and watches. Call it
    /// after [`assert_writes`](Self::assert_writes), which waits for the audit log.
    pub fn assert_reads(&self, name: &str, count: usize) {
        let reads = self.requests(Some(name), |event| event.verb == "get");
        assert_eq!(reads.len(), count, "reads: {reads:#?}");
    }

    /// Returns the writes of this stage's operator to the API server, about this resource or all, without Events.
    fn writes(&self, name: Option<&str>) -> Vec<AuditEvent> {
        self.requests(name, |event| event.is_write() && event.resource != "events")
    }

    fn requests(&self, name: Option<&str>, is_asked_for: impl Fn(&AuditEvent) -> bool) -> Vec<AuditEvent> {
        let user = format!("system:serviceaccount:{}:operator", self.namespaces[0]);
        let events = self.world.audit.events().expect("an audit log");
        events
            .into_iter()
            .filter(|event| event.user == user && is_asked_for(event))
            .filter(|event| name.is_none_or(|name| event.name == name))
            .collect()
    }

    // ---- AWS ----

    pub fn aws(&self) -> Control {
        self.simulator.control()
    }

    /// Returns the calls of one operation.
    pub fn calls(&self, operation: Operation) -> Vec<Call> {
        self.simulator.history().of(operation)
    }

    /// Returns all calls except those that many resources share: calls to STS and reads of migration locks.
    pub fn all_calls(&self) -> Vec<Operation> {
        let shared = [
            Operation::GetCallerIdentity,
            Operation::AssumeRole,
            Operation::GetApp,
            Operation::ListApps,
        ];
        let calls = self.simulator.history().all();
        calls
            .into_iter()
            .map(|call| call.operation)
            .filter(|operation| !shared.contains(operation))
            .collect()
    }

    /// Returns how many reads of migration locks there were: of one app before writes, and of all apps in drift checks.
    pub fn lock_reads(&self) -> (usize, usize) {
        let count = |operation| self.calls(operation).len();
        (count(Operation::GetApp), count(Operation::ListApps))
    }

    /// Returns the schema of the API `shop` in this environment, as AWS holds it.
    pub fn schema(&self, environment: &str) -> Value {
        let backend = self.aws().backend((APP, environment)).expect("a backend");
        backend.apis["shop"]["transformSchema"].clone()
    }

    /// Returns the calls of one operation about one environment.
    pub fn calls_in(&self, operation: Operation, environment: &str) -> Vec<Call> {
        let filter = Filter::operation(operation);
        self.simulator.history().matching(&Filter {
            environment: Some(environment.to_owned()),
            ..filter
        })
    }

    /// Returns how many of these calls AWS accepted.
    pub fn accepted_in(&self, operation: Operation, environment: &str) -> usize {
        let calls = self.calls_in(operation, environment);
        calls.iter().filter(|call| call.accepted).count()
    }

    /// Waits until AWS has accepted this many of these calls.
    pub async fn wait_until_accepted(&self, operation: Operation, environment: &str, count: usize) {
        let filter = Filter {
            environment: Some(environment.to_owned()),
            accepted: Some(true),
            ..Filter::operation(operation)
        };
        let reached = self.simulator.history().reaches(&filter, count, PATIENCE).await;
        assert!(
            reached,
            "{count} of {operation:?} are not accepted in {environment} within {PATIENCE:?}"
        );
    }

    pub async fn wait_for_calls_in(&self, operation: Operation, environment: &str, count: usize) {
        let filter = Filter {
            environment: Some(environment.to_owned()),
            ..Filter::operation(operation)
        };
        let reached = self.simulator.history().reaches(&filter, count, PATIENCE).await;
        assert!(
            reached,
            "{operation:?} is not called {count} times in {environment} within {PATIENCE:?}"
        );
    }

    pub async fn wait_for_calls(&self, operation: Operation, count: usize) {
        let reached = self
            .simulator
            .history()
            .reaches(&Filter::operation(operation), count, PATIENCE)
            .await;
        assert!(reached, "{operation:?} is not called {count} times within {PATIENCE:?}");
    }

    /// Asserts that nothing was created twice, and that nothing dangerous was called.
    pub fn assert_created_once(&self) {
        let history = self.simulator.history();
        for (object, count) in history.creates_by_object() {
            assert_eq!(count, 1, "{object} was created {count} times");
        }
        assert!(history.dangerous().is_empty(), "{:?}", history.dangerous());
    }
}

/// Waits until any kind of object meets a condition, and returns it.
pub async fn wait_for(
    api: Api<DynamicObject>,
    name: &str,
    what: &str,
    is: impl Fn(&Value) -> bool + Send + Sync,
) -> Value {
    let condition = |object: Option<&DynamicObject>| object.is_some_and(|object| is(&json!(object)));
    let waiting = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, condition));
    if let Ok(object) = waiting.await {
        return json!(object.expect("the watch goes on"));
    }
    let now = json!(api.get_opt(name).await.ok());
    panic!("{name} is not {what} within {PATIENCE:?}: {now:#}")
}

/// Waits until an object of any kind is gone.
pub async fn wait_until_gone(api: Api<DynamicObject>, name: &str) {
    let gone = await_condition(api.clone(), name, |object: Option<&DynamicObject>| object.is_none());
    let is_gone = tokio::time::timeout(PATIENCE, gone).await.is_ok();
    let now = if is_gone {
        None
    } else {
        api.get_opt(name).await.expect("an answer")
    };
    assert!(is_gone, "{name} is not gone within {PATIENCE:?}: {:#}", json!(now));
}

/// Records every version of an object of any kind from now on.
pub async fn follow(api: Api<DynamicObject>, name: &str) -> Followed {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (seen, versions) = watch::channel(Vec::new());
    let mut events = Box::pin(watcher(api, config).default_backoff());
    let listed = Arc::new(Notify::new());
    let task = tokio::spawn({
        let listed = listed.clone();
        async move {
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                        seen.send_modify(|versions: &mut Vec<Value>| versions.push(json!(object)));
                    }
                    Ok(watcher::Event::InitDone) => listed.notify_one(),
                    _ => {}
                }
            }
        }
    });
    // After the first list no version is missed.
    let in_time = tokio::time::timeout(PATIENCE, listed.notified()).await;
    in_time.expect("the resource can be watched");
    Followed { versions, task }
}

/// The recorded versions of a resource.
pub struct Followed {
    versions: watch::Receiver<Vec<Value>>,
    task: JoinHandle<()>,
}

impl Followed {
    /// Returns all versions so far.
    pub fn versions(&self) -> Vec<Value> {
        self.versions.borrow().clone()
    }

    /// Returns the reasons of Ready so far, without consecutive repetitions.
    pub fn reasons(&self) -> Vec<String> {
        Self::reasons_of(&self.versions.borrow())
    }

    /// Waits until the reasons of Ready are as expected: this watch may be later than others.
    pub async fn wait_for(&self, mut seen: impl FnMut(&[String]) -> bool) {
        let mut versions = self.versions.clone();
        let shown = versions.wait_for(|versions| seen(&Self::reasons_of(versions)));
        let in_time = tokio::time::timeout(PATIENCE, shown).await.is_ok();
        assert!(in_time, "{:?}", self.reasons());
    }

    fn reasons_of(versions: &[Value]) -> Vec<String> {
        let reasons = versions.iter().filter_map(|object| ready(object)["reason"].as_str());
        let mut reasons: Vec<_> = reasons.map(str::to_owned).collect();
        reasons.dedup();
        reasons
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("--- the operator's log ends ({}):", self.namespace);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
            let calls: Vec<_> = self
                .simulator
                .history()
                .all()
                .into_iter()
                .map(|call| (call.operation, call.environment.clone(), call.status))
                .collect();
            eprintln!("--- AWS was called: {calls:?}");
        }
    }
}

fn spawn(launcher: &[String], flags: &[String], environment: &[(String, String)], log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).expect("a log");
    let (program, arguments) = launcher.split_first().map_or_else(
        || (operator_binary(), &[][..]),
        |(program, arguments)| (PathBuf::from(program), arguments),
    );
    Command::new(program)
        .args(arguments)
        .args(flags)
        .env_clear()
        .env("RUST_LOG", "info,amplify_operator=debug")
        // The simulator answers at once, so a short grace is enough.
        .env("AMPLIFY_OPERATOR_TEST_SHORT_OUTCOME_GRACE", "1")
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a log"))
        .stdout(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the operator starts")
}

/// Returns the body of an answer of the operator's HTTP server; `None`: it does not answer, or not with 200.
pub async fn get(address: SocketAddr, path: &str, accept: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // HTTP/1.0, so that the answer comes in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\naccept: {accept}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.split(' ')
        .nth(1)
        .is_some_and(|status| status == "200")
        .then(|| body.to_owned())
}

/// Returns the operator that cargo has built next to the suites.
pub fn operator_binary() -> PathBuf {
    let suite = std::env::current_exe().expect("a suite is a file");
    let folder = suite.ancestors().nth(2).expect("cargo puts suites into target/…/deps");
    folder.join("amplify-operator")
}

const ACCOUNTS: &str = "accounts.yaml";

/// Replaces the accounts file atomically, as the kubelet does.
fn write_accounts(dir: &TempDir, yaml: &str) {
    let new = dir.path().join("accounts.new");
    std::fs::write(&new, yaml).expect("a file");
    std::fs::rename(new, dir.path().join(ACCOUNTS)).expect("a file");
}

pub fn object<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object")
}

/// Returns the spec of a resource that adopts an existing AWS object.
pub fn adopting(mut spec: Value, deletion: &str) -> Value {
    spec["adoptionPolicy"] = json!("IfExists");
    spec["deletionPolicy"] = json!(deletion);
    spec
}

/// Returns the configuration of an API in AWS's form.
pub fn api_config(schema: &str) -> Map<String, Value> {
    let spec = graphql_api("", schema);
    spec["resourceConfig"].as_object().expect("an object").clone()
}

pub fn ready(object: &Value) -> &Value {
    condition(object, "Ready")
}

/// Returns the message of Ready.
pub fn message(object: &Value) -> &str {
    ready(object)["message"].as_str().unwrap_or_default()
}
