//! The binaries: found in their usual places, otherwise built from Go modules, once per user and version.
//!
//! In order of preference: the folder `KUBEBUILDER_ASSETS`, `PATH`, the versions that `setup-envtest` has downloaded,
//! the version that it can download now, the Go build in `${XDG_CACHE_HOME:-~/.cache}/amplify-operator`. A binary that
//! is too old, or does not run, is skipped with a line on standard error.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use semver::Version;
use sha2::{Digest as _, Sha256};
use tokio::{
    process::Command,
    sync::OnceCell,
    time::{self, Instant},
};

use crate::{
    Error, Result,
    process::{self, Process},
};

const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(2);
const HEARTBEAT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// A binary that this crate can provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tool {
    /// The API server's database.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The built-in controllers.
    KubeControllerManager,
    /// The command line client.
    Kubectl,
    /// The package manager.
    Helm,
    /// A program of this crate around the libraries of GitOps tools: it reports how these tools judge an object.
    GitopsJudge,
    /// The checker of GitHub workflows.
    Actionlint,
    /// Scrapes metrics and answers queries about them; built without its web pages.
    Prometheus,
    /// The checker of metrics and alerts.
    Promtool,
    /// The part of Flux that fetches sources.
    SourceController,
    /// The part of Flux that applies them.
    KustomizeController,
    /// All parts of Argo CD: the name by which it is called selects the part.
    Argocd,
    /// The builder of manifests that Argo CD calls.
    Kustomize,
}

/// Returns the path of a tool.
pub async fn find(tool: Tool) -> Result<PathBuf> {
    Ok(locate(tool, &tool.minimum()).await?.path)
}

/// Returns the path of `kubectl`.
pub async fn kubectl() -> Result<PathBuf> {
    find(Tool::Kubectl).await
}

