//! The search index on both stores: it is what the store says, in whatever order and however often things are stored and indexed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cases;
mod world;
