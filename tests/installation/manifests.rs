//! The API server's answers to manifests, by the rules of the definitions. Wrong manifests are refused with a message
//! that says how to fix them, before anything reaches AWS.

use amplify_operator::api;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    Body, Test,
    site::{MANIFESTS, Site},
    tests,
};

pub(crate) fn tests() -> Vec<Test> {
    let mut all: Vec<Test> = tests![
        the_samples_are_accepted,
        a_new_object_has_not_been_observed,
        a_misspelt_field_is_refused_by_kubectl,
        kubectl_explains_the_fields,
        every_field_is_described,
        every_optional_field_says_what_unset_means,
        no_field_answers_with_a_pattern,
        everything_that_people_write_is_bounded,
    ];
    all.extend(refused().into_iter().map(|(what, manifest, said)| {
        let body: Body = Box::new(move |site| is_refused(create(site, &manifest), &said));
        (format!("{what} is refused"), body)
    }));
    all.extend(accepted().into_iter().map(|(what, manifest)| {
        let body: Body = Box::new(move |site| {
            create(site, &manifest).map_err(|message| anyhow!("refused: {message}"))?;
            Ok(())
        });
        (format!("{what} is accepted"), body)
    }));
    all.extend(changes().into_iter().map(|change| {
        let name = format!(
            "{} is {}",
            change.what,
            if change.said.is_some() { "refused" } else { "accepted" }
        );
        let body: Body = Box::new(move |site| change.judge(site));
        (name, body)
    }));
    all
}

// ---- manifests ----

fn manifest(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("{}/v1alpha1", api::GROUP),
        "kind": kind,
        "metadata": { "generateName": "judged-" },
        "spec": spec,
    })
}

/// Returns a good AmplifyBackend with these fields of the spec changed; null removes one.
fn backend(changes: Value) -> Value {
    let mut spec = json!({ "appId": "d0judged", "appName": "storefront", "backendEnvironmentName": "staging" });
    json_patch::merge(&mut spec, &changes);
    manifest("AmplifyBackend", spec)
}

/// Returns a good clone with these changes.
fn clone(changes: Value) -> Value {
    let mut spec = json!({
        "appId": "d0judged", "backendEnvironmentName": "preview", "cloneFrom": { "backendRef": { "name": "staging" } },
    });
    json_patch::merge(&mut spec, &changes);
    manifest("AmplifyBackend", spec)
}

/// Returns a good BackendApi of an AmplifyBackend with these changes.
fn backend_api(changes: Value) -> Value {
    let mut spec = json!({
        "backendRef": { "name": "staging" }, "resourceName": "storefront", "resourceConfig": { "apiName": "storefront" },
    });
    json_patch::merge(&mut spec, &changes);
    manifest("BackendApi", spec)
}

/// Returns a good BackendApi of a backend given by names, with these changes.
fn named_api(changes: Value) -> Value {
    let mut object =
        backend_api(json!({ "backendRef": null, "appId": "d0judged", "backendEnvironmentName": "staging" }));
    json_patch::merge(&mut object["spec"], &changes);
    object
}

/// Returns a good BackendEnvironment with these changes.
fn environment(changes: Value) -> Value {
    let mut spec = json!({ "appId": "d0judged", "environmentName": "legacy" });
    json_patch::merge(&mut spec, &changes);
    manifest("BackendEnvironment", spec)
}

/// A refused manifest: its description, the manifest, and the expected message.
type Refused = (String, Value, String);

/// The message for every name that is part of a URL.
const NAME_RULE: &str =
    "not a name that AWS takes here: give 1 to 255 letters, digits, _ and -, a letter or digit first, such as staging";
const APP_RULE: &str = "not the ID of an Amplify app: give d and 1 to 19 lowercase letters and digits, such as d1a2b3c4d5e6f7 (the last part of the app's ARN; not the ARN, not the app's name)";
const REGION_RULE: &str =
    "not the code of an AWS region: give a code such as eu-west-1 (not the region's name, such as Ireland, and no URL)";
