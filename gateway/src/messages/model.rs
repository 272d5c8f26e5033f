//! A message as the API shows it.

use sealpost_schema::{ClientMessageId, ConversationId, MessageId, Seq, Timestamp, UserId};
use serde::Serialize;

use super::thread_state::ThreadResponse;

/// A message. `text` is `null` if it was deleted or has disappeared, or cannot be opened any more (then `unreadable` is true).
#[expect(clippy::struct_excessive_bools, reason = "fields of the API, each left out where it is false")]
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
    /// It disappears then: it is `deleted` from that moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
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
    /// The message that it answers, as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<QuoteResponse>,
    /// The first message of its thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<MessageId>,
    /// Of the first message of a thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadResponse>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<UserId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mentions_all: bool,
}

/// The start of a message that another one answers.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct QuoteResponse {
    pub message_id: MessageId,
    pub seq: Seq,
    pub sender_id: UserId,
    /// The first 200 characters of the text that it has now; `null` if it was deleted or cannot be opened.
    pub text: Option<String>,
    pub deleted: bool,
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
