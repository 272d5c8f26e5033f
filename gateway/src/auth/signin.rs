//! `POST /auth/signin`

use axum::Json;
use axum::extract::State;
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, ProblemKind, UserId};
use secrecy::SecretString;
use serde::Deserialize;

use super::device::Device;
use super::passwords::PasswordError;
use super::signed_in::{SignIn, SignInResponse, complete_sign_in};
use crate::audit::{self, AuditEntry, AuditEvent, SignInMethod};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;
use crate::users::username;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// In any case.
    #[schema(example = "ada")]
    pub username: String,
    #[schema(value_type = String, format = Password, example = "walrus lantern 47")]
    pub password: SecretString,
    #[serde(default)]
    pub device: Device,
}

/// Sign in
///
/// Begins a session. An unknown user name and a wrong password have the same answer, in the same time.
#[utoipa::path(
    post, path = "/auth/signin", tag = "auth",
    request_body = SignInRequest,
    responses(
        (status = 200, body = SignInResponse, description = "A new session"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "Wrong user name or password"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many sign in at once"),
    )
)]
pub async fn sign_in(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<SignInRequest>,
) -> ApiResult<Json<SignInResponse>> {
    let device = request.device.checked()?;
    // What cannot be a user name is asked for all the same, as the empty one: the same queries, the same time.
    let username = username::normalize(&request.username).unwrap_or_default();
    let user = user::Entity::by_username(&username).one(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let hash = user.as_ref().map(|user| user.password_hash.as_str());
    let right = app.passwords.verify_or_dummy(hash, request.password).await.map_err(PasswordError::into_api)?;
    match user {
        Some(user) if right => {
            let sign_in = SignIn { method: SignInMethod::Password, device, caller: &caller };
            Ok(Json(complete_sign_in(&app, user, sign_in).await?))
        }
        user => {
            // Also for a name that nobody has: the same work, the same time.
            let event = AuditEvent::SignInFailed { method: SignInMethod::Password };
            let entry = AuditEntry::to(user.map(|user| UserId(user.id)), event);
            let recorded = audit::record(&app.db, app.clock.now(), &caller, entry).await;
            recorded.map_err(|error| ApiError::store(&error))?;
            Err(ApiError::new(
                ProblemKind::WrongCredentials,
                "There is no user with this name and this password. Check both; names and passwords are not told apart here.",
            ))
        }
    }
}
