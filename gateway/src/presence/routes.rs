//! `GET /conversations/{conversation_id}/presence`

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use sealpost_schema::entities::{participant, session};
use sealpost_schema::{ConversationId, Presence, Problem, Timestamp, UserId, UserPresence};
use serde::Serialize;

use super::MAX_NAMED;
use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct GetPresenceResponse {
    /// Participants who are there; `null` where they are too many to be named.
    pub online: Option<u64>,
    /// All participants; `null` in conversations of more than 200.
    pub users: Option<Vec<UserPresence>>,
}

/// Who is there
///
/// To stay informed, send the frame `watch` over a WebSocket.
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/presence", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = GetPresenceResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_presence(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<GetPresenceResponse>> {
    find_visible(&app, principal.user_id, id, "conversation").await?;
    let users: Vec<Uuid> = participant::Entity::of(id.0)
        .select_only()
        .column(participant::Column::UserId)
        .limit(MAX_NAMED as u64 + 1)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if users.len() > MAX_NAMED {
        return Ok(Json(GetPresenceResponse { online: None, users: None }));
    }
    let mut all: Vec<_> = users
        .into_iter()
        .map(|user| UserPresence { user_id: UserId(user), status: app.presences.of(UserId(user)), last_seen_at: None })
        .collect();
    all.sort_unstable_by_key(|one| one.user_id);
    let offline = all.iter().filter(|one| one.status == Presence::Offline).map(|one| one.user_id.0);
    let seen = last_seen(&app, offline.collect()).await?;
    for one in &mut all {
        one.last_seen_at = seen.get(&one.user_id.0).copied();
    }
    let online = all.iter().filter(|one| one.status != Presence::Offline).count() as u64;
    Ok(Json(GetPresenceResponse { online: Some(online), users: Some(all) }))
}

/// When users last used one of their sessions, to the minute or so.
async fn last_seen(app: &App, users: Vec<Uuid>) -> ApiResult<HashMap<Uuid, Timestamp>> {
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, i64)> = session::Entity::find()
        .select_only()
        .column(session::Column::UserId)
        .column_as(session::Column::LastSeenAt.max(), "last_seen_at")
        .filter(session::Column::UserId.is_in(users))
        .group_by(session::Column::UserId)
        .into_tuple()
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(rows.into_iter().map(|(user, at)| (user, Timestamp::from_millis(at))).collect())
}
