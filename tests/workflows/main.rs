//! The workflows of GitHub, checked as far as possible without running them: no test can run them.

use std::{fs, path::Path, process::Command};

use amplify_devcluster::tools::{self, Tool};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const FOLDER: &str = ".github/workflows";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workflows() -> Result<Vec<(String, String)>> {
    let mut workflows = Vec::new();
    for entry in fs::read_dir(root().join(FOLDER))? {
        let path = entry?.path();
        workflows.push((path.display().to_string(), fs::read_to_string(&path)?));
    }
    ensure!(!workflows.is_empty(), "{FOLDER} is empty");
    Ok(workflows)
}

#[tokio::test]
async fn actionlint_finds_nothing() -> Result<()> {
    let output = Command::new(tools::find(Tool::Actionlint).await?)
        // Without optional checkers, so that the result is the same on each machine.
        .args(["-no-color", "-shellcheck=", "-pyflakes="])
        .args(workflows()?.iter().map(|(path, _)| path))
        .current_dir(root())
        .output()?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn every_action_is_named_by_its_commit_and_by_the_version_that_this_is() -> Result<()> {
    for (path, content) in workflows()? {
        for line in content.lines().filter(|line| line.contains("uses: ")) {
            let (_, action) = line.split_once("uses: ").context("an action")?;
            if action.starts_with("./") {
                continue;
            }
            let (_, reference) = action.split_once('@').context("a reference")?;
            let (commit, version) = reference
                .split_once(" # v")
                .with_context(|| format!("{path}: {action}"))?;
            ensure!(
                commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit()),
                "{path}: {action}: a tag can be moved, a commit cannot"
            );
            ensure!(version.split('.').count() == 3, "{path}: {action}");
        }
    }
    Ok(())
}

