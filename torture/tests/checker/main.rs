//! Tests the checker itself: a history of a server that keeps its promises passes, and each deliberate defect is found. A checker that
//! misses one is worth nothing, so these run with every change.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of events in a test are small")]

mod defects;
mod model;
mod world;
