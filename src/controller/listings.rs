//! The lists that the drift checks of all resources of an app share: one call per app and check for its backends, one for
//! its environment records.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::amplify::{Backends, Record};

/// All resources of an app fall due at the same moment; a list is kept this long for those that come late.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// A list that was begun and never ended (its pass was dropped) stops holding others up.
const GIVEN_UP: SignedDuration = SignedDuration::from_secs(60);

/// An app in an account (seen with one role) and region.
pub(super) type App = (String, String, String);
/// The records of an app's environments by name.
pub(super) type Records = Arc<BTreeMap<String, Record>>;

/// What is to be done about the list of an app.
pub(super) enum Listing<T> {
    /// It was made at this time, since the check fell due.
    Fresh(Timestamp, T),
    /// Another pass is making it.
    UnderWay,
    /// This pass is to make it, and to say so with [`Listings::put`].
    Begin,
}

enum Slot<T> {
    UnderWay(Timestamp),
    Made(Timestamp, T),
}

/// The lists of one kind, made or under way.
pub(super) struct Listings<T>(Mutex<HashMap<App, Slot<T>>>);

/// The lists of backends.
pub(super) type BackendListings = Listings<Arc<Backends>>;
/// The lists of records.
pub(super) type RecordListings = Listings<Records>;

impl<T> Default for Listings<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Listings<T> {
    /// The list for a check that fell due at `due`: an older list does not show what the check is to see.
    pub(super) fn get(&self, app: &App, due: Timestamp, now: Timestamp) -> Listing<T> {
        let mut lists = self.0.lock();
        lists.retain(|_, slot| match slot {
            Slot::UnderWay(at) => now.duration_since(*at) < GIVEN_UP,
            Slot::Made(at, _) => now.duration_since(*at) < KEPT,
        });
        match lists.get(app) {
            Some(Slot::Made(at, list)) if *at >= due => Listing::Fresh(*at, list.clone()),
            Some(Slot::UnderWay(_)) => Listing::UnderWay,
            Some(Slot::Made(..)) | None => {
                lists.insert(app.clone(), Slot::UnderWay(now));
                Listing::Begin
            }
        }
    }

    /// Ends what [`Listing::Begin`] began at this time; without a list it failed.
    pub(super) fn put(&self, app: App, at: Timestamp, list: Option<T>) {
        let mut lists = self.0.lock();
        match list {
            Some(list) => lists.insert(app, Slot::Made(at, list)),
            None => lists.remove(&app),
        };
    }
}
