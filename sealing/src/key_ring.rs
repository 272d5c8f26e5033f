//! The master keys, which wrap conversation keys for storage.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ring::hmac;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use subtle::ConstantTimeEq;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::VERSION_TEXT;
use crate::conversation_key::ConversationKey;
use crate::envelope::parse_version_and_suite;
use crate::error::{KeyRingError, OpenError};
use crate::fernet_key::{FernetKey, KEY_BYTES, Secret, random_secret};
use crate::header::{KEY_HEADER_BYTES, key_header, starts_with, suite_of};
use crate::suite::Suite;

/// Length of `<version>.<suite>.<token>` for a key of 32 bytes: the token has 121 bytes, 164 in base64.
const WRAPPED_BYTES: usize = "1.fernet.".len() + 164;

/// The master keys, newest first: the first one wraps, all of them unwrap.
///
/// To rotate, put a new key in front, [`rewrap`](Self::rewrap) every stored conversation key, then remove the old one.
///
/// # What a wrapped key holds
///
/// The text is `1.fernet.<token>`, where `fernet` is the algorithm of the master key and the token is a Fernet token
/// under it. Inside are 55 bytes; numbers are big-endian, UUIDs their 16 bytes:
///
/// | bytes | field |
/// |---|---|
/// | 0 | purpose, `k` |
/// | 1 | version, 1 |
/// | 2 | suite of the conversation key, 1 for fernet |
/// | 3..7 | generation |
/// | 7..23 | conversation |
/// | 23..55 | the conversation key |
///
/// So a wrapped key moved to another conversation or generation does not unwrap.
pub struct KeyRing {
    /// Newest first, never empty.
    keys: Vec<FernetKey>,
    ids: Vec<String>,
}

impl KeyRing {
    /// Reads Fernet keys (url-safe base64 of 32 bytes, with or without its padding), newest first. White space around a
    /// key is ignored, so that a file's last newline does no harm.
    pub fn parse(keys: &[SecretString]) -> Result<Self, KeyRingError> {
        let mut secrets: Vec<Secret> = Vec::with_capacity(keys.len());
        for (position, key) in keys.iter().enumerate() {
            let index = position + 1;
            let secret = decode_key(key, index)?;
            let same = |known: &Secret| bool::from(known.expose_secret().ct_eq(secret.expose_secret()));
            if let Some(first) = secrets.iter().position(same) {
                return Err(KeyRingError::Repeated { index, first: first + 1 });
            }
            secrets.push(secret);
        }
        if secrets.is_empty() {
            return Err(KeyRingError::Empty);
        }
        Ok(Self { keys: secrets.iter().map(FernetKey::new).collect(), ids: secrets.iter().map(id_of).collect() })
    }

    /// What tells the keys apart without telling anything of them, newest first: 16 hexadecimal digits each, the same wherever the key is.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// A new random master key as text, for [`parse`](Self::parse) and for any Fernet library. Panics if the operating
    /// system has no randomness.
    pub fn generate_key() -> SecretString {
        SecretString::from(URL_SAFE.encode(random_secret().expose_secret()))
    }

    /// The conversation key as text to store, under the newest master key. `now_unix_seconds` becomes the date of the
    /// token; no check depends on it. Panics if the operating system has no randomness.
    pub fn wrap(&self, key: &ConversationKey, now_unix_seconds: u64) -> String {
        let header = key_header(key.suite(), key.generation(), key.conversation());
        let mut wrapped = format!("{VERSION_TEXT}.{}.", Suite::Fernet);
        // Never empty, see `parse`.
        self.keys[0].encrypt_into(&mut wrapped, [&header, key.secret().expose_secret()], now_unix_seconds);
        wrapped
    }

    /// The conversation key of a text that [`wrap`](Self::wrap) made for that conversation and generation under any key
    /// of this ring, whatever its date. A master key that was removed too early gives [`OpenError::Refused`].
    pub fn unwrap(&self, wrapped: &str, conversation: Uuid, generation: u32) -> Result<ConversationKey, OpenError> {
        let token = parse_wrapped(wrapped)?;
        let inner = self.keys.iter().find_map(|key| key.decrypt(token).ok()).ok_or(OpenError::Refused)?;
        read_key(&inner, conversation, generation)
    }

    /// Whether the newest master key wrapped this text. False for a text that is no wrapped key at all.
    pub fn is_current(&self, wrapped: &str) -> bool {
        parse_wrapped(wrapped).is_ok_and(|token| self.keys[0].decrypt(token).is_ok())
    }

    /// The same conversation key wrapped under the newest master key, or `None` if it is already. The text has to belong
    /// to that conversation and generation either way.
    pub fn rewrap(
        &self,
        wrapped: &str,
        conversation: Uuid,
        generation: u32,
        now_unix_seconds: u64,
    ) -> Result<Option<String>, OpenError> {
        let key = self.unwrap(wrapped, conversation, generation)?;
        Ok(if self.is_current(wrapped) { None } else { Some(self.wrap(&key, now_unix_seconds)) })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("KeyRing").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// HMAC-SHA256 under the key, which is as long as it takes to be random to whoever does not have it; the first 8 bytes.
fn id_of(secret: &Secret) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret());
    let tag = hmac::sign(&key, b"sealpost master key id 1");
    let mut first = [0; 8];
    first.copy_from_slice(&tag.as_ref()[..8]);
    format!("{:016x}", u64::from_be_bytes(first))
}

/// The token of `<version>.<suite>.<token>`; it is checked on opening, not here.
fn parse_wrapped(wrapped: &str) -> Result<&str, OpenError> {
    let (Suite::Fernet, token) = parse_version_and_suite(wrapped)?;
    if wrapped.len() == WRAPPED_BYTES { Ok(token) } else { Err(OpenError::Refused) }
}

fn read_key(inner: &[u8], conversation: Uuid, generation: u32) -> Result<ConversationKey, OpenError> {
    let suite = suite_of(inner).ok_or(OpenError::UnknownFormat)?;
    if inner.len() != KEY_HEADER_BYTES + KEY_BYTES || !starts_with(inner, &key_header(suite, generation, conversation))
    {
        return Err(OpenError::Refused);
    }
    let secret = SecretBox::init_with_mut(|bytes: &mut [u8; KEY_BYTES]| {
        bytes.copy_from_slice(&inner[KEY_HEADER_BYTES..]);
    });
    Ok(ConversationKey::from_secret(conversation, generation, suite, secret))
}

fn decode_key(key: &SecretString, index: usize) -> Result<Secret, KeyRingError> {
    let text = key.expose_secret().trim_ascii();
    let text = text.trim_end_matches('=');
    // A buffer of our own, because a failed `decode` would free its one without wiping it.
    let mut decoded = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let got = URL_SAFE_NO_PAD.decode_slice(text, &mut decoded).map_err(|_| KeyRingError::NotBase64 { index })?;
    if got != KEY_BYTES {
        return Err(KeyRingError::WrongLength { index, got, needed: KEY_BYTES });
    }
    Ok(SecretBox::init_with_mut(|bytes: &mut [u8; KEY_BYTES]| bytes.copy_from_slice(&decoded[..KEY_BYTES])))
}
