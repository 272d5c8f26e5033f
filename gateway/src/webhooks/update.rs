//! `PATCH` and `DELETE /webhooks/{id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _};
use sealpost_outgoing::check_url;
use sealpost_schema::entities::{webhook, webhook_cursor, webhook_test};
use sealpost_schema::{ConversationId, Problem, UserId};
use serde::Deserialize;
use uuid::Uuid;

use super::model::WebhookResponse;
use super::{announce, kinds, load};
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::Principal;
use crate::caller::Caller;
use crate::conversations::control::find_participant;
use crate::patch::Patch;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;
use crate::transaction::{begin, commit};

/// What is left out stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWebhookRequest {
    #[schema(example = "https://example.org/hooks/sealpost", max_length = 2000)]
    pub url: Option<String>,
    /// `null`: all kinds.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, example = json!(["message_posted"]))]
    pub kinds: Patch<Vec<String>>,
    /// `true`: nothing is sent until it goes on. `false`: it goes on at once from where it stopped, also if the server disabled it. A
    /// conversation's webhook is then as good as your right to change the settings.
    pub paused: Option<bool>,
}

/// Change a webhook, pause it, or let it go on
#[utoipa::path(
    patch, path = "/webhooks/{id}", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = UpdateWebhookRequest,
    responses(
        (status = 200, body = WebhookResponse, description = "The webhook as it is now"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn update_webhook(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(request): Body<UpdateWebhookRequest>,
) -> ApiResult<Json<WebhookResponse>> {
    let row = load(&app, principal, id).await?;
    let now = app.clock.now();
    // An update has to name something.
    let mut change = webhook::ActiveModel { created_by: Set(row.created_by), ..Default::default() };
    if let Some(url) = request.url {
        let url = check_url(&url, &app.webhooks.networks).map_err(|error| ApiError::invalid(error.to_string()))?;
        change.url = Set(url.into());
        try_at_once(&mut change);
    }
    match request.kinds {
        Patch::Keep => {}
        Patch::Clear => change.kinds = Set(None),
        Patch::Set(kinds) => change.kinds = Set(Some(kinds::column(kinds)?)),
    }
    let transaction = begin(&app).await?;
    match request.paused {
        None => {}
        Some(true) => change.paused_at = Set(Some(row.paused_at.unwrap_or(now.millis()))),
        Some(false) => {
            change.paused_at = Set(None);
            change.disabled_at = Set(None);
            change.disabled_reason = Set(None);
            try_at_once(&mut change);
            if row.conversation_id.is_some() {
                change.reader_id = Set(principal.user_id.0);
            }
            resume(&transaction, &row, principal.user_id).await?;
        }
    }
    let changed = webhook::Entity::update_many()
        .set(change)
        .filter(webhook::Column::Id.eq(id))
        .exec_with_returning(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let changed = changed.into_iter().next().ok_or_else(super::not_found)?;
    record(&transaction, &app, &caller, principal, &row, AuditEvent::WebhookChanged { webhook_id: id }).await?;
    commit(transaction).await?;
    announce(&app, id).await;
    Ok(Json(changed.into()))
}

fn try_at_once(change: &mut webhook::ActiveModel) {
    change.attempts = Set(0);
    change.next_attempt_at = Set(0);
    change.failing_since = Set(None);
}

/// All its conversations go on, at once, and from where they stopped, whoever's eyes they are seen with.
async fn resume(transaction: &DatabaseTransaction, row: &webhook::Model, reader: UserId) -> ApiResult<()> {
    let mut change = webhook_cursor::ActiveModel {
        attempts: Set(0),
        retry_at: Set(None),
        failing_since: Set(None),
        stopped_at: Set(None),
        ..Default::default()
    };
    if let Some(conversation) = row.conversation_id {
        let joined = find_participant(transaction, ConversationId(conversation), reader).await?;
        change.joined_id = Set(joined.and_then(|joined| joined.added_event_id).unwrap_or_default());
    }
    webhook_cursor::Entity::update_many()
        .set(change)
        .filter(webhook_cursor::Column::WebhookId.eq(row.id))
        .exec(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(())
}

/// Of a service account's webhook the row names the account.
pub(super) async fn record(
    transaction: &DatabaseTransaction,
    app: &App,
    caller: &Caller,
    principal: Principal,
    row: &webhook::Model,
    event: AuditEvent,
) -> ApiResult<()> {
    let account = row.conversation_id.is_none().then_some(UserId(row.reader_id));
    let entry = AuditEntry::to(account, event).by(principal.user_id);
    audit::record(transaction, app.clock.now(), caller, entry).await.map_err(|error| ApiError::store(&error))
}

/// Delete a webhook
///
/// A request that is under way may still arrive.
#[utoipa::path(
    delete, path = "/webhooks/{id}", tag = "webhooks", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such webhook"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn delete_webhook(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<StatusCode> {
    let row = load(&app, principal, id).await?;
    let store = |error| ApiError::store(&error);
    let transaction = begin(&app).await?;
    // The webhook first: a worker that begins a conversation meanwhile finds none.
    webhook::Entity::delete_by_id(id).exec(&transaction).await.map_err(store)?;
    let cursors = webhook_cursor::Entity::delete_many().filter(webhook_cursor::Column::WebhookId.eq(id));
    cursors.exec(&transaction).await.map_err(store)?;
    webhook_test::Entity::delete_by_id(id).exec(&transaction).await.map_err(store)?;
    record(&transaction, &app, &caller, principal, &row, AuditEvent::WebhookDeleted { webhook_id: id }).await?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}
