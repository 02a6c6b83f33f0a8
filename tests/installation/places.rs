//! The places in which the chart is installed: OpenShift, clusters with IPv6, and clusters in which kubectl or another
//! release has installed the same objects before.

use std::{fs, path::Path};

use amplify_devcluster::{Cluster, Options};
use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::Api;
use serde_json::{Value, json};

use crate::{
    Test,
    chart::{copy_folder, installed_pod, no_pod_security_warning},
    site::{CHART, MANIFESTS, PLATFORM, Release, Site},
    tests,
};

pub(crate) fn tests() -> Vec<Test> {
    tests![
        openshift_admits_the_chart_by_itself_and_with_the_documented_values,
        the_service_has_the_address_of_each_kind_of_cluster,
        the_chart_replaces_an_installation_of_kubectl_and_of_another_release,
        the_documented_kustomizations_are_accepted,
        the_documented_values_are_accepted,
    ]
}

const OPENSHIFT: Release = Release {
    name: "openshift",
    namespace: "amplify-openshift",
    full_name: "openshift-amplify-operator",
    shop: "",
};

/// Fails unless the result is an error with this text.
fn is_refused<T>(result: Result<T>, said: &str) -> Result<()> {
    match result {
        Ok(_) => bail!("not refused with {said:?}"),
        Err(error) => ensure!(format!("{error:#}").contains(said), "not {said:?} but {error:#}"),
    }
    Ok(())
}

fn openshift_admits_the_chart_by_itself_and_with_the_documented_values(site: &Site) -> Result<()> {
    site.install_once()?;
    let Release {
        name,
        namespace,
        full_name,
        ..
    } = OPENSHIFT;
    site.create_restricted(namespace)?;
    site.kubectl(&["apply", "-f", "tests/installation/openshift.yaml"])?;
    // A release that helm does not finish keeps its name, so the refused one has another.
    let install = |release: &str, values: &[&str]| {
        let chart = [
            "install",
            release,
            CHART,
            "--namespace",
            namespace,
            "--set",
            "crds.install=false",
        ];
        site.helm(&[&chart[..], values].concat())
    };
    let mut attempt = 0;
    site.eventually("the policy is in force", async || {
        attempt += 1;
        let release = format!("refused-{attempt}");
        let installed = install(&release, &[]);
        if installed.is_ok() {
            site.helm(&["uninstall", &release, "--namespace", namespace])?;
            return Ok(None);
        }
        is_refused(installed, "runAsUser must be in the namespace's range").map(Some)
    })?;

    // As OpenShift's API server would be asked: helm asks it for its groups.
    let of_openshift = [
        "template",
        name,
        CHART,
        "--namespace",
        namespace,
        "--api-versions",
        "security.openshift.io/v1",
        "--set",
        "crds.install=false",
    ];
    let detected = site.dir().join("openshift.yaml");
    fs::write(&detected, site.helm(&of_openshift)?)?;
    let detected = admitted_deployment(site, &detected)?;

    // The values of the page, for tools that render the chart without asking the API server.
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md"))?;
    let file = site.dir().join("openshift-values.yaml");
    fs::write(&file, block(&page, "podSecurityContext:")?)?;
    install(name, &["--values", &file.display().to_string()])?;
    let deployments: Api<Deployment> = Api::namespaced(site.client.clone(), namespace);
    let installed = json!(site.runtime.block_on(deployments.get(full_name))?);

    for deployment in [detected, installed] {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(
            pod["securityContext"],
            json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } })
        );
        assert_eq!(
            pod["containers"][0]["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
            })
        );
    }
    // The namespace is restricted by Pod Security too.
    installed_pod(site, &OPENSHIFT)?;

    // An id that the user has chosen stays.
    let chosen = ["--set", "podSecurityContext.runAsUser=1000630001"];
    let rendered = site.helm(&[&of_openshift[..], &chosen].concat())?;
    ensure!(rendered.contains("runAsUser: 1000630001\n"), "{rendered}");
    Ok(())
}

/// Returns the Deployment of a manifest as the API server would take it.
fn admitted_deployment(site: &Site, manifest: &Path) -> Result<Value> {
    let manifest = manifest.display().to_string();
    let apply = ["apply", "--dry-run=server", "-o", "json", "-f", &manifest];
    let (applied, warnings) = site.kubectl_with_warnings(&apply)?;
    no_pod_security_warning(&warnings)?;
    let applied: Value = serde_json::from_str(&applied)?;
    let mut items = applied["items"].as_array().context("a list")?.iter();
    let deployment = items.find(|item| item["kind"] == "Deployment");
    Ok(deployment.context("a Deployment")?.clone())
}

