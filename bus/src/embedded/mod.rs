//! The event log and live fan-out inside one process.
//!
//! The log is one SQLite file (`log.db`, WAL, `synchronous=FULL`) with one writer thread. The thread commits everything that
//! is queued as one group, so an append costs one `fdatasync` alone and a fraction of one in company, and `Ok` means kept
//! even when the power fails. Readers use the memory tail for fresh records and read-only connections for old ones.
//!
//! Consumers live in memory; their state rides along with commits and is written at least every second, and at
//! [`EmbeddedBus::close`]. A crash may forget a second of acks: those records come again. Attempts start from the persisted
//! count, and a crash that finds a consumer at the same place as the one before counts as an attempt of its next
//! `max_ack_pending` records, so that a record which kills the process reaches the dead letters too.
//!
//! One process at a time owns the folder. [`EmbeddedDeadLetters`] is the exception, for a command line next to the server.

mod bus;
mod config;
mod consumer;
mod cursor;
mod database;
mod dead_letters;
mod duplicates;
mod live;
mod open;
mod readers;
mod shared;
mod tail;
mod upkeep;
mod writer;

pub use bus::EmbeddedBus;
pub use config::EmbeddedConfig;
pub use dead_letters::EmbeddedDeadLetters;
pub use live::EmbeddedLive;