/// Returns the path of `helm`.
pub async fn helm() -> Result<PathBuf> {
    find(Tool::Helm).await
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

/// Like [`find`], but the version is at least `minimum`.
pub(crate) async fn locate(tool: Tool, minimum: &Version) -> Result<Found> {
    let places = Places::of_this_user()?;
    if let Some(found) = places.present(tool, minimum).await {
        return Ok(found);
    }
    if let Some(found) = downloaded(tool, minimum).await {
        return Ok(found);
    }
    built(tool, minimum, &places.cache).await
}

/// A Go module in this crate that pins one version of some tools.
struct Module {
    go_mod: &'static str,
    go_sum: &'static str,
    /// The source of the program of this crate's own, if the module has one.
    main: Option<&'static str>,
}

static ETCD: Module = Module {
    go_mod: include_str!("../go/etcd/go.mod"),
    go_sum: include_str!("../go/etcd/go.sum"),
    main: None,
};
// One module for all that is built around the same version of the Kubernetes libraries, so that Go compiles them once.
static KUBERNETES_AND_FLUX: Module = Module {
    go_mod: include_str!("../go/kubernetes-and-flux/go.mod"),
    go_sum: include_str!("../go/kubernetes-and-flux/go.sum"),
    main: Some(include_str!("../go/kubernetes-and-flux/main.go")),
};
static HELM_AND_PROMETHEUS: Module = Module {
    go_mod: include_str!("../go/helm-and-prometheus/go.mod"),
    go_sum: include_str!("../go/helm-and-prometheus/go.sum"),
    main: None,
};
static ACTIONLINT: Module = Module {
    go_mod: include_str!("../go/actionlint/go.mod"),
    go_sum: include_str!("../go/actionlint/go.sum"),
    main: None,
};
static ARGOCD: Module = Module {
    go_mod: include_str!("../go/argocd/go.mod"),
    go_sum: include_str!("../go/argocd/go.sum"),
    main: None,
};
static KUSTOMIZE: Module = Module {
    go_mod: include_str!("../go/kustomize/go.mod"),
    go_sum: include_str!("../go/kustomize/go.sum"),
    main: None,
};

/// The Go module of Prometheus.
const PROMETHEUS: &str = "github.com/prometheus/prometheus";

/// The build recipe of a tool.
struct Recipe {
    module: &'static Module,
    /// The required module that contains the tool.
    requirement: &'static str,
    package: &'static str,
    /// The build tags that leave out parts no test needs.
    tags: Option<&'static str>,
    /// The variable that the linker sets to the version.
    version_variable: Option<&'static str>,
    /// How many minutes it takes on 2 cores, after the tools that [`Tool::ALL`] lists before it.
    minutes: u32,
}

impl Tool {
    /// All tools, in the order in which a cluster needs them.
    pub const ALL: [Self; 13] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::Helm,
        Self::GitopsJudge,
        Self::Actionlint,
        Self::Prometheus,
        Self::Promtool,
        Self::SourceController,
        Self::KustomizeController,
        Self::Argocd,
        Self::Kustomize,
    ];

    /// Whether `make test` needs the tool.
    #[must_use]
    pub fn is_for_all_tests(self) -> bool {
        !matches!(self, Self::Argocd | Self::Kustomize)
    }

    /// Returns the binary's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::GitopsJudge => "gitops-judge",
            Self::Actionlint => "actionlint",
            Self::Prometheus => "prometheus",
            Self::Promtool => "promtool",
            Self::SourceController => "source-controller",
            Self::KustomizeController => "kustomize-controller",
            Self::Argocd => "argocd",
            Self::Kustomize => "kustomize",
        }
    }

    pub(crate) fn minimum(self) -> Version {
        match self {
            Self::Etcd | Self::Argocd => Version::new(3, 5, 0),
            Self::KubeApiserver | Self::KubeControllerManager => Version::new(1, 33, 0),
            Self::Kubectl => Version::new(1, 30, 0),
            // The first version whose --wait understands custom resources.
            Self::Helm => Version::new(4, 0, 0),
            Self::GitopsJudge => Version::new(1, 0, 0),
            Self::Actionlint => Version::new(1, 7, 0),
            // The version in Debian 12, with which the tests have been run.
            Self::Prometheus | Self::Promtool => Version::new(2, 42, 0),
            Self::SourceController | Self::KustomizeController => Version::new(1, 9, 0),
            Self::Kustomize => Version::new(5, 8, 0),
        }
    }

    /// Returns the arguments with which the tool prints its version. `None`: it is only built, because the controllers
    /// of Flux have no such arguments, and the documentation names the versions of the GitOps tools.
    fn version_arguments(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Etcd
            | Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::GitopsJudge
            | Self::Actionlint
            | Self::Prometheus
            | Self::Promtool => Some(&["--version"]),
            Self::Kubectl => Some(&["version", "--client"]),
            Self::Helm => Some(&["version", "--short"]),
            Self::SourceController | Self::KustomizeController | Self::Argocd | Self::Kustomize => None,
        }
    }

    fn in_envtest(self) -> bool {
        matches!(self, Self::Etcd | Self::KubeApiserver | Self::Kubectl)
    }

    /// Returns path, version and checksum of the Go module that has the tool's source.
    pub(crate) fn module(self) -> (&'static str, String, &'static str) {
        let recipe = self.recipe();
        let version = format!("v{}", recipe.version().unwrap_or_else(|| self.minimum()));
        let sum = recipe.sum(&version).unwrap_or_default();
        (recipe.requirement, version, sum)
    }

    #[expect(clippy::too_many_lines, reason = "it is a table with an arm per tool")]
    fn recipe(self) -> Recipe {
        let kubernetes = |package, minutes| Recipe {
            module: &KUBERNETES_AND_FLUX,
            requirement: "k8s.io/kubernetes",
            package,
            tags: None,
            version_variable: Some("k8s.io/component-base/version.gitVersion"),
            minutes,
        };
        let prometheus = |package, minutes| Recipe {
            module: &HELM_AND_PROMETHEUS,
            requirement: PROMETHEUS,
            package,
            // Leaves out target discovery from cloud providers.
            tags: Some("remove_all_sd"),
            version_variable: Some("github.com/prometheus/common/version.Version"),
            minutes,
        };
        let gitops = |module, requirement, package, minutes| Recipe {
            module,
            requirement,
            package,
            tags: None,
            version_variable: None,
            minutes,
        };
        match self {
            Self::Etcd => Recipe {
                module: &ETCD,
                requirement: "go.etcd.io/etcd/server/v3",
                package: "go.etcd.io/etcd/server/v3",
                tags: None,
                version_variable: None,
                minutes: 1,
            },
            Self::KubeApiserver => kubernetes("k8s.io/kubernetes/cmd/kube-apiserver", 4),
            Self::KubeControllerManager => kubernetes("k8s.io/kubernetes/cmd/kube-controller-manager", 1),
            Self::Kubectl => kubernetes("k8s.io/kubernetes/cmd/kubectl", 1),
            Self::Helm => Recipe {
                module: &HELM_AND_PROMETHEUS,
                requirement: "helm.sh/helm/v4",
                package: "helm.sh/helm/v4/cmd/helm",
                tags: None,
                version_variable: Some("helm.sh/helm/v4/internal/version.version"),
                minutes: 2,
            },
            // Its version is that of the library that it is built around.
            Self::GitopsJudge => Recipe {
                module: &KUBERNETES_AND_FLUX,
                requirement: "github.com/fluxcd/cli-utils",
                package: ".",
                tags: None,
                version_variable: Some("main.version"),
                minutes: 1,
            },
            Self::Actionlint => Recipe {
                module: &ACTIONLINT,
                requirement: "github.com/rhysd/actionlint",
                package: "github.com/rhysd/actionlint/cmd/actionlint",
                tags: None,
                version_variable: Some("github.com/rhysd/actionlint.version"),
                minutes: 1,
            },
            Self::Prometheus => prometheus("github.com/prometheus/prometheus/cmd/prometheus", 1),
            Self::Promtool => prometheus("github.com/prometheus/prometheus/cmd/promtool", 1),
            Self::SourceController => gitops(
                &KUBERNETES_AND_FLUX,
                "github.com/fluxcd/source-controller",
                "github.com/fluxcd/source-controller",
                2,
            ),
            Self::KustomizeController => gitops(
                &KUBERNETES_AND_FLUX,
                "github.com/fluxcd/kustomize-controller",
                "github.com/fluxcd/kustomize-controller",
                1,
            ),
            Self::Argocd => gitops(
                &ARGOCD,
                "github.com/argoproj/argo-cd/v3",
                "github.com/argoproj/argo-cd/v3/cmd",
                9,
            ),
            Self::Kustomize => gitops(
                &KUSTOMIZE,
                "sigs.k8s.io/kustomize/kustomize/v5",
                "sigs.k8s.io/kustomize/kustomize/v5",
                1,
            ),
        }
    }
}

