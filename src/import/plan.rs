//! Makes resources from the inventory. Pure.
//!
//! Each environment becomes an `AmplifyBackend` or a `BackendEnvironment`, never both: they describe one AWS object.
//! The region is always explicit, in the manifest itself or in the backend that it refers to. Otherwise an operator in
//! another region would find nothing and create the object there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    names,
    schema::{Refusal, Schemas},
};
use crate::{
    api::{
        AdoptionPolicy, DeletionPolicy, KindName, ManagementPolicy, ResourceConfig, backend_api::AuthType,
        rules::MAX_SCHEMA_BYTES,
    },
    inventory::{Answer, App, Backend, Environment, Inventory},
    kinds::{
        backend_environment::Record,
        backend_storage::{Shown, Storage},
    },
};

/// From this size on, `kubectl apply` needs --server-side: the annotation of the client-side apply is limited to 256
/// KiB.
const MAX_APPLIED_BYTES: usize = 200_000;

/// A resource to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    pub(super) kind: KindName,
    /// Its name in Kubernetes.
    pub(super) name: String,
    pub(super) spec: Value,
}

/// One part of the output.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// A resource, with notes for the user.
    Manifest { resource: Resource, notes: Vec<String> },
    /// A resource that the definitions refuse, and why.
    Refused { resource: Resource, why: String },
    /// Existing objects about which AWS gave too little information. The next run may include them.
    Unanswered(String),
    /// A remark about an object for which no manifest can be made.
    Remark(String),
}

/// Returns the parts of the output, in order: by app id, environment, resource name. With `manage`, the manifests
/// take the objects over. Otherwise they only observe.
pub(super) fn plan(inventory: &Inventory, manage: bool) -> Vec<Part> {
    let names = Names::of(inventory);
    let schemas = Schemas::new();
    let mut parts = Vec::new();
    for (app_id, app) in &inventory.apps {
        let planner = Planner {
            region: &inventory.region,
            app_id,
            app,
            names: &names,
            schemas: &schemas,
            manage,
        };
        match &app.environments {
            Answer::There(environments) => {
                for (name, environment) in environments {
                    planner.environment(name, environment, &mut parts);
                }
            }
            Answer::Absent => parts.push(Part::Remark(format!("App {app_id:?} no longer exists."))),
            Answer::Unknown(why) => parts.push(Part::Unanswered(format!(
                "The environments of app {app_id:?} are not known: {why}"
            ))),
        }
    }
    parts
}

/// The Kubernetes names of all resources, by kind and identity.
struct Names(BTreeMap<KindName, BTreeMap<String, String>>);

impl Names {
    fn of(inventory: &Inventory) -> Self {
        let mut wanted: BTreeMap<KindName, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        let mut want = |kind, identity: &[&str], app: &App| {
            let parts = std::iter::once(app.name.as_str()).chain(identity[1..].iter().copied());
            let parts = parts.map(str::to_owned).collect();
            wanted.entry(kind).or_default().insert(identity_of(identity), parts);
        };
        for (id, app) in &inventory.apps {
            let Answer::There(environments) = &app.environments else {
                continue;
            };
            for (name, environment) in environments {
                match &environment.backend {
                    Answer::There(backend) => {
                        want(KindName::AmplifyBackend, &[id, name], app);
                        for resource in backend.apis.iter().flat_map(|apis| apis.keys()) {
                            want(KindName::BackendApi, &[id, name, resource], app);
                        }
                        if let Ok(Some((resource, _))) = &backend.storage {
                            want(KindName::BackendStorage, &[id, name, resource], app);
                        }
                    }
                    Answer::Absent | Answer::Unknown(_) => want(KindName::BackendEnvironment, &[id, name], app),
                }
            }
        }
        Self(
            wanted
                .into_iter()
                .map(|(kind, wanted)| (kind, names::unique(&wanted)))
                .collect(),
        )
    }

    fn get(&self, kind: KindName, identity: &[&str]) -> String {
        let name = self.0.get(&kind).and_then(|names| names.get(&identity_of(identity)));
        name.cloned().unwrap_or_default()
    }
}

