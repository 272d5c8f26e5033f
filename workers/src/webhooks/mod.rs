//! The webhook worker: tells receivers of stored events, in the order of each conversation.
//!
//! It runs beside delivery, in the same process, and reads the store: what is not stored yet is told when it is. A receiver gets ids and
//! numbers, for nobody here could open a message. Promised:
//! - events of one conversation come in order, and each batch is repeated until it is taken: at least once, each once when all goes well;
//! - one request at a time for a webhook and conversation, however many workers there are: a row is leased before anything is sent, and
//!   whoever holds no lease any more moves nothing on;
//! - only what the reader of the webhook sees at the moment of sending: nothing after a removal, nothing from before they may see it;
//! - a conversation whose events are not taken holds up no other one, and a receiver that is away is asked by one request at a time, with
//!   growing pauses, and after days no more;
//! - nothing here holds up delivery: its tasks, its connections to the store and its pace are its own.
//!
//! `tests/workers/webhooks.rs` keeps these.

mod body;
mod config;
mod deliver;
mod due;
mod outcome;
mod pings;
mod worker;

pub use config::WebhookWorkerConfig;
pub use worker::{Parts, run};

/// Events of one request at most. Part of the protocol: `docs/webhooks.md`.
pub const MAX_EVENTS: usize = 100;
