//! Passwords: hashed with Argon2id, away from the async threads, a few at once.
//!
//! A hash takes about 25 ms and 19 MiB on purpose, so its number at a time is bounded: a flood of sign-ins waits in line, and
//! beyond the line is told to come again, while all else goes on
//! (`a_flood_of_sign_ins_takes_the_memory_of_a_few`, `beyond_the_line_is_told_to_come_again`).

use std::sync::Arc;

use argon2::password_hash::Error as HashError;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealpost_schema::ProblemKind;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio::task;
use zeroize::Zeroizing;

use super::config::AuthConfig;
use super::hashing;
use super::password_rules::PasswordRules;
use crate::problem::ApiError;

/// Of a password that is made here.
const GENERATED_BYTES: usize = 18;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are waiting to be hashed")]
    Busy,
    #[error("hashing failed: {0}")]
    Hash(#[from] HashError),
    /// With what to do.
    #[error("{0}")]
    Weak(String),
    #[error("hashing was interrupted")]
    Interrupted(#[from] task::JoinError),
}

impl PasswordError {
    pub fn into_api(self) -> ApiError {
        match self {
            Self::Busy => ApiError::new(
                ProblemKind::Unavailable,
                "Too many people sign in right now. Nothing was changed; try again.",
            ),
            Self::Weak(detail) => ApiError::new(ProblemKind::WeakPassword, detail),
            Self::Hash(_) | Self::Interrupted(_) => ApiError::internal(&self),
        }
    }
}

/// Hashes and checks passwords. Cheap to clone. Passwords are wiped from memory after use.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    rules: PasswordRules,
    /// Those at work.
    running: Arc<Semaphore>,
    /// Those at work and in line.
    places: Arc<Semaphore>,
}

impl Passwords {
    /// With settings that `AuthConfig::validate` refuses, those of OWASP are used.
    pub fn new(config: &AuthConfig) -> Self {
        let (memory, passes, lanes) = (config.argon2_memory_kib, config.argon2_iterations, config.argon2_parallelism);
        let params = Params::new(memory, passes, lanes, None).unwrap_or_default();
        Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            rules: PasswordRules { min_length: config.min_password_length, min_strength: config.min_password_strength },
            running: Arc::new(Semaphore::new(config.max_parallel_hashes)),
            places: Arc::new(Semaphore::new(config.max_parallel_hashes.saturating_add(config.max_waiting_hashes))),
        }
    }

    /// A PHC string to store, of a password that is good enough for a new one. `own`: words that belong to the account, such as its name and
    /// email.
    pub async fn hash_new(&self, password: SecretString, own: Vec<String>) -> Result<String, PasswordError> {
        let rules = self.rules;
        self.run(move |argon2| {
            rules.check(password.expose_secret(), &own).map_err(PasswordError::Weak)?;
            Ok(hashing::hash(argon2, password.expose_secret().as_bytes())?)
        })
        .await
    }

    /// A new password that nobody can guess.
    pub fn generate() -> Result<String, PasswordError> {
        let mut bytes = Zeroizing::new([0; GENERATED_BYTES]);
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| HashError::Crypto)?;
        Ok(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
    }

    /// A PHC string to store, of whatever is given.
    pub async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.run(move |argon2| Ok(hashing::hash(argon2, password.expose_secret().as_bytes())?)).await
    }

    /// Whether the settings have risen since this hash was made, so that it should be made anew.
    pub fn is_outdated(&self, hash: &str) -> bool {
        hashing::is_weaker(hash, &self.argon2)
    }

    /// Whether `password` belongs to `hash`. Without a hash (an unknown user) the answer is no, after the same work.
    pub async fn verify_or_dummy(&self, hash: Option<&str>, password: SecretString) -> Result<bool, PasswordError> {
        let hash = hash.map(str::to_owned);
        self.run(move |argon2| {
            let password = password.expose_secret().as_bytes();
            match hash {
                Some(hash) => Ok(hashing::verify(argon2, &hash, password)?),
                None => Ok(hashing::pretend(argon2, password).map(|()| false)?),
            }
        })
        .await
    }

    /// The permits go with the work: a request that is given up frees its place when its hash is done, not before.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let argon2 = self.argon2.clone();
        task::spawn_blocking(move || {
            let _permits = (place, turn);
            work(&argon2)
        })
        .await?
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(&AuthConfig::default())
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_and_opens_for_its_password_alone() {
        let passwords = passwords();
        let hash = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse battery".into()).await.unwrap(), "salted");
        assert!(passwords.verify_or_dummy(Some(&hash), "correct horse battery".into()).await.unwrap());
        for wrong in ["", "correct horse batterx", "correct horse battery ", "Correct horse battery"] {
            assert!(!passwords.verify_or_dummy(Some(&hash), wrong.into()).await.unwrap(), "{wrong}");
        }
        assert!(!passwords.verify_or_dummy(None, "correct horse battery".into()).await.unwrap());
    }

    #[tokio::test]
    async fn long_passwords_are_not_cut() {
        let passwords = passwords();
        let long = "é".repeat(500);
        let hash = passwords.hash(long.as_str().into()).await.unwrap();
        assert!(passwords.verify_or_dummy(Some(&hash), long.as_str().into()).await.unwrap());
        assert!(!passwords.verify_or_dummy(Some(&hash), "é".repeat(499).into()).await.unwrap());
    }

    #[tokio::test]
    async fn a_broken_hash_is_an_error_and_not_a_no() {
        assert!(matches!(passwords().verify_or_dummy(Some("x"), "y".into()).await, Err(PasswordError::Hash(_))));
    }

    #[tokio::test]
    async fn an_unknown_user_costs_a_hash_too() {
        let (passwords, start) = (passwords(), Instant::now());
        assert!(!passwords.verify_or_dummy(None, "wrong".into()).await.unwrap());
        // Nobody fills 19 MiB twice in less, and a busy machine only makes it longer.
        assert!(start.elapsed() > Duration::from_millis(4), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn beyond_the_line_is_told_to_come_again() {
        let config = AuthConfig { max_parallel_hashes: 1, max_waiting_hashes: 1, ..AuthConfig::default() };
        let passwords = Passwords::new(&config);
        let hash = || passwords.hash("correct horse battery".into());
        let (first, second, third) = tokio::join!(hash(), hash(), hash());
        assert!(first.is_ok() && second.is_ok());
        assert!(matches!(third, Err(PasswordError::Busy)), "{third:?}");
        assert!(hash().await.is_ok());
    }

    /// The most memory that this process ever had.
    #[cfg(target_os = "linux")]
    fn peak_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_flood_of_sign_ins_takes_the_memory_of_a_few() {
        let (passwords, before) = (passwords(), peak_kib());
        let results = futures_util::future::join_all((0..120).map(|number| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify_or_dummy(None, format!("password {number}").into()).await })
        }));
        assert!(results.await.into_iter().all(|result| !result.unwrap().unwrap()));
        // Four at once have 76 MiB; other tests of this process add theirs.
        let grown = peak_kib() - before;
        assert!(grown < 250 * 1024, "{grown} KiB");
    }
}
