//! The events of a run, drawn from a seed before it begins: the resources, and the time of each event. Data only, so
//! that a run can be repeated with fewer events.

use std::time::Duration;

use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{Action, Class, Fault, Garbage, JobFault, JobScript, Operation};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::world::Fate;
use amplify_testkit::laws::draws::{OTHERS, WRITES, config, one, schema, spec};
use amplify_testkit::specimen::plurals;

/// The app of all runs.
pub(crate) const APP: &str = "d1a2b3c4d5e6f7";
/// The finalizer of another controller.
pub(crate) const HOLD: &str = "example.com/hold";
/// The length of the disturbed part of a run.
const LENGTH: Duration = Duration::from_hours(3);

/// The plan of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) scene: Scene,
    /// The events, in order of time.
    pub(crate) events: Vec<(Duration, Event)>,
    /// The length of the disturbed part.
    pub(crate) length: Duration,
    /// The length of the quiet part at the end, in which only checks may happen.
    pub(crate) quiet: Duration,
}

/// The setting of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// The error of each operator's clock, in seconds.
    pub(crate) clocks: Vec<i64>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) flags: Vec<String>,
    pub(crate) drift_interval: Duration,
    pub(crate) job: Duration,
    pub(crate) oddities: Oddities,
    /// Whether an accounts file gives each namespace a role.
    pub(crate) has_accounts: bool,
    pub(crate) cast: Vec<Cast>,
}

/// The properties of AWS in a run.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Oddities {
    pub(crate) visible_while_creating: bool,
    pub(crate) oldest_job_first: bool,
    pub(crate) read_after_create_delay: Duration,
    pub(crate) job_listing_delay: Duration,
    pub(crate) is_clone_listed_under_source: bool,
    pub(crate) page_size: Option<usize>,
    pub(crate) adds_newline: bool,
}

/// A resource that users create and delete during the run.
#[derive(Clone, Debug)]
pub(crate) struct Cast {
    /// The plural of its kind.
    pub(crate) plural: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) spec: Value,
}

impl Cast {
    /// Returns its kind, as in manifests.
    pub(crate) fn kind(&self) -> &'static str {
        match self.plural {
            "amplifybackends" => "AmplifyBackend",
            "backendapis" => "BackendApi",
            "backendstorages" => "BackendStorage",
            _ => "BackendEnvironment",
        }
    }
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An action of a user on the resource of this number.
    User(usize, Deed),
    /// The ConfigMap of a namespace is removed or restored.
    ConfigMap(usize, bool),
    /// The operators' rights in a namespace are removed or restored.
    Rights(usize, bool),
    /// The entry of a namespace in the accounts file is removed or restored.
    Account(usize, bool),
    /// The accounts file becomes unreadable, or is fixed.
    AccountsFile(bool),
    /// A definition is no longer served, or is served again.
    Definition(String, bool),
    ApiServer(Trouble),
    /// An operator is cut off from the API server, gets no answers, or is connected again.
    Reach(usize, Option<bool>),
    Cloud(Weather),
    Operator(usize, Blow),
}

/// An action of a user.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Create(Value),
    Edit(Value),
    Delete,
    /// All finalizers are removed.
    Strip,
    /// The finalizer of another controller is added or removed.
    Hold(bool),
    /// The status is emptied: its contents are lost.
    Wipe,
    /// Another version of the definition lets a user write a value that the operator cannot read, or the value is
    /// fixed.
    Garble(bool),
    /// The object is removed in spite of its finalizers.
    Vanish,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Rough(bool),
    Up(bool),
    Broken,
    Compacted,
}

#[derive(Clone, Debug)]
pub(crate) enum Weather {
    Rough(bool),
    Hanging(bool),
    Fault(Fault),
    Job(JobFault),
    /// The AWS object of the resource of this number is removed.
    Removed(usize),
    /// Another client creates or changes the AWS object; an API gets this schema.
    Made(usize, String),
    /// Another client's job begins in its environment.
    Foreign(usize, Operation, Duration),
    /// A Gen 2 migration locks the environment of the resource of this number, or unlocks it.
    Lock(usize, bool),
}

