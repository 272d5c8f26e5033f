//! `POST /auth/passkeys` and `POST /auth/passkeys/finish`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{DatabaseTransaction, EntityTrait as _, IntoActiveModel as _, SqlErr};
use sealpost_schema::entities::passkey;
use sealpost_schema::{Problem, ProblemKind, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use webauthn_rs::prelude::{CreationChallengeResponse, Passkey, PasskeyRegistration, RegisterPublicKeyCredential};

use super::ceremonies::{self, Kind};
use super::manage::{PasskeyResponse, checked_name};
use crate::audit::{self, AuditEntry, AuditEvent};
use crate::auth::{Principal, ProofRequest, prove};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::second_factor::{recovery, store as factors};
use crate::state::App;
use crate::transaction;

/// Of one user.
const MOST: u64 = 20;

#[derive(Serialize, utoipa::ToSchema)]
pub struct BeginPasskeyResponse {
    /// Send it back with what the device answers.
    #[schema(example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub ceremony: String,
    /// For `navigator.credentials.create`, with bytes as base64url: `PublicKeyCredential.parseCreationOptionsFromJSON` reads
    /// `options.publicKey`.
    #[schema(value_type = Object)]
    pub options: CreationChallengeResponse,
}

/// Begin with a passkey
///
/// Gives what a browser needs to make one, for five minutes. Takes the password, or a session that began within the last ten minutes.
#[utoipa::path(
    post, path = "/auth/passkeys", tag = "auth", security(("bearer" = [])),
    request_body = ProofRequest,
    responses(
        (status = 200, body = BeginPasskeyResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "It takes the password, or a new sign-in"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no passkeys, or you have too many: see the type"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too many wrong passwords"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn begin_passkey(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ProofRequest>,
) -> ApiResult<Json<BeginPasskeyResponse>> {
    let party = app.passkeys.get()?;
    let user = prove(&app, principal, request.password, &caller).await?;
    let own = passkey::Entity::of(user.id).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    check_count(own.len() as u64)?;
    let known = own.into_iter().map(|row| row.credential_id).collect();
    let begun = party.start_passkey_registration(user.id, &user.username, &user.display_name, Some(known));
    let (mut options, state) = begun.map_err(|error| ApiError::internal(&error))?;
    if let Some(selection) = &mut options.public_key.authenticator_selection {
        // So that it can sign in without a name, where the device has room for that.
        selection.resident_key = Some(webauthn_rs_proto::ResidentKeyRequirement::Preferred);
    }
    let ceremony = ceremonies::new_handle()?;
    let named = (Kind::Register, ceremony.as_str());
    ceremonies::put(&app.db, named, Some(principal.user_id), &state, app.clock.now()).await?;
    Ok(Json(BeginPasskeyResponse { ceremony, options }))
}

fn check_count(count: u64) -> ApiResult<()> {
    if count >= MOST {
        return Err(ApiError::new(
            ProblemKind::TooManyPasskeys,
            format!("An account has {MOST} passkeys at most. Remove one that you do not use."),
        ));
    }
    Ok(())
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishPasskeyRequest {
    /// Of the answer that began it.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub ceremony: SecretString,
    /// What `navigator.credentials.create` gave, as its `toJSON` writes it.
    #[schema(value_type = Object)]
    pub credential: RegisterPublicKeyCredential,
    /// 1 to 80 characters in one line, for your list of passkeys.
    #[schema(example = "Ada's phone", min_length = 1, max_length = 80)]
    pub name: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct FinishPasskeyResponse {
    pub passkey: PasskeyResponse,
    /// If this is the first second factor: each is good once, in place of a passkey. Shown this once.
    #[schema(example = json!(["k3mp-9xwz-ab2c-tt4f"]))]
    pub recovery_codes: Vec<String>,
}

/// Add a passkey
///
/// From now on it signs in by itself, and a password or a link alone does not any more: they need it as second factor.
#[utoipa::path(
    post, path = "/auth/passkeys/finish", tag = "auth", security(("bearer" = [])),
    request_body = FinishPasskeyRequest,
    responses(
        (status = 201, body = FinishPasskeyResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the device's answer is not good: see the type"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no passkeys, or you have too many: see the type"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn finish_passkey(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<FinishPasskeyRequest>,
) -> ApiResult<(StatusCode, Json<FinishPasskeyResponse>)> {
    let (party, now) = (app.passkeys.get()?, app.clock.now());
    let name = checked_name(request.name.as_deref().unwrap_or("Passkey"))?;
    let named = (Kind::Register, request.ceremony.expose_secret());
    let state: PasskeyRegistration = ceremonies::take(&app.db, named, Some(principal.user_id), now).await?;
    let passkey = party.finish_passkey_registration(&request.credential, &state).map_err(|error| {
        tracing::debug!(%error, "a new passkey was refused");
        ApiError::new(ProblemKind::PasskeyRefused, "The device's answer is not good for this server. Begin again.")
    })?;
    let row = row(principal, &passkey, name, now)?;
    let transaction = transaction::begin(&app).await?;
    let recovery_codes = insert(&transaction, principal, row.clone(), now).await?;
    let entry = AuditEntry::own(principal.user_id, AuditEvent::PasskeyAdded { passkey_id: row.id });
    audit::record(&transaction, now, &caller, entry).await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    Ok((StatusCode::CREATED, Json(FinishPasskeyResponse { passkey: PasskeyResponse::new(row), recovery_codes })))
}

fn row(principal: Principal, passkey: &Passkey, name: String, now: Timestamp) -> ApiResult<passkey::Model> {
    Ok(passkey::Model {
        id: Uuid::now_v7(),
        user_id: principal.user_id.0,
        credential_id: passkey.cred_id().clone(),
        name,
        passkey: serde_json::to_string(passkey).map_err(|error| ApiError::internal(&error))?,
        // What it counted at its making stands in the passkey; from its first use on it stands here as well.
        counter: 0,
        created_at: now.millis(),
        last_used_at: None,
    })
}

/// Returns recovery codes if there was no second factor before.
async fn insert(
    transaction: &DatabaseTransaction,
    principal: Principal,
    row: passkey::Model,
    now: Timestamp,
) -> ApiResult<Vec<String>> {
    let user = principal.user_id;
    factors::lock(transaction, user).await.map_err(|error| ApiError::store(&error))?;
    let there = factors::Factors::of(transaction, user).await.map_err(|error| ApiError::store(&error))?;
    check_count(there.passkeys)?;
    let inserted = passkey::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await;
    inserted.map_err(|error| match error.sql_err() {
        // Ids are random: a second one is a copy.
        Some(SqlErr::UniqueConstraintViolation(_)) => super::store::refused(),
        _ => ApiError::store(&error),
    })?;
    let is_first = factors::settle(transaction, user, now).await.map_err(|error| ApiError::store(&error))?;
    if is_first { recovery::replace(transaction, user).await } else { Ok(Vec::new()) }
}
