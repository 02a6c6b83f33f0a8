//! The files of Debian packages: the bases of the container image for a machine that reaches no container registry, and
//! podman and redis-server for a machine that does not have them. They are downloaded once per user with apt-get, with separate settings:
//! the machine's own release and packages are not changed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{Error, Result, tools};

/// The Debian release of the image.
const RELEASE: &str = "trixie";
/// The path of the keys that sign Debian's releases, in the package `debian-archive-keyring`.
const KEYS: &str = "usr/share/keyrings/debian-archive-keyring.gpg";
/// The certificates of the package `ca-certificates`, and the file with all of them.
const CERTIFICATES: &str = "usr/share/ca-certificates/mozilla";
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// The packages of the C library. A program from the packages of the machine's own release works with the machine's.
const C_LIBRARY: [&str; 3] = ["libc6", "libc-bin", "libgcc-s1"];

/// A base of the container image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Base {
    /// What the program needs to run: no shell and no package manager.
    Run,
    /// What a build needs besides Rust: a shell, and a C compiler with its libraries.
    Build,
}

impl Base {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Build => "build",
        }
    }

    fn packages(self) -> Packages {
        match self {
            Self::Run => Packages::These(&["base-files", "ca-certificates", "libc6", "libgcc-s1", "netbase"]),
            Self::Build => Packages::WithDependencies(&[
                "base-files",
                "binutils",
                "ca-certificates",
                "coreutils",
                "dash",
                "gcc",
                "libc6-dev",
            ]),
        }
    }
}

/// The packages to unpack.
#[derive(Clone, Copy)]
enum Packages {
    These(&'static [&'static str]),
    WithDependencies(&'static [&'static str]),
}

