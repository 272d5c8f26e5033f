//! `GET /messages/{message_id}` and `GET /conversations/{conversation_id}/messages/{message_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait, QueryFilter};
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, EventId, MessageId, Problem};

use super::MessageResponse;
use super::list::row_of;
use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Get one message
#[utoipa::path(
    get, path = "/messages/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 200, body = MessageResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_message(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<Json<MessageResponse>> {
    let row = find(&app, &principal, id).await?;
    Ok(Json(MessageResponse::open(row, &app.keys).await?))
}

/// The stored message, if the user may see it.
pub async fn find(app: &App, principal: &Principal, id: MessageId) -> ApiResult<event::Model> {
    event::Entity::for_user(principal.user_id.0)
        .filter(event::Column::Id.eq(id.0))
        .filter(event::Column::Kind.eq("message_posted"))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?
        .ok_or_else(|| ApiError::not_found("message"))
}

/// Get one message of a conversation
///
/// Also finds a message that was accepted and is not stored yet.
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/messages/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path), ("message_id" = MessageId, Path)),
    responses(
        (status = 200, body = MessageResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the event log is away"),
    )
)]
pub async fn get_conversation_message(
    State(app): State<App>,
    principal: Principal,
    Path((conversation, id)): Path<(ConversationId, MessageId)>,
) -> ApiResult<Json<MessageResponse>> {
    let row = find_in(&app, &principal, conversation, id).await?;
    Ok(Json(MessageResponse::open(row, &app.keys).await?))
}

/// The message, stored or not.
pub async fn find_in(
    app: &App,
    principal: &Principal,
    conversation: ConversationId,
    id: MessageId,
) -> ApiResult<event::Model> {
    match find(app, principal, id).await {
        Ok(row) if row.conversation_id == conversation.0 => return Ok(row),
        Ok(_) => return Err(ApiError::not_found("message")),
        Err(error) if error.0.status != 404 => return Err(error),
        Err(_) => {}
    }
    find_visible(app, principal.user_id, conversation, "message").await?;
    let (floor, _) = app.reader().stored_floor(conversation).await.map_err(|error| ApiError::store(&error))?;
    let tail = app.reader().tail(conversation, floor).await.map_err(|error| ApiError::lane(&error))?;
    let events = tail.events_after(floor);
    let event = events.values().find(|event| event.id == EventId(id.0) && event.body.kind() == "message_posted");
    match event {
        Some(event) => Ok(row_of(event)),
        // Stored between the two looks.
        None => find(app, principal, id).await,
    }
}
