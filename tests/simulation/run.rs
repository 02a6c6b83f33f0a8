//! Plays a plan, lets everything come to rest, and returns the findings.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use amplify_operator::api::RECONCILE_REQUESTED_AT;
use amplify_simulator::{
    Call, Category, CloneJobEnvironment, Config, Control, DEFAULT_ACCOUNT, Ending, EnvironmentState, JobScript,
    ResourceState, Settings,
};
use jiff::SignedDuration;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    apiserver::{self, Named, Reach, Withdrawn},
    judge::Judge,
    plan::{APP, Blow, Cast, Deed, Event, HOLD, Plan, Trouble, Weather},
    world::{REGION, Start, World, aws, beginning},
};
use amplify_testkit::specimen::plurals;
use amplify_testkit::{
    laws::checker::{self, Findings, Violation},
    laws::draws::{KEYS, SCHEMAS, schema},
    laws::history::{History, Millis, key_of},
};

/// The time for everything to come to rest after the last disturbance: a hanging job is polled every 5 min, an unknown
/// outcome has a grace, a failed job is tried again after 15 min.
const REST: Duration = Duration::from_hours(3);
/// The variable of an app that names its locked environment.
const MARK: &str = "GEN2_MIGRATION_ENVIRONMENT_NAME";
/// The default of `--outcome-grace`.
const OUTCOME_GRACE: Millis = 120_000;
/// The longest time of a request on its way: a call to AWS ends within 30 s, and its request arrives up to 30 s after
/// that.
const ON_THE_WAY: Millis = 65_000;
/// The time after which the end of an unrecorded job no longer matters.
const LONG_AGO: Millis = 3_600_000;
/// The largest clock difference. The operator's clock follows AWS's within 5 s, or within half of the time of the
/// slowest answer until a quicker answer corrects it. Times in a status are whole seconds.
const SKEW: Millis = 16_000;

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    /// The simulated time.
    pub(crate) simulated: Duration,
    pub(crate) events: usize,
    pub(crate) kubernetes_requests: u64,
    pub(crate) aws_calls: u64,
    pub(crate) creates: usize,
    pub(crate) restarts: u64,
    /// One line for each accepted write and each event.
    pub(crate) log: Vec<String>,
}

/// Plays a plan to its end.
pub(crate) fn run(plan: &Plan) -> Outcome {
    // Seeds the random numbers of the SDK's and kube's backoffs.
    fastrand::seed(plan.seed);
    let mut run = Run::new(plan);
    for (at, event) in &plan.events {
        run.world.run(*at);
        run.act(event);
    }
    run.world.run(plan.length);
    run.calm();
    let rested = run.rest();
    let mut violations = Vec::new();
    if rested {
        run.silence(&mut violations);
    }
    run.outcome(violations)
}

struct Run<'a> {
    plan: &'a Plan,
    world: World,
    judge: Judge,
    stripped: BTreeSet<String>,
    meddled: Vec<(String, Millis)>,
    /// Uid and AWS object of resources whose status was emptied. Promises about the lost contents cannot be kept.
    wiped: Vec<(String, String)>,
    accounts: AccountsText,
    locks: Locks,
    events: usize,
}

/// The locks of environments for a Gen 2 migration. An app's variable names one environment at a time.
#[derive(Default)]
struct Locks {
    now: Option<(String, Millis)>,
    /// Environment, begin and end of each lock that has ended.
    before: Vec<(String, Millis, Millis)>,
}

/// The longest time from the answer that a write rests on to the arrival of its request. A process that is frozen right before
/// it sends is promised nothing: the longest time of that is added.
const LATE: Millis = 60_000 + ON_THE_WAY + 180_000;

/// The accounts file, and its errors.
#[derive(Default)]
struct AccountsText {
    text: Arc<Mutex<String>>,
    /// The numbers of the namespaces without an entry.
    missing: BTreeSet<usize>,
    is_broken: bool,
}

