//! Destroys what has disappeared, and the keys that it was sealed under.
//!
//! From its moment on gateways show nothing of a message that disappears; this takes it out of the store. Copies of the envelope are elsewhere
//! for a while (the event log, backups): they say nothing once the key is gone, which goes with the last message that it sealed.

use std::time::Duration;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use sealpost_schema::entities::{conversation_key, event};
use sealpost_schema::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{TimersConfig, tell_late};
use crate::persistence::destroy;
use crate::retry::Backoff;
use crate::transaction::begin;

pub(super) struct Destroyer {
    pub db: DatabaseConnection,
    pub config: TimersConfig,
    pub clock: Clock,
}

pub(super) async fn run(destroyer: Destroyer, stop: CancellationToken) {
    let mut backoff = Backoff::new(destroyer.config.retry_max());
    while !stop.is_cancelled() {
        let pause = match destroyer.round(&stop).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "what has disappeared could not be destroyed yet; trying again");
                if !backoff.wait(&stop).await {
                    return;
                }
                continue;
            }
        };
        backoff.reset();
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

impl Destroyer {
    /// Does what is due; says how long there is nothing to do, as far as is known.
    async fn round(&self, stop: &CancellationToken) -> Result<Duration, DbErr> {
        let mut next = self.next_message().await?;
        let due = |next: Option<Timestamp>| next.is_some_and(|next| next <= self.clock.now());
        while due(next) && !stop.is_cancelled() && self.destroy_messages().await? > 0 {
            next = self.next_message().await?;
        }
        let mut next_key = self.next_key().await?;
        if due(next_key) {
            self.destroy_keys().await?;
            next_key = self.next_key().await?;
        }
        let now = self.clock.now();
        let late = next.map_or(0, |next| (now.millis() - next.millis()).max(0));
        tell_late("sealpost_expiry_late_seconds", late);
        let until = |moment: Timestamp| Duration::from_millis(super::millis_until(now, moment));
        let pause = [next, next_key].into_iter().flatten().map(until).min().unwrap_or(Duration::MAX);
        // Another worker may be at what is due.
        Ok(pause.clamp(super::MIN_PAUSE, self.config.interval().max(super::MIN_PAUSE)))
    }

    async fn next_message(&self) -> Result<Option<Timestamp>, DbErr> {
        let least: Option<Option<i64>> = event::Entity::find()
            .select_only()
            .column_as(event::Column::ExpiresAt.min(), "least")
            .filter(event::Column::ExpiresAt.is_not_null())
            .filter(event::Column::Sealed.is_not_null())
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(least.flatten().map(Timestamp::from_millis))
    }

    async fn next_key(&self) -> Result<Option<Timestamp>, DbErr> {
        let least: Option<Option<i64>> = conversation_key::Entity::find()
            .select_only()
            .column_as(conversation_key::Column::ExpiresAt.min(), "least")
            .filter(conversation_key::Column::ExpiresAt.is_not_null())
            .into_tuple()
            .one(&self.db)
            .await?;
        Ok(least.flatten().map(Timestamp::from_millis))
    }

    /// A portion; how many they were. Those that another worker holds, or that are being changed now, are left for the next time.
    async fn destroy_messages(&self) -> Result<usize, DbErr> {
        let transaction = begin(&self.db).await?;
        let ids: Vec<Uuid> = event::Entity::find()
            .select_only()
            .column(event::Column::Id)
            .filter(event::Column::ExpiresAt.lte(self.clock.now().millis()))
            .filter(event::Column::Sealed.is_not_null())
            .order_by_asc(event::Column::ExpiresAt)
            .limit(self.config.page)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(&transaction)
            .await?;
        destroy::messages(&transaction, &ids).await?;
        transaction.commit().await?;
        metrics::counter!("sealpost_expired_messages_total").increment(ids.len() as u64);
        Ok(ids.len())
    }

    async fn destroy_keys(&self) -> Result<(), DbErr> {
        let destroyed = conversation_key::Entity::delete_many()
            .filter(conversation_key::Column::ExpiresAt.lte(self.clock.now().millis()))
            .exec(&self.db)
            .await?;
        metrics::counter!("sealpost_keys_destroyed_total").increment(destroyed.rows_affected);
        Ok(())
    }
}
