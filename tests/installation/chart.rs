//! The chart and the plain manifests: what they refuse, what they install, and what they leave.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::{
    Body, Test,
    site::{CHART, FULL_NAME, MANIFESTS, NAMESPACE, RELEASE, Site},
    tests,
};

pub(crate) fn tests() -> Vec<Test> {
    let mut all: Vec<Test> = tests![
        helm_lint_finds_nothing,
        the_api_server_accepts_the_chart_with_every_value_set,
        the_pod_is_admitted_where_pod_security_is_restricted,
        the_api_server_accepts_the_plain_manifests,
        an_upgrade_renews_and_an_uninstall_keeps_the_definitions,
    ];
    all.extend(WRONG_VALUES.iter().map(|&(what, values, said)| {
        let body: Body = Box::new(move |site| refuses_values(site, values, said));
        (format!("the chart refuses {what}"), body)
    }));
    all
}

/// Values that the schema refuses, and what helm says.
const WRONG_VALUES: &[(&str, &str, &str)] = &[
    ("an unknown value", "replicas=2", "'replicas' not allowed"),
    ("a misspelt setting", "settings.jobTimout=1h", "'jobTimout' not allowed"),
    (
        "a setting of the wrong type",
        "settings.concurrency=many",
        "/settings/concurrency",
    ),
    (
        "a setting out of range",
        "settings.concurrency=0",
        "/settings/concurrency",
    ),
    (
        "a duration that is none",
        "settings.jobTimeout=soon",
        "/settings/jobTimeout",
    ),
    ("an unknown log format", "settings.logFormat=xml", "/settings/logFormat"),
    (
        "a namespace that cannot be",
        "settings.watchNamespaces={Shop}",
        "/settings/watchNamespaces/0",
    ),
    ("a region that is an address", "aws.region=evil.example", "/aws/region"),
    ("an image tag that is a number", "image.tag=1", "/image/tag"),
    ("a digest that is none", "image.digest=sha256:1", "/image/digest"),
    (
        "an unknown pull policy",
        "image.pullPolicy=Sometimes",
        "/image/pullPolicy",
    ),
    ("a switch that is a word", "crds.install=maybe", "/crds/install"),
    (
        "a quantity that is none",
        "resources.limits.memory=much",
        "/resources/limits/memory",
    ),
    (
        "a flag's variable beside the settings",
        "extraEnv[0].name=AMPLIFY_OPERATOR_LISTEN",
        "/extraEnv/0/name",
    ),
    ("an unknown toleration", "tolerations[0].kee=x", "'kee' not allowed"),
];

fn refuses_values(site: &Site, values: &str, said: &str) -> Result<()> {
    match site.helm(&["template", RELEASE, CHART, "--set", values]) {
        Ok(_) => bail!("helm takes {values}: {CHART}/values.schema.json lets it through"),
        Err(error) => ensure!(error.to_string().contains(said), "{values}: not {said:?} but {error:#}"),
    }
    Ok(())
}

