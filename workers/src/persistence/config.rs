//! Settings of the persistence worker.

use std::time::Duration;

use serde::Deserialize;

use crate::retry::doubled;

/// Section `workers.persistence`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersistenceConfig {
    /// Records taken from the log at a time, at most. 500.
    pub max_records: usize,
    /// Events in one transaction, at most (but a record, which holds up to 128, is never split). 1,000.
    pub max_events: usize,
    /// A record that the store cannot take for a reason of its own goes to the dead letters after so many attempts. 10.
    pub max_attempts: u32,
    /// First delay of a record that is put back, in milliseconds; it doubles with each attempt. 500.
    pub put_back_ms: u64,
    /// Longest delay of a record that is put back, in milliseconds. 60,000.
    pub put_back_max_ms: u64,
    /// Longest pause between attempts while the log or the database is away, in milliseconds. 5,000.
    pub retry_max_ms: u64,
    /// Records that were not acked for so long are handed out again, in milliseconds. 30,000.
    pub ack_wait_ms: u64,
    /// Records in the hands of all persistence workers together, at most. 10,000.
    pub max_ack_pending: u32,
}

impl Default for PersistenceConfig {
    fn default() -> Self {
        Self {
            max_records: 500,
            max_events: 1000,
            max_attempts: 10,
            put_back_ms: 500,
            put_back_max_ms: 60_000,
            retry_max_ms: 5_000,
            ack_wait_ms: 30_000,
            max_ack_pending: 10_000,
        }
    }
}

impl PersistenceConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("workers.persistence.{key} is {value}: use {least} to {most}"));
            }
        };
        let records = u64::try_from(self.max_records).unwrap_or(u64::MAX);
        within("max_records", records, 1, 10_000);
        // One notice tells of a whole transaction, and the broker takes 1 MB a message.
        within("max_events", u64::try_from(self.max_events).unwrap_or(u64::MAX), 1, 2_000);
        within("max_attempts", u64::from(self.max_attempts), 1, 500);
        within("put_back_ms", self.put_back_ms, 1, 600_000);
        within("put_back_max_ms", self.put_back_max_ms, self.put_back_ms, 3_600_000);
        within("retry_max_ms", self.retry_max_ms, 100, 600_000);
        within("ack_wait_ms", self.ack_wait_ms, 100, 3_600_000);
        within("max_ack_pending", u64::from(self.max_ack_pending), records, u64::from(u32::MAX));
        wrong
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.retry_max_ms)
    }

    pub(crate) fn ack_wait(&self) -> Duration {
        Duration::from_millis(self.ack_wait_ms)
    }

    /// How long a record stays away that was handed out `attempt` times.
    pub(crate) fn put_back_delay(&self, attempt: u32) -> Duration {
        let (first, limit) = (Duration::from_millis(self.put_back_ms), Duration::from_millis(self.put_back_max_ms));
        doubled(first, attempt.saturating_sub(1), limit)
    }
}
