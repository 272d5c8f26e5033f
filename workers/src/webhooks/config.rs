//! The section of the webhook worker.

use std::time::Duration;

use serde::Deserialize;

use crate::retry::{doubled, jittered};

/// Section `workers.webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookWorkerConfig {
    /// Requests at a time, of this process and to one webhook. 32 and 4.
    pub concurrency: usize,
    pub concurrency_per_webhook: usize,
    /// Pause between looks at what is to be tried again, in milliseconds. 1,000.
    pub interval_ms: u64,
    /// Pause between looks at everything, for what no notice told of, in milliseconds. 30,000.
    pub sweep_ms: u64,
    /// A request takes at most this long, in milliseconds. 10,000.
    pub timeout_ms: u64,
    /// A conversation is left to the worker that took it for this long, in milliseconds. 30,000.
    pub lease_ms: u64,
    /// First and longest pause before a failed request is made again, in milliseconds; it doubles each time. 5,000 and 3,600,000.
    pub first_delay_ms: u64,
    pub max_delay_ms: u64,
    /// When nothing was taken for this long, the webhook is disabled, in hours. 72.
    pub give_up_hours: u64,
    /// Longest pause between attempts while the database is away, in milliseconds. 5,000.
    pub retry_max_ms: u64,
}

impl Default for WebhookWorkerConfig {
    fn default() -> Self {
        Self {
            concurrency: 32,
            concurrency_per_webhook: 4,
            interval_ms: 1000,
            sweep_ms: 30_000,
            timeout_ms: 10_000,
            lease_ms: 30_000,
            first_delay_ms: 5000,
            max_delay_ms: 3_600_000,
            give_up_hours: 72,
            retry_max_ms: 5000,
        }
    }
}

impl WebhookWorkerConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("workers.webhooks.{key} is {value}: use {least} to {most}"));
            }
        };
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        within("concurrency", count(self.concurrency), 1, 1000);
        within("concurrency_per_webhook", count(self.concurrency_per_webhook), 1, count(self.concurrency).max(1));
        within("interval_ms", self.interval_ms, 10, 3_600_000);
        within("sweep_ms", self.sweep_ms, 10, 3_600_000);
        within("timeout_ms", self.timeout_ms, 100, 60_000);
        // A request that is under way must not be made by another worker as well.
        within("lease_ms", self.lease_ms, self.timeout_ms.saturating_mul(2), 3_600_000);
        within("first_delay_ms", self.first_delay_ms, 10, 3_600_000);
        within("max_delay_ms", self.max_delay_ms, self.first_delay_ms, 86_400_000);
        within("give_up_hours", self.give_up_hours, 1, 720);
        within("retry_max_ms", self.retry_max_ms, 100, 600_000);
        wrong
    }

    /// The pause after this many failures in a row, shortened by a random share of up to a half.
    pub(super) fn delay(&self, failures: i64) -> Duration {
        let times = u32::try_from(failures.saturating_sub(1).max(0)).unwrap_or(u32::MAX);
        jittered(doubled(Duration::from_millis(self.first_delay_ms), times, Duration::from_millis(self.max_delay_ms)))
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(super) fn give_up(&self) -> Duration {
        Duration::from_secs(self.give_up_hours.saturating_mul(3600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_seconds_to_an_hour() {
        let config = WebhookWorkerConfig::default();
        let mut last = Duration::ZERO;
        for (failures, seconds) in [(1, 5), (2, 10), (3, 20), (4, 40), (10, 2560), (11, 3600), (1000, 3600)] {
            let (delay, longest) = (config.delay(failures), Duration::from_secs(seconds));
            assert!(delay <= longest && delay >= longest / 2, "{failures}: {delay:?}");
            assert!(longest >= last);
            last = longest;
        }
        assert!(config.delay(0) <= Duration::from_secs(5));
    }
}