/// Returns the only YAML block of a page that begins with this line.
fn block<'a>(page: &'a str, first: &str) -> Result<&'a str> {
    let mut blocks = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    blocks
        .find(|block| block.starts_with(first))
        .with_context(|| format!("the page has no YAML block that begins with {first:?}"))
}

fn the_service_has_the_address_of_each_kind_of_cluster(site: &Site) -> Result<()> {
    for (ranges, families) in [
        ("fd00:10:96::/112", &["IPv6"]),
        ("10.96.0.0/16,fd00:10:96::/112", &["IPv4"]),
        ("fd00:10:96::/112,10.96.0.0/16", &["IPv6"]),
    ] {
        let options = Options {
            audit: false,
            apiserver_arguments: vec![
                format!("--service-cluster-ip-range={ranges}"),
                // It compares the family of the addresses of Services with that of its own.
                "--endpoint-reconciler-type=none".to_owned(),
            ],
            ..Options::default()
        };
        let cluster = site.runtime.block_on(Cluster::start(options))?;
        let kubeconfig = cluster.kubeconfig_path().display().to_string();
        let Release {
            name,
            namespace,
            full_name,
            ..
        } = PLATFORM;
        let install = ["install", name, CHART, "--namespace", namespace, "--create-namespace"];
        site.helm(&[&install[..], &["--kubeconfig", &kubeconfig]].concat())?;
        let spec = site.runtime.block_on(async {
            let services: Api<Service> = Api::namespaced(cluster.client().await?, namespace);
            anyhow::Ok(services.get(full_name).await?.spec)
        })?;
        let spec = spec.context("a Service has a spec")?;
        // One family: a second would be a second target for each pod, and Prometheus would collect everything twice.
        assert_eq!(
            spec.ip_families.as_deref(),
            Some(&families.map(str::to_owned)[..]),
            "{ranges}"
        );
        assert_eq!(spec.ip_family_policy.as_deref(), Some("SingleStack"), "{ranges}");
        site.runtime.block_on(cluster.stop())?;
    }
    Ok(())
}

fn the_chart_replaces_an_installation_of_kubectl_and_of_another_release(site: &Site) -> Result<()> {
    let _alone = site.installed_alone()?;
    let definition = "crd/amplifybackends.amplify-operator.dev";
    let owner = || {
        let owner = r"jsonpath={.metadata.annotations.meta\.helm\.sh/release-name}";
        site.kubectl(&["get", definition, "-o", owner])
    };
    let foreign = "invalid ownership metadata";
    let install = |release: &str, flags: &[&str]| {
        let chart = ["install", release, CHART, "--namespace", release, "--create-namespace"];
        site.helm(&[&chart[..], flags].concat())
    };
    let uninstall = |release: &str| site.helm(&["uninstall", release, "--namespace", release, "--wait"]);

    // Another release has the definitions.
    assert_eq!(owner()?, PLATFORM.name);
    is_refused(install("second", &[]), foreign)?;
    install("second", &["--set", "crds.install=false"])?;
    assert_eq!(owner()?, PLATFORM.name);
    uninstall("second")?;
    install("second", &["--take-ownership"])?;
    assert_eq!(owner()?, "second");
    uninstall("second")?;

    // kubectl has installed everything, and an older version: a field differs.
    let Release { name, namespace, .. } = PLATFORM;
    site.helm(&["uninstall", name, "--namespace", namespace, "--wait"])?;
    let name = "amplify-operator";
    let folder = site.dir().join("kubectl-first");
    copy_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"), &folder)?;
    for file in ["namespace.yaml", "operator.yaml", "kustomization.yaml"] {
        let path = folder.join(file);
        let text = fs::read_to_string(&path)?.replace("amplify-operator-system", name);
        fs::write(path, text.replace("memory: 128Mi", "memory: 64Mi"))?;
    }
    for helms in ["meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-"] {
        site.kubectl(&["annotate", "crds", "--all", helms])?;
    }
    site.kubectl(&["label", "crds", "--all", "app.kubernetes.io/managed-by-"])?;
    let folder = folder.display().to_string();
    site.kubectl(&["apply", "-k", &folder])?;
    is_refused(install(name, &[]), foreign)?;
    // The definitions may stay kubectl's, the other objects have the same names.
    is_refused(install(name, &["--set", "crds.install=false"]), foreign)?;
    install(name, &["--take-ownership", "--force-conflicts"])?;
    assert_eq!(owner()?, name);
    let deployments: Api<Deployment> = Api::namespaced(site.client.clone(), name);
    let deployment = json!(site.runtime.block_on(deployments.get(name))?);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["resources"]["limits"]["memory"], "128Mi",
        "helm's, not kubectl's"
    );
    uninstall(name)?;

    // For the other tests.
    site.helm_install(&["--take-ownership"])
}

