//! What a lane does about conflicts, lost answers and a log that has lost its tail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use sealpost_bus::{AppendError, failpoint};
use sealpost_schema::{Action, ConversationId, Event, EventBody, EventId, EventRecord, Seq, Timestamp, UserId};
use tokio::time::Instant;

use super::batch::{as_duplicate, join};
use super::{Actor, Item, LogAnswer};
use crate::reader::{StoredAt, Tail};
use crate::unstored::Unstored;
use crate::{Appended, Draft, LaneError, Progress, Rule};

impl Actor {
    pub(super) fn catch_up(&mut self, deep: bool) {
        let reader = self.inner.reader.clone();
        let (id, head) = (self.id, self.head);
        let oldest = self.unstored.seqs().next();
        let base = if deep { oldest.map_or(head, |seq| Seq(seq.0.saturating_sub(1)).min(head)) } else { head };
        // What others have under our numbers has to be read, too, wherever it is.
        let given_away = self.given_away.first().map_or(head, |seq| Seq(seq.0.saturating_sub(1)).min(head));
        let base = base.min(given_away);
        let done = async move {
            let tail = reader.tail(id, base).await;
            // What the log no longer has may be in the store: another process appended and stored it before the log lost it. After a reconnect
            // that may be so even if nothing is missing that this lane knows of.
            let covered = !deep
                && tail.as_ref().is_ok_and(|tail| tail.last.is_some_and(|(_, last)| last >= head) && tail.reaches);
            let stored = if covered { Ok(Vec::new()) } else { reader.after(id, given_away, 4096).await };
            let stored = stored.unwrap_or_else(|error| {
                tracing::warn!(conversation = %id, %error, "the store could not be asked while catching up");
                Vec::new()
            });
            LogAnswer::CaughtUp { tail, stored }
        };
        self.log_work = Some(done.boxed());
    }

    pub(super) fn on_log_answer(&mut self, answer: LogAnswer) {
        match answer {
            LogAnswer::Append(Ok(position)) => {
                failpoint("lane-appended");
                self.failures = 0;
                self.position = position;
                if let Some(batch) = self.batch.take() {
                    self.accept(batch);
                }
            }
            LogAnswer::Append(Err(AppendError::Refused(reason))) => {
                for item in self.batch.take().into_iter().flat_map(|batch| batch.items) {
                    item.finish(Progress::Failed(LaneError::Refused(reason.clone())));
                }
            }
            LogAnswer::Append(Err(error)) => {
                if let Some(batch) = &mut self.batch {
                    batch.uncertain |= matches!(error, AppendError::Unknown(_));
                }
                self.on_append_error(&error);
            }
            LogAnswer::Replay(_, Ok(position)) => {
                self.position = position;
                self.replay.pop_front();
            }
            LogAnswer::Replay(record, Err(AppendError::Refused(reason))) => {
                tracing::error!(conversation = %self.id, seq = %record.first, reason, "a lost record was refused when appended again");
                self.replay.pop_front();
            }
            LogAnswer::Replay(_, Err(error)) => self.on_append_error(&error),
            LogAnswer::CaughtUp { tail: Ok(tail), stored } => {
                self.failures = 0;
                self.on_caught_up(&tail, &stored);
            }
            LogAnswer::CaughtUp { tail: Err(error), .. } => {
                tracing::warn!(conversation = %self.id, %error, "the end of the conversation could not be read");
                self.back_off();
            }
        }
    }

    pub(super) fn on_append_error(&mut self, error: &AppendError) {
        metrics::counter!("sealpost_lane_append_errors_total", "kind" => kind_of(error)).increment(1);
        if matches!(error, AppendError::Conflict) {
            self.behind = Some(self.behind.unwrap_or(false) || !self.replay.is_empty());
        } else {
            tracing::warn!(conversation = %self.id, %error, attempt = self.failures, "append failed: trying again");
            self.back_off();
        }
        if matches!(error, AppendError::Unavailable(_)) {
            // Nothing is in the log, so those whose time is up may be told just that.
            self.release_unsent(Instant::now());
        }
    }

    pub(super) fn back_off(&mut self) {
        let delay = Duration::from_millis(50 << self.failures.min(6));
        self.failures += 1;
        self.retry_at = Some(Instant::now() + delay);
    }

