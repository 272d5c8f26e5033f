//! The event log and live fan-out on a NATS server (2.10.23 or newer; 2.12 or newer is advised).
//!
//! The log is the stream `CHAT` (`chat.>`), dead letters are the stream `DEAD` (`dead.>`), live messages are core NATS. Both
//! streams are made at every (re)connection if they are missing, and at the next append or consumer call after somebody
//! deleted them.
//!
//! With one replica, `last`, `next` and `get` are direct gets and see every acknowledged append. With more, a direct get
//! may be answered by a replica that lags, so they ask the stream's leader instead (`STREAM.MSG.GET`).
//!
//! `Ok` from an append means that the broker has the record; it survives a kill of the broker. Whether it survives a power
//! failure is for the server's `sync_interval` and the number of replicas.

mod config;
mod connect;
mod consumer;
mod dead_letters;
mod live;
mod log;
mod read;
mod streams;
mod version;

pub use config::{Credentials, JetStreamConfig};
pub use connect::JetStreamBus;