fn the_documented_kustomizations_are_accepted(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/install.md"))?;
    let folder = site.dir().join("documented");
    copy_folder(&root.join("deploy"), &folder.join("deploy"))?;
    let apply = |name: &str, kustomization: &str| -> Result<Vec<Value>> {
        fs::create_dir_all(folder.join(name))?;
        fs::write(folder.join(name).join("kustomization.yaml"), kustomization)?;
        let path = folder.join(name).display().to_string();
        let applied = site.kubectl(&["apply", "--dry-run=server", "-o", "json", "-k", &path])?;
        let list: Value = serde_json::from_str(&applied)?;
        Ok(list["items"].as_array().context("a list")?.clone())
    };
    let of_kind = |objects: &[Value], kind: &str| {
        let mut objects = objects.iter().filter(|object| object["kind"] == kind);
        objects.next().cloned().with_context(|| format!("a {kind}"))
    };

    let mine = block(
        &page,
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - ../deploy\nimages:",
    )?;
    // A dry run creates no namespace.
    let existing = format!("{mine}namespace: {MANIFESTS}\n");
    let objects = apply("mine", &existing)?;
    let container = of_kind(&objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0].take();
    assert_eq!(container["image"], "registry.example.com/amplify-operator:0.1.0");
    let names: Vec<_> = container["env"]
        .as_array()
        .context("env")?
        .iter()
        .map(|env| env["name"].clone())
        .collect();
    assert_eq!(names, ["AMPLIFY_OPERATOR_LISTEN", "POD_NAMESPACE", "AWS_REGION"]);
    let account = of_kind(&objects, "ServiceAccount")?;
    ensure!(
        account["metadata"]["annotations"]
            .get("eks.amazonaws.com/role-arn")
            .is_some(),
        "{account}"
    );

    let outputs = block(
        &page,
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: shop",
    )?;
    let objects = apply(
        "shop",
        &outputs.replace("namespace: shop", &format!("namespace: {MANIFESTS}")),
    )?;
    let role = of_kind(&objects, "Role")?;
    assert_eq!(role["metadata"]["namespace"], MANIFESTS);
    assert_eq!(role["rules"][0]["verbs"], json!(["get", "create", "patch"]));
    let binding = of_kind(&objects, "RoleBinding")?;
    let subject =
        json!({ "kind": "ServiceAccount", "name": "amplify-operator", "namespace": "amplify-operator-system" });
    assert_eq!(
        binding["subjects"],
        json!([subject]),
        "the operator's account, not one of the namespace"
    );

    let applied = site.kubectl(&["apply", "--dry-run=server", "-o", "name", "-k", "deploy/aggregate"])?;
    for role in ["view", "edit"] {
        ensure!(applied.contains(&format!("amplify-operator-{role}")), "{applied}");
    }
    Ok(())
}

fn the_documented_values_are_accepted(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(root.join(CHART).join("values.schema.json"))?)?;
    let mut accepted = 0;
    for page in ["docs/credentials.md", "docs/install.md"] {
        let text = fs::read_to_string(root.join(page))?;
        for (number, block) in text.split("```yaml\n").skip(1).enumerate() {
            let block = block.split("```").next().unwrap_or_default();
            let values: Value = serde_saphyr::from_str(block)?;
            let is_value = |name: &String| schema["properties"].get(name).is_some();
            if !values.as_object().is_some_and(|values| values.keys().all(is_value)) {
                continue;
            }
            let name = format!("documented-{}-{number}", page.replace('/', "-"));
            let template = [
                "template",
                "documented",
                CHART,
                "--namespace",
                PLATFORM.namespace,
                "--set",
                "crds.install=false",
            ];
            let manifest = site.dir().join(format!("{name}.yaml"));
            let file = site.values(&format!("{name}.json"), &values)?;
            fs::write(&manifest, site.helm(&[&template[..], &["--values", &file]].concat())?)?;
            let manifest = manifest.display().to_string();
            let apply = ["apply", "--dry-run=server", "-f", &manifest];
            let (_, warnings) = site
                .kubectl_with_warnings(&apply)
                .with_context(|| format!("{page}: {block}"))?;
            no_pod_security_warning(&warnings)?;
            accepted += 1;
        }
    }
    ensure!(accepted >= 7, "only {accepted} examples of values are found");
    Ok(())
}
