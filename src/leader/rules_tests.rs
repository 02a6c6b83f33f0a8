//! The rules as a table, and many elections in a world with all kinds of faults.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const ME: &str = "me";

const fn s(seconds: u64) -> Uptime {
    // The machine has been up for some time.
    Duration::from_secs(100_000 + seconds)
}

fn wall() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// Makes a version of the lease with this holder ("": none) and this duration in seconds.
#[expect(clippy::unnecessary_wraps, reason = "what a look finds")]
fn lease(version: u64, holder: &str, seconds: i32) -> Option<Lease> {
    let lease = json!({
        "metadata": { "name": "amplify-operator", "uid": "u", "resourceVersion": version.to_string() },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 7,
            "acquireTime": "2026-11-22T08:00:00.000000Z", "renewTime": "2026-11-22T09:59:50.000000Z",
        },
    });
    Some(serde_json::from_value(lease).unwrap())
}

/// Returns the same lease with another renewal time.
fn renewed_at(lease: Option<Lease>, time: &str) -> Option<Lease> {
    lease.map(|mut lease| {
        lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(time.parse().unwrap()));
        lease
    })
}

/// Makes a candidate that has read these leases at these times.
fn watching(looks: &[(u64, Option<Lease>)]) -> Candidate {
    let mut candidate = Candidate::new(ME.to_owned());
    for (at, lease) in looks {
        candidate.waited();
        candidate.saw(lease.clone(), s(*at));
    }
    candidate
}

/// Makes a leader whose last renewal began at this time and was answered at once.
fn leading(renewed: u64) -> Candidate {
    let mut candidate = watching(&[(renewed, lease(1, "", 1))]);
    candidate.wrote(lease(2, ME, 30).unwrap(), s(renewed), s(renewed));
    candidate
}

fn with(mut candidate: Candidate, change: impl FnOnce(&mut Candidate)) -> Candidate {
    change(&mut candidate);
    candidate
}

/// The next action, without the details of the lease to write.
#[derive(Debug, PartialEq)]
enum Next {
    Look,
    Create,
    Update,
    Wait(u64),
    Release,
    Leave,
    NotRenewed,
    Taken,
}

