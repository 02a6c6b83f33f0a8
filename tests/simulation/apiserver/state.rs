//! kube-apiserver: the effect of a request on the store, and its answer. Pure: the time and the age of the cache are
//! arguments.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    metadata,
    patch::patched,
    refusal::Refusal,
    request::{Request, Verb},
    resource::{ResourceId, Served, Table},
    rights::Rights,
    store::{Change, Key, Object, Store},
    watch::Cursor,
};

/// The client of a request, its time, and the age of the cache that may answer.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) who: Arc<str>,
    pub(crate) now: Timestamp,
    /// The revision of the cache, at most that of the store.
    pub(crate) cached: u64,
}

/// The answer to a request that was carried out.
#[derive(Debug)]
pub(crate) enum Done {
    Object(u16, Object),
    /// A complete body.
    Body(Vec<u8>),
    Watch(Box<Cursor>),
}

/// One accepted write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) at: Timestamp,
    pub(crate) who: Arc<str>,
    pub(crate) verb: &'static str,
    pub(crate) resource: String,
    /// `namespace/name`.
    pub(crate) path: Arc<str>,
    /// Whether it was made by the status subresource.
    pub(crate) status: bool,
    pub(crate) revision: u64,
    /// For a removal: the last version of the object, with the resourceVersion of the removal.
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

/// The interval of compactions, and the age of the history that each one keeps.
const COMPACTION: SignedDuration = SignedDuration::from_mins(5);

/// The whole state of the API server and etcd.
pub(crate) struct State {
    pub(crate) table: Table,
    pub(crate) store: Store,
    pub(crate) rights: Rights,
    pub(crate) history: Vec<Write>,
    /// The revision at which the cache began. Watches from before it are refused.
    pub(crate) cache_begins: u64,
    seed: u64,
    serial: u64,
    /// The time of the last compaction, and the revision at that time.
    compaction: Option<(Timestamp, u64)>,
    /// Objects that expire, with the revision for which this holds.
    ending: VecDeque<(Timestamp, Key, u64)>,
    /// Objects whose default status has not been stored yet.
    unfilled: HashSet<Key>,
}

/// The request behind a write.
struct Origin<'a> {
    caller: &'a Caller,
    verb: Verb,
    status: bool,
}