const TIMEOUT_RULE: &str = "not a duration: give hours, minutes and seconds as whole numbers with h, m and s, in this order and beginning above zero, such as 45s, 90m or 1h30m";
const OBJECT_RULE: &str = "not the name of a Kubernetes object: give lowercase letters, digits, - and .";
const KEY_RULE: &str = "not a key of a ConfigMap: give letters, digits, -, _ and ., not . alone and not .. at the beginning, such as schema.graphql";
const EMPTY_RULE: &str =
    "empty: it holds nothing but blanks, commas and comments. Give a GraphQL schema, or leave transformSchema out";

fn refused() -> Vec<Refused> {
    [
        refused_of_all_kinds(),
        refused_timeouts(),
        refused_backends(),
        refused_apis(),
        refused_environments(),
    ]
    .concat()
}

fn row(what: &str, manifest: Value, said: &str) -> Refused {
    (what.to_owned(), manifest, said.to_owned())
}

fn refused_of_all_kinds() -> Vec<Refused> {
    let mut rows = Vec::new();
    for (kind, good) in [
        ("AmplifyBackend", backend as fn(Value) -> Value),
        ("BackendApi", named_api),
        ("BackendEnvironment", environment),
    ] {
        rows.push(row(
            &format!("{kind}: an unknown deletionPolicy"),
            good(json!({ "deletionPolicy": "Destroy" })),
            r#"spec.deletionPolicy: Unsupported value: "Destroy": supported values: "Delete", "Retain""#,
        ));
        rows.push(row(
            &format!("{kind}: an unknown adoptionPolicy"),
            good(json!({ "adoptionPolicy": "Always" })),
            r#"supported values: "Never", "IfExists""#,
        ));
        rows.push(row(
            &format!("{kind}: adoptionPolicy IfExists without deletionPolicy"),
            good(json!({ "adoptionPolicy": "IfExists" })),
            "adoptionPolicy IfExists needs an explicit deletionPolicy: Retain leaves the adopted AWS object",
        ));
        for app in [
            "D1A2B3",
            "1abc",
            "d",
            "",
            "d12/../d34",
            "dabcdefghijklmnopqrstu",
            "storefront",
            "arn:aws:amplify:eu-west-1:123456789012:apps/d1a2b3c4d5e6f7",
        ] {
            rows.push(row(
                &format!("{kind}: the appId {app:?}"),
                good(json!({ "appId": app })),
                &format!("spec.appId: Invalid value: {app:?}: {APP_RULE}"),
            ));
        }
        let field = if kind == "BackendEnvironment" {
            "environmentName"
        } else {
            "backendEnvironmentName"
        };
        for name in ["..", ".", "", "a/b", "-a", "a b", "ä", "staging\n"] {
            rows.push(row(
                &format!("{kind}: the {field} {name:?}"),
                good(json!({ field: name })),
                NAME_RULE,
            ));
        }
        rows.push(row(
            &format!("{kind}: a {field} of 256 characters"),
            good(json!({ field: "x".repeat(256) })),
            "may not be more than 255",
        ));
        for region in [
            "eu-west",
            "https://evil.example",
            "EU-WEST-1",
            "Ireland",
            "",
            "Europe (Ireland), which is the region eu-west-1",
        ] {
            rows.push(row(
                &format!("{kind}: the region {region:?}"),
                good(json!({ "region": region })),
                &format!("spec.region: Invalid value: {region:?}: {REGION_RULE}"),
            ));
        }
    }
    rows
}

fn refused_timeouts() -> Vec<Refused> {
    let mut rows = Vec::new();
    for timeout in [
        "soon",
        "",
        "90",
        "0s",
        "-1h",
        "1.5h",
        "1d",
        "30m1h",
        "90 minutes",
        "one hour and thirty minutes, please",
    ] {
        rows.push(row(
            &format!("AmplifyBackend: the jobTimeout {timeout:?}"),
            backend(json!({ "jobTimeout": timeout })),
            &format!("spec.jobTimeout: Invalid value: {timeout:?}: {TIMEOUT_RULE}"),
        ));
    }
    rows.push(row(
        "BackendApi: a jobTimeout that is a number",
        backend_api(json!({ "jobTimeout": 90 })),
        "spec.jobTimeout",
    ));
    rows
}

