//! `PUT /messages/{message_id}`, and the frame `message_edit`

use axum::Json;
use axum::extract::State;
use sealpost_lane::Rule;
use sealpost_schema::{EventBody, EventId, MessageId, Problem, UserId};
use serde::Deserialize;

use super::change::{Change, Decision, change, draft};
use super::current::Current;
use super::links;
use super::model::ChangeResponse;
use super::submit::check_text;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessageRequest {
    #[schema(example = "Hello, world!")]
    pub text: String,
}

/// Edit a message
///
/// Its author may, for as long as they may post, and who has the right `edit_others`. The text that it has already changes nothing, and makes no event.
#[utoipa::path(
    put, path = "/messages/{message_id}", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    request_body = EditMessageRequest,
    responses(
        (status = 200, body = ChangeResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not, or not any more"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is deleted"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Empty or too long text, or a bad value"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not taken, or not known whether taken: see the type"),
    )
)]
pub async fn edit_message(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Body(request): Body<EditMessageRequest>,
) -> ApiResult<Json<ChangeResponse>> {
    Ok(Json(change(&app, principal.user_id, None, id, Change::Edit(request.text)).await?.stored().await))
}

pub async fn edit(app: &App, user: UserId, current: &Current, text: &str) -> ApiResult<Decision> {
    check_text(text, app.config.max_text_bytes)?;
    if current.is_deleted() {
        return Err(ApiError::message_deleted());
    }
    let (before, seq) = current.text(app).await?;
    if before.as_deref() == Some(text) {
        return Ok(Decision::Nothing(Some(seq)));
    }
    let (mentions, mentions_all) = links::mentions(app, user, current.conversation_id(), text).await?;
    let key = current.key(app).await?;
    let id = EventId::new();
    let sealed = app.keys.seal(&key, id, user, text).map_err(|error| ApiError::internal(&error))?;
    let (message_id, message_seq, expires_at) = (current.id(), current.seq(), current.expires_at());
    if expires_at.is_none() {
        app.keys.remember(id, message_id, text.to_owned());
    }
    let body = EventBody::MessageEdited { message_id, message_seq, sealed, mentions, mentions_all, expires_at };
    Ok(Decision::Append(draft(app, user, id, body, Rule::EditMessageOf(current.author()))))
}
