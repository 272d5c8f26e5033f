//! I4 and I7 in pages of history: each is a contiguous part of the order, holds what its reader had acknowledged, and none goes back.

use std::collections::{BTreeMap, HashMap};

use super::changes::{Edits, edits};
use super::digest::Page;
use super::{Digest, Invariant, Verdict};
use crate::history::{Body, Number, Seen};

/// Per user and conversation: when it was acknowledged, and the highest seq acknowledged by then.
type Acknowledged = HashMap<(Number, Number), Vec<(u64, u64)>>;

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    let acknowledged = acknowledged(digest);
    let mut newest: HashMap<(Number, Number), u64> = HashMap::new();
    let messages: BTreeMap<Number, Vec<&Seen>> = digest.finals.keys().map(|&id| (id, messages(digest, id))).collect();
    let edits = edits(digest);
    for page in &digest.pages {
        verdict.looked_at("pages of history", 1);
        if let Some(all) = messages.get(&page.conversation) {
            is_a_slice(digest, &edits, page, all, verdict);
        }
        let last = page.messages.last().map_or(0, |seen| seen.seq);
        let own = acknowledged.get(&(page.user, page.conversation)).map_or(0, |list| {
            let known = list.partition_point(|(at, _)| *at < page.from);
            known.checked_sub(1).map_or(0, |index| list[index].1)
        });
        let to_the_end = page.after.is_none() || page.complete;
        if to_the_end && own > last && page.after.is_none_or(|after| own > after) {
            let text = format!(
                "user {} read conversation {} up to {last} after {own} was acknowledged",
                page.user, page.conversation
            );
            verdict.add(Invariant::I7, text);
        }
        if page.after.is_none() {
            let before = newest.insert((page.device, page.conversation), last);
            if before.is_some_and(|before| before > last) && digest.forgets_from.is_none() {
                let text = format!(
                    "device {} read conversation {} up to {before:?} and then up to {last}",
                    page.device, page.conversation
                );
                verdict.add(Invariant::I7, text);
            }
        }
    }
}

fn acknowledged(digest: &Digest) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    for send in &digest.sends {
        for sent in send.answers.iter().filter(|sent| sent.stored || digest.forgets_from.is_none()) {
            acknowledged.entry((send.user, send.conversation)).or_default().push((sent.at, sent.seq));
        }
    }
    for list in acknowledged.values_mut() {
        list.sort_unstable();
        let mut highest = 0;
        for (_, seq) in list {
            highest = highest.max(*seq);
            *seq = highest;
        }
    }
    acknowledged
}

fn messages(digest: &Digest, conversation: Number) -> Vec<&Seen> {
    let order = digest.order(conversation).iter();
    order.filter(|seen| matches!(seen.body, Body::Message { .. })).collect()
}

fn is_a_slice(digest: &Digest, edits: &Edits, page: &Page, all: &[&Seen], verdict: &mut Verdict) {
    let Some(first) = page.messages.first().map(|seen| page.after.map_or(seen.seq, |after| after + 1)) else { return };
    let start = all.partition_point(|seen| seen.seq < first);
    let expected = all[start..].iter();
    for (seen, there) in page.messages.iter().zip(expected.map(Some).chain(std::iter::repeat(None))) {
        let same = there.is_some_and(|there| is_same(digest, edits, seen, there));
        if same {
            continue;
        }
        if digest.may_be_forgotten(seen) {
            verdict.excused += 1;
        } else {
            let text = format!("a page of user {} has {seen:?} where the history has {there:?}", page.user);
            verdict.add(Invariant::I4, text);
        }
        return;
    }
}

/// The same message, with its first text or one that an edit gave it.
fn is_same(digest: &Digest, edits: &Edits, seen: &Seen, there: &Seen) -> bool {
    let (Body::Message { id, text, .. }, Body::Message { id: other, text: other_text, .. }) = (&seen.body, &there.body)
    else {
        return false;
    };
    seen.seq == there.seq
        && id == other
        && (text == other_text
            || digest.may_be_deleted(seen.conversation, seen.seq, *id)
            || edits.get(id).is_some_and(|edits| edits.iter().any(|(_, edit)| Some(*edit) == text.as_deref())))
}
