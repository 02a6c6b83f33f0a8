//! `AmplifyBackend`: CreateBackend or CloneBackend, GetBackend, DeleteBackend.

use std::collections::BTreeSet;

use aws_sdk_amplify::operation::RequestId as _;
use aws_sdk_amplifybackend::{operation::get_backend::GetBackendOutput, types::ResourceConfig};

use super::{Kind, Located, NO_REGION, Policies, Remote, config::Nothing, environment, not_ready, owned_region};
use crate::{
    amplify::{
        Accepted, AppId, Call, Client, EnvironmentName,
        answers::{absent_is_none, accepted, job_reply, never, no_error, same, unreadable},
        send,
    },
    api::{Abilities, AmplifyBackend, Job, KindName, Ledger, Operation, Read},
    controller::index::{Environment, Index, Location, ObjectKey},
    lifecycle::{Hashes, Seen, State, Words, facts::Failure},
};

const CREATE: Call = Call::write(Operation::CreateBackend);
const CLONE: Call = Call::write(Operation::CloneBackend);
const DELETE: Call = Call::write(Operation::DeleteBackend);
const GET: Call = Call::read(Read::GetBackend);

/// A backend as AWS shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
}

impl Kind for AmplifyBackend {
    const NAME: KindName = KindName::AmplifyBackend;
    const IS_LISTED: bool = true;
    const CONTAINS: bool = true;

    type Found = Backend;
    type Config = Nothing;

    fn abilities(&self) -> Abilities {
        Abilities::of(match self.spec.clone_from {
            Some(_) => Operation::CloneBackend,
            None => Operation::CreateBackend,
        })
    }

    fn words(&self) -> Words {
        match self.spec.clone_from {
            Some(_) => Words {
                place: "spec.appId, spec.cloneFrom and the region",
                ..Words::default()
            },
            None => Words::default(),
        }
    }

    fn policies(&self) -> Policies {
        Policies {
            deletion: self.spec.deletion_policy,
            adoption: self.spec.adoption_policy,
            suspend: self.spec.suspend.unwrap_or_default(),
            job_timeout: self.spec.job_timeout.map(|timeout| timeout.0),
        }
    }

    fn refers_to(&self, namespace: &str) -> Option<ObjectKey> {
        let reference = self.spec.clone_from.as_ref()?.backend_ref.as_ref()?;
        Some(ObjectKey::new(Self::NAME, namespace, &reference.name))
    }

    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located {
        let spec = &self.spec;
        let mut located = Located {
            region: spec.region.clone().or_else(|| default_region.map(str::to_owned)),
            ..Located::default()
        };
        let mut source = spec
            .clone_from
            .as_ref()
            .and_then(|from| from.backend_environment_name.clone());
        if let Some(referred) = self.refers_to(namespace) {
            let name = &referred.name;
            let place = index
                .get(&referred)
                .and_then(|entry| entry.location.as_ref())
                .map(|place| &place.environment);
            located.region = owned_region(self.status.as_ref()).or_else(|| place.map(|place| place.region.clone()));
            source = place.map(|place| place.name.to_string());
            if place.is_some_and(|place| place.app.as_str() != spec.app_id) {
                located.invalid = Some(format!(
                    "cloneFrom.backendRef names AmplifyBackend {name} of another app, and CloneBackend copies within one app: name a backend of app {}, or correct spec.appId",
                    spec.app_id
                ));
            } else {
                located.dependency = not_ready(index, &referred, "spec.cloneFrom.backendRef");
            }
        } else if located.region.is_none() {
            located.invalid = Some(NO_REGION.to_owned());
        }
        let job = self.status.as_ref().and_then(|status| status.job.as_ref());
        let may_have = |job: &&Job| job.operation.is_create() && (job.finish_time.is_none() || job.unconfirmed);
        let under_way = job.filter(may_have);
        if let Some(pinned) = under_way.and_then(|job| job.source_environment_name.clone()) {
            // Its job may be listed there, whatever has become of the resource that was copied.
            source = Some(pinned);
        } else if self.metadata.deletion_timestamp.is_some() && under_way.is_none() {
            // Deletion needs the environment that was made, and must not wait for the one that was copied.
            source = None;
        }
        let pinned = self.status.as_ref().and_then(|status| status.region.clone());
        let Some(region) = pinned.or_else(|| located.region.clone()) else {
            return located;
        };
        let at = |name: &str| environment(&region, &spec.app_id, name);
        // What is there stays where it is, whatever the spec says by now of what was copied.
        let source = source.as_deref().map(at).transpose().unwrap_or_else(|error| {
            located.invalid = Some(format!("cloneFrom: {error}"));
            None
        });
        let named = at(&spec.backend_environment_name).map(|environment| Location {
            environment,
            resource: None,
            source,
        });
        located.locate(named)
    }

