//! `POST` and `GET /conversations/{conversation_id}/invites`, `DELETE /conversations/{conversation_id}/invites/{invite_id}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
};
use sealpost_schema::entities::invite_link;
use sealpost_schema::{Action, ConversationId, Problem, Role};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::InviteResponse;
use crate::auth::{Principal, new_code};
use crate::conversations::control::{Locked, begin, commit, load_locked, not_dm};
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;

/// Links of one conversation that are good at the same time.
const MAX_OPEN: u64 = 100;
const MAX_USES: u64 = 10_000;
const MAX_HOURS: u64 = 8760;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateInviteRequest {
    /// What those get who join with it. Default: `member` in a group, `reader` in a channel. Only owners can invite admins.
    pub role: Option<Role>,
    /// How many may join with it: 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_uses: u64,
    /// How long it is good: 1 to 8,760.
    #[schema(minimum = 1, maximum = 8760)]
    pub hours: u64,
}

impl Default for CreateInviteRequest {
    fn default() -> Self {
        Self { role: None, max_uses: 1, hours: 168 }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedInviteResponse {
    /// For `POST /api/invites/join`. It is shown here and never again.
    #[schema(example = "kQ9tJm2vXbR7cW1zLh4sPd8yNf6gTa3e")]
    pub token: String,
    pub invite: InviteResponse,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListInvitesResponse {
    /// Those that are good, the newest first; 100 at most.
    pub invites: Vec<InviteResponse>,
}

/// Make an invite link
///
/// Who may is a setting (`invite`, by default admins).
#[utoipa::path(
    post, path = "/conversations/{conversation_id}/invites", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    request_body = CreateInviteRequest,
    responses(
        (status = 201, body = CreatedInviteResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, a dm, or there are 100 open links"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn create_invite(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
    Body(request): Body<CreateInviteRequest>,
) -> ApiResult<(StatusCode, Json<CreatedInviteResponse>)> {
    if !(1..=MAX_USES).contains(&request.max_uses) || !(1..=MAX_HOURS).contains(&request.hours) {
        return Err(ApiError::invalid(format!("Use 1 to {MAX_USES} for max_uses and 1 to {MAX_HOURS} for hours.")));
    }
    let (token, token_hash) = new_code().map_err(|error| ApiError::internal(&error))?;
    let transaction = begin(&app).await?;
    let locked = may_invite(&app, &transaction, &principal, id).await?;
    let role = request.role.unwrap_or(locked.kind.default_role());
    if role.is_named_by_owners() {
        locked.check_owner()?;
    }
    let now = app.clock.now();
    let open = invite_link::Entity::usable_of(id.0, now.millis()).count(&transaction).await;
    if open.map_err(|error| ApiError::store(&error))? >= MAX_OPEN {
        return Err(ApiError::invalid(format!("There are {MAX_OPEN} open links: take some back first.")));
    }
    let row = invite_link::Model {
        id: Uuid::now_v7(),
        conversation_id: id.0,
        token_hash,
        role: role.as_str().to_owned(),
        created_by: principal.user_id.0,
        created_at: now.millis(),
        expires_at: now.plus(Duration::from_secs(request.hours * 3600)).millis(),
        max_uses: i64::try_from(request.max_uses).unwrap_or(1),
        uses: 0,
        revoked_at: None,
    };
    let invite = InviteResponse::new(&row).ok_or_else(|| ApiError::internal(&"unknown role"))?;
    let insert = invite_link::Entity::insert(row.into_active_model());
    insert.exec_without_returning(&transaction).await.map_err(|error| ApiError::store(&error))?;
    commit(transaction).await?;
    Ok((StatusCode::CREATED, Json(CreatedInviteResponse { token: token.expose_secret().to_owned(), invite })))
}

/// List invite links
#[utoipa::path(
    get, path = "/conversations/{conversation_id}/invites", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path)),
    responses(
        (status = 200, body = ListInvitesResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A dm"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_invites(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<ConversationId>,
) -> ApiResult<Json<ListInvitesResponse>> {
    let transaction = begin(&app).await?;
    may_invite(&app, &transaction, &principal, id).await?;
    let rows = invite_link::Entity::usable_of(id.0, app.clock.now().millis())
        .order_by_desc(invite_link::Column::Id)
        .all(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    commit(transaction).await?;
    Ok(Json(ListInvitesResponse { invites: rows.iter().filter_map(InviteResponse::new).collect() }))
}

/// Take an invite link back
#[utoipa::path(
    delete, path = "/conversations/{conversation_id}/invites/{invite_id}", tag = "conversations", security(("bearer" = [])),
    params(("conversation_id" = ConversationId, Path), ("invite_id" = Uuid, Path)),
    responses(
        (status = 204, description = "It is not good any more"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "Your role does not allow it"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "No such conversation for you, or no such open link"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A dm"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn revoke_invite(
    State(app): State<App>,
    principal: Principal,
    Path((id, invite)): Path<(ConversationId, Uuid)>,
) -> ApiResult<StatusCode> {
    let transaction = begin(&app).await?;
    may_invite(&app, &transaction, &principal, id).await?;
    let now = app.clock.now().millis();
    let revoked = invite_link::Entity::update_many()
        .set(invite_link::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(invite_link::Column::Id.eq(invite))
        .filter(invite_link::Column::ConversationId.eq(id.0))
        .filter(invite_link::usable(now))
        .exec(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if revoked.rows_affected == 0 {
        return Err(ApiError::not_found("invite link"));
    }
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn may_invite(
    app: &App,
    transaction: &DatabaseTransaction,
    principal: &Principal,
    id: ConversationId,
) -> ApiResult<Locked> {
    let locked = load_locked(transaction, id, principal.user_id).await?;
    not_dm(locked.kind)?;
    locked.check(Action::Invite)?;
    // An open link lets strangers in, so expired ones of long ago need not stay.
    forget_old(app, transaction, id).await?;
    Ok(locked)
}

/// Links that ended a month ago go.
async fn forget_old(app: &App, transaction: &DatabaseTransaction, id: ConversationId) -> ApiResult<()> {
    let month = Duration::from_hours(30 * 24);
    invite_link::Entity::delete_many()
        .filter(invite_link::Column::ConversationId.eq(id.0))
        .filter(invite_link::Column::ExpiresAt.lt(app.clock.now().minus(month).millis()))
        .exec(transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(())
}
