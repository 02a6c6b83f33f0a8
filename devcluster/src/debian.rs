//! Files of Debian packages, for a container image's root where there is no container engine. Downloaded once per user
//! with apt-get, with settings of its own: the machine's own release and its packages stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{Error, Result, tools};

/// A tar archive of what these packages of this Debian release (such as `trixie`) put into a file system. Their
/// maintainer scripts have not run.
pub async fn files(release: &str, packages: &[&str]) -> Result<PathBuf> {
    let cache = tools::cache()?;
    let folder = format!("debian-{release}-{}", packages.join("-"));
    let path = cache.join(folder).join("files.tar");
    tools::install(&path, &cache, async |output: &Path| {
        let work = output.parent().unwrap_or(output);
        download(work, release, packages).await?;
        let root = work.join("root");
        fs::create_dir(&root).map_err(Error::path("create", &root))?;
        for entry in fs::read_dir(work).map_err(Error::path("read", work))? {
            let package = entry.map_err(Error::path("read", work))?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root)).await?;
            }
        }
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-C"])
            .arg(&root)
            .arg("-cf")
            .arg(output);
        run(tar.arg(".")).await
    })
    .await?;
    Ok(path)
}

async fn download(work: &Path, release: &str, packages: &[&str]) -> Result<()> {
    for folder in ["lists/partial", "archives/partial"] {
        let path = work.join(folder);
        fs::create_dir_all(&path).map_err(Error::path("create", &path))?;
    }
    let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let mirror = "http://deb.debian.org/debian";
    let sources = format!("deb [signed-by={keys}] {mirror} {release} main\n");
    for (name, content) in [("sources.list", &*sources), ("status", "")] {
        let path = work.join(name);
        fs::write(&path, content).map_err(Error::path("write", &path))?;
    }
    let here = |setting: &str, name: &str| format!("{setting}={}", work.join(name).display());
    let settings = [
        here("Dir::Etc::sourcelist", "sources.list"),
        "Dir::Etc::sourceparts=-".to_owned(),
        here("Dir::State::lists", "lists"),
        here("Dir::State::status", "status"),
        here("Dir::Cache", "."),
        "Acquire::Languages=none".to_owned(),
        // The cache folder may be one that only this user can enter.
        "APT::Sandbox::User=root".to_owned(),
    ];
    tools::report(&format!(
        "downloading {} of Debian {release}, once",
        packages.join(", ")
    ));
    for arguments in [&["update"][..], &[&["download"], packages].concat()] {
        let mut apt = Command::new("apt-get");
        apt.current_dir(work);
        for setting in &settings {
            apt.args(["-o", setting]);
        }
        run(apt.arg("-q").args(arguments)).await?;
    }
    Ok(())
}

async fn run(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().display().to_string();
    let hint = format!("cannot run {name}: these files are made with apt-get, dpkg-deb and tar, of Debian or Ubuntu");
    let output = command.kill_on_drop(true).output().await.map_err(Error::io(hint))?;
    if output.status.success() {
        return Ok(());
    }
    let log = [output.stdout, output.stderr].concat();
    Err(Error::Exited {
        process: name,
        status: output.status,
        log: String::from_utf8_lossy(&log).into_owned(),
    })
}
