//! Processes of a simulated world: they live until they are ended, and then do nothing any more, in the middle of whatever it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Whether a process lives. Everything that it does outside of itself asks here first.
pub struct Life {
    ended: AtomicBool,
    noticed: Notify,
    /// What the program's own tasks end by. A killed process does not get to act on it: it cannot reach anything.
    pub stop: CancellationToken,
}

impl Life {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { ended: AtomicBool::new(false), noticed: Notify::new(), stop: CancellationToken::new() })
    }

    /// Kills it, here and now.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.stop.cancel();
        self.noticed.notify_waiters();
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns if it lives; else never.
    pub async fn alive(&self) {
        if self.has_ended() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when it has ended.
    pub async fn until_ended(&self) {
        self.stop.cancelled().await;
    }
}
