//! The lanes of this process: opened when first needed, one per conversation, gone when idle.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder};
use sealpost_bus::EventLog;
use sealpost_schema::entities::{conversation, event, participant};
use sealpost_schema::{Clock, ConversationId, ConversationKind, Event, Role, Seq, StoredNotice, UserId};
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::actor::{Actor, Command, Item, Notice};
use crate::known::Known;
use crate::reader::{Reader, store_error, subject_of};
use crate::{Appended, Draft, Fold, LaneConfig, LaneError, Observer, Progress, Rule, Waiter};

/// Cheap to clone.
#[derive(Clone)]
pub struct Lanes {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub reader: Reader,
    pub config: LaneConfig,
    pub clock: Clock,
    pub observer: Option<Arc<dyn Observer>>,
    pub unstored_total: Arc<AtomicUsize>,
    lanes: Mutex<HashMap<ConversationId, Arc<OnceCell<Handle>>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    notices: mpsc::Sender<Notice>,
    disappear_after: DisappearAfter,
}

/// What the fold says of this, for those who seal a message: asking the lane for each would cost too much. 0: messages stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct DisappearAfter(Arc<AtomicU32>);

impl DisappearAfter {
    pub fn set(&self, seconds: Option<u32>) {
        self.0.store(seconds.unwrap_or(0), Ordering::Release);
    }

    fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Acquire)).filter(|seconds| *seconds > 0)
    }
}

