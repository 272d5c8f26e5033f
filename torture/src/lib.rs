//! Proves what Sealpost promises, in the manner of Jepsen: clients work while things break, everything they did, were told and saw is
//! written down ([`history`]), and a checker that knows nothing of the servers holds it against the promises ([`checker`]).
//!
//! - `client`: people on several devices, with an outbox and a cursor, as `docs/protocol.md` wants clients to be;
//! - `nemesis`: faults, and the schedule that a seed makes of them;
//! - `run`: a stack, both of these, healing, and reading everything back;
//! - [`report`]: text, JSON and a picture;
//! - [`soak`](soak()): the same servers without faults, and many clients that come and go.
//!
//! `docs/reliability.md` says what was run and found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is a run of the harness")]

pub mod checker;
mod client;
mod directory;
pub mod history;
mod measure;
mod nemesis;
mod recorder;
pub mod report;
mod run;
mod soak;
mod stacks;

use std::path::Path;

pub use nemesis::{Fault, Schedule, Skipped};
pub use run::{Outcome, Request, run};
pub use soak::{Counts, Report as SoakReport, Soak, soak};
pub use stacks::Stacks;

/// Judges a history that was written before.
pub fn check_file(path: &Path) -> std::io::Result<checker::Verdict> {
    let history = history::read(&std::fs::read_to_string(path)?).map_err(std::io::Error::other)?;
    Ok(checker::check(&history))
}