/// A disturbance of an operator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blow {
    Killed,
    KilledAt(u32, Fate),
    Frozen(Duration),
    Terminated,
    /// At its next start, its machine's clock is wrong by this many seconds.
    Clock(i64),
}

impl Plan {
    /// Draws the plan of this seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let scene = Scene::draw(&mut rng);
        let length = LENGTH.mul_f64(0.3 + rng.f64());
        let quiet = Duration::from_hours(one(&mut rng, &[1, 1, 24]));
        let mut draw = Draw {
            rng,
            length,
            events: Vec::new(),
        };
        draw.users(&scene);
        draw.aws(&scene);
        draw.kubernetes(&scene);
        draw.operators(&scene);
        draw.accounts(&scene);
        draw.locks(&scene);
        let mut events = draw.events;
        events.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            scene,
            events,
            length,
            quiet,
        }
    }
}

impl Scene {
    fn draw(rng: &mut Rng) -> Self {
        let leader_elect = rng.u8(..3) > 0;
        let operators = if leader_elect { rng.usize(1..=3) } else { 1 };
        let clocks = (0..operators).map(|_| off(rng)).collect();
        let namespaces: Vec<_> = (0..rng.usize(1..=3)).map(|number| format!("team-{number}")).collect();
        let is_namespaced = rng.u8(..4) == 0;
        let drift_interval = Duration::from_mins(rng.u64(5..60));
        let mut flags = vec![
            format!("--drift-interval={}s", drift_interval.as_secs()),
            format!("--job-timeout={}m", rng.u8(10..60)),
            format!("--max-job-attempts={}", rng.u8(1..4)),
            format!("--concurrency={}", one(rng, &[1, 2, 16])),
        ];
        if leader_elect {
            flags.extend(["--leader-elect", "--lease-namespace=operators"].map(str::to_owned));
        }
        if is_namespaced {
            flags.extend(
                namespaces
                    .iter()
                    .map(|namespace| format!("--watch-namespace={namespace}")),
            );
        }
        let is_slow = rng.bool();
        let seconds = |rng: &mut Rng, most| Duration::from_secs(if is_slow { rng.u64(..most) } else { 0 });
        let oddities = Oddities {
            visible_while_creating: rng.bool(),
            oldest_job_first: rng.bool(),
            read_after_create_delay: seconds(rng, 60),
            job_listing_delay: seconds(rng, 30),
            is_clone_listed_under_source: rng.bool(),
            page_size: one(rng, &[None, Some(1), Some(3)]),
            adds_newline: rng.bool(),
        };
        let cast = namespaces.iter().flat_map(|namespace| cast(rng, namespace)).collect();
        Self {
            clocks,
            namespaces,
            flags,
            drift_interval,
            job: Duration::from_secs(one(rng, &[0, 3, 20, 90, 400])),
            oddities,
            has_accounts: rng.u8(..3) == 0,
            cast,
        }
    }
}

/// Draws the error of a machine's clock, in seconds.
fn off(rng: &mut Rng) -> i64 {
    one(rng, &[0, 0, 0, 1, -1, 4, -4, 70, -70, 3600, -3600])
}

