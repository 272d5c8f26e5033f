//! The rooms of this process: made when the first local connection needs one, gone with the last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QuerySelect};
use sealpost_bus::{Live, LiveItem, LiveSubscription, Subject};
use sealpost_lane::{Observer, Reader};
use sealpost_schema::entities::{conversation, event};
use sealpost_schema::{
    ConversationId, Event, EventBody, EventRecord, RecordHead, Seq, Signal, SignalBody, StoredNotice, StoredRange,
    live_subject,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::Connection;
use super::room::Room;
use crate::keys::{ConversationKeys, KeyError, sealed_of};
use crate::presence::Presences;
use crate::search::Traffic;

/// Events taken in one step when a hole is filled.
const FILL_EVENTS: usize = 256;
/// How long an early event waits for the ones before it before they are looked for.
const EARLY_WAIT: Duration = Duration::from_millis(20);
/// So often what the store announced is looked for, with growing pauses.
const MAX_EMPTY_FILLS: u32 = 8;
/// So often the store is asked what it has, with growing pauses: it has just said so, and should be there.
const MAX_COMPARES: u32 = 10;

pub struct Hub {
    rooms: Mutex<HashMap<ConversationId, Arc<Room>>>,
    pub keys: Arc<ConversationKeys>,
    pub reader: Reader,
    db: DatabaseConnection,
    live: Arc<dyn Live>,
    presences: Arc<Presences>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Events that were appended here.
    pub traffic: Arc<Traffic>,
    /// For tasks that outlive a call; set right after making.
    own: std::sync::Weak<Hub>,
}

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("live fan-out is not available: {0}")]
    Live(String),
    #[error("the store is not available: {0}")]
    Store(#[from] DbErr),
}

impl Hub {
    pub fn new(
        keys: Arc<ConversationKeys>,
        reader: Reader,
        db: DatabaseConnection,
        live: Arc<dyn Live>,
        presences: Arc<Presences>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (rooms, traffic) = (Mutex::default(), Arc::default());
        Arc::new_cyclic(|own| Self { rooms, keys, reader, db, live, presences, tasks, stop, traffic, own: own.clone() })
    }

    /// The rooms of these conversations, subscribed and started.
    pub async fn enter(&self, ids: &[ConversationId]) -> Result<Vec<Arc<Room>>, HubError> {
        let mut rooms = Vec::with_capacity(ids.len());
        for id in ids {
            rooms.push(self.room(*id).await?);
        }
        let cold: Vec<_> = rooms.iter().filter(|room| !room.is_started()).map(|room| room.id).collect();
        if !cold.is_empty() {
            let heads = self.stored_heads(&cold).await?;
            for room in &rooms {
                if let Some(head) = heads.get(&room.id)
                    && room.start_at(*head, &self.keys)
                {
                    self.fill(room);
                }
            }
        }
        Ok(rooms)
    }

    async fn room(&self, id: ConversationId) -> Result<Arc<Room>, HubError> {
        loop {
            let room = Arc::clone(self.lock().entry(id).or_insert_with(|| Arc::new(Room::new(id))));
            if let Some(claim) = room.claim_subscription()
                && let Some(hub) = self.own.upgrade()
            {
                // In a task of its own: the caller may go away, and a room without a subscription would be deaf.
                self.tasks.spawn(hub.subscribe(Arc::clone(&room), claim));
            }
            room.subscribed().await;
            if room.is_given_up() {
                return Err(HubError::Live("the conversation could not be subscribed to".to_owned()));
            }
            // Else the last one in it left meanwhile, and the next look finds another room.
            if !room.stop.is_cancelled() {
                return Ok(room);
            }
        }
    }

