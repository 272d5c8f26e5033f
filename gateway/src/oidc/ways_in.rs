//! Whether an account can still be signed in to.

use sea_orm::{ConnectionTrait, DbErr, PaginatorTrait as _};
use sealpost_schema::entities::{identity, passkey, user};
use sealpost_schema::{ProblemKind, UserId};

use crate::problem::{ApiError, ApiResult};

/// An error: with what was just taken away the last way in has gone, so the transaction must not be committed.
pub async fn check(db: &impl ConnectionTrait, user: UserId) -> ApiResult<()> {
    if is_there(db, user).await.map_err(|error| ApiError::store(&error))? {
        return Ok(());
    }
    Err(ApiError::new(
        ProblemKind::LastWayIn,
        "Nobody could sign in to this account any more. Add a passkey, another provider or a password first.",
    ))
}

async fn is_there(db: &impl ConnectionTrait, user: UserId) -> Result<bool, DbErr> {
    let Some(row) = user::Entity::active_by_id(user.0).one(db).await? else { return Ok(true) };
    // A proven address gets links.
    let by_itself = !row.password_hash.is_empty() || (row.email.is_some() && row.email_verified_at.is_some());
    Ok(by_itself
        || passkey::Entity::of(user.0).count(db).await? > 0
        || identity::Entity::of(user.0).count(db).await? > 0)
}