impl Recipe {
    /// Returns the version in the go.mod: a line `[require] <module> v<version>`.
    fn version(&self) -> Option<Version> {
        let version = self.module.go_mod.lines().find_map(|line| {
            let line = line.trim_start().trim_start_matches("require ");
            let rest = line.strip_prefix(self.requirement)?;
            rest.starts_with(' ').then(|| parse_version(rest))?
        })?;
        // As a Go module, Prometheus 3.15.1 is v0.315.1.
        Some(if self.requirement == PROMETHEUS {
            Version::new(version.minor / 100, version.minor % 100, version.patch)
        } else {
            version
        })
    }

    /// Returns the checksum of the required module in the go.sum.
    fn sum(&self, version: &str) -> Option<&'static str> {
        let line = format!("{} {version} ", self.requirement);
        self.module.go_sum.lines().find_map(|known| known.strip_prefix(&line))
    }

    fn linker_flags(&self, version: &Version) -> String {
        let variable = self
            .version_variable
            .map(|variable| format!(" -X {variable}=v{version}"));
        format!("-s -w{}", variable.unwrap_or_default())
    }

    /// Returns a key that changes with every input of the binary's build.
    fn key(&self, version: &Version) -> String {
        let flags = self.linker_flags(version);
        let mut parts = vec![self.module.go_mod, self.module.go_sum, self.package, &flags];
        parts.extend(self.module.main);
        parts.extend(self.tags);
        digest(parts.join("\n").as_bytes())
    }
}

/// Returns a short name for bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().take(6).fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// Returns the folder of this user's builds and downloads.
pub(crate) fn cache() -> Result<PathBuf> {
    Ok(Places::of_this_user()?.cache)
}

/// The places to search.
struct Places {
    assets: Option<PathBuf>,
    path: Option<OsString>,
    /// The folder in which `setup-envtest` keeps one folder per version and platform.
    envtest: PathBuf,
    cache: PathBuf,
}

