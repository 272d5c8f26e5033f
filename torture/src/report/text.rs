//! The report for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Recovery;
use crate::checker::Invariant;
use crate::history::What;
use crate::nemesis::Fault;
use crate::run::Outcome;

/// The words of the figures and their limits, in milliseconds.
const LIMITS: [(&str, u64); 7] = [
    ("leader lost", 10_000),
    ("worker killed", 3_000),
    ("gateway killed", 5_000),
    ("embedded killed", 5_000),
    ("NATS killed", 5_000),
    ("Postgres: crash", 8_000),
    ("Postgres: stop", 8_000),
];

pub fn render(outcome: &Outcome, recoveries: &BTreeMap<String, Recovery>) -> String {
    let (request, verdict) = (&outcome.request, &outcome.verdict);
    let mut text = String::new();
    let line = &mut text;
    let _ = writeln!(
        line,
        "sealpost-torture: {:?} stack, seed {}, {} s",
        request.form,
        request.seed,
        request.duration.as_secs()
    );
    let count = |what: &str| verdict.checked.get(what).copied().unwrap_or(0);
    let (mut unknown, mut refused) = (0u64, 0u64);
    for entry in &outcome.history {
        match &entry.what {
            What::Info { .. } => unknown += 1,
            What::Fail { .. } => refused += 1,
            _ => {}
        }
    }
    let _ = writeln!(
        line,
        "  {} messages acknowledged as stored, {} in the histories",
        outcome.stored(),
        count("messages in the histories")
    );
    let _ = writeln!(
        line,
        "  {} events received, {} pages read, {} sessions ended",
        count("events received"),
        count("pages of history"),
        count("sessions ended")
    );
    let _ = writeln!(
        line,
        "  {} changes of messages confirmed, {} watermarks shown, {} slow readers closed with 4008",
        count("changes of messages confirmed"),
        count("watermarks shown"),
        count("slow readers closed with 4008")
    );
    let _ = writeln!(
        line,
        "  {unknown} outcomes unknown at the end, {refused} operations refused for certain, {} excused by a log that forgot",
        verdict.excused
    );
    let _ = writeln!(
        line,
        "  {} conversations taken back on devices; {} events shown, lost and never taken back",
        count("conversations taken back"),
        count("events shown, lost and never taken back")
    );
    let _ = writeln!(line, "  {} processes killed; faults: {}", outcome.kills, names(&outcome.schedule.faults()));
    for skipped in &outcome.skipped {
        let _ = writeln!(line, "  left out {}: {}", skipped.fault, skipped.why);
    }
    let _ = writeln!(line, "recovery, from the end of the fault to the first message stored (times, median, worst):");
    for (kind, recovery) in recoveries {
        let limit = LIMITS.iter().find(|(name, _)| name == kind).map(|(_, limit)| *limit);
        let says = match limit {
            Some(limit) if recovery.worst > limit => format!(", above {limit} ms"),
            Some(limit) => format!(", at most {limit} ms wanted"),
            None => String::new(),
        };
        let _ = writeln!(line, "  {kind}: {} x, {} ms, {} ms{says}", recovery.times, recovery.median, recovery.worst);
    }
    let _ = writeln!(line, "promises:");
    for invariant in Invariant::ALL {
        let state = verdict.counts.get(&invariant).map_or("holds".to_owned(), |count| format!("BROKEN, {count} times"));
        let _ = writeln!(line, "  {invariant} {}: {state}", invariant.title());
    }
    for finding in &verdict.findings {
        let _ = writeln!(line, "    {}: {}", finding.invariant, finding.text);
    }
    text
}

fn names(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{} ({})", fault.name(), fault.title())).collect::<Vec<_>>().join(", ")
}
