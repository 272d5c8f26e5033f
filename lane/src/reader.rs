//! Reads a conversation's events from wherever they are: the store, and the end of the log that is not stored yet.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query};
use sea_orm::{
    ColumnTrait, ConnectionTrait as _, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use sealpost_bus::{EventLog, LogError, Position, Subject};
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, Event, EventBody, EventId, EventRecord, MessageId, Seq, chat_subject, redact};

use crate::{Draft, LaneError};

/// Records read back in one go at most; more than this unstored in one conversation is an error, not a loop.
const MAX_WALK: usize = 20_000;

/// Conversations whose floor is remembered: 1 MiB.
const MAX_FLOORS: usize = 20_000;

/// How far behind the highest stored seq a hole is looked for; more than workers can hold at once.
const HOLE_WINDOW: u64 = 1024;

/// The end of a conversation as the log has it.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    /// Newest record: its position, and the highest seq given away by then.
    pub last: Option<(Position, Seq)>,
    /// Records that hold events after the asked-for seq, oldest first.
    pub records: Vec<Arc<EventRecord>>,
    /// Whether the records reach back to the asked-for seq without a hole.
    pub reaches: bool,
    /// There was more than is read in one go.
    pub is_cut: bool,
}

impl Tail {
    /// Events after `after`, in order, each seq once.
    pub fn events_after(&self, after: Seq) -> BTreeMap<Seq, Arc<Event>> {
        let events = self.records.iter().flat_map(|record| &record.events);
        events.filter(|event| event.seq > after).map(|event| (event.seq, Arc::clone(event))).collect()
    }
}

/// What the store has under a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredAt {
    pub seq: Seq,
    pub id: EventId,
    /// Of a void: the message that was repeated, and its seq.
    pub voided: Option<(MessageId, Seq)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) db: DatabaseConnection,
    /// By conversation: up to where the store was seen to have everything. What is stored stays, so it is never too high.
    floors: Arc<Mutex<HashMap<ConversationId, Seq>>>,
}

pub(crate) fn subject_of(conversation: ConversationId) -> Result<Subject, LaneError> {
    Subject::new(chat_subject(conversation)).map_err(|error| LaneError::Corrupt(error.to_string()))
}

