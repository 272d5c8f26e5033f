//! I1, I2, I3 and I7 of edits, reactions and deletions: what was confirmed is there, once, nothing else is, and pages show it.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::digest::{Alteration, Altered, Answered};
use super::{Digest, Invariant, Verdict};
use crate::history::{Body, Number};

/// By message: the numbers of its edits and what they say, in order.
pub(super) type Edits<'a> = HashMap<Uuid, Vec<(u64, &'a str)>>;

pub(super) fn check(digest: &Digest, verdict: &mut Verdict) {
    let there = There::of(digest);
    nothing_else(digest, &there, verdict);
    for alteration in &digest.alterations {
        if let Some((at, answer)) = alteration.answer {
            verdict.looked_at("changes of messages confirmed", 1);
            confirmed(digest, &there, alteration, at, answer, verdict);
        }
    }
    shown(digest, &edits(digest), verdict);
}

pub(super) fn edits(digest: &Digest) -> Edits<'_> {
    let mut edits = Edits::new();
    for &conversation in digest.finals.keys() {
        for seen in digest.order(conversation) {
            if let Body::Edited { message, text: Some(text), .. } = &seen.body {
                edits.entry(*message).or_default().push((seen.seq, text));
            }
        }
    }
    edits
}

/// Who did what to which message; of a deleted one it is not known any more what was said.
type Deed<'a> = (Number, Uuid, Kind<'a>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind<'a> {
    Edit(Option<&'a str>),
    React(Option<&'a str>, bool),
    Delete,
}

impl Kind<'_> {
    fn of(what: &Altered) -> Kind<'_> {
        match what {
            Altered::Edit(text) => Kind::Edit(Some(text)),
            Altered::React(emoji, added) => Kind::React(Some(emoji), *added),
            Altered::Delete => Kind::Delete,
        }
    }

    fn without_content(self) -> Self {
        match self {
            Self::Edit(_) => Kind::Edit(None),
            Self::React(_, added) => Kind::React(None, added),
            Self::Delete => Kind::Delete,
        }
    }
}

/// What the histories have of changes, and which messages have no content any more.
struct There<'a> {
    deeds: HashMap<Deed<'a>, Vec<u64>>,
    deleted: HashSet<Uuid>,
    with_text: HashSet<Uuid>,
}

impl<'a> There<'a> {
    fn of(digest: &'a Digest) -> Self {
        let mut this = Self { deeds: HashMap::new(), deleted: HashSet::new(), with_text: HashSet::new() };
        for &conversation in digest.finals.keys() {
            for seen in digest.order(conversation) {
                let deed = match &seen.body {
                    Body::Edited { message, sender, text } => (*sender, *message, Kind::Edit(text.as_deref())),
                    Body::Reacted { message, sender, emoji, added } => {
                        (*sender, *message, Kind::React(emoji.as_deref(), *added))
                    }
                    Body::Deleted { message_seq } => {
                        if let Some(Body::Message { id, .. }) = digest.at(conversation, *message_seq).map(|it| &it.body)
                        {
                            this.deleted.insert(*id);
                        }
                        continue;
                    }
                    Body::Message { id, text: Some(_), .. } => {
                        this.with_text.insert(*id);
                        continue;
                    }
                    _ => continue,
                };
                this.deeds.entry(deed).or_default().push(seen.seq);
            }
        }
        this
    }
}

/// Each was asked for, and no request made two.
fn nothing_else(digest: &Digest, there: &There, verdict: &mut Verdict) {
    let mut asked: HashMap<Deed, (usize, bool)> = HashMap::new();
    for alteration in &digest.alterations {
        let kind = Kind::of(&alteration.what);
        let one = (alteration.user, alteration.message, kind);
        let any = (alteration.user, alteration.message, kind.without_content());
        for deed in [Some(one), (any != one).then_some(any)].into_iter().flatten() {
            let (times, possible) = asked.entry(deed).or_default();
            *times += 1;
            *possible |= !alteration.failed;
        }
    }
    for (deed, seqs) in &there.deeds {
        verdict.looked_at("changes of messages in the histories", seqs.len() as u64);
        let (user, message, _) = deed;
        let text = |what: &str| format!("a change of message {message} by user {user} at {seqs:?} {what}");
        match asked.get(deed) {
            None => verdict.add(Invariant::I3, text("was never asked for")),
            Some((_, false)) => {
                verdict.add(Invariant::I3, text("is there, and the server had said that nothing was taken"));
            }
            Some((times, true)) if seqs.len() > *times => {
                verdict.add(Invariant::I2, text(&format!("was asked for {times} times")));
            }
            Some(_) => {}
        }
    }
}

