//! The index follows the event log.
//!
//! A durable consumer of its own, shared by all gateways, since workers have no keys. A record says which messages are new or changed; what
//! they say is read from the store, so a record waits until its events are stored. It is acked when the index has them. What gathers while
//! indexing is slow or off waits in the log, up to the log's age limit; `sealpost search rebuild` fills what was missed beyond that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement};
use sealpost_bus::{Consumer, ConsumerConfig, Delivery, EventLog};
use sealpost_schema::{ConversationId, EventBody, EventRecord, Seq, chat_subject};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::config::SearchConfig;
use super::index::Indexer;
use super::pace::{Pace, Traffic};
use crate::problem::is_connection_error;

/// Durable name of the consumer, shared by all gateways.
pub const CONSUMER: &str = "search";

/// Records in the hands of all gateways together: with 128 events each the work of half a minute.
const MAX_ACK_PENDING: u32 = 100;
/// Longer than that work takes.
const ACK_WAIT: Duration = Duration::from_mins(2);
/// Nobody looks at what the index cannot take: it is made of what the store has, and can be made anew.
const NEVER: u32 = u32::MAX;
/// Events that are not stored are looked for again after these, and then put back.
const STORED_SOON: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
];
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_mins(1);
/// After so many attempts, some hours, a record is given up: what was never stored is nothing to be found.
const MAX_ATTEMPTS: u32 = 200;
/// Between attempts while the log or the store is away, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A record, and what it says to do.
struct Item {
    delivery: Delivery,
    conversation_id: ConversationId,
    first: Seq,
    last: Seq,
    messages: Vec<Uuid>,
}

/// Runs until `stop`. Failures of the log and of the store are waited out. `traffic`: what passes through this process.
pub async fn follow(
    log: Arc<dyn EventLog>,
    indexer: Indexer,
    config: SearchConfig,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) {
    let mut pace = Pace::new(Some(traffic));
    let mut pause = Pause::default();
    let mut consumer = loop {
        let wanted = ConsumerConfig {
            name: CONSUMER.to_owned(),
            ack_wait: ACK_WAIT,
            max_deliver: NEVER,
            max_ack_pending: MAX_ACK_PENDING,
        };
        match log.consumer(wanted).await {
            Ok(consumer) => break consumer,
            Err(error) => tracing::debug!(%error, "the index cannot follow the log yet"),
        }
        if !pause.wait(&stop).await {
            return;
        }
    };
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            batch = consumer.next_batch(MAX_ACK_PENDING as usize) => batch,
        };
        match batch {
            Ok(batch) => {
                pause.reset();
                // What is not acked when it is told to stop comes again.
                if stop.run_until_cancelled(process(&*consumer, &indexer, &config, &mut pace, batch)).await.is_none() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no records for the index could be taken from the log; trying again");
                if !pause.wait(&stop).await {
                    return;
                }
            }
        }
    }
}

async fn process(
    consumer: &dyn Consumer,
    indexer: &Indexer,
    config: &SearchConfig,
    pace: &mut Pace,
    batch: Vec<Delivery>,
) {
    let (mut waiting, mut done) = (Vec::new(), Vec::new());
    for delivery in batch {
        match item(delivery) {
            Ok(item) => waiting.push(item),
            Err(delivery) => done.push(delivery),
        }
    }
    ack(consumer, done).await;
    for delay in STORED_SOON {
        if waiting.is_empty() {
            return;
        }
        tokio::time::sleep(delay).await;
        let stored = patiently(|| stored(&indexer.db, &waiting)).await.unwrap_or_default();
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().enumerate().partition(|(number, _)| stored.contains(number));
        waiting = rest.into_iter().map(|(_, item)| item).collect();
        index(consumer, indexer, config, pace, ready.into_iter().map(|(_, item)| item).collect()).await;
    }
    for item in waiting {
        put_back(consumer, item.delivery, "its events are not stored").await;
    }
}

/// `Err`: there is nothing to do. What cannot be read is the persistence worker's to complain about.
fn item(delivery: Delivery) -> Result<Item, Delivery> {
    let Ok(record) = EventRecord::decode(&delivery.record.payload) else { return Err(delivery) };
    let conversation = record.conversation_id().filter(|id| chat_subject(*id) == delivery.record.subject.as_str());
    let (Some(conversation_id), Ok(_)) = (conversation, i64::try_from(record.last.0)) else { return Err(delivery) };
    let touched = record.events.iter().filter_map(|event| match &event.body {
        EventBody::MessagePosted { .. } => Some(event.id.0),
        EventBody::MessageEdited { message_id, .. } => Some(message_id.0),
        _ => None,
    });
    let messages: Vec<_> = touched.collect::<BTreeSet<_>>().into_iter().collect();
    if messages.is_empty() {
        return Err(delivery);
    }
    Ok(Item { delivery, conversation_id, first: record.first, last: record.last, messages })
}

