//! `POST /channels/{conversation_id}/join`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_schema::entities::conversation;
use sealpost_schema::{ConversationId, NamedRole, Problem, Role};

use crate::auth::Principal;
use crate::conversations::control::{admit, begin, commit, find_participant};
use crate::conversations::{ConversationResponse, load_one};
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Join a public channel
///
/// As a reader. Leave it at `DELETE /api/conversations/{conversation_id}/participants/{user_id}`.
#[utoipa::path(
    post, path = "/channels/{conversation_id}/join", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 201, body = ConversationResponse),
        (status = 200, body = ConversationResponse, description = "You were in it already"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such public channel"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The channel is full"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not available, or recorded and still to take effect"),
    )
)]
pub async fn join_channel(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<(StatusCode, Json<ConversationResponse>)> {
    let me = principal.user_id;
    let transaction = begin(&app).await?;
    let channel = conversation::Entity::public()
        .filter(conversation::Column::Id.eq(id.0))
        .lock_exclusive()
        .one(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?
        .ok_or_else(|| ApiError::not_found("channel"))?;
    if find_participant(&transaction, id, me).await?.is_some() {
        commit(transaction).await?;
        return Ok((StatusCode::OK, Json(load_one(&app, me, id).await?)));
    }
    let named = NamedRole { user_id: me, role: Role::Reader };
    let (change, _) = admit(&app, &transaction, &channel, named, me).await?;
    commit(transaction).await?;
    change.publish(&app).await?;
    Ok((StatusCode::CREATED, Json(load_one(&app, me, id).await?)))
}
