//! The lists that the drift checks of all resources of an app and kind share: one call per app and check.

use std::{collections::HashMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::amplify::AppId;

/// All resources of an app fall due at the same moment; a list is kept this long for those that come late.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// A list that was begun and never ended (its pass was dropped) stops holding others up.
const GIVEN_UP: SignedDuration = SignedDuration::from_secs(60);

/// An app in an account (seen with one role) and region.
pub(super) type App = (String, String, AppId);

/// What is to be done about the list of an app.
pub(super) enum Listing<T> {
    /// It was made at this time, since the check fell due.
    Fresh(Timestamp, Arc<T>),
    /// Another pass is making it.
    UnderWay,
    /// This pass is to make it, and to say so with [`Listings::put`].
    Begin,
}

enum Slot<T> {
    UnderWay(Timestamp),
    Made(Timestamp, Arc<T>),
}

/// The lists of one kind, made or under way.
pub struct Listings<T>(Mutex<HashMap<App, Slot<T>>>);

impl<T> Default for Listings<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Listings<T> {
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
    pub(super) fn put(&self, app: App, at: Timestamp, list: Option<Arc<T>>) {
        let mut lists = self.0.lock();
        match list {
            Some(list) => lists.insert(app, Slot::Made(at, list)),
            None => lists.remove(&app),
        };
    }
}
