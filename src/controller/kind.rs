//! What the loop needs to know of a kind. Each kind is one small adapter: mappings only, no I/O, no decisions.

use jiff::SignedDuration;
use kube::{Resource, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};

use super::index::{Index, KindName, Location};
use crate::{
    amplify::{Creation, Found},
    api::{AdoptionPolicy, DeletionPolicy, Ledger, Operation, ResourceConfig},
    lifecycle::{Lack, Missing, Seen, State},
};

/// A kind of custom resource.
pub trait Kind:
    Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Serialize
    + Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Send
    + Sync
    + 'static
{
    /// Which kind.
    const NAME: KindName;

    /// The operation that creates its AWS object.
    fn create(&self) -> Operation;

    /// The fields of the spec that all kinds share.
    fn policies(&self) -> Policies;

    /// The name of the AmplifyBackend that it refers to.
    fn refers_to(&self) -> Option<&str>;

    /// Where its AWS object lives, and what that still needs.
    fn locate(&self, namespace: &str, index: &Index, default_region: Option<&str>) -> Located;

    /// What decisions read of its status.
    fn state(&self) -> State;

    /// The part of its status that all kinds share.
    fn ledger_mut(&mut self) -> Option<&mut Ledger>;

    /// The status as it is stored.
    fn stored(&self) -> serde_json::Value;

    /// The status that stands for this state; `found` is what AWS showed in this pass.
    fn status(&self, state: &State, location: Option<&Location>, found: Option<&Found>) -> serde_json::Value;

    /// The configuration that an update can change, as it stands in the spec.
    fn config(&self) -> Option<&ResourceConfig> {
        None
    }

    /// Leaves out what is long and not needed again soon. Whoever resolves the configuration reads it anew.
    fn leave_out(&mut self) {}

    /// What the create operation takes besides the object's name. `config` is the resolved one.
    fn creation(&self, location: &Location, config: Option<&ResourceConfig>) -> Result<Creation, String>;

    /// What AWS shows, compared with the spec. `config` is the resolved one, where it could be resolved.
    fn compare(&self, found: &Found, config: Option<&ResourceConfig>) -> Seen;
}

/// The fields of the spec that all kinds share.
#[derive(Clone, Debug)]
pub struct Policies {
    /// `spec.deletionPolicy`
    pub deletion: Option<DeletionPolicy>,
    /// `spec.adoptionPolicy`
    pub adoption: AdoptionPolicy,
    /// `spec.suspend`
    pub suspend: bool,
    /// `spec.jobTimeout`
    pub job_timeout: Option<SignedDuration>,
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

/// Where the AWS object of a resource that owns one lives, whatever a reference of it names by now: references serve only
/// create and update.
pub(super) fn owned_region(ledger: Option<&Ledger>) -> Option<String> {
    ledger.filter(|ledger| ledger.origin.is_some())?.region.clone()
}

/// What a reference to an AmplifyBackend of this namespace lacks: one that is there and Ready.
pub(super) fn not_ready(index: &Index, namespace: &str, name: &str, field: &str) -> Option<Missing> {
    match index.backend(namespace, name) {
        None => Some(Missing {
            message: format!(
                "AmplifyBackend {name:?} ({field}) does not exist in this namespace: apply it, or correct the name. It is looked for again"
            ),
            lack: Lack::Absent,
        }),
        Some(entry) if entry.ready && !entry.deleting => None,
        Some(entry) => Some(Missing {
            message: format!(
                "AmplifyBackend {name:?} ({field}) {}: this resource goes on when it is Ready",
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
pub(super) const NO_REGION: &str =
    "no AWS region: set spec.region, or give the namespace's account entry or the operator (AWS_REGION) one";

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
