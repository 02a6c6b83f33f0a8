//! The index of AWS objects: which resources describe, own or work on each. One entry per resource, over all kinds.
//!
//! Pure data, no I/O. It answers without scanning: the owner of an AWS object (conflicts), the holder of an
//! environment's slot, the references to a backend, the objects inside a backend.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    amplify::{AppId, EnvironmentName, ResourceName},
    api::KindName,
    lifecycle::{Dependents, Holds, Slot, Winner},
};

/// How long a free slot is kept for the resource whose turn it is. The resource may never take it: its namespace may
/// have lost its rights.
const TURN: SignedDuration = SignedDuration::from_mins(2);

/// The resource version of an object. Versions of one kind are comparable numbers (KEP-5504, Kubernetes 1.35; etcd
/// revisions before that). A version that is no number is neither before nor after any other.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Version(Option<u64>);

impl Version {
    /// Parses a version.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        Self(text.and_then(|text| text.parse().ok()))
    }

    /// Whether it is certainly older than the other.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        matches!((self.0, other.0), (Some(this), Some(other)) if this < other)
    }
}

/// A resource of one of the kinds.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: KindName,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// Makes the key of this kind, namespace and name.
    #[must_use]
    pub fn new(kind: KindName, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Returns namespace and name, as logs show them.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// A backend environment. AWS runs one job at a time in it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Environment {
    /// AWS region.
    pub region: String,
    /// AWS's app ID.
    pub app: AppId,
    /// Name of the environment.
    pub name: EnvironmentName,
}

/// Where the AWS object of a resource lives.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Location {
    /// The environment that the object is, or is in.
    pub environment: Arc<Environment>,
    /// The object inside the environment, unless it is the environment itself.
    pub within: Option<Within>,
    /// The source environment of a clone that is not made yet.
    pub source: Option<Arc<Environment>>,
}

/// An object in an environment. An environment has at most one object of each kind, whatever its name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Within {
    /// Its kind.
    pub kind: KindName,
    /// Its name, as far as it is known: AWS chooses some names.
    pub name: Option<ResourceName>,
}

impl Location {
    /// Whether both are locations of the same AWS object.
    fn is_of_the_same(&self, other: &Self) -> bool {
        let kind = |location: &Self| location.within.as_ref().map(|within| within.kind);
        self.environment == other.environment && kind(self) == kind(other)
    }

    fn slots(&self) -> impl Iterator<Item = &Arc<Environment>> {
        // Sorted, so that two clones never wait for each other.
        self.source
            .iter()
            .chain([&self.environment])
            .collect::<BTreeSet<_>>()
            .into_iter()
    }
}

/// The index's data about a resource.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Entry {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`
    pub version: Version,
    /// `metadata.creationTimestamp`
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The account pinned in its status.
    pub account: Option<String>,
    /// The account that distinguishes its AWS object from others of the same name, if there is an accounts file.
    pub tenant: Option<String>,
    /// Where its AWS object lives, as far as it is known.
    pub location: Option<Location>,
    /// The resource that it refers to.
    pub refers_to: Option<Arc<ObjectKey>>,
    /// Whether AWS objects of other resources can be inside its own, and are deleted with it.
    pub contains: bool,
    /// Whether it only observes its AWS object. Then it conflicts with no resource, and no resource conflicts with it
    /// unless it owns the object.
    pub observes: bool,
    /// Whether it owns its AWS object (`status.origin`), or may come to own it by an open intent.
    pub owns: bool,
    /// Whether it has seen its environment locked for a Gen 2 migration (`status.migrationLockedAt`): no other resource creates its AWS
    /// object.
    pub locked: bool,
    /// Whether it holds the slot, and until when.
    pub holds: Holds,
    /// Whether its status says that it waits for the slot.
    pub waits: bool,
    /// Whether its job is polled.
    pub polled: bool,
    /// The id of the job in its status.
    pub job: Option<String>,
    /// Whether it is Ready for today's generation.
    pub ready: bool,
}

/// The environment of a tenant.
type Place = (Option<String>, Arc<Environment>);

impl Entry {
    fn place(&self, environment: &Arc<Environment>) -> Place {
        (self.tenant.clone(), environment.clone())
    }

    /// Returns the account and region in which its job is polled.
    fn polled_in(&self) -> Option<(String, String)> {
        let region = &self.location.as_ref().filter(|_| self.polled)?.environment.region;
        Some((self.account.clone()?, region.clone()))
    }

