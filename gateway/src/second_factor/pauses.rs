//! Wrong codes in a row cost pauses, whatever kind they are of.

use std::time::Duration;

use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, TryInsertResult,
};
use sealpost_schema::entities::code_failure;
use sealpost_schema::{Timestamp, UserId};

use crate::limits::too_many;
use crate::problem::{ApiError, ApiResult};

/// Wrong codes in a row that cost nothing.
const FREE_FAILURES: i32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// Attempts of one user at the same moment that may get past each other.
const TRIES: usize = 20;

/// Counts an attempt as failed before it is made, so that many at once gain nothing. An error: it has to wait.
pub async fn count(db: &impl ConnectionTrait, user: UserId, now: Timestamp) -> ApiResult<()> {
    for _ in 0..TRIES {
        let row = code_failure::Entity::of(user.0).one(db).await.map_err(|error| ApiError::store(&error))?;
        let counted = match row {
            None => first(db, user, now).await,
            Some(row) => {
                if let Some(left) = left(&row, now) {
                    return Err(too_many(left));
                }
                another(db, &row, now).await
            }
        };
        if counted.map_err(|error| ApiError::store(&error))? {
            return Ok(());
        }
    }
    Err(too_many(Duration::from_secs(1)))
}

/// The attempt was good: they begin anew.
pub async fn forget(db: &impl ConnectionTrait, user: UserId) -> Result<(), DbErr> {
    code_failure::Entity::delete_by_id(user.0).exec(db).await.map(|_| ())
}

async fn first(db: &impl ConnectionTrait, user: UserId, now: Timestamp) -> Result<bool, DbErr> {
    let row = code_failure::Model { user_id: user.0, failures: 1, last_failure_at: now.millis() };
    let unless_there = OnConflict::column(code_failure::Column::UserId).do_nothing().to_owned();
    let inserted = code_failure::Entity::insert(row.into_active_model())
        .on_conflict(unless_there)
        .try_insert()
        .exec_without_returning(db);
    Ok(matches!(inserted.await?, TryInsertResult::Inserted(count) if count == 1))
}

/// False: somebody else was counted meanwhile.
async fn another(db: &impl ConnectionTrait, row: &code_failure::Model, now: Timestamp) -> Result<bool, DbErr> {
    let change = code_failure::ActiveModel {
        failures: Set(row.failures.saturating_add(1)),
        last_failure_at: Set(now.millis()),
        ..Default::default()
    };
    let counted = code_failure::Entity::update_many()
        .set(change)
        .filter(code_failure::Column::UserId.eq(row.user_id))
        .filter(code_failure::Column::Failures.eq(row.failures))
        .exec(db)
        .await?;
    Ok(counted.rows_affected == 1)
}

/// What is left of the pause, if anything.
fn left(row: &code_failure::Model, now: Timestamp) -> Option<Duration> {
    let beyond = u32::try_from(row.failures.checked_sub(FREE_FAILURES)?).ok()?;
    let pause = FIRST_PAUSE.saturating_mul(1 << beyond.min(10)).min(LONGEST_PAUSE);
    let left = Timestamp::from_millis(row.last_failure_at).plus(pause).millis() - now.millis();
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_after_five_and_double_up_to_a_quarter_of_an_hour() {
        let row = |failures| code_failure::Model { user_id: UserId::new().0, failures, last_failure_at: 0 };
        let at = |failures| left(&row(failures), Timestamp(0)).map(|left| left.as_secs());
        assert_eq!([at(0), at(4), at(5), at(6), at(7)], [None, None, Some(10), Some(20), Some(40)]);
        assert_eq!((at(50), at(i32::MAX)), (Some(900), Some(900)));
        assert_eq!(left(&row(5), Timestamp(10_000)), None);
    }
}
