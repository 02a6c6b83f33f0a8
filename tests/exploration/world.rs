//! The world in small: everything that a run can be in, with no texts and only relative times, so that two situations
//! that no decision can tell apart are one state.

use amplify_operator::{
    api::{
        Job, Ledger, Operation, Origin,
        conditions::{self, Reason},
    },
    lifecycle::{
        Hashes, State,
        facts::{Class, JobSeen, Sent},
    },
};
use jiff::{SignedDuration, Timestamp};

/// Seconds from now; the past is negative.
pub(crate) type Seconds = i16;

/// The least time that passes.
pub(crate) const TICK: Seconds = 30;

/// AWS numbers its jobs; its clock says only which came first. It has nothing to do with ours.
const AWS_EPOCH: i64 = 1_000_000_000;

/// Something that must never be.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Broken {
    /// I1
    CreatedTwice(&'static str),
    /// I2
    SentWithoutRecord(&'static str),
    /// I3
    TookOthers,
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
    /// A pass without an end.
    Endless,
}

/// All of it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World {
    pub(crate) names: Vec<Name>,
    pub(crate) aws: Aws,
    pub(crate) processes: Vec<Process>,
    pub(crate) budget: Budget,
    pub(crate) next_uid: u8,
    pub(crate) broken: Option<Broken>,
}

/// What the API server holds under a name.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Name {
    pub(crate) live: Option<Object>,
    /// The version before this one, which a cache may still show.
    pub(crate) before: Option<Object>,
}

/// A custom resource. Two equal ones: nothing to decide anew.
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
    pub(crate) suspend: bool,
    pub(crate) request: u8,
    pub(crate) config: u8,
    /// Whether somebody has wiped the status since it was created: what it told is lost.
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
}

/// The conditions.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Says {
    pub(crate) ready: bool,
    pub(crate) stalled: bool,
    pub(crate) reconciling: bool,
    pub(crate) reason: Reason,
    pub(crate) generation: u8,
    /// A digest of the message, where messages are compared.
    pub(crate) text: u32,
}

/// `status.job`
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Entry {
    pub(crate) operation: Operation,
    pub(crate) generation: u8,
    pub(crate) attempt: u8,
    pub(crate) failures: u8,
    pub(crate) requested: Seconds,
    pub(crate) after: Option<u8>,
    pub(crate) unconfirmed: bool,
    pub(crate) id: Option<u8>,
    pub(crate) named: bool,
    pub(crate) word: Option<Word>,
    pub(crate) finished: Option<Seconds>,
    pub(crate) error: bool,
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
    /// A word that no documentation knows.
    Odd,
}

impl Word {
    const ALL: [(Self, &str); 4] = [
        (Self::Running, "RUNNING"),
        (Self::Completed, Job::COMPLETED),
        (Self::Failed, Job::FAILED),
        (Self::Odd, "ROLLING"),
    ];

    fn name(self) -> String {
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
    /// A job's id is its place.
    pub(crate) jobs: Vec<AwsJob>,
    /// Creates that were sent, whose sender got no answer, and that may still arrive.
    pub(crate) flying: Vec<Flight>,
}

/// An AWS object.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Thing {
    /// The uid of the resource that had it made.
    pub(crate) by: Option<u8>,
    /// The uid of the resource that took it over.
    pub(crate) adopted: Option<u8>,
    pub(crate) config: u8,
    /// For how long AWS says 404 all the same.
    pub(crate) hidden: Seconds,
    pub(crate) made: Seconds,
}

impl Thing {
    pub(crate) fn is_of(&self, uid: u8) -> bool {
        self.by == Some(uid) || self.adopted == Some(uid)
    }
}

/// What AWS took.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct AwsJob {
    pub(crate) operation: Operation,
    pub(crate) target: u8,
    /// Uid and attempt of the resource that sent it; None: somebody else.
    pub(crate) by: Option<(u8, u8)>,
    pub(crate) word: Word,
    /// AWS no longer knows it.
    pub(crate) vanished: bool,
    /// For how long AWS neither lists nor finds it.
    pub(crate) hidden: Seconds,
    /// Whether a status has told of it.
    pub(crate) recorded: bool,
    /// Whether the status that could tell of it was wiped.
    pub(crate) wiped: bool,
    pub(crate) config: u8,
}

impl AwsJob {
    pub(crate) const fn is_alive(&self) -> bool {
        !self.vanished && matches!(self.word, Word::Running | Word::Odd)
    }