/// Joins the parts into an identity. JSON keeps them apart: AWS's names may contain any character.
fn identity_of(parts: &[&str]) -> String {
    json!(parts).to_string()
}

/// The inputs from which the parts of one app are made.
struct Planner<'a> {
    region: &'a str,
    app_id: &'a str,
    app: &'a App,
    names: &'a Names,
    schemas: &'a Schemas,
    /// Whether the manifests take the objects over. Otherwise they only observe.
    manage: bool,
}

impl Planner<'_> {
    fn environment(&self, name: &str, environment: &Environment, parts: &mut Vec<Part>) {
        match (&environment.backend, &environment.record) {
            (Answer::There(backend), _) => self.backend(name, backend, parts),
            (Answer::Absent, Some(record)) => parts.push(self.record(name, record)),
            (Answer::Absent, None) => parts.push(Part::Remark(format!(
                "GetBackend lists environment {name:?} of app {:?}, but shows no such backend, and there is no record of it.",
                self.app_id
            ))),
            (Answer::Unknown(why), record) => {
                // A record alone does not show whether there is a backend. A refused name can be neither.
                let resource = self.environment_resource(name, record.as_ref());
                parts.push(match self.judged(resource, Vec::new()) {
                    refused @ Part::Refused { .. } => refused,
                    _ => Part::Unanswered(format!(
                        "Whether environment {name:?} of app {:?} has a backend is not known: {why}",
                        self.app_id
                    )),
                });
            }
        }
    }

    fn backend(&self, name: &str, backend: &Backend, parts: &mut Vec<Part>) {
        let mut notes = Vec::new();
        if let Err(why) = &backend.apis {
            notes.push(format!(
                "Which GraphQL APIs this backend has is not known: {why}. For each, write a BackendApi with \
                 adoptionPolicy: IfExists and deletionPolicy: Retain, or leave it alone."
            ));
        }
        if let Err(why) = &backend.storage {
            notes.push(format!(
                "Whether this backend has a storage is not known: {why}. If it has, write a BackendStorage with \
                 adoptionPolicy: IfExists and deletionPolicy: Retain, or leave it alone."
            ));
        }
        let app_name = backend.app_name.as_deref().unwrap_or(&self.app.name);
        let resource = Resource {
            kind: KindName::AmplifyBackend,
            name: self.names.get(KindName::AmplifyBackend, &[self.app_id, name]),
            spec: with_policies(
                json!({
                    "appId": self.app_id,
                    "backendEnvironmentName": name,
                    "appName": app_name,
                    "region": self.region,
                }),
                self.manage,
            ),
        };
        let own_name = resource.name.clone();
        let part = self.judged(resource, notes);
        let reference = matches!(part, Part::Manifest { .. }).then_some(own_name);
        parts.push(part);
        for (api, answer) in backend.apis.iter().flatten() {
            parts.push(self.api(name, reference.as_deref(), api, answer));
        }
        if let Ok(Some((storage, answer))) = &backend.storage {
            parts.push(self.storage(name, reference.as_deref(), storage, answer));
        }
    }

    /// Returns the part of a spec that names the backend of an object.
    fn target(&self, environment: &str, backend: Option<&str>) -> Value {
        match backend {
            Some(backend) => json!({ "backendRef": { "name": backend } }),
            None => json!({
                "appId": self.app_id, "backendEnvironmentName": environment, "region": self.region,
            }),
        }
    }

    fn storage(&self, environment: &str, backend: Option<&str>, name: &str, answer: &Answer<Storage>) -> Part {
        let mut spec = with_policies(self.target(environment, backend), self.manage);
        match answer {
            Answer::Absent => {
                return Part::Remark(format!(
                    "AWS's metadata of environment {environment:?} of app {:?} names the storage {name:?}, which GetBackendStorage does not know.",
                    self.app_id
                ));
            }
            Answer::There(storage) if storage.is_imported => match &storage.bucket {
                Some(bucket) => spec["import"] = json!({ "bucketName": bucket }),
                None => {
                    return Part::Unanswered(format!(
                        "Storage {name:?} of environment {environment:?} of app {:?} is imported, and AWS does not name its bucket",
                        self.app_id
                    ));
                }
            },
            Answer::There(storage) => {
                let Some(permissions) = permissions(storage) else {
                    return Part::Unanswered(format!(
                        "Storage {name:?} of environment {environment:?} of app {:?}: AWS's answer does not show all permissions, or uses words that this version does not know",
                        self.app_id
                    ));
                };
                spec["resourceName"] = json!(name);
                spec["resourceConfig"] = json!({ "permissions": permissions });
            }
            // The port refuses some names, and the schema refuses them here too. Otherwise AWS gave no answer.
            Answer::Unknown(_) => spec["resourceName"] = json!(name),
        }
        let resource = Resource {
            kind: KindName::BackendStorage,
            name: self
                .names
                .get(KindName::BackendStorage, &[self.app_id, environment, name]),
            spec,
        };
        match (self.judged(resource, Vec::new()), answer) {
            (Part::Manifest { .. }, Answer::Unknown(why)) => Part::Unanswered(format!(
                "Storage {name:?} of environment {environment:?} of app {:?} is not known: {why}",
                self.app_id
            )),
            (part, _) => part,
        }
    }

    fn api(&self, environment: &str, backend: Option<&str>, name: &str, answer: &Answer<ResourceConfig>) -> Part {
        let mut notes = Vec::new();
        let config = match answer {
            Answer::There(config) => known(config, &mut notes),
            Answer::Absent => {
                return Part::Remark(format!(
                    "AWS's metadata of environment {environment:?} of app {:?} names the GraphQL API {name:?}, which GetBackendAPI does not know.",
                    self.app_id
                ));
            }
            // The port refuses some names, and the schema refuses them here too. Otherwise AWS gave no answer.
            Answer::Unknown(_) => ResourceConfig::default(),
        };
        let mut spec = with_policies(self.target(environment, backend), self.manage);
        spec["resourceName"] = json!(name);
        spec["resourceConfig"] = json!(config);
        let resource = Resource {
            kind: KindName::BackendApi,
            name: self.names.get(KindName::BackendApi, &[self.app_id, environment, name]),
            spec,
        };
        match (self.judged(resource, notes), answer) {
            (Part::Manifest { .. }, Answer::Unknown(why)) => Part::Unanswered(format!(
                "GraphQL API {name:?} of environment {environment:?} of app {:?} is not known: {why}",
                self.app_id
            )),
            (part, _) => part,
        }
    }

    fn record(&self, name: &str, record: &Record) -> Part {
        let mut notes = Vec::new();
        for (field, value) in [
            ("stackName", &record.stack_name),
            ("deploymentArtifacts", &record.deployment_artifacts),
        ] {
            if value.is_none() {
                notes.push(format!("AWS's answer has no {field}."));
            }
        }
        self.judged(self.environment_resource(name, Some(record)), notes)
    }

    fn environment_resource(&self, name: &str, record: Option<&Record>) -> Resource {
        let mut spec = with_policies(
            json!({ "appId": self.app_id, "environmentName": name, "region": self.region }),
            self.manage,
        );
        let stack_name = record.and_then(|record| record.stack_name.as_ref());
        let artifacts = record.and_then(|record| record.deployment_artifacts.as_ref());
        for (field, value) in [("stackName", stack_name), ("deploymentArtifacts", artifacts)] {
            if let Some(value) = value {
                spec[field] = json!(value);
            }
        }
        Resource {
            kind: KindName::BackendEnvironment,
            name: self.names.get(KindName::BackendEnvironment, &[self.app_id, name]),
            spec,
        }
    }

    /// Makes a manifest, without the optional fields that the definition refuses. Refuses it if another field is
    /// refused.
    fn judged(&self, mut resource: Resource, mut notes: Vec<String>) -> Part {
        let refusals = self.schemas.refusals(resource.kind.name(), &resource.spec);
        let (optional, fatal): (Vec<Refusal>, Vec<Refusal>) =
            refusals.into_iter().partition(|refusal| is_optional(&refusal.path));
        if !fatal.is_empty() {
            let why: Vec<_> = fatal
                .iter()
                .map(|refusal| format!("spec.{} {}", refusal.path.join("."), refusal.why))
                .collect();
            return Part::Refused {
                resource,
                why: why.join("; "),
            };
        }
        for refusal in optional {
            notes.push(format!("Left out: spec.{} {}.", refusal.path.join("."), refusal.why));
            let (holder, field) = match refusal.path.as_slice() {
                [first, second, ..] => (resource.spec.get_mut(first), second),
                [first] => (Some(&mut resource.spec), first),
                [] => continue,
            };
            if let Some(Value::Object(fields)) = holder {
                fields.remove(field);
            }
        }
        Part::Manifest { resource, notes }
    }
}

