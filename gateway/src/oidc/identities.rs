//! `GET /auth/identities` and `POST /auth/identities/{id}/unlink`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ColumnTrait as _, ModelTrait as _, QueryFilter as _, QueryOrder as _};
use sealpost_schema::entities::identity;
use sealpost_schema::{Problem, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::ways_in;
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Principal, ProofRequest, prove};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::second_factor::store as factors;
use crate::state::App;
use crate::transaction;

/// An account at a provider that signs in to yours.
#[derive(Serialize, utoipa::ToSchema)]
pub struct IdentityResponse {
    pub id: Uuid,
    #[schema(example = "example")]
    pub provider: String,
    #[schema(example = "https://id.example")]
    pub issuer: String,
    /// What the provider calls you.
    #[schema(example = "248289761001")]
    pub subject: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListIdentitiesResponse {
    /// Oldest first.
    pub identities: Vec<IdentityResponse>,
}

/// List my accounts at providers
#[utoipa::path(
    get, path = "/auth/identities", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 200, body = ListIdentitiesResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_identities(State(app): State<App>, principal: Principal) -> ApiResult<Json<ListIdentitiesResponse>> {
    let own = identity::Entity::of(principal.user_id.0).order_by_asc(identity::Column::Id).all(&app.db).await;
    let response = |row: identity::Model| IdentityResponse {
        id: row.id,
        provider: row.provider,
        issuer: row.issuer,
        subject: row.subject,
        created_at: Timestamp::from_millis(row.created_at),
        last_used_at: row.last_used_at.map(Timestamp::from_millis),
    };
    let own = own.map_err(|error| ApiError::store(&error))?;
    Ok(Json(ListIdentitiesResponse { identities: own.into_iter().map(response).collect() }))
}

/// Unlink an account at a provider from mine
///
/// Takes the password, or a session that began within the last ten minutes.
#[utoipa::path(
    post, path = "/auth/identities/{id}/unlink", tag = "auth", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = ProofRequest,
    responses(
        (status = 204, description = "It does not sign in to this account any more"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such one"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is the last way to sign in to this account"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong passwords"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn unlink_identity(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(request): Body<ProofRequest>,
) -> ApiResult<StatusCode> {
    prove(&app, principal, request.password, &caller).await?;
    let (transaction, now, user) = (transaction::begin(&app).await?, app.clock.now(), principal.user_id);
    factors::lock(&transaction, user).await.map_err(|error| ApiError::store(&error))?;
    let row = identity::Entity::of(user.0).filter(identity::Column::Id.eq(id)).one(&transaction).await;
    let row = row.map_err(|error| ApiError::store(&error))?.ok_or_else(|| ApiError::not_found("linked account"))?;
    let provider = row.provider.clone();
    row.delete(&transaction).await.map_err(|error| ApiError::store(&error))?;
    ways_in::check(&transaction, user).await?;
    let entry = AuditEntry::own(user, AuditEvent::IdentityUnlinked { provider });
    audit::record(&transaction, now, &caller, entry).await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}