impl AccountsText {
    fn write(&self, namespaces: &[String]) {
        let there = namespaces
            .iter()
            .enumerate()
            .filter(|(number, _)| !self.missing.contains(number));
        let entries: Vec<_> = there
            .map(|(number, namespace)| {
                let role = format!("arn:aws:iam::{DEFAULT_ACCOUNT}:role/team-{number}");
                json!({ "name": namespace, "namespaces": [namespace], "roleArn": role })
            })
            .collect();
        let text = json!({ "accounts": entries }).to_string();
        *self.text.lock() = if self.is_broken { text.replace('{', "") } else { text };
    }
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan) -> Self {
        let scene = &plan.scene;
        let mut world = World::new(plan.seed, &config(plan));
        let judge = Judge::new();
        let (control, see, base) = (world.simulator().control(), judge.clone(), beginning().as_millisecond());
        world.apiserver(|server| {
            let control: Control = control;
            server.observe(move |write| see.see(write, &control, write.at.as_millisecond().max(base)));
        });
        world.users(|users| {
            for namespace in scene.namespaces.iter().map(String::as_str).chain(["operators"]) {
                users.create_namespace(namespace).expect("a namespace");
                users
                    .put_config_map(namespace, SCHEMAS, &schemas())
                    .expect("a ConfigMap");
            }
        });
        world.aws(|aws| {
            for environment in ["main", "host"] {
                assert!(aws.put_backend((APP, environment), "storefront"), "an app");
                assert!(aws.put_auth((APP, environment), "users"));
            }
        });
        let accounts = AccountsText::default();
        accounts.write(&scene.namespaces);
        for (number, off) in scene.clocks.iter().enumerate() {
            world.add(Start {
                name: format!("operator-{number}"),
                flags: scene.flags.clone(),
                seed: plan.seed.wrapping_mul(31).wrapping_add(number as u64),
                time: beginning() + SignedDuration::from_secs(*off),
                accounts: scene.has_accounts.then(|| accounts.text.clone()),
            });
        }
        Self {
            plan,
            world,
            judge,
            stripped: BTreeSet::new(),
            meddled: Vec::new(),
            wiped: Vec::new(),
            accounts,
            locks: Locks::default(),
            events: 0,
        }
    }

    fn now(&self) -> Millis {
        beginning().as_millisecond() + i64::try_from(self.world.now().as_millis()).unwrap_or_default()
    }

    fn cast(&self, number: usize) -> &'a Cast {
        &self.plan.scene.cast[number]
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each event")]
    fn act(&mut self, event: &Event) {
        self.events += 1;
        self.judge.note(format!("{:?} {event:?}", self.world.now()));
        match event {
            Event::User(number, deed) => self.user(*number, deed),
            Event::ConfigMap(namespace, there) => {
                let namespace = &self.plan.scene.namespaces[*namespace];
                self.world.users(|users| {
                    if *there {
                        drop(users.put_config_map(namespace, SCHEMAS, &schemas()));
                    } else {
                        drop(users.delete(Named("configmaps", namespace, SCHEMAS)));
                    }
                });
            }
            Event::Account(namespace, there) => {
                if *there {
                    self.accounts.missing.remove(namespace);
                } else {
                    self.accounts.missing.insert(*namespace);
                }
                self.accounts.write(&self.plan.scene.namespaces);
            }
            Event::AccountsFile(works) => {
                self.accounts.is_broken = !*works;
                self.accounts.write(&self.plan.scene.namespaces);
            }
            Event::Rights(namespace, there) => {
                let namespace = &self.plan.scene.namespaces[*namespace];
                self.world.apiserver(|server| {
                    for number in 0..self.plan.scene.clocks.len() {
                        let rights = Withdrawn {
                            who: Some(format!("operator-{number}")),
                            ..Withdrawn::of_namespace(namespace)
                        };
                        if *there {
                            server.give_back(&rights);
                        } else {
                            server.withdraw(rights);
                        }
                    }
                });
            }
            Event::Definition(plural, served) => self.world.apiserver(|server| {
                if *served {
                    server.serve_definition(plural);
                } else {
                    server.hide_definition(plural);
                }
            }),
            Event::ApiServer(trouble) => self.world.apiserver(|server| match trouble {
                Trouble::Rough(true) => server.set_odds(apiserver::Odds::rough()),
                Trouble::Rough(false) => server.set_odds(apiserver::Odds::default()),
                Trouble::Up(true) => server.come_back(),
                Trouble::Up(false) => server.go_down(),
                Trouble::Broken => server.break_connections(),
                Trouble::Compacted => server.compact(),
            }),
            Event::Reach(which, cut) => {
                let reach = match cut {
                    None => Reach::Reached,
                    Some(true) => Reach::Silent,
                    Some(false) => Reach::Refused,
                };
                self.world
                    .apiserver(|server| server.set_reach(&format!("operator-{which}"), reach));
            }
            Event::Cloud(weather) => self.weather(weather),
            Event::Operator(which, blow) => match *blow {
                Blow::Killed => self.world.kill(*which),
                Blow::KilledAt(after, fate) => self.world.set_trap(*which, after, fate),
                Blow::Frozen(time) => self.world.freeze(*which, time),
                Blow::Terminated => self.world.terminate(*which),
                Blow::Clock(off) => self.world.set_clock(*which, SignedDuration::from_secs(off)),
            },
        }
    }

    fn user(&mut self, number: usize, deed: &Deed) {
        let cast = self.cast(number);
        let named = Named(cast.plural, &cast.namespace, &cast.name);
        let there = self.world.users(|users| users.get(named));
        if let (Deed::Wipe, Some(object)) = (deed, &there) {
            let [kind, uid] = [&object["kind"], &object["metadata"]["uid"]].map(|it| it.as_str().unwrap_or_default());
            self.wiped.push((uid.to_owned(), key_of(kind, &environment(cast))));
        }
        if let (Deed::Strip | Deed::Vanish, Some(object)) = (deed, &there) {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            // If the object is not being deleted, the operator adds the finalizer again, and nothing is special about
            // the object.
            if matches!(deed, Deed::Vanish) || !object["metadata"]["deletionTimestamp"].is_null() {
                self.stripped.insert(uid.to_owned());
            }
        }
        // A check whose time has come while the object cannot be read is made up for at the next one: what somebody has done
        // meanwhile may be seen a drift interval later.
        let place = environment(cast);
        if matches!(deed, Deed::Garble(false)) && self.meddled.iter().any(|(other, _)| *other == place) {
            self.meddled.push((place, self.now()));
        }
        // The API server refuses invalid changes, and changes of missing objects.
        self.world.users(|users| match deed {
            Deed::Create(spec) => {
                if there.is_none() {
                    drop(users.create(named, json!({ "spec": spec })));
                }
            }
            Deed::Edit(patch) => drop(users.merge(named, patch)),
            Deed::Delete => drop(users.delete(named)),
            Deed::Strip => drop(users.merge(named, &json!({ "metadata": { "finalizers": null } }))),
            Deed::Wipe => drop(users.wipe_status(named)),
            Deed::Garble(true) => users.force(named, |object| object["spec"]["suspend"] = json!("maybe")),
            Deed::Garble(false) => drop(users.merge(named, &json!({ "spec": { "suspend": null } }))),
            Deed::Vanish => users.vanish(named),
            Deed::Hold(true) => drop(users.add_finalizer(named, HOLD)),
            Deed::Hold(false) => drop(users.strip_finalizer(named, HOLD)),
        });
    }

    fn weather(&mut self, weather: &Weather) {
        match weather {
            Weather::Rough(on) => self
                .world
                .cloud
                .set_odds(if *on { aws::Odds::ROUGH } else { aws::Odds::default() }),
            Weather::Hanging(on) => self.world.cloud.set_hanging(REGION, *on),
            Weather::Fault(fault) => drop(self.world.aws(|aws| aws.fault(fault.clone()))),
            Weather::Job(fault) => drop(self.world.aws(|aws| aws.job_fault(fault.clone()))),
            Weather::Removed(number) => {
                let cast = self.cast(*number);
                let environment = environment(cast);
                let place = (APP, environment.as_str());
                self.world.aws(|aws| match cast.plural {
                    "amplifybackends" => aws.delete_backend(place),
                    "backendenvironments" => aws.delete_environment(place),
                    "backendstorages" => aws.delete_resource(place, Category::Storage, "photos"),
                    _ => aws.delete_api(place, cast.spec["resourceName"].as_str().unwrap_or_default()),
                });
                self.meddled.push((environment, self.now()));
            }
            Weather::Made(number, text) => {
                let cast = self.cast(*number);
                let environment = environment(cast);
                let place = (APP, environment.as_str());
                if matches!(cast.plural, "backendapis" | "backendstorages") && self.is_just_written(cast) {
                    return;
                }
                let resource = cast.spec["resourceName"].as_str().unwrap_or_default();
                let config = json!({ "apiName": "shop", "service": "AppSync", "transformSchema": text });
                self.world.aws(|aws| match cast.plural {
                    // With auth, like each backend here: a storage waits for it.
                    "amplifybackends" => aws.put_backend(place, "storefront") && aws.put_auth(place, "users"),
                    "backendapis" => aws.put_api(place, resource, config.as_object().cloned().unwrap_or_default()),
                    "backendstorages" => {
                        let config =
                            json!({ "permissions": { "authenticated": ["READ"], "unAuthenticated": ["DELETE"] } });
                        let config = config.as_object().cloned().unwrap_or_default();
                        let state = ResourceState {
                            config,
                            ..ResourceState::default()
                        };
                        aws.put_storage(place, resource, state)
                    }
                    _ => {
                        let theirs = |name: &str| Some(name.to_owned());
                        let (stack_name, deployment_artifacts) = (theirs("theirs"), theirs("bucket"));
                        aws.put_environment(
                            place,
                            EnvironmentState {
                                stack_name,
                                deployment_artifacts,
                            },
                        )
                    }
                });
                self.meddled.push((environment, self.now()));
            }
            Weather::Lock(number, on) => self.lock(&environment(self.cast(*number)), *on),
            Weather::Foreign(number, operation, time) => {
                let environment = environment(self.cast(*number));
                let script = JobScript::default().lasting(*time);
                self.world
                    .aws(|aws| aws.start_job((APP, environment.as_str()), operation.as_str(), script));
            }
        }
    }

    /// Locks an environment, or unlocks it if it is locked.
    fn lock(&mut self, environment: &str, on: bool) {
        let now = self.world.aws(Control::now);
        let is_locked = self.locks.now.as_ref().is_some_and(|(locked, _)| locked == environment);
        if is_locked == on {
            return;
        }
        if let Some((locked, begin)) = self.locks.now.take() {
            self.locks.before.push((locked, begin, now));
        }
        self.locks.now = on.then(|| (environment.to_owned(), now));
        let mark = on.then(|| (MARK.to_owned(), environment.to_owned()));
        let marked = self
            .world
            .aws(|aws| aws.put_variables((APP, ""), mark.into_iter().collect()));
        assert!(marked, "the app");
    }

    /// Returns the writes that AWS got in spite of a lock.
    fn writes_in_spite_of_a_lock(&self) -> Vec<String> {
        let writes = self.world.simulator().history().writes();
        let is_locked = |call: &Call| {
            let mut locks = self.locks.before.iter();
            locks.any(|(environment, begin, end)| {
                call.environment() == environment && begin + LATE < call.time && call.time < *end
            })
        };
        let locked = writes.iter().filter(|call| is_locked(call));
        let told = |call: &Call| {
            format!(
                "I8: {:?} of {} at {}, though it is locked",
                call.operation,
                call.environment(),
                call.time
            )
        };
        locked.map(told).collect()
    }

    /// Whether the last job of this API runs, or the operator has not looked since its end. At that look the operator
    /// takes AWS's configuration for AWS's form of the sent one, and cannot distinguish it from a change by hand.
    fn is_just_written(&self, cast: &Cast) -> bool {
        let (environment, now) = (environment(cast), self.now());
        let app = self.world.aws(|aws| aws.app((APP, ""))).expect("the app");
        let jobs = app.jobs.get(&environment).into_iter().flatten();
        let what = if cast.plural == "backendapis" {
            "BackendAPI"
        } else {
            "BackendStorage"
        };
        let mine = jobs.filter(|job| !job.vanished && job.operation.contains(what));
        let Some(last) = mine.max_by_key(|job| job.created) else {
            return false;
        };
        let named = Named(cast.plural, &cast.namespace, &cast.name);
        let there = self.world.users(|users| users.get(named));
        let status = there.map_or(Value::Null, |object| object["status"].clone());
        let is_seen = status["job"]["id"] == last.id
            && !status["job"]["finishTime"].is_null()
            && !status["echoedConfigHash"].is_null();
        !is_seen && (!matches!(last.status.as_str(), "COMPLETED" | "FAILED") || now - last.updated < LONG_AGO)
    }

    /// Ends all disturbances and hanging jobs, and requests one look at every resource.
    fn calm(&mut self) {
        let scene = &self.plan.scene;
        for namespace in 0..scene.namespaces.len() {
            self.act(&Event::Rights(namespace, true));
            self.act(&Event::ConfigMap(namespace, true));
            self.act(&Event::Account(namespace, true));
        }
        self.act(&Event::AccountsFile(true));
        for plural in plurals() {
            self.act(&Event::Definition(plural, true));
        }
        self.act(&Event::ApiServer(Trouble::Rough(false)));
        self.act(&Event::ApiServer(Trouble::Up(true)));
        for which in 0..scene.clocks.len() {
            self.act(&Event::Reach(which, None));
        }
        self.act(&Event::Cloud(Weather::Rough(false)));
        self.act(&Event::Cloud(Weather::Hanging(false)));
        if let Some((environment, _)) = self.locks.now.clone() {
            self.lock(&environment, false);
        }
        self.world.aws(|aws| {
            aws.clear_faults();
            aws.change_settings(|settings| settings.job_duration = Duration::from_secs(5));
            let app = aws.app((APP, "")).expect("the app");
            for (environment, job) in app
                .jobs
                .iter()
                .flat_map(|(name, jobs)| jobs.iter().map(move |job| (name, job)))
            {
                if !job.vanished && !matches!(job.status.as_str(), "COMPLETED" | "FAILED") {
                    aws.end_job((APP, environment.as_str()), Some(&job.id), Ending::Completed);
                }
            }
        });
        for number in 0..scene.cast.len() {
            self.act(&Event::User(number, Deed::Hold(false)));
            self.act(&Event::User(
                number,
                Deed::Edit(json!({
                    "metadata": { "annotations": { RECONCILE_REQUESTED_AT: "at rest" } },
                    "spec": { "suspend": false },
                })),
            ));
        }
    }

    /// Waits until every resource is at rest. Returns false if some are not in time; the checker then names them.
    fn rest(&mut self) -> bool {
        let end = self.world.now() + REST;
        while self.world.now() < end {
            self.world.run(self.world.now() + Duration::from_secs(30));
            let judge = self.judge.clone();
            if self.world.aws(|aws| judge.restless(aws)).is_empty() {
                return true;
            }
        }
        false
    }

    /// Checks that at rest nothing is written, and AWS is only read.
    fn silence(&mut self, violations: &mut Vec<String>) {
        // The results of the last looks, and their Events, may still be written; and that patience is over: it is up to 10
        // minutes, and begins anew when a clock is set back.
        self.world.run(self.world.now() + Duration::from_mins(12));
        let written = self.judge.written();
        let accepted = |run: &Self| run.world.simulator().history().writes().len();
        let before = accepted(self);
        let tasks = self.world.sizes();
        self.world.run(self.world.now() + self.plan.quiet);
        if self.judge.written() != written {
            violations.push(format!("{} writes at rest", self.judge.written() - written));
        }
        if accepted(self) != before {
            violations.push(format!("{} writes to AWS at rest", accepted(self) - before));
        }
        for (name, (count, _)) in self.world.sizes() {
            let before = tasks.get(&name).map_or(0, |(before, _)| *before);
            if before > 0 && count > before + 8 {
                violations.push(format!(
                    "{name} had {before} tasks, and has {count} at the end of the silence"
                ));
            }
        }
    }

    fn outcome(self, mut violations: Vec<String>) -> Outcome {
        violations.extend(self.writes_in_spite_of_a_lock());
        let plan = self.plan;
        let jobs = self.world.aws(|aws| aws.app((APP, "")).expect("the app").jobs);
        let mut history = History {
            versions: self.judge.versions(),
            calls: self
                .world
                .simulator()
                .history()
                .all()
                .into_iter()
                .map(Into::into)
                .collect(),
            jobs,
            stripped: self.stripped,
            meddled: self.meddled,
            schemas: KEYS
                .map(|key| ((SCHEMAS.to_owned(), key.to_owned()), schema(key)))
                .into(),
            on_the_way: ON_THE_WAY,
            skew: SKEW,
            outcome_grace: OUTCOME_GRACE,
            drift_interval: i64::try_from(plan.scene.drift_interval.as_millis()).unwrap_or_default(),
        };
        let Findings {
            violations: found,
            creates,
            ..
        } = checker::check(&history);
        let is_wiped = |it: &Violation| {
            let mut wiped = self.wiped.iter();
            wiped.any(|(uid, key)| it.what.contains(uid) || it.name == *key && !it.what.contains('('))
        };
        let found = found.iter().filter(|it| !is_wiped(it));
        violations.extend(found.map(|it| format!("{:?}: {}", it.law, it.what)));
        // With AWS's current state, not the one at the time of the last write.
        for living in self.world.aws(|aws| self.judge.living(aws)) {
            if let Some(last) = history.versions.iter_mut().rfind(|it| it.uid() == living.uid()) {
                last.held = living.held;
            }
        }
        let quiet = checker::check_quiet(&history);
        violations.extend(quiet.iter().map(|it| format!("{:?}: {}", it.law, it.what)));
        violations.extend(self.world.complaints.iter().cloned());
        let counts: BTreeMap<_, _> = self.world.simulator().history().counts();
        Outcome {
            seed: plan.seed,
            violations,
            simulated: self.world.now() * u32::try_from(self.world.operators()).unwrap_or(1),
            events: self.events,
            kubernetes_requests: self.world.server.requests().values().sum(),
            aws_calls: counts.values().map(|count| count.calls).sum(),
            creates,
            restarts: self.world.restarts,
            log: self.judge.log(),
        }
    }
}

