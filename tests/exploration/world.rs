//! The state of the world, with few texts and only relative times, so that two situations that no decision
//! distinguishes are one state.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::OnceLock,
};

use amplify_operator::{
    api::{
        Job, Ledger, Operation, Origin,
        conditions::{self, Reason},
    },
    lifecycle::{Hashes, Known, Memory, Patience, Reply, State, Waiting, Write, facts::JobSeen},
};
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;

/// Seconds from now; the past is negative.
pub(crate) type Seconds = i16;

/// The shortest time that passes.
pub(crate) const TICK: Seconds = 30;

/// The oldest `requestTime`: the longest grace and the longest pass have passed by then.
pub(crate) const OLDEST_REQUEST: Seconds = -180;
/// The oldest `finishTime`: the grace, or the first backoff, and the longest pass have passed by then.
pub(crate) const OLDEST_FINISH: Seconds = -150;
/// The oldest that a lock gets: every answer that a write may rest on is younger.
pub(crate) const OLDEST_LOCK: Seconds = -120;
/// A time before the exploration began.
pub(crate) const LONG_AGO: Seconds = -1000;

/// A broken invariant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Broken {
    /// I1
    CreatedTwice(&'static str),
    /// I2
    SentWithoutRecord(&'static str),
    /// I3
    TookOthers(&'static str),
    /// I5
    WentBack(&'static str),
    /// I6
    LeftBehind(&'static str),
    /// I7
    Overlap(&'static str),
    /// The status is not true.
    Untrue(&'static str),
    /// A write to AWS for a resource that is suspended.
    Suspended,
    /// A write to AWS for a resource that is only observed.
    Observed,
    /// I8
    Locked(&'static str),
    /// A pass without an end.
    Endless,
}

/// The whole state.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World {
    pub(crate) names: Vec<Name>,
    pub(crate) aws: Aws,
    pub(crate) processes: Vec<Process>,
    pub(crate) budget: Budget,
    pub(crate) next_uid: u8,
    pub(crate) broken: Option<Broken>,
}

/// The objects of the API server under a name.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Name {
    pub(crate) live: Option<Object>,
    /// The version before this one. A cache may still show it.
    pub(crate) before: Option<Object>,
}

/// A custom resource. Equal objects lead to equal decisions.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent fields of Kubernetes objects"
)]
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Object {
    pub(crate) uid: u8,
    pub(crate) generation: u8,
    pub(crate) deleting: bool,
    pub(crate) finalizer: bool,
    /// Whether it has a finalizer of another controller.
    pub(crate) held: bool,
    pub(crate) suspend: bool,
    pub(crate) observe: bool,
    pub(crate) request: u8,
    /// Whether the annotation says that a migration lock forbids nothing.
    pub(crate) ignores: bool,
    pub(crate) config: u8,
    /// Whether its status was wiped since its creation: the contents are lost.
    pub(crate) wiped: bool,
    pub(crate) status: Status,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Status {
    pub(crate) observed: i8,
    pub(crate) says: Option<Says>,
    pub(crate) origin: Option<Origin>,
    pub(crate) pinned: bool,
    pub(crate) job: Option<Entry>,
    pub(crate) handled: u8,
    pub(crate) sent: Option<u8>,
    pub(crate) echoed: Option<u8>,
    /// The condition `MigrationLocked`.
    pub(crate) locked: bool,
    pub(crate) locked_at: Option<Seconds>,
}

/// The conditions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Says {
    pub(crate) ready: bool,
    pub(crate) stalled: bool,
    pub(crate) reconciling: bool,
    pub(crate) reason: Reason,
    pub(crate) generation: u8,
    /// The message, if a decision depends on it or messages are compared.
    pub(crate) text: Text,
}

/// The entry `status.job`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Entry {
    pub(crate) operation: Operation,
    pub(crate) generation: u8,
    pub(crate) attempt: u8,
    pub(crate) failures: u8,
    pub(crate) config: Option<u8>,
    pub(crate) source: bool,
    pub(crate) requested: Seconds,
    /// A time of AWS's clock.
    pub(crate) after: Option<Seconds>,
    pub(crate) unconfirmed: bool,
    pub(crate) id: Option<u8>,
    pub(crate) named: bool,
    pub(crate) word: Option<Word>,
    pub(crate) finished: Option<Seconds>,
    pub(crate) error: Text,
}

impl Entry {
    pub(crate) const fn is_open(&self) -> bool {
        self.id.is_none() && self.finished.is_none()
    }
}

/// AWS's word for the state of a job.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Word {
    Running,
    Completed,
    Failed,
    /// An undocumented word.
    Odd,
}

impl Word {
    const ALL: [(Self, &str); 4] = [
        (Self::Running, "RUNNING"),
        (Self::Completed, Job::COMPLETED),
        (Self::Failed, Job::FAILED),
        (Self::Odd, "ROLLING"),
    ];

    pub(crate) fn name(self) -> String {
        let (_, name) = Self::ALL.into_iter().find(|(word, _)| *word == self).expect("listed");
        name.to_owned()
    }

    fn parse(name: &str) -> Self {
        let (word, _) = Self::ALL.into_iter().find(|(_, it)| *it == name).expect("a known word");
        word
    }
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Aws {
    /// The AWS object of each name.
    pub(crate) things: Vec<Option<Thing>>,
    /// The jobs. A job's id is its position.
    pub(crate) jobs: Vec<AwsJob>,
    /// Sent writes without an answer that may still arrive.
    pub(crate) flying: Vec<Flight>,
    /// Since when the environment is locked for a Gen 2 migration.
    pub(crate) locked: Option<Seconds>,
}

/// A write that AWS accepted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct AwsJob {
    pub(crate) operation: Operation,
    pub(crate) target: u8,
    /// Uid and attempt of the resource that sent it; None: another client.
    pub(crate) by: Option<(u8, u8)>,
    pub(crate) word: Word,
    /// Its creation time, by AWS's clock. None: AWS does not show one.
    pub(crate) created: Option<Seconds>,
    /// Whether it failed because the object existed before.
    pub(crate) existed: bool,
    /// Whether AWS no longer shows it.
    pub(crate) vanished: bool,
    /// For how long AWS neither lists nor finds it.
    pub(crate) hidden: Seconds,
    /// Whether a status has recorded it.
    pub(crate) recorded: bool,
    /// Whether nothing that is stored can lead to it: the status was wiped, or AWS shows no times and the reply was
    /// lost.
    pub(crate) untold: bool,
    /// Whether its sender has mistaken another client's job for it.
    pub(crate) displaced: bool,
    /// The uids that saw it in a list before they had an intent (a bit set).
    pub(crate) listed: u8,
    pub(crate) config: u8,
}

impl AwsJob {
    pub(crate) const fn is_alive(&self) -> bool {
        !self.vanished && matches!(self.word, Word::Running | Word::Odd)
    }

    /// Whether it is a create of this uid whose outcome the resource must still find.
    pub(crate) fn is_unsettled_create(&self, uid: u8) -> bool {
        self.operation.is_create()
            && self.by.is_some_and(|(by, _)| by == uid)
            && !self.recorded
            && !self.vanished
            && !self.untold
    }
}

/// An AWS object.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Thing {
    /// The uid of the resource whose write created it.
    pub(crate) by: Option<u8>,
    /// The uid of the resource that adopted it.
    pub(crate) adopted: Option<u8>,
    /// Whether the resource that created it has mistaken another client's object for it.
    pub(crate) displaced: bool,
    pub(crate) config: u8,
    /// Whether another client has changed it since the last job of its resource.
    pub(crate) meddled: bool,
    /// For how long AWS still answers 404.
    pub(crate) hidden: Seconds,
    pub(crate) made: Seconds,
}

