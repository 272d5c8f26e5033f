//! `GET /conversations/{conversation_id}`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QueryOrder, QuerySelect};
use sealpost_schema::entities::participant;
use sealpost_schema::{ConversationId, Problem};
use serde::Serialize;

use super::model::load_one;
use super::{ConversationResponse, ParticipantResponse};
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct GetConversationResponse {
    pub conversation: ConversationResponse,
    /// The first 1000 by user id.
    pub participants: Vec<ParticipantResponse>,
}

/// Get a conversation and its participants
#[utoipa::path(
    get, path = "/conversations/{conversation_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = GetConversationResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_conversation(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<GetConversationResponse>> {
    let conversation = load_one(&app, principal.user_id, id).await?;
    let participants = participant::Entity::of(id.0)
        .order_by_asc(participant::Column::UserId)
        .filter(participant::Column::ConversationId.eq(id.0))
        .limit(1000)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let participants = participants.iter().filter_map(ParticipantResponse::new).collect();
    Ok(Json(GetConversationResponse { conversation, participants }))
}
