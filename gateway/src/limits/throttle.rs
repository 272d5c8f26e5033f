//! Delays after failed sign-ins.
//!
//! Failures are counted three ways: by account and address together, by address, and by account over all strange addresses. An
//! attempt is counted before it is made, so that many at once gain nothing, and taken back when it succeeds. The count of an account
//! does not hold for an address that it was signed in from before: its owner is not kept out by a stranger. Without failures
//! everything is forgotten after an hour.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sealpost_schema::Timestamp;

use super::config::LimitsConfig;
use super::rates::block;

/// A counter without failures for so long is gone.
const FORGET: Duration = Duration::from_hours(1);
/// Failures over all accounts from one address, and over all strange addresses to one account, are more by nature: many sit
/// behind one address. So these begin later and end at a minute.
const WIDER: u32 = 6;
const MAX_WIDE_DELAY: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Pair(u64, IpAddr),
    Address(IpAddr),
    Account(u64),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// The counters of this process.
pub struct Throttle {
    counters: Mutex<HashMap<Key, Failures>>,
    max: usize,
    free: u32,
    max_delay: Duration,
}

/// An attempt that was let through.
pub struct Attempt {
    keys: [Key; 3],
}

impl Throttle {
    pub fn new(config: &LimitsConfig) -> Self {
        Self {
            counters: Mutex::default(),
            max: config.max_counted,
            free: config.free_failures,
            max_delay: Duration::from_secs(config.max_delay_seconds),
        }
    }

    /// Counts an attempt to sign in to `account` (whatever names it, there or not) as failed. `is_known`: the account was signed in from
    /// this address before. The error is how long to wait.
    pub fn attempt(&self, account: &str, address: IpAddr, is_known: bool, now: Timestamp) -> Result<Attempt, Duration> {
        let (account, address) = (hash(account), block(address));
        let keys = [Key::Pair(account, address), Key::Address(address), Key::Account(account)];
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = keys.iter().filter(|key| !(is_known && matches!(key, Key::Account(_))));
        let wait = wait.filter_map(|key| self.wait(*key, counters.get(key)?, now)).max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        for key in keys {
            if counters.len() >= self.max && !counters.contains_key(&key) {
                make_room(&mut counters, now);
            }
            let failures = counters.entry(key).or_insert(Failures { count: 0, last: now });
            if now.minus(FORGET) > failures.last {
                failures.count = 0;
            }
            failures.count = failures.count.saturating_add(1);
            failures.last = now;
        }
        Ok(Attempt { keys })
    }

    /// The attempt succeeded: this account and address begin anew, and nobody else pays for it.
    pub fn succeeded(&self, attempt: &Attempt) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &attempt.keys {
            if let Some(failures) = counters.get_mut(key) {
                failures.count = if matches!(key, Key::Pair(..)) { 0 } else { failures.count.saturating_sub(1) };
                if failures.count == 0 {
                    counters.remove(key);
                }
            }
        }
    }

    /// How long is left of the delay, if any.
    fn wait(&self, key: Key, failures: &Failures, now: Timestamp) -> Option<Duration> {
        let (free, max) = match key {
            Key::Pair(..) => (self.free, self.max_delay),
            Key::Address(_) | Key::Account(_) => (self.free.saturating_mul(WIDER), self.max_delay.min(MAX_WIDE_DELAY)),
        };
        let beyond = failures.count.checked_sub(free)?;
        let delay = Duration::from_secs(1_u64 << beyond.min(20)).min(max);
        let left = failures.last.plus(delay).millis() - now.millis();
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_millis)
    }
}

fn hash(account: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    account.hash(&mut hasher);
    hasher.finish()
}

/// Forgets what is old; if nothing is, the half with the fewest failures, so that a flood of new keys does not free who is delayed.
fn make_room(counters: &mut HashMap<Key, Failures>, now: Timestamp) {
    let before = counters.len();
    counters.retain(|_, failures| now.minus(FORGET) <= failures.last);
    if counters.len() * 10 > before * 9 {
        let mut counts: Vec<_> = counters.values().map(|failures| failures.count).collect();
        counts.sort_unstable();
        let middle = counts.get(counts.len() / 2).copied().unwrap_or(0);
        let mut spare = counts.len() / 2;
        counters.retain(|_, failures| {
            let goes = failures.count <= middle && spare > 0;
            spare -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000_000);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn throttle() -> Throttle {
        Throttle::new(&LimitsConfig::default())
    }

    #[test]
    fn delays_grow_and_end() {
        let throttle = throttle();
        let mut now = START;
        for _ in 0..5 {
            assert!(throttle.attempt("ada", address(1), false, now).is_ok());
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let wait = throttle.attempt("ada", address(1), false, now).err().unwrap();
            assert_eq!(wait, Duration::from_secs(seconds));
            now = now.plus(wait);
            assert!(throttle.attempt("ada", address(1), false, now).is_ok(), "after {seconds} s");
        }
        now = now.plus(FORGET + Duration::from_secs(1));
        for _ in 0..5 {
            assert!(throttle.attempt("ada", address(1), false, now).is_ok(), "forgotten");
        }
    }

    #[test]
    fn a_stranger_delays_strangers_and_not_the_owner() {
        let throttle = throttle();
        for number in 0..200 {
            let _ = throttle.attempt("ada", address(number), false, START);
        }
        assert!(throttle.attempt("ada", address(250), false, START).is_err(), "another stranger");
        assert!(throttle.attempt("ada", address(251), true, START).is_ok(), "an address that is known");
        assert!(throttle.attempt("bob", address(252), false, START).is_ok(), "another account");
        let wait = throttle.attempt("ada", address(250), false, START).err().unwrap();
        assert!(wait <= MAX_WIDE_DELAY, "{wait:?}: no lock");
    }

    #[test]
    fn one_address_cannot_try_every_account() {
        let throttle = throttle();
        let tried =
            (0..200).filter(|number| throttle.attempt(&format!("user{number}"), address(1), false, START).is_ok());
        assert_eq!(tried.count(), 30);
    }

    #[test]
    fn success_is_not_counted() {
        let throttle = throttle();
        for _ in 0..100 {
            let attempt = throttle.attempt("ada", address(1), false, START).ok().unwrap();
            throttle.succeeded(&attempt);
        }
        assert!(throttle.counters.lock().unwrap().is_empty());
    }

    #[test]
    fn many_at_once_gain_nothing() {
        let throttle = throttle();
        let let_in = (0..100).filter(|_| throttle.attempt("ada", address(1), false, START).is_ok()).count();
        assert_eq!(let_in, 5);
    }

    #[test]
    fn a_flood_of_names_does_not_free_who_is_delayed() {
        let throttle = Throttle::new(&LimitsConfig { max_counted: 1000, ..LimitsConfig::default() });
        for _ in 0..5 {
            throttle.attempt("ada", address(1), false, START).ok().unwrap();
        }
        for number in 0..5000_u32 {
            let from = IpAddr::from((10_u32 << 24 | number).to_be_bytes());
            let _ = throttle.attempt(&format!("user{number}"), from, false, START);
        }
        assert!(throttle.counters.lock().unwrap().len() <= 1002);
        assert!(throttle.attempt("ada", address(1), false, START).is_err());
    }
}
