//! The jobs of an app: one at a time per environment. Time is an argument.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value};

use super::{App, Category, Resource};
use crate::{
    clock::millis,
    config::Settings,
    faults::{Ending, JobScript},
    ids::Ids,
};

/// The effect of a finished job on the app.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// The job of another client, which only excludes other jobs.
    Nothing,
    CreateBackend {
        environment: String,
        app_name: String,
        has_auth: bool,
    },
    CloneBackend {
        source: String,
        target: String,
    },
    DeleteBackend {
        environment: String,
    },
    /// Creates a resource of a backend.
    Put {
        environment: String,
        key: (Category, String),
        resource: Resource,
    },
    /// Changes a resource's configuration.
    Update {
        environment: String,
        key: (Category, String),
        config: Map<String, Value>,
    },
    /// Removes a resource.
    Remove {
        environment: String,
        key: (Category, String),
    },
}

impl Effect {
    const fn creates(&self) -> bool {
        matches!(
            self,
            Self::CreateBackend { .. } | Self::CloneBackend { .. } | Self::Put { .. }
        )
    }

    /// Returns the effect that removes an object which was visible before its create job ended.
    fn undo(self) -> Self {
        match self {
            Self::CreateBackend { environment, .. }
            | Self::CloneBackend {
                target: environment, ..
            } => Self::DeleteBackend { environment },
            Self::Put { environment, key, .. } => Self::Remove { environment, key },
            _ => Self::Nothing,
        }
    }
}

/// A job, as `GetBackendJob` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) operation: String,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) status: String,
    pub(crate) error: Option<String>,
    pub(crate) ended: bool,
    pub(crate) vanished: bool,
    listed_from: i64,
    /// The environments in which it excludes other jobs.
    holds: Vec<String>,
    effect: Effect,
    applied: bool,
    read_delay: i64,
}

/// The position of a job in its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobKey {
    environment: String,
    index: usize,
}

/// The next change of a job.
#[derive(Debug, Clone)]
pub(crate) enum Due {
    Word(String),
    End(Ending),
}

/// The jobs of one environment, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EnvironmentJobs {
    jobs: Vec<Job>,
    by_id: HashMap<String, usize>,
}

/// A job to start.
pub(crate) struct NewJob {
    pub(crate) operation: String,
    /// The environment under which it is listed.
    pub(crate) environment: String,
    /// A second environment in which it excludes other jobs.
    pub(crate) also_holds: Option<String>,
    pub(crate) effect: Effect,
}

/// One page of an environment's jobs.
pub(crate) struct JobPage<'a> {
    pub(crate) jobs: Vec<&'a Job>,
    /// The position of the next page.
    pub(crate) next: Option<usize>,
}

impl App {
    /// Carries out all changes that are due. Must be called before anything is read or changed.
    pub(crate) fn settle(&mut self, now: i64) {
        while let Some(entry) = self.due.first_entry() {
            let at = entry.key().0;
            if at > now {
                break;
            }
            let (key, due) = entry.remove();
            match due {
                Due::Word(word) => {
                    if let Some(job) = self.job_mut(&key)
                        && !job.ended
                    {
                        job.status = word;
                        job.updated = at;
                    }
                }
                Due::End(ending) => self.end(&key, ending, at),
            }
        }
    }