    /// A create of this uid of which it may not forget anything.
    pub(crate) fn is_unsettled_create(&self, uid: u8) -> bool {
        self.operation.is_create()
            && self.by.is_some_and(|(by, _)| by == uid)
            && !self.recorded
            && !self.vanished
            && !self.wiped
    }
}

/// A create on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Flight {
    pub(crate) target: u8,
    pub(crate) uid: u8,
    pub(crate) attempt: u8,
    pub(crate) config: u8,
    pub(crate) wiped: bool,
    /// It arrives within this time, or never.
    pub(crate) left: Seconds,
}

/// An operator.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Process {
    /// The pass in flight for each name.
    pub(crate) passes: Vec<Option<Pass>>,
    /// For each name: of which uid it remembers that it was looked at, and when at the latest.
    pub(crate) memory: Vec<Option<(u8, Seconds)>>,
    /// Whether it has itself written, or read past the cache, the newest version.
    pub(crate) fresh: Vec<bool>,
}

/// A pass in flight.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Pass {
    pub(crate) view: Object,
    /// Whether `view` has the newest resourceVersion.
    pub(crate) current: bool,
    pub(crate) knows: Knows,
    /// Whether AWS has shown the object.
    pub(crate) found: bool,
    pub(crate) age: Seconds,
}

/// `Known`
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Knows {
    pub(crate) look: Option<Look>,
    pub(crate) jobs: Option<List>,
    pub(crate) poll: Option<Poll>,
    pub(crate) config: bool,
    pub(crate) slot: Option<bool>,
    pub(crate) sending: Sends,
    pub(crate) reply: Option<Answer>,
    pub(crate) failed: bool,
}

