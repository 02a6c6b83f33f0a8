//! One app: its objects, and the effect of a finished job on them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jobs::{Due, Effect, EnvironmentJobs, JobKey};

/// A backend with its resources.
#[derive(Debug, Clone)]
pub(crate) struct Backend {
    pub(crate) app_name: String,
    pub(crate) visible_from: i64,
    pub(crate) resources: BTreeMap<(Category, String), Resource>,
    /// An `amplifyMetaConfig` set by a test; empty: `GetBackend` returns none.
    pub(crate) meta_config: Option<String>,
}

/// The category of a resource of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// A GraphQL API.
    Api,
    /// An S3 storage.
    Storage,
    /// A user pool. No operation on it is simulated: it exists or not.
    Auth,
}

/// The name of the auth of a new backend.
const AUTH: &str = "users";

/// A resource of a backend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resource {
    pub(crate) config: Map<String, Value>,
    /// Whether the AWS resource existed before and was imported.
    pub(crate) is_imported: bool,
    pub(crate) visible_from: i64,
}

impl Backend {
    pub(crate) const fn new(app_name: String, visible_from: i64) -> Self {
        Self {
            app_name,
            visible_from,
            resources: BTreeMap::new(),
            meta_config: None,
        }
    }

    pub(crate) fn get(&self, category: Category, name: &str) -> Option<&Resource> {
        self.resources.get(&(category, name.to_owned()))
    }

    /// Returns the resources of a category, with their names.
    pub(crate) fn of(&self, category: Category) -> impl Iterator<Item = (&str, &Resource)> {
        let all = self.resources.iter().filter(move |((of, _), _)| *of == category);
        all.map(|((_, name), resource)| (name.as_str(), resource))
    }
}

/// An environment record, as `CreateBackendEnvironment` and `CreateBackend` register it.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentRecord {
    pub(crate) stack_name: Option<String>,
    pub(crate) deployment_artifacts: Option<String>,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) visible_from: i64,
}

/// An app with its contents.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created: i64,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) backends: BTreeMap<String, Backend>,
    pub(crate) environments: BTreeMap<String, EnvironmentRecord>,
    pub(super) jobs: HashMap<String, EnvironmentJobs>,
    /// The pending job of each environment: it excludes other jobs.
    pub(super) pending: HashMap<String, JobKey>,
    /// The next changes of jobs, in order of time.
    pub(super) due: BTreeMap<(i64, u64), (JobKey, Due)>,
    pub(super) sequence: u64,
}

/// Whether reads do not show an object yet.
pub(crate) const fn hidden(visible_from: i64, now: i64) -> bool {
    visible_from > now
}

impl App {
    pub(crate) fn new(id: &str, name: &str, now: i64) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            created: now,
            variables: BTreeMap::new(),
            backends: BTreeMap::new(),
            environments: BTreeMap::new(),
            jobs: HashMap::new(),
            pending: HashMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Applies the effect of a job to the objects. `visible_from` is the time from which reads show a created object.
    pub(crate) fn apply(&mut self, effect: Effect, now: i64, visible_from: i64) {
        match effect {
            Effect::Nothing => {}
            Effect::CreateBackend {
                environment,
                app_name,
                has_auth,
            } => {
                let mut backend = Backend::new(app_name, visible_from);
                if has_auth {
                    backend
                        .resources
                        .insert((Category::Auth, AUTH.to_owned()), Resource::default());
                }
                self.put_backend(&environment, backend, now);
            }
            Effect::CloneBackend { source, target } => {
                // The source may be gone by now. AWS would fail the job; a test that needs this orders a fault.
                if let Some(mut backend) = self.backends.get(&source).cloned() {
                    backend.visible_from = visible_from;
                    for resource in backend.resources.values_mut() {
                        resource.visible_from = visible_from;
                    }
                    self.put_backend(&target, backend, now);
                }
            }
            Effect::DeleteBackend { environment } => {
                self.backends.remove(&environment);
                self.environments.remove(&environment);
            }
            Effect::Put {
                environment,
                key,
                resource,
            } => {
                if let Some(backend) = self.backends.get_mut(&environment) {
                    let resource = Resource {
                        visible_from,
                        ..resource
                    };
                    backend.resources.insert(key, resource);
                }
            }
            Effect::Update {
                environment,
                key,
                config,
            } => {
                let resource = self
                    .backends
                    .get_mut(&environment)
                    .and_then(|backend| backend.resources.get_mut(&key));
                if let Some(resource) = resource {
                    // Members that are not sent keep their values.
                    resource.config.extend(config);
                }
            }
            Effect::Remove { environment, key } => {
                if let Some(backend) = self.backends.get_mut(&environment) {
                    backend.resources.remove(&key);
                }
            }
        }
    }

    /// Puts a backend, and its environment record if it has none.
    pub(crate) fn put_backend(&mut self, environment: &str, backend: Backend, now: i64) {
        let stack = format!(
            "amplify-{}-{environment}-{:06}",
            backend.app_name,
            now.rem_euclid(1_000_000)
        );
        let visible_from = backend.visible_from;
        self.environments
            .entry(environment.to_owned())
            .or_insert_with(|| EnvironmentRecord {
                deployment_artifacts: Some(format!("{stack}-deployment")),
                stack_name: Some(stack),
                created: now,
                updated: now,
                visible_from,
            });
        self.backends.insert(environment.to_owned(), backend);
    }

    /// Returns the backend, if reads show it.
    pub(crate) fn visible_backend(&self, environment: &str, now: i64) -> Option<&Backend> {
        self.backends
            .get(environment)
            .filter(|backend| !hidden(backend.visible_from, now))
    }
}
