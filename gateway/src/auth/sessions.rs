//! Sessions in the database: begin, move on, end. The module `auth` explains the chain of refresh tokens.

use std::time::Duration;

use sea_orm::sea_query::Query;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, QueryFilter as _};
use sealpost_bus::Subject;
use sealpost_schema::entities::{session, user};
use sealpost_schema::{ControlNotice, ProblemKind, SessionId, Timestamp, UserId};

use super::refresh_token::{RefreshKeys, RefreshToken};
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// What the column takes, in characters.
const MAX_USER_AGENT_CHARS: usize = 255;

/// Stores a new session with its first refresh token.
pub async fn begin(
    db: &impl ConnectionTrait,
    token: &RefreshToken,
    user: UserId,
    now: Timestamp,
    lifetime: Duration,
    user_agent: Option<&str>,
) -> Result<(), DbErr> {
    let row = session::ActiveModel {
        id: Set(token.session_id.0),
        user_id: Set(user.0),
        refresh_hash: Set(token.hash()),
        previous_hash: Set(None),
        rotated_at: Set(now.millis()),
        created_at: Set(now.millis()),
        expires_at: Set(now.plus(lifetime).millis()),
        ended_at: Set(None),
        user_agent: Set(user_agent.map(|text| text.chars().take(MAX_USER_AGENT_CHARS).collect())),
    };
    session::Entity::insert(row).exec_without_returning(db).await.map(|_| ())
}

/// What became of a refresh.
#[derive(Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The successor, now or once more within the grace.
    Next {
        user: UserId,
        token: RefreshToken,
    },
    Refused,
    /// An old token was used again: a copy of it is about. The session has to end.
    Reused,
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
            return Ok(Rotation::Next { user: UserId(row.user_id), token: next });
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
        let again = |next| Rotation::Next { user: UserId(row.user_id), token: next };
        return Ok(given_out.map_or(Rotation::Refused, again));
    }
    Ok(if is_previous || keys.made(token) { Rotation::Reused } else { Rotation::Refused })
}

/// Neither ended nor expired, of a user who is not disabled.
async fn find_live(db: &impl ConnectionTrait, id: SessionId, now: Timestamp) -> Result<Option<session::Model>, DbErr> {
    let mut active = Query::select();
    active.column(user::Column::Id).from(user::Entity).and_where(user::Column::DisabledAt.is_null());
    session::Entity::find_by_id(id.0)
        .filter(session::Column::EndedAt.is_null())
        .filter(session::Column::ExpiresAt.gt(now.millis()))
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

/// Marks the session as ended; one that has ended already stays as it is.
pub async fn mark_ended(db: &impl ConnectionTrait, id: SessionId, now: Timestamp) -> Result<(), DbErr> {
    let change = session::ActiveModel { ended_at: Set(Some(now.millis())), ..Default::default() };
    let session = session::Entity::update_many().set(change).filter(session::Column::Id.eq(id.0));
    session.filter(session::Column::EndedAt.is_null()).exec(db).await.map(|_| ())
}

/// Ends the session and has every gateway close its connections. Repeating it repeats the notice.
pub async fn end(app: &App, id: SessionId) -> ApiResult<()> {
    mark_ended(&app.db, id, app.clock.now()).await.map_err(|error| ApiError::store(&error))?;
    app.connections.close_session(id);
    announce_end(app, id).await.map_err(|error| {
        tracing::warn!(session = %id, error, "the end of a session could not be announced");
        ApiError::new(
            ProblemKind::Pending,
            "The session has ended, but other gateways have not heard of it yet and may keep connections open. Send this again.",
        )
    })
}

async fn announce_end(app: &App, session_id: SessionId) -> Result<(), String> {
    let subject = Subject::new(ControlNotice::SUBJECT).map_err(|error| error.to_string())?;
    let notice = serde_json::to_vec(&ControlNotice::SessionEnded { session_id }).map_err(|error| error.to_string())?;
    app.live.publish(subject, notice.into()).await.map_err(|error| error.to_string())?;
    app.live.flush().await.map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
