//! `GET /messages/{message_id}/edits`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait, QueryFilter, QueryOrder, QuerySelect};
use sealpost_schema::entities::event;
use sealpost_schema::{Action, ConversationId, EventId, MessageId, Problem, Seq, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::get::find;
use crate::auth::Principal;
use crate::conversations::check_right;
use crate::page::{check_limit, cut};
use crate::problem::{ApiError, ApiResult, Path, Query};
use crate::state::App;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListEditsQuery {
    /// Texts before this seq.
    #[param(minimum = 1)]
    pub before: Option<u64>,
    /// 1 to 200.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 200, default = 50)]
    pub limit: u64,
}

fn default_limit() -> u64 {
    50
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListEditsResponse {
    /// Newest first; the last one of all is the message as it was sent.
    pub edits: Vec<EditResponse>,
    pub has_more: bool,
}

/// A text that the message has or had.
#[derive(Serialize, utoipa::ToSchema)]
pub struct EditResponse {
    /// Of the edit; of the message for its first text.
    pub seq: Seq,
    pub editor_id: UserId,
    pub created_at: Timestamp,
    /// `null` if it cannot be opened any more.
    pub text: Option<String>,
}

/// See what a message said before
///
/// For its author, and for those who have the right `see_edit_history`. A deleted one has no history.
#[utoipa::path(
    get, path = "/messages/{message_id}/edits", tag = "messages", security(("bearer" = [])),
    params(("message_id" = MessageId, Path), ListEditsQuery),
    responses(
        (status = 200, body = ListEditsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role may not see this"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such message for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is deleted"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_edits(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<MessageId>,
    Query(query): Query<ListEditsQuery>,
) -> ApiResult<Json<ListEditsResponse>> {
    check_limit(query.limit, 200)?;
    let message = find(&app, principal.user_id, id).await?;
    if message.sender_id != principal.user_id.0 {
        let conversation = ConversationId(message.conversation_id);
        check_right(&app, principal.user_id, conversation, Action::SeeEditHistory).await?;
    }
    if message.sealed.is_none() || message.is_expired(app.clock.now()) {
        return Err(ApiError::message_deleted());
    }
    let before = Seq(query.before.unwrap_or(u64::MAX)).to_db();
    let edits = event::Entity::of_for_user(message.conversation_id, principal.user_id.0)
        .filter(event::Column::TargetId.eq(id.0))
        .filter(event::Column::Kind.eq("message_edited"))
        .filter(event::Column::Seq.lt(before))
        .order_by_desc(event::Column::Seq)
        .limit(query.limit + 1);
    let mut rows = edits.all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    if message.seq < before {
        rows.push(message);
    }
    let has_more = cut(&mut rows, query.limit);
    let mut edits = Vec::with_capacity(rows.len());
    for row in rows {
        edits.push(open(&app, &row).await);
    }
    Ok(Json(ListEditsResponse { edits, has_more }))
}

async fn open(app: &App, row: &event::Model) -> EditResponse {
    let (conversation, id, editor_id) = (ConversationId(row.conversation_id), EventId(row.id), UserId(row.sender_id));
    let opened = app.keys.open(conversation, id, editor_id, row.sealed.as_deref().unwrap_or_default()).await;
    EditResponse {
        seq: Seq::from_db(row.seq),
        editor_id,
        created_at: Timestamp::from_millis(row.created_at),
        text: opened.ok(),
    }
}
