//! What is known of the Gen 2 migration locks of apps: one answer about all apps of an account and region for its checks, and one
//! about each app for the writes to it. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::{
    amplify::{AppId, EnvironmentName},
    lifecycle::{
        Lock, Mark,
        facts::{Class, Failure},
        migration::is_fresh,
        timing,
    },
};

/// A request that was begun and never ended (its pass was dropped) stops holding others up.
const GIVEN_UP: Duration = Duration::from_mins(1);

/// For so long after a failed read of an app nobody repeats it.
const REPEATED: SignedDuration = SignedDuration::from_secs(5);

/// An account (seen with one role) and region.
pub(super) type Scope = (String, String);

/// The environment that each marked app names.
pub(super) type Marks = BTreeMap<AppId, EnvironmentName>;

/// What AWS answered to a read of marks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// The marks of the apps that the read is about.
    Marks(Marks),
    /// It denies the read.
    Denied,
    /// None, or none that can be believed.
    Unread,
}

impl Answer {
    /// The answer of a call that failed.
    pub(super) fn of(failure: &Failure) -> Self {
        if failure.class == Class::AccessDenied {
            Self::Denied
        } else {
            Self::Unread
        }
    }

    /// Where the mark of this app stands.
    pub(super) fn mark(&self, app: &AppId, environment: &EnvironmentName) -> Mark {
        match self {
            Self::Marks(marks) => match marks.get(app) {
                Some(named) if named == environment => Mark::Here,
                Some(_) => Mark::Elsewhere,
                None => Mark::Absent,
            },
            Self::Denied => Mark::Denied,
            Self::Unread => Mark::Unread,
        }
    }
}

/// What is to be done to know a lock.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// Nothing.
    Known(Lock),
    /// Another pass is asking AWS.
    UnderWay,
    /// This pass is to ask AWS, and to hand in the answer.
    Begin,
}

#[derive(Debug)]
enum Slot {
    UnderWay(Timestamp),
    Made(Timestamp, Answer),
}

/// The answers that are known, or on their way.
#[derive(Debug)]
pub(super) struct Locks {
    interval: SignedDuration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    all: HashMap<Scope, Slot>,
    apps: HashMap<(Scope, AppId), Slot>,
    /// Answers about an app that are newer than the list of its scope, since the first that says something else.
    corrections: HashMap<(Scope, AppId), (Timestamp, Answer)>,
    /// When the apps that nobody asks for any more were last forgotten.
    swept: Option<Timestamp>,
    /// The scopes in which AWS has denied a read.
    denied: HashSet<Scope>,
}

impl Locks {
    /// Nothing is known. Checks are this far apart.
    pub(super) fn new(interval: SignedDuration) -> Self {
        Self {
            interval,
            known: Mutex::default(),
        }
    }

    /// For a check: from the list of all apps that this interval of the scope has, or from a newer answer about the app.
    pub(super) fn of_check(&self, scope: &Scope, app: &AppId, environment: &EnvironmentName, now: Timestamp) -> Asked {
        let mut known = self.known.lock();
        let due = self.began(scope, now);
        match known.all.get(scope) {
            Some(Slot::Made(at, all)) if *at >= due => {
                let correction = known.corrections.get(&(scope.clone(), app.clone()));
                let (at, answer) = correction.map_or((at, all), |(at, answer)| (at, answer));
                Asked::Known(Lock {
                    at: *at,
                    mark: answer.mark(app, environment),
                })
            }
            Some(Slot::UnderWay(begun)) if may_be_under_way(*begun, now) => Asked::UnderWay,
            Some(Slot::Made(..) | Slot::UnderWay(_)) | None => {
                known.all.insert(scope.clone(), Slot::UnderWay(now));
                Asked::Begin
            }
        }
    }

