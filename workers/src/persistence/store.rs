//! One transaction for a batch of events.

use std::collections::HashMap;

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr, SqlErr};
use sealpost_bus::failpoint;
use sealpost_schema::{ConversationId, Event, EventId, MessageId, Seq, VoidedEvent};

use super::bases::{self, Bases};
use super::effects;
use super::insert::{Taken, insert, insert_at_once, is_plain};
use super::refused;
use crate::transaction::begin;

/// An event in its place: two records may claim the same place with different events.
pub(super) type Claim = (ConversationId, Seq, EventId);

pub(super) fn claim(event: &Event) -> Claim {
    (event.conversation_id, event.seq, event.id)
}

/// Why an event was not stored as it is, beyond a repeated client message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "seq clash: event {event_id} has seq {seq} of conversation {conversation_id}, but the store has event {stored_id} there"
    )]
    SeqClash { conversation_id: ConversationId, seq: Seq, event_id: EventId, stored_id: EventId },
    /// Its seq is kept as void.
    #[error(
        "id clash: event {event_id} of conversation {conversation_id} has the id of an event of conversation {other_id}"
    )]
    IdClash { conversation_id: ConversationId, event_id: EventId, other_id: ConversationId },
    /// Its message is on its way with another worker, or never came.
    #[error("event {event_id} needs message {message_id}, which is not in the store")]
    BaseMissing { event_id: EventId, message_id: MessageId },
}

/// What became of the events of a batch. What is neither voided nor a problem is stored, now or before.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Rows written; the rest were there, or are problems.
    pub inserted: u64,
    /// Whether some were there, or their place was taken.
    pub refused: bool,
    /// Kept as a number without content, now or before.
    pub voided: Vec<VoidedEvent>,
    pub problems: HashMap<Claim, Problem>,
}

impl Stored {
    pub fn is_voided(&self, event: &Event) -> bool {
        self.voided.iter().any(|void| (void.conversation_id, void.seq, void.id) == claim(event))
    }
}

/// Stores the events and their effects, all or nothing, and any number of times with the same result. `expect_new`: most likely none
/// of them is there, which is only a matter of speed.
///
/// # Errors
/// What the database says; see [`super::failure`].
pub(super) async fn store(
    db: &DatabaseConnection,
    events: impl Iterator<Item = &Event>,
    expect_new: bool,
) -> Result<Stored, DbErr> {
    // In one order for all workers, so that two with the same events wait for each other rather than deadlock; and neighbours in the
    // order are neighbours in the indexes.
    let mut events: Vec<&Event> = events.collect();
    events.sort_unstable_by_key(|event| claim(event));
    if expect_new && events.iter().all(|event| is_plain(event)) {
        match insert_at_once(db, &events).await {
            Ok(None) => {}
            Ok(Some(inserted)) => return Ok(Stored { inserted, ..Default::default() }),
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {}
            Err(error) => return Err(error),
        }
    } else if expect_new {
        match attempt(db, &events, Taken::Fail).await {
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {}
            result => return result,
        }
    }
    attempt(db, &events, Taken::Skip).await
}

async fn attempt(db: &DatabaseConnection, events: &[&Event], taken: Taken) -> Result<Stored, DbErr> {
    let (changes, posted): (Vec<&Event>, Vec<&Event>) = events.iter().partition(|event| event.body.target().is_some());
    let (replies, others): (Vec<&Event>, Vec<&Event>) = posted.iter().partition(|event| event.body.thread().is_some());
    let transaction = begin(db).await?;
    let mut stored = Stored::default();
    insert_all(&transaction, &others, taken, &mut stored).await?;
    if !replies.is_empty() {
        let ready = bases::with_their_threads(&transaction, &replies, &mut stored).await?;
        insert_all(&transaction, &ready, taken, &mut stored).await?;
    }
    let mut bases = Bases::default();
    if !changes.is_empty() {
        bases = Bases::lock(&transaction, &changes).await?;
        let ready = bases.ready(&changes, &mut stored);
        insert_all(&transaction, &ready, taken, &mut stored).await?;
    }
    effects::apply(&transaction, events, &stored, &bases).await?;
    failpoint("store-before-commit");
    transaction.commit().await?;
    failpoint("store-committed");
    Ok(stored)
}

async fn insert_all(
    transaction: &DatabaseTransaction,
    events: &[&Event],
    taken: Taken,
    stored: &mut Stored,
) -> Result<(), DbErr> {
    let inserted = insert(transaction, events, taken).await?;
    stored.inserted += inserted;
    if usize::try_from(inserted).is_ok_and(|inserted| inserted < events.len()) {
        stored.refused = true;
        refused::classify(transaction, events, stored).await?;
    }
    Ok(())
}
