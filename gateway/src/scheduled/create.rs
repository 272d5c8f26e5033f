//! `POST /conversations/{conversation_id}/scheduled`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, SqlErr,
};
use sealpost_schema::entities::{event, scheduled_message};
use sealpost_schema::{
    ClientMessageId, ConversationId, EventId, MessageId, Problem, ProblemKind, ScheduledState, Timestamp, UserId,
};
use serde::Deserialize;

use super::model::{ScheduledMessageResponse, show};
use super::notice::changed;
use super::store::check_send_at;
use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::messages::{check_text, key_error, resolve_links};
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Messages of one user that wait or have failed. Requests at the same time may go past it by as many as there are.
pub const MAX_SCHEDULED: u64 = 100;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleMessageRequest {
    /// Your own name for the message: scheduling it again is scheduling it once.
    #[schema(example = "m-1")]
    pub client_message_id: ClientMessageId,
    #[schema(example = "Happy new year!")]
    pub text: String,
    /// A moment to come, at most a year ahead.
    pub send_at: Timestamp,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// The first message of the thread that this one belongs to.
    pub thread_id: Option<MessageId>,
}

/// Send a message at a time
///
/// It is sent once, when its time has come, or at once if that was missed; `created_at` is then the moment of sending. Whether you may
/// is decided at that moment: what is refused stays in the list as `failed`, with the reason. At most 100 wait or have failed. Your devices
/// get the frame `scheduled_message`.
#[utoipa::path(
    post, path = "/conversations/{conversation_id}/scheduled", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = ScheduleMessageRequest,
    responses(
        (status = 201, body = ScheduledMessageResponse),
        (status = 200, body = ScheduledMessageResponse, description = "A repeat: as it is now"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The client message id was used for another message, or too many wait"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Empty or too long text, a time that has passed, or a bad value"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn schedule_message(
    State(app): State<App>,
    principal: Principal,
    Path(conversation): Path<ConversationId>,
    Body(request): Body<ScheduleMessageRequest>,
) -> ApiResult<(StatusCode, Json<ScheduledMessageResponse>)> {
    let me = principal.user_id;
    check_text(&request.text, app.config.max_text_bytes)?;
    find_visible(&app, me, conversation, "conversation").await?;
    if let Some(first) = find_like(&app, me, conversation, &request.client_message_id).await? {
        return repeated(&app, first, &request.text).await;
    }
    check_send_at(&app, request.send_at)?;
    check_unused(&app, me, conversation, &request.client_message_id).await?;
    check_count(&app, me).await?;
    let row = seal(&app, me, conversation, &request).await?;
    let inserted = scheduled_message::Entity::insert(row.clone().into_active_model());
    match inserted.exec_without_returning(&app.db).await {
        Ok(_) => {}
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            let first = find_like(&app, me, conversation, &request.client_message_id).await?;
            let first = first.ok_or_else(|| ApiError::store(&error))?;
            return repeated(&app, first, &request.text).await;
        }
        Err(error) => return Err(ApiError::store(&error)),
    }
    changed(&app, &row, ScheduledState::Waiting).await;
    Ok((StatusCode::CREATED, Json(show(&app, row).await?)))
}

async fn seal(
    app: &App,
    me: UserId,
    conversation: ConversationId,
    request: &ScheduleMessageRequest,
) -> ApiResult<scheduled_message::Model> {
    let ScheduleMessageRequest { client_message_id, text, send_at, reply_to, thread_id } = request;
    let links = resolve_links(app, me, conversation, text, *reply_to, *thread_id).await?;
    let links = links.as_deref().map(serde_json::to_string).transpose();
    // Its own key: it may be a message that disappears.
    let key = app.keys.single(conversation).await.map_err(key_error)?;
    let id = EventId::new();
    Ok(scheduled_message::Model {
        id: id.0,
        user_id: me.0,
        conversation_id: conversation.0,
        client_message_id: client_message_id.to_string(),
        sealed: app.keys.seal(&key, id, me, text).map_err(|error| ApiError::internal(&error))?,
        key_generation: i32::try_from(key.generation()).map_err(|error| ApiError::internal(&error))?,
        links: links.map_err(|error| ApiError::internal(&error))?,
        send_at: send_at.millis(),
        state: ScheduledState::Waiting.as_str().to_owned(),
        failure: None,
        claimed_at: None,
        created_at: app.clock.now().millis(),
    })
}

async fn find_like(
    app: &App,
    me: UserId,
    conversation: ConversationId,
    name: &ClientMessageId,
) -> ApiResult<Option<scheduled_message::Model>> {
    scheduled_message::Entity::for_user(me.0)
        .filter(scheduled_message::Column::ConversationId.eq(conversation.0))
        .filter(scheduled_message::Column::ClientMessageId.eq(name.as_str()))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))
}

/// The name was scheduled before; with another text that is a mistake.
async fn repeated(
    app: &App,
    first: scheduled_message::Model,
    text: &str,
) -> ApiResult<(StatusCode, Json<ScheduledMessageResponse>)> {
    let first = show(app, first).await?;
    if first.text.as_deref().is_some_and(|before| before != text) {
        return Err(reused(&first.client_message_id));
    }
    Ok((StatusCode::OK, Json(first)))
}

/// A message that was sent may have it, perhaps this very one. Of those that are not stored yet the lane knows when its time comes.
async fn check_unused(app: &App, me: UserId, conversation: ConversationId, name: &ClientMessageId) -> ApiResult<()> {
    let sent = event::Entity::of_for_user(conversation.0, me.0)
        .filter(event::Column::SenderId.eq(me.0))
        .filter(event::Column::ClientMessageId.eq(name.as_str()))
        .count(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if sent == 0 { Ok(()) } else { Err(reused(name)) }
}

fn reused(name: &ClientMessageId) -> ApiError {
    let detail = format!("client_message_id `{name}` was used for another message. Use a new one for a new message.");
    ApiError::new(ProblemKind::ClientMessageIdReused, detail)
}

async fn check_count(app: &App, me: UserId) -> ApiResult<()> {
    let count = scheduled_message::Entity::for_user(me.0).count(&app.db).await;
    if count.map_err(|error| ApiError::store(&error))? < MAX_SCHEDULED {
        return Ok(());
    }
    let detail = format!("{MAX_SCHEDULED} messages wait or have failed, the most there may be. Delete one first.");
    Err(ApiError::new(ProblemKind::TooManyScheduled, detail))
}
