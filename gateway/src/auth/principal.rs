//! Who sends this request, and what they may do.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::entities::user;
use sealpost_schema::{ProblemKind, SessionId, Timestamp, UserId};

use super::authenticate::{Authenticated, authenticate, token_of};
use crate::limits::Standing;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// The signed-in user of a request: a handler that takes it answers nobody else.
///
/// From the access token alone, without a query. A session that has ended is refused within a second of its end.
#[derive(Clone, Copy, Debug)]
pub struct Principal {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub expires_at: Timestamp,
}

impl FromRequestParts<App> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = token_of(&parts.headers).ok_or_else(|| {
            ApiError::new(
                ProblemKind::Unauthenticated,
                "Send the access token in the header `Authorization: Bearer <token>`. Get one at POST /api/auth/signin.",
            )
        })?;
        let Authenticated { principal, grant } = authenticate(app, token).await?;
        if let Some(grant) = grant {
            grant.check_request(&parts.method, parts.uri.path())?;
        }
        if let Some(standing) = parts.extensions.get::<Standing>() {
            standing.note(app.limits.user(principal.user_id, &parts.method))?;
        }
        Ok(principal)
    }
}

/// A signed-in user who administers this server. Asks the store, so that a right that was taken away is gone at once; who is
/// none gets 403.
#[derive(Clone, Copy, Debug)]
pub struct Admin(pub Principal);

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = Principal::from_request_parts(parts, app).await?;
        if is_admin(app, principal.user_id).await? {
            return Ok(Self(principal));
        }
        Err(ApiError::new(ProblemKind::Forbidden, "Only those who administer this server may do this."))
    }
}

/// Asks the store.
pub async fn is_admin(app: &App, user: UserId) -> ApiResult<bool> {
    let admin = user::Entity::active()
        .filter(user::Column::Id.eq(user.0))
        .filter(user::Column::Role.eq(user::ADMIN))
        .one(&app.db)
        .await;
    Ok(admin.map_err(|error| ApiError::store(&error))?.is_some())
}
