//! What an operator can do about dead letters: look, replay, discard. For the command line.
//!
//! A letter holds ciphertext only; listings name ids and kinds, never content.

use sea_orm::DatabaseConnection;
use sealpost_bus::{DeadLetter, DeadLetters, Live, LiveError, LogError};
use sealpost_schema::{ConversationId, EventId, EventRecord, Seq, Timestamp, UserId};
use serde::Serialize;

use crate::delivery::{self, DeliverError};
use crate::persistence::{self, StoreError};
use crate::record;

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterSummary {
    pub number: u64,
    /// The worker that gave up: `persistence` or `delivery`.
    pub consumer: String,
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Where it stood in the log.
    pub position: u64,
    pub subject: String,
    pub bytes: usize,
}

/// A letter with its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LetterDetails {
    pub letter: LetterSummary,
    /// Empty if the record cannot be read.
    pub events: Vec<EventLine>,
    /// What is wrong with the record itself, if anything.
    pub unreadable: Option<String>,
}

/// An event without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventLine {
    pub conversation_id: ConversationId,
    pub seq: Seq,
    pub id: EventId,
    pub kind: &'static str,
    pub sender_id: UserId,
    pub created_at: Timestamp,
}

/// Why a letter was not shown, replayed or discarded. It is still there, unless it is `NotFound`.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error("there is no dead letter {0}")]
    NotFound(u64),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("dead letter {number} could not be stored: {source}")]
    Store { number: u64, source: StoreError },
    #[error("dead letter {number} could not be delivered: {source}")]
    Deliver { number: u64, source: DeliverError },
    #[error("dead letter {number} is for live fan-out, which runs inside the server: replay it there")]
    NoLive { number: u64 },
    #[error("dead letter {number} comes from consumer `{consumer}`, which this program does not know")]
    UnknownConsumer { number: u64, consumer: String },
}

impl From<&DeadLetter> for LetterSummary {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            number: letter.number,
            consumer: letter.consumer.clone(),
            reason: letter.reason.clone(),
            attempts: letter.attempts,
            position: letter.record.position.0,
            subject: letter.record.subject.as_str().to_owned(),
            bytes: letter.record.payload.len(),
        }
    }
}

impl From<&DeadLetter> for LetterDetails {
    fn from(letter: &DeadLetter) -> Self {
        let unreadable = record::read(&letter.record).err().map(|error| error.to_string());
        // A forged subject is worth a look at the events.
        let events = EventRecord::decode(&letter.record.payload).map(|record| record.events).unwrap_or_default();
        let line = |event: &sealpost_schema::Event| EventLine {
            conversation_id: event.conversation_id,
            seq: event.seq,
            id: event.id,
            kind: event.body.kind(),
            sender_id: event.sender_id,
            created_at: event.created_at,
        };
        Self { letter: letter.into(), events: events.iter().map(|event| line(event)).collect(), unreadable }
    }
}

/// Oldest first, from number `after` (exclusive), at most `limit`.
pub async fn list(letters: &dyn DeadLetters, after: u64, limit: usize) -> Result<Vec<LetterSummary>, LetterError> {
    Ok(letters.list(after, limit).await?.iter().map(LetterSummary::from).collect())
}

pub async fn show(letters: &dyn DeadLetters, number: u64) -> Result<LetterDetails, LetterError> {
    Ok(LetterDetails::from(&find(letters, number).await?))
}

/// Does here what the failed worker would do with the record, and removes the letter if that succeeds. `live` is `None` where there is
/// no live fan-out to reach: storing works without.
pub async fn replay(
    letters: &dyn DeadLetters,
    db: &DatabaseConnection,
    live: Option<&dyn Live>,
    number: u64,
) -> Result<(), LetterError> {
    let letter = find(letters, number).await?;
    match letter.consumer.as_str() {
        persistence::CONSUMER => {
            let stored = persistence::store_record(db, &letter.record).await;
            let notice = stored.map_err(|source| LetterError::Store { number, source })?;
            if let Some(live) = live {
                persistence::announce(live, &notice).await;
            }
        }
        delivery::CONSUMER => deliver(live.ok_or(LetterError::NoLive { number })?, &letter).await?,
        _ => return Err(LetterError::UnknownConsumer { number, consumer: letter.consumer }),
    }
    discard(letters, number).await
}

async fn deliver(live: &dyn Live, letter: &DeadLetter) -> Result<(), LetterError> {
    let number = letter.number;
    let flushed = async {
        delivery::publish_record(live, &letter.record).await?;
        live.flush().await.map_err(|error: LiveError| DeliverError::from(error))
    };
    flushed.await.map_err(|source| LetterError::Deliver { number, source })
}

/// Throws a letter away.
pub async fn discard(letters: &dyn DeadLetters, number: u64) -> Result<(), LetterError> {
    if letters.remove(number).await? { Ok(()) } else { Err(LetterError::NotFound(number)) }
}

async fn find(letters: &dyn DeadLetters, number: u64) -> Result<DeadLetter, LetterError> {
    letters.find(number).await?.ok_or(LetterError::NotFound(number))
}