/// Whether the field can be left out. Fields that are left out are not managed.
fn is_optional(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(
        path.as_slice(),
        ["stackName" | "deploymentArtifacts"] | ["resourceConfig", _, ..]
    )
}

/// Returns the part of AWS's answer that can be sent back to AWS. Adds notes about the rest.
fn known(config: &ResourceConfig, notes: &mut Vec<String>) -> ResourceConfig {
    let mut known = config.clone();
    match &config.transform_schema {
        None => notes.push(
            "AWS's answer has no transformSchema. Add it, or transformSchemaFrom, before you apply this for the first \
             time: then nothing is sent. Adding it later is an edit, which runs UpdateBackendAPI."
                .to_owned(),
        ),
        Some(schema) if schema.len() > MAX_SCHEMA_BYTES as usize => {
            notes.push(format!(
                "Left out: transformSchema has {} bytes, and a BackendApi takes at most {MAX_SCHEMA_BYTES} (512 KiB).",
                schema.len()
            ));
            known.transform_schema = None;
        }
        Some(schema) if schema.len() > MAX_APPLIED_BYTES => {
            notes.push(
                "Apply this with kubectl apply --server-side: it is too long for kubectl's own annotation.".to_owned(),
            );
        }
        Some(_) => {}
    }
    let is_unknown = |auth: &AuthType| auth.mode.is_none();
    if config.default_auth_type.as_ref().is_some_and(is_unknown) {
        notes.push("Left out: defaultAuthType, whose mode AWS does not name or this version does not know.".to_owned());
        known.default_auth_type = None;
    }
    if config.additional_auth_types.iter().flatten().any(is_unknown) {
        notes.push(
            "Left out: additionalAuthTypes, one of whose modes AWS does not name or this version does not know."
                .to_owned(),
        );
        known.additional_auth_types = None;
    }
    let strategy = config
        .conflict_resolution
        .as_ref()
        .map(|resolution| resolution.resolution_strategy);
    if strategy == Some(None) {
        notes.push(
            "Left out: conflictResolution, whose resolutionStrategy AWS does not name or this version does not know."
                .to_owned(),
        );
        known.conflict_resolution = None;
    }
    let runs_down = known
        .default_auth_type
        .iter()
        .chain(known.additional_auth_types.iter().flatten())
        .any(|auth| {
            auth.settings
                .as_ref()
                .is_some_and(|settings| settings.expiration_time.is_some())
        });
    if runs_down {
        notes.push(
            "expirationTime is today's value in AWS. It is sent with the next edit and never compared.".to_owned(),
        );
    }
    known
}

/// Returns the permissions if AWS returned all of them: each update replaces all.
fn permissions(storage: &Storage) -> Option<Value> {
    let Shown {
        authenticated,
        un_authenticated,
    } = &storage.permissions;
    Some(json!({ "authenticated": authenticated.as_ref()?, "unAuthenticated": un_authenticated.as_ref()? }))
}

/// Adds the policies: observe the object or take it over, and keep it when the resource is deleted.
fn with_policies(mut spec: Value, manage: bool) -> Value {
    if !manage {
        spec["managementPolicy"] = json!(ManagementPolicy::Observe);
    }
    spec["adoptionPolicy"] = json!(AdoptionPolicy::IfExists);
    spec["deletionPolicy"] = json!(DeletionPolicy::Retain);
    spec
}