impl Thing {
    pub(crate) fn is_of(&self, uid: u8) -> bool {
        self.by == Some(uid) || self.adopted == Some(uid)
    }
}

/// A write on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Flight {
    pub(crate) process: u8,
    pub(crate) write: Write,
    pub(crate) target: u8,
    pub(crate) uid: u8,
    pub(crate) attempt: u8,
    pub(crate) config: u8,
    pub(crate) wiped: bool,
    /// Whether its sender has mistaken another client's job for its result.
    pub(crate) displaced: bool,
    /// The time within which it arrives, if ever.
    pub(crate) left: Seconds,
}

/// An operator.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Process {
    /// The pass in flight for each name.
    pub(crate) passes: Vec<Option<Pass>>,
    /// The memory of each name, with the uid that it is about.
    pub(crate) memory: Vec<Option<(u8, Remembers)>>,
    /// Whether the process itself has written the newest version, or read it past the cache.
    pub(crate) fresh: Vec<bool>,
    /// The version that a list of several pages, begun earlier, will still show.
    pub(crate) listing: Vec<Option<Old>>,
    /// The version in the index, if it is not the newest.
    pub(crate) behind: Vec<Option<Old>>,
    /// The name whose pass has the environment's slot reserved.
    pub(crate) reserved: Option<u8>,
}

