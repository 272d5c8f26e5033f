//! One source of chance for everything in a simulated world.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

#[derive(Clone)]
pub struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    fn with<T>(&self, ask: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether something happens that happens so often in a thousand.
    pub fn permille(&self, often: u32) -> bool {
        self.with(|random| random.u32(0..1000) < often)
    }

    pub fn below(&self, limit: usize) -> usize {
        self.with(|random| random.usize(0..limit.max(1)))
    }

    pub fn millis(&self, limit: u64) -> Duration {
        Duration::from_micros(self.with(|random| random.u64(0..=limit * 1000)))
    }

    pub fn shuffle<T>(&self, items: &mut [T]) {
        self.with(|random| random.shuffle(items));
    }

    /// Ids grow with time, as those of version 7 do.
    pub fn id(&self, now: Duration) -> Uuid {
        let millis = 1_795_000_000_000 + now.as_millis();
        let random = self.with(|random| random.u64(..));
        Uuid::from_u128((millis << 80) | (7 << 76) | (2 << 62) | u128::from(random >> 2))
    }
}
