//! The operator with the rights of the chart's ServiceAccount: they are sufficient, and none is unnecessary.

use std::{collections::BTreeSet, fs, time::Duration};

use amplify_devcluster::audit::AuditEvent;
use amplify_simulator::{Action, App, Config, DEFAULT_ACCOUNT, Fault, Filter, Operation, Simulator};
use anyhow::{Context as _, Result, anyhow, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{Namespace, NamespaceCondition},
    events::v1::Event,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding, Subject},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    Body, Test,
    history::{Operated, Right},
    pod::Operator,
    site::{CHART, LEAVING, MANIFESTS, PLATFORM, REGION, Release, Site, TENANTS},
    tests,
};

/// The arguments with which kubectl selects all resources.
const ALL: [&str; 2] = [
    "amplifybackends,backendapis,backendstorages,backendenvironments",
    "--all",
];
/// The app of deploy/samples.
const APP: &str = "d1a2b3c4d5e6f7";
/// The clone comes last: it needs no other rights and takes time, so some tests leave it out.
const SAMPLES: [&str; 5] = [
    "deploy/samples/amplifybackend.yaml",
    "deploy/samples/backendapi.yaml",
    "deploy/samples/backendenvironment.yaml",
    "deploy/samples/backendstorage.yaml",
    "deploy/samples/clone.yaml",
];
/// The account of the tenants' namespace, with its role and external id.
const ACCOUNT: &str = "111111111111";
const ROLE: &str = "arn:aws:iam::111111111111:role/amplify/operator";
const EXTERNAL_ID: &str = "0123456789";

/// Returns the tests that run an operator, which take long.
pub(crate) fn tests() -> Vec<Test> {
    let mut all = of_each_release("the operator creates and deletes each kind", |_| Ok(()));
    all.extend(tests![
        rights_in_a_namespace_that_is_deleted_stay_until_the_operator_has_finished_there,
        the_clusters_roles_view_edit_and_admin_take_in_all_kinds,
    ]);
    all
}

