//! A scheduled message as the API shows it, to its user.

use sealpost_schema::entities::scheduled_message;
use sealpost_schema::{
    ClientMessageId, ConversationId, EventId, MessageId, MessageLinks, ScheduledFailure, ScheduledState, Timestamp,
    UserId,
};
use serde::Serialize;

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A message that is to be sent at a time.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ScheduledMessageResponse {
    /// The id that it will have as a message.
    pub id: MessageId,
    pub conversation_id: ConversationId,
    pub client_message_id: ClientMessageId,
    /// `null` if it cannot be opened any more, as when the conversation was deleted.
    pub text: Option<String>,
    pub send_at: Timestamp,
    /// `waiting`, `sending` or `failed`.
    pub state: ScheduledState,
    /// Why it was refused when its time came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<ScheduledFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<MessageId>,
    pub created_at: Timestamp,
}

pub fn links_of(row: &scheduled_message::Model) -> ApiResult<MessageLinks> {
    let links = row.links.as_deref().map(serde_json::from_str).transpose();
    Ok(links.map_err(|error| ApiError::internal(&error))?.unwrap_or_default())
}

/// Opened, for its user.
pub async fn show(app: &App, row: scheduled_message::Model) -> ApiResult<ScheduledMessageResponse> {
    let links = links_of(&row)?;
    let (id, conversation_id) = (MessageId(row.id), ConversationId(row.conversation_id));
    let opened = app.keys.open(conversation_id, EventId(row.id), UserId(row.user_id), &row.sealed).await;
    if let Err(error) = &opened {
        tracing::debug!(scheduled = %id, %error, "a scheduled message cannot be opened");
    }
    let state = ScheduledState::parse(&row.state).ok_or_else(|| ApiError::internal(&"unknown state"))?;
    Ok(ScheduledMessageResponse {
        id,
        conversation_id,
        client_message_id: row.client_message_id.try_into().map_err(|error| ApiError::internal(&error))?,
        text: opened.ok(),
        send_at: Timestamp::from_millis(row.send_at),
        state,
        failure: row.failure.as_deref().and_then(ScheduledFailure::parse),
        reply_to: links.reply_to,
        thread_id: links.thread_id,
        created_at: Timestamp::from_millis(row.created_at),
    })
}
