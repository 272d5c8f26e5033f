//! The persistence worker: moves events from the log into the database.
//!
//! Promised:
//! - a record is acked only after its events are committed: what the log has is stored, sooner or later, at least once;
//! - storing any record any number of times, in any order, with any number of workers, gives the same table;
//! - after each commit one [`StoredNotice`](sealpost_schema::StoredNotice) tells which events are stored, for replays too: commit, announce, ack;
//! - what cannot be stored as it is goes to the dead letters with a reason: nothing is dropped, and no neighbour waits for it;
//! - while the database is away nothing is lost or dead-lettered: the worker waits.
//!
//! `tests/workers/persistence.rs` keeps these, on SQLite and on Postgres.

mod bases;
mod config;
pub(crate) mod destroy;
mod effects;
mod failure;
mod insert;
mod links;
mod notice;
mod reactions;
mod refused;
mod store;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sea_orm::{DatabaseConnection, DbErr};
use sealpost_bus::{EventLog, Live, Record};
use sealpost_schema::{EventRecord, StoredNotice};
use tokio_util::sync::CancellationToken;

pub use config::PersistenceConfig;
pub use store::Problem;
pub(crate) use worker::announce;

use crate::record::BadRecord;
use crate::retry::Backoff;
use crate::{consumer, record};

/// Durable name of the consumer, shared by all persistence workers.
pub const CONSUMER: &str = "persistence";

/// Runs until `stop`: then it finishes the batch in hand and returns. Failures of the log and of the database are waited out.
pub async fn run(
    log: Arc<dyn EventLog>,
    live: Arc<dyn Live>,
    db: DatabaseConnection,
    config: PersistenceConfig,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(config.retry_max());
    let (ack_wait, pending) = (config.ack_wait(), config.max_ack_pending);
    let Some(mut consumer) = consumer::open(&*log, CONSUMER, ack_wait, pending, &mut backoff, &stop).await else {
        return;
    };
    let worker = worker::Worker { live, db, config, stop, expect_new: AtomicBool::new(true) };
    let max = worker.config.max_records;
    while let Some(batch) = consumer::next_batch(&mut *consumer, CONSUMER, max, &mut backoff, &worker.stop).await {
        worker.process(&*consumer, batch).await;
    }
}

/// Why one record could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Bad(#[from] BadRecord),
    #[error("the database refused: {0}")]
    Database(#[from] DbErr),
    /// Of the problems the first; the record's other events are stored.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Stores one record, as the worker does, and returns what is to be announced.
pub async fn store_record(db: &DatabaseConnection, record: &Record) -> Result<StoredNotice, StoreError> {
    let (_, record): (_, EventRecord) = record::read(record)?;
    let stored = store::store(db, record.events.iter().map(|event| &**event), false).await?;
    match stored.problems.values().next() {
        Some(problem) => Err(problem.clone().into()),
        None => Ok(notice::notice(std::iter::once(&record), &stored)),
    }
}