/// What a poll showed. None: AWS no longer knows the job.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Poll(pub(crate) Option<Shown>);

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum Sends {
    #[default]
    Nothing,
    Intended,
    Recorded,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Look {
    pub(crate) at: Seconds,
    pub(crate) seen: Option<Thing>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct List {
    pub(crate) at: Seconds,
    pub(crate) jobs: Vec<Shown>,
}

/// A job as AWS shows it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Shown {
    pub(crate) id: u8,
    pub(crate) operation: Operation,
    pub(crate) word: Word,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Answer {
    Job { id: u8, word: Word, error: bool },
    Done,
    Absent,
    Failed(Class, Sent),
}

/// How often each thing may still happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Budget {
    /// A process dies between two steps.
    pub(crate) crashes: u8,
    /// A pass begins with the version before the newest.
    pub(crate) stale: u8,
    /// A write to AWS without an answer: carried out, not carried out, or carried out later.
    pub(crate) lost: u8,
    /// AWS shows a job or an object late.
    pub(crate) late: u8,
    /// A read of AWS fails.
    pub(crate) reads: u8,
    /// AWS refuses a write (400, 404), or it never leaves, or AWS takes it and fails at once.
    pub(crate) refusals: u8,
    /// A job fails, with or without an object.
    pub(crate) fails: u8,
    /// A job says an odd word.
    pub(crate) odd: u8,
    /// AWS no longer knows a job.
    pub(crate) vanishes: u8,
    /// Somebody else starts a job in the environment.
    pub(crate) foreign: u8,
    /// Somebody else makes the object.
    pub(crate) rivals: u8,
    /// Somebody deletes the AWS object.
    pub(crate) gone: u8,
    /// Somebody changes the AWS object.
    pub(crate) drifts: u8,
    /// The spec is edited.
    pub(crate) edits: u8,
    /// The resource is deleted.
    pub(crate) deletes: u8,
    /// A resource of the same name is made.
    pub(crate) recreates: u8,
    /// `suspend` changes.
    pub(crate) suspends: u8,
    /// Somebody asks for a reconcile.
    pub(crate) requests: u8,
    /// Somebody wipes the status.
    pub(crate) wipes: u8,
    /// Somebody changes a label.
    pub(crate) touches: u8,
}

impl Budget {
    /// Once more of everything that may happen at all.
    pub(crate) fn more(self) -> Self {
        let more = |times: u8| times + u8::from(times > 0);
        Self {
            crashes: more(self.crashes),
            stale: more(self.stale),
            lost: more(self.lost),
            late: more(self.late),
            reads: more(self.reads),
            refusals: more(self.refusals),
            fails: more(self.fails),
            odd: more(self.odd),
            vanishes: more(self.vanishes),
            foreign: more(self.foreign),
            rivals: more(self.rivals),
            gone: more(self.gone),
            drifts: more(self.drifts),
            edits: more(self.edits),
            deletes: more(self.deletes),
            recreates: more(self.recreates),
            suspends: more(self.suspends),
            requests: more(self.requests),
            wipes: more(self.wipes),
            touches: more(self.touches),
        }
    }
}

impl Object {
    pub(crate) const fn applied(uid: u8) -> Self {
        Self {
            uid,
            generation: 1,
            deleting: false,
            finalizer: false,
            suspend: false,
            request: 0,
            config: 1,
            wiped: false,
            status: Status::EMPTY,
        }
    }

    /// Suspended while the outcome of its first attempt was not known, which was then given up.
    pub(crate) const fn given_up(uid: u8, create: Operation) -> Self {
        Self {
            generation: 2,
            finalizer: true,
            suspend: true,
            status: Status {
                observed: 2,
                says: Some(Says {
                    ready: false,
                    stalled: false,
                    reconciling: false,
                    reason: Reason::Suspended,
                    generation: 2,
                    text: 0,
                }),
                pinned: true,
                job: Some(Entry {
                    operation: create,
                    generation: 1,
                    attempt: 1,
                    failures: 0,
                    requested: OLDEST_REQUEST,
                    after: Some(0),
                    unconfirmed: true,
                    id: None,
                    named: false,
                    word: None,
                    finished: Some(0),
                    error: true,
                }),
                sent: Some(1),
                ..Status::EMPTY
            },
            ..Self::applied(uid)
        }
    }
}

fn at(now: Timestamp, seconds: Seconds) -> Timestamp {
    now + SignedDuration::from_secs(seconds.into())
}

fn since(now: Timestamp, time: Timestamp) -> Seconds {
    Seconds::try_from(time.duration_since(now).as_secs()).expect("times should be near")
}

/// The name of a configuration: hashes and echoes are such names.
pub(crate) fn config_name(config: u8) -> String {
    config.to_string()
}

fn number(text: &str) -> u8 {
    text.parse().expect("a number of ours")
}

/// When AWS says that it began with its `id`th job.
pub(crate) fn created(id: u8) -> Timestamp {
    Timestamp::from_second(AWS_EPOCH + i64::from(id)).expect("a time in range")
}

fn ordinal(time: Timestamp) -> u8 {
    u8::try_from(time.as_second() - AWS_EPOCH).expect("a time of AWS's")
}

impl Shown {
    pub(crate) fn job(self) -> JobSeen {
        JobSeen {
            id: self.id.to_string(),
            environment: "dev".to_owned(),
            operation: self.operation.name().to_owned(),
            status: self.word.name(),
            create_time: Some(created(self.id)),
            error: None,
        }
    }
}

impl Word {
    pub(crate) fn text(self) -> String {
        self.name()
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
    };

    pub(crate) fn state(&self, now: Timestamp) -> State {
        let conditions = self.says.as_ref().map_or_else(Vec::new, |says| {
            let progress = match (says.stalled, says.reconciling) {
                (true, _) => conditions::Progress::Stalled,
                (_, true) => conditions::Progress::Reconciling,
                _ => conditions::Progress::Settled,
            };
            let text = format!("#{}", says.text);
            let generation = says.generation.into();
            conditions::state(&[], says.ready, progress, says.reason, &text, generation, now)
        });
        State {
            ledger: Ledger {
                observed_generation: self.observed.into(),
                conditions,
                origin: self.origin,
                account_id: self.pinned.then(|| "1".to_owned()),
                region: self.pinned.then(|| "r".to_owned()),
                job: self.job.as_ref().map(|job| job.job(now)),
                last_handled_reconcile_at: (self.handled > 0).then(|| self.handled.to_string()),
            },
            hashes: Hashes {
                sent: self.sent.map(config_name),
                echoed: self.echoed.map(config_name),
            },
        }
    }

    /// `texts`: whether messages count.
    pub(crate) fn of(state: &State, now: Timestamp, texts: bool) -> Self {
        let ledger = &state.ledger;
        let says = conditions::get(&ledger.conditions, conditions::READY).map(|ready| Says {
            ready: ready.status == "True",
            stalled: conditions::is_true(&ledger.conditions, conditions::STALLED),
            reconciling: conditions::is_true(&ledger.conditions, conditions::RECONCILING),
            reason: Reason::parse(&ready.reason).expect("a known reason"),
            generation: u8::try_from(ready.observed_generation.unwrap_or_default()).expect("a small generation"),
            text: if texts { digest(&ready.message) } else { 0 },
        });
        Self {
            observed: i8::try_from(ledger.observed_generation).expect("a small generation"),
            says,
            origin: ledger.origin,
            pinned: ledger.account_id.is_some(),
            job: ledger.job.as_ref().map(|job| Entry::of(job, now)),
            handled: ledger.last_handled_reconcile_at.as_deref().map_or(0, number),
            sent: state.hashes.sent.as_deref().map(number),
            echoed: state.hashes.echoed.as_deref().map(number),
        }
    }
}

/// A message that was rebuilt from its digest has that digest.
fn digest(message: &str) -> u32 {
    message
        .strip_prefix('#')
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| {
            message
                .bytes()
                .fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        })
}

