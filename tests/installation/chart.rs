//! The chart and the plain manifests: their refusals, the objects that they install, and the objects that remain after
//! an uninstall.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use amplify_devcluster::packages;
use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
    networking::v1::NetworkPolicy,
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::{
    Body, Test,
    site::{CHART, MANIFESTS, PLATFORM, Release, Site},
    tests,
};

/// The policy scanner. Another version may have other rules.
const CHECKOV: &str = "3.3.30";
/// The source of the definitions of ServiceMonitor, PodMonitor and PrometheusRule.
const PROMETHEUS_OPERATOR: &str = "github.com/prometheus-operator/prometheus-operator";
const PROMETHEUS_OPERATOR_VERSION: &str = "v0.85.0";
const PROMETHEUS_OPERATOR_SUM: &str = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=";

pub(crate) fn tests() -> Vec<Test> {
    let mut all: Vec<Test> = tests![
        an_upgrade_renews_a_rollback_takes_back_and_an_uninstall_keeps_the_definitions_and_the_data,
        checkov_finds_nothing_but_what_is_explained,
        helm_lint_finds_nothing,
        the_api_server_accepts_the_chart_with_every_value_set,
        the_pod_is_admitted_where_pod_security_is_restricted,
        the_api_server_accepts_the_plain_manifests,
        a_network_policy_lets_in_who_is_named_and_nobody_else,
    ];
    all.extend(WRONG_VALUES.iter().map(|&(what, values, said)| {
        let body: Body = Box::new(move |site| refuses_values(site, values, said));
        (format!("the chart refuses {what}"), body)
    }));
    all
}

/// Values that the schema refuses, and helm's message.
const WRONG_VALUES: &[(&str, &str, &str)] = &[
    ("an unknown value", "replica=2", "'replica' not allowed"),
    ("a number of replicas that is none", "replicas=-1", "/replicas"),
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
    (
        "an allowed region that cannot be",
        "settings.allowedRegions={EU-WEST-1}",
        "/settings/allowedRegions/0",
    ),
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
    (
        "the variable that says where the lease is",
        "extraEnv[0].name=POD_NAMESPACE",
        "/extraEnv/0/name",
    ),
    ("an unknown toleration", "tolerations[0].kee=x", "'kee' not allowed"),
    (
        "a label that cannot be",
        "serviceMonitor.labels.team=a b",
        "/serviceMonitor/labels/team",
    ),
    (
        "a network policy's peer that would be everybody",
        "networkPolicy.metricsFrom=[{}]",
        "/networkPolicy/metricsFrom/0",
    ),
    (
        "a setting of OpenShift's that is no number",
        "podSecurityContext.runAsUser=me",
        "/podSecurityContext/runAsUser",
    ),
    (
        "an unknown field of the pod's security context",
        "podSecurityContext.runAsUsr=1",
        "'runAsUsr' not allowed",
    ),
    (
        "a flag that the chart sets itself",
        "extraArgs={--listen=:80}",
        "/extraArgs/0",
    ),
    (
        "a volume of the chart's own name",
        "extraVolumes[0].name=accounts,extraVolumes[0].emptyDir.medium=Memory",
        "/extraVolumes/0/name",
    ),
    (
        "a mount without a path",
        "extraVolumeMounts[0].name=ca",
        "missing property 'mountPath'",
    ),
    ("variables from nowhere", "envFrom[0].prefix=AWS_", "/envFrom/0"),
    (
        "a probe of another kind",
        "livenessProbe.exec.command={true}",
        "'exec' not allowed",
    ),
    (
        "a Lease in another place than the Role for it",
        "extraArgs={--lease-namespace=elsewhere}",
        "/extraArgs/0",
    ),
    (
        "a Lease that the Role does not name",
        "extraArgs={--lease-name=other}",
        "/extraArgs/0",
    ),
    (
        "privileges that the program does not need",
        "securityContext.privileged=true",
        "/securityContext/privileged",
    ),
    ("null for a part of the values", "rbac=null", "missing property 'rbac'"),
    (
        "a name of the objects that a Service cannot have",
        "fullnameOverride=1operator",
        "/fullnameOverride",
    ),
    (
        "an interval that Prometheus does not know",
        "serviceMonitor.interval=often",
        "/serviceMonitor/interval",
    ),
    (
        "runbooks that are no URL",
        "prometheusRule.runbookBaseUrl=docs/",
        "/prometheusRule/runbookBaseUrl",
    ),
    (
        "an app that is a name",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x","apps":["storefront"]}]"#,
        "/accounts/0/apps/0",
    ),
    (
        "a list of regions that allows none",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x","regions":[]}]"#,
        "/accounts/0/regions",
    ),
    (
        "a region outside of the account's regions",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x","region":"eu-west-1","regions":["us-east-1"]}]"#,
        r#""a": its region "eu-west-1" is not one of its regions (us-east-1)"#,
    ),
    (
        "an account's region that is none",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x","region":"nowhere"}]"#,
        r#""a": "nowhere" is not an AWS region"#,
    ),
    (
        "a region of an account's list that is none",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x","regions":["nowhere"]}]"#,
        r#""a": "nowhere" is not an AWS region"#,
    ),
    (
        "a role with an empty part in its path",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/a//b"}]"#,
        "/accounts/0/roleArn",
    ),
    (
        "an account without a role",
        r#"accounts=[{"name":"a","namespaces":["shop"]}]"#,
        "missing property 'roleArn'",
    ),
    (
        "a role that is none",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::1:role/x"}]"#,
        "/accounts/0/roleArn",
    ),
    (
        "a pattern for a namespace",
        r#"accounts=[{"name":"a","namespaces":["shop-*"],"roleArn":"arn:aws:iam::111111111111:role/x"}]"#,
        "/accounts/0/namespaces/0",
    ),
    (
        "two accounts for a namespace",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x"},{"name":"b","namespaces":["shop"],"roleArn":"arn:aws:iam::222222222222:role/x"}]"#,
        r#"the entries "a" and "b" both name the namespace "shop""#,
    ),
    (
        "two accounts of one name",
        r#"accounts=[{"name":"a","namespaces":["shop"],"roleArn":"arn:aws:iam::111111111111:role/x"},{"name":"a","namespaces":["blog"],"roleArn":"arn:aws:iam::222222222222:role/x"}]"#,
        r#"two entries are named "a""#,
    ),
    (
        "accounts from two places",
        r#"accounts=[],existingAccountsConfigMap="mine""#,
        "give one of the two",
    ),
    (
        "Roles for nowhere",
        "rbac.namespaced=true",
        "rbac.namespaced needs settings.watchNamespaces",
    ),
    (
        "both kinds of monitor",
        "serviceMonitor.enabled=true,podMonitor.enabled=true",
        "enable one of the two",
    ),
];

