//! One lane: the task that owns the end of one conversation.
//!
//! It does one thing to the log at a time (an append or a look at what it missed) and one to the store (asking what is
//! stored), and stays open for new drafts and notices meanwhile.

mod batch;
mod recovery;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sealpost_bus::{Append, AppendError, Connection, EventLog, Position, Subject};
use sealpost_schema::{ConversationId, Event, EventRecord, Seq, StoredRange, VoidedEvent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::recovery::close_numbers;
use crate::additions::Additions;
use crate::known::Known;
use crate::reader::{StoredAt, Tail};
use crate::registry::{DisappearAfter, Inner, Opened};
use crate::unstored::Unstored;
use crate::{Draft, Fold, LaneError, Progress, Waiter};

/// Notices that wait for their events, per lane; what does not fit is made up for by asking the store.
const MAX_EARLY_NOTICES: usize = 64;

/// Before the log is looked at because it said that it has a record already.
const DUPLICATE_PAUSE: Duration = Duration::from_millis(20);

pub(crate) enum Command {
    Append(Item),
    Fold(oneshot::Sender<Fold>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    Stored(StoredRange),
    Voided(VoidedEvent),
    /// Notices may have been lost: ask the store.
    Ask,
}

pub(crate) struct Item {
    pub draft: Draft,
    pub waiter: Option<Waiter>,
    /// `None`: it must get into the log, however long that takes.
    pub deadline: Option<Instant>,
    /// The log was looked at after this came: if it is refused now, that counts.
    pub looked: bool,
}

impl Item {
    fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

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

type Lookup = BoxFuture<'static, (Result<Found, LaneError>, Item)>;

/// What became of an event that a draft repeats.
enum Found {
    /// It is there; whether the store has it.
    There(Arc<Event>, bool),
    /// Its number has another event, and it is nowhere.
    Lost,
    /// It cannot be seen now.
    Hidden,
}

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
    shown: DisappearAfter,
    known: Known,
    additions: Additions,
    queue: VecDeque<Item>,
    batch: Option<Batch>,
    unstored: Unstored,
    early_notices: Vec<Notice>,
    /// Records that the log has lost, to be appended again before anything new.
    replay: VecDeque<Arc<EventRecord>>,
    /// Numbers of events of ours that are others' by now. What those say is to be read before anything is numbered.
    given_away: BTreeSet<Seq>,
    /// The log must be looked at before the next append; `Some(true)`: back to the oldest unstored event.
    behind: Option<bool>,
    retry_at: Option<Instant>,
    failures: u32,
    log_work: Option<BoxFuture<'static, LogAnswer>>,
    store_work: Option<BoxFuture<'static, Result<Vec<StoredAt>, sea_orm::DbErr>>>,
    next_store_check: Option<Instant>,
    ask_store: bool,
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
        shown: DisappearAfter,
    ) -> Self {
        let mut unstored = Unstored::new(Arc::clone(&inner.unstored_total));
        let replay = close_numbers(id, opened.lost, &mut unstored, inner.clock.now());
        for event in opened.unstored {
            unstored.insert(event, None);
        }
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
            shown,
            known: opened.known,
            additions: Additions::new(opened.head),
            queue: opened
                .decided
                .into_iter()
                .map(|draft| Item { draft, waiter: None, deadline: None, looked: true })
                .collect(),
            batch: None,
            unstored,
            early_notices: Vec::new(),
            replay,
            given_away: BTreeSet::new(),
            behind: None,
            retry_at: None,
            failures: 0,
            log_work: None,
            store_work: None,
            next_store_check: None,
            ask_store: false,
            lookups: FuturesUnordered::new(),
            last_used: Instant::now(),
            inner,
        }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        // Made once: setting a timer anew in each round costs more than one that rings too early now and then.
        let mut timer = std::pin::pin!(tokio::time::sleep_until(self.wake_at()));
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            self.start_log_work();
            self.start_store_work();
            let wake_at = self.wake_at();
            if timer.is_elapsed() || wake_at < timer.deadline() {
                timer.as_mut().reset(wake_at);
            }
            let has_room = self.queue.len() < self.inner.config.max_record_events;
            tokio::select! {
                biased;
                () = &mut stopped => break,
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
                () = &mut timer => {
                    if self.on_timer() {
                        break;
                    }
                }
            }
        }
        self.finish();
    }

    fn fold_in(&mut self, event: &Event) {
        self.fold.apply(event);
        self.additions.note(event);
        self.shown.set(self.fold.disappear_after);
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
            Notice::Ask => {
                self.next_store_check = Some(Instant::now());
                self.ask_store = true;
                return;
            }
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
            Notice::Stored(range) => {
                if !self.unstored.stored_range(&range) {
                    // A part of it, or other events under our numbers: the store knows.
                    self.next_store_check = Some(Instant::now());
                    self.ask_store = true;
                }
            }
            Notice::Voided(void) => self.unstored.voided(void.seq, void.original_id, void.original_seq),
            Notice::Ask => {}
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

    fn wake_at(&self) -> Instant {
        let idle = self.last_used + self.inner.config.idle();
        let overdue = self.unstored.oldest().map(|since| {
            // Those already told wait for the next look at the store.
            (since + self.inner.config.ack_timeout()).max(self.next_store_check.unwrap_or(since))
        });
        let queued = self.queue.iter().find_map(|item| item.deadline);
        let sent = self.batch.as_ref().and_then(|batch| {
            batch.items.iter().filter(|item| item.waiter.is_some()).filter_map(|item| item.deadline).min()
        });
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
            let done = async move { LogAnswer::Replay(record, append_new(&*log, append).await) };
            self.log_work = Some(done.boxed());
            return;
        }
        if self.batch.is_none() {
            self.build_batch();
        }
        if let (None, Some(deep)) = (&self.batch, self.behind) {
            return self.catch_up(deep);
        }
        if let Some(batch) = &self.batch {
            let append = self.append_of(&batch.record);
            let log = Arc::clone(&self.inner.reader.log);
            self.log_work = Some(async move { LogAnswer::Append(append_new(&*log, append).await) }.boxed());
        }
    }

    fn append_of(&self, record: &EventRecord) -> Append {
        let mut record = record.clone();
        record.previous = self.position.0;
        // With its number: an event that gets a new one is another record to the log, which may still have the first.
        let id = record.events.first().map(|event| format!("{}.{}", event.id, event.seq)).unwrap_or_default();
        Append {
            subject: self.subject.clone(),
            id,
            expected: Some(self.position),
            payload: Bytes::from(record.encode()),
        }
    }

    fn start_store_work(&mut self) {
        let Some(oldest) = self.unstored.oldest() else {
            self.next_store_check = None;
            return;
        };
        let now = Instant::now();
        let due = self.next_store_check.unwrap_or(oldest).max(oldest + self.inner.config.ack_timeout());
        let (Some(first), Some(last)) = (self.unstored.seqs().next(), self.unstored.seqs().last()) else { return };
        if self.store_work.is_none() && (due <= now || self.ask_store) {
            self.ask_store = false;
            self.next_store_check = Some(now + self.inner.config.ack_timeout());
            let (reader, id) = (self.inner.reader.clone(), self.id);
            self.store_work = Some(async move { reader.stored_at(id, first, last).await }.boxed());
        }
    }

    fn on_stored_seqs(&mut self, stored: Result<Vec<StoredAt>, sea_orm::DbErr>) {
        match stored {
            Ok(stored) => stored.into_iter().for_each(|at| self.on_stored_at(at)),
            Err(error) => tracing::debug!(conversation = %self.id, %error, "the store could not be asked what it has"),
        }
    }
}

/// An answer for a record that the log had before says nothing of where the conversation ends: it has to be looked at.
async fn append_new(log: &dyn EventLog, append: Append) -> Result<Position, AppendError> {
    match log.append(append).await? {
        appended if appended.duplicate => {
            // Not at once: a log that only says so would be asked without a pause.
            tokio::time::sleep(DUPLICATE_PAUSE).await;
            Err(AppendError::Conflict)
        }
        appended => Ok(appended.position),
    }
}

/// Ready when there is work and it is done.
async fn work<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
