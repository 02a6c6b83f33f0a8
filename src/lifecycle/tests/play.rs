//! A driver that plays a [`Scene`] against a model of AWS, pass by pass. It checks every step against the invariants
//! that one resource can show.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::scene::{Kind, Scene, at, missing, name, seen_job, stored, with_status};
use crate::{
    api::{Job, Operation},
    lifecycle::{
        Bar, Config, Echo, Equality, Known, Lack, Lock, Mark, Memory, Missing, Observed, Polled, Purpose, Reply, Seen,
        Sending, Slot, Step, Wake, Write,
        facts::{Class, Failure, JobSeen, Sent},
        migration::is_fresh,
    },
};

/// The fate of the next write.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// AWS carries it out and replies.
    Accept,
    /// AWS carries it out, and the reply is lost.
    LoseReply,
    /// The request is lost on its way, and nobody can tell.
    LoseRequest,
    /// AWS refuses it.
    Refuse(Class),
    /// The request is never sent.
    Never(Class),
    /// AWS accepts it, and it fails at once (200 with `error`).
    Fail,
}

/// A model of the AWS side of one resource.
#[derive(Clone, Debug)]
pub(super) struct Aws {
    /// The object.
    pub(super) object: Option<Seen>,
    pub(super) holds: String,
    /// How AWS echoes a configuration that equals the spec's.
    pub(super) echoes: Equality,
    pub(super) jobs: Vec<JobSeen>,
    /// The fate of the next writes. After these, AWS accepts.
    pub(super) answers: VecDeque<Answer>,
    /// AWS's text when it refuses a write.
    pub(super) refusal: Option<String>,
    /// The object that AWS shows when it says that it has made a record.
    pub(super) shows: Option<Seen>,
    /// The failure of every read.
    pub(super) reads: Option<Class>,
    /// Whether AWS knows no job by its id.
    pub(super) forgets_jobs: bool,
    /// Whether another resource of this operator holds the environment.
    pub(super) busy: bool,
    /// The result of resolving the spec's configuration.
    pub(super) config: Result<String, String>,
    /// Why the configuration cannot be resolved.
    pub(super) lack: Lack,
    /// The reason why the object cannot be made.
    pub(super) bar: Option<Bar>,
    /// Where the app's migration mark stands.
    pub(super) mark: Mark,
    /// Every write that AWS carried out.
    pub(super) carried_out: Vec<Write>,
}

impl Aws {
    /// Ends the newest job and carries out its operation.
    pub(super) fn end(&mut self, status: &str, now: Timestamp) {
        let Some(job) = self.jobs.last_mut() else {
            return;
        };
        *job = with_status(job.clone(), status);
        if status != Job::COMPLETED {
            return;
        }
        match job.operation.as_str() {
            "DeleteBackend" | "DeleteBackendAPI" => self.object = None,
            _ => self.put(now),
        }
    }

    /// Puts the object there.
    pub(super) fn put(&mut self, now: Timestamp) {
        self.object = Some(Seen {
            create_time: Some(now),
            ..Seen::default()
        });
    }

    /// Adds a job that somebody else started.
    pub(super) fn foreign_job(&mut self, id: &str, operation: Operation, created: i64) {
        self.jobs.push(seen_job(id, operation, created));
    }

    fn seen(&self, scene: &Scene) -> Option<Seen> {
        let mut seen = self.object.clone()?;
        if scene.resource.abilities.create == Operation::CreateBackendApi {
            // Compared with the configuration that the pass has resolved, if any.
            let config = scene.known.config.as_ref().and_then(|config| config.as_ref().ok());
            let equality = config.map(|Config { hash: config }| match self.echoes {
                Equality::Equal if *config != self.holds => Equality::Different,
                echoes => echoes,
            });
            seen.echo = Some(Echo {
                hash: format!("echo of {}", self.holds),
                differs: match equality {
                    Some(Equality::Different) => vec!["spec.resourceConfig.apiName".to_owned()],
                    Some(Equality::Equal | Equality::Unknown) | None => Vec::new(),
                },
                equality,
            });
        }
        Some(seen)
    }

