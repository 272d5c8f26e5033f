//! `PUT`, `GET` and `DELETE /conversations/{conversation_id}/draft`, and `GET /drafts`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::draft;
use sealpost_schema::{ConversationId, Problem};
use serde::{Deserialize, Serialize};

use super::store::{self, DraftResponse};
use crate::auth::Principal;
use crate::page::{check_limit, cut};
use crate::problem::{ApiError, ApiResult, Body, Path, Query};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutDraftRequest {
    #[schema(example = "What I meant to say is")]
    pub text: String,
}

/// Keep a draft
///
/// In the place of the one that was there. Your other devices get the frame `draft`.
#[utoipa::path(
    put, path = "/conversations/{conversation_id}/draft", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = PutDraftRequest,
    responses(
        (status = 200, body = DraftResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "Empty or too long text, or a bad value"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn put_draft(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<PutDraftRequest>,
) -> ApiResult<Json<DraftResponse>> {
    Ok(Json(store::put(&app, principal.user_id, principal.session_id, id, Some(request.text)).await?))
}

/// Get a draft
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/draft", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = DraftResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you, or no draft"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn get_draft(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<DraftResponse>> {
    Ok(Json(store::find(&app, principal.user_id, id).await?))
}

/// Drop a draft
///
/// If there is none, nothing happens.
#[utoipa::path(
    delete, path = "/conversations/{conversation_id}/draft", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 204, description = "There is none any more"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn delete_draft(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<StatusCode> {
    store::put(&app, principal.user_id, principal.session_id, id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListDraftsQuery {
    /// 1 to 1000.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    pub limit: u64,
}

fn default_limit() -> u64 {
    1000
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListDraftsResponse {
    /// Written last, first.
    pub drafts: Vec<DraftResponse>,
    pub has_more: bool,
}

/// List my drafts
#[utoipa::path(
    get, path = "/drafts", tag = "messages", security(("bearer" = [])),
    params(ListDraftsQuery),
    responses(
        (status = 200, body = ListDraftsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_drafts(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<ListDraftsQuery>,
) -> ApiResult<Json<ListDraftsResponse>> {
    check_limit(query.limit, 1000)?;
    let rows = draft::Entity::for_user(principal.user_id.0)
        .order_by_desc(draft::Column::UpdatedAt)
        .order_by_desc(draft::Column::DraftId)
        .limit(query.limit + 1)
        .all(&app.db)
        .await;
    let mut rows = rows.map_err(|error| ApiError::store(&error))?;
    let has_more = cut(&mut rows, query.limit);
    let conversations: Vec<_> = rows.iter().map(|row| ConversationId(row.conversation_id)).collect();
    app.keys.prepare_all(&conversations).await.map_err(|error| ApiError::internal(&error))?;
    let mut drafts = Vec::with_capacity(rows.len());
    for row in rows {
        drafts.push(store::open(&app, row).await);
    }
    Ok(Json(ListDraftsResponse { drafts, has_more }))
}
