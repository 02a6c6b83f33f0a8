//! One of the two servers: sends the steps of a sequence to it, and makes the answers comparable.

use std::{collections::BTreeMap, fmt, time::Duration};

use http::Request;
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::objects::{known, set, valid};

/// The longest wait for an answer. Both servers answer at once, except about versions in the future.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request with placeholders for values from earlier answers: `$rv`, `$stale` and `$uid` of the object, the
/// `$continue` token and the resourceVersion (`$listed`) of the last list, the resourceVersion at the beginning of the
/// sequence (`$begin`), the namespace (`$ns`).
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) method: &'static str,
    pub(super) plural: &'static str,
    /// The object's name; empty for all objects.
    pub(super) name: &'static str,
    pub(super) status: bool,
    /// Whether only metadata is requested.
    pub(super) metadata_only: bool,
    pub(super) query: Vec<(&'static str, &'static str)>,
    pub(super) content: Content,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(super) enum Content {
    None,
    Json(Value),
    /// The object in its last answered version, with these changes.
    Edited(Vec<(&'static str, Option<Value>)>),
    Merge(Value),
    JsonPatch(Value),
    /// A text of this media type.
    Text(&'static str, &'static str),
}

impl Step {
    pub(super) const fn new(method: &'static str, plural: &'static str, name: &'static str) -> Self {
        Self {
            method,
            plural,
            name,
            status: false,
            metadata_only: false,
            query: Vec::new(),
            content: Content::None,
        }
    }

    pub(super) fn status(mut self) -> Self {
        self.status = true;
        self
    }

    pub(super) fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    pub(super) fn query(mut self, name: &'static str, value: &'static str) -> Self {
        self.query.push((name, value));
        self
    }

    pub(super) fn with(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = if self.status { "/status" } else { "" };
        write!(f, "{} {}/{}{status}", self.method, self.plural, self.name)?;
        if self.metadata_only {
            write!(f, " (metadata)")?;
        }
        for (name, value) in &self.query {
            write!(f, " {name}={value}")?;
        }
        match &self.content {
            Content::None => Ok(()),
            Content::Json(body) => write!(f, " {body}"),
            Content::Edited(edits) => write!(f, " edited {edits:?}"),
            Content::Merge(patch) => write!(f, " merge {patch}"),
            Content::JsonPatch(patch) => write!(f, " patch {patch}"),
            Content::Text(kind, text) => write!(f, " {kind} {text}"),
        }
    }
}

pub(super) struct Side {
    client: Client,
    namespace: String,
    begin: String,
    listed: String,
    token: String,
    /// The last answered version of each object, and its resourceVersions, newest last.
    objects: BTreeMap<(String, String), (Value, Vec<String>)>,
    answers: Vec<Value>,
}

/// The media type of the answers.
const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// The object that ends a sequence.
const SENTINEL: &str = "zz-sentinel";
/// The resources that are watched.
const WATCHED: [&str; 6] = [
    "amplifybackends",
    "backendapis",
    "backendstorages",
    "backendenvironments",
    "configmaps",
    "leases",
];

impl Side {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            begin: String::new(),
            listed: String::new(),
            token: String::new(),
            objects: BTreeMap::new(),
            answers: Vec::new(),
        }
    }

    pub(super) async fn begin(&mut self) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } });
        let made = self
            .send("POST", "/api/v1/namespaces", "application/json", namespace.to_string())
            .await;
        assert_eq!(made.0, 201, "{}", made.1);
        let list = format!("/api/v1/namespaces/{}/configmaps", self.namespace);
        let listed: Value = serde_json::from_str(&self.send("GET", &list, "", String::new()).await.1).expect("a list");
        listed["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version")
            .clone_into(&mut self.begin);
    }

    pub(super) async fn take(&mut self, step: &Step) {
        let path = self.path(step);
        let (content_type, body) = self.body(step);
        let accept = match (step.metadata_only, step.name) {
            (false, _) => JSON,
            (true, "") => METADATA_LIST,
            (true, _) => METADATA,
        };
        let (code, text) = self.send_for(accept, step.method, &path, content_type, body).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        self.remember(step, code, &answer);
        self.answers.push(json!({ "code": code, "body": answer }));
    }

    /// Ends the sequence. Returns the comparable answers, and the events of the watched resources.
    pub(super) async fn end(mut self, steps: &[Step]) -> Vec<Value> {
        let mut events = Map::new();
        // A watch needs a connection of its own.
        for plural in WATCHED
            .into_iter()
            .filter(|plural| steps.iter().any(|step| step.plural == *plural))
        {
            let step = Step::new("POST", plural, "").with(Content::Json(valid(plural, SENTINEL)));
            let (content_type, body) = self.body(&step);
            let (code, text) = self.send("POST", &self.path(&step), content_type, body).await;
            assert_eq!(code, 201, "{text}");
            let watch = Step::new("GET", plural, "")
                .query("watch", "true")
                .query("resourceVersion", "$begin");
            events.insert(plural.to_owned(), self.events(&watch, SENTINEL).await.into());
        }
        self.answers.push(events.into());
        comparable(self.answers)
    }

    /// Returns the answers so far.
    pub(super) fn seen(&self) -> Vec<Value> {
        self.answers.clone()
    }

    /// Returns the events of a watch up to the one about this object, or up to its end.
    pub(super) async fn events(&self, step: &Step, last: &str) -> Vec<Value> {
        let response = self
            .client
            .send(Self::request(JSON, "GET", &self.path(step), "", String::new()))
            .await
            .expect("a watch");
        let mut body = response.into_body();
        let (mut text, mut events) = (Vec::new(), Vec::new());
        while let Some(frame) = timeout(PATIENCE, body.frame())
            .await
            .unwrap_or_else(|_| panic!("{step}: only {events:?}"))
        {
            text.extend_from_slice(&frame.expect("a frame").into_data().unwrap_or_default());
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = text.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).expect("an event");
                let is_last = event["object"]["metadata"]["name"] == last || event["type"] == "ERROR";
                events.push(event);
                if is_last {
                    return events;
                }
            }
        }
        events
    }

    pub(super) fn path(&self, step: &Step) -> String {
        let Step { plural, name, .. } = step;
        let (group, _) = known(plural);
        let mut path = if *plural == "namespaces" {
            format!("/{group}/{plural}")
        } else {
            format!("/{group}/namespaces/{}/{plural}", self.namespace)
        };
        if !name.is_empty() {
            path = format!("{path}/{name}");
        }
        if step.status {
            path.push_str("/status");
        }
        for (at, (name, value)) in step.query.iter().enumerate() {
            let sign = if at == 0 { '?' } else { '&' };
            path = format!("{path}{sign}{name}={}", self.filled(step, value).unwrap_or_default());
        }
        path
    }

    fn body(&self, step: &Step) -> (&'static str, String) {
        let fill = |value: &Value| {
            let mut value = value.clone();
            self.fill(step, &mut value);
            value.to_string()
        };
        match &step.content {
            Content::None => (JSON, String::new()),
            Content::Json(body) => (JSON, fill(body)),
            Content::Edited(edits) => {
                let known = self.objects.get(&(step.plural.to_owned(), step.name.to_owned()));
                let mut object = known.map_or_else(|| valid(step.plural, step.name), |it| it.0.clone());
                for (pointer, value) in edits {
                    set(&mut object, pointer, value.clone());
                }
                (JSON, fill(&object))
            }
            Content::Merge(patch) => ("application/merge-patch+json", fill(patch)),
            Content::JsonPatch(patch) => ("application/json-patch+json", fill(patch)),
            Content::Text(kind, text) => (kind, (*text).to_owned()),
        }
    }

    /// Fills the placeholders. A field whose placeholder has no value is left out.
    fn fill(&self, step: &Step, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|_, value| value.as_str().is_none_or(|text| self.filled(step, text).is_some()));
                fields.values_mut().for_each(|value| self.fill(step, value));
            }
            Value::Array(all) => all.iter_mut().for_each(|value| self.fill(step, value)),
            Value::String(text) => {
                if let Some(filled) = self.filled(step, text) {
                    *text = filled;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn filled(&self, step: &Step, text: &str) -> Option<String> {
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let known = self.objects.get(&(step.plural.to_owned(), step.name.to_owned()));
        match text {
            "$ns" => some(&self.namespace),
            "$begin" => some(&self.begin),
            "$listed" => some(&self.listed),
            "$continue" => some(&self.token),
            "$uid" => known?.0["metadata"]["uid"].as_str().map(str::to_owned),
            "$rv" => known?.1.last().cloned(),
            "$stale" => known?.1.iter().rev().nth(1).cloned(),
            text => Some(text.to_owned()),
        }
    }

    fn request(accept: &str, method: &str, path: &str, content_type: &str, body: String) -> Request<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", accept);
        request.body(Body::from(body.into_bytes())).expect("a request")
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: String) -> (u16, String) {
        self.send_for(JSON, method, path, content_type, body).await
    }

    async fn send_for(
        &self,
        accept: &str,
        method: &str,
        path: &str,
        content_type: &str,
        body: String,
    ) -> (u16, String) {
        let request = Self::request(accept, method, path, content_type, body);
        let answer = async {
            let response = self.client.send(request).await.expect("an answer");
            let code = response.status().as_u16();
            (code, response.into_body().collect_bytes().await.expect("a body"))
        };
        let (code, body) = timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| panic!("no answer to {method} {path}"));
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    fn remember(&mut self, step: &Step, code: u16, answer: &Value) {
        let text = |field: &str| answer["metadata"][field].as_str().unwrap_or_default().to_owned();
        if answer.get("items").is_some() {
            (self.listed, self.token) = (text("resourceVersion"), text("continue"));
        } else if code < 300 && answer["kind"] != "Status" {
            let known = self.objects.entry((step.plural.to_owned(), text("name"))).or_default();
            if known.1.last() != Some(&text("resourceVersion")) {
                known.1.push(text("resourceVersion"));
            }
            known.0 = answer.clone();
        }
    }
}

