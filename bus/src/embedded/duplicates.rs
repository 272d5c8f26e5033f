//! Which ids were appended lately, and where.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Ids of the duplicate window as 128 random-keyed hash bits (two ids clash once in 2^128), bounded in number.
#[derive(Debug)]
pub(super) struct Duplicates {
    keys: (RandomState, RandomState),
    /// Hash to (position, time in milliseconds).
    known: HashMap<u128, (u64, i64)>,
    order: VecDeque<(u128, i64)>,
    window: i64,
    capacity: usize,
}

impl Duplicates {
    pub(super) fn new(window: i64, capacity: usize) -> Self {
        let (known, order) = (HashMap::new(), VecDeque::new());
        Self { keys: (RandomState::new(), RandomState::new()), known, order, window, capacity: capacity.max(1) }
    }

    fn key(&self, id: &str) -> u128 {
        u128::from(self.keys.0.hash_one(id)) << 64 | u128::from(self.keys.1.hash_one(id))
    }

    pub(super) fn find(&self, id: &str, now: i64) -> Option<u64> {
        self.known.get(&self.key(id)).filter(|(_, at)| now - at < self.window).map(|(position, _)| *position)
    }

    pub(super) fn insert(&mut self, id: &str, position: u64, at: i64) {
        let key = self.key(id);
        self.known.insert(key, (position, at));
        self.order.push_back((key, at));
        while let Some((key, time)) = self.order.front().copied() {
            if self.order.len() <= self.capacity && at - time < self.window {
                break;
            }
            self.order.pop_front();
            // A newer append of the same id has its own entry in the order.
            if self.known.get(&key).is_some_and(|(_, newest)| *newest == time) {
                self.known.remove(&key);
            }
        }
    }

    /// Takes back the ids of a group that was not committed.
    pub(super) fn remove(&mut self, id: &str) {
        let key = self.key(id);
        self.known.remove(&key);
    }
}