    fn slots(&self) -> impl Iterator<Item = Place> {
        let slots = self.location.iter().flat_map(Location::slots);
        slots.map(|environment| self.place(environment))
    }
}

/// A few resources, sorted. Most places have one or two.
#[derive(Debug, Default)]
struct Keys(Vec<Arc<ObjectKey>>);

impl Keys {
    fn insert(&mut self, key: Arc<ObjectKey>) {
        if let Err(place) = self.0.binary_search(&key) {
            self.0.insert(place, key);
        }
    }

    /// Removes a key. Returns true if no key is left.
    fn remove(&mut self, key: &ObjectKey) -> bool {
        self.0.retain(|other| other.as_ref() != key);
        self.0.is_empty()
    }
}

/// The index. It has as many entries as there are resources. So keys and environments in several maps are shared
/// copies, and long values are boxed: a hash map has unused room.
#[derive(Debug, Default)]
pub struct Index {
    entries: HashMap<Arc<ObjectKey>, Box<Entry>>,
    by_environment: HashMap<Place, Keys>,
    /// The resources that refer to another one, by the resource referred to.
    by_reference: HashMap<Arc<ObjectKey>, Keys>,
    reserved: HashMap<Place, ObjectKey>,
    /// The number of jobs that are polled, by account and region.
    polled: HashMap<(String, String), usize>,
    /// Since when free slots have been kept for these resources, which have not asked again.
    offered: HashMap<ObjectKey, Timestamp>,
}

