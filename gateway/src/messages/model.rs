//! A message as the API shows it.

use sealpost_schema::{ClientMessageId, ConversationId, MessageId, Seq, Timestamp, UserId};
use serde::Serialize;

/// A message. `text` is `null` if it was deleted, or cannot be opened any more (then `unreadable` is true).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct MessageResponse {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    /// Number of its event in the conversation.
    pub seq: Seq,
    pub sender_id: UserId,
    pub client_message_id: Option<ClientMessageId>,
    pub text: Option<String>,
    pub created_at: Timestamp,
    pub deleted: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unreadable: bool,
    /// The text is that of this edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Those first that came first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<ReactionResponse>,
}

/// How many have reacted with an emoji.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ReactionResponse {
    /// An emoji, or `:name:`.
    #[schema(example = "👍")]
    pub emoji: String,
    pub count: u64,
    /// The caller is among them.
    pub mine: bool,
}

/// What became of a change of a message.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ChangeResponse {
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    /// False: everything was as asked for already, and there is no event.
    pub changed: bool,
    /// Of the event that made it so, as far as that is known.
    pub seq: Option<Seq>,
    /// The store has committed it. False: it is accepted, and will be.
    pub stored: bool,
}