/// Returns a tar archive of a base's file system. The packages' maintainer scripts have not run; this does their work
/// where it is needed.
pub async fn base(base: Base) -> Result<PathBuf> {
    let cache = tools::cache()?;
    let path = cache
        .join(format!("base-{RELEASE}-{}-1", base.name()))
        .join("files.tar");
    tools::install(&path, &cache, async |output: &Path| {
        let work = output.parent().unwrap_or(output);
        let keys = keys(work).await?;
        tools::report(&format!(
            "downloading Debian {RELEASE}'s packages for the image's base to {}, once",
            base.name()
        ));
        let source = format!(
            "deb [signed-by={}] http://deb.debian.org/debian {RELEASE} main\n",
            keys.display()
        );
        let root = unpacked(&work.join("packages"), Some(&source), base.packages(), &[]).await?;
        finish(&root, base)?;
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

/// Does the work of the maintainer scripts, and adds the user of the image.
fn finish(root: &Path, base: Base) -> Result<()> {
    let put = |name: &str, content: &[u8]| {
        let path = root.join(name);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(Error::path("create", folder))?;
        fs::write(&path, content).map_err(Error::path("write", &path))
    };
    put(
        "etc/passwd",
        b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    )?;
    put("etc/group", b"root:x:0:\nnonroot:x:65532:\n")?;
    let mut authorities = Vec::new();
    let folder = root.join(CERTIFICATES);
    for certificate in files_in(&folder, "crt")? {
        authorities.extend(fs::read(&certificate).map_err(Error::path("read", &certificate))?);
    }
    put(AUTHORITIES, &authorities)?;
    let temporary = root.join("tmp");
    fs::create_dir_all(&temporary).map_err(Error::path("create", &temporary))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).map_err(Error::path("open", &temporary))?;
    if base == Base::Build {
        let cc = root.join("usr/bin/cc");
        symlink("gcc", &cc).map_err(Error::path("create", &cc))?;
    }
    Ok(())
}

/// Returns a command that runs podman: the machine's own, or one from the packages of the machine's release. Its images
/// and containers are apart from the user's own.
pub async fn podman() -> Result<PathBuf> {
    let cache = tools::cache()?;
    let folder = cache.join("podman");
    let run = run_folder(&folder);
    let folders = ["home/.config/containers", "tmp", "storage"].map(|name| folder.join(name));
    for path in folders.iter().chain([&run]) {
        fs::create_dir_all(path).map_err(Error::path("create", path))?;
    }
    let (here, run) = (folder.display(), run.display());
    let (program, path, runtime) = if which::which("podman").is_ok() {
        ("podman".to_owned(), String::new(), String::new())
    } else {
        let root = unpacked_podman(&cache).await?;
        let root = root.display();
        (
            format!("{root}/usr/bin/podman"),
            format!("export PATH={root}/usr/bin:{root}/usr/sbin:$PATH\n"),
            format!(
                "conmon_path = [\"{root}/usr/bin/conmon\"]\nruntime = \"runc\"\n\
                 [engine.runtimes]\nrunc = [\"{root}/usr/sbin/runc\"]\n"
            ),
        )
    };
    // Without systemd and its journal, and without the memory that all podmans share for their locks.
    let settings = format!(
        "[containers]\nlog_driver = \"none\"\n[engine]\ncgroup_manager = \"cgroupfs\"\n\
         events_logger = \"none\"\nlock_type = \"file\"\n{runtime}"
    );
    let script = format!(
        "#!/bin/sh\n# Written by devcluster: podman with images and containers of its own.\n\
         export HOME={here}/home TMPDIR={here}/tmp CONTAINERS_CONF={here}/containers.conf BUILDAH_ISOLATION=chroot\n\
         {path}exec {program} --root {here}/storage --runroot {run} --tmpdir {run}/libpod \"$@\"\n"
    );
    // No registry is used, only local images.
    let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
    let files = [
        ("home/.config/containers/policy.json", policy, 0o644),
        ("containers.conf", &*settings, 0o644),
        ("podman", &*script, 0o755),
    ];
    for (name, content, mode) in files {
        // Replaced as a whole: another process may be using it.
        let (path, new) = (folder.join(name), folder.join(format!("new-{}", std::process::id())));
        fs::write(&new, content).map_err(Error::path("write", &new))?;
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(Error::path("write", &new))?;
        fs::rename(&new, &path).map_err(Error::path("write", &path))?;
    }
    Ok(folder.join("podman"))
}

/// Returns the folder for what podman knows of running containers. podman refuses a path of more than 50 characters, and
/// the cache of a user may have one: the folder is where such data usually is, and each cache has its own.
fn run_folder(folder: &Path) -> PathBuf {
    let usual = if rustix::process::geteuid().is_root() {
        Some(PathBuf::from("/run"))
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    };
    let name = format!(
        "amplify-podman-{}",
        tools::digest(folder.as_os_str().as_encoded_bytes())
    );
    usual
        .filter(|usual| usual.is_dir())
        .map_or_else(|| folder.join("run"), |usual| usual.join(name))
}

/// Returns a folder with podman and all that it needs, but for the C library: the packages are of the machine's own
/// release, so they work with its C library.
async fn unpacked_podman(cache: &Path) -> Result<PathBuf> {
    let path = cache.join("podman-from-packages-1");
    tools::install(&path, cache, async |output: &Path| {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NoPackage {
                package: "podman".to_owned(),
                needs: "podman on PATH (Debian and Ubuntu: apt-get install podman), or to be run by root",
                reason: "podman is not on PATH, and only root can use it where it is not installed".to_owned(),
            });
        }
        let work = output.parent().unwrap_or(output);
        tools::report("downloading podman from this machine's package archive, once");
        let packages = Packages::WithDependencies(&["podman", "conmon", "runc", "patchelf"]);
        let root = unpacked(&work.join("packages"), None, packages, &C_LIBRARY).await?;
        // podman calls itself without its environment, so a variable would not show it its libraries.
        let libraries = libraries(&root)?;
        let final_libraries = path.join(libraries.strip_prefix(&root).unwrap_or(&libraries));
        for program in ["usr/bin/podman", "usr/bin/conmon", "usr/sbin/runc"] {
            let mut patchelf = Command::new(root.join("usr/bin/patchelf"));
            patchelf.env("LD_LIBRARY_PATH", &libraries);
            patchelf.args(["--force-rpath", "--set-rpath"]);
            run(patchelf.arg(&final_libraries).arg(root.join(program))).await?;
        }
        fs::rename(&root, output).map_err(Error::path("create", output))
    })
    .await?;
    Ok(path)
}

/// Returns redis-server: the machine's own, or one from the packages of the machine's release.
pub async fn redis_server() -> Result<PathBuf> {
    if let Ok(program) = which::which("redis-server") {
        return Ok(program);
    }
    let cache = tools::cache()?;
    let path = cache.join("redis-from-packages-1");
    tools::install(&path, &cache, async |output: &Path| {
        let work = output.parent().unwrap_or(output);
        tools::report("downloading redis-server from this machine's package archive, once");
        let packages = Packages::WithDependencies(&["redis-server"]);
        let root = unpacked(&work.join("packages"), None, packages, &C_LIBRARY).await?;
        let libraries = libraries(&root)?;
        let final_libraries = path.join(libraries.strip_prefix(&root).unwrap_or(&libraries));
        let text = format!(
            "#!/bin/sh\n# Written by devcluster.\nLD_LIBRARY_PATH={} exec {}/usr/bin/redis-server \"$@\"\n",
            final_libraries.display(),
            path.display()
        );
        let script = root.join("redis-server");
        fs::write(&script, text).map_err(Error::path("write", &script))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).map_err(Error::path("write", &script))?;
        fs::rename(&root, output).map_err(Error::path("create", output))
    })
    .await?;
    Ok(path.join("redis-server"))
}

