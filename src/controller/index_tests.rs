use super::*;

/// A resource with its entry.
#[derive(Clone)]
struct Resource {
    key: Arc<ObjectKey>,
    entry: Entry,
}

/// Makes an AmplifyBackend in the namespace `default`. Its AWS object is this environment; nothing has happened to it
/// yet.
fn backend_of(name: &str, environment: &str) -> Resource {
    resource(KindName::AmplifyBackend, name, environment)
}

/// Makes a BackendApi in the namespace `default`, in this environment; nothing has happened to it yet.
fn api_in(name: &str, environment: &str) -> Resource {
    let mut api = resource(KindName::BackendApi, name, environment);
    api.location().within = Some(Within {
        kind: KindName::BackendApi,
        name: Some("shop".parse().expect("a name")),
    });
    api
}

/// Makes an AmplifyBackend that clones one environment into another.
fn clone_of(name: &str, source: &str, target: &str) -> Resource {
    let mut clone = backend_of(name, target);
    clone.location().source = Some(environment(source));
    clone
}

fn resource(kind: KindName, name: &str, place: &str) -> Resource {
    Resource {
        key: Arc::new(ObjectKey::new(kind, "default", name)),
        entry: Entry {
            uid: name.into(),
            version: Version::default(),
            created: at(0),
            deleting: false,
            account: None,
            tenant: None,
            location: Some(Location {
                environment: environment(place),
                within: None,
                source: None,
            }),
            refers_to: None,
            contains: kind == KindName::AmplifyBackend,
            observes: false,
            owns: false,
            locked: false,
            holds: Holds::No,
            waits: false,
            polled: false,
            job: None,
            ready: false,
        },
    }
}

fn backend(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(KindName::AmplifyBackend, namespace, name)
}

