//! The frames `typing_start` and `typing_stop`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sealpost_schema::{Action, ConversationId, SignalBody, UserId};

use crate::auth::Scope;
use crate::conversations::check_right;
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
    // Who may not post here does not type here either.
    check_right(app, user, id, Action::Post).await?;
    app.hub.signal(id, SignalBody::Typing { user_id: user, active }).await;
    Ok(())
}
