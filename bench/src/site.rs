//! The API server of a run, and the Kubernetes user of the operator.

use std::path::PathBuf;

use amplify_devcluster::{Cluster, Options, audit::AuditLog};
use amplify_operator::api;
use anyhow::{Context as _, Result};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, ServiceAccount},
        rbac::v1::{ClusterRoleBinding, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The operator's user name in the audit log.
pub(crate) const USER: &str = "system:serviceaccount:bench:operator";

/// A running API server with the custom resource definitions installed.
pub(crate) struct Site {
    cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) server: String,
}

impl Site {
    pub(crate) async fn start() -> Result<Self> {
        let cluster = Cluster::start(Options::default()).await?;
        let client = cluster.client().await?;
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        for definition in api::crds() {
            definitions.create(&PostParams::default(), &definition).await?;
            let name = definition.metadata.name.unwrap_or_default();
            await_condition(definitions.clone(), &name, is_crd_established()).await?;
        }
        let kubeconfig = cluster.dir().join("operator.kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig_for(&user(&client).await?))?;
        let server = client.apiserver_version().await?.git_version;
        Ok(Self {
            cluster,
            client,
            kubeconfig,
            server,
        })
    }

    pub(crate) fn audit(&self) -> AuditLog {
        self.cluster.audit()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.cluster.dir().join("amplify-operator.log")
    }

    /// Returns the kubeconfig of a user who has all rights in this namespace and none elsewhere.
    pub(crate) async fn limited_to(&self, namespace: &str) -> Result<PathBuf> {
        let create = PostParams::default();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), namespace);
        if accounts.get_opt("limited").await?.is_none() {
            let account = object(json!({ "metadata": { "name": "limited" } }))?;
            accounts.create(&create, &account).await?;
            let binding = object(json!({
                "metadata": { "name": "limited" },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
                "subjects": [{ "kind": "ServiceAccount", "name": "limited", "namespace": namespace }],
            }))?;
            bindings.create(&create, &binding).await?;
        }
        let kubeconfig = self.cluster.dir().join(format!("{namespace}.kubeconfig"));
        std::fs::write(
            &kubeconfig,
            self.cluster.kubeconfig_for(&token(&accounts, "limited").await?),
        )?;
        Ok(kubeconfig)
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        namespace(&self.client, name).await
    }

    pub(crate) async fn stop(self) -> Result<()> {
        Ok(self.cluster.stop().await?)
    }
}

/// Creates the namespace, unless it exists.
async fn namespace(client: &Client, name: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = object(json!({ "metadata": { "name": name } }))?;
    match api.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

/// Creates the operator's ServiceAccount and returns a token of it.
async fn user(client: &Client) -> Result<String> {
    let create = PostParams::default();
    namespace(client, "bench").await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "bench");
    let account = object(json!({ "metadata": { "name": "operator" } }))?;
    accounts.create(&create, &account).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = object(json!({
        "metadata": { "name": "operator" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": "operator", "namespace": "bench" }],
    }))?;
    bindings.create(&create, &binding).await?;
    token(&accounts, "operator").await
}

/// Returns a new token of this ServiceAccount.
async fn token(accounts: &Api<ServiceAccount>, name: &str) -> Result<String> {
    let create = PostParams::default();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(24 * 3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let token = accounts.create_token_request(name, &create, &request).await?;
    Ok(token.status.context("the API server gave no token")?.token)
}

fn object<T: DeserializeOwned>(json: Value) -> Result<T> {
    Ok(serde_json::from_value(json)?)
}
