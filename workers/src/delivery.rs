//! The delivery worker: pushes events from the log to the gateways that have a connection for them.
//!
//! Promised: every record of the log is published, unchanged, on its conversation's live subject at least once, and acked only
//! after it has left this process. Live fan-out itself is at most once: gateways put events in order by seq and fetch what is missing.
//! `tests/workers/delivery.rs` keeps this.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealpost_bus::{Delivery, EventLog, Live, LiveError, Record, Subject, SubjectError, failpoint};
use sealpost_schema::{ControlNotice, Event, EventBody, UserId, live_subject};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::consumer;
use crate::record::{self, BadRecord};
use crate::retry::Backoff;

/// Durable name of the consumer, shared by all delivery workers.
pub const CONSUMER: &str = "delivery";

/// Section `workers.delivery`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryConfig {
    /// Records taken from the log at a time, at most. 500.
    pub max_records: usize,
    /// Longest pause between attempts while the log or live fan-out is away, in milliseconds. 5,000.
    pub retry_max_ms: u64,
    /// Records that were not acked for so long are handed out again, in milliseconds. 30,000.
    pub ack_wait_ms: u64,
    /// Records in the hands of all delivery workers together, at most. 10,000.
    pub max_ack_pending: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self { max_records: 500, retry_max_ms: 5_000, ack_wait_ms: 30_000, max_ack_pending: 10_000 }
    }
}

impl DeliveryConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("workers.delivery.{key} is {value}: use {least} to {most}"));
            }
        };
        let records = u64::try_from(self.max_records).unwrap_or(u64::MAX);
        within("max_records", records, 1, 10_000);
        within("retry_max_ms", self.retry_max_ms, 100, 600_000);
        within("ack_wait_ms", self.ack_wait_ms, 100, 3_600_000);
        within("max_ack_pending", u64::from(self.max_ack_pending), records, u64::from(u32::MAX));
        wrong
    }
}

/// Why one record could not be published.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    #[error(transparent)]
    Bad(#[from] BadRecord),
    #[error(transparent)]
    Subject(#[from] SubjectError),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("a notice could not be written: {0}")]
    Notice(#[from] serde_json::Error),
}

/// Runs until `stop`: then it finishes the batch in hand and returns.
pub async fn run(log: Arc<dyn EventLog>, live: Arc<dyn Live>, config: DeliveryConfig, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(config.retry_max_ms));
    let ack_wait = Duration::from_millis(config.ack_wait_ms);
    let opened = consumer::open(&*log, CONSUMER, ack_wait, config.max_ack_pending, &mut backoff, &stop).await;
    let Some(mut consumer) = opened else { return };
    while let Some(batch) =
        consumer::next_batch(&mut *consumer, CONSUMER, config.max_records, &mut backoff, &stop).await
    {
        let mut done = Vec::with_capacity(batch.len());
        for delivery in batch {
            match publish_patiently(&*live, &delivery, &mut backoff, &stop).await {
                None => return,
                Some(Ok(())) => done.push(delivery),
                Some(Err(reason)) => consumer::dead_letter(&*consumer, CONSUMER, &delivery, &reason).await,
            }
        }
        while let Err(error) = live.flush().await {
            tracing::warn!(%error, "published events could not be flushed; trying again");
            if !backoff.wait(&stop).await {
                return;
            }
        }
        failpoint("delivery-published");
        metrics::counter!("sealpost_delivery_records_total").increment(u64::try_from(done.len()).unwrap_or(0));
        consumer::ack(&*consumer, CONSUMER, &done).await;
    }
}

/// `None`: told to stop while live fan-out is away. `Some(Err)`: the record's own fault, for the dead letters.
async fn publish_patiently(
    live: &dyn Live,
    delivery: &Delivery,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Option<Result<(), String>> {
    loop {
        match publish_record(live, &delivery.record).await {
            Ok(()) => return Some(Ok(())),
            Err(DeliverError::Live(error)) => {
                tracing::warn!(%error, "an event could not be published; trying again");
                metrics::counter!("sealpost_delivery_retries_total").increment(1);
                if !backoff.wait(stop).await {
                    return None;
                }
            }
            Err(error) => return Some(Err(error.to_string())),
        }
    }
}

/// Publishes one record, as the worker does, without a flush.
pub async fn publish_record(live: &dyn Live, record: &Record) -> Result<(), DeliverError> {
    let outline = record::outline(record)?;
    let conversation = outline.conversation_id;
    if outline.has_joins {
        // The notice goes first: a gateway that hears of the newcomer in time subscribes before the events come.
        announce_joins(live, record).await?;
    }
    live.publish(Subject::new(live_subject(conversation))?, record.payload.clone()).await?;
    Ok(())
}

async fn announce_joins(live: &dyn Live, record: &Record) -> Result<(), DeliverError> {
    let (conversation_id, decoded) = record::read(record)?;
    for event in &decoded.events {
        for user_id in joined(event) {
            let notice = ControlNotice::Joined { user_id, conversation_id, seq: event.seq };
            let payload = Bytes::from(serde_json::to_vec(&notice)?);
            live.publish(Subject::new(ControlNotice::SUBJECT)?, payload).await?;
        }
    }
    Ok(())
}

/// Who become participants with this event; the creator, too.
fn joined(event: &Event) -> BTreeSet<UserId> {
    match &event.body {
        EventBody::ConversationCreated { participants, .. } => {
            participants.iter().map(|participant| participant.user_id).chain([event.sender_id]).collect()
        }
        EventBody::ParticipantAdded { user_id, .. } => BTreeSet::from([*user_id]),
        _ => BTreeSet::new(),
    }
}
