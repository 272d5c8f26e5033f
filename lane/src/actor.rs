//! One lane: the task that owns the end of one conversation.
//!
//! It does one thing to the log at a time (an append or a look at what it missed) and one to the store (asking what is
//! stored), and stays open for new drafts and notices meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sealpost_bus::{Append, AppendError, Connection, Position, Subject};
use sealpost_schema::{ConversationId, Event, EventRecord, Seq, StoredRange, VoidedEvent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::known::Known;
use crate::reader::Tail;
use crate::registry::{Inner, Opened};
use crate::unstored::Unstored;
use crate::{Appended, Draft, Fold, LaneError, Progress, Waiter};

/// Notices that wait for their events, per lane; what does not fit is made up for by asking the store.
const MAX_EARLY_NOTICES: usize = 64;

pub(crate) enum Command {
    Append(Item),
    Fold(oneshot::Sender<Fold>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    Stored(StoredRange),
    Voided(VoidedEvent),
}

pub(crate) struct Item {
    pub draft: Draft,
    pub waiter: Option<Waiter>,
    pub deadline: Instant,
}

impl Item {
    fn finish(self, progress: Progress) {
        if let Some(mut waiter) = self.waiter {
            waiter(progress);
        }
    }
}

/// The record that is on its way: its items, and the same as events once they have numbers.
struct Batch {
    items: Vec<Item>,
    record: Arc<EventRecord>,
    /// An attempt had no answer: the record may be in the log.
    uncertain: bool,
}

/// What the log was asked, and said.
enum LogAnswer {
    Append(Result<Position, AppendError>),
    /// Events lost by the log, appended again.
    Replay(Arc<EventRecord>, Result<Position, AppendError>),
    CaughtUp {
        tail: Result<Tail, LaneError>,
        stored: Vec<Arc<Event>>,
    },
}

type Lookup = BoxFuture<'static, (Result<Option<(Arc<Event>, bool)>, LaneError>, Item)>;

pub(crate) struct Actor {
    inner: Arc<Inner>,
    id: ConversationId,
    subject: Subject,
    commands: mpsc::Receiver<Command>,
    notices: mpsc::Receiver<Notice>,
    connection: watch::Receiver<Connection>,

    head: Seq,
    position: Position,
    fold: Fold,
    known: Known,
    queue: VecDeque<Item>,
    batch: Option<Batch>,
    unstored: Unstored,
    early_notices: Vec<Notice>,
    /// Records that the log has lost, to be appended again before anything new.
    replay: VecDeque<Arc<EventRecord>>,
    /// The log must be looked at before the next append; `Some(true)`: back to the oldest unstored event.
    behind: Option<bool>,
    retry_at: Option<Instant>,
    failures: u32,
    log_work: Option<BoxFuture<'static, LogAnswer>>,
    store_work: Option<BoxFuture<'static, Result<Vec<Seq>, sea_orm::DbErr>>>,
    next_store_check: Option<Instant>,
    lookups: FuturesUnordered<Lookup>,
    last_used: Instant,
}

impl Actor {
    pub fn new(
        inner: Arc<Inner>,
        id: ConversationId,
        opened: Opened,
        commands: mpsc::Receiver<Command>,
        notices: mpsc::Receiver<Notice>,
    ) -> Self {
        let unstored = Unstored::new(Arc::clone(&inner.unstored_total));
        let mut connection = inner.reader.log.connection();
        connection.mark_unchanged();
        Self {
            id,
            subject: opened.subject,
            commands,
            notices,
            connection,
            head: opened.head,
            position: opened.position,
            fold: opened.fold,
            known: opened.known,
            queue: VecDeque::new(),
            batch: None,
            unstored,
            early_notices: Vec::new(),
            replay: VecDeque::new(),
            behind: None,
            retry_at: None,
            failures: 0,
            log_work: None,
            store_work: None,
            next_store_check: None,
            lookups: FuturesUnordered::new(),
            last_used: Instant::now(),
            inner,
        }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.start_log_work();
            self.start_store_work();
            let wake_at = self.wake_at();
            let has_room = self.queue.len() < self.inner.config.max_record_events;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                answer = work(&mut self.log_work) => {
                    self.log_work = None;
                    self.on_log_answer(answer);
                }
                Some(notice) = self.notices.recv() => self.on_notice(notice),
                stored = work(&mut self.store_work) => {
                    self.store_work = None;
                    self.on_stored_seqs(stored);
                }
                Some((found, item)) = self.lookups.next() => self.on_lookup(found, item),
                command = self.commands.recv(), if has_room => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Ok(()) = self.connection.changed() => self.on_connection(),
                () = tokio::time::sleep_until(wake_at) => {
                    if self.on_timer() {
                        break;
                    }
                }
            }
        }
        self.finish();
    }

    /// Says no to everybody who still waits for a number.
    fn finish(mut self) {
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

    fn on_command(&mut self, command: Command) {
        self.last_used = Instant::now();
        match command {
            Command::Append(item) => self.queue.push_back(item),
            // The asker may have gone.
            Command::Fold(reply) => drop(reply.send(self.fold.clone())),
        }
        // Take what else is there, so that it can share a record.
        while self.queue.len() < self.inner.config.max_record_events {
            match self.commands.try_recv() {
                Ok(Command::Append(item)) => self.queue.push_back(item),
                Ok(Command::Fold(reply)) => drop(reply.send(self.fold.clone())),
                Err(_) => break,
            }
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        let last = match notice {
            Notice::Stored(range) => range.last,
            Notice::Voided(void) => void.seq,
        };
        // The store can be faster than the log's answer to us.
        if last > self.head && self.early_notices.len() < MAX_EARLY_NOTICES {
            self.early_notices.push(notice);
        }
        self.apply(notice);
    }

    /// Looks again at notices that came before the events they speak of.
    fn apply_early_notices(&mut self) {
        for notice in std::mem::take(&mut self.early_notices) {
            self.on_notice(notice);
        }
    }

    fn apply(&mut self, notice: Notice) {
        match notice {
            Notice::Stored(range) => self.unstored.stored(range.first, range.last),
            Notice::Voided(void) => self.unstored.voided(void.seq, void.original_id, void.original_seq),
        }
    }

    fn on_connection(&mut self) {
        let now = *self.connection.borrow_and_update();
        if now.up {
            // The broker may have come back without its unsynced tail.
            self.behind = Some(true);
            self.retry_at = None;
        }
    }

    /// Whether the lane has been idle for long enough to go.
    fn on_timer(&mut self) -> bool {
        let now = Instant::now();
        let timeout = self.inner.config.ack_timeout();
        if let Some(deadline) = now.checked_sub(timeout) {
            self.unstored.tell_overdue(deadline);
        }
        self.expire_waiting(now);
        let busy = !self.unstored.is_empty()
            || !self.queue.is_empty()
            || self.batch.is_some()
            || self.log_work.is_some()
            || !self.lookups.is_empty()
            || !self.commands.is_empty();
        !busy && now.duration_since(self.last_used) >= self.inner.config.idle()
    }

    /// Answers those who have waited for the log for too long. What is on its way stays on its way.
    fn expire_waiting(&mut self, now: Instant) {
        while self.queue.front().is_some_and(|item| item.deadline <= now) {
            if let Some(item) = self.queue.pop_front() {
                let reason = "the event log does not answer, or the store is too far behind; nothing was taken";
                item.finish(Progress::Failed(LaneError::Unavailable(reason.to_owned())));
            }
        }
        if self.log_work.is_none() {
            self.release_unsent(now);
        }
        if let Some(batch) = &mut self.batch {
            for item in batch.items.iter_mut().filter(|item| item.deadline <= now) {
                if let Some(mut waiter) = item.waiter.take() {
                    waiter(Progress::Failed(LaneError::OutcomeUnknown));
                }
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let idle = self.last_used + self.inner.config.idle();
        let overdue = self.unstored.oldest().map(|since| {
            // Those already told wait for the next look at the store.
            (since + self.inner.config.ack_timeout()).max(self.next_store_check.unwrap_or(since))
        });
        let queued = self.queue.front().map(|item| item.deadline);
        let sent = self
            .batch
            .as_ref()
            .and_then(|batch| batch.items.iter().filter(|item| item.waiter.is_some()).map(|item| item.deadline).min());
        // A timer that is due but can do nothing must not spin.
        let floor = Instant::now() + Duration::from_millis(20);
        let next =
            [overdue, queued, sent, self.retry_at.filter(|_| self.log_work.is_none())].into_iter().flatten().min();
        next.map_or(idle.max(floor), |next| next.max(floor))
    }

    fn start_log_work(&mut self) {
        if self.log_work.is_some() || self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        if let Some(deep) = self.behind {
            if deep || self.batch.is_some() || !self.queue.is_empty() || !self.replay.is_empty() {
                self.catch_up(deep);
            }
            return;
        }
        if let Some(record) = self.replay.front() {
            let record = Arc::clone(record);
            let append = self.append_of(&EventRecord { replayed_at: Some(self.head), ..(*record).clone() });
            let log = Arc::clone(&self.inner.reader.log);
            let done = async move {
                let answer = log.append(append).await.map(|appended| appended.position);
                LogAnswer::Replay(record, answer)
            };
            self.log_work = Some(done.boxed());
            return;
        }
        if self.batch.is_none() {
            self.build_batch();
        }
        if let Some(batch) = &self.batch {
            let append = self.append_of(&batch.record);
            let log = Arc::clone(&self.inner.reader.log);
            self.log_work =
                Some(async move { LogAnswer::Append(log.append(append).await.map(|done| done.position)) }.boxed());
        }
    }

    fn append_of(&self, record: &EventRecord) -> Append {
        let mut record = record.clone();
        record.previous = self.position.0;
        let id = record.events.first().map(|event| event.id.to_string()).unwrap_or_default();
        Append {
            subject: self.subject.clone(),
            id,
            expected: Some(self.position),
            payload: Bytes::from(record.encode()),
        }
    }

    fn catch_up(&mut self, deep: bool) {
        let reader = self.inner.reader.clone();
        let (id, head) = (self.id, self.head);
        let oldest = self.unstored.seqs().next();
        let base = if deep { oldest.map_or(head, |seq| Seq(seq.0.saturating_sub(1)).min(head)) } else { head };
        let done = async move {
            let tail = reader.tail(id, base).await;
            // What the log no longer has may be in the store: another process appended and stored it before the log lost it.
            let covered =
                tail.as_ref().is_ok_and(|tail| tail.last.is_some_and(|(_, last)| last >= head) && tail.reaches);
            let stored = if covered { Ok(Vec::new()) } else { reader.after(id, head, 4096).await };
            let stored = stored.unwrap_or_else(|error| {
                tracing::warn!(conversation = %id, %error, "the store could not be asked while catching up");
                Vec::new()
            });
            LogAnswer::CaughtUp { tail, stored }
        };
        self.log_work = Some(done.boxed());
    }

    fn start_store_work(&mut self) {
        let Some(oldest) = self.unstored.oldest() else {
            self.next_store_check = None;
            return;
        };
        let now = Instant::now();
        let due = self.next_store_check.unwrap_or(oldest).max(oldest + self.inner.config.ack_timeout());
        let (Some(first), Some(last)) = (self.unstored.seqs().next(), self.unstored.seqs().last()) else { return };
        if self.store_work.is_none() && due <= now {
            self.next_store_check = Some(now + self.inner.config.ack_timeout());
            let (reader, id) = (self.inner.reader.clone(), self.id);
            self.store_work = Some(async move { reader.stored_between(id, first, last).await }.boxed());
        }
    }

    fn on_stored_seqs(&mut self, stored: Result<Vec<Seq>, sea_orm::DbErr>) {
        match stored {
            Ok(seqs) => seqs.into_iter().for_each(|seq| self.unstored.stored(seq, seq)),
            Err(error) => tracing::debug!(conversation = %self.id, %error, "the store could not be asked what it has"),
        }
    }

    fn on_log_answer(&mut self, answer: LogAnswer) {
        match answer {
            LogAnswer::Append(Ok(position)) => {
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

    fn on_append_error(&mut self, error: &AppendError) {
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

    /// Drops items whose time is up from a batch that certainly is not in the log.
    fn release_unsent(&mut self, now: Instant) {
        if self.batch.as_ref().is_none_or(|batch| batch.uncertain || batch.items.iter().all(|item| item.deadline > now))
        {
            return;
        }
        for item in self.batch.take().into_iter().flat_map(|batch| batch.items).rev() {
            if item.deadline <= now {
                item.finish(Progress::Failed(LaneError::Unavailable("the event log is not reachable".to_owned())));
            } else {
                self.queue.push_front(item);
            }
        }
    }

    fn back_off(&mut self) {
        let delay = Duration::from_millis(50 << self.failures.min(6));
        self.failures += 1;
        self.retry_at = Some(Instant::now() + delay);
    }

    /// Numbers what is waiting. Rights and doubles are checked here, where everything before is known.
    fn build_batch(&mut self) {
        let config = self.inner.config.clone();
        let total = self.inner.unstored_total.load(std::sync::atomic::Ordering::Relaxed);
        if self.unstored.len() >= config.max_unstored || total >= config.max_unstored_total {
            return;
        }
        let mut items: Vec<Item> = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.queue.pop_front() {
            bytes += size_of(&item.draft);
            if !items.is_empty() && (items.len() >= config.max_record_events || bytes > config.max_record_bytes) {
                self.queue.push_front(item);
                break;
            }
            if let Some(item) = self.admit(item, &mut items) {
                items.push(item);
            }
        }
        self.batch = self.number(items);
    }

    /// The item, if it is to be appended; else it has been answered, or waits for an answer elsewhere.
    fn admit(&mut self, mut item: Item, items: &mut [Item]) -> Option<Item> {
        let draft = &item.draft;
        if let Some(seq) = self.known.find(draft.id, draft.sender_id, &draft.body) {
            self.answer_again(item, seq);
            return None;
        }
        if let Err(error) = self.fold.check(draft) {
            item.finish(Progress::Failed(error));
            return None;
        }
        if let Some(first) = items.iter_mut().find(|first| is_same(&first.draft, draft)) {
            let waiter = item.waiter.take().map(as_duplicate);
            first.waiter = join(first.waiter.take(), waiter);
            return None;
        }
        Some(item)
    }

    /// The draft repeats event `seq`: its sender gets that one.
    fn answer_again(&mut self, mut item: Item, seq: Seq) {
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
        self.lookups.push(async move { (reader.event_at(id, seq).await, item) }.boxed());
    }

    fn on_lookup(&mut self, found: Result<Option<(Arc<Event>, bool)>, LaneError>, mut item: Item) {
        match found {
            Ok(Some((event, stored))) => {
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
            Ok(None) => item.finish(Progress::Failed(LaneError::OutcomeUnknown)),
            Err(error) => item.finish(Progress::Failed(error)),
        }
    }

    fn number(&self, items: Vec<Item>) -> Option<Batch> {
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
    fn accept(&mut self, batch: Batch) {
        let now = self.inner.clock.now();
        metrics::counter!("sealpost_lane_events_total").increment(batch.items.len() as u64);
        metrics::counter!("sealpost_lane_records_total").increment(1);
        self.head = batch.record.last;
        if let Some(observer) = &self.inner.observer {
            observer.appended(&batch.record);
        }
        for (mut item, event) in batch.items.into_iter().zip(&batch.record.events) {
            self.fold.apply(event);
            self.known.insert(event, now);
            let mut waiter = item.waiter.take();
            if let Some(waiter) = &mut waiter {
                let appended = Appended { event: Arc::clone(event), duplicate: false };
                waiter(Progress::Accepted { appended, stored: false });
            }
            self.unstored.insert(Arc::clone(event), waiter);
        }
        self.apply_early_notices();
    }

    /// Takes over what others appended, finds out what became of the batch, and what the log has lost.
    fn on_caught_up(&mut self, tail: &Tail, stored: &[Arc<Event>]) {
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
            }
        }
        let mut records: Vec<_> = tail.records.iter().collect();
        records.sort_by_key(|record| record.first);
        for record in records {
            self.take_over_record(record);
        }
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

    fn take_over_record(&mut self, record: &Arc<EventRecord>) {
        let before = self.head;
        for event in &record.events {
            let own = self.unstored.get(event.seq).map(|own| own.id);
            if own.is_some_and(|own| own != event.id) {
                self.renumber(event.seq);
            }
            if event.seq == self.head.next() {
                self.take_over(event);
            }
        }
        if self.head > before
            && let Some(observer) = &self.inner.observer
        {
            observer.appended(record);
        }
    }

    /// Another process gave this number away while the log had lost ours. Ours gets a new one; its sender keeps the old answer.
    fn renumber(&mut self, seq: Seq) {
        let Some((event, _)) = self.unstored.take(seq) else { return };
        tracing::error!(conversation = %self.id, %seq, event = %event.id,
            "the event log lost an accepted event and gave its number to another: appending it again with a new number");
        let draft = Draft {
            id: event.id,
            sender_id: event.sender_id,
            created_at: event.created_at,
            body: event.body.clone(),
            rule: crate::Rule::Control,
            retry: false,
        };
        self.known.remove(&event);
        self.queue.push_back(Item {
            draft,
            waiter: None,
            deadline: Instant::now() + self.inner.config.send_timeout() * 6,
        });
    }

    /// An event that stands in the log with the next number: somebody else's, or our own of which we had no answer.
    fn take_over(&mut self, event: &Arc<Event>) {
        self.head = event.seq;
        self.fold.apply(event);
        self.known.insert(event, self.inner.clock.now());
        let Some(batch) = &mut self.batch else { return };
        if let Some(index) = batch.items.iter().position(|item| item.draft.id == event.id) {
            let mut waiter = batch.items.remove(index).waiter.take();
            if let Some(waiter) = &mut waiter {
                let appended = Appended { event: Arc::clone(event), duplicate: false };
                waiter(Progress::Accepted { appended, stored: false });
            }
            self.unstored.insert(Arc::clone(event), waiter);
        }
    }

    /// Records made of the unstored events that the log does not hold.
    fn lost(&self, tail: &Tail) -> VecDeque<Arc<EventRecord>> {
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

/// Ready when there is work and it is done.
async fn work<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(work) => work.await,
        None => std::future::pending().await,
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

/// Content bytes that a draft adds to a record, roughly.
fn size_of(draft: &Draft) -> usize {
    use sealpost_schema::EventBody::{ConversationChanged, MessagePosted};
    300 + match &draft.body {
        MessagePosted { sealed, .. } => sealed.len(),
        ConversationChanged { sealed_title } => sealed_title.as_ref().map_or(0, String::len),
        _ => 0,
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
fn as_duplicate(mut waiter: Waiter) -> Waiter {
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
fn join(one: Option<Waiter>, other: Option<Waiter>) -> Option<Waiter> {
    match (one, other) {
        (Some(mut one), Some(mut other)) => Some(Box::new(move |progress| {
            one(progress.clone());
            other(progress);
        })),
        (one, other) => one.or(other),
    }
}
