//! A message as it is now, wherever that is known: in the store, and in the log for what is not stored yet. What changes a message starts
//! from here.

use std::sync::Arc;

use sea_orm::EntityTrait as _;
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, Event, EventBody, EventId, MessageId, ProblemKind, Seq, Timestamp, UserId};
use sealpost_sealing::ConversationKey;

use super::get::find;
use super::submit::key_error;
use crate::conversations::load_start;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A message that the user may see.
pub struct Current {
    pub row: event::Model,
    /// Its newest edit.
    pub edit: Option<Arc<Event>>,
    /// What the log has about it and the store has not, in order.
    pub unstored: Vec<Arc<Event>>,
    /// All of this knows every event up to here.
    pub as_of: Seq,
    /// Pins of the conversation that the log has made and ended and the store perhaps has not, in order.
    pub pins: Vec<(MessageId, bool)>,
    /// It has disappeared.
    expired: bool,
}

impl Current {
    /// `conversation`: if it is known; then a message is found that is not stored yet.
    pub async fn load(app: &App, user: UserId, conversation: Option<ConversationId>, id: MessageId) -> ApiResult<Self> {
        let (conversation, start) = match conversation {
            Some(conversation) => (conversation, load_start(app, user, conversation, "message").await?),
            // The finder has seen to it that they may see it.
            None => (ConversationId(find(app, user, id).await?.conversation_id), Seq::default()),
        };
        Self::load_from(app, user, conversation, start, id).await
    }

    /// `start`: the first event of the conversation that the user may see.
    pub async fn load_from(
        app: &App,
        user: UserId,
        conversation: ConversationId,
        start: Seq,
        id: MessageId,
    ) -> ApiResult<Self> {
        // Before the row: what is stored after this is found in the log.
        let (floor, _) = app.reader().stored_floor(conversation).await.map_err(|error| ApiError::store(&error))?;
        let stored = match find(app, user, id).await {
            Ok(row) if row.conversation_id == conversation.0 => Some(row),
            Ok(_) => return Err(ApiError::not_found("message")),
            Err(error) if error.0.kind == ProblemKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let tail = app.reader().tail(conversation, floor).await.map_err(|error| ApiError::lane(&error))?;
        let events = tail.events_after(floor);
        let row = match stored {
            Some(row) => row,
            None => match events
                .range(start..)
                .map(|(_, event)| event)
                .find(|event| event.id == EventId(id.0) && is_message(event))
            {
                Some(event) => event::Model::of(event).map_err(|error| ApiError::internal(&error))?,
                // Stored between the two looks.
                None => find(app, user, id).await?,
            },
        };
        let as_of = tail.last.filter(|_| tail.reaches).map_or(floor, |(_, head)| head.max(floor));
        let pins = events.values().filter_map(|event| pin_of(&event.body)).collect();
        let unstored: Vec<_> = events.into_values().filter(|event| event.body.target() == Some(id)).collect();
        let edit = match newest_edit(&unstored, row.edited_seq) {
            Some(edit) => Some(edit),
            None => stored_edit(app, &row).await?,
        };
        let expired = row.is_expired(app.clock.now());
        Ok(Self { row, edit, unstored, as_of, pins, expired })
    }

    pub fn conversation_id(&self) -> ConversationId {
        ConversationId(self.row.conversation_id)
    }

    pub fn id(&self) -> MessageId {
        MessageId(self.row.id)
    }

    pub fn seq(&self) -> Seq {
        Seq::from_db(self.row.seq)
    }

    pub fn author(&self) -> UserId {
        UserId(self.row.sender_id)
    }

    /// When it disappears, and what changes it.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.row.expires_at.map(Timestamp::from_millis)
    }

    /// The key for what changes it: of a message that disappears its own, so that all of it goes at once.
    pub async fn key(&self, app: &App) -> ApiResult<Arc<ConversationKey>> {
        let conversation = self.conversation_id();
        let key = match self.row.sealed.as_deref().filter(|_| self.row.expires_at.is_some()) {
            Some(sealed) => app.keys.of_envelope(conversation, sealed).await,
            None => app.keys.newest(conversation).await,
        };
        key.map_err(key_error)
    }

    /// Whether it is gone, by whatever way.
    pub fn is_deleted(&self) -> bool {
        self.expired
            || self.row.sealed.is_none()
            || self.unstored.iter().any(|event| matches!(event.body, EventBody::MessageDeleted { .. }))
    }

    /// The text that counts, and the seq of the event that brought it.
    pub async fn text(&self, app: &App) -> ApiResult<(Option<String>, Seq)> {
        let conversation = self.conversation_id();
        let (id, sender, sealed, seq) = match &self.edit {
            Some(edit) => (edit.id, edit.sender_id, edit.body.content(), edit.seq),
            None => (EventId(self.row.id), self.author(), self.row.sealed.as_deref(), self.seq()),
        };
        let opened = app.keys.open(conversation, id, sender, sealed.unwrap_or_default()).await;
        Ok((opened.ok(), seq))
    }
}

/// Which message is pinned by this, or is not any more.
fn pin_of(body: &EventBody) -> Option<(MessageId, bool)> {
    match body {
        EventBody::MessagePinned { message_id, .. } => Some((*message_id, true)),
        EventBody::MessageUnpinned { message_id, .. } | EventBody::MessageDeleted { message_id, .. } => {
            Some((*message_id, false))
        }
        _ => None,
    }
}

fn is_message(event: &Event) -> bool {
    matches!(event.body, EventBody::MessagePosted { .. })
}

/// The newest edit among these, if it is newer than the one that the store knows.
fn newest_edit(events: &[Arc<Event>], stored: Option<i64>) -> Option<Arc<Event>> {
    let edits = events.iter().filter(|event| matches!(event.body, EventBody::MessageEdited { .. }));
    edits.max_by_key(|event| event.seq).filter(|edit| stored.is_none_or(|seq| edit.seq > Seq::from_db(seq))).cloned()
}

async fn stored_edit(app: &App, row: &event::Model) -> ApiResult<Option<Arc<Event>>> {
    let Some(seq) = row.edited_seq else { return Ok(None) };
    let edit = event::Entity::find_by_id((row.conversation_id, seq)).one(&app.db).await;
    let edit = edit.map_err(|error| ApiError::store(&error))?;
    edit.map(|edit| edit.to_event().map(Arc::new).map_err(|error| ApiError::internal(&error))).transpose()
}
