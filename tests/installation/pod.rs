//! The operator as a process of the test, in place of a pod, because the cluster has no nodes. It gets the pod's
//! arguments, variables, mounted ConfigMaps, and a token of its ServiceAccount.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::PathBuf,
    process::Stdio,
};

use amplify_devcluster::audit::{AuditEvent, AuditMark};
use amplify_simulator::Simulator;
use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, PodSpec};
use kube::Api;
use tokio::process::{Child, Command};

use crate::{
    chart::installed_pod,
    site::{PATIENCE, Release, Site},
};

pub(crate) struct Operator<'a> {
    site: &'a Site,
    release: &'static Release,
    process: Child,
    log: PathBuf,
    mounts: Vec<Mount>,
    account: String,
    mark: AuditMark,
}

/// A volume of the pod, as a folder of the test.
struct Mount {
    config_map: String,
    /// The path in the container.
    path: String,
    folder: PathBuf,
}

impl<'a> Operator<'a> {
    /// Starts the program of the release's pod, with the simulator as AWS.
    pub(crate) fn start(site: &'a Site, release: &'static Release, simulator: &Simulator) -> Result<Self> {
        let mark = site.audit.mark()?;
        let mut pod = installed_pod(site, release)?.spec.context("a pod has a spec")?;
        let account = pod.service_account_name.take().context("the pod names its account")?;
        let container = pod.containers.pop().context("a pod has a container")?;
        let mounts = mounts(site, release, &pod, &container)?;
        for mount in &mounts {
            mount.update(site, release)?;
        }
        let inside = |text: String| {
            mounts.iter().fold(text, |text, mount| {
                text.replace(&mount.path, &mount.folder.display().to_string())
            })
        };

        let token = site.kubectl(&["create", "token", &account, "--namespace", release.namespace])?;
        let kubeconfig = site.dir().join(format!("{}.kubeconfig", release.name));
        fs::write(&kubeconfig, site.kubeconfig_for(token.trim()))?;
        let log = site.dir().join(format!("{}.log", release.name));
        let file = File::create(&log)?;
        // The simulator's variables except the region, which must come from the chart.
        let aws = simulator
            .client_env()
            .iter()
            .filter(|(name, _)| !name.ends_with("REGION"));
        let mut variables = Vec::new();
        for variable in container.env.unwrap_or_default() {
            variables.push((variable.name.clone(), inside(value(variable, release)?)));
        }
        let _inside = site.runtime.enter();
        let process = Command::new(env!("CARGO_BIN_EXE_amplify-operator"))
            .args(container.args.unwrap_or_default().into_iter().map(inside))
            .env_clear()
            .envs(variables)
            .envs(aws.map(|(name, value)| (name, value)))
            .env("AMPLIFY_OPERATOR_LISTEN", "127.0.0.1:0")
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("the operator does not start")?;
        Ok(Self {
            site,
            release,
            process,
            log,
            mounts,
            account,
            mark,
        })
    }

    /// Returns the release to which the operator belongs.
    pub(crate) fn release(&self) -> &'static Release {
        self.release
    }

    /// Returns the name of the operator's ServiceAccount.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    /// Updates the mounted files, as the kubelet does within a minute or two.
    pub(crate) fn update_mounts(&self) -> Result<()> {
        self.mounts
            .iter()
            .try_for_each(|mount| mount.update(self.site, self.release))
    }

    /// Returns the operator's requests to the API server so far.
    pub(crate) fn requests(&self) -> Result<Vec<AuditEvent>> {
        let user = format!("system:serviceaccount:{}:{}", self.release.namespace, self.account);
        let mut requests = self.site.audit.since(self.mark)?;
        requests.retain(|request| request.user == user);
        Ok(requests)
    }

    /// Returns the end of the operator's log.
    pub(crate) fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Stops the operator as a kubelet does.
    pub(crate) fn end(&mut self) -> Result<()> {
        let pid = self.process.id().context("the operator has ended by itself")?;
        self.site.runtime.block_on(async {
            let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
            ensure!(sent.success(), "SIGTERM is not sent");
            let status = tokio::time::timeout(PATIENCE, self.process.wait())
                .await
                .context("it does not end on SIGTERM")??;
            ensure!(status.success(), "it ends with {status}");
            Ok(())
        })
    }
}

fn value(variable: EnvVar, release: &Release) -> Result<String> {
    let Some(source) = variable.value_from else {
        return Ok(variable.value.unwrap_or_default());
    };
    match source.field_ref {
        Some(field) if field.field_path == "metadata.namespace" => Ok(release.namespace.to_owned()),
        _ => bail!("this test does not know where {} comes from", variable.name),
    }
}

fn mounts(site: &Site, release: &Release, pod: &PodSpec, container: &Container) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        ensure!(
            mount.sub_path.is_none() && mount.read_only == Some(true),
            "a subPath would never change, and nothing is to be written: {mount:?}"
        );
        let mut volumes = pod.volumes.iter().flatten();
        let config_map = volumes
            .find(|volume| volume.name == mount.name)
            .and_then(|volume| volume.config_map.as_ref());
        mounts.push(Mount {
            config_map: config_map
                .with_context(|| format!("no ConfigMap: {mount:?}"))?
                .name
                .clone(),
            path: mount.mount_path.clone(),
            folder: site.dir().join(format!("{}-{}", release.name, mount.name)),
        });
    }
    Ok(mounts)
}

impl Mount {
    /// Updates the files. They are links through `..data`, which is replaced as a whole.
    fn update(&self, site: &Site, release: &Release) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), release.namespace);
        let map = site.runtime.block_on(maps.get(&self.config_map))?;
        let version = map.metadata.resource_version.context("a resource has a version")?;
        let data = self.folder.join(format!("..{version}"));
        fs::create_dir_all(&data)?;
        for (key, content) in map.data.unwrap_or_default() {
            fs::write(data.join(&key), content)?;
            let link = self.folder.join(&key);
            if !link.is_symlink() {
                symlink(format!("..data/{key}"), link)?;
            }
        }
        let next = self.folder.join("..data_tmp");
        symlink(data, &next)?;
        fs::rename(next, self.folder.join("..data"))?;
        Ok(())
    }
}
