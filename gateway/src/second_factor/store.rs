//! What is kept of a second factor.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QuerySelect as _,
};
use sealpost_schema::entities::{passkey, recovery_code, totp, user, waiting_sign_in};
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use totp_rs::Totp;

use super::{codes, pauses};
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

pub fn wrong() -> ApiError {
    ApiError::new(ProblemKind::WrongCode, "The code is wrong or was used already. Wait for the next one of your app.")
}

/// The codes of a row.
pub fn open(app: &App, row: &totp::Model, account: &str) -> ApiResult<Totp> {
    let secret = app.keys.open_for_user(UserId(row.user_id), &row.wrapped, &row.sealed);
    let secret = secret.map_err(|error| ApiError::internal(&error))?;
    codes::totp(&secret, &app.auth.issuer, account).map_err(|error| ApiError::internal(&error))
}

/// Of somebody who began with one-time codes, confirmed or not.
pub async fn load(db: &impl ConnectionTrait, user: UserId) -> ApiResult<Option<totp::Model>> {
    totp::Entity::of(user.0).one(db).await.map_err(|error| ApiError::store(&error))
}

/// Uses a code up, of the app (if there is one) or a recovery code. An error: it was not good, and that is counted (outside of any
/// transaction).
pub async fn consume(app: &App, user: &user::Model, row: Option<&totp::Model>, code: &str) -> ApiResult<()> {
    let (user_id, now) = (UserId(user.id), app.clock.now());
    pauses::count(&app.db, user_id, now).await?;
    let used = if codes::is_totp(code) {
        let code: String = code.chars().filter(char::is_ascii_digit).collect();
        let step = row.map(|row| open(app, row, &user.username)).transpose()?;
        match step.and_then(|totp| totp.check(&code, now.unix_seconds())) {
            Some(step) => take_step(&app.db, user_id, step).await,
            None => Ok(false),
        }
    } else {
        let hash = codes::recovery_hash(user_id, code);
        let own = recovery_code::Entity::delete_many().filter(recovery_code::Column::Hash.eq(hash));
        own.exec(&app.db).await.map(|deleted| deleted.rows_affected == 1)
    };
    if !used.map_err(|error| ApiError::store(&error))? {
        return Err(wrong());
    }
    pauses::forget(&app.db, user_id).await.map_err(|error| ApiError::store(&error))
}

/// Steps only rise: of two uses of one code one succeeds.
async fn take_step(db: &impl ConnectionTrait, user: UserId, step: u64) -> Result<bool, DbErr> {
    let step = i64::try_from(step).unwrap_or(i64::MAX);
    let taken = totp::Entity::update_many()
        .set(totp::ActiveModel { last_step: Set(step), ..Default::default() })
        .filter(totp::Column::UserId.eq(user.0))
        .filter(totp::Column::LastStep.lt(step))
        .exec(db)
        .await?;
    Ok(taken.rows_affected == 1)
}

/// In place of one that was never confirmed.
pub async fn begin(transaction: &DatabaseTransaction, row: totp::Model) -> Result<(), DbErr> {
    totp::Entity::delete_by_id(row.user_id).exec(transaction).await?;
    totp::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await.map(|_| ())
}

/// Switches one-time codes on. False: another request was faster, or they were begun anew.
pub async fn confirm(
    transaction: &DatabaseTransaction,
    user: UserId,
    sealed: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let confirmed = totp::Entity::update_many()
        .set(totp::ActiveModel { confirmed_at: Set(Some(now.millis())), ..Default::default() })
        .filter(totp::Column::UserId.eq(user.0))
        .filter(totp::Column::Sealed.eq(sealed))
        .filter(totp::Column::ConfirmedAt.is_null())
        .exec(transaction)
        .await?;
    settle(transaction, user, now).await?;
    Ok(confirmed.rows_affected == 1)
}

/// Switches one-time codes off. If nothing else is there, nothing of a second factor is left.
pub async fn remove(transaction: &DatabaseTransaction, user: UserId, now: Timestamp) -> Result<(), DbErr> {
    totp::Entity::delete_by_id(user.0).exec(transaction).await?;
    waiting_sign_in::Entity::delete_many().filter(waiting_sign_in::Column::UserId.eq(user.0)).exec(transaction).await?;
    settle(transaction, user, now).await.map(|_| ())
}

/// What somebody can show as second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    pub totp: bool,
    pub passkeys: u64,
}

impl Factors {
    pub async fn of(db: &impl ConnectionTrait, user: UserId) -> Result<Self, DbErr> {
        let totp = totp::Entity::confirmed_of(user.0).count(db).await? > 0;
        Ok(Self { totp, passkeys: passkey::Entity::of(user.0).count(db).await? })
    }

    pub fn any(self) -> bool {
        self.totp || self.passkeys > 0
    }
}

/// One change of a user's factors at a time; the account as it is now.
pub async fn lock(transaction: &DatabaseTransaction, user: UserId) -> Result<Option<user::Model>, DbErr> {
    user::Entity::active_by_id(user.0).lock_exclusive().one(transaction).await
}

/// After factors came or went: whether a sign-in needs one. True: it does since now.
pub async fn settle(transaction: &DatabaseTransaction, user: UserId, now: Timestamp) -> Result<bool, DbErr> {
    let needed = Factors::of(transaction, user).await?.any();
    let since = needed.then(|| now.millis());
    let change = user::ActiveModel { second_factor_at: Set(since), ..Default::default() };
    let wrong =
        if needed { user::Column::SecondFactorAt.is_null() } else { user::Column::SecondFactorAt.is_not_null() };
    let own = user::Entity::update_many().set(change).filter(user::Column::Id.eq(user.0)).filter(wrong);
    let changed = own.exec(transaction).await?.rows_affected == 1;
    if !needed {
        recovery_code::Entity::delete_many().filter(recovery_code::Column::UserId.eq(user.0)).exec(transaction).await?;
        pauses::forget(transaction, user).await?;
    }
    Ok(changed && needed)
}
