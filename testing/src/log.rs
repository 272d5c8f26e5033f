//! The event log itself, as the workers read it.

use std::collections::BTreeMap;

use sealpost_schema::{ConversationId, Event, EventRecord, Seq, chat_subject};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::settings::Form;
use crate::stack::Stack;

impl Stack {
    /// All events of a conversation, in order; sealed, as they were appended.
    pub async fn logged(&self, conversation: &str) -> Vec<Event> {
        let subject = chat_subject(ConversationId(conversation.parse().unwrap()));
        let payloads = match self.form {
            Form::Embedded => self.embedded_records(&subject).await,
            Form::Cluster => self.stream_records(&subject).await,
        };
        let records = payloads.iter().map(|payload| EventRecord::decode(payload).unwrap());
        // What a lost answer made a process append twice is the same event under the same number.
        let events: BTreeMap<Seq, Event> =
            records.flat_map(|record| record.events).map(|event| (event.seq, (*event).clone())).collect();
        events.into_values().collect()
    }

    async fn embedded_records(&self, subject: &str) -> Vec<Vec<u8>> {
        let path = self.folder().join("data/log/log.db");
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(crate::PATIENCE);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let query = sqlx::query("SELECT payload FROM record WHERE subject = ? ORDER BY position").bind(subject);
        query.fetch_all(&mut connection).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Each record names the position of the one before it.
    async fn stream_records(&self, subject: &str) -> Vec<Vec<u8>> {
        let streams = async_nats::jetstream::new(async_nats::connect(self.nats_url()).await.unwrap());
        let stream = streams.get_stream("CHAT").await.unwrap();
        let mut payloads = Vec::new();
        let mut next = Some(stream.get_last_raw_message_by_subject(subject).await.unwrap());
        while let Some(message) = next.take() {
            let previous = EventRecord::decode(&message.payload).unwrap().previous;
            payloads.push(message.payload.to_vec());
            if previous > 0 {
                next = Some(stream.get_raw_message(previous).await.unwrap());
            }
        }
        payloads.reverse();
        payloads
    }
}