impl Index {
    /// Returns the entry of this resource.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.entries.get(key).map(Box::as_ref)
    }

    /// Stores an entry, and returns the resources that the change may affect. An entry older than the stored one
    /// changes nothing: a list of several pages shows objects as they were when the list began, and this process may
    /// have written them since.
    pub fn put(&mut self, key: &Arc<ObjectKey>, mut entry: Entry) -> BTreeSet<ObjectKey> {
        if let Some(known) = self.entries.get_mut(key) {
            if entry.version.is_before(known.version) {
                return BTreeSet::new();
            }
            known.version = entry.version;
            // That it begins to wait does not affect the others. That it stops waiting may make it their turn.
            known.waits |= entry.waits;
            if **known == entry {
                return BTreeSet::new();
            }
        }
        let mut touched = self.unlink(key);
        self.share(&mut entry);
        for place in entry.slots() {
            self.by_environment.entry(place).or_default().insert(key.clone());
        }
        if let Some(referred) = &mut entry.refers_to {
            *referred = self.shared(referred);
            self.by_reference
                .entry(referred.clone())
                .or_default()
                .insert(key.clone());
        }
        if entry.holds != Holds::No {
            // From now on the status decides which resource holds the slot, and whether the slot is free.
            self.reserved.retain(|_, holder| *holder != **key);
        }
        if !entry.waits {
            self.offered.remove(key.as_ref());
        }
        if let Some(place) = entry.polled_in() {
            *self.polled.entry(place).or_default() += 1;
        }
        self.entries.insert(key.clone(), Box::new(entry));
        touched.extend(self.neighbours(key));
        touched.remove(key.as_ref());
        touched
    }

    /// Returns the index's copy of this key, or makes one.
    fn shared(&self, key: &ObjectKey) -> Arc<ObjectKey> {
        let known = self.entries.get_key_value(key);
        known.map_or_else(|| Arc::new(key.clone()), |(known, _)| known.clone())
    }

    /// Replaces the environments of the entry by the index's copies.
    fn share(&self, entry: &mut Entry) {
        let tenant = &entry.tenant;
        let Some(location) = &mut entry.location else {
            return;
        };
        for environment in [&mut location.environment].into_iter().chain(&mut location.source) {
            if let Some((known, _)) = self
                .by_environment
                .get_key_value(&(tenant.clone(), environment.clone()))
            {
                *environment = known.1.clone();
            }
        }
    }

    /// Removes a resource that is gone, and returns the resources that this may affect.
    pub fn remove(&mut self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let touched = self.unlink(key);
        self.entries.remove(key);
        self.reserved.retain(|_, holder| holder != key);
        self.offered.remove(key);
        touched
    }

    fn unlink(&mut self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let touched = self.neighbours(key);
        let Some(entry) = self.entries.get(key) else {
            return touched;
        };
        if let Some(place) = entry.polled_in()
            && let Some(jobs) = self.polled.get_mut(&place)
        {
            *jobs -= 1;
            if *jobs == 0 {
                self.polled.remove(&place);
            }
        }
        for place in entry.slots() {
            if self.by_environment.get_mut(&place).is_some_and(|keys| keys.remove(key)) {
                self.by_environment.remove(&place);
            }
        }
        if let Some(referred) = &entry.refers_to
            && self.by_reference.get_mut(referred).is_some_and(|keys| keys.remove(key))
        {
            self.by_reference.remove(referred);
        }
        touched
    }

    /// Returns the other resources in the same environments, and the resources that refer to this one.
    fn neighbours(&self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let mut near = BTreeSet::new();
        for place in self.get(key).into_iter().flat_map(Entry::slots) {
            near.extend(self.there(&place).map(|key| ObjectKey::clone(key)));
        }
        let referring = self.by_reference.get(key).into_iter().flat_map(|keys| &keys.0);
        near.extend(referring.map(|key| ObjectKey::clone(key)));
        near.remove(key);
        near
    }

    /// Returns the resources in this environment.
    fn there(&self, place: &Place) -> impl Iterator<Item = &Arc<ObjectKey>> {
        self.by_environment.get(place).into_iter().flat_map(|keys| &keys.0)
    }

    /// Returns the other resource that owns this one's AWS object: a resource with `origin` or an open intent,
    /// otherwise the oldest.
    #[must_use]
    pub fn winner(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        let me = self.entries.get(key).filter(|entry| !entry.observes)?;
        let location = me.location.as_ref()?;
        let same = |other: &Entry| {
            other
                .location
                .as_ref()
                .is_some_and(|other| other.is_of_the_same(location))
                && (me.account.is_none() || other.account.is_none() || me.account == other.account)
        };
        self.there(&me.place(&location.environment))
            .filter_map(|key| Some((key.as_ref(), self.get(key)?)))
            .filter(|(_, entry)| (!entry.observes || entry.owns) && same(entry))
            .min_by_key(|(_, entry)| (!entry.owns, !entry.locked, entry.created, entry.uid.clone()))
            .map(|(winner, _)| winner)
            .filter(|winner| *winner != key)
    }

    /// Returns the winner as the losing resource may describe it.
    #[must_use]
    pub fn rival(&self, key: &ObjectKey) -> Option<Winner> {
        let winner = self.winner(key)?;
        let name = |key| self.get(key)?.location.as_ref()?.within.as_ref()?.name.as_ref();
        let names = name(key).zip(name(winner));
        Some(Winner {
            name: name_for(key, winner),
            leaving: self.get(winner).is_some_and(|entry| entry.deleting),
            is_of_another_name: names.is_some_and(|(mine, other)| mine != other),
        })
    }

    /// Returns the resources that own an object inside the AWS object of this one.
    #[must_use]
    pub fn dependents(&self, key: &ObjectKey) -> Dependents {
        let mut dependents = Dependents::default();
        let place = self.entries.get(key).filter(|entry| entry.contains).and_then(|entry| {
            let location = entry.location.as_ref()?;
            Some(entry.place(&location.environment))
        });
        let Some(place) = place else {
            return dependents;
        };
        for other in self.there(&place) {
            let is_inside = |entry: &&Entry| {
                let within = entry.location.as_ref().and_then(|location| location.within.as_ref());
                entry.owns && within.is_some()
            };
            let Some(entry) = self.get(other).filter(is_inside) else {
                continue;
            };
            let names = if entry.deleting {
                &mut dependents.leaving
            } else {
                &mut dependents.staying
            };
            names.push(name_for(key, other));
        }
        dependents
    }

    /// Returns the resources of the backend that this one's AWS object is in, with their uids. Only of the same account.
    #[must_use]
    pub fn containers(&self, key: &ObjectKey) -> Vec<(ObjectKey, String)> {
        let inside = self.get(key).and_then(|entry| Some((entry, entry.location.as_ref()?)));
        let Some((entry, location)) = inside.filter(|(_, location)| location.within.is_some()) else {
            return Vec::new();
        };
        let place = entry.place(&location.environment);
        let contains = |other: &Entry| {
            let is_there = other
                .location
                .as_ref()
                .is_some_and(|at| at.environment == location.environment);
            let is_of_account = other.account.is_none() || other.account == entry.account;
            // What is being deleted needs no outputs any more.
            other.contains && !other.deleting && is_there && is_of_account
        };
        self.there(&place)
            .filter_map(|key| Some((key, self.get(key).filter(|other| contains(other))?)))
            .map(|(key, other)| (ObjectKey::clone(key), other.uid.clone()))
            .collect()
    }

    /// Returns the jobs that other resources in the same environments have recorded.
    #[must_use]
    pub fn jobs_of_others(&self, key: &ObjectKey) -> BTreeSet<String> {
        let places: Vec<_> = self.get(key).into_iter().flat_map(Entry::slots).collect();
        places
            .iter()
            .flat_map(|place| self.there(place))
            .filter(|other| other.as_ref() != key)
            .filter_map(|other| self.entries.get(other)?.job.clone())
            .collect()
    }

    /// Takes the slots of this resource's environments: all or none. Waiting resources whose slots are free go first,
    /// in the order of creation, then of uid. A resource that does not ask within two minutes loses its turn until it
    /// asks again.
    pub fn take_slot(&mut self, key: &ObjectKey, now: Timestamp) -> Slot {
        let places: Vec<_> = self.get(key).into_iter().flat_map(Entry::slots).collect();
        if places.is_empty() {
            return Slot::Busy;
        }
        self.offered.remove(key);
        let is_held = places.iter().any(|place| self.holder(key, place, now).is_some());
        if is_held || self.is_kept_for_another(key, &places, now) {
            return Slot::Busy;
        }
        for place in places {
            self.reserved.insert(place, key.clone());
        }
        Slot::Held
    }

    /// Whether these free slots are kept for another resource, whose turn it is.
    fn is_kept_for_another(&mut self, key: &ObjectKey, places: &[Place], now: Timestamp) -> bool {
        let first = places.iter().flat_map(|place| self.before(key, place, now));
        let first: BTreeSet<_> = first.cloned().collect();
        let mut is_kept = false;
        for other in first {
            let since = self.offered.entry(other).or_insert(now);
            // A clock that was set back must not prolong the wait.
            *since = now.min(*since);
            is_kept |= now.duration_since(*since) < TURN;
        }
        is_kept
    }

    /// Returns the resources that wait for this environment, could take their slots now, and go before this one.
    fn before(&self, key: &ObjectKey, place: &Place, now: Timestamp) -> impl Iterator<Item = &ObjectKey> {
        let me = self.get(key);
        // A resource that has not waited yet comes after all that wait. Otherwise a resource that is edited again and
        // again would always be next.
        let is_first =
            move |other: &Entry| me.is_some_and(|me| !me.waits || (other.created, &other.uid) < (me.created, &me.uid));
        self.there(place)
            .map(Arc::as_ref)
            .filter(move |other| *other != key)
            .filter(move |other| {
                let entry = self.get(other).filter(|entry| entry.waits && is_first(entry));
                entry.is_some_and(|entry| entry.slots().all(|place| self.holder(other, &place, now).is_none()))
            })
    }

    fn holder(&self, me: &ObjectKey, place: &Place, now: Timestamp) -> Option<&ObjectKey> {
        let reserved = self.reserved.get(place).filter(|holder| *holder != me);
        reserved.or_else(|| {
            self.there(place)
                .map(Arc::as_ref)
                .find(|other| *other != me && self.entries.get(*other).is_some_and(|entry| entry.holds.at(now)))
        })
    }

    /// Ends the reservation of a pass: from now on the status decides which resource holds the slot. Returns the
    /// resources that may wait for it.
    pub fn end_reservation(&mut self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let before = self.reserved.len();
        self.reserved.retain(|_, holder| holder != key);
        if self.reserved.len() == before {
            return BTreeSet::new();
        }
        self.neighbours(key)
    }

    /// Returns the number of jobs that are polled in this account and region.
    #[must_use]
    pub fn polled(&self, account: &str, region: &str) -> usize {
        let place = (account.to_owned(), region.to_owned());
        self.polled.get(&place).copied().unwrap_or_default()
    }

    /// Returns all resources.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.entries.keys().map(Arc::as_ref)
    }
}

