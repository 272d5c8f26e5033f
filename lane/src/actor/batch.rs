//! What goes into the next record, who is told what about it, and who has waited too long.

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use sealpost_schema::{ConversationId, Event, EventRecord, Seq};
use tokio::time::Instant;

use super::{Actor, Batch, Command, Found, Item};
use crate::reader::Reader;
use crate::{Appended, Draft, Fold, LaneError, Progress, Rule, Waiter};

impl Actor {
    /// Says no to everybody who still waits for a number.
    pub(super) fn finish(mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Append(item) = command {
                self.queue.push_back(item);
            }
        }
        for item in self.queue.drain(..) {
            item.finish(Progress::Failed(LaneError::Unavailable("the server is stopping".to_owned())));
        }
        for item in self.batch.take().into_iter().flat_map(|batch| batch.items) {
            item.finish(Progress::Failed(LaneError::OutcomeUnknown));
        }
    }

    /// Answers those who have waited for the log for too long. What is on its way stays on its way.
    pub(super) fn expire_waiting(&mut self, now: Instant) {
        // The oldest of those that may be given up is the first of them.
        while let Some(index) = self.queue.iter().position(|item| item.deadline.is_some())
            && self.queue[index].is_overdue(now)
            && let Some(item) = self.queue.remove(index)
        {
            let reason = "the event log does not answer, or the store is too far behind; nothing was taken";
            item.finish(Progress::Failed(LaneError::Unavailable(reason.to_owned())));
        }
        if self.log_work.is_none() {
            self.release_unsent(now);
        }
        if let Some(batch) = &mut self.batch {
            for item in batch.items.iter_mut().filter(|item| item.is_overdue(now)) {
                if let Some(mut waiter) = item.waiter.take() {
                    waiter(Progress::Failed(LaneError::OutcomeUnknown));
                }
            }
        }
    }

    /// Drops items whose time is up from a batch that certainly is not in the log.
    pub(super) fn release_unsent(&mut self, now: Instant) {
        if self
            .batch
            .as_ref()
            .is_none_or(|batch| batch.uncertain || !batch.items.iter().any(|item| item.is_overdue(now)))
        {
            return;
        }
        for item in self.batch.take().into_iter().flat_map(|batch| batch.items).rev() {
            if item.is_overdue(now) {
                item.finish(Progress::Failed(LaneError::Unavailable("the event log is not reachable".to_owned())));
            } else {
                self.queue.push_front(item);
            }
        }
    }

    /// Numbers what is waiting. Rights and doubles are checked here, where everything before is known.
    pub(super) fn build_batch(&mut self) {
        let config = self.inner.config.clone();
        let total = self.inner.unstored_total.load(std::sync::atomic::Ordering::Relaxed);
        if self.unstored.len() >= config.max_unstored || total >= config.max_unstored_total {
            return;
        }
        let mut items: Vec<Item> = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.queue.pop_front() {
            if !item.looked && self.is_refused_so_far(&item.draft) {
                // An append would show that this lane is behind; a refusal appends nothing. So look before saying no: another process may
                // have appended what allows it. One look does for all that have come by now.
                self.queue.push_front(item);
                self.queue.iter_mut().for_each(|item| item.looked = true);
                self.behind = Some(self.behind.unwrap_or(false));
                break;
            }
            bytes += size_of(&item.draft);
            if !items.is_empty() && (items.len() >= config.max_record_events || bytes > config.max_record_bytes) {
                self.queue.push_front(item);
                break;
            }
            if let Some(item) = self.admit(item, &mut items) {
                let changes_rights = Fold::is_changed_by(&item.draft.body);
                items.push(item);
                if changes_rights {
                    // What waits behind it is checked when it counts.
                    break;
                }
            }
        }
        self.batch = self.number(items);
    }

    fn is_refused_so_far(&self, draft: &Draft) -> bool {
        self.fold.check(draft).is_err() && self.known.find(draft.id, draft.sender_id, &draft.body).is_none()
    }

    /// The item, if it is to be appended; else it has been answered, or waits for an answer elsewhere.
    pub(super) fn admit(&mut self, mut item: Item, items: &mut [Item]) -> Option<Item> {
        let draft = &item.draft;
        if let Some(seq) = self.known.find(draft.id, draft.sender_id, &draft.body) {
            self.answer_again(item, seq);
            return None;
        }
        if let Err(error) = self.fold.check(draft) {
            if item.deadline.is_none() {
                tracing::error!(conversation = %self.id, event = %draft.id, %error, "a message that the event log lost is not taken again");
            }
            item.finish(Progress::Failed(error));
            return None;
        }
        if self.target_is_deleted(draft, items) {
            item.finish(Progress::Failed(LaneError::Deleted));
            return None;
        }
        if let Rule::MayAdd(_, counted) = draft.rule
            && !self.additions.allow(&draft.body, counted, items.iter().map(|item| &item.draft.body))
        {
            item.finish(Progress::Failed(LaneError::Changed));
            return None;
        }
        if let Some(first) = items.iter_mut().find(|first| is_same(&first.draft, draft)) {
            let waiter = item.waiter.take().map(as_duplicate);
            first.waiter = join(first.waiter.take(), waiter);
            return None;
        }
        Some(item)
    }

    /// Whether the message that the draft would change was deleted lately, or is about to be. What was deleted long before, its sender
    /// has seen in the store.
    fn target_is_deleted(&self, draft: &Draft, items: &[Item]) -> bool {
        let Some(message) = draft.body.target() else { return false };
        let deletion = message.deletion_id();
        deletion != draft.id && (self.known.has(deletion) || items.iter().any(|other| other.draft.id == deletion))
    }

    /// The draft repeats event `seq`: its sender gets that one.
    pub(super) fn answer_again(&mut self, mut item: Item, seq: Seq) {
        if let Some(event) = self.unstored.get(seq).cloned() {
            if let Some(mut waiter) = item.waiter.take() {
                waiter(Progress::Accepted {
                    appended: Appended { event: Arc::clone(&event), duplicate: true },
                    stored: false,
                });
                let first = self.unstored.take(seq).and_then(|(_, first)| first);
                self.unstored.insert(event, join(first, Some(waiter)));
            }
            return;
        }
        let (reader, id) = (self.inner.reader.clone(), self.id);
        self.lookups.push(async move { (find_repeated(&reader, id, seq, &item.draft).await, item) }.boxed());
    }

    pub(super) fn on_lookup(&mut self, found: Result<Found, LaneError>, mut item: Item) {
        match found {
            Ok(Found::There(event, stored)) => {
                let Some(mut waiter) = item.waiter.take() else { return };
                waiter(Progress::Accepted {
                    appended: Appended { event: Arc::clone(&event), duplicate: true },
                    stored,
                });
                if !stored {
                    let first = self.unstored.take(event.seq).and_then(|(_, first)| first);
                    self.unstored.insert(event, join(first, Some(waiter)));
                }
            }
            Ok(Found::Lost) => {
                tracing::error!(conversation = %self.id, event = %item.draft.id, "an accepted event was lost by the event log: it is taken anew");
                self.known.forget(item.draft.id, item.draft.sender_id, &item.draft.body);
                self.queue.push_back(item);
            }
            Ok(Found::Hidden) => item.finish(Progress::Failed(LaneError::OutcomeUnknown)),
            Err(error) => item.finish(Progress::Failed(error)),
        }
    }

    pub(super) fn number(&self, items: Vec<Item>) -> Option<Batch> {
        let events = items
            .iter()
            .zip(self.head.0 + 1..)
            .map(|(item, seq)| {
                Arc::new(Event {
                    id: item.draft.id,
                    conversation_id: self.id,
                    seq: Seq(seq),
                    sender_id: item.draft.sender_id,
                    created_at: item.draft.created_at,
                    body: item.draft.body.clone(),
                })
            })
            .collect();
        let record = Arc::new(EventRecord::new(self.position.0, events)?);
        Some(Batch { items, record, uncertain: false })
    }

    /// The log has the batch, as it was numbered.
    pub(super) fn accept(&mut self, batch: Batch) {
        let now = self.inner.clock.now();
        metrics::counter!("sealpost_lane_events_total").increment(batch.items.len() as u64);
        metrics::counter!("sealpost_lane_records_total").increment(1);
        self.head = batch.record.last;
        if let Some(observer) = &self.inner.observer {
            observer.appended(&batch.record);
        }
        for (mut item, event) in batch.items.into_iter().zip(&batch.record.events) {
            self.fold_in(event);
            self.known.insert(event, now, |seq| self.unstored.get(seq).is_some());
            self.unstored.destroy_content(event);
            let mut waiter = item.waiter.take();
            if let Some(waiter) = &mut waiter {
                let appended = Appended { event: Arc::clone(event), duplicate: false };
                waiter(Progress::Accepted { appended, stored: false });
            }
            self.unstored.insert(Arc::clone(event), waiter);
        }
        self.apply_early_notices();
    }
}

