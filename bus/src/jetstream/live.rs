//! Live fan-out on core NATS.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::client::{Request, RequestErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use super::connect::{Inner, JetStreamBus};
use crate::live_queue::LiveQueue;
use crate::{Live, LiveError, LiveMessage, LiveSubscription, Subject};

/// Nobody subscribes to this. The server's «no responders» tells that it has handled all that was sent before.
const BARRIER: &str = "sealpost.barrier";

/// One subscription's queue.
#[derive(Debug)]
struct Told {
    queue: LiveQueue,
    /// The newest connection whose loss of the former one it was told of, or on which it began.
    connects: AtomicU64,
}

impl Told {
    /// Notes a reconnection once, whether its event or the first message after it comes first.
    fn reconnected(&self, connects: u64) {
        if self.connects.fetch_max(connects, Ordering::Relaxed) < connects {
            self.queue.lost();
        }
    }
}

/// The queues of all live subscriptions, to tell them of losses.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<(u64, HashMap<u64, Arc<Told>>)>);

impl Queues {
    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<u64, Arc<Told>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, queue: Arc<Told>) -> u64 {
        let mut queues = self.lock();
        queues.0 += 1;
        let number = queues.0;
        queues.1.insert(number, queue);
        number
    }

    pub(super) fn lost(&self) {
        for told in self.lock().1.values() {
            told.queue.lost();
        }
    }

    pub(super) fn reconnected(&self, connects: u64) {
        for told in self.lock().1.values() {
            told.reconnected(connects);
        }
    }
}

/// Ends the subscription when the subscriber drops it.
struct Guard {
    queues: Arc<Queues>,
    number: u64,
    pump: tokio::task::AbortHandle,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.pump.abort();
        self.queues.lock().1.remove(&self.number);
    }
}

/// Moves messages from the client's queue to ours.
async fn pump(mut messages: Subscriber, told: Arc<Told>, client: async_nats::Client) {
    let statistics = client.statistics();
    while let Some(message) = messages.next().await {
        // The event of a reconnection may come later than the first message after it, and the notice must not.
        told.reconnected(statistics.connects.load(Ordering::Relaxed));
        match Subject::new(message.subject.as_str()) {
            Ok(subject) => told.queue.push(LiveMessage { subject, payload: message.payload }),
            Err(error) => tracing::warn!(%error, "a live message with a foreign subject was passed over"),
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> LiveError {
    LiveError::Unavailable(error.to_string())
}

impl Inner {
    /// Returns when the server has handled everything that was sent before.
    async fn barrier(&self) -> Result<(), LiveError> {
        let request = Request::new().timeout(Some(self.config.request_timeout));
        let answer = self.client.send_request(BARRIER, request);
        // The client's own limit starts after its queue took the request.
        let limit = self.config.request_timeout + Duration::from_secs(1);
        match tokio::time::timeout(limit, answer).await.map_err(unavailable)? {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

#[async_trait]
impl Live for JetStreamBus {
    async fn publish(&self, subject: Subject, payload: Bytes) -> Result<(), LiveError> {
        self.inner.reachable().map_err(LiveError::Unavailable)?;
        self.inner.client.publish(subject.as_str().to_owned(), payload).await.map_err(unavailable)
    }

    async fn flush(&self) -> Result<(), LiveError> {
        self.inner.reachable().map_err(LiveError::Unavailable)?;
        let flush = tokio::time::timeout(self.inner.config.request_timeout, self.inner.client.flush());
        flush.await.map_err(unavailable)?.map_err(unavailable)
    }

    /// Needs the permission to publish to `sealpost.barrier`. In a cluster of servers, interest reaches the other servers
    /// moments after this returns.
    async fn subscribe(&self, pattern: Subject) -> Result<LiveSubscription, LiveError> {
        self.inner.reachable().map_err(LiveError::Unavailable)?;
        let connects = self.inner.connects();
        let (queue, receiver) = LiveQueue::new(self.inner.config.live_queue);
        let told = Arc::new(Told { queue, connects: AtomicU64::new(connects) });
        let client = self.inner.client.clone();
        let messages = client.subscribe(pattern.as_str().to_owned()).await.map_err(unavailable)?;
        let number = self.inner.queues.add(told.clone());
        let pump = tokio::spawn(pump(messages, told, client)).abort_handle();
        let guard = Guard { queues: self.inner.queues.clone(), number, pump };
        self.inner.barrier().await?;
        Ok(LiveSubscription::new(receiver, Some(Box::new(guard))))
    }
}
