//! Starting a connection: which conversations it sees, from where, and what it missed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, DbErr, EntityTrait as _, QueryFilter, QuerySelect};
use sealpost_lane::LaneError;
use sealpost_schema::entities::{participant, session};
use sealpost_schema::{CloseCode, ConversationHead, ConversationId, Cursor, LastEvents, LastMessage, Seq, ServerFrame};

use super::Connection;
use super::connection::encode;
use super::render::render;
use super::room::{Attach, Position, Room, puts_out};
use crate::announcements::greet;
use crate::conversations::{Wanted, find_start, load};
use crate::problem::ApiError;
use crate::state::App;

/// Events fetched in one step.
const PAGE: usize = 200;
/// How often a connection that was removed and added again looks whether the removal has come, every 25 ms.
const MAX_WAITS: u32 = 80;
/// Conversations that one connection can see.
const MAX_CONVERSATIONS: u64 = 10_000;
/// Conversations whose snapshots are loaded in one step.
const SNAPSHOTS: usize = 100;
/// Events of cursors that one query asks for.
const PLACES: usize = 500;
/// A gateway takes back about so many connections in a millisecond; those who come back spread over as long.
const COMES_BACK_PER_MS: usize = 1;
const MIN_SPREAD_MS: usize = 500;
const MAX_SPREAD_MS: usize = 60_000;

/// The rooms of a connection that said hello and does not get events yet.
pub struct Started {
    rooms: Vec<Place>,
}

struct Place {
    room: Arc<Room>,
    /// The first event that the user may see.
    start: Seq,
    /// What `ready` said. The room may have moved on since: live events begin after this, and not after where it is then. The user took part
    /// after the room was here, so if that has ended, an event after this one says so.
    head: Seq,
}

/// Finds the conversations, enters their rooms and sends `ready`. An `Err` closes the connection.
pub async fn start(app: &App, connection: &Arc<Connection>) -> Result<Started, CloseCode> {
    if !is_live(app, connection).await? {
        return Err(CloseCode::Unauthenticated);
    }
    let ids: Vec<_> = conversations_of(app, connection).await?.into_keys().collect();
    let rooms = app.hub.enter(&ids).await.map_err(|error| unavailable(&error))?;
    let heads: Vec<_> = rooms.into_iter().map(|room| (room.head().unwrap_or_default(), room)).collect();
    // A removal may have gone through a room before its head was taken. The store knows of it before its event is appended, so those that are
    // still there now had none by then. What was joined in between comes with its notice.
    let starts = conversations_of(app, connection).await?;
    let place = |(head, room): (Seq, Arc<Room>)| Some(Place { start: *starts.get(&room.id)?, head, room });
    let rooms: Vec<Place> = heads.into_iter().filter_map(place).collect();
    let named = |place: &Place| ConversationHead { conversation_id: place.room.id, head_seq: place.head };
    connection.send(&ServerFrame::Ready {
        user_id: connection.user_id,
        session_id: connection.session_id,
        heartbeat_seconds: app.config.heartbeat_seconds,
        reconnect_within_ms: spread(app.connections.len()),
        conversations: rooms.iter().map(named).collect(),
    });
    greet(app, connection).await;
    Ok(Started { rooms })
}

fn spread(connections: usize) -> u64 {
    (connections / COMES_BACK_PER_MS).clamp(MIN_SPREAD_MS, MAX_SPREAD_MS) as u64
}

/// Whether the session has not ended, or the API token is still good.
async fn is_live(app: &App, connection: &Connection) -> Result<bool, CloseCode> {
    let now = app.clock.now();
    if connection.grant.is_some() {
        let grant = app.api_tokens.find(&app.db, connection.session_id, now).await;
        return Ok(grant.map_err(|error| unavailable(&error))?.is_some());
    }
    let live = session::Entity::live_of(connection.user_id.0, now.millis())
        .filter(session::Column::Id.eq(connection.session_id.0))
        .one(&app.db)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(live.is_some())
}

/// The conversations that the connection sees, each with the first event that its user may see.
async fn conversations_of(app: &App, connection: &Connection) -> Result<HashMap<ConversationId, Seq>, CloseCode> {
    let rows: Vec<(Uuid, i64)> = participant::Entity::of_user(connection.user_id.0)
        .select_only()
        .columns([participant::Column::ConversationId, participant::Column::VisibleFrom])
        .limit(MAX_CONVERSATIONS)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| unavailable(&error))?;
    let mut seen = HashMap::with_capacity(rows.len());
    for (id, from) in rows.into_iter().map(|(id, from)| (ConversationId(id), from)) {
        if !connection.reaches(id) {
            continue;
        }
        if from != participant::NOT_YET {
            seen.insert(id, Seq::from_db(from));
        } else if let Some(start) = find_start(app, connection.user_id, id).await.map_err(|error| refused(&error))? {
            // Only those joined in the last moment. What has no event yet comes with the notice of it.
            seen.insert(id, start);
        }
    }
    Ok(seen)
}

