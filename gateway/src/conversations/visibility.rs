//! From where on a user sees a conversation.
//!
//! The store's rows are held to it by the finders of `event`. What is read from the log, or comes live, is held to it here.

use sea_orm::{ColumnTrait as _, QueryFilter as _};
use sealpost_schema::entities::participant;
use sealpost_schema::{ConversationId, EventId, Seq, UserId};

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// The first event that this user may see; `None`: they see nothing of it, or not yet.
pub async fn find_start(app: &App, user: UserId, id: ConversationId) -> ApiResult<Option<Seq>> {
    let Some(row) = find(app, user, id).await? else { return Ok(None) };
    if row.visible_from != participant::NOT_YET {
        return Ok(Some(Seq::from_db(row.visible_from)));
    }
    // The event that added them is in the log, and not in the store yet.
    let (floor, _) = app.reader().stored_floor(id).await.map_err(|error| ApiError::store(&error))?;
    let tail = app.reader().tail(id, floor).await.map_err(|error| ApiError::lane(&error))?;
    let added_by = row.added_event_id.map(EventId);
    if let Some(event) = tail.events_after(floor).into_values().find(|event| Some(event.id) == added_by) {
        return Ok(Some(event.seq));
    }
    // Stored between the two looks, or not in the log either.
    let row = find(app, user, id).await?.filter(|row| row.visible_from != participant::NOT_YET);
    Ok(row.map(|row| Seq::from_db(row.visible_from)))
}

/// The same; for those who do not take part it is 404 for a `what`.
pub async fn load_start(app: &App, user: UserId, id: ConversationId, what: &'static str) -> ApiResult<Seq> {
    match find_start(app, user, id).await? {
        Some(start) => Ok(start),
        None => find(app, user, id).await?.map(|_| Seq(u64::MAX)).ok_or_else(|| ApiError::not_found(what)),
    }
}

async fn find(app: &App, user: UserId, id: ConversationId) -> ApiResult<Option<participant::Model>> {
    let row = participant::Entity::of_user(user.0).filter(participant::Column::ConversationId.eq(id.0)).one(&app.db);
    row.await.map_err(|error| ApiError::store(&error))
}