/// It is in the history, under its number if that was said.
fn confirmed(
    digest: &Digest,
    there: &There,
    alteration: &Alteration,
    at: u64,
    answer: Answered,
    verdict: &mut Verdict,
) {
    let Alteration { user, conversation, message, what, .. } = alteration;
    if !digest.finals.contains_key(conversation) {
        return;
    }
    if *what == Altered::Delete {
        let gone = there.deleted.contains(message) && !there.with_text.contains(message);
        if !gone && (answer.stored || !digest.forgot(at, None)) {
            let text = format!("the deletion of message {message} was confirmed at {at}, and it is not deleted");
            verdict.add(Invariant::I1, text);
        }
        return;
    }
    let kind = Kind::of(what);
    let numbers = |kind| there.deeds.get(&(*user, *message, kind)).map_or(&[][..], Vec::as_slice);
    let mut places = numbers(kind).iter();
    // Its content went with the message.
    let mut bare = numbers(kind.without_content()).iter();
    let is_there = match answer.seq.filter(|_| answer.changed) {
        Some(seq) => places.any(|place| *place == seq) || bare.any(|place| *place == seq),
        // What was so already was made so by somebody, perhaps before the run or by an event whose content is gone.
        None => !answer.changed || places.next().or(bare.next()).is_some(),
    };
    if is_there {
        return;
    }
    if !answer.stored && digest.forgot(at, None) {
        verdict.excused += 1;
        return;
    }
    let level = if answer.stored { "stored" } else { "accepted" };
    let text = format!(
        "{what:?} of message {message} by user {user} was confirmed as {level} at {:?} and is not there",
        answer.seq
    );
    verdict.add(Invariant::I1, text);
}

/// Pages show the newest edit that was stored when they were asked for, or a newer one.
fn shown(digest: &Digest, edits: &Edits, verdict: &mut Verdict) {
    // By message: when an edit was confirmed as stored, and the highest number that was by then.
    let mut known: HashMap<Uuid, Vec<(u64, u64)>> = HashMap::new();
    for alteration in digest.alterations.iter().filter(|alteration| matches!(alteration.what, Altered::Edit(_))) {
        if let Some((at, Answered { changed: true, seq: Some(seq), stored: true })) = alteration.answer {
            known.entry(alteration.message).or_default().push((at, seq));
        }
    }
    for list in known.values_mut() {
        list.sort_unstable();
        let mut highest = 0;
        for (_, seq) in list {
            highest = highest.max(*seq);
            *seq = highest;
        }
    }
    for page in &digest.pages {
        for seen in &page.messages {
            let Body::Message { id, text: Some(text), .. } = &seen.body else { continue };
            let Some(known) = known.get(id) else { continue };
            let before = known.partition_point(|(at, _)| *at < page.from);
            let Some(due) = before.checked_sub(1).map(|index| known[index].1) else { continue };
            verdict.looked_at("edited messages on pages", 1);
            let edits = edits.get(id).map_or(&[][..], Vec::as_slice);
            let is = edits.iter().find(|(_, edit)| edit == text).map_or(0, |(seq, _)| *seq);
            // Of a message that was deleted since nobody knows what its edits said.
            if is < due && !digest.deletions.contains(id) {
                let user = page.user;
                let text = format!(
                    "a page of user {user} shows message {id} as of {is} after its edit at {due} was confirmed"
                );
                verdict.add(Invariant::I7, text);
            }
        }
    }
}
