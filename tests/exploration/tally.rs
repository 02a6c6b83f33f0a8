//! The results of all explorations, for the table at the end.

use std::{sync::Mutex, time::Duration};

/// The result of one exploration.
pub(crate) struct Found {
    pub(crate) proves: &'static str,
    /// Its limits.
    pub(crate) bound: String,
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    pub(crate) depth: usize,
    /// The number of situations that were seen to settle.
    pub(crate) settled: usize,
    pub(crate) took: Duration,
    pub(crate) holds: bool,
}

static FOUND: Mutex<Vec<Found>> = Mutex::new(Vec::new());

pub(crate) fn add(found: Found) {
    if let Ok(mut all) = FOUND.lock() {
        all.push(found);
    }
}

pub(crate) fn print() {
    let Ok(mut all) = FOUND.lock() else { return };
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|found| found.proves);
    for found in all.iter() {
        println!(
            "{}: {} states, {} transitions, depth {}, {} situations seen to settle, {:.1} s; {}",
            found.proves,
            found.states,
            found.transitions,
            found.depth,
            found.settled,
            found.took.as_secs_f64(),
            found.bound
        );
    }
    let sum = |part: fn(&Found) -> usize| all.iter().map(part).sum::<usize>();
    println!(
        "evidence: explorations: {}; states: {}; transitions: {}; situations seen to settle: {}; broken invariants: {}",
        all.len(),
        sum(|found| found.states),
        sum(|found| found.transitions),
        sum(|found| found.settled),
        sum(|found| usize::from(!found.holds)),
    );
}
