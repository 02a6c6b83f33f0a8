//! The served resources: their names, the properties of each, and the conversion of a body into an object. Pure.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use amplify_operator::api;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace},
    events::v1::Event,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{refusal::Refusal, schema::Schema};

/// The position of a resource in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResourceId(usize);

/// One resource, such as `amplifybackends`.
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// Whether a PUT without a resourceVersion replaces any version.
    pub(crate) unconditional_update: bool,
    /// Whether a PUT creates a missing object.
    pub(crate) create_on_update: bool,
    /// How long an object is kept after its last write.
    pub(crate) kept: Option<Duration>,
    pub(crate) served: Served,
    form: Form,
}

/// Whether a resource is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Yes,
    /// The definition is being deleted and waits for the last object.
    Ending,
    No,
}

/// The source of an object's form.
enum Form {
    /// The schema of a definition, with the status subresource.
    Custom(Arc<Schema>),
    /// A type: decodes an object and encodes it again.
    Typed(fn(Value) -> Result<Value, String>),
}

impl Resource {
    /// Whether this is a custom resource, with a status subresource and a generation.
    pub(crate) const fn is_custom(&self) -> bool {
        matches!(self.form, Form::Custom(_))
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the name of the resource in errors.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Parses an object from a request. Its kind must be this resource's.
    pub(crate) fn read(&self, body: &[u8]) -> Result<Value, Refusal> {
        let mut object: Value =
            serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("not JSON: {error}")))?;
        if !object.is_object() {
            return Err(Refusal::bad_request("not an object".to_owned()));
        }
        for (field, expected) in [("apiVersion", self.api_version()), ("kind", self.kind.clone())] {
            match object.get(field) {
                None if !self.is_custom() => object[field] = Value::from(expected),
                Some(said) if *said == expected.as_str() => {}
                // The real server treats this as an error in a field of the object.
                Some(Value::String(_)) if field == "kind" && self.is_custom() => {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    return Err(Refusal::invalid(&self.kind, name, "kind: Invalid value"));
                }
                said => {
                    return Err(Refusal::bad_request(format!(
                        "{field} is {said:?} and not the expected {expected}"
                    )));
                }
            }
        }
        self.formed(object)
    }

    /// Brings the object into its form: drops unknown fields and fills in defaults.
    pub(crate) fn formed(&self, mut object: Value) -> Result<Value, Refusal> {
        form_metadata(&mut object)?;
        match &self.form {
            Form::Custom(schema) => {
                schema.form(&mut object);
                Ok(object)
            }
            Form::Typed(form) => {
                for field in MICRO_TIMES {
                    let text = object.pointer(field).and_then(Value::as_str);
                    if text.is_some_and(|text| !is_micro_time(text)) {
                        return Err(Refusal::bad_request(format!("{field} is no time in microseconds")));
                    }
                }
                let mut formed = form(object).map_err(Refusal::bad_request)?;
                drop_empty(&mut formed, &["data", "binaryData"]);
                form_metadata(&mut formed)?;
                Ok(formed)
            }
        }
    }

    /// Fills in the defaults, as a read from storage does.
    pub(crate) fn fill(&self, object: &mut Value) {
        if let Form::Custom(schema) = &self.form {
            schema.form(object);
        }
    }

    /// Returns the errors of an object. `old`: its former version.
    pub(crate) fn problems(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        match &self.form {
            Form::Custom(schema) => schema.problems(object, old),
            Form::Typed(_) => typed_problems(&self.kind, object, old),
        }
    }
}

/// The parts of a definition.
struct Defined {
    version: String,
    plural: String,
    kind: String,
    schema: Arc<Schema>,
}

/// The project's own definitions, read once for all clusters of a run.
static DEFINED: LazyLock<Vec<Defined>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for crd in api::crds() {
        for version in crd.spec.versions {
            let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
            let schema = serde_json::to_value(schema).expect("a schema is JSON");
            all.push(Defined {
                version: version.name,
                plural: crd.spec.names.plural.clone(),
                kind: crd.spec.names.kind.clone(),
                schema: Arc::new(Schema::new(&schema)),
            });
        }
    }
    all
});

/// All resources, by their ids.
pub(crate) struct Table(Vec<Resource>);

impl Table {
    pub(crate) fn new() -> Self {
        let mut all = vec![
            typed::<Namespace>("", "v1", "namespaces", "Namespace"),
            typed::<ConfigMap>("", "v1", "configmaps", "ConfigMap"),
            Resource {
                kept: Some(Duration::from_hours(1)),
                create_on_update: true,
                ..typed::<Event>("events.k8s.io", "v1", "events", "Event")
            },
            Resource {
                unconditional_update: false,
                create_on_update: true,
                ..typed::<Lease>("coordination.k8s.io", "v1", "leases", "Lease")
            },
        ];
        if let Some(namespaces) = all.first_mut() {
            namespaces.namespaced = false;
        }
        all.extend(DEFINED.iter().map(|defined| Resource {
            group: api::GROUP.to_owned(),
            version: defined.version.clone(),
            plural: defined.plural.clone(),
            kind: defined.kind.clone(),
            namespaced: true,
            unconditional_update: false,
            create_on_update: false,
            kept: None,
            served: Served::Yes,
            form: Form::Custom(defined.schema.clone()),
        }));
        Self(all)
    }

