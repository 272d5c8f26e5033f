//! What a committed batch announces.

use std::collections::HashSet;

use sealpost_schema::{EventRecord, StoredNotice, StoredRange};

use super::store::{Stored, claim};

/// Ranges of what is stored as it came. Void numbers and problems are in no range: whoever waits for such an event must
/// not take a range for its answer. A range holds events of one record, so that the lane that made it can tell that it is its own.
pub(super) fn notice<'a>(records: impl Iterator<Item = &'a EventRecord>, stored: &Stored) -> StoredNotice {
    let voided: HashSet<_> = stored.voided.iter().map(|void| (void.conversation_id, void.seq)).collect();
    let mut ranges: Vec<StoredRange> = Vec::new();
    for record in records {
        let start = ranges.len();
        for event in &record.events {
            let place = (event.conversation_id, event.seq);
            if voided.contains(&place) || stored.problems.contains_key(&claim(event)) {
                continue;
            }
            let id = StoredRange::fingerprint([event.id]);
            match ranges[start..].last_mut() {
                Some(range) if range.last.next() == event.seq => (range.last, range.ids) = (event.seq, range.ids ^ id),
                _ => {
                    let (conversation_id, seq) = place;
                    ranges.push(StoredRange { conversation_id, first: seq, last: seq, ids: id });
                }
            }
        }
    }
    StoredNotice { stored: ranges, voided: stored.voided.clone() }
}
