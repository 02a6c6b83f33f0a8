//! Packages for tests from the registries of other languages, each in one version and once per user: Python packages in
//! an environment of their own, and Go modules of which only files are read.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use serde::Deserialize;
use tokio::process::Command;

use crate::{
    Error, Result,
    tools::{Tool, cache_folder, output, report},
};

const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);

/// Returns the interpreter of a Python environment that has the package. The first call creates the environment in
/// `${XDG_CACHE_HOME:-~/.cache}/amplify-operator`.
pub async fn python(package: &str, version: &str) -> Result<PathBuf> {
    let cache = cache_folder()?;
    let name = format!("venv-{package}-{version}");
    let environment = cache.join(&name);
    let python = environment.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    report(&format!(
        "installing {package} {version} from the Python package index, once"
    ));
    fs::create_dir_all(&cache).map_err(Error::path("create", &cache))?;
    // Created under another name first: a second process must not find an incomplete one.
    let unfinished = cache.join(format!("{name}.{}", process::id()));
    let made = make_environment(&unfinished, &format!("{package}=={version}")).await;
    if made.is_err() || fs::rename(&unfinished, &environment).is_err() {
        fs::remove_dir_all(&unfinished).map_err(Error::path("remove", &unfinished))?;
    }
    made.map_err(|reason| Error::NoPackage {
        package: format!("the Python package {package} {version}"),
        needs: "python3 with its venv module (Debian: apt-get install python3 python3-venv) and, the first time, a \
                package index that pip can reach",
        reason,
    })?;
    Ok(python)
}

async fn make_environment(folder: &Path, requirement: &str) -> Result<(), String> {
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(folder);
    output(venv, DOWNLOAD_LIMIT).await?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        requirement,
    ]);
    output(pip, DOWNLOAD_LIMIT).await.map(drop)
}

/// Returns the folder of a Go module's files, in Go's own cache. `sum` is its checksum, as in a go.sum.
pub async fn go_module(path: &str, version: &str, sum: &str) -> Result<PathBuf> {
    download(path, version, sum).await.map_err(|reason| Error::NoPackage {
        package: format!("the Go module {path} {version}"),
        needs: "Go (https://go.dev/dl) and, the first time, a module proxy that it can reach",
        reason,
    })
}

/// Returns the folder of the source of a tool that is built from a Go module, in Go's own cache.
pub async fn source(tool: Tool) -> Result<PathBuf> {
    let (path, version, sum) = tool.module();
    go_module(path, &version, sum).await
}

async fn download(path: &str, version: &str, sum: &str) -> Result<PathBuf, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Download {
        dir: PathBuf,
        sum: String,
    }
    // In an empty folder, so that no surrounding Go module has an effect.
    let nowhere = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", &format!("{path}@{version}")])
        .current_dir(nowhere.path())
        .envs([
            ("GOFLAGS", ""),
            ("GOWORK", "off"),
            ("GO111MODULE", "on"),
            ("GOSUMDB", "off"),
        ]);
    let answer = output(go, DOWNLOAD_LIMIT).await?;
    let download: Download = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
    if download.sum == sum {
        Ok(download.dir)
    } else {
        Err(format!("its checksum is {}, not {sum}", download.sum))
    }
}
