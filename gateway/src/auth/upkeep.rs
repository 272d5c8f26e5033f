//! What leaves the store by its age: ended sessions, and rows of the audit log. And counters that nobody needs any more.

use std::time::Duration;

use sea_orm::{ColumnTrait as _, Condition, DbErr, EntityTrait as _, QueryFilter as _};
use sealpost_schema::Timestamp;
use sealpost_schema::entities::{audit, session};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::state::App;

const MINUTE: Duration = Duration::from_mins(1);
/// In minutes.
const EVERY: u64 = 60;
const DAY: Duration = Duration::from_hours(24);

/// Each gateway does it, every hour: doing it twice does no harm.
pub async fn run(app: App, stop: CancellationToken) {
    let mut minutes = 0_u64;
    while stop.run_until_cancelled(tokio::time::sleep(MINUTE)).await.is_some() {
        app.limits.forget_idle();
        minutes += 1;
        if !minutes.is_multiple_of(EVERY) {
            continue;
        }
        if let Err(error) = clean(&app).await {
            tracing::warn!(%error, "what is too old could not be deleted yet");
        }
    }
}

async fn clean(app: &App) -> Result<(), DbErr> {
    let days = |days: u64| app.clock.now().minus(DAY.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
    let before = days(app.auth.ended_session_days).millis();
    let over = Condition::any().add(session::Column::EndedAt.lt(before)).add(session::Column::ExpiresAt.lt(before));
    session::Entity::delete_many().filter(over).exec(&app.db).await?;
    audit::Entity::delete_many()
        .filter(audit::Column::Id.lt(first_id(days(app.auth.audit_days))))
        .exec(&app.db)
        .await?;
    Ok(())
}

/// The smallest UUIDv7 of this moment: ids of the audit log sort by time, so no other index is needed.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.millis()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_before_the_first_one_of_a_moment_are_older() {
        let now = sealpost_schema::Clock::default().now();
        let id = Uuid::now_v7();
        assert!(first_id(now.minus(Duration::from_secs(10))) < id);
        assert!(first_id(now.plus(Duration::from_secs(10))) > id);
    }
}
