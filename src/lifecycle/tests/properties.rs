//! The properties of every situation, including those that nobody has thought of.

use std::ops::Range;

use jiff::SignedDuration;
use proptest::{option, prelude::*, sample::select};

use super::{
    play::check,
    scene::{Kind, Scene, accepted, at, failure, intent, lost, missing, name, seen_job},
};
use crate::{
    api::{
        AdoptionPolicy, DeletionPolicy, Job, Operation, Origin,
        conditions::{self, Progress, Reason},
    },
    lifecycle::{
        Config, Dependents, Echo, Equality, Listed, Lock, Looked, Mark, Observed, Polled, Reply, Seen, Sending, Slot,
        State, Step, Winner, Write,
        facts::{Class, JobSeen, Sent},
    },
};

/// Seconds around the beginning: graces and timeouts are just reached, not yet reached, and long past.
const SECONDS: Range<i64> = -9000..9000;

fn word() -> impl Strategy<Value = String> {
    select(vec!["RUNNING", "COMPLETED", "FAILED", "ODD"]).prop_map(str::to_owned)
}

fn operations(create: Operation) -> impl Strategy<Value = Operation> {
    let mut operations = vec![create, create, create.delete()];
    if create == Operation::CreateBackendApi {
        operations.push(Operation::UpdateBackendApi);
    }
    select(operations)
}

prop_compose! {
    fn class()(class in select(vec![
        Class::NotFound, Class::BadRequest, Class::Pending, Class::Throttled, Class::QuotaExceeded,
        Class::AccessDenied, Class::Unavailable, Class::AccountNotFound, Class::AccountChanged,
    ])) -> Class { class }
}

prop_compose! {
    fn job(create: Operation)(
        operation in operations(create),
        (generation, attempt, failures) in (1_i64..4, 1_i64..9, 0_i64..5),
        (request, after, finish) in (SECONDS, option::of(SECONDS), option::of(SECONDS)),
        unconfirmed: bool,
        id in option::of(select(vec!["j-1", "j-2"])),
        status in option::of(word()),
        error in option::of(Just("no capacity".to_owned())),
    ) -> Job {
        // Only creates have intents.
        let finish_time = if id.is_none() && !operation.is_create() { finish.or(Some(request)) } else { finish };
        Job {
            generation, attempt, failures, unconfirmed, status, error,
            request_time: at(request),
            after: after.map(at),
            finish_time: finish_time.map(at),
            id: id.map(str::to_owned),
            ..intent(operation)
        }
    }
}

prop_compose! {
    fn job_seen(create: Operation)(
        id in select(vec!["j-1", "j-2", "x-1"]),
        operation in operations(create),
        created in option::of(SECONDS),
        status in word(),
    ) -> JobSeen {
        JobSeen { status, create_time: created.map(at), ..seen_job(id, operation, 0) }
    }
}

prop_compose! {
    fn seen()(
        created in option::of(SECONDS),
        differs in any::<bool>(),
        echo in option::of((select(vec!["a", "b"]), option::of(select(vec![Equality::Equal, Equality::Unknown, Equality::Different])))),
    ) -> Seen {
        Seen {
            create_time: created.map(at),
            differs: if differs { vec!["stackName"] } else { Vec::new() },
            echo: echo.map(|(hash, equality)| Echo { hash: hash.into(), equality, differs: Vec::new() }),
        }
    }
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(accepted("j-1")),
        Just(lost()),
        proptest::collection::vec(Just("stackName"), 0..2).prop_map(|differs| Reply::Done {
            asked: at(0),
            seen: Seen {
                create_time: Some(at(0)),
                differs,
                echo: None,
            },
        }),
        Just(Reply::Absent),
        (
            option::of(Just("j-2".to_owned())),
            option::of(word()),
            option::of(Just("no".to_owned()))
        )
            .prop_map(|(id, status, error)| Reply::Job {
                id,
                environment: None,
                status,
                error
            }),
        (class(), select(vec![Sent::Never, Sent::Refused, Sent::Unknown]))
            .prop_map(|(class, sent)| Reply::Failed(failure(class, sent))),
    ]
}

fn mark() -> impl Strategy<Value = Mark> {
    prop_oneof![4 => Just(Mark::Absent), 1 => Just(Mark::Elsewhere), 2 => Just(Mark::Here), 1 => Just(Mark::Denied)]
}

fn hash() -> impl Strategy<Value = Option<String>> {
    option::of(select(vec!["a", "b"]).prop_map(str::to_owned))
}