    /// Takes over what others appended, finds out what became of the batch, and what the log has lost.
    pub(super) fn on_caught_up(&mut self, tail: &Tail, stored: &[Arc<Event>]) {
        let deep = self.behind.take().unwrap_or(false);
        self.position = tail.last.map(|(position, _)| position).unwrap_or_default();
        let log_head = tail.last.map(|(_, last)| last).unwrap_or_default();
        let lost_tail = log_head < self.head;
        if lost_tail && !deep && !self.unstored.is_empty() {
            // Look again, as far back as it may matter.
            self.behind = Some(true);
            return;
        }
        for event in stored {
            if event.seq == self.head.next() {
                self.take_over(event);
            } else {
                self.take_in(event);
            }
        }
        let mut records: Vec<_> = tail.records.iter().collect();
        records.sort_by_key(|record| record.first);
        for record in records {
            self.take_over_record(record);
        }
        self.given_away.clear();
        if self.head < log_head {
            // The log has numbers beyond a hole that only the store can fill. Numbering now could give one away twice.
            tracing::error!(conversation = %self.id, head = %self.head, %log_head, "events between the log and the store cannot be read yet");
            self.behind = Some(deep);
            self.back_off();
            return;
        }
        self.replay = if deep { self.lost(tail) } else { VecDeque::new() };
        if !self.replay.is_empty() {
            metrics::counter!("sealpost_lane_replayed_records_total").increment(self.replay.len() as u64);
            tracing::warn!(conversation = %self.id, records = self.replay.len(), head = %self.head,
                "the event log has lost its tail: appending it again");
        }
        self.apply_early_notices();
        // What is still on its way is numbered anew behind what was found.
        if let Some(batch) = self.batch.take() {
            for item in batch.items.into_iter().rev() {
                self.queue.push_front(item);
            }
        }
    }

    pub(super) fn take_over_record(&mut self, record: &Arc<EventRecord>) {
        let before = self.head;
        for event in &record.events {
            let own = self.unstored.get(event.seq).map(|own| own.id);
            if own.is_some_and(|own| own != event.id) {
                self.renumber(event.seq);
            }
            if event.seq == self.head.next() {
                self.take_over(event);
                // Whoever appended it may die and the log forget it: until the store has it, this lane can append it again, too.
                if self.unstored.get(event.seq).is_none() {
                    self.unstored.insert(Arc::clone(event), None);
                }
            } else {
                self.take_in(event);
            }
        }
        if self.head > before
            && let Some(observer) = &self.inner.observer
        {
            observer.appended(record);
        }
    }

    /// The event that has a number which was ours: what it says counts for all that is numbered from now on.
    fn take_in(&mut self, event: &Arc<Event>) {
        if self.given_away.remove(&event.seq) {
            self.fold_in(event);
            self.known.insert(event, self.inner.clock.now(), |seq| self.unstored.get(seq).is_some());
            self.unstored.destroy_content(event);
        }
    }

    /// Another process gave this number away while the log had lost ours. Ours gets a new one; its sender keeps the old answer.
    pub(super) fn renumber(&mut self, seq: Seq) {
        let Some((event, _)) = self.unstored.take(seq) else { return };
        self.given_away.insert(seq);
        if matches!(event.body, EventBody::Void { .. }) {
            // The number has an event after all.
            return;
        }
        tracing::error!(conversation = %self.id, %seq, event = %event.id,
            "the event log lost an accepted event and gave its number to another: appending it again with a new number");
        // A message keeps its place behind what came meanwhile only if its sender may still post: the removal may be among that.
        let rule = match event.body {
            EventBody::MessagePosted { .. } => Rule::May(Action::Post),
            _ => Rule::Control,
        };
        let draft = Draft {
            id: event.id,
            sender_id: event.sender_id,
            created_at: event.created_at,
            body: event.body.clone(),
            rule,
            retry: false,
        };
        self.known.remove(&event);
        self.queue.push_back(Item { draft, waiter: None, deadline: None, looked: false });
    }

    /// The store has this under one of our numbers, perhaps.
    pub(super) fn on_stored_at(&mut self, at: StoredAt) {
        let Some(own) = self.unstored.get(at.seq) else { return };
        let is_void = matches!(own.body, EventBody::Void { .. });
        match at.voided {
            Some((original_id, original_seq)) if !is_void && (own.id == at.id || own.id.0 == original_id.0) => {
                self.unstored.voided(at.seq, original_id, original_seq);
            }
            _ if own.id == at.id => self.unstored.stored(at.seq),
            _ => {
                self.renumber(at.seq);
                self.behind = Some(true);
            }
        }
    }

