//! The layer below whole servers: lanes, workers and readers, the real ones, in one thread, in virtual time, on a broker and a store that
//! lose answers, repeat, reorder, forget their tail, pause, and end processes at the worst moments. A seed decides everything, so a
//! failing one can be run again.
//!
//! What is simulated: the broker (`broker`), live fan-out (`live`), the network and the processes around them (`world`). The store is
//! SQLite itself, called in this thread, with its failures added (`store`). The history that clients write is judged by the same
//! checker as that of whole servers. `defects` builds worlds in which something does not keep its promise: they must be found.
//!
//! `SEALPOST_SIMULATION_SEEDS` is how many (500), `SEALPOST_SIMULATION_FIRST` the first one (0). `make simulate` runs thousands, and
//! `make simulate SEED=7 SEEDS=1` one again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "a world is small")]

mod broker;
mod chance;
mod clients;
mod consumer;
mod defect;
mod live;
mod nature;
mod process;
mod store;
mod world;

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sealpost_torture::checker::{Invariant, Verdict, check};
use sealpost_torture::history::{Answer, Entry, What};
use tokio::runtime::Builder;

use defect::Defect;

/// One seed's run.
struct Simulated {
    seed: u64,
    history: Vec<Entry>,
    verdict: Verdict,
    /// Virtual time.
    took: Duration,
}

/// Runs a seed and judges it.
fn simulate(seed: u64, defect: Option<Defect>) -> Simulated {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (history, took) = runtime.block_on(world::run(seed, defect));
    let verdict = check(&history);
    Simulated { seed, history, verdict, took }
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} ({} entries, {:?} of virtual time):", self.seed, self.history.len(), self.took)?;
        for finding in &self.verdict.findings {
            writeln!(f, "  {}: {}", finding.invariant, finding.text)?;
        }
        write!(f, "  again: make simulate SEED={} SEEDS=1", self.seed)
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Runs seeds from `first` on, on all cores, until `look` has seen enough.
fn run_seeds(first: u64, count: u64, defect: Option<Defect>, look: impl Fn(Simulated) -> bool + Sync) {
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    if look(simulate(seed, defect)) {
                        next.store(first + count, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn every_seed_keeps_the_promises() {
    let (first, count) = (number("SEALPOST_SIMULATION_FIRST", 0), number("SEALPOST_SIMULATION_SEEDS", 500));
    let failed = Mutex::new(Vec::new());
    let acknowledged = AtomicUsize::new(0);
    run_seeds(first, count, None, |simulated| {
        let sent = |entry: &&Entry| matches!(entry.what, What::Ok { answer: Answer::Sent { stored: true, .. }, .. });
        acknowledged.fetch_add(simulated.history.iter().filter(sent).count(), Ordering::Relaxed);
        if count == 1 {
            simulated.history.iter().for_each(|entry| println!("{}", serde_json::to_string(entry).unwrap()));
        }
        if !simulated.verdict.holds() {
            println!("{simulated}");
            failed.lock().unwrap().push(simulated.seed);
        }
        false
    });
    // A world in which every send is refused keeps all promises.
    let acknowledged = acknowledged.into_inner();
    assert!(
        acknowledged as u64 >= 5 * count,
        "{acknowledged} messages were stored in {count} worlds: too few to show anything"
    );
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {count} seeds broke a promise: {failed:?}", failed.len());
}

#[test]
fn a_seed_runs_again_as_it_was() {
    for seed in 0..20 {
        let text = |simulated: Simulated| {
            simulated.history.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect::<Vec<_>>()
        };
        let (one, other) = (text(simulate(seed, None)), text(simulate(seed, None)));
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert!(differs.is_none() && one.len() == other.len(), "seed {seed}: {differs:?}");
    }
}

/// The first seed that finds the defect, and what it says.
#[track_caller]
fn is_found(defect: Defect, by: &[Invariant]) {
    let found = Mutex::new(None);
    run_seeds(0, number("SEALPOST_SIMULATION_SEEDS", 500), Some(defect), |simulated| {
        let is_found = by.iter().any(|invariant| simulated.verdict.breaks(*invariant));
        if is_found {
            found.lock().unwrap().replace(simulated.to_string());
        }
        is_found
    });
    let found = found.into_inner().unwrap();
    println!("{}", found.unwrap_or_else(|| panic!("no seed finds {defect:?}")));
}

#[test]
fn a_worker_that_acks_before_it_commits_is_found() {
    is_found(Defect::AckBeforeCommit, &[Invariant::I1, Invariant::I11]);
}

#[test]
fn a_lane_that_takes_silence_for_a_refusal_is_found() {
    is_found(Defect::SilenceIsRefusal, &[Invariant::I2, Invariant::I3]);
}

#[test]
fn a_log_that_appends_without_comparing_is_found() {
    is_found(Defect::NoCompare, &[Invariant::I1, Invariant::I2, Invariant::I4, Invariant::I11]);
}

#[test]
fn a_store_without_its_unique_index_is_found() {
    is_found(Defect::NoUniqueIndex, &[Invariant::I2]);
}

#[test]
fn a_store_that_loses_a_commit_is_found() {
    is_found(Defect::LostCommit, &[Invariant::I1, Invariant::I4]);
}
