//! `GET /blocks`

use axum::Json;
use axum::extract::State;
use sea_orm::QueryOrder as _;
use sealpost_schema::entities::block;
use sealpost_schema::{Problem, Timestamp, UserId};
use serde::Serialize;

use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct BlockResponse {
    pub user_id: UserId,
    pub created_at: Timestamp,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListBlocksResponse {
    /// The newest first; 1,000 at most.
    pub blocks: Vec<BlockResponse>,
}

/// List whom I block
#[utoipa::path(
    get, path = "/blocks", tag = "users", security(("bearer" = [])),
    responses(
        (status = 200, body = ListBlocksResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_blocks(State(app): State<App>, principal: Principal) -> ApiResult<Json<ListBlocksResponse>> {
    let rows = block::Entity::of_user(principal.user_id.0)
        .order_by_desc(block::Column::CreatedAt)
        .order_by_asc(block::Column::BlockedId)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let show = |row: block::Model| BlockResponse {
        user_id: UserId(row.blocked_id),
        created_at: Timestamp::from_millis(row.created_at),
    };
    Ok(Json(ListBlocksResponse { blocks: rows.into_iter().map(show).collect() }))
}