    /// An event that stands in the log with the next number: somebody else's, or our own of which we had no answer.
    pub(super) fn take_over(&mut self, event: &Arc<Event>) {
        self.head = event.seq;
        self.fold_in(event);
        self.known.insert(event, self.inner.clock.now(), |seq| self.unstored.get(seq).is_some());
        self.unstored.destroy_content(event);
        let is_it = |item: &Item| item.draft.id == event.id;
        let batch = self.batch.as_mut().map(|batch| &mut batch.items);
        let sent = batch.and_then(|items| items.iter().position(is_it).map(|index| items.remove(index)));
        let Some(mut item) = sent.or_else(|| self.take_waiting(event)) else { return };
        // Whatever else came for the same event has its answer here: so much may follow in the log that `known` forgets it before they are
        // looked at, and a removal or an addition that is appended again would be believed by every lane.
        while let Some(mut copy) = self.take_waiting(event) {
            item.waiter = join(item.waiter.take(), copy.waiter.take().map(as_duplicate));
        }
        let mut waiter = item.waiter.take();
        if let Some(waiter) = &mut waiter {
            let appended = Appended { event: Arc::clone(event), duplicate: false };
            waiter(Progress::Accepted { appended, stored: false });
        }
        self.unstored.insert(Arc::clone(event), waiter);
    }

    /// What waits for a number and has it by now. Messages are left: their copies have ids of their own, and the store keeps their names.
    fn take_waiting(&mut self, event: &Event) -> Option<Item> {
        if matches!(event.body, EventBody::MessagePosted { .. }) {
            return None;
        }
        let index = self.queue.iter().position(|item| item.draft.id == event.id)?;
        self.queue.remove(index)
    }

    /// Records made of the unstored events that the log does not hold.
    pub(super) fn lost(&self, tail: &Tail) -> VecDeque<Arc<EventRecord>> {
        let present = tail.events_after(Seq::default());
        let mut runs: Vec<Vec<Arc<Event>>> = Vec::new();
        for event in self.unstored.after(Seq::default()).filter(|event| !present.contains_key(&event.seq)) {
            match runs.last_mut() {
                Some(run)
                    if run.len() < self.inner.config.max_record_events
                        && run.last().is_some_and(|last| last.seq.next() == event.seq) =>
                {
                    run.push(Arc::clone(event));
                }
                _ => runs.push(vec![Arc::clone(event)]),
            }
        }
        runs.into_iter().filter_map(|run| EventRecord::new(0, run)).map(Arc::new).collect()
    }
}

fn kind_of(error: &AppendError) -> &'static str {
    match error {
        AppendError::Conflict => "conflict",
        AppendError::Unknown(_) => "unknown",
        AppendError::Refused(_) => "refused",
        AppendError::Unavailable(_) => "unavailable",
    }
}

/// Records with a `void` event for each number that a power cut took, so that readers get past it. Every process makes the same event
/// for a number, however many find it lost at once.
pub(super) fn close_numbers(
    id: ConversationId,
    lost: Vec<Seq>,
    unstored: &mut Unstored,
    now: Timestamp,
) -> VecDeque<Arc<EventRecord>> {
    if !lost.is_empty() {
        tracing::error!(conversation = %id, numbers = lost.len(), "numbers were given away and their events lost: closing them");
    }
    let mut records = VecDeque::new();
    for seq in lost {
        let mut bytes = *id.0.as_bytes();
        for (byte, of_seq) in bytes[8..].iter_mut().zip(seq.0.to_be_bytes()) {
            *byte ^= of_seq;
        }
        // UUID version 8: «custom».
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        let event = Arc::new(Event {
            id: EventId(sea_orm::prelude::Uuid::from_bytes(bytes)),
            conversation_id: id,
            seq,
            sender_id: UserId(sea_orm::prelude::Uuid::nil()),
            created_at: now,
            body: EventBody::Void { original_id: None },
        });
        unstored.insert(Arc::clone(&event), None);
        records.extend(EventRecord::new(0, vec![event]).map(Arc::new));
    }
    records
}
