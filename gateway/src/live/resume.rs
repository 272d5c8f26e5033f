//! Starting a connection: which conversations it sees, from where, and what it missed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, DbErr, EntityTrait as _, QueryFilter, QuerySelect};
use sealpost_lane::LaneError;
use sealpost_schema::entities::{conversation, participant, session};
use sealpost_schema::{CloseCode, ConversationHead, ConversationId, Cursor, Problem, ProblemKind, Seq, ServerFrame};

use super::Connection;
use super::connection::encode;
use super::render::render;
use super::room::{Attach, Room};
use crate::state::App;

/// Events fetched in one step.
const PAGE: usize = 200;
/// Conversations that one connection can see.
const MAX_CONVERSATIONS: u64 = 10_000;

/// The rooms of a connection that said hello and does not get events yet.
pub struct Started {
    rooms: Vec<Arc<Room>>,
}

/// Finds the conversations, enters their rooms and sends `ready`. An `Err` closes the connection.
pub async fn start(app: &App, connection: &Arc<Connection>) -> Result<Started, CloseCode> {
    if !is_live(app, connection).await? {
        return Err(CloseCode::Unauthenticated);
    }
    let ids: Vec<_> = conversations_of(app, connection).await?;
    let rooms = app.hub.enter(&ids).await.map_err(|error| unavailable(&error))?;
    let heads = rooms
        .iter()
        .map(|room| ConversationHead { conversation_id: room.id, head_seq: room.head().unwrap_or_default() })
        .collect::<Vec<_>>();
    connection.send(&ServerFrame::Ready {
        user_id: connection.user_id,
        session_id: connection.session_id,
        heartbeat_seconds: app.config.heartbeat_seconds,
        conversations: heads,
    });
    Ok(Started { rooms })
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

async fn conversations_of(app: &App, connection: &Connection) -> Result<Vec<ConversationId>, CloseCode> {
    let ids: Vec<Uuid> = conversation::Entity::for_user(connection.user_id.0)
        .select_only()
        .column(conversation::Column::Id)
        .limit(MAX_CONVERSATIONS)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(ids.into_iter().map(ConversationId).filter(|id| connection.reaches(*id)).collect())
}

/// A removal that came between looking up the conversations and entering their rooms was not seen by this connection. The store
/// knows of it before its event is appended, so one more look is enough.
async fn leave_what_was_lost(app: &App, connection: &Arc<Connection>) -> Result<(), CloseCode> {
    // Only those that it was in before the look: what it joins meanwhile is newer than the answer.
    let mut lost = connection.conversations();
    for id in conversations_of(app, connection).await? {
        lost.remove(&id);
    }
    for id in lost {
        app.hub.leave_one(connection, id);
    }
    Ok(())
}

impl Started {
    /// Live events from the heads that `ready` named.
    pub async fn live(self, app: &App, connection: &Arc<Connection>) -> Result<(), CloseCode> {
        for room in self.rooms {
            let from = room.head().unwrap_or_default();
            follow(app, connection, room, from, usize::MAX).await?;
        }
        leave_what_was_lost(app, connection).await?;
        connection.started();
        Ok(())
    }

    /// What was missed since `cursor`, then live events.
    pub async fn resume(self, app: &App, connection: &Arc<Connection>, cursor: &Cursor) -> Result<(), CloseCode> {
        let _turn = app.resumes.acquire().await.map_err(|_| CloseCode::GoingAway)?;
        let (mut conversations, mut events) = (0, 0);
        for room in self.rooms {
            let mut from = cursor.get(&room.id).copied().unwrap_or_default();
            let head = room.head().unwrap_or_default();
            if from > head && !exists(app, room.id, from).await? {
                let detail = format!(
                    "The cursor names seq {from} of conversation {}, which has {head}. Live events go on after {head}; \
                     read the history over REST and drop what differs.",
                    room.id
                );
                let problem = Problem::new(ProblemKind::SeqOutOfRange, detail);
                connection.send(&ServerFrame::Error { problem, client_message_id: None, client_operation_id: None });
                from = head;
            }
            conversations += 1;
            events += follow(app, connection, room, from, app.config.max_resume_events).await?;
        }
        leave_what_was_lost(app, connection).await?;
        connection.started();
        connection.push_backlog(encode(&ServerFrame::Resumed { conversations, events })).await;
        Ok(())
    }
}

/// A user became a participant: their connection sees the conversation from `seq` on.
pub async fn join(app: &App, connection: &Arc<Connection>, id: ConversationId, seq: Seq) -> Result<(), CloseCode> {
    // A notice can be older than `ready`, which then has told of the conversation.
    connection.until_started().await;
    if connection.closing().is_some() || connection.is_in(id) || !connection.reaches(id) {
        return Ok(());
    }
    for room in app.hub.enter(&[id]).await.map_err(|error| unavailable(&error))? {
        follow(app, connection, room, Seq(seq.0.saturating_sub(1)), app.config.max_resume_events).await?;
    }
    leave_what_was_lost(app, connection).await
}

/// Control notices may have been lost: looks at what the store says of all connections, with two queries for each few hundred users.
pub async fn resync(app: &App) -> Result<(), DbErr> {
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
        let takes_part: Vec<(Uuid, Uuid)> = participant::Entity::find()
            .select_only()
            .column(participant::Column::UserId)
            .column(participant::Column::ConversationId)
            .filter(participant::Column::UserId.is_in(users))
            .into_tuple()
            .all(&app.db)
            .await?;
        let mut joined: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        for (user, conversation) in takes_part {
            joined.entry(user).or_default().push(conversation);
        }
        for connection in connections {
            if connection.grant.is_none() && !live.contains(&connection.session_id.0) {
                connection.close(CloseCode::Unauthenticated);
            }
            for id in joined.get(&connection.user_id.0).into_iter().flatten().map(|id| ConversationId(*id)) {
                if connection.is_started() && !connection.is_in(id) {
                    super::join(app, vec![Arc::clone(connection)], id, Seq(1));
                }
            }
        }
    }
    Ok(())
}

