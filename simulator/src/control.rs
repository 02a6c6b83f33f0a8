//! Changes to the simulated AWS that a test makes outside the AWS APIs. They take effect at once. No I/O except in the
//! submodules.

mod http;
mod remote;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::{self, Key, Role, Settings},
    faults::{Ending, Fault, JobFault, JobScript, Rules},
    service::Shared,
    state::{self, Backend, Effect, EnvironmentRecord, NewJob, World},
};

pub use crate::state::Category;
pub(crate) use http::routes;
pub use remote::{RemoteControl, RemoteError};

/// An environment of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Location {
    /// The account; if absent, that of the first key.
    #[serde(default)]
    pub account: Option<String>,
    /// The region; if absent, the simulator's.
    #[serde(default)]
    pub region: Option<String>,
    /// The app id.
    pub app: String,
    /// The environment; empty if only the app is meant.
    #[serde(default)]
    pub environment: String,
}

impl Location {
    /// Returns a location in the default account and region.
    #[must_use]
    pub fn new(app: &str, environment: &str) -> Self {
        Self {
            account: None,
            region: None,
            app: app.to_owned(),
            environment: environment.to_owned(),
        }
    }

    /// Sets another account.
    #[must_use]
    pub fn account(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    /// Sets another region.
    #[must_use]
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.to_owned());
        self
    }
}

impl From<(&str, &str)> for Location {
    fn from((app, environment): (&str, &str)) -> Self {
        Self::new(app, environment)
    }
}

impl From<&Self> for Location {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

/// An app with its contents, whether reads see them yet or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppState {
    /// Its account.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its id: `d…`.
    pub app_id: String,
    /// Its name.
    pub name: String,
    /// The backends, by environment.
    pub backends: BTreeMap<String, BackendState>,
    /// The environment records, by name.
    pub environments: BTreeMap<String, EnvironmentState>,
    /// The jobs, by environment, oldest first.
    pub jobs: BTreeMap<String, Vec<JobState>>,
}

/// A backend in an [`AppState`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendState {
    /// The app name with which it was created.
    pub app_name: String,
    /// The stored configuration of each API, by resource name.
    pub apis: BTreeMap<String, Value>,
    /// The storages, by resource name.
    #[serde(default)]
    pub storages: BTreeMap<String, ResourceState>,
    /// The names of its auths.
    #[serde(default)]
    pub auths: BTreeSet<String>,
}

/// A resource of a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ResourceState {
    /// Its stored configuration.
    pub config: Map<String, Value>,
    /// Whether the AWS resource existed before and was imported.
    pub imported: bool,
}

/// An environment record in an [`AppState`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EnvironmentState {
    /// The stack in the record.
    pub stack_name: Option<String>,
    /// The bucket in the record.
    pub deployment_artifacts: Option<String>,
}

/// A job in an [`AppState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobState {
    /// Its id.
    pub id: String,
    /// AWS's name of the operation.
    pub operation: String,
    /// AWS's word for the status.
    pub status: String,
    /// The reason of the failure.
    pub error: Option<String>,
    /// Its creation, in milliseconds of the simulated clock.
    pub created: i64,
    /// Its last change, in milliseconds of the simulated clock.
    pub updated: i64,
    /// Whether AWS no longer shows the job.
    #[serde(default)]
    pub vanished: bool,
}

