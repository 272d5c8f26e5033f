//! `POST /auth/signin/passkey` and `POST /auth/signin/passkey/finish`: without a name, without a password

use axum::Json;
use axum::extract::State;
use sealpost_schema::entities::{passkey, user};
use sealpost_schema::{Problem, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{DiscoverableAuthentication, PublicKeyCredential, RequestChallengeResponse};

use super::ceremonies::{self, Kind};
use super::store;
use crate::audit::{self, AuditEntry, AuditEvent, SignInMethod};
use crate::auth::{Device, SignIn, SignInResponse, complete_with_second_factor};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;

#[derive(Serialize, utoipa::ToSchema)]
pub struct BeginPasskeySignInResponse {
    /// Send it back with what the device answers.
    #[schema(example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub ceremony: String,
    /// For `navigator.credentials.get`, with bytes as base64url: `PublicKeyCredential.parseRequestOptionsFromJSON` reads
    /// `options.publicKey`. Pages that offer passkeys in the field of the name add `mediation: "conditional"`.
    #[schema(value_type = Object)]
    pub options: RequestChallengeResponse,
}

/// Begin to sign in with a passkey
///
/// Takes no name and says nothing about anybody: the device knows whose it is.
#[utoipa::path(
    post, path = "/auth/signin/passkey", tag = "auth",
    responses(
        (status = 200, body = BeginPasskeySignInResponse),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no passkeys"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn begin_sign_in(State(app): State<App>) -> ApiResult<Json<BeginPasskeySignInResponse>> {
    let begun = app.passkeys.get()?.start_discoverable_authentication();
    let (mut options, state) = begun.map_err(|error| ApiError::internal(&error))?;
    options.mediation = None;
    let ceremony = ceremonies::new_handle()?;
    ceremonies::put(&app.db, (Kind::SignIn, &ceremony), None, &state, app.clock.now()).await?;
    Ok(Json(BeginPasskeySignInResponse { ceremony, options }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishPasskeySignInRequest {
    /// Of the answer that began it.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub ceremony: SecretString,
    /// What `navigator.credentials.get` gave, as its `toJSON` writes it.
    #[schema(value_type = Object)]
    pub credential: PublicKeyCredential,
    #[serde(default)]
    pub device: Device,
}

/// Sign in with a passkey
///
/// The device has checked its owner, so this is both factors at once. Whatever is wrong with a passkey has the same answer.
#[utoipa::path(
    post, path = "/auth/signin/passkey/finish", tag = "auth",
    request_body = FinishPasskeySignInRequest,
    responses(
        (status = 200, body = SignInResponse, description = "A new session"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The passkey is not good"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no passkeys"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn finish_sign_in(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<FinishPasskeySignInRequest>,
) -> ApiResult<Json<SignInResponse>> {
    app.passkeys.get()?;
    let device = request.device.checked()?;
    let named = (Kind::SignIn, request.ceremony.expose_secret());
    let state = ceremonies::take(&app.db, named, None, app.clock.now()).await?;
    let method = SignInMethod::Passkey;
    match check(&app, &request.credential, state, &caller).await {
        Ok(user) => complete_with_second_factor(&app, user, SignIn { method, device, caller: &caller }).await.map(Json),
        Err((user, error)) => {
            let entry = AuditEntry::to(user, AuditEvent::SignInFailed { method });
            let recorded = audit::record(&app.db, app.clock.now(), &caller, entry).await;
            recorded.map_err(|error| ApiError::store(&error))?;
            Err(error)
        }
    }
}

/// Whose it is, if it is good; else the account that it claims to be of, if there is one.
async fn check(
    app: &App,
    credential: &PublicKeyCredential,
    state: DiscoverableAuthentication,
    caller: &Caller,
) -> Result<user::Model, (Option<UserId>, ApiError)> {
    let nobody = |error| (None, error);
    let party = app.passkeys.get().map_err(nobody)?;
    let claimed = party.identify_discoverable_authentication(credential);
    let (id, credential_id) = claimed.map_err(|_| nobody(store::refused()))?;
    let row = passkey::Entity::shown(id, credential_id.to_vec()).one(&app.db).await;
    let row = row.map_err(|error| nobody(ApiError::store(&error)))?.ok_or_else(|| nobody(store::refused()))?;
    let theirs = |error| (Some(UserId(id)), error);
    let passkey = store::open(&row).map_err(theirs)?;
    let result = party.finish_discoverable_authentication_v2(credential, state, &passkey);
    store::used(app, row, result, caller).await.map_err(theirs)?;
    let user = user::Entity::active_by_id(id).one(&app.db).await.map_err(|error| theirs(ApiError::store(&error)))?;
    user.ok_or_else(|| theirs(store::refused()))
}
