//! `GET /conversations`

use axum::Json;
use axum::extract::State;
use sealpost_schema::Problem;
use serde::{Deserialize, Serialize};

use super::ConversationResponse;
use super::model::{Wanted, load};
use crate::auth::Principal;
use crate::page::check_limit;
use crate::problem::{ApiResult, Query};
use crate::state::App;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListConversationsQuery {
    /// 1 to 1000.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    pub limit: u64,
    /// True: also those that the caller hid and that have no message since.
    #[serde(default)]
    pub hidden: bool,
}

fn default_limit() -> u64 {
    1000
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListConversationsResponse {
    /// Latest activity first.
    pub conversations: Vec<ConversationResponse>,
}

/// List my conversations
///
/// With last message, unread count and head seq; the latest activity comes first.
#[utoipa::path(
    get, path = "/conversations", tag = "conversations", security(("bearer" = [])),
    params(ListConversationsQuery),
    responses(
        (status = 200, body = ListConversationsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A limit out of range"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_conversations(
    State(app): State<App>,
    principal: Principal,
    Query(query): Query<ListConversationsQuery>,
) -> ApiResult<Json<ListConversationsResponse>> {
    check_limit(query.limit, 1000)?;
    let mut conversations = load(&app, principal.user_id, Wanted::All(query.limit)).await?;
    if let Some(grant) = app.api_tokens.remembered(principal.session_id) {
        conversations.retain(|conversation| grant.reaches(conversation.id));
    }
    conversations.retain(|conversation| query.hidden || !conversation.state.hidden);
    Ok(Json(ListConversationsResponse { conversations }))
}
