//! What other parts ask about blocks.

use std::collections::HashSet;

use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, EntityTrait as _};
use sealpost_schema::entities::block;
use sealpost_schema::{ProblemKind, UserId};

use crate::problem::{ApiError, ApiResult};

/// Those among `users` who block `blocked`.
pub async fn blocks_of(
    db: &impl ConnectionTrait,
    blocked: UserId,
    users: impl IntoIterator<Item = UserId>,
) -> ApiResult<HashSet<Uuid>> {
    let users: Vec<_> = users.into_iter().map(|user| user.0).collect();
    if users.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = block::Entity::against(blocked.0, users).all(db).await.map_err(|error| ApiError::store(&error))?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

/// Whether `user` blocks `blocked`.
pub async fn is_blocked(db: &impl ConnectionTrait, user: UserId, blocked: UserId) -> ApiResult<bool> {
    let row = block::Entity::find_by_id((user.0, blocked.0)).one(db).await;
    Ok(row.map_err(|error| ApiError::store(&error))?.is_some())
}

/// Whoever blocks somebody does not write to them.
pub async fn check_not_blocked(db: &impl ConnectionTrait, user: UserId, blocked: UserId) -> ApiResult<()> {
    if is_blocked(db, user, blocked).await? {
        return Err(ApiError::new(
            ProblemKind::Forbidden,
            format!("You block this user. Take the block back first, at DELETE /api/blocks/{blocked}."),
        ));
    }
    Ok(())
}
