//! The keys behind all tokens: one Ed25519 seed each.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

const SEED_BYTES: usize = 32;

/// What comes before the seed in PKCS#8 v1 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Why a text is no signing key. Holds nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error("not url-safe base64 of {SEED_BYTES} bytes; make a signing key with `sealpost keys generate`")]
    NotBase64,
    #[error("{got} bytes long, {SEED_BYTES} are needed; make a signing key with `sealpost keys generate`")]
    WrongLength { got: usize },
}

/// Signs and verifies access tokens, and stands behind refresh tokens.
pub struct SigningKey {
    pub(super) kid: String,
    /// 32 bytes as url-safe base64.
    pub(super) public: String,
    pub(super) encoding: EncodingKey,
    pub(super) decoding: DecodingKey,
    /// For [refresh tokens](super::refresh_token); derived, so that neither use says anything about the other.
    pub(super) refresh: hmac::Key,
}

impl SigningKey {
    /// Reads url-safe base64 of 32 bytes, with or without padding.
    pub fn parse(text: &SecretString) -> Result<Self, SigningKeyError> {
        let text = text.expose_secret().trim().trim_end_matches('=');
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| SigningKeyError::NotBase64)?);
        let wrong_length = SigningKeyError::WrongLength { got: bytes.len() };
        let seed: &[u8; SEED_BYTES] = bytes.as_slice().try_into().map_err(|_| wrong_length.clone())?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| wrong_length)?;
        let public = pair.public_key().as_ref();
        let mut pkcs8 = Zeroizing::new([0; PKCS8_PREFIX.len() + SEED_BYTES]);
        pkcs8[..PKCS8_PREFIX.len()].copy_from_slice(&PKCS8_PREFIX);
        pkcs8[PKCS8_PREFIX.len()..].copy_from_slice(seed);
        let refresh = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), b"sealpost refresh tokens, version 1");
        Ok(Self {
            kid: kid(public),
            public: URL_SAFE_NO_PAD.encode(public),
            encoding: EncodingKey::from_ed_der(pkcs8.as_slice()),
            decoding: DecodingKey::from_ed_der(public),
            refresh: hmac::Key::new(hmac::HMAC_SHA256, refresh.as_ref()),
        })
    }

    /// Names it in tokens (`kid`), in `/.well-known/jwks.json` and in the audit log: 16 hex digits.
    pub fn id(&self) -> &str {
        &self.kid
    }

    /// A new random key as text, for [`parse`](Self::parse). Panics if the operating system has no randomness.
    pub fn generate() -> SecretString {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        #[expect(clippy::expect_used, reason = "a server without randomness must not make keys")]
        getrandom::fill(seed.as_mut_slice()).expect("the operating system has no randomness");
        SecretString::from(URL_SAFE.encode(seed.as_slice()))
    }
}

/// The first 16 hex digits of the public key's SHA-256.
fn kid(public: &[u8]) -> String {
    use fmt::Write as _;
    Sha256::digest(public).iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_keys_are_read_back_with_and_without_padding() {
        let text = SigningKey::generate();
        let key = SigningKey::parse(&text).unwrap();
        let bare = SecretString::from(text.expose_secret().trim_end_matches('='));
        assert_ne!(bare.expose_secret(), text.expose_secret());
        assert_eq!(SigningKey::parse(&bare).unwrap().kid, key.kid);
        assert_eq!(key.kid.len(), 16);
        assert_ne!(SigningKey::parse(&SigningKey::generate()).unwrap().kid, key.kid);
    }

    /// RFC 8032, 7.1, test 1: the public key `d75a9801…`, whose SHA-256 begins with the kid.
    #[test]
    fn the_kid_of_a_known_seed_stays() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
            0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let key = SigningKey::parse(&URL_SAFE.encode(seed).into()).unwrap();
        assert_eq!(key.kid, "21fe31dfa154a261");
    }

    #[test]
    fn errors_say_what_is_wrong_and_show_nothing() {
        for (text, expected) in [
            ("hunter2!", "not url-safe base64 of 32 bytes"),
            ("aHVudGVyMg", "7 bytes long, 32 are needed"),
            ("", "0 bytes long, 32 are needed"),
            ("/+/+", "not url-safe base64"),
        ] {
            let error = SigningKey::parse(&text.into()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(error.ends_with("make a signing key with `sealpost keys generate`"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn debug_shows_the_kid_alone() {
        let text = SigningKey::generate();
        let key = SigningKey::parse(&text).unwrap();
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: {:?}, .. }}", key.kid));
    }
}