impl Process {
    pub(crate) fn idle(names: usize) -> Self {
        Self {
            passes: vec![None; names],
            memory: vec![None; names],
            fresh: vec![false; names],
            listing: vec![None; names],
            behind: vec![None; names],
            reserved: None,
        }
    }
}

/// An object as it was this many versions ago.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Old {
    pub(crate) object: Object,
    pub(crate) lag: u8,
}

/// A pass in flight.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Pass {
    pub(crate) view: Object,
    /// How many versions `view` is behind the newest.
    pub(crate) lag: u8,
    pub(crate) known: Knows,
    pub(crate) memory: Remembers,
    /// The AWS object in `known.look`, in its real state.
    pub(crate) seen: Option<Thing>,
    pub(crate) age: Seconds,
}

/// The knowledge of a pass, by its number in a list of all distinct values: worlds are compared and copied by the
/// million.
#[derive(Clone, Copy)]
pub(crate) struct Knows {
    number: u32,
    known: &'static Known,
}

static KNOWN: RwLock<Option<HashMap<&'static Known, u32>>> = RwLock::new(None);

impl Knows {
    pub(crate) fn of(known: Known) -> Self {
        let mut all = KNOWN.write();
        let all = all.get_or_insert_default();
        if let Some((known, number)) = all.get_key_value(&known) {
            return Self { number: *number, known };
        }
        // Leaked, because there are few values.
        let known: &'static Known = Box::leak(Box::new(known));
        let number = u32::try_from(all.len()).expect("few that are known");
        all.insert(known, number);
        Self { number, known }
    }

    /// Returns the empty knowledge.
    pub(crate) fn nothing() -> Self {
        static NOTHING: OnceLock<Knows> = OnceLock::new();
        *NOTHING.get_or_init(|| Self::of(Known::default()))
    }

    /// Changes the knowledge.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known.clone();
        change(&mut known);
        *self = Self::of(known);
    }
}

impl Deref for Knows {
    type Target = Known;

    fn deref(&self) -> &Known {
        self.known
    }
}

impl fmt::Debug for Knows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.known.fmt(f)
    }
}

impl PartialEq for Knows {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Knows {}

impl Hash for Knows {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

/// A `Memory`, without the parts that only spread and prolong waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Remembers {
    /// The later of `since` and `checked`: no decision distinguishes them.
    pub(crate) since: Seconds,
    /// The reason of a wait, its start and its generation.
    pub(crate) waiting: Option<(Patience, Seconds, u8)>,
    pub(crate) listed: bool,
}

impl Remembers {
    pub(crate) const NOTHING: Self = Self {
        since: 0,
        waiting: None,
        listed: false,
    };

    pub(crate) fn memory(&self, now: Timestamp, tries: u32) -> Memory {
        Memory {
            tries,
            waiting: self.waiting.map(|(patience, since, generation)| Waiting {
                patience,
                since: at(now, since),
                generation: generation.into(),
            }),
            listed: self.listed,
            ..Memory::new(at(now, self.since))
        }
    }

