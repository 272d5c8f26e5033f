//! The frames `typing_start` and `typing_stop`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sea_orm::EntityTrait as _;
use sealpost_schema::entities::participant;
use sealpost_schema::{Action, ConversationId, ConversationKind, ProblemKind, Role, SignalBody, UserId};

use crate::auth::Scope;
use crate::conversations::find_visible;
use crate::live::Connection;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// What a client says again within this time is not told again.
const REPEAT: Duration = Duration::from_secs(3);
/// Users typing through this gateway that are remembered.
const MAX_SENT: usize = 50_000;

/// When each user was last said to type where.
#[derive(Default)]
pub struct Sent(HashMap<(ConversationId, UserId), Instant>);

impl Sent {
    /// Whether the others have to be told.
    fn is_news(&mut self, key: (ConversationId, UserId), active: bool, now: Instant) -> bool {
        if !active {
            return self.0.remove(&key).is_some();
        }
        if self.0.get(&key).is_some_and(|at| now.duration_since(*at) < REPEAT) || self.0.len() >= MAX_SENT {
            return false;
        }
        self.0.insert(key, now);
        true
    }

    pub fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, at| now.duration_since(*at) < REPEAT * 2);
    }
}

/// A client's user began or stopped to type. Two small queries in three seconds, however often it is said.
pub async fn typing(app: &App, connection: &Connection, id: ConversationId, active: bool) -> ApiResult<()> {
    connection.check(Scope::Send, id)?;
    if !connection.is_in(id) {
        return Err(ApiError::not_found("conversation"));
    }
    let user = connection.user_id;
    if !app.presences.lock().typing.is_news((id, user), active, Instant::now()) {
        return Ok(());
    }
    check_may_post(app, id, user).await?;
    app.hub.signal(id, SignalBody::Typing { user_id: user, active }).await;
    Ok(())
}

async fn check_may_post(app: &App, id: ConversationId, user: UserId) -> ApiResult<()> {
    let conversation = find_visible(app, user, id, "conversation").await?;
    let mine = participant::Entity::find_by_id((id.0, user.0)).one(&app.db).await;
    let mine = mine.map_err(|error| ApiError::store(&error))?.ok_or_else(|| ApiError::not_found("conversation"))?;
    let kind = ConversationKind::parse(&conversation.kind).ok_or_else(|| ApiError::internal(&"unknown kind"))?;
    let rights = conversation.rights_of(kind).map_err(|error| ApiError::internal(&error))?;
    if Role::parse(&mine.role).is_some_and(|role| rights.allow(role, Action::Post)) {
        return Ok(());
    }
    Err(ApiError::new(ProblemKind::Forbidden, "Who may not post here does not type here either."))
}
