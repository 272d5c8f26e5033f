//! What is kept of a second factor.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _,
};
use sealpost_schema::entities::{recovery_code, totp, user, waiting_sign_in};
use sealpost_schema::{ProblemKind, Timestamp, UserId};
use totp_rs::Totp;

use super::codes;
use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// Wrong codes in a row that cost nothing.
const FREE_FAILURES: i32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

pub fn wrong() -> ApiError {
    ApiError::new(ProblemKind::WrongCode, "The code is wrong or was used already. Wait for the next one of your app.")
}

/// The codes of a row.
pub fn open(app: &App, row: &totp::Model, account: &str) -> ApiResult<Totp> {
    let secret = app.keys.open_for_user(UserId(row.user_id), &row.wrapped, &row.sealed);
    let secret = secret.map_err(|error| ApiError::internal(&error))?;
    codes::totp(&secret, &app.auth.issuer, account).map_err(|error| ApiError::internal(&error))
}

pub async fn load(db: &impl ConnectionTrait, user: UserId) -> ApiResult<Option<totp::Model>> {
    totp::Entity::of(user.0).one(db).await.map_err(|error| ApiError::store(&error))
}

/// Uses a code up, of the app or a recovery code. An error: it was not good, and that is counted (outside of any transaction).
pub async fn consume(app: &App, user: &user::Model, row: &totp::Model, code: &str) -> ApiResult<()> {
    let now = app.clock.now();
    check_pause(row, now)?;
    let user_id = UserId(user.id);
    let used = if codes::is_totp(code) {
        let code: String = code.chars().filter(char::is_ascii_digit).collect();
        match open(app, row, &user.username)?.check(&code, now.unix_seconds()) {
            Some(step) => take_step(&app.db, user_id, step).await,
            None => Ok(false),
        }
    } else {
        let hash = codes::recovery_hash(user_id, code);
        let own = recovery_code::Entity::delete_many().filter(recovery_code::Column::Hash.eq(hash));
        own.exec(&app.db).await.map(|deleted| deleted.rows_affected == 1)
    };
    if used.map_err(|error| ApiError::store(&error))? {
        return set_failures(&app.db, user_id, Expr::value(0), now).await;
    }
    set_failures(&app.db, user_id, Expr::col(totp::Column::Failures).add(1), now).await?;
    Err(wrong())
}

fn check_pause(row: &totp::Model, now: Timestamp) -> ApiResult<()> {
    if row.failures < FREE_FAILURES {
        return Ok(());
    }
    let doublings = std::cmp::min(u32::try_from(row.failures - FREE_FAILURES).unwrap_or(0), 10);
    let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    if now < Timestamp::from_millis(row.last_failure_at).plus(pause) {
        return Err(ApiError::new(
            ProblemKind::TooManyRequests,
            format!("Too many wrong codes. Wait {} seconds before the next one.", pause.as_secs()),
        ));
    }
    Ok(())
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

async fn set_failures(
    db: &impl ConnectionTrait,
    user: UserId,
    failures: sea_orm::sea_query::SimpleExpr,
    now: Timestamp,
) -> ApiResult<()> {
    let counted = totp::Entity::update_many()
        .col_expr(totp::Column::Failures, failures)
        .col_expr(totp::Column::LastFailureAt, Expr::value(now.millis()))
        .filter(totp::Column::UserId.eq(user.0))
        .exec(db)
        .await;
    counted.map(|_| ()).map_err(|error| ApiError::store(&error))
}

/// In place of one that was never confirmed.
pub async fn begin(transaction: &DatabaseTransaction, row: totp::Model) -> Result<(), DbErr> {
    totp::Entity::delete_by_id(row.user_id).exec(transaction).await?;
    totp::Entity::insert(row.into_active_model()).exec_without_returning(transaction).await.map(|_| ())
}

/// Switches it on, with new recovery codes.
pub async fn confirm(
    transaction: &DatabaseTransaction,
    user: UserId,
    hashes: Vec<Vec<u8>>,
    now: Timestamp,
) -> Result<(), DbErr> {
    set_since(transaction, user, Some(now.millis())).await?;
    recovery_code::Entity::delete_many().filter(recovery_code::Column::UserId.eq(user.0)).exec(transaction).await?;
    let rows = hashes.into_iter().map(|hash| recovery_code::Model { hash, user_id: user.0 }.into_active_model());
    recovery_code::Entity::insert_many(rows).exec_without_returning(transaction).await.map(|_| ())
}

/// Switches it off; nothing of it is left.
pub async fn remove(transaction: &DatabaseTransaction, user: UserId) -> Result<(), DbErr> {
    set_since(transaction, user, None).await?;
    recovery_code::Entity::delete_many().filter(recovery_code::Column::UserId.eq(user.0)).exec(transaction).await?;
    waiting_sign_in::Entity::delete_many().filter(waiting_sign_in::Column::UserId.eq(user.0)).exec(transaction).await?;
    totp::Entity::delete_by_id(user.0).exec(transaction).await.map(|_| ())
}

async fn set_since(transaction: &DatabaseTransaction, user: UserId, since: Option<i64>) -> Result<(), DbErr> {
    let change = user::ActiveModel { second_factor_at: Set(since), ..Default::default() };
    user::Entity::update_many().set(change).filter(user::Column::Id.eq(user.0)).exec(transaction).await.map(|_| ())
}