    fn observe(&mut self, scene: &Scene, step: &Step) -> Observed {
        let read = matches!(step, Step::Look(_) | Step::ListJobs(_) | Step::Poll);
        if let Some(class) = self.reads.filter(|_| read) {
            return Observed::Failed(failure(class, Sent::Refused));
        }
        match step {
            Step::Look(_) => {
                let seen = self.seen(scene);
                let bar = self.bar.clone().filter(|_| seen.is_none());
                scene.looked(seen, bar)
            }
            Step::ListJobs(_) => scene.listed(self.jobs.clone()),
            Step::Poll => {
                let job = scene.state.ledger.job.as_ref();
                let known = self
                    .jobs
                    .iter()
                    .find(|seen| job.is_some_and(|job| job.id.as_ref() == Some(&seen.id)));
                Observed::Poll(Polled {
                    job: known.filter(|_| !self.forgets_jobs).cloned(),
                })
            }
            Step::Resolve => Observed::Config(match &self.config {
                Ok(hash) => Ok(Config { hash: hash.clone() }),
                Err(message) => Err(Missing {
                    lack: self.lack,
                    ..missing(message)
                }),
            }),
            Step::ReadLock(Purpose::Write) if self.mark == Mark::Unread => {
                Observed::Failed(failure(Class::Unavailable, Sent::Unknown))
            }
            Step::ReadLock(_) => Observed::Lock(Lock {
                at: scene.now,
                mark: self.mark,
            }),
            Step::TakeSlot if self.busy => Observed::Slot(Slot::Busy),
            Step::TakeSlot => Observed::Slot(Slot::Held),
            Step::Send(write) => {
                let answer = self.answers.pop_front().unwrap_or(Answer::Accept);
                Observed::Reply(self.reply(scene, *write, &answer))
            }
            _ => Observed::STORED,
        }
    }

    fn reply(&mut self, scene: &Scene, write: Write, answer: &Answer) -> Reply {
        let operation = match write {
            Write::Create => scene.resource.abilities.create,
            Write::Update => Operation::UpdateBackendApi,
            Write::Delete => scene.resource.abilities.delete,
        };
        let reply = match answer {
            Answer::Refuse(class) => {
                let mut refused = failure(*class, Sent::Refused);
                refused.message = self.refusal.clone().unwrap_or(refused.message);
                return Reply::Failed(refused);
            }
            Answer::Never(class) => return Reply::Failed(failure(*class, Sent::Never)),
            Answer::LoseRequest => return Reply::Failed(failure(Class::Unavailable, Sent::Unknown)),
            Answer::Fail => Reply::Job {
                id: Some(format!("j-{}", self.jobs.len() + 1)),
                environment: Some("dev".into()),
                status: Some("FAILED".into()),
                error: Some("no capacity".into()),
            },
            _ if write == Write::Delete && self.object.is_none() => Reply::Absent,
            Answer::Accept | Answer::LoseReply => self.carry_out(scene, operation),
        };
        self.carried_out.push(write);
        match answer {
            Answer::LoseReply => Reply::Failed(failure(Class::Unavailable, Sent::Unknown)),
            _ => reply,
        }
    }

    fn carry_out(&mut self, scene: &Scene, operation: Operation) -> Reply {
        if let Ok(config) = &self.config
            && !operation.is_delete()
        {
            self.holds.clone_from(config);
        }
        if !operation.has_job() {
            if operation.is_delete() {
                self.object = None;
            } else {
                self.put(scene.now);
            }
            // The object that AWS shows in its reply is there from then on.
            if let Some(shown) = self.shows.take() {
                self.object = Some(shown);
            }
            let seen = self.object.clone().unwrap_or_default();
            return Reply::Done { asked: scene.now, seen };
        }
        let id = format!("j-{}", self.jobs.len() + 1);
        self.jobs.push(JobSeen {
            create_time: Some(scene.now),
            ..seen_job(&id, operation, 0)
        });
        Reply::Job {
            id: Some(id),
            environment: Some("dev".into()),
            status: Some("RUNNING".into()),
            error: None,
        }
    }
}

/// A resource and AWS, with the controller's loop between them.
#[derive(Clone, Debug)]
pub(super) struct Play {
    pub(super) scene: Scene,
    pub(super) aws: Aws,
    /// When the controller runs again by itself.
    wake: Wake,
}

/// The steps of one pass (with a `status` at the end if settling wrote one), and a summary of the conditions after it.
#[derive(Debug)]
pub(super) struct Did {
    pub(super) steps: String,
    pub(super) says: String,
    /// Seconds until the controller runs again by itself.
    pub(super) wake: Option<i64>,
}

impl Did {
    /// Checks the steps of the pass and the conditions after it.
    #[track_caller]
    pub(super) fn is(self, steps: &str, says: &str) -> Self {
        assert_eq!((self.steps.as_str(), self.says.as_str()), (steps, says));
        self
    }