impl From<LogError> for LaneError {
    fn from(error: LogError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

pub(crate) fn store_error(error: &DbErr) -> LaneError {
    LaneError::Unavailable(format!("the store: {error}"))
}

impl Reader {
    pub fn new(log: Arc<dyn EventLog>, db: DatabaseConnection) -> Self {
        Self { log, db, floors: Arc::default() }
    }

    /// Walks the log back from its end to `after`, or as far as it goes.
    pub async fn tail(&self, conversation: ConversationId, after: Seq) -> Result<Tail, LaneError> {
        self.walk(conversation, after, MAX_WALK).await
    }

    async fn walk(&self, conversation: ConversationId, after: Seq, max: usize) -> Result<Tail, LaneError> {
        let subject = subject_of(conversation)?;
        let mut tail = Tail::default();
        let mut seen = HashSet::new();
        let mut next = self.log.last(&subject).await?;
        while let Some(raw) = next.take() {
            let record = EventRecord::decode(&raw.payload).map_err(|error| LaneError::Corrupt(error.to_string()))?;
            if record.conversation_id() != Some(conversation) {
                return Err(LaneError::Corrupt(format!("record {} is of another conversation", raw.position.0)));
            }
            let (_, head) = *tail.last.get_or_insert((raw.position, record.head()));
            let previous = record.previous;
            seen.extend(record.events.iter().map(|event| event.seq).filter(|seq| (after.next()..=head).contains(seq)));
            if record.last > after {
                tail.records.push(Arc::new(record));
            }
            // Records that were appended again may stand behind later ones, so what counts is whether all are there.
            if seen.len() as u64 == head.0.saturating_sub(after.0) {
                tail.reaches = true;
                break;
            }
            if previous == 0 || previous >= raw.position.0 {
                break;
            }
            if tail.records.len() >= max {
                tail.is_cut = true;
                break;
            }
            next = self.log.get(Position(previous)).await?.filter(|raw| raw.subject == subject);
        }
        tail.records.reverse();
        Ok(tail)
    }

    /// Events after `after` without a hole, at most `limit`; from the log if it reaches, else from the store. For gaps in what is
    /// live now: works while the store is down.
    pub async fn fill(
        &self,
        conversation: ConversationId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, LaneError> {
        let tail = self.walk(conversation, after, 64).await?;
        if tail.reaches || tail.last.is_some_and(|(_, last)| last <= after) {
            return Ok(contiguous(tail.events_after(after), after, limit));
        }
        self.after(conversation, after, limit).await
    }

    /// Events after `after` without a hole, at most `limit`; from the store, and the log for what is not stored yet.
    pub async fn after(
        &self,
        conversation: ConversationId,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, LaneError> {
        let rows = event::Entity::find()
            .filter(event::Column::ConversationId.eq(conversation.0))
            .filter(event::Column::Seq.gt(after.to_db()))
            // More would not be without a hole. An upper bound keeps Postgres, whatever its statistics say, from reading all that follows.
            .filter(event::Column::Seq.lte(Seq(after.0.saturating_add(limit as u64)).to_db()))
            .order_by_asc(event::Column::Seq)
            .all(&self.db)
            .await
            .map_err(|error| store_error(&error))?;
        let mut events = BTreeMap::new();
        for row in rows {
            let event = row.to_event().map_err(|error| LaneError::Corrupt(error.to_string()))?;
            events.insert(event.seq, Arc::new(event));
        }
        let run = contiguous(events.clone(), after, limit);
        if run.len() >= limit {
            return Ok(run);
        }
        let stored_to = run.last().map_or(after, |event| event.seq);
        for (seq, event) in self.tail(conversation, stored_to).await?.events_after(stored_to) {
            // The store's row wins: it knows of deletions.
            events.entry(seq).or_insert(event);
        }
        Ok(contiguous(events, after, limit))
    }

    /// The event with this number, and whether the store has it.
    pub async fn event_at(
        &self,
        conversation: ConversationId,
        seq: Seq,
    ) -> Result<Option<(Arc<Event>, bool)>, LaneError> {
        let row = event::Entity::find_by_id((conversation.0, seq.to_db())).one(&self.db).await;
        match row {
            Ok(Some(row)) => {
                let event = row.to_event().map_err(|error| LaneError::Corrupt(error.to_string()))?;
                return Ok(Some((Arc::new(event), true)));
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the store is away: looking in the log"),
        }
        let tail = self.tail(conversation, Seq(seq.0.saturating_sub(1))).await?;
        Ok(tail.events_after(Seq(seq.0.saturating_sub(1))).remove(&seq).map(|event| (event, false)))
    }

    /// The highest seq in the store; 0 if it has none.
    pub async fn stored_head(&self, conversation: ConversationId) -> Result<Seq, DbErr> {
        let head: Option<Option<i64>> = event::Entity::find()
            .select_only()
            .column_as(event::Column::Seq.max(), "head")
            .filter(event::Column::ConversationId.eq(conversation.0))
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(Seq::from_db(head.flatten().unwrap_or(0)))
    }

    /// The seq up to which the store has everything, and its highest one. They differ while a persistence worker lags behind another:
    /// workers store in any order. Looks at what was stored since the last look, of that at the last [`HOLE_WINDOW`] seqs.
    pub async fn stored_floor(&self, conversation: ConversationId) -> Result<(Seq, Seq), DbErr> {
        let known = self.known_floor(conversation).unwrap_or_default();
        let seq = || Expr::col(event::Column::Seq);
        let of = || event::Column::ConversationId.eq(conversation.0);
        let head = Query::select().expr(seq().max()).from(event::Entity).and_where(of()).to_owned();
        let head = Expr::SubQuery(None, Box::new(head.into()));
        let summary = Query::select()
            .exprs([seq().max(), seq().count()])
            .from(event::Entity)
            .and_where(of())
            .and_where(seq().gt(known.to_db()))
            .and_where(seq().gt(head.sub(Seq(HOLE_WINDOW).to_db())))
            .to_owned();
        let Some(row) = self.db.query_one(&summary).await? else { return Ok((known, known)) };
        let head: Option<i64> = row.try_get_by_index(0)?;
        let Some(head) = head.map(Seq::from_db) else { return Ok((known, known)) };
        let count = Seq::from_db(row.try_get_by_index(1)?).0;
        let from = known.max(Seq(head.0.saturating_sub(HOLE_WINDOW)));
        let floor = if count == head.0 - from.0 {
            head
        } else {
            let mut stored = self.stored_between(conversation, from.next(), head).await?;
            stored.sort_unstable();
            let run = stored.iter().zip(from.0 + 1..).take_while(|(seq, expected)| seq.0 == *expected).count();
            Seq(from.0 + run as u64)
        };
        let mut floors = self.floors();
        if floors.len() >= MAX_FLOORS && !floors.contains_key(&conversation) {
            floors.clear();
        }
        let known = floors.entry(conversation).or_default();
        *known = floor.max(*known);
        Ok((*known, head))
    }

    /// A seq up to which the store has everything, from an earlier look: no query.
    pub fn known_floor(&self, conversation: ConversationId) -> Option<Seq> {
        self.floors().get(&conversation).copied()
    }

    fn floors(&self) -> MutexGuard<'_, HashMap<ConversationId, Seq>> {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event of the log that may not be stored yet. To be asked before the store: what is stored meanwhile is found there.
    pub(crate) async fn find_unstored(
        &self,
        conversation: ConversationId,
        id: EventId,
    ) -> Result<Option<Arc<Event>>, LaneError> {
        let (floor, _) = self.stored_floor(conversation).await.map_err(|error| store_error(&error))?;
        let tail = self.tail(conversation, floor).await?;
        Ok(tail.events_after(floor).into_values().find(|event| event.id == id))
    }

    /// The stored event that a draft would repeat.
    pub(crate) async fn find_like(
        &self,
        conversation: ConversationId,
        draft: &Draft,
    ) -> Result<Option<Event>, LaneError> {
        let query = event::Entity::find().filter(event::Column::ConversationId.eq(conversation.0));
        let query = match &draft.body {
            EventBody::MessagePosted { client_message_id, .. } => query
                .filter(event::Column::SenderId.eq(draft.sender_id.0))
                .filter(event::Column::ClientMessageId.eq(client_message_id.as_str())),
            _ => query.filter(event::Column::Id.eq(draft.id.0)),
        };
        let row = query.one(&self.db).await.map_err(|error| store_error(&error))?;
        row.map(|row| row.to_event().map_err(|error| LaneError::Corrupt(error.to_string()))).transpose()
    }

    /// Which events the store has from `first` to `last`.
    pub async fn stored_ids(
        &self,
        conversation: ConversationId,
        first: Seq,
        last: Seq,
    ) -> Result<Vec<(Seq, EventId)>, DbErr> {
        let rows: Vec<(i64, Uuid)> = event::Entity::find()
            .select_only()
            .columns([event::Column::Seq, event::Column::Id])
            .filter(event::Column::ConversationId.eq(conversation.0))
            .filter(event::Column::Seq.between(first.to_db(), last.to_db()))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(rows.into_iter().map(|(seq, id)| (Seq::from_db(seq), EventId(id))).collect())
    }

    /// Which events the store has at these places.
    pub async fn stored_places(
        &self,
        places: &[(ConversationId, Seq)],
    ) -> Result<Vec<((ConversationId, Seq), EventId)>, DbErr> {
        let columns = [event::Column::ConversationId, event::Column::Seq].map(Expr::col);
        let rows: Vec<(Uuid, i64, Uuid)> = event::Entity::find()
            .select_only()
            .columns([event::Column::ConversationId, event::Column::Seq, event::Column::Id])
            .filter(Expr::tuple(columns).in_tuples(places.iter().map(|(id, seq)| (id.0, seq.to_db()))))
            .into_tuple()
            .all(&self.db)
            .await?;
        let place = |(id, seq, event)| ((ConversationId(id), Seq::from_db(seq)), EventId(event));
        Ok(rows.into_iter().map(place).collect())
    }

    /// What the store has from `first` to `last`.
    pub(crate) async fn stored_at(
        &self,
        conversation: ConversationId,
        first: Seq,
        last: Seq,
    ) -> Result<Vec<StoredAt>, DbErr> {
        let rows: Vec<(i64, Uuid, String, Option<String>)> = event::Entity::find()
            .select_only()
            .columns([event::Column::Seq, event::Column::Id, event::Column::Kind, event::Column::Data])
            .filter(event::Column::ConversationId.eq(conversation.0))
            .filter(event::Column::Seq.between(first.to_db(), last.to_db()))
            .into_tuple()
            .all(&self.db)
            .await?;
        let originals: HashMap<i64, Uuid> = rows
            .iter()
            .filter(|(_, _, kind, _)| kind == "void")
            .filter_map(|(seq, _, _, data)| match serde_json::from_str(data.as_deref()?) {
                Ok(EventBody::Void { original_id }) => Some((*seq, original_id?.0)),
                _ => None,
            })
            .collect();
        let places = self.places(originals.values().copied().collect()).await?;
        let at = |(seq, id, _, _): (i64, Uuid, String, Option<String>)| {
            let original = originals.get(&seq).map(|id| (MessageId(*id), places.get(id).copied().unwrap_or_default()));
            StoredAt { seq: Seq::from_db(seq), id: EventId(id), voided: original }
        };
        Ok(rows.into_iter().map(at).collect())
    }

    /// The seqs of the events with these ids.
    async fn places(&self, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Seq>, DbErr> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = event::Entity::find().select_only().columns([event::Column::Id, event::Column::Seq]);
        let rows: Vec<(Uuid, i64)> = query.filter(event::Column::Id.is_in(ids)).into_tuple().all(&self.db).await?;
        Ok(rows.into_iter().map(|(id, seq)| (id, Seq::from_db(seq))).collect())
    }

    /// Which of the seqs from `first` to `last` the store has.
    pub(crate) async fn stored_between(
        &self,
        conversation: ConversationId,
        first: Seq,
        last: Seq,
    ) -> Result<Vec<Seq>, DbErr> {
        let seqs: Vec<i64> = event::Entity::find()
            .select_only()
            .column(event::Column::Seq)
            .filter(event::Column::ConversationId.eq(conversation.0))
            .filter(event::Column::Seq.between(first.to_db(), last.to_db()))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(seqs.into_iter().map(Seq::from_db).collect())
    }
}

/// The run `after + 1, after + 2, …` of `events`.
fn contiguous(events: BTreeMap<Seq, Arc<Event>>, after: Seq, limit: usize) -> Vec<Arc<Event>> {
    let mut run: Vec<_> = events
        .into_values()
        .skip_while(|event| event.seq <= after)
        .zip(after.0 + 1..)
        .take_while(|(event, seq)| event.seq.0 == *seq)
        .map(|(event, _)| event)
        .take(limit)
        .collect();
    // The store may not have done yet what a deletion among them says.
    redact(&mut run);
    run
}
