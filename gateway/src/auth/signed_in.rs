//! The end of every way to sign in: a new session with its first tokens.

use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait as _, DatabaseTransaction, DbErr, QueryFilter as _, QueryOrder as _, QuerySelect as _};
use sealpost_schema::entities::{session, user};
use sealpost_schema::{ProblemKind, SessionId, Timestamp, UserId};
use serde::Serialize;

use super::device::Device;
use super::ending::{self, Ending, Which};
use super::sessions;
use crate::audit::{self, AuditEntry, AuditEvent, EndReason, SignInMethod};
use crate::caller::Caller;
use crate::problem::{ApiError, ApiResult};
use crate::second_factor::{self, SecondFactorRequired};
use crate::state::App;
use crate::transaction;
use crate::users::UserResponse;

/// What a sign-in led to.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum SignInResponse {
    /// A new session.
    SignedIn(SignedInResponse),
    /// No session yet: a code completes it.
    SecondFactorRequired(SecondFactorRequired),
}

/// A new session.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SignedInResponse {
    pub user: UserResponse,
    pub session_id: SessionId,
    /// Send it as `Authorization: Bearer <access_token>`.
    #[schema(example = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6Ij…")]
    pub access_token: String,
    /// Good for one refresh; keep the one that comes back.
    #[schema(example = "0198c0de8a5b7c3d9e1f2a3b4c5d6e7f.Vm9yIGRlbSBHZXNldHogc3RlaHQgZWluIFTDvHJow7x0ZXI…")]
    pub refresh_token: String,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    pub expires_in: u64,
    #[schema(value_type = String, example = "Bearer")]
    pub token_type: &'static str,
}

pub const TOKEN_TYPE: &str = "Bearer";

/// Sessions that end at one sign-in: as many as a user can have.
const MOST_GIVE_WAY: u64 = 10_000;

/// How, on what and from where somebody signs in.
#[derive(Clone, Debug)]
pub struct SignIn<'a> {
    pub method: SignInMethod,
    /// [Checked](Device::checked).
    pub device: Device,
    pub caller: &'a Caller,
}

/// Completes a sign-in of `user`, who has shown by `sign_in.method` who they are: the one way to a session. `user` is the row that
/// this was checked against; if the account was disabled or its password changed meanwhile, nothing begins.
pub async fn complete_sign_in(app: &App, user: user::Model, sign_in: SignIn<'_>) -> ApiResult<SignInResponse> {
    complete(app, user, sign_in, false).await
}

/// The same for somebody whose second factor was right as well.
pub async fn complete_with_second_factor(
    app: &App,
    user: user::Model,
    sign_in: SignIn<'_>,
) -> ApiResult<SignInResponse> {
    complete(app, user, sign_in, true).await
}

async fn complete(
    app: &App,
    user: user::Model,
    sign_in: SignIn<'_>,
    has_second_factor: bool,
) -> ApiResult<SignInResponse> {
    let transaction = transaction::begin(app).await?;
    let unchanged = user::Entity::active()
        .filter(user::Column::Id.eq(user.id))
        .filter(user::Column::PasswordHash.eq(&user.password_hash))
        // One sign-in of a user at a time: together they must not have more sessions than there may be.
        .lock_exclusive()
        .one(&transaction)
        .await
        .map_err(|error| ApiError::store(&error))?;
    let Some(user) = unchanged else {
        return Err(ApiError::new(ProblemKind::WrongCredentials, "The account changed meanwhile. Sign in again."));
    };
    if user.second_factor_at.is_some() && !has_second_factor {
        let required = second_factor::wait(&transaction, &user, &sign_in, app.clock.now()).await?;
        transaction::commit(transaction).await?;
        return Ok(SignInResponse::SecondFactorRequired(required));
    }
    let gave_way = make_room(app, &transaction, UserId(user.id), sign_in.caller).await;
    let gave_way = gave_way.map_err(|error| ApiError::store(&error))?;
    let event = AuditEvent::SignedIn { method: sign_in.method };
    let signed_in = begin_session(app, &transaction, user, sign_in, event).await?;
    transaction::commit(transaction).await?;
    ending::announce(app, gave_way.as_slice()).await;
    Ok(SignInResponse::SignedIn(signed_in))
}

/// A user has a bounded number of sessions: beyond it those seen longest ago end. More than one if the bound was lowered.
async fn make_room(
    app: &App,
    transaction: &DatabaseTransaction,
    user: UserId,
    caller: &Caller,
) -> Result<Vec<SessionId>, DbErr> {
    let now = app.clock.now();
    let beyond: Vec<Uuid> = session::Entity::live_of(user.0, now.millis())
        .select_only()
        .column(session::Column::Id)
        .order_by_desc(session::Column::LastSeenAt)
        .offset(app.auth.max_sessions_per_user - 1)
        // SQLite takes no offset without a limit; what is left then goes at the next sign-in.
        .limit(MOST_GIVE_WAY)
        .into_tuple()
        .all(transaction)
        .await?;
    let beyond: Vec<_> = beyond.into_iter().map(SessionId).collect();
    if beyond.is_empty() {
        return Ok(Vec::new());
    }
    let ending = Ending { by: Some(user), reason: EndReason::TooMany, caller };
    ending::mark(transaction, user, Which::These(&beyond), now, ending).await
}

/// Begins a session of `user` and records `event`. What it writes takes effect with the transaction.
pub async fn begin_session(
    app: &App,
    transaction: &DatabaseTransaction,
    user: user::Model,
    sign_in: SignIn<'_>,
    event: AuditEvent,
) -> ApiResult<SignedInResponse> {
    let (user_id, session_id, now) = (UserId(user.id), SessionId::new(), app.clock.now());
    let token = app.tokens.refresh_keys().first(session_id).map_err(|error| ApiError::internal(&error))?;
    let row = sessions::begin(transaction, &app.auth, &token, user_id, now, &sign_in).await;
    let row = row.map_err(|error| ApiError::store(&error))?;
    let entry = AuditEntry::own(user_id, event).session(session_id);
    audit::record(transaction, now, sign_in.caller, entry).await.map_err(|error| ApiError::store(&error))?;
    let issued = app.tokens.issue(user_id, session_id, Timestamp::from_millis(row.expires_at));
    let (access_token, expires_in) = issued.map_err(|error| ApiError::internal(&error))?;
    Ok(SignedInResponse {
        user: UserResponse::new(user),
        session_id,
        access_token,
        refresh_token: token.to_text(),
        expires_in,
        token_type: TOKEN_TYPE,
    })
}
