//! How the embedded log is set up.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of [`EmbeddedBus`](super::EmbeddedBus). [`EmbeddedConfig::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The folder; it is created if missing and belongs to one process at a time.
    pub path: PathBuf,
    /// Records older than this are deleted. 7 days.
    pub max_age: Duration,
    /// How long an id is remembered for duplicate detection. 2 minutes.
    pub duplicate_window: Duration,
    /// How many ids are remembered at most (about 70 bytes each); past it the oldest are forgotten early. 1,000,000.
    pub duplicate_capacity: usize,
    /// Appends in one commit at most. 1,024.
    pub max_batch: usize,
    /// Appends waiting for the writer at most; further ones wait before they enter. 8,192.
    pub queue: usize,
    /// Newest records kept in memory at most. 8,192.
    pub tail_records: usize,
    /// Bytes of payload kept in memory at most. 16 MiB.
    pub tail_bytes: usize,
    /// Read-only connections, so reads that go to the disk at a time. 4.
    pub readers: usize,
    /// A larger payload is refused. 1 MiB, as NATS does.
    pub max_record_bytes: usize,
}

impl EmbeddedConfig {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_age: Duration::from_hours(7 * 24),
            duplicate_window: Duration::from_mins(2),
            duplicate_capacity: 1_000_000,
            max_batch: 1024,
            queue: 8192,
            tail_records: 8192,
            tail_bytes: 16 << 20,
            readers: 4,
            max_record_bytes: 1 << 20,
        }
    }
}
