//! The lists that the drift checks of all resources of an app and kind share: one call per app and check.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::amplify::AppId;

/// How long a list is kept for late checks. The checks of all resources of an app are due at the same moment.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// How long an unfinished list blocks the others. Its pass may have been dropped.
const GIVEN_UP: SignedDuration = SignedDuration::from_secs(60);

/// An app in an account and region. The account string includes the role that reads it.
pub(super) type App = (String, String, AppId);

/// The state of the list of an app.
pub(super) enum Listing<T> {
    /// The list was made at this time, after the check became due.
    Fresh(Timestamp, Arc<T>),
    /// Another pass is making the list.
    UnderWay,
    /// The caller must make the list and call [`Listings::put`].
    Begin,
}

enum Slot<T> {
    UnderWay(Timestamp),
    Made(Timestamp, Arc<T>),
}

/// The lists of one kind, made or in progress.
pub struct Listings<T>(Mutex<HashMap<App, Slot<T>>>);

impl<T> Default for Listings<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Listings<T> {
    /// Returns the list for a check that became due at `due`. An older list does not count: it may not show the changes
    /// that the check must find.
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

    /// Finishes a list begun by [`Listing::Begin`]. `at`: when the list was made. `None`: the list failed.
    pub(super) fn put(&self, app: App, at: Timestamp, list: Option<Arc<T>>) {
        let mut lists = self.0.lock();
        match list {
            Some(list) => lists.insert(app, Slot::Made(at, list)),
            None => lists.remove(&app),
        };
    }
}