fn environment(name: &str) -> Arc<Environment> {
    Arc::new(Environment {
        region: "eu-west-1".into(),
        app: "d1".parse().expect("an app"),
        name: name.parse().expect("a name"),
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

impl Resource {
    fn with(mut self, change: impl FnOnce(&mut Entry)) -> Self {
        change(&mut self.entry);
        self
    }

    fn namespace(mut self, namespace: &str) -> Self {
        self.key = Arc::new(ObjectKey::new(self.key.kind, namespace, &self.key.name));
        if let Some(referred) = &mut self.entry.refers_to {
            *referred = Arc::new(ObjectKey::new(referred.kind, namespace, &referred.name));
        }
        self
    }

    fn location(&mut self) -> &mut Location {
        self.entry.location.as_mut().expect("a location")
    }

    fn nowhere(self) -> Self {
        self.with(|entry| entry.location = None)
    }

    fn version(self, version: &str) -> Self {
        self.with(|entry| entry.version = Version::parse(Some(version)))
    }

    fn owns(self) -> Self {
        self.with(|entry| entry.owns = true)
    }

    fn holds(self, holds: Holds) -> Self {
        self.with(|entry| entry.holds = holds)
    }

    fn waits(self) -> Self {
        self.with(|entry| entry.waits = true)
    }

    fn created(self, second: i64) -> Self {
        self.with(|entry| entry.created = at(second))
    }

    fn pinned(self, account: &str) -> Self {
        self.with(|entry| entry.account = Some(account.into()))
    }

    fn refers_to(self, name: &str) -> Self {
        let referred = Arc::new(ObjectKey::new(KindName::AmplifyBackend, &self.key.namespace, name));
        self.with(|entry| entry.refers_to = Some(referred))
    }

    fn job(self, id: &str) -> Self {
        self.with(|entry| entry.job = Some(id.into()))
    }
}

/// The index under test.
#[derive(Default)]
struct Table(Index);

impl Table {
    fn of(resources: &[&Resource]) -> Self {
        let mut table = Self::default();
        for resource in resources {
            table.put(resource);
        }
        table
    }

    /// Stores the resource. Returns the names of the resources that this may affect.
    fn put(&mut self, resource: &Resource) -> Vec<String> {
        paths(&self.0.put(&resource.key, resource.entry.clone()))
    }

    fn remove(&mut self, resource: &Resource) -> Vec<String> {
        paths(&self.0.remove(&resource.key))
    }

    fn end(&mut self, resource: &Resource) -> Vec<String> {
        paths(&self.0.end_reservation(&resource.key))
    }

    fn winner(&self, resource: &Resource) -> Option<&str> {
        self.0.winner(&resource.key).map(|winner| winner.name.as_str())
    }

    /// Whether it gets the slot at second 0.
    fn takes(&mut self, resource: &Resource) -> bool {
        self.takes_at(resource, 0)
    }

    fn takes_at(&mut self, resource: &Resource, second: i64) -> bool {
        matches!(self.0.take_slot(&resource.key, at(second)), Slot::Held)
    }
}

fn paths(keys: &BTreeSet<ObjectKey>) -> Vec<String> {
    keys.iter().map(ObjectKey::path).collect()
}

#[test]
fn a_resource_is_named_by_its_kind_as_in_manifests_its_namespace_and_its_name() {
    let table = [
        (KindName::AmplifyBackend, "AmplifyBackend shop/dev"),
        (KindName::BackendApi, "BackendApi shop/dev"),
        (KindName::BackendEnvironment, "BackendEnvironment shop/dev"),
    ];
    for (kind, name) in table {
        let key = ObjectKey::new(kind, "shop", "dev");
        assert_eq!((key.to_string().as_str(), key.path().as_str()), (name, "shop/dev"));
    }
}

#[test]
fn what_was_put_is_found_by_its_key_and_a_backend_by_its_name() {
    let (dev, api) = (backend_of("dev", "dev").owns(), api_in("dev", "dev"));
    let table = Table::of(&[&dev, &api]);
    assert_eq!(table.0.get(&api.key), Some(&api.entry));
    assert_eq!(table.0.get(&backend("default", "dev")), Some(&dev.entry));
    assert_eq!(table.0.get(&backend("default", "other")), None);
    assert_eq!(table.0.get(&backend("other", "dev")), None);
    let keys: BTreeSet<_> = table.0.keys().collect();
    assert_eq!(keys, BTreeSet::from([dev.key.as_ref(), api.key.as_ref()]));
}

#[test]
fn of_two_versions_the_older_changes_nothing() {
    let dev = |version| backend_of("dev", "dev").version(version);
    let table = [
        ("newer", "10", true),
        ("the same", "9", true),
        ("older", "8", false),
        ("one that cannot be compared", "x", true),
    ];
    for (why, version, counts) in table {
        let mut table = Table::of(&[&dev("9"), &api_in("api", "dev")]);
        let woken = table.put(&dev(version).owns());
        assert_eq!(woken == ["default/api"], counts, "{why}");
        assert_eq!(
            table.0.get(&backend("default", "dev")).expect("an entry").owns,
            counts,
            "{why}"
        );
    }
}

#[test]
fn a_version_that_changes_nothing_else_wakes_nobody_and_is_remembered() {
    let dev = |version| backend_of("dev", "dev").version(version);
    let mut table = Table::of(&[&dev("9"), &api_in("api", "dev")]);
    assert!(table.put(&dev("11")).is_empty());
    assert!(table.put(&dev("10").owns()).is_empty());
    assert!(
        !table.0.get(&backend("default", "dev")).expect("an entry").owns,
        "it is older than 11"
    );
}

#[test]
fn outputs_go_to_the_backend_that_an_api_is_in_unless_it_is_being_deleted_too() {
    let dev = backend_of("dev", "dev");
    let api = api_in("api", "dev");
    let table = [
        ("its backend", dev.clone(), &["dev"][..]),
        (
            "a backend that goes",
            dev.clone().with(|entry| entry.deleting = true),
            &[],
        ),
        ("a backend elsewhere", backend_of("dev", "other"), &[]),
        ("a backend of another account", dev.pinned("222222222222"), &[]),
    ];
    for (why, backend, wanted) in table {
        let table = Table::of(&[&backend, &api.clone().pinned("111111111111")]);
        let found = table.0.containers(&api.key);
        let found: Vec<_> = found.iter().map(|(key, _)| key.name.as_str()).collect();
        assert_eq!(found, wanted, "{why}");
    }
}

// Slots.

#[test]
fn one_resource_at_a_time_works_in_an_environment_whatever_its_kind() {
    let dev = backend_of("dev", "dev");
    let api = api_in("api", "dev");
    let record = resource(KindName::BackendEnvironment, "record", "dev");
    let elsewhere = api_in("elsewhere", "prod");
    for first in [&dev, &api, &record] {
        let mut table = Table::of(&[&dev, &api, &record, &elsewhere]);
        assert!(table.takes(first));
        for other in [&dev, &api, &record] {
            assert_eq!(
                table.takes(other),
                other.key == first.key,
                "{} {}",
                first.key,
                other.key
            );
        }
        assert!(table.takes(&elsewhere));
    }
}

#[test]
fn a_clone_takes_the_slots_of_its_source_and_of_its_target() {
    let clone = clone_of("clone", "from", "to");
    let (from, to) = (api_in("from", "from"), api_in("to", "to"));
    let mut table = Table::of(&[&clone, &from, &to]);
    assert!(table.takes(&clone));
    assert!(!table.takes(&from) && !table.takes(&to), "both are reserved");
    table.end(&clone);
    let clone = clone.holds(Holds::Yes);
    table.put(&clone);
    assert!(!table.takes(&from) && !table.takes(&to), "both are held by its status");
    table.put(&clone.holds(Holds::No));
    assert!(table.takes(&from) && table.takes(&to));
}

#[test]
fn a_clone_that_finds_one_of_its_environments_taken_takes_neither() {
    let clone = clone_of("clone", "from", "to");
    let (from, to) = (api_in("from", "from"), api_in("to", "to"));
    for (taken, free) in [(&from, &to), (&to, &from)] {
        let mut table = Table::of(&[&clone, &from, &to]);
        assert!(table.takes(taken));
        assert!(!table.takes(&clone), "{}", taken.key);
        assert!(table.takes(free), "{}", free.key);
    }
}

#[test]
fn without_a_known_environment_there_is_no_slot() {
    let lost = backend_of("lost", "dev").nowhere();
    let mut table = Table::of(&[&lost]);
    assert!(!table.takes(&lost));
    assert!(!table.takes(&backend_of("never-seen", "dev")));
}

#[test]
fn a_status_holds_the_slot_against_others_until_its_time_and_never_against_itself() {
    let api = api_in("api", "dev");
    let table = [
        (Holds::No, 0, true),
        (Holds::Yes, i64::from(u32::MAX), false),
        (Holds::Until(at(60)), 59, false),
        (Holds::Until(at(60)), 60, true),
    ];
    for (holds, second, is_free) in table {
        let dev = backend_of("dev", "dev").holds(holds);
        let mut index = Table::of(&[&dev, &api]);
        assert_eq!(index.takes_at(&api, second), is_free, "{holds:?} at {second}");
        let mut index = Table::of(&[&dev, &api]);
        assert!(index.takes_at(&dev, second), "{holds:?} at {second}");
    }
}

#[test]
fn who_has_reserved_a_slot_may_take_it_again() {
    let (dev, api) = (backend_of("dev", "dev"), api_in("api", "dev"));
    let mut table = Table::of(&[&dev, &api]);
    assert!(table.takes(&dev) && table.takes(&dev));
    assert!(!table.takes(&api));
}

#[test]
fn a_reservation_outlasts_edits_and_what_others_do_and_ends_when_its_pass_says_so() {
    let (dev, api) = (backend_of("dev", "dev"), api_in("api", "dev"));
    let elsewhere = api_in("elsewhere", "prod");
    let mut table = Table::of(&[&dev, &api, &elsewhere]);
    assert!(table.takes(&dev));
    table.put(&dev.clone().owns());
    assert!(!table.takes(&api), "after an edit");
    table.put(&elsewhere.clone().holds(Holds::Yes));
    assert!(!table.takes(&api), "after another one's intent");
    table.end(&elsewhere);
    assert!(!table.takes(&api), "after another one's pass");
    table.remove(&elsewhere);
    assert!(!table.takes(&api), "after another one is gone");
    table.end(&dev);
    assert!(table.takes(&api));
}

#[test]
fn once_a_status_has_held_the_slot_the_reservation_of_its_pass_is_over() {
    let (dev, api) = (backend_of("dev", "dev"), api_in("api", "dev"));
    for holds in [Holds::Yes, Holds::Until(at(60))] {
        let mut table = Table::of(&[&dev, &api]);
        assert!(table.takes(&dev));
        table.put(&dev.clone().holds(holds));
        assert!(!table.takes(&api), "{holds:?}");
        table.put(&dev);
        assert!(table.takes(&api), "{holds:?}");
    }
}

#[test]
fn a_resource_that_is_gone_gives_up_what_it_reserved_and_held() {
    let (dev, api) = (backend_of("dev", "dev"), api_in("api", "dev"));
    let mut table = Table::of(&[&dev, &api]);
    assert!(table.takes(&dev));
    table.remove(&dev);
    assert!(table.takes(&api));
    let mut table = Table::of(&[&dev.clone().holds(Holds::Yes), &api]);
    table.remove(&dev);
    assert!(table.takes(&api));
}

#[test]
fn the_end_of_a_reservation_wakes_who_may_wait_for_it_and_the_end_of_none_wakes_nobody() {
    let clone = clone_of("clone", "from", "to");
    let (from, to) = (api_in("from", "from"), api_in("to", "to"));
    let mut table = Table::of(&[&clone, &from, &to]);
    assert!(table.end(&clone).is_empty());
    assert!(table.takes(&clone));
    assert!(table.end(&from).is_empty(), "it has reserved nothing");
    assert_eq!(table.end(&clone), ["default/from", "default/to"]);
    assert!(table.end(&clone).is_empty());
}

#[test]
fn two_that_find_a_job_of_somebody_else_do_not_wake_each_other_for_ever() {
    let (first, second) = (api_in("first", "dev").waits(), api_in("second", "dev").waits());
    let mut table = Table::of(&[&first, &second]);
    assert!(table.takes(&first) && !table.takes(&second));
    assert_eq!(table.end(&first), ["default/second"]);
    // The first must still wait, and will ask again by itself. Until then it is its turn.
    assert!(!table.takes(&second));
    assert!(table.end(&second).is_empty());
}

#[test]
fn of_those_who_wait_the_oldest_has_its_turn_whoever_comes_first() {
    let holder = backend_of("holder", "dev");
    let old = api_in("z-old", "dev").created(1).waits();
    let twin = api_in("y-twin", "dev").created(2).waits();
    let young = api_in("a-young", "dev").created(3).waits();
    let mut table = Table::of(&[&holder.clone().holds(Holds::Yes), &young, &twin, &old]);
    assert!(!table.takes(&old) && !table.takes(&young));
    table.put(&holder.holds(Holds::No));
    assert!(!table.takes(&young), "two are older");
    assert!(!table.takes(&twin), "one is older");
    assert!(table.takes(&old));
    // Its job runs and ends.
    let old = old.with(|entry| entry.waits = false);
    table.put(&old.clone().holds(Holds::Yes));
    table.end(&old);
    assert!(!table.takes(&twin));
    table.put(&old);
    assert!(!table.takes(&young));
    assert!(table.takes(&twin));
}

#[test]
fn of_the_same_second_the_lower_uid_has_its_turn() {
    let (first, second) = (api_in("1", "dev").waits(), api_in("2", "dev").waits());
    let mut table = Table::of(&[&first, &second]);
    assert!(!table.takes(&second));
    assert!(table.takes(&first));
}

#[test]
fn who_does_not_wait_or_could_not_go_on_or_is_elsewhere_keeps_nobody_waiting() {
    let young = api_in("young", "dev").created(9).waits();
    let busy = backend_of("busy", "other").holds(Holds::Yes);
    let table = [
        ("it does not wait", api_in("old", "dev")),
        ("it is younger", api_in("old", "dev").created(10).waits()),
        ("it waits elsewhere", api_in("old", "prod").waits()),
        ("its source is busy", clone_of("old", "other", "dev").waits()),
    ];
    for (why, old) in table {
        let mut index = Table::of(&[&busy, &old, &young]);
        assert!(index.takes(&young), "{why}");
    }
}

#[test]
fn who_does_not_come_for_two_minutes_loses_its_turn_until_it_asks() {
    let old = api_in("old", "dev").waits();
    let (first, second) = (
        api_in("first", "dev").created(1).waits(),
        api_in("second", "dev").created(2).waits(),
    );
    let mut table = Table::of(&[&old, &first, &second]);
    assert!(!table.takes_at(&second, 1000) && !table.takes_at(&first, 1119));
    // The order of the others does not change.
    assert!(!table.takes_at(&second, 1120), "it is the turn of the first now");
    assert!(table.takes_at(&first, 1121));
    table.end(&first);
    // The old one has lost its turn, whatever happened in between.
    assert!(table.takes_at(&first, 1200));
    table.end(&first);
    let holder = backend_of("holder", "dev");
    table.put(&holder.clone().holds(Holds::Yes));
    assert!(!table.takes_at(&first, 1300));
    table.put(&holder);
    assert!(table.takes_at(&first, 1301));
    // It asks in vain, and gets its turn back.
    assert!(!table.takes_at(&old, 1302));
    table.end(&first);
    assert!(!table.takes_at(&first, 1303) && !table.takes_at(&first, 1422));
    assert!(table.takes_at(&first, 1423));
}

#[test]
fn a_turn_is_counted_anew_when_it_no_longer_waits_and_not_by_a_clock_that_was_set_back() {
    let (old, young) = (api_in("old", "dev").waits(), api_in("young", "dev").created(1).waits());
    let mut table = Table::of(&[&old, &young]);
    assert!(!table.takes_at(&young, 1000));
    table.put(&old.clone().with(|entry| entry.waits = false));
    table.put(&old);
    assert!(!table.takes_at(&young, 2000), "it has not been waited for yet");
    assert!(!table.takes_at(&young, 30) && !table.takes_at(&young, 149));
    assert!(table.takes_at(&young, 150));
}

#[test]
fn who_has_not_waited_yet_comes_after_all_who_have() {
    let (old, young) = (api_in("old", "dev"), api_in("young", "dev").created(1).waits());
    let mut table = Table::of(&[&old, &young]);
    assert!(!table.takes(&old), "it is older, and has just been edited");
    assert!(table.takes(&young));
    table.end(&young);
    // Once it waits too, its age counts.
    table.put(&old.waits());
    assert!(!table.takes(&young));
}

#[test]
fn that_one_waits_wakes_nobody_and_that_it_does_no_longer_wakes_the_others() {
    let (api, other) = (api_in("api", "dev"), api_in("other", "dev"));
    let mut table = Table::of(&[&api, &other]);
    assert!(table.put(&api.clone().waits()).is_empty());
    assert!(!table.takes(&other), "it is known all the same");
    assert_eq!(table.put(&api), ["default/other"]);
    assert!(table.takes(&other));
}

#[test]
fn polled_jobs_are_counted_by_account_and_region() {
    let polled = |name: &str, account: &str, region: &str| {
        let mut api = api_in(name, name).pinned(account).with(|entry| entry.polled = true);
        Arc::make_mut(&mut api.location().environment).region = region.into();
        api
    };
    let (a, b) = (polled("a", "1", "eu-west-1"), polled("b", "1", "eu-west-1"));
    let (other, elsewhere) = (polled("c", "2", "eu-west-1"), polled("d", "1", "us-east-1"));
    let idle = api_in("e", "e").pinned("1");
    let nowhere = polled("f", "1", "eu-west-1").nowhere();
    let unknown = api_in("g", "g").with(|entry| entry.polled = true);
    let mut table = Table::of(&[&a, &b, &other, &elsewhere, &idle, &nowhere, &unknown]);
    let count = |table: &Table| ["1", "2"].map(|account| table.0.polled(account, "eu-west-1"));
    assert_eq!(count(&table), [2, 1]);
    // Seen again, moved, ended, gone.
    table.put(&b);
    assert_eq!(count(&table), [2, 1]);
    table.put(&polled("b", "2", "eu-west-1"));
    assert_eq!(count(&table), [1, 2]);
    table.put(&a.with(|entry| entry.polled = false));
    assert_eq!(count(&table), [0, 2]);
    table.remove(&other);
    table.remove(&b);
    assert_eq!(count(&table), [0, 0]);
}

// Which resources are woken.

#[test]
fn a_change_wakes_the_others_in_the_environment_and_what_does_not_change_wakes_nobody() {
    let (dev, api) = (backend_of("dev", "dev"), api_in("api", "dev"));
    let mut table = Table::of(&[&api_in("elsewhere", "prod")]);
    assert!(table.put(&dev).is_empty());
    assert_eq!(table.put(&api), ["default/dev"]);
    assert!(table.put(&api).is_empty());
    assert_eq!(table.put(&api.clone().owns()), ["default/dev"]);
    assert_eq!(table.put(&dev.owns()), ["default/api"]);
    assert_eq!(table.remove(&api), ["default/dev"]);
}

#[test]
fn who_moves_wakes_those_where_it_was_and_those_where_it_is() {
    let (dev, prod) = (backend_of("dev", "dev"), backend_of("prod", "prod"));
    let mut table = Table::of(&[&dev, &prod, &api_in("api", "dev")]);
    assert_eq!(table.put(&api_in("api", "prod")), ["default/dev", "default/prod"]);
    assert!(table.put(&dev.owns()).is_empty(), "it is there no longer");
    assert_eq!(table.put(&api_in("api", "prod").nowhere()), ["default/prod"]);
    assert!(table.put(&prod.owns()).is_empty());
}

#[test]
fn a_clone_is_a_neighbour_in_its_source_until_it_is_made() {
    let clone = clone_of("clone", "from", "to");
    let (from, to) = (backend_of("from", "from"), api_in("to", "to"));
    let mut table = Table::of(&[&from, &to]);
    assert_eq!(table.put(&clone), ["default/from", "default/to"]);
    assert_eq!(table.put(&from.clone().owns()), ["default/clone"]);
    assert_eq!(table.put(&backend_of("clone", "to")), ["default/from", "default/to"]);
    assert!(table.put(&from).is_empty());
}

#[test]
fn a_backend_wakes_those_of_its_namespace_that_refer_to_it_wherever_they_are() {
    let dev = backend_of("dev", "dev");
    let waiting = api_in("waiting", "dev").refers_to("dev").nowhere();
    let foreign = api_in("foreign", "dev").refers_to("dev").nowhere().namespace("other");
    let mut table = Table::of(&[&waiting, &foreign]);
    assert_eq!(table.put(&dev), ["default/waiting"]);
    assert_eq!(table.put(&dev.clone().owns()), ["default/waiting"]);
    assert!(
        table
            .put(&resource(KindName::BackendEnvironment, "dev", "x"))
            .is_empty(),
        "nothing refers to a record"
    );
    assert!(table.put(&waiting.clone().refers_to("prod")).is_empty());
    assert!(table.put(&dev).is_empty(), "it refers to another one now");
    table.put(&waiting);
    assert_eq!(table.remove(&dev), ["default/waiting"]);
    assert_eq!(
        table.remove(&dev),
        ["default/waiting"],
        "they wait for one that is not there"
    );
    table.remove(&waiting);
    assert!(table.put(&dev).is_empty());
}

#[test]
fn one_that_goes_leaves_the_others_where_they_are_and_the_last_one_leaves_nothing() {
    let clone = clone_of("clone", "from", "to").refers_to("from");
    let from = backend_of("from", "from");
    let apis = ["a", "b", "c"].map(|name| api_in(name, "from").refers_to("from"));
    let mut table = Table::of(&[&clone, &from, &apis[0], &apis[1], &apis[2]]);
    assert_eq!(
        table.remove(&apis[1]),
        ["default/clone", "default/from", "default/a", "default/c"]
    );
    assert_eq!(table.0.get(&apis[1].key), None);
    assert_eq!(table.remove(&from), ["default/clone", "default/a", "default/c"]);
    assert_eq!(table.put(&apis[0].clone().owns()), ["default/clone", "default/c"]);
    assert_eq!(table.remove(&clone), ["default/a", "default/c"]);
    let waiting = apis[0].clone().waits().pinned("1").with(|entry| entry.polled = true);
    table.put(&waiting);
    assert!(!table.takes(&apis[2]), "kept from it");
    assert!(table.takes(&waiting));
    assert!(!table.takes(&apis[2]), "reserved");
    table.remove(&waiting);
    table.remove(&apis[2]);
    let Index {
        entries,
        by_environment,
        by_reference,
        reserved,
        polled,
        offered,
    } = table.0;
    assert!(entries.is_empty() && by_environment.is_empty() && by_reference.is_empty() && reserved.is_empty());
    assert!(polled.is_empty() && offered.is_empty());
}

// Conflicts.

#[test]
fn an_aws_object_belongs_to_its_owner_else_to_the_oldest_else_to_the_lowest_uid() {
    let by_uid = |name: &str, uid: &str| backend_of(name, "dev").with(|entry| entry.uid = uid.into());
    let table = [
        (
            "the owner, though younger",
            by_uid("x", "2").created(9).owns(),
            by_uid("y", "1"),
        ),
        (
            "the older of two owners",
            by_uid("x", "2").created(8).owns(),
            by_uid("y", "1").created(9).owns(),
        ),
        (
            "the older, though its uid is higher",
            by_uid("x", "2").created(8),
            by_uid("y", "1").created(9),
        ),
        (
            "the lower uid, though its name is later",
            by_uid("y", "1"),
            by_uid("x", "2"),
        ),
    ];
    for (why, wins, loses) in table {
        for order in [[&wins, &loses], [&loses, &wins]] {
            let table = Table::of(&order);
            assert_eq!(table.winner(&wins), None, "{why}");
            assert_eq!(table.winner(&loses), Some(wins.key.name.as_str()), "{why}");
        }
    }
}

#[test]
fn when_the_winner_goes_the_next_is_first() {
    let three = ["a", "b", "c"].map(|name| backend_of(name, "dev"));
    let mut table = Table::of(&[&three[0], &three[1], &three[2]]);
    assert_eq!(
        (table.winner(&three[1]), table.winner(&three[2])),
        (Some("a"), Some("a"))
    );
    table.remove(&three[0]);
    assert_eq!((table.winner(&three[1]), table.winner(&three[2])), (None, Some("b")));
}

#[test]
fn only_resources_of_one_aws_object_are_in_conflict() {
    let dev = backend_of("dev", "dev").created(9);
    let table = [
        (
            "a record of the same environment is the same object",
            resource(KindName::BackendEnvironment, "x", "dev"),
            true,
        ),
        (
            "another namespace makes no difference",
            backend_of("x", "dev").namespace("other"),
            true,
        ),
        ("an API in the backend is another object", api_in("x", "dev"), false),
        ("another environment", backend_of("x", "prod"), false),
        ("a clone of it is another object", clone_of("x", "dev", "prod"), false),
        ("what it is cloned to is it", clone_of("x", "prod", "dev"), true),
        ("one that cannot be placed", backend_of("x", "dev").nowhere(), false),
    ];
    for (why, other, conflicts) in table {
        let index = Table::of(&[&dev, &other]);
        assert_eq!(index.winner(&dev), conflicts.then_some("x"), "{why}");
        assert_eq!(index.winner(&other), None, "{why}");
    }
}

#[test]
fn accounts_that_are_both_pinned_and_differ_are_no_conflict() {
    let dev = || backend_of("dev", "dev").created(9);
    let other = || backend_of("x", "dev");
    let table = [
        (dev(), other(), true),
        (dev().pinned("1"), other(), true),
        (dev(), other().pinned("1"), true),
        (dev().pinned("1"), other().pinned("1"), true),
        (dev().pinned("1"), other().pinned("2"), false),
    ];
    for (dev, other, conflicts) in table {
        let index = Table::of(&[&dev, &other]);
        let accounts = (&dev.entry.account, &other.entry.account);
        assert_eq!(index.winner(&dev), conflicts.then_some("x"), "{accounts:?}");
    }
}

#[test]
fn the_loser_may_know_the_name_of_the_winner_in_its_own_namespace_and_whether_it_is_leaving() {
    let dev = backend_of("dev", "dev").created(9);
    let record = resource(KindName::BackendEnvironment, "x", "dev");
    let table = [
        (backend_of("x", "dev"), "AmplifyBackend default/x", false),
        (record.clone(), "BackendEnvironment default/x", false),
        (
            record.clone().with(|entry| entry.deleting = true),
            "BackendEnvironment default/x",
            true,
        ),
        (
            backend_of("x", "dev").namespace("other"),
            "an AmplifyBackend of another namespace",
            false,
        ),
        (
            record.namespace("other"),
            "a BackendEnvironment of another namespace",
            false,
        ),
    ];
    for (winner, name, leaving) in table {
        let index = Table::of(&[&dev, &winner]);
        let rival = index.0.rival(&dev.key).expect("a winner");
        assert_eq!((rival.name.as_str(), rival.leaving), (name, leaving));
        assert!(index.0.rival(&winner.key).is_none());
    }
}

#[test]
fn what_is_only_observed_is_in_conflict_with_nobody_and_an_owner_stays_one_to_others() {
    let managed = api_in("a", "dev");
    for (owns, loses) in [(false, false), (true, true)] {
        let observed = api_in("b", "dev").with(|entry| {
            entry.observes = true;
            entry.owns = owns;
        });
        let index = Table::of(&[&managed, &observed]);
        assert_eq!(index.0.rival(&managed.key).is_some(), loses, "owns: {owns}");
        assert!(index.0.rival(&observed.key).is_none(), "owns: {owns}");
        let backend = backend_of("dev", "dev");
        let index = Table::of(&[&backend, &observed]);
        let inside = index.0.dependents(&backend.key).staying.len();
        assert_eq!(inside, usize::from(owns), "owns: {owns}");
    }
}

#[test]
fn an_environment_has_one_of_each_kind_and_its_name_tells_whose_object_is_whose() {
    let named = |resource: Resource, name: Option<&str>| {
        let mut resource = resource;
        let within = resource
            .location()
            .within
            .as_mut()
            .expect("an object in an environment");
        within.name = name.map(|name| name.parse().expect("a name"));
        resource
    };
    let first = api_in("a", "dev").with(|entry| entry.owns = true);
    for (name, is_of_another_name) in [(Some("shop"), false), (Some("blog"), true), (None, false)] {
        let second = named(api_in("b", "dev"), name);
        let index = Table::of(&[&first, &second]);
        let winner = index.0.rival(&second.key).expect("a winner");
        assert_eq!(winner.is_of_another_name, is_of_another_name, "{name:?}");
    }
    let mut storage = api_in("c", "dev");
    storage.location().within = Some(Within {
        kind: KindName::BackendStorage,
        name: Some("shop".parse().expect("a name")),
    });
    let index = Table::of(&[&first, &storage]);
    assert!(index.0.rival(&storage.key).is_none(), "another kind");
}

#[test]
fn one_that_is_not_known_is_in_conflict_with_nobody() {
    let table = Table::of(&[&backend_of("x", "dev")]);
    assert_eq!(table.winner(&backend_of("dev", "dev")), None);
}

// The objects inside a backend, and the jobs of other resources.

#[test]
fn a_backend_waits_for_apis_that_own_something_in_it_whatever_their_namespace() {
    let dev = backend_of("dev", "dev");
    let leaving = api_in("leaving", "dev").owns().with(|entry| entry.deleting = true);
    let table = Table::of(&[
        &dev,
        &api_in("staying", "dev").owns().namespace("other"),
        &leaving,
        &api_in("owns-nothing", "dev"),
        &api_in("elsewhere", "prod").owns(),
        &resource(KindName::BackendEnvironment, "record", "dev").owns(),
        &backend_of("twin", "dev").owns(),
    ]);
    let dependents = |resource: &Resource| {
        let found = table.0.dependents(&resource.key);
        (found.staying.join(" "), found.leaving.join(" "))
    };
    let both = (
        "a BackendApi of another namespace".to_owned(),
        "BackendApi default/leaving".to_owned(),
    );
    assert_eq!(dependents(&dev), both);
    let none = (String::new(), String::new());
    assert_eq!(dependents(&leaving), none, "nothing lives in an API");
    assert_eq!(dependents(&backend_of("unknown", "dev")), none);
    let mut table = table;
    table.put(&dev.clone().nowhere());
    assert!(table.0.dependents(&dev.key).staying.is_empty());
}

#[test]
fn dependents_are_named_in_one_order_however_they_came() {
    let (dev, apis) = (
        backend_of("dev", "dev"),
        ["a", "b", "c"].map(|name| api_in(name, "dev").owns()),
    );
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut table = Table::of(&[&dev]);
        for number in order {
            table.put(&apis[number]);
        }
        let names = ["BackendApi default/a", "BackendApi default/b", "BackendApi default/c"];
        assert_eq!(table.0.dependents(&dev.key).staying, names);
    }
}

#[test]
fn of_a_clone_the_jobs_of_others_are_those_in_its_source_and_in_its_target() {
    let clone = clone_of("clone", "from", "to").job("mine");
    let from = backend_of("from", "from").job("in-from");
    let table = Table::of(&[
        &clone,
        &from,
        &api_in("to", "to").job("in-to"),
        &api_in("none", "to"),
        &api_in("elsewhere", "prod").job("in-prod"),
    ]);
    let jobs = |resource: &Resource| table.0.jobs_of_others(&resource.key).into_iter().collect::<Vec<_>>();
    assert_eq!(jobs(&clone), ["in-from", "in-to"]);
    assert_eq!(jobs(&from), ["mine"]);
    assert!(jobs(&backend_of("unknown", "to")).is_empty());
}

// Shared copies of keys and environments.

#[test]
fn resources_of_one_environment_share_one_copy_of_its_name() {
    let mut table = Table::of(&[&backend_of("from", "from"), &backend_of("to", "to")]);
    table.put(&clone_of("clone", "from", "to"));
    let location = |name| {
        let entry = table.0.get(&backend("default", name)).expect("an entry");
        entry.location.clone().expect("a location")
    };
    let clone = location("clone");
    assert!(Arc::ptr_eq(&clone.environment, &location("to").environment));
    let source = clone.source.expect("a source");
    assert!(Arc::ptr_eq(&source, &location("from").environment));
}

#[test]
fn those_that_refer_to_a_backend_share_its_own_copy_of_its_name() {
    let dev = backend_of("dev", "dev");
    let table = Table::of(&[&dev, &api_in("api", "dev").refers_to("dev")]);
    let (referred, _) = table.0.by_reference.get_key_value(&dev.key).expect("a reference");
    assert!(Arc::ptr_eq(referred, &dev.key));
}
