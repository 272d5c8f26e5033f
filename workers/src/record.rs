//! Reading records that came out of the log: nothing in them is taken on trust.

use sealpost_bus::Record;
use sealpost_schema::{ConversationId, EventRecord, RecordError, RecordOutline, Seq, chat_subject};

/// Why a record can never be processed. The text goes into the dead letter.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    #[error(transparent)]
    Unreadable(#[from] RecordError),
    /// Subjects are what brokers give rights on: an event under another conversation's subject would get around them.
    #[error("forged subject: events of conversation {0} under subject {1}")]
    ForgedSubject(ConversationId, String),
    /// The database keeps 63 bits.
    #[error("seq {0} is too large")]
    SeqTooLarge(u64),
}

/// Parses a record and checks that it stands under its own conversation's subject.
pub(crate) fn read(record: &Record) -> Result<(ConversationId, EventRecord), BadRecord> {
    let decoded = EventRecord::decode(&record.payload)?;
    let conversation = decoded.conversation_id().ok_or(RecordError::Inconsistent)?;
    check(record, conversation, decoded.last)?;
    Ok((conversation, decoded))
}

/// The same without what the events say.
pub(crate) fn outline(record: &Record) -> Result<RecordOutline, BadRecord> {
    let outline = RecordOutline::decode(&record.payload)?;
    check(record, outline.conversation_id, outline.last)?;
    Ok(outline)
}

fn check(record: &Record, conversation: ConversationId, last: Seq) -> Result<(), BadRecord> {
    if chat_subject(conversation) != record.subject.as_str() {
        return Err(BadRecord::ForgedSubject(conversation, record.subject.as_str().to_owned()));
    }
    if i64::try_from(last.0).is_err() {
        return Err(BadRecord::SeqTooLarge(last.0));
    }
    Ok(())
}
