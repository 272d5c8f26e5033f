//! `POST /auth/signin`

use axum::Json;
use axum::extract::State;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Select};
use sealpost_schema::entities::{session, user};
use sealpost_schema::{Problem, ProblemKind, UserId};
use secrecy::SecretString;
use serde::Deserialize;
use uuid::Uuid;

use super::device::Device;
use super::email;
use super::passwords::PasswordError;
use super::signed_in::{SignIn, SignInResponse, complete_sign_in};
use crate::audit::{self, AuditEntry, AuditEvent, SignInMethod};
use crate::caller::Caller;
use crate::limits::{Attempt, too_many};
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;
use crate::users::username;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignInRequest {
    /// User name or email, in any case.
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
        (status = 429, body = Problem, content_type = "application/problem+json", description = "Too soon after failed sign-ins, or too many from this address: `Retry-After` says when to come again"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many sign in at once"),
    )
)]
pub async fn sign_in(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<SignInRequest>,
) -> ApiResult<Json<SignInResponse>> {
    let device = request.device.checked()?;
    let user = named(&request.username).one(&app.db).await.map_err(|error| ApiError::store(&error))?;
    let attempt = throttle(&app, &request.username, user.as_ref(), &caller).await?;
    let hash = user.as_ref().map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty());
    let password = request.password.clone();
    let right = app.passwords.verify_or_dummy(hash, password).await.map_err(PasswordError::into_api)?;
    match user {
        Some(user) if right => {
            if let Some(attempt) = &attempt {
                app.throttle.succeeded(attempt);
            }
            let user = rehash(&app, user, request.password).await?;
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

/// What cannot be a name or an email is asked for all the same, as the empty one: the same queries, the same time.
fn named(text: &str) -> Select<user::Entity> {
    if text.contains('@') {
        return user::Entity::by_email(&email::normalize(text).unwrap_or_default());
    }
    user::Entity::by_username(&username::normalize(text).unwrap_or_default())
}

/// When the settings of hashes have risen, those who sign in get a new one: the password is known now, and never again.
async fn rehash(app: &App, user: user::Model, password: SecretString) -> ApiResult<user::Model> {
    if !app.passwords.is_outdated(&user.password_hash) {
        return Ok(user);
    }
    let hash = app.passwords.hash(password).await.map_err(PasswordError::into_api)?;
    let change = user::ActiveModel { password_hash: Set(hash.clone()), ..Default::default() };
    user::Entity::update_many()
        .set(change)
        .filter(user::Column::Id.eq(user.id))
        .filter(user::Column::PasswordHash.eq(&user.password_hash))
        .exec(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    Ok(user::Model { password_hash: hash, ..user })
}

/// Counts the attempt, or refuses it if it comes too soon after failures. The same for names that nobody has.
async fn throttle(app: &App, typed: &str, user: Option<&user::Model>, caller: &Caller) -> ApiResult<Option<Attempt>> {
    let Some(address) = caller.address else { return Ok(None) };
    let (account, now) = (user.map_or_else(|| typed.to_lowercase(), |user| user.id.to_string()), app.clock.now());
    let wait = match app.throttle.attempt(&account, address, false, now) {
        Ok(attempt) => return Ok(Some(attempt)),
        Err(wait) => wait,
    };
    let known = session::Entity::find()
        .filter(session::Column::UserId.eq(user.map_or_else(Uuid::nil, |user| user.id)))
        .filter(session::Column::Address.eq(caller.address_text()))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let again = app.throttle.attempt(&account, address, known.is_some(), now).map(Some);
    again.map_err(|_| too_many(wait))
}