    /// For a write or a request: from an answer about the app that is younger than `fresh`. Where AWS denies that read, the mark that
    /// the list of all apps has shown counts.
    pub(super) fn of_app(
        &self,
        scope: &Scope,
        app: &AppId,
        environment: &EnvironmentName,
        now: Timestamp,
        fresh: SignedDuration,
    ) -> Asked {
        let mut known = self.known.lock();
        let key = (scope.clone(), app.clone());
        match known.apps.get(&key) {
            // A read that has just failed is not repeated by everybody who has waited for it.
            Some(Slot::Made(at, Answer::Unread)) if now.duration_since(*at).abs() < REPEATED => Asked::Known(Lock {
                at: *at,
                mark: Mark::Unread,
            }),
            Some(Slot::Made(at, answer)) if *answer != Answer::Unread && now.duration_since(*at).abs() < fresh => {
                let listed = match known.all.get(scope) {
                    Some(Slot::Made(_, all)) => all.mark(app, environment),
                    Some(Slot::UnderWay(_)) | None => Mark::Unread,
                };
                let mark = match answer.mark(app, environment) {
                    Mark::Denied if listed == Mark::Here => Mark::Here,
                    mark => mark,
                };
                Asked::Known(Lock { at: *at, mark })
            }
            Some(Slot::UnderWay(begun)) if may_be_under_way(*begun, now) => Asked::UnderWay,
            Some(Slot::Made(..) | Slot::UnderWay(_)) | None => {
                known.sweep(now);
                known.apps.insert(key, Slot::UnderWay(now));
                Asked::Begin
            }
        }
    }

    /// Hands in the answer about all apps of a scope, asked for at this time. `None`: AWS could not be asked yet.
    pub(super) fn put_all(&self, scope: &Scope, at: Timestamp, answer: Option<Answer>) {
        let mut known = self.known.lock();
        if answer.is_some() {
            known
                .corrections
                .retain(|(of, _), (newer, _)| of != scope || *newer > at);
        }
        put(&mut known.all, scope.clone(), at, answer);
    }

    /// Hands in the answer about one app, asked for at this time. `None`: AWS could not be asked yet.
    pub(super) fn put(&self, scope: &Scope, app: &AppId, at: Timestamp, answer: Option<Answer>) {
        let mut known = self.known.lock();
        let key = (scope.clone(), app.clone());
        if let (Some(answer @ Answer::Marks(marks)), Some(Slot::Made(before, Answer::Marks(all)))) =
            (&answer, known.all.get(scope))
            && at > *before
        {
            // Also if it says again what the list says: the time of the answer counts, too.
            if marks.get(app) != all.get(app) || known.corrections.contains_key(&key) {
                let answer = answer.clone();
                known.corrections.insert(key.clone(), (at, answer));
            }
        }
        put(&mut known.apps, key, at, answer);
    }

    /// Whether this is the first time that AWS denies a read of this scope.
    pub(super) fn is_news(&self, scope: &Scope) -> bool {
        self.known.lock().denied.insert(scope.clone())
    }

    /// When the interval of this scope began: at a phase of wall-clock time, as drift checks do.
    fn began(&self, scope: &Scope, now: Timestamp) -> Timestamp {
        let phase = timing::phase(scope, self.interval);
        let next = timing::next_check(now, self.interval, phase);
        next.saturating_sub(self.interval).unwrap_or(next)
    }
}

fn put<K: Eq + Hash>(slots: &mut HashMap<K, Slot>, key: K, at: Timestamp, answer: Option<Answer>) {
    match answer {
        Some(answer) => slots.insert(key, Slot::Made(at, answer)),
        None => slots.remove(&key),
    };
}

/// Whether a request that began then may still be under way.
fn may_be_under_way(begun: Timestamp, now: Timestamp) -> bool {
    now.duration_since(begun).unsigned_abs() < GIVEN_UP
}

