//! What a committed batch announces.

use std::collections::BTreeSet;

use sealpost_schema::{ConversationId, EventRecord, Seq, StoredNotice, StoredRange};

use super::store::{Stored, claim};

/// Ranges of what is stored as it came. Void numbers and problems are in no range: whoever waits for such an event must
/// not take a range for its answer.
pub(super) fn notice<'a>(records: impl Iterator<Item = &'a EventRecord>, stored: &Stored) -> StoredNotice {
    let mut places: BTreeSet<(ConversationId, Seq)> = records
        .flat_map(|record| &record.events)
        .filter(|event| !stored.problems.contains_key(&claim(event)))
        .map(|event| (event.conversation_id, event.seq))
        .collect();
    for void in &stored.voided {
        places.remove(&(void.conversation_id, void.seq));
    }
    let mut ranges: Vec<StoredRange> = Vec::new();
    for (conversation_id, seq) in places {
        match ranges.last_mut() {
            Some(range) if range.conversation_id == conversation_id && range.last.next() == seq => range.last = seq,
            _ => ranges.push(StoredRange { conversation_id, first: seq, last: seq }),
        }
    }
    StoredNotice { stored: ranges, voided: stored.voided.clone() }
}
