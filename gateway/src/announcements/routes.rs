//! `GET /announcements`, `PUT /announcements/seen`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, EntityTrait as _};
use sealpost_schema::entities::announcement_mark;
use sealpost_schema::{Problem, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::board::seen_by;
use crate::auth::Principal;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct AnnouncementResponse {
    pub id: Uuid,
    pub text: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Whether the caller has marked it as seen.
    pub seen: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListAnnouncementsResponse {
    /// The newest first; 20 at most.
    pub announcements: Vec<AnnouncementResponse>,
}

/// Read what was announced
#[utoipa::path(
    get, path = "/announcements", tag = "users", security(("bearer" = [])),
    responses(
        (status = 200, body = ListAnnouncementsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_announcements(
    State(app): State<App>,
    principal: Principal,
) -> ApiResult<Json<ListAnnouncementsResponse>> {
    let seen = seen_by(&app, principal.user_id).await?;
    let current = app.announcements.current(app.clock.now());
    let announcements = current.iter().rev().map(|one| AnnouncementResponse {
        id: one.id,
        text: one.text.clone(),
        created_at: one.created_at,
        expires_at: one.expires_at,
        seen: one.id <= seen,
    });
    Ok(Json(ListAnnouncementsResponse { announcements: announcements.collect() }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeenRequest {
    /// This one was seen, and those before it.
    pub announcement_id: Uuid,
}

/// Mark announcements as seen
///
/// They do not come again at the start of a connection. The mark only rises.
#[utoipa::path(
    put, path = "/announcements/seen", tag = "users", security(("bearer" = [])),
    request_body = SeenRequest,
    responses(
        (status = 204, description = "Noted"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such announcement"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn mark_announcements_seen(
    State(app): State<App>,
    principal: Principal,
    Body(request): Body<SeenRequest>,
) -> ApiResult<StatusCode> {
    let id = request.announcement_id;
    // Else a mark from the future would hide what is still to come.
    if app.announcements.current(app.clock.now()).iter().all(|one| one.id != id) {
        return Err(ApiError::not_found("announcement"));
    }
    let rises = Expr::col((announcement_mark::Entity, announcement_mark::Column::SeenId)).lt(id);
    let conflict = OnConflict::column(announcement_mark::Column::UserId)
        .update_column(announcement_mark::Column::SeenId)
        .action_and_where(rises)
        .to_owned();
    let mark = announcement_mark::ActiveModel { user_id: Set(principal.user_id.0), seen_id: Set(id) };
    announcement_mark::Entity::insert(mark)
        .on_conflict(conflict)
        .exec_without_returning(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
