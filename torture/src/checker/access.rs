//! I9: who was removed gets, reads and sends nothing, and an ended session gets nothing.

use std::collections::{BTreeMap, HashMap};

use super::digest::Arrival;
use super::{Digest, Invariant, Verdict};
use crate::history::{Body, Number, Seen};

/// A session's end reaches every gateway within this, in microseconds without a fault.
const REVOKED: u64 = 1_000_000;

/// Spans of seqs in which somebody was away: after the removal, before the next addition (or the end).
type Away = HashMap<(Number, Number), Vec<(u64, u64)>>;

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    let away = away(digest);
    sent_while_away(digest, &away, verdict);
    for (&device, arrivals) in &digest.arrivals {
        let Some(&user) = digest.device_user.get(&device) else { continue };
        for arrival in arrivals {
            let Arrival::Event { at, event, .. } = arrival else { continue };
            received_while_away(digest, (device, user), *at, event, &away, verdict);
        }
    }
    read_while_away(digest, verdict);
    after_sign_out(digest, verdict);
}

fn away(digest: &Digest) -> Away {
    let mut away = Away::new();
    for &conversation in digest.finals.keys() {
        let mut since: BTreeMap<Number, u64> = BTreeMap::new();
        for seen in digest.order(conversation) {
            match seen.body {
                Body::Removed { user } => _ = since.insert(user, seen.seq),
                Body::Added { user } => {
                    if let Some(from) = since.remove(&user) {
                        away.entry((conversation, user)).or_default().push((from, seen.seq));
                    }
                }
                _ => {}
            }
        }
        for (user, from) in since {
            away.entry((conversation, user)).or_default().push((from, u64::MAX));
        }
    }
    away
}

fn span(away: &Away, conversation: Number, user: Number, seq: u64) -> Option<(u64, u64)> {
    let spans = away.get(&(conversation, user))?;
    spans.iter().copied().find(|(from, to)| *from < seq && seq < *to)
}

fn sent_while_away(digest: &Digest, away: &Away, verdict: &mut Verdict) {
    for &conversation in digest.finals.keys() {
        for seen in digest.order(conversation) {
            let Body::Message { sender, name, .. } = &seen.body else { continue };
            if let Some((from, _)) = span(away, conversation, *sender, seen.seq) {
                let text = format!("{name} of user {sender} is at {}, and they were removed at {from}", seen.seq);
                verdict.add(Invariant::I9, text);
            }
        }
    }
}

/// Members may read everything, so what was said while one was away may be seen after one is back, and not before.
fn received_while_away(
    digest: &Digest,
    (device, user): (Number, Number),
    at: u64,
    event: &Seen,
    away: &Away,
    verdict: &mut Verdict,
) {
    let Some((from, to)) = span(away, event.conversation, user, event.seq) else { return };
    let back = digest.changes.iter().any(|change| {
        change.added && change.user == user && change.conversation == event.conversation && change.invoked <= at
    });
    // Only an addition that follows this removal excuses it: it must have been asked for after the removal was.
    let excused = to != u64::MAX && back && added_since(digest, event.conversation, user, at, from);
    if !excused && !digest.may_be_forgotten(event) {
        let text = format!("device {device} of user {user} got {event:?}, and they were removed at {from}");
        verdict.add(Invariant::I9, text);
    }
}

/// Whether an addition was asked for between the `n`th removal, which has seq `removed`, and `at`.
fn added_since(digest: &Digest, conversation: Number, user: Number, at: u64, removed: u64) -> bool {
    let is_own = |seen: &&Seen, added: bool| match seen.body {
        Body::Removed { user: who } => who == user && !added,
        Body::Added { user: who } => who == user && added,
        _ => false,
    };
    let order = digest.order(conversation);
    let nth = order.iter().take_while(|seen| seen.seq <= removed).filter(|seen| is_own(seen, false)).count();
    let mut removals = digest.changes.iter().filter(|change| {
        change.conversation == conversation && change.user == user && !change.added && change.invoked != u64::MAX
    });
    let Some(removal) = nth.checked_sub(1).and_then(|index| removals.nth(index)) else { return true };
    digest.changes.iter().any(|change| {
        change.conversation == conversation
            && change.user == user
            && change.added
            && change.invoked > removal.invoked
            && change.invoked <= at
    })
}

/// A page that was asked for after the removal was confirmed, and came before anybody asked for the return.
fn read_while_away(digest: &Digest, verdict: &mut Verdict) {
    for page in &digest.pages {
        let own = |change: &&super::digest::Change| {
            change.conversation == page.conversation && change.user == page.user && change.invoked != u64::MAX
        };
        let removed = digest.changes.iter().filter(own).filter(|change| !change.added);
        let removed = removed.filter_map(|change| change.done).filter(|done| *done < page.from).max();
        let Some(removed) = removed else { continue };
        let mut additions = digest.changes.iter().filter(own).filter(|change| change.added);
        // Asked for after the last removal was, or still on its way then.
        let back = additions.any(|change| change.invoked <= page.to && change.done.is_none_or(|done| done > removed));
        if !back {
            let text = format!("user {} read conversation {} after they were removed", page.user, page.conversation);
            verdict.add(Invariant::I9, text);
        }
    }
}

/// Events that were sent a second after the session's end was confirmed must not come over its connections.
fn after_sign_out(digest: &Digest, verdict: &mut Verdict) {
    for &(device, at) in &digest.sign_outs {
        let deadline = digest.undisturbed(at, REVOKED);
        let opened_again = digest.opens.get(&device).and_then(|opens| opens.iter().find(|open| **open > at)).copied();
        let until = opened_again.unwrap_or(u64::MAX);
        verdict.looked_at("sessions ended", 1);
        for arrival in digest.arrivals.get(&device).map_or(&[][..], Vec::as_slice) {
            let Arrival::Event { at: came, event, .. } = arrival else { continue };
            let Body::Message { sender, name, .. } = &event.body else { continue };
            if *came <= deadline || *came >= until {
                continue;
            }
            let sent = digest.by_name.get(&(*sender, name.clone())).map(|index| digest.sends[*index].first_at);
            if sent.is_some_and(|sent| sent > deadline) {
                let text = format!("device {device} got {name} although its session had ended at {at}");
                verdict.add(Invariant::I9, text);
            }
        }
    }
}
