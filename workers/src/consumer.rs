//! What the workers on the event log share: opening the consumer, and giving up on a record.

use std::time::Duration;

use sealpost_bus::{Consumer, ConsumerConfig, Delivery, EventLog};
use tokio_util::sync::CancellationToken;

use crate::retry::Backoff;

/// The log's own limit on handing a record out, far above the workers' `max_attempts`. Records that wait for a database which is away
/// are handed out again and again and must not become dead letters for it; a record that kills the process must, some day.
const MAX_DELIVER: u32 = 1000;

/// Opens the consumer, for as long as it takes. `None`: told to stop.
pub(crate) async fn open(
    log: &dyn EventLog,
    name: &str,
    ack_wait: Duration,
    max_ack_pending: u32,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Option<Box<dyn Consumer>> {
    loop {
        let config = ConsumerConfig { name: name.to_owned(), ack_wait, max_deliver: MAX_DELIVER, max_ack_pending };
        match log.consumer(config).await {
            Ok(consumer) => {
                backoff.reset();
                return Some(consumer);
            }
            Err(error) => {
                tracing::warn!(consumer = name, %error, "the consumer could not be opened; trying again");
                if !backoff.wait(stop).await {
                    return None;
                }
            }
        }
    }
}

/// Takes what is there; `None`: told to stop, and nothing was taken.
pub(crate) async fn next_batch(
    consumer: &mut dyn Consumer,
    name: &str,
    max_records: usize,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Option<Vec<Delivery>> {
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            batch = consumer.next_batch(max_records) => batch,
        };
        match batch {
            Ok(batch) => {
                backoff.reset();
                return Some(batch);
            }
            Err(error) => {
                tracing::warn!(consumer = name, %error, "no records could be taken from the log; trying again");
                metrics::counter!("sealpost_log_errors_total", "consumer" => name.to_owned()).increment(1);
                if !backoff.wait(stop).await {
                    return None;
                }
            }
        }
    }
}

/// Moves a record to the dead letters. If that fails the record stays unacked, and comes again.
pub(crate) async fn dead_letter(consumer: &dyn Consumer, name: &str, delivery: &Delivery, reason: &str) {
    let (position, subject) = (delivery.record.position.0, &delivery.record.subject);
    match consumer.dead_letter(delivery, reason).await {
        Ok(()) => {
            tracing::error!(consumer = name, position, %subject, reason, "a record went to the dead letters");
            metrics::counter!("sealpost_dead_letters_total", "consumer" => name.to_owned()).increment(1);
        }
        Err(error) => {
            tracing::error!(consumer = name, position, %subject, reason, %error, "a dead letter could not be written");
        }
    }
}

/// A lost ack means that the records come again, which is harmless.
pub(crate) async fn ack(consumer: &dyn Consumer, name: &str, deliveries: &[Delivery]) {
    if deliveries.is_empty() {
        return;
    }
    if let Err(error) = consumer.ack(deliveries).await {
        tracing::warn!(consumer = name, records = deliveries.len(), %error, "records could not be acked; they will come again");
    }
}