/// Makes answers comparable: values that differ between any two servers are replaced by properties that must be equal.
pub(super) fn comparable(mut answers: Vec<Value>) -> Vec<Value> {
    let mut versions = Vec::new();
    for answer in &answers {
        collect(answer, &mut versions);
    }
    versions.sort_unstable();
    versions.dedup();
    let mut uids = Vec::new();
    for answer in &mut answers {
        normalise(answer, &versions, &mut uids);
    }
    answers
}

fn version(metadata: &Map<String, Value>) -> Option<u64> {
    metadata.get("resourceVersion")?.as_str()?.parse().ok()
}

/// Collects the resourceVersions of objects. Those of lists are counters of the whole cluster, so they are left out.
fn collect(value: &Value, versions: &mut Vec<u64>) {
    match value {
        Value::Object(fields) => {
            if let Some(metadata) = fields.get("metadata").and_then(Value::as_object)
                && metadata.contains_key("uid")
            {
                versions.extend(version(metadata));
            }
            fields.values().for_each(|value| collect(value, versions));
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, versions)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn normalise(value: &mut Value, versions: &[u64], uids: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if fields.get("kind").is_some_and(|kind| kind == "Status") {
                let kept = ["status", "reason", "code"];
                let details = fields
                    .get("details")
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default();
                let is_success = fields.get("status").is_some_and(|status| status == "Success");
                let can_go_on = fields
                    .get("metadata")
                    .is_some_and(|metadata| metadata["continue"].as_str().is_some_and(|token| !token.is_empty()));
                fields.retain(|field, _| kept.contains(&field.as_str()));
                if is_success {
                    let named = details
                        .into_iter()
                        .filter(|(field, _)| matches!(field.as_str(), "name" | "group" | "kind" | "uid"));
                    fields.extend(named);
                }
                if can_go_on {
                    fields.insert("continue".to_owned(), true.into());
                }
            }
            if let Some(version) = version(fields) {
                // The rank of the newest object that is not newer than this version.
                let rank = versions.partition_point(|known| *known <= version);
                fields.insert("resourceVersion".to_owned(), rank.into());
            }
            // deprecatedSource is an empty object of core/v1.
            for field in ["managedFields", "deprecatedSource"] {
                fields.remove(field);
            }
            match fields.get("continue").and_then(Value::as_str) {
                None => {}
                // The last page has no token.
                Some("") => drop(fields.remove("continue")),
                Some(_) => drop(fields.insert("continue".to_owned(), true.into())),
            }
            for field in ["creationTimestamp", "deletionTimestamp"] {
                if fields.get(field).is_some_and(Value::is_string) {
                    fields.insert(field.to_owned(), "a time".into());
                }
            }
            if let Some(Value::String(uid)) = fields.get("uid") {
                let number = uids.iter().position(|known| known == uid).unwrap_or_else(|| {
                    uids.push(uid.clone());
                    uids.len() - 1
                });
                fields.insert("uid".to_owned(), number.into());
            }
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(|value| normalise(value, versions, uids));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| normalise(value, versions, uids)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
