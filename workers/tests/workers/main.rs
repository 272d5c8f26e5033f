//! The workers on real databases and a real log.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod changes;
mod dead_letters;
mod delivery;
mod expiry;
mod harness;
mod outbox;
mod persistence;
mod retention;
mod scheduled;
mod webhooks;
