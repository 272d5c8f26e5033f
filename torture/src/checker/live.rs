//! I4 and I6 on connections: each device gets each event of its conversations exactly once and in order, as the history has it, over
//! all its reconnects.

use std::collections::{HashMap, HashSet};

use super::digest::Arrival;
use super::{Digest, Invariant, Verdict};
use crate::history::{Body, Number, Seen};

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    for (&device, arrivals) in &digest.arrivals {
        let user = digest.device_user.get(&device).copied().unwrap_or(Number::MAX);
        let mut cursors: HashMap<Number, u64> = HashMap::new();
        // What the device still shows of what the log forgot.
        let mut stale: HashSet<(Number, u64)> = HashSet::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Skipped { conversation, from, to } => {
                    let seen = cursors.entry(*conversation).or_default();
                    if *from != *seen + 1 {
                        verdict.add(Invariant::I6, format!("device {device}: a gap frame from {from} after {seen}"));
                    }
                    *seen = *to;
                }
                Arrival::Rewound { conversation, after } => {
                    if digest.forgets_from.is_none() {
                        let text = format!(
                            "device {device}, conversation {conversation}: taken back to {after}, and no log forgot anything"
                        );
                        verdict.add(Invariant::I6, text);
                    }
                    verdict.looked_at("conversations taken back", 1);
                    cursors.insert(*conversation, *after);
                    stale.retain(|(other, seq)| other != conversation || seq <= after);
                }
                Arrival::Event { event, .. } => {
                    verdict.looked_at("events received", 1);
                    if !next_event(digest, (device, user), event, &mut cursors, verdict) {
                        verdict.excused += 1;
                        stale.insert((event.conversation, event.seq));
                    }
                }
            }
        }
        verdict.looked_at("events shown, lost and never taken back", stale.len() as u64);
        reached_the_end(digest, (device, user), &cursors, verdict);
    }
}

/// False: the log may have forgotten it since.
fn next_event(
    digest: &Digest,
    (device, user): (Number, Number),
    event: &Seen,
    cursors: &mut HashMap<Number, u64>,
    verdict: &mut Verdict,
) -> bool {
    let (conversation, seq) = (event.conversation, event.seq);
    let before = cursors.get(&conversation).copied();
    let follows = match before {
        // Its first one: from the start, or from the event that added it.
        None => seq == 1 || matches!(event.body, Body::Added { user: added } if added == user),
        Some(before) => seq == before + 1 || comes_back(digest, conversation, user, before, event),
    };
    cursors.insert(conversation, before.unwrap_or(0).max(seq));
    if !follows {
        let before = before.unwrap_or(0);
        let what = if seq <= before { "again or late" } else { "and what is between is missing" };
        let text = format!("device {device}, conversation {conversation}: after {before} came {seq}, {what}");
        verdict.add(Invariant::I6, text);
    }
    let there = digest.at(conversation, seq);
    if there.is_some_and(|there| agrees(digest, event, there)) || !digest.finals.contains_key(&conversation) {
        return true;
    }
    if digest.may_be_forgotten(event) {
        return false;
    }
    verdict.add(Invariant::I4, format!("device {device} saw {event:?} where the history has {there:?}"));
    true
}

/// Added again with this event, and removed since what the device has. It may not have been connected when that was, and then nobody
/// tells it of a conversation that is not its own any more.
fn comes_back(digest: &Digest, conversation: Number, user: Number, before: u64, event: &Seen) -> bool {
    let is_own = |seen: &Seen| matches!(seen.body, Body::Removed { user: removed } if removed == user);
    event.seq > before
        && matches!(event.body, Body::Added { user: added } if added == user)
        && (before..event.seq).rev().filter_map(|seq| digest.at(conversation, seq)).any(is_own)
}

/// The same event; its text may have been deleted since, or before.
fn agrees(digest: &Digest, seen: &Seen, there: &Seen) -> bool {
    match (&seen.body, &there.body) {
        (
            Body::Message { id, sender, name, text },
            Body::Message { id: other_id, sender: other_sender, name: other_name, text: other_text },
        ) => {
            let same_text = text == other_text
                || ((text.is_none() || other_text.is_none())
                    && digest.may_be_deleted(seen.conversation, seen.seq, *id));
            (id, sender, name) == (other_id, other_sender, other_name) && same_text
        }
        // The store found a repeat that nobody else could see: live readers saw a message there.
        (Body::Message { name, sender, .. }, Body::Void) => digest.by_name.contains_key(&(*sender, name.clone())),
        // What an edit or a reaction says goes with its message.
        (
            Body::Edited { message, sender, text },
            Body::Edited { message: other, sender: other_sender, text: other_text },
        ) => {
            (message, sender) == (other, other_sender)
                && (text == other_text
                    || (text.is_none() || other_text.is_none()) && digest.deletions.contains(message))
        }
        (
            Body::Reacted { message, sender, emoji, added },
            Body::Reacted { message: other, sender: other_sender, emoji: other_emoji, added: other_added },
        ) => {
            (message, sender, added) == (other, other_sender, other_added)
                && (emoji == other_emoji
                    || (emoji.is_none() || other_emoji.is_none()) && digest.deletions.contains(message))
        }
        (one, other) => one == other,
    }
}

fn is_member_at_the_end(digest: &Digest, conversation: Number, user: Number) -> bool {
    let last = digest.order(conversation).iter().rev().find_map(|seen| match seen.body {
        Body::Added { user: who } if who == user => Some(true),
        Body::Removed { user: who } if who == user => Some(false),
        _ => None,
    });
    last.unwrap_or_else(|| digest.members.get(&conversation).is_some_and(|members| members.contains(&user)))
}

/// Who is a member at the end has all of it.
fn reached_the_end(
    digest: &Digest,
    (device, user): (Number, Number),
    cursors: &HashMap<Number, u64>,
    verdict: &mut Verdict,
) {
    if !digest.caught_up.contains(&device) {
        return;
    }
    for conversation in digest.finals.keys() {
        if !is_member_at_the_end(digest, *conversation, user) {
            continue;
        }
        let (seen, end) = (cursors.get(conversation).copied().unwrap_or(0), digest.order(*conversation).len() as u64);
        if seen < end {
            let text = format!("device {device}, conversation {conversation}: the end is {end}, and it has {seen}");
            verdict.add(Invariant::I6, text);
        }
    }
}