/// Every value, each other than its default.
fn every_value() -> Value {
    let selector = json!({ "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }] });
    json!({
        "image": {
            "repository": "registry.example.com:5000/tools/amplify-operator",
            "tag": "v1.2.3",
            "digest": format!("sha256:{}", "0".repeat(64)),
            "pullPolicy": "Always",
        },
        "crds": { "install": true },
        "serviceAccount": {
            "create": true,
            "name": "amplify",
            "annotations": { "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/amplify-operator" },
        },
        "aws": { "region": "us-gov-west-1" },
        "settings": { "watchNamespaces": ["shop", "blog"], "awsRequestsPerSecond": 0.5, "logFormat": "json" },
        "extraEnv": [
            { "name": "RUST_LOG", "value": "debug" },
            { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
        ],
        "resources": { "requests": { "cpu": "0.1" }, "limits": { "memory": "1Gi", "cpu": 1 } },
        "podAnnotations": { "example.com/team": "platform" },
        "podLabels": { "team": "platform", "app.kubernetes.io/name": "never-this" },
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "tolerations": [{ "key": "arm", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60 }],
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": selector } },
        "global": { "anything": true },
    })
}

fn every_value_as_file(site: &Site, name: &str) -> Result<String> {
    let path = site.dir().join(name);
    fs::write(&path, every_value().to_string())?;
    Ok(path.display().to_string())
}

fn helm_lint_finds_nothing(site: &Site) -> Result<()> {
    site.helm(&["lint", "--strict", CHART])?;
    let values = every_value_as_file(site, "lint.json")?;
    site.helm(&["lint", "--strict", CHART, "--values", &values])?;
    Ok(())
}

fn the_api_server_accepts_the_chart_with_every_value_set(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    let values = every_value_as_file(site, "values.json")?;
    let rendered = site.helm(&["template", "full", CHART, "--namespace", NAMESPACE, "--values", &values])?;
    for expected in [
        &*format!(
            "registry.example.com:5000/tools/amplify-operator@sha256:{}",
            "0".repeat(64)
        ),
        "shop,blog",
    ] {
        ensure!(rendered.contains(expected), "{expected} is not in {rendered}");
    }
    ensure!(
        !rendered.contains("never-this"),
        "podLabels must not change the labels that the Deployment selects by"
    );
    let manifest = site.dir().join("full.yaml");
    fs::write(&manifest, rendered)?;
    let manifest = manifest.display().to_string();
    let (_, warnings) = site.kubectl_with_warnings(&["apply", "--dry-run=server", "-f", &manifest])?;
    no_pod_security_warning(&warnings)
}

fn no_pod_security_warning(warnings: &str) -> Result<()> {
    ensure!(!warnings.contains("PodSecurity"), "{warnings}");
    Ok(())
}

fn the_pod_is_admitted_where_pod_security_is_restricted(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    // First that the judge is awake.
    let run = ["run", "p", "--image=p", "--namespace", NAMESPACE, "--dry-run=server"];
    match site.kubectl(&run) {
        Ok(_) => bail!("this API server admits any pod into a restricted namespace: it cannot judge the chart's"),
        Err(error) => ensure!(error.to_string().contains("violates PodSecurity"), "{error:#}"),
    }
    let pod = installed_pod(site)?;
    let container = pod.spec.and_then(|spec| spec.containers.into_iter().next());
    let context = container
        .and_then(|container| container.security_context)
        .context("the container has a security context")?;
    assert_eq!(
        context.read_only_root_filesystem,
        Some(true),
        "pod security does not ask for a read-only root, we do"
    );
    Ok(())
}

/// The pod that the release's Deployment has made.
pub(crate) fn installed_pod(site: &Site) -> Result<Pod> {
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), NAMESPACE);
    let sets: Api<ReplicaSet> = Api::namespaced(site.client.clone(), NAMESPACE);
    site.eventually("a pod of the chart's Deployment", async || {
        for set in sets.list(&labels).await? {
            let conditions = set.status.and_then(|status| status.conditions).unwrap_or_default();
            for condition in conditions {
                ensure!(
                    condition.type_ != "ReplicaFailure" || condition.status != "True",
                    "the pod is refused: {}",
                    condition.message.unwrap_or_default()
                );
            }
        }
        Ok(pods.list(&labels).await?.items.into_iter().next())
    })
}

fn the_api_server_accepts_the_plain_manifests(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    // A dry run makes no namespace for what comes after it.
    site.kubectl(&["apply", "-f", "deploy/namespace.yaml"])?;
    let (applied, warnings) = site.kubectl_with_warnings(&["apply", "--dry-run=server", "-k", "deploy/"])?;
    for object in [
        "namespace/amplify-operator-system",
        "customresourcedefinition.apiextensions.k8s.io/amplifybackends.amplify-operator.dev",
        "customresourcedefinition.apiextensions.k8s.io/backendapis.amplify-operator.dev",
        "customresourcedefinition.apiextensions.k8s.io/backendenvironments.amplify-operator.dev",
        "serviceaccount/amplify-operator",
        "clusterrole.rbac.authorization.k8s.io/amplify-operator",
        "clusterrolebinding.rbac.authorization.k8s.io/amplify-operator",
        "deployment.apps/amplify-operator",
    ] {
        ensure!(applied.contains(object), "{object} is not among\n{applied}");
    }
    no_pod_security_warning(&warnings)
}

fn an_upgrade_renews_and_an_uninstall_keeps_the_definitions(site: &Site) -> Result<()> {
    let _alone = site.installed_alone()?;
    // A later chart, with a column more in one definition.
    let later = site.dir().join("later");
    copy_folder(Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART).as_path(), &later)?;
    let definition = later.join("files/crds/amplifybackends.yaml");
    let column = "additionalPrinterColumns:\n    - jsonPath: .spec.appName\n      name: LATER\n      type: string\n";
    let changed = fs::read_to_string(&definition)?.replacen("additionalPrinterColumns:\n", column, 1);
    fs::write(&definition, changed)?;
    let later = later.display().to_string();
    let upgrade = ["upgrade", RELEASE, &later, "--namespace", NAMESPACE, "--reuse-values"];
    site.helm(&[&upgrade[..], &["--set", "settings.logFormat=json"]].concat())?;

    let crd = "crd/amplifybackends.amplify-operator.dev";
    let columns = r"jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
    let columns = site.kubectl(&["get", crd, "-o", columns])?;
    ensure!(
        columns.contains("LATER"),
        "the upgrade has not changed the definition: {columns}"
    );
    let deployments: Api<Deployment> = Api::namespaced(site.client.clone(), NAMESPACE);
    let deployment = json!(site.runtime.block_on(deployments.get(FULL_NAME))?);
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
    for variable in ["AMPLIFY_OPERATOR_LOG_FORMAT", "AWS_REGION"] {
        ensure!(variables.contains(variable), "{variable} is not in {variables}");
    }

    let kept = json!({
        "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "BackendEnvironment", "metadata": { "name": "kept" },
        "spec": { "appId": "d0kept", "environmentName": "kept", "suspend": true },
    });
    let file = site.dir().join("kept.json");
    fs::write(&file, kept.to_string())?;
    site.kubectl(&["apply", "--namespace", MANIFESTS, "-f", &file.display().to_string()])?;
    site.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"])?;
    let left = site.kubectl(&["get", "benv/kept", "--namespace", MANIFESTS, "-o", "name"])?;
    ensure!(left.contains("kept"), "{left}");
    let selector = format!("app.kubernetes.io/instance={RELEASE}");
    let kinds = "deployments,serviceaccounts,clusterroles,clusterrolebindings";
    let get = ["get", kinds, "--namespace", NAMESPACE, "-l", &selector, "-o", "name"];
    let left = site.kubectl(&get)?;
    ensure!(left.trim().is_empty(), "the uninstall leaves {left}");

    // The definitions that were kept do not stand in the way.
    site.helm_install()
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