impl State {
    /// Creates an empty cluster. The uids are derived from the seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            table: Table::new(),
            store: Store::default(),
            rights: Rights::default(),
            history: Vec::new(),
            cache_begins: 0,
            seed,
            serial: 0,
            compaction: None,
            ending: VecDeque::new(),
            unfilled: HashSet::new(),
        }
    }

    /// Makes the changes of passing time: objects expire, and old history is compacted.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        while self.ending.front().is_some_and(|(at, _, _)| *at <= now) {
            if let Some((_, key, revision)) = self.ending.pop_front()
                && self
                    .store
                    .get(&key)
                    .is_some_and(|it| metadata::text(it, "resourceVersion") == revision.to_string())
            {
                self.store.put(&key, None);
            }
        }
        let revision = self.store.revision();
        match self.compaction {
            Some((last, _)) if now.duration_since(last) < COMPACTION => {}
            last => {
                if let Some((_, old)) = last {
                    self.store.compact(old);
                }
                self.compaction = Some((now, revision));
            }
        }
    }

    /// Carries out a request.
    pub(crate) fn handle(&mut self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        self.pass_time(caller.now);
        let resource = self.table.get(request.resource);
        let namespace = request.namespace.as_deref();
        self.rights
            .check(&caller.who, request.verb, resource, namespace, &request.name)?;
        if resource.served == Served::No {
            return Err(Refusal::no_such_path());
        }
        match request.verb {
            Verb::Get => self.get(caller, request),
            Verb::List => self.list(caller, request),
            Verb::Watch => self.watch(caller, request).map(|cursor| Done::Watch(Box::new(cursor))),
            Verb::Create => self.create(caller, request),
            Verb::Update => self.update(caller, request),
            Verb::Patch => self.patch(caller, request),
            Verb::Delete => self.delete(caller, request),
        }
    }

    pub(crate) fn key(request: &Request) -> Key {
        Key::new(request.resource, request.namespace.as_deref(), &request.name)
    }

    pub(crate) fn not_found(&self, request: &Request) -> Refusal {
        Refusal::not_found(&self.table.get(request.resource).qualified(), &request.name)
    }

    fn create(&mut self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let resource = self.table.get(request.resource);
        if resource.served == Served::Ending {
            return Err(Refusal::method_not_allowed(
                "create not allowed while custom resource definition is terminating",
            ));
        }
        let object = resource.read(&request.body)?;
        self.insert(caller, request, object)
    }

    fn insert(&mut self, caller: &Caller, request: &Request, mut object: Value) -> Result<Done, Refusal> {
        let resource = self.table.get(request.resource);
        let namespace = request.namespace.as_deref();
        Self::enter(&mut object, namespace, resource.namespaced)?;
        self.serial += 1;
        if metadata::text(&object, "name").is_empty() && !metadata::text(&object, "generateName").is_empty() {
            let name = format!("{}{}", metadata::text(&object, "generateName"), self.suffix());
            metadata::set(&mut object, "name", Some(name.into()));
        }
        let name = metadata::text(&object, "name").to_owned();
        let key = Key::new(request.resource, namespace, &name);
        if !metadata::text(&object, "resourceVersion").is_empty() && !name.is_empty() {
            return Err(Refusal::blunder(
                "resourceVersion should not be set on objects to be created".to_owned(),
            ));
        }
        let namespaces = self.table.plural("namespaces");
        if let (Some(namespaces), Some(namespace)) = (namespaces, namespace) {
            match self.store.get(&Key::new(namespaces, None, namespace)) {
                None => return Err(Refusal::not_found("namespaces", namespace)),
                Some(it) if metadata::is_deleting(it) => {
                    let (resource, why) = (resource.qualified(), "because it is being terminated");
                    return Err(Refusal::forbidden(format!(
                        "{resource} \"{name}\" is forbidden: unable to create new content in namespace {namespace} {why}"
                    )));
                }
                Some(_) => {}
            }
        }
        let is_custom = resource.is_custom();
        metadata::create(&mut object, self.uid(), caller.now, is_custom);
        if is_custom {
            drop(object.as_object_mut().and_then(|it| it.remove("status")));
            resource.fill(&mut object);
        }
        if Some(request.resource) == namespaces {
            metadata::set(
                &mut object,
                "labels",
                Some(json!({ "kubernetes.io/metadata.name": name })),
            );
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        self.validate(request.resource, &object, None)?;
        if self.store.get(&key).is_some() {
            let resource = self.table.get(request.resource).qualified();
            return Err(Refusal::already_exists(&resource, &name));
        }
        let written = self.write(&Origin::new(caller, request), &key, Some(object));
        written.map(|it| Done::Object(201, it)).ok_or_else(Refusal::unavailable)
    }

    /// Puts an object into the namespace of the request.
    fn enter(object: &mut Value, namespace: Option<&str>, namespaced: bool) -> Result<(), Refusal> {
        let said = metadata::text(object, "namespace");
        match namespace {
            Some(namespace) if said.is_empty() => metadata::set(object, "namespace", Some(namespace.into())),
            Some(namespace) if said == namespace => {}
            None if !namespaced => metadata::set(object, "namespace", None),
            None => {
                return Err(Refusal::method_not_allowed(
                    "an object of a namespace is created in that namespace",
                ));
            }
            Some(_) => {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Refusal::bad_request(message.to_owned()));
            }
        }
        Ok(())
    }

    fn validate(&self, resource: ResourceId, object: &Value, old: Option<&Value>) -> Result<(), Refusal> {
        let resource = self.table.get(resource);
        let name = metadata::text(object, "name");
        let mut problems = resource.problems(object, old);
        if name.is_empty() {
            problems.push("metadata.name: Required value: name or generateName is required".to_owned());
        } else if !metadata::is_name(name) {
            problems.push(format!("metadata.name: Invalid value: {name:?}"));
        }
        let wrong = metadata::finalizers(object)
            .into_iter()
            .filter(|it| !metadata::is_finalizer(it));
        problems.extend(wrong.map(|it| format!("metadata.finalizers: Invalid value: {it:?}")));
        if problems.is_empty() {
            return Ok(());
        }
        let kind = if resource.group.is_empty() {
            resource.kind.clone()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        Err(Refusal::invalid(&kind, name, &problems.join(", ")))
    }

    fn update(&mut self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let resource = self.table.get(request.resource);
        let mut object = resource.read(&request.body)?;
        let name = metadata::text(&object, "name");
        if name != request.name {
            let url = &request.name;
            return Err(Refusal::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({url})"
            )));
        }
        Self::enter(&mut object, request.namespace.as_deref(), resource.namespaced)?;
        let Some(old) = self.store.get(&Self::key(request)).cloned() else {
            if !resource.create_on_update || request.status {
                return Err(self.not_found(request));
            }
            if !metadata::text(&object, "uid").is_empty() {
                return Err(self.conflict(request, "Precondition failed: UID in precondition, but no object"));
            }
            metadata::set(&mut object, "resourceVersion", None);
            return self.insert(caller, request, object);
        };
        let uid = metadata::text(&object, "uid");
        if !uid.is_empty() && uid != metadata::text(&old, "uid") {
            return Err(self.conflict(request, "Precondition failed: UID in precondition is not the object's"));
        }
        self.replace(caller, request, &old, object)
    }

    fn patch(&mut self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let Some(old) = self.store.get(&Self::key(request)).cloned() else {
            return Err(self.not_found(request));
        };
        let kind = request.patch.ok_or_else(|| Refusal::unsupported_media_type(""))?;
        let object = patched(kind, &request.body, &old)?;
        let resource = self.table.get(request.resource);
        for field in ["apiVersion", "kind"] {
            if object.get(field) != old.get(field) {
                return Err(Refusal::unprocessable(&format!("{field} is another")));
            }
        }
        let mut object = resource
            .formed(object)
            .map_err(|error| Refusal::unprocessable(&error.message))?;
        if metadata::text(&object, "name") != request.name {
            let url = &request.name;
            return Err(Refusal::bad_request(format!(
                "the name of the object does not match the name on the URL ({url})"
            )));
        }
        Self::enter(&mut object, request.namespace.as_deref(), resource.namespaced)?;
        self.replace(caller, request, &old, object)
    }

    fn conflict(&self, request: &Request, why: &str) -> Refusal {
        Refusal::conflict(&self.table.get(request.resource).qualified(), &request.name, why)
    }

    /// Stores the result of an update or a patch.
    fn replace(
        &mut self,
        caller: &Caller,
        request: &Request,
        old: &Object,
        mut object: Value,
    ) -> Result<Done, Refusal> {
        let resource = self.table.get(request.resource);
        if metadata::text(&object, "resourceVersion").is_empty() {
            if !resource.unconditional_update {
                let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
                return Err(Refusal::invalid(&resource.kind, &request.name, why));
            }
            let current = old["metadata"]["resourceVersion"].clone();
            metadata::set(&mut object, "resourceVersion", Some(current));
        }
        let version = metadata::text(&object, "resourceVersion");
        if version.parse::<u64>().is_err() {
            return Err(Refusal::blunder(format!("resourceVersion: Invalid value: {version:?}")));
        }
        if metadata::text(&object, "resourceVersion") != metadata::text(old, "resourceVersion") {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(self.conflict(request, why));
        }
        let resource = self.table.get(request.resource);
        let mut object = if request.status {
            let mut only_status = Value::clone(old);
            put(&mut only_status, "status", object.get("status"));
            // An update of the status ignores all other fields, the uid included.
            only_status
        } else {
            let mut object = object;
            if resource.is_custom() {
                put(&mut object, "status", old.get("status"));
            }
            metadata::update(&resource.kind, &mut object, old)?;
            object
        };
        resource.fill(&mut object);
        if resource.is_custom() && without_metadata_and_status(&object) != without_metadata_and_status(old) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
            metadata::set(&mut object, "generation", Some(generation.into()));
        }
        self.validate(request.resource, &object, Some(old))?;
        let key = Self::key(request);
        let origin = Origin::new(caller, request);
        if metadata::is_deleting(&object) && metadata::finalizers(&object).is_empty() {
            // The object is removed without another stored version.
            self.write(&origin, &key, None);
            return Ok(Done::Object(200, Arc::new(object)));
        }
        // A new object is stored without its default status. Its first update stores the status.
        if object == **old && !self.unfilled.contains(&key) {
            return Ok(Done::Object(200, old.clone()));
        }
        let written = self.write(&origin, &key, Some(object));
        written.map(|it| Done::Object(200, it)).ok_or_else(Refusal::unavailable)
    }

    fn delete(&mut self, caller: &Caller, request: &Request) -> Result<Done, Refusal> {
        let options: Value = if request.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&request.body).map_err(|error| Refusal::bad_request(error.to_string()))?
        };
        let key = Self::key(request);
        let Some(old) = self.store.get(&key).cloned() else {
            return Err(self.not_found(request));
        };
        for field in ["uid", "resourceVersion"] {
            let wanted = options["preconditions"][field].as_str().unwrap_or_default();
            if !wanted.is_empty() && wanted != metadata::text(&old, field) {
                let has = metadata::text(&old, field);
                return Err(self.conflict(
                    request,
                    &format!("Precondition failed: {field} is {has} and not {wanted}"),
                ));
            }
        }
        if !matches!(options["propagationPolicy"].as_str(), None | Some("Background")) {
            return Err(Refusal::not_modelled("other deletion than in the background"));
        }
        let origin = Origin::new(caller, request);
        if Some(request.resource) == self.table.plural("namespaces") {
            return Err(Refusal::not_modelled("deletion of a namespace by a request"));
        }
        if metadata::finalizers(&old).is_empty() {
            self.write(&origin, &key, None);
            let resource = self.table.get(request.resource);
            let mut details = json!({ "name": request.name, "kind": resource.plural, "uid": old["metadata"]["uid"] });
            if !resource.group.is_empty() {
                details["group"] = resource.group.as_str().into();
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            });
            return Ok(Done::Object(200, Arc::new(status)));
        }
        if metadata::is_deleting(&old) {
            return Ok(Done::Object(200, old));
        }
        let object = Self::marked(&old, caller.now);
        let written = self.write(&origin, &key, Some(object));
        written.map(|it| Done::Object(200, it)).ok_or_else(Refusal::unavailable)
    }

    /// Returns the object with the start of its deletion.
    fn marked(old: &Value, now: Timestamp) -> Value {
        let mut object = old.clone();
        metadata::set(&mut object, "deletionTimestamp", Some(metadata::seconds(now).into()));
        metadata::set(&mut object, "deletionGracePeriodSeconds", Some(0.into()));
        if let Some(generation) = old["metadata"]["generation"].as_i64() {
            metadata::set(&mut object, "generation", Some((generation + 1).into()));
        }
        object
    }

    /// Begins the deletion of a definition: its objects are deleted, and after the last one it is no longer served.
    pub(crate) fn remove_definition(&mut self, caller: &Caller, resource: ResourceId) {
        self.table.get_mut(resource).served = Served::Ending;
        self.delete_all(caller, resource, None);
        self.finish(resource);
    }

    /// Begins the deletion of a namespace: its objects are deleted, and it is removed with the last one.
    pub(crate) fn remove_namespace(&mut self, caller: &Caller, namespace: &str) {
        let Some(namespaces) = self.table.plural("namespaces") else {
            return;
        };
        let key = Key::new(namespaces, None, namespace);
        let Some(old) = self.store.get(&key).filter(|it| !metadata::is_deleting(it)).cloned() else {
            return;
        };
        let mut object = Self::marked(&old, caller.now);
        object["status"] = json!({ "phase": "Terminating" });
        self.write(&Origin::deletion(caller), &key, Some(object));
        for resource in self.table.ids().filter(|id| *id != namespaces).collect::<Vec<_>>() {
            self.delete_all(caller, resource, Some(namespace));
        }
        self.finish_namespace(&Origin::deletion(caller), namespace);
    }

    fn delete_all(&mut self, caller: &Caller, resource: ResourceId, namespace: Option<&str>) {
        let revision = self.store.revision();
        for object in self.store.list(resource, namespace, revision, None, 0).objects {
            let of = Some(metadata::text(&object, "namespace")).filter(|it| !it.is_empty());
            let key = Key::new(resource, of, metadata::text(&object, "name"));
            if metadata::finalizers(&object).is_empty() {
                self.write(&Origin::deletion(caller), &key, None);
            } else if !metadata::is_deleting(&object) {
                let object = Self::marked(&object, caller.now);
                self.write(&Origin::deletion(caller), &key, Some(object));
            }
        }
    }

    fn is_empty(&self, resource: ResourceId, namespace: Option<&str>) -> bool {
        let revision = self.store.revision();
        self.store
            .list(resource, namespace, revision, None, 1)
            .objects
            .is_empty()
    }

    fn finish(&mut self, resource: ResourceId) {
        if self.table.get(resource).served == Served::Ending && self.is_empty(resource, None) {
            self.table.get_mut(resource).served = Served::No;
        }
    }

    fn finish_namespace(&mut self, origin: &Origin<'_>, namespace: &str) {
        let Some(namespaces) = self.table.plural("namespaces") else {
            return;
        };
        let key = Key::new(namespaces, None, namespace);
        let is_ending = self.store.get(&key).is_some_and(|it| metadata::is_deleting(it));
        if is_ending
            && self
                .table
                .ids()
                .all(|id| id == namespaces || self.is_empty(id, Some(namespace)))
        {
            self.write(origin, &key, None);
        }
    }

    /// Writes an object (None: removes it), and returns the stored version.
    fn write(&mut self, origin: &Origin<'_>, key: &Key, object: Option<Value>) -> Option<Object> {
        let caller = origin.caller;
        let Change {
            revision,
            before,
            after,
            ..
        } = self.store.put(key, object);
        let resource = self.table.get(key.resource);
        if before.is_none() && resource.is_custom() {
            self.unfilled.insert(key.clone());
        } else {
            self.unfilled.remove(key);
        }
        if let (Some(kept), true) = (resource.kept, after.is_some()) {
            let until = caller.now + SignedDuration::try_from(kept).unwrap_or(SignedDuration::MAX);
            self.ending.push_back((until, key.clone(), revision));
        }
        self.history.push(Write {
            at: caller.now,
            who: caller.who.clone(),
            verb: origin.verb.name(),
            resource: resource.plural.clone(),
            path: key.path.clone(),
            status: origin.status,
            revision,
            before,
            after: after.clone(),
        });
        if after.is_none() {
            self.finish(key.resource);
            if let Some(namespace) = key.namespace() {
                self.finish_namespace(origin, namespace);
            }
        }
        after
    }

    /// Stores an object that the currently served definition would refuse, or removes an object in spite of its
    /// finalizers.
    pub(crate) fn force(&mut self, caller: &Caller, key: &Key, object: Option<Value>) {
        let verb = if object.is_some() { Verb::Update } else { Verb::Delete };
        let origin = Origin {
            caller,
            verb,
            status: false,
        };
        self.write(&origin, key, object);
    }

    /// Returns a new uid. The order of uids is independent of the order of creation.
    fn uid(&self) -> String {
        let (high, low) = (
            mixed(self.seed ^ self.serial),
            mixed(self.seed.wrapping_add(self.serial) ^ u64::MAX),
        );
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    /// Returns the random end of a generated name.
    fn suffix(&self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let number = mixed(self.seed ^ self.serial.rotate_left(32));
        (0..5_u32)
            .map(|at| {
                let of = LETTERS.len() as u64;
                let index = usize::try_from((number >> (at * 8)) % of).unwrap_or_default();
                char::from(LETTERS[index])
            })
            .collect()
    }
}

