//! Sessions in the database: begin and move on. The module `auth` explains the chain of refresh tokens.

use std::time::Duration;

use sea_orm::sea_query::Query;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _,
};
use sealpost_schema::entities::{session, user};
use sealpost_schema::{SessionId, Timestamp, UserId};

use super::config::AuthConfig;
use super::refresh_token::{RefreshKeys, RefreshToken};
use super::signed_in::SignIn;

/// Stores a new session with its first refresh token.
pub async fn begin(
    db: &impl ConnectionTrait,
    config: &AuthConfig,
    token: &RefreshToken,
    user: UserId,
    now: Timestamp,
    sign_in: &SignIn<'_>,
) -> Result<session::Model, DbErr> {
    let row = session::Model {
        id: token.session_id.0,
        user_id: user.0,
        refresh_hash: token.hash(),
        previous_hash: None,
        rotated_at: now.millis(),
        created_at: now.millis(),
        expires_at: now.plus(config.refresh_lifetime()).millis(),
        ended_at: None,
        user_agent: sign_in.caller.user_agent.clone(),
        name: sign_in.device.name.clone(),
        kind: sign_in.device.kind.as_str().to_owned(),
        address: sign_in.caller.address_text(),
        last_seen_at: now.millis(),
        idle_seconds: i64::try_from(config.idle_seconds(sign_in.device.kind)).unwrap_or(i64::MAX / 1000),
    };
    session::Entity::insert(row.clone().into_active_model()).exec_without_returning(db).await?;
    Ok(row)
}

/// What became of a refresh.
#[derive(Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor, now or once more within the grace.
    Next {
        user: UserId,
        token: RefreshToken,
        /// When the session ends at the latest.
        expires_at: Timestamp,
    },
    Refused,
    /// An old token was used again: a copy of it is about. The session has to end.
    Reused {
        user: UserId,
    },
}

/// Moves the session on to the successor of `token`. However many do so at once, one `UPDATE` takes effect.
pub async fn rotate(
    db: &impl ConnectionTrait,
    keys: &RefreshKeys,
    token: &RefreshToken,
    now: Timestamp,
    grace: Duration,
) -> Result<Rotation, DbErr> {
    let hash = token.hash();
    let Some(mut row) = find_live(db, token.session_id, now).await? else { return Ok(Rotation::Refused) };
    if row.refresh_hash == hash {
        let Some(next) = keys.successors(token).next() else { return Ok(Rotation::Refused) };
        if replace(db, token, &next, now).await? {
            return Ok(next_of(&row, next));
        }
        // Another request was faster.
        match find_live(db, token.session_id, now).await? {
            Some(moved_on) => row = moved_on,
            None => return Ok(Rotation::Refused),
        }
    }
    let is_previous = row.previous_hash.as_ref() == Some(&hash);
    if is_previous && now <= Timestamp::from_millis(row.rotated_at).plus(grace) {
        let given_out = keys.successors(token).find(|next| next.hash() == row.refresh_hash);
        return Ok(given_out.map_or(Rotation::Refused, |next| next_of(&row, next)));
    }
    let reused = is_previous || keys.made(token);
    Ok(if reused { Rotation::Reused { user: UserId(row.user_id) } } else { Rotation::Refused })
}

fn next_of(row: &session::Model, token: RefreshToken) -> Rotation {
    Rotation::Next { user: UserId(row.user_id), token, expires_at: Timestamp::from_millis(row.expires_at) }
}

/// Neither ended nor expired nor idle, of a user who is not disabled.
async fn find_live(db: &impl ConnectionTrait, id: SessionId, now: Timestamp) -> Result<Option<session::Model>, DbErr> {
    let mut active = Query::select();
    active.column(user::Column::Id).from(user::Entity).and_where(user::Column::DisabledAt.is_null());
    session::Entity::find_by_id(id.0)
        .filter(session::live(now.millis()))
        .filter(session::Column::UserId.in_subquery(active))
        .one(db)
        .await
}

/// Whether `token` was still the current one.
async fn replace(
    db: &impl ConnectionTrait,
    token: &RefreshToken,
    next: &RefreshToken,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let change = session::ActiveModel {
        refresh_hash: Set(next.hash()),
        previous_hash: Set(Some(token.hash())),
        rotated_at: Set(now.millis()),
        last_seen_at: Set(now.millis()),
        ..Default::default()
    };
    let done = session::Entity::update_many()
        .set(change)
        .filter(session::Column::Id.eq(token.session_id.0))
        .filter(session::Column::RefreshHash.eq(token.hash()))
        .filter(session::Column::EndedAt.is_null())
        .exec(db)
        .await?;
    Ok(done.rows_affected == 1)
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
