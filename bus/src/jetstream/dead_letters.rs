//! The dead letters: the stream `DEAD`.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::DeleteMessageErrorKind;
use async_trait::async_trait;

use super::connect::JetStreamBus;
use super::read::Which;
use super::streams::DEAD;
use crate::{DeadLetter, DeadLetters, LogError, Position, Record, Subject};

/// What a letter says besides its payload.
pub(super) mod header {
    pub(in super::super) const CONSUMER: &str = "Sealpost-Consumer";
    pub(in super::super) const REASON: &str = "Sealpost-Reason";
    pub(in super::super) const ATTEMPTS: &str = "Sealpost-Attempts";
    pub(in super::super) const POSITION: &str = "Sealpost-Position";
    pub(in super::super) const SUBJECT: &str = "Sealpost-Subject";
    pub(in super::super) const ID: &str = "Sealpost-Id";

    /// A header is one line; and a reason is a sentence, not a dump.
    pub(in super::super) fn clean(text: &str) -> String {
        text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
    }
}

fn letter(message: StreamMessage) -> Result<DeadLetter, LogError> {
    let number = message.sequence;
    let text = |name: &str| message.headers.get(name).map(ToString::to_string).unwrap_or_default();
    let foreign = |what: &str| LogError::Failed(format!("dead letter {number} has no usable {what}"));
    let subject = Subject::new(text(header::SUBJECT)).map_err(|_| foreign("subject"))?;
    let position = text(header::POSITION).parse().map(Position).map_err(|_| foreign("position"))?;
    let attempts = text(header::ATTEMPTS).parse().map_err(|_| foreign("count of attempts"))?;
    let (consumer, reason, id) = (text(header::CONSUMER), text(header::REASON), text(header::ID));
    let record = Record { position, subject, id, payload: message.payload };
    Ok(DeadLetter { number, consumer, reason, attempts, record })
}

#[async_trait]
impl DeadLetters for JetStreamBus {
    async fn list(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, LogError> {
        let all = Subject::pattern("dead.>").map_err(|error| LogError::Failed(error.to_string()))?;
        let mut letters = Vec::new();
        let mut from = after.saturating_add(1);
        while letters.len() < limit {
            let Some(message) = self.inner.read(DEAD, Which::Next(&all, from)).await? else { break };
            from = message.sequence + 1;
            match letter(message) {
                Ok(letter) => letters.push(letter),
                // One foreign message must not hide the letters behind it.
                Err(error) => tracing::warn!(%error, "passed over"),
            }
        }
        Ok(letters)
    }

    async fn find(&self, number: u64) -> Result<Option<DeadLetter>, LogError> {
        if number == 0 {
            return Ok(None);
        }
        self.inner.read(DEAD, Which::At(number)).await?.map(letter).transpose()
    }

    async fn remove(&self, number: u64) -> Result<bool, LogError> {
        let stream = self.inner.stream(DEAD).await?;
        match stream.delete_message(number).await {
            Ok(removed) => Ok(removed),
            Err(error) => match error.kind() {
                // There is no such message, or no such stream.
                DeleteMessageErrorKind::JetStream(inner) if inner.code() < 500 => Ok(false),
                _ if self.find(number).await?.is_none() => Ok(false),
                _ => Err(LogError::Unavailable(error.to_string())),
            },
        }
    }

    async fn count(&self) -> Result<u64, LogError> {
        Ok(self.inner.stream_state(DEAD).await?.messages)
    }
}
