//! `POST /auth/refresh`

use axum::Json;
use axum::extract::State;
use sealpost_schema::{Problem, ProblemKind, SessionId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::ending::{self, Ending, Which};
use super::refresh_token::RefreshToken;
use super::sessions::{self, Rotation};
use super::signed_in::TOKEN_TYPE;
use crate::audit::{self, AuditEntry, AuditEvent, EndReason};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;

fn refused() -> ApiError {
    ApiError::new(
        ProblemKind::RefreshRefused,
        "The refresh token is not valid: its session has ended or expired, or it was replaced. Sign in at POST /api/auth/signin.",
    )
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    #[schema(value_type = String, example = "0198c0de8a5b7c3d9e1f2a3b4c5d6e7f.Vm9yIGRlbSBHZXNldHogc3RlaHQgZWluIFTDvHJow7x0ZXI…")]
    pub refresh_token: SecretString,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct RefreshResponse {
    pub session_id: SessionId,
    #[schema(example = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6Ij…")]
    pub access_token: String,
    /// Keep it in place of the one you sent.
    #[schema(example = "0198c0de8a5b7c3d9e1f2a3b4c5d6e7f.a29tbXQgZWluIE1hbm4gdm9tIExhbmRlIHVuZCBiaXR0ZXQ…")]
    pub refresh_token: String,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    pub expires_in: u64,
    #[schema(value_type = String, example = "Bearer")]
    pub token_type: &'static str,
}

/// Refresh
///
/// A new access token, and the refresh token that follows the one sent. If the answer is lost, send the same token again: for 15
/// seconds the answer has the same refresh token. Later use of an old token ends its session, because somebody may have copied it.
#[utoipa::path(
    post, path = "/auth/refresh", tag = "auth",
    request_body = RefreshRequest,
    responses(
        (status = 200, body = RefreshResponse, description = "The next pair of tokens"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "Not valid: sign in again"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away; the token stays good"),
    )
)]
pub async fn refresh(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<RefreshRequest>,
) -> ApiResult<Json<RefreshResponse>> {
    let sent = RefreshToken::parse(request.refresh_token.expose_secret()).ok_or_else(refused)?;
    let rotation =
        sessions::rotate(&app.db, app.tokens.refresh_keys(), &sent, app.clock.now(), app.auth.refresh_grace()).await;
    match rotation.map_err(|error| ApiError::store(&error))? {
        Rotation::Next { user, token, expires_at } => {
            let issued = app.tokens.issue(user, token.session_id, expires_at);
            let (access_token, expires_in) = issued.map_err(|error| ApiError::internal(&error))?;
            Ok(Json(RefreshResponse {
                session_id: token.session_id,
                access_token,
                refresh_token: token.to_text(),
                expires_in,
                token_type: TOKEN_TYPE,
            }))
        }
        Rotation::Refused => Err(refused()),
        Rotation::Reused { user } => {
            tracing::warn!(session = %sent.session_id, "an old refresh token was used again: its session ends");
            end_copied(&app, user, sent.session_id, &caller).await?;
            Err(refused())
        }
    }
}

/// Somebody has a copy of a token: whoever it is, the session ends for both.
async fn end_copied(app: &App, user: UserId, session: SessionId, caller: &Caller) -> ApiResult<()> {
    let entry = AuditEntry::to(Some(user), AuditEvent::RefreshReused {}).session(session);
    let recorded = audit::record(&app.db, app.clock.now(), caller, entry).await;
    recorded.map_err(|error| ApiError::store(&error))?;
    let ending = Ending { by: None, reason: EndReason::RefreshReused, caller };
    ending::end(app, user, Which::One(session), ending).await.map(|_| ())
}
