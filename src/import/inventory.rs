//! The data read from AWS, in the form from which manifests are made. Types only.

use std::collections::BTreeMap;

use crate::{
    api::ResourceConfig,
    kinds::{backend_environment::Record, backend_storage::Storage},
};

/// All data that was read.
#[derive(Clone, Debug)]
pub(super) struct Inventory {
    /// Whether the manifests take the objects over. Otherwise they only observe.
    pub(super) manage: bool,
    /// The AWS account.
    pub(super) account: String,
    /// The region.
    pub(super) region: String,
    /// The apps, by id.
    pub(super) apps: BTreeMap<String, App>,
}

/// AWS's answer about one object.
#[derive(Clone, Debug)]
pub(super) enum Answer<T> {
    /// The object exists.
    There(T),
    /// The object does not exist.
    Absent,
    /// Unknown: no request could be sent, or there was no answer. The text is the reason.
    Unknown(String),
}

/// An app.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// Its name.
    pub(super) name: String,
    /// The environments, by name.
    pub(super) environments: Answer<BTreeMap<String, Environment>>,
}

/// An environment of an app.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// Its record, if it has one.
    pub(super) record: Option<Record>,
    /// Its backend. No request is sent for a name that the port refuses.
    pub(super) backend: Answer<Backend>,
}

/// A backend.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    /// The app's name, if AWS returned it.
    pub(super) app_name: Option<String>,
    /// The APIs by resource name, or why they are unknown.
    pub(super) apis: Result<BTreeMap<String, Answer<ResourceConfig>>, String>,
    /// The name and content of the storage, if the backend has one, or why it is unknown.
    pub(super) storage: Result<Option<(String, Answer<Storage>)>, String>,
}
