//! Growing delays with jitter, for what fails for a while.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

const FIRST: Duration = Duration::from_millis(100);

/// Delays from 100 ms to a limit, doubling. Each is shortened by a random share of up to a half, so that workers which lost the
/// same server do not come back to it in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    limit: Duration,
}

impl Backoff {
    pub fn new(limit: Duration) -> Self {
        Self { failures: 0, limit }
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits for the next delay. `false`: the worker was told to stop.
    pub async fn wait(&mut self, stop: &CancellationToken) -> bool {
        let delay = jittered(doubled(FIRST, self.failures, self.limit));
        self.failures = self.failures.saturating_add(1);
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }
}

/// `first`, doubled `times` times, at most `limit`.
pub(crate) fn doubled(first: Duration, times: u32, limit: Duration) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(limit)
}

/// Shortened by a random share of up to a half.
pub(crate) fn jittered(delay: Duration) -> Duration {
    // The generator of the thread, which a simulation seeds.
    delay.saturating_sub((delay / 2).mul_f64(fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_jitter_takes_half_at_most() {
        let limit = Duration::from_secs(5);
        assert_eq!(doubled(FIRST, 0, limit), FIRST);
        assert_eq!(doubled(FIRST, 3, limit), FIRST * 8);
        assert_eq!(doubled(FIRST, 4_000_000, limit), limit);
        for _ in 0..100 {
            let delay = jittered(limit);
            assert!(delay <= limit && delay >= limit / 2, "{delay:?}");
        }
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(!Backoff::new(Duration::from_secs(5)).wait(&stop).await);
    }
}
