//! `PATCH` and `DELETE /scheduled/{message_id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::{conversation_key, scheduled_message};
use sealpost_schema::{ConversationId, EventId, MessageId, MessageLinks, Problem, ScheduledState, Timestamp, UserId};
use serde::Deserialize;

use super::model::{ScheduledMessageResponse, links_of, show};
use super::notice::changed;
use super::store::{check_send_at, load, too_late};
use crate::auth::Principal;
use crate::messages::{check_text, key_error, resolve_mentions};
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// What is left out stays as it is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeScheduledRequest {
    pub text: Option<String>,
    /// A moment to come, at most a year ahead. What has failed waits again with it.
    pub send_at: Option<Timestamp>,
}

/// Change a scheduled message
///
/// Until its time has come.
#[utoipa::path(
    patch, path = "/scheduled/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    request_body = ChangeScheduledRequest,
    responses(
        (status = 200, body = ScheduledMessageResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have scheduled no such message"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is being sent, or was"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Empty or too long text, a time that has passed, or a bad value"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn change_scheduled(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Body(request): Body<ChangeScheduledRequest>,
) -> ApiResult<Json<ScheduledMessageResponse>> {
    let me = principal.user_id;
    let mut row = load(&app, me, id).await?;
    let failed = row.state == ScheduledState::Failed.as_str();
    if let Some(send_at) = request.send_at {
        row.send_at = send_at.millis();
    }
    if failed || request.send_at.is_some() {
        check_send_at(&app, Timestamp::from_millis(row.send_at))?;
    }
    if let Some(text) = &request.text {
        seal(&app, &mut row, text).await?;
    }
    (row.state, row.failure) = (ScheduledState::Waiting.as_str().to_owned(), None);
    write(&app, &row, request.text.is_some(), request.send_at.is_some()).await?;
    changed(&app, &row, ScheduledState::Waiting).await;
    Ok(Json(show(&app, row).await?))
}

/// Under the same id: nothing with it was ever sent.
async fn seal(app: &App, row: &mut scheduled_message::Model, text: &str) -> ApiResult<()> {
    check_text(text, app.config.max_text_bytes)?;
    let (conversation, user) = (ConversationId(row.conversation_id), UserId(row.user_id));
    let (mentions, mentions_all) = resolve_mentions(app, user, conversation, text).await?;
    let links = MessageLinks { mentions, mentions_all, ..links_of(row)? };
    let links = (links != MessageLinks::default()).then(|| serde_json::to_string(&links)).transpose();
    row.links = links.map_err(|error| ApiError::internal(&error))?;
    let key = app.keys.of_generation(conversation, row.key_generation).await.map_err(key_error)?;
    row.sealed = app.keys.seal(&key, EventId(row.id), user, text).map_err(|error| ApiError::internal(&error))?;
    Ok(())
}

/// Only what was asked for, since another device may change the rest at the same time; and unless a worker was first.
async fn write(app: &App, row: &scheduled_message::Model, text: bool, send_at: bool) -> ApiResult<()> {
    let mut change = <scheduled_message::ActiveModel as Default>::default();
    if text {
        change.sealed = Set(row.sealed.clone());
        change.links = Set(row.links.clone());
    }
    if send_at {
        change.send_at = Set(row.send_at);
    }
    change.state = Set(row.state.clone());
    change.failure = Set(row.failure.clone());
    let written = scheduled_message::Entity::update_many()
        .set(change)
        .filter(scheduled_message::Column::Id.eq(row.id))
        .filter(scheduled_message::Column::State.ne(ScheduledState::Sending.as_str()))
        .exec(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if written.rows_affected == 0 {
        return Err(too_late(app, UserId(row.user_id), MessageId(row.id)).await);
    }
    Ok(())
}

/// Cancel a scheduled message
///
/// Until its time has come; also takes one that failed out of the list. What it said is destroyed, with its key.
#[utoipa::path(
    delete, path = "/scheduled/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 204, description = "It will not be sent"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have scheduled no such message"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is being sent, or was"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn cancel_scheduled(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<StatusCode> {
    let me = principal.user_id;
    let row = load(&app, me, id).await?;
    let gone = scheduled_message::Entity::delete_many()
        .filter(scheduled_message::Column::Id.eq(id.0))
        .filter(scheduled_message::Column::UserId.eq(me.0))
        .filter(scheduled_message::Column::State.ne(ScheduledState::Sending.as_str()))
        .exec(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if gone.rows_affected == 0 {
        return Err(too_late(&app, me, id).await);
    }
    conversation_key::Entity::delete_many()
        .filter(conversation_key::Column::ConversationId.eq(row.conversation_id))
        .filter(conversation_key::Column::Generation.eq(row.key_generation))
        .filter(conversation_key::Column::Purpose.eq(conversation_key::SINGLE))
        .exec(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    changed(&app, &row, ScheduledState::Cancelled).await;
    Ok(StatusCode::NO_CONTENT)
}
