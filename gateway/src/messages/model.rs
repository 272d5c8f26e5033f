//! A message as the API shows it.

use sealpost_schema::entities::event;
use sealpost_schema::{ClientMessageId, ConversationId, EventId, MessageId, Seq, Timestamp, UserId};
use serde::Serialize;

use crate::keys::ConversationKeys;
use crate::problem::{ApiError, ApiResult};

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
}

impl MessageResponse {
    /// Opens a stored message.
    pub async fn open(row: event::Model, keys: &ConversationKeys) -> ApiResult<Self> {
        let (conversation_id, id, sender_id) =
            (ConversationId(row.conversation_id), EventId(row.id), UserId(row.sender_id));
        let client_message_id = row
            .client_message_id
            .map(ClientMessageId::try_from)
            .transpose()
            .map_err(|error| ApiError::internal(&error))?;
        let opened = match &row.sealed {
            None => None,
            Some(sealed) => Some(keys.open(conversation_id, id, sender_id, sealed).await),
        };
        if let Some(Err(error)) = &opened {
            tracing::error!(conversation = %conversation_id, seq = row.seq, %error, "a stored message cannot be opened");
        }
        Ok(Self {
            id: id.into(),
            conversation_id,
            seq: Seq::from_db(row.seq),
            sender_id,
            client_message_id,
            deleted: row.sealed.is_none(),
            unreadable: matches!(opened, Some(Err(_))),
            text: opened.and_then(Result::ok),
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}