    pub(crate) fn of(memory: &Memory, now: Timestamp) -> Self {
        let last = memory.since.max(memory.checked.unwrap_or(memory.since));
        Self {
            since: since(now, last),
            waiting: memory.waiting.map(|waiting| {
                let generation = u8::try_from(waiting.generation).expect("few generations");
                (waiting.patience, since(now, waiting.since), generation)
            }),
            listed: memory.listed,
        }
    }
}

macro_rules! budget {
    ($($(#[$doc:meta])* $thing:ident,)*) => {
        /// How often each event may still happen.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        pub(crate) struct Budget { $($(#[$doc])* pub(crate) $thing: u8,)* }

        impl Budget {
            /// Returns the budget with one more of every event that may happen at all.
            pub(crate) fn more(self) -> Self {
                Self { $($thing: self.$thing + u8::from(self.$thing > 0),)* }
            }
        }
    };
}

budget! {
    /// A process dies between two steps.
    crashes,
    /// A pass begins with the version before the newest.
    stale,
    /// A list of several pages shows the index an object as it was when the list began.
    relists,
    /// A write to AWS without an answer: carried out, not carried out, or carried out later.
    lost,
    /// AWS shows a job or an object late.
    late,
    /// A read of AWS fails.
    reads,
    /// AWS refuses a write (400, 404), or it is never sent, or AWS accepts it and fails at once, or the reply names no
    /// job.
    refusals,
    /// A job fails, with or without an object.
    fails,
    /// A job shows an unknown word.
    odd,
    /// AWS no longer shows a job.
    vanishes,
    /// Another client starts a job in the environment.
    foreign,
    /// Another client creates the object.
    rivals,
    /// Another client deletes the AWS object.
    gone,
    /// Another client changes the AWS object.
    drifts,
    /// The spec is edited.
    edits,
    /// The resource is deleted.
    deletes,
    /// A resource of the same name is created again.
    recreates,
    /// `suspend` changes.
    suspends,
    /// `managementPolicy` changes.
    observes,
    /// A user requests a reconcile.
    requests,
    /// The environment is locked for a Gen 2 migration, or unlocked.
    locks,
    /// The annotation that makes a resource ignore the lock is set or removed.
    ignores,
    /// A user wipes the status.
    wipes,
    /// A user changes a label.
    touches,
}

impl Object {
    pub(crate) const fn applied(uid: u8) -> Self {
        Self {
            uid,
            generation: 1,
            deleting: false,
            finalizer: false,
            held: false,
            suspend: false,
            observe: false,
            request: 0,
            ignores: false,
            config: 1,
            wiped: false,
            status: Status::EMPTY,
        }
    }

    /// Returns a Ready resource. Its create, with this job id, completed long ago.
    pub(crate) const fn ready(uid: u8, create: Operation, id: u8) -> Self {
        let config = if create.update().is_some() { Some(1) } else { None };
        Self {
            finalizer: true,
            status: Status {
                observed: 1,
                says: Some(Says {
                    ready: true,
                    stalled: false,
                    reconciling: false,
                    reason: Reason::Available,
                    generation: 1,
                    text: Text::NONE,
                }),
                origin: Some(match create {
                    Operation::CloneBackend => Origin::Cloned,
                    _ => Origin::Created,
                }),
                pinned: true,
                job: Some(Entry {
                    operation: create,
                    generation: 1,
                    attempt: 1,
                    failures: 0,
                    config,
                    source: matches!(create, Operation::CloneBackend),
                    requested: OLDEST_REQUEST,
                    after: None,
                    unconfirmed: false,
                    id: if create.has_job() { Some(id) } else { None },
                    named: create.has_job(),
                    word: if create.has_job() { Some(Word::Completed) } else { None },
                    finished: Some(OLDEST_FINISH),
                    error: Text::NONE,
                }),
                sent: config,
                echoed: config,
                ..Status::EMPTY
            },
            ..Self::applied(uid)
        }
    }

    /// Returns a resource that was suspended while the outcome of its first attempt was unknown. The attempt has just
    /// been given up.
    pub(crate) fn given_up(uid: u8, create: Operation, grace: Seconds) -> Self {
        let ready = Self::ready(uid, create, 0);
        Self {
            generation: 2,
            suspend: true,
            status: Status {
                observed: 2,
                says: ready.status.says.map(|says| Says {
                    ready: false,
                    reason: Reason::Suspended,
                    generation: 2,
                    ..says
                }),
                origin: None,
                job: ready.status.job.map(|job| Entry {
                    requested: -grace,
                    after: Some(LONG_AGO),
                    unconfirmed: true,
                    finished: Some(0),
                    id: None,
                    named: false,
                    word: None,
                    error: Text::of("AWS shows nothing of this attempt"),
                    ..job
                }),
                sent: None,
                echoed: None,
                ..ready.status
            },
            ..ready
        }
    }
}

/// Returns the hash by which situations are distinguished.
pub(crate) fn hash_of(situation: &impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(situation)
}

// ---- texts ----

/// A text, by its number in a list of all distinct texts.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Text(u16);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.text(), f)
    }
}

#[derive(Default)]
struct Texts {
    all: Vec<&'static str>,
    numbers: HashMap<&'static str, u16>,
}

static TEXTS: RwLock<Option<Texts>> = RwLock::new(None);

impl Text {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self::NONE;
        }
        let known = TEXTS.read().as_ref().and_then(|texts| texts.numbers.get(text).copied());
        Self(known.unwrap_or_else(|| {
            let mut texts = TEXTS.write();
            let texts = texts.get_or_insert_default();
            if let Some(number) = texts.numbers.get(text) {
                return *number;
            }
            // Leaked, because there are few texts.
            let text: &'static str = text.to_owned().leak();
            texts.all.push(text);
            let number = u16::try_from(texts.all.len()).expect("few texts");
            texts.numbers.insert(text, number);
            number
        }))
    }

    pub(crate) fn text(self) -> &'static str {
        let texts = TEXTS.read();
        let place = usize::from(self.0).checked_sub(1);
        place
            .zip(texts.as_ref())
            .and_then(|(place, texts)| texts.all.get(place).copied())
            .unwrap_or_default()
    }
}

