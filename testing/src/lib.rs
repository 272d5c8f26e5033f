//! Whole Sealposts for tests: real processes, a real broker, a real database, real sockets.
//!
//! - [`Stack`]: one Sealpost, embedded or as a cluster, with data of its own. Its processes can be killed, stopped and started again;
//!   none outlives the test process, and their logs are printed when a test fails.
//! - [`User`]: a signed-in person on one gateway; [`Reply`] prints what was asked and answered when it is not what a test wants.
//! - [`Socket`]: a WebSocket that fails the test by itself when an event is missing, double or out of order ([`View`]).
//! - [`State`]: what a reader makes of events and pages.
//! - [`Load`]: a sender that behaves as a good client does, through crashes: it re-sends what has no answer. [`check_history`] then holds
//!   what it was told against what is there.
//! - [`Authenticator`]: a device with passkeys.
//! - [`Provider`]: signs people in elsewhere.
//! - [`Receiver`]: takes webhooks, or does not.
//! - [`Disk`]: one that can be full.
//! - [`Proxy`]: between any two of them, where connections are slow, swallowed and cut.
//!
//! The suites are in `tests/`: `stacks` (the same cases on both stacks) and `faults` (crashes and outages).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is the test that uses it")]

mod api;
mod authenticator;
mod certificate;
mod database;
mod disk;
mod files;
mod history;
mod http;
mod load;
mod log;
mod mailbox;
mod port;
mod process;
mod provider;
mod proxy;
mod receiver;
mod settings;
mod shared;
mod socket;
mod stack;
mod state;
mod user;
mod view;
mod wait;

pub use api::{Api, Reply, problem};
pub use authenticator::Authenticator;
pub use certificate::Certificate;
pub use database::Database;
pub use disk::Disk;
pub use files::files_with;
pub use history::{check_history, check_view};
pub use load::{Load, Sent};
pub use mailbox::{Encryption, Mail, Mailbox};
pub use port::free_port;
pub use process::Process;
pub use provider::{CLIENT, CLIENT_SECRET, Provider, Signature};
pub use proxy::{Proxy, Weather};
pub use receiver::{Answer, Received, Receiver};
pub use settings::{Form, Settings, program};
pub use shared::{SHARED_ORIGIN, shared};
pub use socket::{Connect, Incoming, Refused, Socket, message};
pub use stack::{Links, Running, Stack};
pub use state::{Shown, State};
pub use user::{Message, User, unique};
pub use view::View;
pub use wait::{PATIENCE, eventually, within};
