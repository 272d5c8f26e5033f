//! What a room has shown and does not know to be stored. A log that forgets may give the number of such an event to another one; what the
//! store says it has is held against this, and who saw the first event is told.

use std::collections::BTreeMap;
use std::time::Duration;

use sealpost_schema::{EventId, Seq, StoredRange};
use tokio::time::Instant;

/// While the store is away much may be shown. Beyond this the oldest are forgotten.
const MAX_SHOWN: usize = 4096;
/// What is not known to be stored for so long, although later events are: its notice was lost, and the store must be asked.
const OVERDUE: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Shown {
    ids: BTreeMap<Seq, EventId>,
    /// When the oldest of them became that, or was asked for.
    since: Option<Instant>,
}

impl Shown {
    pub fn insert(&mut self, seq: Seq, id: EventId) {
        if self.ids.len() == MAX_SHOWN {
            self.ids.pop_first();
        }
        self.ids.insert(seq, id);
        self.since.get_or_insert_with(Instant::now);
    }

    /// From the oldest event that should be stored by now, to the newest one. Says so once in a while.
    pub fn overdue(&mut self, now: Instant) -> Option<(Seq, Seq)> {
        let (first, last) = (*self.ids.first_key_value()?.0, *self.ids.last_key_value()?.0);
        let since = self.since?;
        (now.duration_since(since) >= OVERDUE).then(|| self.since = Some(now)).map(|()| (first, last))
    }

    /// All of them: notices may have been lost.
    pub fn all(&self) -> Option<(Seq, Seq)> {
        Some((*self.ids.first_key_value()?.0, *self.ids.last_key_value()?.0))
    }

    fn settled(&mut self, oldest: Option<Seq>) {
        let now = self.ids.first_key_value().map(|(seq, _)| *seq);
        if now != oldest {
            self.since = now.map(|_| Instant::now());
        }
    }

    /// The store has these. False: perhaps it has others under numbers that were shown, and must be asked.
    pub fn confirm(&mut self, range: &StoredRange) -> bool {
        let own = || self.ids.range(range.first..=range.last);
        let count = own().count() as u64;
        if count == 0 {
            return true;
        }
        let whole = count == range.last.0 - range.first.0 + 1;
        if !whole || StoredRange::fingerprint(own().map(|(_, id)| *id)) != range.ids {
            return false;
        }
        let oldest = self.ids.first_key_value().map(|(seq, _)| *seq);
        while let Some((&seq, _)) = self.ids.range(range.first..=range.last).next() {
            self.ids.remove(&seq);
        }
        self.settled(oldest);
        true
    }

    /// Forgets what the store has as it was shown. The first number under which it has something else.
    pub fn compare(&mut self, stored: &[(Seq, EventId)]) -> Option<Seq> {
        let mut other = None;
        let oldest = self.ids.first_key_value().map(|(seq, _)| *seq);
        for (seq, id) in stored {
            match self.ids.get(seq) {
                Some(shown) if shown == id => _ = self.ids.remove(seq),
                Some(_) => other = Some(other.map_or(*seq, |first: Seq| first.min(*seq))),
                None => {}
            }
        }
        self.settled(oldest);
        other
    }

    /// What came after `seq` was not so.
    pub fn rewind(&mut self, seq: Seq) {
        drop(self.ids.split_off(&seq.next()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealpost_schema::ConversationId;

    fn range(first: u64, ids: &[EventId]) -> StoredRange {
        StoredRange {
            conversation_id: ConversationId::new(),
            first: Seq(first),
            last: Seq(first + ids.len() as u64 - 1),
            ids: StoredRange::fingerprint(ids.iter().copied()),
        }
    }

    #[test]
    fn what_is_stored_as_it_was_shown_is_no_question() {
        let ids: Vec<_> = std::iter::repeat_with(EventId::new).take(3).collect();
        let mut shown = Shown::default();
        for (seq, id) in (5..).zip(&ids) {
            shown.insert(Seq(seq), *id);
        }
        assert!(shown.confirm(&range(1, &[EventId::new(); 4])), "nothing of it was shown");
        assert!(shown.confirm(&range(5, &ids)));
        assert!(shown.confirm(&range(5, &[EventId::new(); 3])), "it is confirmed already");
    }

    #[test]
    fn what_is_not_confirmed_in_time_is_asked_for_once_in_a_while() {
        let mut shown = Shown::default();
        let now = Instant::now();
        assert_eq!(shown.overdue(now + OVERDUE * 2), None, "nothing was shown");
        shown.insert(Seq(5), EventId::new());
        shown.insert(Seq(6), EventId::new());
        assert_eq!(shown.overdue(now), None);
        let later = Instant::now() + OVERDUE;
        assert_eq!(shown.overdue(later), Some((Seq(5), Seq(6))));
        assert_eq!(shown.overdue(later), None);
        assert_eq!(shown.all(), Some((Seq(5), Seq(6))));
    }

    #[test]
    fn another_event_under_a_number_that_was_shown_is_found() {
        let (kept, lost, other) = (EventId::new(), EventId::new(), EventId::new());
        let mut shown = Shown::default();
        shown.insert(Seq(7), kept);
        shown.insert(Seq(8), lost);
        assert!(!shown.confirm(&range(7, &[kept, other])));
        assert_eq!(shown.compare(&[(Seq(7), kept), (Seq(8), other)]), Some(Seq(8)));
        shown.rewind(Seq(7));
        assert!(shown.confirm(&range(8, &[other])));
        // A part of a range says nothing by itself, so the store is asked, and agrees.
        shown.insert(Seq(9), kept);
        assert!(!shown.confirm(&range(9, &[kept, other])));
        assert_eq!(shown.compare(&[(Seq(9), kept), (Seq(10), other)]), None);
    }
}
