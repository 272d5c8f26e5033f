//! `POST /admin/announcements`, `DELETE /admin/announcements/{id}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _};
use sealpost_schema::entities::announcement;
use sealpost_schema::{ControlNotice, Problem, Timestamp, UserId};
use serde::Deserialize;
use uuid::Uuid;

use super::board::{MAX_CURRENT, refresh};
use super::routes::AnnouncementResponse;
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::Admin;
use crate::caller::Caller;
use crate::live::announce;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;
use crate::transaction::{begin, commit};

const MAX_CHARS: usize = 2000;
const MAX_HOURS: u64 = 8760;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAnnouncementRequest {
    /// 1 to 2,000 characters.
    #[schema(min_length = 1, max_length = 2000, example = "Maintenance tonight at 22:00 UTC.")]
    pub text: String,
    /// How long those who connect get it: 1 to 8,760.
    #[serde(default = "default_hours")]
    #[schema(minimum = 1, maximum = 8760, default = 168)]
    pub hours: u64,
}

fn default_hours() -> u64 {
    168
}

/// Tell everybody
///
/// Everybody who is connected gets it at once, readers of public channels too; the others when they connect.
#[utoipa::path(
    post, path = "/admin/announcements", tag = "admin", security(("bearer" = [])),
    request_body = CreateAnnouncementRequest,
    responses(
        (status = 201, body = AnnouncementResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, or there are 20 current ones"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn create_announcement(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Body(request): Body<CreateAnnouncementRequest>,
) -> ApiResult<(StatusCode, Json<AnnouncementResponse>)> {
    let text = request.text.trim().to_owned();
    if !(1..=MAX_CHARS).contains(&text.chars().count()) || !(1..=MAX_HOURS).contains(&request.hours) {
        return Err(ApiError::invalid(format!(
            "Use 1 to {MAX_CHARS} characters of text and 1 to {MAX_HOURS} for hours."
        )));
    }
    let (now, store) = (app.clock.now(), |error| ApiError::store(&error));
    let id = Uuid::now_v7();
    let (wrapped, sealed) =
        app.keys.seal_for_user(UserId(id), text.as_bytes()).map_err(|error| ApiError::internal(&error))?;
    let row = announcement::Model {
        id,
        wrapped,
        sealed,
        created_by: admin.0.user_id.0,
        created_at: now.millis(),
        expires_at: now.plus(Duration::from_secs(request.hours * 3600)).millis(),
    };
    let response = AnnouncementResponse {
        id,
        text,
        created_at: now,
        expires_at: Timestamp::from_millis(row.expires_at),
        seen: false,
    };
    let transaction = begin(&app).await?;
    if announcement::Entity::current(now.millis()).count(&transaction).await.map_err(store)? >= MAX_CURRENT {
        return Err(ApiError::invalid(format!("There are {MAX_CURRENT} current announcements: withdraw some first.")));
    }
    announcement::Entity::delete_many()
        .filter(announcement::Column::ExpiresAt.lte(now.millis()))
        .exec(&transaction)
        .await
        .map_err(store)?;
    announcement::Entity::insert(row.into_active_model()).exec_without_returning(&transaction).await.map_err(store)?;
    let entry = AuditEntry::to(None, AuditEvent::Announced { announcement_id: id }).by(admin.0.user_id);
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    refresh(&app).await?;
    announce(&app, &ControlNotice::Announced {}).await;
    Ok((StatusCode::CREATED, Json(response)))
}

/// Withdraw an announcement
///
/// Those who have seen it have seen it.
#[utoipa::path(
    delete, path = "/admin/announcements/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Nobody gets it any more"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such announcement"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn withdraw_announcement(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<StatusCode> {
    let (now, store) = (app.clock.now(), |error| ApiError::store(&error));
    let transaction = begin(&app).await?;
    let gone = announcement::Entity::delete_by_id(id).exec(&transaction).await.map_err(store)?;
    if gone.rows_affected == 0 {
        return Err(ApiError::not_found("announcement"));
    }
    let entry = AuditEntry::to(None, AuditEvent::AnnouncementWithdrawn { announcement_id: id }).by(admin.0.user_id);
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    refresh(&app).await?;
    announce(&app, &ControlNotice::Announced {}).await;
    Ok(StatusCode::NO_CONTENT)
}
