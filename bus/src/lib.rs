//! Moves bytes for Sealpost and knows no event type.
//!
//! Two things are promised here, each for two back ends (NATS and in-process):
//! - the **event log** ([`EventLog`]): durable, at least once, compare-and-append per subject;
//! - **live fan-out** ([`Live`]): ephemeral, at most once, routed by interest, with a notice when something may be missing.
//!
//! The duties are written at the traits, and `tests/contract.rs` holds both back ends to them.

pub mod embedded;
mod failpoint;
pub mod jetstream;
mod live;
mod live_queue;
mod log;
mod subject;

pub use failpoint::failpoint;
pub use live::{Live, LiveError, LiveItem, LiveMessage, LiveSubscription};
pub use log::{
    Append, AppendError, Appended, Connection, Consumer, ConsumerConfig, ConsumerState, DeadLetter, DeadLetters,
    Delivery, EventLog, LogError, Position, Record, StreamState,
};
pub use subject::{Subject, SubjectError};
