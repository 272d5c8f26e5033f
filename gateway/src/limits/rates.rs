//! Rates of requests, by class and by who sends them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::http::Method;
use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use sealpost_schema::UserId;

use super::config::LimitsConfig;

/// Newcomers beyond the bound share this many counters.
const SHARED: u64 = 1024;
/// Whether the bound is reached is asked at every so many checks: counting all counters costs more than one check.
const CHECKS_A_COUNT: u32 = 64;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Read,
    Write,
    /// Frames that change no message.
    Signal,
    SignIn,
}

impl Class {
    /// Of a request by somebody who is known.
    pub fn of(method: &Method) -> Self {
        if method.is_safe() { Self::Read } else { Self::Write }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Signal => "signal",
            Self::SignIn => "sign-in",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    User(UserId),
    Address(IpAddr),
    Shared(u64),
}

/// Where somebody stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub class: Class,
    /// Requests that may come at once, and in how many seconds they are there again.
    pub quota: u32,
    pub window_seconds: u64,
    pub remaining: u32,
}

/// Too many: come again after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub count: Count,
    pub retry_after: Duration,
}

type Limiter = RateLimiter<Key, DashMapStateStore<Key>, MonotonicClock, StateInformationMiddleware>;

struct Rate {
    limiter: Limiter,
    class: Class,
    quota: u32,
    window_seconds: u64,
    checks: AtomicU32,
    is_full: AtomicBool,
}

impl Rate {
    /// `per` requests in `period`; none is no limit.
    fn new(class: Class, per: u32, period: Duration, burst: u32) -> Option<Self> {
        let quota = NonZeroU32::new(per.saturating_mul(burst))?;
        let interval = period.checked_div(per)?;
        let limiter = Limiter::new(
            Quota::with_period(interval)?.allow_burst(quota),
            DashMapStateStore::default(),
            MonotonicClock,
        );
        let window_seconds = (period * burst).as_secs();
        let (checks, is_full) = (AtomicU32::new(0), AtomicBool::new(false));
        Some(Self { limiter: limiter.with_middleware(), class, quota: quota.get(), window_seconds, checks, is_full })
    }

    fn is_full(&self, max_counted: usize) -> bool {
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECKS_A_COUNT) {
            self.is_full.store(self.limiter.len() >= max_counted, Ordering::Relaxed);
        }
        self.is_full.load(Ordering::Relaxed)
    }

    fn check(&self, key: Key, max_counted: usize) -> Result<Count, Refusal> {
        let count =
            |remaining| Count { class: self.class, quota: self.quota, window_seconds: self.window_seconds, remaining };
        let key = if self.is_full(max_counted) { shared(key) } else { key };
        match self.limiter.check_key(&key) {
            Ok(state) => Ok(count(state.remaining_burst_capacity())),
            Err(refused) => {
                let retry_after = refused.wait_time_from(self.limiter.clock().now());
                Err(Refusal { count: count(0), retry_after })
            }
        }
    }
}

fn shared(key: Key) -> Key {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    Key::Shared(hasher.finish() % SHARED)
}

/// A provider gives its customers a whole /64 of IPv6, so that counts as one address.
pub fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// The counters of this process.
pub struct Limits {
    read: Option<Rate>,
    write: Option<Rate>,
    signal: Option<Rate>,
    sign_in: Option<Rate>,
    max_counted: usize,
}

impl Limits {
    pub fn new(config: &LimitsConfig) -> Self {
        let second = |class, per| Rate::new(class, per, Duration::from_secs(1), config.burst);
        let sign_in = Rate::new(Class::SignIn, config.sign_ins_per_minute, Duration::from_mins(1), config.burst);
        Self {
            read: second(Class::Read, config.reads_per_second),
            write: second(Class::Write, config.writes_per_second),
            signal: second(Class::Signal, config.signals_per_second),
            sign_in,
            max_counted: config.max_counted,
        }
    }

    /// Counts a request of a user. None: there is no limit.
    pub fn user(&self, user: UserId, method: &Method) -> Option<Result<Count, Refusal>> {
        self.check(Class::of(method), Key::User(user))
    }

    /// Counts a frame of a user. Nothing is allocated but for newcomers, and nobody waits longer than another check takes.
    ///
    /// # Errors
    /// Too many: how long to wait.
    pub fn frame(&self, user: UserId, class: Class) -> Result<(), Duration> {
        match self.check(class, Key::User(user)) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(refusal)) => Err(refusal.retry_after),
        }
    }

    /// Counts a request that begins or renews a session.
    pub fn sign_in(&self, address: IpAddr) -> Option<Result<Count, Refusal>> {
        self.check(Class::SignIn, Key::Address(block(address)))
    }

    fn check(&self, class: Class, key: Key) -> Option<Result<Count, Refusal>> {
        let rate = match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
            Class::Signal => &self.signal,
            Class::SignIn => &self.sign_in,
        };
        rate.as_ref().map(|rate| rate.check(key, self.max_counted))
    }

    /// Forgets those who have their whole quota again.
    pub fn forget_idle(&self) {
        for rate in [&self.read, &self.write, &self.signal, &self.sign_in].into_iter().flatten() {
            rate.limiter.retain_recent();
            rate.limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_counted: usize) -> Limits {
        let config = LimitsConfig {
            reads_per_second: 2,
            writes_per_second: 0,
            burst: 3,
            max_counted,
            ..LimitsConfig::default()
        };
        Limits::new(&config)
    }

    #[test]
    fn each_user_has_a_quota_of_their_own() {
        let (limits, ann, bob) = (limits(1000), UserId::new(), UserId::new());
        for remaining in (0..6).rev() {
            let count = limits.user(ann, &Method::GET).unwrap().unwrap();
            assert_eq!((count.quota, count.window_seconds, count.remaining), (6, 3, remaining));
        }
        let refusal = limits.user(ann, &Method::GET).unwrap().unwrap_err();
        assert!(refusal.retry_after <= Duration::from_millis(500), "{refusal:?}");
        assert!(limits.user(bob, &Method::GET).unwrap().is_ok());
        assert!(limits.user(ann, &Method::POST).is_none(), "switched off");
    }

    #[test]
    fn beyond_the_bound_newcomers_share_counters() {
        let limits = limits(10);
        for _ in 0..5000 {
            // They share, so some are refused; nothing more is kept.
            let _ = limits.user(UserId::new(), &Method::GET);
        }
        assert!(limits.read.as_ref().unwrap().limiter.len() <= 10 + 64 + 1024);
    }

    #[test]
    fn frames_and_requests_that_write_share_a_quota() {
        let config = LimitsConfig { writes_per_second: 2, signals_per_second: 1, burst: 3, ..LimitsConfig::default() };
        let (limits, ann, bob) = (Limits::new(&config), UserId::new(), UserId::new());
        for _ in 0..3 {
            limits.user(ann, &Method::POST).unwrap().unwrap();
            limits.frame(ann, Class::Write).unwrap();
        }
        let wait = limits.frame(ann, Class::Write).unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert!(limits.user(ann, &Method::POST).unwrap().is_err());
        for _ in 0..3 {
            limits.frame(ann, Class::Signal).unwrap();
        }
        assert!(limits.frame(ann, Class::Signal).is_err() && limits.frame(bob, Class::Signal).is_ok());
    }

    #[test]
    fn one_customer_is_one_address() {
        let of = |text: &str| block(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
