//! I4 at rest, and I5: every reader has one gap-free order, and it agrees with real time.

use std::collections::{BTreeMap, HashMap};

use super::digest::{Change, Sent};
use super::{Digest, Invariant, Verdict};
use crate::history::{Body, Number, Seen};

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    for (&conversation, readings) in &digest.finals {
        let order = digest.order(conversation);
        for (seen, expected) in order.iter().zip(1u64..) {
            if seen.seq != expected {
                verdict.add(
                    Invariant::I4,
                    format!("conversation {conversation} has {} where {expected} is due", seen.seq),
                );
                break;
            }
        }
        for (gateway, user, events) in readings {
            verdict.looked_at("histories read at the end", 1);
            if let Some(text) = difference(order, events) {
                let who = format!("user {user} at gateway {gateway}");
                verdict.add(Invariant::I4, format!("conversation {conversation} is otherwise for {who}: {text}"));
            }
        }
    }
    real_time(digest, verdict);
    of_one_connection(digest, verdict);
    of_changes(digest, verdict);
}

fn difference(order: &[Seen], events: &[Seen]) -> Option<String> {
    if order.len() != events.len() {
        return Some(format!("{} events instead of {}", events.len(), order.len()));
    }
    let (one, other) = order.iter().zip(events).find(|(one, other)| one != other)?;
    Some(format!("{other:?} instead of {one:?}"))
}

/// Where each message of a conversation is at the end.
fn places(digest: &Digest, conversation: Number) -> impl Iterator<Item = (usize, u64)> + '_ {
    digest.order(conversation).iter().filter_map(|seen| {
        let Body::Message { sender, name, .. } = &seen.body else { return None };
        Some((*digest.by_name.get(&(*sender, name.clone()))?, seen.seq))
    })
}

/// What was acknowledged before another was first sent comes before it.
fn real_time(digest: &Digest, verdict: &mut Verdict) {
    for &conversation in digest.finals.keys() {
        let mut begun: Vec<(u64, u64, usize)> = Vec::new();
        let mut acknowledged: Vec<(u64, u64, usize)> = Vec::new();
        for (index, seq) in places(digest, conversation) {
            let send = &digest.sends[index];
            begun.push((send.first_at, seq, index));
            // An answer about another place is I1's business. What the log forgot after it was accepted may come back behind others.
            let stored = send.stored().map(|sent| sent.at);
            let binding = |sent: &&Sent| sent.seq == seq && (sent.stored || !digest.forgot(sent.at, stored));
            if let Some(sent) = send.answers.iter().find(binding) {
                acknowledged.push((sent.at, seq, index));
            }
        }
        begun.sort_unstable();
        acknowledged.sort_unstable();
        let mut before = acknowledged.into_iter().peekable();
        let mut highest: Option<(u64, usize)> = None;
        for (at, seq, index) in begun {
            while let Some((_, acked, other)) = before.next_if(|(acked_at, ..)| *acked_at < at) {
                highest = highest.max(Some((acked, other)));
            }
            verdict.looked_at("pairs in real-time order", 1);
            if let Some((acked, other)) = highest.filter(|(acked, _)| *acked > seq) {
                let (one, two) = (&digest.sends[other].name, &digest.sends[index].name);
                let text = format!("{one} was acknowledged at {acked} before {two} was sent, which is at {seq}");
                verdict.add(Invariant::I5, text);
            }
        }
    }
}

/// What one connection sent once and had acknowledged keeps its order.
fn of_one_connection(digest: &Digest, verdict: &mut Verdict) {
    let mut last: HashMap<(Number, Number, Number), (u64, &str)> = HashMap::new();
    for send in digest.sends.iter().filter(|send| send.attempts == 1 && send.connection != 0) {
        let Some(sent) = send.answers.first() else { continue };
        if !sent.stored && digest.forgets_from.is_some() {
            continue;
        }
        let before = last.insert((send.device, send.connection, send.conversation), (sent.seq, &send.name));
        if let Some((seq, name)) = before.filter(|(seq, _)| *seq > sent.seq) {
            let text = format!("{name} was sent before {} and is behind it: {seq} and {}", send.name, sent.seq);
            verdict.add(Invariant::I5, text);
        }
    }
}

/// Additions and removals of one person, asked for one after the other, are in the history in that order, and all that were confirmed.
fn of_changes(digest: &Digest, verdict: &mut Verdict) {
    let mut asked: BTreeMap<(Number, Number), Vec<&Change>> = BTreeMap::new();
    for change in digest.changes.iter().filter(|change| change.invoked != u64::MAX) {
        asked.entry((change.conversation, change.user)).or_default().push(change);
    }
    for ((conversation, user), asked) in asked {
        let overlap = asked.windows(2).any(|pair| pair[0].done.is_none_or(|done| done > pair[1].invoked));
        let order = digest.order(conversation).iter().filter_map(|seen| match seen.body {
            Body::Added { user: who } if who == user => Some(true),
            Body::Removed { user: who } if who == user => Some(false),
            _ => None,
        });
        let order: Vec<bool> = order.collect();
        verdict.looked_at("changes of participants", order.len() as u64);
        for (added, what) in [(true, "additions"), (false, "removals")] {
            let confirmed = asked.iter().filter(|change| change.added == added && change.done.is_some()).count();
            let there = order.iter().filter(|kind| **kind == added).count();
            if there < confirmed {
                let text =
                    format!("{confirmed} {what} of user {user} in {conversation} were confirmed, {there} are there");
                verdict.add(Invariant::I1, text);
            }
        }
        let mut rest = asked.iter();
        if !overlap && !order.iter().all(|kind| rest.any(|change| change.added == *kind)) {
            let kinds =
                |kinds: Vec<bool>| kinds.into_iter().map(|added| if added { '+' } else { '-' }).collect::<String>();
            let asked = kinds(asked.iter().map(|change| change.added).collect());
            let text =
                format!("user {user} of {conversation} came and went as {}, asked for was {asked}", kinds(order));
            verdict.add(Invariant::I5, text);
        }
    }
}
