//! Events that were appended here and that the store has not confirmed, with the senders that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealpost_schema::{Event, EventBody, MessageId, Seq, StoredRange};
use tokio::time::Instant;

use crate::{Progress, Waiter};

struct Entry {
    event: Arc<Event>,
    waiter: Option<Waiter>,
    since: Instant,
    told_overdue: bool,
}

/// Ordered by seq. `total` counts over all lanes of the process.
pub(crate) struct Unstored {
    entries: BTreeMap<Seq, Entry>,
    total: Arc<AtomicUsize>,
}

impl Unstored {
    pub fn new(total: Arc<AtomicUsize>) -> Self {
        Self { entries: BTreeMap::new(), total }
    }

    pub fn insert(&mut self, event: Arc<Event>, waiter: Option<Waiter>) {
        let entry = Entry { since: Instant::now(), waiter, told_overdue: false, event };
        if self.entries.insert(entry.event.seq, entry).is_none() {
            self.total.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, seq: Seq) -> Option<&Arc<Event>> {
        self.entries.get(&seq).map(|entry| &entry.event)
    }

    pub fn seqs(&self) -> impl Iterator<Item = Seq> + '_ {
        self.entries.keys().copied()
    }

    /// Events after `seq`, in order.
    pub fn after(&self, seq: Seq) -> impl Iterator<Item = &Arc<Event>> {
        self.entries.range(seq.next()..).map(|(_, entry)| &entry.event)
    }

    /// The store has this event under its number.
    pub fn stored(&mut self, seq: Seq) {
        self.finish(seq, Progress::Stored);
    }

    /// The store has these. False: some of them are, or were, ours, and it cannot be told whether they are the same events.
    pub fn stored_range(&mut self, range: &StoredRange) -> bool {
        let own = || self.entries.range(range.first..=range.last).map(|(_, entry)| entry.event.id);
        let count = own().count() as u64;
        if count == 0 {
            return true;
        }
        if count != range.last.0 - range.first.0 + 1 || StoredRange::fingerprint(own()) != range.ids {
            return false;
        }
        while let Some((&seq, _)) = self.entries.range(range.first..=range.last).next() {
            self.finish(seq, Progress::Stored);
        }
        true
    }

    pub fn voided(&mut self, seq: Seq, original_id: MessageId, original_seq: Seq) {
        self.finish(seq, Progress::Voided { original_id, original_seq });
    }

    /// A deletion: what is kept for it of the message, its edits and its reactions goes. Were they lost by the log now, they would be
    /// appended again without their content.
    pub fn destroy_content(&mut self, deletion: &Event) {
        let (EventBody::MessageDeleted { .. }, Some(message)) = (&deletion.body, deletion.body.target()) else {
            return;
        };
        for entry in self.entries.values_mut().filter(|entry| entry.event.is_about(message)) {
            entry.event = Arc::new(entry.event.without_content());
        }
    }

    /// Takes an event out that got another number; its waiter comes along.
    pub fn take(&mut self, seq: Seq) -> Option<(Arc<Event>, Option<Waiter>)> {
        let entry = self.entries.remove(&seq)?;
        self.total.fetch_sub(1, Ordering::Relaxed);
        Some((entry.event, entry.waiter))
    }

    fn finish(&mut self, seq: Seq, progress: Progress) {
        if let Some(entry) = self.entries.remove(&seq) {
            self.total.fetch_sub(1, Ordering::Relaxed);
            if let Some(mut waiter) = entry.waiter {
                waiter(progress);
            }
        }
    }

    /// When the oldest entry was appended.
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.values().next().map(|entry| entry.since)
    }

    /// Tells those that have waited since `deadline` or longer that the store is late.
    pub fn tell_overdue(&mut self, deadline: Instant) {
        for entry in self.entries.values_mut().take_while(|entry| entry.since <= deadline) {
            if !entry.told_overdue {
                entry.told_overdue = true;
                if let Some(waiter) = &mut entry.waiter {
                    waiter(Progress::Overdue);
                }
            }
        }
    }
}

impl Drop for Unstored {
    fn drop(&mut self) {
        self.total.fetch_sub(self.entries.len(), Ordering::Relaxed);
    }
}
