//! What happens to accounts from outside: made, promoted, disabled, given a new password. For admins over the API and for the operator on
//! the command line. Each function is one transaction with its row in the audit log.

use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, SqlErr,
};
use sealpost_schema::entities::{api_token, user};
use sealpost_schema::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use crate::audit::{self, AuditEntry, AuditEvent, EndReason, PasswordChange};
use crate::auth::{Ending, Which, mark_ended};
use crate::caller::Caller;
use crate::mail;
use crate::transaction::begin_on;

/// What a user may do on this server, beside their roles in conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerRole {
    User,
    Admin,
}

impl ServerRole {
    /// As the database has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => user::USER,
            Self::Admin => user::ADMIN,
        }
    }

    pub fn parse(text: &str) -> Self {
        if text == user::ADMIN { Self::Admin } else { Self::User }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no such user")]
    NotFound,
    #[error("somebody has this user name or email already")]
    Taken,
    #[error("the account was changed meanwhile")]
    Changed,
    #[error("the store did not do it: {0}")]
    Store(#[from] DbErr),
}

/// Who does it, when, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// None: the operator.
    pub by: Option<UserId>,
    pub caller: &'a Caller,
    pub now: Timestamp,
}

impl Act<'_> {
    async fn record(self, db: &DatabaseTransaction, user: UserId, event: AuditEvent) -> Result<(), DbErr> {
        let entry = AuditEntry { actor: self.by, ..AuditEntry::to(Some(user), event) };
        audit::record(db, self.now, self.caller, entry).await
    }

    async fn end_sessions(
        self,
        db: &DatabaseTransaction,
        user: UserId,
        keep: Option<SessionId>,
        reason: EndReason,
    ) -> Result<Vec<SessionId>, DbErr> {
        let ending = Ending { by: self.by, reason, caller: self.caller };
        mark_ended(db, user, Which::AllBut(keep), self.now, ending).await
    }
}

/// The user with this name, also if disabled.
pub async fn find(db: &DatabaseConnection, username: &str) -> Result<Option<user::Model>, DbErr> {
    user::Entity::everybody().filter(user::Column::Username.eq(username.to_lowercase())).one(db).await
}

/// Makes an account, without a session.
pub async fn create(db: &DatabaseConnection, user: user::Model, act: Act<'_>) -> Result<(), AccountError> {
    let transaction = begin_on(db).await?;
    let (id, role) = (UserId(user.id), ServerRole::parse(&user.role));
    let inserted = user::Entity::insert(user.into_active_model()).exec_without_returning(&transaction).await;
    inserted.map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => AccountError::Taken,
        _ => error.into(),
    })?;
    act.record(&transaction, id, AuditEvent::UserCreated {}).await?;
    if role == ServerRole::Admin {
        act.record(&transaction, id, AuditEvent::RoleChanged { role }).await?;
    }
    Ok(transaction.commit().await?)
}

/// Takes effect with the next request: the role is asked of the store.
pub async fn set_role(
    db: &DatabaseConnection,
    user: UserId,
    role: ServerRole,
    act: Act<'_>,
) -> Result<(), AccountError> {
    let transaction = begin_on(db).await?;
    let change = user::ActiveModel { role: Set(role.as_str().to_owned()), ..Default::default() };
    let other = user::Column::Role.ne(role.as_str());
    if update(&transaction, user, change, Some(other)).await? {
        act.record(&transaction, user, AuditEvent::RoleChanged { role }).await?;
    }
    Ok(transaction.commit().await?)
}

/// Ends all sessions of the user, who cannot sign in any more. Returns the sessions that a gateway has to
/// [announce](crate::auth::announce); gateways also find them in the store within a second.
pub async fn disable(db: &DatabaseConnection, user: UserId, act: Act<'_>) -> Result<Vec<SessionId>, AccountError> {
    let transaction = begin_on(db).await?;
    let change = user::ActiveModel { disabled_at: Set(Some(act.now.millis())), ..Default::default() };
    if update(&transaction, user, change, Some(user::Column::DisabledAt.is_null())).await? {
        act.record(&transaction, user, AuditEvent::UserDisabled {}).await?;
    }
    let mut ended = act.end_sessions(&transaction, user, None, EndReason::UserDisabled).await?;
    // Its API tokens are good again when it is enabled again, but no gateway may go on with what it remembers.
    let tokens = api_token::Entity::update_many()
        .set(api_token::ActiveModel { changed_at: Set(act.now.millis()), ..Default::default() })
        .filter(api_token::Column::UserId.eq(user.0))
        .filter(api_token::Column::RevokedAt.is_null())
        .exec_with_returning(&transaction)
        .await?;
    ended.extend(tokens.iter().map(|token| SessionId(token.id)));
    transaction.commit().await?;
    Ok(ended)
}

/// The user can sign in again.
pub async fn enable(db: &DatabaseConnection, user: UserId, act: Act<'_>) -> Result<(), AccountError> {
    let transaction = begin_on(db).await?;
    let change = user::ActiveModel { disabled_at: Set(None), ..Default::default() };
    if update(&transaction, user, change, Some(user::Column::DisabledAt.is_not_null())).await? {
        act.record(&transaction, user, AuditEvent::UserEnabled {}).await?;
    }
    Ok(transaction.commit().await?)
}

/// A password to store, and how it came.
pub struct NewPassword<'a> {
    pub hash: String,
    /// The hash that was checked before. If the account has another one by now or is disabled, nothing changes. None: whatever there is.
    pub instead_of: Option<&'a str>,
    pub by: PasswordChange,
    /// The session that goes on.
    pub keep: Option<SessionId>,
}

/// The one way in which a password is replaced. All links in mails are void, all sessions but `keep` end. Takes effect with the
/// transaction; returns the sessions to announce after it, as [`disable`] does.
pub async fn set_password(
    db: &DatabaseTransaction,
    user: UserId,
    new: NewPassword<'_>,
    act: Act<'_>,
) -> Result<Vec<SessionId>, AccountError> {
    let change = user::ActiveModel { password_hash: Set(new.hash), ..Default::default() };
    let unchanged = |hash| user::Column::PasswordHash.eq(hash).and(user::Column::DisabledAt.is_null());
    if !update(db, user, change, new.instead_of.map(unchanged)).await? {
        return Err(AccountError::Changed);
    }
    mail::void_links(db, user).await?;
    act.record(db, user, AuditEvent::PasswordChanged { by: new.by }).await?;
    Ok(act.end_sessions(db, user, new.keep, EndReason::PasswordChanged).await?)
}

/// The same by itself, for those who have no transaction.
pub async fn replace_password(
    db: &DatabaseConnection,
    user: UserId,
    new: NewPassword<'_>,
    act: Act<'_>,
) -> Result<Vec<SessionId>, AccountError> {
    let transaction = begin_on(db).await?;
    let ended = set_password(&transaction, user, new, act).await?;
    transaction.commit().await?;
    Ok(ended)
}

/// False: nothing had to be changed.
async fn update(
    db: &DatabaseTransaction,
    id: UserId,
    change: user::ActiveModel,
    only_if: Option<sea_orm::sea_query::SimpleExpr>,
) -> Result<bool, AccountError> {
    let mut update = user::Entity::update_many().set(change).filter(user::Column::Id.eq(id.0));
    if let Some(only_if) = only_if {
        update = update.filter(only_if);
    }
    if update.exec(db).await?.rows_affected == 1 {
        return Ok(true);
    }
    let there = user::Entity::everybody().filter(user::Column::Id.eq(id.0)).one(db).await?;
    there.map(|_| false).ok_or(AccountError::NotFound)
}
