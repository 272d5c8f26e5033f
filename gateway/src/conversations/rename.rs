//! `PATCH /conversations/{conversation_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, IntoActiveModel as _};
use sealpost_schema::{ConversationId, EventBody, EventId, Problem};
use serde::Deserialize;

use super::ConversationResponse;
use super::control::{Change, begin, commit, forbidden, load_locked, not_dm};
use super::create::check_title;
use super::model::load;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameConversationRequest {
    /// The new title, 1 to 200 characters; `null` takes it away.
    #[schema(max_length = 200)]
    pub title: Option<String>,
}

/// Rename a group or channel
#[utoipa::path(
    patch, path = "/conversations/{conversation_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = RenameConversationRequest,
    responses(
        (status = 200, body = ConversationResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You are no admin of it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A title that is not allowed, or a dm"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn rename_conversation(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<RenameConversationRequest>,
) -> ApiResult<Json<ConversationResponse>> {
    request.title.as_deref().map_or(Ok(()), check_title)?;
    let me = principal.user_id;
    // Before the transaction: on SQLite it would wait for itself.
    let key = app.keys.newest(id).await.ok();
    let transaction = begin(&app).await?;
    let (row, kind, role) = load_locked(&transaction, id, me).await?;
    not_dm(kind)?;
    if !role.may_manage() {
        return Err(forbidden("admins and owners"));
    }
    let event = EventId::new();
    let sealed = match &request.title {
        None => None,
        Some(title) => {
            let key = key.ok_or_else(|| ApiError::internal(&"the conversation's key is not usable"))?;
            Some(app.keys.seal(&key, event, me, title).map_err(|error| ApiError::internal(&error))?)
        }
    };
    let mut row = row.into_active_model();
    row.sealed_title = Set(sealed.clone());
    row.title_event_id = Set(Some(event.0));
    row.title_sender_id = Set(Some(me.0));
    row.update(&transaction).await.map_err(|error| ApiError::store(&error))?;
    let change =
        Change { id: event, ..Change::new(&app, id, me, EventBody::ConversationChanged { sealed_title: sealed }) };
    change.record(&transaction).await?;
    commit(transaction).await?;
    change.publish(&app).await?;
    let conversation = load(&app, me, Some(id), 1).await?.pop();
    Ok(Json(conversation.ok_or_else(|| ApiError::not_found("conversation"))?))
}
