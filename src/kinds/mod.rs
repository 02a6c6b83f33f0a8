//! What a kind is: its description ([`Kind`]) and the requests to AWS about its objects ([`Remote`]), both in one file per kind.
//!
//! [`Kind`] is pure: mappings only. [`Remote`] may make one request to AWS in each function, or read one list with all its pages.
//! May not: decide anything, know the API server, or use another kind's code (a reference may name its kind).
//!
//! | file | holds |
//! |---|---|
//! | `config` | what kinds with a configuration share: references to ConfigMaps, comparison |
//! | `described`, `meta_config` | what GetBackend tells of a backend, and of what is in it |
//! | `in_backend` | what kinds share whose AWS object is in a backend |
//! | one for each kind of `api::kinds` | the kind |

pub mod amplify_backend;
pub mod backend_api;
pub mod backend_environment;
pub mod backend_storage;
pub mod config;
pub mod described;
mod in_backend;
pub mod meta_config;

use std::sync::Arc;

use jiff::SignedDuration;
use kube::{
    Resource,
    core::{NamespaceResourceScope, object::HasStatus},
};
use serde::{Serialize, de::DeserializeOwned};

use config::Config;

use crate::{
    amplify::{Accepted, AppId, Client, EnvironmentName, InvalidName, answers::never},
    api::{Abilities, KeepsLedger, KindName, Ledger, Policies},
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
    /// Which kind.
    const NAME: KindName;
    /// Whether AWS has one call that shows all objects of an app: [`Remote::list`].
    const IS_LISTED: bool;
    /// Whether the AWS objects of others can be inside its own, and go with it.
    const CONTAINS: bool = false;

    /// What AWS shows of an object.
    type Found: Clone + std::fmt::Debug + Send + Sync;

    /// The configuration that an update can change.
    type Config: Config;

    /// What AWS can do with its object.
    fn abilities(&self) -> Abilities;

    /// What messages say of its AWS object.
    fn words(&self) -> Words {
        Words::default()
    }

    /// The fields of the spec that all kinds share.
    fn policies(&self) -> &Policies;

    /// Of kinds with jobs: `spec.jobTimeout`.
    fn job_timeout(&self) -> Option<SignedDuration> {
        None
    }

    /// The resource of this namespace that it refers to.
    fn refers_to(&self, _namespace: &str) -> Option<ObjectKey> {
        None
    }

    /// Where its AWS object lives, and what that still needs.
    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located;

    /// The part of its status that all kinds share, where it has a status.
    fn ledger(&self) -> Option<&Ledger> {
        Some(self.status()?.ledger())
    }

    /// What decisions read of its status.
    fn state(&self) -> State {
        let status = self.status();
        State {
            ledger: status.map(|status| status.ledger().clone()).unwrap_or_default(),
            hashes: status.map(KeepsLedger::hashes).unwrap_or_default(),
        }
    }

    /// The status as it is stored.
    fn stored(&self) -> serde_json::Value {
        self.status()
            .map_or(serde_json::Value::Null, |status| serde_json::json!(status))
    }

    /// The status that stands for this state; `found` is what AWS showed in this pass.
    fn show(&self, state: &State, location: Option<&Location>, found: Option<&Self::Found>) -> serde_json::Value;

    /// The configuration as it stands in the spec.
    fn config(&self) -> Option<&Self::Config> {
        None
    }

    /// Leaves out what is long and not needed again soon. Whoever resolves the configuration reads it anew.
    fn leave_out(&mut self) {}

    /// What AWS shows, compared with the spec. `config` is the resolved one, where it could be resolved.
    fn compare(&self, found: &Self::Found, config: Option<&Self::Config>) -> Seen;
}

/// The requests to AWS about the objects of a kind. Each makes one, or reads one list, and a write is sent once.
pub trait Remote: Kind {
    /// All objects of an app.
    type List: Send + Sync + 'static;

