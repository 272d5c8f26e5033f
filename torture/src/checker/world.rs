//! I10, I11, I12: what the servers left behind.

use super::digest::SlowReaders;
use super::{Digest, Invariant, Verdict};
use crate::history::Resources;

/// Growth that is no finding, beside a tenth: what allocators and caches take in a short run, in KiB.
const RESIDENT_SLACK: u64 = 64 * 1024;
/// Connections of pools that are open or not at the moment of counting.
const HANDLES_SLACK: u64 = 24;

/// Requests and devices that come back at the moment of counting, a few tasks each.
const TASKS_SLACK: u64 = 24;
/// The same devices may be on both gateways, or all on one: six conversations.
const SUBSCRIPTIONS_SLACK: u64 = 6;
/// The close code for a client that is too slow.
const SLOW_CONSUMER: u16 = 4008;
/// Long messages (15 kB) that fill any queue.
const ENOUGH: u32 = 120;
/// If it takes longer than this, in milliseconds, they may have been closed because they answer no pings.
const IN_TIME: u64 = 4000;
/// What one of them may cost, in KiB.
const SLOW_READER: u64 = 1024;
/// Close codes that have other reasons: the process stops, nothing was heard, the store is away.
const GOING_AWAY: u16 = 1001;
const HEARTBEAT: u16 = 4000;
const TRY_LATER: u16 = 1013;

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    if let Some((places, hits)) = &digest.secrecy {
        verdict.looked_at("places searched for plaintext", *places);
        for hit in hits {
            verdict.add(Invariant::I10, format!("plaintext in {hit}"));
        }
    }
    if let Some(settled) = &digest.settled {
        if settled.after_ms.is_none() {
            verdict.add(Invariant::I11, format!("something was left to do: {settled:?}"));
        }
        // The alarm is right when two events claim one number; what it is about is checked by I1.
        let clashes = if digest.forgets_from.is_some() { settled.clashes } else { 0 };
        verdict.excused += clashes;
        if settled.dead_letters - clashes != settled.expected_dead_letters {
            let (is, due) = (settled.dead_letters, settled.expected_dead_letters);
            verdict.add(Invariant::I11, format!("{is} dead letters, and {due} were made"));
        }
    }
    for (process, status) in &digest.died {
        verdict.add(Invariant::I11, format!("{process} ended by itself: {status}"));
    }
    for readers in &digest.slow_readers {
        slow(readers, verdict);
    }
    for resources in &digest.resources {
        verdict.looked_at("processes measured", 1);
        grown(resources, verdict);
    }
}

fn slow(SlowReaders { codes, grown_kib, said, took_ms }: &SlowReaders, verdict: &mut Verdict) {
    let filled = *said >= ENOUGH;
    for code in codes {
        let (what, wrong) = match code {
            Some(SLOW_CONSUMER) => ("slow readers closed with 4008", None),
            // Cut without a word: other faults do that, too.
            None | Some(GOING_AWAY | HEARTBEAT | TRY_LATER) => ("slow readers ended otherwise", None),
            Some(0) => ("slow readers that stayed", filled.then(|| "was not closed".to_owned())),
            Some(code) => ("slow readers ended otherwise", Some(format!("was closed with {code}"))),
        };
        verdict.looked_at(what, 1);
        if let Some(wrong) = wrong {
            verdict.add(Invariant::I12, format!("a connection that does not read {wrong}"));
        }
    }
    let all = codes.len() as u64;
    if filled && *took_ms < IN_TIME && all > 0 && !codes.contains(&Some(SLOW_CONSUMER)) {
        verdict.add(Invariant::I12, format!("of {all} connections that do not read none was closed with 4008"));
    }
    if *grown_kib > all * SLOW_READER {
        verdict.add(Invariant::I12, format!("{all} connections that do not read cost {grown_kib} KiB"));
    }
}

fn grown(Resources { process, before, after }: &Resources, verdict: &mut Verdict) {
    let mut hold = |what: &str, before: u64, after: u64, slack: u64| {
        if after > before + before / 10 + slack {
            verdict.add(Invariant::I12, format!("{what} of {process} went from {before} to {after}"));
        }
    };
    hold("resident memory (KiB)", before.resident_kib, after.resident_kib, RESIDENT_SLACK);
    hold("file handles", before.handles, after.handles, HANDLES_SLACK);
    hold("threads", before.threads, after.threads, 2);
    hold("tasks", before.tasks, after.tasks, TASKS_SLACK);
    hold("subscriptions", before.subscriptions, after.subscriptions, SUBSCRIPTIONS_SLACK);
}
