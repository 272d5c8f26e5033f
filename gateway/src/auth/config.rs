//! The section of sign-in, sessions and passwords.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use super::device::DeviceKind;

/// Whether people may make accounts themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignupMode {
    #[default]
    Open,
    /// With a code that an admin made.
    Invitation,
    Closed,
}

/// Section `[auth]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// `iss` of access tokens.
    pub issuer: String,
    /// `aud` of access tokens. Servers that share a signing key need different ones.
    pub audience: String,
    pub access_token_seconds: u64,
    /// A session ends this long after sign-in, however often it was refreshed.
    pub refresh_token_days: u64,
    /// A client that lost the answer of a refresh can ask again for this long. Later use of the old token ends the session.
    pub refresh_grace_seconds: u64,
    /// A session of a browser ends when it was not used for this long.
    pub idle_browser_hours: u64,
    /// The same for programs on devices.
    pub idle_device_days: u64,
    /// Sessions of one user; at a sign-in beyond it the one seen longest ago ends.
    pub max_sessions_per_user: u64,
    /// When sessions were last seen is written this often, for all together.
    pub last_seen_seconds: u64,
    /// What is known of a session is deleted this long after its end.
    pub ended_session_days: u64,
    /// Rows of the audit log are deleted when they are older.
    pub audit_days: u64,
    pub signup: SignupMode,
    /// Argon2id: memory of one hash, in KiB.
    pub argon2_memory_kib: u32,
    /// Argon2id: passes.
    pub argon2_iterations: u32,
    /// Argon2id: lanes.
    pub argon2_parallelism: u32,
    /// Passwords hashed at once in this process; with `argon2_memory_kib` this bounds the memory for it.
    pub max_parallel_hashes: usize,
    /// Sign-ins and sign-ups that wait for their turn; beyond it they are told to come again.
    pub max_waiting_hashes: usize,
    /// In characters.
    pub min_password_length: usize,
    /// How hard a new password has to be to guess, as zxcvbn counts: 0 to 4. 3 needs about 10^8 guesses.
    pub min_password_strength: u8,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuer: "sealpost".to_owned(),
            audience: "sealpost".to_owned(),
            access_token_seconds: 900,
            refresh_token_days: 30,
            refresh_grace_seconds: 15,
            idle_browser_hours: 24,
            idle_device_days: 30,
            max_sessions_per_user: 100,
            last_seen_seconds: 60,
            ended_session_days: 30,
            audit_days: 365,
            signup: SignupMode::Open,
            argon2_memory_kib: 19_456,
            argon2_iterations: 2,
            argon2_parallelism: 1,
            max_parallel_hashes: 4,
            max_waiting_hashes: 1024,
            min_password_length: 12,
            min_password_strength: 3,
        }
    }
}

/// OWASP's smallest settings: 19 MiB with two passes, or 46 MiB with one.
const LEAST_MEMORY_KIB: u32 = 19_456;
const LEAST_MEMORY_KIB_ONE_PASS: u32 = 47_104;

impl AuthConfig {
    /// What is wrong, each with its key and the way out; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.trim().is_empty() {
                wrong.push(format!("auth.{key} is empty: name this server, such as `sealpost`"));
            }
        }
        let least = if self.argon2_iterations > 1 { LEAST_MEMORY_KIB } else { LEAST_MEMORY_KIB_ONE_PASS };
        within(&mut wrong, "access_token_seconds", self.access_token_seconds, 1..=86_400);
        within(&mut wrong, "refresh_token_days", self.refresh_token_days, 1..=3650);
        within(&mut wrong, "refresh_grace_seconds", self.refresh_grace_seconds, 0..=300);
        within(&mut wrong, "idle_browser_hours", self.idle_browser_hours, 1..=8760);
        within(&mut wrong, "idle_device_days", self.idle_device_days, 1..=3650);
        within(&mut wrong, "max_sessions_per_user", self.max_sessions_per_user, 1..=10_000);
        within(&mut wrong, "last_seen_seconds", self.last_seen_seconds, 1..=600);
        within(&mut wrong, "ended_session_days", self.ended_session_days, 1..=3650);
        within(&mut wrong, "audit_days", self.audit_days, 1..=36_500);
        within(&mut wrong, "argon2_memory_kib", self.argon2_memory_kib, least..=4_194_304);
        within(&mut wrong, "argon2_iterations", self.argon2_iterations, 1..=100);
        within(&mut wrong, "argon2_parallelism", self.argon2_parallelism, 1..=16);
        within(&mut wrong, "max_parallel_hashes", self.max_parallel_hashes, 1..=1024);
        within(&mut wrong, "max_waiting_hashes", self.max_waiting_hashes, 1..=1_000_000);
        within(&mut wrong, "min_password_length", self.min_password_length, 8..=128);
        within(&mut wrong, "min_password_strength", self.min_password_strength, 0..=4);
        wrong
    }

    pub(super) fn refresh_lifetime(&self) -> Duration {
        Duration::from_secs(self.refresh_token_days.saturating_mul(86_400))
    }

    pub(crate) fn access_lifetime(&self) -> Duration {
        Duration::from_secs(self.access_token_seconds)
    }

    pub(super) fn idle_seconds(&self, kind: DeviceKind) -> u64 {
        match kind {
            DeviceKind::Browser => self.idle_browser_hours.saturating_mul(3600),
            DeviceKind::Device => self.idle_device_days.saturating_mul(86_400),
        }
    }

    pub(super) fn refresh_grace(&self) -> Duration {
        Duration::from_secs(self.refresh_grace_seconds)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "numbers and literal ranges; references would only be noise")]
fn within<T: PartialOrd + Display>(wrong: &mut Vec<String>, key: &str, value: T, range: RangeInclusive<T>) {
    if !range.contains(&value) {
        wrong.push(format!("auth.{key} is {value}: use {} to {}", range.start(), range.end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(AuthConfig::default().validate(), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let config = AuthConfig {
            audience: " ".to_owned(),
            access_token_seconds: 0,
            refresh_token_days: 0,
            argon2_memory_kib: 8,
            max_parallel_hashes: 0,
            max_waiting_hashes: 0,
            min_password_length: 4,
            ..AuthConfig::default()
        };
        let wrong = config.validate();
        assert_eq!(wrong.len(), 7, "{wrong:#?}");
        assert!(wrong.contains(&"auth.argon2_memory_kib is 8: use 19456 to 4194304".to_owned()), "{wrong:#?}");
    }

    #[test]
    fn one_pass_needs_more_memory() {
        let config = AuthConfig { argon2_iterations: 1, ..AuthConfig::default() };
        assert_eq!(config.validate(), ["auth.argon2_memory_kib is 19456: use 47104 to 4194304"]);
    }
}
