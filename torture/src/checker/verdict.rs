//! What the checker says.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Invariant {
    I1,
    I2,
    I3,
    I4,
    I5,
    I6,
    I7,
    I8,
    I9,
    I10,
    I11,
    I12,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Invariant {
    pub const ALL: [Self; 12] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::I1 => "nothing acknowledged is lost",
            Self::I2 => "nothing appears twice",
            Self::I3 => "nothing comes from nowhere",
            Self::I4 => "one gap-free order for everybody",
            Self::I5 => "real-time order",
            Self::I6 => "every device gets every event once",
            Self::I7 => "read your writes",
            Self::I8 => "receipts only rise",
            Self::I9 => "nobody gets what they may not see",
            Self::I10 => "plaintext is nowhere",
            Self::I11 => "nothing is left to do after healing",
            Self::I12 => "memory and handles come back",
        }
    }
}

/// One broken promise.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub invariant: Invariant,
    pub text: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The first ones of each invariant.
    pub findings: Vec<Finding>,
    /// How many there were of each.
    pub counts: BTreeMap<Invariant, u64>,
    /// How much was looked at.
    pub checked: BTreeMap<&'static str, u64>,
    /// Accepted, not stored, and changed by a log that forgot: allowed, and counted.
    pub excused: u64,
    #[serde(skip)]
    kept: usize,
}

impl Verdict {
    pub fn new(kept: usize) -> Self {
        Self { kept, ..Self::default() }
    }

    pub fn holds(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether this invariant was found broken.
    pub fn breaks(&self, invariant: Invariant) -> bool {
        self.counts.contains_key(&invariant)
    }

    pub(super) fn add(&mut self, invariant: Invariant, text: String) {
        let count = self.counts.entry(invariant).or_default();
        *count += 1;
        if *count <= self.kept as u64 {
            self.findings.push(Finding { invariant, text });
        }
    }

    pub(super) fn looked_at(&mut self, what: &'static str, count: u64) {
        *self.checked.entry(what).or_default() += count;
    }
}
