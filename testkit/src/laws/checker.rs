//! The operator's promises, checked over a history. Pure: histories in, violations out.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use amplify_operator::lifecycle::timing::SEND_WITHIN;
use amplify_simulator::{JobState, Operation};
use serde_json::Value;

use crate::{
    conditions::{condition, is_stalled},
    laws::history::{AwsCall, History, Millis, Version, time},
};

/// Times in a status are whole seconds.
const SECOND: Millis = 1000;
/// If the recorder saw a version later than this after it was written, the version does not show what AWS held at that
/// time.
const LATE: Millis = 2500;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub law: Law,
    /// The name of the resource, if known.
    pub name: String,
    pub what: String,
}

/// A promise of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    /// At most one accepted create per intent.
    CreatedOnce,
    /// No create without a finalizer and an intent, both stored before.
    IntentFirst,
    /// No intent while the outcome of another is unknown.
    OneOutcomeAtATime,
    /// No delete of an AWS object that the resource does not own.
    DeletesOwnOnly,
    /// `observedGeneration` and `attempt` never decrease.
    NeverBack,
    /// The finalizer is removed only after the AWS object.
    NothingLeftBehind,
    /// At most one job of ours at a time in an environment.
    OneJobAtATime,
    /// Ready for a generation means that AWS holds the spec of that generation.
    TrueReady,
    /// Every write that AWS has accepted is recorded.
    NoLostJob,
    /// No call destroys more than one object.
    NothingDangerous,
    /// In quiet, every resource becomes Ready, Stalled or gone.
    Settles,
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub violations: Vec<Violation>,
    pub creates: usize,
    /// The highest number of accepted creates of one intent.
    pub most_creates: usize,
}

impl Findings {
    pub fn count(&self, law: Law) -> usize {
        self.violations.iter().filter(|violation| violation.law == law).count()
    }
}

/// Checks all laws except those that hold only in quiet.
pub fn check(history: &History) -> Findings {
    let story = Story::of(history);
    let mut findings = Findings::default();
    story.creates(&mut findings);
    let violations = &mut findings.violations;
    story.intents(violations);
    story.open_intents(violations);
    story.deletes(violations);
    story.progress(violations);
    story.ends(violations);
    story.jobs(violations);
    story.claims(violations);
    let dangerous = history.calls.iter().filter(|call| call.operation.is_dangerous());
    violations.extend(dangerous.map(|call| Violation {
        law: Law::NothingDangerous,
        name: call.key.clone(),
        what: format!("{} was called", call.operation),
    }));
    findings
}

/// Checks the laws that hold after faults have stopped and all jobs have ended.
pub fn check_quiet(history: &History) -> Vec<Violation> {
    let story = Story::of(history);
    let mut violations = Vec::new();
    let living: Vec<_> = story.living().cloned().collect();
    for last in &living {
        let mut wrong = |law, what: String| violations.push(violation(law, last, &what));
        if !is_at_rest(last, &living) {
            wrong(Law::Settles, format!("it is not settled: {:#}", last.status()));
        } else if last.is_ready() && !holds(history, last.spec(), last.kind(), &last.held) {
            let what = format!("Ready, and AWS holds {} for {}", last.held, last.spec());
            wrong(Law::TrueReady, what);
        }
    }
    violations
}

/// Whether a resource no longer changes by itself: it is Ready, Stalled, or waits for another resource that no longer
/// changes. Also checks that its message about other resources is true.
pub fn is_at_rest(last: &Version, others: &[Version]) -> bool {
    let job = &last.status()["job"];
    let runs = job.is_object() && job["finishTime"].is_null();
    if runs || last.status()["observedGeneration"] != last.generation() {
        return false;
    }
    // By now no environment is locked: the next check takes the condition away.
    if condition(&last.object, "MigrationLocked")["status"] == "True" {
        return false;
    }
    let mut others = others.iter().filter(|other| other.uid() != last.uid());
    let dependent = |other: &Version| {
        matches!(other.kind(), "BackendApi" | "BackendStorage") && other.environment() == last.environment()
    };
    let message = last.ready()["message"].as_str().unwrap_or_default();
    match last.reason() {
        "Available" => last.is_ready() && last.deleting_since().is_none(),
        "DependencyNotReady" => {
            let name = last.spec()["backendRef"]["name"].as_str().or_else(|| last.source());
            let depends = |other: &Version| other.kind() == "AmplifyBackend" && Some(other.name()) == name;
            !others.any(|other| depends(other) && other.is_ready())
        }
        "Deleting" => {
            message.starts_with("waits for the deletion of")
                && others.any(|other| dependent(other) && other.deleting_since().is_some())
        }
        "InUse" => others.any(|other| dependent(other) && other.deleting_since().is_none()),
        "Conflict" => others.any(|other| other.key() == last.key()),
        "AlreadyExists" => !last.held.is_null() && is_stalled(&last.object),
        // The end of the job is still awaited.
        "JobTimedOut" => false,
        _ => is_stalled(&last.object),
    }
}

