//! How unkind a world is: drawn from the seed, so that most seeds are hard in one way and some in all.

use super::chance::Chance;

/// In a thousand.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    /// An append is stored and its answer lost.
    pub answer_lost: u32,
    /// An append is lost.
    pub request_lost: u32,
    /// An append comes through after its sender was told that nobody knows.
    pub late: u32,
    /// A worker's ack is lost, so that the record comes again.
    pub ack_lost: u32,
    /// A live message is lost, with a notice, or without one where none is promised.
    pub live_lost: u32,
    /// A statement of the store fails.
    pub store_fails: u32,
    /// A process ends at a named point: after the append and before its answer, before or after a commit, before an ack.
    pub killed_at_point: u32,
    /// The broker comes back without what it had not synced.
    pub forgets: bool,
    /// Some messages are sent through several gateways at once, unmarked. Against these stands only what lanes remember and, as the last
    /// guard, the store's index: an answer that said accepted is then corrected.
    pub copies: bool,
}

impl Nature {
    /// Client message ids that lanes remember: so few that what is beyond memory is met, where clients mark what they repeat.
    pub fn max_known(self) -> usize {
        if self.copies { 256 } else { 6 }
    }

    pub fn draw(chance: &Chance) -> Self {
        let often = |most: usize| {
            let some = chance.below(most) as u32;
            if chance.permille(400) { some } else { 0 }
        };
        Self {
            answer_lost: often(150),
            request_lost: often(150),
            late: often(100),
            ack_lost: often(300),
            live_lost: often(400),
            store_fails: often(60),
            killed_at_point: often(30),
            forgets: chance.permille(350),
            copies: chance.permille(500),
        }
    }
}
