//! `PATCH /conversations/{conversation_id}/state`

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::participant;
use sealpost_schema::{ControlNotice, ConversationId, OwnState, Problem, Seq, Timestamp, UserId};
use serde::Deserialize;

use super::control::find_visible;
use super::model::load_one;
use crate::auth::Principal;
use crate::live::announce;
use crate::patch::Patch;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// What is left out stays as it is.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateStateRequest {
    /// No notifications until then; `null`: notifications again.
    #[serde(default)]
    #[schema(value_type = Option<Timestamp>)]
    pub muted_until: Patch<Timestamp>,
    pub archived: Option<bool>,
    /// True: not in lists, until the next message comes.
    pub hidden: Option<bool>,
}

/// Mute, archive or hide a conversation for myself
///
/// Your other devices hear of it; nobody else does.
#[utoipa::path(
    patch, path = "/conversations/{conversation_id}/state", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = UpdateStateRequest,
    responses(
        (status = 200, body = OwnState),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value that is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn update_state(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<UpdateStateRequest>,
) -> ApiResult<Json<OwnState>> {
    let me = principal.user_id;
    let mut change = <participant::ActiveModel as Default>::default();
    match request.muted_until {
        Patch::Keep => {}
        Patch::Clear => change.muted_until = Set(None),
        Patch::Set(until) => change.muted_until = Set(Some(until.millis())),
    }
    if let Some(archived) = request.archived {
        change.archived_at = Set(archived.then(|| app.clock.now().millis()));
    }
    match request.hidden {
        None => {}
        Some(false) => change.hidden_seq = Set(None),
        Some(true) => {
            find_visible(&app, me, id, "conversation").await?;
            change.hidden_seq = Set(Some(head_of(&app, id).await?.to_db()));
        }
    }
    let is_change = request.muted_until != Patch::Keep || request.archived.is_some() || request.hidden.is_some();
    if is_change {
        write(&app, me, id, change).await?;
    }
    let state = load_one(&app, me, id).await?.state;
    if is_change {
        announce(&app, &ControlNotice::OwnState { user_id: me, conversation_id: id, state }).await;
    }
    Ok(Json(state))
}

async fn write(app: &App, me: UserId, id: ConversationId, change: participant::ActiveModel) -> ApiResult<()> {
    participant::Entity::update_many()
        .set(change)
        .filter(participant::Column::ConversationId.eq(id.0))
        .filter(participant::sees(me.0))
        .exec(&app.db)
        .await
        .map(drop)
        .map_err(|error| ApiError::store(&error))
}

/// The last seq that was given away, stored or not. The caller has shown that the user may see the conversation.
pub async fn head_of(app: &App, id: ConversationId) -> ApiResult<Seq> {
    let stored = app.reader().stored_head(id).await.map_err(|error| ApiError::store(&error))?;
    let tail = app.reader().tail(id, stored).await.map_err(|error| ApiError::lane(&error))?;
    Ok(tail.last.map_or(stored, |(_, last)| last.max(stored)))
}
