//! The passing of time: everything ages. Times so old that no decision distinguishes them become equal, so that the
//! number of states is finite.

use std::collections::BTreeSet;

use amplify_operator::lifecycle::Known;

use crate::world::{
    Clocks, LONG_AGO, OLDEST_FINISH, OLDEST_LOCK, OLDEST_REQUEST, Object, Seconds, TICK, World, at, since, times_of,
};

/// Earlier times are from before the exploration.
const BEFORE: Seconds = -900;

fn age(time: &mut Seconds, by: Seconds, oldest: Seconds) {
    *time = (*time - by).max(oldest).min(*time);
}

impl Object {
    fn age(&mut self, by: Seconds, aws: &Aws) {
        if let Some(since) = &mut self.status.locked_at {
            age(since, by, OLDEST_LOCK);
        }
        if let Some(job) = &mut self.status.job {
            age(&mut job.requested, by, OLDEST_REQUEST);
            if let Some(finished) = &mut job.finished {
                // The results of an attempt that was given up are older than its finish time. They must stay older.
                age(finished, by, if job.unconfirmed { LATEST + 1 } else { OLDEST_FINISH });
                if !job.unconfirmed {
                    // No decision uses the request time of a write that has ended.
                    job.requested = OLDEST_REQUEST;
                }
            }
            if let Some(after) = &mut job.after {
                if job.operation.is_create() {
                    *after = aws.aged(*after, by);
                } else {
                    age(after, by, OLDEST_FINISH);
                }
            }
        }
    }
}

/// AWS's times. While the outcome of a create is unknown, they are compared with its request time. Otherwise decisions
/// only compare their order, and whether they are from before the exploration. So after a while only their order is
/// kept.
struct Aws {
    times: BTreeSet<Seconds>,
    /// Whether the outcome of a create is unknown.
    asked: bool,
    /// Whether its request reaches the oldest request time.
    old: bool,
    /// The latest time, by both clocks, for a result of the oldest request.
    latest: Seconds,
}

impl Aws {
    fn aged(&self, time: Seconds, by: Seconds) -> Seconds {
        if time <= BEFORE {
            return time;
        }
        let later = || Seconds::try_from(self.times.range(time..).count()).expect("few jobs");
        if !self.asked {
            return -later();
        }
        if !self.old {
            return time - by;
        }
        // The request no longer ages, so its possible results do not either. A time that is too late for a result stays
        // too late.
        if time <= self.latest {
            return time;
        }
        let earlier = self.times.range(self.latest + 1..time).count();
        (time - by).max(self.latest + 1 + Seconds::try_from(earlier).expect("few jobs"))
    }
}

/// The latest time for a result of the oldest request.
const LATEST: Seconds = OLDEST_REQUEST + 100;

impl World {
    fn objects(&mut self) -> impl Iterator<Item = &mut Object> {
        let names = self
            .names
            .iter_mut()
            .flat_map(|name| name.live.iter_mut().chain(&mut name.before));
        let held = self.processes.iter_mut().flat_map(|process| {
            let old = process.listing.iter_mut().chain(&mut process.behind).flatten();
            let views = process.passes.iter_mut().flatten().map(|pass| &mut pass.view);
            old.map(|old| &mut old.object).chain(views)
        });
        names.chain(held)
    }

    fn aws(&mut self, by: Seconds, clocks: Clocks) -> Aws {
        let mut times: BTreeSet<Seconds> = self.aws.jobs.iter().filter_map(|job| job.created).collect();
        times.extend(self.aws.things.iter().flatten().map(|thing| thing.made));
        let creates = |object: &mut Object| object.status.job.filter(|job| job.operation.is_create());
        times.extend(self.objects().filter_map(|object| creates(object)?.after));
        for pass in self
            .processes
            .iter_mut()
            .flat_map(|process| &mut process.passes)
            .flatten()
        {
            let mut known = Known::clone(&pass.known);
            let (_, theirs) = times_of(&mut known);
            times.extend(theirs.into_iter().map(|time| since(clocks.now, *time) - clocks.skew));
        }
        times.retain(|time| *time > BEFORE);
        let mut aws = Aws {
            times,
            asked: false,
            old: false,
            latest: LATEST + (-clocks.skew).max(0),
        };
        // Only stored objects count, because a write from a stale view does not land.
        for object in self.names.iter().filter_map(|name| name.live) {
            if let Some(job) = object.status.job.filter(|job| job.operation.is_create())
                && (job.is_open() || job.unconfirmed)
            {
                aws.asked = true;
                aws.old |= job.requested - by < OLDEST_REQUEST;
            }
        }
        aws
    }

    /// Ages the world.
    pub(crate) fn age(&mut self, by: Seconds, clocks: Clocks) {
        let left = |time: &mut Seconds| *time = (*time - by).max(0);
        let aws = self.aws(by, clocks);
        for object in self.objects() {
            object.age(by, &aws);
        }
        for thing in self.aws.things.iter_mut().flatten() {
            left(&mut thing.hidden);
            thing.made = aws.aged(thing.made, by);
        }
        for job in &mut self.aws.jobs {
            left(&mut job.hidden);
            if let Some(created) = &mut job.created {
                *created = aws.aged(*created, by);
            }
        }
        if let Some(since) = &mut self.aws.locked {
            age(since, by, OLDEST_LOCK);
        }
        for flight in &mut self.aws.flying {
            left(&mut flight.left);
        }
        // A check is due after each tick, or once an hour when everything is quiet.
        let remembered = by.max(TICK);
        for process in &mut self.processes {
            for (_, memory) in process.memory.iter_mut().flatten() {
                age(&mut memory.since, by, -remembered);
                if let Some((_, since, _)) = &mut memory.waiting {
                    age(since, by, LONG_AGO);
                }
            }
            for pass in process.passes.iter_mut().flatten() {
                pass.age += by;
                age(&mut pass.memory.since, by, -remembered);
                pass.known.change(|known| {
                    let (ours, theirs) = times_of(known);
                    for time in ours {
                        let mut seconds = since(clocks.now, *time);
                        age(&mut seconds, by, LONG_AGO);
                        *time = at(clocks.now, seconds);
                    }
                    for time in theirs {
                        *time = clocks.aws(aws.aged(since(clocks.now, *time) - clocks.skew, by));
                    }
                });
                if let Some(seen) = &mut pass.seen {
                    seen.made = aws.aged(seen.made, by);
                }
            }
        }
    }
}
