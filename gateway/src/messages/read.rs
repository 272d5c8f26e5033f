//! `PUT /conversations/{conversation_id}/read`, and the frame `message_read`

use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait as _, QueryFilter};
use sealpost_schema::entities::participant;
use sealpost_schema::{ConversationId, Problem, ProblemKind, Seq, UserId};
use serde::Deserialize;

use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadRequest {
    /// Everything up to this seq was read.
    pub seq: Seq,
}

/// Say how far you have read
///
/// The watermark only rises: a lower seq than before changes nothing.
#[utoipa::path(
    put, path = "/conversations/{conversation_id}/read", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = ReadRequest,
    responses(
        (status = 204, description = "Noted"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A seq beyond the last event"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store or the event log is away"),
    )
)]
pub async fn put_read(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<ReadRequest>,
) -> ApiResult<StatusCode> {
    mark_read(&app, principal.user_id, id, request.seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Raises the user's watermark.
pub async fn mark_read(app: &App, user: UserId, id: ConversationId, seq: Seq) -> ApiResult<()> {
    find_visible(app, user, id, "conversation").await?;
    let stored = app.reader().stored_head(id).await.map_err(|error| ApiError::store(&error))?;
    if seq > stored {
        let tail = app.reader().tail(id, stored).await.map_err(|error| ApiError::lane(&error))?;
        let head = tail.last.map_or(stored, |(_, last)| last.max(stored));
        if seq > head {
            let detail = format!("The conversation has {head} events; seq {seq} is not among them.");
            return Err(ApiError::new(ProblemKind::SeqOutOfRange, detail));
        }
    }
    participant::Entity::update_many()
        .col_expr(participant::Column::ReadSeq, Expr::value(seq.to_db()))
        .filter(participant::Column::ConversationId.eq(id.0))
        .filter(participant::Column::UserId.eq(user.0))
        .filter(participant::Column::ReadSeq.lt(seq.to_db()))
        .exec(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(())
}
