//! Proves what Sealpost promises, in the manner of Jepsen: clients work while things break, everything they did, were told and saw is
//! written down ([`history`]), and a checker that knows nothing of the servers holds it against the promises ([`checker`]).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here is a run of the harness")]

pub mod checker;
pub mod history;