#[test]
fn a_workflow_has_no_rights_but_those_that_a_job_asks_for() -> Result<()> {
    for (path, content) in workflows()? {
        let workflow: Value = serde_saphyr::from_str(&content)?;
        let rights = workflow["permissions"].as_object();
        ensure!(
            rights.is_some_and(serde_json::Map::is_empty),
            "{path}: permissions: {{}}"
        );
        for (name, job) in workflow["jobs"].as_object().context("jobs")? {
            let rights = job["permissions"].as_object();
            let rights = rights.with_context(|| format!("{path}: {name} does not say its permissions"))?;
            let makes_release =
                path.ends_with("release.yaml") && ["release", "plugin", "krew"].contains(&name.as_str());
            ensure!(
                rights["contents"] == if makes_release { "write" } else { "read" },
                "{path}: {name}"
            );
            let others = rights.keys().filter(|right| *right != "contents");
            let released = others
                .clone()
                .all(|right| ["packages", "id-token"].contains(&right.as_str()));
            ensure!(
                released && (path.ends_with("release.yaml") || others.count() == 0),
                "{path}: {name}: {rights:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn ci_runs_what_everybody_runs() -> Result<()> {
    let ci = fs::read_to_string(root().join(FOLDER).join("ci.yaml"))?;
    ensure!(ci.lines().any(|line| line.trim() == "- run: .ci/run"), "{ci}");
    let release = fs::read_to_string(root().join(FOLDER).join("release.yaml"))?;
    ensure!(release.contains("uses: ./.github/workflows/ci.yaml"), "{release}");
    Ok(())
}

/// Packs the plugin for each platform, then makes the manifest for krew, as the release does.
#[test]
fn the_krew_manifest_names_the_archives_with_their_digests() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = |script: &str, arguments: &[&str]| -> Result<()> {
        let output = Command::new(root().join(".ci").join(script)).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    };
    let program = folder.path().join("program");
    fs::write(&program, "the program")?;
    let (program, archives) = (program.display().to_string(), folder.path().join("archives"));
    let place = archives.display().to_string();
    for platform in ["linux-amd64", "linux-arm64", "darwin-arm64"] {
        run("archive", &[&program, "1.2.3", platform, &place])?;
    }
    run("krew", &["1.2.3", &place])?;
    let text = fs::read_to_string(archives.join("amplify.yaml"))?;
    let manifest: Value = serde_saphyr::from_str(&text)?;
    ensure!(manifest["spec"]["version"] == "v1.2.3", "{text}");
    for platform in manifest["spec"]["platforms"].as_array().context("platforms")? {
        let uri = platform["uri"].as_str().context("a uri")?;
        let (_, name) = uri.rsplit_once('/').context("a name")?;
        let bytes = fs::read(archives.join(name)).with_context(|| name.to_owned())?;
        ensure!(
            platform["sha256"] == amplify_operator::api::text::digest(&bytes),
            "{name}: {platform}"
        );
        let packed = Command::new("tar").arg("-tzf").arg(archives.join(name)).output()?;
        let packed = String::from_utf8(packed.stdout)?;
        for wanted in [
            platform["bin"].as_str().context("bin")?,
            "LICENSE",
            "THIRD-PARTY.txt",
            "man/amplify-operator-status.1",
        ] {
            ensure!(
                packed.lines().any(|line| line == wanted),
                "{name} lacks {wanted}: {packed}"
            );
        }
    }
    let release = fs::read_to_string(root().join(FOLDER).join("release.yaml"))?;
    for call in [".ci/archive target/release/amplify-operator", ".ci/krew"] {
        ensure!(release.contains(call), "the release does not run {call}");
    }
    Ok(())
}

/// The packages that CI installs. `make test` gets everything else by itself; a package that only CI installs would be
/// missing on every other machine.
const TOOLCHAINS: [&str; 9] = [
    "ca-certificates",
    "curl",
    "gcc",
    "git",
    "libc6-dev",
    "make",
    "procps",
    "python3",
    "python3-venv",
];

#[test]
fn ci_installs_toolchains_and_nothing_else() -> Result<()> {
    let script = fs::read_to_string(root().join(".ci/run"))?;
    let mut installed: Vec<_> = script
        .lines()
        .filter_map(|line| line.split_once("missing+=(")?.1.strip_suffix(')'))
        .flat_map(str::split_whitespace)
        .collect();
    installed.sort_unstable();
    ensure!(installed == TOOLCHAINS, ".ci/run installs {installed:?}");
    ensure!(script.matches("apt-get install").count() == 1, "{script}");

    let ci: Value = serde_saphyr::from_str(&fs::read_to_string(root().join(FOLDER).join("ci.yaml"))?)?;
    let steps = ci["jobs"]["check"]["steps"].as_array().context("steps")?;
    let actions: Vec<_> = steps
        .iter()
        .filter_map(|step| Some(step["uses"].as_str()?.split_once('@')?.0))
        .collect();
    ensure!(
        actions == ["actions/checkout", "actions/setup-go", "actions/cache"],
        "{actions:?}"
    );
    for run in steps.iter().filter_map(|step| step["run"].as_str()) {
        ensure!(
            !["apt-get", "pip ", "go install"].iter().any(|tool| run.contains(tool)),
            "{run}"
        );
    }
    Ok(())
}

#[test]
fn ci_runs_without_a_cache_from_time_to_time() -> Result<()> {
    let ci: Value = serde_saphyr::from_str(&fs::read_to_string(root().join(FOLDER).join("ci.yaml"))?)?;
    ensure!(ci["on"]["schedule"][0]["cron"].is_string(), "{}", ci["on"]);
    let steps = ci["jobs"]["check"]["steps"].as_array().context("steps")?;
    for step in steps {
        let is_cache = step["uses"]
            .as_str()
            .is_some_and(|action| action.starts_with("actions/cache@"));
        ensure!(!is_cache || step["if"] == "github.event_name != 'schedule'", "{step}");
    }
    Ok(())
}

#[test]
fn every_image_is_the_operators_and_a_release_says_what_it_is_made_of() -> Result<()> {
    let dockerfile = fs::read_to_string(root().join("Dockerfile"))?;
    ensure!(
        dockerfile.lines().any(|line| line.ends_with(" AS operator")),
        "{dockerfile}"
    );
    let mut builds = 0;
    for (path, content) in workflows()? {
        let workflow: Value = serde_saphyr::from_str(&content)?;
        for (_, job) in workflow["jobs"].as_object().context("jobs")? {
            let steps = job["steps"].as_array().into_iter().flatten();
            let builders = steps.filter(|step| {
                let action = step["uses"].as_str().unwrap_or_default();
                action.starts_with("docker/build-push-action@")
            });
            for build in builders.map(|step| &step["with"]) {
                builds += 1;
                ensure!(build["target"] == "operator", "{path}: {build}");
                let described = build["sbom"] == true && build["provenance"] == "mode=max";
                ensure!(build["push"] != true || described, "{path}: {build}");
            }
        }
    }
    ensure!(builds == 2, "{builds} builds: CI's and a release's");
    Ok(())
}

#[test]
fn ci_checks_for_known_vulnerabilities() -> Result<()> {
    let ci: Value = serde_saphyr::from_str(&fs::read_to_string(root().join(FOLDER).join("ci.yaml"))?)?;
    ensure!(ci["jobs"]["check"]["env"]["ADVISORIES"] == "required", "{ci}");
    let makefile = fs::read_to_string(root().join("Makefile"))?;
    ensure!(
        makefile.contains(r#""$${ADVISORIES:-}" = required"#),
        "make lint knows it"
    );
    Ok(())
}