/// Returns the name of another resource for the status of this one. A name in another namespace must not be shown.
fn name_for(me: &ObjectKey, other: &ObjectKey) -> String {
    if me.namespace == other.namespace {
        other.to_string()
    } else {
        format!("{} of another namespace", other.kind.one())
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tables;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str) -> ObjectKey {
        ObjectKey::new(KindName::AmplifyBackend, namespace, "dev")
    }

    /// Makes an entry. All entries describe one environment name.
    fn entry(namespace: &str, tenant: Option<&str>, account: Option<&str>) -> Entry {
        Entry {
            uid: namespace.into(),
            version: Version::default(),
            created: Timestamp::UNIX_EPOCH,
            deleting: false,
            account: account.map(str::to_owned),
            tenant: tenant.map(str::to_owned),
            location: Some(Location {
                environment: Arc::new(Environment {
                    region: "eu-west-1".into(),
                    app: "d1".parse().expect("an app"),
                    name: "dev".parse().expect("a name"),
                }),
                within: None,
                source: None,
            }),
            refers_to: None,
            contains: true,
            observes: false,
            owns: false,
            locked: false,
            holds: Holds::No,
            waits: false,
            polled: false,
            job: None,
            ready: false,
        }
    }

    #[test]
    fn equal_names_in_two_accounts_are_neither_in_conflict_nor_in_one_slot_nor_neighbours() {
        let mut index = Index::default();
        let now = Timestamp::UNIX_EPOCH;
        index.put(&Arc::new(key("a")), entry("a", Some("111"), None));
        let touched = index.put(&Arc::new(key("b")), entry("b", Some("222"), Some("222")));
        assert!(touched.is_empty(), "{touched:?}");
        assert_eq!((index.winner(&key("a")), index.winner(&key("b"))), (None, None));
        assert!(matches!(index.take_slot(&key("a"), now), Slot::Held));
        assert!(matches!(index.take_slot(&key("b"), now), Slot::Held));
        // A third namespace, of the first account, does conflict.
        let touched = index.put(&Arc::new(key("c")), entry("c", Some("111"), None));
        assert_eq!(touched, BTreeSet::from([key("a")]));
        assert_eq!(index.winner(&key("c")), Some(&key("a")));
        assert!(matches!(index.take_slot(&key("c"), now), Slot::Busy));
        // Until the namespace is mapped to another account.
        index.put(&Arc::new(key("c")), entry("c", Some("222"), None));
        assert_eq!(index.winner(&key("c")), Some(&key("b")));
    }

    #[test]
    fn a_slot_is_free_as_soon_as_the_status_of_its_holder_says_so() {
        let mut index = Index::default();
        let now = Timestamp::UNIX_EPOCH;
        index.put(&Arc::new(key("a")), entry("a", None, None));
        index.put(&Arc::new(key("b")), entry("b", None, None));
        assert!(matches!(index.take_slot(&key("a"), now), Slot::Held));
        assert!(matches!(index.take_slot(&key("b"), now), Slot::Busy), "reserved");
        let holding = |holds| Entry {
            holds,
            ..entry("a", None, None)
        };
        index.put(&Arc::new(key("a")), holding(Holds::Yes));
        assert!(matches!(index.take_slot(&key("b"), now), Slot::Busy), "held");
        // Its pass has not ended yet. The resources woken now must not find the slot taken.
        assert_eq!(
            index.put(&Arc::new(key("a")), holding(Holds::No)),
            BTreeSet::from([key("b")])
        );
        assert!(matches!(index.take_slot(&key("b"), now), Slot::Held));
    }

    #[test]
    fn where_all_share_one_account_one_that_is_not_pinned_yet_is_in_conflict() {
        let mut index = Index::default();
        index.put(&Arc::new(key("a")), entry("a", None, Some("111")));
        index.put(&Arc::new(key("b")), entry("b", None, None));
        assert_eq!(index.winner(&key("b")), Some(&key("a")));
        index.put(&Arc::new(key("b")), entry("b", None, Some("222")));
        assert_eq!(index.winner(&key("b")), None, "pinned elsewhere");
    }

    #[test]
    fn the_jobs_of_others_are_those_that_others_in_the_same_environment_have_recorded() {
        let mut index = Index::default();
        let with_job = |namespace, tenant, job: &str| Entry {
            job: Some(job.into()),
            ..entry(namespace, tenant, None)
        };
        index.put(&Arc::new(key("a")), with_job("a", Some("111"), "j-a"));
        index.put(&Arc::new(key("b")), with_job("b", Some("111"), "j-b"));
        index.put(&Arc::new(key("c")), with_job("c", Some("222"), "j-c"));
        assert_eq!(index.jobs_of_others(&key("a")), BTreeSet::from(["j-b".to_owned()]));
        assert_eq!(index.jobs_of_others(&key("c")), BTreeSet::new());
        index.remove(&key("b"));
        assert_eq!(index.jobs_of_others(&key("a")), BTreeSet::new());
    }
}
