//! Waiting for conditions. The limits only end tests that have failed already, so they are generous.

use std::time::{Duration, Instant};

/// Longer than anything takes, also on a busy machine and after an outage.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain waited for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The result of a future that must not hang.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("in vain waited for: {what}"))
}
