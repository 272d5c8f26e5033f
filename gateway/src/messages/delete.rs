//! `DELETE /messages/{message_id}`

use axum::extract::State;
use axum::http::StatusCode;
use sealpost_lane::{Draft, Rule};
use sealpost_schema::{ConversationId, EventBody, EventId, MessageId, Problem, Seq, UserId};

use super::get::find;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Delete a message for everybody
///
/// Its author may, and admins of the conversation. The content is destroyed in the store; the number stays. Deleting again changes nothing.
#[utoipa::path(
    delete, path = "/messages/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Not yours, and you are no admin"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the event log is away"),
    )
)]
pub async fn delete_message(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<StatusCode> {
    let row = find(&app, &principal, id).await?;
    if row.sealed.is_none() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let draft = Draft {
        // One deletion per message, however often and through however many gateways it is asked for.
        id: deletion_id(id),
        sender_id: principal.user_id,
        created_at: app.clock.now(),
        body: EventBody::MessageDeleted { message_id: id, message_seq: Seq::from_db(row.seq) },
        rule: Rule::DeleteMessageOf(UserId(row.sender_id)),
        retry: true,
    };
    app.lanes.append(ConversationId(row.conversation_id), draft).await.map_err(|error| ApiError::lane(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The id of the event that deletes this message: the message's, with another version digit, so that it is fixed and unique.
fn deletion_id(id: MessageId) -> EventId {
    let mut bytes = *id.0.as_bytes();
    // UUID version 8: «custom».
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    EventId(sea_orm::prelude::Uuid::from_bytes(bytes))
}
