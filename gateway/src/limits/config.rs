//! The section of limits.

use serde::Deserialize;

/// Section `[limits]`. 0 switches a rate off.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Requests of one user that only read, in a second, on average.
    pub reads_per_second: u32,
    /// Requests of one user that change something, in a second, on average. Frames on WebSockets that do the same count with them.
    pub writes_per_second: u32,
    /// Frames of one user that change no message: watermarks, typing, presence, pings. In a second, on average.
    pub signals_per_second: u32,
    /// Requests from one address that begin or renew a session, in a minute, on average.
    pub sign_ins_per_minute: u32,
    /// As many seconds' worth of requests may come at once; for sign-ins as many minutes' worth.
    pub burst: u32,
    /// Users and addresses that are counted each by themselves. Beyond it newcomers share counters.
    pub max_counted: usize,
    /// Failed sign-ins to one account from one address before its delays begin.
    pub free_failures: u32,
    /// The longest delay after failed sign-ins.
    pub max_delay_seconds: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            reads_per_second: 200,
            writes_per_second: 100,
            signals_per_second: 200,
            sign_ins_per_minute: 120,
            burst: 5,
            max_counted: 100_000,
            free_failures: 5,
            max_delay_seconds: 900,
        }
    }
}

impl LimitsConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !(1..=3600).contains(&self.burst) {
            wrong.push(format!("limits.burst is {}: use 1 to 3600", self.burst));
        }
        if !(1000..=10_000_000).contains(&self.max_counted) {
            wrong.push(format!("limits.max_counted is {}: use 1000 to 10000000", self.max_counted));
        }
        if !(1..=1_000_000).contains(&self.free_failures) {
            wrong.push(format!("limits.free_failures is {}: use 1 to 1000000", self.free_failures));
        }
        if !(1..=86_400).contains(&self.max_delay_seconds) {
            wrong.push(format!("limits.max_delay_seconds is {}: use 1 to 86400", self.max_delay_seconds));
        }
        for (key, value) in [
            ("reads_per_second", self.reads_per_second),
            ("writes_per_second", self.writes_per_second),
            ("signals_per_second", self.signals_per_second),
            ("sign_ins_per_minute", self.sign_ins_per_minute),
        ] {
            if value > 1_000_000 {
                wrong.push(format!("limits.{key} is {value}: use 0 (no limit) to 1000000"));
            }
        }
        wrong
    }
}
