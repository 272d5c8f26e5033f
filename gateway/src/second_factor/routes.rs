//! `POST /auth/totp`, `POST /auth/totp/confirm`, `POST /auth/totp/disable` and `POST /auth/signin/second-factor`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sealpost_schema::entities::totp;
use sealpost_schema::{Problem, ProblemKind};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::recovery::{self, RecoveryCodesResponse};
use super::{codes, store, waiting};
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Principal, ProofRequest, SignInResponse, load_account, prove};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;
use crate::transaction;

#[derive(Serialize, utoipa::ToSchema)]
pub struct BeginTotpResponse {
    /// Base32, for typing it into an app. Shown this once.
    #[schema(example = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")]
    pub secret: String,
    /// For a QR code.
    #[schema(example = "otpauth://totp/sealpost:ada?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=sealpost")]
    pub url: String,
}

/// Begin with one-time codes
///
/// Gives a secret for an app. It counts when a first code is confirmed.
#[utoipa::path(
    post, path = "/auth/totp", tag = "auth", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 200, body = BeginTotpResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is on already: switch it off first"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn begin_totp(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ProofRequest>,
) -> ApiResult<Json<BeginTotpResponse>> {
    let user = prove(&app, principal, request.password, &caller).await?;
    if store::load(&app.db, principal.user_id).await?.is_some_and(|row| row.confirmed_at.is_some()) {
        return Err(ApiError::new(ProblemKind::SecondFactorOn, "One-time codes are on. Switch them off first."));
    }
    let mut secret = Zeroizing::new([0; codes::SECRET_BYTES]);
    getrandom::fill(secret.as_mut_slice()).map_err(|error| ApiError::internal(&error))?;
    let totp = codes::totp(secret.as_slice(), &app.auth.issuer, &user.username);
    let totp = totp.map_err(|error| ApiError::internal(&error))?;
    let url = totp.to_url().map_err(|error| ApiError::internal(&error))?;
    let sealed = app.keys.seal_for_user(principal.user_id, secret.as_slice());
    let (wrapped, sealed) = sealed.map_err(|error| ApiError::internal(&error))?;
    let row = totp::Model { user_id: user.id, wrapped, sealed, last_step: 0, confirmed_at: None };
    let transaction = transaction::begin(&app).await?;
    store::begin(&transaction, row).await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok(Json(BeginTotpResponse { secret: totp_rs::Secret::from(secret.to_vec()).to_base32(), url }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmTotpRequest {
    #[schema(value_type = String, example = "287082")]
    pub code: SecretString,
}

/// Switch one-time codes on
///
/// With new recovery codes; those that there were are void.
#[utoipa::path(
    post, path = "/auth/totp/confirm", tag = "auth", security(("bearer" = [])),
    request_body = ConfirmTotpRequest,
    responses(
        (status = 200, body = RecoveryCodesResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the code is wrong: see the type"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is on already, or was not begun: see the type"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong codes"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn confirm_totp(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ConfirmTotpRequest>,
) -> ApiResult<Json<RecoveryCodesResponse>> {
    let user = load_account(&app, principal.user_id).await?;
    let row = store::load(&app.db, principal.user_id).await?.filter(|row| row.confirmed_at.is_none());
    let row = row.ok_or_else(nothing_to_confirm)?;
    // A recovery code proves nothing about the app.
    if !codes::is_totp(request.code.expose_secret()) {
        return Err(store::wrong());
    }
    store::consume(&app, &user, Some(&row), request.code.expose_secret()).await?;
    let (transaction, now) = (transaction::begin(&app).await?, app.clock.now());
    store::lock(&transaction, principal.user_id).await.map_err(|error| ApiError::store(&error))?;
    let confirmed = store::confirm(&transaction, principal.user_id, &row.sealed, now).await;
    if !confirmed.map_err(|error| ApiError::store(&error))? {
        return Err(nothing_to_confirm());
    }
    let recovery_codes = recovery::replace(&transaction, principal.user_id).await?;
    let work = async {
        let entry = AuditEntry::own(principal.user_id, AuditEvent::SecondFactorEnabled {});
        audit::record(&transaction, now, &caller, entry).await
    };
    work.await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok(Json(RecoveryCodesResponse { recovery_codes }))
}

fn nothing_to_confirm() -> ApiError {
    ApiError::new(ProblemKind::SecondFactorOn, "There is nothing to confirm: begin at POST /api/auth/totp.")
}

/// Switch one-time codes off
#[utoipa::path(
    post, path = "/auth/totp/disable", tag = "auth", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 204, description = "They are off; without passkeys the recovery codes are void too"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn disable_totp(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ProofRequest>,
) -> ApiResult<StatusCode> {
    prove(&app, principal, request.password, &caller).await?;
    let (transaction, now) = (transaction::begin(&app).await?, app.clock.now());
    let work = async {
        store::lock(&transaction, principal.user_id).await?;
        store::remove(&transaction, principal.user_id, now).await?;
        let entry = AuditEntry::own(principal.user_id, AuditEvent::SecondFactorDisabled {});
        audit::record(&transaction, now, &caller, entry).await
    };
    work.await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecondFactorRequest {
    /// Of the answer that asked for a second factor.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub challenge: SecretString,
    /// Six digits of the app, or a recovery code.
    #[schema(value_type = String, example = "287082")]
    pub code: SecretString,
}

/// Complete a sign-in with a second factor
#[utoipa::path(
    post, path = "/auth/signin/second-factor", tag = "auth",
    request_body = SecondFactorRequest,
    responses(
        (status = 200, body = SignInResponse, description = "A new session"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The code or the challenge is not good"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong codes"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn complete(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<SecondFactorRequest>,
) -> ApiResult<Json<SignInResponse>> {
    let waiting = waiting::find(&app, request.challenge.expose_secret()).await?;
    let row = store::load(&app.db, waiting.user_id()).await?.filter(|row| row.confirmed_at.is_some());
    let checked = store::consume(&app, &waiting.user, row.as_ref(), request.code.expose_secret()).await;
    waiting.finish(&app, checked, &caller).await.map(Json)
}
