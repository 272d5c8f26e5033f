//! Live fan-out inside one process.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use crate::live_queue::LiveQueue;
use crate::{Live, LiveError, LiveMessage, LiveSubscription, Subject};

/// Queues of all subscriptions. Cloning shares them.
#[derive(Clone, Debug)]
pub struct EmbeddedLive {
    registry: Arc<RwLock<Registry>>,
    queue: usize,
}

#[derive(Debug, Default)]
struct Registry {
    next: u64,
    /// Subscriptions without wildcards, by subject: a publish looks here once.
    exact: HashMap<Subject, Vec<(u64, LiveQueue)>>,
    patterns: Vec<(u64, Subject, LiveQueue)>,
}

impl EmbeddedLive {
    /// `queue`: messages that a subscription holds before it loses some.
    pub fn new(queue: usize) -> Self {
        Self { registry: Arc::default(), queue }
    }
}

/// Ends the subscription when the subscriber drops it.
struct Guard {
    registry: Weak<RwLock<Registry>>,
    number: u64,
    pattern: Subject,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(registry) = self.registry.upgrade() else { return };
        let mut registry = registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.patterns.retain(|(number, ..)| *number != self.number);
        if let Some(queues) = registry.exact.get_mut(&self.pattern) {
            queues.retain(|(number, _)| *number != self.number);
            if queues.is_empty() {
                registry.exact.remove(&self.pattern);
            }
        }
    }
}

#[async_trait]
impl Live for EmbeddedLive {
    async fn publish(&self, subject: Subject, payload: Bytes) -> Result<(), LiveError> {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let message = LiveMessage { subject, payload };
        for (_, queue) in registry.exact.get(&message.subject).into_iter().flatten() {
            queue.push(message.clone());
        }
        for (_, _, queue) in registry.patterns.iter().filter(|(_, pattern, _)| pattern.matches(&message.subject)) {
            queue.push(message.clone());
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), LiveError> {
        Ok(())
    }

    async fn subscribe(&self, pattern: Subject) -> Result<LiveSubscription, LiveError> {
        let (queue, receiver) = LiveQueue::new(self.queue);
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.next += 1;
        let number = registry.next;
        if pattern.as_str().contains(['*', '>']) {
            registry.patterns.push((number, pattern.clone(), queue));
        } else {
            registry.exact.entry(pattern.clone()).or_default().push((number, queue));
        }
        let guard = Guard { registry: Arc::downgrade(&self.registry), number, pattern };
        Ok(LiveSubscription::new(receiver, Some(Box::new(guard))))
    }
}
