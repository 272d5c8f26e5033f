//! [`EventLog`] on the stream `CHAT`.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::connect::{Inner, JetStreamBus};
use super::consumer::open;
use super::read::{Which, stored_record};
use super::streams::LOG;
use crate::{
    Append, AppendError, Appended, Connection, Consumer, ConsumerConfig, ConsumerState, DeadLetters, EventLog,
    LogError, Position, Record, StreamState, Subject,
};

/// How often a publish that found nobody there is sent again.
const TRIES: u32 = 4;

/// What became of one publish.
enum Published {
    Stored(Appended),
    /// The server says that nobody listens on the subject: nothing was stored.
    NobodyThere,
}

impl Inner {
    /// Publishes to a stream and waits for its answer.
    pub(super) async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Appended, AppendError> {
        let mut delay = Duration::from_millis(20);
        for _ in 0..TRIES {
            self.reachable().map_err(AppendError::Unavailable)?;
            match self.publish_once(subject, headers.clone(), payload.clone()).await? {
                Published::Stored(appended) => return Ok(appended),
                Published::NobodyThere => {
                    self.make_streams().await.map_err(|error| AppendError::Unavailable(error.to_string()))?;
                    tokio::time::sleep(delay).await;
                    delay *= 3;
                }
            }
        }
        Err(AppendError::Unavailable(format!("nobody answers for the subject {subject}")))
    }

    async fn publish_once(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Published, AppendError> {
        let timeout = self.config.publish_timeout;
        let connects = self.connects();
        let mut connection = self.connection.subscribe();
        let request = Request::new().headers(headers).payload(payload).timeout(None);
        let answer = tokio::select! {
            answer = self.client.send_request(subject.to_owned(), request) => answer,
            // The client never fails a request on a lost connection, whose answer cannot come any more.
            _ = connection.wait_for(|_| self.connects_changed(connects)) => {
                return Err(AppendError::Unknown("the connection was lost".into()));
            }
            () = tokio::time::sleep(timeout) => {
                return Err(AppendError::Unknown(format!("no answer within {timeout:?}")));
            }
        };
        match answer {
            Ok(message) => judge(&message.payload),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Ok(Published::NobodyThere),
                RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                    Err(AppendError::Refused(error.to_string()))
                }
                RequestErrorKind::TimedOut | RequestErrorKind::Other => Err(AppendError::Unknown(error.to_string())),
            },
        }
    }

    fn connects_changed(&self, since: u64) -> bool {
        self.connects() != since || self.client.connection_state() != async_nats::connection::State::Connected
    }
}

fn judge(answer: &[u8]) -> Result<Published, AppendError> {
    let error = match serde_json::from_slice::<Response<PublishAck>>(answer) {
        Ok(Response::Ok(ack)) => {
            return Ok(Published::Stored(Appended { position: Position(ack.sequence), duplicate: ack.duplicate }));
        }
        Ok(Response::Err { error }) => error,
        Err(error) => return Err(AppendError::Unknown(format!("the answer is not understood: {error}"))),
    };
    let text = error.to_string();
    Err(match error.error_code() {
        // The second one: an append to the subject is on its way to the other replicas.
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => AppendError::Conflict,
        ErrorCode::STREAM_NOT_FOUND => return Ok(Published::NobodyThere),
        // The same code stands for a full stream, which stored nothing, and for a disk that failed somewhere on the way.
        ErrorCode::STREAM_STORE_FAILED if !text.contains("maximum") => AppendError::Unknown(text),
        _ if error.code() == 400 => AppendError::Refused(text),
        _ if error.code() == 503 || error.code() == 429 || text.contains("maximum") => AppendError::Unavailable(text),
        _ => AppendError::Unknown(text),
    })
}

#[async_trait]
impl EventLog for JetStreamBus {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, append.id.as_str());
        if let Some(expected) = append.expected {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.0.to_string().as_str());
        }
        self.inner.publish(append.subject.as_str(), headers, append.payload).await
    }

    async fn last(&self, subject: &Subject) -> Result<Option<Record>, LogError> {
        self.inner.read(LOG, Which::Last(subject)).await?.map(stored_record).transpose()
    }

    async fn next(&self, subject: &Subject, from: Position) -> Result<Option<Record>, LogError> {
        self.inner.read(LOG, Which::Next(subject, from.0)).await?.map(stored_record).transpose()
    }

    async fn get(&self, position: Position) -> Result<Option<Record>, LogError> {
        if position.0 == 0 {
            return Ok(None);
        }
        self.inner.read(LOG, Which::At(position.0)).await?.map(stored_record).transpose()
    }

    async fn consumer(&self, config: ConsumerConfig) -> Result<Box<dyn Consumer>, LogError> {
        Ok(Box::new(open(self.inner.clone(), config).await?))
    }

    async fn consumer_state(&self, name: &str) -> Result<Option<ConsumerState>, LogError> {
        let stream = self.inner.stream(LOG).await?;
        match stream.consumer_info(name).await {
            Ok(info) => Ok(Some(ConsumerState { pending: info.num_pending, ack_pending: info.num_ack_pending as u64 })),
            Err(error) => match error.kind() {
                ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => Ok(None),
                _ => Err(LogError::Unavailable(error.to_string())),
            },
        }
    }

    async fn state(&self) -> Result<StreamState, LogError> {
        let state = self.inner.stream_state(LOG).await?;
        let (first, last) = if state.messages == 0 { (0, 0) } else { (state.first_sequence, state.last_sequence) };
        Ok(StreamState { records: state.messages, bytes: state.bytes, first: Position(first), last: Position(last) })
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.inner.connection.subscribe()
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }
}

impl Inner {
    pub(super) async fn stream_state(&self, name: &str) -> Result<jetstream::stream::State, LogError> {
        let stream = self.stream(name).await?;
        let mut info = stream.get_info().await;
        if info.is_err() {
            // Most likely the stream is gone.
            self.make_streams().await?;
            info = stream.get_info().await;
        }
        let info = info.map_err(|error| LogError::Unavailable(error.to_string()))?;
        Ok(info.state)
    }
}
