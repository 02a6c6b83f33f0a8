//! The container image without a container engine: the program runs on the files of the image's base, as the image's
//! user, with a root that is mounted read-only.
//!
//! The root holds less than the base (no time zones, no user names, no /dev, no /proc), so these tests also show that
//! the missing files are not needed. Needs Linux, and root's rights or those of an unprivileged user namespace.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Stdio,
    sync::Arc,
};

use amplify_devcluster::debian;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use amplify_operator::api::KindName;
use amplify_testkit::stage::{Kind, Setup, Stage, World, environment, ready};

amplify_testkit::tests! {
    the_dockerfile_says_what_the_tests_of_the_image_try_and_is_given_what_cargo_needs,
    the_program_works_on_the_files_of_the_image_as_its_user_with_a_read_only_root,
    aws_is_trusted_by_the_certificate_authorities_of_the_image_and_by_no_others,
}

/// The Debian release of the image, and the name that `distroless` uses for it.
const RELEASE: &str = "trixie";
const BASE: &str = "gcr.io/distroless/cc-debian13:nonroot";
const USER: &str = "65532:65532";
const PROGRAM: &str = "/usr/local/bin/amplify-operator";
/// The packages of the base that the program needs.
const PACKAGES: [&str; 3] = ["ca-certificates", "libc6", "libgcc-s1"];
/// The base's file with all certificate authorities. It is generated when the image is built.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Checks that both stages use one Debian release, and that the image consists of its base and the program and runs as
/// the chart's user.
fn dockerfile_is_as_tested() {
    let dockerfile = read("Dockerfile").replace("\\\n", "");
    let of = |instruction: &str| -> Vec<String> {
        let lines = dockerfile.lines().filter_map(|line| line.strip_prefix(instruction));
        lines.map(|rest| rest.trim().to_owned()).collect()
    };
    let manifest = read("Cargo.toml");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \""));
    let rust = rust.and_then(|line| line.strip_suffix('"')).expect("a version of Rust");
    let bases = [format!("rust:{rust}-slim-{RELEASE} AS build"), BASE.to_owned()];
    assert_eq!(of("FROM "), bases, "with the Rust of Cargo.toml");
    assert_eq!(of("USER "), [USER]);
    assert_eq!(of("ENTRYPOINT "), [format!("[\"{PROGRAM}\"]")]);
    let copies = [". .".to_owned(), format!("--from=build /amplify-operator {PROGRAM}")];
    assert_eq!(of("COPY "), copies, "the image is its base and the program");
    let chart = read("charts/amplify-operator/templates/deployment.yaml");
    let (user, group) = USER.split_once(':').expect("user:group");
    for field in [format!("runAsUser: {user}\n"), format!("runAsGroup: {group}\n")] {
        assert!(chart.contains(&field), "the chart does not say {field}");
    }
}

/// Returns the platform for which cargo builds, such as `x86_64-unknown-linux-gnu`.
async fn host() -> String {
    let output = Command::new(env!("CARGO"))
        .arg("-vV")
        .output()
        .await
        .expect("cargo runs");
    let version = String::from_utf8(output.stdout).expect("text");
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("a platform").to_owned()
}

async fn the_dockerfile_says_what_the_tests_of_the_image_try_and_is_given_what_cargo_needs(_: Arc<World>) {
    dockerfile_is_as_tested();
    // The files that .dockerignore lets through.
    let context = tempfile::tempdir().expect("a folder");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignore = read(".dockerignore");
    let mut lines = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "nothing, but for what follows");
    for line in lines {
        let path = line.strip_prefix('!').expect("an exception");
        let target = context.path().join(path);
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(repository.join(path))
            .arg(&target)
            .status();
        assert!(copied.await.expect("cp runs").success(), "{path}");
    }
    // Does the same as a build up to the first crate: cargo reads all manifests, and the lock file must be up to date.
    // Without network, so that only the lock file decides. For this platform only, because a machine that has built
    // these tests may not have the crates of other platforms.
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .args(["--filter-platform", &host().await])
        .current_dir(context.path())
        .output()
        .await
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let program = packages
        .iter()
        .find(|package| package["name"] == "amplify-operator")
        .expect("the program");
    let mut made = Vec::new();
    for target in program["targets"].as_array().expect("targets") {
        let kind = target["kind"][0].as_str().expect("a kind");
        let source = Path::new(target["src_path"].as_str().expect("a path"));
        if kind != "test" {
            made.push(kind);
            assert!(source.is_file(), "{} is not let through", source.display());
        }
    }
    assert_eq!(
        made,
        ["lib", "bin", "custom-build"],
        "what cargo would make of what is let through"
    );
}