// ---- the lifecycle's own forms ----

pub(crate) fn at(now: Timestamp, seconds: Seconds) -> Timestamp {
    now + SignedDuration::from_secs(seconds.into())
}

pub(crate) fn since(now: Timestamp, time: Timestamp) -> Seconds {
    Seconds::try_from(time.duration_since(now).as_secs()).expect("times should be near")
}

/// Returns the hash of a configuration.
pub(crate) fn config_name(config: u8) -> String {
    format!("c{config}")
}

/// Returns the hash of a configuration's echo.
pub(crate) fn echo_name(config: u8) -> String {
    format!("e{config}")
}

/// Returns the configuration with this hash, or with this hash of its echo.
pub(crate) fn config_of(name: &str) -> u8 {
    number(&name[1..])
}

pub(crate) fn number(text: &str) -> u8 {
    text.parse().expect("a number of ours")
}

/// The clocks of a run: the current time, and how far AWS's clock is ahead of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) now: Timestamp,
    pub(crate) skew: Seconds,
}

impl Clocks {
    pub(crate) fn aws(self, seconds: Seconds) -> Timestamp {
        at(self.now, seconds + self.skew)
    }

    fn since_aws(self, time: Timestamp) -> Seconds {
        since(self.now, time) - self.skew
    }
}

impl Status {
    pub(crate) const EMPTY: Self = Self {
        observed: -1,
        says: None,
        origin: None,
        pinned: false,
        job: None,
        handled: 0,
        sent: None,
        echoed: None,
        locked: false,
        locked_at: None,
    };

    pub(crate) fn state(&self, clocks: Clocks) -> State {
        let conditions = self.says.as_ref().map_or_else(Vec::new, |says| {
            let progress = match (says.stalled, says.reconciling) {
                (true, _) => conditions::Progress::Stalled,
                (_, true) => conditions::Progress::Reconciling,
                _ => conditions::Progress::Settled,
            };
            let generation = says.generation.into();
            conditions::state(
                &[],
                says.ready,
                progress,
                says.reason,
                says.text.text(),
                generation,
                clocks.now,
            )
        });
        let conditions = if self.locked {
            conditions::locked(&conditions, "", self.observed.into(), clocks.now)
        } else {
            conditions
        };
        State {
            ledger: Ledger {
                conditions,
                ..self.ledger(clocks)
            },
            hashes: Hashes {
                sent: self.sent.map(config_name),
                echoed: self.echoed.map(echo_name),
            },
        }
    }

    /// Returns the ledger without conditions.
    pub(crate) fn ledger(&self, clocks: Clocks) -> Ledger {
        Ledger {
            observed_generation: self.observed.into(),
            conditions: Vec::new(),
            origin: self.origin,
            account_id: self.pinned.then(|| "1".to_owned()),
            region: self.pinned.then(|| "r".to_owned()),
            job: self.job.as_ref().map(|job| job.job(clocks)),
            last_handled_reconcile_at: (self.handled > 0).then(|| self.handled.to_string()),
            migration_locked_at: self.locked_at.map(|since| at(clocks.now, since)),
        }
    }

