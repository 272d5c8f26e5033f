//! `GET /scheduled` and `GET /conversations/{conversation_id}/scheduled`

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select};
use sealpost_schema::entities::scheduled_message;
use sealpost_schema::{ConversationId, Problem};
use serde::Serialize;

use super::create::MAX_SCHEDULED;
use super::model::{ScheduledMessageResponse, show};
use crate::auth::Principal;
use crate::conversations::find_visible;
use crate::problem::{ApiError, ApiResult, Path};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListScheduledResponse {
    /// Those first that are to be sent first.
    pub scheduled: Vec<ScheduledMessageResponse>,
}

/// List what I have scheduled
///
/// What waits and what failed, in all conversations, also in those that you have left.
#[utoipa::path(
    get, path = "/scheduled", tag = "messages", security(("bearer" = [])),
    responses(
        (status = 200, body = ListScheduledResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_scheduled(State(app): State<App>, principal: Principal) -> ApiResult<Json<ListScheduledResponse>> {
    list(&app, scheduled_message::Entity::for_user(principal.user_id.0)).await
}

/// List what I have scheduled in one conversation
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/scheduled", tag = "messages", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = ListScheduledResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_scheduled_of_conversation(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<ListScheduledResponse>> {
    find_visible(&app, principal.user_id, id, "conversation").await?;
    let mine = scheduled_message::Entity::for_user(principal.user_id.0);
    list(&app, mine.filter(scheduled_message::Column::ConversationId.eq(id.0))).await
}

async fn list(app: &App, mine: Select<scheduled_message::Entity>) -> ApiResult<Json<ListScheduledResponse>> {
    let rows = mine
        .order_by_asc(scheduled_message::Column::SendAt)
        .order_by_asc(scheduled_message::Column::Id)
        .limit(MAX_SCHEDULED * 2)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let mut scheduled = Vec::with_capacity(rows.len());
    for row in rows {
        scheduled.push(show(app, row).await?);
    }
    Ok(Json(ListScheduledResponse { scheduled }))
}
