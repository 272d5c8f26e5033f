//! What sign-up and sign-in have in common: a new session and its first tokens.

use axum::http::{HeaderMap, header};
use sea_orm::ConnectionTrait;
use sealpost_schema::entities::user;
use sealpost_schema::{SessionId, UserId};
use serde::Serialize;

use super::sessions;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;
use crate::users::UserResponse;

/// A new session.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SignedInResponse {
    pub user: UserResponse,
    pub session_id: SessionId,
    /// Send it as `Authorization: Bearer <access_token>`.
    #[schema(example = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6Ij…")]
    pub access_token: String,
    /// Good for one refresh; keep the one that comes back.
    #[schema(example = "0198c0de8a5b7c3d9e1f2a3b4c5d6e7f.Vm9yIGRlbSBHZXNldHogc3RlaHQgZWluIFTDvHJow7x0ZXI…")]
    pub refresh_token: String,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    pub expires_in: u64,
    #[schema(value_type = String, example = "Bearer")]
    pub token_type: &'static str,
}

pub const TOKEN_TYPE: &str = "Bearer";

/// Begins a session of `user`. What it writes takes effect with `db`'s transaction, if that is one.
pub async fn begin_session(
    app: &App,
    db: &impl ConnectionTrait,
    user: user::Model,
    headers: &HeaderMap,
) -> ApiResult<SignedInResponse> {
    let (user_id, session_id) = (UserId(user.id), SessionId::new());
    let token = app.tokens.refresh_keys().first(session_id).map_err(|error| ApiError::internal(&error))?;
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    sessions::begin(db, &token, user_id, app.clock.now(), app.auth.refresh_lifetime(), user_agent)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let (access_token, expires_in) =
        app.tokens.issue(user_id, session_id).map_err(|error| ApiError::internal(&error))?;
    Ok(SignedInResponse {
        user: UserResponse::new(user),
        session_id,
        access_token,
        refresh_token: token.to_text(),
        expires_in,
        token_type: TOKEN_TYPE,
    })
}
