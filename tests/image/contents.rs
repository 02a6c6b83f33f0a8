//! The image itself: its settings, its files, and the crates that the program names.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use amplify_testkit::stage::World;
use auditable_info::{Limits, json_from_file};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::container::{NAME, PROGRAM, output, podman, repository};

amplify_testkit::tests! {
    the_image_is_the_charts_user_and_the_program_and_says_where_it_is_from,
    the_image_has_no_shell_and_no_package_manager,
    the_program_names_its_crates_and_their_licences_are_in_the_image,
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("a file of the repository")
}

async fn the_image_is_the_charts_user_and_the_program_and_says_where_it_is_from(_: Arc<World>) {
    let inspected = output(Command::new(podman().await).args(["image", "inspect", NAME])).await;
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    let (image, config) = (&inspected[0], &inspected[0]["Config"]);
    println!(
        "evidence: image, without optimization: {} layers, {} MB",
        image["RootFS"]["Layers"].as_array().map_or(0, Vec::len),
        image["Size"].as_u64().unwrap_or_default() / 1_000_000
    );
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!([PROGRAM]));
    assert!(config["Cmd"].is_null(), "{config}");
    let label = |name: &str| &config["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(label("title"), "amplify-operator");
    let revision = label("revision").as_str().expect("a label");
    let mut head = Command::new("git");
    head.args(["-c", "safe.directory=*", "rev-parse", "HEAD"])
        .current_dir(repository());
    assert_eq!(revision.trim_end_matches("-dirty"), output(&mut head).await.trim());
    // Both bases have the same C library and the Rust that Cargo.toml asks for.
    let dockerfile = read("Dockerfile");
    let manifest = read("Cargo.toml");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \""));
    let rust = rust.and_then(|line| line.strip_suffix('"')).expect("a version of Rust");
    for base in [
        format!("\nARG BUILD_IMAGE=docker.io/library/rust:{rust}-slim-trixie\n"),
        "\nARG RUN_IMAGE=gcr.io/distroless/cc-debian13:nonroot\n".to_owned(),
    ] {
        assert!(dockerfile.contains(&base), "the Dockerfile does not say {base}");
    }
}

/// The files of the image.
struct Files(TempDir);

impl Files {
    async fn new() -> Self {
        let podman = podman().await;
        let folder = tempfile::tempdir().expect("a folder");
        let archive = folder.path().join("image.tar");
        let container = output(Command::new(&podman).args(["create", NAME])).await;
        let mut export = Command::new(&podman);
        export.args(["export", container.trim(), "--output"]).arg(&archive);
        output(&mut export).await;
        output(Command::new(&podman).args(["rm", container.trim()])).await;
        let root = folder.path().join("root");
        fs::create_dir(&root).expect("a folder");
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&archive).arg("-C").arg(&root);
        output(&mut tar).await;
        Self(folder)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join("root").join(path.trim_start_matches('/'))
    }

    /// Returns the names of all files that somebody may execute.
    fn programs(&self) -> BTreeSet<String> {
        use std::os::unix::fs::PermissionsExt as _;
        fn walk(folder: &Path, found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).expect("a folder") {
                let entry = entry.expect("an entry");
                let kind = entry.file_type().expect("a kind");
                if kind.is_dir() {
                    walk(&entry.path(), found);
                } else if kind.is_symlink()
                    || entry
                        .metadata()
                        .is_ok_and(|file| file.permissions().mode() & 0o111 != 0)
                {
                    found.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.path("/"), &mut found);
        found
    }
}

async fn the_image_has_no_shell_and_no_package_manager(_: Arc<World>) {
    let files = Files::new().await;
    let programs = files.programs();
    assert!(programs.contains("amplify-operator"), "{programs:?}");
    for name in [
        "sh", "bash", "dash", "busybox", "apt", "apt-get", "dpkg", "perl", "cargo", "rustc", "cc",
    ] {
        assert!(!programs.contains(name), "{name} is in the image");
    }
}

/// Returns the crates in the program. Its own list also has optional ones that nothing turns on, such as ring.
async fn compiled() -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--package=amplify-operator"])
        .args(["--edges=normal", "--prefix=none", "--format={p}"])
        .current_dir(repository());
    let tree = output(&mut tree).await;
    let crates = tree.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        let version = rest.split(' ').next()?;
        (name != "amplify-operator").then(|| format!("{name} {version}"))
    });
    crates.collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn the_program_names_its_crates_and_their_licences_are_in_the_image(_: Arc<World>) {
    let files = Files::new().await;
    assert!(File::open(files.path("/usr/share/doc/amplify-operator/LICENSE")).is_ok());
    let notices = fs::read_to_string(files.path("/usr/share/doc/amplify-operator/THIRD-PARTY.txt"));
    let notices = notices.expect("the licences");
    let info = json_from_file(&files.path(PROGRAM), Limits::default()).expect("the crates that the program names");
    let info: Value = serde_json::from_str(&info).expect("JSON");
    let named: BTreeSet<_> = info["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| format!("{} {}", text(&package["name"]), text(&package["version"])))
        .collect();
    println!("evidence: image: the program names its {} crates", named.len());
    let crates = compiled().await;
    assert!(crates.len() > 200, "{crates:?}");
    let missing: Vec<_> = crates.difference(&named).collect();
    assert!(missing.is_empty(), "the program does not name {missing:?}");
    let program = fs::read(files.path(PROGRAM)).expect("the program");
    let has = |text: &str| program.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("/aws-lc-rs-") && !has("/ring-"), "a second library of cryptography");
    let listed: BTreeSet<_> = notices
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let missing: Vec<_> = crates.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "`make notices` is due; not in THIRD-PARTY.txt: {missing:?}"
    );
    let lock = read("Cargo.lock");
    let stale: Vec<_> = listed
        .iter()
        .filter(|listed| {
            let (name, version) = listed.split_once(' ').expect("a crate and its version");
            !lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\""))
        })
        .collect();
    assert!(
        stale.is_empty(),
        "`make notices` is due; no longer in Cargo.lock: {stale:?}"
    );
}
