//! What the index needs beside following: a rest between writes, the end of deleted conversations, and a word about how far it is behind.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait as _, LockBehavior, LockType, Query};
use sea_orm::{
    ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_bus::EventLog;
use sealpost_schema::entities::{conversation, search_message, search_term};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::SearchConfig;
use super::follow::CONSUMER;
use crate::transaction::begin_on;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);
/// Messages of one transaction.
const PORTION: u64 = 200;

/// How long the index lets others write after it wrote so many messages in this time. SQLite has one writer: a fifth of it is the index's,
/// at most.
pub fn rest(config: &SearchConfig, messages: usize, took: Duration) -> Duration {
    if config.messages_per_second == 0 {
        return Duration::ZERO;
    }
    let messages = u32::try_from(messages).unwrap_or(u32::MAX);
    let paced = (Duration::from_secs(1) * messages / config.messages_per_second).saturating_sub(took);
    paced.max(took * 4)
}

/// Runs until `stop`, also while search is off: what the index has of deleted conversations goes all the same.
pub async fn upkeep(log: Arc<dyn EventLog>, db: DatabaseConnection, config: SearchConfig, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        if config.enabled
            && let Ok(Some(state)) = log.consumer_state(CONSUMER).await
        {
            #[expect(clippy::cast_precision_loss, reason = "records of seven days are far below 2^52")]
            metrics::gauge!("sealpost_search_behind_records").set((state.pending + state.ack_pending) as f64);
        }
        loop {
            let started = std::time::Instant::now();
            match stop.run_until_cancelled(purge(&db)).await {
                None => return,
                Some(Ok(0)) => break,
                Some(Ok(gone)) => {
                    if stop
                        .run_until_cancelled(tokio::time::sleep(rest(&config, gone, started.elapsed())))
                        .await
                        .is_none()
                    {
                        return;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "the index of deleted conversations stays for now");
                    break;
                }
            }
        }
    }
}

/// Takes some messages of a deleted conversation out of the index. Returns how many; 0: there are none left.
///
/// # Errors
/// What the store says.
pub async fn purge(db: &DatabaseConnection) -> Result<usize, DbErr> {
    let indexed = Query::select()
        .expr(Expr::val(1))
        .from(search_message::Entity)
        .and_where(
            Expr::col((search_message::Entity, search_message::Column::ConversationId))
                .equals((conversation::Entity, conversation::Column::Id)),
        )
        .to_owned();
    let deleted: Option<Uuid> = conversation::Entity::find()
        .select_only()
        .column(conversation::Column::Id)
        .filter(conversation::Column::DeletedAt.is_not_null())
        .filter(Expr::exists(indexed))
        .into_tuple()
        .one(db)
        .await?;
    let Some(deleted) = deleted else { return Ok(0) };
    let transaction = begin_on(db).await?;
    // Another gateway may be at the same.
    let rows = search_message::Entity::find()
        .filter(search_message::Column::ConversationId.eq(deleted))
        .order_by_asc(search_message::Column::MessageId)
        .limit(PORTION)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(&transaction)
        .await?;
    let mut terms: Vec<_> = rows.iter().flat_map(search_message::Model::rows).collect();
    terms.sort_unstable();
    search_term::remove(&transaction, &terms).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.message_id).collect();
    if !ids.is_empty() {
        search_message::Entity::delete_many()
            .filter(search_message::Column::MessageId.is_in(ids.clone()))
            .exec(&transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(ids.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_by_rate_and_by_the_time_that_it_wrote() {
        let config = SearchConfig { messages_per_second: 100, ..SearchConfig::default() };
        let millis = Duration::from_millis;
        assert_eq!(rest(&config, 50, millis(10)), millis(490));
        assert_eq!(rest(&config, 1, millis(10)), millis(40));
        let free = SearchConfig { messages_per_second: 0, ..config };
        assert_eq!(rest(&free, 50, millis(10)), Duration::ZERO);
    }
}
