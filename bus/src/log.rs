//! The event log's duties.
//!
//! A log is one stream of records with a total order. A record's place is its [`Position`], from 1, growing, with
//! gaps allowed. Every back end must keep these promises (`tests/contract.rs`):
//!
//! 1. **Compare-and-append.** An append with `expected = Some(p)` succeeds only if the last record of its subject has
//!    position `p` (`p = 0`: the subject has none). Of several racing appends with the same `expected`, one succeeds.
//! 2. **Duplicate detection.** An append without `expected` whose id was appended in the last two minutes is not stored
//!    again; it answers with the first one's position and `duplicate = true`. The check of `expected` runs first, so a
//!    repeated compare-and-append answers `Conflict`: the caller looks whether its own record is there.
//! 3. **`Ok` means kept.** A record whose append returned `Ok` is there after the process that keeps the log is killed.
//! 4. **`Unknown` means unknown.** The record may or may not be there, now or later. Only `Conflict`, `Refused` and
//!    `Unavailable` say that it is not.
//! 5. **Consumers are durable and shared.** Each record reaches at least one holder of a consumer name; unacked ones come again
//!    after `ack_wait`, put-back ones after their delay; acked ones may come again after a crash of the log.
//! 6. **Nothing loops for ever.** A record that was handed out `max_deliver` times and comes up again goes to the dead letters.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::Subject;

/// A record's place in the log, from 1. `Position(0)` stands for «before the first».
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// One append. `id` is unique per record (at most 64 bytes of ASCII); it is the key of duplicate detection.
#[derive(Clone, Debug)]
pub struct Append {
    pub subject: Subject,
    pub id: String,
    pub expected: Option<Position>,
    pub payload: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub position: Position,
    pub duplicate: bool,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub position: Position,
    pub subject: Subject,
    pub id: String,
    pub payload: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended to the subject first, or the record is already there. Nothing was stored by this call.
    #[error("the subject's last record is not at the expected position")]
    Conflict,
    /// No answer came. The record may be stored now, later or never.
    #[error("the event log gave no answer: {0}")]
    Unknown(String),
    /// The log will never take this record.
    #[error("the event log refused the record: {0}")]
    Refused(String),
    /// Nothing was sent; try again later.
    #[error("the event log is not reachable: {0}")]
    Unavailable(String),
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the event log is not reachable: {0}")]
    Unavailable(String),
    #[error("the event log failed: {0}")]
    Failed(String),
}

/// What the log holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    pub records: u64,
    pub bytes: u64,
    /// `Position(0)` while empty.
    pub first: Position,
    pub last: Position,
}

/// The state of the way to the log. `epoch` rises at every (re)connection, so a watcher that missed one still sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    pub up: bool,
    pub epoch: u64,
}

#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Durable name, shared by all instances of a worker.
    pub name: String,
    /// An unacked record comes again after this.
    pub ack_wait: Duration,
    /// A record handed out this many times is dead-lettered instead of being handed out again.
    pub max_deliver: u32,
    /// Records handed out and not yet acked, at most, over all holders of the name.
    pub max_ack_pending: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerState {
    /// Not yet handed out.
    pub pending: u64,
    /// Handed out, not yet acked.
    pub ack_pending: u64,
}

#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// The newest record on `subject`.
    async fn last(&self, subject: &Subject) -> Result<Option<Record>, LogError>;

    /// The first record on `subject` at or after `from`.
    async fn next(&self, subject: &Subject, from: Position) -> Result<Option<Record>, LogError>;

    /// The record at `position`, if it is (still) there.
    async fn get(&self, position: Position) -> Result<Option<Record>, LogError>;

    /// Opens (creates, if needed) a durable consumer over the whole log, from its first record.
    async fn consumer(&self, config: ConsumerConfig) -> Result<Box<dyn Consumer>, LogError>;

    /// State of a consumer by name; `None` if it was never opened.
    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError>;

    async fn state(&self) -> Result<StreamState, LogError>;

    /// Up or down, and since which connection.
    fn connection(&self) -> watch::Receiver<Connection>;

    fn dead_letters(&self) -> &dyn DeadLetters;
}

#[async_trait]
pub trait Consumer: Send + Sync {
    /// Waits until something is there, then takes what is there, up to `max_records`, without waiting to fill up. In log order on
    /// first delivery. Never empty. Survives reconnects by itself; an `Err` is worth a growing delay and another call.
    /// Cancel-safe: a dropped call loses nothing (what it had taken comes again after `ack_wait` at the latest).
    async fn next_batch(&mut self, max_records: usize) -> Result<Vec<Delivery>, LogError>;

    /// Marks deliveries as done. A lost ack means a redelivery, never a loss.
    async fn ack(&self, deliveries: &[Delivery]) -> Result<(), LogError>;

    /// Hands a delivery out again, not before `delay`.
    async fn put_back(&self, delivery: &Delivery, delay: Duration) -> Result<(), LogError>;

    /// Moves a delivery to the dead letters (durably, first) and then acks it.
    async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), LogError>;
}

/// A record in a worker's hands.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub record: Record,
    /// How often it was handed out, this time included.
    pub attempt: u32,
    /// What the back end needs for the ack (JetStream: the reply subject).
    pub(crate) token: String,
}

impl Delivery {
    /// For back ends outside of this crate, which find a delivery again by its position.
    pub fn new(record: Record, attempt: u32) -> Self {
        Self { record, attempt, token: String::new() }
    }
}

/// What a worker could not process, kept until somebody decides.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its number among the dead letters.
    pub number: u64,
    pub consumer: String,
    pub reason: String,
    pub attempts: u32,
    /// Where it stood in the log.
    pub record: Record,
}

#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Oldest first, from `after` (exclusive), at most `limit`.
    async fn list(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LogError>;
    async fn find(&self, number: u64) -> Result<Option<DeadLetter>, LogError>;
    /// Whether there was such a letter.
    async fn remove(&self, number: u64) -> Result<bool, LogError>;
    async fn count(&self) -> Result<u64, LogError>;
}