    /// Checks after how many seconds the controller runs again by itself. None: it does not.
    #[track_caller]
    pub(super) fn wakes(self, seconds: impl Into<Option<i64>>) -> Self {
        assert_eq!(self.wake, seconds.into(), "{self:?}");
        self
    }
}

impl Play {
    /// Returns the scene with an empty AWS.
    pub(super) fn new(scene: Scene) -> Self {
        Self {
            scene: Scene {
                known: Known {
                    lock: None,
                    ..scene.known
                },
                ..scene
            },
            aws: Aws {
                object: None,
                holds: "v1".into(),
                echoes: Equality::Equal,
                jobs: Vec::new(),
                answers: VecDeque::new(),
                refusal: None,
                shows: None,
                reads: None,
                forgets_jobs: false,
                busy: false,
                config: Ok("v1".into()),
                lack: Lack::Absent,
                bar: None,
                mark: Mark::Absent,
                carried_out: Vec::new(),
            },
            wake: Wake::Never,
        }
    }

    /// Returns a resource that was just applied.
    pub(super) fn applied(kind: Kind) -> Self {
        Self::new(Scene::new(kind))
    }

    /// Returns a resource that is Ready, and its AWS object.
    pub(super) fn ready(kind: Kind) -> Self {
        let mut play = Self::new(Scene::new(kind).ready());
        play.aws.put(at(-3600));
        play
    }

    /// Returns a resource whose create job is running.
    pub(super) fn creating(kind: Kind) -> Self {
        let mut play = Self::applied(kind);
        let did = play.pass();
        assert!(did.steps.ends_with("create record"), "{did:?}");
        play
    }

    pub(super) fn now(&self) -> Timestamp {
        self.scene.now
    }

    pub(super) fn job(&self) -> &Job {
        self.scene.state.ledger.job.as_ref().expect("a job should be stored")
    }

    pub(super) fn answers(&mut self, answers: impl IntoIterator<Item = Answer>) {
        self.aws.answers.extend(answers);
    }

    /// Ends AWS's newest job.
    pub(super) fn job_ends(&mut self, status: &str) {
        let now = self.now();
        self.aws.end(status, now);
    }

    /// Lets time pass.
    pub(super) fn after(&mut self, seconds: i64) -> &mut Self {
        self.scene.now += SignedDuration::from_secs(seconds);
        self
    }

    /// Lets time pass until the controller runs again by itself, and runs it.
    #[track_caller]
    pub(super) fn wake(&mut self) -> Did {
        let Wake::At(time) = self.wake else {
            panic!("nothing wakes the resource: {}", self.scene.says());
        };
        self.scene.now = self.scene.now.max(time);
        self.pass()
    }

    /// Ends the process and begins another. The memory of the old process is lost.
    pub(super) fn restart(&mut self) -> &mut Self {
        self.scene.known = crate::lifecycle::Known::default();
        self.scene.memory = Memory::new(self.scene.now);
        self
    }

    /// Runs one pass of the controller.
    #[track_caller]
    pub(super) fn pass(&mut self) -> Did {
        self.run(None)
    }

    /// Runs a pass whose process dies right after this step. If AWS carries the step out, its reply is lost.
    #[track_caller]
    pub(super) fn crash_after(&mut self, step: &str) -> Did {
        let did = self.run(Some(step));
        self.restart();
        did
    }

    #[track_caller]
    fn run(&mut self, crash_after: Option<&str>) -> Did {
        let mut steps = Vec::new();
        for _ in 0..64 {
            let step = self.scene.next();
            check(&self.scene, &step);
            let end = matches!(step, Step::Settle { .. } | Step::Release);
            if let Step::Settle { state, wake, .. } = &step {
                if **state != self.scene.state {
                    steps.push("status");
                }
                self.check_fixpoint(state);
                self.wake = *wake;
            } else if !matches!(step, Step::ReadLock(_)) || self.aws.mark != Mark::Absent {
                // The read of a lock that there is not belongs to every write and check: see `migration`.
                steps.push(name(&step));
            }
            let observed = self.aws.observe(&self.scene, &step);
            self.scene.apply(&step, observed);
            if end || crash_after == Some(name(&step)) {
                let wake = match self.wake {
                    Wake::Never => None,
                    Wake::At(time) => Some(time.duration_since(self.scene.now).as_secs()),
                };
                return Did {
                    steps: steps.join(" "),
                    says: self.scene.says(),
                    wake,
                };
            }
        }
        panic!("no end: {steps:?}");
    }