/// The image's file system, with the program in it.
struct Root(TempDir);

impl Root {
    /// Creates the file system. `authority`: an additional certificate authority, as PEM.
    async fn new(authority: Option<&str>) -> Self {
        let files = debian::files(RELEASE, &PACKAGES).await.expect("the base's files");
        let root = Self(tempfile::tempdir().expect("a folder"));
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(files)
            .arg("-C")
            .arg(root.path())
            .status();
        assert!(
            unpacked.await.expect("tar runs").success(),
            "the base's files are unpacked"
        );
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).expect("a folder that all may enter");
        for folder in ["lib", "lib64"] {
            let target = format!("usr/{folder}");
            if root.path().join(&target).exists() {
                symlink(target, root.path().join(folder)).expect("a link");
            }
        }
        // Does the work of update-ca-certificates.
        let mut authorities = File::create(root.path().join(AUTHORITIES)).expect("a file");
        let mut known = Vec::new();
        for entry in fs::read_dir(root.path().join("usr/share/ca-certificates/mozilla")).expect("certificates") {
            let path = entry.expect("a certificate").path();
            let certificate = fs::read(&path).expect("a certificate");
            authorities.write_all(&certificate).expect("written");
            known.extend(path.file_name().map(|name| name.display().to_string()));
        }
        assert!(
            known.contains(&"Amazon_Root_CA_1.crt".to_owned()),
            "AWS is not trusted: {known:?}"
        );
        authorities
            .write_all(authority.unwrap_or_default().as_bytes())
            .expect("written");
        root.put(
            PROGRAM,
            &fs::read(env!("CARGO_BIN_EXE_amplify-operator")).expect("the program"),
            0o755,
        );
        root
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, path: &str, content: &[u8], mode: u32) {
        let path = self.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a file");
    }

    /// Returns the command prefix that starts the program in this root.
    fn launcher(&self) -> Vec<String> {
        let read_only = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#;
        let (user, group) = USER.split_once(':').expect("user:group");
        let (namespaces, change) = if rustix::process::geteuid().is_root() {
            (
                vec!["--mount".to_owned()],
                format!("chroot --userspec={USER} --groups={group}"),
            )
        } else {
            // The capabilities are those of the new user namespace, and apply to nothing but this root.
            let (user, group) = (format!("--map-user={user}"), format!("--map-group={group}"));
            (
                vec![
                    "--user".to_owned(),
                    user,
                    group,
                    "--keep-caps".to_owned(),
                    "--mount".to_owned(),
                ],
                "chroot".to_owned(),
            )
        };
        let unshare = "/usr/bin/unshare".to_owned();
        let script = format!(r#"{read_only} && exec {change} "$0" "$@""#);
        let root = self.path().display().to_string();
        let mut launcher = vec![unshare];
        launcher.extend(namespaces);
        launcher.extend(["--", "/bin/sh", "-c"].map(ToOwned::to_owned));
        launcher.extend([script, root, PROGRAM.to_owned()]);
        launcher
    }

    /// Runs the program to its end and returns its output.
    async fn run(&self, argument: &str) -> String {
        let launcher = self.launcher();
        let output = Command::new(&launcher[0])
            .args(&launcher[1..])
            .arg(argument)
            .env_clear()
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("unshare runs");
        assert!(
            output.status.success(),
            "{argument}: {}\n(this test needs to be root, or unprivileged user namespaces)",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Returns a stage whose operator runs in this root.
    async fn stage(&self, world: Arc<World>) -> Stage {
        let setup = Setup {
            running: false,
            launcher: self.launcher(),
            ..Setup::default()
        };
        let mut stage = Stage::with(world, setup).await;
        let kubeconfig = stage
            .environment
            .iter()
            .find(|(name, _)| name == "KUBECONFIG")
            .expect("a kubeconfig");
        let kubeconfig = fs::read(&kubeconfig.1).expect("a kubeconfig");
        self.put("/etc/amplify-operator/kubeconfig", &kubeconfig, 0o644);
        stage.set("KUBECONFIG", "/etc/amplify-operator/kubeconfig");
        stage
    }
}

async fn the_program_works_on_the_files_of_the_image_as_its_user_with_a_read_only_root(world: Arc<World>) {
    let root = Root::new(None).await;
    let version = root.run("--version").await;
    assert_eq!(version.trim(), concat!("amplify-operator ", env!("CARGO_PKG_VERSION")));
    let crds = root.run("crd").await;
    assert_eq!(
        crds.matches("kind: CustomResourceDefinition").count(),
        KindName::ALL.len()
    );

    let mut stage = root.stage(world).await;
    stage.start();
    stage.create(Kind::Environment, "dev", environment("dev")).await;
    stage.create_backend("main").await;
    stage.wait_until_ready(Kind::Environment, "dev").await;
    stage.wait_until_ready(Kind::Backend, "main").await;
    let pid = stage
        .operator
        .as_ref()
        .and_then(tokio::process::Child::id)
        .expect("a process");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
    let uid = status.lines().find(|line| line.starts_with("Uid:")).expect("a user");
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mounts");
    if rustix::process::geteuid().is_root() {
        assert_eq!(uid.split_whitespace().skip(1).collect::<Vec<_>>(), ["65532"; 4]);
        let capabilities = status.lines().find(|line| line.starts_with("CapEff:"));
        assert_eq!(capabilities, Some("CapEff:\t0000000000000000"));
    }
    let is_read_only = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        fields[4] == "/" && fields[5].starts_with("ro")
    };
    assert!(mounts.lines().any(is_read_only), "{mounts}");
    stage.terminate().await;
}

/// Creates a certificate authority, and an acceptor with a certificate of it for 127.0.0.1.
fn authority() -> (String, TlsAcceptor) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let ca = Issuer::new(ca, ca_key);
    let serving = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = serving.signed_by(&key, &ca).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a server");
    (pem, TlsAcceptor::from(Arc::new(config)))
}

