//! `POST /auth/recovery-codes`, and how they are made.

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};
use sealpost_schema::entities::recovery_code;
use sealpost_schema::{Problem, ProblemKind, UserId};
use serde::Serialize;

use super::{codes, store};
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Principal, ProofRequest, prove};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;
use crate::transaction;

#[derive(Serialize, utoipa::ToSchema)]
pub struct RecoveryCodesResponse {
    /// Each is good once, in place of a code. Shown this once.
    #[schema(example = json!(["k3mp-9xwz-ab2c-tt4f"]))]
    pub recovery_codes: Vec<String>,
}

/// Renew my recovery codes
///
/// The old ones are void. Takes the password, or a session that began within the last ten minutes.
#[utoipa::path(
    post, path = "/auth/recovery-codes", tag = "auth", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 200, body = RecoveryCodesResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "There is no second factor that they could stand for"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong passwords"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn renew_recovery_codes(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ProofRequest>,
) -> ApiResult<Json<RecoveryCodesResponse>> {
    prove(&app, principal, request.password, &caller).await?;
    let (transaction, now) = (transaction::begin(&app).await?, app.clock.now());
    let user = store::lock(&transaction, principal.user_id).await.map_err(|error| ApiError::store(&error))?;
    if user.is_none_or(|user| user.second_factor_at.is_none()) {
        return Err(ApiError::new(
            ProblemKind::SecondFactorOff,
            "There is no second factor. Begin with one at POST /api/auth/totp or POST /api/auth/passkeys.",
        ));
    }
    let recovery_codes = replace(&transaction, principal.user_id).await?;
    let entry = AuditEntry::own(principal.user_id, AuditEvent::RecoveryCodesRenewed {});
    audit::record(&transaction, now, &caller, entry).await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok(Json(RecoveryCodesResponse { recovery_codes }))
}

/// New codes in place of all that there are.
pub async fn replace(transaction: &DatabaseTransaction, user: UserId) -> ApiResult<Vec<String>> {
    let made: Result<Vec<String>, _> = (0..codes::RECOVERY_CODES).map(|_| codes::new_recovery_code()).collect();
    let made = made.map_err(|error| ApiError::internal(&error))?;
    let rows = made.iter().map(|code| {
        let hash = codes::recovery_hash(user, code);
        recovery_code::Model { hash, user_id: user.0 }.into_active_model()
    });
    let work = async {
        recovery_code::Entity::delete_many().filter(recovery_code::Column::UserId.eq(user.0)).exec(transaction).await?;
        recovery_code::Entity::insert_many(rows).exec_without_returning(transaction).await
    };
    work.await.map_err(|error| ApiError::store(&error))?;
    Ok(made)
}
