//! `PUT` and `DELETE /messages/{message_id}/pin`, the frame `message_pin`, and `GET /conversations/{conversation_id}/pins`

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use sealpost_lane::{Counted, Room, Rule};
use sealpost_schema::entities::event;
use sealpost_schema::{Action, ConversationId, EventBody, EventId, MessageId, Problem, ProblemKind, Seq, UserId};
use serde::Serialize;

use super::change::{Change, Decision, change, draft};
use super::current::Current;
use super::model::{ChangeResponse, MessageResponse};
use super::show::{Found, show};
use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

/// Pinned messages of one conversation.
const MAX_PINS: u32 = 100;

/// Pin a message
///
/// Takes the right `pin`: by default admins have it, and in a dm both. What is pinned already makes no event. At most 100 a conversation.
#[utoipa::path(
    put, path = "/messages/{message_id}/pin", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 200, body = ChangeResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not pin"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is deleted, or too many are pinned"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not taken, or not known whether taken: see the type"),
    )
)]
pub async fn pin_message(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<Json<ChangeResponse>> {
    Ok(Json(change(&app, principal.user_id, None, id, Change::Pin { add: true }).await?.stored().await))
}

/// Unpin a message
///
/// What is not pinned makes no event.
#[utoipa::path(
    delete, path = "/messages/{message_id}/pin", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path)),
    responses(
        (status = 200, body = ChangeResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not pin"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is deleted"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "Not taken, or not known whether taken: see the type"),
    )
)]
pub async fn unpin_message(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
) -> ApiResult<Json<ChangeResponse>> {
    Ok(Json(change(&app, principal.user_id, None, id, Change::Pin { add: false }).await?.stored().await))
}

pub async fn pin(app: &App, user: UserId, current: &Current, add: bool) -> ApiResult<Decision> {
    if current.is_deleted() {
        return Err(ApiError::message_deleted());
    }
    let stored = current.row.pinned_seq.map(|seq| (Seq::from_db(seq), true));
    let logged = current.unstored.iter().filter_map(|event| match event.body {
        EventBody::MessagePinned { .. } => Some((event.seq, true)),
        EventBody::MessageUnpinned { .. } => Some((event.seq, false)),
        _ => None,
    });
    let newest = stored.into_iter().chain(logged).max();
    if newest.is_some_and(|(_, pinned)| pinned) == add {
        return Ok(Decision::Nothing(newest.map(|(seq, _)| seq)));
    }
    let rule = if add { Rule::MayAdd(Action::Pin, count(app, current).await?) } else { Rule::May(Action::Pin) };
    let (message_id, message_seq) = (current.id(), current.seq());
    let body = if add {
        EventBody::MessagePinned { message_id, message_seq }
    } else {
        EventBody::MessageUnpinned { message_id, message_seq }
    };
    Ok(Decision::Append(draft(app, user, EventId::new(), body, rule)))
}

/// Whoever asks, all pins count: also those on messages that are hidden from them.
async fn count(app: &App, current: &Current) -> ApiResult<Counted> {
    let stored: Vec<Uuid> = event::Entity::pinned_of(current.row.conversation_id)
        .filter(event::Entity::not_expired(app.clock.now()))
        .select_only()
        .column(event::Column::Id)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let mut pinned: HashSet<MessageId> = stored.into_iter().map(MessageId).collect();
    for (message, is_pinned) in &current.pins {
        if *is_pinned {
            pinned.insert(*message);
        } else {
            pinned.remove(message);
        }
    }
    let left = MAX_PINS.saturating_sub(u32::try_from(pinned.len()).unwrap_or(u32::MAX));
    if left == 0 {
        let detail = format!("{MAX_PINS} messages are pinned here, the most there may be. Unpin one first.");
        return Err(ApiError::new(ProblemKind::TooManyPins, detail));
    }
    Ok(Counted { as_of: current.as_of, room: Room::Left(left) })
}

fn pinned(app: &App, conversation: ConversationId, user: UserId) -> Select<event::Entity> {
    event::Entity::of_for_user(conversation.0, user.0)
        .filter(event::Column::PinnedSeq.is_not_null())
        .filter(event::Entity::not_expired(app.clock.now()))
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListPinsResponse {
    /// Pinned last, first.
    pub messages: Vec<MessageResponse>,
}

/// List the pinned messages
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/pins", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = ListPinsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_pins(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<ListPinsResponse>> {
    find_visible(&app, principal.user_id, id, "conversation").await?;
    let pinned = pinned(&app, id, principal.user_id).order_by_desc(event::Column::PinnedSeq);
    let rows = pinned.limit(u64::from(MAX_PINS) * 2).all(&app.db);
    let rows = rows.await.map_err(|error| ApiError::store(&error))?;
    let found = rows.into_iter().map(Found::from).collect();
    Ok(Json(ListPinsResponse { messages: show(&app, principal.user_id, found).await? }))
}