/// Whether AWS holds the object that this spec describes.
fn holds(history: &History, spec: &Value, kind: &str, held: &Value) -> bool {
    match kind {
        "AmplifyBackend" => !held.is_null(),
        "BackendEnvironment" => ["stackName", "deploymentArtifacts"]
            .into_iter()
            .all(|field| spec[field].is_null() || spec[field] == held[field]),
        "BackendStorage" => {
            let (held, wanted) = (&held["permissions"], &spec["resourceConfig"]["permissions"]);
            let who = ["authenticated", "unAuthenticated"];
            who.iter()
                .filter(|who| !wanted[**who].is_null())
                .all(|who| words(&held[*who]) == words(&wanted[*who]))
        }
        _ => {
            let mut wanted = spec["resourceConfig"].clone();
            if let Some(from) = wanted
                .as_object_mut()
                .and_then(|wanted| wanted.remove("transformSchemaFrom"))
            {
                let part = |name: &str| from["configMapKeyRef"][name].as_str().unwrap_or_default().to_owned();
                let schema = history.schemas.get(&(part("name"), part("key")));
                wanted["transformSchema"] = schema.cloned().into();
            }
            includes(held, &wanted)
        }
    }
}

/// Returns a set of words without order: AWS treats them as sets.
fn words(set: &Value) -> BTreeSet<&str> {
    set.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether `held` contains everything in `wanted`. `expirationTime` decreases in AWS and is never compared.
pub fn includes(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => wanted
            .iter()
            .filter(|(name, _)| *name != "expirationTime")
            .all(|(name, wanted)| held.get(name).is_some_and(|held| includes(held, wanted))),
        (Value::Array(held), Value::Array(wanted)) => {
            held.len() == wanted.len() && held.iter().zip(wanted).all(|(held, wanted)| includes(held, wanted))
        }
        _ => held == wanted,
    }
}

/// An intent to create: one attempt of a resource.
struct Intent<'a> {
    version: &'a Version,
    first: Millis,
    last: Millis,
    finalizer: bool,
    /// The job recorded for this attempt.
    job: Option<&'a str>,
}