/// Draws the resources of a namespace. Backends have the name of their environment, and references use it.
fn cast(rng: &mut Rng, namespace: &str) -> Vec<Cast> {
    let name = |what: &str| format!("{namespace}-{what}");
    let of = |plural, what: &str, spec| Cast {
        plural,
        namespace: namespace.to_owned(),
        name: name(what),
        spec,
    };
    let backend =
        |environment: &str| json!({ "appId": APP, "appName": "storefront", "backendEnvironmentName": environment });
    let (a, b, c) = (name("a"), name("b"), name("c"));
    let clone = |from: Value| json!({ "appId": APP, "backendEnvironmentName": c, "cloneFrom": from });
    let record = |environment: &str| json!({ "appId": APP, "environmentName": environment, "stackName": "stack", "deploymentArtifacts": "bucket" });
    let all = [
        of("amplifybackends", "a", backend(&a)),
        of("amplifybackends", "b", backend(&b)),
        of(
            "amplifybackends",
            "c",
            clone(if rng.bool() {
                json!({ "backendRef": { "name": a } })
            } else {
                json!({ "backendEnvironmentName": "main" })
            }),
        ),
        of(
            "backendapis",
            "api",
            json!({ "backendRef": { "name": a }, "resourceName": "shop" }),
        ),
        of(
            "backendapis",
            "host-api",
            json!({ "appId": APP, "backendEnvironmentName": "host", "resourceName": name("host") }),
        ),
        of(
            "backendstorages",
            "storage",
            json!({ "backendRef": { "name": a }, "resourceName": "photos" }),
        ),
        of(
            "backendstorages",
            "host-storage",
            json!({ "appId": APP, "backendEnvironmentName": "host", "resourceName": "photos" }),
        ),
        of("backendenvironments", "record", record(&name("record"))),
        // Two resources for the same AWS objects.
        of("amplifybackends", "twin", backend(&b)),
        of("backendenvironments", "twin", record(&a)),
    ];
    all.into_iter().filter(|_| rng.u8(..5) > 0).collect()
}

struct Draw {
    rng: Rng,
    length: Duration,
    events: Vec<(Duration, Event)>,
}

impl Draw {
    fn at(&mut self) -> Duration {
        let millis = u64::try_from(self.length.as_millis()).unwrap_or_default();
        Duration::from_millis(self.rng.u64(..millis))
    }

    fn add(&mut self, event: Event) {
        let at = self.at();
        self.events.push((at, event));
    }

    /// Adds an event that lasts for a while, up to `longest`.
    fn lasting(&mut self, longest: Duration, event: impl Fn(bool) -> Event) {
        let begin = self.at();
        let end = begin + longest.mul_f64(self.rng.f64());
        self.events.push((begin, event(true)));
        self.events.push((end, event(false)));
    }

    fn times(&mut self, most: usize) -> usize {
        // Runs without any event of a sort are as useful as runs with many.
        if self.rng.u8(..3) == 0 {
            0
        } else {
            self.rng.usize(..=most)
        }
    }

    fn users(&mut self, scene: &Scene) {
        for number in 0..scene.cast.len() {
            let spec = spec(scene.cast[number].kind(), &scene.cast[number].spec, &mut self.rng);
            // Most resources exist from the beginning.
            let at = if self.rng.u8(..4) == 0 {
                self.at()
            } else {
                Duration::from_secs(self.rng.u64(..20))
            };
            self.events.push((at, Event::User(number, Deed::Create(spec))));
        }
        if scene.cast.is_empty() {
            return;
        }
        for turn in 0..self.times(60) {
            let number = self.rng.usize(..scene.cast.len());
            let deed = deed(&scene.cast[number], &mut self.rng, turn);
            let at = self.at();
            if matches!(deed, Deed::Delete) && self.rng.bool() {
                let again = at + Duration::from_secs(self.rng.u64(..900));
                let spec = spec(scene.cast[number].kind(), &scene.cast[number].spec, &mut self.rng);
                self.events.push((again, Event::User(number, Deed::Create(spec))));
            }
            self.events.push((at, Event::User(number, deed)));
        }
        for _ in 0..self.times(3) {
            let number = self.rng.usize(..scene.cast.len());
            self.lasting(Duration::from_mins(30), |on| Event::User(number, Deed::Hold(on)));
        }
        for _ in 0..self.times(3) {
            let namespace = self.rng.usize(..scene.namespaces.len());
            self.lasting(Duration::from_mins(30), |gone| Event::ConfigMap(namespace, !gone));
        }
        for _ in 0..self.times(3) {
            let number = self.rng.usize(..scene.cast.len());
            let goes = self.rng.bool();
            self.lasting(Duration::from_mins(20), |on| {
                Event::User(number, if on || !goes { Deed::Garble(on) } else { Deed::Vanish })
            });
        }
    }