/// Returns the environment of this resource.
fn environment(cast: &Cast) -> String {
    let spec = &cast.spec;
    let name = [
        &spec["backendEnvironmentName"],
        &spec["environmentName"],
        &spec["backendRef"]["name"],
    ]
    .into_iter()
    .find_map(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn schemas() -> Value {
    KEYS.iter()
        .map(|key| ((*key).to_owned(), schema(key)))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect()
}

fn config(plan: &Plan) -> Config {
    let oddities = plan.scene.oddities;
    let mut settings = Settings {
        job_duration: plan.scene.job,
        read_after_create_delay: oddities.read_after_create_delay,
        job_listing_delay: oddities.job_listing_delay,
        visible_while_creating: oddities.visible_while_creating,
        page_size: oddities.page_size,
        oldest_job_first: oddities.oldest_job_first,
        new_backends_have_auth: true,
        any_name_shows_the_only_one: plan.seed.is_multiple_of(2),
        ..Settings::default()
    };
    if oddities.is_clone_listed_under_source {
        settings.clone_job_environment = CloneJobEnvironment::Source;
    }
    settings.echo.trailing_newline = oddities.adds_newline;
    let mut config = Config::default().app(APP, "storefront").settings(settings);
    REGION.clone_into(&mut config.region);
    config.history_limit = usize::MAX;
    config
}
