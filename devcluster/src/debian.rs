//! The files of Debian packages, for a container image's root on machines without a container engine. They are
//! downloaded once per user with apt-get, with separate settings: the machine's own release and packages are not
//! changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{Error, Result, tools};

/// The path of the keys that sign Debian's releases, in the package `debian-archive-keyring`.
const KEYS: &str = "usr/share/keyrings/debian-archive-keyring.gpg";

/// Returns a tar archive of the files that these packages of this Debian release (such as `trixie`) install. Their
/// maintainer scripts have not run.
pub async fn files(release: &str, packages: &[&str]) -> Result<PathBuf> {
    let cache = tools::cache()?;
    let folder = format!("debian-{release}-{}", packages.join("-"));
    let path = cache.join(folder).join("files.tar");
    tools::install(&path, &cache, async |output: &Path| {
        let work = output.parent().unwrap_or(output);
        let keys = keys(work).await?;
        tools::report(&format!(
            "downloading {} of Debian {release}, once",
            packages.join(", ")
        ));
        let source = format!(
            "deb [signed-by={}] http://deb.debian.org/debian {release} main\n",
            keys.display()
        );
        let root = unpacked(&work.join("packages"), Some(&source), packages).await?;
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

/// Returns the file of Debian's keys. Ubuntu does not install them: on Ubuntu they come from Ubuntu's own archive,
/// whose keys the machine has.
async fn keys(work: &Path) -> Result<PathBuf> {
    let installed = Path::new("/").join(KEYS);
    if installed.is_file() {
        return Ok(installed);
    }
    tools::report("downloading the keys of Debian from this machine's package archive, once");
    let root = unpacked(&work.join("keys"), None, &["debian-archive-keyring"]).await?;
    Ok(root.join(KEYS))
}

/// Downloads packages into the folder and returns a folder with their files. Their source is `source`, a line of a
/// sources.list, or the archives that the machine itself uses.
async fn unpacked(folder: &Path, source: Option<&str>, packages: &[&str]) -> Result<PathBuf> {
    let root = folder.join("root");
    for path in [&folder.join("lists/partial"), &folder.join("archives/partial"), &root] {
        fs::create_dir_all(path).map_err(Error::path("create", path))?;
    }
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).map_err(Error::path("write", &path))
    };
    let here = |setting: &str, name: &str| format!("{setting}={}", folder.join(name).display());
    write("status", "")?;
    let mut settings = vec![
        here("Dir::State::lists", "lists"),
        here("Dir::State::status", "status"),
        here("Dir::Cache", "."),
        "Acquire::Languages=none".to_owned(),
        // Perhaps only this user can enter the cache folder.
        "APT::Sandbox::User=root".to_owned(),
    ];
    if let Some(source) = source {
        write("sources.list", source)?;
        settings.push(here("Dir::Etc::sourcelist", "sources.list"));
        settings.push("Dir::Etc::sourceparts=-".to_owned());
    }
    for arguments in [&["update"][..], &[&["download"], packages].concat()] {
        let mut apt = Command::new("apt-get");
        apt.current_dir(folder);
        for setting in &settings {
            apt.args(["-o", setting]);
        }
        run(apt.arg("-q").args(arguments)).await?;
    }
    for entry in fs::read_dir(folder).map_err(Error::path("read", folder))? {
        let package = entry.map_err(Error::path("read", folder))?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root)).await?;
        }
    }
    Ok(root)
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