    /// Checks that settling again on the same observations changes nothing. (A reply is observed once.)
    #[track_caller]
    fn check_fixpoint(&self, settled: &crate::lifecycle::State) {
        if self.scene.known.reply.is_some() {
            return;
        }
        let mut again = self.clone();
        again.scene.state = settled.clone();
        loop {
            let step = again.scene.next();
            match &step {
                Step::Settle { state, .. } => return assert_eq!(**state, *settled, "not a fixpoint"),
                // A lock that the pass did not ask for is news.
                Step::ReadLock(_) if again.aws.mark != Mark::Absent => return,
                Step::Resolve | Step::Look(_) | Step::ListJobs(_) | Step::Poll | Step::ReadLock(_) | Step::TakeSlot => {
                }
                step => panic!("not a fixpoint: {step:?} after {}", again.scene.says()),
            }
            let observed = again.aws.observe(&again.scene, &step);
            again.scene.apply(&step, observed);
        }
    }
}

/// Checks the invariants that hold for every step in every situation.
#[track_caller]
pub(super) fn check(scene: &Scene, step: &Step) {
    let ledger = &scene.state.ledger;
    let open = ledger.job.as_ref().filter(|job| job.is_open_intent());
    let resource = &scene.resource;
    match step {
        Step::Look(_) => {
            let is_compared = !resource.is_updatable() || scene.known.config.is_some();
            assert!(is_compared || resource.deleting, "a look that nothing is compared with");
        }
        Step::Send(Write::Create) => {
            assert!(resource.finalizer, "I2: a create without a stored finalizer");
            assert!(open.is_some(), "I2: a create without a stored intent");
            assert_eq!(
                scene.known.sending,
                Sending::Intended,
                "I1: an intent of another pass is sent"
            );
            assert!(!resource.deleting, "a create for a resource that is being deleted");
        }
        Step::Send(Write::Update) => {
            assert!(
                ledger.origin.is_some() && !resource.deleting,
                "an update of what is not owned"
            );
        }
        Step::Send(Write::Delete) => {
            assert!(ledger.origin.is_some(), "I3: a delete of what is not owned");
            assert!(
                resource.deleting && resource.finalizer,
                "a delete that nobody asked for"
            );
        }
        Step::Intend(state) => {
            assert!(resource.finalizer, "I2: an intent without a stored finalizer");
            let job = state.ledger.job.as_ref().expect("an intent should be a job");
            assert!(job.is_open_intent());
            if let Some(open) = open {
                let anew = scene.known.sending == Sending::Intended && job.attempt == open.attempt;
                let given_up = scene.now >= open.request_time + scene.settings.outcome_grace && job.unconfirmed;
                assert!(
                    anew || given_up,
                    "I1: an intent while the outcome of another is unknown"
                );
            }
        }
        _ => {}
    }
    if matches!(step, Step::Send(_) | Step::Intend(_)) {
        check_write(scene, open.is_none());
    }
    if let Some(state) = stored(step) {
        let (old, new) = (ledger, &state.ledger);
        let attempt = |job: &Option<Job>| job.as_ref().map(|job| job.attempt);
        assert!(attempt(&new.job) >= attempt(&old.job), "I5: attempt goes back");
        assert!(
            new.observed_generation >= old.observed_generation,
            "I5: observedGeneration goes back"
        );
        assert!(!super::scene::says(state).starts_with("contradiction"));
        // A write that AWS has just accepted is recorded even if the finalizer is gone.
        let kept = resource.finalizer || old.origin.is_some() || scene.known.reply.is_some();
        assert!(new.origin.is_none() || kept, "I6: owned without a finalizer");
    }
}

fn failure(class: Class, sent: Sent) -> Failure {
    super::scene::failure(class, sent)
}

/// Checks a step on the way to a write to AWS. `is_first`: no intent of it is stored yet.
#[track_caller]
fn check_write(scene: &Scene, is_first: bool) {
    let resource = &scene.resource;
    let may_be_written = scene.known.lock.as_ref().is_some_and(|lock| {
        let is_fresh = is_fresh(lock.at, scene.now);
        is_fresh && matches!(lock.mark, Mark::Elsewhere | Mark::Absent | Mark::Denied)
    });
    assert!(
        resource.ignores_lock || may_be_written,
        "I8: a write to a locked environment"
    );
    assert!(!resource.suspend, "a suspended resource writes to AWS");
    assert!(!resource.observe, "an observed resource writes to AWS");
    assert!(
        scene.surroundings.winner.is_none(),
        "the loser of a conflict writes to AWS"
    );
    if is_first {
        let held = matches!(scene.known.slot, Some(Slot::Held));
        assert!(held, "I7: a write without the environment's slot");
    }
}
