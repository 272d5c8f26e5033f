//! `GET /auth/me`

use axum::Json;
use axum::extract::State;
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, ProblemKind, SessionId, Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use super::Principal;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Your own account.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MeResponse {
    pub id: UserId,
    #[schema(example = "ada")]
    pub username: String,
    #[schema(example = "Ada Lovelace")]
    pub display_name: String,
    #[schema(example = "Computing Bernoulli numbers")]
    pub status_text: Option<String>,
    #[schema(example = "Europe/London")]
    pub time_zone: Option<String>,
    /// Shown to nobody else.
    #[schema(example = "en-GB")]
    pub language: Option<String>,
    /// For `GET /api/avatars/{id}`.
    pub avatar_id: Option<Uuid>,
    /// Shown to nobody else.
    #[schema(example = "ada@example.org")]
    pub email: Option<String>,
    /// Whether a link that went there was used: only then mails with links for this account go there.
    pub email_verified: bool,
    /// Whether others may see what you have read.
    pub read_receipts: bool,
    pub created_at: Timestamp,
    /// The session that asks.
    pub session_id: SessionId,
}

/// Get my account
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 200, body = MeResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the account is gone"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_me(State(app): State<App>, principal: Principal) -> ApiResult<Json<MeResponse>> {
    load_me(&app, principal).await.map(Json)
}

/// The account of who asks, as they see it.
pub async fn load_me(app: &App, principal: Principal) -> ApiResult<MeResponse> {
    let user = load_account(app, principal.user_id).await?;
    Ok(MeResponse {
        id: UserId(user.id),
        username: user.username,
        display_name: user.display_name,
        status_text: user.status_text,
        time_zone: user.time_zone,
        language: user.language,
        avatar_id: user.avatar_id,
        email: user.email,
        email_verified: user.email_verified_at.is_some(),
        read_receipts: user.read_receipts,
        created_at: Timestamp::from_millis(user.created_at),
        session_id: principal.session_id,
    })
}

/// The account of who asks, if it is not disabled.
pub async fn load_account(app: &App, id: UserId) -> ApiResult<user::Model> {
    let user = user::Entity::active_by_id(id.0).one(&app.db).await;
    user.map_err(|error| ApiError::store(&error))?.ok_or_else(|| {
        ApiError::new(
            ProblemKind::Unauthenticated,
            "This account is gone or disabled. Sign in at POST /api/auth/signin.",
        )
    })
}
