//! `POST /admin/users/{id}/disable`, `POST /admin/users/{id}/enable` and `PUT /admin/users/{id}/role`

use axum::Json;
use axum::extract::State;
use sealpost_schema::{Problem, UserId};
use serde::Deserialize;

use super::account_error;
use super::users::{AccountResponse, load};
use crate::accounts::{self, Act, ServerRole};
use crate::auth::{Admin, announce};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Nobody can lock the last admin out by mistake: that takes two, or the command line.
fn not_oneself(admin: Admin, id: UserId) -> ApiResult<()> {
    if admin.0.user_id == id {
        return Err(ApiError::invalid("This would take your own rights away. Let another admin do it."));
    }
    Ok(())
}

/// Disable a user
///
/// They cannot sign in any more, and are not found by others; within a second their tokens are refused and their WebSockets are
/// closed, on every gateway. What they wrote stays. Doing it again changes nothing.
#[utoipa::path(
    post, path = "/admin/users/{id}/disable", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, body = AccountResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "It is you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn disable_user(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path(id): Path<UserId>,
) -> ApiResult<Json<AccountResponse>> {
    not_oneself(admin, id)?;
    let act = Act { by: Some(admin.0.user_id), caller: &caller, now: app.clock.now() };
    let ended = accounts::disable(&app.db, id, act).await.map_err(|error| account_error(&error))?;
    announce(&app, &ended).await;
    Ok(Json(load(&app, id).await?))
}

/// Enable a user
///
/// They can sign in again. Doing it again changes nothing.
#[utoipa::path(
    post, path = "/admin/users/{id}/enable", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    responses(
        (status = 200, body = AccountResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn enable_user(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path(id): Path<UserId>,
) -> ApiResult<Json<AccountResponse>> {
    let act = Act { by: Some(admin.0.user_id), caller: &caller, now: app.clock.now() };
    accounts::enable(&app.db, id, act).await.map_err(|error| account_error(&error))?;
    Ok(Json(load(&app, id).await?))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRoleRequest {
    pub role: ServerRole,
}

/// Set a user's role on this server
///
/// Takes effect with their next request.
#[utoipa::path(
    put, path = "/admin/users/{id}/role", tag = "admin", security(("bearer" = [])),
    params(("id" = UserId, Path)),
    request_body = SetRoleRequest,
    responses(
        (status = 200, body = AccountResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nobody has this id"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "It is you, or no such role"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn set_role(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path(id): Path<UserId>,
    Body(request): Body<SetRoleRequest>,
) -> ApiResult<Json<AccountResponse>> {
    not_oneself(admin, id)?;
    let act = Act { by: Some(admin.0.user_id), caller: &caller, now: app.clock.now() };
    accounts::set_role(&app.db, id, request.role, act).await.map_err(|error| account_error(&error))?;
    Ok(Json(load(&app, id).await?))
}
