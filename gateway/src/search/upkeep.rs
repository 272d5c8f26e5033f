//! What the index needs beside following: the end of deleted conversations, and a word about how far it is behind.

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
use super::pace::Pace;
use crate::transaction::begin_on;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(5);
/// Messages of one transaction.
const PORTION: u64 = 200;

/// Runs until `stop`, also while search is off: what the index has of deleted conversations goes all the same.
pub async fn upkeep(log: Arc<dyn EventLog>, db: DatabaseConnection, config: SearchConfig, stop: CancellationToken) {
    let mut pace = Pace::new(None);
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
                    let rest = tokio::time::sleep(pace.rest(&config, gone, started.elapsed()));
                    if stop.run_until_cancelled(rest).await.is_none() {
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