fn refuses_values(site: &Site, values: &str, said: &str) -> Result<()> {
    let set = if values.contains(['[', '"']) && !values.contains("[0]") {
        "--set-json"
    } else {
        "--set"
    };
    match site.helm(&["template", PLATFORM.name, CHART, set, values]) {
        Ok(_) => bail!("helm takes {values}: {CHART}/values.schema.json lets it through"),
        Err(error) => ensure!(error.to_string().contains(said), "{values}: not {said:?} but {error:#}"),
    }
    Ok(())
}

/// Returns a value for every setting, each different from its default.
#[expect(clippy::too_many_lines, reason = "it is a table with a line per value")]
fn every_value() -> Value {
    let selector = json!({ "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }] });
    json!({
        "replicas": 3,
        "imagePullSecrets": [{ "name": "registry" }],
        "rbac": { "create": true, "namespaced": true, "keepWhileNeeded": true, "aggregate": true },
        "nameOverride": "amplify",
        "commonLabels": { "team": "platform" },
        "envFrom": [{ "secretRef": { "name": "aws-keys" } }],
        "extraArgs": ["--log-format=json"],
        "extraVolumes": [{ "name": "ca", "configMap": { "name": "company-ca" } }],
        "extraVolumeMounts": [{ "name": "ca", "mountPath": "/etc/company-ca", "readOnly": true }],
        "podSecurityContext": {
            "runAsUser": 1_000_630_000, "runAsGroup": null, "fsGroup": null,
            "appArmorProfile": { "type": "RuntimeDefault" },
        },
        "securityContext": { "privileged": false, "runAsNonRoot": true },
        "livenessProbe": { "periodSeconds": 20 },
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "50%" } },
        "revisionHistoryLimit": 3,
        "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["fd00::a"], "options": [{ "name": "ndots", "value": "2" }] },
        "hostAliases": [{ "ip": "fd00::1", "hostnames": ["sts.amazonaws.com"] }],
        "service": { "annotations": { "prometheus.io/scrape": "true" } },
        "accounts": [
            {
                "name": "team a", "namespaces": [PLATFORM.namespace, MANIFESTS], "region": "us-gov-west-1",
                "apps": ["d1a2b3c4d5e6f7"], "regions": ["us-gov-west-1"],
                "roleArn": "arn:aws-us-gov:iam::111111111111:role/amplify/operator", "externalId": "0123456789",
            },
        ],
        "priorityClassName": "high",
        "topologySpreadConstraints": [
            { "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule" },
        ],
        "networkPolicy": {
            "enabled": true,
            "metricsFrom": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } }],
            "extraEgress": [{ "to": [{ "ipBlock": { "cidr": "10.0.0.1/32" } }], "ports": [{ "port": 3128 }] }],
        },
        "serviceMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
        "podMonitor": { "enabled": false, "labels": { "release": "prometheus" } },
        "prometheusRule": {
            "enabled": true, "labels": { "release": "prometheus" }, "runbookBaseUrl": "https://wiki.example.com/",
        },
        "dashboard": { "enabled": true, "labels": { "grafana_dashboard": "yes" } },
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
        "settings": { "watchNamespaces": [PLATFORM.namespace, MANIFESTS], "awsRequestsPerSecond": 0.5, "logFormat": "json" },
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
        "enabled": true,
    })
}

