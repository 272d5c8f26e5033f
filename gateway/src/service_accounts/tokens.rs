//! `POST` and `GET /service-accounts/{id}/tokens`, `DELETE /service-accounts/{id}/tokens/{token_id}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _,
};
use sealpost_schema::entities::{api_token, participant};
use sealpost_schema::{ConversationId, Problem, ProblemKind, Role, SessionId, Timestamp, UserId};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::load;
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Principal, Scope, announce, new_token};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;
use crate::transaction::{begin, commit};

/// Of one account at the same time.
const MAX_TOKENS: u64 = 50;
const MAX_CONVERSATIONS: usize = 1000;
const MAX_DAYS: u64 = 366;
const MAX_NAME_CHARS: usize = 80;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTokenRequest {
    /// What it is for: 1 to 80 characters in one line.
    #[schema(example = "CI on the build server", min_length = 1, max_length = 80)]
    pub name: String,
    #[schema(min_items = 1)]
    pub scopes: Vec<Scope>,
    /// Only these. Left out: all that the account takes part in, now and later; that is for admins to give.
    #[schema(max_items = 1000)]
    pub conversations: Option<Vec<ConversationId>>,
    /// How long it is good: 1 to 366 days.
    #[serde(default = "default_days")]
    #[schema(minimum = 1, maximum = 366, default = 90)]
    pub days: u64,
}

fn default_days() -> u64 {
    90
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct TokenResponse {
    /// Stands as `session_id` in the `ready` frame of its connections.
    pub id: SessionId,
    #[schema(example = "CI on the build server")]
    pub name: String,
    pub scopes: Vec<Scope>,
    /// None: all that the account takes part in.
    pub conversations: Option<Vec<ConversationId>>,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// To about a minute.
    pub last_used_at: Option<Timestamp>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedTokenResponse {
    /// Send it as `Authorization: Bearer <token>`. It is shown here and never again.
    #[schema(example = "spt_0198c0de8a5b7c3d9e1f2a3b4c5d6e7f_Vm9yIGRlbSBHZXNldHogc3RlaHQgZWluIFTDvHI")]
    pub token: String,
    pub details: TokenResponse,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListTokensResponse {
    /// Those that are good, the newest first; 50 at most.
    pub tokens: Vec<TokenResponse>,
}

impl TokenResponse {
    fn new(row: &api_token::Model) -> Self {
        Self {
            id: SessionId(row.id),
            name: row.name.clone(),
            scopes: row.scopes.split(',').filter_map(Scope::parse).collect(),
            conversations: row.conversations.as_deref().map(|text| serde_json::from_str(text).unwrap_or_default()),
            created_by: UserId(row.created_by),
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
            last_used_at: row.last_used_at.map(Timestamp::from_millis),
        }
    }
}

fn check(request: &mut CreateTokenRequest) -> ApiResult<()> {
    let name = request.name.trim().to_owned();
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "The name of a token has 1 to {MAX_NAME_CHARS} characters, in one line."
        )));
    }
    request.name = name;
    request.scopes.sort_unstable();
    request.scopes.dedup();
    if request.scopes.is_empty() {
        return Err(ApiError::invalid("A token needs a scope: `read`, `send` or `manage`."));
    }
    if !(1..=MAX_DAYS).contains(&request.days) {
        return Err(ApiError::invalid(format!("days is {}: use 1 to {MAX_DAYS}.", request.days)));
    }
    if let Some(chosen) = &mut request.conversations {
        chosen.sort_unstable();
        chosen.dedup();
        if chosen.is_empty() || chosen.len() > MAX_CONVERSATIONS {
            return Err(ApiError::invalid(format!(
                "Choose 1 to {MAX_CONVERSATIONS} conversations, or leave the field out."
            )));
        }
    }
    Ok(())
}