impl Places {
    fn of_this_user() -> Result<Self> {
        let home = home_folder()?;
        let data = if cfg!(target_os = "macos") {
            home.join("Library/Application Support/io.kubebuilder.envtest")
        } else {
            let data = folder("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
            data.join("kubebuilder-envtest")
        };
        Ok(Self {
            assets: folder("KUBEBUILDER_ASSETS"),
            path: env::var_os("PATH"),
            envtest: data.join("k8s"),
            cache: cache_folder()?,
        })
    }

    /// Returns the first usable binary that needs no network and no build.
    async fn present(&self, tool: Tool, minimum: &Version) -> Option<Found> {
        tool.version_arguments()?;
        for path in [self.in_assets(tool), self.on_path(tool), self.in_envtest_store(tool)]
            .into_iter()
            .flatten()
        {
            if let Some(found) = usable(tool, path, minimum).await {
                return Some(found);
            }
        }
        None
    }

    fn in_assets(&self, tool: Tool) -> Option<PathBuf> {
        existing(self.assets.as_ref()?.join(tool.name()))
    }

    fn on_path(&self, tool: Tool) -> Option<PathBuf> {
        which::which_in(tool.name(), self.path.as_ref(), "/").ok()
    }

    /// Returns the tool in the newest version's folder, such as `1.36.0-linux-amd64`.
    fn in_envtest_store(&self, tool: Tool) -> Option<PathBuf> {
        let os = if cfg!(target_os = "macos") {
            "darwin"
        } else {
            env::consts::OS
        };
        let architecture = match env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let platform = format!("-{os}-{architecture}");
        let newest = fs::read_dir(&self.envtest)
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let version = Version::parse(name.to_str()?.strip_suffix(&platform)?).ok()?;
                Some((version, existing(entry.path().join(tool.name()))?))
            })
            .max_by(|(one, _), (other, _)| one.cmp(other))?;
        Some(newest.1)
    }
}

/// Returns the folder that the variable names, as an absolute path, because the tools run in folders of their own.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).and_then(|value| std::path::absolute(value).ok())
}

fn home_folder() -> Result<PathBuf> {
    env::home_dir()
        .ok_or_else(|| Error::io("cannot find the cache folder: set HOME")(std::io::ErrorKind::NotFound.into()))
}

/// Returns the folder of everything that is made once per user.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let cache = match folder("XDG_CACHE_HOME") {
        Some(cache) => cache,
        None => home_folder()?.join(".cache"),
    };
    Ok(cache.join("amplify-operator"))
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

/// Returns the tool that `setup-envtest`, if it is installed, can download now.
async fn downloaded(tool: Tool, minimum: &Version) -> Option<Found> {
    // Asked once: without network each attempt takes its whole time limit.
    static FOLDER: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    if !tool.in_envtest() {
        return None;
    }
    let folder = FOLDER.get_or_init(download).await.as_ref()?;
    usable(tool, existing(folder.join(tool.name()))?, minimum).await
}

async fn download() -> Option<PathBuf> {
    let setup_envtest = which::which("setup-envtest").ok()?;
    let version = Tool::KubeApiserver.recipe().version()?;
    report("asking setup-envtest for Kubernetes");
    let mut command = Command::new(setup_envtest);
    command.args(["use", "-p", "path", &format!("{}.{}.x", version.major, version.minor)]);
    match output(command, DOWNLOAD_TIMEOUT).await {
        Ok(path) => Some(PathBuf::from(path.trim())),
        Err(reason) => {
            report(&format!("setup-envtest is of no help: {reason}"));
            None
        }
    }
}

/// Returns the tool if it runs and is new enough.
async fn usable(tool: Tool, path: PathBuf, minimum: &Version) -> Option<Found> {
    let mut command = Command::new(&path);
    command.args(tool.version_arguments().unwrap_or_default());
    let reason = match output(command, VERSION_TIMEOUT).await.map(|text| parse_version(&text)) {
        Ok(Some(version)) if version >= *minimum => return Some(Found { path, version }),
        Ok(Some(version)) => format!("it is version {version}, at least {minimum} is needed"),
        Ok(None) => "it does not tell its version".to_owned(),
        Err(reason) => reason,
    };
    report(&format!("not using {}: {reason}", path.display()));
    None
}

/// Returns the first word that is a version: `Kubernetes v1.36.3`, `etcd Version: 3.6.16`, `v4.3.1+g1234567`.
fn parse_version(text: &str) -> Option<Version> {
    text.split_whitespace()
        .find_map(|word| Version::parse(word.trim_start_matches('v')).ok())
}