prop_compose! {
    fn said()(
        said in option::of((select(Reason::ALL.to_vec()), 0_i64..4, select(vec![Progress::Reconciling, Progress::Stalled]))),
    ) -> Option<(Reason, i64, bool, Progress)> {
        said.map(|(reason, generation, progress)| match reason {
            Reason::Available => (reason, generation, true, Progress::Settled),
            Reason::Suspended => (reason, generation, generation % 2 == 0, Progress::Settled),
            reason => (reason, generation, false, progress),
        })
    }
}

prop_compose! {
    /// A resource and its surroundings. Nothing has been learnt yet.
    fn resource()(kind in select(Kind::ALL.to_vec()))(
        now in SECONDS,
        (generation, deleting, finalizer, suspend) in (1_i64..4, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2)),
        deletion in option::of(select(vec![DeletionPolicy::Delete, DeletionPolicy::Retain])),
        adoption in select(vec![AdoptionPolicy::Never, AdoptionPolicy::IfExists]),
        requests in (option::of(Just("now".to_owned())), option::of(Just("now".to_owned()))),
        origin in option::of(select(vec![Origin::Created, Origin::Cloned, Origin::Adopted])),
        pinned in option::of(select(vec!["eu-west-1", "us-east-1"])),
        job in option::of(job(kind.create())),
        said in said(),
        (sent, echoed) in (hash(), hash()),
        around in (prop::bool::weighted(0.1), prop::bool::weighted(0.2), prop::bool::weighted(0.1), any::<bool>()),
        dependents in (prop::bool::weighted(0.1), prop::bool::weighted(0.1)),
        (tries, checked) in (0_u32..40, option::of(SECONDS)),
        kind in Just(kind),
    ) -> Scene {
        let mut scene = Scene::new(kind).at(now).generation(generation).policy(deletion);
        scene.resource.deleting = deleting;
        scene.resource.finalizer = finalizer;
        scene.resource.suspend = suspend;
        scene.resource.adoption_policy = adoption;
        scene.resource.request = requests.0;
        let ledger = &mut scene.state.ledger;
        ledger.last_handled_reconcile_at = requests.1;
        ledger.origin = origin;
        ledger.region = pinned.map(str::to_owned);
        ledger.job = job;
        // The status speaks of no future generation.
        if let Some(job) = &mut ledger.job {
            job.generation = job.generation.min(generation);
        }
        if let Some((reason, said, ready, progress)) = said {
            let generation = said.min(generation);
            ledger.observed_generation = generation;
            ledger.conditions = conditions::state(&[], ready, progress, reason, "said before", generation, at(0));
        }
        scene.state.hashes.sent = sent;
        scene.state.hashes.echoed = echoed;
        let (invalid, dependency, winner, resolved) = around;
        let surroundings = &mut scene.surroundings;
        surroundings.invalid = invalid.then(|| "invalid".into());
        surroundings.dependency = dependency.then(|| missing("missing"));
        surroundings.winner = winner.then(|| Winner {
            name: "AmplifyBackend default/older".into(),
            leaving: false,
                is_of_another_name: false,
            });
        surroundings.resolved = resolved;
        surroundings.dependents = Dependents {
            staying: dependents.0.then(|| "BackendApi default/a".to_owned()).into_iter().collect(),
            leaving: dependents.1.then(|| "BackendApi default/b".to_owned()).into_iter().collect(),
        };
        scene.memory.tries = tries;
        scene.memory.checked = checked.map(at);
        scene
    }
}

/// Returns scenes in which a pass may have learnt any facts.
fn scene() -> impl Strategy<Value = Scene> {
    resource().boxed().prop_flat_map(|scene| {
        let create = scene.resource.abilities.create;
        (
            Just(scene),
            option::of((0_i64..300, option::of(seen()))),
            option::of((0_i64..300, prop::collection::vec(job_seen(create), 0..3))),
            option::of(option::of(job_seen(create))),
            option::of(prop_oneof![Just(Ok("a")), Just(Ok("b")), Just(Err("missing"))]),
            option::of(prop_oneof![Just(Slot::Held), Just(Slot::Busy)]),
            select(vec![
                Sending::Nothing,
                Sending::Nothing,
                Sending::Intended,
                Sending::Recorded,
            ]),
            prop::option::weighted(0.2, reply()),
            prop::option::weighted(0.2, class()),
            option::of((0_i64..100, prop_oneof![6 => mark(), 1 => Just(Mark::Unread)])),
        )
            .prop_map(
                |(mut scene, look, jobs, poll, config, slot, sending, reply, failed, lock)| {
                    let ago = |seconds| scene.now - SignedDuration::from_secs(seconds);
                    scene.known.look = look.map(|(before, seen)| Looked {
                        at: ago(before),
                        seen,
                        bar: None,
                    });
                    scene.known.jobs = jobs.map(|(before, jobs)| Listed { at: ago(before), jobs });
                    scene.known.poll = poll.map(|job| Polled { job });
                    scene.known.config =
                        config.map(|config| config.map(|hash| Config { hash: hash.into() }).map_err(missing));
                    scene.known.slot = slot;
                    scene.known.lock = lock.map(|(before, mark)| Lock { at: ago(before), mark });
                    scene.known.sending = sending;
                    scene.known.reply = reply;
                    scene.known.failed = failed.map(|class| failure(class, Sent::Refused));
                    scene
                },
            )
    })
}