impl Entry {
    fn job(&self, now: Timestamp) -> Job {
        Job {
            operation: self.operation,
            generation: self.generation.into(),
            attempt: self.attempt.into(),
            failures: self.failures.into(),
            request_time: at(now, self.requested),
            after: self.after.map(created),
            unconfirmed: self.unconfirmed,
            id: self.id.map(|id| id.to_string()),
            backend_environment_name: self.named.then(|| "dev".to_owned()),
            status: self.word.map(Word::name),
            finish_time: self.finished.map(|finished| at(now, finished)),
            error: self.error.then(|| "it says so".to_owned()),
        }
    }

    fn of(job: &Job, now: Timestamp) -> Self {
        let small = |number: i64| u8::try_from(number).expect("a small number");
        Self {
            operation: job.operation,
            generation: small(job.generation),
            attempt: small(job.attempt),
            failures: small(job.failures),
            requested: since(now, job.request_time),
            after: job.after.map(ordinal),
            unconfirmed: job.unconfirmed,
            id: job.id.as_deref().map(number),
            named: job.backend_environment_name.is_some(),
            word: job.status.as_deref().map(Word::parse),
            finished: job.finish_time.map(|time| since(now, time)),
            error: job.error.is_some(),
        }
    }
}

// ---- time ----

/// The oldest that a `requestTime` gets: the longest grace and the longest pass have then passed.
const OLDEST_REQUEST: Seconds = -180;
/// The oldest that a `finishTime` gets: the grace, or the first backoff, and the longest pass have then passed.
const OLDEST_FINISH: Seconds = -150;
/// Somebody else made it long ago.
pub(crate) const LONG_AGO: Seconds = -1000;

fn age(time: &mut Seconds, by: Seconds, oldest: Seconds) {
    *time = (*time - by).max(oldest).min(*time);
}

impl Object {
    fn age(&mut self, by: Seconds) {
        if let Some(job) = &mut self.status.job {
            age(&mut job.requested, by, OLDEST_REQUEST);
            if let Some(finished) = &mut job.finished {
                age(finished, by, OLDEST_FINISH);
                // Nobody asks any more when a write that has ended was sent.
                job.requested = OLDEST_REQUEST;
            }
        }
    }
}

impl World {
    /// Time passes.
    pub(crate) fn age(&mut self, by: Seconds) {
        let left = |time: &mut Seconds| *time = (*time - by).max(0);
        for name in &mut self.names {
            for object in name.live.iter_mut().chain(&mut name.before) {
                object.age(by);
            }
        }
        for thing in self.aws.things.iter_mut().flatten() {
            left(&mut thing.hidden);
            age(&mut thing.made, by, OLDEST_REQUEST);
        }
        for job in &mut self.aws.jobs {
            left(&mut job.hidden);
        }
        for flight in &mut self.aws.flying {
            left(&mut flight.left);
        }
        for process in &mut self.processes {
            for (_, looked) in process.memory.iter_mut().flatten() {
                age(looked, by, -TICK);
            }
            for pass in process.passes.iter_mut().flatten() {
                pass.age += by;
                pass.view.age(by);
                if let Some(look) = &mut pass.knows.look {
                    look.at -= by;
                    if let Some(seen) = &mut look.seen {
                        age(&mut seen.made, by, OLDEST_REQUEST);
                    }
                }
                if let Some(list) = &mut pass.knows.jobs {
                    list.at -= by;
                }
            }
        }
    }
}
