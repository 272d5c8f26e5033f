//! A durable consumer of the simulated broker: at least once, out of order when it comes again.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use sealpost_bus::{Consumer, ConsumerConfig, ConsumerState, DeadLetter, Delivery, LogError, Record};
use tokio::time::{Instant, sleep};

use super::broker::{Log, changed};
use super::defect::Defect;

/// What a consumer name has been handed out.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Handed out up to here.
    at: u64,
    /// Not acked: attempts so far, and when it comes again.
    open: BTreeMap<u64, (u32, Instant)>,
}

impl Cursor {
    /// After a crash of the broker: what was handed out comes again at once.
    pub fn restart(&mut self) {
        let now = Instant::now();
        self.open.values_mut().for_each(|(_, due)| *due = now);
    }

    pub fn state(&self, records: &BTreeMap<u64, Record>) -> ConsumerState {
        let ack_pending = self.open.keys().filter(|position| records.contains_key(position)).count() as u64;
        ConsumerState { pending: records.range(self.at + 1..).count() as u64, ack_pending }
    }
}

pub struct SimulatedConsumer {
    pub log: Log,
    pub config: ConsumerConfig,
}

impl SimulatedConsumer {
    /// What is due and what is new; and when something will be due.
    fn take(&self, max: usize) -> (Vec<Delivery>, Option<Instant>) {
        let broker = &self.log.broker;
        let mut state = broker.state();
        let state = &mut *state;
        let cursor = state.consumers.entry(self.config.name.clone()).or_default();
        let now = Instant::now();
        let records = &state.records;
        cursor.open.retain(|position, _| records.contains_key(position));
        let mut taken: Vec<u64> =
            cursor.open.iter().filter(|(_, (_, due))| *due <= now).map(|(position, _)| *position).take(max).collect();
        // What comes again comes in any order.
        broker.chance.shuffle(&mut taken);
        let fresh: Vec<u64> = records.range(cursor.at + 1..).map(|(at, _)| *at).take(max - taken.len()).collect();
        cursor.at = fresh.last().copied().unwrap_or(cursor.at);
        taken.extend(fresh);
        let mut deliveries = Vec::new();
        for position in taken {
            let (attempt, due) = cursor.open.entry(position).or_insert((0, now));
            *attempt += 1;
            *due = now + self.config.ack_wait;
            deliveries.push(Delivery::new(records[&position].clone(), *attempt));
            if broker.defect == Some(Defect::AckBeforeCommit) {
                cursor.open.remove(&position);
            }
        }
        let next = cursor.open.values().map(|(_, due)| *due).min();
        (deliveries, next)
    }
}

#[async_trait]
impl Consumer for SimulatedConsumer {
    async fn next_batch(&mut self, max_records: usize) -> Result<Vec<Delivery>, LogError> {
        let broker = self.log.broker.clone();
        loop {
            self.log.life.alive().await;
            broker.delay().await;
            self.log.life.alive().await;
            if broker.is_away() || broker.happens(5) {
                return Err(LogError::Unavailable("simulated: away".to_owned()));
            }
            // Small batches show more ways of sharing work.
            let max = 1 + broker.chance.below(max_records.min(8));
            let (deliveries, next) = self.take(max);
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            changed(&broker, next).await;
        }
    }

    async fn ack(&self, deliveries: &[Delivery]) -> Result<(), LogError> {
        self.log.life.alive().await;
        let broker = &self.log.broker;
        if broker.happens(broker.nature.killed_at_point) {
            self.log.life.end();
            self.log.life.alive().await;
        }
        if broker.is_away() {
            return Err(LogError::Unavailable("simulated: away".to_owned()));
        }
        for delivery in deliveries {
            if !broker.happens(broker.nature.ack_lost) {
                let mut state = broker.state();
                if let Some(cursor) = state.consumers.get_mut(&self.config.name) {
                    cursor.open.remove(&delivery.record.position.0);
                }
            }
        }
        Ok(())
    }

    async fn put_back(&self, delivery: &Delivery, delay: Duration) -> Result<(), LogError> {
        self.log.life.alive().await;
        let mut state = self.log.broker.state();
        let cursor = state.consumers.get_mut(&self.config.name);
        if let Some((_, due)) = cursor.and_then(|cursor| cursor.open.get_mut(&delivery.record.position.0)) {
            *due = Instant::now() + delay;
        }
        drop(state);
        self.log.broker.changed.notify_waiters();
        Ok(())
    }

    async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), LogError> {
        self.log.life.alive().await;
        sleep(Duration::from_millis(1)).await;
        let mut state = self.log.broker.state();
        let number = state.letters.len() as u64 + 1;
        state.letters.push(DeadLetter {
            number,
            consumer: self.config.name.clone(),
            reason: reason.to_owned(),
            attempts: delivery.attempt,
            record: delivery.record.clone(),
        });
        if let Some(cursor) = state.consumers.get_mut(&self.config.name) {
            cursor.open.remove(&delivery.record.position.0);
        }
        Ok(())
    }
}
