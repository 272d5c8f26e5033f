//! A consumer's state: what was handed out, how often, and when it is due again. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::{ConsumerConfig, ConsumerState, Delivery, Record};

#[derive(Debug)]
struct Pending {
    attempts: u32,
    due: Instant,
    record: Record,
}

/// What [`Cursor::take`] found.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) deliveries: Vec<Delivery>,
    /// Came up again after the last permitted attempt: (record, attempts).
    pub(super) exhausted: Vec<(Record, u32)>,
    /// When the next pending record is due.
    pub(super) wake_at: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Cursor {
    ack_wait: Duration,
    max_deliver: u32,
    max_ack_pending: usize,
    /// The last position handed out.
    position: u64,
    pending: BTreeMap<u64, Pending>,
    deadlines: BTreeSet<(Instant, u64)>,
    suspicion: Suspicion,
}

/// Hand-outs are persisted lazily, so after a crash the log does not know which records were out. If the process dies again
/// and again and the consumer stays at the same place, one of the next few records may be what kills it: each such
/// restart counts as one attempt of those records, and the killer reaches `max_deliver` in the end.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// The first unacked position when the log was opened.
    pub(super) opened_at: u64,
    /// Crashes in a row that found the consumer at that same place.
    pub(super) restarts: u32,
    /// The log's last position when it was opened: later records were never out before.
    pub(super) through: u64,
    pub(super) handed_out: usize,
}

impl Cursor {
    pub(super) fn new() -> Self {
        Self {
            ack_wait: Duration::from_secs(30),
            max_deliver: u32::MAX,
            max_ack_pending: 0,
            position: 0,
            pending: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            suspicion: Suspicion { opened_at: 1, ..Suspicion::default() },
        }
    }

    /// As it was persisted. `pending` holds the records that are still there, with their attempts; they are due at once.
    pub(super) fn restored(position: u64, pending: Vec<(Record, u32)>, suspicion: Suspicion) -> Self {
        let mut restored = Self { position, ..Self::new() };
        for (record, attempts) in pending {
            let position = record.position.0;
            let due = Instant::now();
            restored.deadlines.insert((due, position));
            restored.pending.insert(position, Pending { attempts: attempts.max(suspicion.restarts), due, record });
        }
        restored.suspicion = suspicion;
        restored
    }

    pub(super) fn configure(&mut self, config: &ConsumerConfig) {
        self.ack_wait = config.ack_wait;
        self.max_deliver = config.max_deliver.max(1);
        self.max_ack_pending = config.max_ack_pending.max(1) as usize;
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn suspicion(&self) -> (u64, u32) {
        (self.suspicion.opened_at, self.suspicion.restarts)
    }

    /// How many fresh records may be handed out now.
    pub(super) fn room(&self) -> usize {
        self.max_ack_pending.saturating_sub(self.pending.len())
    }

    fn schedule(&mut self, record: Record, attempts: u32, due: Instant) {
        let position = record.position.0;
        self.deadlines.insert((due, position));
        self.pending.insert(position, Pending { attempts, due, record });
    }

    /// Takes up to `limit` pending records that are due again.
    pub(super) fn take_due(&mut self, now: Instant, limit: usize, taken: &mut Taken) {
        while let Some((due, position)) = self.deadlines.first().copied() {
            if due > now {
                taken.wake_at = Some(due);
                return;
            }
            if taken.deliveries.len() >= limit {
                return;
            }
            self.deadlines.pop_first();
            let Some(pending) = self.pending.remove(&position) else { continue };
            self.hand_out(pending.record, pending.attempts, now, taken);
        }
    }

    /// Hands out `records`, which follow the cursor, as far as there is room.
    pub(super) fn take_fresh(&mut self, records: Vec<Record>, now: Instant, taken: &mut Taken) {
        let room = self.room();
        for record in records.into_iter().take(room) {
            self.position = record.position.0;
            let mut before = 0;
            if self.suspicion.handed_out < self.max_ack_pending && record.position.0 <= self.suspicion.through {
                self.suspicion.handed_out += 1;
                before = self.suspicion.restarts;
            }
            self.hand_out(record, before, now, taken);
        }
    }

    fn hand_out(&mut self, record: Record, before: u32, now: Instant, taken: &mut Taken) {
        let due = now + self.ack_wait;
        taken.wake_at = Some(taken.wake_at.map_or(due, |at| at.min(due)));
        if before >= self.max_deliver {
            // Stays pending until its dead letter is written; if that fails, it comes up again.
            taken.exhausted.push((record.clone(), before));
            self.schedule(record, before, due);
        } else {
            let attempt = before + 1;
            taken.deliveries.push(Delivery { record: record.clone(), attempt, token: String::new() });
            self.schedule(record, attempt, due);
        }
    }

    /// Whether it was pending.
    pub(super) fn ack(&mut self, position: u64) -> bool {
        let Some(pending) = self.pending.remove(&position) else { return false };
        self.deadlines.remove(&(pending.due, position));
        true
    }

    /// Does nothing if the record was acked or handed out to somebody else meanwhile.
    pub(super) fn put_back(&mut self, delivery: &Delivery, due: Instant) {
        let position = delivery.record.position.0;
        let Some(pending) = self.pending.get_mut(&position) else { return };
        if pending.attempts == delivery.attempt {
            self.deadlines.remove(&(pending.due, position));
            pending.due = due;
            self.deadlines.insert((due, position));
        }
    }

    /// `last`: the log's last position; `first`: its first.
    pub(super) fn state(&self, first: u64, last: u64) -> ConsumerState {
        let seen = self.position.max(first.saturating_sub(1));
        ConsumerState { pending: last.saturating_sub(seen), ack_pending: self.pending.len() as u64 }
    }

    /// The unacked positions with their attempts, for [`parse_pending`].
    pub(super) fn pending_text(&self) -> String {
        let mut text = String::with_capacity(self.pending.len() * 12);
        for (position, pending) in &self.pending {
            // Writing to a string cannot fail.
            let _ = write!(text, "{position}:{} ", pending.attempts);
        }
        text
    }
}

pub(super) fn parse_pending(text: &str) -> Vec<(u64, u32)> {
    let pair = |pair: &str| {
        let (position, attempts) = pair.split_once(':')?;
        Some((position.parse().ok()?, attempts.parse().ok()?))
    };
    text.split_ascii_whitespace().filter_map(pair).collect()
}
