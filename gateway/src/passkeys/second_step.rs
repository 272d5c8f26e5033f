//! `POST /auth/signin/passkey/second-factor` and its `finish`: between the two steps of a sign-in

use axum::Json;
use axum::extract::State;
use sealpost_schema::entities::{passkey, user};
use sealpost_schema::{Problem, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{PasskeyAuthentication, PublicKeyCredential, RequestChallengeResponse};

use super::ceremonies::{self, Kind};
use super::store;
use crate::auth::SignInResponse;
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::second_factor::waiting;
use crate::state::App;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginSecondFactorRequest {
    /// Of the answer that asked for a second factor.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub challenge: SecretString,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct BeginSecondFactorResponse {
    /// For `navigator.credentials.get`, with bytes as base64url: `PublicKeyCredential.parseRequestOptionsFromJSON` reads
    /// `options.publicKey`.
    #[schema(value_type = Object)]
    pub options: RequestChallengeResponse,
}

/// Begin to complete a sign-in with a passkey
#[utoipa::path(
    post, path = "/auth/signin/passkey/second-factor", tag = "auth",
    request_body = BeginSecondFactorRequest,
    responses(
        (status = 200, body = BeginSecondFactorResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The challenge is not good, or the account has no passkey"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no passkeys"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn begin_second_factor(
    State(app): State<App>,
    Body(request): Body<BeginSecondFactorRequest>,
) -> ApiResult<Json<BeginSecondFactorResponse>> {
    let party = app.passkeys.get()?;
    let challenge = request.challenge.expose_secret();
    let user = waiting::find(&app, challenge).await?.user;
    let own = passkey::Entity::of(user.id).all(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let own = own.iter().map(store::open).collect::<ApiResult<Vec<_>>>()?;
    if own.is_empty() {
        return Err(store::refused());
    }
    let begun = party.start_passkey_authentication(&own);
    let (options, state) = begun.map_err(|error| ApiError::internal(&error))?;
    let named = (Kind::SecondFactor, challenge);
    ceremonies::put(&app.db, named, Some(UserId(user.id)), &state, app.clock.now()).await?;
    Ok(Json(BeginSecondFactorResponse { options }))
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishSecondFactorRequest {
    /// Of the answer that asked for a second factor.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub challenge: SecretString,
    /// What `navigator.credentials.get` gave, as its `toJSON` writes it.
    #[schema(value_type = Object)]
    pub credential: PublicKeyCredential,
}

/// Complete a sign-in with a passkey
#[utoipa::path(
    post, path = "/auth/signin/passkey/second-factor/finish", tag = "auth",
    request_body = FinishSecondFactorRequest,
    responses(
        (status = 200, body = SignInResponse, description = "A new session"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The passkey or the challenge is not good"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "This server has no passkeys"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn finish_second_factor(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<FinishSecondFactorRequest>,
) -> ApiResult<Json<SignInResponse>> {
    app.passkeys.get()?;
    let challenge = request.challenge.expose_secret();
    let waiting = waiting::find(&app, challenge).await?;
    let named = (Kind::SecondFactor, challenge);
    let state = ceremonies::take(&app.db, named, Some(waiting.user_id()), app.clock.now()).await?;
    let checked = check(&app, &waiting.user, &request.credential, &state, &caller).await;
    waiting.finish(&app, checked, &caller).await.map(Json)
}

async fn check(
    app: &App,
    user: &user::Model,
    credential: &PublicKeyCredential,
    state: &PasskeyAuthentication,
    caller: &Caller,
) -> ApiResult<()> {
    let row = passkey::Entity::shown(user.id, credential.get_credential_id().to_vec()).one(&app.db).await;
    let row = row.map_err(|error| ApiError::store(&error))?.ok_or_else(store::refused)?;
    // The state has the count of the moment when it was begun; what was counted meanwhile is compared in the store.
    let result = app.passkeys.get()?.finish_passkey_authentication(credential, state);
    store::used(app, row, result, caller).await
}
