//! `POST /webhooks`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QuerySelect as _, Select,
};
use sealpost_outgoing::check_url;
use sealpost_schema::entities::{user, webhook, webhook_cursor};
use sealpost_schema::{Action, ConversationId, Problem, UserId};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::WebhookResponse;
use super::{announce, kinds};
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::Principal;
use crate::caller::Caller;
use crate::conversations::control::load_locked;
use crate::problem::{ApiError, ApiResult, Body};
use crate::service_accounts;
use crate::state::App;
use crate::transaction::{begin, commit};

/// Of one service account, and of one conversation.
const MAX_WEBHOOKS: u64 = 10;
/// The first one.
const VERSION: i32 = 1;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhookRequest {
    /// Where events are posted to: https or http, without user name and password. It must not lead into a private network.
    #[schema(example = "https://example.org/hooks/sealpost", max_length = 2000)]
    pub url: String,
    /// Tells of all conversations of this service account, those it joins later too. Either this or `conversation_id`.
    pub service_account_id: Option<UserId>,
    /// Tells of this conversation.
    pub conversation_id: Option<ConversationId>,
    /// Kinds of events, such as `message_posted`. Left out: all.
    #[schema(example = json!(["message_posted"]))]
    pub kinds: Option<Vec<String>>,
}

/// A webhook's secret is shown when it is made, and never again.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedWebhookResponse {
    /// What deliveries are signed with.
    #[schema(example = "whs_Gd6cBipLMn0d4SbochE38SFGQT8ea7tmNsVxiLJzQZw")]
    pub secret: String,
    pub webhook: WebhookResponse,
}

/// Make a webhook
///
/// For a service account: its owner and admins may. For a conversation: who may change its settings. It begins with the next event; of
/// conversations that a service account joins later, with the event that added it. What a receiver gets is in `docs/webhooks.md`.
#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", security(("bearer" = [])),
    request_body = CreateWebhookRequest,
    responses(
        (status = 201, body = CreatedWebhookResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such service account or conversation for you"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no key for webhooks"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, or there are 10 already"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn create_webhook(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<CreateWebhookRequest>,
) -> ApiResult<(StatusCode, Json<CreatedWebhookResponse>)> {
    let keys = app.webhooks.keys()?;
    let url = check_url(&request.url, &app.webhooks.networks).map_err(|error| ApiError::invalid(error.to_string()))?;
    let kinds = request.kinds.map(kinds::column).transpose()?;
    let store = |error| ApiError::store(&error);
    let account = match (request.service_account_id, request.conversation_id) {
        (Some(account), None) => Some(service_accounts::load(&app, principal, account).await?.0.id),
        (None, Some(_)) => None,
        _ => return Err(ApiError::invalid("Name either a service_account_id or a conversation_id.")),
    };
    let transaction = begin(&app).await?;
    let existing = lock(&transaction, principal, account, request.conversation_id).await?;
    if existing.count(&transaction).await.map_err(store)? >= MAX_WEBHOOKS {
        return Err(ApiError::invalid(format!("There are {MAX_WEBHOOKS} webhooks already: delete one first.")));
    }
    let now = app.clock.now();
    let row = webhook::Model {
        id: Uuid::now_v7(),
        reader_id: account.unwrap_or(principal.user_id.0),
        conversation_id: request.conversation_id.map(|id| id.0),
        url: url.into(),
        kinds,
        secret_version: VERSION,
        secret_rotated_at: None,
        created_by: principal.user_id.0,
        created_at: now.millis(),
        paused_at: None,
        disabled_at: None,
        disabled_reason: None,
        attempts: 0,
        next_attempt_at: 0,
        failing_since: None,
        last_success_at: None,
    };
    let insert = webhook::Entity::insert(row.clone().into_active_model());
    insert.exec_without_returning(&transaction).await.map_err(store)?;
    transaction.execute(&webhook_cursor::begin_at_head(row.id)).await.map_err(store)?;
    let event = AuditEvent::WebhookCreated { webhook_id: row.id, conversation_id: request.conversation_id };
    let entry = AuditEntry::to(account.map(UserId), event).by(principal.user_id);
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    announce(&app, row.id).await;
    let secret = keys.secret(row.id, VERSION).expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(CreatedWebhookResponse { secret, webhook: row.into() })))
}

/// The webhooks that it will be one of. Nobody else can make one of them before the transaction ends.
async fn lock(
    transaction: &DatabaseTransaction,
    principal: Principal,
    account: Option<Uuid>,
    conversation: Option<ConversationId>,
) -> ApiResult<Select<webhook::Entity>> {
    if let Some(id) = conversation {
        load_locked(transaction, id, principal.user_id).await?.check(Action::ChangeSettings)?;
        return Ok(webhook::Entity::of_conversation(id.0));
    }
    let account = account.ok_or_else(|| ApiError::not_found("service account"))?;
    let locked = user::Entity::service_accounts().filter(user::Column::Id.eq(account)).lock_exclusive();
    let locked = locked.one(transaction).await.map_err(|error| ApiError::store(&error))?;
    locked.map(|_| webhook::Entity::of_account(account)).ok_or_else(|| ApiError::not_found("service account"))
}
