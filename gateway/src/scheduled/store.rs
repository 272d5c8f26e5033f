//! The rows of scheduled messages, and what becomes of those that are there no more.

use std::time::Duration;

use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::entities::{event, scheduled_message};
use sealpost_schema::{MessageId, ProblemKind, Timestamp, UserId};

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// The longest time ahead.
const MAX_AHEAD: Duration = Duration::from_hours(366 * 24);

pub fn check_send_at(app: &App, send_at: Timestamp) -> ApiResult<()> {
    let now = app.clock.now();
    if send_at <= now {
        return Err(ApiError::invalid(format!(
            "send_at is {send_at}, and here it is {now}: name a moment that is to come, or send the message now."
        )));
    }
    if send_at > now.plus(MAX_AHEAD) {
        return Err(ApiError::invalid(format!("send_at is {send_at}: a message can wait for a year at most.")));
    }
    Ok(())
}

/// One that can still be changed.
pub async fn load(app: &App, user: UserId, id: MessageId) -> ApiResult<scheduled_message::Model> {
    let row = scheduled_message::Entity::for_user(user.0)
        .filter(scheduled_message::Column::Id.eq(id.0))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    match row {
        Some(row) if row.state != "sending" => Ok(row),
        _ => Err(too_late(app, user, id).await),
    }
}

/// Why there is nothing that could be changed: it is on its way, it is a message by now, or it was never there.
pub async fn too_late(app: &App, user: UserId, id: MessageId) -> ApiError {
    let row = scheduled_message::Entity::for_user(user.0).filter(scheduled_message::Column::Id.eq(id.0)).one(&app.db);
    let sent = event::Entity::for_user(user.0)
        .filter(event::Column::Id.eq(id.0))
        .filter(event::Column::SenderId.eq(user.0))
        .one(&app.db);
    match tokio::try_join!(row, sent) {
        Ok((None, None)) => ApiError::not_found("scheduled message"),
        Ok(_) => ApiError::new(
            ProblemKind::AlreadySent,
            "The time of this message has come: it is being sent, or was. Edit or delete the message itself.",
        ),
        Err(error) => ApiError::store(&error),
    }
}
