//! Holds a history against the promises. Linear in the history (but for sorting).
//!
//! | | invariant | checked in |
//! |---|---|---|
//! | I1 | no acknowledged message is lost, and no change of one | `kept`, `changes` |
//! | I2 | nothing appears twice | `kept`, `changes` |
//! | I3 | nothing comes from nowhere, and content is what was sent | `kept`, `changes` |
//! | I4 | one gap-free order for all, in every page and on every connection | `order`, `live` |
//! | I5 | real-time order, and a connection's sends keep theirs | `order` |
//! | I6 | each device gets each event exactly once and reaches the end | `live` |
//! | I7 | read your writes; what was read stays | `pages`, `changes` |
//! | I8 | receipts only rise, and say what was said | `receipts` |
//! | I9 | nobody sees, reads or sends what they may not | `access` |
//! | I10 | plaintext is nowhere | `world` |
//! | I11 | after healing nothing is left to do, and dead letters are those that were made | `world` |
//! | I12 | memory and handles come back | `world` |
//!
//! An event that was acknowledged as `accepted` only may get another number if the event log forgot it: what is excused so is counted
//! ([`Verdict::excused`]). What was acknowledged as `stored` is never excused. `tests/checker` has a defect for every road by which a
//! checker could miss one.

mod access;
mod changes;
mod digest;
mod kept;
mod live;
mod order;
mod pages;
mod receipts;
mod verdict;
mod world;

pub use digest::Digest;
pub use verdict::{Finding, Invariant, Verdict};

use crate::history::Entry;

/// Findings kept of each invariant; the rest is counted.
const KEPT: usize = 20;

/// Judges a whole history.
pub fn check(history: &[Entry]) -> Verdict {
    let digest = Digest::of(history);
    let mut verdict = Verdict::new(KEPT);
    kept::check(&digest, &mut verdict);
    order::check(&digest, &mut verdict);
    live::check(&digest, &mut verdict);
    pages::check(&digest, &mut verdict);
    changes::check(&digest, &mut verdict);
    receipts::check(&digest, &mut verdict);
    access::check(&digest, &mut verdict);
    world::check(&digest, &mut verdict);
    verdict
}