    fn state(&self) -> State {
        State {
            ledger: self.status.clone().unwrap_or_default(),
            hashes: Hashes::default(),
        }
    }

    fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        self.status.as_mut()
    }

    fn stored(&self) -> serde_json::Value {
        self.status
            .as_ref()
            .map_or(serde_json::Value::Null, |status| serde_json::json!(status))
    }

    fn status(&self, state: &State, _: Option<&Location>, _: Option<&Backend>) -> serde_json::Value {
        let ledger: &Ledger = &state.ledger;
        serde_json::json!(ledger)
    }

    fn compare(&self, found: &Backend, _: Option<&Nothing>) -> Seen {
        let mut seen = Seen::default();
        if let (Some(there), Some(wanted)) = (&found.app_name, &self.spec.app_name)
            && there != wanted
        {
            seen.differs.push("appName");
        }
        seen
    }
}

impl Remote for AmplifyBackend {
    type List = Backends;

    async fn look(client: &Client, location: &Location) -> Result<Option<Backend>, Failure> {
        let described = describe(client, &location.environment.app, &location.environment.name).await?;
        Ok(described.map(|described| Backend {
            app_name: described.app_name,
        }))
    }

    async fn list(client: &Client, app: &AppId) -> Result<Backends, Failure> {
        let output = get(client, app, None).await?;
        let environments = output
            .backend_environment_list
            .ok_or_else(|| unreadable(GET, "the answer lists no environments"))?;
        Ok(Backends {
            app_name: output.app_name,
            environments: environments.into_iter().collect(),
        })
    }

    fn in_list(list: &Backends, environment: &EnvironmentName) -> Option<Backend> {
        let is_there = list.environments.contains(environment.as_str());
        is_there.then(|| Backend {
            app_name: list.app_name.clone(),
        })
    }

    async fn create(
        &self,
        client: &Client,
        location: &Location,
        _: Option<&Nothing>,
    ) -> Result<Accepted<Backend>, Failure> {
        let sdk = client.usable()?;
        let Environment { app, name, .. } = location.environment.as_ref();
        if self.spec.clone_from.is_some() {
            let source = location.source.as_ref();
            let source = &source
                .ok_or_else(|| never("the environment to copy is not known"))?
                .name;
            let request = sdk.backend_writes.clone_backend().app_id(app.as_str());
            let request = request
                .backend_environment_name(source.as_str())
                .target_environment_name(name.as_str());
            // AWS does not say which of the two its answer names.
            let reply = job_reply!(send!(sdk.observer(), CLONE, request)?);
            return accepted(CLONE, app, &[source, name], reply);
        }
        let app_name = self.spec.app_name.as_ref();
        let app_name = app_name.ok_or_else(|| never("CreateBackend needs appName"))?;
        let config = self
            .spec
            .resource_config
            .as_ref()
            .map(|_| ResourceConfig::builder().build());
        let request = sdk.backend_writes.create_backend().app_id(app.as_str());
        let request = request
            .app_name(app_name)
            .backend_environment_name(name.as_str())
            .set_resource_name(self.spec.resource_name.clone())
            .set_resource_config(config);
        let reply = job_reply!(send!(sdk.observer(), CREATE, request)?);
        accepted(CREATE, app, &[name], reply)
    }

