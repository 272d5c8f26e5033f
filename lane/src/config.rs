//! Bounds of the lanes.

use std::time::Duration;

use serde::Deserialize;

/// Section `[lane]`. Times are in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LaneConfig {
    /// Drafts waiting for their number, per lane; a sender beyond it waits.
    pub queue: usize,
    /// Events in one record of the log.
    pub max_record_events: usize,
    /// Bytes of content in one record of the log. Keep it well below the broker's `max_payload`.
    pub max_record_bytes: usize,
    /// Appended events that the store has not confirmed, per lane. Beyond it senders wait: the store is behind.
    pub max_unstored: usize,
    /// The same for all lanes of the process together; bounds the memory that an outage of the store can take.
    pub max_unstored_total: usize,
    /// Client message ids remembered per lane, beside those that are not stored yet.
    pub max_known: usize,
    /// How long a client message id is remembered after it is stored.
    pub known_for_ms: u64,
    /// Lanes of the process at once.
    pub max_lanes: usize,
    /// A lane without work goes after this.
    pub idle_ms: u64,
    /// A sender hears «unknown» or «unavailable» after waiting this long for the event log.
    pub send_timeout_ms: u64,
    /// A sender hears «accepted, not yet stored» after waiting this long for the store.
    pub ack_timeout_ms: u64,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            queue: 512,
            max_record_events: 128,
            max_record_bytes: 256 * 1024,
            max_unstored: 16_384,
            max_unstored_total: 131_072,
            max_known: 8_192,
            known_for_ms: 600_000,
            max_lanes: 100_000,
            idle_ms: 600_000,
            send_timeout_ms: 10_000,
            ack_timeout_ms: 5_000,
        }
    }
}

impl LaneConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut at_least = |key: &str, value: usize, least: usize| {
            if value < least {
                wrong.push(format!("lane.{key} is {value}: use {least} or more"));
            }
        };
        at_least("queue", self.queue, 1);
        at_least("max_record_events", self.max_record_events, 1);
        at_least("max_record_bytes", self.max_record_bytes, 1024);
        at_least("max_unstored", self.max_unstored, self.max_record_events);
        at_least("max_unstored_total", self.max_unstored_total, self.max_unstored);
        at_least("max_known", self.max_known, self.max_record_events);
        at_least("max_lanes", self.max_lanes, 1);
        at_least("send_timeout_ms", usize::try_from(self.send_timeout_ms).unwrap_or(usize::MAX), 100);
        at_least("ack_timeout_ms", usize::try_from(self.ack_timeout_ms).unwrap_or(usize::MAX), 50);
        if self.max_record_bytes > 900_000 {
            wrong.push(format!(
                "lane.max_record_bytes is {}: use 900000 or less, the broker takes 1 MB per record",
                self.max_record_bytes
            ));
        }
        wrong
    }

    pub(crate) fn known_for(&self) -> Duration {
        Duration::from_millis(self.known_for_ms)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub(crate) fn send_timeout(&self) -> Duration {
        Duration::from_millis(self.send_timeout_ms)
    }

    pub(crate) fn ack_timeout(&self) -> Duration {
        Duration::from_millis(self.ack_timeout_ms)
    }
}
