//! Clients that behave as good ones do: an outbox that sends again, under the same name, until a message is stored; a cursor kept over
//! reconnects; a new session when the old one has ended. What they do, are told and see goes into the history.

mod device;
mod frames;
mod operations;
mod outbox;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use sealpost_testing::Running;

use crate::directory::Directory;
use crate::recorder::Recorder;

pub use device::Device;
pub use frames::read_all;
pub use socket::{Opened, Socket, open};

/// What all clients of a run share.
pub struct Shared {
    pub stack: Arc<Running>,
    pub directory: Directory,
    pub recorder: Recorder,
    pub seed: u64,
    /// Pause between two operations of one device.
    pub between: Duration,
    /// No new operations: only what is in the outboxes.
    pub drain: AtomicBool,
    /// The end: devices return.
    pub stop: AtomicBool,
    /// Each message is sent many times at once, through all gateways.
    pub duplicates: AtomicBool,
    pub next_connection: AtomicU32,
    /// Messages in outboxes.
    pub waiting: AtomicU64,
}

impl Shared {
    /// The address that a client uses.
    pub fn gateway(&self, number: usize) -> String {
        self.stack.front_url(number)
    }

    /// What every text holds, so that plaintext can be looked for.
    pub fn canary(&self) -> String {
        format!("canary of the mine {}", self.seed)
    }
}