/// Returns the tests that check the histories of these operators.
pub(crate) fn judgements() -> Vec<Test> {
    [
        of_each_release("the operator is refused nothing", is_refused_nothing),
        of_each_release("the chart grants exactly what the operator uses", uses_what_is_granted),
        of_each_release("the IAM policy allows what the operator calls", calls_what_is_allowed),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_each_release(what: &str, test: fn(&Operated) -> Result<()>) -> Vec<Test> {
    let releases = [
        (&PLATFORM, "as installed by default"),
        (&TENANTS, "with replicas, Roles and accounts"),
    ];
    releases
        .map(|(release, whose)| {
            let body: Body = Box::new(move |site| test(operated(site, release)?));
            (format!("{what}, {whose}"), body)
        })
        .into()
}

/// Returns the history of a release's operator, which runs once for all tests.
fn operated<'a>(site: &'a Site, release: &'static Release) -> Result<&'a Operated> {
    let (once, operate): (_, fn(&Site) -> Result<Operated>) = if release.name == TENANTS.name {
        (&site.tenants, operate_tenants)
    } else {
        (&site.platform, operate_platform)
    };
    once.get_or_init(|| operate(site).map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("the operator failed: {error}"))
}

fn operate_platform(site: &Site) -> Result<Operated> {
    let _installed = site.installed()?;
    let simulator = simulator(DEFAULT_ACCOUNT)?;
    let operator = Operator::start(site, &PLATFORM, &simulator)?;
    site.kubectl(&["create", "namespace", PLATFORM.shop])?;
    let life = live(site, &simulator, PLATFORM.shop, &SAMPLES);
    tell(site, operator, &simulator, life)
}

/// Runs the second release, with every option that needs additional rights.
fn operate_tenants(site: &Site) -> Result<Operated> {
    let Release {
        name,
        namespace,
        full_name,
        shop,
    } = TENANTS;
    site.install_beside(&TENANTS, &json!({ "replicas": 2, "accounts": [] }))?;
    let simulator = simulator(ACCOUNT)?;
    let operator = Operator::start(site, &TENANTS, &simulator)?;
    let life = || -> Result<()> {
        after_the_platform(site);
        // The namespace has no entry in the accounts file, so it has no account.
        let object = json!({
            "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "BackendEnvironment",
            "metadata": { "name": "nobodys", "namespace": shop }, "spec": { "appId": APP, "environmentName": "nobodys" },
        });
        let file = site.values("nobodys.json", &object)?;
        site.kubectl(&["apply", "-f", &file])?;
        wait_for_reason(site, shop, "benv/nobodys", "AccountNotFound")?;
        site.kubectl(&["delete", "-f", &file, "--timeout=150s"])?;
        ensure!(simulator.history().all().is_empty(), "{:?}", simulator.history().all());

        let deployments: Api<Deployment> = Api::namespaced(site.client.clone(), namespace);
        let generation = || {
            let deployment = site.runtime.block_on(deployments.get(full_name))?;
            anyhow::Ok(deployment.metadata.generation)
        };
        let before = generation()?;
        let entry = json!({ "name": "baker", "namespaces": [shop], "roleArn": ROLE, "externalId": EXTERNAL_ID });
        let accounts = format!("accounts=[{entry}]");
        let upgrade = ["upgrade", name, CHART, "--namespace", namespace, "--reuse-values"];
        site.helm(&[&upgrade[..], &["--set-json", &accounts]].concat())?;
        ensure!(
            generation()? == before,
            "a new account changes the Deployment, so that its pods restart"
        );
        operator.update_mounts()?;
        live(site, &simulator, shop, &SAMPLES[..4])
    }();
    tell(site, operator, &simulator, life)
}

/// Waits until the first release's operator, which watches all namespaces, has done its work and has ended.
fn after_the_platform(site: &Site) {
    // If it failed, other tests report it.
    let _ = operated(site, &PLATFORM);
}

fn simulator(account: &str) -> Result<Simulator> {
    let config = Config {
        region: REGION.to_owned(),
        unlisted_roles: false,
        apps: vec![App {
            account: Some(account.to_owned()),
            region: None,
            app_id: APP.to_owned(),
            name: "storefront".to_owned(),
        }],
        ..Config::default().role(ROLE, Some(EXTERNAL_ID))
    };
    let mut config = config.job_duration(Duration::from_millis(500));
    // A storage needs an auth, and the operator creates none.
    config.settings.new_backends_have_auth = true;
    Ok(Simulator::start(&config)?)
}

/// Ends the operator and returns its history. If its life failed, returns the reason.
fn tell(site: &Site, mut operator: Operator<'_>, simulator: &Simulator, life: Result<()>) -> Result<Operated> {
    let life = life.and_then(|()| operator.end());
    let requests = operator.requests()?;
    life.with_context(|| {
        let refused = refused(&requests);
        let tail = operator.tail();
        format!("the API server refused it {refused:#?}, and its last lines are\n{tail}\n")
    })?;
    let actions = simulator
        .history()
        .all()
        .iter()
        .map(|call| {
            format!(
                "{}:{}",
                call.operation.service().map_or("?", |it| it.as_str()),
                call.operation
            )
        })
        .collect();
    Ok(Operated {
        requests,
        actions,
        granted: granted(site, operator.release(), operator.account())?,
    })
}

fn wait_for_reason(site: &Site, namespace: &str, object: &str, reason: &str) -> Result<()> {
    let condition = format!(r#"--for=jsonpath={{.status.conditions[?(@.type=="Ready")].reason}}={reason}"#);
    site.kubectl(&["wait", &condition, object, "--timeout=150s", "--namespace", namespace])?;
    Ok(())
}

/// Creates the samples, edits them, and deletes them again. Meanwhile it makes the operator send every kind of request,
/// even rare ones, so that no right is missing in production.
fn live(site: &Site, simulator: &Simulator, namespace: &str, samples: &[&str]) -> Result<()> {
    let shop = |arguments: &[&str]| site.kubectl(&[arguments, &["--namespace", namespace]].concat());
    // The first look at each kind hangs …
    let at_once = [
        (Operation::GetBackend, "staging", "amplifybackend/staging"),
        (Operation::GetBackendEnvironment, "legacy", "backendenvironment/legacy"),
    ];
    let after_its_backend = [
        (Operation::GetBackendApi, "staging", "backendapi/storefront"),
        (Operation::GetBackendStorage, "staging", "backendstorage/photos"),
    ];
    for (operation, environment, _) in at_once.iter().chain(&after_its_backend) {
        let fault = Fault::on(*operation, Action::hang()).environment(environment);
        simulator.control().fault(fault);
    }
    let files: Vec<_> = samples.iter().flat_map(|sample| ["-f", *sample]).collect();
    shop(&[&["apply"], &files[..]].concat())?;
    for looks in [&at_once[..], &after_its_backend[..]] {
        for (operation, environment, object) in looks {
            site.eventually(&format!("{operation} of {environment}"), async || {
                let calls = simulator.history().matching(&Filter::operation(*operation));
                let is_held = calls
                    .iter()
                    .any(|call| call.in_flight && call.faulted && call.environment() == *environment);
                Ok(is_held.then_some(()))
            })?;
            // … while the object changes, so that the next write is refused as stale and the operator reads the object.
            shop(&["label", object, "changed=meanwhile"])?;
        }
        simulator.control().release();
    }
    let ready = ["wait", "--for=condition=Ready", "--timeout=150s"];
    shop(&[&ready[..], &ALL].concat())?;

    // A repeated Event is a patch of the first one.
    for (suspend, reason) in [
        (true, "Suspended"),
        (false, "Available"),
        (true, "Suspended"),
        (false, "Available"),
    ] {
        let patch = format!(r#"{{"spec":{{"suspend":{suspend}}}}}"#);
        shop(&["patch", "benv/legacy", "--type=merge", "--patch", &patch])?;
        wait_for_reason(site, namespace, "benv/legacy", reason)?;
    }
    let events: Api<Event> = Api::namespaced(site.client.clone(), namespace);
    site.eventually("an Event that counts to two", async || {
        let events = events.list(&ListParams::default()).await?;
        Ok(events.items.into_iter().find(|event| event.series.is_some()))
    })?;

    // An edit, so that the API is updated too.
    let patch = r#"{"spec":{"resourceConfig":{"conflictResolution":{"resolutionStrategy":"AUTOMERGE"}}}}"#;
    shop(&["patch", "bapi/storefront", "--type=merge", "--patch", patch])?;
    shop(&[
        "wait",
        "--for=jsonpath={.status.observedGeneration}=2",
        "bapi/storefront",
        "--timeout=150s",
    ])?;
    shop(&["wait", "--for=condition=Ready", "bapi/storefront", "--timeout=150s"])?;

    // The command from NOTES.txt, which there is for all namespaces.
    shop(&["delete", "amplify", "--all", "--timeout=150s"])?;
    let apps = simulator.control().apps();
    ensure!(
        apps.iter()
            .all(|app| app.backends.is_empty() && app.environments.is_empty()),
        "AWS is not empty: {apps:?}"
    );
    let creates = simulator.history().creates_by_object();
    ensure!(
        creates.len() == samples.len() && creates.values().all(|count| *count == 1),
        "each of the samples is created once: {creates:?}"
    );
    Ok(())
}

/// Returns the requests that the API server did not permit.
fn refused(requests: &[AuditEvent]) -> BTreeSet<String> {
    requests
        .iter()
        .filter(|request| matches!(request.code, 401 | 403))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect()
}

fn is_refused_nothing(operated: &Operated) -> Result<()> {
    let refused = refused(&operated.requests);
    ensure!(refused.is_empty(), "the API server refuses {refused:#?}");
    Ok(())
}

/// Returns all rights that any role grants to the account.
fn granted(site: &Site, release: &Release, account: &str) -> Result<BTreeSet<Right>> {
    let is_ours = |subjects: &Option<Vec<Subject>>| {
        subjects.iter().flatten().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == account
                && subject.namespace.as_deref() == Some(release.namespace)
        })
    };
    let everything = ListParams::default();
    site.runtime.block_on(async {
        let cluster_roles: Api<ClusterRole> = Api::all(site.client.clone());
        let mut rights = BTreeSet::new();
        let bindings: Api<RoleBinding> = Api::all(site.client.clone());
        for binding in bindings.list(&everything).await? {
            if !is_ours(&binding.subjects) {
                continue;
            }
            let namespace = binding.metadata.namespace.unwrap_or_default();
            let rules = if binding.role_ref.kind == "Role" {
                let roles: Api<Role> = Api::namespaced(site.client.clone(), &namespace);
                roles.get(&binding.role_ref.name).await?.rules
            } else {
                cluster_roles.get(&binding.role_ref.name).await?.rules
            };
            rights.extend(Right::of(rules, &namespace)?);
        }
        let bindings: Api<ClusterRoleBinding> = Api::all(site.client.clone());
        for binding in bindings.list(&everything).await? {
            if is_ours(&binding.subjects) {
                rights.extend(Right::of(cluster_roles.get(&binding.role_ref.name).await?.rules, "")?);
            }
        }
        Ok(rights)
    })
}

fn uses_what_is_granted(operated: &Operated) -> Result<()> {
    let Operated { requests, granted, .. } = operated;
    let of_resources = || requests.iter().filter(|request| !request.resource.is_empty());
    let lacking: BTreeSet<_> = of_resources()
        .filter(|request| !granted.iter().any(|right| right.allows(request)))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect();
    let needless: Vec<_> = granted
        .iter()
        .filter(|right| !of_resources().any(|request| right.allows(request)))
        .collect();
    ensure!(
        lacking.is_empty() && needless.is_empty(),
        "used, but not granted: {lacking:#?}\ngranted, but not used: {needless:#?}\n(charts/amplify-operator/templates)"
    );
    Ok(())
}

fn calls_what_is_allowed(operated: &Operated) -> Result<()> {
    let policy = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/iam-policy.json"))?;
    let policy: Value = serde_json::from_str(&policy)?;
    let mut allowed: BTreeSet<String> = serde_json::from_value(policy["Statement"][0]["Action"].clone())?;
    // GetCallerIdentity needs no permission. With accounts, the operator's own role needs AssumeRole, which is not in
    // the accounts' policy.
    allowed.extend(["sts:GetCallerIdentity", "sts:AssumeRole"].map(str::to_owned));
    let lacking: Vec<_> = operated.actions.difference(&allowed).collect();
    ensure!(lacking.is_empty(), "deploy/iam-policy.json lacks {lacking:?}");
    Ok(())
}

/// The namespace controller deletes all objects of the namespace at once. Without the chart's policy the RoleBinding
/// would be gone before the finalizers.
fn rights_in_a_namespace_that_is_deleted_stay_until_the_operator_has_finished_there(site: &Site) -> Result<()> {
    let Release { full_name, shop, .. } = LEAVING;
    site.install_beside(&LEAVING, &json!({}))?;
    // As Argo CD does when it tracks an application by labels.
    for kind in ["role", "rolebinding"] {
        let label = "app.kubernetes.io/instance=an-application";
        site.kubectl(&["label", kind, full_name, "--namespace", shop, "--overwrite", label])?;
    }
    after_the_platform(site);
    let simulator = simulator(DEFAULT_ACCOUNT)?;
    let mut operator = Operator::start(site, &LEAVING, &simulator)?;
    let namespaces: Api<Namespace> = Api::all(site.client.clone());
    let life = || -> Result<()> {
        site.kubectl(&["apply", "-f", SAMPLES[0], "--namespace", shop])?;
        wait_for_reason(site, shop, "ab/staging", "Available")?;
        // AWS answers late, so that the rights are still needed when the namespace controller deletes them.
        let held = Fault::on(Operation::DeleteBackend, Action::hang()).environment("staging");
        simulator.control().fault(held);
        site.kubectl(&["delete", "namespace", shop, "--wait=false"])?;
        site.eventually(
            "the namespace controller is refused the rights, and says why",
            async || {
                let namespace = namespaces.get(shop).await?;
                let conditions = namespace
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                let says = |condition: &NamespaceCondition| {
                    let message = condition.message.as_deref().unwrap_or_default();
                    condition.type_ == "NamespaceDeletionContentFailure"
                        && message.contains("AmplifyBackend staging still needs these rights")
                };
                Ok(conditions.iter().any(says).then_some(()))
            },
        )?;
        for kind in ["role", "rolebinding"] {
            site.kubectl(&["get", kind, full_name, "--namespace", shop])?;
        }

        simulator.control().release();
        site.eventually("the namespace is gone", async || {
            Ok(namespaces.get_opt(shop).await?.is_none().then_some(()))
        })?;
        let apps = simulator.control().apps();
        ensure!(
            apps.iter().all(|app| app.backends.is_empty()),
            "AWS is not empty: {apps:?}"
        );
        // In a namespace that is being deleted nothing can be created, so Events are refused too.
        let refused: BTreeSet<_> = operator
            .requests()?
            .into_iter()
            .filter(|request| request.code == 403 && request.namespace == shop && request.resource != "events")
            .map(|request| format!("{} {}", request.verb, request.uri))
            .collect();
        let of_its_end = |refused: &String| refused.starts_with("list ") || refused.starts_with("watch ");
        ensure!(refused.iter().all(of_its_end), "the API server refuses {refused:#?}");
        Ok(())
    }();
    life.and_then(|()| operator.end())
        .with_context(|| format!("the operator's last lines are\n{}\n", operator.tail()))
}

fn the_clusters_roles_view_edit_and_admin_take_in_all_kinds(site: &Site) -> Result<()> {
    let _installed = site.installed()?;
    let kinds = [
        "amplifybackends",
        "backendapis",
        "backendstorages",
        "backendenvironments",
    ];
    let look = ["get", "list", "watch"];
    let change = ["create", "update", "patch", "delete", "deletecollection"];
    let may = async |user: &str, verb: &str, resource: &str, subresource: &str| -> Result<bool> {
        let owned = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: owned(user),
                resource_attributes: Some(ResourceAttributes {
                    namespace: owned(MANIFESTS),
                    group: owned("amplify-operator.dev"),
                    verb: owned(verb),
                    resource: owned(resource),
                    subresource: owned(subresource),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(site.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    };
    for role in ["view", "edit", "admin"] {
        let (binding, user) = (format!("--clusterrole={role}"), format!("--user={role}er"));
        let create = ["create", "rolebinding", role, &binding, &user, "--namespace", MANIFESTS];
        site.kubectl(&create)?;
        let user = format!("{role}er");
        // The controller manager adds the rules after a while.
        site.eventually(&format!("{role} has the rules of the chart"), async || {
            for kind in kinds {
                for verb in look.iter().chain(change.iter().filter(|_| role != "view")) {
                    if !may(&user, verb, kind, "").await? {
                        return Ok(None);
                    }
                }
            }
            Ok(Some(()))
        })?;
        site.runtime.block_on(async {
            for kind in kinds {
                for verb in change {
                    ensure!(
                        !may(&user, verb, kind, "status").await?,
                        "{role} may {verb} {kind}/status, the operator's own ledger"
                    );
                    let expected = role != "view";
                    ensure!(may(&user, verb, kind, "").await? == expected, "{role}: {verb} {kind}");
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
