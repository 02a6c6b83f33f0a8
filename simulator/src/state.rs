//! The state of AWS: accounts, regions, apps, and in each app its backends, APIs, environment records and jobs. No I/O;
//! time is an argument. Everything is found by key, so that thousands of objects cost no more than one.

mod app;
mod jobs;

use std::collections::{BTreeMap, HashMap};

pub use app::Category;
pub(crate) use app::{App, Backend, EnvironmentRecord, Resource, hidden};
pub(crate) use jobs::{Effect, Job, NewJob};

/// The apps of every account and region.
#[derive(Debug, Default)]
pub(crate) struct World {
    regions: HashMap<String, HashMap<String, Region>>,
}

/// The apps of one account in one region.
#[derive(Debug, Default)]
pub(crate) struct Region {
    pub(crate) apps: BTreeMap<String, App>,
}

impl World {
    pub(crate) fn region(&mut self, account: &str, region: &str) -> &mut Region {
        self.regions
            .entry(account.to_owned())
            .or_default()
            .entry(region.to_owned())
            .or_default()
    }

    /// Returns every app with its account and region.
    pub(crate) fn apps(&mut self) -> impl Iterator<Item = (&str, &str, &mut App)> {
        self.regions.iter_mut().flat_map(|(account, regions)| {
            regions.iter_mut().flat_map(move |(region, apps)| {
                apps.apps
                    .values_mut()
                    .map(move |app| (account.as_str(), region.as_str(), app))
            })
        })
    }
}
