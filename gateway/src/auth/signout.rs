//! `POST /auth/signout`

use axum::extract::State;
use axum::http::StatusCode;
use sealpost_schema::Problem;

use super::Principal;
use super::ending::{self, Ending, Which};
use crate::audit::EndReason;
use crate::caller::Caller;
use crate::problem::ApiResult;
use crate::state::App;

/// Sign out
///
/// Ends the session: within a second its tokens are refused and its WebSockets are closed, on every gateway.
#[utoipa::path(
    post, path = "/auth/signout", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn sign_out(State(app): State<App>, principal: Principal, caller: Caller) -> ApiResult<StatusCode> {
    let ending = Ending { by: Some(principal.user_id), reason: EndReason::SignedOut, caller: &caller };
    ending::end(&app, principal.user_id, Which::One(principal.session_id), ending).await?;
    Ok(StatusCode::NO_CONTENT)
}
