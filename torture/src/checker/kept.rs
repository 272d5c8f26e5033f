//! I1, I2, I3: what was acknowledged is there, once, and nothing else is.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Digest, Invariant, Verdict};
use crate::history::Body;

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    let mut places: HashMap<(u32, &str), (u32, u64)> = HashMap::new();
    let mut ids = HashSet::new();
    for &conversation in digest.finals.keys() {
        for seen in digest.order(conversation) {
            let Body::Message { id, sender, name, text } = &seen.body else { continue };
            verdict.looked_at("messages in the histories", 1);
            let place = (conversation, seen.seq);
            if let Some(other) = places.insert((*sender, name), place) {
                verdict.add(Invariant::I2, format!("{name} of user {sender} is at {other:?} and at {place:?}"));
            }
            if !ids.insert(*id) {
                verdict.add(Invariant::I2, format!("message id {id} is there twice, once at {place:?}"));
            }
            origin(digest, place, *id, (*sender, name, text.as_deref()), verdict);
        }
    }
    acknowledged(digest, &places, verdict);
}

/// It was sent, there and so.
fn origin(
    digest: &Digest,
    (conversation, seq): (u32, u64),
    id: Uuid,
    (sender, name, text): (u32, &str, Option<&str>),
    verdict: &mut Verdict,
) {
    let Some(send) = digest.by_name.get(&(sender, name.to_owned())).map(|index| &digest.sends[*index]) else {
        return verdict.add(Invariant::I3, format!("{name} of user {sender} at {seq} was never sent"));
    };
    if send.conversation != conversation {
        verdict.add(Invariant::I3, format!("{name} was sent to {} and is in {conversation}", send.conversation));
    }
    if send.failed && send.answers.is_empty() && send.attempts == 1 {
        let reasons = send.problems.join(", ");
        verdict.add(
            Invariant::I3,
            format!("the server said that nothing was taken of {name} ({reasons}), and it is at {seq}"),
        );
    }
    match text {
        Some(text) if text != send.text => {
            verdict.add(Invariant::I3, format!("{name} at {seq} says {text:?} and was sent as {:?}", send.text));
        }
        None if !digest.may_be_deleted(conversation, seq, id) => {
            verdict.add(Invariant::I3, format!("{name} at {seq} has no text, and nobody deleted it"));
        }
        _ => {}
    }
}

fn acknowledged(digest: &Digest, places: &HashMap<(u32, &str), (u32, u64)>, verdict: &mut Verdict) {
    for send in &digest.sends {
        let there = places.get(&(send.user, send.name.as_str())).map(|(_, seq)| *seq);
        for sent in &send.answers {
            verdict.looked_at(if sent.stored { "acks that said stored" } else { "acks that said accepted" }, 1);
            let id_there = digest.at(send.conversation, sent.seq).and_then(|seen| match &seen.body {
                Body::Message { id, .. } => Some(*id),
                _ => None,
            });
            if there == Some(sent.seq) && id_there == Some(sent.id) {
                continue;
            }
            let level = if sent.stored { "stored" } else { "accepted" };
            if !sent.stored && digest.forgets_from.is_some() {
                verdict.excused += 1;
                if there.is_some() {
                    continue;
                }
                // The client sends it again until it is stored; only one that never was may be missing.
                if send.stored().is_none() {
                    continue;
                }
            }
            let what = match there {
                None => format!("is lost ({})", part(digest, send.conversation, sent.seq)),
                Some(seq) => format!("is at {seq} as {id_there:?}"),
            };
            let text = format!("{} was acknowledged as {level} at {} as {} and {what}", send.name, sent.seq, sent.id);
            verdict.add(Invariant::I1, text);
        }
        if let Some(problem) = send.problems.iter().find(|problem| problem.contains("client-message-id-reused")) {
            verdict.add(Invariant::I2, format!("{} was taken for another message: {problem}", send.name));
        }
        if let Some(other) = other_answer(send, digest.forgets_from.is_some()) {
            verdict.add(Invariant::I2, format!("{} was acknowledged in two ways: {other}", send.name));
        }
    }
}

/// Where in the history a lost one stood: at its beginning, in its middle or at its end.
fn part(digest: &Digest, conversation: u32, seq: u64) -> &'static str {
    let length = digest.order(conversation).len() as u64;
    if seq > length {
        "at the end"
    } else if seq <= length / 10 {
        "at the beginning"
    } else {
        "in the middle"
    }
}

/// Two answers that do not agree; those that only said `accepted` may be corrected if the log forgets.
fn other_answer(send: &super::digest::Send, forgets: bool) -> Option<String> {
    let binding = || send.answers.iter().filter(|sent| sent.stored || !forgets);
    let first = binding().next()?;
    let other = binding().find(|sent| (sent.id, sent.seq) != (first.id, first.seq))?;
    Some(format!("{} at {} and {} at {}", first.id, first.seq, other.id, other.seq))
}