/// Serves the simulator over HTTPS, and directs the stage's operator to it.
async fn https(stage: &mut Stage, acceptor: TlsAcceptor) -> JoinHandle<()> {
    let simulator = stage.simulator.address();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("a port").port();
    stage.set("AWS_ENDPOINT_URL", &format!("https://127.0.0.1:{port}"));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate closes the connection.
                if let Ok(mut client) = acceptor.accept(connection).await {
                    let mut simulator = TcpStream::connect(simulator).await.expect("the simulator");
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut simulator).await;
                }
            });
        }
    })
}

async fn aws_is_trusted_by_the_certificate_authorities_of_the_image_and_by_no_others(world: Arc<World>) {
    let (pem, acceptor) = authority();
    for trusted in [true, false] {
        let root = Root::new(trusted.then_some(&*pem)).await;
        let mut stage = root.stage(world.clone()).await;
        let server = https(&mut stage, acceptor.clone()).await;
        stage.start();
        stage.create(Kind::Environment, "dev", environment("dev")).await;
        if trusted {
            stage.wait_until_ready(Kind::Environment, "dev").await;
        } else {
            let object = stage.wait_for_reason(Kind::Environment, "dev", "AwsUnavailable").await;
            let message = ready(&object)["message"].as_str().unwrap_or_default();
            assert!(message.contains("certificate"), "{message}");
            assert!(
                stage.simulator.history().all().is_empty(),
                "nothing is said to strangers"
            );
        }
        server.abort();
    }
}
