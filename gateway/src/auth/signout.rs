//! `POST /auth/signout`

use axum::extract::State;
use axum::http::StatusCode;
use sealpost_schema::Problem;

use super::{Principal, sessions};
use crate::problem::ApiResult;
use crate::state::App;

/// Sign out
///
/// Ends the session: its refresh token is refused from now on and its WebSockets are closed, on every gateway.
#[utoipa::path(
    post, path = "/auth/signout", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or other gateways have not heard of it yet: see the type"),
    )
)]
pub async fn sign_out(State(app): State<App>, principal: Principal) -> ApiResult<StatusCode> {
    sessions::end(&app, principal.session_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