/// Sends what follows `from` until the connection can be attached to the room without a gap. Says how many events it sent.
async fn follow(
    app: &App,
    connection: &Arc<Connection>,
    mut room: Arc<Room>,
    mut from: Seq,
    max: usize,
) -> Result<u64, CloseCode> {
    let mut sent = 0;
    let mut tries = 0;
    loop {
        if let Some(code) = connection.closing() {
            return Err(code);
        }
        match room.attach(connection, Some(from)) {
            Attach::Done { replayed } => return Ok(sent + replayed),
            Attach::Closed => {
                let entered = app.hub.enter(&[room.id]).await.map_err(|error| unavailable(&error))?;
                room = entered.into_iter().next().ok_or(CloseCode::TryAgainLater)?;
            }
            Attach::Behind { head } if head.0 - from.0 > max as u64 => {
                let gap = ServerFrame::Gap { conversation_id: room.id, from_seq: from.next(), to_seq: head };
                connection.push_backlog(encode(&gap)).await;
                from = head;
            }
            Attach::Behind { .. } => {
                let events =
                    app.reader().after(room.id, from, PAGE).await.map_err(|error: LaneError| unavailable(&error))?;
                app.hub.prepare(&events).await;
                for event in &events {
                    let frame = render(event, &app.keys).ok_or(CloseCode::TryAgainLater)?;
                    connection.push_backlog(encode(&frame)).await;
                    from = event.seq;
                    sent += 1;
                }
                if events.is_empty() {
                    // Shown to others, and neither in the log nor in the store: give it a moment, then let the client come again.
                    tries += 1;
                    if tries == 4 {
                        // Opening the lane closes numbers whose events were lost.
                        app.lanes.fold(room.id).await.map_err(|error| unavailable(&error))?;
                    }
                    if tries > 40 {
                        tracing::error!(conversation = %room.id, %from, "events cannot be found for a resume");
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

fn unavailable(error: &dyn std::fmt::Display) -> CloseCode {
    tracing::warn!(%error, "a connection could not be started");
    CloseCode::TryAgainLater
}