impl Lanes {
    /// `stop` ends all lanes at once: cancel it after the last sender has gone.
    pub fn new(
        log: Arc<dyn EventLog>,
        db: DatabaseConnection,
        config: LaneConfig,
        clock: Clock,
        observer: Option<Arc<dyn Observer>>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let inner = Inner {
            reader: Reader::new(log, db),
            config,
            clock,
            observer,
            unstored_total: Arc::default(),
            lanes: Mutex::default(),
            tasks,
            stop,
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Events appended here and not known to be stored, over all lanes.
    pub fn unstored(&self) -> usize {
        self.inner.unstored_total.load(Ordering::Relaxed)
    }

    /// Events of one conversation that may be unstored at once.
    pub fn max_unstored(&self) -> u64 {
        self.inner.config.max_unstored as u64
    }

    /// Open lanes.
    pub fn open_lanes(&self) -> usize {
        self.lock().len()
    }

    /// Hands a draft to its lane. Waits while the lane's queue is full, up to the send time-out. Drafts of one caller keep their order.
    /// An `Err` here means that the waiter will not be called.
    pub async fn submit(
        &self,
        conversation: ConversationId,
        draft: Draft,
        mut waiter: Waiter,
    ) -> Result<(), LaneError> {
        let deadline = Instant::now() + self.inner.config.send_timeout();
        let mut item = Item { draft, waiter: None, deadline: Some(deadline), looked: false };
        // Opening twice is enough: a lane that was just opened is not idle.
        for _ in 0..3 {
            let handle = tokio::time::timeout_at(deadline, self.open(conversation))
                .await
                .map_err(|_| LaneError::Unavailable("the conversation could not be opened in time".to_owned()))??;
            if (item.draft.retry || item.draft.rule == Rule::Control)
                && let Some((appended, stored)) = self.find_repeated(conversation, &item.draft).await?
            {
                waiter(Progress::Accepted { appended, stored });
                return Ok(());
            }
            let sent = tokio::time::timeout_at(deadline, handle.commands.reserve()).await;
            match sent {
                Err(_) => return Err(LaneError::Unavailable("too much is waiting in this conversation".to_owned())),
                Ok(Ok(permit)) => {
                    item.waiter = Some(waiter);
                    permit.send(Command::Append(item));
                    return Ok(());
                }
                Ok(Err(_)) => self.forget(conversation, &handle),
            }
        }
        Err(LaneError::Unavailable("the server is stopping".to_owned()))
    }

    /// Appends and waits until the log has it.
    pub async fn append(&self, conversation: ConversationId, draft: Draft) -> Result<Appended, LaneError> {
        let (sender, receiver) = oneshot::channel();
        let mut sender = Some(sender);
        let waiter: Waiter = Box::new(move |progress| {
            let result = match progress {
                Progress::Accepted { appended, .. } => Ok(appended),
                Progress::Failed(error) => Err(error),
                Progress::Overdue | Progress::Stored | Progress::Voided { .. } => return,
            };
            if let Some(sender) = sender.take() {
                // A caller that went away does not want the answer.
                let _ = sender.send(result);
            }
        });
        self.submit(conversation, draft, waiter).await?;
        receiver.await.unwrap_or(Err(LaneError::OutcomeUnknown))
    }

    /// Who takes part, as of the last event that the lane knows.
    pub async fn fold(&self, conversation: ConversationId) -> Result<Fold, LaneError> {
        for _ in 0..3 {
            let handle = self.open(conversation).await?;
            let (sender, receiver) = oneshot::channel();
            if handle.commands.send(Command::Fold(sender)).await.is_ok()
                && let Ok(fold) = receiver.await
            {
                return Ok(fold);
            }
            self.forget(conversation, &handle);
        }
        Err(LaneError::Unavailable("the server is stopping".to_owned()))
    }

    /// After how many seconds messages disappear, as of the last event that the lane knows. If that changes before a message has its number,
    /// the lane says [`LaneError::Changed`].
    pub async fn disappear_after(&self, conversation: ConversationId) -> Result<Option<u32>, LaneError> {
        Ok(self.open(conversation).await?.disappear_after.get())
    }

    /// Tells the lanes what a persistence worker has committed.
    pub fn stored(&self, notice: &StoredNotice) {
        let lanes = self.lock();
        let find = |conversation| lanes.get(&conversation).and_then(|cell| cell.get());
        for void in &notice.voided {
            if let Some(handle) = find(void.conversation_id) {
                handle.tell(Notice::Voided(*void));
            }
        }
        for range in &notice.stored {
            if let Some(handle) = find(range.conversation_id) {
                handle.tell(Notice::Stored(*range));
            }
        }
    }

    /// Has every lane ask the store what it has: notices may have been lost.
    pub fn ask_store(&self) {
        let lanes = self.lock();
        let mut open: Vec<_> = lanes.iter().filter_map(|(id, cell)| Some((*id, cell.get()?))).collect();
        // In an order that is the same in each run, for simulations.
        open.sort_unstable_by_key(|(id, _)| *id);
        for (_, handle) in open {
            handle.tell(Notice::Ask);
        }
    }

    async fn open(&self, conversation: ConversationId) -> Result<Handle, LaneError> {
        let cell = {
            let mut lanes = self.lock();
            if !lanes.contains_key(&conversation) && lanes.len() >= self.inner.config.max_lanes {
                return Err(LaneError::Unavailable("too many active conversations on this server".to_owned()));
            }
            Arc::clone(lanes.entry(conversation).or_default())
        };
        let opened = cell.get_or_try_init(|| self.start(conversation)).await.cloned();
        if opened.is_err() {
            let mut lanes = self.lock();
            if lanes.get(&conversation).is_some_and(|cell| !cell.initialized() && Arc::strong_count(cell) <= 2) {
                lanes.remove(&conversation);
            }
        }
        opened
    }

    /// Loads the end of the conversation and starts its task.
    async fn start(&self, conversation: ConversationId) -> Result<Handle, LaneError> {
        if self.inner.stop.is_cancelled() {
            return Err(LaneError::Unavailable("the server is stopping".to_owned()));
        }
        let opened = self.load(conversation).await?;
        let (commands, command_queue) = mpsc::channel(self.inner.config.queue);
        let (notices, notice_queue) = mpsc::channel(64);
        let handle = Handle { commands, notices, disappear_after: DisappearAfter::default() };
        handle.disappear_after.set(opened.fold.disappear_after);
        let shown = handle.disappear_after.clone();
        let actor = Actor::new(Arc::clone(&self.inner), conversation, opened, command_queue, notice_queue, shown);
        let (lanes, stop, own) = (self.clone(), self.inner.stop.clone(), handle.commands.clone().downgrade());
        self.inner.tasks.spawn(async move {
            actor.run(stop).await;
            lanes.lock().retain(|id, cell| {
                *id != conversation
                    || cell
                        .get()
                        .is_some_and(|handle| own.upgrade().is_none_or(|own| !own.same_channel(&handle.commands)))
            });
        });
        Ok(handle)
    }

    async fn load(&self, id: ConversationId) -> Result<Opened, LaneError> {
        let Inner { reader, config, clock, .. } = &*self.inner;
        let db = &reader.db;
        // Before what is decided is read: a change that is decided then and has a number is beyond it, and so it is found in the log.
        let (floor, _) = reader.stored_floor(id).await.map_err(|error| store_error(&error))?;
        let (row, participants) =
            tokio::try_join!(conversation::Entity::find_by_id(id.0).one(db), participant::Entity::of(id.0).all(db))
                .map_err(|error| store_error(&error))?;
        // One after the other: what changed the participants is among the decided changes, or is an event by then.
        let mut decided = reader.decided(id).await.map_err(|error| store_error(&error))?;
        let since = clock.now().millis().saturating_sub(i64::try_from(config.known_for_ms).unwrap_or(i64::MAX));
        let recent = recent_events(db, id, config.max_known, since).await.map_err(|error| store_error(&error))?;
        let row = row.ok_or(LaneError::NotFound)?;
        let kind = ConversationKind::parse(&row.kind)
            .ok_or_else(|| LaneError::Corrupt(format!("conversation of kind `{}`", row.kind)))?;
        let roles =
            participants.iter().filter_map(|row| Some((UserId(row.user_id), Role::parse(&row.role)?))).collect();
        let rights = row.rights_of(kind).map_err(|error| LaneError::Corrupt(format!("rights: {error}")))?;
        let disappear_after = row.lifetimes().disappear_after_seconds;
        let mut fold = Fold { kind, deleted: row.deleted_at.is_some(), roles, rights, disappear_after };
        let mut known = Known::new(config.max_known, config.known_for());
        let mut head = Seq::default();
        for event in recent.iter().rev() {
            head = head.max(Seq::from_db(event.seq));
            let event = event.to_event().map_err(|error| LaneError::Corrupt(error.to_string()))?;
            known.insert(&event, event.created_at, |_| false);
        }
        let stored = head;
        let tail = reader.tail(id, floor.min(stored)).await?;
        let events = tail.events_after(floor.min(stored));
        for (seq, event) in &events {
            known.insert(event, clock.now(), |seq| seq > floor);
            // Participants come from the store, which is never behind the log in this; only what is not stored yet is folded. Where the
            // store is ahead of the log, the lane begins by appending what is decided.
            if *seq > stored {
                fold.apply(event);
                head = *seq;
            }
        }
        // `known` may be too small for all of them.
        decided.retain(|draft| events.values().all(|event| event.id != draft.id));
        let log_head = tail.last.map(|(_, last)| last).unwrap_or_default();
        if tail.is_cut {
            return Err(LaneError::Unavailable("too much of this conversation is not stored yet".to_owned()));
        }
        let lost = self.lost_numbers(id, floor, stored, log_head, &events).await?;
        // The log alone has these: should it forget them, this lane can append them again.
        let unstored = events.range(stored.next()..).map(|(_, event)| Arc::clone(event)).collect();
        head = head.max(log_head);
        let position = tail.last.map(|(position, _)| position).unwrap_or_default();
        Ok(Opened { subject: subject_of(id)?, fold, known, head, position, lost, unstored, decided })
    }

    /// Numbers that were given away, and that neither the store nor the log has: a power cut took them.
    async fn lost_numbers(
        &self,
        id: ConversationId,
        floor: Seq,
        stored: Seq,
        log_head: Seq,
        logged: &BTreeMap<Seq, Arc<Event>>,
    ) -> Result<Vec<Seq>, LaneError> {
        let head = stored.max(log_head);
        let missing: Vec<_> = (floor.0 + 1..=head.0).map(Seq).filter(|seq| !logged.contains_key(seq)).collect();
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(Vec::new()) };
        // Asked after the log was read: what left the log for the store meanwhile is found there.
        let stored = self.inner.reader.stored_between(id, *first, *last).await.map_err(|error| store_error(&error))?;
        Ok(missing.into_iter().filter(|seq| !stored.contains(seq)).collect())
    }

    /// What the draft repeats, and whether that is stored.
    async fn find_repeated(
        &self,
        conversation: ConversationId,
        draft: &Draft,
    ) -> Result<Option<(Appended, bool)>, LaneError> {
        if draft.rule == Rule::Control
            && let Some(event) = self.inner.reader.find_unstored(conversation, draft.id).await?
        {
            return Ok(Some((Appended { event, duplicate: true }, false)));
        }
        match self.inner.reader.find_like(conversation, draft).await {
            Ok(found) => Ok(found.map(|event| (Appended { event: Arc::new(event), duplicate: true }, true))),
            // Chat goes on without the store: the lane knows the last minutes, and the store's unique index is the last guard.
            Err(LaneError::Unavailable(error)) if draft.rule != Rule::Control => {
                tracing::warn!(error, "a repeated message could not be looked up in the store");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn forget(&self, conversation: ConversationId, handle: &Handle) {
        let mut lanes = self.lock();
        let same = |cell: &Arc<OnceCell<Handle>>| {
            cell.get().is_some_and(|other| other.commands.same_channel(&handle.commands))
        };
        if lanes.get(&conversation).is_some_and(same) {
            lanes.remove(&conversation);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Arc<OnceCell<Handle>>>> {
        self.inner.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// A notice that finds no place is lost: the lane asks the store itself before long.
    fn tell(&self, notice: Notice) {
        let _ = self.notices.try_send(notice);
    }
}

/// What a lane starts from.
pub(crate) struct Opened {
    pub subject: sealpost_bus::Subject,
    pub fold: Fold,
    pub known: Known,
    pub head: Seq,
    pub position: sealpost_bus::Position,
    /// Numbers to be closed with `void` events.
    pub lost: Vec<Seq>,
    /// Events that the log has and the store has not.
    pub unstored: Vec<Arc<Event>>,
    /// Control changes that may not be in the log yet; they come before anything else.
    pub decided: Vec<Draft>,
}

/// The newest events, newest first: at least one if there is any, more while they are younger than `since`.
async fn recent_events(
    db: &DatabaseConnection,
    id: ConversationId,
    max: usize,
    since: i64,
) -> Result<Vec<event::Model>, sea_orm::DbErr> {
    let newest = |limit: usize| {
        let head = Query::select()
            .expr(Expr::col(event::Column::Seq).max())
            .from(event::Entity)
            .and_where(event::Column::ConversationId.eq(id.0))
            .to_owned();
        let head = Expr::SubQuery(None, Box::new(head.into()));
        event::Entity::find()
            .filter(event::Column::ConversationId.eq(id.0))
            // Not a limit: see to it that Postgres, whatever its statistics say, does not read all of a long conversation.
            .filter(Expr::col(event::Column::Seq).gt(head.sub(i64::try_from(limit).unwrap_or(i64::MAX))))
            .order_by_desc(event::Column::Seq)
            .all(db)
    };
    let some = newest(std::cmp::min(64, max)).await?;
    if max <= 64 || some.last().is_none_or(|oldest| oldest.seq <= 1 || oldest.created_at < since) {
        return Ok(some);
    }
    newest(max).await
}
