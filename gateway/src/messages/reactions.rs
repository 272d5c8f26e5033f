//! `GET /messages/{message_id}/reactions`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::reaction;
use sealpost_schema::{ConversationId, EventId, MessageId, Problem, Seq, UserId};
use serde::{Deserialize, Serialize};

use super::get::find;
use crate::auth::Principal;
use crate::page::{check_limit, cut};
use crate::problem::{ApiError, ApiResult, Path, Query};
use crate::state::App;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListReactionsQuery {
    /// Reactions after this seq.
    #[serde(default)]
    pub after: u64,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 100)]
    pub limit: u64,
}

fn default_limit() -> u64 {
    100
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListReactionsResponse {
    /// Oldest first.
    pub reactions: Vec<UserReactionResponse>,
    pub has_more: bool,
}

/// Who has reacted with what.
#[derive(Serialize, utoipa::ToSchema)]
pub struct UserReactionResponse {
    pub user_id: UserId,
    /// `null` if it cannot be opened any more.
    pub emoji: Option<String>,
    /// Of the event that added it.
    pub seq: Seq,
}

/// See who has reacted to a message
#[utoipa::path(
    get, path = "/messages/{message_id}/reactions", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path), ListReactionsQuery),
    responses(
        (status = 200, body = ListReactionsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_reactions(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Query(query): Query<ListReactionsQuery>,
) -> ApiResult<Json<ListReactionsResponse>> {
    check_limit(query.limit, 200)?;
    let message = find(&app, principal.user_id, id).await?;
    if message.is_expired(app.clock.now()) {
        return Ok(Json(ListReactionsResponse { reactions: Vec::new(), has_more: false }));
    }
    let rows = reaction::Entity::of(message.id)
        .filter(reaction::Column::Seq.gt(Seq(query.after).to_db()))
        .order_by_asc(reaction::Column::Seq)
        .limit(query.limit + 1)
        .all(&app.db)
        .await;
    let mut rows = rows.map_err(|error| ApiError::store(&error))?;
    let has_more = cut(&mut rows, query.limit);
    let mut reactions = Vec::with_capacity(rows.len());
    for row in rows {
        let (conversation, user_id) = (ConversationId(row.conversation_id), UserId(row.user_id));
        let emoji = app.keys.open(conversation, EventId(row.event_id), user_id, &row.sealed).await.ok();
        reactions.push(UserReactionResponse { user_id, emoji, seq: Seq::from_db(row.seq) });
    }
    Ok(Json(ListReactionsResponse { reactions, has_more }))
}
