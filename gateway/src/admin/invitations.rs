//! `POST` and `GET /admin/invitations`, `DELETE /admin/invitations/{id}`

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::invitation;
use sealpost_schema::{Problem, Timestamp, UserId};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Admin, new_code};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::state::App;
use crate::transaction::{begin, commit};

/// Invitations that are good at the same time.
const MAX_OPEN: u64 = 1000;
const MAX_USES: u64 = 10_000;
const MAX_HOURS: u64 = 8760;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateInvitationRequest {
    /// How many people may sign up with it: 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    pub max_uses: u64,
    /// How long it is good: 1 to 8,760.
    #[schema(minimum = 1, maximum = 8760)]
    pub hours: u64,
}

impl Default for CreateInvitationRequest {
    fn default() -> Self {
        Self { max_uses: 1, hours: 168 }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct InvitationResponse {
    pub id: Uuid,
    /// None: the operator.
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub max_uses: u64,
    pub uses: u64,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedInvitationResponse {
    /// For `invitation` at sign-up. It is shown here and never again.
    #[schema(example = "kQ9tJm2vXbR7cW1zLh4sPd8yNf6gTa3e")]
    pub code: String,
    pub invitation: InvitationResponse,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListInvitationsResponse {
    /// Those that are good, the newest first; 1,000 at most.
    pub invitations: Vec<InvitationResponse>,
}

impl InvitationResponse {
    fn new(row: &invitation::Model) -> Self {
        Self {
            id: row.id,
            created_by: row.created_by.map(UserId),
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
            max_uses: u64::try_from(row.max_uses).unwrap_or(0),
            uses: u64::try_from(row.uses).unwrap_or(0),
        }
    }
}

/// Invite
///
/// Makes a code with which people can sign up, where `auth.signup` is `invitation`.
#[utoipa::path(
    post, path = "/admin/invitations", tag = "admin", security(("bearer" = [])),
    request_body = CreateInvitationRequest,
    responses(
        (status = 201, body = CreatedInvitationResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A value is not allowed, or there are 1,000 open invitations"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn create_invitation(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Body(request): Body<CreateInvitationRequest>,
) -> ApiResult<(StatusCode, Json<CreatedInvitationResponse>)> {
    if !(1..=MAX_USES).contains(&request.max_uses) || !(1..=MAX_HOURS).contains(&request.hours) {
        return Err(ApiError::invalid(format!("Use 1 to {MAX_USES} for max_uses and 1 to {MAX_HOURS} for hours.")));
    }
    let (code, code_hash) = new_code().map_err(|error| ApiError::internal(&error))?;
    let now = app.clock.now();
    let row = invitation::Model {
        id: Uuid::now_v7(),
        code_hash,
        created_by: Some(admin.0.user_id.0),
        created_at: now.millis(),
        expires_at: now.plus(Duration::from_secs(request.hours * 3600)).millis(),
        max_uses: i64::try_from(request.max_uses).unwrap_or(1),
        uses: 0,
        revoked_at: None,
    };
    let store = |error| ApiError::store(&error);
    let transaction = begin(&app).await?;
    let open = invitation::Entity::find().filter(invitation::usable(now.millis())).count(&transaction).await;
    if open.map_err(store)? >= MAX_OPEN {
        return Err(ApiError::invalid(format!("There are {MAX_OPEN} open invitations: withdraw some first.")));
    }
    let insert = invitation::Entity::insert(row.clone().into_active_model());
    insert.exec_without_returning(&transaction).await.map_err(store)?;
    let invitation = InvitationResponse::new(&row);
    let event = AuditEvent::InvitationCreated {
        invitation_id: row.id,
        max_uses: request.max_uses,
        expires_at: invitation.expires_at,
    };
    let entry = AuditEntry::to(None, event).by(admin.0.user_id);
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    let created = CreatedInvitationResponse { code: code.expose_secret().to_owned(), invitation };
    Ok((StatusCode::CREATED, Json(created)))
}

/// List invitations
#[utoipa::path(
    get, path = "/admin/invitations", tag = "admin", security(("bearer" = [])),
    responses(
        (status = 200, body = ListInvitationsResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_invitations(State(app): State<App>, _admin: Admin) -> ApiResult<Json<ListInvitationsResponse>> {
    let rows = invitation::Entity::find()
        .filter(invitation::usable(app.clock.now().millis()))
        .order_by_desc(invitation::Column::Id)
        .limit(MAX_OPEN)
        .all(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(Json(ListInvitationsResponse { invitations: rows.iter().map(InvitationResponse::new).collect() }))
}

/// Withdraw an invitation
#[utoipa::path(
    delete, path = "/admin/invitations/{id}", tag = "admin", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "It is not good any more"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "You do not administer this server"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such open invitation"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn revoke_invitation(
    State(app): State<App>,
    admin: Admin,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> ApiResult<StatusCode> {
    let (now, store) = (app.clock.now(), |error| ApiError::store(&error));
    let transaction = begin(&app).await?;
    let revoked = invitation::Entity::update_many()
        .set(invitation::ActiveModel { revoked_at: Set(Some(now.millis())), ..Default::default() })
        .filter(invitation::Column::Id.eq(id))
        .filter(invitation::usable(now.millis()))
        .exec(&transaction)
        .await
        .map_err(store)?;
    if revoked.rows_affected == 0 {
        return Err(ApiError::not_found("invitation"));
    }
    let entry = AuditEntry::to(None, AuditEvent::InvitationRevoked { invitation_id: id }).by(admin.0.user_id);
    audit::record(&transaction, now, &caller, entry).await.map_err(store)?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}
