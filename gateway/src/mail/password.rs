//! `POST /auth/password` and `POST /auth/password/reset`

use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::DatabaseTransaction;
use sealpost_schema::entities::mail_token::Purpose;
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, ProblemKind, SessionId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::mailer::Job;
use super::tokens;
use crate::accounts::{self, AccountError, Act, NewPassword};
use crate::audit::{self, AuditEntry, AuditEvent, PasswordChange};
use crate::auth::{PasswordError, Principal, announce};
use crate::caller::Caller;
use crate::limits::too_many;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;
use crate::transaction;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePasswordRequest {
    #[schema(value_type = String, format = Password, example = "walrus lantern 47")]
    pub password: SecretString,
    #[schema(value_type = String, format = Password, example = "quiet harbour 12", max_length = 1024)]
    pub new_password: SecretString,
}

/// Change my password
///
/// Signs out all other devices. A mail says so, if the account has a proven address.
#[utoipa::path(
    post, path = "/auth/password", tag = "auth", security(("bearer" = [])),
    request_body = ChangePasswordRequest,
    responses(
        (status = 204, description = "Changed"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The new password is too weak, or a field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn change_password(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ChangePasswordRequest>,
) -> ApiResult<StatusCode> {
    let user = confirm_password(&app, principal.user_id, request.password, &caller).await?;
    let hash = new_hash(&app, &user, request.new_password).await?;
    let transaction = transaction::begin(&app).await?;
    let act = Act { by: Some(principal.user_id), caller: &caller, now: app.clock.now() };
    let ended = store(&transaction, &user, (hash, PasswordChange::Owner), Some(principal.session_id), act).await?;
    transaction::commit(transaction).await?;
    announce(&app, &ended).await;
    app.mailer.post(Job::PasswordChanged { user: principal.user_id });
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPasswordRequest {
    /// From the link.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub token: SecretString,
    #[schema(value_type = String, format = Password, example = "quiet harbour 12", max_length = 1024)]
    pub new_password: SecretString,
}

/// Choose a new password
///
/// With the token of a mail. Signs out all devices; sign in with the new password then.
#[utoipa::path(
    post, path = "/auth/password/reset", tag = "auth",
    request_body = ResetPasswordRequest,
    responses(
        (status = 204, description = "Changed"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The link is not good"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "The password is too weak (the link stays good), or a field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn reset_password(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<ResetPasswordRequest>,
) -> ApiResult<StatusCode> {
    let (token, purpose) = (request.token.expose_secret(), Purpose::ResetPassword);
    // A look first: a made-up token costs no hash.
    let row = tokens::look(&app.db, token, purpose, app.clock.now()).await?;
    let user = load(&app, UserId(row.user_id)).await?.filter(|user| user.email.as_ref() == Some(&row.email));
    let user = user.ok_or_else(tokens::refused)?;
    let hash = new_hash(&app, &user, request.new_password).await?;
    let transaction = transaction::begin(&app).await?;
    let act = Act { by: Some(UserId(user.id)), caller: &caller, now: app.clock.now() };
    tokens::consume(&transaction, token, purpose, act.now).await?;
    let ended = store(&transaction, &user, (hash, PasswordChange::Mail), None, act).await?;
    transaction::commit(transaction).await?;
    announce(&app, &ended).await;
    app.mailer.post(Job::PasswordChanged { user: UserId(user.id) });
    Ok(StatusCode::NO_CONTENT)
}

/// The account of somebody who is signed in and knows its password.
pub async fn confirm_password(
    app: &App,
    user_id: UserId,
    password: SecretString,
    caller: &Caller,
) -> ApiResult<user::Model> {
    // With a session somebody is known here: only their own failures delay them.
    let now = app.clock.now();
    let attempt = caller.address.map(|address| app.throttle.attempt(&user_id.to_string(), address, true, now));
    let attempt = attempt.transpose().map_err(too_many)?;
    let user = load(app, user_id).await?;
    let hash = user.as_ref().map(|user| user.password_hash.as_str()).filter(|hash| !hash.is_empty());
    let right = app.passwords.verify_or_dummy(hash, password).await.map_err(PasswordError::into_api)?;
    if let Some(user) = user.filter(|_| right) {
        if let Some(attempt) = &attempt {
            app.throttle.succeeded(attempt);
        }
        return Ok(user);
    }
    let event = AuditEvent::SignInFailed { method: audit::SignInMethod::Password };
    let recorded = audit::record(&app.db, app.clock.now(), caller, AuditEntry::to(Some(user_id), event)).await;
    recorded.map_err(|error| ApiError::store(&error))?;
    Err(ApiError::new(ProblemKind::WrongCredentials, "The password is wrong. Nothing was changed."))
}

/// An account, if it is not disabled.
async fn load(app: &App, id: UserId) -> ApiResult<Option<user::Model>> {
    let user = user::Entity::active_by_id(id.0).one(&app.db).await;
    user.map_err(|error| ApiError::store(&error))
}

async fn new_hash(app: &App, user: &user::Model, password: SecretString) -> ApiResult<String> {
    let own = [Some(user.username.clone()), user.email.clone()].into_iter().flatten().collect();
    app.passwords.hash_new(password, own).await.map_err(PasswordError::into_api)
}

/// The new password in place of the one that was looked at.
async fn store(
    db: &DatabaseTransaction,
    user: &user::Model,
    (hash, by): (String, PasswordChange),
    keep: Option<SessionId>,
    act: Act<'_>,
) -> ApiResult<Vec<SessionId>> {
    let new = NewPassword { hash, instead_of: Some(&user.password_hash), by, keep };
    accounts::set_password(db, UserId(user.id), new, act).await.map_err(|error| match error {
        AccountError::Changed | AccountError::NotFound => {
            ApiError::new(ProblemKind::WrongCredentials, "The account changed meanwhile. Nothing was changed.")
        }
        AccountError::Store(error) => ApiError::store(&error),
        AccountError::Taken => ApiError::internal(&error),
    })
}