/// The numbers of those whose events are all stored.
async fn stored(db: &DatabaseConnection, items: &[Item]) -> Result<BTreeSet<usize>, DbErr> {
    const POSTGRES: &str = "SELECT q.i, (SELECT COUNT(*) FROM events e WHERE e.conversation_id = q.c \
        AND e.seq BETWEEN q.f AND q.l) FROM json_to_recordset($1::json) AS q(i bigint, c uuid, f bigint, l bigint)";
    const SQLITE: &str = "SELECT value->>'i', (SELECT COUNT(*) FROM events e WHERE e.conversation_id = \
        unhex(value->>'c') AND e.seq BETWEEN value->>'f' AND value->>'l') FROM json_each(?1)";
    let rows: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(number, item)| {
            json!({ "i": number, "c": item.conversation_id.0.simple().to_string(),
                "f": item.first.to_db(), "l": item.last.to_db() })
        })
        .collect();
    let backend = db.get_database_backend();
    let sql = if backend == DbBackend::Postgres { POSTGRES } else { SQLITE };
    let rows = serde_json::Value::Array(rows).to_string();
    let mut complete = BTreeSet::new();
    for row in db.query_all_raw(Statement::from_sql_and_values(backend, sql, [rows.into()])).await? {
        let (number, count): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let expected = items.get(number).map(|item| item.last.0 - item.first.0 + 1);
        if expected == u64::try_from(count).ok() {
            complete.insert(number);
        }
    }
    Ok(complete)
}

/// Indexes what the records are about, in portions, and acks them.
async fn index(consumer: &dyn Consumer, indexer: &Indexer, config: &SearchConfig, pace: &mut Pace, items: Vec<Item>) {
    // Several records may be about one message, and need it once.
    let messages: BTreeSet<Uuid> = items.iter().flat_map(|item| &item.messages).copied().collect();
    let messages: Vec<Uuid> = messages.into_iter().collect();
    for portion in messages.chunks(config.batch) {
        let started = Instant::now();
        if let Err(error) = patiently(|| indexer.index(portion)).await {
            for item in items {
                put_back(consumer, item.delivery, &error.to_string()).await;
            }
            return;
        }
        metrics::counter!("sealpost_search_indexed_total").increment(portion.len() as u64);
        tokio::time::sleep(pace.rest(config, portion.len(), started.elapsed())).await;
    }
    ack(consumer, items.into_iter().map(|item| item.delivery).collect()).await;
}

/// Tries again for as long as the store is away.
async fn patiently<T, F: Future<Output = Result<T, DbErr>>>(mut work: impl FnMut() -> F) -> Result<T, DbErr> {
    let mut pause = Pause::default();
    loop {
        match work().await {
            Err(error) if is_connection_error(&error) => {
                tracing::warn!(%error, "the index waits for the store");
                tokio::time::sleep(pause.next()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "messages could not be indexed");
                return Err(error);
            }
            done => return done,
        }
    }
}

async fn put_back(consumer: &dyn Consumer, delivery: Delivery, reason: &str) {
    let (position, attempt) = (delivery.record.position.0, delivery.attempt);
    if attempt >= MAX_ATTEMPTS {
        tracing::error!(position, reason, "a record was not indexed; `sealpost search rebuild` finds what is missing");
        metrics::counter!("sealpost_search_given_up_total").increment(1);
        return ack(consumer, vec![delivery]).await;
    }
    let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_DELAY);
    tracing::debug!(position, attempt, ?delay, reason, "a record is indexed later");
    if let Err(error) = consumer.put_back(&delivery, delay).await {
        tracing::warn!(position, %error, "a record could not be put back; it comes again by itself");
    }
}

/// A lost ack means that the records come again, which is harmless.
async fn ack(consumer: &dyn Consumer, deliveries: Vec<Delivery>) {
    if deliveries.is_empty() {
        return;
    }
    if let Err(error) = consumer.ack(&deliveries).await {
        tracing::warn!(records = deliveries.len(), %error, "records could not be acked; they will come again");
    }
}

/// Between attempts, growing.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(100))
    }
}

impl Pause {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn next(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(LONGEST_PAUSE);
        delay
    }

    /// `false`: told to stop.
    async fn wait(&mut self, stop: &CancellationToken) -> bool {
        stop.run_until_cancelled(tokio::time::sleep(self.next())).await.is_some()
    }
}
