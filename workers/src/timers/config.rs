//! Settings of the timers worker.

use std::time::Duration;

use serde::Deserialize;

/// Section `workers.timers`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimersConfig {
    /// Longest sleep, in milliseconds: what no notice told of is found after it. 5,000.
    pub interval_ms: u64,
    /// Rows taken at a time, and messages destroyed in one transaction. 100.
    pub page: u64,
    /// Conversations in which scheduled messages are sent at a time. 16.
    pub concurrency: usize,
    /// A scheduled message that a worker began to send so long ago, and that is not stored, is sent by another one, in milliseconds.
    /// 15,000.
    pub lease_ms: u64,
    /// Pause between looks at what is older than it is kept, in milliseconds. 60,000.
    pub retention_interval_ms: u64,
    /// Longest pause between attempts while the database is away, in milliseconds. 5,000.
    pub retry_max_ms: u64,
}

impl Default for TimersConfig {
    fn default() -> Self {
        Self {
            interval_ms: 5_000,
            page: 100,
            concurrency: 16,
            lease_ms: 15_000,
            retention_interval_ms: 60_000,
            retry_max_ms: 5_000,
        }
    }
}

impl TimersConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("workers.timers.{key} is {value}: use {least} to {most}"));
            }
        };
        within("interval_ms", self.interval_ms, 10, 60_000);
        within("page", self.page, 1, 10_000);
        within("concurrency", u64::try_from(self.concurrency).unwrap_or(u64::MAX), 1, 1_000);
        within("lease_ms", self.lease_ms, 100, 600_000);
        within("retention_interval_ms", self.retention_interval_ms, 10, 86_400_000);
        within("retry_max_ms", self.retry_max_ms, 100, 600_000);
        wrong
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(super) fn retention_interval(&self) -> Duration {
        Duration::from_millis(self.retention_interval_ms)
    }

    pub(super) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.retry_max_ms)
    }
}