/// Returns the folder of the libraries, such as `usr/lib/x86_64-linux-gnu`.
fn libraries(root: &Path) -> Result<PathBuf> {
    let folder = root.join("usr/lib");
    for entry in fs::read_dir(&folder).map_err(Error::path("read", &folder))? {
        let path = entry.map_err(Error::path("read", &folder))?.path();
        if path.to_string_lossy().ends_with("-linux-gnu") {
            return Ok(path);
        }
    }
    let missing = std::io::ErrorKind::NotFound.into();
    Err(Error::path("find the libraries in", &folder)(missing))
}

/// Returns the file of Debian's keys. Ubuntu does not install them: on Ubuntu they come from Ubuntu's own archive,
/// whose keys the machine has.
async fn keys(work: &Path) -> Result<PathBuf> {
    let installed = Path::new("/").join(KEYS);
    if installed.is_file() {
        return Ok(installed);
    }
    tools::report("downloading the keys of Debian from this machine's package archive, once");
    let packages = Packages::These(&["debian-archive-keyring"]);
    let root = unpacked(&work.join("keys"), None, packages, &[]).await?;
    Ok(root.join(KEYS))
}

/// Downloads packages into the folder and returns a folder with their files. Their source is `source`, a line of a
/// sources.list, or the archives that the machine itself uses. The files of the packages in `without` are left out.
async fn unpacked(folder: &Path, source: Option<&str>, packages: Packages, without: &[&str]) -> Result<PathBuf> {
    let root = folder.join("root");
    for path in [
        &folder.join("lists/partial"),
        &folder.join("archives/partial"),
        &root.join("usr"),
    ] {
        fs::create_dir_all(path).map_err(Error::path("create", path))?;
    }
    // As on every Debian system: /lib is /usr/lib.
    for name in ["bin", "lib", "lib64", "sbin"] {
        let (path, target) = (root.join(name), root.join("usr").join(name));
        fs::create_dir(&target).map_err(Error::path("create", &target))?;
        symlink(format!("usr/{name}"), &path).map_err(Error::path("create", &path))?;
    }
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).map_err(Error::path("write", &path))
    };
    let here = |setting: &str, name: &str| format!("{setting}={}", folder.join(name).display());
    write("status", "")?;
    let mut settings = vec![
        here("Dir::State", "."),
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
    let download = match packages {
        Packages::These(packages) => [&["download"], packages].concat(),
        // With an empty status no dependency is there already.
        Packages::WithDependencies(packages) => [
            &["install", "--download-only", "--yes", "--no-install-recommends"],
            packages,
        ]
        .concat(),
    };
    for arguments in [&["update"][..], &download] {
        let mut apt = Command::new("apt-get");
        apt.current_dir(folder);
        for setting in &settings {
            apt.args(["-o", setting]);
        }
        run(apt.arg("-q").args(arguments)).await?;
    }
    unpack(folder, &root, without).await?;
    Ok(root)
}

/// Unpacks the downloaded packages in the folder, but for those in `without`.
async fn unpack(folder: &Path, root: &Path, without: &[&str]) -> Result<()> {
    let archives = [files_in(folder, "deb")?, files_in(&folder.join("archives"), "deb")?].concat();
    for archive in archives {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let package = name.split('_').next().unwrap_or_default();
        if without.contains(&package) {
            continue;
        }
        let unpack = r#"dpkg-deb --fsys-tarfile "$0" | tar --keep-directory-symlink -C "$1" -xf -"#;
        run(Command::new("sh").args(["-c", unpack]).arg(&archive).arg(root)).await?;
        // As in distroless images: scanners find the packages by these files.
        let fields = Command::new("dpkg-deb").arg("--field").arg(&archive).output().await;
        let fields = fields.map_err(Error::io("cannot run dpkg-deb"))?.stdout;
        let status = root.join("var/lib/dpkg/status.d");
        fs::create_dir_all(&status).map_err(Error::path("create", &status))?;
        fs::write(status.join(package), fields).map_err(Error::path("write", &status))?;
    }
    Ok(())
}

/// Returns the files in this folder that have this extension, in the order of their names.
fn files_in(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::path("read", folder))? {
        let path = entry.map_err(Error::path("read", folder))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
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
