//! `PUT /conversations/{conversation_id}/read`, and the frames `message_read` and `message_delivered`

use axum::extract::State;
use axum::http::StatusCode;
use sealpost_schema::{ConversationId, Problem, ProblemKind, Seq};
use serde::Deserialize;

use super::marks::{Reached, Waiting};
use super::write::store;
use crate::auth::{Principal, Scope};
use crate::conversations::{find_visible, head_of};
use crate::live::Connection;
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
    find_visible(&app, principal.user_id, id, "conversation").await?;
    check_seq(&app, id, request.seq).await?;
    // At once and not with the others: who asks for the conversation next sees it.
    let marks = Waiting::from([((principal.user_id, id), Reached::Read(request.seq).into())]);
    store(&app, &marks).await.map_err(|error| ApiError::store(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes what a connection says. A connection that sees the conversation costs no query.
pub async fn mark(app: &App, connection: &Connection, id: ConversationId, reached: Reached) -> ApiResult<()> {
    connection.check(Scope::Read, id)?;
    let (Reached::Delivered(seq) | Reached::Read(seq)) = reached;
    match connection.room(id).map(|room| room.head()) {
        Some(Some(head)) if seq <= head => {}
        Some(_) => check_seq(app, id, seq).await?,
        None => {
            find_visible(app, connection.user_id, id, "conversation").await?;
            check_seq(app, id, seq).await?;
        }
    }
    if app.marks.note(id, connection.user_id, reached) {
        return Ok(());
    }
    Err(ApiError::new(ProblemKind::Unavailable, "Too many watermarks wait to be stored. Send this one again later."))
}

/// Whether the conversation has come that far.
async fn check_seq(app: &App, id: ConversationId, seq: Seq) -> ApiResult<()> {
    let stored = app.reader().stored_head(id).await.map_err(|error| ApiError::store(&error))?;
    if seq <= stored {
        return Ok(());
    }
    let head = head_of(app, id).await?;
    if seq <= head {
        return Ok(());
    }
    let detail = format!("The conversation has {head} events; seq {seq} is not among them.");
    Err(ApiError::new(ProblemKind::SeqOutOfRange, detail))
}
