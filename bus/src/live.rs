//! Live fan-out's duties: at most once, in publishing order per publisher and subject, routed by interest, and a notice
//! ([`LiveItem::Lost`]) whenever something may be missing, so that a subscriber never loses silently.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Subject;

#[derive(Clone, Debug)]
pub struct LiveMessage {
    pub subject: Subject,
    pub payload: Bytes,
}

#[derive(Clone, Debug)]
pub enum LiveItem {
    Message(LiveMessage),
    /// Messages may be missing before the next one: the subscriber was too slow, or the connection was away.
    Lost,
}

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("live fan-out is not reachable: {0}")]
    Unavailable(String),
}

#[async_trait]
pub trait Live: Send + Sync + 'static {
    /// Hands the message to whoever is subscribed now. `Ok` promises nothing about arrival.
    async fn publish(&self, subject: Subject, payload: Bytes) -> Result<(), LiveError>;

    /// Returns when everything published before on this handle has left this process.
    async fn flush(&self) -> Result<(), LiveError>;

    /// `pattern` may hold wildcards. When this returns, a message published later (by anybody who can know of the return)
    /// arrives. Dropping the subscription ends it.
    async fn subscribe(&self, pattern: Subject) -> Result<LiveSubscription, LiveError>;
}

/// A bounded queue of live items. When it overflows, items are dropped and one [`LiveItem::Lost`] stands in their place.
#[derive(Debug)]
pub struct LiveSubscription {
    receiver: mpsc::Receiver<LiveItem>,
    /// Ends the back end's side when the subscriber is gone.
    _guard: Option<Box<dyn std::any::Any + Send + Sync>>,
}

// `dyn Any` has no Debug that says something; the receiver's is enough.
impl LiveSubscription {
    pub fn new(receiver: mpsc::Receiver<LiveItem>, guard: Option<Box<dyn std::any::Any + Send + Sync>>) -> Self {
        metrics::gauge!("sealpost_live_subscriptions").increment(1.0);
        Self { receiver, _guard: guard }
    }

    /// `None` when the bus has shut down. Cancel-safe.
    pub async fn recv(&mut self) -> Option<LiveItem> {
        self.receiver.recv().await
    }
}

impl Drop for LiveSubscription {
    fn drop(&mut self) {
        metrics::gauge!("sealpost_live_subscriptions").decrement(1.0);
    }
}
