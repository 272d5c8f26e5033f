//! The one place that calls the `fernet` crate: a key of 32 bytes, and tokens without an expiry date.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use fernet::Fernet;
use secrecy::{ExposeSecret, SecretBox};
use zeroize::Zeroizing;

use crate::error::OpenError;

/// Length of a Fernet key in bytes: 16 for signing, then 16 for encryption.
pub(crate) const KEY_BYTES: usize = 32;

/// The key's raw bytes, on the heap, wiped when dropped.
pub(crate) type Secret = SecretBox<[u8; KEY_BYTES]>;

/// The date that tokens are opened at, and the latest that is written, in Unix seconds.
///
/// The `fernet` crate refuses tokens dated more than 60 s after «now», even without a time to live. A clock that steps
/// back would so make recent history unreadable, and age means nothing for history. Opening at a date after all others
/// accepts each token as if opened at its own date, without decoding the token twice. Half of the range, because the
/// crate adds the 60 s to it unchecked.
const LATEST_UNIX_SECONDS: u64 = u64::MAX / 2;

/// A Fernet instance, built once per key. Boxed, so that moving its owner leaves no copy of the key behind.
pub(crate) struct FernetKey(Box<Fernet>);

impl FernetKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        let text = Zeroizing::new(URL_SAFE.encode(secret.expose_secret()));
        #[expect(clippy::expect_used, reason = "`Fernet::new` refuses only what is not base64 of 32 bytes")]
        let fernet = Fernet::new(&text).expect("base64 of 32 bytes is a Fernet key");
        Self(Box::new(fernet))
    }

    /// A token (padded url-safe base64) dated `now_unix_seconds`. Panics if the operating system has no randomness.
    pub(crate) fn encrypt(&self, plaintext: &[u8], now_unix_seconds: u64) -> String {
        self.0.encrypt_at_time(plaintext, now_unix_seconds.min(LATEST_UNIX_SECONDS))
    }

    /// What [`encrypt`](Self::encrypt) was given, whatever the date of the token.
    pub(crate) fn decrypt(&self, token: &str) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        if !is_padded(token) {
            return Err(OpenError::Refused);
        }
        let plaintext = self.0.decrypt_at_time(token, None, LATEST_UNIX_SECONDS).map_err(|_| OpenError::Refused)?;
        Ok(Zeroizing::new(plaintext))
    }
}

impl fmt::Debug for FernetKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FernetKey([REDACTED])")
    }
}

/// Whether the padding is what an encoder writes. The `fernet` crate strips any number of `=`, so without this check
/// one message would have many texts.
fn is_padded(token: &str) -> bool {
    let padding = token.bytes().rev().take_while(|byte| *byte == b'=').count();
    token.len().is_multiple_of(4) && padding <= 2
}

/// A new key from the operating system's random generator, written straight into its place on the heap.
pub(crate) fn random_secret() -> Secret {
    #[expect(clippy::expect_used, reason = "no key may be made without randomness, and no caller can do anything")]
    SecretBox::init_with_mut(|bytes: &mut [u8; KEY_BYTES]| {
        getrandom::fill(bytes).expect("the operating system has no randomness");
    })
}