fn refused_backends() -> Vec<Refused> {
    let mut of_itself = clone(json!({}));
    of_itself["metadata"] = json!({ "name": "staging" });
    vec![
        row(
            "AmplifyBackend: neither appName nor cloneFrom",
            backend(json!({ "appName": null })),
            "set appName (CreateBackend creates a new backend) or cloneFrom (CloneBackend copies a backend)",
        ),
        row(
            "AmplifyBackend: both appName and cloneFrom",
            clone(json!({ "appName": "storefront" })),
            "appName and cloneFrom exclude each other: keep appName to create a new backend, or cloneFrom to copy one",
        ),
        row(
            "AmplifyBackend: no appId",
            backend(json!({ "appId": null })),
            "spec.appId: Required value",
        ),
        row(
            "AmplifyBackend: cloneFrom with both its fields",
            clone(json!({ "cloneFrom": { "backendEnvironmentName": "staging" } })),
            "give exactly one of backendEnvironmentName (an environment of the same app, by name) and backendRef",
        ),
        row(
            "AmplifyBackend: cloneFrom with neither of its fields",
            clone(json!({ "cloneFrom": { "backendRef": null } })),
            "give exactly one of backendEnvironmentName (an environment of the same app, by name) and backendRef",
        ),
        row(
            "AmplifyBackend: cloneFrom an environment named ..",
            clone(json!({ "cloneFrom": { "backendRef": null, "backendEnvironmentName": ".." } })),
            NAME_RULE,
        ),
        row(
            "AmplifyBackend: a clone of its own environment",
            clone(json!({ "cloneFrom": { "backendRef": null, "backendEnvironmentName": "preview" } })),
            "cloneFrom.backendEnvironmentName is this backend's own environment: name the environment to copy",
        ),
        row(
            "AmplifyBackend: a clone of itself",
            of_itself,
            "cloneFrom.backendRef names this resource itself: name the AmplifyBackend to copy",
        ),
        row(
            "AmplifyBackend: a clone with resourceName",
            clone(json!({ "resourceName": "x" })),
            "resourceName and resourceConfig belong to CreateBackend: remove them from a clone",
        ),
        row(
            "AmplifyBackend: a region beside cloneFrom.backendRef",
            clone(json!({ "region": "eu-west-1" })),
            "region is inherited from cloneFrom.backendRef: remove region",
        ),
        row(
            "AmplifyBackend: a clone of a backend whose name is no name of an object",
            clone(json!({ "cloneFrom": { "backendRef": { "name": "a/b" } } })),
            OBJECT_RULE,
        ),
        row(
            "AmplifyBackend: a resourceName of ..",
            backend(json!({ "resourceName": ".." })),
            NAME_RULE,
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn refused_apis() -> Vec<Refused> {
    let mut rows = vec![
        row(
            "BackendApi: neither backendRef nor appId and backendEnvironmentName",
            backend_api(json!({ "backendRef": null })),
            "give backendRef (an AmplifyBackend in this namespace), or both appId and backendEnvironmentName",
        ),
        row(
            "BackendApi: an appId without backendEnvironmentName",
            named_api(json!({ "backendEnvironmentName": null })),
            "give backendRef (an AmplifyBackend in this namespace), or both appId and backendEnvironmentName",
        ),
        row(
            "BackendApi: backendRef beside appId",
            backend_api(json!({ "appId": "d0judged" })),
            "backendRef excludes appId and backendEnvironmentName: keep backendRef, or the pair",
        ),
        row(
            "BackendApi: a region beside backendRef",
            backend_api(json!({ "region": "eu-west-1" })),
            "region is inherited from backendRef: remove region",
        ),
        row(
            "BackendApi: a resourceName of ..",
            backend_api(json!({ "resourceName": ".." })),
            NAME_RULE,
        ),
        row(
            "BackendApi: transformSchema beside transformSchemaFrom",
            backend_api(json!({ "resourceConfig": {
                "transformSchema": "type A @model { id: ID! }",
                "transformSchemaFrom": { "configMapKeyRef": { "name": "schema", "key": "schema.graphql" } },
            }})),
            "transformSchema and transformSchemaFrom exclude each other: keep one",
        ),
        row(
            "BackendApi: transformSchemaFrom without a key",
            backend_api(
                json!({ "resourceConfig": { "transformSchemaFrom": { "configMapKeyRef": { "name": "schema" } } } }),
            ),
            "spec.resourceConfig.transformSchemaFrom.configMapKeyRef.key: Required value",
        ),
        row(
            "BackendApi: a backendRef that is no name of an object",
            backend_api(json!({ "backendRef": { "name": "Staging" } })),
            OBJECT_RULE,
        ),
        row(
            "BackendApi: an unknown authentication mode",
            backend_api(json!({ "resourceConfig": { "defaultAuthType": { "mode": "PASSWORD" } } })),
            r#"supported values: "API_KEY", "AWS_IAM", "AMAZON_COGNITO_USER_POOLS", "OPENID_CONNECT""#,
        ),
        row(
            "BackendApi: an unknown conflict resolution",
            backend_api(json!({ "resourceConfig": { "conflictResolution": { "resolutionStrategy": "COIN" } } })),
            r#"supported values: "OPTIMISTIC_CONCURRENCY", "LAMBDA", "AUTOMERGE", "NONE""#,
        ),
        row(
            "BackendApi: 51 additional authentication types",
            backend_api(json!({ "resourceConfig": { "additionalAuthTypes": vec![json!({ "mode": "AWS_IAM" }); 51] } })),
            "must have at most 50 items",
        ),
    ];
    let schema = |text: &str| backend_api(json!({ "resourceConfig": { "transformSchema": text } }));
    for text in ["", " \n", "# TODO\n", "\u{feff}# TODO", ", ,"] {
        rows.push(row(
            &format!("BackendApi: the transformSchema {text:?}"),
            schema(text),
            EMPTY_RULE,
        ));
    }
    rows.push(row(
        "BackendApi: a transformSchema above 512 KiB",
        schema(&"t".repeat(512 * 1024 + 1)),
        "spec.resourceConfig.transformSchema: Too long: may not be more than 524288",
    ));
    let from = |name: &str, key: &str| {
        backend_api(
            json!({ "resourceConfig": { "transformSchemaFrom": { "configMapKeyRef": { "name": name, "key": key } } } }),
        )
    };
    for name in ["?limit=1", "a/b", "..", "", "Schema", "a_b"] {
        rows.push(row(
            &format!("BackendApi: a schema from the ConfigMap {name:?}"),
            from(name, "schema"),
            OBJECT_RULE,
        ));
    }
    for key in ["..", ".", "..a", "a/b", "", "a b"] {
        rows.push(row(
            &format!("BackendApi: a schema from the key {key:?}"),
            from("schema", key),
            KEY_RULE,
        ));
    }
    rows
}

fn refused_environments() -> Vec<Refused> {
    vec![
        row(
            "BackendEnvironment: an empty stackName",
            environment(json!({ "stackName": "" })),
            "spec.stackName",
        ),
        row(
            "BackendEnvironment: a stackName of 256 characters",
            environment(json!({ "stackName": "x".repeat(256) })),
            "may not be more than 255",
        ),
        row(
            "BackendEnvironment: deploymentArtifacts of 1001 characters",
            environment(json!({ "deploymentArtifacts": "x".repeat(1001) })),
            "may not be more than 1000",
        ),
    ]
}

/// Returns manifests that are accepted.
fn accepted() -> Vec<(String, Value)> {
    let long = "x".repeat(255);
    let mut rows: Vec<(String, Value)> = [
        (
            "AmplifyBackend: a backendEnvironmentName and a resourceName of 255 characters",
            backend(json!({ "backendEnvironmentName": long, "resourceName": long, "resourceConfig": {} })),
        ),
        (
            "AmplifyBackend: a clone of an environment named with 255 characters",
            clone(
                json!({ "cloneFrom": { "backendRef": null, "backendEnvironmentName": long }, "region": "eu-west-1" }),
            ),
        ),
        (
            "BackendApi: names of 255 characters",
            named_api(json!({ "backendEnvironmentName": long, "resourceName": long, "region": "us-gov-west-1" })),
        ),
        (
            "BackendApi: a transformSchema of 512 KiB",
            backend_api(
                json!({ "resourceConfig": { "transformSchema": format!("type A{}", "#\n".repeat(256 * 1024 - 3)) } }),
            ),
        ),
        (
            "BackendApi: a transformSchema of 512 KiB that is nearly all comments",
            backend_api(
                json!({ "resourceConfig": { "transformSchema": format!("{}type A", "#\n".repeat(256 * 1024 - 3)) } }),
            ),
        ),
        (
            "BackendApi: a schema from a ConfigMap with the longest name and key",
            backend_api(json!({ "resourceConfig": { "transformSchemaFrom": {
                "configMapKeyRef": { "name": "x".repeat(253), "key": ".Schema_1".repeat(28) },
            } } })),
        ),
        (
            "BackendEnvironment: names of 255 and deploymentArtifacts of 1000 characters",
            environment(json!({ "environmentName": long, "stackName": long, "deploymentArtifacts": "x".repeat(1000) })),
        ),
        (
            "AmplifyBackend: adoptionPolicy IfExists with deletionPolicy",
            backend(json!({ "adoptionPolicy": "IfExists", "deletionPolicy": "Retain" })),
        ),
        (
            "AmplifyBackend: an appId of 20 characters",
            backend(json!({ "appId": "dabcdefghijklmnopqrs" })),
        ),
    ]
    .map(|(what, manifest)| (what.to_owned(), manifest))
    .into();
    for timeout in ["45s", "90m", "2h", "1h30m", "1h30m15s"] {
        rows.push((
            format!("AmplifyBackend: the jobTimeout {timeout:?}"),
            backend(json!({ "jobTimeout": timeout })),
        ));
    }
    rows
}

// ---- changes ----

/// A change of a stored object.
struct Change {
    what: String,
    before: Value,
    after: Value,
    /// The expected message; None: the change is accepted.
    said: Option<String>,
}

impl Change {
    fn judge(mut self, site: &Site) -> Result<()> {
        site.install_once()?;
        // A running operator ignores a suspended resource.
        self.before["spec"]["suspend"] = json!(true);
        let api = objects(site, &self.before)?;
        let stored = store(site, &api, &self.before, false).map_err(|message| anyhow!("before: {message}"))?;
        let name = stored.metadata.name.context("a stored object has a name")?;
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let replace = json!([{ "op": "replace", "path": "/spec", "value": self.after["spec"] }]);
        let patch = Patch::Json::<()>(serde_json::from_value(replace)?);
        let answer = reply(site.runtime.block_on(api.patch(&name, &params, &patch)));
        match self.said {
            Some(said) => is_refused(answer, &said),
            None => answer
                .map(drop)
                .map_err(|message| anyhow!("the change is refused: {message}")),
        }
    }
}

/// An optional immutable field: a good object with it, one with another value, and one without it.
struct Optional {
    field: &'static str,
    with: Value,
    /// None: no other value exists.
    changed: Option<Value>,
    without: Value,
}

fn optional_fields() -> Vec<Optional> {
    let optional = |field, with, changed, without| Optional {
        field,
        with,
        changed,
        without,
    };
    let artifacts = |name: &str| environment(json!({ "deploymentArtifacts": name }));
    vec![
        optional(
            "appName",
            backend(json!({})),
            Some(backend(json!({ "appName": "other" }))),
            clone(json!({ "backendEnvironmentName": "staging" })),
        ),
        optional(
            "resourceName",
            backend(json!({ "resourceName": "a" })),
            Some(backend(json!({ "resourceName": "b" }))),
            backend(json!({})),
        ),
        optional(
            "resourceConfig",
            backend(json!({ "resourceConfig": {} })),
            None,
            backend(json!({})),
        ),
        optional(
            "cloneFrom",
            clone(json!({})),
            Some(clone(
                json!({ "cloneFrom": { "backendRef": { "name": "production" } } }),
            )),
            backend(json!({ "backendEnvironmentName": "preview" })),
        ),
        optional(
            "backendRef",
            backend_api(json!({})),
            Some(backend_api(json!({ "backendRef": { "name": "production" } }))),
            named_api(json!({})),
        ),
        optional(
            "appId",
            named_api(json!({})),
            Some(named_api(json!({ "appId": "d0other" }))),
            backend_api(json!({})),
        ),
        optional(
            "backendEnvironmentName",
            named_api(json!({})),
            Some(named_api(json!({ "backendEnvironmentName": "production" }))),
            backend_api(json!({})),
        ),
        optional(
            "stackName",
            environment(json!({ "stackName": "a" })),
            Some(environment(json!({ "stackName": "b" }))),
            environment(json!({})),
        ),
        optional(
            "deploymentArtifacts",
            artifacts("a"),
            Some(artifacts("b")),
            environment(json!({})),
        ),
    ]
}

/// Returns the required immutable fields: a good object, and another value.
fn required_fields() -> [(&'static str, Value, &'static str); 5] {
    [
        ("appId", backend(json!({})), "d0other"),
        ("backendEnvironmentName", backend(json!({})), "other"),
        ("resourceName", backend_api(json!({})), "other"),
        ("appId", environment(json!({})), "d0other"),
        ("environmentName", environment(json!({})), "other"),
    ]
}

fn changes() -> Vec<Change> {
    let mut rows = Vec::new();
    let mut row = |what: String, before: &Value, after: Value, said: Option<String>| {
        rows.push(Change {
            what,
            before: before.clone(),
            after,
            said,
        });
    };
    for optional in optional_fields() {
        let Optional { field, with, .. } = optional;
        let kind = with["kind"].as_str().unwrap_or_default();
        let said = Some(format!("{field} is immutable, also adding or removing it"));
        if let Some(changed) = optional.changed {
            row(format!("{kind}: a changed {field}"), &with, changed, said.clone());
        }
        row(
            format!("{kind}: an added {field}"),
            &optional.without,
            with.clone(),
            said.clone(),
        );
        row(format!("{kind}: a removed {field}"), &with, optional.without, said);
    }
    for (field, good, other) in required_fields() {
        let kind = good["kind"].as_str().unwrap_or_default();
        let mut after = good.clone();
        after["spec"][field] = json!(other);
        let said = format!("{field} is immutable: delete this resource, which deletes the AWS object unless");
        row(format!("{kind}: a changed {field}"), &good, after.clone(), Some(said));
        json_patch::merge(&mut after, &json!({ "spec": { field: null } }));
        let said = format!("spec.{field}: Required value");
        row(format!("{kind}: a removed {field}"), &good, after, Some(said));
    }
    row(
        "AmplifyBackend: a cloneFrom that names the same backend in the other way".to_owned(),
        &clone(json!({})),
        clone(json!({ "cloneFrom": { "backendRef": null, "backendEnvironmentName": "staging" } })),
        Some("cloneFrom is immutable, also adding or removing it".to_owned()),
    );
    row(
        "AmplifyBackend: a change of policies, suspend and jobTimeout".to_owned(),
        &backend(json!({})),
        backend(json!({ "deletionPolicy": "Retain", "adoptionPolicy": "IfExists", "jobTimeout": "3h" })),
        None,
    );
    row(
        "BackendApi: a changed resourceConfig".to_owned(),
        &backend_api(json!({})),
        backend_api(json!({ "resourceConfig": { "transformSchema": "type A @model { id: ID! }", "apiName": null } })),
        None,
    );
    row(
        "BackendEnvironment: a removed deletionPolicy".to_owned(),
        &environment(json!({ "deletionPolicy": "Retain" })),
        environment(json!({})),
        None,
    );
    rows
}

// ---- the judge ----

fn objects(site: &Site, manifest: &Value) -> Result<Api<DynamicObject>> {
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let names = api::crds().into_iter().map(|crd| crd.spec.names);
    let names = names.into_iter().find(|names| names.kind == kind);
    let resource = ApiResource {
        group: api::GROUP.to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: format!("{}/v1alpha1", api::GROUP),
        kind: kind.to_owned(),
        plural: names.with_context(|| format!("no kind {kind:?}"))?.plural,
    };
    Ok(Api::namespaced_with(site.client.clone(), MANIFESTS, &resource))
}

/// Returns the API server's answer: the object, or the message.
fn reply(result: kube::Result<DynamicObject>) -> Result<DynamicObject, String> {
    result.map_err(|error| match error {
        kube::Error::Api(status) => status.message.clone(),
        error => format!("no answer: {error}"),
    })
}

fn store(site: &Site, api: &Api<DynamicObject>, manifest: &Value, dry_run: bool) -> Result<DynamicObject, String> {
    let object = serde_json::from_value(manifest.clone()).map_err(|error| error.to_string())?;
    let params = PostParams {
        dry_run,
        ..PostParams::default()
    };
    reply(site.runtime.block_on(api.create(&params, &object)))
}

fn create(site: &Site, manifest: &Value) -> Result<DynamicObject, String> {
    site.install_once().map_err(|error| format!("{error:#}"))?;
    let api = objects(site, manifest).map_err(|error| error.to_string())?;
    store(site, &api, manifest, true)
}

fn is_refused(answer: Result<DynamicObject, String>, said: &str) -> Result<()> {
    match answer {
        Ok(object) => bail!("the API server accepts it: {}", object.data),
        Err(message) => ensure!(
            message.contains(said),
            "the API server says\n  {message}\nand not\n  {said}"
        ),
    }
    Ok(())
}

/// No message is a bare regular expression.
fn no_field_answers_with_a_pattern(_: &Site) -> Result<()> {
    let mut bare = Vec::new();
    for (kind, spec) in specs()? {
        visit(&kind, &spec, &mut |path, schema| {
            bare.extend(schema.pattern.as_ref().map(|pattern| format!("{path}: {pattern}")));
            for rule in schema.x_kubernetes_validations.iter().flatten() {
                bare.extend(rule.message.is_none().then(|| format!("{path}: {}", rule.rule)));
            }
        });
    }
    ensure!(bare.is_empty(), "a person is told no sentence by {bare:#?}");
    Ok(())
}

/// Everything that a tenant writes has a limit, because the operator holds it in memory.
fn everything_that_people_write_is_bounded(_: &Site) -> Result<()> {
    let mut unbounded = Vec::new();
    for (kind, spec) in specs()? {
        visit(&kind, &spec, &mut |path, schema| {
            let is_bounded = match schema.type_.as_deref() {
                Some("string") => schema.max_length.is_some() || schema.enum_.is_some(),
                Some("array") => schema.max_items.is_some(),
                Some("object") => schema.additional_properties.is_none(),
                _ => true,
            };
            if !is_bounded {
                unbounded.push(path.to_owned());
            }
        });
    }
    ensure!(unbounded.is_empty(), "{unbounded:#?}");
    Ok(())
}

/// `kubectl explain` is read without context, so each optional field says what it means when unset.
fn every_optional_field_says_what_unset_means(_: &Site) -> Result<()> {
    let mut silent = Vec::new();
    for (kind, spec) in specs()? {
        visit(&kind, &spec, &mut |path, schema| {
            let required = schema.required.as_deref().unwrap_or_default();
            for (name, field) in schema.properties.iter().flatten() {
                let says = field.description.as_deref().unwrap_or_default();
                // The settings of a mode share one sentence about this.
                let is_told = says.contains("Unset: ") || field.default.is_some() || path.ends_with(".settings");
                if !required.contains(name) && !is_told {
                    silent.push(format!("{path}.{name}: {says}"));
                }
            }
        });
    }
    ensure!(silent.is_empty(), "{silent:#?}");
    Ok(())
}

/// Returns the schema of each kind's spec, with the kind's name.
fn specs() -> Result<Vec<(String, JSONSchemaProps)>> {
    let specs = api::crds().into_iter().map(|crd| {
        let version = crd.spec.versions.into_iter().next();
        let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
        let spec = schema.and_then(|schema| schema.properties?.remove("spec"));
        Ok((crd.spec.names.kind, spec.context("a spec")?))
    });
    specs.collect()
}

fn visit(path: &str, schema: &JSONSchemaProps, look: &mut impl FnMut(&str, &JSONSchemaProps)) {
    look(path, schema);
    for (name, field) in schema.properties.iter().flatten() {
        visit(&format!("{path}.{name}"), field, look);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        visit(&format!("{path}[]"), items, look);
    }
}

// ---- the rest ----

fn the_samples_are_accepted(site: &Site) -> Result<()> {
    site.install_once()?;
    let apply = [
        "apply",
        "--dry-run=server",
        "--namespace",
        MANIFESTS,
        "-f",
        "deploy/samples",
    ];
    let (applied, warnings) = site.kubectl_with_warnings(&apply)?;
    for kind in ["amplifybackend", "backendapi", "backendenvironment"] {
        let kind = format!("{kind}.amplify-operator.dev/");
        ensure!(applied.contains(&kind), "no {kind} among the samples:\n{applied}");
    }
    ensure!(warnings.is_empty(), "{warnings}");
    Ok(())
}

fn a_new_object_has_not_been_observed(site: &Site) -> Result<()> {
    for manifest in [backend(json!({})), backend_api(json!({})), environment(json!({}))] {
        let created = create(site, &manifest).map_err(anyhow::Error::msg)?;
        assert_eq!(
            created.data["status"],
            json!({ "observedGeneration": -1 }),
            "without it, kstatus takes a new {} for Current",
            manifest["kind"]
        );
        assert_eq!(created.data["spec"]["adoptionPolicy"], "Never");
        assert_eq!(created.data["spec"]["deletionPolicy"], Value::Null);
    }
    Ok(())
}

fn a_misspelt_field_is_refused_by_kubectl(site: &Site) -> Result<()> {
    site.install_once()?;
    let mut object = backend(json!({ "deletePolicy": "Retain" }));
    object["metadata"] = json!({ "name": "misspelt" });
    let file = site.dir().join("misspelt.json");
    std::fs::write(&file, object.to_string())?;
    let file = file.display().to_string();
    let apply = ["apply", "--dry-run=server", "--namespace", MANIFESTS, "-f", &file];
    let Err(error) = site.kubectl(&apply) else {
        bail!("kubectl takes spec.deletePolicy");
    };
    let said = r#"unknown field "spec.deletePolicy""#;
    ensure!(error.to_string().contains(said), "not {said} but {error:#}");
    Ok(())
}

fn kubectl_explains_the_fields(site: &Site) -> Result<()> {
    site.install_once()?;
    for (field, said) in [
        ("amplifybackend", "CloneBackend"),
        ("amplifybackend.spec.cloneFrom", "CloneBackend"),
        ("ab.spec.appId", "Immutable"),
        (
            "ab.spec.deletionPolicy",
            "Unset: a backend that this resource created is deleted",
        ),
        (
            "bapi.spec.deletionPolicy",
            "Unset: an API that this resource created is deleted",
        ),
        (
            "benv.spec.deletionPolicy",
            "Unset: a record that this resource created is deleted",
        ),
        ("bapi.spec.resourceConfig.transformSchemaFrom", "ConfigMap"),
        (
            "bapi.spec.resourceConfig.defaultAuthType.mode",
            "AMAZON_COGNITO_USER_POOLS",
        ),
        ("benv.spec.deploymentArtifacts", "deployment artifacts"),
        ("benv.status.job.attempt", "never resets"),
    ] {
        let text = site.kubectl(&["explain", field])?;
        // Undoes the line wrapping of the terminal output.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(
            text.contains(said),
            "kubectl explain {field} does not say {said:?}: {text}"
        );
    }
    Ok(())
}

fn every_field_is_described(_: &Site) -> Result<()> {
    let mut bare = Vec::new();
    for crd in api::crds() {
        for version in crd.spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            let schema = schema.context("a definition has a schema")?;
            undescribed(&crd.spec.names.kind, &schema, &mut bare);
        }
    }
    ensure!(bare.is_empty(), "kubectl explain has nothing to say of {bare:#?}");
    Ok(())
}

fn undescribed(path: &str, schema: &JSONSchemaProps, bare: &mut Vec<String>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if field.description.as_deref().is_none_or(str::is_empty) {
            bare.push(path.clone());
        }
        undescribed(&path, field, bare);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        undescribed(path, items, bare);
    }
}
