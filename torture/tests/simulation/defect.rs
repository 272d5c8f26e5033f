//! Worlds that break a promise on purpose, to see whether the simulation finds it. The product is the real one in all of them; what it
//! stands on behaves as if the product, or a server below it, had the defect.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Records count as acked when they are handed out: as a worker that acks before it commits.
    AckBeforeCommit,
    /// An append without an answer counts as one that was refused: as a lane that does not look what became of it.
    SilenceIsRefusal,
    /// The log takes an append whatever the last position was: as a lane that does not ask for the comparison.
    NoCompare,
    /// Client message ids are not unique in the store.
    NoUniqueIndex,
    /// One commit in a hundred is none.
    LostCommit,
}
