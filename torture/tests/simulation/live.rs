//! Live fan-out that loses messages: with a notice to the subscriber, or silently on the publisher's side.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sealpost_bus::{Live, LiveError, LiveItem, LiveMessage, LiveSubscription, Subject};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::broker::Broker;
use super::process::Life;

#[derive(Default)]
pub struct Wires {
    subscribers: Mutex<Vec<(Subject, mpsc::Sender<LiveItem>)>>,
}

pub struct SimulatedLive {
    pub wires: Arc<Wires>,
    pub broker: Arc<Broker>,
    pub life: Arc<Life>,
}

#[async_trait]
impl Live for SimulatedLive {
    async fn publish(&self, subject: Subject, payload: Bytes) -> Result<(), LiveError> {
        self.life.alive().await;
        if self.broker.is_away() {
            return Err(LiveError::Unavailable("simulated: away".to_owned()));
        }
        // Written to a connection that was dying.
        if self.broker.happens(self.broker.nature.live_lost / 4) {
            return Ok(());
        }
        let mut subscribers = self.wires.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|(_, sender)| !sender.is_closed());
        for (pattern, sender) in subscribers.iter().filter(|(pattern, _)| pattern.matches(&subject)) {
            let lost = self.broker.happens(self.broker.nature.live_lost);
            let message = LiveMessage { subject: subject.clone(), payload: payload.clone() };
            let item = if lost { LiveItem::Lost } else { LiveItem::Message(message) };
            assert!(sender.try_send(item).is_ok(), "a simulated subscription to {pattern} overflowed");
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), LiveError> {
        self.life.alive().await;
        sleep(self.broker.chance.millis(3)).await;
        if self.broker.is_away() {
            return Err(LiveError::Unavailable("simulated: away".to_owned()));
        }
        Ok(())
    }

    async fn subscribe(&self, pattern: Subject) -> Result<LiveSubscription, LiveError> {
        let (sender, receiver) = mpsc::channel(10_000);
        self.wires.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push((pattern, sender));
        Ok(LiveSubscription::new(receiver, None))
    }
}