fn helm_lint_finds_nothing(site: &Site) -> Result<()> {
    site.helm(&["lint", "--strict", CHART])?;
    let values = site.values("lint.json", &every_value())?;
    site.helm(&["lint", "--strict", CHART, "--values", &values])?;
    Ok(())
}

/// Installs the definitions that prometheus-operator would install.
pub(crate) fn install_monitoring_kinds(site: &Site) -> Result<()> {
    let module = packages::go_module(
        PROMETHEUS_OPERATOR,
        PROMETHEUS_OPERATOR_VERSION,
        PROMETHEUS_OPERATOR_SUM,
    );
    let definitions = site.runtime.block_on(module)?.join("example/prometheus-operator-crd");
    for kind in ["podmonitors", "prometheusrules", "servicemonitors"] {
        let file = definitions.join(format!("monitoring.coreos.com_{kind}.yaml"));
        site.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])?;
        let crd = format!("crd/{kind}.monitoring.coreos.com");
        site.kubectl(&["wait", "--for=condition=Established", "--timeout=150s", &crd])?;
    }
    Ok(())
}

fn the_api_server_accepts_the_chart_with_every_value_set(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    install_monitoring_kinds(site)?;
    let values = site.values("full.json", &every_value())?;
    let template = [
        "template",
        "full",
        CHART,
        "--namespace",
        PLATFORM.namespace,
        "--values",
        &values,
    ];
    let instead = "podMonitor.enabled=true,serviceMonitor.enabled=false,accounts=null,existingAccountsConfigMap=mine,\
                   rbac.namespaced=false,replicas=0";
    for (set, expected) in [
        (
            "",
            &[
                "registry.example.com:5000/tools/amplify-operator@sha256:0000",
                r#""amplify-system,manifests""#,
                "kind: ServiceMonitor",
                "kind: PrometheusRule",
                "kind: PodDisruptionBudget",
                "kind: ValidatingAdmissionPolicyBinding",
                "name: \"full-amplify-accounts\"",
                "grafana_dashboard: \"yes\"",
            ][..],
        ),
        (
            instead,
            &["kind: PodMonitor", "name: \"mine\"", "replicas: 0", "--leader-elect"],
        ),
    ] {
        let rendered = site.helm(&[&template[..], &["--set", set]].concat())?;
        for expected in expected {
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
        no_pod_security_warning(&warnings)?;
    }
    Ok(())
}

fn a_network_policy_lets_in_who_is_named_and_nobody_else(site: &Site) -> Result<()> {
    let ingress = |set: &str| {
        let template = ["template", "x", CHART, "--show-only", "templates/networkpolicy.yaml"];
        let set = ["--set", "networkPolicy.enabled=true", "--set-json", set];
        let policy: NetworkPolicy = serde_saphyr::from_str(&site.helm(&[&template[..], &set].concat())?)?;
        let spec = policy.spec.context("a policy has a spec")?;
        ensure!(spec.policy_types.as_deref() == Some(&["Ingress", "Egress"].map(str::to_owned)[..]));
        let dns = spec
            .egress
            .and_then(|rules| rules.into_iter().next())
            .context("a rule")?
            .ports;
        // A policy sees the port on which the DNS server listens: OpenShift's has another one than the Service.
        let of_dns = json!([
            { "port": 53, "protocol": "UDP" }, { "port": 53 }, { "port": 5353, "protocol": "UDP" }, { "port": 5353 },
        ]);
        ensure!(json!(dns) == of_dns, "{dns:?}");
        Ok(json!(spec.ingress))
    };
    assert_eq!(ingress("networkPolicy.metricsFrom=[]")?, json!([]));
    let monitoring = json!([{ "namespaceSelector": { "matchLabels": { "team": "monitoring" } } }]);
    assert_eq!(
        ingress(&format!("networkPolicy.metricsFrom={monitoring}"))?,
        json!([{ "from": monitoring, "ports": [{ "port": "http" }] }])
    );
    Ok(())
}

/// The scanner's findings are exactly those that `.checkov.yaml` excuses: no other finding, and no unneeded excuse.
fn checkov_finds_nothing_but_what_is_explained(site: &Site) -> Result<()> {
    let exceptions = format!("{CHART}/.checkov.yaml");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&exceptions))?;
    for (line, next) in text.lines().zip(text.lines().skip(1)) {
        ensure!(
            !next.contains("- CKV") || line.trim_start().starts_with("# "),
            "{exceptions}: {next} has no reason above it"
        );
    }
    let config: Value = serde_saphyr::from_str(&text)?;
    let excused: BTreeSet<String> = serde_json::from_value(config["skip-check"].clone())?;

    let folder = site.dir().join("checkov");
    fs::create_dir_all(&folder)?;
    let values = site.values("checkov.json", &every_value())?;
    for (release, values) in [("plain", None), ("full", Some(["--values", &values]))] {
        let template = ["template", release, CHART, "--namespace", PLATFORM.namespace];
        let rendered = site.helm(&[&template[..], values.as_ref().map_or(&[], |values| &values[..])].concat())?;
        fs::write(folder.join(format!("{release}.yaml")), rendered)?;
    }
    let python = site.runtime.block_on(packages::python("checkov", CHECKOV))?;
    let output = Command::new(python)
        .args(["-m", "checkov.main", "--framework", "kubernetes", "--directory"])
        .arg(&folder)
        // Without network access.
        .args(["--skip-download", "--output", "json"])
        .env("HOME", site.dir())
        .env("LOG_LEVEL", "ERROR")
        .output()?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("checkov ends with {} and says {stderr}", output.status)
    })?;
    ensure!(
        report["summary"]["passed"].as_u64() > Some(150),
        "{}",
        report["summary"]
    );
    ensure!(report["summary"]["parsing_errors"] == 0, "{}", report["summary"]);
    let failed = report["results"]["failed_checks"].as_array().context("a list")?;
    let found: BTreeSet<_> = failed
        .iter()
        .map(|check| check["check_id"].as_str().unwrap_or_default().to_owned())
        .collect();
    let unexplained: Vec<_> = failed
        .iter()
        .filter(|check| !excused.contains(check["check_id"].as_str().unwrap_or_default()))
        .map(|check| format!("{} {} {}", check["check_id"], check["check_name"], check["resource"]))
        .collect();
    let needless: Vec<_> = excused.difference(&found).collect();
    ensure!(
        unexplained.is_empty() && needless.is_empty(),
        "checkov finds {unexplained:#?}\n{exceptions} needlessly excuses {needless:?}"
    );
    Ok(())
}

