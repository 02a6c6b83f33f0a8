//! A kind: its description ([`Kind`]) and the requests to AWS about its objects ([`Remote`]), both in one file per
//! kind.
//!
//! [`Kind`] is pure: mappings only. Each function of [`Remote`] may make one request to AWS, or read one list with all
//! its pages. May not: decide anything, use the API server, or use another kind's code (a reference may name its kind).
//!
//! | file | holds |
//! |---|---|
//! | `config` | shared by kinds with a configuration: references to ConfigMaps, comparison |
//! | `described`, `meta_config`, `overview` | GetBackend's answer about a backend and its contents |
//! | `in_backend` | shared by kinds whose AWS object is in a backend |
//! | one for each kind of `api::kinds` | the kind |

pub mod amplify_backend;
pub mod backend_api;
pub mod backend_environment;
pub mod backend_storage;
pub mod config;
pub mod described;
mod in_backend;
pub mod meta_config;
pub mod overview;

use std::sync::Arc;

use jiff::SignedDuration;
use kube::{
    Resource,
    core::{NamespaceResourceScope, object::HasStatus},
};
use serde::{Serialize, de::DeserializeOwned};

use config::Config;
use meta_config::MetaConfig;

use crate::{
    amplify::{Accepted, AppId, Client, EnvironmentName, InvalidName, answers::never},
    api::{
        Abilities, KeepsLedger, KindName, Ledger, Policies, conditions,
        outputs::{BackendOutputs, OutputsTo},
    },
    controller::index::{Environment, Index, Location, ObjectKey},
    lifecycle::{Bar, Lack, Missing, Seen, State, Words, facts::Failure},
};

/// A kind of custom resource.
pub trait Kind:
    Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Serialize
    + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: KeepsLedger + Serialize>
    + Send
    + Sync
    + 'static
{
    /// The name of the kind.
    const NAME: KindName;
    /// Whether AWS has a call that lists all objects of an app: [`Remote::list`].
    const IS_LISTED: bool;
    /// Whether AWS objects of other kinds can be inside its AWS object, and are deleted with it.
    const CONTAINS: bool = false;

    /// The part of AWS's answer about an object that the kind keeps.
    type Found: Clone + std::fmt::Debug + Send + Sync;

    /// The configuration that an update can change.
    type Config: Config;

    /// Returns the operations that AWS has for its object.
    fn abilities(&self) -> Abilities;

    /// Returns the words for its AWS object in messages.
    fn words(&self) -> Words {
        Words::default()
    }

    /// Returns the fields of the spec that all kinds share.
    fn policies(&self) -> &Policies;

    /// Returns `spec.jobTimeout`, for kinds with jobs.
    fn job_timeout(&self) -> Option<SignedDuration> {
        None
    }

    /// Returns the resource in this namespace that it refers to.
    fn refers_to(&self, _namespace: &str) -> Option<ObjectKey> {
        None
    }

    /// Returns where its AWS object lives, and what must exist first.
    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located;

    /// Returns the part of its status that all kinds share, if it has a status.
    fn ledger(&self) -> Option<&Ledger> {
        Some(self.status()?.ledger())
    }

    /// Returns the part of its status that decisions read.
    fn state(&self) -> State {
        let status = self.status();
        State {
            ledger: status.map(|status| status.ledger().clone()).unwrap_or_default(),
            hashes: status.map(KeepsLedger::hashes).unwrap_or_default(),
        }
    }

    /// Returns the status as it is stored.
    fn stored(&self) -> serde_json::Value {
        self.status()
            .map_or(serde_json::Value::Null, |status| serde_json::json!(status))
    }

    /// Builds the status for this state, from the AWS object as seen in this pass.
    fn show(&self, state: &State, location: Option<&Location>, found: Observation<&Self::Found>) -> serde_json::Value;

    /// Adds to an object the values that only the contents of its backend have.
    fn describe(&self, _found: &mut Self::Found, _contents: &MetaConfig) {}

    /// Returns the object as the outputs show it, of a kind whose objects are backends.
    #[must_use]
    fn of_outputs(_outputs: &BackendOutputs) -> Option<Self::Found> {
        None
    }

    /// Adds the outputs to an object that has none, of a kind whose objects are backends.
    fn add_outputs(_found: &mut Self::Found, _outputs: &BackendOutputs) {}

    /// Returns where its outputs are written in addition to its status.
    fn outputs_to(&self) -> Option<&OutputsTo> {
        None
    }

    /// Whether its status has values from the contents of its backend, and none are known yet.
    fn lacks_contents(&self) -> bool {
        false
    }

    /// Returns the configuration in the spec.
    fn config(&self) -> Option<&Self::Config> {
        None
    }

    /// Drops long fields that are not needed soon. Resolving the configuration reads them again.
    fn leave_out(&mut self) {}

    /// Compares the AWS object with the spec. `config` is the resolved configuration, if it could be resolved.
    fn compare(&self, found: &Self::Found, config: Option<&Self::Config>) -> Seen;
}