impl Known {
    /// Forgets answers about apps that are too old for a write, once a minute at the most: users may name apps that do not exist.
    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_some_and(|swept| may_be_under_way(swept, now)) {
            return;
        }
        self.swept = Some(now);
        let is_kept = |slot: &Slot| {
            let (Slot::UnderWay(at) | Slot::Made(at, _)) = slot;
            is_fresh(*at, now)
        };
        self.apps.retain(|_, slot| is_kept(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::migration::FRESH;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn scope() -> Scope {
        ("1".to_owned(), "eu-west-1".to_owned())
    }

    fn app() -> AppId {
        "d1".parse().unwrap()
    }

    fn environment(name: &str) -> EnvironmentName {
        name.parse().unwrap()
    }

    fn marks(name: Option<&str>) -> Answer {
        Answer::Marks(name.map(|name| (app(), environment(name))).into_iter().collect())
    }

    fn known(second: i64, mark: Mark) -> Asked {
        Asked::Known(Lock { at: at(second), mark })
    }

    #[test]
    fn a_write_rests_on_one_answer_about_its_app_in_a_minute() {
        let locks = Locks::new(HOUR);
        let of = |second: i64, name: &str| locks.of_app(&scope(), &app(), &environment(name), at(second), FRESH);
        assert_eq!((of(0, "dev"), of(1, "prod")), (Asked::Begin, Asked::UnderWay));
        locks.put(&scope(), &app(), at(0), Some(marks(Some("dev"))));
        assert_eq!(of(59, "dev"), known(0, Mark::Here));
        assert_eq!(of(59, "prod"), known(0, Mark::Elsewhere));
        assert_eq!(of(60, "prod"), Asked::Begin, "it is too old");
        locks.put(&scope(), &app(), at(60), Some(Answer::Unread));
        assert_eq!(
            of(64, "prod"),
            known(60, Mark::Unread),
            "who has waited for it asks later"
        );
        assert_eq!(of(65, "prod"), Asked::Begin, "a failed read is no answer for a write");
        locks.put(&scope(), &app(), at(61), Some(Answer::Denied));
        assert_eq!(of(62, "prod"), known(61, Mark::Denied));
        assert_eq!((of(121, "dev"), of(122, "dev")), (Asked::Begin, Asked::UnderWay));
        locks.put(&scope(), &app(), at(122), None);
        assert_eq!(
            of(122, "dev"),
            Asked::Begin,
            "it waits for a token, and another may be faster"
        );
        assert!(locks.is_news(&scope()) && !locks.is_news(&scope()));
        // The list of all apps has shown the mark, and the read of the app is denied.
        locks.put_all(&scope(), at(130), Some(marks(Some("dev"))));
        locks.put(&scope(), &app(), at(131), Some(Answer::Denied));
        assert_eq!(
            (of(132, "dev"), of(132, "prod")),
            (known(131, Mark::Here), known(131, Mark::Denied))
        );
    }

    #[test]
    fn a_request_that_never_ended_holds_others_up_for_a_minute() {
        let locks = Locks::new(HOUR);
        let write = |second: i64| locks.of_app(&scope(), &app(), &environment("dev"), at(second), FRESH);
        let check = |second: i64| locks.of_check(&scope(), &app(), &environment("dev"), at(second));
        assert_eq!(
            (write(0), write(59), write(60)),
            (Asked::Begin, Asked::UnderWay, Asked::Begin)
        );
        assert_eq!(
            (check(0), check(59), check(60)),
            (Asked::Begin, Asked::UnderWay, Asked::Begin)
        );
    }

    #[test]
    fn checks_share_one_list_in_each_interval_and_believe_a_newer_answer_about_their_app() {
        let locks = Locks::new(HOUR);
        let began = locks.began(&scope(), at(0)).as_second() - at(0).as_second();
        let of = |second: i64| locks.of_check(&scope(), &app(), &environment("dev"), at(began + second));
        assert_eq!(of(10), Asked::Begin);
        locks.put_all(&scope(), at(began + 10), Some(marks(None)));
        assert_eq!(of(3599), known(began + 10, Mark::Absent));
        locks.put(&scope(), &app(), at(began + 5), Some(marks(Some("dev"))));
        assert_eq!(of(3599), known(began + 10, Mark::Absent), "it is older");
        locks.put(&scope(), &app(), at(began + 20), Some(marks(Some("dev"))));
        assert_eq!(of(3599), known(began + 20, Mark::Here));
        locks.put(&scope(), &app(), at(began + 30), Some(marks(None)));
        assert_eq!(of(3599), known(began + 30, Mark::Absent));
        locks.put(&scope(), &app(), at(began + 40), Some(marks(Some("dev"))));
        let other: AppId = "d2".parse().unwrap();
        locks.put(&scope(), &other, at(began + 40), Some(Answer::Marks(Marks::new())));
        assert_eq!(locks.known.lock().corrections.len(), 1, "no news is not kept");
        assert_eq!(of(3601), Asked::Begin, "the next interval");
        locks.put_all(&scope(), at(began + 3601), Some(Answer::Unread));
        assert_eq!(
            of(3700),
            known(began + 3601, Mark::Unread),
            "a check goes on without it"
        );
    }

    #[test]
    fn apps_that_nobody_asks_for_are_forgotten() {
        let locks = Locks::new(HOUR);
        for number in 0..100 {
            let app: AppId = format!("d{number}").parse().unwrap();
            locks.put(&scope(), &app, at(number), Some(marks(None)));
        }
        let later = |second: i64| locks.of_app(&scope(), &app(), &environment("dev"), at(second), FRESH);
        assert_eq!(later(110), Asked::Begin);
        assert_eq!(locks.known.lock().apps.len(), 49 + 1);
    }
}