fn next(candidate: &Candidate, now: Uptime, ending: bool) -> Next {
    match candidate.next(now, wall(), ending) {
        Action::Look => Next::Look,
        Action::Write(lease) if lease.metadata.resource_version.is_some() => Next::Update,
        Action::Write(_) => Next::Create,
        Action::Wait(until) => Next::Wait(until.saturating_sub(s(0)).as_secs()),
        Action::Release(_) => Next::Release,
        Action::Leave => Next::Leave,
        Action::GiveUp(Loss::NotRenewed) => Next::NotRenewed,
        Action::GiveUp(Loss::Taken(_)) => Next::Taken,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_standby_takes_only_what_it_has_itself_seen_unchanged_for_a_whole_duration() {
    let other = |version| lease(version, "other", 30);
    let past = || renewed_at(other(1), "1999-01-01T00:00:00Z");
    let future = || renewed_at(other(1), "2099-01-01T00:00:00Z");
    let table = [
        ("one that has seen nothing looks", watching(&[]), 0, Next::Look),
        (
            "a new lease of another is waited for",
            watching(&[(0, other(1))]),
            0,
            Next::Wait(2),
        ),
        (
            "what was seen before a wait is old",
            with(watching(&[(0, other(1))]), Candidate::waited),
            2,
            Next::Look,
        ),
        (
            "not a moment before the end",
            watching(&[(0, other(1)), (29, other(1))]),
            29,
            Next::Wait(30),
        ),
        (
            "unchanged for 30 s is expired",
            watching(&[(0, other(1)), (30, other(1))]),
            30,
            Next::Update,
        ),
        (
            "a renewal starts the time again",
            watching(&[(0, other(1)), (20, other(2))]),
            45,
            Next::Wait(47),
        ),
        (
            "and it ends 30 s after that",
            watching(&[(0, other(1)), (20, other(2))]),
            50,
            Next::Update,
        ),
        (
            "a holder whose clock is decades behind has not expired",
            watching(&[(0, past())]),
            29,
            Next::Wait(30),
        ),
        (
            "a holder whose clock is decades ahead expires too",
            watching(&[(0, future())]),
            30,
            Next::Update,
        ),
        (
            "a longer duration is kept",
            watching(&[(0, lease(1, "other", 60))]),
            59,
            Next::Wait(60),
        ),
        ("and ends", watching(&[(0, lease(1, "other", 60))]), 60, Next::Update),
        (
            "one that was cut short has not expired: its holder does not know",
            watching(&[(0, lease(1, "other", 1))]),
            29,
            Next::Wait(30),
        ),
        (
            "a released lease is free after its second",
            watching(&[(0, lease(1, "", 1))]),
            0,
            Next::Wait(1),
        ),
        (
            "then it is taken",
            watching(&[(0, lease(1, "", 1)), (1, lease(1, "", 1))]),
            1,
            Next::Update,
        ),
        (
            "one whose holder somebody has removed may still be led by",
            watching(&[(0, lease(1, "", 30))]),
            29,
            Next::Wait(30),
        ),
        ("a missing lease is created", watching(&[(0, None)]), 0, Next::Create),
        (
            "but held by nobody: there may have been one a moment ago",
            with(watching(&[(0, None)]), |it| {
                it.wrote(lease(1, "", 30).unwrap(), s(0), s(0));
            }),
            29,
            Next::Wait(30),
        ),
        (
            "and taken like any other",
            with(watching(&[(0, None)]), |it| {
                it.wrote(lease(1, "", 30).unwrap(), s(0), s(0));
            }),
            30,
            Next::Update,
        ),
        (
            "a deleted lease is a missing one",
            watching(&[(0, other(1)), (20, None)]),
            20,
            Next::Create,
        ),
        (
            "a lease that came back is a new one",
            watching(&[(0, other(1)), (20, lease(2, "", 30))]),
            49,
            Next::Wait(50),
        ),
        (
            "an acquisition whose answer got lost is repeated",
            with(watching(&[(0, lease(1, "", 1))]), |it| {
                it.failed(s(1));
                it.saw(lease(2, ME, 30), s(6));
            }),
            6,
            Next::Update,
        ),
        (
            "an acquisition that another was faster with is given up",
            with(watching(&[(0, lease(1, "", 1))]), |it| {
                it.failed(s(1));
                it.saw(other(2), s(1));
            }),
            1,
            Next::Wait(3),
        ),
        (
            "an acquisition that fails is not repeated in a hot loop",
            with(watching(&[(0, other(1)), (30, other(1))]), |it| {
                it.failed(s(30));
                it.saw(other(1), s(30));
            }),
            30,
            Next::Wait(32),
        ),
        (
            "the API server was away: what is there afterwards counts",
            watching(&[(0, other(1)), (300, other(2))]),
            300,
            Next::Wait(302),
        ),
    ];
    for (sentence, candidate, now, expected) in table {
        assert_eq!(next(&candidate, s(now), false), expected, "{sentence}");
        assert_eq!(next(&candidate, s(now), true), Next::Leave, "ending: {sentence}");
        assert_eq!(candidate.leads_until(), None, "{sentence}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_leader_renews_in_time_or_stops() {
    let conflict = |at: u64, found: Option<Lease>| {
        with(leading(0), |it| {
            it.failed(s(at));
            it.saw(found, s(at));
        })
    };
    let table = [
        ("a new leader waits for its next renewal", leading(0), 0, Next::Wait(10)),
        ("it renews every 10 s", leading(0), 10, Next::Update),
        (
            "a wait makes it look at nothing",
            with(leading(0), Candidate::waited),
            10,
            Next::Update,
        ),
        ("without a renewal it stops at 20 s", leading(0), 20, Next::NotRenewed),
        (
            "frozen for an hour, it stops before anything else",
            leading(0),
            3600,
            Next::NotRenewed,
        ),
        (
            "a renewal that fails makes it look",
            with(leading(0), |it| it.failed(s(10))),
            10,
            Next::Look,
        ),
        (
            "the API server is away: it goes on looking",
            with(leading(0), |it| it.failed(s(10))),
            19,
            Next::Look,
        ),
        (
            "until it has to stop",
            with(leading(0), |it| it.failed(s(10))),
            20,
            Next::NotRenewed,
        ),
        (
            "an answer that was slow counts from the question",
            with(leading(0), |it| it.wrote(lease(3, ME, 30).unwrap(), s(10), s(15))),
            30,
            Next::NotRenewed,
        ),
        (
            "somebody has edited the lease: it is renewed",
            conflict(10, lease(3, ME, 30)),
            12,
            Next::Update,
        ),
        (
            "but not in a hot loop",
            conflict(10, lease(3, ME, 30)),
            10,
            Next::Wait(12),
        ),
        (
            "somebody has removed the holder: it is renewed",
            conflict(10, lease(3, "", 30)),
            12,
            Next::Update,
        ),
        (
            "somebody has deleted the lease: it is created again",
            conflict(10, None),
            12,
            Next::Create,
        ),
        (
            "a stolen lease is the end at once",
            conflict(10, lease(3, "thief", 30)),
            10,
            Next::Taken,
        ),
    ];
    for (sentence, candidate, now, expected) in table {
        assert_eq!(next(&candidate, s(now), false), expected, "{sentence}");
    }
}

#[test]
fn a_leader_that_ends_gives_the_lease_back() {
    let lost = with(leading(0), |it| {
        it.failed(s(10));
        it.saw(lease(3, "thief", 30), s(10));
    });
    let gone = with(leading(0), |it| {
        it.failed(s(10));
        it.saw(None, s(10));
    });
    let table = [
        ("it does not wait for the next renewal", leading(0), 1, Next::Release),
        (
            "it looks first if it does not know",
            with(leading(0), |it| it.failed(s(10))),
            11,
            Next::Look,
        ),
        ("too late is too late", leading(0), 20, Next::NotRenewed),
        ("what is another's is not given back", lost, 11, Next::Taken),
        ("what is not there is not given back", gone, 11, Next::Leave),
    ];
    for (sentence, candidate, now, expected) in table {
        assert_eq!(next(&candidate, s(now), true), expected, "{sentence}");
    }
}

#[test]
fn what_is_written_is_what_others_expect_to_read() {
    let spec = |action| match action {
        Action::Write(lease) | Action::Release(lease) => json!(lease.spec),
        other => panic!("{other:?}"),
    };
    let now = "2026-11-22T10:00:00.000000Z";
    let taken = watching(&[(0, lease(1, "other", 30)), (30, lease(1, "other", 30))]);
    assert_eq!(
        spec(taken.next(s(30), wall(), false)),
        json!({
            "holderIdentity": ME, "leaseDurationSeconds": 30, "leaseTransitions": 8, "acquireTime": now, "renewTime": now,
        })
    );
    let created = watching(&[(0, None)]);
    assert_eq!(
        spec(created.next(s(0), wall(), false)),
        json!({ "holderIdentity": "", "leaseDurationSeconds": 30, "leaseTransitions": 0, "renewTime": now })
    );
    let again = with(leading(0), |it| {
        it.failed(s(10));
        it.saw(None, s(10));
    });
    assert_eq!(
        spec(again.next(s(12), wall(), false)),
        json!({
            "holderIdentity": ME, "leaseDurationSeconds": 30, "leaseTransitions": 0, "acquireTime": now, "renewTime": now,
        })
    );
    assert_eq!(
        spec(leading(0).next(s(10), wall(), false)),
        json!({
            "holderIdentity": ME, "leaseDurationSeconds": 30, "leaseTransitions": 7,
            "acquireTime": "2026-11-22T08:00:00.000000Z", "renewTime": now,
        })
    );
    assert_eq!(
        spec(leading(0).next(s(1), wall(), true)),
        json!({
            "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 7, "acquireTime": now, "renewTime": now,
        })
    );
    // A wall clock that does not move.
    let same = with(leading(0), |it| {
        it.seen.as_mut().unwrap().lease = renewed_at(lease(2, ME, 30), now);
    });
    assert_eq!(
        spec(same.next(s(10), wall(), false))["renewTime"],
        "2026-11-22T10:00:00.000001Z",
        "each renewal changes the lease"
    );
}

#[test]
fn an_hour_of_leading_is_at_most_360_writes() {
    let (mut now, mut candidate, mut writes) = (s(0), leading(0), 0);
    while now < s(3600) {
        match candidate.next(now, wall(), false) {
            Action::Write(lease) => {
                writes += 1;
                candidate.wrote(*lease, now, now);
            }
            Action::Wait(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!((350..=360).contains(&writes), "{writes}");
}

/// Pseudo-random numbers, the same in each run (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// A simulated process. Times of type `u64` are true times, in milliseconds.
struct Process {
    candidate: Candidate,
    /// The rate of its clock, in percent of true time.
    rate: u64,
    /// The time on its clock at the beginning.
    start: Uptime,
    /// Its wall clock. It must not matter.
    wall: Timestamp,
    wakes: u64,
    frozen_until: u64,
    request: Option<Request>,
}

/// A request that a process waits for.
struct Request {
    id: u64,
    begun: Uptime,
    is_write: bool,
}

impl Process {
    fn new(name: u64, dice: &mut Dice) -> Self {
        Self {
            candidate: Candidate::new(format!("process-{name}")),
            rate: 90 + dice.roll(21),
            start: Duration::from_secs(dice.roll(1_000_000)),
            wall: Timestamp::from_second(i64::try_from(dice.roll(4_000_000_000)).unwrap()).unwrap(),
            wakes: 0,
            frozen_until: 0,
            request: None,
        }
    }

    fn uptime(&self, now: u64) -> Uptime {
        self.start + Duration::from_millis(now * self.rate / 100)
    }

    fn leads(&self, now: u64) -> bool {
        self.candidate
            .leads_until()
            .is_some_and(|until| self.uptime(now) < until)
    }
}

/// The result of a request. An error: it was refused, or never arrived.
type Answer = Result<Option<Lease>, ()>;

/// The API server's lease, and the requests for it that are in flight. A request arrives even if its sender is gone.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
    /// Whether a user has edited or deleted the lease since its holder wrote it.
    edited: bool,
    requests: u64,
    /// The requests in flight: id, arrival time, and the lease to write.
    wire: Vec<(u64, u64, Option<Lease>)>,
    /// The answers by request id: arrival time, and the result.
    answers: BTreeMap<u64, (u64, Answer)>,
    outage: std::ops::Range<u64>,
}

impl Server {
    fn send(&mut self, write: Option<Lease>, now: u64, dice: &mut Dice) -> u64 {
        self.requests += 1;
        self.wire.push((self.requests, now + slow(dice), write));
        self.requests
    }

    fn serve(&mut self, now: u64, dice: &mut Dice) {
        let (arrived, wire) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|(_, at, _)| *at <= now);
        self.wire = wire;
        for (id, _, write) in Vec::from_iter::<Vec<_>>(arrived) {
            let answer = match write {
                _ if self.outage.contains(&now) => Err(()),
                Some(lease) => {
                    let is_held = !holder(&lease).is_empty();
                    self.write(lease).inspect(|_| self.edited &= !is_held)
                }
                None => Ok(self.lease.clone()),
            };
            // One answer in twenty is lost.
            if dice.roll(20) > 0 {
                self.answers.insert(id, (now + slow(dice), answer));
            }
        }
    }

    fn write(&mut self, mut lease: Lease) -> Answer {
        let is_current = match (&self.lease, &lease.metadata.resource_version) {
            (None, None) => true,
            (Some(stored), Some(_)) => version(Some(stored)) == version(Some(&lease)),
            _ => false,
        };
        if !is_current {
            return Err(());
        }
        self.version += 1;
        lease.metadata.uid.get_or_insert_with(|| self.version.to_string());
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        Ok(Some(lease))
    }

    /// Edits or deletes the lease, as a user with the right to do so might. Only once: shortening the duration and
    /// removing the holder together would be a forged release.
    fn meddle(&mut self, dice: &mut Dice) {
        let Some(mut lease) = self.lease.clone().filter(|_| !self.edited) else {
            return;
        };
        self.edited = true;
        match dice.roll(4) {
            0 => {
                self.lease = None;
                return;
            }
            1 if is_free_or("", &lease) => {}
            1 => lease.spec.get_or_insert_default().holder_identity = None,
            2 => lease.spec.get_or_insert_default().lease_duration_seconds = Some(1),
            _ => lease.metadata.annotations = Some(BTreeMap::from([("a".into(), self.version.to_string())])),
        }
        self.write(lease).unwrap();
    }
}

/// Returns a delay. One in twenty is long.
fn slow(dice: &mut Dice) -> u64 {
    let is_slow = dice.roll(20) == 0;
    dice.roll(if is_slow { 15_000 } else { 200 })
}

/// Simulates one hour of three processes. Every request may be slow, lost or unanswered, each process may be frozen,
/// killed or ended, each clock runs at its own rate, and users edit the lease. Returns how long no process led, in
/// milliseconds, and how often leadership changed.
fn hour(seed: u64) -> (u64, u64) {
    const STEP: u64 = 100;
    let mut dice = Dice(seed);
    let mut server = Server::default();
    let mut names = 0..;
    let mut new = |dice: &mut Dice| Process::new(names.next().unwrap(), dice);
    let mut processes: Vec<_> = (0..3).map(|_| new(&mut dice)).collect();
    let (mut idle, mut changes, mut last) = (0, 0, String::new());
    for now in (0..3_600_000 / STEP).map(|step| step * STEP) {
        if dice.roll(4000) == 0 {
            server.outage = now..now + dice.roll(60_000);
        }
        if dice.roll(2000) == 0 {
            server.meddle(&mut dice);
        }
        server.serve(now, &mut dice);
        for process in &mut processes {
            if dice.roll(10_000) == 0 {
                process.frozen_until = now + dice.roll(120_000);
            }
            let is_killed = dice.roll(20_000) == 0;
            if is_killed || now >= process.frozen_until && step(process, &mut server, &mut dice, now) {
                *process = new(&mut dice);
            }
        }
        let leaders: Vec<_> = processes.iter().filter(|process| process.leads(now)).collect();
        let leaders: Vec<_> = leaders.iter().map(|process| &process.candidate.identity).collect();
        assert!(leaders.len() <= 1, "seed {seed}, at {now} ms: {leaders:?}");
        match leaders.first() {
            None => idle += STEP,
            Some(leader) if **leader != last => {
                changes += 1;
                last.clone_from(leader);
            }
            Some(_) => {}
        }
    }
    (idle, changes)
}

/// Performs a process's next action at this time. Returns true if the process ends.
fn step(process: &mut Process, server: &mut Server, dice: &mut Dice, now: u64) -> bool {
    let uptime = process.uptime(now);
    if let Some(Request { id, begun, is_write }) = process.request {
        let answer = server
            .answers
            .get(&id)
            .filter(|(at, _)| *at <= now)
            .map(|(_, answer)| answer.clone());
        if answer.is_none() && uptime < begun + Duration::from_secs(5) {
            return false;
        }
        process.request = None;
        match (is_write, answer) {
            (true, Some(Ok(Some(lease)))) => process.candidate.wrote(lease, begun, uptime),
            (true, _) => process.candidate.failed(begun),
            (false, Some(Ok(lease))) => process.candidate.saw(lease, uptime),
            (false, _) => process.wakes = now + 2000,
        }
    }
    if now < process.wakes {
        return false;
    }
    let ending = dice.roll(20_000) == 0;
    let write = match process.candidate.next(uptime, process.wall, ending) {
        Action::Look => None,
        Action::Write(lease) => Some(*lease),
        Action::Wait(until) => {
            let left = until.saturating_sub(uptime).as_millis();
            process.wakes = now + u64::try_from(left).unwrap() * 100 / process.rate + dice.roll(100);
            process.candidate.waited();
            return false;
        }
        Action::Release(lease) => {
            server.send(Some(*lease), now, dice);
            return true;
        }
        Action::Leave | Action::GiveUp(_) => return true,
    };
    process.request = Some(Request {
        begun: uptime,
        is_write: write.is_some(),
        id: server.send(write, now, dice),
    });
    false
}

#[test]
fn in_twenty_bad_hours_two_never_lead_at_a_time_and_mostly_one_does() {
    const HOURS: u64 = 20;
    let (idle, changes) = (0..HOURS)
        .map(hour)
        .fold((0, 0), |sum, hour| (sum.0 + hour.0, sum.1 + hour.1));
    let idle = idle / HOURS / 1000;
    println!("{HOURS} hours: {changes} changes of leadership, nobody led for {idle} s of each");
    assert!(changes > 10 * HOURS && idle < 1800, "{changes} changes, {idle} s");
}