    async fn subscribe(self: Arc<Self>, room: Arc<Room>, claim: DropGuard) {
        let subject = Subject::pattern(live_subject(room.id)).map_err(|error| error.to_string());
        let subscription = match subject {
            Ok(subject) => self.live.subscribe(subject).await.map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match subscription {
            Ok(subscription) => {
                drop(claim);
                self.listen(room, subscription).await;
            }
            Err(error) => {
                tracing::warn!(conversation = %room.id, error, "a conversation cannot be heard");
                room.give_up();
                self.forget(&room);
                drop(claim);
            }
        }
    }

    fn forget(&self, room: &Arc<Room>) {
        let mut rooms = self.lock();
        if rooms.get(&room.id).is_some_and(|known| Arc::ptr_eq(known, room)) {
            rooms.remove(&room.id);
        }
    }

    /// Where these conversations stand in the store: 0 for those without events.
    async fn stored_heads(&self, ids: &[ConversationId]) -> Result<HashMap<ConversationId, Seq>, HubError> {
        let head = Query::select()
            .expr(event::Column::Seq.max())
            .from(event::Entity)
            .and_where(
                Expr::col((event::Entity, event::Column::ConversationId))
                    .equals((conversation::Entity, conversation::Column::Id)),
            )
            .to_owned();
        let rows: Vec<(sea_orm::prelude::Uuid, Option<i64>)> = conversation::Entity::find()
            .select_only()
            .column(conversation::Column::Id)
            .column_as(Expr::SubQuery(None, Box::new(head.into())), "head")
            .filter(conversation::Column::Id.is_in(ids.iter().map(|id| id.0)))
            .into_tuple()
            .all(&self.db)
            .await?;
        let mut heads: HashMap<_, _> = ids.iter().map(|id| (*id, Seq(0))).collect();
        heads.extend(rows.into_iter().map(|(id, head)| (ConversationId(id), Seq::from_db(head.unwrap_or(0)))));
        Ok(heads)
    }

    /// Carries live copies into the room for as long as it is open.
    async fn listen(&self, room: Arc<Room>, mut subscription: LiveSubscription) {
        loop {
            let item = tokio::select! {
                () = room.stop.cancelled() => break,
                () = self.stop.cancelled() => break,
                item = subscription.recv() => item,
            };
            match item {
                Some(LiveItem::Message(message)) => self.on_live(&room, &message.payload).await,
                Some(LiveItem::Lost) => {
                    if room.claim_fill() {
                        self.spawn_fill(&room, true);
                    }
                }
                None => break,
            }
        }
    }

    async fn on_live(&self, room: &Arc<Room>, payload: &[u8]) {
        if Signal::is_signal(payload) {
            match serde_json::from_slice::<Signal>(payload) {
                Ok(signal) if signal.from == self.presences.gateway => {}
                Ok(signal) => self.on_signal(room, &signal.signal),
                Err(error) => tracing::error!(conversation = %room.id, %error, "an unreadable signal was dropped"),
            }
            return;
        }
        // Most copies were seen before, through the local lane: look at the start only.
        let known = |head: RecordHead| room.head().is_some_and(|seen| head.last <= seen);
        if RecordHead::peek(payload).is_ok_and(known) {
            return;
        }
        match EventRecord::decode(payload) {
            Ok(record) if record.conversation_id() == Some(room.id) => {
                self.prepare(&record.events).await;
                self.forget_deleted(&record);
                self.note_participants(room.id, &record.events);
                if room.take(&record.events, &self.keys) {
                    self.fill(room);
                }
            }
            Ok(_) => tracing::error!(conversation = %room.id, "a live copy of another conversation was dropped"),
            Err(error) => tracing::error!(conversation = %room.id, %error, "an unreadable live copy was dropped"),
        }
    }

    /// The keys of a conversation that was deleted elsewhere, and the texts of messages, must not stay in memory here.
    fn forget_deleted(&self, record: &EventRecord) {
        for event in &record.events {
            match &event.body {
                EventBody::ConversationDeleted => self.keys.forget(event.conversation_id),
                EventBody::MessageDeleted { message_id, .. } => self.keys.forget_texts(*message_id),
                _ => {}
            }
        }
    }

    fn note_participants(&self, id: ConversationId, events: &[Arc<Event>]) {
        self.presences.note(id, events.iter().map(|event| &event.body));
    }

    /// Tells all connections of a conversation, here and at the other gateways, what is no event of it.
    pub async fn signal(&self, id: ConversationId, signal: SignalBody) {
        if let Some(room) = self.find(id) {
            self.on_signal(&room, &signal);
        }
        let signal = Signal { signal, from: self.presences.gateway };
        // Plain data always serialises.
        let payload = serde_json::to_vec(&signal).unwrap_or_default();
        if let Ok(subject) = Subject::new(live_subject(id))
            && let Err(error) = self.live.publish(subject, payload.into()).await
        {
            tracing::debug!(conversation = %id, %error, "a signal could not be passed on");
        }
    }

    fn on_signal(&self, room: &Room, signal: &SignalBody) {
        match signal {
            SignalBody::Marks { marks } => room.tell_marks(marks),
            SignalBody::Typing { user_id, active } => self.presences.types(room.id, *user_id, *active),
        }
    }

    /// Brings the keys of these events into memory, as far as they can be had.
    pub async fn prepare(&self, events: &[Arc<Event>]) {
        for event in events {
            if let Some(sealed) = sealed_of(event)
                && !self.keys.is_expired(event)
                && let Err(error @ (KeyError::Store(_) | KeyError::Unwrap(_))) =
                    self.keys.prepare(event.conversation_id, sealed).await
            {
                tracing::warn!(conversation = %event.conversation_id, %error, "a conversation key could not be loaded");
            }
        }
    }

    fn fill(&self, room: &Arc<Room>) {
        self.spawn_fill(room, false);
    }

    /// The caller has claimed the fill. `check`: look for events after the head even if none came early.
    fn spawn_fill(&self, room: &Arc<Room>, check: bool) {
        if let Some(hub) = self.own.upgrade() {
            metrics::counter!("sealpost_live_fills_total").increment(1);
            self.tasks.spawn(hub.run_fill(Arc::clone(room), check));
        }
    }

    async fn run_fill(self: Arc<Self>, room: Arc<Room>, mut check: bool) {
        let mut failures = 0_u32;
        loop {
            let pause = if check { Duration::ZERO } else { EARLY_WAIT * (1_u32 << std::cmp::min(failures, 6_u32)) };
            tokio::select! {
                () = room.stop.cancelled() => return,
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let still = room.still_filling(&self.keys);
            let after = match (still, room.head()) {
                (Some(after), _) => after,
                (None, Some(head)) if check => head,
                (None, _) => return,
            };
            let read = if room.trusts_only_the_store(after) {
                self.reader.after(room.id, after, FILL_EVENTS).await
            } else {
                self.reader.fill(room.id, after, FILL_EVENTS).await
            };
            match read {
                Ok(events) => {
                    check = check && events.len() == FILL_EVENTS;
                    failures = if events.is_empty() { failures + 1 } else { 0 };
                    if failures == MAX_EMPTY_FILLS {
                        room.forget_announced();
                    }
                    self.prepare(&events).await;
                    self.note_participants(room.id, &events);
                    if room.take(&events, &self.keys) || still.is_some() || check {
                        continue;
                    }
                    return;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(conversation = %room.id, %error, "a hole could not be filled yet");
                }
            }
        }
    }

    /// Takes a connection out of all its rooms.
    pub fn leave(&self, connection: &Arc<Connection>) {
        for (_, room) in connection.take_rooms() {
            self.detach(connection, &room);
        }
    }

    /// Takes a connection out of one room.
    pub fn leave_one(&self, connection: &Arc<Connection>, id: ConversationId) {
        if let Some(room) = connection.take_room(id) {
            self.detach(connection, &room);
        }
    }

    fn detach(&self, connection: &Arc<Connection>, room: &Arc<Room>) {
        if room.detach(connection) {
            // Under the map's lock, so that nobody is given a room that closes.
            let mut rooms = self.lock();
            if room.close_if_empty() && rooms.get(&room.id).is_some_and(|known| Arc::ptr_eq(known, room)) {
                rooms.remove(&room.id);
            }
        }
    }

    /// Rooms that lack what the store has look for it.
    pub fn stored(&self, notice: &StoredNotice) {
        // What stands there may be this event, kept as void, or another one that has its number: that must be asked.
        let voided = notice.voided.iter().map(|void| StoredRange {
            conversation_id: void.conversation_id,
            first: void.seq,
            last: void.seq,
            ids: !StoredRange::fingerprint([void.id]),
        });
        let rooms = self.lock();
        let ranges = notice.stored.iter().copied().chain(voided);
        let heard: Vec<_> = ranges
            .filter_map(|range| {
                let room = rooms.get(&range.conversation_id)?;
                let heard = room.stored(&range);
                (heard.behind || heard.doubtful.is_some()).then(|| (Arc::clone(room), heard))
            })
            .collect();
        drop(rooms);
        for (room, heard) in heard {
            if heard.behind {
                self.fill(&room);
            }
            if let Some(range) = heard.doubtful {
                self.compare(room, range);
            }
        }
    }

    fn compare(&self, room: Arc<Room>, range: (Seq, Seq)) {
        if let Some(hub) = self.own.upgrade() {
            self.tasks.spawn(hub.run_compare(room, range));
        }
    }

    /// Asks the store which events it has under numbers that may have been shown as others.
    async fn run_compare(self: Arc<Self>, room: Arc<Room>, (first, last): (Seq, Seq)) {
        for tries in 0..MAX_COMPARES {
            match self.reader.stored_ids(room.id, first, last).await {
                Ok(stored) => {
                    if room.compare(&stored) {
                        self.fill(&room);
                    }
                    return;
                }
                Err(error) => tracing::warn!(conversation = %room.id, %error, "the store could not be compared with"),
            }
            tokio::select! {
                () = room.stop.cancelled() => return,
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(EARLY_WAIT * (1_u32 << tries)) => {}
            }
        }
    }

    /// After a reconnect of the bus: looks at the head of every room, and at what was shown, since notices may have been lost.
    pub fn check_all(&self) {
        let rooms: Vec<_> = self.lock().values().cloned().collect();
        for room in rooms {
            if room.is_started() && room.claim_fill() {
                self.spawn_fill(&room, true);
            }
            if let Some(range) = room.unconfirmed() {
                self.compare(room, range);
            }
        }
    }

    /// Where the room of this conversation stands, if there is one that has started.
    pub fn head(&self, id: ConversationId) -> Option<Seq> {
        self.find(id)?.head()
    }

    pub fn find(&self, id: ConversationId) -> Option<Arc<Room>> {
        self.lock().get(&id).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Hub {
    fn appended(&self, record: &Arc<EventRecord>) {
        self.traffic.note(record.events.len());
        self.forget_deleted(record);
        let Some(room) = record.conversation_id().and_then(|id| self.find(id)) else { return };
        self.note_participants(room.id, &record.events);
        if room.take(&record.events, &self.keys) {
            self.fill(&room);
        }
    }
}