    fn aws(&mut self, scene: &Scene) {
        for _ in 0..self.times(4) {
            self.lasting(Duration::from_mins(20), |on| Event::Cloud(Weather::Rough(on)));
        }
        for _ in 0..self.times(2) {
            self.lasting(Duration::from_mins(10), |on| Event::Cloud(Weather::Hanging(on)));
        }
        for _ in 0..self.times(25) {
            let operation = {
                let of = if self.rng.u8(..3) > 0 { WRITES } else { OTHERS };
                one(&mut self.rng, of)
            };
            let fault = Fault::on(operation, answer(&mut self.rng, operation)).times(self.rng.u64(1..3));
            self.add(Event::Cloud(Weather::Fault(fault)));
        }
        for _ in 0..self.times(10) {
            let fault = JobFault::on(one(&mut self.rng, WRITES), job(&mut self.rng));
            self.add(Event::Cloud(Weather::Job(fault)));
        }
        if scene.cast.is_empty() {
            return;
        }
        for _ in 0..self.times(4) {
            let number = self.rng.usize(..scene.cast.len());
            self.add(Event::Cloud(Weather::Removed(number)));
        }
        for _ in 0..self.times(6) {
            let number = self.rng.usize(..scene.cast.len());
            let text = schema(&format!("x{}", self.rng.u8(..3)));
            self.add(Event::Cloud(Weather::Made(number, text)));
        }
        for _ in 0..self.times(4) {
            let number = self.rng.usize(..scene.cast.len());
            let (operation, time) = (one(&mut self.rng, WRITES), Duration::from_secs(self.rng.u64(..600)));
            self.add(Event::Cloud(Weather::Foreign(number, operation, time)));
        }
    }

    fn kubernetes(&mut self, scene: &Scene) {
        for _ in 0..self.times(5) {
            self.lasting(Duration::from_mins(20), |on| Event::ApiServer(Trouble::Rough(on)));
        }
        for _ in 0..self.times(3) {
            self.lasting(Duration::from_mins(5), |down| Event::ApiServer(Trouble::Up(!down)));
        }
        for _ in 0..self.times(6) {
            let trouble = one(&mut self.rng, &[Trouble::Broken, Trouble::Compacted]);
            self.add(Event::ApiServer(trouble));
        }
        for _ in 0..self.times(2) {
            let namespace = self.rng.usize(..scene.namespaces.len());
            self.lasting(Duration::from_mins(15), |gone| Event::Rights(namespace, !gone));
        }
        for _ in 0..self.times(2) {
            let plural = one(&mut self.rng, &plurals());
            self.lasting(Duration::from_mins(10), |gone| Event::Definition(plural.clone(), !gone));
        }
        for _ in 0..self.times(3) {
            let which = self.rng.usize(..scene.clocks.len());
            let is_silent = self.rng.bool();
            self.lasting(Duration::from_mins(4), |cut| {
                Event::Reach(which, cut.then_some(is_silent))
            });
        }
    }

    fn accounts(&mut self, scene: &Scene) {
        if !scene.has_accounts {
            return;
        }
        for _ in 0..self.times(4) {
            let namespace = self.rng.usize(..scene.namespaces.len());
            self.lasting(Duration::from_mins(20), |gone| Event::Account(namespace, !gone));
        }
        for _ in 0..self.times(2) {
            self.lasting(Duration::from_mins(20), |broken| Event::AccountsFile(!broken));
        }
    }

    fn locks(&mut self, scene: &Scene) {
        if scene.cast.is_empty() {
            return;
        }
        for _ in 0..self.times(3) {
            let number = self.rng.usize(..scene.cast.len());
            self.lasting(Duration::from_hours(1), |on| Event::Cloud(Weather::Lock(number, on)));
        }
    }

    /// Makes the API server or AWS silent around this time.
    fn around(&mut self, at: Duration) {
        // The silence begins between 20 s before it and 20 s after it.
        let begin = (at + Duration::from_millis(self.rng.u64(..40_000))).saturating_sub(Duration::from_secs(20));
        let after = Duration::from_secs(self.rng.u64(30..90));
        let event: fn(bool) -> Event = match self.rng.u8(..3) {
            0 => |down| Event::ApiServer(Trouble::Up(!down)),
            1 => |cut| Event::Reach(0, cut.then_some(true)),
            _ => |on| Event::Cloud(Weather::Hanging(on)),
        };
        self.events.push((begin, event(true)));
        self.events.push((at + after, event(false)));
    }

