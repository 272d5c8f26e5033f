//! A durable pull consumer that always has a request at the server, so that a record arrives without a round trip.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::{AckKind, Message};
use async_nats::{HeaderMap, Subject as NatsSubject};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use super::connect::Inner;
use super::dead_letters::header;
use super::read::record;
use super::streams::LOG;
use crate::{AppendError, Connection, Consumer, ConsumerConfig, Delivery, LogError};

const HEARTBEAT: Duration = Duration::from_secs(5);
const EXPIRES: Duration = Duration::from_secs(30);
/// Nothing came for so long: ask the server whether something should have.
const WATCHDOG: Duration = Duration::from_secs(15);

pub(super) struct JetStreamConsumer {
    inner: Arc<Inner>,
    config: ConsumerConfig,
    connection: watch::Receiver<Connection>,
    /// The connection that `messages` was made on.
    epoch: u64,
    pull: Option<Pull>,
    /// Taken out of a pull that was given up.
    left_over: VecDeque<Message>,
}

struct Pull {
    consumer: PullConsumer,
    messages: Stream,
}

/// Creates the consumer on the server, or updates the settings of one that is there.
pub(super) async fn open(inner: Arc<Inner>, config: ConsumerConfig) -> Result<JetStreamConsumer, LogError> {
    let connection = inner.connection.subscribe();
    let mut opened = JetStreamConsumer { inner, config, connection, epoch: 0, pull: None, left_over: VecDeque::new() };
    opened.build().await?;
    Ok(opened)
}

fn failed(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(error.to_string())
}