/// Who is no admin gives no more than what they own.
async fn check_owned(app: &App, user: UserId, chosen: Option<&[ConversationId]>) -> ApiResult<()> {
    let chosen = chosen.ok_or_else(|| {
        ApiError::new(
            ProblemKind::Forbidden,
            "Name the conversations that the token is for; only admins may leave them out.",
        )
    })?;
    let owned = participant::Entity::find()
        .filter(participant::Column::UserId.eq(user.0))
        .filter(participant::Column::Role.eq(Role::Owner.as_str()))
        .filter(participant::Column::ConversationId.is_in(chosen.iter().map(|id| id.0)))
        .count(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if owned == chosen.len() as u64 {
        return Ok(());
    }
    Err(ApiError::new(ProblemKind::Forbidden, "You can give tokens for conversations that you own, and for no others."))
}

/// Make an API token
#[utoipa::path(
    post, path = "/service-accounts/{id}/tokens", tag = "service accounts", security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the service account")),
    request_body = CreateTokenRequest,
    responses(
        (status = 201, body = CreatedTokenResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not own these conversations"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such service account"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, or there are 50 already"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn create_token(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<UserId>,
    Body(mut request): Body<CreateTokenRequest>,
) -> ApiResult<(StatusCode, Json<CreatedTokenResponse>)> {
    let (account, admin) = load(&app, principal, id).await?;
    check(&mut request)?;
    if !admin {
        check_owned(&app, principal.user_id, request.conversations.as_deref()).await?;
    }
    let (token_id, now) = (Uuid::now_v7(), app.clock.now());
    let (token, secret_hash) = new_token(token_id).map_err(|error| ApiError::internal(&error))?;
    let chosen = request.conversations.map(|ids| serde_json::to_string(&ids)).transpose();
    let row = api_token::Model {
        id: token_id,
        user_id: account.id,
        name: request.name,
        secret_hash,
        scopes: request.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(","),
        conversations: chosen.map_err(|error| ApiError::internal(&error))?,
        created_by: principal.user_id.0,
        created_at: now.millis(),
        expires_at: now.plus(Duration::from_secs(request.days * 86_400)).millis(),
        last_used_at: None,
        revoked_at: None,
        changed_at: now.millis(),
    };
    let store = |error| ApiError::store(&error);
    let transaction = begin(&app).await?;
    let live = api_token::Entity::live_of(account.id, now.millis()).count(&transaction).await.map_err(store)?;
    if live >= MAX_TOKENS {
        return Err(ApiError::invalid(format!("The account has {MAX_TOKENS} tokens: withdraw one first.")));
    }
    let insert = api_token::Entity::insert(row.clone().into_active_model());
    insert.exec_without_returning(&transaction).await.map_err(store)?;
    let event = AuditEvent::TokenCreated { scopes: request.scopes };
    let entry = AuditEntry::to(Some(id), event).by(principal.user_id).session(SessionId(token_id));
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    let created = CreatedTokenResponse { token: token.expose_secret().to_owned(), details: TokenResponse::new(&row) };
    Ok((StatusCode::CREATED, Json(created)))
}

/// List API tokens
#[utoipa::path(
    get, path = "/service-accounts/{id}/tokens", tag = "service accounts", security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the service account")),
    responses(
        (status = 200, body = ListTokensResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Not for API tokens"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such service account"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_tokens(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<UserId>,
) -> ApiResult<Json<ListTokensResponse>> {
    let (account, _) = load(&app, principal, id).await?;
    let rows = api_token::Entity::live_of(account.id, app.clock.now().millis()).order_by_desc(api_token::Column::Id);
    let rows = rows.all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    Ok(Json(ListTokensResponse { tokens: rows.iter().map(TokenResponse::new).collect() }))
}

/// Withdraw an API token
///
/// Within a second it is refused and its WebSockets are closed, on every gateway.
#[utoipa::path(
    delete, path = "/service-accounts/{id}/tokens/{token_id}", tag = "service accounts", security(("bearer" = [])),
    params(("id" = UserId, Path, description = "Of the service account"), ("token_id" = SessionId, Path)),
    responses(
        (status = 204, description = "It is not good any more"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Not for API tokens"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such token"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many requests"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn revoke_token(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path((id, token)): Path<(UserId, SessionId)>,
) -> ApiResult<StatusCode> {
    let (account, _) = load(&app, principal, id).await?;
    let (now, store) = (app.clock.now(), |error| ApiError::store(&error));
    let transaction = begin(&app).await?;
    let change = api_token::ActiveModel {
        revoked_at: Set(Some(now.millis())),
        changed_at: Set(now.millis()),
        ..Default::default()
    };
    let revoked = api_token::Entity::update_many()
        .set(change)
        .filter(api_token::Column::Id.eq(token.0))
        .filter(api_token::Column::UserId.eq(account.id))
        .filter(api_token::Column::RevokedAt.is_null())
        .exec(&transaction)
        .await
        .map_err(store)?;
    if revoked.rows_affected == 0 {
        return Err(ApiError::not_found("token"));
    }
    let entry = AuditEntry::to(Some(id), AuditEvent::TokenRevoked {}).by(principal.user_id).session(token);
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    announce(&app, &[token]).await;
    Ok(StatusCode::NO_CONTENT)
}
