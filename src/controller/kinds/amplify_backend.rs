//! `AmplifyBackend`: CreateBackend or CloneBackend, GetBackend, DeleteBackend.

use std::sync::Arc;

use crate::{
    amplify::{Creation, Found},
    api::{AmplifyBackend, Job, Ledger, Operation, ResourceConfig},
    controller::{
        index::{Environment, Index, KindName, Location},
        kind::{Kind, Located, NO_REGION, Policies, not_ready, owned_region},
    },
    lifecycle::{Hashes, Seen, State},
};

impl Kind for AmplifyBackend {
    const NAME: KindName = KindName::AmplifyBackend;

    fn create(&self) -> Operation {
        match self.spec.clone_from {
            Some(_) => Operation::CloneBackend,
            None => Operation::CreateBackend,
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

    fn refers_to(&self) -> Option<&str> {
        let reference = self.spec.clone_from.as_ref()?.backend_ref.as_ref()?;
        Some(&reference.name)
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
        if let Some(name) = self.refers_to() {
            let referred = index.backend(namespace, name);
            let place = referred
                .and_then(|entry| entry.location.as_ref())
                .map(|place| &place.environment);
            located.region = owned_region(self.status.as_ref()).or_else(|| place.map(|place| place.region.clone()));
            source = place.map(|place| place.name.clone());
            if place.is_some_and(|place| place.app != spec.app_id) {
                located.invalid = Some(format!(
                    "cloneFrom.backendRef names AmplifyBackend {name} of another app, and CloneBackend copies within one app: name a backend of app {}, or correct spec.appId",
                    spec.app_id
                ));
            } else {
                located.dependency = not_ready(index, namespace, name, "spec.cloneFrom.backendRef");
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
        let at = |region: String, name: String| {
            Arc::new(Environment {
                region,
                app: spec.app_id.clone(),
                name,
            })
        };
        located.location = pinned.or_else(|| located.region.clone()).map(|region| Location {
            environment: at(region.clone(), spec.backend_environment_name.clone()),
            resource: None,
            source: source.map(|source| at(region, source)),
        });
        located
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

    fn status(&self, state: &State, _: Option<&Location>, _: Option<&Found>) -> serde_json::Value {
        let ledger: &Ledger = &state.ledger;
        serde_json::json!(ledger)
    }

    fn creation(&self, location: &Location, _: Option<&ResourceConfig>) -> Result<Creation, String> {
        if self.spec.clone_from.is_some() {
            let source = location.source.as_ref().ok_or("the environment to copy is not known")?;
            let source = source.name.parse().map_err(|error| format!("cloneFrom: {error}"))?;
            return Ok(Creation::Clone { source });
        }
        Ok(Creation::Backend {
            app_name: self.spec.app_name.clone().ok_or("CreateBackend needs appName")?,
            resource_name: self.spec.resource_name.clone(),
            resource_config: self.spec.resource_config.is_some(),
        })
    }

    fn compare(&self, found: &Found, _: Option<&ResourceConfig>) -> Seen {
        let mut seen = Seen::default();
        if let (Found::Backend { app_name: Some(there) }, Some(wanted)) = (found, &self.spec.app_name)
            && there != wanted
        {
            seen.differs.push("appName");
        }
        seen
    }
}