impl<'a> Origin<'a> {
    const fn new(caller: &'a Caller, request: &Request) -> Self {
        Self {
            caller,
            verb: request.verb,
            status: request.status,
        }
    }

    const fn deletion(caller: &'a Caller) -> Self {
        Self {
            caller,
            verb: Verb::Delete,
            status: false,
        }
    }
}

impl Write {
    /// Returns the write as one line, for the comparison of logs.
    pub(crate) fn line(&self) -> String {
        let Self {
            at,
            who,
            verb,
            resource,
            path,
            revision,
            ..
        } = self;
        let status = if self.status { "/status" } else { "" };
        let after = self.after.as_ref().map_or_else(String::new, ToString::to_string);
        format!("{at} {revision} {who} {verb} {resource}/{path}{status} {after}")
    }
}

fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    if let Some(object) = object.as_object_mut() {
        match value {
            Some(value) => drop(object.insert(field.to_owned(), value.clone())),
            None => drop(object.remove(field)),
        }
    }
}

fn without_metadata_and_status(object: &Value) -> Vec<(&String, &Value)> {
    let all = object.as_object().into_iter().flatten();
    all.filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status"))
        .collect()
}

/// The mixing function of splitmix64.
const fn mixed(number: u64) -> u64 {
    let mut it = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}
