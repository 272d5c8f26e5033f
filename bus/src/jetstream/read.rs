//! Reading single messages of a stream.

use std::time::Duration;

use async_nats::StatusCode;
use async_nats::header::{HeaderMap, NATS_MESSAGE_ID};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, RawMessageErrorKind};

use super::connect::Inner;
use crate::{LogError, Position, Record, Subject};

/// Which message.
#[derive(Clone, Copy)]
pub(super) enum Which<'a> {
    At(u64),
    Last(&'a Subject),
    /// The first under the subject (which may have wildcards) at or after the sequence.
    Next(&'a Subject, u64),
}

impl Inner {
    /// Reads one message; a stream that is missing is made again, and then is empty.
    pub(super) async fn read(&self, stream: &str, which: Which<'_>) -> Result<Option<StreamMessage>, LogError> {
        let mut delay = Duration::from_millis(20);
        for _ in 0..3 {
            let found = if self.config.replicas > 1 {
                self.read_from_leader(stream, which).await
            } else {
                self.read_directly(stream, which).await
            };
            match found {
                Ok(found) => return Ok(found),
                Err(Failure::Final(error)) => return Err(error),
                // Nobody answers for the stream: it is gone, or has no leader this moment.
                Err(Failure::NobodyThere) => {
                    self.make_streams().await?;
                    tokio::time::sleep(delay).await;
                    delay *= 4;
                }
            }
        }
        Err(LogError::Unavailable(format!("nobody answers for the stream {stream}")))
    }

    async fn read_directly(&self, stream: &str, which: Which<'_>) -> Result<Option<StreamMessage>, Failure> {
        let stream = self.stream(stream).await?;
        let request = stream.direct_get_builder();
        let request = match which {
            Which::At(sequence) => request.sequence(sequence),
            Which::Last(subject) => request.last_by_subject(subject.as_str()),
            Which::Next(subject, from) => request.next_by_subject(subject.as_str()).sequence(from.max(1)),
        };
        match request.send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                DirectGetErrorKind::NotFound => Ok(None),
                DirectGetErrorKind::Request | DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _) => {
                    Err(Failure::NobodyThere)
                }
                _ => Err(Failure::Final(LogError::Unavailable(error.to_string()))),
            },
        }
    }

    async fn read_from_leader(&self, stream: &str, which: Which<'_>) -> Result<Option<StreamMessage>, Failure> {
        let stream = self.stream(stream).await?;
        let request = stream.raw_message_builder();
        let request = match which {
            Which::At(sequence) => request.sequence(sequence),
            Which::Last(subject) => request.last_by_subject(subject.as_str()),
            Which::Next(subject, from) => request.next_by_subject(subject.as_str()).sequence(from.max(1)),
        };
        match request.send().await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(error) if error.code() == 404 || error.code() == 503 => {
                    Err(Failure::NobodyThere)
                }
                _ => Err(Failure::Final(LogError::Unavailable(error.to_string()))),
            },
        }
    }
}

enum Failure {
    NobodyThere,
    Final(LogError),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Final(error)
    }
}

/// Builds a record; `None` for a message that somebody else put into the stream under a subject that is not ours.
pub(super) fn record(
    subject: &str,
    sequence: u64,
    headers: Option<&HeaderMap>,
    payload: bytes::Bytes,
) -> Option<Record> {
    let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID)).map(ToString::to_string).unwrap_or_default();
    Some(Record { position: Position(sequence), subject: Subject::new(subject).ok()?, id, payload })
}

pub(super) fn stored_record(message: StreamMessage) -> Result<Record, LogError> {
    record(&message.subject, message.sequence, Some(&message.headers), message.payload)
        .ok_or_else(|| LogError::Failed(format!("record {} has a foreign subject", message.sequence)))
}