/// Returns the standard output of a command that succeeds within its time limit.
pub(crate) async fn output(mut command: Command, limit: Duration) -> Result<String, String> {
    command.kill_on_drop(true);
    let output = time::timeout(limit, command.output())
        .await
        .map_err(|_| format!("no answer within {} s", limit.as_secs()))?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

/// Returns the tool as built from this crate's Go modules, now or earlier.
async fn built(tool: Tool, minimum: &Version, cache: &Path) -> Result<Found> {
    let recipe = tool.recipe();
    let version = recipe.version().unwrap_or_else(|| minimum.clone());
    let folder = format!("{}-{version}-{}", tool.name(), recipe.key(&version));
    let path = cache.join(folder).join(tool.name());
    install(&path, cache, async |output: &Path| {
        let go = which::which("go").map_err(|_| Error::NoGo {
            tool: tool.name(),
            minimum: minimum.clone(),
        })?;
        compile(&go, tool, &recipe, &version, output).await
    })
    .await?;
    Ok(Found { path, version })
}

/// Puts the output of `make` at `path`, unless it exists. Only one process or task per cache folder does this at a
/// time.
pub(crate) async fn install(path: &Path, cache: &Path, make: impl AsyncFnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(cache).map_err(Error::path("create", cache))?;
    let _lock = lock(&cache.join("build.lock")).await?;
    if path.exists() {
        return Ok(());
    }
    // Files left by an interrupted build are removed with the next build.
    let work = cache.join("build");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(Error::path("remove", &work))?;
    }
    fs::create_dir(&work).map_err(Error::path("create", &work))?;
    let output = work.join("output");
    make(&output).await?;
    let folder = path.parent().unwrap_or(cache);
    fs::create_dir_all(folder).map_err(Error::path("create", folder))?;
    fs::rename(&output, path).map_err(Error::path("create", path))?;
    fs::remove_dir_all(&work).map_err(Error::path("remove", &work))
}

/// Takes an exclusive lock that ends with the file's handle. It polls, because a blocking call could not be cancelled.
async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::path("create", path))?;
    let mut reported = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if reported => {}
            Err(TryLockError::WouldBlock) => {
                report("waiting for another process that builds");
                reported = true;
            }
            Err(TryLockError::Error(error)) => return Err(Error::path("lock", path)(error)),
        }
        time::sleep(POLL).await;
    }
}

