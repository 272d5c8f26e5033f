//! The lane against a log that can be told to misbehave, and a real SQLite store.

mod cases;
mod log;
mod world;
