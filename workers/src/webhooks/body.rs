//! What a receiver is sent. `docs/webhooks.md` is its description, and receivers of old versions of it stay: fields may come, none goes.

use sealpost_schema::{ConversationId, EventId, MessageId, Seq, Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::due::EventRow;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Body {
    /// Consecutive events of one conversation, without those that are not wanted.
    Events { webhook_id: Uuid, delivery_id: Uuid, conversation_id: ConversationId, events: Vec<ToldEvent> },
    /// Somebody wants to know whether this gets through.
    Ping { webhook_id: Uuid, delivery_id: Uuid },
}

/// No content: whoever may read it asks the API for it.
#[derive(Serialize)]
pub(super) struct ToldEvent {
    seq: Seq,
    id: EventId,
    kind: String,
    sender_id: UserId,
    created_at: Timestamp,
    /// The message that the event made or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
}

impl From<EventRow> for ToldEvent {
    fn from(row: EventRow) -> Self {
        let message_id = if row.kind == "message_posted" { Some(row.id) } else { row.target_id };
        Self {
            seq: Seq::from_db(row.seq),
            id: EventId(row.id),
            kind: row.kind,
            sender_id: UserId(row.sender_id),
            created_at: Timestamp::from_millis(row.created_at),
            message_id: message_id.map(MessageId),
        }
    }
}
