//! `POST /auth/signup`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sea_orm::{DbErr, EntityTrait as _, IntoActiveModel as _, SqlErr};
use sealpost_schema::entities::user;
use sealpost_schema::{Problem, ProblemKind, UserId};
use secrecy::SecretString;
use serde::Deserialize;

use super::config::SignupMode;
use super::device::Device;
use super::passwords::PasswordError;
use super::signed_in::{SignIn, SignInResponse, begin_session};
use super::{email, invitations};
use crate::audit::{AuditEvent, SignInMethod};
use crate::caller::Caller;
use crate::mail::Job;
use crate::problem::{ApiError, ApiResult, Body};
use crate::profiles::names;
use crate::state::App;
use crate::transaction;
use crate::users::username;

fn taken(username: &str) -> ApiError {
    ApiError::new(
        ProblemKind::UsernameTaken,
        format!("Somebody is called `{username}` already. Choose another user name."),
    )
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUpRequest {
    /// 3 to 32 letters `a` to `z`, digits, `.`, `_` and `-`. Upper case is taken as lower case.
    #[schema(example = "ada", min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9._-]{3,32}$")]
    pub username: String,
    /// At least 12 characters (the operator may ask for more), at most 1024 bytes; hard to guess, and not with the user name in it.
    #[schema(value_type = String, format = Password, example = "walrus lantern 47", max_length = 1024)]
    pub password: SecretString,
    /// 1 to 80 characters in one line; if it is left out, the user name.
    #[schema(example = "Ada Lovelace", min_length = 1, max_length = 80)]
    pub display_name: Option<String>,
    /// A mail goes there with a link that proves it; from then on it belongs to the account, can be signed in with, and is shown to nobody
    /// but you. Whether an account has it already is told to its owner alone, by mail.
    #[schema(example = "ada@example.org", max_length = 254)]
    pub email: Option<String>,
    /// Needed where sign-up is by invitation; else it is not looked at.
    #[schema(value_type = Option<String>, example = "kQ9tJm2vXbR7cW1zLh4sPd8yNf6gTa3e")]
    pub invitation: Option<SecretString>,
    #[serde(default)]
    pub device: Device,
}

/// Sign up
///
/// Makes an account and signs it in.
#[utoipa::path(
    post, path = "/auth/signup", tag = "auth",
    request_body = SignUpRequest,
    responses(
        (status = 201, body = SignInResponse, description = "The account, and a first session of it"),
        (status = 400, body = Problem, content_type = "application/problem+json", description = "Not JSON"),
        (status = 403, body = Problem, content_type = "application/problem+json", description = "This server is closed to sign-ups, or the invitation is not good: see the type"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "The user name is taken"),
        (status = 413, body = Problem, content_type = "application/problem+json", description = "Body too large"),
        (status = 415, body = Problem, content_type = "application/problem+json", description = "Not sent as JSON"),
        (status = 422, body = Problem, content_type = "application/problem+json", description = "A weak password, or a value that is not allowed: see the type"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store is away, or too many sign in at once"),
    )
)]
pub async fn sign_up(
    State(app): State<App>,
    caller: Caller,
    Body(request): Body<SignUpRequest>,
) -> ApiResult<(StatusCode, Json<SignInResponse>)> {
    may_sign_up(&app, request.invitation.as_ref()).await?;
    let (mut user, email) = check(&app, &request)?;
    let device = request.device.checked()?;
    // Those who are disabled keep their names; the unique index knows them.
    let known = user::Entity::by_username(&user.username).one(&app.db).await;
    if known.map_err(|error| ApiError::store(&error))?.is_some() {
        return Err(taken(&user.username));
    }
    let own = [Some(user.username.clone()), email.clone()].into_iter().flatten().collect();
    user.password_hash = app.passwords.hash_new(request.password, own).await.map_err(PasswordError::into_api)?;
    let sign_in = SignIn { method: SignInMethod::Password, device, caller: &caller };
    let id = UserId(user.id);
    let signed_in = insert(&app, user, request.invitation, sign_in).await?;
    if let Some(email) = email {
        app.mailer.post(Job::Verify { user: id, email });
    }
    Ok((StatusCode::CREATED, Json(signed_in)))
}

async fn may_sign_up(app: &App, invitation: Option<&SecretString>) -> ApiResult<()> {
    match app.auth.signup {
        SignupMode::Open => Ok(()),
        SignupMode::Invitation => invitations::check(&app.db, invitation, app.clock.now()).await,
        SignupMode::Closed => Err(ApiError::new(
            ProblemKind::Forbidden,
            "This server takes no sign-ups. Ask its operator for an account.",
        )),
    }
}

/// The new row, but for the hash, and the address that is to be proven: until then it is not in the row, so that nothing that the new
/// account sees or can do depends on whether another one has it.
fn check(app: &App, request: &SignUpRequest) -> ApiResult<(user::Model, Option<String>)> {
    let username = username::normalize(&request.username).ok_or_else(|| ApiError::invalid(username::RULE))?;
    let display_name = names::display_name(request.display_name.as_deref().unwrap_or(&username))?;
    let email = request.email.as_deref().map(check_email).transpose()?;
    let user = user::Model::new(UserId::new().0, &username, app.clock.now().millis());
    Ok((user::Model { display_name, ..user }, email))
}

fn check_email(email: &str) -> ApiResult<String> {
    email::normalize(email).ok_or_else(|| {
        ApiError::invalid("The email is not of the shape `name@example.org`. Correct it, or leave it out.")
    })
}

/// User and session together.
async fn insert(
    app: &App,
    user: user::Model,
    invitation: Option<SecretString>,
    sign_in: SignIn<'_>,
) -> ApiResult<SignInResponse> {
    let transaction = transaction::begin(app).await?;
    let invitation_id = match app.auth.signup {
        SignupMode::Invitation => Some(invitations::consume(&transaction, invitation.as_ref(), app.clock.now()).await?),
        SignupMode::Open | SignupMode::Closed => None,
    };
    user::Entity::insert(user.clone().into_active_model())
        .exec_without_returning(&transaction)
        .await
        .map_err(|error| insert_error(&error, &user.username))?;
    let signed_in = begin_session(app, &transaction, user, sign_in, AuditEvent::SignedUp { invitation_id }).await?;
    transaction::commit(transaction).await?;
    Ok(SignInResponse::SignedIn(signed_in))
}

/// The unique index has the last word.
fn insert_error(error: &DbErr, username: &str) -> ApiError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => taken(username),
        _ => ApiError::store(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_unique_index_gives_a_clear_answer() {
        use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, Schema};
        let db = Database::connect(ConnectOptions::new("sqlite::memory:").max_connections(1).to_owned()).await.unwrap();
        let table = Schema::new(db.get_database_backend()).create_table_from_entity(user::Entity);
        db.execute(&table).await.unwrap();
        let row = || user::Model::new(UserId::new().0, "ada", 0).into_active_model();
        user::Entity::insert(row()).exec_without_returning(&db).await.unwrap();
        let same_name = user::Entity::insert(row()).exec_without_returning(&db).await.unwrap_err();
        assert_eq!(insert_error(&same_name, "ada").0.kind, ProblemKind::UsernameTaken);
    }
}
