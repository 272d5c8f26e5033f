//! `GET /auth/passkeys`, `PATCH /auth/passkeys/{id}` and `POST /auth/passkeys/{id}/remove`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sealpost_schema::entities::passkey;
use sealpost_schema::{Problem, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Principal, ProofRequest, prove};
use crate::caller::Caller;
use crate::oidc::ways_in;
use crate::problem::{ApiError, ApiResult, Body, Path};
use crate::second_factor::store as factors;
use crate::state::App;
use crate::transaction;

const MAX_NAME_CHARS: usize = 80;

/// A passkey of yours.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasskeyResponse {
    pub id: Uuid,
    #[schema(example = "Ada's phone")]
    pub name: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

impl PasskeyResponse {
    pub fn new(row: passkey::Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: Timestamp::from_millis(row.created_at),
            last_used_at: row.last_used_at.map(Timestamp::from_millis),
        }
    }
}

/// As it is kept.
pub fn checked_name(name: &str) -> ApiResult<String> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!(
            "The name of a passkey has 1 to {MAX_NAME_CHARS} characters, in one line; this one has {length}."
        )));
    }
    Ok(name.to_owned())
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct ListPasskeysResponse {
    /// Oldest first.
    pub passkeys: Vec<PasskeyResponse>,
}

/// List my passkeys
#[utoipa::path(
    get, path = "/auth/passkeys", tag = "auth", security(("bearer" = [])),
    responses(
        (status = 200, body = ListPasskeysResponse),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn list_passkeys(State(app): State<App>, principal: Principal) -> ApiResult<Json<ListPasskeysResponse>> {
    let own = passkey::Entity::of(principal.user_id.0).order_by_asc(passkey::Column::Id).all(&app.db).await;
    let own = own.map_err(|error| ApiError::store(&error))?;
    Ok(Json(ListPasskeysResponse { passkeys: own.into_iter().map(PasskeyResponse::new).collect() }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePasskeyRequest {
    #[schema(example = "Ada's old phone", min_length = 1, max_length = 80)]
    pub name: String,
}

/// Rename a passkey of mine
#[utoipa::path(
    patch, path = "/auth/passkeys/{id}", tag = "auth", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = RenamePasskeyRequest,
    responses(
        (status = 200, body = PasskeyResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such passkey"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn rename_passkey(
    State(app): State<App>,
    principal: Principal,
    Path(id): Path<Uuid>,
    Body(request): Body<RenamePasskeyRequest>,
) -> ApiResult<Json<PasskeyResponse>> {
    let change = passkey::ActiveModel { name: Set(checked_name(&request.name)?), ..Default::default() };
    let renamed = passkey::Entity::update_many()
        .set(change)
        .filter(passkey::Column::UserId.eq(principal.user_id.0))
        .filter(passkey::Column::Id.eq(id))
        .exec_with_returning(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let row = renamed.into_iter().next().ok_or_else(|| ApiError::not_found("passkey"))?;
    Ok(Json(PasskeyResponse::new(row)))
}

/// Remove a passkey of mine
///
/// Takes the password, or a session that began within the last ten minutes.
#[utoipa::path(
    post, path = "/auth/passkeys/{id}/remove", tag = "auth", security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    request_body = ProofRequest,
    responses(
        (status = 204, description = "It signs in nowhere any more. Without another second factor the recovery codes are void too"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "You have no such passkey"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is the last way to sign in to this account"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong passwords"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn remove_passkey(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(request): Body<ProofRequest>,
) -> ApiResult<StatusCode> {
    prove(&app, principal, request.password, &caller).await?;
    let (transaction, now, user) = (transaction::begin(&app).await?, app.clock.now(), principal.user_id);
    factors::lock(&transaction, user).await.map_err(|error| ApiError::store(&error))?;
    let own = passkey::Entity::delete_many()
        .filter(passkey::Column::UserId.eq(user.0))
        .filter(passkey::Column::Id.eq(id))
        .exec(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    if own.rows_affected == 0 {
        return Err(ApiError::not_found("passkey"));
    }
    ways_in::check(&transaction, user).await?;
    let work = async {
        factors::settle(&transaction, user, now).await?;
        let entry = AuditEntry::own(user, AuditEvent::PasskeyRemoved { passkey_id: id });
        audit::record(&transaction, now, &caller, entry).await
    };
    work.await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}
