//! What AWS showed, in the shape that manifests are made from. Types only.

use std::collections::BTreeMap;

use crate::{
    api::ResourceConfig,
    kinds::{backend_environment::Record, backend_storage::Storage},
};

/// Everything that was read.
#[derive(Clone, Debug)]
pub(super) struct Inventory {
    /// Whether it is to be taken over, and not only looked at.
    pub(super) manage: bool,
    /// The account that it belongs to.
    pub(super) account: String,
    /// The region that it is in.
    pub(super) region: String,
    /// By id.
    pub(super) apps: BTreeMap<String, App>,
}

/// AWS's answer to a question about one thing.
#[derive(Clone, Debug)]
pub(super) enum Answer<T> {
    /// This is it.
    There(T),
    /// There is none.
    Absent,
    /// Nobody could be asked, or nothing was answered, for this reason.
    Unknown(String),
}

/// An app.
#[derive(Clone, Debug)]
pub(super) struct App {
    /// Its name.
    pub(super) name: String,
    /// By name.
    pub(super) environments: Answer<BTreeMap<String, Environment>>,
}

/// An environment of an app.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// Its record, if it has one.
    pub(super) record: Option<Record>,
    /// Its backend. Nobody was asked about a name that the port refuses.
    pub(super) backend: Answer<Backend>,
}

/// A backend.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    /// The app's name, where AWS says it.
    pub(super) app_name: Option<String>,
    /// By resource name; or why they are not known.
    pub(super) apis: Result<BTreeMap<String, Answer<ResourceConfig>>, String>,
    /// Its name and what AWS says of it, where the backend has one; or why that is not known.
    pub(super) storage: Result<Option<(String, Answer<Storage>)>, String>,
}