/// The answers of AWS and the cluster, which do not change during a pass.
#[derive(Clone, Debug)]
struct World {
    look: Option<Seen>,
    jobs: Vec<JobSeen>,
    config: Result<String, String>,
    slot: Slot,
    mark: Mark,
    failed: Option<Class>,
}

fn world(create: Operation) -> impl Strategy<Value = World> {
    (
        option::of(seen()),
        prop::collection::vec(job_seen(create), 0..3),
        prop_oneof![Just(Ok("a".to_owned())), Just(Err("missing".to_owned()))],
        prop_oneof![3 => Just(Slot::Held), 1 => Just(Slot::Busy)],
        mark(),
        prop::option::weighted(0.2, class()),
    )
        .prop_map(|(look, jobs, config, slot, mark, failed)| World {
            look,
            jobs,
            config,
            slot,
            mark,
            failed,
        })
}

impl World {
    fn observe(&self, scene: &Scene, step: &Step) -> Observed {
        let read = matches!(step, Step::Look(_) | Step::ListJobs(_) | Step::Poll);
        if let Some(class) = self.failed.filter(|_| read) {
            return Observed::Failed(failure(class, Sent::Refused));
        }
        match step {
            Step::Look(_) => scene.looked(self.look.clone(), None),
            Step::ListJobs(_) => scene.listed(self.jobs.clone()),
            Step::Poll => {
                let id = scene.state.ledger.job.as_ref().and_then(|job| job.id.as_ref());
                Observed::Poll(Polled {
                    job: self.jobs.iter().find(|job| Some(&job.id) == id).cloned(),
                })
            }
            Step::Resolve => Observed::Config(match &self.config {
                Ok(hash) => Ok(Config { hash: hash.clone() }),
                Err(message) => Err(missing(message)),
            }),
            Step::ReadLock(_) => Observed::Lock(Lock {
                at: scene.now,
                mark: self.mark,
            }),
            Step::TakeSlot => Observed::Slot(self.slot.clone()),
            _ => Observed::STORED,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8 * ProptestConfig::default().cases, failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// With any facts of a pass, the next step keeps the invariants.
    #[test]
    fn no_view_leads_to_a_forbidden_step(scene in scene(), jitter in 0.0..1.0) {
        let mut scene = scene;
        let step = scene.next_with(jitter);
        check(&scene, &step);
        if let Step::Send(Write::Delete) = step {
            prop_assert!(scene.state.ledger.job.as_ref().is_none_or(|job| !job.is_open_intent() && !job.is_running()));
        }
        scene.apply(&step, Observed::STORED);
    }

    /// Every pass ends and keeps the invariants at every step. If nothing new is observed, the settled status stops
    /// changing.
    #[test]
    fn what_settles_comes_to_rest((scene, world) in resource().prop_flat_map(|scene| {
        let world = world(scene.resource.abilities.create);
        (Just(scene), world)
    })) {
        let mut scene = scene;
        let mut settled = Vec::<State>::new();
        let mut steps = Vec::new();
        for _ in 0..100 {
            let step = scene.next();
            check(&scene, &step);
            steps.push(name(&step));
            match &step {
                // AWS's handling of a write is not tested here.
                Step::Send(_) | Step::Release => return Ok(()),
                Step::Settle { state, .. } => {
                    let rests = settled.iter().rev().take_while(|before| *before == state.as_ref()).count();
                    if rests == 2 {
                        return Ok(());
                    }
                    prop_assert!(rests == 1 || !settled.contains(state), "in a circle: {steps:?}");
                    settled.push(State::clone(state));
                }
                _ => {}
            }
            let observed = world.observe(&scene, &step);
            scene.apply(&step, observed);
        }
        prop_assert!(false, "no rest: {:?}", steps);
    }
}
