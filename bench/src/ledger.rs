//! What became of each message of one pair, and of the order in which its events came.

use std::time::Duration;

const DELIVERED: u64 = 1 << 63;
const ACKNOWLEDGED: u64 = 1 << 62;
const REFUSED: u64 = 1 << 61;
const TIME: u64 = REFUSED - 1;

/// One word a message: when it was sent, in nanoseconds since the run's start, and what has come back.
#[derive(Default)]
pub struct Ledger {
    entries: Vec<u64>,
    acknowledged: u64,
    delivered: u64,
    refused: u64,
}

/// What an arrival was.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// With the time since its sending.
    First(Duration),
    Again,
    /// No such message was sent.
    Unknown,
}

impl Ledger {
    pub fn with_capacity(messages: usize) -> Self {
        Self { entries: Vec::with_capacity(messages), ..Self::default() }
    }

    /// The index of the next message.
    pub fn next(&self) -> usize {
        self.entries.len()
    }

    pub fn sent(&mut self, at: Duration) {
        self.entries.push(nanos(at));
    }

    pub fn delivered(&mut self, index: usize, now: Duration) -> Arrival {
        let arrival = self.mark(index, DELIVERED, now);
        self.delivered += u64::from(matches!(arrival, Arrival::First(_)));
        arrival
    }

    pub fn acknowledged(&mut self, index: usize, now: Duration) -> Arrival {
        let arrival = self.mark(index, ACKNOWLEDGED, now);
        self.acknowledged += u64::from(matches!(arrival, Arrival::First(_)));
        arrival
    }

    /// The server did not take it: neither an acknowledgement nor a delivery follows.
    pub fn refused(&mut self, index: usize) -> Arrival {
        let arrival = self.mark(index, REFUSED, Duration::ZERO);
        self.refused += u64::from(matches!(arrival, Arrival::First(_)));
        arrival
    }

    fn mark(&mut self, index: usize, mark: u64, now: Duration) -> Arrival {
        let Some(entry) = self.entries.get_mut(index) else { return Arrival::Unknown };
        if *entry & mark != 0 {
            return Arrival::Again;
        }
        *entry |= mark;
        Arrival::First(now.saturating_sub(Duration::from_nanos(*entry & TIME)))
    }

    pub fn unacknowledged(&self) -> u64 {
        self.sent_count() - self.refused - self.acknowledged
    }

    pub fn missing(&self) -> u64 {
        self.sent_count() - self.refused - self.delivered
    }

    pub fn sent_count(&self) -> u64 {
        self.entries.len() as u64
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(TIME) & TIME
}

/// Holds a connection to the promise of one order without gaps: each seq is the one after the last.
#[derive(Default)]
pub struct Order {
    /// None until the first event, if `ready` did not name the conversation.
    last: Option<u64>,
    pub violations: u64,
}

impl Order {
    pub fn from_head(head: Option<u64>) -> Self {
        Self { last: head, violations: 0 }
    }

    pub fn event(&mut self, seq: u64) {
        if self.last.is_some_and(|last| seq != last + 1) {
            self.violations += 1;
        }
        self.last = Some(self.last.map_or(seq, |last| last.max(seq)));
    }

    /// The server said that events up to here are left out: no silent gap, but nothing that should happen here.
    pub fn skipped_to(&mut self, seq: u64) {
        self.last = self.last.max(Some(seq));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn each_arrival_counts_once() {
        let mut ledger = Ledger::default();
        ledger.sent(ms(5));
        ledger.sent(ms(6));
        assert_eq!(ledger.delivered(1, ms(9)), Arrival::First(ms(3)));
        assert_eq!(ledger.delivered(1, ms(9)), Arrival::Again);
        assert_eq!(ledger.acknowledged(1, ms(10)), Arrival::First(ms(4)));
        assert_eq!(ledger.delivered(2, ms(9)), Arrival::Unknown);
        assert_eq!((ledger.missing(), ledger.unacknowledged()), (1, 1));
        assert!(matches!(ledger.refused(0), Arrival::First(_)));
        assert_eq!((ledger.missing(), ledger.unacknowledged(), ledger.sent_count()), (0, 0, 2));
    }

    #[test]
    fn gaps_repeats_and_swaps_violate_the_order() {
        let violations = |head, seqs: &[u64]| {
            let mut order = Order::from_head(head);
            for seq in seqs {
                order.event(*seq);
            }
            order.violations
        };
        assert_eq!(violations(Some(2), &[3, 4, 5]), 0);
        assert_eq!(violations(None, &[7, 8]), 0);
        assert_eq!(violations(Some(2), &[4, 5]), 1);
        assert_eq!(violations(Some(2), &[3, 3, 4]), 1);
        assert_eq!(violations(Some(2), &[4, 3, 5]), 2);
    }

    #[test]
    fn an_announced_gap_is_not_a_silent_one() {
        let mut order = Order::from_head(Some(2));
        order.skipped_to(8);
        order.event(9);
        assert_eq!(order.violations, 0);
    }
}
