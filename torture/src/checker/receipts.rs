//! I8: watermarks only rise, never run ahead of what their user said, and none that was confirmed is forgotten.
//!
//! A frame may come late, and then it says nothing new (`docs/protocol.md`). What is read over REST is the state, and that must not fall,
//! whoever reads it and wherever. Watermarks of somebody who came and went are not looked at: they begin anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::digest::{Claim, Shown};
use super::{Digest, Invariant, Verdict};
use crate::history::Number;

/// Whose watermark, and where.
type Key = (Number, Number);

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    let came_and_went: HashSet<Key> = digest.changes.iter().map(|change| (change.user, change.conversation)).collect();
    let mut claims: HashMap<Key, Vec<&Claim>> = HashMap::new();
    for claim in &digest.claims {
        claims.entry((claim.user, claim.conversation)).or_default().push(claim);
    }
    let mut shown: BTreeMap<Key, Vec<&Shown>> = BTreeMap::new();
    for one in &digest.shown {
        shown.entry((one.mark.user, one.conversation)).or_default().push(one);
    }
    for (key, shown) in shown.iter().filter(|(key, _)| !came_and_went.contains(key)) {
        verdict.looked_at("watermarks shown", shown.len() as u64);
        let claims = claims.get(key).map_or(&[][..], Vec::as_slice);
        for one in shown {
            possible(digest, *key, one, verdict);
        }
        not_ahead(*key, claims, shown, verdict);
        not_falling(*key, claims, shown, verdict);
    }
}

fn possible(digest: &Digest, (user, conversation): Key, one: &Shown, verdict: &mut Verdict) {
    let mark = one.mark;
    if mark.read.is_some_and(|read| read > mark.delivered) {
        verdict.add(Invariant::I8, format!("user {user} of {conversation} read what was not delivered: {mark:?}"));
    }
    let end = digest.order(conversation).len() as u64;
    if digest.finals.contains_key(&conversation) && mark.delivered > end && digest.forgets_from.is_none() {
        verdict.add(Invariant::I8, format!("user {user} of {conversation} is beyond its end, {end}: {mark:?}"));
    }
}

/// Nothing is shown that none of the user's devices had said by then.
fn not_ahead((user, conversation): Key, claims: &[&Claim], shown: &[&Shown], verdict: &mut Verdict) {
    // Both are in the order of their times.
    let mut claims = claims.iter().peekable();
    let (mut read, mut delivered) = (0, 0);
    for one in shown {
        while let Some(claim) = claims.next_if(|claim| claim.at <= one.at) {
            delivered = delivered.max(claim.seq);
            read = if claim.read { read.max(claim.seq) } else { read };
        }
        if one.mark.delivered > delivered || one.mark.read.is_some_and(|shown| shown > read) {
            let text = format!(
                "user {user} of {conversation} is shown as {:?} at {}, and had said {read} read, {delivered} delivered",
                one.mark, one.at
            );
            verdict.add(Invariant::I8, text);
        }
    }
}

/// What was shown or confirmed before a reading began is in that reading.
fn not_falling((user, conversation): Key, claims: &[&Claim], shown: &[&Shown], verdict: &mut Verdict) {
    let mut known: Vec<(u64, u64, u64)> = Vec::new();
    let mut readings: Vec<(u64, &Shown)> = Vec::new();
    for one in shown {
        if let Some(asked) = one.asked {
            readings.push((asked, one));
            known.push((one.at, one.mark.read.unwrap_or(0), one.mark.delivered));
        }
    }
    known.extend(claims.iter().filter_map(|claim| Some((claim.confirmed?, claim.seq, claim.seq))));
    known.sort_unstable();
    readings.sort_by_key(|(asked, _)| *asked);
    let mut known = known.into_iter().peekable();
    let (mut read, mut delivered) = (0, 0);
    for (asked, one) in readings {
        while let Some((_, more_read, more_delivered)) = known.next_if(|(at, ..)| *at < asked) {
            (read, delivered) = (read.max(more_read), delivered.max(more_delivered));
        }
        if one.mark.delivered < delivered || one.mark.read.is_some_and(|shown| shown < read) {
            let text = format!(
                "user {user} of {conversation} was at {read} read, {delivered} delivered, and then at {:?} at {}",
                one.mark, one.at
            );
            verdict.add(Invariant::I8, text);
        }
    }
}
