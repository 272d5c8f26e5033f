//! What happens to an event after it is in the log: [`persistence`] stores it, [`delivery`] pushes it to the gateways. [`outbox`] brings
//! control changes into the log that were left behind, [`timers`] does what is due, [`webhooks`] tells receivers of what is stored, and
//! [`dead_letters`] looks after what could not be processed.
//!
//! Workers never see plaintext: this crate does not depend on `sealing`. Every failure is retry (with growing delays), dead (to the
//! dead letters, with a reason) or stop.

mod config;
mod consumer;
pub mod dead_letters;
pub mod delivery;
pub mod outbox;
pub mod persistence;
mod record;
mod retry;
pub mod timers;
mod transaction;
pub mod webhooks;

pub use config::WorkersConfig;
pub use record::BadRecord;