impl Started {
    /// The conversations in which the number that the cursor names has another event by now than the client's. A query for many, and none for
    /// those whose event is in memory.
    async fn changed(
        &self,
        app: &App,
        cursor: &Cursor,
        last_events: &LastEvents,
    ) -> Result<HashSet<ConversationId>, CloseCode> {
        let (mut changed, mut ask) = (HashSet::new(), HashMap::new());
        for Place { room, .. } in &self.rooms {
            let (Some(seq), Some(id)) = (cursor.get(&room.id), last_events.get(&room.id)) else { continue };
            match room.recent_id(*seq) {
                Some(there) if there == *id => {}
                Some(_) => _ = changed.insert(room.id),
                None => _ = ask.insert((room.id, *seq), *id),
            }
        }
        let places: Vec<_> = ask.keys().copied().collect();
        for places in places.chunks(PLACES) {
            let stored = app.reader().stored_places(places).await.map_err(|error| unavailable(&error))?;
            // What is not stored is compared when it is, by the room.
            let other = stored.into_iter().filter(|(place, id)| ask.get(place).is_some_and(|own| own != id));
            changed.extend(other.map(|((conversation, _), _)| conversation));
        }
        Ok(changed)
    }

    /// Live events from the heads that `ready` named.
    pub async fn live(self, app: &App, connection: &Arc<Connection>) -> Result<(), CloseCode> {
        for Place { room, start, head } in self.rooms {
            let from = head.max(before(start));
            follow(app, connection, room, Position { start, from, is_out: false }, Skip::NOTHING).await?;
        }
        connection.started();
        Ok(())
    }

    /// What was missed since `cursor`, then live events.
    pub async fn resume(
        self,
        app: &App,
        connection: &Arc<Connection>,
        cursor: &Cursor,
        last_events: &LastEvents,
    ) -> Result<(), CloseCode> {
        let changed = self.changed(app, cursor, last_events).await?;
        let (mut conversations, mut events) = (0, 0);
        let mut left_out = Vec::new();
        for Place { room, start, head: named } in self.rooms {
            let mut from = cursor.get(&room.id).copied().unwrap_or_default();
            if from < before(start) {
                if from > Seq(0) {
                    // They were in it before, and what happened meanwhile is not for them.
                    let gap =
                        ServerFrame::Gap { conversation_id: room.id, from_seq: from.next(), to_seq: before(start) };
                    connection.push_backlog(encode(&gap)).await;
                }
                from = before(start);
            }
            let head = room.head().unwrap_or_default();
            if from > head && !exists(app, room.id, from).await? {
                // Accepted and shown, and lost by the log before it was stored. What is there now may be something else.
                let frame = ServerFrame::Rewound { conversation_id: room.id, after_seq: head };
                connection.push_backlog(encode(&frame)).await;
                from = head;
            }
            if from <= head && changed.contains(&room.id) {
                // Where the difference begins is not known, but not before what could have been unstored at once.
                let after_seq = Seq(from.0.saturating_sub(app.lanes.max_unstored())).max(before(start));
                connection.push_backlog(encode(&ServerFrame::Rewound { conversation_id: room.id, after_seq })).await;
                from = after_seq;
            }
            conversations += 1;
            let id = room.id;
            let budget = app.config.max_resume_total.saturating_sub(usize::try_from(events).unwrap_or(usize::MAX));
            let skip = Skip { beyond: app.config.max_resume_events.min(budget), to: named };
            let at = Position { start, from, is_out: false };
            let sent = follow(app, connection, room, at, skip).await?;
            events += sent.events;
            left_out.extend(sent.left_out.then_some(id));
        }
        send_snapshots(app, connection, &left_out).await?;
        connection.started();
        connection.push_backlog(encode(&ServerFrame::Resumed { conversations, events })).await;
        Ok(())
    }
}