pub(crate) fn no_pod_security_warning(warnings: &str) -> Result<()> {
    ensure!(!warnings.contains("PodSecurity"), "{warnings}");
    Ok(())
}

fn the_pod_is_admitted_where_pod_security_is_restricted(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    // First checks that pod security is enforced at all.
    let run = [
        "run",
        "p",
        "--image=p",
        "--namespace",
        PLATFORM.namespace,
        "--dry-run=server",
    ];
    match site.kubectl(&run) {
        Ok(_) => bail!("this API server admits any pod into a restricted namespace: it cannot judge the chart's"),
        Err(error) => ensure!(error.to_string().contains("violates PodSecurity"), "{error:#}"),
    }
    let pod = installed_pod(site, &PLATFORM)?;
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

/// Returns the pod that the release's Deployment has created.
pub(crate) fn installed_pod(site: &Site, release: &Release) -> Result<Pod> {
    let labels = ListParams::default().labels(&format!("app.kubernetes.io/instance={}", release.name));
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), release.namespace);
    let sets: Api<ReplicaSet> = Api::namespaced(site.client.clone(), release.namespace);
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
    // A dry run creates no namespace, so it is created first.
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
        "service/amplify-operator",
        "deployment.apps/amplify-operator",
    ] {
        ensure!(applied.contains(object), "{object} is not among\n{applied}");
    }
    no_pod_security_warning(&warnings)
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn an_upgrade_renews_a_rollback_takes_back_and_an_uninstall_keeps_the_definitions_and_the_data(
    site: &Site,
) -> Result<()> {
    let _alone = site.installed_alone()?;
    let Release {
        name,
        namespace,
        full_name,
        ..
    } = PLATFORM;
    let crd = "crd/amplifybackends.amplify-operator.dev";
    let columns = || {
        let columns = r"jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
        site.kubectl(&["get", crd, "-o", columns])
    };
    let deployments: Api<Deployment> = Api::namespaced(site.client.clone(), namespace);
    let deployment = || anyhow::Ok(json!(site.runtime.block_on(deployments.get(full_name))?.spec));

    // A later version of the chart, with one more column in a definition and more replicas.
    let later = site.dir().join("later");
    copy_folder(Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART).as_path(), &later)?;
    let definition = later.join("files/crds/amplifybackends.yaml");
    let column = "additionalPrinterColumns:\n    - jsonPath: .spec.appName\n      name: LATER\n      type: string\n";
    let changed = fs::read_to_string(&definition)?.replacen("additionalPrinterColumns:\n", column, 1);
    fs::write(&definition, changed)?;
    let later = later.display().to_string();
    let upgrade = ["upgrade", name, &later, "--namespace", namespace, "--reuse-values"];
    let set = ["--set", "settings.logFormat=json,replicas=2"];
    let first = deployment()?;
    site.helm(&[&upgrade[..], &set].concat())?;
    let shown = columns()?;
    ensure!(
        shown.contains("LATER"),
        "the upgrade has not changed the definition: {shown}"
    );
    let upgraded = deployment()?;
    assert_eq!(upgraded["strategy"]["type"], "RollingUpdate");
    let container = upgraded["template"]["spec"]["containers"][0].to_string();
    for expected in ["AMPLIFY_OPERATOR_LOG_FORMAT", "AWS_REGION"] {
        ensure!(container.contains(expected), "{expected} is not in {container}");
    }
    let of_replicas = format!("poddisruptionbudget/{full_name}");
    site.kubectl(&["get", &of_replicas, "--namespace", namespace])?;
    // While the number of replicas changes, pods of both versions run: the same Lease is for both.
    let of_election = |deployment: &Value| {
        let container = &deployment["template"]["spec"]["containers"][0];
        (container["args"].clone(), container["env"][1].clone())
    };
    assert_eq!(of_election(&upgraded), of_election(&first));
    assert_eq!(
        of_election(&first).0,
        json!(["run", "--leader-elect", format!("--lease-name={full_name}")])
    );

    site.helm(&["rollback", name, "1", "--namespace", namespace])?;
    let shown = columns()?;
    ensure!(
        !shown.contains("LATER"),
        "the rollback has not taken the definition back: {shown}"
    );
    let rolled_back = deployment()?;
    assert_eq!(rolled_back["strategy"], json!({ "type": "Recreate" }));
    assert_eq!(rolled_back["replicas"], 1);
    assert_eq!(of_election(&rolled_back), of_election(&first));
    ensure!(
        site.kubectl(&["get", &of_replicas, "--namespace", namespace]).is_err(),
        "{of_replicas} is left"
    );

    let kept = json!({
        "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "BackendEnvironment", "metadata": { "name": "kept" },
        "spec": { "appId": "d0kept", "environmentName": "kept", "suspend": true },
    });
    let file = site.values("kept.json", &kept)?;
    site.kubectl(&["apply", "--namespace", MANIFESTS, "-f", &file])?;
    site.helm(&["uninstall", name, "--namespace", namespace, "--wait"])?;
    let left = site.kubectl(&["get", "benv/kept", "--namespace", MANIFESTS, "-o", "name"])?;
    ensure!(left.contains("kept"), "{left}");
    let selector = format!("app.kubernetes.io/instance={name}");
    let kinds = "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings";
    let get = ["get", kinds, "--namespace", namespace, "-l", &selector, "-o", "name"];
    let left = site.kubectl(&get)?;
    ensure!(left.trim().is_empty(), "the uninstall leaves {left}");

    // The definitions that the uninstall keeps do not prevent a new installation.
    site.helm_install(&[])
}

pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
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
