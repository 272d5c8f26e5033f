//! Asking for mails, and using the links in them: sign-in and proof of an address.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, SqlErr};
use sealpost_schema::entities::mail_token::Purpose;
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::mailer::Job;
use super::password::confirm_password;
use super::tokens;
use crate::audit::{self, AuditEntry, AuditEvent, SignInMethod};
use crate::auth::{Device, Principal, SignIn, SignInResponse, complete_sign_in, email};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult, Body};
use crate::state::App;
use crate::transaction;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskForMailRequest {
    #[schema(example = "ada@example.org", max_length = 254)]
    pub email: String,
}

fn normalized(text: &str) -> ApiResult<String> {
    email::normalize(text).ok_or_else(|| ApiError::invalid("The email is not of the shape `name@example.org`."))
}

/// Ask for a new password
///
/// The answer is the same whether anybody has this address. If an account has proven to have it, a mail brings a link that is
/// good once.
#[utoipa::path(
    post, path = "/auth/password/forgot", tag = "auth",
    request_body = AskForMailRequest,
    responses(
        (status = 202, description = "If there is such an account, a mail is on its way"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This is no address, or a field is missing or unknown"),
    )
)]
pub async fn forgot_password(State(app): State<App>, Body(request): Body<AskForMailRequest>) -> ApiResult<StatusCode> {
    let email = normalized(&request.email)?;
    app.mailer.post(Job::Link { email, purpose: Purpose::ResetPassword });
    Ok(StatusCode::ACCEPTED)
}

/// Ask for a link to sign in
///
/// The answer is the same whether anybody has this address.
#[utoipa::path(
    post, path = "/auth/magic-link", tag = "auth",
    request_body = AskForMailRequest,
    responses(
        (status = 202, description = "If there is such an account, a mail is on its way"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This is no address, or a field is missing or unknown"),
    )
)]
pub async fn ask_magic_link(State(app): State<App>, Body(request): Body<AskForMailRequest>) -> ApiResult<StatusCode> {
    let email = normalized(&request.email)?;
    app.mailer.post(Job::Link { email, purpose: Purpose::MagicLink });
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MagicLinkRequest {
    /// From the link.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub token: SecretString,
    #[serde(default)]
    pub device: Device,
}

/// Sign in by a link
#[utoipa::path(
    post, path = "/auth/magic-link/signin", tag = "auth",
    request_body = MagicLinkRequest,
    responses(
        (status = 200, body = SignInResponse),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "The account changed meanwhile"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The link is not good"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing, unknown or not allowed"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn sign_in_by_magic_link(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<MagicLinkRequest>,
) -> ApiResult<Json<SignInResponse>> {
    let device = request.device.checked()?;
    // Used up before the session begins: if that fails, another link is asked for.
    let transaction = transaction::begin(&app).await?;
    let token = request.token.expose_secret();
    let row = tokens::consume(&transaction, token, Purpose::MagicLink, app.clock.now()).await?;
    transaction::commit(transaction).await?;
    let user = user::Entity::active_by_id(row.user_id)
        .filter(user::Column::Email.eq(row.email))
        .one(&app.db)
        .await
        .map_err(|error| ApiError::store(&error))?
        .ok_or_else(tokens::refused)?;
    let sign_in = SignIn { method: SignInMethod::MagicLink, device, caller: &caller };
    complete_sign_in(&app, user, sign_in).await.map(Json)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEmailRequest {
    #[schema(example = "ada@example.org", max_length = 254)]
    pub email: String,
    #[schema(value_type = String, format = Password, example = "walrus lantern 47")]
    pub password: SecretString,
}

/// Change or confirm my mail address
///
/// A mail to the new address brings a link; when that is used, the address counts. The one before is told.
#[utoipa::path(
    post, path = "/auth/email", tag = "auth", security(("bearer" = [])),
    request_body = ChangeEmailRequest,
    responses(
        (status = 202, description = "A mail is on its way to the new address"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 401, body = Problem, content_type = "application/problem+json", description = "No valid token, or the password is wrong: see the type"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "This is no address, or a field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many passwords at once"),
    )
)]
pub async fn change_email(
    State(app): State<App>,
    principal: Principal,
    caller: Caller,
    Body(request): Body<ChangeEmailRequest>,
) -> ApiResult<StatusCode> {
    let email = normalized(&request.email)?;
    confirm_password(&app, principal.user_id, request.password, &caller).await?;
    app.mailer.post(Job::Verify { user: principal.user_id, email });
    Ok(StatusCode::ACCEPTED)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyEmailRequest {
    /// From the link.
    #[schema(value_type = String, example = "hV3d0b2tlbiBmcm9tIGEgbWFpbCBsaW5r")]
    pub token: SecretString,
}

/// Prove that a mail address is mine
#[utoipa::path(
    post, path = "/auth/email/verify", tag = "auth",
    request_body = VerifyEmailRequest,
    responses(
        (status = 204, description = "The address counts from now on"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "The link is not good, or another account has the address by now"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A field is missing or unknown"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away"),
    )
)]
pub async fn verify_email(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<VerifyEmailRequest>,
) -> ApiResult<StatusCode> {
    let (transaction, now) = (transaction::begin(&app).await?, app.clock.now());
    let row = tokens::consume(&transaction, request.token.expose_secret(), Purpose::VerifyEmail, now).await?;
    let user = user::Entity::active_by_id(row.user_id).one(&transaction).await;
    let user = user.map_err(|error| ApiError::store(&error))?.ok_or_else(tokens::refused)?;
    let change = user::ActiveModel {
        email: Set(Some(row.email.clone())),
        email_verified_at: Set(Some(now.millis())),
        ..Default::default()
    };
    // Who has proven an address goes before those who only say that it is theirs.
    let claims = user::Entity::update_many()
        .set(user::ActiveModel { email: Set(None), ..Default::default() })
        .filter(user::Column::Email.eq(&row.email))
        .filter(user::Column::Id.ne(user.id))
        .filter(user::Column::EmailVerifiedAt.is_null());
    claims.exec(&transaction).await.map_err(|error| ApiError::store(&error))?;
    let changed = user::Entity::update_many().set(change).filter(user::Column::Id.eq(user.id)).exec(&transaction).await;
    changed.map_err(|error| match error.sql_err() {
        // Whoever proved it first has it. Only who reads its mails hears of that.
        Some(SqlErr::UniqueConstraintViolation(_)) => tokens::refused(),
        _ => ApiError::store(&error),
    })?;
    let entry = AuditEntry::own(UserId(user.id), AuditEvent::EmailVerified {});
    audit::record(&transaction, now, &caller, entry).await.map_err(|error| ApiError::store(&error))?;
    transaction::commit(transaction).await?;
    // An address that never was proven is nobody's to be told.
    let before = user.email.filter(|before| *before != row.email && user.email_verified_at.is_some());
    if let Some(before) = before {
        app.mailer.post(Job::EmailChanged { user: UserId(user.id), before });
    }
    Ok(StatusCode::NO_CONTENT)
}
