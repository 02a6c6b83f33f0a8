//! The changes that people and other programs make to objects: at once, without faults, with all rights.

use axum::body::Bytes;
use serde_json::{Value, json};

use super::{
    metadata,
    patch::PatchKind,
    refusal::Refusal,
    request::{Options, Request, Verb},
    server::Server,
    state::Done,
    store::{Key, Object},
};

/// The name under which they write.
const WHO: &str = "user";

/// All clients except the operator.
#[derive(Clone)]
pub(crate) struct Users(Server);

/// An object's name: the plural of its resource, its namespace and its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a>(pub(crate) &'a str, pub(crate) &'a str, pub(crate) &'a str);

impl Server {
    /// Returns the actions of other clients, which have no faults and do not use HTTP.
    pub(crate) fn users(&self) -> Users {
        Users(self.clone())
    }
}

impl Users {
    /// Creates a namespace.
    pub(crate) fn create_namespace(&self, name: &str) -> Result<Object, Refusal> {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        self.ask(
            Verb::Create,
            Named("namespaces", "", ""),
            false,
            object.to_string().into_bytes(),
            None,
        )
    }

    /// Deletes a namespace: its contents are deleted, and it is removed with the last object.
    pub(crate) fn delete_namespace(&self, name: &str) {
        let caller = self.0.caller(WHO);
        self.0.with(|state| state.remove_namespace(&caller, name));
    }

    /// Creates an object. Kind and namespace may be left out.
    pub(crate) fn create(&self, of: Named<'_>, mut object: Value) -> Result<Object, Refusal> {
        let Named(plural, namespace, name) = of;
        let (api_version, kind) = self.0.with(|state| {
            let resource = state.table.plural(plural).map(|id| state.table.get(id));
            resource
                .map(|it| (it.api_version(), it.kind.clone()))
                .ok_or_else(Refusal::no_such_path)
        })?;
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = name.into();
        self.ask(
            Verb::Create,
            Named(plural, namespace, ""),
            false,
            object.to_string().into_bytes(),
            None,
        )
    }

    /// Returns the object in its stored form.
    pub(crate) fn get(&self, of: Named<'_>) -> Option<Object> {
        let Named(plural, namespace, name) = of;
        self.0.with(|state| {
            let id = state.table.plural(plural)?;
            state
                .store
                .get(&Key::new(id, Some(namespace).filter(|it| !it.is_empty()), name))
                .cloned()
        })
    }

    /// Changes an object, except its status.
    pub(crate) fn edit(&self, of: Named<'_>, edit: impl FnOnce(&mut Value)) -> Result<Object, Refusal> {
        self.put(of, false, edit)
    }

    /// Changes an object's status.
    pub(crate) fn edit_status(&self, of: Named<'_>, edit: impl FnOnce(&mut Value)) -> Result<Object, Refusal> {
        self.put(of, true, |object| edit(&mut object["status"]))
    }

    /// Removes an object's status.
    pub(crate) fn wipe_status(&self, of: Named<'_>) -> Result<Object, Refusal> {
        self.put(of, true, |object| object["status"] = json!({}))
    }

    fn put(&self, of: Named<'_>, status: bool, edit: impl FnOnce(&mut Value)) -> Result<Object, Refusal> {
        let object = self.get(of).ok_or_else(|| Refusal::not_found(of.0, of.2))?;
        let mut object = Value::clone(&object);
        edit(&mut object);
        self.ask(Verb::Update, of, status, object.to_string().into_bytes(), None)
    }

    /// Merges a patch into an object, whatever its version.
    pub(crate) fn merge(&self, of: Named<'_>, patch: &Value) -> Result<Object, Refusal> {
        self.ask(
            Verb::Patch,
            of,
            false,
            patch.to_string().into_bytes(),
            Some(PatchKind::Merge),
        )
    }

    /// Sets an annotation, or removes it.
    pub(crate) fn annotate(&self, of: Named<'_>, name: &str, value: Option<&str>) -> Result<Object, Refusal> {
        self.merge(of, &json!({ "metadata": { "annotations": { name: value } } }))
    }

    /// Adds a finalizer.
    pub(crate) fn add_finalizer(&self, of: Named<'_>, name: &str) -> Result<Object, Refusal> {
        self.edit_finalizers(of, |all| all.push(name.to_owned()))
    }

    /// Removes a finalizer.
    pub(crate) fn strip_finalizer(&self, of: Named<'_>, name: &str) -> Result<Object, Refusal> {
        self.edit_finalizers(of, |all| all.retain(|it| it != name))
    }

    fn edit_finalizers(&self, of: Named<'_>, edit: impl FnOnce(&mut Vec<String>)) -> Result<Object, Refusal> {
        self.put(of, false, |object| {
            let mut all = metadata::finalizers(object).into_iter().map(str::to_owned).collect();
            edit(&mut all);
            metadata::set(object, "finalizers", Some(all.into()));
        })
    }

    /// Deletes an object: it is removed, or waits for its finalizers.
    pub(crate) fn delete(&self, of: Named<'_>) -> Result<Object, Refusal> {
        self.ask(Verb::Delete, of, false, Vec::new(), None)
    }

    /// Changes an object in a way that only another version of its definition permits.
    pub(crate) fn force(&self, of: Named<'_>, edit: impl FnOnce(&mut Value)) {
        self.forced(of, |object| {
            edit(object);
            true
        });
    }

    /// Removes an object in spite of its finalizers. They are removed together with the object, so no client sees a
    /// step in between.
    pub(crate) fn vanish(&self, of: Named<'_>) {
        self.forced(of, |_| false);
    }

    fn forced(&self, of: Named<'_>, edit: impl FnOnce(&mut Value) -> bool) {
        let Named(plural, namespace, name) = of;
        let Some(object) = self.get(of) else { return };
        let mut object = Value::clone(&object);
        let stays = edit(&mut object);
        let caller = self.0.caller(WHO);
        self.0.with(|state| {
            if let Some(id) = state.table.plural(plural) {
                let key = Key::new(id, Some(namespace).filter(|it| !it.is_empty()), name);
                state.force(&caller, &key, stays.then_some(object));
            }
        });
    }

    /// Creates a ConfigMap, or replaces its data.
    pub(crate) fn put_config_map(&self, namespace: &str, name: &str, data: &Value) -> Result<Object, Refusal> {
        let of = Named("configmaps", namespace, name);
        if self.get(of).is_some() {
            return self.edit(of, |object| object["data"] = data.clone());
        }
        self.create(of, json!({ "data": data }))
    }

    fn ask(
        &self,
        verb: Verb,
        of: Named<'_>,
        status: bool,
        body: Vec<u8>,
        patch: Option<PatchKind>,
    ) -> Result<Object, Refusal> {
        let Named(plural, namespace, name) = of;
        let caller = self.0.caller(WHO);
        let done = self.0.with(|state| {
            let request = Request {
                verb,
                resource: state.table.plural(plural).ok_or_else(Refusal::no_such_path)?,
                namespace: Some(namespace.to_owned()).filter(|it| !it.is_empty()),
                name: name.to_owned(),
                status,
                metadata_only: false,
                patch,
                body: Bytes::from(body),
                options: Options::default(),
            };
            state.handle(&caller, &request)
        })?;
        match done {
            Done::Object(_, object) => Ok(object),
            Done::Body(_) | Done::Watch(_) => Err(Refusal::not_modelled("another answer to a write")),
        }
    }
}
