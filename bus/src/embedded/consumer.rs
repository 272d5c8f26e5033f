//! One holder of a consumer name.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bus::Inner;
use super::cursor::Taken;
use super::database;
use super::shared::{Command, SharedConsumer, lock};
use crate::{Consumer, DeadLetter, Delivery, LogError, Record};

pub(super) struct EmbeddedConsumer {
    inner: Arc<Inner>,
    shared: Arc<SharedConsumer>,
    committed: watch::Receiver<u64>,
    changed: watch::Receiver<u64>,
    // A log that closes wakes its waiting consumers.
    connection: watch::Receiver<crate::Connection>,
}

impl EmbeddedConsumer {
    pub(super) fn new(inner: Arc<Inner>, shared: Arc<SharedConsumer>) -> Self {
        let committed = inner.shared.committed.subscribe();
        let (changed, connection) = (shared.changed.subscribe(), inner.connection());
        Self { inner, shared, committed, changed, connection }
    }

    /// Takes what is due and what is new, without waiting for more.
    async fn take(&mut self, limit: usize) -> Result<Taken, LogError> {
        loop {
            let mut taken = Taken::default();
            let (after, room) = {
                let mut cursor = lock(&self.shared.cursor);
                let now = Instant::now();
                cursor.take_due(now, limit, &mut taken);
                let room = cursor.room().min(limit - taken.deliveries.len());
                let after = cursor.position();
                if room == 0 {
                    return Ok(taken);
                }
                if let Some(records) = self.inner.shared.tail().after(after, room) {
                    cursor.take_fresh(records, now, &mut taken);
                    return Ok(taken);
                }
                (after, room)
            };
            if !taken.deliveries.is_empty() || !taken.exhausted.is_empty() {
                return Ok(taken);
            }
            let records = self.inner.readers.run(move |connection| database::after(connection, after, room)).await?;
            let mut cursor = lock(&self.shared.cursor);
            // Another holder may have read the same ones and been faster: then look again.
            if cursor.position() == after {
                cursor.take_fresh(records, Instant::now(), &mut taken);
                return Ok(taken);
            }
        }
    }

    fn touched(&self) {
        self.inner.shared.mark_dirty(&self.shared);
    }

    /// Somebody who waits for room or for a deadline must look again.
    fn wake(&self) {
        self.shared.changed.send_modify(|count| *count += 1);
    }

    async fn bury(&self, record: Record, attempts: u32, reason: &str) -> Result<(), LogError> {
        let position = record.position.0;
        let (consumer, reason) = (self.shared.name.clone(), reason.to_owned());
        let letter = DeadLetter { number: 0, consumer, reason, attempts, record };
        self.inner.write(|reply| Command::InsertLetter(Box::new(letter), reply)).await?;
        lock(&self.shared.cursor).ack(position);
        self.touched();
        self.wake();
        Ok(())
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next_batch(&mut self, max_records: usize) -> Result<Vec<Delivery>, LogError> {
        loop {
            // Marked as seen before looking, so that a change after the look wakes.
            self.committed.borrow_and_update();
            self.changed.borrow_and_update();
            if !self.connection.borrow_and_update().up {
                return Err(LogError::Unavailable("the log is closed".into()));
            }
            let taken = self.take(max_records.max(1)).await?;
            if !taken.deliveries.is_empty() || !taken.exhausted.is_empty() {
                self.touched();
            }
            let buried_some = !taken.exhausted.is_empty();
            for (record, attempts) in taken.exhausted {
                let position = record.position.0;
                if let Err(error) = self.bury(record, attempts, "handed out too often without an ack").await {
                    tracing::warn!(%error, position, "a dead letter could not be written; the record comes up again");
                }
            }
            if !taken.deliveries.is_empty() {
                return Ok(taken.deliveries);
            }
            if buried_some {
                continue;
            }
            let deadline = async {
                match taken.wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.committed.changed() => {}
                _ = self.changed.changed() => {}
                _ = self.connection.changed() => {}
                () = deadline => {}
            }
        }
    }

    async fn ack(&self, deliveries: &[Delivery]) -> Result<(), LogError> {
        let mut cursor = lock(&self.shared.cursor);
        let was_full = cursor.room() == 0;
        for delivery in deliveries {
            cursor.ack(delivery.record.position.0);
        }
        drop(cursor);
        self.touched();
        if was_full {
            self.wake();
        }
        Ok(())
    }

    async fn put_back(&self, delivery: &Delivery, delay: Duration) -> Result<(), LogError> {
        lock(&self.shared.cursor).put_back(delivery, Instant::now() + delay);
        self.wake();
        Ok(())
    }

    async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), LogError> {
        self.bury(delivery.record.clone(), delivery.attempt, reason).await
    }
}