    pub(crate) fn get(&self, id: ResourceId) -> &Resource {
        &self.0[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: ResourceId) -> &mut Resource {
        &mut self.0[id.0]
    }

    /// Returns the resource of this group, version and plural.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<ResourceId> {
        let is = |it: &Resource| it.group == group && it.version == version && it.plural == plural;
        self.0.iter().position(is).map(ResourceId)
    }

    /// Returns the resource of this plural. No two resources share one.
    pub(crate) fn plural(&self, plural: &str) -> Option<ResourceId> {
        self.0.iter().position(|it| it.plural == plural).map(ResourceId)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ResourceId> + use<> {
        (0..self.0.len()).map(ResourceId)
    }
}

fn typed<T: Serialize + DeserializeOwned>(group: &str, version: &str, plural: &str, kind: &str) -> Resource {
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        kind: kind.to_owned(),
        namespaced: true,
        unconditional_update: true,
        create_on_update: false,
        kept: None,
        served: Served::Yes,
        form: Form::Typed(|object| {
            let typed: T = serde_json::from_value(object).map_err(|error| error.to_string())?;
            serde_json::to_value(typed).map_err(|error| error.to_string())
        }),
    }
}

/// The fields of metadata that are kept, and whether an empty value of each counts as absent.
const METADATA: [(&str, bool); 13] = [
    ("annotations", true),
    ("creationTimestamp", false),
    ("deletionGracePeriodSeconds", false),
    ("deletionTimestamp", false),
    ("finalizers", true),
    ("generateName", true),
    ("generation", false),
    ("labels", true),
    ("name", true),
    ("namespace", true),
    ("ownerReferences", true),
    ("resourceVersion", true),
    ("uid", true),
];

/// Keeps the known fields of metadata, without managedFields.
fn form_metadata(object: &mut Value) -> Result<(), Refusal> {
    let wrong = |what: &str| Refusal::bad_request(format!("metadata{what} has the wrong type"));
    let Some(object) = object.as_object_mut() else {
        return Err(wrong(""));
    };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    let Some(metadata) = metadata.as_object_mut() else {
        return Err(wrong(""));
    };
    metadata.retain(|field, value| {
        let known = METADATA.iter().find(|(name, _)| name == field);
        known.is_some_and(|(_, empty_is_none)| !(value.is_null() || *empty_is_none && is_empty(value)))
    });
    for (field, value) in metadata {
        let fits = match field.as_str() {
            "annotations" | "labels" => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
            "finalizers" => value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
            "generation" | "deletionGracePeriodSeconds" => value.is_i64(),
            "ownerReferences" => value.is_array(),
            _ => value.is_string(),
        };
        if !fits {
            return Err(wrong(&format!(".{field}")));
        }
    }
    Ok(())
}

/// The fields with a time in microseconds.
const MICRO_TIMES: [&str; 4] = [
    "/spec/acquireTime",
    "/spec/renewTime",
    "/eventTime",
    "/series/lastObservedTime",
];

/// Whether the text has the six digits that the real server requires.
fn is_micro_time(text: &str) -> bool {
    let (_, fraction) = text.split_once('.').unwrap_or_default();
    fraction.chars().take_while(char::is_ascii_digit).count() == 6
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn drop_empty(object: &mut Value, fields: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        object.retain(|field, value| !(fields.contains(&field.as_str()) && is_empty(value)));
    }
}

/// Returns the violations of the types' rules that the operator could break.
fn typed_problems(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut problems = Vec::new();
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    match kind {
        "Lease" => {
            for (field, least) in [("leaseDurationSeconds", 1), ("leaseTransitions", 0)] {
                let number = object.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
                if number.is_some_and(|number| number < least) {
                    problems.push(format!("spec.{field} must be at least {least}"));
                }
            }
        }
        "Event" => {
            if text("/note").is_some_and(|note| note.len() > 1024) {
                problems.push("note may have 1024 bytes".to_owned());
            }
            for field in ["reportingController", "reportingInstance", "action", "reason"] {
                match text(&format!("/{field}")) {
                    None | Some("") => problems.push(format!("{field} is required")),
                    Some(said) if said.len() > 128 => problems.push(format!("{field} may have 128 bytes")),
                    Some(_) => {}
                }
            }
            if !matches!(text("/type"), Some("Normal" | "Warning")) {
                problems.push("type must be Normal or Warning".to_owned());
            }
            if text("/eventTime").is_none() {
                problems.push("eventTime is required".to_owned());
            }
            // All fields except the series and metadata.
            for field in [
                "note",
                "reason",
                "action",
                "type",
                "regarding",
                "reportingController",
                "eventTime",
            ] {
                if old.is_some_and(|old| old.get(field) != object.get(field)) {
                    problems.push(format!("{field} is immutable"));
                }
            }
        }
        "ConfigMap" => {
            let maps = ["data", "binaryData"].map(|field| object.get(field).and_then(Value::as_object));
            for key in maps.into_iter().flatten().flat_map(Map::keys) {
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if key.is_empty() || key.len() > 253 || !key.chars().all(fits) || key == "." || key.starts_with("..") {
                    problems.push(format!("{key:?} is no key"));
                }
            }
        }
        _ => {}
    }
    problems
}