    /// Whether the object is there, and as what.
    fn look(
        &self,
        client: &Client,
        location: &Location,
    ) -> impl Future<Output = Result<Sight<Self::Found>, Failure>> + Send;

    /// Of an object that a look has not shown: its place, as the backend tells what it has. Asked of kinds that are alone in
    /// their environment.
    fn place(&self, _client: &Client, _location: &Location) -> impl Future<Output = Result<Place, Failure>> + Send {
        async { Ok(Place::Unclear) }
    }

    /// The objects of an app, as one call shows them. A list that cannot be read to its end is a failure, never a shorter one.
    #[must_use]
    fn list(_client: &Client, _app: &AppId) -> impl Future<Output = Result<Self::List, Failure>> + Send {
        async { Err(never("AWS has no list of these objects")) }
    }

    /// The object in a list. `None`: not in it, and only a look of its own can tell that it is gone.
    fn in_list(_list: &Self::List, _environment: &EnvironmentName) -> Option<Self::Found> {
        None
    }

    /// Makes the object. `config` is the resolved configuration.
    fn create(
        &self,
        client: &Client,
        location: &Location,
        config: Option<&Self::Config>,
    ) -> impl Future<Output = Result<Accepted<Self::Found>, Failure>> + Send;

    /// Gives the object another configuration.
    fn update(
        _client: &Client,
        _location: &Location,
        _config: &Self::Config,
    ) -> impl Future<Output = Result<Accepted<Self::Found>, Failure>> + Send {
        async { Err(never("AWS cannot change this object")) }
    }

    /// Removes the object, which the look of the same pass has shown. `None`: AWS says that there is nothing.
    fn delete(
        client: &Client,
        location: &Location,
        found: Option<&Self::Found>,
    ) -> impl Future<Output = Result<Option<Accepted<Self::Found>>, Failure>> + Send;
}

/// What an answer to a look says of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sight<F> {
    /// It is there.
    Shown(F),
    /// AWS says that it is not there.
    Absent,
    /// AWS answers, and describes nothing of this name, or something of another: what the backend says that it has decides
    /// whether that means absence, and where it says nothing, this failure stands.
    Undescribed(Failure),
}

impl<F> From<Option<F>> for Sight<F> {
    fn from(found: Option<F>) -> Self {
        found.map_or(Self::Absent, Self::Shown)
    }
}

/// The place of an object in its backend, where an environment has one of its kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Nothing is there, and nothing stands in the way of it.
    Free,
    /// This stands in the way of it.
    Barred(Bar),
    /// The backend names the object itself, or does not say what it has.
    Unclear,
}

/// Where an AWS object lives, and what stands in the way of it.
#[derive(Clone, Debug, Default)]
pub struct Located {
    /// Where it lives, as far as it can be said.
    pub location: Option<Location>,
    /// The region that the spec names today.
    pub region: Option<String>,
    /// What must be there first.
    pub dependency: Option<Missing>,
    /// Why it cannot be carried out as it stands.
    pub invalid: Option<String>,
}

impl Located {
    /// With the location, or why it has none.
    fn locate(mut self, location: Result<Location, InvalidName>) -> Self {
        match location {
            Ok(location) => self.location = Some(location),
            Err(error) => self.invalid = Some(error.to_string()),
        }
        self
    }
}

/// Where the AWS object of a resource that owns one lives, whatever a reference of it names by now: references serve only
/// create and update.
fn owned_region(ledger: Option<&Ledger>) -> Option<String> {
    ledger.filter(|ledger| ledger.origin.is_some())?.region.clone()
}

/// An environment by names that may be none: a resource may be older than the definition's rules, and they become part of a URL.
fn environment(region: &str, app: &str, name: &str) -> Result<Arc<Environment>, InvalidName> {
    Ok(Arc::new(Environment {
        region: region.to_owned(),
        app: app.parse()?,
        name: name.parse()?,
    }))
}

/// What a reference to a resource of the same namespace lacks: one that is there and Ready.
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