async fn compile(go: &Path, tool: Tool, recipe: &Recipe, version: &Version, output: &Path) -> Result<()> {
    let work = output.parent().unwrap_or(output);
    let module = recipe.module;
    let mut files = vec![("go.mod", module.go_mod), ("go.sum", module.go_sum)];
    files.extend(module.main.map(|main| ("main.go", main)));
    for (name, content) in files {
        let path = work.join(name);
        fs::write(&path, content).map_err(Error::path("write", &path))?;
    }
    let mut command = process::command(go);
    command
        .current_dir(work)
        // The user's settings for other Go projects would change or break the build.
        .envs([
            ("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false"),
            ("GOWORK", "off"),
            ("GO111MODULE", "on"),
            ("CGO_ENABLED", "0"),
            // Collecting garbage less often saves a tenth of the time.
            ("GOGC", "400"),
        ])
        // A killed build leaves its temporary files in this folder, where the next build removes them.
        .env("GOTMPDIR", work)
        .env_remove("GOOS")
        .env_remove("GOARCH")
        // The linker leaves debug information out, so the compiler need not write it.
        .args(["build", "-gcflags", "all=-dwarf=false"])
        .args(["-tags", recipe.tags.unwrap_or_default()])
        .args(["-ldflags", &recipe.linker_flags(version), "-o"])
        .arg(output)
        .arg(recipe.package);

    let name = tool.name();
    report(&format!(
        "building {name} {version} from Go modules; about {} min on 2 cores, once",
        recipe.minutes
    ));
    let start = Instant::now();
    let mut heartbeat = time::interval_at(start + HEARTBEAT, HEARTBEAT);
    let mut build = Process::spawn(&format!("go build of {name}"), command, work.join("build.log")).await?;
    loop {
        match build.ended()? {
            Some(status) if status.success() => break,
            Some(status) => return Err(build.exited(status)),
            None => {}
        }
        tokio::select! {
            _ = heartbeat.tick() => report(&format!("still building {name}, {} s", start.elapsed().as_secs())),
            () = time::sleep(POLL) => {}
        }
    }
    report(&format!("built {name} in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// Prints a line about a long step for the waiting user. A test shows it when it fails.
pub(crate) fn report(line: &str) {
    eprintln!("devcluster: {line}");
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt as _,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn versions_are_read_from_what_the_tools_print() {
        for (text, version) in [
            ("Kubernetes v1.36.3\n", Some("1.36.3")),
            (
                "etcd Version: 3.6.16\nGit SHA: GitNotFound\nGo Version: go1.26.8\n",
                Some("3.6.16"),
            ),
            (
                "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0\n",
                Some("1.32.4-dispatcher"),
            ),
            ("v4.3.1+g1234567", Some("4.3.1+g1234567")),
            ("v3.19.0", Some("3.19.0")),
            ("Kubernetes v1.36", None),
            ("usage: etcd", None),
            ("", None),
        ] {
            assert_eq!(
                parse_version(text),
                version.map(|version| Version::parse(version).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn every_recipe_has_a_pinned_version_that_would_do() {
        for tool in Tool::ALL {
            let version = tool.recipe().version();
            assert!(version >= Some(tool.minimum()), "{}: {version:?}", tool.name());
        }
    }

    #[test]
    fn the_source_of_every_gitops_tool_has_a_checksum() {
        for tool in Tool::ALL.into_iter().filter(|tool| tool.version_arguments().is_none()) {
            let (module, version, sum) = tool.module();
            assert!(sum.starts_with("h1:"), "{module} {version}");
        }
    }

    fn fake(path: &Path, prints: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn the_first_usable_place_wins() {
        let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let store = |version: &str| format!("store/{version}-{os}-{architecture}");
        for (places, expected) in [
            (vec![], None),
            (
                vec![("assets".to_owned(), "v1.36.0"), ("path".to_owned(), "v1.36.1")],
                Some("assets"),
            ),
            (
                vec![("path".to_owned(), "v1.36.1"), (store("1.36.2"), "v1.36.2")],
                Some("path"),
            ),
            (
                vec![("assets".to_owned(), "v1.32.9"), ("path".to_owned(), "v1.33.0")],
                Some("path"),
            ),
            (
                vec![("assets".to_owned(), "broken"), ("path".to_owned(), "v1.30.0")],
                None,
            ),
            (
                vec![(store("1.9.0"), "v1.9.0"), (store("1.36.2"), "v1.36.2")],
                Some("store"),
            ),
            (vec![("store/1.36.2-plan9-vax".to_owned(), "v1.36.2")], None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for (place, version) in &places {
                fake(
                    &dir.path().join(place).join("kube-apiserver"),
                    &format!("Kubernetes {version}"),
                );
            }
            let found = Places {
                assets: Some(dir.path().join("assets")),
                path: Some(dir.path().join("path").into()),
                envtest: dir.path().join("store"),
                cache: dir.path().join("cache"),
            }
            .present(Tool::KubeApiserver, &Tool::KubeApiserver.minimum())
            .await;
            let place = found.map(|found| found.path.strip_prefix(dir.path()).unwrap().to_owned());
            let place = place.as_ref().and_then(|path| path.iter().next()?.to_str());
            assert_eq!(place, expected, "{places:?}");
        }
    }

    #[tokio::test]
    async fn a_binary_is_made_once_and_only_whole() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("tool-1/tool");
        let makes = AtomicUsize::new(0);
        let make = async |output: &Path| {
            makes.fetch_add(1, Ordering::Relaxed);
            fs::write(output, "half").unwrap();
            tokio::task::yield_now().await;
            assert!(!path.exists());
            fs::write(output, "whole").unwrap();
            Ok(())
        };
        let (one, other) = tokio::join!(install(&path, cache.path(), make), install(&path, cache.path(), make));
        one.and(other).unwrap();
        assert_eq!(makes.into_inner(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
    }

    #[tokio::test]
    async fn a_failed_build_leaves_nothing_in_the_way() {
        let cache = tempfile::tempdir().unwrap();
        let path = cache.path().join("tool-1/tool");
        let missing = || Error::NoGo {
            tool: "tool",
            minimum: Version::new(1, 0, 0),
        };
        install(&path, cache.path(), async |_: &Path| Err(missing()))
            .await
            .unwrap_err();
        assert!(!path.exists());
        install(&path, cache.path(), async |output: &Path| {
            fs::write(output, "").map_err(Error::path("write", output))
        })
        .await
        .unwrap();
        assert!(path.exists());
    }
}
