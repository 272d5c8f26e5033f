//! `GET /auth/sessions`, `DELETE /auth/sessions` and `DELETE /auth/sessions/{id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::QueryOrder as _;
use sealpost_schema::entities::session;
use sealpost_schema::{Problem, SessionId, Timestamp};
use serde::Serialize;

use super::Principal;
use super::device::DeviceKind;
use super::ending::{self, Ending, Which};
use crate::audit::EndReason;
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// A signed-in device.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionResponse {
    pub id: SessionId,
    /// As it was given at sign-in.
    #[schema(example = "Ada's laptop")]
    pub name: Option<String>,
    pub kind: DeviceKind,
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")]
    pub user_agent: Option<String>,
    /// Where it signed in from.
    #[schema(example = "192.0.2.7")]
    pub address: Option<String>,
    pub created_at: Timestamp,
    /// To about a minute.
    pub last_seen_at: Timestamp,
    /// It ends then, however much it is used.
    pub expires_at: Timestamp,
    /// It ends then if it is not used before.
    pub idle_until: Timestamp,
    /// The one that asks.
    pub current: bool,
}

impl SessionResponse {
    pub fn new(row: session::Model, current: Option<SessionId>) -> Self {
        Self {
            current: current.is_some_and(|id| id.0 == row.id),
            id: SessionId(row.id),
            name: row.name,
            kind: DeviceKind::parse(&row.kind),
            user_agent: row.user_agent,
            address: row.address,
            created_at: Timestamp::from_millis(row.created_at),
            last_seen_at: Timestamp::from_millis(row.last_seen_at),
            expires_at: Timestamp::from_millis(row.expires_at),
            idle_until: Timestamp::from_millis(row.last_seen_at.saturating_add(row.idle_seconds.saturating_mul(1000))),
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListSessionsResponse {
    /// The one seen last comes first. Bounded by the server's `auth.max_sessions_per_user`.
    pub sessions: Vec<SessionResponse>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct EndedSessionsResponse {
    /// How many were ended.
    pub ended: u64,
}

/// List my sessions
///
/// All devices that are signed in to this account.
#[utoipa::path(
    get, path = "/auth/sessions", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 200, body = ListSessionsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_sessions(State(app): State<App>, principal: Principal) -> ApiResult<Json<ListSessionsResponse>> {
    let rows = session::Entity::live_of(principal.user_id.0, app.clock.now().millis())
        .order_by_desc(session::Column::LastSeenAt)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let current = Some(principal.session_id);
    let sessions = rows.into_iter().map(|row| SessionResponse::new(row, current)).collect();
    Ok(Json(ListSessionsResponse { sessions }))
}

/// End all my other sessions
///
/// Within a second their tokens are refused and their WebSockets are closed, on every gateway.
#[utoipa::path(
    delete, path = "/auth/sessions", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 200, body = EndedSessionsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn end_other_sessions(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
) -> ApiResult<Json<EndedSessionsResponse>> {
    let ending = Ending { by: Some(principal.user_id), reason: EndReason::EndedByUser, caller: &caller };
    let ended = ending::end(&app, principal.user_id, Which::AllBut(Some(principal.session_id)), ending).await?;
    Ok(Json(EndedSessionsResponse { ended: ended as u64 }))
}

/// End one of my sessions
///
/// Within a second its tokens are refused and its WebSockets are closed, on every gateway.
#[utoipa::path(
    delete, path = "/auth/sessions/{id}", tag = "auth", security(("bearer" = [])),
    params(("id" = SessionId, Path, description = "Of a session of yours; may be the one that asks")),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such session"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn end_session(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<SessionId>,
) -> ApiResult<StatusCode> {
    let own = id == principal.session_id;
    let reason = if own { EndReason::SignedOut } else { EndReason::EndedByUser };
    let ending = Ending { by: Some(principal.user_id), reason, caller: &caller };
    match ending::end(&app, principal.user_id, Which::One(id), ending).await? {
        0 => Err(ApiError::not_found("session")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
