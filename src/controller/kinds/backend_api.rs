//! `BackendApi`: CreateBackendAPI, GetBackendAPI, UpdateBackendAPI, DeleteBackendAPI.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    amplify::{Creation, Found},
    api::{BackendApi, BackendApiStatus, Ledger, Operation, ResourceConfig, text::digest},
    controller::{
        index::{Environment, Index, KindName, Location},
        kind::{Kind, Located, NO_REGION, Policies, not_ready, owned_region},
    },
    lifecycle::{Echo, Equality, Hashes, Seen, State},
};

/// Stands for a schema that is not at hand. The definition asks for at least one character.
const LEFT_OUT: &str = "";
/// How many digits of its digest a configuration is known by.
const HASH_DIGITS: usize = 32;

/// AWS counts it down, so it is sent and never compared.
const NOT_COMPARED: &str = "expirationTime";

impl Kind for BackendApi {
    const NAME: KindName = KindName::BackendApi;

    fn create(&self) -> Operation {
        Operation::CreateBackendApi
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
        self.spec.backend_ref.as_ref().map(|reference| reference.name.as_str())
    }

    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located {
        let spec = &self.spec;
        let mut located = Located::default();
        let mut place = None;
        if let Some(name) = self.refers_to() {
            let referred = index.backend(namespace, name);
            place = referred
                .and_then(|entry| entry.location.as_ref())
                .map(|there| there.environment.clone());
            let owned = owned_region(self.status.as_ref().map(|status| &status.ledger));
            located.region = owned.or_else(|| place.as_ref().map(|place| place.region.clone()));
            located.dependency = not_ready(index, namespace, name, "spec.backendRef");
        } else {
            located.region = spec.region.clone().or_else(|| default_region.map(str::to_owned));
            if let (Some(region), Some(app), Some(environment)) =
                (&located.region, &spec.app_id, &spec.backend_environment_name)
            {
                place = Some(Arc::new(Environment {
                    region: region.clone(),
                    app: app.clone(),
                    name: environment.clone(),
                }));
            } else {
                located.invalid = Some(NO_REGION.to_owned());
            }
        }
        // Once pinned, status says where it lives: the reference serves only create and update.
        let pinned = self.status.as_ref().and_then(|status| {
            Some(Arc::new(Environment {
                region: status.ledger.region.clone()?,
                app: status.app_id.clone()?,
                name: status.backend_environment_name.clone()?,
            }))
        });
        located.location = pinned.or(place).map(|environment| Location {
            environment,
            resource: Some(spec.resource_name.clone()),
            source: None,
        });
        located
    }

    fn state(&self) -> State {
        let status = self.status.clone().unwrap_or_default();
        State {
            ledger: status.ledger,
            hashes: Hashes {
                sent: status.sent_config_hash,
                echoed: status.echoed_config_hash,
            },
        }
    }

    fn ledger_mut(&mut self) -> Option<&mut Ledger> {
        self.status.as_mut().map(|status| &mut status.ledger)
    }

    fn stored(&self) -> Value {
        self.status
            .as_ref()
            .map_or(Value::Null, |status| serde_json::json!(status))
    }

    fn status(&self, state: &State, location: Option<&Location>, _: Option<&Found>) -> Value {
        serde_json::json!(BackendApiStatus {
            ledger: state.ledger.clone(),
            app_id: location.map(|location| location.environment.app.clone()),
            backend_environment_name: location.map(|location| location.environment.name.clone()),
            sent_config_hash: state.hashes.sent.clone(),
            echoed_config_hash: state.hashes.echoed.clone(),
        })
    }

    fn config(&self) -> Option<&ResourceConfig> {
        Some(&self.spec.resource_config)
    }

    fn leave_out(&mut self) {
        if let Some(schema) = &mut self.spec.resource_config.transform_schema {
            LEFT_OUT.clone_into(schema);
            schema.shrink_to_fit();
        }
    }

    fn creation(&self, _: &Location, config: Option<&ResourceConfig>) -> Result<Creation, String> {
        Ok(Creation::Api {
            config: config.cloned().ok_or("resourceConfig is not resolved")?,
        })
    }

    fn compare(&self, found: &Found, config: Option<&ResourceConfig>) -> Seen {
        let Found::Api { config: there } = found else {
            return Seen::default();
        };
        // Unresolved, the spec still says which fields are set.
        let fields = config.map_or_else(
            || with_placeholder(&self.spec.resource_config),
            |config| serde_json::json!(config),
        );
        let there = serde_json::json!(there);
        Seen {
            echo: Some(Echo {
                hash: config_hash(&project(&fields, &there)),
                equality: config.map(|_| equality(&fields, &there)),
            }),
            ..Seen::default()
        }
    }
}

/// Whether the cache holds this configuration without its schema.
pub(in crate::controller) fn is_schema_left_out(config: &ResourceConfig) -> bool {
    config.transform_schema.as_deref() == Some(LEFT_OUT)
}

fn with_placeholder(config: &ResourceConfig) -> Value {
    let mut config = config.clone();
    if config.transform_schema_from.take().is_some() {
        config.transform_schema = Some(LEFT_OUT.to_owned());
    }
    serde_json::json!(config)
}

/// Hash of a resolved configuration.
pub(in crate::controller) fn config_hash(config: &impl serde::Serialize) -> String {
    let bytes = serde_json::to_vec(config).unwrap_or_default();
    let mut digits = digest(&bytes);
    digits.truncate(HASH_DIGITS);
    digits
}

/// The part of `there` that `fields` speaks of.
fn project(fields: &Value, there: &Value) -> Value {
    match (fields, there) {
        (Value::Object(fields), Value::Object(there)) => fields
            .iter()
            .filter(|(name, _)| *name != NOT_COMPARED)
            .map(|(name, field)| {
                (
                    name.clone(),
                    there.get(name).map_or(Value::Null, |value| project(field, value)),
                )
            })
            .collect(),
        (Value::Array(fields), Value::Array(values)) if fields.len() == values.len() => fields
            .iter()
            .zip(values)
            .map(|(field, value)| project(field, value))
            .collect(),
        (_, Value::String(text)) => Value::String(text.trim_end().to_owned()),
        _ => there.clone(),
    }
}

fn equality(wanted: &Value, there: &Value) -> Equality {
    let worst = |all: &mut dyn Iterator<Item = Equality>| {
        all.fold(Equality::Equal, |sum, each| match (sum, each) {
            (Equality::Different, _) | (_, Equality::Different) => Equality::Different,
            (Equality::Unknown, _) | (_, Equality::Unknown) => Equality::Unknown,
            _ => Equality::Equal,
        })
    };
    match (wanted, there) {
        (_, Value::Null) => Equality::Unknown,
        (Value::Object(fields), Value::Object(there)) => worst(&mut fields.iter().map(|(name, field)| {
            match there.get(name) {
                None => Equality::Unknown,
                // Not comparable: an edit of it alone must be sent.
                Some(value) if name == NOT_COMPARED && field != value => Equality::Unknown,
                Some(value) => equality(field, value),
            }
        })),
        (Value::Array(fields), Value::Array(values)) if fields.len() == values.len() => {
            worst(&mut fields.iter().zip(values).map(|(field, value)| equality(field, value)))
        }
        (Value::String(wanted), Value::String(there)) if wanted.trim_end() == there.trim_end() => Equality::Equal,
        _ if wanted == there => Equality::Equal,
        _ => Equality::Different,
    }
}
