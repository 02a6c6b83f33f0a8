//! Shared by kinds whose AWS object is in a backend: its location, and its names. Pure.

use super::{Located, NO_REGION, environment, not_ready, owned_region};
use crate::{
    amplify::{AppId, EnvironmentName, InvalidName, ResourceName, answers::never},
    api::{
        KindName, Ledger,
        backend_target::{BackendTarget, ResolvedTarget},
    },
    controller::index::{Environment, Index, Location, ObjectKey, Within},
    lifecycle::facts::Failure,
};

/// Where AWS looks for an object in a backend: see [`Words::place`](crate::lifecycle::Words::place).
pub(super) const PLACE: &str = "the app ID, the name of the backend environment and the region";

/// The fields of a resource that locate its AWS object.
pub(super) struct Address<'a> {
    /// Its kind.
    pub(super) kind: KindName,
    /// The name of the AWS object, as far as it is known.
    pub(super) resource: Option<&'a str>,
    /// The part of the spec that names the backend.
    pub(super) target: &'a BackendTarget,
    /// Its namespace.
    pub(super) namespace: &'a str,
    /// The part of its status that all kinds share.
    pub(super) ledger: Option<&'a Ledger>,
    /// The backend, once status names it.
    pub(super) pinned: Option<&'a ResolvedTarget>,
}

/// Returns the AmplifyBackend that the target refers to.
pub(super) fn refers_to(target: &BackendTarget, namespace: &str) -> Option<ObjectKey> {
    let reference = target.backend_ref.as_ref()?;
    Some(ObjectKey::new(KindName::AmplifyBackend, namespace, &reference.name))
}

/// Returns the target for status. A pinned target stays, even if the spec no longer names a valid one.
pub(super) fn resolved(location: Option<&Location>, pinned: Option<&ResolvedTarget>) -> ResolvedTarget {
    match location {
        Some(location) => ResolvedTarget {
            app_id: Some(location.environment.app.to_string()),
            backend_environment_name: Some(location.environment.name.to_string()),
        },
        None => pinned.cloned().unwrap_or_default(),
    }
}

/// Returns app, environment and name of an object in a backend.
pub(super) fn names(location: &Location) -> Result<(&AppId, &EnvironmentName, &ResourceName), Failure> {
    let Environment { app, name, .. } = location.environment.as_ref();
    let within = location.within.as_ref().and_then(|within| within.name.as_ref());
    let resource = within.ok_or_else(|| never("the AWS object has no name"))?;
    Ok((app, name, resource))
}

/// Returns where the AWS object lives, and what must exist first.
pub(super) fn locate(of: &Address<'_>, index: &Index, default_region: Option<&str>) -> Located {
    let target = of.target;
    let mut located = Located::default();
    let mut place = None;
    if let Some(referred) = refers_to(target, of.namespace) {
        place = index
            .get(&referred)
            .and_then(|entry| entry.location.as_ref())
            .map(|there| Ok(there.environment.clone()));
        let region = place.as_ref().and_then(|place| place.as_ref().ok());
        located.region = owned_region(of.ledger).or_else(|| region.map(|place| place.region.clone()));
        located.dependency = not_ready(index, &referred, "spec.backendRef");
    } else {
        located.region = target.region.clone().or_else(|| default_region.map(str::to_owned));
        if let (Some(region), Some(app), Some(name)) =
            (&located.region, &target.app_id, &target.backend_environment_name)
        {
            place = Some(environment(region, app, name));
        } else {
            located.invalid = Some(NO_REGION.to_owned());
        }
    }
    // Once pinned, the location comes from status: the reference serves only create and update.
    let pinned = of.pinned.and_then(ResolvedTarget::names).and_then(|(app, name)| {
        let region = of.ledger?.region.as_ref()?;
        Some(environment(region, app, name))
    });
    let Some(place) = pinned.or(place) else {
        return located;
    };
    let named: Result<Location, InvalidName> = place.and_then(|environment| {
        Ok(Location {
            environment,
            within: Some(Within {
                kind: of.kind,
                name: of.resource.map(str::parse).transpose()?,
            }),
            source: None,
        })
    });
    located.locate(named)
}
