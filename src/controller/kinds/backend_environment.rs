//! `BackendEnvironment`: CreateBackendEnvironment, GetBackendEnvironment, DeleteBackendEnvironment. No jobs.

use std::sync::Arc;

use crate::{
    amplify::{Creation, Found},
    api::{BackendEnvironment, BackendEnvironmentStatus, Ledger, Operation, ResourceConfig},
    controller::{
        index::{Environment, Index, KindName, Location},
        kind::{Kind, Located, NO_REGION, Policies},
    },
    lifecycle::{Hashes, Seen, State},
};

impl Kind for BackendEnvironment {
    const NAME: KindName = KindName::BackendEnvironment;

    fn create(&self) -> Operation {
        Operation::CreateBackendEnvironment
    }

    fn policies(&self) -> Policies {
        Policies {
            deletion: self.spec.deletion_policy,
            adoption: self.spec.adoption_policy,
            suspend: self.spec.suspend.unwrap_or_default(),
            job_timeout: None,
        }
    }

    fn refers_to(&self) -> Option<&str> {
        None
    }

    fn locate(&self, _: &str, _: &Index, default_region: Option<&str>) -> Located {
        let spec = &self.spec;
        let region = spec.region.clone().or_else(|| default_region.map(str::to_owned));
        let pinned = self.status.as_ref().and_then(|status| status.ledger.region.clone());
        Located {
            location: pinned.or_else(|| region.clone()).map(|region| Location {
                environment: Arc::new(Environment {
                    region,
                    app: spec.app_id.clone(),
                    name: spec.environment_name.clone(),
                }),
                resource: None,
                source: None,
            }),
            invalid: region.is_none().then(|| NO_REGION.to_owned()),
            region,
            dependency: None,
        }
    }

    fn state(&self) -> State {
        State {
            ledger: self.status.clone().unwrap_or_default().ledger,
            hashes: Hashes::default(),
        }
    }

    fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        self.status.as_mut().map(|status| &mut status.ledger)
    }

    fn stored(&self) -> serde_json::Value {
        self.status
            .as_ref()
            .map_or(serde_json::Value::Null, |status| serde_json::json!(status))
    }

    fn status(&self, state: &State, _: Option<&Location>, found: Option<&Found>) -> serde_json::Value {
        // Of a record that is not this resource's, or is gone, nothing is told.
        let before = self.status.clone().filter(|_| state.ledger.origin.is_some());
        let mut status = BackendEnvironmentStatus {
            ledger: state.ledger.clone(),
            ..before.unwrap_or_default()
        };
        if let Some(Found::Environment(record)) = found.filter(|_| state.ledger.origin.is_some()) {
            status.backend_environment_arn = Some(record.arn.clone());
            status.stack_name.clone_from(&record.stack_name);
            status.deployment_artifacts.clone_from(&record.deployment_artifacts);
            status.create_time = Some(record.create_time);
            status.update_time = Some(record.update_time);
        }
        serde_json::json!(status)
    }

    fn creation(&self, _: &Location, _: Option<&ResourceConfig>) -> Result<Creation, String> {
        Ok(Creation::Environment {
            stack_name: self.spec.stack_name.clone(),
            deployment_artifacts: self.spec.deployment_artifacts.clone(),
        })
    }

    fn compare(&self, found: &Found, _: Option<&ResourceConfig>) -> Seen {
        let mut seen = Seen::default();
        let Found::Environment(record) = found else {
            return seen;
        };
        seen.create_time = Some(record.create_time);
        // A field that AWS does not return is unknown, not different.
        let differs =
            |wanted: &Option<String>, there: &Option<String>| wanted.is_some() && there.is_some() && wanted != there;
        if differs(&self.spec.stack_name, &record.stack_name) {
            seen.differs.push("stackName");
        }
        if differs(&self.spec.deployment_artifacts, &record.deployment_artifacts) {
            seen.differs.push("deploymentArtifacts");
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Origin;

    #[test]
    fn a_record_is_told_of_only_while_it_is_the_resources_own() {
        let resource: BackendEnvironment = serde_json::from_value(json!({
            "apiVersion": "amplify-operator.dev/v1alpha1", "kind": "BackendEnvironment",
            "metadata": { "name": "dev" }, "spec": { "appId": "d1a2", "environmentName": "dev" },
            "status": { "backendEnvironmentArn": "arn:former", "stackName": "former" },
        }))
        .unwrap();
        for (origin, arn) in [(None, None), (Some(Origin::Created), Some("arn:former"))] {
            let state = State {
                ledger: Ledger {
                    origin,
                    ..Ledger::default()
                },
                ..State::default()
            };
            let status = resource.status(&state, None, None);
            assert_eq!(status["backendEnvironmentArn"].as_str(), arn);
            assert_eq!(status["stackName"].is_string(), arn.is_some());
        }
    }
}