/// The requests to AWS about the objects of a kind. Each function makes one request, or reads one list. A write is sent
/// once.
pub trait Remote: Kind {
    /// All objects of an app, as one list shows them.
    type List: Send + Sync + 'static;

    /// Looks for the object, and returns it if it is there.
    fn look(
        &self,
        client: &Client,
        location: &Location,
    ) -> impl Future<Output = Result<Sight<Self::Found>, Failure>> + Send;

    /// Returns the place of an object that a look has not shown, by the contents of its backend. Called for kinds with
    /// one object per environment.
    fn place(&self, _client: &Client, _location: &Location) -> impl Future<Output = Result<Place, Failure>> + Send {
        async { Ok(Place::Unclear) }
    }

    /// Returns the contents of the backend in this environment. `None`: they are unknown, or there is no backend.
    #[must_use]
    fn contents(
        client: &Client,
        location: &Location,
    ) -> impl Future<Output = Result<Option<MetaConfig>, Failure>> + Send {
        async { Ok(described::contents(client, location).await?.and_then(Result::ok)) }
    }

    /// Lists the objects of an app with one call. A list that cannot be read to its end is a failure, never a shorter
    /// list.
    #[must_use]
    fn list(_client: &Client, _app: &AppId) -> impl Future<Output = Result<Self::List, Failure>> + Send {
        async { Err(never("AWS has no list of these objects")) }
    }

    /// Returns the object from a list. `None`: the list does not have it, and only a look can prove that it is gone.
    fn in_list(_list: &Self::List, _environment: &EnvironmentName) -> Option<Self::Found> {
        None
    }

    /// Creates the object. `config` is the resolved configuration.
    fn create(
        &self,
        client: &Client,
        location: &Location,
        config: Option<&Self::Config>,
    ) -> impl Future<Output = Result<Accepted<Self::Found>, Failure>> + Send;

    /// Replaces the configuration of the object.
    fn update(
        _client: &Client,
        _location: &Location,
        _config: &Self::Config,
    ) -> impl Future<Output = Result<Accepted<Self::Found>, Failure>> + Send {
        async { Err(never("AWS cannot change this object")) }
    }

    /// Deletes the object, which the look of the same pass has shown. `None`: AWS answers that there is no such object.
    fn delete(
        client: &Client,
        location: &Location,
        found: Option<&Self::Found>,
    ) -> impl Future<Output = Result<Option<Accepted<Self::Found>>, Failure>> + Send;
}

/// The answer to a look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sight<F> {
    /// The object is there.
    Shown(F),
    /// AWS answers that the object is not there.
    Absent,
    /// AWS answers, but describes no object of this name, or another object. The contents of the backend decide whether
    /// the object is absent. If they do not, this failure is the answer.
    Undescribed(Failure),
}

impl<F> From<Option<F>> for Sight<F> {
    fn from(found: Option<F>) -> Self {
        found.map_or(Self::Absent, Self::Shown)
    }
}

/// The place of an object in its backend, for kinds with one object per environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// The place is empty, and nothing prevents a create.
    Free,
    /// The place is empty or taken, and this prevents a create.
    Barred(Bar),
    /// The contents of the backend name the object itself, or are unknown.
    Unclear,
}

/// The location of an AWS object, and the reasons why it cannot be acted on.
#[derive(Clone, Debug, Default)]
pub struct Located {
    /// The location, as far as it is known.
    pub location: Option<Location>,
    /// The region in today's spec.
    pub region: Option<String>,
    /// The dependency that is missing.
    pub dependency: Option<Missing>,
    /// Why the spec cannot be carried out.
    pub invalid: Option<String>,
}

