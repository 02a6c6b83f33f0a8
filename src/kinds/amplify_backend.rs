//! `AmplifyBackend`: CreateBackend or CloneBackend, GetBackend, DeleteBackend.

use aws_sdk_amplifybackend::types::ResourceConfig;
use jiff::SignedDuration;

use super::{
    Kind, Located, NO_REGION, Observation, Remote, Sight,
    config::Nothing,
    described::{self, Backends},
    environment, not_ready, outputs, owned_region,
};
use crate::{
    amplify::{
        Accepted, AppId, Call, Client, EnvironmentName,
        answers::{absent_is_none, accepted, job_reply, never},
        send,
    },
    api::{
        Abilities, AmplifyBackend, AmplifyBackendStatus, Job, KindName, Operation, Policies,
        outputs::{BackendOutputs, OutputsTo},
    },
    controller::index::{Environment, Index, Location, ObjectKey},
    lifecycle::{Seen, State, Words, facts::Failure},
};

const CREATE: Call = Call::write(Operation::CreateBackend);
const CLONE: Call = Call::write(Operation::CloneBackend);
const DELETE: Call = Call::write(Operation::DeleteBackend);

/// A backend as AWS shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Backend {
    /// The app's name, if AWS returned it.
    pub app_name: Option<String>,
    /// Values of the backend and of everything in it, if they are known.
    pub outputs: Option<Box<BackendOutputs>>,
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

    fn policies(&self) -> &Policies {
        &self.spec.policies
    }

    fn outputs_to(&self) -> Option<&OutputsTo> {
        self.spec.outputs_to.as_ref()
    }

    fn job_timeout(&self) -> Option<SignedDuration> {
        self.spec.job_timeout.map(|timeout| timeout.0)
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
            located.region = owned_region(self.ledger()).or_else(|| place.map(|place| place.region.clone()));
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
        let job = self.ledger().and_then(|ledger| ledger.job.as_ref());
        let may_have = |job: &&Job| job.operation.is_create() && (job.finish_time.is_none() || job.unconfirmed);
        let under_way = job.filter(may_have);
        if let Some(pinned) = under_way.and_then(|job| job.source_environment_name.clone()) {
            // The job may be listed at the source, even if the source's resource is gone.
            source = Some(pinned);
        } else if self.metadata.deletion_timestamp.is_some() && under_way.is_none() {
            // Deletion needs only the target environment, and must not wait for the source.
            source = None;
        }
        let pinned = self.ledger().and_then(|ledger| ledger.region.clone());
        let Some(region) = pinned.or_else(|| located.region.clone()) else {
            return located;
        };
        let at = |name: &str| environment(&region, &spec.app_id, name);
        // An existing AWS object keeps its location, whatever the spec now says about the source.
        let source = source.as_deref().map(at).transpose().unwrap_or_else(|error| {
            located.invalid = Some(format!("cloneFrom: {error}"));
            None
        });
        let named = at(&spec.backend_environment_name).map(|environment| Location {
            environment,
            within: None,
            source,
        });
        located.locate(named)
    }

    fn show(&self, state: &State, _: Option<&Location>, found: Observation<&Backend>) -> serde_json::Value {
        let before = self.status.as_ref().and_then(|status| status.outputs.as_ref());
        let outputs = outputs(before, found, &state.ledger, |backend| backend.outputs.clone());
        serde_json::json!(AmplifyBackendStatus {
            ledger: state.ledger.clone(),
            outputs: outputs.filter(|_| self.policies().shows_values(&state.ledger)),
        })
    }

    fn of_outputs(outputs: &BackendOutputs) -> Option<Backend> {
        Some(Backend {
            app_name: None,
            outputs: Some(Box::new(outputs.clone())),
        })
    }

    fn add_outputs(found: &mut Backend, outputs: &BackendOutputs) {
        found.outputs.get_or_insert_with(|| Box::new(outputs.clone()));
    }

    fn lacks_contents(&self) -> bool {
        self.status.as_ref().is_none_or(|status| status.outputs.is_none())
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

    async fn look(&self, client: &Client, location: &Location) -> Result<Sight<Backend>, Failure> {
        let described = described::describe(client, &location.environment.app, &location.environment.name).await?;
        let backend = described.map(|described| Backend {
            // None known is not asked about again and again.
            outputs: Some(Box::new(described.meta().unwrap_or_default().outputs())),
            app_name: described.app_name,
        });
        Ok(backend.into())
    }

    async fn list(client: &Client, app: &AppId) -> Result<Backends, Failure> {
        described::list(client, app).await
    }

    fn in_list(list: &Backends, environment: &EnvironmentName) -> Option<Backend> {
        let is_there = list.environments.contains(environment.as_str());
        is_there.then(|| Backend {
            app_name: list.app_name.clone(),
            outputs: None,
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
            // AWS does not specify which of the two environments the answer names.
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

    async fn delete(
        client: &Client,
        location: &Location,
        _: Option<&Backend>,
    ) -> Result<Option<Accepted<Backend>>, Failure> {
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