    fn operators(&mut self, scene: &Scene) {
        for _ in 0..self.times(12) {
            let which = self.rng.usize(..scene.clocks.len());
            let fate = one(&mut self.rng, &[Fate::KilledBefore, Fate::KilledAfter]);
            let blow = match self.rng.u8(..12) {
                0 => Blow::Killed,
                1..6 => Blow::KilledAt(self.rng.u32(..60), fate),
                6 | 7 => Blow::Frozen(Duration::from_secs(self.rng.u64(1..180))),
                8..11 => Blow::Terminated,
                _ => Blow::Clock(off(&mut self.rng)),
            };
            let at = self.at();
            self.events.push((at, Event::Operator(which, blow)));
            if matches!(blow, Blow::Terminated) && self.rng.bool() {
                // Also while everything else fails.
                self.around(at);
            }
        }
    }
}

fn deed(cast: &Cast, rng: &mut Rng, turn: usize) -> Deed {
    let policy = one(rng, &["Delete", "Retain"]);
    Deed::Edit(match rng.u8(..100) {
        0..25 if matches!(cast.plural, "backendapis" | "backendstorages") => {
            json!({ "spec": { "resourceConfig": config(cast.kind(), rng) } })
        }
        0..12 => json!({ "spec": { "suspend": true } }),
        12..30 => json!({ "spec": { "suspend": false } }),
        30..36 => json!({ "spec": { "jobTimeout": format!("{}m", rng.u8(1..90)) } }),
        36..42 => json!({ "spec": { "deletionPolicy": policy } }),
        42..46 => json!({ "spec": { "deletionPolicy": policy, "adoptionPolicy": "IfExists" } }),
        46..58 => json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: turn.to_string() } } }),
        // The API server refuses these edits.
        58..60 => json!({ "spec": { "appId": "d0000000000" } }),
        60..64 => json!({ "metadata": { "labels": { "turn": turn.to_string() }, "annotations": { "turn": "x" } } }),
        64..70 => return Deed::Strip,
        70 => return Deed::Wipe,
        _ => return Deed::Delete,
    })
}

/// Draws an answer of AWS.
fn answer(rng: &mut Rng, operation: Operation) -> Action {
    let is_write = operation.class() == Class::Write;
    let has_job = WRITES.contains(&operation);
    let status = one(rng, &[500, 503, 504]);
    // Shorter than the time after which the operator believes that nothing came of a request.
    let duration = Some(Duration::from_secs(rng.u64(1..40)));
    match rng.u8(..28) {
        4..7 => Action::ServerErrorAfter { status },
        7..9 => Action::Reset,
        9..12 => Action::ResetAfter,
        12 | 13 => Action::Hang { duration },
        14 | 15 => Action::HangAfter { duration },
        16 => Action::Truncate,
        17 => Action::Garbage {
            kind: one(rng, &[Garbage::Html, Garbage::Empty, Garbage::InvalidUtf8]),
        },
        18 if is_write => Action::Garbage {
            kind: Garbage::NoMembers,
        },
        19 => Action::TooManyRequests,
        20 => Action::LimitExceeded,
        21 => Action::RateExceeded,
        22 if operation == Operation::CreateBackendEnvironment => Action::QuotaExceeded,
        23 | 24 if has_job => Action::PendingJob { validation: rng.bool() },
        25 => Action::ExpiredToken,
        26 => Action::AccessDenied,
        27 if is_write => Action::respond(400, "BadRequestException", "The request is not valid."),
        _ => Action::ServerError { status },
    }
}

fn job(rng: &mut Rng) -> JobScript {
    match rng.u8(..10) {
        0..3 => JobScript::failed("the stack rolled back", rng.bool()),
        3 => JobScript::vanishes(rng.bool()),
        4 | 5 => JobScript::stuck(),
        6 => JobScript::default().saying(&["QUEUED", "ALMOST"]),
        _ => JobScript::default().lasting(Duration::from_secs(rng.u64(3..3000))),
    }
}