/// Controls a simulator in this process.
#[derive(Clone, Debug)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns the simulated time, in milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.shared.clock.now()
    }

    /// Moves the simulated clock forward: jobs end and delays pass. Sessions and signatures use the wall clock.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// Returns the current settings.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.shared.state.lock().settings.clone()
    }

    /// Changes settings for new jobs and objects.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.state.lock().settings);
    }

    /// Orders a fault. Returns its id.
    #[expect(clippy::must_use_candidate, reason = "mostly called for its effect")]
    pub fn fault(&self, fault: Fault) -> u64 {
        self.shared.state.lock().faults.add(fault)
    }

    /// Orders how jobs go. Returns the id of the rule.
    #[expect(clippy::must_use_candidate, reason = "mostly called for its effect")]
    pub fn job_fault(&self, fault: JobFault) -> u64 {
        self.shared.state.lock().faults.add_job(fault)
    }

    /// Returns the current rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.shared.state.lock().faults.rules()
    }

    /// Removes one rule. Returns false if the rule is used up or never existed.
    #[expect(clippy::must_use_candidate, reason = "mostly called for its effect")]
    pub fn remove_fault(&self, id: u64) -> bool {
        self.shared.state.lock().faults.remove(id)
    }

    /// Removes all rules. Hanging requests continue to hang.
    pub fn clear_faults(&self) {
        self.shared.state.lock().faults.clear();
    }

    /// Lets every hanging request continue.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Ends all sessions that `AssumeRole` has issued.
    pub fn expire_sessions(&self) {
        self.shared.state.lock().identities.expire_sessions();
    }

    /// Accepts one more key.
    pub fn add_key(&self, key: &Key) {
        self.shared.state.lock().identities.add_key(key);
    }

    /// Stops accepting a key or session. Returns false if it was never accepted.
    #[expect(clippy::must_use_candidate, reason = "mostly called for its effect")]
    pub fn remove_key(&self, access_key_id: &str) -> bool {
        self.shared.state.lock().identities.remove_key(access_key_id)
    }

    /// Adds a role, or changes its external id.
    pub fn put_role(&self, role: Role) {
        self.shared.state.lock().identities.put_role(role);
    }

    /// Adds an app. An app that exists keeps its contents.
    pub fn put_app(&self, app: &config::App) {
        let at = Location {
            account: app.account.clone(),
            region: app.region.clone(),
            app: app.app_id.clone(),
            environment: String::new(),
        };
        self.with_region(&at, |region, now| {
            region
                .apps
                .entry(app.app_id.clone())
                .and_modify(|existing| existing.name.clone_from(&app.name))
                .or_insert_with(|| state::App::new(&app.app_id, &app.name, now));
        });
    }

    /// Makes these the environment variables of an app, as UpdateApp does with a map of them. Returns false if the app does not
    /// exist.
    pub fn put_variables(&self, at: impl Into<Location>, variables: BTreeMap<String, String>) -> bool {
        let at = at.into();
        self.with_app(&at, |app, _| app.variables = variables).is_some()
    }

    /// Removes an app with its contents. Returns false if it does not exist.
    pub fn delete_app(&self, at: impl Into<Location>) -> bool {
        let at = at.into();
        self.with_region(&at, |region, _| region.apps.remove(&at.app).is_some())
    }

    /// Puts a backend and its environment record. If the backend exists, it keeps its APIs. Returns false if the app
    /// does not exist.
    pub fn put_backend(&self, at: impl Into<Location>, app_name: &str) -> bool {
        let at = at.into();
        self.with_app(&at, |app, now| {
            if let Some(backend) = app.backends.get_mut(&at.environment) {
                app_name.clone_into(&mut backend.app_name);
                return;
            }
            let backend = Backend::new(app_name.to_owned(), now);
            app.put_backend(&at.environment, backend, now);
        })
        .is_some()
    }

    /// Removes a backend with its APIs and its environment record. Returns false if it does not exist.
    pub fn delete_backend(&self, at: impl Into<Location>) -> bool {
        let at = at.into();
        self.with_app(&at, |app, _| {
            app.environments.remove(&at.environment);
            app.backends.remove(&at.environment).is_some()
        })
        .unwrap_or(false)
    }

    /// Makes this text the `amplifyMetaConfig` of a backend, without any check. With an empty text, `GetBackend`
    /// returns none. Returns false if the backend does not exist.
    pub fn put_meta_config(&self, at: impl Into<Location>, text: &str) -> bool {
        let at = at.into();
        self.with_app(&at, |app, _| {
            app.backends.get_mut(&at.environment)?.meta_config = Some(text.to_owned());
            Some(())
        })
        .flatten()
        .is_some()
    }

    /// Puts a resource with this configuration, as if it had been created in the backend or linked to it. Returns false
    /// if the backend does not exist.
    pub fn put_resource(&self, at: impl Into<Location>, category: Category, name: &str, state: ResourceState) -> bool {
        let at = at.into();
        self.with_app(&at, |app, now| {
            let resource = state::Resource {
                config: state.config,
                is_imported: state.imported,
                visible_from: now,
            };
            let backend = app.backends.get_mut(&at.environment)?;
            backend.resources.insert((category, name.to_owned()), resource);
            Some(())
        })
        .flatten()
        .is_some()
    }

    /// Removes a resource. Returns false if it does not exist.
    pub fn delete_resource(&self, at: impl Into<Location>, category: Category, name: &str) -> bool {
        let at = at.into();
        self.with_app(&at, |app, _| {
            let backend = app.backends.get_mut(&at.environment)?;
            backend.resources.remove(&(category, name.to_owned()))
        })
        .flatten()
        .is_some()
    }

    /// Puts an API with this configuration. Returns false if the backend does not exist.
    pub fn put_api(&self, at: impl Into<Location>, resource: &str, config: Map<String, Value>) -> bool {
        let state = ResourceState {
            config,
            imported: false,
        };
        self.put_resource(at, Category::Api, resource, state)
    }

    /// Removes an API. Returns false if it does not exist.
    pub fn delete_api(&self, at: impl Into<Location>, resource: &str) -> bool {
        self.delete_resource(at, Category::Api, resource)
    }

    /// Puts a storage. Returns false if the backend does not exist.
    pub fn put_storage(&self, at: impl Into<Location>, resource: &str, state: ResourceState) -> bool {
        self.put_resource(at, Category::Storage, resource, state)
    }

    /// Adds an auth to a backend, as `amplify add auth` does. Returns false if the backend does not exist.
    pub fn put_auth(&self, at: impl Into<Location>, resource: &str) -> bool {
        self.put_resource(at, Category::Auth, resource, ResourceState::default())
    }

    /// Puts or changes an environment record and sets its `updateTime` to now. Returns false if the app does not exist.
    pub fn put_environment(&self, at: impl Into<Location>, record: EnvironmentState) -> bool {
        let at = at.into();
        self.with_app(&at, |app, now| {
            let created = app.environments.get(&at.environment).map_or(now, |old| old.created);
            let record = EnvironmentRecord {
                stack_name: record.stack_name,
                deployment_artifacts: record.deployment_artifacts,
                created,
                updated: now,
                visible_from: now,
            };
            app.environments.insert(at.environment.clone(), record);
        })
        .is_some()
    }

    /// Removes an environment record and nothing else. Returns false if it does not exist.
    pub fn delete_environment(&self, at: impl Into<Location>) -> bool {
        let at = at.into();
        self.with_app(&at, |app, _| app.environments.remove(&at.environment))
            .flatten()
            .is_some()
    }

    /// Starts a job without a recorded request and without any effect. Returns its id. It starts even if another job is
    /// pending, and then excludes other jobs in place of that one.
    pub fn start_job(&self, at: impl Into<Location>, operation: &str, script: JobScript) -> Option<String> {
        let at = at.into();
        let mut guard = self.shared.state.lock();
        let now = self.shared.clock.now();
        let state = &mut *guard;
        let app = find_app(&self.shared, &mut state.world, &at, now)?;
        let new = NewJob {
            operation: operation.to_owned(),
            environment: at.environment,
            also_holds: None,
            effect: Effect::Nothing,
        };
        Some(
            app.start_job(new, script, &state.settings, &mut state.ids, now)
                .id
                .clone(),
        )
    }

    /// Ends a job now, even a stuck one: the given job, otherwise the pending one. Returns false if none runs.
    pub fn end_job(&self, at: impl Into<Location>, id: Option<&str>, ending: Ending) -> bool {
        let at = at.into();
        self.with_app(&at, |app, now| app.end_job(&at.environment, id, ending, now))
            .unwrap_or(false)
    }

    /// Returns the current state of one app.
    #[must_use]
    pub fn app(&self, at: impl Into<Location>) -> Option<AppState> {
        let at = at.into();
        let account = at.account.as_deref().unwrap_or(&self.shared.default_account).to_owned();
        let region = at.region.as_deref().unwrap_or(&self.shared.default_region).to_owned();
        self.with_app(&at, |app, _| snapshot(&account, &region, app))
    }

    /// Returns the current state of a backend, whether reads see it yet or not.
    #[must_use]
    pub fn backend(&self, at: impl Into<Location>) -> Option<BackendState> {
        let at = at.into();
        self.with_app(&at, |app, _| app.backends.get(&at.environment).map(backend_state))
            .flatten()
    }

    /// Returns the current state of an environment record, whether reads see it yet or not.
    #[must_use]
    pub fn environment(&self, at: impl Into<Location>) -> Option<EnvironmentState> {
        let at = at.into();
        self.with_app(&at, |app, _| {
            app.environments.get(&at.environment).map(environment_state)
        })
        .flatten()
    }

    /// Returns the current state of all apps.
    #[must_use]
    pub fn apps(&self) -> Vec<AppState> {
        let now = self.shared.clock.now();
        let mut state = self.shared.state.lock();
        let apps = state.world.apps().map(|(account, region, app)| {
            app.settle(now);
            snapshot(account, region, app)
        });
        apps.collect()
    }

    fn with_region<T>(&self, at: &Location, act: impl FnOnce(&mut state::Region, i64) -> T) -> T {
        let mut state = self.shared.state.lock();
        let account = at.account.as_deref().unwrap_or(&self.shared.default_account);
        let region = at.region.as_deref().unwrap_or(&self.shared.default_region);
        act(state.world.region(account, region), self.shared.clock.now())
    }

    fn with_app<T>(&self, at: &Location, act: impl FnOnce(&mut state::App, i64) -> T) -> Option<T> {
        let mut state = self.shared.state.lock();
        let now = self.shared.clock.now();
        find_app(&self.shared, &mut state.world, at, now).map(|app| act(app, now))
    }
}