    async fn update(_: &Client, _: &Location, _: &Nothing) -> Result<Accepted<Backend>, Failure> {
        Err(never("AWS cannot change a backend"))
    }

    async fn delete(client: &Client, location: &Location) -> Result<Option<Accepted<Backend>>, Failure> {
        let sdk = client.usable()?;
        let Environment { app, name, .. } = location.environment.as_ref();
        let request = sdk.backend_writes.delete_backend().app_id(app.as_str());
        let answer = send!(sdk.observer(), DELETE, request.backend_environment_name(name.as_str()));
        let Some(output) = absent_is_none(answer)? else {
            return Ok(None);
        };
        accepted(DELETE, app, &[name], job_reply!(output)).map(Some)
    }
}

/// The backends of an app, as one answer lists them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backends {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
    /// The names of the backend environments.
    pub environments: BTreeSet<String>,
}

/// A backend with all that AWS tells of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Described {
    /// The app's name, where AWS says it.
    pub app_name: Option<String>,
    /// AmplifyMetaConfig, where AWS says it: JSON that others wrote, of any size. Not to be logged.
    pub meta_config: Option<String>,
}

/// The backend. `None`: AWS says that there is none.
pub async fn describe(
    client: &Client,
    app: &AppId,
    environment: &EnvironmentName,
) -> Result<Option<Described>, Failure> {
    let Some(output) = absent_is_none(get(client, app, Some(environment)).await)? else {
        return Ok(None);
    };
    Ok(is_described(&output, environment)?.then_some(Described {
        app_name: output.app_name,
        meta_config: output.amplify_meta_config,
    }))
}

/// The names of the app's environments that `GetBackend` lists. An app that it does not know has none, nor has one that it
/// names without a list: many apps have no backend.
pub async fn names(client: &Client, app: &AppId) -> Result<BTreeSet<String>, Failure> {
    let Some(output) = absent_is_none(get(client, app, None).await)? else {
        return Ok(BTreeSet::new());
    };
    match output.backend_environment_list {
        Some(names) => Ok(names.into_iter().collect()),
        None if output.app_id.is_some() => Ok(BTreeSet::new()),
        None => Err(unreadable(GET, "the answer names no app")),
    }
}

/// `GetBackend` for one environment, or without one for the list of the app's environments.
async fn get(client: &Client, app: &AppId, environment: Option<&EnvironmentName>) -> Result<GetBackendOutput, Failure> {
    let sdk = client.usable()?;
    let request = sdk.backend_reads.get_backend().app_id(app.as_str());
    let request = request.set_backend_environment_name(environment.map(|name| name.as_str().to_owned()));
    let output = send!(sdk.observer(), GET, request)?;
    same(GET, "appId", output.app_id.as_deref(), app.as_str())?;
    no_error(GET, output.error.clone())?;
    Ok(output)
}

/// Whether an answer to `GetBackend` shows the environment that was asked for.
fn is_described(output: &GetBackendOutput, environment: &EnvironmentName) -> Result<bool, Failure> {
    match (&output.backend_environment_name, &output.backend_environment_list) {
        (Some(name), _) => {
            same(GET, "backendEnvironmentName", Some(name), environment.as_str())?;
            Ok(true)
        }
        (None, Some(names)) if names.iter().any(|name| name == environment.as_str()) => Ok(true),
        // What is not in the list is gone: only AWS itself may say so.
        (None, Some(_)) if output.request_id().is_none() => Err(unreadable(
            GET,
            "the answer lacks the environment, and AWS's request id",
        )),
        (None, Some(_)) => Ok(false),
        (None, None) => Err(unreadable(GET, "the answer names no environment")),
    }
}
