//! The list of an app's environments that the drift checks of all its resources share: one call per app and check.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::amplify::Record;

/// All resources of an app fall due at the same moment; a list is kept this long for those that come late.
const KEPT: SignedDuration = SignedDuration::from_secs(60);
/// A list that was begun and never ended (its pass was dropped) stops holding others up.
const GIVEN_UP: SignedDuration = SignedDuration::from_secs(60);

/// An app in an account (seen with one role) and region.
pub(super) type App = (String, String, String);
/// The records of an app's environments by name.
pub(super) type Records = Arc<BTreeMap<String, Record>>;

/// What is to be done about the list of an app.
pub(super) enum Listing {
    /// It was made at this time, since the check fell due.
    Fresh(Timestamp, Records),
    /// Another pass is making it.
    UnderWay,
    /// This pass is to make it, and to say so with [`Listings::put`].
    Begin,
}

enum Slot {
    UnderWay(Timestamp),
    Made(Timestamp, Records),
}

/// The lists made or under way.
#[derive(Default)]
pub(super) struct Listings(Mutex<HashMap<App, Slot>>);

impl Listings {
    /// The list for a check that fell due at `due`: an older list does not show what the check is to see.
    pub(super) fn get(&self, app: &App, due: Timestamp, now: Timestamp) -> Listing {
        let mut lists = self.0.lock();
        lists.retain(|_, slot| match slot {
            Slot::UnderWay(at) => now.duration_since(*at) < GIVEN_UP,
            Slot::Made(at, _) => now.duration_since(*at) < KEPT,
        });
        match lists.get(app) {
            Some(Slot::Made(at, records)) if *at >= due => Listing::Fresh(*at, records.clone()),
            Some(Slot::UnderWay(_)) => Listing::UnderWay,
            Some(Slot::Made(..)) | None => {
                lists.insert(app.clone(), Slot::UnderWay(now));
                Listing::Begin
            }
        }
    }

    /// Ends what [`Listing::Begin`] began; without records it failed.
    pub(super) fn put(&self, app: App, now: Timestamp, records: Option<Records>) {
        let mut lists = self.0.lock();
        match records {
            Some(records) => lists.insert(app, Slot::Made(now, records)),
            None => lists.remove(&app),
        };
    }
}
