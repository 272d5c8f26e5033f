//! `POST /webhooks/{id}/replay`

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _};
use sealpost_schema::entities::{participant, webhook, webhook_cursor};
use sealpost_schema::{ConversationId, Problem, ProblemKind, Seq, UserId};
use serde::Deserialize;
use uuid::Uuid;

use super::deliveries::{DeliveryResponse, find_one};
use super::{announce, load};
use crate::auth::Principal;
use crate::conversations::control::find_participant;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayWebhookRequest {
    pub conversation_id: ConversationId,
    /// The first event to deliver: 1 to one more than the last event.
    #[schema(example = 1, minimum = 1)]
    pub from_seq: Seq,
}

/// Deliver events again
///
/// Of one conversation, from a seq on, in order and up to the newest; what the webhook's reader may not see is left out. A seq behind the
/// last one leaves out what was not taken. A webhook that is paused or disabled replays when it goes on.
#[utoipa::path(
    post, path = "/webhooks/{id}/replay", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = ReplayWebhookRequest,
    responses(
        (status = 200, body = DeliveryResponse, description = "Where it stands now"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook, or its reader no such conversation"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn replay_webhook(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Body(request): Body<ReplayWebhookRequest>,
) -> ApiResult<Json<DeliveryResponse>> {
    let store = |error| ApiError::store(&error);
    let conversation = request.conversation_id;
    let row = load(&app, principal, id).await?;
    // One that was joined a moment ago may have to begin first.
    let begin = webhook_cursor::begin_where_joined(Some(vec![conversation.0]));
    app.db.execute(&begin).await.map_err(store)?;
    let missing = || ApiError::not_found("conversation");
    let standing = find_one(&app, id, conversation).await?.ok_or_else(missing)?;
    let first = first_visible(&app, &row, conversation).await?;
    if !(first..=standing.head_seq.next()).contains(&request.from_seq) {
        return Err(ApiError::new(
            ProblemKind::SeqOutOfRange,
            format!("from_seq is {}: use {first} to {}.", request.from_seq, standing.head_seq.next()),
        ));
    }
    let change = webhook_cursor::ActiveModel {
        next_seq: Set(request.from_seq.to_db()),
        attempts: Set(0),
        retry_at: Set(None),
        failing_since: Set(None),
        stopped_at: Set(None),
        ..Default::default()
    };
    // The lease stays: a request that is under way ends before the replay begins, and does not move it on.
    webhook_cursor::Entity::update_many()
        .set(change)
        .filter(webhook_cursor::Column::WebhookId.eq(id))
        .filter(webhook_cursor::Column::ConversationId.eq(conversation.0))
        .exec(&app.db)
        .await
        .map_err(store)?;
    announce(&app, id).await;
    Ok(Json(find_one(&app, id, conversation).await?.ok_or_else(missing)?))
}

/// The first event that the reader sees.
async fn first_visible(app: &App, row: &webhook::Model, conversation: ConversationId) -> ApiResult<Seq> {
    let reader = find_participant(&app.db, conversation, UserId(row.reader_id)).await?;
    let reader = reader.ok_or_else(|| ApiError::not_found("conversation"))?;
    let is_stored = reader.visible_from != participant::NOT_YET;
    Ok(Seq::from_db(if is_stored { reader.visible_from } else { i64::MAX }).max(Seq(1)))
}
