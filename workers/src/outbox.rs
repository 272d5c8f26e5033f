//! The outbox worker: brings control changes into the event log whose gateway could not.
//!
//! A control change is a database transaction that leaves a row in `outbox`; its gateway appends the event to the log right after. This
//! worker sweeps up the rows that are still there after a grace time. Promised:
//! - every row's event gets into the log, at least once as an attempt and once as an event (the lane finds what is there);
//! - within a conversation rows are appended in the order of their times (and ids), one after the other: after a failure the rest waits.
//!   Gateways give rows of one conversation rising times, and append what is before their own;
//! - a row that fails keeps no other conversation waiting;
//! - rows are deleted by the persistence worker only, with the event's transaction.
//!
//! `tests/workers/outbox.rs` keeps these.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sealpost_lane::{Draft, LaneError, Lanes};
use sealpost_schema::entities::outbox;
use sealpost_schema::{Clock, ConversationId};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::retry::Backoff;

/// Section `workers.outbox`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboxConfig {
    /// Rows younger than this are left to their gateway, in milliseconds. 5,000.
    pub grace_ms: u64,
    /// Pause between sweeps, in milliseconds. 2,000.
    pub interval_ms: u64,
    /// Rows read at a time. 100.
    pub page: u64,
    /// Conversations worked on at a time. 16.
    pub concurrency: usize,
    /// Longest pause between attempts while the database is away, in milliseconds. 5,000.
    pub retry_max_ms: u64,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { grace_ms: 5_000, interval_ms: 2_000, page: 100, concurrency: 16, retry_max_ms: 5_000 }
    }
}

impl OutboxConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("workers.outbox.{key} is {value}: use {least} to {most}"));
            }
        };
        within("grace_ms", self.grace_ms, 0, 3_600_000);
        within("interval_ms", self.interval_ms, 10, 3_600_000);
        within("page", self.page, 1, 10_000);
        within("concurrency", u64::try_from(self.concurrency).unwrap_or(u64::MAX), 1, 1_000);
        within("retry_max_ms", self.retry_max_ms, 100, 600_000);
        wrong
    }
}

/// Runs until `stop`: then it finishes the page in hand and returns. `nudge` starts a sweep at once, for a gateway in this
/// process that could not append; the grace time holds all the same, so nudge again or let the next sweep find the row.
pub async fn run(
    lanes: Lanes,
    db: DatabaseConnection,
    config: OutboxConfig,
    clock: Clock,
    nudge: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(config.retry_max_ms));
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = nudge.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(config.interval_ms)) => {}
        }
        match sweep(&lanes, &db, &config, &clock, &stop).await {
            Ok(()) => backoff.reset(),
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read; trying again");
                if !backoff.wait(&stop).await {
                    return;
                }
            }
        }
    }
}

/// Goes through all rows that are old enough, page by page.
async fn sweep(
    lanes: &Lanes,
    db: &DatabaseConnection,
    config: &OutboxConfig,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<(), DbErr> {
    let before = clock.now().millis().saturating_sub(i64::try_from(config.grace_ms).unwrap_or(i64::MAX));
    // Conversations whose rows wait for the next sweep. Bounded by what one sweep finds failing.
    let mut failed: HashSet<Uuid> = HashSet::new();
    let mut after = (i64::MIN, Uuid::nil());
    let mut left = 0u64;
    loop {
        let same_time = Condition::all().add(outbox::Column::CreatedAt.eq(after.0)).add(outbox::Column::Id.gt(after.1));
        let rows = outbox::Entity::find()
            .filter(Condition::any().add(outbox::Column::CreatedAt.gt(after.0)).add(same_time))
            .filter(outbox::Column::CreatedAt.lte(before))
            .order_by_asc(outbox::Column::CreatedAt)
            .order_by_asc(outbox::Column::Id)
            .limit(config.page)
            .all(db)
            .await?;
        let read = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        left += read;
        let Some(last) = rows.last() else { break };
        after = (last.created_at, last.id);
        let mut by_conversation: BTreeMap<Uuid, Vec<outbox::Model>> = BTreeMap::new();
        for row in rows.into_iter().filter(|row| !failed.contains(&row.conversation_id)) {
            by_conversation.entry(row.conversation_id).or_default().push(row);
        }
        let results: Vec<Option<Uuid>> = stream::iter(by_conversation)
            .map(|(conversation, rows)| append_in_order(lanes, conversation, rows))
            .buffer_unordered(config.concurrency)
            .collect()
            .await;
        failed.extend(results.into_iter().flatten());
        if read < config.page || stop.is_cancelled() {
            break;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of rows is far below 2^52")]
    metrics::gauge!("sealpost_outbox_overdue_rows").set(left as f64);
    Ok(())
}

/// `Some`: the conversation's other rows must wait.
async fn append_in_order(lanes: &Lanes, conversation: Uuid, rows: Vec<outbox::Model>) -> Option<Uuid> {
    for row in rows {
        let id = row.id;
        let draft = match Draft::decided(&row) {
            Ok(draft) => draft,
            Err(error) => {
                // It will never become readable, and what comes after it may be somebody's removal: go on without it.
                tracing::error!(outbox = %id, %error, "a row of the outbox cannot be read and stays there");
                metrics::counter!("sealpost_outbox_failed_total").increment(1);
                continue;
            }
        };
        match lanes.append(ConversationId(conversation), draft).await {
            Ok(appended) if appended.duplicate => {}
            Ok(appended) => {
                tracing::info!(outbox = %id, seq = appended.event.seq.0, "a control change was brought into the log");
                metrics::counter!("sealpost_outbox_appended_total").increment(1);
            }
            Err(error) => {
                report(id, &error);
                return Some(conversation);
            }
        }
    }
    None
}

fn report(id: Uuid, error: &LaneError) {
    metrics::counter!("sealpost_outbox_failed_total").increment(1);
    match error {
        LaneError::Unavailable(_) | LaneError::OutcomeUnknown => {
            tracing::warn!(outbox = %id, %error, "a control change could not be brought into the log; trying again");
        }
        LaneError::NotFound
        | LaneError::Forbidden
        | LaneError::Deleted
        | LaneError::Changed
        | LaneError::Refused(_)
        | LaneError::Corrupt(_) => {
            tracing::error!(outbox = %id, %error, "a control change is refused by its lane, and stays in the outbox");
        }
    }
}