    /// Converts a state. `texts`: whether all messages count. If not, a message counts only if it repeats AWS's reason
    /// for refusing a write, because that decides whether the write is given up.
    pub(crate) fn of(state: &State, clocks: Clocks, texts: bool) -> Self {
        let ledger = &state.ledger;
        let error = ledger.job.as_ref().and_then(|job| job.error.as_deref());
        let counts = |message: &str| texts || error.is_some_and(|error| message.starts_with(error));
        let says = conditions::get(&ledger.conditions, conditions::READY).map(|ready| Says {
            ready: ready.status == "True",
            stalled: conditions::is_true(&ledger.conditions, conditions::STALLED),
            reconciling: conditions::is_true(&ledger.conditions, conditions::RECONCILING),
            reason: Reason::parse(&ready.reason).expect("a known reason"),
            generation: u8::try_from(ready.observed_generation.unwrap_or_default()).expect("a small generation"),
            text: if counts(&ready.message) {
                Text::of(&ready.message)
            } else {
                Text::NONE
            },
        });
        Self {
            observed: i8::try_from(ledger.observed_generation).expect("a small generation"),
            says,
            origin: ledger.origin,
            pinned: ledger.account_id.is_some(),
            job: ledger.job.as_ref().map(|job| Entry::of(job, clocks)),
            handled: ledger.last_handled_reconcile_at.as_deref().map_or(0, number),
            sent: state.hashes.sent.as_deref().map(config_of),
            echoed: state.hashes.echoed.as_deref().map(config_of),
            locked: conditions::is_true(&ledger.conditions, conditions::MIGRATION_LOCKED),
            locked_at: ledger.migration_locked_at.map(|at| since(clocks.now, at)),
        }
    }
}

impl Entry {
    fn job(&self, clocks: Clocks) -> Job {
        Job {
            operation: self.operation,
            generation: self.generation.into(),
            attempt: self.attempt.into(),
            failures: self.failures.into(),
            config_hash: self.config.map(config_name),
            source_environment_name: self.source.then(|| "main".to_owned()),
            request_time: at(clocks.now, self.requested),
            after: self.after.map(|after| {
                if self.operation.is_create() {
                    clocks.aws(after)
                } else {
                    at(clocks.now, after)
                }
            }),
            unconfirmed: self.unconfirmed,
            id: self.id.map(|id| id.to_string()),
            backend_environment_name: self.named.then(|| "dev".to_owned()),
            status: self.word.map(Word::name),
            finish_time: self.finished.map(|finished| at(clocks.now, finished)),
            error: (self.error != Text::NONE).then(|| self.error.text().to_owned()),
        }
    }

    fn of(job: &Job, clocks: Clocks) -> Self {
        let small = |number: i64| u8::try_from(number).expect("a small number");
        Self {
            operation: job.operation,
            generation: small(job.generation),
            attempt: small(job.attempt),
            failures: small(job.failures),
            config: job.config_hash.as_deref().map(config_of),
            source: job.source_environment_name.is_some(),
            requested: since(clocks.now, job.request_time),
            after: job.after.map(|after| {
                if job.operation.is_create() {
                    clocks.since_aws(after)
                } else {
                    since(clocks.now, after)
                }
            }),
            unconfirmed: job.unconfirmed,
            id: job.id.as_deref().map(number),
            named: job.backend_environment_name.is_some(),
            word: job.status.as_deref().map(Word::parse),
            finished: job.finish_time.map(|time| since(clocks.now, time)),
            error: job.error.as_deref().map_or(Text::NONE, Text::of),
        }
    }
}

/// Returns the times in a pass's knowledge: those of our clock, and those of AWS's.
pub(crate) fn times_of<'a>(known: &'a mut Known) -> (Vec<&'a mut Timestamp>, Vec<&'a mut Timestamp>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    if let Some(look) = &mut known.look {
        ours.push(&mut look.at);
        theirs.extend(look.seen.iter_mut().filter_map(|seen| seen.create_time.as_mut()));
    }
    ours.extend(known.lock.as_mut().map(|lock| &mut lock.at));
    if let Some(Reply::Done { asked, seen }) = &mut known.reply {
        ours.push(asked);
        theirs.extend(seen.create_time.as_mut());
    }
    let mut jobs: Vec<&'a mut JobSeen> = Vec::new();
    if let Some(listed) = &mut known.jobs {
        ours.push(&mut listed.at);
        jobs.extend(&mut listed.jobs);
    }
    if let Some(polled) = &mut known.poll {
        jobs.extend(&mut polled.job);
    }
    theirs.extend(jobs.into_iter().filter_map(|job| job.create_time.as_mut()));
    (ours, theirs)
}