impl Located {
    /// Adds the location, or why there is none.
    fn locate(mut self, location: Result<Location, InvalidName>) -> Self {
        match location {
            Ok(location) => self.location = Some(location),
            Err(error) => self.invalid = Some(error.to_string()),
        }
        self
    }
}

/// Returns the region of an AWS object that this resource owns, whatever its reference now names. References serve only
/// create and update.
fn owned_region(ledger: Option<&Ledger>) -> Option<String> {
    ledger.filter(|ledger| ledger.origin.is_some())?.region.clone()
}

/// Makes an environment from unchecked names. A resource may be older than the definition's rules, and the names become
/// part of a URL.
fn environment(region: &str, app: &str, name: &str) -> Result<Arc<Environment>, InvalidName> {
    Ok(Arc::new(Environment {
        region: region.to_owned(),
        app: app.parse()?,
        name: name.parse()?,
    }))
}

/// The AWS object of a resource, as far as a pass has looked at it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Observation<F> {
    /// The pass has not looked at it.
    #[default]
    NotMade,
    /// AWS shows no such object.
    Absent,
    /// AWS shows it.
    Object(F),
}

impl<F> Observation<F> {
    /// The same, of a borrowed object.
    pub const fn as_ref(&self) -> Observation<&F> {
        match self {
            Self::NotMade => Observation::NotMade,
            Self::Absent => Observation::Absent,
            Self::Object(found) => Observation::Object(found),
        }
    }

    /// Returns the object, if AWS shows it.
    pub fn object(self) -> Option<F> {
        match self {
            Self::NotMade | Self::Absent => None,
            Self::Object(found) => Some(found),
        }
    }
}

/// Returns the outputs for a status. They stay while nothing newer is known of them, and go with the object. A "not found" that is
/// not believed yet leaves the resource Ready, and its outputs as they are.
fn outputs<F, O: Clone + Default + PartialEq>(
    before: Option<&O>,
    found: Observation<&F>,
    ledger: &Ledger,
    of: impl FnOnce(&F) -> Option<O>,
) -> Option<O> {
    let is_ready = conditions::is_true(&ledger.conditions, conditions::READY);
    match found {
        Observation::NotMade => before.cloned(),
        Observation::Absent => before.filter(|_| is_ready).cloned(),
        Observation::Object(found) => {
            let shown = of(found);
            // An answer without any says only that AWS does not show them.
            let is_news = before.is_none() || shown.as_ref().is_some_and(|shown| *shown != O::default());
            shown.filter(|_| is_news).or_else(|| before.cloned())
        }
    }
}

/// Returns why the referenced resource cannot be used yet: it does not exist in this namespace, or is not Ready.
fn not_ready(index: &Index, referred: &ObjectKey, field: &str) -> Option<Missing> {
    let (kind, name) = (referred.kind.name(), &referred.name);
    match index.get(referred) {
        None => Some(Missing {
            message: format!(
                "{kind} {name:?} ({field}) does not exist in this namespace: apply it, or correct the name. The operator looks for it again"
            ),
            lack: Lack::Absent,
        }),
        Some(entry) if entry.ready && !entry.deleting => None,
        Some(entry) => Some(Missing {
            message: format!(
                "{kind} {name:?} ({field}) {}: this resource goes on when it is Ready",
                if entry.deleting {
                    "is being deleted"
                } else {
                    "is not Ready"
                }
            ),
            lack: Lack::NotReady,
        }),
    }
}

/// Neither the spec nor the account entry names a region, and the operator has none.
const NO_REGION: &str =
    "no AWS region: set spec.region, or a region in the namespace's account entry, or AWS_REGION of the operator";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Origin;

    #[test]
    fn only_what_is_owned_stays_in_its_region_whatever_a_reference_names_by_now() {
        let pinned = |origin| Ledger {
            origin,
            region: Some("eu-west-1".into()),
            ..Ledger::default()
        };
        assert_eq!(owned_region(None), None);
        assert_eq!(owned_region(Some(&pinned(None))), None);
        let owned = owned_region(Some(&pinned(Some(Origin::Cloned))));
        assert_eq!(owned.as_deref(), Some("eu-west-1"));
    }
}