/// Returns an app after carrying out everything that is due by now.
fn find_app<'a>(shared: &Shared, world: &'a mut World, at: &Location, now: i64) -> Option<&'a mut state::App> {
    let account = at.account.as_deref().unwrap_or(&shared.default_account);
    let region = at.region.as_deref().unwrap_or(&shared.default_region);
    let app = world.region(account, region).apps.get_mut(&at.app)?;
    app.settle(now);
    Some(app)
}

fn snapshot(account: &str, region: &str, app: &state::App) -> AppState {
    let mut jobs: BTreeMap<String, Vec<JobState>> = BTreeMap::new();
    for (environment, job) in app.all_jobs() {
        jobs.entry(environment.to_owned()).or_default().push(JobState {
            id: job.id.clone(),
            operation: job.operation.clone(),
            status: job.status.clone(),
            error: job.error.clone(),
            created: job.created,
            updated: job.updated,
            vanished: job.vanished,
        });
    }
    AppState {
        account: account.to_owned(),
        region: region.to_owned(),
        app_id: app.id.clone(),
        name: app.name.clone(),
        backends: app
            .backends
            .iter()
            .map(|(name, it)| (name.clone(), backend_state(it)))
            .collect(),
        environments: app
            .environments
            .iter()
            .map(|(name, it)| (name.clone(), environment_state(it)))
            .collect(),
        jobs,
    }
}

fn backend_state(backend: &Backend) -> BackendState {
    BackendState {
        app_name: backend.app_name.clone(),
        apis: backend
            .of(Category::Api)
            .map(|(name, api)| (name.to_owned(), Value::Object(api.config.clone())))
            .collect(),
        storages: backend
            .of(Category::Storage)
            .map(|(name, storage)| {
                let state = ResourceState {
                    config: storage.config.clone(),
                    imported: storage.is_imported,
                };
                (name.to_owned(), state)
            })
            .collect(),
        auths: backend.of(Category::Auth).map(|(name, _)| name.to_owned()).collect(),
    }
}

fn environment_state(record: &EnvironmentRecord) -> EnvironmentState {
    EnvironmentState {
        stack_name: record.stack_name.clone(),
        deployment_artifacts: record.deployment_artifacts.clone(),
    }
}