    /// Returns the environment, among these, in which a pending job excludes a new one.
    pub(crate) fn blocked<'a>(&self, environments: &[&'a str]) -> Option<&'a str> {
        environments
            .iter()
            .copied()
            .find(|environment| self.pending.contains_key(*environment))
    }

    /// Starts a job. The caller checks whether a pending job excludes it.
    pub(crate) fn start_job(
        &mut self,
        new: NewJob,
        script: JobScript,
        settings: &Settings,
        ids: &mut Ids,
        now: i64,
    ) -> &Job {
        let jobs = self.jobs.entry(new.environment.clone()).or_default();
        // Strictly later than the job before, so that the newest job always has the latest time.
        let created = jobs.jobs.last().map_or(now, |last| now.max(last.created + 1));
        let duration = millis(script.duration.unwrap_or(settings.job_duration));
        let mut words = VecDeque::from(script.words);
        let shares = i64::try_from(words.len()).unwrap_or(1).max(1);
        let key = JobKey {
            environment: new.environment.clone(),
            index: jobs.jobs.len(),
        };
        let mut holds = vec![new.environment];
        holds.extend(new.also_holds);
        let id = format!("{}{}", settings.job_id_prefix, ids.uuid());
        jobs.by_id.insert(id.clone(), key.index);
        let early = settings.visible_while_creating && new.effect.creates();
        let effect = new.effect.clone();
        jobs.jobs.push(Job {
            id,
            operation: new.operation,
            created,
            updated: created,
            status: words.pop_front().unwrap_or_else(|| "RUNNING".into()),
            error: None,
            ended: false,
            vanished: false,
            listed_from: now + millis(settings.job_listing_delay),
            holds: holds.clone(),
            effect: new.effect,
            applied: early,
            read_delay: millis(settings.read_after_create_delay),
        });
        if early {
            self.apply(effect, now, now);
        }
        for environment in holds {
            self.pending.insert(environment, key.clone());
        }
        for (step, word) in (1..).zip(words) {
            self.schedule(now + duration / shares * step, &key, Due::Word(word));
        }
        if script.ending != Ending::Stuck {
            self.schedule(now + duration, &key, Due::End(script.ending));
        }
        self.settle(now);
        &self.jobs[&key.environment].jobs[key.index]
    }

    /// Ends a job now, even a stuck one. Returns false if no such job runs.
    pub(crate) fn end_job(&mut self, environment: &str, id: Option<&str>, ending: Ending, now: i64) -> bool {
        let key = match id {
            None => self.pending.get(environment).cloned(),
            Some(id) => self
                .jobs
                .get(environment)
                .and_then(|jobs| jobs.by_id.get(id))
                .map(|&index| JobKey {
                    environment: environment.to_owned(),
                    index,
                }),
        };
        let Some(key) = key else { return false };
        if self.job_mut(&key).is_none_or(|job| job.ended) {
            return false;
        }
        self.end(&key, ending, now);
        true
    }

    /// Returns a job by its id.
    pub(crate) fn job(&self, environment: &str, id: &str) -> Option<&Job> {
        let jobs = self.jobs.get(environment)?;
        jobs.jobs.get(*jobs.by_id.get(id)?).filter(|job| !job.vanished)
    }

    /// Returns jobs from a position on, in the order of the settings.
    pub(crate) fn job_page(
        &self,
        environment: &str,
        from: usize,
        length: usize,
        oldest_first: bool,
        now: i64,
        wanted: impl Fn(&Job) -> bool,
    ) -> JobPage<'_> {
        let all: &[Job] = self.jobs.get(environment).map_or(&[], |jobs| &jobs.jobs);
        let mut page = JobPage {
            jobs: Vec::new(),
            next: None,
        };
        // Positions count from the oldest job, so that a new job does not shift pages.
        let mut positions: Box<dyn Iterator<Item = usize>> = if oldest_first {
            Box::new(from..all.len())
        } else {
            let end = if from == 0 { all.len() } else { from.min(all.len()) };
            Box::new((0..end).rev())
        };
        let visible = |job: &Job| !job.vanished && job.listed_from <= now && wanted(job);
        for position in positions.by_ref() {
            let job = &all[position];
            if !visible(job) {
                continue;
            }
            if page.jobs.len() == length {
                page.next = Some(if oldest_first { position } else { position + 1 });
                break;
            }
            page.jobs.push(job);
        }
        page
    }

    /// Returns every job with its environment, oldest first, for a snapshot.
    pub(crate) fn all_jobs(&self) -> impl Iterator<Item = (&str, &Job)> {
        self.jobs
            .iter()
            .flat_map(|(environment, jobs)| jobs.jobs.iter().map(|job| (environment.as_str(), job)))
    }

    fn schedule(&mut self, at: i64, key: &JobKey, due: Due) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), (key.clone(), due));
    }

    fn job_mut(&mut self, key: &JobKey) -> Option<&mut Job> {
        self.jobs.get_mut(&key.environment)?.jobs.get_mut(key.index)
    }

    fn end(&mut self, key: &JobKey, ending: Ending, at: i64) {
        let Some(job) = self.job_mut(key) else { return };
        if job.ended {
            return;
        }
        job.ended = true;
        job.updated = at.max(job.created);
        let applied = match ending {
            Ending::Completed => {
                job.status = "COMPLETED".into();
                true
            }
            Ending::Failed { error, applied } => {
                job.status = "FAILED".into();
                job.error = Some(error);
                applied
            }
            Ending::Vanished { applied } => {
                job.vanished = true;
                applied
            }
            // No job ends as stuck: it is a property at its start.
            Ending::Stuck => {
                job.ended = false;
                return;
            }
        };
        let effect = std::mem::replace(&mut job.effect, Effect::Nothing);
        let (early, read_delay) = (job.applied, job.read_delay);
        let holds = std::mem::take(&mut job.holds);
        for environment in holds {
            if self.pending.get(&environment) == Some(key) {
                self.pending.remove(&environment);
            }
        }
        match (applied, early) {
            (true, false) => self.apply(effect, at, at + read_delay),
            (false, true) => self.apply(effect.undo(), at, at),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn app() -> (App, Ids, Settings) {
        (App::new("d1", "shop", 0), Ids::new(1), Settings::default())
    }

    fn create(environment: &str) -> NewJob {
        NewJob {
            operation: "CreateBackend".into(),
            environment: environment.into(),
            also_holds: None,
            effect: Effect::CreateBackend {
                environment: environment.into(),
                app_name: "shop".into(),
                has_auth: false,
            },
        }
    }

    #[test]
    fn a_job_takes_effect_when_it_ends_and_then_lets_others_in() {
        let (mut app, mut ids, settings) = app();
        app.start_job(create("dev"), JobScript::default(), &settings, &mut ids, 1000);
        app.settle(5999);
        assert_eq!(app.blocked(&["qa", "dev"]), Some("dev"));
        assert!(app.backends.is_empty());
        app.settle(6000);
        assert_eq!(app.blocked(&["dev"]), None);
        assert!(app.backends.contains_key("dev") && app.environments.contains_key("dev"));
    }

    #[test]
    fn a_failed_job_leaves_the_object_only_if_told_to() {
        for applied in [false, true] {
            for visible_while_creating in [false, true] {
                let (mut app, mut ids, mut settings) = app();
                settings.visible_while_creating = visible_while_creating;
                let script = JobScript {
                    ending: Ending::Failed {
                        error: "no".into(),
                        applied,
                    },
                    ..JobScript::default()
                };
                let id = app.start_job(create("dev"), script, &settings, &mut ids, 0).id.clone();
                assert_eq!(app.backends.contains_key("dev"), visible_while_creating);
                app.settle(5000);
                assert_eq!(app.job("dev", &id).unwrap().status, "FAILED");
                assert_eq!(app.backends.contains_key("dev"), applied);
            }
        }
    }

    #[test]
    fn odd_words_share_the_duration_and_the_end_follows() {
        let (mut app, mut ids, settings) = app();
        let script = JobScript {
            duration: Some(Duration::from_secs(4)),
            words: vec!["QUEUED".into(), "ALMOST".into()],
            ending: Ending::Completed,
        };
        let id = app.start_job(create("dev"), script, &settings, &mut ids, 0).id.clone();
        for (now, status) in [(0, "QUEUED"), (1999, "QUEUED"), (2000, "ALMOST"), (4000, "COMPLETED")] {
            app.settle(now);
            assert_eq!(app.job("dev", &id).unwrap().status, status, "{now}");
        }
    }

    #[test]
    fn a_job_without_duration_is_over_at_once() {
        let (mut app, mut ids, mut settings) = app();
        settings.job_duration = Duration::ZERO;
        let job = app.start_job(create("dev"), JobScript::default(), &settings, &mut ids, 7);
        assert_eq!(job.status, "COMPLETED");
    }

    #[test]
    fn a_stuck_job_holds_until_it_is_ended() {
        let (mut app, mut ids, settings) = app();
        let script = JobScript {
            ending: Ending::Stuck,
            ..JobScript::default()
        };
        app.start_job(create("dev"), script, &settings, &mut ids, 0);
        app.settle(i64::MAX);
        assert_eq!(app.blocked(&["dev"]), Some("dev"));
        assert!(app.end_job("dev", None, Ending::Completed, 9000));
        assert!(!app.end_job("dev", None, Ending::Completed, 9000));
        assert!(app.backends.contains_key("dev"));
    }

    #[test]
    fn pages_meet_every_job_once_in_both_orders() {
        let (mut app, mut ids, mut settings) = app();
        settings.job_duration = Duration::ZERO;
        for _ in 0..5 {
            app.start_job(create("dev"), JobScript::default(), &settings, &mut ids, 0);
        }
        for oldest_first in [false, true] {
            for length in 1..=6 {
                let (mut from, mut times) = (0, Vec::new());
                loop {
                    let page = app.job_page("dev", from, length, oldest_first, 10, |_| true);
                    times.extend(page.jobs.iter().map(|job| job.created));
                    let Some(next) = page.next else { break };
                    from = next;
                }
                let mut expected: Vec<i64> = (0..5).collect();
                if !oldest_first {
                    expected.reverse();
                }
                assert_eq!(times, expected, "pages of {length}");
            }
        }
    }
}
