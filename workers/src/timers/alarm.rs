//! Being woken by a gateway that knows of something to do.

use std::sync::Arc;

use sealpost_bus::{Live, LiveSubscription, Subject};
use sealpost_schema::TIMERS_SUBJECT;

/// Words on [`TIMERS_SUBJECT`]. They may be lost, so whoever waits for one also looks by themselves.
pub(super) struct Alarm {
    live: Arc<dyn Live>,
    subscription: Option<LiveSubscription>,
}

impl Alarm {
    pub fn new(live: Arc<dyn Live>) -> Self {
        Self { live, subscription: None }
    }

    /// Hears from now on, if that is possible now.
    pub async fn listen(&mut self) {
        if self.subscription.is_none()
            && let Ok(subject) = Subject::pattern(TIMERS_SUBJECT)
        {
            self.subscription = self.live.subscribe(subject).await.ok();
        }
    }

    /// Returns with the next word, or with what stands for lost ones. Cancel-safe.
    pub async fn rings(&mut self) {
        if let Some(subscription) = &mut self.subscription
            && subscription.recv().await.is_some()
        {
            return;
        }
        // The bus has shut down, or could not be reached: the one who waits looks by themselves.
        self.subscription = None;
        std::future::pending::<()>().await;
    }
}