/// Content bytes that a draft adds to a record, roughly.
fn size_of(draft: &Draft) -> usize {
    use sealpost_schema::EventBody::ConversationChanged;
    300 + match &draft.body {
        ConversationChanged { sealed_title } => sealed_title.as_ref().map_or(0, String::len),
        other => other.content().map_or(0, str::len),
    }
}

/// The event that the draft repeats, which had this number when it was last seen.
async fn find_repeated(reader: &Reader, id: ConversationId, seq: Seq, draft: &Draft) -> Result<Found, LaneError> {
    match reader.event_at(id, seq).await? {
        Some((event, stored)) if is_repeated_by(&event, draft) => Ok(Found::There(event, stored)),
        None => Ok(Found::Hidden),
        // The log forgot it, and the number was given away again; or the store kept it as void.
        Some((_, stored)) => match reader.find_like(id, draft).await? {
            Some(event) => Ok(Found::There(Arc::new(event), true)),
            None if stored => Ok(Found::Lost),
            None => Ok(Found::Hidden),
        },
    }
}

fn is_repeated_by(event: &Event, draft: &Draft) -> bool {
    use sealpost_schema::EventBody::MessagePosted;
    match (&event.body, &draft.body) {
        (MessagePosted { client_message_id: a, .. }, MessagePosted { client_message_id: b, .. }) => {
            event.sender_id == draft.sender_id && a == b
        }
        _ => event.id == draft.id,
    }
}

fn is_same(one: &Draft, other: &Draft) -> bool {
    use sealpost_schema::EventBody::MessagePosted;
    match (&one.body, &other.body) {
        (MessagePosted { client_message_id: a, .. }, MessagePosted { client_message_id: b, .. }) => {
            one.sender_id == other.sender_id && a == b
        }
        _ => one.id == other.id,
    }
}

/// A waiter that is told it repeats somebody else's draft.
pub(super) fn as_duplicate(mut waiter: Waiter) -> Waiter {
    Box::new(move |progress| {
        waiter(match progress {
            Progress::Accepted { appended, stored } => {
                Progress::Accepted { appended: Appended { duplicate: true, ..appended }, stored }
            }
            other => other,
        });
    })
}

/// Both are told.
pub(super) fn join(one: Option<Waiter>, other: Option<Waiter>) -> Option<Waiter> {
    match (one, other) {
        (Some(mut one), Some(mut other)) => Some(Box::new(move |progress| {
            one(progress.clone());
            other(progress);
        })),
        (one, other) => one.or(other),
    }
}