/// Where the conversations stand of which not everything was sent. What is newer comes live.
async fn send_snapshots(app: &App, connection: &Arc<Connection>, ids: &[ConversationId]) -> Result<(), CloseCode> {
    for ids in ids.chunks(SNAPSHOTS) {
        let loaded = {
            let _turn = app.resumes.acquire().await.map_err(|_| CloseCode::GoingAway)?;
            load(app, connection.user_id, Wanted::These(ids)).await.map_err(|error| refused(&error))?
        };
        for conversation in loaded {
            let last_message = conversation.last_message.map(|message| LastMessage {
                message_id: message.id,
                seq: message.seq,
                sender_id: message.sender_id,
                created_at: message.created_at,
                text: message.text,
                deleted: message.deleted,
            });
            let snapshot = ServerFrame::Snapshot {
                conversation_id: conversation.id,
                head_seq: conversation.head_seq,
                read_seq: conversation.read_seq,
                unread_count: conversation.unread_count,
                mention_count: conversation.mention_count,
                last_message,
            };
            connection.push_backlog(encode(&snapshot)).await;
        }
    }
    Ok(())
}

/// The seq before this one.
fn before(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(1))
}

/// A user became a participant: their connection sees the conversation from `seq` on.
pub async fn join(app: &App, connection: &Arc<Connection>, id: ConversationId, seq: Seq) -> Result<(), CloseCode> {
    // A notice can be older than `ready`, which then has told of the conversation.
    connection.until_started().await;
    if connection.closing().is_some() || !connection.reaches(id) {
        return Ok(());
    }
    // It may be in it from before a removal whose event has not come here yet: with that it leaves, and then it enters again.
    let mut waits = 0;
    while connection.is_in(id) {
        if app.hub.head(id).is_none_or(|head| head >= before(seq)) {
            return Ok(());
        }
        waits += 1;
        if waits > MAX_WAITS {
            return Err(CloseCode::TryAgainLater);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    for room in app.hub.enter(&[id]).await.map_err(|error| unavailable(&error))? {
        let head = room.head().unwrap_or_default();
        // As at the start: if they take part now, an end of that comes after this head.
        if find_start(app, connection.user_id, id).await.map_err(|error| refused(&error))?.is_none() {
            return Ok(());
        }
        if let Some(last) = connection.take_left(id).filter(|last| *last < before(seq)) {
            // They were in it before, on this connection: what happened meanwhile is left out, and that is said.
            let gap = ServerFrame::Gap { conversation_id: id, from_seq: last.next(), to_seq: before(seq) };
            connection.push_backlog(encode(&gap)).await;
        }
        let skip = Skip { beyond: app.config.max_resume_events, to: head };
        let at = Position { start: seq, from: before(seq), is_out: false };
        follow(app, connection, room, at, skip).await?;
    }
    Ok(())
}

/// Lets a connection that is nobody's hear a conversation, from the last event on. The caller has shown that it may.
pub async fn follow_from_now(app: &App, connection: &Arc<Connection>, id: ConversationId) -> Result<(), CloseCode> {
    for room in app.hub.enter(&[id]).await.map_err(|error| unavailable(&error))? {
        let head = room.head().unwrap_or_default();
        let at = Position { start: head.next(), from: head, is_out: false };
        follow(app, connection, room, at, Skip::NOTHING).await?;
    }
    Ok(())
}

/// Control notices may have been lost: looks at what the store says of all connections, with two queries for each few hundred users.
pub async fn resync(app: &App) -> Result<(), DbErr> {
    use participant::Column as C;
    for connections in app.connections.all().chunks(500) {
        let sessions = connections.iter().map(|connection| connection.session_id.0);
        let live: Vec<Uuid> = session::Entity::find()
            .select_only()
            .column(session::Column::Id)
            .filter(session::Column::Id.is_in(sessions))
            .filter(session::Column::EndedAt.is_null())
            .into_tuple()
            .all(&app.db)
            .await?;
        let live: HashSet<Uuid> = live.into_iter().collect();
        let users = connections.iter().map(|connection| connection.user_id.0);
        let takes_part: Vec<(Uuid, Uuid, Option<Uuid>)> = participant::Entity::find()
            .select_only()
            .columns([C::UserId, C::ConversationId, C::ShutBy])
            .filter(C::UserId.is_in(users))
            .into_tuple()
            .all(&app.db)
            .await?;
        let mut joined: HashMap<Uuid, Vec<(ConversationId, bool)>> = HashMap::new();
        for (user, conversation, shut_by) in takes_part {
            joined.entry(user).or_default().push((ConversationId(conversation), shut_by.is_some()));
        }
        for connection in connections {
            if connection.grant.is_none() && !live.contains(&connection.session_id.0) {
                connection.close(CloseCode::Unauthenticated);
            }
            // Where they take no part any more an event says so, which rooms never miss.
            for &(id, is_shut) in joined.get(&connection.user_id.0).into_iter().flatten() {
                if is_shut {
                    app.hub.leave_one(connection, id);
                } else if connection.is_started() && !connection.is_in(id) {
                    super::join(app, vec![Arc::clone(connection)], id, None);
                }
            }
        }
    }
    Ok(())
}

/// What was sent of a conversation.
#[derive(Default)]
struct Sent {
    events: u64,
    /// There was more than may be sent, and a `gap` says so.
    left_out: bool,
}

/// Of more than `beyond` events those up to `to` are left out, and a `gap` says so. The user took part after `to`.
#[derive(Clone, Copy)]
struct Skip {
    beyond: usize,
    to: Seq,
}

impl Skip {
    const NOTHING: Self = Self { beyond: usize::MAX, to: Seq(0) };
}

/// Sends what follows `at.from` until the connection can be attached to the room without a gap; or until its user was removed.
async fn follow(
    app: &App,
    connection: &Arc<Connection>,
    mut room: Arc<Room>,
    mut at: Position,
    mut skip: Skip,
) -> Result<Sent, CloseCode> {
    let mut sent = Sent::default();
    let mut tries = 0;
    loop {
        if let Some(code) = connection.closing() {
            return Err(code);
        }
        match room.attach(connection, at, app.clock.now()) {
            Attach::Done { replayed } => return Ok(Sent { events: sent.events + replayed, ..sent }),
            Attach::Closed => {
                let entered = app.hub.enter(&[room.id]).await.map_err(|error| unavailable(&error))?;
                room = entered.into_iter().next().ok_or(CloseCode::TryAgainLater)?;
            }
            Attach::Behind { head } if skip.to > at.from && head.0 - at.from.0 > skip.beyond as u64 => {
                // Pages show what is stored. A gap that ended later would hide changes that no page shows yet and no event brings any more.
                let (stored, _) = app.reader().stored_floor(room.id).await.map_err(|error| unavailable(&error))?;
                let to = stored.min(skip.to);
                if to > at.from {
                    let gap = ServerFrame::Gap { conversation_id: room.id, from_seq: at.from.next(), to_seq: to };
                    connection.push_backlog(encode(&gap)).await;
                    (at.from, at.is_out) = (to, false);
                    sent.left_out = true;
                }
                // What is not stored yet is sent, however much it is.
                skip = Skip::NOTHING;
            }
            Attach::Behind { .. } => {
                let events = {
                    // Held while reading, and not while a slow client takes what was read.
                    let _turn = app.resumes.acquire().await.map_err(|_| CloseCode::GoingAway)?;
                    let read = app.reader().after(room.id, at.from, PAGE).await;
                    let events = read.map_err(|error: LaneError| unavailable(&error))?;
                    app.hub.prepare(&events).await;
                    events
                };
                for event in &events {
                    let frame = render(event, &app.keys).ok_or(CloseCode::TryAgainLater)?;
                    connection.push_backlog(encode(&frame)).await;
                    at.from = event.seq;
                    at.is_out = puts_out(event, connection.user_id).unwrap_or(at.is_out);
                    sent.events += 1;
                }
                if events.is_empty() {
                    // Shown to others, and neither in the log nor in the store: give it a moment, then let the client come again.
                    tries += 1;
                    if tries == 4 {
                        // Opening the lane closes numbers whose events were lost.
                        app.lanes.fold(room.id).await.map_err(|error| unavailable(&error))?;
                    }
                    if tries > 40 {
                        tracing::error!(conversation = %room.id, from = %at.from, "events cannot be found for a resume");
                        return Err(CloseCode::TryAgainLater);
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn exists(app: &App, id: ConversationId, seq: Seq) -> Result<bool, CloseCode> {
    if app.reader().stored_head(id).await.map_err(|error| unavailable(&error))? >= seq {
        return Ok(true);
    }
    let tail = app.reader().tail(id, Seq(seq.0 - 1)).await.map_err(|error| unavailable(&error))?;
    Ok(tail.last.is_some_and(|(_, last)| last >= seq))
}

fn refused(ApiError(problem): &ApiError) -> CloseCode {
    unavailable(&problem.detail)
}

fn unavailable(error: &dyn std::fmt::Display) -> CloseCode {
    tracing::warn!(%error, "a connection could not be started");
    CloseCode::TryAgainLater
}
