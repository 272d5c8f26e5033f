//! `GET /messages/{message_id}` and `GET /conversations/{conversation_id}/messages/{message_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait, QueryFilter};
use sealpost_schema::entities::event;
use sealpost_schema::{ConversationId, MessageId, Problem, UserId};

use super::MessageResponse;
use super::current::Current;
use super::show::show_one;
use crate::auth::Principal;
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
    let row = find(&app, principal.user_id, id).await?;
    Ok(Json(show_one(&app, principal.user_id, row.into()).await?))
}

/// The stored message, if the user may see it.
pub async fn find(app: &App, user: UserId, id: MessageId) -> ApiResult<event::Model> {
    event::Entity::for_user(user.0)
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
    let current = Current::load(&app, principal.user_id, Some(conversation), id).await?;
    Ok(Json(show_one(&app, principal.user_id, current.into()).await?))
}
