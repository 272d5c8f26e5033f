//! The lane against a log that can be told to misbehave, and a real SQLite store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod additions;
mod cases;
mod decided;
mod log;
mod world;