impl JetStreamConsumer {
    async fn build(&mut self) -> Result<(), LogError> {
        let epoch = self.connection.borrow().epoch;
        let wanted = Config {
            durable_name: Some(self.config.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.config.ack_wait,
            // Counted on receipt instead: past its limit the server would only fall silent about a record.
            max_deliver: -1,
            max_ack_pending: i64::from(self.config.max_ack_pending.max(1)),
            ..Config::default()
        };
        let stream = self.inner.stream(LOG).await?;
        let mut created = stream.create_consumer(wanted.clone()).await;
        if created.is_err() {
            // Most likely the stream is gone.
            self.inner.make_streams().await?;
            created = stream.create_consumer(wanted).await;
        }
        let consumer = created.map_err(failed)?;
        let prefetch = self.inner.config.prefetch.clamp(1, self.config.max_ack_pending.max(1) as usize);
        let messages = consumer.stream().max_messages_per_batch(prefetch).heartbeat(HEARTBEAT).expires(EXPIRES);
        let messages = messages.messages().await.map_err(failed)?;
        self.pull = Some(Pull { consumer, messages });
        self.epoch = epoch;
        Ok(())
    }

    /// Gives up the pull, but not what it has already received.
    fn give_up(&mut self) {
        if let Some(mut pull) = self.pull.take() {
            while let Some(Some(Ok(message))) = pull.messages.next().now_or_never() {
                self.left_over.push_back(message);
            }
        }
    }

    /// Waits for the first message. Takes nothing when dropped while waiting.
    async fn first(&mut self) -> Result<Message, LogError> {
        loop {
            if let Some(message) = self.left_over.pop_front() {
                return Ok(message);
            }
            let now = *self.connection.borrow_and_update();
            if !now.up {
                if let Some(refusal) = self.inner.refusal.borrow().clone() {
                    return Err(LogError::Failed(refusal));
                }
                self.connection.changed().await.map_err(failed)?;
                continue;
            }
            if now.epoch != self.epoch {
                self.give_up();
            }
            let Some(pull) = self.pull.as_mut() else {
                self.build().await?;
                continue;
            };
            let item = tokio::select! {
                item = tokio::time::timeout(WATCHDOG, pull.messages.next()) => item,
                _ = self.connection.changed() => continue,
            };
            match item {
                Ok(Some(Ok(message))) => return Ok(message),
                Ok(Some(Err(error))) => {
                    tracing::warn!(consumer = self.config.name, %error, "the consumer's pull ended; making it again");
                    self.give_up();
                    // Does not spin when the server answers each pull with an error.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(None) => self.give_up(),
                Err(_) => self.check_for_stall().await,
            }
        }
    }

    async fn check_for_stall(&mut self) {
        let Some(pull) = self.pull.as_ref() else { return };
        let stalled = match pull.consumer.get_info().await {
            // With all permitted records in workers' hands, silence is right.
            Ok(info) => info.num_pending > 0 && info.num_ack_pending < self.config.max_ack_pending as usize,
            Err(_) => true,
        };
        if stalled {
            tracing::warn!(consumer = self.config.name, "the consumer stalled; making its pull again");
            self.give_up();
        }
    }

    fn ready(&mut self) -> Option<Message> {
        if let Some(message) = self.left_over.pop_front() {
            return Some(message);
        }
        let pull = self.pull.as_mut()?;
        match pull.messages.next().now_or_never()?? {
            Ok(message) => Some(message),
            Err(error) => {
                tracing::warn!(consumer = self.config.name, %error, "the consumer's pull ended; making it again");
                self.give_up();
                self.left_over.pop_front()
            }
        }
    }

    /// `None`: it was taken care of.
    async fn receive(&self, message: Message) -> Option<Delivery> {
        let (sequence, attempt) = match message.info() {
            Ok(info) => (info.stream_sequence, u32::try_from(info.delivered).unwrap_or(u32::MAX)),
            Err(error) => {
                tracing::warn!(%error, "a message without a place in the log was passed over");
                return None;
            }
        };
        let token = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
        let subject = message.subject.as_str();
        let Some(record) = record(subject, sequence, message.headers.as_ref(), message.payload.clone()) else {
            tracing::error!(subject, sequence, "a record with a foreign subject was passed over");
            let _ = self.send(&token, AckKind::Ack).await;
            return None;
        };
        let delivery = Delivery { record, attempt, token };
        if attempt <= self.config.max_deliver {
            return Some(delivery);
        }
        // Its own count of this hand-out does not count: nobody got it.
        let buried = Delivery { attempt: attempt - 1, ..delivery };
        if let Err(error) = self.dead_letter(&buried, "handed out too often without an ack").await {
            tracing::warn!(%error, sequence, "a dead letter could not be written; the record comes up again");
        }
        None
    }

    async fn send(&self, token: &str, kind: AckKind) -> Result<(), LogError> {
        self.inner.reachable().map_err(LogError::Unavailable)?;
        let payload: bytes::Bytes = kind.into();
        self.inner.client.publish(NatsSubject::from(token), payload).await.map_err(failed)
    }

    /// Bounded: a flush waits for ever while the connection is away.
    async fn flush(&self) -> Result<(), LogError> {
        let timeout = self.inner.config.request_timeout;
        tokio::time::timeout(timeout, self.inner.client.flush()).await.map_err(failed)?.map_err(failed)
    }
}

#[async_trait]
impl Consumer for JetStreamConsumer {
    async fn next_batch(&mut self, max_records: usize) -> Result<Vec<Delivery>, LogError> {
        loop {
            let mut messages = vec![self.first().await?];
            while messages.len() < max_records.max(1)
                && let Some(message) = self.ready()
            {
                messages.push(message);
            }
            let mut batch = Vec::with_capacity(messages.len());
            for message in messages {
                batch.extend(self.receive(message).await);
            }
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    async fn ack(&self, deliveries: &[Delivery]) -> Result<(), LogError> {
        for delivery in deliveries {
            self.send(&delivery.token, AckKind::Ack).await?;
        }
        self.flush().await
    }

    async fn put_back(&self, delivery: &Delivery, delay: Duration) -> Result<(), LogError> {
        self.send(&delivery.token, AckKind::Nak(Some(delay))).await?;
        self.flush().await
    }

    async fn dead_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), LogError> {
        let (record, consumer) = (&delivery.record, self.config.name.as_str());
        let last_token = record.subject.as_str().rsplit('.').next().unwrap_or_default();
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{LOG}-{}-{consumer}", record.position.0).as_str());
        headers.insert(header::CONSUMER, consumer);
        headers.insert(header::REASON, header::clean(reason).as_str());
        headers.insert(header::ATTEMPTS, delivery.attempt.to_string().as_str());
        headers.insert(header::POSITION, record.position.0.to_string().as_str());
        headers.insert(header::SUBJECT, record.subject.as_str());
        headers.insert(header::ID, record.id.as_str());
        let subject = format!("dead.{consumer}.{last_token}");
        let published = self.inner.publish(&subject, headers, record.payload.clone()).await;
        published.map_err(|error| match error {
            AppendError::Refused(text) => LogError::Failed(text),
            other => LogError::Unavailable(other.to_string()),
        })?;
        self.ack(std::slice::from_ref(delivery)).await
    }
}
