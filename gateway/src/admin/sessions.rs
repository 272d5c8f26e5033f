//! `GET` and `DELETE /admin/users/{id}/sessions`, `DELETE /admin/users/{id}/sessions/{session_id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::QueryOrder as _;
use sealpost_schema::entities::session;
use sealpost_schema::{Problem, SessionId, UserId};

use super::users::load;
use crate::audit::EndReason;
use crate::auth::{
    Admin, EndedSessionsResponse, Ending, ListSessionsResponse, SessionResponse, Which, end_sessions as end,
};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// List a user's sessions
#[utoipa::path(
    get, path = "/admin/users/{id}/sessions", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, body = ListSessionsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_sessions(
    State(app): State<App>,
    admin: Admin,
    Path(id): Path<UserId>,
) -> ApiResult<Json<ListSessionsResponse>> {
    load(&app, id).await?;
    let rows = session::Entity::live_of(id.0, app.clock.now().millis())
        .order_by_desc(session::Column::LastSeenAt)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let current = Some(admin.0.session_id);
    let sessions = rows.into_iter().map(|row| SessionResponse::new(row, current)).collect();
    Ok(Json(ListSessionsResponse { sessions }))
}

/// End all sessions of a user
///
/// Within a second their tokens are refused and their WebSockets are closed, on every gateway. They can sign in again.
#[utoipa::path(
    delete, path = "/admin/users/{id}/sessions", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, body = EndedSessionsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn end_sessions(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path(id): Path<UserId>,
) -> ApiResult<Json<EndedSessionsResponse>> {
    load(&app, id).await?;
    let ending = Ending { by: Some(admin.0.user_id), reason: EndReason::EndedByAdmin, caller: &caller };
    let ended = end(&app, id, Which::AllBut(None), ending).await?;
    Ok(Json(EndedSessionsResponse { ended: ended as u64 }))
}

/// End one session of a user
#[utoipa::path(
    delete, path = "/admin/users/{id}/sessions/{session_id}", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path), ("session_id" = SessionId, Path)),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "This user has no such session"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn end_session(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path((id, session)): Path<(UserId, SessionId)>,
) -> ApiResult<StatusCode> {
    let ending = Ending { by: Some(admin.0.user_id), reason: EndReason::EndedByAdmin, caller: &caller };
    match end(&app, id, Which::One(session), ending).await? {
        0 => Err(ApiError::not_found("session")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
