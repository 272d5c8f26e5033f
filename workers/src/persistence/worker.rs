//! From deliveries to acks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use sea_orm::{DatabaseConnection, DbErr};
use sealpost_bus::{Consumer, Delivery, Live, Subject, failpoint};
use sealpost_schema::{EventRecord, StoredNotice};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, classify};
use super::notice::notice;
use super::store::{Problem, Stored, claim, store};
use super::{CONSUMER, PersistenceConfig};
use crate::consumer::{ack, dead_letter};
use crate::record;
use crate::retry::Backoff;

pub(super) struct Worker {
    pub live: Arc<dyn Live>,
    pub db: DatabaseConnection,
    pub config: PersistenceConfig,
    pub stop: CancellationToken,
    /// The last batch held nothing that was there already, so the next will not either. After a crash of the log thousands of
    /// batches are replays, and each wrong guess is a line in the database's log.
    pub expect_new: AtomicBool,
}

struct Item {
    delivery: Delivery,
    record: EventRecord,
}

impl Worker {
    /// Returns when every delivery is acked, put back or a dead letter, or when told to stop while the database is away: then the rest
    /// stays unacked, and comes again.
    pub async fn process(&self, consumer: &dyn Consumer, deliveries: Vec<Delivery>) {
        let mut items = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match record::read(&delivery.record) {
                Ok((_, record)) => items.push(Item { delivery, record }),
                Err(reason) => dead_letter(consumer, CONSUMER, &delivery, &reason.to_string()).await,
            }
        }
        // A stack of groups, first on top.
        let mut groups = self.groups(items);
        while let Some(mut group) = groups.pop() {
            match self.store(&group).await {
                None => return,
                Some(Ok(stored)) => self.finish(consumer, group, &stored).await,
                // One record spoils the batch: halving finds it in a few steps, and stores its neighbours.
                Some(Err(_)) if group.len() > 1 => {
                    let second = group.split_off(group.len() / 2);
                    groups.push(second);
                    groups.push(group);
                }
                Some(Err(error)) => {
                    for item in &group {
                        self.put_back(consumer, &item.delivery, &error.to_string()).await;
                    }
                }
            }
        }
    }

    /// Cuts a batch into transactions; the first is the last of the list.
    fn groups(&self, items: Vec<Item>) -> Vec<Vec<Item>> {
        let (mut groups, mut group, mut events) = (Vec::new(), Vec::new(), 0);
        for item in items {
            if !group.is_empty() && events + item.record.events.len() > self.config.max_events {
                groups.push(std::mem::take(&mut group));
                events = 0;
            }
            events += item.record.events.len();
            group.push(item);
        }
        if !group.is_empty() {
            groups.push(group);
        }
        groups.reverse();
        groups
    }

    /// Stores a group, trying again for as long as the database is away. `None`: told to stop meanwhile. `Some(Err)`: the data's fault.
    async fn store(&self, group: &[Item]) -> Option<Result<Stored, DbErr>> {
        let mut backoff = Backoff::new(self.config.retry_max());
        loop {
            let started = Instant::now();
            let events = group.iter().flat_map(|item| &item.record.events).map(|event| &**event);
            match store(&self.db, events, self.expect_new.load(Ordering::Relaxed)).await {
                Ok(stored) => {
                    self.expect_new.store(!stored.refused, Ordering::Relaxed);
                    observe(group, &stored, started);
                    return Some(Ok(stored));
                }
                Err(error) if classify(&error) == Failure::Lasting => {
                    tracing::warn!(records = group.len(), %error, "the database refused a batch for good");
                    return Some(Err(error));
                }
                Err(error) => {
                    tracing::warn!(records = group.len(), %error, "a batch could not be stored; trying again");
                    metrics::counter!("sealpost_persistence_retries_total").increment(1);
                    if !backoff.wait(&self.stop).await {
                        return None;
                    }
                }
            }
        }
    }

    /// After the commit: announce, then ack.
    async fn finish(&self, consumer: &dyn Consumer, group: Vec<Item>, stored: &Stored) {
        announce(&*self.live, &notice(group.iter().map(|item| &item.record), stored)).await;
        failpoint("store-announced");
        let mut done = Vec::with_capacity(group.len());
        for Item { delivery, record } in group {
            match worst(&record, stored) {
                None => done.push(delivery),
                Some(problem @ Problem::BaseMissing { .. }) => {
                    self.put_back(consumer, &delivery, &problem.to_string()).await;
                }
                Some(problem) => dead_letter(consumer, CONSUMER, &delivery, &problem.to_string()).await,
            }
        }
        ack(consumer, CONSUMER, &done).await;
    }

    /// For later, or to the dead letters after too many attempts.
    async fn put_back(&self, consumer: &dyn Consumer, delivery: &Delivery, reason: &str) {
        if delivery.attempt >= self.config.max_attempts {
            return dead_letter(consumer, CONSUMER, delivery, reason).await;
        }
        let (position, attempt) = (delivery.record.position.0, delivery.attempt);
        let delay = self.config.put_back_delay(attempt);
        tracing::warn!(position, attempt, ?delay, reason, "a record was put back");
        metrics::counter!("sealpost_persistence_put_back_total").increment(1);
        if let Err(error) = consumer.put_back(delivery, delay).await {
            tracing::warn!(position, %error, "a record could not be put back; it comes again by itself");
        }
    }
}

/// The problem that decides what becomes of the record: a clash needs a person, a missing base only time.
fn worst<'a>(record: &EventRecord, stored: &'a Stored) -> Option<&'a Problem> {
    if stored.problems.is_empty() {
        return None;
    }
    let problems = record.events.iter().filter_map(|event| stored.problems.get(&claim(event)));
    problems.min_by_key(|problem| matches!(problem, Problem::BaseMissing { .. }))
}

/// Failing to announce is no failure: gateways that wait find out from the store.
pub(crate) async fn announce(live: &dyn Live, notice: &StoredNotice) {
    if notice.stored.is_empty() && notice.voided.is_empty() {
        return;
    }
    let sent = async {
        let subject = Subject::new(StoredNotice::SUBJECT).map_err(|error| error.to_string())?;
        let payload = serde_json::to_vec(notice).map_err(|error| error.to_string())?;
        live.publish(subject, Bytes::from(payload)).await.map_err(|error| error.to_string())
    };
    if let Err(error) = sent.await {
        tracing::warn!(error, "stored events could not be announced");
        metrics::counter!("sealpost_persistence_unannounced_total").increment(1);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a batch's size is far below 2^52")]
fn observe(group: &[Item], stored: &Stored, started: Instant) {
    let events: usize = group.iter().map(|item| item.record.events.len()).sum();
    metrics::histogram!("sealpost_persistence_batch_seconds").record(started.elapsed().as_secs_f64());
    metrics::histogram!("sealpost_persistence_batch_events").record(events as f64);
    metrics::counter!("sealpost_persistence_events_stored_total").increment(stored.inserted);
    tracing::debug!(records = group.len(), events, inserted = stored.inserted, "a batch is stored");
}
