//! What many runs came to, for the figures that are printed elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::recoveries;
use crate::run::Outcome;

/// Sums over runs; each run itself is judged and forgotten.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Total {
    pub runs: u64,
    /// Runs in which a promise was broken, as `stack seed`.
    pub broken: Vec<String>,
    pub kills: u64,
    /// Messages acknowledged as stored.
    pub stored: u64,
    pub events_received: u64,
    /// By kind: how often, and the worst, in milliseconds.
    pub recovery: BTreeMap<String, (u64, u64)>,
}

impl Total {
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.kills += outcome.kills;
        self.stored += outcome.stored();
        self.events_received += outcome.verdict.checked.get("events received").copied().unwrap_or(0);
        if !outcome.verdict.holds() {
            self.broken.push(outcome.request.name());
        }
        for (kind, recovery) in recoveries(&outcome.history) {
            let (times, worst) = self.recovery.entry(kind).or_default();
            *times += recovery.times;
            *worst = (*worst).max(recovery.worst);
        }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, broken, kills, stored, events_received, recovery } = self;
        writeln!(
            f,
            "{runs} runs: {stored} messages acknowledged as stored, {events_received} events received, {kills} kills"
        )?;
        for (kind, (times, worst)) in recovery {
            writeln!(f, "  recovery, {kind}: {times} x, {worst} ms at worst")?;
        }
        match broken.as_slice() {
            [] => writeln!(f, "  every promise held in every run"),
            broken => writeln!(f, "  promises were broken in: {}", broken.join(", ")),
        }
    }
}
