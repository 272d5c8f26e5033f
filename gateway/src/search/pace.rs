//! How much of the machine the index takes: much while little happens, little while messages pour in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::config::SearchConfig;

/// From so many events a second on, the index steps back.
const BUSY_PER_SECOND: f64 = 1000.0;
/// The rest after writing, as a multiple of the time that writing took. SQLite has one writer, so this is also the part of it that is the
/// index's: a half, a fifth, a twentieth.
const WHEN_QUIET: u32 = 1;
const WHEN_UNKNOWN: u32 = 4;
const WHEN_BUSY: u32 = 19;
/// A rate over less says nothing.
const LEAST_LOOK: Duration = Duration::from_millis(50);

/// Counts the events that this process appends.
#[derive(Debug, Default)]
pub struct Traffic(AtomicU64);

impl Traffic {
    pub fn note(&self, events: usize) {
        self.0.fetch_add(events as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says how long to rest.
pub struct Pace {
    /// `None`: not known here.
    traffic: Option<Arc<Traffic>>,
    looked: Instant,
    count: u64,
    times: u32,
}

impl Pace {
    pub fn new(traffic: Option<Arc<Traffic>>) -> Self {
        let count = traffic.as_ref().map_or(0, |traffic| traffic.count());
        let times = if traffic.is_some() { WHEN_QUIET } else { WHEN_UNKNOWN };
        Self { traffic, looked: Instant::now(), count, times }
    }

    /// How long the index lets others write after it wrote so many messages in this time.
    pub fn rest(&mut self, config: &SearchConfig, messages: usize, took: Duration) -> Duration {
        self.look(self.looked.elapsed());
        rest(config, messages, took, self.times)
    }

    fn look(&mut self, passed: Duration) {
        let Some(traffic) = self.traffic.as_ref().filter(|_| passed >= LEAST_LOOK) else { return };
        let count = traffic.count();
        #[expect(clippy::cast_precision_loss, reason = "events of a moment are far below 2^52")]
        let per_second = (count - self.count) as f64 / passed.as_secs_f64();
        self.times = if per_second < BUSY_PER_SECOND { WHEN_QUIET } else { WHEN_BUSY };
        (self.count, self.looked) = (count, Instant::now());
    }
}

fn rest(config: &SearchConfig, messages: usize, took: Duration, times: u32) -> Duration {
    if config.messages_per_second == 0 {
        return Duration::ZERO;
    }
    let messages = u32::try_from(messages).unwrap_or(u32::MAX);
    let paced = (Duration::from_secs(1) * messages / config.messages_per_second).saturating_sub(took);
    paced.max(took * times)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_rests_by_rate_and_by_the_time_that_it_wrote() {
        let config = SearchConfig { messages_per_second: 100, ..SearchConfig::default() };
        assert_eq!(rest(&config, 50, millis(10), 4), millis(490));
        assert_eq!(rest(&config, 1, millis(10), 4), millis(40));
        let free = SearchConfig { messages_per_second: 0, ..config };
        assert_eq!(rest(&free, 50, millis(10), 4), Duration::ZERO);
    }

    #[test]
    fn it_steps_back_while_messages_pour_in() {
        let traffic = Arc::new(Traffic::default());
        let mut pace = Pace::new(Some(Arc::clone(&traffic)));
        let times = |pace: &mut Pace, events, passed| {
            traffic.note(events);
            pace.look(passed);
            pace.times
        };
        assert_eq!(times(&mut pace, 50, millis(100)), WHEN_QUIET);
        assert_eq!(times(&mut pace, 1000, millis(100)), WHEN_BUSY);
        assert_eq!(times(&mut pace, 0, millis(10)), WHEN_BUSY, "too short a look");
        assert_eq!(times(&mut pace, 0, millis(100)), WHEN_QUIET);
        let mut elsewhere = Pace::new(None);
        elsewhere.look(millis(1000));
        assert_eq!(elsewhere.times, WHEN_UNKNOWN);
    }
}