/// A history, indexed.
struct Story<'a> {
    history: &'a History,
    /// The versions of each resource, by uid.
    lives: BTreeMap<&'a str, Vec<&'a Version>>,
    /// The intents, by uid and attempt.
    intended: BTreeMap<(&'a str, i64), Intent<'a>>,
    /// The intents to create each AWS object, by its key.
    intents_of: BTreeMap<String, Vec<(&'a str, i64)>>,
    /// The versions of resources that are being deleted and delete their AWS object, by its key.
    deleting: BTreeMap<String, Vec<&'a Version>>,
}

fn violation(law: Law, version: &Version, what: &str) -> Violation {
    Violation {
        law,
        name: version.name().to_owned(),
        what: format!("{}: {what}", version.title()),
    }
}

impl<'a> Story<'a> {
    fn of(history: &'a History) -> Self {
        let mut lives: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for version in &history.versions {
            lives.entry(version.uid()).or_default().push(version);
        }
        let mut intended: BTreeMap<(&str, i64), Intent> = BTreeMap::new();
        for version in &history.versions {
            let at = (version.uid(), version.attempt());
            if let Some(intent) = intended.get_mut(&at)
                && intent.job.is_none()
            {
                intent.job = version.status()["job"]["id"].as_str();
            }
            let Some(job) = version.open_intent().filter(|job| creates(job)) else {
                continue;
            };
            let requested = time(&job["requestTime"]).unwrap_or_default();
            let intent = intended.entry(at).or_insert_with(|| Intent {
                version,
                first: requested,
                last: requested,
                finalizer: version.has_finalizer(),
                job: None,
            });
            intent.last = intent.last.max(requested);
        }
        let mut intents_of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (at, intent) in &intended {
            intents_of.entry(intent.version.key()).or_default().push(*at);
        }
        let mut deleting: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let deletes = |version: &&Version| version.deletes() && version.deleting_since().is_some();
        for version in history.versions.iter().filter(deletes) {
            deleting.entry(version.key()).or_default().push(version);
        }
        Self {
            history,
            lives,
            intended,
            intents_of,
            deleting,
        }
    }

    /// Returns the last versions of the resources that still exist.
    fn living(&self) -> impl Iterator<Item = &'a Version> {
        let last = self.lives.values().filter_map(|life| life.last().copied());
        last.filter(|last| !last.gone)
    }

    fn is_gone(&self, uid: &str) -> bool {
        self.lives[uid].last().is_some_and(|last| last.gone)
    }

    /// Checks that each accepted create belongs to one intent and is recorded.
    fn creates(&self, findings: &mut Findings) {
        let mut accepted: BTreeMap<(&str, i64), usize> = BTreeMap::new();
        let by_job: BTreeMap<&str, (&str, i64)> = self
            .intended
            .iter()
            .filter_map(|(at, intent)| Some((intent.job?, *at)))
            .collect();
        let recorded: BTreeSet<&str> = self
            .history
            .versions
            .iter()
            .filter_map(|version| version.status()["job"]["id"].as_str())
            .collect();
        let calls = self.history.calls.iter();
        let calls = calls.filter(|call| call.accepted && call.operation.creates());
        for call in calls {
            findings.creates += 1;
            let told = call.job.as_deref().and_then(|job| by_job.get(job)).copied();
            if let Some(at) = told {
                let intent = &self.intended[&at];
                if intent.version.key() != call.key {
                    let what = format!("it records the job {:?} of {}", call.job, call.key);
                    findings
                        .violations
                        .push(violation(Law::NoLostJob, intent.version, &what));
                }
            }
            let at = told.or_else(|| self.intent_of(call, &accepted));
            let Some(at) = at else {
                findings.violations.push(Violation {
                    law: Law::IntentFirst,
                    name: call.key.clone(),
                    what: format!(
                        "{} of {} at {} has no intent of its own",
                        call.operation, call.key, call.time
                    ),
                });
                continue;
            };
            let intent = &self.intended[&at];
            *accepted.entry(at).or_default() += 1;
            if !self.sent_within(intent).contains(&call.time) || !intent.finalizer {
                let what = format!(
                    "{} at {} for the intent of {}..{}",
                    call.operation, call.time, intent.first, intent.last
                );
                findings
                    .violations
                    .push(violation(Law::IntentFirst, intent.version, &what));
            }
            let is_lost = call
                .job
                .as_deref()
                .is_some_and(|job| !recorded.contains(job) && !self.has_vanished(job));
            if is_lost && !self.may_be_lost(at.0) {
                let what = format!("the job {:?} of {} is recorded nowhere", call.job, call.operation);
                findings
                    .violations
                    .push(violation(Law::NoLostJob, intent.version, &what));
            }
        }
        for (at, count) in &accepted {
            findings.most_creates = findings.most_creates.max(*count);
            if *count > 1 {
                let what = format!("attempt {} was accepted {count} times", at.1);
                findings
                    .violations
                    .push(violation(Law::CreatedOnce, self.intended[at].version, &what));
            }
        }
    }

    /// Returns the intent that this create carries out, judged by time and name: of the intents that are not carried
    /// out yet, the one that ends first.
    fn intent_of(&self, call: &AwsCall, accepted: &BTreeMap<(&str, i64), usize>) -> Option<(&'a str, i64)> {
        let may_be = |at: &&(&'a str, i64)| {
            let intent = &self.intended[*at];
            intent.job.is_none()
                && intent.version.status()["job"]["operation"] == call.operation.as_str()
                && self.sent_within(intent).contains(&call.time)
                && !accepted.contains_key(*at)
        };
        let intents = self.intents_of.get(&call.key)?.iter().filter(may_be);
        intents.min_by_key(|at| self.intended[*at].last).copied()
    }

    /// Returns the times at which a create of this intent may arrive.
    fn sent_within(&self, intent: &Intent<'_>) -> RangeInclusive<Millis> {
        let History { on_the_way, skew, .. } = self.history;
        let send_within = i64::try_from(SEND_WITHIN.as_millis()).unwrap_or_default();
        intent.first - skew..=intent.last + SECOND + send_within + on_the_way + skew
    }

    /// Whether AWS no longer shows this job.
    fn has_vanished(&self, id: &str) -> bool {
        self.history
            .jobs
            .values()
            .flatten()
            .any(|job| job.id == id && job.vanished)
    }

    /// Whether another party removed this resource without the operator's consent.
    fn may_be_lost(&self, uid: &str) -> bool {
        let had_finalizer = |last: &&Version| last.has_finalizer();
        self.is_gone(uid) && (self.history.stripped.contains(uid) || !self.lives[uid].last().is_some_and(had_finalizer))
    }

    /// Checks that a new intent comes after the outcome of the previous one is known, or after the grace for it.
    fn intents(&self, violations: &mut Vec<Violation>) {
        for life in self.lives.values() {
            for (before, after) in life.iter().zip(&life[1..]) {
                let Some(open) = before.open_intent() else { continue };
                if after.attempt() == before.attempt() || after.gone {
                    continue;
                }
                let job = &after.status()["job"];
                let waited =
                    time(&job["requestTime"]).unwrap_or_default() - time(&open["requestTime"]).unwrap_or_default();
                if job["unconfirmed"] != true || waited < self.history.outcome_grace - SECOND - self.history.skew {
                    let what = format!("{job} follows {open}, whose outcome was unknown");
                    violations.push(violation(Law::OneOutcomeAtATime, after, &what));
                }
            }
        }
    }

    /// Checks that each environment has at most one open intent.
    fn open_intents(&self, violations: &mut Vec<Violation>) {
        let mut open: BTreeMap<&str, &Version> = BTreeMap::new();
        for version in &self.history.versions {
            let uid = version.uid();
            if version.gone || version.open_intent().is_none() {
                open.remove(uid);
                continue;
            }
            let places = |version: &Version| {
                let places = [
                    Some(version.environment().to_owned()),
                    version.source().map(str::to_owned),
                ];
                places.into_iter().flatten().collect::<BTreeSet<_>>()
            };
            let is_new = open.insert(uid, version).is_none();
            let other = open
                .iter()
                .find(|(other, standing)| **other != uid && !places(standing).is_disjoint(&places(version)));
            if let Some((_, other)) = other.filter(|_| is_new) {
                let what = format!("it intends while the outcome of {} is unknown", other.title());
                violations.push(violation(Law::OneOutcomeAtATime, version, &what));
            }
        }
    }

    /// Checks that each delete belongs to a resource that is being deleted and owns the object.
    fn deletes(&self, violations: &mut Vec<Violation>) {
        let calls = self.history.calls.iter().filter(|call| is_delete(call.operation));
        for call in calls {
            let owns = |version: &&Version| {
                deletes_with(version) == call.operation
                    && version.deleting_since().is_some_and(|since| since <= call.time)
            };
            let is_alive = |version: &&Version| {
                let last = self.lives[version.uid()].last();
                last.is_none_or(|last| {
                    !last.gone || last.seen + self.history.on_the_way + self.history.skew >= call.time
                })
            };
            let mut deleting = self
                .deleting
                .get(&call.key)
                .into_iter()
                .flatten()
                .filter(|version| owns(version));
            if !deleting.any(is_alive) {
                violations.push(Violation {
                    law: Law::DeletesOwnOnly,
                    name: call.key.clone(),
                    what: format!(
                        "{} of {} at {}: nobody who owns it is being deleted",
                        call.operation, call.key, call.time
                    ),
                });
            }
        }
    }

    fn progress(&self, violations: &mut Vec<Violation>) {
        for life in self.lives.values() {
            for (before, after) in life.iter().zip(&life[1..]) {
                let observed = |version: &Version| version.status()["observedGeneration"].as_i64().unwrap_or(-1);
                if observed(after) < observed(before) || after.attempt() < before.attempt() {
                    let what = format!("{} follows {}", after.status(), before.status());
                    violations.push(violation(Law::NeverBack, after, &what));
                }
            }
        }
    }

    /// Checks that a resource without finalizer has left no AWS object that it owned and had to delete.
    fn ends(&self, violations: &mut Vec<Violation>) {
        for life in self.lives.values() {
            let Some(last) = life.last().filter(|last| last.gone) else {
                continue;
            };
            let consented = last.has_finalizer() && !self.history.stripped.contains(last.uid());
            let is_others = |version: &&Version| {
                version.uid() != last.uid() && version.key() == last.key() && version.origin().is_some()
            };
            let made_anew = || {
                let since = last.deleting_since().unwrap_or_default();
                let mut calls = self.history.calls.iter();
                calls.any(|call| {
                    call.accepted && call.operation.creates() && call.key == last.key() && call.time >= since
                }) || self.living_at(last.number).filter(|other| is_others(other)).count() > 0
            };
            let owned = last.deletes() && last.reason() != "Conflict";
            // Somebody has made another object since.
            let made_by_others = || {
                let since = last.deleting_since().unwrap_or_default();
                self.meddled_with(last, since)
            };
            if consented && owned && last.held.is_object() && !made_anew() && !made_by_others() {
                violations.push(violation(
                    Law::NothingLeftBehind,
                    last,
                    &format!("AWS still holds {}", last.held),
                ));
            }
        }
    }

    /// Returns the versions of the resources that existed at this resource version.
    fn living_at(&self, number: u64) -> impl Iterator<Item = &'a Version> {
        self.lives.values().filter_map(move |life| {
            let last = life.iter().rfind(|version| version.number <= number)?;
            (!last.gone).then_some(*last)
        })
    }

    /// Checks that jobs of ours in one environment do not overlap.
    fn jobs(&self, violations: &mut Vec<Violation>) {
        let ours: BTreeSet<&str> = self
            .history
            .calls
            .iter()
            .filter_map(|call| call.job.as_deref())
            .collect();
        for (environment, jobs) in &self.history.jobs {
            let jobs: Vec<&JobState> = jobs.iter().filter(|job| ours.contains(job.id.as_str())).collect();
            for (before, after) in jobs.iter().zip(jobs.get(1..).unwrap_or_default()) {
                let ended = before.vanished || matches!(before.status.as_str(), "COMPLETED" | "FAILED");
                if !ended || before.updated > after.created {
                    violations.push(Violation {
                        law: Law::OneJobAtATime,
                        name: environment.clone(),
                        what: format!("{after:?} began before the end of {before:?}"),
                    });
                }
            }
        }
    }

    /// Checks that AWS holds the spec of a generation when a resource becomes Ready for it.
    fn claims(&self, violations: &mut Vec<Violation>) {
        for life in self.lives.values() {
            let mut claimed: Option<i64> = None;
            for version in life {
                let ready = version.ready();
                let generation = ready["observedGeneration"].as_i64().unwrap_or_default();
                if version.gone || !version.is_ready() {
                    claimed = None;
                    continue;
                }
                if claimed.replace(generation) == Some(generation) || self.is_excused(version) {
                    continue;
                }
                let of_generation = life.iter().find(|other| other.generation() == generation);
                let spec = of_generation.map_or(&Value::Null, |other| other.spec());
                if !holds(self.history, spec, version.kind(), &version.held) {
                    let what = format!(
                        "Ready for generation {generation}, {spec}, and AWS holds {}",
                        version.held
                    );
                    violations.push(violation(Law::TrueReady, version, &what));
                }
            }
        }
    }

    /// Whether the check of this version is excused: AWS's state at that time is not known, or another party has
    /// removed the object since the last look.
    fn is_excused(&self, version: &Version) -> bool {
        let looked = version.seen - self.history.drift_interval - 30 * SECOND;
        version.seen - version.written > LATE || self.meddled_with(version, looked)
    }

    /// Whether another party has made or removed the object between this time and that of the version.
    fn meddled_with(&self, version: &Version, since: Millis) -> bool {
        let key = version.key();
        self.history.meddled.iter().any(|(other, when)| {
            (*other == key || key.starts_with(&format!("{other}/"))) && (since..=version.seen).contains(when)
        })
    }
}

fn creates(job: &Value) -> bool {
    let operation = job["operation"].as_str().unwrap_or_default();
    Operation::ALL
        .iter()
        .any(|known| known.creates() && known.as_str() == operation)
}

const fn is_delete(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::DeleteBackend
            | Operation::DeleteBackendApi
            | Operation::DeleteBackendStorage
            | Operation::DeleteBackendEnvironment
    )
}

fn deletes_with(version: &Version) -> Operation {
    match version.kind() {
        "AmplifyBackend" => Operation::DeleteBackend,
        "BackendApi" => Operation::DeleteBackendApi,
        "BackendStorage" => Operation::DeleteBackendStorage,
        _ => Operation::DeleteBackendEnvironment,
    }
}
